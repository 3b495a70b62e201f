"""What holds for all XML formats: roots, damaged and foreign files, the same shapes in each."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from conftest import picture
from hypothesis import given, settings
from hypothesis import strategies as st

from converters import asap, cvat, imagescope, voc
from converters.errors import InputError
from converters.model import AnnotationSet
from converters.read_options import ReadOptions
from converters.shapes import Polygon

READ: dict[str, Callable[[Path, ReadOptions], AnnotationSet]] = {
    "voc": voc.read,
    "asap": asap.read,
    "imagescope": imagescope.read,
    "cvat": cvat.read,
}

VOC = """<annotation><folder>f</folder><filename>s.png</filename>
<size><width>200</width><height>100</height><depth>3</depth></size>
<object><name>mitosis</name><difficult>0</difficult><score>0.5</score>
<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>12</ymax></bndbox></object>
<object><name>imposter</name>
<robndbox><cx>20</cx><cy>30</cy><w>8</w><h>4</h><angle>0.5</angle></robndbox></object>
<object><name>fat</name><polygon><x1>1</x1><y1>1</y1><x2>7</x2><y2>1</y2><x3>1</x3><y3>9</y3>
</polygon></object></annotation>"""

ASAP = """<ASAP_Annotations><Annotations>
<Annotation Name="a" Type="Dot" PartOfGroup="None"><Coordinates>
<Coordinate Order="0" X="100" Y="20"/></Coordinates></Annotation>
<Annotation Name="b" Type="Polygon" PartOfGroup="sure"><Coordinates>
<Coordinate Order="0" X="1" Y="2"/><Coordinate Order="1" X="9" Y="2"/>
<Coordinate Order="2" X="9" Y="8"/></Coordinates></Annotation>
<Annotation Name="c" Type="Rectangle" PartOfGroup="fat"><Coordinates>
<Coordinate Order="0" X="1" Y="2"/><Coordinate Order="1" X="9" Y="2"/>
<Coordinate Order="2" X="9" Y="8"/><Coordinate Order="3" X="1" Y="8"/></Coordinates></Annotation>
</Annotations><AnnotationGroups><Group Name="sure" PartOfGroup="mitosis"><Attributes/></Group>
</AnnotationGroups></ASAP_Annotations>"""

IMAGESCOPE = """<Annotations MicronsPerPixel="0.25"><Annotation Id="1" Name="" Type="4">
<Attributes><Attribute Name="Description" Value=""/></Attributes><Regions>
<Region Id="1" Type="2" Text="mitosis" NegativeROA="0"><Vertices>
<Vertex X="10" Y="20"/><Vertex X="30" Y="32"/></Vertices></Region>
<Region Id="2" Type="0" Text="" NegativeROA="0"><Vertices><Vertex X="50" Y="20"/>
<Vertex X="90" Y="20"/><Vertex X="90" Y="60"/><Vertex X="50" Y="60"/></Vertices></Region>
<Region Id="3" Type="5"><Vertices><Vertex X="7" Y="8"/></Vertices></Region>
</Regions></Annotation></Annotations>"""

CVAT = """<annotations><version>1.1</version><meta/>
<image id="0" name="s.png" width="200" height="100">
<ellipse label="mitosis" cx="50" cy="40" rx="20" ry="5" rotation="30">
<attribute name="score">0.5</attribute></ellipse>
<box label="mitosis" xtl="1" ytl="2" xbr="31" ybr="12"/>
<polygon label="fat" points="1,1;7,1;1,9"/><points label="mitosis" points="1,2"/>
<mask label="imposter" rle="5, 2, 5" left="10" top="20" width="4" height="3"/>
</image></annotations>"""

TEXTS = {"voc": VOC, "asap": ASAP, "imagescope": IMAGESCOPE, "cvat": CVAT}
ONE_AN_IMAGE = ("voc", "asap", "imagescope")
COUNTS = {"voc": 3, "asap": 3, "imagescope": 3, "cvat": 5}


@pytest.mark.parametrize("name", TEXTS)
def test_the_fixture_is_read(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "s.png", 200, 100)
    (tmp_path / "s.xml").write_text(TEXTS[name])
    found = READ[name](tmp_path, ReadOptions())
    assert len(found.annotations) == COUNTS[name] and not found.dropped
    assert [image.source for image in found.images] == ["s"]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("other", TEXTS)
def test_the_root_element_tells_formats_apart(tmp_path: Path, name: str, other: str) -> None:
    if name == other:
        return
    (tmp_path / "s.xml").write_text(TEXTS[other])
    root, wanted = (ElementTree.fromstring(TEXTS[key]).tag for key in (other, name))
    message = rf"s\.xml: the root element is <{root}>, expected <{wanted}>; .*--from {other}$"
    with pytest.raises(InputError, match=message):
        READ[name](tmp_path, ReadOptions(annotations_only=True))


@pytest.mark.parametrize("name", TEXTS)
def test_a_foreign_file_among_others(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "s.png", 200, 100)
    (tmp_path / "s.xml").write_text(TEXTS[name])
    (tmp_path / "scanner.xml").write_text("<settings/>")
    with pytest.raises(InputError, match=r"scanner\.xml: the root element is <settings>.*--bad"):
        READ[name](tmp_path, ReadOptions())
    for annotations_only in (False, True):
        options = ReadOptions(bad="drop", annotations_only=annotations_only)
        found = READ[name](tmp_path, options)
        assert found.reasons() == {"unreadable_file": 1}
        assert [image.source for image in found.images] == ["s"]
        assert len(found.annotations) == COUNTS[name]


@pytest.mark.parametrize("name", ONE_AN_IMAGE)
@pytest.mark.parametrize("unlabelled", ["background", "skip", "error"])
def test_the_image_of_a_damaged_file_is_never_background(
    tmp_path: Path, name: str, unlabelled: str
) -> None:
    picture(tmp_path / "s.png", 200, 100)
    picture(tmp_path / "t.png", 200, 100)
    (tmp_path / "s.xml").write_text(TEXTS[name])
    (tmp_path / "t.xml").write_text(TEXTS[name][:-9])
    with pytest.raises(InputError, match=r"t\.xml, line \d+, column \d+: not valid XML"):
        READ[name](tmp_path, ReadOptions())
    found = READ[name](tmp_path, ReadOptions(bad="drop", unlabelled=unlabelled))
    assert [image.source for image in found.images] == ["s"]
    assert found.reasons() == {"unreadable_file": 1}
    assert [(Path(item.file).name, item.reason) for item in found.left_out] == [
        ("t.png", "unreadable_file")
    ]


@pytest.mark.parametrize("name", ONE_AN_IMAGE)
def test_two_files_of_one_image(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "images" / "s.png", 200, 100)
    for reader in ("reader1", "reader2"):
        (tmp_path / reader).mkdir()
        (tmp_path / reader / "s.xml").write_text(TEXTS[name])
    message = (
        r"reader2.s\.xml: a second annotation file of the image 'images/s' \(the first: .*reader1"
    )
    with pytest.raises(InputError, match=message):
        READ[name](tmp_path, ReadOptions())
    found = READ[name](tmp_path, ReadOptions(bad="drop"))
    assert found.reasons() == {"unreadable_file": 1}
    assert len(found.annotations) == COUNTS[name]


def test_names_with_dots_and_suffixes(tmp_path: Path) -> None:
    for name in ("s.v1.png", "t.png", "u.PNG"):
        picture(tmp_path / "slides" / f"{name[:-4]}.png", 200, 100).rename(
            tmp_path / "slides" / name
        )
    for name in ("s.v1.xml", "t.png.xml", "u.XML"):
        (tmp_path / name).write_text(ASAP)
    found = asap.read(tmp_path, ReadOptions())
    assert [image.source for image in found.images] == ["s.v1", "t", "u"]


# --- one and the same shapes in every format ------------------------------------------------

size = st.floats(0.01, 500)
place = st.floats(0, 1e5)
SHAPES = st.lists(
    st.one_of(
        st.tuples(st.just("point"), place, place),
        st.tuples(st.just("box"), place, place, size, size),
        st.tuples(st.just("ellipse"), place, place, size, size),
        st.tuples(st.just("rectangle"), place, place, size, size, st.floats(-360, 360)),
        st.tuples(
            st.just("polygon"),
            st.lists(st.tuples(place, place), min_size=3, max_size=9, unique=True).filter(
                lambda ring: not Polygon((tuple(ring),)).is_line
            ),
        ),
    ),
    max_size=6,
)
Drawn = tuple[Any, ...]


def corners(x: float, y: float, width: float, height: float, degrees: float = 0) -> list[Any]:
    """Those of a rectangle around (x, y), turned clockwise on the screen."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    half = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    pairs = [(sx * width / 2, sy * height / 2) for sx, sy in half]
    return [(x + dx * cos - dy * sin, y + dx * sin + dy * cos) for dx, dy in pairs]


