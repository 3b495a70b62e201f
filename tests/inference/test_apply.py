"""A model applied at its own µm/px and in its own colours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rendered import CELL, Cell, PixelDetector, Source, card, paint, write_dataset
from searched import search_image

from converters.errors import InputError
from mitoyolo.dataset import Dataset, open_dataset
from mitoyolo.images import RGB, read_rgb
from mitoyolo.inference import apply
from mitoyolo.inference.apply import (
    Cut,
    check_classes,
    data_normaliser,
    detect_tiles,
    network_size,
)
from mitoyolo.stain.normaliser import Fitted, Normaliser
from mitoyolo.stain.target import default_target

REINHARD = Normaliser("reinhard", "case").to_dict()
OTHER = Normaliser("reinhard", "tile", default_target("reinhard", "tile")).to_dict()


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return open_dataset(write_dataset(tmp_path / "d", [Source("a", "test", (Cell(20, 20),))]))


# --- scale ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "mpp", "expected"),
    [
        (64, (0.5, 0.5), 128),  # as trained: 64 px become 128
        (32, (0.5, 0.5), 64),  # a smaller tile, the same cells
        (63, (0.5, 0.5), 128),  # a part of a frame whose edge was rounded
        (65, (0.5, 0.5), 128),
        (64, (0.52, 0.52), 128),  # 4 %: left as it is
        (64, (0.25, 0.25), 64),  # cells are twice as large already
        (64, (1.0, 1.0), 256),
        (8, (0.5, 0.5), 32),  # no less than a stride
    ],
)
def test_a_cell_is_as_large_as_in_training(
    side: int, mpp: tuple[float, float], expected: int
) -> None:
    detector = PixelDetector(card=card(tile=64, imgsz=128), imgsz=128)
    assert network_size(detector, side, mpp) == expected


def test_weights_without_a_card_take_a_tile_for_the_whole_input() -> None:
    detector = PixelDetector(card=None, imgsz=640)
    assert network_size(detector, 64, (0.5, 0.5)) == 640
    assert network_size(detector, 256, (0.5, 0.5), 512) == 320


@pytest.mark.parametrize("tile", [32, 64, 96])
def test_detect_and_val_give_the_network_cells_of_one_size(tile: int, dataset: Dataset) -> None:
    detector = PixelDetector(card=card(tile=64, imgsz=128), imgsz=128)
    search_image(detector, paint(96, 96, []), (0.5, 0.5), Cut(tile=tile, overlap=8))
    assert {size / tile for size in detector.sizes if size} == {2.0}
    detector.sizes.clear()
    detect_tiles(detector, dataset, "test")
    assert detector.sizes == [128]


@pytest.mark.parametrize(("mpp", "size"), [((0.25, 0.25), 2), ((1.0, 1.0), 0.5), ((0.25, 0.5), 1)])
def test_an_image_at_another_scale_is_brought_to_the_models(
    mpp: tuple[float, float], size: float
) -> None:
    cells = [Cell(40, 60), Cell(150, 100, 0.6)]
    image = paint(200, 160, cells, size=int(2 * CELL * size))
    detector = PixelDetector()
    found = search_image(detector, image, mpp, Cut(tile=64, overlap=32))
    assert found[:, :2] == pytest.approx(np.array([[40, 60], [150, 100]]), abs=1.5 / min(mpp) * 0.5)
    assert found[:, 2] == pytest.approx(16 * 0.5 / mpp[0], rel=0.05)
    assert found[:, 3] == pytest.approx(16 * 0.5 / mpp[1], rel=0.05)


def test_a_small_image_is_one_tile_of_its_own_size() -> None:
    detector = PixelDetector()
    found = search_image(
        detector, paint(40, 30, [Cell(20, 15)]), (0.5, 0.5), Cut(tile=64, overlap=32)
    )
    assert found[:, :2].tolist() == [[20, 15]]
    assert detector.sizes == [40]


def test_progress_counts_every_tile() -> None:
    steps: list[int] = []
    image = paint(64 * 6, 64, [])
    search_image(PixelDetector(), image, (0.5, 0.5), Cut(tile=64, overlap=0), steps.append)
    assert sum(steps) == 6


# --- colours ----------------------------------------------------------------------------------


def test_what_remains_to_be_normalised(tmp_path: Path, dataset: Dataset) -> None:
    done = open_dataset(
        write_dataset(tmp_path / "n", [Source("a", "test")], normalisation=REINHARD)
    )
    assert data_normaliser(None, done) is None
    assert data_normaliser(card(), dataset) is None
    assert data_normaliser(card(normalisation=REINHARD), done) is None
    assert data_normaliser(card(normalisation=REINHARD), dataset) == Normaliser("reinhard", "case")


@pytest.mark.parametrize(
    ("trained", "said"), [(None, "on raw tiles"), (OTHER, "on reinhard, tile, to another target")]
)
def test_data_normalised_otherwise_are_refused(
    tmp_path: Path, trained: dict[str, object] | None, said: str
) -> None:
    done = open_dataset(
        write_dataset(tmp_path / "n", [Source("a", "test")], normalisation=REINHARD)
    )
    with pytest.raises(InputError, match=f"normalised .reinhard, case., .*{said}"):
        data_normaliser(card(normalisation=trained), done)


def test_a_damaged_normalisation_of_the_data_names_its_file(tmp_path: Path) -> None:
    root = write_dataset(
        tmp_path / "n", [Source("a", "test")], normalisation={"method": "reinhard"}
    )
    with pytest.raises(InputError, match=r"dataset\.yaml, normalisation: no key"):
        data_normaliser(card(normalisation=REINHARD), open_dataset(root))


def test_one_fit_a_case_and_scanner_over_all_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_dataset(
        tmp_path / "d",
        [
            Source("a", "test", case="1", scanner="A"),
            Source("b", "test", case="1", scanner="H"),
            Source("c", "train", case="1", scanner="A"),
            Source("d", "val", case="2", scanner="A"),
        ],
    )
    groups: list[int] = []

    def fit(self: Normaliser, images: object, *, limit: int = 64) -> Fitted:
        groups.append(len(list(images)))  # type: ignore[call-overload]
        return Fitted("reinhard", self.target.statistics, None, False)

    monkeypatch.setattr(Normaliser, "fit", fit)
    detector = PixelDetector(card=card(normalisation=REINHARD))
    detect_tiles(detector, open_dataset(root), "test")
    assert sorted(groups) == [2, 4]  # b alone; a with c; d is not asked for
    groups.clear()
    target = Normaliser("reinhard", "target").to_dict()
    detect_tiles(PixelDetector(card=card(normalisation=target)), open_dataset(root), "test")
    assert groups == [8]
    groups.clear()
    whole = open_dataset(root)
    copy = replace(whole.tiles[0], name=whole.tiles[1].name)  # of case 1, scanner A
    detect_tiles(detector, replace(whole, others=(copy,)), "test")
    assert sorted(groups) == [2, 5]  # as `normalize`, which fits copies and unlabelled tiles too
    groups.clear()
    detect_tiles(detector, replace(whole, recoloured=(copy,)), "test")
    assert sorted(groups) == [2, 4]  # but no copies that are normalised already


def test_tiles_reach_the_model_in_their_new_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: Dataset
) -> None:
    monkeypatch.setattr(Fitted, "apply_or_reason", lambda self, image: (255 - image, None))
    seen: list[RGB] = []
    detector = PixelDetector(card=card(normalisation=REINHARD))
    monkeypatch.setattr(
        detector,
        "predict",
        lambda tiles, imgsz: [seen.append(t) or np.empty((0, 6)) for t in tiles],
    )
    detect_tiles(detector, dataset, "test")
    raw = [read_rgb(dataset.image_path(tile)) for tile in dataset.of_split("test")]
    assert all(np.array_equal(255 - a, b) for a, b in zip(raw, seen, strict=True))
    seen.clear()
    search_image(detector, raw[0], (0.5, 0.5), Cut(tile=64, overlap=0))
    assert np.array_equal(seen[0], 255 - raw[0])


# --- tiles ------------------------------------------------------------------------------------


def test_batches_hold_tiles_of_one_shape_and_every_tile_is_seen(tmp_path: Path) -> None:
    sources = [Source(f"s{i}", "test", (Cell(20, 20),), width=40 + 8 * (i % 2)) for i in range(35)]
    root = write_dataset(tmp_path / "d", sources)
    detector = PixelDetector()
    found = detect_tiles(detector, open_dataset(root), "test")
    assert len(found) == 35
    assert all(len(rows) == 1 for rows in found.values())
    assert len(detector.sizes) == 4  # 18 and 17 tiles of either shape, 16 at a time
    assert apply.BATCH == 16


def test_other_classes_are_refused(dataset: Dataset) -> None:
    check_classes(PixelDetector(), dataset)
    with pytest.raises(InputError, match=r"2 class.es. .mitosis, imposter., the data 1 .mitosis"):
        check_classes(PixelDetector(classes=("mitosis", "imposter")), dataset)
