"""The geometry of windows that slide over images: sizes, strides, padding, dilation, groups.

Built and checked once, by the layers and by ``fastnn.functional``; shapes, errors, costs and all
kernels read it, and no kernel checks anything again. Letters: H W image, C channels in, O out,
KH KW window, SH SW stride, OH OW output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fastnn.errors import batch_of, unknown

#: No axis, and no array that a geometry describes, is larger: sizes stay exact in 64 bits.
MAX_SIZE = 2**31 - 1
MAX_BYTES = 2**62

Size = int | Sequence[int]
Padding = str | int | Sequence[Any]


@dataclass(frozen=True)
class Axis:
    """Windows along one axis: ``out`` windows of ``kernel`` taps over ``size`` elements.

    Window o meets with tap t the element o · stride + t · dilation − before, which lies in the
    image or in the padding.
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def span(self) -> int:
        """Elements from a window's first tap to its last."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def out(self) -> int:
        """Number of windows."""
        return (self.size + self.before + self.after - self.span) // self.stride + 1

    def taps_inside(self, o: int) -> range:
        """The taps of window o that lie in the image: contiguous, often all."""
        start = o * self.stride - self.before
        first = max(0, -(start // self.dilation)) if start < 0 else 0
        last = min(self.kernel, -((start - self.size) // self.dilation)) if start < self.size else 0
        return range(first, max(first, last))

    @cached_property
    def inside(self) -> int:
        """Pairs of a window and a tap in the image: what has to be multiplied."""
        return sum(len(self.taps_inside(o)) for o in range(self.out))


@dataclass(frozen=True)
class Geometry2D:
    """Windows over images (N, H, W, C), for pooling and im2col; N is left open."""

    rows: Axis
    columns: Axis
    channels: int

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.rows.size, self.columns.size, self.channels

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """(OH, OW, C)."""
        return self.rows.out, self.columns.out, self.channels

    @property
    def taps(self) -> int:
        """KH · KW."""
        return self.rows.kernel * self.columns.kernel

    @property
    def index_dtype(self) -> type[np.unsignedinteger[Any]] | type[np.signedinteger[Any]]:
        """What holds the position of a tap in the window: uint8 while the window allows."""
        return np.uint8 if self.taps <= 256 else np.int32


@dataclass(frozen=True)
class Conv2DGeometry(Geometry2D):
    """A convolution of (N, H, W, C) with kernels (KH, KW, C / groups, O)."""

    filters: int
    groups: int

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """(OH, OW, O)."""
        return self.rows.out, self.columns.out, self.filters

    @property
    def w_shape(self) -> tuple[int, int, int, int]:
        """(KH, KW, C / groups, O)."""
        return self.rows.kernel, self.columns.kernel, self.channels // self.groups, self.filters

    @property
    def multiply_adds(self) -> int:
        """Useful ones of one image: taps in the padding don't count."""
        depth = self.channels // self.groups
        return self.rows.inside * self.columns.inside * depth * self.filters


