"""Optimizer updates, in place, elementwise over 1-D arrays. p parameter, g gradient.

Why it is fast: NumPy writes one rule as half a dozen passes over memory, with temporaries as
big as the parameters; here it is one pass that reads and writes each array once. What comes
before and after the rule itself (clipping, decay, state in fewer bits) is done on pieces that
stay in the first-level cache, so that memory doesn't see it. Scalars are rounded to the dtype of
the arrays first, or every element would be computed in double. The operations and their order
are those of the reference, without fused multiply-adds, and so are the bits.
"""

import math
from collections import namedtuple

import numpy as np
from numba import prange

from fastnn.backends.numba_ import elementwise, kernel, parallel_kernel, plain
from fastnn.rules import BLOCK, RULES

PIECE = 1024  # elements whose widened state and treated gradient are at hand

#: Nanoseconds an element: a rule, and what fewer bits add.
_COST = {"sgd": 0.2, "momentum": 0.35, "adagrad": 0.6, "adadelta": 2, "rmsprop": 0.6,
         "adam": 1.2, "lion": 0.5}  # fmt: skip
_NARROWING = 5

_CODES = {name: code for code, name in enumerate(RULES)}
_SGD, _MOMENTUM, _ADAGRAD, _ADADELTA, _RMSPROP, _ADAM, _LION = _CODES.values()

#: A rule's numbers in the arrays' dtype.
_Numbers = namedtuple(
    "_Numbers",
    "rate momentum rho one_minus_rho beta_1 one_minus_1 beta_2 one_minus_2 correct_1 correct_2 "
    "epsilon inside nesterov rate_in_velocity scale limit decay keep",
)


#: Arrays that aren't there.
_NO_HALF, _NO_CODES, _NO_SCALES = (np.empty(0, t) for t in (np.uint16, np.uint8, np.float32))


def update(param, grad, state, rule):
    real, form = param.dtype.type, RULES[rule.name]
    nothing, count = param[:0], len(form.state)
    narrow = bool(state) and state[0].dtype != param.dtype
    code, numbers, grad = _CODES[rule.name], _numbers(rule, real), plain(grad)
    if not narrow and not rule.treats:
        full = _pair(state, nothing)
        elementwise(_rule, _rule_parallel, _COST[rule.name], param, grad, *full, code, numbers)
        return
    coded = narrow and state[0].dtype == np.uint8
    elementwise(
        _in_pieces, _in_pieces_parallel, _COST[rule.name] + _NARROWING * narrow, param, grad,
        _pair(() if narrow else state, nothing),
        _pair(state if narrow and not coded else (), _NO_HALF),
        _pair(state[:count] if coded else (), _NO_CODES),
        _pair(state[count:] if coded else (), _NO_SCALES),
        _pair(form.signed, False), count * narrow, code, numbers, rule.seed, rule.place,
    )  # fmt: skip


def _pair(arrays, nothing):
    return (*arrays, nothing, nothing)[:2]


def _numbers(rule, real):
    keep = 1 - rule.learning_rate * rule.weight_decay if rule.decoupled else 1
    return _Numbers(
        real(rule.learning_rate), real(rule.momentum), real(rule.rho), real(1 - rule.rho),
        real(rule.beta_1), real(1 - rule.beta_1), real(rule.beta_2), real(1 - rule.beta_2),
        real(rule.correction_1), real(rule.correction_2), real(rule.epsilon),
        bool(rule.epsilon_inside_root), bool(rule.nesterov), bool(rule.rate_in_velocity),
        real(rule.scale), real(rule.limit),
        real(0 if rule.decoupled else rule.weight_decay), real(keep),
    )  # fmt: skip


@kernel
def _rule(param, grad, first, second, code, r, start, stop):
    """One of the rules on the elements start … stop."""
    p, g, s, t = param[start:stop], grad[start:stop], first[start:stop], second[start:stop]
    if code == _SGD:
        _sgd(p, g, r)
    elif code == _MOMENTUM:
        _momentum(p, g, s, r)
    elif code == _ADAGRAD:
        _adagrad(p, g, s, r)
    elif code == _ADADELTA:
        _adadelta(p, g, s, t, r)
    elif code == _RMSPROP:
        _rmsprop(p, g, s, r)
    elif code == _ADAM:
        _adam(p, g, s, t, r)
    else:
        _lion(p, g, s, r)