def as_asap(shapes: list[Drawn]) -> str:
    kinds = {"point": "Dot", "box": "Rectangle", "rectangle": "Rectangle", "polygon": "Polygon"}
    root = Element("ASAP_Annotations")
    found = ElementTree.SubElement(root, "Annotations")
    for kind, *numbers in shapes:
        points = {"point": [numbers], "polygon": numbers[0]}.get(kind) or corners(*numbers)
        item = ElementTree.SubElement(found, "Annotation", Type=kinds[kind], PartOfGroup="None")
        inside = ElementTree.SubElement(item, "Coordinates")
        for i, (x, y) in reversed(list(enumerate(points))):
            ElementTree.SubElement(inside, "Coordinate", Order=str(i), X=repr(x), Y=repr(y))
    return ElementTree.tostring(root, encoding="unicode")


def as_imagescope(shapes: list[Drawn]) -> str:
    kinds = {"point": "5", "box": "1", "rectangle": "1", "polygon": "0", "ellipse": "2"}
    root = Element("Annotations", MicronsPerPixel="0.25")
    layer = ElementTree.SubElement(root, "Annotation", Name="")
    regions = ElementTree.SubElement(layer, "Regions")
    for kind, *numbers in shapes:
        points = {"point": [numbers], "polygon": numbers[0]}.get(kind) or corners(*numbers)
        item = ElementTree.SubElement(regions, "Region", Type=kinds[kind], Text="")
        inside = ElementTree.SubElement(item, "Vertices")
        for x, y in points[::2] if kind == "ellipse" else points:
            ElementTree.SubElement(inside, "Vertex", X=repr(x), Y=repr(y), Z="0")
    return ElementTree.tostring(root, encoding="unicode")


