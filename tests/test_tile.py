"""``mitoyolo tile``: slides cut into tiles, and what is marked on tiles placed on the slide."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from conftest import Cli, document, ellipse, picture, real, table, tree

from converters.images import open_slide
from mitoyolo.images import RGB, read_rgb
from mitoyolo.tiles import grid

WHITE = 255
MPP = 0.25


def tissue(width: int, height: int, seed: int = 0) -> RGB:
    """Noise of which every pixel is tissue: saturated, and darker than glass."""
    pixels = np.random.default_rng(seed).integers(60, 120, (height, width, 3), dtype=np.uint8)
    pixels[..., 0] += 100
    return pixels


def slide(path: Path, pixels: RGB, mpp: tuple[float, float] | None = (MPP, MPP)) -> Path:
    """Write a tiled TIFF whose tags say its µm/px."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tags: dict[str, Any] = {}
    if mpp:
        tags = {"resolution": (1e4 / mpp[0], 1e4 / mpp[1]), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(64, 64), compression="zlib", photometric="rgb", **tags)
    return path


@pytest.fixture
def pixels() -> RGB:
    """330 x 210 px: at 100 px a tile four columns and three rows, the last ones shifted."""
    image = tissue(330, 210)
    image[:100, 100:200] = WHITE
    return image


@pytest.fixture
def t98(tmp_path: Path, pixels: RGB) -> Path:
    return slide(tmp_path / "slides" / "T_98.tif", pixels)


def cut(cli: Cli, path: Path, out: Path, *more: object) -> Path:
    """The folder of one slide's tiles."""
    result = cli("tile", path, out, "--size", 100, *more)
    assert result.code == 0, result.err
    assert result.out == f"{out / path.stem}\n"
    return out / path.stem


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob("batch-*/*"))


# --- cutting ----------------------------------------------------------------------------------


def test_tiles_are_the_slides_own_pixels(cli: Cli, t98: Path, pixels: RGB, tmp_path: Path) -> None:
    folder = cut(cli, t98, tmp_path / "out")
    names = [f"x{column}y{row}" for row in range(3) for column in range(4)]
    names.remove("x1y0")  # glass
    listed = rows(folder / "tiles.csv")
    assert [row["tile"] for row in listed] == names
    assert files(folder) == sorted(f"batch-001/{name}.png" for name in names)
    starts = {"x": [0, 100, 200, 230], "y": [0, 100, 110]}
    for row in listed:
        column, line = map(int, row["tile"][1:].split("y"))
        x, y = starts["x"][column], starts["y"][line]
        assert (int(row["x"]), int(row["y"])) == (x, y)
        assert (row["width"], row["height"]) == ("100", "100")
        assert (float(row["mpp_x"]), float(row["mpp_y"])) == (MPP, MPP)
        assert (row["source"], row["case"], row["split"]) == ("T_98", "T_98", "")
        tile = read_rgb(folder / "batch-001" / f"{row['tile']}.png")
        np.testing.assert_array_equal(tile, pixels[y : y + 100, x : x + 100])
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["tiles"], summary["glass"], summary["unreadable"]) == (11, 1, [])
    assert (summary["width"], summary["at_width"]) == (330, 330)


def test_batches_are_of_the_tiles_that_are_kept(cli: Cli, t98: Path, tmp_path: Path) -> None:
    folder = cut(cli, t98, tmp_path / "out", "--batch-size", 4)
    assert files(folder) == [
        *(f"batch-001/{name}.png" for name in ("x0y0", "x0y1", "x2y0", "x3y0")),
        *(f"batch-002/{name}.png" for name in ("x0y2", "x1y1", "x2y1", "x3y1")),
        *(f"batch-003/{name}.png" for name in ("x1y2", "x2y2", "x3y2")),
    ]


def test_a_batch_is_150_tiles_unless_the_call_says_otherwise(cli: Cli, tmp_path: Path) -> None:
    path = slide(tmp_path / "many.tif", tissue(32 * 19, 32 * 8))  # 152 tiles
    assert cli("tile", path, tmp_path / "out", "--size", 32).code == 0
    found = files(tmp_path / "out" / "many")
    assert len(found) == 152
    assert [name for name in found if "batch-002" in name] == [
        "batch-002/x17y7.png",
        "batch-002/x18y7.png",
    ]


def test_tiles_are_500_px_at_a_quarter_micrometre_unless_the_call_says_otherwise(
    cli: Cli, tmp_path: Path
) -> None:
    path = slide(tmp_path / "s.tif", tissue(300, 260), (0.5, 0.5))
    assert cli("tile", path, tmp_path / "out").code == 0
    listed = rows(tmp_path / "out" / "s" / "tiles.csv")
    assert [(row["x"], row["y"], row["width"], row["mpp_x"]) for row in listed] == [
        ("0", "0", "500", "0.25"),
        ("100", "0", "500", "0.25"),
        ("0", "20", "500", "0.25"),
        ("100", "20", "500", "0.25"),
    ]


