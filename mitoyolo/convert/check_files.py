"""Whether a dataset folder is complete: tiles, images, label files and masks one to one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.errors import InputError
from converters.files import read_rows
from converters.geometry import Box
from converters.images import all_files, image_size, open_image
from converters.model import SPLITS
from mitoyolo.convert.augment import TRANSFORMS
from mitoyolo.dataset import (
    AUGMENTED,
    AUGMENTED_COLUMNS,
    MANIFEST,
    MANIFEST_COLUMNS,
    UNLABELLED,
    Dataset,
    Tile,
)
from mitoyolo.label_file import label_file, read_boxes

CACHE = ".npy"
"""What Ultralytics puts beside images when it is told to cache them."""

_MASK_MODES = ("P", "L", "I;16")

_STRAY = "take it out of the folder, or convert again with --overwrite"


@dataclass(frozen=True, slots=True)
class Pair:
    """A tile, its image (None where the folder holds none), and the boxes of its label file."""

    tile: Tile
    image: Path | None
    labels: Path
    boxes: tuple[tuple[int, Box], ...]


def find_pairs(dataset: Dataset) -> dict[str, list[Pair]]:
    """The pairs of each split: the manifest's tiles, then the augmented copies.

    Raises
    ------
    InputError
        A tile without image, label file or mask, one of these without tile, an image of another
        size than its tile, or a damaged row.
    """
    _no_twins(dataset.root)
    tiles = [*dataset.tiles, *_copies(dataset)]
    if dataset.has_images:
        _check_images(dataset, [*tiles, *unlabelled(dataset)])
    found: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    for tile in tiles:
        image = dataset.image_path(tile) if dataset.has_images else None
        file = label_file(dataset.root, tile)
        found[tile.split].append(Pair(tile, image, file, tuple(read_boxes(dataset, tile))))
    for split, pairs in found.items():
        _only(dataset.root / "labels" / split, (pair.labels.name for pair in pairs))
    if (dataset.root / "masks").is_dir():
        _check_masks(dataset.root / "masks", found)
    return found


def unlabelled(dataset: Dataset) -> list[Tile]:
    """The images that nobody annotated: kept beside the others, without label files."""
    return [tile for tile in dataset.others if tile.split == UNLABELLED]


def _no_twins(root: Path) -> None:
    """No tile stands twice in the manifest, where a name is all that tells them apart."""
    seen: set[str] = set()
    for line, row in read_rows(root / MANIFEST, MANIFEST_COLUMNS):
        if row["tile"] in seen:
            raise InputError(
                f"a second tile {row['tile']}", file=root / MANIFEST, where=f"line {line}"
            )
        seen.add(row["tile"])


def _copies(dataset: Dataset) -> list[Tile]:
    """The copies, each by a transform that is known and under a name of its own."""
    file = dataset.root / AUGMENTED
    names = {tile.name for tile in dataset.tiles}
    stain = dataset.normalised_copies
    known = {*TRANSFORMS, *([stain["method"]] if stain else [])}
    for line, row in read_rows(file, AUGMENTED_COLUMNS) if file.exists() else ():
        where = f"line {line}"
        if row["transform"] not in known:
            raise InputError(f"no transform {row['transform']!r:.60}", file=file, where=where)
        if row["tile"] in names:
            raise InputError(f"a second tile {row['tile']}", file=file, where=where)
        names.add(row["tile"])
    copies = (*dataset.others, *dataset.recoloured)
    return [tile for tile in copies if tile.split != UNLABELLED]


def _check_images(dataset: Dataset, tiles: list[Tile]) -> None:
    """Every tile has one image of its size, and there are no others."""
    folder = dataset.root / "images"
    for path in _files(folder):
        if path.relative_to(folder).parts[0] not in (*SPLITS, UNLABELLED):
            raise InputError("belongs to no split", file=path, fix=_STRAY)
    names: dict[str, set[str]] = {split: set() for split in (*SPLITS, UNLABELLED)}
    for tile in tiles:
        image = dataset.image_path(tile)
        _same_size(image, image_size(image), tile)
        names[tile.split].add(image.name)
    for split, expected in names.items():
        _only(folder / split, expected)


def _files(folder: Path) -> list[Path]:
    return all_files(folder) if folder.is_dir() else []


def _only(folder: Path, expected: Iterable[str]) -> None:
    """Refuse files of a split's folder that belong to no tile; caches are nobody's."""
    names = set(expected)
    for path in _files(folder):
        if path.relative_to(folder).as_posix() not in names and path.suffix != CACHE:
            raise InputError(
                f"belongs to no tile of {MANIFEST} that is in this split", file=path, fix=_STRAY
            )


def _same_size(file: Path, size: tuple[int, int], tile: Tile) -> None:
    if size != (tile.width, tile.height):
        raise InputError(
            f"an image of {size[0]} x {size[1]} px, expected {tile.width} x {tile.height}",
            file=file,
        )


def _check_masks(folder: Path, found: dict[str, list[Pair]]) -> None:
    for split, pairs in found.items():
        _only(folder / split, (f"{pair.tile.name}.png" for pair in pairs))
        for pair in pairs:
            _check_mask(folder / split / f"{pair.tile.name}.png", pair)


def _check_mask(file: Path, pair: Pair) -> None:
    """A mask is an indexed PNG of its tile's size; pixels of value ``n`` are of row ``n``."""
    if not file.exists():
        raise InputError("the tile's mask is missing", file=file)
    try:
        with open_image(file) as image:
            mode, size, values = image.mode, image.size, np.asarray(image)
    except Exception:  # Pillow raises many kinds for damaged files
        raise InputError("not a readable mask (damaged, or not an image)", file=file) from None
    if mode not in _MASK_MODES:
        raise InputError(f"a picture of mode {mode}, expected an indexed PNG", file=file)
    _same_size(file, size, pair.tile)
    if (highest := int(values.max())) > len(pair.boxes):
        raise InputError(
            f"value {highest}, but {pair.labels.name} has {len(pair.boxes)} rows", file=file
        )
