"""The cases of ``bench.peers``: what every engine does in a step, and what that must cost.

``flops`` counts multiply-adds twice. ``passes`` is the least traffic, as plain loops: tuples
(arrays updated, arrays only read, float32 elements of each).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench import networks, shapes

Passes = list[tuple[int, int, int]]

_STATES = {"sgd": 0, "adam": 2}


@dataclass(frozen=True)
class Step:
    """A training step: forward, loss, backward, update."""

    network: str
    optimizer: str

    @property
    def text(self) -> str:
        """What is timed, in words."""
        n = networks.NETWORKS[self.network]
        hidden = ",".join(map(str, n["hidden"]))
        return f"{n['inputs']} inputs, ({hidden}), batch {n['batch']}, {self.optimizer}"

    @property
    def flops(self) -> int:
        """Forward, dw, and dx but of the first layer."""
        first, *rest = (
            2 * networks.NETWORKS[self.network]["batch"] * k * o
            for k, o in networks.layer_sizes(self.network)
        )
        return 2 * first + 3 * sum(rest)

    @property
    def passes(self) -> Passes:
        """The weights are read forward; they and the optimizer's state are updated."""
        size = sum(k * o + o for k, o in networks.layer_sizes(self.network))
        return [(0, 1, size), (1 + _STATES[self.optimizer], 0, size)]


@dataclass(frozen=True)
class Update:
    """One Adam update of ``size`` parameters with the gradient given."""

    size: int

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


Case = Step | Update | Gemm

CASES: dict[str, Case] = {
    **{
        f"{network}-{optimizer}": Step(network, optimizer)
        for network in ("digits", "office-small", "office-large")
        for optimizer in ("sgd", "adam")
    },
    "adam-update": Update(25_000_000),
    **{
        f"{shape}-{product}": Gemm(product, shape)
        for shape in ("cifar-dense", "square", "tall")
        for product in ("forward", "dx", "dw")
    },
}
