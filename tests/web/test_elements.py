"""What may be marked on a tile, and what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from pydantic import ValidationError

from converters.errors import InputError
from mitoyolo.web.elements import MOST, checked, exported
from web.marks import mark

SIZE = (64, 48)


def test_all_types_are_stored_as_they_were_sent() -> None:
    sent = [
        mark(0, 48, rotation=-1.25),
        mark(64, 0, "imposter", "rectangle", user={"confidence": 0.5, "from": "detection"}),
        mark(10, 10, kind="point"),
    ]
    assert checked(sent, *SIZE) == sent
    json.dumps(checked(sent, *SIZE), allow_nan=False)


def test_export_adds_what_real_files_have() -> None:
    element = exported(mark())
    assert (element["lineColor"], element["lineWidth"]) == ("rgb(0,0,0)", 2)
    assert (element["fillColor"], element["normal"]) == ("rgba(0,0,0,0)", [0, 0, 1])
    assert "normal" not in exported(mark(kind="point"))


@pytest.mark.parametrize(
    "change",
    [
        {"type": "polyline"},
        {"type": None},
        {"id": "x" * 24},
        {"id": "a" * 24 + "\n"},
        {"id": "<script>alert(1)</script>"},
        {"center": [1, 2]},
        {"center": [1, 2, 3]},
        {"center": [1, 2, 0, 0]},
        {"center": [math.nan, 2, 0]},
        {"center": [math.inf, 2, 0]},
        {"center": ["1", 2, 0]},
        {"center": [True, 2, 0]},
        {"center": [1, 2, math.nan]},
        {"width": 0},
        {"width": -3},
        {"width": math.nan},
        {"height": math.inf},
        {"height": None},
        {"rotation": math.nan},
        {"rotation": 1e300},
        {"label": "mitosis"},
        {"label": {"value": "fat"}},
        {"label": {"value": "<img src=x onerror=alert(1)>"}},
        {"label": {"value": "mitosis", "more": 1}},
        {"label": None},
        {"fillColor": "red"},
        {"__proto__": {}},
        {"user": {"confidence": 1.5}},
        {"user": {"confidence": math.nan}},
        {"user": {"from": "elsewhere"}},
        {"user": {"note": "x"}},
        {"user": []},
    ],
)
def test_another_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        checked([{**mark(), **change}], *SIZE)


@pytest.mark.parametrize("key", ["type", "id", "center", "width", "height", "label"])
def test_a_missing_key_is_refused(key: str) -> None:
    with pytest.raises(ValidationError):
        checked([{name: value for name, value in mark().items() if name != key}], *SIZE)


@pytest.mark.parametrize("place", [(-0.01, 5), (64.01, 5), (5, 48.01), (5, -1), (1e300, 5)])
def test_a_centre_outside_the_tile_is_refused(place: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=r"elements\[1\]: its centre .* outside the tile of 64"):
        checked([mark(), mark(*place)], *SIZE)


def test_axes_beyond_the_tile_are_refused() -> None:
    assert checked([mark(width=128, height=128)], *SIZE)
    with pytest.raises(InputError, match="longer than twice"):
        checked([mark(width=129)], *SIZE)
    with pytest.raises(InputError, match="longer than twice"):
        checked([mark(kind="rectangle") | {"height": 1e300}], *SIZE)


def test_an_id_twice_is_refused() -> None:
    with pytest.raises(InputError, match="2 elements have the id"):
        checked([mark(), mark(id="0" * 24), mark(id="0" * 24)], *SIZE)


def test_the_number_of_elements_is_bounded() -> None:
    assert len(checked([mark() for _ in range(MOST)], *SIZE)) == MOST
    with pytest.raises(ValidationError, match="at most 2000"):
        checked([mark() for _ in range(MOST + 1)], *SIZE)
