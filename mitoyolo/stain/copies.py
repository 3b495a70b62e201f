"""Normalised copies beside their originals: their labels, masks, COCO entries and rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from converters.coco import document
from converters.errors import InputError
from converters.files import copy_file, read_csv, read_json, write_json, write_text
from converters.keys import Keys
from mitoyolo.dataset import AUGMENTED, AUGMENTED_COLUMNS, REPORT, write_augmented
from mitoyolo.label_file import label_file
from mitoyolo.stain.source import Source


def write_copies(source: Source, out: Path, method: str) -> None:
    """Write all that a dataset folder holds of its normalised copies, but their pixels.

    Parameters
    ----------
    source : Source
        A dataset folder that keeps its originals.
    out : Path
    method : str
        The stain method, which ``augmented.csv`` gives as their transform.

    Raises
    ------
    InputError
        A training tile has no label file, or a table cannot be read.
    """
    assert source.dataset is not None
    root, tiles = source.root, source.dataset.images_of("train")
    for tile in tiles:
        labels = label_file(root, tile)
        if not labels.is_file():
            raise InputError("the tile's label file is missing", file=labels, fix="convert again")
        mask = root / "masks" / tile.split / f"{tile.name}.png"
        for file in (labels, mask):
            if file.is_file():
                copy_file(file, out / source.target(file.relative_to(root).as_posix()))
    _write_coco(source, out)
    before = read_csv(root / AUGMENTED, AUGMENTED_COLUMNS) if (root / AUGMENTED).exists() else []
    rows = [(row["tile"], row["of"], row["transform"]) for row in before]
    rows += [(tile.name + source.suffix, tile.name, method) for tile in tiles]
    write_augmented(out, rows)
    report = Keys.of(read_json(root / REPORT), str(root / REPORT), "").element
    write_json(out / REPORT, {**report, "augmented_tiles": len(rows)})


def _write_coco(source: Source, out: Path) -> None:
    """``annotations/train.json`` with its images and boxes once more, for the copies."""
    assert source.dataset is not None
    name = "annotations/train.json"
    file = str(source.root / name)
    entries = Keys.of(read_json(source.root / name), file, "")
    images, boxes = (
        [Keys.of(item, file, where) for where, item in entries.each(key)]
        for key in ("images", "annotations")
    )
    copies = [
        {
            **image.element,
            "id": image.whole("id") + len(images),
            "file_name": source.target(image.text("file_name")),
        }
        for image in images
    ]
    their_boxes = [
        {
            **box.element,
            "id": box.whole("id") + len(boxes),
            "image_id": box.whole("image_id") + len(images),
        }
        for box in boxes
    ]
    text = document(
        map(_json, [*(image.element for image in images), *copies]),
        map(_json, [*(box.element for box in boxes), *their_boxes]),
        source.dataset.labels,
    )
    write_text(out / name, text)


def _json(entry: Any) -> str:
    return json.dumps(entry, ensure_ascii=False, allow_nan=False)
