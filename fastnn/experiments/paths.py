"""Optimizers on surfaces over the plane: the paths they take, as numbers and as pictures.

A surface has two parameters, x and y, so that a path can be drawn; its minimum is 0 and its
gradient is exact, so nothing is random. Each optimizer has its best rate of a grid that is the same
for all, by a rule that is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import plots
from fastnn.errors import unknown
from fastnn.optimizers import OPTIMIZERS, Optimizer

Array = NDArray[Any]
Point = tuple[float, float]
#: (x, y) to (∂f/∂x, ∂f/∂y)
Gradient = Callable[[float, float], Point]

STEPS = 200
#: A path has arrived where it comes so near to a minimum and stays there.
TOLERANCE = 0.05
#: Rates to choose from: six a decade, nearly evenly spaced in their logarithm, in short numbers.
RATES = tuple(float(f"{m}e{k}") for k in range(-4, 2) for m in (1, 1.5, 2, 3, 5, 7))

#: As many as a picture can tell apart.
DEFAULT = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adam-uncorrected")


@dataclass(frozen=True)
class Surface:
    """A function of the plane whose least value is 0.

    ``value`` takes numbers or arrays; ``limits`` are the picture's ends (x, x, y, y) and
    ``levels`` its lowest and highest contour.
    """

    name: str
    formula: str
    value: Callable[[Any, Any], Any]
    gradient: Gradient
    start: Point
    minima: tuple[Point, ...]
    limits: tuple[float, float, float, float]
    levels: tuple[float, float]

    def inside(self, point: Point) -> bool:
        """Whether the point is in the picture."""
        left, right, bottom, top = self.limits
        return left <= point[0] <= right and bottom <= point[1] <= top


def _beale_gradient(x: float, y: float) -> Point:
    a, b, c = 1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3
    return (
        2 * (a * (y - 1) + b * (y**2 - 1) + c * (y**3 - 1)),
        2 * x * (a + 2 * b * y + 3 * c * y**2),
    )


def _plateau_gradient(x: float, y: float) -> Point:
    well = np.exp(-(x**2 + 2 * y**2) / 2)
    return x * well, 2 * y * well


SURFACES = {
    surface.name: surface
    for surface in (
        Surface(
            "bowl",
            "(x² + 25 y²) / 2",
            lambda x, y: (x**2 + 25 * y**2) / 2,
            lambda x, y: (x, 25 * y),
            start=(-4.0, 1.5), minima=((0.0, 0.0),), limits=(-4.8, 1.6, -2.4, 2.4),
            levels=(0.02, 80.0),
        ),
        Surface(
            "saddle",
            "(x² − 1)² / 4 + 5 y²",
            lambda x, y: (x**2 - 1) ** 2 / 4 + 5 * y**2,
            lambda x, y: (x * (x**2 - 1), 10 * y),
            # On the ridge x = 0 the gradient leads to the saddle at (0, 0), and nothing away.
            start=(0.01, 0.9), minima=((-1.0, 0.0), (1.0, 0.0)), limits=(-1.6, 1.6, -1.2, 1.2),
            levels=(0.005, 8.0),
        ),
        Surface(
            "plateau",
            "1 − exp(−(x² + 2 y²) / 2)",
            lambda x, y: 1 - np.exp(-(x**2 + 2 * y**2) / 2),
            _plateau_gradient,
            start=(-3.4, 1.8), minima=((0.0, 0.0),), limits=(-4.2, 2.2, -2.4, 2.4),
            levels=(0.01, 0.999),
        ),
        Surface(
            "rosenbrock",
            "(1 − x)² + 100 (y − x²)²",
            lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2,
            lambda x, y: (2 * (x - 1) - 400 * x * (y - x**2), 200 * (y - x**2)),
            start=(-1.2, 1.0), minima=((1.0, 1.0),), limits=(-2.0, 2.0, -0.8, 2.2),
            levels=(0.05, 2000.0),
        ),
        Surface(
            "beale",
            "(1.5 − x + x y)² + (2.25 − x + x y²)² + (2.625 − x + x y³)²",
            lambda x, y: (1.5 - x + x * y) ** 2
            + (2.25 - x + x * y**2) ** 2
            + (2.625 - x + x * y**3) ** 2,
            _beale_gradient,
            start=(1.0, 1.5), minima=((3.0, 0.5),), limits=(-0.6, 4.6, -1.7, 2.2),
            levels=(0.02, 500.0),
        ),
    )
}  # fmt: skip


def descend(optimizer: Optimizer, gradient: Gradient, start: Point, steps: int) -> Array:
    """The points after 0, 1, … steps, (steps + 1, 2) in float64; fewer if they aren't finite."""
    point = np.array(start, np.float64)
    state = optimizer.new_state(2, np.float64)
    path = [point.copy()]
    with np.errstate(all="ignore"):
        for step in range(1, steps + 1):
            optimizer.apply(point, np.array(gradient(*point)), state, step)
            if not np.isfinite(point).all():
                break
            path.append(point.copy())
    return np.array(path)


