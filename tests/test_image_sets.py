"""MNIST's and CIFAR-10's files, whole and damaged, and the stand-ins that are drawn."""

from __future__ import annotations

import gzip
import shutil
import struct
import tracemalloc
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from fastnn import Dense, Flatten, Rescaling, Sequential, set_num_threads
from fastnn.datasets import ImageSet, draw_cifar10, draw_mnist, load_cifar10, load_mnist
from fastnn.layers import Conv2D, MaxPool2D
from fastnn.optimizers import Adam

IMAGES, LABELS = "{}-images-idx3-ubyte", "{}-labels-idx1-ubyte"
NAMES = [name.format(part) for part in ("train", "t10k") for name in (IMAGES, LABELS)]
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = NAMES
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


# --- MNIST ---


def idx_images(pixels):
    return struct.pack(">IIII", 2051, *pixels.shape) + pixels.tobytes()


def idx_labels(labels):
    return struct.pack(">II", 2049, len(labels)) + bytes(labels)


def mnist_bytes(rng, train=12, test=10):
    """(pixels and labels by part, contents by file)."""
    parts, contents = [], {}
    for part, count in (("train", train), ("t10k", test)):
        pixels = rng.integers(0, 256, (count, 28, 28), np.uint8)
        labels = rng.permutation(np.arange(count) % 10)
        parts.append((pixels, labels))
        contents[IMAGES.format(part)] = idx_images(pixels)
        contents[LABELS.format(part)] = idx_labels(labels.tolist())
    return parts, contents


@pytest.fixture
def mnist(rng, tmp_path):
    """A folder with the four plain files."""
    for name, data in mnist_bytes(rng)[1].items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def check_error(load, folder, match, *words):
    """One line that begins with the folder, matches, and says these things."""
    with pytest.raises(ValueError, match=match) as caught:
        load(folder)
    text = str(caught.value)
    assert text.startswith(f"{folder}")
    assert "\n" not in text
    for word in words:
        assert word in text


def check_mnist_error(folder, name, *words):
    check_error(load_mnist, folder, name, *words)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dash", ["-", "."])
def test_mnist_is_read(rng, tmp_path, packed, dash):
    ((x, y), (x_test, y_test)), contents = mnist_bytes(rng)
    for name, data in contents.items():
        name = name.replace("-idx", f"{dash}idx") + (".gz" if packed else "")
        (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
    data = load_mnist(tmp_path)
    for got, expected in (
        (data.x_train, x[..., np.newaxis]), (data.y_train, y),
        (data.x_test, x_test[..., np.newaxis]), (data.y_test, y_test),
    ):  # fmt: skip
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == (np.uint8 if got.ndim == 4 else np.int64)
        assert got.flags.writeable
        assert got.flags.c_contiguous
    assert data.x_train.shape == (12, 28, 28, 1)
    assert data.class_names == [str(digit) for digit in range(10)]
    assert data.source == str(tmp_path)
    with pytest.raises(FrozenInstanceError):
        data.source = "elsewhere"


def test_mnist_takes_the_plain_file_first(mnist):
    (mnist / f"{TRAIN_LABELS}.gz").write_bytes(b"not read")
    assert len(load_mnist(str(mnist)).y_train) == 12


@pytest.mark.parametrize("name", NAMES)
def test_mnist_file_missing(mnist, name):
    (mnist / name).unlink()
    (mnist / name).mkdir()
    others = ", ".join(sorted(set(NAMES) - {name}))
    check_mnist_error(mnist, f"expected {name}, plain or .gz, found {others}")


def test_mnist_wrong_folder(tmp_path):
    check_mnist_error(tmp_path, TRAIN_IMAGES, "found no files")
    for i in range(7):
        (tmp_path / f"{i}.txt").touch()
    check_mnist_error(tmp_path, TRAIN_IMAGES, "found 0.txt, 1.txt, 2.txt, 3.txt, 4.txt, 2 more")
    with pytest.raises(FileNotFoundError) as caught:
        load_mnist(tmp_path / "nowhere")
    assert caught.value.filename == str(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match=r"0\.txt"):
        load_mnist(tmp_path / "0.txt")


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (TRAIN_IMAGES, lambda data: b"", ["header of 16 bytes, got 0 bytes"]),
        (TRAIN_LABELS, lambda data: data[:7], ["header of 8 bytes, got 7 bytes"]),
        (TEST_IMAGES, lambda data: data[:15], ["header of 16 bytes, got 15 bytes"]),
        (TRAIN_IMAGES, lambda data: idx_labels([1] * 40), ["magic number 2051, got 2049"]),
        (TEST_LABELS, lambda data: struct.pack(">I", 2051) + data[4:], ["2049, got 2051"]),
        (TRAIN_IMAGES, lambda data: b"\x1f\x8b" + data[2:], ["2051, got 529205251"]),
        (TRAIN_IMAGES, lambda data: data[:-1], ["9,408 bytes", "12 items", "got 9,407"]),
        (TRAIN_LABELS, lambda data: data[:-1], ["12 bytes", "got 11"]),
        (TEST_IMAGES, lambda data: data + b"\0", ["7,840 bytes", "10 items", "got more"]),
        (TEST_LABELS, lambda data: data + b"\0", ["10 bytes", "got more"]),
        (TRAIN_LABELS, lambda data: data[:10] + b"\x0a" + data[11:], ["0..9, got 10 (item 2"]),
        (TEST_LABELS, lambda data: data[:-1] + b"\xff", ["0..9, got 255 (item 9"]),
        (TRAIN_IMAGES, lambda data: idx_images(np.zeros((12, 32, 28), np.uint8)),
         ["28 × 28 pixels, got 32 × 28"]),
        (TRAIN_IMAGES, lambda data: idx_images(np.zeros((12, 28, 14), np.uint8)),
         ["28 × 28 pixels, got 28 × 14"]),
        (TRAIN_LABELS, lambda data: idx_labels([1] * 11), ["each of the 12 images", "got 11"]),
        (TEST_IMAGES, lambda data: idx_images(np.zeros((11, 28, 28), np.uint8)), []),
        (TEST_IMAGES, lambda data: struct.pack(">IIII", 2051, 0, 28, 28), ["header says 0"]),
        (TRAIN_LABELS, lambda data: struct.pack(">II", 2049, 2**32 - 1), ["says 4,294,967,295"]),
    ],
)  # fmt: skip
def test_mnist_damaged(mnist, name, change, words):
    file = mnist / name
    file.write_bytes(change(file.read_bytes()))
    part = name.split("-")[0]
    named = f"{part}-labels" if not words else name
    check_mnist_error(mnist, named, *words)
    packed = gzip.compress(file.read_bytes())
    file.unlink()
    (mnist / f"{name}.gz").write_bytes(packed)
    check_mnist_error(mnist, named if not words else f"{name}.gz", *words)


