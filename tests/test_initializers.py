"""Initializers: mean and variance within bounds that follow from the number of draws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastnn import Dense, Sequential, initializers

#: Fourth moment / variance²: the variance of n draws has the standard error variance · √((κ−1)/n).
KURTOSIS = {"uniform": 9 / 5, "normal": 3.0, "truncated": 2.3655}
#: Standard errors that a moment may be off: a fair draw is further out once in 1.7 million.
SIGMAS = 5

DENSE, CONV = (300, 500), (5, 3, 90, 120)
#: By name: kind, mean, and the variance for a weight of fan_in and fan_out.
MOMENTS = {
    "random_normal": ("normal", 0, lambda i, o: 0.05**2),
    "random_uniform": ("uniform", 0, lambda i, o: 0.05**2 / 3),
    "truncated_normal": ("truncated", 0, lambda i, o: (0.05 * 0.87962566) ** 2),
    "glorot_uniform": ("uniform", 0, lambda i, o: 2 / (i + o)),
    "glorot_normal": ("truncated", 0, lambda i, o: 2 / (i + o)),
    "he_uniform": ("uniform", 0, lambda i, o: 2 / i),
    "he_normal": ("truncated", 0, lambda i, o: 2 / i),
    "lecun_uniform": ("uniform", 0, lambda i, o: 1 / i),
    "lecun_normal": ("truncated", 0, lambda i, o: 1 / i),
    initializers.RandomUniform(-1, 1): ("uniform", 0, lambda i, o: 1 / 3),
    initializers.RandomNormal(2, 0.3): ("normal", 2, lambda i, o: 0.09),
    initializers.TruncatedNormal(-1, 2): ("truncated", -1, lambda i, o: (2 * 0.87962566) ** 2),
    initializers.VarianceScaling(3, "out", "untruncated_normal"): (
        "normal", 0, lambda i, o: 3 / o
    ),
}  # fmt: skip


def filled(initializer, shape, dtype="float64", seed=1):
    out = np.full(shape, np.nan, dtype)
    initializers.get(initializer).fill(out, np.random.default_rng(seed))
    return out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [DENSE, CONV], ids=["dense", "conv"])
@pytest.mark.parametrize(
    "given", MOMENTS, ids=lambda g: g if isinstance(g, str) else type(g).__name__
)
def test_moments(given, shape, dtype):
    kind, mean, variance_of = MOMENTS[given]
    field = math.prod(shape[:-2])
    variance = variance_of(field * shape[-2], field * shape[-1])
    w = filled(given, shape, dtype).astype(np.float64)
    n = w.size
    assert abs(w.mean() - mean) <= SIGMAS * math.sqrt(variance / n)
    found = np.mean((w - mean) ** 2)
    assert abs(found - variance) <= SIGMAS * variance * math.sqrt((KURTOSIS[kind] - 1) / n)
    # The bounds tell one kind from another: 5 standard errors are under 2 %.
    assert SIGMAS * math.sqrt((KURTOSIS[kind] - 1) / n) < 0.02
    # Every axis varies: no row is like another.
    assert len(np.unique(w)) > 0.9 * n
    reach = np.abs(w - mean).max() / math.sqrt(variance)
    if kind == "uniform":
        assert 0.999 * math.sqrt(3) < reach <= math.sqrt(3) * (1 + 1e-6)
    elif kind == "truncated":
        assert 0.999 * 2 / 0.87962566 < reach <= 2 / 0.87962566 * (1 + 1e-6)
    else:
        assert reach > 3.5


@pytest.mark.parametrize("shape", [(7, 7), (40, 9), (9, 40), (3, 3, 4, 20), (1, 1, 16, 5)])
@pytest.mark.parametrize("gain", [1.0, 1.7])
def test_orthogonal(shape, gain):
    """Wᵀ W, or W Wᵀ where that is the smaller one, is gain² I."""
    w = filled(initializers.Orthogonal(gain), shape).reshape(-1, shape[-1])
    w = w if w.shape[0] >= w.shape[1] else w.T
    np.testing.assert_allclose(w.T @ w, gain**2 * np.eye(w.shape[1]), atol=1e-14)
    assert np.ptp(w) > 0
    single = filled(initializers.Orthogonal(gain), shape, "float32").reshape(-1, shape[-1])
    np.testing.assert_allclose(np.sort(np.abs(single), None), np.sort(np.abs(w), None), atol=1e-6)


def test_orthogonal_matrices_of_all_signs():
    """QR alone fixes the signs: then the first element of W would never be positive."""
    first = [filled("orthogonal", (3, 3), seed=seed)[0, 0] for seed in range(40)]
    assert 8 < sum(value > 0 for value in first) < 32
    determinants = [np.linalg.det(filled("orthogonal", (3, 3), seed=s)) for s in range(40)]
    np.testing.assert_allclose(np.abs(determinants), 1)
    assert 8 < sum(value > 0 for value in determinants) < 32


def test_constants():
    for given, value in (("zeros", 0), ("ones", 1), (0.1, 0.1), (initializers.Constant(3), 3)):
        np.testing.assert_array_equal(filled(given, (4, 5)), np.full((4, 5), float(value)))
    assert isinstance(initializers.get("zeros"), initializers.Zeros)
    assert isinstance(initializers.get("ones"), initializers.Constant)


def test_one_seed_gives_the_same_weights():
    for name in ("orthogonal", "he_normal", "glorot_uniform"):
        nets = [Sequential([Dense(6, kernel_initializer=name)], (5,), seed=s) for s in (3, 3, 4)]
        a, b, c = (net.get_weights()["dense/w"] for net in nets)
        np.testing.assert_array_equal(a, b)
        assert np.any(a != c)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: initializers.get("he_norml"), "unknown initializer 'he_norml'; did you mean"),
        (lambda: initializers.VarianceScaling(1, "both"), "unknown fan 'both'"),
        (lambda: initializers.VarianceScaling(1, "in", "normal"), "unknown distribution 'normal'"),
        (lambda: initializers.VarianceScaling(-1), "VarianceScaling: scale must be a number in"),
        (lambda: initializers.Orthogonal(-1), "Orthogonal: gain must be a number in [0, inf)"),
        (lambda: filled("orthogonal", (3,)), "Orthogonal: a weight must have two axes or more"),
    ],
)
def test_errors(call, text):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        call()
    assert text in str(error.value)