@pytest.mark.parametrize(("columns", "kept"), [(10, True), (9, False)])
def test_the_least_share_of_tissue_is_enough(
    cli: Cli, tmp_path: Path, columns: int, kept: bool
) -> None:
    image = np.full((100, 200, 3), WHITE, np.uint8)
    image[:, :100] = tissue(100, 100)
    image[:, 100 : 100 + columns] = tissue(columns, 100)
    path = slide(tmp_path / "s.tif", image)
    result = cli("tile", path, tmp_path / "out", "--size", 100)
    assert (tmp_path / "out" / "s" / "batch-001" / "x1y0.png").exists() == kept
    line = f"{1 + kept} of 2 tiles kept, {1 - kept} left out with less than 0.1 of tissue"
    assert line in result.err


def test_glass_is_kept_when_asked_for(cli: Cli, t98: Path, tmp_path: Path) -> None:
    assert len(files(cut(cli, t98, tmp_path / "out", "--min-tissue", 0))) == 12


@pytest.mark.parametrize("mpp", [(0.5, 0.5), (0.499, 0.47), (0.1, 0.11), (0.2455, 0.26)])
def test_what_is_seen_is_where_the_numbers_say(
    cli: Cli, tmp_path: Path, mpp: tuple[float, float]
) -> None:
    image = tissue(432, 297)
    image[120:140, 151:181] = (0, 0, 255)  # around (166, 130)
    path = slide(tmp_path / "s.tif", image, mpp)
    folder = cut(cli, path, tmp_path / "out")
    summary = json.loads((folder / "summary.json").read_text())
    scale = (432 / summary["at_width"], 297 / summary["at_height"])
    assert summary["at_width"] == round(432 * mpp[0] / MPP)
    assert summary["at_height"] == round(297 * mpp[1] / MPP)
    weight, across, down = 0.0, 0.0, 0.0
    for row in rows(folder / "tiles.csv"):
        assert (float(row["mpp_x"]), float(row["mpp_y"])) == (MPP, MPP)
        column, line = map(int, row["tile"][1:].split("y"))
        # of two tiles that overlap the first shows it; the last begin where those before end
        left = 100 * column - int(row["x"])
        top = 100 * line - int(row["y"])
        tile = read_rgb(folder / "batch-001" / f"{row['tile']}.png").astype(float)
        blue = np.clip(tile[..., 2] - tile[..., 0] - 20, 0, None)[top:, left:]
        y, x = np.indices(blue.shape) + 0.5
        weight += blue.sum()
        across += (blue * (x + left + int(row["x"]))).sum()
        down += (blue * (y + top + int(row["y"]))).sum()
    assert across / weight * scale[0] == pytest.approx(166, abs=0.15)
    assert down / weight * scale[1] == pytest.approx(130, abs=0.15)


def test_a_slide_smaller_than_a_tile_is_one_tile(cli: Cli, tmp_path: Path) -> None:
    image = tissue(90, 70)
    folder = cut(cli, slide(tmp_path / "s.tif", image), tmp_path / "out")
    (row,) = rows(folder / "tiles.csv")
    assert (row["tile"], row["x"], row["y"], row["width"], row["height"]) == (
        "x0y0", "0", "0", "90", "70",
    )  # fmt: skip
    np.testing.assert_array_equal(read_rgb(folder / "batch-001" / "x0y0.png"), image)


def test_level_0_keeps_its_own_micrometres(cli: Cli, tmp_path: Path) -> None:
    image = tissue(120, 110)
    path = slide(tmp_path / "s.tif", image, (0.2502, 0.2502))  # as many px at 0.25
    folder = cut(cli, path, tmp_path / "out")
    (first, *_) = rows(folder / "tiles.csv")
    assert float(first["mpp_x"]) == pytest.approx(0.2502)
    np.testing.assert_array_equal(read_rgb(folder / "batch-001" / "x0y0.png"), image[:100, :100])


def test_threads_change_nothing(cli: Cli, t98: Path, tmp_path: Path) -> None:
    one = cut(cli, t98, tmp_path / "one", "--workers", 1)
    many = cut(cli, t98, tmp_path / "many", "--workers", 7)
    assert tree(one) == tree(many)


def test_a_real_slide(cli: Cli, tmp_path: Path) -> None:
    path = real("slides") / "CMU-1-Small-Region.svs"
    result = cli("tile", path, tmp_path, "--at-mpp", 0.499)
    assert result.code == 0, result.err
    folder = tmp_path / path.stem
    listed = rows(folder / "tiles.csv")
    assert 10 < len(listed) < 30  # 5 columns, 6 rows, a third of it glass
    with open_slide(path) as opened:
        for row in listed[::5]:
            place = (int(row["x"]), int(row["y"]))
            region = np.asarray(opened.read_region(place, 0, (500, 500)))[..., :3]
            tile = read_rgb(folder / "batch-001" / f"{row['tile']}.png")
            np.testing.assert_array_equal(tile, region)


# --- begun, finished, and continued -----------------------------------------------------------


