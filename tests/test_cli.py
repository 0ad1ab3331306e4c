"""The command line, in process: what it prints and writes, and its errors, each in one line."""

import errno
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import pytest

import fastnn
from fastnn.cli import COMMANDS, compare, main
from fastnn.experiments import ledger
from fastnn.ops import OPS

SHORT = [
    "compare", "--quick", "--networks", "digits", "--optimizers", "sgd,adam", "--steps", "5"
]  # fmt: skip


@pytest.fixture
def csv(tmp_path, rng):
    """Two features on very different scales; the sign of their sum is the class."""
    a = rng.normal(size=(120, 2))
    kinds = np.where(a.sum(axis=1) > 0, "up", "down")
    path = tmp_path / "data.csv"
    rows = "".join(f"{x},{1000 * y + 5000},{kind}\n" for (x, y), kind in zip(a, kinds, strict=True))
    path.write_text("a,b,kind\n" + rows)
    return path


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fastnn {fastnn.__version__}\n"


def test_help_names_the_commands(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in COMMANDS)
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        out = capsys.readouterr().out
        assert all(o in out for o in ("--threads", "--seed", "--backend", "--json"))
        assert not re.search(r"default: [^)]*\)\s*\(default", out), "a default told twice"
        assert not re.search(r"\w-\n", out), "a name cut in two"


