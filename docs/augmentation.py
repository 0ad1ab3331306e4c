"""Draws the picture of docs/augmentation.md: ``python docs/augmentation.py docs/augmentation``.

Each row is one transformation, of one image in seven epochs. Needs Pillow only.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastnn import Augmentation
from fastnn.augmentation import colour_covariance, ten_crop
from fastnn.datasets import draw_office31
from fastnn.files import write_atomically

SIDE, GAP, LABEL, COLUMNS = 64, 6, 196, 8


def rows() -> list[tuple[str, np.ndarray]]:
    """(label, images (8, h, w, 3)): the image as it is, and what becomes of it."""
    data = draw_office31(124, (SIDE, SIDE), seed=4)
    named = data.object == data.object_names.index("desktop_computer")
    image = data.pixels[named & (data.domain == data.domain_names.index("dslr"))][:1]
    colours = colour_covariance(data.pixels)
    options = {
        "horizontal_flip, vertical_flip": {"horizontal_flip": True, "vertical_flip": True},
        "zoom_range (1, 1.6)": {"zoom_range": (1.0, 1.6)},
        "stretch_range (1, 1.3)": {"stretch_range": (1.0, 1.3)},
        "shear_range 20": {"shear_range": 20},
        "rotation_range 30": {"rotation_range": 30},
        "…, fill_mode \"reflect\"": {"rotation_range": 30, "fill_mode": "reflect"},
        "…, fill_mode \"constant\"": {"rotation_range": 30, "fill_mode": "constant"},
        "height_, width_shift_range 0.2": {"height_shift_range": 0.2, "width_shift_range": 0.2},
        "random_crop 48": {"random_crop": 48},
        "random_crop 64, padding 8": {"random_crop": 64, "padding": 8, "fill_mode": "constant"},
        "multi_scale (48, 96), crop 48": {"multi_scale": (48, 96), "random_crop": 48},
        "brightness_range (0.6, 1.4)": {"brightness_range": (0.6, 1.4)},
        "pca_colour 0.5": {"pca_colour": 0.5, "colour_covariance": colours},
        "all that moves": {
            "horizontal_flip": True, "zoom_range": (1.0, 1.6), "stretch_range": (1.0, 1.3),
            "shear_range": 20, "rotation_range": 30, "height_shift_range": 0.1,
            "width_shift_range": 0.1,
        },
    }  # fmt: skip
    found = []
    for label, keywords in options.items():
        augment = Augmentation(**keywords)
        changed = [augment(image, epoch=epoch)[0] for epoch in range(COLUMNS - 1)]
        found.append((label, [image[0], *changed]))
    crops = ten_crop(image, 48)[:, 0]
    return [
        *found,
        ("ten_crop 48: corners, centre,", list(crops[:5])),
        ("mirrored", list(crops[5:])),
    ]


def main(folder: Path) -> None:
    """Write transformations.png."""
    drawn = rows()
    size = LABEL + COLUMNS * (SIDE + GAP), len(drawn) * (SIDE + GAP) + GAP
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for i, (label, images) in enumerate(drawn):
        top = GAP + i * (SIDE + GAP)
        draw.text((GAP, top + SIDE // 2), label, fill="black", font=font, anchor="lm")
        for j, image in enumerate(images):
            sheet.paste(Image.fromarray(image), (LABEL + j * (SIDE + GAP), top))
    data = io.BytesIO()
    sheet.save(data, "PNG")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "transformations.png", data.getvalue())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
