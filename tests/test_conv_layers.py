"""Layers of images: against the functions people call by hand, in models, and on bad input."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastnn
from fastnn import (
    AlphaDropout,
    AveragePooling2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPool2D,
    MaxPooling2D,
    Rescaling,
    Sequential,
    ZeroPadding2D,
    initializers,
)
from fastnn import functional as F
from fastnn.parameters import Gradients

IMAGE = (9, 8, 4)


def run(layer, x, training=True):
    """Forward and backward of one layer that needs dx: y, a random dy, dx, gradients by name."""
    net = Sequential([layer], input_shape=x.shape[1:], dtype=str(x.dtype), seed=3)
    net.compile("sgd", "mse")
    net.bind(len(x), training, needs_dx=True)
    y = net.chain.forward(x, training).copy()
    dy = np.random.default_rng(5).standard_normal(y.shape).astype(x.dtype)
    sink = Gradients()
    dx = net.chain.backward(dy.copy(), sink)
    found = {name.rpartition("/")[2]: a for name, a in sink.arrays.items()}
    weights = {name.rpartition("/")[2]: a for name, a in net.get_weights().items()}
    return y, dy, dx, found, weights


CONVOLUTIONS = {
    "plain": {},
    "same, relu": {"padding": "same", "activation": "relu"},
    "strides": {"strides": (2, 1), "padding": ((1, 0), (2, 3)), "activation": "tanh"},
    "dilation": {"dilation_rate": (1, 2)},
    "groups": {"groups": 2, "padding": 1, "activation": "sigmoid"},
    "no bias": {"use_bias": False, "activation": "relu"},
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_conv2d_is_the_function(backend, case, dtype, rng):
    options = CONVOLUTIONS[case]
    x = rng.standard_normal((3, *IMAGE)).astype(dtype)
    layer = Conv2D(6, (3, 2), **options, bias_initializer=0.3)
    y, dy, dx, found, weights = run(layer, x)
    given = {k.replace("_rate", ""): v for k, v in options.items() if k != "use_bias"}
    b = weights.get("b")
    assert (b is None) == (case == "no bias")
    np.testing.assert_array_equal(y, F.conv2d(x, weights["w"], b, **given))
    given_back = {**given, "y": y} if "activation" in given else given
    want = F.conv2d_backward(x, weights["w"], dy, **given_back)
    np.testing.assert_array_equal(dx, want[0])
    np.testing.assert_array_equal(found["w"], want[1])
    if b is not None:
        np.testing.assert_array_equal(found["b"], want[2])
        assert np.all(b == np.asarray(0.3, dtype))


@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_depthwise_convolution_is_one_for_each_channel(backend, multiplier, rng):
    x = rng.standard_normal((2, *IMAGE))
    layer = DepthwiseConv2D((2, 3), (1, 2), "same", multiplier, dilation_rate=2, activation="relu")
    y, dy, dx, found, weights = run(layer, x)
    options = {"strides": (1, 2), "padding": "same", "dilation": 2}
    assert weights["w"].shape == (2, 3, 4, multiplier)
    assert y.shape[-1] == 4 * multiplier
    for c in range(4):
        part, one = slice(c * multiplier, (c + 1) * multiplier), slice(c, c + 1)
        w = weights["w"][:, :, one]
        want = F.conv2d(x[..., one], w, weights["b"][part], **options, activation="relu")
        np.testing.assert_allclose(y[..., part], want, rtol=1e-12)
        back = F.conv2d_backward(
            x[..., one], w, dy[..., part], **options, y=y[..., part], activation="relu"
        )
        for got, expected in zip(
            (dx[..., one], found["w"][:, :, one], found["b"][part]), back, strict=True
        ):
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


POOLS = {
    "2x2": {"pool_size": 2},
    "overlapping": {"pool_size": 3, "strides": 2, "padding": "same"},
    "oblong": {"pool_size": (3, 2), "strides": (1, 3), "padding": ((1, 0), (0, 1))},
    "large": {"pool_size": 17, "strides": 1, "padding": ((8, 8), (8, 9))},
}


@pytest.mark.parametrize("case", POOLS)
def test_pools_are_the_functions(backend, case, rng):
    options = POOLS[case]
    x = rng.standard_normal((3, *IMAGE)).astype(np.float32)
    y, dy, dx, _, _ = run(MaxPool2D(**options), x)
    want, idx = F.max_pool2d(x, **options, return_indices=True)
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(dx, F.max_pool2d_backward(dy, idx, x.shape, **options))
    y, dy, dx, _, _ = run(AveragePooling2D(**options), x)
    np.testing.assert_array_equal(y, F.average_pool2d(x, **options))
    np.testing.assert_array_equal(dx, F.average_pool2d_backward(dy, x.shape, **options))


def test_global_pools_are_the_functions(backend, rng):
    x = rng.standard_normal((3, *IMAGE)).astype(np.float32)
    y, dy, dx, _, _ = run(GlobalMaxPooling2D(), x)
    want, idx = F.global_max_pool2d(x, return_indices=True)
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(dx, F.global_max_pool2d_backward(dy, idx, x.shape))
    y, dy, dx, _, _ = run(GlobalAveragePooling2D(), x)
    np.testing.assert_array_equal(y, F.global_average_pool2d(x))
    np.testing.assert_array_equal(dx, F.global_average_pool2d_backward(dy, x.shape))


@pytest.mark.parametrize(
    ("padding", "sides"),
    [(1, ((1, 1), (1, 1))), ((1, 2), ((1, 1), (2, 2))), (((0, 1), (2, 0)), ((0, 1), (2, 0)))],
)
def test_zero_padding(padding, sides, rng):
    x = rng.standard_normal((3, *IMAGE)).astype(np.float32)
    y, dy, dx, _, _ = run(ZeroPadding2D(padding), x)
    np.testing.assert_array_equal(y, np.pad(x, ((0, 0), *sides, (0, 0))))
    (top, _), (left, _) = sides
    np.testing.assert_array_equal(dx, dy[:, top : top + 9, left : left + 8])


def test_zero_padding_before_a_valid_convolution_is_a_padded_one(rng):
    x = rng.standard_normal((2, *IMAGE))
    nets = [
        Sequential(layers, input_shape=IMAGE, dtype="float64", seed=1)
        for layers in (
            [ZeroPadding2D(((2, 1), (0, 3))), Conv2D(3, 3)],
            [Conv2D(3, 3, padding=((2, 1), (0, 3)))],
        )
    ]
    np.testing.assert_allclose(nets[0].predict(x), nets[1].predict(x), rtol=1e-12, atol=1e-12)


# --- dropout ----------------------------------------------------------------------------------


def drop(x, **options):
    y, dy, dx, _, _ = run(Dropout(**options), x)
    return y, dy, dx


def test_dropout_keeps_the_mean_and_masks_the_gradient():
    x = np.ones((400, 500), np.float32)
    y, dy, dx = drop(x, rate=0.2, seed=1)
    kept = y != 0
    np.testing.assert_array_equal(y[kept], np.float32(1.25))
    # Within four standard errors of 200,000 draws.
    assert abs(kept.mean() - 0.8) < 4 * (0.2 * 0.8 / x.size) ** 0.5
    assert abs(y.mean() - 1) < 5e-3
    np.testing.assert_array_equal(dx, dy * y)
    # Of rows and columns alike: no axis is dropped as a whole.
    assert np.ptp(kept.mean(axis=0)) < 0.2
    assert np.ptp(kept.mean(axis=1)) < 0.2


def test_dropout_is_the_identity_in_evaluation_and_without_a_rate(rng):
    x = rng.standard_normal((5, 7)).astype(np.float32)
    for rate, training in ((0.5, False), (0.0, True), (0, True)):
        y, dy, dx, _, _ = run(Dropout(rate), x, training)
        np.testing.assert_array_equal(y, x)
        np.testing.assert_array_equal(dx, dy)


def test_dropout_draws_anew_at_every_step_by_its_seed_or_the_models(rng):
    """Two layers of one model differ, two models of one seed don't, a seed of its own wins."""
    x = np.ones((4, 50), np.float32)

    def masks(model_seed, *seeds):
        net = Sequential([Dropout(0.5, seed=s) for s in seeds], input_shape=(50,), seed=model_seed)
        net.compile("sgd", "mse")
        found = []
        for _ in range(2):
            net.bind(len(x), training=True)
            for layer in net.layers:
                found.append(layer.forward(x, True).copy())
        return found

    first = masks(1, None, None)
    assert len({a.tobytes() for a in first}) == 4
    for a, b in zip(first, masks(1, None, None), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(first, masks(2, None, None), strict=True):
        assert np.any(a != b)
    own = masks(1, 7, None)
    np.testing.assert_array_equal(own[0], masks(2, 7)[0])
    np.testing.assert_array_equal(own[1], first[1])
    assert len({a.tobytes() for a in masks(None, None) + masks(None, None)}) == 4


@pytest.mark.parametrize("kind", [Dropout, AlphaDropout])
@pytest.mark.parametrize("seed", [None, 7])
def test_built_again_or_folded_dropout_begins_anew(kind, seed):
    """And a copy draws from a generator of its own."""
    x, net = np.ones((4, 50), np.float32), Sequential([kind(0.5, seed=seed)], (50,), seed=1)

    def masks(model, count=3):
        model.bind(len(x), training=True)
        return [model.layers[0].forward(x, True).tobytes() for _ in range(count)]

    first = masks(net)
    net.build((50,))
    assert masks(net) == first
    folded = fastnn.fold_batch_norm(net)
    assert masks(folded) == first
    going_on = masks(net, 1)
    net.build((50,))
    masks(net)
    assert masks(net, 1) == going_on


def test_dropout_has_the_same_masks_in_both_dtypes_and_leaves_the_weights_alone():
    x = np.ones((20, 30))
    wide, narrow = drop(x, rate=0.3, seed=4)[0], drop(x.astype(np.float32), rate=0.3, seed=4)[0]
    np.testing.assert_array_equal(wide != 0, narrow != 0)
    with_dropout, without = (
        Sequential([*layers, Dense(3)], input_shape=(30,), seed=2).get_weights()["dense/w"]
        for layers in ([Dropout(0.3)], [])
    )
    np.testing.assert_array_equal(with_dropout, without)


# --- in models --------------------------------------------------------------------------------


def network(dtype="float32", seed=1):
    net = Sequential(
        [
            Rescaling(1 / 255),
            Conv2D(6, 3, padding="same", activation="relu", bias_initializer=0.1),
            MaxPool2D(3, 2, "same"),
            DepthwiseConv2D(3, depth_multiplier=2),
            AveragePooling2D(2, 1),
            Flatten(),
            Dense(12, activation="relu"),
            Dropout(0.25),
            Dense(3),
        ],
        dtype=dtype,
        seed=seed,
    )
    net.compile(fastnn.optimizers.RMSprop(0.01), "softmax_cross_entropy", metrics=["accuracy"])
    return net


@pytest.fixture
def images(rng):
    """Of three classes: a bright bar at the top, on the left, or none."""
    x, labels = rng.integers(0, 80, (70, 9, 8, 2)).astype(np.uint8), rng.integers(0, 3, 70)
    x[labels == 0, :3] += 150
    x[labels == 1, :, :3] += 150
    return x, labels


def test_a_network_of_images_learns(backend, images):
    """From bytes, with short last batches and validation in between."""
    net = network()
    history = net.fit(*images, epochs=12, batch_size=16, seed=1, verbose=0, validation_split=0.2)
    assert history.history["val_accuracy"][-1] > 0.9
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]


