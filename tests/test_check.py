"""``convert --check``: a good folder passes and is drawn; each kind of damage is one line."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import real, tree
from PIL import Image
from rendered import Cell, Source, write_dataset

from converters.errors import InputError
from converters.files import write_csv, write_json
from mitoyolo.convert import ConvertOptions, convert
from mitoyolo.convert.augment import TRANSFORMS
from mitoyolo.convert.check import check
from mitoyolo.convert.check_coco import check_coco
from mitoyolo.convert.check_files import find_pairs
from mitoyolo.dataset import AUGMENTED_COLUMNS, CHECK, UNLABELLED, open_dataset
from mitoyolo.images import RGB, read_rgb, write_rgb
from mitoyolo.jobs import locked
from mitoyolo.label_file import read_boxes
from mitoyolo.report.contact import CELL, LINE, MARGIN, Boxed, _fitted, contact_sheet
from mitoyolo.report.overlay import BLUE, RED

MODULE = sys.modules[check.__module__]
BOTH = ("mitosis", "imposter")
SOURCES = [
    Source("a", "train", (Cell(20, 20), Cell(40, 30), Cell(80, 40, label="imposter"))),
    Source("b", "val", (Cell(30, 12),)),
    Source("c", "test", (Cell(20, 30), Cell(90, 60, label="imposter"))),
]
"""Six tiles of 64 px, at x = 0 and 32. The one that is spoilt below, a_0_0, has two rows: mitoses
at (20, 20) and (40, 30)."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data", SOURCES, labels=BOTH)


def files(root: Path) -> set[str]:
    return set(tree(root))


# --- a good folder ----------------------------------------------------------------------------


def test_a_good_folder_gains_a_picture_and_nothing_else(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before, of_data = tree(folder), open_dataset(folder).hash()
    assert check(folder) == folder / CHECK
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0].startswith("checking: 6 tiles")
    assert lines[1:] == ["checked: 6 tiles, 7 rows; Ultralytics and pycocotools read every one"]
    after = tree(folder)
    picture = after.pop(CHECK)
    assert after == before and open_dataset(folder).hash() == of_data
    assert check(folder / "dataset.yaml", 0) == folder / CHECK
    assert (folder / CHECK).read_bytes() == picture


def test_a_folder_of_one_split_passes(tmp_path: Path) -> None:
    assert check(write_dataset(tmp_path / "data", [Source("a", "test", (Cell(20, 20),))]))


def test_a_folder_without_a_box_has_no_picture(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "data", [Source("a", "train")])
    (folder / CHECK).write_bytes(b"old")
    assert check(folder) is None
    assert not (folder / CHECK).exists()


