"""The mitotic score: every published number at both edges of its class, and areas of no rule."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict

import numpy as np
import pytest
from conftest import Cli

from converters.errors import InputError
from mitoyolo.grade import RULES, rule_table, score, ten_fields

FIELD_DIAMETER = """
0.40 4 5-9 10      0.41 4 5-9 10      0.42 5 6-10 11     0.43 5 6-10 11     0.44 5 6-11 12
0.45 5 6-11 12     0.46 6 7-12 13     0.47 6 7-12 13     0.48 6 7-13 14     0.49 6 7-13 14
0.50 7 8-14 15     0.51 7 8-14 15     0.52 7 8-15 16     0.53 8 9-16 17     0.54 8 9-16 17
0.55 8 9-17 18     0.56 8 9-17 18     0.57 9 10-18 19    0.58 9 10-19 20    0.59 9 10-19 20
0.60 10 11-20 21   0.61 10 11-21 22   0.62 11 12-22 23   0.63 11 12-22 23   0.64 11 12-23 24
0.65 12 13-24 25   0.66 12 13-24 25   0.67 12 13-25 26   0.68 13 14-26 27   0.69 13 14-27 28
"""
"""The published table: diameter in mm, most of score 1, score 2, fewest of score 3."""

ROWS = re.findall(r"(\S+) (\d+) (\d+)-(\d+) (\d+)", FIELD_DIAMETER)


def scores(count: int, area: float, tumour: str = "breast") -> dict[str, int | None]:
    return {entry.rule: entry.score for entry in score(count, area, tumour)}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_field_diameter_table(row):
    one, low, high, three = map(int, row[1:])
    assert low == one + 1 and three == high + 1
    area = 10 * math.pi * (float(row[0]) / 2) ** 2
    found = [score(n, area)[0] for n in (0, one, low, high, three, 10 * three)]
    assert [entry.score for entry in found] == [1, 1, 2, 2, 3, 3]
    classes = f"up to {one}, {low} to {high}, {three} or more"
    assert {entry.note for entry in found} == {f"ten fields of {row[0]} mm: {classes}"}


def test_the_table_is_whole():
    assert [row[0] for row in ROWS] == [f"0.{hundredths}" for hundredths in range(40, 70)]
    assert len(RULES[0].rows) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_table_is_10_and_20_in_274_mm2_in_proportion_to_the_area(row):
    """Rounded up to whole mitoses: so the rows bear each other out, and the rule of 0.59 mm."""
    area = 10 * math.pi * (float(row[0]) / 2) ** 2
    assert [int(row[2]), int(row[4])] == [math.ceil(n * area / 2.74) for n in (10, 20)]


PRINTED_AREAS = (
    0.125, 0.132, 0.139, 0.145, 0.152, 0.159, 0.166, 0.173, 0.181, 0.189,
    0.196, 0.204, 0.212, 0.221, 0.229, 0.238, 0.246, 0.255, 0.264, 0.273,
    0.283, 0.292, 0.302, 0.312, 0.322, 0.332, 0.342, 0.353, 0.363, 0.374,
)  # fmt: skip
"""The area of a field, mm², as the table prints it beside the diameter."""


@pytest.mark.parametrize(("row", "field"), zip(ROWS, PRINTED_AREAS, strict=True))
def test_ten_printed_areas_belong_to_their_row(row, field):
    assert score(1, 10 * field)[0].note.startswith(f"ten fields of {row[0]} mm: ")


@pytest.mark.parametrize("area", [2.74, 2.734, 10 * 0.274])
def test_a_field_of_059_mm(area):
    found = [scores(n, area)["field-0.59-mm"] for n in (0, 9, 10, 19, 20, 99)]
    assert found == [1, 1, 2, 2, 3, 3]


def test_the_rule_of_059_mm_is_not_for_2_mm2():
    """20 in 2.74 mm² are 15 in 2 mm²: there the rule would say 2 where the table says 3."""
    assert scores(15, 2.0) == {"field-diameter": 3, "field-0.59-mm": None, "density": 2}
    assert scores(20, 2.74) == {"field-diameter": 3, "field-0.59-mm": 3, "density": 2}


@pytest.mark.parametrize("area", [1, 2, 3, 5])
def test_density(area):
    found = [scores(n * area, area)["density"] for n in (0, 3, 4, 7, 8, 50)]
    assert found == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(("count", "expected"), [(6, 1), (7, 2), (8, 2), (14, 2), (15, 2), (16, 3)])
def test_a_density_between_two_classes_is_score_2_and_says_so(count, expected):
    (entry,) = (entry for entry in score(count, 2) if entry.rule == "density")
    assert entry.score == expected
    assert ("between two classes" in entry.note) == (count in (7, 15))
    assert entry.note.startswith(f"{count / 2:.2f} a mm²: up to 3, 4 to 7, 8 or more")


@pytest.mark.parametrize(
    ("diameter", "row"),
    [(0.3951, "0.40"), (0.4049, "0.40"), (0.4051, "0.41"), (0.6949, "0.69"), (0.5046, "0.50")],
)
def test_an_area_belongs_to_the_row_within_half_a_step(diameter, row):
    assert score(1, ten_fields(diameter))[0].note.startswith(f"ten fields of {row} mm: up to ")


@pytest.mark.parametrize(
    ("area", "rule", "window"),
    [
        (ten_fields(0.3949), "field-diameter", "1.23 to 3.79 mm²"),
        (ten_fields(0.6951), "field-diameter", "1.23 to 3.79 mm²"),
        (ten_fields(0.5849), "field-0.59-mm", "2.69 to 2.78 mm²"),
        (ten_fields(0.5951), "field-0.59-mm", "2.69 to 2.78 mm²"),
        (0.999, "density", "1.00 to 5.00 mm²"),
        (5.001, "density", "1.00 to 5.00 mm²"),
        (1e-12, "density", "1.00 to 5.00 mm²"),
        (1e300, "density", "1.00 to 5.00 mm²"),
    ],
)
def test_a_count_of_another_area_has_no_score(area, rule, window):
    (entry,) = (entry for entry in score(30, area) if entry.rule == rule)
    assert (entry.score, entry.note) == (None, f"not graded: the rule is for {window}")


def test_the_last_digits_of_a_summed_area_do_not_matter():
    assert scores(3, 1 - 1e-12)["density"] == scores(3, sum([0.1] * 10))["density"] == 1
    assert scores(7, 7 / 3)["density"] == scores(6, 2 - 1e-12)["density"] == 1
    assert scores(40, 5 + 1e-12)["density"] == 3


def test_an_entry_is_one_of_summary_json():
    entries = [asdict(entry) for entry in score(np.int64(12), np.float32(2.75))]
    assert json.loads(json.dumps(entries)) == entries
    for entry, rule in zip(entries, RULES, strict=True):
        assert list(entry) == ["rule", "area_mm2", "count", "score", "source", "note"]
        assert (entry["rule"], entry["source"]) == (rule.name, rule.source)
        assert (entry["area_mm2"], entry["count"], entry["score"]) == (2.75, 12, 2)


@pytest.mark.parametrize("tumour", ["breast", " Human Breast Cancer ", "breast carcinoma"])
def test_names_of_breast_cancer(tumour):
    assert scores(12, 2.74, tumour)["field-0.59-mm"] == 2


@pytest.mark.parametrize("tumour", ["melanoma", "", "breast sarcoma", "canine mammary carcinoma"])
def test_another_tumour_has_no_score(tumour):
    for entry in score(12, 2.74, tumour):
        assert entry.score is None
        assert entry.note.startswith("not defined: ") and repr(tumour) in entry.note


@pytest.mark.parametrize("count", [-1, 2.5, math.nan, math.inf, True, "3", None])
def test_a_count_is_a_whole_number(count):
    with pytest.raises(InputError, match=r"^count .*: expected a whole number"):
        score(count, 2)


@pytest.mark.parametrize("area", [0, -1, math.nan, math.inf, True, "2", None])
def test_an_area_is_positive(area):
    with pytest.raises(InputError, match=r"^area .*: expected a number of mm² above 0"):
        score(3, area)


@pytest.mark.parametrize("diameter", [0, -0.5, math.nan, math.inf, "0.5"])
def test_a_diameter_is_positive(diameter):
    with pytest.raises(InputError, match=r"^field diameter .*: expected a number of mm above 0"):
        ten_fields(diameter)


def test_the_command_prints_a_row_a_rule(cli: Cli):
    result = cli("grade", "--count", 15, "--area", 2)
    head, *lines = result.out.splitlines()
    assert (result.code, result.err) == (0, "")
    assert head.split() == ["rule", "area_mm2", "count", "score", "source", "note"]
    assert [line.split()[:4] for line in lines] == [
        ["field-diameter", "2", "15", "3"],
        ["field-0.59-mm", "2", "15", "-"],
        ["density", "2", "15", "2"],
    ]
    for line, entry in zip(lines, score(15, 2), strict=True):
        assert line.endswith(entry.note) and line.index(entry.source) == head.index("source")


def test_the_command_for_machines(cli: Cli):
    result = cli("grade", "--count", 9, "--field-diameter", 0.55, "--json")
    entries = json.loads(result.out)
    assert " a mm²: " in result.out
    assert entries == [asdict(entry) for entry in score(9, ten_fields(0.55))]
    assert [entry["score"] for entry in entries] == [2, None, 2]


def test_the_command_for_another_tumour(cli: Cli):
    call = ("grade", "--count", 9, "--area", 2, "--tumour", "melanoma")
    result = cli(*call)
    assert (result.code, len(result.out.splitlines())) == (0, 1)
    assert result.out.startswith("not defined: ") and "'melanoma'" in result.out
    assert [entry["score"] for entry in json.loads(cli(*call, "--json").out)] == [None] * 3


def test_the_command_prints_its_rules(cli: Cli):
    rows = rule_table()
    assert json.loads(cli("grade", "--table", "--json").out) == rows
    assert [row["rule"] for row in rows] == ["field-diameter"] * 30 + ["field-0.59-mm", "density"]
    row = next(row for row in rows if row["window"] == "ten fields of 0.40 mm")
    assert (row["area_mm2"], row["from_mm2"], row["to_mm2"]) == (1.257, 1.225, 1.288)
    classes = [tuple(row[f"score_{i}"] for i in (1, 2, 3)) for row in (rows[0], rows[-1])]
    assert classes == [("up to 4", "5 to 9", "10 or more"), ("up to 3", "4 to 7", "8 or more")]
    assert (rows[-1]["area_mm2"], rows[-1]["from_mm2"], rows[-1]["to_mm2"]) == (1, 1, 5)
    assert [row["per"] for row in rows] == ["area"] * 31 + ["mm²"]
    result = cli("grade", "--table")
    head, *lines = result.out.splitlines()
    assert result.code == 0 and head.split() == list(rows[0])
    for line, row in zip(lines, rows, strict=True):
        assert all(text in line for text in (row["window"], row["score_2"], row["source"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--count -1 --area 2", "count -1.0: expected a whole number"),
        ("--count 2.5 --area 2", "count 2.5: expected a whole number"),
        ("--count 3 --area 0", "area 0.0: expected a number of mm² above 0"),
        ("--count 3 --area nan", "area nan: expected a number of mm² above 0"),
        ("--count 3 --field-diameter -0.5", "field diameter -0.5: expected a number of mm"),
    ],
)
def test_wrong_values_are_one_line(cli: Cli, options: str, message: str):
    result = cli("grade", *options.split())
    assert result.code == 2 and result.out == ""
    assert message in result.error and len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "expected --count and --area"),
        ("--count 3", "expected --count and --area"),
        ("--area 2", "expected --count and --area"),
        ("--count 3 --area 2 --field-diameter 0.5", "--area exclude each other"),
        ("--table --count 3", "takes no count and no area"),
        ("--table --area 3", "takes no count and no area"),
        ("--table --field-diameter 0.5", "takes no count and no area"),
    ],
)
def test_wrong_calls(cli: Cli, options: str, message: str):
    result = cli("grade", *options.split())
    assert (result.code, result.out) == (2, "") and message in " ".join(result.err.split())
