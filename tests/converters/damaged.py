"""Documents with damage: one value after the other made wrong, or taken away."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from converters.errors import InputError
from converters.model import AnnotationSet
from converters.read_options import ReadOptions

WRONG: tuple[Any, ...] = (
    *(None, True, -7, 0, 1e13, math.nan, 10**400),
    *("", "x\ud800", "5", "../../etc/passwd\0"),
    *([], {}, [5], [[]], [[5, 6, 7]], {"x": {}}, [{"name": 3}]),
)
_GONE = object()

Place = tuple[str | int, ...]


def places(tree: Any, above: Place = ()) -> Iterator[Place]:
    """The place of every value in a JSON document."""
    yield above
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from places(value, (*above, key))
    elif isinstance(tree, list):
        for i, value in enumerate(tree):
            yield from places(value, (*above, i))


def changed(tree: Any, place: Place, value: Any) -> Any:
    """A copy of a document with another value at a place."""
    if not place:
        return value
    tree = json.loads(json.dumps(tree))  # a copy in which nothing is shared
    inner = tree
    for key in place[:-1]:
        inner = inner[key]
    if value is _GONE:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return tree


Reader = Callable[[Path, ReadOptions], AnnotationSet]


def check_damage(
    read: Reader, file: Path, document: Any, inside: Callable[[Place], bool] | None = None
) -> None:
    """Every damage to ``document`` is an :class:`InputError` or does no harm, and is counted under
    ``bad="drop"``: of one ``inside`` an annotation, nothing else is lost.
    """
    file.write_text(json.dumps(document))
    whole = read(file.parent, ReadOptions(annotations_only=True))
    refused = 0
    for place in places(document):
        for value in (*WRONG, _GONE):
            if value is _GONE and not place:
                continue
            file.write_text(json.dumps(changed(document, place, value)))
            where = f"{place}: {value!r:.30}"
            stopped = False
            try:
                read(file.parent, ReadOptions(annotations_only=True))
            except InputError as error:
                stopped = True
                refused += 1
                assert "\n" not in error.what, where
            except Exception as error:
                pytest.fail(f"{where}: {error!r}")
            found = read(file.parent, ReadOptions(annotations_only=True, bad="drop"))
            assert not stopped or found.dropped or found.left_out, where
            if inside and inside(place) and value is not _GONE:
                assert found.read == whole.read, where
                lost = len(whole.annotations) - len(found.annotations)
                assert lost <= 1, where
    assert refused > 20
