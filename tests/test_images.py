"""Image files, the cache, image folders, Office-31's layout and its drawn stand-in."""

import os
import shutil
import struct
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastnn.datasets import (
    default_cache_folder,
    draw_office31,
    images,
    load_office31,
    read_image_folder,
    read_images,
)


def picture(rng, height=12, width=16, mode="RGB"):
    """Smooth colours, so that JPEG keeps them nearly."""
    corners = Image.fromarray(rng.integers(0, 256, (2, 2, 3), np.uint8))
    return corners.resize((width, height), Image.Resampling.BILINEAR).convert(mode)


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def bomb(path, side):
    """A PNG of side × side pixels in a few bytes."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


@pytest.fixture
def files(tmp_path, rng):
    """Three good images, of equally many bytes."""
    return [save(picture(rng), tmp_path / "in" / f"{i}.bmp") for i in range(3)]


# --- decoding ---


def test_pixels_are_the_files_resized(tmp_path, rng):
    image = picture(rng)
    path = save(image, tmp_path / "a.png")
    same = read_images([path], (12, 16))
    assert (same.pixels.dtype, same.pixels.shape) == (np.uint8, (1, 12, 16, 3))
    np.testing.assert_array_equal(same.pixels[0], np.asarray(image))
    assert (same.paths, same.kept.tolist(), same.damaged, same.notes) == ([path], [0], [], [])
    for name in images.RESAMPLE:
        small = read_images([str(path)], (5, 9), resample=name).pixels[0]
        expected = image.resize((9, 5), Image.Resampling[name.upper()])
        np.testing.assert_array_equal(small, np.asarray(expected))
    default = read_images([path]).pixels
    assert default.shape == (1, 100, 100, 3)
    bicubic = image.resize((100, 100), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(default[0], np.asarray(bicubic))


@pytest.mark.parametrize("name", ["a.jpg", "b.JPEG", "c.PNG", "d.bmp"])
def test_formats(tmp_path, rng, name):
    image = picture(rng)
    pixels = read_images([save(image, tmp_path / name)], (12, 16)).pixels[0]
    assert np.abs(pixels.astype(int) - np.asarray(image)).mean() < 4


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("L", "png"), ("1", "png"), ("P", "png"), ("CMYK", "jpg"), ("L", "jpg"), ("P", "bmp")],
)
def test_other_modes_become_rgb(tmp_path, rng, mode, suffix):
    image = picture(rng, mode=mode)
    pixels = read_images([save(image, tmp_path / f"a.{suffix}")], (12, 16)).pixels[0]
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(pixels - expected).mean() < 4
    assert pixels.std() > 5


def test_16_bits_and_transparency(tmp_path):
    grey = np.arange(12 * 16, dtype=np.uint16).reshape(12, 16) * 300
    path = save(Image.fromarray(grey), tmp_path / "grey.png")
    pixels = read_images([path], (12, 16)).pixels[0]
    np.testing.assert_array_equal(pixels, np.repeat((grey >> 8)[:, :, None], 3, axis=2))

    colour = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    colour.paste((0, 100, 0, 255), (0, 0, 4, 2))
    pixels = read_images([save(colour, tmp_path / "rgba.png")], (4, 4)).pixels[0]
    assert pixels[0, 0].tolist() == [0, 100, 0]
    assert pixels[3, 3].tolist() == [255, 255, 255]
    palette = picture(np.random.default_rng(0), mode="P")
    path = save(palette, tmp_path / "p.png", transparency=palette.getpixel((0, 0)))
    assert read_images([path], (12, 16)).pixels[0, 0, 0].tolist() == [255, 255, 255]


def test_orientation_of_the_camera_is_applied(tmp_path, rng):
    image = picture(rng)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    path = save(image, tmp_path / "a.png", exif=exif)
    pixels = read_images([path], (16, 12)).pixels[0]
    np.testing.assert_array_equal(pixels, np.rot90(np.asarray(image), -1))


def test_workers_do_not_change_the_pixels(tmp_path, rng, monkeypatch):
    paths = [save(picture(rng), tmp_path / f"{i:02d}.png") for i in range(40)]
    paths[7].write_text("no image")
    seen = set()
    decode = images._decode

    def spy(*arguments):
        seen.add(threading.get_ident())
        return decode(*arguments)

    monkeypatch.setattr(images, "_decode", spy)
    one = read_images(paths, (20, 20), workers=1, on_damaged="skip")
    assert len(seen) == 1
    four = read_images(paths, (20, 20), workers=4, on_damaged="skip")
    assert len(seen) > 1
    np.testing.assert_array_equal(one.pixels, four.pixels)
    assert len(one.pixels) == 39
    assert (one.paths, one.damaged) == (four.paths, four.damaged)
    np.testing.assert_array_equal(
        one.pixels[7], read_images([paths[8]], (20, 20), workers=1).pixels[0]
    )


def test_no_files_no_images():
    assert read_images([], (5, 6)).pixels.shape == (0, 5, 6, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (0, 5)}, r"size must be \(height, width\), two integers >= 1, got \(0, 5\)"),
        ({"size": (5,)}, "size must be"),
        ({"size": 5}, "size must be .* got 5"),
        ({"resample": "cubic"}, "unknown resample 'cubic'; did you mean 'bicubic'"),
        ({"on_damaged": "skipp"}, "did you mean 'skip'"),
        ({"workers": 0}, "workers must be an integer in 1..256, got 0"),
    ],
)
def test_argument_errors(files, arguments, message):
    with pytest.raises(ValueError, match=message):
        read_images(files, **arguments)


def test_progress_is_for_terminals(files, capsys, monkeypatch):
    read_images(files, progress=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    read_images(files)
    assert capsys.readouterr().err == ""
    read_images(files, progress=True)
    assert "reading images" in capsys.readouterr().err


# --- damaged files ---


def truncated(path, rng):
    save(picture(rng, 60, 60), path)
    path.write_bytes(path.read_bytes()[:-200])


def broken_png(path, rng):
    save(picture(rng, 60, 60), path, format="PNG")
    data = bytearray(path.read_bytes())
    data[60:80] = bytes(20)
    path.write_bytes(bytes(data))


def gif(path, rng):
    save(picture(rng), path, format="GIF")


DAMAGED = {
    "truncated": (truncated, "truncated"),
    "broken": (broken_png, ""),
    "text": (lambda path, _: path.write_text("not an image"), "not an image in JPEG, PNG, BMP"),
    "empty": (lambda path, _: path.write_bytes(b""), "not an image in JPEG, PNG, BMP"),
    "another format": (gif, "not an image in JPEG, PNG, BMP"),
    "a folder": (lambda path, _: path.mkdir(), "not a regular file"),
    "a pipe": (lambda path, _: os.mkfifo(path), "not a regular file"),
    "missing": (lambda path, _: None, "No such file"),
    # Under Pillow's limit, where Pillow warns, and where it refuses.
    "large": (lambda path, _: bomb(path, 8000), "8000 × 8000 is more than 50,000,000 pixels"),
    "larger": (lambda path, _: bomb(path, 10_000), "10000 × 10000 is more than 50,000,000 pixels"),
    "bomb": (lambda path, _: bomb(path, 60_000), "more than 50,000,000 pixels"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_files(files, rng, kind, recwarn):
    make, reason = DAMAGED[kind]
    if kind == "a pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    bad = files[0].parent / "bad.jpg"
    make(bad, rng)
    paths = [files[0], bad, *files[1:]]
    with pytest.raises(ValueError, match=r"bad\.jpg: .+") as error:
        read_images(paths)
    assert reason in str(error.value)
    assert "more" not in str(error.value).replace("more than 50", "")
    found = read_images(paths, on_damaged="skip")
    assert found.paths == files
    assert found.kept.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(found.pixels, read_images(files).pixels)
    [(path, why)] = found.damaged
    assert path == bad
    assert reason in why
    assert "\n" not in why
    assert not recwarn.list


def test_several_damaged_files_are_counted(files):
    for path in files[1:]:
        path.write_text("x")
    with pytest.raises(ValueError, match=r"1\.bmp: not an image .* \(1 more can't be read\)"):
        read_images(files)


def test_running_out_of_memory_is_no_damaged_file(files, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(images, "_decode", fail)
    with pytest.raises(MemoryError):
        read_images(files, on_damaged="skip")


# --- cache ---


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache" / "of" / "images"


@pytest.fixture
def no_decoder(monkeypatch):
    """Call it, and decoding fails from then on."""

    def refuse(*_):
        raise AssertionError("a file was decoded")

    return lambda: monkeypatch.setattr(images, "_decode", refuse)


def cache_file(cache):
    [file] = cache.iterdir()
    return file


def test_cache_is_used_without_decoding(files, cache, no_decoder):
    first = read_images(files, (9, 8), cache=cache)
    no_decoder()
    second = read_images(files, (9, 8), cache=cache)
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert (second.paths, second.notes, second.damaged) == (files, [], [])
    second.pixels[:] = 0  # it is the caller's own
    # Without the cache the decoder is asked.
    with pytest.raises(ValueError, match="a file was decoded"):
        read_images(files, (9, 8))


@pytest.mark.parametrize("change", ["size", "resample", "files", "order"])
def test_another_question_has_another_cache(files, cache, change):
    read_images(files, (9, 8), cache=cache)
    arguments = {"paths": files, "size": (9, 8), "resample": "bicubic"}
    arguments |= {
        "size": {"size": (8, 9)},
        "resample": {"resample": "nearest"},
        "files": {"paths": files[:2]},
        "order": {"paths": files[::-1]},
    }[change]
    found = read_images(**arguments, cache=cache)
    np.testing.assert_array_equal(found.pixels, read_images(**arguments).pixels)
    assert found.notes == []
    assert len(list(cache.iterdir())) == 2


def test_relative_and_absolute_paths_share_a_cache(files, cache, no_decoder, monkeypatch):
    read_images(files, cache=cache)
    no_decoder()
    monkeypatch.chdir(files[0].parent)
    assert len(read_images([path.name for path in files], cache=cache).pixels) == 3


def damage(file):
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(bytes(data))


def damage_list(file):
    """A damaged file that isn't, in a list that can be read."""
    data = file.read_bytes()
    file.write_bytes(data.replace(b'"damaged":"[]"', b'"damaged":"{}"'))
    assert data != file.read_bytes()


