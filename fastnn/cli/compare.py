"""Train two networks with SGD and with Adam on every backend: what does Adam cost here?"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np

import fastnn
from fastnn.cli.options import CommandParser, count, table, write_json
from fastnn.config import config
from fastnn.experiments.compare import Result, compare, conclusion, disturbed


def add_options(parser: CommandParser) -> None:
    """The options of ``fastnn compare``."""
    add = parser.add_argument
    add("--epochs", type=count(1), default=60, metavar="N", help="epochs of the digits network")
    add("--steps", type=count(1), default=20, metavar="N", help="steps of the Office-31-sized one")


def run(args: argparse.Namespace) -> None:
    """Run the experiment, print its table."""
    started = time.perf_counter()
    c = config()
    chosen = [fastnn.current_backend()] if args.backend not in (None, "auto") else []
    here = {
        "fastnn": fastnn.__version__,
        "python": c["python"],
        "numpy": np.__version__,
        "numba": version("numba"),
        "cpu": c["cpu"],
        "isa": c["isa"],
        "threads": c["threads"],
    }
    threads = f"{c['threads']} thread{'s' * (c['threads'] > 1)}"
    print(
        f"fastnn {here['fastnn']} on {here['cpu']}, {threads}, {here['isa']}; "
        f"Python {here['python']}, NumPy {here['numpy']}, Numba {here['numba']}; seed {args.seed}"
    )
    for backend, refusal in fastnn.available_backends().items():
        if refusal and not chosen:
            print(f"left out: {backend}, {refusal}")
    print(flush=True)
    progress = _Progress()
    try:
        rows = compare(chosen, args.seed, args.epochs, args.steps, progress)
    finally:
        progress.close()
    sentences = conclusion(rows)
    seconds = time.perf_counter() - started
    print(_table(rows))
    print()
    for line in _notes(rows, args.epochs, args.steps):
        print(line)
    print("\nWhat does Adam cost here?")
    for sentence in sentences:
        print(sentence)
    print(f"({seconds:.0f} s in all)")
    write_json(
        args.json,
        {
            "environment": here,
            "settings": {"seed": args.seed, "epochs": args.epochs, "steps": args.steps},
            "results": [asdict(row) for row in rows],
            "conclusion": sentences,
            "seconds": seconds,
        },
    )


def _table(rows: list[Result]) -> str:
    head = ["network", "backend", "optimizer", "rate", "test accuracy", "training loss",
            "ms per step", "time / SGD", "bytes per parameter"]  # fmt: skip
    body = [
        [
            row.network, row.backend, row.optimizer, f"{row.learning_rate:g}",
            "-" if row.test_accuracy is None else f"{row.test_accuracy:.3f}",
            f"{row.train_loss:.3g}", f"{row.ms_per_step:.3f}", f"{row.time_ratio:.2f}",
            f"{row.bytes_per_parameter:.1f}",
        ]
        for row in rows
    ]  # fmt: skip
    return table([head, *body], left=3)


def _notes(rows: list[Result], epochs: int, steps: int) -> list[str]:
    lines = [
        f"digits: 64 → 80 → 70 → 10, sigmoid, batch 64, {epochs} epochs, a fifth kept to test.",
        f"Office-31 size: 30,000 → 64 → 32 → 10 → 3 and 31, ReLU, batch 10, {steps} steps on",
        "  random data, so that there is nothing to test.",
        "ms per step: median of forward, loss, backward and update. Bytes: parameters, gradients",
        "  and optimizer state together.",
    ]
    backends = {row.backend for row in rows}
    if backends - {"reference"}:
        lines.append(
            "Gradients of large layers go to the optimizer band by band and are never stored."
        )
    if "reference" in backends:
        lines += [
            "reference: gradients are stored, as in the textbook. Its matrix products are NumPy's, "
            "which",
            "  chooses its own number of threads.",
        ]
    if bad := disturbed(rows):
        names = (f"{row.network} {row.backend} {row.optimizer}" for row in bad)
        lines += [
            "The machine was busy: the median step took more than 2.5 times the fastest one in",
            f"  {', '.join(names)}. Run again when nothing else runs.",
        ]
    return lines


class _Progress:
    """A bar on a terminal, else a line whenever something new begins; both on stderr."""

    def __init__(self) -> None:
        self.what = ""
        self.bar: Any = None

    def __call__(self, done: int, total: int, what: str) -> None:
        if sys.stderr.isatty():
            if self.bar is None:
                from tqdm import tqdm

                self.bar = tqdm(
                    total=total, leave=False, bar_format="{percentage:3.0f}% |{bar:30}| {desc}"
                )
            self.bar.set_description_str(what, refresh=False)
            self.bar.update(done - self.bar.n)
            self.bar.refresh()
        elif what != self.what:
            print(what, file=sys.stderr, flush=True)
        self.what = what

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
