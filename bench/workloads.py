"""The cases of ``bench.peers``: what every engine does in a step, and what that must cost.

``flops`` counts multiply-adds twice, those in the padding not at all. ``passes`` is the least
traffic, as plain loops: tuples (arrays updated, arrays only read, float32 elements of each).
``tolerance`` is how far the results of two engines may be apart, relative to their norms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench import networks, shapes
from fastnn import zoo
from fastnn.geometry import Conv2DGeometry, Geometry2D

Passes = list[tuple[int, int, int]]

_STATES = {"sgd": 0, "rmsprop": 1, "adam": 2}


@dataclass(frozen=True)
class Step:
    """A training step: forward, loss, backward, update."""

    network: str
    optimizer: str
    kind = "step"

    @property
    def text(self) -> str:
        """What is timed, in words."""
        n = networks.NETWORKS[self.network]
        inputs, hidden = "x".join(map(str, n["input"])), networks.text(self.network)
        return f"{inputs} inputs, {hidden}, batch {n['batch']}, {self.optimizer}"

    @property
    def is_dense(self) -> bool:
        """Whether there are dense layers only."""
        return all(layer.kind == "dense" for layer in networks.layers(self.network))

    @property
    def flops(self) -> int:
        """Forward, dw, and dx but of the first layer."""
        batch = networks.NETWORKS[self.network]["batch"]
        first, *rest = (
            2 * batch * layer.multiply_adds
            for layer in networks.layers(self.network)
            if layer.w_shape
        )
        return 2 * first + 3 * sum(rest)

    @property
    def passes(self) -> Passes:
        """The weights are read forward; they and the optimizer's state are updated."""
        layers = (layer for layer in networks.layers(self.network) if layer.w_shape)
        size = sum(math.prod(layer.w_shape) + layer.w_shape[-1] for layer in layers)
        return [(0, 1, size), (1 + _STATES[self.optimizer], 0, size)]

    @property
    def tolerance(self) -> float:
        """Of the loss: dropout draws other units in every engine."""
        drops = any(layer.kind == "dropout" for layer in networks.layers(self.network))
        return 0.1 if drops else 1e-3


@dataclass(frozen=True)
class Update:
    """One Adam update of ``size`` parameters with the gradient given."""

    size: int
    kind = "update"
    tolerance = 1e-3

    @property
    def text(self) -> str:
        """What is timed, in words."""
        return f"Adam, {self.size:,} parameters"

    @property
    def flops(self) -> int:
        """By the op table's count."""
        return 14 * self.size

    @property
    def passes(self) -> Passes:
        """Parameter and two moments updated, the gradient read."""
        return [(3, 1, self.size)]

    def arrays(self) -> list[np.ndarray]:
        """param, grad, m, v."""
        rng = np.random.default_rng(3)
        param = rng.standard_normal(self.size, np.float32)
        grad = rng.standard_normal(self.size, np.float32)
        return [param, grad, np.zeros_like(param), np.zeros_like(param)]


@dataclass(frozen=True)
class Gemm:
    """One of the three products of a dense layer, into an array that is given."""

    product: str
    shape: str
    kind = "dense"
    tolerance = 1e-3

    @property
    def sizes(self) -> tuple[int, int, int]:
        """N, K, O."""
        s = shapes.DENSE[self.shape]
        return s["n"], s["k"], s["o"]

    @property
    def text(self) -> str:
        """What is timed, in words."""
        formula = {"forward": "y = x w", "dx": "dx = dz wᵀ", "dw": "dw = xᵀ dz"}[self.product]
        return f"{formula}, N, K, O = {self.sizes}"

    @property
    def flops(self) -> int:
        """2 N K O."""
        n, k, o = self.sizes
        return 2 * n * k * o

    @property
    def passes(self) -> Passes:
        """Both operands read, the product written."""
        return [(0, 1, self.sizes_of(0)), (0, 1, self.sizes_of(1)), (1, 0, self.sizes_of(2))]

    def sizes_of(self, operand: int) -> int:
        """Elements of an operand (0, 1) or of the product (2)."""
        rows, columns = self.operands()[operand]
        return rows * columns

    def operands(self) -> list[tuple[int, int]]:
        """Shapes of both operands, as they are stored, and of the product."""
        n, k, o = self.sizes
        x, w, y = (n, k), (k, o), (n, o)
        return {"forward": [x, w, y], "dx": [y, w, x], "dw": [x, y, w]}[self.product]

    def arrays(self) -> list[np.ndarray]:
        """Both operands and an array for the product."""
        rng = np.random.default_rng(4)
        a, b, out = self.operands()
        return [
            rng.standard_normal(a, np.float32), rng.standard_normal(b, np.float32),
            np.zeros(out, np.float32),
        ]  # fmt: skip


