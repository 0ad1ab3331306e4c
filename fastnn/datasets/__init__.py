"""Data: digits, CSV tables, image folders, MNIST, CIFAR-10, Office-31, drawn stand-ins; splits."""

from fastnn.datasets.cifar10 import load_cifar10
from fastnn.datasets.digits import load_digits
from fastnn.datasets.drawn import draw_cifar10, draw_mnist, draw_office31
from fastnn.datasets.images import (
    ImageFolder,
    Images,
    default_cache_folder,
    read_image_folder,
    read_images,
)
from fastnn.datasets.mnist import ImageSet, load_mnist
from fastnn.datasets.office31 import Office31, load_office31
from fastnn.datasets.prepare import course_split, split
from fastnn.datasets.tables import Table, read_csv

__all__ = [
    "ImageFolder",
    "ImageSet",
    "Images",
    "Office31",
    "Table",
    "course_split",
    "default_cache_folder",
    "draw_cifar10",
    "draw_mnist",
    "draw_office31",
    "load_cifar10",
    "load_digits",
    "load_mnist",
    "load_office31",
    "read_csv",
    "read_image_folder",
    "read_images",
    "split",
]
