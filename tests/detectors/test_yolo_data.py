"""Training tiles: exact turns, items that depend on seed, epoch and tile alone, and batches."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from converters.errors import OptionError
from detectors.test_sampler import orders
from mitoyolo.detectors.recipe import read_recipe
from mitoyolo.detectors.yolo_data import Rot90, TrainingTiles, training_loader
from mitoyolo.detectors.yolo_train import MitosisTrainer
from mitoyolo.distributed import Process

from ultralytics.cfg import get_cfg
from ultralytics.data.augment import Compose, Format
from ultralytics.data.build import build_yolo_dataset
from ultralytics.utils.instance import Instances

SIDE = 64
TILES = 10
OFF: dict[str, Any] = {
    "mosaic": 0.0, "flipud": 0.0, "fliplr": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0,
    "translate": 0.0, "scale": 0.0, "rot90": False, "stain": 0.0,
}  # fmt: skip
"""All augmentation off."""


# --- quarter turns ----------------------------------------------------------------------------

PAINT = 255
BOXES = {"xyxy": [2, 1, 5, 3], "xywh": [3.5, 2, 3, 2], "ltwh": [2, 1, 3, 2]}
"""A box in each of Ultralytics' forms, in an image of 7 rows and 11 columns."""


def turned(seed: int, form: str, *, normalised: bool, last: Any = None) -> dict[str, Any]:
    """A painted box after a random turn, and after ``last``."""
    image = np.random.default_rng(0).integers(0, 200, (7, 11, 3), dtype=np.uint8)
    image[1:3, 2:5] = PAINT
    boxes = np.array([BOXES[form], BOXES[form]], dtype=np.float32)
    boxes /= [11, 7, 11, 7] if normalised else 1
    instances = Instances(
        boxes, np.zeros((0, 1000, 2), np.float32), None, bbox_format=form, normalized=normalised
    )
    random.seed(seed)
    labels = {"img": image, "instances": instances, "cls": np.zeros((2, 1))}
    found: dict[str, Any] = Compose([Rot90(), *([last] if last else [])])(labels)
    return found


def covered(image: Any, box: Any) -> bool:
    """Whether the box covers the paint, all of it and nothing else."""
    x1, y1, x2, y2 = np.rint(np.asarray(box)).astype(int)
    assert np.allclose([x1, y1, x2, y2], box, atol=1e-4)
    mask = np.zeros(image.shape[:2], dtype=bool)
    mask[y1:y2, x1:x2] = True
    return bool(mask.any()) and np.array_equal(mask, (image == PAINT).all(axis=2))


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("form", BOXES)
def test_a_turned_box_covers_its_paint_to_the_pixel(form: str, normalised: bool) -> None:
    seen = set()
    for seed in range(24):
        labels = turned(seed, form, normalised=normalised)
        image, instances = labels["img"], labels["instances"]
        instances.denormalize(image.shape[1], image.shape[0])
        instances.convert_bbox("xyxy")
        assert all(covered(image, box) for box in instances.bboxes)
        seen.add((image.shape, image.tobytes()))
    assert len(seen) == 4


@pytest.mark.parametrize("normalised", [False, True])
def test_a_turned_box_goes_through_ultralytics_format(normalised: bool) -> None:
    shapes = set()
    last = Format(bbox_format="xywh", normalize=True)
    for seed in range(12):
        labels = turned(seed, "xywh", normalised=normalised, last=last)
        image = labels["img"].permute(1, 2, 0).numpy()
        height, width = image.shape[:2]
        x, y, w, h = labels["bboxes"][0].numpy() * [width, height, width, height]
        assert covered(image, [x - w / 2, y - h / 2, x + w / 2, y + h / 2])
        shapes.add((height, width))
    assert shapes == {(7, 11), (11, 7)}


def test_a_tile_without_boxes_turns_too() -> None:
    empty = np.zeros((0, 4), dtype=np.float32)
    instances = Instances(empty, np.zeros((0, 1000, 2), np.float32), normalized=True)
    labels = {"img": np.zeros((4, 6, 3), np.uint8), "instances": instances, "cls": empty[:, :1]}
    found = Compose([Rot90(), Format(normalize=True)])(labels)
    assert found["bboxes"].shape == (0, 4)


# --- items ------------------------------------------------------------------------------------


