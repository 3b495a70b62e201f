"""Run-length masks of COCO: how many pixels are out, in, out, ... down the columns.

Lengths stand in a list, or as text: five bits a character from `0` on, the sixth bit says that
more follow, the sign in the last one's fifth; from the fourth length on, the difference to the
one two before.

Source: COCO API, common/maskApi.c. Written here rather than called: its decoder paints the whole
frame, takes any text, and counts pixels in 32 bits, which a slide exceeds.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from converters.errors import InputError
from converters.shapes import Pixels

Lengths = list[int]

_MOST_PIXELS = 1_000_000
"""More than this is no cell, and would fill the memory."""

_DIGITS = 13  # of five bits: a length has at most 64 bits


def encode(runs: Iterable[Iterable[int]], width: int, height: int) -> dict[str, Any]:
    """The mask of sorted runs (column, first row, row after the last) in an image, as COCO's
    object with `size` and the text `counts`."""
    ends: Lengths = [0]
    for column, first, end in runs:
        start = column * height + first
        if start == ends[-1] and len(ends) > 1:  # goes on at the top of the next column
            ends.pop()
        else:
            ends.append(start)
        ends.append(column * height + end)
    ends.append(width * height)
    lengths = [b - a for a, b in pairwise(ends)]
    if lengths[-1] == 0:
        lengths.pop()
    return {"size": [height, width], "counts": to_text(lengths)}


def decode(mask: Any, size: tuple[int, int] | None, file: str, where: str) -> Pixels:
    """The pixels of a mask, compressed or not.

    Parameters
    ----------
    mask : object
        COCO's, with `size` (height, width) and `counts`.
    size : (width, height) or None
        The image's, where it is known.
    file, where : str
        Its place, for messages.

    Raises
    ------
    InputError
        It has another size than the image, its lengths do not fill it, or it is larger than any
        cell.
    """
    own, counts = mask.get("size"), mask.get("counts")
    if not isinstance(own, list) or len(own) != 2 or any(type(n) is not int or n < 1 for n in own):
        raise InputError(f"size {own!r:.40}, expected [height, width]", file=file, where=where)
    height, width = own
    if size and size != (width, height):
        raise InputError(
            f"a mask of {width} x {height} px, but its image has {size[0]} x {size[1]}",
            file=file,
            where=where,
        )
    try:
        lengths = from_text(counts) if isinstance(counts, str) else _checked(counts)
    except ValueError as error:
        raise InputError(f"counts: {error}", file=file, where=where) from None
    if sum(lengths) != width * height:
        raise InputError(
            f"counts of {sum(lengths)} px in all, expected {width} x {height}",
            file=file,
            where=where,
        )
    if sum(lengths[1::2]) > _MOST_PIXELS:
        raise InputError(
            f"a mask of {sum(lengths[1::2])} px is no cell (at most {_MOST_PIXELS})",
            file=file,
            where=where,
        )
    found: set[tuple[int, int]] = set()
    at = 0
    for i, length in enumerate(lengths):
        if i % 2:
            found.update(divmod(n, height) for n in range(at, at + length))
        at += length
    if not found:
        raise InputError("a mask without a pixel", file=file, where=where)
    return Pixels(frozenset(found))


def _checked(counts: Any) -> Lengths:
    if not isinstance(counts, list) or any(type(n) is not int or n < 0 for n in counts):
        raise ValueError(f"expected text or a list of lengths, found {counts!r:.40}")
    return counts


def to_text(lengths: Lengths) -> str:
    """Lengths as the compressed text."""
    codes: list[int] = []
    for i, length in enumerate(lengths):
        rest = length - lengths[i - 2] if i > 2 else length
        while True:
            bits, rest = rest & 31, rest >> 5
            if rest == (-1 if bits & 16 else 0):
                codes.append(48 + bits)
                break
            codes.append(48 + 32 + bits)
    return bytes(codes).decode("ascii")


def from_text(text: str) -> Lengths:
    """The lengths in a compressed text.

    Raises
    ------
    ValueError
        It is no such text.
    """
    lengths: Lengths = []
    value = digits = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or digits == _DIGITS:
            raise ValueError(f"character {character!a} is no part of a length")
        value |= (code & 31) << 5 * digits
        digits += 1
        if code & 32:
            continue
        if code & 16:
            value -= 1 << 5 * digits
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        if lengths[-1] < 0:
            raise ValueError(f"a length of {lengths[-1]}")
        value = digits = 0
    if digits:
        raise ValueError("the text ends within a length")
    return lengths
