"""The ledger of optimizers as a page: what each costs in time and memory, and what it gains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastnn.page import Page, number

Row = Mapping[str, Any]

_PARTS = {
    "parameters": "bytes_parameters",
    "gradients": "bytes_gradients",
    "optimizer state": "bytes_state",
}
#: Columns of the table after the optimizer, the engine and the backend: heads, and their figures.
_COLUMNS: dict[str, Callable[[Row], float | None]] = {
    "ms per step": lambda row: row["ms_per_step"],
    "time / SGD": lambda row: row["ratio_to_sgd"],
    "bytes per parameter": lambda row: sum(row[part] for part in _PARTS.values()),
    "of them state": lambda row: row["bytes_state"],
    "peak, MB": lambda row: _scaled(row["peak_bytes"], 1e-6),
    "moved per step, MB": lambda row: _scaled(row["moved_bytes"], 1e-6),
    "GB/s": lambda row: row["gb_per_s"],
    "% of the limit": lambda row: row["percent_of_limit"],
    "final loss": lambda row: row["final_loss"],
    "accuracy": lambda row: row["accuracy"],
    "accuracy at equal seconds": lambda row: row["accuracy_at_equal_seconds"],
}
_KEYS = (
    "network", "engine", "backend", "optimizer", "state", "parameters", "ms_per_step",
    "ratio_to_sgd", "bytes_parameters", "bytes_gradients", "bytes_state", "peak_bytes",
    "moved_bytes", "flops", "gb_per_s", "percent_of_limit", "loss", "final_loss", "accuracy",
    "accuracy_at_equal_seconds",
)  # fmt: skip


def ledger_page(ledger: Mapping[str, Any]) -> Page:
    """The page of a ledger, which is a dict as JSON has it:

    - ``environment``: ``cpu``, ``threads``, ``date``, and what else is to be shown, such as
      versions and the command; ``settings``: names and values, too.
    - ``limits``: ``fma_gflops`` and ``memory_gb_per_s`` of this machine, or None.
    - ``rows``: one for each network, engine, backend, optimizer and type of the state:

      - ``network``; ``engine``, such as "fastnn" or "PyTorch fused"; ``backend``, "" if the engine
        has one only; ``optimizer``; ``state``, "full" (float32), "bfloat16" or "8bit"
      - ``parameters``: how many the network has
      - ``ms_per_step``, and ``ratio_to_sgd``: the same over that of SGD on this network and engine
      - ``bytes_parameters``, ``bytes_gradients``, ``bytes_state``: per parameter
      - ``peak_bytes``: the process's peak beyond interpreter and data, or None
      - ``moved_bytes``, ``flops``: the least a step must move and compute; ``gb_per_s``: moved
        bytes by measured time; ``percent_of_limit``: time of plain loops with the same reads and
        writes by measured time; each may be None
      - ``loss``: [[step, seconds, loss], …] with rising steps, or []; ``final_loss`` or None
      - ``accuracy``, and ``accuracy_at_equal_seconds``: of the test set, when the time is up that
        SGD took for its steps on the same engine; both from 0 to 1 or None

    Figures that are missing leave out their chart. Raises ``ValueError`` for a ledger or a row
    without one of these keys.
    """
    _check("the ledger", ledger, ("environment", "settings", "limits", "rows"))
    _check("environment", ledger["environment"], ("cpu", "threads", "date"))
    _check("limits", ledger["limits"], ("fma_gflops", "memory_gb_per_s"))
    rows: list[Row] = ledger["rows"]
    for i, row in enumerate(rows):
        _check(f"row {i}", row, _KEYS)
    environment = ledger["environment"]
    here = "{cpu}, threads: {threads}, {date}".format(**environment)
    page = Page("What does an optimizer cost?", here)
    networks = list(dict.fromkeys(row["network"] for row in rows))
    for sentence in answers(rows):
        page.text(sentence)
    for network in networks:
        page.heading(network)
        _network(page, [row for row in rows if row["network"] == network], ledger["limits"])
    page.heading("How it was measured")
    facts = {**environment, **ledger["settings"]}
    facts |= {"fused multiply-adds, GFLOP/s": ledger["limits"]["fma_gflops"]}
    facts |= {"memory, GB/s": ledger["limits"]["memory_gb_per_s"]}
    page.table(["setting", "value"], [[k, _cell(v)] for k, v in facts.items()], left=2)
    return page


def _check(what: str, found: Mapping[str, Any], keys: Sequence[str]) -> None:
    missing = [key for key in keys if key not in found]
    if missing:
        raise ValueError(f"ledger_page: {what} must have {', '.join(keys)}; missing: {missing}")


def answers(rows: Sequence[Row]) -> list[str]:
    """What Adam costs against SGD, a sentence or two for each network; they hold for this run."""
    networks = list(dict.fromkeys(row["network"] for row in rows))
    plain = {
        (row["network"], _engine(row), row["optimizer"]): row
        for row in rows
        if row["state"] == "full"
    }
    sentences = []
    for network in networks:
        pairs = {
            engine: (plain[network, engine, "SGD"], adam)
            for (of, engine, optimizer), adam in plain.items()
            if of == network
            and optimizer == "Adam"
            and (network, engine, "SGD") in plain
            and adam["ratio_to_sgd"] is not None
        }
        if not pairs:
            continue
        engine, (sgd, adam) = next(iter(pairs.items()))
        size = _COLUMNS["bytes per parameter"]
        others = [f"{r['ratio_to_sgd']:.2f} ({e})" for e, (_, r) in pairs.items() if e != engine]
        smaller = [
            f"{number(size(row))} with {row['state']} state"
            for row in rows
            if (row["network"], _engine(row), row["optimizer"]) == (network, engine, "Adam")
            and row["state"] != "full"
        ]
        times, before, after = f"{adam['ratio_to_sgd']:.2f}", number(size(sgd)), number(size(adam))
        text = (
            f"{network}: with {engine}, a step with Adam takes {times} times as long as one with "
            f"SGD{_listed(others, '; elsewhere ')}. It keeps {after} bytes per parameter in place "
            f"of {before}{_listed(smaller, ', and ')}."
        )
        right = [row["accuracy_at_equal_seconds"] for row in (adam, sgd)]
        if None not in right:
            with_adam, with_sgd = (f"{part:.1%}" for part in right)
            text += f" In equal time Adam gets {with_adam} of the test set right, SGD {with_sgd}."
        sentences.append(text)
    return sentences


def _network(page: Page, rows: Sequence[Row], limits: Mapping[str, float | None]) -> None:
    """The charts and the table of one network."""
    engines = list(dict.fromkeys(map(_engine, rows)))
    variants = list(dict.fromkeys(map(_variant, rows)))
    by_key = {(_engine(row), _variant(row)): row for row in rows}
    # Charts with one engine show that which has most to show; the first one if there are several.
    main = max(engines, key=lambda engine: sum(_engine(row) == engine for row in rows))
    mains = {_variant(row): row for row in rows if _engine(row) == main}

    page.bars(
        "Time per step",
        variants,
        {e: [by_key.get((e, v), {}).get("ms_per_step") for v in variants] for e in engines},
        "ms",
    )
    peaks = [_scaled(row["peak_bytes"], 1 / row["parameters"]) for row in mains.values()]
    page.bars(
        f"Memory with {main}",
        list(mains),
        {part: [row[key] for row in mains.values()] for part, key in _PARTS.items()},
        "bytes per parameter",
        stacked=True,
        marks=("measured peak of the process", peaks) if any(peaks) else None,
    )
    for axis, (what, unit) in enumerate({"steps": "step", "time": "seconds"}.items()):
        # A narrow state's curve lies on that of the full one; Adam's show it.
        shown = {
            v: row
            for v, row in mains.items()
            if row["loss"] and (row["state"] == "full" or row["optimizer"] == "Adam")
        }
        curves = {v: _curve(row, axis) for v, row in shown.items()}
        if curves:
            title = f"Loss against {what} with {main}"
            page.lines(title, curves, unit, "loss", logy=_positive(curves))
    adams = {
        _engine(row): _curve(row, 1) for row in rows if _variant(row) == "Adam" and row["loss"]
    }
    if len(adams) > 1:
        page.lines("Loss against time with Adam", adams, "seconds", "loss", logy=_positive(adams))
    peak, memory = limits["fma_gflops"], limits["memory_gb_per_s"]
    rates = {v: row["gb_per_s"] for v, row in mains.items() if row["gb_per_s"] is not None}
    if rates:
        page.bars(
            f"Memory traffic of a step with {main}", list(rates), {main: list(rates.values())},
            "GB/s", reference=("limit of the memory", memory) if memory else None,
        )  # fmt: skip
    modelled = {v: row for v, row in mains.items() if row["flops"] and row["moved_bytes"]}
    intensity = {v: row["flops"] / row["moved_bytes"] for v, row in modelled.items()}
    points = {v: (x, x * rates[v]) for v, x in intensity.items() if v in rates}
    if points and peak and memory:
        page.roofline(f"Roofline of a step with {main}", points, peak, {"memory": memory})
    columns = {
        head: figure
        for head, figure in _COLUMNS.items()
        if any(figure(row) is not None for row in rows)
    }
    page.table(
        ["optimizer", "engine", *columns],
        [[_variant(row), _engine(row), *(f(row) for f in columns.values())] for row in rows],
        left=2,
    )


def _engine(row: Row) -> str:
    return f"{row['engine']} {row['backend']}".strip()


def _variant(row: Row) -> str:
    return row["optimizer"] + ("" if row["state"] == "full" else f", {row['state']}")


def _curve(row: Row, axis: int) -> tuple[list[float], list[float]]:
    return [point[axis] for point in row["loss"]], [point[2] for point in row["loss"]]


def _positive(curves: Mapping[str, tuple[list[float], list[float]]]) -> bool:
    return any(loss is not None and loss > 0 for _, y in curves.values() for loss in y)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return "–" if value is None else str(value)


def _listed(texts: Sequence[str], before: str = "") -> str:
    """a, b and c, after those words; nothing if there is nothing."""
    if not texts:
        return ""
    return before + " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
