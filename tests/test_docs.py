"""The code in README.md, CONTRIBUTING.md and docs/ works as it stands there."""

import importlib.util
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import functional, layers
from fastnn.ops import ACTIVATION_ALIASES, ACTIVATIONS

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"<!-- ([^\n]+) -->\n```(?:python|cython)\n(.*?)```\n", re.DOTALL)


def blocks(mark: str) -> list[str]:
    """The code blocks of CONTRIBUTING.md under that comment, in order."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = [code for comment, code in BLOCK.findall(text) if comment.startswith(mark)]
    assert found, f"no block marked {mark!r}"
    return found


def extended(path: str, folder: Path):
    """The module of that path with the block of CONTRIBUTING.md at its end."""
    (block,) = blocks(f"add to: {path}")
    name = path.removesuffix(".py").replace("/", "_")
    copy = folder / f"{name}.py"
    copy.write_text((ROOT / path).read_text(encoding="utf-8") + "\n\n" + block, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, copy)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readmes_code_runs(rng, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    network, heads, convolutions, branches, training, kernels = re.findall(
        r"```python\n(.*?)```", text, re.DOTALL
    )
    scope = {"images": rng.random((10, 100)), "domains": [0, 1] * 5, "objects": range(10)}
    exec(network, scope)
    assert (tmp_path / "digits.safetensors").exists()
    assert "val_accuracy=0.9" in capsys.readouterr().out
    exec(heads, scope)
    assert scope["loss"] > 0
    exec(convolutions, scope)
    images, kernel = rng.random((2, 32, 32, 3)), rng.random((3, 3, 3, 8))
    small = scope["net"]
    assert small.predict(images).shape == (2, 10)
    exec(branches, scope)
    assert scope["net"].count_params() == 11_173_962
    x, y = rng.integers(0, 256, (20, 32, 32, 3), np.uint8), np.arange(20) % 10
    exec(training.replace("epochs=50", "epochs=2"), scope | {"net": small, "x": x, "y": y})
    assert (tmp_path / "run.html").stat().st_size > 10_000
    arrays = {name: rng.random((4, 4)) for name in ("x", "w", "dy", "param", "grad", "m", "v")}
    threads = fastnn.get_num_threads()
    try:
        exec(kernels, scope | arrays | {"b": rng.random(4), "images": images, "kernel": kernel})
    finally:
        fastnn.set_num_threads(threads)


def test_layers_take_the_keywords_the_page_says():
    text = (ROOT / "docs" / "layers.md").read_text(encoding="utf-8")
    (paragraph,) = (p for p in text.split("\n\n") if p.startswith("`Dense`, `Conv2D` and"))
    every, some, depthwise, rest = re.split(r"; |, which", paragraph)
    for clause in (every, some, depthwise):
        names = re.findall(r"`([A-Z]\w+)`", clause)
        keywords = re.findall(r"`(\w+)=`", clause)
        assert names
        assert keywords
        for name in names:
            assert set(keywords) <= inspect.signature(getattr(layers, name)).parameters.keys()
    assert rest == "every layer takes `name=`."


#: Pages whose code is run below as it stands. design.md quotes the source, optimizers.md has a test
#: of its own.
PAGES = sorted(
    page.name
    for page in (ROOT / "docs").glob("*.md")
    if "```python" in page.read_text(encoding="utf-8")
    and page.name not in ("design.md", "optimizers.md")
)
PYTHON_THEN_TEXT = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_a_pages_code_runs_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    """And prints what a block of text right below it says."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    if "from sklearn" in text:
        pytest.importorskip("sklearn")
    scope = {"__name__": "page"}
    for code, output in PYTHON_THEN_TEXT.findall(text):
        exec(code, scope)
        printed = capsys.readouterr().out
        if output:
            assert printed == output


def test_the_pages_with_code_are_found():
    assert {"normalization.md", "training.md", "transfer.md", "zoo.md"} < set(PAGES)


def test_the_page_of_layers_has_them_all():
    table, _ = (ROOT / "docs" / "layers.md").read_text(encoding="utf-8").split("## Branches")
    assert first_column(table) == set(layers.__all__)


def test_the_optimizers_pages_code_runs(capsys):
    text = (ROOT / "docs" / "optimizers.md").read_text(encoding="utf-8")
    schedule, gradients = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    scope = {"__name__": "page"}
    exec(schedule, scope)
    rates, steps = scope["history"]["learning_rate"], scope["steps"]
    assert rates[0] == pytest.approx(0.01 / steps)
    assert rates[1] == 0.01
    assert rates == [rates[0], *sorted(rates[1:], reverse=True)]
    assert 0.0001 < rates[-1] < 0.0003
    assert "'accuracy': 0.9" in capsys.readouterr().out
    exec(gradients, scope)
    norms = scope["watch"].norms
    assert len(norms) == steps
    assert set(norms[0]) == {"dense/w", "dense/b", "dense_1/w", "dense_1/b"}
    assert min(norms[0].values()) > 0


