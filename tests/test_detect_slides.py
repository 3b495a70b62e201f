"""``detect`` on whole slides, with a detector whose every detection is known."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Cli, real, tree
from rendered import Cell, PixelDetector, card, paint
from slides_rendered import write_slide

from converters.errors import InputError, OptionError
from mitoyolo import detect as module
from mitoyolo.detect import DetectOptions, detect
from mitoyolo.images import RGB
from mitoyolo.inference import parts
from mitoyolo.inference import slide as searched
from mitoyolo.jobs import locked
from mitoyolo.slides.tiff import TiffSlide
from mitoyolo.tiles import Window

SIDE = 1200
CELLS = [
    Cell(200, 180, 0.9), Cell(224, 600, 0.8), Cell(600, 640, 0.7), Cell(1100, 300, 0.6),
    Cell(900, 900, 0.4),
]  # fmt: skip
GLASS = (244, 244, 244)


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> PixelDetector:
    found = PixelDetector(card=card(tile=128, imgsz=128, overlap=48))
    monkeypatch.setattr(module, "load_detector", lambda path, **_: found)
    return found


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "best.pt").touch()
    return tmp_path / "best.pt"


def picture() -> RGB:
    """Tissue with a strip of glass at its right and lower edges."""
    image = paint(SIDE, SIDE, CELLS, size=16)
    image[1000:] = GLASS
    image[:, 1150:] = GLASS
    return image


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """At 0.5 µm/px, as the model."""
    path = tmp_path / "slides" / "one.tif"
    path.parent.mkdir()
    write_slide(path, picture(), mpp=0.5, steps=(4,))
    return path


def summary(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text(encoding="utf-8")))


def places(folder: Path) -> list[tuple[float, float]]:
    with (folder / "detections.csv").open(encoding="utf-8") as handle:
        return [(float(row["x"]), float(row["y"])) for row in csv.DictReader(handle)]


def test_what_is_found_stands_in_level_0_pixels(slide: Path, weights: Path, tmp_path: Path) -> None:
    (folder,) = detect(slide, weights, tmp_path / "out", DetectOptions())
    assert places(folder) == [(c.x, c.y) for c in CELLS[:4]]
    found = summary(folder)
    assert (found["size"], found["mpp"]) == ([SIDE, SIDE], pytest.approx([0.5, 0.5]))
    assert found["tissue_mm2"] == pytest.approx(1150 * 1000 * 0.25 / 1e6, rel=0.02)
    assert found["density_per_mm2"] == pytest.approx(4 / found["tissue_mm2"])
    assert found["area_mm2"] == found["tissue_mm2"]
    assert not (folder / parts.FOLDER).exists()


@pytest.mark.parametrize(("mpp", "size"), [(0.25, 32), (1.0, 8)])
def test_another_scale_is_brought_to_the_models_and_said(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], mpp: float, size: int
) -> None:
    image = paint(SIDE, SIDE, CELLS, size=size)
    write_slide(tmp_path / "s.tif", image, mpp=mpp, steps=(4,))
    options = DetectOptions(engine="torch")
    (folder,) = detect(tmp_path / "s.tif", weights, tmp_path / "out", options)
    assert np.array(places(folder)) == pytest.approx(
        np.array([(c.x, c.y) for c in CELLS[:4]]), abs=1.5
    )
    assert f"s.tif: {mpp:g} µm/px, read at the model's 0.5" in capsys.readouterr().err


def test_glass_is_not_searched(
    slide: Path, weights: Path, tmp_path: Path, detector: PixelDetector
) -> None:
    (folder,) = detect(slide, weights, tmp_path / "out", DetectOptions())
    record = json.loads((folder / "run.json").read_text())
    steps = -(-(SIDE - 128) // 80) + 1
    assert record["tiles"] < steps**2
    assert record["tiles"] >= 13 * 14  # all that touch 1150 x 1000 px
    assert set(record["stages_s"]) >= {"reading", "normalising", "model"}


def test_a_slide_without_tissue_says_so(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_slide(tmp_path / "s.tif", np.full((600, 700, 3), 244, np.uint8), mpp=0.5, steps=(4,))
    (folder,) = detect(tmp_path / "s.tif", weights, tmp_path / "out", DetectOptions())
    found = summary(folder)
    assert (found["count"], found["tissue_mm2"], found["density_per_mm2"]) == (0, 0, None)
    assert "s.tif: no tissue was found, so nothing was searched" in capsys.readouterr().err
    assert "no tissue was found" in (folder / "report.html").read_text()


# --- damage -----------------------------------------------------------------------------------


@pytest.fixture
def damaged(monkeypatch: pytest.MonkeyPatch) -> Window:
    """A place of every TIFF that cannot be read, at level 0."""
    bad = Window(560, 600, 80, 80)
    read = TiffSlide.read

    def failing(self: TiffSlide, level: int, window: Window) -> RGB:
        apart = (
            window.x >= bad.x + bad.width or window.x + window.width <= bad.x
            or window.y >= bad.y + bad.height or window.y + window.height <= bad.y
        )  # fmt: skip
        if level == 0 and not apart:
            raise InputError("a damaged tile", file=self.path, where=f"x {bad.x}, y {bad.y}")
        return read(self, level, window)

    monkeypatch.setattr(TiffSlide, "read", failing)
    return bad


def test_unreadable_regions_are_listed_and_the_rest_is_done(
    slide: Path, weights: Path, tmp_path: Path, damaged: Window,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (folder,) = detect(slide, weights, tmp_path / "out", DetectOptions())
    assert places(folder) == [(c.x, c.y) for c in CELLS[:4] if c.x != 600]
    listed = summary(folder)["unreadable"]
    assert {tile["why"] for tile in listed} == {"a damaged tile"}
    assert len(listed) in range(4, 10)
    assert all(tile["x"] < 640 and tile["x"] + tile["width"] > 560 for tile in listed)
    said = f"{len(listed)} tiles could not be read and were not searched"
    assert said in capsys.readouterr().err
    assert said in (folder / "report.html").read_text()


def test_a_slide_of_which_nothing_can_be_read_leaves_nothing(
    slide: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: TiffSlide, level: int, window: Window) -> RGB:
        raise InputError("damaged", file=self.path)

    monkeypatch.setattr(TiffSlide, "read", failing)
    with pytest.raises(InputError, match=r"one\.tif: no tile can be read \(damaged\)"):
        detect(slide, weights, tmp_path / "out", DetectOptions())
    assert not (tmp_path / "out" / "one").exists()


def test_a_folder_of_good_and_bad_slides(
    slide: Path, weights: Path, tmp_path: Path, cli: Cli
) -> None:
    whole = slide.read_bytes()
    slide.with_name("cut.tif").write_bytes(whole[: len(whole) // 3])
    slide.with_name("word.svs").write_text("no slide")
    write_slide(slide.with_name("two.tif"), picture(), mpp=0.5, steps=(4,))
    out = tmp_path / "out"
    done = cli("detect", slide.parent, "--weights", weights, "--out", out)
    assert done.code == 1
    assert "2 of 4 images left out" in done.error
    assert "cut.tif" in done.error and "word.svs" in done.error
    assert sorted(path.name for path in out.iterdir()) == ["one", "two"]


def test_a_list_of_slides(slide: Path, weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere.tif"
    shutil.copy(slide, other)
    (tmp_path / "list.txt").write_text(f"# two of them\nslides/one.tif\n\n{other}\n")
    folders = detect(tmp_path / "list.txt", weights, tmp_path / "out", DetectOptions())
    assert [folder.name for folder in folders] == ["one", "elsewhere"]
    (tmp_path / "list.txt").write_text("slides/one.tif\nslides/none.tif\n")
    with pytest.raises(InputError, match=r"1 of 2 images left out .*none\.tif: no such file"):
        detect(tmp_path / "list.txt", weights, tmp_path / "out2", DetectOptions(mpp=(0.5, 0.5)))
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(InputError, match="an empty list"):
        detect(tmp_path / "list.txt", weights, tmp_path / "out", DetectOptions())


# --- a killed process -------------------------------------------------------------------------


def test_a_slide_is_gone_on_with_to_the_same_bytes(
    slide: Path, weights: Path, tmp_path: Path, detector: PixelDetector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(parts, "TILES", 32)
    detect(slide, weights, tmp_path / "whole", DetectOptions())
    everything = len(detector.sizes)
    predict = detector.predict

    def killed(tiles: list[RGB], imgsz: int | None = None) -> Any:
        if len(detector.sizes) == 28:
            raise KeyboardInterrupt
        return predict(tiles, imgsz)

    detector.sizes.clear()
    monkeypatch.setattr(detector, "predict", killed)
    with pytest.raises(KeyboardInterrupt):
        detect(slide, weights, tmp_path / "out", DetectOptions())
    monkeypatch.setattr(detector, "predict", predict)
    left = tmp_path / "out" / "one"
    assert not (left / "summary.json").exists()
    assert len(list((left / parts.FOLDER).glob("*.npz"))) == 3
    detector.sizes.clear()
    detect(slide, weights, tmp_path / "out", DetectOptions())
    assert len(detector.sizes) == everything - 24  # three parts of eight batches
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


DRIVER = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from rendered import PixelDetector, card
from mitoyolo import detect as module
from mitoyolo.inference import parts
parts.TILES = 16

def at_work():
    with open({log!r}) as log:
        return [line.split()[0] for line in log]

def lives(process):
    try:
        return Path("/proc", process, "cmdline").read_bytes()  # nothing once it has died
    except OSError:
        return False

killed = {killed}

class InCompany(PixelDetector):
    def predict(self, tiles, imgsz=None):
        with open({log!r}, "a") as log:
            log.write(f"{{os.getpid()}} {{len(tiles)}}\\n")
        patience = time.monotonic() + 120  # until the other is at work too
        while time.monotonic() < patience and len(set(at_work())) < 2:
            time.sleep(0.02)
        if killed is not None:
            dead = list(dict.fromkeys(at_work()))[killed]
            if dead == str(os.getpid()):
                os.kill(os.getpid(), signal.SIGKILL)
            while lives(dead):  # a helper that had nothing left to do would leave too early
                time.sleep(0.02)
        return super().predict(tiles, imgsz)

module.load_detector = lambda path, **_: InCompany(card=card(tile=128, imgsz=128, overlap=48))
from mitoyolo.cli import main
main()
"""


