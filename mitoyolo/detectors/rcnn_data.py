"""Tiles and boxes for the two-stage detectors, turned by seed, epoch and tile alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset

from converters.errors import InputError
from mitoyolo.dataset import MANIFEST, Dataset, Tile
from mitoyolo.detectors.rcnn_recipe import RcnnRecipe
from mitoyolo.images import RGB, read_rgb
from mitoyolo.label_file import read_boxes

Boxes = NDArray[np.float64]
"""(k, 4): left, top, right, bottom in px; a box over pixel 0 spans 0 to 1."""

Sample = tuple[torch.Tensor, dict[str, torch.Tensor]]
"""An image, (3, h, w) uint8 RGB, and its ``boxes`` (k, 4) float32 and ``labels`` (k,) from 1."""

LEAST_PX = 1.0
"""Boxes with a shorter side, in px of the network's input, teach nothing and are left out."""


class TrainingTiles(TorchDataset[Sample]):
    """The training split, copies included.

    Parameters
    ----------
    dataset : Dataset
    recipe : RcnnRecipe
    imgsz : int
        Longer side of the network's input.
    seed : int

    Attributes
    ----------
    boxes : list of (k, 4)
        Of each tile, in its pixels.
    left_out : int
        Boxes too small.

    Raises
    ------
    InputError
        A label file is damaged.
    """

    def __init__(self, dataset: Dataset, recipe: RcnnRecipe, *, imgsz: int, seed: int) -> None:
        self._dataset, self._recipe, self._seed = dataset, recipe, seed
        self._tiles = dataset.images_of("train")
        self.boxes, self._labels = [], []
        self.left_out = 0
        for tile in self._tiles:
            boxes, labels = read_targets(dataset, tile)
            sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf)
            kept = sides * imgsz / max(tile.size) >= LEAST_PX
            self.left_out += int((~kept).sum())
            self.boxes.append(boxes[kept])
            self._labels.append(labels[kept])

    def __len__(self) -> int:
        return len(self._tiles)

    def median_side(self, imgsz: int, *, squashed: bool) -> float:
        """The median over all boxes of the square root of their area, px of the network's input.

        Where that is ``squashed``, both sides of a tile become ``imgsz``, else the longer one.

        Raises
        ------
        InputError
            There is no box.
        """
        if not any(map(len, self.boxes)):
            raise InputError(
                "every box is under a pixel of the network's input",
                file=self._dataset.root,
                fix="give a larger --imgsz, or --set anchors=SIDES",
            )
        sides = [
            np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
            * (imgsz / (np.sqrt(tile.width * tile.height) if squashed else max(tile.size)))
            for tile, boxes in zip(self._tiles, self.boxes, strict=True)
        ]
        return float(np.median(np.concatenate(sides)))

    def __getitem__(self, index: int) -> Sample:
        """The tile of number ``index`` modulo their count, in the epoch that the quotient is."""
        epoch, number = divmod(index, len(self))
        image = self._read(self._tiles[number])
        rng = np.random.default_rng([self._seed, epoch, number])
        image, boxes = augmented(image, self.boxes[number], self._recipe, rng)
        return as_tensor(image), {
            "boxes": torch.from_numpy(boxes.astype(np.float32)),
            "labels": torch.from_numpy(self._labels[number] + 1),
        }

    def _read(self, tile: Tile) -> RGB:
        path = self._dataset.image_path(tile)
        image = read_rgb(path)
        height, width, _ = image.shape
        if (width, height) != tile.size:  # its boxes, which are in pixels, would lie elsewhere
            raise InputError(
                f"{width} x {height} px, expected {tile.width} x {tile.height} as in {MANIFEST}",
                file=path,
                fix="convert again",
            )
        return image


def read_targets(dataset: Dataset, tile: Tile) -> tuple[Boxes, NDArray[np.int64]]:
    """A tile's boxes and their class numbers, from 0."""
    rows = read_boxes(dataset, tile)
    boxes = np.array([box for _, box in rows], dtype=np.float64).reshape(-1, 4)
    return boxes, np.array([label for label, _ in rows], dtype=np.int64)


def as_tensor(image: RGB) -> torch.Tensor:
    """(h, w, 3) to (3, h, w), both uint8."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def augmented(
    image: RGB, boxes: Boxes, recipe: RcnnRecipe, rng: np.random.Generator
) -> tuple[RGB, Boxes]:
    """A tile and its boxes, mirrored and turned without resampling."""
    mirror, flip, turns = rng.random(), rng.random(), int(rng.integers(4))
    if mirror < recipe.fliplr:
        image, boxes = mirrored(image, boxes)
    if flip < recipe.flipud:
        image, boxes = turned(*mirrored(image, boxes), 2)
    return turned(image, boxes, turns) if recipe.rot90 else (image, boxes)


def mirrored(image: RGB, boxes: Boxes) -> tuple[RGB, Boxes]:
    """Left to right."""
    left, top, right, bottom = boxes.T
    width = image.shape[1]
    return image[:, ::-1], np.stack([width - right, top, width - left, bottom], axis=1)


def turned(image: RGB, boxes: Boxes, turns: int) -> tuple[RGB, Boxes]:
    """Counter-clockwise by quarter turns."""
    for _ in range(turns):
        left, top, right, bottom = boxes.T
        width = image.shape[1]
        boxes = np.stack([top, width - right, bottom, width - left], axis=1)
        image = np.rot90(image)
    return image, boxes


def collate(samples: list[Sample]) -> tuple[Any, ...]:
    """Samples of a batch to their images and their targets; images may differ in size."""
    return tuple(map(list, zip(*samples, strict=True)))
