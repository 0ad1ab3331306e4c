"""Dense layers as convolutions: a larger image gives the map that its windows give one by one."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Heads,
    Maxout,
    MaxPool2D,
    Rescaling,
    Sequential,
    Softmax,
)
from fastnn.regularizers import L2

ENDS = {
    "flatten": lambda: [
        Flatten(), Dropout(0.5), Dense(6, "relu", kernel_regularizer=L2(0.1)),
        BatchNormalization(), Activation("tanh"), Dense(4, use_bias=False), Rescaling(2.0),
    ],
    "mean": lambda: [GlobalAveragePooling2D(), Softmax(), Dense(4, "tanh"), Dense(3), Softmax()],
    "a window of one": lambda: [MaxPool2D(3, 1), Flatten(), Softmax()],
    "maximum": lambda: [GlobalMaxPooling2D(), Dense(4)],
}  # fmt: skip


def trunk(end, seed=1):
    """10 × 9 images give 3 × 3 features, and a step of one feature is two pixels."""
    layers = [Conv2D(4, 3, activation="relu"), MaxPool2D((2, 1), (2, 2)), Conv2D(5, (2, 2))]
    return Sequential([*layers, *ENDS[end]()], (10, 9, 2), seed=seed)


@pytest.mark.parametrize("end", ENDS)
def test_a_map_is_what_its_windows_give(backend, end, rng):
    whole, windows = trunk(end), trunk(end)
    x = rng.standard_normal((2, 14, 13, 2)).astype("f4")
    small = np.ascontiguousarray(x[:, :10, :9])
    before = whole.get_weights()
    whole.to_convolution()
    np.testing.assert_allclose(
        whole.predict(small)[:, 0, 0], windows.predict(small), rtol=1e-5, atol=1e-6
    )
    whole.to_convolution((14, 13, 2))
    got = whole.predict(x)
    assert got.shape[:3] == (2, 3, 3)
    want = np.empty_like(got)
    for i in range(3):
        for j in range(3):
            part = np.ascontiguousarray(x[:, 2 * i : 2 * i + 10, 2 * j : 2 * j + 9])
            want[:, i, j] = windows.predict(part)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert got.std(axis=(1, 2)).max() > 0.01
    whole.add(GlobalAveragePooling2D())
    np.testing.assert_allclose(whole.predict(x), want.mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)
    after = whole.get_weights()
    assert list(after) == list(before)
    for name, array in before.items():
        assert array.tobytes() == after[name].tobytes()
    whole.compile("sgd")
    whole.train_on_batch(x, [0, 1])


def test_what_stays(rng):
    net = trunk("flatten")
    net.layers[5].trainable = False
    net.to_convolution()
    kinds = [type(layer).__name__ for layer in net.layers[3:]]
    assert kinds == ["Dropout", "Conv2D", "BatchNormalization", "Activation", "Conv2D", "Rescaling"]
    assert [net.layers[4].trainable, net.layers[7].trainable] == [False, True]
    assert net.layers[4].kernel_regularizer.l2 == 0.1
    assert net.layers[4].activation == "relu"
    with pytest.raises(RuntimeError, match="call compile"):
        net.train_on_batch(rng.standard_normal((1, 10, 9, 2)), [0])


@pytest.mark.parametrize(
    ("layers", "shape", "larger", "message"),
    [
        ([Flatten(), Dense(3)], (4, 4, 1), (5, 3, 1), "the window's width 4 .* is larger than"),
        ([Flatten(), Dense(3)], (4, 4, 1), (5, 5, 2), r"model's \(4, 4, 1\), got \(5, 5, 2\)"),
        ([Flatten(), Dense(3)], (4, 4), None, "Flatten 'flatten' needs images"),
        ([Flatten(), Maxout(3)], (4, 4, 1), None, "Maxout 'maxout' can't follow"),
        ([Dense(3)], (4,), None, "Dense 'dense' needs Flatten or a global pooling before it"),
        ([Flatten(), BatchNormalization(), Dense(3)], (4, 4, 1), None,
         "BatchNormalization 'batchnormalization' can't follow the image's features"),
        ([Flatten(), Dense(3), Heads({"a": Dense(1)})], (4, 4, 1), None, "Heads 'heads' can't"),
        ([Flatten(), Flatten(), Dense(3)], (4, 4, 1), None, "Flatten 'flatten_1' needs images"),
        ([Flatten(), Softmax(), Dense(3)], (2, 2, 3), None, "Softmax 'softmax' can't follow"),
        ([Flatten(), Activation("softmax"), Dense(3)], (1, 2, 3), None,
         "Activation 'activation' can't follow"),
        ([Conv2D(2, 3), Flatten()], (4, 4, 1), None, "Flatten 'flatten' needs a dense layer after"),
        ([Flatten(), Rescaling(2.0)], (4, 4, 1), None, "Flatten 'flatten' needs a dense layer"),
    ],
)  # fmt: skip
def test_what_is_refused(layers, shape, larger, message):
    net = Sequential(layers, shape, seed=1)
    before = net.get_weights()
    x = np.ones((1, *shape), "f4")
    y = net.predict(x)
    with pytest.raises(ValueError, match=message):
        net.to_convolution(larger)
    assert list(net.get_weights()) == list(before)
    if not isinstance(y, dict):
        np.testing.assert_array_equal(net.predict(x), y)
