"""Shapes to time, as data: name, the network they come from (``origin``), sizes.

N batch (``n``), K inputs (``k``), O outputs (``o``), C classes (``c``). ``dtypes``: both unless
given.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def load(name: str) -> dict[str, dict[str, Any]]:
    """The shapes of ``<name>.json`` by their names."""
    rows = json.loads(Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8"))
    found = {row["name"]: row for row in rows}
    if len(found) != len(rows):
        raise ValueError(f"bench/shapes/{name}.json: two shapes have the same name")
    return found


DENSE = load("dense")
ELEMENTWISE = load("elementwise")
LOSS = load("loss")
NETWORKS = load("networks")
