"""What counts as tissue."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitoyolo.stain.tissue import MIN_TISSUE, has_tissue, is_flat, tissue_fraction, tissue_mask


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((255, 255, 255), False),
        ((244, 240, 246), False),  # glass, a little violet
        ((128, 128, 128), False),  # a grey shadow
        ((0, 0, 0), False),
        ((8, 0, 3), False),  # a black border's noise: fully saturated as a ratio
        ((255, 222, 235), False),  # a fringe of glass: coloured, but as bright as glass
        ((235, 205, 222), True),  # pale eosin
        ((222, 140, 190), True),
        ((60, 30, 90), True),  # a dark nucleus
    ],
)
def test_colours(colour: tuple[int, int, int], expected: bool) -> None:
    image = np.full((4, 5, 3), colour, np.uint8)
    mask = tissue_mask(image)
    assert mask.dtype == bool
    assert mask.shape == (4, 5)
    assert bool(mask.all()) == bool(mask.any()) == expected
    assert tissue_fraction(image) == float(expected)


def test_fraction_is_the_masks_share() -> None:
    image = np.full((10, 10, 3), 250, np.uint8)
    image[:3, :5] = (222, 140, 190)
    assert tissue_fraction(image) == 0.15
    assert tissue_mask(image)[:3, :5].all()
    assert tissue_mask(image).sum() == 15


def test_an_empty_or_sliced_image() -> None:
    assert tissue_fraction(np.zeros((0, 7, 3), np.uint8)) == 0
    image = np.full((8, 8, 3), (222, 140, 190), np.uint8)
    assert tissue_fraction(image[::2, 1:5]) == 1


@settings(max_examples=200)
@given(
    rows=st.integers(1, 40),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
    where=st.sampled_from(["top", "random"]),
)
def test_a_glance_decides_as_all_rows_do(rows: int, share: float, seed: int, where: str) -> None:
    """Tissue in some rows only, often in those that are looked at first, or in none of them."""
    rng = np.random.default_rng(seed)
    image = np.full((rows, 9, 3), 250, np.uint8)
    count = round(share * rows)
    chosen = np.arange(count) if where == "top" else rng.permutation(rows)[:count]
    image[chosen] = (150, 90, 140)
    assert has_tissue(image) == (tissue_fraction(image) >= MIN_TISSUE)
    noisy = np.clip(image + rng.normal(0, 2 * share, image.shape), 0, 255).astype(np.uint8)
    for least in (0.5, 1.0, 5.0):
        expected = bool((noisy.reshape(-1, 3).std(axis=0) < least).any())
        assert is_flat(noisy, least) == expected


def test_a_glance_at_the_only_rows_that_vary() -> None:
    """They deviate by 2 levels, the whole by 2 / sqrt(8) = 0.7."""
    image = np.full((64, 50, 3), 150, np.uint8)
    image[::8, ::2] += 2
    image[::8, 1::2] -= 2
    assert is_flat(image, 1.0)
    assert not is_flat(image, 0.7)
