"""The batch path: the CPU's bytes, on any torch device. Here torch's own CPU stands for a GPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from rendered import PixelDetector, Source, card, write_dataset
from searched import search_image

from converters.errors import MitoyoloError
from mitoyolo.dataset import Dataset, open_dataset
from mitoyolo.images import RGB, write_rgb
from mitoyolo.inference.apply import Cut, detect_tiles
from mitoyolo.stain import colours, device
from mitoyolo.stain.colours import has_table
from mitoyolo.stain.device import DeviceNormaliser, apply_batch
from mitoyolo.stain.methods import METHODS, find_method
from mitoyolo.stain.normaliser import Fitted, Normaliser
from mitoyolo.stain.reinhard import to_lab
from mitoyolo.stain.target import default_target

FIXED = [name for name, method in METHODS.items() if method.fixed_map]

TORCH = "cpu:0"
"""The CPU by a name that is not that of the CPU path."""


@pytest.fixture(autouse=True)
def no_table_is_kept():
    yield
    device._latest.cache_clear()
    colours._latest.cache_clear()


@pytest.fixture(scope="module", params=FIXED)
def fitted(request: pytest.FixtureRequest, tissue) -> Fitted:
    method = request.param
    tiles = [tissue(i, shift=(-30, 10, 5)) for i in range(3)]
    return Normaliser(method, "case", default_target(method, "case")).fit(tiles)


@pytest.fixture(scope="module")
def normaliser(fitted: Fitted) -> DeviceNormaliser:
    return DeviceNormaliser(fitted, TORCH)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Fitted]:
    """The fits for which a table was made."""
    made: list[Fitted] = []

    def make(fitted: Fitted, name: str) -> DeviceNormaliser:
        made.append(fitted)
        return DeviceNormaliser(fitted, name)

    monkeypatch.setattr(device, "DeviceNormaliser", make)
    return made


def same(got: list[RGB], tiles: list[RGB], fitted: Fitted) -> bool:
    """Whether a batch is the CPU path's, to the byte."""
    wanted = [fitted.apply(tile)[0] for tile in tiles]
    return all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))


def view(fitted: Fitted, tile: RGB) -> RGB:
    """The channels in which the method measures what is flat."""
    return to_lab(tile) if fitted.method == "reinhard" else tile


# --- the table --------------------------------------------------------------------------------


def test_colours_from_the_whole_cube(fitted: Fitted, normaliser: DeviceNormaliser) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 701, 3), dtype=np.uint8)
    corners = np.indices((2, 2, 2)).reshape(3, 2, 4).T.astype(np.uint8) * 255
    tiles = [noise, corners.repeat(9, axis=0)]
    assert not np.array_equal(normaliser.apply(tiles)[0], noise)
    assert same(normaliser.apply(tiles), tiles, fitted)


