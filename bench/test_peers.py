"""What ``bench.peers`` and ``bench.memory`` count, choose and carry out; not the times."""

import math
import sys
from typing import Any

import numpy as np
import pytest

import fastnn
from bench import memory, peers, worker
from bench.workloads import CASES, Conv, Pool, Step

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_patterns_choose_cases() -> None:
    assert peers.chosen(["cifar10"]) == ["cifar10"]
    assert len(peers.chosen(["resnet50-*"])) == 2 * 23 + 2 + 4
    assert all(isinstance(CASES[name], Conv) for name in peers.chosen(["conv*"]))
    assert len(peers.chosen(["vgg16*-forward", "vgg16-conv1_1-forward"])) == 9
    assert peers.chosen(["*"]) == list(CASES)
    with pytest.raises(ValueError, match="unknown case 'cifar11'"):
        peers.chosen(["cifar11"])


def test_useful_multiply_adds_are_counted() -> None:
    # Along an axis, 2 + 1 taps of the windows at each end meet the padding.
    inside = 32 * 5 - 2 * (2 + 1)
    assert Conv("cifar10-conv1", "forward").flops == 2 * 128 * inside**2 * 3 * 64
    assert Conv("cifar10-conv1", "backward").results == ("dw", "db")
    assert Conv("cifar10-conv2", "backward").flops == 2 * Conv("cifar10-conv2", "dx").flops
    assert Pool("cifar10-pool1").flops == 0
    dense = 64 * (64 * 80 + 80 * 70 + 70 * 10)
    assert Step("digits", "sgd").flops == 6 * dense - 2 * 64 * 64 * 80


def test_traffic_is_inputs_and_results() -> None:
    image, w = 128 * 16 * 16 * 64, 5 * 5 * 64 * 64
    forward = [(0, 1, image), (0, 1, w), (1, 0, image)]
    assert sorted(Conv("cifar10-conv2", "forward").passes) == sorted(forward)
    backward = [(0, 1, image), (0, 1, image), (0, 1, w), (1, 0, image), (1, 0, w), (1, 0, 64)]
    assert sorted(Conv("cifar10-conv2", "backward").passes) == sorted(backward)


def test_engines_that_compute_something_else_are_named() -> None:
    norms = {"fastnn": [1.0, 2.0], "a": [1.0, 2.0001], "b": [1.0, 2.1], "c": [], "d": [1.0]}
    told = peers.differences("cifar10-conv2-backward", norms)
    assert [line.split()[1] for line in told] == ["b", "d"]
    assert peers.differences("cifar10", {"fastnn": [2.3], "torch": [2.4]}) == []  # dropout


def _row(case: str, ratio: float) -> dict[str, Any]:
    return {"case": case, "ratio": ratio, "threads": 1}


def test_ratios_are_averaged_by_network(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        _row("vgg16-conv4_1-forward", 0.5),
        _row("vgg16-conv5_1-forward", 2.5),  # three layers
        _row("alexnet-conv3-forward", 1.25),
        _row("resnet50-7-3x3-512-512-forward", 0.5),
        _row("vgg16-conv5_1-backward", 0.75),
        _row("cifar10", 1.5),
    ]
    found = {(g["network"], g["part"]): g for g in peers.groups(rows)}
    vgg = found["VGG-16", "forward"]
    assert (vgg["shapes"], vgg["layers"], vgg["largest"]) == (2, 4, 2.5)
    assert math.isclose(vgg["by_shape"], math.sqrt(0.5 * 2.5))
    assert math.isclose(vgg["by_layer"], (0.5 * 2.5**3) ** 0.25)
    together = found["AlexNet, VGG-16, ResNet-50", "forward"]
    assert math.isclose(together["by_shape"], (0.5 * 2.5 * 1.25 * 0.5) ** (1 / 4))
    assert ("AlexNet, VGG-16, ResNet-50", "backward") not in found
    peers.print_groups(rows)
    above_2, above_1 = capsys.readouterr().out.split("ratio above ")[1:]
    assert "1 of 5\n   2.50  vgg16-conv5_1-forward, threads 1\n" in above_2
    assert "1 of 5\n   1.25  alexnet-conv3-forward, threads 1\n" in above_1


@pytest.mark.parametrize("part", ["forward", "backward", "dx", "dw"])
def test_fastnn_carries_out_a_convolution(part: str) -> None:
    case = Conv("lenet5-c3", part)
    found = case.arrays()
    x, w, b, dy = (found[name] for name in ("x", "w", "b", "dy"))
    gradients = fastnn.functional.conv2d_backward(x, w, dy)
    expected = dict(zip(("dx", "dw", "db"), gradients, strict=True))
    expected["y"] = fastnn.functional.conv2d(x, w, b)
    results = worker.Fastnn(fastnn.get_num_threads()).prepare(case)["fastnn"]()
    for name, result in zip(case.results, results, strict=True):
        np.testing.assert_array_equal(result, expected[name])


@pytest.mark.parametrize(
    "name",
    ["tail-primes-s2-backward", "lenet5-s4", "tail-max-s1", "mnist", "resnet50-7-norm"],
)
def test_fastnn_carries_out_a_case(name: str) -> None:
    """On the backend in force, as the reference does."""
    found = []
    for backend in ("reference", fastnn.current_backend()):
        with fastnn.use_backend(backend):
            step = worker.Fastnn(fastnn.get_num_threads()).prepare(CASES[name])["fastnn"]
            found.append(worker.norms(step()))
    expected, got = found
    assert len(got) == len(getattr(CASES[name], "results", ["loss"]))
    assert 0 not in got
    assert got == pytest.approx(expected, rel=1e-4)


@on_linux
def test_memory_that_is_freed_again_counts() -> None:
    kept = np.ones(1 << 20, np.float32)
    assert abs(memory.peak_extra(lambda: np.add(kept, 1).sum()) - kept.nbytes) < 1 << 19
    assert memory.peak_extra(lambda: np.negative(kept, out=kept)) < 1 << 19


@on_linux
def test_an_explicit_im2col_is_above_the_limit(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--backend reference --op conv2d --shape cifar10-conv3 --threads 1"
    assert memory.main(arguments.split()) == 1
    text = capsys.readouterr().out
    assert "0 of 1 take at most 2048 KiB a thread" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("cifar10-conv3"))
    assert int(row[5]) == 128 * 8 * 8 * 9 * 64 * 4 >> 10
    assert int(row[3]) > int(row[5])
