"""Optimizers on five surfaces over the plane: how fast they arrive, and the paths they take."""

from __future__ import annotations

import argparse
from dataclasses import asdict

import fastnn
from fastnn import plots
from fastnn.cli.options import (
    CommandParser,
    check_distinct,
    count,
    folder,
    names,
    number,
    point,
    table,
    write_json,
)
from fastnn.config import config
from fastnn.experiments.paths import (
    DEFAULT,
    OPTIMIZERS,
    RATES,
    STEPS,
    SURFACES,
    TOLERANCE,
    Run,
    draw,
    paths,
)


def add_options(parser: CommandParser) -> None:
    """The options of ``fastnn paths``."""
    add = parser.add_argument
    add("--surfaces", type=names("surface", SURFACES), metavar="NAMES",
        help=f"of {', '.join(SURFACES)}, with commas between; all if unset")  # fmt: skip
    add("--optimizers", type=names("optimizer", OPTIMIZERS), metavar="NAMES",
        help=f"of {', '.join(OPTIMIZERS)}; {', '.join(DEFAULT)} if unset")  # fmt: skip
    add("--steps", type=count(1, 10_000), default=STEPS, metavar="N", help="of each path")
    add("--rate", type=number(0), metavar="RATE",
        help="learning rate of all paths; if unset, each path has the best of a grid")  # fmt: skip
    add("--start", type=point, metavar="X,Y",
        help="of the paths, for one surface; if X < 0 with a =, as in --start=-1,2")  # fmt: skip
    add("--pictures", type=folder, metavar="FOLDER",
        help="draw the paths over contours, and as movies")  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Run the experiment, print its table, draw its pictures."""
    check_distinct(json=args.json, pictures=args.pictures)
    surfaces = args.surfaces or list(SURFACES)
    if args.start and len(surfaces) != 1:
        raise ValueError(f"--start needs one surface: --surfaces NAME, got {len(surfaces)}")
    if args.pictures:
        plots.require()
    chosen = args.optimizers or list(DEFAULT)
    runs = paths(surfaces, chosen, args.steps, args.rate, args.start)
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    for name in surfaces:
        surface = SURFACES[name]
        x, y = args.start or surface.start
        minima = " and ".join(f"({a:g}, {b:g})" for a, b in surface.minima)
        print(f"{name}: f = {surface.formula}, from ({x:g}, {y:g}); minimum 0 at {minima}")
    print()
    print(_table(runs))
    print()
    for line in _notes(args.steps, args.rate):
        print(line)
    c = config()
    write_json(
        args.json,
        {
            "environment": {"fastnn": fastnn.__version__, "backend": c["backend"], "isa": c["isa"]},
            "settings": {
                "surfaces": surfaces, "optimizers": chosen, "steps": args.steps,
                "rate": args.rate, "rates": None if args.rate is not None else RATES,
                "start": args.start, "tolerance": TOLERANCE,
            },
            "results": [asdict(r) for r in runs],
        },
    )  # fmt: skip
    if not args.pictures:
        print("The paths themselves: --pictures FOLDER draws them, and films them.")
    for path in draw(args.pictures, runs) if args.pictures else []:
        print(f"Picture written to {path}")


def _table(runs: list[Run]) -> str:
    head = ["surface", "optimizer", "rate", "steps to the minimum", "final value",
            "final distance", ""]  # fmt: skip
    body = [
        [
            r.surface, r.optimizer, f"{r.rate:g}", "-" if r.arrived is None else str(r.arrived),
            *(["-"] * 2 if r.diverged else [f"{r.values[-1]:.2g}", f"{r.distance:.2g}"]),
            _remark(r),
        ]
        for r in runs
    ]  # fmt: skip
    return table([head, *body], left=2)


def _remark(r: Run) -> str:
    if r.diverged:
        return f"diverges at step {len(r.path)}"
    return "leaves the picture" if r.left else ""


def _notes(steps: int, rate: float | None) -> list[str]:
    lines = [
        f"steps to the minimum: from there on the path stays within {TOLERANCE:g} of one; -: not "
        f"within {steps} steps.",
    ]
    if rate is None:
        lines += [
            f"rate: of {len(RATES)} from {min(RATES):g} to {max(RATES):g}, six a decade, the one "
            "that arrives first, or, where none",
            "  arrives, that ends lowest; paths that leave the picture come last. Another one for "
            "all: --rate RATE.",
        ]
    return lines
