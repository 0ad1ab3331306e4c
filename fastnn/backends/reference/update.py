"""Optimizer updates, in place. p parameter, g gradient; all arrays 1-D and of one size.

Each is one scalar rule applied to every element. The fast backends do the same operations
in the same order, without contraction, and so agree to the bit.
"""

import numpy as np


def sgd_update(param, grad, learning_rate):
    """p ← p − α g."""
    param -= learning_rate * grad


def momentum_update(param, grad, velocity, learning_rate, momentum, nesterov, rate_in_velocity):
    """v ← μ v + α g, p ← p − v; with Nesterov p ← p − (μ v + α g).

    Without ``rate_in_velocity`` the rate stays outside: v ← μ v + g, p ← p − α v (Nesterov:
    p ← p − α (μ v + g)). The two differ only when the rate changes.
    """
    velocity *= momentum
    if rate_in_velocity:
        velocity += learning_rate * grad
        param -= momentum * velocity + learning_rate * grad if nesterov else velocity
    else:
        velocity += grad
        param -= learning_rate * (momentum * velocity + grad if nesterov else velocity)


def adagrad_update(param, grad, accumulator, learning_rate, epsilon, epsilon_inside_root):
    """a ← a + g², p ← p − α g / √(a + ε); outside the root: p ← p − α g / (√a + ε)."""
    accumulator += grad * grad
    param -= learning_rate * grad / _root(accumulator, epsilon, epsilon_inside_root)


def rmsprop_update(param, grad, mean_square, learning_rate, rho, epsilon, epsilon_inside_root):
    """s ← ρ s + (1−ρ) g², p ← p − α g / √(s + ε); outside the root: p ← p − α g / (√s + ε)."""
    mean_square *= rho
    mean_square += (1 - rho) * (grad * grad)
    param -= learning_rate * grad / _root(mean_square, epsilon, epsilon_inside_root)


def adam_update(
    param, grad, m, v, step, learning_rate, beta_1, beta_2, epsilon, epsilon_inside_root,
    bias_correction,
):  # fmt: skip
    """Adam, Algorithm 1 of Kingma and Ba (2015); step counts from 1.

    m ← β₁ m + (1−β₁) g, v ← β₂ v + (1−β₂) g²,
    m̂ = m / (1−β₁ᵗ), v̂ = v / (1−β₂ᵗ) (m̂ = m, v̂ = v without bias correction),
    p ← p − α m̂ / (√v̂ + ε), or α m̂ / √(v̂ + ε) with ε inside the root.
    """
    m *= beta_1
    m += (1 - beta_1) * grad
    v *= beta_2
    v += (1 - beta_2) * (grad * grad)
    # A factor instead of a divisor: one division a step, not two an element.
    m_hat = m * (1 / (1 - beta_1**step) if bias_correction else 1.0)
    v_hat = v * (1 / (1 - beta_2**step) if bias_correction else 1.0)
    param -= learning_rate * m_hat / _root(v_hat, epsilon, epsilon_inside_root)


def _root(square, epsilon, epsilon_inside_root):
    return np.sqrt(square + epsilon) if epsilon_inside_root else np.sqrt(square) + epsilon
