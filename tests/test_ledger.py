"""The ledger: each row is what it says, and a process of its own."""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest

import fastnn
from fastnn import optimizers
from fastnn.experiments import ledger
from fastnn.experiments.ledger_page import ledger_page
from fastnn.experiments.processes import held_to_cpus
from fastnn.rules import STATES


def rows_of(names, states=("full",), backend="cython", network="digits", **more):
    more = {"steps": 30, "quick": True} | more
    todo = ledger.jobs([network], names, states, [backend], **more)
    return ledger.measure(todo, quick=True)


def test_jobs():
    """SGD first; narrow states on the first backend, rules in Python too; peers as they can."""
    todo = ledger.jobs(
        ["digits", "office"], ["adam", "adafactor", "sgd"], ["full", "8bit"],
        ["cython", "numba"], steps=7, budget=3.0, seed=5,
    )  # fmt: skip
    rows = [(j.backend, j.optimizer, j.state) for j in todo if j.network == "office"]
    assert rows == [
        ("cython", "sgd", "full"),
        ("cython", "adam", "full"),
        ("cython", "adam", "8bit"),
        ("cython", "adafactor", "full"),
        ("numba", "sgd", "full"),
        ("numba", "adam", "full"),
    ]
    assert len(todo) == 12
    assert {(j.steps, j.budget, j.seed) for j in todo} == {(7, 3.0, 5)}


def test_every_optimizer_has_a_name_and_its_rate():
    for name in ledger.OPTIMIZERS:
        assert ledger.title(name) != name
        for network in ("digits", "office"):
            assert name in ledger.NETWORKS[network].rates
    for network in ledger.NETWORKS.values():
        assert set(network.rates) <= set(optimizers.OPTIMIZERS)


def test_a_rows_figures():
    sgd, adam = rows_of(["sgd", "adam"])
    n = 64 * 80 + 80 + 80 * 70 + 70 + 70 * 10 + 10
    assert sgd["parameters"] == adam["parameters"] == n
    assert sgd["optimizer"] == "SGD"
    assert sgd["ratio_to_sgd"] == 1
    assert 0.3 < adam["ratio_to_sgd"] < 5
    assert adam["bytes_state"] == pytest.approx(2 * adam["bytes_parameters"])
    assert adam["bytes_parameters"] == pytest.approx(4, rel=0.03)
    for row in (sgd, adam):
        products = 64 * 80 + 80 * 70 + 70 * 10
        assert row["flops"] == pytest.approx(2 * 64 * (3 * products - 64 * 80), rel=0.15)
        assert row["moved_bytes"] > 4 * 3 * n
        seconds = row["ms_per_step"] / 1000
        assert row["gb_per_s"] == pytest.approx(1e-9 * row["moved_bytes"] / seconds)
        assert row["percent_of_limit"] > 0
        steps, times, losses = zip(*row["loss"], strict=True)
        assert steps == tuple(range(1, 31))
        assert list(times) == sorted(times)
        assert row["final_loss"] == pytest.approx(statistics.fmean(losses[-3:]))
        assert row["steps"] == 30
        assert not row["stopped"]
    assert adam["final_loss"] < sgd["final_loss"]
    assert adam["accuracy"] > 0.5


@pytest.mark.parametrize(
    ("network", "engine", "kept", "ahead"),
    [
        ("office", "fastnn", False, True),
        ("office", "fastnn", True, False),
        ("office", "PyTorch", False, False),
        ("digits", "fastnn", False, False),
    ],
)
def test_traffic_of_a_step(network, engine, kept, ahead, monkeypatch):
    """A first layer that looks ahead is read once; the limit's loops move as much."""
    (job,) = ledger.jobs([network], ["sgd"], ["full"], ["cython"])
    row = ledger._Row.__new__(ledger._Row)
    row.job, row.network = dataclasses.replace(job, engine=engine), ledger.NETWORKS[network]
    model = row.network.build(0)
    model.compile("adam", keep_gradients=kept)
    row.figures = row._model_figures(model)
    sizes = [p.size for p in model.chain.parameters()]
    n, first = sum(sizes), sizes[0]
    forward, dx, update = n - first * ahead, n - first, 2 * n
    stored = 4 * n if engine != "fastnn" else model.nbytes()["gradients"]
    state = 8 * n if engine != "fastnn" else model.nbytes()["state"]
    assert row.figures["moved_bytes"] == 4 * (forward + dx + update) + 2 * (stored + state)

    moved = []

    class Machine:
        def __init__(self, threads):
            pass

        def streams(self, updates, reads, size):
            moved.append((8 * updates + 4 * reads) * size)
            return 0.0

    monkeypatch.setattr(ledger, "Limits", Machine)
    row.limit()
    assert sum(moved) / 5 == pytest.approx(row.figures["moved_bytes"], abs=32)


def test_equal_seconds_are_those_of_sgd():
    """Adafactor takes as many steps and several times the time, so it is tested before its end."""
    sgd, other = rows_of(["sgd", "adafactor"], steps=200)
    at_equal, at_end = other["accuracy_at_equal_seconds"], other["accuracy"]
    assert sgd["accuracy_at_equal_seconds"] == sgd["accuracy"]
    assert other["loss"][-1][1] > sgd["loss"][-1][1]
    assert at_equal != at_end


