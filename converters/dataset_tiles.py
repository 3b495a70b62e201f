"""What a dataset folder of ours knows of its tiles, for the readers of its labels.

YOLO and COCO have no place for cases and µm/px; ``manifest.csv`` has, so that what is split again
stays split by case. ``augmented.csv`` names the transformed copies of tiles, which are no images
of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from converters.checked import checked_size, number
from converters.errors import InputError
from converters.files import read_rows, read_text
from converters.geometry import Point
from converters.left_out import Problem
from converters.read_options import ReadOptions
from converters.reading import Reading

ANNOTATIONS = "annotations.csv"
BOXES = "boxes.csv"
"""Centres of boxes that are not the centroids; only there if some are not."""
MANIFEST = "manifest.csv"
AUGMENTED = "augmented.csv"

BOX_COLUMNS = ("annotation", "x", "y")

_COLUMNS = ("tile", "source", "case", "split", "x", "y", "width", "height", "mpp_x", "mpp_y")
_UNLABELLED = "unlabelled"


@dataclass(frozen=True, slots=True)
class Tiles:
    """The tiles of a dataset folder; empty for any other folder.

    Attributes
    ----------
    root : Path or None
        The folder.
    facts : dict
        Tile -> what :meth:`~converters.reading.Reading.image` takes: size, case, mpp, scanner,
        tumour, labelled.
    copies : dict
        Augmented copy -> its tile.
    """

    root: Path | None = None
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)

    def options(self, src: Path, options: ReadOptions) -> ReadOptions:
        """``options`` with the folder's own images: its masks are pictures too."""
        if self.root is None or options.images:
            return options
        images = self.root / "images"
        if src.is_file() and (images / src.stem).is_dir():  # annotations/train.json
            images /= src.stem
        return replace(options, images=images)

    def image(self, reading: Reading, name: str, tile: str, **place: Any) -> str:
        """As ``reading.image``, with what is known of ``tile``; a copy is left out, counted."""
        source = reading.image(name, **place | self.facts.get(tile, {}))
        if tile in self.copies:
            detail = f"a transformed copy of {self.copies[tile]}"
            reading.problems[source] = Problem("augmented", detail)
        return source

    def add_unlabelled(self, reading: Reading) -> None:
        """Keep the tiles that nobody annotated, or leave them out, counted."""
        for tile, facts in self.facts.items():
            if not facts["labelled"]:
                if reading.options.include_unlabelled:
                    with reading.lenient():
                        reading.image(tile, file=str(self.root), **facts)
                else:
                    reading.skip(tile, "unlabelled", "nobody annotated it")


def read_tiles(src: Path) -> Tiles:
    """The tiles of the dataset folder that ``src`` is, or that the file ``src`` lies in.

    Raises
    ------
    InputError
        A row of its tables is damaged.
    """
    places = [src] if src.is_dir() else list(src.parents)[:2]
    for root in places:
        if (root / MANIFEST).is_file() and _is_ours(root / MANIFEST):
            return Tiles(root, _facts(root / MANIFEST), _copies(root / AUGMENTED))
    return Tiles()


def read_centres(file: Path, rows: int) -> dict[int, Point]:
    """``boxes.csv``: row of ``annotations.csv``, from 1 -> centre of its box; empty if not there.

    Parameters
    ----------
    file : Path
    rows : int
        How many rows ``annotations.csv`` has.

    Raises
    ------
    InputError
        A line is damaged, or of no row.
    """
    centres: dict[int, Point] = {}
    for line, row in read_rows(file, BOX_COLUMNS) if file.exists() else ():
        place, x, y = (number(row[key], file, f"line {line}, {key}") for key in BOX_COLUMNS)
        if place != int(place) or not 1 <= place <= rows:
            raise InputError(
                f"annotation {row['annotation']}, expected 1 to {rows}, the rows of {ANNOTATIONS}",
                file=file,
                where=f"line {line}",
            )
        centres[int(place)] = (x, y)
    return centres


def _is_ours(file: Path) -> bool:
    header = read_text(file).partition("\n")[0].split(",")
    return all(name in header for name in _COLUMNS)


def _facts(file: Path) -> dict[str, dict[str, Any]]:
    facts: dict[str, dict[str, Any]] = {}
    for line, row in read_rows(file, _COLUMNS):
        where = f"line {line}"
        mpp = (number(row["mpp_x"], file, where), number(row["mpp_y"], file, where))
        size = (number(row["width"], file, where), number(row["height"], file, where))
        if min(*mpp, *size) <= 0 or any(side != int(side) for side in size):
            raise InputError(
                "µm/px and size must be above 0, the size whole", file=file, where=where
            )
        size = checked_size((int(size[0]), int(size[1])), file, where)
        if row["tile"] in facts:
            raise InputError(f"two tiles {row['tile']!r:.60}", file=file, where=where)
        facts[row["tile"]] = {
            "size": size, "case": row["case"], "mpp": mpp,
            "scanner": row.get("scanner", ""), "tumour": row.get("tumour", ""),
            "labelled": row["split"] != _UNLABELLED,
        }  # fmt: skip
    return facts


def _copies(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    return {row["tile"]: row["of"] for _, row in read_rows(file, ("tile", "of"))}
