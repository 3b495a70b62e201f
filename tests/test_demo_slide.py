"""Rendered slides: their pyramid, their µm/px, and figures where the truth says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
import tifffile
from scipy.spatial.distance import pdist
from slides_rendered import textured

from converters.errors import InputError
from converters.image_mpp import image_mpp
from mitoyolo.demo import slide
from mitoyolo.demo.slide import Truth, render_slide
from mitoyolo.slides.overview import tissue_map
from mitoyolo.slides.reader import open_slide
from mitoyolo.tiles import Window

WIDTH, HEIGHT = 2100, 1700


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Truth]]:
    path = tmp_path_factory.mktemp("slide") / "a.tif"
    truths = render_slide(path, width=WIDTH, height=HEIGHT, mitoses=80, imposters=120, seed=1)
    return path, truths


def test_it_is_a_pyramid_with_its_scale(rendered: tuple[Path, list[Truth]]) -> None:
    path, _ = rendered
    assert image_mpp(path) == pytest.approx((0.25, 0.25), rel=1e-5)
    with openslide.OpenSlide(path) as slide:
        assert slide.level_dimensions == ((2100, 1700), (525, 425))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.25, rel=1e-5)
        whole = np.asarray(slide.read_region((0, 0), 0, (WIDTH, HEIGHT)))[..., :3]
    with open_slide(path) as own:
        assert own.levels == ((2100, 1700), (525, 425))
        pixels = own.read(0, Window(0, 0, WIDTH, HEIGHT))
        coarse = own.read(1, Window(0, 0, 525, 425))
    assert np.abs(pixels.astype(int) - whole).max() <= 2  # two JPEG decoders
    means = pixels.reshape(425, 4, 525, 4, 3).mean((1, 3))
    apart = np.abs(coarse - means).mean()
    assert apart < 0.4 * np.abs(coarse[1:] - means[:-1]).mean()
    assert apart < 0.4 * np.abs(coarse[:, 1:] - means[:, :-1]).mean()
    with tifffile.TiffFile(path) as file:
        assert all(page.is_tiled for page in file.pages)


def test_figures_are_dark_where_the_truth_says(rendered: tuple[Path, list[Truth]]) -> None:
    path, truths = rendered
    assert truths == sorted(truths, key=lambda truth: (truth.y, truth.x))
    count = Counter(truth.label for truth in truths)
    assert set(count) == {"mitosis", "imposter"}
    with open_slide(path) as slide:
        found = tissue_map(slide, (0.25, 0.25))
        area = found.area_mm2((0.25, 0.25))
        assert count["mitosis"] == pytest.approx(80 * area, rel=0.3)
        assert count["imposter"] == pytest.approx(120 * area, rel=0.3)
        darkest, around = [], []
        for truth in truths:
            x, y = int(truth.x), int(truth.y)
            near = slide.read(0, Window(x - 16, y - 16, 32, 32))
            wide = slide.read(0, Window(x - 40, y - 40, 80, 80))
            darkest.append(np.quantile(near[..., 0], 0.05))
            around.append(np.median(wide[..., 0]))
    assert np.mean(np.array(darkest) < np.array(around) - 50) > 0.97
    assert pdist(np.array([(t.x, t.y) for t in truths])).min() * 0.25 > 2 * 9.5


def test_the_centre_of_what_is_dark_is_the_truth(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    truths = render_slide(path, width=1500, height=1500, mitoses=150, imposters=0, seed=3)
    assert {truth.label for truth in truths} == {"mitosis"}
    away = []
    with open_slide(path) as slide:
        for truth in truths:
            left, top = int(truth.x) - 24, int(truth.y) - 24
            red = slide.read(0, Window(left, top, 48, 48))[..., 0].astype(float)
            rows, columns = np.nonzero(red < red.min() + 40)
            away.append((columns.mean() + 0.5 + left - truth.x, rows.mean() + 0.5 + top - truth.y))
    assert len(away) >= 10
    assert np.abs(np.median(away, axis=0)).max() < 2  # px: no turn moves all of them
    assert np.median(np.hypot(*np.array(away).T)) < 6


def test_the_same_seed_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slide, "BLOCKS", 4)
    monkeypatch.setattr(slide, "FIGURES", 4)
    how = {"width": 600, "height": 530, "mitoses": 100.0}
    a, b, c = (
        (render_slide(tmp_path / f"{name}.tif", seed=seed, **how), tmp_path / f"{name}.tif")
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert a[0] == b[0] and a[1].read_bytes() == b[1].read_bytes()
    assert a[1].read_bytes() != c[1].read_bytes()


def test_a_slide_needs_room(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 128 px, not 600 x 100"):
        render_slide(tmp_path / "a.tif", width=600, height=100)
    assert not any(tmp_path.iterdir())


def test_a_slide_without_figures_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    assert render_slide(path, width=300, height=200, mpp=0.5, mitoses=0, imposters=0) == []
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx((0.5, 0.5), rel=1e-5)


def test_a_last_band_of_few_rows_ends_every_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 rows that are none of the third level."""
    monkeypatch.setattr(slide, "SMALL", 64)
    image = cv2.GaussianBlur(textured(1300, 1032), (0, 0), 12)
    bands = iter([image[:512], image[512:1024], image[1024:]])
    slide.write_pyramid(tmp_path / "s.tif", bands, (1300, 1032), 0.5)
    with open_slide(tmp_path / "s.tif") as found:
        assert found.levels == ((1300, 1032), (325, 258), (81, 64), (20, 16))
        for level, (width, height) in enumerate(found.levels):
            pixels = found.read(level, Window(0, 0, width, height))
            shown = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            assert np.abs(pixels.astype(int) - shown).mean() < 10
