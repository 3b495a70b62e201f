"""The rule of the KMIT papers: boxes that overlap by half, none of them used up.

Every detection that hits is a true positive, however many hit the same mitosis, and one detection
may hit two. So true positives and misses need not add up to the truths::

    +-----+            +------+              +-----+
    | T1  | d1, d2     | T2 T3| d3           | T4  |        d4 [  ]
    +-----+            +------+              +-----+

d1 and d2 both overlap T1, d3 both T2 and T3, nothing T4, d4 nothing: tp 3, fp 1, fn 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.errors import InputError
from mitoyolo.evaluation.fields import Field, FloatArray, pool
from mitoyolo.evaluation.matching import find_candidates
from mitoyolo.evaluation.tally import Tally, tally


def overlapping_boxes(fields: Sequence[Field], min_iou: float) -> Tally:
    """Count detections that overlap a truth by ``min_iou`` or more, and truths without one.

    Boxes are in pixels of the source image, with ends that are part of them: from ``x1`` to
    ``x2`` is a width of ``x2 - x1 + 1``, as PASCAL VOC's devkit has it.

    Raises
    ------
    InputError
        A field does not know the sizes of its boxes.
    """
    points = pool(fields)
    truth = _boxes(fields, "truth")[points.truth_order]
    found = _boxes(fields, "detection")[points.detection_order]
    widest = np.minimum(truth[:, 2:].max(0, initial=0), found[:, 2:].max(0, initial=0))
    # Centres lie no further apart, along either axis, than this share of the smaller box.
    reach = float(np.hypot(*widest)) * (1 - min_iou) / min(1.0, 2 * min_iou)
    pairs = find_candidates(
        truth[:, :2], found[:, :2], reach, points.truth_image, points.detection_image
    )
    hit = pairs.take(np.flatnonzero(_iou(truth[pairs.truth], found[pairs.detection]) >= min_iou))
    tp = np.zeros(len(points.scores), dtype=np.int64)
    tp[hit.detection] = 1
    # Within an image the pool lists detections by falling score: the first ends the miss.
    first = np.full(len(truth), len(tp))
    np.minimum.at(first, hit.truth, hit.detection)
    ended = np.bincount(first, minlength=len(tp) + 1)[: len(tp)]
    return tally(points, tp, 1 - tp, ended)


def _boxes(fields: Sequence[Field], noun: str) -> FloatArray:
    """All boxes of the fields in their order, (n, 4): centre, width and height in pixels, +1."""
    boxes = [np.empty((0, 4))]
    for field in fields:
        own = field.truth_boxes if noun == "truth" else field.detection_boxes
        if own is None:
            raise InputError(
                f"protocol kmit compares boxes, and the {noun} boxes have no width and height",
                where=field.image,
                fix="give them, or choose a protocol that compares centres, such as centroid",
            )
        boxes.append(own + np.array([0, 0, 1, 1]))
    return np.concatenate(boxes)


def _iou(one: FloatArray, two: FloatArray) -> FloatArray:
    """Intersection over union of boxes in pairs."""
    low = np.maximum(one[:, :2] - one[:, 2:] / 2, two[:, :2] - two[:, 2:] / 2)
    high = np.minimum(one[:, :2] + one[:, 2:] / 2, two[:, :2] + two[:, 2:] / 2)
    shared = np.clip(high - low, 0.0, None).prod(axis=1)
    union = one[:, 2:].prod(axis=1) + two[:, 2:].prod(axis=1) - shared
    return np.asarray(shared / union)
