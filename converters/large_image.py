"""The Girder large_image annotation schema: elements of a document to annotations.

The JSON of HistomicsUI, the Digital Slide Archive and CADD4MBC: a document with a list of
elements, in pixels of its image.

Source: large_image annotation schema.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from converters.errors import InputError
from converters.geometry import (
    Point,
    ellipse_box,
    points_box,
    polygon_area_centroid,
    rectangle_corners,
)
from converters.labels import canonical_label
from converters.model import Annotation, Drop
from converters.reading import number


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

    def axes(self) -> tuple[Point, float, float] | None:
        """Centre and full axes of an ellipse or rectangle; None where an axis is 0."""
        center = self.point(self.value("center"), "center")
        width, height = self.length("width"), self.length("height")
        return (center, width, height) if width and height else None

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
    axes = keys.axes()
    if axes is None:
        return None
    center, width, height = axes
    box = ellipse_box(center, width, height, keys.number("rotation", 0.0))
    return center, box, math.pi * width * height / 4


def _circle(keys: _Keys) -> _Geometry:
    center, radius = keys.point(keys.value("center"), "center"), keys.length("radius")
    if not radius:
        return None
    return center, ellipse_box(center, 2 * radius, 2 * radius, 0.0), math.pi * radius * radius


def _rectangle(keys: _Keys) -> _Geometry:
    axes = keys.axes()
    if axes is None:
        return None
    center, width, height = axes
    corners = rectangle_corners(center, width, height, keys.number("rotation", 0.0))
    return center, points_box(corners), width * height


def _polyline(keys: _Keys) -> _Geometry:
    points = keys.points(keys.value("points"), "points")
    area, centroid = polygon_area_centroid(points)
    left, top, right, bottom = box = points_box(points)
    if not (right > left and bottom > top):
        return None
    holes = keys.element.get("holes")
    for i, hole in enumerate(holes if isinstance(holes, list) else []):
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
