"""``mitoyolo convert --check``: a finished dataset folder, read as training and scoring read it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np

from converters.errors import InputError
from converters.model import LABELS, SPLITS
from mitoyolo.convert.check_coco import check_coco
from mitoyolo.convert.check_files import Pair, find_pairs, unlabelled
from mitoyolo.dataset import CHECK, INDEX, Dataset, open_dataset
from mitoyolo.images import write_rgb
from mitoyolo.jobs import locked
from mitoyolo.progress import note, track
from mitoyolo.report.contact import CELL_UM, Boxed, contact_sheet

SHOWN = 48
"""Boxes on the contact sheet."""

OVERWRITE = "--overwrite"

AGREE = 1e-5
"""Share of a tile by which Ultralytics' single precision may differ."""

T = TypeVar("T")


def check(out: Path, seed: int = 0) -> Path | None:
    """Verify a dataset folder and draw some of its boxes.

    Images, label files, masks and the manifest must be one to one; Ultralytics, by the code with
    which it trains, and pycocotools must each read every row, and read the same.

    Parameters
    ----------
    out : Path
        A dataset folder; nothing in it is changed but ``check.png``.
    seed : int
        Chooses the boxes that are drawn.

    Returns
    -------
    Path or None
        The picture; None where there is nothing to draw on (``--annotations-only``) or no box.

    Raises
    ------
    InputError
        The first thing that is wrong, by file and row.
    """
    dataset = open_dataset(out)
    picture = dataset.root / CHECK
    with locked(dataset.root), _advised(dataset):
        picture.unlink(missing_ok=True)  # an old one must not stand beside other boxes
        pairs = find_pairs(dataset)
        for split, found in pairs.items():
            check_coco(dataset.root / "annotations" / f"{split}.json", found, dataset.labels)
        whole = dataset.has_images
        if whole:
            _check_ultralytics(dataset, pairs)
        _say(dataset, pairs, whole)
        boxes = [item for found in pairs.values() for item in _boxed(found)] if whole else []
        if not boxes:
            return None
        shown = _chosen(boxes, SHOWN, seed)
        heading = (
            f"{dataset.root.resolve().name}: {len(shown)} of {len(boxes):,} boxes, seed {seed}. "
            f"{CELL_UM:g} µm across and down. Red: mitosis. Blue: imposter."
        )
        write_rgb(picture, contact_sheet(shown, heading))
    return picture


@contextmanager
def _advised(dataset: Dataset) -> Iterator[None]:
    """Say what to do about an error, which a reader of sources would say otherwise."""
    try:
        yield
    except InputError as error:
        fix = error.fix or ""
        if OVERWRITE not in fix:
            normalised = dataset.normalisation or dataset.normalised_copies
            fix = f"{'normalize' if normalised else 'convert'} again with {OVERWRITE}"
        raise InputError(error.what, file=error.file, where=error.where, fix=fix) from None


def _check_ultralytics(dataset: Dataset, pairs: dict[str, list[Pair]]) -> None:
    """Ultralytics reads each image and each row, as they stand in the files."""
    from mitoyolo.detectors.reads_labels import read_index, read_pairs  # slow to import

    names = dict(enumerate(dataset.labels))
    images, wanted = [], []
    for split, found in pairs.items():
        if not found:
            continue
        index = read_index(dataset.root / INDEX, split)
        if index.names != names:
            raise InputError(
                f"Ultralytics reads the classes {index.names}, expected {names}",
                file=dataset.root / INDEX,
                where="`names`",
            )
        if index.images != (dataset.root / "images" / split).resolve():
            raise InputError(
                f"Ultralytics looks for images in {index.images}, they are in images/{split}",
                file=dataset.root / INDEX,
                where=f"`path` or `{split}`",
            )
        images += [index.images / pair.image.name for pair in found if pair.image]
        wanted += found
    seen = read_pairs(images, len(names))
    for pair, read in track(
        zip(wanted, seen, strict=True), "checking", unit="tiles", total=len(wanted)
    ):
        tile = pair.tile
        if read.size != (tile.width, tile.height):
            raise InputError(
                f"Ultralytics reads {read.size[0]} x {read.size[1]} px, expected {tile.width} x "
                f"{tile.height}",
                file=pair.image,
            )
        if len(read.rows) != len(pair.boxes):
            raise InputError(
                f"Ultralytics keeps {len(read.rows)} of {len(pair.boxes)} rows, since it leaves "
                "out a row that stands twice",
                file=pair.labels,
            )
        for n, ((label, box), row) in enumerate(zip(pair.boxes, read.rows, strict=True), 1):
            left, top, right, bottom = box
            expected = (
                label,
                (left + right) / 2 / tile.width,
                (top + bottom) / 2 / tile.height,
                (right - left) / tile.width,
                (bottom - top) / tile.height,
            )
            if np.abs(row - expected).max() > AGREE:
                raise InputError(
                    f"Ultralytics reads {row.tolist()}, expected {expected}",
                    file=pair.labels,
                    where=f"row {n}",
                )


def _say(dataset: Dataset, pairs: dict[str, list[Pair]], whole: bool) -> None:
    everything = [pair for found in pairs.values() for pair in found]
    copies = len(everything) - len(dataset.tiles)
    rows = sum(len(pair.boxes) for pair in everything)
    counts = [
        (len(dataset.tiles), "tiles"),
        (copies, "copies"),
        (len(unlabelled(dataset)), "unlabelled"),
    ]
    facts = ", ".join(f"{n:,} {name}" for n, name in counts if n) + f", {rows:,} rows"
    if whole:
        note(f"checked: {facts}; Ultralytics and pycocotools read every one")
    else:
        note(
            f"checked: {facts}; pycocotools reads every one; Ultralytics cannot be asked and no "
            "picture is drawn, since the folder holds no images"
        )


def _boxed(pairs: Sequence[Pair]) -> Iterator[Boxed]:
    for pair in pairs:
        for label, box in pair.boxes:
            assert pair.image is not None
            yield Boxed(pair.tile, pair.image, LABELS[label], box)


def _chosen(boxes: list[Boxed], count: int, seed: int) -> list[Boxed]:
    """Random boxes of splits and classes in turn, and in these of source images in turn."""
    mixed = random.Random(seed).sample(boxes, len(boxes))
    spread = _in_turn(mixed, lambda item: (item.tile.split, item.label, item.tile.source))
    return sorted(
        _in_turn(spread, lambda item: (item.tile.split, item.label))[:count],
        key=lambda item: (SPLITS.index(item.tile.split), LABELS.index(item.label), item.tile.name),
    )


def _in_turn(items: Sequence[T], key: Callable[[T], Hashable]) -> list[T]:
    """The items with those of each key in turn, and those of one key in their order."""
    turn: Counter[Hashable] = Counter()
    ranked = []
    for item in items:
        turn[key(item)] += 1
        ranked.append((turn[key(item)], item))
    return [item for _, item in sorted(ranked, key=lambda pair: pair[0])]
