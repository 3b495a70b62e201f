"""The dataset folder's files, and opening it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import Cli
from hypothesis import given
from hypothesis import strategies as st

from converters.errors import InputError
from converters.shapes import Ellipse
from mitoyolo.dataset import Labelled, Tile, coco, open_dataset, yolo_text

TILE = Tile(
    name="a_x0_y0", source="a", case="01", split="train", x=0, y=0, width=200, height=100,
    mpp=(0.25, 0.25),
)  # fmt: skip


def test_yolo_rows() -> None:
    item = Labelled(TILE, ((0, (10, 20, 30, 40)), (1, (0, 0, 200, 100))))
    assert yolo_text(item) == (
        "0 0.1000000000 0.3000000000 0.1000000000 0.2000000000\n"
        "1 0.5000000000 0.5000000000 1.0000000000 1.0000000000\n"
    )
    assert yolo_text(Labelled(TILE, ())) == ""


edge = st.floats(0, 1)


@given(edge, edge, edge, edge)
def test_yolo_rows_are_in_range_and_come_back(a: float, b: float, c: float, d: float) -> None:
    left, right = sorted((200 * a, 200 * b))
    top, bottom = sorted((100 * c, 100 * d))
    row = yolo_text(Labelled(TILE, ((0, (left, top, right, bottom)),))).split()
    x, y, w, h = map(float, row[1:])
    assert len(row) == 5 and all(0 <= value <= 1 for value in (x, y, w, h))
    box = (200 * (x - w / 2), 100 * (y - h / 2), 200 * (x + w / 2), 100 * (y + h / 2))
    assert box == pytest.approx((left, top, right, bottom), abs=1e-6)


def test_coco_ids_have_no_gaps() -> None:
    items = [
        Labelled(TILE, ((0, (10, 20, 30.5, 40)), (1, (1, 2, 3, 4)))),
        Labelled(TILE, ()),
        Labelled(TILE, ((0, (5, 5, 6, 7)),)),
    ]
    result = json.loads("".join(coco(items, {"a_x0_y0": "a_x0_y0.png"}, ["mitosis", "imposter"])))
    assert [image["id"] for image in result["images"]] == [1, 2, 3]
    assert [item["id"] for item in result["annotations"]] == [1, 2, 3]
    assert [item["image_id"] for item in result["annotations"]] == [1, 1, 3]
    assert [item["category_id"] for item in result["annotations"]] == [1, 2, 1]
    first = result["annotations"][0]
    assert first["bbox"] == [10, 20, 20.5, 20] and first["area"] == 410
    assert result["images"][0] == {
        "id": 1, "file_name": "a_x0_y0.png", "width": 200, "height": 100,
    }  # fmt: skip
    assert result["categories"] == [{"id": 1, "name": "mitosis"}, {"id": 2, "name": "imposter"}]
    alone = json.loads("".join(coco(items[1:2], {"a_x0_y0": "a.png"}, ["mitosis"])))
    assert alone["categories"] == [{"id": 1, "name": "mitosis"}]


def test_coco_holds_the_shape_cut_at_the_tile() -> None:
    inside, cut = Ellipse(50, 50, 20, 10), Ellipse(0, 50, 20, 10)
    boxes = ((0, inside.box), (0, (0, 45, 10, 55)))
    found = json.loads(
        "".join(coco([Labelled(TILE, boxes, (inside, cut))], {"a_x0_y0": "a"}, ["mitosis"]))
    )
    first, second = found["annotations"]
    assert first["area"] == pytest.approx(50 * math.pi)
    assert second["area"] == pytest.approx(25 * math.pi, rel=0.01)
    xs, ys = second["segmentation"][0][::2], second["segmentation"][0][1::2]
    assert (min(xs), min(ys), max(xs), max(ys)) == pytest.approx((0, 45, 10, 55))


@pytest.fixture
def folder(atypia: Path, tmp_path: Path, cli: Cli) -> Path:
    out = tmp_path / "out"
    assert cli("convert", atypia, out, "--from", "atypia14", "--quiet").code == 0
    return out


def test_open(folder: Path) -> None:
    dataset = open_dataset(folder)
    assert dataset == open_dataset(folder / "dataset.yaml")
    assert dataset.labels == ["mitosis"] and dataset.normalisation is None
    assert dataset.block["protocol"] == "atypia14"
    assert {tile.source for tile in dataset.tiles} == {
        f"{slide}_00Aa" for slide in ("A03", "A04", "A05", "H03")
    }
    assert len(dataset.truths) == 8
    tiles = [tile for split in ("train", "val", "test") for tile in dataset.of_split(split)]
    assert len(tiles) == 4 and all(dataset.image_path(tile).is_file() for tile in tiles)
    assert {tile.mpp for tile in tiles} == {(0.2455, 0.2455), (0.2273, 0.22753)}
    assert dataset.mpp == pytest.approx((0.2455, 0.2455))


def test_the_hash_changes_with_the_truth(folder: Path) -> None:
    first = open_dataset(folder).hash()
    text = (folder / "annotations.csv").read_text()
    (folder / "annotations.csv").write_text(text.replace("100.5", "100.25"))
    assert open_dataset(folder).hash() != first


def block(**values: object) -> Callable[[Path], object]:
    def change(root: Path) -> None:
        facts = yaml.safe_load((root / "dataset.yaml").read_text())
        facts["mitoyolo"] |= values
        (root / "dataset.yaml").write_text(yaml.safe_dump(facts))

    return change


def in_table(name: str, old: str, new: str) -> Callable[[Path], object]:
    def change(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "dataset.yaml").unlink(), r"unfinished dataset folder.*repeat"),
        (lambda root: (root / "dataset.yaml").write_text("a: ["), r"dataset\.yaml: not valid YAML"),
        (lambda root: (root / "dataset.yaml").write_text("train: x"), "no `mitoyolo:` block"),
        (lambda root: (root / "dataset.yaml").write_text("3"), "no `mitoyolo:` block"),
        (block(mpp=0.25), r"`mpp` is 0\.25, expected \[x, y\]"),
        (block(mpp=[0.25, 0]), "0 is not above 0"),
        (block(mpp=[0.25, "wide"]), "'wide' is not a number"),
        (block(radius_um=-1), "-1 is not above 0"),
        (block(labels=["cell"]), r"`labels` are \['cell'\]"),
        (lambda root: (root / "manifest.csv").unlink(), r"manifest\.csv: no such file"),
        (in_table("manifest.csv", "tile,", "name,"), r"manifest\.csv, line 1: no column tile"),
        (in_table("manifest.csv", ",150,", ",wide,"), r"manifest\.csv, line 2, width: 'wide'"),
        (in_table("manifest.csv", ",val,", ",dev,"), r"manifest\.csv, line \d: split 'dev'"),
        (in_table("annotations.csv", ",100.5,", ",,"), r"annotations\.csv, line \d, x: ''"),
    ],
)  # fmt: skip
def test_a_damaged_folder_is_one_error(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=message):
        open_dataset(folder)


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.*no such file; `mitoyolo convert` writes it"):
        open_dataset(tmp_path / "nowhere")
    dataset = open_dataset(folder)
    tile = dataset.of_split("train")[0]
    dataset.image_path(tile).unlink()
    with pytest.raises(InputError, match=rf"{tile.name}\.png: the tile's image is missing"):
        dataset.image_path(tile)
    with pytest.raises(InputError, match="the dev split holds no tile"):
        dataset.of_split("dev")


def test_a_folder_without_images_says_so(folder: Path) -> None:
    index = folder / "dataset.yaml"
    index.write_text(f"{index.read_text()}  images: none\n")
    dataset = open_dataset(folder)
    assert not dataset.has_images
    with pytest.raises(InputError, match=r"holds no images.*without --annotations-only"):
        dataset.image_path(dataset.of_split("train")[0])
