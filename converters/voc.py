"""Pascal VOC: one XML file an image, as labelImg and many other tools write it.

Boxes are taken as most tools write them today: 0-based, `xmin` to `xmax` in pixels. In the
original data set the first pixel is number 1 and both corners are inside: ``one_based`` makes
`xmin` and `ymin` one less. Rotated boxes and polygons of later tools are drawn in 0-based floats
and are read as they are.

Source: The PASCAL Visual Object Classes Challenge, development kit, section on annotations; for
`robndbox` roLabelImg, libs/pascal_voc_io.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from converters.errors import InputError
from converters.geometry import Box, rectangle_corners
from converters.keys import Keys
from converters.labels import canonical_label
from converters.model import Annotation, AnnotationSet, ImageInfo
from converters.pictures import stem
from converters.read_options import ReadOptions
from converters.reading import Reading
from converters.rings import opened
from converters.shapes import Polygon
from converters.writing import Note, needed_size
from converters.xml_elements import numbered, one_an_image, own_name


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read a folder of VOC's XML files (or one) with their images.

    Raises
    ------
    InputError
        No file is found; a file or object is malformed; a file has no image or an image no file
        (each unless ``options`` allow it).
    """
    reading = Reading(src, options)
    facts = _size if options.annotations_only else None
    documents = one_an_image(reading, "annotation", _objects, name=_image_name, facts=facts)
    for file, source, objects in documents:
        for where, element in objects:
            with reading.lenient():
                _add(element, reading, {"source": source, "file": file, "where": where})
    return reading.finish("an .xml file of the same name")


def _objects(root: Element, file: str) -> list[tuple[str, Element]]:
    return list(numbered(root, "object"))


def _size(root: Element, file: str) -> dict[str, Any]:
    """What the file says of the size; the image itself is asked where it is there."""
    size = root.find("size")
    keys = Keys({} if size is None else _texts(size), file, "size")
    return {"size": keys.size()}


def _image_name(path: Path, root: Element | None, reading: Reading) -> str:
    """The image that a file is about: the one of the file's own name, else that in `filename`.

    A renamed image leaves an old `filename` behind, which may be another image's name by now; so
    where both exist and differ, the file's own name wins, as in the original data set.
    """
    own = own_name(path, root, reading)
    said = "" if root is None else (root.findtext("filename") or "").strip().replace("\\", "/")
    folder, _, last = said.rpartition("/")
    same = stem(last) == path.stem  # then its suffix tells 1.jpg from 1.png
    flat = folder != "" and stem(said).replace("/", "_") == path.stem  # as `write` names it
    if reading.options.annotations_only:
        return said if flat else own
    above = (same and own.rpartition("/")[0]) or folder
    if root is not None and not above:
        above = (root.findtext("folder") or "").strip()
    named = f"{above}/{last}"
    found = last != "" and reading.has(named)
    return named if found and (same or flat or not reading.has(own)) else own


def _add(element: Element, reading: Reading, facts: dict[str, Any]) -> None:
    """Add one object, or count it where it has no shape that is known."""
    file, where = facts["file"], facts["where"]
    keys = Keys(_texts(element), file, where)
    name = keys.element.get("name")
    facts["label"] = canonical_label(name) if name else "mitosis"
    score = keys.optional("confidence")
    facts["confidence"] = keys.optional("score") if score is None else score
    shapes = [(tag, part) for tag in _SHAPES for part in element.iterfind(tag)]
    if not shapes:
        found = ", ".join(dict.fromkeys(part.tag for part in element))
        detail = f"no {', '.join(_SHAPES)} in the object (found: {found or 'nothing'})"
        reading.drop("shape", detail[:200], file=file, where=where)
        return
    tag, part = shapes[0]
    if len(shapes) > 1 and shapes[1][0] == tag:
        raise InputError(f"more than one <{tag}> in an object", file=file, where=where)
    _SHAPES[tag](Keys(_texts(part), file, f"{where}/{tag}"), reading, facts)


