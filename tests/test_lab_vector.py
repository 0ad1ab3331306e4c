"""The optimizer lab's own test vector: the published numbers, on every backend."""

from __future__ import annotations

import numpy as np

from fastnn import functional as F

#: (W[0,0], W[0,1], W[0,2], b[0]) after each update, as the lab prints them.
WANTED = {
    "SGD": (7.67789007, 8.16882972, 10.34203348, -3.22934657),
    "Momentum": (14.46528172, 15.04341688, 19.30016537, -4.77070266),
    "Adagrad": (22.50872929, 22.74302212, 28.47667875, -7.62607443),
    "RMSProp": (30.69802889, 30.60433129, 37.72651766, -10.62235939),
    "Adam": (29.41774022, 19.27573813, 23.68071186, 1.52919472),
}


def test_five_updates_one_after_another(backend):
    rng = np.random.RandomState(101)
    weights = [rng.randn(2, 3), rng.randn(2)]
    velocity = [rng.randn(2, 3), rng.randn(2)]
    m = [rng.randn(2, 3), rng.randn(2)]
    v = [np.abs(rng.randn(2, 3)), np.abs(rng.randn(2))]  # three optimizers share it
    grads = [rng.randn(2, 3), rng.randn(2)]
    step = 3  # counted from 1
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
        got = (*weights[0][0], weights[1][0])
        np.testing.assert_allclose(got, WANTED[name], rtol=0, atol=1e-7, err_msg=name)
