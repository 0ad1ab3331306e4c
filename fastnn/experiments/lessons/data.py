"""Images to learn from: drawn here, or as many of the real set as a lesson asks for."""

from __future__ import annotations

from dataclasses import replace

from fastnn.datasets import ImageSet, draw_cifar10, draw_mnist, load_cifar10, load_mnist
from fastnn.experiments.lessons.lesson import Settings


def mnist(settings: Settings, train: int, test: int) -> tuple[ImageSet, str]:
    """Images (N, 28, 28, 1) of digits and what they are in a line: drawn, or MNIST's first."""
    if settings.data is None:
        return _told(draw_mnist(train, test, settings.seed), "digits drawn here, 28 × 28")
    return _told(_first(load_mnist(settings.data), train, test), "MNIST, the first of it")


def cifar10(settings: Settings, train: int, test: int) -> tuple[ImageSet, str]:
    """Images (N, 32, 32, 3) of ten things and what they are: drawn, or CIFAR-10's first."""
    if settings.data is None:
        return _told(draw_cifar10(train, test, settings.seed), "things drawn here, 32 × 32")
    return _told(_first(load_cifar10(settings.data), train, test), "CIFAR-10, the first of it")


def _first(data: ImageSet, train: int, test: int) -> ImageSet:
    return replace(
        data, x_train=data.x_train[:train], y_train=data.y_train[:train],
        x_test=data.x_test[:test], y_test=data.y_test[:test],
    )  # fmt: skip


def _told(data: ImageSet, what: str) -> tuple[ImageSet, str]:
    return data, f"{what}: {len(data.x_train)} to train on, {len(data.x_test)} to test"
