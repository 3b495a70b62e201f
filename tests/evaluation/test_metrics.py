"""The contents of metrics.json."""

from __future__ import annotations

import json

import numpy as np
import pytest

from converters.errors import InputError
from mitoyolo.evaluation.metrics import caveats, count, evaluate
from mitoyolo.evaluation.protocols import PROTOCOLS, get_protocol

from .fields_for_tests import field, random_fields, shuffled

CENTROID = get_protocol("centroid")
KEYS = [
    "protocol",
    "radius_um",
    "threshold",
    "threshold_from",
    "tp",
    "fp",
    "fn",
    "precision",
    "recall",
    "f1",
    "f1_ci95",
    "f1_ci95_over",
    "ap",
    "froc_auc",
    "truths",
    "detections",
    "truths_per_mm2",
    "detections_per_mm2",
    "fp_per_mm2",
    "images",
    "cases",
    "per_case",
    "per_domain",
    "agreement",
    "confusion",
    "coco",
]


def score(fields, threshold=0.5, protocol=CENTROID):
    return evaluate(fields, protocol, threshold, "option")


def three():
    return [
        field(
            [0, 100],
            [(0, 0.9), (50, 0.8), (100, 0.1)],
            image="a",
            case="01",
            domain={"scanner": "Aperio", "tumour": ""},
        ),
        field([0], [(0, 0.6)], image="b", case="01", domain={"scanner": "Hamamatsu"}),
        field([], [(0, 0.7)], image="c", case="02", domain={"scanner": ""}),
    ]


def test_the_keys_of_the_contract_and_more():
    assert list(score(three())) == KEYS


def test_by_hand():
    metrics = score(three())
    ratios = {"precision": 1 / 2, "recall": 2 / 3, "f1": 4 / 7}
    expected = {"tp": 2, "fp": 2, "fn": 1, "images": 3, "cases": 2, **ratios}
    assert {key: metrics[key] for key in expected} == pytest.approx(expected)
    assert metrics["protocol"] == "centroid"
    assert metrics["radius_um"] == 8.0
    assert metrics["threshold"] == 0.5
    assert metrics["threshold_from"] == "option"
    # AP is over all scores: TP .9, FP .8, FP .7, TP .6, TP .1; envelope 1, 3/5, 3/5.
    assert metrics["ap"] == pytest.approx((1 + 0.6 + 0.6) / 3)
    # Cost 0, 1/3, 2/3 an image; sensitivity 1/3 up to 2/3, then 1.
    assert metrics["froc_auc"] == pytest.approx((2 / 3 * 1 / 3 + (8 - 2 / 3)) / 8)


