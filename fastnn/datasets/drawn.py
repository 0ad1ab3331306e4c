"""A stand-in for Office-31 that is drawn: 31 objects in 3 styles, where the photographs aren't."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fastnn.datasets.images import Array, check_size
from fastnn.datasets.office31 import Office31

#: What is drawn, by object, in tenths of half the object's size: x to the right, y down. A part is
#: a kind (F filled polygon, L line through points, O filled oval, R ring: both x, y, radii), a
#: tone (0 the object's colour, 1 darker, 2 lighter), and numbers. Later parts cover earlier ones.
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
    angle = math.radians(rng.normal(0, 5))
    middle = np.array([width, height]) / 2 + rng.uniform(-0.05, 0.05, 2) * min(height, width)
    turn = scale * np.array(
        [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    )
    for kind, tone, points in _parts(drawing):
        line = [tuple(point) for point in points @ turn + middle]
        if kind in "FO":
            draw.polygon(line, fill=fills[tone])
        else:
            draw.line(line, fill=fills[tone], width=max(1, round(scale)), joint="curve")
    image = image.reduce(2)
    if style.blur:
        image = image.filter(ImageFilter.GaussianBlur(style.blur * min(size) / 100))
    pixels = np.asarray(image)
    if style.noise:
        noisy = pixels + rng.normal(0, style.noise, pixels.shape)
        pixels = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return pixels


def _parts(drawing: str) -> Iterator[tuple[str, int, Array]]:
    """(kind, tone, points (N, 2)) of each part; ovals and rings become polygons."""
    circle = np.linspace(0, 2 * math.pi, 33)
    for part in drawing.split(";"):
        head, *numbers = part.split()
        kind, tone = head[0], head[1]
        points = np.array(numbers, float).reshape(-1, 2)
        if kind in "OR":
            middle, radii = points
            points = middle + radii * np.stack([np.cos(circle), np.sin(circle)], axis=1)
        yield kind, int(tone), points


def _colour(rgb: Array) -> tuple[int, ...]:
    return tuple(int(value) for value in np.clip(rgb, 0, 255))