def damage_shape(file):
    data = file.read_bytes()
    file.write_bytes(data.replace(b"[3,100,100,3]", b"[3,100,3,100]"))
    assert data != file.read_bytes()


def truncate(file):
    file.write_bytes(file.read_bytes()[:-50])


def truncate_head(file):
    file.write_bytes(file.read_bytes()[:20])


def make_other_version(file):
    data = file.read_bytes()
    file.write_bytes(data.replace(b'"version":"1"', b'"version":"0"'))
    assert data != file.read_bytes()


def no_metadata(file):
    from safetensors.numpy import save_file

    save_file({"pixels": np.zeros((3, 100, 100, 3), np.uint8)}, file)


def put_folder(file):
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (damage, "the image cache is damaged"),
        (damage_list, "the image cache is damaged"),
        (damage_shape, "the image cache is damaged"),
        (truncate, "the image cache is damaged"),
        (truncate_head, "the image cache is damaged"),
        (lambda file: file.write_bytes(b""), "the image cache is damaged"),
        (make_other_version, "the image cache is of another version"),
        (no_metadata, "the image cache is of another version"),
    ],
)
def test_cache_that_is_not_right_is_replaced(files, cache, no_decoder, spoil, why):
    right = read_images(files, cache=cache).pixels
    file = cache_file(cache)
    spoil(file)
    again = read_images(files, cache=cache)
    np.testing.assert_array_equal(again.pixels, right)
    assert len(again.notes) == 1
    assert why in again.notes[0]
    assert str(file) in again.notes[0]
    assert cache_file(cache) == file
    no_decoder()
    assert read_images(files, cache=cache).notes == []


