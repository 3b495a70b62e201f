"""The hottest circle and square: never beaten by any other window."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitoyolo.inference.hotspot import (
    EDGE_UM,
    Hotspot,
    Points,
    hottest_circle,
    hottest_square,
    reach_um,
)

AREA = math.pi * 0.1**2  # mm²; a circle of radius 100 µm
HALF = 500 * math.sqrt(AREA)  # µm; half of the square's side


def inside(points: Points, centre: object, shape: str, slack: float) -> int:
    away = np.linalg.norm(points - np.asarray(centre, float), 2 if shape == "circle" else np.inf, 1)
    return int((away <= reach_um(shape, AREA) + slack).sum())


def on_edges(points: Points, shape: str) -> list[tuple[float, float]]:
    """The centres of all windows with two points on their edge, and of those around one."""
    centres = [(float(x), float(y)) for x, y in points]
    if shape == "square":
        return centres + [(x + HALF, y + HALF) for x in points[:, 0] for y in points[:, 1]]
    for i, a in enumerate(points):
        for b in points[:i]:
            half = math.dist(a, b) / 2
            if 0 < half <= 100:
                middle, rise = (a + b) / 2, math.sqrt(100**2 - half**2)
                turned = np.array([b[1] - a[1], a[0] - b[0]]) / (2 * half)
                centres += [tuple(middle + side * rise * turned) for side in (1, -1)]
    return centres


def check(points: Points, shape: str) -> Hotspot:
    found = (hottest_circle if shape == "circle" else hottest_square)(points, AREA)
    assert found is not None
    assert (found.shape, found.area_mm2) == (shape, AREA)
    assert inside(points, found.centre_um, shape, EDGE_UM) == found.count
    edges = max(inside(points, centre, shape, 1e-8) for centre in on_edges(points, shape))
    assert (
        edges
        <= found.count
        <= max(inside(points, centre, shape, 1e-3) for centre in on_edges(points, shape))
    )
    return found


places = st.one_of(
    st.integers(0, 40).map(lambda i: i * 25.0),  # many on one circle, many exactly a side apart
    st.floats(0, 700, allow_nan=False).map(lambda x: round(x, 3)),
)
clouds = st.lists(st.tuples(places, places), min_size=1, max_size=24).map(
    lambda rows: np.array(rows, float)
)


@given(clouds)
def test_no_circle_with_points_on_its_edge_holds_more(points: Points) -> None:
    check(points, "circle")


@given(clouds)
def test_no_square_with_points_on_its_edge_holds_more(points: Points) -> None:
    check(points, "square")


@pytest.mark.parametrize("shape", ["circle", "square"])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_window_of_a_fine_grid_holds_more(shape: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.uniform(0, 1500, (300, 2)), rng.normal(700, 90, (60, 2))])
    found = check(points, shape)
    for x in range(-50, 1600, 15):
        for y in range(-50, 1600, 15):
            assert inside(points, (x, y), shape, 0) <= found.count


@given(clouds, st.randoms(use_true_random=False))
def test_the_order_of_the_points_plays_no_part(points: Points, random: object) -> None:
    order = list(range(len(points)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert hottest_circle(points, AREA) == hottest_circle(points[order], AREA)
    assert hottest_square(points, AREA) == hottest_square(points[order], AREA)


@pytest.mark.parametrize("search", [hottest_circle, hottest_square])
def test_no_point_no_hotspot(search: object) -> None:
    assert search(np.empty((0, 2)), 2.0) is None  # type: ignore[operator]


@pytest.mark.parametrize("shape", ["circle", "square"])
def test_one_point_is_the_centre(shape: str) -> None:
    found = check(np.array([[12.5, 7.0]]), shape)
    assert (found.count, found.centre_um) == (1, (12.5, 7.0))


@pytest.mark.parametrize("shape", ["circle", "square"])
def test_the_centre_is_the_mean_of_the_points(shape: str) -> None:
    points = np.array([[0, 0], [30, 0], [0, 30], [900, 900.0]])
    found = check(points, shape)
    assert found.count == 3
    assert found.centre_um == pytest.approx((10, 10))


def test_a_mean_that_would_lose_points_is_not_the_centre() -> None:
    points = np.array([[0.0, 0], *[[199.0, 0]] * 9])  # their mean is 179 µm from the first
    found = check(points, "circle")
    assert found.count == 10


@pytest.mark.parametrize("shape", ["circle", "square"])
def test_points_exactly_as_far_as_the_window_reaches(shape: str) -> None:
    side = 2 * reach_um(shape, AREA)
    lone = [4321.7, 1234.5]  # so that no cell's centre is the middle by chance
    for turn in (0.0, 0.3, 1.1):
        along = np.array([math.cos(turn), math.sin(turn)]) if shape == "circle" else [1, turn / 2]
        pair = np.array([[5.0, 3], [5, 3] + side * np.asarray(along), lone])
        assert check(pair, shape).count == 2
        assert check(pair * [1 + 1e-4, 1 + 1e-4], shape).count == 1


@pytest.mark.parametrize("seed", range(4))
def test_points_all_on_the_edge_of_one_circle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angle = np.concatenate([rng.uniform(0, 2 * math.pi, 8), [0.2, 0.2 + math.pi]])
    ring = rng.uniform(0, 3000, 2) + 100 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert check(np.vstack([ring, rng.uniform(4000, 9000, (5, 2))]), "circle").count == 10


def test_only_an_oblique_pair_tells_a_circle_from_a_square() -> None:
    corners = np.array([[0.0, 0], [150, 150]])  # 212 µm apart, 150 along each axis
    assert check(corners, "circle").count == 1
    assert check(corners, "square").count == 2


def test_points_on_a_line() -> None:
    line = np.stack([np.arange(60) * 10.0, np.arange(60) * 10.0], axis=1)
    assert check(line, "circle").count == 15  # 14 steps of 14.1 µm in 200
    assert check(line, "square").count == 18  # 17 steps of 10 µm in 177


@pytest.mark.parametrize("shape", ["circle", "square"])
def test_five_thousand_at_one_place(shape: str) -> None:
    search = hottest_circle if shape == "circle" else hottest_square
    rng = np.random.default_rng(0)
    spread = rng.uniform(0, 5000, (5000, 2))
    found = search(np.concatenate([np.full((5000, 2), 2500.0), spread]))
    assert found is not None
    around = np.linalg.norm(spread - 2500, 2 if shape == "circle" else np.inf, axis=1)
    assert found.count >= 5000 + int((around <= reach_um(shape, 2.0)).sum())


@pytest.mark.parametrize("shape", ["circle", "square"])
def test_five_thousand_in_one_window(shape: str) -> None:
    search = hottest_circle if shape == "circle" else hottest_square
    points = np.random.default_rng(0).uniform(1000, 1500, (5000, 2))
    found = search(points)
    assert found is not None
    assert found.count == 5000


def test_places_far_apart() -> None:
    found = hottest_circle(np.array([[0.0, 0], [1e7, 1e7], [1e7 + 1, 1e7]]))
    assert found is not None
    assert found.count == 2


def test_the_area_is_that_of_the_window() -> None:
    assert reach_um("circle", 2.0) == pytest.approx(797.88, abs=0.01)
    assert reach_um("square", 2.0) == pytest.approx(707.11, abs=0.01)


@pytest.mark.parametrize("area", [0.0, -1.0, math.nan, math.inf])
def test_an_area_must_be_above_0(area: float) -> None:
    with pytest.raises(ValueError, match="area above 0"):
        hottest_circle(np.zeros((1, 2)), area)


def test_a_place_must_be_a_number() -> None:
    with pytest.raises(ValueError, match="finite"):
        hottest_square(np.array([[0.0, math.nan]]))
