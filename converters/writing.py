"""What writers share: the size that a format needs, labels' names and colours, JSON as text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from converters.errors import InputError
from converters.model import ImageInfo

Note = Callable[[str], None]
"""Where a writer says what the user should know."""

Text = str | Iterator[str]
"""The text of a file, whole or in pieces."""

COLOURS = {"mitosis": (220, 0, 0), "imposter": (0, 90, 200)}
"""Red, green and blue of the classes in tools that show colours."""


def colour(label: str) -> tuple[int, int, int]:
    """A class's colour; green for others."""
    return COLOURS.get(label, (0, 160, 0))


def needed_size(image: ImageInfo, format_name: str) -> tuple[int, int]:
    """Width and height of an image, for a format that cannot be written without.

    Raises
    ------
    InputError
        Only annotations were read, and nothing says the size.
    """
    if image.size is None:
        raise InputError(
            f"the size of the image {image.source} is not known, and {format_name} needs it",
            fix="name the images' folder by --images, or a --preset that knows the size",
        )
    return image.size


def json_text(value: Any) -> str:
    """``value`` as JSON on one line; NaN, which JSON does not have, is refused."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def json_lines(records: Iterable[Any]) -> str:
    """A JSON list with one record a line: a person can read it, and it is fast to write."""
    rows = (json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records)
    return "[\n" + ",\n".join(rows) + "\n]"
