"""Detections by falling score: which of them find a truth one-to-one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mitoyolo.evaluation.fields import BoolArray, FloatArray, Pool
from mitoyolo.evaluation.matching import (
    SLACK_UM,
    Candidates,
    find_candidates,
    find_components,
    groups,
    solve,
)


def greedy_hits(pool: Pool, radius_um: float) -> BoolArray:
    """Tell which detections find a truth when each in turn takes the nearest free one in range.

    Detections come by falling score. Those of equal score choose together, by the gated
    assignment among the truths still free, so that the result depends on no order.

    Returns
    -------
    (m,) bool
    """
    return hits(pool, in_range(pool, radius_um), _greedy)


def gated_hits(pool: Pool, radius_um: float) -> BoolArray:
    """Tell which detections add a match to the gated assignment when they join by falling score.

    The running sum of the hits is, at every score, the size of the largest one-to-one matching of
    the truths with the detections scored that or more: a detection once matched stays matched
    while others join (it may change its truth), and one that cannot be matched when it joins
    never can (the matched sets form a transversal matroid; Edmonds and Fulkerson 1965). So one
    pass gives the assignment's counts at every threshold.

    Returns
    -------
    (m,) bool
    """
    return hits(pool, in_range(pool, radius_um), _augmenting)


def in_range(pool: Pool, radius_um: float, slack_um: float = SLACK_UM) -> Candidates:
    """Find the pairs of a pool, see :func:`mitoyolo.evaluation.matching.find_candidates`."""
    return find_candidates(
        pool.truth, pool.detections, radius_um, pool.truth_image, pool.detection_image, slack_um
    )


Rule = Callable[[Pool, Candidates, BoolArray], None]
"""Marks the hits among competing pairs: the pool, the pairs, the hits to fill."""


def hits(pool: Pool, pairs: Candidates, rule: Rule) -> BoolArray:
    """Tell which detections find a truth one-to-one, by a rule where they compete.

    A truth whose detections are in range of no other truth goes to the one with the highest
    score, by any rule. The others are the rule's.

    Returns
    -------
    (m,) bool
    """
    hit = np.zeros(len(pool.scores), dtype=bool)
    choice = np.bincount(pairs.detection, minlength=len(hit))[pairs.detection] > 1
    shared = np.zeros(len(pool.truth), dtype=bool)
    shared[pairs.truth[choice]] = True
    compete = shared[pairs.truth]
    first = np.full(len(pool.truth), len(hit))
    # Within an image the pool lists detections by falling score.
    np.minimum.at(first, pairs.truth[~compete], pairs.detection[~compete])
    hit[first[first < len(hit)]] = True
    rule(pool, pairs.take(np.flatnonzero(compete)), hit)
    return hit


def _greedy(pool: Pool, pairs: Candidates, hit: BoolArray) -> None:
    """Apply the rule of :func:`greedy_hits`, one component after the other."""
    label = find_components(pairs).label
    for edges in groups(label, np.arange(len(label))):
        _greedy_in(pairs.take(edges), pool.scores, hit)


def _greedy_in(pairs: Candidates, scores: FloatArray, hit: BoolArray) -> None:
    order = np.lexsort((pairs.truth, pairs.distance, pairs.detection))
    pairs = pairs.take(order)  # by detection, which is by falling score; its nearest truth first
    score = scores[pairs.detection]
    starts = np.flatnonzero(np.append(True, np.diff(score) != 0))
    taken: set[int] = set()
    for start, stop in zip(starts, [*starts[1:], len(score)], strict=True):
        free = np.array(
            [e for e in range(start, stop) if int(pairs.truth[e]) not in taken], dtype=np.int64
        )
        if not len(free):
            continue
        one = pairs.detection[free[0]] == pairs.detection[free[-1]]
        chosen = free[:1] if one else free[solve(pairs.take(free))]
        hit[pairs.detection[chosen]] = True
        taken.update(pairs.truth[chosen].tolist())


def _augmenting(pool: Pool, pairs: Candidates, hit: BoolArray) -> None:
    """Apply the rule of :func:`gated_hits`, by augmenting paths (Kuhn 1955)."""
    reach: dict[int, list[int]] = {}
    for truth, detection in zip(pairs.truth.tolist(), pairs.detection.tolist(), strict=True):
        reach.setdefault(detection, []).append(truth)
    holder: dict[int, int] = {}  # truth -> detection
    held: dict[int, int] = {}  # detection -> truth
    closed: set[int] = set()
    for detection in sorted(reach):  # by falling score
        hit[detection] = _augment(detection, reach, holder, held, closed)


def _augment(
    start: int,
    reach: dict[int, list[int]],
    holder: dict[int, int],
    held: dict[int, int],
    closed: set[int],
) -> bool:
    """Match ``start``, moving others along if need be; False when that is impossible.

    Truths seen by a failed search are ``closed``: no later search can get past them either.
    """
    seen_from: dict[int, int] = {}
    queue = [start]
    for detection in queue:
        for truth in reach[detection]:
            if truth in seen_from or truth in closed:
                continue
            seen_from[truth] = detection
            if truth in holder:
                queue.append(holder[truth])
                continue
            step: int | None = truth
            while step is not None:  # hand the truths along the path back to the start
                mover = seen_from[step]
                before = held.get(mover)
                holder[step], held[mover] = mover, step
                step = before
            return True
    closed.update(seen_from)
    return False