def test_what_was_killed_is_continued(cli: Cli, t98: Path, tmp_path: Path) -> None:
    folder = cut(cli, t98, tmp_path / "out", "--batch-size", 4)
    whole = tree(folder)
    (folder / "summary.json").unlink()
    (folder / "tiles.csv").unlink()
    (folder / "batch-001" / "x2y0.png").unlink()
    shutil.rmtree(folder / "batch-003")
    (folder / "batch-002" / "x0y2.png").rename(folder / "batch-001" / "x0y2.png")
    (folder / "batch-001" / "x0y0.png").write_bytes(b"")
    short = folder / "batch-002" / "x1y1.png"
    short.write_bytes(short.read_bytes()[:-20])
    (folder / "batch-001" / ".part-0123.png").write_bytes(b"half")
    stays = folder / "batch-002" / "x3y1.png"
    before = stays.stat()
    cut(cli, t98, tmp_path / "out", "--batch-size", 4)
    assert tree(folder) == whole
    assert (stays.stat().st_ino, stays.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_full_disk_is_one_line_and_the_same_call_continues(
    cli: Cli, t98: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mitoyolo import tile

    whole = tree(cut(cli, t98, tmp_path / "whole"))
    written = 0

    def write_bytes(path: Path, data: bytes) -> None:
        nonlocal written
        written += 1
        if written > 5:
            raise OSError(28, "No space left on device", str(path))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)

    with monkeypatch.context() as patched:
        patched.setattr(tile, "write_bytes", write_bytes)
        result = cli("tile", t98, tmp_path / "out", "--size", 100)
    assert result.code == 1
    assert "No space left on device; free some space" in result.error
    folder = tmp_path / "out" / "T_98"
    assert len(files(folder)) == 5 and not (folder / "summary.json").exists()
    document(tmp_path / "json" / "T_98" / "0_0.json", ellipse(10, 10))
    refused = cli(
        "convert", tmp_path / "json", tmp_path / "d", "--from", "cadd4mbc", "--images",
        tmp_path / "out", "--unlabelled", "skip",
    )  # fmt: skip
    assert refused.code == 1 and "unfinished tiles of a slide" in refused.error
    assert tree(cut(cli, t98, tmp_path / "out")) == whole


def test_a_finished_folder_is_left_alone(cli: Cli, t98: Path, tmp_path: Path) -> None:
    folder = cut(cli, t98, tmp_path / "out")
    (folder / "batch-001" / "x0y0.png").unlink()
    result = cli("tile", t98, tmp_path / "out", "--size", 100)
    assert result.code == 0 and "finished already" in result.err
    assert not (folder / "batch-001" / "x0y0.png").exists()


@pytest.mark.parametrize(
    "other",
    [
        ("--size", 90),
        ("--batch-size", 7),
        ("--min-tissue", 0.2),
        ("--at-mpp", 0.3),
        ("--mpp", 0.26),
    ],
)
def test_another_call_needs_overwrite(
    cli: Cli, t98: Path, tmp_path: Path, other: tuple[object, ...]
) -> None:
    cut(cli, t98, tmp_path / "out")
    call = ("tile", t98, tmp_path / "out", "--size", 100, *other)
    result = cli(*call)
    assert result.code == 1
    assert f"with another {str(other[0])[2:].replace('-', '_')}" in result.error
    assert cli(*call, "--overwrite").code == 0
    assert cli("tile", t98, tmp_path / "fresh", "--size", 100, *other).code == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_a_slide_that_has_changed_is_another(cli: Cli, t98: Path, tmp_path: Path) -> None:
    cut(cli, t98, tmp_path / "out")
    slide(t98, tissue(330, 210, 5))
    result = cli("tile", t98, tmp_path / "out", "--size", 100)
    assert result.code == 1 and "with another state" in result.error


# --- bad input --------------------------------------------------------------------------------


def test_of_several_slides_the_bad_ones_are_reported(cli: Cli, t98: Path, tmp_path: Path) -> None:
    other = slide(tmp_path / "slides" / "good.tif", tissue(120, 120))
    broken = tmp_path / "slides" / "broken.tif"
    broken.write_bytes(t98.read_bytes()[:200])
    unknown = slide(tmp_path / "slides" / "unknown.tif", tissue(120, 120), None)
    glass = slide(tmp_path / "slides" / "glass.tif", np.full((120, 120, 3), WHITE, np.uint8))
    out = tmp_path / "out"
    result = cli(
        "tile", broken, t98, unknown, glass, tmp_path / "none.svs", other, out, "--size", 100
    )
    assert result.code == 1
    assert "4 of 6 slides left out" in result.error
    for text in ("broken.tif: ", "unknown.tif: no µm/px", "none.svs: no such file", "glass.tif: "):
        assert text in result.error
    assert sorted(path.name for path in out.iterdir()) == ["T_98", "good"]
    assert tree(out / "T_98") == tree(cut(cli, t98, tmp_path / "alone"))


def test_two_slides_of_one_name(cli: Cli, t98: Path, tmp_path: Path) -> None:
    twin = slide(tmp_path / "other" / "T_98.tiff", tissue(120, 120))
    result = cli("tile", t98, twin, tmp_path / "out")
    assert result.code == 1
    assert f"{twin}: its tiles would go into the folder of {t98}" in result.error
    assert not (tmp_path / "out").exists()


def test_no_micrometres_a_pixel(cli: Cli, tmp_path: Path) -> None:
    path = slide(tmp_path / "s.tif", tissue(120, 120), None)
    result = cli("tile", path, tmp_path / "out")
    assert result.code == 1 and "s.tif: no µm/px" in result.error and "--mpp" in result.error
    assert not (tmp_path / "out" / "s").exists()
    folder = cut(cli, path, tmp_path / "out", "--mpp", "0.5,0.25")
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["at_width"], summary["at_height"]) == (240, 120)
    assert summary["mpp"] == [0.5, 0.25]