def test_without_images_pycocotools_alone_is_asked(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(folder / "images")
    with pytest.raises(InputError, match="image is missing"):
        check(folder)
    block(images="none")(folder)
    monkeypatch.delattr(MODULE, "_check_ultralytics")
    assert check(folder) is None
    assert "pycocotools reads every one; Ultralytics cannot be asked" in capsys.readouterr().err
    assert not (folder / CHECK).exists()
    coco("train", lambda c: c["annotations"].pop())(folder)
    with pytest.raises(InputError, match="annotations on a_32_0"):
        check(folder)


def test_what_is_no_tile_but_belongs_to_the_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_copies(folder)
    with_unlabelled(folder)
    with_masks(folder)
    (folder / "labels" / "train.cache").write_bytes(b"left by Ultralytics")
    (folder / "images" / "train" / "a_0_0.npy").write_bytes(b"left by Ultralytics")
    (folder / "images" / ".DS_Store").write_bytes(b"left by macOS")
    before = files(folder)
    assert check(folder) is not None
    assert files(folder) == before | {CHECK}
    assert "checked: 6 tiles, 2 copies, 1 unlabelled, 11 rows;" in capsys.readouterr().err


# --- and damaged ones -------------------------------------------------------------------------

Spoil = Callable[[Path], object]


def block(**values: object) -> Spoil:
    def change(root: Path) -> None:
        facts = yaml.safe_load((root / "dataset.yaml").read_text())
        facts["mitoyolo"] |= values
        (root / "dataset.yaml").write_text(yaml.safe_dump(facts, sort_keys=False))

    return change


def index(**values: object) -> Spoil:
    def change(root: Path) -> None:
        facts = yaml.safe_load((root / "dataset.yaml").read_text())
        (root / "dataset.yaml").write_text(yaml.safe_dump(facts | values, sort_keys=False))

    return change


def line(name: str, number: int, text: str | None) -> Spoil:
    """Replace a line of a text file, counted from 1, or take it out."""

    def change(root: Path) -> None:
        lines = (root / name).read_text().splitlines()
        lines[number - 1 : number] = [] if text is None else [text]
        (root / name).write_text("".join(f"{line}\n" for line in lines))

    return change


def row(number: int, text: str | None) -> Spoil:
    return line("labels/train/a_0_0.txt", number, text)


def coco(split: str, change: Callable[[dict[str, Any]], object]) -> Spoil:
    def spoil(root: Path) -> None:
        file = root / "annotations" / f"{split}.json"
        content = json.loads(file.read_text())
        change(content)
        write_json(file, content)

    return spoil


def item(number: int, **values: object) -> Spoil:
    """Change an annotation of the training split, counted from 1; ... takes a key out."""

    def change(content: dict[str, Any]) -> None:
        annotation = content["annotations"][number - 1]
        annotation |= values
        for key in [key for key, value in annotation.items() if value is ...]:
            del annotation[key]

    return coco("train", change)


def gone(name: str) -> Spoil:
    return lambda root: (root / name).unlink()


def stray(name: str) -> Spoil:
    def make(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")

    return make


def image(
    width: int, height: int, mode: str = "RGB", name: str = "images/train/a_0_0.png"
) -> Spoil:
    return lambda root: Image.new(mode, (width, height)).save(root / name)


def cut(root: Path) -> None:
    file = root / "images/train/a_0_0.png"
    file.write_bytes(file.read_bytes()[:-20])


def twin(root: Path) -> None:
    first = (root / "manifest.csv").read_text().splitlines()[1]
    line("manifest.csv", 3, first)(root)


GOOD = "0 0.3125 0.3125 0.25 0.25"  # the cell at (20, 20) of a tile of 64 px, 16 px wide


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        # the folder
        (gone("images/train/a_0_0.png"), r"train/a_0_0\.png: the tile's image is missing"),
        (gone("labels/train/a_0_0.txt"), r"train/a_0_0\.txt: no such file; convert again"),
        (gone("annotations/val.json"), r"val\.json: no such file; convert again"),
        (stray("images/train/z.png"), r"images/train/z\.png: belongs to no tile.*take it out"),
        (stray("images/train/in/a_0_0.png"), r"in/a_0_0\.png: belongs to no tile"),
        (stray("images/train/a_0_0.jpg"), r"a_0_0\.jpg: belongs to no tile"),
        (stray("images/more/a_0_0.png"), r"more/a_0_0\.png: belongs to no split"),
        (stray("images/unlabelled/u.png"), r"unlabelled/u\.png: belongs to no tile"),
        (stray("labels/val/a_0_0.txt"), r"labels/val/a_0_0\.txt: belongs to no tile"),
        (stray("labels/train/z.txt"), r"labels/train/z\.txt: belongs to no tile"),
        (line("manifest.csv", 2, None), r"images/train/a_0_0\.png: belongs to no tile"),
        (twin, r"manifest\.csv, line 3: a second tile a_0_0"),
        (image(64, 63), r"a_0_0\.png: an image of 64 x 63 px, expected 64 x 64; convert again"),
        (stray("images/train/a_0_0.png"), r"a_0_0\.png: not a readable image"),
        # rows
        (row(1, "0 0.3125 0.3125 0.25"), r"a_0_0\.txt, line 1: 4 values, expected 5"),
        (row(2, "2 0.3125 0.3125 0.25 0.25"), "line 2: class 2, expected one of: 0 mitosis, 1 im"),
        (row(1, "0.5 0.3125 0.3125 0.25 0.25"), r"line 1: class 0\.5, expected"),
        (row(1, "0 0.3125 nan 0.25 0.25"), "line 1: nan is not a finite number"),
        (row(1, "0 0.3125 x 0.25 0.25"), "line 1: 'x' is not a number"),
        (row(1, "0 0.3125 0.3125 0 0.25"), "line 1: a box of 0 x 0.25 of the tile has no extent"),
        (row(1, "0 0.9375 0.3125 0.25 0.25"), "line 1: the box reaches 4 px beyond its tile of 64"),
        (row(1, "0 0.3125 0.1 0.25 0.25"), r"line 1: the box reaches 1\.6 px beyond"),
        (row(2, None), r"train\.json: 2 annotations on a_0_0, but its label file has 1 rows"),
        (row(2, f"0 0.5 0.5 0.25 0.25\n{GOOD}"), "2 annotations on a_0_0, but its .* has 3"),
        (row(1, "0 0.3125 0.31253 0.25 0.25"), r"\[0\]: the box is \(12\.000, 12\.000\)"),
        (row(1, "1 0.3125 0.3125 0.25 0.25"), "category_id 1, expected 2; row 1 of a_0_0.txt is 1"),
        (
            lambda root: [line("labels/train/a_0_0.txt", 1, "")(root), row(2, None)(root)],
            "2 annotations on a_0_0, but its label file has 0 rows",
        ),
        # COCO
        (lambda root: (root / "annotations/val.json").write_text("{"), r"val\.json, line 1, co"),
        (lambda root: (root / "annotations/val.json").write_text("[]"), r"cannot read it \(Assert"),
        (item(2, id=...), r"train\.json: pycocotools cannot read it \(KeyError: 'id'\)"),
        (item(2, id=7), r"train\.json, annotations\[1\]: id 7, expected 2; convert again"),
        (coco("train", lambda c: c["annotations"].pop(0)), r"annotations\[0\]: id 2, expected 1"),
        (coco("train", lambda c: c["images"].pop(0)), r"images\[0\]: id 2, expected 1"),
        (coco("train", lambda c: c["images"].pop()), r"json, images: no image for tile a_32_0"),
        (coco("val", lambda c: c.pop("images")), r"val\.json: no key `images`"),
        (
            coco("train", lambda c: c["images"][1].update(file_name="a_0_0.png")),
            r"images\[1\]: image 'a_0_0\.png' stands there twice",
        ),
        (
            coco("train", lambda c: c["images"][1].update(file_name="b_0_0.png")),
            r"images\[1\]: image 'b_0_0\.png' is no tile of this split",
        ),
        (
            coco("train", lambda c: c["images"][1].update(width=63)),
            r"images\[1\]: 63 x 64 px, but tile a_32_0 has 64 x 64",
        ),
        (coco("val", lambda c: c["categories"].pop()), r"categories \[\(1, 'mitosis'\)\]"),
        (item(1, image_id=9), r"annotations\[0\]: image_id 9 is no image's"),
        (item(4, image_id=1), r"3 annotations on a_0_0, but its label file has 2 rows"),
        (item(1, bbox=[12.002, 12, 16, 16]), r"\[0\]: the box is \(12\.002, 12\.000\) to \(28"),
        (item(2, bbox=[32, 22, 16, 16.5]), r"\[1\]: .* row 2 of a_0_0\.txt says \(32\.000"),
        (item(2, bbox=[32, 22, 16]), r"annotations\[1\]: bbox of 3 numbers, expected"),
        (item(2, bbox=[32, 22, 16, None]), r"annotations\[1\], key `bbox`: None is not a number"),
        (item(2, bbox="wide"), r"annotations\[1\], key `bbox`: expected a list"),
        (item(1, category_id=2), r"\[0\]: category_id 2, expected 1; row 1 of a_0"),
        (item(1, area=...), r"annotations\[0\]: no key `area`"),
        # what Ultralytics makes of it
        (index(names={0: "mitosis"}), r"`names`: Ultralytics reads the classes \{0: 'mitosis'\}"),
        (index(names=3), r"dataset\.yaml: Ultralytics cannot use it"),
        (index(train="images/nowhere"), r"dataset\.yaml: Ultralytics cannot use it .*nowhere"),
        (index(val="images/train"), "`path` or `val`: Ultralytics looks for images in .*train"),
        (cut, r"images/train/a_0_0\.png: Ultralytics leaves it out"),
        (row(2, GOOD), "the box is"),
    ],
)  # fmt: skip
def test_damage_is_one_line(folder: Path, spoil: Spoil, message: str) -> None:
    (folder / CHECK).write_bytes(b"of an earlier check")
    spoil(folder)
    before = files(folder) - {CHECK}
    with pytest.raises(InputError, match=message) as error:
        check(folder)
    assert str(error.value).endswith("with --overwrite") and "\n" not in str(error.value)
    assert files(folder) == before


