"""Whether an output holds what its report says: every count, every row, every number."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from converters.files import PART
from converters.images import image_size
from converters.model import LABELS, SPLITS
from converters.read_options import ReadOptions
from converters.registry import get_reader
from mitoyolo.convert.check_coco import check_coco
from mitoyolo.convert.check_files import find_pairs
from mitoyolo.dataset import open_dataset

NEAR = 1e-9
"""Share of a tile by which the ten decimals of a row may leave it."""


class Wrong(AssertionError):
    """An output that is not as it should be."""


def check_that(true: object, what: object) -> None:
    """Raise :class:`Wrong` where something is not true."""
    if not true:
        raise Wrong(str(what))


def check_account(out: Path, to: str, options: list[str]) -> dict[str, Any]:
    """Compare a finished output with its own report, which is returned.

    Raises
    ------
    Wrong
        They differ, a file is no strict JSON or CSV, or a reader of ours does not read it.
    """
    report = strict_json(out / "report.json")
    dropped = _rows(out / "dropped.csv")
    check_that(
        report["read"] == report["kept"] + sum(report["dropped"].values()),
        f"read is not kept and dropped: {report}",
    )
    reasons = Counter(row["reason"] for row in dropped)
    check_that(reasons == report["dropped"], f"dropped.csv has {reasons}, {report}")
    check_that(all(row["detail"] for row in dropped), "a drop without detail")
    check_that(all(row["where"] or row["file"] for row in dropped), "a drop without place")
    for path in out.rglob("*"):
        check_that(not path.name.startswith(PART), f"{path} is left over")
        if path.suffix in (".json", ".geojson"):
            strict_json(path)
    if to == "yolo":
        _check_dataset(out, report, options)
    else:
        _check_documents(out, to, report)
    return report


def strict_json(path: Path) -> Any:
    """A JSON file without NaN or infinity."""

    def refuse(word: str) -> Any:
        raise Wrong(f"{path.name} holds {word}")

    def finite(text: str) -> float:
        value = float(text)
        check_that(math.isfinite(value), f"{path.name} holds {text}")
        return value

    try:
        return json.loads(path.read_text("utf-8"), parse_constant=refuse, parse_float=finite)
    except ValueError as error:
        raise Wrong(f"{path.name}: {error}") from None


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle, strict=True))
    check_that(all(None not in row and None not in row.values() for row in rows), f"{path}: cells")
    return rows


# --- other formats ----------------------------------------------------------------------------


def _check_documents(out: Path, to: str, report: dict[str, Any]) -> None:
    """What was written is read back: as many marks, none dropped."""
    options = ReadOptions(annotations_only=True, mpp=(0.25, 0.25))
    if not any(
        path.name not in ("report.json", "run.json", "dropped.csv") for path in out.iterdir()
    ):
        check_that(report["kept"] == 0, "nothing written")
        return
    found = get_reader(to)(out, options)
    check_that(
        len(found.annotations) == report["kept"] and not found.dropped,
        f"{to} reads {len(found.annotations)} marks of {report['kept']}, {found.reasons()}",
    )
    check_that(all(item.label in LABELS for item in found.annotations), f"{to} reads another class")


# --- a dataset folder -------------------------------------------------------------------------


def _check_dataset(out: Path, report: dict[str, Any], options: list[str]) -> None:
    annotations, tiles = _rows(out / "annotations.csv"), _rows(out / "manifest.csv")
    check_that(len(annotations) == report["kept"], f"{len(annotations)} in annotations.csv")
    counts = Counter(row["split"] for row in tiles)
    unlabelled = counts.pop("unlabelled", 0)
    check_that(counts == Counter(report["tiles"]), f"{counts} tiles, {report['tiles']}")
    check_that(unlabelled == report["unlabelled_tiles"], f"{unlabelled} unlabelled tiles")
    for row in annotations:
        values = [float(row[key]) for key in ("x", "y", "width", "height")]
        check_that(all(map(math.isfinite, values)) and min(values[2:]) > 0, f"annotation {row}")
        check_that(row["label"] in LABELS, f"annotation {row}")
    rows = _label_rows(out)
    if "--background" not in options:  # which leaves tiles without mitosis out, imposters and all
        _check_rows(rows, annotations, tiles)
    _check_files(out, rows, tiles, images="--annotations-only" not in options)
    copies = _rows(out / "augmented.csv") if (out / "augmented.csv").exists() else []
    for copy in copies:
        check_that(len(rows[copy["tile"]]) == len(rows[copy["of"]]), f"a copy differs: {copy}")
    check_that(len(rows) == sum(counts.values()) + len(copies), "label files and tiles")
    _check_with_ours(out)
    for name in ("yolo", "coco") if rows else ():  # what is empty is refused
        back = get_reader(name)(out, ReadOptions(annotations_only=True))
        wanted = sum(len(rows[tile["tile"]]) for tile in tiles if tile["tile"] in rows)
        check_that(
            len(back.annotations) == wanted and set(back.reasons()) <= {"augmented"},
            f"{name} reads {len(back.annotations)} marks of {wanted}, {back.reasons()}",
        )


def _label_rows(out: Path) -> dict[str, list[list[float]]]:
    """Tile -> the rows of its label file, each of five numbers, its box in its tile."""
    found: dict[str, list[list[float]]] = {}
    for path in sorted(out.glob("labels/*/*.txt")):
        check_that(path.parent.name in SPLITS and path.stem not in found, f"{path} again")
        found[path.name[:-4]] = rows = []
        for line in path.read_text().splitlines():
            row = [float(cell) for cell in line.split(" ")]
            check_that(len(row) == 5 and row[0] in (0, 1), f"{path.name}: {line}")
            _, x, y, width, height = row
            check_that(width > 0 and height > 0, f"{path.name}: no extent in {line}")
            edges = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            inside = min(edges) >= -NEAR and max(edges) <= 1 + NEAR
            check_that(inside, f"{path.name}: {line} leaves its tile")
            rows.append(row)
    return found


def _check_rows(
    rows: dict[str, list[list[float]]],
    annotations: list[dict[str, str]],
    tiles: list[dict[str, str]],
) -> None:
    """Each tile's label file has a row for each annotation whose centroid it holds."""
    of_source: dict[str, list[dict[str, str]]] = {}
    for item in annotations:
        of_source.setdefault(item["source"], []).append(item)
    whole: dict[str, tuple[int, int]] = {}
    for tile in tiles:
        right, bottom = _corner(tile)
        width, height = whole.get(tile["source"], (0, 0))
        whole[tile["source"]] = (max(width, right), max(height, bottom))
    for tile in tiles:
        if tile["split"] == "unlabelled":
            continue
        expected = Counter(
            float(LABELS.index(item["label"]))
            for item in of_source.get(tile["source"], ())
            if _holds(tile, float(item["x"]), float(item["y"]), whole[tile["source"]])
        )
        found = Counter(row[0] for row in rows[tile["tile"]])
        check_that(found == expected, f"{tile['tile']} has rows {found}, expected {expected}")
    marked = set(of_source) - set(whole)
    check_that(not marked, f"annotations on {marked}, which has no tile")


