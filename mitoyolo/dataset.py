"""The dataset folder: its files, how they are written, and how they are opened.

``dataset.yaml`` is the index and is written last: a folder without it is unfinished, and
:func:`open_dataset` refuses it. Coordinates in tables are pixels of the source image; those in
``labels/`` and ``annotations/`` are of the tile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from converters import dataset_tiles
from converters.checked import number
from converters.coco import annotation_record, document, image_record
from converters.dataset_tiles import BOX_COLUMNS, read_centres
from converters.errors import InputError
from converters.files import read_rows, read_text, write_csv, write_text
from converters.model import LABELS, SPLITS, Annotation, Drop
from converters.shapes import Shape
from converters.yolo import rows
from mitoyolo.tiles import Window

INDEX = "dataset.yaml"
MANIFEST = dataset_tiles.MANIFEST
ANNOTATIONS = dataset_tiles.ANNOTATIONS
BOXES = dataset_tiles.BOXES
DROPPED = "dropped.csv"
AUGMENTED = dataset_tiles.AUGMENTED
CHECK = "check.png"
"""The contact sheet of ``convert --check``, which says nothing of the data."""
REPORT = "report.json"

MANIFEST_COLUMNS = [
    "tile",
    "source",
    "case",
    "split",
    "x",
    "y",
    "width",
    "height",
    "mpp_x",
    "mpp_y",
    "scanner",
    "tumour",
]
ANNOTATION_COLUMNS = ["source", "case", "label", "x", "y", "width", "height", "confidence", "kind"]
DROPPED_COLUMNS = ["file", "where", "reason", "detail"]
AUGMENTED_COLUMNS = ["tile", "of", "transform"]

TURNED = ("rot90", "rot270")
"""Transforms of copies that exchange width and height."""

UNLABELLED = "unlabelled"
"""The split of images that nobody annotated: they are kept beside the others and never scored."""

NORMALISED_COPIES = "normalised_copies"
"""The key of the block that says how the copies of ``normalize --keep-originals`` were made."""

RESAMPLED = "resampled"
"""The key of the block that says that pixels are not those of the files or slides."""

NO_IMAGES = "none"
"""What the index says under `images` where ``--annotations-only`` left them out."""

SAME_PLACE = 1e-6
"""px within which a box counts as centred on its centroid."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One image of the dataset and its place in its source image.

    Attributes
    ----------
    name : str
        File name without suffix.
    source, case, split : str
        Source image, patient or slide, and training, validation or test.
    x, y, width, height : int
        The tile's rectangle in the source image, pixels.
    mpp : (float, float)
        µm per pixel across and down.
    scanner, tumour : str
        Domain, empty where unknown.
    """

    name: str
    source: str
    case: str
    split: str
    x: int
    y: int
    width: int
    height: int
    mpp: tuple[float, float]
    scanner: str = ""
    tumour: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px."""
        return (self.width, self.height)

    @property
    def window(self) -> Window:
        """Its rectangle in the source image."""
        return Window(self.x, self.y, self.width, self.height)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A tile with its boxes: class number and (left, top, right, bottom) in tile pixels.

    ``shapes`` has the exact shape of each box's object where the source has one, else None; it may
    be empty where there is none at all.
    """

    tile: Tile
    boxes: tuple[tuple[int, Box], ...]
    shapes: tuple[Shape | None, ...] = ()


# --- writing ----------------------------------------------------------------------------------


def yolo_text(item: Labelled) -> str:
    """The rows of a tile's label file, see :func:`converters.yolo.rows`."""
    return rows(item.boxes, item.tile.width, item.tile.height)


def coco(items: Sequence[Labelled], files: dict[str, str], labels: Sequence[str]) -> Iterator[str]:
    """The tiles of one split as a COCO detection set with ids 1..n without gaps, in pieces of text.

    Parameters
    ----------
    items : sequence of Labelled
    files : dict
        Tile name -> image file name.
    labels : sequence of str
        Classes in use.
    """

    def annotations() -> Iterator[str]:
        numbers = count(1)
        for image_id, item in enumerate(items, 1):
            shapes = item.shapes or (None,) * len(item.boxes)
            for (label, box), shape in zip(item.boxes, shapes, strict=True):
                yield annotation_record(
                    next(numbers), image_id, LABELS[label], box, item.tile.size, shape=shape
                )

    images = (
        image_record(image_id, files[item.tile.name], item.tile.size)
        for image_id, item in enumerate(items, 1)
    )
    return document(images, annotations(), labels)


