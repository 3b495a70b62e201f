"""``normalize --keep-originals``: training tiles in two colours, everything else as it was."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from converters.errors import InputError
from converters.files import write_json
from mitoyolo.convert.augment import copies
from mitoyolo.convert.check import check
from mitoyolo.dataset import (
    ANNOTATION_COLUMNS,
    Labelled,
    Tile,
    open_dataset,
    write_augmented,
    write_index,
    write_manifest,
    write_split,
    yolo_text,
)
from mitoyolo.images import read_rgb, write_rgb
from mitoyolo.stain.folder import normalize_folder
from mitoyolo.stain.source import read_source

BOXES = ((0, (10.0, 20.0, 30.0, 44.0)), (1, (50.5, 0.0, 70.25, 9.0)))
BLOCK = {
    "format": "test", "mpp": [0.25, 0.25], "protocol": "centroid", "radius_um": 8.0,
    "labels": ["mitosis", "imposter"], "seed": 0, "version": "0",
}  # fmt: skip


def write(root: Path, tissue, *, more: bool) -> Path:
    """Cases of three splits, case 3 in two of them, and tiles that nobody annotated; one training
    tile is white. With ``more``, each training tile has a turned copy, and there are masks."""
    items: dict[str, list[Labelled]] = {"train": [], "val": [], "test": []}
    tiles, rows = [], []
    for split, case, shift in (
        ("train", "1", (0, 0, 0)),
        ("train", "3", (20, 0, 20)),
        ("val", "2", (-50, -20, 10)),
        ("test", "3", (10, 20, -40)),
        ("unlabelled", "4", (0, 0, 0)),
    ):
        for i in range(2):
            tile = Tile(
                name=f"{split}.{case}.{i}", source=f"{split}.{case}", case=case, split=split,
                x=112 * i, y=0, width=112, height=96, mpp=(0.25, 0.25),
            )  # fmt: skip
            tiles.append(tile)
            image = tissue(i + 5, shift=shift)
            if (split, case, i) == ("train", "1", 1):
                image[:] = 244
            write_rgb(root / "images" / split / f"{tile.name}.png", image)
            if split in items:
                items[split].append(item := Labelled(tile, BOXES if i else ()))
                if split == "train" and more:
                    turned = copies(item, ("rot90",))[0]
                    name = turned.item.tile.name
                    write_rgb(root / "images" / split / f"{name}.png", np.rot90(image).copy())
                    items[split].append(turned.item)
                    rows.append((name, turned.of, turned.transform))
    for split, found in items.items():
        for item in found:
            label = root / "labels" / split / f"{item.tile.name}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(yolo_text(item))
            if more:
                mask = Image.new("P", item.tile.size, len(item.boxes))
                (root / "masks" / split).mkdir(parents=True, exist_ok=True)
                mask.save(root / "masks" / split / f"{item.tile.name}.png")
        names = {item.tile.name: f"{item.tile.name}.png" for item in found}
        write_split(root, split, found, names, BLOCK["labels"])
    write_manifest(root, tiles)
    (root / "annotations.csv").write_text(",".join(ANNOTATION_COLUMNS) + "\n")
    if more:
        write_augmented(root, rows)
    report = {"read": 9, "kept": 8, "dropped": {"label": 1}, "augmented_tiles": len(rows)}
    write_json(root / "report.json", report)
    write_index(root, BLOCK["labels"], BLOCK)
    return root


@pytest.fixture
def dataset(tissue, tmp_path: Path) -> Path:
    """A dataset folder with turned copies and masks."""
    return write(tmp_path / "data", tissue, more=True)


def keep(src: Path, out: Path, **options: Any) -> dict[str, Any]:
    """The command as the paper would call it."""
    options = {"method": "macenko", "workers": 1} | options
    return normalize_folder(src, out, keep_originals=True, **options)


def contents(root: Path) -> dict[str, bytes]:
    """Every file but the one that holds dates."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path != root / "run.json"
    }


