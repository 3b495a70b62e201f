"""Opening and reading slides: every backend gives the pixels that a full decode gives."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from conftest import real
from PIL import Image
from slides_rendered import reduced, textured, write_slide, write_svs

from converters.errors import InputError
from mitoyolo.images import RGB, read_rgb
from mitoyolo.slides import picture, tiff
from mitoyolo.slides.picture import PictureSlide
from mitoyolo.slides.reader import open_slide
from mitoyolo.slides.tiff import TiffSlide
from mitoyolo.slides.vendor import VendorSlide
from mitoyolo.tiles import Window

WIDTH, HEIGHT = 301, 217
IMAGE = textured(WIDTH, HEIGHT)
WINDOWS = [
    Window(0, 0, WIDTH, HEIGHT), Window(0, 0, 1, 1), Window(WIDTH - 1, HEIGHT - 1, 1, 1),
    Window(63, 63, 2, 2), Window(64, 128, 64, 64), Window(100, 50, 130, 90),
    Window(0, 200, WIDTH, 17),
]  # fmt: skip

Kind = dict[str, Any]
KINDS: dict[str, Kind] = {
    "tiled": {},
    "tiled-lzw-predictor": {"compression": "lzw", "predictor": True},
    "tiled-uncompressed": {"compression": None},
    "pyramid": {"steps": (2, 4)},
    "sub-ifds": {"steps": (2, 4), "sub_ifds": True},
    "strips": {"tile": None, "rowsperstrip": 10},
    "strips-lzw": {"tile": None, "rowsperstrip": 7, "compression": "lzw"},
    "strips-uncompressed": {"tile": None, "rowsperstrip": 10, "compression": None},
    "one-strip": {"tile": None, "compression": None},
    "big-endian": {"byteorder": ">"},
}


def cut(image: RGB, window: Window) -> RGB:
    return image[window.y : window.y + window.height, window.x : window.x + window.width]


@pytest.mark.parametrize("kind", KINDS)
def test_windows_of_a_tiff_are_those_of_the_whole(tmp_path: Path, kind: str) -> None:
    how = dict(KINDS[kind])
    how.pop("byteorder", None)
    path = write_slide(tmp_path / "a.tif", IMAGE, (0.25, 0.3), **how)
    with open_slide(path) as slide:
        assert isinstance(slide, TiffSlide)
        assert slide.size == (WIDTH, HEIGHT)
        assert slide.mpp == pytest.approx((0.25, 0.3), rel=1e-5)
        for window in WINDOWS:
            assert np.array_equal(slide.read(0, window), cut(IMAGE, window))
        steps = how.get("steps", ())
        assert slide.levels == ((WIDTH, HEIGHT), *((WIDTH // s, HEIGHT // s) for s in steps))
        for level, step in enumerate(steps, 1):
            window = Window(3, 5, 40, 30)
            assert np.array_equal(slide.read(level, window), cut(reduced(IMAGE, step), window))
    assert np.array_equal(read_rgb(path), IMAGE)


def test_bytes_may_stand_in_either_order(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IMAGE, photometric="rgb", byteorder=">", tile=(64, 64))
    with open_slide(path) as slide:
        assert np.array_equal(slide.read(0, WINDOWS[0]), IMAGE)


@pytest.mark.parametrize("tile", [64, None], ids=["tiled", "strips"])
def test_jpeg_in_tiff_is_decoded_to_rgb(tmp_path: Path, tile: int | None) -> None:
    how = {"compression": "jpeg", "compressionargs": {"level": 95}}
    path = write_slide(tmp_path / "a.tif", IMAGE, tile=tile, **how)
    with open_slide(path) as slide, Image.open(path) as whole:
        pixels = slide.read(0, WINDOWS[0])
        assert np.abs(pixels.astype(int) - np.asarray(whole.convert("RGB"))).max() <= 2
        assert np.abs(pixels.astype(int) - IMAGE).mean() < 3


def test_aperio_s_slides_are_read_tile_by_tile_as_openslide_reads_them(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "a.svs", IMAGE, 0.31, steps=(2, 4))
    with open_slide(path) as slide, VendorSlide(path) as by_openslide:
        assert isinstance(slide, TiffSlide)
        assert slide.mpp == by_openslide.mpp == (0.31, 0.31)
        assert slide.levels == by_openslide.levels == ((301, 217), (150, 108), (75, 54))
        for window in WINDOWS:
            assert np.array_equal(slide.read(0, window), by_openslide.read(0, window))
        for level in (1, 2):
            whole = Window(0, 0, *slide.levels[level])
            assert np.array_equal(slide.read(level, whole), by_openslide.read(level, whole))


def test_an_aperio_slide_under_another_suffix_is_known_by_its_content(tmp_path: Path) -> None:
    with open_slide(write_svs(tmp_path / "a.tiff", IMAGE, 0.31)) as slide:
        assert slide.mpp == (0.31, 0.31)


@pytest.mark.parametrize("name", ["a.tif", "a.svs"])
def test_other_vendors_slides_are_read_by_openslide(tmp_path: Path, name: str) -> None:
    path = write_slide(  # the marks of a Trestle scanner
        tmp_path / name, IMAGE, software="MedScan", description="Objective Power=20", steps=(2,)
    )
    with open_slide(path) as slide:
        assert isinstance(slide, VendorSlide)
        assert slide.mpp is None
        for window in WINDOWS:
            assert np.array_equal(slide.read(0, window), cut(IMAGE, window))


def test_an_aperio_slide_that_cannot_be_taken_tile_by_tile_is_left_to_openslide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_svs(tmp_path / "a.svs", IMAGE, 0.31)
    monkeypatch.setattr(tiff, "LARGEST_PART", 1000)
    with open_slide(path) as slide:
        assert isinstance(slide, VendorSlide)
        assert slide.mpp == (0.31, 0.31)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg"])
def test_pictures_are_slides_of_one_level(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    assert cv2.imwrite(str(path), IMAGE[..., ::-1])
    with open_slide(path) as slide:
        assert isinstance(slide, PictureSlide)
        assert (slide.size, slide.levels, slide.mpp) == ((301, 217), ((301, 217),), None)
        whole = read_rgb(path)
        for window in WINDOWS:
            assert np.array_equal(slide.read(0, window), cut(whole, window))


@pytest.mark.parametrize(
    "how",
    [{"planarconfig": "separate"}, {"tile": None, "rowsperstrip": HEIGHT}],
    ids=["channels-apart", "one-large-strip"],
)
def test_what_cannot_be_taken_in_parts_is_decoded_whole_if_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Kind
) -> None:
    monkeypatch.setattr(tiff, "LARGEST_PART", 10_000 if "rowsperstrip" in how else 10**9)
    path = tmp_path / "a.tif"
    image = np.moveaxis(IMAGE, 2, 0) if "planarconfig" in how else IMAGE
    write_slide(path, image, **{"tile": None, **how})
    with open_slide(path) as slide:
        assert isinstance(slide, PictureSlide)
        assert slide.mpp == pytest.approx((0.25, 0.25), rel=1e-5)
        assert np.array_equal(slide.read(0, WINDOWS[5]), cut(IMAGE, WINDOWS[5]))
    monkeypatch.setattr(picture, "LARGEST_SLIDE", 1000)
    with pytest.raises(InputError, match=r"too many to be decoded at once.*(apart|too large)"):
        open_slide(path)


def test_a_window_costs_only_the_strips_it_touches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_slide(tmp_path / "a.tif", IMAGE, tile=None, rowsperstrip=10)
    with TiffSlide(path) as slide:
        decoded = []
        one = slide._decode
        monkeypatch.setattr(slide, "_decode", lambda parts, i: decoded.append(i) or one(parts, i))
        slide.read(0, Window(5, 25, 30, 20))
        assert decoded == [2, 3, 4]
        slide.read(0, Window(200, 35, 30, 20))
        assert decoded == [2, 3, 4, 5]  # what was decoded is kept


def test_what_is_kept_stays_under_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strip = 10 * WIDTH * 3
    monkeypatch.setattr(tiff, "CACHE", 3 * strip)
    path = write_slide(tmp_path / "a.tif", IMAGE, tile=None, rowsperstrip=10)
    with TiffSlide(path) as slide:
        for window in (*WINDOWS, *WINDOWS):
            assert np.array_equal(slide.read(0, window), cut(IMAGE, window))
        assert slide._cache._held == sum(
            part.result().nbytes for part in slide._cache._parts.values()
        )
        assert 0 < slide._cache._held <= 3 * strip


LARGE = """
import resource, sys
from pathlib import Path
from mitoyolo.slides.reader import open_slide
from mitoyolo.tiles import Window
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open_slide(Path(sys.argv[1])) as slide:
    print(slide.size, slide.read(0, Window(9000, 9000, 512, 512)).shape)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("compression", ["deflate", None])
