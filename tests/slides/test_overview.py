"""A slide seen small, and where its tissue lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import real
from slides_rendered import textured, write_slide

from converters.errors import InputError
from mitoyolo.images import RGB
from mitoyolo.slides import overview as module
from mitoyolo.slides.overview import TissueMap, overview, tissue_map
from mitoyolo.slides.reader import open_slide
from mitoyolo.slides.scaled import Sized
from mitoyolo.tiles import Window

GLASS, TISSUE = (245, 243, 246), (210, 120, 170)
MPP = (1.0, 1.0)


def glass(width: int, height: int) -> RGB:
    return np.full((height, width, 3), GLASS, np.uint8)


def mapped(tmp_path: Path, image: RGB, mpp: tuple[float, float] = MPP, **how: Any) -> TissueMap:
    with open_slide(write_slide(tmp_path / "a.tif", image, **how)) as slide:
        return tissue_map(slide, mpp)


@pytest.mark.parametrize("steps", [(), (4,)])
def test_an_overview_is_the_slide_made_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: tuple[int, ...]
) -> None:
    image = textured(1200, 900)
    path = write_slide(tmp_path / "a.tif", image, steps=steps)
    with open_slide(path) as slide:
        small = overview(slide, 200)
        assert small.shape == (150, 200, 3)
        monkeypatch.setattr(module, "_BAND", 1200 * 40)  # in many bands, the same
        assert np.abs(overview(slide, 200).astype(int) - small).max() <= 1
        assert np.array_equal(overview(slide, 5000), image)  # never enlarged
        assert np.array_equal(small, Sized(slide, (200, 150)).read(Window(0, 0, 200, 150)))


def test_bands_hold_few_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BAND", 100_000)
    with open_slide(write_slide(tmp_path / "a.tif", textured(1200, 900))) as slide:
        largest = 0
        read = slide.read

        def watched(level: int, window: Window) -> RGB:
            nonlocal largest
            largest = max(largest, window.width * window.height)
            return read(level, window)

        monkeypatch.setattr(slide, "read", watched)
        overview(slide, 300)
    assert largest < 150_000 + 2 * 12 * 1200


def test_tissue_is_found_with_its_area(tmp_path: Path) -> None:
    image = glass(2400, 1600)
    image[400:1200, 800:2000] = TISSUE
    found = mapped(tmp_path, image)
    assert found.mask.shape == (200, 300)
    assert found.step == (8.0, 8.0)
    assert found.area_mm2(MPP) == pytest.approx(0.96, rel=0.01)
    assert found.area_mm2((0.5, 0.25)) == pytest.approx(0.12, rel=0.01)


def test_specks_go_and_holes_close(tmp_path: Path) -> None:
    image = glass(1600, 1600)
    image[400:1200, 400:1200] = TISSUE
    image[600:664, 600:664] = GLASS  # a lumen of (64 µm)²
    image[800:1000, 800:1000] = GLASS  # a hole of (200 µm)²
    image[100:164, 100:164] = TISSUE  # dirt
    image[100:300, 1300:1500] = TISSUE  # a small piece
    image[0:48, 800:848] = TISSUE  # at the slide's edge: perhaps the rim of a large piece
    found = mapped(tmp_path, image)
    lumen, hole, dirt = [600, 600, 664, 664], [820, 820, 980, 980], [100, 100, 164, 164]
    piece, rim = [1300, 100, 1500, 300], [800, 0, 848, 48]
    windows = np.array([lumen, hole, dirt, piece, rim], float)
    assert np.round(found.share(windows), 2).tolist() == [1.0, 0.0, 0.0, 1.0, 1.0]


def test_a_slide_smaller_than_a_speck_keeps_its_tissue(tmp_path: Path) -> None:
    found = mapped(tmp_path, np.full((50, 40, 3), TISSUE, np.uint8))
    assert found.mask.all()
    assert found.area_mm2(MPP) == pytest.approx(0.002)


def test_glass_alone_has_no_tissue(tmp_path: Path) -> None:
    found = mapped(tmp_path, glass(300, 200))
    assert found.area_mm2(MPP) == 0
    assert not found.touches(np.array([[0, 0, 300, 200]])).any()


def test_a_map_is_never_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_MAP", 50)
    image = np.full((300, 400, 3), TISSUE, np.uint8)
    found = mapped(tmp_path, image, (20.0, 20.0))
    assert found.mask.shape == (38, 50)
    assert found.area_mm2((20.0, 20.0)) == pytest.approx(48.0)


def test_shares_are_exact_for_parts_of_pixels() -> None:
    rng = np.random.default_rng(0)
    found = TissueMap(rng.random((13, 17)) < 0.5, (8.0, 4.0))
    fine = np.repeat(np.repeat(found.mask, 4, 0), 8, 1).astype(float)  # a level-0 pixel each
    corners = rng.integers(0, [136, 52], (200, 2, 2))
    windows = np.column_stack([corners.min(1), corners.max(1) + 1]).astype(float)
    expected = [fine[int(t) : int(b), int(x) : int(r)].mean() for x, t, r, b in windows]
    assert found.share(windows) == pytest.approx(np.array(expected), abs=1e-9)
    assert found.touches(windows).tolist() == [share > 0 for share in expected]


def test_windows_may_leave_the_slide_or_be_empty() -> None:
    found = TissueMap(np.ones((10, 10), np.bool_), (2.0, 2.0))
    windows = np.array(
        [[-10, 0, 10, 20], [10, 10, 30, 30], [30, 30, 40, 40], [5, 5, 5, 9], [19.9, 19.9, 21, 21]]
    )
    assert found.share(windows) == pytest.approx([0.5, 0.25, 0, 0, 0.01 / 1.21])
    assert found.touches(windows).tolist() == [True, True, False, False, True]
    assert found.share(np.empty((0, 4))).shape == (0,)


def broken(slide: Any, where: Window, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make every read that meets ``where`` (level 0) fail; the number of failures grows."""
    read, failed = slide.read, [0]

    def some(level: int, window: Window) -> RGB:
        apart = (
            window.x >= where.x + where.width or where.x >= window.x + window.width
            or window.y >= where.y + where.height or where.y >= window.y + window.height
        )  # fmt: skip
        if apart:
            return read(level, window)
        failed[0] += 1
        raise InputError("not readable there")

    monkeypatch.setattr(slide, "read", some)
    return failed


