"""QuPath: objects as GeoJSON, one file an image, read and written.

A FeatureCollection, a bare array of Features or one Feature, in pixels of the full resolution;
``NAME.geojson`` or ``NAME.svs.geojson`` belongs to the image ``NAME``. QuPath rounds what it writes
to 0.01 px, and keeps an ellipse as a polygon with ``"isEllipse": true``, of which it takes the
upright box when it reads.

Source: QuPath documentation, "Exporting annotations"; QuPath's ROI and object type adapters
(versions 0.2 to 0.5); RFC 7946 (GeoJSON).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from converters.classes import class_of
from converters.errors import InputError
from converters.files import read_json
from converters.keys import Keys
from converters.model import Annotation, AnnotationSet
from converters.read_options import ReadOptions
from converters.reading import Reading
from converters.rings import box_corners, closed, nested, opened, upright_box
from converters.shapes import Ellipse, Polygon, Ring
from converters.writing import Note, colour, json_lines

_CONFIDENCE = ("confidence", "Confidence", "score", "Score", "probability", "Probability")
_CHILDREN = ("childObjects", "children")
_NO_CELL = {"tile", "tmacore", "root", "pathtileobject", "tmacoreobject", "pathrootobject"}


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read a folder of ``*.geojson`` or ``*.json``, or one such file.

    Raises
    ------
    InputError
        No file is found; a file or object is malformed; a file has no image or an image no file
        (each unless ``options`` allow it).
    """
    reading = Reading(src, options)
    for path in reading.files(".geojson", ".json"):
        features = None
        with reading.lenient("unreadable_file"):
            features = features_of(read_json(path), str(path))
        name = path.relative_to(reading.root).with_suffix("").as_posix()
        source = reading.image(name, file=path)
        if features is None:
            reading.unreadable(source, path)
        for where, value in features or []:
            with reading.lenient():
                add_feature(value, reading, source=source, file=str(path), where=where)
    return reading.finish("a .geojson of the same name")


def features_of(document: Any, file: str) -> list[tuple[str, Any]]:
    """The features of a document and those nested in them, each with its place.

    Raises
    ------
    InputError
        It is no GeoJSON document of features.
    """
    place = "features"
    if isinstance(document, Mapping) and isinstance(document.get("features"), list):
        features = document["features"]
    elif isinstance(document, Mapping) and document.get("type") == "Feature":
        return list(_nested("the feature", document))
    elif isinstance(document, list):
        features, place = document, ""
    else:
        raise InputError(
            "not a GeoJSON document of QuPath (no FeatureCollection, list of Features or Feature)",
            file=file,
        )
    return [item for i, value in enumerate(features) for item in _nested(f"{place}[{i}]", value)]


