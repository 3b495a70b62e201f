"""Label Studio: tasks exported as JSON, read.

A list of tasks; of each, ``data`` names the image and ``annotations[].result[]`` (older:
``completions``) holds the regions, in percent of the image's width and height. An ellipse's ``x``
and ``y`` are its centre (the tag's documentation says a corner, the program draws a centre) and its
rotation is in degrees, clockwise, about it; a rectangle's are its upper left corner, about which it
is turned. Both turn on the screen, so in pixels, not in percents. The shorter export JSON-MIN is
not read.

Source: Label Studio documentation, "Task format"; web/libs/editor/src/regions of its source.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from converters.classes import class_of
from converters.errors import InputError
from converters.files import read_json
from converters.geometry import Point
from converters.keys import Keys
from converters.model import AnnotationSet
from converters.read_options import ReadOptions, Size
from converters.reading import Reading
from converters.rings import opened
from converters.shapes import Ellipse, Polygon

_UPLOAD = re.compile(r"^[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of a file that was uploaded."""

_IMAGE_KEYS = ("image", "img", "url", "image_url")
_UNUSED = {"predictions": "prediction", "drafts": "draft"}
"""Other lists of a task -> the reason for which their regions are dropped."""


@dataclass(frozen=True, slots=True)
class _Region:
    """One entry of a ``result``, the class that another entry gives it, and the reason why it is no
    annotation, if so."""

    value: Any
    where: str
    words: Any = None
    unused: str = ""


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read an export of Label Studio, or a folder of them.

    Raises
    ------
    InputError
        No file is found; a file, task or region is malformed; an image is not there (each unless
        ``options`` allow it).
    """
    reading, skipped = Reading(src, options), []
    for path in reading.files(".json"):
        tasks = None
        with reading.lenient("unreadable_file"):
            tasks = tasks_of(read_json(path), str(path))
        if tasks is None:
            reading.unreadable(None, path)
        for where, task in tasks or []:
            skipped += _add_task(task, reading, path, where)
    for name in skipped:  # at last: another task may have had it annotated
        reading.skip(name, "unlabelled", "a task that nobody has annotated")
    return reading.finish(None)


def tasks_of(document: Any, file: str) -> list[tuple[str, Any]]:
    """The tasks of an export, each with its place.

    Raises
    ------
    InputError
        It is no list of tasks, nor one task.
    """
    tasks = document if isinstance(document, list) else [document]
    known = [item for item in tasks if isinstance(item, Mapping) and "data" in item]
    if tasks and not known:
        raise InputError(
            "not an export of Label Studio (no list of tasks with `data`)",
            file=file,
            fix="export as JSON, not as JSON-MIN",
        )
    return [(f"[{i}]", task) for i, task in enumerate(tasks)]


def _add_task(value: Any, reading: Reading, path: Path, where: str) -> list[str]:
    """Add one task's image and regions; the name of an image that nobody has annotated is returned
    instead."""
    file, name, regions, source = str(path), None, None, None
    with reading.lenient():
        task = Keys.of(value, file, where)
        name = _image_name(task, reading)
        regions = list(_regions(task))
    for region in regions or []:
        if region.unused:
            detail = "not an annotation handed in"
            reading.drop(region.unused, detail, file=file, where=region.where)
    empty = regions is not None and not _is_annotated(value)
    if name and empty and reading.options.unlabelled != "background":
        return [name]
    with reading.lenient():
        if name is not None:
            source = reading.image(name, file=file, where=where, size=_size(regions or [], file))
    if source is None or regions is None:
        reading.unreadable(source, path)
        return []
    for region in regions:
        if not region.unused:
            with reading.lenient():
                _add_region(region, reading, source, file)
    return []


# --- the image --------------------------------------------------------------------------------


def _image_name(task: Keys, reading: Reading) -> str:
    """The image's name: with the folders of its address, without the prefix of an upload unless
    an image is called so."""
    data = task.keys("data")
    texts = [value for value in data.element.values() if isinstance(value, str)]
    usual = [data.element[key] for key in _IMAGE_KEYS if isinstance(data.element.get(key), str)]
    if not usual and len(texts) != 1:
        raise InputError(
            f"no key `image` (found: {', '.join(map(str, data.element)):.80})",
            file=data.file,
            where=data.where,
        )
    name = _path((usual or texts)[0], data)
    folders, slash, last = name.rpartition("/")
    bare = folders + slash + _UPLOAD.sub("", last)
    if reading.options.annotations_only:
        return bare if "upload" in folders.split("/") else name
    return bare if not reading.has(name) and reading.has(bare) else name


def _path(address: str, data: Keys) -> str:
    """The path that an address names: of a file, a URL, a bucket, or a local file as Label Studio
    serves it (``/data/local-files/?d=folder/name.png``)."""
    address = address.replace("\\", "/")
    if "://" not in address and not address.startswith("/data/"):
        return address
    try:
        parts = urlsplit(address)
        local = parse_qs(parts.query).get("d")
    except ValueError:
        raise InputError(
            f"{address!r:.80} is no address of an image", file=data.file, where=data.where
        ) from None
    return local[0] if local and parts.path.endswith("/local-files/") else unquote(parts.path)


def _size(regions: list[_Region], file: str) -> Size | None:
    """The image's size as a region says it; None where none does, or not as numbers."""
    for region in regions:
        if isinstance(region.value, Mapping):
            try:
                size = Keys(region.value, file, region.where).size(
                    "original_width", "original_height"
                )
            except InputError:
                continue
            if size:
                return size
    return None


