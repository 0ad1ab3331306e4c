"""``python -m bench.peers``: fastnn beside PyTorch, JAX and scikit-learn, and the machine's limits.

Run it from the repository's root, with nothing else running. Every engine has a process of its
own, pinned to its CPUs before it starts. Rounds alternate between the engines, so that a
disturbance meets all of them; figures are medians. See README.md for the columns.

A case's name may be a pattern: 'resnet50*', 'vgg16*-forward', or a kind of case before it, 'conv*',
'pool*', 'norm*', 'step*', 'dense*', 'zoo*'.
"""

from __future__ import annotations

import argparse
import datetime
import fnmatch
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.worker import ENGINES
from bench.workloads import CASES, Conv, Norm, Pool
from fastnn.config import config
from fastnn.experiments.processes import held_to_cpus

#: Seconds a variant runs before it is timed: caches, clock, and its threads, which have to wake up.
WARM_UP = 0.1
#: A round times each variant for about so long, and at least one step; single layers, of which
#: there are many, for less.
ROUND_SECONDS, LAYER_SECONDS = 0.15, 0.05
#: A variant so many times slower than the fastest peer is timed in the first round only.
HOPELESS = 2.0
#: Networks of which the layers are also counted together.
LARGE = ("AlexNet", "VGG-16", "ResNet-50")

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
    "FASTNN_NUM_THREADS",
)  # fmt: skip


class Worker:
    """An engine's process; see bench/worker.py for the protocol."""

    def __init__(self, engine: str, threads: int) -> None:
        self.engine = engine
        root = str(Path(__file__).parent.parent)
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path}
        environment |= dict.fromkeys(_THREAD_VARIABLES, str(threads))
        with held_to_cpus(threads):
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bench.worker", engine, str(threads)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                env=environment,
            )  # fmt: skip

    def start(self) -> dict[str, Any]:
        """Wait until it is ready: its version, or why it is missing."""
        return self._answer()

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and wait for the answer.

        Before and after the process stands still: its threads may spin, waiting for work, on the
        CPUs that the next engine is timed on.
        """
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(json.dumps(command) + "\n")
        answer = self._answer()
        self.process.send_signal(signal.SIGSTOP)
        return answer

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"bench.peers: the process of {self.engine} ended unexpectedly")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait(timeout=30)


def run_case(
    case: str, workers: list[Worker], rounds: int
) -> tuple[dict[str, list[float]], list[str]]:
    """Milliseconds of a step, in every round, by variant; and what failed."""
    layer = isinstance(CASES[case], (Conv, Pool, Norm))
    seconds = LAYER_SECONDS if layer else ROUND_SECONDS
    variants: dict[str, tuple[Worker, dict[str, Any]]] = {}
    fastest: dict[str, float] = {}
    problems = []
    norms: dict[str, list[float]] = {}
    times: dict[str, list[float]] = {}
    for worker in workers:
        answer = worker.ask(prepare=case)
        if "error" in answer:
            problems.append(f"{case}: {worker.engine}: {answer['error']}")
        for variant in answer.get("variants", ()):
            if worker.engine != "machine":  # it computes nothing
                answer = worker.ask(check=variant)  # compiles
                if "error" in answer:
                    problems.append(f"{case}: {variant}: {answer['error']}")
                    continue
                norms[variant] = answer["norms"]
            command = {"run": variant, "steps": 1, "warm_up": 0, "seconds": 0}
            found = [worker.ask(**command)["seconds"]]
            if found[0] < seconds:
                found.append(worker.ask(**command)["seconds"])
            else:  # a step is a round, and this one was the first
                times[variant] = [1e3 * found[0]]
            fastest[variant] = min(found)
            # Long steps are their own warm-up.
            command["steps"] = max(1, round(seconds / fastest[variant]))
            command["warm_up"] = 0 if fastest[variant] > WARM_UP else WARM_UP
            command["seconds"] = seconds
            variants[variant] = (worker, command)
    problems += differences(case, norms)
    for i in range(rounds):
        best = min((t for v, t in fastest.items() if _is_peer(v)), default=0.0)
        for variant, (worker, command) in variants.items():
            so_far = times.setdefault(variant, [])
            hopeless = _is_peer(variant) and fastest[variant] > HOPELESS * best
            if len(so_far) > i or (so_far and hopeless):
                continue
            taken = worker.ask(**command)["seconds"] / command["steps"]
            fastest[variant] = min(fastest[variant], taken)
            so_far.append(1e3 * taken)
    return times, problems


def differences(case: str, norms: dict[str, list[float]]) -> list[str]:
    """A line for every variant that doesn't compute what the first one does, by its norms."""
    told = {variant: found for variant, found in norms.items() if found}
    first = next(iter(told), "")
    tolerance = CASES[case].tolerance
    return [
        f"{case}: {variant} computes {found} where {first} computes {told[first]} (norms)"
        for variant, found in told.items()
        if len(found) != len(told[first])
        or not all(
            math.isclose(a, b, rel_tol=tolerance)
            for a, b in zip(found, told[first], strict=True)
        )
    ]  # fmt: skip