def test_python_m_fastnn():
    done = subprocess.run(
        [sys.executable, "-m", "fastnn", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"fastnn {fastnn.__version__}\n")


def test_train_takes_every_name_of_an_activation(capsys):
    told = []
    for name in ("silu", "swish"):
        args = ["--activation", name, "--hidden", "4", "--epochs", "1", "--quiet"]
        assert main(["train", *args]) == 0
        told.append(capsys.readouterr().out.splitlines()[-1])
    assert told[0] == told[1]


# --- info ---


def test_info(capsys, tmp_path):
    assert main(["info", "--backend", "reference", "--json", str(tmp_path / "i.json")]) == 0
    out = capsys.readouterr().out
    for op in OPS.values():
        assert any(line.split()[:2] == [op.name, op.family] for line in out.splitlines())
    data = json.loads((tmp_path / "i.json").read_text())
    assert data["config"]["backend"] == "reference"
    assert list(data["ops"]) == list(OPS)
    # 64 × 80 times 80 × 70: a multiplication and an addition each
    assert data["ops"]["dense"]["example"]["flops"] == 2 * 64 * 80 * 70
    assert data["ops"]["update"]["example"]["bytes"] == 7 * 80 * 70 * 4


# --- compare ---


def test_compare(capsys, tmp_path):
    path, page = tmp_path / "c.json", tmp_path / "c.html"
    assert main([*SHORT, "--json", str(path), "--html", str(page), "--seed", "1"]) == 0
    out, err = capsys.readouterr()
    data = json.loads(path.read_text())
    rows = data["rows"]
    assert [(r["backend"], r["optimizer"], r["state"]) for r in rows] == [
        (backend, optimizer, state)
        for backend in ("cython", "numba", "reference")
        for optimizer, state in [
            ("SGD", "full"), ("Adam", "full"),
            *([("Adam", "bfloat16"), ("Adam", "8bit")] if backend == "cython" else []),
        ]
    ]  # fmt: skip
    for row in rows:
        assert row["ms_per_step"] > 0
        assert row["steps"] == 5
        assert f"{row['ms_per_step']:.3f}" in out
    assert not data["failed"]
    # The backends train the same network on the same batches.
    for optimizer in ("SGD", "Adam"):
        losses = [
            r["final_loss"] for r in rows if (r["optimizer"], r["state"]) == (optimizer, "full")
        ]
        np.testing.assert_allclose(losses, losses[0], rtol=1e-4)
    assert "[1/8] digits: fastnn cython sgd, full" in err
    assert "with fastnn cython, a step with Adam takes" in out
    assert data["environment"]["command"].split()[0] == "fastnn"
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert "Adam, 8bit" in text


def test_compare_with_one_backend(capsys, tmp_path):
    found = []
    for n in ("1", "2"):
        path = tmp_path / "c.json"
        args = ["--backend", "cython", "--threads", n, "--json", str(path)]
        assert main([*SHORT, *args]) == 0
        data = json.loads(path.read_text())
        assert data["environment"]["threads"] == int(n)
        assert {row["backend"] for row in data["rows"]} == {"cython"}
        found.append([(r["final_loss"], r["accuracy"]) for r in data["rows"]])
    assert found[0] == found[1]
    assert "reference" not in capsys.readouterr().out


def test_compare_says_what_kept_the_full_state_and_nothing_of_adam(capsys, monkeypatch):
    monkeypatch.setattr(ledger, "_serve", refuse)
    args = ["compare", "--quick", "--networks", "digits", "--optimizers", "sgd,adafactor"]
    assert main([*args, "--backend", "cython", "--states", "8bit"]) == 0
    out = capsys.readouterr().out
    assert "measured with the full state: fastnn cython adafactor\n" in out
    assert "What does Adam cost" not in out
    assert main([*args, "--backend", "cython"]) == 0
    assert "measured with the full state" not in capsys.readouterr().out


def test_a_row_that_cant_be_measured_is_named(capsys, tmp_path, monkeypatch):
    path = tmp_path / "c.json"
    args = ["compare", "--networks", "digits", "--optimizers", "sgd", "--steps", "5"]
    monkeypatch.setattr(ledger, "_serve", refuse)
    assert main([*args, "--quick", "--backend", "cython", "--json", str(path)]) == 0
    data = json.loads(path.read_text())
    assert not data["rows"]
    assert "ValueError: not today" in data["failed"][0]["error"]
    assert "not measured: digits" in capsys.readouterr().out


def refuse(connection, job, folder):
    connection.recv()
    connection.send((False, "ValueError: not today"))


# --- train ---


def test_train_on_digits(capsys, tmp_path):
    weights, path = tmp_path / "w.safetensors", tmp_path / "t.json"
    args = ["train", "--epochs", "6", "--learning-rate", "0.01", "--save", str(weights)]
    assert main([*args, "--json", str(path)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "Dense(80, sigmoid)" in out
    assert "Epoch 6/6" in out
    data = json.loads(path.read_text())
    assert data["test"]["accuracy"] > 0.85
    assert f"accuracy {data['test']['accuracy']:.4g}" in out
    assert len(data["history"]["loss"]) == 6
    assert data["network"]["nbytes"]["state"] == 2 * data["network"]["nbytes"]["parameters"]
    assert data["standardised"] is None
    # The file holds the trained weights.
    x, y = fastnn.datasets.load_digits()
    layers = [fastnn.Dense(80, "sigmoid"), fastnn.Dense(70, "sigmoid"), fastnn.Dense(10)]
    net = fastnn.Sequential(layers, input_shape=(64,))
    net.load_weights(weights)
    assert (net.predict(x).argmax(axis=1) == y).mean() > 0.85


def test_train_is_the_same_on_every_backend(tmp_path):
    path = tmp_path / "t.json"
    found = []
    for backend in ("reference", "numba", "cython"):
        args = ["train", "--epochs", "2", "--quiet", "--json", str(path), "--backend", backend]
        assert main(args) == 0
        data = json.loads(path.read_text())
        assert data["training"]["backend"] == backend
        found.append(data["history"]["loss"])
    np.testing.assert_allclose(found[1:], [found[0]] * 2, rtol=1e-4)


@pytest.mark.parametrize("loss", ["auto", "sigmoid_cross_entropy", "binary_crossentropy"])
def test_train_on_csv_classes(csv, tmp_path, capsys, loss):
    path = tmp_path / "t.json"
    args = ["train", "--data", str(csv), "--target", "kind", "--loss", loss, "--epochs", "40"]
    more = ["--hidden", "8", "--learning-rate", "0.05", "--batch-size", "16", "--json", str(path)]
    assert main([*args, *more]) == 0
    data = json.loads(path.read_text())
    assert data["class_names"] == ["down", "up"]
    assert data["network"]["outputs"] == (2 if loss == "auto" else 1)
    assert data["test"]["accuracy"] > 0.9
    assert (data["train_rows"], data["test_rows"]) == (96, 24)
    assert data["standardised"]["mean"][1] == pytest.approx(5000, rel=0.1)
    assert "2 classes" in capsys.readouterr().out


def test_train_on_csv_regression(tmp_path, rng, capsys):
    x = rng.normal(size=(80, 2))
    table = np.column_stack([x @ [2.0, -1.0] + 0.5, x])
    np.savetxt(tmp_path / "r.csv", table, delimiter=",")
    path = tmp_path / "t.json"
    args = ["train", "--data", str(tmp_path / "r.csv"), "--target", "0", "--hidden", "none"]
    more = ["--learning-rate", "0.1", "--batch-size", "8", "--quiet", "--json", str(path)]
    assert main([*args, *more]) == 0
    data = json.loads(path.read_text())
    assert data["training"]["loss"] == "mse"
    assert data["test"]["mean_absolute_error"] < 0.1
    out = capsys.readouterr().out
    assert "regression" in out
    assert "Epoch" not in out


def test_train_on_categories(tmp_path, rng, capsys, fails):
    """The class is the category; its columns stay 0 and 1, the number is standardised."""
    kinds = rng.choice(["red", "green", "blue"], 90)
    numbers = rng.normal(500, 20, 90)
    path, data = tmp_path / "c.csv", tmp_path / "t.json"
    rows = [f"{kind} {n:.3f}  is-{kind}\n" for kind, n in zip(kinds, numbers, strict=True)]
    path.write_text("colour  size  what\n" + "".join(rows))
    args = ["train", "--data", str(path), "--delimiter", "whitespace", "--hidden", "none"]
    more = ["--epochs", "40", "--learning-rate", "0.1", "--quiet", "--json", str(data)]
    assert main([*args, *more]) == 0
    assert "4 features, 3 classes" in capsys.readouterr().out
    found = json.loads(data.read_text())
    assert found["test"]["accuracy"] == 1
    assert found["feature_names"] == ["colour=blue", "colour=green", "colour=red", "size"]
    mean, scale = found["standardised"]["mean"], found["standardised"]["scale"]
    assert (mean[:3], scale[:3]) == ([0, 0, 0], [1, 1, 1])
    assert mean[3] == pytest.approx(500, abs=10)
    assert scale[3] == pytest.approx(20, rel=0.3)

    assert main([*args, *more, "--categories", "colour,1", "--epochs", "1"]) == 0
    assert len(json.loads(data.read_text())["feature_names"]) == 3 + len(set(numbers))
    fails([*args, "--categories", "none"], "line 2, column 0 ('colour')", "'")
    fails([*args, "--categories", "color"], "did you mean 'colour'")


def test_train_without_test_rows(csv, tmp_path, capsys):
    assert main(["train", "--data", str(csv), "--test-fraction", "0", "--epochs", "1"]) == 0
    assert "No test" in capsys.readouterr().out


# --- errors: one line, exit code 2 ---


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (
            [],
            [
                "expected a command",
                "compare, learn, lab, paths, office31, mnist, cifar10, train, info",
            ],
        ),
        (["trian"], ["unknown command 'trian'", "did you mean 'train'"]),
        (["--threads", "1", "info"], ["--threads: give the command first"]),
        (["info", "--treads", "1"], ["unrecognized arguments: --treads 1"]),
        (["info", "extra"], ["unrecognized arguments: extra"]),
        (["info", "--threads"], ["--threads", "expected one argument"]),
        (["info", "--threads", "0"], ["--threads", ">= 1", "'0'"]),
        (["info", "--threads", "100000"], ["--threads", "<= 256"]),
        (["info", "--threads", "two"], ["--threads", "'two'"]),
        (["train", "--seed", "-1"], ["--seed", ">= 0"]),
        (["train", "--backend", "cyton"], ["unknown backend 'cyton'; did you mean 'cython'"]),
        (["compare", "--steps", "1.5"], ["--steps", "'1.5'"]),
        (["compare", "--budget", "0"], ["--budget", ">= 0.1"]),
        (["compare", "--networks", "digit"], ["--networks", "did you mean 'digits'"]),
        (["compare", "--optimizers", "sgd,sgd"], ["--optimizers", "each once"]),
        (["compare", "--states", "int4"], ["--states", "bfloat16"]),
        (["compare", "--states", "float32"], ["--states", "8bit, bfloat16, full"]),
        (["mnist", "--data", "none"], ["--data: none: No such file"]),
        (["mnist", "--data", "."], ["--data: .: expected train-images"]),
        (["cifar10", "--data", "none"], ["--data: none: No such file"]),
        (["office31", "--data", "none"], ["--data: none: No such file"]),
        (["office31", "--data", "."], ["--data: .: expected the folders <domain>/images"]),
        (["compare", "--peers", "Torch"], ["--peers", "PyTorch"]),
        (["compare", "--html", "no/such/folder/x.html"], ["--html", "does not exist"]),
        (["compare", "--html", "x", "--json", "x"], ["--html and --json name the same file"]),
        (["train", "--batch-size", "0"], ["--batch-size", ">= 1"]),
        (["train", "--hidden", "80,,70"], ["--hidden", "''"]),
        (["train", "--hidden", "80,0"], ["--hidden", "'0'"]),
        (["train", "--activation", "rely"], ["did you mean 'relu'"]),
        (["train", "--optimizer", "adm"], ["did you mean 'adam'"]),
        (["train", "--loss", "mes"], ["did you mean 'mse'"]),
        (["train", "--dtype", "float16"], ["unknown dtype 'float16'"]),
        (["train", "--learning-rate", "-1"], ["--learning-rate", ">= 0", "'-1'"]),
        (["train", "--learning-rate", "nan"], ["--learning-rate", "'nan'"]),
        (["train", "--test-fraction", "1"], ["--test-fraction", "< 1"]),
        (["train", "--target", "kind"], ["--target needs --data"]),
        (["train", "--categories", "none"], ["--categories needs --data"]),
        (["train", "--loss", "mse"], ["10 classes", "softmax_cross_entropy"]),
        (["train", "--data", "none.csv"], ["none.csv: No such file"]),
        (["train", "--data", "."], [".: Is a directory"]),
        (["train", "--json", "nowhere/t.json"], ["--json", "'nowhere' does not exist"]),
        (["train", "--save", "."], ["--save", "expected a file"]),
        (["train", "--hidden", "9000000000000"], ["allocate"]),
    ],
)
def test_usage_errors(fails, args, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails(args, *parts)


def test_csv_errors(fails, tmp_path, csv):
    path = tmp_path / "bad.csv"
    path.write_text("a,b\n1,2\nx,3\n")
    fails(["train", "--data", str(path)], "bad.csv, line 3, column 0 ('a')", "'x'")
    path.write_text("a,b\n1,x\n2,x\n")
    fails(["train", "--data", str(path)], "one class only, 'x'")
    fails(["train", "--data", str(csv), "--loss", "mse"], "line 2, column 2 ('kind')")
    path.write_text("a,b\n1,x\n2,y\n3,z\n")
    args = ["train", "--data", str(path), "--loss", "sigmoid_cross_entropy"]
    fails(args, "2 classes, got 3")
    fails(["train", "--data", str(csv), "--target", "knd"], "did you mean 'kind'")
    fails(["train", "--data", str(csv), "--test-fraction", "0.999"], "no row is left")


def test_folder_that_can_not_be_written(fails, tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    fails(["info", "--json", str(tmp_path / "i.json")], "can't write there: Permission")


@pytest.mark.parametrize("backend", ["cython", "reference"])
def test_a_loss_that_is_not_finite_is_one_line_with_a_hint(fails, tmp_path, backend):
    path = tmp_path / "r.csv"
    path.write_text("".join(f"{i},{i * 1e6}.5\n" for i in range(20)).replace(".0.5", ".5"))
    args = ["train", "--data", str(path), "--optimizer", "sgd", "--learning-rate", "100"]
    more = ["--activation", "relu", "--epochs", "50", "--backend", backend]
    more += ["--json", str(tmp_path / "t.json")]
    out = fails([*args, *more], "isn't finite", "a smaller learning rate")
    assert "regression" in out
    assert not (tmp_path / "t.json").exists()


def test_environment_with_an_unknown_backend():
    done = subprocess.run(
        [sys.executable, "-m", "fastnn", "info"], capture_output=True, text=True, check=False,
        env={**os.environ, "FASTNN_BACKEND": "numbar"},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "did you mean 'numba'" in done.stderr


def test_interrupt(fails, monkeypatch):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "run", interrupt)
    fails(["compare"], "interrupted", code=130)


def test_settings_are_as_before_afterwards(capsys):
    before = fastnn.get_num_threads(), fastnn.current_backend()
    assert main(["info", "--threads", "1", "--backend", "reference"]) == 0
    assert "threads          1" in capsys.readouterr().out
    assert (fastnn.get_num_threads(), fastnn.current_backend()) == before


def test_two_options_may_not_name_one_file(csv, tmp_path, capsys):
    before = csv.read_bytes()
    link = tmp_path / "link.json"
    link.symlink_to(csv)
    assert main(["train", "--data", str(csv), "--json", str(link)]) == 2
    assert "--data and --json name the same file" in capsys.readouterr().err
    assert csv.read_bytes() == before
