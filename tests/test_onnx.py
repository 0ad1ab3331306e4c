"""Ops against ONNX's reference implementation, on random inputs: another reading of the same
definitions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastnn import functional as F
from fastnn.ops import ACTIVATIONS

onnx = pytest.importorskip("onnx")

SINGLE = float(np.finfo(np.float32).eps)
#: Activations whose constants ONNX has in float32, for float64 arrays too.
IN_SINGLE = ("selu", "gelu", "gelu_tanh")


def onnx_op(kind: str, *inputs: np.ndarray, opset: int = 20, **attributes: Any) -> np.ndarray:
    """The first output of one node of ONNX, as ``onnx.reference`` computes it."""
    from onnx.reference import ReferenceEvaluator

    names = [f"x{i}" for i in range(len(inputs))]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, names, ["y"], **attributes)],
        "test",
        [onnx.helper.make_empty_tensor_value_info(name) for name in names],
        [onnx.helper.make_empty_tensor_value_info("y")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    return ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))[0]


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
