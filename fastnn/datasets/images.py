"""Image files to arrays: decoded by several threads, resized, and kept in a cache file."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import warnings
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fastnn.backends.threads import MAX_THREADS, get_num_threads
from fastnn.errors import unknown
from fastnn.files import write_atomically

Array = NDArray[Any]
PathLike = str | os.PathLike[str]

#: What is decoded, whatever the file is called, and the suffixes that make a file an image.
FORMATS = ("JPEG", "PNG", "BMP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
#: A file of more pixels is refused before it is decoded: few bytes can stand for a lot of memory.
MOST_PIXELS = 50_000_000
RESAMPLE = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
ON_DAMAGED = ("raise", "skip")
#: Also changed when the same files would give other pixels.
CACHE_VERSION = "1"


@dataclass(frozen=True)
class Images:
    """What ``read_images`` returns.

    ``pixels`` (N, H, W, 3) uint8. ``paths`` and ``kept`` (N,) int64: the files they are from, and
    the numbers of these in the list that was asked for. ``damaged``: (path, reason) of those left
    out. ``notes``: sentences about the cache for the user. ``from_cache``: nothing was decoded.
    """

    pixels: Array
    paths: list[Path]
    kept: Array
    damaged: list[tuple[Path, str]]
    notes: list[str]
    from_cache: bool = False


@dataclass(frozen=True)
class ImageFolder:
    """What ``read_image_folder`` returns.

    ``pixels`` (N, H, W, 3) uint8; ``labels`` (N,) int64, numbers of ``class_names``; ``paths`` of
    the N files. ``damaged``: (path, reason) of files left out. ``foreign``: what is in the folder
    but is no image by its suffix. ``notes``: sentences about the cache for the user.
    """

    pixels: Array
    labels: Array
    class_names: list[str]
    paths: list[Path]
    damaged: list[tuple[Path, str]]
    foreign: list[Path]
    notes: list[str]


def read_images(
    paths: Iterable[PathLike],
    size: tuple[int, int] = (100, 100),
    *,
    resample: str = "bicubic",
    workers: int | None = None,
    on_damaged: str = "raise",
    progress: bool = False,
    cache: PathLike | None = None,
) -> Images:
    """Decode JPEG, PNG and BMP files to RGB and resize them to ``size`` (height, width).

    The ratio of the sides is not kept. ``resample``: Pillow's filter, one of ``RESAMPLE``; all
    but ``nearest`` average over the pixels that fall together when an image shrinks. The camera's
    orientation (EXIF) is applied; what is transparent is shown on white; 16 bits a channel become
    8; of several frames the first is taken.

    ``workers``: threads that decode, by default as many as kernels may use; the pixels don't
    depend on them. ``progress``: a bar on stderr, if that is a terminal.

    A file is damaged if it can't be opened or decoded whole, is of another format or has more
    than ``MOST_PIXELS`` pixels. ``on_damaged="raise"`` raises ``ValueError`` with the first one;
    ``"skip"`` leaves them out and lists them.

    ``cache``: a folder, made if missing, for a file with the pixels. It is used while the paths,
    sizes and times of the files, ``size`` and ``resample`` stay the same, and checked by a sum; if
    it isn't as it should be, or can't be written, a note says so and the files are decoded.
    """
    files = [Path(path) for path in paths]
    check_size(size)
    _check_choices(resample, workers, on_damaged)
    notes: list[str] = []
    store = None if cache is None else _Cache(Path(cache), files, size, resample)
    found = store.read(notes) if store else None
    if found is None:
        pixels, reasons, lasting = _decode_all(files, size, resample, workers, progress)
        if store and lasting:
            store.write(pixels, reasons, notes)
    else:
        pixels, reasons = found
    damaged = [(files[i], reason) for i, reason in reasons.items()]
    if damaged and on_damaged == "raise":
        more = f" ({len(damaged) - 1} more can't be read)" if len(damaged) > 1 else ""
        raise ValueError(f"{damaged[0][0]}: {damaged[0][1]}{more}")
    kept = np.array([i for i in range(len(files)) if i not in reasons], np.int64)
    return Images(
        pixels, [files[i] for i in kept], kept, damaged, notes, from_cache=found is not None
    )


def read_image_folder(
    folder: PathLike,
    size: tuple[int, int] = (100, 100),
    *,
    resample: str = "bicubic",
    workers: int | None = None,
    on_damaged: str = "raise",
    progress: bool = False,
    cache: PathLike | None = None,
) -> ImageFolder:
    """Read ``folder/<class>/<image>``: a class for every folder, in alphabetical order.

    Images have the suffix .jpg, .jpeg, .png or .bmp in any case. What is hidden (``.name``) is
    passed over, anything else listed as foreign. A folder without images is a class all the same,
    so that class numbers don't depend on which files are there. The other arguments are those of
    ``read_images``.

    Raises ``ValueError`` or ``OSError``, naming the folder, if it is missing, is no folder or has
    no classes or no images.
    """
    folder = Path(folder)
    class_names, foreign = list_folders(folder)
    if not class_names:
        raise ValueError(f"{folder}: expected a folder for every class, found none")
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        images, others = list_images(folder / name)
        paths += images
        labels += [label] * len(images)
        foreign += others
    if not paths:
        raise ValueError(f"{folder}: no images in its {len(class_names)} folders ({_suffixes()})")
    read = read_images(
        paths, size, resample=resample, workers=workers, on_damaged=on_damaged,
        progress=progress, cache=cache,
    )  # fmt: skip
    require_some(folder, read)
    return ImageFolder(
        read.pixels, np.array(labels, np.int64)[read.kept], class_names, read.paths,
        read.damaged, foreign, read.notes,
    )  # fmt: skip


def list_folders(folder: Path) -> tuple[list[str], list[Path]]:
    """(names of the folders, foreign): what is in ``folder``, sorted. Hidden things are neither.

    Raises ``OSError`` if ``folder`` is missing or no folder.
    """
    names: list[str] = []
    foreign: list[Path] = []
    for path in _visible(folder):
        if path.is_dir():
            names.append(path.name)
        else:
            foreign.append(path)
    return names, foreign


def list_images(folder: Path) -> tuple[list[Path], list[Path]]:
    """(images, foreign): what is in ``folder``, sorted, by suffix. Hidden things are neither."""
    images: list[Path] = []
    foreign: list[Path] = []
    for path in _visible(folder):
        (images if path.suffix.lower() in SUFFIXES else foreign).append(path)
    return images, foreign


def require_some(folder: Path, images: Images) -> None:
    """Raise ``ValueError`` if every file of ``folder`` was damaged."""
    if not images.paths:
        path, reason = images.damaged[0]
        raise ValueError(
            f"{folder}: none of its {len(images.damaged)} images can be read; {path}: {reason}"
        )


def check_size(size: Any) -> None:
    """Raise ``ValueError`` unless ``size`` is (height, width), two integers >= 1."""
    whole = isinstance(size, Sequence) and all(type(side) is int and side > 0 for side in size)
    if not whole or len(size) != 2:
        raise ValueError(f"size must be (height, width), two integers >= 1, got {size!r}")


def default_cache_folder() -> Path:
    """Where to keep caches: ``$FASTNN_CACHE``, else fastnn's folder in the system's usual place.

    That is ``$XDG_CACHE_HOME`` or ``~/.cache``; ``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%``
    on Windows. The folder need not exist.
    """
    own = os.environ.get("FASTNN_CACHE")
    if own:
        return Path(own)
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        place = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        place = home / "Library" / "Caches"
    else:
        place = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return place / "fastnn"


def _visible(folder: Path) -> list[Path]:
    """What is in the folder and not hidden, by name."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _suffixes() -> str:
    return ", ".join(SUFFIXES)


