"""A dataset folder whose truth can be seen in its pixels, and a detector that reads it there.

Cells are blue squares on pink. Their green channel carries the score that the detector gives them,
so that every count, place and score of a test is known beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from converters.files import write_csv
from converters.model import SPLITS
from mitoyolo.dataset import (
    ANNOTATION_COLUMNS,
    ANNOTATIONS,
    Labelled,
    Tile,
    write_index,
    write_manifest,
    write_split,
    yolo_text,
)
from mitoyolo.detectors.card import Card
from mitoyolo.images import RGB, write_rgb
from mitoyolo.inference.merge import Detections
from mitoyolo.tiles import grid

PINK = (230, 170, 200)
CELL = 8  # side of a cell's square, px
SIDE, OVERLAP = 64, 32  # of tiles, px


@dataclass(frozen=True)
class Cell:
    """A place in a source image.

    ``score`` is what the detector gives it, None for a cell that it cannot see; ``label`` is the
    annotation, None for what nobody annotated.
    """

    x: int
    y: int
    score: float | None = 0.8
    label: str | None = "mitosis"


@dataclass(frozen=True)
class Source:
    """A source image, which is cut into tiles of 64 px that overlap by half."""

    name: str
    split: str
    cells: tuple[Cell, ...] = ()
    case: str = ""
    width: int = 96
    height: int = 64
    scanner: str = ""


def paint(width: int, height: int, cells: Sequence[Cell], size: int = CELL) -> RGB:
    """An image of (height, width, 3) with the cells that can be seen."""
    image = np.full((height, width, 3), PINK, dtype=np.uint8)
    half = size // 2
    for cell in cells:
        if cell.score is not None:
            rows = slice(max(cell.y - half, 0), cell.y + half)
            columns = slice(max(cell.x - half, 0), cell.x + half)
            image[rows, columns] = (0, round(cell.score * 255), 255)
    return image


def write_dataset(
    root: Path,
    sources: Sequence[Source],
    *,
    mpp: tuple[float, float] = (0.5, 0.5),
    labels: Sequence[str] = ("mitosis",),
    normalisation: dict[str, Any] | None = None,
    side: int = SIDE,
) -> Path:
    """Write a dataset folder as ``convert`` does; the folder is returned."""
    items: dict[str, list[Labelled]] = {split: [] for split in SPLITS}
    rows = []
    for source in sources:
        case = source.case or source.name
        image = paint(source.width, source.height, source.cells)
        for cell in source.cells:
            if cell.label:
                rows.append((source.name, case, cell.label, cell.x, cell.y, 16, 16, None, "box"))
        for window in grid(source.width, source.height, side, OVERLAP):
            tile = Tile(
                name=f"{source.name}_{window.x}_{window.y}", source=source.name, case=case,
                split=source.split, x=window.x, y=window.y, width=window.width,
                height=window.height, mpp=mpp, scanner=source.scanner,
            )  # fmt: skip
            boxes = tuple(
                (list(labels).index(cell.label), _box(cell, tile))
                for cell in source.cells
                if cell.label and window.holds(cell.x, cell.y, source.width, source.height)
            )
            items[source.split].append(Labelled(tile, boxes))
            pixels = image[tile.y : tile.y + tile.height, tile.x : tile.x + tile.width]
            write_rgb(root / "images" / tile.split / f"{tile.name}.png", pixels)
            label_file = root / "labels" / tile.split / f"{tile.name}.txt"
            label_file.parent.mkdir(parents=True, exist_ok=True)
            label_file.write_text(yolo_text(items[source.split][-1]), encoding="utf-8")
    tiles = [item.tile for split in SPLITS for item in items[split]]
    for split in SPLITS:
        write_split(root, split, items[split], {t.name: f"{t.name}.png" for t in tiles}, labels)
    write_manifest(root, tiles)
    write_csv(root / ANNOTATIONS, ANNOTATION_COLUMNS, rows)
    block: dict[str, Any] = {
        "format": "test", "mpp": list(mpp), "protocol": "centroid", "radius_um": 8.0,
        "labels": list(labels), "overlap": OVERLAP, "seed": 0, "version": "0",
    }  # fmt: skip
    if normalisation:
        block["normalisation"] = normalisation
    write_index(root, labels, block)
    return root


def _box(cell: Cell, tile: Tile) -> tuple[float, float, float, float]:
    x, y = cell.x - tile.x, cell.y - tile.y
    return (
        max(x - 8.0, 0.0), max(y - 8.0, 0.0),
        min(x + 8.0, float(tile.width)), min(y + 8.0, float(tile.height)),
    )  # fmt: skip


def card(**changes: Any) -> Card:
    """The card of a model trained on such a dataset."""
    facts: dict[str, Any] = {
        "family": "yolov5n", "classes": ("mitosis",), "mpp": (0.5, 0.5), "tile": SIDE,
        "overlap": OVERLAP, "imgsz": SIDE, "normalisation": None, "radius_um": 8.0,
        "protocol": "centroid", "threshold": 0.5, "threshold_from": "val split, best F1, epoch 1",
        "versions": {},
    }  # fmt: skip
    return Card(**{**facts, **changes})


@dataclass
class PixelDetector:
    """Finds the blue squares; one that a tile's edge touches gets half of its score."""

    classes: tuple[str, ...] = ("mitosis",)
    card: Card | None = field(default_factory=card)
    imgsz: int = SIDE
    device: str = "cpu"
    sizes: list[int | None] = field(default_factory=list)

    def predict(self, tiles: Sequence[RGB], imgsz: int | None = None) -> list[Detections]:
        """As :class:`mitoyolo.detectors.base.Detector` says; ``sizes`` keeps what was asked."""
        assert len({tile.shape for tile in tiles}) == 1
        self.sizes.append(imgsz)
        return [self._find(tile) for tile in tiles]

    def _find(self, tile: RGB) -> Detections:
        mask = ((tile[..., 0] < 110) & (tile[..., 2] > 220)).astype(np.uint8)
        count, _, boxes, centres = cv2.connectedComponentsWithStats(mask, connectivity=4)
        rows = []
        for (x, y, width, height, _), (cx, cy) in zip(
            boxes[1:count], centres[1:count], strict=True
        ):
            score = tile[round(cy), round(cx), 1] / 255
            touches = x == 0 or y == 0 or x + width == tile.shape[1] or y + height == tile.shape[0]
            rows.append((cx + 0.5, cy + 0.5, 16, 16, score / 2 if touches else score, 0))
        return np.array(rows, dtype=float).reshape(-1, 6)
