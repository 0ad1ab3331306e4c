"""``python -m bench.peers``: fastnn beside PyTorch, JAX and scikit-learn, and the machine's limits.

Run it from the repository's root, with nothing else running. Every engine has a process of its
own, pinned to its CPUs before it starts. Rounds alternate between the engines, so that a
disturbance meets all of them; figures are medians. See README.md for the columns.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import limits
from bench.worker import ENGINES, ROUND_SECONDS
from bench.workloads import CASES
from fastnn.config import config

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
    "FASTNN_NUM_THREADS",
)  # fmt: skip


class Worker:
    """An engine's process; see bench/worker.py for the protocol."""

    def __init__(self, engine: str, threads: int, library: str | None) -> None:
        self.engine = engine
        root = str(Path(__file__).parent.parent)
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path}
        environment |= dict.fromkeys(_THREAD_VARIABLES, str(threads))
        if library:
            environment["BENCH_LIMITS"] = library
        # The affinity is inherited by the child, and thus in force before it starts.
        ours = os.sched_getaffinity(0)
        os.sched_setaffinity(0, sorted(ours)[:threads])
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bench.worker", engine, str(threads)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                env=environment,
            )  # fmt: skip
        finally:
            os.sched_setaffinity(0, ours)

    def start(self) -> dict[str, Any]:
        """Wait until it is ready: its version, or why it is missing."""
        return self._answer()

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and wait for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"bench.peers: the process of {self.engine} ended unexpectedly")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)


def run_case(
    case: str, workers: list[Worker], rounds: int
) -> tuple[dict[str, list[float]], list[str]]:
    """Milliseconds of a step, in every round, by variant; and what failed."""
    variants: list[tuple[Worker, str, int]] = []
    problems = []
    for worker in workers:
        answer = worker.ask(prepare=case)
        if "error" in answer:
            problems.append(f"{case}: {worker.engine}: {answer['error']}")
        for variant in answer.get("variants", ()):
            # The first run compiles; the others say how many steps make a round.
            answers = [worker.ask(run=variant, steps=1) for _ in range(3)]
            if "error" in answers[0]:
                problems.append(f"{case}: {variant}: {answers[0]['error']}")
                continue
            fastest = min(answer["seconds"] for answer in answers)
            variants.append((worker, variant, max(1, int(ROUND_SECONDS / fastest))))
    times: dict[str, list[float]] = {variant: [] for _, variant, _ in variants}
    for _ in range(rounds):
        for worker, variant, steps in variants:
            times[variant].append(1e3 * worker.ask(run=variant, steps=steps)["seconds"] / steps)
    return times, problems


def summarise(case: str, threads: int, times: dict[str, list[float]]) -> dict[str, Any]:
    """One row of the table from the rounds of one case."""
    ms = {variant: statistics.median(rounds) for variant, rounds in times.items()}
    ours = {v: t for v, t in ms.items() if v.startswith("fastnn")}
    bounds = {v: t for v, t in ms.items() if v.startswith("limit")}
    peers = {v: t for v, t in ms.items() if v not in ours and v not in bounds}
    best = min(peers, key=peers.__getitem__, default=None)
    row: dict[str, Any] = {
        "case": case, "text": CASES[case].text, "threads": threads,
        "fastnn_ms": ours.get("fastnn"), "step_ms": ours.get("fastnn-step"),
        "best_peer": best, "best_peer_ms": peers.get(best) if best else None,
        "ratio": ours["fastnn"] / peers[best] if best and "fastnn" in ours else None,
        "peers_ms": peers, "ratios": {},
        "fma_ms": bounds.get("limit-fma"), "loop_ms": bounds.get("limit-loop"),
        "limit_ms": max(bounds.values(), default=None), "fraction": None, "rounds_ms": times,
    }  # fmt: skip
    if "fastnn" in ours:
        row["ratios"] = {v: ours["fastnn"] / t for v, t in peers.items()}
        if bounds:
            row["fraction"] = row["limit_ms"] / ours["fastnn"]
            row["fma_fraction"] = row["fma_ms"] / ours["fastnn"]
    return row


_COLUMNS = (
    ("case", 20), ("threads", 7), ("fastnn ms", 9), ("step ms", 8), ("best peer", 13),
    ("its ms", 8), ("ratio", 5), ("FMA ms", 8), ("loop ms", 8), ("of limit", 8), ("all peers", 0),
)  # fmt: skip


