"""Reinhard by tables: staintools' pixels, its statistics, and their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.errors import InputError
from mitoyolo.images import RGB
from mitoyolo.stain import reinhard
from mitoyolo.stain.reinhard import DEFAULT, DEFAULT_WHOLE, Gauge, Stats, tables


def stats_of(*images: RGB) -> Stats | None:
    """Statistics pooled over the tissue of some tiles."""
    gauge = Gauge()
    for image in images:
        gauge.add(image)
    return gauge.tissue()


def whole(image: RGB) -> Stats:
    gauge = Gauge()
    gauge.add(image)
    found = gauge.whole()
    assert found is not None
    return found


SHIFTS = [(0, 0, 0), (-40, -30, 10), (20, 30, 15), (-90, -50, -20), (30, -60, -60)]


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("seed", range(4))
def test_pixels_are_staintools(tissue, seed: int, shift: tuple[int, int, int]) -> None:
    staintools = pytest.importorskip(
        "staintools", reason="the reference; `pip install staintools spams-bin` compares with it"
    )
    tile = tissue(seed, size=(90 + seed, 131), shift=shift, glass=0.2 * (seed % 2))
    target = tissue(100 + seed, shift=SHIFTS[seed], glass=0.1)
    for goal in (target, tile):  # its own target too: the last bit decides there
        reference = staintools.ReinhardColorNormalizer()
        reference.fit(goal)
        expected = reference.transform(tile.copy())
        got = reinhard.map_tile(tile, None, whole(goal))
        assert got is not None
        assert int(np.abs(got.astype(int) - expected).max()) == 0
        assert np.array_equal(reinhard.apply(tile, whole(tile), whole(goal)), expected)


def test_statistics_against_the_definition(tissue) -> None:
    """Pooled over the tissue of both tiles, as one population, in staintools' units."""
    tiles = [tissue(1, glass=0.5), tissue(2, shift=(-30, 0, 0), size=(60, 70))]
    pixels = []
    for tile in tiles:
        mask = (tile.max(axis=2).astype(int) - tile.min(axis=2) >= 16) & (tile.mean(axis=2) < 230)
        pixels.append(reinhard.to_lab(tile)[mask].astype(float))
    lab = np.concatenate(pixels)
    units = np.stack([lab[:, 0] / 2.55, lab[:, 1] - 128, lab[:, 2] - 128], axis=1)
    found = stats_of(*tiles)
    assert found is not None
    assert found.mean == pytest.approx(units.mean(axis=0), abs=0.05)
    assert found.std == pytest.approx(units.std(axis=0), abs=0.05)
    assert stats_of(*tiles[::-1]) == found


def test_whole_of_several_agrees_with_whole_of_their_union(tissue) -> None:
    one, two = tissue(1), tissue(2)
    gauge = Gauge()
    gauge.add(one)
    gauge.add(two)
    pooled, joined = gauge.whole(), whole(np.concatenate([one, two]))
    assert pooled is not None
    assert pooled.mean == pytest.approx(joined.mean, abs=1e-5)
    assert pooled.std == pytest.approx(joined.std, abs=1e-5)


def test_the_result_has_the_targets_statistics(tissue) -> None:
    source, target = tissue(3, shift=(-30, 10, -20)), tissue(4)
    goal = whole(target)
    mapped = reinhard.map_tile(source, None, goal)
    assert mapped is not None
    found = whole(mapped)
    assert found.mean == pytest.approx(goal.mean, abs=1.0)  # cut to whole levels: half a level
    assert found.std == pytest.approx(goal.std, rel=0.06)
    assert whole(source).mean != pytest.approx(goal.mean, abs=3.0)


def test_nothing_to_measure(tissue) -> None:
    assert stats_of() is None
    assert stats_of(np.full((9, 9, 3), 255, np.uint8)) is None
    assert stats_of(np.full((9, 9, 3), (222, 140, 190), np.uint8)) is None
    flat = np.full((9, 9, 3), (222, 140, 190), np.uint8)
    assert reinhard.map_tile(flat, None, DEFAULT) is None
    assert reinhard.map_tile(flat, DEFAULT, DEFAULT) is None
    assert reinhard.map_tile(tissue(1), None, DEFAULT) is not None


numbers = st.floats(0.01, 60)
stats = st.builds(
    Stats,
    st.tuples(st.floats(0, 100), st.floats(-128, 127), st.floats(-128, 127)),
    st.tuples(numbers, numbers, numbers),
)


@given(stats, stats)
@settings(max_examples=60, deadline=None)
def test_tables_rise_and_move_mean_to_mean(source: Stats, target: Stats) -> None:
    table = tables(source, target).astype(int)
    assert table.shape == (256, 3)
    assert (np.diff(table, axis=0) >= 0).all()
    for channel, (factor, zero) in enumerate([(2.55, 0), (1, 128), (1, 128)]):
        level = source.mean[channel] * factor + zero
        goal = target.mean[channel] * factor + zero
        low, high = table[math.floor(level), channel], table[min(math.ceil(level), 255), channel]
        assert low - 1 <= goal <= high + 1


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"mean": [50, 10, 0]}, "`std`"),
        ({"mean": [50, 10], "std": [1, 1, 1]}, "`mean`"),
        ({"mean": "abc", "std": [1, 1, 1]}, "`mean`"),
        ({"mean": [True, 0, 0], "std": [1, 1, 1]}, "`mean`"),
        ({"mean": [50, 10, 0], "std": [1, 0, 1]}, "std of a"),
        ({"mean": [50, 10, 0], "std": [1, 1, float("inf")]}, "std of b"),
        ({"mean": [float("nan"), 10, 0], "std": [1, 1, 1]}, "mean of L"),
        ({"mean": [120, 10, 0], "std": [1, 1, 1]}, "mean of L"),
    ],
)
def test_numbers_that_are_no_statistics(value: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        Stats.from_dict(value)


def test_the_defaults_are_haematoxylin_and_eosin() -> None:
    for default in (DEFAULT, DEFAULT_WHOLE):
        lightness, green_red, blue_yellow = default.mean
        assert 40 < lightness < 80
        assert green_red > 20  # towards magenta
        assert blue_yellow < -5  # towards blue
        assert all(3 < deviation < 25 for deviation in default.std)
        assert Stats.from_dict(default.to_dict()) == default
    assert DEFAULT_WHOLE.mean[0] > DEFAULT.mean[0]  # glass is bright


def test_histogram_counts_every_pixel_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts as in one, so that no count passes what single precision holds exactly."""
    lab = np.random.default_rng(0).integers(0, 256, (70, 31, 3)).astype(np.uint8)
    mask = np.random.default_rng(1).random((70, 31)) < 0.4
    expected = np.stack([np.bincount(lab[mask][:, c], minlength=256) for c in range(3)], axis=1)
    assert np.array_equal(reinhard.histogram(lab, mask), expected)
    monkeypatch.setattr(reinhard, "_EXACT", 100)
    assert np.array_equal(reinhard.histogram(lab, mask), expected)
    assert reinhard.histogram(lab).sum() == lab.size
