"""fastnn models in PyTorch and JAX: the same outputs, and the same training.

Where the two libraries are absent, as in continuous integration, only what needs neither is tested;
the rest runs where they are installed.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import weakref

import numpy as np
import pytest

import fastnn
from fastnn import (
    Activation,
    AveragePooling2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Heads,
    MaxPool2D,
    Rescaling,
    Sequential,
    optimizers,
)
from fastnn.experiments import images
from fastnn.experiments.peers import ENGINES, available, peer
from fastnn.layers import Chain, DepthwiseConv2D, ZeroPadding2D

HERE = [
    pytest.param(engine, marks=pytest.mark.skipif(not there, reason=f"{library} isn't installed"))
    for engine, library in ENGINES.items()
    for there in [importlib.util.find_spec(library)]
]
TORCH, _, JAX = HERE


# --- networks, built and compiled, with a batch -------------------------------------------------


def two_headed():
    """Pixels as integers, a chain, a head with a layer of its own."""
    net = Sequential(
        [
            Rescaling(1 / 255, -0.5),
            Chain([Dense(17, "sigmoid"), Dense(13, use_bias=False), Activation("tanh")]),
            Heads({"object": [Dense(11, "relu"), Dense(7)], "domain": Dense(3)}),
        ],
        input_shape=(12,),
        seed=3,
    )
    rng = np.random.default_rng(4)
    x = rng.integers(0, 256, (6, 23, 12)).astype(np.uint8)
    return net, x, {"object": rng.integers(0, 7, (6, 23)), "domain": rng.integers(0, 3, (6, 23))}


def digits():
    x, y = fastnn.datasets.load_digits()
    net = Sequential(
        [Dense(80, "sigmoid"), Dense(70, "sigmoid"), Dense(10)], input_shape=(64,), seed=1
    )
    return net, x[:384].reshape(6, 64, 64), y[:384].reshape(6, 64)


def pictures(net, n, *, pixels=False):
    """``net`` with six batches of noise."""
    rng = np.random.default_rng(5)
    shape = (6, n, *net.chain.input_shape)
    x = rng.integers(0, 256, shape).astype(np.uint8) if pixels else rng.random(shape, np.float32)
    return net, x, rng.integers(0, 10, (6, n))


def cifar10():
    net = images.cifar10_cnn(seed=1)
    next(layer for layer in net.layers if isinstance(layer, Dropout)).rate = 0.0
    return pictures(net, 4, pixels=True)


def lenet5():
    return pictures(images.lenet5(seed=1), 8, pixels=True)


def every_window():
    """Odd padding, strides, dilation, groups, windows cut at the end; sides that differ."""
    return pictures(
        Sequential(
            [
                ZeroPadding2D(((1, 0), (2, 3))),
                Conv2D(6, (3, 2), strides=2, padding="same", activation="tanh"),
                Conv2D(8, 3, padding=((2, 1), (0, 1)), dilation_rate=(1, 2), groups=2),
                AveragePooling2D(3, strides=2, padding="same"),
                DepthwiseConv2D(2, depth_multiplier=2, activation="relu", use_bias=False),
                AveragePooling2D(3, strides=1, padding="same"),
                MaxPool2D((1, 2)),
                Flatten(),
                Dense(10),
            ],
            input_shape=(21, 20, 3),
            seed=2,
        ),
        5,
    )


def flattened():
    """Images that no convolution sees."""
    return pictures(Sequential([Flatten(), Dense(10)], input_shape=(5, 4, 3), seed=1), 9)


NETWORKS = [two_headed, digits, cifar10, lenet5, every_window, flattened]

RULES = {
    "sgd": optimizers.SGD(0.1),
    "sgd, decay": optimizers.SGD(0.1, weight_decay=0.1),
    "momentum": optimizers.SGD(0.05, momentum=0.9),
    "nesterov": optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "momentum, rate outside": optimizers.SGD(0.05, momentum=0.8, rate_in_velocity=False),
    "adam": optimizers.Adam(0.01, beta_1=0.8, beta_2=0.95, epsilon=1e-3),
    "adam, decay": optimizers.Adam(0.01, weight_decay=0.1),
    "adamw": optimizers.AdamW(0.01, weight_decay=0.3),
    "adagrad, outside": optimizers.Adagrad(
        0.02, initial_accumulator_value=0.01, epsilon=1e-3, epsilon_inside_root=False
    ),
    "rmsprop, outside": optimizers.RMSprop(0.01, 0.8, epsilon=1e-3, epsilon_inside_root=False),
    "adadelta": optimizers.Adadelta(0.5, rho=0.8, epsilon=1e-4),
}
#: ε here is large enough to see where it is.
JAX_RULES = {
    "adagrad": optimizers.Adagrad(0.02, epsilon=1e-3),
    "rmsprop": optimizers.RMSprop(0.01, 0.8, epsilon=1e-3),
    "adam, inside": optimizers.Adam(0.01, epsilon=1e-3, epsilon_inside_root=True),
    "adam, epsilon hat": optimizers.Adam(0.01, epsilon=1e-3, epsilon_hat=True),
    "adam, uncorrected": optimizers.Adam(0.01, bias_correction=False),
    "sgd, decoupled decay": optimizers.SGD(0.1, weight_decay=0.3, decoupled_weight_decay=True),
    "nesterov, rate outside": optimizers.SGD(0.1, 0.8, nesterov=True, rate_in_velocity=False),
    "lion": optimizers.Lion(0.003, beta_1=0.8, beta_2=0.9, weight_decay=0.5),
}


def by_head(outputs):
    return outputs if isinstance(outputs, dict) else {"": outputs}


def batch(labels, i):
    return {head: y[i] for head, y in by_head(labels).items()}


def compiled(make, rule="sgd"):
    net, x, labels = make()
    net.compile(rule, "softmax_cross_entropy")
    return net, x, labels


def trained_alike(engine, make, rule, rtol=1e-4):
    """Five steps on both: losses, outputs, and how far the weights went."""
    net, x, labels = compiled(make, rule)
    other = peer(engine, net, threads=2)
    start = by_head(net.predict(x[5]))
    losses = []
    for i in range(5):
        y = batch(labels, i)
        losses.append((net.train_on_batch(x[i], y.get("", y)), other.step(x[i], y)))
    ours, theirs = by_head(net.predict(x[5])), other.outputs(x[5])
    np.testing.assert_allclose(*np.transpose(losses), rtol=rtol)
    assert list(ours) == list(theirs)
    for head, want in ours.items():
        moved = np.abs(want - start[head]).max()
        assert moved > 0.01, "nothing was learnt"
        np.testing.assert_allclose(theirs[head], want, rtol=rtol, atol=rtol * moved)


# --- where the libraries are installed ----------------------------------------------------------


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("engine", HERE)
def test_outputs_are_those_of_fastnn(engine, make):
    net, x, _ = compiled(make)
    found = peer(engine, net, threads=2).outputs(x[0])
    want = by_head(net.predict(x[0]))
    assert list(found) == list(want)
    for head, y in want.items():
        assert found[head].dtype == np.float32
        np.testing.assert_allclose(found[head], y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("engine", HERE)
def test_training_is_that_of_fastnn(engine, rule):
    if engine == "PyTorch fused" and rule.split(",")[0] in ("rmsprop", "adadelta"):
        pytest.skip("PyTorch has no fused form of it")
    trained_alike(engine, two_headed, RULES[rule])


@pytest.mark.parametrize("rule", JAX_RULES)
@pytest.mark.parametrize("engine", [JAX])
def test_jax_follows_the_rules_of_fastnn(engine, rule):
    trained_alike(engine, two_headed, JAX_RULES[rule])


@pytest.mark.parametrize("make", [digits, cifar10, lenet5, every_window, flattened])
@pytest.mark.parametrize("engine", HERE)
def test_gradients_are_those_of_fastnn(engine, make):
    # With larger steps of cifar10 a rounding decides on which side of 0 a ReLU is.
    rate = {digits: 0.5, every_window: 0.5, cifar10: 5e-5}.get(make, 0.05)
    trained_alike(engine, make, optimizers.SGD(rate))


@pytest.mark.parametrize("engine", HERE[:2])
def test_fused_is_asked_for(engine):
    net, _, _ = compiled(digits, "adam")
    defaults = peer(engine, net, threads=1).rule.defaults
    assert (defaults["fused"], defaults["foreach"]) == (("fused" in engine) or None, None)


@pytest.mark.parametrize("engine", HERE)
def test_dropout_drops_in_training_only(engine):
    """With w = 0 and x = 1 a step of rate 1 gives w = ±x / 2 after dropout: of each input kept."""
    n = 4000
    last = Dense(2, use_bias=False, kernel_initializer="zeros")
    net = Sequential([Dropout(0.25), Dropout(0.25), last], (n,))
    net.compile(optimizers.SGD(1.0), "softmax_cross_entropy")
    x, every, ends = np.ones((1, n), np.float32), np.eye(n, dtype=np.float32), []
    for seed in (1, 1, 2):
        other = peer(engine, net, threads=1, seed=seed)
        other.step(x, {"": np.array([0])})
        ends.append(other.outputs(every)[""][:, 0])
        kept = ends[-1] != 0
        np.testing.assert_allclose(ends[-1], np.where(kept, 0.5 / 0.75**2, 0), rtol=1e-5)
        assert kept.mean() == pytest.approx(0.75**2, abs=0.04)
        other.step(x, {"": np.array([1])})
        late = (other.outputs(every)[""][:, 0] != 0) & ~kept
        assert late.any(), "the same inputs are dropped in every step"
    np.testing.assert_array_equal(ends[0], ends[1])
    assert (ends[1] != ends[2]).any(), "the seed does nothing"


@pytest.mark.parametrize("engine", HERE)
def test_a_peer_is_no_part_of_the_model(engine):
    """Neither changes the other, and inputs may be views that can't be written."""
    net, x, labels = compiled(digits)
    other = peer(engine, net, threads=2)
    before, weights = other.outputs(x[0]), net.get_weights()
    net.train_on_batch(x[0], labels[0])
    np.testing.assert_array_equal(other.outputs(x[0])[""], before[""])
    net.set_weights(weights)
    for given in (x[0].copy(), np.asfortranarray(x[0]), x[0][::-1]):
        given.flags.writeable = False
        other.step(given, batch(labels, 0))
    for name, value in net.get_weights().items():
        np.testing.assert_array_equal(value, weights[name])


