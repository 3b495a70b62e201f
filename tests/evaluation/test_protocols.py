"""The table of protocols, what all of them keep to, and what the gated ones count."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from converters.errors import InputError
from mitoyolo.evaluation.matching import assign
from mitoyolo.evaluation.metrics import count
from mitoyolo.evaluation.protocols import PROTOCOLS, get_protocol

from .fields_for_tests import field, random_fields, rich_fields, shuffled

CENTROID = get_protocol("centroid")


@pytest.mark.parametrize(
    ("name", "radius", "title"),
    [
        ("centroid", 8.0, "centroid, 8 µm"),
        ("icpr12", 5.0, "icpr12, 5 µm"),
        ("atypia14", 8.0, "atypia14, 8 µm"),
        ("amida13", 7.5, "amida13, 7.5 µm"),
        ("tupac16", 7.5, "tupac16, 7.5 µm"),
        ("midog", 7.5, "midog, 7.5 µm"),
        ("kmit", None, "kmit, IoU 0.5"),
        ("mitos-rcnn", 8.0, "mitos-rcnn, 8 µm"),
    ],
)
def test_the_protocols_of_the_contract(name, radius, title):
    protocol = get_protocol(name)
    assert (protocol.name, protocol.radius_um, protocol.title) == (name, radius, title)
    assert get_protocol(name, radius) is protocol is PROTOCOLS[name]
    assert len(PROTOCOLS) == 8
    assert protocol.source


def test_centroid_alone_takes_a_radius():
    assert get_protocol("centroid", 6.5).radius_um == 6.5
    assert get_protocol("centroid").radius_um == 8.0  # the table itself is unchanged
    assert get_protocol("icpr12", 5).radius_um == 5.0
    with pytest.raises(InputError, match=r"icpr12 has a radius of 5 µm, not 8.*centroid"):
        get_protocol("icpr12", 8.0)
    with pytest.raises(InputError, match=r"kmit has no radius, not 0.5.*centroid"):
        get_protocol("kmit", 0.5)


@pytest.mark.parametrize("radius", [0.0, -1.0, float("nan"), float("inf")])
def test_a_radius_is_positive(radius):
    with pytest.raises(InputError, match="radius"):
        get_protocol("centroid", radius)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(InputError, match=r"'icpr13'.*atypia14, centroid, icpr12"):
        get_protocol("icpr13")


def counts(fields, threshold=0.0, protocol=CENTROID):
    result = count(fields, protocol, threshold)
    return result.tp, result.fp, result.fn


def test_the_picture_of_the_gated_protocols():
    found = [(0, 0.9), (8, 0.8), (100, 0.7), (105, 0.6)]
    assert counts([field([7, 15, 103], found)]) == (3, 1, 0)


def test_a_second_detection_of_a_truth_is_a_false_positive():
    assert counts([field([10], [(10, 0.9), (12, 0.8)])]) == (1, 1, 0)


def test_a_second_truth_at_one_detection_is_a_miss():
    assert counts([field([10, 12], [(11, 0.9)])]) == (1, 0, 1)


def test_a_chain_matches_fully_whatever_the_scores():
    # The higher-scored detection sits next to the truth that the other one needs.
    assert counts([field([0, 10], [(8, 0.9), (16, 0.1)])]) == (2, 0, 0)
    assert counts([field([0, 10], [(8, 0.1), (16, 0.9)])]) == (2, 0, 0)
    assert counts([field([0, 10], [(4, 0.9), (-5, 0.5)])]) == (2, 0, 0)


def test_a_failed_search_closes_only_what_it_saw():
    # 0.7 fails at truth 0, which 0.9 holds; 0.6 must still be able to move 0.8 on to truth 20.
    found = [(0, 0.9), (14, 0.8), (-1, 0.7), (10, 0.6), (6, 0.1)]
    assert counts([field([0, 12, 20], found)], 0.6) == (3, 1, 0)
    assert CENTROID.sweep([field([0, 12, 20], found)]).tp.tolist() == [1, 2, 2, 3, 3]


def test_the_threshold_is_inclusive():
    one = [field([10], [(10, 0.5)])]
    assert counts(one, 0.5) == (1, 0, 0)
    assert counts(one, 0.5000001) == (0, 0, 1)


def test_detections_below_the_threshold_do_not_take_truths():
    assert counts([field([10], [(10, 0.3), (14, 0.9)])], 0.5) == (1, 0, 0)


def test_the_radius_is_inclusive_in_um():
    near = field([0], [(20, 0.9)], mpp=(0.25, 0.25))
    assert counts([near], protocol=get_protocol("icpr12")) == (1, 0, 0)
    far = field([0], [(20.01, 0.9)], mpp=(0.25, 0.25))
    assert counts([far], protocol=get_protocol("icpr12")) == (0, 1, 1)
    assert counts([far], protocol=get_protocol("atypia14")) == (1, 0, 0)


def test_um_per_pixel_differ_along_x_and_y():
    mpp = (0.5, 2.0)  # 16 px across or 4 px down are 8 µm
    assert counts([field([(0, 0)], [(16, 0, 0.9)], mpp=mpp)]) == (1, 0, 0)
    assert counts([field([(0, 0)], [(0, 16, 0.9)], mpp=mpp)]) == (0, 1, 1)
    assert counts([field([(0, 0)], [(0, 4, 0.9)], mpp=mpp)]) == (1, 0, 0)
    assert counts([field([(0, 0)], [(0, 4.1, 0.9)], mpp=mpp)]) == (0, 1, 1)


def test_images_do_not_see_each_other():
    fields = [field([10], [], image="a"), field([], [(10, 0.9)], image="b")]
    assert count(fields, CENTROID, 0.0).per_field.tolist() == [[0, 0, 1], [0, 1, 0]]


def test_each_image_has_its_own_um_per_pixel():
    fields = [
        field([0], [(10, 0.9)], image="a", mpp=(0.5, 0.5)),
        field([0], [(10, 0.9)], image="b", mpp=(1.0, 1.0)),
    ]
    assert count(fields, CENTROID, 0.0).per_field.tolist() == [[1, 0, 0], [0, 1, 1]]


def test_counts_are_those_of_the_assignment():
    rng = np.random.default_rng(11)
    for number in range(60):
        fields = random_fields(rng, size=(20, 30, 40)[number % 3])
        for threshold in (0.0, 0.3, 0.7):
            expected = []
            for f in fields:
                kept = f.detections[f.scores >= threshold]
                tp = len(assign(f.truth, kept, 8.0))
                expected.append([tp, len(kept) - tp, len(f.truth) - tp])
            assert count(fields, CENTROID, threshold).per_field.tolist() == expected


@pytest.mark.parametrize("name", PROTOCOLS)
def test_one_pass_counts_at_every_score(name):
    rng, protocol = np.random.default_rng(12), get_protocol(name)
    for number in range(30):
        fields = rich_fields(rng, decimals=1, size=(20, 30, 40)[number % 3])
        steps = protocol.sweep(fields)
        assert steps.scores.tolist() == sorted(
            {s for f in fields for s in f.scores.tolist()}, reverse=True
        )
        for score, *row in zip(steps.scores, steps.tp, steps.fp, steps.fn, strict=True):
            assert tuple(row) == counts(fields, score, protocol)
            kept = [above(f, score) for f in fields]  # what is below is as if it were not there
            assert tuple(row) == counts(kept, 0.0, protocol)


def above(f, score):
    kept = f.scores >= score
    return dataclasses.replace(
        f,
        detections=f.detections[kept],
        detection_sizes=f.detection_sizes[kept],
        scores=f.scores[kept],
    )


@pytest.mark.parametrize("name", sorted(set(PROTOCOLS) - {"midog"}))
def test_order_does_not_matter(name):
    rng, protocol = np.random.default_rng(13), get_protocol(name)
    for _ in range(10):
        fields = rich_fields(rng, 12, decimals=1, size=25)
        assert counts(fields, 0.4, protocol) == counts(shuffled(fields, rng), 0.4, protocol)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize(
    ("fields", "wrong", "missed"),
    [
        ([], 0, 0),
        ([field()], 0, 0),
        ([field([0], truth_sizes=[[9, 9]])], 0, 1),
        ([field([], [(0, 0.9)], detection_sizes=[[9, 9]])], 1, 0),
    ],
    ids=["no field", "empty", "no detection", "no truth"],
)
def test_with_nothing_to_match(name, fields, wrong, missed):
    protocol = get_protocol(name)
    assert counts(fields, 0.0, protocol) == (0, 0 if name == "mitos-rcnn" else wrong, missed)
    assert protocol.match(fields, 0.0).shape == (len(fields), 3)


@pytest.mark.parametrize("name", sorted(set(PROTOCOLS) - {"mitos-rcnn", "kmit"}))
def test_mm_wide_fields_and_far_points_are_counted(name):
    # A slide of 100 mm with a point a kilometre off.
    far = [(4e5, 0), (4e9, 0), (0, 0)]
    fields = [field(far, [(4e5 + 8, 0, 0.9), (4e9, 9, 0.8)], mpp=(0.25, 0.25), image="a")]
    assert counts(fields, 0.0, get_protocol(name)) == (2, 0, 1)
