"""The ledger: what each optimizer costs in time and memory, on every backend, and what it gains.

Each row is measured in a process of its own; SGD is what the others are compared with. All
backends are measured, whatever FASTNN_BACKEND says, unless --backend names one. Data are built in:
the handwritten digits, and images drawn by the program in place of Office-31 and of CIFAR-10.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import fastnn
from fastnn import optimizers
from fastnn.cli.options import (
    CommandParser,
    check_distinct,
    count,
    names,
    number,
    output,
    table,
    write_json,
)
from fastnn.config import config
from fastnn.experiments import ledger, peers
from fastnn.experiments.ledger_page import answers, ledger_page
from fastnn.rules import STATES

_PEER_NAMES = tuple(peers.available())


def add_options(parser: CommandParser) -> None:
    """The options of ``fastnn compare``."""
    add = parser.add_argument
    add("--quick", action="store_true",
        help="two networks, three optimizers, fewer steps: about half a minute")  # fmt: skip
    add("--networks", type=names("network", ledger.NETWORKS), metavar="NAMES",
        help=f"of {', '.join(ledger.NETWORKS)}, with commas between; all if unset")  # fmt: skip
    add("--optimizers", type=names("optimizer", ledger.OPTIMIZERS), metavar="NAMES",
        help=f"of {', '.join(ledger.OPTIMIZERS)}; all if unset")  # fmt: skip
    add("--states", type=names("state", STATES), metavar="NAMES",
        help=f"how optimizers keep their state: of {', '.join(STATES)} (full: float32); all if "
        "unset")  # fmt: skip
    add("--peers", type=names("peer", (*_PEER_NAMES, "none")), metavar="NAMES",
        help=f"of {', '.join(_PEER_NAMES)}, or none; those installed if unset, "
        "none with --quick")  # fmt: skip
    add(
        "--steps",
        type=count(1),
        metavar="N",
        help="training steps of every row; if unset, each network has its own number",
    )
    add("--budget", type=number(0.1), default=20.0, metavar="SECONDS",
        help="training of a row ends after this time, if not before")  # fmt: skip
    add("--html", type=output, metavar="FILE", help="also write a page with charts to FILE")


def run(args: argparse.Namespace) -> None:
    """Measure, print the table, write what was asked for."""
    check_distinct(html=args.html, json=args.json)
    started = time.perf_counter()
    networks = args.networks or (ledger.QUICK_NETWORKS if args.quick else list(ledger.NETWORKS))
    chosen = args.optimizers or (ledger.QUICK_OPTIMIZERS if args.quick else ledger.OPTIMIZERS)
    backend_names = [fastnn.current_backend()]
    if args.backend in (None, "auto"):
        refusals = fastnn.available_backends()
        backend_names = [name for name, refusal in refusals.items() if not refusal]
    engines = _engines(args)
    todo = ledger.jobs(
        networks, chosen, args.states or list(STATES), backend_names, engines,
        quick=args.quick, steps=args.steps, budget=args.budget, seed=args.seed,
    )  # fmt: skip
    environment = _environment(args)
    print("fastnn {fastnn} on {cpu}, {threads}; Python {python}".format(**_said(environment)))
    for backend, refusal in fastnn.available_backends().items():
        if refusal and args.backend in (None, "auto"):
            print(f"left out: {backend}, {refusal}")
    print(flush=True)
    limits = ledger.machine_limits()
    progress = _Progress()
    try:
        found = ledger.measure(todo, args.quick, progress)
    finally:
        progress.close()
    rows = [row for row in found if "error" not in row]
    if len(found) < len(todo):
        print(f"interrupted: {len(todo) - len(found)} of {len(todo)} rows are missing\n")
    for network in dict.fromkeys(row["network"] for row in rows):
        print(network)
        print(_table([row for row in rows if row["network"] == network]))
        print()
    for line in [*_notes(found, rows), *_left_full(todo, args.states)]:
        print(line)
    if sentences := answers(rows):
        print("\nWhat does Adam cost here?", *sentences, sep="\n")
    print(f"({time.perf_counter() - started:.0f} s in all)")
    data = {
        "environment": environment,
        "settings": {"seed": args.seed, "budget of a row, seconds": args.budget,
                     "quick": args.quick},
        "limits": limits,
        "rows": rows,
        "failed": [row for row in found if "error" in row],
    }  # fmt: skip
    write_json(args.json, data)
    if args.html:
        ledger_page(data).write(args.html)
        print(f"page: {args.html}")


def _engines(args: argparse.Namespace) -> list[str]:
    missing = peers.available()
    if args.peers is None:
        return [] if args.quick else [name for name, refusal in missing.items() if not refusal]
    chosen = [name for name in args.peers if name != "none"]
    for name in chosen:
        if missing[name]:
            raise ValueError(f"--peers: {name} can't be used here: {missing[name]}")
    return chosen


def _environment(args: argparse.Namespace) -> dict[str, Any]:
    c = config()
    versions = {"fastnn": fastnn.__version__, "Python": c["python"]}
    for name in ("numpy", "numba", "torch", "jax"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "cpu": c["cpu"], "isa": c["isa"], "threads": c["threads"],
        "date": datetime.date.today().isoformat(), "versions": versions,
        # Of files the names only: where they lie is nobody's business.
        "command": " ".join(["fastnn", *(os.path.basename(word) for word in sys.argv[1:])]),
    }  # fmt: skip


def _said(environment: dict[str, Any]) -> dict[str, Any]:
    n = environment["threads"]
    return {
        **environment,
        "fastnn": fastnn.__version__,
        "python": environment["versions"]["Python"],
        "threads": f"{n} thread{'s' * (n > 1)}",
    }


def _table(rows: list[dict[str, Any]]) -> str:
    head = ["engine", "optimizer", "state", "ms/step", "/ SGD", "B/param", "peak B/param", "GB/s",
            "% limit", "loss", "accuracy", "at equal time"]  # fmt: skip
    body = [
        [
            ledger.engine_of(row), row["optimizer"], row["state"],
            f"{row['ms_per_step']:.3f}", _figure(row["ratio_to_sgd"], ".2f"),
            f"{sum(row[f'bytes_{p}'] for p in ('parameters', 'gradients', 'state')):.1f}",
            _figure(row["peak_bytes"], ".1f", row["parameters"]),
            _figure(row["gb_per_s"], ".1f"), _figure(row["percent_of_limit"], ".0f"),
            _figure(row["final_loss"], ".3g"), _figure(row["accuracy"], ".3f"),
            _figure(row["accuracy_at_equal_seconds"], ".3f"),
        ]
        for row in rows
    ]  # fmt: skip
    return table([head, *body], left=3)


def _figure(value: float | None, form: str, divisor: float = 1) -> str:
    return "-" if value is None else format(value / divisor, form)


def _left_full(todo: list[ledger.Job], states: list[str] | None) -> list[str]:
    """Which rows have the full state though it wasn't asked for."""
    if not states or "full" in states:
        return []
    keeping = [job for job in todo if job.state == "full" and optimizers.get(job.optimizer).state]
    words = dict.fromkeys(
        f"{job.engine} {job.backend}".strip() + f" {job.optimizer}" for job in keeping
    )
    return [f"measured with the full state: {', '.join(words)}"] if words else []


