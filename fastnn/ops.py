"""The op table: one row per kernel.

A row names the family (the file that holds the op on every floor), the arguments the op
writes, whether it is exact, and its cost. Everything that must cover all kernels (tests,
benchmarks, ``fastnn info``, docs) iterates this table, so a kernel without a row does not
exist. Signature and documentation of an op are those of its reference function.

*Exact* means that on small integers every order of summation gives the same bits, so that
all backends, thread counts and instruction sets must agree to the bit. An op that is not
exact calls exp or log, and agrees within ``ulps`` units in the last place.

``flops`` and ``bytes`` take the op's own arguments; ``bytes`` is the least traffic the
definition allows: every array read once, every output written once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastnn.rules import RULES


@dataclass(frozen=True)
class Op:
    """One row: see the module's text."""

    name: str
    family: str
    writes: tuple[str, ...]
    exact: bool
    flops: Callable[..., int]
    bytes: Callable[..., int]
    ulps: int = 0


def _nbytes(*arrays: Any) -> int:
    return sum(a.nbytes for a in arrays if a is not None)


def _activation(
    name: str,
    flops: int,
    *,
    exact: bool = False,
    ulps: int = 0,
    back: int = 3,
    back_ulps: int = 0,
) -> tuple[Op, Op]:
    """The rows of an activation; ``back`` are the flops of its gradient, from the output."""
    return (
        Op(name, "activation", ("y",), exact,
           flops=lambda x, y: flops * x.size,
           bytes=lambda x, y: _nbytes(x, y), ulps=ulps),
        Op(f"{name}_backward", "activation", ("dx",), not back_ulps,
           flops=lambda dy, y, dx: back * dy.size,
           bytes=lambda dy, y, dx: _nbytes(dy, y, dx), ulps=back_ulps),
    )  # fmt: skip


def _gated(name: str, flops: int) -> tuple[Op, Op]:
    """The rows of y = x · (something from 0 to 1), whose gradient needs the input."""
    return (
        Op(name, "activation", ("y",), False,
           flops=lambda x, y: flops * x.size,
           bytes=lambda x, y: _nbytes(x, y), ulps=8),
        Op(f"{name}_backward", "activation", ("dx",), False,
           flops=lambda dy, x, dx: (flops + 8) * dy.size,
           bytes=lambda dy, x, dx: _nbytes(dy, x, dx), ulps=8),
    )  # fmt: skip


def _loss(name: str, flops: int, target: str, *, exact: bool, ulps: int = 0) -> Op:
    cost = {
        "labels": (lambda x, labels, weight, dx: flops * x.size,
                   lambda x, labels, weight, dx: _nbytes(x, labels, dx)),
        "targets": (lambda x, targets, weight, dx: flops * x.size,
                    lambda x, targets, weight, dx: _nbytes(x, targets, dx)),
    }[target]  # fmt: skip
    return Op(name, "loss", ("dx",), exact, *cost, ulps=ulps)


