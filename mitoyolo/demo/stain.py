"""Optics of a stained section: dye amounts to an 8-bit picture through the Beer-Lambert law."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mitoyolo.demo.noise import Field, value_noise

Image = NDArray[np.uint8]

# Optical density per unit of dye in red, green, blue. Two published readings of the same dyes
# span the range in which the sections of different laboratories lie.
RUIFROK = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])  # Ruifrok & Johnston 2001
MACENKO = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])  # Macenko et al. 2009


@dataclass(frozen=True)
class Stain:
    """Dyes and scanner of one case.

    Attributes
    ----------
    vectors : (2, 3) array
        Optical density in R, G, B of one unit of haematoxylin and of eosin.
    white : (3,) array
        Empty glass, 0 to 255.
    psf : float
        Standard deviation of the scanner's blur, pixels.
    noise : float
        Standard deviation of the sensor's noise, grey levels.
    """

    vectors: NDArray[np.float64]
    white: NDArray[np.float64]
    psf: float
    noise: float


def draw_stain(rng: np.random.Generator) -> Stain:
    """Draw one case's dyes: hue between the two published pairs, strength of each dye.

    The ranges are set so that hue, depth of mitoses and white of the empty glass spread as they
    do over the Aperio frames of MITOS-ATYPIA-14.
    """
    mix = rng.uniform([[0.3], [0.35]], [[0.9], [0.6]])
    vectors = (1 - mix) * RUIFROK + mix * MACENKO + rng.normal(0, 0.012, (2, 3))
    vectors[0] += rng.uniform(0.1, 0.7) * vectors[1]  # eosin stains chromatin as well
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    strength = rng.uniform([[1.05], [0.65]], [[1.35], [1.2]])
    white = np.array([250.0, 230.0, 241.0]) + rng.uniform(-3, 3, 3)
    return Stain(vectors * strength, white, rng.uniform(0.85, 1.3), rng.uniform(1.2, 2.4))


def develop(
    haematoxylin: Field,
    eosin: Field,
    stain: Stain,
    rng: np.random.Generator,
    foreign: Field | None = None,
) -> Image:
    """Light through the section, blurred and read by the sensor.

    Parameters
    ----------
    haematoxylin, eosin : (height, width) arrays
        Amount of dye at each pixel, 0 and up.
    stain : Stain
        The case's dyes and scanner.
    foreign : (height, width, 3) array, optional
        Optical density of what else lies in the light, such as ink.

    Returns
    -------
    (height, width, 3) array of uint8
        RGB.
    """
    shape = haematoxylin.shape
    vectors = stain.vectors.astype(np.float32)
    density = haematoxylin[..., None] * vectors[0] + eosin[..., None] * vectors[1]
    if foreign is not None:
        density += foreign
    lamp = 1 + 0.012 * value_noise(rng, shape, max(shape) / 2)
    light = np.exp(-np.float32(np.log(10)) * density) * lamp[..., None]
    light = light * stain.white.astype(np.float32)
    light = cv2.GaussianBlur(light, (0, 0), stain.psf)
    grain = rng.standard_normal((*shape, 3), dtype=np.float32)
    # Demosaicking leaves a little correlation between neighbouring pixels.
    light += np.float32(1.6 * stain.noise) * cv2.GaussianBlur(grain, (3, 3), 0.6)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)