def _notes(found: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "ms/step: median of forward, loss, backward and update; / SGD: over that of SGD on the",
        "  same engine, the two timed in turns (SGD's own row is of other minutes, so the quotient",
        "  of two ms/step may differ). B/param: parameters, gradients and state, as counted; peak",
        "  B/param: the most the process held from before the network was built, beyond",
        "  interpreter and data. GB/s and % limit: the least traffic of a step against the time,",
        "  and plain loops with the same reads and writes against it.",
        "  loss: mean over the last tenth of the training steps. at equal time: accuracy when",
        "  the seconds were up that SGD took. state: of the optimizer; full is float32.",
    ]
    if any(row["backend"] == "reference" for row in rows):
        lines.append(
            "reference: gradients are stored, as in the textbook; its products are NumPy's."
        )
    for row in found:
        what = f"{row['network']}, {ledger.engine_of(row)} {row['optimizer']}"
        if "error" in row:
            lines.append(f"not measured: {what}: {row['error']}")
        elif row["stopped"]:
            lines.append(f"stopped: {what}: {row['stopped']}")
    if bad := ledger.disturbed(rows):
        listed = ", ".join(f"{ledger.engine_of(row)} {row['optimizer']}" for row in bad[:5])
        lines += [
            "The machine was busy: the median step took more than 2.5 times the fastest one in",
            f"  {listed}{' and others' * (len(bad) > 5)}. Run again when nothing else runs.",
        ]
    return lines


class _Progress:
    """A bar on a terminal, else a line for each row; both on stderr."""

    def __init__(self) -> None:
        self.bar: Any = None

    def __call__(self, done: int, total: int, what: str) -> None:
        if not sys.stderr.isatty():
            print(f"[{done + 1}/{total}] {what}", file=sys.stderr, flush=True)
            return
        if self.bar is None:
            from tqdm import tqdm

            self.bar = tqdm(
                total=total, leave=False,
                bar_format="{percentage:3.0f}% |{bar:25}| {elapsed}<{remaining} {desc}",
            )  # fmt: skip
        self.bar.set_description_str(what, refresh=False)
        self.bar.update(done - self.bar.n)
        self.bar.refresh()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
