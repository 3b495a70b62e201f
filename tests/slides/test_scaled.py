"""A slide at another µm/px: the same tissue, wherever a window lies and whatever level is read."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import real
from hypothesis import example, given, settings
from hypothesis import strategies as st
from slides_rendered import reduced, textured, write_slide

from mitoyolo.images import RGB
from mitoyolo.slides.reader import open_slide
from mitoyolo.slides.scaled import Scaled, Sized
from mitoyolo.tiles import Window

IMAGE = textured(611, 437, seed=1)


class Held:
    """A slide in memory that remembers what was read."""

    def __init__(self, *levels: RGB) -> None:
        self.path, self.mpp = Path("held"), None
        self._pixels = levels
        self.levels = tuple((level.shape[1], level.shape[0]) for level in levels)
        self.size = self.levels[0]
        self.reads: list[tuple[int, Window]] = []

    def read(self, level: int, window: Window) -> RGB:
        self.reads.append((level, window))
        part = self._pixels[level][window.y : window.y + window.height]
        part = part[:, window.x : window.x + window.width]
        assert part.shape == (window.height, window.width, 3)
        return np.ascontiguousarray(part)

    def close(self) -> None: ...

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *error: object) -> None: ...


HELD = Held(IMAGE, reduced(IMAGE, 2), reduced(IMAGE, 4))


def test_within_five_percent_level_0_is_read_as_it_is() -> None:
    for mpp, at in [((0.25, 0.25), (0.26, 0.24)), (None, (0.25, 0.25)), ((0.25, 0.25), None)]:
        scaled = Scaled(HELD, mpp, at)
        assert (scaled.size, scaled.scale, scaled.level) == (HELD.size, (1.0, 1.0), 0)
        window = Window(33, 44, 70, 80)
        assert np.array_equal(scaled.read(window), IMAGE[44:124, 33:103])
    assert Scaled(HELD, (0.25, 0.25), (0.25, 0.27)).size == (611, 405)


@pytest.mark.parametrize(
    ("at", "level"),
    [(0.1, 0), (0.4, 0), (0.499, 1), (0.5, 1), (0.6, 1), (0.95, 1), (1.0, 2), (5.0, 2)],
)
def test_the_coarsest_level_that_is_fine_enough_is_read(at: float, level: int) -> None:
    slide = Held(IMAGE, reduced(IMAGE, 2), reduced(IMAGE, 4))
    scaled = Scaled(slide, (0.25, 0.25), (at, at))
    scaled.read(Window(0, 0, 5, 5))
    assert scaled.level == level
    assert {read[0] for read in slide.reads} == {level}


def test_a_level_of_another_shape_is_not_read() -> None:
    slide = Held(IMAGE, textured(305, 4000), textured(9000, 7000), reduced(IMAGE, 4))
    assert Scaled(slide, (0.25, 0.25), (0.5, 0.5)).level == 0
    assert Scaled(slide, (0.25, 0.25), (1.0, 1.0)).level == 3


def test_each_axis_has_its_own_scale() -> None:
    scaled = Scaled(HELD, (0.25, 0.5), (0.5, 0.5))
    assert scaled.size == (306, 437)
    assert scaled.level == 0  # level 1 is too coarse across the other axis
    assert scaled.read(Window(0, 0, 306, 437)).shape == (437, 306, 3)


def test_a_window_reads_little_more_than_itself() -> None:
    slide = Held(IMAGE)
    Scaled(slide, (0.25, 0.25), (0.4, 0.4)).read(Window(100, 80, 64, 64))
    [(_, window)] = slide.reads
    assert window.width < 64 * 1.6 + 16 and window.height < 64 * 1.6 + 16


@settings(max_examples=150)
@example(1.265625, 1_000_000, 0, 0, 27)  # where Pillow would take the other axis first
@given(
    st.floats(0.1, 2.5), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6),
    st.integers(0, 10**6),
)  # fmt: skip
def test_pixels_do_not_depend_on_the_window(at: float, x: int, y: int, w: int, h: int) -> None:
    scaled = Scaled(HELD if w % 2 else Held(IMAGE), (0.25, 0.25), (at, at))
    x, y = x % scaled.size[0], y % scaled.size[1]
    window = Window(x, y, 1 + w % (scaled.size[0] - x), 1 + h % (scaled.size[1] - y))
    whole = scaled.read(Window(0, 0, *scaled.size))
    part = scaled.read(window)
    assert part.shape == (window.height, window.width, 3)
    expected = whole[y : y + window.height, x : x + window.width]
    difference = np.abs(part.astype(int) - expected)
    assert difference.max() <= 2  # Pillow rounds twice: after each axis
    assert np.count_nonzero(difference > 1) <= 1 + difference.size / 1000


def spot(x: float, y: float, width: int, height: int, spread: float) -> RGB:
    """A dark round spot on white, its centre at (x, y): pixel i covers i to i + 1."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    depth = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread**2))
    return np.repeat(np.rint(250 - 230 * depth)[..., None], 3, axis=2).astype(np.uint8)


