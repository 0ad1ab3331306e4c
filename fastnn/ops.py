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


def _activation(name: str, flops: int, *, exact: bool, ulps: int = 0) -> tuple[Op, Op]:
    return (
        Op(name, "activation", ("y",), exact,
           flops=lambda x, y: flops * x.size,
           bytes=lambda x, y: _nbytes(x, y), ulps=ulps),
        Op(f"{name}_backward", "activation", ("dx",), True,
           flops=lambda dy, y, dx: 3 * dy.size,
           bytes=lambda dy, y, dx: _nbytes(dy, y, dx)),
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
        *_activation("sigmoid", 20, exact=False, ulps=8),
        *_activation("tanh", 25, exact=False, ulps=8),
        Op("batch_norm_statistics", "norm", ("mean", "variance"), False,
           flops=lambda x, mean, variance: 4 * x.size,
           bytes=lambda x, mean, variance: _nbytes(x, mean, variance), ulps=8),
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

#: Activations a dense layer can fuse, because their derivative follows from the output.
#: The value is the code the kernels take.
FUSED_ACTIVATIONS: dict[str, int] = {"identity": 0, "relu": 1, "sigmoid": 2, "tanh": 3}
