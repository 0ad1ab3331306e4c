"""The ledger: what each optimizer costs in time and memory, and what it gains, measured.

A row is an optimizer with a form of its state on one engine and network. It is measured in a
process of its own: first it trains from the same weights on the same batches as all others, with
its peak of memory; then its steps are timed in turns with those of plain SGD on the same engine, so
that a disturbance of the machine hits both. Whatever happens once (compiling, first touches of
memory) is over before anything is measured.
"""

from __future__ import annotations

import ctypes
import gc
import math
import multiprocessing
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, count, pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastnn import backends, optimizers
from fastnn.backends import threads
from fastnn.datasets import draw_cifar10, draw_office31, load_digits, split
from fastnn.experiments import images, office31, peers
from fastnn.experiments.processes import THREAD_VARIABLES, environment, held_to_cpus
from fastnn.geometry import Conv2DGeometry
from fastnn.layers import Dense
from fastnn.limits import Limits, NoLimits
from fastnn.model import ONLY, Sequential
from fastnn.rules import RULES
from fastnn.training import Batches

Array = NDArray[Any]
Labels = Mapping[str, Array]
#: Told before each row: rows done, rows in all, what comes next.
Progress = Callable[[int, int, str], None]

#: Steps before anything is measured.
WARM_UP = 3
#: Seconds of each turn of timed steps, and how many turns.
TURN, TURNS, QUICK_TURNS = 0.15, 7, 2
#: Points of a loss curve.
POINTS = 60


