"""Augmentation: what each transformation does to pixels, what it depends on, and in training."""

from __future__ import annotations

import importlib.util
import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastnn
from fastnn import Augmentation, Conv2D, Dense, Flatten, Rescaling, Sequential
from fastnn.augmentation import (
    FILL_MODES,
    colour_covariance,
    predict_ten_crop,
    ten_crop,
    uniforms,
)
from fastnn.backends.numba_ import image as numba_image
from fastnn.backends.reference import image as reference_image
from fastnn.callbacks import Callback
from fastnn.cli import cifar10 as command
from fastnn.cli import main

#: np.pad's names for what lies outside.
PAD = {"nearest": "edge", "reflect": "symmetric", "constant": "constant"}
every_mode = pytest.mark.parametrize("mode", FILL_MODES)

EVERYTHING = Augmentation(
    horizontal_flip=True, vertical_flip=True, rotation_range=30, shear_range=20,
    zoom_range=(1, 1.6), stretch_range=(1, 1.3), height_shift_range=0.1, width_shift_range=2,
    multi_scale=(8, 14), random_crop=8, padding=1, brightness_range=(0.8, 1.2), pca_colour=0.1,
    colour_covariance=np.diag([0.1, 0.2, 0.3]), fill_mode="reflect",
    preprocessing_function=lambda image, rng: image + rng.normal(size=image.shape),
)  # fmt: skip


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (6, 9, 8, 3), np.uint8)


def number_at(image, y, x, c, mode, fill):
    """The value at whole places, inside or out."""
    place = []
    for i, size in ((y, image.shape[0]), (x, image.shape[1])):
        if mode == "constant" and not 0 <= i < size:
            return fill
        if mode == "nearest":
            i = min(max(i, 0), size - 1)
        while mode == "reflect" and not 0 <= i < size:
            i = -1 - i if i < 0 else 2 * size - 1 - i
        place.append(i)
    return float(image[place[0], place[1], c])


def bilinear(image, y, x, c, mode="nearest", fill=0.0):
    top, left = math.floor(y), math.floor(x)
    total = 0.0
    for i in (top, top + 1):
        for j in (left, left + 1):
            weight = (1 - abs(y - i)) * (1 - abs(x - j))
            total += weight * number_at(image, i, j, c, mode, fill)
    return total


def naive(image, place, size, mode="nearest", fill=0.0):
    """(h, w, C): the image at ``place(oy, ox)``."""
    out = np.empty((*size, image.shape[2]))
    for oy, ox, c in np.ndindex(out.shape):
        out[oy, ox, c] = bilinear(image, *place(oy, ox), c, mode, fill)
    return out


# --- the kernels ---


@every_mode
def test_the_reference_against_naive_loops(mode, rng):
    x = rng.normal(size=(4, 5, 4, 2))
    matrix = rng.normal(size=(4, 2, 3)) * [1, 1, 6]
    y = np.empty((4, 3, 6, 2))
    reference_image.affine_transform(x, matrix, FILL_MODES[mode], 1.5, y)
    for image, m, found in zip(x, matrix, y, strict=True):
        want = naive(image, lambda oy, ox, m=m: m @ [oy, ox, 1], (3, 6), mode, 1.5)
        np.testing.assert_allclose(found, want, atol=1e-12)
    assert np.ptp(y) > 1


@every_mode
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numba_has_the_references_bits(mode, dtype, rng):
    integers = rng.integers(0, 256, (5, 9, 7, 3))
    for x in (integers.astype(np.uint8), rng.normal(size=integers.shape).astype(dtype)):
        x.flags.writeable = False
        for n, scale in ((5, 1.0), (5, 30.0), (0, 1.0)):
            matrix = rng.normal(size=(n, 2, 3)) * [1, 1, 5 * scale]
            found = np.full((2, n, 6, 8, 3), np.nan, dtype)
            for module, y in zip((reference_image, numba_image), found, strict=True):
                module.affine_transform(x[:n], matrix, FILL_MODES[mode], 7.3, y)
            assert found[0].tobytes() == found[1].tobytes()
            assert n == 0 or scale > 1 or np.ptp(found) > 1