def test_cache_of_files_that_changed_is_replaced(files, cache, rng, no_decoder):
    read_images(files, cache=cache)
    before = files[1].stat()
    save(picture(rng), files[1])
    os.utime(files[1], ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert files[1].stat().st_size == before.st_size
    right = read_images(files).pixels
    again = read_images(files, cache=cache)
    np.testing.assert_array_equal(again.pixels, right)
    assert "out of date" in again.notes[0]
    cache_file(cache)
    # A file that became damaged isn't hidden by the cache, whatever its time says.
    files[1].write_text("no image any more")
    os.utime(files[1], ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(ValueError, match=r"1\.bmp: not an image"):
        read_images(files, cache=cache)


def test_cache_remembers_damaged_files(files, cache, no_decoder):
    files[1].write_text("no image")
    first = read_images(files, cache=cache, on_damaged="skip")
    no_decoder()
    again = read_images(files, cache=cache, on_damaged="skip")
    assert again.damaged == first.damaged == [(files[1], "not an image in JPEG, PNG, BMP")]
    assert again.paths == [files[0], files[2]]
    assert again.kept.tolist() == [0, 2]
    np.testing.assert_array_equal(again.pixels, first.pixels)
    with pytest.raises(ValueError, match=r"1\.bmp: not an image"):
        read_images(files, cache=cache)


def test_cache_does_not_remember_what_lies_outside_the_files(files, cache, monkeypatch):
    decode = images._decode

    def refuse(path, *rest):
        if path == files[1]:
            raise PermissionError(13, "Permission denied")
        return decode(path, *rest)

    monkeypatch.setattr(images, "_decode", refuse)
    found = read_images(files, cache=cache, on_damaged="skip")
    assert found.damaged == [(files[1], "Permission denied")]
    monkeypatch.setattr(images, "_decode", decode)
    assert len(read_images(files, cache=cache).pixels) == 3


def test_cache_that_can_not_be_written_is_a_note(files, tmp_path, cache):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "cache"):
        found = read_images(files, cache=folder)
        assert len(found.pixels) == 3
        assert found.notes
        assert f"{folder}: can't keep an image cache there" in found.notes[-1]
    read_images(files, cache=cache)
    put_folder(cache_file(cache))
    found = read_images(files, cache=cache)
    assert len(found.pixels) == 3
    assert "can't keep an image cache there (not a regular file)" in found.notes[-1]


def test_default_cache_folder(monkeypatch, tmp_path):
    for name in ("FASTNN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path.replace("~", str(tmp_path)))
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_cache_folder() == tmp_path / ".cache" / "fastnn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_folder() == tmp_path / "xdg" / "fastnn"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_cache_folder() == tmp_path / "Library" / "Caches" / "fastnn"
    monkeypatch.setattr(sys, "platform", "win32")
    assert default_cache_folder() == tmp_path / "AppData" / "Local" / "fastnn"
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert default_cache_folder() == tmp_path / "local" / "fastnn"
    monkeypatch.setenv("FASTNN_CACHE", str(tmp_path / "own"))
    assert default_cache_folder() == tmp_path / "own"


# --- image folders ---


@pytest.fixture
def folder(tmp_path, rng):
    """Three classes, the middle one empty; things hidden and foreign."""
    root = tmp_path / "data"
    for name in ("dog/b.PNG", "dog/a.png", "ant/c.bmp"):
        save(picture(rng), root / name)
    (root / "cat").mkdir()
    for name in (".git/x.png", "dog/.hidden.png"):
        save(picture(rng), root / name)
    for name in ("README.txt", "dog/notes.txt", "dog/x.gif"):
        (root / name).write_text("x")
    return root


def test_image_folder(folder, cache, no_decoder):
    found = read_image_folder(folder, (12, 16), cache=cache)
    assert found.class_names == ["ant", "cat", "dog"]
    assert found.labels.dtype == np.int64
    assert found.labels.tolist() == [0, 2, 2]
    names = ["ant/c.bmp", "dog/a.png", "dog/b.PNG"]
    assert found.paths == [folder / name for name in names]
    assert found.foreign == [folder / n for n in ("README.txt", "dog/notes.txt", "dog/x.gif")]
    assert found.damaged == []
    for pixels, path in zip(found.pixels, found.paths, strict=True):
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(path)))
    no_decoder()
    again = read_image_folder(str(folder), (12, 16), cache=cache)
    np.testing.assert_array_equal(again.pixels, found.pixels)


