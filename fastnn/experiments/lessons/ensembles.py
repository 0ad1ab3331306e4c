"""Ensembles: many networks that err in different places.

If M guesses have the variance σ² and any two the correlation ρ, their mean has

    ρσ² + (1 − ρ)σ²/M:

the part they don't share is divided by M. So members must be good, and differ:

- *average*: the same network from seven seeds, the mean of their probabilities. As −log is convex,
  the loss of the mean is never above the mean of the losses;
- *bagging*: each member learns from N samples drawn with replacement. They leave out 37 % of the
  data, so that each is worse alone, and together they may be no better than one that saw them all;
- *boosting* (AdaBoost): one after another, each on samples weighted by w ← w e^α where the last was
  wrong, with α = log((1 − ε)/ε) + log(C − 1) and its error ε; votes are weighted by α. It makes a
  strong classifier of weak ones: here networks with four hidden units;
- *random forest*: bagged trees that see a few random features at each split.

All cost M times the training, and M times the guess. The meta-estimators are scikit-learn's own;
the networks are fastnn's (``fastnn.estimators``).

L. Breiman, Bagging predictors (1996), Random forests (2001); Y. Freund and R. Schapire (1997).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.datasets import load_digits
from fastnn.experiments.lessons import data
from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.panels import Bars, Lines

Array = NDArray[Any]

MEMBERS = 7
#: What the mean of an ensemble's members is called.
SINGLE = {"networks, averaged": "network", "networks, bagged": "network on a drawn sample"}


def samples(settings: Settings, train: int, seed: int) -> tuple[str, Array, Array, Array, Array]:
    """(what, x, y, x_test, y_test); few to train on, so that there is something to gain."""
    if settings.data is not None:
        images, what = data.mnist(settings, train, 1000)
        x, x_test = (a.reshape(len(a), -1) / 255 for a in (images.x_train, images.x_test))
        return what, x, images.y_train, x_test, images.y_test
    x, y = load_digits()
    order = np.random.default_rng(seed).permutation(len(x))
    rows, rest = order[:train], order[train:]
    return (
        f"digits, 8 × 8: {train} to train on, {len(rest)} to test",
        x[rows],
        y[rows],
        x[rest],
        y[rest],
    )


def classifiers(seed: int, epochs: int) -> dict[str, Any]:
    """Single ones and ensembles of them, by name."""
    from sklearn.ensemble import (
        AdaBoostClassifier,
        BaggingClassifier,
        RandomForestClassifier,
        VotingClassifier,
    )
    from sklearn.tree import DecisionTreeClassifier

    from fastnn.estimators import NetworkClassifier

    def network(hidden: int, member: int = 0) -> NetworkClassifier:
        return NetworkClassifier(
            (hidden,), epochs=epochs, learning_rate=0.01, random_state=MEMBERS * seed + member
        )

    members = [(f"{member}", network(32, member)) for member in range(MEMBERS)]
    return {
        "networks, averaged": VotingClassifier(members, voting="soft"),
        "networks, bagged": BaggingClassifier(network(32), MEMBERS, random_state=seed),
        "weak network": network(4),
        "weak networks, boosted": AdaBoostClassifier(
            network(4), n_estimators=20, random_state=seed
        ),
        "tree": DecisionTreeClassifier(random_state=seed),
        "random forest, 100 trees": RandomForestClassifier(100, random_state=seed),
    }


def cross_entropy(p: Array, y: Array) -> float:
    """−mean log p of the right class."""
    return float(-np.mean(np.log(np.maximum(p[np.arange(len(y)), y], 1e-12))))


def run(settings: Settings) -> Result:
    """See the module."""
    train, epochs = settings.size(400, 200), settings.size(30, 15)
    seeds = range(settings.seed, settings.seed + settings.size(3, 1))
    scores: dict[str, list[float]] = {single: [] for single in SINGLE.values()}
    seconds: dict[str, float] = {}
    losses: dict[str, list[float]] = {"mean of losses": [], "loss of the mean": []}
    growing = []
    for seed in seeds:
        what, x, y, x_test, y_test = samples(settings, train, seed)
        for name, classifier in classifiers(seed, epochs).items():
            started = time.perf_counter()
            classifier.fit(x, y)
            seconds[name] = seconds.get(name, 0) + time.perf_counter() - started
            scores.setdefault(name, []).append(float(classifier.score(x_test, y_test)))
            if name not in SINGLE:
                continue
            members = [net.predict_proba(x_test) for net in classifier.estimators_]
            hits = [float(np.mean(p.argmax(axis=1) == y_test)) for p in members]
            scores[SINGLE[name]].append(float(np.mean(hits)))
            seconds[SINGLE[name]] = seconds[name] / MEMBERS
            if name != "networks, averaged":
                continue
            one = [cross_entropy(p, y_test) for p in members]
            losses["mean of losses"].append(float(np.mean(one)))
            losses["loss of the mean"].append(cross_entropy(np.mean(members, axis=0), y_test))
            sums = np.cumsum(members, axis=0)
            growing.append([float(np.mean(p.argmax(axis=1) == y_test)) for p in sums])
    mean = {name: float(np.mean(values)) for name, values in scores.items()}
    spread = {name: float(np.std(values)) for name, values in scores.items()}
    rows = [["classifier", "accuracy", "seconds to train"]]
    for name in mean:
        rows.append([
            name, f"{mean[name]:.4f} ± {spread[name]:.4f}", f"{seconds[name] / len(seeds):.2f}"
        ])  # fmt: skip
    loss = {name: float(np.mean(values)) for name, values in losses.items()}

    named = [[name, f"{value:.4f}"] for name, value in loss.items()]

    def gain(better: str, than: str) -> Check:
        return Check(f"accuracy of {better} less that of {than}", mean[better] - mean[than], ">", 0)

    return Result(
        what,
        [
            Table(f"means of {len(seeds)} splits; of single networks the mean of seven", rows),
            Table("seven networks", [["", "cross-entropy"], *named]),
        ],
        [
            gain("networks, averaged", "network"),
            gain("networks, bagged", "network on a drawn sample"),
            Check("loss of the mean less the mean of losses",
                  loss["loss of the mean"] - loss["mean of losses"], "<", 0),
            gain("weak networks, boosted", "weak network"),
            gain("random forest, 100 trees", "tree"),
        ],
        [
            Bars("test accuracy", mean, errors=spread),
            Lines("networks averaged",
                  {"test accuracy": (range(1, MEMBERS + 1), np.mean(growing, axis=0))}, "networks"),
        ],
        {"accuracy": mean, "loss": loss},
    )  # fmt: skip


LESSON = Lesson(
    name="ensembles",
    question="What do several networks know that one doesn't?",
    claim="the average of seven networks beats the mean single one; every ensemble, its members",
    run=run,
    seconds=15,
    data="the folder of MNIST's four files",
    needs=("sklearn", "scikit-learn"),
)