# --- each transformation ---


def test_nothing_asked_for_is_nothing_done(images):
    for x in (images, images.astype(np.float32), images.astype(np.float64) / 3):
        y = Augmentation()(x)
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y, x)
        assert not np.shares_memory(x, y)


def test_flips_are_exact(rng):
    x = rng.integers(0, 256, (40, 5, 6, 2), np.uint8)
    for options, flipped in (
        ({"horizontal_flip": True}, x[:, :, ::-1]),
        ({"vertical_flip": True}, x[:, ::-1]),
    ):
        y = Augmentation(**options)(x)
        same, other = ((y == a).all(axis=(1, 2, 3)) for a in (x, flipped))
        assert (same ^ other).all()
        assert 8 < same.sum() < 32


@every_mode
def test_shifts_by_whole_pixels_are_exact(images, mode):
    for down, right in ((2, 3), (-3, 1), (0, -2)):
        augment = Augmentation(
            height_shift_range=(down, down), width_shift_range=(right, right), fill_mode=mode
        )
        padded = np.pad(images, ((0, 0), (3, 3), (3, 3), (0, 0)), PAD[mode])
        want = padded[:, 3 - down : 12 - down, 3 - right : 11 - right]
        np.testing.assert_array_equal(augment(images), want)


def test_ranges_of_shifts(rng):
    x = np.tile(np.arange(20.0), (300, 4, 1))[..., np.newaxis]
    pixels = x[:, 0, 10, 0] - Augmentation(width_shift_range=2)(x)[:, 0, 10, 0]
    assert sorted(set(pixels)) == [-2, -1, 0, 1, 2]
    parts = x[:, 0, 10, 0] - Augmentation(width_shift_range=0.2)(x)[:, 0, 10, 0]
    assert -4 <= parts.min() < -3.8
    assert 3.8 < parts.max() <= 4
    assert parts.mean() == pytest.approx(0, abs=0.4)


