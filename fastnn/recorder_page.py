"""The page of a training: curves, distributions over time, filters, the decision boundary."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import batch_of
from fastnn.page import Page, number

Array = NDArray[Any]

#: The quantiles of a distribution; its last figure is the standard deviation.
LEVELS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
#: What a snapshot holds distributions of, and what the page says of them.
_KINDS = {
    "weights": "The trained arrays themselves.",
    "gradients": "Those of the last step before each snapshot.",
    "activations": "What the layers give for a few samples, the same each time, in inference.",
}
#: Figures of the history that are no measure of the network.
_NOT_CURVES = ("step", "seconds", "waiting", "learning_rate")
#: Filters in a row; pixels of the screen that they may be wide, and that a pixel of theirs is.
_ACROSS, _WIDE, _ZOOM = 8, 340, 10


@dataclass(frozen=True)
class Snapshot:
    """Distributions by name after ``step`` steps: (8,) float64 each, ``LEVELS`` and deviation."""

    step: int
    weights: dict[str, Array]
    gradients: dict[str, Array]
    activations: dict[str, Array]


@dataclass(frozen=True)
class Picture:
    """The first convolution's kernels (KH, KW, C, O), and the classes on a grid (H, W)."""

    step: int
    filters: Array | None
    classes: Array | None


@dataclass(frozen=True)
class Plane:
    """What a decision boundary is drawn in: left, right, bottom and top, and some samples."""

    extent: tuple[float, float, float, float]
    #: how many classes there are
    classes: int
    #: x (N,), y (N,) and class (N,)
    points: tuple[Array, Array, Array]


@dataclass
class Record:
    """What a ``Recorder`` has seen. Lists grow while the model trains."""

    title: str
    #: such as "Adam, 12,345 parameters"
    about: str
    #: name, description, output's shape and parameters of each layer
    network: list[tuple[str, str, str, int | None]]
    #: steps the model had made before
    first_step: int = 0
    #: figures by key, a row for each epoch, or every so many steps
    history: dict[str, list[float]] = field(default_factory=dict)
    #: of each step
    losses: array[float] = field(default_factory=lambda: array("d"))
    snapshots: list[Snapshot] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    #: name of the layer whose filters are shown
    filters: str = ""
    plane: Plane | None = None
    #: parameters whose gradients aren't stored
    not_stored: list[str] = field(default_factory=list)
    #: layers that there was no room for
    left_out: int = 0
    #: shapes of a sample and of the network's input, if they differ
    unfit: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    #: why the network couldn't be run, if it couldn't
    failed: str = ""
    #: seconds since training began, and those that recording took
    seconds: float = 0.0
    recording: float = 0.0


def record_page(record: Record) -> Page:
    """The page of what was recorded so far; what there is nothing of is left out."""
    steps = record.first_step + len(record.losses)
    page = Page(
        record.title,
        f"{record.about}; {number(steps)} steps, {record.seconds:.1f} s, of which recording took "
        f"{record.recording:.1f} s",
    )
    page.heading("Loss and accuracy" if record.plane is None else "Boundary, loss and accuracy")
    _boundary(page, record)  # tall, so that the curves stand beside it
    _curves(page, record)
    _filters(page, record)
    for kind, text in _KINDS.items():
        _distributions(page, record, kind, text)
    if record.unfit:
        page.note(
            "No activations: samples are {}, the network takes {}. Recorder(data=(x, y)) gives "
            "samples that fit.".format(*map(batch_of, record.unfit))
        )
    if record.failed:
        page.note(f"Outputs are missing where the network failed: {record.failed}")
    page.heading("The network")
    page.table(["layer", "what it is", "output", "parameters"], record.network, left=3)
    return page