def test_image_folder_without_its_damaged_files(folder):
    (folder / "ant" / "c.bmp").write_text("no image")
    with pytest.raises(ValueError, match=r"c\.bmp: not an image"):
        read_image_folder(folder)
    found = read_image_folder(folder, on_damaged="skip")
    assert found.class_names == ["ant", "cat", "dog"]
    assert found.labels.tolist() == [2, 2]
    assert found.paths == [folder / "dog/a.png", folder / "dog/b.PNG"]
    assert found.damaged == [(folder / "ant/c.bmp", "not an image in JPEG, PNG, BMP")]


def test_image_folder_errors(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="none"):
        read_image_folder(tmp_path / "none")
    with pytest.raises(NotADirectoryError, match=r"README\.txt"):
        read_image_folder(folder / "README.txt")
    with pytest.raises(ValueError, match="dog: expected a folder for every class, found none"):
        read_image_folder(folder / "dog")
    empty = tmp_path / "empty"
    (empty / "a").mkdir(parents=True)
    (empty / "b").mkdir()
    with pytest.raises(ValueError, match=r"empty: no images in its 2 folders .*\.jpg, \.jpeg"):
        read_image_folder(empty)
    (empty / "a" / "x.jpg").write_text("")
    with pytest.raises(ValueError, match=r"none of its 1 images can be read; .*x\.jpg: not an"):
        read_image_folder(empty, on_damaged="skip")


