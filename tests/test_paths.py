"""Paths over surfaces: gradients, minima, what is claimed of the optimizers, pictures, errors."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor, ImageSequence

from fastnn import optimizers, plots
from fastnn.cli import main
from fastnn.experiments.paths import (
    DEFAULT,
    OPTIMIZERS,
    RATES,
    SURFACES,
    TOLERANCE,
    descend,
    draw,
    paths,
    run,
)

# --- surfaces ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SURFACES)
def test_gradients_against_central_differences(name, rng):
    surface = SURFACES[name]
    left, right, bottom, top = surface.limits
    h = 1e-5
    for x, y in rng.uniform((left, bottom), (right, top), (50, 2)):
        want = (
            (surface.value(x + h, y) - surface.value(x - h, y)) / (2 * h),
            (surface.value(x, y + h) - surface.value(x, y - h)) / (2 * h),
        )
        np.testing.assert_allclose(surface.gradient(x, y), want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", SURFACES)
def test_minima_are_minima(name):
    surface = SURFACES[name]
    left, right, bottom, top = surface.limits
    x, y = np.meshgrid(np.linspace(left, right, 200), np.linspace(bottom, top, 200))
    assert surface.value(x, y).min() > -1e-15
    for minimum in surface.minima:
        assert surface.inside(minimum)
        assert surface.value(*minimum) == pytest.approx(0, abs=1e-15)
        assert surface.gradient(*minimum) == pytest.approx((0, 0), abs=1e-14)
        angle = np.linspace(0, 2 * np.pi, 100)
        around = surface.value(minimum[0] + 0.1 * np.cos(angle), minimum[1] + 0.1 * np.sin(angle))
        assert (around > 1e-5).all()
    assert surface.inside(surface.start)
    assert np.hypot(*surface.gradient(*surface.start)) > 1e-4


def test_the_saddle_is_one():
    """At (0, 0) there is no slope; along x it goes down on both sides, along y up."""
    saddle = SURFACES["saddle"]
    assert saddle.gradient(0.0, 0.0) == (0, 0)
    assert saddle.value(0.1, 0) < saddle.value(0, 0) < saddle.value(0, 0.1)
    # On the ridge nothing leads off it.
    for name in ("sgd", "nesterov", "adam"):
        path = descend(OPTIMIZERS[name](0.1), saddle.gradient, (0.0, 0.9), 100)
        assert not path[:, 0].any()
        assert path[0, 1] != path[-1, 1]


# --- paths -------------------------------------------------------------------------------------


def test_gradient_descent_by_hand(backend):
    rosenbrock = SURFACES["rosenbrock"]
    x, y = rosenbrock.start
    want = [(x, y)]
    for _ in range(50):
        dx, dy = 2 * (x - 1) - 400 * x * (y - x**2), 200 * (y - x**2)
        x, y = x - 0.001 * dx, y - 0.001 * dy
        want.append((x, y))
    got = descend(optimizers.SGD(0.001), rosenbrock.gradient, rosenbrock.start, 50)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, want, rtol=1e-13, atol=0)


def test_adam_by_hand(backend):
    bowl = SURFACES["bowl"]
    p, m, v = np.array(bowl.start), np.zeros(2), np.zeros(2)
    want = [p]
    for t in range(1, 31):
        g = np.array([p[0], 25 * p[1]])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        p = p - 0.3 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        want.append(p)
    got = descend(optimizers.Adam(0.3), bowl.gradient, bowl.start, 30)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


def test_an_optimizers_state_begins_where_it_says():
    bowl = SURFACES["bowl"]
    optimizer = optimizers.Adagrad(0.1, initial_accumulator_value=100.0)
    path = descend(optimizer, bowl.gradient, (2.0, 0.0), 1)
    assert path[1, 0] == pytest.approx(2 - 0.1 * 2 / np.sqrt(104))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_down(name):
    found = run(name, SURFACES["bowl"])
    assert found.path.shape == (201, 2)
    assert found.values[-1] < found.values[0] / 100
    assert not found.diverged
    assert found.rate in RATES


def test_a_runs_figures():
    found = run("momentum", SURFACES["bowl"], rate=0.02)
    distances = np.hypot(*found.path.T)
    assert found.distance == distances[-1]
    np.testing.assert_allclose(found.values, found.path**2 @ [0.5, 12.5], rtol=1e-14)
    assert (distances[found.arrived :] <= TOLERANCE).all()
    assert distances[found.arrived - 1] > TOLERANCE
    # It has been so near before, and left again.
    assert (distances[: found.arrived] <= TOLERANCE).any()
    assert not found.left
    assert run("sgd", SURFACES["bowl"], rate=0.001).arrived is None
    assert run("sgd", SURFACES["bowl"], start=(0.01, 0.0)).arrived == 0
    # The nearer of two minima counts.
    assert run("sgd", SURFACES["saddle"], start=(-0.01, 0.9)).distance < 1e-6


def test_the_rate_is_the_one_that_arrives_first():
    bowl = SURFACES["bowl"]
    best = run("momentum", bowl)
    others = [run("momentum", bowl, rate) for rate in RATES]
    steps = [r.arrived for r in others if r.arrived is not None and not r.left]
    assert len(steps) > 3
    assert best.arrived == min(steps)
    # Of the paths that stay in the picture: a larger leap is quicker here.
    best, leap = run("adagrad", bowl), run("adagrad", bowl, rate=50.0)
    assert leap.left
    assert not best.left
    assert leap.arrived < best.arrived
    # Where none arrives, the one that ends lowest.
    best = run("sgd", SURFACES["rosenbrock"])
    assert best.arrived is None
    others = [run("sgd", SURFACES["rosenbrock"], rate) for rate in RATES]
    assert best.values[-1] == min(r.values[-1] for r in others if not (r.left or r.diverged))


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov"])
@pytest.mark.parametrize("surface", ["bowl", "rosenbrock", "beale"])
def test_divergence_ends_the_path(name, surface):
    found = run(name, SURFACES[surface], rate=50.0, steps=1000)
    assert found.diverged
    assert found.left
    assert found.arrived is None
    assert 1 < len(found.path) < 1001
    assert len(found.values) == len(found.path)
    assert np.isfinite(found.path).all()
    assert np.isfinite(found.values).all()


def test_a_path_has_finite_points_only():
    path = descend(optimizers.SGD(50.0), SURFACES["bowl"].gradient, (1.0, 1.0), 1000)
    assert 1 < len(path) < 1001
    assert np.isfinite(path).all()
    assert np.abs(path[-1]).max() > 1e300


# --- what the page says of the optimizers ------------------------------------------------------


def reversals(path) -> np.ndarray:
    """Whether each step goes back on the one before, (n − 1, 2)."""
    steps = np.diff(path, axis=0)
    return steps[1:] * steps[:-1] < 0


def test_gradient_descent_zigzags_across_the_bowl_and_not_along_it():
    path = run("sgd", SURFACES["bowl"]).path
    assert reversals(path)[:100, 1].all()
    assert not reversals(path)[:100, 0].any()
    # With a rate too small to zigzag it takes longer.
    slow = run("sgd", SURFACES["bowl"], rate=0.03)
    assert not reversals(slow.path).any()
    assert slow.arrived > 2 * run("sgd", SURFACES["bowl"]).arrived


def test_turning_the_bowl_slows_the_rules_that_scale_each_coordinate_by_itself():
    """By 45°, as a whole: for gradient descent nothing changes."""
    bowl, half = SURFACES["bowl"], np.sqrt(0.5)

    def back(x, y):
        return half * (x + y), half * (y - x)

    def gradient(x, y):
        a, b = bowl.gradient(*back(x, y))
        return half * (a - b), half * (a + b)

    x, y = bowl.start
    turned = replace(
        bowl, value=lambda x, y: bowl.value(*back(x, y)), gradient=gradient,
        start=(half * (x - y), half * (x + y)), limits=(-9.0, 9.0, -9.0, 9.0),
    )  # fmt: skip
    assert run("sgd", turned).arrived == run("sgd", bowl).arrived
    assert run("adagrad", bowl).arrived < 10
    assert run("adagrad", turned).arrived > 70


def test_momentum_overshoots_where_gradient_descent_does_not():
    found = {r.optimizer: r.path for r in paths(["bowl"])}
    assert found["sgd"][:, 0].max() <= 0
    for name in ("momentum", "nesterov", "adam"):
        assert found[name][:, 0].max() > 0.3


def test_adaptive_rules_leave_at_once_what_gradient_descent_sits_on():
    """The plateau, and the ridge above the saddle: where |x| has come after ten steps."""
    plateau = {r.optimizer: r for r in paths(["plateau"])}
    saddle = {r.optimizer: r for r in paths(["saddle"])}
    assert plateau["sgd"].arrived is None
    assert plateau["sgd"].path[10, 0] < -3.35
    assert saddle["sgd"].path[10, 0] < 0.05
    for name in ("adagrad", "rmsprop", "adam", "adam-uncorrected"):
        assert plateau[name].path[10, 0] > -3.0
        assert saddle[name].path[10, 0] > 0.4


def test_without_its_correction_adam_begins_with_larger_steps():
    """m is a tenth of the gradient, √v a thirty-second part: √10 times the step, then more."""
    bowl = SURFACES["bowl"]
    adam, plain = (
        np.abs(np.diff(run(name, bowl, rate=0.001).path, axis=0))
        for name in ("adam", "adam-uncorrected")
    )
    np.testing.assert_allclose(adam[0], 0.001, rtol=1e-6)
    np.testing.assert_allclose(plain[0], 0.001 * np.sqrt(10), rtol=1e-6)
    assert (plain[:50] > 3 * adam[:50]).all()
    # The best rate is smaller by as much.
    for name in SURFACES:
        assert run("adam", SURFACES[name]).rate > 4 * run("adam-uncorrected", SURFACES[name]).rate


# --- pictures ----------------------------------------------------------------------------------


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def near(picture, colour) -> int:
    """How many pixels are of about that colour."""
    return int((np.abs(picture - colour).max(axis=2) < 12).sum())


def scene(**paths) -> plots.Scene:
    x = np.linspace(-1, 0, 31)
    lines = {"a": np.stack([x, x], 1), "b": np.stack([x, x**3], 1)}
    return plots.Scene(
        "s", lambda x, y: x**2 + y**2, (-2, 1, -2, 1), [0.01, 0.1, 1], [(0, 0)], paths or lines
    )


def test_contours(tmp_path):
    plots.contours(tmp_path / "one.png", [scene()])
    one = pixels(tmp_path / "one.png")
    assert near(one, (0, 114, 178)) > 50, "the second path's colour is missing"
    plots.contours(tmp_path / "more.png", [scene()] * 5)
    more = pixels(tmp_path / "more.png")
    assert more.shape[1] > 1.8 * one.shape[1]
    assert near(more, (0, 114, 178)) > 3 * near(one, (0, 114, 178))
    seen = set()
    for n in (1, 2, 3, 4):
        plots.contours(tmp_path / "n.png", [scene()] * n)
        seen.add(pixels(tmp_path / "n.png").tobytes())
    assert len(seen) == 4


def test_paths_far_outside_are_cut_off(tmp_path):
    far = np.array([[-1.0, -1.0], [1.0, 0.0], [-1e150, 1e100]])
    plots.contours(tmp_path / "f.png", [scene(a=far)])
    cut = pixels(tmp_path / "f.png")
    plots.contours(tmp_path / "f.png", [scene(a=far[:2])])
    # The legend's line and the frame are black too.
    assert near(cut, (0, 0, 0)) > near(pixels(tmp_path / "f.png"), (0, 0, 0))
    plots.path_movie(tmp_path / "f.gif", scene(a=far))


def test_more_paths_than_colours(tmp_path):
    ends = {str(i): np.array([[-1.0, -1.0], [0.5, i / 12]]) for i in range(12)}
    plots.contours(tmp_path / "m.png", [scene(**ends)])
    assert near(pixels(tmp_path / "m.png"), (86, 180, 233)) > 50


def test_a_movie_of_paths(tmp_path):
    short = {"a": np.array([[-1.0, -1.0], [0.0, 0.0]]), "b": np.linspace((-1, -1), (0.5, 0), 31)}
    short["b"][1:7] = short["b"][7]  # out of the first head's way
    plots.path_movie(tmp_path / "p.gif", scene(**short), frames=20)
    with Image.open(tmp_path / "p.gif") as movie:
        assert movie.format == "GIF"
        # The start, and the steps of a geometric progression to 30, each once.
        steps = np.unique(np.geomspace(1, 30, 19).astype(int))
        assert movie.n_frames == 1 + len(steps)
        assert movie.info["loop"] == 0
        shown = [np.asarray(f.convert("RGB")).astype(int) for f in ImageSequence.Iterator(movie)]
    assert len({frame.tobytes() for frame in shown}) == len(shown)
    blue = [near(frame, (0, 114, 178)) for frame in shown]
    assert blue[-1] > blue[len(blue) // 2] > blue[0], "the path doesn't grow"
    # The legend rests.
    assert (shown[0][:, -60:] == shown[-1][:, -60:]).all()
    # The head is at the start, leaves it, and goes to the right.
    heads = [np.abs(frame - (0, 114, 178)).max(axis=2) < 12 for frame in shown]
    moving = [head & ~np.logical_and.reduce(heads) for head in heads]
    assert moving[0].sum() > 30
    assert (moving[0] & moving[-1]).sum() < moving[0].sum() / 2, "a head is left behind"
    ends = [np.flatnonzero(head.any(axis=0)).max() for head in moving]
    assert ends == sorted(ends)
    assert ends[-1] - ends[0] > 100


def test_the_movies_colours_are_those_of_the_picture(tmp_path):
    seven = {r.optimizer: r.path for r in paths(["rosenbrock"], rate=0.001, steps=30)}
    plots.path_movie(tmp_path / "p.gif", scene(**seven))
    with Image.open(tmp_path / "p.gif") as movie:
        movie.seek(movie.n_frames - 1)
        last = np.asarray(movie.convert("RGB")).astype(int)
    for colour in plots.COLOURS:
        assert (np.abs(last - ImageColor.getrgb(colour)).max(axis=2) < 3).sum() > 10, colour


BAD_PICTURES = {
    "at least one scene": lambda p: plots.contours(p, []),
    "the same labels in each": lambda p: plots.contours(p, [scene(), scene(c=np.zeros((2, 2)))]),
    "a path of two points": lambda p: plots.path_movie(p, scene(a=np.zeros((1, 2)))),
    "two frames": lambda p: plots.path_movie(p, scene(), frames=1),
}


@pytest.mark.parametrize("message", BAD_PICTURES)
def test_bad_pictures_write_nothing(tmp_path, message):
    with pytest.raises(ValueError, match=message):
        BAD_PICTURES[message](tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_draw_of_a_diverging_path(tmp_path):
    runs = paths(["bowl"], ["sgd", "adam"], steps=1000, rate=10.0)
    assert [r.diverged for r in runs] == [True, False]
    assert [p.name for p in draw(tmp_path, runs)] == ["bowl.png", "bowl.gif"]
    assert len(list(tmp_path.iterdir())) == 2


# --- the command -------------------------------------------------------------------------------


def test_the_command(capsys, tmp_path):
    folder, figures = tmp_path / "new" / "p", tmp_path / "p.json"
    args = ["paths", "--surfaces", "bowl,saddle", "--optimizers", "sgd,adam", "--steps", "100"]
    assert main([*args, "--pictures", str(folder), "--json", str(figures)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    names = ["bowl.png", "bowl.gif", "saddle.png", "saddle.gif", "overview.png"]
    assert sorted(p.name for p in folder.iterdir()) == sorted(names)
    for name in names:
        assert f"Picture written to {folder / name}" in out
        if name.endswith("png"):
            assert np.ptp(pixels(folder / name)) > 0
        else:
            with Image.open(folder / name) as movie:
                assert 20 < movie.n_frames <= 60
            assert (folder / name).stat().st_size < 1_500_000
    data = json.loads(figures.read_text())
    assert data["settings"]["rates"] == list(RATES)
    found = [(r["surface"], r["optimizer"]) for r in data["results"]]
    assert found == [(s, o) for s in ("bowl", "saddle") for o in ("sgd", "adam")]
    for r, same in zip(
        data["results"], paths(["bowl", "saddle"], ["sgd", "adam"], 100), strict=True
    ):
        assert r["path"] == same.path.tolist()
        assert r["values"] == same.values.tolist()
        assert (r["rate"], r["arrived"], r["distance"]) == (same.rate, same.arrived, same.distance)
        (line,) = (
            x for x in out.splitlines() if x.split()[:2] == [same.surface, same.optimizer]
        )  # fmt: skip
        assert line.split()[2:4] == [f"{same.rate:g}", str(same.arrived)]


def test_the_pages_table_is_what_the_command_prints(capsys):
    """Rates and steps; the last digits of a final value are the machine's."""

    def rows(text: str) -> list[list[str]]:
        found = [line.split()[:4] for line in text.splitlines()]
        return [row for row in found if len(row) == 4 and row[0] in SURFACES and row[1] in DEFAULT]

    page = Path(__file__).parents[1] / "docs" / "paths.md"
    assert main(["paths"]) == 0
    want = rows(capsys.readouterr().out)
    assert len(want) == len(SURFACES) * len(DEFAULT)
    assert rows(page.read_text(encoding="utf-8")) == want