def write_tiles(root: Path, *, height: int = SIDE, alike: bool = False) -> Path:
    """Tiles of smooth colours, each with one labelled box; the folder of the images."""
    for i in range(TILES):
        rng = np.random.default_rng(0 if alike else i)
        coarse = rng.integers(60, 230, (6, 6, 3), dtype=np.uint8)
        name = root / "images" / "train" / f"{i}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(name), cv2.resize(coarse, (SIDE, height)))
        label = root / "labels" / "train" / f"{i}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(f"0 {0.3 + i / 50} 0.5 0.25 0.25\n")
    return root / "images" / "train"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiles(tmp_path_factory.mktemp("tiles"))


DATA = {"names": {0: "mitosis"}, "nc": 1, "channels": 3}


def open_tiles(
    images: Path,
    changes: dict[str, Any] | None = None,
    *,
    name: str = "mitosis",
    seed: int = 0,
    augment: bool = True,
    kind: type[TrainingTiles] = TrainingTiles,
    **more: Any,
) -> TrainingTiles:
    """The tiles as the trainer opens them."""
    recipe = read_recipe("yolov5n", name, changes)
    given = {
        "img_path": str(images), "imgsz": SIDE, "batch_size": 4, "augment": augment,
        "hyp": get_cfg(overrides=recipe.settings), "rect": False, "cache": None, "stride": 32,
        "pad": 0.0, "data": DATA,
    }  # fmt: skip
    return kind(recipe=recipe, seed=seed, process=Process(), **{**given, **more})


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two items, or two batches, are equal in all that training sees."""
    return one["im_file"] == other["im_file"] and all(
        torch.equal(one[key], other[key]) for key in ("img", "bboxes", "cls")
    )


MIXING = {"mixup": 0.5, "cutmix": 0.5, "degrees": 10.0, "bgr": 0.3}
"""More of what draws random numbers."""


@pytest.mark.parametrize(
    "changes", [{"stain": 0.3}, MIXING, {"stain": 0.3, "stain_method": "macenko"}]
)
def test_an_item_is_the_same_whatever_was_read_before(
    images: Path, changes: dict[str, Any]
) -> None:
    tiles = open_tiles(images, changes)
    forward = [tiles[i] for i in range(2 * TILES)]
    assert all(same(tiles[i], forward[i]) for i in reversed(range(2 * TILES)))
    assert same(open_tiles(images, changes)[7], forward[7])
    assert not any(same(forward[i], forward[TILES + i]) for i in range(TILES))  # of epoch 1
    assert not same(open_tiles(images, changes, seed=1)[7], forward[7])


@pytest.mark.parametrize("name", ["mitosis", "ultralytics"])
def test_images_kept_in_memory_give_the_same_items(
    images: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = open_tiles(images, name=name, cache="ram")
    plain = open_tiles(images, name=name)
    assert all(same(kept[i], plain[i]) for i in range(2 * TILES))
    assert capsys.readouterr().out == ""


def test_without_augmentation_an_item_is_the_tile(images: Path) -> None:
    tiles = open_tiles(images, OFF)
    for i in range(TILES + 1):
        item = tiles[i]
        path = Path(item["im_file"])
        assert path.stem == str(i % TILES)
        pixels = item["img"].permute(1, 2, 0).numpy()[..., ::-1]
        assert np.array_equal(pixels, cv2.imread(str(path)))
        assert item["bboxes"].numpy() == pytest.approx(
            np.array([[0.3 + i % TILES / 50, 0.5, 0.25, 0.25]]), abs=1e-6
        )


def test_validation_shows_the_tiles_as_they_are(images: Path) -> None:
    tiles = open_tiles(images, augment=False, rect=True, pad=0.5)
    margin = 16  # half a stride of grey on each side
    for i in range(TILES):
        item = tiles[i]
        inside = item["img"].permute(1, 2, 0).numpy()[margin:-margin, margin:-margin, ::-1]
        assert np.array_equal(inside, cv2.imread(item["im_file"]))


def test_a_whole_mosaic_is_turned(images: Path) -> None:
    turned = open_tiles(images, {**OFF, "mosaic": 1.0, "rot90": True})
    straight = open_tiles(images, {**OFF, "mosaic": 1.0})
    for tile in range(TILES):
        image, before = (t[tile]["img"].permute(1, 2, 0).numpy() for t in (turned, straight))
        assert sum(np.array_equal(np.rot90(before, k), image) for k in range(4)) == 1


def test_a_tile_is_turned_in_all_four_ways(images: Path) -> None:
    tiles = open_tiles(images, {**OFF, "rot90": True})
    seen = set()
    for epoch in range(20):
        item = tiles[epoch * TILES]
        image = item["img"].permute(1, 2, 0).numpy()[..., ::-1]
        straight = cv2.imread(item["im_file"])
        turns = [k for k in range(4) if np.array_equal(np.rot90(straight, k), image)]
        assert len(turns) == 1
        seen.add(turns[0])
        place = [(0.3, 0.5), (0.5, 0.7), (0.7, 0.5), (0.5, 0.3)][turns[0]]
        assert item["bboxes"][0, :2].tolist() == pytest.approx(place, abs=1e-6)
    assert seen == {0, 1, 2, 3}


def colours(item: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The pixels of an item, (n, 3)."""
    pixels: np.ndarray[Any, Any] = item["img"].permute(1, 2, 0).reshape(-1, 3).numpy()
    return pixels