# --- Office-31 ---


@pytest.fixture
def office(tmp_path, rng):
    """Two domains; the mug is in one only, the pen's folder is empty in the other."""
    root = tmp_path / "office"
    for name in (
        "webcam/images/pen/frame_0001.jpg",
        "amazon/images/pen/frame_0002.jpg",
        "amazon/images/pen/frame_0001.jpg",
        "amazon/images/mug/frame_0001.jpg",
        "webcam/images/bike/frame_0001.jpg",
        "webcam/images/.cache/frame_0001.jpg",
        ".hidden/images/pen/frame_0001.jpg",
    ):
        save(picture(rng), root / name)
    (root / "webcam" / "images" / "ruler").mkdir()
    return root


def test_office31(office, cache, no_decoder):
    (office / "papers").mkdir()
    for name in ("README", "amazon/images/notes", "amazon/images/pen/list.txt"):
        (office / name).write_text("x")
    data = load_office31(office, (10, 8), cache=cache)
    assert data.domain_names == ["amazon", "webcam"]
    assert data.object_names == ["bike", "mug", "pen", "ruler"]
    assert (data.domain.dtype, data.object.dtype) == (np.int64, np.int64)
    assert data.domain.tolist() == [0, 0, 0, 1, 1]
    assert data.object.tolist() == [1, 2, 2, 0, 2]
    assert [str(path.relative_to(office)) for path in data.paths][1:3] == [
        os.path.join("amazon", "images", "pen", f"frame_000{i}.jpg") for i in (1, 2)
    ]
    names = ["README", "papers", "amazon/images/notes", "amazon/images/pen/list.txt"]
    assert data.foreign == [office / name for name in names]
    np.testing.assert_array_equal(data.pixels, read_images(data.paths, (10, 8)).pixels)
    no_decoder()
    np.testing.assert_array_equal(load_office31(office, (10, 8), cache=cache).pixels, data.pixels)


def test_office31_without_damaged_files(office):
    bad = office / "amazon/images/mug/frame_0001.jpg"
    bomb(bad, 60_000)
    with pytest.raises(ValueError, match=r"frame_0001\.jpg: more than 50,000,000 pixels"):
        load_office31(office)
    data = load_office31(office, on_damaged="skip", workers=2)
    assert [path for path, _ in data.damaged] == [bad]
    assert data.object_names == ["bike", "mug", "pen", "ruler"]
    assert (data.domain.tolist(), data.object.tolist()) == ([0, 0, 1, 1], [2, 2, 0, 2])
    assert len(data.pixels) == len(data.paths) == 4


