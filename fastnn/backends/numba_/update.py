"""Optimizer updates, in place, elementwise over 1-D arrays. p parameter, g gradient.

Why it is fast: NumPy writes one rule as half a dozen passes over memory, with temporaries as
big as the parameters; here it is one pass that reads and writes each array once. Scalars are
rounded to the dtype of the arrays first, or every element would be computed in double. The
operations and their order are those of the reference, without fused multiply-adds, and so
are the bits.
"""

import math

from numba import prange

from fastnn.backends.numba_ import elementwise, kernel, parallel_kernel, plain


def sgd_update(param, grad, learning_rate):
    real = param.dtype.type
    elementwise(_sgd, _sgd_parallel, 0.2, param, plain(grad), real(learning_rate))


def momentum_update(param, grad, velocity, learning_rate, momentum, nesterov, rate_in_velocity):
    real = param.dtype.type
    elementwise(
        _momentum, _momentum_parallel, 0.35, param, plain(grad), velocity,
        real(learning_rate), real(momentum), bool(nesterov), bool(rate_in_velocity),
    )  # fmt: skip


def adagrad_update(param, grad, accumulator, learning_rate, epsilon, epsilon_inside_root):
    real = param.dtype.type
    elementwise(
        _adagrad, _adagrad_parallel, 0.6, param, plain(grad), accumulator,
        real(learning_rate), real(epsilon), bool(epsilon_inside_root),
    )  # fmt: skip


def rmsprop_update(param, grad, mean_square, learning_rate, rho, epsilon, epsilon_inside_root):
    real = param.dtype.type
    elementwise(
        _rmsprop, _rmsprop_parallel, 0.6, param, plain(grad), mean_square,
        real(learning_rate), real(rho), real(1 - rho), real(epsilon), bool(epsilon_inside_root),
    )  # fmt: skip


def adam_update(
    param, grad, m, v, step, learning_rate, beta_1, beta_2, epsilon, epsilon_inside_root,
    bias_correction,
):  # fmt: skip
    real = param.dtype.type
    # A product with one changes no bit, so that the kernel needs no second form.
    correct_1 = 1 / (1 - beta_1**step) if bias_correction else 1
    correct_2 = 1 / (1 - beta_2**step) if bias_correction else 1
    elementwise(
        _adam, _adam_parallel, 1.2, param, plain(grad), m, v, real(learning_rate),
        real(beta_1), real(1 - beta_1), real(beta_2), real(1 - beta_2),
        real(correct_1), real(correct_2), real(epsilon), bool(epsilon_inside_root),
    )  # fmt: skip


@kernel
def _sgd(param, grad, rate, start, stop):
    """p ← p − α g."""
    p, g = param[start:stop], grad[start:stop]
    for i in range(p.size):
        p[i] -= rate * g[i]


@parallel_kernel
def _sgd_parallel(param, grad, rate, chunk):
    for i in prange(-(-param.size // chunk)):
        _sgd(param, grad, rate, i * chunk, (i + 1) * chunk)


@kernel
def _momentum(param, grad, velocity, rate, mu, nesterov, rate_in_velocity, start, stop):
    """v ← μ v + α g, p ← p − v; or v ← μ v + g, p ← p − α v. Nesterov: μ v + … in place of v."""
    p, g, v = param[start:stop], grad[start:stop], velocity[start:stop]
    one = p.dtype.type(1)
    # The two forms differ in where the rate stands; times one changes no bit.
    inner, outer = (rate, one) if rate_in_velocity else (one, rate)
    for i in range(p.size):
        pull = inner * g[i]
        v[i] = v[i] * mu + pull
        p[i] -= outer * (mu * v[i] + pull if nesterov else v[i])


@parallel_kernel
def _momentum_parallel(param, grad, velocity, rate, mu, nesterov, rate_in_velocity, chunk):
    for i in prange(-(-param.size // chunk)):
        _momentum(
            param, grad, velocity, rate, mu, nesterov, rate_in_velocity, i * chunk, (i + 1) * chunk
        )


@kernel
def _adagrad(param, grad, accumulator, rate, epsilon, inside, start, stop):
    """a ← a + g², p ← p − α g / √(a + ε), or … / (√a + ε)."""
    p, g, a = param[start:stop], grad[start:stop], accumulator[start:stop]
    for i in range(p.size):
        a[i] += g[i] * g[i]
        p[i] -= rate * g[i] / _root(a[i], epsilon, inside)


@parallel_kernel
def _adagrad_parallel(param, grad, accumulator, rate, epsilon, inside, chunk):
    for i in prange(-(-param.size // chunk)):
        _adagrad(param, grad, accumulator, rate, epsilon, inside, i * chunk, (i + 1) * chunk)


@kernel
def _rmsprop(param, grad, mean_square, rate, rho, one_minus_rho, epsilon, inside, start, stop):
    """s ← ρ s + (1−ρ) g², p ← p − α g / √(s + ε), or … / (√s + ε)."""
    p, g, s = param[start:stop], grad[start:stop], mean_square[start:stop]
    for i in range(p.size):
        s[i] = s[i] * rho + one_minus_rho * (g[i] * g[i])
        p[i] -= rate * g[i] / _root(s[i], epsilon, inside)


@parallel_kernel
def _rmsprop_parallel(param, grad, mean_square, rate, rho, one_minus_rho, epsilon, inside, chunk):
    for i in prange(-(-param.size // chunk)):
        _rmsprop(
            param, grad, mean_square, rate, rho, one_minus_rho, epsilon, inside,
            i * chunk, (i + 1) * chunk,
        )  # fmt: skip


@kernel
def _adam(
    param, grad, m, v, rate, beta_1, one_minus_1, beta_2, one_minus_2, correct_1, correct_2,
    epsilon, inside, start, stop,
):  # fmt: skip
    """m ← β₁ m + (1−β₁) g, v ← β₂ v + (1−β₂) g², m̂ = m c₁, v̂ = v c₂,
    p ← p − α m̂ / (√v̂ + ε), or α m̂ / √(v̂ + ε). cᵢ = 1 / (1 − βᵢᵗ), or 1 without bias correction.
    """
    p, g, m, v = param[start:stop], grad[start:stop], m[start:stop], v[start:stop]
    for i in range(p.size):
        m[i] = m[i] * beta_1 + one_minus_1 * g[i]
        v[i] = v[i] * beta_2 + one_minus_2 * (g[i] * g[i])
        p[i] -= rate * (m[i] * correct_1) / _root(v[i] * correct_2, epsilon, inside)


@parallel_kernel
def _adam_parallel(
    param, grad, m, v, rate, beta_1, one_minus_1, beta_2, one_minus_2, correct_1, correct_2,
    epsilon, inside, chunk,
):  # fmt: skip
    for i in prange(-(-param.size // chunk)):
        _adam(
            param, grad, m, v, rate, beta_1, one_minus_1, beta_2, one_minus_2, correct_1,
            correct_2, epsilon, inside, i * chunk, (i + 1) * chunk,
        )  # fmt: skip


@kernel
def _root(square, epsilon, inside):
    """√(square + ε) or √square + ε."""
    return math.sqrt(square + epsilon) if inside else math.sqrt(square) + epsilon
