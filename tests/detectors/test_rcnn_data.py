"""Tiles and boxes of the two-stage detectors: exact turns, YOLO's boxes, nothing lost unsaid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rendered import Cell, Source, write_dataset

from converters.errors import InputError
from mitoyolo.convert.augment import AUGMENTATIONS, TRANSFORMS, copies
from mitoyolo.dataset import Dataset, Labelled, open_dataset, write_augmented, yolo_text
from mitoyolo.detectors import recipe as yolo_recipe
from mitoyolo.detectors import yolo_data
from mitoyolo.detectors.rcnn_data import (
    TrainingTiles,
    as_tensor,
    augmented,
    collate,
    mirrored,
    read_targets,
    turned,
)
from mitoyolo.detectors.rcnn_recipe import RcnnRecipe, read_recipe
from mitoyolo.distributed import Process
from mitoyolo.images import read_rgb, write_rgb

from ultralytics.cfg import get_cfg

PLAIN = replace(read_recipe("faster-rcnn"), fliplr=0.0, flipud=0.0, rot90=False)
EVERYTHING = replace(PLAIN, fliplr=0.5, flipud=0.5, rot90=True)
LABELS = ("mitosis", "imposter")


def write_tiles(root: Path, texts: list[str], sizes: list[tuple[int, int]]) -> Dataset:
    """A training split of tiles (width, height) with these label files."""
    sources = [
        Source(f"s{i}", "train", (Cell(20, 20),), width=width, height=height)
        for i, (width, height) in enumerate(sizes)
    ]
    dataset = open_dataset(write_dataset(root / "data", sources, labels=LABELS))
    assert [tile.size for tile in dataset.of_split("train")] == sizes
    for tile, text in zip(dataset.of_split("train"), texts, strict=True):
        label_file(dataset, tile.name).write_text(text, encoding="utf-8")
    return dataset


def label_file(dataset: Dataset, name: str) -> Path:
    return dataset.root / "labels" / "train" / f"{name}.txt"


def opened(
    dataset: Dataset, recipe: RcnnRecipe = PLAIN, *, imgsz: int = 64, seed: int = 0
) -> TrainingTiles:
    return TrainingTiles(dataset, recipe, imgsz=imgsz, seed=seed)


def same(one: Any, other: Any) -> bool:
    return torch.equal(one[0], other[0]) and all(
        torch.equal(one[1][key], other[1][key]) for key in ("boxes", "labels")
    )


# --- turned and mirrored ----------------------------------------------------------------------


@st.composite
def painted(draw: st.DrawFn) -> tuple[Any, Any]:
    """A dark image with two bright rectangles of their own colours, and their boxes."""
    height, width = draw(st.integers(2, 20)), draw(st.integers(2, 20))
    image = np.zeros((height, width, 3), np.uint8)
    boxes = []
    for colour in ((255, 1, 2), (3, 255, 4)):
        left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        right, bottom = draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))
        image[top:bottom, left:right] = colour
        boxes.append((left, top, right, bottom))
    return image, np.array(boxes, dtype=np.float64)


def bounds(image: Any, colour: tuple[int, int, int]) -> list[int]:
    rows, columns = np.nonzero((image == colour).all(axis=2))
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@given(picture=painted(), turns=st.integers(0, 3), mirror=st.booleans())
def test_a_box_stays_on_its_pixels(picture: Any, turns: int, mirror: bool) -> None:
    before, boxes = picture
    image = before
    if mirror:
        image, boxes = mirrored(image, boxes)
        assert np.array_equal(image, before[:, ::-1])
    image, boxes = turned(image, boxes, turns)
    assert np.array_equal(image, np.rot90(before[:, ::-1] if mirror else before, turns))
    assert boxes[1].tolist() == bounds(image, (3, 255, 4))  # the one on top is seen whole
    left, top, right, bottom = boxes[0].astype(int)
    outside = image.copy()
    outside[top:bottom, left:right] = 0
    assert not (outside == (255, 1, 2)).all(axis=2).any()
    sides = sorted(boxes[0, 2:] - boxes[0, :2])
    assert sides == sorted(picture[1][0, 2:] - picture[1][0, :2])


@pytest.mark.parametrize(
    ("recipe", "ways"),
    [
        (PLAIN, 1),
        (replace(PLAIN, fliplr=1.0), 1),
        (replace(PLAIN, flipud=1.0), 1),
        (replace(PLAIN, fliplr=0.5, flipud=0.5), 4),
        (replace(PLAIN, rot90=True), 4),
        (EVERYTHING, 8),
    ],
)
def test_each_way_comes_as_often_as_the_recipe_says(recipe: RcnnRecipe, ways: int) -> None:
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    image[1:3, 2:6] = 255
    box = np.array([[2.0, 1, 6, 3]])
    seen: dict[bytes, int] = {}
    for seed in range(400):
        after, boxes = augmented(image, box, recipe, np.random.default_rng(seed))
        assert boxes[0].tolist() == bounds(after, (255, 255, 255))
        key = repr(after.shape).encode() + after.tobytes()
        seen[key] = seen.get(key, 0) + 1
    assert len(seen) == ways
    assert min(seen.values()) > 400 / ways * 0.5


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (replace(PLAIN, fliplr=1.0), lambda image: image[:, ::-1]),
        (replace(PLAIN, flipud=1.0), lambda image: image[::-1]),
        (replace(PLAIN, fliplr=1.0, flipud=1.0), lambda image: image[::-1, ::-1]),
    ],
)
def test_a_certain_flip_is_that_flip(recipe: RcnnRecipe, expected: Any) -> None:
    image = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    empty = np.zeros((0, 4))
    found, boxes = augmented(image, empty, recipe, np.random.default_rng(0))
    assert np.array_equal(found, expected(image))
    assert boxes.shape == (0, 4)


# --- as YOLO reads them -----------------------------------------------------------------------

OFF: dict[str, Any] = {
    "mosaic": 0.0, "flipud": 0.0, "fliplr": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0,
    "translate": 0.0, "scale": 0.0, "rot90": False, "stain": 0.0,
}  # fmt: skip


def test_boxes_and_pixels_are_those_of_the_yolo_path(tmp_path: Path) -> None:
    sizes = [(64, 64), (64, 48), (40, 64)]
    texts = [
        "0 0.5 0.5 0.25 0.25\n1 0.0703125 0.9296875 0.140625 0.140625\n",  # 9 px at the corner
        "1 0.3333333 0.7083333 0.109375 0.1041667\n",
        "0 0.5125 0.0234375 0.975 0.046875\n0 0.21 0.61 0.123 0.0987\n",  # 39 px by 3
    ]
    dataset = write_tiles(tmp_path, texts, sizes)
    recipe = yolo_recipe.read_recipe("yolov5n", "mitosis", OFF)
    yolo = yolo_data.TrainingTiles(
        recipe=recipe, seed=0, process=Process(), img_path=str(dataset.root / "images" / "train"),
        imgsz=64, batch_size=1, augment=True, hyp=get_cfg(overrides=recipe.settings), rect=False,
        cache=None, stride=32, pad=0.0, data={"names": dict(enumerate(LABELS)), "channels": 3},
    )  # fmt: skip
    ours = opened(dataset)
    assert [Path(file).stem for file in yolo.im_files] == [t.name for t in dataset.tiles]
    for number, (width, height) in enumerate(sizes):
        image, target = ours[number]
        item = yolo[number]
        x, y = (64 - width) // 2, (64 - height) // 2  # its grey border
        assert image.shape == (3, height, width) and image.dtype == torch.uint8
        assert torch.equal(image, item["img"][:, y : y + height, x : x + width])
        centre, sides = (item["bboxes"] * 64 - torch.tensor([x, y, 0, 0])).split(2, dim=1)
        expected = torch.cat([centre - sides / 2, centre + sides / 2], dim=1)
        assert torch.allclose(target["boxes"], expected, atol=1e-3, rtol=0)
        assert target["labels"].tolist() == [int(label) + 1 for label in item["cls"].flatten()]
    assert ours[0][1]["boxes"].tolist() == [[24, 24, 40, 40], [0, 55, 9, 64]]


# --- items ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Four tiles of three sizes: two boxes, one, none, two of which one is half a pixel wide."""
    texts = [
        "0 0.25 0.5 0.25 0.25\n1 0.75 0.5 0.125 0.25\n",
        "1 0.5 0.5 0.25 0.25\n",
        "\n",
        "0 0.5 0.5 0.0078125 0.5\n0 0.5 0.25 0.25 0.25\n",
    ]
    root = tmp_path_factory.mktemp("rcnn_data")
    return write_tiles(root, texts, [(64, 64), (64, 48), (40, 64), (64, 64)])


