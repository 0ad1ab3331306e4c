"""Ops against ONNX's reference implementation, on random inputs: another reading of the same
definitions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastnn import BatchNormalization, Sequential
from fastnn import functional as F
from fastnn.ops import ACTIVATIONS

onnx = pytest.importorskip("onnx")

SINGLE = float(np.finfo(np.float32).eps)
#: Activations whose constants ONNX has in float32, for float64 arrays too.
IN_SINGLE = ("selu", "gelu", "gelu_tanh")


def onnx_op(kind: str, *inputs: np.ndarray, opset: int = 20, **attributes: Any) -> np.ndarray:
    """The first output of one node of ONNX, as ``onnx.reference`` computes it."""
    return onnx_outputs(1, kind, *inputs, opset=opset, **attributes)[0]


def onnx_outputs(
    count: int, kind: str, *inputs: np.ndarray, opset: int = 20, **attributes: Any
) -> list[np.ndarray]:
    """The first outputs of a node."""
    from onnx.reference import ReferenceEvaluator

    outputs = [f"y{i}" for i in range(count)]

    names = [f"x{i}" for i in range(len(inputs))]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, names, outputs, **attributes)],
        "test",
        [onnx.helper.make_empty_tensor_value_info(name) for name in names],
        [onnx.helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    return ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))


def swish(x: np.ndarray) -> np.ndarray:
    return x * onnx_op("Sigmoid", x)  # the op itself came with opset 24


def heaviside(x: np.ndarray) -> np.ndarray:
    """ONNX has none: where x is greater than 0."""
    return np.asarray(onnx_op("Greater", x, np.zeros_like(x)), x.dtype)


#: By name: ours, ONNX's.
CASES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "relu": (F.relu, lambda x: onnx_op("Relu", x)),
    "sigmoid": (F.sigmoid, lambda x: onnx_op("Sigmoid", x)),
    "tanh": (F.tanh, lambda x: onnx_op("Tanh", x)),
    "leaky_relu": (
        lambda x: F.leaky_relu(x, 0.125), lambda x: onnx_op("LeakyRelu", x, alpha=0.125)
    ),
    "prelu": (
        lambda x: F.prelu(x, SLOPE.astype(x.dtype)),
        lambda x: onnx_op("PRelu", x, SLOPE.astype(x.dtype)),
    ),
    "elu": (F.elu, lambda x: onnx_op("Elu", x)),
    "elu, alpha": (lambda x: F.elu(x, 0.25), lambda x: onnx_op("Elu", x, alpha=0.25)),
    "selu": (F.selu, lambda x: onnx_op("Selu", x)),
    "swish": (F.swish, swish),
    "gelu": (F.gelu, lambda x: onnx_op("Gelu", x)),
    "gelu_tanh": (
        lambda x: F.gelu(x, approximate=True), lambda x: onnx_op("Gelu", x, approximate="tanh")
    ),
    "softplus": (F.softplus, lambda x: onnx_op("Softplus", x)),
    "heaviside": (F.heaviside, heaviside),
    "softmax": (F.softmax, lambda x: onnx_op("Softmax", x, axis=-1)),
}  # fmt: skip
SLOPE = np.random.default_rng(8).standard_normal(5)


def test_every_activation_has_a_case():
    assert {name.split(",")[0] for name in CASES} == set(ACTIVATIONS) - {"identity"} | {"prelu"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_activations(backend, name, dtype, rng):
    ours, theirs = CASES[name]
    x = (3 * rng.standard_normal((4, 7, 5))).astype(dtype)
    x[0, 0] = [0, -20, 20, -1e-3, 1e-3]
    got, want = ours(x), theirs(x)
    assert got.dtype == want.dtype == dtype
    assert np.ptp(want) > 0
    # As for the absolute tolerance: what cancels in its GELU doesn't in ours.
    exact = SINGLE if name in IN_SINGLE else np.finfo(dtype).eps
    np.testing.assert_allclose(got, want, rtol=16 * exact, atol=16 * exact)


#: Exact in float32, as ONNX's attributes are.
EPSILON = 1 / 128


def channels_first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, 1)


def batch(rng: np.random.Generator, dtype: str, *shape: int) -> list[np.ndarray]:
    """x, gamma, beta, mean, variance."""
    x = rng.standard_normal(shape) * 2 + 3
    gamma, beta, mean = rng.standard_normal((3, shape[-1]))
    variance = rng.random(shape[-1]) + 0.2
    return [a.astype(dtype) for a in (x, gamma, beta, mean, variance)]


@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 5, 7)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batch_normalization(backend, dtype, shape, rng):
    x, gamma, beta, mean, variance = batch(rng, dtype, *shape)
    got = F.batch_norm(x, mean, variance, gamma, beta, epsilon=EPSILON)
    want = onnx_op(
        "BatchNormalization", channels_first(x), gamma, beta, mean, variance, epsilon=EPSILON
    )
    tolerance = 16 * np.finfo(dtype).eps
    np.testing.assert_allclose(channels_first(got), want, rtol=tolerance, atol=tolerance * 8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batch_normalization_in_training(backend, dtype, rng):
    """Its output and its running statistics; ONNX's momentum is Keras's, its variance biased."""
    x, gamma, beta, mean, variance = batch(rng, dtype, 6, 3, 5, 4)
    net = Sequential([BatchNormalization(0.75, EPSILON)], x.shape[1:], dtype)
    net.compile("sgd", "mse")
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    arrays = gamma, beta, mean, variance
    net.set_weights(dict(zip((f"batchnormalization/{n}" for n in names), arrays, strict=True)))
    (got, _) = net.step(x, {"": np.zeros_like(x)})
    weights = net.get_weights()
    want = onnx_outputs(
        3, "BatchNormalization", channels_first(x), *arrays,
        epsilon=EPSILON, momentum=0.75, training_mode=1,
    )  # fmt: skip
    found = [channels_first(got), *(weights[f"batchnormalization/{n}"] for n in names[2:])]
    tolerance = 64 * np.finfo(dtype).eps
    for ours, theirs in zip(found, want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * 8)


@pytest.mark.parametrize("size", [1, 4, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_local_response_normalization(backend, dtype, size, rng):
    """As many samples as channels: ONNX 1.23 takes the sums of so many channels and no more."""
    x = rng.standard_normal((7, 3, 4, 7)).astype(dtype)
    numbers = {"size": size, "alpha": 0.625, "beta": 0.75, "bias": 1.5}
    want = onnx_op("LRN", channels_first(x), **numbers)
    got = F.local_response_norm(x, **numbers)
    np.testing.assert_allclose(channels_first(got), want, rtol=16 * np.finfo(dtype).eps)
    assert np.abs(got - x).max() > 0.1
