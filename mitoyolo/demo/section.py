"""The section under the lens: two dye planes and local views of them in micrometres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mitoyolo.demo.noise import Field, value_noise


@dataclass(frozen=True)
class Section:
    """Dye planes of one tile, drawn on in place.

    Attributes
    ----------
    haematoxylin, eosin : (size, size) arrays
        Amount of dye at each pixel.
    fine, coarse : (size, size) arrays
        Noise of 0.55 and 1.3 µm grain for chromatin and cytoplasm; every small texture reads it at
        its own place, which costs nothing per nucleus.
    mpp : float
        µm per pixel.
    """

    haematoxylin: Field
    eosin: Field
    fine: Field
    coarse: Field
    mpp: float

    @property
    def size(self) -> int:
        """Side, pixels."""
        return self.eosin.shape[0]


@dataclass(frozen=True)
class View:
    """A square window of a section; the arrays share the section's memory.

    Attributes
    ----------
    u, v : (rows, columns) arrays
        µm from the window's centre, along and across its rotation (y down).
    x0, y0 : int
        Pixel of the section at which the window starts.
    """

    haematoxylin: Field
    eosin: Field
    fine: Field
    coarse: Field
    u: Field
    v: Field
    x0: int
    y0: int


def blank(rng: np.random.Generator, size: int, mpp: float) -> Section:
    """A section without dye."""
    shape = (size, size)
    return Section(
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        value_noise(rng, shape, 0.55 / mpp),
        value_noise(rng, shape, 1.3 / mpp),
        mpp,
    )


def view(section: Section, x: float, y: float, radius: float, rotation: float = 0.0) -> View:
    """The part of ``section`` within ``radius`` µm of pixel (x, y), cut at the border.

    ``rotation`` (radians, y down) turns the u axis.
    """
    reach = radius / section.mpp
    x0, x1 = max(0, int(x - reach)), min(section.size, max(0, int(x + reach) + 2))
    y0, y1 = max(0, int(y - reach)), min(section.size, max(0, int(y + reach) + 2))
    dx = (np.arange(x0, x1, dtype=np.float32) - np.float32(x)) * np.float32(section.mpp)
    dy = (np.arange(y0, y1, dtype=np.float32) - np.float32(y)) * np.float32(section.mpp)
    cos, sin = np.float32(np.cos(rotation)), np.float32(np.sin(rotation))
    window = np.s_[y0:y1, x0:x1]
    return View(
        section.haematoxylin[window],
        section.eosin[window],
        section.fine[window],
        section.coarse[window],
        dx[None, :] * cos + dy[:, None] * sin,
        dy[:, None] * cos - dx[None, :] * sin,
        x0,
        y0,
    )


def radial(rng: np.random.Generator, view: View, a: float, b: float, rough: float) -> Field:
    """Depth under the outline of an uneven oval, µm: positive inside, negative outside.

    Parameters
    ----------
    a, b : float
        Half axes along u and v, µm.
    rough : float
        Relative depth of the outline's waves.
    """
    angle = np.arctan2(view.v / np.float32(b), view.u / np.float32(a))
    outline = np.ones_like(angle)
    for wave in (2, 3, 5):
        size, phase = rng.normal(0, rough / wave), rng.uniform(0, 2 * np.pi)
        outline += np.float32(size) * np.cos(wave * angle + np.float32(phase))
    reach = np.sqrt((view.u / np.float32(a)) ** 2 + (view.v / np.float32(b)) ** 2)
    return np.asarray((outline - reach) * np.float32(np.sqrt(a * b)), dtype=np.float32)
