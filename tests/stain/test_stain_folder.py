"""The folder job: what is written, what comes along, stopping and continuing."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import yaml

from converters.errors import InputError
from converters.files import read_json
from converters.image_mpp import image_mpp
from mitoyolo.dataset import open_dataset
from mitoyolo.images import read_rgb, write_rgb
from mitoyolo.stain import colours
from mitoyolo.stain import folder as module
from mitoyolo.stain.reinhard import Gauge, map_tile
from mitoyolo.stain.source import read_source

normalize_folder = partial(module.normalize_folder, method="reinhard")

TILES = 12
CASES = {"A": (-30, 0, 0), "B": (10, 20, -40)}


@pytest.fixture
def plain(tissue, tmp_path: Path) -> Path:
    """Two cases, one nested deeper, PNG and JPEG, a white tile, a table, a cache."""
    root = tmp_path / "plain"
    for case, shift in CASES.items():
        for i in range(TILES):
            path = root / case / f"frames{i % 2}" / f"t{i}.{'jpg' if i == 3 else 'png'}"
            write_rgb(path, tissue(i, shift=shift, glass=0.1))
    white = tissue(1) // 40 + 242
    cv2.imwrite(str(root / "A" / "frames0" / "white.jpg"), white, [cv2.IMWRITE_JPEG_QUALITY, 60])
    (root / "A" / "boxes.csv").write_bytes(b"x,y\r\n1,2")
    (root / "A" / "frames0" / "t0.npy").write_bytes(b"old pixels")
    return root


@pytest.fixture
def dataset(tissue, tmp_path: Path) -> Path:
    """A dataset folder: case 01 on two scanners, case 02 on one, labels, tables."""
    root = tmp_path / "data"
    rows = ["tile,source,case,split,x,y,width,height,mpp_x,mpp_y,scanner,tumour"]
    for split, case, scanner, shift in (
        ("train", "01", "aperio", (0, 0, 0)),
        ("val", "01", "hamamatsu", (-50, -20, 10)),
        ("test", "02", "", (20, 20, 20)),
    ):
        for i in range(3):
            name = f"{case}{scanner}.{i}"
            write_rgb(root / "images" / split / f"{name}.png", tissue(i, shift=shift))
            label = root / "labels" / split / f"{name}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_bytes(b"0 0.5 0.5 0.1 0.1\r\n" if i else b"")
            rows.append(f"{name},{case}.png,{case},{split},0,0,112,96,0.25,0.25,{scanner},")
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"{split}.json").write_text('{"images": [ ]}')
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    (root / "annotations.csv").write_text("source,case,label,x,y,width,height,confidence,kind\n")
    (root / "report.json").write_text("{}")
    (root / "run.json").write_text('{"command": "convert"}')
    (root / "labels" / "train.cache").write_bytes(b"paths")
    block = {"format": "icpr12", "mpp": [0.25, 0.25], "protocol": "centroid", "radius_um": 8.0}
    block |= {"labels": ["mitosis"], "seed": 0, "version": "µ"}
    index = {"train": "images/train", "names": {0: "mitosis"}, "mitoyolo": block}
    (root / "dataset.yaml").write_text(yaml.safe_dump(index, sort_keys=False))
    return root


def contents(root: Path) -> dict[str, bytes]:
    """Every file but the one that holds dates."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path != root / "run.json"
    }