@every_mode
def test_random_crops_are_windows_of_the_padded_image(mode, rng):
    x = rng.integers(0, 256, (60, 6, 5, 1), np.uint8)
    y = Augmentation(random_crop=(5, 4), padding=2, fill_mode=mode, cval=9)(x)
    assert y.shape == (60, 5, 4, 1)
    fill = {"constant_values": 9} if mode == "constant" else {}
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), PAD[mode], **fill)
    places = set()
    for image, crop in zip(padded, y, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(image, crop.shape)
        found = np.argwhere((windows == crop).all(axis=(3, 4, 5)))
        assert len(found), "no window of the padded image"
        places.add(tuple(found[0, :2].tolist()))
    assert {p for p, _ in places} == {q for _, q in places} == set(range(6))


@pytest.mark.parametrize("degrees", [90, 180, 270, -90])
def test_quarter_turns_are_those_of_rot90(degrees, rng):
    square = rng.integers(0, 256, (3, 7, 7, 3), np.uint8)
    want = np.rot90(square, degrees // 90, axes=(1, 2))
    np.testing.assert_array_equal(Augmentation(rotation_range=(degrees, degrees))(square), want)


def test_rotation_zoom_shear_and_stretch_against_naive_loops(images):
    x = images.astype(np.float64)
    cy, cx = 4.0, 3.5  # the centre of 9 × 8 pixels
    lean, cos, sin = math.tan(math.radians(20)), math.cos(0.5), math.sin(0.5)
    for options, places in (
        ({"zoom_range": (1.6, 1.6)}, [lambda y, x: (cy + (y - cy) / 1.6, cx + (x - cx) / 1.6)]),
        # Uprights lean to the right: what is above comes from the left.
        ({"shear_range": (20, 20)}, [lambda y, x: (y, x + lean * (y - cy))]),
        ({"stretch_range": (1.3, 1.3)}, [lambda y, x: (cy + (y - cy) / 1.3, x),
                                        lambda y, x: (y, cx + (x - cx) / 1.3)]),
        ({"rotation_range": (math.degrees(0.5),) * 2},
         [lambda y, x: (cy + cos * (y - cy) + sin * (x - cx),
                        cx - sin * (y - cy) + cos * (x - cx))]),
    ):  # fmt: skip
        met = set()
        for image, found in zip(x, Augmentation(**options)(x), strict=True):
            wants = [naive(image, place, (9, 8)) for place in places]
            which = [np.allclose(found, want, atol=1e-9) for want in wants]
            assert any(which), options
            met.add(which.index(True))
        assert len(met) == len(places)


def test_all_together_against_the_order_of_the_text(images):
    """Zoomed, sheared, turned, scaled, moved, cropped: the places undo it from last to first."""
    augment = Augmentation(
        zoom_range=(1.2, 1.2), shear_range=(10, 10), rotation_range=(30, 30), multi_scale=(12, 12),
        height_shift_range=(1, 1), width_shift_range=(-2, -2), random_crop=(14, 12),
    )  # fmt: skip
    lean, cos, sin = (
        f(math.radians(a)) for f, a in ((math.tan, 10), (math.cos, 30), (math.sin, 30))
    )

    def place(oy, ox):
        # The scaled image has 14 × 12 pixels: there is one window only.
        y, x = oy - 1 - 6.5, ox + 2 - 5.5
        y, x = y / 1.5, x / 1.5
        y, x = cos * y + sin * x, -sin * y + cos * x
        x = x + lean * y
        return y / 1.2 + 4, x / 1.2 + 3.5

    x = images.astype(np.float64)
    found = augment(x)
    assert found.shape == (6, 14, 12, 3)
    for image, y in zip(x, found, strict=True):
        np.testing.assert_allclose(y, naive(image, place, (14, 12)), atol=1e-9)


def test_zoom_is_uniform_in_its_logarithm():
    x = np.tile(np.arange(21.0)[:, np.newaxis, np.newaxis], (2000, 1, 1, 1))
    y = Augmentation(zoom_range=(1 / 1.6, 1.6), fill_mode="constant", cval=-1e9)(x)
    zoom = 1 / (y[:, 11, 0, 0] - y[:, 10, 0, 0])
    assert 1 / 1.6 <= zoom.min() < 0.63
    assert 1.59 < zoom.max() <= 1.6
    assert np.log(zoom).mean() == pytest.approx(0, abs=0.03)


def test_multi_scale(rng):
    x = rng.integers(0, 256, (50, 20, 30, 1), np.uint8)
    y = Augmentation(multi_scale=(16, 40), random_crop=16)(x)
    assert y.shape == (50, 16, 16, 1)
    # Enlarged images are smoother.
    spread = np.abs(np.diff(y.astype(float), axis=2)).mean(axis=(1, 2, 3))
    assert spread.max() > 1.5 * spread.min()


def test_brightness_and_the_ends_of_the_range(images):
    y = Augmentation(brightness_range=(1.5, 1.5))(images)
    np.testing.assert_array_equal(y, np.rint(np.minimum(images * 1.5, 255)))
    bright = Augmentation(brightness_range=(0.5, 2))(np.full((200, 1, 1, 1), 3.0))
    assert 1.5 <= bright.min() < 1.7
    assert 5.7 < bright.max() <= 6


def test_pca_colour_has_the_covariance_of_its_definition(rng):
    mixing = np.array([[50.0, 5, 0], [40, 20, 5], [45, -10, 15]])
    x = np.clip(128 + rng.normal(size=(50, 8, 8, 3)) @ mixing.T, 0, 255).astype(np.uint8)
    covariance = colour_covariance(x)
    np.testing.assert_allclose(covariance, np.cov(x.reshape(-1, 3).T / 255, bias=True), rtol=1e-10)
    grey = np.full((5000, 1, 1, 3), 128, np.uint8)
    augment = Augmentation(pca_colour=0.1, colour_covariance=covariance)
    y = np.empty(grey.shape, np.float32)
    augment.apply(grey, np.arange(5000), 0, 0, y, reference_image)
    shift = y[:, 0, 0] - 128.0
    # P Λ² Pᵀ is the square of the covariance.
    want = (25.5**2) * covariance @ covariance
    assert abs(shift.mean(axis=0)).max() < 4 * np.sqrt(want.max() / 5000)
    np.testing.assert_allclose(np.cov(shift.T), want, atol=0.06 * want.max())
    # One shift for all pixels of an image; floats are in their own units.
    z = augment(np.zeros((3, 2, 2, 3), np.float32))
    assert (z == z[:, :1, :1]).all()
    np.testing.assert_allclose(z[:, 0, 0] * 255, shift[:3], rtol=1e-3, atol=1e-3)


def test_your_own_function(images):
    def noise(image, rng):
        return image + rng.integers(1, 5)

    y = Augmentation(preprocessing_function=noise)(images.astype(float))
    assert (y != images).all()
    one = Augmentation(preprocessing_function=noise)(images[3:4].astype(float), indices=[3])
    np.testing.assert_array_equal(one[0], y[3])


# --- what it depends on ---


def test_an_image_depends_on_seed_epoch_and_number_only(rng):
    x = rng.integers(0, 256, (13, 12, 11, 3), np.uint8)
    whole = EVERYTHING(x, seed=5, epoch=2)
    order = rng.permutation(13)
    np.testing.assert_array_equal(
        EVERYTHING(x[order], seed=5, epoch=2, indices=order), whole[order]
    )
    for i in range(13):
        alone = EVERYTHING(x[i : i + 1], seed=5, epoch=2, indices=[i])
        np.testing.assert_array_equal(alone[0], whole[i])
    for other in ({"seed": 6, "epoch": 2}, {"seed": 5, "epoch": 3},
                  {"seed": 5, "epoch": 2, "indices": np.arange(13) + 1}):  # fmt: skip
        assert (EVERYTHING(x, **other) != whole).any(axis=(1, 2, 3)).all()


def test_other_transformations_leave_the_random_numbers_alone(images):
    flips = Augmentation(horizontal_flip=True)(images)
    both = Augmentation(horizontal_flip=True, brightness_range=(2, 2))(images.astype(float) / 2)
    np.testing.assert_allclose(both, flips)


def test_uniform_numbers():
    u = uniforms(1, 0, np.arange(2000), 12)
    assert u.min() >= 0
    assert u.max() < 1
    assert len(np.unique(u)) == u.size
    counts = np.histogram(u, 20)[0]
    assert ((counts - 1200) ** 2 / 1200).sum() < 43  # chi², 19 degrees of freedom, 0.1 %
    # Columns, rows and neighbours in number, epoch and seed aren't correlated.
    others = [u[:, 1:], u[1:], uniforms(1, 1, np.arange(2000), 12),
              uniforms(2, 0, np.arange(2000), 12)]  # fmt: skip
    for other in others:
        mine = u[: len(other), : other.shape[1]]
        assert abs(np.corrcoef(mine.ravel(), other.ravel())[0, 1]) < 4 / math.sqrt(mine.size)
    assert not np.array_equal(uniforms(2**32, 0, np.arange(3), 2), uniforms(0, 1, np.arange(3), 2))


# --- ten crops ---


def test_ten_crop(images):
    crops = ten_crop(images, (4, 5))
    assert crops.shape == (10, 6, 4, 5, 3)
    for crop, (top, left) in zip(crops, [(0, 0), (0, 3), (5, 0), (5, 3), (2, 1)], strict=False):
        np.testing.assert_array_equal(crop, images[:, top : top + 4, left : left + 5])
    np.testing.assert_array_equal(crops[5:], crops[:5, :, :, ::-1])
    mean = predict_ten_crop(lambda x: x.mean(axis=(1, 2)), images, (4, 5))
    np.testing.assert_allclose(mean, crops.mean(axis=(0, 2, 3)))
    for wrong in (10, (4, 9)):
        with pytest.raises(ValueError, match="ten_crop: expected images"):
            ten_crop(images, wrong)


# --- in training ---


def data(n=50):
    rng = np.random.default_rng(4)
    return rng.integers(0, 256, (n, 12, 12, 3), np.uint8), rng.integers(0, 4, n)


def network():
    """Its dense layer is large enough to look ahead."""
    net = Sequential([Rescaling(1 / 255), Flatten(), Dense(700, "relu"), Dense(4)], seed=1)
    net.compile("sgd", metrics=["accuracy"])
    return net


SMALL = Augmentation(horizontal_flip=True, rotation_range=20, random_crop=12, padding=2)


@pytest.mark.parametrize("shuffle", [True, False])
def test_training_is_the_same_with_any_number_of_workers(shuffle, backend):
    x, y = data(40)
    found = []
    for workers, callbacks in ((0, []), (1, []), (3, []), (1, [Watcher()])):
        net = network()
        history = net.fit(
            x, y, epochs=2, batch_size=16, seed=3, verbose=0, augment=SMALL, workers=workers,
            shuffle=shuffle, callbacks=callbacks,
        )  # fmt: skip
        found.append((history["loss"], net.get_weights()))
        assert "piece by piece" in net.summary()
        assert len(history["waiting"]) == 2
        assert all(0 < waiting < seconds for waiting, seconds in
                   zip(history["waiting"], history["seconds"], strict=True))  # fmt: skip
    for loss, weights in found[1:]:
        assert loss == found[0][0]
        for name, w in weights.items():
            np.testing.assert_array_equal(w, found[0][1][name])


class Watcher(Callback):
    """Runs between two steps, so that nothing looks ahead."""

    def on_batch_end(self, step, loss):
        pass


def test_training_is_on_the_augmented_images():
    x, y = data(40)
    net, by_hand = network(), network()
    net.fit(x, y, epochs=2, batch_size=16, seed=3, verbose=0, shuffle=False, augment=SMALL)
    dtype = by_hand.dtype
    for epoch in range(2):
        for start in range(0, 40, 16):
            rows = np.arange(start, min(start + 16, 40))
            batch = np.empty((len(rows), 12, 12, 3), dtype)
            SMALL.apply(x[rows], rows, 3, epoch, batch, numba_image)
            by_hand.train_on_batch(batch, y[rows])
    for name, w in net.get_weights().items():
        np.testing.assert_array_equal(w, by_hand.get_weights()[name])
    plain = network()
    plain.fit(x, y, epochs=2, batch_size=16, seed=3, verbose=0, shuffle=False)
    assert not np.array_equal(plain.get_weights()["dense/w"], net.get_weights()["dense/w"])


def test_workers_without_augmentation(rng):
    for x in (rng.normal(size=(50, 9)).astype(np.float32), rng.integers(0, 9, (50, 9))):
        y, found = rng.integers(0, 4, 50), []
        for workers in (0, 2):
            net = network()
            history = net.fit(x, y, 2, 7, seed=3, verbose=0, workers=workers)
            found.append((history["loss"], net.get_weights()["dense/w"]))
            assert ("waiting" in history.history) == (workers > 0)
        assert found[0][0] == found[1][0]
        np.testing.assert_array_equal(found[0][1], found[1][1])


def test_crops_make_the_networks_input():
    x, y = data()
    net = Sequential([Conv2D(4, 3, activation="relu"), Flatten(), Dense(4)], seed=1)
    net.compile("sgd")
    augment = Augmentation(random_crop=8)
    validation = ten_crop(x, 8)[4], y
    history = net.fit(x, y, 1, seed=1, verbose=0, augment=augment, validation_data=validation)
    assert net.chain.input_shape == (8, 8, 3)
    assert math.isfinite(history["val_loss"][0])
    with pytest.raises(ValueError, match=r"validation_split's part of x must have shape \(N, 8, 8"):
        net.fit(x, y, validation_split=0.2, augment=augment)
    with pytest.raises(ValueError, match=r"got \(N, 9, 9, 3\) after augmentation"):
        net.fit(x, y, augment=Augmentation(random_crop=9))


def workers_alive():
    return [t.name for t in threading.enumerate() if t.name.startswith("fastnn-batches")]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_names_the_sample_and_ends_the_threads(workers):
    def refuse(image, rng):
        if image[0, 0, 0] == 77:
            raise RuntimeError("no")
        return image

    x, y = data()
    x[:, 0, 0, 0] = 0
    x[31, 0, 0, 0] = 77
    net = network()
    augment = Augmentation(preprocessing_function=refuse)
    with pytest.raises(RuntimeError, match="no") as error:
        net.fit(x, y, 3, 8, seed=1, verbose=0, augment=augment, workers=workers)
    assert error.value.__notes__ == ["In preprocessing_function, for sample 31 in epoch 0."]
    assert workers_alive() == []
    x[31] = 0
    net.fit(x, y, 1, 8, seed=1, verbose=0, augment=augment, workers=workers)
    with pytest.raises(ValueError, match=r"must return shape \(12, 12, 3\), got \(\)") as error:
        Augmentation(preprocessing_function=lambda image, rng: 0)(x)
    assert "sample 0" in error.value.__notes__[0]
    with pytest.raises(ValueError, match="must return finite numbers") as error:
        Augmentation(preprocessing_function=lambda image, rng: image * math.nan)(x)
    assert "sample 0" in error.value.__notes__[0]


@pytest.mark.parametrize("what", [KeyboardInterrupt, ValueError])
def test_what_stops_the_training_stops_the_threads(what):
    class Stop(Callback):
        def on_batch_end(self, step, loss):
            if step == 3:
                raise what

    x, y = data()
    net = network()
    with pytest.raises(what):
        net.fit(x, y, 2, 8, verbose=0, augment=SMALL, workers=2, callbacks=[Stop()])
    assert workers_alive() == []


def test_the_command(tmp_path, monkeypatch, capsys):
    few = command._DATA.__class__(**vars(command._DATA) | {"drawn": (30, 10)})
    monkeypatch.setattr(command, "_DATA", few)
    found, path = [], tmp_path / "c.json"
    args = ["cifar10", "--steps", "2", "--report", "1", "--batch-size", "2", "--json", str(path)]
    for options in (["--augment"], ["--augment", "--workers", "1"]):
        assert main([*args, *options]) == 0
        out = capsys.readouterr().out
        assert "seed 0, images augmented" in out
        assert "waiting for batches" in out
        run = json.loads(path.read_text())["run"]
        assert run["settings"]["augment"] is True
        found.append(run["history"]["loss"])
    assert found[0] == found[1]


# --- the page ---

ROOT = Path(fastnn.__file__).parents[1]


def test_the_pages_picture_is_what_its_script_draws(tmp_path):
    place = ROOT / "docs" / "augmentation.py"
    spec = importlib.util.spec_from_file_location("picture", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path)
    drawn, kept = (
        np.asarray(Image.open(folder / "transformations.png")).astype(int)
        for folder in (tmp_path, place.with_suffix(""))
    )
    assert drawn.shape == kept.shape
    # Letters may differ from one version of Pillow to the next.
    assert (np.abs(drawn - kept)[:, module.LABEL :] <= 1).all()


@pytest.mark.parametrize("zoom", [1e-6, 1e6])
@pytest.mark.parametrize("mode", ["nearest", "reflect", "constant"])
def test_the_furthest_that_is_allowed(zoom, mode, images):
    found = []
    for backend in ("reference", "numba"):
        with fastnn.use_backend(backend):
            augment = Augmentation(
                zoom_range=(zoom, zoom), stretch_range=(zoom, zoom), fill_mode=mode,
                width_shift_range=(10**6, 10**6),
            )  # fmt: skip
            found.append(augment(images.astype(np.float32)))
    assert np.isfinite(found[0]).all()
    assert np.ptp(found[0]) <= 255
    np.testing.assert_array_equal(*found)


# --- errors ---


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"zoom_range": (0, 1)}, r"zoom_range must lie within 1e-06 … 1e\+06, got \(0, 1\)"),
        ({"zoom_range": (1e-300, 1)}, "zoom_range must lie within"),
        ({"brightness_range": (1, 1e300)}, "brightness_range must lie within"),
        ({"width_shift_range": (0, 10**30)}, "width_shift_range must be pixels .* within ±1e"),
        ({"zoom_range": (2, 1)}, r"zoom_range must be a pair .* low <= high, got \(2, 1\)"),
        ({"brightness_range": "a"}, "brightness_range must be a pair"),
        ({"stretch_range": (1, math.inf)}, "stretch_range must be a pair"),
        ({"rotation_range": math.nan}, "rotation_range must be a pair"),
        ({"rotation_range": True}, "rotation_range must be a pair"),
        ({"shear_range": 90}, "shear_range must lie within ±90, got 90"),
        ({"width_shift_range": 1.5}, "pixels as integers within .*, or parts of the side"),
        ({"random_crop": (3, 0)}, "random_crop must be an integer >= 1, got 0"),
        ({"random_crop": (3, 3, 3)}, "random_crop must be two integers"),
        ({"padding": 2}, "padding=2 needs random_crop"),
        ({"padding": -1}, "padding must be an integer >= 0, got -1"),
        ({"multi_scale": (8, 9)}, "multi_scale must be .* needs random_crop"),
        ({"multi_scale": (9, 8), "random_crop": 4}, "multi_scale must be .* low <= high"),
        ({"pca_colour": 0.1}, "give pca_colour > 0 and colour_covariance, or neither"),
        ({"pca_colour": 0.1, "colour_covariance": [1.0]}, r"must be a matrix \(C, C\)"),
        ({"pca_colour": 0.1, "colour_covariance": [[1.0, 2], [0, 1]]}, "must be symmetric"),
        ({"pca_colour": 0.1, "colour_covariance": [[1.0, 2], [2, 1]]}, "no variance negative"),
        ({"pca_colour": 0.1, "colour_covariance": [[1], [1, 2]]}, "colour_covariance must be an a"),
        ({"fill_mode": "near"}, "unknown fill_mode for Augmentation 'near'; did you mean"),
        ({"cval": math.nan}, "cval must be a number"),
    ],
)
def test_errors_of_the_options(options, text):
    with pytest.raises(ValueError, match=text):
        Augmentation(**options)