def conv2d_geometry(
    op: str,
    image: tuple[int, int, int],
    w_shape: tuple[int, int, int, int],
    strides: int | Sequence[int] = 1,
    padding: Padding = "valid",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Conv2DGeometry:
    """The checked geometry of a convolution of images (H, W, C) with w (KH, KW, C/G, O).

    ``padding`` is ``"valid"`` (none), ``"same"`` (TensorFlow's: OH = ⌈H / SH⌉, the odd element at
    the end), a number for all sides or ``((top, bottom), (left, right))``.

    Raises ``ValueError`` that names ``op``, the argument, what was expected and what came.
    """
    kh, kw, depth, filters = w_shape
    groups = positive(op, "groups", groups)
    channels = image[2]
    if channels % groups or filters % groups:
        raise ValueError(
            f"{op}: groups={groups} must divide C={channels} of x and O={filters} of w"
        )
    if 0 in w_shape:
        raise ValueError(f"{op}: w must have no size of 0, got {w_shape} as KH,KW,C,O")
    if depth * groups != channels:
        expected = f"C={depth}" if groups == 1 else f"C={depth * groups} (C/G={depth}, G={groups})"
        raise ValueError(
            f"{op}: x has C={channels} but w expects {expected} "
            f"(x: {batch_of(image)} as N,H,W,C; w: {w_shape} as KH,KW,C/G,O)"
        )
    rows, columns = _axes(op, image, (kh, kw), strides, padding, dilation)
    return Conv2DGeometry(rows, columns, channels, filters, groups)


def pool2d_geometry(
    op: str,
    image: tuple[int, int, int],
    pool_size: int | Sequence[int],
    strides: int | Sequence[int] | None = None,
    padding: Padding = "valid",
    dilation: int | Sequence[int] = 1,
) -> Geometry2D:
    """The checked geometry of pooling windows over images (H, W, C); as ``conv2d_geometry``.

    ``strides`` None is ``pool_size``. A window that lies wholly in the padding is an error.
    """
    if image[2] < 1:
        raise ValueError(f"{op}: x must have C >= 1, got {batch_of(image)} as N,H,W,C")
    size = pair(op, "pool_size", pool_size)
    rows, columns = _axes(op, image, size, size if strides is None else strides, padding, dilation)
    for name, axis in (("height", rows), ("width", columns)):
        # Between the ends too: dilated taps may jump over a small image.
        if not all(axis.taps_inside(o) for o in range(axis.out)):
            raise ValueError(
                f"{op}: a window lies wholly in the padding along the {name}: padding "
                f"({axis.before}, {axis.after}) for a window of {axis.kernel}"
            )
    return Geometry2D(rows, columns, image[2])


def positive(op: str, name: str, value: Any) -> int:
    """``value`` if it is an integer >= 1, and a size that an axis can have."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ValueError(f"{op}: {name} must be an integer >= 1, got {value!r}")
    if not 1 <= value <= MAX_SIZE:
        raise ValueError(f"{op}: {name} must be in 1..{MAX_SIZE}, got {value}")
    return int(value)


def pair(op: str, name: str, value: Any) -> tuple[int, int]:
    """``value``, an integer >= 1 or two of them, as two."""
    if isinstance(value, (list, tuple)):
        if len(value) != 2:
            raise ValueError(f"{op}: {name} must be an integer or a pair, got {value!r}")
        return positive(op, f"{name}[0]", value[0]), positive(op, f"{name}[1]", value[1])
    return (positive(op, name, value),) * 2


def pads(op: str, padding: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Padding as ((top, bottom), (left, right)); zeros for ``"valid"`` and, until the image is
    known, ``"same"``.
    """
    if isinstance(padding, str):
        if padding not in ("valid", "same"):
            raise unknown(f"padding for {op}", padding, ("valid", "same"))
        return (0, 0), (0, 0)
    sides = ((padding, padding),) * 2 if isinstance(padding, (int, np.integer)) else padding
    fits = isinstance(sides, (list, tuple)) and len(sides) == 2
    fits = fits and all(isinstance(p, (list, tuple)) and len(p) == 2 for p in sides)
    numbers = [n for p in sides for n in p] if fits else []
    if not fits or not all(
        isinstance(n, (int, np.integer)) and not isinstance(n, bool) and 0 <= n <= MAX_SIZE
        for n in numbers
    ):
        raise ValueError(
            f"{op}: padding must be 'valid', 'same', an integer >= 0 or "
            f"((top, bottom), (left, right)), got {padding!r}"
        )
    top, bottom, left, right = map(int, numbers)
    return (top, bottom), (left, right)


def _axes(
    op: str, image: tuple[int, int, int], kernel: tuple[int, int], strides: Any, padding: Any,
    dilation: Any,
) -> tuple[Axis, Axis]:  # fmt: skip
    strides, dilation = pair(op, "strides", strides), pair(op, "dilation", dilation)
    axes = []
    for name, size, k, s, d, (before, after) in zip(
        ("height", "width"), image, kernel, strides, dilation, pads(op, padding), strict=False
    ):
        if size < 1:
            raise ValueError(
                f"{op}: x must have H >= 1 and W >= 1, got {batch_of(image)} as N,H,W,C"
            )
        span = (k - 1) * d + 1
        if padding == "same":
            total = max(0, (-(-size // s) - 1) * s + span - size)
            before, after = total // 2, total - total // 2
        if size + before + after < span:
            raise ValueError(
                f"{op}: the window's {name} {span} (kernel {k}, dilation {d}) is larger than the "
                f"padded input's {size + before + after} (size {size}, padding {before}, {after})"
            )
        if size + before + after > MAX_SIZE:
            raise ValueError(
                f"{op}: the padded {name} must be at most {MAX_SIZE}, got {size + before + after}"
            )
        axes.append(Axis(size, k, s, d, before, after))
    return axes[0], axes[1]


def check_bytes(op: str, name: str, shape: tuple[int, ...], itemsize: int) -> None:
    """Raise ``ValueError`` if an array of that shape could not be addressed."""
    total = itemsize
    for n in shape:
        total *= n
    if total > MAX_BYTES:
        raise ValueError(f"{op}: {name} would have shape {shape}, {total:.3g} bytes")
