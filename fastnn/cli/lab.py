"""Five optimizers, written by hand, and scikit-learn on the handwritten digits, with many seeds."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from typing import Any

import numpy as np

import fastnn
from fastnn import plots
from fastnn.cli.options import (
    CommandParser,
    check_distinct,
    count,
    folder,
    names,
    seeds,
    table,
    write_json,
)
from fastnn.config import config
from fastnn.experiments.lab import (
    BATCH_SIZE,
    CHOICES,
    EPOCHS,
    LEARNING_RATE,
    OPTIMIZERS,
    SKLEARN,
    Row,
    Run,
    curves,
    draw,
    lab,
    samples,
    sklearn_available,
    summary,
)

_NAMES = {name.lower(): name for name in (*OPTIMIZERS, SKLEARN)}


def add_options(parser: CommandParser) -> None:
    """The options of ``fastnn lab``."""
    add = parser.add_argument
    add("--optimizers", type=names("optimizer", _NAMES), metavar="NAMES",
        help=f"of {', '.join(_NAMES)}, with commas between; all if unset")  # fmt: skip
    add("--seeds", type=seeds, metavar="SEEDS",
        help="of the runs, such as 1,2,3 or 0-9; ten from --seed on if unset")  # fmt: skip
    add("--epochs", type=count(1), default=EPOCHS, metavar="N", help="passes over the samples")
    add("--processes", type=count(1, 256), metavar="N",
        help="runs at a time, each on one thread; as many as --threads if unset")  # fmt: skip
    add("--pictures", type=folder, metavar="FOLDER",
        help="draw curves, digits with all guesses, and the weights as movies")  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Run the experiment, print its table, draw its pictures."""
    started = time.perf_counter()
    if args.seeds and args.seed:
        raise ValueError("give --seeds or --seed (the first of ten), not both")
    check_distinct(json=args.json, pictures=args.pictures)
    if args.pictures:
        plots.require()
        args.pictures.mkdir(parents=True, exist_ok=True)
    chosen = [_NAMES[name] for name in args.optimizers or _NAMES]
    left_out = ""
    if SKLEARN in chosen and not sklearn_available():
        left_out = f"{SKLEARN} isn't installed: pip install scikit-learn"
        if args.optimizers:
            raise RuntimeError(left_out)
        chosen.remove(SKLEARN)
    seeds = args.seeds or list(range(args.seed, args.seed + 10))
    processes = args.processes or fastnn.get_num_threads()
    c = config()
    here = {
        "fastnn": fastnn.__version__, "python": c["python"], "numpy": np.__version__,
        "scikit-learn": _sklearn_version() if SKLEARN in chosen else None, "cpu": c["cpu"],
        "isa": c["isa"], "backend": c["backend"], "processes": processes,
    }  # fmt: skip
    print(
        f"fastnn {here['fastnn']} on {here['cpu']}, {c['backend']}, {here['isa']}, {processes} "
        f"process{'es' * (processes > 1)} of one thread; Python {here['python']}, NumPy "
        f"{here['numpy']}" + (f", scikit-learn {here['scikit-learn']}" if SKLEARN in chosen else "")
    )
    data = samples(seeds[0])
    counts = len(data.y), len(data.y_val), len(data.y_test)
    print(
        f"digits: {counts[0]} to train on, {counts[1]} to validate, {counts[2]} to test; 64 → 80 → "
        f"70 → 10, sigmoid;\n  batches of {BATCH_SIZE}, {args.epochs} epochs, rate "
        f"{LEARNING_RATE:g} for all; seeds {_listed(seeds)}: of split, weights and order"
    )
    print("\n".join(["choices where the text leaves them open:", *(f"  {c}" for c in CHOICES)]))
    if left_out:
        print(f"left out: {left_out}")
    print(flush=True)

    progress = _Progress()
    try:
        runs = lab(chosen, seeds, args.epochs, processes, progress)
    finally:
        progress.close()
    rows = summary(runs)
    print(_table(rows))
    print()
    for line in _notes(rows):
        print(line)
    seconds = time.perf_counter() - started
    write_json(
        args.json,
        {
            "environment": here,
            "settings": {
                "seeds": seeds, "epochs": args.epochs, "batch_size": BATCH_SIZE,
                "learning_rate": LEARNING_RATE, "choices": CHOICES, "left_out": left_out or None,
                "samples": dict(zip(("train", "validation", "test"), counts, strict=True)),
            },
            "results": [asdict(row) for row in rows],
            "runs": [
                {
                    "optimizer": r.optimizer, "seed": r.seed, "test_accuracy": r.test[-1],
                    "train_loss": r.loss[-1], "epochs": len(r.loss), "best_epoch": r.best_epoch,
                    "seconds": r.seconds, "ms_per_step": r.ms_per_step,
                }
                for r in runs
            ],
            "curves": curves(runs),
            "seconds": seconds,
        },
    )  # fmt: skip
    # After the figures, which a picture that can't be drawn must not cost.
    for path in draw(args.pictures, runs) if args.pictures else []:
        print(f"Picture written to {path}")
    print(f"({seconds:.0f} s in all)")