@pytest.mark.parametrize("make", [two_headed, cifar10, lenet5, every_window])
@pytest.mark.parametrize("engine", HERE)
def test_a_peer_keeps_no_array_of_the_model(engine, make):
    """Its memory is measured: the model has to go when the caller lets it."""
    net, x, labels = compiled(make)
    layers = [weakref.ref(layer) for layer in net.chain.leaves()]
    other = peer(engine, net, threads=2)
    del net
    gc.collect()
    assert [ref() for ref in layers] == [None] * len(layers)
    other.step(x[0], batch(labels, 0))


@pytest.mark.parametrize("pool", [(2, 1, "same"), (3, 1, 2), (3, 3, ((0, 1), (0, 1)))])
@pytest.mark.parametrize("engine", [TORCH])
def test_pytorch_refuses_padding_that_its_pools_have_not(engine, pool):
    """The last: two windows over 7 and a padding, where ``ceil_mode`` would have three."""
    net = Sequential([MaxPool2D(*pool), Flatten(), Dense(2)], (7, 7, 1))
    net.compile("sgd", "softmax_cross_entropy")
    with pytest.raises(ValueError, match="PyTorch can't pad as MaxPool2D 'maxpool2d' does"):
        peer(engine, net, threads=1)


# --- everywhere ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What a peer of JAX writes into it doesn't outlive the test."""
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


