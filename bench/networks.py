"""The networks of ``shapes/networks.json``: as data, as fastnn models, with data to train on.

A network is a list of layers, and then its heads. ``layers`` places them: every engine builds the
same network from what it returns, and starts from the weights of ``weights``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import fastnn
from bench.shapes import NETWORKS
from fastnn.geometry import Conv2DGeometry, Geometry2D, conv2d_geometry, pool2d_geometry

#: Rate of timed steps: so small that the network stays as it is. A network that has learnt its
#: one batch by heart has denormal gradients, which are slow on some CPUs and engines.
STILL = 1e-9

POOLS = ("max_pool", "average_pool")


@dataclass(frozen=True)
class Layer:
    """A layer in its place: ``kind`` and what it needs, shapes without the batch.

    ``kind`` is ``"dense"``, ``"conv"``, ``"max_pool"``, ``"average_pool"``, ``"flatten"`` or
    ``"dropout"``.
    """

    kind: str
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    activation: str | None = None
    geometry: Geometry2D | None = None
    rate: float = 0.0

    @property
    def w_shape(self) -> tuple[int, ...]:
        """(K, O) or (KH, KW, C, O); empty for a layer without weights."""
        if isinstance(self.geometry, Conv2DGeometry):
            return self.geometry.w_shape
        return (*self.in_shape, *self.out_shape) if self.kind == "dense" else ()

    @property
    def multiply_adds(self) -> int:
        """Of the forward pass of one sample."""
        if isinstance(self.geometry, Conv2DGeometry):
            return self.geometry.multiply_adds
        return math.prod(self.w_shape) if self.w_shape else 0

    @property
    def text(self) -> str:
        """``5x5x64``, ``pool``, ``384``; empty for what changes the shape only, and dropout."""
        if self.kind == "conv":
            return "x".join(map(str, (*self.w_shape[:2], self.out_shape[-1])))
        if self.kind == "dense":
            return str(self.out_shape[-1])
        return "pool" if self.kind in POOLS else ""


@cache
def layers(name: str) -> tuple[Layer, ...]:
    """All layers of a network; its heads, which are dense, count as one, the last."""
    network = NETWORKS[name]
    shape: tuple[int, ...] = tuple(network["input"])
    outputs = sum(network["heads"].values())
    found = []
    for row in (*network["layers"], {"kind": "dense", "units": outputs}):
        layer = _placed(row, shape)
        found.append(layer)
        shape = layer.out_shape
    return tuple(found)


def _placed(row: dict[str, Any], shape: Any) -> Layer:
    kind = row["kind"]
    if kind == "conv":
        conv = conv2d_geometry(
            kind, shape, (row["kernel"], row["kernel"], shape[2], row["filters"]),
            row.get("strides", 1), row.get("padding", "valid"),
        )  # fmt: skip
        return Layer(kind, shape, conv.out_shape, row["activation"], conv)
    if kind in POOLS:
        pool = pool2d_geometry(kind, shape, *_window(row))
        return Layer(kind, shape, pool.out_shape, geometry=pool)
    if kind == "dense":
        return Layer(kind, shape, (row["units"],), row.get("activation"))
    if kind == "flatten":
        return Layer(kind, shape, (math.prod(shape),))
    if kind == "dropout":
        return Layer(kind, shape, shape, rate=row["rate"])
    raise ValueError(f"bench/shapes/networks.json: no layer of kind {kind!r}")


def _window(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["window"], row.get("strides"), row.get("padding", "valid")


def text(name: str) -> str:
    """The hidden layers: ``(80,70)``."""
    return f"({','.join(filter(None, (layer.text for layer in layers(name)[:-1])))})"


def model(name: str, optimizer: str, learning_rate: float, dtype: str = "float32") -> Any:
    """A compiled ``Sequential`` with the weights of ``weights``."""
    network = NETWORKS[name]
    outputs = {head: fastnn.Dense(units) for head, units in network["heads"].items()}
    last = outputs[""] if "" in outputs else fastnn.Heads(outputs)
    hidden = [_LAYERS[row["kind"]](row) for row in network["layers"]]
    found = fastnn.Sequential([*hidden, last], tuple(network["input"]), dtype=dtype, seed=1)
    start = weights(name)
    ends = np.cumsum(list(network["heads"].values()))[:-1]
    w, b = start.pop()
    start += zip(np.split(w, ends, axis=1), np.split(b, ends), strict=True)
    parameters = [array for pair in start for array in pair]
    for parameter, value in zip(found.store.parameters, parameters, strict=True):
        parameter.value[...] = value
    rules = fastnn.optimizers
    rule = {"sgd": rules.SGD, "adam": rules.Adam, "rmsprop": rules.RMSprop}[optimizer]
    found.compile(optimizer=rule(learning_rate), loss="softmax_cross_entropy")
    return found


_LAYERS: dict[str, Any] = {
    "dense": lambda row: fastnn.Dense(row["units"], activation=row["activation"]),
    "conv": lambda row: fastnn.layers.Conv2D(
        row["filters"], row["kernel"], row.get("strides", 1), row.get("padding", "valid"),
        activation=row["activation"],
    ),
    "max_pool": lambda row: fastnn.layers.MaxPool2D(*_window(row)),
    "average_pool": lambda row: fastnn.layers.AveragePooling2D(*_window(row)),
    "flatten": lambda row: fastnn.layers.Flatten(),
    "dropout": lambda row: fastnn.layers.Dropout(row["rate"], seed=1),
}  # fmt: skip


def weights(name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(w, b) to start from, of every layer that has them: Glorot's normal distribution, 0.1."""
    rng = np.random.default_rng(1)
    found = []
    for shape in (layer.w_shape for layer in layers(name) if layer.w_shape):
        fans = math.prod(shape[:-2]) * (shape[-2] + shape[-1])
        w = rng.standard_normal(shape, np.float32) * np.float32(math.sqrt(2 / fans))
        found.append((w, np.full(shape[-1], 0.1, np.float32)))
    return found


def data(name: str, dtype: str = "float32") -> tuple[np.ndarray, Any]:
    """One batch: inputs from N(0, 1), labels (N,) or a dict of them by head."""
    network = NETWORKS[name]
    rng = np.random.default_rng(2)
    x = rng.standard_normal((network["batch"], *network["input"])).astype(dtype)
    labels = {h: rng.integers(0, units, len(x)) for h, units in network["heads"].items()}
    return x, labels.get("", labels)
