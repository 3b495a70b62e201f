"""CADD4MBC tile exports and Digital Slide Archive (DSA) annotations.

Both are the Girder large_image annotation schema (the JSON of HistomicsUI): a document with a
list of elements, in pixels of its image. CADD4MBC writes one document a tile,
``T_98/Batch-100/87_88.json``, beside tile images such as ``T98x87y88.png`` or ``x87y88.jpg``;
DSA writes one document an image of the same name.

Source: large_image annotation schema; Digital Slide Archive documentation.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.errors import InputError
from converters.files import read_json
from converters.geometry import (
    Point,
    ellipse_box,
    points_box,
    polygon_area_centroid,
    rectangle_corners,
)
from converters.images import IMAGE_SUFFIXES, find_files, image_size
from converters.labels import canonical_label
from converters.model import Annotation, AnnotationSet, Drop, ImageInfo
from converters.reading import ReadOptions, add_unlabelled, lenient, number

_TILE = re.compile(r"^(?:(?P<slide>[A-Za-z]+_?\d+)_?)?x(?P<x>\d+)_?y(?P<y>\d+)$", re.IGNORECASE)
_TILE_SHORT = re.compile(r"^(?P<x>\d+)_(?P<y>\d+)$")
_BATCH = re.compile(r"^batch\b|^batch[-_ ]?\d+$", re.IGNORECASE)
_NOT_A_SLIDE = {"images", "tiles", "annotations", "json", "cadd_json_files", "cadd4mbc"}


@dataclass(frozen=True, slots=True)
class TileKey:
    """Which tile a file is about: a slide (None where the path does not say) and its place."""

    slide: str | None
    x: int
    y: int


# --- elements ---------------------------------------------------------------------------------


def parse_element(element: Any, *, source: str, file: str, where: str) -> Annotation | Drop:
    """One element of the schema as an annotation, or as a drop where it marks no cell.

    Raises
    ------
    InputError
        A key is missing or holds no finite number.
    """
    if not isinstance(element, dict):
        raise InputError(f"expected an object, found {element!r:.40}", file=file, where=where)
    kind = element.get("type")
    shape = _SHAPES.get(kind) if isinstance(kind, str) else None
    if shape is None:
        known = ", ".join(_SHAPES)
        return Drop(file, where, "shape", f"type {kind!r} marks no cell (known: {known})")
    geometry = shape(_Keys(element, file, where))
    if geometry is None:
        return Drop(file, where, "no_extent", f"{kind} without extent")
    (x, y), box, area = geometry
    return Annotation(
        source=source,
        label=_label_of(element),
        x=x,
        y=y,
        box=box,
        area=area,
        kind=str(kind),
        file=file,
        where=where,
    )


_Geometry = tuple[Point, tuple[float, float, float, float] | None, float | None] | None
"""Centroid, box, area; None for a shape without extent."""


@dataclass(frozen=True, slots=True)
class _Keys:
    """An element's keys, read as checked numbers."""

    element: dict[str, Any]
    file: str
    where: str

    def value(self, key: str) -> Any:
        if key not in self.element:
            raise InputError(f"no key `{key}`", file=self.file, where=self.where)
        return self.element[key]

    def number(self, key: str, default: float | None = None) -> float:
        if default is not None and self.element.get(key) is None:
            return default
        return number(self.value(key), self.file, f"{self.where}, key `{key}`")

    def length(self, key: str) -> float:
        result = self.number(key)
        if result < 0:
            raise InputError(
                f"{result} is negative", file=self.file, where=f"{self.where}, key `{key}`"
            )
        return result

    def point(self, value: Any, key: str) -> Point:
        place = f"{self.where}, key `{key}`"
        if not isinstance(value, list | tuple) or len(value) not in (2, 3):
            raise InputError(
                f"expected [x, y] or [x, y, z], found {value!r:.60}", file=self.file, where=place
            )
        return (number(value[0], self.file, place), number(value[1], self.file, place))

    def points(self, value: Any, key: str) -> list[Point]:
        if not isinstance(value, list) or not value:
            raise InputError(
                f"expected a list of points, found {value!r:.60}",
                file=self.file,
                where=f"{self.where}, key `{key}`",
            )
        return [self.point(item, f"{key}[{i}]") for i, item in enumerate(value)]


