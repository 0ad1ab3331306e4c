"""The networks of the course: their parameters, shapes, and that they train."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fastnn import Dense, check_gradients, optimizers, zoo
from fastnn.functional import local_response_norm
from fastnn.layers import Conv2D, LocalResponseNormalization


def leaves(net, kind):
    return [layer for layer in net.chain.leaves() if isinstance(layer, kind)]


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_parameters_at_the_published_input(name):
    """By shapes only: no weight of the largest is ever made."""
    network = zoo.NETWORKS[name]
    net = zoo.get(name)
    assert net.count_params() == network.parameters
    assert net.chain.input_shape == network.input_shape
    assert net.chain.output_shape == (network.classes,)
    assert f"parameters: {network.parameters:,} (" in net.summary()
    assert net._store is None


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_small_images(name):
    """Nothing of the image is lost at 32 × 32: the last convolution still sees 2 × 2 or more."""
    channels = zoo.NETWORKS[name].input_shape[2]
    net = zoo.get(name, classes=7, input_shape=(32, 32, channels))
    assert net.chain.output_shape == (7,)
    last = leaves(net, Conv2D)[-1]
    assert min(last.output_shape[:2]) >= 2
    full = zoo.get(name)
    depths = [len(leaves(n, (Conv2D, Dense))) for n in (net, full)]
    assert depths[0] == depths[1] - (2 if name == "googlenet" else 0)
    assert net._store is None


def test_known_counts_at_small_inputs():
    """Of the forms for CIFAR that others publish."""
    assert zoo.resnet18(10, (32, 32, 3)).count_params() == 11_173_962
    assert zoo.resnet50(10, (32, 32, 3)).count_params() == 23_520_842
    assert zoo.wrn(100).count_params() == 36_536_884
    assert zoo.wrn(10, depth=16, width=4).count_params() == 2_748_890
    assert zoo.wrn(10, depth=40, width=2).count_params() == 2_243_546


def test_multiply_adds():
    """VGG-16 without the padding's, summed by hand; a dense layer counts its weights."""
    want, size, channels = 0, 224, 3
    for filters, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            want += (3 * size - 2) ** 2 * channels * filters
            channels = filters
        size //= 2
    want += 25088 * 4096 + 4096 * 4096 + 4096 * 1000
    text = zoo.vgg16().summary()
    assert f"multiply-adds: {want:,} a sample" in text
    outputs = 64 * (2 * 224**2 + 112**2) + 128 * (2 * 112**2 + 56**2) + 256 * (3 * 56**2 + 28**2)
    outputs += 512 * (3 * 28**2 + 14**2) + 512 * (3 * 14**2 + 7**2) + 4 * 4096 + 1000
    assert f"outputs: {4 * outputs:,} bytes a sample" in text


SMALL = {
    "lenet5": lambda **o: zoo.lenet5(3, **o),
    "googlenet": lambda **o: zoo.googlenet(3, (32, 32, 3), **o),
    "resnet18": lambda **o: zoo.resnet18(3, (32, 32, 3), **o),
    "wrn": lambda **o: zoo.wrn(3, depth=10, width=1, dropout=0.1, **o),
}


@pytest.mark.parametrize("name", SMALL)
def test_it_trains_and_comes_back_from_a_file(name, rng, tmp_path):
    net = SMALL[name](seed=1)
    net.compile(optimizers.Adam(1e-4))
    x, y = rng.standard_normal((3, *net.chain.input_shape)).astype("f4"), [0, 1, 2]
    before = net.test_on_batch(x, y)
    for _ in range(3):
        net.train_on_batch(x, y)
    assert net.test_on_batch(x, y) != before
    net.save_weights(tmp_path / "w.safetensors")
    other = SMALL[name]()
    other.load_weights(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(net.predict(x), other.predict(x))


@pytest.mark.parametrize("name", ["alexnet-groups", "zfnet", "googlenet"])
def test_local_response_normalisation_is_the_papers(name, rng):
    """Krizhevsky, Sutskever and Hinton (2012), section 3.3: a_i / (k + α Σ a_j²)^β, no mean."""
    k, n, alpha, beta = 2, 5, 1e-4, 0.75
    a = rng.uniform(0, 300, 96)
    want = np.empty(96)
    for i in range(96):
        total = sum(a[j] ** 2 for j in range(max(0, i - n // 2), min(95, i + n // 2) + 1))
        want[i] = a[i] / (k + alpha * total) ** beta
    layers = leaves(zoo.get(name), LocalResponseNormalization)
    assert len(layers) == 2
    for layer in layers:
        np.testing.assert_allclose(local_response_norm(a[None], *layer.numbers), want[None], 1e-12)


def test_gradients_of_shortcuts(rng):
    """A wide ResNet's blocks of both kinds, and a bottleneck's, in float64."""
    net = zoo.wrn(3, (9, 8, 2), depth=10, width=1, dtype="float64", seed=1)
    net.compile("sgd")
    check_gradients(net, rng.standard_normal((2, 9, 8, 2)), [0, 2])


def test_the_pages_tables():
    """Of the published inputs, and of small ones."""
    page = (Path(__file__).parents[1] / "docs" / "zoo.md").read_text(encoding="utf-8")
    for name, network in zoo.NETWORKS.items():
        (row,) = re.findall(rf"^\| {name} \| `.*$", page, re.M)
        assert f"| {network.parameters:,} |" in row
        assert row.endswith(f"| {network.source} |")
        multiply_adds = int(re.search(r"multiply-adds: ([\d,]+)", zoo.get(name).summary())[1]
                            .replace(",", ""))  # fmt: skip
        told, unit = re.search(r"\| ([\d.]+) ([MG]) \|", row).groups()
        assert float(told) == pytest.approx(multiply_adds / {"M": 1e6, "G": 1e9}[unit], rel=0.01)
    small = re.findall(r"^\| ([a-z0-9-]+) \| [^|`]+ \| ([\d,]+) \|$", page, re.M)
    assert len(small) == len(zoo.NETWORKS) - 2
    for name, count in small:
        net = zoo.get(name, classes=10, input_shape=(32, 32, 3))
        assert f"{net.count_params():,}" == count


def test_what_is_refused():
    with pytest.raises(ValueError, match="unknown network 'resnet51'; did you mean 'resnet50'"):
        zoo.get("resnet51")
    with pytest.raises(ValueError, match="alexnet: groups must be 1 or 2, got 3"):
        zoo.alexnet(groups=3)
    with pytest.raises(ValueError, match="wrn: depth must be 6 n \\+ 4, got 27"):
        zoo.wrn(depth=27)
    with pytest.raises(ValueError, match=r"zoo: input_shape must be \(H, W, C\), got \(784,\)"):
        zoo.resnet18(input_shape=(784,))
    for make in (zoo.lenet5, zoo.vgg16, zoo.resnet18):
        for wrong in (None, "abc", 3, (32, 32, "3")):
            with pytest.raises(ValueError, match=r"zoo: input_shape must be \(H, W, C\), got"):
                make(input_shape=wrong)
    with pytest.raises(ValueError, match="larger than the padded input"):
        zoo.alexnet(input_shape=(64, 8, 3)) and zoo.vgg16(input_shape=(16, 16, 3))
