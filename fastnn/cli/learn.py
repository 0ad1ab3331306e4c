"""The lessons of the course: each asks, measures, draws a picture and checks its claim.

A claim that doesn't hold is an error, with exit code 1.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastnn
from fastnn import plots
from fastnn.cli.options import CommandParser, folder, name, table, write_json
from fastnn.config import config
from fastnn.experiments.lessons import LESSONS, Check, ClaimError, Lesson, Result, Settings
from fastnn.panels import draw_panels


def add_options(parser: CommandParser) -> None:
    """The options of ``fastnn learn``."""
    add = parser.add_argument
    add("name", nargs="?", type=name("lesson", LESSONS), metavar="NAME",
        help=f"the lesson: {', '.join(LESSONS)}")  # fmt: skip
    add(
        "--list",
        action="store_true",
        help="say what each lesson asks and claims, and which data it takes",
    )
    add("--all", action="store_true", help="run them one after another")
    add("--data", type=Path, metavar="FOLDER",
        help="the real set, where a lesson takes one (--list says); built-in or drawn if "
        "unset")  # fmt: skip
    add("--out", type=folder, default=Path("lessons"), metavar="FOLDER",
        help="where its picture goes, NAME.png")  # fmt: skip
    add("--quick", action="store_true", help="a reduced size: a few seconds, and weaker figures")


def run(args: argparse.Namespace) -> None:
    """Run one lesson or all, print, draw, check."""
    if (args.name is not None) + args.list + args.all != 1:
        raise ValueError("expected one of: NAME, --list, --all")
    if args.data is not None and (args.name is None or not LESSONS[args.name].data):
        takers = ", ".join(lesson.name for lesson in LESSONS.values() if lesson.data)
        raise ValueError(f"--data is for one lesson that takes a set: {takers}")
    if args.list:
        print(_listed())
        keys = ("name", "question", "claim", "seconds", "data")
        write_json(args.json, [{k: getattr(one, k) for k in keys} for one in LESSONS.values()])
        return
    chosen = list(LESSONS.values()) if args.all else [LESSONS[args.name]]
    if not args.all and (missing := chosen[0].missing()):
        raise RuntimeError(missing)
    settings = Settings(args.seed, args.quick, args.data)
    done, failed = [], []
    for lesson in chosen:
        if missing := lesson.missing():
            print(f"left out: {missing}\n")
            continue
        started = time.perf_counter()
        print(f"{lesson.name}: {lesson.question}", flush=True)
        result = lesson.run(settings)
        seconds = time.perf_counter() - started
        print(_told(lesson, result))
        done.append(_plain(lesson, result, seconds))
        if plots.available():
            args.out.mkdir(parents=True, exist_ok=True)
            path = args.out / f"{lesson.name}.png"
            draw_panels(path, result.panels)
            print(f"Picture written to {path}")
        else:
            print("No picture: it needs matplotlib (pip install matplotlib)")
        print(f"({seconds:.1f} s)" + "\n" * args.all, flush=True)
        try:
            result.require(lesson.name)
        except ClaimError as error:
            failed.append(str(error))
    c = config()
    write_json(
        args.json,
        {
            "environment": {
                "fastnn": fastnn.__version__, "numpy": np.__version__, "cpu": c["cpu"],
                "backend": c["backend"], "isa": c["isa"],
            },
            "settings": {
                "seed": args.seed, "quick": args.quick,
                "data": None if args.data is None else str(args.data),
            },
            "lessons": done,
        },
    )  # fmt: skip
    if failed:
        raise ClaimError("; ".join(failed))


def _listed() -> str:
    return "\n".join(
        f"{lesson.name} ({lesson.seconds:g} s): {lesson.question}\n    {lesson.claim}"
        + (f"\n    --data: {lesson.data}" if lesson.data else "")
        for lesson in LESSONS.values()
    )


def _told(lesson: Lesson, result: Result) -> str:
    """What is printed of a lesson below its question."""
    parts = [f"data: {result.data}"]
    for t in result.tables:
        parts.append("\n".join([t.title] * bool(t.title) + [table([*map(list, t.rows)], t.left)]))
    rows = [["checked", "measured", "expected", ""], *map(_row, result.checks)]
    parts.append(table(rows))
    verdict = "holds" if all(check.holds for check in result.checks) else "DOES NOT HOLD"
    parts.append(f"claim: {lesson.claim} : {verdict}")
    return "\n\n".join(parts)


def _row(check: Check) -> list[str]:
    expected = f"{check.relation} {check.bound:.4g}"
    return [check.what, f"{check.measured:.4g}", expected, "holds" if check.holds else "FAILS"]


def _plain(lesson: Lesson, result: Result, seconds: float) -> dict[str, Any]:
    """One lesson's figures, for JSON."""
    return {
        "name": lesson.name, "claim": lesson.claim, "data": result.data, "seconds": seconds,
        "tables": [{"title": t.title, "rows": t.rows} for t in result.tables],
        "checks": [
            {"what": c.what, "measured": c.measured, "relation": c.relation, "bound": c.bound,
             "holds": c.holds}
            for c in result.checks
        ],
        "figures": result.figures,
    }  # fmt: skip