@pytest.mark.parametrize("name", ["cython", "numba"])
def test_the_same_bits_for_any_number_of_threads(name, images):
    found = []
    for threads in (1, 2):
        fastnn.set_num_threads(threads)
        with fastnn.use_backend(name):
            net = network()
            net.fit(*images, epochs=2, batch_size=16, seed=1, verbose=0)
        found.append(net.get_weights())
    for parameter, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][parameter], err_msg=parameter)


def test_weights_of_images_are_saved_and_loaded(images, tmp_path):
    net, other = network(), network(seed=9)
    net.fit(*images, epochs=1, verbose=0)
    net.save_weights(tmp_path / "w.safetensors")
    other.build((9, 8, 2))
    assert not np.array_equal(net.predict(images[0]), other.predict(images[0]))
    other.load_weights(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(net.predict(images[0]), other.predict(images[0]))


def test_the_summary_shows_windows():
    net = Sequential(
        [
            ZeroPadding2D(((1, 0), (0, 2))),
            Conv2D(64, 5, padding="same", activation="relu"),
            Conv2D(4, (3, 2), strides=(2, 1), dilation_rate=2, groups=2, padding=1),
            DepthwiseConv2D(3, padding="same", depth_multiplier=2),
            DepthwiseConv2D(1, activation="tanh"),
            MaxPool2D(3, 2, "same"),
            MaxPooling2D(),
            AveragePooling2D((1, 2), padding=((0, 0), (0, 1))),
            Dropout(0.2),
            GlobalMaxPooling2D(),
        ],
        input_shape=(20, 21, 3),
    )
    assert [layer.describe() for layer in net.layers] == [
        "ZeroPadding2D((1, 0), (0, 2))",
        "Conv2D(64, 5x5, same, relu)",
        "Conv2D(4, groups 2, 3x2, strides 2x1, padding 1, dilation 2x2)",
        "DepthwiseConv2D(multiplier 2, 3x3, same)",
        "DepthwiseConv2D(1x1, tanh)",
        "MaxPool2D(3x3, strides 2x2, same)",
        "MaxPool2D(2x2)",
        "AveragePooling2D(1x2, padding ((0, 0), (0, 1)))",
        "Dropout(0.2)",
        "GlobalMaxPooling2D",
    ]
    assert [layer.output_shape for layer in net.layers] == [
        (21, 23, 3), (21, 23, 64), (10, 23, 4), (10, 23, 8), (10, 23, 8), (5, 12, 8), (2, 6, 8),
        (2, 3, 8), (2, 3, 8), (8,),
    ]  # fmt: skip
    assert "Conv2D(64, 5x5, same, relu)  (N, 21, 23, 64)       4,864" in re.sub(
        " {2,}\\(", "  (", net.summary()
    )


def test_the_first_layer_computes_no_dx(rng):
    """Nor does any layer below the first with parameters; every layer above it does."""
    net = Sequential(
        [ZeroPadding2D(1), MaxPool2D(2), Conv2D(4, 3), AveragePooling2D(2), Conv2D(3, 1)], seed=1
    )
    net.compile("sgd", "mse")
    x = rng.standard_normal((2, 12, 12, 2))
    net.train_on_batch(x, rng.standard_normal(net.predict(x).shape))
    assert [layer.dx is not None for layer in net.layers] == [False, False, False, True, True]


def test_steps_allocate_nothing(images):
    """All arrays are buffers of the layers: their memory stays where it is."""
    net = network()
    x, labels = images[0].astype(np.float32)[:16], images[1][:16]
    for _ in range(2):
        net.train_on_batch(x, labels)

    def addresses():
        return {
            (layer.name, key): a.ctypes.data
            for layer in net.layers
            for key, a in vars(layer).items()
            if isinstance(a, np.ndarray)
        }

    before = addresses()
    assert ("maxpool2d", "index") in before
    net.train_on_batch(x, labels)
    assert addresses() == before


def test_metrics_see_the_outputs_of_the_step(backend, images):
    """Though the last layer's ``backward`` writes over what its ``forward`` returned."""
    net = Sequential([Rescaling(1 / 255), Conv2D(3, (9, 8), activation="sigmoid"), Flatten()])
    net.compile(fastnn.optimizers.SGD(0.0), "mse", metrics=["accuracy"])
    x, y = images[0], np.eye(3)[images[1]]
    row = net.fit(x, y, batch_size=7, verbose=0).history
    assert row["accuracy"][0] == pytest.approx(net.evaluate(x, y)["accuracy"])
    before = net.predict(x[:7])
    outputs, _ = net.step(x[:7], net.check_labels(y[:7], 7))
    np.testing.assert_array_equal(outputs, before)


def test_metrics_see_the_outputs_of_a_layer_that_looks_ahead(backend, rng):
    """A streamed layer alone multiplies the next batch before the metrics read this one's."""
    x, y = rng.standard_normal((40, 9000)).astype(np.float32), rng.integers(0, 40, 40)
    net = Sequential([Dense(40)], seed=1)
    net.compile("sgd", metrics=["accuracy"])
    history = net.fit(x, y, batch_size=10, epochs=3, seed=1, verbose=0).history
    assert net.store.parameters[0].gradient is None
    assert history["accuracy"][-1] == 1


def test_a_batch_after_a_larger_one_sees_nothing_of_it(rng):
    """Buffers are views of the largest: the zeros around the images are there for all."""
    net = Sequential([ZeroPadding2D(((1, 2), (0, 1))), MaxPool2D(2), GlobalMaxPooling2D()])
    x = rng.standard_normal((7, 5, 6, 3)).astype(np.float32)
    whole = net.predict(x, batch_size=7)
    for size in (3, 2, 7, 1):
        np.testing.assert_array_equal(net.predict(x, batch_size=size), whole)


# --- weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_truncated_normal(dtype):
    """Nothing beyond two standard deviations, and the spread that is left of them, 0.8796."""
    for given, mean in ((initializers.get("truncated_normal"), 0), (
        initializers.TruncatedNormal(mean=3, stddev=0.05), 3,
    )):  # fmt: skip
        out = np.full((5, 5, 64, 64), np.nan, dtype)
        given.fill(out, np.random.default_rng(1))
        assert np.abs(out - mean).max() <= 0.1 + 1e-6
        assert np.abs(out - mean).max() > 0.0995
        assert out.mean() == pytest.approx(mean, abs=5e-4)
        assert out.std() == pytest.approx(0.05 * 0.8796, rel=0.01)


@pytest.mark.parametrize(
    ("name", "fan"),
    [
        ("glorot_uniform", (5 * 3 * 8 + 5 * 3 * 40) / 2),
        ("glorot_normal", (5 * 3 * 8 + 5 * 3 * 40) / 2),
        ("he_uniform", 5 * 3 * 8 / 2),
        ("he_normal", 5 * 3 * 8 / 2),
        ("lecun_normal", 5 * 3 * 8),
    ],
)
def test_fans_of_a_convolution_count_the_window(name, fan):
    """w (KH, KW, C, O): fan in KH·KW·C, fan out KH·KW·O; the variance is 1 / fan."""
    net = Sequential([Conv2D(40, (5, 3), kernel_initializer=name)], input_shape=(9, 9, 8), seed=1)
    w = net.get_weights()["conv2d/w"]
    assert w.shape == (5, 3, 8, 40)
    assert w.var() == pytest.approx(1 / fan, rel=0.05)
    if "uniform" in name:
        assert np.abs(w).max() == pytest.approx((3 / fan) ** 0.5, rel=0.01)


# --- errors -----------------------------------------------------------------------------------


def on(layer, *shape):
    return lambda: Sequential([layer], input_shape=shape)


ERRORS = [
    (lambda: Conv2D(0, 3), "Conv2D: filters must be in 1.."),
    (lambda: Conv2D(2.0, 3), "Conv2D: filters must be an integer >= 1, got 2.0"),
    (lambda: Conv2D(True, 3), "Conv2D: filters must be an integer >= 1, got True"),
    (lambda: Conv2D(4, (3, 0)), "Conv2D: kernel_size[1] must be in 1.."),
    (lambda: Conv2D(4, (3, 3, 3)), "Conv2D: kernel_size must be an integer or a pair"),
    (lambda: Conv2D(4, 3, strides=-1), "Conv2D: strides must be in 1.."),
    (lambda: Conv2D(4, 3, dilation_rate=0), "Conv2D: dilation_rate must be in 1.."),
    (lambda: Conv2D(4, 3, groups=0), "Conv2D: groups must be in 1.."),
    (lambda: Conv2D(4, 3, padding="full"), "unknown padding for Conv2D 'full'"),
    (lambda: Conv2D(4, 3, padding=(1, 1)), "Conv2D: padding must be 'valid', 'same', an integer"),
    (lambda: Conv2D(4, 3, activation="swich"), "unknown activation for Conv2D 'swich'"),
    (lambda: Conv2D(4, 3, kernel_initializer="normal"), "unknown initializer 'normal'"),
    (on(Conv2D(4, 3), 784),
     "Conv2D 'conv2d': input must have shape (N, H, W, C), got (N, 784)"),
    (on(Conv2D(4, 3, name="c1"), 28, 28),
     "Conv2D 'c1': input must have shape (N, H, W, C), got (N, 28, 28)"),
    (on(Conv2D(4, 3, groups=4), 9, 9, 2),
     "Conv2D 'conv2d': groups=4 must divide C=2 of x and O=4 of w"),
    (on(Conv2D(5, 3, groups=2), 9, 9, 2),
     "Conv2D 'conv2d': groups=2 must divide C=2 of x and O=5 of w"),
    (on(Conv2D(4, 5, dilation_rate=3), 12, 40, 1),
     "Conv2D 'conv2d': the window's height 13 (kernel 5, dilation 3) is larger than the padded "),
    (lambda: DepthwiseConv2D(3, depth_multiplier=0),
     "DepthwiseConv2D: depth_multiplier must be in 1.."),
    (on(DepthwiseConv2D(3), 9),
     "DepthwiseConv2D 'depthwiseconv2d': input must have shape (N, H, W, C), got (N, 9)"),
    (lambda: MaxPool2D(0), "MaxPool2D: pool_size must be in 1.."),
    (lambda: MaxPool2D(2, 0), "MaxPool2D: strides must be in 1.."),
    (lambda: AveragePooling2D(2, padding="Same"), "unknown padding for AveragePooling2D 'Same'; "),
    (on(MaxPool2D(2), 16), "MaxPool2D 'maxpool2d': input must have shape (N, H, W, C), got (N, 16"),
    (on(MaxPool2D(3), 2, 9, 1),
     "MaxPool2D 'maxpool2d': the window's height 3 (kernel 3, dilation 1) is larger than"),
    (on(AveragePooling2D(2, padding=3), 4, 4, 1),
     "AveragePooling2D 'averagepooling2d': a window lies wholly in the padding along the height"),
    (on(GlobalMaxPooling2D(), 16),
     "GlobalMaxPooling2D 'globalmaxpooling2d': input must have shape (N, H, W, C), got (N, 16)"),
    (on(GlobalAveragePooling2D(), 4, 4), "input must have shape (N, H, W, C), got (N, 4, 4)"),
    (lambda: Dropout(1), "Dropout: rate must be a number in [0, 1), got 1"),
    (lambda: Dropout(-0.1), "Dropout: rate must be a number in [0, 1), got -0.1"),
    (lambda: Dropout("0.5"), "Dropout: rate must be a number in [0, 1), got '0.5'"),
    (lambda: Dropout(0.5, seed=-1), "Dropout: seed must be an integer >= 0 or None, got -1"),
    (lambda: Dropout(0.5, seed=0.5), "Dropout: seed must be an integer >= 0 or None, got 0.5"),
    (lambda: ZeroPadding2D("same"), "ZeroPadding2D: padding must be numbers, got 'same'"),
    (lambda: ZeroPadding2D(-1), "ZeroPadding2D: padding must be "),
    (lambda: ZeroPadding2D((1, -2)), "ZeroPadding2D: padding must be "),
    (lambda: ZeroPadding2D((1, 2, 3)), "ZeroPadding2D: padding must be "),
    (lambda: ZeroPadding2D(True), "ZeroPadding2D: padding must be "),
    (on(ZeroPadding2D(1), 16), "ZeroPadding2D 'zeropadding2d': input must have shape (N, H, W, C)"),
    (on(Dense(3), 4, 4, 1), "Dense 'dense': input must have shape (N, K), got (N, 4, 4, 1); put "),
]  # fmt: skip


@pytest.mark.parametrize(("call", "text"), ERRORS, ids=[e[1][:60] for e in ERRORS])
def test_errors_name_the_layer_and_the_argument(call, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        call()