def write_manifest(root: Path, tiles: Sequence[Tile], name: str = MANIFEST) -> None:
    """Write ``manifest.csv``, or a table called ``name``: one row a tile."""
    rows = [
        (t.name, t.source, t.case, t.split, t.x, t.y, t.width, t.height, *t.mpp, t.scanner,
         t.tumour)
        for t in tiles
    ]  # fmt: skip
    write_csv(root / name, MANIFEST_COLUMNS, rows)


def write_annotations(root: Path, kept: Sequence[Annotation], cases: dict[str, str]) -> None:
    """Write ``annotations.csv``: every kept annotation once, in source pixels.

    The box of an outline, or of a box cut by the image's edge, is not centred on the centroid;
    ``boxes.csv`` has the centres of such boxes, by their row in ``annotations.csv`` from 1 on.
    """
    rows, centres = [], []
    for row, item in enumerate(kept, 1):
        left, top, right, bottom = item.box or (item.x, item.y, item.x, item.y)
        x, y = (left + right) / 2, (top + bottom) / 2
        if max(abs(x - item.x), abs(y - item.y)) > SAME_PLACE:
            centres.append((row, x, y))
        rows.append(
            (item.source, cases[item.source], item.label, item.x, item.y, right - left,
             bottom - top, item.confidence, item.kind)
        )  # fmt: skip
    write_csv(root / ANNOTATIONS, ANNOTATION_COLUMNS, rows)
    if centres:
        write_csv(root / BOXES, BOX_COLUMNS, centres)


def write_dropped(root: Path, dropped: Sequence[Drop]) -> None:
    """Write ``dropped.csv``: one row for each annotation that was read and not kept."""
    rows = [(drop.file, drop.where, drop.reason, drop.detail) for drop in dropped]
    write_csv(root / DROPPED, DROPPED_COLUMNS, rows)