def test_a_window_of_a_large_striped_file_costs_little_memory(
    tmp_path: Path, compression: str | None
) -> None:
    path = tmp_path / "a.tif"
    side, rows = 20_000, 100
    empty = np.full((rows, side, 3), 200, np.uint8)
    strip = tifffile.TIFF.COMPRESSORS[8](empty.tobytes()) if compression else None
    if strip:
        tifffile.imwrite(
            path, iter([strip] * (side // rows)), shape=(side, side, 3), dtype=np.uint8,
            photometric="rgb", compression=compression, rowsperstrip=rows,
        )  # fmt: skip
    else:  # a hole in the file system, 1.2 GB long
        tifffile.imwrite(path, shape=(side, side, 3), dtype=np.uint8, photometric="rgb")
    done = subprocess.run(
        [sys.executable, "-c", LARGE, path], capture_output=True, text=True, check=True, timeout=120
    )
    size, grown = done.stdout.splitlines()
    assert size == "(20000, 20000) (512, 512, 3)"
    assert int(grown) < 150  # MB; the whole is 1,200


def test_threads_read_what_one_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff, "CACHE", 100_000)  # so that parts are forgotten all the time
    image = textured(700, 500, seed=3)
    rng = np.random.default_rng(0)
    windows = [
        Window(int(x), int(y), 90, 80)
        for x, y in zip(rng.integers(0, 610, 80), rng.integers(0, 420, 80), strict=True)
    ]
    paths = [
        write_slide(tmp_path / "tiles.tif", image), write_svs(tmp_path / "vendor.svs", image),
        write_slide(tmp_path / "strips.tif", image, tile=None, rowsperstrip=9),
        write_slide(tmp_path / "raw.tif", image, tile=None, compression=None),
    ]  # fmt: skip
    for path in paths:
        opened = VendorSlide if path.stem == "vendor" else TiffSlide
        with opened(path) as slide, ThreadPoolExecutor(4) as pool:
            serial = [slide.read(0, window) for window in windows]
            for window, pixels in zip(
                windows, pool.map(lambda window: slide.read(0, window), windows), strict=True
            ):
                assert np.array_equal(pixels, serial[windows.index(window)])


# --- transparency -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha", "unspecified"])
def test_what_is_transparent_is_glass(tmp_path: Path, kind: str) -> None:
    alpha = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    alpha[:, 100:] = 128
    alpha[:, 200:] = 255
    part = alpha / 255
    colours = np.rint(IMAGE * part).astype(np.uint8) if kind == "assocalpha" else IMAGE
    path = write_slide(tmp_path / "a.tif", np.concatenate([colours, alpha], 2), extrasamples=[kind])
    with open_slide(path) as slide:
        pixels = slide.read(0, WINDOWS[0]).astype(int)
    expected = IMAGE if kind == "unspecified" else IMAGE * part + 255 * (1 - part)
    assert np.abs(pixels - expected).max() <= 1


def test_tiles_that_were_not_written_are_glass(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    data = tifffile.TIFF.COMPRESSORS[8](np.full((64, 64, 3), 90, np.uint8).tobytes())
    tifffile.imwrite(
        path, iter([data, b"", b"", data]), shape=(128, 128, 3), dtype=np.uint8,
        photometric="rgb", compression="deflate", tile=(64, 64),
    )  # fmt: skip
    with open_slide(path) as slide:
        pixels = slide.read(0, Window(0, 0, 128, 128))
    assert (pixels[:64, :64] == 90).all() and (pixels[64:, 64:] == 90).all()
    assert (pixels[:64, 64:] == 255).all() and (pixels[64:, :64] == 255).all()


# --- µm/px --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mpp", "found"), [(0.001, None), (352.8, None), (None, None)])
def test_a_resolution_that_no_microscope_has_says_nothing(
    tmp_path: Path, mpp: float | None, found: None
) -> None:
    with open_slide(write_slide(tmp_path / "a.tif", IMAGE, mpp)) as slide:
        assert slide.mpp is found


@pytest.mark.parametrize(
    ("size", "unit", "expected"),
    [(0.23, "µm", 0.23), (230.0, "nm", 0.23), (0.00023, "mm", 0.23), (0.23, None, 0.23),
     (0.23, "pixel", 0.5), (1e6, "µm", 0.5)],
)  # fmt: skip
def test_ome_tiff_says_its_pixel_size(
    tmp_path: Path, size: float, unit: str | None, expected: float
) -> None:
    metadata = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeY": 2 * size}
    if unit:
        metadata |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    path = write_slide(
        tmp_path / "a.ome.tif", IMAGE, (0.5, 1.0), steps=(2,), sub_ifds=True, metadata=metadata
    )
    with open_slide(path) as slide:
        assert slide.levels == ((301, 217), (150, 108))
        assert slide.mpp == pytest.approx((expected, 2 * expected), rel=1e-5)
        assert np.array_equal(slide.read(0, WINDOWS[5]), cut(IMAGE, WINDOWS[5]))


def test_imagej_says_its_pixel_size(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, IMAGE, imagej=True, resolution=(1 / 0.23, 1 / 0.46), metadata={"unit": "um"}
    )
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx((0.23, 0.46), rel=1e-5)
    tifffile.imwrite(path, IMAGE, imagej=True, resolution=(72, 72), metadata={"unit": "inch"})
    with open_slide(path) as slide:
        assert slide.mpp is None


def test_an_aperio_slide_with_a_wrong_mpp_says_nothing(tmp_path: Path) -> None:
    with open_slide(write_svs(tmp_path / "a.svs", IMAGE, 0.0)) as slide:
        assert slide.mpp is None


# --- what cannot be read ------------------------------------------------------------------------


def fails(path: Path, expected: str) -> None:
    with pytest.raises(InputError, match=expected) as error:
        open_slide(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_files_of_other_kinds_are_named(tmp_path: Path) -> None:
    fails(tmp_path / "none.tif", "no such file")
    fails(tmp_path, "not a file")
    for name in ("a.tif", "a.svs", "a.png", "a.jpg", "a.ndpi"):
        for data in (b"", b"II*\0", b"no image at all", os.urandom(2000)):
            (tmp_path / name).write_bytes(data)
            fails(tmp_path / name, "not a readable")
    (tmp_path / "a.txt").write_text("x")
    fails(tmp_path / "a.txt", r"neither a slide nor an image by its suffix \.txt")


@pytest.mark.parametrize(
    ("image", "photometric"),
    [(IMAGE[..., 0], "minisblack"), (IMAGE.astype(np.uint16), "rgb"),
     (np.concatenate([IMAGE, IMAGE[..., :1]], 2), "separated")],
    ids=["grey", "16-bit", "cmyk"],
)  # fmt: skip
def test_what_is_not_8_bit_colour_is_refused(
    tmp_path: Path, image: RGB, photometric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image, photometric=photometric, tile=(64, 64))
    fails(path, "expected 8-bit RGB|not a readable image")
    monkeypatch.setattr(picture, "LARGEST_SLIDE", 1000)
    fails(path, r"too many to be decoded.*(channel|bits|SEPARATED)")


@pytest.mark.parametrize("how", [{}, {"tile": None, "compression": None}], ids=["tiled", "raw"])
def test_a_file_that_is_cut_off_is_refused_at_once(tmp_path: Path, how: Kind) -> None:
    path = write_slide(tmp_path / "a.tif", IMAGE, **how)
    data = path.read_bytes()
    for part in (0.02, 0.5, 0.99):
        path.write_bytes(data[: int(len(data) * part)])
        fails(path, "not a readable")


def test_a_header_that_lies_about_the_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IMAGE, photometric="rgb", tile=(64, 64), compression="deflate")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["ImageWidth"].overwrite(900_000)
    fails(path, "not a readable")


def test_a_slide_whose_tiles_need_all_memory_is_refused(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "a.tif", IMAGE, software="MedScan", description="x", steps=(2,))
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[1].tags["TileLength"].overwrite(300_000_000)
    fails(path, "not a readable slide")


def damage(path: Path, page: int, index: int) -> None:
    """Overwrite a strip or tile with what no decoder takes."""
    with tifffile.TiffFile(path) as file:
        at, count = file.pages[page].dataoffsets[index], file.pages[page].databytecounts[index]
    with path.open("r+b") as handle:
        handle.seek(at)
        handle.write(b"\0" * count)


@pytest.mark.parametrize("opened", [TiffSlide, VendorSlide])
def test_a_damaged_place_is_named_and_the_rest_is_read(tmp_path: Path, opened: type[Any]) -> None:
    path = write_slide(tmp_path / "a.tif", IMAGE, steps=(2,))
    damage(path, 0, 6)  # of five in a row: the second row's second
    good = [Window(0, 0, 301, 64), Window(0, 0, 64, 217), Window(128, 64, 100, 100)]
    with opened(path) as slide:
        for _ in range(2):
            with pytest.raises(InputError, match="x 60, y 70, 30 x 20 px: not readable there") as e:
                slide.read(0, Window(60, 70, 30, 20))
            assert str(path) in str(e.value) and "\n" not in str(e.value)
            for window in good:
                assert np.array_equal(slide.read(0, window), cut(IMAGE, window))
        assert np.array_equal(slide.read(1, Window(0, 0, 150, 108)), reduced(IMAGE, 2))


@pytest.mark.parametrize("opened", [TiffSlide, VendorSlide])
def test_threads_that_meet_damage_leave_the_others_be(tmp_path: Path, opened: type[Any]) -> None:
    path = write_slide(tmp_path / "a.tif", IMAGE)
    damage(path, 0, 6)

    def look(slide: Any, window: Window) -> bool:
        try:
            return bool(np.array_equal(slide.read(0, window), cut(IMAGE, window)))
        except InputError:
            return window.x == 64

    windows = [Window(64, 64, 64, 64), Window(128, 64, 100, 100), Window(0, 0, 64, 64)] * 20
    with opened(path) as slide, ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda window: look(slide, window), windows))


