"""What every reader shares: its options, strictness, and numbers checked with their place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.errors import InputError
from converters.model import AnnotationSet, Drop

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
        found.dropped.append(
            Drop(str(error.file or ""), error.where or "", reason, error.what)
        )


def add_unlabelled(
    found: AnnotationSet, source: str, path: Path, options: ReadOptions, expected: str
) -> bool:
    """Decide on an image without an annotation file; True when it stays as background.

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
    found.unlabelled_images.append(source)
    return False


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
        result = float(value)
    except (ValueError, OverflowError):
        raise InputError(f"{value!r} is not a number", file=file, where=where) from None
    if not math.isfinite(result):
        raise InputError(f"{value} is not a finite number", file=file, where=where)
    return result
