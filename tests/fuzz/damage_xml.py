"""Damage to an XML document: attributes, elements, entities, depth, and what it says of itself."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from defusedxml.ElementTree import fromstring

from fuzz import values
from fuzz.damage_bytes import damage_bytes

_DEPTH = 100_000
_DECLARATION = re.compile(r"^\s*<\?xml.*?\?>\s*", re.DOTALL)
_NO_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")

SECRET = "secret.txt"
"""A file beside the input, which an external entity names; its text may stand in no output."""


# --- elements ---------------------------------------------------------------------------------


def _attribute(rng: random.Random, element: Element) -> None:
    key = rng.choice(list(element.attrib) or ["x"])
    element.set(key, _clean(rng))


def _text(rng: random.Random, element: Element) -> None:
    element.text = _clean(rng)


def _clean(rng: random.Random) -> str:
    return _NO_XML.sub("\ufffd", str(values.any_value(rng)))


def _no_attribute(rng: random.Random, element: Element) -> None:
    if element.attrib:
        del element.attrib[rng.choice(list(element.attrib))]


def _gone(rng: random.Random, element: Element) -> None:
    if len(element):
        element.remove(rng.choice(list(element)))


def _again(rng: random.Random, element: Element) -> None:
    if len(element):
        element.extend([rng.choice(list(element))] * rng.choice((1, 300, 5000)))


def _renamed(rng: random.Random, element: Element) -> None:
    element.tag = rng.choice(
        (element.tag.upper(), "{urn:x}" + element.tag, "x", "points", "object")
    )


def _stranger(rng: random.Random, element: Element) -> None:
    element.insert(rng.randrange(len(element) + 1), rng.choice((Element("x"), Element("object"))))


_ELEMENTS: tuple[Callable[[random.Random, Element], None], ...] = (
    *(_attribute, _attribute, _attribute, _text, _text, _no_attribute),
    *(_gone, _again, _renamed, _stranger),
)


def _elements(rng: random.Random, text: str) -> str:
    root = fromstring(text)
    for _ in range(rng.choice((1, 1, 2, 4))):
        rng.choice(_ELEMENTS)(rng, rng.choice(list(root.iter())))
    return ElementTree.tostring(root, encoding="unicode")


# --- the document -----------------------------------------------------------------------------


def _bare(text: str) -> str:
    return _DECLARATION.sub("", text)


def _bomb(rng: random.Random, text: str) -> str:
    """Entities of entities, ten times ten, used where a number stands."""
    steps = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    return f'<!DOCTYPE x [<!ENTITY e0 "1">{steps}]>' + _bare(text).replace('"', '"&e11;', 1)


def _external(rng: random.Random, text: str) -> str:
    kind = rng.choice(("SYSTEM", 'PUBLIC "x"'))
    place = rng.choice((SECRET, f"../{SECRET}", "file:///etc/passwd", "http://127.0.0.1:9/x"))
    return f'<!DOCTYPE x [<!ENTITY e {kind} "{place}">]>' + _bare(text).replace(">", ">&e;", 1)


def _parameter(rng: random.Random, text: str) -> str:
    return f'<!DOCTYPE x [<!ENTITY % p SYSTEM "{SECRET}"> %p;]>' + _bare(text)


def _include(rng: random.Random, text: str) -> str:
    inside = f'<i:include xmlns:i="http://www.w3.org/2001/XInclude" parse="text" href="{SECRET}"/>'
    return text.replace("</", inside + "</", 1)


def _deep(rng: random.Random, text: str) -> str:
    return _bare(text).replace("</", "<a>" * _DEPTH + "</a>" * _DEPTH + "</", 1)


def _declared(rng: random.Random, text: str) -> str:
    name = rng.choice(("utf-16", "latin-1", "x", "utf-7", "cp037", "ascii", "rot13", "hex", "idna"))
    return f'<?xml version="1.0" encoding="{name}"?>' + _bare(text)


_DOCUMENT: dict[str, Callable[[random.Random, str], str]] = {
    "entity bomb": _bomb,
    "external entity": _external,
    "parameter entity": _parameter,
    "XInclude": _include,
    "depth": _deep,
    "declared encoding": _declared,
    "document type": lambda rng, text: '<!DOCTYPE x SYSTEM "x.dtd">' + _bare(text),
    "entity unknown": lambda rng, text: text.replace(">", ">&x;", 1),
    "namespace": lambda rng, text: re.sub(r"<(\w+)", r'<\1 xmlns="urn:x"', _bare(text), count=1),
    "two roots": lambda rng, text: _bare(text) * 2,
    "version": lambda rng, text: '<?xml version="9.9"?>' + _bare(text),
    "long attribute": lambda rng, text: _bare(text).replace(">", f' q="{"y" * 10**6}">', 1),
    "comments": lambda rng, text: _bare(text).replace("><", "><!-- x --><?x y?><"),
    "CDATA": lambda rng, text: re.sub(r">([^<]+)<", r"><![CDATA[\1]]><", _bare(text), count=5),
}


def damage_xml(rng: random.Random, path: Path) -> str:
    """Damage some elements of a document or the whole of it; what was done is returned."""
    text = path.read_text("utf-8", "replace")
    if rng.random() < 0.6:
        try:
            path.write_text(_elements(rng, text))
        except (ElementTree.ParseError, ValueError, RecursionError):  # damaged before
            return damage_bytes(rng, path)
        return "elements"
    name = rng.choice(tuple(_DOCUMENT))
    path.write_text(_DOCUMENT[name](rng, text))
    return name
