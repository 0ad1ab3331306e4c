"""The learning rates of ``fastnn compare``: for each optimizer the best of a grid on a network.

``python docs/compare/rates.py --network digits`` trains the network with 1 and 3 times every power
of ten and prints the rate with the smallest mean loss over the last tenth of the steps.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np

from fastnn import optimizers
from fastnn.experiments import ledger
from fastnn.training import Batches

RATES = [float(f"{m}e{k}") for k in range(-7, 2) for m in (1, 3)]


def final_loss(network: ledger.Network, data, optimizer: str, rate: float, steps: int) -> float:
    """Of a run; infinite if it diverges."""
    model = network.build(0)
    model.compile(optimizers.get(optimizer, rate), "softmax_cross_entropy")
    batches = Batches(data[0], data[1], network.batch_size, model.dtype)
    rng = np.random.default_rng(0)
    losses: list[float] = []
    try:
        while len(losses) < steps:
            for x, labels in batches.shuffled(rng):
                losses.append(sum(model.step(x, labels)[1].values()))
    except FloatingPointError:
        return np.inf
    return statistics.fmean(losses[:steps][-max(1, steps // 10) :])


def main() -> None:
    """Print a line for each optimizer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=ledger.NETWORKS, default="digits")
    parser.add_argument("--steps", type=int, help="training steps; the network's own if unset")
    options = parser.parse_args()
    network = ledger.NETWORKS[options.network]
    steps, data = options.steps or network.steps, network.data(False)
    for name in ledger.OPTIMIZERS:
        found = {rate: final_loss(network, data, name, rate, steps) for rate in RATES}
        best = min(found, key=lambda rate: found[rate])
        print(f"{name:26} {best:<8g} loss {found[best]:.4g}", flush=True)


if __name__ == "__main__":
    with np.errstate(all="ignore"):
        main()
