"""``--engine staintools``: the package staintools itself, so that its users can compare.

staintools 2 runs as it is: its tissue mask, its stain extraction, its LASSO. It fits each tile
alone, hence mode ``tile`` only. Our guards come first, and a tile on which it fails passes through
unchanged. A target is a few numbers, set on its normaliser: what its own ``fit`` finds in an
image, or in a sample of the pixels of several.

One thing differs. staintools' Vahadane learns its dictionary until one second has passed, so that
no two runs agree; here it takes a fixed number of steps on one thread, which always gives the same
bytes.

Sources: M. Macenko et al., "A method for normalizing histology slides for quantitative analysis",
IEEE International Symposium on Biomedical Imaging, 2009; A. Vahadane et al., "Structure-Preserving
Color Normalization and Sparse Stain Separation for Histological Images", IEEE Transactions on
Medical Imaging 35(8), 2016; staintools' source, version 2.1.2.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from converters.errors import InputError
from mitoyolo.extras import install
from mitoyolo.images import RGB
from mitoyolo.stain import macenko, reinhard
from mitoyolo.stain.sample import Sample

DICTIONARY_STEPS = 4000
"""Steps of Vahadane's dictionary learning; its one second gave 3748 where that was tried."""

MACENKO = macenko.Stats(
    ((0.44611, 0.80423, 0.39269), (0.06160, 0.95309, 0.29635)), (2.1801, 1.2892)
)
"""The default target of ``staintools-macenko``: what staintools finds in breast cancer.

Source: :class:`Gauge` over the 123 frames with a mitosis of cases H03 and H04 of MITOS-ATYPIA-14
(x40, Hamamatsu NanoZoomer 2.0-HT), by ``mitoyolo normalize --fit --engine staintools``.
"""

VAHADANE = macenko.Stats(
    ((0.37485, 0.83809, 0.39635), (0.18359, 0.91091, 0.36952)), (2.4142, 1.7222)
)
"""The default target of ``staintools-vahadane``, of the same frames."""

UNMAPPED = "one colour, or staintools finds no two stains"


def load() -> Any:
    """The package staintools.

    Raises
    ------
    InputError
        It, or spams below it, is not installed; the extra is named.
    """
    try:
        import staintools
    except ImportError:
        raise InputError(
            "the package staintools is not installed",
            fix=install("staintools"),
        ) from None
    return staintools


def map_reinhard(rgb: RGB, _: None, target: reinhard.Stats) -> RGB | None:
    """A tile by staintools' ``ReinhardColorNormalizer``; None for a flat one."""
    if reinhard.is_flat(rgb):
        return None
    normaliser = load().ReinhardColorNormalizer()
    normaliser.target_means, normaliser.target_stds = target.mean, target.std
    return _run(normaliser.transform, rgb)


def map_stains(method: str, rgb: RGB, _: None, target: macenko.Stats) -> RGB | None:
    """A tile by staintools' ``StainNormalizer``; None for a flat one, and where it fails.

    Parameters
    ----------
    method : str
        ``macenko`` or ``vahadane``, as staintools calls them.
    rgb : uint8 array of shape (height, width, 3)
    target : macenko.Stats
    """
    if macenko.is_flat(rgb):
        return None
    normaliser = load().StainNormalizer(method)
    normaliser.stain_matrix_target = np.array(target.stains)
    normaliser.maxC_target = np.array([target.concentrations])
    return _run(normaliser.transform, rgb)


class Gauge:
    """Fits staintools' ``StainNormalizer`` to tiles together, from a sample of their pixels.

    It looks at each pixel on its own, so that a sample may stand for an image; a single tile is
    fitted whole.
    """

    def __init__(self, method: str) -> None:
        self._method = method
        self._sample = Sample()

    def add(self, rgb: RGB) -> None:
        """Count a tile's pixels."""
        self._sample.add(rgb.reshape(-1, 3))

    def whole(self) -> macenko.Stats | None:
        """What staintools finds; None where it fails."""
        normaliser, pixels = load().StainNormalizer(self._method), self._sample.pixels()
        if pixels.size:
            _run(normaliser.fit, pixels)
        try:
            return stats_from_dict(
                {
                    "stains": normaliser.stain_matrix_target.tolist(),
                    "concentrations": normaliser.maxC_target.ravel().tolist(),
                }
            )
        except (AttributeError, InputError):  # not found, or not a target
            return None

    tissue = whole  # staintools looks for tissue itself


def stats_from_dict(value: Mapping[str, Any]) -> macenko.Stats:
    """Read the numbers of a target; staintools takes no negative density there.

    Raises
    ------
    InputError
        They are no two stains with their concentrations.
    """
    stats = macenko.Stats.from_dict(value)
    if min(map(min, stats.stains)) < 0:
        raise InputError(f"`stains` is {stats.stains}, expected no negative density")
    return stats


def _run(function: Callable[[RGB], RGB | None], rgb: RGB) -> RGB | None:
    """``function`` of a copy, which staintools writes into; None where it fails.

    Too few pixels, or one stain only, make it divide by zero and go on with NaN: numpy is told to
    stop there.
    """
    from unittest.mock import patch

    import spams
    from staintools.miscellaneous.exceptions import TissueMaskException

    learn = partial(spams.trainDL, iter=DICTIONARY_STEPS, numThreads=1)
    with (
        warnings.catch_warnings(action="ignore", category=RuntimeWarning),
        np.errstate(invalid="raise"),
        patch.object(spams, "trainDL", learn),
    ):
        try:
            return function(rgb.copy())
        except (TissueMaskException, FloatingPointError, AssertionError):
            return None
