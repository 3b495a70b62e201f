"""Rows of a label file, in pixels of their tile."""

from __future__ import annotations

from pathlib import Path

import pytest
from rendered import Source, write_dataset

from converters.errors import InputError
from mitoyolo.dataset import open_dataset
from mitoyolo.label_file import label_file, read_boxes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = Source("a", "train", width=40, height=20)
    return write_dataset(tmp_path, [source], labels=("mitosis", "imposter"))


def boxes(folder: Path, text: str) -> list[tuple[int, tuple[float, ...]]]:
    dataset = open_dataset(folder)
    (tile,) = dataset.tiles
    label_file(folder, tile).write_text(text)
    return [(label, box) for label, box in read_boxes(dataset, tile)]


def test_rows_become_boxes_in_their_order(folder: Path) -> None:
    text = "1 0.5 0.25 0.5 0.5\n \t\n0 0.75 0.5 0.1 1\r\n"
    assert boxes(folder, text) == [
        (1, pytest.approx((10, 0, 30, 10))),
        (0, pytest.approx((28, 0, 32, 20))),
    ]
    assert boxes(folder, "") == []


def test_rounding_may_carry_a_box_over_the_edge(folder: Path) -> None:
    assert boxes(folder, "0 0.24998 0.5 0.5 1\n") == [(0, pytest.approx((-8e-4, 0, 19.9992, 20)))]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0 0.5 0.5 0.5", "line 2: 4 values, expected 5: class, xc, yc, w, h"),
        ("0 0.5 0.5 0.5 0.5 0.9", "line 2: 6 values, expected 5"),
        ("2 0.5 0.5 0.5 0.5", "line 2: class 2, expected one of: 0 mitosis, 1 imposter"),
        ("-1 0.5 0.5 0.5 0.5", "line 2: class -1, expected"),
        ("0.5 0.5 0.5 0.5 0.5", r"line 2: class 0\.5, expected"),
        ("mitosis 0.5 0.5 0.5 0.5", "line 2: 'mitosis' is not a number"),
        ("0 inf 0.5 0.5 0.5", "line 2: inf is"),
        ("0 0.5 0.5 0 0.5", "line 2: a box of 0 x 0.5 of the tile has no extent"),
        ("0 0.5 0.5 0.5 0", "line 2: a box of 0.5 x 0 of the tile has no extent"),
        ("0 0.5 0.5 0.5 -0.5", "line 2: a box of 0.5 x -0.5 of the tile has no extent"),
        ("0 0.24997 0.5 0.5 1", r"line 2: the box reaches 0\.0012 px beyond its tile of 40 x 20"),
        ("0 0.5 0.2 0.5 0.5", "line 2: the box reaches 1 px beyond its tile"),
        ("0 0.8 0.5 0.5 0.5", "line 2: the box reaches 2 px beyond its tile"),
        ("0 0.5 0.8 0.5 0.5", "line 2: the box reaches 1 px beyond its tile"),
    ],
)
def test_damaged_rows_are_named(folder: Path, row: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"labels/train/a_0_0\.txt, {message}"):
        boxes(folder, f"0 0.5 0.5 0.5 0.5\n{row}\n")


def test_a_missing_file_is_named(folder: Path) -> None:
    dataset = open_dataset(folder)
    label_file(folder, dataset.tiles[0]).unlink()
    with pytest.raises(InputError, match=r"a_0_0\.txt: no such file"):
        read_boxes(dataset, dataset.tiles[0])
