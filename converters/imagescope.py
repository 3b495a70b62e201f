"""Aperio ImageScope annotations: one XML file a slide, `NAME.xml` of `NAME.svs`.

Layers (`Annotation`) hold regions; coordinates are pixels of the slide's highest resolution.
Region types: 0 freehand, 1 rectangle, 2 ellipse (corners of its box), 3 arrow, 4 ruler and 5 the
counter's mark.

Source: no document of the vendor's is at hand; types 0 to 4 are what public readers and writers of
such files agree on, 5 is read so by eeDAP (DIDSR, FDA), utilities/read_load_xml.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from converters.errors import InputError
from converters.geometry import Point, points_box
from converters.image_mpp import plausible
from converters.labels import canonical_label
from converters.model import LABELS, AnnotationSet
from converters.read_options import ReadOptions
from converters.reading import Reading
from converters.rings import opened, upright_box
from converters.shapes import Ellipse, Polygon, Ring
from converters.xml_elements import child, numbered, one_an_image, point_of, points_of

_COUNTER = "5"
_NO_CELL = {"3": "an arrow", "4": "a ruler"}


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read a folder of ImageScope's XML files (or one) with their slides.

    Raises
    ------
    InputError
        No file is found; a file or region is malformed; a file has no image or an image no file
        (each unless ``options`` allow it).
    """
    reading = Reading(src, options)
    documents = one_an_image(reading, "Annotations", _layers, facts=_facts)
    for file, source, layers in documents:
        for where, layer in layers:
            _add_layer(layer, reading, {"source": source, "file": file}, where)
    return reading.finish("an .xml file of the same name")


def _layers(root: Element, file: str) -> list[tuple[str, Element]]:
    return list(numbered(root, "Annotation"))


def _facts(root: Element, file: str) -> dict[str, Any]:
    """The µm/px that the file says; 0, or what no microscope has, says nothing."""
    try:
        mpp = float(root.get("MicronsPerPixel", "0").replace(",", ".", 1))
    except ValueError:
        return {}
    return {"mpp": (mpp, mpp)} if plausible((mpp, mpp)) else {}


@dataclass(slots=True)
class _Region:
    """A region as read: the facts of its annotation, its outline and the holes found in it, or
    the marks of the counter with their places."""

    facts: dict[str, Any]
    shape: Polygon | Ellipse | None = None
    holes: list[Ring] = field(default_factory=list)
    marks: list[tuple[str, Point]] = field(default_factory=list)


def _add_layer(layer: Element, reading: Reading, facts: dict[str, Any], where: str) -> None:
    """Add the regions of a layer, each hole taken out of the polygon around it."""
    regions: list[_Region] = []
    holes: list[_Region] = []
    of_layer = _names(layer)
    for place, element in _regions(layer, where):
        with reading.lenient():
            label = label_of(element.get("Text", ""), _values(element), *of_layer)
            region = _Region({**facts, "where": place, "label": label})
            _measure(region, element, reading)
            negative = region.shape and element.get("NegativeROA") == "1"
            (holes if negative else regions).append(region)
    if holes:
        _dig(holes, regions, reading)
    for region in regions:
        _add(region, reading)


def _measure(region: _Region, element: Element, reading: Reading) -> None:
    """Read a region's outline or marks; one that has neither is counted."""
    file, where = region.facts["file"], region.facts["where"]
    kind = element.get("Type", "0")
    if kind == _COUNTER:
        for i, vertex in enumerate(_vertices(element, file, where), 1):
            place = f"{where}/Vertex[{i}]"
            with reading.lenient():
                region.marks.append((place, point_of(vertex, file, place)))
        return
    if kind not in SHAPES:
        known = ", ".join((*SHAPES, _COUNTER))
        name = _NO_CELL.get(kind, "unknown")
        detail = f"region type {kind!r:.40} ({name}) marks no cell (known: {known})"
        reading.drop("shape", detail, file=file, where=where)
        return
    shape = SHAPES[kind](vertices(element, file, where))
    if isinstance(shape, Polygon) and len(shape.rings[0]) < 3:
        detail = f"{_KINDS[kind]} of fewer than 3 points"
        reading.drop("no_extent", detail, file=file, where=where)
        return
    region.shape = shape
    region.facts["kind"] = _KINDS[kind]


