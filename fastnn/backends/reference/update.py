"""Optimizer updates, in place. p parameter, g gradient; all arrays 1-D and of one size.

Each is one scalar rule applied to every element. The fast backends do the same operations
in the same order, without contraction, and so agree to the bit.
"""

from collections.abc import Callable

import numpy as np

from fastnn.rules import BLOCK, RULES


def update(param, grad, state, rule):
    """param ← param − what ``rule`` makes of grad and state; the state goes on.

    param, grad (n,); ``rule`` a ``fastnn.rules.Rule``. ``state`` is a tuple with the rule's arrays
    (n,), of param's dtype or bfloat16 (as uint16); or with 8-bit codes (n,), followed by as many
    arrays of scales (⌈n / BLOCK⌉,), float32.
    """
    grad = treated(param, grad, rule)
    wide = state if state and state[0].dtype == param.dtype else _widened(state, param.dtype, rule)
    FUNCTIONS[rule.name](param, grad, *wide, rule)
    if wide is not state:
        _narrow(wide, state, rule)


def treated(p, g, rule):
    """g ← clip(s g, ±limit), then + λ p; or p ← (1 − α λ) p if the decay is decoupled."""
    if rule.scale != 1:
        g = rule.scale * g
    if rule.limit < np.inf:
        g = np.clip(g, -rule.limit, rule.limit)
    if rule.weight_decay and not rule.decoupled:
        g = g + rule.weight_decay * p
    elif rule.weight_decay:
        p *= 1 - rule.learning_rate * rule.weight_decay
    return g


def _sgd(p, g, rule):
    """p ← p − α g."""
    p -= rule.learning_rate * g


def _momentum(p, g, velocity, rule):
    """v ← μ v + α g, p ← p − v; with Nesterov p ← p − (μ v + α g).

    Without ``rate_in_velocity`` the rate stays outside: v ← μ v + g, p ← p − α v (Nesterov:
    p ← p − α (μ v + g)). The two differ only when the rate changes.
    """
    velocity *= rule.momentum
    if rule.rate_in_velocity:
        pull = rule.learning_rate * g
        velocity += pull
        p -= rule.momentum * velocity + pull if rule.nesterov else velocity
    else:
        velocity += g
        p -= rule.learning_rate * (rule.momentum * velocity + g if rule.nesterov else velocity)


def _adagrad(p, g, accumulator, rule):
    """a ← a + g², p ← p − α g / √(a + ε); outside the root: p ← p − α g / (√a + ε)."""
    accumulator += g * g
    p -= rule.learning_rate * g / _root(accumulator, rule)


def _adadelta(p, g, mean_square, mean_square_step, rule):
    """s ← ρ s + (1−ρ) g², Δ = √(d + ε) / √(s + ε) · g, d ← ρ d + (1−ρ) Δ², p ← p − α Δ."""
    mean_square *= rule.rho
    mean_square += (1 - rule.rho) * (g * g)
    step = np.sqrt(mean_square_step + rule.epsilon) / np.sqrt(mean_square + rule.epsilon) * g
    mean_square_step *= rule.rho
    mean_square_step += (1 - rule.rho) * (step * step)
    p -= rule.learning_rate * step


def _rmsprop(p, g, mean_square, rule):
    """s ← ρ s + (1−ρ) g², p ← p − α g / √(s + ε); outside the root: p ← p − α g / (√s + ε)."""
    mean_square *= rule.rho
    mean_square += (1 - rule.rho) * (g * g)
    p -= rule.learning_rate * g / _root(mean_square, rule)


def _adam(p, g, m, v, rule):
    """Adam, Algorithm 1 of Kingma and Ba (2015).

    m ← β₁ m + (1−β₁) g, v ← β₂ v + (1−β₂) g²,
    m̂ = m / (1−β₁ᵗ), v̂ = v / (1−β₂ᵗ) (m̂ = m, v̂ = v without bias correction),
    p ← p − α m̂ / (√v̂ + ε), or α m̂ / √(v̂ + ε) with ε inside the root.
    """
    m *= rule.beta_1
    m += (1 - rule.beta_1) * g
    v *= rule.beta_2
    v += (1 - rule.beta_2) * (g * g)
    # A factor instead of a divisor: one division a step, not two an element.
    m_hat, v_hat = m * rule.correction_1, v * rule.correction_2
    p -= rule.learning_rate * m_hat / _root(v_hat, rule)