def centre(image: RGB) -> tuple[float, float]:
    dark = 250.0 - image[..., 0]
    dark[dark < 8] = 0
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return float((dark * columns).sum() / dark.sum()), float((dark * rows).sum() / dark.sum())


@pytest.mark.parametrize("at", [0.11, 0.2, 0.33, 0.5, 0.61, 1.0, 1.3])
@pytest.mark.parametrize("size", [(800, 600), (803, 601), (799, 607)])
def test_a_spot_lies_where_it_lay(at: float, size: tuple[int, int]) -> None:
    for x, y in [(60.3, 50.8), (720.4, 560.6)]:
        image = spot(x, y, *size, spread=9)
        scaled = Scaled(Held(image, reduced(image, 4)), (0.25, 0.25), (at, at))
        grid_x, grid_y = x / scaled.scale[0], y / scaled.scale[1]
        reach = int(45 / scaled.scale[0]) + 1
        left, top = max(int(grid_x) - reach, 0), max(int(grid_y) - reach, 0)
        window = Window(
            left, top, min(2 * reach, scaled.size[0] - left), min(2 * reach, scaled.size[1] - top)
        )
        found = centre(scaled.read(window))
        assert found[0] + left == pytest.approx(grid_x, abs=0.1)
        assert found[1] + top == pytest.approx(grid_y, abs=0.1)


def test_where_a_level_lacks_its_last_pixels_the_scale_stays() -> None:
    # 4 x 200 + 3: the level ends 3 px before the slide, and is not stretched over them
    image = spot(780.5, 300.0, 803, 600, spread=8)
    scaled = Scaled(Held(image, reduced(image, 4)), (0.25, 0.25), (1.0, 1.0))
    assert scaled.level == 1
    found = centre(scaled.read(Window(150, 0, scaled.size[0] - 150, 150)))
    assert (found[0] + 150) * scaled.scale[0] == pytest.approx(780.5, abs=0.3)


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((300, 300, 3), np.uint8)
    stripes[:, ::2] = 255  # finer than the grid can show
    scaled = Scaled(Held(stripes), (0.25, 0.25), (1.1, 1.1))
    assert np.abs(scaled.read(Window(5, 5, 50, 50)).astype(int) - 127).max() <= 8


def test_a_slide_smaller_than_a_pixel_of_the_grid_is_one_pixel() -> None:
    scaled = Scaled(Held(np.full((3, 2, 3), 70, np.uint8)), (0.25, 0.25), (9.0, 9.0))
    assert scaled.size == (1, 1)
    assert scaled.read(Window(0, 0, 1, 1)).tolist() == [[[70, 70, 70]]]


def test_a_slide_can_be_brought_to_a_size() -> None:
    sized = Sized(HELD, (100, 71))
    assert sized.level == 2
    assert sized.read(Window(0, 0, 100, 71)).shape == (71, 100, 3)


@pytest.mark.parametrize("window", [Window(-1, 0, 5, 5), Window(0, 0, 307, 5), Window(3, 3, 0, 1)])
def test_a_window_outside_is_refused(window: Window) -> None:
    with pytest.raises(ValueError, match="is not inside 306 x 218 px"):
        Scaled(HELD, (0.25, 0.25), (0.5, 0.5)).read(window)


def test_levels_of_a_file_agree_with_level_0(tmp_path: Path) -> None:
    image = cv2.GaussianBlur(textured(1003, 805, seed=5), (0, 0), 5)
    fine = write_slide(tmp_path / "one.tif", image)
    pyramid = write_slide(tmp_path / "three.tif", image, steps=(2, 4))
    with open_slide(fine) as one, open_slide(pyramid) as three:
        for at in (0.6, 1.1):
            a, b = Scaled(one, one.mpp, (at, at)), Scaled(three, three.mpp, (at, at))
            assert (a.level, b.level) == (0, 1 if at < 1 else 2)
            window = Window(40, 30, 150, 140)
            whole, part = a.read(window).astype(int), b.read(window)
            assert np.abs(whole - part).mean() < 0.1 * np.abs(whole[1:] - part[:-1]).mean()


def test_a_real_slide_is_enlarged_to_the_models_scale() -> None:
    with open_slide(real("slides") / "CMU-1-Small-Region.svs") as slide:
        scaled = Scaled(slide, slide.mpp, (0.25, 0.25))
        assert scaled.size == (4431, 5922)
        a, b = scaled.read(Window(2000, 2000, 300, 300)), scaled.read(Window(2100, 2050, 300, 300))
        assert np.abs(a[50:, 100:].astype(int) - b[:250, :200]).max() <= 2
        assert a.std() > 10