def test_the_curve_ends_where_training_does():
    seconds = [0.5 * i for i in range(1, 132)]
    curve = ledger._curve(list(range(131)), seconds)
    assert [point[0] for point in curve] == [*range(2, 131, 2), 131]
    assert curve[-1] == [131, 65.5, 130]
    assert curve[0] == [2, 1, 0.5]
    assert ledger._curve([], []) == []


@pytest.fixture
def row(tmp_path):
    """One of the digits, in this process."""
    (job,) = ledger.jobs(["digits"], ["sgd"], ["full"], ["cython"], steps=30)
    ledger._store_data({"digits"}, str(tmp_path), quick=True)
    with fastnn.use_backend("cython"):
        yield ledger._Row(job, str(tmp_path))


@pytest.mark.parametrize("raises", [True, False])
def test_a_network_that_diverges(row, raises, monkeypatch):
    """fastnn raises, peers give NaN: the row says so, and its steps are timed all the same."""

    class Engine:
        steps = 0

        def step(self, *batch):
            self.steps += 1
            if self.steps % 8 == 0 and raises:
                raise FloatingPointError("step 8: loss=nan isn't finite")
            return float("nan") if self.steps % 8 == 0 else 1.0

        def outputs(self, x):
            return {"": np.zeros((len(x), 10))}

    model = ledger.NETWORKS["digits"].build(0)
    model.compile("sgd")
    monkeypatch.setattr(row, "_make", lambda: (Engine(), model))
    figures = row.train(None)
    assert figures["stopped"].startswith("step 8: ")
    assert (figures["steps"], figures["final_loss"], figures["accuracy"]) == (7, 1.0, None)
    assert len(row.time(1e-4)) > 8


def test_a_network_that_diverges_at_once_is_not_timed(row, monkeypatch):
    class Engine:
        def step(self, *batch):
            raise FloatingPointError("at once")

    monkeypatch.setattr(row, "_make", lambda: (Engine(), None))
    row._begin()
    with pytest.raises(FloatingPointError, match="at once"):
        row.time(1e-4)


def test_pairs_are_of_whole_epochs(row):
    """23 batches an epoch: the last one is still held when the next epoch begins."""
    order, rows = np.random.default_rng(row.job.seed), len(row.x)
    given = np.concatenate([x.copy() for x, _, _ in islice(row._pairs(), 2 * 23)])
    expected = np.concatenate([row.x[order.permutation(rows)] for _ in range(2)])
    np.testing.assert_array_equal(given, expected)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_processes_are_held_to_so_many_cpus():
    ours = os.sched_getaffinity(0)
    with held_to_cpus(1):
        run = [sys.executable, "-c", "import os; print(len(os.sched_getaffinity(0)))"]
        assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "1\n"
    assert os.sched_getaffinity(0) == ours


@pytest.mark.skipif(ledger._reset_peak() is None, reason="peaks are measured on Linux")
def test_memory_is_what_is_counted():
    """Parameters alone with SGD, three times that with Adam, twice and one and a half times with
    the narrow states: measured from outside the arrays, by the process's peak.
    """
    found = rows_of(["sgd", "adam"], list(STATES), network="office-large", steps=5)
    held = [row["peak_bytes"] / (4 * row["parameters"]) for row in found]
    np.testing.assert_allclose(held, [1, 3, 2, 1.5], rtol=0.1)
    counted = [
        sum(row[f"bytes_{part}"] for part in ("parameters", "gradients", "state")) / 4
        for row in found
    ]
    np.testing.assert_allclose(counted, [1, 3, 2, 1.53], rtol=0.03)


def test_a_row_that_cant_be_measured_has_an_error():
    """The others go on, and the page can be made."""
    todo = ledger.jobs(["digits"], ["sgd"], ["full"], ["cython"], steps=5, quick=True)
    broken = [*todo, todo[0].__class__(**{**vars(todo[0]), "optimizer": "none-such"})]
    good, bad = ledger.measure(broken, quick=True)
    assert good["steps"] == 5
    assert "unknown optimizer 'none-such'" in bad["error"]
    data = {
        "environment": {"cpu": "c", "threads": 1, "date": "d"}, "settings": {},
        "limits": ledger.machine_limits(), "rows": [good],
    }  # fmt: skip
    assert "SGD" in ledger_page(data).render()


def test_a_process_that_dies_is_an_error():
    todo = ledger.jobs(["digits"], ["sgd"], ["full"], ["cython"], steps=5, quick=True)
    process = ledger._Process(todo[0], "no such folder")
    with pytest.raises(RuntimeError, match="FileNotFoundError"):
        process("train", None)
    process.process.join(timeout=10)
    with pytest.raises(RuntimeError, match="the process ended"):
        process("train", None)
    process.close()


def test_limits_of_the_machine():
    found = ledger.machine_limits()
    assert found["fma_gflops"] > 1
    assert found["memory_gb_per_s"] > 0.5
