"""PNG masks of tiles: every object its own value, so that touching cells stay apart.

Source: the KMIT paper's Fig. 3, whose binary masks merge ellipses that touch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from converters.errors import InputError
from converters.files import write_with
from converters.raster import runs_of
from mitoyolo.dataset import Labelled
from mitoyolo.images import LARGEST_SLIDE

_COLOURS = np.array(
    [[255, 80, 80], [80, 200, 255], [255, 220, 60], [120, 255, 120], [230, 120, 255]]
)  # fmt: skip


def mask(item: Labelled) -> NDArray[np.uint16]:
    """A tile's mask of shape (height, width): 0 background, i + 1 the object of label row i.

    A pixel is an object's if its centre lies in the object's shape, or in its box where there is
    no shape. Where objects overlap, the smaller one is on top.

    Raises
    ------
    InputError
        The tile is too large for one picture.
    """
    width, height = item.tile.width, item.tile.height
    if width * height > LARGEST_SLIDE:
        raise InputError(
            f"a mask of {width} x {height} px is too large",
            file=item.tile.source,
            fix="cut tiles by --tile or --grid",
        )
    shapes = item.shapes or (None,) * len(item.boxes)
    found = [
        (runs_of(shape or box, width, height), number)
        for number, ((_, box), shape) in enumerate(zip(item.boxes, shapes, strict=True), 1)
    ]
    values = np.zeros((height, width), np.uint16)
    for runs, number in sorted(found, key=lambda entry: -_pixels(entry[0])):
        for column, first, end in runs.tolist():
            values[first:end, column] = number
    return values


def _pixels(runs: NDArray[np.int64]) -> int:
    return int((runs[:, 2] - runs[:, 1]).sum())


def write_mask(path: Path, item: Labelled) -> None:
    """Write a mask as a PNG: indexed, coloured for the eye; above 255 objects 16-bit grey."""
    values = mask(item)
    if len(item.boxes) > 255:
        picture = Image.fromarray(values)
    else:
        picture = Image.fromarray(values.astype(np.uint8)).convert("P")
        palette = np.vstack([[[0, 0, 0]], np.resize(_COLOURS, (255, 3))])
        picture.putpalette(palette.astype(np.uint8).tobytes())
    write_with(path, lambda temporary: picture.save(temporary, format="PNG"))
