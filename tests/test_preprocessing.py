"""Scalers: what they find in training data, and do to other data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastnn import preprocessing
from fastnn.preprocessing import MinMaxScaler, StandardScaler

images = pytest.fixture(lambda rng: rng.integers(0, 256, (40, 5, 6, 3), np.uint8))


def test_standard_scaler_by_feature(rng):
    x = rng.normal(5, 3, (50, 3))
    x[:, 1] = 0.1
    scaler = StandardScaler().fit(x)
    np.testing.assert_allclose(scaler.offset_, x.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(scaler.scale_[[0, 2]], x.std(axis=0)[[0, 2]], rtol=1e-13)
    assert scaler.scale_[1] == 1
    y = scaler.transform(x)
    assert y.dtype == np.float64
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=0), [1, 0, 1], atol=1e-12)
    np.testing.assert_allclose(scaler.inverse_transform(y), x, rtol=1e-12)
    # Other data: by the numbers of the training data.
    other = rng.normal(0, 1, (4, 3))
    want = (other - x.mean(axis=0)) / [x[:, 0].std(), 1, x[:, 2].std()]
    np.testing.assert_allclose(scaler.transform(other), want, rtol=1e-12)


def test_standard_scaler_of_images(images, monkeypatch):
    monkeypatch.setattr(preprocessing, "_BLOCK", 1000)  # several blocks, the last one shorter
    wide = images.astype(np.float64)
    for axis, over in ((-1, (0, 1, 2)), ((1, 2, 3), (0,)), (None, (0, 1, 2, 3))):
        scaler = StandardScaler(axis=axis).fit(images)
        y = scaler.transform(images)
        assert y.dtype == np.float32
        want = (wide - wide.mean(over, keepdims=True)) / wide.std(over, keepdims=True)
        np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)
    centred = StandardScaler(with_std=False).fit_transform(images)
    np.testing.assert_allclose(centred, wide - wide.mean((0, 1, 2)), atol=1e-4)


def test_min_max_scaler(rng, images):
    x = rng.normal(5, 3, (50, 3))
    x[:, 1] = 7
    scaler = MinMaxScaler((-1, 1)).fit(x)
    y = scaler.transform(x)
    np.testing.assert_allclose(y.min(axis=0), -1, rtol=1e-12)
    np.testing.assert_allclose(y.max(axis=0), [1, -1, 1], rtol=1e-12)
    np.testing.assert_allclose(scaler.inverse_transform(y), x, rtol=1e-12)
    # What was constant isn't divided; values beyond the training data's leave the range.
    other = scaler.transform([[x[:, 0].max() + np.ptp(x[:, 0]), 9.0, 5.0]])
    np.testing.assert_allclose(other[0, :2], [3, 1], rtol=1e-12)
    smallest, largest = images.min((0, 1, 2)).astype(float), images.max((0, 1, 2))
    want = (images - smallest) / (largest - smallest)
    np.testing.assert_allclose(MinMaxScaler().fit_transform(images), want, atol=1e-6)


def test_the_results_are_scikit_learns(rng):
    theirs = pytest.importorskip("sklearn.preprocessing")
    x, other = rng.normal(5, 3, (50, 4)), rng.normal(5, 3, (7, 4))
    x[:, 2] = -3
    for name in ("StandardScaler", "MinMaxScaler"):
        want = getattr(theirs, name)().fit(x).transform(other)
        found = getattr(preprocessing, name)().fit(x).transform(other)
        np.testing.assert_allclose(found, want, rtol=1e-10, err_msg=name)


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler((2, 3), axis=(1, 3))])
def test_saved_as_plain_numbers(scaler, images):
    want = scaler.fit_transform(images)
    config = json.loads(json.dumps(scaler.get_config()))
    back = type(scaler).from_config(config)
    np.testing.assert_array_equal(back.transform(images), want)
    for wrong in (None, {}, config | {"scale": [0.0]}, config | {"offset": [1.0, 2.0]},
                  config | {"offset": [float("nan")]}, config | {"scale": ["a"]}):  # fmt: skip
        with pytest.raises(ValueError, match=r"from_config: (expected|offset and scale)"):
            type(scaler).from_config(wrong)


def test_large_integers_keep_their_differences():
    x = 1_700_000_000 + np.arange(5).reshape(5, 1)
    np.testing.assert_allclose(MinMaxScaler().fit_transform(x).ravel(), [0, 0.25, 0.5, 0.75, 1])


def test_errors(images):
    scaler = StandardScaler()
    with pytest.raises(RuntimeError, match=r"StandardScaler.transform: call fit\(x\) first"):
        scaler.transform([[1.0]])
    with pytest.raises(RuntimeError, match="get_config: call fit"):
        scaler.get_config()
    with pytest.raises(TypeError, match="real numbers, got dtype <U1"):
        scaler.fit([["a"]])
    with pytest.raises(ValueError, match=r"must have shape \(N, …\), got \(2,\)"):
        scaler.fit([1.0, 2.0])
    with pytest.raises(ValueError, match=r"x has no samples: \(0, 3\)"):
        scaler.fit(np.empty((0, 3)))
    with pytest.raises(ValueError, match="finite numbers"):
        scaler.fit([[1.0], [np.nan]])
    with pytest.raises(ValueError, match=r"must have shape \(N, 5, 6, 3\), got \(2, 3\)"):
        scaler.fit(images).transform([[1.0, 2, 3]] * 2)
    for axis in (0, True, 1.5, (1, 0)):
        with pytest.raises(ValueError, match="StandardScaler: axis must be an integer"):
            StandardScaler(axis)
    for axis in (4, -4, -5):
        with pytest.raises(ValueError, match=f"axis {axis} isn't an axis of a sample"):
            StandardScaler(axis).fit(images)
    with pytest.raises(ValueError, match=r"StandardScaler.fit: x must be an array, its rows"):
        scaler.fit([[1.0], [1.0, 2.0]])
    for feature_range in ((1, 1), (0, float("inf")), 3, (1,), ("a", "b"), None):
        with pytest.raises(ValueError, match="MinMaxScaler: feature_range must be"):
            MinMaxScaler(feature_range)