# --- what is trained ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """A network, the data it learns, and each optimizer's rate.

    ``data(quick)`` is (x, labels by head, x_test, labels by head).
    """

    title: str
    build: Callable[[int], Sequential]
    data: Callable[[bool], tuple[Array, dict[str, Array], Array, dict[str, Array]]]
    batch_size: int
    steps: int
    quick_steps: int
    #: by name in ``optimizers.OPTIMIZERS``; the optimizer's own where none is given
    rates: Mapping[str, float] = field(default_factory=dict)


def _digits(quick: bool) -> tuple[Array, dict[str, Array], Array, dict[str, Array]]:
    x, y, x_test, y_test = split(*load_digits(), test_fraction=0.2, seed=0)
    return x, {ONLY: y}, x_test, {ONLY: y_test}


def _digits_network(seed: int) -> Sequential:
    layers = [Dense(80, "sigmoid"), Dense(70, "sigmoid"), Dense(10)]
    return Sequential(layers, input_shape=(64,), seed=seed)


def _office(quick: bool) -> tuple[Array, dict[str, Array], Array, dict[str, Array]]:
    train, _, test = office31.parts(draw_office31(200 if quick else 1200), seed=0)
    return train.x, train.y, test.x, test.y


def _office_network(*hidden: int) -> Callable[[int], Sequential]:
    def build(seed: int) -> Sequential:
        settings = office31.Settings(hidden=hidden, seed=seed)
        return office31.network(30_000, settings, {"domain": 3, "object": 31})

    return build


def _cifar10(quick: bool) -> tuple[Array, dict[str, Array], Array, dict[str, Array]]:
    drawn = draw_cifar10(*((640, 200) if quick else (6000, 1000)))
    return drawn.x_train, {ONLY: drawn.y_train}, drawn.x_test, {ONLY: drawn.y_test}


# The best of a grid by training loss, found by docs/compare/rates.py.
_DIGITS_RATES = {
    "sgd": 3.0, "momentum": 1.0, "nesterov": 1.0, "adagrad": 0.3, "adadelta": 30.0,
    "rmsprop": 0.03, "adam": 0.03, "adam-uncorrected": 0.01, "adamw": 0.03, "lion": 1e-3,
    "proximal-gradient-descent": 3.0, "proximal-adagrad": 3.0, "adafactor": 1.0,
}  # fmt: skip
# Of (64,32,10), and of the course where it gives one: 1e-4 for SGD and Adam.
_OFFICE_RATES = {
    "sgd": 1e-4, "momentum": 1e-4, "nesterov": 1e-4, "adagrad": 3e-4, "adadelta": 0.3,
    "rmsprop": 1e-4, "adam": 1e-4, "adam-uncorrected": 1e-4, "adamw": 1e-4, "lion": 3e-5,
    "proximal-gradient-descent": 1e-4, "proximal-adagrad": 1e-3, "adafactor": 3e-3,
}  # fmt: skip

NETWORKS: dict[str, Network] = {
    "digits": Network(
        "digits: 64 → 80 → 70 → 10, sigmoid, batch 64",
        _digits_network, _digits, 64, 1380, 460, _DIGITS_RATES,
    ),
    "office-10": Network(
        "Office-31 size: 30,000 → 10 → 3 + 31, ReLU, batch 10",
        _office_network(10), _office, 10, 600, 60, _OFFICE_RATES,
    ),
    "office": Network(
        "Office-31 size: 30,000 → 64 → 32 → 10 → 3 + 31, ReLU, batch 10",
        _office_network(64, 32, 10), _office, 10, 600, 60, _OFFICE_RATES,
    ),
    "office-large": Network(
        "Office-31 size: 30,000 → 384 → 192 → 64 → 32 → 10 → 3 + 31, ReLU, batch 10",
        _office_network(384, 192, 64, 32, 10), _office, 10, 300, 30, _OFFICE_RATES,
    ),
    "cifar10": Network(
        "CIFAR-10 network: five convolutions, dense 384, batch 128",
        images.cifar10_cnn, _cifar10, 128, 150, 10, {"sgd": 0.03, "momentum": 3e-3},
    ),
}  # fmt: skip

#: Optimizers that train a network with hidden layers: the other two forget its initial weights.
OPTIMIZERS = tuple(name for name in optimizers.OPTIMIZERS if name not in ("ftrl", "adagrad-da"))
QUICK_NETWORKS = ("digits", "office")
QUICK_OPTIMIZERS = ("sgd", "momentum", "adam")


@dataclass(frozen=True)
class Job:
    """A row to be measured."""

    network: str
    #: "fastnn" with a backend, or one of ``peers.available()`` with ""
    engine: str
    backend: str
    optimizer: str
    #: one of ``rules.STATES``; full is float32
    state: str
    steps: int
    #: training ends after so many seconds, if not after ``steps``
    budget: float
    threads: int
    seed: int


def jobs(
    networks: Sequence[str],
    names: Sequence[str],
    states: Sequence[str],
    backend_names: Sequence[str],
    engines: Sequence[str] = (),
    *,
    quick: bool = False,
    steps: int | None = None,
    budget: float = 20.0,
    seed: int = 0,
) -> list[Job]:
    """The rows of a comparison, those of one network and engine together, SGD first.

    The first backend has every form of the state (if ``quick``, with Adam only), the others the
    full one; a rule in Python has the first backend and the full state only. ``engines`` are peers.
    """
    found = []
    names = ["sgd", *(name for name in names if name != "sgd")]
    for network in networks:
        few = NETWORKS[network].quick_steps if quick else NETWORKS[network].steps
        common = (steps or few, budget, threads.get_num_threads(), seed)
        for backend in backend_names:
            for name in names:
                optimizer, first = optimizers.get(name), backend == backend_names[0]
                if optimizer.in_python and not first:
                    continue
                narrow = first and optimizer.state and not optimizer.in_python
                narrow = narrow and (not quick or name == "adam")
                for state in states if narrow else ["full"]:
                    found.append(Job(network, "fastnn", backend, name, state, *common))
        for engine in engines:
            rows = [n for n in names if peers.offers(engine, optimizers.get(n))]
            found += [Job(network, engine, "", name, "full", *common) for name in rows]
    return found


# --- the process of a row -----------------------------------------------------------------------


class _Engine(Protocol):
    def step(self, x: Array, labels: Labels, x_next: Array | None) -> float: ...
    def outputs(self, x: Array) -> dict[str, Array]: ...


class _Fastnn:
    """A step as ``fit`` makes it: the next batch is known."""

    def __init__(self, model: Sequential) -> None:
        self.model = model

    def step(self, x: Array, labels: Labels, x_next: Array | None) -> float:
        return sum(self.model.step(x, labels, x_next)[1].values())

    def outputs(self, x: Array) -> dict[str, Array]:
        found = self.model.predict(x)
        return found if isinstance(found, dict) else {ONLY: found}


class _Peer:
    def __init__(self, model: Sequential, job: Job) -> None:
        self.peer = peers.peer(job.engine, model, job.threads, job.seed)
        self.outputs = self.peer.outputs

    def step(self, x: Array, labels: Labels, x_next: Array | None) -> float:
        return self.peer.step(x, labels)


class _Row:
    """Carries out one job, in the process where it is made."""

    def __init__(self, job: Job, folder: str) -> None:
        self.job, self.network = job, NETWORKS[job.network]
        threads.set_num_threads(job.threads)
        if job.backend:
            backends.use_backend(job.backend)
        stored = np.load(Path(folder, f"{job.network}.npz"))
        self.x, self.x_test = stored["x"], stored["x_test"]
        self.labels, self.labels_test = (
            {key.removeprefix(f"{kind}:"): stored[key] for key in stored if key.startswith(kind)}
            for kind in ("train", "test")
        )
        self.batches = Batches(self.x, self.labels, self.network.batch_size, np.dtype(np.float32))
        self.engine: _Engine | None = None

    def _make(self) -> tuple[_Engine, Sequential]:
        job = self.job
        model = self.network.build(job.seed)
        rate = self.network.rates.get(job.optimizer)
        model.compile(
            optimizers.get(job.optimizer, rate, seed=job.seed, state_dtype=job.state),
            "softmax_cross_entropy",
            keep_gradients=job.backend == "reference",
        )
        return (_Fastnn(model) if job.engine == "fastnn" else _Peer(model, job)), model

    def _begin(self) -> Sequential:
        """A network that has not learnt anything, and its batches from the first."""
        self.engine, model = self._make()
        self.pairs = self._pairs()
        return model

    def _pairs(self) -> Iterator[tuple[Array, Labels, Array]]:
        """Batches without end, each with the inputs of the next one."""
        rng = np.random.default_rng(self.job.seed)
        endless = chain.from_iterable(self.batches.shuffled(rng) for _ in count())
        x, labels = next(endless)
        for following, following_labels in endless:
            yield x, labels, following
            x, labels = following, following_labels

    def warm_up(self) -> None:
        """Compile and load what a step needs, on a network of its own."""
        engine, _ = self._make()
        pairs = self._pairs()
        started = time.perf_counter()
        for _ in range(WARM_UP):
            engine.step(*next(pairs))
            if time.perf_counter() - started > self.job.budget:
                break
        engine.outputs(self.x_test[:1])
        del engine
        gc.collect()
        _give_back()

    def train(self, equal_seconds: float | None) -> dict[str, Any]:
        """Train; figures of memory, loss and accuracy.

        ``equal_seconds``: the accuracy then is a figure, too.
        """
        self.warm_up()
        before = _reset_peak()
        model = self._begin()
        assert self.engine is not None
        figures = self.figures = self._model_figures(model)
        if self.job.engine != "fastnn":
            # The peer has its own copy of the weights.
            del model
            gc.collect()
            _reset_peak()
        losses: list[float] = []
        seconds: list[float] = []  # from the beginning, after each step
        at_equal: float | None = None
        peak: int | None = None
        spent, stopped = 0.0, ""
        for _ in range(self.job.steps):
            batch = next(self.pairs)
            started = time.perf_counter()
            try:
                loss = float(self.engine.step(*batch))
            except FloatingPointError as error:
                stopped = str(error)
                break
            if not math.isfinite(loss):  # peers say nothing
                stopped = f"step {len(losses) + 1}: the loss is {loss}"
                break
            losses.append(loss)
            spent += time.perf_counter() - started
            seconds.append(spent)
            if equal_seconds is not None and at_equal is None and spent >= equal_seconds:
                peak = _peak()  # before a test, which holds more images at a time
                at_equal = self.accuracy()
            if spent > self.job.budget:
                break
        peak = peak or _peak()
        accuracy = None if stopped else self.accuracy()
        return figures | {
            "peak_bytes": peak - before if peak is not None and before is not None else None,
            "loss": _curve(losses, seconds),
            "final_loss": statistics.fmean(losses[-max(1, len(losses) // 10) :] or [math.nan]),
            "accuracy": accuracy,
            "accuracy_at_equal_seconds": accuracy if at_equal is None else at_equal,
            "steps": len(losses),
            "seconds": spent,
            "stopped": stopped,
        }

    def accuracy(self) -> float:
        """The mean over the heads."""
        assert self.engine is not None
        outputs = self.engine.outputs(self.x_test)
        right = [
            float(np.mean(outputs[head].argmax(axis=1) == y))
            for head, y in self.labels_test.items()
        ]
        return statistics.fmean(right)

    def _model_figures(self, model: Sequential) -> dict[str, Any]:
        """What can be counted: sizes, and the least a step must compute and move."""
        job, nbytes = self.job, model.nbytes()
        n = sum(p.size for p in model.chain.parameters())
        if job.engine != "fastnn":
            arrays = len(RULES[model.optimizer.name].state)
            nbytes = {"parameters": 4 * n, "gradients": 4 * n, "state": 4 * n * arrays}
        # The weights are read forward and, but the first ones, for dx; the update reads and
        # writes them and the state, and a stored gradient is written and read. First ones that
        # are streamed are multiplied with the next batch while the update has them in cache.
        first = next(model.chain.parameters())
        ahead = job.engine == "fastnn" and first.gradient is None
        self.read = n - first.size + (n - first.size if ahead else n)
        moved = 4 * (self.read + 2 * n) + 2 * (nbytes["state"] + nbytes["gradients"])
        flops = 2 * self.network.batch_size * _products(model)
        flops += (RULES[model.optimizer.name].flops if model.optimizer.name in RULES else 10) * n
        return {
            "parameters": n,
            "moved_bytes": moved,
            "flops": flops,
        } | {f"bytes_{part}": size / n for part, size in nbytes.items()}

    def time(self, seconds: float) -> list[float]:
        """Seconds of each of several steps, for about so long.

        A network that diverges begins anew, or raises ``FloatingPointError`` at its first step.
        """
        assert self.engine is not None
        found: list[float] = []
        new = False
        while sum(found) < seconds:
            batch = next(self.pairs)
            started = time.perf_counter()
            try:
                self.engine.step(*batch)
            except FloatingPointError:
                if new:
                    raise
                self._begin()
                new = True
                continue
            found.append(time.perf_counter() - started)
            new = False
        return found

    def limit(self) -> float | None:
        """Seconds of plain loops over arrays as large, with the same reads and writes."""
        try:
            machine = Limits(self.job.threads)
        except NoLimits:
            return None
        n = self.figures["parameters"]
        loops = [(0, 1, self.read), (1, 0, n)]
        loops += [(1, 0, int(n * self.figures[f"bytes_{p}"] / 4)) for p in ("state", "gradients")]
        # The fastest of several: what the machine can do when nothing disturbs it.
        return min(sum(machine.streams(u, r, k) for u, r, k in loops if k) for _ in range(5))


def _products(model: Sequential) -> int:
    """Multiply-adds of a sample's training step: forward, dw, and dx but of the first layer."""
    found = []
    for layer in model.chain.leaves():
        geometry = getattr(layer, "geometry", None)
        if isinstance(geometry, Conv2DGeometry):
            found.append(geometry.multiply_adds)
        elif isinstance(layer, Dense):
            found.append(layer.w.size)
    return 3 * sum(found) - found[0]