def write_augmented(root: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    """Write ``augmented.csv``: the copies of training tiles, which no manifest row has: copy, the
    tile or earlier copy that it is of, transform or stain method."""
    write_csv(root / AUGMENTED, AUGMENTED_COLUMNS, rows)


def write_split(root: Path, split: str, items: Sequence[Labelled], files: dict[str, str],
                labels: Sequence[str]) -> None:  # fmt: skip
    """Write ``annotations/SPLIT.json``, the boxes of one split as COCO."""
    write_text(root / "annotations" / f"{split}.json", coco(items, files, labels))


def write_index(root: Path, labels: Sequence[str], block: dict[str, Any]) -> None:
    """Write ``dataset.yaml``, last: Ultralytics' keys, without `path`, and our own block."""
    index = {
        **{split: f"images/{split}" for split in SPLITS},
        "names": {i: name for i, name in enumerate(LABELS) if name in labels},
        "mitoyolo": block,
    }
    write_text(root / INDEX, yaml.safe_dump(index, sort_keys=False, allow_unicode=True))


# --- opening ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Truth:
    """One row of ``annotations.csv``: source pixels, (x, y) the centroid.

    ``centre`` is that of the box, where it is another place.
    """

    source: str
    case: str
    label: str
    x: float
    y: float
    width: float
    height: float
    centre: tuple[float, float] | None = None

    @property
    def box(self) -> Box:
        """Centre x, y, width and height of the box."""
        return (*(self.centre or (self.x, self.y)), self.width, self.height)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A finished dataset folder.

    Attributes
    ----------
    root : Path
        The folder.
    block : dict
        The ``mitoyolo:`` block of ``dataset.yaml``: format, mpp, protocol, radius_um, labels,
        seed, version, and normalisation or normalised_copies where there is one.
    tiles : tuple of Tile
        Every labelled row of the manifest.
    others : tuple of Tile
        Tiles that are never scored: augmented copies of training tiles, and unlabelled ones.
    recoloured : tuple of Tile
        Normalised copies of training tiles that stand beside their originals, never scored either.
    unseen : tuple of Tile
        Training tiles that a detector is not trained on, see :mod:`mitoyolo.thinning`.
    truths : tuple of Truth
        Every kept annotation.
    """

    root: Path
    block: dict[str, Any]
    tiles: tuple[Tile, ...]
    truths: tuple[Truth, ...]
    others: tuple[Tile, ...] = ()
    recoloured: tuple[Tile, ...] = ()
    unseen: tuple[Tile, ...] = ()

    @property
    def labels(self) -> list[str]:
        """Classes in YOLO order."""
        return list(self.block["labels"])

    @property
    def has_images(self) -> bool:
        """Whether the folder was written with its images, not by ``--annotations-only``."""
        return self.block.get("images") != NO_IMAGES

    @property
    def normalisation(self) -> dict[str, Any] | None:
        """How the tiles were normalised, or None."""
        return self.block.get("normalisation")

    @property
    def normalised_copies(self) -> dict[str, Any] | None:
        """How the copies beside the original training tiles were normalised, or None."""
        return self.block.get(NORMALISED_COPIES)

    @property
    def mpp(self) -> tuple[float, float]:
        """µm per pixel across and down; the median where the tiles' own differ."""
        x, y = self.block["mpp"]
        return (float(x), float(y))

    def of_split(self, split: str) -> list[Tile]:
        """The tiles of one split, in the manifest's order.

        Raises
        ------
        InputError
            The split holds no tile.
        """
        tiles = [tile for tile in self.tiles if tile.split == split]
        if not tiles:
            raise InputError(
                f"the {split} split holds no tile",
                file=self.root,
                fix="convert with other --split shares, or with more cases",
            )
        return tiles

    def images_of(self, split: str) -> list[Tile]:
        """All that stands in ``images/SPLIT``: the tiles and, for training, their copies."""
        copies = (*self.others, *self.recoloured)
        return [*self.of_split(split), *(tile for tile in copies if tile.split == split)]

    def mitoses(self, split: str) -> int:
        """Number of annotated mitoses on the source images of one split."""
        sources = {tile.source for tile in self.tiles if tile.split == split}
        return sum(t.label == "mitosis" and t.source in sources for t in self.truths)

    def image_path(self, tile: Tile) -> Path:
        """A tile's image file.

        Raises
        ------
        InputError
            It is gone, or was never written.
        """
        if not self.has_images:
            raise InputError(
                "this dataset folder holds no images (--annotations-only)",
                file=self.root,
                fix="convert into another folder without --annotations-only",
            )
        stem = self.root / "images" / tile.split / tile.name
        for suffix in (".png", ".jpg"):
            path = stem.with_name(stem.name + suffix)
            if path.exists():
                return path
        raise InputError("the tile's image is missing", file=f"{stem}.png", fix="convert again")

    def hash(self) -> str:
        """A short hash of index, manifest and annotations: which data was this?"""
        digest = hashlib.sha256()
        for name in (INDEX, MANIFEST, ANNOTATIONS, BOXES):
            if name != BOXES or (self.root / name).exists():
                digest.update((self.root / name).read_bytes())
        return digest.hexdigest()[:16]


def open_dataset(path: Path) -> Dataset:
    """Open a dataset folder by its ``dataset.yaml`` or by the folder.

    Raises
    ------
    InputError
        No such folder; it is unfinished; it was not written by ``convert``; a table is damaged.
    """
    index = path / INDEX if path.is_dir() else path
    root = index.parent
    if not index.exists():
        if (root / "run.json").exists():
            raise InputError(
                f"unfinished dataset folder (no {INDEX})",
                file=root,
                fix="repeat the call that was writing it; it continues where it stopped",
            )
        raise InputError("no such file", file=index, fix="`mitoyolo convert` writes it")
    try:
        facts = yaml.safe_load(read_text(index))
    except yaml.YAMLError as error:
        raise InputError(f"not valid YAML ({str(error).splitlines()[0]})", file=index) from None
    block = facts.get("mitoyolo") if isinstance(facts, dict) else None
    needed = ("mpp", "protocol", "radius_um", "labels")
    if not isinstance(block, dict) or any(key not in block for key in needed):
        raise InputError(
            f"no `mitoyolo:` block with {', '.join(needed)}",
            file=index,
            fix="use a folder written by `mitoyolo convert`",
        )
    _check_block(block, index)
    tiles = read_manifest(root)
    labelled = [tile for tile in tiles if tile.split != UNLABELLED]
    others = [tile for tile in tiles if tile.split == UNLABELLED]
    recoloured: list[Tile] = []
    stain = (block.get(NORMALISED_COPIES) or {}).get("method")
    for copy, transform in _copies(root, {tile.name: tile for tile in labelled}):
        (recoloured if transform == stain else others).append(copy)
    return Dataset(
        root, block, tuple(labelled), tuple(_truths(root)), tuple(others), tuple(recoloured)
    )


def _copies(root: Path, tiles: dict[str, Tile]) -> Iterator[tuple[Tile, str]]:
    """Copies in their own size and how they were made; they begin in the source image where what
    they show begins."""
    file = root / AUGMENTED
    for line, row in read_rows(file, AUGMENTED_COLUMNS) if file.exists() else ():
        if row["of"] not in tiles:
            raise InputError(
                f"no tile {row['of']!r:.60} in {MANIFEST} or above",
                file=file,
                where=f"line {line}",
            )
        of, transform = tiles[row["of"]], row["transform"]
        copy = replace(of, name=row["tile"])
        if transform in TURNED:
            copy = replace(copy, width=of.height, height=of.width, mpp=of.mpp[::-1])
        tiles[copy.name] = copy
        yield copy, transform


def _check_block(block: dict[str, Any], index: Path) -> None:
    mpp, labels = block["mpp"], block["labels"]
    if not isinstance(mpp, list) or len(mpp) != 2:
        raise InputError(f"`mpp` is {mpp!r:.60}, expected [x, y]", file=index)
    for value in (*mpp, block["radius_um"]):
        if number(value, index, "`mpp` and `radius_um`") <= 0:
            raise InputError(f"{value} is not above 0", file=index, where="`mpp`, `radius_um`")
    if not isinstance(labels, list) or not labels or any(name not in LABELS for name in labels):
        raise InputError(f"`labels` are {labels!r:.60}, expected {list(LABELS)}", file=index)
    copies = block.get(NORMALISED_COPIES)
    method = copies.get("method") if isinstance(copies, dict) else None
    if copies is not None and not isinstance(method, str):
        raise InputError(
            f"`{NORMALISED_COPIES}` is {copies!r:.60}, expected method, mode and target", file=index
        )


def read_manifest(root: Path) -> list[Tile]:
    """The rows of a folder's ``manifest.csv``.

    Raises
    ------
    InputError
        It is missing or damaged.
    """
    file = root / MANIFEST
    tiles = []
    for line, row in read_rows(file, MANIFEST_COLUMNS):
        where = f"line {line}"
        x, y, width, height = (
            int(number(row[key], file, f"{where}, {key}")) for key in ("x", "y", "width", "height")
        )
        mpp_x, mpp_y = (number(row[key], file, f"{where}, {key}") for key in ("mpp_x", "mpp_y"))
        if row["split"] not in (*SPLITS, UNLABELLED):
            raise InputError(f"split {row['split']!r}", file=file, where=where)
        tiles.append(
            Tile(
                name=row["tile"], source=row["source"], case=row["case"], split=row["split"],
                x=x, y=y, width=width, height=height, mpp=(mpp_x, mpp_y),
                scanner=row["scanner"], tumour=row["tumour"],
            )
        )  # fmt: skip
    return tiles


def _truths(root: Path) -> list[Truth]:
    file = root / ANNOTATIONS
    truths = []
    for line, row in read_rows(file, ANNOTATION_COLUMNS):
        x, y, width, height = (
            number(row[key], file, f"line {line}, {key}") for key in ("x", "y", "width", "height")
        )
        truths.append(Truth(row["source"], row["case"], row["label"], x, y, width, height))
    return with_centres(root, truths)


def with_centres(root: Path, truths: list[Truth]) -> list[Truth]:
    """The rows of ``annotations.csv`` with the centres in ``boxes.csv`` beside it, if it is there.

    Raises
    ------
    InputError
        A line is damaged, or of no row.
    """
    for place, centre in read_centres(root / BOXES, len(truths)).items():
        truths[place - 1] = replace(truths[place - 1], centre=centre)
    return truths
