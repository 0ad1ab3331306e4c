"""Every rung of docs/convolution gives the same bits, and the page's commands run."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn.geometry import conv2d_geometry

PAGE = Path(__file__).parents[1] / "docs" / "convolution"
RUNGS = ("loops", "matrix", "blocks", "runs", "six", "tile")
# Images, image, (KH, KW, C, O), stride, padding: even and odd, strides, a window larger than the
# image, fewer images than a tile has rows and more, padding that whole windows lie in.
CASES = (
    (2, (6, 6, 4), (5, 5, 4, 3), 1, "same"),
    (7, (5, 7, 2), (3, 2, 2, 5), 2, "same"),
    (1, (9, 8, 3), (3, 3, 3, 1), 3, "valid"),
    (3, (2, 3, 1), (5, 7, 1, 2), 1, "same"),
    (2, (3, 3, 2), (2, 2, 2, 2), 1, 3),
)


def run(name, *arguments):
    """The script's lines of output."""
    found = subprocess.run(
        [sys.executable, PAGE / f"{name}.py", *arguments],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if "limits need" in found.stderr:
        pytest.skip(found.stderr)
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def convolve_of(rung, monkeypatch):
    """The rung's function, its loops as Python: ``rungs.py`` checks them compiled."""
    if rung != "tile":  # fastnn's own kernels stay as they are
        monkeypatch.setattr(pytest.importorskip("numba").config, "DISABLE_JIT", 1)
    monkeypatch.syspath_prepend(PAGE)
    # Loaded by path, for the names are short; what they import of each other, afresh.
    for name in RUNGS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    spec = importlib.util.spec_from_file_location(f"convolution_{rung}", PAGE / f"{rung}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.convolve


@pytest.mark.parametrize("rung", RUNGS)
def test_rungs_give_the_bits_of_the_reference_on_integers(rung, monkeypatch, rng):
    convolve = convolve_of(rung, monkeypatch)
    reference = fastnn.backends.load("reference", "", "float32")
    for n, image, w_shape, stride, padding in CASES:
        geometry = conv2d_geometry("test", image, w_shape, stride, padding)
        x = rng.integers(-3, 4, (n, *image)).astype(np.float32)
        w = rng.integers(-3, 4, w_shape).astype(np.float32)
        expected = np.empty((n, *geometry.out_shape), np.float32)
        reference.conv2d(x, w, None, geometry, 0, expected)
        assert expected.any()
        np.testing.assert_array_equal(convolve(x, w, geometry), expected, err_msg=str(w_shape))


def test_the_table_has_a_row_for_every_rung():
    rows = run("rungs", "--images", "1", "--repeats", "1")[2:]
    backends = [b for b in ("numba", "cython") if not fastnn.available_backends()[b]]
    assert len(rows) - (6 + len(backends)) in (0, 1)  # the limit only where there is a compiler
    assert all(float(row.split()[-2]) > 0 for row in rows)
    assert sum(row.endswith("100.0%") for row in rows) >= 1


def test_layers_are_bound_by_the_longer_of_two_times():
    rows = run("intensity", "--shape", "tail-depthwise", "--repeats", "1")
    assert "the ridge is at" in rows[0]
    (row,) = rows[2:]
    name, op, size, intensity, multiply_add, memory, *_, bound = row.split()
    assert (name, op) == ("tail-depthwise", "conv2d")
    # 9 taps but for the border, 2 flops each, for 8 bytes.
    assert float(intensity) == pytest.approx(2 * (166 / 56) ** 2 / 8, abs=0.05)
    assert float(size) == pytest.approx(8 * 8 * 56 * 56 * 128 / 1e6, abs=0.1)
    assert bound == ("arithmetic" if float(multiply_add) > float(memory) else "memory")


def test_leaving_out_the_padding_gives_the_same_sums():
    rows = run("border", "--images", "1", "--repeats", "1")[1:]
    assert [row.split()[1] for row in rows] == ["0.926", "0.856", "0.840", "0.840"]


def test_the_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    run("picture", tmp_path / "tile.png")
    assert (tmp_path / "tile.png").read_bytes().startswith(b"\x89PNG")
