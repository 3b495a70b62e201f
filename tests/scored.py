"""One small truth and predictions for it, in every kind of file that ``evaluate`` reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import table
from rendered import Cell, Source, write_dataset

from converters.files import write_json
from mitoyolo.inference.tables import DETECTION_COLUMNS

MPP = 0.5  # µm/px: 8 µm are 16 px
SIZE = (96, 64)

SOURCES = (
    Source("one", "test", (Cell(20, 30), Cell(48, 30), Cell(80, 30)), case="1", scanner="A"),
    Source("two", "test", (Cell(70, 20), Cell(30, 40, label="imposter")), case="2", scanner="H"),
    Source("three", "test", (Cell(10, 10),), case="2", scanner="H"),
    Source("four", "val", (Cell(10, 10),), case="3"),
)
TEST = [source for source in SOURCES if source.split == "test"]

Row = tuple[str, float, float, float, str]
ROWS: list[Row] = [
    ("one", 22.0, 30.0, 0.9, "mitosis"),  # found, 1 µm away
    ("one", 48.0, 46.0, 0.6, "mitosis"),  # found, 8 µm away
    ("one", 50.0, 62.0, 0.4, "mitosis"),  # wrong, 16 µm away
    ("one", 80.0, 30.0, 0.7, "imposter"),  # on a mitosis, but not called one
    ("two", 30.0, 40.0, 0.8, "mitosis"),  # wrong, on a look-alike
]
"""Of five mitoses two are found; on image three nothing is predicted."""

# --- the same truth in every kind of file -------------------------------------------------------


def as_folder(root: Path) -> Path:
    return write_dataset(root, SOURCES, mpp=(MPP, MPP), labels=("mitosis", "imposter"))


def as_index(root: Path) -> Path:
    return as_folder(root) / "dataset.yaml"


def as_labels(root: Path) -> Path:
    return as_folder(root) / "annotations" / "test.json"


def as_table(root: Path) -> Path:
    rows = [
        f"{source.name},{source.case},{cell.label},{cell.x},{cell.y},16,16,,box"
        for source in TEST
        for cell in source.cells
    ]
    header = "source,case,label,x,y,width,height,confidence,kind"
    return table(root / "annotations.csv", header, *rows)


def as_coco(root: Path, box: Callable[[int, int], list[int]] | None = None) -> Path:
    box = box or (lambda x, y: [x - 8, y - 8, 16, 16])
    document: dict[str, Any] = {
        "images": [
            {
                "id": 10 + i, "file_name": f"{source.name}.png", "width": SIZE[0],
                "height": SIZE[1],
                "attributes": {
                    "case": source.case, "mpp": [MPP, MPP], "scanner": source.scanner
                },
            }
            for i, source in enumerate(TEST)
        ],
        "categories": [
            {"id": 1, "name": "Mitotic figure"}, {"id": 2, "name": "hard negative"}
        ],
        "annotations": [],
    }  # fmt: skip
    for i, source in enumerate(TEST):
        for cell in source.cells:
            document["annotations"].append(
                {
                    "id": len(document["annotations"]), "image_id": 10 + i,
                    "category_id": 1 if cell.label == "mitosis" else 2,
                    "bbox": box(cell.x, cell.y),
                }
            )  # fmt: skip
    write_json(root / "truth.json", document)
    return root / "truth.json"


def as_midog(root: Path) -> Path:
    return as_coco(root, lambda x, y: [x - 25, y - 25, x + 25, y + 25])


TRUTHS = (as_folder, as_index, as_labels, as_table, as_coco, as_midog)
WITHOUT_CASES = (as_midog,)
WITHOUT_MPP = (as_table, as_midog)


# --- the same predictions in every kind of file -------------------------------------------------


def predicted(root: Path, rows: list[Row] = ROWS, name: str = "predictions.csv") -> Path:
    lines = (f"{image},{x},{y},16,16,{score},{label}" for image, x, y, score, label in rows)
    return table(root / name, "image,x,y,width,height,score,label", *lines)


def as_val_folder(root: Path) -> Path:
    write_json(root / "metrics.json", {})
    return predicted(root).parent


def as_detections(root: Path) -> Path:
    """What ``detect`` writes of one.png, two.png and three.png."""
    for source in TEST:
        lines = (
            f"{image}.png,{x},{y},16,16,{score},{label},{x * MPP},{y * MPP}"
            for image, x, y, score, label in ROWS
            if image == source.name
        )
        table(root / source.name / "detections.csv", ",".join(DETECTION_COLUMNS), *lines)
        write_json(root / source.name / "summary.json", {})
        table(root / source.name / "notes.csv", "not ours")
    return root


def as_results(root: Path) -> Path:
    """COCO results by the names of images."""
    results = [
        {
            "image_id": image, "category_id": 1 if label == "mitosis" else 2,
            "bbox": [x - 8, y - 6, 16, 12], "score": score,
        }
        for image, x, y, score, label in ROWS
    ]  # fmt: skip
    write_json(root / "results.json", results)
    return root / "results.json"


def as_named_results(root: Path) -> Path:
    """COCO results with ids of the tool's own, and the files' names."""
    path = as_results(root)
    results = json.loads(path.read_text())
    for item in results:
        item["file_name"], item["image_id"] = f"frames/{item['image_id']}.tif", 7
    write_json(path, results)
    return path


def points(image: str) -> dict[str, Any]:
    names = {"mitosis": "mitotic figure", "imposter": "non-mitotic figure"}
    return {
        "type": "Multiple points",
        "points": [
            {
                "point": [x * MPP / 1000, y * MPP / 1000, 0],
                "probability": score, "name": names[label],
            }
            for name, x, y, score, label in ROWS
            if name == image
        ],
        "version": {"major": 1, "minor": 0},
    }  # fmt: skip


def as_points(root: Path) -> Path:
    for source in TEST:
        write_json(root / f"{source.name}.json", points(source.name))
    return root


def as_points_in_folders(root: Path) -> Path:
    write_json(root / "one" / "detections.midog.json", points("one"))
    write_json(root / "two" / "mitotic-figures.json", points("two"))
    return root


def as_named_points(root: Path) -> Path:
    write_json(root / "all.json", {f"{source.name}.png": points(source.name) for source in TEST})
    return root / "all.json"


PREDICTIONS = (
    predicted,
    as_val_folder,
    as_detections,
    as_results,
    as_named_results,
    as_points,
    as_points_in_folders,
    as_named_points,
)
