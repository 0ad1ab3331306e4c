"""The built-in digits, splitting, standardising, and CSV tables with their errors."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from fastnn.datasets import load_digits, read_csv, split, standardise


def test_digits():
    x, y = load_digits()
    assert x.shape == (1797, 64)
    assert (x.dtype, y.dtype, y.shape) == (np.float32, np.int64, (1797,))
    assert (x.min(), x.max()) == (0, 1)
    # Counts of the classes and the sum of all pixels, as scikit-learn has them.
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    raw, _ = load_digits(scale=False)
    assert raw.sum(dtype=np.int64) == 561718
    np.testing.assert_array_equal(raw / 16, x)


def test_digits_come_with_their_licence():
    text = (files("fastnn.datasets") / "DIGITS_LICENSE.txt").read_text()
    for part in ("Alpaydin", "Kaynak", "UCI", "CC BY 4.0", "scikit-learn"):
        assert part in text


def test_split_is_a_partition_by_seed():
    x = np.arange(1797)[:, None]
    a, ya, b, yb = split(x, x[:, 0], test_fraction=0.2, seed=3)
    assert (len(a), len(b)) == (1437, 360)
    np.testing.assert_array_equal(np.sort(np.concatenate([a, b]), axis=0), x)
    np.testing.assert_array_equal(a[:, 0], ya)
    np.testing.assert_array_equal(b[:, 0], yb)
    np.testing.assert_array_equal(split(x, x, 0.2, seed=3)[2], b)
    assert not np.array_equal(split(x, x, 0.2, seed=4)[2], b)
    assert len(split(x, x, 0.0)[2]) == 0


def test_split_errors():
    x = np.zeros((3, 2))
    with pytest.raises(ValueError, match="same length, got 3 and 2"):
        split(x, x[:2])
    for fraction in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="test_fraction must be in"):
            split(x, x, fraction)
    with pytest.raises(ValueError, match="no row is left"):
        split(x[:1], x[:1], 0.5)


def test_standardise(rng):
    x = rng.normal(5, 3, (50, 3))
    x[:, 1] = 0.1
    mean, scale = standardise(x)
    z = (x - mean) / scale
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=0), [1, 0, 1], atol=1e-12)
    assert scale[1] == 1


def write(folder: Path, text: str) -> Path:
    path = folder / "data.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_classes_with_header(tmp_path):
    table = read_csv(write(tmp_path, "\ufeffa,b,kind\n1,2,cat\n\n3,-4e0,ant\n5,6,cat\n"))
    np.testing.assert_array_equal(table.x, [[1, 2], [3, -4], [5, 6]])
    assert table.y.dtype == np.int64
    assert table.y.tolist() == [1, 0, 1]
    assert table.class_names == ["ant", "cat"]
    assert (table.feature_names, table.target_name) == (["a", "b"], "kind")


def test_csv_integer_classes_keep_their_order(tmp_path):
    table = read_csv(write(tmp_path, "1;10\n2;9\n3;10\n"), delimiter=";")
    assert table.class_names == ["9", "10"]
    assert table.y.tolist() == [1, 0, 1]
    assert table.feature_names == ["column 1"]


@pytest.mark.parametrize("target", [0, -3, "0", "price"])
def test_csv_regression_target_by_name_or_number(tmp_path, target):
    table = read_csv(write(tmp_path, "price,a,b\n1.5,2,3\n2,4,5\n"), target)
    assert table.class_names is None
    assert table.y.tolist() == [1.5, 2.0]
    assert table.x.tolist() == [[2, 3], [4, 5]]


def test_csv_task_given(tmp_path):
    path = write(tmp_path, "1,0\n2,1\n3,1\n")
    assert read_csv(path).class_names == ["0", "1"]
    assert read_csv(path, task="regression").class_names is None
    many = write(tmp_path, "".join(f"1,{i}\n" for i in range(60)))
    assert read_csv(many).class_names is None
    assert len(read_csv(many, task="classification").class_names) == 60


def test_csv_header_given(tmp_path):
    path = write(tmp_path, "1,2\n3,4\n")
    assert read_csv(path).feature_names == ["column 1"]
    named = read_csv(path, target="1", header=True)
    assert (named.feature_names, named.target_name, len(named.x)) == (["2"], "1", 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "data.csv: the file is empty"),
        ("\n , \n", "data.csv: the file is empty"),
        ("a,b\n", "no rows below the header"),
        ("a,b\n1,2\n3\n", "data.csv, line 3: expected 2 columns, got 1"),
        ("1,2\n1,2,3\n", "line 2: expected 2 columns, got 3"),
        ("a,b\n1,2\nx,2\n", r"line 3, column 1 \('a'\): expected a finite number, got 'x'"),
        ("1,2\nnan,2\n", "line 2, column 1: expected a finite number, got 'nan'"),
        ("1,2\n,2\n", "line 2, column 1: expected a finite number, got ''"),
        ("1,2.5\n1,inf\n", "line 2, column 2: expected a finite number, got 'inf'"),
        ("a,b\n1,x\n1, \n", r"line 3, column 2 \('b'\): the target is empty"),
        ("a;b\n1;2\n", "found one column .with ',' as the delimiter"),
    ],
)
def test_csv_errors_name_the_place(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_csv(write(tmp_path, text))


def test_csv_argument_errors(tmp_path):
    path = write(tmp_path, "age,price\n1,2\n")
    with pytest.raises(ValueError, match="'prize'; did you mean 'price'"):
        read_csv(path, "prize")
    with pytest.raises(ValueError, match="target column 2 is out of range: 2 columns"):
        read_csv(path, 2)
    with pytest.raises(ValueError, match="unknown task 'regresion'; did you mean 'regression'"):
        read_csv(path, task="regresion")
    with pytest.raises(ValueError, match="delimiter must be one character"):
        read_csv(path, delimiter="")
    with pytest.raises(ValueError, match="no header; give the target 'price' as a column number"):
        read_csv(write(tmp_path, "1,2\n"), "price")
    with pytest.raises(FileNotFoundError):
        read_csv(tmp_path / "none.csv")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a text file in UTF-8"):
        read_csv(path)
