"""``detect`` with a detector whose every detection is known."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import tifffile
from conftest import Cli, tree
from rendered import PINK, Cell, PixelDetector, card, paint

from converters.errors import InputError, MissingMppError, OptionError
from mitoyolo import detect as module
from mitoyolo.detect import DetectOptions, detect
from mitoyolo.images import read_rgb, write_rgb

CELLS = (Cell(48, 30, 0.6), Cell(20, 30, 0.8), Cell(120, 50, 0.4))
OPTIONS = DetectOptions(mpp=(0.5, 0.5))


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> PixelDetector:
    found = PixelDetector()
    monkeypatch.setattr(module, "load_detector", lambda path, **_: found)
    return found


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "best.pt").touch()
    return tmp_path / "best.pt"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "frames" / "one.png"
    write_rgb(path, paint(160, 96, CELLS))
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def summary(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text(encoding="utf-8")))


def test_the_files_of_an_image(image: Path, weights: Path, tmp_path: Path) -> None:
    (folder,) = detect(image, weights, tmp_path / "out", OPTIONS)
    assert folder == tmp_path / "out" / "one"
    assert {path.name for path in folder.iterdir()} == {
        "density.png", "detections.csv", "detections.dsa.json", "detections.geojson",
        "detections.midog.json", "overlay.png", "report.html", "run.json", "summary.json",
    }  # fmt: skip
    rows = read(folder / "detections.csv")
    assert [(r["source"], float(r["x"]), float(r["y"]), float(r["score"])) for r in rows] == [
        ("one.png", 20, 30, 0.8),
        ("one.png", 48, 30, 0.6),
    ]
    assert (float(rows[0]["x_um"]), float(rows[0]["y_um"])) == (10, 15)
    assert len(json.loads((folder / "detections.geojson").read_text())["features"]) == 2
    points = json.loads((folder / "detections.midog.json").read_text())["points"]
    assert points[0]["point"] == pytest.approx([0.010, 0.015, 0])


def test_the_summary(image: Path, weights: Path, tmp_path: Path) -> None:
    (folder,) = detect(image, weights, tmp_path / "out", OPTIONS)
    found = summary(folder)
    area = 160 * 96 * 0.25 / 1e6  # all of it is stained
    assert found["source"] == "one.png"
    assert (found["mpp"], found["region"], found["count"]) == ([0.5, 0.5], "all tissue", 2)
    assert (found["threshold"], found["threshold_from"]) == (0.5, "val split, best F1, epoch 1")
    assert found["tissue_mm2"] == pytest.approx(area, rel=1e-6)
    assert found["density_per_mm2"] == pytest.approx(2 / area)
    assert "mitoyolo" in found["versions"]


def test_red_dots_stand_on_the_detections(image: Path, weights: Path, tmp_path: Path) -> None:
    (folder,) = detect(image, weights, tmp_path / "out", OPTIONS)
    overlay = read_rgb(folder / "overlay.png")
    assert overlay.shape == (96, 160, 3)
    for x, y in ((20, 30), (48, 30)):
        assert tuple(overlay[y, x]) == (220, 0, 0)
    assert tuple(overlay[50, 120]) != (220, 0, 0)  # under the threshold
    assert tuple(overlay[90, 5]) == PINK


def test_a_given_threshold_wins_and_is_recorded(image: Path, weights: Path, tmp_path: Path) -> None:
    options = DetectOptions(mpp=(0.5, 0.5), threshold=0.4)
    (folder,) = detect(image, weights, tmp_path / "out", options)
    assert (summary(folder)["count"], summary(folder)["threshold_from"]) == (
        3,
        "given by --threshold",
    )


def test_weights_without_threshold_need_one(
    image: Path, weights: Path, tmp_path: Path, detector: PixelDetector
) -> None:
    detector.card = None
    with pytest.raises(InputError, match=r"best\.pt: .*--threshold"):
        detect(image, weights, tmp_path / "out", OPTIONS)
    (folder,) = detect(
        image, weights, tmp_path / "out", DetectOptions(mpp=(0.5, 0.5), threshold=0.5)
    )
    assert summary(folder)["count"] == 2


def test_weights_without_mitosis_are_refused(
    image: Path, weights: Path, tmp_path: Path, detector: PixelDetector
) -> None:
    detector.classes = ("person", "bicycle")
    with pytest.raises(InputError, match="no class mitosis"):
        detect(image, weights, tmp_path / "out", OPTIONS)


# --- µm/px ------------------------------------------------------------------------------------


def tiff(path: Path, mpp: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        path, paint(160, 96, CELLS), photometric="rgb", resolution=(1e4 / mpp, 1e4 / mpp),
        resolutionunit="CENTIMETER",
    )  # fmt: skip
    return path


def test_the_scale_of_a_tiff_is_read(weights: Path, tmp_path: Path) -> None:
    (folder,) = detect(tiff(tmp_path / "s.tif", 0.5), weights, tmp_path / "out", DetectOptions())
    assert summary(folder)["mpp"] == pytest.approx([0.5, 0.5])
    assert summary(folder)["count"] == 2


def test_the_stated_scale_wins_and_contradictions_are_said_once(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(3):
        tiff(tmp_path / "in" / f"{i}.tif", 0.25)
    folders = detect(tmp_path / "in", weights, tmp_path / "out", OPTIONS)
    assert [summary(folder)["mpp"] for folder in folders] == [[0.5, 0.5]] * 3
    said = capsys.readouterr().err
    assert said.count("--mpp 0.5 is used") == 1
    assert "3 of 3 images say otherwise (0.tif: 0.25)" in said


def test_without_any_scale_nothing_is_begun(image: Path, weights: Path, tmp_path: Path) -> None:
    (image.parent / "two.tif").write_text("no image")
    with pytest.raises(MissingMppError, match=r"one\.png: no µm/px in 1 of 2 images.*--mpp"):
        detect(image.parent, weights, tmp_path / "out", DetectOptions())
    assert not (tmp_path / "out").exists()


def test_without_its_scale_an_image_is_left_out(
    image: Path, weights: Path, tmp_path: Path, cli: Cli
) -> None:
    """A --mpp for its sake would be that of the others too."""
    tiff(image.parent / "two.tif", 0.5)
    done = cli("detect", image.parent, "--weights", weights, "--out", tmp_path / "out")
    assert done.code == 1
    assert "1 of 2 images left out" in done.error
    assert "one.png: no µm/px in it, as others have; state it by --mpp F, in a call" in done.error
    assert summary(tmp_path / "out" / "two")["mpp"] == pytest.approx([0.5, 0.5])
    assert not (tmp_path / "out" / "one").exists()


# --- folders ----------------------------------------------------------------------------------


def test_one_bad_image_stops_no_other(image: Path, weights: Path, tmp_path: Path, cli: Cli) -> None:
    (image.parent / "deep").mkdir()
    (image.parent / "deep" / "cut.png").write_bytes(image.read_bytes()[:200])
    (image.parent / "none.jpg").write_text("no image")
    out = tmp_path / "out"
    done = cli("detect", image.parent, "--weights", weights, "--out", out, "--mpp", 0.5)
    assert done.code == 1
    assert done.out == ""
    assert "2 of 3 images left out" in done.error
    assert "cut.png" in done.error
    assert "none.jpg" in done.error
    assert [path.name for path in out.iterdir()] == ["one"]
    assert summary(out / "one")["count"] == 2


def test_the_command_prints_the_folders_alone(
    image: Path, weights: Path, tmp_path: Path, cli: Cli
) -> None:
    out = tmp_path / "out"
    done = cli("detect", image, "--weights", weights, "--out", out, "--mpp", 0.5, "--quiet")
    assert (done.code, done.out, done.err) == (0, f"{out / 'one'}\n", "")


def test_names_are_made_of_the_folders(image: Path, weights: Path, tmp_path: Path) -> None:
    for place in ("a", "b"):
        write_rgb(tmp_path / "in" / place / "x.png", paint(64, 64, []))
    folders = detect(tmp_path / "in", weights, tmp_path / "out", OPTIONS)
    assert [folder.name for folder in folders] == ["a_x", "b_x"]
    write_rgb(tmp_path / "in" / "a" / "x.jpg", paint(64, 64, []))
    with pytest.raises(InputError, match="rename"):
        detect(tmp_path / "in", weights, tmp_path / "out2", OPTIONS)


def test_the_tables_tell_images_of_one_name_apart(weights: Path, tmp_path: Path) -> None:
    for place in ("a", "b"):
        write_rgb(tmp_path / "in" / place / "x.png", paint(64, 64, [Cell(20, 30)]))
    folders = detect(tmp_path / "in", weights, tmp_path / "out", OPTIONS)
    assert [summary(folder)["source"] for folder in folders] == ["a/x.png", "b/x.png"]
    assert [read(f / "detections.csv")[0]["source"] for f in folders] == ["a/x.png", "b/x.png"]


def test_results_do_not_lie_among_the_images(image: Path, weights: Path, tmp_path: Path) -> None:
    for out in (image.parent, image.parent / "found"):
        with pytest.raises(InputError, match="--out"):
            detect(image.parent, weights, out, OPTIONS)
        assert list(image.parent.iterdir()) == [image]
    detect(image, weights, image.parent / "found", OPTIONS)  # of one image nothing else is read


def test_a_folder_without_images_and_a_missing_one(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no slide or image"):
        detect(tmp_path / "empty", weights, tmp_path / "out", OPTIONS)
    with pytest.raises(InputError, match="no such slide, image or folder"):
        detect(tmp_path / "absent", weights, tmp_path / "out", OPTIONS)


def test_finished_images_are_skipped_and_continued_bytes_are_the_same(
    image: Path, weights: Path, tmp_path: Path, detector: PixelDetector
) -> None:
    write_rgb(image.with_name("two.png"), paint(64, 64, [Cell(30, 30)]))
    out = tmp_path / "out"
    detect(image.parent, weights, out, OPTIONS)
    whole = tree(out)
    (out / "two" / "summary.json").unlink()
    (out / "two" / "overlay.png").unlink()
    detector.sizes.clear()
    detect(image.parent, weights, out, OPTIONS)
    assert detector.sizes == [64]  # the one tile of two.png
    assert tree(out) == whole


def test_another_call_on_a_result_is_refused(image: Path, weights: Path, tmp_path: Path) -> None:
    detect(image, weights, tmp_path / "out", OPTIONS)
    other = DetectOptions(mpp=(0.5, 0.5), threshold=0.4)
    with pytest.raises(InputError, match="another threshold"):
        detect(image, weights, tmp_path / "out", other)
    (folder,) = detect(image, weights, tmp_path / "out", other, overwrite=True)
    assert summary(folder)["count"] == 3


# --- tiles ------------------------------------------------------------------------------------


def test_the_overlap_is_less_than_the_tile(image: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--overlap 64"):
        detect(image, weights, tmp_path / "out", DetectOptions(mpp=(1, 1), tile=64, overlap=64))


def test_tile_and_overlap_are_the_models_unless_stated(
    image: Path, weights: Path, tmp_path: Path, detector: PixelDetector
) -> None:
    detector.card = card(tile=48, overlap=40)
    detect(image, weights, tmp_path / "a", OPTIONS)
    arguments = json.loads((tmp_path / "a" / "one" / "run.json").read_text())["arguments"]
    assert (arguments["tile"], arguments["overlap"]) == (48, 24)  # no more than half a tile
    detect(image, weights, tmp_path / "b", DetectOptions(mpp=(0.5, 0.5), tile=64, overlap=8))
    arguments = json.loads((tmp_path / "b" / "one" / "run.json").read_text())["arguments"]
    assert (arguments["tile"], arguments["overlap"]) == (64, 8)


def test_the_bar_knows_how_many_tiles_there_will_be(
    image: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals: list[int] = []
    bar = module.bar

    def watched(text: str, *, unit: str, total: int) -> Any:
        totals.append(total)
        return bar(text, unit=unit, total=total)

    monkeypatch.setattr(module, "bar", watched)
    detect(image, weights, tmp_path / "a", OPTIONS)
    detect(image, weights, tmp_path / "b", DetectOptions(mpp=(0.25, 0.25)))
    assert totals == [4 * 2, 2 * 1]  # 160 x 96 px, then 80 x 48, by steps of 32
