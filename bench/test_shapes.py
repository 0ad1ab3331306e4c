"""The shapes are those of the networks they name."""

import math

import pytest

from bench import networks, shapes
from fastnn.experiments import images

#: convolutions, and their weights without biases, as the networks' descriptions count them
PUBLISHED = {
    "AlexNet": (5, 2_468_544),
    "VGG-16": (13, 14_710_464),
    "ResNet-50": (53, 23_454_912),
}


@pytest.mark.parametrize("network", PUBLISHED)
def test_layers_add_up_to_the_network(network: str) -> None:
    rows = [row for row in shapes.CONV.values() if row["network"] == network]
    sizes = [(row["multiplicity"], shapes.conv_geometry(row).w_shape) for row in rows]
    found = sum(count for count, _ in sizes), sum(count * math.prod(w) for count, w in sizes)
    assert found == PUBLISHED[network]


@pytest.mark.parametrize("network", ["mnist", "lenet5", "cifar10"])
def test_trained_networks_are_made_of_the_timed_layers(network: str) -> None:
    batch = networks.NETWORKS[network]["batch"]
    rows = [row for name, row in shapes.CONV.items() if name.startswith(f"{network}-")]
    timed = {(shapes.conv_geometry(row), row["n"]): row["multiplicity"] for row in rows}
    pools = {(shapes.pool_geometry(row), row["n"]) for row in shapes.POOL.values()}
    layers = networks.layers(network)
    convs = [layer.geometry for layer in layers if layer.kind == "conv"]
    assert timed == {(geometry, batch): convs.count(geometry) for geometry in convs}
    assert all((p.geometry, batch) in pools for p in layers if p.kind in networks.POOLS)


@pytest.mark.parametrize(
    ("network", "trained"), [("mnist", "cnn"), ("lenet5", "lenet5"), ("cifar10", "cifar10")]
)
def test_timed_networks_are_those_that_are_trained(network: str, trained: str) -> None:
    model = images.NETWORKS[trained](1)
    sizes = [array.size for pair in networks.weights(network) for array in pair]
    assert sizes == [p.size for p in model.store.parameters]


@pytest.mark.parametrize("name", [n for n in networks.NETWORKS if n != "office-large"])
def test_a_model_starts_from_the_weights_that_all_engines_get(name: str) -> None:
    model = networks.model(name, "rmsprop", 0.0)
    given = networks.weights(name)
    assert sum(p.size for p in model.store.parameters) == sum(w.size + b.size for w, b in given)
    assert (model.store.parameters[0].value == given[0][0]).all()
    last = model.store.parameters[-2].value
    assert (last == given[-1][0][:, -last.shape[1] :]).all()


def test_descriptions_name_what_differs() -> None:
    for rows in (shapes.CONV, shapes.POOL):
        texts = [shapes.describe(row) for row in rows.values()]
        # LeNet-5 and the MNIST CNN begin alike.
        assert len(set(texts)) >= len(texts) - 1
    assert shapes.describe(shapes.CONV["tail-depthwise-s2"]) == (
        "8x28x28x256 3x3 padding 1 strides 2 groups 256 to 256"
    )
    assert shapes.describe(shapes.DENSE["digits-1"]) == "64x64x80"