def test_tiles_of_many_shapes_and_views_keep_their_order(
    tissue, fitted: Fitted, normaliser: DeviceNormaliser
) -> None:
    large = tissue(5, size=(300, 280), shift=(-20, 5, 0))
    tiles = [
        large[10:80, 20:120],
        tissue(6, size=(40, 64)),
        large[::2, ::3],
        large[100:170, 7:107],
        np.flip(large, axis=1),
        tissue(7, size=(1, 37)),
        np.asfortranarray(tissue(8)),
        tissue(9, size=(40, 64)),
    ]
    before = [tile.copy() for tile in tiles]
    got = normaliser.apply(tiles)
    assert same(got, tiles, fitted)
    assert all(not np.array_equal(a, b) for a, b in zip(got, tiles, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(before, tiles, strict=True))
    assert all(tile.dtype == np.uint8 and tile.flags.c_contiguous for tile in got)


def test_no_tiles_and_a_tile_without_pixels(normaliser: DeviceNormaliser) -> None:
    assert normaliser.apply([]) == []
    empty = np.zeros((0, 5, 3), np.uint8)
    assert normaliser.apply([empty])[0] is empty


# --- the guards -------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (222, 140, 190), (7, 200, 30)])
def test_a_single_colour_passes_through(colour, tissue, normaliser: DeviceNormaliser) -> None:
    tile = np.full((96, 112, 3), colour, np.uint8)
    one, other = normaliser.apply([tile, tissue(1)])
    assert one is tile
    assert not np.array_equal(other, tissue(1))


def test_little_tissue_passes_through(tissue, fitted: Fitted, normaliser: DeviceNormaliser) -> None:
    """100 x 100 px, so that each row is one per cent; 4 to 6 rows of tissue, the limit among."""
    tiles = []
    for rows in (0, 4, 5, 6):
        tile = np.full((100, 100, 3), 244, np.uint8)
        tile[:rows] = (120, 60, 140)
        tile[0 : min(rows, 2)] = (220, 120, 180)
        tiles.append(tile)
    got = normaliser.apply(tiles)
    assert [a is b for a, b in zip(got, tiles, strict=True)] == [True, True, False, False]
    assert same(got, tiles, fitted)


def test_the_limit_of_flatness_is_the_methods_own(
    fitted: Fitted, normaliser: DeviceNormaliser
) -> None:
    """Two colours in every share, near and at a deviation of one level in RGB and in LAB."""
    tiles = []
    steps = np.random.default_rng(1).integers(-14, 15, (60, 3))
    for colour in np.array((180, 100, 150)) + steps:
        for columns in (1, 2, 4, 8, 16, 32):
            tile = np.full((8, 64, 3), (180, 100, 150), np.uint8)
            tile[:, :columns] = colour
            tiles.append(tile)
        tiles.append(tile[:2, 30:33])  # in six pixels one more or less makes a difference
    deviations = np.array([cv2.meanStdDev(view(fitted, tile))[1].min() for tile in tiles])
    assert (deviations == 1).any()  # the limit itself
    flat = [find_method(fitted.method).is_flat(tile) for tile in tiles]
    assert 20 < sum(flat) < len(flat) - 20
    got = normaliser.apply(tiles)
    assert same(got, tiles, fitted)
    unchanged = [a is b for a, b in zip(got, tiles, strict=True)]
    assert unchanged == flat


# --- which path -------------------------------------------------------------------------------


def test_a_table_pays_only_for_many_pixels(tissue, fitted: Fitted, built: list[Fitted]) -> None:
    tiles = [tissue(1), tissue(2)]
    few = apply_batch(fitted, tiles, device=TORCH, pixels=colours.PAYS_FROM - 1)
    assert built == []
    many = apply_batch(fitted, tiles, device=TORCH, pixels=colours.PAYS_FROM)
    assert built == [fitted]
    assert same(few, tiles, fitted) and same(many, tiles, fitted)
    apply_batch(fitted, tiles, device="cpu", pixels=10**12)
    apply_batch(fitted, tiles, device=TORCH, pixels=10**12)
    assert built == [fitted]  # the second batch of a fit takes the table of the first


def test_the_next_fit_gets_its_own_table(tissue, built: list[Fitted]) -> None:
    fits = [Normaliser().fit([tissue(1, shift=(shift, 0, 0))]) for shift in (-30, 20)]
    for fitted in (*fits, fits[0]):
        assert same(
            apply_batch(fitted, [tissue(3)], device=TORCH, pixels=10**9), [tissue(3)], fitted
        )
    assert built == [*fits, fits[0]]


@pytest.mark.parametrize("method", METHODS)
def test_what_has_no_fixed_map_stays_on_the_cpu(
    method: str, tissue, built: list[Fitted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fitted, "apply_or_reason", lambda self, tile: (tile + 1, None))
    target = default_target(method, "tile").statistics
    own = Fitted(method, target, None, True)
    nothing = Fitted(method, target, None, False)
    given = Fitted(method, target, target, False)
    for fitted in (own, nothing, *([] if method in FIXED else [given])):
        got = apply_batch(fitted, [tissue(1)], device=TORCH, pixels=10**9)
        assert np.array_equal(got[0], tissue(1) + 1)
        assert not has_table(fitted)
    assert built == []
    assert has_table(given) == (method in FIXED)


def test_without_a_fit_the_tiles_stay(tissue) -> None:
    tiles = (tissue(1), tissue(2)[::2])
    got = apply_batch(None, tiles, device=TORCH, pixels=10**9)
    assert [a is b for a, b in zip(got, tiles, strict=True)] == [True, True]


def test_a_device_that_fails_is_one_line(tissue) -> None:
    fitted = Normaliser().fit([tissue(1)])
    with pytest.raises(MitoyoloError, match=r"^[^\n]+$"):
        apply_batch(fitted, [tissue(1)], device="cuda:99", pixels=10**9)


def test_a_device_that_fails_later_is_one_line(tissue) -> None:
    """Torch's "meta" device takes a table and gives no numbers back."""
    normaliser = DeviceNormaliser(Normaliser().fit([tissue(1)]), "meta")
    with pytest.raises(MitoyoloError, match=r"^[^\n]+$"):
        normaliser.apply([tissue(1)])


def test_torch_is_not_imported_before_it_is_used() -> None:
    script = "import sys, mitoyolo.inference.apply, mitoyolo.stain.folder; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "mitoyolo.stain.device" in done.stdout.split()
    assert "torch" not in done.stdout.split()


# --- in inference -----------------------------------------------------------------------------


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], tuple[PixelDetector, list[RGB]]]:
    """A detector on a device, of a mode, and the tiles that reach it; every table pays."""
    monkeypatch.setattr(colours, "PAYS_FROM", 1)

    def make(name: str, mode: str = "case") -> tuple[PixelDetector, list[RGB]]:
        normalisation = Normaliser("reinhard", mode, default_target("reinhard", mode)).to_dict()
        detector = PixelDetector(card=card(normalisation=normalisation), device=name)
        tiles: list[RGB] = []
        plain = detector.predict

        def predict(batch, imgsz=None):
            tiles.extend(batch)
            return plain(batch, imgsz)

        monkeypatch.setattr(detector, "predict", predict)
        return detector, tiles

    return make