@parallel_kernel
def _rule_parallel(param, grad, first, second, code, r, chunk):
    for i in prange(-(-param.size // chunk)):
        _rule(param, grad, first, second, code, r, i * chunk, (i + 1) * chunk)


@kernel
def _sgd(p, g, r):
    """p ← p − α g."""
    for i in range(p.size):
        p[i] -= r.rate * g[i]


@kernel
def _momentum(p, g, v, r):
    """v ← μ v + α g, p ← p − v; or v ← μ v + g, p ← p − α v. Nesterov: μ v + … in place of v."""
    one = p.dtype.type(1)
    # The two forms differ in where the rate stands; times one changes no bit.
    inner, outer = (r.rate, one) if r.rate_in_velocity else (one, r.rate)
    for i in range(p.size):
        pull = inner * g[i]
        v[i] = v[i] * r.momentum + pull
        p[i] -= outer * (r.momentum * v[i] + pull if r.nesterov else v[i])


@kernel
def _adagrad(p, g, a, r):
    """a ← a + g², p ← p − α g / √(a + ε), or … / (√a + ε)."""
    for i in range(p.size):
        a[i] += g[i] * g[i]
        p[i] -= r.rate * g[i] / _root(a[i], r)


@kernel
def _adadelta(p, g, s, d, r):
    """s ← ρ s + (1−ρ) g², Δ = √(d + ε) / √(s + ε) · g, d ← ρ d + (1−ρ) Δ², p ← p − α Δ."""
    for i in range(p.size):
        s[i] = s[i] * r.rho + r.one_minus_rho * (g[i] * g[i])
        step = math.sqrt(d[i] + r.epsilon) / math.sqrt(s[i] + r.epsilon) * g[i]
        d[i] = d[i] * r.rho + r.one_minus_rho * (step * step)
        p[i] -= r.rate * step


@kernel
def _rmsprop(p, g, s, r):
    """s ← ρ s + (1−ρ) g², p ← p − α g / √(s + ε), or … / (√s + ε)."""
    for i in range(p.size):
        s[i] = s[i] * r.rho + r.one_minus_rho * (g[i] * g[i])
        p[i] -= r.rate * g[i] / _root(s[i], r)


@kernel
def _adam(p, g, m, v, r):
    """m ← β₁ m + (1−β₁) g, v ← β₂ v + (1−β₂) g², m̂ = m c₁, v̂ = v c₂,
    p ← p − α m̂ / (√v̂ + ε), or α m̂ / √(v̂ + ε). cᵢ = 1 / (1 − βᵢᵗ), or 1 without bias correction.
    """
    for i in range(p.size):
        m[i] = m[i] * r.beta_1 + r.one_minus_1 * g[i]
        v[i] = v[i] * r.beta_2 + r.one_minus_2 * (g[i] * g[i])
        p[i] -= r.rate * (m[i] * r.correct_1) / _root(v[i] * r.correct_2, r)


@kernel
def _lion(p, g, m, r):
    """p ← p − α sign(β₁ m + (1−β₁) g), m ← β₂ m + (1−β₂) g."""
    one = p.dtype.type(1)
    for i in range(p.size):
        c = r.beta_1 * m[i] + r.one_minus_1 * g[i]
        sign = one if c > 0 else (-one if c < 0 else c)
        p[i] -= r.rate * sign
        m[i] = m[i] * r.beta_2 + r.one_minus_2 * g[i]


@kernel
def _root(square, r):
    """√(square + ε) or √square + ε."""
    return math.sqrt(square + r.epsilon) if r.inside else math.sqrt(square) + r.epsilon


# --- pieces: gradient treated, state widened ----------------------------------------------------


@kernel
def _in_pieces(
    param, grad, full, half, codes, scales, signed, narrow, code, r, seed, place, start, stop
):  # fmt: skip
    """As ``_rule``; before it the gradient is treated, around it ``narrow`` states are widened."""
    stop = min(stop, param.size)
    treated = np.empty(PIECE, param.dtype)
    wide = np.empty((2, PIECE), param.dtype)
    bits, raw = np.empty(PIECE, np.uint32), np.empty(PIECE, np.uint32)
    for first in range(start, stop, PIECE):
        n = min(PIECE, stop - first)
        end = first + n
        p, g = param[first:end], treated[:n]
        for i in range(n):
            value = r.scale * grad[first + i]
            value = -r.limit if value < -r.limit else (r.limit if value > r.limit else value)
            g[i] = value + r.decay * p[i]
            p[i] *= r.keep
        if narrow == 0:
            _rule(p, g, full[0][first:end], full[1][first:end], code, r, 0, n)
            continue
        for k in range(narrow):
            if half[k].size:
                _widen(half[k][first:end], raw[:n], wide[k])
            else:
                _decode(codes[k][first:end], scales[k][first // BLOCK :], signed[k], wide[k])
        _rule(p, g, wide[0, :n], wide[1, :n], code, r, 0, n)
        _random_bits(seed, place + first, bits[:n])
        for k in range(narrow):
            if half[k].size:
                _narrow(wide[k, :n], bits, 16 * k, raw[:n], half[k][first:end])
            else:
                _encode(wide[k, :n], bits, 16 * k, signed[k], codes[k][first:end],
                        scales[k][first // BLOCK :])  # fmt: skip


@parallel_kernel
def _in_pieces_parallel(
    param, grad, full, half, codes, scales, signed, narrow, code, r, seed, place, chunk
):  # fmt: skip
    for i in prange(-(-param.size // chunk)):
        _in_pieces(
            param, grad, full, half, codes, scales, signed, narrow, code, r, seed, place,
            i * chunk, (i + 1) * chunk,
        )  # fmt: skip


_16, _15, _MASK = np.uint32(16), np.uint32(15), np.uint32(0xFFFF)
_FACTORS = np.uint32(0x9E3779B9), np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
_EXPONENT, _TINY = np.uint32(0x7F800000), float(np.finfo(np.float32).tiny)


@kernel
def _random_bits(seed, place, bits):
    """32 for each element: a hash of the seed and the place (Wellons, 2018: lowbias32)."""
    for i in range(bits.size):
        h = np.uint32(np.uint32(place + i) * _FACTORS[0] + np.uint32(seed))
        h = np.uint32((h ^ (h >> _16)) * _FACTORS[1])
        h = np.uint32((h ^ (h >> _15)) * _FACTORS[2])
        bits[i] = h ^ (h >> _16)


@kernel
def _widen(half, raw, wide):
    """bfloat16 → wide. ``raw`` is room for the bits."""
    for i in range(half.size):
        raw[i] = np.uint32(half[i]) << _16
    values = raw.view(np.float32)
    for i in range(half.size):
        wide[i] = values[i]


@kernel
def _narrow(wide, bits, shift, raw, half):
    """wide → bfloat16: the upper half of x + bits below it."""
    values, shift = raw.view(np.float32), np.uint32(shift)
    for i in range(half.size):
        x = np.float32(wide[i])
        values[i] = np.float32(0) if abs(x) < _TINY else x
    for i in range(half.size):
        finite = raw[i] & _EXPONENT != _EXPONENT
        below = (bits[i] >> shift) & _MASK if finite else np.uint32(0)
        half[i] = (raw[i] + below) >> _16


@kernel
def _decode(codes, scales, signed, wide):
    """8-bit codes, a scale for each block of them → wide."""
    real = wide.dtype.type
    signed_unit, unit = real(1 / 127**2), real(1 / 255**4)
    for i in range(codes.size):
        scale = real(scales[i // BLOCK])
        if signed:
            c = np.int32(codes[i]) - np.int32(128)
            wide[i] = real(c * abs(c)) * signed_unit * scale
        else:
            c = real(codes[i])
            wide[i] = (c * c) * (c * c) * unit * scale


@kernel
def _encode(wide, bits, shift, signed, codes, scales):
    """wide → codes, and the scale of each block: the largest size in it."""
    real, one = wide.dtype.type, wide.dtype.type(1)
    for first in range(0, wide.size, BLOCK):
        x = wide[first : first + BLOCK]
        largest = np.float32(0)
        for i in range(x.size):
            size = np.float32(abs(x[i]))
            largest = largest if size <= largest else size
        if largest < _TINY:
            largest = np.float32(0)
        scales[first // BLOCK] = largest
        scale = real(largest) if largest > 0 else one
        for i in range(x.size):
            up = real((bits[first + i] >> np.uint32(shift)) & _MASK) * real(2**-16)
            size = abs(x[i]) / scale
            if signed:
                size *= real(127**2)
                c = _floor(math.sqrt(size), real(127))
                c += one if (size - c * c) / (c + c + one) > up else real(0)
                c = min(c, real(127))
                codes[first + i] = np.uint8(128 - c if x[i] < 0 else 128 + c)
            else:
                size *= real(255**4)
                c = _floor(math.sqrt(math.sqrt(size)), real(255))
                low, next_ = (c * c) * (c * c), (c + one) * (c + one)
                c += one if (size - low) / (next_ * next_ - low) > up else real(0)
                least = one if np.float32(x[i]) >= _TINY else real(0)
                codes[first + i] = np.uint8(min(max(c, least), real(255)))


@kernel
def _floor(x, most):
    zero = most - most
    return np.floor(x) if x < most else (most if x < np.inf else zero)
