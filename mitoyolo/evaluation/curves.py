"""Precision-recall and FROC curves: detections by falling score, each to the nearest free truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mitoyolo.evaluation.fields import Field, FloatArray, pool
from mitoyolo.evaluation.protocols import Protocol
from mitoyolo.evaluation.ranking import Steps, greedy_hits, steps

FROC_LIMIT = 8.0
"""``froc_auc`` averages the sensitivity from none to this many false positives an image."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranking:
    """The counts at every distinct score, and what they are relative to."""

    steps: Steps
    truths: int
    images: int
    protocol: str
    radius_um: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PrecisionRecall:
    """Precision against recall at each distinct score; ``ap`` is None without a truth."""

    recall: FloatArray  # (s,) rising
    precision: FloatArray  # (s,)
    scores: FloatArray  # (s,) falling
    ap: float | None
    protocol: str
    radius_um: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Froc:
    """Sensitivity against false positives an image; ``auc`` is None without a truth."""

    fp_per_image: FloatArray  # (s,) rising
    sensitivity: FloatArray  # (s,) rising
    scores: FloatArray  # (s,) falling
    auc: float | None
    protocol: str
    radius_um: float


def rank(fields: Sequence[Field], protocol: Protocol) -> Ranking:
    """Give each detection, by falling score, the nearest free truth in the protocol's radius.

    Detections of equal score are one step: they choose together, and the curves have one point
    for all of them.
    """
    points = pool(fields)
    hit = greedy_hits(points, protocol.radius_um)
    return Ranking(
        steps=steps(points.scores, hit, len(points.truth)),
        truths=len(points.truth),
        images=points.images,
        protocol=protocol.name,
        radius_um=protocol.radius_um,
    )


def precision_recall_curve(
    fields: Sequence[Field], protocol: Protocol, ranking: Ranking | None = None
) -> PrecisionRecall:
    """Trace precision and recall over falling scores.

    Parameters
    ----------
    fields : sequence of Field
        The images.
    protocol : Protocol
        Whose radius is used.
    ranking : Ranking, optional
        ``rank(fields, protocol)``, when it is at hand.

    Returns
    -------
    PrecisionRecall
        Without a truth, no points and ``ap`` None.
    """
    ranking = ranking or rank(fields, protocol)
    if ranking.truths:
        recall = ranking.steps.tp / ranking.truths
        precision = ranking.steps.tp / (ranking.steps.tp + ranking.steps.fp)
        scores, ap = ranking.steps.scores, _all_point_area(recall, precision)
    else:
        recall, precision, scores, ap = np.empty(0), np.empty(0), np.empty(0), None
    return PrecisionRecall(
        recall=recall,
        precision=precision,
        scores=scores,
        ap=ap,
        protocol=ranking.protocol,
        radius_um=ranking.radius_um,
    )


def average_precision(fields: Sequence[Field], protocol: Protocol) -> float | None:
    """Return the all-point average precision: the area under the precision-recall envelope.

    At each recall the envelope has the best precision at that recall or a higher one (PASCAL VOC
    2010). None without a truth; 0 with truths and no detection.
    """
    return precision_recall_curve(fields, protocol).ap


def _all_point_area(recall: FloatArray, precision: FloatArray) -> float:
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


def froc(fields: Sequence[Field], protocol: Protocol, ranking: Ranking | None = None) -> Froc:
    """Trace the sensitivity over false positives an image, from ``(0, 0)`` up.

    Returns
    -------
    Froc
        Its ``auc`` is the mean sensitivity over 0 to 8 false positives an image, under the step
        curve (at x, the best sensitivity that costs at most x), which goes on flat beyond its
        end. Without a truth, no points and ``auc`` None.
    """
    ranking = ranking or rank(fields, protocol)
    if ranking.truths:
        cost, sensitivity = ranking.steps.fp / ranking.images, ranking.steps.tp / ranking.truths
        scores, auc = ranking.steps.scores, _mean_height(cost, sensitivity)
    else:
        cost, sensitivity, scores, auc = np.empty(0), np.empty(0), np.empty(0), None
    return Froc(
        fp_per_image=cost,
        sensitivity=sensitivity,
        scores=scores,
        auc=auc,
        protocol=ranking.protocol,
        radius_um=ranking.radius_um,
    )


def froc_auc(fields: Sequence[Field], protocol: Protocol) -> float | None:
    """Return the mean sensitivity over 0 to 8 false positives an image; None without a truth."""
    return froc(fields, protocol).auc


def _mean_height(cost: FloatArray, sensitivity: FloatArray) -> float:
    """Average a rising step curve over 0 to ``FROC_LIMIT``; each height holds until the next."""
    edges = np.clip(np.append(cost, FROC_LIMIT), 0.0, FROC_LIMIT)
    return float(np.sum(np.diff(edges) * sensitivity) / FROC_LIMIT)
