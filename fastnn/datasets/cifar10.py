"""CIFAR-10: small colour photographs of ten classes, in binary batches.

A. Krizhevsky, Learning multiple layers of features from tiny images (2009).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastnn.datasets.images import Array, PathLike
from fastnn.datasets.mnist import CLASSES, ImageSet, check_labels, some_names

CLASS_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
PLANES = (3, 32, 32)
#: One byte of label, then the red, the green and the blue plane.
RECORD = 1 + 3 * 32 * 32


def load_cifar10(folder: PathLike) -> ImageSet:
    """Read CIFAR-10's binary version: images (N, 32, 32, 3), RGB.

    ``folder`` has ``data_batch_1.bin`` to ``data_batch_5.bin``, or some of them, and
    ``test_batch.bin``; or it has the folder ``cifar-10-batches-bin`` with these. ``source`` names
    the batches that were there. Classes are called as ``batches.meta.txt`` says, or, without it,
    as in CIFAR-10.

    Raises ``OSError`` if the folder or a file can't be read, ``ValueError``, naming it, if a file
    is missing, empty or not of whole records, has a label above 9, or if there are not ten names.
    """
    folder = Path(folder)
    inner = folder / "cifar-10-batches-bin"
    folder = inner if inner.is_dir() else folder
    found = [path.name for path in sorted(folder.iterdir()) if path.is_file()]
    batches = [name for i in range(1, 6) if (name := f"data_batch_{i}.bin") in found]
    for missing, name in (
        (not batches, "data_batch_1.bin to data_batch_5.bin, or some of them"),
        ("test_batch.bin" not in found, "test_batch.bin"),
    ):
        if missing:
            raise ValueError(f"{folder}: expected {name}, found {some_names(found)}")
    names = list(CLASS_NAMES)
    if "batches.meta.txt" in found:
        names = _read_names(folder / "batches.meta.txt")
    x_test, y_test = _read_batch(folder / "test_batch.bin")
    images, labels = zip(*(_read_batch(folder / name) for name in batches), strict=True)
    return ImageSet(
        np.concatenate(images), np.concatenate(labels), x_test, y_test, names,
        f"{folder} ({', '.join([*batches, 'test_batch.bin'])})",
    )  # fmt: skip


def _read_batch(path: Path) -> tuple[Array, Array]:
    """(images (N, 32, 32, 3) uint8, labels (N,) int64) of one file."""
    data = np.fromfile(path, np.uint8)
    if not data.size or data.size % RECORD:
        raise ValueError(
            f"{path}: expected whole records of {RECORD} bytes, at least one, "
            f"got {data.size:,} bytes"
        )
    records = data.reshape(-1, RECORD)
    labels = records[:, 0]
    check_labels(path, labels)
    images = records[:, 1:].reshape(-1, *PLANES).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels.astype(np.int64)


def _read_names(path: Path) -> list[str]:
    """The names of the classes, one a line; empty lines are skipped."""
    with path.open("rb") as file:
        data = file.read(10_000)
    try:
        names = [line.strip() for line in data.decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected {CLASSES} class names, got no text in UTF-8") from None
    if len(names) != CLASSES or len(set(names)) != CLASSES:
        raise ValueError(
            f"{path}: expected {CLASSES} different class names, one a line, got {len(names)} "
            f"({len(set(names))} different)"
        )
    return names
