"""What every reader shares: its options, strictness, and numbers checked with their place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converters.errors import InputError
from converters.images import image_size
from converters.model import AnnotationSet, Drop, LeftOut

BAD = ("stop", "drop")
UNLABELLED = ("error", "skip", "background")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How to read.

    Attributes
    ----------
    images : Path or None
        Where the images are; None: beside the annotations.
    bad : {"stop", "drop"}
        An annotation or file that cannot be understood is an error, or is left out, counted and
        listed.
    unlabelled : {"error", "skip", "background"}
        An image without an annotation file is an error, is left out, or holds no mitosis.
    """

    images: Path | None = None
    bad: str = "stop"
    unlabelled: str = "error"


@contextmanager
def lenient(found: AnnotationSet, options: ReadOptions, reason: str) -> Iterator[None]:
    """Under ``bad="drop"``, turn an :class:`InputError` of the block into a counted drop."""
    try:
        yield
    except InputError as error:
        if options.bad != "drop":
            raise
        found.dropped.append(Drop(str(error.file or ""), error.where or "", reason, error.what))


def keeps_unlabelled(found: AnnotationSet, path: Path, options: ReadOptions, expected: str) -> bool:
    """Decide on an image without an annotation file; True when it stays as background.

    ``expected`` names the file that was looked for. One that does not stay is listed in
    ``found.left_out``.

    Raises
    ------
    InputError
        ``options.unlabelled`` is `error`: nobody said whether it is negative or was never read.
    """
    if options.unlabelled == "background":
        return True
    if options.unlabelled == "error" and options.bad != "drop":
        raise InputError(
            f"no annotation file for this image (expected {expected})",
            file=path,
            fix="add the file, or say --unlabelled background (it holds no mitosis) "
            "or --unlabelled skip (leave it out)",
        )
    found.left_out.append(LeftOut(str(path), "unlabelled", f"no annotation file ({expected})"))
    return False


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an image cannot be used, though ``bad="drop"`` goes on without it."""

    reason: str
    detail: str


def leave_out(found: AnnotationSet, problems: Mapping[str, Problem]) -> AnnotationSet:
    """The set without the sources in ``problems``; their annotations are dropped, each counted."""
    fine = [item for item in found.annotations if item.source not in problems]
    lost = [item for item in found.annotations if item.source in problems]
    return replace(
        found,
        images=[image for image in found.images if image.source not in problems],
        annotations=fine,
        dropped=[
            *found.dropped,
            *(
                Drop(item.file, item.where, why.reason, why.detail)
                for item in lost
                for why in (problems[item.source],)
            ),
        ],
        left_out=[
            *found.left_out,
            *(
                LeftOut(str(image.path), why.reason, why.detail)
                for image in found.images
                if (why := problems.get(image.source))
            ),
        ],
    )


def size_of(
    path: Path, source: str, problems: dict[str, Problem], options: ReadOptions
) -> tuple[int, int]:
    """Width and height of an image; under ``bad="drop"`` a damaged one is a problem of size 0.

    Raises
    ------
    InputError
        The image is damaged.
    """
    try:
        return image_size(path)
    except InputError as error:
        if options.bad != "drop":
            raise
        problems[source] = Problem("unreadable_image", error.what)
        return (0, 0)


def number(value: Any, file: Path | str, where: str) -> float:
    """A finite float from a JSON value or a cell of text.

    Raises
    ------
    InputError
        Anything else: a word, NaN, infinity, true, null.
    """
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
    return result
