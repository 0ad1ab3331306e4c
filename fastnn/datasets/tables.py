"""Tables from CSV files: numbers and categories to learn from, one target column."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import unknown

Array = NDArray[Any]

#: A target of whole numbers is read as classes up to this many different ones.
MOST_CLASSES = 50
#: A column of more different texts names its rows instead of sorting them.
MOST_CATEGORIES = 100
TASKS = ("auto", "classification", "regression")


@dataclass(frozen=True)
class Table:
    """What ``read_csv`` returns.

    ``x`` (N, F) float64. ``y`` (N,): int64 numbers of ``class_names`` for classification, or
    float64 for regression, where ``class_names`` is None. ``one_hot`` (F,) bool: the columns that
    are 1 for one category and 0 for others; they are called ``column=category``.
    """

    x: Array
    y: Array
    feature_names: list[str]
    target_name: str
    class_names: list[str] | None
    one_hot: Array


def read_csv(
    path: str | os.PathLike[str],
    target: int | str = -1,
    *,
    task: str = "auto",
    header: bool | None = None,
    delimiter: str = ",",
    categories: str | Sequence[int | str] = "auto",
) -> Table:
    """Read a table from a CSV file (UTF-8): a target, and columns of numbers or categories.

    ``target``: a column's name, or its number from 0 (negative: from the end). ``task``:
    ``"classification"`` gives every different target text a class, in numerical order if all are
    numbers, else alphabetical; ``"regression"`` reads numbers; ``"auto"`` takes classification
    if the target is text or whole numbers with at most 50 different values. ``header``: whether
    the first line names the columns; None: it does if no field of it is a number or occurs again
    further down its column. ``delimiter``: one character; ``" "`` or ``"whitespace"`` stands for
    any run of blanks and tabs. Empty lines are skipped. In errors and as names
    too, columns are numbered from 0.

    ``categories``: the names or numbers of columns whose texts are categories (up to 100 each), or
    ``"auto"``: those without any number. Each becomes one column for every different text, in
    the order of classes.

    Raises ``OSError`` if the file can't be read; ``ValueError``, with file, line and column, for
    an empty file, a row of another length, too many categories, an empty field, and a field of
    another column that is not a finite number.
    """
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    if not isinstance(delimiter, str) or (len(delimiter) != 1 and delimiter != "whitespace"):
        raise ValueError(
            f"read_csv: delimiter must be one character or 'whitespace', got {delimiter!r}"
        )
    if isinstance(categories, str) and categories != "auto":
        raise ValueError(f"read_csv: categories must be 'auto' or a list, got {categories!r}")
    lines, rows = _read_rows(path, delimiter)
    if header is None:
        header = not any(map(_is_number, rows[0])) and not _occurs_again(rows)
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
    chosen = _column(path, "target", target, names, width)
    where = [f"column {i}" + (f" ({names[i]!r})" if names else "") for i in range(width)]
    named = names or [f"column {i}" for i in range(width)]
    columns = [[row[i].strip() for row in rows] for i in range(width)]
    if categories == "auto":
        sorts = {i for i, texts in enumerate(columns) if any(texts) and not _has_number(texts)}
    else:
        sorts = {_column(path, "categories", c, names, width) for c in categories}
        if chosen in sorts:
            raise ValueError(f"{path}: {where[chosen]} is the target, it can't be in categories")

    features: list[Array] = []
    feature_names: list[str] = []
    one_hot: list[bool] = []
    for i, texts in enumerate(columns):
        if i == chosen:
            continue
        if i not in sorts:
            numbers = [_number(path, n, where[i], t) for n, t in zip(lines, texts, strict=True)]
            features.append(np.array(numbers))
            feature_names.append(named[i])
            one_hot.append(False)
            continue
        _require_texts(path, lines, where[i], texts)
        different = _classes(texts)
        if len(different) > MOST_CATEGORIES:
            raise ValueError(
                f"{path}, {where[i]}: {len(different)} different texts; a category may have "
                f"{MOST_CATEGORIES}, a column that only names its rows must be taken out"
            )
        features += [np.array([text == value for text in texts], float) for value in different]
        feature_names += [f"{named[i]}={value}" for value in different]
        one_hot += [True] * len(different)
    texts = columns[chosen]
    _require_texts(path, lines, where[chosen], texts)
    if task == "auto":
        task = "classification" if _looks_like_classes(texts) else "regression"
    class_names: list[str] | None = None
    if task == "classification":
        class_names = _classes(texts)
        labels = {name: i for i, name in enumerate(class_names)}
        y = np.array([labels[text] for text in texts], np.int64)
    else:
        y = np.array(
            [_number(path, n, where[chosen], t) for n, t in zip(lines, texts, strict=True)]
        )
    x = np.stack(features, axis=1)
    return Table(x, y, feature_names, named[chosen], class_names, np.array(one_hot))


def _read_rows(path: str | os.PathLike[str], delimiter: str) -> tuple[list[int], list[list[str]]]:
    """All rows that aren't empty, and the line each ends on."""
    lines, rows = [], []
    with open(path, encoding="utf-8-sig", newline="") as file:
        if delimiter in (" ", "whitespace"):
            blanks = (line.expandtabs(1).strip() for line in file)
            reader = csv.reader(blanks, delimiter=" ", skipinitialspace=True)
        else:
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


def _column(path: Any, role: str, column: int | str, names: list[str], width: int) -> int:
    """Number from 0 of a column that is given by name or number."""
    if isinstance(column, str):
        if column in names:
            return names.index(column)
        try:
            column = int(column)
        except ValueError:
            if names:
                raise unknown(f"{role} column in {path}:", column, names) from None
            raise ValueError(
                f"{path} has no header; give the {role} {column!r} as a column number"
            ) from None
    if not -width <= column < width:
        raise ValueError(f"{path}: {role} column {column} is out of range: {width} columns")
    return column % width


def _occurs_again(rows: list[list[str]]) -> bool:
    """Whether a field of the first row is also the field below, as no column's name would be."""
    first = [field.strip() for field in rows[0]]
    return any(a and a == b.strip() for row in rows[1:] for a, b in zip(first, row, strict=False))


def _has_number(texts: list[str]) -> bool:
    return any(map(_is_number, texts))


def _require_texts(path: Any, lines: list[int], column: str, texts: list[str]) -> None:
    for line, text in zip(lines, texts, strict=True):
        if not text:
            raise ValueError(f"{path}, line {line}, {column}: the field is empty")


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
