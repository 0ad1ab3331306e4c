"""Optimizers: the hyper-parameters of one update rule, and which kernel carries it out.

A rule may also be written in Python: a subclass of ``Optimizer`` with an ``update`` method.
An optimizer holds no arrays, so one instance can serve several models; the state lives beside
the weights. Rules and both conventions, where the field has two, are in the kernels' reference,
``fastnn.backends.reference.update``. The rate may be changed between steps by assigning
``learning_rate``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from fastnn.errors import unknown
from fastnn.functional import check_number


class Optimizer:
    """Base of all optimizers.

    ``state`` names the arrays that the rule keeps for each parameter, in the order in which it
    takes them; ``initial_state`` fills them. The rule is a kernel, of name ``op`` and with
    ``scalars(step)`` for its remaining arguments, or it is written in Python: then a subclass
    has an ``update`` method instead, and all gradients are stored, never streamed.

    >>> import numpy as np
    >>> class SignDescent(Optimizer):
    ...     def update(self, param, grad, step):
    ...         param -= self.learning_rate * np.sign(grad)
    >>> SignDescent(0.1).in_python
    True
    """

    op = ""
    state: tuple[str, ...] = ()
    initial_state = 0.0

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate

    @property
    def learning_rate(self) -> float:
        """The rate, a number >= 0."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = check_number(type(self).__name__, "learning_rate", value, 0)

    def scalars(self, step: int) -> tuple[Any, ...]:
        """What follows the arrays, for the step of that number (from 1): the step, if in Python."""
        return (step,)

    def update(self, *arrays_and_step: Any) -> None:
        """``update(self, param, grad, *state, step)``: one step of the rule, in place.

        All arrays are 1-D, of one size and of the model's dtype: every parameter of the model at
        once, one after another. Write into ``param`` and the state (``param -= …``, not
        ``param = param - …``), not into ``grad``; ``step`` counts from 1.
        """
        raise NotImplementedError

    @property
    def in_python(self) -> bool:
        """Whether the rule is an ``update`` method of a subclass."""
        return type(self).update is not Optimizer.update

    def rule(self, kernels: SimpleNamespace) -> Callable[..., None]:
        """The function to call with (param, grad, *state, *scalars)."""
        return self.update if self.in_python else getattr(kernels, self.op)

    def _number(self, name: str, value: float, low: float = 0, high: float = float("inf")) -> float:
        return check_number(type(self).__name__, name, value, low, high)