@dataclass(frozen=True)
class Conv:
    """A convolution: forward with bias, or what backward computes: dx, dw and db, or one of them.

    The first layer of a network, which reads images of one or three channels, has no dx.
    """

    shape: str
    part: str
    kind = "conv"
    tolerance = 1e-3

    @property
    def sizes(self) -> shapes.Sizes:
        """The row of ``conv.json``."""
        return shapes.CONV[self.shape]

    @property
    def geometry(self) -> Conv2DGeometry:
        """The geometry of it."""
        return shapes.conv_geometry(self.sizes)

    @property
    def text(self) -> str:
        """What is timed, in words."""
        results = "y = x * w + b" if self.part == "forward" else ", ".join(self.results)
        return f"{results}: {shapes.describe(self.sizes)}"

    @property
    def results(self) -> tuple[str, ...]:
        """What is computed, in the order in which every engine returns it."""
        if self.part == "backward":
            return ("dw", "db") if self.sizes["c"] in (1, 3) else ("dx", "dw", "db")
        return ("y",) if self.part == "forward" else (self.part,)

    @property
    def flops(self) -> int:
        """Of the products; db isn't counted."""
        products = sum(result != "db" for result in self.results)
        return 2 * products * self.sizes["n"] * self.geometry.multiply_adds

    @property
    def passes(self) -> Passes:
        """What goes in is read, what comes out is written."""
        read = {"y": {"x", "w"}, "dx": {"dy", "w"}, "dw": {"x", "dy"}, "db": {"dy"}}
        size = {name: math.prod(shape) for name, shape in self.array_shapes().items()}
        inputs = set().union(*(read[result] for result in self.results))
        return [(0, 1, size[name]) for name in sorted(inputs)] + [
            (1, 0, size[name]) for name in self.results
        ]

    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of x, w, b, of the gradient dy, and of the results."""
        geometry, n = self.geometry, self.sizes["n"]
        x, w, y = (n, *geometry.in_shape), geometry.w_shape, (n, *geometry.out_shape)
        b = w[-1:]
        return {"x": x, "w": w, "b": b, "y": y, "dy": y, "dx": x, "dw": w, "db": b}

    def arrays(self) -> dict[str, np.ndarray]:
        """x, w, b, dy, and arrays for the results."""
        found = self.array_shapes()
        given = {name: _random(i, found[name]) for i, name in enumerate(("x", "w", "b", "dy"))}
        return given | {name: np.zeros(found[name], np.float32) for name in self.results}


@dataclass(frozen=True)
class Pool:
    """Pooling, forward and backward."""

    shape: str
    kind = "pool"
    tolerance = 1e-3
    #: Comparisons and sums aren't multiply-adds.
    flops = 0
    results = ("y", "dx")

    @property
    def sizes(self) -> shapes.Sizes:
        """The row of ``pool.json``."""
        return shapes.POOL[self.shape]

    @property
    def geometry(self) -> Geometry2D:
        """The geometry of it."""
        return shapes.pool_geometry(self.sizes)

    @property
    def text(self) -> str:
        """What is timed, in words."""
        return f"forward and backward: {shapes.describe(self.sizes)}"

    @property
    def is_max(self) -> bool:
        """Maxima or means."""
        return self.sizes["kind"] == "max"

    @property
    def is_global(self) -> bool:
        """Whether the window is the image."""
        return self.geometry.out_shape[:2] == (1, 1)

    @property
    def passes(self) -> Passes:
        """x and dy read, y and dx written; of a maximum the index, a byte, written and read."""
        geometry, n = self.geometry, self.sizes["n"]
        x, y = n * math.prod(geometry.in_shape), n * math.prod(geometry.out_shape)
        index = [(1, 0, y // 4), (0, 1, y // 4)] if self.is_max else []
        return [(0, 1, x), (0, 1, y), (1, 0, y), (1, 0, x), *index]

    def arrays(self) -> dict[str, np.ndarray]:
        """x, dy, and arrays for y, index and dx."""
        geometry, n = self.geometry, self.sizes["n"]
        x, y = (n, *geometry.in_shape), (n, *geometry.out_shape)
        return {
            "x": _random(0, x), "dy": _random(1, y), "y": np.zeros(y, np.float32),
            "index": np.zeros(y, geometry.index_dtype), "dx": np.zeros(x, np.float32),
        }  # fmt: skip


@dataclass(frozen=True)
class Norm:
    """Batch normalisation with ReLU in training, forward and backward."""

    shape: str
    kind = "norm"
    tolerance = 1e-3
    flops = 0
    results = ("y", "dx", "dgamma", "dbeta")

    @property
    def sizes(self) -> shapes.Sizes:
        """The row of ``norm.json``."""
        return shapes.NORM[self.shape]

    @property
    def text(self) -> str:
        """What is timed, in words."""
        return f"batch normalisation and ReLU, forward and backward: {shapes.describe(self.sizes)}"

    @property
    def passes(self) -> Passes:
        """x is read, and read once more for y; so are x and dy, and once more for dx."""
        size = math.prod(self.sizes[key] for key in "nhwc")
        return [(0, 1, size), (1, 1, size), (0, 2, size), (1, 2, size)]

    def arrays(self) -> dict[str, np.ndarray]:
        """x, dy, gamma, beta, and an array for y and then dx."""
        images = tuple(self.sizes[key] for key in "nhwc")
        gamma, beta = _random(2, (2, images[-1]))
        return {
            "x": _random(0, images), "dy": _random(1, images), "gamma": gamma, "beta": beta,
            "y": np.zeros(images, np.float32), "dx": np.zeros(images, np.float32),
        }  # fmt: skip


@dataclass(frozen=True)
class Zoo:
    """A training step of a network of ``fastnn.zoo`` at its published input, with plain SGD.

    Dropout is left out.
    """

    network: str
    batch: int = 8
    kind = "zoo"
    tolerance = 1e-3

    @property
    def text(self) -> str:
        """What is timed, in words."""
        images = "x".join(map(str, (self.batch, *zoo.NETWORKS[self.network].input_shape)))
        return f"{self.network}, {images}, sgd"

    @property
    def flops(self) -> int:
        """Forward, dw, and dx: that of the first layer, which nobody needs, is counted too."""
        layers = zoo.get(self.network).chain.walk()
        return 6 * self.batch * sum(layer.multiply_adds for layer in layers)

    @property
    def passes(self) -> Passes:
        """The weights are read forward and updated."""
        size = zoo.NETWORKS[self.network].parameters
        return [(0, 1, size), (1, 0, size)]

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels."""
        network, rng = zoo.NETWORKS[self.network], np.random.default_rng(2)
        x = rng.standard_normal((self.batch, *network.input_shape), np.float32)
        return x, rng.integers(0, network.classes, self.batch)


