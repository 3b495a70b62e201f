"""The threshold with the best F1, and the middle of its plateau."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mitoyolo.evaluation.metrics import count
from mitoyolo.evaluation.protocols import get_protocol
from mitoyolo.evaluation.threshold import choose_threshold

from .fields_for_tests import field, random_fields, shuffled

CENTROID = get_protocol("centroid")
BY_CUTS = dataclasses.replace(CENTROID, sweep=None)


@pytest.mark.parametrize("protocol", [CENTROID, BY_CUTS], ids=["sweep", "cuts"])
@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        # F1 1 for cuts above 0.2, up to 0.8.
        ([0, 100], [(0, 0.9), (100, 0.8), (50, 0.2)], 0.5),
        # All detections right: every cut up to 0.8.
        ([0, 100], [(0, 0.9), (100, 0.8)], 0.4),
        # F1 at 0.9: 2/3; at 0.6: 2/4; at 0.4: 4/5; at 0.1: 4/6.
        ([0, 100], [(0, 0.9), (50, 0.6), (100, 0.4), (70, 0.1)], 0.25),
        # A plateau over two steps. 4 truths; F1 at 0.9: 2/5, at 0.8: 4/6, at 0.5 (a TP and two
        # FP): 6/9 = 4/6, at 0.3: 6/10. So from above 0.3 up to 0.8.
        (
            [0, 100, 200, 300],
            [(0, 0.9), (100, 0.8), (200, 0.5), (50, 0.5), (150, 0.5), (350, 0.3)],
            0.55,
        ),
        # Two plateaus of F1 2/3: (0.8, 0.9], and (0.1, 0.3]; 2/5 between. The wider wins.
        (
            [0, 100],
            [(0, 0.9), (50, 0.8), (150, 0.8), (100, 0.3), (250, 0.1)],
            0.2,
        ),
    ],
)
def test_by_hand(truth, found, expected, protocol):
    assert choose_threshold([field(truth, found)], protocol) == pytest.approx(expected)


def test_of_equally_wide_plateaus_the_higher_wins():
    # F1 2/3 on (0.5, 0.75] and on (0, 0.25]; 1/2 between.
    found = [(0, 0.75), (50, 0.5), (150, 0.5), (100, 0.25)]
    assert choose_threshold([field([0, 100], found)], CENTROID) == 0.625


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [field()],
        [field([0])],
        [field([], [(0, 0.9)])],
        [field([0], [(50, 0.9)])],
    ],
    ids=["no field", "empty", "no detection", "no truth", "no match"],
)
@pytest.mark.parametrize("protocol", [CENTROID, BY_CUTS], ids=["sweep", "cuts"])
def test_without_a_best_cut_it_is_one_half(fields, protocol):
    assert choose_threshold(fields, protocol) == 0.5


def test_it_is_the_best_of_all_cuts():
    rng = np.random.default_rng(31)
    for _ in range(30):
        fields = random_fields(rng)
        chosen = count(fields, CENTROID, choose_threshold(fields, CENTROID)).f1 or 0.0
        cuts = sorted({s for f in fields for s in f.scores.tolist()})
        best = max((count(fields, CENTROID, cut).f1 or 0.0 for cut in cuts), default=0.0)
        assert chosen == best


def test_cuts_and_sweep_agree():
    rng = np.random.default_rng(32)
    for _ in range(20):
        fields = random_fields(rng)
        assert choose_threshold(fields, BY_CUTS) == choose_threshold(fields, CENTROID)


def test_many_scores_are_sampled_at_200_cuts_and_still_near_the_best():
    rng = np.random.default_rng(33)
    right = [(100 * n, 0.4 + 0.6 * rng.random()) for n in range(300)]
    wrong = [(100 * n + 50, 0.6 * rng.random()) for n in range(300)]
    fields = [field([100 * n for n in range(300)], right + wrong)]
    calls = []

    def match(*given):
        calls.append(given)
        return CENTROID.match(*given)

    sampled = choose_threshold(fields, dataclasses.replace(BY_CUTS, match=match))
    exact = choose_threshold(fields, CENTROID)
    assert len(calls) == 200
    f1 = [count(fields, CENTROID, cut).f1 for cut in (sampled, exact)]
    assert f1[0] == pytest.approx(f1[1], abs=0.01)
    assert f1[0] <= f1[1]


def test_neighbouring_floats_leave_no_middle():
    low, high = 0.5, np.nextafter(0.5, 1)
    fields = [field([0], [(0, high), (50, low)])]
    assert choose_threshold(fields, CENTROID) == high


def test_order_does_not_matter():
    rng = np.random.default_rng(34)
    fields = random_fields(rng, 12)
    assert choose_threshold(fields, CENTROID) == choose_threshold(shuffled(fields, rng), CENTROID)
