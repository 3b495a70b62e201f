"""Small slides written from arrays: pyramids whose every pixel, and so whose truth, is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from rendered import Cell, paint

from mitoyolo.images import RGB


def textured(width: int, height: int, seed: int = 0) -> RGB:
    """A smooth image of random colours, no two places alike, of (height, width, 3)."""
    coarse = np.random.default_rng(seed).integers(
        60, 250, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8
    )
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def reduced(image: RGB, step: int) -> RGB:
    """Means of ``step`` x ``step`` pixels; what does not divide is left out, as scanners do."""
    height, width = image.shape[0] // step, image.shape[1] // step
    whole = image[: height * step, : width * step]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def write_slide(
    path: Path,
    image: RGB,
    mpp: float | tuple[float, float] | None = 0.25,
    *,
    steps: Sequence[int] = (),
    tile: int | None = 64,
    sub_ifds: bool = False,
    **how: Any,
) -> Path:
    """Write an image as a TIFF with a level for each of ``steps``, by tifffile.

    Parameters
    ----------
    mpp : float or (float, float), optional
        µm per pixel, written as pixels per centimetre; None: no resolution.
    tile : int, optional
        Side of the tiles; None: strips.
    sub_ifds : bool
        The levels are sub-IFDs of the first page, as in OME-TIFF, not pages that follow.
    how : dict
        More of :meth:`tifffile.TiffWriter.write`; unless it says otherwise, lossless.
    """
    options: dict[str, Any] = {"photometric": "rgb", "compression": "deflate", "metadata": None}
    if tile:
        options["tile"] = (tile, tile)
    options |= how
    across, down = mpp if isinstance(mpp, tuple) else (mpp, mpp)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path, ome=path.name.endswith(".ome.tif")) as tiff:
        for step in (1, *steps):
            if across and down:
                options["resolution"] = (1e4 / across / step, 1e4 / down / step)
                options["resolutionunit"] = "CENTIMETER"
            if step == 1:
                first = {"subifds": len(steps)} if sub_ifds and steps else {}
                tiff.write(image, **options, **first)
                options.pop("description", None)
            else:
                tiff.write(reduced(image, step), subfiletype=1, **options)
    return path


def write_svs(path: Path, image: RGB, mpp: float = 0.25, *, steps: Sequence[int] = ()) -> Path:
    """As :func:`write_slide`, told apart by OpenSlide as Aperio's, with JPEG tiles."""
    description = f"Aperio Image Library v1|AppMag = 40|MPP = {mpp}"
    return write_slide(
        path, image, None, steps=steps, description=description,
        compression="jpeg", compressionargs={"level": 95},
    )  # fmt: skip


def write_cells(
    path: Path, width: int, height: int, cells: Sequence[Cell], mpp: float = 0.5, **how: Any
) -> Path:
    """A slide of blue squares on pink, whose truth ``rendered.PixelDetector`` reads from it."""
    return write_slide(path, paint(width, height, cells), mpp, **how)