def test_damage_in_a_coarse_level_names_the_level(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "a.tif", IMAGE, steps=(2,))
    damage(path, 1, 0)
    with open_slide(path) as slide:
        with pytest.raises(InputError, match="of level 1"):
            slide.read(1, Window(0, 0, 10, 10))
        assert np.array_equal(slide.read(0, WINDOWS[0]), IMAGE)


def test_a_level_that_cannot_be_used_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(IMAGE, photometric="rgb", tile=(64, 64))
        file.write(reduced(IMAGE, 2)[..., 0], tile=(64, 64), subfiletype=1)  # grey
        file.write(textured(90, 90), photometric="rgb", subfiletype=1)  # a label's picture
        file.write(reduced(IMAGE, 4), photometric="rgb", tile=(64, 64), subfiletype=1)
        file.write(textured(30, 30), photometric="rgb")  # another picture
    with open_slide(path) as slide:
        assert slide.levels == ((301, 217), (75, 54))
        assert np.array_equal(slide.read(1, Window(0, 0, 75, 54)), reduced(IMAGE, 4))


@pytest.mark.parametrize(
    "window",
    [Window(-1, 0, 5, 5), Window(0, 0, 0, 5), Window(300, 0, 5, 5), Window(0, 213, 5, 5)],
)
@pytest.mark.parametrize("opened", [TiffSlide, VendorSlide, PictureSlide])
def test_pixels_outside_are_not_invented(tmp_path: Path, opened: type[Any], window: Window) -> None:
    path = write_slide(tmp_path / "a.tif", IMAGE)
    with opened(path) as slide, pytest.raises(ValueError, match="is not inside 301 x 217 px"):
        slide.read(0, window)


@pytest.mark.parametrize("opened", [TiffSlide, VendorSlide])
def test_no_file_stays_open(tmp_path: Path, opened: type[Any]) -> None:
    path = write_slide(tmp_path / "a.tif", IMAGE)

    def held() -> int:
        return sum(link.resolve() == path for link in Path("/proc/self/fd").iterdir())

    with opened(path) as slide:
        slide.read(0, WINDOWS[0])
        assert held() == (opened is TiffSlide)  # OpenSlide opens it when it reads
    slide.close()
    assert held() == 0


def test_a_real_slide_of_aperio() -> None:
    path = real("slides") / "CMU-1-Small-Region.svs"
    whole = read_rgb(path)
    for slide in (open_slide(path), VendorSlide(path)):
        assert slide.size == (2220, 2967)
        assert slide.mpp == (0.499, 0.499)
        for window in (Window(2000, 2800, 220, 167), Window(700, 900, 512, 512)):
            assert np.array_equal(slide.read(0, window), cut(whole, window))
        assert whole.std() > 10
