"""The score under each rule, in windows of the rules' own areas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mitoyolo.grade import RULES, ten_fields
from mitoyolo.inference.counts import scores


def ring(count: int, radius: float) -> np.ndarray:
    """Points on a circle, which one of a smaller radius cannot hold."""
    angle = np.arange(count) * 2 * math.pi / count
    return 5000 + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def by_rule(entries: list[dict[str, object]]) -> dict[object, dict[str, object]]:
    return {entry["rule"]: entry for entry in entries}


def test_each_rule_counts_in_its_own_area() -> None:
    # a circle of 2 mm² has a radius of 798 µm, one of ten fields of 0.59 mm of 933 µm
    found = by_rule(scores(np.concatenate([ring(40, 900), ring(9, 100)]), 100.0))
    assert set(found) == {rule.name for rule in RULES}
    assert all(set(entry) >= {"rule", "area_mm2", "count", "score", "source"}
               for entry in found.values())  # fmt: skip
    assert found["field-0.59-mm"]["area_mm2"] == pytest.approx(ten_fields(0.59))
    assert found["field-0.59-mm"]["count"] == 49
    assert found["field-diameter"]["area_mm2"] == found["density"]["area_mm2"] == 2.0
    assert 9 < found["field-diameter"]["count"] < 49  # type: ignore[operator]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (7, {"field-diameter": 1, "field-0.59-mm": 1, "density": 2}),
        (8, {"field-diameter": 2, "field-0.59-mm": 1, "density": 2}),
        (15, {"field-diameter": 3, "field-0.59-mm": 2, "density": 2}),
        (20, {"field-diameter": 3, "field-0.59-mm": 3, "density": 3}),
        (0, {"field-diameter": 1, "field-0.59-mm": 1, "density": 1}),
    ],
)
def test_scores(count: int, expected: dict[str, int]) -> None:
    found = by_rule(scores(ring(count, 50), 100.0))
    assert {rule: entry["score"] for rule, entry in found.items()} == expected


def test_a_hotspot_of_another_area() -> None:
    found = by_rule(scores(ring(5, 50), 100.0, 10.0))
    assert found["field-diameter"]["area_mm2"] == pytest.approx(ten_fields(0.69))  # the nearest
    assert found["density"]["area_mm2"] == 1
    assert by_rule(scores(ring(5, 50), 100.0, 3.0))["density"]["area_mm2"] == 3


def test_less_than_a_window_was_searched() -> None:
    found = by_rule(scores(ring(12, 50), 1.5))
    assert {entry["area_mm2"] for entry in found.values()} == {1.5}
    assert {entry["count"] for entry in found.values()} == {12}
    assert found["field-0.59-mm"]["score"] is None  # 12 in 1.5 mm² say nothing of 2.7 mm²
    assert found["field-diameter"]["score"] == 3  # a row of its own
    assert found["density"]["score"] == 3


def test_nothing_was_searched() -> None:
    for entry in scores(np.empty((0, 2)), 0.0):
        assert (entry["count"], entry["score"], entry["area_mm2"]) == (0, None, 0.0)
        assert "no tissue" in entry["note"]


def test_no_other_tumour_has_a_score() -> None:
    assert {entry["score"] for entry in scores(ring(20, 50), 100.0, tumour="melanoma")} == {None}