def start(
    log: Path, *arguments: object, killed: int | None = None, **environment: str
) -> subprocess.Popen[str]:
    """``mitoyolo`` with a detector that waits for another one and gives ``log`` a line a batch; the
    one that is ``killed`` first or second in it dies as soon as both are at work."""
    code = DRIVER.format(tests=str(Path(__file__).parent), log=str(log), killed=killed)
    return subprocess.Popen(
        [sys.executable, "-c", code, "detect", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip


def tiles_by_process(log: Path) -> dict[str, int]:
    done: dict[str, int] = {}
    for line in log.read_text().splitlines():
        process, count = line.split()
        done[process] = done.get(process, 0) + int(count)
    return done


@pytest.mark.parametrize("how", ["shard", "torchrun"])
def test_two_processes_share_slides(slide: Path, weights: Path, tmp_path: Path, how: str) -> None:
    """Three slides: each is searched once, by one or by both."""
    for name in ("two", "three"):
        shutil.copy(slide, slide.with_name(f"{name}.tif"))
    (whole,) = detect(slide, weights, tmp_path / "whole", DetectOptions())
    tiles = json.loads((whole / "run.json").read_text())["tiles"]
    call = [slide.parent, "--weights", weights, "--out", tmp_path / "out"]
    log = tmp_path / "log"
    both = [
        start(log, *call, "--shard", f"{i + 1}/2")
        if how == "shard"
        else start(log, *call, RANK=str(i), WORLD_SIZE="2", LOCAL_RANK=str(i))
        for i in range(2)
    ]
    for process in both:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    shares = tiles_by_process(log)
    assert sum(shares.values()) == 3 * tiles
    assert len(shares) == 2
    for name in ("one", "two", "three"):
        assert places(tmp_path / "out" / name) == places(whole)
        assert not (tmp_path / "out" / name / parts.FOLDER).exists()


def test_who_comes_early_waits_until_there_is_something_to_help_with(
    slide: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process looks for the tissue still, and dies of it."""
    folder = tmp_path / "out" / "one"
    folder.mkdir(parents=True)
    looks = []
    with ExitStack() as other:
        other.enter_context(locked(folder))

        def look(seconds: float) -> None:
            looks.append(seconds)
            if len(looks) == 3:
                other.close()

        monkeypatch.setattr(module.time, "sleep", look)
        assert detect(slide, weights, tmp_path / "out", DetectOptions(shard="2/2")) == [folder]
    assert len(looks) == 3
    assert places(folder)


@pytest.mark.parametrize("killed", [0, 1], ids=["who began it", "who helps"])
def test_a_killed_process_is_made_good_by_the_other(
    slide: Path, weights: Path, tmp_path: Path, killed: int
) -> None:
    (whole,) = detect(slide, weights, tmp_path / "whole", DetectOptions())
    call = [slide, "--weights", weights, "--out", tmp_path / "out"]
    log = tmp_path / "log"
    both = [start(log, *call, "--shard", f"{i}/2", killed=killed) for i in (1, 2)]
    said = {process.pid: process.communicate(timeout=300)[1] for process in both}
    dead = int(list(tiles_by_process(log))[killed])
    for process in both:
        expected = -signal.SIGKILL if process.pid == dead else 0
        assert process.returncode == expected, said[process.pid]
    folder = tmp_path / "out" / "one"
    assert summary(folder) == summary(whole)
    tiles = json.loads((whole / "run.json").read_text())["tiles"]
    assert sum(tiles_by_process(log).values()) <= tiles + 2 * 16  # what the dead one had begun


def test_processes_that_share_do_not_overwrite(slide: Path, weights: Path, tmp_path: Path) -> None:
    options = DetectOptions(shard="1/2")
    with pytest.raises(OptionError, match="--overwrite"):
        detect(slide, weights, tmp_path / "out", options, overwrite=True)
    with pytest.raises(OptionError, match="expected i/n"):
        detect(slide, weights, tmp_path / "out", DetectOptions(shard="3/2"))


def test_who_cannot_help_goes_on_with_the_other_slides(
    slide: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process is searching a slide whose region has been damaged since."""
    shutil.copy(slide, slide.with_name("two.tif"))
    rois, out = tmp_path / "rois", tmp_path / "out"
    for name in ("one", "two"):
        outline(rois / f"{name}.geojson", [(100, 100), (400, 100), (400, 300), (100, 300)])
    read = searched.read_region

    def killed(path: Path) -> Any:
        raise KeyboardInterrupt

    def failing(path: Path) -> Any:
        if path.stem == "one":
            raise InputError("damaged", file=path)
        return read(path)

    monkeypatch.setattr(searched, "read_region", killed)
    with pytest.raises(KeyboardInterrupt):  # which leaves a slide begun
        detect(slide.parent, weights, out, DetectOptions(roi=rois))
    (out / "one" / parts.FOLDER).mkdir()
    monkeypatch.setattr(searched, "read_region", failing)
    with (
        locked(out / "one"),
        pytest.raises(InputError, match=r"1 of 2 images left out \(.*one\.geojson: damaged"),
    ):
        detect(slide.parent, weights, out, DetectOptions(roi=rois, shard="1/2"))
    assert places(out / "two") == [(200, 180)]


def test_finished_slides_stay_where_another_engine_is_the_quickest_now(
    slide: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More slides in the folder, or OpenVINO installed."""
    (folder,) = detect(slide, weights, tmp_path / "out", DetectOptions())
    before = tree(folder)
    export = weights.with_name("best_openvino_cache")
    monkeypatch.setattr(module, "choose_engine", lambda *_, **__: export)
    assert detect(slide, weights, tmp_path / "out", DetectOptions()) == [folder]
    assert tree(folder) == before
    with pytest.raises(InputError, match="finished work of `detect` with another engine"):
        detect(slide, weights, tmp_path / "out", DetectOptions(engine="openvino"))
    (folder / "summary.json").unlink()
    with pytest.raises(InputError, match="unfinished work of `detect` with another engine"):
        detect(slide, weights, tmp_path / "out", DetectOptions())


def test_a_damaged_export_names_what_to_remove(
    slide: Path, weights: Path, tmp_path: Path, detector: PixelDetector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    export = weights.with_name("best_openvino_cache")

    def load(path: Path, **_: object) -> PixelDetector:
        if path == export:
            raise InputError("not readable", file=path / "best.xml", fix="export again")
        return detector

    monkeypatch.setattr(module, "load_detector", load)
    monkeypatch.setattr(module, "choose_engine", lambda *_, **__: export)
    said = r"best\.xml: not readable; remove .*best_openvino_cache; it is made again"
    with pytest.raises(InputError, match=said):
        detect(slide, weights, tmp_path / "out", DetectOptions())


# --- a region ---------------------------------------------------------------------------------


def outline(path: Path, *rings: list[tuple[float, float]]) -> Path:
    """QuPath's GeoJSON of polygons."""
    features = [
        {
            "type": "Feature",
            "properties": {"objectType": "annotation"},
            "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        }
        for ring in rings
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_only_what_lies_in_the_region_counts(
    slide: Path, weights: Path, tmp_path: Path, detector: PixelDetector
) -> None:
    """An outline that has one cell in it and passes 6 px beside another."""
    roi = outline(tmp_path / "roi.geojson", [(100, 100), (400, 100), (400, 594), (100, 594)])
    options = DetectOptions(roi=roi)
    (folder,) = detect(slide, weights, tmp_path / "out", options)
    assert places(folder) == [(200, 180)]
    found = summary(folder)
    assert found["region"] == "roi.geojson"
    assert found["area_mm2"] == pytest.approx(300 * 494 * 0.25 / 1e6)
    assert found["tissue_mm2"] == pytest.approx(found["area_mm2"], rel=0.05)
    assert found["tissue_mm2"] <= found["area_mm2"] < 2  # the map's pixels are coarser
    assert found["hotspot"]["circle"]["area_mm2"] == found["area_mm2"]  # all there is
    assert found["density_per_mm2"] == pytest.approx(1 / found["area_mm2"])
    assert found["hotspot"]["circle"]["count"] == 1
    searched = json.loads((folder / "run.json").read_text())["tiles"]
    assert searched <= 6 * 8  # of some 200
    assert "not a mitotic count" not in (folder / "report.html").read_text()


def test_each_slide_of_a_folder_has_a_region_of_its_own(
    slide: Path, weights: Path, tmp_path: Path, cli: Cli
) -> None:
    shutil.copy(slide, slide.with_name("two.tif"))
    rois = tmp_path / "rois"
    outline(rois / "one.geojson", [(100, 100), (400, 100), (400, 300), (100, 300)])
    call = ["detect", slide.parent, "--weights", weights, "--out", tmp_path / "out", "--roi", rois]
    done = cli(*call)
    assert done.code == 1
    assert "no region for two.tif; expected two.geojson or two.xml there" in done.error
    outline(rois / "two.geojson", [(500, 500), (700, 500), (700, 800), (500, 800)])
    assert cli(*call).code == 0
    assert places(tmp_path / "out" / "one") == [(200, 180)]
    assert places(tmp_path / "out" / "two") == [(600, 640)]


def test_another_region_is_another_call(slide: Path, weights: Path, tmp_path: Path) -> None:
    roi = outline(tmp_path / "roi.geojson", [(100, 100), (400, 100), (400, 300)])
    detect(slide, weights, tmp_path / "out", DetectOptions(roi=roi))
    with pytest.raises(InputError, match="with another roi, roi_state"):
        detect(slide, weights, tmp_path / "out", DetectOptions())


def test_a_region_that_is_none_leaves_nothing(slide: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "roi.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(InputError, match=r"roi\.geojson: no area in this file"):
        detect(slide, weights, tmp_path / "out", DetectOptions(roi=tmp_path / "roi.geojson"))
    assert not list((tmp_path / "out").glob("*"))


def test_a_region_of_another_slide(slide: Path, weights: Path, tmp_path: Path, cli: Cli) -> None:
    roi = outline(tmp_path / "roi.geojson", [(1300, 100), (1400, 100), (1400, 300)])
    done = cli("detect", slide, "--weights", weights, "--out", tmp_path / "out", "--roi", roi)
    assert done.code == 1
    assert "roi.geojson: lies outside the 1200 x 1200 px of one.tif" in done.error
    assert not list((tmp_path / "out").glob("*"))


# --- answers ----------------------------------------------------------------------------------


def test_the_hotspot_is_where_most_of_them_lie(weights: Path, tmp_path: Path) -> None:
    """At 0.5 µm/px a circle of 0.01 mm² has a radius of 113 px."""
    crowd = [(300, 300), (350, 300), (300, 360)]
    cells = [Cell(x, y, 0.9) for x, y in (*crowd, (800, 800), (1000, 300))]
    write_slide(tmp_path / "s.tif", paint(SIDE, SIDE, cells, size=16), mpp=0.5, steps=(4,))
    options = DetectOptions(hotspot_mm2=0.01)
    (folder,) = detect(tmp_path / "s.tif", weights, tmp_path / "out", options)
    found = summary(folder)
    for name in ("circle", "square"):
        hotspot = found["hotspot"][name]
        assert (hotspot["count"], hotspot["area_mm2"]) == (3, 0.01)
        assert abs(hotspot["x"] - 317) < 60 and abs(hotspot["y"] - 320) < 60
        assert hotspot["x_um"] == hotspot["x"] * 0.5
    rules = {rule["rule"]: rule for rule in found["scores"]}
    assert len(rules) == 3
    assert all(rule["source"] and rule["score"] is None for rule in rules.values())  # 0.36 mm²
    page = (folder / "report.html").read_text()
    assert "For research use only" in page
    assert all(name in page for name in rules)


def test_the_organisers_files_are_written_when_all_is_done(
    slide: Path, weights: Path, tmp_path: Path, cli: Cli
) -> None:
    out = tmp_path / "out"
    done = cli(
        "detect", slide.parent, "--weights", weights, "--out", out, "--submission", "atypia14"
    )
    assert done.code == 0, done.err
    (table,) = (out / "submission").rglob("*.csv")
    assert len(table.read_text().splitlines()) == 4


def test_a_submission_that_is_not_known(slide: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--submission 'kmit': expected atypia14, tupac16, midog"):
        detect(slide, weights, tmp_path / "out", DetectOptions(submission="kmit"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--hotspot-mm2", "0"), "--hotspot-mm2 0: expected an area above 0"),
        (("--hotspot-mm2", "nan"), "--hotspot-mm2: nan is not a number"),
        (("--threshold", "nan"), "'--threshold'"),
        (("--device", "0,1"), "--device 0,1: one process uses one GPU; start 2 of them"),
        (("--engine", "tpu"), "--engine tpu: expected one of auto"),
    ],
)
def test_a_wrong_call(
    slide: Path, weights: Path, tmp_path: Path, cli: Cli, given: tuple[str, str], said: str
) -> None:
    done = cli("detect", slide, "--weights", weights, "--out", tmp_path / "out", *given)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert not (tmp_path / "out").exists()


# --- real slides ------------------------------------------------------------------------------


def test_a_real_slide_is_searched_at_the_models_scale(
    weights: Path, tmp_path: Path, detector: PixelDetector, capsys: pytest.CaptureFixture[str]
) -> None:
    """An Aperio slide of 0.499 µm/px under a model of 0.25."""
    path = real("slides") / "CMU-1-Small-Region.svs"
    detector.card = card(mpp=(0.25, 0.25), tile=512, imgsz=512, overlap=64)
    (folder,) = detect(path, weights, tmp_path / "out", DetectOptions())
    found = summary(folder)
    assert (found["size"], found["mpp"]) == ([2220, 2967], pytest.approx([0.499, 0.499]))
    assert 0.4 < found["tissue_mm2"] < 0.8  # of 1.64 mm², by eye
    assert "0.499 µm/px, read at the model's 0.25" in capsys.readouterr().err
    assert (folder / "overlay.png").stat().st_size > 1e6


def test_real_frames_are_slides_too(weights: Path, tmp_path: Path, cli: Cli) -> None:
    frames = sorted((real("mitos_atypia_14") / "H07" / "frames" / "x40").glob("*.jpg"))[:2]
    folder = tmp_path / "mixed"
    folder.mkdir()
    for path in (*frames, real("slides") / "CMU-1-Small-Region.svs"):
        (folder / path.name).symlink_to(path)
    whole = frames[0].read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    done = cli("detect", folder, "--weights", weights, "--out", out, "--mpp", "0.2273,0.22753")
    assert done.code == 1
    assert "1 of 4 images left out" in done.error and "cut.jpg" in done.error
    assert "--mpp 0.2273 is used; 1 of 4 images say otherwise" in done.err
    assert len(list(out.iterdir())) == 3
    assert summary(out / frames[0].stem)["size"] in ([1663, 1485], [1662, 1485])