@dataclass(frozen=True)
class Run:
    """One optimizer on one surface.

    ``path`` (n + 1, 2) and ``values`` (n + 1,) are the points and f there, all finite;
    ``distance`` is the last point's from the nearest minimum. ``arrived`` is the number of the
    first step from which on the path stays within ``TOLERANCE`` of a minimum, else None.
    """

    optimizer: str
    surface: str
    rate: float
    path: Array
    values: Array
    arrived: int | None
    distance: float
    #: it ended early, as a number wasn't finite
    diverged: bool
    #: a point of it isn't in the picture
    left: bool


def run(
    optimizer: str,
    surface: Surface,
    rate: float | None = None,
    steps: int = STEPS,
    start: Point | None = None,
) -> Run:
    """Follow one optimizer, with the best rate of ``RATES`` if none is given.

    The best is the one that arrives first; where none arrives, the one that ends lowest. A path
    that diverges, or leaves the picture, comes after all that don't.
    """
    if rate is None:
        tried = [run(optimizer, surface, r, steps, start) for r in RATES]
        never = steps + 1
        return min(
            tried,
            key=lambda r: (
                r.diverged, r.left, never if r.arrived is None else r.arrived, r.values[-1]
            ),
        )  # fmt: skip
    path = descend(OPTIMIZERS[optimizer](rate), surface.gradient, start or surface.start, steps)
    with np.errstate(all="ignore"):
        values = surface.value(*path.T)
    finite = len(path) if np.isfinite(values).all() else int(np.argmin(np.isfinite(values)))
    path, values = path[:finite], values[:finite]
    distances = np.min([np.hypot(*(path - m).T) for m in surface.minima], axis=0)
    # Its last step outside, and the one after that.
    arrived = int(np.max(np.flatnonzero(distances > TOLERANCE), initial=-1)) + 1
    return Run(
        optimizer, surface.name, rate, path, values,
        arrived=arrived if arrived < len(path) else None,
        distance=float(distances[-1]),
        diverged=len(path) < steps + 1,
        left=not all(surface.inside((x, y)) for x, y in path),
    )  # fmt: skip


def paths(
    surfaces: Sequence[str] = tuple(SURFACES),
    names: Sequence[str] = DEFAULT,
    steps: int = STEPS,
    rate: float | None = None,
    start: Point | None = None,
) -> list[Run]:
    """Run every optimizer on every surface; the runs come by surface.

    ``rate`` and ``start`` are for all of them; by default ``run`` chooses the rate, and each
    surface has its start. Raises ``ValueError`` for an unknown name and for a start that isn't
    in the picture.
    """
    for name in surfaces:
        if name not in SURFACES:
            raise unknown("surface", name, SURFACES)
        if start is not None and not SURFACES[name].inside(start):
            left, right, bottom, top = SURFACES[name].limits
            raise ValueError(
                f"start: expected {left:g} <= x <= {right:g} and {bottom:g} <= y <= {top:g} on the "
                f"surface {name}, got {start[0]:g},{start[1]:g}"
            )
    for name in names:
        if name not in OPTIMIZERS:
            raise unknown("optimizer", name, OPTIMIZERS)
    return [run(name, SURFACES[s], rate, steps, start) for s in surfaces for name in names]


def draw(folder: Path, runs: Sequence[Run]) -> list[Path]:
    """Write the pictures into a folder that is there, and return their paths; needs matplotlib.

    ``….png`` and ``….gif`` for each surface, and with several of them ``overview.png``.
    """
    groups: dict[str, list[Run]] = {}
    for r in runs:
        groups.setdefault(r.surface, []).append(r)
    written = []
    for name, group in groups.items():
        title = f"{name}: {SURFACES[name].formula}"
        scene = _scene(title, group, [_label(r) for r in group])
        written += [folder / f"{name}.png", folder / f"{name}.gif"]
        plots.contours(written[-2], [scene])
        plots.path_movie(written[-1], scene)
    if len(groups) > 1:
        written.append(folder / "overview.png")
        # One legend serves all, so that it can't hold the rates.
        scenes = [_scene(name, g, [r.optimizer for r in g]) for name, g in groups.items()]
        plots.contours(written[-1], scenes)
    return written


def _label(r: Run) -> str:
    return f"{r.optimizer}, rate {r.rate:g}" + (", diverges" if r.diverged else "")


def _scene(title: str, group: Sequence[Run], labels: Sequence[str]) -> plots.Scene:
    surface = SURFACES[group[0].surface]
    return plots.Scene(
        title, surface.value, surface.limits, np.geomspace(*surface.levels, 14), surface.minima,
        dict(zip(labels, (r.path for r in group), strict=True)),
    )  # fmt: skip
