"""The chain of µm/px: option, image, preset, error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from converters.errors import MissingMppError, OptionError
from converters.images import image_mpp
from converters.model import ImageInfo
from converters.mpp import Mpp, differ, parse_mpp, resolve_mpp
from converters.presets import Preset, load_preset, preset_names

PRESET = Preset("p", "f", "centroid", {"Aperio": (0.25, 0.25), "Hamamatsu": (0.23, 0.24)})


def tiff(path: Path, mpp: Mpp | None, unit: int = 3) -> Path:
    """A TIFF whose resolution tags say ``mpp``, in pixels a centimetre (3) or inch (2)."""
    per = {2: 25_400, 3: 10_000, 1: 1}[unit]
    tags = (
        {} if mpp is None else {"resolution": tuple(per / f for f in mpp), "resolutionunit": unit}
    )
    tifffile.imwrite(path, np.zeros((4, 5, 3), np.uint8), **tags)  # type: ignore[arg-type]
    return path


def info(path: Path, scanner: str = "", mpp: Mpp | None = None) -> ImageInfo:
    return ImageInfo(
        source=path.stem, path=path, width=5, height=4, case="c", scanner=scanner, mpp=mpp
    )


@pytest.mark.parametrize(
    ("mpp", "unit", "read"),
    [
        ((0.25, 0.25), 3, (0.25, 0.25)),
        ((0.2273, 0.22753), 3, (0.2273, 0.22753)),
        ((0.5, 0.5), 2, (0.5, 0.5)),
        ((25_400 / 72, 25_400 / 72), 2, None),  # a screen's 72 dpi
        ((0.25, 0.25), 1, None),  # no unit
        (None, 3, None),
    ],
)
def test_resolution_tags(tmp_path: Path, mpp: Mpp | None, unit: int, read: Mpp | None) -> None:
    found = image_mpp(tiff(tmp_path / "a.tif", mpp, unit))
    assert found == (read and pytest.approx(read, rel=1e-6))


def test_a_damaged_tiff_has_no_mpp_and_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(path, (0.25, 0.25)).read_bytes()[:40])
    assert image_mpp(path) is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("option", "tags", "preset", "expected", "said"),
    [
        ((0.5, 0.5), (0.25, 0.25), PRESET, (0.5, 0.5), 1),
        ((0.25, 0.25), (0.251, 0.251), PRESET, (0.25, 0.25), 0),
        (None, (0.4, 0.4), PRESET, (0.4, 0.4), 1),
        (None, (0.4, 0.4), None, (0.4, 0.4), 0),
        (None, None, PRESET, (0.23, 0.24), 0),
        ((0.5, 0.5), None, PRESET, (0.5, 0.5), 0),
    ],
)
def test_option_then_image_then_preset(
    tmp_path: Path,
    option: Mpp | None,
    tags: Mpp | None,
    preset: Preset | None,
    expected: Mpp,
    said: int,
) -> None:
    notes: list[str] = []
    images = [info(tiff(tmp_path / f"{i}.tif", tags), "Hamamatsu") for i in range(3)]
    resolved = resolve_mpp(images, option=option, preset=preset, note=notes.append)
    assert [image.mpp for image in resolved] == [pytest.approx(expected, rel=1e-6)] * 3
    assert len(notes) == said  # once, however many images


def test_without_any_mpp_the_error_names_image_and_option(tmp_path: Path) -> None:
    with pytest.raises(MissingMppError, match=r"a\.png: no µm/px.*--mpp"):
        resolve_mpp(
            [info(tmp_path / "a.png", "Leica")], option=None, preset=PRESET, note=lambda _: None
        )


@pytest.mark.parametrize(
    ("text", "mpp"), [("0.25", (0.25, 0.25)), ("0.2273,0.22753", (0.2273, 0.22753))]
)
def test_parse_mpp(text: str, mpp: Mpp) -> None:
    assert parse_mpp(text) == mpp


@pytest.mark.parametrize("text", ["", "a", "0", "-1", "nan", "inf", "0.2,0.2,0.2", "60", "0.25,"])
def test_parse_mpp_refuses(text: str) -> None:
    with pytest.raises(OptionError, match="--mpp"):
        parse_mpp(text)


def test_differ_looks_at_both_axes() -> None:
    assert not differ((0.25, 0.25), (0.26, 0.25))
    assert differ((0.25, 0.25), (0.25, 0.27))


def test_every_preset_loads_and_an_unknown_one_is_named() -> None:
    for name in preset_names():
        assert load_preset(name).mpp
    assert load_preset("mitos_atypia_14").mpp["Hamamatsu"] == (0.2273, 0.22753)
    with pytest.raises(OptionError, match=r"nope.*mitos_atypia_14"):
        load_preset("nope")
