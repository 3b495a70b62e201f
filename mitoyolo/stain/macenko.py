"""Macenko's normalisation: two stain vectors and their concentrations, in optical density.

Source: M. Macenko et al., "A method for normalizing histology slides for quantitative analysis",
IEEE International Symposium on Biomedical Imaging, 2009. Optical density is -ln((level + 1) / 240);
pixels with a channel under 0.15 are glass to the fit; the stain vectors are the 1st and 99th
percentile of the angle in the plane of the two main directions; a stain's concentration is scaled
by its 99th percentile over all pixels. These are the numbers of torchstain's
``NumpyMacenkoNormalizer``, which a tile's own fit equals to the level.

With the fit at hand the whole map is linear in optical density: a table of logarithms, one 3 x 3
matrix, an exponential. Within the fit the percentiles cost most, hence :func:`_percentile_99`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.errors import InputError
from mitoyolo.images import RGB, one_value
from mitoyolo.stain import tissue
from mitoyolo.stain.numbers import Triple, triple
from mitoyolo.stain.sample import Sample

Floats = NDArray[np.float32]

LIGHT = 240.0
"""The level of transmitted light, where optical density is zero."""

MIN_DENSITY = 0.15
"""Optical density under which, in any channel, a pixel counts as glass in the fit (beta)."""

TAIL = 0.01
"""The share of pixels beyond each extreme: percentiles 1 and 99 (alpha)."""

SAMPLED = 64
"""One of so many values tells where about the percentiles lie."""

MIN_STAINED = 256
"""Fewer stained pixels give no percentile worth the name."""

MAX_CONCENTRATION = 1e4
"""Far more than the darkest pixel can hold; more than this is no measured number."""

MIN_ANGLE = 0.05
"""Least angle between the two stains, in radians; closer ones cannot be told apart."""

MIN_DEVIATION = 1.0
"""Least standard deviation of R, G and B, in levels: less is one colour."""

_DENSITY = -np.log((np.arange(256, dtype=np.float64) + 1) / LIGHT).astype(np.float32)
_STAINED_UP_TO = int(np.flatnonzero(_DENSITY >= MIN_DENSITY)[-1])
_TOP = float(np.nextafter(np.float32(math.log(256)), np.float32(0)))


@dataclass(frozen=True, slots=True)
class Stats:
    """Two stains and how much of each there is.

    Attributes
    ----------
    stains : two triples
        Optical density of R, G and B of haematoxylin and of eosin, as unit vectors.
    concentrations : (float, float)
        The 99th percentile of the concentration of each.

    Raises
    ------
    InputError
        A number is not finite, a concentration not positive, or the stains are the same.
    """

    stains: tuple[Triple, Triple]
    concentrations: tuple[float, float]

    def __post_init__(self) -> None:
        for name, stain, most in zip(
            ("haematoxylin", "eosin"), self.stains, self.concentrations, strict=True
        ):
            if not all(map(math.isfinite, stain)) or not 0.99 < math.hypot(*stain) < 1.01:
                raise InputError(f"stain of {name} is {list(stain)}, expected a unit vector")
            if not 0 < most <= MAX_CONCENTRATION:
                raise InputError(
                    f"concentration of {name} is {most}, expected above 0, up to "
                    f"{MAX_CONCENTRATION:g}"
                )
        if _angle(*self.stains) < MIN_ANGLE:
            raise InputError("the stains of haematoxylin and eosin are the same")

    def to_dict(self) -> dict[str, Any]:
        """``{"stains": [[R, G, B], [R, G, B]], "concentrations": [H, E]}``."""
        return {
            "stains": [list(stain) for stain in self.stains],
            "concentrations": list(self.concentrations),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Stats:
        """Read what :meth:`to_dict` gives; other keys are ignored."""
        stains, most = value.get("stains"), value.get("concentrations")
        if not isinstance(stains, (list, tuple)) or len(stains) != 2:
            raise InputError(f"`stains` is {stains!r}, expected two of [R, G, B]")
        if not isinstance(most, (list, tuple)) or len(most) != 2:
            raise InputError(f"`concentrations` is {most!r}, expected two numbers")
        haematoxylin, eosin = (triple(stain, "stains", "[R, G, B]") for stain in stains)
        first, second, _ = triple([*most, 0], "concentrations", "[H, E]")
        return cls((haematoxylin, eosin), (first, second))


def _angle(one: Triple, other: Triple) -> float:
    return math.asin(min(1.0, float(np.linalg.norm(np.cross(one, other)))))


DEFAULT = Stats(((0.43214, 0.81807, 0.37949), (0.14570, 0.93711, 0.31718)), (1.9734, 1.6344))
"""Tissue of breast cancer in H&E: the target where none is given.

