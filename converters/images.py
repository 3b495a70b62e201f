"""Image files: found in a folder, and their size and µm/px read without decoding the pixels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import tifffile
from PIL import Image

from converters.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")

PLAUSIBLE_MPP = (0.05, 20.0)
"""µm/px outside this range is a screen or print resolution, not a microscope's."""

_UNIT_UM = {2: 25_400.0, 3: 10_000.0}  # TIFF ResolutionUnit: inch, centimetre

# The limit guards servers against decompression bombs; frames of whole-slide size are normal here.
Image.MAX_IMAGE_PIXELS = None


def find_files(root: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Files below ``root`` with one of ``suffixes``, sorted, hidden and temporary ones left out."""
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file():
            yield path


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the header.

    Raises
    ------
    InputError
        The file is not an image or its header is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return image.size
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise InputError(
            f"not a readable image ({type(error).__name__})",
            file=path,
            fix="export or download it again",
        ) from None


def image_mpp(path: Path) -> tuple[float, float] | None:
    """µm per pixel across and down from TIFF resolution tags, or None.

    Only TIFF is asked: a JPEG's or PNG's density is a screen's in practice. A value outside
    :data:`PLAUSIBLE_MPP` is no microscope's and is ignored.

    Source: TIFF 6.0 specification, tags 282 (XResolution), 283 and 296.
    """
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    try:
        with tifffile.TiffFile(path) as tiff:
            tags = tiff.pages.first.tags
            unit = _UNIT_UM.get(int(tags["ResolutionUnit"].value))
            if unit is None:
                return None
            x, y = (
                unit * tags[name].value[1] / tags[name].value[0]
                for name in ("XResolution", "YResolution")
            )
    except (KeyError, ZeroDivisionError, ValueError, tifffile.TiffFileError, OSError):
        return None
    low, high = PLAUSIBLE_MPP
    return (x, y) if low <= x <= high and low <= y <= high else None
