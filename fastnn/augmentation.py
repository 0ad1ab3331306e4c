"""Augmentation: training images shown each time a little different.

What happens to an image depends on three numbers only, the seed, the epoch and the image's own
number: not on the batch it is in, nor on who prepares it. The random numbers are those of
SplitMix64 (Steele, Lea and Flood, 2014), whose k-th number is a function of its key and k: the key
is made of the three, and each transformation has numbers k of its own, so that the others' don't
change when one is switched on.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn import backends
from fastnn.errors import unknown
from fastnn.functional import as_array, check_bool, check_count, check_number

Array = NDArray[Any]
Size = tuple[int, int]
Range = tuple[float, float]

#: What lies outside of an image, by the kernels' number.
FILL_MODES = {"nearest": 0, "reflect": 1, "constant": 2}

#: What a factor may be at most, and 1 over it at least, and a shift in pixels: far beyond, floats
#: can't tell places in the image apart.
_MOST = 1e6

#: Which random numbers of an image a transformation takes. PCA colour takes two for each channel,
#: from the last on.
(_LEFT_RIGHT, _UP_DOWN, _ROTATION, _SHEAR, _ZOOM, _STRETCH, _STRETCHED, _HEIGHT_SHIFT, _WIDTH_SHIFT,
 _SCALE, _CROP_ROW, _CROP_COLUMN, _BRIGHTNESS, _COLOUR) = range(14)  # fmt: skip


class Augmentation:
    """Random flips, crops, moves and colours for images (N, H, W, C), uint8 or float.

    Give it to ``fit`` (``augment=``), or call it: ``Augmentation(rotation_range=10)(images)``.
    Names are those of Keras's ``ImageDataGenerator`` where it has them. All that moves pixels is
    composed into one matrix, and the image is read once, bilinearly; flips, crops and shifts by
    whole pixels are exact. In this order:

    - ``horizontal_flip``, ``vertical_flip``: mirrored, one image in two.
    - ``zoom_range`` (low, high): both sides times a factor, 1.6 is larger. (In Keras it is
      smaller.) The factor's logarithm is uniform, here and next.
    - ``stretch_range`` (low, high): one side, drawn, times a factor.
    - ``shear_range``: uprights lean by an angle in degrees, to the right if it is positive.
    - ``rotation_range``: turned by an angle in degrees, anticlockwise if it is positive.
    - ``multi_scale`` (low, high): enlarged or reduced so that the shorter side has that many pixels
      (VGG); together with ``random_crop``.
    - ``height_shift_range``, ``width_shift_range``: moved down, to the right, by a part of the side
      (floats), or by whole pixels (integers).
    - ``random_crop`` (height, width): a window of that size at a random place of the image, after
      ``padding`` pixels were added to each side.
    - ``brightness_range`` (low, high): the pixels times a factor.
    - ``pca_colour``: Σᵢ αᵢ λᵢ pᵢ is added to each pixel, with αᵢ normal of this deviation (0.1 in
      AlexNet), λᵢ and pᵢ the eigenvalues and eigenvectors of ``colour_covariance`` (C, C): see the
      function of this name. In pixels of uint8 the sum counts 255-fold.
    - ``preprocessing_function(image, rng)``: your own; takes one image (OH, OW, C) of floats and a
      NumPy generator of its own, and returns it changed, without NaN or infinity.

    A range given as one number r is (−r, r). ``fill_mode`` says what lies outside of the image:
    ``"nearest"``, its nearest pixel, ``"reflect"``, the image mirrored at its edges, or
    ``"constant"``, the number ``cval``. uint8 images stay within 0 … 255; floats aren't limited.

    Raises ``ValueError`` for ranges that aren't such.

    >>> images = np.arange(6, dtype=np.uint8).reshape(1, 2, 3, 1)
    >>> Augmentation(width_shift_range=(1, 1))(images)[0, :, :, 0]
    array([[0, 0, 1],
           [3, 3, 4]], dtype=uint8)
    """

    def __init__(
        self,
        *,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        zoom_range: Range = (1.0, 1.0),
        stretch_range: Range = (1.0, 1.0),
        shear_range: float | Range = 0.0,
        rotation_range: float | Range = 0.0,
        height_shift_range: float | Range = 0.0,
        width_shift_range: float | Range = 0.0,
        multi_scale: Size | None = None,
        random_crop: int | Size | None = None,
        padding: int = 0,
        brightness_range: Range = (1.0, 1.0),
        pca_colour: float = 0.0,
        colour_covariance: ArrayLike | None = None,
        preprocessing_function: Callable[[Array, np.random.Generator], Array] | None = None,
        fill_mode: str = "nearest",
        cval: float = 0.0,
    ) -> None:
        self.horizontal_flip = check_bool("Augmentation", "horizontal_flip", horizontal_flip)
        self.vertical_flip = check_bool("Augmentation", "vertical_flip", vertical_flip)
        self.zoom_range = _factors("zoom_range", zoom_range)
        self.stretch_range = _factors("stretch_range", stretch_range)
        self.brightness_range = _factors("brightness_range", brightness_range)
        self.shear_range = _range("shear_range", shear_range, 90)
        self.rotation_range = _range("rotation_range", rotation_range, math.inf)
        self.height_shift_range = _shift("height_shift_range", height_shift_range)
        self.width_shift_range = _shift("width_shift_range", width_shift_range)
        check_count("Augmentation: padding", padding, 0)
        self.padding = padding
        self.random_crop = None if random_crop is None else _size("random_crop", random_crop)
        self.multi_scale = None if multi_scale is None else _size("multi_scale", multi_scale)
        if self.multi_scale and (
            self.random_crop is None or self.multi_scale[0] > self.multi_scale[1]
        ):
            raise ValueError(
                "Augmentation: multi_scale must be (low, high), low <= high, and needs "
                f"random_crop, got {multi_scale!r}"
            )
        if padding and self.random_crop is None:
            raise ValueError(f"Augmentation: padding={padding} needs random_crop")
        self.pca_colour = check_number("Augmentation", "pca_colour", pca_colour, 0)
        if (self.pca_colour > 0) != (colour_covariance is not None):
            raise ValueError("Augmentation: give pca_colour > 0 and colour_covariance, or neither")
        if colour_covariance is not None:
            self._colours = _principal_colours(colour_covariance)
        if preprocessing_function is not None and not callable(preprocessing_function):
            raise TypeError(
                "Augmentation: preprocessing_function must be a function, got "
                f"{type(preprocessing_function).__name__}"
            )
        self.preprocessing_function = preprocessing_function
        if fill_mode not in FILL_MODES:
            raise unknown("fill_mode for Augmentation", fill_mode, FILL_MODES)
        self.fill_mode = fill_mode
        self.cval = check_number("Augmentation", "cval", cval, -math.inf)

    def output_shape(self, image: Sequence[int]) -> tuple[int, ...]:
        """(OH, OW, C) for images (H, W, C).

        Raises ``ValueError`` if the window of ``random_crop`` is larger than they are, or
        ``colour_covariance`` is of another number of channels.
        """
        if len(image) != 3 or min(image) < 1:
            raise ValueError(f"Augmentation: expected images (N, H, W, C), got {('N', *image)}")
        if self.pca_colour and len(self._colours) != image[2]:
            raise ValueError(
                f"Augmentation: colour_covariance is of {len(self._colours)} channels, the images "
                f"have {image[2]}"
            )
        if self.random_crop is None:
            return tuple(image)
        scale = self.multi_scale[0] / min(image[:2]) if self.multi_scale else 1.0
        room = [round(scale * n) + 2 * self.padding for n in image[:2]]
        if any(n < m for n, m in zip(room, self.random_crop, strict=True)):
            raise ValueError(
                f"Augmentation: random_crop {self.random_crop} is larger than the smallest padded "
                f"image, {tuple(room)}"
            )
        return (*self.random_crop, image[2])

    def __call__(
        self,
        images: ArrayLike,
        *,
        seed: int = 0,
        epoch: int = 0,
        indices: ArrayLike | None = None,
    ) -> Array:
        """New images (N, OH, OW, C) of the dtype of ``images``; uint8 is rounded.

        ``indices``: the images' own numbers, 0 … N − 1 if unset. ``fit`` gives their rows in x, the
        epoch from 0 and its seed. It makes floats of the network's dtype, and doesn't round.
        """
        x = np.ascontiguousarray(as_array("Augmentation: images", images))
        self.check(x)
        numbers = np.arange(len(x)) if indices is None else np.asarray(indices)
        whole = numbers.dtype.kind in "iu" and not (numbers < 0).any()
        if numbers.shape != (len(x),) or not whole:
            raise ValueError(
                f"Augmentation: indices must be {len(x)} integers >= 0, got {numbers.dtype} "
                f"{numbers.shape}"
            )
        check_count("Augmentation: seed", seed, 0)
        check_count("Augmentation: epoch", epoch, 0)
        dtype = np.float64 if x.dtype == np.float64 else np.float32
        y = np.empty((len(x), *self.output_shape(x.shape[1:])), dtype)
        self.apply(x, numbers, seed, epoch, y, kernels())
        return np.rint(y, out=y).astype(np.uint8) if x.dtype == np.uint8 else y

    def check(self, images: Array) -> None:
        """Raise ``TypeError`` or ``ValueError`` for what isn't images that this can change."""
        if images.dtype not in (np.uint8, np.float32, np.float64):
            raise TypeError(
                f"Augmentation: images must be uint8, float32 or float64, got {images.dtype}"
            )
        if images.ndim != 4:
            raise ValueError(f"Augmentation: expected images (N, H, W, C), got {images.shape}")
        self.output_shape(images.shape[1:])

    def apply(
        self, x: Array, indices: Array, seed: int, epoch: int, y: Array, kernel: ModuleType
    ) -> None:
        """The same on checked arrays, into y (N, OH, OW, C) of floats."""
        channels = x.shape[3]
        u = uniforms(seed, epoch, indices, _COLOUR + 2 * channels)
        matrix = self._matrices(u, x.shape[1:3])
        kernel.affine_transform(x, matrix, FILL_MODES[self.fill_mode], self.cval, y)
        unit = 255.0 if x.dtype == np.uint8 else 1.0
        if self.brightness_range != (1, 1):
            y *= (
                _between(self.brightness_range, u[:, _BRIGHTNESS])
                .astype(y.dtype)
                .reshape(-1, 1, 1, 1)
            )
        if self.pca_colour:
            # Box and Muller's way from two uniform numbers to a normal one.
            first, second = u[:, _COLOUR::2], u[:, _COLOUR + 1 :: 2]
            normal = np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second)
            shift = unit * self.pca_colour * normal @ self._colours
            y += shift.astype(y.dtype)[:, np.newaxis, np.newaxis]
        if self.preprocessing_function is not None:
            self._call_users_function(y, indices, seed, epoch)
        if x.dtype == np.uint8:
            np.clip(y, 0, 255, out=y)

    def _call_users_function(self, y: Array, indices: Array, seed: int, epoch: int) -> None:
        assert self.preprocessing_function is not None
        for image, index in zip(y, indices.tolist(), strict=True):
            try:
                own = np.random.SeedSequence(seed, spawn_key=(epoch, index))
                made = self.preprocessing_function(image, np.random.default_rng(own))
                if np.shape(made) != image.shape:
                    raise ValueError(
                        f"Augmentation: preprocessing_function must return shape {image.shape}, "
                        f"got {np.shape(made)}"
                    )
                image[...] = made
                if not np.isfinite(image).all():
                    raise ValueError(
                        "Augmentation: preprocessing_function must return finite numbers"
                    )
            except Exception as error:
                error.add_note(f"In preprocessing_function, for sample {index} in epoch {epoch}.")
                raise

    def _matrices(self, u: Array, image: Sequence[int]) -> Array:
        """(N, 2, 3): what takes a place (oy, ox, 1) of the output to its place in the image.

        The inverse of flip, zoom and stretch D, shear S and rotation R, all about the centre c of
        the image: p = M (o + crop − shift − c′) + c, M = D⁻¹ S⁻¹ R⁻¹ / scale, c′ the centre of the
        scaled image.
        """
        n, size = len(u), np.array(image, np.float64)
        factor = _log_between(self.zoom_range, u[:, [_ZOOM]]) * np.ones((1, 2))
        side = (u[:, _STRETCHED] < 0.5).astype(int)
        factor[np.arange(n), side] *= _log_between(self.stretch_range, u[:, _STRETCH])
        if self.vertical_flip:
            factor[:, 0] *= np.where(u[:, _UP_DOWN] < 0.5, -1, 1)
        if self.horizontal_flip:
            factor[:, 1] *= np.where(u[:, _LEFT_RIGHT] < 0.5, -1, 1)
        turn = np.radians(_between(self.rotation_range, u[:, _ROTATION]))
        lean = np.tan(np.radians(_between(self.shear_range, u[:, _SHEAR])))
        cos, sin = np.cos(turn), np.sin(turn)
        inverse = np.stack([cos, sin, lean * cos - sin, lean * sin + cos], axis=1).reshape(n, 2, 2)
        inverse /= factor[:, :, np.newaxis]

        shifts = zip(
            (self.height_shift_range, self.width_shift_range), (_HEIGHT_SHIFT, _WIDTH_SHIFT), size,
            strict=True,
        )  # fmt: skip
        offset = -np.stack([_pixels(r, u[:, k], side) for r, k, side in shifts], axis=1)
        scaled = np.broadcast_to(size, (n, 2))
        if self.multi_scale:
            scale = _integers(*self.multi_scale, u[:, [_SCALE]]) / min(image)
            inverse /= scale[:, :, np.newaxis]
            scaled = np.rint(scale * size)
        if self.random_crop:
            room = scaled + 2 * self.padding - self.random_crop
            offset += _integers(0, room, u[:, [_CROP_ROW, _CROP_COLUMN]]) - self.padding
        offset -= (scaled - 1) / 2
        start = (inverse * offset[:, np.newaxis]).sum(axis=2) + (size - 1) / 2
        return np.concatenate([inverse, start[:, :, np.newaxis]], axis=2)


