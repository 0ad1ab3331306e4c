"""Branches that meet, the backends side by side."""

from typing import Any

from bench.cases import QUICK, benches, time_op
from fastnn.ops import Op

pytestmark = QUICK


@benches("merge")
def test_merge(benchmark: Any, op: Op, shape: str, dtype: str, threads: int, backend: str) -> None:
    time_op(benchmark, op, shape, dtype, threads, backend)
