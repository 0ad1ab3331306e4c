"""The network as scikit-learn's classifier: its own checks, meta-estimators, weights, pickling."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest

pytest.importorskip("sklearn")

from joblib.externals.loky import get_reusable_executor
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from fastnn.datasets import load_digits
from fastnn.estimators import NetworkClassifier
from fastnn.model import Sequential


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits()
    return x[:600], y[:600], x[600:1000], y[600:1000]


@pytest.mark.filterwarnings("ignore")  # scikit-learn's checks make and catch their own
def test_scikit_learns_checks():
    net = NetworkClassifier((16,), learning_rate=0.01)
    results = check_estimator(net, on_fail=None, on_skip=None)
    failed = {r["check_name"] for r in results if r["status"] == "failed"}
    # The check also shuffles, and in another order the same samples make other steps.
    assert failed <= {"check_sample_weight_equivalence_on_dense_data"}
    assert sum(r["status"] == "passed" for r in results) > 40


def test_it_learns_and_the_same_seed_gives_the_same(digits):
    x, y, x_test, y_test = digits
    names = np.array([f"digit {label}" for label in y])
    net = NetworkClassifier((32,), epochs=15, random_state=3).fit(x, names)
    assert net.score(x_test, np.array([f"digit {label}" for label in y_test])) > 0.85
    assert net.classes_.tolist() == [f"digit {label}" for label in range(10)]
    p = net.predict_proba(x_test)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    assert net.loss_curve_[-1] < net.loss_curve_[0] / 3
    again = NetworkClassifier((32,), epochs=15, random_state=3).fit(x, names)
    np.testing.assert_array_equal(again.predict_proba(x_test), p)
    other = NetworkClassifier((32,), epochs=15, random_state=4).fit(x, names)
    assert (other.predict_proba(x_test) != p).any()


@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_weights_decide_what_is_learned(weight, digits):
    """With no weight on a class it isn't known."""
    x, y, x_test, y_test = digits
    net = NetworkClassifier((32,), epochs=15, random_state=0)
    guesses = net.fit(x, y, sample_weight=np.where(y == 3, 0.0, weight)).predict(x_test)
    assert not (guesses == 3).any()
    assert np.mean(guesses[y_test != 3] == y_test[y_test != 3]) > 0.8


def test_whole_weights_are_as_many_copies(digits, rng):
    x, y, x_test, _ = digits
    counts = rng.integers(0, 4, len(x))
    net = NetworkClassifier((8,), epochs=2, random_state=0)
    weighted = net.fit(x, y, sample_weight=counts).predict_proba(x_test)
    copied = net.fit(np.repeat(x, counts, axis=0), np.repeat(y, counts)).predict_proba(x_test)
    np.testing.assert_array_equal(weighted, copied)


def test_bagging_draws_once(digits, monkeypatch):
    """A member learns from what was drawn for it, not from what is drawn from that."""
    x, y, *_ = digits
    seen = []
    fit = Sequential.fit

    def watched(self, x, *args, **keywords):
        seen.append(x)
        return fit(self, x, *args, **keywords)

    monkeypatch.setattr(Sequential, "fit", watched)
    net = NetworkClassifier((4,), epochs=1, random_state=0)
    bagged = BaggingClassifier(net, 2, random_state=0).fit(x, y)
    for rows, drawn in zip(seen, bagged.estimators_samples_, strict=True):
        np.testing.assert_array_equal(rows, x[np.sort(drawn)])


def test_meta_estimators_take_it(digits):
    x, y, x_test, y_test = digits
    weak = NetworkClassifier((4,), epochs=5, learning_rate=0.02, random_state=0)
    alone = weak.fit(x, y).score(x_test, y_test)
    boosted = AdaBoostClassifier(weak, n_estimators=10, random_state=0).fit(x, y)
    assert len(boosted.estimators_) > 1
    assert boosted.score(x_test, y_test) > alone
    bagged = BaggingClassifier(weak, 3, random_state=0).fit(x, y)
    assert len({net.predict_proba(x_test).tobytes() for net in bagged.estimators_}) == 3
    search = GridSearchCV(
        make_pipeline(StandardScaler(), NetworkClassifier(epochs=2, random_state=0)),
        {"networkclassifier__hidden": [(2,), (32,)]}, cv=2,
    )  # fmt: skip
    assert search.fit(x, y).best_params_ == {"networkclassifier__hidden": (32,)}


def test_a_pickled_network_guesses_the_same(digits):
    x, y, x_test, _ = digits
    net = NetworkClassifier((8, 6), "tanh", epochs=2, random_state=0).fit(x, y)
    copy = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(copy.predict_proba(x_test), net.predict_proba(x_test))
    assert net.network_.predict(x_test[:1]).shape == (1, 10), "the original is as it was"


@pytest.mark.parametrize("later", [{"activation": "relu"}, {"hidden": (3,)}])
def test_parameters_of_the_next_fit_are_not_the_pickled_networks(later, digits):
    x, y, x_test, _ = digits
    net = NetworkClassifier((8, 6), "tanh", epochs=2, random_state=0).fit(x, y)
    want = net.predict_proba(x_test)
    copy = pickle.loads(pickle.dumps(net.set_params(**later)))
    np.testing.assert_array_equal(copy.predict_proba(x_test), want)
    assert copy.get_params() == net.get_params()


@pytest.fixture
def processes():
    """Those that joblib keeps for the next call end with the test: others count processes."""
    yield
    get_reusable_executor().shutdown(wait=True)


@pytest.mark.usefixtures("processes")
def test_processes_of_joblib_take_it(digits):
    x, y, x_test, _ = digits
    net = NetworkClassifier((8,), epochs=2, random_state=0)
    one, two = (BaggingClassifier(net, 2, n_jobs=n, random_state=0).fit(x, y) for n in (1, 2))
    np.testing.assert_array_equal(one.predict_proba(x_test), two.predict_proba(x_test))
    scores = [cross_val_score(two.estimators_[0], x, y, cv=2, n_jobs=n) for n in (1, 2)]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize("hidden", [64, "64", (n for n in (64, 32)), {64, 32}])
def test_hidden_is_a_sequence(hidden, digits):
    """What is used up by the first fit, or has no order, isn't."""
    x, y, *_ = digits
    message = f"hidden must be a sequence of numbers of units, such as (64,), got {hidden!r}"
    with pytest.raises(TypeError, match=re.escape(message)):
        NetworkClassifier(hidden=hidden).fit(x, y)


def test_one_class_is_an_error(digits):
    x, *_ = digits
    with pytest.raises(ValueError, match="y must have 2 classes or more, got one class"):
        NetworkClassifier().fit(x, np.zeros(len(x)))
