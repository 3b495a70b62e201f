"""The Girder large_image annotation schema: documents to annotations, and back.

The JSON of HistomicsUI, the Digital Slide Archive and CADD4MBC: a document with a list of
elements, in pixels of its image. The schema leaves an element's ``user`` to its users: confidence
is kept there, and what the elements of one annotation have in common, since a polyline can have
holes but is one ring.

Source: large_image annotation schema (girder_large_image_annotation/models/annotation.py).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from converters.errors import InputError
from converters.geometry import Point, rectangle_corners
from converters.keys import Keys
from converters.labels import canonical_label
from converters.model import Annotation, AnnotationSet
from converters.reading import Reading
from converters.rings import nested, opened
from converters.shapes import Ellipse, Polygon, Ring
from converters.writing import Note, colour, json_lines, json_text

_PART = "mitoyolo_part_of"
"""The key of ``user`` that the elements of one annotation share: the id of the first of them."""


def add_elements(
    elements: Iterable[tuple[str, Any]], reading: Reading, *, source: str, file: str
) -> None:
    """Add the elements of a document, each with its place, to what ``reading`` has found."""
    whole: dict[Any, list[tuple[str, Any]]] = {}
    for i, (where, element) in enumerate(elements):
        part = _user(element).get(_PART)
        key = part if isinstance(part, str) else i
        whole.setdefault(key, []).append((where, element))
    for (where, first), *others in whole.values():
        with reading.lenient():
            add_element(first, reading, others, source=source, file=file, where=where)


def add_element(
    element: Any, reading: Reading, others: Iterable[tuple[str, Any]] = (), **facts: Any
) -> None:
    """Add one element of the schema to what ``reading`` has found, or count it where it marks no
    cell. ``facts`` are its source, file and where; ``others`` are the further rings of the same
    annotation, with their places.

    Raises
    ------
    InputError
        A key is missing or holds no finite number.
    """
    keys = Keys.of(element, facts["file"], facts["where"])
    kind = keys.element.get("type")
    confidence = _user(element).get("confidence")
    facts |= {"kind": kind, "label": _label_of(keys.element)}
    if isinstance(confidence, int | float):  # the schema says nothing of it: a word is not damage
        user = Keys(_user(element), keys.file, f"{keys.where}, key `user`")
        facts["confidence"] = user.number("confidence")
    if kind == "point":
        reading.point(keys.point(keys.value("center"), "center"), **facts)
    elif isinstance(kind, str) and kind in _SHAPES:
        shape = _SHAPES[kind](keys)
        for where, other in others:
            shape = _joined(shape, Keys.of(other, facts["file"], where))
        reading.shape(shape, **facts)
    else:
        known = ", ".join((*_SHAPES, "point"))
        detail = f"type {kind!r:.40} marks no cell (known: {known})"
        reading.drop("shape", detail, file=keys.file, where=keys.where)


def _user(element: Any) -> Mapping[str, Any]:
    """What the schema leaves free; empty where it is anything else."""
    user = element.get("user") if isinstance(element, Mapping) else None
    return user if isinstance(user, Mapping) else {}


def _joined(shape: Ellipse | Polygon, other: Keys) -> Polygon:
    """A polygon with the ring and the holes of another element."""
    if not isinstance(shape, Polygon) or other.element.get("type") != "polyline":
        raise InputError(
            f"only polylines can be `{_PART}` one annotation", file=other.file, where=other.where
        )
    more = _polyline(other)
    return Polygon(shape.rings + more.rings, shape.holes + more.holes)


def _ellipse(keys: Keys) -> Ellipse:
    (x, y), width, height = _axes(keys)
    return Ellipse(x, y, width, height, _rotation(keys))


def _circle(keys: Keys) -> Ellipse:
    (x, y), radius = keys.point(keys.value("center"), "center"), keys.length("radius")
    return Ellipse(x, y, 2 * radius, 2 * radius)


def _rotation(keys: Keys) -> float:
    """In radians; more than two turns are no drawing tool's."""
    rotation = keys.number("rotation", 0.0)
    if abs(rotation) > 4 * math.pi:
        raise InputError(
            f"a rotation of {rotation:g}, expected radians",
            file=keys.file,
            where=f"{keys.where}, key `rotation`",
            fix="is it in degrees?",
        )
    return rotation


def _rectangle(keys: Keys) -> Polygon:
    corners = rectangle_corners(*_axes(keys), _rotation(keys))
    return Polygon((tuple(corners),))


def _polyline(keys: Keys) -> Polygon:
    ring: Ring = opened(keys.points(keys.value("points"), "points"))
    holes = keys.element.get("holes")
    return Polygon(
        (ring,),
        tuple(
            opened(keys.points(hole, f"holes[{i}]"))
            for i, hole in enumerate(holes if isinstance(holes, list) else [])
        ),
    )


