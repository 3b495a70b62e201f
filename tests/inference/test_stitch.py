"""One mitosis, one detection, wherever the edges of the tiles fall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rendered import PINK, card
from searched import search_image

from mitoyolo.detectors.card import Card
from mitoyolo.images import RGB
from mitoyolo.inference.apply import Cut
from mitoyolo.inference.merge import Detections
from mitoyolo.inference.stitch import stitch
from mitoyolo.tiles import Window, grid

MPP = (0.25, 0.25)
BLUE = (0, 0, 255)
PLATE = (44, 10)
"""px: a metaphase plate of 11 x 2.5 µm."""
GAP = 30
"""px from one plate of an anaphase to the other, centre to centre: 7.5 µm."""


@dataclass
class FigureReader:
    """Sees the plates in the pixels; two that face each other are one anaphase."""

    classes: tuple[str, ...] = ("mitosis",)
    card: Card | None = field(default_factory=lambda: card(mpp=MPP, tile=256, imgsz=256))
    imgsz: int = 256
    device: str = "cpu"

    def predict(self, tiles: Sequence[RGB], imgsz: int | None = None) -> list[Detections]:
        return [self._find(tile) for tile in tiles]

    def _find(self, tile: RGB) -> Detections:
        plates = (tile[..., 0] < 100).astype(np.uint8)
        padded = cv2.copyMakeBorder(plates, GAP, GAP, GAP, GAP, cv2.BORDER_CONSTANT, value=0)
        joined = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((GAP + 1, GAP + 1), np.uint8))
        count, _, boxes, _ = cv2.connectedComponentsWithStats(joined)
        rows = [
            (x - GAP + w / 2, y - GAP + h / 2, 64, 64, 0.9, 0) for x, y, w, h, _ in boxes[1:count]
        ]
        return np.array(rows, float).reshape(-1, 6)


def draw(image: RGB, x: int, y: int, *, upright: bool, pair: bool) -> None:
    width, height = PLATE[::-1] if upright else PLATE
    across, down = (GAP // 2, 0) if upright else (0, GAP // 2)
    for side in (-1, 1) if pair else (0,):
        left, top = x + side * across - width // 2, y + side * down - height // 2
        image[top : top + height, left : left + width] = BLUE


FIGURES = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(-20, 20), st.integers(-20, 20),
              st.booleans(), st.booleans()),
    unique_by=lambda figure: figure[:2], min_size=6, max_size=20,
)  # fmt: skip
"""Places on a lattice of 130 px, each pushed about, so that no two figures are one; lying or
upright; one plate or two."""


@settings(max_examples=25, deadline=None)
@given(FIGURES, st.integers(0, 190), st.integers(0, 190), st.sampled_from([64, 80, 100, 128]))
def test_another_grid_finds_the_same_to_a_pixel(
    figures: list[tuple[int, int, int, int, bool, bool]], dx: int, dy: int, overlap: int
) -> None:
    """The grid is moved by cutting the image's left and upper edge off."""
    image = np.full((1000, 1130, 3), PINK, np.uint8)
    places = []
    for column, line, x, y, upright, pair in figures:
        centre = (270 + 130 * column + x, 270 + 130 * line + y)
        draw(image, *centre, upright=upright, pair=pair)
        places.append(centre)
    moved = np.ascontiguousarray(image[dy:, dx:])
    found = search_image(FigureReader(), moved, MPP, Cut(tile=256, overlap=overlap))
    assert len(found) == len(places)
    for x, y in places:
        assert np.abs(found[:, :2] + (dx, dy) - (x, y)).max(axis=1).min() <= 1


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("upright", [False, True])
def test_figures_on_every_edge_and_corner_of_a_tile(upright: bool, pair: bool) -> None:
    cut = Cut(tile=256, overlap=64)
    for shift in range(-72, 73, 9):  # past both edges of an overlap, around the corner of four
        image = np.full((700, 700, 3), PINK, np.uint8)
        draw(image, 224 + shift, 224, upright=upright, pair=pair)
        draw(image, 224 + shift, 416 + shift, upright=upright, pair=pair)
        found = search_image(FigureReader(), image, MPP, cut)
        assert len(found) == 2
        assert {tuple(place) for place in np.round(found[:, :2])} == {
            (224 + shift, 224), (224 + shift, 416 + shift),
        }  # fmt: skip