def kernels() -> ModuleType:
    """Where ``affine_transform`` is: the reference if that backend is in force, else Numba's."""
    floor = "reference" if backends.current_backend() == "reference" else "numba_"
    return importlib.import_module(f"fastnn.backends.{floor}.image")


_STEP = np.uint64(0x9E3779B97F4A7C15)


def uniforms(seed: int, epoch: int, indices: Array, count: int) -> Array:
    """(N, count) float64, uniform in [0, 1): row n is a function of seed, epoch and indices[n]."""
    key = np.random.SeedSequence(seed, spawn_key=(epoch,)).generate_state(1, np.uint64)
    keys = _mix(key + _STEP * (indices.astype(np.uint64) + np.uint64(1)))
    numbers = _mix(keys[:, np.newaxis] + _STEP * np.arange(1, count + 1, dtype=np.uint64))
    return (numbers >> np.uint64(11)) * 2.0**-53


def _mix(z: Array) -> Array:
    """SplitMix64's function of a state."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def colour_covariance(images: ArrayLike) -> Array:
    """(C, C) float64: the covariance of the channels over all pixels, for ``pca_colour``.

    ``images`` (N, H, W, C), the training images; uint8 counts as 0 … 1. In other units than these
    AlexNet's formula, which multiplies by a variance, gives shifts of another size.
    """
    x = as_array("colour_covariance: images", images)
    if x.ndim != 4 or not x.size or x.dtype.kind not in "fiub":
        raise ValueError(
            f"colour_covariance: expected images (N, H, W, C), not empty, got {x.dtype} {x.shape}"
        )
    unit = 255.0 if x.dtype == np.uint8 else 1.0
    mean = x.mean(axis=(0, 1, 2), dtype=np.float64)
    total = np.zeros((x.shape[3],) * 2)
    for image in x:
        pixels = image.reshape(-1, x.shape[3]) - mean
        total += pixels.T @ pixels
    return total / (x.size // x.shape[3] * unit**2)


def ten_crop(images: ArrayLike, size: int | Size) -> Array:
    """(10, N, h, w, C): the windows at the four corners and the centre, and the same mirrored.

    ``images`` (N, H, W, C), ``size`` (h, w) or one number for both (Krizhevsky et al., 2012).
    Raises ``ValueError`` for windows larger than the images.
    """
    x, (h, w) = as_array("ten_crop: images", images), _size("size", size, "ten_crop")
    if x.ndim != 4 or x.shape[1] < h or x.shape[2] < w:
        raise ValueError(
            f"ten_crop: expected images (N, H, W, C) with H >= {h} and W >= {w}, got {x.shape}"
        )
    down, across = x.shape[1] - h, x.shape[2] - w
    corners = [(0, 0), (0, across), (down, 0), (down, across), (down // 2, across // 2)]
    crops = [x[:, top : top + h, left : left + w] for top, left in corners]
    return np.stack([*crops, *(crop[:, :, ::-1] for crop in crops)])


def predict_ten_crop(
    predict: Callable[[Array], Array], images: ArrayLike, size: int | Size
) -> Array:
    """The mean of ``predict`` over the ten crops: ``predict_ten_crop(net.predict, images, 28)``.

    Means of logits; for those of probabilities give a function that ends with softmax.
    """
    if not callable(predict):
        raise TypeError(f"predict_ten_crop: predict must be a function, got {predict!r}")
    return np.mean([predict(crop) for crop in ten_crop(images, size)], axis=0)


# --- ranges ---


def _pair(name: str, value: Any) -> tuple[Any, Any]:
    """(low, high), finite, low <= high; one number r is (−r, r)."""
    pair = value if isinstance(value, (tuple, list)) else (-value, value) if _real(value) else ()
    if len(pair) != 2 or not all(map(_real, pair)) or not -math.inf < pair[0] <= pair[1] < math.inf:
        raise ValueError(
            f"Augmentation: {name} must be a pair (low, high), finite, low <= high, got {value!r}"
        )
    return pair[0], pair[1]


def _real(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _range(name: str, value: Any, limit: float) -> Range:
    low, high = _pair(name, value)
    if not -limit < low <= high < limit:
        raise ValueError(f"Augmentation: {name} must lie within ±{limit}, got {value!r}")
    return float(low), float(high)


def _factors(name: str, value: Any) -> Range:
    low, high = _pair(name, value)
    if not 1 / _MOST <= low <= high <= _MOST:
        raise ValueError(
            f"Augmentation: {name} must lie within {1 / _MOST:g} … {_MOST:g}, got {value!r}"
        )
    return float(low), float(high)


def _shift(name: str, value: Any) -> Range:
    """Integers are pixels, floats parts of the side."""
    low, high = _pair(name, value)
    whole = all(isinstance(v, (int, np.integer)) for v in (low, high))
    if whole and -_MOST <= low <= high <= _MOST:
        return int(low), int(high)
    if not -1 <= low <= high <= 1:
        raise ValueError(
            f"Augmentation: {name} must be pixels as integers within ±{_MOST:g}, or parts of the "
            f"side within ±1.0, got {value!r}"
        )
    return float(low), float(high)


def _size(name: str, value: Any, where: str = "Augmentation") -> Size:
    pair = value if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{where}: {name} must be two integers, got {value!r}")
    for number in pair:
        check_count(f"{where}: {name}", number, 1)
    return int(pair[0]), int(pair[1])


def _between(ends: Range, u: Array) -> Array:
    return ends[0] + (ends[1] - ends[0]) * u


def _log_between(ends: Range, u: Array) -> Array:
    return ends[0] * (ends[1] / ends[0]) ** u


def _integers(low: Any, high: Any, u: Array) -> Array:
    """Both ends are among them."""
    return low + np.floor((high - low + 1) * u)


def _pixels(ends: Range, u: Array, side: float) -> Array:
    return _integers(*ends, u) if isinstance(ends[0], int) else _between(ends, u) * side


def _principal_colours(given: ArrayLike) -> Array:
    """Rows λᵢ pᵢ."""
    covariance = as_array("Augmentation: colour_covariance", given)
    square = covariance.ndim == 2 and covariance.shape[0] == covariance.shape[1]
    if not square or covariance.dtype.kind not in "fiu" or not np.isfinite(covariance).all():
        raise ValueError(
            "Augmentation: colour_covariance must be a matrix (C, C) of finite numbers, got "
            f"{covariance.dtype} {covariance.shape}"
        )
    values, vectors = np.linalg.eigh(covariance)
    rounding = 1e-5 * np.abs(covariance).max(initial=0)
    if (np.abs(covariance - covariance.T) > rounding).any() or (values < -rounding).any():
        raise ValueError(
            "Augmentation: colour_covariance must be symmetric, no variance negative, got "
            f"{covariance.tolist()}"
        )
    return (vectors * values).T
