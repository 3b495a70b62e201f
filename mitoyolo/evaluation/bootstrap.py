"""A 95 % interval for F1 by the bootstrap, over cases or, when they are few, over images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mitoyolo.evaluation.fields import IntArray

MIN_CASES = 10
MIN_IMAGES = 5


def f1_interval(
    counts: ArrayLike, cases: Sequence[str], seed: int, draws: int = 1000
) -> tuple[tuple[float, float] | None, str | None]:
    """Bootstrap the F1 of all images together.

    From 10 cases up whole cases are drawn, since the images of a patient resemble each other.
    With fewer, images are drawn within their case; cases of a single image, in which nothing
    could vary, are drawn from together. Draws without any truth or detection have no F1 and are
    left out.

    Parameters
    ----------
    counts : (n, 3) int
        tp, fp, fn of each image.
    cases : sequence of n str
        The case of each image.
    seed : int
        Of the random generator. The order of the images plays no part.
    draws : int
        Number of resamples.

    Returns
    -------
    interval : (float, float) or None
        The 2.5th and 97.5th percentile; None below 5 images, or if no draw has an F1.
    over : str or None
        ``"cases"`` or ``"images"``; None when there is no interval.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentiles).
    """
    table = np.asarray(counts, dtype=np.int64).reshape(-1, 3)
    if len(table) < MIN_IMAGES:
        return None, None
    names, case = np.unique(np.asarray(cases, dtype=str), return_inverse=True)
    if len(names) >= MIN_CASES:
        over, strata = "cases", [_sum_by(table, case, len(names))]
    else:
        over, strata = "images", _strata(table, case)
    rng = np.random.default_rng(seed)
    total = np.zeros((draws, 3))
    for units in strata:
        # Equal units are alike, so sorting by value makes the order of the images irrelevant.
        units = units[np.lexsort(units.T)]
        times = rng.multinomial(len(units), np.full(len(units), 1 / len(units)), size=draws)
        total += times.astype(np.float64) @ units
    tp, fp, fn = total.T
    defined = tp + fp + fn > 0
    if not defined.any():
        return None, None
    f1 = 2 * tp[defined] / (2 * tp + fp + fn)[defined]
    low, high = np.percentile(f1, [2.5, 97.5]).tolist()
    return (low, high), over


def _sum_by(table: IntArray, group: IntArray, number: int) -> IntArray:
    total = np.zeros((number, 3), dtype=np.int64)
    np.add.at(total, group, table)
    return total


def _strata(table: IntArray, case: IntArray) -> list[IntArray]:
    """Split images by case, the single-image cases in one group of their own."""
    size = np.bincount(case)
    group = np.where(size[case] == 1, -1, case)
    return [table[group == name] for name in np.unique(group)]
