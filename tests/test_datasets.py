"""The built-in digits, splits, standardising, and CSV tables with their errors."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from fastnn.datasets import course_split, load_digits, read_csv, split


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


def test_course_split_is_the_texts_own():
    """Sizes and share of the domains as the text prints them; its rows by NumPy's generator."""
    parts = course_split(4110, seed=1234)
    assert [len(part) for part in parts] == [3280, 205, 625]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(4110))
    domain = np.repeat([0, 1, 2], [2817, 498, 795])
    assert np.bincount(domain[parts[2]]).tolist() == [413, 77, 135]  # 413 / 625 = 0.661
    legacy = np.random.RandomState(1234).permutation(4110)
    np.testing.assert_array_equal(np.concatenate(parts), legacy)
    assert all(part.dtype == np.int64 for part in parts)


@pytest.mark.parametrize("n", [20, 37, 59, 100, 999, 1797])
def test_course_split_sizes(n):
    train, validation, test = course_split(n, seed=1)
    assert len(train) == int(0.8 * n) // 10 * 10
    assert len(validation) == int(0.05 * n)
    assert len(train) + len(validation) + len(test) == n
    assert len(set(np.concatenate([train, validation, test]))) == n
    assert not np.array_equal(course_split(n, seed=2)[0], train)


def test_course_split_errors():
    with pytest.raises(ValueError, match="needs at least 20 rows for its three parts, got 19"):
        course_split(19, seed=0)


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
    assert table.feature_names == ["column 0"]


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
    assert read_csv(path).feature_names == ["column 0"]
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
        ("a,b\n1,2\nx,2\n", r"line 3, column 0 \('a'\): expected a finite number, got 'x'"),
        ("1,2\nnan,2\n", "line 2, column 0: expected a finite number, got 'nan'"),
        ("1,2\n,2\n", "line 2, column 0: expected a finite number, got ''"),
        ("1,2.5\n1,inf\n", "line 2, column 1: expected a finite number, got 'inf'"),
        ("a,b\n1,x\n1, \n", r"line 3, column 1 \('b'\): the field is empty"),
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
    with pytest.raises(
        ValueError, match="delimiter must be one character or 'whitespace', got 'ws'"
    ):
        read_csv(path, delimiter="ws")
    with pytest.raises(ValueError, match="no header; give the target 'price' as a column number"):
        read_csv(write(tmp_path, "1,2\n"), "price")
    with pytest.raises(FileNotFoundError):
        read_csv(tmp_path / "none.csv")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a text file in UTF-8"):
        read_csv(path)


# --- categories ---

SHELLS = "M,0.5,15\nF,0.25,9\nI,1,7\nM,2,9\n"


def test_csv_text_columns_are_categories(tmp_path):
    table = read_csv(write(tmp_path, SHELLS))
    assert table.feature_names == ["column 0=F", "column 0=I", "column 0=M", "column 1"]
    expected = [[0, 0, 1, 0.5], [1, 0, 0, 0.25], [0, 1, 0, 1], [0, 0, 1, 2]]
    np.testing.assert_array_equal(table.x, expected)
    assert table.x.dtype == np.float64
    assert table.one_hot.tolist() == [True, True, True, False]
    assert table.class_names == ["7", "9", "15"]
    table = read_csv(write(tmp_path, "rings,sex,age\n15, M,1\n9,F ,2\n7,M,3\n"), "rings")
    assert table.feature_names == ["sex=F", "sex=M", "age"]
    np.testing.assert_array_equal(table.x, [[0, 1, 1], [1, 0, 2], [0, 1, 3]])


def test_csv_categories_given(tmp_path):
    path = write(tmp_path, "zone,sex,price\n10,M,1.5\n9,F,2.5\n10,M,3.5\n")
    table = read_csv(path, categories=["zone", 1])
    assert table.feature_names == ["zone=9", "zone=10", "sex=F", "sex=M"]
    np.testing.assert_array_equal(table.x, [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]])
    assert read_csv(path).feature_names == ["zone", "sex=F", "sex=M"]
    assert read_csv(path).one_hot.tolist() == [False, True, True]
    for categories in ((), ["zone"]):
        with pytest.raises(
            ValueError, match=r"line 2, column 1 \('sex'\): expected a finite .*'M'"
        ):
            read_csv(path, categories=categories)
    with pytest.raises(ValueError, match=r"unknown categories column .* did you mean 'zone'"):
        read_csv(path, categories=["zones"])
    with pytest.raises(ValueError, match="categories column 3 is out of range: 3 columns"):
        read_csv(path, categories=[3])
    with pytest.raises(ValueError, match=r"column 2 \('price'\) is the target"):
        read_csv(path, categories=[-1])
    with pytest.raises(ValueError, match="categories must be 'auto' or a list, got 'sex'"):
        read_csv(path, categories="sex")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # One number makes it a column of numbers, so that a slip doesn't become a category.
        ("a,1\nb,2\n3,1\n", "line 1, column 0: expected a finite number, got 'a'"),
        ("1,1\nb,2\n3,1\n", "line 2, column 0: expected a finite number, got 'b'"),
        ("M,1\n,2\nF,1\n", "line 2, column 0: the field is empty"),
        ("1,,1\n2,,2\n", "line 1, column 1: expected a finite number, got ''"),
        ("M,1,2\nF,2\n", "line 2: expected 3 columns, got 2"),
        (
            "id,x\n" + "".join(f"row {i},{i}\n" for i in range(101)),
            r"data.csv, column 0 \('id'\): 101 different texts; a category may have 100",
        ),
    ],
)
def test_csv_category_errors(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_csv(write(tmp_path, text))


def test_csv_as_many_categories_as_allowed(tmp_path):
    text = "".join(f"row {i},{i}\n" for i in range(100))
    assert read_csv(write(tmp_path, text)).x.shape == (100, 100)


def test_csv_of_text_only_has_a_header_unless_its_fields_come_again(tmp_path):
    body = "red,round\ngreen,long\nred,long\n"
    named = read_csv(write(tmp_path, "colour,shape\n" + body))
    assert named.feature_names == ["colour=green", "colour=red"]
    assert (named.class_names, len(named.x)) == (["long", "round"], 3)
    bare = read_csv(write(tmp_path, body))
    assert bare.feature_names == ["column 0=green", "column 0=red"]
    assert len(bare.x) == 3
    # Nothing tells here; the first line is taken for names unless told otherwise.
    path = write(tmp_path, "red,round\ngreen,long\n")
    assert len(read_csv(path).x) == 1
    assert len(read_csv(path, header=False).x) == 2
    # A gap in a header is no field that comes again.
    with pytest.raises(ValueError, match="line 3, column 0"):
        read_csv(write(tmp_path, ",kind\n1,a\n,b\n"))


@pytest.mark.parametrize("delimiter", [" ", "whitespace"])
def test_csv_between_runs_of_blanks(tmp_path, delimiter):
    path = write(tmp_path, " 0.006  18.00   2.3\n\n 10\t\t0.5 \t 7.25  \n")
    table = read_csv(path, delimiter=delimiter)
    np.testing.assert_array_equal(table.x, [[0.006, 18], [10, 0.5]])
    assert table.y.tolist() == [2.3, 7.25]
    path = write(tmp_path, 'a "b c"  kind\n1   2  x\n3 4\n')
    with pytest.raises(ValueError, match="line 3: expected 3 columns, got 2"):
        read_csv(path, delimiter=delimiter)
    path = write(tmp_path, 'a "b c"  kind\n1   2  x\n3 4 y\n')
    assert read_csv(path, delimiter=delimiter).feature_names == ["a", "b c"]