def stained(seed: int, tissue, width: int = 200, height: int = 160) -> RGB:
    image = tissue(seed, size=(height, width), shift=(-10 * seed, 5, 0))
    image[:, :70] = 244
    return image


def equal(one: list[RGB], other: list[RGB]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_slide_has_one_table_and_the_cpus_tiles(tissue, seen, built: list[Fitted]) -> None:
    image = stained(1, tissue)
    tiles = {}
    for name in ("cpu", TORCH):
        detector, tiles[name] = seen(name)
        search_image(detector, image, (0.5, 0.5), Cut(tile=40, overlap=10))
    assert len(tiles["cpu"]) > 16
    assert equal(tiles["cpu"], tiles[TORCH])
    assert len(built) == 1


def test_a_slide_of_few_pixels_needs_no_table(
    tissue, seen, built: list[Fitted], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, tiles = seen(TORCH)
    image = stained(1, tissue)
    cut = Cut(tile=100, overlap=0)
    monkeypatch.setattr(colours, "PAYS_FROM", 4 * 100 * 100 + 1)
    search_image(detector, image, (0.5, 0.5), cut)
    assert (len(tiles), built) == (4, [])
    monkeypatch.setattr(colours, "PAYS_FROM", 4 * 100 * 100)
    search_image(detector, image, (0.5, 0.5), cut)
    assert len(built) == 1


@pytest.fixture
def dataset(tissue, tmp_path: Path) -> Dataset:
    """Four cases of six tiles, each case in colours of its own."""
    sources = [Source(f"s{i}", "test", case=str(i // 3)) for i in range(12)]
    made = open_dataset(write_dataset(tmp_path / "d", sources))
    for i, tile in enumerate(made.tiles):
        case = int(tile.case)
        pixels = tissue(i, size=(tile.height, tile.width), shift=(-12 * case, 4 * case, 0))
        write_rgb(made.image_path(tile), pixels)
    return made


@pytest.mark.parametrize("mode", ["case", "target", "tile"])
def test_every_tile_of_a_dataset_gets_its_own_cases_fit(
    mode: str, dataset: Dataset, seen, built: list[Fitted]
) -> None:
    tiles = {}
    for name in ("cpu", TORCH):
        detector, tiles[name] = seen(name, mode)
        assert len(detect_tiles(detector, dataset, "test")) == 24
    assert equal(tiles["cpu"], tiles[TORCH])
    assert len(built) == {"case": 4, "target": 1, "tile": 0}[mode]


def test_the_pixels_of_a_fit_are_counted_over_the_dataset(
    dataset: Dataset, seen, built: list[Fitted], monkeypatch: pytest.MonkeyPatch
) -> None:
    for pixels, tables in ((6 * 64 * 64 + 1, 0), (6 * 64 * 64, 4)):
        monkeypatch.setattr(colours, "PAYS_FROM", pixels)
        detect_tiles(seen(TORCH)[0], dataset, "test")
        assert len(built) == tables
