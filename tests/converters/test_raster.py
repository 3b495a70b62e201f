"""Shapes as pixels: by their centres, whatever the frame, against a look at every centre."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.errors import InputError
from converters.geometry import Box, Point
from converters.raster import pixels_of, runs_of
from converters.shapes import Ellipse, Pixels, Polygon, Shape

WIDTH, HEIGHT = 12, 9

place = st.floats(-4, 16)
length = st.floats(0.1, 20)
rings = st.lists(st.tuples(place, place), min_size=3, max_size=7).map(tuple)


def pixels(shape: Shape | Box, width: int = WIDTH, height: int = HEIGHT) -> set[tuple[int, int]]:
    found = pixels_of(shape, width, height)
    assert found.shape == (len(found), 2)
    result = {(int(x), int(y)) for x, y in found}
    assert len(result) == len(found)
    return result


def test_a_box_by_hand() -> None:
    assert pixels((1, 2, 3, 4)) == {(1, 2), (2, 2), (1, 3), (2, 3)}
    assert pixels((0.4, 0, 1.6, 1)) == {(0, 0), (1, 0)}
    # a centre on the left or upper side is in, on the right or lower side out
    assert pixels((1.5, 0.5, 2.5, 1.5)) == {(1, 0)}
    assert pixels((0.6, 0.6, 1.4, 1.4)) == set()
    assert pixels((-3, -3, 1, 2)) == {(0, 0), (0, 1)}
    assert pixels((11, 8, 30, 30)) == {(11, 8)}
    assert pixels((20, 0, 30, 5)) == pixels((0, 20, 5, 30)) == pixels((-9, 0, -2, 5)) == set()


def test_an_ellipse_by_hand() -> None:
    assert pixels(Ellipse(3, 3, 2, 2)) == {(2, 2), (3, 2), (2, 3), (3, 3)}
    assert pixels(Ellipse(3.5, 3.5, 2, 2)) == {(3, 2), (2, 3), (3, 3), (4, 3), (3, 4)}
    assert pixels(Ellipse(5, 2.5, 8, 1, math.pi / 2), 12, 12) == set()
    assert pixels(Ellipse(5.5, 2, 8, 1, math.pi / 2)) == {(5, y) for y in range(6)}
    assert pixels(Ellipse(5, 5, 0, 4)) == pixels(Ellipse(5, 5, 0, 1e-200, 1)) == set()


def test_rings_overlap_and_holes_are_taken_out() -> None:
    square = ((0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0))
    shifted = tuple((x + 2, y + 2) for x, y in square)
    small = ((1.0, 1.0), (3.0, 1.0), (3.0, 3.0), (1.0, 3.0))
    assert len(pixels(Polygon((square,)))) == 16
    assert len(pixels(Polygon((square, shifted)))) == 16 + 16 - 4
    assert pixels(Polygon((square,), (small,))) == pixels(Polygon((square,))) - {
        (1, 1), (2, 1), (1, 2), (2, 2)
    }  # fmt: skip
    # a hole counts for every ring, and beyond them for none
    assert len(pixels(Polygon((square, shifted), (small,)))) == 28 - 4
    assert len(pixels(Polygon((square,), (shifted,)))) == 12
    # a line that crosses itself is even-odd
    bow = ((0.0, 0.0), (4.0, 4.0), (4.0, 0.0), (0.0, 4.0))
    assert {(0, 1), (3, 1)} <= pixels(Polygon((bow,))) and (1, 0) not in pixels(Polygon((bow,)))


def test_pixels_are_cut_at_the_image() -> None:
    shape = Pixels(frozenset([(0, 0), (-1, 0), (11, 8), (12, 8), (11, 9), (3, 4), (3, 5), (3, 7)]))
    assert pixels(shape) == {(0, 0), (11, 8), (3, 4), (3, 5), (3, 7)}
    assert runs_of(shape, WIDTH, HEIGHT).tolist() == [[0, 0, 1], [3, 4, 6], [3, 7, 8], [11, 8, 9]]
    assert pixels(Pixels(frozenset([(50, 50)]))) == set()


def crosses(ring: tuple[Point, ...], x: float, y: float) -> bool:
    """Even-odd, by the sides that a ray down from (x, y) meets."""
    inside = False
    for (ax, ay), (bx, by) in zip(ring, ring[1:] + ring[:1], strict=True):
        if (ax > x) != (bx > x):
            inside ^= ay + (x - ax) / (bx - ax) * (by - ay) > y
    return inside


@given(st.lists(rings, min_size=1, max_size=3), st.lists(rings, max_size=2))
def test_a_polygon_is_every_centre_inside(
    solid: list[tuple[Point, ...]], holes: list[tuple[Point, ...]]
) -> None:
    found = pixels(Polygon(tuple(solid), tuple(holes)))
    assert found == {
        (i, j)
        for i in range(WIDTH)
        for j in range(HEIGHT)
        if any(crosses(ring, i + 0.5, j + 0.5) for ring in solid)
        and not any(crosses(ring, i + 0.5, j + 0.5) for ring in holes)
    }


@given(st.builds(Ellipse, place, place, length, length, st.floats(-7, 7)))
def test_an_ellipse_is_every_centre_inside(ellipse: Ellipse) -> None:
    found = pixels(ellipse)
    cos, sin = math.cos(ellipse.rotation), math.sin(ellipse.rotation)
    for i in range(WIDTH):
        for j in range(HEIGHT):
            dx, dy = i + 0.5 - ellipse.x, j + 0.5 - ellipse.y
            across = (dx * cos + dy * sin) / (ellipse.width / 2)
            down = (dy * cos - dx * sin) / (ellipse.height / 2)
            far = math.hypot(across, down)
            if abs(far - 1) > 1e-6:
                assert ((i, j) in found) == (far < 1)


@given(st.lists(rings, min_size=1, max_size=3))
def test_runs_are_sorted_apart_and_the_same_pixels(solid: list[tuple[Point, ...]]) -> None:
    shape = Polygon(tuple(solid))
    runs = runs_of(shape, WIDTH, HEIGHT).tolist()
    assert runs == sorted(runs)
    assert all(a[0] < b[0] or a[2] < b[1] for a, b in pairwise(runs))
    assert all(0 <= column < WIDTH and 0 <= a < b <= HEIGHT for column, a, b in runs)
    assert {(c, j) for c, a, b in runs for j in range(a, b)} == pixels(shape)


def test_a_slide_is_never_painted() -> None:
    far = 400_000.0
    ring = ((far, far), (far + 3, far), (far + 3, far + 2), (far, far + 2))
    assert len(pixels_of(Polygon((ring,)), 500_000, 500_000)) == 6
    assert len(runs_of((0, 0, 300_000, 300_000), 300_000, 300_000)) == 300_000
    with pytest.raises(InputError, match=r"10000000 columns of pixels cannot be drawn"):
        runs_of((0, 0, 1e7, 5), 10**7, 10)


def test_many_columns_are_cut_strip_by_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = tuple((3 + 40 * math.cos(k * k), 4 + 30 * math.sin(3 * k)) for k in range(30))
    whole = runs_of(Polygon((ring,)), 30, 20)
    assert len(whole) > 30
    monkeypatch.setattr("converters.raster._AT_ONCE", 100)
    np.testing.assert_array_equal(runs_of(Polygon((ring,)), 30, 20), whole)
