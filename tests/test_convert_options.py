"""`mitoyolo convert`: parts, copies, masks, cases, and doing without images."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from conftest import Cli, document, ellipse, picture, tree
from PIL import Image
from pycocotools.coco import COCO

import mitoyolo.convert.write
import mitoyolo.images
from mitoyolo.dataset import open_dataset
from mitoyolo.images import read_rgb

CADD = ("--from", "cadd4mbc", "--mpp", "0.25")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def report(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "report.json").read_text()))


def labels(out: Path, tile: str) -> list[list[float]]:
    (path,) = out.glob(f"labels/*/{tile}.txt")
    return [[float(cell) for cell in line.split()] for line in path.read_text().splitlines()]


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Two tiles of 60 x 40 px of two slides, each with two ellipses."""
    root = tmp_path / "tiles"
    for i, slide in enumerate(("T1", "T2")):
        picture(root / slide / "x0y0.png", 60, 40, seed=i)
        marks = [ellipse(12, 9, 12, 6, rotation=0.5), ellipse(44, 29, 8, 8)]
        document(root / slide / "0_0.json", *marks)
    return root


def test_equal_parts(tiles: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    assert cli("convert", tiles, out, *CADD, "--grid", "4x3").code == 0
    manifest = rows(out / "manifest.csv")
    assert len(manifest) == 24
    assert Counter((row["width"], row["height"]) for row in manifest) == {
        ("15", "13"): 16, ("15", "14"): 8,
    }  # fmt: skip
    # the box from (40, 25) to (48, 33) in the part from (30, 27) to (45, 40), which has its centre
    assert labels(out, "T1x0y0_x30_y27") == [pytest.approx([0, 12.5 / 15, 3 / 13, 5 / 15, 6 / 13])]
    assert report(out)["kept"] == 4
    block = yaml.safe_load((out / "dataset.yaml").read_text())["mitoyolo"]
    assert block["grid"] == "4x3" and "tile" not in block
    parts = [row for row in manifest if row["source"] == "T1x0y0"]
    whole = np.zeros((40, 60, 3), np.uint8)
    for row in parts:
        x, y = int(row["x"]), int(row["y"])
        part = read_rgb(next(out.glob(f"images/*/{row['tile']}.png")))
        whole[y : y + part.shape[0], x : x + part.shape[1]] = part
    np.testing.assert_array_equal(whole, read_rgb(tiles / "T1" / "x0y0.png"))


def test_copies_are_made_of_training_tiles_alone(tiles: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    options = ("--augment", "flips,rot90", "--masks", "--split", "0.5,0.5,0")
    assert cli("convert", tiles, out, *CADD, *options).code == 0
    (train,) = (row["tile"] for row in rows(out / "manifest.csv") if row["split"] == "train")
    copies = rows(out / "augmented.csv")
    assert [row["transform"] for row in copies] == ["fliph", "flipv", "rot90", "rot180", "rot270"]
    assert {row["of"] for row in copies} == {train}
    assert len(list(out.glob("images/train/*"))) == len(list(out.glob("labels/train/*"))) == 6
    assert len(list(out.glob("images/val/*"))) == 1
    image = read_rgb(out / "images" / "train" / f"{train}.png")
    copy = read_rgb(out / "images" / "train" / f"{train}_rot90.png")
    np.testing.assert_array_equal(copy, np.rot90(image))
    # the centre (x, y) of 60 x 40 px turns to (y, 60 - x) of 40 x 60 px
    assert labels(out, f"{train}_rot90")[1] == pytest.approx([0, 29 / 40, 16 / 60, 8 / 40, 8 / 60])
    mask = np.array(Image.open(out / "masks" / "train" / f"{train}.png"))
    turned = np.array(Image.open(out / "masks" / "train" / f"{train}_rot90.png"))
    np.testing.assert_array_equal(turned, np.rot90(mask))
    assert set(np.unique(mask)) == {0, 1, 2}
    coco = COCO(str(out / "annotations" / "train.json"))
    assert len(coco.imgs) == 6 and len(coco.anns) == 12
    found = report(out)
    assert found["augmented_tiles"] == 5 and found["tiles"] == {"train": 1, "val": 1, "test": 0}
    assert found["kept"] == len(rows(out / "annotations.csv")) == 4
    dataset = open_dataset(out)
    assert [tile.name for tile in dataset.tiles] == ["T1x0y0", "T2x0y0"]
    assert [tile.name for tile in dataset.others] == [row["tile"] for row in copies]
    assert dataset.block["augment"] == ["flips", "rot90"]


def test_normalising_takes_copies_and_masks_along(tiles: Path, tmp_path: Path, cli: Cli) -> None:
    out, clean = tmp_path / "out", tmp_path / "clean"
    options = ("--augment", "flips", "--masks", "--split", "0.5,0.5,0")
    assert cli("convert", tiles, out, *CADD, *options).code == 0
    result = cli("normalize", out, clean, "--method", "reinhard", "--workers", 1)
    assert result.code == 0
    inputs = {name for name in tree(out) if name.startswith(("images", "labels", "masks"))}
    assert inputs == {n for n in tree(clean) if n.startswith(("images", "labels", "masks"))}
    for name in inputs:
        if name.startswith(("labels", "masks")):
            assert (out / name).read_bytes() == (clean / name).read_bytes()
    assert len(open_dataset(clean).others) == 2


def test_copies_of_a_jpeg_are_not_encoded_as_one_again(tmp_path: Path, cli: Cli) -> None:
    root, out = tmp_path / "tiles", tmp_path / "out"
    picture(root / "x0y0.jpg", 60, 40)
    document(root / "0_0.json", ellipse(20, 20))
    assert cli("convert", root, out, *CADD, "--augment", "flips", "--split", "1,0,0").code == 0
    names = sorted(path.name for path in (out / "images" / "train").iterdir())
    (tile,) = (row["tile"] for row in rows(out / "manifest.csv"))
    assert names == [f"{tile}.jpg", f"{tile}_fliph.png", f"{tile}_flipv.png"]
    coco = json.loads((out / "annotations" / "train.json").read_text())
    assert sorted(image["file_name"] for image in coco["images"]) == names
    np.testing.assert_array_equal(
        read_rgb(out / "images" / "train" / f"{tile}_fliph.png"),
        np.fliplr(read_rgb(out / "images" / "train" / f"{tile}.jpg")),
    )


@pytest.mark.parametrize("at", [0, 1, 3])
def test_an_interrupted_call_with_copies_and_masks_goes_on(
    at: int, tiles: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (*CADD, "--augment", "rot90", "--masks", "--split", "0.5,0.5,0")
    assert cli("convert", tiles, tmp_path / "whole", *options).code == 0
    calls, room = [0], [at]

    def failing(name: str) -> None:
        real = getattr(mitoyolo.convert.write, name)

        def write(path: Path, *given: Any) -> None:
            calls[0] += 1
            if calls[0] > room[0]:
                raise OSError(28, "No space left on device", str(path))
            real(path, *given)

        monkeypatch.setattr(mitoyolo.convert.write, name, write)

    for name in ("write_rgb", "write_mask", "copy_file"):
        failing(name)
    stopped = cli("convert", tiles, tmp_path / "out", *options)
    assert stopped.code == 1 and "free some space" in stopped.error
    room[0] = 10**6
    assert not (tmp_path / "out" / "dataset.yaml").exists()
    assert cli("convert", tiles, tmp_path / "out", *options).code == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_a_case_by_its_pattern(tmp_path: Path, cli: Cli) -> None:
    root, out = tmp_path / "tiles", tmp_path / "out"
    for name in ("p1_a", "p1_b", "p2_a"):
        picture(root / f"{name}.png")
        document(root / f"{name}.json", ellipse(20, 20))
    call = ("convert", root, out, "--from", "dsa", "--mpp", 0.25)
    assert cli(*call, "--case-pattern", r"^(p\d+)_").code == 0
    assert {row["source"]: row["case"] for row in rows(out / "annotations.csv")} == {
        "p1_a": "p1", "p1_b": "p1", "p2_a": "p2",
    }  # fmt: skip
    assert cli(*call, "--case-pattern", r"p\d", "--overwrite").code == 0
    assert {row["case"] for row in rows(out / "manifest.csv")} == {"p1", "p2"}
    failed = cli(*call, "--case-pattern", r"^q(\d)", "--overwrite")
    assert failed.code == 1 and "finds no case in the name 'p1_a'" in failed.error
    wrong = cli(*call, "--case-pattern", "(", "--overwrite")
    assert wrong.code == 2 and "--case-pattern '('" in wrong.error


def test_without_images(tiles: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    for path in tiles.rglob("*.png"):
        path.unlink()
    call = ("convert", tiles, out, *CADD, "--annotations-only")
    failed = cli(*call)
    assert failed.code == 1 and "the size of the image T1x0y0 is not known" in failed.error
    assert not out.exists()
    assert cli(*call, "--preset", "demo").code == 0  # which knows 500 x 500 px
    assert labels(out, "T1x0y0")[1] == pytest.approx([0, 44 / 500, 29 / 500, 8 / 500, 8 / 500])
    assert not (out / "images").exists()
    dataset = open_dataset(out)
    assert dataset.block["images"] == "none"
    assert [(tile.width, tile.height) for tile in dataset.tiles] == [(500, 500)] * 2


def test_two_sources_that_would_be_one_file(tmp_path: Path, cli: Cli) -> None:
    root = tmp_path / "tiles"
    for name in ("a_b", "a/b", "c/b"):
        picture(root / f"{name}.png")
        path = document(root / f"{name}.json", ellipse(20, 20))
        assert path.exists()
    result = cli("convert", root, tmp_path / "out", "--from", "labelme", "--mpp", 0.25)
    assert result.code == 1


def test_a_name_too_long_for_a_file(tmp_path: Path, cli: Cli) -> None:
    root = tmp_path / "tiles"
    picture(root / f"{'n' * 230}.png")
    document(root / f"{'n' * 230}.json", ellipse(20, 20))
    result = cli("convert", root, tmp_path / "out", "--from", "dsa", "--mpp", 0.25)
    assert result.code == 1 and "is longer than 200 bytes" in result.error
    assert not (tmp_path / "out").exists()


def test_a_slide_is_read_whole(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out = tmp_path / "slides", tmp_path / "out"
    root.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    tifffile.imwrite(
        root / "s.svs", pixels, tile=(32, 32), photometric="rgb",
        resolution=(20_000, 20_000), resolutionunit="CENTIMETER",
    )  # fmt: skip
    document(root / "s.json", ellipse(40, 30))
    assert cli("convert", root, out, "--from", "dsa", "--tile", 64, "--split", "1,0,0").code == 0
    assert open_dataset(out).mpp == (0.5, 0.5)  # as OpenSlide says
    tile = read_rgb(out / "images" / "train" / "s_x48_y0.png")
    np.testing.assert_array_equal(tile, pixels[:64, 48:112])
    monkeypatch.setattr(mitoyolo.images, "LARGEST_SLIDE", 128 * 96 - 1)
    failed = cli("convert", root, out, "--from", "dsa", "--tile", 64, "--overwrite")
    assert failed.code == 1 and "too large to be read whole" in failed.error
    (root / "s.svs").write_bytes((root / "s.svs").read_bytes()[:2000])
    failed = cli("convert", root, out, "--from", "dsa", "--tile", 64, "--overwrite")
    assert failed.code == 1 and "s.svs" in failed.error


# --- official splits, and images that nobody annotated ------------------------------------------


@pytest.fixture
def icpr(tmp_path: Path) -> Path:
    """Frames 0 to 9 of slides A00, H00 and A01, a mitosis of 4 x 3 pixels on each."""
    root = tmp_path / "icpr"
    line = ",".join(f"{x},{y}" for y in range(20, 23) for x in range(30, 34))
    for slide in ("A00", "H00", "A01"):
        for frame in range(10):
            picture(root / f"{slide}_v2" / f"{slide}_0{frame}.bmp")
            (root / f"{slide}_v2" / f"{slide}_0{frame}.csv").write_text(line + "\n")
    return root


def test_the_official_split_may_share_slides(icpr: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    result = cli("convert", icpr, out, "--from", "icpr12", "--split", "official")
    assert result.code == 0 and "2 case(s) stand in more than one split" in result.err
    split = {row["source"]: row["split"] for row in rows(out / "manifest.csv")}
    test = {name for name, where in split.items() if where == "test"}
    assert test == {
        "A00_00", "A00_08", "H00_00", "H00_08", "A01_04", "A01_06", "A01_09",
    }  # fmt: skip
    # one training slide is for validation, on both scanners; nothing of it trains
    val = {name[1:3] for name, where in split.items() if where == "val"}
    train = {name[1:3] for name, where in split.items() if where == "train"}
    assert len(val) == 1 and not val & train
    assert report(out)["shared_cases"] == 2
    # pixel lists stay pixels
    coco = COCO(str(out / "annotations" / "test.json"))
    for item in coco.anns.values():
        assert item["area"] == 12 and coco.annToMask(item).sum() == 12
        assert item["bbox"] == [30, 20, 4, 3]


def test_an_image_that_the_official_split_does_not_name(
    icpr: Path, tmp_path: Path, cli: Cli
) -> None:
    for suffix in (".bmp", ".csv"):
        (icpr / "A01_v2" / f"A01_09{suffix}").rename(icpr / "A01_v2" / f"A01_77{suffix}")
    result = cli("convert", icpr, tmp_path / "out", "--from", "icpr12", "--split", "official")
    assert result.code == 1 and "preset icpr12: no split for source A01_77" in result.error
    assert not (tmp_path / "out").exists()


def test_the_mitos_rcnn_cut(tmp_path: Path, cli: Cli, atypia: Path) -> None:
    out = tmp_path / "out"
    assert cli("convert", atypia, out, "--preset", "mitos_boxes", "--split", "1,0,0").code == 0
    found = report(out)
    assert found["tiles"]["train"] == 4 * 16 and found["augmented_tiles"] == 4 * 16 * 3
    assert open_dataset(out).block["protocol"] == "mitos-rcnn"


@pytest.fixture
def midog(tmp_path: Path) -> Path:
    """Three images of MIDOG; nobody annotated the last."""
    root = tmp_path / "midog"
    names = ["001.tiff", "002.tiff", "151.tiff"]
    for i, name in enumerate(names):
        picture(root / name, 100, 80, seed=i)
    boxes = [(1, 1, [10, 10, 60, 60]), (2, 2, [40, 20, 90, 70])]
    content = {
        "images": [
            {"id": i, "file_name": name, "width": 100, "height": 80}
            for i, name in enumerate(names, 1)
        ],
        "categories": [{"id": 1, "name": "mitotic figure"}, {"id": 2, "name": "no"}],
        "annotations": [
            {"id": i, "image_id": image, "category_id": i, "bbox": box} for i, image, box in boxes
        ],
    }
    (root / "MIDOG.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize(
    ("option", "takers"),
    [
        (("--one-based",), "amida13, tupac16, voc, csv"),
        (("--columns", "x,y"), "csv"),
        (("--include-unlabelled",), "midog, sliderunner, coco, yolo"),
    ],
)
def test_an_option_that_would_do_nothing(
    option: tuple[str, ...], takers: str, cadd: Path, tmp_path: Path, cli: Cli
) -> None:
    result = cli("convert", cadd, tmp_path / "out", *CADD, *option)
    assert result.code == 2
    assert f"{option[0]} is for --from {takers}, not cadd4mbc" in result.error


def test_a_dataset_folder_needs_mpp(midog: Path, tmp_path: Path, cli: Cli) -> None:
    failed = cli("convert", midog, tmp_path / "out", "--from", "midog")
    assert failed.code == 1 and "001.tiff: no µm/px" in failed.error and "--mpp" in failed.error
    assert cli("convert", midog, tmp_path / "out", "--from", "midog", "--mpp", 0.25).code == 0
    assert open_dataset(tmp_path / "out").block["protocol"] == "midog"


def test_unlabelled_images_are_left_out_or_kept_apart(
    midog: Path, tmp_path: Path, cli: Cli
) -> None:
    out = tmp_path / "out"
    call = ("convert", midog, out, "--preset", "midogpp", "--split", "0.5,0.5,0", "--masks")
    assert cli(*call).code == 0
    found = report(out)
    assert found["unlabelled_images"] == 1 and found["tiles"] == {"train": 1, "val": 1, "test": 0}
    assert found["images_left_out"][0]["file"] == "151.tiff"
    assert not list(out.glob("images/*/151*"))
    assert open_dataset(out).mpp == (0.23, 0.23)  # of Hamamatsu XR, by the image's number
    assert {row["scanner"] for row in rows(out / "manifest.csv")} == {"Hamamatsu XR"}

    result = cli(*call, "--include-unlabelled", "--augment", "flips", "--mpp", 0.25, "--overwrite")
    assert result.code == 0
    found = report(out)
    assert found["unlabelled_images"] == found["unlabelled_tiles"] == 1
    assert found["tiles"] == {"train": 1, "val": 1, "test": 0}
    assert [path.name for path in out.glob("images/*/151*")] == ["151.png"]
    assert (out / "images" / "unlabelled" / "151.png").exists()
    assert not list(out.glob("labels/*/151*")) and not list(out.glob("masks/*/151*"))
    dataset = open_dataset(out)
    assert "151" not in {tile.name for tile in dataset.tiles}
    assert {tile.split for tile in dataset.others} == {"train", "unlabelled"}
    assert len(COCO(str(out / "annotations" / "val.json")).imgs) == 1


@pytest.mark.parametrize("to", ["coco", "voc", "qupath", "midog", "dsa", "csv"])
def test_another_format_in_source_pixels(to: str, midog: Path, tmp_path: Path, cli: Cli) -> None:
    out, back = tmp_path / "out", tmp_path / "back"
    call = ("convert", midog, out, "--from", "midog", "--to", to, "--labels", "mitosis,imposter")
    if to == "midog":  # millimetres; the others keep boxes in pixels and need no µm/px
        assert "no µm/px" in cli(*call).error
        call = (*call[:5], "--mpp", 0.23, *call[5:])
    result = cli(*call)
    assert result.code == 0 and result.out == ""
    found = report(out)
    assert found["read"] == found["kept"] == 2 and found["dropped"] == {}
    assert rows(out / "dropped.csv") == []
    suffix = {"voc": "xml", "qupath": "geojson", "midog": "json", "dsa": "json"}.get(to)
    names = {path.name for path in out.iterdir()} - {"run.json", "report.json", "dropped.csv"}
    expected = {f"00{i}.{suffix}" for i in (1, 2)} if suffix else {f"annotations.{to}"}
    assert names == {"annotations.json" if to == "coco" else name for name in expected}
    # and it is read back with the same images
    again = ("convert", out, back, "--from", to, "--images", midog, "--to", "csv", "--labels",
             "mitosis,imposter", "--unlabelled", "skip", "--mpp", 0.23)  # fmt: skip
    assert cli(*again).code == 0
    places = [(row["source"], row["label"], float(row["x"]), float(row["y"]))
              for row in rows(back / "annotations.csv")]  # fmt: skip
    assert places == [
        ("001", "mitosis", pytest.approx(35), pytest.approx(35)),
        ("002", "imposter", pytest.approx(65), pytest.approx(45)),
    ]
    # the same call again does nothing; another one is refused
    assert "finished already" in cli(*call).err
    refused = cli(*call[:-2], "--labels", "mitosis")
    assert refused.code == 1 and "with another labels" in refused.error


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (".png.png", "the name '.png' is blank or begins with a dot: such files are hidden"),
        ("\ud800.png", r"the name '\ud800' holds unprintable or non-UTF-8 characters"),
        ("a\x1b[31m.png", r"the name 'a\x1b[31m' holds unprintable"),
    ],
)
def test_a_name_that_no_file_should_have(tmp_path: Path, cli: Cli, name: str, message: str) -> None:
    found = {"images": [{"id": 1, "file_name": name, "width": 64, "height": 48}]}
    (tmp_path / "a.json").write_text(json.dumps(found | {"annotations": []}))
    call = ("convert", tmp_path / "a.json", tmp_path / "out", "--from", "coco", "--mpp", 0.25)
    result = cli(*call, "--annotations-only")
    assert result.code == 1 and message in result.error
    assert not (tmp_path / "out").exists()


def test_resampled_to_more_pixels_than_any_memory_holds(
    tiles: Path, tmp_path: Path, cli: Cli
) -> None:
    call = ("convert", tiles, tmp_path / "out", "--from", "cadd4mbc", "--mpp", 50)
    result = cli(*call, "--at-mpp", 0.01)
    assert result.code == 1
    assert "300000 x 200000 px, as --at-mpp makes it, are too many" in result.error
    assert not (tmp_path / "out").exists()


def test_a_centroid_on_the_edge_of_its_box_and_of_a_tile(tmp_path: Path, cli: Cli) -> None:
    picture(tmp_path / "in" / "a.png")  # 64 x 48
    table = (
        "image,x,y,width,height,left,top\na,32,20,6,8,26,16\na,64,48,4,4,60,44\na,50,32,4,9,48,23\n"
    )
    (tmp_path / "in" / "t.csv").write_text(table)
    call = ("convert", tmp_path / "in", tmp_path / "out", "--from", "csv", "--mpp", 0.25)
    assert cli(*call, "--tile", 32, "--overlap", 0).code == 0
    out = tmp_path / "out"
    assert labels(out, "a_x0_y0") == [pytest.approx([0, 29 / 32, 20 / 32, 6 / 32, 8 / 32])]
    assert labels(out, "a_x32_y0") == [pytest.approx([0, 18 / 32, 27.5 / 32, 4 / 32, 9 / 32])]
    assert labels(out, "a_x32_y16") == [
        pytest.approx([0, 30 / 32, 30 / 32, 4 / 32, 4 / 32]),
        pytest.approx([0, 18 / 32, 11.5 / 32, 4 / 32, 9 / 32]),
    ]