def test_an_unfinished_folder_is_not_checked(folder: Path) -> None:
    (folder / "dataset.yaml").unlink()
    write_json(folder / "run.json", {})
    with pytest.raises(InputError, match="unfinished dataset folder"):
        check(folder)


def test_a_folder_that_is_being_written_is_not_checked(folder: Path) -> None:
    with locked(folder), pytest.raises(InputError, match="another mitoyolo is writing"):
        check(folder)


def test_a_normalised_folder_is_to_be_normalised_again(folder: Path) -> None:
    block(normalisation={"method": "reinhard"})(folder)
    assert check(folder)
    row(2, None)(folder)
    with pytest.raises(InputError, match="; normalize again with --overwrite"):
        check(folder)


def test_a_row_that_stands_twice_is_lost_in_training(folder: Path) -> None:
    row(2, GOOD)(folder)
    item(2, bbox=[12, 12, 16, 16], segmentation=[])(folder)
    message = r"a_0_0\.txt: Ultralytics keeps 1 of 2 rows, since it leaves out a row that stands"
    with pytest.raises(InputError, match=message):
        check(folder)


def test_what_ultralytics_reads_is_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mitoyolo.detectors import reads_labels

    whole = reads_labels.read_pairs

    def shifted(by: float, size: tuple[int, int]) -> Callable[..., Any]:
        def read(*arguments: Any) -> Any:
            for seen in whole(*arguments):
                seen.rows[1:2, 2] += by
                yield reads_labels.Seen(seen.image, seen.labels, size, seen.rows)

        return read

    for by, size, message in (
        (5e-6, (64, 64), None),
        (2e-5, (64, 64), r"a_0_0\.txt, row 2: Ultralytics reads \[0\.0, 0\.625, 0\.4687"),
        (0, (64, 63), r"a_0_0\.png: Ultralytics reads 64 x 63 px, expected 64 x 64"),
    ):
        monkeypatch.setattr(reads_labels, "read_pairs", shifted(by, size))
        if message is None:
            check(folder)
            continue
        with pytest.raises(InputError, match=message):
            check(folder)


