"""Every lesson at its reduced size, its claim, its picture; and claims that fail."""

from __future__ import annotations

import inspect
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastnn import plots
from fastnn.cli import main
from fastnn.experiments.lessons import (
    LESSONS,
    Check,
    ClaimError,
    Result,
    Settings,
    Table,
    batchnorm,
    data,
    features,
    neuron,
    rates,
    regularisation,
    search,
    transfer,
    vanishing,
    windows,
    xor,
)
from fastnn.experiments.lessons.trials import multiply_adds
from fastnn.layers import BatchNormalization, Conv2D, Dense, Flatten, Residual
from fastnn.model import Sequential
from fastnn.optimizers import SGD
from fastnn.panels import Bars, Histograms, Lines, Regions, Tiles, draw_panels


@pytest.mark.parametrize("name", LESSONS)
def test_a_lessons_claim_holds_at_the_reduced_size(name, capsys, tmp_path):
    lesson = LESSONS[name]
    if lesson.needs is not None:
        pytest.importorskip(lesson.needs[0])
    figures = tmp_path / "f.json"
    args = ["learn", name, "--quick", "--threads", "1", "--out", str(tmp_path)]
    code = main([*args, "--json", str(figures)])
    out, err = capsys.readouterr()
    assert (code, err) == (0, ""), out + err
    assert f"claim: {lesson.claim} : holds" in out
    with Image.open(tmp_path / f"{name}.png") as picture:
        assert picture.format == "PNG"
        assert np.ptp(np.asarray(picture.convert("L"))) > 0
    (found,) = json.loads(figures.read_text())["lessons"]
    assert found["checks"]
    assert all(check["holds"] for check in found["checks"])
    assert found["tables"][0]["rows"][1:]


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_says_what_it_is(name):
    lesson = LESSONS[name]
    assert lesson.name == name
    assert lesson.question.endswith("?")
    assert 0 < lesson.seconds < 120
    module = sys.modules[lesson.run.__module__]
    assert len((module.__doc__ or "").strip().splitlines()) > 5, "the maths belongs into the file"


@pytest.mark.parametrize("name", LESSONS)
def test_the_page_says_what_the_lesson_says(name):
    page = Path(__file__).parents[1] / "docs" / "learn.md"
    text = page.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")[2]
    section = re.split("^<!-- ", text, maxsplit=1, flags=re.MULTILINE)[0]
    lesson = LESSONS[name]
    assert section.startswith(f"## {lesson.question}\n\n")
    assert inspect.cleandoc(sys.modules[lesson.run.__module__].__doc__) in section
    assert f"claim: {lesson.claim} : holds" in section


# --- claims that don't hold ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relation", "below", "equal", "above"),
    [
        (">=", False, True, True),
        (">", False, False, True),
        ("<=", True, True, False),
        ("<", True, False, False),
        ("==", False, True, False),
    ],
)
def test_checks(relation, below, equal, above):
    held = [Check("x", measured, relation, 2).holds for measured in (1, 2, 3)]
    assert held == [below, equal, above]
    assert not Check("x", float("nan"), relation, 2).holds
    assert str(Check("x", 1, relation, 2)) == f"expected x {relation} 2, measured 1"


def test_a_result_names_every_check_that_failed():
    checks = [Check("a", 1, ">=", 2), Check("b", 1, "<=", 2), Check("c", 0.5, "==", 1)]
    result = Result("", [], checks, [])
    with pytest.raises(ClaimError) as caught:
        result.require("name")
    want = "name: expected a >= 2, measured 1; expected c == 1, measured 0.5"
    assert str(caught.value) == want
    Result("", [], checks[1:2], []).require("name")


