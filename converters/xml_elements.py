"""What the readers of XML formats share: the right root element, places, vertices, one file an
image.

A place is an XPath below the root, counted from 1 as XPath does: ``Annotation[3]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from xml.etree.ElementTree import Element

from converters.errors import InputError
from converters.files import read_xml
from converters.geometry import Point
from converters.keys import Keys
from converters.reading import Reading

T = TypeVar("T")

_FORMATS = {
    "annotation": "voc",
    "ASAP_Annotations": "asap",
    "Annotations": "imagescope",
    "annotations": "cvat",
}
"""Root element -> the format that has it."""


def read_root(path: Path, tag: str) -> Element:
    """The root element of an XML file, which must be called ``tag``.

    Raises
    ------
    InputError
        The file is no XML, or its root element is another one.
    """
    root = read_xml(path)
    if root.tag != tag:
        other = _FORMATS.get(root.tag)
        raise InputError(
            f"the root element is <{root.tag:.40}>, expected <{tag}>",
            file=path,
            fix=f"read it by --from {other}"
            if other
            else "keep other XML files out of the folder, or leave them out by --bad drop",
        )
    return root


def child(parent: Element, tag: str, file: str, where: str | None = None) -> Element:
    """The child element called ``tag``, which must be there.

    Raises
    ------
    InputError
        There is none.
    """
    found = parent.find(tag)
    if found is None:
        raise InputError(f"no element <{tag}> in <{parent.tag}>", file=file, where=where)
    return found


def numbered(parent: Element, tag: str, where: str = "") -> Iterator[tuple[str, Element]]:
    """The children called ``tag``, each with its place below ``where``."""
    above = f"{where}/" if where else ""
    for i, element in enumerate(parent.findall(tag), 1):
        yield f"{above}{tag}[{i}]", element


def point_of(element: Element, file: str, where: str) -> Point:
    """`X` and `Y` of a vertex in px; a decimal comma is a decimal point.

    ASAP writes numbers as the computer's locale does, so that `100,5` is met.

    Raises
    ------
    InputError
        Either is missing or no finite number.
    """
    attributes = element.attrib
    if "," in attributes.get("X", "") or "," in attributes.get("Y", ""):
        attributes = {key: attributes.get(key, "").replace(",", ".") for key in ("X", "Y")}
    keys = Keys(attributes, file, where)
    return (keys.number("X"), keys.number("Y"))


def points_of(elements: Sequence[Element], file: str, where: str) -> list[Point]:
    """:func:`point_of` each of some elements of one name, counted from 1 below ``where``."""
    points = []
    for i, element in enumerate(elements, 1):
        across, down = element.get("X", ""), element.get("Y", "")
        try:  # slides have millions of vertices: the common case is quick
            x, y = float(across), float(down)
            plain = abs(x) < _PLAIN and abs(y) < _PLAIN and "_" not in across + down
        except ValueError:
            plain = False
        points.append((x, y) if plain else point_of(element, file, f"{where}/{element.tag}[{i}]"))
    return points


_PLAIN = 1e9  # px; a greater number, or NaN, is looked at more closely


def own_name(path: Path, root: Element | None, reading: Reading) -> str:
    """The name of the image that an XML file of the same name is about."""
    return path.relative_to(reading.root).with_suffix("").as_posix()


def one_an_image(
    reading: Reading,
    tag: str,
    parse: Callable[[Element, str], T],
    *,
    name: Callable[[Path, Element | None, Reading], str] = own_name,
    facts: Callable[[Element, str], dict[str, Any]] | None = None,
) -> Iterator[tuple[str, str, T]]:
    """Go through the ``*.xml`` files of a format with one file an image.

    Parameters
    ----------
    reading : Reading
        Its images are named here.
    tag : str
        The root element.
    parse : callable
        Root element and file to what is yielded; an InputError makes the file unreadable.
    name : callable
        File, root element (None: unreadable) and reading to the name of its image.
    facts : callable, optional
        Root element and file to what :meth:`~converters.reading.Reading.image` is told of the
        image.

    Yields
    ------
    (file, source, parsed)

    Raises
    ------
    InputError
        A file cannot be read, has no image, or is the second about its image (each is counted
        under ``bad="drop"``).
    """
    first: dict[str, Path] = {}
    for path in reading.files(".xml"):
        root = parsed = None
        told: dict[str, Any] = {}
        with reading.lenient("unreadable_file"):
            root = read_root(path, tag)
            told = facts(root, str(path)) if facts else {}
            parsed = parse(root, str(path))
        source = reading.image(name(path, root, reading), file=path, **told)
        if parsed is None:
            reading.unreadable(source, path)
        elif first.setdefault(source, path) is path:
            yield str(path), source, parsed
        else:
            with reading.lenient("unreadable_file"):
                raise InputError(
                    f"a second annotation file of the image {source!r:.80} (the first: "
                    f"{first[source]})",
                    file=path,
                    fix="keep one of them, or read their folders one by one",
                )