def test_each_field_of_a_mosaic_is_stained_by_its_own(tmp_path: Path) -> None:
    images = write_tiles(tmp_path, height=48, alike=True)
    stained = open_tiles(images, {**OFF, "mosaic": 1.0, "stain": 0.3})
    plain = open_tiles(images, {**OFF, "mosaic": 1.0})
    most = []
    for tile in range(TILES):
        before, after = colours(plain[tile]), colours(stained[tile])
        border = (before == 114).all(axis=1)
        assert np.array_equal((after == 114).all(axis=1), border)
        made: dict[bytes, set[bytes]] = {}  # of each colour
        for one, other in zip(before[~border], after[~border], strict=True):
            made.setdefault(one.tobytes(), set()).add(other.tobytes())
        most.append((border.any(), max(len(found) for found in made.values())))
    assert any(grey for grey, _ in most)
    assert {colours for _, colours in most} <= {2, 3, 4}  # all tiles are alike, yet not the fields


def test_the_stain_is_another_for_each_tile_and_epoch(images: Path) -> None:
    tiles = open_tiles(images, {**OFF, "stain": 0.3})
    straight = cv2.imread(tiles[0]["im_file"])[..., ::-1].astype(int).reshape(-1, 3)
    moved = {
        tuple((colours(tiles[epoch * TILES]) - straight).mean(axis=0).round(2))
        for epoch in range(4)
    }
    assert len(moved) == 4
    assert (0.0, 0.0, 0.0) not in moved


class Watched(TrainingTiles):
    """Notes which tiles are read."""

    def get_image_and_label(self, index: int) -> dict[str, Any]:
        self.read.add(index)
        return super().get_image_and_label(index)


@pytest.mark.parametrize("changes", [{}, {"mixup": 1.0}, {"cutmix": 1.0}])
def test_a_mosaic_takes_from_the_whole_split(images: Path, changes: dict[str, Any]) -> None:
    tiles = open_tiles(images, changes, kind=Watched)
    tiles.read = set()
    for epoch in range(20):
        _ = tiles[epoch * TILES]
    assert tiles.read == set(range(TILES))


def test_the_plain_recipe_gives_what_plain_ultralytics_gives(images: Path) -> None:
    """But for a mosaic's other tiles, which Ultralytics takes from those it read last, unless it
    holds them all in memory, as here."""
    plain = build_yolo_dataset(
        get_cfg(overrides={"imgsz": SIDE, "cache": "ram"}), str(images), 4, DATA
    )
    ours = open_tiles(images, name="ultralytics", seed=5)
    for index in range(2 * TILES):
        epoch, tile = divmod(index, TILES)
        state = np.random.SeedSequence([5, epoch, tile]).generate_state(4)
        np.random.seed(state)
        random.seed(state.tobytes())
        expected = plain[tile]
        assert same(ours[index], expected)


# --- their loader ----------------------------------------------------------------------------


def loader(tiles: TrainingTiles, *, workers: int = 0, **more: Any) -> Any:
    given = {"batch": 4, "seed": 3, "process": Process(), "gpu": False, "drop_last": False}
    return training_loader(tiles, workers=workers, **{**given, **more})


@pytest.fixture(scope="module")
def epochs(images: Path) -> list[list[dict[str, Any]]]:
    """The batches of four epochs, read in this process."""
    read = loader(open_tiles(images, {"close_mosaic": 0}))
    return [list(read) for _ in range(4)]


