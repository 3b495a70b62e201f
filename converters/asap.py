"""ASAP annotations: one XML file a slide, `NAME.xml` of `NAME.tif`.

Coordinates are pixels of the slide's highest resolution. A class is the group that an annotation
is part of; groups may be parts of groups.

Source: ASAP, annotation/XmlRepository.cpp (what the program reads and writes).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from converters.errors import InputError
from converters.geometry import Point
from converters.keys import Keys
from converters.labels import canonical_label
from converters.model import LABELS, AnnotationSet
from converters.read_options import ReadOptions
from converters.reading import Reading
from converters.rings import opened, upright_box
from converters.shapes import Polygon
from converters.xml_elements import child, numbered, one_an_image, point_of, points_of

_POINTS = ("Dot", "PointSet")
_SHAPES = {"Polygon": "polygon", "Rectangle": "rectangle", "Spline": "polygon"}
"""Type -> kind. A spline is its control points joined: the curve between them is not in the
file, and ASAP's own masks are drawn from these points as well."""
_NO_GROUP = ("", "None")


@dataclass(frozen=True, slots=True)
class _Marks:
    """A file's annotations with their places, and the class of each group."""

    annotations: list[tuple[str, Element]]
    labels: dict[str, str]


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read a folder of ASAP's XML files (or one) with their slides.

    Raises
    ------
    InputError
        No file is found; a file or annotation is malformed; a file has no image or an image no
        file (each unless ``options`` allow it).
    """
    reading = Reading(src, options)
    for file, source, marks in one_an_image(reading, "ASAP_Annotations", _parse):
        for where, element in marks.annotations:
            with reading.lenient():
                _add(element, reading, marks.labels, source=source, file=file, where=where)
    return reading.finish("an .xml file of the same name")


def _parse(root: Element, file: str) -> _Marks:
    found = list(numbered(child(root, "Annotations", file), "Annotation"))
    groups = root.find("AnnotationGroups")
    return _Marks(found, {} if groups is None else group_labels(groups))


def _add(
    element: Element,
    reading: Reading,
    labels: dict[str, str],
    *,
    source: str,
    file: str,
    where: str,
) -> None:
    """Add one annotation, or count it where it marks no cell."""
    keys = Keys(element.attrib, file, where)
    kind, group = keys.text("Type"), keys.text("PartOfGroup", "")
    label = "mitosis" if group in _NO_GROUP else labels.get(group) or canonical_label(group)
    facts = {"source": source, "file": file, "label": label}
    if kind in _POINTS:
        for i, vertex in enumerate(_vertices(element, file, where), 1):
            place = f"{where}/Coordinate[{i}]"
            with reading.lenient():
                reading.point(point_of(vertex, file, place), where=place, **facts)
    elif kind in _SHAPES:
        ring = opened(outline(element, file, where))
        facts |= {"kind": _SHAPES[kind], "where": where}
        if len(ring) < 3:
            detail = f"{_SHAPES[kind]} of fewer than 3 points"
            reading.drop("no_extent", detail, file=file, where=where)
        elif kind == "Rectangle" and (box := upright_box(ring)):
            reading.box(box, **facts | {"kind": "box"})
        else:
            reading.shape(Polygon((ring,)), **facts)
    else:
        known = ", ".join((*_POINTS, *_SHAPES))
        detail = f"type {kind!r:.40} marks no cell (known: {known})"
        reading.drop("shape", detail, file=file, where=where)


def outline(annotation: Element, file: str, where: str) -> list[Point]:
    """An annotation's points in px, in the order that their `Order` says, else the file's.

    Raises
    ------
    InputError
        There is no point, or a number is none.
    """
    vertices = _vertices(annotation, file, where)
    points = points_of(vertices, file, where)
    said = [vertex.get("Order") for vertex in vertices]
    if said == [str(i) for i in range(len(said))]:
        return points
    orders = [
        Keys(vertex.attrib, file, f"{where}/Coordinate[{i + 1}]").number("Order", i)
        for i, vertex in enumerate(vertices)
    ]
    return [points[i] for i in sorted(range(len(points)), key=orders.__getitem__)]


def _vertices(annotation: Element, file: str, where: str) -> list[Element]:
    found = child(annotation, "Coordinates", file, where).findall("Coordinate")
    if not found:
        raise InputError("no <Coordinate> in <Coordinates>", file=file, where=where)
    return found


def group_labels(groups: Element) -> dict[str, str]:
    """The class of each group that has one of ours: its nearest name, its own or that of a group
    which it is part of."""
    above = {group.get("Name", ""): group.get("PartOfGroup", "") for group in groups}
    ours: dict[str, str | None] = {}
    for name in above:
        chain: list[str] = []
        here = name
        while here in above and here not in ours:
            ours[here] = _ours(here)
            chain.append(here)
            if ours[here]:
                break
            here = above[here]
        for step in chain:
            ours[step] = ours.get(here) or _ours(here)
    return {name: label for name, label in ours.items() if label}


def _ours(name: str) -> str | None:
    label = canonical_label(name)
    return label if label in LABELS else None
