"""``python -m bench.fastest FILE``: is Cython the fastest backend, and by how much?

FILE is what ``pytest bench/ --benchmark-only --benchmark-json FILE`` wrote. Prints one Markdown
row per group (op, shape, dtype, threads) with the fastest round of each backend (other programs
only ever add to a round); then the groups above
10,000 elements in which another backend is faster. ``--slower`` prints only those.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from fastnn.backends import BACKENDS

#: Below this the cost of a call decides, not the kernel.
ELEMENTS = 10_000
#: Times closer than this are equal: a shared machine repeats itself no better.
TOLERANCE = 1.05


def groups(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By group: ``elements`` and the least seconds of each backend."""
    found: dict[str, dict[str, Any]] = {}
    for bench in report["benchmarks"]:
        info = bench["extra_info"]
        if "elements" not in info:  # of no op
            continue
        row = found.setdefault(bench["group"], {"elements": info["elements"], "seconds": {}})
        row["seconds"][info["backend"]] = bench["stats"]["min"]
    return found


def is_slower(row: dict[str, Any]) -> bool:
    """Whether another backend beats Cython on a large enough problem."""
    seconds = row["seconds"]
    fastest = min(seconds.values())
    return row["elements"] > ELEMENTS and seconds.get("cython", 0) > TOLERANCE * fastest


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.fastest", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--slower", action="store_true", help="only where Cython isn't fastest")
    options = parser.parse_args()
    found = groups(json.loads(options.file.read_text(encoding="utf-8")))
    slower = {name: row for name, row in found.items() if is_slower(row)}
    print(f"| group | {' | '.join(f'{b} µs' for b in BACKENDS)} | fastest |")
    print(f"| --- |{' --- |' * (len(BACKENDS) + 1)}")
    for name, row in (slower if options.slower else found).items():
        seconds = row["seconds"]
        cells = (f"{1e6 * seconds[b]:.4g}" if b in seconds else "-" for b in BACKENDS)
        print(f"| {name} | {' | '.join(cells)} | {min(seconds, key=seconds.__getitem__)} |")
    large = sum(row["elements"] > ELEMENTS for row in found.values())
    print(f"\nCython is the fastest in {large - len(slower)} of {large} groups above", end=" ")
    print(f"{ELEMENTS:,} elements ({len(found)} groups in all).")


if __name__ == "__main__":
    main()
