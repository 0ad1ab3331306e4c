"""The optimizers whose rule is a kernel on every backend.

As formulas the rules are in the kernels' reference, ``fastnn.backends.reference.update``.
"""

from __future__ import annotations

from typing import Any, Unpack

from fastnn.optimizers.base import Common, Optimizer, Rate
from fastnn.rules import RULES


class SGD(Optimizer):
    """p ← p − α g; with ``momentum`` v ← μ v + α g, p ← p − v; or Nesterov's form of it.

    ``rate_in_velocity=False`` keeps the rate out of the velocity, as PyTorch does. State: none,
    or ``velocity``. On the whole set as one batch it is gradient descent.

    >>> SGD(0.1, momentum=0.9).state
    ('velocity',)
    """

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        rate_in_velocity: bool = True,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(learning_rate, **common)
        self.momentum = self._number("momentum", momentum, 0, 1)
        self.nesterov = self._bool("nesterov", nesterov)
        self.rate_in_velocity = self._bool("rate_in_velocity", rate_in_velocity)
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov needs a momentum > 0, got 0")
        self.name = "momentum" if momentum else "sgd"
        self.state = RULES[self.name].state

    def numbers(self, step: int) -> dict[str, Any]:
        return {
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "rate_in_velocity": self.rate_in_velocity,
        }


class Adagrad(Optimizer):
    """a ← a + g², p ← p − α g / √(a + ε). Duchi, Hazan and Singer (2011).

    TensorFlow and Keras start with ``initial_accumulator_value=0.1``; PyTorch has ε outside the
    root. State: ``accumulator``.
    """

    name = "adagrad"
    state = RULES["adagrad"].state

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        initial_accumulator_value: float = 0.0,
        epsilon: float = 1e-8,
        epsilon_inside_root: bool = True,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(learning_rate, **common)
        self.initial_state = self._number("initial_accumulator_value", initial_accumulator_value)
        self.epsilon = self._number("epsilon", epsilon)
        self.epsilon_inside_root = self._bool("epsilon_inside_root", epsilon_inside_root)

    def numbers(self, step: int) -> dict[str, Any]:
        return {"epsilon": self.epsilon, "epsilon_inside_root": self.epsilon_inside_root}


class Adadelta(Optimizer):
    """s ← ρ s + (1−ρ) g², Δ = √(d + ε) / √(s + ε) · g, d ← ρ d + (1−ρ) Δ², p ← p − α Δ.

    Zeiler (2012), where α = 1; Keras has α = 0.001 and ε = 1e-7, PyTorch ε = 1e-6. State:
    ``mean_square`` and ``mean_square_step``.
    """

    name = "adadelta"
    state = RULES["adadelta"].state

    def __init__(
        self,
        learning_rate: Rate = 1.0,
        rho: float = 0.95,
        epsilon: float = 1e-8,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(learning_rate, **common)
        self.rho = self._number("rho", rho, 0, 1)
        self.epsilon = self._number("epsilon", epsilon)

    def numbers(self, step: int) -> dict[str, Any]:
        return {"rho": self.rho, "epsilon": self.epsilon}


class RMSprop(Optimizer):
    """s ← ρ s + (1−ρ) g², p ← p − α g / √(s + ε). Tieleman and Hinton (2012).

    PyTorch has ε outside the root. State: ``mean_square``.
    """

    name = "rmsprop"
    state = RULES["rmsprop"].state

    def __init__(
        self,
        learning_rate: Rate = 1e-3,
        rho: float = 0.9,
        epsilon: float = 1e-8,
        epsilon_inside_root: bool = True,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(learning_rate, **common)
        self.rho = self._number("rho", rho, 0, 1)
        self.epsilon = self._number("epsilon", epsilon)
        self.epsilon_inside_root = self._bool("epsilon_inside_root", epsilon_inside_root)

    def numbers(self, step: int) -> dict[str, Any]:
        return {
            "rho": self.rho,
            "epsilon": self.epsilon,
            "epsilon_inside_root": self.epsilon_inside_root,
        }


class Adam(Optimizer):
    """Adam, Algorithm 1 of Kingma and Ba (2015), ε outside the root.

    ``epsilon_inside_root`` puts it inside; ``bias_correction=False`` takes m and v as they are;
    ``epsilon_hat=True`` is the form of the paper's section 2 and of Keras (there with 1e-7):
    p ← p − α √(1−β₂ᵗ) / (1−β₁ᵗ) · m / (√v + ε̂). State: ``m`` and ``v``, so that a model takes
    three times the memory of its parameters.

    >>> Adam(1e-4).rule(step=1).correction_1
    10.000000000000002
    """

    name = "adam"
    state = RULES["adam"].state

    def __init__(
        self,
        learning_rate: Rate = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        epsilon_inside_root: bool = False,
        bias_correction: bool = True,
        epsilon_hat: bool = False,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(learning_rate, **common)
        self.beta_1 = self._number("beta_1", beta_1, 0, 1)
        self.beta_2 = self._number("beta_2", beta_2, 0, 1)
        self.epsilon = self._number("epsilon", epsilon)
        self.epsilon_inside_root = self._bool("epsilon_inside_root", epsilon_inside_root)
        self.bias_correction = self._bool("bias_correction", bias_correction)
        self.epsilon_hat = self._bool("epsilon_hat", epsilon_hat)
        if epsilon_hat and (epsilon_inside_root or not bias_correction):
            raise ValueError(
                f"{type(self).__name__}: epsilon_hat needs bias_correction and epsilon outside "
                "the root"
            )

    def numbers(self, step: int) -> dict[str, Any]:
        # √v̂ + ε = (√v + ε √(1−β₂ᵗ)) / √(1−β₂ᵗ), so ε̂ is an ε that shrinks with the step.
        scale = (1 - self.beta_2**step) ** -0.5 if self.epsilon_hat else 1.0
        return {
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "correction_1": 1 / (1 - self.beta_1**step) if self.bias_correction else 1.0,
            "correction_2": 1 / (1 - self.beta_2**step) if self.bias_correction else 1.0,
            "epsilon": self.epsilon * scale,
            "epsilon_inside_root": self.epsilon_inside_root,
        }


class AdamW(Adam):
    """Adam with decoupled weight decay: p ← (1 − α λ) p before its step.

    Loshchilov and Hutter (2019), in the form of PyTorch and Keras, where the rate is a factor of
    the decay. State: ``m`` and ``v``.

    >>> AdamW(1e-3).weight_decay
    0.01
    """

    usual_weight_decay = 0.01
    usually_decoupled = True


class Lion(Optimizer):
    """p ← p − α sign(β₁ m + (1−β₁) g), m ← β₂ m + (1−β₂) g. Chen and others (2023).

    Every step has the size α, so rates are 3 to 10 times smaller than Adam's, and weight decays
    as much larger; a decay is decoupled unless told otherwise. State: ``m``.
    """

    name = "lion"
    state = RULES["lion"].state
    usually_decoupled = True

    def __init__(
        self,
        learning_rate: Rate = 1e-4,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(learning_rate, **common)
        self.beta_1 = self._number("beta_1", beta_1, 0, 1)
        self.beta_2 = self._number("beta_2", beta_2, 0, 1)

    def numbers(self, step: int) -> dict[str, Any]:
        return {"beta_1": self.beta_1, "beta_2": self.beta_2}
