"""Which detections are wrong and which mitoses are missed, named one by one."""

from __future__ import annotations

import numpy as np
import pytest

from mitoyolo.evaluation.metrics import count
from mitoyolo.evaluation.mistakes import mistakes
from mitoyolo.evaluation.protocols import PROTOCOLS, get_protocol

from .fields_for_tests import field, random_fields, shuffled

CENTROID = get_protocol("centroid")


def places(found):
    return [(m.image, m.x, m.y) for m in found]


def test_by_hand():
    one = field([0, 100, 200], [(2, 0.9), (100, 0.3), (300, 0.8), (400, 0.6)])
    wrong, missed = mistakes([one], CENTROID, 0.5)
    assert [(m.x, m.score) for m in wrong] == [(300.0, 0.8), (400.0, 0.6)]
    # one has nothing in range, the other a detection under the threshold
    assert [(m.x, m.score) for m in missed] == [(200.0, None), (100.0, 0.3)]


def test_the_most_confident_come_first_over_all_images():
    fields = [
        field([50], [(0, 0.6), (55, 0.2)], image="a"),
        field([50], [(0, 0.9), (55, 0.1)], image="b"),
    ]
    wrong, missed = mistakes(fields, CENTROID, 0.5)
    assert [m.image for m in wrong] == ["b", "a"]
    assert [m.image for m in missed] == ["b", "a"]
    assert places(mistakes(fields[::-1], CENTROID, 0.5)[0]) == places(wrong)


def test_of_two_detections_of_one_mitosis_the_lower_score_is_wrong():
    wrong, missed = mistakes([field([0], [(1, 0.6), (3, 0.9)])], CENTROID, 0.5)
    assert [m.x for m in wrong] == [1.0]
    assert missed == []


def test_a_surplus_detection_is_no_mistake_where_the_protocol_ignores_it():
    one = field([0], [(1, 0.6), (3, 0.9), (50, 0.7)])
    wrong, missed = mistakes([one], get_protocol("amida13"), 0.5)
    assert [m.x for m in wrong] == [50.0]
    assert missed == []


def test_a_false_positive_on_a_lookalike_is_marked():
    one = field([], [(0, 0.9), (100, 0.8)], imposters=[[5.0, 0.0]])
    other = field([], [(100, 0.7)], image="b", imposters=[[100.0, 0.0]])
    wrong, _ = mistakes([one, other], CENTROID, 0.5)
    assert [m.imposter for m in wrong] == [True, False, True]


def test_places_are_pixels_and_the_range_is_in_um():
    one = field([(40, 20)], [(54, 20, 0.9)], mpp=(0.5, 2.0))  # 7 µm apart
    assert mistakes([one], CENTROID, 0.5) == ([], [])
    off = field([(40, 20)], [(40, 25, 0.9)], mpp=(0.5, 2.0))  # 10 µm
    wrong, missed = mistakes([off], CENTROID, 0.5)
    assert places(wrong) == [("a", 40.0, 25.0)]
    assert places(missed) == [("a", 40.0, 20.0)]
    assert missed[0].score is None


@pytest.mark.parametrize("name", sorted(set(PROTOCOLS) - {"kmit", "mitos-rcnn"}))
@pytest.mark.parametrize("seed", range(8))
def test_there_are_as_many_as_the_protocol_counts(name, seed):
    rng = np.random.default_rng(seed)
    fields = random_fields(rng, 8)
    protocol = get_protocol(name)
    for threshold in (0.0, 0.4, 0.8):
        counts = count(fields, protocol, threshold)
        wrong, missed = mistakes(fields, protocol, threshold)
        assert (len(wrong), len(missed)) == (counts.fp, counts.fn)
        for number, one in enumerate(fields):
            here = [sum(m.image == one.image for m in found) for found in (wrong, missed)]
            assert here == counts.per_field[number, 1:].tolist()
        assert all(m.score >= threshold for m in wrong)


@pytest.mark.parametrize("name", ["centroid", "amida13"])
def test_the_order_given_does_not_matter(name):
    rng = np.random.default_rng(3)
    fields = random_fields(rng, 8)
    expected = mistakes(fields, get_protocol(name), 0.4)
    assert mistakes(shuffled(fields, rng), get_protocol(name), 0.4) == expected


def test_a_protocol_of_boxes():
    sizes = {"truth_sizes": [[20, 20]] * 2, "detection_sizes": [[20, 20], [4, 4]]}
    one = field([0, 100], [(2, 0.9), (100, 0.8)], **sizes)
    wrong, missed = mistakes([one], get_protocol("kmit"), 0.5)
    assert [m.x for m in wrong] == [100.0]  # at the very place, but much too small
    assert [(m.x, m.score) for m in missed] == [(100.0, 0.8)]


def test_a_protocol_of_drawn_cells_is_shown_by_centroid():
    one = field([0], [(50, 0.9)])
    assert mistakes([one], get_protocol("mitos-rcnn"), 0.5) == mistakes([one], CENTROID, 0.5)


def test_nothing_is_no_mistake():
    assert mistakes([], CENTROID, 0.5) == ([], [])
    assert mistakes([field()], CENTROID, 0.5) == ([], [])
