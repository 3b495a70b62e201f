"""One reader for every slide: what reads a file follows from its suffix and its content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from converters.errors import InputError
from converters.images import PICTURE_SUFFIXES, SLIDE_SUFFIXES
from mitoyolo.slides.base import Slide
from mitoyolo.slides.picture import PictureSlide
from mitoyolo.slides.tiff import NotThisWay, TiffSlide
from mitoyolo.slides.vendor import VendorSlide, vendor

__all__ = ["Slide", "open_slide"]


def open_slide(path: Path) -> Slide:
    """Open a slide or an image of any size.

    Plain TIFFs and Aperio's are read with tifffile, by the strips or tiles that a window touches;
    other vendors' formats by OpenSlide; PNG, JPEG, BMP and the smaller TIFFs of other kinds whole.

    Raises
    ------
    InputError
        The file is missing, damaged, cut off, of another kind, or not 8-bit colour.
    """
    if not path.is_file():
        raise InputError("not a file" if path.exists() else "no such file", file=path)
    suffix = path.suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        raise InputError(
            f"neither a slide nor an image by its suffix {suffix or '(none)'}",
            file=path,
            fix=f"expected one of {' '.join(PICTURE_SUFFIXES)}",
        )
    return _OPENERS.get(suffix, PictureSlide)(path)


def _open_slide(path: Path) -> Slide:
    """Tile by tile where the file allows it: four times as fast as OpenSlide, and exact in every
    level, where OpenSlide blends pixels when sizes of levels are rounded."""
    whose = vendor(path)
    if whose not in _PLAIN:
        return VendorSlide(path)
    try:
        return TiffSlide(path)
    except NotThisWay as why:
        return VendorSlide(path) if whose == _APERIO else PictureSlide(path, why=str(why))


def _open_vendors(path: Path) -> Slide:
    return VendorSlide(path) if vendor(path) is None else _open_slide(path)


_APERIO = "aperio"
_PLAIN = (None, "generic-tiff", _APERIO)
"""By OpenSlide's names, whose TIFFs are pages of tiles and no more."""

_OPENERS: dict[str, Callable[[Path], Slide]] = {
    **dict.fromkeys(SLIDE_SUFFIXES, _open_vendors),
    **dict.fromkeys((".tif", ".tiff"), _open_slide),
}
"""Suffix -> what opens it; every other image is a picture."""
