"""The large_image schema: every element and document, and what is no such thing."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import document, ellipse
from damaged import Place, check_damage
from hypothesis import given, settings
from hypothesis import strategies as st
from roundtrip import annotation_sets, check_round_trip, marked

from converters import cadd4mbc
from converters.errors import InputError
from converters.large_image import add_element, add_elements, elements_of, write
from converters.model import Annotation, AnnotationSet, Drop
from converters.read_options import ReadOptions
from converters.reading import Reading
from converters.shapes import Ellipse, Polygon, Shape


def parse(element: Any) -> Annotation | Drop:
    reading = Reading(Path("a.json"), ReadOptions(annotations_only=True))
    add_element(element, reading, source="s", file="a.json", where="elements[3]")
    [item] = [*reading.found.annotations, *reading.found.dropped]
    return item


SQUARE = [[2, 2, 0], [8, 2, 0], [8, 6, 0], [2, 6, 0]]


@pytest.mark.parametrize(
    ("element", "x", "y", "box", "area"),
    [
        (ellipse(209.7, 190.5, 43, 31), 209.7, 190.5, (188.2, 175, 231.2, 206), 333.25 * math.pi),
        (ellipse(20, 20, 8, 4, rotation=math.pi / 2), 20, 20, (18, 16, 22, 24), 8 * math.pi),
        (ellipse(20, 20, 8, 4, rotation=None), 20, 20, (16, 18, 24, 22), 8 * math.pi),
        ({"type": "circle", "center": [5, 6], "radius": 2}, 5, 6, (3, 4, 7, 8), 4 * math.pi),
        (
            {"type": "rectangle", "center": [5, 6, 0], "width": 4, "height": 2, "rotation": 0},
            5, 6, (3, 5, 7, 7), 8,
        ),
        (
            {"type": "rectangle", "center": [5, 6, 0], "width": 4, "height": 2,
             "rotation": math.pi / 2},
            5, 6, (4, 4, 6, 8), 8,
        ),
        ({"type": "polyline", "points": SQUARE, "closed": True}, 5, 4, (2, 2, 8, 6), 24),
        (
            {"type": "polyline", "points": SQUARE,
             "holes": [[[3, 3, 0], [5, 3, 0], [5, 5, 0], [3, 5, 0]]]},
            5.2, 4, (2, 2, 8, 6), 20,  # (24 x 5 - 4 x 4) / 20
        ),
        ({"type": "polyline", "points": [[0, 0], [6, 0], [0, 6]]}, 2, 2, (0, 0, 6, 6), 18),
        ({"type": "point", "center": [7.25, 8, 0]}, 7.25, 8, None, None),
    ],
)  # fmt: skip
def test_every_shape(
    element: dict[str, Any],
    x: float,
    y: float,
    box: tuple[float, ...] | None,
    area: float | None,
) -> None:
    item = parse(element)
    assert isinstance(item, Annotation)
    assert (item.x, item.y) == pytest.approx((x, y))
    assert item.box == (box and pytest.approx(box))
    assert item.area == (area and pytest.approx(area))
    assert (item.kind, item.label, item.source) == (element["type"], "mitosis", "s")


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        ({"type": "arrow", "points": [[0, 0, 0], [1, 1, 0]]}, "shape"),
        ({"type": ["ellipse"]}, "shape"),
        ({}, "shape"),
        (ellipse(5, 5, 0, 4), "no_extent"),
        ({"type": "circle", "center": [5, 5, 0], "radius": 0}, "no_extent"),
        ({"type": "rectangle", "center": [5, 5, 0], "width": 2, "height": 0}, "no_extent"),
        ({"type": "polyline", "points": [[1, 1, 0], [9, 1, 0]]}, "no_extent"),
        ({"type": "polyline", "points": [[1, 1, 0], [9, 6, 0]]}, "no_extent"),
        ({"type": "polyline", "points": [[0.1, 0.1], [0.3, 0.7], [0.2, 0.4]]}, "no_extent"),
    ],
)
def test_what_marks_no_cell_is_dropped_with_a_reason(element: Any, reason: str) -> None:
    item = parse(element)
    assert isinstance(item, Drop)
    assert (item.file, item.where, item.reason) == ("a.json", "elements[3]", reason)


@pytest.mark.parametrize(
    ("element", "message"),
    [
        (ellipse(float("nan"), 5), r"a\.json, elements\[3\], key `center`: nan is not a finite"),
        (ellipse(5, 5, "wide"), r"elements\[3\], key `width`: 'wide' is not a number"),
        (ellipse(5, 5, -2), r"key `width`: -2\.0 is negative"),
        (ellipse(5, 5, rotation=True), r"key `rotation`: True is not a number"),
        (ellipse(5, 5, float("inf")), r"key `width`: inf is not a finite"),
        (ellipse(5, 5, 10**400), r"key `width`: 1000.* is not a number"),
        ({"type": "ellipse", "center": [1, 2, 0]}, "no key `width`"),
        (
            {"type": "ellipse", "center": [1], "width": 1, "height": 1},
            r"key `center`: expected \[x",
        ),
        ({"type": "point", "center": "5,5"}, r"key `center`: expected \[x, y\]"),
        ({"type": "polyline", "points": []}, "key `points`: expected a list"),
        ({"type": "polyline", "points": [[0, 0], [1, None]]}, r"key `points\[1\]`: None"),
        ({"type": "circle", "center": [1, 2, 0]}, "no key `radius`"),
        (ellipse(5, 5, rotation=90), r"key `rotation`: a rotation of 90, expected radians"),
        ("ellipse", "expected an object"),
        (None, "expected an object"),
    ],
)
def test_a_malformed_element_is_named(element: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(element)


@pytest.mark.parametrize(
    ("extra", "label"),
    [
        ({}, "mitosis"),
        ({"label": {"value": "Non-mitosis"}}, "imposter"),
        ({"group": "Hard negative"}, "imposter"),
        ({"label": {"value": "mitosis"}, "group": "imposter"}, "mitosis"),
        ({"label": {"value": ""}, "group": None}, "mitosis"),
        ({"label": {"value": "Tumour"}}, "Tumour"),
    ],
)
def test_class_of_an_element(extra: dict[str, Any], label: str) -> None:
    item = parse(ellipse(5, 5, **extra))
    assert isinstance(item, Annotation) and item.label == label


KEYS = ("center", "width", "height", "rotation", "radius", "points", "holes", "label", "group")
VALUES = [
    *(None, True, "x", "5", "\ud800", math.nan, math.inf, 1e308, 1e-320, 10**400, -1, 0, 5, 7.5),
    *([], {}, [5, 6], [5, 6, 0], [1e308, -1e308], [[5, 6]], [None, 5], {"value": "fat"}),
    [[0, 0], [9, 0], [9, 9], [0, 9]],
    [[-1e308, 0], [1e308, 1e308], [0, -1e308]],
    [[0, 0], [1e-320, 1e-320], [1e-320, 0]],
    [[[1, 1], [3, 1], [3, 3]]],
]


@given(
    st.sampled_from(["ellipse", "circle", "rectangle", "polyline", "point"]),
    st.fixed_dictionaries({}, optional={key: st.sampled_from(VALUES) for key in KEYS}),
)
@settings(max_examples=1000)
def test_no_element_crashes_the_reader(kind: str, keys: dict[str, Any]) -> None:
    try:
        item = parse({"type": kind, **keys})
    except InputError:
        return
    assert isinstance(item, Annotation | Drop)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ({"annotation": {"elements": [1, 2]}}, ["elements[0]", "elements[1]"]),
        ({"name": "bare", "elements": [1]}, ["elements[0]"]),
        ({"elements": []}, []),
        ({"type": "polyline", "points": [[1, 2]]}, ["the element"]),
        ([{"elements": [1]}, {"annotation": {"elements": [2]}}],
         ["[0].elements[0]", "[1].elements[0]"]),
        ([], []),
    ],
)  # fmt: skip
def test_where_elements_stand(text: Any, places: list[str]) -> None:
    assert [where for where, _ in elements_of(text, "a.json")] == places


@pytest.mark.parametrize("text", [{}, 3, None, {"annotation": 3}, {"elements": {}}, [[]], [[[1]]]])
def test_not_a_document(text: Any) -> None:
    with pytest.raises(InputError, match=r"a\.json.*not an annotation document"):
        elements_of(text, "a.json")


# --- what `user` holds, and annotations of several elements -----------------------------------


@pytest.mark.parametrize(
    ("user", "confidence"),
    [
        ({"confidence": 0.8}, 0.8),
        ({"confidence": 0}, 0.0),
        ({"confidence": "high"}, None),  # anyone's: the schema leaves it free
        ({"other": 1}, None),
        ({}, None),
        (None, None),
        (7, None),
    ],
)
def test_confidence_is_what_the_user_field_says(user: Any, confidence: float | None) -> None:
    item = parse(ellipse(5, 5, user=user))
    assert isinstance(item, Annotation) and item.confidence == confidence


def test_a_confidence_that_is_no_number_is_named() -> None:
    with pytest.raises(InputError, match=r"key `user`, key `confidence`: nan is not a finite"):
        parse(ellipse(5, 5, user={"confidence": math.nan}))


def line(*points: tuple[float, float], **more: Any) -> dict[str, Any]:
    return {"type": "polyline", "points": [[x, y, 0] for x, y in points], "closed": True, **more}


LEFT, RIGHT = ((0, 0), (2, 0), (2, 2), (0, 2), (0, 0)), ((6, 0), (8, 0), (8, 2), (6, 2))


def add(*elements: Any, bad: str = "stop") -> AnnotationSet:
    reading = Reading(Path("a.json"), ReadOptions(annotations_only=True, bad=bad))
    places = [(f"elements[{i}]", element) for i, element in enumerate(elements)]
    add_elements(places, reading, source="s", file="a.json")
    return reading.found


def test_rings_of_one_annotation_are_one() -> None:
    part = {"user": {"mitoyolo_part_of": "abc"}}
    found = add(line(*LEFT, **part), ellipse(30, 30), line(*RIGHT, **part))
    first, second = found.annotations
    assert isinstance(first.shape, Polygon)
    assert [len(ring) for ring in first.shape.rings] == [4, 4]
    assert (first.box, first.area, first.x, first.where) == ((0, 0, 8, 2), 8, 4, "elements[0]")
    assert second.kind == "ellipse" and found.read == 2


@pytest.mark.parametrize(
    "other", [ellipse(5, 5), line((0, 0)) | {"points": 3}, line(*RIGHT) | {"type": "arrow"}]
)
def test_a_damaged_part_takes_its_annotation_along(other: Any) -> None:
    part = {"user": {"mitoyolo_part_of": "abc"}}
    with pytest.raises(InputError, match=r"a\.json, elements\[1\]"):
        add(line(*LEFT, **part), other | part)
    found = add(line(*LEFT, **part), other | part, line(*RIGHT), bad="drop")
    assert [drop.reason for drop in found.dropped] == ["malformed"]
    assert [item.where for item in found.annotations] == ["elements[2]"]


def test_only_rings_are_parts() -> None:
    part = {"user": {"mitoyolo_part_of": "abc"}}
    with pytest.raises(InputError, match=r"elements\[1\]: only polylines can be"):
        add(ellipse(5, 5, **part), line(*LEFT, **part))


# --- written ----------------------------------------------------------------------------------


def written(*items: Annotation) -> list[dict[str, Any]]:
    [(name, text)] = write(marked(*items), lambda line: None)
    assert name == "s.json"
    content = json.loads(text)
    assert (content["name"], content["description"]) == ("s", "")
    return content["elements"]


def mark(shape: Shape | None, kind: str, **facts: Any) -> Annotation:
    x, y = shape.centroid if shape else (5.5, 6.25)
    box = shape.box if shape else (1.0, 2.0, 10.0, 10.5)
    facts = {"label": "mitosis", **facts}
    return Annotation(
        source="s", x=x, y=y, kind=kind, box=box, shape=shape, file="f", where="w", **facts
    )


COLOUR = re.compile(r"^(rgb\(\d+,\s*\d+,\s*\d+\)|rgba\(\d+,\s*\d+,\s*\d+,\s*(\d?\.|)\d+\))$")
KEYS_OF = {
    "point": {"center"},
    "ellipse": {"center", "width", "height", "rotation", "normal"},
    "rectangle": {"center", "width", "height", "rotation", "normal"},
    "polyline": {"points", "closed", "holes"},
}
COMMON = {"id", "type", "label", "group", "lineColor", "lineWidth", "fillColor", "user"}


def test_elements_are_what_the_schema_allows() -> None:
    hole = ((0.5, 0.5), (1.0, 0.5), (1.0, 1.0))
    elements = written(
        mark(None, "point"),
        mark(None, "box", confidence=0.8),
        mark(Ellipse(20, 30, 8, 4, 0.3), "ellipse", label="imposter"),
        mark(Polygon((LEFT[:4],), (hole,)), "polygon"),
    )
    assert [element["type"] for element in elements] == [
        "point",
        "rectangle",
        "ellipse",
        "polyline",
    ]
    for element in elements:
        assert element.keys() <= COMMON | KEYS_OF[element["type"]]
        assert re.fullmatch("[0-9a-f]{24}", element["id"])
        assert COLOUR.match(element["lineColor"]) and COLOUR.match(element["fillColor"])
        assert element["group"] == element["label"]["value"]
    point, box, turned, polygon = elements
    assert point["center"] == [5.5, 6.25, 0]
    assert (box["center"], box["width"], box["height"]) == ([5.5, 6.25, 0], 9, 8.5)
    assert (box["rotation"], box["user"]) == (0, {"confidence": 0.8})
    assert (turned["width"], turned["height"], turned["rotation"]) == (8, 4, 0.3)
    assert turned["label"] == {"value": "imposter"} and "user" not in turned
    assert polygon["points"] == [[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]]
    assert polygon["holes"] == [[[0.5, 0.5, 0], [1, 0.5, 0], [1, 1, 0]]]
    assert polygon["closed"] is True


def test_ids_are_unique_and_stay_the_same() -> None:
    items = [mark(None, "point"), mark(Polygon((LEFT[:4], RIGHT)), "polygon", confidence=0.5)]
    elements = written(*items)
    assert len({element["id"] for element in elements}) == 3
    assert elements == written(*items)
    assert [element["user"] for element in elements[1:]] == [
        {"confidence": 0.5, "mitoyolo_part_of": elements[1]["id"]}
    ] * 2


@annotation_sets
def test_what_is_written_is_read_back(found: AnnotationSet) -> None:
    check_round_trip(found, write, cadd4mbc.read, turned_ellipses=True)


def test_no_damage_crashes_the_reader(tmp_path: Path) -> None:
    path = document(
        tmp_path / "a.json",
        ellipse(9, 9, rotation=0.5, label={"value": "mitosis"}, user={"confidence": 0.5}),
        line(
            *LEFT, holes=[[[0.5, 0.5, 0], [1, 1, 0], [1, 0.5, 0]]], user={"mitoyolo_part_of": "p"}
        ),
        line(*RIGHT, user={"mitoyolo_part_of": "p"}),
        {"type": "point", "center": [3, 4, 0], "group": "imposter"},
    )

    def inside(place: Place) -> bool:
        return len(place) > 3 and "user" not in place

    check_damage(cadd4mbc.read, path, json.loads(path.read_text()), inside)
