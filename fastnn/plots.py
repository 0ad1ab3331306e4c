"""Pictures of experiments: curves, confusion matrices, predictions, paths over contours (PNG), and
movies of weights and of paths (animated GIF).

All but the movie of weights need matplotlib, which is an extra of the installation; that one needs
Pillow only. Figures are drawn in memory, without display and without pyplot's global state, and
written whole or not at all. Colours are those of Okabe and Ito (2008); lines differ in their dashes
too, and ends of paths and right and wrong in a mark, so that a picture says the same in grey.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from fastnn.files import write_atomically

Array = NDArray[Any]
Path = str | os.PathLike[str]

COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
_GUESSED, _TRUE, _WRONG = "#BBBBBB", "#7CC7A9", "#B03A00"
_DPI = 110
#: Inches: the side of a picture in ``predictions``, and a line of text or a bar below it.
_PICTURE, _LINE = 1.25, 0.16


def available() -> bool:
    """Whether matplotlib can be imported."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def require() -> None:
    """Raise ``RuntimeError``, with what to install, unless matplotlib is there."""
    if not available():
        raise RuntimeError("pictures need matplotlib: pip install matplotlib")


def curves(
    path: Path,
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    xlabel: str = "epoch",
    log: Iterable[str] = (),
    bands: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> None:
    """Draw lines over 1, 2, 3 …: one sub-plot per panel, one line per label.

    ``panels[title][label]`` are the values; ``bands[title][label]``, where given, is the half
    width of a band around them (a standard error). ``log`` names the panels with a logarithmic
    axis: values <= 0 have no place there and are left out. ``limits[title]`` are the ends of the
    vertical axis, where the data's own won't do.
    """
    panels = {title: dict(lines) for title, lines in panels.items()}
    if not panels or not all(panels.values()):
        raise ValueError("curves: expected at least one panel, and a line in each")
    labels = list(dict.fromkeys(label for lines in panels.values() for label in lines))
    figure = new_figure(5.2 * len(panels), 4.0)
    for axes, (title, lines) in zip(_row_of_axes(figure, len(panels)), panels.items(), strict=True):
        logarithmic = title in log and any(v > 0 for values in lines.values() for v in values)
        for label, values in lines.items():
            y = np.asarray(values, np.float64)
            x = np.arange(1, len(y) + 1)
            number = labels.index(label)
            colour = COLOURS[number % len(COLOURS)]
            shown = np.where(y > 0, y, np.nan) if logarithmic else y
            axes.plot(
                x, shown, label=label, color=colour, linestyle=DASHES[number % len(DASHES)],
                linewidth=1.5, marker="o" if len(y) == 1 else None,
            )  # fmt: skip
            half = (bands or {}).get(title, {}).get(label)
            if half is not None:
                low, high = y - np.asarray(half), y + np.asarray(half)
                axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        if logarithmic:
            axes.set_yscale("log")
        if limits and title in limits:
            axes.set_ylim(*limits[title])
        axes.set_title(title)
        axes.set_xlabel(xlabel)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", handlelength=3)
    save(figure, path)


def confusion(path: Path, matrices: Mapping[str, tuple[ArrayLike, Sequence[str]]]) -> None:
    """Draw confusion matrices side by side: ``matrices[head]`` is (counts, class names).

    ``counts`` (C, C): rows are true classes, columns guessed ones. Colours are parts of the row,
    so that rare classes are seen too; with few classes each cell shows its count.
    """
    if not matrices:
        raise ValueError("confusion: expected at least one matrix")
    checked: dict[str, tuple[Array, Sequence[str]]] = {}
    for head, (counts, names) in matrices.items():
        matrix = np.asarray(counts, np.float64)
        if matrix.shape != (len(names), len(names)):
            raise ValueError(
                f"confusion: {head or 'the matrix'} must have shape {(len(names),) * 2}, "
                f"got {matrix.shape}"
            )
        checked[head] = matrix, [_plain(name) for name in names]
    sizes = [max(3.4, 0.26 * len(names) + 1.8) for _, names in checked.values()]
    figure = new_figure(sum(sizes) + 0.6, 0.8 * max(sizes) + 0.4)
    all_axes = _row_of_axes(figure, len(sizes), sizes)
    for axes, (head, (matrix, names)) in zip(all_axes, checked.items(), strict=True):
        parts = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(parts, cmap="cividis", vmin=0, vmax=1)
        few = len(names) <= 12
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8 if few else 6)
        axes.set_yticks(range(len(names)), names, fontsize=8 if few else 6)
        axes.set_xlabel("guessed")
        axes.set_ylabel("true")
        axes.set_title(head)
        if few:
            for (i, j), n in np.ndenumerate(matrix):
                axes.text(j, i, f"{n:g}", ha="center", va="center", fontsize=8,
                    color="black" if parts[i, j] > 0.5 else "white")  # fmt: skip
        bar = figure.colorbar(image, ax=axes, fraction=0.045, pad=0.03)
        bar.set_label("part of the true class", fontsize=7)
        bar.ax.tick_params(labelsize=7)
    save(figure, path)