def test_an_item_is_the_tile_and_its_boxes_with_labels_from_1(dataset: Dataset) -> None:
    tiles = opened(dataset)
    assert len(tiles) == 4
    for number, tile in enumerate(dataset.tiles):
        image, target = tiles[number]
        assert np.array_equal(image.permute(1, 2, 0), read_rgb(dataset.image_path(tile)))
        assert (target["boxes"].dtype, target["labels"].dtype) == (torch.float32, torch.int64)
        assert target["boxes"].shape == (len(target["labels"]), 4)
    assert tiles[0][1]["boxes"].tolist() == [[8, 24, 24, 40], [44, 24, 52, 40]]
    assert tiles[0][1]["labels"].tolist() == [1, 2]
    assert tiles[1][1]["boxes"].tolist() == [[24, 18, 40, 30]]


def test_a_tile_without_boxes_is_an_empty_target(dataset: Dataset) -> None:
    for number in (2, 4 + 2):
        image, target = opened(dataset, EVERYTHING)[number]
        assert sorted(image.shape[1:]) == [40, 64]
        assert target["boxes"].shape == (0, 4) and target["labels"].shape == (0,)


def test_boxes_under_a_pixel_of_the_input_are_left_out_and_counted(dataset: Dataset) -> None:
    tiles = opened(dataset)
    assert tiles.left_out == 1
    assert tiles[3][1]["boxes"].tolist() == [[24, 8, 40, 24]]
    assert tiles[3][1]["labels"].tolist() == [1]
    assert opened(dataset, imgsz=128).left_out == 0  # a pixel wide there
    assert opened(dataset, imgsz=127).left_out == 1
    assert opened(dataset, imgsz=5).left_out == 3  # and 8 and 12 px of 64 in 5