@pytest.mark.parametrize(
    "change",
    [
        lambda packed: b"PK\3\4" + packed,
        lambda packed: packed[:-1],
        lambda packed: packed[: len(packed) // 2],
        lambda packed: packed[:5],
        lambda packed: packed[:-8] + bytes(4) + packed[-4:],  # the sum
        lambda packed: packed[:10] + b"\xff" + packed[11:],  # the data
        lambda packed: packed + b"more",
    ],
)
def test_mnist_damaged_gzip(mnist, change):
    file = mnist / TRAIN_IMAGES
    packed = gzip.compress(file.read_bytes())
    file.unlink()
    (mnist / f"{TRAIN_IMAGES}.gz").write_bytes(change(packed))
    check_mnist_error(mnist, f"{TRAIN_IMAGES}.gz", "expected a gzip file, got a damaged or other")


@pytest.mark.parametrize("name", [TRAIN_IMAGES, TRAIN_LABELS])
def test_mnist_gzip_bomb_is_not_unpacked(mnist, name):
    """The header says 9 kB; 40 MB follow."""
    data = (mnist / name).read_bytes()
    (mnist / name).unlink()
    (mnist / f"{name}.gz").write_bytes(gzip.compress(data + bytes(40_000_000), 1))
    tracemalloc.start()
    check_mnist_error(mnist, f"{name}.gz", "got more")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_500_000


# --- CIFAR-10 ---


def cifar_batch(rng, labels):
    """(pixels (N, 32, 32, 3), the file): planes one after the other, pixel by pixel."""
    pixels = rng.integers(0, 256, (len(labels), 32, 32, 3), np.uint8)
    data = b""
    for image, label in zip(pixels, labels, strict=True):
        data += bytes([label]) + b"".join(image[:, :, plane].tobytes() for plane in range(3))
    return pixels, data


@pytest.fixture
def cifar(rng, tmp_path):
    """A folder with two batches for training, 2 and 5, and the test's."""
    for name, labels in (
        ("data_batch_5.bin", [9, 0, 4]), ("data_batch_2.bin", [7, 1]), ("test_batch.bin", [3, 8]),
    ):  # fmt: skip
        pixels, data = cifar_batch(rng, labels)
        (tmp_path / name).write_bytes(data)
        np.save(tmp_path / f"{name}.npy", pixels)
    return tmp_path


def check_cifar_error(folder, *words):
    check_error(load_cifar10, folder, "expected", *words)


def test_cifar10_is_read(cifar):
    data = load_cifar10(cifar)
    files = (cifar / f"{name}.bin.npy" for name in ("data_batch_2", "data_batch_5", "test_batch"))
    two, five, test = map(np.load, files)
    np.testing.assert_array_equal(data.x_train, np.concatenate([two, five]))
    np.testing.assert_array_equal(data.x_test, test)
    assert data.y_train.tolist() == [7, 1, 9, 0, 4]
    assert data.y_test.tolist() == [3, 8]
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert (x.dtype, y.dtype) == (np.uint8, np.int64)
        assert x.flags.c_contiguous
        assert x.flags.writeable
        assert y.flags.writeable
    assert data.class_names == list(CIFAR)
    assert data.source == f"{cifar} (data_batch_2.bin, data_batch_5.bin, test_batch.bin)"


def test_cifar10_from_the_folder_above(cifar, tmp_path_factory):
    above = tmp_path_factory.mktemp("above")
    shutil.copytree(cifar, above / "cifar-10-batches-bin")
    data = load_cifar10(str(above))
    np.testing.assert_array_equal(data.x_train, load_cifar10(cifar).x_train)
    assert data.source.startswith(str(above / "cifar-10-batches-bin"))


def test_cifar10_class_names(cifar):
    file = cifar / "batches.meta.txt"
    names = [f"Klasse {c}" for c in "äbcdefghij"]
    file.write_bytes("\r\n".join([*names, "", ""]).encode())
    assert load_cifar10(cifar).class_names == names
    for text, words in (
        (b"", "got 0"),
        ("\n".join(names[1:]).encode(), "got 9"),
        ("\n".join([*names, "one more"]).encode(), "got 11"),
        ("\n".join([*names[1:], names[1]]).encode(), "got 10 (9 different)"),
        (b"\xff\xfe\n" * 10, "no text in UTF-8"),
        (b"line\n" * 100_000, "(1 different)"),
    ):
        file.write_bytes(text)
        check_cifar_error(cifar, "batches.meta.txt", "10 ", words)


@pytest.mark.parametrize("name", ["data_batch_5.bin", "test_batch.bin"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: b"", "got 0 bytes"),
        (lambda data: data[:-1], "bytes"),
        (lambda data: data + b"\0", "bytes"),
        (lambda data: data[:3072], "got 3,072 bytes"),
        (lambda data: b"\x0a" + data[1:], "0..9, got 10 (item 0"),
        (lambda data: data[:3073] + b"\xff" + data[3074:], "0..9, got 255 (item 1"),
    ],
)
def test_cifar10_damaged(cifar, name, change, words):
    file = cifar / name
    file.write_bytes(change(file.read_bytes()))
    check_cifar_error(cifar, name, words)


