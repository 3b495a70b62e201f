"""The density map and the outlines of hotspots."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mitoyolo.inference.hotspot import Hotspot, reach_um
from mitoyolo.report.density import density_map, draw_density
from mitoyolo.report.overlay import BLUE, draw_hotspot

WHITE = np.full((60, 80, 3), 255, np.uint8)


def test_density_is_the_count_in_the_circle_over_its_area() -> None:
    points = np.array([[505, 505], [505, 505], [905, 105.0]])
    density = density_map(points, (1000, 500), 100)
    assert density.shape == (50, 100)  # cells of a tenth of the radius
    area = math.pi * 0.01
    rows, columns = np.mgrid[:50, :100]
    x, y = 10 * columns + 5, 10 * rows + 5
    expected = sum((np.hypot(x - px, y - py) <= 100).astype(int) for px, py in points)
    assert density == pytest.approx(expected / area)


def test_no_points_no_density() -> None:
    assert not density_map(np.empty((0, 2)), (1000, 500), 100).any()
    assert density_map(np.empty((0, 2)), (3, 2), 100).shape == (1, 1)


def changed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.argwhere((first != second).any(axis=2))


def test_the_densest_place_is_coloured_where_it_is() -> None:
    # 80 x 60 px of 100 µm: 8 x 6 mm
    empty = draw_density(WHITE, np.empty((0, 2)), (0.5, 0.5), (200, 200))
    left = draw_density(WHITE, np.array([[2000.0, 3000]]), (0.5, 0.5), (200, 200))
    right = draw_density(WHITE, np.array([[14000.0, 3000]]), (0.5, 0.5), (200, 200))
    assert empty.dtype == np.uint8
    assert empty.shape == left.shape == right.shape
    assert (empty[empty.shape[0] // 2, empty.shape[1] // 3] == 255).all()  # the thumbnail shows
    bar = empty.shape[1] * 3 // 4  # the colour bar's numbers differ too
    a, b = (changed(empty[:, :bar], picture[:, :bar]).mean(axis=0) for picture in (left, right))
    assert a[1] < b[1] - 0.3 * bar
    assert a[0] == pytest.approx(b[0], abs=2)


@pytest.mark.parametrize("shape", [(160, 120), (60, 80), (40, 200)])
def test_nothing_of_the_figure_is_cut_off(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 255, np.uint8)
    points = np.array([[4000.0, 3000]])
    drawn = draw_density(image, points, (0.5, 0.5), (200, 200))
    edges = (drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1])
    assert all((edge == 255).all() for edge in edges)
    left, right = np.flatnonzero((drawn != 255).any(axis=(0, 2)))[[0, -1]]
    assert (drawn[:, left : left + 40] == 255).all(axis=(0, 2)).any()  # the label, then numbers
    assert right < drawn.shape[1] - 1


def test_the_same_picture_again() -> None:
    points = np.random.default_rng(0).uniform(0, 12000, (50, 2))
    first, second = (draw_density(WHITE, points, (0.5, 0.5), (200, 200)) for _ in range(2))
    assert (first == second).all()


@pytest.mark.parametrize("shape", ["circle", "square"])
def test_a_hotspot_is_outlined_where_it_lies(shape: str) -> None:
    image = np.full((300, 400, 3), 255, np.uint8)
    # a pixel of the image is 20 x 10 level-0 px of 1 x 2 µm: 20 µm both ways
    drawn = draw_hotspot(image, Hotspot(shape, 2.0, (4000, 3000), 9), (1, 2), (20, 10))
    assert (image == 255).all()
    reach = reach_um(shape, 2.0) / 20
    rows = changed(image, drawn)
    assert rows.mean(axis=0) == pytest.approx((150, 200), abs=1)
    assert (rows.max(axis=0) - rows.min(axis=0)) / 2 == pytest.approx([reach, reach], abs=3)
    corner = (150 + round(reach), 200 + round(reach))
    assert (tuple(drawn[corner]) == BLUE) == (shape == "square")
    assert tuple(drawn[150, 200 + round(reach)]) == BLUE


def test_a_hotspot_of_unequal_pixels() -> None:
    image = np.full((300, 400, 3), 255, np.uint8)
    rows = changed(image, draw_hotspot(image, Hotspot("circle", 2.0, (4000, 6000), 9),
                                       (1, 2), (20, 20)))  # fmt: skip
    height, width = rows.max(axis=0) - rows.min(axis=0)
    assert width / height == pytest.approx(2, rel=0.1)