def test_xor_fails_where_nothing_is_learned(monkeypatch, capsys, tmp_path):
    """After one step the networks are about as they were drawn."""
    learn = xor.learn
    monkeypatch.setattr(
        xor, "learn", lambda x, y, hidden, steps, seed: learn(x, y, hidden, 1, seed)
    )
    assert main(["learn", "xor", "--quick", "--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "DOES NOT HOLD" in out
    assert err.startswith("fastnn: error: xor: expected accuracy of ")
    assert len(err.splitlines()) == 1
    assert (tmp_path / "xor.png").exists()


#: (lesson, owner, attribute, what it becomes): experiments that can't come out as claimed.
BROKEN = {
    "nothing is learned": ("neuron", neuron, "RATE", 1e-5),
    "uphill": ("search", search.Neuron, "gradient", lambda self, theta: theta),
    "the least is not in the box": ("search", search, "BOX", (4.0, 6.0)),
    "too small an h": ("search", search, "H", 1e-6),
    "another rate": ("rates", rates, "SGD", lambda rate: SGD(rate / 2)),
    "one window in place of two": (
        "windows", windows, "BLOCKS", {"5×5": (5,), "3×3 twice": (3,), "3×3 once": (3,)},
    ),
    "chance without, no divergence": (
        "batchnorm", batchnorm, "learned",
        lambda net, *args: 0.9 if isinstance(net.layers[1], BatchNormalization) else 0.1,
    ),
    "untrained": ("features", features.Sequential, "fit", lambda *args, **keywords: None),
    "ReLU in place of sigmoid": (
        "vanishing", vanishing, "network",
        lambda *args, network=vanishing.network: network("relu", *args[1:]),
    ),
    "no penalty": (
        "regularisation", regularisation, "WAYS", dict.fromkeys(regularisation.WAYS, (None, 0)),
    ),
    "a source that taught nothing": (
        "transfer", transfer, "QUICK", replace(transfer.QUICK, source_epochs=0),
    ),
    "only twice the steps help": (
        "transfer", transfer, "transfer",
        lambda *args: dict.fromkeys(transfer.WAYS, 0.5) | {"fine-tuned": 0.9},
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_experiment_is_found(how, monkeypatch):
    name, owner, attribute, value = BROKEN[how]
    monkeypatch.setattr(owner, attribute, value)
    with pytest.raises(ClaimError, match=f"^{name}: expected "):
        LESSONS[name].run(Settings(quick=True)).require(name)


# --- the work -----------------------------------------------------------------------------------


def test_multiply_adds_are_those_of_the_summary():
    layers = [Residual([Conv2D(3, 3, padding="same")]), Flatten(), Dense(5)]
    net = Sequential(layers, input_shape=(6, 6, 3), seed=0)
    # On an axis three taps for each of six places, less one at either end.
    assert multiply_adds(net.layers) == 16**2 * 3 * 3 + 6 * 6 * 3 * 5
    assert f"multiply-adds: {multiply_adds(net.layers):,} a sample" in net.summary()


@pytest.mark.parametrize(
    ("name", "work", "ratios"),
    [
        (
            "windows",
            {"5×5": 64**2 * 24**2, "3×3 twice": 2 * 40**2 * 24**2, "3×3 once": 40**2 * 24**2},
            {"weights by those of 5×5": 0.72, "multiply-adds by those of 5×5": 0.78125},
        ),
        (
            "strides",
            {
                "max-pool": 82**2 * 16 + 40**2 * 16 * 32,
                "average-pool": 82**2 * 16 + 40**2 * 16 * 32,
                "stride 2": 41**2 * 16 + 20**2 * 16 * 32,
                "all-convolutional":
                    82**2 * 16 + 41**2 * 16 * 16 + 40**2 * 16 * 32 + 20**2 * 32 * 32,
            },
            {"stride 2: multiply-adds by those of max-pool": 0.25},
        ),
    ],
)  # fmt: skip
def test_lessons_count_the_same_work(name, work, ratios, monkeypatch):
    """Without the padding's; from twenty images, as it isn't about what is learned."""
    mnist = data.mnist
    monkeypatch.setattr(data, "mnist", lambda settings, *_: mnist(settings, 20, 20))
    result = LESSONS[name].run(Settings(quick=True))
    assert result.figures["multiply-adds"] == work
    assert ratios.items() <= {check.what: check.measured for check in result.checks}.items()


# --- the command --------------------------------------------------------------------------------


def test_the_list(capsys, tmp_path):
    path = tmp_path / "l.json"
    assert main(["learn", "--list", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    parts = re.split(r"^(?=\S)", capsys.readouterr().out, flags=re.MULTILINE)[1:]
    assert [one["name"] for one in found] == list(LESSONS)
    for one, lesson, part in zip(found, LESSONS.values(), parts, strict=True):
        assert one == {
            "name": lesson.name, "question": lesson.question, "claim": lesson.claim,
            "seconds": lesson.seconds, "data": lesson.data,
        }  # fmt: skip
        assert part.startswith(f"{lesson.name} ({lesson.seconds:g} s): {lesson.question}\n")
        assert lesson.claim in part
        assert part.endswith(f"--data: {lesson.data}\n" if lesson.data else f"{lesson.claim}\n")


def test_all_goes_on_after_a_claim_that_fails(monkeypatch, capsys, tmp_path):
    def fails(settings: Settings) -> Result:
        lines = Lines("t", {"a": ([1, 2], [3, 4])})
        return Result("d", [Table("", [["x"], ["1"]])], [Check("it", 1, ">", 2)], [lines])

    first = replace(LESSONS["xor"], name="first", run=fails)
    absent = replace(first, name="absent", needs=("no_such_module", "nothing"))
    lessons = {"first": first, "absent": absent, "xor": LESSONS["xor"]}
    for module in ("fastnn.cli.learn", "fastnn.experiments.lessons"):
        monkeypatch.setattr(sys.modules[module], "LESSONS", lessons)
    assert main(["learn", "--all", "--quick", "--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert err == "fastnn: error: first: expected it > 2, measured 1\n"
    assert "left out: the lesson absent needs nothing: pip install nothing" in out
    assert f"{LESSONS['xor'].claim} : holds" in out
    assert {p.name for p in tmp_path.iterdir()} == {"first.png", "xor.png"}
    assert main(["learn", "absent"]) == 2
    assert "pip install nothing" in capsys.readouterr().err


def test_without_matplotlib_the_claim_is_checked_all_the_same(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(plots, "available", lambda: False)
    assert main(["learn", "xor", "--quick", "--out", str(tmp_path / "new")]) == 0
    out = capsys.readouterr().out
    assert "No picture: it needs matplotlib" in out
    assert "holds" in out
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "expected one of: NAME, --list, --all"),
        (["xor", "--all"], "expected one of: NAME, --list, --all"),
        (["xr"], "unknown lesson 'xr'; did you mean 'xor'?"),
        (["xor", "--data", "."], "--data is for one lesson that takes a set"),
        (["--all", "--data", "."], "--data is for one lesson that takes a set"),
        (["--list", "--data", "."], "--data is for one lesson that takes a set"),
    ],
)
def test_usage_errors(args, message, capsys):
    assert main(["learn", *args]) == 2
    assert message in capsys.readouterr().err


# --- panels -------------------------------------------------------------------------------------


def test_panels(tmp_path, rng):
    x = rng.normal(size=(40, 2))
    y = (x[:, 0] > 0).astype(int)
    panels = [
        Lines("lines", {"a": ([1, 2, 3], [1, 10, 100]), "b": ([1, 2], [5, 6])}, log="y", dots="b"),
        Bars("bars", {"one": 1.0, "two": 2.0}, errors={"one": 0.1}),
        Histograms("histograms", {"h": rng.normal(size=100), "i": rng.normal(size=(4, 5))}),
        Regions("regions", lambda p: (p[:, 0] > 0).astype(int), x, y),
        Tiles("grey", rng.normal(size=(5, 4, 4)), signed=True),
        Tiles("colour", rng.random((3, 4, 4, 3)), columns=2),
    ]
    seen = set()
    for panel in panels:
        draw_panels(tmp_path / "one.png", [panel])
        with Image.open(tmp_path / "one.png") as picture:
            one = picture.size
            seen.add(picture.tobytes())
    assert len(seen) == len(panels)
    draw_panels(tmp_path / "all.png", panels)
    with Image.open(tmp_path / "all.png") as picture:
        assert picture.size[0] > 2.5 * one[0]
        assert picture.size[1] > 1.8 * one[1]


def test_panels_that_cant_be_drawn_write_nothing(tmp_path):
    with pytest.raises(ValueError, match="at least one panel"):
        draw_panels(tmp_path / "x.png", [])
    with pytest.raises(ValueError, match=r"Tiles: expected images \(N, H, W\)"):
        draw_panels(tmp_path / "x.png", [Tiles("t", np.zeros((3, 3)))])
    assert not list(tmp_path.iterdir())
