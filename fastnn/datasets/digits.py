"""The 1797 handwritten digits, shipped with the package. Licence: ``DIGITS_LICENSE.txt``."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray


def load_digits(scale: bool = True) -> tuple[NDArray[Any], NDArray[Any]]:
    """The digits as x (1797, 64) float32 and y (1797,) int64, classes 0 to 9.

    A row is an image of 8 × 8 pixels, row by row. Pixels are 0..16; by default they are divided
    by 16 (which is exact), so that x lies in 0..1. ``scale=False`` keeps 0..16.

    E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (1998).

    >>> x, y = load_digits()
    >>> x.shape, float(x.max()), y[:3].tolist()
    ((1797, 64), 1.0, [0, 1, 2])
    """
    with (
        (files(__package__) / "digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as data,
    ):
        x = data["pixels"].astype(np.float32)
        y = data["labels"].astype(np.int64)
    if scale:
        x /= 16
    return x, y
