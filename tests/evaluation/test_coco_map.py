"""COCO mAP: hand cases with known IoU, and pycocotools called plainly."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mitoyolo.evaluation.coco_map import coco_map

from .fields_for_tests import field, shuffled


def boxes(truth=(), found=(), *, image="a"):
    """``truth``: (x, y, width, height); ``found``: the same and a score."""
    t = np.array(truth, dtype=float).reshape(-1, 4)
    d = np.array(found, dtype=float).reshape(-1, 5)
    return field(
        [tuple(p) for p in t[:, :2]],
        [tuple(p) for p in d[:, [0, 1, 4]]],
        image=image,
        truth_sizes=t[:, 2:],
        detection_sizes=d[:, 2:4],
    )


def test_one_box_moved_by_a_known_iou():
    # 10 x 10 boxes, one moved by 2: intersection 80, union 120, IoU 2/3, so it counts at 0.50,
    # 0.55, 0.60 and 0.65 and at no higher threshold.
    found = coco_map([boxes([(50, 50, 10, 10)], [(52, 50, 10, 10, 0.9)])])
    assert found == pytest.approx({"map50_95": 0.4, "map50": 1.0, "map75": 0.0})


@pytest.mark.parametrize(
    ("width", "map50"),
    [(20, 1.0), (20.1, 0.0)],  # IoU 100 / 200, which is in, and a little less
)
def test_an_iou_of_a_half_is_in(width, map50):
    assert coco_map([boxes([(50, 50, 10, 10)], [(50, 50, width, 10, 0.9)])])[
        "map50"
    ] == pytest.approx(map50)


def test_a_corner_of_the_widest_match():
    # the detection is twice as wide and shares its left edge: centres 5 apart, IoU one half
    found = coco_map([boxes([(50, 50, 10, 10)], [(55, 50, 20, 10, 0.9)])])
    assert found["map50"] == pytest.approx(1.0)


def test_precision_by_hand():
    # found, false, found: precision 1 up to recall 1/2, then 2/3; 101 recalls, 51 of them up to 1/2
    truth = [(50, 50, 10, 10), (150, 50, 10, 10)]
    found = [(50, 50, 10, 10, 0.9), (300, 50, 10, 10, 0.8), (150, 50, 10, 10, 0.7)]
    expected = (51 + 50 * 2 / 3) / 101
    assert coco_map([boxes(truth, found)])["map50"] == pytest.approx(expected)


def test_more_than_a_hundred_detections_an_image():
    truth = [(20 * n, 50, 10, 10) for n in range(150)]
    found = [(*box, 0.9) for box in truth]
    assert coco_map([boxes(truth, found)])["map50_95"] == pytest.approx(1.0)
    false = [(20 * n, 500, 10, 10, 0.9) for n in range(150)]
    late = boxes(truth[:1], [*false, (*truth[0], 0.1)])
    assert coco_map([late])["map50"] == pytest.approx(1 / 151)


def test_of_truths_alike_the_place_decides():
    # the first detection has an IoU of 2/3 with both truths, the second with the right one alone
    truth = [(50, 50, 10, 10), (54, 50, 10, 10)]
    found = [(52, 50, 10, 10, 0.9), (56, 50, 10, 10, 0.8)]
    assert coco_map([boxes(truth, found)]) == coco_map([boxes(truth[::-1], found)])


def test_boxes_of_every_size():
    truth = [(1000, 1000, 900, 900), (3000, 3000, 1, 1)]
    assert coco_map([boxes(truth, [(*box, 0.9) for box in truth])])["map50"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [boxes()],
        [boxes([], [(0, 0, 9, 9, 0.5)])],
        [field([0], [(0, 0.9)])],
        [field([0], [], truth_sizes=[[9, 9]]), field([], [(0, 0.9)], image="b")],
        [field([0], [(0, 0.9)], detection_sizes=[[9, 9]])],
        [boxes([(0, 0, 0, 9)], [(0, 0, 9, 9, 0.5)])],
    ],
    ids=["nothing", "empty", "no truth", "no size", "no detection size", "no truth size", "flat"],
)
def test_it_is_none_where_it_is_undefined(fields):
    assert coco_map(fields) is None


def test_sizes_are_needed_only_where_there_are_boxes():
    whole = boxes([(50, 50, 10, 10)], [(50, 50, 10, 10, 0.9)])
    assert coco_map([whole, field(image="b")])["map50"] == pytest.approx(1.0)
    assert coco_map([boxes([(50, 50, 10, 10)])]) == {"map50_95": 0.0, "map50": 0.0, "map75": 0.0}
    flat = boxes([(50, 50, 10, 10)], [(50, 50, 0, 0, 0.9)])
    assert coco_map([flat])["map50"] == 0.0


def test_pycocotools_is_silent(capsys):
    coco_map([boxes([(50, 50, 10, 10)], [(52, 50, 10, 10, 0.9)])])
    assert capsys.readouterr() == ("", "")


def crowd(rng, images):
    """Crowded boxes of many sizes, half of them found nearly, with scores often equal."""
    fields = []
    for n in range(images):
        truth = rng.integers([0, 0, 8, 8], [120, 120, 40, 40], (rng.integers(0, 12), 4))
        near = truth[rng.random(len(truth)) < 0.8]
        found = [
            *(near + rng.integers(-3, 4, near.shape)),
            *rng.integers([0, 0, 8, 8], [120, 120, 40, 40], (rng.integers(0, 12), 4)),
        ]
        scored = [(*box, rng.integers(11) / 10) for box in found]
        fields.append(boxes(truth, scored, image=f"i{n}"))
    return fields


def plain(fields):
    """pycocotools on whole images, in their order and the order of their boxes by place."""

    def index(rows):
        coco = COCO()
        annotations = [
            {"id": number, "image_id": image, "category_id": 1, "area": w * h, "iscrowd": 0,
             "bbox": [x - w / 2, y - h / 2, w, h], "score": score}
            for number, (image, x, y, w, h, score) in enumerate(rows, 1)
        ]  # fmt: skip
        coco.dataset = {
            "images": [{"id": n} for n in range(len(fields))],
            "categories": [{"id": 1}],
            "annotations": annotations,
        }
        coco.createIndex()
        return coco

    truth, found = [], []
    for n, f in enumerate(fields):
        truth += sorted((n, *p, *s, 0.0) for p, s in zip(f.truth, f.truth_sizes, strict=True))
        found += sorted(
            (n, *p, *s, score)
            for p, s, score in zip(f.detections, f.detection_sizes, f.scores, strict=True)
        )
    with contextlib.redirect_stdout(io.StringIO()):
        scorer = COCOeval(index(truth), index(found), "bbox")
        scorer.params.maxDets = [1, 10, 1000]
        scorer.evaluate()
        scorer.accumulate()
    by_iou = scorer.eval["precision"][:, :, 0, 0, 2].mean(axis=1)
    return {"map50_95": by_iou.mean(), "map50": by_iou[0], "map75": by_iou[5]}


@pytest.mark.parametrize("seed", range(20))
def test_groups_and_order_change_nothing(seed):
    rng = np.random.default_rng(seed)
    fields = crowd(rng, 6)
    found = coco_map(shuffled(fields, rng))
    assert found == pytest.approx(plain(fields), abs=1e-12)
    assert 0 < found["map50_95"] < found["map50"] < 1
