"""Cases of the dense ops. N batch, K inputs, O outputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from cases import Data, update
from fastnn.ops import FUSED_ACTIVATIONS
from fastnn.rules import Rule

Cases = Iterator[tuple[str, tuple[Any, ...]]]

TINY = [(1, 1, 1), (2, 3, 1), (1, 5, 4), (3, 1, 2), (4, 7, 5), (0, 3, 2)]

#: (N, K, O). The widest tile is 64 columns, tiles have 4 … 12 rows, blocks 192 rows and 512
#: columns, slices of the sum 80 … 256. From about a million multiply-adds on (N·K·O) the Cython
#: kernels use threads, and Numba's a little earlier.
FULL = [
    (1, 1, 1),
    (0, 5, 3),
    (1, 17, 1),
    (1, 64, 10),
    (3, 2, 1),
    (5, 63, 63),
    (6, 64, 64),
    (7, 65, 65),
    (11, 79, 15),
    (12, 80, 16),
    (13, 81, 17),
    (31, 101, 37),
    (12, 257, 129),  # more than one slice of the sum
    (2, 3, 1031),  # more than two blocks of columns
    (193, 83, 131),  # more than one block of rows
    (385, 41, 515),  # blocks both ways, parallel
    (128, 300, 200),  # one block of rows, cut into columns for the threads
    (10, 4099, 5),  # few rows and a long sum: in parts
    (64, 5003, 33),  # the same, parallel
    (130, 6007, 3),  # a long sum and next to no columns, parallel
    (67, 5, 3011),  # many columns, parallel
]

#: (N, K, O, start, rows): panels of the weight gradient.
TINY_PANELS = [(n, k, o, 0, k) for n, k, o in TINY] + [(4, 7, 5, 3, 2), (2, 3, 2, 2, 1)]
FULL_PANELS = [(n, k, o, 0, k) for n, k, o in FULL] + [
    (10, 1001, 65, 1, 1),
    (10, 1001, 65, 488, 513),
    (13, 97, 17, 90, 7),
    (128, 700, 129, 300, 256),  # parallel
    (5003, 200, 3, 7, 150),  # a long sum over the batch, parallel
]


def _shapes(size: str) -> list[tuple[int, int, int]]:
    return TINY if size == "tiny" else FULL


def dense(data: Data, size: str) -> Cases:
    for i, (n, k, o) in enumerate(_shapes(size)):
        x, w, b = data.array(n, k), data.array(k, o), data.array(o)
        # Sums that sigmoid and tanh don't send to 1 all of them; sixty-fourths stay exact.
        small = w / np.asarray(64 if data.kind == "exact" else k**0.5, data.dtype)
        # Every shape with a bias and without, every activation on some of the shapes.
        for bias in (b, None):
            for name, code in FUSED_ACTIVATIONS.items():
                if size == "tiny" or (code + i) % 2 == (bias is None) or code == 0:
                    text = f"(N={n}, K={k}, O={o}), {'no ' * (bias is None)}bias, {name}"
                    yield text, (x, small if code > 1 else w, bias, code, data.output(n, o))


def dense_dx(data: Data, size: str) -> Cases:
    for n, k, o in _shapes(size):
        yield f"(N={n}, K={k}, O={o})", (data.array(n, o), data.array(k, o), data.output(n, k))
    if size == "full":  # the long sum is over the outputs here
        for n, k, o in [(9, 3, 4999), (130, 3, 6007)]:
            yield f"(N={n}, K={k}, O={o})", (data.array(n, o), data.array(k, o), data.output(n, k))


def dense_dw(data: Data, size: str) -> Cases:
    for n, k, o, start, rows in TINY_PANELS if size == "tiny" else FULL_PANELS:
        yield (
            f"(N={n}, K={k}, O={o}), rows {start} … {start + rows - 1}",
            (data.array(n, k), data.array(n, o), start, data.output(rows, o)),
        )


def dense_db(data: Data, size: str) -> Cases:
    shapes = list(dict.fromkeys((n, o) for n, _, o in _shapes(size)))
    if size == "full":
        shapes += [(3, 200_003)]  # parallel on Numba
    for n, o in shapes:
        yield f"(N={n}, O={o})", (data.array(n, o), data.output(o))


#: (N, K, O): panels have up to 192 rows and 128 KB (Cython) or 512 KB (the others).
FULL_STREAMED = [
    (1, 1, 1),
    (0, 5, 3),
    (5, 7, 3),
    (10, 1001, 65),  # several panels, the last one short; parallel
    (13, 193, 131),
    (10, 403, 515),  # panels of fewer rows
    (2, 3, 40_009),  # a row is larger than a panel
    (300, 200, 9),  # more than one slice of the sum
    (10, 5003, 129),  # the next product in parts, parallel
    (63, 2049, 7),
    # Whole vectors of w, which Cython updates in registers: tiles of 2 … 8 rows, bands of 72 KB.
    (0, 2050, 16),
    (1, 3, 32),
    (7, 9, 16),  # one strip on some instruction sets
    (5, 16, 32),
    (10, 1003, 64),
    (63, 2085, 32),  # as many rows of the next batch as are multiplied on the way
    (64, 2061, 48),  # the most rows of a batch, and one too many of the next
    (65, 83, 32),
    (3, 49, 384),  # a band and a row, with SGD
    (10, 784, 512),
    (10, 2051, 384),  # several bands, parallel
    (10, 83, 4096),  # a band is a tile
    (64, 5, 3456),  # to the last byte of what is packed
    (64, 5, 3472),  # and beyond
]


def dense_dw_update(data: Data, size: str) -> Cases:
    for n, k, o in TINY if size == "tiny" else FULL_STREAMED:
        # A rate of 1/4 keeps w exact, and so the product with the next batch.
        yield _streamed(data, n, k, o, n + 1, Rule("sgd", 0.25), "full")
        if (k, o) == (2085, 32) and data.kind == "real":  # state and the next batch
            for name, forms in update.FORMS.items():
                rule = Rule(name, 0.03, **forms[-1], **update.TREATMENTS[-1])
                yield _streamed(data, n, k, o, n + 1, rule, "full")
            for form in ("bfloat16", "8bit"):
                rule = Rule("adam", 0.03, **update.FORMS["adam"][-1], seed=5, place=640)
                yield _streamed(data, n, k, o, n + 1, rule, form)
        for name, forms in update.FORMS.items():
            for treatment in ({}, update.TREATMENTS[-1]):
                rule = Rule(name, 0.03, **forms[-1], **treatment)
                yield _streamed(data, n, k, o, 0, rule, "full")
        for form in () if size == "tiny" else ("bfloat16", "8bit"):
            for name in ("momentum", "adam"):
                rule = Rule(name, 0.03, **update.FORMS[name][-1], seed=5, place=640)
                yield _streamed(data, n, k, o, 0, rule, form)


def _streamed(
    data: Data, n: int, k: int, o: int, ahead: int, rule: Rule, form: str
) -> tuple[str, tuple[Any, ...]]:
    x, dz, w = data.array(n, k), data.array(n, o), data.array(k, o)
    state = update.state(data, rule, k * o, form)
    following = (data.array(ahead, k), data.output(ahead, o)) if ahead else (None, None)
    words = f"{update.text(rule)}, {form} state{', next batch' * bool(ahead)}"
    return f"(N={n}, K={k}, O={o}), {words}", (x, dz, w, state, rule, *following)
