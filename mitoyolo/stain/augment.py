"""Stain augmentation: training tiles as other laboratories and scanners might have coloured them.

Two ways, each within a stated strength ``s``, drawn anew for each tile:

``reinhard``
    The tissue's mean of L, a and b moves by up to ``s`` of its standard deviation, and the
    deviation is scaled by 1 - s to 1 + s.
``macenko``
    The concentration c of each of the two stains becomes alpha c + beta, with alpha from 1 - s to
    1 + s and beta up to a quarter of ``s`` of the stain's 99th percentile; what is neither stain
    stays. As D. Tellez et al., "Whole-Slide Mitosis Detection in H&E Breast Histology Using PHH3
    as a Reference to Train Distilled Stain-Invariant Convolutional Networks", IEEE Transactions
    on Medical Imaging 37(9), 2018, but with the tile's own stains.

In both the change fades out towards glass, which keeps its colour without a seam. A tile with
under 5 % tissue, or of one colour, stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.errors import InputError
from mitoyolo.images import RGB
from mitoyolo.stain import macenko, reinhard
from mitoyolo.stain.macenko import Floats
from mitoyolo.stain.tissue import MAX_LUMINANCE, is_enough, tissue_mask

DEFAULT_STRENGTH = 0.3
"""Chosen by eye on tiles of cases H03 and H04 of MITOS-ATYPIA-14: sections as another laboratory
might stain them. At 0.5 some have lost a stain or the contrast of their nuclei."""

MAX_STRENGTH = 0.5
"""From two thirds on, more stain could become less than little stain does."""

SAMPLE = 1 << 14
"""About as many pixels tell a tile's stain: every fourth row and column of 512 px."""

MIN_APART = 0.15
"""Least sine of the angle between two stains to be told apart: nearer ones would make huge amounts
of a pixel that is neither. In tiles of H03 and H04 it is 0.21 to 0.37."""

KNEE = 0.5
"""Share of a stain's 99th percentile under which beta fades out."""

# What is brighter than the light, in logarithms, is a light of its own, with nothing in its way.
_LIGHT = np.log(np.maximum(np.arange(256) + 1, macenko.LIGHT)).astype(np.float32)
_TOP = math.log(256)
_LEVELS = np.arange(256, dtype=np.float64)[:, None]
_GLASS = reinhard.to_lab(np.full((1, 1, 3), MAX_LUMINANCE, np.uint8)).ravel().astype(np.float64)


def jitter_reinhard(rgb: RGB, strength: float, rng: np.random.Generator) -> RGB:
    """A tile with other Reinhard statistics.

    Parameters
    ----------
    rgb : uint8 array of shape (height, width, 3)
    strength : float
        0 to :data:`MAX_STRENGTH`; see the module.
    rng : numpy.random.Generator
        Six numbers are drawn, whatever the tile.

    Returns
    -------
    uint8 array of shape (height, width, 3)
        The tile itself where it is left as it is.
    """
    shift, scale = rng.uniform(-strength, strength, (2, 3))
    tissue = _tissue(rgb)
    if tissue is None or reinhard.is_flat(tissue):
        return rgb
    mean, deviation = (found.ravel() for found in cv2.meanStdDev(reinhard.to_lab(tissue)))
    # Whole from the mean on, the change fades to none at glass, and is small where they are near.
    way = np.where(mean == _GLASS, 1, mean - _GLASS)
    move = np.clip(shift * deviation, -abs(way) / 2, abs(way) / 2)
    fade = np.clip((_LEVELS - _GLASS) / way, 0, 1)
    table = _LEVELS + fade * (move + scale * (_LEVELS - mean))
    table = np.rint(np.clip(table, 0, 255)).astype(np.uint8)
    return reinhard.apply_to_lab(reinhard.to_lab(rgb), table)


