"""Reading a label file of a dataset folder: each row checked, in pixels of its tile.

Source: Ultralytics' detection format, ``class xc yc w h`` as shares of the tile.
"""

from __future__ import annotations

from pathlib import Path

from converters.checked import number
from converters.errors import InputError
from converters.files import read_text
from converters.geometry import Box
from mitoyolo.dataset import Dataset, Tile

EDGE_PX = 1e-3
"""How far rounding may carry a box over its tile's edge."""


def label_file(root: Path, tile: Tile) -> Path:
    """Where a tile's label file lies."""
    return root / "labels" / tile.split / f"{tile.name}.txt"


def read_boxes(dataset: Dataset, tile: Tile) -> list[tuple[int, Box]]:
    """A tile's label file as class numbers and boxes in tile pixels, row by row.

    Raises
    ------
    InputError
        The file is missing; a row is not a known class and four numbers, or its box has no
        extent or leaves the tile.
    """
    file = label_file(dataset.root, tile)
    lines = enumerate(read_text(file).splitlines(), 1)
    return [
        _row(line.split(), tile, dataset.labels, file, f"line {n}")
        for n, line in lines
        if line.strip()
    ]


def _row(
    cells: list[str], tile: Tile, labels: list[str], file: Path, where: str
) -> tuple[int, Box]:
    if len(cells) != 5:
        raise InputError(
            f"{len(cells)} values, expected 5: class, xc, yc, w, h", file=file, where=where
        )
    label, x, y, width, height = (number(cell, file, where) for cell in cells)
    if label not in range(len(labels)):
        known = ", ".join(f"{i} {name}" for i, name in enumerate(labels))
        raise InputError(f"class {cells[0]}, expected one of: {known}", file=file, where=where)
    if width <= 0 or height <= 0:
        raise InputError(
            f"a box of {cells[3]} x {cells[4]} of the tile has no extent", file=file, where=where
        )
    x, width = x * tile.width, width * tile.width
    y, height = y * tile.height, height * tile.height
    left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    beyond = max(-left, -top, right - tile.width, bottom - tile.height)
    if beyond > EDGE_PX:
        raise InputError(
            f"the box reaches {beyond:.3g} px beyond its tile of {tile.width} x {tile.height} px",
            file=file,
            where=where,
        )
    return (int(label), (left, top, right, bottom))
