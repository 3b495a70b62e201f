"""COCO's mean average precision, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from mitoyolo.evaluation.fields import Field, FloatArray, IntArray
from mitoyolo.evaluation.matching import find_candidates, find_components

NO_LIMIT = 10**9
"""Detections an image: pycocotools' own 100 would cut off images with more mitoses than that."""


def coco_map(fields: Sequence[Field]) -> dict[str, float] | None:
    """Average precision of the class mitosis by the IoU of boxes, as COCO defines it.

    All detections count, whatever their score; 101 recall points; boxes of every size; and, unlike
    COCO's own setting, no limit to the detections an image.

    Returns
    -------
    dict or None
        ``map50_95``, the mean over IoU 0.50, 0.55, ..., 0.95, and ``map50`` and ``map75``. None
        without a truth, or where the size of a truth's or a detection's box is not known (no
        sizes, or a truth's box without area).

    References
    ----------
    Lin et al., Microsoft COCO: common objects in context, ECCV 2014; pycocotools' COCOeval.
    """
    if not any(len(field.truth) for field in fields):
        return None
    fields = sorted(fields, key=lambda field: field.image)
    boxes = [field.truth_boxes for field in fields]
    found = [field.detection_boxes for field in fields]
    truths, detected = _stack(boxes), _stack(found)
    if truths is None or detected is None or not truths[0][:, 2:].all():
        return None
    truth, truth_image = truths
    detections, image = detected
    scores = np.concatenate([field.scores for field in fields])
    precision = _precision(truth, truth_image, detections, image, scores)
    by_iou = precision.mean(axis=1).tolist()
    return {"map50_95": float(np.mean(by_iou)), "map50": by_iou[0], "map75": by_iou[5]}


def _stack(boxes: Sequence[FloatArray | None]) -> tuple[FloatArray, IntArray] | None:
    """Boxes of all images, and the image of each; None where an image does not know its own."""
    known = [rows for rows in boxes if rows is not None]
    if len(known) < len(boxes):
        return None
    image = np.repeat(np.arange(len(known), dtype=np.int64), [len(rows) for rows in known])
    return np.concatenate([np.empty((0, 4)), *known]), image


def _precision(
    truth: FloatArray,
    truth_image: IntArray,
    detections: FloatArray,
    image: IntArray,
    scores: FloatArray,
) -> FloatArray:
    """pycocotools' precision, (10 IoU, 101 recall).

    It compares every detection with every truth of an image in Python, so each group of boxes that
    may match is given to it as an image of its own, in which ranks stand for scores. That changes
    nothing: boxes of two groups cannot match, and the ranks fix the order over all images (equal
    scores by image and place).
    """
    from pycocotools.cocoeval import COCOeval

    by_place = np.lexsort((truth[:, 1], truth[:, 0], truth_image))
    truth, truth_image = truth[by_place], truth_image[by_place]
    falling = np.lexsort((detections[:, 1], detections[:, 0], image, -scores))
    detections, image = detections[falling], image[falling]
    truth_group, group = _groups(truth, truth_image, detections, image)
    images = np.unique(np.concatenate([truth_group, group])).tolist()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        scorer = COCOeval(
            _index(images, truth, truth_group), _index(images, detections, group), "bbox"
        )
        scorer.params.areaRng, scorer.params.areaRngLbl = [[0, np.inf]], ["all"]
        scorer.params.maxDets = [NO_LIMIT]
        scorer.evaluate()
        scorer.accumulate()
    return np.asarray(scorer.eval["precision"][:, :, 0, 0, 0], dtype=np.float64)


def _groups(
    truth: FloatArray, truth_image: IntArray, detections: FloatArray, image: IntArray
) -> tuple[IntArray, IntArray]:
    """Number the groups of boxes that may match from 2 up; 0 and 1: detections and truths without.

    An IoU of 0.5 or more needs sides that differ by no more than a factor of 2, of which a third
    of their sum overlaps: along each axis, the centres are no further apart than half the truth.
    """
    truth_group = np.ones(len(truth), dtype=np.int64)
    group = np.zeros(len(detections), dtype=np.int64)
    reach = float(np.hypot(*(truth[:, 2:].max(axis=0) / 2)))
    pairs = find_candidates(truth[:, :2], detections[:, :2], reach, truth_image, image)
    a, b = truth[pairs.truth], detections[pairs.detection]
    overlap = (np.abs(a[:, :2] - b[:, :2]) < (a[:, 2:] + b[:, 2:]) / 2).all(axis=1)
    pairs = pairs.take(np.flatnonzero(overlap))
    if len(pairs.truth):
        label = find_components(pairs).label
        truth_group[pairs.truth] = group[pairs.detection] = label + 2
    return truth_group, group


def _index(images: Sequence[int], boxes: FloatArray, image: IntArray) -> Any:
    """pycocotools' form of boxes, each scored higher than the next."""
    from pycocotools.coco import COCO

    corners = np.column_stack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]]).tolist()
    coco = COCO()
    coco.dataset = {
        "images": [{"id": number} for number in images],
        "categories": [{"id": 1}],
        "annotations": [
            {"id": number, "image_id": of, "category_id": 1, "bbox": box, "area": box[2] * box[3],
             "iscrowd": 0, "score": -number}
            for number, (of, box) in enumerate(zip(image.tolist(), corners, strict=True), 1)
        ],
    }  # fmt: skip
    coco.createIndex()
    return coco
