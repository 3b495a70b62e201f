"""What counts as tissue."""

from __future__ import annotations

import numpy as np
import pytest

from mitoyolo.stain.tissue import tissue_fraction, tissue_mask


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
