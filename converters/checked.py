"""Numbers of annotation files, refused where they cannot be what they are said to be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from converters.errors import InputError
from converters.geometry import Box, Point
from converters.read_options import Size

LARGEST = 1e12
"""px; no slide comes near, and its square is still exact enough to add."""

LARGEST_SIDE, LARGEST_AREA = 1_000_000, 200_000_000_000
"""px and px²: a whole glass slide at 0.1 µm/px."""


def checked_size(size: Size, file: Path | str, where: str) -> Size:
    """A size as a file states it, which must be that of an image: others would be cut for ever.

    Raises
    ------
    InputError
        It is larger than any slide.
    """
    if max(size) > LARGEST_SIDE or size[0] * size[1] > LARGEST_AREA:
        raise InputError(
            f"an image of {size[0]} x {size[1]} px would be larger than any slide",
            file=file,
            where=where,
        )
    return size


_SLACK = 1e-6  # px, of rounding


def checked_centroid(point: Point, box: Box, file: Path | str, where: str) -> Point:
    """A centroid that a file states beside a box, in which it must lie.

    Raises
    ------
    InputError
        It does not: one of the two is wrong, and nobody knows which.
    """
    x, y = point
    left, top, right, bottom = box
    if not lies_in(point, box):
        raise InputError(
            f"the centroid ({x:g}, {y:g}) lies outside its box, ({left:g}, {top:g}) to "
            f"({right:g}, {bottom:g})",
            file=file,
            where=where,
        )
    return point


def lies_in(point: Point, box: Box) -> bool:
    """Whether a point is in a box or, but for rounding, on its edge."""
    left, top, right, bottom = box
    return (
        left - _SLACK <= point[0] <= right + _SLACK and top - _SLACK <= point[1] <= bottom + _SLACK
    )


def checked_confidence(value: float, file: Path | str, where: str) -> float:
    """A confidence of a column that is for it, from 0 to 1.

    Raises
    ------
    InputError
        It is something else: a percentage, a logit.
    """
    if not -_SLACK <= value <= 1 + _SLACK:
        raise InputError(f"a confidence of {value!r}, expected 0 to 1", file=file, where=where)
    return value


def number(value: Any, file: Path | str, where: str) -> float:
    """A finite float from a JSON value or a cell of text.

    Raises
    ------
    InputError
        Anything else: a word, NaN, infinity, true, null.
    """
    if type(value) is float and -LARGEST < value < LARGEST:
        return value
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        if isinstance(value, str) and "_" in value:  # Python's 1_000 is nobody else's number
            raise ValueError
        result = float(value)
    except (ValueError, OverflowError):
        raise InputError(f"{value!r:.60} is not a number", file=file, where=where) from None
    if not math.isfinite(result):
        raise InputError(f"{value!s:.60} is not a finite number", file=file, where=where)
    if abs(result) > LARGEST:
        raise InputError(f"{value!s:.60} is too large", file=file, where=where)
    return result
