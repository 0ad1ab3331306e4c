"""What runs here (backends, instruction set, compiler, threads), and the table of ops."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

import numpy as np

from fastnn.cli.options import CommandParser, table, write_json
from fastnn.config import config, show_config
from fastnn.ops import OPS, Op
from fastnn.rules import Rule


def add_options(parser: CommandParser) -> None:
    """``fastnn info`` has no options of its own."""


def run(args: argparse.Namespace) -> None:
    """Print configuration and op table."""
    show_config()
    rows = [["op", "family", "writes", "exact", "flops", "bytes"]]
    ops = {}
    for op in OPS.values():
        cost = example_cost(op)
        ops[op.name] = {
            "family": op.family, "writes": list(op.writes), "exact": op.exact, "ulps": op.ulps,
            "example": cost,
        }  # fmt: skip
        exact = "yes" if op.exact else f"{op.ulps} ulps"
        rows.append(
            [op.name, op.family, ", ".join(op.writes), exact]
            + ([f"{cost['flops']:,}", f"{cost['bytes']:,}"] if cost else ["-", "-"])
        )
    print()
    print(table(rows, left=4))
    print(
        "\nflops and bytes: a batch of 64 through Dense(80 → 70) in float32; losses of 10\n"
        "classes. exact: on integer data all backends give the same bits; else they agree within\n"
        "so many units in the last place. The update is Adam's."
    )
    write_json(args.json, {"config": config(), "ops": ops})


def example_cost(op: Op) -> dict[str, int] | None:
    """Flops and bytes of one call: a batch of 64 through Dense(80 → 70), float32.

    None for a family that has no part in that.
    """
    n, k, o, classes = 64, 80, 70, 10
    examples: dict[str, dict[str, tuple[int, ...]]] = {
        "dense": {"x": (n, k), "w": (k, o), "b": (o,), "y": (n, o), "dz": (n, o), "dx": (n, k),
                  "dw": (k, o), "db": (o,)},
        "activation": dict.fromkeys(("x", "y", "dy", "dx"), (n * o,)),
        "loss": dict.fromkeys(("x", "targets", "dx"), (n, classes)) | {"labels": (n,)},
        "update": dict.fromkeys(("param", "grad"), (k * o,)),
    }  # fmt: skip
    if op.family not in examples:
        return None
    shapes = examples[op.family]
    arguments: dict[str, Any] = dict.fromkeys(inspect.signature(op.flops).parameters)
    for name in arguments.keys() & shapes.keys():
        arguments[name] = np.empty(shapes[name], np.int64 if name == "labels" else np.float32)
    if "rule" in arguments:
        arguments["rule"] = Rule("adam", 1e-3)
        arguments["state"] = (np.empty(k * o, np.float32),) * 2
    return {"flops": op.flops(**arguments), "bytes": op.bytes(**arguments)}
