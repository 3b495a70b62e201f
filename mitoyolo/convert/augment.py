"""Augmented copies of training tiles: flips and quarter turns, pixels and boxes together.

Source: the augmentations of the KMIT and MITOS-RCNN papers, which need no resampling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from converters.geometry import Box
from converters.shapes import Shape
from mitoyolo.dataset import Labelled
from mitoyolo.images import RGB


@dataclass(frozen=True, slots=True)
class Transform:
    """Axes exchanged first where ``turns``, then x mirrored, then y mirrored."""

    turns: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height afterwards."""
        return (height, width) if self.turns else (width, height)

    def pixels(self, image: RGB) -> RGB:
        """An image (height, width, 3) transformed."""
        turned = image.swapaxes(0, 1) if self.turns else image
        return np.ascontiguousarray(
            turned[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]
        )

    def box(self, box: Box, width: int, height: int) -> Box:
        """A box on an image of the given former size."""
        left, top, right, bottom = box
        if self.turns:
            left, top, right, bottom = top, left, bottom, right
        wide, high = self.size(width, height)
        if self.mirror_x:
            left, right = wide - right, wide - left
        if self.mirror_y:
            top, bottom = high - bottom, high - top
        return (left, top, right, bottom)

    def shape(self, shape: Shape, width: int, height: int) -> Shape:
        """A shape on an image of the given former size."""
        turned = shape.transposed() if self.turns else shape
        wide, high = self.size(width, height)
        x, y = (-1, wide) if self.mirror_x else (1, 0), (-1, high) if self.mirror_y else (1, 0)
        return turned.mapped(x[0], y[0], x[1], y[1])


TRANSFORMS = {
    "fliph": Transform(mirror_x=True),
    "flipv": Transform(mirror_y=True),
    "rot90": Transform(turns=True, mirror_y=True),
    "rot180": Transform(mirror_x=True, mirror_y=True),
    "rot270": Transform(turns=True, mirror_x=True),
}
"""By name; turns are counter-clockwise on the screen."""

AUGMENTATIONS = {
    "flips": ("fliph", "flipv"),
    "rot90": ("rot90", "rot180", "rot270"),
}
"""What ``--augment`` offers -> the copies that it makes of a tile."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A transformed copy: its own name and boxes, the tile it is of, and how it was made."""

    item: Labelled
    of: str
    transform: str


def copies(item: Labelled, augment: tuple[str, ...]) -> list[Copy]:
    """The copies of a tile that the names in ``augment`` ask for."""
    width, height = item.tile.width, item.tile.height
    made = []
    for name in chain.from_iterable(AUGMENTATIONS[key] for key in augment):
        transform = TRANSFORMS[name]
        wide, high = transform.size(width, height)
        tile = replace(item.tile, name=f"{item.tile.name}_{name}", width=wide, height=high)
        boxes = tuple((label, transform.box(box, width, height)) for label, box in item.boxes)
        shapes = tuple(shape and transform.shape(shape, width, height) for shape in item.shapes)
        made.append(Copy(Labelled(tile, boxes, shapes), item.tile.name, name))
    return made
