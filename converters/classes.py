"""One class from what a tool stores for a mark: a word, several words, or ticked options."""

from __future__ import annotations

from typing import Any

from converters.errors import InputError
from converters.labels import canonical_label
from converters.model import LABELS


def class_of(value: Any, file: str, where: str) -> str:
    """The class that ``value`` names.

    Parameters
    ----------
    value : str, number, list of them, object of option -> true or false, or None
        What the file holds.
    file, where : str
        Its place, for messages.

    Returns
    -------
    str
        `mitosis` or `imposter` where one of the words says so, else the file's own words; empty
        where it holds none.

    Raises
    ------
    InputError
        It is something else, or it says both.
    """
    words = _words(value, file, where)
    known = [label for label in map(canonical_label, words) if label in LABELS]
    if len(set(known)) > 1:
        raise InputError(f"{', '.join(words):.60} are two classes", file=file, where=where)
    return known[0] if known else ": ".join(words)


def _words(value: Any, file: str, where: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, dict) and all(isinstance(ticked, bool) for ticked in value.values()):
        return [word for word, ticked in value.items() if ticked and word.strip()]
    words = value if isinstance(value, list) else [value]
    if any(isinstance(word, bool) or not isinstance(word, str | int | float) for word in words):
        raise InputError(
            f"expected the name of a class, found {value!r:.60}", file=file, where=where
        )
    return [word for word in map(str, words) if word.strip()]