def _is_peer(variant: str) -> bool:
    return not variant.startswith(("fastnn", "limit"))


def summarise(case: str, threads: int, times: dict[str, list[float]]) -> dict[str, Any]:
    """One row of the table from the rounds of one case."""
    ms = {variant: statistics.median(rounds) for variant, rounds in times.items()}
    ours = {v: t for v, t in ms.items() if v.startswith("fastnn")}
    bounds = {v: t for v, t in ms.items() if v.startswith("limit")}
    peers = {v: t for v, t in ms.items() if _is_peer(v)}
    best = min(peers, key=peers.__getitem__, default=None)
    row: dict[str, Any] = {
        "case": case, "text": CASES[case].text, "threads": threads,
        "fastnn_ms": ours.get("fastnn"), "step_ms": ours.get("fastnn-step"),
        "best_peer": best, "best_peer_ms": peers.get(best) if best else None,
        "ratio": ours["fastnn"] / peers[best] if best and "fastnn" in ours else None,
        "peers_ms": peers, "ratios": {},
        "fma_ms": bounds.get("limit-fma"), "loop_ms": bounds.get("limit-loop"),
        "limit_ms": max(bounds.values(), default=None), "fraction": None, "fma_fraction": None,
        "rounds_ms": times,
    }  # fmt: skip
    if "fastnn" in ours:
        row["ratios"] = {v: ours["fastnn"] / t for v, t in peers.items()}
        if bounds:
            row["fraction"] = row["limit_ms"] / ours["fastnn"]
        if "limit-fma" in bounds:
            row["fma_fraction"] = row["fma_ms"] / ours["fastnn"]
    return row


_COLUMNS = (
    ("case", max(map(len, CASES))), ("threads", 7), ("fastnn ms", 9), ("step ms", 8),
    ("best peer", 27), ("its ms", 8), ("ratio", 5), ("FMA ms", 8), ("loop ms", 8), ("of FMA", 6),
    ("of limit", 8), ("all peers", 0),
)  # fmt: skip


def _number(value: float | None) -> str:
    """Three digits that matter."""
    if value is None:
        return "-"
    return f"{value:.{2 if value >= 10 else 3 if value >= 1 else 4}f}"


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    of_limit, of_fma = (
        "-" if row[key] is None else f"{100 * row[key]:.0f} %"
        for key in ("fraction", "fma_fraction")
    )
    ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
    peers = sorted(row["peers_ms"].items(), key=lambda item: item[1])
    others = ", ".join(f"{v} {_number(t)} ({row['ratios'].get(v, 0):.2f})" for v, t in peers)
    cells = (
        row["case"], str(row["threads"]), _number(row["fastnn_ms"]), _number(row["step_ms"]),
        row["best_peer"] or "-", _number(row["best_peer_ms"]), ratio, _number(row["fma_ms"]),
        _number(row["loop_ms"]), of_fma, of_limit, others or "-",
    )  # fmt: skip
    return _format(cells)


def _format(cells: tuple[str, ...]) -> str:
    left = {"case", "best peer", "all peers"}
    return "  ".join(
        cell.ljust(width) if title in left else cell.rjust(width)
        for cell, (title, width) in zip(cells, _COLUMNS, strict=True)
    ).rstrip()