def _corner(tile: dict[str, str]) -> tuple[int, int]:
    return int(tile["x"]) + int(tile["width"]), int(tile["y"]) + int(tile["height"])


def _holds(tile: dict[str, str], x: float, y: float, whole: tuple[int, int]) -> bool:
    right, bottom = _corner(tile)
    return (int(tile["x"]) <= x < right or x == right == whole[0]) and (
        int(tile["y"]) <= y < bottom or y == bottom == whole[1]
    )


def _check_files(
    out: Path, rows: dict[str, Any], tiles: list[dict[str, str]], *, images: bool
) -> None:
    """Each tile has an image of its size, and there is none without tile."""
    found = {path.name[:-4]: path for path in out.glob("images/*/*")}
    check_that(images or not found, f"{len(found)} images")
    for tile in tiles if images else ():
        size = image_size(found[tile["tile"]])
        check_that(size == (int(tile["width"]), int(tile["height"])), f"{tile}: {size} px")
    named = set(rows) | {tile["tile"] for tile in tiles if tile["split"] == "unlabelled"}
    check_that(not images or set(found) == named, "images and tiles")
    for mask in out.glob("masks/*/*"):
        check_that(mask.name[:-4] in rows, f"{mask} has no tile")


def _check_with_ours(out: Path) -> None:
    """`--check`, but for Ultralytics, which is slow to import, and the readers of both forms."""
    dataset = open_dataset(out)
    for split, pairs in find_pairs(dataset).items():
        check_coco(out / "annotations" / f"{split}.json", pairs, dataset.labels)


def outputs(out: Path) -> Iterator[bytes]:
    """What stands in the files of an output but its ``run.json``."""
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.name != "run.json":
            yield path.read_bytes()