def test_cifar10_files_missing(cifar):
    (cifar / "test_batch.bin").unlink()
    (cifar / "test_batch.bin").mkdir()
    check_cifar_error(cifar, "expected test_batch.bin, found data_batch_2.bin")
    (cifar / "data_batch_2.bin").unlink()
    (cifar / "data_batch_5.bin").rename(cifar / "data_batch_6.bin")
    check_cifar_error(cifar, "expected data_batch_1.bin to data_batch_5.bin", "found data_batch_2.")
    with pytest.raises(FileNotFoundError) as caught:
        load_cifar10(cifar / "nowhere")
    assert caught.value.filename == str(cifar / "nowhere")


# --- the stand-ins ---


DRAWN = pytest.mark.parametrize(
    ("draw", "shape"), [(draw_mnist, (28, 28, 1)), (draw_cifar10, (32, 32, 3))]
)


@DRAWN
def test_stand_in_is_laid_out_as_the_real_one(draw, shape):
    data = draw(train=45, test=20)
    assert data.x_train.shape == (45, *shape)
    assert data.x_test.shape == (20, *shape)
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert (x.dtype, y.dtype) == (np.uint8, np.int64)
        assert set(np.bincount(y, minlength=10)) <= {len(y) // 10, len(y) // 10 + 1}
        assert (np.diff(y) < 0).any(), "the classes are shuffled"
    assert data.class_names == (list("0123456789") if draw is draw_mnist else list(CIFAR))
    assert data.source == "drawn by fastnn"


@DRAWN
def test_stand_in_is_the_same_by_seed(draw, shape):
    a, b, c, more = draw(20, 10), draw(20, 10), draw(20, 10, seed=1), draw(30, 10)
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert not np.array_equal(getattr(a, name), getattr(c, name))
    np.testing.assert_array_equal(a.x_test, more.x_test)
    everything = np.concatenate([a.x_train, a.x_test]).reshape(30, -1)
    assert len(np.unique(everything, axis=0)) == 30


@DRAWN
@pytest.mark.parametrize("count", [9, 0, -1, 20.0, "20", True, None])
def test_stand_in_bad_counts(draw, shape, count):
    for name in ("train", "test"):
        with pytest.raises(ValueError, match=f"^{name} must be an integer >= 10, got {count!r}$"):
            draw(**{"train": 10, "test": 10, name: count})


def test_drawn_digits_look_like_mnists():
    data = draw_mnist(500, 10)
    x = data.x_train[..., 0] / 255
    ink = x > 0.3
    # MNIST's own mean is 0.13, and its border is empty.
    assert 0.08 < x.mean() < 0.18
    assert ink.any(axis=(1, 2)).all()
    assert ink[:, [0, -1]].mean() < 0.01
    assert ink[:, :, [0, -1]].mean() < 0.01
    middle = np.stack([
        (ink * np.arange(28)[:, np.newaxis]).sum((1, 2)), (ink * np.arange(28)).sum((1, 2)),
    ]) / ink.sum((1, 2))  # fmt: skip
    assert abs(middle.mean(axis=1) - 13.5).max() < 1
    assert (middle.std(axis=1) > 1).all(), "the place varies"
    ones = (x > x.max(axis=(1, 2), keepdims=True) / 2).sum((1, 2))[data.y_train == 1]
    assert ones.std() / ones.mean() > 0.22, "the pen varies"
    assert x.max(axis=(1, 2)).min() < 0.75, "the darkness varies"


def accuracy(data, epochs):
    """Of a small dense network; its layers are too small for two threads."""
    set_num_threads(1)
    net = Sequential([Rescaling(1 / 255), Flatten(), Dense(48, "relu"), Dense(10)], seed=0)
    net.compile("adam", metrics=["accuracy"])
    net.fit(data.x_train, data.y_train, epochs=epochs, batch_size=50, seed=0, verbose=0)
    return net.evaluate(data.x_test, data.y_test)["accuracy"]


def test_drawn_digits_can_be_learnt():
    assert accuracy(draw_mnist(1500, 500), epochs=5) > 0.8


@pytest.mark.parametrize(
    ("draw", "least"), [(draw_mnist, 0.9), (draw_cifar10, 0.6)], ids=["digits", "things"]
)
def test_a_small_convolutional_network_learns_them_better(draw, least):
    set_num_threads(1)
    data = draw(1500, 500)
    layers = [
        Rescaling(1 / 255), Conv2D(8, 5, strides=2, activation="relu"), MaxPool2D(2),
        Conv2D(16, 3, activation="relu"), Flatten(), Dense(10),
    ]  # fmt: skip
    net = Sequential(layers, seed=0)
    net.compile(Adam(3e-3), metrics=["accuracy"])
    net.fit(data.x_train, data.y_train, epochs=8, batch_size=25, seed=0, verbose=0)
    assert net.evaluate(data.x_test, data.y_test)["accuracy"] > least


def test_drawn_things_can_be_learnt_but_not_from_the_pixels_mean():
    data = draw_cifar10(1500, 500)
    assert accuracy(data, epochs=5) > 0.35
    means = np.stack([data.x_train[data.y_train == k].mean(axis=0).ravel() for k in range(10)])
    # |x − m|² without |x|², which is the same for every class
    distance = (means**2).sum(axis=1) - 2 * (data.x_test.reshape(500, -1) @ means.T)
    assert (distance.argmin(axis=1) == data.y_test).mean() < 0.45


def test_drawn_things_differ_in_shape():
    """Cars and trucks have the same scenes and colours."""
    data = draw_cifar10(1500, 500)
    train, test = np.isin(data.y_train, (1, 9)), np.isin(data.y_test, (1, 9))
    pair = ImageSet(
        data.x_train[train], data.y_train[train] // 9,
        data.x_test[test], data.y_test[test] // 9, ["automobile", "truck"], "",
    )  # fmt: skip
    assert accuracy(pair, epochs=12) > 0.62


def test_drawn_things_vary_within_a_class():
    """Within a class scenes, colours and sides vary; no class is told by its mean colour."""
    data = draw_cifar10(600, 10)
    for k in range(10):
        x = data.x_train[data.y_train == k].astype(float)
        assert (x.mean(axis=(1, 2)).std(axis=0) > 10).all()
        assert (x.std(axis=0) > 20).all()
        # A mean of both sides is its own mirror image, but for what is left of chance.
        mean = x.mean(axis=(0, 3))
        assert abs(mean - mean[:, ::-1]).mean() < 8
    coat = data.x_train[data.y_train == 9][:, 14:18, 14:18].mean(axis=(1, 2))
    assert (coat[:, 0] - coat[:, 1]).std() > 30, "a truck's paint varies"
    colour = data.x_train.mean(axis=(1, 2))
    means = np.stack([colour[data.y_train == k].mean(axis=0) for k in range(10)])
    nearest = ((colour[:, np.newaxis] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == data.y_train).mean() < 0.35