def _curves(page: Page, record: Record) -> None:
    history = record.history
    if not record.losses:
        page.text("Training has just begun.")
        return
    rows = len(next(iter(history.values()), []))
    axis, at = ("step", history["step"]) if "step" in history else ("epoch", range(1, rows + 1))
    for key, values in history.items():
        if key.startswith("val_") or key in _NOT_CURVES:
            continue
        curves = {"training": (at, values)}
        if f"val_{key}" in history:
            curves["validation"] = at, history[f"val_{key}"]
        title = key.replace("_", " ").capitalize()
        log = key.endswith("loss") and _positive(v for _, y in curves.values() for v in y)
        page.lines(f"{title} by {axis}", curves, axis, logy=log)
    first = record.first_step + 1
    steps = np.arange(first, first + len(record.losses))
    losses = np.array(record.losses)
    page.lines("Loss of each step", {"loss": (steps, losses)}, "step", logy=_positive(losses))
    rates = history.get("learning_rate", [])
    if len(set(rates)) > 1:
        page.lines("Learning rate", {"rate": (at, rates)}, axis, logy=_positive(rates))


def _boundary(page: Page, record: Record) -> None:
    plane = record.plane
    pictures = {
        f"step {number(p.step)}": p.classes for p in record.pictures if p.classes is not None
    }
    if plane is None or not pictures:
        return
    page.text("Areas are what the network says of each point of the plane, marks are samples.")
    page.regions(
        "Decision boundary",
        pictures,
        plane.extent,
        [f"class {i}" for i in range(plane.classes)],
        plane.points,
        "first input",
        "second input",
    )


def _filters(page: Page, record: Record) -> None:
    pictures = [p for p in record.pictures if p.filters is not None]
    if not pictures:
        return
    page.heading(f"Filters of {record.filters}")
    page.text(
        "The kernels of the first convolution. In each picture black is the least weight, white "
        "the largest."
    )
    for picture in pictures:
        assert picture.filters is not None
        image = mosaic(picture.filters)
        zoom = min(_ZOOM, max(1, _WIDE // image.shape[1]))
        page.image(image, f"step {number(picture.step)}", zoom)


def mosaic(w: Array) -> Array:
    """Kernels (KH, KW, C, O) side by side, in colour for C = 3, else the mean of channels in grey.

    RGBA, (H, W, 4) uint8: the least value becomes 0, the largest 255; between them is nothing.
    """
    height, width, channels, count = w.shape
    if channels != 3:
        w = w.mean(axis=2, keepdims=True)
    low, high = float(w.min()), float(w.max())
    pixels = np.rint((w - low) * (255 / (high - low) if high > low else 0))
    across = min(count, _ACROSS)
    down = -(-count // across)
    image = np.zeros((down * (height + 1) - 1, across * (width + 1) - 1, 4), np.uint8)
    for i in range(count):
        y, x = (i // across) * (height + 1), (i % across) * (width + 1)
        place = image[y : y + height, x : x + width]
        place[..., :3], place[..., 3] = pixels[..., i], 255
    return image


def _distributions(page: Page, record: Record, kind: str, text: str) -> None:
    found: list[dict[str, Array]] = [getattr(one, kind) for one in record.snapshots]
    names = list(dict.fromkeys(name for one in found for name in one))
    missing = record.not_stored if kind == "gradients" else []
    if not names and not missing:
        return
    page.heading(kind.capitalize())
    page.text(f"{text} The line is the median; half, nine tenths and all of the values are in "
              "the bands around it.")  # fmt: skip
    if missing:
        page.note(
            f"Not stored, so not here: those of {', '.join(missing)}, which go to the optimizer "
            "piece by piece. Recorder(keep_gradients=True) stores them, at a cost."
        )
    if record.left_out:
        page.note(f"{record.left_out} other layers aren't shown; Recorder(layers=…) chooses.")
    if not names:
        return
    steps = [one.step for one in record.snapshots]
    nothing = np.full(len(LEVELS) + 1, np.nan)
    table = {name: np.array([one.get(name, nothing) for one in found]) for name in names}
    spread = {name: (steps, rows[:, -1]) for name, rows in table.items()}
    log = _positive(v for _, y in spread.values() for v in y)
    page.lines(f"Standard deviation of {kind}", spread, "step", logy=log)
    for name, rows in table.items():
        around = [(rows[:, i], rows[:, 6 - i]) for i in range(3)]
        page.lines(name, {"median": (steps, rows[:, 3])}, "step", kind, bands={"median": around})


def _positive(values: Iterable[float] | Sequence[float]) -> bool:
    """Whether a log axis has something to show."""
    return any(value > 0 and math.isfinite(value) for value in values)
