"""What every slide offers, whatever reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self

from converters.errors import InputError
from converters.mpp import Mpp
from mitoyolo.images import RGB
from mitoyolo.tiles import Window


class Slide(Protocol):
    """An open slide, a context manager; several threads may read at the same time.

    Attributes
    ----------
    path : Path
    size : (int, int)
        Width and height of level 0, pixels.
    mpp : (float, float) or None
        µm per pixel of level 0 across and down, by the file alone; None where it says nothing
        that a microscope could mean.
    levels : tuple of (int, int)
        Width and height of each level, the finest first.
    """

    path: Path
    size: tuple[int, int]
    mpp: Mpp | None
    levels: tuple[tuple[int, int], ...]

    def read(self, level: int, window: Window) -> RGB:
        """The pixels of a window inside a level, in that level's own pixels.

        What was not scanned is white.

        Raises
        ------
        InputError
            These pixels are damaged; others may still be read.
        """

    def close(self) -> None:
        """Give the file back; a second time does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class Closing:
    """``with`` for a slide."""

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def is_reduction(level: tuple[int, int], whole: tuple[int, int]) -> bool:
    """Whether a (width, height) can be ``whole`` made smaller: of its shape, but for rounding.

    Damaged headers and pictures of labels have other shapes.
    """
    step = whole[0] / level[0]
    return step > 1 and abs(whole[1] / step - level[1]) <= max(1.0, 0.01 * level[1])


def check_inside(window: Window, size: tuple[int, int]) -> None:
    """Stop a caller who asks for pixels that do not exist.

    Raises
    ------
    ValueError
        The window is empty, or not wholly inside an image of (width, height) ``size``.
    """
    right, bottom = window.x + window.width, window.y + window.height
    inside = 0 <= window.x < right <= size[0] and 0 <= window.y < bottom <= size[1]
    if not inside:
        raise ValueError(f"{window} is not inside {size[0]} x {size[1]} px")


def unreadable(path: Path, level: int, window: Window) -> InputError:
    """The error for pixels that cannot be decoded."""
    place = f"x {window.x}, y {window.y}, {window.width} x {window.height} px"
    return InputError(
        "not readable there (damaged or cut off)",
        file=path,
        where=f"{place} of level {level}" if level else place,
        fix="export or download it again",
    )
