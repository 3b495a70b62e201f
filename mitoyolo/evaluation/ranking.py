"""Detections by falling score: which of them find a truth, under the two rules in use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mitoyolo.evaluation.fields import BoolArray, FloatArray, IntArray, Pool
from mitoyolo.evaluation.matching import Candidates, find_candidates, find_components, groups, solve


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """Counts at each distinct score, falling: what is left when lower scores are cut off."""

    scores: FloatArray  # (s,) falling, each once
    tp: IntArray  # (s,)
    fp: IntArray  # (s,)
    fn: IntArray  # (s,)


def steps(scores: FloatArray, hit: BoolArray, truths: int) -> Steps:
    """Add up hits over falling scores; equal scores are one step, so their order cannot matter.

    Parameters
    ----------
    scores, hit : (m,)
        Each detection's score, and whether it found a truth.
    truths : int
        The number of truths.
    """
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    last = np.flatnonzero(np.append(np.diff(falling) < 0, True)[: len(falling)])
    tp = np.cumsum(hit[order], dtype=np.int64)[last]
    return Steps(scores=falling[last], tp=tp, fp=last + 1 - tp, fn=truths - tp)


def greedy_hits(pool: Pool, radius_um: float) -> BoolArray:
    """Tell which detections find a truth when each in turn takes the nearest free one in range.

    Detections come by falling score. Those of equal score choose together, by the gated
    assignment among the truths still free, so that the result depends on no order.

    Returns
    -------
    (m,) bool
    """
    return _hits(pool, radius_um, _greedy)


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
    return _hits(pool, radius_um, _augmenting)


Rule = Callable[[Candidates, FloatArray, BoolArray], None]
"""Marks the hits of one component: its pairs, all scores, the hits to fill."""


def _hits(pool: Pool, radius_um: float, rule: Rule) -> BoolArray:
    pairs = find_candidates(
        pool.truth, pool.detections, radius_um, pool.truth_image, pool.detection_image
    )
    hit = np.zeros(len(pool.scores), dtype=bool)
    if not len(pairs.truth):
        return hit
    parts = find_components(pairs)
    # One truth goes to its highest-scored detection, which the pool lists first; a lone detection
    # has one of its truths.
    simple = np.flatnonzero(parts.star)
    first = np.full(len(parts.truths), len(hit))
    np.minimum.at(first, parts.label[simple], pairs.detection[simple])
    hit[first[first < len(hit)]] = True
    for edges in groups(parts.label, np.flatnonzero(~parts.star)):
        rule(pairs.take(edges), pool.scores, hit)
    return hit


def _greedy(pairs: Candidates, scores: FloatArray, hit: BoolArray) -> None:
    """Apply the rule of :func:`greedy_hits` to one component."""
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


def _augmenting(pairs: Candidates, scores: FloatArray, hit: BoolArray) -> None:
    """Apply the rule of :func:`gated_hits` to one component, by augmenting paths (Kuhn 1955)."""
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
