"""Closed lines as files hold them, and classes in several words."""

from __future__ import annotations

from typing import Any

import pytest

from converters.classes import class_of
from converters.errors import InputError
from converters.rings import box_corners, closed, nested, opened, upright_box
from converters.shapes import Polygon, Ring


def square(left: float, side: float) -> Ring:
    return box_corners((left, left, left + side, left + side))


def test_a_ring_is_opened_and_closed() -> None:
    ring = square(1, 2)
    assert opened([*ring, ring[0]]) == ring == opened(ring)
    assert closed(ring) == [[1, 1], [3, 1], [3, 3], [1, 3], [1, 1]]
    assert opened([(5, 5)]) == ((5, 5),)


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("step", [1, -1])
def test_four_upright_corners_are_a_box(start: int, step: int) -> None:
    corners = box_corners((1, 2, 5, 9))
    ring = tuple(corners[(start + step * i) % 4] for i in range(4))
    assert upright_box(ring) == (1, 2, 5, 9)


@pytest.mark.parametrize(
    "ring",
    [
        ((1, 2), (5, 9), (5, 2), (1, 9)),  # crosses itself
        ((1, 2), (5, 2), (5, 9), (1, 8)),
        ((3, 2), (5, 4), (3, 6), (1, 4)),
        ((1, 2), (5, 2), (5, 9)),
        ((1, 2), (3, 2), (5, 2), (5, 9), (1, 9)),
    ],
)
def test_what_is_no_box(ring: Ring) -> None:
    assert upright_box(ring) is None


def test_holes_lie_in_the_smallest_ring_around_them() -> None:
    outer, hole, island, pond = square(0, 20), square(2, 16), square(4, 12), square(6, 4)
    aside = square(30, 5)
    for rings in ((outer, island, aside), (aside, island, outer)):
        parts = dict(nested(Polygon(rings, (pond, hole))))
        assert parts == {outer: [hole], island: [pond], aside: []}
        assert tuple(parts) == rings


def test_a_hole_outside_is_the_first_rings() -> None:
    first, second, hole = square(0, 5), square(10, 5), square(50, 1)
    assert nested(Polygon((first, second), (hole,))) == [(first, [hole]), (second, [])]
    assert nested(Polygon((first,), (hole,))) == [(first, [hole])]
    line: Ring = ((11, 12), (13, 12))
    assert nested(Polygon((first, second), (line,))) == [(first, []), (second, [line])]


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (None, ""),
        ("", ""),
        (" ", ""),
        ([], ""),
        ({}, ""),
        ("Mitotic figure", "mitosis"),
        (["fat", "look-alike"], "imposter"),
        (["mitosis", "Mitose"], "mitosis"),
        (["Tumor", "Positive"], "Tumor: Positive"),
        ({"mitosis": False, "imposter": True}, "imposter"),
        ({"": True}, ""),
        (7, "7"),
    ],
)
def test_the_class_among_words(value: Any, label: str) -> None:
    assert class_of(value, "f", "w") == label


@pytest.mark.parametrize(
    "value", [True, [True], {"a": "b"}, [[]], ["mitosis", "imposter"], {"a": True, "b": 1}]
)
def test_what_names_no_class(value: Any) -> None:
    with pytest.raises(InputError, match=r"^f, w: "):
        class_of(value, "f", "w")