def test_a_damaged_place_is_white_to_see_and_tissue_to_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = glass(6000, 4000)
    image[:, :1000] = TISSUE
    with open_slide(write_slide(tmp_path / "a.tif", image)) as slide:
        broken(slide, Window(4000, 2000, 100, 100), monkeypatch)
        small, found = overview(slide, 750), tissue_map(slide, MPP)
    inside, near, far = (
        found.share(np.array([w], float))[0]
        for w in ([4000, 2000, 4100, 2100], [3000, 1200, 3200, 1400], [4800, 2700, 5900, 3900])
    )
    assert (inside, near, far) == (1.0, 0.0, 0.0)
    assert found.share(np.array([[0, 0, 984, 4000.0]])) == pytest.approx([1.0])
    assert (small[250:262, 500:512] == 255).all()
    assert np.abs(small[200:220, 200:220].astype(int) - GLASS).max() <= 2


def test_a_slide_that_cannot_be_read_at_all_ends_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FAILURES", 8)
    with open_slide(write_slide(tmp_path / "a.tif", glass(4000, 4000))) as slide:
        failed = broken(slide, Window(0, 0, 4000, 4000), monkeypatch)
        found = tissue_map(slide, (0.5, 0.5))
    assert found.mask.all()
    assert failed[0] < 20


def test_a_real_slide_has_its_tissue_found() -> None:
    with open_slide(real("slides") / "CMU-1-Small-Region.svs") as slide:
        assert slide.mpp is not None
        found = tissue_map(slide, slide.mpp)
        small = overview(slide, 500)
    assert small.shape == (500, 374, 3)
    assert 0.4 < found.area_mm2(slide.mpp) < 1.0  # of 1.64 mm²; looked at
