"""The networks of ``shapes/networks.json`` as fastnn models, with random data to train on."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

import fastnn
from bench.shapes import NETWORKS

#: Rate of timed steps: so small that the network stays as it is. A network that has learnt its
#: one batch by heart has denormal gradients, which are slow on some CPUs and engines.
STILL = 1e-9


def model(name: str, optimizer: str, learning_rate: float, dtype: str = "float32") -> Any:
    """A compiled ``Sequential``; initialised as Office-31's texts do, N(0, 0.03²), or Glorot."""
    network = NETWORKS[name]
    outputs = {head: fastnn.Dense(units) for head, units in network["heads"].items()}
    last = outputs[""] if "" in outputs else fastnn.Heads(outputs)
    hidden = [fastnn.Dense(n, activation=network["activation"]) for n in network["hidden"]]
    found = fastnn.Sequential([*hidden, last], (network["inputs"],), dtype=dtype, seed=1)
    rule = {"sgd": fastnn.optimizers.SGD, "adam": fastnn.optimizers.Adam}[optimizer]
    found.compile(optimizer=rule(learning_rate), loss="softmax_cross_entropy")
    return found


def data(name: str, dtype: str = "float32") -> tuple[np.ndarray, Any]:
    """One batch: inputs from N(0, 1), labels (N,) or a dict of them by head."""
    network = NETWORKS[name]
    rng = np.random.default_rng(2)
    x = rng.standard_normal((network["batch"], network["inputs"])).astype(dtype)
    labels = {h: rng.integers(0, units, len(x)) for h, units in network["heads"].items()}
    return x, labels.get("", labels)


def layer_sizes(name: str) -> list[tuple[int, int]]:
    """(K, O) of every dense layer; heads count as one."""
    network = NETWORKS[name]
    sizes = [network["inputs"], *network["hidden"], sum(network["heads"].values())]
    return list(pairwise(sizes))
