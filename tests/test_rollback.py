"""What fails half-way leaves a model, its layers and other models as they were."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn import (
    Conv2D,
    Dense,
    Flatten,
    Heads,
    MaxPool2D,
    PReLU,
    Residual,
    Sequential,
    optimizers,
    parameters,
)
from fastnn.callbacks import Callback
from fastnn.initializers import Initializer


def bits(net):
    return {name: array.tobytes() for name, array in net.get_weights().items()}


def trained(*layers, shape=(5,), seed=3):
    """A network, compiled, after a step."""
    net = Sequential(layers, shape, seed=seed)
    net.compile(optimizers.Adam(0.01, clipnorm=1.0))
    net.train_on_batch(*batch(net))
    return net


def batch(net, n=4):
    rng = np.random.default_rng(1)
    classes = net.chain.output_shape[-1]
    x = rng.standard_normal((n, *net.chain.input_shape)).astype(np.float32)
    return x, rng.integers(0, classes, n)


def go_on_alike(net, twin):
    """Both predict and train as the other does, to the bit."""
    for n in (4, 4, 6):
        x, y = batch(twin, n)
        np.testing.assert_array_equal(net.predict(x), twin.predict(x))
        assert net.train_on_batch(x, y) == twin.train_on_batch(x, y)
    assert bits(net) == bits(twin)


@pytest.mark.parametrize("owner", ["another model", "the model itself"])
def test_a_refused_layer_takes_none_from_its_owner(owner):
    """One that lies within the layer that add refuses."""
    one, twin = (trained(Residual([Dense(5)]), Dense(3)) for _ in range(2))
    other = one if owner == "the model itself" else trained(Dense(3))
    inner = other.layers[0].children[0] if other is one else other.layers[-1]
    new = Dense(5)
    with pytest.raises(ValueError, match=r"there twice|part of another model"):
        one.add(Heads({"old": inner, "new": new}))
    go_on_alike(one, twin)
    if other is not one:
        go_on_alike(other, trained(Dense(3)))
    assert Sequential([new], (2,)).count_params() == 15, "nobody's"


def test_a_shape_that_does_not_fit_leaves_the_model_built_as_it_was():
    """29 / 2 is rounded up by the one branch, down by the other."""

    def make():
        block = Residual([Conv2D(4, 3, 2, "same")], [MaxPool2D(2)])
        return trained(Conv2D(4, 3, padding="same"), block, Flatten(), Dense(3), shape=(8, 8, 1))

    net, twin = make(), make()
    with pytest.raises(ValueError, match="shape"):
        net.build((9, 9, 1))
    assert net.layers[0].input_shape == (8, 8, 1)
    with pytest.raises(ValueError, match=r"\(N, 8, 8, 1\)"):
        net.predict(np.ones((2, 9, 9, 1)))
    go_on_alike(net, twin)


def test_layers_of_a_model_that_could_not_be_built_are_free():
    layer = Dense(3)
    with pytest.raises(ValueError, match="Flatten"):
        Sequential([layer], (4, 4))
    assert Sequential([Flatten(), layer], (4, 4)).count_params() == 51


@pytest.mark.parametrize("array", range(4))
@pytest.mark.parametrize("freeze", [False, True])
def test_compile_without_memory_changes_nothing(array, freeze, monkeypatch):
    """Whichever array can't be had: values anew, two of the state, gradients."""

    def make():
        return trained(Conv2D(2, 3), PReLU(), Flatten(), Dense(3), shape=(6, 6, 1))

    net, twin = make(), make()
    usual, calls = parameters.zeros, []

    def zeros(*arguments, **named):
        calls.append(arguments)
        if len(calls) > array:
            raise MemoryError("none left")
        return usual(*arguments, **named)

    first = net.layers[0].w.value.copy()
    net.layers[0].trainable = not freeze
    monkeypatch.setattr(parameters, "zeros", zeros)
    with pytest.raises(MemoryError, match="none left"):
        net.compile(optimizers.Adam(0.5))
    monkeypatch.undo()
    if freeze:
        twin.layers[0].trainable = False
        for model in (net, twin):
            model.compile("sgd")
    go_on_alike(net, twin)
    assert ((net.layers[0].w.value == first) == freeze).all()


def test_compile_with_what_does_not_fit_keeps_the_one_before():
    net, twin = trained(Dense(3)), trained(Dense(3))
    with pytest.raises(ValueError, match="unknown loss"):
        net.compile("sgd", "mean_quared")
    go_on_alike(net, twin)


class Interrupted(Initializer):
    """Fails at its first use, after some numbers were drawn."""

    def __init__(self):
        self.used = False

    def fill(self, out, rng):
        rng.standard_normal(7)
        if not self.used:
            self.used = True
            raise KeyboardInterrupt
        out[...] = rng.standard_normal(out.shape)


def test_weights_half_drawn_are_drawn_again():
    net, twin = (
        Sequential([Dense(4), Dense(3, kernel_initializer=Interrupted())], (5,), seed=1)
        for _ in range(2)
    )
    twin.layers[1].kernel_initializer.used = True
    with pytest.raises(KeyboardInterrupt):
        net.compile("adam")
    assert bits(net) == bits(twin)


def test_every_callback_is_told_of_the_end():
    told = []

    class Ending(Callback):
        def __init__(self, name):
            self.name = name

        def on_train_end(self):
            told.append(self.name)
            raise OSError(self.name)

    net = trained(Dense(3))
    with pytest.raises(OSError, match=r"first|last"):
        net.fit(*batch(net), verbose=0, callbacks=[Ending("first"), Ending("last")])
    assert told == ["first", "last"]
