"""Detections as files: CSV, QuPath GeoJSON and MIDOG JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from converters.files import write_csv, write_json
from converters.mpp import Mpp
from mitoyolo.inference.merge import Detections

PREDICTION_COLUMNS = ("image", "x", "y", "width", "height", "score", "label")
DETECTION_COLUMNS = ("source", "x", "y", "width", "height", "score", "label", "x_um", "y_um")

_COLOUR = {"mitosis": [220, 0, 0], "imposter": [0, 90, 200]}


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
        left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        name = classes[int(label)]
        ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": {
                    "objectType": "detection",
                    "classification": {
                        "name": name.capitalize(),
                        "color": _COLOUR.get(name, [0, 160, 0]),
                    },
                    "measurements": {"score": score},
                },
            }
        )
    write_json(path, {"type": "FeatureCollection", "features": features})


def write_midog(path: Path, found: Detections, classes: Sequence[str], mpp: Mpp) -> None:
    """Write "Multiple points" as the MIDOG challenge reads them: millimetres, mitoses only.

    Source: MIDOG challenge, submission format (grand-challenge.org).
    """
    points = [
        {
            "name": "mitotic figure",
            "point": [x * mpp[0] / 1000, y * mpp[1] / 1000, 0],
            "probability": score,
        }
        for x, y, _, _, score, label in found.tolist()
        if classes[int(label)] == "mitosis"
    ]
    version = {"major": 1, "minor": 0}
    write_json(path, {"type": "Multiple points", "points": points, "version": version})
