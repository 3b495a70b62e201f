"""How annotations are read, as a call says it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BAD = ("stop", "drop")
UNLABELLED = ("error", "skip", "background")

Size = tuple[int, int]
"""Width and height in px."""


def no_frame(scanner: str, case: str) -> Size | None:
    """Nothing is known of frames."""
    return None


def no_mpp(scanner: str, case: str) -> tuple[float, float] | None:
    """Nothing is known of µm/px."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How to read.

    Attributes
    ----------
    images : Path or None
        Where the images are; None: beside the annotations.
    out : Path or None
        The folder that is written, in which nothing is looked for: it may lie beside the
        annotation file.
    bad : {"stop", "drop"}
        An annotation or file that cannot be understood is an error, or is left out, counted and
        listed.
    unlabelled : {"error", "skip", "background"}
        An image without an annotation file is an error, is left out, or holds no mitosis.
    include_unlabelled : bool
        Keep images that nobody annotated, marked as such and never scored (MIDOG).
    annotations_only : bool
        Look for no images: sizes come from the annotation file, else from ``frame``.
    frame : callable
        Scanner and case -> size of its frames in px, or None: what the preset knows.
    columns : tuple of str
        The columns of a centroid table, `x,y` or `row,col` and more; empty: from its header.
    one_based : bool
        The first pixel of the file is number 1.
    mpp : (float, float) or None
        µm per pixel as the user states it, for files in millimetres; None: the image's own.
    preset_mpp : callable
        Scanner and case -> µm per pixel, or None: what the preset knows, where the image does not.
    """

    images: Path | None = None
    out: Path | None = None
    bad: str = "stop"
    unlabelled: str = "error"
    include_unlabelled: bool = False
    annotations_only: bool = False
    frame: Callable[[str, str], Size | None] = no_frame
    columns: tuple[str, ...] = ()
    one_based: bool = False
    mpp: tuple[float, float] | None = None
    preset_mpp: Callable[[str, str], tuple[float, float] | None] = no_mpp
