"""A dense network as a classifier of scikit-learn's: for its pipelines, searches and ensembles.

Needs scikit-learn, an extra of the installation (``pip install scikit-learn``), and is therefore
not imported by ``fastnn``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastnn import optimizers
from fastnn.layers import Dense
from fastnn.model import Sequential

Array = NDArray[Any]


class NetworkClassifier(ClassifierMixin, BaseEstimator):
    """Dense layers of ``hidden`` units, then one logit a class, trained with softmax cross-entropy.

    ``activation`` of the hidden layers; ``optimizer`` by name, with ``learning_rate`` or its own;
    ``random_state`` decides the weights, the order of the samples and what ``sample_weight`` draws.
    Features should be on one scale: put a ``StandardScaler`` before it.

    After ``fit``: ``classes_``, ``n_features_in_``, ``network_`` (the ``Sequential``),
    ``loss_curve_`` (the mean loss of each epoch).

    >>> from sklearn.ensemble import BaggingClassifier
    >>> from fastnn.datasets import load_digits
    >>> x, y = load_digits()
    >>> single = NetworkClassifier(hidden=(32,), epochs=5, random_state=0)
    >>> BaggingClassifier(single, n_estimators=3, random_state=0).fit(x, y).score(x, y) > 0.8
    True
    """

    def __init__(
        self,
        hidden: Sequence[int] = (64,),
        activation: str = "relu",
        optimizer: str = "adam",
        learning_rate: float | None = None,
        epochs: int = 20,
        batch_size: int = 32,
        random_state: Any = None,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Train a new network on X (N, K) and labels y (N,) of any kind; returns self.

        ``sample_weight`` (N,): whole numbers, as bagging gives them, say how many times each
        sample is there. With others the network is trained on N samples that are drawn with these
        weights as probabilities, as in boosting by resampling; a loss here weighs all alike.
        """
        if not isinstance(self.hidden, Sequence) or isinstance(self.hidden, str):
            raise TypeError(
                "NetworkClassifier: hidden must be a sequence of numbers of units, such as (64,), "
                f"got {self.hidden!r}"
            )
        x, targets = validate_data(self, X, y)
        check_classification_targets(targets)
        self.classes_, labels = np.unique(targets, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"NetworkClassifier: y must have 2 classes or more, got one class: {self.classes_}"
            )
        random = check_random_state(self.random_state)
        seed = int(random.randint(2**31 - 1))
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, x, ensure_non_negative=True)
            if (weight % 1 == 0).all():
                rows = np.repeat(np.arange(len(x)), weight.astype(int))
            else:
                rows = random.choice(len(x), len(x), p=weight / weight.sum())
            x, labels = x[rows], labels[rows]
        hidden = [(units, self.activation) for units in self.hidden]
        self.network_ = _network(
            self.n_features_in_, [*hidden, (len(self.classes_), None)], seed=seed
        )
        self.network_.compile(
            optimizers.get(self.optimizer, self.learning_rate), "softmax_cross_entropy"
        )
        history = self.network_.fit(
            x, labels, epochs=self.epochs, batch_size=self.batch_size, seed=seed, verbose=0
        )
        self.loss_curve_ = history["loss"]
        return self

    def predict_proba(self, X: ArrayLike) -> Array:
        """(N, C): the probability of each of ``classes_``."""
        check_is_fitted(self)
        x = validate_data(self, X, reset=False)
        logits = self.network_.predict(x).astype(np.float64)
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)

    def predict(self, X: ArrayLike) -> Array:
        """(N,): the most probable of ``classes_``."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    # Between processes (n_jobs) a network goes as its weights: kernels and buffers stay behind. And
    # with what its layers are: ``set_params`` may have changed the parameters since ``fit``.

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if "network_" in state:
            net = state["network_"]
            layers = [(layer.units, layer.activation) for layer in net.layers]
            state = state | {
                "network_": (*net.layers[0].input_shape, layers, net.get_weights()),
            }
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "network_" in state:
            features, layers, weights = state["network_"]
            self.network_ = _network(features, layers, seed=0)
            self.network_.set_weights(weights)


def _network(features: int, layers: Sequence[tuple[int, str | None]], seed: int) -> Sequential:
    """Of dense layers, each by its units and activation."""
    return Sequential([Dense(*layer) for layer in layers], input_shape=(features,), seed=seed)
