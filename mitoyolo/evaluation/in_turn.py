"""The rule of the MIDOG challenges: each truth, in list order, takes the nearest free detection.

Scores play no part among the detections above the threshold, and an earlier truth may take what a
later one needed. T1 is nearer to d2 than to d1, d2 is the only one in range of T2::

         d1 --- 6 µm --- T1 -- 4 µm -- d2 --- 6 µm --- T2

    list order T1, T2:  T1 takes d2, T2 finds nothing.   tp 1, fp 1, fn 1
    list order T2, T1:  T2 takes d2, T1 takes d1.        tp 2, fp 0, fn 0

The most matches, which ``centroid`` counts, are two in any order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mitoyolo.evaluation.fields import BoolArray, Field, Pool, pool
from mitoyolo.evaluation.matching import Candidates
from mitoyolo.evaluation.ranking import hits, in_range
from mitoyolo.evaluation.tally import Tally, one_to_one


def truths_in_turn(fields: Sequence[Field], radius_um: float) -> Tally:
    """Count as the MIDOG organisers do; the order of each field's ``truth`` matters.

    Equals ``grand_challenge_metrics.scorers.score_detection``, an image at a time, on the same
    places in µm. Its radius is inclusive to the last bit, so none is added here to make up for
    rounding. Of equally near detections the first listed is taken; there, that holds for images
    of up to 80 detections with up to 15 in range of a truth, and beyond is left to its search tree.
    """
    points = pool(fields)
    return one_to_one(points, hits(points, in_range(points, radius_um, slack_um=0.0), _accepting))


def _accepting(points: Pool, pairs: Candidates, hit: BoolArray) -> None:
    """Mark the detections that add a match when they join by falling score.

    A detection that joins goes to the truths in range in list order: a free one keeps it, a taken
    one keeps the nearer of two and sends the other on to the truths listed later, as in deferred
    acceptance (Gale and Shapley 1962). What each truth holds is what it would take in its turn,
    since the detection sent on is all by which the choice of later truths has grown. So the
    number of matches never falls, and one pass gives the counts at every threshold.
    """
    by_turn = pairs.detection * len(points.truth) + points.truth_order[pairs.truth]
    pairs = pairs.take(np.argsort(by_turn))
    turns, distance = points.truth_order[pairs.truth].tolist(), pairs.distance.tolist()
    listed = points.detection_order[pairs.detection].tolist()
    ends = np.searchsorted(pairs.detection, pairs.detection, side="right").tolist()
    held = [-1] * len(points.truth)  # by turn, the pair that a truth holds
    matched: list[int] = []
    joins = 0  # the first pair of the detection that joins
    while joins < len(ends):
        pair, end = joins, ends[joins]
        while pair < end:
            turn = turns[pair]
            holds, gap = held[turn], distance[pair]
            if holds < 0:
                held[turn] = pair
                matched.append(joins)
                break
            if gap < distance[holds] or (gap == distance[holds] and listed[pair] < listed[holds]):
                held[turn] = pair
                pair, end = holds, ends[holds]
            pair += 1
        joins = ends[joins]
    hit[pairs.detection[matched]] = True
