"""The scripts of docs/compare.md run, and print what the page says they do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fastnn.experiments import ledger
from fastnn.rules import RULES

PAGE = Path(__file__).parent.parent / "docs" / "compare"


def run(name, *arguments):
    """The script's lines of output."""
    found = subprocess.run(
        [sys.executable, PAGE / f"{name}.py", *arguments],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def test_passes():
    lines = run("passes", "--sizes", "3", "2000", "125", "--repeats", "2")
    assert lines[0].startswith("2000 x 125 weights (1 MB)")
    rows = [(int(line[24:31]), float(line[31:40])) for line in lines[2:20]]
    passes, (moved, total), sgd = rows[:16], rows[16], rows[17]
    assert moved == sum(row[0] for row in passes)
    assert total == pytest.approx(sum(row[1] for row in passes), abs=0.1)
    of_sgd = (*passes[:2], passes[-3], passes[-1])
    assert sgd[0] == sum(row[0] for row in of_sgd) == 7
    assert sgd[1] == pytest.approx(sum(row[1] for row in of_sgd), abs=0.03)
    assert lines[-1].startswith("fastnn, adam: one pass")


def test_updates():
    lines = run("updates", "--size", "100000", "--repeats", "3")
    assert [line.split()[0] for line in lines[2:]] == list(RULES)
    assert all(float(line.split()[3]) > 0 for line in lines[2:])


def test_rates():
    lines = run("rates", "--network", "digits", "--steps", "2")
    assert [line.split()[0] for line in lines] == list(ledger.OPTIMIZERS)
    assert all(float(line.split()[1]) > 0 for line in lines)
