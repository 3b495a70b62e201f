"""`mitoyolo convert`: what it writes, what it refuses, and that it goes on where it stopped."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import yaml
from conftest import Cli, document, ellipse, picture, real, table, tree
from PIL import Image
from pycocotools.coco import COCO

import converters.files
from mitoyolo.dataset import open_dataset
from mitoyolo.images import read_rgb
from mitoyolo.jobs import open_job

CADD = ("--from", "cadd4mbc", "--mpp", "0.25")


def report(out: Path) -> dict[str, Any]:
    """The report, whose account holds and agrees with the tables."""
    found = json.loads((out / "report.json").read_text())
    assert found["read"] == found["kept"] + sum(found["dropped"].values())
    assert found["kept"] == len(rows(out / "annotations.csv"))
    listed = Counter(row["reason"] for row in rows(out / "dropped.csv"))
    assert found["dropped"] == dict(sorted(listed.items()))
    tiles = Counter(row["split"] for row in rows(out / "manifest.csv"))
    assert found["tiles"] == {name: tiles[name] for name in ("train", "val", "test")}
    return dict(found)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def labels(out: Path, tile: str) -> list[list[float]]:
    (path,) = out.glob(f"labels/*/{tile}.txt")
    return [[float(cell) for cell in line.split()] for line in path.read_text().splitlines()]


# --- what is written --------------------------------------------------------------------------


def test_a_folder_of_tiles(cadd: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    result = cli("convert", cadd, out, *CADD)
    assert result.code == 0 and result.out == ""
    assert "9 read, 9 kept, dropped: 0" in result.err
    found = report(out)
    assert found["read"] == 9 and found["tiles"] == {"train": 3, "val": 3, "test": 3}
    index = yaml.safe_load((out / "dataset.yaml").read_text())
    assert {key: index[key] for key in ("train", "val", "test", "names")} == {
        "train": "images/train", "val": "images/val", "test": "images/test",
        "names": {0: "mitosis"},
    }  # fmt: skip
    assert "path" not in index and "download" not in index
    block = index["mitoyolo"]
    assert block.items() >= {"format": "cadd4mbc", "mpp": [0.25, 0.25], "seed": 0}.items()
    assert block["protocol"] == "centroid" and block["radius_um"] == 8
    assert labels(out, "T1x0y7") == []  # background is an empty file
    (first, second) = labels(out, "T2x2y7")
    assert first == pytest.approx([0, 15 / 64, 20.5 / 48, 12 / 64, 8 / 48])
    assert second == pytest.approx([0, 35 / 64, 20.5 / 48, 12 / 64, 8 / 48])
    for row in rows(out / "manifest.csv"):
        assert (row["tile"], row["x"], row["width"]) == (row["source"], "0", "64")
        copied = out / "images" / row["split"] / f"{row['tile']}.png"
        slide, x = row["case"], row["tile"][2:].split("y")[0].strip("x")
        folder = "T_2" if slide == "T2" else slide
        assert copied.read_bytes() == (cadd / folder / f"x{x}y7.png").read_bytes()
    cases = [(row["case"], row["split"]) for row in rows(out / "manifest.csv")]
    assert len(set(cases)) == 3  # no case in two splits


def test_frames_cut_into_tiles(atypia: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    options = ("--tile", 64, "--overlap", 16, "--labels", "mitosis,imposter")
    assert cli("convert", atypia, out, "--from", "atypia14", *options, "--quiet").code == 0
    found = report(out)
    assert (found["read"], found["kept"]) == (12, 12)
    assert sum(found["tiles"].values()) == 4 * 3 * 3
    index = yaml.safe_load((out / "dataset.yaml").read_text())
    assert index["names"] == {0: "mitosis", 1: "imposter"}
    assert index["mitoyolo"]["tile"] == 64 and index["mitoyolo"]["protocol"] == "atypia14"
    frame = read_rgb(atypia / "A03/frames/x40/A03_00Aa.png")
    for row in rows(out / "manifest.csv"):
        if row["source"] == "A03_00Aa":
            x, y = int(row["x"]), int(row["y"])
            tile = read_rgb(out / "images" / row["split"] / f"{row['tile']}.png")
            assert np.array_equal(tile, frame[y : y + 64, x : x + 64])
    # (40, 50) stands in the tiles at 0,0, at 0,48 and, shifted back to the edge, at 0,56
    radius = 8 / 0.2455
    top, bottom = 50 - radius, 64.0
    assert labels(out, "A03_00Aa_x0_y0") == [
        pytest.approx([0, (40 - radius + 64) / 2 / 64, (top + bottom) / 2 / 64,
                       (64 - 40 + radius) / 64, (bottom - top) / 64])
    ]  # fmt: skip
    assert [row[0] for row in labels(out, "A03_00Aa_x48_y56")] == [0, 1]
    cases = {(row["case"], row["split"]) for row in rows(out / "manifest.csv")}
    assert len(cases) == 3  # A03 and H03 are one case, in one split


def test_boxes_are_clipped_and_counted(tmp_path: Path, cli: Cli) -> None:
    picture(tmp_path / "in" / "x1y1.png")
    document(tmp_path / "in" / "1_1.json", ellipse(63, 2, 20, 20), ellipse(30, 20))
    out = tmp_path / "out"
    assert cli("convert", tmp_path / "in", out, *CADD, "--quiet").code == 0
    assert report(out)["clipped"] == 1
    assert labels(out, "x1y1")[0] == pytest.approx([0, 58.5 / 64, 6 / 48, 11 / 64, 12 / 48])


def test_coco_loads_and_agrees_with_the_labels(
    cadd: Path, tmp_path: Path, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli("convert", cadd, out, *CADD, "--split", "1,0,0", "--quiet").code == 0
    with capsys.disabled():
        coco = COCO()
    coco.dataset = json.loads((out / "annotations" / "train.json").read_text())
    coco.createIndex()
    assert sorted(coco.imgs) == list(range(1, 10)) and sorted(coco.anns) == list(range(1, 10))
    for image in coco.imgs.values():
        assert (out / "images" / "train" / image["file_name"]).is_file()
        boxes = [item["bbox"] for item in coco.loadAnns(coco.getAnnIds(image["id"]))]
        yolo = labels(out, Path(image["file_name"]).stem)
        assert len(boxes) == len(yolo)
        for (x, y, w, h), (_, xc, yc, ww, hh) in zip(boxes, yolo, strict=True):
            assert [x + w / 2, y + h / 2, w, h] == pytest.approx(
                [64 * xc, 48 * yc, 64 * ww, 48 * hh]
            )
    for name in ("val", "test"):  # empty, yet whole
        assert json.loads((out / "annotations" / f"{name}.json").read_text())["images"] == []


def test_ultralytics_takes_every_row(tmp_path: Path, cli: Cli) -> None:
    import mitoyolo.detectors.ultralytics_quiet  # noqa: F401, first: it keeps the network out

    from ultralytics.data.utils import verify_image_label as check

    picture(tmp_path / "in" / "x1y1.png")
    marks = [ellipse(0, 0, 30, 30), ellipse(64, 48, 30, 30), ellipse(32, 24, 500, 500)]
    document(tmp_path / "in" / "1_1.json", *marks)
    out = tmp_path / "out"
    assert cli("convert", tmp_path / "in", out, *CADD, "--split", "1,0,0", "--quiet").code == 0
    image = out / "images" / "train" / "x1y1.png"
    label = out / "labels" / "train" / "x1y1.txt"
    found = check((str(image), str(label), "", False, 1, 0, 0, False))
    assert found[1].shape == (3, 5) and found[-1] == ""  # all rows, no complaint


@pytest.mark.parametrize(
    ("name", "options", "suffix", "same_bytes"),
    [
        ("x1y1.png", (), ".png", True),
        ("x1y1.jpg", (), ".jpg", True),
        ("x1y1.jpeg", (), ".jpg", True),
        ("x1y1.tif", (), ".png", False),
        ("x1y1.bmp", (), ".png", False),
        ("x1y1.bmp", ("--tile-format", "jpg"), ".jpg", False),
        ("x1y1.jpg", ("--tile", 32), ".png", False),
        ("x1y1.png", ("--tile", 32, "--tile-format", "jpg"), ".jpg", False),
        ("x1y1.jpg", ("--at-mpp", 0.5), ".png", False),
    ],
)
def test_image_formats(
    tmp_path: Path, cli: Cli, name: str, options: tuple[object, ...], suffix: str, same_bytes: bool
) -> None:
    source = picture(tmp_path / "in" / name)
    document(tmp_path / "in" / "1_1.json")
    out = tmp_path / "out"
    assert cli("convert", tmp_path / "in", out, *CADD, *options, "--quiet").code == 0
    written = sorted(out.glob("images/train/*"))
    assert {path.suffix for path in written} == {suffix}
    assert (written[0].read_bytes() == source.read_bytes()) == same_bytes
    if suffix == ".png" and not same_bytes and not options:
        assert np.array_equal(read_rgb(written[0]), read_rgb(source))
    dataset = open_dataset(out)
    assert all(dataset.image_path(tile) in written for tile in dataset.tiles)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_an_image_that_exif_turns_is_seen_alike_by_all_readers(
    tmp_path: Path, cli: Cli, suffix: str
) -> None:
    source = tmp_path / "in" / f"x1y1{suffix}"
    with Image.open(picture(tmp_path / "plain.png")) as image:
        exif = image.getexif()
        exif[274] = 6  # a quarter turn
        source.parent.mkdir()
        image.save(source, exif=exif)
    document(tmp_path / "in" / "1_1.json", ellipse(50, 10))
    options = ("--split", "1,0,0", "--quiet")
    assert cli("convert", tmp_path / "in", tmp_path / "out", *CADD, *options).code == 0
    (written,) = (tmp_path / "out").glob("images/train/*")
    as_trained = cv2.cvtColor(cv2.imread(str(written)), cv2.COLOR_BGR2RGB)
    assert np.array_equal(as_trained, read_rgb(source))


@pytest.mark.parametrize(("at_mpp", "size"), [(0.5, (100, 60)), (0.125, (400, 240)), (0.3, None)])
def test_pixels_and_coordinates_are_resampled_together(
    tmp_path: Path, cli: Cli, at_mpp: float, size: tuple[int, int] | None
) -> None:
    image = np.full((120, 200, 3), 40, np.uint8)
    image[60:68, 140:148] = 250  # a bright dot around (144, 64)
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "x1y1.png"), image)
    document(tmp_path / "in" / "1_1.json", ellipse(144, 64, 8, 8))
    out = tmp_path / "out"
    options = ("--at-mpp", at_mpp, "--split", "1,0,0")
    assert cli("convert", tmp_path / "in", out, *CADD, *options).code == 0
    written = read_rgb(out / "images" / "train" / "x1y1.png")[:, :, 0].astype(float) - 40
    height, width = written.shape
    assert (width, height) == (size or (round(200 * 0.25 / 0.3), round(120 * 0.25 / 0.3)))
    ys, xs = np.mgrid[:height, :width] + 0.5
    seen = (written * xs).sum() / written.sum(), (written * ys).sum() / written.sum()
    (row,) = rows(out / "annotations.csv")
    assert (float(row["x"]), float(row["y"])) == pytest.approx(seen, abs=0.05)
    assert float(row["width"]) == pytest.approx(8 * width / 200)
    (tile,) = rows(out / "manifest.csv")
    assert (float(tile["mpp_x"]), int(tile["width"])) == (at_mpp, width)
    assert open_dataset(out).mpp == (at_mpp, at_mpp)


@pytest.mark.parametrize(
    ("options", "read", "dropped", "kept_area"),
    [
        ((), 3, {}, None),
        (("--min-area", 100), 3, {"area": 1}, None),
        (("--min-area", 100, "--at-mpp", 0.5), 3, {"area": 1}, None),  # px² of the input
        (("--box", "fixed", "--radius-um", 2), 3, {}, 16.0),
    ],
)
def test_selection(
    tmp_path: Path,
    cli: Cli,
    options: tuple[object, ...],
    read: int,
    dropped: dict[str, int],
    kept_area: float | None,
) -> None:
    picture(tmp_path / "in" / "x1y1.png")
    marks = [ellipse(12, 12, 10, 10), ellipse(32, 30, 20, 12), ellipse(50, 12, 16, 16)]
    document(tmp_path / "in" / "1_1.json", *marks)
    out = tmp_path / "out"
    assert cli("convert", tmp_path / "in", out, *CADD, *options, "--quiet").code == 0
    found = report(out)
    assert (found["read"], found["dropped"]) == (read, dropped)
    if kept_area:
        assert {row["width"] for row in rows(out / "annotations.csv")} == {str(kept_area)}


def test_background_is_thinned_in_training_only(cadd: Path, tmp_path: Path, cli: Cli) -> None:
    shares = ("--split", "0.34,0.33,0.33", "--tile", 32, "--overlap", 0)
    left = {}
    for name, share in (("none", 0), ("half", 0.5), ("all", 1)):
        out = tmp_path / name
        assert cli("convert", cadd, out, *CADD, *shares, "--background", share, "--quiet").code == 0
        found = report(out)
        assert found["kept"] == 9
        left[name] = found["tiles"], found["background_tiles_left_out"]
        free = [p for p in (out / "labels" / "train").iterdir() if not p.read_text()]
        assert len(free) == {"none": 0, "half": 3, "all": 6}[name]
    assert left["all"][1] == 0 and left["none"][1] == 6 and left["half"][1] == 3
    for split in ("val", "test"):
        assert left["none"][0][split] == left["all"][0][split] == 12


def test_splits_from_a_file_and_by_image(atypia: Path, tmp_path: Path, cli: Cli) -> None:
    names = ("A03_00Aa,train", "H03_00Aa,test", "A04_00Aa,val", "A05_00Aa,test")
    file = table(tmp_path / "split.csv", "source,split", *names)
    for i, options in enumerate((("--split-file", file), ("--group-by", "image", "--seed", 3))):
        out = tmp_path / str(i)
        result = cli("convert", atypia, out, "--from", "atypia14", *options)
        assert result.code == 0
        found = {row["source"]: row["split"] for row in rows(out / "manifest.csv")}
        if i == 0:
            assert found == dict(name.split(",") for name in names)
        shared = found["A03_00Aa"] != found["H03_00Aa"]
        assert report(out).get("shared_cases", 0) == shared
        assert ("1 case(s) stand in more than one split" in result.err) == shared


@pytest.mark.parametrize(("slides", "empty"), [(1, ["val", "test"]), (2, ["test"])])
def test_too_few_cases_for_the_splits(
    cadd: Path, tmp_path: Path, cli: Cli, slides: int, empty: list[str]
) -> None:
    for name in ("T3", "T_2")[: 3 - slides]:
        shutil.rmtree(cadd / name)
    result = cli("convert", cadd, tmp_path / "out", *CADD)
    assert result.code == 0
    assert f"{' and '.join(empty)} stay(s) empty" in result.err
    tiles = report(tmp_path / "out")["tiles"]
    assert [name for name, n in tiles.items() if not n] == empty and sum(
        tiles.values()
    ) == 3 * slides


def test_images_of_another_size_than_their_annotations_say(tmp_path: Path, cli: Cli) -> None:
    document = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "mitosis"}]}
    for i, side in enumerate((64, 128)):
        picture(tmp_path / "in" / f"{i}.png", 64, 64)
        document["images"].append({"id": i, "file_name": f"{i}.png", "width": side, "height": side})
        document["annotations"].append(
            {"id": i, "image_id": i, "category_id": 1, "bbox": [10, 10, 20, 20]}
        )
    (tmp_path / "in" / "a.json").write_text(json.dumps(document))
    result = cli("convert", tmp_path / "in", tmp_path / "out", "--from", "coco", "--mpp", 0.25,
                 "--group-by", "image", "--split", "0.5,0.5,0")  # fmt: skip
    assert result.code == 0, result.err
    assert (
        "warning: 1 of 2 images are of another size than their annotations say, for example 1.png: "
        "64 x 64 px, said 128 x 128"
    ) in result.err


def test_one_mark_outside_is_no_wrong_unit(tmp_path: Path, cli: Cli) -> None:
    picture(tmp_path / "in" / "a.png", 64, 64)
    table(tmp_path / "in" / "a.txt", "0 300 200 30 30")
    call = ("convert", tmp_path / "in", tmp_path / "out", "--from", "yolo", "--mpp", 0.25)
    assert cli(*call).code == 0


@pytest.mark.parametrize(("outside", "stops"), [(1, False), (2, True)])
def test_marks_that_are_mostly_outside_stop_unless_they_may_be_left_out(
    tmp_path: Path, cli: Cli, outside: int, stops: bool
) -> None:
    picture(tmp_path / "in" / "a.png", 64, 64)
    rows = ["0 0.5 0.5 0.2 0.2", *(f"0 {300 + i} 200 30 30" for i in range(outside))]
    table(tmp_path / "in" / "a.txt", *rows)
    call = ("convert", tmp_path / "in", tmp_path / "out", "--from", "yolo", "--mpp", 0.25)
    result = cli(*call)
    assert result.code == stops
    if stops:
        assert f"{outside} of {outside + 1} annotations are outside their images" in result.error
        assert "a.txt, line 2" in result.error
        assert cli(*call, "--bad", "drop").code == 0
    assert report(tmp_path / "out")["dropped"] == {"outside": outside}


def test_mpp_of_the_image_the_option_and_the_preset(tmp_path: Path, cli: Cli) -> None:
    for name in ("A03_00Aa", "A03_00Ab"):
        path = tmp_path / "in" / "A03" / "frames" / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tags: dict[str, Any] = {"resolution": (20_000, 20_000), "resolutionunit": 3}  # 0.5 µm/px
        tifffile.imwrite(path, np.full((90, 100, 3), 200, np.uint8), **tags)
        table(tmp_path / "in" / "A03" / "mitosis" / f"{name}_mitosis.csv", "50,50,1.0")
    widths = []
    for i, option in enumerate(([], ["--mpp", "0.25,0.4"])):
        out = tmp_path / str(i)
        result = cli("convert", tmp_path / "in", out, "--from", "atypia14", *option)
        assert result.code == 0
        assert result.err.count("differ on 2 of 2 images") == 1  # once, not once an image
        widths.append(
            [(float(r["width"]), float(r["height"])) for r in rows(out / "annotations.csv")]
        )
    assert widths == [[(32, 32)] * 2, [(64, 40)] * 2]


def test_names_in_a_document_never_become_paths(tmp_path: Path, cli: Cli) -> None:
    picture(tmp_path / "in" / "x1y1.png")
    path = document(tmp_path / "in" / "1_1.json", ellipse(20, 20, id="../../../evil"))
    text = json.loads(path.read_text())
    text["annotation"] |= {"name": "../../../evil", "position": ["/etc", "passwd"]}
    path.write_text(json.dumps(text | {"name": "/evil", "groups": ["../../evil"]}))
    assert cli("convert", tmp_path / "in", tmp_path / "deep" / "out", *CADD).code == 0
    assert not list(tmp_path.rglob("*evil*"))


def test_an_odd_class_name_is_listed_whatever_it_holds(tmp_path: Path, cli: Cli) -> None:
    picture(tmp_path / "in" / "x1y1.png")
    document(tmp_path / "in" / "1_1.json", ellipse(20, 20, group="\ud800,\n" + "x" * 10_000))
    assert cli("convert", tmp_path / "in", tmp_path / "out", *CADD, "--quiet").code == 0
    assert report(tmp_path / "out")["dropped"] == {"label": 1}
    assert (tmp_path / "out" / "dropped.csv").stat().st_size < 1000


def test_the_real_frames(tmp_path: Path, cli: Cli) -> None:
    src, out = real("mitos_atypia_14"), tmp_path / "out"
    options = ("--from", "atypia14", "--unlabelled", "skip", "--background", 0, "--quiet")
    assert cli("convert", src / "H03", out, *options).code == 0
    found = report(out)
    assert found["kept"] == found["mitoses"]["train"] == 133
    assert list(found["dropped"]) == ["label"]


# --- going on, and whose the folder is --------------------------------------------------------


@pytest.mark.parametrize("stop_after", [0, 1, 5, 12])
def test_an_interrupted_call_goes_on_to_the_same_bytes(
    cadd: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    call = (*CADD, "--tile", 40, "--at-mpp", 0.2)
    assert cli("convert", cadd, tmp_path / "whole", *call).code == 0
    out, written = tmp_path / "out", 0
    write_all = converters.files._write_all

    def full(path: Path, data: bytes) -> None:
        nonlocal written
        written += path.suffix in (".png", ".txt")
        if written > stop_after:
            path.write_bytes(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        write_all(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(converters.files, "_write_all", full)
        result = cli("convert", cadd, out, *call)
    assert result.code == 1
    assert "No space left on device; free some space" in result.error
    assert f"{out}/" in result.error and ".part-" not in result.error
    assert not (out / "dataset.yaml").exists() and not list(out.rglob(".part-*"))
    assert cli("convert", cadd, out, *call).code == 0
    assert tree(out) == tree(tmp_path / "whole")
    again = cli("convert", cadd, out, *call)
    assert again.code == 0 and "finished already" in again.err


def test_killed_in_the_middle(tmp_path: Path) -> None:
    for i in range(40):
        picture(tmp_path / "in" / f"T{i % 4}" / f"x{i}y1.bmp", 300, 300, seed=i)
        document(tmp_path / "in" / f"T{i % 4}" / f"{i}_1.json", ellipse(50 + i, 60))

    def call(out: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "mitoyolo", "convert", str(tmp_path / "in"), str(out)]
        return subprocess.Popen([*command, *CADD, "--quiet"], stderr=subprocess.PIPE)

    whole, out = tmp_path / "whole", tmp_path / "out"
    assert call(whole).wait() == 0
    killed = call(out)
    while not list(out.glob("images/*/*.png")) and killed.poll() is None:
        time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (out / "dataset.yaml").exists()
    second = call(out)
    assert second.wait() == 0
    assert tree(out) == tree(whole)


def test_another_spelling_is_the_same_call(
    cadd: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cadd / "T1" / "Batch-1" / "1_7.json").write_text('{"elements": [{"type": "arrow"}]}')
    assert cli("convert", cadd, tmp_path / "out", *CADD, "--images", cadd).code == 0
    (tmp_path / "out" / "dataset.yaml").unlink()
    first = tree(tmp_path / "out")
    monkeypatch.chdir(cadd)
    result = cli("convert", ".", "../out", *CADD, "--images", "../cadd/")
    assert result.code == 0, result.err
    assert {**first, **tree(tmp_path / "out")} == tree(tmp_path / "out")
    assert all(
        first[name] == data for name, data in tree(tmp_path / "out").items() if name in first
    )
    assert str(tmp_path).encode() not in b"".join(tree(tmp_path / "out").values())


def changed_split(cadd: Path) -> None:
    table(cadd.parent / "split.csv", "case,split", "T1,train", "T2,test", "T3,val")


@pytest.mark.parametrize(
    ("change", "options", "what"),
    [
        (lambda cadd: document(cadd / "T1" / "Batch-1" / "0_7.json"), (), "another input"),
        (lambda cadd: picture(cadd / "T1" / "x0y7.png", seed=99), (), "another input"),
        (changed_split, (), "another input"),
        (lambda cadd: None, ("--seed", 5), "another seed"),
        (lambda cadd: None, ("--min-area", 5, "--tile", 32), "another min_area, tile"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_another_call_is_refused_unless_it_overwrites(
    cadd: Path,
    tmp_path: Path,
    cli: Cli,
    change: Callable[[Path], object],
    options: tuple[object, ...],
    what: str,
    finished: bool,
) -> None:
    out = tmp_path / "out"
    table(tmp_path / "split.csv", "case,split", "T1,train", "T2,val", "T3,test")
    call = (cadd, out, *CADD, "--split-file", tmp_path / "split.csv")
    assert cli("convert", *call).code == 0
    if not finished:
        (out / "dataset.yaml").unlink()
    change(cadd)
    result = cli("convert", *call, *options)
    assert result.code == 1 and what in result.error and "--overwrite" in result.error
    assert cli("convert", *call, *options, "--overwrite").code == 0
    assert cli("convert", cadd, tmp_path / "fresh", *call[2:], *options).code == 0
    assert tree(out) == tree(tmp_path / "fresh")


def test_two_at_once(cadd: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    with open_job(out, command="convert", arguments={}, index="dataset.yaml"):
        result = cli("convert", cadd, out, *CADD)
    assert result.code == 1 and "another mitoyolo is writing this folder" in result.error


def test_a_folder_that_is_not_ours(cadd: Path, tmp_path: Path, cli: Cli) -> None:
    table(tmp_path / "out" / "thesis.txt", "years")
    for options in ((), ("--overwrite",)):
        result = cli("convert", cadd, tmp_path / "out", *CADD, *options)
        assert result.code == 1 and "it is not ours to write" in result.error
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years\n"


@pytest.mark.parametrize("place", ["cadd", "cadd/out", "."])
def test_output_and_input_apart(cadd: Path, tmp_path: Path, cli: Cli, place: str) -> None:
    before = tree(cadd)
    result = cli("convert", cadd, tmp_path / place, *CADD, "--overwrite")
    assert result.code == 1 and "lie in each other" in result.error
    assert tree(cadd) == before


@pytest.mark.parametrize("unfinished", [False, True])
def test_output_beside_an_annotation_file_and_its_images_is_no_input(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, unfinished: bool
) -> None:
    picture(tmp_path / "f1.png", 64, 64)
    table(tmp_path / "marks.csv", "image,x,y", "f1.png,30,30")
    monkeypatch.chdir(tmp_path)
    call = ("convert", "marks.csv", "out", "--from", "csv", "--mpp", 0.25)
    assert cli(*call).code == 0
    before = tree(tmp_path / "out")
    if unfinished:
        (tmp_path / "out" / "dataset.yaml").unlink()
    again = cli(*call)
    assert again.code == 0, again.err
    assert ("finished already" in again.err) != unfinished
    assert tree(tmp_path / "out") == before


def test_a_split_file_in_the_output_is_not_overwritten(
    cadd: Path, tmp_path: Path, cli: Cli
) -> None:
    out = tmp_path / "out"
    assert cli("convert", cadd, out, *CADD).code == 0
    table(out / "split.csv", "case,split")
    before = tree(out)
    result = cli("convert", cadd, out, *CADD, "--split-file", out / "split.csv", "--overwrite")
    assert result.code == 1
    assert tree(out) == before


# --- bad input --------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil_element(cadd: Path) -> None:
    document(cadd / "T1/Batch-1/1_7.json", ellipse(9, 9), ellipse(float("nan"), 9))


BAD: list[tuple[str, Callable[[Path], object], str, dict[str, int] | None, int]] = [
    ("cut JSON", lambda c: cut(c / "T1/Batch-1/2_7.json"),
     r"2_7.json, line 1, column", {"unreadable_file": 1}, 5),
    ("NaN", spoil_element, "1_7.json, elements[1], key `center`: nan", {"malformed": 1}, 7),
    ("no document", lambda c: (c / "T1/Batch-1/2_7.json").unlink(),
     "x2y7.png: no annotation file", {}, 4),
    ("no tile", lambda c: (c / "T1/x2y7.png").unlink(),
     "2_7.json: no image for this annotation file", {"no_image": 2}, 6),
    ("no image", lambda c: (c / "T1/x2y7.png").write_bytes(b"text"),
     "x2y7.png: not a readable image", {"unreadable_image": 2}, 6),
    ("cut image", lambda c: cut(c / "T1/x2y7.png"),
     "x2y7.png: not a readable image (the PNG is cut off)", {"unreadable_image": 2}, 6),
    ("grey image", lambda c: cv2.imwrite(str(c / "T1/x2y7.png"), np.zeros((48, 64), np.uint8)),
     "x2y7.png: uint8 with 1 channel(s), expected 8-bit RGB", {"unreadable_image": 2}, 6),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "message", "dropped", "read"), [case[1:] for case in BAD], ids=[c[0] for c in BAD]
)
def test_bad_input_stops_or_is_counted(
    cadd: Path,
    tmp_path: Path,
    cli: Cli,
    spoil: Callable[[Path], object],
    message: str,
    dropped: dict[str, int],
    read: int,
) -> None:
    spoil(cadd)
    shutil.rmtree(cadd / "T3")  # two cases cannot fill three splits, which is said at the end
    out = tmp_path / "out"
    result = cli("convert", cadd, out, *CADD)
    assert result.code == 1 and message in result.error
    assert result.err == result.error + "\n"  # one line, and not a word more
    assert not (out / "dataset.yaml").exists() and not list(tmp_path.rglob(".part-*"))
    lenient = tmp_path / "lenient"
    assert cli("convert", cadd, lenient, *CADD, "--bad", "drop", "--quiet").code == 0
    found = report(lenient)
    assert (found["read"], found["dropped"]) == (read, dropped)
    whole = sum(found["tiles"].values()) + len(found["images_left_out"])
    assert whole == 6 - (dropped == {"no_image": 2})
    open_dataset(lenient)


@pytest.mark.parametrize(
    ("unlabelled", "tiles", "left_out"), [("skip", 8, 1), ("background", 9, 0)]
)
def test_a_tile_without_annotation(
    cadd: Path, tmp_path: Path, cli: Cli, unlabelled: str, tiles: int, left_out: int
) -> None:
    (cadd / "T1/Batch-1/2_7.json").unlink()
    out = tmp_path / "out"
    assert cli("convert", cadd, out, *CADD, "--unlabelled", unlabelled, "--quiet").code == 0
    found = report(out)
    assert sum(found["tiles"].values()) == tiles and found["unlabelled_images"] == left_out
    assert [image["file"] for image in found["images_left_out"]] == ["T1/x2y7.png"] * left_out


def test_dropped_rows_name_file_and_place(atypia: Path, tmp_path: Path, cli: Cli) -> None:
    file = atypia / "A04/mitosis/A04_00Aa_mitosis.csv"
    table(file, "40,50,1.0", "forty,50,1.0", "40.5,50,0.8", "149,125,1")
    out = tmp_path / "out"
    result = cli("convert", atypia, out, "--from", "atypia14")
    assert result.code == 1
    assert "A04_00Aa_mitosis.csv, line 2: 'forty' is not a number" in result.error
    assert cli("convert", atypia, out, "--from", "atypia14", "--bad", "drop").code == 0
    listed = {(r["file"], r["where"], r["reason"]) for r in rows(out / "dropped.csv")}
    assert listed >= {
        ("A04/mitosis/A04_00Aa_mitosis.csv", "line 2", "malformed"),
        ("A04/mitosis/A04_00Aa_mitosis.csv", "line 3", "duplicate"),
        ("A04/mitosis/A04_00Aa_mitosis.csv", "line 4", "outside"),
        ("A04/mitosis/A04_00Aa_not_mitosis.csv", "line 1", "label"),
    }
    assert report(out)["read"] == 14


def nothing_left(cadd: Path) -> None:
    for path in cadd.rglob("*.png"):
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (shutil.rmtree, CADD, "cadd: no such file or folder"),
        (lambda c: [p.unlink() for p in c.rglob("*.*")], CADD, "no .json annotation file below"),
        (lambda c: None, ("--from", "cadd4mbc"), "x0y7.png: no µm/px"),
        (lambda c: None, ("--from", "atypia14"), "no *_mitosis.csv"),
        (lambda c: None, (*CADD, "--images", "nowhere"), "nowhere: not a folder"),
        (lambda c: None, (*CADD, "--split-file", "nowhere.csv"), "nowhere.csv: no such file"),
        (nothing_left, (*CADD, "--bad", "drop"), "no image left to convert, 9 unreadable_image"),
        (lambda c: picture(c / "T2" / "x1y7.png"), CADD, "2 images fit"),
        (lambda c: picture(c / "T1" / "T1x1y7.png"), CADD, "2 images fit"),
    ],
)
def test_input_that_cannot_be_converted(
    cadd: Path,
    tmp_path: Path,
    cli: Cli,
    spoil: Callable[[Path], object],
    options: tuple[str, ...],
    message: str,
) -> None:
    spoil(cadd)
    result = cli("convert", cadd, tmp_path / "out", *options, "--quiet")
    assert result.code == 1 and message in result.error and result.out == ""
    assert not (tmp_path / "out").exists()


def test_a_folder_that_may_not_be_listed_is_not_skipped(
    cadd: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def closed(path: Any) -> Any:
        if str(path).endswith("T3"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    result = cli("convert", cadd, tmp_path / "out", *CADD)
    assert result.code == 1 and "T3: Permission denied" in result.error


@pytest.mark.parametrize(
    "options",
    [
        ("--from", "word"),
        (),
        (*CADD, "--preset", "nope"),
        (*CADD, "--to", "word"),
        (*CADD, "--box", "round"),
        (*CADD, "--bad", "ignore"),
        (*CADD, "--unlabelled", "maybe"),
        (*CADD, "--group-by", "day"),
        (*CADD, "--tile-format", "gif"),
        (*CADD, "--labels", "cell"),
        (*CADD, "--labels", "imposter"),
        (*CADD, "--tile", "31"),
        (*CADD, "--tile", "64", "--overlap", "64"),
        (*CADD, "--overlap", "5"),
        (*CADD, "--background", "1.5"),
        (*CADD, "--background", "nan"),
        (*CADD, "--at-mpp", "nan"),
        (*CADD, "--radius-um", "inf"),
        (*CADD, "--split", "0.5,0.5"),
        (*CADD, "--mpp", "wide"),
        (*CADD, "--mpp", "-1"),
        (*CADD, "--no-such-option"),
    ],
)
def test_a_wrong_call_ends_with_2(
    cadd: Path, tmp_path: Path, cli: Cli, options: tuple[str, ...]
) -> None:
    result = cli("convert", cadd, tmp_path / "out", *options)
    assert result.code == 2 and "Traceback" not in result.err and result.err
    assert not (tmp_path / "out").exists()
