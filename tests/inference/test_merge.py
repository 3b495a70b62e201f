"""Merging: one detection a cell, whatever the order and the tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rendered import Cell, PixelDetector, card, paint
from searched import search_image

from mitoyolo.inference.apply import Cut
from mitoyolo.inference.merge import MERGE_UM, merge


def detection(x: float, y: float, score: float, label: int = 0) -> list[float]:
    return [x, y, 16, 16, score, label]


rows = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 20), st.integers(0, 1)).map(
        lambda t: [t[0], t[1], 16 + t[2] % 3, 16, (t[2] // 3) / 7, t[3]]
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(rows, st.randoms(use_true_random=False))
def test_the_order_plays_no_part(given_rows: list[list[float]], random: object) -> None:
    shuffled = list(given_rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (np.array(r, dtype=float).reshape(-1, 6) for r in (given_rows, shuffled))
    assert np.array_equal(merge(one, (0.5, 0.5)), merge(other, (0.5, 0.5)))


@settings(max_examples=60, deadline=None)
@given(rows)
def test_what_is_kept_stands_apart_and_what_is_left_out_lies_by_a_better_one(
    given_rows: list[list[float]],
) -> None:
    mpp = np.array((0.5, 0.25))
    every = np.array(given_rows, dtype=float).reshape(-1, 6)
    kept = merge(every, (0.5, 0.25))
    assert np.all(np.diff(kept[:, 4]) <= 0)

    def near(row: np.ndarray, others: np.ndarray) -> np.ndarray:
        distance = np.linalg.norm((others[:, :2] - row[:2]) * mpp, axis=1)
        return others[(distance <= MERGE_UM) & (others[:, 5] == row[5])]

    for row in kept:
        assert len(near(row, kept)) == 1
    for row in every:
        assert (near(row, kept)[:, 4] >= row[4]).any()


def test_the_radius_is_inclusive_and_in_micrometres() -> None:
    pair = np.array([detection(0, 0, 0.9), detection(16, 0, 0.8)])
    assert len(merge(pair, (0.5, 0.5))) == 1
    assert len(merge(pair, (0.501, 0.5))) == 2
    upright = pair[:, [1, 0, 2, 3, 4, 5]]
    assert len(merge(upright, (0.501, 0.5))) == 1


def test_a_row_that_fell_takes_nothing_with_it() -> None:
    chain = np.array([detection(0, 0, 0.9), detection(14, 0, 0.8), detection(28, 0, 0.7)])
    assert merge(chain, (0.5, 0.5))[:, 0].tolist() == [0, 28]


def test_classes_are_merged_apart() -> None:
    assert len(merge(np.array([detection(0, 0, 0.9), detection(0, 0, 0.8, 1)]), (1, 1))) == 2


@pytest.mark.parametrize(("tile", "overlap"), [(64, 32), (64, 20), (80, 40), (96, 24), (300, 64)])
def test_another_grid_of_tiles_finds_the_same(tile: int, overlap: int) -> None:
    cells = [Cell(20, 20), Cell(62, 40, 0.6), Cell(64, 100, 0.4), Cell(130, 64), Cell(188, 120)]
    image = paint(200, 130, cells)
    found = search_image(
        PixelDetector(card=card(tile=tile, imgsz=tile)),
        image,
        (0.5, 0.5),
        Cut(tile=tile, overlap=overlap),
    )
    places = {(x, y): score for x, y, _, _, score, _ in found.tolist()}
    assert places == {(c.x, c.y): pytest.approx(c.score) for c in cells}
