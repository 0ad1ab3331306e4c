"""Nothing of the op table is left out."""

from pathlib import Path

from bench.cases import CASES
from fastnn.ops import FAMILIES, OPS


def test_every_op_has_a_bench() -> None:
    assert [name for name in OPS if name not in CASES] == []


def test_every_family_has_a_file() -> None:
    here = Path(__file__).parent
    assert [f for f in FAMILIES if not (here / f"test_{f}.py").is_file()] == []