@dataclass(frozen=True)
class Answers:
    """What one head or one model says of N images.

    ``guessed`` and ``true`` (N,) are class numbers, ``probabilities`` (N, C) or None.
    """

    guessed: ArrayLike
    true: ArrayLike
    class_names: Sequence[str]
    probabilities: ArrayLike | None = None


def predictions(
    path: Path,
    images: ArrayLike,
    answers: Mapping[str, Answers],
    *,
    columns: int = 8,
    top: int = 3,
) -> None:
    """Draw images in rows of ``columns``, and below each what every head or model says of it.

    ``images`` (N, H, W, 3) uint8, or (N, H, W) of any range, drawn as grey. With probabilities
    there are bars of the ``top`` guesses, and of the true class (in green); otherwise one line
    with the guess, which suits short names. A wrong guess has a cross, and the true class behind
    it.
    """
    pictures = np.asarray(images)
    n = len(pictures)
    if pictures.ndim not in (3, 4) or not n or not answers:
        raise ValueError(
            f"predictions: expected images (N, H, W) or (N, H, W, 3) with answers, got "
            f"{pictures.shape} and {len(answers)} answers"
        )
    for name, answer in answers.items():
        for part in ("guessed", "true", "probabilities"):
            value = getattr(answer, part)
            if value is not None and len(np.asarray(value)) != n:
                raise ValueError(f"predictions: {name}: {part} must have length {n}")
    columns = min(columns, n)
    rows = -(-n // columns)
    # Sizes are in inches.
    heights = [
        _LINE if answer.probabilities is None else (2 + top + 1) * _LINE + 0.05
        for answer in answers.values()
    ]
    width, height = 1.6, _PICTURE + sum(heights) + 0.2
    figure = new_figure(width * columns + 0.1, height * rows + 0.1, layout=None)
    total_width, total_height = figure.get_size_inches()

    def axes_at(column: int, y: float, h: float) -> Any:
        left = 0.1 + column * width
        box = (left / total_width, y / total_height, (width - 0.1) / total_width, h / total_height)
        axes = figure.add_axes(box)
        axes.set_axis_off()
        return axes

    grey = {"cmap": "gray_r", "vmin": pictures.min(), "vmax": pictures.max()}
    for i, picture in enumerate(pictures):
        column, y = i % columns, total_height - (i // columns) * height - _PICTURE - 0.1
        axes = axes_at(column, y, _PICTURE)
        axes.imshow(picture, **(grey if picture.ndim == 2 else {}))
        axes.set_anchor("W")
        for (name, answer), h in zip(answers.items(), heights, strict=True):
            y -= h
            _draw_answer(axes_at(column, y, h), h, name, answer, i, top)
    save(figure, path)


def _plain(name: str) -> str:
    """A name from data as matplotlib can draw it: no mathematics, no bytes that aren't text."""
    return name.encode("utf-8", "replace").decode().replace("$", r"\$")


def _draw_answer(axes: Any, height: float, name: str, answer: Answers, i: int, top: int) -> None:
    """One answer in axes of that height in inches: a line, and bars if there are probabilities."""
    guessed, true = (int(np.asarray(a)[i]) for a in (answer.guessed, answer.true))
    names = [_plain(name) for name in answer.class_names]
    axes.set_xlim(0, 1)
    axes.set_ylim(height, 0)
    style = {"fontsize": 6.5, "va": "center"}
    if guessed != true:
        style |= {"color": _WRONG, "fontweight": "bold"}
    text = f"{'✓' if guessed == true else '✗'} {name}: {names[guessed]}"
    if answer.probabilities is None:
        text += "" if guessed == true else f", true: {names[true]}"
        axes.text(0, _LINE / 2, text, **style)
        return
    axes.text(0, _LINE / 2, text, **style)
    axes.text(0, 1.4 * _LINE, f"true: {names[true]}", fontsize=6.5, va="center")
    probabilities = np.asarray(answer.probabilities)[i]
    shown = [int(c) for c in np.argsort(-probabilities, kind="stable")[:top]]
    if true not in shown:
        shown.append(true)
    for row, c in enumerate(shown):
        y = (row + 2.5) * _LINE
        fill = {"color": _TRUE, "hatch": "///"} if c == true else {"color": _GUESSED}
        axes.barh(y, probabilities[c], 0.8 * _LINE, edgecolor="white", linewidth=0, **fill)
        axes.text(0.02, y, f"{names[c]} {probabilities[c]:.2f}", fontsize=6.5, va="center")


def weight_movie(
    path: Path,
    frames: Sequence[Array],
    *,
    epochs: Sequence[int],
    tile: tuple[int, int] = (8, 8),
    columns: int = 10,
    zoom: int = 4,
    milliseconds: int = 120,
) -> None:
    """Write an animated GIF of a dense layer's weights as it learns.

    ``frames[i]`` (K, units) are the weights after ``epochs[i]`` epochs, K = the product of
    ``tile``: each hidden unit is a tile of so many pixels, enlarged ``zoom`` times. Blue is
    negative, orange positive; one scale holds for all frames, and the largest 1 % of all weights
    have the full colour.
    """
    weights = np.asarray(frames, np.float64)
    rows_of_tile, columns_of_tile = tile
    if weights.ndim != 3 or len(weights) < 2 or weights.shape[1] != rows_of_tile * columns_of_tile:
        raise ValueError(
            f"weight_movie: expected two frames or more of ({rows_of_tile * columns_of_tile}, "
            f"units), got {weights.shape}"
        )
    if len(epochs) != len(weights):
        raise ValueError(f"weight_movie: {len(weights)} frames need as many epochs")
    scale = float(np.quantile(np.abs(weights), 0.99)) or 1.0
    units = weights.shape[2]
    columns = min(columns, units)
    rows = math.ceil(units / columns)
    gap, head = 2, 20
    step_y, step_x = (size * zoom + gap for size in tile)
    black, background = _LEVELS, _LEVELS + 1
    font = ImageFont.load_default(13)
    pictures = []
    for frame, epoch in zip(weights, epochs, strict=True):
        levels = np.rint((np.clip(frame / scale, -1, 1) + 1) / 2 * (_LEVELS - 1)).astype(np.uint8)
        canvas = np.full((head + rows * step_y + gap, columns * step_x + gap), background, np.uint8)
        for unit in range(units):
            y = head + unit // columns * step_y + gap
            x = unit % columns * step_x + gap
            pixels = np.kron(levels[:, unit].reshape(tile), np.ones((zoom, zoom), np.uint8))
            canvas[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
        picture = Image.fromarray(canvas)
        picture.putpalette(_palette())
        draw = ImageDraw.Draw(picture)
        draw.fontmode = "1"
        draw.text((4, 2), f"epoch {epoch}    scale ±{scale:.2g}", fill=black, font=font)
        pictures.append(picture)
    _save_movie(pictures, path, milliseconds)


@dataclass(frozen=True)
class Scene:
    """A surface and the paths over it.

    ``value`` is a function of arrays x and y, ``limits`` are the picture's ends (x, x, y, y),
    ``levels`` rising contours, ``minima`` points (x, y). ``paths[label]`` (n + 1, 2) are finite
    points, in the picture or not; all begin at the same one.
    """

    title: str
    value: Callable[[Array, Array], Array]
    limits: tuple[float, float, float, float]
    levels: ArrayLike
    minima: Sequence[tuple[float, float]]
    paths: Mapping[str, Array]


def contours(path: Path, scenes: Sequence[Scene]) -> None:
    """Draw paths over contours, a sub-plot for each scene; what lies outside is cut off.

    A path has small marks after 10, 20, 50, 100 … steps, and a large one at its end. One legend
    serves all scenes, which must have the same labels.
    """
    if not scenes or not scenes[0].paths or any([*s.paths] != [*scenes[0].paths] for s in scenes):
        raise ValueError("contours: expected at least one scene, and the same labels in each")
    if len(scenes) == 1:
        save(_figure_of(scenes[0], 8.0, 4.3)[0], path)
        return
    # The legend has the last cell.
    columns = 2 if len(scenes) == 3 else 3
    rows = -(-(len(scenes) + 1) // columns)
    figure = new_figure(5.0 * columns, 4.1 * rows)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, scene in zip(cells, scenes, strict=False):
        lines, heads = draw_scene(axes, scene)
    for axes in cells[len(scenes) :]:
        axes.set_axis_off()
    _legend(cells[-1], lines, heads, loc="center")
    save(figure, path)


def path_movie(path: Path, scene: Scene, *, frames: int = 60, milliseconds: int = 120) -> None:
    """Write an animated GIF of the paths as they grow, each behind its head.

    There are at most ``frames`` of them, one for each of the first steps and fewer later: the
    start, then steps in geometric progression.
    """
    steps = max((len(points) for points in scene.paths.values()), default=0) - 1
    if steps < 1 or frames < 2:
        raise ValueError("path_movie: expected a path of two points or more, and two frames")
    figure, lines, heads = _figure_of(scene, 7.0, 3.7)
    axes = lines[0].axes
    step_text = axes.text(0.02, 0.97, "", transform=axes.transAxes, va="top", fontsize=10,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8})  # fmt: skip
    moving = [*lines, *heads, step_text]
    for artist in moving:
        artist.set_animated(True)
    # What doesn't move is laid out and drawn once.
    canvas = figure.canvas
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)
    pictures = []
    for step in [0, *np.unique(np.geomspace(1, steps, frames - 1).astype(int)).tolist()]:
        canvas.restore_region(background)
        step_text.set_text(f"step {step}")
        for line, head, points in zip(lines, heads, scene.paths.values(), strict=True):
            so_far = points[: step + 1]
            line.set(data=so_far.T, markevery=_marks(len(so_far)))
            head.set_data(*so_far[-1:].T)
        for artist in moving:
            axes.draw_artist(artist)
        pictures.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    # One palette, of the last frame, and no dithering: what rests, costs nothing. The octree keeps
    # the colours of thin lines, where the median cut would mix them with others.
    palette = pictures[-1].quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    pictures = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
    _save_movie(pictures, path, milliseconds)


def _figure_of(scene: Scene, width: float, height: float) -> tuple[Any, list[Any], list[Any]]:
    """A figure with one scene and its legend beside it, the paths' lines and their ends' marks."""
    figure = new_figure(width, height)
    # Without some room the layout cuts the first digit beside axes of a fixed shape.
    figure.get_layout_engine().set(w_pad=0.12)
    lines, heads = draw_scene(figure.subplots(), scene)
    _legend(figure, lines, heads, loc="outside right center")
    return figure, lines, heads


def draw_scene(axes: Any, scene: Scene) -> tuple[list[Any], list[Any]]:
    """Contours, paths, start and minima; returns each path's line, and the mark at its end."""
    left, right, bottom, top = scene.limits
    x, y = np.meshgrid(np.linspace(left, right, 400), np.linspace(bottom, top, 300))
    values, levels = scene.value(x, y), np.asarray(scene.levels)
    shades = np.linspace(1, 0.87, len(levels) + 1).astype(str)
    axes.contourf(x, y, values, levels, colors=list(shades), extend="both")
    axes.contour(x, y, values, levels, colors="#A8A8A8", linewidths=0.5)
    lines, heads = [], []
    for number, (label, points) in enumerate(scene.paths.items()):
        style = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": MARKERS[number % len(MARKERS)],
            "markeredgecolor": "white",
        }
        # After a round of colours the dashes are others, so that no two lines are alike.
        dashes = DASHES[(number + number // len(COLOURS)) % len(DASHES)]
        lines += axes.plot(
            *points.T, label=label, linestyle=dashes, linewidth=1.4, zorder=3,
            markevery=_marks(len(points)), markersize=5.5, markeredgewidth=0.5, **style,
        )  # fmt: skip
        heads += axes.plot(*points[-1:].T, linestyle="", markersize=8, zorder=4, **style)
    start = next(iter(scene.paths.values()))[0]
    axes.plot(*start, "o", markersize=9, markerfacecolor="white", markeredgecolor="black",
        zorder=2.5, label="start")  # fmt: skip
    axes.plot(*np.transpose(scene.minima), "*", markersize=18, markerfacecolor="white",
        markeredgecolor="black", linestyle="", zorder=2.5, label="minimum")  # fmt: skip
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    # A step of gradient descent is at right angles to the contours, and is to look so.
    axes.set_aspect("equal")
    axes.set_title(scene.title, fontsize="medium")
    return lines, heads


def _marks(points: int) -> list[int]:
    """Steps to mark: 10, 20, 50, 100 and so on, before the last point."""
    return [m * 10**k for k in range(1, 6) for m in (1, 2, 5) if m * 10**k < points - 1]


def _legend(place: Any, lines: Sequence[Any], heads: Sequence[Any], loc: str) -> None:
    axes = lines[0].axes
    rest = [line for line in axes.get_lines() if line.get_label() in ("start", "minimum")]
    place.legend(handles=[*lines, *rest], fontsize="small", handlelength=4, loc=loc)


#: Colours of the weights; an odd number, so that zero is white.
_LEVELS = 63


def _palette() -> list[int]:
    """Blue over white to orange, then black for text and grey for what lies between the tiles."""
    ends = np.array([(0, 69, 135), (255, 255, 255), (190, 75, 0)], np.float64)
    at = np.linspace(0, 2, _LEVELS)
    ramp = np.stack([np.interp(at, range(3), ends[:, channel]) for channel in range(3)], axis=1)
    extra = [(0, 0, 0), (150, 150, 150)]
    return [int(v) for colour in [*np.rint(ramp).tolist(), *extra] for v in colour]


def new_figure(width: float, height: float, layout: Any = "constrained") -> Any:
    """A figure of that size in inches, with a canvas of its own; raises as ``require`` does."""
    require()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _row_of_axes(figure: Any, n: int, widths: Sequence[float] | None = None) -> list[Any]:
    return list(figure.subplots(1, n, squeeze=False, width_ratios=widths)[0])


def save(figure: Any, path: Path) -> None:
    """Write the figure as PNG, whole or not at all."""
    data = io.BytesIO()
    figure.savefig(data, format="png")
    write_atomically(path, data.getvalue())


def _save_movie(pictures: Sequence[Image.Image], path: Path, milliseconds: int) -> None:
    """An animated GIF that repeats itself; the last picture stays a while."""
    data = io.BytesIO()
    pictures[0].save(
        data, "GIF", save_all=True, append_images=pictures[1:], loop=0, optimize=False,
        duration=[milliseconds] * (len(pictures) - 1) + [12 * milliseconds],
    )  # fmt: skip
    write_atomically(path, data.getvalue())