REWRITTEN = {"annotations/train.json", "augmented.csv", "report.json", "dataset.yaml"}
TRAINED = [f"train.{case}.{i}{turn}" for case in "13" for i in (0, 1) for turn in ("", "_rot90")]


def test_everything_stays_and_training_tiles_get_copies(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = contents(dataset)
    summary = keep(dataset, out)
    after = contents(out)
    assert contents(dataset) == before
    new = {
        f"{kind}/train/{name}_macenko.{suffix}"
        for name in TRAINED
        for kind, suffix in (("images", "png"), ("labels", "txt"), ("masks", "png"))
    }
    assert set(after) == set(before) | new | {"summary.json", "passed_through.csv"}
    assert {name for name in before if after[name] != before[name]} == REWRITTEN
    for name in TRAINED:
        assert after[f"labels/train/{name}_macenko.txt"] == before[f"labels/train/{name}.txt"]
        assert after[f"masks/train/{name}_macenko.png"] == before[f"masks/train/{name}.png"]
        image = f"images/train/{name}"
        white = name.startswith("train.1.1")
        assert (after[f"{image}_macenko.png"] == before[f"{image}.png"]) is white
    assert (summary["images"], summary["normalised"], summary["passed_through"]) == (8, 6, 2)
    assert summary["cases"] == 2
    with (out / "passed_through.csv").open() as handle:
        white_tiles = [row["file"] for row in csv.DictReader(handle)]
    assert white_tiles == ["images/train/train.1.1.png", "images/train/train.1.1_rot90.png"]


def test_tables_know_the_copies(dataset: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    keep(dataset, out)
    found, was = open_dataset(out), open_dataset(dataset)
    assert found.tiles == was.tiles and found.others == was.others
    assert sorted(tile.name for tile in found.recoloured) == [f"{name}_macenko" for name in TRAINED]
    assert {tile.split for tile in found.recoloured} == {"train"}
    assert len(found.images_of("train")) == 16
    assert found.images_of("val") == was.images_of("val")
    assert found.images_of("test") == was.images_of("test")
    assert found.normalisation is None
    assert found.hash() != was.hash()
    copies = found.block.pop("normalised_copies")
    assert found.block == was.block
    assert (copies["method"], copies["mode"]) == ("macenko", "case")
    assert set(copies) == {"method", "mode", "target"}
    rows = (out / "augmented.csv").read_text().splitlines()
    assert "train.3.1_rot90_macenko,train.3.1_rot90,macenko" in rows
    report = json.loads((out / "report.json").read_text())
    assert report == {"read": 9, "kept": 8, "dropped": {"label": 1}, "augmented_tiles": 12}
    old, new = (COCO(str(root / "annotations" / "train.json")) for root in (dataset, out))
    assert sorted(new.imgs) == list(range(1, 17))
    assert sorted(new.anns) == list(range(1, 17))
    by_name = {image["file_name"]: image for image in new.imgs.values()}
    for image in old.imgs.values():
        stem = image["file_name"].removesuffix(".png")
        copy = by_name[f"{stem}_macenko.png"]
        assert (copy["width"], copy["height"]) == (image["width"], image["height"])
        boxes, copied = (
            [{**ann, "id": 0, "image_id": 0} for ann in coco.imgToAnns[number]]
            for coco, number in ((old, image["id"]), (new, copy["id"]))
        )
        assert boxes == copied
    capsys.readouterr()
    assert check(out) is not None
    assert "checked: 8 tiles, 12 copies, 2 unlabelled, 20 rows" in capsys.readouterr().err


def test_the_copies_are_what_normalize_makes_of_the_training_split(
    dataset: Path, tmp_path: Path
) -> None:
    """Case 1 has no tile in another split, so its copies are the bytes of plain ``normalize``;
    those of case 3, which has, do not look at the test tiles."""
    for name, function in (("both", keep), ("plain", normalize_folder)):
        function(dataset, tmp_path / name, method="macenko", workers=1)
    changed = tmp_path / "changed"
    both, plain = contents(tmp_path / "both"), contents(tmp_path / "plain")
    same = {
        name: both[f"images/train/{name}_macenko.png"] == plain[f"images/train/{name}.png"]
        for name in TRAINED
    }
    assert {name for name, equal in same.items() if equal} == set(TRAINED[:4])
    for split in ("val", "test"):
        for path in (dataset / "images" / split).iterdir():
            write_rgb(path, 255 - read_rgb(path))
    keep(dataset, changed)
    for name in TRAINED:
        image = f"images/train/{name}_macenko.png"
        assert (changed / image).read_bytes() == both[image]


@pytest.mark.parametrize("mode", ["tile", "target"])
def test_other_modes_and_methods_name_their_copies(
    mode: str, dataset: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target.png"
    write_rgb(target, read_rgb(dataset / "images" / "val" / "val.2.0.png"))
    outs = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        keep(dataset, out, method="reinhard", mode=mode, target=target, workers=workers)
        outs.append(contents(out))
    assert outs[0] == outs[1]
    stain = open_dataset(out).normalised_copies
    assert stain is not None
    assert (stain["method"], stain["mode"]) == ("reinhard", mode)
    assert (out / "images" / "train" / "train.1.0_rot90_reinhard.png").exists()
    check(out)


KILLED = """
import sys, time
from pathlib import Path
from mitoyolo.stain import work
from mitoyolo.stain.folder import normalize_folder
write = work.write_rgb
def slow(path, image):
    write(path, image)
    time.sleep(0.2)
work.write_rgb = slow
out = Path(sys.argv[2])
normalize_folder(Path(sys.argv[1]), out, method="macenko", keep_originals=True, workers=1)
"""


def test_killed_and_continued(dataset: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    keep(dataset, whole)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(dataset), str(out)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while len(list(out.glob("images/train/[!.]*"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list(out.glob("images/train/[!.]*"))) < 8
    with pytest.raises(InputError, match="unfinished"):
        open_dataset(out)
    with pytest.raises(InputError, match="keep_originals"):
        normalize_folder(dataset, out, method="macenko", workers=1)
    keep(dataset, out, workers=2)
    assert contents(out) == contents(whole)
    for name in ("dataset.yaml", "augmented.csv", "annotations/train.json"):
        (out / name).unlink()
    (out / "labels" / "train" / "train.3.1_macenko.txt").unlink()
    (out / "images" / "train" / "train.3.1.png").unlink()
    keep(dataset, out)
    assert contents(out) == contents(whole)
    assert keep(dataset, out) == json.loads((whole / "summary.json").read_text())


def test_the_index_is_written_last(dataset: Path, tmp_path: Path, monkeypatch) -> None:
    from mitoyolo.stain import folder

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    keep(dataset, tmp_path / "whole")
    monkeypatch.setattr(folder, "_write_index", stop)
    with pytest.raises(KeyboardInterrupt):
        keep(dataset, tmp_path / "out")
    assert set(contents(tmp_path / "out")) == set(contents(tmp_path / "whole")) - {"dataset.yaml"}


def test_without_turned_copies_and_masks(tissue, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert keep(write(tmp_path / "bare", tissue, more=False), out)["images"] == 4
    check(out)
    assert len((out / "augmented.csv").read_text().splitlines()) == 5
    assert json.loads((out / "report.json").read_text())["augmented_tiles"] == 4
    assert not (out / "masks").exists()


def test_a_sheet_shows_copies_beside_originals(dataset: Path, tmp_path: Path) -> None:
    keep(dataset, tmp_path / "out", sheet=tmp_path / "sheet.png")
    before, after = np.hsplit(read_rgb(tmp_path / "sheet.png"), 2)
    assert not np.array_equal(before, after)
    mapped = read_rgb(tmp_path / "out" / "images" / "train" / "train.1.0_macenko.png")
    assert _holds(after, mapped) and not _holds(before, mapped)


def _holds(page: np.ndarray, tile: np.ndarray) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(page[:, :, 0], (1, tile.shape[1]))
    return bool((windows[:, :, 0] == tile[5, :, 0]).all(axis=2).any())


def test_check_says_what_to_repeat(dataset: Path, tmp_path: Path) -> None:
    keep(dataset, tmp_path / "out")
    (tmp_path / "out" / "labels" / "train" / "train.3.1_macenko.txt").write_text("0 0.5")
    with pytest.raises(
        InputError, match=r"_macenko\.txt, line 1.*normalize again with --overwrite"
    ):
        check(tmp_path / "out")


def test_twice_is_refused(dataset: Path, tmp_path: Path) -> None:
    keep(dataset, tmp_path / "both")
    for again in (keep, normalize_folder):
        with pytest.raises(InputError, match="normalised already"):
            again(tmp_path / "both", tmp_path / "twice")
    normalize_folder(dataset, tmp_path / "once", workers=1)
    with pytest.raises(InputError, match="normalised already"):
        keep(tmp_path / "once", tmp_path / "twice")


def _no_training(root: Path) -> None:
    text = (root / "manifest.csv").read_text()
    (root / "manifest.csv").write_text(text.replace(",train,", ",val,"))
    for kind in ("images", "labels"):
        for path in (root / kind / "train").iterdir():
            path.rename(root / kind / "val" / path.name)


def _twin(root: Path) -> None:
    text = (root / "manifest.csv").read_text()
    (root / "manifest.csv").write_text(text.replace("val.2.0", "train.1.0_macenko"))
    for path in root.rglob("val.2.0.*"):
        path.rename(path.with_stem("train.1.0_macenko"))


def _index(value: object):
    def damage(root: Path) -> None:
        index = yaml.safe_load((root / "dataset.yaml").read_text())
        index["mitoyolo"]["normalised_copies"] = value
        (root / "dataset.yaml").write_text(yaml.safe_dump(index))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_training, "the train split holds no tile"),
        (_twin, r"tile train\.1\.0 would have the name of another tile, train\.1\.0_macenko"),
        (lambda r: (r / "labels/train/train.3.0.txt").unlink(), r"3\.0\.txt: the tile's label"),
        (lambda r: (r / "annotations/train.json").unlink(), r"train\.json: no such file"),
        (lambda r: (r / "annotations/train.json").write_text("[]"), "expected an object"),
        (lambda r: (r / "annotations/train.json").write_text("{}"), "no key `images`"),
        (lambda r: (r / "report.json").write_text("[]"), r"report\.json: expected an object"),
        (lambda r: (r / "report.json").unlink(), r"report\.json: no such file"),
        (_index("macenko"), "`normalised_copies` is 'macenko', expected method"),
        (_index({"method": ["macenko"]}), "expected method, mode and target"),
    ],
)  # fmt: skip
def test_what_cannot_be_copied_is_one_line(
    damage, message: str, dataset: Path, tmp_path: Path
) -> None:
    damage(dataset)
    with pytest.raises(InputError, match=message) as caught:
        keep(dataset, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_plain_folder_keeps_its_originals_itself(tissue, tmp_path: Path) -> None:
    write_rgb(tmp_path / "src" / "a.png", tissue(1))
    with pytest.raises(InputError, match=r"--keep-originals is for a dataset folder.*SRC stays"):
        keep(tmp_path / "src", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_name_with_dots_and_a_folder_keep_their_suffix(dataset: Path) -> None:
    source = read_source(dataset).keeping_originals("_m")
    assert source.target("images/train/a.b.png") == "images/train/a.b_m.png"
    assert read_source(dataset).target("images/train/a.b.png") == "images/train/a.b.png"