def _lion(p, g, m, rule):
    """p ← p − α sign(β₁ m + (1−β₁) g), m ← β₂ m + (1−β₂) g. Chen and others (2023)."""
    p -= rule.learning_rate * np.sign(rule.beta_1 * m + (1 - rule.beta_1) * g)
    m *= rule.beta_2
    m += (1 - rule.beta_2) * g


#: The function of each rule.
FUNCTIONS: dict[str, Callable[..., None]] = {
    "sgd": _sgd,
    "momentum": _momentum,
    "adagrad": _adagrad,
    "adadelta": _adadelta,
    "rmsprop": _rmsprop,
    "adam": _adam,
    "lion": _lion,
}


def _root(square, rule):
    if rule.epsilon_inside_root:
        return np.sqrt(square + rule.epsilon)
    return np.sqrt(square) + rule.epsilon


# --- state in fewer bits ------------------------------------------------------------------------


def _widened(state, dtype, rule):
    """The state as arrays of ``dtype``."""
    signed = RULES[rule.name].signed
    if not state:
        return ()
    if state[0].dtype == np.uint16:
        return [(a.astype(np.uint32) << 16).view(np.float32).astype(dtype) for a in state]
    n = len(signed)
    return [_decoded(*arrays, dtype) for arrays in zip(state[:n], state[n:], signed, strict=True)]


def _narrow(wide, state, rule):
    """The reverse of ``_widened``, into the arrays of the state; rounds at random."""
    signed = RULES[rule.name].signed
    random = _random_bits(len(state[0]), rule)
    halves = (random & 0xFFFF, random >> 16)  # a state takes 16 bits
    for i, (x, bits) in enumerate(zip(wide, halves, strict=False)):
        if state[i].dtype == np.uint16:
            state[i][:] = _bfloat16(x.astype(np.float32), bits)
        else:
            _encode(x, bits, signed[i], state[i], state[len(wide) + i])


def _random_bits(n, rule):
    """32 for each of n elements: a hash of the seed and the place (Wellons, 2018: lowbias32)."""
    h = np.arange(rule.place, rule.place + n).astype(np.uint32)
    h = h * np.uint32(0x9E3779B9) + np.uint32(rule.seed)
    h ^= h >> 16
    h *= np.uint32(0x7FEB352D)
    h ^= h >> 15
    h *= np.uint32(0x846CA68B)
    return h ^ (h >> 16)


def _bfloat16(x, bits):
    """The upper half of x + bits below it: up with a probability of what is cut off."""
    raw = np.where(np.abs(x) < _TINY, np.float32(0), x).view(np.uint32)
    finite = raw & 0x7F800000 != 0x7F800000
    return (raw + np.where(finite, bits, 0).astype(np.uint32)) >> 16


_TINY = np.finfo(np.float32).tiny


def _decoded(codes, scales, signed, dtype):
    scale = np.repeat(scales.astype(dtype), BLOCK)[: len(codes)]
    if signed:
        c = codes.astype(np.int32) - 128
        return (c * np.abs(c)).astype(dtype) * dtype.type(1 / 127**2) * scale
    c = codes.astype(dtype)
    return (c * c) * (c * c) * dtype.type(1 / 255**4) * scale


def _encode(x, bits, signed, codes, scales):
    """Codes of x (n,) and the scale of each block."""
    size = np.abs(x).astype(np.float32)
    blocks = np.zeros((len(scales), BLOCK), np.float32)
    blocks.ravel()[: x.size] = size
    scales[:] = blocks.max(axis=1, initial=0)
    scales[scales < _TINY] = 0
    scale = np.repeat(scales, BLOCK)[: x.size].astype(x.dtype)
    share = np.abs(x) / np.where(scale == 0, x.dtype.type(1), scale)
    chance = bits.astype(x.dtype) * x.dtype.type(2**-16)
    if signed:
        r = share * x.dtype.type(127**2)
        c = _floor(np.sqrt(r), 127)
        c = np.minimum(c + ((r - c * c) / (2 * c + 1) > chance), 127)
        codes[:] = np.where(x < 0, 128 - c, 128 + c)
    else:
        r = share * x.dtype.type(255**4)
        c = _floor(np.sqrt(np.sqrt(r)), 255)
        low, high = (c * c) * (c * c), ((c + 1) * (c + 1)) * ((c + 1) * (c + 1))
        c = c + ((r - low) / (high - low) > chance)
        codes[:] = np.minimum(np.maximum(c, x >= _TINY), 255)


def _floor(x, most):
    """In 0 … most; of what isn't a number 0."""
    return np.where(x < most, np.floor(x), np.where(np.isfinite(x), x.dtype.type(most), 0))