# --- Ultralytics alone ------------------------------------------------------------------------


def labelled(root: Path, text: str | None, name: str = "t.png") -> Path:
    """An image of 64 x 48 px with a label file, as Ultralytics pairs them."""
    path = root / "images" / "train" / name
    write_rgb(path, np.full((48, 64, 3), 200, np.uint8))
    if text is not None:
        file = root / "labels" / "train" / "t.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def test_ultralytics_reads_what_stands_there(tmp_path: Path) -> None:
    from mitoyolo.detectors.reads_labels import read_pairs

    path = labelled(tmp_path, "0 0.5 0.25 0.125 0.0625\n1 0.1 0.2 0.1 0.2\n")
    (seen,) = read_pairs([path], 2)
    assert (seen.image, seen.labels) == (path, tmp_path / "labels/train/t.txt")
    assert seen.size == (64, 48)
    assert seen.rows.tolist() == np.float32(
        [[0, 0.5, 0.25, 0.125, 0.0625], [1, 0.1, 0.2, 0.1, 0.2]]
    ).tolist()  # fmt: skip
    (empty,) = read_pairs([labelled(tmp_path, "")], 2)
    assert empty.rows.shape == (0, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"t\.png: Ultralytics finds no label file \(looked for .*labels/train/t\.txt\)"),
        ("0 1.2 0.5 0.1 0.1", r"t\.png: Ultralytics leaves it out \(non-normalized"),
        (
            "".join(f"0 {1.2 + i / 1000} 0.5 0.1 0.1\n" for i in range(30)),  # told in two lines
            r"leaves it out \(non-normalized",
        ),
        ("2 0.5 0.5 0.1 0.1", r"leaves it out \(Label class 2 exceeds"),
        ("0 0.5 0.5 0.1", r"leaves it out \(labels require 5 columns"),
        ("0 0.5 0.5 0.1 0.1\n0 0.5", r"leaves it out \("),
    ],
)
def test_what_ultralytics_leaves_out_is_named(
    tmp_path: Path, text: str | None, message: str
) -> None:
    from mitoyolo.detectors.reads_labels import read_pairs

    with pytest.raises(InputError, match=message) as error:
        list(read_pairs([labelled(tmp_path, text)], 2))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", [lambda data: data[:-2], lambda data: data + b"\0\0"])
def test_a_jpeg_that_ultralytics_would_rewrite_stays_as_it_is(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    from mitoyolo.detectors.reads_labels import read_pairs

    path = labelled(tmp_path, "", "t.jpg")
    assert len(list(read_pairs([path], 1))) == 1
    data = change(path.read_bytes())
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"t\.jpg: .*Ultralytics would write it anew"):
        list(read_pairs([path], 1))
    assert path.read_bytes() == data


