"""Whether pycocotools reads the COCO file of a split, and reads in it what the labels say.

Source: pycocotools' ``COCO``, which loads the file, and its run-length masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from math import ceil, floor
from pathlib import Path
from typing import Any

from pycocotools import mask as runs
from pycocotools.coco import COCO

from converters.errors import InputError
from converters.files import read_json
from converters.geometry import Box
from converters.keys import Keys
from converters.model import LABELS
from converters.rle import decode
from mitoyolo.convert.check_files import Pair

AGREE_PX = 1e-3
"""How far a box may be from its row: the label file's ten decimals, and no more."""

SPECK_PX2 = 4.0
"""A smaller shape may miss every pixel centre, and then its mask is empty."""

_FAR = 1e6  # px; pycocotools walks along an outline pixel by pixel


def check_coco(file: Path, pairs: Sequence[Pair], labels: Sequence[str]) -> None:
    """Compare a split's COCO file, as pycocotools reads it, with its tiles and label files.

    Parameters
    ----------
    file : Path
        ``annotations/SPLIT.json``.
    pairs : sequence of Pair
        Every tile of the split, copies included.
    labels : sequence of str
        Classes in use.

    Raises
    ------
    InputError
        pycocotools cannot read it, or an image, id, class, box or outline is not as it should be.
    """
    coco = _load(file)
    root = Keys.of(coco.dataset, str(file), "")
    _check_categories(root, labels)
    ids = _image_ids(_numbered(root, "images"), pairs, file)
    annotations = _numbered(root, "annotations")
    for item in annotations:
        if item.whole("image_id") not in coco.imgs:
            raise InputError(
                f"image_id {item.whole('image_id')} is no image's", file=file, where=item.where
            )
    for pair in pairs:
        items = [annotations[found["id"] - 1] for found in coco.imgToAnns[ids[pair.tile.name]]]
        if len(items) != len(pair.boxes):
            raise InputError(
                f"{len(items)} annotations on {pair.tile.name}, "
                f"but its label file has {len(pair.boxes)} rows",
                file=file,
            )
        for n, (item, row) in enumerate(zip(items, pair.boxes, strict=True), 1):
            _check_box(item, f"row {n} of {pair.labels.name}", *row)
            _check_outline(coco, item)


def _load(file: Path) -> COCO:
    read_json(file)  # its errors name line and column
    try:
        with redirect_stdout(StringIO()):
            return COCO(str(file))
    except Exception as error:  # pycocotools takes a file as it comes
        raise _unread("it", error, file) from None


def _unread(what: str, error: Exception, file: Path | str, where: str | None = None) -> InputError:
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return InputError(f"pycocotools cannot read {what} ({reason})", file=file, where=where)


def _check_categories(root: Keys, labels: Sequence[str]) -> None:
    expected = [(i, name) for i, name in enumerate(LABELS, 1) if name in labels]
    items = [Keys.of(item, root.file, where) for where, item in root.each("categories")]
    found = [(item.whole("id"), item.text("name")) for item in items]
    if found != expected:
        raise InputError(
            f"categories {found!r:.120}, expected {expected}", file=root.file, where="categories"
        )


def _numbered(root: Keys, key: str) -> list[Keys]:
    """The objects of a list, whose ids must be 1, 2, 3, ..."""
    items = [Keys.of(item, root.file, where) for where, item in root.each(key)]
    for n, item in enumerate(items, 1):
        if item.whole("id") != n:
            raise InputError(
                f"id {item.whole('id')}, expected {n}", file=root.file, where=item.where
            )
    return items


def _image_ids(images: Sequence[Keys], pairs: Sequence[Pair], file: Path) -> dict[str, int]:
    """Tile name -> id of its image, one each."""
    tiles = {pair.image.name if pair.image else pair.tile.name: pair.tile for pair in pairs}
    ids: dict[str, int] = {}
    for item in images:
        name = item.text("file_name")
        tile = tiles.get(name) or tiles.get(Path(name).stem)  # where there are no images: by stem
        if tile is None or tile.name in ids:
            what = "is no tile of this split" if tile is None else "stands there twice"
            raise InputError(f"image {name!r:.80} {what}", file=file, where=item.where)
        size = (item.whole("width"), item.whole("height"))
        if size != (tile.width, tile.height):
            raise InputError(
                f"{size[0]} x {size[1]} px, but tile {tile.name} has {tile.width} x {tile.height}",
                file=file,
                where=item.where,
            )
        ids[tile.name] = item.whole("id")
    if missing := [tile.name for tile in tiles.values() if tile.name not in ids]:
        raise InputError(f"no image for tile {missing[0]}", file=file, where="images")
    return ids


