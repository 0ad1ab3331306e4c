"""Data: digits, CSV tables, image folders, Office-31 and its drawn stand-in; splitting it."""

from fastnn.datasets.digits import load_digits
from fastnn.datasets.drawn import draw_office31
from fastnn.datasets.images import (
    ImageFolder,
    Images,
    default_cache_folder,
    read_image_folder,
    read_images,
)
from fastnn.datasets.office31 import Office31, load_office31
from fastnn.datasets.prepare import course_split, split, standardise
from fastnn.datasets.tables import Table, read_csv

__all__ = [
    "ImageFolder",
    "Images",
    "Office31",
    "Table",
    "course_split",
    "default_cache_folder",
    "draw_office31",
    "load_digits",
    "load_office31",
    "read_csv",
    "read_image_folder",
    "read_images",
    "split",
    "standardise",
]
