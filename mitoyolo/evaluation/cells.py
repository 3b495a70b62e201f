"""The rule of the MITOS-RCNN paper: annotated cells, classified by the detections on them.

Up to 100 mitoses and 100 look-alikes are drawn from all images together. Each takes the class of
the detection with the highest score in range; none means not mitosis. What is detected elsewhere
is not looked at::

    (  m 0.9  T1  i 0.4 )     ( T2  m 0.3  i 0.8 )     ( T3 )       mitoses T
    (  i 0.7  L1        )     ( L2  m 0.6        )      m 0.9       look-alikes L

T1 is found, T2 (taken for an imposter) and T3 are missed, L2 is a false positive, L1 is not, and
the 0.9 beside them is nothing: tp 1, fp 1, fn 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mitoyolo.evaluation.fields import Field, FloatArray, IntArray, Pool, in_um, pool
from mitoyolo.evaluation.matching import find_candidates
from mitoyolo.evaluation.tally import Tally

CELLS = 100
"""Of each class, at most. The paper's Fig. 4 has 100 mitoses and 100 look-alikes."""

SEED = 0
"""Of the draw, for everyone: the same annotations give the same cells."""


def annotated_cells(fields: Sequence[Field], radius_um: float) -> Tally:
    """Count how annotated mitoses and look-alikes are classified.

    Of equal scores, the mitosis counts. Without annotated look-alikes there are no false
    positives. A threshold applies to both classes of detections.
    """
    points = pool(fields)
    mitoses, lookalikes = (_draw(fields, name) for name in ("truth", "imposters"))
    found, wrong = (_called_mitosis(fields, points, *c, radius_um) for c in (mitoses, lookalikes))
    return Tally(
        scores=points.scores,
        image=points.detection_image,
        change=np.column_stack([found, wrong, -found]),
        truths=np.bincount(mitoses[1], minlength=len(fields)),
    )


def _draw(fields: Sequence[Field], name: str) -> tuple[FloatArray, IntArray]:
    """Up to ``CELLS`` places in µm with their images, whatever the order of fields and marks."""
    cells, image = in_um(fields, name)
    _, by_name = np.unique([field.image for field in fields], return_inverse=True)
    order = np.lexsort((cells[:, 1], cells[:, 0], by_name[image]))
    if len(order) > CELLS:
        order = np.random.default_rng(SEED).choice(order, CELLS, replace=False)
    return cells[order], image[order]


def _called_mitosis(
    fields: Sequence[Field], points: Pool, cells: FloatArray, image: IntArray, radius_um: float
) -> IntArray:
    """How many of the cells each detection makes a mitosis, (m,)."""
    near = find_candidates(cells, points.detections, radius_um, image, points.detection_image)
    number = len(points.scores)
    best = np.full(len(cells), number)  # within an image the pool lists them by falling score
    np.minimum.at(best, near.truth, near.detection)
    places, place_image = in_um(fields, "imposter_detections")
    scores = np.concatenate([np.empty(0), *(field.imposter_scores for field in fields)])
    near = find_candidates(cells, places, radius_um, image, place_image)
    rival = np.zeros(len(cells))
    np.maximum.at(rival, near.truth, scores[near.detection])
    mitosis = np.append(points.scores, -1.0)[best] >= rival
    return np.bincount(best[mitosis], minlength=number)
