"""Precision-recall and FROC curves, by the protocol's ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mitoyolo.evaluation.fields import Field, FloatArray
from mitoyolo.evaluation.protocols import Protocol
from mitoyolo.evaluation.tally import Steps

FROC_LIMIT = 8.0
"""``froc_auc`` averages the sensitivity from none to this many false positives an image."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranking:
    """The counts at every distinct score, and what they are relative to."""

    steps: Steps | None  # None: undefined, since the protocol has no ranking or there is no truth
    images: int
    title: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PrecisionRecall:
    """Precision against recall at each distinct score; ``ap`` is None without a truth."""

    recall: FloatArray  # (s,) rising
    precision: FloatArray  # (s,)
    scores: FloatArray  # (s,) falling
    ap: float | None
    title: str  # of the protocol


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Froc:
    """Sensitivity against false positives an image; ``auc`` is None without a truth."""

    fp_per_image: FloatArray  # (s,) rising
    sensitivity: FloatArray  # (s,) rising
    scores: FloatArray  # (s,) falling
    auc: float | None
    title: str  # of the protocol


def rank(fields: Sequence[Field], protocol: Protocol) -> Ranking:
    """Count at every distinct score by the protocol's ranking.

    Where centres are compared one-to-one, that is: each detection, by falling score, takes the
    nearest free truth in the protocol's radius. Detections of equal score are one step: they
    choose together, and the curves have one point for all of them.
    """
    ranked = protocol.ranking(fields, protocol.limit) if protocol.ranking else None
    return Ranking(
        steps=ranked.steps() if ranked and ranked.truths.any() else None,
        images=len(fields),
        title=protocol.title,
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
        Whose ranking is used.
    ranking : Ranking, optional
        ``rank(fields, protocol)``, when it is at hand.

    Returns
    -------
    PrecisionRecall
        Without a truth or a ranking, no points and ``ap`` None.
    """
    ranking = ranking or rank(fields, protocol)
    steps, none = ranking.steps, np.empty(0)
    if steps is None:
        return PrecisionRecall(
            recall=none, precision=none, scores=none, ap=None, title=ranking.title
        )
    recall = _recall(steps)
    precision = steps.tp / (steps.tp + steps.fp)
    return PrecisionRecall(
        recall=recall,
        precision=precision,
        scores=steps.scores,
        ap=_all_point_area(recall, precision),
        title=ranking.title,
    )


def _recall(steps: Steps) -> FloatArray:
    return np.asarray(steps.tp / (steps.tp + steps.fn))


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
        end. Without a truth or a ranking, no points and ``auc`` None.
    """
    ranking = ranking or rank(fields, protocol)
    steps, none = ranking.steps, np.empty(0)
    if steps is None:
        return Froc(fp_per_image=none, sensitivity=none, scores=none, auc=None, title=ranking.title)
    cost, sensitivity = steps.fp / ranking.images, _recall(steps)
    return Froc(
        fp_per_image=cost,
        sensitivity=sensitivity,
        scores=steps.scores,
        auc=_mean_height(cost, sensitivity),
        title=ranking.title,
    )


def froc_auc(fields: Sequence[Field], protocol: Protocol) -> float | None:
    """Return the mean sensitivity over 0 to 8 false positives an image; None without a truth."""
    return froc(fields, protocol).auc


def _mean_height(cost: FloatArray, sensitivity: FloatArray) -> float:
    """Average a rising step curve over 0 to ``FROC_LIMIT``; each height holds until the next."""
    edges = np.clip(np.append(cost, FROC_LIMIT), 0.0, FROC_LIMIT)
    return float(np.sum(np.diff(edges) * sensitivity) / FROC_LIMIT)