# --- which tile speaks ------------------------------------------------------------------------

ROW = [Window(0, 0, 100, 100), Window(60, 0, 100, 100)]
"""They share 60 to 100; the border is at 80."""


def one(x: float, score: float = 0.9, y: float = 50) -> Detections:
    return np.array([[x, y, 16, 16, score, 0]])


def test_what_a_cut_cell_looks_like_at_the_edge_does_not_count() -> None:
    """The tile whose middle it is nearer to saw it whole, and nothing in it."""
    nothing = np.empty((0, 6))
    assert len(stitch(ROW, [one(97), nothing], (1, 1))) == 0
    assert len(stitch(ROW, [nothing, one(3)], (1, 1))) == 0
    assert stitch(ROW, [one(79), nothing], (1, 1))[:, 0].tolist() == [79]
    assert stitch(ROW, [nothing, one(21)], (1, 1))[:, 0].tolist() == [81]


def test_where_nobody_else_looked_every_tile_may_speak() -> None:
    assert len(stitch(ROW[:1], [one(97)], (1, 1))) == 1
    corner = [Window(0, 0, 100, 100), Window(60, 60, 100, 100)]  # two of four tiles are glass
    assert len(stitch(corner, [one(97, y=20), one(3, y=90)], (1, 1))) == 2


def test_two_tiles_that_place_a_centre_on_either_side_of_the_border_lose_nothing() -> None:
    found = stitch(ROW, [one(80.5), one(19.4)], (1, 1))  # each leaves it to the other
    assert len(found) == 1
    assert 79 <= found[0, 0] <= 81


def test_of_equal_scores_the_tile_that_answers_for_the_place_is_believed() -> None:
    assert stitch(ROW, [one(79, 0.5), one(19.5, 0.5)], (1, 1))[:, 0].tolist() == [79]
    assert stitch(ROW, [one(79, 0.5), one(19.5, 0.6)], (1, 1))[:, 0].tolist() == [79.5]


def test_tiles_that_lie_anywhere_are_merged_alone() -> None:
    rng = np.random.default_rng(0)
    windows = [Window(int(x), int(y), 64, 64) for x, y in rng.integers(0, 400, (30, 2))]
    cells = rng.uniform(30, 430, (12, 2)) // 40 * 40  # at least 40 px apart
    cells = np.unique(cells, axis=0)
    found = [
        np.array(
            [(x - w.x, y - w.y, 16, 16, 0.9, 0) for x, y in cells
             if w.x <= x < w.x + 64 and w.y <= y < w.y + 64]
        ).reshape(-1, 6)
        for w in windows
    ]  # fmt: skip
    seen = {
        (x, y)
        for x, y in cells.tolist()
        if any(w.x <= x < w.x + 64 and w.y <= y < w.y + 64 for w in windows)
    }
    assert {(x, y) for x, y, *_ in stitch(windows, found, (1, 1)).tolist()} == seen


def test_the_order_of_the_tiles_plays_no_part() -> None:
    windows = grid(300, 200, 100, 40)
    rng = np.random.default_rng(1)
    found = [
        np.column_stack([rng.uniform(0, 100, (9, 2)), np.full((9, 2), 16), rng.random((9, 1)),
                         np.zeros((9, 1))])
        for _ in windows
    ]  # fmt: skip
    order = rng.permutation(len(windows))
    again = stitch([windows[i] for i in order], [found[i] for i in order], (1, 1))
    assert np.array_equal(stitch(windows, found, (1, 1)), again)


def test_without_tiles_nothing_is_found() -> None:
    assert stitch([], [], (1, 1)).shape == (0, 6)
