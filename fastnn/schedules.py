"""Learning rates that change with the updates: functions of how many were made before.

An optimizer takes one in place of its ``learning_rate``; any function from an integer to a number
>= 0 is one. What follows the validation loss is a callback, ``fastnn.callbacks.ReduceLROnPlateau``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fastnn.functional import check_bool, check_count, check_number


class Schedule:
    """Base: ``schedule(step)`` is the rate after ``step`` updates, from 0."""

    def __call__(self, step: int) -> float:
        raise NotImplementedError

    def _number(self, name: str, value: float, low: float = 0, high: float = math.inf) -> float:
        return check_number(type(self).__name__, name, value, low, high)

    def _steps(self, name: str, value: int, least: int) -> int:
        check_count(f"{type(self).__name__}: {name}", value, least)
        return int(value)


class ExponentialDecay(Schedule):
    """α · ``decay_rate`` ^ (step / ``decay_steps``); with ``staircase`` in steps, ⌊step / steps⌋.

    >>> ExponentialDecay(0.1, decay_steps=100, decay_rate=0.5, staircase=True)(250)
    0.025
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
    ) -> None:
        self.start = self._number("initial_learning_rate", initial_learning_rate)
        self.decay_steps = self._steps("decay_steps", decay_steps, 1)
        self.decay_rate = self._number("decay_rate", decay_rate)
        self.staircase = check_bool(type(self).__name__, "staircase", staircase)

    def __call__(self, step: int) -> float:
        part = self._steps("step", step, 0) / self.decay_steps
        return self.start * self.decay_rate ** (math.floor(part) if self.staircase else part)


class PiecewiseConstantDecay(Schedule):
    """``values[i]`` while step <= ``boundaries[i]``, ``values[-1]`` after the last boundary.

    >>> rate = PiecewiseConstantDecay([1000, 2000], [0.1, 0.01, 0.001])
    >>> rate(0), rate(1000), rate(1001)
    (0.1, 0.1, 0.01)
    """

    def __init__(self, boundaries: Sequence[int], values: Sequence[float]) -> None:
        self.boundaries = [self._steps("boundaries", b, 0) for b in boundaries]
        self.values = [self._number("values", v) for v in values]
        if sorted(set(self.boundaries)) != self.boundaries:
            raise ValueError(f"PiecewiseConstantDecay: boundaries must rise, got {boundaries!r}")
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                "PiecewiseConstantDecay: values must be one more than boundaries, got "
                f"{len(self.values)} and {len(self.boundaries)}"
            )

    def __call__(self, step: int) -> float:
        self._steps("step", step, 0)
        return self.values[sum(step > boundary for boundary in self.boundaries)]


class CosineDecay(Schedule):
    """Half a cosine from the rate to ``alpha`` times it, over ``decay_steps``; constant after them.

    Loshchilov and Hutter (2017), without restarts. With ``warmup_steps`` the rate first rises in a
    straight line from ``initial_learning_rate`` to ``warmup_target``, and falls from there.

    >>> rate = CosineDecay(0.0, decay_steps=100, warmup_target=0.1, warmup_steps=10)
    >>> rate(0), rate(5), rate(10), round(rate(60), 3), rate(110)
    (0.0, 0.05, 0.1, 0.05, 0.0)
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.start = self._number("initial_learning_rate", initial_learning_rate)
        self.decay_steps = self._steps("decay_steps", decay_steps, 1)
        self.alpha = self._number("alpha", alpha)
        self.warmup_steps = self._steps("warmup_steps", warmup_steps, 0)
        if (warmup_target is None) != (warmup_steps == 0):
            raise ValueError(
                "CosineDecay: warmup_target and warmup_steps belong together, got "
                f"{warmup_target!r} and {warmup_steps!r}"
            )
        self.top = (
            self.start if warmup_target is None else self._number("warmup_target", warmup_target)
        )

    def __call__(self, step: int) -> float:
        self._steps("step", step, 0)
        if step < self.warmup_steps:
            return self.start + (self.top - self.start) * step / self.warmup_steps
        part = min(1.0, (step - self.warmup_steps) / self.decay_steps)
        return self.top * (self.alpha + (1 - self.alpha) * (1 + math.cos(math.pi * part)) / 2)


class Warmup(Schedule):
    """``steps`` updates in a straight line up to ``then``, a rate or a schedule that begins there.

    The first update has ``then`` / steps.

    >>> rate = Warmup(5, then=0.1)
    >>> [round(rate(step), 2) for step in range(6)]
    [0.02, 0.04, 0.06, 0.08, 0.1, 0.1]
    """

    def __init__(self, steps: int, then: float | Schedule) -> None:
        self.steps = self._steps("steps", steps, 1)
        self.then = then if callable(then) else self._number("then", then)

    def __call__(self, step: int) -> float:
        self._steps("step", step, 0)
        then = self.then
        top = self._number("then", then(max(0, step - self.steps))) if callable(then) else then
        return top * min(1.0, (step + 1) / self.steps)