# --- outlines ---------------------------------------------------------------------------------

SQUARE = [[12, 12, 28, 12, 28, 28, 12, 28]]  # the first box of a_0_0


def runs_of(top: int, left: int, side: int) -> dict[str, Any]:
    """A square as run lengths down the columns of a tile of 64 px."""
    counts = [64 * left + top, *[side, 64 - side] * side]
    counts[-1] = 64 * 64 - sum(counts[:-1])
    return {"size": [64, 64], "counts": counts}


@pytest.mark.parametrize(
    "outline",
    [
        [],
        SQUARE,
        [[12, 12, 20, 12, 20, 28, 12, 28], [20, 12, 28, 12, 28, 28, 20, 28]],
        runs_of(12, 12, 16),
        [[8, 12, 24, 12, 24, 28, 8, 28]],  # three quarters are in the box
    ],
)
def test_outlines_that_fit_their_box(folder: Path, outline: object) -> None:
    item(1, segmentation=outline)(folder)
    assert check(folder)


def test_a_mask_has_the_height_of_its_tile_first(tmp_path: Path) -> None:
    source = Source("a", "train", (Cell(20, 20),), width=60, height=40)
    folder = write_dataset(tmp_path / "data", [source])
    counts = [40 * 12 + 12, *[16, 24] * 15, 16]
    counts.append(60 * 40 - sum(counts))
    item(1, segmentation={"size": [40, 60], "counts": counts})(folder)
    assert check(folder)


def test_a_speck_may_miss_every_pixel(folder: Path) -> None:
    speck = [[12.1, 12.1, 12.2, 12.1, 12.2, 12.2]]
    item(1, segmentation=speck, area=3.9)(folder)
    assert check(folder)
    item(1, segmentation=speck, area=4)(folder)
    with pytest.raises(InputError, match=r"annotations\[0\]: the segmentation holds no pixel"):
        check(folder)


def test_a_ring_that_runs_twice_around_holds_no_pixel_for_pycocotools(folder: Path) -> None:
    item(1, segmentation=[2 * [12, 12, 28, 12, 28, 28]], area=256)(folder)
    assert check(folder)


@pytest.mark.parametrize(
    ("outline", "message"),
    [
        ([[2, 12, 18, 12, 18, 28, 2, 28]], "160 of the segmentation's 256 px lie"),
        ([[12, 40, 28, 40, 28, 56, 12, 56]], "256 of the segmentation's 256 px lie"),
        (runs_of(40, 12, 16), "256 of the segmentation's 256 px lie outside its box"),
        ({"size": [64, 64], "counts": [700, 20]}, "counts of 720 px in all, expected 64 x 64"),
        ({"size": [64, 64]}, "counts: expected text or a list of lengths, found None"),
        ({"size": [64, 63], "counts": [4032]}, "a mask of 63 x 64 px, but its image has 64 x 64"),
        ([[12, 12, 28, 12]], r"segmentation\[0\]: a polygon of 4 numbers, expected"),
        ([[12, 12, 28, 12, 28, 28, 12]], r"segmentation\[0\]: a polygon of 7 numbers"),
        ([SQUARE[0], "x"], r"segmentation\[1\], key `polygon`: expected a list, found 'x'"),
        ([[12, 12, 28, "x", 28, 28]], r"segmentation\[0\], key `polygon`: 'x' is not a number"),
        ([[12, 12, 28, 12, 28, 1e9]], r"segmentation\[0\]: a corner at 1e\+09 px"),
        (None, r"cannot read the segmentation \(TypeError"),
        (..., r"annotations\[0\]: no key `segmentation`"),
    ],
)  # fmt: skip
def test_outlines_that_do_not(folder: Path, outline: object, message: str) -> None:
    item(1, segmentation=outline)(folder)
    with pytest.raises(InputError, match=message) as error:
        check(folder)
    assert "train.json, annotations[0]" in str(error.value)


# --- copies, unlabelled images, masks ---------------------------------------------------------


