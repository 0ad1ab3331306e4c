"""One step of an optimizer, as the kernels take it: a rule with its numbers, and its state.

A rule keeps up to two arrays beside the parameter. They may be kept in fewer bits (``STATES``):
a kernel widens a piece that fits in the first-level cache, applies the rule, and narrows it again.

*bfloat16*: the upper half of a float32, 8 bits of precision. *8bit*: an integer for each element
and a scale for each ``BLOCK`` of them, the largest size in the block. The code is dynamic, finer
towards 0: with c from −127 to 127 a signed number is scale · c |c| / 127², with c from 0 to 255
one that is never negative is scale · c⁴ / 255⁴. So a moment may be 16,000 times smaller than the
largest of its block, a mean square 4 · 10⁹ times.

Both round at random, up with the probability that makes the expectation exact: a mean that
forgets a thousandth a step would otherwise stand still, for each change is less than half a unit.
The random bits are a hash of a seed and of the element's place, so that they depend neither on
threads nor on how the arrays are cut. A mean square that isn't 0 never becomes 0, which it is
divided by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Elements that share a scale; parameters begin at multiples of it.
BLOCK = 64

#: Names of the forms of the state, with the type of its arrays; that of the parameter for None.
STATES: dict[str, type[np.unsignedinteger[Any]] | None] = {
    "full": None,
    "bfloat16": np.uint16,
    "8bit": np.uint8,
}


class Rule(NamedTuple):
    """One step: the rule's name and numbers, and what is done with the gradient before.

    First g ← clip(``scale`` g, ±``limit``); then with weight decay λ g ← g + λ p, or, if
    ``decoupled``, p ← (1 − α λ) p. ``correction_1`` and ``_2`` are Adam's 1 / (1 − βᵗ).
    ``seed`` and ``place``, the place of the first element in the model, give the random bits.
    """

    name: str
    learning_rate: float
    momentum: float = 0.0
    rho: float = 0.0
    beta_1: float = 0.0
    beta_2: float = 0.0
    correction_1: float = 1.0
    correction_2: float = 1.0
    epsilon: float = 0.0
    epsilon_inside_root: bool = False
    nesterov: bool = False
    rate_in_velocity: bool = True
    scale: float = 1.0
    limit: float = math.inf
    weight_decay: float = 0.0
    decoupled: bool = False
    seed: int = 0
    place: int = 0

    @property
    def treats(self) -> bool:
        """Whether anything happens before the rule itself."""
        return self.scale != 1 or self.limit < math.inf or self.weight_decay != 0


class Form(NamedTuple):
    """What a rule keeps: names of its arrays, which of them have signs, flops an element."""

    state: tuple[str, ...]
    signed: tuple[bool, ...]
    flops: int


RULES: dict[str, Form] = {
    "sgd": Form((), (), 2),
    "momentum": Form(("velocity",), (True,), 4),
    "adagrad": Form(("accumulator",), (False,), 7),
    "adadelta": Form(("mean_square", "mean_square_step"), (False, False), 14),
    "rmsprop": Form(("mean_square",), (False,), 9),
    "adam": Form(("m", "v"), (True, False), 14),
    "lion": Form(("m",), (True,), 9),
}


def rows_together(columns: int, state: Sequence[Array]) -> int:
    """A matrix may be cut after each so many rows of ``columns`` elements."""
    coded = bool(state) and state[0].dtype == np.uint8
    return BLOCK // math.gcd(columns, BLOCK) if coded else 1


def part(state: Sequence[Array], start: int, stop: int) -> tuple[Array, ...]:
    """The state of the elements from ``start``, a multiple of ``BLOCK``, to ``stop``."""
    if not state or state[0].dtype != np.uint8:
        return tuple(a[start:stop] for a in state)
    n = len(state) // 2
    codes = (a[start:stop] for a in state[:n])
    return *codes, *(a[start // BLOCK : -(-stop // BLOCK)] for a in state[n:])
