"""Shared by all tests: state of the process restored after each, backends and small data."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn.cli import main

sys.path.insert(0, str(Path(__file__).parent))  # for naive.py and cases/

BACKENDS = ("reference", "numba", "cython")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """No test leaves another number of threads, backend or instruction set behind."""
    threads, selection = fastnn.get_num_threads(), fastnn.backends.selection()
    yield
    fastnn.set_num_threads(threads)
    assert fastnn.backends.selection() == selection, "a test left a backend selected"


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The test runs on each backend; one that is missing fails."""
    with fastnn.use_backend(request.param):
        yield request.param


@pytest.fixture
def rng() -> np.random.Generator:
    """The same numbers at every run."""
    return np.random.default_rng(20)


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``fails(args, *parts, code=2)``: the command ends with one line that says all parts, and with
    that exit code. Returns what it printed before.
    """

    def run(args: list[str], *parts: str, code: int = 2) -> str:
        assert main(args) == code
        out, err = capsys.readouterr()
        assert err.startswith("fastnn: error: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1, err
        for part in parts:
            assert part in err
        return out

    return run


def run_python(
    code: str, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a process of its own, with the fastnn that is under test and these
    environment variables.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FASTNN_")}
    paths = [Path(fastnn.__file__).parent.parent, Path(__file__).parent]
    clean["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    return subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(code)],
        env=clean | environment, capture_output=True, text=True, check=check, timeout=100,
    )  # fmt: skip
