"""AP and FROC on cases worked by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mitoyolo.evaluation.curves import average_precision, froc, froc_auc, precision_recall_curve
from mitoyolo.evaluation.protocols import get_protocol

from .fields_for_tests import field, random_fields, shuffled

CENTROID = get_protocol("centroid")


def test_ap_by_hand():
    # TP, FP, TP over 3 truths: (1/3, 1), (1/3, 1/2), (2/3, 2/3); 1/3 * 1 + 1/3 * 2/3.
    one = [field([0, 100, 200], [(0, 0.9), (50, 0.8), (100, 0.7)])]
    curve = precision_recall_curve(one, CENTROID)
    assert curve.scores.tolist() == [0.9, 0.8, 0.7]
    assert curve.recall.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    assert curve.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert curve.ap == average_precision(one, CENTROID) == pytest.approx(5 / 9)
    assert curve.title == "centroid, 8 µm"


def test_ap_uses_the_envelope():
    # FP, TP, TP over 2 truths: precision 0, 1/2, 2/3; the envelope is 2/3 throughout.
    one = [field([0, 100], [(50, 0.9), (0, 0.8), (100, 0.7)])]
    assert average_precision(one, CENTROID) == pytest.approx(2 / 3)


def test_ap_ranks_over_all_images():
    fields = [
        field([0], [(0, 0.6)], image="a"),
        field([], [(0, 0.9)], image="b"),
    ]
    assert average_precision(fields, CENTROID) == pytest.approx(1 / 2)


def test_each_detection_takes_its_nearest_free_truth():
    # 0.9 takes truth 10 (nearest), so 0.8 at 17 finds nothing free within 8; the gated
    # assignment would have matched both.
    greedy = [field([3, 10], [(8, 0.9), (17, 0.8)])]
    assert precision_recall_curve(greedy, CENTROID).recall.tolist() == [0.5, 0.5]
    # The nearest being taken, the next nearest in range serves.
    second = [field([4, 10], [(10, 0.9), (11, 0.8)])]
    assert precision_recall_curve(second, CENTROID).recall.tolist() == [0.5, 1.0]


def test_the_higher_score_takes_the_truth_before_a_nearer_one():
    one = [field([10], [(10, 0.5), (15, 0.9)])]
    curve = precision_recall_curve(one, CENTROID)
    assert curve.precision.tolist() == [1.0, 0.5]
    two = [field([10, 17], [(10, 0.5), (12, 0.9), (30, 0.1)])]  # 0.9 at 12 takes truth 10
    assert precision_recall_curve(two, CENTROID).recall.tolist() == [0.5, 1.0, 1.0][:3]


def test_equal_scores_are_one_step():
    one = [field([0, 100], [(0, 0.9), (50, 0.9), (100, 0.9)])]
    curve = precision_recall_curve(one, CENTROID)
    assert curve.scores.tolist() == [0.9]
    assert curve.precision.tolist() == pytest.approx([2 / 3])
    assert curve.ap == pytest.approx(2 / 3)


def test_equal_scores_in_competition_choose_together():
    # In one order 0.5 at 8 takes truth 10 and leaves 17 without; together both match.
    found = [(8, 0.5), (17, 0.5)]
    for order in (found, found[::-1]):
        assert average_precision([field([3, 10], order)], CENTROID) == 1.0


def test_a_tie_sees_what_higher_scores_left():
    one = [field([3, 10], [(10, 0.9), (8, 0.5), (12, 0.5)])]
    curve = precision_recall_curve(one, CENTROID)
    assert curve.recall.tolist() == [0.5, 1.0]
    assert curve.precision.tolist() == pytest.approx([1, 2 / 3])


def test_equally_good_choices_of_a_tie_are_settled_by_place():
    # Each of the equal ones lies midway between two truths, so one truth stays free: always the
    # same, and with it whether the last one finds it.
    truth = [(0, 0), (8, 0), (4, 4), (8, 8)]
    for last in ((-4, 0), (8, 15), (15, 0), (4, 11)):
        found = [(4, 0, 0.9), (8, 4, 0.9), (4, 8, 0.9)]
        seen = {
            tuple(
                precision_recall_curve(
                    [field(truth, [*order, (*last, 0.1)])], CENTROID
                ).recall.tolist()
            )
            for order in itertools.permutations(found)
        }
        assert len(seen) == 1


def plain_greedy(fields, radius):
    """The contract's rule read literally, for scores that are all different."""
    found = sorted(
        (
            (s, n, d)
            for n, f in enumerate(fields)
            for s, d in zip(f.scores, f.detections, strict=True)
        ),
        key=lambda row: -row[0],
    )
    free = [f.truth.tolist() for f in fields]
    hits = []
    for _, image, place in found:
        gaps = [np.hypot(*(np.array(t) - place)) for t in free[image]]
        best = int(np.argmin(gaps)) if gaps else -1
        hits.append(best >= 0 and gaps[best] <= radius)
        if hits[-1]:
            free[image].pop(best)
    return np.cumsum(hits)


