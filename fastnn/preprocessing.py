"""Features brought to one scale, by numbers taken from the training data only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn.errors import batch_of
from fastnn.functional import as_array, check_bool

Array = NDArray[Any]

#: Elements that a statistic takes at a time: images are uint8, their sums and squares float64.
_BLOCK = 1 << 20


class Scaler:
    """Base: y = (x − offset) / scale, with numbers that ``fit`` finds in the training data.

    ``axis`` (an integer, a tuple, or None): the axes along which each position has numbers of its
    own, as in Keras's ``Normalization``. The default −1 is each column of a table and each channel
    of images; ``(1, 2, 3)`` is each pixel and channel of images; None is one number for all. The
    axis of the samples, 0, can't be among them. As in scikit-learn, ``offset_`` and ``scale_`` are
    there after ``fit``: float64, shaped to be broadcast against one sample.

    ``transform`` gives float32 for float16, float32 and integers of up to 16 bits, else float64.
    What doesn't vary in the training data isn't divided: its scale is 1, so that it becomes 0 (or
    the lower end of ``MinMaxScaler``'s range), and other values of it stay as far away as they are.
    """

    offset_: Array
    scale_: Array

    def __init__(self, axis: int | tuple[int, ...] | None = -1) -> None:
        axes = () if axis is None else axis if isinstance(axis, tuple) else (axis,)
        if not all(isinstance(a, int) and not isinstance(a, bool) and a for a in axes):
            raise ValueError(
                f"{type(self).__name__}: axis must be an integer, a tuple of them or None, without "
                f"0, the axis of the samples; got {axis!r}"
            )
        self.axis = axis
        self._axes = axes

    def fit(self, x: ArrayLike) -> Self:
        """Find offset and scale in x (N, …), the training data; returns the scaler itself.

        Raises ``TypeError`` for what isn't real numbers, ``ValueError`` for no samples, NaN or
        infinity, and an axis that x hasn't.
        """
        array = self._checked("fit", x)
        if not array.size:
            raise ValueError(f"{type(self).__name__}.fit: x has no samples: {array.shape}")
        for axis in self._axes:
            if not -array.ndim < axis < array.ndim or axis % array.ndim == 0:
                raise ValueError(
                    f"{type(self).__name__}.fit: axis {axis} isn't an axis of a sample of x "
                    f"{array.shape}"
                )
        if not all(np.isfinite(block).all() for block in _blocks(array)):
            raise ValueError(f"{type(self).__name__}.fit: x must hold finite numbers")
        self.sample_shape = array.shape[1:]
        kept = {axis % array.ndim for axis in self._axes}
        self._over = tuple(a for a in range(array.ndim) if a not in kept)
        self.offset_, self.scale_ = self._find(array)
        return self

    def _find(self, x: Array) -> tuple[Array, Array]:
        """(offset, scale) of x, each with size 1 along the axes ``self._over`` but the first."""
        raise NotImplementedError

    def transform(self, x: ArrayLike) -> Array:
        """y = (x − offset) / scale, a new array of the shape of x (N, …)."""
        array = self._checked("transform", x)
        dtype = np.result_type(array.dtype, np.float32)
        y = np.subtract(array, self.offset_.astype(dtype), dtype=dtype)
        y /= self.scale_.astype(dtype)
        return y

    def fit_transform(self, x: ArrayLike) -> Array:
        """``fit(x).transform(x)``."""
        return self.fit(x).transform(x)

    def inverse_transform(self, y: ArrayLike) -> Array:
        """x = y · scale + offset."""
        array = self._checked("inverse_transform", y)
        dtype = np.result_type(array.dtype, np.float32)
        x = np.multiply(array, self.scale_.astype(dtype), dtype=dtype)
        x += self.offset_.astype(dtype)
        return x

    def get_config(self) -> dict[str, Any]:
        """What ``fit`` found, as plain numbers and lists, for JSON."""
        self._require_fitted("get_config")
        return {
            "sample_shape": list(self.sample_shape),
            "offset": self.offset_.tolist(),
            "scale": self.scale_.tolist(),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The scaler of ``get_config``, ready for ``transform``.

        Raises ``ValueError`` if the numbers aren't such.
        """
        where = f"{cls.__name__}.from_config"
        if not isinstance(config, Mapping) or not {"sample_shape", "offset", "scale"} <= {*config}:
            raise ValueError(f"{where}: expected sample_shape, offset and scale, got {config!r}")
        scaler = cls()
        try:
            shape = tuple(map(int, config["sample_shape"]))
            offset, scale = (np.asarray(config[key], np.float64) for key in ("offset", "scale"))
            fits = {np.broadcast_shapes(shape, part.shape) for part in (offset, scale)} == {shape}
        except (TypeError, ValueError):
            fits = False
        if not fits or not (np.isfinite(offset).all() and np.isfinite(scale).all() and scale.all()):
            raise ValueError(
                f"{where}: offset and scale must be finite numbers that fit sample_shape, no scale "
                f"0, got {dict(config)!r}"
            )
        scaler.sample_shape, scaler.offset_, scaler.scale_ = shape, offset, scale
        return scaler

    def _require_fitted(self, method: str) -> None:
        if not hasattr(self, "offset_"):
            raise RuntimeError(f"{type(self).__name__}.{method}: call fit(x) first")

    def _checked(self, method: str, x: ArrayLike) -> Array:
        """x as an array of real numbers, for all but ``fit`` of the shape that was fitted."""
        where = f"{type(self).__name__}.{method}"
        array = as_array(f"{where}: x", x)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{where}: x must hold real numbers, got dtype {array.dtype}")
        if method == "fit":
            if array.ndim < 2:
                raise ValueError(f"{where}: x must have shape (N, …), got {array.shape}")
            return array
        self._require_fitted(method)
        if array.shape[1:] != self.sample_shape or not array.ndim:
            raise ValueError(
                f"{where}: x must have shape {batch_of(self.sample_shape)}, got {array.shape}"
            )
        return array


class StandardScaler(Scaler):
    """y = (x − mean) / standard deviation: mean 0 and spread 1, per feature or per channel.

    ``with_std=False`` takes off the mean only: for images the per-channel mean of VGG.

    >>> StandardScaler().fit_transform([[1.0, 5.0], [3.0, 5.0]])
    array([[-1.,  0.],
           [ 1.,  0.]])
    """

    def __init__(self, axis: int | tuple[int, ...] | None = -1, with_std: bool = True) -> None:
        super().__init__(axis)
        self.with_std = check_bool("StandardScaler", "with_std", with_std)

    def _find(self, x: Array) -> tuple[Array, Array]:
        count = math.prod(x.shape[a] for a in self._over)

        def mean_of(values: Any) -> Array:
            total = 0.0
            for block in _blocks(x):
                total = total + values(block).sum(self._over, np.float64, keepdims=True)
            return np.asarray(total)[0] / count

        mean = mean_of(lambda block: block)
        if not self.with_std:
            return mean, np.ones_like(mean)
        scale = np.sqrt(mean_of(lambda block: (block - mean) ** 2))
        # What is constant may show a deviation of rounding errors.
        scale[scale <= 1e-12 * np.abs(mean)] = 1
        return mean, scale


class MinMaxScaler(Scaler):
    """y = low + (x − min) / (max − min) · (high − low), per feature or per channel.

    ``feature_range``: (low, high). Values outside those of the training data leave it.

    >>> MinMaxScaler().fit_transform([[1.0, 5.0], [3.0, 5.0]])
    array([[0., 0.],
           [1., 0.]])
    """

    def __init__(
        self,
        feature_range: tuple[float, float] = (0.0, 1.0),
        axis: int | tuple[int, ...] | None = -1,
    ) -> None:
        super().__init__(axis)
        try:
            low, high = map(float, feature_range)
            fits = -math.inf < low < high < math.inf
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise ValueError(
                "MinMaxScaler: feature_range must be (low, high), finite, low < high, got "
                f"{feature_range!r}"
            )
        self.feature_range = low, high

    def _find(self, x: Array) -> tuple[Array, Array]:
        low, high = self.feature_range
        smallest, largest = (
            np.asarray(f(x, axis=self._over, keepdims=True)[0], np.float64)
            for f in (np.min, np.max)
        )
        scale = (largest - smallest) / (high - low)
        scale[scale == 0] = 1
        return smallest - low * scale, scale


def _blocks(x: Array) -> Iterator[Array]:
    """The rows of x, some at a time."""
    rows = max(1, _BLOCK // math.prod(x.shape[1:]))
    for start in range(0, len(x), rows):
        yield x[start : start + rows]
