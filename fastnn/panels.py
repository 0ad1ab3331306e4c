"""Pictures made of panels: lines, bars, histograms, regions of a plane, small images, contours.

Each panel says what it shows, and ``draw_panels`` puts several into one PNG. Needs matplotlib, as
``fastnn.plots`` does, and keeps to its colours and dashes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn import plots

Array = NDArray[Any]

#: How opaque the regions of classes are, before their samples.
_FAINT = 0.25


class Panel(Protocol):
    """One sub-plot."""

    @property
    def title(self) -> str:
        """What stands above it."""
        ...

    def draw(self, axes: Any) -> None:
        """Draw into matplotlib's axes; the title is there already."""
        ...


@dataclass(frozen=True)
class Lines:
    """Lines: ``lines[label]`` is (x, y), two arrays of one length.

    ``log``: ``"x"``, ``"y"`` or ``"xy"``, the logarithmic axes. ``dots``: labels that are drawn as
    points without a line.
    """

    title: str
    lines: Mapping[str, tuple[ArrayLike, ArrayLike]]
    xlabel: str = ""
    ylabel: str = ""
    log: str = ""
    dots: Collection[str] = ()

    def draw(self, axes: Any) -> None:
        """See ``Panel``."""
        for number, (label, (x, y)) in enumerate(self.lines.items()):
            dots = label in self.dots
            style = {"linestyle": "", "marker": "o", "markersize": 3} if dots else _dashes(number)
            axes.plot(np.asarray(x), np.asarray(y), label=label, color=_colour(number), **style)
        for axis in self.log:
            getattr(axes, f"set_{axis}scale")("log")
        axes.set_xlabel(self.xlabel)
        axes.set_ylabel(self.ylabel)
        axes.grid(alpha=0.3)
        many = len(self.lines) > 8
        axes.legend(fontsize="x-small" if many else "small", handlelength=3)


@dataclass(frozen=True)
class Bars:
    """A bar with its number for each label, the first on top; ``errors``: half widths of whiskers.

    ``log``: a logarithmic axis.
    """

    title: str
    values: Mapping[str, float]
    xlabel: str = ""
    errors: Mapping[str, float] | None = None
    log: bool = False

    def draw(self, axes: Any) -> None:
        """See ``Panel``."""
        widths = list(self.values.values())
        errors = [(self.errors or {}).get(label, 0) for label in self.values]
        bars = axes.barh(
            list(self.values), widths, xerr=errors if self.errors else None, log=self.log,
            color=plots.COLOURS[1], height=0.7,
        )  # fmt: skip
        axes.bar_label(bars, [f" {width:.3g}" for width in widths], fontsize="small", padding=2)
        axes.margins(x=0.18)
        axes.invert_yaxis()
        axes.set_xlabel(self.xlabel)


@dataclass(frozen=True)
class Histograms:
    """How often which value: ``values[label]`` of any shape, as steps over common bins."""

    title: str
    values: Mapping[str, ArrayLike]
    xlabel: str = ""
    bins: int = 60
    log: bool = False

    def draw(self, axes: Any) -> None:
        """See ``Panel``."""
        flat = {label: np.ravel(np.asarray(values)) for label, values in self.values.items()}
        every = np.concatenate(list(flat.values()))
        edges = np.linspace(every.min(), every.max(), self.bins + 1)
        for number, (label, values) in enumerate(flat.items()):
            axes.hist(
                values, edges, histtype="step", label=label, log=self.log,
                weights=np.full(len(values), 1 / len(values)),
                color=_colour(number), **_dashes(number),
            )  # fmt: skip
        axes.set_xlabel(self.xlabel)
        axes.set_ylabel("part of all")
        axes.legend(fontsize="small", handlelength=3)


