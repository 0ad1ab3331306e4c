"""Tables from CSV files: number columns to learn from, one target column."""

from __future__ import annotations

import csv
import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import unknown

Array = NDArray[Any]

#: A target of whole numbers is read as classes up to this many different ones.
MOST_CLASSES = 50
TASKS = ("auto", "classification", "regression")


@dataclass(frozen=True)
class Table:
    """What ``read_csv`` returns.

    ``x`` (N, F) float64. ``y`` (N,): int64 numbers of ``class_names`` for classification, or
    float64 for regression, where ``class_names`` is None.
    """

    x: Array
    y: Array
    feature_names: list[str]
    target_name: str
    class_names: list[str] | None


def read_csv(
    path: str | os.PathLike[str],
    target: int | str = -1,
    *,
    task: str = "auto",
    header: bool | None = None,
    delimiter: str = ",",
) -> Table:
    """Read a table from a CSV file (UTF-8): every column but the target holds numbers.

    ``target``: a column's name, or its number from 0 (negative: from the end). ``task``:
    ``"classification"`` gives every different target text a class, in numerical order if all are
    numbers, else alphabetical; ``"regression"`` reads numbers; ``"auto"`` takes classification
    if the target is text or whole numbers with at most 50 different values. ``header``: whether
    the first line names the columns; None: it does if no field of it is a number. Empty lines
    are skipped.

    Raises ``OSError`` if the file can't be read; ``ValueError``, with file, line and column, for
    an empty file, a row of another length, and a field that is not a finite number.
    """
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise ValueError(f"read_csv: delimiter must be one character, got {delimiter!r}")
    lines, rows = _read_rows(path, delimiter)
    if header is None:
        header = not any(map(_is_number, rows[0]))
    names = [field.strip() for field in rows[0]] if header else []
    lines, rows = lines[header:], rows[header:]
    if not rows:
        raise ValueError(f"{path}: no rows below the header")
    width = len(names or rows[0])
    if width < 2:
        raise ValueError(
            f"{path}: needs a target and at least one more column, found one column "
            f"(with {delimiter!r} as the delimiter)"
        )
    for line, row in zip(lines, rows, strict=True):
        if len(row) != width:
            raise ValueError(f"{path}, line {line}: expected {width} columns, got {len(row)}")
    chosen = _column(path, target, names, width)
    features = [i for i in range(width) if i != chosen]
    where = [f"column {i + 1}" + (f" ({names[i]!r})" if names else "") for i in range(width)]

    x = np.array(
        [
            [_number(path, line, where[i], row[i]) for i in features]
            for line, row in zip(lines, rows, strict=True)
        ]
    )
    texts = [row[chosen].strip() for row in rows]
    for line, text in zip(lines, texts, strict=True):
        if not text:
            raise ValueError(f"{path}, line {line}, {where[chosen]}: the target is empty")
    if task == "auto":
        task = "classification" if _looks_like_classes(texts) else "regression"
    class_names: list[str] | None = None
    if task == "classification":
        class_names = _classes(texts)
        numbers = {name: i for i, name in enumerate(class_names)}
        y = np.array([numbers[text] for text in texts], np.int64)
    else:
        y = np.array(
            [_number(path, n, where[chosen], t) for n, t in zip(lines, texts, strict=True)]
        )
    named = names or [f"column {i + 1}" for i in range(width)]
    return Table(x, y, [named[i] for i in features], named[chosen], class_names)


def _read_rows(path: str | os.PathLike[str], delimiter: str) -> tuple[list[int], list[list[str]]]:
    """All rows that aren't empty, and the line each ends on."""
    lines, rows = [], []
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        try:
            for row in reader:
                if any(field.strip() for field in row):
                    lines.append(reader.line_num)
                    rows.append(row)
        except UnicodeDecodeError:
            raise ValueError(f"{path}: not a text file in UTF-8") from None
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from None
    if not rows:
        raise ValueError(f"{path}: the file is empty")
    return lines, rows


def _column(path: Any, target: int | str, names: list[str], width: int) -> int:
    """Number of the target column."""
    if isinstance(target, str):
        if target in names:
            return names.index(target)
        try:
            target = int(target)
        except ValueError:
            if names:
                raise unknown(f"target column in {path}:", target, names) from None
            raise ValueError(
                f"{path} has no header; give the target {target!r} as a column number"
            ) from None
    if not -width <= target < width:
        raise ValueError(f"{path}: target column {target} is out of range: {width} columns")
    return target % width


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(path: Any, line: int, column: str, text: str) -> float:
    value = float(text) if _is_number(text) else math.nan
    if not math.isfinite(value):
        raise ValueError(f"{path}, line {line}, {column}: expected a finite number, got {text!r}")
    return value


def _looks_like_classes(texts: list[str]) -> bool:
    different = set(texts)
    if not all(map(_is_number, different)):
        return True
    return len(different) <= MOST_CLASSES and all(float(t).is_integer() for t in different)


def _classes(texts: list[str]) -> list[str]:
    """The different texts: by value if all are numbers, else by alphabet."""
    different = set(texts)
    if all(map(_is_number, different)):
        return sorted(different, key=lambda text: (float(text), text))
    return sorted(different)