Source: a sample of :data:`mitoyolo.stain.sample.MOST` pixels of the tissue of the 123 frames with a
mitosis of cases H03 and H04 of MITOS-ATYPIA-14 (x40, Hamamatsu NanoZoomer 2.0-HT), the training
cases of our split, by ``mitoyolo normalize --fit``.
"""

DEFAULT_WHOLE = Stats(((0.43218, 0.81744, 0.38081), (0.14624, 0.93747, 0.31585)), (1.9537, 1.6264))
"""All pixels of the same frames, glass included: the default target of mode ``tile``."""

DEFAULT_SOURCE = "MITOS-ATYPIA-14 H03 and H04"


def density(rgb: RGB) -> Floats:
    """Optical density of each pixel and channel, in the shape of ``rgb``."""
    return np.asarray(cv2.LUT(rgb, _DENSITY), np.float32)


def is_flat(rgb: RGB) -> bool:
    """Whether a channel varies by less than one level: one colour, no two stains."""
    return tissue.is_flat(rgb, MIN_DEVIATION)


def measure(rgb: RGB) -> Stats | None:
    """The stains of an image, over all its pixels.

    Parameters
    ----------
    rgb : uint8 array of shape (height, width, 3)

    Returns
    -------
    Stats or None
        None where fewer than :data:`MIN_STAINED` pixels are stained, or no two stains are found.
    """
    return _measure(rgb, density(rgb)) if rgb.size else None


def _measure(rgb: RGB, optical: Floats) -> Stats | None:
    stained = cv2.inRange(rgb, (0, 0, 0), (_STAINED_UP_TO,) * 3).reshape(-1).view(np.bool_)
    if np.count_nonzero(stained) < MIN_STAINED:
        return None
    plane = _main_plane(optical, stained)
    first, second = _project(optical, plane)
    angle = np.arctan2(second, first)
    low, high = -_percentile_99(-angle, stained), _percentile_99(angle, stained)
    ends = [plane.T @ (math.cos(turn), math.sin(turn)) for turn in (low, high)]
    # Haematoxylin is the bluer stain: it takes more of the red.
    haematoxylin, eosin = sorted(ends, key=lambda stain: -stain[0])
    unmix = np.linalg.pinv(np.stack([haematoxylin, eosin], axis=1))
    most = [_percentile_99(amount) for amount in _project(optical, unmix)]
    try:
        return Stats((tuple(haematoxylin.tolist()), tuple(eosin.tolist())), (most[0], most[1]))
    except InputError:
        return None


def _main_plane(optical: Floats, stained: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The two main directions of the stained pixels, of shape (2, 3), the lesser first."""
    channels = [np.ravel(channel) * stained for channel in cv2.split(optical)]
    number = np.count_nonzero(stained)
    mean = np.array([channel.sum() for channel in channels], np.float64) / number
    covariance = np.zeros((3, 3))  # its lower half, which is all that eigh reads
    # einsum rather than a matrix product: the order of its sums, and so the last bit, does not
    # depend on the number of threads.
    for i, j in zip(*np.tril_indices(3), strict=True):
        product = np.einsum("n,n->", channels[i], channels[j])
        covariance[i, j] = product / number - mean[i] * mean[j]
    return np.asarray(np.linalg.eigh(covariance)[1].T[1:], np.float64)


