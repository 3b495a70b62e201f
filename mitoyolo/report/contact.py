"""The contact sheet of ``convert --check``: boxes on their tissue, every cell of the same µm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from converters.geometry import Box
from converters.model import LABELS
from mitoyolo.dataset import Tile
from mitoyolo.images import RGB, read_rgb, resize
from mitoyolo.report.overlay import BLUE, RED, around, crop, sheet

COLUMNS = 8
CELL_UM = 64.0
"""What a cell shows across and down: a box of 16 µm fills a quarter of each."""

CELL, LINE = 184, 14
"""px of a cell's tissue, and of a line of its caption."""

MARGIN = 6
"""px of white at the sheet's left, as :func:`sheet` leaves at its right."""

BEYOND = 128
"""The grey outside a tile."""

Point = tuple[int, int]

_COLOURS = dict(zip(LABELS, (RED, BLUE), strict=True))


@dataclass(frozen=True, slots=True)
class Boxed:
    """A box to show: its tile, the tile's file, its class, and where it is in tile pixels."""

    tile: Tile
    image: Path
    label: str
    box: Box


def contact_sheet(items: Sequence[Boxed], heading: str) -> RGB:
    """Each box in a cell of its own, centred, with split, class, size in µm and tile below it.

    Raises
    ------
    InputError
        A tile does not decode.
    """
    read = lru_cache(maxsize=1)(read_rgb)  # boxes of one tile stand beside each other
    cells = [_cell(item, read(item.image)) for item in items]
    drawn = sheet(cells, COLUMNS, CELL + 2 * LINE)
    page = np.full((drawn.shape[0] + 2 * LINE, drawn.shape[1] + MARGIN, 3), 255, dtype=np.uint8)
    page[2 * LINE :, MARGIN:] = drawn
    return write_lines(page, [heading], LINE // 2, left=MARGIN)


def _cell(item: Boxed, tile: RGB) -> RGB:
    """A square: the tissue around the box, and two lines of text."""
    left, top, right, bottom = item.box
    centre = ((left + right) / 2, (top + bottom) / 2)
    tissue = crop(tile, *centre, item.tile.mpp, CELL_UM, beyond=BEYOND)
    cell = np.full((CELL + 2 * LINE, CELL + 2 * LINE, 3), 255, dtype=np.uint8)
    cell[:CELL, :CELL] = resize(tissue, CELL, CELL)
    x, y, width, height = around(*centre, item.tile.mpp, CELL_UM)
    across, down = CELL / width, CELL / height
    upper = (_inside((left - x) * across), _inside((top - y) * down))
    lower = (_inside((right - x) * across), _inside((bottom - y) * down))
    _rectangle(cell, upper, lower, _COLOURS[item.label])
    size = ((right - left) * item.tile.mpp[0], (bottom - top) * item.tile.mpp[1])
    lines = [f"{item.tile.split} {item.label} {size[0]:.1f} x {size[1]:.1f} µm", item.tile.name]
    return write_lines(cell, lines, CELL)


def _inside(place: float) -> int:
    """A place in the cell; the edge of a box larger than the cell is drawn on the cell's rim."""
    return min(max(round(place), 0), CELL - 1)


def _rectangle(cell: RGB, upper: Point, lower: Point, colour: tuple[int, int, int]) -> None:
    """A thin line with a thin white one around it, which shows on dark tissue too."""
    (left, top), (right, bottom) = upper, lower
    outer = (
        (max(left - 1, 0), max(top - 1, 0)),
        (min(right + 1, CELL - 1), min(bottom + 1, CELL - 1)),
    )
    cv2.rectangle(cell, *outer, (255, 255, 255), 1)
    cv2.rectangle(cell, upper, lower, colour, 1)


def write_lines(image: RGB, lines: Sequence[str], top: int, left: int = 0) -> RGB:
    """Lines of small black text, shortened in the middle where there is no room."""
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    for i, line in enumerate(lines):
        pen.text(
            (left, top + i * LINE), _fitted(line, image.shape[1] - left), fill="black", font=_font()
        )
    return np.array(picture)


def _fitted(text: str, width: int) -> str:
    """The text, or its beginning and end, in ``width`` px."""
    short, keep = text, len(text)
    while keep > 2 and _font().getlength(short) > width:
        keep -= 1
        short = f"{text[: keep // 2]}…{text[-(keep - keep // 2) :]}"
    return short


@lru_cache
def _font() -> ImageFont.FreeTypeFont:
    """Matplotlib's own DejaVu Sans: Latin, Greek and Cyrillic, on every machine."""
    path = Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), LINE - 3)
