"""Bland-Altman and Lin's concordance, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mitoyolo.evaluation.agreement import agreement


def test_by_hand():
    # differences 1, -1, 3: mean 1, squares about it 0 + 4 + 4, sd = sqrt(8 / 2) = 2
    found = agreement([1, 3, 5], [2, 2, 8])
    assert (found["bias"], found["sd"]) == (1.0, 2.0)
    assert found["limits"] == pytest.approx([1 - 3.92, 1 + 3.92])
    # means 3 and 4; variances 8/3 and 24/3; covariance (4 + 0 + 8) / 3 = 4
    assert found["concordance"] == pytest.approx(2 * 4 / (8 / 3 + 8 + 1))


def test_equal_counts_agree():
    found = agreement([1, 2, 9], [1, 2, 9])
    assert found == {"bias": 0.0, "sd": 0.0, "limits": [0.0, 0.0], "concordance": 1.0}


def test_a_constant_excess_is_bias_and_costs_concordance():
    found = agreement([0, 10], [5, 15])
    assert (found["bias"], found["sd"], found["limits"]) == (5.0, 0.0, [5.0, 5.0])
    assert found["concordance"] == pytest.approx(2 * 25 / (25 + 25 + 25))  # correlation is 1


def test_opposite_counts_have_a_negative_concordance():
    assert agreement([0, 2], [2, 0])["concordance"] == -1.0


@pytest.mark.parametrize(
    ("annotated", "detected", "expected"),
    [
        ([], [], {"bias": None, "sd": None, "limits": None, "concordance": None}),
        ([4], [6], {"bias": 2.0, "sd": None, "limits": None, "concordance": 0.0}),
        ([4], [4], {"bias": 0.0, "sd": None, "limits": None, "concordance": None}),
        ([0, 0], [0, 0], {"bias": 0.0, "sd": 0.0, "limits": [0.0, 0.0], "concordance": None}),
    ],
    ids=["no case", "one case", "one equal case", "nothing varies"],
)
def test_what_is_undefined_is_none(annotated, detected, expected):
    assert agreement(annotated, detected) == expected


def test_the_limits_hold_95_percent_of_normal_differences():
    rng = np.random.default_rng(0)
    x = rng.uniform(50, 100, 4000)
    y = x + rng.normal(3, 5, 4000)
    low, high = agreement(x, y)["limits"]
    assert np.mean((y - x >= low) & (y - x <= high)) == pytest.approx(0.95, abs=0.01)