def _texts(element: Element) -> dict[str, str]:
    """The text in each child element; of an empty one, nothing."""
    return {part.tag: (part.text or "").strip() for part in element}


def _rotated(keys: Keys, reading: Reading, facts: dict[str, Any]) -> None:
    """Centre, full sides, and the angle in radians, clockwise on the screen."""
    center = (keys.number("cx"), keys.number("cy"))
    width, height = keys.length("w"), keys.length("h")
    corners = rectangle_corners(center, width, height, keys.number("angle"))
    reading.shape(Polygon((tuple(corners),)), kind="rectangle", **facts)


def _polygon(keys: Keys, reading: Reading, facts: dict[str, Any]) -> None:
    """Points as `x1`, `y1`, `x2`, ..."""
    n = (len(keys.element) + 1) // 2
    ring = opened([(keys.number(f"x{i}"), keys.number(f"y{i}")) for i in range(1, n + 1)])
    if len(ring) < 3:
        detail = "polygon of fewer than 3 points"
        reading.drop("no_extent", detail, file=facts["file"], where=facts["where"])
    else:
        reading.shape(Polygon((ring,)), kind="polygon", **facts)


def _box(keys: Keys, reading: Reading, facts: dict[str, Any]) -> None:
    first = 1 if reading.options.one_based else 0
    left, right = _span(keys, "xmin", "xmax", first)
    top, bottom = _span(keys, "ymin", "ymax", first)
    reading.box((left, top, right, bottom), **facts)


def _span(keys: Keys, low: str, high: str, first: int) -> tuple[float, float]:
    start, end = keys.number(low), keys.number(high)
    if start > end:
        raise InputError(
            f"{low} {start:g} is greater than {high} {end:g}", file=keys.file, where=keys.where
        )
    return start - first, end


_SHAPES: dict[str, Callable[[Keys, Reading, dict[str, Any]], None]] = {
    "robndbox": _rotated,
    "polygon": _polygon,
    "bndbox": _box,
}
"""Element of an object -> what adds it; the first that is there is the most exact."""


# --- writing ----------------------------------------------------------------------------------


def write(found: AnnotationSet, note: Note) -> Iterator[tuple[str, str]]:
    """One document an image: its boxes in px, 0-based, never rounded.

    Raises
    ------
    InputError
        The size of an image is not known.
    """
    for image, items in found.by_image():
        yield f"{image.file_stem}.xml", _document(image, items)


def _document(image: ImageInfo, items: list[Annotation]) -> str:
    width, height = needed_size(image, "voc")
    root = Element("annotation")
    _put(root, "folder", image.path.parent.name if image.path else "")
    _put(root, "filename", _file_name(image))
    size = SubElement(root, "size")
    for tag, value in (("width", width), ("height", height), ("depth", 3)):
        _put(size, tag, str(value))
    _put(root, "segmented", "0")
    for item in items:
        if item.box is None:
            raise ValueError(f"{item.where} has no box; prepare comes first")
        _put_object(root, item, item.box, (width, height))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _file_name(image: ImageInfo) -> str:
    """The image's file name; with its folders where the source needs them to be unique."""
    name = image.file_name
    return f"{image.source}{name[len(stem(name)) :]}" if "/" in image.source else name


def _put_object(root: Element, item: Annotation, box: Box, size: tuple[int, int]) -> None:
    left, top, right, bottom = box
    cut = left <= 0 or top <= 0 or right >= size[0] or bottom >= size[1]
    element = SubElement(root, "object")
    _put(element, "name", item.label)
    _put(element, "pose", "Unspecified")
    _put(element, "truncated", str(int(cut)))
    _put(element, "difficult", "0")
    if item.confidence is not None:
        _put(element, "confidence", repr(float(item.confidence)))
    corners = SubElement(element, "bndbox")
    for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
        _put(corners, tag, repr(float(value)))


_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped."""


def _put(parent: Element, tag: str, text: str) -> None:
    SubElement(parent, tag).text = _NO_XML.sub("\ufffd", text)