def as_cvat(shapes: list[Drawn]) -> str:
    root = Element("annotations")
    image = ElementTree.SubElement(root, "image", name="s.png", width="1", height="1")
    for kind, *numbers in shapes:
        if kind in ("box", "rectangle"):
            x, y, width, height, *turn = numbers
            keys = {"xtl": x - width / 2, "ytl": y - height / 2,
                    "xbr": x + width / 2, "ybr": y + height / 2}  # fmt: skip
            keys |= {"rotation": turn[0]} if turn else {}
            name = "box"
        elif kind == "ellipse":
            x, y, width, height = numbers
            name, keys = "ellipse", {"cx": x, "cy": y, "rx": width / 2, "ry": height / 2}
        else:
            points = [numbers] if kind == "point" else numbers[0]
            name = {"point": "points"}.get(kind, kind)
            keys = {"points": ";".join(f"{x!r},{y!r}" for x, y in points)}
        facts = {key: value if name in ("points", "polygon") else repr(value)
                 for key, value in keys.items()}  # fmt: skip
        ElementTree.SubElement(image, name, label="mitosis", **facts)
    return ElementTree.tostring(root, encoding="unicode")


AS = {"asap": as_asap, "imagescope": as_imagescope, "cvat": as_cvat}


def facts(found: AnnotationSet) -> list[list[float]]:
    assert not found.dropped
    return [[item.x, item.y, *(item.box or ()), item.area or 0] for item in found.annotations]


@given(SHAPES)
def test_the_same_shapes_in_every_format(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[Drawn]
) -> None:
    root = tmp_path_factory.mktemp("same")

    def read(name: str, shapes: list[Drawn]) -> list[list[float]]:
        path = root / f"{name}.xml"
        path.write_text(AS[name](shapes))
        return facts(READ[name](path, ReadOptions(annotations_only=True)))

    def agree(first: list[list[float]], second: list[list[float]]) -> None:
        assert len(first) == len(second) == len(wanted)
        for a, b in zip(first, second, strict=True):
            assert a[:6] == pytest.approx(b[:6], rel=0, abs=1e-6)
            assert a[6:] == pytest.approx(b[6:], rel=1e-6, abs=1e-3)

    wanted = shapes
    scope = read("imagescope", shapes)
    agree(scope, read("cvat", shapes))
    wanted = [shape for shape in shapes if shape[0] != "ellipse"]  # which ASAP does not have
    agree(read("asap", wanted), read("cvat", wanted))


