"""Whole training steps, through ``train_on_batch``: the backends side by side."""

from functools import lru_cache
from typing import Any

import numpy as np
import pytest

import fastnn
from bench import cases, networks
from fastnn import backends
from fastnn.backends import BACKENDS

pytestmark = pytest.mark.benchmark(max_time=0.3, min_rounds=3, warmup=False)

#: network, dtypes, learning rate of the steps that are compared
NETWORKS = {
    "digits": (("float32", "float64"), 0.01),
    "office-small": (("float32",), 1e-4),
    "office-large": (("float32",), 1e-4),
    "mnist": (("float32",), 0.01),
}
STEPS = 3


def train(name: str, optimizer: str, dtype: str, backend: str) -> tuple[Any, list[float]]:
    """A new model after three steps, and their losses."""
    with fastnn.use_backend(backend):
        model = networks.model(name, optimizer, NETWORKS[name][1], dtype)
        x, labels = networks.data(name, dtype)
        return model, [model.train_on_batch(x, labels) for _ in range(STEPS)]


@lru_cache(maxsize=2)
def expected(name: str, optimizer: str, dtype: str) -> list[float]:
    return train(name, optimizer, dtype, "reference")[1]


def _parameters() -> list[Any]:
    return [
        pytest.param(name, optimizer, dtype, threads, backend,
                     id=f"{name}-{optimizer}-{dtype}-{threads}t-{backend}")
        for name, (dtypes, _) in NETWORKS.items()
        for optimizer in ("sgd", "adam")
        for dtype in dtypes
        for threads in cases.thread_counts(parallel=True)
        for backend in BACKENDS
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "optimizer", "dtype", "threads", "backend"), _parameters())
def test_training_step(
    benchmark: Any, name: str, optimizer: str, dtype: str, threads: int, backend: str
) -> None:
    if reason := backends.available_backends()[backend]:
        pytest.skip(f"backend {backend}: {reason}")
    network = networks.NETWORKS[name]
    sizes = f"{networks.text(name)} batch {network['batch']}"
    benchmark.group = cases.group(f"step {name} {optimizer}", sizes, dtype, threads)
    benchmark.extra_info.update(
        backend=backend, dtype=dtype, threads=threads, origin=network["origin"],
        elements=sum(w.size + b.size for w, b in networks.weights(name)),
    )  # fmt: skip
    with cases.limited_to(threads):
        model, losses = train(name, optimizer, dtype, backend)
        assert len(set(losses)) == STEPS, "the steps changed nothing"
        rtol = 1e-4 if dtype == "float32" else 1e-9
        np.testing.assert_allclose(losses, expected(name, optimizer, dtype), rtol=rtol)
        model.optimizer.learning_rate = networks.STILL
        with fastnn.use_backend(backend):
            benchmark(model.train_on_batch, *networks.data(name, dtype))
