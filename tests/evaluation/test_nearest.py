"""``amida13`` and ``tupac16``: each detection to its nearest truth, surplus ignored."""

from __future__ import annotations

import numpy as np
import pytest

from mitoyolo.evaluation.curves import average_precision, froc, precision_recall_curve
from mitoyolo.evaluation.protocols import get_protocol

from .fields_for_tests import field, random_fields

AMIDA = get_protocol("amida13")


def counts(fields, threshold=0.0):
    return tuple(AMIDA.match(fields, threshold).sum(axis=0).tolist())


def test_the_picture():
    found = [(-2, 0.9), (3, 0.4), (98, 0.8), (101, 0.7), (200, 0.6)]
    fields = [field([0, 100, 300], found)]
    assert counts(fields) == (2, 1, 1)
    assert get_protocol("tupac16").match(fields, 0.0).tolist() == [[2, 1, 1]]


def test_a_detection_between_two_belongs_to_the_nearer_alone():
    assert counts([field([0, 10], [(4, 0.9)])]) == (1, 0, 1)
    # Both belong to 0; the assignment would have moved 6 on to 12.
    assert counts([field([0, 12], [(5, 0.9), (5.9, 0.8)])]) == (1, 0, 1)
    assert counts([field([0, 12], [(5, 0.9), (6.1, 0.8)])]) == (2, 0, 0)


def test_midway_the_first_by_place_has_it():
    one = [field([0, 10, 20], [(5, 0.9), (10, 0.5)])]
    assert counts(one) == (2, 0, 1)
    assert counts([field([(0, 0), (0, 10)], [(0, 5, 0.9), (0, 10, 0.5)])]) == (2, 0, 0)
    assert counts([field([(0, 0), (10, 0)], [(5, 0, 0.9), (10, 0, 0.5)])]) == (2, 0, 0)
    both = [field(truth, [(5, 0.9), (0, 0.5)]) for truth in ([0, 10], [10, 0])]
    assert counts(both[:1]) == counts(both[1:]) == (1, 0, 1)


def test_the_radius_is_inclusive():
    assert counts([field([0], [(30, 0.9)], mpp=(0.25, 0.25))]) == (1, 0, 0)
    assert counts([field([0], [(30.1, 0.9)], mpp=(0.25, 0.25))]) == (0, 1, 1)


def by_hand(f, threshold):
    hit, wrong = set(), 0
    for d in f.detections[f.scores >= threshold]:
        gaps = [(float(np.hypot(*(t - d))), *t) for t in f.truth]
        nearest = min(gaps, default=(np.inf,))
        if nearest[0] <= 7.5:
            hit.add(nearest[1:])
        else:
            wrong += 1
    return [len(hit), wrong, len(f.truth) - len(hit)]


def test_equals_the_rule_read_literally():
    rng = np.random.default_rng(51)
    for number in range(60):
        fields = [
            field(
                [tuple(p) for p in rng.uniform(0, 40, (rng.integers(0, 8), 2))],
                [(*rng.uniform(0, 40, 2), rng.random()) for _ in range(rng.integers(0, 14))],
                image=str(image),
            )
            for image in range(4)
        ]
        threshold = number % 3 / 3
        expected = [by_hand(f, threshold) for f in fields]
        assert AMIDA.match(fields, threshold).tolist() == expected


def test_surplus_is_ignored_in_the_curves_too():
    # TP, surplus, FP, TP over 2 truths: precision 1, 1, 1/2, 2/3.
    one = [field([0, 100], [(0, 0.9), (1, 0.8), (50, 0.7), (100, 0.6)])]
    curve = precision_recall_curve(one, AMIDA)
    assert curve.precision.tolist() == pytest.approx([1, 1, 1 / 2, 2 / 3])
    assert curve.recall.tolist() == [0.5, 0.5, 0.5, 1.0]
    assert average_precision(one, AMIDA) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert froc(one, AMIDA).fp_per_image.tolist() == [0, 0, 1, 1]


def test_the_end_of_the_curve_is_the_count():
    rng = np.random.default_rng(52)
    fields = random_fields(rng, 20)
    tp, fp, fn = counts(fields)
    curve = precision_recall_curve(fields, AMIDA)
    assert (curve.recall[-1], curve.precision[-1]) == (tp / (tp + fn), tp / (tp + fp))