def with_copies(root: Path, transform: str = "rot90") -> None:
    """Turned copies of both training tiles, and their entries in labels and COCO."""
    dataset = open_dataset(root)
    content = json.loads((root / "annotations/train.json").read_text())
    rows = []
    for tile in dataset.of_split("train"):
        name, turn = f"{tile.name}_{transform}", TRANSFORMS[transform]
        rows.append((name, tile.name, transform))
        write_rgb(
            root / f"images/train/{name}.png", turn.pixels(read_rgb(dataset.image_path(tile)))
        )
        width, height = turn.size(tile.width, tile.height)
        number, text = len(content["images"]) + 1, ""
        content["images"].append(
            {"id": number, "file_name": f"{name}.png", "width": width, "height": height}
        )
        for label, box in read_boxes(dataset, tile):
            x0, y0, x1, y1 = turn.box(box, tile.width, tile.height)
            text += (
                f"{label} {(x0 + x1) / 2 / width} {(y0 + y1) / 2 / height} "
                f"{(x1 - x0) / width} {(y1 - y0) / height}\n"
            )
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1, "image_id": number,
                    "category_id": label + 1, "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0), "iscrowd": 0, "segmentation": [],
                }
            )  # fmt: skip
        (root / f"labels/train/{name}.txt").write_text(text)
    write_json(root / "annotations/train.json", content)
    write_csv(root / "augmented.csv", AUGMENTED_COLUMNS, rows)


def with_unlabelled(root: Path) -> None:
    with (root / "manifest.csv").open("a") as handle:
        handle.write(f"u,u,u,{UNLABELLED},0,0,40,30,0.5,0.5,,\n")
    write_rgb(root / f"images/{UNLABELLED}/u.png", np.full((30, 40, 3), 9, np.uint8))


def with_masks(root: Path) -> None:
    """Indexed masks of every tile that has a label file."""
    dataset = open_dataset(root)
    for file in sorted((root / "labels").glob("*/*.txt")):
        tile = next(t for t in dataset.tiles if file.stem.startswith(t.name))
        values = np.zeros((tile.height, tile.width), np.uint8)
        boxes = read_boxes(dataset, replace(tile, name=file.stem))
        for n, (_, box) in enumerate(boxes, 1):
            left, top, right, bottom = (round(v) for v in box)
            values[top:bottom, left:right] = n
        save_mask(root / "masks" / file.parent.name / f"{file.stem}.png", values)


def save_mask(path: Path, values: np.ndarray[Any, Any], mode: str = "P") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(values)
    if mode == "P":
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    else:
        picture = picture.convert(mode)
    picture.save(path)


def mask(values: np.ndarray[Any, Any], mode: str = "P") -> Spoil:
    return lambda root: save_mask(root / "masks/train/a_0_0.png", values, mode)


EMPTY = np.zeros((64, 64), np.uint8)


@pytest.mark.parametrize(
    ("make", "spoil", "message"),
    [
        (with_copies, gone("images/train/a_0_0_rot90.png"), r"a_0_0_rot90\.png: the tile's image"),
        (with_copies, gone("labels/train/a_0_0_rot90.txt"), r"a_0_0_rot90\.txt: no such file"),
        (with_copies, line("augmented.csv", 2, None), r"a_0_0_rot90\.png: belongs to no tile"),
        (with_copies, line("augmented.csv", 2, "n,a_0_0,melt"), "line 2: no transform 'melt'"),
        (with_copies, line("augmented.csv", 3, "a_0_0,a_0_0,flipv"), "line 3: a second tile a_0_0"),
        (with_copies, line("augmented.csv", 3, "a_0_0_rot90,a_0_0,flipv"), "line 3: a second tile"),
        (with_copies, line("augmented.csv", 2, "n,nobody,flipv"), "line 2: no tile 'nobody'"),
        (
            with_copies,
            line("labels/train/a_0_0_rot90.txt", 1, "0 0.5 0.5 0.25 0.25"),
            r"row 1 of a_0_0_rot90\.txt says",
        ),
        (with_unlabelled, gone(f"images/{UNLABELLED}/u.png"), r"u\.png: the tile's image"),
        (with_unlabelled, image(40, 31, name=f"images/{UNLABELLED}/u.png"), "40 x 31 px, expect"),
        (with_masks, gone("masks/val/b_0_0.png"), r"val/b_0_0\.png: the tile's mask is missing"),
        (with_masks, stray("masks/val/z.png"), r"masks/val/z\.png: belongs to no tile"),
        (with_masks, stray("masks/train/a_0_0.png"), r"a_0_0\.png: not a readable mask"),
        (with_masks, mask(EMPTY[:63]), "an image of 64 x 63 px, expected 64 x 64"),
        (with_masks, mask(EMPTY + 3), r"a_0_0\.png: value 3, but a_0_0\.txt has 2 rows"),
        (with_masks, mask(EMPTY, "RGB"), "a picture of mode RGB, expected an indexed PNG"),
    ],
)  # fmt: skip
def test_what_goes_with_the_tiles_is_checked(
    folder: Path, make: Callable[[Path], None], spoil: Spoil, message: str
) -> None:
    make(folder)
    assert check(folder)
    spoil(folder)
    with pytest.raises(InputError, match=message):
        check(folder)