def test_the_median_side_is_that_of_the_input(dataset: Dataset) -> None:
    sides = [16, np.sqrt(8 * 16), np.sqrt(16 * 12), 16]
    median = np.median(sides)
    assert opened(dataset).median_side(64, squashed=False) == pytest.approx(median)
    assert opened(dataset).median_side(32, squashed=False) == pytest.approx(median / 2)
    sides[2] = np.sqrt(16 * 12 * 64 / 48)  # 64 x 48 px become 64 x 64
    found = opened(dataset).median_side(64, squashed=True)
    assert found == pytest.approx(np.median(sides))


def test_no_box_has_no_median_side(dataset: Dataset) -> None:
    tiles = opened(dataset, imgsz=1)
    assert tiles.left_out == 5
    with pytest.raises(InputError, match=r"every box is under a pixel.*larger --imgsz"):
        tiles.median_side(1, squashed=False)


def test_an_item_depends_on_seed_epoch_and_tile_alone(dataset: Dataset) -> None:
    tiles = opened(dataset, EVERYTHING)
    forward = [tiles[i] for i in range(40)]
    assert all(same(tiles[i], forward[i]) for i in reversed(range(40)))
    assert all(same(opened(dataset, EVERYTHING)[i], forward[i]) for i in (0, 5, 39))
    epochs = {forward[4 * epoch][0].numpy().tobytes() for epoch in range(10)}
    assert len(epochs) > 2
    other = opened(dataset, EVERYTHING, seed=1)
    assert not all(same(other[i], forward[i]) for i in range(40))
    plain = opened(dataset)
    assert torch.equal(plain[0][0], plain[3][0])  # yet not both turned alike in every epoch
    assert not all(torch.equal(forward[4 * e][0], forward[4 * e + 3][0]) for e in range(10))


def test_a_turned_item_keeps_its_boxes_on_its_cells(tmp_path: Path) -> None:
    dataset = write_tiles(tmp_path, ["0 0.25 0.75 0.125 0.25\n"], [(64, 48)])
    image = np.zeros((48, 64, 3), np.uint8)
    image[30:42, 12:20] = (250, 20, 30)
    write_rgb(dataset.image_path(dataset.tiles[0]), image)
    shapes = set()
    for epoch in range(20):
        found, target = opened(dataset, EVERYTHING)[epoch]
        shapes.add(tuple(found.shape))
        assert target["boxes"].tolist() == [bounds(found.permute(1, 2, 0).numpy(), (250, 20, 30))]
    assert shapes == {(3, 48, 64), (3, 64, 48)}


