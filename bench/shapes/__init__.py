"""Shapes to time, as data: name, the network they come from (``origin``), sizes.

N batch (``n``), K inputs (``k``), O outputs (``o``), C classes or channels (``c``), H W image
(``h``, ``w``). ``dtypes``: both unless given. Layers of a network have its name (``network``) and
how many of them it has (``multiplicity``); ``kernel``, ``window``, ``strides``, ``padding``,
``dilation`` and ``groups`` are those of ``fastnn.functional``, 1 unless given.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastnn.geometry import Conv2DGeometry, Geometry2D, conv2d_geometry, pool2d_geometry

Sizes = dict[str, Any]


def load(name: str) -> dict[str, Sizes]:
    """The shapes of ``<name>.json`` by their names."""
    rows = json.loads(Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8"))
    found = {row["name"]: row for row in rows}
    if len(found) != len(rows):
        raise ValueError(f"bench/shapes/{name}.json: two shapes have the same name")
    return found


def conv_geometry(sizes: Sizes) -> Conv2DGeometry:
    """The geometry of a row of ``conv.json``."""
    groups = sizes.get("groups", 1)
    return conv2d_geometry(
        sizes["name"], (sizes["h"], sizes["w"], sizes["c"]),
        (*_pair(sizes["kernel"]), sizes["c"] // groups, sizes["o"]),
        sizes.get("strides", 1), sizes["padding"], sizes.get("dilation", 1), groups,
    )  # fmt: skip


def pool_geometry(sizes: Sizes) -> Geometry2D:
    """The geometry of a row of ``pool.json``; ``strides`` are the window's unless given."""
    return pool2d_geometry(
        sizes["name"], (sizes["h"], sizes["w"], sizes["c"]), sizes["window"],
        sizes.get("strides"), sizes["padding"],
    )  # fmt: skip


def describe(sizes: Sizes) -> str:
    """The sizes of a shape as text: ``64x80x70``, ``8x28x28x96 5x5 same groups 2 to 256``."""
    if "h" not in sizes:
        words = [str(sizes[key]) for key in ("rule", "state") if sizes.get(key, "full") != "full"]
        return " ".join([*words, "x".join(str(v) for v in sizes.values() if isinstance(v, int))])
    words = ["x".join(str(sizes[key]) for key in "nhwc")]
    if "padding" not in sizes:
        return words[0]
    words.append("x".join(map(str, _pair(sizes["kernel" if "kernel" in sizes else "window"]))))
    if sizes["padding"] != "valid":
        words.append("same" if sizes["padding"] == "same" else f"padding {sizes['padding']}")
    words += [f"{key} {sizes[key]}" for key in ("strides", "dilation", "groups") if key in sizes]
    return " ".join([*words, f"to {sizes['o']}" if "o" in sizes else sizes["kind"]])


def _pair(value: Any) -> tuple[int, int]:
    return tuple(value) if isinstance(value, list) else (value, value)


DENSE = load("dense")
CONV = load("conv")
POOL = load("pool")
ELEMENTWISE = load("elementwise")
LOSS = load("loss")
NORM = load("norm")
ROWS = load("rows")
NETWORKS = load("networks")
