"""Detections as files: CSV, QuPath GeoJSON and MIDOG JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from converters import midog, qupath
from converters.files import write_csv, write_json
from converters.mpp import Mpp
from mitoyolo.inference.merge import Detections

PREDICTIONS = "predictions.csv"
"""The table that ``val`` and ``evaluate`` write: all predictions in one."""

DETECTIONS = "detections.csv"
"""The table that ``detect`` writes, one an image."""

PREDICTION_COLUMNS = ("image", "x", "y", "width", "height", "score", "label")
DETECTION_COLUMNS = ("source", "x", "y", "width", "height", "score", "label", "x_um", "y_um")


def write_predictions(
    path: Path, of_source: Mapping[str, Detections], classes: Sequence[str]
) -> None:
    """Write ``predictions.csv``: every detection of a split, in source pixels."""
    rows = (
        (source, *row, classes[int(label)])
        for source, found in of_source.items()
        for *row, label in found.tolist()
    )
    write_csv(path, PREDICTION_COLUMNS, rows)


def write_detections(
    path: Path, source: str, found: Detections, classes: Sequence[str], mpp: Mpp
) -> None:
    """Write ``detections.csv``: level-0 pixels and µm, highest score first."""
    rows = (
        (source, x, y, *rest, classes[int(label)], x * mpp[0], y * mpp[1])
        for x, y, *rest, label in found.tolist()
    )
    write_csv(path, DETECTION_COLUMNS, rows)


def write_geojson(path: Path, found: Detections, classes: Sequence[str]) -> None:
    """Write a FeatureCollection that QuPath opens: a box each, with class, colour and score.

    Source: QuPath documentation, GeoJSON export of objects; full-resolution pixels.
    """
    features = []
    for x, y, width, height, score, label in found.tolist():
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        features.append(
            qupath.feature(
                qupath.box_geometry(box),
                classes[int(label)],
                object_type="detection",
                measurements={"score": score},
            )
        )
    write_json(path, {"type": "FeatureCollection", "features": features})


def write_midog(path: Path, found: Detections, classes: Sequence[str], mpp: Mpp) -> None:
    """Write "Multiple points" as the MIDOG challenge reads them: millimetres, mitoses only."""
    points = (
        (x, y, score, "mitosis")
        for x, y, _, _, score, label in found.tolist()
        if classes[int(label)] == "mitosis"
    )
    write_json(path, midog.document(points, mpp))