def _nested(where: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A feature and the objects in it, of a file exported as a hierarchy."""
    waiting = [(where, value)]
    while waiting:
        where, value = waiting.pop()
        yield where, value
        key, children = _children(value)
        waiting += reversed([(f"{where}.{key}[{i}]", child) for i, child in enumerate(children)])


def _children(value: Any) -> tuple[str, list[Any]]:
    properties = value.get("properties") if isinstance(value, Mapping) else None
    if isinstance(properties, Mapping):
        for key in _CHILDREN:
            if isinstance(children := properties.get(key), list):
                return key, children
    return "", []


def add_feature(value: Any, reading: Reading, **facts: Any) -> None:
    """Add one feature to what ``reading`` has found, or count it where it marks no cell. ``facts``
    are its source, file and where.

    Raises
    ------
    InputError
        A key is missing or of another type, a coordinate is no finite number.
    """
    keys = Keys.of(value, facts["file"], facts["where"])
    properties = _properties(keys)
    label = _label(properties)
    if reason := _no_cell(keys, label):
        reading.drop("shape", reason, file=keys.file, where=keys.where)
        return
    facts |= {"label": label or "mitosis", "confidence": _confidence(properties)}
    geometry = keys.keys("geometry")
    if geometry.array("coordinates"):
        _GEOMETRIES[geometry.text("type")](geometry, reading, facts)
    else:
        reading.drop("no_extent", "empty geometry", file=keys.file, where=keys.where)


def _properties(feature: Keys) -> Keys:
    """A feature's properties, which may be absent or null."""
    if feature.element.get("properties") is None:
        return Keys({}, feature.file, feature.where)
    properties = feature.keys("properties")
    for key in _CHILDREN:
        if properties.element.get(key) is not None:
            properties.array(key)
    return properties


def _no_cell(feature: Keys, label: str) -> str:
    """Why a feature marks no cell; empty where it does."""
    kind, geometry = object_type(feature.element), feature.value("geometry")
    if kind.replace("_", "").lower() in _NO_CELL:
        return f"an object of type {kind!r:.40} marks no cell"
    if geometry is None:
        return "an object without geometry marks no cell"
    if not label and _children(feature.element)[1]:
        return "a region without class around other objects marks no cell"
    shape = geometry.get("type") if isinstance(geometry, Mapping) else None
    if not isinstance(shape, str) or shape not in _GEOMETRIES:
        return f"geometry {shape!r:.40} marks no cell (known: {', '.join(_GEOMETRIES)})"
    return ""


def object_type(feature: Mapping[str, Any]) -> str:
    """`annotation`, `detection`, `cell`, ...; QuPath 0.2 kept it as the feature's id."""
    properties = feature.get("properties")
    if isinstance(properties, Mapping):
        for key in ("objectType", "object_type", "type"):
            if isinstance(kind := properties.get(key), str):
                return kind
    return str(feature.get("id"))


def _label(properties: Keys) -> str:
    """The class: a name, `name` or `names` of an object, a derived class as `Base: Derived`."""
    value = properties.element.get("classification")
    if isinstance(value, Mapping):
        value = value.get("names") if value.get("name") is None else value.get("name")
    if isinstance(value, str):
        value = [part.strip() for part in value.split(":")]
    return class_of(value, properties.file, f"{properties.where}, key `classification`")


def _confidence(properties: Keys) -> float | None:
    """A measurement of that name, from an object or, before QuPath 0.4, a list of pairs."""
    measurements = properties.element.get("measurements")
    if measurements is None:
        return None
    if isinstance(measurements, list):
        pairs = [
            Keys.of(item, properties.file, place) for place, item in properties.each("measurements")
        ]
        measurements = {pair.text("name"): pair.value("value") for pair in pairs}
    keys = Keys.of(measurements, properties.file, f"{properties.where}, key `measurements`")
    for name in _CONFIDENCE:
        value = keys.element.get(name)
        if value == value and (number := keys.optional(name)) is not None:  # NaN: not measured
            return number
    return None


def _point(keys: Keys, reading: Reading, facts: dict[str, Any]) -> None:
    reading.point(keys.point(keys.array("coordinates"), "coordinates"), **facts)


def _points(keys: Keys, reading: Reading, facts: dict[str, Any]) -> None:
    points = keys.points(keys.array("coordinates"), "coordinates")
    for i, point in enumerate(points):
        reading.point(point, **facts | {"where": f"{facts['where']}.geometry.coordinates[{i}]"})


def _polygon(keys: Keys, reading: Reading, facts: dict[str, Any]) -> None:
    ring, *holes = _rings(keys, keys.array("coordinates"), "coordinates")
    polygon = Polygon((ring,), tuple(holes))
    if keys.element.get("isEllipse") is True:
        left, top, right, bottom = polygon.box
        centre = ((left + right) / 2, (top + bottom) / 2)
        reading.shape(Ellipse(*centre, right - left, bottom - top), kind="ellipse", **facts)
    elif (box := upright_box(ring)) and not holes:
        reading.box(box, **facts)
    else:
        reading.shape(polygon, kind="polygon", **facts)


def _polygons(keys: Keys, reading: Reading, facts: dict[str, Any]) -> None:
    parts = [
        _rings(keys, part, f"coordinates[{i}]") for i, part in enumerate(keys.array("coordinates"))
    ]
    holes = tuple(hole for part in parts for hole in part[1:])
    reading.shape(Polygon(tuple(part[0] for part in parts), holes), kind="polygon", **facts)


def _rings(keys: Keys, value: Any, key: str) -> list[Ring]:
    """The rings of one polygon, the outer one first."""
    if not isinstance(value, list) or not value:
        raise InputError(
            f"expected a list of rings, found {value!r:.60}",
            file=keys.file,
            where=f"{keys.where}, key `{key}`",
        )
    return [opened(keys.points(ring, f"{key}[{i}]")) for i, ring in enumerate(value)]


_GEOMETRIES: dict[str, Callable[[Keys, Reading, dict[str, Any]], None]] = {
    "Point": _point,
    "MultiPoint": _points,
    "Polygon": _polygon,
    "MultiPolygon": _polygons,
}


def write(found: AnnotationSet, note: Note) -> Iterator[tuple[str, str]]:
    """One FeatureCollection an image, ``NAME.geojson``, which QuPath opens by drag and drop."""
    for image, items in found.by_image():
        features = (
            feature(
                geometry(item),
                item.label,
                measurements={} if item.confidence is None else {"confidence": item.confidence},
            )
            for item in items
        )
        text = f'{{"type": "FeatureCollection", "features": {json_lines(features)}}}\n'
        yield f"{image.file_stem}.geojson", text


def feature(
    geometry: Mapping[str, Any],
    label: str,
    *,
    object_type: str = "annotation",
    measurements: Mapping[str, float],
) -> dict[str, Any]:
    """One object of QuPath.

    Parameters
    ----------
    geometry : mapping
        Of GeoJSON, see :func:`geometry`.
    label : str
        The class; QuPath shows it with a capital.
    object_type : {"annotation", "detection"}
        Detections are many, fast and not edited.
    measurements : mapping
        Name -> value, shown in QuPath's tables.
    """
    properties: dict[str, Any] = {
        "objectType": object_type,
        "classification": {"name": label.capitalize(), "color": list(colour(label))},
    }
    if measurements:
        properties["measurements"] = dict(measurements)
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def box_geometry(box: tuple[float, float, float, float]) -> dict[str, Any]:
    """An upright box in px as a polygon."""
    return {"type": "Polygon", "coordinates": [closed(box_corners(box))]}


def geometry(item: Annotation) -> dict[str, Any]:
    """An annotation's shape as GeoJSON: a point stays its centroid, an upright ellipse becomes a
    polygon that QuPath takes for the ellipse in its box, a turned one a polygon."""
    if item.shape is None:
        if item.kind == "point" or item.box is None:
            return {"type": "Point", "coordinates": [item.x, item.y]}
        return box_geometry(item.box)
    upright = _upright(item.shape) if isinstance(item.shape, Ellipse) else None
    parts = [
        [closed(ring) for ring in (outer, *holes)]
        for outer, holes in nested((upright or item.shape).outline())
    ]
    if len(parts) > 1:
        return {"type": "MultiPolygon", "coordinates": parts}
    marked = {"isEllipse": True} if upright else {}
    return {"type": "Polygon", "coordinates": parts[0], **marked}


def _upright(ellipse: Ellipse) -> Ellipse | None:
    """The same ellipse without rotation; None where it is turned."""
    quarters = ellipse.rotation / (math.pi / 2)
    if ellipse.width == ellipse.height or abs(quarters - round(quarters)) < 1e-12:
        across, down = ellipse.width, ellipse.height
        if round(quarters) % 2:
            across, down = down, across
        return Ellipse(ellipse.x, ellipse.y, across, down)
    return None