def assert_equal(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected)
    assert all(same(one, other) for one, other in zip(found, expected, strict=True))


def test_batches_are_the_samplers(epochs: list[list[dict[str, Any]]]) -> None:
    (expected,) = orders(TILES, 1, 4)
    for batches, order in zip(epochs, expected, strict=True):
        assert [len(batch["im_file"]) for batch in batches] == [4, 4, 2]
        read = [int(Path(file).stem) for batch in batches for file in batch["im_file"]]
        assert read == [number % TILES for number in order]


@pytest.fixture
def worked(images: Path) -> Iterator[Any]:
    """A loader with two workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
        read = loader(open_tiles(images, {"close_mosaic": 2}), workers=2)
    assert read.num_workers == 2
    yield read
    read.close()


def test_workers_read_the_same_and_mosaic_ends_in_time(
    images: Path, worked: Any, epochs: list[list[dict[str, Any]]]
) -> None:
    for epoch in (0, 1):
        assert_equal(list(worked), epochs[epoch])
    trainer = object.__new__(MitosisTrainer)  # what Ultralytics' loop does then
    trainer.train_loader, trainer.epoch = worked, 2
    trainer.args = get_cfg(overrides=read_recipe("yolov5n").settings)
    trainer._close_dataloader_mosaic()
    worked.reset()
    late = loader(open_tiles(images, {"mosaic": 0.0}), epoch=2)
    for _ in (2, 3):
        assert_equal(list(worked), list(late))


def test_two_processes_read_the_batches_of_one(
    images: Path, epochs: list[list[dict[str, Any]]]
) -> None:
    tiles = open_tiles(images)
    shares = [
        loader(tiles, batch=2, process=Process(rank=rank, world=2, local_world=2))
        for rank in range(2)
    ]
    for expected in epochs[:2]:
        for one, *two in zip(expected, *shares, strict=True):
            images_of = {
                file: image
                for batch in two
                for file, image in zip(batch["im_file"], batch["img"], strict=True)
            }
            assert images_of.keys() == set(one["im_file"])
            for file, image in zip(one["im_file"], one["img"], strict=True):
                assert torch.equal(images_of[file], image)


@pytest.mark.parametrize(
    ("more", "sizes"),
    [
        ({"batch": 50}, [TILES]),
        ({"drop_last": True}, [4, 4]),
        ({"batch": 8, "drop_last": True, "process": Process(rank=0, world=2)}, [5]),
        ({"batch": 3, "process": Process(rank=1, world=4)}, [3]),
    ],
)
def test_batches_have_the_sizes_asked_for(
    images: Path, more: dict[str, Any], sizes: list[int]
) -> None:
    read = loader(open_tiles(images), **more)
    assert [[len(batch["img"]) for batch in read] for _ in range(2)] == [sizes, sizes]


def test_rectangular_batches_keep_the_order_of_their_shapes(tmp_path: Path) -> None:
    images = write_tiles(tmp_path, height=30)
    tall = cv2.rotate(cv2.imread(str(images / "3.png")), cv2.ROTATE_90_CLOCKWISE)
    assert cv2.imwrite(str(images / "3.png"), tall)
    tiles = open_tiles(images, {"rot90": False, "rect": True}, rect=True)
    read = loader(tiles)
    seen = [[tuple(batch["img"].shape[2:]) for batch in read] for _ in range(2)]
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 2
    with pytest.raises(OptionError, match="rect=true"):
        loader(tiles, process=Process(rank=0, world=2))


def test_the_first_process_reads_the_labels_for_all(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_tiles(images)
    sent: list[Any] = []

    def shared(value: Any) -> Any:
        sent.append(value)
        return [dict(label) for label in first.labels[:4]]

    monkeypatch.setattr("mitoyolo.detectors.yolo_data.shared", shared)
    other = SimpleNamespace(first=False)
    recipe = read_recipe("yolov5n")
    tiles = TrainingTiles(
        recipe=recipe, seed=0, process=other, img_path=str(images), imgsz=SIDE, data=DATA,  # type: ignore[arg-type]
        hyp=get_cfg(overrides=recipe.settings),
    )  # fmt: skip
    assert sent == [[]]
    assert tiles.im_files == first.im_files[:4]
    assert len(tiles) == 4