def _check_box(item: Keys, row: str, label: int, box: Box) -> None:
    """One annotation says what its row says."""
    if item.whole("category_id") != label + 1:
        raise InputError(
            f"category_id {item.whole('category_id')}, expected {label + 1}; {row} is {label}",
            file=item.file,
            where=item.where,
        )
    item.number("area")
    values = item.array("bbox")
    if len(values) != 4:
        raise InputError(
            f"bbox of {len(values)} numbers, expected x, y, width, height",
            file=item.file,
            where=item.where,
        )
    x, y, width, height = (
        Keys({"bbox": value}, item.file, item.where).number("bbox") for value in values
    )
    found = (x, y, x + width, y + height)
    if max(abs(a - b) for a, b in zip(found, box, strict=True)) > AGREE_PX:
        raise InputError(
            f"the box is {_corners(found)} px, {row} says {_corners(box)}",
            file=item.file,
            where=item.where,
        )


def _corners(box: Box) -> str:
    return "({:.3f}, {:.3f}) to ({:.3f}, {:.3f})".format(*box)


def _check_outline(coco: COCO, item: Keys) -> None:
    """An outline, where there is one, makes a mask that lies in the box for the most part."""
    outline = item.value("segmentation")
    if outline == []:
        return
    image = coco.imgs[item.whole("image_id")]
    width, height = image["width"], image["height"]
    # pycocotools itself waits for ever on a mask that its lengths do not fill
    if isinstance(outline, dict):
        decode(outline, (width, height), item.file, f"{item.where}, key `segmentation`")
    elif isinstance(outline, list):
        _check_polygons(outline, item)
    try:
        mask = coco.annToRLE(item.element)
        (box,) = runs.frPyObjects([_grown(item.array("bbox"))], height, width)
        area, inside = (int(runs.area(part)) for part in (mask, runs.merge([mask, box], True)))
    except Exception as error:
        raise _unread("the segmentation", error, item.file, item.where) from None
    if area == 0 and item.number("area") >= SPECK_PX2 and not _runs_twice(outline):
        raise InputError("the segmentation holds no pixel", file=item.file, where=item.where)
    if 2 * inside < area:
        raise InputError(
            f"{area - inside} of the segmentation's {area} px lie outside its box",
            file=item.file,
            where=item.where,
        )


def _runs_twice(outline: list[list[float]]) -> bool:
    """Whether a ring runs twice around: pycocotools takes it for two rings, which cancel."""
    rings = [list(zip(ring[::2], ring[1::2], strict=True)) for ring in outline]
    return any(2 * len(set(ring)) <= len(ring) for ring in rings)


def _grown(bbox: list[float]) -> list[float]:
    """The corners of a box grown to whole pixels, as a polygon."""
    x, y, width, height = bbox
    left, top, right, bottom = floor(x), floor(y), ceil(x + width), ceil(y + height)
    return [left, top, right, top, right, bottom, left, bottom]


def _check_polygons(outline: list[Any], item: Keys) -> None:
    keys = Keys({"segmentation": outline}, item.file, item.where)
    for where, polygon in keys.each("segmentation"):
        numbers = Keys({"polygon": polygon}, item.file, where).array("polygon")
        if len(numbers) < 6 or len(numbers) % 2:
            raise InputError(
                f"a polygon of {len(numbers)} numbers, expected x and y of 3 points or more",
                file=item.file,
                where=where,
            )
        far = max(abs(Keys({"polygon": n}, item.file, where).number("polygon")) for n in numbers)
        if far > _FAR:
            raise InputError(f"a corner at {far:g} px", file=item.file, where=where)
