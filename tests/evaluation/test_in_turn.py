"""``midog``: truths in list order, and the organisers' own package beside it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from grand_challenge_metrics.scorers import score_detection

from mitoyolo.evaluation.curves import precision_recall_curve
from mitoyolo.evaluation.fields import Field
from mitoyolo.evaluation.protocols import get_protocol

from .fields_for_tests import field, random_fields

MIDOG = get_protocol("midog")


def counts(fields, threshold=0.0):
    return tuple(MIDOG.match(fields, threshold).sum(axis=0).tolist())


def package(fields, threshold=0.0, unit=1.0):
    """The organisers' counts, an image at a time; ``unit`` µm, 1000 for millimetres."""
    total = np.zeros(3, dtype=int)
    for f in fields:
        kept = f.detections[f.scores >= threshold]
        score = score_detection(
            ground_truth=(f.truth * f.mpp / unit).tolist(),
            predictions=(kept * f.mpp / unit).tolist(),
            radius=7.5 / unit,
        )
        total += [score.true_positives, score.false_positives, score.false_negatives]
    return tuple(total.tolist())


def test_the_picture():
    found = [(-6, 0.5), (4, 0.9)]
    assert counts([field([0, 10], found)]) == package([field([0, 10], found)]) == (1, 1, 1)
    assert counts([field([10, 0], found)]) == package([field([10, 0], found)]) == (2, 0, 0)


def test_scores_play_no_part_above_the_threshold():
    for scores in ((0.9, 0.1), (0.1, 0.9)):
        found = [(-6, scores[0]), (4, scores[1])]
        assert counts([field([0, 10], found)], 0.1) == (1, 1, 1)
    assert counts([field([0, 10], [(-6, 0.1), (4, 0.9)])], 0.5) == (1, 0, 1)


def test_a_second_detection_is_a_false_positive_and_a_second_truth_a_miss():
    assert counts([field([0], [(1, 0.9), (2, 0.8)])]) == (1, 1, 0)
    assert counts([field([0, 2], [(1, 0.9)])]) == (1, 0, 1)


def test_a_chain_moves_on_down_the_list():
    # By falling score: 1 takes T0; 3 is nearer to T2 (at 4); 0 sends 1 on to T2, which sends
    # neither: 3 keeps it; -1 finds nothing.
    found = [(1, 0.9), (3, 0.8), (0, 0.7), (-1, 0.6)]
    for cut, expected in ((0.9, 1), (0.8, 2), (0.7, 2), (0.6, 2)):
        fields = [field([0, 4], found)]
        assert counts(fields, cut)[0] == package(fields, cut)[0] == expected


def test_of_equally_near_detections_the_first_listed_is_taken():
    # T0 is as far from 7 as from -7; T1 at 14 needs 7.
    for found, tp in (([(7, 0.5), (-7, 0.5)], 1), ([(-7, 0.5), (7, 0.5)], 2)):
        fields = [field([0, 14], found)]
        assert counts(fields)[0] == package(fields)[0] == tp


@pytest.mark.parametrize(
    ("gap", "tp"), [(7.5, 1), (np.nextafter(7.5, 8), 0), (np.nextafter(7.5, 7), 1)]
)
def test_the_radius_is_inclusive_to_the_last_bit(gap, tp):
    # A second, far detection keeps the package from its shortcut for a single point.
    fields = [field([0], [(gap, 0.5), (100, 0.5)])]
    assert counts(fields)[0] == package(fields)[0] == tp


def test_30_pixels_at_a_quarter_are_in_range_wherever_they_lie():
    fields = [
        field([(x, x)], [(x + 18, x + 24, 0.5)], image=str(x), mpp=(0.25, 0.25)) for x in range(200)
    ]
    assert counts(fields) == (200, 0, 0)


def cases(seed, number, draw, most=60):
    rng = np.random.default_rng(seed)
    for _ in range(number):
        n, m = rng.integers(0, 20), rng.integers(0, most + 1)
        t, d = draw(rng, n), draw(rng, m)
        yield [
            Field(image="a", case="1", mpp=(1.0, 1.0), truth=t, detections=d, scores=rng.random(m))
        ]


@pytest.mark.parametrize(
    ("draw", "most"),
    [
        (lambda rng, n: rng.uniform(0, 60, (n, 2)), 60),
        (lambda rng, n: rng.normal(0, 6, (n, 2)), 60),  # a clump
        (lambda rng, n: rng.integers(0, 40, (n, 2)).astype(float), 60),  # ties, and pairs at 7.5
        (lambda rng, n: rng.integers(0, 400, (n, 2)) * 0.1, 60),  # the same, rounded
        # Points on points. Among more than 15 in range, the package's sort takes equally near
        # ones in an order of its own.
        (lambda rng, n: rng.integers(0, 12, (n, 2)).astype(float), 15),
    ],
    ids=["loose", "clump", "grid", "tenths", "crowd"],
)
def test_equals_the_organisers_package_on_random_cases(draw, most):
    for fields in cases(41, 400, draw, most):
        for threshold in (0.0, 0.5):
            assert counts(fields, threshold) == package(fields, threshold)


def test_equals_the_organisers_package_in_millimetres():
    for fields in cases(42, 300, lambda rng, n: rng.uniform(0, 60, (n, 2))):
        assert counts(fields) == package(fields, unit=1000)


def test_equals_the_organisers_package_on_large_images():
    # Over 80 detections its search tree has branches.
    rng = np.random.default_rng(43)
    for _ in range(20):
        t, d = rng.uniform(0, 300, (200, 2)), rng.uniform(0, 300, (600, 2))
        one = [
            Field(
                image="a", case="1", mpp=(0.5, 0.25), truth=t, detections=d, scores=rng.random(600)
            )
        ]
        for threshold in (0.0, 0.3, 0.9):
            assert counts(one, threshold) == package(one, threshold)


def test_every_threshold_of_one_pass_equals_the_package():
    rng = np.random.default_rng(44)
    for number in range(40):
        fields = random_fields(rng, decimals=1 + number % 2, size=(15, 25, 40)[number % 3])
        steps = MIDOG.sweep(fields)
        for score, *row in zip(steps.scores, steps.tp, steps.fp, steps.fn, strict=True):
            assert tuple(row) == package(fields, score)


def test_the_curves_go_by_score_all_the_same():
    # 0.9 takes T0 and leaves 0.5 nothing; in turn, T0 takes 0.5 at 1 and T1 then takes 0.9.
    fields = [field([0, 10], [(4, 0.9), (1, 0.5)])]
    assert counts(fields) == (2, 0, 0)
    assert precision_recall_curve(fields, MIDOG).recall.tolist() == [0.5, 0.5]


def test_only_the_order_within_an_image_matters():
    rng = np.random.default_rng(45)
    fields = random_fields(rng, 12)
    assert counts(fields) == counts(fields[::-1])
    flipped = [dataclasses.replace(f, truth=f.truth[::-1]) for f in fields]
    assert counts(flipped) == package(flipped)
