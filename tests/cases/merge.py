"""Cases of sums: 1-D arrays around the sizes of vectors and of the threads' chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cases import Data
from cases.activation import FULL, TINY

Cases = Iterator[tuple[str, tuple[Any, ...]]]


def add(data: Data, size: str) -> Cases:
    for n in TINY if size == "tiny" else FULL:
        for activation in (0, 1):
            text = f"(size {n}{', relu' if activation else ''})"
            yield text, (data.array(n), data.array(n), activation, data.output(n))
