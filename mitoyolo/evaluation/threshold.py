"""The score threshold: the cut that gives the best F1 on a validation split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mitoyolo.evaluation.fields import Field
from mitoyolo.evaluation.protocols import Protocol

DEFAULT = 0.5


def choose_threshold(fields: Sequence[Field], protocol: Protocol) -> float:
    """Choose the score threshold with the highest F1 on these fields.

    F1 changes only at the scores that occur, so every best cut is a range: above the next lower
    score (or 0), up to the lowest score kept. Neighbouring ranges of equal F1 are one plateau, and
    its middle is returned, which leaves the same room on both sides. Of several plateaus the
    widest is taken, then the highest. The order of fields and detections plays no part.

    Parameters
    ----------
    fields : sequence of Field
        The validation split.
    protocol : Protocol
        How detections are matched at a threshold.

    Returns
    -------
    float
        The threshold, in 0 to 1; 0.5 without a truth, without a detection, or if nothing matches.
    """
    scores = np.unique(np.concatenate([np.empty(0), *(field.scores for field in fields)]))
    if not len(scores) or not any(len(field.truth) for field in fields):
        return DEFAULT
    steps = protocol.sweep(fields)
    f1 = 2 * steps.tp / (2 * steps.tp + steps.fp + steps.fn)
    if f1.max() == 0:
        return DEFAULT
    # Equal ratios of integers are equal floats, so plateaus can be compared exactly.
    best = np.flatnonzero(f1 == f1.max())
    plateaus = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    below = np.append(0.0, scores)[np.searchsorted(scores, steps.scores)]
    ranges = [(float(below[p[-1]]), float(steps.scores[p[0]])) for p in plateaus]
    low, high = max(ranges, key=lambda r: (r[1] - r[0], r[1]))
    middle = (low + high) / 2
    return middle if middle > low else high
