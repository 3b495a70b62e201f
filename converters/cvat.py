"""CVAT for images 1.1: one XML that lists images and the shapes on each.

Coordinates are pixels, the origin at the upper-left corner. `rotation` is in degrees about the
shape's centre, clockwise on the screen. A mask is a run-length code of the pixels in its box, row
by row, the first run outside.

Source: CVAT's documentation, "XML annotation format", version 1.1; for rotation and masks its
source, dataset_manager/formats/cvat.py and transformations.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from converters.checked import number
from converters.errors import InputError
from converters.geometry import Point, rectangle_corners
from converters.keys import Keys
from converters.labels import canonical_label
from converters.model import AnnotationSet
from converters.read_options import ReadOptions
from converters.reading import Reading
from converters.rings import opened
from converters.shapes import Ellipse, Pixels, Polygon
from converters.xml_elements import numbered, read_root

LARGEST_MASK = 4_000_000
"""px; a larger mask is tissue, no cell."""

_CONFIDENCE = ("confidence", "score")


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read CVAT's XML (or a folder of such files) with its images.

    An image that the file lists without a shape holds no mitosis; one that it does not list is
    left out and counted.

    Raises
    ------
    InputError
        No file is found; a file, image or shape is malformed; the file is of a video; an image is
        missing (each unless ``options`` allow it).
    """
    reading = Reading(src, options)
    for path in reading.files(".xml"):
        images = None
        with reading.lenient("unreadable_file"):
            images = _images(read_root(path, "annotations"), str(path))
        if images is None:
            reading.unreadable(None, path)
        for where, image in images or []:
            _add_image(image, reading, path, where)
    return reading.finish(None)


def _images(root: Element, file: str) -> list[tuple[str, Element]]:
    """The images of a file.

    Raises
    ------
    InputError
        There is none, as in the export of a video.
    """
    found = list(numbered(root, "image"))
    tracks = root.find("track") is not None
    if tracks or not found:
        raise InputError(
            "<track> elements: this is CVAT's export of a video"
            if tracks
            else "no <image> in <annotations>",
            file=file,
            fix="export the task from CVAT as `CVAT for images 1.1`",
        )
    return found


def _add_image(image: Element, reading: Reading, path: Path, where: str) -> None:
    """Put an image into the set, and add its shapes."""
    file, source = str(path), None
    keys = Keys(image.attrib, file, where)
    with reading.lenient():
        size = keys.size() if reading.options.annotations_only else None
        source = reading.image(keys.text("name"), file=file, where=where, size=size)
    if source is None:
        reading.unreadable(None, path)  # any image that no file names may be this one
    for place, shape in _shapes(image, where):
        if source is None:
            reading.drop("malformed", "on an image without a name", file=file, where=place)
            continue
        with reading.lenient():
            _add(shape, reading, {"source": source, "file": file, "where": place})


def _shapes(image: Element, where: str) -> Iterator[tuple[str, Element]]:
    """The children of an image, each counted among those of its name, as XPath does."""
    times: dict[str, int] = {}
    for shape in image:
        times[shape.tag] = n = times.get(shape.tag, 0) + 1
        yield f"{where}/{shape.tag:.40}[{n}]", shape


def _add(shape: Element, reading: Reading, facts: dict[str, Any]) -> None:
    """Add one shape, or count it where it marks no cell."""
    file, where = facts["file"], facts["where"]
    add = _SHAPES.get(shape.tag)
    if add is None:
        detail = f"<{shape.tag:.40}> marks no cell (known: {', '.join(_SHAPES)})"
        reading.drop("shape", detail, file=file, where=where)
        return
    label = shape.get("label")
    facts["label"] = canonical_label(label) if label else "mitosis"
    facts["confidence"] = _confidence(shape)
    add(Keys(shape.attrib, file, where), reading, facts)


def _confidence(shape: Element) -> float | None:
    """The number in an attribute of that name; the annotators may have made one of words."""
    for attribute in shape.iterfind("attribute"):
        if attribute.get("name", "").lower() in _CONFIDENCE:
            try:
                return number(attribute.text, "", "")
            except InputError:
                continue
    return None


