"""Several views of a tile: turned, turned back, and fused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendered import card

from converters.errors import InputError, OptionError
from mitoyolo.detectors.card import VIEWS, Card, card_from_dict
from mitoyolo.detectors.views import (
    FAINT,
    Views,
    check_views,
    fused,
    turned,
    turned_back,
)
from mitoyolo.images import RGB
from mitoyolo.inference.merge import MERGE_UM, Detections

TURNS = [(turns, mirrored) for turns in range(4) for mirrored in (False, True)]


class Brightest:
    """Finds the one bright rectangle of each tile; remembers what it was shown."""

    classes = ("mitosis",)
    imgsz = 64
    device = "cpu"
    least = 0.0
    card: Card | None = None

    def __init__(self, score: float = 0.8) -> None:
        self.score = score
        self.shapes: list[tuple[int, ...]] = []
        self.sizes: list[int | None] = []

    def predict(self, tiles: Sequence[RGB], imgsz: int | None = None) -> list[Detections]:
        self.shapes.append(tiles[0].shape)
        self.sizes.append(imgsz)
        found = []
        for tile in tiles:
            y, x = np.nonzero(tile[..., 0] == 255)
            sides = (np.ptp(x) + 1, np.ptp(y) + 1)
            centre = (x.min() + sides[0] / 2, y.min() + sides[1] / 2)
            found.append(np.array([[*centre, *sides, self.score, 0.0]]))
        return found


def tile_with(left: int, top: int, width: int, height: int, shape: tuple[int, int]) -> RGB:
    tile = np.zeros((*shape, 3), np.uint8)
    tile[top : top + height, left : left + width] = 255
    return tile


@pytest.mark.parametrize(("turns", "mirrored"), TURNS)
def test_what_is_found_on_a_turned_tile_lies_where_it_lies_on_the_tile(
    turns: int, mirrored: bool
) -> None:
    tile = tile_with(31, 5, 6, 9, (48, 64))
    (there,) = Brightest().predict([turned(tile, turns, mirrored)])
    back = turned_back(there, turns, mirrored, 64, 48)
    assert back.tolist() == [[34.0, 9.5, 6.0, 9.0, 0.8, 0.0]]


@pytest.mark.parametrize("views", [2, 4, 8])
def test_all_views_of_one_mark_are_one_detection(views: int) -> None:
    inner = Brightest()
    tiles = [tile_with(31, 5, 6, 9, (48, 64)), tile_with(0, 40, 4, 8, (48, 64))]
    seen = Views(inner, card(views=views))
    first, second = seen.predict(tiles, 128)
    np.testing.assert_allclose(first, [[34.0, 9.5, 6.0, 9.0, 0.8, 0.0]])
    np.testing.assert_allclose(second, [[2.0, 44.0, 4.0, 8.0, 0.8, 0.0]])
    assert len(inner.shapes) == views
    assert set(inner.sizes) == {128}
    pictures = {turned(tiles[0], *turn).tobytes() for turn in seen._turns}
    assert len(pictures) == views  # no view twice


def test_what_one_of_two_views_misses_has_half_the_score() -> None:
    one = np.array([[10.0, 10, 4, 4, 0.9, 0], [40, 10, 4, 4, 0.6, 0]])
    other = np.array([[12.0, 10, 8, 4, 0.3, 0]])
    np.testing.assert_allclose(
        fused([one, other], (1.0, 1.0)),
        [[10.5, 10, 5, 4, 0.6, 0], [40, 10, 4, 4, 0.3, 0]],  # 3 to 1; (0.9 + 0.3) / 2
    )


def test_classes_are_fused_apart_and_a_view_counts_once() -> None:
    one = np.array([[10.0, 10, 4, 4, 0.8, 0], [11, 10, 4, 4, 0.6, 0], [10, 10, 4, 4, 0.5, 1]])
    other = np.empty((0, 6))
    np.testing.assert_allclose(
        fused([one, other], (1.0, 1.0)), [[10, 10, 4, 4, 0.4, 0], [10, 10, 4, 4, 0.25, 1]]
    )


def test_the_radius_is_of_micrometres() -> None:
    rows = [np.array([[x, 10.0, 4, 4, 0.5, 0]]) for x in (10.0, 10.0 + MERGE_UM)]
    assert len(fused(rows, (1.0, 5.0))) == 1
    assert len(fused(rows, (1.01, 1.0))) == 2


def test_nothing_and_the_faint_are_nothing() -> None:
    nothing = np.empty((0, 6))
    assert fused([nothing, nothing], (1.0, 1.0)).shape == (0, 6)
    faint = np.array([[10.0, 10, 4, 4, FAINT / 2, 0]])
    assert fused([faint, faint], (1.0, 1.0)).shape == (0, 6)


marks = st.tuples(
    st.floats(0, 64), st.floats(0, 64), st.floats(1, 20), st.floats(1, 20),
    st.floats(FAINT, 1), st.integers(0, 1),
)  # fmt: skip


@given(st.lists(st.lists(marks, max_size=6), min_size=1, max_size=4))
def test_fusing_keeps_every_place_and_no_score_grows(views: list[list[tuple[float, ...]]]) -> None:
    found = [np.array(rows, float).reshape(-1, 6) for rows in views]
    result = fused(found, (1.0, 1.0))
    each = np.concatenate(found)
    assert len(result) <= len(each)
    assert (np.diff(result[:, 4]) <= 0).all()
    for label in (0.0, 1.0):
        these, those = result[result[:, 5] == label], each[each[:, 5] == label]
        assert bool(len(these)) == bool(len(those))
        if len(those):
            assert these[:, 4].max() <= those[:, 4].max() + 1e-12
            for x, y in those[:, :2]:  # a mean of places within 8 µm of a seed is not further
                assert np.hypot(these[:, 0] - x, these[:, 1] - y).min() <= 2 * MERGE_UM + 1e-9


@pytest.mark.parametrize(("imgsz", "found"), [(None, 1), (64, 1), (128, 2)])
def test_coarser_tiles_are_fused_in_their_own_micrometres(imgsz: int | None, found: int) -> None:
    """3 px apart on a tile of 32 px: 6 µm where it is enlarged to 64 as tiles of 2 µm/px are for a
    model that was trained on 64 px of 1 µm, and 12 µm where it is enlarged to 128."""

    class Shifted(Brightest):
        def predict(self, tiles: Sequence[RGB], imgsz: int | None = None) -> list[Detections]:
            self.shapes.append(())
            place = {1: 12, 2: 17}[len(self.shapes)]  # mirrored at 17: 15
            return [np.array([[place, 16, 4, 4, 0.8, 0.0]])]

    seen = Views(Shifted(), card(views=2, tile=64, imgsz=64, mpp=(1.0, 1.0)))
    (rows,) = seen.predict([np.zeros((32, 32, 3), np.uint8)], imgsz)
    assert len(rows) == found


@pytest.mark.parametrize("views", [0, 3, 16, -1])
def test_other_numbers_of_views_are_refused(views: int) -> None:
    with pytest.raises(OptionError, match="expected one of 1, 2, 4, 8"):
        check_views(views)


def test_a_card_without_views_is_of_one() -> None:
    values = card().to_dict()
    del values["views"]
    assert card_from_dict(values, "x.pt").views == 1
    assert [card_from_dict({**values, "views": n}, "x.pt").views for n in VIEWS] == list(VIEWS)
    with pytest.raises(InputError, match="number of views"):
        card_from_dict({**values, "views": 5}, "x.pt")
    for verifier in ("/tmp/x", "yolov5n.yaml", 5):  # Ultralytics would open such a file
        with pytest.raises(InputError, match="a verifier that there is not"):
            card_from_dict({**values, "verifier": verifier}, "x.pt")
    with pytest.raises(InputError, match="unknown µm/px"):
        card_from_dict({**values, "views": 2, "mpp": None}, "x.pt")
