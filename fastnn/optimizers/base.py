"""What an optimizer is, and what all of them share."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from itertools import combinations
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from fastnn.backends import kernels
from fastnn.backends.reference.update import treated
from fastnn.errors import unknown
from fastnn.functional import check_bool, check_count, check_number
from fastnn.rules import BLOCK, RULES, STATES, Rule

Array = NDArray[Any]
#: A number, or a function of the number of updates made before: see ``fastnn.schedules``.
Rate = float | Callable[[int], float]


class Common(TypedDict, total=False):
    """What every optimizer takes beside its own arguments; by keyword.

    weight_decay: λ >= 0. Adds λ p to the gradient (L2), after clipping. Every parameter decays,
        biases too.
    decoupled_weight_decay: p ← (1 − α λ) p in its place. Loshchilov and Hutter (2019).
    clipvalue: gradients are cut to ±clipvalue.
    clipnorm: the gradient of each parameter is shortened to this norm.
    global_clipnorm: all gradients together are shortened to this norm. Pascanu and others (2013).
    gradient_accumulation_steps: the mean gradient of so many batches makes one update.
    state_dtype: ``"full"`` (the model's dtype), ``"bfloat16"`` or ``"8bit"``; see ``fastnn.rules``.
    seed: of the rounding of a narrow state.
    """

    weight_decay: float
    decoupled_weight_decay: bool
    clipvalue: float | None
    clipnorm: float | None
    global_clipnorm: float | None
    gradient_accumulation_steps: int
    state_dtype: str
    seed: int


class Optimizer:
    """Base of all optimizers.

    The rule is a kernel's, of the name ``name``, with ``numbers(step)`` for its numbers. Or it is
    written in Python: then a subclass has an ``update`` method, and names its arrays in
    ``state``. The optimizers share the keyword arguments of ``Common``.

    >>> import numpy as np
    >>> class SignDescent(Optimizer):
    ...     def update(self, param, grad, step):
    ...         param -= self.rate(step) * np.sign(grad)
    >>> SignDescent(0.1).in_python
    True
    """

    name = ""
    state: tuple[str, ...] = ()
    #: of all arrays, or a number for each
    initial_state: float | tuple[float, ...] = 0.0
    usual_weight_decay = 0.0
    usually_decoupled = False

    def __init__(self, learning_rate: Rate, **common: Unpack[Common]) -> None:
        self.learning_rate = learning_rate
        unknown_names = set(common) - set(Common.__annotations__)
        if unknown_names:
            own = inspect.signature(type(self)).parameters.values()
            valid = {p.name for p in own if p.kind is not p.VAR_KEYWORD} | set(
                Common.__annotations__
            )
            raise unknown(f"argument of {type(self).__name__}", min(unknown_names), valid)
        self.weight_decay = self._number(
            "weight_decay", common.get("weight_decay", self.usual_weight_decay)
        )
        self.decoupled_weight_decay = self._bool(
            "decoupled_weight_decay", common.get("decoupled_weight_decay", self.usually_decoupled)
        )
        self.clipvalue = self._limit("clipvalue", common.get("clipvalue"))
        self.clipnorm = self._limit("clipnorm", common.get("clipnorm"))
        self.global_clipnorm = self._limit("global_clipnorm", common.get("global_clipnorm"))
        if self.clipnorm and self.global_clipnorm:
            raise ValueError(f"{type(self).__name__}: give clipnorm or global_clipnorm, not both")
        self.gradient_accumulation_steps = self._integer(
            "gradient_accumulation_steps", common.get("gradient_accumulation_steps", 1), 1
        )
        self.seed = self._integer("seed", common.get("seed", 0), 0)
        self.state_dtype = common.get("state_dtype", "full")
        if not isinstance(self.state_dtype, str) or self.state_dtype not in STATES:
            raise unknown(f"state_dtype of {type(self).__name__}", self.state_dtype, STATES)
        if self.in_python and self.state_dtype != "full":
            raise ValueError(f"{type(self).__name__}: a rule in Python needs state_dtype='full'")

    @property
    def learning_rate(self) -> Rate:
        """The rate, a number >= 0, or a schedule. It may be assigned between steps."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Rate) -> None:
        schedule = callable(value) and not isinstance(value, type)
        self._learning_rate = value if schedule else self._number("learning_rate", value)

    def rate(self, step: int) -> float:
        """The rate of the update of that number, from 1."""
        schedule = self._learning_rate
        if not callable(schedule):
            return schedule
        name = getattr(schedule, "__name__", type(schedule).__name__)
        return self._number(f"learning_rate = {name}({step - 1})", schedule(step - 1))

    # --- the rule ---

    def numbers(self, step: int) -> dict[str, Any]:
        """The rule's own fields of ``fastnn.rules.Rule``, for the update of that number, from 1."""
        return {}

    def rule(self, step: int) -> Rule:
        """All that a kernel needs for the update of that number, from 1."""
        return Rule(
            self.name,
            self.rate(step),
            limit=self.clipvalue or math.inf,
            weight_decay=self.weight_decay,
            decoupled=self.decoupled_weight_decay,
            seed=(self.seed * 0x9E3779B1 + step * 0x85EBCA6B) % 2**32,
            **self.numbers(step),
        )

    def update(self, *arrays_and_step: Any) -> None:
        """``update(self, param, grad, *state, step)``: one step of the rule, in place.

        All arrays are 1-D, of one size and of the model's dtype: every parameter of the model at
        once, one after another. Write into ``param`` and the state (``param -= …``, not
        ``param = param - …``), not into ``grad``; ``step`` counts from 1, and ``self.rate(step)``
        is its rate. With ``state_shapes`` it is called for each parameter, in its shape. A model
        warns if the first update changes nothing though gradient and rate aren't zero.
        """
        raise NotImplementedError

    def state_shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...] | None:
        """Shapes of the state of a parameter; None: arrays as large as the parameter, flat."""
        return None

    @property
    def in_python(self) -> bool:
        """Whether the rule is an ``update`` method of a subclass."""
        return type(self).update is not Optimizer.update

    @property
    def needs_gradients(self) -> bool:
        """Whether an update has to see all gradients, so that none can be streamed."""
        return bool(
            self.in_python
            or self.clipnorm
            or self.global_clipnorm
            or self.gradient_accumulation_steps > 1
        )

    def new_state(
        self, size: int, dtype: Any, zeros: Callable[..., Array] = np.zeros
    ) -> tuple[Array, ...]:
        """The arrays of the rule for a parameter of that size, as they are before the first step.

        Scales follow 8-bit codes, one for each block of ``fastnn.rules.BLOCK`` elements.
        ``zeros(size, dtype)`` makes the arrays.
        """
        starts = self.initial_state
        if not isinstance(starts, tuple):
            starts = (starts,) * len(self.state)
        kind, scales = STATES[self.state_dtype], []
        fill: list[Any] = list(starts)
        if kind is np.uint16:
            fill = [int(np.float32(start).view(np.uint32)) >> 16 for start in starts]
        elif kind is np.uint8:
            zero = [128 if sign else 0 for sign in RULES[self.name].signed]
            fill = [255 if start else code for start, code in zip(starts, zero, strict=True)]
            scales = list(starts)
        arrays = []
        for value in fill:
            arrays.append(zeros(size, np.dtype(kind or dtype)))
            if value:
                arrays[-1][:] = value
        for value in scales:
            arrays.append(zeros(-(-size // BLOCK), np.dtype(np.float32)))
            arrays[-1][:] = value
        return tuple(arrays)

    def apply(self, param: Array, grad: Array, state: tuple[Array, ...], step: int) -> None:
        """One update by hand of flat arrays, in place, on the backend in force.

        param, grad (n,), float32 or float64; ``state`` from ``new_state(n, dtype)``; ``step``
        counts from 1. Clipping by a norm and accumulation belong to a model and aren't made.

        Raises ``ValueError`` for arrays that aren't so, changing nothing.
        """
        self._integer("step", step, 1)
        self._check_arrays(param, grad, state)
        rule = self.rule(step)
        if self.in_python:
            self.update(param, treated(param, grad, rule), *state, step)
        else:
            kernels(param.dtype).update(param, grad, state, rule)

    # --- checks ---

    def _check_arrays(self, param: Array, grad: Array, state: tuple[Array, ...]) -> None:
        """The kernels trust what they are given."""
        if param.ndim != 1 or param.dtype not in (np.float32, np.float64):
            where = f"{type(self).__name__}: param"
            raise ValueError(f"{where} must be 1-D, float32 or float64, got {_told(param)}")
        wanted = self.new_state(param.size, param.dtype, lambda n, dtype: np.empty(n, dtype))
        if len(state) != len(wanted):
            raise ValueError(
                f"{type(self).__name__}: state must have {len(wanted)} arrays, got {len(state)}"
            )
        names = ("param", "grad", *(f"state[{i}]" for i in range(len(state))))
        for name, a, b in zip(names, (param, grad, *state), (param, param, *wanted), strict=True):
            same = isinstance(a, np.ndarray) and (a.shape, a.dtype) == (b.shape, b.dtype)
            if not same or not a.flags.c_contiguous:
                raise ValueError(
                    f"{type(self).__name__}: {name} must be {_told(b)}, got {_told(a)}"
                )
        for (one, a), (other, b) in combinations(zip(names, (param, grad, *state), strict=True), 2):
            if np.may_share_memory(a, b):
                raise ValueError(f"{type(self).__name__}: {one} and {other} share memory")

    def _number(self, name: str, value: Any, low: float = 0, high: float = math.inf) -> float:
        return check_number(type(self).__name__, name, value, low, high)

    def _bool(self, name: str, value: Any) -> bool:
        return check_bool(type(self).__name__, name, value)

    def _limit(self, name: str, value: Any) -> float | None:
        if value is not None and self._number(name, value) == 0:
            raise ValueError(f"{type(self).__name__}: {name} must be > 0, got {value!r}")
        return None if value is None else float(value)

    def _integer(self, name: str, value: Any, least: int) -> int:
        check_count(f"{type(self).__name__}: {name}", value, least)
        return int(value)


def _told(array: Any) -> str:
    """``contiguous float32 (8,)``, or what else it is."""
    if not isinstance(array, np.ndarray):
        return type(array).__name__
    order = "contiguous" if array.flags.c_contiguous else "not contiguous"
    return f"{order} {array.dtype} {array.shape}"
