"""Which detections are false positives and which truths are missed, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mitoyolo.evaluation.fields import Field, FloatArray, IntArray, in_um, pool
from mitoyolo.evaluation.matching import find_candidates, solve
from mitoyolo.evaluation.protocols import PROTOCOLS, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A place in a source image where detection and annotation differ.

    Attributes
    ----------
    image : str
        The source image.
    x, y : float
        The place in its pixels.
    score : float or None
        Of the false positive; of a miss, the highest of any detection in range of it, None
        without one.
    imposter : bool
        Whether a false positive lies in range of an annotated look-alike.
    """

    image: str
    x: float
    y: float
    score: float | None
    imposter: bool = False


def mistakes(
    fields: Sequence[Field], protocol: Protocol, threshold: float
) -> tuple[list[Mistake], list[Mistake]]:
    """List the false positives and the misses at a threshold.

    False positives are those that the protocol counts. Misses are the truths left over when the
    detections that end a miss by the protocol's count are assigned to them, most first and then
    nearest (:func:`mitoyolo.evaluation.matching.assign`). In range is within the protocol's
    radius, or that of ``centroid`` for a protocol of boxes. A protocol that looks at a sample of
    cells only, and so has no ranking, is replaced by ``centroid``.

    Returns
    -------
    false_positives : list of Mistake
        The highest score first.
    misses : list of Mistake
        The lowest score first: what was seen least.
    """
    centroid = PROTOCOLS["centroid"]
    rule = protocol if protocol.ranking else centroid
    radius = rule.radius_um or centroid.limit
    points, tally = pool(fields), rule.tally(fields)  # in the same order
    places, image, scores = points.detections, points.detection_image, points.scores
    kept = scores >= threshold

    false = np.flatnonzero(kept & (tally.change[:, 1] > 0))
    imposters = in_um(fields, "imposters")
    on_imposter = find_candidates(places, imposters[0], radius, image, imposters[1]).truth
    wrong = [
        Mistake(image=name, x=x, y=y, score=float(scores[i]), imposter=imposter)
        for i, (name, x, y), imposter in zip(
            false,
            _in_pixels(fields, "detections", points.detection_order[false], image[false]),
            np.isin(false, on_imposter).tolist(),
            strict=True,
        )
    ]

    near = find_candidates(points.truth, places, radius, points.truth_image, image)
    best = np.full(len(points.truth), -1.0)
    np.maximum.at(best, near.truth, scores[near.detection])
    right = kept & (tally.change[:, 2] < 0)
    pairs = near.take(np.flatnonzero(right[near.detection]))
    left = np.setdiff1d(np.arange(len(best)), pairs.truth[solve(pairs)])
    missed = [
        Mistake(image=name, x=x, y=y, score=float(best[i]) if best[i] >= 0 else None)
        for i, (name, x, y) in zip(
            left,
            _in_pixels(fields, "truth", points.truth_order[left], points.truth_image[left]),
            strict=True,
        )
    ]
    wrong.sort(key=lambda m: (-(m.score or 0.0), m.image, m.x, m.y))
    missed.sort(key=lambda m: (-1.0 if m.score is None else m.score, m.image, m.x, m.y))
    return wrong, missed


def _in_pixels(
    fields: Sequence[Field], name: str, order: IntArray, image: IntArray
) -> Iterator[tuple[str, float, float]]:
    """The image and place of points, by their place among those of all fields as given."""
    given: list[FloatArray] = [getattr(field, name) for field in fields]
    for number, (x, y) in zip(
        image, np.concatenate([np.empty((0, 2)), *given])[order], strict=True
    ):
        yield fields[number].image, float(x), float(y)