# --- regions ----------------------------------------------------------------------------------


def _annotations(task: Keys) -> Iterator[Keys]:
    """The annotations of a task, one an annotator."""
    key = "completions" if "annotations" not in task.element else "annotations"
    for where, value in task.each(key):
        yield Keys.of(value, task.file, where)


def _is_annotated(task: Mapping[str, Any]) -> bool:
    """Whether anyone has annotated and not skipped the image."""
    values = task.get("annotations", task.get("completions"))
    return any(not value.get("was_cancelled") for value in values or [])


def _regions(task: Keys) -> Iterator[_Region]:
    """Every region of a task, used or not.

    Raises
    ------
    InputError
        Lists and objects are not where they should be.
    """
    for annotation in _annotations(task):
        unused = "cancelled" if annotation.element.get("was_cancelled") else ""
        yield from _result(annotation, unused)
    for key, unused in _UNUSED.items():
        others = task.element.get(key)
        for i, other in enumerate(others if isinstance(others, list) else []):
            if isinstance(other, Mapping) and isinstance(other.get("result"), list):
                yield from _result(Keys(other, task.file, f"{task.where}.{key}[{i}]"), unused)


def _result(annotation: Keys, unused: str) -> Iterator[_Region]:
    """The regions of one annotation. With separate tags a region's class is another entry of the
    same id, which is no region of its own."""
    entries = list(annotation.each("result"))
    named = {where: _id(entry) for where, entry in entries}
    regions = {named[where] for where, entry in entries if _is_region(entry)} - {None}
    words = {
        named[where]: entry["value"].get("labels")
        for where, entry in entries
        if named[where] and entry.get("type") == "labels" and isinstance(entry.get("value"), dict)
    }
    for where, entry in entries:
        if named[where] in regions and entry.get("type") in _OF_REGIONS:
            continue
        yield _Region(entry, where, words.get(named[where]), unused)


def _id(entry: Any) -> str | None:
    value = entry.get("id") if isinstance(entry, Mapping) else None
    return value if isinstance(value, str) else None


def _is_region(entry: Any) -> bool:
    kind = entry.get("type") if isinstance(entry, Mapping) else None
    return isinstance(kind, str) and (kind in _SHAPES or kind.startswith(_NO_CELLS))


