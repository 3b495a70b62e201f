"""95 % intervals for F1, and for the difference of two, by the bootstrap over cases or images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mitoyolo.evaluation.fields import FloatArray, IntArray

MIN_CASES = 10
MIN_IMAGES = 5

Interval = tuple[tuple[float, float] | None, str | None]
"""(low, high) and what was drawn, ``"cases"`` or ``"images"``; None twice without an interval."""


def f1_interval(counts: ArrayLike, cases: Sequence[str], seed: int, draws: int = 1000) -> Interval:
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
    total, over = _resample(_counts(counts), cases, seed, draws)
    return _percentiles(_f1(total), over)


def paired_f1_difference(
    counts_a: ArrayLike, counts_b: ArrayLike, cases: Sequence[str], seed: int, draws: int = 1000
) -> Interval:
    """Bootstrap F1(a) - F1(b) of two sets of detections on the same images.

    Both are scored on the same resamples, so what makes an image hard or easy for both cancels
    out: the interval is of the difference, and excludes 0 where the two differ. Units are drawn as
    in :func:`f1_interval`; draws in which either has no F1 are left out.

    Parameters
    ----------
    counts_a, counts_b : (n, 3) int
        tp, fp, fn of each image, in the same order.
    cases, seed, draws
        As in :func:`f1_interval`.

    Returns
    -------
    interval, over
        As in :func:`f1_interval`.

    Raises
    ------
    ValueError
        The two are not of the same number of images.
    """
    both = np.column_stack([_counts(counts_a), _counts(counts_b)])
    total, over = _resample(both, cases, seed, draws)
    return _percentiles(_f1(total[:, :3]) - _f1(total[:, 3:]), over)


def _counts(values: ArrayLike) -> IntArray:
    return np.asarray(values, dtype=np.int64).reshape(-1, 3)


def _resample(
    table: IntArray, cases: Sequence[str], seed: int, draws: int
) -> tuple[FloatArray, str | None]:
    """Sums of the rows of (n, k) images in each draw, (draws, k), and what was drawn."""
    if len(table) < MIN_IMAGES:
        return np.empty((0, table.shape[1])), None
    names, case = np.unique(np.asarray(cases, dtype=str), return_inverse=True)
    if len(names) >= MIN_CASES:
        over, strata = "cases", [_sum_by(table, case, len(names))]
    else:
        over, strata = "images", _strata(table, case)
    rng = np.random.default_rng(seed)
    total = np.zeros((draws, table.shape[1]))
    for units in strata:
        # Equal units are one unit of a higher chance: quicker, and no order of images is left.
        kinds, number = np.unique(units, axis=0, return_counts=True)
        times = rng.multinomial(len(units), number / len(units), size=draws)
        total += times.astype(np.float64) @ kinds
    return total, over


def _sum_by(table: IntArray, group: IntArray, number: int) -> IntArray:
    total = np.zeros((number, table.shape[1]), dtype=np.int64)
    np.add.at(total, group, table)
    return total


def _strata(table: IntArray, case: IntArray) -> list[IntArray]:
    """Split images by case, the single-image cases in one group of their own."""
    size = np.bincount(case)
    group = np.where(size[case] == 1, -1, case)
    return [table[group == name] for name in np.unique(group)]


def _f1(total: FloatArray) -> FloatArray:
    """F1 of (draws, 3) sums; NaN where there is neither a truth nor a detection."""
    tp, fp, fn = total.T
    whole = 2 * tp + fp + fn
    return np.divide(2 * tp, whole, out=np.full(len(total), np.nan), where=whole > 0)


def _percentiles(values: FloatArray, over: str | None) -> Interval:
    """The middle 95 % of the draws that are defined."""
    values = values[~np.isnan(values)]
    if not len(values):
        return None, None
    low, high = np.percentile(values, [2.5, 97.5]).tolist()
    return (low, high), over
