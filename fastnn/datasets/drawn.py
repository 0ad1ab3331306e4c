"""Stand-ins that are drawn, where the real images aren't: Office-31, MNIST and CIFAR-10."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fastnn.datasets.cifar10 import CLASS_NAMES
from fastnn.datasets.images import Array, check_size
from fastnn.datasets.mnist import ImageSet
from fastnn.datasets.office31 import Office31

#: What is drawn, by object, in tenths of half the object's size: x to the right, y down. A part is
#: a kind (F filled polygon, L line through points, O filled oval, R ring: both x, y, radii, A arc:
#: x, y, radii, first and last angle in degrees, from x to y), a tone (0 the object's colour, 1
#: darker, 2 lighter), and numbers. Later parts cover earlier ones.
DRAWINGS = {
    "back_pack": "O0 0 -5 5 4; F0 -5 -5 5 -5 7 9 -7 9; R1 0 -9 2 1.5; F1 -4 2 4 2 4 7 -4 7",
    "bike": "R0 -5.5 4 4 4; R0 5.5 4 4 4; L0 1 4 -5.5 4 -2 -3 4 -3 1 4 -2 -3; L0 5.5 4 4 -6 7 -6; "
    "L0 -4 -4 0 -4",
    "bike_helmet": "F0 -9 4 -8 -1 -5 -5 0 -7 5 -5 8 -1 9 4; F1 -6 1 -5 -3 -3 -4 -4 1; "
    "F1 -1 -5 1 -5 1 1 -1 1; F1 6 1 5 -3 3 -4 4 1; L1 -7 4 0 9 7 4",
    "bookcase": "F0 -7 -10 7 -10 7 10 -7 10; F2 -6 -9 6 -9 6 -4 -6 -4; F2 -6 -3 6 -3 6 3 -6 3; "
    "F2 -6 4 6 4 6 9 -6 9; F1 -5 -7 -2 -7 -2 -4 -5 -4; F1 0 -1 4 -1 4 3 0 3",
    "bottle": "F0 -1.3 -8 1.3 -8 1.3 -5 3.5 -2 3.5 10 -3.5 10 -3.5 -2 -1.3 -5; "
    "F1 -1.7 -10 1.7 -10 1.7 -8 -1.7 -8; F2 -3.5 1 3.5 1 3.5 6 -3.5 6",
    "calculator": "F0 -5.5 -9 5.5 -9 5.5 9 -5.5 9; F2 -4.5 -8 4.5 -8 4.5 -4.5 -4.5 -4.5; "
    "O1 -3 -2 1 1; O1 0 -2 1 1; O1 3 -2 1 1; O1 -3 2 1 1; O1 0 2 1 1; O1 3 2 1 1; O1 -3 6 1 1; "
    "O1 0 6 1 1; O1 3 6 1 1",
    "desk_chair": "F0 -4 -10 4 -10 5 -1 -5 -1; L0 0 -1 0 7; F0 -6 1 6 1 6 3 -6 3; "
    "L0 -6 9 0 7 6 9; O1 -6 9 1 1; O1 6 9 1 1; L1 -8 -2 -6 2; L1 8 -2 6 2",
    "desk_lamp": "F0 -7 8 2 8 2 10 -7 10; L0 -3 8 -6 -1 3 -6; F0 2 -10 10 -3 5 0 0 -5; "
    "O2 6 -1 1.5 1.5",
    "desktop_computer": "F0 -10 -6 3 -6 3 4 -10 4; F2 -9 -5 2 -5 2 3 -9 3; F0 -5 4 -2 4 0 7 -7 7; "
    "F1 5 -8 10 -8 10 8 5 8; O2 7.5 -5 1.2 1.2",
    "file_cabinet": "F0 -5 -10 5 -10 5 10 -5 10; L1 -5 -3.3 5 -3.3; L1 -5 3.3 5 3.3; "
    "L2 -2 -7 2 -7; L2 -2 0 2 0; L2 -2 7 2 7",
    "headphones": "L0 -8 3 -8 -2 -6 -7 0 -9 6 -7 8 -2 8 3; O0 -7.5 4 2.4 4; O0 7.5 4 2.4 4; "
    "O1 -6 4 1 3; O1 6 4 1 3",
    "keyboard": "F0 -10 -4 10 -4 10 4 -10 4; L2 -9 -2.5 9 -2.5; L2 -9 0 9 0; L2 -5 2.5 5 2.5",
    "laptop_computer": "F0 -7 -8 7 -8 7 2 -7 2; F2 -6 -7 6 -7 6 1 -6 1; F0 -7 2 7 2 10 8 -10 8; "
    "L1 -6 4 6 4; L1 -7 6 7 6",
    "letter_tray": "L0 -9 -7 -9 8 9 8 9 -7; L0 -9 3 9 3; L0 -9 -2 9 -2; L2 -7 6 7 6; L2 -7 1 7 1; "
    "L2 -7 -4 7 -4",
    "mobile_phone": "F0 -4 -9 4 -9 4 9 -4 9; F2 -3 -6 3 -6 3 4 -3 4; O1 0 6.5 1.2 1.2; "
    "L1 -1.5 -7.5 1.5 -7.5",
    "monitor": "F0 -10 -8 10 -8 10 5 -10 5; F2 -9 -7 9 -7 9 4 -9 4; F0 -1.5 5 1.5 5 1.5 8 -1.5 8; "
    "F0 -5 8 5 8 5 9.5 -5 9.5",
    "mouse": "O0 0 2 5 7.5; L1 -5 0 5 0; L1 0 -5 0 0; L0 0 -5 2 -8 -1 -10",
    "mug": "R0 4.5 0 4 4.5; F0 -8 -7 4 -7 4 8 -8 8; O1 -2 -7 6 1.7",
    "paper_notebook": "F1 -7 -10 8 -10 8 10 -7 10; F2 -5 -9 7 -9 7 9 -5 9; L0 -3 -5 5 -5; "
    "L0 -3 -1 5 -1; L0 -3 3 5 3; O0 -7 -8 1 1; O0 -7 -4 1 1; O0 -7 0 1 1; O0 -7 4 1 1; O0 -7 8 1 1",
    "pen": "F0 -8 6 -6 8 9 -7 7 -9; F1 -8 6 -6 8 -10 10; L1 1 -1 6 -8",
    "phone": "F0 -7 -4 7 -4 9 9 -9 9; F1 -10 -9 10 -9 10 -3 6 -3 5 -6 -5 -6 -6 -3 -10 -3; "
    "F2 -3 -1 3 -1 4 7 -4 7",
    "printer": "F2 -5 -10 5 -10 5 -3 -5 -3; F0 -9 -4 9 -4 9 6 -9 6; F2 -6 4 6 4 7 10 -7 10; "
    "L1 -7 2 7 2; O1 7 -2 1 1",
    "projector": "F0 -10 -5 10 -5 10 5 -10 5; O1 5 0 4.5 4.5; O2 5 0 2.2 2.2; L1 -8 -2 -2 -2; "
    "L1 -8 1 -2 1; F1 -9 5 -6 5 -6 7 -9 7; F1 6 5 9 5 9 7 6 7",
    "punchers": "F0 -9 5 10 5 10 9 -9 9; F1 -8 3 8 -8 10 -5 -5 5; O0 -5 3 3 3; O2 -5 3 1.2 1.2",
    "ring_binder": "F0 -6 -10 1 -10 1 10 -6 10; F1 1 -10 7 -8 7 9 1 10; F2 -5 -8 0 -8 0 -1 -5 -1; "
    "O2 -2.5 6 1.7 1.7",
    "ruler": "F0 -10 -2 10 -2 10 2 -10 2; L1 -8 -2 -8 0; L1 -5 -2 -5 1; L1 -2 -2 -2 0; "
    "L1 1 -2 1 1; L1 4 -2 4 0; L1 7 -2 7 1",
    "scissors": "L1 -5 -10 3 5; L1 5 -10 -3 5; R0 -4.5 7 3 2.5; R0 4.5 7 3 2.5",
    "speaker": "F0 -6 -10 6 -10 6 10 -6 10; O1 0 -5.5 2.7 2.7; O1 0 3.5 5 5; O2 0 3.5 2 2",
    "stapler": "F0 -10 5 9 5 9 8 -10 8; F1 -10 3 -9 -1 8 -5 10 -2 9 1 -6 3; "
    "F0 -10 2 -6 2 -6 6 -10 6",
    "tape_dispenser": "F0 -9 8 -9 3 3 3 7 -1 10 -1 10 8; R0 -3 0 5.5 5.5; R1 -3 0 3 3",
    "trash_can": "F0 -6 -8 6 -8 4.5 10 -4.5 10; L1 -3 -6 -2.5 8; L1 0 -6 0 8; L1 3 -6 2.5 8; "
    "F1 -7 -10 7 -10 7 -8 -7 -8",
}  # fmt: skip


@dataclass(frozen=True)
class _Style:
    """How a domain looks. Colours are 0..255."""

    images: int  # in the real Office-31
    light: tuple[int, int]  # the range the background's corners are drawn from
    table: bool  # whether the object stands before a table's edge
    contrast: float  # of the object to its background
    blur: float  # in pixels of an image of 100 pixels
    noise: float  # standard deviation


STYLES = {
    "amazon": _Style(2817, (255, 255), False, 1.0, 0.0, 0.0),
    "dslr": _Style(498, (130, 230), True, 0.9, 0.0, 4.0),
    "webcam": _Style(795, (110, 170), True, 0.6, 0.8, 14.0),
}


#: The forms of each digit, 0 to 9, as in ``DRAWINGS``; only the strokes of a pen.
DIGITS = (
    ("A0 0 0 5.5 9 0 360",),
    ("L0 -3 -6 0.5 -9.5 0.5 9.5", "L0 0 -9.5 0 9.5"),
    ("A0 0 -4.5 5 5 190 390; L0 4.3 -2 -5 9.5 5.5 9.5",),
    ("A0 -0.5 -4.8 4.8 4.7 200 450; A0 -0.5 4.8 5.5 4.8 270 520",),
    ("L0 1 -9.5 -6 3 6 3; L0 3 -3 3 9.5", "L0 -4 -9 -5 0 5 0; L0 5 -9 4.5 9.5"),
    ("L0 5 -9.5 -4 -9.5 -4.1 -0.7; A0 -0.3 3.5 5.3 6 225 510",),
    ("A0 6 4 11 14 180 250; A0 0 4 5 5.5 0 360",),
    ("L0 -5.5 -9.5 5.5 -9.5 -1 9.5", "L0 -5.5 -9.5 5.5 -9.5 -1 9.5; L0 -2 0 5 0"),
    ("A0 0 -5 4.2 4.5 0 360; A0 0 4.8 5 4.9 0 360",),
    ("A0 0 -4.5 5 5 0 360; A0 -6 -4.5 11 14 0 70", "A0 0 -4.5 5 5 0 360; L0 5 -4.5 4 9.5"),
)


@dataclass(frozen=True)
class _Scene:
    """Colours (0..255) above and below a horizon, and where that is, as a part of the height."""

    colours: tuple[tuple[int, int, int], tuple[int, int, int]]
    horizon: tuple[float, float]


SCENES = {
    "sky": _Scene(((120, 170, 225), (165, 195, 230)), (0.3, 1.0)),
    "sea": _Scene(((170, 200, 225), (50, 90, 130)), (0.35, 0.65)),
    "road": _Scene(((150, 170, 180), (100, 100, 100)), (0.45, 0.75)),
    "grass": _Scene(((150, 180, 170), (90, 130, 60)), (0.1, 0.6)),
    "room": _Scene(((190, 165, 140), (125, 90, 65)), (0.5, 0.8)),
}

Range = tuple[float, float]
PAINT: tuple[Range, Range, Range] = ((0, 1), (0.2, 0.9), (0.3, 0.95))
FUR: tuple[Range, Range, Range] = ((0.04, 0.12), (0.1, 0.7), (0.2, 0.9))
SKIN: tuple[Range, Range, Range] = ((0.12, 0.4), (0.4, 0.9), (0.3, 0.8))


@dataclass(frozen=True)
class _Thing:
    """A class: scenes it stands in, ranges of its hue, saturation and value, and its parts."""

    scenes: tuple[str, ...]
    coat: tuple[Range, Range, Range]
    drawing: str


#: CIFAR-10's classes, drawn as in ``DRAWINGS``.
THINGS = {
    "airplane": _Thing(("sky", "sky", "road"), PAINT,
        "F0 -10 -1 -7 -2 7 -2 10 0 7 2 -7 2; F1 -2 0 2 0 -3 8 -6 8; F1 -1 -2 2 -2 -2 -7 -4 -7; "
        "F0 -10 -7 -8 -7 -5 -2 -9 -2; L2 -5 -0.7 7 -0.7"),
    "automobile": _Thing(("road", "road", "grass"), PAINT,
        "F0 -10 0 -6 -1 -4 -5 4 -5 6 -1 10 0 10 4 -10 4; F2 -5 -1 -3 -4 -0.5 -4 -0.5 -1; "
        "F2 0.5 -1 0.5 -4 3.5 -4 5 -1; O1 -5.5 4 2.3 2.3; O1 5.5 4 2.3 2.3"),
    "bird": _Thing(("sky", "grass"), PAINT,
        "O0 0 1 5 3.5; O0 5 -3 2.4 2.4; F1 7 -3.5 10 -2.5 7 -2; F1 -4 0 -10 -2 -9 3 -4 3; "
        "F1 -3 0 2 0 -2 5; L1 -1 4 -1 8; L1 1 4 1 8"),
    "cat": _Thing(("room", "room", "grass"), FUR,
        "L0 3 8 8 7 9 1; O0 0 5 5 5; O0 0 -3 4.5 4; F0 -4.5 -4 -4 -9 -1 -6; F0 4.5 -4 4 -9 1 -6; "
        "O2 -1.8 -3.5 0.9 1.1; O2 1.8 -3.5 0.9 1.1; F1 -0.8 -1.7 0.8 -1.7 0 -0.8"),
    "deer": _Thing(("grass",), FUR,
        "O0 -1 1 5.5 2.7; F0 2 0 5 -5 7 -4 5 3; O0 7 -5 2.3 1.5; L1 6 -6 4 -10; L1 6 -6 8 -10; "
        "L1 5 -8 3 -8; L0 -5 2 -5 10; L0 -3 3 -3 10; L0 2 3 2 10; L0 4 2 4 10; F2 -6.5 0 -5 -1 -6 2"
    ),
    "dog": _Thing(("room", "grass"), FUR,
        "F0 -7 -1 5 -2 5 4 -7 4; O0 7 -4 3 2.8; F0 8 -4 10.5 -3 10 -1.5 7 -1.5; "
        "F1 5 -6 6.5 -6 6 -1 4.3 -1; F0 -7 2 -5 2 -5 9 -7 9; F0 2 2 4 2 4 9 2 9; L0 -7 0 -10 -5"),
    "frog": _Thing(("grass", "sea"), SKIN,
        "O0 0 3 7 4.5; O0 -3.5 -2 2.2 2.2; O0 3.5 -2 2.2 2.2; O1 -3.5 -2.3 1 1; O1 3.5 -2.3 1 1; "
        "O0 -7.5 6 3 2; O0 7.5 6 3 2; L1 -4 2.5 0 3.5 4 2.5"),
    "horse": _Thing(("grass",), FUR,
        "O0 -1 0 6.5 3.5; F0 2 -1 6 -8 9 -7 6 2; F0 6 -8.5 10 -5 9 -3.5 6 -5.5; L1 2 -3 5.5 -9; "
        "F0 -7 0 -5 0 -5 9 -6.5 9; F0 -3.5 2 -2 2 -2 9 -3.5 9; F0 2 2 3.5 2 3.5 9 2 9; "
        "F0 4 1 5.8 1 5.8 9 4.3 9; F1 -7 -1 -6 -2 -9 6 -10 5"),
    "ship": _Thing(("sea",), PAINT,
        "F0 -10 3 10 3 7 8 -8 8; F2 -6 -1 4 -1 4 3 -6 3; F1 -3 -6 0 -6 0 -1 -3 -1; L1 6 3 6 -6; "
        "L2 -9 5 8 5"),
    "truck": _Thing(("road", "road", "grass"), PAINT,
        "F0 -10 -7 3 -7 3 4 -10 4; F1 3.5 -3 7 -3 10 0 10 4 3.5 4; F2 5 -2 6.7 -2 8.5 0 5 0; "
        "O1 -6.5 4 2.3 2.3; O1 6.5 4 2.3 2.3"),
}  # fmt: skip


def draw_office31(count: int = 1200, size: tuple[int, int] = (100, 100), seed: int = 0) -> Office31:
    """Draw ``count`` (>= 31) images of ``size`` (height, width) with Office-31's names.

    The domains have the real ones' share of the images and the objects about equally many in
    each: a catalogue's clean drawing on white, a photograph with light from one side, a noisy
    picture of low contrast. Place, size, angle, colour and light vary, all by ``seed``. Order is
    that of ``load_office31``.
    """
    if type(count) is not int or count < len(DRAWINGS):
        raise ValueError(f"count must be an integer >= {len(DRAWINGS)}, got {count!r}")
    check_size(size)
    shares = np.array([style.images for style in STYLES.values()])
    ends = np.round(np.cumsum(shares) / shares.sum() * count).astype(int)
    counts = np.diff(ends, prepend=0)
    domain = np.repeat(np.arange(len(STYLES)), counts)
    object_ = np.concatenate([np.sort(np.arange(n) % len(DRAWINGS)) for n in counts])
    drawings, styles = list(DRAWINGS.values()), list(STYLES.values())
    rng = np.random.default_rng(seed)
    pixels = np.empty((count, *size, 3), np.uint8)
    for i in range(count):
        pixels[i] = _draw(drawings[object_[i]], styles[domain[i]], size, rng)
    return Office31(
        pixels, domain.astype(np.int64), object_.astype(np.int64), list(STYLES), list(DRAWINGS),
        [], [], [], [],
    )  # fmt: skip


def _draw(drawing: str, style: _Style, size: tuple[int, int], rng: np.random.Generator) -> Array:
    """One image, (H, W, 3) uint8."""
    # Twice as large and halved afterwards: ImageDraw's edges are hard.
    height, width = 2 * size[0], 2 * size[1]
    corners = rng.uniform(*style.light, (2, 2, 1)) + rng.uniform(-12, 0, 3) * (style.noise > 0)
    image = Image.fromarray(np.clip(corners, 0, 255).astype(np.uint8)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    draw = ImageDraw.Draw(image)
    around = np.array(image.getpixel((width // 2, height // 2)))
    if style.table:
        edge, slope = rng.uniform(0.6, 0.85) * height, rng.uniform(-0.05, 0.05) * height
        wood = around * rng.uniform(0.75, 0.95) * [1, 0.95, 0.85]
        corners_of_table = [(0, edge - slope), (width, edge + slope), (width, height), (0, height)]
        draw.polygon(corners_of_table, fill=_colour(wood))
    colour = 255 * np.array(
        colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.6))
    )
    tones = [colour, 0.45 * colour, 255 - 0.3 * (255 - colour)]
    fills = [_colour(around + style.contrast * (tone - around)) for tone in tones]

    scale = min(height, width) / 20 * rng.uniform(0.75, 0.95)
    angle = rng.normal(0, 5)
    middle = np.array([width, height]) / 2 + rng.uniform(-0.05, 0.05, 2) * min(height, width)
    turn = scale * _rotation(angle)
    _paint(draw, list(_parts(drawing)), turn, middle, fills, max(1, round(scale)))
    image = image.reduce(2)
    if style.blur:
        image = image.filter(ImageFilter.GaussianBlur(style.blur * min(size) / 100))
    pixels = np.asarray(image)
    if style.noise:
        noisy = pixels + rng.normal(0, style.noise, pixels.shape)
        pixels = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return pixels


def draw_mnist(train: int = 6000, test: int = 1000, seed: int = 0) -> ImageSet:
    """Draw digits as MNIST's: (N, 28, 28, 1), bright strokes on black, classes 0 to 9.

    ``train`` and ``test`` (>= 10): how many; each class has equally many, give or take one. Place,
    size, angle, slant, thickness of the pen, its darkness and noise vary, all by ``seed``. The
    test's images don't depend on ``train``.
    """
    return _draw_set(_draw_digits, [str(digit) for digit in range(10)], train, test, seed)


def draw_cifar10(train: int = 6000, test: int = 1000, seed: int = 0) -> ImageSet:
    """Draw images with CIFAR-10's classes: (N, 32, 32, 3), RGB.

    ``train`` and ``test`` (>= 10): how many; each class has equally many, give or take one. Scene,
    colours, light, place, size, angle, the side the thing looks to, and noise vary, all by
    ``seed``; classes share scenes and colours, so that the shape must be learnt. The test's images
    don't depend on ``train``.
    """
    return _draw_set(_draw_things, list(CLASS_NAMES), train, test, seed)


def _draw_set(
    draw: Callable[[Array, np.random.Generator], Array],
    names: list[str], train: int, test: int, seed: int,
) -> ImageSet:  # fmt: skip
    """``draw`` gives the images for labels."""
    counts = {"train": train, "test": test}
    for name, count in counts.items():
        if type(count) is not int or count < len(names):
            raise ValueError(f"{name} must be an integer >= {len(names)}, got {count!r}")
    parts: list[tuple[Array, Array]] = []
    generators = np.random.default_rng(seed).spawn(len(counts))
    for count, rng in zip(counts.values(), generators, strict=True):
        labels = rng.permutation(np.arange(count, dtype=np.int64) % len(names))
        parts.append((draw(labels, rng), labels))
    (x_train, y_train), (x_test, y_test) = parts
    return ImageSet(x_train, y_train, x_test, y_test, names, "drawn by fastnn")


def _draw_digits(labels: Array, rng: np.random.Generator) -> Array:
    """(N, 28, 28, 1) uint8."""
    finer = 4
    side = 28 * finer
    forms = [[list(_parts(form)) for form in digit] for digit in DIGITS]
    images = np.empty((len(labels), 28, 28, 1), np.uint8)
    for image, label in zip(images, labels, strict=True):
        large = Image.new("L", (side, side))
        scale = finer * rng.uniform(0.75, 1.1, 2)
        turn = np.diag(scale) @ _rotation(rng.normal(0, 10))
        turn[1] -= rng.normal(0.05, 0.2) * turn[0]  # to the right at the top
        middle = side / 2 + finer * rng.uniform(-2.5, 2.5, 2)
        pen = round(finer * rng.uniform(1.6, 3.6))
        form = forms[label][rng.integers(len(forms[label]))]
        _paint(ImageDraw.Draw(large), form, turn, middle, [255], pen)
        ink = np.asarray(large.reduce(finer)) * rng.uniform(0.6, 1)
        image[..., 0] = _noisy(ink, 12, rng)
    return images


def _draw_things(labels: Array, rng: np.random.Generator) -> Array:
    """(N, 32, 32, 3) uint8."""
    finer = 2
    side = 32 * finer
    count = len(labels)
    things = [THINGS[CLASS_NAMES[label]] for label in labels]
    parts = {name: list(_parts(thing.drawing)) for name, thing in THINGS.items()}
    choices = zip(things, rng.random(count), strict=True)
    scenes = [SCENES[t.scenes[int(choice * len(t.scenes))]] for t, choice in choices]
    ground = np.array([scene.colours for scene in scenes]) + rng.normal(0, 22, (count, 2, 3))
    hsv = rng.uniform(*np.moveaxis(np.array([thing.coat for thing in things]), 2, 0))
    coat = 255 * np.array([colorsys.hsv_to_rgb(*values) for values in hsv.tolist()])
    tones = np.stack([coat, 0.4 * coat, 255 - 0.45 * (255 - coat)], axis=1)
    light = rng.normal(0, 25, (count, 1, 1))
    colours = np.clip(np.concatenate([ground, tones], axis=1) + light, 0, 255).astype(int)
    level = rng.uniform(*np.array([scene.horizon for scene in scenes]).T)
    horizon = side * (level[:, np.newaxis] + rng.uniform(-0.08, 0.08, (count, 2)))
    scale = side / 20 * rng.uniform(0.6, 0.95, count)
    angle = rng.normal(0, 8, count)
    looks = rng.choice([-1, 1], count)
    middle = side / 2 + finer * rng.uniform(-4, 4, (count, 2))
    images = np.empty((count, 32, 32, 3), np.uint8)
    for i, label in enumerate(labels):
        above, below, *fills = map(tuple, colours[i].tolist())
        left, right = horizon[i].tolist()
        large = Image.new("RGB", (side, side), above)
        draw = ImageDraw.Draw(large)
        draw.polygon([(0, left), (side, right), (side, side), (0, side)], fill=below)
        turn = scale[i] * _rotation(angle[i])
        turn[0] *= looks[i]
        pen = max(1, round(scale[i]))
        _paint(draw, parts[CLASS_NAMES[label]], turn, middle[i], fills, pen)
        images[i] = _noisy(np.asarray(large.reduce(finer)), 8, rng)
    return images


def _noisy(image: Array, deviation: float, rng: np.random.Generator) -> Array:
    noise = deviation * rng.standard_normal(image.shape, np.float32)
    return np.clip(np.rint(image + noise), 0, 255)


def _rotation(degrees: float) -> Array:
    """The matrix to multiply rows (x, y), y down, with: it turns them anticlockwise."""
    angle = math.radians(degrees)
    return np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


Part = tuple[str, int, Array]


def _paint(
    draw: ImageDraw.ImageDraw, parts: Sequence[Part], turn: Array, middle: Array,
    fills: Sequence[Any], width: int,
) -> None:  # fmt: skip
    """Draw the parts, their points times ``turn`` (2, 2) plus ``middle``; lines have ``width``."""
    for kind, tone, points in parts:
        line = (points @ turn + middle).ravel().tolist()
        if kind in "FO":
            draw.polygon(line, fill=fills[tone])
        else:
            # Arcs bend too little to need joints, which take most of the time.
            joint = None if kind == "A" else "curve"
            draw.line(line, fill=fills[tone], width=width, joint=joint)


def _parts(drawing: str) -> Iterator[Part]:
    """(kind, tone, points (N, 2)) of each part; ovals, rings and arcs become lines."""
    for part in drawing.split(";"):
        head, *numbers = part.split()
        kind, tone = head[0], head[1]
        points = np.array(numbers, float).reshape(-1, 2)
        if kind in "ORA":
            middle, radii, ends = points if kind == "A" else (*points, np.array([0, 360]))
            first, last = np.radians(ends)
            angles = np.linspace(first, last, round((last - first) * 16 / math.pi) + 1)
            points = middle + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        yield kind, int(tone), points


def _colour(rgb: Array) -> tuple[int, ...]:
    return tuple(int(value) for value in np.clip(rgb, 0, 255))
