"""The chain of µm/px: option, image, preset, error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from converters.errors import MissingMppError, OptionError
from converters.image_mpp import image_mpp
from converters.model import ImageInfo
from converters.mpp import Mpp, differ, parse_mpp, resolve_mpp
from converters.presets import Preset, Scanner
from mitoyolo.slides.reader import open_slide

PRESET = Preset(
    "p",
    "f",
    "centroid",
    scanners={
        "Aperio": Scanner((0.25, 0.25), cases=((1, 23),)),
        "Hamamatsu": Scanner((0.23, 0.24), cases=((24, 73),)),
    },
)


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


OME = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels '
    'ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="5" SizeY="4" SizeC="1" SizeZ="1" '
    'SizeT="1" {size}><TiffData/></Pixels></Image></OME>'
)


@pytest.mark.parametrize(
    ("description", "read"),
    [
        (OME.format(size='PhysicalSizeX="0.25" PhysicalSizeY="0.26"'), (0.25, 0.26)),
        (OME.format(size='PhysicalSizeX="230" PhysicalSizeXUnit="nm" PhysicalSizeY="0.23"'),
         (0.23, 0.23)),
        (OME.format(size='PhysicalSizeX="250" PhysicalSizeY="250"'), (0.5, 0.5)),  # no microscope's
        (OME.format(size=""), (0.5, 0.5)),
        (OME[:80], (0.5, 0.5)),
        ("Aperio Image Library v11\n5x4 |AppMag = 40|MPP = 0.2520", (0.252, 0.252)),
        ("a frame", (0.5, 0.5)),
    ],
)  # fmt: skip
def test_a_description_comes_before_the_tags_for_frames_as_for_slides(
    tmp_path: Path, description: str, read: Mpp
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 5, 3), np.uint8), description=description, metadata=None,
                     resolution=(20_000, 20_000), resolutionunit="CENTIMETER")  # fmt: skip
    assert image_mpp(path) == pytest.approx(read)
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx(read)


def test_a_damaged_tiff_has_no_mpp_and_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(path, (0.25, 0.25)).read_bytes()[:40])
    assert image_mpp(path) is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("option", "tags", "file", "preset", "expected", "said"),
    [
        (0.5, 0.25, 0.3, True, 0.5, "--mpp is used, the image says 0.25, "
         "the annotation file says 0.3, preset p says 0.23 x 0.24"),
        (0.25, 0.251, None, False, 0.25, ""),  # as good as the same
        (0.5, None, None, True, 0.5, "--mpp is used, preset p says 0.23 x 0.24"),
        (0.5, None, None, False, 0.5, ""),
        (0.5, None, 0.4, False, 0.5, "--mpp is used, the annotation file says 0.4"),
        (None, 0.4, None, True, 0.4, "the image is used, preset p says 0.23 x 0.24"),
        (None, 0.4, None, False, 0.4, ""),
        (None, 0.4, 0.5, False, 0.4, "the image is used, the annotation file says 0.5"),
        (None, None, 0.5, True, 0.5, "the annotation file is used, preset p says 0.23 x 0.24"),
        (None, None, 0.5, False, 0.5, ""),
        (None, None, None, True, (0.23, 0.24), ""),
        (None, None, 0.0, True, (0.23, 0.24), ""),  # a file that says 0 says nothing
        (None, None, 1e300, True, (0.23, 0.24), ""),
    ],
)  # fmt: skip
def test_option_image_annotation_file_preset(
    tmp_path: Path,
    option: float | None,
    tags: float | None,
    file: float | None,
    preset: bool,
    expected: float | Mpp,
    said: str,
) -> None:
    def both(value: float | None) -> Mpp | None:
        return None if value is None else (value, value)

    notes: list[str] = []
    images = [
        info(tiff(tmp_path / f"{i}.tif", both(tags)), "Hamamatsu", both(file)) for i in range(3)
    ]
    resolved = resolve_mpp(
        images, option=both(option), preset=PRESET if preset else None, note=notes.append
    )
    mpp = (expected, expected) if isinstance(expected, float) else expected
    assert [image.mpp for image in resolved] == [pytest.approx(mpp, rel=1e-6)] * 3
    if said:  # once, however many images
        assert notes == [
            f"µm/px differ on 3 of 3 images, for example 0.tif: {expected:g} by {said}"
        ]
    else:
        assert not notes


def test_the_preset_knows_the_scanner_or_the_case() -> None:
    cases = [("", "07", 0.25), ("", "24", 0.23), ("Hamamatsu", "07", 0.23)]
    images = [
        ImageInfo(source=case, path=None, width=0, height=0, case=case, scanner=scanner)
        for scanner, case, _ in cases
    ]
    resolved = resolve_mpp(images, option=None, preset=PRESET, note=pytest.fail)
    assert [image.mpp and image.mpp[0] for image in resolved] == [mpp for _, _, mpp in cases]
    with pytest.raises(MissingMppError, match=r"^74: no µm/px"):
        resolve_mpp([replace(images[0], source="74", case="74")],
                    option=None, preset=PRESET, note=pytest.fail)  # fmt: skip


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