OPS: dict[str, Op] = {
    op.name: op
    for op in (
        Op("dense", "dense", ("y",), True,
           flops=lambda x, w, b, activation, y: 2 * x.size * w.shape[1],
           bytes=lambda x, w, b, activation, y: _nbytes(x, w, b, y), ulps=8),
        Op("dense_dx", "dense", ("dx",), True,
           flops=lambda dz, w, dx: 2 * dz.size * w.shape[0],
           bytes=lambda dz, w, dx: _nbytes(dz, w, dx)),
        Op("dense_dw", "dense", ("dw",), True,
           flops=lambda x, dz, start, dw: 2 * x.shape[0] * dw.size,
           bytes=lambda x, dz, start, dw: x.shape[0] * dw.shape[0] * x.itemsize + _nbytes(dz, dw)),
        Op("dense_db", "dense", ("db",), True,
           flops=lambda dz, db: dz.size,
           bytes=lambda dz, db: _nbytes(dz, db)),
        Op("dense_dw_update", "dense", ("w", "state", "y_next"), True,
           flops=lambda x, dz, w, state, rule, x_next, y_next:
               (2 * len(x) + RULES[rule.name].flops + 2 * (0 if x_next is None else len(x_next)))
               * w.size,
           bytes=lambda x, dz, w, state, rule, x_next, y_next:
               _nbytes(x, dz, x_next, y_next) + 2 * _nbytes(w, *state)),
        Op("im2col", "conv", ("columns",), True,
           flops=lambda x, geometry, columns: 0,
           bytes=lambda x, geometry, columns: _nbytes(x, columns)),
        Op("col2im", "conv", ("x",), True,
           flops=lambda columns, geometry, x: columns.size,
           bytes=lambda columns, geometry, x: _nbytes(columns, x)),
        Op("conv2d", "conv", ("y",), True,
           flops=lambda x, w, b, geometry, activation, y: 2 * len(x) * geometry.multiply_adds,
           bytes=lambda x, w, b, geometry, activation, y: _nbytes(x, w, b, y), ulps=8),
        Op("conv2d_dx", "conv", ("dx",), True,
           flops=lambda dz, w, geometry, dx: 2 * len(dz) * geometry.multiply_adds,
           bytes=lambda dz, w, geometry, dx: _nbytes(dz, w, dx)),
        Op("conv2d_dw", "conv", ("dw",), True,
           flops=lambda x, dz, geometry, dw: 2 * len(x) * geometry.multiply_adds,
           bytes=lambda x, dz, geometry, dw: _nbytes(x, dz, dw)),
        Op("max_pool2d", "pool", ("y", "index"), True,
           flops=lambda x, geometry, y, index: geometry.taps * y.size,
           bytes=lambda x, geometry, y, index: _nbytes(x, y, index)),
        Op("max_pool2d_backward", "pool", ("dx",), True,
           flops=lambda dy, index, geometry, dx: dy.size,
           bytes=lambda dy, index, geometry, dx: _nbytes(dy, index, dx)),
        Op("average_pool2d", "pool", ("y",), True,
           flops=lambda x, geometry, y: geometry.taps * y.size,
           bytes=lambda x, geometry, y: _nbytes(x, y)),
        Op("average_pool2d_backward", "pool", ("dx",), True,
           flops=lambda dy, geometry, dx: geometry.taps * dy.size,
           bytes=lambda dy, geometry, dx: _nbytes(dy, dx)),
        *_activation("relu", 1, exact=True),
        *_activation("sigmoid", 20, ulps=8),
        *_activation("tanh", 25, ulps=8),
        Op("leaky_relu", "activation", ("y",), True,
           flops=lambda x, slope, y: 2 * x.size,
           bytes=lambda x, slope, y: _nbytes(x, y)),
        Op("leaky_relu_backward", "activation", ("dx",), True,
           flops=lambda dy, y, slope, dx: 2 * dy.size,
           bytes=lambda dy, y, slope, dx: _nbytes(dy, y, dx)),
        Op("prelu", "activation", ("y",), True,
           flops=lambda x, slope, y: 2 * x.size,
           bytes=lambda x, slope, y: _nbytes(x, slope, y)),
        Op("prelu_backward", "activation", ("dx", "terms"), True,
           flops=lambda dy, x, slope, dx, terms: 4 * dy.size,
           bytes=lambda dy, x, slope, dx, terms: _nbytes(dy, x, slope, dx, terms)),
        Op("elu", "activation", ("y",), False,
           flops=lambda x, alpha, y: 20 * x.size,
           bytes=lambda x, alpha, y: _nbytes(x, y), ulps=8),
        Op("elu_backward", "activation", ("dx",), True,
           flops=lambda dy, y, alpha, dx: 3 * dy.size,
           bytes=lambda dy, y, alpha, dx: _nbytes(dy, y, dx)),
        *_activation("selu", 20, ulps=8, back_ulps=4),
        *_gated("swish", 21),
        *_gated("gelu", 42),
        *_gated("gelu_tanh", 26),
        *_activation("softplus", 40, ulps=8, back=20, back_ulps=8),
        Op("heaviside", "activation", ("y",), True,
           flops=lambda x, y: x.size,
           bytes=lambda x, y: _nbytes(x, y)),
        *_activation("softmax", 20, ulps=16, back=4),
        Op("batch_norm_statistics", "norm", ("mean", "variance"), False,
           flops=lambda x, mean, variance: 4 * x.size,
           bytes=lambda x, mean, variance: _nbytes(x, mean, variance), ulps=24),
        Op("batch_norm", "norm", ("y",), True,
           flops=lambda x, mean, variance, gamma, beta, epsilon, activation, y: 3 * x.size,
           bytes=lambda x, mean, variance, gamma, beta, epsilon, activation, y: _nbytes(x, y)),
        Op("batch_norm_sums", "norm", ("dgamma", "dbeta"), True,
           flops=lambda dy, x, mean, variance, gamma, beta, epsilon, activation, dgamma, dbeta:
               5 * x.size,
           bytes=lambda dy, x, mean, variance, gamma, beta, epsilon, activation, dgamma, dbeta:
               _nbytes(dy, x)),
        Op("batch_norm_dx", "norm", ("dx",), True,
           flops=lambda dy, x, mean, variance, gamma, beta, epsilon, activation, dgamma, dbeta, dx:
               6 * x.size,
           bytes=lambda dy, x, mean, variance, gamma, beta, epsilon, activation, dgamma, dbeta, dx:
               _nbytes(dy, x, dx)),
        Op("local_response_norm", "norm", ("y",), False,
           flops=lambda x, size, alpha, beta, bias, y: (size + 10) * x.size,
           bytes=lambda x, size, alpha, beta, bias, y: _nbytes(x, y), ulps=16),
        Op("local_response_norm_backward", "norm", ("dx",), False,
           flops=lambda dy, x, size, alpha, beta, bias, dx: (2 * size + 15) * x.size,
           bytes=lambda dy, x, size, alpha, beta, bias, dx: _nbytes(dy, x, dx), ulps=32),
        Op("add", "merge", ("y",), True,
           flops=lambda a, b, activation, y: 2 * y.size,
           bytes=lambda a, b, activation, y: _nbytes(a, b, y)),
        _loss("softmax_cross_entropy", 20, "labels", exact=False, ulps=16),
        _loss("softmax_cross_entropy_targets", 22, "targets", exact=False, ulps=16),
        _loss("sigmoid_cross_entropy", 40, "targets", exact=False, ulps=16),
        _loss("mse", 4, "targets", exact=True),
        Op("update", "update", ("param", "state"), True,
           flops=lambda param, grad, state, rule: RULES[rule.name].flops * param.size,
           bytes=lambda param, grad, state, rule: 3 * param.nbytes + 2 * _nbytes(*state)),
    )
}  # fmt: skip

FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(op.family for op in OPS.values()))

#: Every name that ``activation=`` takes, and the numbers its op takes beside arrays: the defaults
#: of Keras's layers.
ACTIVATIONS: dict[str, tuple[float, ...]] = {
    "identity": (), "relu": (), "sigmoid": (), "tanh": (), "leaky_relu": (0.3,), "elu": (1.0,),
    "selu": (), "swish": (), "gelu": (), "gelu_tanh": (), "softplus": (), "heaviside": (),
    "softmax": (),
}  # fmt: skip

#: Other names of some.
ACTIVATION_ALIASES: dict[str, str] = {
    "linear": "identity", "silu": "swish", "threshold": "heaviside",
}  # fmt: skip

#: Those whose gradient is computed from the input: an output belongs to two inputs.
FROM_INPUT = ("swish", "gelu", "gelu_tanh")

#: Activations that the dense and convolution kernels fuse. The value is the code they take.
FUSED_ACTIVATIONS: dict[str, int] = {"identity": 0, "relu": 1, "sigmoid": 2, "tanh": 3}
