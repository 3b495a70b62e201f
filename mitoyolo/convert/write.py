"""Writing the tiles: images and YOLO labels, each once, in threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from converters.errors import InputError
from converters.files import copy_file, write_text
from converters.images import is_turned
from converters.model import ImageInfo
from mitoyolo.convert.options import ConvertOptions
from mitoyolo.convert.plan import Plan
from mitoyolo.dataset import Labelled, yolo_text
from mitoyolo.images import read_rgb, resize, write_rgb
from mitoyolo.progress import track
from mitoyolo.split import SPLITS

_COPIED = {".png": ".png", ".jpg": ".jpg", ".jpeg": ".jpg"}
"""Suffix of a source image that a dataset folder takes as it is -> suffix there."""


def write_tiles(
    out: Path,
    images: list[ImageInfo],
    original: dict[str, tuple[int, int]],
    plan: Plan,
    options: ConvertOptions,
) -> dict[str, str]:
    """Write every tile's image and labels that is not there yet.

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

    Returns
    -------
    dict
        Tile name -> image file name.

    Raises
    ------
    InputError
        An image does not decode.
    """
    for kind in ("images", "labels"):
        for split in SPLITS:
            (out / kind / split).mkdir(parents=True, exist_ok=True)

    def write(image: ImageInfo) -> dict[str, str]:
        return _write_source(out, image, original[image.source], plan.tiles[image.source], options)

    files: dict[str, str] = {}
    work = [image for image in images if plan.tiles[image.source]]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV frees the interpreter lock
        try:
            done = pool.map(write, work)
            for named in track(done, "converting", unit="images", total=len(work)):
                files |= named
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return files


def _write_source(
    out: Path,
    image: ImageInfo,
    original: tuple[int, int],
    items: list[Labelled],
    options: ConvertOptions,
) -> dict[str, str]:
    """Write the tiles of one source image."""
    copied = None
    if not (options.tile or options.at_mpp or is_turned(image.path)):
        copied = _COPIED.get(image.path.suffix.lower())
    suffix = copied or f".{options.tile_format}"
    files = {item.tile.name: f"{item.tile.name}{suffix}" for item in items}
    targets = [
        (
            item,
            out / "images" / item.tile.split / files[item.tile.name],
            out / "labels" / item.tile.split / f"{item.tile.name}.txt",
        )
        for item in items
    ]
    todo = [target for target in targets if not (target[1].exists() and target[2].exists())]
    if not todo:
        return files
    pixels = read_rgb(image.path)
    height, width, _ = pixels.shape
    if (width, height) != original:
        raise InputError(
            f"decodes to {width} x {height} px, its header says {original[0]} x {original[1]}",
            file=image.path,
            fix="export or download it again",
        )
    if options.at_mpp:
        pixels = resize(pixels, image.width, image.height)
    for item, picture, labels in todo:
        tile = item.tile
        write_text(labels, yolo_text(item))
        if copied:  # the same bytes: a second JPEG encoding would lose
            copy_file(image.path, picture)
        else:
            write_rgb(picture, pixels[tile.y : tile.y + tile.height, tile.x : tile.x + tile.width])
    return files
