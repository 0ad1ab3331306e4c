"""Several chains of layers on one input, and what becomes of their outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from fastnn.errors import batch_of
from fastnn.layers.activation import Nonlinearity
from fastnn.layers.base import Array, Layer, Shape, Sink
from fastnn.layers.sequence import Chain


class Branches(Layer):
    """y = the branches' outputs side by side on the last axis, as in an inception module.

    All branches get the same x; dx = Σ dx_branch. A branch is a layer or a list of layers, and an
    empty list hands on x itself. Outputs (…, C_1), (…, C_2), … give y (…, C_1 + C_2 + …); their
    other axes must agree. Szegedy and others (2015). ``Concat`` is another name.

    A subclass merges otherwise by its own ``merged_shape``, ``merge`` and ``split``.
    """

    def __init__(
        self, branches: Sequence[Layer | Sequence[Layer]], name: str | None = None
    ) -> None:
        super().__init__(name)
        kind = type(self).__name__
        if not isinstance(branches, (list, tuple)) or not branches:
            raise ValueError(f"{kind}: expected a list of branches, got {branches!r}")
        for branch in branches:
            layers = [branch] if isinstance(branch, Layer) else branch
            if not isinstance(layers, (list, tuple)) or not all(
                isinstance(layer, Layer) for layer in layers
            ):
                raise ValueError(
                    f"{kind}: a branch must be a layer or a list of layers, got {branch!r}"
                )
            self.children.append(branch if isinstance(branch, Chain) else Chain(layers, "branch"))

    # --- what becomes of the outputs ---

    def merged_shape(self, shapes: list[Shape]) -> Shape:
        """The shape of y from those of the branches' outputs, without the batch."""
        if any(not shape or shape[:-1] != shapes[0][:-1] for shape in shapes):
            raise ValueError(
                f"{type(self).__name__} {self.name!r}: outputs must agree in all axes but the "
                f"last, got {self.told(shapes)}"
            )
        return *shapes[0][:-1], sum(shape[-1] for shape in shapes)

    def merge(self, outputs: list[Array], y: Array) -> None:
        """Write y from the branches' outputs."""
        np.concatenate(outputs, axis=-1, out=y)

    def split(self, dy: Array, y: Array) -> list[Array]:
        """dy of each branch; may write over y, never over dy."""
        parts, start = [], 0
        for i, branch in enumerate(self.children):
            parts.append(self.buffer(f"dy {i}", (len(dy), *branch.output_shape)))
            np.copyto(parts[-1], dy[..., start : start + branch.output_shape[-1]])
            start += branch.output_shape[-1]
        return parts

    # --- the layer ---

    def build(self, input_shape: Shape) -> Shape:
        shapes = [branch.connect(input_shape, self.dtype) for branch in self.children]
        if any(isinstance(shape, dict) for shape in shapes):
            raise ValueError(
                f"{type(self).__name__} {self.name!r}: Heads can't be in a branch: heads must be "
                "the last layer"
            )
        return self.merged_shape(shapes)

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        self.kernels = kernels
        for branch in self.children:
            branch.bind(n, kernels, needs_dx)
        self.y = self.buffer("y", (n, *self.output_shape))
        self.needs_dx = needs_dx

    def look_ahead(self, x_next: Array) -> None:
        for branch in self.children:
            branch.look_ahead(x_next)

    def forward(self, x: Array, training: bool) -> Array:
        self.merge([branch.forward(x, training) for branch in self.children], self.y)
        return self.y

    def backward(self, dy: Array, sink: Sink) -> Array | None:
        parts = self.split(dy, self.y)
        gradients = [
            branch.backward(part, sink) for branch, part in zip(self.children, parts, strict=True)
        ]
        return self.sum_of(gradients, parts) if self.needs_dx else None  # type: ignore[arg-type]

    def sum_of(self, gradients: list[Array], parts: list[Array]) -> Array:
        """Σ of the branches' dx: added up in the first that is an array of its own, if any."""
        pairs = zip(gradients, parts, strict=True)
        own = (i for i, (dx, dy) in enumerate(pairs) if not np.may_share_memory(dx, dy))
        first = next(own, None)
        if first is None:
            first, total = 0, self.buffer("dx", gradients[0].shape)
            np.copyto(total, gradients[0])
        else:
            total = gradients[first]
        for gradient in (*gradients[:first], *gradients[first + 1 :]):
            flat = total.reshape(-1)
            self.kernels.add(flat, gradient.reshape(-1), 0, flat)
        return total

    @property
    def output_size(self) -> int:
        return math.prod(self.output_shape)

    def told(self, shapes: list[Shape]) -> str:
        """The branches' output shapes, for an error."""
        return ", ".join(map(batch_of, shapes))


class Add(Branches):
    """y = f(Σ the branches' outputs), which all have one shape.

    Arguments as of ``Branches``; ``activation`` is a name as ``Activation`` takes it, or None.
    dz = dy · f′ goes to every branch.
    """

    def __init__(
        self,
        branches: Sequence[Layer | Sequence[Layer]],
        activation: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(branches, name)
        self.activation = activation
        self.f = Nonlinearity(type(self).__name__, activation)

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        super().bind(n, kernels, needs_dx)
        self.z = self.buffer("z", self.y.shape) if self.f.keeps_input else self.y
        self.f.bind(kernels, self.z, self.y, self.z)

    def merged_shape(self, shapes: list[Shape]) -> Shape:
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError(
                f"{type(self).__name__} {self.name!r}: outputs must have one shape, got "
                f"{self.told(shapes)}"
            )
        return shapes[0]

    def merge(self, outputs: list[Array], y: Array) -> None:
        total, (first, *others) = self.z.reshape(-1), [out.reshape(-1) for out in outputs]
        for other in others[:-1]:
            self.kernels.add(first, other, 0, total)
            first = total
        fused = self.f.name == "relu" and len(others) > 0
        if others:
            self.kernels.add(first, others[-1], self.f.code if fused else 0, total)
        else:
            np.copyto(total, first)
        if not fused and self.f.name != "identity":
            self.f.apply()

    def split(self, dy: Array, y: Array) -> list[Array]:
        if self.f.name == "identity":
            return [dy] * len(self.children)
        self.f.undo(dy)  # over z, which may be y: all who read y are done
        return [self.z] * len(self.children)

    def describe(self) -> str:
        return f"{type(self).__name__}({self.activation or ''})"


class Residual(Add):
    """y = f(main(x) + shortcut(x)): a block with a shortcut, He and others (2016).

    ``layers`` is the main branch, ``shortcut`` the other: x itself, or layers that bring x to the
    main branch's shape (as ``[Conv2D(filters, 1, strides)]``). ``activation`` as in ``Add``.
    """

    def __init__(
        self,
        layers: Layer | Sequence[Layer],
        shortcut: Layer | Sequence[Layer] = (),
        activation: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__([layers, shortcut], activation, name)
        for branch, usual in zip(self.children, ("main", "shortcut"), strict=True):
            branch.name = usual if branch.name == "branch" else branch.name

    def told(self, shapes: list[Shape]) -> str:
        return f"{batch_of(shapes[0])} of the layers and {batch_of(shapes[1])} of the shortcut"


Concat = Branches