def _table(rows: list[Row]) -> str:
    head = ["optimizer", "test accuracy", "text", "training loss", "text", "best epoch (range)",
            "accuracy at it", "s per run", "ms per step"]  # fmt: skip
    body = []
    for row in rows:
        error = row.test_accuracy_error
        best = row.best_epoch
        body.append([
            row.optimizer,
            f"{row.test_accuracy:.4f}" + ("" if error is None else f" ± {error:.4f}"),
            f"{row.text_accuracy:.3f}",
            f"{row.train_loss:.2g}",
            "-" if row.text_loss is None else f"{row.text_loss:.2g}",
            "-" if best is None else f"{best[0]:g} ({best[1]}–{best[2]})",
            "-" if row.best_test_accuracy is None else f"{row.best_test_accuracy:.4f}",
            f"{row.seconds_per_run:.2f}", f"{row.ms_per_step:.3f}",
        ])  # fmt: skip
    return table([head, *body])


def _notes(rows: list[Row]) -> list[str]:
    lines = [
        f"test accuracy: after the last epoch, mean{' ± standard error' * (rows[0].runs > 1)} of "
        f"{rows[0].runs} run{'s' * (rows[0].runs > 1)}. text: its own figures, after 1000 epochs.",
        "training loss: of the last epoch. best epoch: the first with the highest validation "
        "accuracy,",
        "  median and range over the runs; accuracy at it: on the test set. ms per step: training "
        "alone.",
    ]
    sklearn = [row for row in rows if row.optimizer == SKLEARN]
    if sklearn:
        lines += [
            f"scikit-learn: as in the text, with its own defaults: Nesterov momentum 0.9, batches "
            f"of 200; {sklearn[0].epochs}",
            "  epochs at most; its loss holds its L2 penalty, 0.01.",
        ]
    return lines


def _listed(seeds: list[int]) -> str:
    """0–9 for a whole range, else 1, 2, 4."""
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]}–{seeds[-1]}"
    return ", ".join(map(str, seeds))


def _sklearn_version() -> str:
    from importlib.metadata import version

    return version("scikit-learn")


class _Progress:
    """A bar on a terminal, else a line for each run; both on stderr."""

    def __init__(self) -> None:
        self.bar: Any = None

    def __call__(self, done: int, total: int, run: Run) -> None:
        text = f"{run.optimizer}, seed {run.seed}: {run.test[-1]:.3f} in {run.seconds:.1f} s"
        if not sys.stderr.isatty():
            print(f"run {done} of {total}: {text}", file=sys.stderr, flush=True)
            return
        if self.bar is None:
            from tqdm import tqdm

            self.bar = tqdm(total=total, unit="run", leave=False)
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