def _number(value: float | None) -> str:
    """Three digits that matter."""
    if value is None:
        return "-"
    return f"{value:.{2 if value >= 10 else 3 if value >= 1 else 4}f}"


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    fraction = "-" if row["fraction"] is None else f"{100 * row['fraction']:.0f} %"
    ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
    peers = sorted(row["peers_ms"].items(), key=lambda item: item[1])
    others = ", ".join(f"{v} {_number(t)} ({row['ratios'].get(v, 0):.2f})" for v, t in peers)
    cells = (
        row["case"], str(row["threads"]), _number(row["fastnn_ms"]), _number(row["step_ms"]),
        row["best_peer"] or "-", _number(row["best_peer_ms"]), ratio, _number(row["fma_ms"]),
        _number(row["loop_ms"]), fraction, others or "-",
    )  # fmt: skip
    return _format(cells)


def _format(cells: tuple[str, ...]) -> str:
    left = {"case", "best peer", "all peers"}
    return "  ".join(
        cell.ljust(width) if title in left else cell.rjust(width)
        for cell, (title, width) in zip(cells, _COLUMNS, strict=True)
    ).rstrip()


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--case", nargs="+", metavar="NAME", help="only these cases (see --list)")
    parser.add_argument("--threads", nargs="+", type=int, metavar="N", help="default: 1 2")
    parser.add_argument("--rounds", type=int, default=7, metavar="R", help="default: 7")
    parser.add_argument("--json", metavar="FILE", help="write all figures, every round included")
    parser.add_argument("--list", action="store_true", help="list the cases and end")
    options = parser.parse_args(arguments)
    if not hasattr(os, "sched_setaffinity"):
        parser.error("this system has no CPU affinity: engines can't be held to N CPUs")
    if options.list:
        for name, case in CASES.items():
            print(f"{name:<20}  {case.text}")
        return 0
    for name in options.case or ():
        if name not in CASES:
            parser.error(f"unknown case {name!r}; --list names them")
    cpus = len(os.sched_getaffinity(0))
    counts = options.threads or sorted({1, min(2, cpus)})
    if options.rounds < 1 or not all(1 <= n <= cpus for n in counts):
        parser.error(f"--rounds must be >= 1 and --threads in 1..{cpus}, the CPUs we may use")
    report = run(options.case or list(CASES), counts, options.rounds)
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if report["problems"] else 0


def run(cases: list[str], counts: list[int], rounds: int) -> dict[str, Any]:
    """Measure and print; returns everything as plain data."""
    settings = config()
    report: dict[str, Any] = {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": settings["cpu"], "system": platform.platform(), "python": platform.python_version(),
        "isa": settings["isa"], "backend": settings["backend"], "threads": counts,
        "rounds": rounds, "load": os.getloadavg()[0],
        "versions": {}, "missing": {}, "rows": [], "problems": [],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        library = None
        try:
            library = limits.build(folder)
        except limits.NoCompiler as error:
            report["missing"]["machine"] = str(error)
        for i, threads in enumerate(counts):
            engines = [name for name in ENGINES if name != "machine" or library]
            started = [Worker(name, threads, library) for name in engines]
            workers = []
            try:
                for worker in started:
                    answer = worker.start()
                    if "missing" in answer:
                        report["missing"][worker.engine] = answer["missing"]
                    else:
                        report["versions"][worker.engine] = answer["version"]
                        workers.append(worker)
                if i == 0:
                    _print_header(report)
                for case in cases:
                    times, problems = run_case(case, workers, rounds)
                    report["problems"] += problems
                    report["rows"].append(summarise(case, threads, times))
                    print(line(report["rows"][-1]), flush=True)
            finally:
                for worker in started:
                    worker.close()
    for problem in report["problems"]:
        print(problem, file=sys.stderr)
    return report


def _print_header(report: dict[str, Any]) -> None:
    versions = ", ".join(v for k, v in report["versions"].items() if k != "machine")
    threads = ", ".join(map(str, report["threads"]))
    print(
        f"{report['date']}  {report['cpu']}  threads {threads}, {report['rounds']} rounds, ", end=""
    )
    print(f"load before {report['load']:.1f}")
    print(f"python {report['python']}, {versions}")
    for engine, reason in report["missing"].items():
        print(f"missing: {engine} ({reason})")
    print(f"\n{_format(tuple(title for title, _ in _COLUMNS))}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