def _axes(keys: Keys) -> tuple[Point, float, float]:
    """Centre and full axes of an ellipse or rectangle."""
    center = keys.point(keys.value("center"), "center")
    return center, keys.length("width"), keys.length("height")


_SHAPES: dict[str, Callable[[Keys], Ellipse | Polygon]] = {
    "ellipse": _ellipse,
    "circle": _circle,
    "rectangle": _rectangle,
    "polyline": _polyline,
}


def _label_of(element: Mapping[str, Any]) -> str:
    """The class: `label.value`, else `group`, else mitosis, since the exports mark only those."""
    label = element.get("label")
    name = label.get("value") if isinstance(label, dict) else label
    name = name or element.get("group")
    return canonical_label(str(name)) if name else "mitosis"


def elements_of(document: Any, file: str) -> list[tuple[str, Any]]:
    """The elements of a document, each with its place: bare, under ``annotation``, a list of
    documents, or one flat element.

    Raises
    ------
    InputError
        It is no annotation document.
    """
    if isinstance(document, list):
        return [
            (f"[{i}].{where}", element)
            for i, item in enumerate(document)
            for where, element in _elements_of_one(item, file, f"[{i}]")
        ]
    return _elements_of_one(document, file, None)


def _elements_of_one(document: Any, file: str, where: str | None) -> list[tuple[str, Any]]:
    if isinstance(document, dict):
        inner = document.get("annotation", document)
        if isinstance(inner, dict):
            if isinstance(inner.get("elements"), list):
                return [(f"elements[{i}]", item) for i, item in enumerate(inner["elements"])]
            if "type" in inner and ("points" in inner or "center" in inner):
                return [("the element", inner)]
    raise InputError(
        "not an annotation document (no list `elements`, neither bare nor under `annotation`)",
        file=file,
        where=where,
    )


def write(found: AnnotationSet, note: Note) -> Iterator[tuple[str, str]]:
    """One document an image, ``NAME.json``, as the Digital Slide Archive takes it up."""
    for image, items in found.by_image():
        elements = [
            element
            for i, item in enumerate(items)
            for element in _elements(item, f"{image.source}/{i}")
        ]
        name = json_text(image.source).strip()
        yield (
            f"{image.file_stem}.json",
            f'{{"name": {name}, "description": "", "elements": {json_lines(elements)}}}\n',
        )


def _elements(item: Annotation, key: str) -> Iterator[dict[str, Any]]:
    """The elements that are one annotation: several where it has several rings."""
    forms = list(_forms(item))
    user: dict[str, Any] = {} if item.confidence is None else {"confidence": item.confidence}
    if len(forms) > 1:
        user[_PART] = _id(f"{key}/0")
    red, green, blue = colour(item.label)
    for i, form in enumerate(forms):
        yield {
            "id": _id(f"{key}/{i}"),
            **form,
            "label": {"value": item.label},
            "group": item.label,
            "lineColor": f"rgb({red}, {green}, {blue})",
            "lineWidth": 2,
            "fillColor": f"rgba({red}, {green}, {blue}, 0)",
            **({"user": user} if user else {}),
        }


def _id(key: str) -> str:
    """24 hexadecimal digits, as the schema wants them; the same for the same annotation."""
    return hashlib.sha256(key.encode(errors="backslashreplace")).hexdigest()[:24]


def _forms(item: Annotation) -> Iterator[dict[str, Any]]:
    """An annotation's shape: exact, but for sets of pixels, which become their outline."""
    if isinstance(item.shape, Ellipse):
        yield {
            "type": "ellipse",
            "center": [item.shape.x, item.shape.y, 0],
            "width": item.shape.width,
            "height": item.shape.height,
            "rotation": item.shape.rotation,
            "normal": [0, 0, 1],
        }
    elif item.shape:
        for ring, holes in nested(item.shape.outline()):
            yield {
                "type": "polyline",
                "points": _flat(ring),
                "closed": True,
                **({"holes": [_flat(hole) for hole in holes]} if holes else {}),
            }
    elif item.kind == "point" or item.box is None:
        yield {"type": "point", "center": [item.x, item.y, 0]}
    else:
        left, top, right, bottom = item.box
        yield {
            "type": "rectangle",
            "center": [(left + right) / 2, (top + bottom) / 2, 0],
            "width": right - left,
            "height": bottom - top,
            "rotation": 0,
            "normal": [0, 0, 1],
        }


def _flat(ring: Ring) -> list[list[float]]:
    """Points with the third coordinate that the schema demands."""
    return [[x, y, 0] for x, y in ring]
