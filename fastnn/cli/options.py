"""What all commands share: options, types of their values, JSON."""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from fastnn.backends import BACKENDS
from fastnn.errors import unknown
from fastnn.files import write_atomically


class _Help(argparse.HelpFormatter):
    """Adds the default, where there is one, and leaves names such as adagrad-da in one piece."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        none = action.default is None or action.default is False
        shown = action.option_strings and not none and action.default != argparse.SUPPRESS
        return f"{action.help} (default: %(default)s)" if shown else action.help


class CommandParser(argparse.ArgumentParser):
    """Raises ``ValueError`` instead of printing usage, so that an error is one line."""

    def __init__(self, **kwargs: Any) -> None:
        # An abbreviation that works today would break with the next option.
        super().__init__(allow_abbrev=False, formatter_class=_Help, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)

    def add_common_options(self) -> None:
        """The options of every command."""
        group = self.add_argument_group("common options")
        add = group.add_argument
        add(
            "--threads",
            type=count(1, MOST_THREADS),
            metavar="N",
            help="threads of the kernels; FASTNN_NUM_THREADS or all CPUs if unset",
        )
        add("--seed", type=count(0, MOST_SEED), default=0, metavar="N",
            help="of all that is drawn at random: weights, order, splits")  # fmt: skip
        add("--backend", type=name("backend", (*BACKENDS, "auto")), metavar="NAME",
            help=f"{', '.join(BACKENDS)}, or auto: the first of them that works; "
            "FASTNN_BACKEND or auto if unset")  # fmt: skip
        add("--json", type=output, metavar="FILE", help="also write the figures to FILE")


def _typed(function: Callable[[str], Any]) -> Callable[[str], Any]:
    """A type for argparse; its ``ValueError`` text reaches the user."""

    def convert(text: str) -> Any:
        try:
            return function(text)
        except (ValueError, OSError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def add_record_option(add: Callable[..., Any]) -> None:
    """--record, by the ``add_argument`` of a parser or a group."""
    add("--record", type=output, metavar="FILE",
        help="write a page to FILE (HTML) on which the network is seen learning")  # fmt: skip


#: What every generator of random numbers takes, with some room for the seeds after it.
MOST_SEED = 2**31 - 1
#: More threads than this no kernel can use, and the system may refuse to start them.
MOST_THREADS = 256


def count(least: int, most: int | None = None) -> Callable[[str], int]:
    """An integer, least <= integer <= most."""
    bounds = f">= {least}" + ("" if most is None else f" and <= {most}")

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise ValueError(f"expected an integer {bounds}, got {text!r}")
        return value

    return _typed(convert)


def number(low: float, high: float = math.inf) -> Callable[[str], float]:
    """A finite number, low <= number < high."""
    bounds = f">= {low:g}" + (f" and < {high:g}" if high < math.inf else "")

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (low <= value < high):
            raise ValueError(f"expected a number {bounds}, got {text!r}")
        return value

    return _typed(convert)


def name(kind: str, valid: Iterable[str]) -> Callable[[str], str]:
    """One of the names; an error says which is nearest."""
    choices = tuple(valid)

    def convert(text: str) -> str:
        if text not in choices:
            raise unknown(kind, text, choices)
        return text

    return _typed(convert)


def sizes(text: str) -> list[int]:
    """Sizes of hidden layers: ``80,70``, or ``none``."""
    return [] if text == "none" else [count(1)(part) for part in text.split(",")]


def names(kind: str, valid: Iterable[str]) -> Callable[[str], list[str]]:
    """Several of the names, separated by commas, each once."""
    choices = tuple(valid)
    one = name(kind, choices)

    def convert(text: str) -> list[str]:
        if not text:
            raise ValueError(f"expected names such as {','.join(choices[:2])}, got ''")
        return _distinct([one(part) for part in text.split(",")], text)

    return _typed(convert)


@_typed
def point(text: str) -> tuple[float, float]:
    """A point of the plane: ``X,Y``, two finite numbers."""
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"expected two numbers X,Y, got {text!r}")
    return x, y


@_typed
def seeds(text: str) -> list[int]:
    """Seeds: ``1,2,3``, ``0-9`` or both, ``0-4,7``. Each once, a thousand at most."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() and len(end) < 20 for end in ends):
            raise ValueError(f"expected seeds such as 1,2,3 or 0-9, got {text!r}")
        low, high = map(int, ends)
        if not low <= high < low + MOST_SEEDS - len(found):
            raise ValueError(f"expected 1 to {MOST_SEEDS} seeds, ranges upwards, got {text!r}")
        if high > MOST_SEED:
            raise ValueError(f"expected seeds <= {MOST_SEED}, got {text!r}")
        found += range(low, high + 1)
    return _distinct(found, text)


#: More runs than this are a mistake.
MOST_SEEDS = 1000


def _distinct(values: list[Any], text: str) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError(f"expected each once, got {text!r}")
    return values


@_typed
def folder(text: str) -> Path:
    """A folder to write into, which may have to be made: ``mkdir(parents=True)`` will work."""
    path = Path(text)
    if not text:
        raise ValueError("expected a folder, got ''")
    there = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if not there.is_dir():
        raise ValueError(f"expected a folder, {str(there)!r} is a file")
    _check_writable(there, text)
    return path


@_typed
def output(text: str) -> Path:
    """A file that can be written: found out before the work, not after it."""
    path = Path(text)
    if not text:
        raise ValueError("expected a file, got ''")
    if path.exists() and not path.is_file():
        raise ValueError(f"expected a file, {text!r} is a folder or a device")
    if not path.parent.is_dir():
        raise ValueError(f"{text}: the folder {str(path.parent)!r} does not exist")
    _check_writable(path.parent, text)
    return path


def _check_writable(place: Path, text: str) -> None:
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise ValueError(f"{text}: can't write there: {os.strerror(error.errno or 0)}") from None


@contextmanager
def naming(option: str) -> Iterator[None]:
    """Errors of what is read inside get the option's name before them."""
    try:
        yield
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise ValueError(f"{option}: {place}{error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None


def check_distinct(**paths: Path | str | None) -> None:
    """Refuse two options that name the same file: one would overwrite the other."""
    seen: dict[str, str] = {}
    for name, path in paths.items():
        if path is None:
            continue
        real = os.path.realpath(path)
        if real in seen:
            raise ValueError(f"--{seen[real]} and --{name} name the same file: {path}")
        seen[real] = name


def write_json(path: Path | None, data: Any) -> None:
    """Write ``data`` if a path was given; numbers that aren't finite become null."""
    if path is not None:
        text = json.dumps(_plain(data), indent=2, allow_nan=False)
        write_atomically(path, text.encode() + b"\n")


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_plain(value) for value in data]
    if isinstance(data, np.ndarray):
        return _plain(data.tolist())
    if isinstance(data, np.generic):
        data = data.item()
    return None if isinstance(data, float) and not math.isfinite(data) else data


def table(rows: list[list[str]], left: int = 1) -> str:
    """Rows in columns, the first row as head; ``left`` columns are flush left, the rest right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)
