"""The house in order: names on every floor, and kernels short enough to be read."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import fastnn
from fastnn import ops
from fastnn.ops import FAMILIES, OPS

ROOT = Path(__file__).parent.parent
BACKENDS = ROOT / "fastnn" / "backends"


def test_kernel_sources_are_short():
    """Cython and C, of all families, under 4,400 lines."""
    sources = [
        p for p in (ROOT / "kernels").iterdir() if p.suffix in (".pyx", ".pxi", ".pxd", ".h", ".c")
    ]
    assert len(sources) >= 6
    assert sum(len(p.read_text().splitlines()) for p in sources) < 4400


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_one_name_on_every_floor(family):
    for place in (
        ROOT / "kernels" / f"{family}.pyx",
        BACKENDS / "reference" / f"{family}.py",
        BACKENDS / "numba_" / f"{family}.py",
        ROOT / "tests" / "cases" / f"{family}.py",
    ):
        assert place.exists(), place


def _public(path):
    tree = ast.parse(path.read_text())
    return {n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name[0] != "_"}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_kernel_without_a_row(family):
    """The public functions of a reference or Numba module are the ops of its family."""
    rows = {op.name for op in OPS.values() if op.family == family}
    helpers = {"treated", "update_by_panels", "windows"}
    assert _public(BACKENDS / "reference" / f"{family}.py") - helpers == rows
    assert _public(BACKENDS / "numba_" / f"{family}.py") == rows
    for isa in fastnn.available_isas():
        module = importlib.import_module(f"fastnn._kernels.{family}_{isa}")
        assert {n for n in vars(module) if n in OPS} == rows


@pytest.mark.parametrize("op", OPS)
def test_a_row_agrees_with_its_reference(op):
    """What it writes are arguments, its costs take the op's arguments, and it has a text."""
    row = OPS[op]
    assert row.name == op
    reference = getattr(importlib.import_module(f"fastnn.backends.reference.{row.family}"), op)
    names = list(inspect.signature(reference).parameters)
    assert set(row.writes) <= set(names)
    assert row.writes
    for cost in (row.flops, row.bytes):
        assert list(inspect.signature(cost).parameters) == names
    assert "=" in (reference.__doc__ or "") or "←" in reference.__doc__
    assert row.exact or row.ulps > 0


@pytest.mark.parametrize("op", OPS)
def test_costs_are_numbers(op):
    from cases import arrays_of, cases

    for case in cases(op, "real", "float32", "tiny"):
        row, arguments = case.op, case.arguments.values()
        assert row.flops(*arguments) >= 0
        traffic = sum(a.nbytes for a in arrays_of(case.arguments).values())
        assert 0 <= row.bytes(*arguments) <= 2 * traffic + 8


def test_activations_are_ops():
    """Every name that ``activation=`` takes, with the numbers its op takes, and PReLU."""
    found = {name for name in OPS if OPS[name].family == "activation"}
    named = set(ops.ACTIVATIONS) - {"identity"}
    assert named | {"prelu"} == {name.removesuffix("_backward") for name in found}
    assert named - {"heaviside"} == {name for name in named if f"{name}_backward" in found}
    assert set(ops.ACTIVATION_ALIASES.values()) <= set(ops.ACTIVATIONS)
    assert set(ops.FUSED_ACTIVATIONS) <= set(ops.ACTIVATIONS) - set(ops.FROM_INPUT)
    reference = importlib.import_module("fastnn.backends.reference.activation")
    for name in named:
        arguments = list(inspect.signature(getattr(reference, name)).parameters)
        assert len(arguments) == 2 + len(ops.ACTIVATIONS[name])
        if name != "heaviside":
            back = list(inspect.signature(getattr(reference, f"{name}_backward")).parameters)
            assert back[1] == ("x" if name in ops.FROM_INPUT else "y")


def test_public_names_exist_and_have_a_text():
    for name in fastnn.__all__:
        thing = getattr(fastnn, name)
        assert thing.__doc__, name
    for name, thing in vars(fastnn.functional).items():
        if inspect.isfunction(thing) and name[0] != "_":
            assert thing.__doc__, name