def test_masks_in_grey_pass(folder: Path) -> None:
    with_masks(folder)
    save_mask(folder / "masks/train/a_0_0.png", EMPTY + 2, "L")
    assert check(folder)


def test_a_turned_copy_has_its_sides_exchanged(tmp_path: Path) -> None:
    source = Source("a", "train", (Cell(20, 20),), width=60, height=40)
    folder = write_dataset(tmp_path / "data", [source], mpp=(0.5, 0.25))
    with_copies(folder)
    drawn = read_rgb(check(folder) or Path())
    image(60, 40, name="images/train/a_0_0_rot90.png")(folder)
    with pytest.raises(InputError, match=r"an image of 60 x 40 px, expected 40 x 60"):
        check(folder)
    first, second = (
        box_of(drawn[2 * LINE :, MARGIN + n * (CELL + 2 * LINE + 6) :][:CELL, :CELL], RED)
        for n in range(2)
    )
    assert first == pytest.approx((80, 86, 104, 98), abs=1)  # 16 px of 0.5 µm and 16 of 0.25 µm
    assert second == pytest.approx((86, 80, 98, 104), abs=1)


# --- the picture ------------------------------------------------------------------------------


def box_of(cell: RGB, colour: tuple[int, int, int]) -> tuple[int, ...]:
    """Left, top, right and bottom of a line of one colour."""
    rows, columns = np.nonzero((cell == colour).all(axis=2))
    return tuple(int(v) for v in (columns.min(), rows.min(), columns.max(), rows.max()))


def boxed(folder: Path, name: str, label: str, box: tuple[float, float, float, float]) -> Boxed:
    dataset = open_dataset(folder)
    tile = next(tile for tile in dataset.tiles if tile.name == name)
    return Boxed(tile, dataset.image_path(tile), label, box)


def test_a_cell_shows_64_um_with_the_box_in_its_middle(folder: Path) -> None:
    drawn = contact_sheet(
        [
            boxed(folder, "a_0_0", "mitosis", (12, 12, 28, 28)),
            boxed(folder, "a_32_0", "imposter", (40, 32, 56, 48)),
        ],
        "heading",
    )
    pitch = CELL + 2 * LINE + 6
    assert drawn.shape == (2 * LINE + pitch, MARGIN + 8 * pitch, 3)
    assert (drawn[: 2 * LINE] < 100).any()
    first = drawn[2 * LINE :, MARGIN:][:CELL, :CELL]
    second = drawn[2 * LINE :, MARGIN + pitch :][:CELL, :CELL]
    # 16 px of 0.5 µm are 8 of 64 µm: an eighth of the cell, around its middle
    middle = CELL // 2
    assert box_of(first, RED) == (middle - 12, middle - 12, middle + 12, middle + 12)
    assert box_of(second, BLUE) == box_of(first, RED)
    assert tuple(first[middle, middle]) == (0, 204, 255)  # the cell itself is in the box
    assert tuple(first[0, 0]) == (128, 128, 128)  # beyond the tile
    assert tuple(first[middle + 40, middle + 40]) == (230, 170, 200)
    below = drawn[2 * LINE + CELL : 2 * LINE + CELL + 2 * LINE, MARGIN : MARGIN + CELL]
    assert (below < 100).any() and (below[:, :, 0] == below[:, :, 1]).mean() > 0.9


def test_a_box_larger_than_the_cell_is_drawn_on_its_rim(tmp_path: Path) -> None:
    source = Source("a", "train", (Cell(30, 30),))
    folder = write_dataset(tmp_path / "data", [source], mpp=(4.0, 4.0))
    drawn = contact_sheet([boxed(folder, "a_0_0", "mitosis", (10, 20, 50, 40))], "")
    cell = drawn[2 * LINE :, MARGIN:][:CELL, :CELL]
    for rim in (cell[0], cell[-1], cell[:, 0], cell[:, -1]):
        assert (rim == RED).all()


