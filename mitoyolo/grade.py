"""``mitoyolo grade``: the mitotic score, 1 to 3, of the Nottingham grade of breast cancer.

A count means nothing without the area in which it was made, so each rule states the areas for
which its classes hold, and a count of another area gets no score from it; nothing is rescaled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

from converters.errors import OptionError

BREAST = frozenset(
    {
        "breast", "breast cancer", "breast carcinoma", "human breast cancer",
        "human breast carcinoma", "invasive breast carcinoma",
    }
)  # fmt: skip
"""Names of the tumours for which the score is defined; other tumours of the breast have none."""


@dataclass(frozen=True, slots=True)
class Row:
    """Classes of counts, and the areas for which they hold.

    Parameters
    ----------
    window : str
        The area in words.
    area_mm2, from_mm2, to_mm2 : float
        The area itself, and the least and greatest area that count as it.
    score_1_to : int
        The most mitoses of score 1.
    score_3_from : int
        The fewest mitoses of score 3; between the two is score 2.
    """

    window: str
    area_mm2: float
    from_mm2: float
    to_mm2: float
    score_1_to: int
    score_3_from: int

    @property
    def classes(self) -> tuple[str, str, str]:
        """The counts of scores 1, 2 and 3, in words."""
        return (
            f"up to {self.score_1_to}",
            f"{self.score_1_to + 1} to {self.score_3_from - 1}",
            f"{self.score_3_from} or more",
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """A published rule: its rows, and whether they count mitoses or mitoses a mm²."""

    name: str
    source: str
    rows: tuple[Row, ...]
    per_mm2: bool = False


@dataclass(frozen=True, slots=True)
class RuleScore:
    """What one rule makes of a count: an entry of ``scores`` in ``summary.json``.

    Parameters
    ----------
    rule : str
        Name of the rule.
    area_mm2 : float
        The area in which the mitoses were counted.
    count : int
        Mitoses in it.
    score : int or None
        1, 2 or 3; None where the rule does not apply.
    source : str
        Where the rule's numbers stand.
    note : str
        The classes applied, or why there is no score.
    """

    rule: str
    area_mm2: float
    count: int
    score: int | None
    source: str
    note: str


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def ten_fields(diameter_mm: float) -> float:
    """Area, in mm², of ten round fields of a diameter in mm."""
    if not (_is_number(diameter_mm) and diameter_mm > 0):
        raise OptionError(f"field diameter {diameter_mm}: expected a number of mm above 0")
    return 10 * math.pi / 4 * diameter_mm**2


def _ten_fields(hundredths: int, score_1_to: int, score_3_from: int) -> Row:
    # The table goes by hundredths of a mm, to which a microscope's field is rounded. So an area is
    # a row's if ten round fields of that area would be: within half a step, 2.5 % of the area at
    # most.
    return Row(
        f"ten fields of {hundredths / 100:.2f} mm",
        ten_fields(hundredths / 100),
        ten_fields((hundredths - 0.5) / 100),
        ten_fields((hundredths + 0.5) / 100),
        score_1_to,
        score_3_from,
    )


RULES = (
    Rule(
        "field-diameter",
        "NHSBSP Publication 58 (2005); Table 1 of the CAP protocol for invasive breast carcinoma",
        # looked up in HL7's cancer-reporting guide (0.40 to 0.42 mm), in the templates of Kyoto
        # University Hospital (0.55 mm), in PathologyOutlines (0.59 and 0.63 mm) and, all rows
        # alike, in three public programs that follow CAP's table
        tuple(
            _ten_fields(*row)
            for row in (
                # diameter in mm/100, most mitoses of score 1, fewest of score 3
                (40, 4, 10), (41, 4, 10), (42, 5, 11), (43, 5, 11), (44, 5, 12),
                (45, 5, 12), (46, 6, 13), (47, 6, 13), (48, 6, 14), (49, 6, 14),
                (50, 7, 15), (51, 7, 15), (52, 7, 16), (53, 8, 17), (54, 8, 17),
                (55, 8, 18), (56, 8, 18), (57, 9, 19), (58, 9, 20), (59, 9, 20),
                (60, 10, 21), (61, 10, 22), (62, 11, 23), (63, 11, 23), (64, 11, 24),
                (65, 12, 25), (66, 12, 25), (67, 12, 26), (68, 13, 27), (69, 13, 28),
            )
        ),
    ),
    Rule(
        "field-0.59-mm",
        "Elston and Ellis 1991, as in PathologyOutlines; HL7 FHIR Breast Cancer Data (2018-09)",
        (_ten_fields(59, 9, 20),),
    ),
    Rule(
        "density",
        "HL7 FHIR Breast Cancer Data (2018-05), MitoticCountScoreCS",
        # The source states no area. In less than a mm² a count moves in steps of more than one a
        # mm², past the whole numbers of the classes; a mean over more than 5 mm², the largest area
        # found with the cut-offs 3 and 8 (Bonert and Tate, doi 10.1186/s12938-016-0301-z), hides
        # the most active part.
        (Row("1 to 5 mm²", 1, 1, 5, 3, 8),),
        per_mm2=True,
    ),
)  # fmt: skip
"""The rules, each number with the source in which it was looked up."""


def score(count: int, area_mm2: float, tumour: str = "breast") -> list[RuleScore]:
    """Grade a count of mitoses under every rule.

    Parameters
    ----------
    count : int
        Mitoses, counted in the most active part of the tumour.
    area_mm2 : float
        The area, in mm², in which they were counted.
    tumour : str
        The kind of tumour; any but breast carcinoma has no score.

    Returns
    -------
    list of RuleScore
        One a rule, in the order of ``RULES``.

    Raises
    ------
    OptionError
        If the count is not a whole number from 0 up, or the area not a positive number.
    """
    if not (_is_number(count) and count >= 0 and count == int(count)):
        raise OptionError(f"count {count}: expected a whole number of mitoses, 0 or more")
    if not (_is_number(area_mm2) and area_mm2 > 0):
        raise OptionError(f"area {area_mm2}: expected a number of mm² above 0")
    area = float(area_mm2)
    return [
        RuleScore(rule.name, area, int(count), *_grade(rule, int(count), area, tumour))
        for rule in RULES
    ]


def defined_for(tumour: str) -> bool:
    """Whether the Nottingham score is defined for a kind of tumour."""
    return tumour.strip().lower() in BREAST


def _grade(rule: Rule, count: int, area: float, tumour: str) -> tuple[int | None, str, str]:
    """Score, source and note."""
    if not defined_for(tumour):
        note = f"not defined: the Nottingham score is for breast carcinoma, not {tumour!r}"
        return None, rule.source, note
    # areas summed of pixels differ in their last digits
    area = round(area, 9)
    row = next((row for row in rule.rows if row.from_mm2 <= area <= row.to_mm2), None)
    if row is None:
        least, most = rule.rows[0].from_mm2, rule.rows[-1].to_mm2
        return None, rule.source, f"not graded: the rule is for {least:.2f} to {most:.2f} mm²"
    value = round(count / area, 6) if rule.per_mm2 else count
    found = 1 if value <= row.score_1_to else 3 if value >= row.score_3_from else 2
    unit = f"{value:.2f} a mm²" if rule.per_mm2 else row.window
    note = f"{unit}: {', '.join(row.classes)}"
    if found == 2 and not row.score_1_to + 1 <= value <= row.score_3_from - 1:
        note += "; between two classes as printed, above score 1 and below score 3"
    return found, rule.source, note


def rule_table() -> list[dict[str, Any]]:
    """Every row of every rule: areas in mm², classes, source."""
    return [
        {
            "rule": rule.name,
            "window": row.window,
            "area_mm2": round(row.area_mm2, 3),
            "from_mm2": round(row.from_mm2, 3),
            "to_mm2": round(row.to_mm2, 3),
            **{f"score_{i}": words for i, words in enumerate(row.classes, 1)},
            "per": "mm²" if rule.per_mm2 else "area",
            "source": rule.source,
        }
        for rule in RULES
        for row in rule.rows
    ]


def as_text(rows: list[dict[str, Any]]) -> str:
    """Rows of the same keys as aligned columns under their names."""
    cells = [list(rows[0])] + [
        ["-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
         for value in row.values()]
        for row in rows
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )
