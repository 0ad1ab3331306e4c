"""Pictures: valid files that show something, and what happens without matplotlib."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image, ImageSequence

from fastnn import plots


def pixels(path) -> np.ndarray:
    """The picture, which must be a PNG."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def near(picture, colour) -> int:
    """How many pixels are of about that colour."""
    return int((np.abs(picture - colour).max(axis=2) < 12).sum())


CURVES = {"a": [1.0, 0.5, 0.25], "b": [0.9, 0.0, -1.0]}


def test_curves(tmp_path):
    path = tmp_path / "c.png"
    plots.curves(path, {"loss": CURVES})
    one = pixels(path)
    assert near(one, (0, 114, 178)) > 50, "the second line's colour is missing"
    plots.curves(path, {"loss": CURVES, "accuracy": CURVES})
    assert pixels(path).shape[1] > 1.8 * one.shape[1]


def test_curves_options_change_the_picture(tmp_path):
    seen = []
    for options in (
        {},
        {"log": ["loss"]},
        {"bands": {"loss": {"a": [0.2, 0.2, 0.2]}}},
        {"limits": {"loss": (0.0, 5.0)}},
        {"xlabel": "step"},
    ):
        plots.curves(tmp_path / "c.png", {"loss": CURVES}, **options)
        seen.append(pixels(tmp_path / "c.png").tobytes())
    assert len(set(seen)) == len(seen)


def test_curves_of_one_point_and_without_a_positive_value(tmp_path):
    lines = {"a": [0.0], "b": [-1.0]}
    plots.curves(tmp_path / "c.png", {"loss": lines}, log=["loss"], bands={"loss": {"a": [0.1]}})
    assert near(pixels(tmp_path / "c.png"), (0, 0, 0)) > 50


def test_more_curves_than_colours(tmp_path):
    plots.curves(tmp_path / "c.png", {"loss": {str(i): [i, i + 1] for i in range(9)}})
    assert near(pixels(tmp_path / "c.png"), (86, 180, 233)) > 50


def test_confusion(tmp_path):
    path = tmp_path / "c.png"
    names = ["amazon", "dslr", "webcam"]
    plots.confusion(path, {"domain": (np.diag([5, 1, 1000]), names)})
    right = pixels(path)
    # By rows: the rare class is as yellow as the frequent one.
    assert near(right, (254, 232, 56)) > 3 * 3000
    plots.confusion(path, {"domain": (np.diag([5, 1, 1000]), names),
                           "object": (np.eye(31), [str(i) for i in range(31)])})  # fmt: skip
    assert pixels(path).shape[1] > 2 * right.shape[1]
    plots.confusion(path, {"empty": (np.zeros((2, 2)), ["a", "b"])})


def answers(n, with_probabilities, guessed=None):
    guessed = np.arange(n) % 5 if guessed is None else guessed
    probabilities = np.full((n, 5), 0.1)
    probabilities[np.arange(n), guessed] = 0.6
    true = np.full(n, 2)
    names = ["mug", "bike", "mouse", "ruler", "pen"]
    return plots.Answers(guessed, true, names, probabilities if with_probabilities else None)


@pytest.mark.parametrize("shape", [(7, 8, 8), (7, 20, 20, 3)])
@pytest.mark.parametrize("bars", [False, True])
def test_predictions(tmp_path, rng, shape, bars):
    path = tmp_path / "p.png"
    images = rng.integers(0, 255, shape).astype(np.uint8)
    plots.predictions(path, images, {"x": answers(7, bars)}, columns=4)
    some_wrong = pixels(path)
    assert near(some_wrong, (176, 58, 0)) > 20, "wrong guesses aren't marked"
    assert bars == (near(some_wrong, (124, 199, 169)) > 100), "the true class's bars"
    plots.predictions(path, images, {"x": answers(7, bars, np.full(7, 2))}, columns=4)
    assert near(pixels(path), (176, 58, 0)) < near(some_wrong, (176, 58, 0)) / 2
    plots.predictions(path, images, {"x": answers(7, bars), "y": answers(7, bars)}, columns=7)
    assert pixels(path).shape[1] > 1.6 * some_wrong.shape[1]


def test_the_true_class_has_a_bar_though_it_is_not_among_the_first(tmp_path):
    plots.predictions(
        tmp_path / "p.png", np.zeros((1, 8, 8)), {"x": answers(1, True, np.array([4]))}, top=1
    )
    assert near(pixels(tmp_path / "p.png"), (124, 199, 169)) > 20


def test_a_weight_movie(tmp_path, rng):
    path = tmp_path / "w.gif"
    frames = np.cumsum(rng.standard_normal((5, 64, 80)), axis=0)
    frames[0] = 0
    plots.weight_movie(path, list(frames), epochs=[0, 1, 2, 5, 100])
    with Image.open(path) as movie:
        assert movie.format == "GIF"
        assert movie.is_animated
        assert movie.n_frames == 5
        assert movie.info["loop"] == 0
        shown = [np.asarray(f.convert("RGB")).astype(int) for f in ImageSequence.Iterator(movie)]
    assert shown[0].shape == (20 + 8 * 34 + 2, 10 * 34 + 2, 3)
    assert len({frame.tobytes() for frame in shown}) == 5
    # The epoch's number differs where nothing else does, and zero is white.
    assert (shown[1][:20] != shown[3][:20]).any()
    assert near(shown[0], (255, 255, 255)) == 80 * 32 * 32


def test_the_movies_tiles_are_where_the_weights_are(tmp_path):
    frames = np.zeros((2, 6, 3))
    frames[1, 5, 1] = 1  # the last pixel of the second unit
    frames[1, 0, 2] = -1  # the first pixel of the third unit, in the second row of tiles
    plots.weight_movie(tmp_path / "w.gif", frames, epochs=[0, 1], tile=(2, 3), columns=2, zoom=1)
    with Image.open(tmp_path / "w.gif") as movie:
        movie.seek(1)
        frame = np.asarray(movie.convert("RGB")).astype(int)
    assert tuple(frame[20 + 2 + 1, 2 + 5 + 2]) == (190, 75, 0)
    assert tuple(frame[20 + 2 + 4, 2]) == (0, 69, 135)


def test_the_real_sizes_fit_in_a_page(tmp_path, rng):
    frames = 0.15 * rng.standard_normal((41, 64, 80)).astype(np.float32)
    plots.weight_movie(tmp_path / "w.gif", frames, epochs=range(41))
    assert (tmp_path / "w.gif").stat().st_size < 1_500_000


BAD = {
    "at least one panel": lambda p: plots.curves(p, {}),
    "a line in each": lambda p: plots.curves(p, {"loss": {}}),
    "at least one matrix": lambda p: plots.confusion(p, {}),
    "domain must have shape (2, 2), got (3, 3)": lambda p: plots.confusion(
        p, {"domain": (np.eye(3), ["a", "b"])}
    ),
    "expected images": lambda p: plots.predictions(p, np.zeros((0, 8, 8)), {"x": answers(0, 0)}),
    "x: guessed must have length 3": lambda p: plots.predictions(
        p, np.zeros((3, 8, 8)), {"x": answers(2, False)}
    ),
    "two frames or more of (64, units), got (1, 64, 80)": lambda p: plots.weight_movie(
        p, np.zeros((1, 64, 80)), epochs=[0]
    ),
    "2 frames need as many epochs": lambda p: plots.weight_movie(
        p, np.zeros((2, 64, 80)), epochs=[0]
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_writes_nothing(tmp_path, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        BAD[message](tmp_path / "x.png")
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib(tmp_path, monkeypatch):
    assert plots.available()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not plots.available()
    with pytest.raises(RuntimeError, match=r"pip install matplotlib"):
        plots.curves(tmp_path / "c.png", {"loss": CURVES})
    assert not list(tmp_path.iterdir())
    plots.weight_movie(tmp_path / "w.gif", np.random.default_rng(1).random((2, 64, 4)),
                       epochs=[0, 1])  # fmt: skip
    assert (tmp_path / "w.gif").exists()


def test_no_global_state(tmp_path):
    """Neither figures of pyplot's nor a change of matplotlib's settings."""
    import matplotlib
    from matplotlib import _pylab_helpers

    before = dict(matplotlib.rcParams)
    plots.curves(tmp_path / "c.png", {"loss": CURVES})
    assert dict(matplotlib.rcParams) == before
    assert not _pylab_helpers.Gcf.get_all_fig_managers()


def test_names_from_data_are_drawn_as_they_are(tmp_path):
    """Not as mathematics, and whatever bytes a folder's name has."""
    names = [r"a$\foo$b_^{", "m\udcff", "$5"]
    plots.confusion(tmp_path / "c.png", {"object": (np.eye(3), names)})
    answers = plots.Answers([0, 1, 2], [1, 2, 0], names, np.full((3, 3), 1 / 3))
    plots.predictions(tmp_path / "p.png", np.zeros((3, 4, 4)), {"object": answers})
    for name in ("c.png", "p.png"):
        assert np.ptp(pixels(tmp_path / name)) > 0
