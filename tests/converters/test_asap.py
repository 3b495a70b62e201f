"""ASAP: types of annotations, order of points, decimal commas, groups as classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
from conftest import picture

from converters.asap import group_labels, outline, read
from converters.errors import InputError
from converters.model import AnnotationSet
from converters.read_options import ReadOptions


def coordinates(*points: tuple[Any, Any]) -> str:
    inside = "".join(
        f'<Coordinate Order="{i}" X="{x}" Y="{y}" />' for i, (x, y) in enumerate(points)
    )
    return f"<Coordinates>{inside}</Coordinates>"


def annotation(kind: str, inside: str, group: str | None = "None") -> str:
    part = "" if group is None else f' PartOfGroup="{group}"'
    return f'<Annotation Name="n" Type="{kind}"{part} Color="#F4FA58">{inside}</Annotation>'


def asap(path: Path, *annotations: str, groups: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '<?xml version="1.0"?>\n<ASAP_Annotations>\n\t<Annotations>'
        f"{''.join(annotations)}</Annotations>\n\t<AnnotationGroups>{groups}</AnnotationGroups>\n"
        "</ASAP_Annotations>\n"
    )
    return path


def only(root: Path, *annotations: str, groups: str = "", **options: Any) -> AnnotationSet:
    """What is read of one slide with these annotations."""
    picture(root / "s.png", 200, 100)
    asap(root / "s.xml", *annotations, groups=groups)
    return read(root, ReadOptions(**options))


SQUARE = coordinates((2, 2), (8, 2), (8, 6), (2, 6))


@pytest.mark.parametrize(
    ("kind", "inside", "expected", "box", "area"),
    [
        ("Polygon", SQUARE, "polygon", (2, 2, 8, 6), 24),
        ("Rectangle", SQUARE, "box", (2, 2, 8, 6), 24),
        ("Rectangle", coordinates((5, 1), (9, 5), (5, 9), (1, 5)), "rectangle", (1, 1, 9, 9), 32),
        ("Spline", coordinates((0, 0), (6, 0), (0, 6)), "polygon", (0, 0, 6, 6), 18),
        # a closing point that repeats the first is no point of its own
        ("Polygon", coordinates((0, 0), (6, 0), (0, 6), (0, 0)), "polygon", (0, 0, 6, 6), 18),
        ("Dot", coordinates((7.25, 8)), "point", None, None),
    ],
)
def test_every_type(
    tmp_path: Path, kind: str, inside: str, expected: str, box: Any, area: float | None
) -> None:
    (item,) = only(tmp_path, annotation(kind, inside)).annotations
    assert (item.kind, item.box, item.area) == (expected, box, area)
    assert (item.label, item.source, item.confidence) == ("mitosis", "s", None)
    assert Path(item.file).name == "s.xml"
    if expected == "polygon":
        assert item.shape and len(item.shape.outline().rings[0]) in (3, 4)


def test_each_point_is_an_annotation(tmp_path: Path) -> None:
    found = only(
        tmp_path,
        annotation("PointSet", coordinates((1, 2), (3.5, 4), (5, 6)), "mitosis"),
        annotation("Dot", coordinates((7, 8), (9, 10)), "imposter"),
    )
    assert [(item.label, item.x, item.y, item.where) for item in found.annotations] == [
        ("mitosis", 1, 2, "Annotation[1]/Coordinate[1]"),
        ("mitosis", 3.5, 4, "Annotation[1]/Coordinate[2]"),
        ("mitosis", 5, 6, "Annotation[1]/Coordinate[3]"),
        ("imposter", 7, 8, "Annotation[2]/Coordinate[1]"),
        ("imposter", 9, 10, "Annotation[2]/Coordinate[2]"),
    ]


def test_points_are_joined_in_their_order(tmp_path: Path) -> None:
    square = (
        '<Coordinates><Coordinate Order="10" X="0" Y="4"/><Coordinate Order="2" X="4" Y="4"/>'
        '<Coordinate Order="0" X="0" Y="0"/><Coordinate Order="1" X="4" Y="0"/></Coordinates>'
    )
    (item,) = only(tmp_path, annotation("Polygon", square)).annotations
    assert item.area == 16  # in the file's order, it would cross itself
    element = fromstring(annotation("Polygon", square))
    assert outline(element, "f", "w") == [(0, 0), (4, 0), (4, 4), (0, 4)]
    coordinates = element.findall("Coordinates/Coordinate")
    del coordinates[2].attrib["Order"]  # which is taken for its place in the file
    coordinates[0].set("Order", "0")
    assert outline(element, "f", "w") == [(0, 4), (4, 0), (4, 4), (0, 0)]
    for child in coordinates:
        child.attrib.pop("Order", None)
    assert outline(element, "f", "w") == [(0, 4), (4, 4), (0, 0), (4, 0)]


def test_decimal_commas(tmp_path: Path) -> None:
    dots = annotation("PointSet", coordinates(("100,5", "7"), ("1e1", "2,25")))
    found = only(tmp_path, dots)
    assert [(item.x, item.y) for item in found.annotations] == [(100.5, 7), (10, 2.25)]
    with pytest.raises(InputError, match=r"Coordinate\[1\], key `X`: '1\.000\.5' is not a number"):
        only(tmp_path, annotation("Dot", coordinates(("1.000,5", 1))))


@pytest.mark.parametrize(
    ("group", "label"),
    [
        ("None", "mitosis"),
        ("", "mitosis"),
        (None, "mitosis"),
        ("Mitotic figure", "mitosis"),
        ("Hard-negative", "imposter"),
        ("Tumor", "Tumor"),
        ("not listed", "not listed"),
        ("certain", "mitosis"),
        ("sure", "mitosis"),
        ("quite sure", "mitosis"),
        ("no mitosis of mine", "imposter"),
        ("loop", "loop"),
        ("self", "self"),
    ],
)
def test_classes_are_groups(tmp_path: Path, group: str | None, label: str) -> None:
    groups = "".join(
        f'<Group Name="{name}" PartOfGroup="{above}" Color="#64FE2E"><Attributes /></Group>'
        for name, above in (
            ("sure", "certain"),
            ("certain", "mitosis"),
            ("mitosis", "imposter"),  # the nearest name counts
            ("quite sure", "certain"),
            ("no mitosis of mine", "imposter"),
            ("imposter", "None"),
            ("loop", "loop 2"),
            ("loop 2", "loop"),
            ("self", "self"),
            ("Tumor", "None"),
        )
    )
    (item,) = only(
        tmp_path, annotation("Dot", coordinates((1, 1)), group), groups=groups
    ).annotations
    assert item.label == label


def test_a_chain_of_many_groups() -> None:
    chain = "".join(f'<Group Name="{i}" PartOfGroup="{i + 1}"/>' for i in range(20_000))
    labels = group_labels(
        fromstring(f'<g>{chain}<Group Name="20000" PartOfGroup="mitosis"/><Group/></g>')
    )
    assert labels["0"] == labels["20000"] == "mitosis" and len(labels) == 20_001


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (annotation("Measurement", coordinates((1, 1), (5, 5))), "shape"),
        (annotation("None", SQUARE), "shape"),
        (annotation("dot", coordinates((1, 1))), "shape"),
        (annotation("Polygon", coordinates((1, 1), (5, 5))), "no_extent"),
        (annotation("Rectangle", coordinates((1, 1), (5, 5), (1, 1))), "no_extent"),
        (annotation("Polygon", coordinates((1, 1), (5, 1), (9, 1))), "no_extent"),
        (annotation("Rectangle", coordinates((1, 1), (5, 1), (5, 1), (1, 1))), "no_extent"),
    ],
)
def test_what_marks_no_cell(tmp_path: Path, item: str, reason: str) -> None:
    found = only(tmp_path, item)
    assert found.reasons() == {reason: 1} and not found.annotations
    assert found.dropped[0].where == "Annotation[1]"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("<Annotation/>", r"s\.xml, Annotation\[1\]: no key `Type`"),
        (annotation("Dot", ""), r"Annotation\[1\]: no element <Coordinates> in <Annotation>"),
        (annotation("Dot", "<Coordinates/>"), r"Annotation\[1\]: no <Coordinate> in <Coordinates>"),
        (annotation("Polygon", "<Coordinates/>"), "no <Coordinate> in <Coordinates>"),
        (
            annotation("Dot", coordinates(("x", 1))),
            r"Coordinate\[1\], key `X`: 'x' is not a number",
        ),
        (annotation("Polygon", coordinates((1, 1), (2, "inf"))), r"Coordinate\[2\], key `Y`: inf"),
        (
            annotation("Polygon", '<Coordinates><Coordinate X="1" Y="2" Order="x"/></Coordinates>'),
            r"Annotation\[1\]/Coordinate\[1\], key `Order`: 'x'",
        ),
        (annotation("Dot", '<Coordinates><Coordinate X="1"/></Coordinates>'), "no key `Y`"),
        (annotation("Polygon", coordinates((1, 1), ("1_0", 2), (3, 3))), "'1_0' is not a number"),
        (annotation("Polygon", coordinates((1, 1), (2, 2), (3, "2e12"))), "2e12 is too large"),
    ],
)
def test_a_malformed_annotation(tmp_path: Path, item: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        only(tmp_path, item)
    assert read(tmp_path, ReadOptions(bad="drop")).reasons() == {"malformed": 1}


def test_a_bad_point_costs_no_other(tmp_path: Path) -> None:
    dots = annotation("PointSet", coordinates((1, 1), ("nan", 1), (3, 3)))
    found = only(tmp_path, dots, bad="drop")
    assert [item.x for item in found.annotations] == [1, 3]
    assert [(drop.where, drop.reason) for drop in found.dropped] == [
        ("Annotation[1]/Coordinate[2], key `X`", "malformed")
    ]


def test_a_file_without_a_list_of_annotations(tmp_path: Path) -> None:
    picture(tmp_path / "s.png")
    (tmp_path / "s.xml").write_text("<ASAP_Annotations/>")
    with pytest.raises(InputError, match=r"s\.xml: no element <Annotations> in <ASAP_Annotations>"):
        read(tmp_path, ReadOptions())
    (tmp_path / "s.xml").write_text("<ASAP_Annotations><Annotations/></ASAP_Annotations>")
    found = read(tmp_path, ReadOptions())
    assert [image.source for image in found.images] == ["s"] and not found.read


def test_slides_in_folders(tmp_path: Path) -> None:
    for name in ("p1/he.png", "p2/he.png"):
        picture(tmp_path / "slides" / name)
        asap(tmp_path / "xml" / Path(name).with_suffix(".xml"), annotation("Dot", SQUARE))
    found = read(tmp_path / "xml", ReadOptions(images=tmp_path / "slides"))
    assert [(image.source, image.case) for image in found.images] == [
        ("p1/he", "p1/he"),
        ("p2/he", "p2/he"),
    ]
    assert len(found.annotations) == 8
    one = read(tmp_path / "xml" / "p1" / "he.xml", ReadOptions(annotations_only=True))
    assert [image.source for image in one.images] == ["he"]
