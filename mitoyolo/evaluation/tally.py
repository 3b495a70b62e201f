"""Counts at every threshold at once: what each detection changes when it joins the better ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mitoyolo.evaluation.fields import BoolArray, FloatArray, IntArray, Pool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """Counts at each distinct score, falling: what is left when lower scores are cut off."""

    scores: FloatArray  # (s,) falling, each once
    tp: IntArray  # (s,)
    fp: IntArray  # (s,)
    fn: IntArray  # (s,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tally:
    """True positives, false positives and misses of each image, at any threshold.

    Without a detection every truth is missed. Each detection then changes the counts by what it
    adds to those that score higher, so a threshold needs a sum and no second matching.
    """

    scores: FloatArray  # (m,)
    image: IntArray  # (m,) index of the detection's field
    change: IntArray  # (m, 3) to tp, fp, fn
    truths: IntArray  # (n,) of each field

    def at(self, threshold: float) -> IntArray:
        """Return tp, fp, fn of each field, (n, 3), with scores of ``threshold`` or more."""
        kept = self.scores >= threshold
        image, change = self.image[kept], self.change[kept]
        number = len(self.truths)
        tp, fp, fn = (np.bincount(image, column, number).astype(np.int64) for column in change.T)
        return np.column_stack([tp, fp, self.truths + fn])

    def steps(self) -> Steps:
        """Return the counts of all fields at every distinct score."""
        order = np.argsort(-self.scores, kind="stable")
        falling = self.scores[order]
        last = np.flatnonzero(np.append(np.diff(falling) < 0, True)[: len(falling)])
        tp, fp, fn = np.cumsum(self.change[order], axis=0)[last].T
        return Steps(scores=falling[last], tp=tp, fp=fp, fn=self.truths.sum() + fn)


def tally(pool: Pool, tp: IntArray, fp: IntArray, found: IntArray) -> Tally:
    """Tally what each detection of the pool adds.

    Parameters
    ----------
    tp, fp : (m,) int
        Added true and false positives.
    found : (m,) int
        Truths that are no longer missed.
    """
    return Tally(
        scores=pool.scores,
        image=pool.detection_image,
        change=np.column_stack([tp, fp, -found]),
        truths=np.bincount(pool.truth_image, minlength=pool.images),
    )


def one_to_one(pool: Pool, hit: BoolArray) -> Tally:
    """Tally detections that find one truth each or are false positives."""
    found = hit.astype(np.int64)
    return tally(pool, found, 1 - found, found)