def test_without_pictures_it_says_how_to_get_them(capsys):
    assert main(["paths", "--surfaces", "beale", "--steps", "20"]) == 0
    out = capsys.readouterr().out
    assert all(f"beale    {name} " in out for name in DEFAULT)
    assert "--pictures FOLDER" in out


def test_rate_and_start(capsys, tmp_path):
    path = tmp_path / "p.json"
    args = ["paths", "--surfaces", "saddle", "--optimizers", "sgd", "--rate", "0.02"]
    assert main([*args, "--start=-0.5,1", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert "from (-0.5, 1)" in out
    assert "six a decade" not in out
    data = json.loads(path.read_text())
    assert data["settings"]["rates"] is None
    (result,) = data["results"]
    assert result["rate"] == 0.02
    assert result["path"][0] == [-0.5, 1]
    assert result["path"][-1][0] == pytest.approx(-1, abs=0.1)


def test_divergence_is_told(capsys):
    args = ["paths", "--surfaces", "bowl", "--optimizers", "sgd", "--steps", "1000"]
    assert main([*args, "--rate", "10"]) == 0
    out, err = capsys.readouterr()
    (line,) = (line for line in out.splitlines() if line.startswith("bowl     sgd"))
    assert re.fullmatch(r"bowl +sgd +10 +- +- +- +diverges at step [1-9]\d+", line)
    assert err == ""
    assert main([*args, "--rate", "1e300"]) == 0
    assert " -               -  diverges at step 1\n" in capsys.readouterr().out
    assert main([*args, "--rate", "0.0801"]) == 0
    assert "leaves the picture" in capsys.readouterr().out


def test_every_backend_takes_the_same_paths(tmp_path):
    found = []
    for backend in ("reference", "numba", "cython"):
        path = tmp_path / "p.json"
        args = ["paths", "--surfaces", "beale", "--rate", "0.01", "--backend", backend]
        assert main([*args, "--json", str(path)]) == 0
        data = json.loads(path.read_text())
        assert data["environment"]["backend"] == backend
        found.append([r["path"] for r in data["results"]])
    assert found[0] == found[1] == found[2]


BAD = {
    "unknown surface 'bowll'; did you mean 'bowl'": ["--surfaces", "bowll"],
    "unknown optimizer 'adma'; did you mean 'adam'": ["--optimizers", "sgd,adma"],
    "--optimizers: expected names such as sgd,momentum, got ''": ["--optimizers", ""],
    "expected each once, got 'sgd,sgd'": ["--optimizers", "sgd,sgd"],
    "--steps: expected an integer >= 1": ["--steps", "0"],
    "--rate: expected a number >= 0": ["--rate", "-1"],
    "--start needs one surface": ["--start", "1,1"],
    "--start: expected two numbers X,Y, got '1'": ["--surfaces", "bowl", "--start", "1"],
    "--start: expected two numbers X,Y, got 'nan,1'": ["--surfaces", "bowl", "--start", "nan,1"],
    "start: expected -4.8 <= x <= 1.6": ["--surfaces", "bowl", "--start", "9,1"],
    "is a file": ["--pictures", __file__],
}


@pytest.mark.parametrize("message", BAD)
def test_bad_options(capsys, message, tmp_path):
    more = [] if "--pictures" in BAD[message] else ["--pictures", str(tmp_path / "p")]
    assert main(["paths", *BAD[message], *more]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert out == ""
    assert not list(tmp_path.iterdir())


def test_without_matplotlib(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["paths", "--pictures", str(tmp_path / "p")]) == 2
    out, err = capsys.readouterr()
    assert err == "fastnn: error: pictures need matplotlib: pip install matplotlib\n"
    assert out == ""
    assert not (tmp_path / "p").exists()
    assert main(["paths", "--surfaces", "bowl", "--optimizers", "sgd"]) == 0


def test_unknown_names_from_python():
    with pytest.raises(ValueError, match="did you mean 'saddle'"):
        paths(["sadle"])
    with pytest.raises(ValueError, match="did you mean 'adam'"):
        paths(["bowl"], ["adm"])
