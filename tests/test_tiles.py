"""Where tiles lie, and which tile sees a point."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitoyolo.tiles import Window, covered, extent, grid, starts


@pytest.mark.parametrize(
    ("length", "size", "overlap", "expected"),
    [
        (1000, 500, 0, [0, 500]),
        (1100, 500, 0, [0, 500, 600]),  # the last is shifted back
        (1539, 512, 64, [0, 448, 896, 1027]),
        (500, 500, 64, [0]),
        (300, 500, 64, [0]),
        (501, 500, 64, [0, 1]),
    ],
)
def test_starts(length: int, size: int, overlap: int, expected: list[int]) -> None:
    assert starts(length, size, overlap) == expected


@pytest.mark.parametrize("overlap", [-1, 500])
def test_an_overlap_that_never_arrives_is_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        starts(1000, 500, overlap)


def test_a_grid_goes_row_by_row_and_is_never_padded() -> None:
    assert grid(150, 90, 100) == [Window(0, 0, 100, 90), Window(50, 0, 100, 90)]
    assert grid(100, 150, 100) == [Window(0, 0, 100, 100), Window(0, 50, 100, 100)]
    assert [(w.x, w.y) for w in grid(200, 200, 100)] == [(0, 0), (100, 0), (0, 100), (100, 100)]


sides = st.integers(1, 400)


@given(sides, sides, st.integers(32, 128), st.integers(0, 31), st.floats(0, 1), st.floats(0, 1))
def test_every_point_of_an_image_is_in_a_tile_inside_it(
    width: int, height: int, size: int, overlap: int, u: float, v: float
) -> None:
    windows = grid(width, height, size, overlap)
    assert all(w.x + w.width <= width and w.y + w.height <= height for w in windows)
    for x, y in ((u * width, v * height), (width, height), (0, height)):
        assert any(w.holds(x, y, width, height) for w in windows)


@pytest.mark.parametrize(
    ("x", "y", "inside"),
    [
        (10, 20, True),
        (9.99, 20, False),
        (59.99, 49.99, True),
        (60, 30, False),  # the next tile's
        (30, 50, True),  # the image's own lower edge
        (30, 50.1, False),
        (60, 50, False),
    ],
)
def test_edges(x: float, y: float, inside: bool) -> None:
    window = Window(10, 20, 50, 30)
    assert window.holds(x, y, image_width=100, image_height=50) == inside


SIDES = st.integers(0, 12)


@given(st.lists(st.builds(Window, SIDES, SIDES, SIDES, SIDES), min_size=1, max_size=8))
def test_covered_pixels_are_counted_once(windows: list[Window]) -> None:
    seen = np.zeros((24, 24), bool)
    for each in windows:
        seen[each.y : each.y + each.height, each.x : each.x + each.width] = True
    assert covered(windows) == seen.sum()


@given(st.integers(1, 300), st.integers(1, 300))
def test_a_grid_covers_its_image(width: int, height: int) -> None:
    windows = grid(width, height, 64, 16)
    assert extent(windows) == (width, height)
    assert covered(windows) == width * height
