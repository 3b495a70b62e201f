"""``mitos-rcnn``: annotated cells by the class of the best detection on them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mitoyolo.evaluation.cells import CELLS
from mitoyolo.evaluation.curves import average_precision, froc_auc, rank
from mitoyolo.evaluation.protocols import get_protocol

from .fields_for_tests import field, rich_fields, shuffled

PAPER = get_protocol("mitos-rcnn")


def cells(truth, lookalikes, mitoses, imposters=(), **rest):
    """Places x, or (x, score) for detections."""
    return field(
        truth,
        mitoses,
        imposters=np.array([(x, 0) for x in lookalikes], dtype=float).reshape(-1, 2),
        imposter_detections=np.array([(x, 0) for x, _ in imposters], dtype=float).reshape(-1, 2),
        imposter_scores=np.array([score for _, score in imposters], dtype=float),
        **rest,
    )


def counts(fields, threshold=0.0):
    return tuple(PAPER.match(fields, threshold).sum(axis=0).tolist())


def test_the_picture():
    one = cells(
        [0, 50, 100],
        [150, 200],
        [(1, 0.9), (49, 0.3), (200, 0.6), (120, 0.9)],
        [(-2, 0.4), (52, 0.8), (150, 0.7)],
    )
    assert counts([one]) == (1, 1, 2)
    assert counts([one], 0.7) == (1, 0, 2)


def test_one_detection_may_class_several_cells():
    assert counts([cells([0, 4], [8], [(4, 0.9)])]) == (2, 1, 0)


def test_several_detections_of_a_cell_count_once():
    assert counts([cells([0], [50], [(0, 0.9), (1, 0.8), (2, 0.7)])]) == (1, 0, 0)


def test_the_highest_score_decides_not_the_nearest():
    assert counts([cells([0], [], [(7, 0.9)], [(0, 0.8)])]) == (1, 0, 0)
    assert counts([cells([0], [], [(0, 0.8)], [(7, 0.9)])]) == (0, 0, 1)
    assert counts([cells([0], [], [(0, 0.8)], [(9, 0.9)])]) == (1, 0, 0)  # out of range


def test_of_equal_scores_the_mitosis_counts():
    assert counts([cells([0], [50], [(0, 0.5), (50, 0.5)], [(0, 0.5), (50, 0.5)])]) == (1, 1, 0)


def test_a_lower_imposter_below_the_threshold_changes_nothing():
    one = cells([0], [], [(0, 0.9)], [(1, 0.6)])
    assert [counts([one], t)[0] for t in (0.0, 0.7, 0.9, 0.95)] == [1, 1, 1, 0]


def test_the_radius_is_inclusive_in_um():
    assert counts([cells([0], [], [(32, 0.9)], mpp=(0.25, 0.25))]) == (1, 0, 0)
    assert counts([cells([0], [], [(32.1, 0.9)], mpp=(0.25, 0.25))]) == (0, 0, 1)


def test_detections_elsewhere_are_not_counted():
    assert counts([cells([], [], [(0, 0.9)], [(50, 0.9)])]) == (0, 0, 0)


def test_images_do_not_see_each_other():
    fields = [cells([0], [], [], image="a"), cells([], [0], [(0, 0.9)], image="b")]
    assert PAPER.match(fields, 0.0).tolist() == [[0, 0, 1], [0, 1, 0]]


def many(images=6, each=50):
    """All mitoses found, all look-alikes taken for mitoses."""
    places = [100 * n for n in range(each)]
    found = [(x, 0.9) for x in places]
    return [cells(places, places, found, image=f"i{n}") for n in range(images)]


def test_a_hundred_of_each_class_over_all_images():
    per_image = PAPER.match(many(), 0.0)
    assert per_image.sum(axis=0).tolist() == [CELLS, CELLS, 0] == [100, 100, 0]
    assert (per_image[:, :2] > 0).all()  # drawn from all, not from the first two
    assert counts(many(2)) == (100, 100, 0)
    assert counts(many(1)) == (50, 50, 0)


def test_no_cell_is_drawn_twice():
    drawn = PAPER.tally(many()).change  # each detection has one mitosis and one look-alike
    assert drawn.max(axis=0).tolist() == [1, 1, 0]


def test_the_same_cells_are_drawn_in_any_order():
    rng = np.random.default_rng(71)
    fields = rich_fields(rng, 60)
    assert sum(len(f.truth) for f in fields) > CELLS < sum(len(f.imposters) for f in fields)
    expected = dict(zip([f.image for f in fields], PAPER.match(fields, 0.3).tolist(), strict=True))
    again = shuffled(fields, rng)
    found = dict(zip([f.image for f in again], PAPER.match(again, 0.3).tolist(), strict=True))
    assert found == expected
    renamed = [dataclasses.replace(f, image=f"{ord(f.image[-1])}{f.image}") for f in fields]
    assert PAPER.match(renamed, 0.3).tolist() != list(expected.values())  # it is a draw


def test_the_curves_are_undefined():
    fields = many(1)
    assert rank(fields, PAPER).steps is None
    assert average_precision(fields, PAPER) is None
    assert froc_auc(fields, PAPER) is None


def by_hand(f, threshold):
    def mitosis(cell):
        options = [(0.0, 0)]  # nothing: not a mitosis
        for places, scores, kind in (
            (f.detections, f.scores, 1),
            (f.imposter_detections, f.imposter_scores, 0),
        ):
            near = np.hypot(*(places - cell).T) <= 8
            options += [(s, kind) for s in scores[near & (scores >= threshold)]]
        return max(options)[1]

    tp, fp = (sum(mitosis(cell) for cell in group) for group in (f.truth, f.imposters))
    return [tp, fp, len(f.truth) - tp]


@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.8])
def test_equals_the_rule_read_literally(threshold):
    rng = np.random.default_rng(72)
    for _ in range(40):
        fields = rich_fields(rng)
        expected = [by_hand(f, threshold) for f in fields]
        assert PAPER.match(fields, threshold).tolist() == expected