def test_your_own_layer_runs_and_its_gradients_are_right():
    scope = {"__name__": "contributing"}
    for code in blocks("run"):
        exec(code, scope)
    assert "layerscale/s" in scope["errors"]
    # It learns: the loss of a few steps on one batch falls, and the scales move.
    net, batch = scope["net"], (scope["x"], scope["labels"])
    scales = net.get_weights()["layerscale/s"]
    losses = [net.train_on_batch(*batch) for _ in range(50)]
    assert losses[-1] < losses[0]
    assert not np.array_equal(scales, net.get_weights()["layerscale/s"])


def test_a_wrong_gradient_of_your_own_layer_is_found():
    layer, check = blocks("run")
    right = "np.multiply(dy, self.s.value, out=self.dx)"
    assert right in layer
    scope = {"__name__": "contributing"}
    exec(layer.replace(right, "dy"), scope)
    with pytest.raises(AssertionError, match="gradient of"):
        exec(check, scope)


def test_your_own_optimizer_runs_and_learns(capsys):
    scope = {"__name__": "contributing"}
    for code in blocks("optimizer"):
        exec(code, scope)
    assert capsys.readouterr().out == "True\n"
    # Two steps by hand: m is 0.01 · 2, then −0.1 · 3 outweighs 0.9 · 0.02.
    w, m = np.array([1.0]), np.zeros(1)
    lion = scope["Lion"](0.5)
    for step, g in enumerate(([2.0], [-3.0]), 1):
        lion.update(w, np.array(g), m, step)
    assert w == 1.0
    assert m == pytest.approx([0.99 * 0.02 - 0.03])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_example_kernel_agrees_on_numba_reference_and_naive_loops(dtype, tmp_path):
    reference = extended("fastnn/backends/reference/activation.py", tmp_path)
    numba = pytest.importorskip("numba") and extended(
        "fastnn/backends/numba_/activation.py", tmp_path
    )
    naive = extended("tests/naive.py", tmp_path)
    rng = np.random.default_rng(3)
    x, dy = rng.standard_normal((2, 1001)).astype(dtype)
    results = []
    for module in (reference, numba, naive):
        y, dx = np.full((2, 1001), np.nan, dtype)
        module.softsign(x, y)
        module.softsign_backward(dy, y, dx)
        results.append((y, dx))
    assert (results[0][0] < 0).any()
    assert (results[0][0] > 0).any()
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_allclose(results[2], results[0], rtol=4 * np.finfo(dtype).eps)


def first_column(text: str) -> set[str]:
    """The names in backquotes in the first columns of a page's tables."""
    cells = re.findall(r"^\|([^|]+)\|", text, re.MULTILINE)
    return set(re.findall(r"`(\w+)`", "".join(cells)))


def test_the_page_of_activations_has_them_all():
    text = (ROOT / "docs" / "activations.md").read_text(encoding="utf-8")
    formulas, weights = text.split("## Formulas")[1].split("## Initial weights")
    named = set(
        re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]+)\|", formulas, re.MULTILINE)))
    )
    assert named - {"PReLU", "Maxout"} == {*ACTIVATIONS, *ACTIVATION_ALIASES}
    assert first_column(formulas) - {"PReLU", "Maxout"} == {*ACTIVATIONS, *ACTIVATION_ALIASES}
    assert first_column(weights) == set(fastnn.initializers.NAMED)
    for name in named & {*ACTIVATIONS} - {"identity", "gelu_tanh"}:
        assert callable(getattr(functional, name))
        assert hasattr(functional, f"{name}_backward") == (name != "heaviside")


def test_the_picture_of_activations_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    place = ROOT / "docs" / "activations.py"
    spec = importlib.util.spec_from_file_location("activations_picture", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path)
    assert (tmp_path / "functions.png").stat().st_size > 20_000
    x = np.linspace(-3, 3, 10)  # no kink among them
    for lines in module.PANELS.values():
        for function, backward in lines.values():
            slope = (function(x + 1e-6) - function(x - 1e-6)) / 2e-6
            found = backward(np.ones_like(x), x, function(x))
            np.testing.assert_allclose(found, slope, atol=1e-8)