def jitter_macenko(rgb: RGB, strength: float, rng: np.random.Generator) -> RGB:
    """A tile with other concentrations of its two stains.

    Parameters
    ----------
    rgb : uint8 array of shape (height, width, 3)
    strength : float
        0 to :data:`MAX_STRENGTH`; see the module.
    rng : numpy.random.Generator
        Four numbers are drawn, whatever the tile.

    Returns
    -------
    uint8 array of shape (height, width, 3)
        The tile itself where it is left as it is.
    """
    alpha, beta = rng.uniform(-strength, strength, (2, 2)) * [[1], [0.25]] + [[1], [0]]
    tissue = _tissue(rgb)
    found = None if tissue is None else macenko.measure(tissue)
    neither = np.cross(*found.stains) if found else np.zeros(3)
    if found is None or np.linalg.norm(neither) < MIN_APART:
        return rgb
    stains = np.column_stack([*found.stains, neither])
    stains[:, :2] *= found.concentrations  # so that amounts count in 99th percentiles
    density = np.maximum(macenko.density(rgb), 0)
    amount = _mix(density, np.linalg.inv(stains))
    pale = _up_to(KNEE, amount)
    density = _mix(amount, stains * [*alpha, 1]) + _mix(pale, stains * [*(beta / KNEE), 0])
    level = cv2.exp(_up_to(_TOP, cv2.LUT(rgb, _LIGHT) - density))  # more would wrap round to black
    return np.asarray(cv2.convertScaleAbs(level, beta=-1), np.uint8)


def _mix(values: Floats, matrix: NDArray[np.float64]) -> Floats:
    """The product of ``matrix``, (3, 3), and each pixel's three values."""
    return np.asarray(cv2.transform(values, matrix.astype(np.float32)), np.float32)


def _up_to(most: float, values: Floats) -> Floats:
    return np.asarray(cv2.threshold(values, most, 0, cv2.THRESH_TRUNC)[1], np.float32)


JITTERS: dict[str, Callable[[RGB, float, np.random.Generator], RGB]] = {
    "reinhard": jitter_reinhard,
    "macenko": jitter_macenko,
}


def _tissue(rgb: RGB) -> RGB | None:
    """A sample of the tissue's pixels, of shape (1, n, 3); None where there is too little."""
    step = max(1, round(math.sqrt(rgb.shape[0] * rgb.shape[1] / SAMPLE)))
    sample = np.ascontiguousarray(rgb[::step, ::step])
    pixels = sample[tissue_mask(sample)]
    enough = sample.size and is_enough(len(pixels), sample.shape[0] * sample.shape[1])
    return pixels[None] if enough else None


@dataclass(frozen=True, slots=True)
class StainJitter:
    """Stain augmentation as a transform of Ultralytics' datasets, beside ``RandomHSV``.

    Randomness comes from NumPy's global state, one number a call, and from ``seed``. That state is
    set for each tile of each epoch (:class:`mitoyolo.detectors.yolo_data.TrainingTiles`), so that a
    repeated training sees the same tiles, however many workers there are.

    Parameters
    ----------
    method : str
        A key of :data:`JITTERS`.
    strength : float
        0 to :data:`MAX_STRENGTH`; see the module.
    probability : float
        Share of the tiles that are changed.
    seed : int

    Raises
    ------
    InputError
        One of them is outside its range.

    Examples
    --------
    >>> labels = {"img": np.full((8, 8, 3), 255, np.uint8)}
    >>> StainJitter("macenko")(labels)["img"].min()
    np.uint8(255)
    """

    method: str = "reinhard"
    strength: float = DEFAULT_STRENGTH
    probability: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in JITTERS:
            known = ", ".join(JITTERS)
            raise InputError(f"no stain jitter {self.method!r}", fix=f"use one of: {known}")
        for name, value, most in (
            ("strength", self.strength, MAX_STRENGTH),
            ("probability", self.probability, 1),
        ):
            if not 0 <= value <= most:
                raise InputError(f"{name} of the stain jitter is {value}, expected 0 to {most}")
        if self.seed < 0:
            raise InputError(f"seed of the stain jitter is {self.seed}, expected 0 or more")

    def __call__(self, labels: dict[str, Any]) -> dict[str, Any]:
        """Change ``labels["img"]``, a BGR uint8 image; others than of three channels stay."""
        image = labels["img"]
        rng = np.random.default_rng([self.seed, np.random.randint(2**31)])
        if image.shape[-1] == 3 and rng.random() < self.probability:
            rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
            jittered = JITTERS[self.method](rgb, self.strength, rng)
            labels["img"] = cv2.cvtColor(jittered, cv2.COLOR_RGB2BGR)
        return labels
