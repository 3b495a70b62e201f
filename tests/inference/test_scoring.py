"""From tiles to what is scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rendered import Cell, PixelDetector, Source, write_dataset

from mitoyolo.dataset import open_dataset
from mitoyolo.evaluation.metrics import count
from mitoyolo.evaluation.protocols import get_protocol
from mitoyolo.inference.apply import detect_tiles
from mitoyolo.inference.scoring import by_source, fields_of


def test_a_mitosis_in_two_tiles_is_one_detection_and_one_truth(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", [Source("a", "test", (Cell(48, 30),), width=96)])
    dataset = open_dataset(root)
    of_tile = detect_tiles(PixelDetector(), dataset, "test")
    assert [len(rows) for rows in of_tile.values()] == [1, 1]
    assert len(list((root / "labels" / "test").glob("*.txt"))) == 2
    found = by_source(dataset.of_split("test"), of_tile)
    assert found["a"][:, :2].tolist() == [[48, 30]]
    (field,) = fields_of(dataset, "test", found, ["mitosis"])
    assert field.truth.tolist() == [[48, 30]]
    counts = count([field], get_protocol("centroid"), 0.5)
    assert (counts.tp, counts.fp, counts.fn) == (1, 0, 0)


def test_a_source_without_detections_is_scored_too(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", [Source("a", "test", (Cell(20, 20),)), Source("b", "val")])
    dataset = open_dataset(root)
    (field,) = fields_of(dataset, "test", {}, ["mitosis"])
    assert (field.image, len(field.truth), len(field.detections)) == ("a", 1, 0)


def test_unequal_scales_are_each_along_their_axis(tmp_path: Path) -> None:
    source = Source("a", "test", case="7", width=96, height=64, scanner="H")
    dataset = open_dataset(write_dataset(tmp_path / "d", [source], mpp=(0.25, 1.0)))
    rows = np.array([[10, 10, 16, 16, s, 0] for s in (0.9, 0.8)], dtype=float)
    rows[1, 0] += 30  # 7.5 µm across
    tiles = dataset.of_split("test")
    assert len(by_source(tiles, {tiles[0].name: rows})["a"]) == 1
    rows[1, :2] = (10, 20)  # 10 µm down
    assert len(by_source(tiles, {tiles[0].name: rows})["a"]) == 2
    (field,) = fields_of(dataset, "test", {}, ["mitosis"])
    assert field.area_mm2 == pytest.approx(96 * 0.25 * 64 / 1e6)
    assert (field.case, field.mpp, field.domain["scanner"]) == ("7", (0.25, 1.0), "H")


def test_only_what_is_on_tiles_was_searched(tmp_path: Path) -> None:
    """Of a slide, tiles of glass are left out: two tiles of 64 px, which share 16 px, are there."""
    dataset = open_dataset(write_dataset(tmp_path / "d", [Source("a", "test")]))
    tile = dataset.tiles[0]
    places = [(3200, 6400), (3248, 6400)]
    tiles = tuple(
        replace(tile, name=f"a{x}", x=x, y=y, width=64, height=64, mpp=(0.25, 0.5))
        for x, y in places
    )
    (field,) = fields_of(replace(dataset, tiles=tiles), "test", {}, ["mitosis"])
    assert field.area_mm2 == pytest.approx((64 + 48) * 64 * 0.125 / 1e6)
    assert field.size == (3312, 6464)


def test_only_mitoses_are_scored(tmp_path: Path) -> None:
    cells = (Cell(20, 20), Cell(70, 40, 0.6, "imposter"))
    root = write_dataset(
        tmp_path / "d", [Source("a", "test", cells)], labels=("mitosis", "imposter")
    )
    rows = np.array([[20, 20, 16, 16, 0.9, 0], [70, 40, 16, 16, 0.8, 1]], dtype=float)
    (field,) = fields_of(open_dataset(root), "test", {"a": rows}, ["mitosis", "imposter"])
    assert field.truth.tolist() == [[20, 20]]
    assert field.detections.tolist() == [[20, 20]]
