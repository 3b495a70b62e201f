"""The confusion matrix of mitosis, imposter and background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mitoyolo.evaluation.fields import Field
from mitoyolo.evaluation.matching import assign

CLASSES = ("mitosis", "imposter", "background")


def confusion(
    fields: Sequence[Field], threshold: float, radius_um: float
) -> dict[str, dict[str, int | None]] | None:
    """Cross what was annotated (rows) with what was detected (columns).

    In each image all annotated cells of both classes and all detections of both classes that
    reach the threshold are matched one-to-one, whatever their class, by
    :func:`mitoyolo.evaluation.matching.assign`: most pairs, then least distance. A matched pair
    counts in the row of the cell's class and the column of the detection's. A cell without a
    detection counts in the column background, a detection without a cell in the row background.
    How often background was left alone cannot be counted. ::

        annotated   o mitosis      o imposter      o mitosis
        detected    x as mitosis   x as mitosis                  x as imposter

                     mitosis  imposter  background
        mitosis            1         0           1
        imposter           1         0           0
        background         0         1           -

    Parameters
    ----------
    fields : sequence of Field
        The images.
    threshold : float
        Detections of either class with this score or more count.
    radius_um : float
        The gate in µm, inclusive.

    Returns
    -------
    dict of dict, or None
        ``[annotated][detected]``; the cell of background twice is None. None without an annotated
        imposter.

    References
    ----------
    The three classes of: Rao, MITOS-RCNN, arXiv:1807.01788, 2018.
    """
    if not any(len(field.imposters) for field in fields):
        return None
    table = np.zeros((3, 3), dtype=np.int64)
    for field in fields:
        cells = np.concatenate([field.truth, field.imposters])
        cell_class = np.repeat([0, 1], [len(field.truth), len(field.imposters)])
        kept = [field.scores >= threshold, field.imposter_scores >= threshold]
        places = field.detections[kept[0]], field.imposter_detections[kept[1]]
        found = np.concatenate(places)
        found_class = np.repeat([0, 1], [len(points) for points in places])
        pairs = assign(cells * field.mpp, found * field.mpp, radius_um)
        np.add.at(table, (cell_class[pairs[:, 0]], found_class[pairs[:, 1]]), 1)
        table[:2, 2] += np.bincount(np.delete(cell_class, pairs[:, 0]), minlength=2)
        table[2, :2] += np.bincount(np.delete(found_class, pairs[:, 1]), minlength=2)
    rows: dict[str, dict[str, int | None]] = {
        row: dict(zip(CLASSES, values, strict=True))
        for row, values in zip(CLASSES, table.tolist(), strict=True)
    }
    rows["background"]["background"] = None
    return rows
