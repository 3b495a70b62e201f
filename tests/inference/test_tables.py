"""Detections as files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from conftest import picture

from converters.read_options import ReadOptions
from converters.registry import FORMATS
from mitoyolo.inference.tables import (
    DETECTION_COLUMNS,
    PREDICTION_COLUMNS,
    write_detections,
    write_dsa,
    write_geojson,
    write_midog,
    write_predictions,
)

CLASSES = ("mitosis", "imposter")
FOUND = np.array([[100, 40, 20, 10, 0.9, 0], [30, 60, 16, 16, 0.25, 1]], dtype=float)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_predictions(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_predictions(path, {"b.png": FOUND, "a.png": FOUND[:0]}, CLASSES)
    rows = read(path)
    assert tuple(rows[0]) == PREDICTION_COLUMNS
    assert PREDICTION_COLUMNS == ("image", "x", "y", "width", "height", "score", "label")
    assert list(rows[1].values()) == ["b.png", "30.0", "60.0", "16.0", "16.0", "0.25", "imposter"]
    assert len(rows) == 2


def test_detections_are_in_pixels_and_micrometres(tmp_path: Path) -> None:
    path = tmp_path / "detections.csv"
    write_detections(path, "s.png", FOUND, CLASSES, (0.5, 0.25))
    rows = read(path)
    assert tuple(rows[0]) == DETECTION_COLUMNS
    assert (float(rows[0]["x_um"]), float(rows[0]["y_um"])) == (50, 10)
    assert [row["label"] for row in rows] == ["mitosis", "imposter"]


def test_no_detection_is_a_table_with_a_header(tmp_path: Path) -> None:
    write_detections(tmp_path / "d.csv", "s.png", FOUND[:0], CLASSES, (1, 1))
    assert (tmp_path / "d.csv").read_text() == ",".join(DETECTION_COLUMNS) + "\n"


def test_geojson_has_closed_boxes_with_class_and_score(tmp_path: Path) -> None:
    path = tmp_path / "d.geojson"
    write_geojson(path, FOUND, CLASSES)
    content = json.loads(path.read_text())
    assert content["type"] == "FeatureCollection"
    first, second = content["features"]
    assert first["geometry"] == {
        "type": "Polygon",
        "coordinates": [[[90, 35], [110, 35], [110, 45], [90, 45], [90, 35]]],
    }
    assert first["properties"]["objectType"] == "detection"
    assert first["properties"]["measurements"] == {"score": 0.9}
    assert first["properties"]["classification"]["name"] == "Mitosis"
    assert second["properties"]["classification"]["name"] == "Imposter"


def test_midog_has_mitoses_only_in_millimetres(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    write_midog(path, FOUND, CLASSES, (0.5, 0.25))
    content = json.loads(path.read_text())
    assert content["type"] == "Multiple points"
    assert content["version"] == {"major": 1, "minor": 0}
    assert content["points"] == [
        {"name": "mitotic figure", "point": [0.05, 0.01, 0], "probability": 0.9}
    ]


def test_dsa_is_read_back_with_class_and_score(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    picture(tmp_path / "s.png", 200, 100)
    rows = np.vstack([FOUND, [5, 6, 0, 0, 0.5, 0]])
    write_dsa(path, rows, CLASSES, "s.png")
    content = json.loads(path.read_text())
    assert content["name"] == "s.png"
    assert [element["type"] for element in content["elements"]] == [
        "rectangle",
        "rectangle",
        "point",
    ]
    assert [element["user"]["confidence"] for element in content["elements"]] == [0.9, 0.25, 0.5]
    read_back = FORMATS["dsa"].read
    assert read_back is not None
    found = read_back(path, ReadOptions())
    assert [(item.x, item.y, item.label, item.confidence) for item in found.annotations] == [
        (100, 40, "mitosis", 0.9),
        (30, 60, "imposter", 0.25),
        (5, 6, "mitosis", 0.5),
    ]
    assert found.annotations[0].box == (90, 35, 110, 45)


def test_a_dsa_document_without_detections(tmp_path: Path) -> None:
    write_dsa(tmp_path / "s.json", FOUND[:0], CLASSES, "s.png")
    assert json.loads((tmp_path / "s.json").read_text())["elements"] == []