@dataclass(frozen=True)
class Regions:
    """What class a classifier gives each point of the plane, and samples with their labels.

    ``classify`` takes points (M, 2) and returns class numbers (M,); ``x`` (N, 2), ``y`` (N,).
    """

    title: str
    classify: Callable[[Array], Array]
    x: Array
    y: Array
    xlabel: str = ""
    ylabel: str = ""

    def draw(self, axes: Any) -> None:
        """See ``Panel``."""
        low, high = self.x.min(axis=0), self.x.max(axis=0)
        left, bottom = low - 0.15 * (high - low)
        right, top = high + 0.15 * (high - low)
        columns, rows = np.linspace(left, right, 200), np.linspace(bottom, top, 200)
        points = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
        classes = np.asarray(self.classify(points)).reshape(200, 200)
        from matplotlib.colors import ListedColormap

        kinds = int(max(classes.max(), self.y.max())) + 1
        # Black is for text.
        colours = [_colour(kind + 1) for kind in range(kinds)]
        axes.imshow(
            classes, extent=(left, right, bottom, top), origin="lower", aspect="auto",
            cmap=ListedColormap(colours), vmin=-0.5, vmax=kinds - 0.5, alpha=_FAINT,
            interpolation="nearest",
        )  # fmt: skip
        if kinds > 1:
            levels = np.arange(kinds - 1) + 0.5
            axes.contour(columns, rows, classes, levels, colors="black", linewidths=0.8)
        for kind in range(kinds):
            axes.plot(
                *self.x[self.y == kind].T, plots.MARKERS[kind % len(plots.MARKERS)], linestyle="",
                color=colours[kind], markeredgecolor="white", markeredgewidth=0.4,
                markersize=8 if len(self.x) < 20 else 4, label=f"{kind}",
            )  # fmt: skip
        axes.set_xlabel(self.xlabel)
        axes.set_ylabel(self.ylabel)


@dataclass(frozen=True)
class Tiles:
    """Small images in rows of ``columns``: (N, H, W), drawn in grey, or (N, H, W, 3) in colour.

    Each is spread over the whole range by itself; ``signed``: around 0, which is the middle grey.
    """

    title: str
    images: ArrayLike
    columns: int = 8
    signed: bool = False

    def draw(self, axes: Any) -> None:
        """See ``Panel``."""
        images = np.asarray(self.images, np.float64)
        if images.ndim not in (3, 4) or not len(images):
            raise ValueError(
                f"Tiles: expected images (N, H, W) or (N, H, W, 3), got shape {images.shape}"
            )
        n, height, width, *colours = images.shape
        flat = images.reshape(n, -1)
        if self.signed:
            flat = flat / np.maximum(np.abs(flat).max(axis=1, keepdims=True), 1e-12) / 2 + 0.5
        else:
            flat = flat - flat.min(axis=1, keepdims=True)
            flat /= np.maximum(flat.max(axis=1, keepdims=True), 1e-12)
        columns = min(self.columns, n)
        rows = -(-n // columns)
        gap = max(1, height // 12)
        step_y, step_x = height + gap, width + gap
        canvas = np.ones((rows * step_y - gap, columns * step_x - gap, *colours))
        for i, image in enumerate(flat.reshape(images.shape)):
            y, x = i // columns * step_y, i % columns * step_x
            canvas[y : y + height, x : x + width] = image
        axes.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_axis_off()


@dataclass(frozen=True)
class Contours:
    """Paths over a surface, with their names."""

    scene: plots.Scene

    @property
    def title(self) -> str:
        """The scene's."""
        return self.scene.title

    def draw(self, axes: Any) -> None:
        """See ``Panel``."""
        plots.draw_scene(axes, self.scene)
        axes.legend(
            fontsize="x-small", handlelength=3, loc="upper center", bbox_to_anchor=(0.5, -0.07),
            ncols=2,
        )  # fmt: skip


def draw_panels(path: plots.Path, panels: Sequence[Panel]) -> None:
    """Draw the panels into one PNG, in rows of three, or of two if there are four.

    Raises ``ValueError`` if there is none, ``RuntimeError`` without matplotlib.
    """
    if not panels:
        raise ValueError("draw_panels: expected at least one panel")
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = plots.new_figure(4.6 * columns, 3.8 * rows)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(cells, panels, strict=False):
        panel.draw(axes)
        axes.set_title(panel.title, fontsize="medium")
    for axes in cells[len(panels) :]:
        axes.set_axis_off()
    plots.save(figure, path)


def _colour(number: int) -> str:
    return plots.COLOURS[number % len(plots.COLOURS)]


def _dashes(number: int) -> dict[str, Any]:
    # After a round of colours the dashes are others, so that no two lines are alike.
    dashes = plots.DASHES[(number + number // len(plots.COLOURS)) % len(plots.DASHES)]
    return {"linestyle": dashes, "linewidth": 1.5}
