"""LabelMe: one JSON file an image, read.

``shapes[]`` with ``label``, ``points`` and ``shape_type``, in pixels; ``imagePath`` names the image
relative to the file. A circle is its centre and a point on its edge, a rectangle two corners in
any order (newer: four, turned), a mask the two corners of its box, both inside, and a PNG.
``imageData``, the image itself, is not looked at.

Source: LabelMe (wkentaro/labelme), its examples and labelme/label_file.py, labelme/utils/shape.py.
"""

from __future__ import annotations

import base64
import io
import math
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from converters.classes import class_of
from converters.errors import InputError
from converters.files import read_json
from converters.geometry import Point
from converters.keys import Keys
from converters.model import AnnotationSet
from converters.read_options import ReadOptions, Size
from converters.reading import Reading
from converters.rings import opened, upright_box
from converters.shapes import Ellipse, Pixels, Polygon

_LARGEST_MASK = 1024 * 1024  # px; a mask beyond is a region, not a cell


@dataclass(frozen=True, slots=True)
class _Document:
    """What one file says."""

    image: str
    size: Size | None
    shapes: list[tuple[str, Any]]


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read a folder of LabelMe files (or one).

    Raises
    ------
    InputError
        No file is found; a file or shape is malformed; a file has no image or an image no file
        (each unless ``options`` allow it).
    """
    reading = Reading(src, options)
    for path in reading.files(".json"):
        inner = path.relative_to(reading.root)
        document = None
        with reading.lenient("unreadable_file"):
            document = _parse(read_json(path), str(path), inner)
        name = document.image if document else inner.with_suffix("").as_posix()
        source = reading.image(name, file=path, size=document.size if document else None)
        if document is None:
            reading.unreadable(source, path)
        for where, value in document.shapes if document else []:
            with reading.lenient():
                shape = Keys.of(value, str(path), where)
                _add(shape, reading, source=source, file=str(path), where=where)
    return reading.finish("a .json of the same name")


def _parse(document: Any, file: str, inner: Path) -> _Document:
    if not isinstance(document, Mapping) or not isinstance(document.get("shapes"), list):
        raise InputError("not an annotation file of LabelMe (no list `shapes`)", file=file)
    keys = Keys(document, file, "the file")
    name = keys.text("imagePath", "").replace("\\", "/")
    named = posixpath.basename(name.rstrip("/")).strip(". ")
    if named and not named.endswith(":"):
        name = posixpath.normpath(posixpath.join(inner.parent.as_posix(), name))
    else:  # a folder, a drive, nothing
        name = inner.with_suffix("").as_posix()
    shapes = [(f"shapes[{i}]", value) for i, value in enumerate(document["shapes"])]
    return _Document(name, keys.size("imageWidth", "imageHeight"), shapes)


def _add(shape: Keys, reading: Reading, **facts: Any) -> None:
    """Add one shape, or count it where it marks no cell."""
    kind = shape.text("shape_type", "polygon")
    label = class_of(shape.element.get("label"), shape.file, f"{shape.where}, key `label`")
    facts |= {"label": label or "mitosis", "confidence": shape.optional("score")}
    if kind in _SHAPES:
        _SHAPES[kind](shape, reading, facts)
    else:
        detail = f"shape_type {kind!r:.40} marks no cell (known: {', '.join(_SHAPES)})"
        reading.drop("shape", detail, file=shape.file, where=shape.where)


def _points(shape: Keys, *counts: int) -> list[Point]:
    """The points of a shape, as many as one of ``counts``; any number where none is given."""
    points = shape.points(shape.value("points"), "points")
    if counts and len(points) not in counts:
        wanted = " or ".join(map(str, counts))
        raise InputError(
            f"{len(points)} points, expected {wanted}",
            file=shape.file,
            where=f"{shape.where}, key `points`",
        )
    return points


def _point(shape: Keys, reading: Reading, facts: dict[str, Any]) -> None:
    reading.point(_points(shape, 1)[0], **facts)


def _circle(shape: Keys, reading: Reading, facts: dict[str, Any]) -> None:
    centre, edge = _points(shape, 2)
    across = 2 * math.dist(centre, edge)
    reading.shape(Ellipse(*centre, across, across), kind="circle", **facts)


def _polygon(shape: Keys, reading: Reading, facts: dict[str, Any]) -> None:
    reading.shape(Polygon((opened(_points(shape)),)), kind="polygon", **facts)


def _rectangle(shape: Keys, reading: Reading, facts: dict[str, Any]) -> None:
    points = _points(shape, 2, 4)
    polygon = Polygon((tuple(points),))
    if len(points) == 2 or upright_box(polygon.rings[0]):
        reading.box(polygon.box, **facts)
    else:
        reading.shape(polygon, kind="rectangle", **facts)


def _mask(shape: Keys, reading: Reading, facts: dict[str, Any]) -> None:
    (left, top), (right, bottom) = (map(int, point) for point in _points(shape, 2))
    width, height = right - left + 1, bottom - top + 1
    if width * height > _LARGEST_MASK:
        detail = f"a mask of {width} x {height} px is larger than any cell"
        reading.drop("shape", detail, file=shape.file, where=shape.where)
        return
    rows, columns = np.nonzero(_png(shape, (width, height)))
    if not rows.size:
        reading.drop("no_extent", "an empty mask", file=shape.file, where=shape.where)
        return
    pixels = zip((columns + left).tolist(), (rows + top).tolist(), strict=True)
    reading.shape(Pixels(frozenset(pixels)), kind="pixels", **facts)


def _png(shape: Keys, size: Size) -> np.ndarray:
    """The mask's pixels, which must fill the box that its corners say."""
    where, text = f"{shape.where}, key `mask`", shape.text("mask")
    try:
        data = base64.b64decode(text, validate=True)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            found = image.size
            pixels = np.asarray(image.convert("L")) if found == size else None
    except Exception:  # Pillow raises many kinds for damaged files
        raise InputError("not a PNG as base64 text", file=shape.file, where=where) from None
    if pixels is None:
        raise InputError(
            f"a mask of {found[0]} x {found[1]} px in a box of {size[0]} x {size[1]} px",
            file=shape.file,
            where=where,
        )
    return pixels


_SHAPES: dict[str, Callable[[Keys, Reading, dict[str, Any]], None]] = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "oriented_rectangle": _rectangle,
    "rotation": _rectangle,
    "circle": _circle,
    "point": _point,
    "mask": _mask,
}
