"""Damage to text: its encoding, its line ends, and single tokens of it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

from fuzz import values

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_WORD = re.compile(r"[A-Za-z_]{2,}")


def _one_number(rng: random.Random, text: str) -> str:
    return _replace_one(rng, text, _NUMBER, str(rng.choice(values.NUMBERS[:-1] + values.OTHERS)))


def _numbers(rng: random.Random, text: str) -> str:
    value = str(rng.choice(values.NUMBERS[:-1]))
    return _NUMBER.sub(lambda found: value if rng.random() < 0.2 else found[0], text)


def _one_word(rng: random.Random, text: str) -> str:
    return _replace_one(rng, text, _WORD, rng.choice(values.WORDS + values.NAMES))


def _replace_one(rng: random.Random, text: str, what: re.Pattern[str], value: str) -> str:
    found = list(what.finditer(text))
    if not found:
        return text + value
    one = rng.choice(found)
    return text[: one.start()] + value + text[one.end() :]


def _lines(rng: random.Random, text: str) -> str:
    lines = text.splitlines(keepends=True)
    rng.choice((rng.shuffle, lambda rows: rows.pop() if rows else None, list.reverse))(lines)
    return "".join(lines)


def _cells(rng: random.Random, text: str) -> str:
    """Another number of cells or another separator in one line."""
    lines = text.split("\n")
    i = rng.randrange(len(lines))
    old, new = rng.choice(
        ((",", ";"), (",", ",,"), (",", ""), (",", '","'), ("", "\t"), (" ", ","))
    )
    lines[i] = lines[i].replace(old, new, 1)
    return "\n".join(lines)


def _name(rng: random.Random, text: str) -> str:
    """Another name of one image, everywhere, as JSON would have it written."""
    name = json.dumps(rng.choice(values.NAMES), ensure_ascii=rng.random() < 0.5)[1:-1]
    return text.replace(rng.choice(("cell_1.png", "cell_1", "cell_2.png")), name)


TEXT: dict[str, Callable[[random.Random, str], str]] = {
    "one number": _one_number,
    "numbers": _numbers,
    "one word": _one_word,
    "lines": _lines,
    "cells": _cells,
    "name": _name,
    "CRLF": lambda rng, text: text.replace("\n", "\r\n"),
    "CR": lambda rng, text: text.replace("\n", "\r"),
    "no line ends": lambda rng, text: text.replace("\n", ""),
    "blank lines": lambda rng, text: text.replace("\n", "\n\n \n"),
    "BOM": lambda rng, text: "\ufeff" + text,
    "two BOMs": lambda rng, text: "\ufeff\ufeff" + text,
    "NULs": lambda rng, text: "\0".join(text[:2000]),
    "other line ends": lambda rng, text: text.replace("\n", rng.choice("\v\f\x1c\x85\u2028")),
}

HARMLESS = ("CRLF", "CR", "BOM", "utf-8-sig", "one number")
"""What leaves as many marks as there were."""

_ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-7", "utf-8-sig", "cp037")


def damage_text(rng: random.Random, path: Path) -> str:
    """Damage one token or all lines of a text, or its encoding; what was done is returned."""
    text = path.read_text("utf-8", "surrogateescape")
    if rng.random() < 0.15:
        encoding = rng.choice(_ENCODINGS)
        path.write_bytes(text.encode(encoding, "replace"))
        return encoding
    name = rng.choice(tuple(TEXT))
    path.write_bytes(TEXT[name](rng, text).encode("utf-8", "surrogatepass"))
    return name
