"""The shared normaliser: modes, what passes through, and its way into files."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from converters.errors import InputError
from mitoyolo.images import RGB
from mitoyolo.stain.normaliser import LITTLE_TISSUE, NO_FIT, Normaliser, spread
from mitoyolo.stain.reinhard import Gauge, Stats
from mitoyolo.stain.target import MODES, Target


def stats_of(*images: RGB) -> Stats | None:
    """Statistics pooled over the tissue of some tiles."""
    gauge = Gauge()
    for image in images:
        gauge.add(image)
    return gauge.tissue()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("colour", "reason"),
    [
        ((255, 255, 255), LITTLE_TISSUE),
        ((0, 0, 0), LITTLE_TISSUE),
        ((222, 140, 190), "one colour"),
    ],
)
def test_tiles_without_stain_pass_through(tissue, mode: str, colour, reason: str) -> None:
    tile = np.full((64, 48, 3), colour, np.uint8)
    fitted = Normaliser("reinhard", mode).fit([tissue(1), tile])
    got, changed = fitted.apply(tile)
    assert not changed
    assert np.array_equal(got, tile)
    assert fitted.apply_or_reason(tile)[1] == reason


@pytest.mark.parametrize("mode", MODES)
def test_four_percent_tissue_passes_and_six_is_normalised(tissue, mode: str) -> None:
    fitted = Normaliser("reinhard", mode).fit([tissue(1)])
    for share, expected in ((0.04, False), (0.06, True)):
        tile = np.full((100, 100, 3), 244, np.uint8)
        tile[: int(100 * share)] = tissue(2, size=(100, 100), shift=(-20, 0, 0))[: int(100 * share)]
        assert fitted.apply(tile)[1] == expected


def test_a_case_without_tissue_passes_through(tissue) -> None:
    white = np.full((32, 32, 3), 250, np.uint8)
    fitted = Normaliser().fit([white, white])
    assert fitted.apply_or_reason(tissue(1))[1] == NO_FIT


def test_case_gives_equal_pixels_equal_colours_and_tile_does_not(tissue) -> None:
    """The seam between neighbours: the overlap of two tiles, normalised in each."""
    slide = tissue(5, size=(96, 300), shift=(-25, 5, 0))
    slide[:, 180:] = slide[:, 180:] // 2 + 40
    left, right = slide[:, :160].copy(), slide[:, 140:].copy()
    for mode, equal in (("case", True), ("target", True), ("tile", False)):
        fitted = Normaliser("reinhard", mode).fit([left, right])
        one, two = fitted.apply(left)[0], fitted.apply(right)[0]
        assert np.array_equal(one[:, 140:], two[:, :20]) == equal


def test_a_case_gets_the_tissue_statistics_of_the_target(tissue) -> None:
    tiles = [tissue(i, shift=(-30, -10, 20), glass=0.3) for i in range(3)]
    goal = stats_of(tissue(9))
    fitted = Normaliser("reinhard", "case", Target(goal, "test")).fit(tiles)
    found = stats_of(*(fitted.apply(tile)[0] for tile in tiles))
    assert goal is not None
    assert found is not None
    assert found.mean == pytest.approx(goal.mean, abs=1.5)
    assert found.std == pytest.approx(goal.std, rel=0.1)


def test_glass_does_not_move_the_fit(tissue) -> None:
    with_glass, without = tissue(1, glass=0.6), tissue(1)[:, 67:].copy()
    white = np.full((500, 500, 3), 250, np.uint8)
    one, two = Normaliser().fit([white, with_glass]), Normaliser().fit([without])
    assert one.source == two.source


def test_a_fit_draws_no_more_tiles_than_it_uses(tissue) -> None:
    drawn = []

    def tiles():
        for i in range(100):
            drawn.append(i)
            yield np.full((8, 8, 3), 255, np.uint8) if i % 2 else tissue(i, size=(32, 32))

    Normaliser().fit(tiles(), limit=5)
    assert drawn == list(range(9))
    drawn.clear()
    Normaliser("reinhard", "tile").fit(tiles())
    assert drawn == []


@pytest.mark.parametrize("count", [0, 1, 2, 3, 6, 64, 65, 1000])
def test_spread_takes_each_once_and_evenly(count: int) -> None:
    order = list(spread(count))
    assert sorted(order) == list(range(count))
    if count >= 65:
        first = sorted(order[:32])
        assert max(b - a for a, b in zip(first, [*first[1:], count], strict=True)) <= count // 14


def test_into_json_and_back_and_to_another_process(tissue) -> None:
    for mode in MODES:
        normaliser = Normaliser("reinhard", mode)
        stored = json.loads(json.dumps(normaliser.to_dict()))
        assert set(stored) == {"method", "mode", "target"}
        assert Normaliser.from_dict(stored) == normaliser
        assert Normaliser.from_dict(stored).to_dict() == stored
        fitted = normaliser.fit([tissue(1)])
        sent = pickle.loads(pickle.dumps(fitted))
        assert np.array_equal(sent.apply(tissue(2))[0], fitted.apply(tissue(2))[0])


def test_where_a_target_was_measured_is_not_compared() -> None:
    stored = Normaliser("reinhard").to_dict()
    stored["target"]["source"] = "elsewhere"
    assert Normaliser.from_dict(stored) == Normaliser("reinhard")
    stored["target"]["mean"][0] += 1
    assert Normaliser.from_dict(stored) != Normaliser("reinhard")


@pytest.mark.parametrize(
    "change",
    [
        {"method": "none"},
        {"mode": "slide"},
        {"target": None},
        {"target": {"mean": [1, 2, 3]}},
        {"target": "default"},
    ],
)
def test_a_damaged_normalisation_is_named(change: dict) -> None:
    with pytest.raises(InputError, match="normalisation"):
        Normaliser.from_dict(Normaliser().to_dict() | change)
    for value in ({}, {"method": "reinhard"}, [], "reinhard"):
        with pytest.raises(InputError, match="normalisation"):
            Normaliser.from_dict(value)
