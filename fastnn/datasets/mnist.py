"""MNIST: handwritten digits in IDX files, plain or gzip.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document
recognition (1998).
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastnn.datasets.images import Array, PathLike

CLASSES = 10
#: More in one file are refused before they are read: few bytes of gzip can stand for a lot.
MOST_ITEMS = 1_000_000


@dataclass(frozen=True)
class ImageSet:
    """Images of one size, one label each, for training and for the test.

    ``x_train`` and ``x_test`` (N, H, W, C) uint8; ``y_train`` and ``y_test`` (N,) int64, numbers of
    ``class_names``. ``source``: where they are from, for the user.
    """

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    class_names: list[str]
    source: str


def load_mnist(folder: PathLike) -> ImageSet:
    """Read MNIST's four files: images (N, 28, 28, 1), 0 the paper and 255 the ink, classes 0..9.

    The files are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same with
    ``t10k``, each also with ``.gz`` at the end, or with a dot before ``idx``; a plain file is
    taken first. The numbers of images need not be the original's.

    Raises ``OSError`` if the folder or a file can't be read, ``ValueError``, naming it, if a file
    is missing, damaged, cut off, too long or something else, has a label above 9, or not as many
    labels as images.
    """
    folder = Path(folder)
    found = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
    images = [_find(folder, found, f"{part}-images", "idx3-ubyte") for part in ("train", "t10k")]
    labels = [_find(folder, found, f"{part}-labels", "idx1-ubyte") for part in ("train", "t10k")]
    parts: list[tuple[Array, Array]] = []
    for image_file, label_file in zip(images, labels, strict=True):
        y = _read_idx(label_file, ())
        check_labels(label_file, y)
        x = _read_idx(image_file, (28, 28))
        if len(x) != len(y):
            raise ValueError(
                f"{label_file}: expected a label for each of the {len(x)} images in "
                f"{image_file.name}, got {len(y)}"
            )
        parts.append((x[..., np.newaxis], y.astype(np.int64)))
    (x_train, y_train), (x_test, y_test) = parts
    names = [str(digit) for digit in range(CLASSES)]
    return ImageSet(x_train, y_train, x_test, y_test, names, str(folder))


def check_labels(path: Path, labels: Array) -> None:
    """Raise ``ValueError``, naming the file and the first such item, for a label above 9."""
    wrong = np.flatnonzero(labels >= CLASSES)
    if wrong.size:
        raise ValueError(
            f"{path}: expected labels in 0..{CLASSES - 1}, got {labels[wrong[0]]} "
            f"(item {wrong[0]}, counted from 0)"
        )


def some_names(found: list[str]) -> str:
    """The first names of what is in a folder, for an error."""
    more = [f"{len(found) - 5} more"] if len(found) > 5 else []
    return ", ".join(found[:5] + more) or "no files"


def _find(folder: Path, found: dict[str, Path], stem: str, ending: str) -> Path:
    names = [f"{stem}{dash}{ending}{suffix}" for suffix in ("", ".gz") for dash in "-."]
    for name in names:
        if name in found:
            return found[name]
    raise ValueError(f"{folder}: expected {names[0]}, plain or .gz, found {some_names([*found])}")


def _read_idx(path: Path, shape: tuple[int, ...]) -> Array:
    """The items of an IDX file of bytes, (N, *shape) uint8."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            count = _count(path, file.read(4 * (2 + len(shape))), shape)
            expected = count * math.prod(shape)
            # One byte more shows data that is left over, and makes gzip verify its sum.
            data = file.read(expected + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: expected a gzip file, got a damaged or other one ({error})") \
            from None  # fmt: skip
    if len(data) != expected:
        got = "more" if len(data) > expected else f"{len(data):,}"
        raise ValueError(
            f"{path}: expected {expected:,} bytes after the header ({count:,} items), got {got}"
        )
    return np.frombuffer(data, np.uint8).reshape(count, *shape).copy()


def _count(path: Path, head: bytes, shape: tuple[int, ...]) -> int:
    """The number of items; the header must be of unsigned bytes (8), items of ``shape``."""
    length = 4 * (2 + len(shape))
    magic = 0x0800 + 1 + len(shape)
    got = int.from_bytes(head[:4], "big")
    if len(head) < length:
        raise ValueError(f"{path}: expected a header of {length} bytes, got {len(head)} bytes")
    if got != magic:
        raise ValueError(f"{path}: expected the magic number {magic}, got {got}")
    count, *sides = (int(value) for value in np.frombuffer(head, ">u4")[1:])
    if tuple(sides) != shape:
        got_sides = " × ".join(map(str, sides))
        raise ValueError(f"{path}: expected images of 28 × 28 pixels, got {got_sides}")
    if not 1 <= count <= MOST_ITEMS:
        raise ValueError(f"{path}: expected 1 to {MOST_ITEMS:,} items, the header says {count:,}")
    return count