def _curve(losses: Sequence[float], seconds: Sequence[float]) -> list[list[float]]:
    """[step, seconds, loss] at some sixty places; the loss is the mean since the place before."""
    every = max(1, len(losses) // POINTS)
    ends = [*range(every, len(losses), every), len(losses)] if losses else []
    return [
        [end, seconds[end - 1], statistics.fmean(losses[begin:end])]
        for begin, end in pairwise([0, *ends])
    ]


# --- memory of a process --------------------------------------------------------------------------


def _status(name: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = (line.split() for line in lines if line.startswith(f"{name}:"))
    return next((1024 * int(words[1]) for words in found), None)


def _reset_peak() -> int | None:
    """Begin to measure a peak; what the process holds now, None where that can't be done."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def _peak() -> int | None:
    return _status("VmHWM")


def _give_back() -> None:
    """Return what was freed to the system, so that it isn't counted as held."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return


# --- processes and turns --------------------------------------------------------------------------


def _serve(connection: Connection, job: Job, folder: str) -> None:
    """The process of a row: answers calls of ``_Row``'s methods until told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with np.errstate(all="ignore"):
        try:
            row = _Row(job, folder)
            while call := connection.recv():
                method, *arguments = call
                connection.send((True, getattr(row, method)(*arguments)))
        except EOFError:
            return
        except Exception as error:
            connection.send((False, f"{type(error).__name__}: {error}"))


class _Process:
    """A row's process, as its caller sees it."""

    def __init__(self, job: Job, folder: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, job, folder), daemon=True)
        # Whatever library computes there, it has so many threads.
        names = (*THREAD_VARIABLES, "NUMBA_NUM_THREADS")
        with environment(names, str(job.threads)), held_to_cpus(job.threads):
            self.process.start()
        theirs.close()

    def __call__(self, method: str, *arguments: Any) -> Any:
        """The result of that method of ``_Row``; raises ``RuntimeError`` with what it raised."""
        try:
            self.connection.send((method, *arguments))
            fine, result = self.connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise RuntimeError("the process ended (out of memory?)") from None
        if not fine:
            raise RuntimeError(result)
        return result

    def close(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()


def measure(
    todo: Sequence[Job], quick: bool = False, progress: Progress = lambda done, total, what: None
) -> list[dict[str, Any]]:
    """The rows of the ledger; what they hold says ``fastnn.experiments.ledger_page``.

    A row that can't be measured has an ``error`` and no figures; the others go on. After Ctrl-C the
    rows measured so far are returned.
    """
    rows: list[dict[str, Any]] = []
    sgd: _Process | None = None
    sgd_seconds: float | None = None
    group: tuple[str, ...] = ()
    with tempfile.TemporaryDirectory() as folder:
        _store_data({job.network for job in todo}, folder, quick)
        try:
            for done, job in enumerate(todo):
                words = filter(None, (job.engine, job.backend, job.optimizer))
                what = f"{job.network}: {' '.join(words)}, {job.state}"
                progress(done, len(todo), what)
                if group != (job.network, job.engine, job.backend):
                    group = (job.network, job.engine, job.backend)
                    if sgd:
                        sgd.close()
                    sgd, sgd_seconds = None, None
                process = _Process(job, folder)
                try:
                    row = _measured(process, job, sgd, sgd_seconds, quick)
                    if job.optimizer == "sgd":
                        sgd, sgd_seconds = process, None if row["stopped"] else row["seconds"]
                except RuntimeError as error:
                    row = _described(job) | {"error": str(error)}
                finally:
                    if process is not sgd:
                        process.close()
                rows.append(row)
        except KeyboardInterrupt:
            if not rows:
                raise
        finally:
            if sgd:
                sgd.close()
    return rows


def _measured(
    process: _Process, job: Job, sgd: _Process | None, sgd_seconds: float | None, quick: bool
) -> dict[str, Any]:
    figures = process("train", sgd_seconds)
    limit = process("limit")
    mine: list[float] = []
    others: list[float] = []
    for turn in range(QUICK_TURNS if quick else TURNS):
        if turn > 1 and sum(mine) > job.budget:
            break
        if sgd:
            others += sgd("time", TURN)
        mine += process("time", TURN)
    seconds = statistics.median(mine)
    ratio = seconds / statistics.median(others) if others else None
    return (
        _described(job)
        | figures
        | {
            "ms_per_step": 1000 * seconds,
            "fastest_ms": 1000 * min(mine),
            "ratio_to_sgd": 1.0 if job.optimizer == "sgd" else ratio,
            "gb_per_s": 1e-9 * figures["moved_bytes"] / seconds,
            "percent_of_limit": None if limit is None else 100 * limit / seconds,
        }
    )


def _described(job: Job) -> dict[str, Any]:
    return {
        "network": NETWORKS[job.network].title,
        "engine": job.engine,
        "backend": job.backend,
        "optimizer": title(job.optimizer),
        "state": job.state,
        "job": asdict(job),
    }


#: Names as papers write them.
_TITLES = {
    "sgd": "SGD", "momentum": "Momentum", "nesterov": "Nesterov", "adagrad": "Adagrad",
    "adadelta": "Adadelta", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW",
    "adam-uncorrected": "Adam, uncorrected", "lion": "Lion", "adafactor": "Adafactor",
    "proximal-adagrad": "Proximal Adagrad",
    "proximal-gradient-descent": "Proximal gradient descent",
}  # fmt: skip


def title(optimizer: str) -> str:
    """``"rmsprop"`` → ``"RMSprop"``."""
    return _TITLES.get(optimizer, optimizer)


def _store_data(networks: set[str], folder: str, quick: bool) -> None:
    drawn: dict[Any, Any] = {}
    for name in networks:
        make = NETWORKS[name].data
        if make not in drawn:
            drawn[make] = make(quick)
        x, labels, x_test, labels_test = drawn[make]
        arrays = {f"train:{head}": y for head, y in labels.items()}
        arrays |= {f"test:{head}": y for head, y in labels_test.items()}
        np.savez(Path(folder, f"{name}.npz"), x=x, x_test=x_test, **arrays)


def machine_limits() -> dict[str, float | None]:
    """GFLOP/s of multiply-adds and GB/s of an in-place loop, on the threads that are set."""
    try:
        machine = Limits(threads.get_num_threads())
    except NoLimits:
        return {"fma_gflops": None, "memory_gb_per_s": None}
    size = 16_000_000
    peak = max(machine.peak(200_000) for _ in range(5))
    seconds = min(machine.streams(1, 0, size) for _ in range(5))
    return {"fma_gflops": peak, "memory_gb_per_s": 8e-9 * size / seconds}


# --- the answer in words --------------------------------------------------------------------------


def engine_of(row: Mapping[str, Any]) -> str:
    """``fastnn cython``, ``PyTorch fused``."""
    return f"{row['engine']} {row['backend']}".strip()


def disturbed(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows whose median step took more than 2.5 times as long as the fastest one."""
    return [row for row in rows if row["ms_per_step"] > 2.5 * row["fastest_ms"]]
