"""Shapes: box, area, centroid and outline, and what stays true in another pixel grid."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.shapes import Ellipse, Pixels, Polygon, Shape

place = st.floats(-500, 500)
length = st.floats(0.5, 80)
turn = st.floats(-7, 7) | st.sampled_from([0.0, math.pi / 2, math.pi, -math.pi / 2])
ellipses = st.builds(Ellipse, place, place, length, length, turn)
pixel_sets = st.builds(
    Pixels, st.frozensets(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1)
)
points = st.tuples(place, place)
polygons = st.builds(lambda ring: Polygon((tuple(ring),)), st.lists(points, min_size=3, max_size=8))
scales = st.floats(0.3, 3) | st.floats(-3, -0.3)


def lies_on(ellipse: Shape, outline: Shape) -> bool:
    """Whether every point of a polygon solves the ellipse's equation."""
    assert isinstance(ellipse, Ellipse) and isinstance(outline, Polygon)
    a, b = ellipse.width / 2, ellipse.height / 2
    cos, sin = math.cos(ellipse.rotation), math.sin(ellipse.rotation)
    return all(
        math.hypot((dx * cos + dy * sin) / a, (dy * cos - dx * sin) / b)
        == pytest.approx(1, abs=1e-6)
        for dx, dy in ((x - ellipse.x, y - ellipse.y) for x, y in outline.rings[0])
    )


@given(ellipses)
def test_an_ellipses_outline_keeps_box_and_centroid(ellipse: Ellipse) -> None:
    outline = ellipse.outline()
    assert outline.box == pytest.approx(ellipse.box, abs=1e-9)
    assert outline.centroid == pytest.approx(ellipse.centroid, abs=1e-6)
    assert 0.985 < outline.area / ellipse.area <= 1 + 1e-12
    assert lies_on(ellipse, outline)


def test_an_ellipse_by_hand() -> None:
    upright = Ellipse(10, 20, 8, 4)
    assert upright.box == (6, 18, 14, 22)
    assert upright.area == pytest.approx(8 * math.pi)
    assert Ellipse(10, 20, 8, 4, math.pi / 2).box == pytest.approx((8, 16, 12, 24))
    # twice as wide, the same height, moved
    assert upright.mapped(2, 1, 3, -4).box == pytest.approx((15, 14, 31, 18))
    assert upright.transposed().box == pytest.approx((18, 6, 22, 14))


@given(pixel_sets)
def test_the_outline_of_pixels_is_exact(pixels: Pixels) -> None:
    outline = pixels.outline()
    assert outline.area == pytest.approx(pixels.area)
    assert outline.box == pixels.box
    assert outline.centroid == pytest.approx(pixels.centroid)


def test_pixels_by_hand() -> None:
    ring = Pixels(frozenset((x, y) for x in range(3) for y in range(3)) - {(1, 1)})
    assert ring.area == 8 and ring.box == (0, 0, 3, 3) and ring.centroid == (1.5, 1.5)
    outline = ring.outline()
    assert [set(r) for r in outline.rings] == [{(0, 0), (3, 0), (3, 3), (0, 3)}]
    assert [set(r) for r in outline.holes] == [{(1, 1), (2, 1), (2, 2), (1, 2)}]
    corner = Pixels(frozenset({(0, 0), (1, 1)})).outline()  # they touch in one point
    assert len(corner.rings) == 2 and not corner.holes


@pytest.mark.parametrize(
    ("points", "line"),
    [
        ([(3, 4)], True),
        ([(3, 4), (3, 4), (3, 4)], True),
        ([(1, 1), (9, 6)], True),
        ([(1, 1), (5, 3.5), (9, 6)], True),
        ([(1e5, 1e5), (1e5 + 3, 1e5 + 1), (1e5 + 1, 1e5 + 1 / 3)], True),
        ([(1, 1), (5, 3.6), (9, 6)], False),
        ([(0, 0), (10, 10), (10, 0), (0, 10)], False),  # crosses itself: no signed area
    ],
)
def test_whether_points_lie_on_a_line(points: list[tuple[float, float]], line: bool) -> None:
    assert Polygon((tuple(points),)).is_line == line


def test_a_polygons_hole_is_taken_away() -> None:
    square = ((0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0))
    hole = ((0.0, 0.0), (2.0, 0.0), (2.0, 4.0), (0.0, 4.0))
    half = Polygon((square,), (hole,))
    assert half.area == 8 and half.centroid == (3, 2) and half.box == (0, 0, 4, 4)
    two = Polygon((square, tuple((x + 10, y) for x, y in square)))
    assert two.area == 32 and two.centroid == (7, 2) and two.box == (0, 0, 14, 4)
    line = Polygon((((0.0, 0.0), (4.0, 2.0)),))
    assert line.area == 0 and line.centroid == (2, 1)
    assert Polygon((square,), (square,)).area == 0


@given(ellipses | polygons | pixel_sets, scales, scales, place, place)
def test_mapping_a_shape_maps_its_box_area_and_outline(
    shape: Shape, sx: float, sy: float, dx: float, dy: float
) -> None:
    left, top, right, bottom = shape.outline().mapped(sx, sy, dx, dy).box
    mapped = shape.mapped(sx, sy, dx, dy)
    assert mapped.box == pytest.approx((left, top, right, bottom), abs=1e-6)
    assert mapped.area == pytest.approx(shape.area * abs(sx * sy), rel=1e-6, abs=1e-6)
    if isinstance(shape, Ellipse):
        assert lies_on(mapped, shape.outline().mapped(sx, sy, dx, dy))


@given(ellipses | polygons | pixel_sets)
def test_transposing_exchanges_the_axes(shape: Shape) -> None:
    left, top, right, bottom = shape.box
    assert shape.transposed().box == pytest.approx((top, left, bottom, right), abs=1e-9)
    assert shape.transposed().area == pytest.approx(shape.area)
    if isinstance(shape, Ellipse):
        assert lies_on(shape.transposed(), shape.outline().transposed())


@given(pixel_sets, st.sampled_from([1, -1]), st.sampled_from([1, -1]), st.integers(-9, 9))
def test_mirrored_pixels_stay_pixels(pixels: Pixels, sx: int, sy: int, move: int) -> None:
    mapped = pixels.mapped(sx, sy, move, move)
    assert isinstance(mapped, Pixels)
    outline = pixels.outline().mapped(sx, sy, move, move)
    assert mapped.box == outline.box and mapped.centroid == pytest.approx(outline.centroid)
    assert isinstance(pixels.mapped(1, 1, 0.5), Polygon)
