"""The threshold with the best F1, and the middle of its plateau."""

from __future__ import annotations

import numpy as np
import pytest

from mitoyolo.evaluation.metrics import count
from mitoyolo.evaluation.protocols import PROTOCOLS, get_protocol
from mitoyolo.evaluation.threshold import choose_threshold

from .fields_for_tests import field, random_fields, rich_fields, shuffled

CENTROID = get_protocol("centroid")


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
def test_by_hand(truth, found, expected):
    assert choose_threshold([field(truth, found)], CENTROID) == pytest.approx(expected)


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
def test_without_a_best_cut_it_is_one_half(fields):
    assert choose_threshold(fields, CENTROID) == 0.5


@pytest.mark.parametrize("name", PROTOCOLS)
def test_it_is_the_best_of_all_cuts(name):
    rng = np.random.default_rng(31)
    for _ in range(15):
        fields, protocol = rich_fields(rng, size=12), get_protocol(name)
        chosen = count(fields, protocol, choose_threshold(fields, protocol)).f1 or 0.0
        cuts = sorted({s for f in fields for s in f.scores.tolist()})
        best = max((count(fields, protocol, cut).f1 or 0.0 for cut in cuts), default=0.0)
        assert chosen == best > 0


def test_neighbouring_floats_leave_no_middle():
    low, high = 0.5, np.nextafter(0.5, 1)
    fields = [field([0], [(0, high), (50, low)])]
    assert choose_threshold(fields, CENTROID) == high


def test_order_does_not_matter():
    rng = np.random.default_rng(34)
    fields = random_fields(rng, 12)
    assert choose_threshold(fields, CENTROID) == choose_threshold(shuffled(fields, rng), CENTROID)
