"""The before/after sheet of ``normalize``: tiles of some cases beside what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from converters.errors import InputError
from converters.files import read_csv, read_json
from mitoyolo.images import RGB, read_rgb, resize, write_rgb
from mitoyolo.report.contact import LINE, MARGIN, write_lines
from mitoyolo.stain.normaliser import spread
from mitoyolo.stain.source import PASSED, SUMMARY, Source

CASES, TILES = 8, 4
"""At most so many rows, and tiles a row, evenly spread."""

SIDE = 256
"""px of a tile's longer side at most."""

GAP = 24
"""px between before and after."""


def check_sheet(path: Path, *folders: Path) -> None:
    """Refuse a sheet that could not be written, or would be taken for an image of a folder.

    Raises
    ------
    InputError
        Not a .png, or below one of the folders.
    """
    if path.suffix.lower() != ".png" or path.is_dir():
        raise InputError("a sheet is saved as a .png file", file=path, fix="--sheet SHEET.png")
    for folder in folders:
        if folder.resolve() in path.resolve().parents:
            raise InputError(
                f"the sheet would lie among the images of {folder}",
                file=path,
                fix="write it elsewhere",
            )


def write_sheet(src: Source, out: Path, path: Path) -> None:
    """Write a picture of ``src`` beside ``out``, the finished result of ``normalize`` on it.

    A row is a case: its tiles before at the left, the same after at the right. Tiles that passed
    through unchanged are shown only where a case has no other.

    Raises
    ------
    InputError
        As :func:`check_sheet`, or an image cannot be read; it is named.
    """
    check_sheet(path, src.root, out)
    passed = {row["file"] for row in read_csv(out / PASSED, ("file", "reason"))}
    rows = {case: _chosen(src.cases[case], passed) for case in _some(tuple(src.cases), CASES)}
    columns = max(map(len, rows.values()))
    strips = []
    for case, names in rows.items():
        title = src.root.resolve().name if case == "." else case
        title = title.encode("utf-8", "replace").decode()  # a name may hold any bytes
        before = _strip([_small(src.root / name) for name in names], columns, f"{title}, before")
        after = _strip(
            [_small(out / src.target(name)) for name in names], columns, f"{title}, after"
        )
        strips.append(np.hstack([before, after]))
    heading = _white(3 * LINE, strips[0].shape[1])
    page = np.vstack([write_lines(heading, [_what(out)], LINE, left=MARGIN), *strips])
    write_rgb(path, page)


def _what(out: Path) -> str:
    """What was done, in a line."""
    summary = read_json(out / SUMMARY)
    return (
        f"{summary['method']}, mode {summary['mode']}, to {summary['target']['source']}: "
        f"{summary['normalised']:,} of {summary['images']:,} images normalised, "
        f"{summary['cases']:,} case(s)"
    )


def _chosen(names: tuple[str, ...], passed: set[str]) -> list[str]:
    """Some of a case's images, changed ones if there are any."""
    return _some(tuple(name for name in names if name not in passed) or names, TILES)


def _some(names: tuple[str, ...], most: int) -> list[str]:
    """Up to ``most``, evenly spread, in their order."""
    return [names[i] for i in sorted(list(spread(len(names)))[:most])]


def _small(path: Path) -> RGB:
    image = read_rgb(path)
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    return resize(image, max(1, round(width * scale)), max(1, round(height * scale)))


def _strip(tiles: Sequence[RGB], columns: int, caption: str) -> RGB:
    """Tiles in a row of ``columns`` places, and below them the caption."""
    height = max(tile.shape[0] for tile in tiles)
    strip = _white(height + 2 * LINE, GAP + columns * (SIDE + MARGIN))
    for i, tile in enumerate(tiles):
        left = MARGIN + i * (SIDE + MARGIN)
        strip[: tile.shape[0], left : left + tile.shape[1]] = tile
    return write_lines(strip, [caption], height, left=MARGIN)


def _white(height: int, width: int) -> RGB:
    return np.full((height, width, 3), 255, np.uint8)