def _check_choices(resample: str, workers: int | None, on_damaged: str) -> None:
    if resample not in RESAMPLE:
        raise unknown("resample", resample, RESAMPLE)
    if on_damaged not in ON_DAMAGED:
        raise unknown("on_damaged", on_damaged, ON_DAMAGED)
    if workers is not None and not (type(workers) is int and 1 <= workers <= MAX_THREADS):
        raise ValueError(f"workers must be an integer in 1..{MAX_THREADS}, got {workers!r}")


def _decode_all(
    files: list[Path], size: tuple[int, int], resample: str, workers: int | None, progress: bool
) -> tuple[Array, dict[int, str], bool]:
    """(pixels of the files that can be read, reasons by number for the others, lasting).

    ``lasting`` is False if a reason lies outside the file (rights, a broken disk), and reading it
    again later may succeed.
    """
    from tqdm import tqdm

    pixels = np.empty((len(files), *size, 3), np.uint8)

    def work(i: int) -> tuple[str, bool] | None:
        try:
            pixels[i] = _decode(files[i], size, resample)
        except MemoryError:
            raise
        except UnidentifiedImageError:
            return f"not an image in {', '.join(FORMATS)}", True
        except OSError as error:
            return error.strerror or str(error), error.errno is None
        # A damaged file makes Pillow's decoders raise almost anything.
        except Exception as error:
            return str(error) or type(error).__name__, True
        return None

    reasons: dict[int, str] = {}
    lasting = True
    pool = ThreadPoolExecutor(workers or get_num_threads(), thread_name_prefix="fastnn-images")
    with warnings.catch_warnings():
        # Pillow warns of large images, which have a limit here, and of details it mends itself.
        warnings.filterwarnings("ignore", module="PIL")
        try:
            results = pool.map(work, range(len(files)))
            bar = tqdm(
                results, "reading images", len(files), leave=False,
                disable=None if progress else True,
            )  # fmt: skip
            for i, result in enumerate(bar):
                if result:
                    reasons[i], stays = result
                    lasting = lasting and stays
        finally:
            pool.shutdown(cancel_futures=True)
    return np.delete(pixels, list(reasons), axis=0) if reasons else pixels, reasons, lasting