def groups(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ratios of the convolutions, by network, part and threads: their geometric means, of all
    shapes and of all layers (a shape counted as often as the network has it).
    """
    found: dict[tuple[str, str, int], list[tuple[int, float]]] = {}
    for row in rows:
        case = CASES[row["case"]]
        if not isinstance(case, Conv) or row["ratio"] is None:
            continue
        network, count = case.sizes["network"], case.sizes["multiplicity"]
        key = (network, case.part, row["threads"])
        found.setdefault(key, []).append((count, row["ratio"]))
    for part, threads in {(part, threads) for _, part, threads in found}:
        large = [found.get((network, part, threads), []) for network in LARGE]
        if all(large):
            found[", ".join(LARGE), part, threads] = [pair for pairs in large for pair in pairs]
    return [
        {
            "network": network, "part": part, "threads": threads, "shapes": len(pairs),
            "layers": sum(count for count, _ in pairs),
            "by_shape": statistics.geometric_mean(ratio for _, ratio in pairs),
            "by_layer": math.exp(
                sum(n * math.log(ratio) for n, ratio in pairs) / sum(n for n, _ in pairs)
            ),
            "largest": max(ratio for _, ratio in pairs),
        }
        for (network, part, threads), pairs in sorted(found.items())
    ]  # fmt: skip


def print_groups(rows: list[dict[str, Any]]) -> None:
    """Geometric means by network, then the layers in which a peer is faster."""
    print(f"\n{'geometric means of ratio':<34}  threads  shapes  by shape  by layer  largest")
    for g in groups(rows):
        print(
            f"{g['network'] + ' ' + g['part']:<34}  {g['threads']:>7}  {g['shapes']:>6}  "
            f"{g['by_shape']:>8.2f}  {g['by_layer']:>8.2f}  {g['largest']:>7.2f}"
        )
    kinds = Conv, Pool, Norm
    layers = [r for r in rows if isinstance(CASES[r["case"]], kinds) and r["ratio"]]
    for low, high in ((2.0, math.inf), (1.0, 2.0)):
        slower = sorted(
            (row for row in layers if low < row["ratio"] <= high), key=lambda row: -row["ratio"]
        )
        limit = f"above {low:g}" + ("" if high == math.inf else f", up to {high:g}")
        print(f"\nratio {limit}: {len(slower)} of {len(layers)}")
        for row in slower:
            print(f"  {row['ratio']:5.2f}  {row['case']}, threads {row['threads']}")


def chosen(patterns: list[str]) -> list[str]:
    """The cases of these names and patterns, in order. Raises ``ValueError`` if there are none."""
    found: dict[str, None] = {}
    for pattern in patterns:
        names = [pattern] if pattern in CASES else [
            name for name, case in CASES.items()
            if fnmatch.fnmatchcase(name, pattern)
            or fnmatch.fnmatchcase(f"{case.kind}-{name}", pattern)
        ]  # fmt: skip
        if not names:
            raise ValueError(f"unknown case {pattern!r}; --list names them")
        found |= dict.fromkeys(names)
    return list(found)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--case", nargs="+", metavar="NAME", help="only these (see --list)")
    parser.add_argument("--threads", nargs="+", type=int, metavar="N", help="default: 1 2")
    parser.add_argument("--rounds", type=int, default=7, metavar="R", help="default: 7")
    parser.add_argument("--json", metavar="FILE", help="write all figures, every round included")
    parser.add_argument("--list", action="store_true", help="list the cases and end")
    options = parser.parse_args(arguments)
    if not hasattr(os, "sched_setaffinity"):
        parser.error("this system has no CPU affinity: engines can't be held to N CPUs")
    try:
        cases = chosen(options.case or ["*"])
    except ValueError as error:
        parser.error(str(error))
    if options.list:
        for name in cases:
            print(f"{name:<{_COLUMNS[0][1]}}  {CASES[name].text}")
        return 0
    cpus = len(os.sched_getaffinity(0))
    counts = options.threads or sorted({1, min(2, cpus)})
    if options.rounds < 1 or not all(1 <= n <= cpus for n in counts):
        parser.error(f"--rounds must be >= 1 and --threads in 1..{cpus}, the CPUs we may use")
    report = run(cases, counts, options.rounds)
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
    for i, threads in enumerate(counts):
        started = [Worker(name, threads) for name in ENGINES]
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
    report["groups"] = groups(report["rows"])
    if any(group["shapes"] > 1 for group in report["groups"]):
        print_groups(report["rows"])
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
