"""Masks of tiles: one value an object."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from converters.errors import InputError
from converters.shapes import Ellipse, Polygon, Shape
from mitoyolo.convert.masks import mask, write_mask
from mitoyolo.dataset import Labelled, Tile

TILE = Tile(
    name="t", source="s", case="c", split="train", x=0, y=0, width=20, height=10, mpp=(0.5, 0.5)
)


def item(*shapes: Shape | tuple[float, float, float, float]) -> Labelled:
    boxes = tuple((0, s if isinstance(s, tuple) else s.box) for s in shapes)
    return Labelled(TILE, boxes, tuple(None if isinstance(s, tuple) else s for s in shapes))


def test_values_are_the_rows_of_the_label_file() -> None:
    values = mask(item((0, 0, 2, 3), (4, 4, 6.4, 6.6)))
    expected = np.zeros((10, 20), int)
    expected[0:3, 0:2] = 1
    expected[4:7, 4:6] = 2  # by the pixels' centres
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(mask(Labelled(TILE, ((0, (0, 0, 2, 3)),))), expected == 1)


def test_touching_ellipses_stay_apart() -> None:
    values = mask(item(Ellipse(5, 5, 8, 8), Ellipse(13, 5, 8, 8)))
    assert (values == 1).sum() == pytest.approx(16 * np.pi, abs=3)
    assert values[5, 8] == 1 and values[5, 9] == 2


def test_a_mask_that_no_picture_holds() -> None:
    tile = replace(TILE, width=100_000, height=5_000)
    with pytest.raises(InputError, match=r"s: a mask of 100000 x 5000 px is too large; cut tiles"):
        mask(Labelled(tile, ()))


def test_a_small_object_lies_on_a_large_one() -> None:
    values = mask(item((8, 2, 10, 4), (0, 0, 20, 10)))
    assert (values == 1).sum() == 4 and (values == 2).sum() == 196


def test_a_shape_is_cut_at_the_tile_and_keeps_its_hole() -> None:
    ring = ((-5.0, 0.0), (5.0, 0.0), (5.0, 6.0), (-5.0, 6.0))
    hole = ((1.0, 1.0), (3.0, 1.0), (3.0, 3.0), (1.0, 3.0))
    values = mask(item(Polygon((ring,), (hole,))))
    assert values[:6, :5].sum() == 26 and values.sum() == 26 and not values[1:3, 1:3].any()


def test_the_file_is_indexed_and_shows_colours(tmp_path: Path) -> None:
    found = item((0, 0, 2, 3), (4, 4, 6, 6))
    write_mask(tmp_path / "a.png", found)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.array(picture), mask(found))
        colours = np.array(picture.convert("RGB"))
    assert not colours[9, 9].any() and colours[0, 0].max() > 100
    assert (colours[0, 0] != colours[4, 4]).any()


def test_more_objects_than_a_palette_holds(tmp_path: Path) -> None:
    boxes = tuple((0, (i % 20, i // 20 / 2, i % 20 + 1, i // 20 / 2 + 0.6)) for i in range(300))
    found = Labelled(TILE, boxes)
    write_mask(tmp_path / "a.png", found)
    with Image.open(tmp_path / "a.png") as picture:
        values = np.array(picture)
    np.testing.assert_array_equal(values, mask(found))
    assert values.max() > 255
