"""The large_image schema: every element and document, and what is no such thing."""

from __future__ import annotations

import math
from typing import Any

import pytest
from conftest import ellipse
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.errors import InputError
from converters.large_image import elements_of, parse_element
from converters.model import Annotation, Drop


def parse(element: Any) -> Annotation | Drop:
    return parse_element(element, source="s", file="a.json", where="elements[3]")


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
            5, 4, (2, 2, 8, 6), 20,
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
