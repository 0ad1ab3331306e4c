"""Cases of the optimizer updates: every rule, both conventions, all forms of the state."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from cases import Data
from fastnn.rules import BLOCK, RULES, STATES, Rule

Cases = Iterator[tuple[str, tuple[Any, ...]]]

TINY = [1, 13]
#: A chunk is 16384 elements, a piece 512 or 1024, a block of 8-bit codes 64. The last one is
#: parallel on every backend: SGD, the cheapest, from 40,000 elements on Cython, 150,000 on Numba.
FULL = [1, 3, 15, 16, 17, 101, 16383, 16384, 16385, 250_007, 0]
NARROW = [1, 63, 64, 65, 511, 513, 1025, 70_001, 0]

#: What each rule is tried with.
FORMS: dict[str, list[dict[str, Any]]] = {
    "sgd": [{}],
    "momentum": [
        {"momentum": 0.9, "nesterov": nesterov, "rate_in_velocity": inside}
        for nesterov, inside in product((False, True), (True, False))
    ],
    "adagrad": [{"epsilon": 1e-8, "epsilon_inside_root": inside} for inside in (True, False)],
    "adadelta": [{"rho": 0.95, "epsilon": 1e-8}],
    "rmsprop": [
        {"rho": 0.9, "epsilon": 1e-8, "epsilon_inside_root": inside} for inside in (True, False)
    ],
    "adam": [
        {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "epsilon_inside_root": inside} | first
        for inside, first in product(
            (True, False), ({"correction_1": 3.69, "correction_2": 333.7}, {})
        )
    ],
    "lion": [{"beta_1": 0.9, "beta_2": 0.99}],
}

#: What is done before the rule.
TREATMENTS: list[dict[str, Any]] = [
    {"scale": 0.5, "limit": 1.5},
    {"weight_decay": 0.01},
    {"weight_decay": 0.1, "decoupled": True, "limit": 0.75},
]


def rules() -> Iterator[Rule]:
    """Every rule in all its forms, and with all treatments in one."""
    for name, forms in FORMS.items():
        for form in forms:
            yield Rule(name, 0.03, **form)
        for treatment in TREATMENTS:
            yield Rule(name, 0.03, **forms[-1], **treatment)


def text(rule: Rule) -> str:
    """What differs from a plain rule."""
    plain = Rule(rule.name, rule.learning_rate)
    fields = (f"{k}={v}" for k, v in rule._asdict().items() if v != getattr(plain, k))
    return ", ".join((rule.name, *fields))


def state(data: Data, rule: Rule, n: int, form: str) -> tuple[np.ndarray, ...]:
    """Random state of n elements; a block in two is all zeros."""
    signed, kind = RULES[rule.name].signed, STATES[form]
    if kind is None:
        return tuple(data.array(n) if sign else data.positive(n) for sign in signed)
    empty = np.arange(n) // BLOCK % 2 == 1
    if kind is np.uint16:
        arrays = [data.rng.standard_normal(n).astype(np.float32) for _ in signed]
        bits = [
            ((a if sign else a * a).view(np.uint32) >> 16).astype(kind)
            for a, sign in zip(arrays, signed, strict=True)
        ]
        return tuple(np.where(empty, 0, b).astype(kind) for b in bits)
    codes = [data.rng.integers(sign, 256, n, kind) for sign in signed]
    blocks = -(-n // BLOCK)
    scales = [data.rng.random(blocks).astype(np.float32) for _ in signed]
    for scale in scales:
        scale[1::2] = 0
    return *codes, *scales


def _gradient(data: Data, n: int, rule: Rule) -> np.ndarray:
    """With zeros, and numbers so small that their squares are denormal or zero.

    None that is denormal itself for Lion, to which the sign matters: Cython's is 0.
    """
    grad = data.array(n)
    if n > 10:
        grad[2:9] = [0, 1e-22, -1e-21, 1e-30, 3e-20, 1e-36 if rule.name == "lion" else 1e-39, 0]
    return grad


def update(data: Data, size: str) -> Cases:
    for rule in rules():
        for n in TINY if size == "tiny" else FULL:
            yield (
                f"(size {n}), {text(rule)}",
                (data.array(n), _gradient(data, n, rule), state(data, rule, n, "full"), rule),
            )
    if size == "tiny":
        return
    for name, form, treatment in product(FORMS, ("bfloat16", "8bit"), ({}, TREATMENTS[-1])):
        rule = Rule(name, 0.03, **FORMS[name][-1], **treatment, seed=7_000_000_001 % 2**32)
        if not RULES[name].state:
            continue
        for n in NARROW:
            here = rule._replace(place=64 * n)
            yield (
                f"(size {n}), {form} state, {text(here)}",
                (data.array(n), _gradient(data, n, rule), state(data, here, n, form), here),
            )