def test_the_stated_micrometres_win_and_it_is_said(cli: Cli, t98: Path, tmp_path: Path) -> None:
    other = slide(tmp_path / "slides" / "b.tif", tissue(120, 120))
    result = cli("tile", t98, other, tmp_path / "out", "--mpp", 0.5)
    assert "--mpp 0.5 is used; 2 of 2 slides say otherwise (T_98.tif: 0.25)" in result.err
    assert json.loads((tmp_path / "out/T_98/summary.json").read_text())["at_width"] == 660


def test_a_slide_without_tissue_leaves_nothing(cli: Cli, tmp_path: Path) -> None:
    path = slide(tmp_path / "s.tif", np.full((120, 120, 3), 240, np.uint8))
    result = cli("tile", path, tmp_path / "out", "--size", 100)
    assert result.code == 1
    assert "s.tif: none of 4 tiles is left: 0 cannot be read" in result.error
    assert not (tmp_path / "out" / "s").exists()


def test_a_damaged_place_is_listed_and_the_rest_is_done(
    cli: Cli, t98: Path, tmp_path: Path
) -> None:
    whole = tree(cut(cli, t98, tmp_path / "whole"))
    with tifffile.TiffFile(t98) as tiff:
        page = tiff.pages.first
        at, length = page.dataoffsets[1], page.databytecounts[1]  # px 64 to 128 of the first row
    data = bytearray(t98.read_bytes())
    data[at : at + length] = bytes(length)
    t98.write_bytes(data)
    result = cli("tile", t98, tmp_path / "out", "--size", 100)
    assert result.code == 0
    assert "warning: 2 tiles of T_98.tif cannot be read" in result.err
    folder = tmp_path / "out" / "T_98"
    summary = json.loads((folder / "summary.json").read_text())
    assert [item["tile"] for item in summary["unreadable"]] == ["x0y0", "x1y0"]
    assert (summary["tiles"], summary["glass"]) == (10, 0)
    for name, content in tree(folder).items():
        if name.endswith(".png"):
            assert content == whole[name]
    assert not (folder / "batch-001" / "x0y0.png").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--size", 10), "--size"),
        (("--min-tissue", "nan"), "--min-tissue"),
        (("--min-tissue", 1.5), "--min-tissue"),
        (("--at-mpp", "nan"), "--at-mpp"),
        (("--mpp", "0.25,x"), "--mpp"),
        (("--batch-size", 0), "--batch-size"),
    ],
)
def test_wrong_calls(
    cli: Cli, t98: Path, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    result = cli("tile", t98, tmp_path / "out", *options)
    assert result.code == 2 and message in result.err
    assert not (tmp_path / "out").exists()


def test_a_slide_of_more_pixels_than_any(cli: Cli, t98: Path, tmp_path: Path) -> None:
    result = cli("tile", t98, tmp_path / "out", "--mpp", 50, "--at-mpp", 0.01)
    assert result.code == 1
    assert "T_98.tif, at 0.01 µm/px: an image of 1650000 x 1050000 px" in result.error
    assert not (tmp_path / "out").exists()


def test_a_folder_is_no_slide(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "slides").mkdir()
    result = cli("tile", tmp_path / "slides", tmp_path / "out")
    assert result.code == 1 and "not a file" in result.error


# --- back to the slide ------------------------------------------------------------------------


def convert(cli: Cli, src: Path, out: Path, images: Path, *more: object) -> Path:
    # one slide is one case
    shares = () if "--to" in more else ("--split", "0,0,1")
    result = cli(
        "convert", src, out, "--from", "cadd4mbc", "--images", images, "--unlabelled",
        "background", *shares, *more,
    )  # fmt: skip
    assert result.code == 0, result.err
    return out


ODD = (333, 217)
PLACES = [(12.25, 8.5), (150.125, 100.0625), (331.5, 215.75), (201.0, 33.3), (99.7, 190.1)]


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A slide of odd sizes, whose µm/px on the axes differ."""
    return slide(tmp_path / "slides" / "CMU-1-Small.tif", tissue(*ODD), (0.499, 0.47))


@pytest.mark.parametrize("at_mpp", [0.25, 0.45, 0.5, 0.8])
def test_marks_on_tiles_come_back_to_their_place_on_the_slide(
    cli: Cli, odd: Path, tmp_path: Path, at_mpp: float
) -> None:
    tiles = cut(cli, odd, tmp_path / "tiles", "--at-mpp", at_mpp)
    summary = json.loads((tiles / "summary.json").read_text())
    scale = (ODD[0] / summary["at_width"], ODD[1] / summary["at_height"])
    marks: dict[str, list[dict[str, Any]]] = {}
    for x, y in PLACES:  # each on every tile that shows it, as an annotator would
        across, down = x / scale[0], y / scale[1]
        for row in rows(tiles / "tiles.csv"):
            left, top = across - int(row["x"]), down - int(row["y"])
            if 0 <= left < int(row["width"]) and 0 <= top < int(row["height"]):
                mark = ellipse(left, top, 6 / scale[0], 4 / scale[1])
                marks.setdefault(row["tile"], []).append(mark)
    for name, found in marks.items():
        document(
            tmp_path / "json" / "CMU-1-Small" / "Batch-1" / f"{name[1:].replace('y', '_')}.json",
            *found,
        )
    out = convert(cli, tmp_path / "json", tmp_path / "csv", tmp_path / "tiles", "--to", "csv")
    kept = sorted((float(row["x"]), float(row["y"])) for row in rows(out / "annotations.csv"))
    assert kept == [pytest.approx(place, abs=1e-6) for place in sorted(PLACES)]
    inner = next(
        r for r in rows(out / "annotations.csv") if float(r["x"]) == pytest.approx(150.125)
    )
    assert (float(inner["width"]), float(inner["height"])) == pytest.approx((6, 4), abs=1e-6)
    assert inner["source"] == "CMU-1-Small"
    # a dataset is in the pixels of the tiles, and its images are theirs
    data = convert(cli, tmp_path / "json", tmp_path / "data", tmp_path / "tiles")
    inside = sorted(
        (float(row["x"]) * scale[0], float(row["y"]) * scale[1])
        for row in rows(data / "annotations.csv")
    )
    assert inside == [pytest.approx(place, abs=1e-6) for place in sorted(PLACES)]
    listed = {row["tile"]: row for row in rows(tiles / "tiles.csv")}
    manifest = rows(data / "manifest.csv")
    assert len(manifest) == len(listed)
    for row in manifest:
        name = row["tile"].removeprefix("CMU-1-Small")
        same = ("source", "case", "x", "y", "width", "height", "mpp_x", "mpp_y")
        assert [row[key] for key in same] == [listed[name][key] for key in same]
        (image,) = tiles.glob(f"batch-*/{name}.png")
        assert (data / "images/test" / f"{row['tile']}.png").read_bytes() == image.read_bytes()
        boxes = (data / "labels/test" / f"{row['tile']}.txt").read_text().splitlines()
        assert len(boxes) == len(marks.get(name, []))
    assert cli("convert", "--check", data).code == 0


def test_millimetres_are_those_of_the_slide(cli: Cli, odd: Path, tmp_path: Path) -> None:
    cut(cli, odd, tmp_path / "tiles")
    path = document(tmp_path / "json" / "CMU-1-Small" / "1_0.json", ellipse(20, 30))
    summary = json.loads((tmp_path / "tiles/CMU-1-Small/summary.json").read_text())
    x = (100 + 20) * ODD[0] / summary["at_width"] * 0.499 / 1000
    y = 30 * ODD[1] / summary["at_height"] * 0.47 / 1000
    for stated, factor in (((), 1.0), (("--mpp", 0.5), 2.0)):
        out = tmp_path / f"midog{factor}"
        convert(cli, path.parents[1], out, tmp_path / "tiles", "--to", "midog", *stated)
        (point,) = json.loads((out / "CMU-1-Small.json").read_text())["points"]
        mm = (point["point"][0] / factor, point["point"][1] / factor)
        # what the user states is of the tiles, whose size is rounded to whole px
        assert mm == pytest.approx((x, y), rel=1e-9 if factor == 1 else 2e-3)


@pytest.fixture
def tiles(cli: Cli, t98: Path, tmp_path: Path) -> Path:
    """Tiles of 100 px at x 0, 100, 200, 230 and y 0, 100, 110 of a slide; x1y0 is glass."""
    cut(cli, t98, tmp_path / "tiles")
    return tmp_path / "tiles"


def mark(tmp_path: Path, tile: str, *marks: dict[str, Any]) -> Path:
    """Annotate a tile as CADD4MBC does; the folder is returned."""
    root = tmp_path / "json"
    document(root / "T_98" / "Batch-1" / f"{tile}.json", *marks)
    return root


def boxes(data: Path, tile: str) -> int:
    return len((data / "labels/test" / f"T98{tile}.txt").read_text().splitlines())


def test_one_mitosis_on_two_tiles_is_one(cli: Cli, tiles: Path, tmp_path: Path) -> None:
    mark(tmp_path, "2_0", ellipse(50, 40), ellipse(60, 80))  # at (250, 40) and (260, 80)
    src = mark(tmp_path, "3_0", ellipse(35, 50), ellipse(51, 49))  # at (265, 50) and (281, 49)
    data = convert(cli, src, tmp_path / "data", tiles)
    report = json.loads((data / "report.json").read_text())
    assert (report["read"], report["kept"], report["dropped"]) == (4, 3, {"duplicate": 1})
    assert sorted(row["x"] for row in rows(data / "annotations.csv")) == ["250.0", "260.0", "281.0"]
    # 8 µm are 32 px; and each tile that shows one has it, whichever was annotated
    assert boxes(data, "x2y0") == boxes(data, "x3y0") == 3


def test_two_mitoses_on_one_tile_stay_two(cli: Cli, tiles: Path, tmp_path: Path) -> None:
    src = mark(tmp_path, "2_0", ellipse(50, 40), ellipse(55, 42))
    data = convert(cli, src, tmp_path / "data", tiles)
    assert len(rows(data / "annotations.csv")) == 2


def test_two_mitoses_beside_a_seam_stay_two(cli: Cli, tiles: Path, tmp_path: Path) -> None:
    mark(tmp_path, "0_1", ellipse(98, 5))
    src = mark(tmp_path, "1_1", ellipse(3, 5))  # 5 px away, but where no tile shows both
    data = convert(cli, src, tmp_path / "data", tiles)
    assert len(rows(data / "annotations.csv")) == 2


def test_what_is_left_out_does_not_hide_another(cli: Cli, tiles: Path, tmp_path: Path) -> None:
    mark(tmp_path, "2_0", ellipse(50, 40, label={"value": "imposter"}))
    mark(tmp_path, "2_1", ellipse(50, 90, 4, 4))
    src = mark(tmp_path, "3_0", ellipse(20, 40))
    mark(tmp_path, "2_2", ellipse(50, 80))
    data = convert(cli, src, tmp_path / "data", tiles, "--min-area", 30)
    report = json.loads((data / "report.json").read_text())
    assert report["dropped"] == {"label": 1, "area": 1}
    assert [(row["x"], row["y"]) for row in rows(data / "annotations.csv")] == [
        ("250.0", "190.0"),
        ("250.0", "40.0"),
    ]


def test_a_mark_past_its_tile(cli: Cli, tiles: Path, tmp_path: Path) -> None:
    src = mark(
        tmp_path, "0_0",
        ellipse(50, 100),  # on x0y1, whose upper edge it is
        ellipse(104, 50),  # where x1y0 was left out as glass
        ellipse(-1, 50),  # past the slide's edge by a rounding
        ellipse(-9, 50),
    )  # fmt: skip
    data = convert(cli, src, tmp_path / "data", tiles)
    report = json.loads((data / "report.json").read_text())
    assert (report["kept"], report["dropped"]) == (2, {"outside": 2})
    assert (boxes(data, "x0y0"), boxes(data, "x0y1")) == (1, 1)
    places = [(row["x"], row["y"]) for row in rows(data / "annotations.csv")]
    assert places == [("50.0", "100.0"), ("0.0", "50.0")]
    reasons = {row["detail"] for row in rows(data / "dropped.csv")}
    assert "centroid (104, 50) is on no tile of T_98" in reasons


def test_a_mark_on_the_slides_corner_is_the_last_tiles(
    cli: Cli, tiles: Path, tmp_path: Path
) -> None:
    src = mark(tmp_path, "3_2", ellipse(100, 100))
    data = convert(cli, src, tmp_path / "data", tiles)
    (row,) = rows(data / "annotations.csv")
    assert (row["x"], row["y"]) == ("330.0", "210.0")
    assert boxes(data, "x3y2") == 1


def test_tiles_nobody_annotated(cli: Cli, tiles: Path, tmp_path: Path) -> None:
    src = mark(tmp_path, "0_0", ellipse(50, 50))
    call = ("convert", src, tmp_path / "d", "--from", "cadd4mbc", "--images", tiles)
    result = cli(*call, "--split", "0,0,1")
    assert result.code == 1 and "x0y1.png: no annotation file" in result.error
    assert cli(*call, "--split", "0,0,1", "--unlabelled", "skip").code == 0
    assert [row["tile"] for row in rows(tmp_path / "d" / "manifest.csv")] == ["T98x0y0"]
    report = json.loads((tmp_path / "d" / "report.json").read_text())
    assert report["unlabelled_images"] == 10


def test_a_damaged_tile_can_be_left_out(cli: Cli, tiles: Path, tmp_path: Path) -> None:
    src = mark(tmp_path, "0_1", ellipse(50, 50))
    mark(tmp_path, "2_1", ellipse(50, 50))
    image = tiles / "T_98" / "batch-001" / "x0y1.png"
    image.write_bytes(image.read_bytes()[:-2000])
    data = convert(cli, src, tmp_path / "data", tiles, "--bad", "drop")
    assert "T98x0y1" not in {row["tile"] for row in rows(data / "manifest.csv")}
    report = json.loads((data / "report.json").read_text())
    assert (report["kept"], report["dropped"]) == (1, {"unreadable_image": 1})


def test_marks_beside_the_tiles(cli: Cli, tiles: Path, tmp_path: Path) -> None:
    document(tiles / "T_98" / "Batch-1" / "0_0.json", ellipse(50, 50))
    out = tmp_path / "out"
    result = cli("convert", tiles, out, "--from", "cadd4mbc", "--unlabelled", "skip", "--to", "csv")
    assert result.code == 0, result.err
    assert [(row["source"], row["x"]) for row in rows(out / "annotations.csv")] == [
        ("T_98", "50.0")
    ]


def test_marks_in_another_format(cli: Cli, tiles: Path, tmp_path: Path) -> None:
    src = table(tmp_path / "marks.csv", "image,x,y", "T_98/batch-001/x3y2.png,20.5,30.25")
    result = cli(
        "convert", src, tmp_path / "out", "--from", "csv", "--images", tiles, "--to", "csv",
        "--unlabelled", "skip",
    )  # fmt: skip
    assert result.code == 0, result.err
    (row,) = rows(tmp_path / "out" / "annotations.csv")
    assert (row["source"], row["x"], row["y"]) == ("T_98", "250.5", "140.25")


def test_detections_on_tiles_are_scored_on_the_slide(cli: Cli, tiles: Path, tmp_path: Path) -> None:
    src = mark(tmp_path, "2_0", ellipse(50, 40))
    data = convert(cli, src, tmp_path / "data", tiles)
    found = table(
        tmp_path / "predictions.csv",
        "image,x,y,width,height,score,label",
        "T98x3y0,20,40,60,60,0.9,mitosis",  # the same place, seen on the next tile
        "T98x2y0,50,41,60,60,0.8,mitosis",  # and here once more: one detection
        "T98x0y2,50,40,60,60,0.7,mitosis",
    )
    result = cli("evaluate", "--truth", data, "--predictions", found, "--json")
    assert result.code == 0, result.err
    metrics = json.loads(result.out)
    assert (metrics["tp"], metrics["fp"], metrics["fn"], metrics["images"]) == (1, 1, 0, 1)


def test_tiles_of_several_slides(cli: Cli, t98: Path, tmp_path: Path) -> None:
    other = slide(tmp_path / "slides" / "T99.tif", tissue(150, 100, 1))
    assert cli("tile", t98, other, tmp_path / "tiles", "--size", 100).code == 0
    src = mark(tmp_path, "0_0", ellipse(50, 50))
    document(src / "T99" / "Batch-1" / "1_0.json", ellipse(50, 50))
    out = convert(cli, src, tmp_path / "csv", tmp_path / "tiles", "--to", "csv")
    places = [(row["source"], row["case"], row["x"]) for row in rows(out / "annotations.csv")]
    assert sorted(places) == [("T99", "T99", "100.0"), ("T_98", "T_98", "50.0")]


def test_what_is_written_into_the_table_is_known_of_the_slide(
    cli: Cli, tiles: Path, tmp_path: Path
) -> None:
    path = tiles / "T_98" / "tiles.csv"
    path.write_text(
        path.read_text()
        .replace("T_98,T_98,", "T_98,patient 7,")
        .replace("0.25,,\n", "0.25,XR,lung\n")
    )
    src = mark(tmp_path, "0_0", ellipse(50, 50))
    data = convert(cli, src, tmp_path / "data", tiles)
    for row in rows(data / "manifest.csv"):
        assert (row["case"], row["scanner"], row["tumour"]) == ("patient 7", "XR", "lung")
    coco = convert(cli, src, tmp_path / "coco", tiles, "--to", "coco")
    (image,) = json.loads((coco / "annotations.json").read_text())["images"]
    assert (image["file_name"], image["width"], image["height"]) == ("T_98.tif", 330, 210)


def test_two_folders_of_one_slide(cli: Cli, tiles: Path, tmp_path: Path) -> None:
    shutil.copytree(tiles / "T_98", tiles / "again")
    src = mark(tmp_path, "0_0", ellipse(50, 50))
    document(src / "again" / "0_1.json", ellipse(50, 50))
    result = cli(
        "convert", src, tmp_path / "d", "--from", "cadd4mbc", "--images", tiles, "--unlabelled",
        "skip",
    )  # fmt: skip
    assert result.code == 1 and "a second folder of tiles of T_98" in result.error


def test_augmented_copies_and_masks_of_tiles(cli: Cli, tiles: Path, tmp_path: Path) -> None:
    src = mark(tmp_path, "3_2", ellipse(50, 40))
    result = cli(
        "convert", src, tmp_path / "d", "--from", "cadd4mbc", "--images", tiles, "--unlabelled",
        "skip", "--split", "1,0,0", "--augment", "flips", "--masks",
    )  # fmt: skip
    assert result.code == 0, result.err
    tile = read_rgb(tiles / "T_98" / "batch-001" / "x3y2.png")
    (flipped, *_) = sorted((tmp_path / "d" / "images" / "train").glob("T98x3y2?*flip*"))
    copy = read_rgb(flipped)
    assert any(np.array_equal(copy, turned) for turned in (tile[:, ::-1], tile[::-1]))
    mask = cv2.imread(str(tmp_path / "d" / "masks" / "train" / "T98x3y2.png"))
    assert mask[40, 50].any() and not mask[40, 70].any()


@pytest.mark.parametrize("option", [("--tile", 64), ("--grid", "2x2"), ("--at-mpp", 0.5)])
def test_tiles_are_not_cut_or_resampled_again(
    cli: Cli, tiles: Path, tmp_path: Path, option: tuple[str, object]
) -> None:
    src = mark(tmp_path, "0_0", ellipse(50, 50))
    result = cli(
        "convert", src, tmp_path / "d", "--from", "cadd4mbc", "--images", tiles, "--unlabelled",
        "skip", *option,
    )  # fmt: skip
    assert result.code == 1
    assert f"{option[0]} cannot be applied to the tiles" in result.error
    assert not (tmp_path / "d").exists()


def test_a_run_file_of_someone_else_is_no_folder_of_tiles(cli: Cli, tmp_path: Path) -> None:
    src = mark(tmp_path, "0_0", ellipse(50, 40))
    picture(tmp_path / "pictures" / "T98" / "x0y0.png")
    for text in ("{", "[]", '{"command": "detect"}'):
        (tmp_path / "pictures" / "run.json").write_text(text)
        out = tmp_path / f"out{len(text)}"
        data = convert(cli, src, out, tmp_path / "pictures", "--mpp", 0.25)
        assert [row["source"] for row in rows(data / "annotations.csv")] == ["T98x0y0"]


def broken(folder: Path, name: str) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    listed = (folder / "tiles.csv").read_text()
    changes: dict[str, Any] = {
        "no index": lambda: (folder / "summary.json").unlink(),
        "no object": lambda: (folder / "summary.json").write_text("[]"),
        "no size": lambda: summary.pop("at_width"),
        "half a pixel": lambda: summary.update(width=330.5),
        "no mpp": lambda: summary.update(mpp=None),
        "negative mpp": lambda: summary.update(at_mpp=[-1, 1]),
        "a word": lambda: (folder / "tiles.csv").write_text(listed.replace(",230,", ",far,")),
        "outside": lambda: (folder / "tiles.csv").write_text(listed.replace(",230,", ",231,")),
        "a fraction": lambda: (folder / "tiles.csv").write_text(listed.replace(",230,", ",2.5,")),
        "no column": lambda: (folder / "tiles.csv").write_text(listed.replace("tile,", "tiel,", 1)),
        "no row": lambda: (folder / "tiles.csv").write_text(listed.replace("x0y0,", "x9y9,")),
        "another size": lambda: (folder / "tiles.csv").write_text(
            listed.replace(",0,0,100,", ",0,0,99,")
        ),
    }
    changes[name]()
    if name in ("no size", "half a pixel", "no mpp", "negative mpp"):
        (folder / "summary.json").write_text(json.dumps(summary))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no index", r"unfinished tiles"),
        ("no object", r"summary\.json: expected an object"),
        ("no size", r"summary\.json: no size"),
        ("half a pixel", r"summary\.json"),
        ("no mpp", r"summary\.json"),
        ("negative mpp", r"summary\.json: `at_mpp`"),
        ("a word", r"tiles\.csv, line \d+: 'far' is not a number"),
        ("outside", r"tiles\.csv, line \d+: a tile of"),
        ("a fraction", r"tiles\.csv, line \d+: a tile of"),
        ("no column", r"tiles\.csv, line 1: no column tile"),
        ("no row", r"x0y0\.png: no tile x0y0 in"),
        ("another size", r"x0y0\.png: 100 x 100 px, but 99 x 100"),
    ],
)
def test_a_damaged_folder_of_tiles_is_refused(
    cli: Cli, tiles: Path, tmp_path: Path, name: str, message: str
) -> None:
    src = mark(tmp_path, "0_0", ellipse(50, 50))
    broken(tiles / "T_98", name)
    for bad in ("stop", "drop"):
        result = cli(
            "convert", src, tmp_path / "d", "--from", "cadd4mbc", "--images", tiles,
            "--unlabelled", "skip", "--bad", bad,
        )  # fmt: skip
        assert result.code == 1
        assert re.search(message, result.error), result.error
        assert not (tmp_path / "d").exists()


def test_the_grid_is_that_of_convert(tiles: Path) -> None:
    listed = [(int(row["x"]), int(row["y"])) for row in rows(tiles / "T_98" / "tiles.csv")]
    windows = [(window.x, window.y) for window in grid(330, 210, 100)]
    assert listed == [place for place in windows if place != (100, 0)]
