"""Scanner vendors' formats, read by OpenSlide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from converters import images
from converters.errors import InputError
from converters.image_mpp import openslide_mpp
from mitoyolo.images import RGB, over_white
from mitoyolo.slides.base import Closing, check_inside, unreadable
from mitoyolo.tiles import Window

LARGEST_TILE = 2**26
"""Pixels of one tile: scanners write 2^16 to 2^20."""


def vendor(path: Path) -> str | None:
    """Whose format a file is in, in OpenSlide's words; None for one that it does not know."""
    import openslide  # its library loads when a slide is met, not before

    try:
        return openslide.OpenSlide.detect_format(path)
    except openslide.OpenSlideError:  # known, but damaged
        return None


class VendorSlide(Closing):
    """See :class:`mitoyolo.slides.base.Slide`.

    OpenSlide takes places in whole pixels of level 0. Where a level's size is rounded, a window of
    it may lie up to half such a pixel beside what was asked, with its pixels blended accordingly.

    Raises
    ------
    InputError
        OpenSlide does not know the format, or the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _check_tiles(path)
        self._handle: Any = self._open()
        self.levels: tuple[tuple[int, int], ...] = self._handle.level_dimensions
        self.size = self.levels[0]
        self._steps: tuple[float, ...] = self._handle.level_downsamples
        self.mpp = openslide_mpp(self._handle)

    def _open(self) -> Any:
        try:
            return images.open_slide(self.path)
        except Exception:  # OpenSlide's own errors, and its library's
            raise _damaged(self.path) from None

    def read(self, level: int, window: Window) -> RGB:
        """See :meth:`mitoyolo.slides.base.Slide.read`."""
        check_inside(window, self.levels[level])
        step = self._steps[level]
        at = (round(window.x * step), round(window.y * step))
        size = (window.width, window.height)
        try:
            region = self._handle.read_region(at, level, size)
        except Exception:
            # after an error OpenSlide's handle is of no more use, to any thread that shares it
            # (https://openslide.org/api/openslide_8h.html, openslide_get_error)
            region = self._read_afresh(at, level, window)
        return over_white(np.asarray(region))

    def _read_afresh(self, at: tuple[int, int], level: int, window: Window) -> Any:
        handle = self._open()
        try:
            region = handle.read_region(at, level, (window.width, window.height))
        except Exception:
            self._handle = self._open()
            raise unreadable(self.path, level, window) from None
        self._handle = handle
        return region

    def close(self) -> None:
        """Close the file."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()


def _check_tiles(path: Path) -> None:
    """Refuse tiles for which there is no memory: OpenSlide would end the whole process there."""
    try:
        with tifffile.TiffFile(path) as tiff:
            pages = [page.aspage() for page in tiff.pages]
            largest = max(int(page.tilewidth) * int(page.tilelength) for page in pages)
    except Exception:  # not a TIFF, or so damaged that OpenSlide refuses it
        return
    if largest > LARGEST_TILE:
        raise _damaged(path)


def _damaged(path: Path) -> InputError:
    return InputError(
        "not a readable slide (damaged, cut off, or of an unknown kind)",
        file=path,
        fix="export or download it again",
    )
