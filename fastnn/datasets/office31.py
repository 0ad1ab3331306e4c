"""Office-31: objects of an office, photographed in three domains.

K. Saenko, B. Kulis, M. Fritz, T. Darrell, Adapting visual category models to new domains (2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastnn.datasets.images import (
    Array,
    PathLike,
    list_folders,
    list_images,
    read_images,
    require_some,
)


@dataclass(frozen=True)
class Office31:
    """Images with two labels each: what ``load_office31`` and ``draw_office31`` return.

    ``pixels`` (N, H, W, 3) uint8. ``domain`` and ``object`` (N,) int64: numbers of
    ``domain_names`` and ``object_names``. ``paths`` of the N files (none if drawn). ``damaged``:
    (path, reason) of files left out. ``foreign``: what is in the folders but belongs to no image.
    ``notes``: sentences about the cache for the user. ``from_cache``: nothing was decoded.
    """

    pixels: Array
    domain: Array
    object: Array
    domain_names: list[str]
    object_names: list[str]
    paths: list[Path]
    damaged: list[tuple[Path, str]]
    foreign: list[Path]
    notes: list[str]
    from_cache: bool = False


def load_office31(
    folder: PathLike,
    size: tuple[int, int] = (100, 100),
    *,
    resample: str = "bicubic",
    workers: int | None = None,
    on_damaged: str = "raise",
    progress: bool = False,
    cache: PathLike | None = None,
) -> Office31:
    """Read ``folder/<domain>/images/<object>/<image>``; the arguments are ``read_images``'s.

    Domains, objects (of all domains together) and files are in alphabetical order. An object may
    be missing or empty in a domain. Hidden things are passed over.

    Raises ``OSError`` if the folder is missing or no folder, ``ValueError``, naming it, if it is
    not laid out like that or has no images.
    """
    folder = Path(folder)
    found, foreign = list_folders(folder)
    domain_names = [name for name in found if (folder / name / "images").is_dir()]
    if not domain_names:
        raise ValueError(
            f"{folder}: expected the folders <domain>/images/<object>, found {_some(found)}"
        )
    foreign += [folder / name for name in found if name not in domain_names]
    objects: dict[str, list[str]] = {}
    for name in domain_names:
        objects[name], others = list_folders(folder / name / "images")
        foreign += others
    object_names = sorted(set().union(*objects.values()))
    paths: list[Path] = []
    labels: list[tuple[int, int]] = []
    for number, domain in enumerate(domain_names):
        for name in objects[domain]:
            images, others = list_images(folder / domain / "images" / name)
            paths += images
            labels += [(number, object_names.index(name))] * len(images)
            foreign += others
    if not paths:
        raise ValueError(f"{folder}: no images in its folders <domain>/images/<object>")
    read = read_images(
        paths, size, resample=resample, workers=workers, on_damaged=on_damaged,
        progress=progress, cache=cache,
    )  # fmt: skip
    require_some(folder, read)
    domain_labels, object_labels = np.array(labels, np.int64)[read.kept].T.copy()
    return Office31(
        read.pixels, domain_labels, object_labels, domain_names, object_names,
        read.paths, read.damaged, foreign, read.notes, read.from_cache,
    )  # fmt: skip


def _some(names: list[str]) -> str:
    shown = names[:5] + ([f"{len(names) - 5} more"] if len(names) > 5 else [])
    return f"{', '.join(shown)} without images/ in them" if names else "no folders"
