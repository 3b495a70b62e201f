"""The rule of AMIDA13 and TUPAC16: each detection belongs to the nearest truth in range.

How many detections a truth has plays no part::

    7.5 µm:   (  d1  T1   d2 )    d3  T2  d4        d5        ( T3 )
               hit   found surplus       found, surplus  false pos.   missed

d1 finds T1, the lower-scored d2 is ignored, d3 and d4 are T2's, d5 is in range of none:
tp 2, fp 1, fn 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mitoyolo.evaluation.fields import Field, pool
from mitoyolo.evaluation.ranking import in_range
from mitoyolo.evaluation.tally import Tally, tally


def nearest_truth(fields: Sequence[Field], radius_um: float) -> Tally:
    """Count the truths that are some detection's nearest, and the detections in range of none.

    A detection between two truths belongs to the nearer one alone; of equally near ones, to the
    first by place. A truth's surplus detections are neither true nor false positives.
    """
    points = pool(fields)
    pairs = in_range(points, radius_um)
    order = np.lexsort((pairs.truth, pairs.distance, pairs.detection))
    inside, nearest = np.unique(pairs.detection[order], return_index=True)
    # Within an image the pool lists detections by falling score: the first finds the truth.
    _, first = np.unique(pairs.truth[order][nearest], return_index=True)
    found = np.zeros(len(points.scores), dtype=np.int64)
    found[inside[first]] = 1
    wrong = np.ones_like(found)
    wrong[inside] = 0
    return tally(points, found, wrong, found)
