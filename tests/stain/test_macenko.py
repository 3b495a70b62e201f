"""Macenko by a matrix: torchstain's pixels, stains that are known, and the limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import real
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.errors import InputError
from mitoyolo.images import RGB, read_rgb
from mitoyolo.stain import macenko
from mitoyolo.stain.macenko import DEFAULT, DEFAULT_WHOLE, Gauge, Stats, measure
from mitoyolo.stain.sample import Sample

STAINS = np.array([[0.65, 0.65, 0.40], [0.25, 0.92, 0.30]])
STAINS /= np.linalg.norm(STAINS, axis=1, keepdims=True)


def painted(seed: int, most: tuple[float, float], size: int = 160) -> RGB:
    """Pixels of two known stains, each alone in many of them, and none paler than glass."""
    rng = np.random.default_rng(seed)
    amounts = rng.uniform(0.6, 1, (size, size, 2)) * most
    kind = rng.integers(0, 3, (size, size))
    amounts[kind == 0, 1] = 0
    amounts[kind == 1, 0] = 0
    levels = 240 * np.exp(-amounts @ STAINS) - 1
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def torchstain(target: RGB):  # type: ignore[no-untyped-def]
    """The reference, fitted."""
    package = pytest.importorskip(
        "torchstain", reason="the reference; `pip install torchstain` compares with it"
    )
    normaliser = package.normalizers.MacenkoNormalizer(backend="numpy")
    normaliser.fit(target)
    return normaliser


def share_within(levels: int, one: RGB, other: RGB) -> float:
    difference = np.abs(one.astype(int) - other.astype(int)).max(axis=2)
    return float((difference <= levels).mean())


@pytest.mark.parametrize("shift", [(0, 0, 0), (-40, -30, 10), (20, 30, 15), (-60, -30, -20)])
@pytest.mark.parametrize("seed", range(3))
def test_pixels_are_torchstains(tissue, seed: int, shift: tuple[int, int, int]) -> None:
    tile = tissue(seed, size=(131 + seed, 150), shift=shift, glass=0.2 * (seed % 2))
    target = tissue(100 + seed, size=(140, 140), glass=0.1)
    goal = measure(target)
    assert goal is not None
    expected = torchstain(target).normalize(tile, stains=False)[0]
    got = macenko.map_tile(tile, None, goal)
    assert got is not None
    assert not np.array_equal(got, tile)
    # one level, where a value is cut on the other side of a whole number
    assert share_within(1, got, expected) == 1
    assert share_within(0, got, expected) > 0.99


def test_numbers_are_torchstains(tissue) -> None:
    tile = tissue(5, size=(200, 200), glass=0.3)
    reference = torchstain(tile)
    found = measure(tile)
    assert found is not None
    assert np.transpose(found.stains) == pytest.approx(reference.HERef, abs=1e-5)
    assert found.concentrations == pytest.approx(reference.maxCRef, abs=1e-4)


def test_real_frames_are_torchstains_to_two_levels() -> None:
    """On 99 % of the pixels of every tile, by both of its back ends."""
    frames = sorted(real("mitos_atypia_14").glob("*/frames/x40/*"))[::23]
    tiles = [np.ascontiguousarray(read_rgb(frame)[300:812, 300:812]) for frame in frames]
    reference = torchstain(tiles[0])
    goal = measure(tiles[0])
    assert goal is not None
    import torch
    from torchstain.torch.normalizers import TorchMacenkoNormalizer

    single = TorchMacenkoNormalizer()
    single.fit(torch.from_numpy(tiles[0]).permute(2, 0, 1))
    for tile in tiles:
        got = macenko.map_tile(tile, None, goal)
        assert got is not None
        expected = reference.normalize(tile, stains=False)[0]
        assert share_within(2, got, expected) >= 0.99
        by_torch = single.normalize(torch.from_numpy(tile).permute(2, 0, 1), stains=False)[0]
        assert share_within(2, got, by_torch.numpy().astype(np.uint8)) >= 0.99


def test_known_stains_are_found() -> None:
    found = measure(painted(1, (2.0, 1.5)))
    assert found is not None
    assert np.array(found.stains) == pytest.approx(STAINS, abs=0.02)
    # two thirds of the pixels have an amount spread evenly up to the most
    assert found.concentrations == pytest.approx((2.0, 1.5), rel=0.03)


def test_strength_is_brought_to_the_target() -> None:
    pale, dark = painted(1, (1.4, 1.1)), painted(1, (2.0, 1.5))
    source, goal = measure(pale), measure(dark)
    assert source is not None
    assert goal is not None
    got = macenko.apply(pale, source, goal)
    assert np.abs(got.astype(int) - dark).mean() < 2
    assert np.abs(pale.astype(int) - dark).mean() > 20


def test_a_fixed_map_knows_colours_alone(tissue) -> None:
    """A pixel's new colour does not depend on its tile: no seams in mode case."""
    source = measure(tissue(1, size=(150, 150)))
    assert source is not None
    tile = tissue(2, size=(64, 64))
    whole = macenko.apply(tile, source, DEFAULT)
    for part in (np.s_[:17, :], np.s_[:, 40:], np.s_[::3, ::5]):
        assert np.array_equal(macenko.apply(tile[part], source, DEFAULT), whole[part])