def test_errors_of_the_images(images):
    augment = Augmentation()
    with pytest.raises(TypeError, match="uint8, float32 or float64, got int64"):
        augment(images.astype(np.int64))
    with pytest.raises(ValueError, match=r"expected images \(N, H, W, C\), got \(9, 8, 3\)"):
        augment(images[0])
    for wrong in ([1, 2], [0.5] * 6, [-1] * 6):
        with pytest.raises(ValueError, match="indices must be 6 integers >= 0"):
            augment(images, indices=wrong)
    with pytest.raises(ValueError, match="seed must be an integer >= 0, got -1"):
        augment(images, seed=-1)
    with pytest.raises(ValueError, match=r"random_crop \(10, 10\) is larger .* \(9, 8\)"):
        Augmentation(random_crop=10)(images)
    with pytest.raises(ValueError, match="colour_covariance is of 2 channels, the images have 3"):
        Augmentation(pca_colour=0.1, colour_covariance=np.eye(2))(images)
    with pytest.raises(ValueError, match=r"colour_covariance: expected images .* got uint8 \(9"):
        colour_covariance(images[0])
    with pytest.raises(TypeError, match="predict_ten_crop: predict must be a function, got 3"):
        predict_ten_crop(3, images, 4)
    with pytest.raises(TypeError, match="preprocessing_function must be a function, got int"):
        Augmentation(preprocessing_function=3)


def test_errors_of_fit():
    x, y = data()
    net = network()
    with pytest.raises(TypeError, match="fit: augment must be an Augmentation, got bool"):
        net.fit(x, y, augment=True)
    for workers in (-1, 1.5, True):
        with pytest.raises(ValueError, match="fit: workers must be an integer >= 0"):
            net.fit(x, y, workers=workers)
    with pytest.raises(ValueError, match="fit: workers must be at most 256, got 257"):
        net.fit(x, y, workers=257)
    with pytest.raises(ValueError, match=r"expected images \(N, H, W, C\), got \(50, 432\)"):
        net.fit(x.reshape(50, -1), y, augment=SMALL)
    assert net.store is None, "nothing was built"


def test_the_reference_backend_needs_no_numba(images, monkeypatch):
    def refuse(*args):
        raise AssertionError("Numba")

    want = EVERYTHING(images)
    monkeypatch.setattr(numba_image, "affine_transform", refuse)
    with fastnn.use_backend("reference"):
        np.testing.assert_array_equal(EVERYTHING(images), want)