def test_office31_errors(tmp_path, office):
    with pytest.raises(FileNotFoundError, match="none"):
        load_office31(tmp_path / "none")
    layout = "expected the folders <domain>/images/<object>, found"
    with pytest.raises(ValueError, match=rf"amazon: {layout} images\b"):
        load_office31(office / "amazon")
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match=rf"{layout} in, office without images/ in them"):
        load_office31(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=f"empty: {layout} no folders"):
        load_office31(empty)
    (empty / "amazon" / "images").mkdir(parents=True)
    with pytest.raises(ValueError, match="empty: no images in its folders"):
        load_office31(empty)
    shutil.copy(office / "amazon/images/mug/frame_0001.jpg", empty / "amazon" / "images")
    with pytest.raises(ValueError, match="empty: no images in its folders"):
        load_office31(empty)
    (empty / "amazon" / "images" / "mug").mkdir()
    (empty / "amazon" / "images" / "mug" / "a.jpg").write_text("no image")
    with pytest.raises(ValueError, match="empty: none of its 1 images can be read"):
        load_office31(empty, on_damaged="skip")


# --- the stand-in ---


def test_stand_in_has_office31s_names_and_shares():
    data = draw_office31(620)
    assert data.pixels.shape == (620, 100, 100, 3)
    assert (data.pixels.dtype, data.domain.dtype, data.object.dtype) == (
        np.uint8, np.int64, np.int64,
    )  # fmt: skip
    assert data.domain_names == ["amazon", "dslr", "webcam"]
    assert len(data.object_names) == 31
    assert data.object_names == sorted(data.object_names)
    assert {"back_pack", "mug", "trash_can"} < set(data.object_names)
    # 2817, 498 and 795 of 4110
    assert np.bincount(data.domain).tolist() == [425, 75, 120]
    order = np.lexsort((data.object, data.domain))
    np.testing.assert_array_equal(order, np.arange(620))
    for domain in range(3):
        assert np.ptp(np.bincount(data.object[data.domain == domain])) <= 1


def test_stand_in_is_the_same_by_seed():
    a, b, c = draw_office31(40, seed=3), draw_office31(40, seed=3), draw_office31(40, seed=4)
    np.testing.assert_array_equal(a.pixels, b.pixels)
    assert not np.array_equal(a.pixels, c.pixels)
    assert draw_office31(40, (30, 60)).pixels.shape == (40, 30, 60, 3)


def test_stand_in_can_be_learnt():
    """The nearest image in another drawing has the same object; brightness tells the domain."""
    train, test = draw_office31(620, (24, 24), seed=0), draw_office31(93, (24, 24), seed=1)
    flat = [d.pixels.reshape(len(d.pixels), -1).astype(np.float32) for d in (train, test)]
    distance = ((flat[1][:, None] - flat[0]) ** 2).sum(axis=2)
    nearest = distance.argmin(axis=1)
    assert (train.object[nearest] == test.object).mean() > 0.4
    assert (train.domain[nearest] == test.domain).mean() > 0.95


def test_stand_in_objects_differ():
    """The outlines of no two objects, averaged over their drawings, are nearly the same."""
    data = draw_office31(31 * 10, (40, 40), seed=0)
    white = data.domain == 0
    shapes = np.stack([
        (data.pixels[white & (data.object == k)].min(axis=3) < 250).mean(axis=0).ravel()
        for k in range(31)
    ])  # fmt: skip
    shapes -= shapes.mean(axis=0)
    shapes /= np.linalg.norm(shapes, axis=1, keepdims=True)
    assert np.triu(shapes @ shapes.T, 1).max() < 0.92


def test_stand_in_errors():
    with pytest.raises(ValueError, match="count must be an integer >= 31, got 30"):
        draw_office31(30)
    with pytest.raises(ValueError, match="size must be"):
        draw_office31(40, (0, 5))


def test_the_pixel_limit_is_checked_before_decoding(tmp_path, monkeypatch):
    def decoded(self):
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "load", decoded)
    path = Path(bomb(tmp_path / "a.png", 8000))
    [(_, reason)] = read_images([path], on_damaged="skip").damaged
    assert "more than" in reason