def _decode(path: Path, size: tuple[int, int], resample: str) -> Array:
    """One file as (H, W, 3) uint8; raises whatever says that it is damaged."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("not a regular file")
    too_many = f"more than {MOST_PIXELS:,} pixels"
    try:
        image: Image.Image = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError:
        raise ValueError(too_many) from None
    with image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"{image.width} × {image.height} is {too_many}")
        rgb = _to_rgb(ImageOps.exif_transpose(image))
        height, width = size
        return np.asarray(rgb.resize((width, height), Image.Resampling[resample.upper()]))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow would clip 16 bits to 255.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


class _Cache:
    """One file of pixels: a safetensors file, whose metadata say of what and prove it whole.

    The list of files, the size and the filter give its name, so that two folders have two caches;
    a cache of files that have changed since is replaced.
    """

    def __init__(
        self, folder: Path, files: list[Path], size: tuple[int, int], resample: str
    ) -> None:
        self.shape = (*size, 3)
        self.count = len(files)
        names = [os.path.abspath(file) for file in files]
        what = json.dumps([names, size, resample])
        state = json.dumps([_state(file) for file in files])
        self.file = folder / f"images-{_digest(what)[:32]}.safetensors"
        self.key = _digest(what + state)

    def read(self, notes: list[str]) -> tuple[Array, dict[int, str]] | None:
        """Pixels and damaged files, or None, with a note unless there is no cache yet."""
        from safetensors import SafetensorError, safe_open

        try:
            if not self.file.is_file():
                return None
            with safe_open(self.file, "numpy") as store:
                head = store.metadata() or {}
                if head.get("version") != CACHE_VERSION:
                    raise _Unusable("of another version")
                if head.get("key") != self.key:
                    raise _Unusable("out of date, files have changed")
                pixels = store.get_tensor("pixels")
            if _checksum(pixels, head["damaged"]) != head["checksum"]:
                raise _Unusable("damaged")
            reasons = {int(i): str(reason) for i, reason in json.loads(head["damaged"])}
            if pixels.shape != (self.count - len(reasons), *self.shape):
                raise _Unusable("damaged")
        except _Unusable as error:
            notes.append(f"{self.file}: the image cache is {error}; files decoded anew")
        except (SafetensorError, KeyError, ValueError, TypeError):
            notes.append(f"{self.file}: the image cache is damaged; files decoded anew")
        except OSError as error:
            why = error.strerror or error
            notes.append(f"{self.file}: the image cache can't be read ({why}); files decoded anew")
        else:
            return pixels, reasons
        return None

    def write(self, pixels: Array, reasons: dict[int, str], notes: list[str]) -> None:
        """Keep them, or note why not."""
        from safetensors.numpy import save

        damaged = json.dumps(list(reasons.items()))
        head = {
            "version": CACHE_VERSION,
            "key": self.key,
            "damaged": damaged,
            "checksum": _checksum(pixels, damaged),
        }
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.file, save({"pixels": pixels}, head))
        except OSError as error:
            why = error.strerror or error
            notes.append(f"{self.file.parent}: can't keep an image cache there ({why})")


class _Unusable(Exception):
    """A cache file that is not what was asked for."""


def _state(file: Path) -> tuple[int, int]:
    """Size and time of change (ns) of a file; of a missing one (−1, −1)."""
    try:
        found = file.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()


def _checksum(pixels: Array, damaged: str) -> str:
    """CRC-32: a cache of 123 MB takes 0.05 s; what it must find is accidents."""
    return f"{zlib.crc32(np.ascontiguousarray(pixels).data, zlib.crc32(damaged.encode())):08x}"
