"""Tiles that ``mitoyolo tile`` cut from slides: what is marked on them, in pixels of the slide.

``SLIDE/batch-001/x0y0.png`` lies two folders below ``SLIDE/tiles.csv``, which says where on the
slide each tile begins, and ``SLIDE/summary.json``, which says how large the slide is. Whatever
format the marks on such tiles come in, the reader gives them in pixels of the tile, and
:func:`on_slides` places them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from converters.checked import number
from converters.errors import InputError
from converters.files import read_json, read_rows
from converters.keys import Keys
from converters.model import Annotation, AnnotationSet, Drop, ImageInfo, Part, Scan
from converters.mpp import Mpp
from converters.prepare import resized

TILES = "tiles.csv"
INDEX = "summary.json"

_COLUMNS = ("tile", "source", "case", "x", "y", "width", "height", "mpp_x", "mpp_y")


@dataclass(frozen=True, slots=True)
class Folder:
    """The tiles of one slide.

    Attributes
    ----------
    slide : ImageInfo
        The slide in the pixels of its tiles, without parts.
    windows : dict
        Tile -> x, y, width, height in those pixels.
    """

    slide: ImageInfo
    windows: dict[str, tuple[int, int, int, int]]


def on_slides(found: AnnotationSet) -> AnnotationSet:
    """The set with tiles of slides replaced by the slides, and their marks moved there.

    Slides are in the pixels of their tiles; :func:`at_level_0` brings them to their own. A mark
    that no tile holds is dropped as `outside`.

    Raises
    ------
    InputError
        A folder of tiles is unfinished or damaged, or an image is not the tile that was written.
    """
    folders: dict[Path, Folder | None] = {}
    members: dict[Path, list[tuple[ImageInfo, Part]]] = defaultdict(list)
    placed: dict[str, tuple[str, Part]] = {}
    for image in found.images:
        if image.path is None:
            continue
        root = image.path.parent.parent
        if root not in folders:
            folders[root] = open_folder(root)
        if folder := folders[root]:
            part = _part(image, image.path, folder, root)
            members[root].append((image, part))
            placed[image.source] = (folder.slide.source, part)
    if not placed:
        return found
    slides = {}
    for root, tiles in members.items():
        folder = folders[root]
        assert folder is not None  # it has members
        slide = _whole(folder.slide, tiles)
        if slide.source in slides:
            raise InputError(
                f"a second folder of tiles of {slide.source}", file=root, fix="keep one of them"
            )
        slides[slide.source] = slide
    others = [image for image in found.images if image.source not in placed]
    return _moved(found, placed, slides, others)


def at_level_0(found: AnnotationSet, stated: Mpp | None) -> AnnotationSet:
    """The set with slides that are there in tiles brought to the pixels of their level 0.

    ``stated`` is the tiles' µm/px where the user says it; else the slide's own is known.
    """
    new = {image.source: image for image in found.images}
    for image in found.images:
        if scan := image.scan:
            mpp = scan.mpp
            if stated:
                mpp = (stated[0] * image.width / scan.width, stated[1] * image.height / scan.height)
            new[image.source] = replace(
                image, width=scan.width, height=scan.height, mpp=mpp, parts=(), scan=None
            )
    return resized(found, new)


def _part(image: ImageInfo, path: Path, folder: Folder, root: Path) -> Part:
    """The place of a tile on its slide."""
    window = folder.windows.get(path.stem)
    if window is None:
        raise InputError(f"no tile {path.stem} in {root / TILES}", file=path, fix="take it away")
    x, y, width, height = window
    if image.size not in (None, (width, height)):
        raise InputError(
            f"{image.width} x {image.height} px, but {width} x {height} in {root / TILES}",
            file=path,
            fix="cut the slide again by `mitoyolo tile --overwrite`",
        )
    return Part(name=image.file_stem, path=path, x=x, y=y, width=width, height=height)


def _whole(slide: ImageInfo, tiles: list[tuple[ImageInfo, Part]]) -> ImageInfo:
    """The slide with those of its tiles that are there."""
    first, _ = tiles[0]
    return replace(
        slide,
        scanner=slide.scanner or first.scanner,
        tumour=slide.tumour or first.tumour,
        labelled=all(image.labelled for image, _ in tiles),
        parts=tuple(sorted((part for _, part in tiles), key=lambda part: (part.y, part.x))),
    )


def _moved(
    found: AnnotationSet,
    placed: Mapping[str, tuple[str, Part]],
    slides: Mapping[str, ImageInfo],
    others: list[ImageInfo],
) -> AnnotationSet:
    """Marks from their tiles to their slides; those that no tile holds are dropped."""
    kept, dropped = [], list(found.dropped)
    for item in found.annotations:
        if item.source in placed:
            source, part = placed[item.source]
            if not _is_seen(item, part, slides[source]):
                detail = f"centroid ({item.x:g}, {item.y:g}) is on no tile of {source}"
                dropped.append(Drop(item.file, item.where, "outside", detail))
                continue
            item = _shifted(item, source, part)
        kept.append(item)
    images = sorted([*others, *slides.values()], key=lambda image: image.source)
    return replace(found, images=images, annotations=kept, dropped=dropped)


def _is_seen(item: Annotation, own: Part, slide: ImageInfo) -> bool:
    """Whether a tile holds a mark's centroid; past the slide's edge is left to ``prepare``."""
    x, y = own.x + item.x, own.y + item.y
    # just inside, since the slide's right and lower edges belong to its last tiles
    x = min(max(x, 0.0), math.nextafter(slide.width, 0.0))
    y = min(max(y, 0.0), math.nextafter(slide.height, 0.0))
    return own.holds(x, y) or any(part.holds(x, y) for part in slide.parts)


def _shifted(item: Annotation, source: str, part: Part) -> Annotation:
    left, top, right, bottom = item.box or (item.x, item.y, item.x, item.y)
    return replace(
        item,
        source=source,
        part=part,
        x=item.x + part.x,
        y=item.y + part.y,
        box=item.box and (left + part.x, top + part.y, right + part.x, bottom + part.y),
        shape=item.shape and item.shape.mapped(1, 1, part.x, part.y),
    )


def open_folder(root: Path) -> Folder | None:
    """The tiles of the slide that were written to ``root``; None for any other folder.

    Raises
    ------
    InputError
        They are unfinished, or a table is damaged.
    """
    if not (root / TILES).is_file() and not _is_begun(root):
        return None
    if not (root / INDEX).is_file():
        raise InputError(
            f"unfinished tiles of a slide (no {INDEX})",
            file=root,
            fix="repeat the call of `mitoyolo tile` that was writing them",
        )
    keys = Keys.of(read_json(root / INDEX), str(root / INDEX), "")
    width, height = _size(keys, "width", "height")
    size = _size(keys, "at_width", "at_height")
    windows: dict[str, tuple[int, int, int, int]] = {}
    row: dict[str, str] = {}
    for line, row in read_rows(root / TILES, _COLUMNS):
        windows[row["tile"]] = _window(row, size, root / TILES, f"line {line}")
    slide = ImageInfo(
        source=row.get("source") or root.name,
        path=None,
        width=size[0],
        height=size[1],
        case=row.get("case") or root.name,
        mpp=_mpp(keys, "at_mpp"),
        scanner=row.get("scanner", ""),
        tumour=row.get("tumour", ""),
        named=keys.text("source"),
        scan=Scan(width=width, height=height, mpp=_mpp(keys, "mpp")),
    )
    return Folder(slide, windows)


def _is_begun(root: Path) -> bool:
    """Whether ``mitoyolo tile`` has begun to write the folder."""
    run = root / "run.json"
    try:
        begun = read_json(run) if run.is_file() else None
    except InputError:  # anyone may call a file so
        return False
    return isinstance(begun, dict) and begun.get("command") == "tile"


def _size(keys: Keys, width: str, height: str) -> tuple[int, int]:
    size = keys.size(width, height)
    if size is None:
        raise InputError(f"no size `{width}` and `{height}`", file=keys.file)
    return size


def _mpp(keys: Keys, key: str) -> Mpp:
    x, y = keys.point(keys.value(key), key)
    if min(x, y) <= 0:
        raise InputError(f"`{key}` is {x:g}, {y:g}, expected µm/px above 0", file=keys.file)
    return (x, y)


def _window(
    row: Mapping[str, str], size: tuple[int, int], file: Path, where: str
) -> tuple[int, int, int, int]:
    """x, y, width, height of a row's tile."""
    values = [number(row[key], file, where) for key in ("x", "y", "width", "height")]
    x, y, width, height = map(int, values)
    right, bottom = x + width, y + height
    inside = 0 <= x < right <= size[0] and 0 <= y < bottom <= size[1]
    if not inside or [x, y, width, height] != values:
        raise InputError(
            f"a tile of {values} (x, y, width, height), expected whole px within the "
            f"{size[0]} x {size[1]} px of {INDEX}",
            file=file,
            where=where,
        )
    return (x, y, width, height)