def _random(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """From N(0, 1); large ones repeat a piece, of a length that no row is a multiple of."""
    piece = np.random.default_rng(seed).standard_normal(min(math.prod(shape), 999_983), np.float32)
    return np.resize(piece, shape)


Case = Step | Update | Gemm | Conv | Pool | Norm | Zoo


def _parts(shape: str) -> tuple[str, ...]:
    """What of a convolution is timed; the CIFAR-10 network's also product by product."""
    parts: tuple[str, ...] = ("forward", "backward")
    if shape.startswith("cifar10-"):
        parts += tuple(part for part in Conv(shape, "backward").results if part != "db")
    return parts


CASES: dict[str, Case] = {
    **{
        f"{network}-{optimizer}": Step(network, optimizer)
        for network in ("digits", "office-small", "office-large")
        for optimizer in ("sgd", "adam")
    },
    "mnist": Step("mnist", "adam"),
    "lenet5": Step("lenet5", "adam"),
    "cifar10": Step("cifar10", "rmsprop"),
    "adam-update": Update(25_000_000),
    **{
        f"{shape}-{product}": Gemm(product, shape)
        for shape in ("cifar-dense", "square", "tall")
        for product in ("forward", "dx", "dw")
    },
    **{f"{shape}-{part}": Conv(shape, part) for shape in shapes.CONV for part in _parts(shape)},
    **{shape: Pool(shape) for shape in shapes.POOL},
    **{shape: Norm(shape) for shape in shapes.NORM if shape.startswith("resnet50")},
    "resnet50": Zoo("resnet50"),
    "vgg16": Zoo("vgg16"),
}