def _add_region(region: _Region, reading: Reading, source: str, file: str) -> None:
    """Add one region, or count it where it marks no cell."""
    entry = Keys.of(region.value, file, region.where)
    kind = entry.text("type")
    if kind not in _SHAPES:
        detail = f"type {kind!r:.40} marks no cell (known: {', '.join(_SHAPES)})"
        reading.drop("shape", detail, file=file, where=region.where)
        return
    if entry.number("image_rotation", 0.0) % 360:
        raise InputError(
            "the image was turned in Label Studio, which is not read",
            file=file,
            where=f"{entry.where}, key `image_rotation`",
            fix="turn it back and export again",
        )
    size = reading.size(source) or entry.size("original_width", "original_height")
    value = entry.keys("value")
    if size is None and source not in reading.problems:  # else it will be left out all the same
        raise InputError(
            f"the size of the image {source} is not known, and percents need it",
            file=file,
            where=region.where,
            fix="name the images' folder by --images",
        )
    words = value.element.get(kind, value.element.get("labels"))
    label = class_of(region.words if words is None else words, file, value.where)
    facts = {
        "source": source,
        "file": file,
        "where": region.where,
        "label": label or "mitosis",
        "confidence": _confidence(entry),
    }
    _SHAPES[kind](value, size or (100, 100), reading, facts)


def _confidence(entry: Keys) -> float | None:
    """The region's score, its own or among what the annotator noted on it."""
    score = entry.optional("score")
    meta = entry.element.get("meta")
    if score is None and isinstance(meta, Mapping):
        return Keys(meta, entry.file, f"{entry.where}, key `meta`").optional("score")
    return score


def _position(value: Keys, size: Size) -> Point:
    return (value.number("x") / 100 * size[0], value.number("y") / 100 * size[1])


def _ellipse(value: Keys, size: Size, reading: Reading, facts: dict[str, Any]) -> None:
    across = 2 * value.length("radiusX") / 100 * size[0]
    down = 2 * value.length("radiusY") / 100 * size[1]
    turn = math.radians(value.number("rotation", 0.0))
    reading.shape(Ellipse(*_position(value, size), across, down, turn), kind="ellipse", **facts)


def _rectangle(value: Keys, size: Size, reading: Reading, facts: dict[str, Any]) -> None:
    x, y = _position(value, size)
    # negative where it was drawn towards the upper left
    across, down = value.number("width") / 100 * size[0], value.number("height") / 100 * size[1]
    turn = math.radians(value.number("rotation", 0.0) % 360)
    if not turn:
        box = (min(x, x + across), min(y, y + down), max(x, x + across), max(y, y + down))
        reading.box(box, **facts)
        return
    cos, sin = math.cos(turn), math.sin(turn)
    corners = tuple(
        (x + dx * cos - dy * sin, y + dx * sin + dy * cos)
        for dx, dy in ((0.0, 0.0), (across, 0.0), (across, down), (0.0, down))
    )
    reading.shape(Polygon((corners,)), kind="rectangle", **facts)


def _polygon(value: Keys, size: Size, reading: Reading, facts: dict[str, Any]) -> None:
    points = value.points(value.value("points"), "points")
    if value.element.get("closed") is False:
        detail = "a line that is not closed marks no cell"
        reading.drop("shape", detail, file=value.file, where=facts["where"])
        return
    ring = tuple((x / 100 * size[0], y / 100 * size[1]) for x, y in opened(points))
    reading.shape(Polygon((ring,)), kind="polygon", **facts)


def _keypoint(value: Keys, size: Size, reading: Reading, facts: dict[str, Any]) -> None:
    reading.point(_position(value, size), **facts)


_SHAPES: dict[str, Callable[[Keys, Size, Reading, dict[str, Any]], None]] = {
    kind + suffix: add
    for suffix in ("labels", "")  # a tag of its own for the class, or one for both
    for kind, add in {
        "ellipse": _ellipse,
        "rectangle": _rectangle,
        "polygon": _polygon,
        "keypoint": _keypoint,
    }.items()
}
_NO_CELLS = ("brush", "bitmask", "vector", "mask")
"""How the types of other regions begin."""

_OF_REGIONS = ("labels", "choices", "textarea", "taxonomy", "rating", "number", "datetime")
"""Types that say something of a region, where they have its id."""
