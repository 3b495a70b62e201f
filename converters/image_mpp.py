"""µm per pixel, as an image file states it itself, read without decoding the pixels."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from defusedxml import ElementTree
from tifffile import TiffFile

from converters.images import SLIDE_SUFFIXES, open_slide
from converters.presets import Mpp

PLAUSIBLE_MPP = (0.05, 20.0)
"""µm/px outside this range is a screen or print resolution, not a microscope's."""

_UNIT_UM = {2: 25_400.0, 3: 10_000.0}  # TIFF ResolutionUnit: inch, centimetre

_UM = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
"""Unit -> µm, as OME-XML and ImageJ write it (both letters mu)."""


def image_mpp(path: Path) -> Mpp | None:
    """µm per pixel across and down from a slide's properties or what a TIFF says, or None.

    Of other images nothing is asked: a JPEG's or PNG's density is a screen's in practice. A value
    outside :data:`PLAUSIBLE_MPP` is no microscope's and is ignored.
    """
    reader = _MPP.get(path.suffix.lower())
    try:
        return reader(path) if reader else None
    except Exception:  # whether the image itself is readable shows elsewhere
        return None


def openslide_mpp(slide: Any) -> Mpp | None:
    """µm per pixel across and down of a slide that OpenSlide has opened, or None.

    Source: OpenSlide's properties ``openslide.mpp-x`` and ``openslide.mpp-y``.
    """
    try:
        x, y = (float(slide.properties[f"openslide.mpp-{axis}"]) for axis in "xy")
    except (KeyError, ValueError):
        return None
    return plausible((x, y))


def tiff_mpp(tiff: TiffFile) -> Mpp | None:
    """µm per pixel across and down of a TIFF's first image, or None.

    What its description says, by OME-XML, ImageJ or Aperio, comes before the resolution tags, which
    programs fill in unasked.

    Source: TIFF 6.0 specification, tags 282 (XResolution), 283 and 296.
    """
    for says in (_ome_mpp, _imagej_mpp, _aperio_mpp, _tagged_mpp):
        with suppress(Exception):  # what is damaged, or of an unknown unit, says nothing
            if mpp := plausible(says(tiff)):
                return mpp
    return None


def plausible(mpp: Mpp | None) -> Mpp | None:
    """A µm/px that a microscope can have, else None."""
    low, high = PLAUSIBLE_MPP
    return mpp if mpp and all(low <= value <= high for value in mpp) else None


def _of_slide(path: Path) -> Mpp | None:
    with open_slide(path) as slide:
        return openslide_mpp(slide)


def _of_tiff(path: Path) -> Mpp | None:
    with TiffFile(path) as tiff:
        return tiff_mpp(tiff)


def _tagged_mpp(tiff: TiffFile) -> Mpp | None:
    tags = tiff.pages.first.tags
    unit = _UNIT_UM.get(int(tags["ResolutionUnit"].value))
    if unit is None:
        return None
    x, y = (
        unit * tags[name].value[1] / tags[name].value[0] for name in ("XResolution", "YResolution")
    )
    return (x, y)


def _aperio_mpp(tiff: TiffFile) -> Mpp | None:
    if not tiff.is_svs:
        return None
    found = re.search(r"\|\s*MPP\s*=\s*([0-9.]+)", tiff.pages.first.description)
    return (float(found[1]), float(found[1])) if found else None


def _ome_mpp(tiff: TiffFile) -> Mpp | None:
    """Of the first image. Source: OME-XML schema 2016-06, Pixels/@PhysicalSizeX, ...XUnit (µm)."""
    if not tiff.ome_metadata:
        return None
    pixels = ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Pixels")
    if pixels is None:
        return None
    x, y = (
        float(pixels.attrib[f"PhysicalSize{axis}"])
        * _UM[pixels.get(f"PhysicalSize{axis}Unit", "µm")]
        for axis in "XY"
    )
    return (x, y)


def _imagej_mpp(tiff: TiffFile) -> Mpp | None:
    """ImageJ writes pixels per unit as the TIFF's resolution, and the unit in its description."""
    unit = _UM.get(str((tiff.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "µ"))
    if unit is None:
        return None
    x, y = tiff.pages.first.get_resolution()
    return (unit / x, unit / y) if x and y else None


_MPP = {
    **dict.fromkeys((".tif", ".tiff"), _of_tiff),
    **dict.fromkeys(SLIDE_SUFFIXES, _of_slide),
}