class SGD(Optimizer):
    """p ← p − α g; with ``momentum`` v ← μ v + α g, p ← p − v; or Nesterov's form of it.

    ``rate_in_velocity=False`` keeps the rate out of the velocity, as PyTorch does. State: none,
    or ``velocity``.

    >>> SGD(0.1, momentum=0.9).state
    ('velocity',)
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        rate_in_velocity: bool = True,
    ) -> None:
        super().__init__(learning_rate)
        self.momentum = self._number("momentum", momentum, 0, 1)
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov needs a momentum > 0, got 0")
        self.nesterov, self.rate_in_velocity = bool(nesterov), bool(rate_in_velocity)
        self.op = "momentum_update" if momentum else "sgd_update"
        self.state = ("velocity",) if momentum else ()

    def scalars(self, step: int) -> tuple[Any, ...]:
        if not self.momentum:
            return (self.learning_rate,)
        return self.learning_rate, self.momentum, self.nesterov, self.rate_in_velocity


class Adagrad(Optimizer):
    """a ← a + g², p ← p − α g / √(a + ε). Duchi, Hazan and Singer (2011).

    TensorFlow and Keras start with ``initial_accumulator_value=0.1``; PyTorch has ε outside the
    root. State: ``accumulator``.
    """

    op = "adagrad_update"
    state = ("accumulator",)

    def __init__(
        self,
        learning_rate: float = 0.01,
        initial_accumulator_value: float = 0.0,
        epsilon: float = 1e-8,
        epsilon_inside_root: bool = True,
    ) -> None:
        super().__init__(learning_rate)
        self.initial_state = self._number("initial_accumulator_value", initial_accumulator_value)
        self.epsilon = self._number("epsilon", epsilon)
        self.epsilon_inside_root = bool(epsilon_inside_root)

    def scalars(self, step: int) -> tuple[Any, ...]:
        return self.learning_rate, self.epsilon, self.epsilon_inside_root


class RMSprop(Optimizer):
    """s ← ρ s + (1−ρ) g², p ← p − α g / √(s + ε). Tieleman and Hinton (2012).

    PyTorch has ε outside the root. State: ``mean_square``.
    """

    op = "rmsprop_update"
    state = ("mean_square",)

    def __init__(
        self,
        learning_rate: float = 1e-3,
        rho: float = 0.9,
        epsilon: float = 1e-8,
        epsilon_inside_root: bool = True,
    ) -> None:
        super().__init__(learning_rate)
        self.rho = self._number("rho", rho, 0, 1)
        self.epsilon = self._number("epsilon", epsilon)
        self.epsilon_inside_root = bool(epsilon_inside_root)

    def scalars(self, step: int) -> tuple[Any, ...]:
        return self.learning_rate, self.rho, self.epsilon, self.epsilon_inside_root


class Adam(Optimizer):
    """Adam, Algorithm 1 of Kingma and Ba (2015), ε outside the root.

    ``epsilon_inside_root`` puts it inside; ``bias_correction=False`` is the slow start;
    ``epsilon_hat=True`` is the form of the paper's section 2 and of Keras (there with 1e-7):
    p ← p − α √(1−β₂ᵗ) / (1−β₁ᵗ) · m / (√v + ε̂). State: ``m`` and ``v``, so that a model takes
    three times the memory of its parameters.

    >>> Adam(1e-4).scalars(step=1)
    (1, 0.0001, 0.9, 0.999, 1e-08, False, True)
    """

    op = "adam_update"
    state = ("m", "v")

    def __init__(
        self,
        learning_rate: float = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        epsilon_inside_root: bool = False,
        bias_correction: bool = True,
        epsilon_hat: bool = False,
    ) -> None:
        super().__init__(learning_rate)
        self.beta_1 = self._number("beta_1", beta_1, 0, 1)
        self.beta_2 = self._number("beta_2", beta_2, 0, 1)
        self.epsilon = self._number("epsilon", epsilon)
        self.epsilon_inside_root = bool(epsilon_inside_root)
        self.bias_correction = bool(bias_correction)
        if epsilon_hat and (epsilon_inside_root or not bias_correction):
            raise ValueError("Adam: epsilon_hat needs bias_correction and epsilon outside the root")
        self.epsilon_hat = bool(epsilon_hat)

    def scalars(self, step: int) -> tuple[Any, ...]:
        # √v̂ + ε = (√v + ε √(1−β₂ᵗ)) / √(1−β₂ᵗ), so ε̂ is an ε that shrinks with the step.
        scale = (1 - self.beta_2**step) ** -0.5 if self.epsilon_hat else 1.0
        return (
            step, self.learning_rate, self.beta_1, self.beta_2, self.epsilon * scale,
            self.epsilon_inside_root, self.bias_correction,
        )  # fmt: skip


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD,
    "momentum": lambda learning_rate=0.01: SGD(learning_rate, momentum=0.9),
    "nesterov": lambda learning_rate=0.01: SGD(learning_rate, momentum=0.9, nesterov=True),
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
    "adam": Adam,
}


def get(optimizer: str | Optimizer, learning_rate: float | None = None) -> Optimizer:
    """An optimizer by name (with its default rate, or ``learning_rate``) or an instance."""
    if isinstance(optimizer, Optimizer):
        name = type(optimizer).__name__
        if not optimizer.op and not optimizer.in_python:
            raise TypeError(f"optimizer: {name} has no rule: write an update method")
        if not isinstance(optimizer.state, tuple):
            raise TypeError(
                f"optimizer: {name}.state must be a tuple of names, got {optimizer.state!r}"
            )
        return optimizer
    if isinstance(optimizer, type):
        raise TypeError(f"optimizer: expected an instance, {optimizer.__name__}(…), got the class")
    name = str(optimizer).lower()
    if name not in OPTIMIZERS:
        raise unknown("optimizer", optimizer, OPTIMIZERS)
    return OPTIMIZERS[name]() if learning_rate is None else OPTIMIZERS[name](learning_rate)