def test_each_case():
    cases = score(three())["per_case"]
    assert list(cases) == ["01", "02"]
    assert list(score(three()[::-1])["per_case"].items()) == list(cases.items())
    nowhere = {"truths_per_mm2": None, "detections_per_mm2": None, "fp_per_mm2": None}
    assert cases["01"] == pytest.approx(
        {"tp": 2, "fp": 1, "fn": 1, "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3}
        | {"truths": 3, "detections": 3, **nowhere}
    )
    assert cases["02"] == (
        {"tp": 0, "fp": 1, "fn": 0, "precision": 0, "recall": None, "f1": 0}
        | {"truths": 0, "detections": 1, **nowhere}
    )


def test_each_domain_that_is_known_somewhere():
    domains = score(three())["per_domain"]
    assert list(domains) == ["scanner"]
    assert {name: (d["tp"], d["fp"], d["fn"]) for name, d in domains["scanner"].items()} == {
        "Aperio": (1, 1, 1),
        "Hamamatsu": (1, 0, 0),
        "unknown": (0, 1, 0),
    }


def test_no_domain_at_all():
    assert score([field([0], [(0, 0.9)])])["per_domain"] == {}


def test_densities_need_every_area():
    fields = [
        field([200], [(0, 0.9), (300, 0.1)], image="a", area_mm2=0.5),
        field([0, 90], [(0, 0.9), (50, 0.9)], image="b", case="2", area_mm2=1.5),
    ]
    densities = ("truths_per_mm2", "detections_per_mm2", "fp_per_mm2")

    def known(metrics):
        return [metrics[key] for key in densities]

    metrics = score(fields)
    assert (metrics["truths"], metrics["detections"], metrics["fp"]) == (3, 3, 2)
    assert known(metrics) == [1.5, 1.5, 1.0]
    assert known(metrics["per_case"]["1"]) == [2.0, 2.0, 2.0]
    assert known(metrics["per_case"]["2"]) == pytest.approx([4 / 3, 4 / 3, 2 / 3])
    without = score([*fields, field(image="c", case="2")])
    assert known(without) == [None, None, None]
    assert known(without["per_case"]["1"]) == [2.0, 2.0, 2.0]


def test_the_agreement_is_of_the_cases_counts_at_the_threshold():
    # case 01: 3 annotated, 3 detected; case 02: none, one
    agreement = score(three())["agreement"]
    assert agreement["bias"] == 0.5
    assert agreement["sd"] == pytest.approx(0.5**0.5)
    # ignoring the threshold, case 01 has 4; a score of the threshold counts
    assert score(three(), 0.0)["agreement"]["bias"] == 1.0
    assert score(three(), 0.1)["agreement"]["bias"] == 1.0


def test_confusion_and_coco_are_there_when_they_can_be():
    bare = score([field([0], [(0, 0.9)])])
    assert (bare["confusion"], bare["coco"]) == (None, None)
    sizes = {"truth_sizes": [[4, 4]], "detection_sizes": [[4, 4]]}
    whole = score([field([0], [(6, 0.9)], imposters=[[30, 0]], **sizes)])
    assert whole["confusion"]["mitosis"] == {"mitosis": 1, "imposter": 0, "background": 0}
    assert whole["confusion"]["imposter"]["background"] == 1
    assert whole["coco"]["map50"] == 0.0  # in range of the radius, but the boxes are apart
    near = score(
        [field([0], [(6, 0.9)], imposters=[[30, 0]], **sizes)], protocol=get_protocol("icpr12")
    )
    assert near["confusion"]["mitosis"]["background"] == 1
    # a protocol of boxes has no radius of its own: 8 µm
    box = score([field([0], [(6, 0.9)], imposters=[[30, 0]], **sizes)], protocol=PROTOCOLS["kmit"])
    assert (box["tp"], box["confusion"]["mitosis"]["mitosis"]) == (0, 1)


@pytest.mark.parametrize(("over", "said"), [("images", True), ("cases", False), (None, False)])
def test_an_interval_over_images_is_explained(over, said):
    notes = caveats({"f1_ci95_over": over, "protocol": "centroid", "confusion": None})
    assert ["case-to-case variation is not in it" in note for note in notes] == [True] * said


@pytest.mark.parametrize(("imposters", "said"), [([[30, 0]], 0), ([], 1)])
def test_no_look_alikes_no_false_positives_is_said(imposters, said):
    found = [field([0], [(0, 0.9), (30, 0.8)], imposters=imposters)]
    metrics = score(found, protocol=PROTOCOLS["mitos-rcnn"])
    assert (metrics["tp"], metrics["fp"]) == (1, len(imposters))
    notes = caveats(metrics)
    assert len(notes) == said and all("no look-alike is annotated" in note for note in notes)


@pytest.mark.parametrize(
    ("truth", "found", "precision", "recall", "f1", "ap"),
    [
        ([], [], None, None, None, None),
        ([0], [], None, 0.0, 0.0, 0.0),
        ([], [(0, 0.9)], 0.0, None, 0.0, None),
        ([0], [(50, 0.9)], 0.0, 0.0, 0.0, 0.0),
        ([0], [(0, 0.9)], 1.0, 1.0, 1.0, 1.0),
    ],
    ids=["nothing", "no detection", "no truth", "no match", "match"],
)
def test_undefined_ratios_are_null(truth, found, precision, recall, f1, ap):
    metrics = score([field(truth, found)])
    got = [metrics[key] for key in ("precision", "recall", "f1", "ap")]
    assert got == [precision, recall, f1, ap]
    assert metrics["f1_ci95"] is None
    assert metrics["f1_ci95_over"] is None


def test_the_interval_is_in_the_file():
    fields = [
        field([0, 50], [(0, 0.9), (100, 0.9)][: 1 + n % 2], image=str(n), case=str(n))
        for n in range(12)
    ]
    metrics = score(fields)
    low, high = metrics["f1_ci95"]
    assert low < metrics["f1"] < high
    assert metrics["f1_ci95_over"] == "cases"


def test_it_is_json_of_plain_types():
    fields = [field([0], [(0, 0.9)], image=str(n), case=str(n)) for n in range(12)]
    metrics = evaluate(fields, CENTROID, np.float32(0.5), "val")
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_order_does_not_matter():
    rng = np.random.default_rng(41)
    fields = random_fields(rng, 12)
    assert score(fields) == score(shuffled(fields, rng))


def test_the_protocol_decides():
    one = [field([0], [(6, 0.9)])]
    assert score(one)["tp"] == 1
    assert score(one, protocol=get_protocol("icpr12"))["tp"] == 0
    assert score(one, protocol=get_protocol("icpr12"))["ap"] == 0.0
    assert score(one, protocol=get_protocol("centroid", 5.5))["radius_um"] == 5.5


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_is_a_score(threshold):
    with pytest.raises(InputError, match="threshold"):
        score([field([0])], threshold)


def test_an_image_twice_is_refused():
    with pytest.raises(InputError, match="given twice"):
        count([field(), field()], CENTROID, 0.5)


def test_no_image_is_refused():
    with pytest.raises(InputError, match="no image"):
        score([])