# --- hostile trees -----------------------------------------------------------------------------

BAD = (
    "", " ", "x", "nan", "-inf", "1e400", "9" * 5000, "1_000", "-1", "0", "0.5", "1e12", "None",
    "true", "\u0661", "1,5", ",", ";", "1;2", "../../etc/passwd", "/", "\\", "s.png", "mitosis",
    "0, 12", "12", "Polygon", "Dot", "2", "5",
)  # fmt: skip


def mutants(text: str) -> list[tuple[str, Callable[[Element], None]]]:
    """Every attribute and text set to every bad value, every part taken away, doubled, renamed."""
    result: list[tuple[str, Callable[[Element], None]]] = []
    for i, element in enumerate(ElementTree.fromstring(text).iter()):

        def change(
            what: str, do: Callable[[Element, Element | None], None], i: int = i
        ) -> tuple[str, Callable[[Element], None]]:
            def mutate(root: Element) -> None:
                above = {part: parent for parent in root.iter() for part in parent}
                part = list(root.iter())[i]
                do(part, above.get(part))

            return what, mutate

        for key in element.attrib:
            result.append(change(f"no {key}", lambda part, _, key=key: part.attrib.pop(key)))
            for bad in BAD:
                result.append(
                    change(f"{key}={bad}", lambda part, _, key=key, bad=bad: part.set(key, bad))
                )
        if not len(element):
            for bad in BAD:
                result.append(
                    change(f"text={bad}", lambda part, _, bad=bad: setattr(part, "text", bad))
                )
        result.append(change("gone", lambda part, above: above and above.remove(part)))
        result.append(change("twice", lambda part, above: above and above.append(part)))
        result.append(change("renamed", lambda part, _: setattr(part, "tag", "{x}y")))
        result.append(change("emptied", lambda part, _: part.clear()))
        result.append(
            change("comment", lambda part, _: part.insert(0, ElementTree.Comment("hello")))
        )
    return result


@pytest.mark.parametrize("name", TEXTS)
def test_damage_is_one_error_or_counted(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "s.png", 200, 100)
    path = tmp_path / "s.xml"
    rejected = 0
    for what, mutate in mutants(TEXTS[name]):
        root = ElementTree.fromstring(TEXTS[name])
        mutate(root)
        path.write_text(ElementTree.tostring(root, encoding="unicode"), encoding="utf-8")
        options: list[dict[str, Any]] = [{"annotations_only": True, "one_based": True}]
        for more in options if "=" in what else [*options, {}]:
            try:
                READ[name](path, ReadOptions(**more))
            except InputError as error:
                rejected += 1
                assert error.file == str(path) or error.file == path, what
                assert "\n" not in str(error), what
            found = READ[name](path, ReadOptions(bad="drop", **more))
            assert all(item.where or item.reason == "unreadable_file" for item in found.dropped)
            if "=" in what and "unreadable_file" not in found.reasons():
                # a changed value loses no annotation; one of several points becomes none or more
                assert found.read >= COUNTS[name], what
    assert rejected > 100


@given(st.text(alphabet='<>/="& ax', max_size=30))
@settings(max_examples=50)
def test_any_text_is_xml_or_an_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "s.xml"
    path.write_text(text)
    for read in READ.values():
        with pytest.raises(InputError):
            read(path, ReadOptions(annotations_only=True))


@pytest.mark.parametrize("name", TEXTS)
def test_a_deep_tree_within_a_document(tmp_path: Path, name: str) -> None:
    deep = "<a>" * 50_000 + "</a>" * 50_000
    ends = (
        *("</annotation>", "</object>", "</bndbox>", "</Annotations>", "</Coordinates>"),
        *("</Region>", "</Vertices>", "</annotations>", "</image>", "</ellipse>"),
    )
    for end in ends:
        if end in TEXTS[name]:
            (tmp_path / "s.xml").write_text(TEXTS[name].replace(end, deep + end, 1))
            found = READ[name](tmp_path / "s.xml", ReadOptions(annotations_only=True))
            assert len(found.annotations) == COUNTS[name]
