"""The optimizer lab's own test vector: the published numbers, by every backend and by hand."""

from __future__ import annotations

import numpy as np

from fastnn import functional as F
from fastnn.experiments.lab import OPTIMIZERS

#: (W[0,0], W[0,1], W[0,2], b[0]) after each update, as the lab prints them.
WANTED = {
    "SGD": (7.67789007, 8.16882972, 10.34203348, -3.22934657),
    "Momentum": (14.46528172, 15.04341688, 19.30016537, -4.77070266),
    "Adagrad": (22.50872929, 22.74302212, 28.47667875, -7.62607443),
    "RMSProp": (30.69802889, 30.60433129, 37.72651766, -10.62235939),
    "Adam": (29.41774022, 19.27573813, 23.68071186, 1.52919472),
}


def updated_by_kernels(weights, grads, velocity, m, v, step):
    """The rules of ``fastnn.functional``; yields their names, one after another."""
    updates = {
        "SGD": lambda i, p, g: F.sgd_update(p, g, 10),
        "Momentum": lambda i, p, g: F.momentum_update(p, g, velocity[i], 10, 0.9),
        "Adagrad": lambda i, p, g: F.adagrad_update(p, g, v[i], 10, 1e-8),
        "RMSProp": lambda i, p, g: F.rmsprop_update(p, g, v[i], 10, 0.9, 1e-8),
        "Adam": lambda i, p, g: F.adam_update(p, g, m[i], v[i], step, 10, 0.9, 0.99, 1e-8),
    }
    for name, update in updates.items():
        for i, (p, g) in enumerate(zip(weights, grads, strict=True)):
            update(i, p, g)
        yield name


def updated_by_hand(weights, grads, velocity, m, v, step):
    """The lab's classes."""
    states = {"SGD": (), "Momentum": (velocity,), "Adagrad": (v,), "RMSProp": (v,), "Adam": (m, v)}
    for name, rule in OPTIMIZERS.items():
        for i, (p, g) in enumerate(zip(weights, grads, strict=True)):
            rule(10).update(p, g, *(state[i] for state in states[name]), step)
        yield name


def check(updated):
    rng = np.random.RandomState(101)
    weights = [rng.randn(2, 3), rng.randn(2)]
    velocity = [rng.randn(2, 3), rng.randn(2)]
    m = [rng.randn(2, 3), rng.randn(2)]
    v = [np.abs(rng.randn(2, 3)), np.abs(rng.randn(2))]  # three optimizers share it
    grads = [rng.randn(2, 3), rng.randn(2)]
    names = []
    for name in updated(weights, grads, velocity, m, v, step=3):  # counted from 1
        got = (*weights[0][0], weights[1][0])
        np.testing.assert_allclose(got, WANTED[name], rtol=0, atol=1e-7, err_msg=name)
        names.append(name)
    assert names == list(WANTED)


def test_five_updates_one_after_another(backend):
    check(updated_by_kernels)


def test_the_same_by_hand():
    check(updated_by_hand)