def _box(keys: Keys, reading: Reading, facts: dict[str, Any]) -> None:
    left, top, right, bottom = (keys.number(key) for key in ("xtl", "ytl", "xbr", "ybr"))
    if left > right or top > bottom:
        raise InputError(
            f"the corner {left:g},{top:g} is not above and left of {right:g},{bottom:g}",
            file=keys.file,
            where=keys.where,
        )
    rotation = _rotation(keys)
    if rotation:
        center = ((left + right) / 2, (top + bottom) / 2)
        corners = rectangle_corners(center, right - left, bottom - top, rotation)
        reading.shape(Polygon((tuple(corners),)), kind="rectangle", **facts)
    else:
        reading.box((left, top, right, bottom), **facts)


def _ellipse(keys: Keys, reading: Reading, facts: dict[str, Any]) -> None:
    x, y, rx, ry = keys.number("cx"), keys.number("cy"), keys.length("rx"), keys.length("ry")
    reading.shape(Ellipse(x, y, 2 * rx, 2 * ry, _rotation(keys)), kind="ellipse", **facts)


def _rotation(keys: Keys) -> float:
    """Radians, from degrees."""
    return math.radians(keys.number("rotation", 0.0) % 360)


def _polygon(keys: Keys, reading: Reading, facts: dict[str, Any]) -> None:
    ring = opened([_point(pair, keys) for pair in keys.text("points").split(";")])
    if len(ring) < 3:
        detail = "polygon of fewer than 3 points"
        reading.drop("no_extent", detail, file=keys.file, where=keys.where)
    else:
        reading.shape(Polygon((ring,)), kind="polygon", **facts)


def _points(keys: Keys, reading: Reading, facts: dict[str, Any]) -> None:
    """Each point is an annotation of its own."""
    for i, pair in enumerate(keys.text("points").split(";")):
        place = f"{keys.where}, point {i + 1}"
        with reading.lenient():
            reading.point(_point(pair, keys), **{**facts, "where": place})


def _point(pair: str, keys: Keys) -> Point:
    """`x,y`."""
    place = f"{keys.where}, key `points`"
    x, comma, y = pair.partition(",")
    if not comma:
        raise InputError(f"expected x,y, found {pair!r:.40}", file=keys.file, where=place)
    return (number(x, keys.file, place), number(y, keys.file, place))


def _mask(keys: Keys, reading: Reading, facts: dict[str, Any]) -> None:
    left, top, width, height = (keys.whole(key) for key in ("left", "top", "width", "height"))
    runs = [_run(text, keys) for text in keys.text("rle").split(",")]
    if sum(runs) != width * height or width < 1 or height < 1:
        raise InputError(
            f"the runs hold {sum(runs)} pixels, expected {width} x {height}",
            file=keys.file,
            where=f"{keys.where}, key `rle`",
        )
    count = sum(runs[1::2])
    if not count:
        reading.drop("no_extent", "mask without a pixel", file=keys.file, where=keys.where)
    elif count > LARGEST_MASK:
        detail = f"a mask of {count} pixels is no cell (at most {LARGEST_MASK})"
        reading.drop("shape", detail, file=keys.file, where=keys.where)
    else:
        starts = list(accumulate(runs))[::2]
        pixels = frozenset(
            (left + i % width, top + i // width)
            for start, run in zip(starts, runs[1::2], strict=False)
            for i in range(start, start + run)
        )
        reading.shape(Pixels(pixels), kind="pixels", **facts)


def _run(text: str, keys: Keys) -> int:
    """A number of pixels."""
    if not text.strip().isdecimal() or len(text) > 18:
        place = f"{keys.where}, key `rle`"
        raise InputError(f"{text!r:.40} is no number of pixels", file=keys.file, where=place)
    return int(text)


_SHAPES: dict[str, Callable[[Keys, Reading, dict[str, Any]], None]] = {
    "box": _box,
    "ellipse": _ellipse,
    "polygon": _polygon,
    "points": _points,
    "mask": _mask,
}
