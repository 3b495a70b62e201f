"""Writing the tiles: labels, images and masks, each once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from converters.errors import InputError
from converters.files import copy_file, write_folder
from converters.images import is_turned
from converters.model import SPLITS, ImageInfo
from mitoyolo.convert.augment import TRANSFORMS
from mitoyolo.convert.masks import write_mask
from mitoyolo.convert.options import ConvertOptions
from mitoyolo.convert.plan import Plan
from mitoyolo.dataset import Labelled, yolo_text
from mitoyolo.images import LARGEST_SLIDE, RGB, read_rgb, resize, write_rgb
from mitoyolo.progress import track

_COPIED = {".png": ".png", ".jpg": ".jpg", ".jpeg": ".jpg"}
"""Suffix of a source image that a dataset folder takes as it is -> suffix there."""

_Item = TypeVar("_Item")


def write_labels(out: Path, plan: Plan) -> None:
    """Write ``labels/SPLIT/TILE.txt`` of every tile and copy, a split at once."""
    for split in SPLITS:
        files = (
            (f"{item.tile.name}.txt", yolo_text(item))
            for item in plan.written
            if item.tile.split == split
        )
        write_folder(out / "labels" / split, files)


def write_masks(out: Path, plan: Plan) -> None:
    """Write ``masks/SPLIT/TILE.png`` of every tile and copy that has none yet."""
    todo = [
        (path, item)
        for item in plan.written
        if item.tile.split in SPLITS
        and not (path := out / "masks" / item.tile.split / f"{item.tile.name}.png").exists()
    ]
    _in_threads(lambda entry: write_mask(*entry), todo, "masks", "masks")


def write_images(
    out: Path,
    images: list[ImageInfo],
    original: dict[str, tuple[int, int]],
    plan: Plan,
    options: ConvertOptions,
) -> None:
    """Write the image of every tile and copy that is not there yet.

    Parameters
    ----------
    out : Path
        The dataset folder.
    images : list of ImageInfo
        Sizes are those after resampling to ``options.at_mpp``.
    original : dict
        Source -> its width and height on disk, pixels.
    plan : Plan
    options : ConvertOptions

    Raises
    ------
    InputError
        An image does not decode.
    """
    for split in SPLITS:
        (out / "images" / split).mkdir(parents=True, exist_ok=True)

    def write(picture: _Picture) -> None:
        _write_picture(out, picture, plan, options)

    pictures = [
        picture
        for image in images
        for picture in _pictures(image, original[image.source], plan)
        if picture.items
    ]
    _in_threads(write, pictures, "converting", "images")


def _in_threads(write: Callable[[_Item], None], items: list[_Item], what: str, unit: str) -> None:
    """Call ``write`` for each item; OpenCV frees the interpreter lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for _ in track(pool.map(write, items), what, unit=unit, total=len(items)):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def image_files(images: Iterable[ImageInfo], plan: Plan, options: ConvertOptions) -> dict[str, str]:
    """Tile or copy -> the name of its image file."""
    files: dict[str, str] = {}
    for image in images:
        for picture in _pictures(image, (image.width, image.height), plan):
            files |= _files(picture, plan, options)
    return files


@dataclass(frozen=True, slots=True)
class _Picture:
    """A file of pixels, and the tiles that are cut from it.

    Attributes
    ----------
    path : Path or None
        None where only annotations were read.
    original : (int, int)
        Width and height on disk.
    size : (int, int)
        Width and height after resampling.
    origin : (int, int)
        Where it begins in its source image.
    items : list of Labelled
    """

    path: Path | None
    original: tuple[int, int]
    size: tuple[int, int]
    origin: tuple[int, int]
    items: list[Labelled]


def _pictures(image: ImageInfo, original: tuple[int, int], plan: Plan) -> Iterator[_Picture]:
    """The files that an image is in: one, or one a tile."""
    if not image.parts:
        size = (image.width, image.height)
        yield _Picture(image.path, original, size, (0, 0), plan.tiles[image.source])
    wanted = {item.tile.name: item for item in plan.tiles[image.source]}
    for part in image.parts:
        if item := wanted.get(part.name):
            yield _Picture(part.path, item.tile.size, item.tile.size, (part.x, part.y), [item])


def _files(picture: _Picture, plan: Plan, options: ConvertOptions) -> dict[str, str]:
    suffix = _copied_suffix(picture.path, options) or f".{options.tile_format}"
    files = {}
    for item in picture.items:
        name = item.tile.name
        files[name] = f"{name}{suffix}"
        for copy in plan.copies.get(name, []):
            files[copy.item.tile.name] = f"{copy.item.tile.name}.{options.tile_format}"
    return files


def _copied_suffix(path: Path | None, options: ConvertOptions) -> str | None:
    """The suffix under which an image's bytes are taken as they are; None where it is encoded."""
    if path is None:
        return None
    known = _COPIED.get(path.suffix.lower())
    cut = options.tile or options.grid or options.at_mpp
    return None if cut or known is None or is_turned(path) else known


def _write_picture(out: Path, picture: _Picture, plan: Plan, options: ConvertOptions) -> None:
    """Write the tiles that are cut from one file."""
    assert picture.path is not None
    copied = _copied_suffix(picture.path, options)
    files = _files(picture, plan, options)

    def target(item: Labelled) -> Path:
        return out / "images" / item.tile.split / files[item.tile.name]

    todo = []
    for item in picture.items:
        copies = [c for c in plan.copies.get(item.tile.name, []) if not target(c.item).exists()]
        if copies or not target(item).exists():
            todo.append((item, copies))
    if not todo:
        return
    (width, height), original = picture.size, picture.original
    if width * height > max(LARGEST_SLIDE, original[0] * original[1]):
        raise InputError(
            f"{width} x {height} px, as --at-mpp makes it, are too many",
            file=picture.path,
            fix="give a greater --at-mpp, or cut out the region that is annotated",
        )
    pixels = _read(picture.path, original)
    if options.at_mpp:
        pixels = resize(pixels, width, height)
    for item, copies in todo:
        tile, path = item.tile, target(item)
        x, y = tile.x - picture.origin[0], tile.y - picture.origin[1]
        window = pixels[y : y + tile.height, x : x + tile.width]
        for copy in copies:
            write_rgb(target(copy.item), TRANSFORMS[copy.transform].pixels(window))
        if path.exists():
            continue
        if copied:  # the same bytes: a second JPEG encoding would lose
            copy_file(picture.path, path)
        else:
            write_rgb(path, window)


def _read(path: Path, expected: tuple[int, int]) -> RGB:
    pixels = read_rgb(path)
    height, width, _ = pixels.shape
    if (width, height) != expected:
        raise InputError(
            f"decodes to {width} x {height} px, its header says {expected[0]} x {expected[1]}",
            file=path,
            fix="export or download it again",
        )
    return pixels