@pytest.mark.parametrize("strength", [1.0, 30.0, 3000.0])
def test_map_against_the_formula(strength: float) -> None:
    """Every sort of colour, in double precision; what is out of range is cut, never wrapped."""
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8)
    goal = Stats(DEFAULT_WHOLE.stains, (2.1 * strength, 1.1 * strength))
    amounts = np.linalg.pinv(np.transpose(DEFAULT.stains)) @ density_of(image).reshape(-1, 3).T
    scaled = amounts.T / DEFAULT.concentrations * goal.concentrations
    with np.errstate(over="ignore"):
        expected = np.minimum(240 * np.exp(-scaled @ np.array(goal.stains)), 255).reshape(60, 60, 3)
    got = macenko.apply(image, DEFAULT, goal).astype(float)
    assert (got <= expected + 0.1).all()
    assert (got > expected - 1.1).all()


def density_of(image: RGB) -> np.ndarray:
    return -np.log((image.astype(float) + 1) / 240)


@pytest.mark.parametrize(
    "image",
    [
        np.full((40, 40, 3), 255, np.uint8),
        np.zeros((40, 40, 3), np.uint8),
        np.full((40, 40, 3), (200, 100, 160), np.uint8),
        np.random.default_rng(0).integers(0, 256, (15, 17, 3)).astype(np.uint8),  # too few pixels
        np.random.default_rng(0).integers(210, 256, (99, 99, 3)).astype(np.uint8),  # all glass
        np.repeat(np.random.default_rng(0).integers(0, 200, (99, 99, 1)), 3, 2).astype(np.uint8),
    ],
    ids=["white", "black", "one colour", "tiny", "glass", "grey"],
)
def test_no_two_stains_no_map(image: RGB) -> None:
    assert macenko.map_tile(image, None, DEFAULT) is None


def test_one_colour_is_left_even_with_a_fit() -> None:
    pink = np.full((40, 40, 3), (200, 100, 160), np.uint8)
    assert macenko.map_tile(pink, DEFAULT, DEFAULT) is None


@settings(max_examples=200)
@given(
    count=st.integers(256, 2000),
    digits=st.sampled_from([0, 1, 2, 9]),
    rising=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_percentile_is_numpys(
    count: int, digits: int, rising: bool, masked: bool, seed: int
) -> None:
    """With many equal values, and with few."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(-3, 3, count).round(digits)
    array = np.array(sorted(values) if rising else values, np.float32)
    where = rng.random(count) < 0.7 if masked else None
    expected = np.percentile(array[where] if masked else array, 99)
    assert macenko._percentile_99(array, where) == pytest.approx(expected, abs=1e-6)


def test_percentile_where_the_sample_misleads() -> None:
    """Every 64th value is far above all others, so its 96 % mark lies beyond the 99 % of all."""
    values = np.zeros(64_000, np.float32)
    values[::64] = np.arange(1000) + 100
    values[1:600:2] = 50
    assert macenko._percentile_99(values, np.arange(64_000) % 64 > 0) == 0
    values[::64] = np.where(np.arange(1000) < 500, 0, 200)
    assert macenko._percentile_99(values) == np.percentile(values, 99) == 50
    values[::64] = -1
    assert macenko._percentile_99(values) == np.percentile(values, 99) == 0


def test_gauge_of_one_tile_is_the_tile(tissue) -> None:
    tile = tissue(3, size=(150, 150), glass=0.4)
    gauge = Gauge()
    gauge.add(tile)
    assert gauge.whole() == measure(tile)
    assert gauge.tissue() != gauge.whole()


def test_gauge_pools_tiles() -> None:
    gauge = Gauge()
    for seed, most in ((1, (2.0, 1.5)), (2, (1.2, 1.0))):
        gauge.add(painted(seed, most))
    found = gauge.tissue()
    assert found is not None
    assert 1.8 < found.concentrations[0] < 2.0  # the darker tile has the upper percent
    assert Gauge().tissue() is None


def test_sample_is_bounded_and_even() -> None:
    sample = Sample(1000)
    pixels = np.arange(5 * 700 * 3, dtype=np.uint32).reshape(-1, 3)
    for part in np.split(pixels, 5):
        sample.add(part)  # type: ignore[arg-type]
    kept = sample.pixels()[0]
    assert 500 <= len(kept) <= 1000
    assert kept.shape[1:] == (3,)
    # each of the five parts has its share
    counts = np.histogram(kept[:, 0] // 3, bins=5, range=(0, 3500))[0]
    assert counts.min() >= 0.9 * counts.max()


def test_statistics_come_back_from_json() -> None:
    assert Stats.from_dict(DEFAULT.to_dict()) == DEFAULT
    assert DEFAULT != DEFAULT_WHOLE


UNIT = [0.6, 0.8, 0.0]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "`stains` is None"),
        ({"stains": [UNIT], "concentrations": [1, 1]}, "expected two of [R, G, B]"),
        ({"stains": [UNIT, "x"], "concentrations": [1, 1]}, "expected three numbers [R, G, B]"),
        ({"stains": [UNIT, [0.0, 0.6, 0.8]], "concentrations": 3}, "`concentrations` is 3"),
        ({"stains": [UNIT, [0.0, 0.6, 0.8]], "concentrations": [1, True]}, "expected three"),
        ({"stains": [UNIT, [0.0, 0.6, 0.8]], "concentrations": [1, 0]}, "eosin is 0.0"),
        ({"stains": [UNIT, [0.0, 0.6, 0.8]], "concentrations": [math.nan, 1]}, "haematoxylin"),
        ({"stains": [UNIT, [0.1, 0.1, 0.1]], "concentrations": [1, 1]}, "a unit vector"),
        ({"stains": [UNIT, UNIT], "concentrations": [1, 1]}, "are the same"),
    ],
)
def test_bad_statistics(value: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said.replace("[", r"\[").replace("]", r"\]")):
        Stats.from_dict(value)
