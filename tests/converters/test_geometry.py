"""Exact boxes, areas and centroids."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.geometry import (
    clip_box,
    clip_ring,
    ellipse_box,
    points_box,
    polygon_area_centroid,
    rectangle_corners,
    square_um,
)

coordinate = st.floats(-5000, 5000)
length = st.floats(0.5, 500)
angle = st.floats(-7, 7)


def outline(x: float, y: float, w: float, h: float, t: float) -> np.ndarray:
    """40,000 points on a rotated ellipse, shape (n, 2)."""
    s = np.linspace(0, 2 * math.pi, 40_000)
    u, v = w / 2 * np.cos(s), h / 2 * np.sin(s)
    return np.stack(
        [x + u * math.cos(t) - v * math.sin(t), y + u * math.sin(t) + v * math.cos(t)], 1
    )


@given(coordinate, coordinate, length, length, angle)
def test_the_box_of_an_ellipse_is_its_outline_s(
    x: float, y: float, w: float, h: float, t: float
) -> None:
    points = outline(x, y, w, h, t)
    expected = (*points.min(0), *points.max(0))
    assert ellipse_box((x, y), w, h, t) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("rotation", "box"),
    [
        (0, (5, 18, 15, 22)),
        (math.pi / 2, (8, 15, 12, 25)),
        (math.pi, (5, 18, 15, 22)),
        (math.pi / 4, (10 - math.sqrt(14.5), 20 - math.sqrt(14.5))),
    ],
)
def test_width_and_height_are_full_axes(rotation: float, box: tuple[float, ...]) -> None:
    assert ellipse_box((10, 20), 10, 4, rotation)[: len(box)] == pytest.approx(box)


def test_a_rectangle_turns_from_x_to_y() -> None:
    corners = rectangle_corners((10, 20), 8, 2, math.pi / 2)
    assert corners[1] == pytest.approx((11, 24))  # its right upper corner goes to the lower right
    assert points_box(corners) == pytest.approx((9, 16, 11, 24))


@given(coordinate, coordinate, length, length, angle)
def test_area_and_centroid_of_a_turned_rectangle(
    x: float, y: float, w: float, h: float, t: float
) -> None:
    area, centroid = polygon_area_centroid(rectangle_corners((x, y), w, h, t))
    assert area == pytest.approx(w * h, rel=1e-6)
    assert centroid == pytest.approx((x, y), abs=1e-3)


@pytest.mark.parametrize(
    ("points", "area", "centroid"),
    [
        ([(0, 0), (6, 0), (0, 6)], 18, (2, 2)),
        ([(0, 0), (0, 6), (6, 0)], 18, (2, 2)),  # the other way round
        ([(0, 0), (4, 0), (4, 2), (2, 2), (2, 4), (0, 4)], 12, (5 / 3, 5 / 3)),  # an L
        ([(1, 1), (3, 3)], 0, (2, 2)),  # a line
        ([(5, 5)], 0, (5, 5)),
        ([(0, 0), (10, 10), (10, 0), (0, 10)], 0, (5, 5)),  # a bow tie
    ],
)
def test_area_and_centroid(
    points: list[tuple[float, float]], area: float, centroid: tuple[float, float]
) -> None:
    assert polygon_area_centroid(points) == (pytest.approx(area), pytest.approx(centroid))


@given(st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=8))
def test_a_centroid_is_never_outside_the_points_box(points: list[tuple[float, float]]) -> None:
    left, top, right, bottom = points_box(points)
    _, (x, y) = polygon_area_centroid(points)
    assert left - 1e-6 <= x <= right + 1e-6
    assert top - 1e-6 <= y <= bottom + 1e-6


def test_a_square_in_um_follows_each_axis() -> None:
    assert square_um((100, 100), 8, (0.25, 0.5)) == (68, 84, 132, 116)


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ((10, 10, 20, 20), (10, 10, 20, 20)),
        ((-5, -6, 20, 20), (0, 0, 20, 20)),
        ((90, 40, 110, 60), (90, 40, 100, 50)),
        ((120, 10, 130, 20), (100, 10, 100, 20)),
    ],
)
def test_clip_box(box: tuple[float, ...], inside: tuple[float, ...]) -> None:
    assert clip_box(box, 100, 50) == inside  # type: ignore[arg-type]


SQUARE = [(2.0, 2.0), (6.0, 2.0), (6.0, 6.0), (2.0, 6.0)]


@pytest.mark.parametrize(
    ("dx", "dy", "area", "box"),
    [
        (0, 0, 16, (2, 2, 6, 6)),
        (-4, 0, 8, (0, 2, 2, 6)),  # over the left edge
        (6, 0, 8, (8, 2, 10, 6)),
        (0, -4, 8, (2, 0, 6, 2)),
        (0, 5, 4, (2, 7, 6, 8)),
        (-4, -4, 4, (0, 0, 2, 2)),  # over a corner
        (6, 5, 2, (8, 7, 10, 8)),
    ],
)
def test_clip_ring(dx: float, dy: float, area: float, box: tuple[float, ...]) -> None:
    inside = clip_ring([(x + dx, y + dy) for x, y in SQUARE], 10, 8)
    assert polygon_area_centroid(inside)[0] == pytest.approx(area)
    assert points_box(inside) == box


def test_clip_ring_leaves_what_is_inside_and_drops_what_is_outside() -> None:
    assert clip_ring(SQUARE, 6, 6) == SQUARE
    assert clip_ring([(x + 20, y) for x, y in SQUARE], 10, 8) == []
    # the edge cuts this one in two; joined along the edge, its area is that of both
    fork = [(-2.0, 0.0), (3.0, 0.0), (3.0, 1.0), (-1.0, 1.0), (-1.0, 3.0), (3.0, 3.0), (3.0, 4.0),
            (-2.0, 4.0)]  # fmt: skip
    assert polygon_area_centroid(clip_ring(fork, 10, 10))[0] == pytest.approx(6)


point = st.tuples(st.floats(-100, 100), st.floats(-100, 100))


@given(st.lists(point, min_size=3, max_size=8))
def test_a_clipped_ring_is_inside(ring: list[tuple[float, float]]) -> None:
    inside = clip_ring(ring, 50, 40)
    assert all(0 <= x <= 50 and 0 <= y <= 40 for x, y in inside)


def test_rounding_does_not_carry_a_clipped_point_out() -> None:
    unit = 2.0**-52
    right = 1 + 9 * unit  # 3.5 units and the rounded rest of it add up to one unit more
    ring = [(3.5 * unit, -1.0), (right, 1e-300), (right, 5.0), (0.0, 5.0)]
    assert max(x for x, _ in clip_ring(ring, right, 9)) == right


@given(st.tuples(point, point, point))
def test_what_is_left_and_right_of_an_edge_is_the_whole(
    ring: tuple[tuple[float, float], ...],
) -> None:
    moved = [(x + 100, y + 100) for x, y in ring]
    left = clip_ring(moved, 100, 200)
    right = clip_ring([(200 - x, y) for x, y in moved], 100, 200)
    areas = [polygon_area_centroid(part)[0] if part else 0 for part in (moved, left, right)]
    assert areas[1] + areas[2] == pytest.approx(areas[0], abs=1e-6)