def test_equals_the_rule_read_literally():
    rng = np.random.default_rng(21)
    for _ in range(40):
        fields = [
            field(
                [tuple(p) for p in rng.uniform(0, 40, (6, 2))],
                [(*rng.uniform(0, 40, 2), rng.random()) for _ in range(12)],
                image=str(image),
            )
            for image in range(4)
        ]
        expected = plain_greedy(fields, 8.0) / 24
        assert precision_recall_curve(fields, CENTROID).recall.tolist() == expected.tolist()


def test_order_does_not_matter():
    rng = np.random.default_rng(22)
    for _ in range(60):
        fields = random_fields(rng, decimals=0, size=30)
        again = shuffled(fields, rng)
        one, two = (precision_recall_curve(f, CENTROID) for f in (fields, again))
        assert one.recall.tolist() == two.recall.tolist()
        assert one.precision.tolist() == two.precision.tolist()
        assert froc_auc(fields, CENTROID) == froc_auc(again, CENTROID)


def test_froc_by_hand():
    # Two images: TP at no cost, FP (1/2 an image), TP, FP (1 an image); 2 of 4 truths.
    fields = [
        field([0, 100], [(0, 0.9), (50, 0.8)], image="a"),
        field([0, 100], [(0, 0.7), (50, 0.6)], image="b"),
    ]
    curve = froc(fields, CENTROID)
    assert curve.fp_per_image.tolist() == [0, 0.5, 0.5, 1.0]
    assert curve.sensitivity.tolist() == [0.25, 0.25, 0.5, 0.5]
    # 1/4 from 0 to 1/2, then 1/2, held flat to 8.
    assert curve.auc == froc_auc(fields, CENTROID) == pytest.approx((0.5 * 0.25 + 7.5 * 0.5) / 8)


def test_froc_is_zero_until_the_curve_begins():
    one = [field([0], [(50, 0.9), (80, 0.8), (0, 0.7)])]
    assert froc_auc(one, CENTROID) == pytest.approx(6 / 8)


def test_froc_stops_at_eight():
    false = [(50 + 20 * n, 0.9 - n / 100) for n in range(9)]
    assert froc_auc([field([0], [*false, (0, 0.1)])], CENTROID) == 0.0
    assert froc_auc([field([0], [*false[:7], (0, 0.1)])], CENTROID) == pytest.approx(1 / 8)


def test_froc_counts_images_without_any_mark():
    fields = [field([0], [(50, 0.9), (0, 0.5)], image="a")]
    empty = [field(image=str(n)) for n in range(3)]
    assert froc_auc(fields, CENTROID) == pytest.approx(7 / 8)
    assert froc_auc(fields + empty, CENTROID) == pytest.approx(7.75 / 8)


def test_without_a_truth_both_are_undefined():
    for fields in ([], [field()], [field([], [(0, 0.9)])]):
        assert average_precision(fields, CENTROID) is None
        assert froc_auc(fields, CENTROID) is None


def test_without_a_detection_both_are_zero():
    assert average_precision([field([0])], CENTROID) == 0.0
    assert froc_auc([field([0])], CENTROID) == 0.0


def test_perfect_is_one():
    one = [field([0, 100], [(0, 0.9), (100, 0.1)])]
    assert average_precision(one, CENTROID) == 1.0
    assert froc_auc(one, CENTROID) == 1.0