def _ellipse(keys: _Keys) -> _Geometry:
    center = keys.point(keys.value("center"), "center")
    width, height = keys.length("width"), keys.length("height")
    if not (width and height):
        return None
    box = ellipse_box(center, width, height, keys.number("rotation", 0.0))
    return center, box, math.pi * width * height / 4


def _circle(keys: _Keys) -> _Geometry:
    center, radius = keys.point(keys.value("center"), "center"), keys.length("radius")
    if not radius:
        return None
    return center, ellipse_box(center, 2 * radius, 2 * radius, 0.0), math.pi * radius**2


def _rectangle(keys: _Keys) -> _Geometry:
    center = keys.point(keys.value("center"), "center")
    width, height = keys.length("width"), keys.length("height")
    if not (width and height):
        return None
    corners = rectangle_corners(center, width, height, keys.number("rotation", 0.0))
    return center, points_box(corners), width * height


def _polyline(keys: _Keys) -> _Geometry:
    points = keys.points(keys.value("points"), "points")
    area, centroid = polygon_area_centroid(points)
    left, top, right, bottom = box = points_box(points)
    if not (right > left and bottom > top):
        return None
    for i, hole in enumerate(keys.element.get("holes") or []):
        area -= polygon_area_centroid(keys.points(hole, f"holes[{i}]"))[0]
    return centroid, box, max(area, 0.0)


def _point(keys: _Keys) -> _Geometry:
    return keys.point(keys.value("center"), "center"), None, None


_SHAPES = {
    "ellipse": _ellipse,
    "circle": _circle,
    "rectangle": _rectangle,
    "polyline": _polyline,
    "point": _point,
}


def _label_of(element: dict[str, Any]) -> str:
    """The class: `label.value`, else `group`, else mitosis, since the exports mark only those."""
    label = element.get("label")
    name = label.get("value") if isinstance(label, dict) else label
    name = name or element.get("group")
    return canonical_label(str(name)) if name else "mitosis"


# --- documents --------------------------------------------------------------------------------


def elements_of(document: Any, file: str) -> list[Any]:
    """The elements of a document: bare, under ``annotation``, a list of documents, or one flat
    element.

    Raises
    ------
    InputError
        It is no annotation document.
    """
    if isinstance(document, list):
        return [element for item in document for element in elements_of(item, file)]
    if isinstance(document, dict):
        inner = document.get("annotation", document)
        if isinstance(inner, dict):
            if isinstance(inner.get("elements"), list):
                return list(inner["elements"])
            if "type" in inner and ("points" in inner or "center" in inner):
                return [inner]
    raise InputError(
        "not an annotation document (no list `elements`, neither bare nor under `annotation`)",
        file=file,
    )


# --- files ------------------------------------------------------------------------------------


def slide_of(path: Path, root: Path) -> str | None:
    """The slide that a path below ``root`` names: its nearest folder that is no batch."""
    for name in (*reversed(path.relative_to(root).parts[:-1]), root.name):
        if name and not _BATCH.match(name) and name.lower() not in _NOT_A_SLIDE:
            if name == root.name and not re.fullmatch(r"[A-Za-z]+_?\d+", name):
                return None  # the folder that the user named is a slide only if it looks like one
            return _slide(name)
    return None


def _slide(name: str) -> str:
    """`T_98` and `t98` are the slide `T98`."""
    match = re.fullmatch(r"([A-Za-z]+)_?(\d+)", name)
    return f"{match[1].upper()}{match[2]}" if match else name


def tile_key(path: Path, root: Path) -> TileKey | None:
    """The tile that a file name such as `87_88`, `x87y88`, `T98x87y88`, `t97_x8y28` names."""
    match = _TILE.match(path.stem) or _TILE_SHORT.match(path.stem)
    if match is None:
        return None
    named = match.groupdict().get("slide")
    slide = _slide(named) if named else slide_of(path, root)
    return TileKey(slide, int(match["x"]), int(match["y"]))