def test_a_plain_folder_keeps_names_formats_and_tables(plain: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    before = contents(plain)
    summary = normalize_folder(plain, out, workers=1)
    after = contents(out)
    assert set(after) == set(before) - {"A/frames0/t0.npy"} | {"summary.json", "passed_through.csv"}
    assert (summary["images"], summary["normalised"], summary["passed_through"]) == (25, 24, 1)
    assert summary["reasons"] == {"under 5% tissue": 1}
    assert summary["left_behind"] == {".npy": 1}
    assert (summary["method"], summary["mode"], summary["cases"]) == ("reinhard", "case", 2)
    assert summary == read_json(out / "summary.json")
    with (out / "passed_through.csv").open() as handle:
        assert [row["file"] for row in csv.DictReader(handle)] == ["A/frames0/white.jpg"]
    for name in ("A/frames0/white.jpg", "A/boxes.csv"):
        assert after[name] == before[name]
    assert after["A/frames1/t3.jpg"][:3] == b"\xff\xd8\xff"
    assert after["A/frames0/t0.png"] != before["A/frames0/t0.png"]
    assert contents(plain) == before
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ".npy" in captured.err
    assert normalize_folder(plain, out, workers=1) == summary  # finished: nothing to do


def test_one_map_a_case_and_another_for_the_next(plain: Path, tmp_path: Path) -> None:
    """A level of a channel goes to one level everywhere in a case, and not in both cases."""
    out = tmp_path / "out"
    normalize_folder(plain, out, workers=1)
    pairs: dict[str, dict[tuple[int, ...], tuple[int, ...]]] = {}
    for case in CASES:
        seen = pairs.setdefault(case, {})
        for i in (0, 1, 2, 4):
            name = f"{case}/frames{i % 2}/t{i}.png"
            before, after = read_rgb(plain / name), read_rgb(out / name)
            for old, new in zip(before.reshape(-1, 3), after.reshape(-1, 3), strict=True):
                key, value = tuple(old.tolist()), tuple(new.tolist())
                assert seen.setdefault(key, value) == value
    shared = pairs["A"].keys() & pairs["B"].keys()
    assert any(pairs["A"][key] != pairs["B"][key] for key in shared)


def test_modes_differ_and_tile_is_the_papers(plain: Path, tissue, tmp_path: Path) -> None:
    target = tmp_path / "target.png"
    write_rgb(target, tissue(77))
    outs = {}
    for mode in ("case", "tile", "target"):
        normalize_folder(plain, tmp_path / mode, mode=mode, target=target, workers=1)
        outs[mode] = read_rgb(tmp_path / mode / "B" / "frames0" / "t0.png")
    assert not np.array_equal(outs["case"], outs["tile"])
    assert not np.array_equal(outs["case"], outs["target"])
    gauge = Gauge()
    gauge.add(tissue(77))
    goal = gauge.whole()
    assert goal is not None
    expected = map_tile(read_rgb(plain / "B" / "frames0" / "t0.png"), None, goal)
    assert np.array_equal(outs["tile"], expected)


@pytest.mark.parametrize("method", ["reinhard", "macenko"])
@pytest.mark.parametrize("mode", ["case", "tile"])
def test_the_number_of_workers_changes_no_byte(
    method: str, mode: str, plain: Path, tmp_path: Path
) -> None:
    for workers in (1, 2):
        summary = normalize_folder(
            plain, tmp_path / str(workers), method=method, mode=mode, workers=workers
        )
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert (summary["method"], summary["normalised"]) == (method, 2 * TILES)


def test_a_table_of_colours_changes_no_byte(plain: Path, tmp_path: Path, monkeypatch) -> None:
    made = []
    make = colours.colour_table
    monkeypatch.setattr(colours, "colour_table", lambda fitted: made.append(fitted) or make(fitted))
    normalize_folder(plain, tmp_path / "without", workers=1)
    assert made == []
    # the white tile of case A counts: 13 images of it, 12 of B
    monkeypatch.setattr(colours, "PAYS_FROM", 12.5 * 96 * 112)
    normalize_folder(plain, tmp_path / "with", workers=1)
    assert len(made) == 1
    assert contents(tmp_path / "with") == contents(tmp_path / "without")


def test_a_sheet_is_written_even_of_what_is_finished(plain: Path, tmp_path: Path) -> None:
    for name in ("one.png", "other.png"):
        normalize_folder(plain, tmp_path / "out", workers=1, sheet=tmp_path / name)
    assert read_rgb(tmp_path / "one.png").shape[1] > 8 * 112
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
    with pytest.raises(InputError, match="would lie among the images"):
        normalize_folder(plain, tmp_path / "new", sheet=plain / "sheet.png")
    assert not (tmp_path / "new").exists()


def test_continued_is_the_same_as_uninterrupted(plain: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    normalize_folder(plain, whole, workers=1)
    normalize_folder(plain, out, workers=1)
    for name in ("summary.json", "B/frames0/t2.png", "A/boxes.csv", "passed_through.csv"):
        (out / name).unlink()
    (out / "A" / "frames0" / ".part-x.png").write_bytes(b"half a fi")
    kept = (out / "A" / "frames0" / "t0.png").stat()
    normalize_folder(plain, out, workers=1)
    assert contents(out) == contents(whole)
    assert (out / "A" / "frames0" / "t0.png").stat().st_ino == kept.st_ino  # not written again


KILLED = """
import sys, time
from pathlib import Path
from mitoyolo.stain import work
from mitoyolo.stain.folder import normalize_folder
write = work.write_rgb
def slow(path, image):
    write(path, image)
    time.sleep(0.1)
work.write_rgb = slow
normalize_folder(Path(sys.argv[1]), Path(sys.argv[2]), method="reinhard", workers=1)
"""


def test_killed_and_continued(plain: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    normalize_folder(plain, whole, workers=1)
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(plain), str(out)],
        env=os.environ | {"PYTHONPATH": root},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while len(list(out.rglob("t*.png"))) < 4:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "summary.json").exists()
    written = len(list(out.rglob("t*.png")))
    assert written < 22
    with pytest.raises(InputError, match=r"mode|normalisation"):
        normalize_folder(plain, out, mode="tile", workers=1)
    normalize_folder(plain, out, workers=1)
    assert contents(out) == contents(whole)


def test_images_in_a_linked_folder_are_not_forgotten(plain: Path, tmp_path: Path) -> None:
    (plain / "B").rename(tmp_path / "elsewhere")
    (plain / "B").symlink_to(tmp_path / "elsewhere")
    summary = normalize_folder(plain, tmp_path / "out", workers=1)
    assert (summary["images"], summary["cases"]) == (2 * TILES + 1, 2)


def test_other_arguments_need_overwrite(plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    normalize_folder(plain, out, workers=1)
    with pytest.raises(InputError, match="overwrite"):
        normalize_folder(plain, out, mode="tile", workers=1)
    assert normalize_folder(plain, out, mode="tile", workers=1, overwrite=True)["mode"] == "tile"


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unusable_image_is_named(plain: Path, tmp_path: Path, workers: int) -> None:
    grey = plain / "B" / "frames1" / "u.png"
    cv2.imwrite(str(grey), np.zeros((20, 20), np.uint8))
    with pytest.raises(InputError) as caught:
        normalize_folder(plain, tmp_path / "out", workers=workers)
    assert str(grey) in str(caught.value)
    assert "8-bit RGB" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "summary.json").exists()
    assert not list((tmp_path / "out").rglob(".part-*"))
    grey.write_bytes(b"\x89PNG broken")
    with pytest.raises(InputError, match=r"u\.png"):
        normalize_folder(plain, tmp_path / "other", workers=workers, mode="tile")


def test_alpha_is_dropped(tissue, tmp_path: Path) -> None:
    image = tissue(1)
    source = tmp_path / "src"
    write_rgb(source / "a" / "t.png", image)
    bgra = np.dstack([image[:, :, ::-1], np.full(image.shape[:2], 90, np.uint8)])
    (source / "b").mkdir()
    cv2.imwrite(str(source / "b" / "t.png"), bgra)
    normalize_folder(source, tmp_path / "out", workers=1)
    one, two = (cv2.imread(str(tmp_path / "out" / c / "t.png"), -1) for c in "ab")
    assert one is not None
    assert two is not None
    assert two.shape[2] == 3
    assert np.array_equal(one, two)


def test_a_tiff_keeps_its_resolution(tissue, tmp_path: Path) -> None:
    source = tmp_path / "src" / "frame.tiff"
    source.parent.mkdir()
    tifffile.imwrite(
        source, tissue(1), photometric="rgb", resolution=(43995.6, 43950.1), resolutionunit=3
    )
    normalize_folder(source.parent, tmp_path / "out", workers=1)
    assert image_mpp(source) is not None
    assert image_mpp(tmp_path / "out" / "frame.tiff") == image_mpp(source)
    assert read_rgb(tmp_path / "out" / "frame.tiff").shape == tissue(1).shape


def test_a_dataset_folder(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = contents(dataset)
    summary = normalize_folder(dataset, out, workers=1)
    after = contents(out)
    assert set(after) == set(before) - {"labels/train.cache"} | {
        "summary.json",
        "passed_through.csv",
    }
    for name in before:
        if name.startswith(("labels/", "annotations")) and not name.endswith(".cache"):
            assert after[name] == before[name]
    assert after["manifest.csv"] == before["manifest.csv"]
    assert (summary["images"], summary["cases"]) == (9, 3)
    old = yaml.safe_load((dataset / "dataset.yaml").read_text())
    new = yaml.safe_load((out / "dataset.yaml").read_text())
    normalisation = new["mitoyolo"].pop("normalisation")
    assert new == old
    assert list(new) == list(old)
    assert set(normalisation) == {"method", "mode", "target"}
    assert (normalisation["method"], normalisation["mode"]) == ("reinhard", "case")
    assert set(normalisation["target"]) == {"mean", "std", "source"}
    assert open_dataset(out).normalisation == normalisation
    with pytest.raises(InputError, match="normalised already"):
        normalize_folder(out, tmp_path / "twice")
    (out / "dataset.yaml").unlink()
    with pytest.raises(InputError, match="unfinished"):
        normalize_folder(out, tmp_path / "twice")
    normalize_folder(dataset, out, workers=2)
    assert contents(out) == after


def test_the_index_is_written_last(dataset: Path, tmp_path: Path, monkeypatch) -> None:
    from mitoyolo.stain import folder

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "_write_index", stop)
    with pytest.raises(KeyboardInterrupt):
        normalize_folder(dataset, tmp_path / "out", workers=1)
    written = set(contents(tmp_path / "out"))
    left = {"dataset.yaml", "labels/train.cache"}
    assert written == set(contents(dataset)) - left | {"summary.json", "passed_through.csv"}


def test_scanners_of_one_case_are_fitted_apart(dataset: Path) -> None:
    cases = read_source(dataset).cases
    assert {case: len(names) for case, names in cases.items()} == {
        "01 aperio": 3,
        "01 hamamatsu": 3,
        "02": 3,
    }


def test_cases_of_plain_folders(tissue, tmp_path: Path) -> None:
    """A slide is where its tiles.csv lies, whatever its batches; else the first folder."""
    for name in ("one.png", "s/batch-001/a.png", "s/batch-002/b.png", "H03/x40/c.png"):
        write_rgb(tmp_path / "src" / name, tissue(1, size=(8, 8)))
    cases = read_source(tmp_path / "src").cases
    assert sorted(cases) == [".", "H03", "s"]
    (tmp_path / "src" / "s" / "tiles.csv").write_text("tile\n")
    slide = read_source(tmp_path / "src" / "s")
    assert slide.cases == {".": ("batch-001/a.png", "batch-002/b.png")}
    assert slide.along == ("tiles.csv",)


def test_folders_that_cannot_be_normalised(plain: Path, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    calls = [
        (tmp_path / "empty", {}, "no images"),
        (tmp_path / "absent", {}, "no such folder"),
        (plain, {"mode": "target"}, "--target"),
        (plain, {"mode": "slide"}, "case, tile, target"),
        (plain, {"method": "nobody"}, "reinhard"),
        (plain, {"workers": -1}, "workers"),
    ]
    for source, options, message in calls:
        with pytest.raises(InputError, match=message):
            normalize_folder(source, tmp_path / "out", **options)
        assert not (tmp_path / "out").exists()
    for out in (plain, plain / "out", plain.parent):
        with pytest.raises(InputError, match="in each other"):
            normalize_folder(plain, out, overwrite=True)
    (dataset / "dataset.yaml").unlink()
    with pytest.raises(InputError, match="unfinished"):
        normalize_folder(dataset, tmp_path / "out")
    (dataset / "manifest.csv").rename(tmp_path / "manifest.csv")
    with pytest.raises(InputError, match="unfinished"):
        normalize_folder(dataset, tmp_path / "out")
    (dataset / "run.json").unlink()
    (tmp_path / "manifest.csv").rename(dataset / "manifest.csv")
    with pytest.raises(InputError, match="unfinished"):
        normalize_folder(dataset, tmp_path / "out")
    normalize_folder(plain, tmp_path / "once", workers=1)
    with pytest.raises(InputError, match="normalised already"):
        normalize_folder(tmp_path / "once", tmp_path / "twice")


def test_a_missing_tile_of_a_dataset_is_named(dataset: Path, tmp_path: Path) -> None:
    next((dataset / "images" / "val").iterdir()).unlink()
    with pytest.raises(InputError, match="missing"):
        normalize_folder(dataset, tmp_path / "out")


def test_a_dead_worker_is_one_line(plain: Path, tmp_path: Path, monkeypatch) -> None:
    from converters.errors import MitoyoloError
    from mitoyolo.stain import folder

    monkeypatch.setattr(folder.Batch, "run", _die)
    with pytest.raises(MitoyoloError, match="worker process died"):
        normalize_folder(plain, tmp_path / "out", workers=2)
    shutil.rmtree(tmp_path / "out")


def _die(_: object) -> list[tuple[str, str | None]]:
    os._exit(1)