def _add(region: _Region, reading: Reading) -> None:
    """Add what a region holds; an upright rectangle is a box."""
    shape, facts = region.shape, region.facts
    for place, point in region.marks:
        reading.point(point, **facts | {"where": place})
    if isinstance(shape, Polygon):
        box = upright_box(shape.rings[0]) if facts["kind"] == "rectangle" else None
        if box and not region.holes:
            reading.box(box, **facts | {"kind": "box"})
        else:
            reading.shape(Polygon(shape.rings, tuple(region.holes)), **facts)
    elif shape:
        reading.shape(shape, **facts)


def _regions(layer: Element, where: str) -> Iterator[tuple[str, Element]]:
    for place, group in numbered(layer, "Regions", where):
        yield from numbered(group, "Region", place)


# --- geometry ---------------------------------------------------------------------------------


def vertices(region: Element, file: str, where: str) -> list[Point]:
    """The vertices of a region in px.

    Raises
    ------
    InputError
        There is none, or a number is none.
    """
    return points_of(_vertices(region, file, where), file, where)


def _vertices(region: Element, file: str, where: str) -> list[Element]:
    found = child(region, "Vertices", file, where).findall("Vertex")
    if not found:
        raise InputError("no <Vertex> in <Vertices>", file=file, where=where)
    return found


def _polygon(points: list[Point]) -> Polygon:
    return Polygon((opened(points),))


def _ellipse(points: list[Point]) -> Ellipse:
    """The ellipse in the box around two opposite corners (or more points of that box)."""
    left, top, right, bottom = points_box(points)
    return Ellipse((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)


SHAPES: dict[str, Callable[[list[Point]], Polygon | Ellipse]] = {
    "0": _polygon,
    "1": _polygon,
    "2": _ellipse,
}
"""Region type -> its vertices to its outline."""

_KINDS = {"0": "polygon", "1": "rectangle", "2": "ellipse"}


def _dig(holes: list[_Region], regions: list[_Region], reading: Reading) -> None:
    """Give each negative region to the smallest polygon around it, or count it."""
    polygons = [(region.shape, region) for region in regions if isinstance(region.shape, Polygon)]
    polygons.sort(key=lambda item: item[0].area)
    boxes = np.array([polygon.box for polygon, _ in polygons]).reshape(-1, 4)
    for hole in holes:
        if hole.shape is None:
            continue
        ring = hole.shape.outline().rings[0]
        left, top, right, bottom = points_box(ring)
        meets = (boxes[:, :2] <= (right, bottom)).all(axis=1)
        meets &= (boxes[:, 2:] >= (left, top)).all(axis=1)
        near = [polygons[i] for i in np.flatnonzero(meets)]
        around = next((item[1] for item in near if _surrounds(item[0].rings[0], ring)), None)
        if around:
            around.holes.append(ring)
        else:
            detail = "a negative region (a hole) that lies in no polygon of its layer"
            reading.drop("shape", detail, file=hole.facts["file"], where=hole.facts["where"])


def _surrounds(ring: Ring, inner: Ring) -> bool:
    """Whether more than half of the points of ``inner`` lie in ``ring``: drawn by hand, a hole
    may cross the outline."""
    return 2 * sum(_inside(ring, point) for point in inner) > len(inner)


def _inside(ring: Ring, point: Point) -> bool:
    """Whether a point lies in a ring, by the even-odd rule."""
    x, y = point
    inside = False
    for (ax, ay), (bx, by) in zip(ring, ring[1:] + ring[:1], strict=True):
        if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax):
            inside = not inside
    return inside


# --- classes ----------------------------------------------------------------------------------


def _names(layer: Element) -> tuple[str, list[str]]:
    """A layer's name, and what its attributes say: their values, and names that are classes."""
    said = _values(layer)
    for attribute in layer.iterfind("Attributes/Attribute"):
        name = attribute.get("Name", "")
        if name != "Description":  # which ImageScope gives to every layer
            said.append(name)
    return layer.get("Name", ""), said


def _values(element: Element) -> list[str]:
    return [item.get("Value", "") for item in element.iterfind("Attributes/Attribute")]


def label_of(text: str, values: list[str], name: str, said: list[str]) -> str:
    """The class of a region.

    Parameters
    ----------
    text, values : str, list of str
        The region's `Text` and its attributes' values.
    name, said : str, list of str
        The layer's name and what its attributes say.

    Returns
    -------
    str
        The first of them all that is one of ours; if none is, the first that is given, the
        layer's name before the others; if nothing is given, `mitosis`.
    """
    for word in (text, *values, name, *said):
        if word and (label := canonical_label(word)) in LABELS:
            return label
    given = (word.strip() for word in (name, text, *values, *said))
    return next(filter(None, given), "mitosis")
