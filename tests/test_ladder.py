"""Every step of docs/ladder gives the same product, and the command that times them runs."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn

LADDER = Path(__file__).parents[1] / "docs" / "ladder"
STEPS = ("naive", "numpy_", "rows", "blocked", "tile")
# One, odd, prime, and more than one block of step 4 in each direction.
SHAPES = ((1, 1, 1), (3, 5, 7), (6, 64, 64), (37, 33, 513), (65, 100, 31))


def multiply_of(step):
    """The step's function. Loaded by path: tests/ has a naive.py of its own."""
    spec = importlib.util.spec_from_file_location(f"ladder_{step}", LADDER / f"{step}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.multiply


def integers(shape, dtype, seed):
    values = np.random.default_rng(seed).integers(-3, 4, shape).astype(dtype)
    assert values.size < 20 or len(np.unique(values)) > 3
    return values


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("step", STEPS)
def test_steps_give_the_same_bits_on_integers(step, dtype):
    multiply = multiply_of(step)
    for m, k, n in SHAPES:
        a, b = integers((m, k), dtype, m), integers((k, n), dtype, n)
        expected = (a.astype(np.int64) @ b.astype(np.int64)).astype(dtype)
        found = multiply(a, b)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected, err_msg=f"{step} {(m, k, n)}")


def test_blocks_keep_the_bits_of_the_rows():
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal(shape, np.float32) for shape in ((17, 131), (131, 600)))
    rows, blocked = (multiply_of(name)(a, b) for name in ("rows", "blocked"))
    np.testing.assert_array_equal(rows, blocked)
    assert rows.any()


def test_climb_prints_a_row_for_every_step():
    run = subprocess.run(
        [sys.executable, LADDER / "climb.py", "--size", "40", "--repeats", "1"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    rows = run.stdout.splitlines()[2:]
    backends = [b for b in ("numba", "cython") if not fastnn.available_backends()[b]]
    assert len(rows) - (4 + len(backends)) in (0, 1)  # the limit only where there is a compiler
    assert all(float(row.split()[-2]) >= 0 for row in rows)
    assert sum(row.endswith("100.0%") for row in rows) >= 1


def test_climb_refuses_a_size_of_zero():
    run = subprocess.run(
        [sys.executable, LADDER / "climb.py", "--size", "0"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert "at least 1" in run.stderr
