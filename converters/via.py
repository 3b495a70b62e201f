"""VGG Image Annotator (VIA) versions 1 and 2: projects and annotations saved as JSON, read.

A project holds its images under ``_via_img_metadata``; an export is that object alone: for each
image ``filename``, ``size`` (bytes, not pixels) and ``regions``, a list or, in version 1, an
object. Ellipses have half axes ``rx`` and ``ry``, turned by ``theta`` radians, y down; version 1
has no ``theta``. Projects of version 3 are another format and are not read.

Source: VIA's documentation and its source, version 2.0 (vgg.gitlab.io/via).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from converters.classes import class_of
from converters.errors import InputError
from converters.files import read_json
from converters.keys import Keys
from converters.model import LABELS, AnnotationSet
from converters.read_options import ReadOptions
from converters.reading import Reading
from converters.rings import opened
from converters.shapes import Ellipse, Polygon

_CLASS_KEYS = ("label", "labels", "class", "category", "classification", "type", "name")


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read a VIA JSON file, or a folder of them.

    Raises
    ------
    InputError
        No file is found; a file, image or region is malformed; an image is not there (each unless
        ``options`` allow it).
    """
    reading = Reading(src, options)
    for path in reading.files(".json"):
        entries = None
        with reading.lenient("unreadable_file"):
            entries = entries_of(read_json(path), str(path))
        if entries is None:
            reading.unreadable(None, path)
        for where, value in entries or []:
            _add_image(value, reading, path, where)
    return reading.finish(None)


def entries_of(document: Any, file: str) -> list[tuple[str, Any]]:
    """The images of a project or an export, each with its place.

    Raises
    ------
    InputError
        It is neither.
    """
    if isinstance(document, Mapping):
        inner = document.get("_via_img_metadata")
        if isinstance(inner, Mapping):
            return [(f"_via_img_metadata, key {key!r:.80}", value) for key, value in inner.items()]
        entries = list(document.values())
        if entries and any(isinstance(item, Mapping) and "regions" in item for item in entries):
            return [(f"key {key!r:.80}", value) for key, value in document.items()]
        if {"project", "metadata"} <= document.keys():
            raise InputError("a project of VIA 3, which is not read", file=file,
                             fix="annotate or export with VIA 2")  # fmt: skip
    raise InputError(
        "not an annotation file of VIA (no `_via_img_metadata`, no images with `regions`)",
        file=file,
    )


def _add_image(value: Any, reading: Reading, path: Path, where: str) -> None:
    """Add one image and its regions."""
    file, source, regions = str(path), None, None
    with reading.lenient():
        entry = Keys.of(value, file, where)
        source = reading.image(entry.text("filename"), file=file, where=where)
        regions = _regions(entry)
    if regions is None:
        reading.unreadable(source, path)
    for place, region in regions or []:
        with reading.lenient():
            _add_region(Keys.of(region, file, place), reading, source=source, file=file)


def _regions(entry: Keys) -> list[tuple[str, Any]]:
    """The regions of an image with their places."""
    regions = entry.value("regions")
    if isinstance(regions, Mapping):
        return [(f"{entry.where}.regions[{key!r:.20}]", value) for key, value in regions.items()]
    return list(entry.each("regions"))


def _add_region(region: Keys, reading: Reading, **facts: Any) -> None:
    """Add one region, or count it where it marks no cell."""
    shape = region.keys("shape_attributes")
    name = shape.text("name")
    facts |= {"where": region.where, "label": _label(region) or "mitosis"}
    if name == "point":
        reading.point((shape.number("cx"), shape.number("cy")), **facts)
    elif name == "rect":
        left, top = shape.number("x"), shape.number("y")
        box = (left, top, left + shape.length("width"), top + shape.length("height"))
        reading.box(box, **facts)
    elif name in _SHAPES:
        reading.shape(_SHAPES[name](shape), kind=name, **facts)
    else:
        detail = f"shape {name!r:.40} marks no cell (known: {', '.join(_SHAPES)}, rect, point)"
        reading.drop("shape", detail, file=region.file, where=region.where)


def _ellipse(shape: Keys) -> Ellipse:
    across, down = 2 * shape.length("rx"), 2 * shape.length("ry")
    return Ellipse(shape.number("cx"), shape.number("cy"), across, down, shape.number("theta", 0.0))


def _circle(shape: Keys) -> Ellipse:
    across = 2 * shape.length("r")
    return Ellipse(shape.number("cx"), shape.number("cy"), across, across)


def _polygon(shape: Keys) -> Polygon:
    xs, ys = shape.array("all_points_x"), shape.array("all_points_y")
    if len(xs) != len(ys):
        raise InputError(
            f"{len(xs)} all_points_x and {len(ys)} all_points_y", file=shape.file, where=shape.where
        )
    pairs = [list(pair) for pair in zip(xs, ys, strict=True)]
    return Polygon((opened(shape.points(pairs, "all_points")),))


_SHAPES: dict[str, Callable[[Keys], Ellipse | Polygon]] = {
    "ellipse": _ellipse,
    "circle": _circle,
    "polygon": _polygon,
}


def _label(region: Keys) -> str:
    """The class among the attributes that a project has made up: that of the usual names which
    says mitosis or imposter, else the first that says anything, else the only attribute there is.

    Raises
    ------
    InputError
        There are several attributes, and none has a usual name.
    """
    if region.element.get("region_attributes") is None:
        return ""
    attributes = region.keys("region_attributes")
    by_name = {key.strip().lower(): value for key, value in attributes.element.items()}
    usual = [by_name[key] for key in _CLASS_KEYS if key in by_name]
    if not usual and len(by_name) > 1:
        raise InputError(
            f"attributes {', '.join(by_name):.80}, of which none is called "
            f"{', '.join(_CLASS_KEYS)}",
            file=attributes.file,
            where=attributes.where,
            fix="rename the attribute that holds the class",
        )
    values = usual or list(by_name.values())
    words = [class_of(value, attributes.file, attributes.where) for value in values]
    return next((word for word in words if word in LABELS), next(filter(None, words), ""))