def test_the_boxes_of_copies_are_in_pixels_of_the_copies(tmp_path: Path) -> None:
    """Each way in which `convert` copies a tile that is no square, and a recoloured copy of it."""
    dataset = write_tiles(tmp_path, ["1 0.25 0.75 0.125 0.25\n"], [(64, 48)])
    (tile,) = dataset.tiles
    image = np.zeros((48, 64, 3), np.uint8)
    image[30:42, 12:20] = (250, 20, 30)
    write_rgb(dataset.image_path(tile), image)
    rows = []
    for copy in copies(Labelled(tile, ((1, (12.0, 30.0, 20.0, 42.0)),)), tuple(AUGMENTATIONS)):
        pixels = TRANSFORMS[copy.transform].pixels(image)
        made = [(copy.item.tile.name, copy.of, copy.transform)]
        made.append((f"{made[0][0]}_again", made[0][0], "macenko"))
        for name, *_ in made:
            write_rgb(dataset.root / "images" / "train" / f"{name}.png", pixels)
            label_file(dataset, name).write_text(yolo_text(copy.item))
        rows += made
    write_augmented(dataset.root, rows)
    tiles = opened(open_dataset(dataset.root))
    assert len(tiles) == 1 + 2 * len(TRANSFORMS)
    for number in range(len(tiles)):
        found, target = tiles[number]
        expected = bounds(found.permute(1, 2, 0).numpy(), (250, 20, 30))
        assert target["boxes"][0].tolist() == pytest.approx(expected, abs=1e-3)
        assert target["labels"].tolist() == [2]


def test_a_batch_holds_tiles_of_any_size(dataset: Dataset) -> None:
    tiles = opened(dataset)
    images, targets = collate([tiles[i] for i in range(4)])
    assert [tuple(image.shape) for image in images] == [
        (3, 64, 64), (3, 48, 64), (3, 64, 40), (3, 64, 64)
    ]  # fmt: skip
    assert [len(target["boxes"]) for target in targets] == [2, 1, 0, 1]
    assert isinstance(images, list) and isinstance(targets, list)


def test_targets_of_a_validation_tile_are_read_alike(dataset: Dataset) -> None:
    boxes, labels = read_targets(dataset, dataset.tiles[0])
    assert boxes.tolist() == [[8, 24, 24, 40], [44, 24, 52, 40]]
    assert labels.tolist() == [0, 1]  # from 0
    boxes, labels = read_targets(dataset, dataset.tiles[2])
    assert (boxes.shape, labels.shape) == ((0, 4), (0,))


def test_a_tensor_has_its_channels_first() -> None:
    image = np.random.default_rng(0).integers(0, 255, (2, 3, 3), dtype=np.uint8)
    tensor = as_tensor(image[:, ::-1])  # a view that torch does not take
    assert tensor.dtype == torch.uint8
    assert tensor[2].tolist() == image[:, ::-1, 2].tolist()


# --- damaged ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 0.5 0.5 0.25\n", "4 values, expected 5"),
        ("0 0.5 0.5 0.25 wide\n", "wide"),
        ("0 0.5 0.5 0.25 nan\n", "nan"),
        ("2 0.5 0.5 0.25 0.25\n", "class 2, expected one of: 0 mitosis, 1 imposter"),
        ("-1 0.5 0.5 0.25 0.25\n", "class -1"),
        ("0.5 0.5 0.5 0.25 0.25\n", "class 0.5"),
        ("0 0.5 0.5 0 0.25\n", "has no extent"),
        ("0 0.9 0.5 0.25 0.25\n", "beyond its tile of 64 x 64 px"),
    ],
)
def test_a_damaged_label_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    good = "0 0.5 0.5 0.25 0.25\n"
    dataset = write_tiles(tmp_path, [good, good + text], [(64, 64)] * 2)
    with pytest.raises(InputError, match=said) as caught:
        opened(dataset)
    assert str(caught.value).startswith(f"{label_file(dataset, dataset.tiles[1].name)}, line 2: ")
    assert "\n" not in str(caught.value)


def test_a_missing_label_file_or_image_is_one_line(tmp_path: Path) -> None:
    dataset = write_tiles(tmp_path, [""] * 2, [(64, 64)] * 2)
    tiles = opened(dataset)
    path = dataset.image_path(dataset.tiles[0])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"not a readable image"):
        _ = tiles[0]
    path.unlink()
    with pytest.raises(InputError, match=r"image is missing"):
        _ = tiles[0]
    label_file(dataset, dataset.tiles[1].name).unlink()
    with pytest.raises(InputError, match=str(label_file(dataset, dataset.tiles[1].name))):
        opened(dataset)


def test_an_image_of_another_size_than_the_manifest_says_is_one_line(tmp_path: Path) -> None:
    dataset = write_tiles(tmp_path, ["0 0.5 0.5 0.25 0.25\n"], [(64, 64)])
    path = str(dataset.image_path(dataset.tiles[0]))
    assert cv2.imwrite(path, cv2.resize(cv2.imread(path), (32, 32)))
    with pytest.raises(InputError, match=r"32 x 32 px, expected 64 x 64"):
        _ = opened(dataset)[0]
