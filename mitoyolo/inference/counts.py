"""The mitotic score of a slide under each published rule, each in a window of its own area."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from mitoyolo.grade import RULES, Rule, RuleScore, score
from mitoyolo.inference.hotspot import HOTSPOT_MM2, Points, hottest_circle


def scores(
    points_um: Points,
    searched_mm2: float,
    area_mm2: float = HOTSPOT_MM2,
    tumour: str = "breast",
) -> list[dict[str, Any]]:
    """Count under each rule in the hottest circle of that rule's own area, and grade the count.

    Parameters
    ----------
    points_um : (n, 2) float64
        Mitoses in µm.
    searched_mm2 : float
        The region or tissue that they were looked for in. Where it is smaller than a rule's
        window, all mitoses count, in that area, and a rule that does not hold for it gives no
        score: nothing is rescaled.
    area_mm2 : float
        The hotspot's area, which a rule shares where it holds for it; else it has its own.
    tumour : str
        The kind of tumour; any but breast carcinoma has no score.

    Returns
    -------
    list of dict
        `rule`, `area_mm2`, `count`, `score` (1 to 3, or None), `source` and `note`, one a rule.
    """
    return [asdict(_scored(rule, points_um, searched_mm2, area_mm2, tumour)) for rule in RULES]


def _scored(
    rule: Rule, points_um: Points, searched_mm2: float, area_mm2: float, tumour: str
) -> RuleScore:
    points = np.asarray(points_um, float).reshape(-1, 2)
    area = _own_area(rule, area_mm2)
    if searched_mm2 <= 0:
        note = "not graded: no tissue was searched"
        return RuleScore(rule.name, 0.0, len(points), None, rule.source, note)
    if searched_mm2 < area:
        area, count = float(searched_mm2), len(points)
    else:
        hotspot = hottest_circle(points, area)
        count = hotspot.count if hotspot else 0
    return next(found for found in score(count, area, tumour) if found.rule == rule.name)


def _own_area(rule: Rule, area_mm2: float) -> float:
    """The area asked for where the rule holds for it, else its own that is nearest."""
    if any(row.from_mm2 <= area_mm2 <= row.to_mm2 for row in rule.rows):
        return area_mm2
    return min((row.area_mm2 for row in rule.rows), key=lambda own: abs(own - area_mm2))