class _Images:
    """The image files below a folder, found by tile key or by name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = list(find_files(root, IMAGE_SUFFIXES))
        self._keys = {path: tile_key(path, root) for path in self.paths}
        self._by_place: dict[tuple[int, int], list[tuple[TileKey, Path]]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for path, key in self._keys.items():
            self._by_stem[path.stem].append(path)
            if key:
                self._by_place[key.x, key.y].append((key, path))

    def find(self, document: Path, key: TileKey | None) -> Path:
        """The one image that ``document`` annotates."""
        if key:
            here = self._by_place[key.x, key.y]
            found = [path for other, path in here if other.slide == key.slide]
            if not found:  # a slide that only one side names is no contradiction
                found = [path for other, path in here if None in (other.slide, key.slide)]
        else:
            found = self._by_stem[document.stem]
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(
                f"{len(found)} images fit this annotation file: {found[0]}, {found[1]}",
                file=document,
                fix="keep one of them, or put each slide's tiles in a folder of its name",
            )
        wanted = f"tile x{key.x} y{key.y} of slide {key.slide}" if key else document.stem
        raise InputError(
            f"no image for this annotation file (looked for {wanted} below {self.root})",
            file=document,
            fix="name the tiles' folder by --images, or leave such files out by --bad drop",
        )

    def info(self, path: Path, document_key: TileKey | None = None) -> ImageInfo:
        """Name, case and size of an image; a slide that only its document names counts too."""
        key = self._keys[path]
        slide = (key and key.slide) or (document_key and document_key.slide)
        width, height = image_size(path)
        return ImageInfo(
            source=f"{slide or ''}x{key.x}y{key.y}" if key else path.stem,
            path=path,
            width=width,
            height=height,
            case=slide or slide_of(path, self.root) or self.root.name,
        )


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read a folder (or one file) of annotation documents with their images.

    Parameters
    ----------
    src : Path
        Folder of ``*.json``, at any depth, or one such file.
    options : ReadOptions
        Where the images are, and what to do with what cannot be used.

    Raises
    ------
    InputError
        No document is found; a document or element is malformed; an annotation has no image or an
        image no annotation (each unless ``options`` allow it).
    """
    root = src if src.is_dir() else src.parent
    documents = list(find_files(src, (".json",))) if src.is_dir() else [src]
    if not documents:
        raise InputError("no .json annotation file below this folder", file=src)
    images = _Images(options.images or root)
    found, infos = AnnotationSet(), dict[Path, ImageInfo]()
    for path in documents:
        with lenient(found, options, "unreadable_file"):
            _read_document(path, root, images, infos, found, options)
    if src.is_dir():
        for path in images.paths:
            if path not in infos and add_unlabelled(
                found, path.stem, path, options, "a .json of the same tile or name"
            ):
                infos[path] = images.info(path)
    found.images = [infos[path] for path in images.paths if path in infos]
    return found


def _read_document(
    path: Path,
    root: Path,
    images: _Images,
    infos: dict[Path, ImageInfo],
    found: AnnotationSet,
    options: ReadOptions,
) -> None:
    """Add one document's image to ``infos`` and its elements to ``found``."""
    file, key = str(path), tile_key(path, root)
    elements = elements_of(read_json(path), file)
    try:
        image = images.find(path, key)
        info = infos.setdefault(image, images.info(image, key))
    except InputError as error:
        if options.bad != "drop":
            raise
        found.dropped.extend(
            Drop(file, f"elements[{i}]", "no_image", error.what) for i in range(len(elements))
        )
        return
    for i, element in enumerate(elements):
        where = f"elements[{i}]"
        with lenient(found, options, "malformed"):
            item = parse_element(element, source=info.source, file=file, where=where)
            if isinstance(item, Drop):
                found.dropped.append(item)
            else:
                found.annotations.append(item)
