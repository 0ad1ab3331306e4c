"""Augmentation of a batch on one thread, Numba beside the reference: images by second."""

from typing import Any

import numpy as np
import pytest

import fastnn
from bench.cases import QUICK
from fastnn import Augmentation, augmentation

pytestmark = QUICK

#: images (N, H, W, C)
BATCHES = {"28x28x1": (64, 28, 28, 1), "32x32x3": (128, 32, 32, 3), "100x100x3": (16, 100, 100, 3)}
WAYS = {
    "crop": {"horizontal_flip": True, "padding": 4, "fill_mode": "reflect"},
    "affine": {"rotation_range": 20, "shear_range": 20, "zoom_range": (1.0, 1.6)},
    "colour": {"brightness_range": (0.8, 1.2), "pca_colour": 0.1},
}  # fmt: skip


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("batch", BATCHES)
def test_augmentation(benchmark: Any, batch: str, way: str, backend: str) -> None:
    shape = BATCHES[batch]
    images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    options: dict[str, Any] = dict(WAYS[way])
    if "padding" in options:
        options["random_crop"] = shape[1]
    if "pca_colour" in options:
        options["colour_covariance"] = augmentation.colour_covariance(images)
    augment, numbers = Augmentation(**options), np.arange(len(images))

    def run(kernels: Any) -> np.ndarray:
        out = np.full(shape, np.nan, np.float32)
        augment.apply(images, numbers, 0, 0, out, kernels)
        return out

    with fastnn.use_backend("reference"):
        expected = run(augmentation.kernels())
    with fastnn.use_backend(backend):
        kernels = augmentation.kernels()
    np.testing.assert_array_equal(run(kernels), expected)
    out = np.empty(shape, np.float32)
    benchmark.group = f"augmentation {way} {batch} batch {len(images)}"
    benchmark(augment.apply, images, numbers, 0, 0, out, kernels)
    if benchmark.stats:
        benchmark.extra_info["images_per_second"] = round(len(images) / benchmark.stats["median"])