@pytest.fixture
def no_import(monkeypatch):
    """Importing one of the libraries fails."""
    for library in set(ENGINES.values()):
        monkeypatch.setitem(sys.modules, library, None)


def test_available_says_why_not(no_import):
    assert available() == {
        "PyTorch": "torch isn't installed",
        "PyTorch fused": "torch isn't installed",
        "JAX": "jax isn't installed",
    }


def test_available_imports_nothing(monkeypatch, tmp_path):
    for library in set(ENGINES.values()):
        (tmp_path / f"{library}.py").write_text("raise AssertionError('imported')")
        monkeypatch.delitem(sys.modules, library, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert available() == dict.fromkeys(ENGINES, "")


class Doubled(fastnn.Layer):
    def forward(self, x, training):
        return 2 * x


class OwnAdam(optimizers.Adam):
    pass


def dense(*before, optimizer="sgd", loss="softmax_cross_entropy", dtype="float32", **other):
    net = Sequential([*before, Dense(2)], input_shape=(3,), dtype=dtype)
    net.compile(optimizer, loss, **other)
    return net


ANY, BOTH, FUSED = tuple(ENGINES), ("PyTorch", "PyTorch fused"), ("PyTorch fused",)
REFUSED = [
    (ANY, {"optimizer": "adafactor"}, "the optimizer Adafactor"),
    (ANY, {"optimizer": OwnAdam()}, "the optimizer OwnAdam"),
    (ANY, {"optimizer": optimizers.SGD(lambda step: 0.1)}, "SGD with a rate that changes"),
    (ANY, {"optimizer": optimizers.SGD(clipvalue=1)}, "SGD with clipping"),
    (ANY, {"optimizer": optimizers.SGD(clipnorm=1)}, "SGD with clipping"),
    (ANY, {"optimizer": optimizers.SGD(global_clipnorm=1)}, "SGD with clipping"),
    (ANY, {"optimizer": optimizers.SGD(gradient_accumulation_steps=2)}, "gradient accumulation"),
    (ANY, {"optimizer": optimizers.Adam(state_dtype="8bit")}, "Adam with state_dtype='8bit'"),
    (ANY, {"loss": "mse"}, "softmax_cross_entropy"),
    (ANY, {"dtype": "float64"}, "can't take over dtype float64"),
    (BOTH, {"optimizer": "lion"}, "has no Lion"),
    (BOTH, {"optimizer": "adam-uncorrected"}, "has no Adam without bias correction"),
    (
        BOTH,
        {"optimizer": optimizers.SGD(weight_decay=0.1, decoupled_weight_decay=True)},
        "has no SGD with decoupled weight decay",
    ),
    (FUSED, {"optimizer": "rmsprop"}, "PyTorch fused has no RMSprop"),
    (FUSED, {"optimizer": "adadelta"}, "PyTorch fused has no Adadelta"),
]


@pytest.mark.parametrize(
    ("engine", "arguments", "message"),
    [(engine, *rest) for engines, *rest in REFUSED for engine in engines],
)
def test_what_is_refused(no_import, engine, arguments, message):
    with pytest.raises(ValueError, match=message):
        peer(engine, dense(**arguments), threads=1)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_layer_of_your_own_is_refused(no_import, engine):
    for layers in ([Doubled()], [Chain([Dense(3), Doubled()])]):
        with pytest.raises(ValueError, match=f"{engine} can't take over Doubled 'doubled'"):
            peer(engine, dense(*layers), threads=1)
    net = Sequential([Heads({"a": [Doubled(name="mine"), Dense(2)]})], input_shape=(3,))
    net.compile("sgd", "softmax_cross_entropy")
    with pytest.raises(ValueError, match="Doubled 'mine'"):
        peer(engine, net, threads=1)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_weighted_head_is_refused(no_import, engine):
    net = Sequential([Heads({"a": Dense(2), "b": Dense(3)})], input_shape=(3,))
    net.compile("sgd", "softmax_cross_entropy", loss_weights={"b": 0.5})
    with pytest.raises(ValueError, match="of weight 1"):
        peer(engine, net, threads=1)


def test_a_model_that_is_not_ready(no_import):
    net = Sequential([Dense(2)])
    with pytest.raises(RuntimeError, match="compile"):
        peer("JAX", net, threads=1)
    net.compile("sgd", "softmax_cross_entropy")
    with pytest.raises(RuntimeError, match="build the model first"):
        peer("JAX", net, threads=1)


def test_an_unknown_engine(no_import):
    with pytest.raises(ValueError, match="unknown engine 'pytorch'; did you mean 'PyTorch'"):
        peer("pytorch", dense(), threads=1)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_that_is_not_installed(no_import, engine):
    with pytest.raises(ModuleNotFoundError, match=ENGINES[engine]):
        peer(engine, dense(), threads=2)


@pytest.mark.parametrize("threads", [1, 2])
def test_one_thread_of_jax_is_asked_for_before_its_import(no_import, threads):
    before = os.environ["XLA_FLAGS"]
    with pytest.raises(ModuleNotFoundError):
        peer("JAX", dense(), threads)
    flags = os.environ["XLA_FLAGS"]
    assert flags.startswith(before)
    assert ("multi_thread_eigen=false" in flags) == (threads == 1)
