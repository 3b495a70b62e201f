"""A picture as a slide of one level: decoded whole, once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from converters.errors import InputError
from converters.image_mpp import image_mpp
from converters.images import image_size
from mitoyolo.images import LARGEST_SLIDE, RGB, read_rgb
from mitoyolo.slides.base import Closing, check_inside
from mitoyolo.tiles import Window


class PictureSlide(Closing):
    """See :class:`mitoyolo.slides.base.Slide`.

    Parameters
    ----------
    why : str, optional
        Why the file must be decoded whole, for the message about one that is too large for it.

    Raises
    ------
    InputError
        The picture is damaged, not 8-bit colour, or too large to be held in memory.
    """

    def __init__(self, path: Path, why: str = "") -> None:
        width, height = image_size(path)
        if width * height > LARGEST_SLIDE:
            raise InputError(
                f"{width} x {height} px are too many to be decoded at once"
                + (f", as this file needs ({why})" if why else ""),
                file=path,
                fix="convert it to a tiled 8-bit RGB TIFF",
            )
        self.path = path
        self._pixels = read_rgb(path)
        self.size = (self._pixels.shape[1], self._pixels.shape[0])
        self.levels: tuple[tuple[int, int], ...] = (self.size,)
        self.mpp = image_mpp(path)

    def read(self, level: int, window: Window) -> RGB:
        """See :meth:`mitoyolo.slides.base.Slide.read`."""
        check_inside(window, self.levels[level])
        rows = slice(window.y, window.y + window.height)
        return np.ascontiguousarray(self._pixels[rows, window.x : window.x + window.width])
