"""Damage to a JSON document: values of other types, keys gone or twice, depth."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from fuzz import values
from fuzz.damage_bytes import damage_bytes

_RAW = "\x01raw\x01"  # the place of what json.dumps would not write
_TWICE = "\x01twice\x01"  # before a key that stands twice
_DEPTH = 100_000
_LARGE = 50_000  # bytes


def damage_json(rng: random.Random, path: Path) -> str:
    """Damage one to three places of a document; what was done is returned."""
    try:
        tree = json.loads(path.read_bytes())
    except (ValueError, RecursionError):  # damaged before
        return damage_bytes(rng, path)
    scalar, raw, done, many = (
        True,
        "0",
        [],
        (2, 300) if path.stat().st_size > _LARGE else (2, 300, 5000),
    )
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        place = _place(rng, tree)
        if place is None:
            tree, scalar = values.any_value(rng), False
            continue
        name = rng.choice(_KINDS)
        scalar &= name in _OF_SCALARS and not isinstance(place[0][place[1]], dict | list)
        done.append(f"{name} at {place[1]!r:.30}")
        raw = _damage(rng, name, *place, rng.choice(many)) or raw
        many = (2,)  # of many there are soon too many
    if rng.random() < 0.05:
        tree, name = rng.choice(
            ((list(tree), "as a list"), ([tree], "in a list"), ({"x": tree}, ""))
        )
        done.append(name)
        scalar = False
    text = json.dumps(tree, indent=rng.choice((None, 1)))
    text = text.replace(json.dumps(_RAW), raw).replace(json.dumps(_TWICE)[1:-1], "")
    path.write_text(text)
    return (SCALARS if scalar else "") + ", ".join(done)


SCALARS = "single values: "
"""What is told of damage that changes no list and no object, and leaves as many marks."""

_OF_SCALARS = ("a value", "a name", "a number", "null")
_KINDS = (
    *("a value", "a value", "a value", "a name", "gone", "twice", "renamed", "null", "a number"),
    *("copied", "depth", "a long number", "many", "swarm"),
)


def _damage(rng: random.Random, name: str, holder: Any, key: Any, many: int) -> str | None:
    """Damage the value under a key of an object or list; raw text for its place, if any."""
    match name:
        case "a value":
            holder[key] = values.any_value(rng)
        case "a name":
            holder[key] = rng.choice(values.NAMES)
        case "a number":
            holder[key] = rng.choice(values.NUMBERS)
        case "swarm" if isinstance(holder, list):
            holder.extend([holder[key]] * many)
        case "gone":
            del holder[key]
        case "null":
            holder[key] = None
        case "many":
            holder[key] = [holder[key]] * many
        case "twice" if isinstance(holder, dict):
            holder[_TWICE + key] = values.any_value(rng)
        case "renamed" if isinstance(holder, dict):
            holder[rng.choice((key.upper(), key + "s", "", "id", "name"))] = holder.pop(key)
        case "copied" | "swarm" | "twice" | "renamed":
            holder[key] = rng.choice(list(holder.values() if isinstance(holder, dict) else holder))
        case "depth":
            holder[key] = _RAW
            opens, closes = rng.choice((("[", "]"), ('{"a":', "}"), ("[", "")))
            return opens * _DEPTH + "1" + closes * _DEPTH
        case _:
            holder[key] = _RAW
            return rng.choice(
                ("1" + "0" * 5000, "-" + "9" * 4400, "1e999999", "0." + "0" * 5000 + "1")
            )
    return None


def _place(rng: random.Random, tree: Any) -> tuple[Any, Any] | None:
    """An object or list in a document and one of its keys: deep ones are as likely as others."""
    here, found = tree, None
    while isinstance(here, dict | list) and here:
        key = rng.choice(list(here)) if isinstance(here, dict) else rng.randrange(len(here))
        found = (here, key)
        if rng.random() < 0.12:
            break
        here = here[key]
    return found