def _project(optical: Floats, rows: NDArray[np.float64]) -> tuple[Floats, Floats]:
    """The products of each pixel with two rows of three, flat."""
    # Three rows: OpenCV's fast path.
    matrix = np.vstack([rows, np.zeros((1, 3))]).astype(np.float32)
    product = cv2.transform(optical, matrix)
    one, other = (np.ravel(cv2.extractChannel(product, index)) for index in (0, 1))
    return one.astype(np.float32, copy=False), other.astype(np.float32, copy=False)


def _percentile_99(values: Floats, where: NDArray[np.bool_] | None = None) -> float:
    """``np.percentile(values[where], 99)``, in a quarter of its time.

    A sample tells a cut that leaves about 4 % above; only these are put in order. Where the sample
    misled, all values are.
    """
    sample = values[::SAMPLED] if where is None else values[::SAMPLED][where[::SAMPLED]]
    at = len(sample) * 24 // 25
    cut = np.partition(sample, at)[at] if len(sample) else np.float32(-np.inf)
    number = len(values) if where is None else int(np.count_nonzero(where))
    rank = (1 - TAIL) * (number - 1)
    tail = _at_least(cut, values, where)
    if number - len(tail) > rank:
        tail = _at_least(np.float32(-np.inf), values, where)
    first = int(rank) - (number - len(tail))
    one, next_one = np.partition(tail, [first, first + 1])[first : first + 2].tolist()
    return float(one + (next_one - one) * (rank - int(rank)))


def _at_least(cut: np.float32, values: Floats, where: NDArray[np.bool_] | None) -> Floats:
    above = values >= cut
    return values[above if where is None else above & where]


class Gauge:
    """Measures tiles together, from a bounded sample of their pixels."""

    def __init__(self) -> None:
        self._tissue = Sample()
        self._whole = Sample()

    def add(self, rgb: RGB) -> None:
        """Count a tile's pixels."""
        stained = one_value(rgb)[tissue.tissue_mask(rgb)]  # chosen faster than three channels
        self._tissue.add(stained.view(np.uint8).reshape(-1, 4)[:, :3])
        self._whole.add(rgb.reshape(-1, 3))

    def tissue(self) -> Stats | None:
        """Stains of the tissue; None where there was none, or no two stains."""
        return measure(self._tissue.pixels())

    def whole(self) -> Stats | None:
        """Stains over all pixels; of one tile, unless it is too large to be kept whole, its own."""
        return measure(self._whole.pixels())


@lru_cache(maxsize=256)
def matrix(source: Stats, target: Stats) -> Floats:
    """From optical density of ``source`` to logarithms of levels of ``target``: (3, 4)."""
    scale = np.diag(np.divide(target.concentrations, source.concentrations))
    unmix = np.linalg.pinv(np.transpose(source.stains))
    turn = np.transpose(target.stains) @ scale @ unmix
    found = np.column_stack([-turn, np.full(3, math.log(LIGHT))]).astype(np.float32)
    found.flags.writeable = False
    return found


def apply(rgb: RGB, source: Stats, target: Stats) -> RGB:
    """Bring an image from the stains of ``source`` to those of ``target``."""
    return _apply(density(rgb), source, target)


def _apply(optical: Floats, source: Stats, target: Stats) -> RGB:
    logarithm = cv2.transform(optical, matrix(source, target))
    capped = cv2.threshold(logarithm, _TOP, 0, cv2.THRESH_TRUNC)[1]  # infinity would wrap to black
    level = cv2.exp(capped)
    return np.asarray(cv2.convertScaleAbs(level, beta=-0.5), np.uint8)  # cut, not rounded


def map_tile(rgb: RGB, source: Stats | None, target: Stats) -> RGB | None:
    """A tile brought to ``target``, from ``source`` or, without it, from its own stains.

    None for a flat tile, and for one in which no two stains can be told apart.
    """
    if is_flat(rgb):
        return None
    optical = density(rgb)
    own = source or _measure(rgb, optical)
    return None if own is None else _apply(optical, own, target)
