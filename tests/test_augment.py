"""Augmented copies: pixels, boxes and shapes move together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.shapes import Ellipse, Pixels, Shape
from mitoyolo.convert.augment import AUGMENTATIONS, TRANSFORMS, copies
from mitoyolo.dataset import Labelled, Tile

TILE = Tile(
    name="t", source="s", case="c", split="train", x=0, y=0, width=9, height=5, mpp=(0.5, 0.5)
)


def test_the_transforms_are_numpys() -> None:
    image = np.arange(5 * 9 * 3, dtype=np.uint8).reshape(5, 9, 3)
    for name, expected in {
        "fliph": np.fliplr(image),
        "flipv": np.flipud(image),
        "rot90": np.rot90(image),
        "rot180": np.rot90(image, 2),
        "rot270": np.rot90(image, 3),
    }.items():
        np.testing.assert_array_equal(TRANSFORMS[name].pixels(image), expected)
    assert len(TRANSFORMS) == 5


corners = st.tuples(st.integers(0, 8), st.integers(0, 4), st.integers(1, 9), st.integers(1, 5))


@pytest.mark.parametrize("name", TRANSFORMS)
@given(corners)
def test_a_box_keeps_its_pixels(name: str, corner: tuple[int, int, int, int]) -> None:
    left, top = corner[:2]
    box = (left, top, min(9, left + corner[2]), min(5, top + corner[3]))
    image = np.zeros((5, 9, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 1
    transform = TRANSFORMS[name]
    moved = transform.pixels(image)
    assert moved.shape[1::-1] == transform.size(9, 5)
    left, top, right, bottom = (int(v) for v in transform.box(box, 9, 5))
    assert moved[top:bottom, left:right].all() and moved.sum() == image.sum()
    # a shape of the same pixels goes to the same place
    pixels = Pixels(frozenset((x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])))
    assert transform.shape(pixels, 9, 5).box == (left, top, right, bottom)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_turned_ellipse_turns(name: str) -> None:
    transform = TRANSFORMS[name]
    ellipse = Ellipse(3, 2, 4, 1.5, 0.4)
    moved = transform.shape(ellipse, 9, 5)
    assert isinstance(moved, Ellipse)
    assert moved.box == pytest.approx(transform.box(ellipse.box, 9, 5))
    turned_back = name in ("fliph", "flipv", "rot90", "rot270")  # its slope changes its sign
    slope = np.sin(2 * moved.rotation) * (moved.width - moved.height)
    assert (slope < 0) == turned_back


def test_copies_of_a_tile() -> None:
    shape: Shape = Ellipse(2, 2, 2, 2)
    item = Labelled(TILE, ((1, (1, 1, 3, 3)), (0, (8, 0, 9, 1))), (shape, None))
    made = copies(item, ("flips", "rot90"))
    names = [transform for key in ("flips", "rot90") for transform in AUGMENTATIONS[key]]
    assert [copy.transform for copy in made] == names
    assert [copy.item.tile.name for copy in made] == [f"t_{name}" for name in names]
    assert {copy.of for copy in made} == {"t"}
    flipped, turned = made[0].item, made[2].item
    assert flipped.boxes == ((1, (6, 1, 8, 3)), (0, (0, 0, 1, 1)))
    assert flipped.shapes[1] is None and flipped.shapes[0] is not None
    assert (turned.tile.width, turned.tile.height) == (5, 9)
    assert turned.boxes[1] == (0, (0, 0, 1, 1))  # the upper right corner turns to the upper left
    assert copies(item, ()) == []
