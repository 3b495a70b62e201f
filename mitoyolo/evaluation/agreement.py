"""How well the detected count agrees with the annotated one: Bland-Altman and concordance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

LIMITS_SD = 1.96
"""The limits of agreement lie this many standard deviations on each side of the bias."""


def agreement(annotated: ArrayLike, detected: ArrayLike) -> dict[str, Any]:
    """Compare two counts of the same things.

    Parameters
    ----------
    annotated, detected : (n,) float
        The counts of each case.

    Returns
    -------
    dict
        ``bias``, the mean of detected - annotated, and ``sd``, the standard deviation (n - 1) of
        those differences; ``limits``, bias - 1.96 sd and bias + 1.96 sd, between which 95 % of
        the differences are expected if they are normal; ``concordance``, Lin's coefficient, which
        is 1 only where all counts are equal. Undefined values are None: ``sd`` and ``limits``
        of fewer than two cases, ``concordance`` where neither count varies and both are equal.

    References
    ----------
    Bland and Altman, Statistical methods for assessing agreement between two methods of clinical
    measurement, Lancet 1986;327:307-310. Lin, A concordance correlation coefficient to evaluate
    reproducibility, Biometrics 1989;45:255-268 (with 1/n in its moments, as there).
    """
    x, y = (np.asarray(values, dtype=np.float64).reshape(-1) for values in (annotated, detected))
    difference = y - x
    bias = float(difference.mean()) if len(x) else None
    sd = float(difference.std(ddof=1)) if len(x) > 1 else None
    limits = None
    if bias is not None and sd is not None:
        limits = [bias - LIMITS_SD * sd, bias + LIMITS_SD * sd]
    return {"bias": bias, "sd": sd, "limits": limits, "concordance": _concordance(x, y)}


def _concordance(x: np.ndarray, y: np.ndarray) -> float | None:
    if not len(x):
        return None
    spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return float(2 * covariance / spread) if spread else None
