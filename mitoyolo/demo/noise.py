"""Random fields, the raw material of every texture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def value_noise(rng: np.random.Generator, shape: tuple[int, ...], grain: float) -> Field:
    """Smooth noise of mean about 0 and spread about 1.

    Parameters
    ----------
    shape : (height, width)
        Pixels.
    grain : float
        Distance between independent values, pixels.

    Returns
    -------
    (height, width) array of float32
    """
    height, width = shape[:2]
    rows, columns = int(height / grain) + 4, int(width / grain) + 4
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    # A random offset, so that the lattice does not start at the same place in every field.
    y0, x0 = rng.uniform(1, 2, 2)
    affine = np.array([[1 / grain, 0, x0], [0, 1 / grain, y0]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    smooth = cv2.warpAffine(
        coarse, affine, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(smooth * np.float32(1.35), dtype=np.float32)  # interpolation flattens


def ramp(values: Field, low: float, high: float) -> Field:
    """0 below ``low``, 1 above ``high``, a smooth step between."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)