def test_a_box_off_its_window_s_grid_is_drawn_where_it_is(tmp_path: Path) -> None:
    source = Source("a", "train", (Cell(30, 30),))
    folder = write_dataset(tmp_path / "data", [source], mpp=(4.0, 4.0))
    drawn = contact_sheet([boxed(folder, "a_0_0", "mitosis", (30, 30, 31, 31))], "")
    cell = drawn[2 * LINE :, MARGIN:][:CELL, :CELL]
    # the window of 16 px begins at 30.5 - 8 = 22.5, which is rounded to 22: pixel 30 is its ninth
    assert box_of(cell, RED) == (92, 92, 104, 104)  # 8/16 and 9/16 of 184 px are 92 and 103.5


def test_long_names_are_shortened_in_the_middle() -> None:
    assert _fitted("short", 200) == "short"
    short = _fitted("H03_00Aa" * 20 + "_x512_y0", 200)
    assert short.startswith("H03_00") and short.endswith("_x512_y0") and short.count("…") == 1
    assert 10 < len(short) < 50


def test_a_caption_shows_how_a_long_name_ends(folder: Path) -> None:
    item = boxed(folder, "a_0_0", "mitosis", (12, 12, 28, 28))
    first, second = (
        contact_sheet([replace(item, tile=replace(item.tile, name="A" * 100 + end))], "")
        for end in "xy"
    )
    assert (first != second).any()


def test_the_boxes_are_spread_over_splits_classes_and_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = tuple(Cell(4 + 6 * i, 8 + 6 * j, None) for i in range(9) for j in range(8))
    folder = write_dataset(
        tmp_path / "data",
        [
            Source("crowd", "train", crowd, width=64),
            *(Source(f"s{i}", "train", (Cell(20, 20),), width=64) for i in range(3)),
            Source("v", "val", (Cell(20, 20), Cell(40, 20, label="imposter")), width=64),
        ],
        labels=BOTH,
    )
    shown: list[list[Boxed]] = []

    def draw(items: list[Boxed], heading: str) -> RGB:
        assert heading.startswith(f"data: {len(items)} of 77 boxes, seed ")
        shown.append(items)
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(MODULE, "contact_sheet", draw)
    for seed in (0, 0, 1):
        check(folder, seed)
    first, again, other = shown
    assert first == again != other
    assert len(first) == len({(item.tile.name, item.box) for item in first}) == 48
    keys = [(item.tile.split, item.label, item.tile.source) for item in first]
    assert set(keys) == {
        *(("train", "mitosis", source) for source in ("crowd", "s0", "s1", "s2")),
        ("val", "mitosis", "v"),
        ("val", "imposter", "v"),
    }
    assert [key[0] for key in keys] == ["train"] * 46 + ["val"] * 2
    assert keys[-2:] == [("val", "mitosis", "v"), ("val", "imposter", "v")]


def test_the_classes_share_the_picture_equally(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = tuple(Cell(4 + 6 * i, 8 + 6 * j, None, "imposter") for i in range(9) for j in range(4))
    folder = write_dataset(
        tmp_path / "data",
        [
            Source("crowd", "train", crowd, width=64),
            *(Source(f"s{i}", "train", (Cell(20, 20),), width=64) for i in range(30)),
        ],
        labels=BOTH,
    )
    shown: list[str] = []

    def draw(items: list[Boxed], heading: str) -> RGB:
        shown.extend(item.label for item in items)
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(MODULE, "contact_sheet", draw)
    check(folder)
    assert shown == ["mitosis"] * 24 + ["imposter"] * 24


# --- together with the commands ---------------------------------------------------------------


def test_the_picture_does_not_disturb_convert(atypia: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "out", ConvertOptions(format="atypia14")
    convert(atypia, out, options)
    written = tree(out)
    assert check(out)
    convert(atypia, out, options)  # finished already
    assert (out / CHECK).exists()
    convert(atypia, out, options, overwrite=True)
    assert tree(out) == written


def test_real_frames(tmp_path: Path) -> None:
    source = real("mitos_atypia_14")
    for file in source.glob("H15/*/**/H15_00A*"):
        target = tmp_path / "in" / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    out = tmp_path / "out"
    convert(tmp_path / "in", out, ConvertOptions(format="atypia14", tile=512))
    assert read_rgb(check(out) or Path()).shape[1] == MARGIN + 8 * (CELL + 2 * LINE + 6)


def test_pycocotools_is_silent(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pairs = find_pairs(open_dataset(folder))
    check_coco(folder / "annotations/train.json", pairs["train"], BOTH)
    assert capfd.readouterr() == ("", "")
