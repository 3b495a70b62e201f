"""Detections as files: CSV, QuPath GeoJSON, MIDOG JSON and DSA JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from converters import large_image, midog, qupath
from converters.files import read_csv, write_csv, write_json, write_text
from converters.model import Annotation, AnnotationSet, ImageInfo
from converters.mpp import Mpp
from mitoyolo.inference.merge import Detections
from mitoyolo.progress import note

PREDICTIONS = "predictions.csv"
"""The table that ``val`` and ``evaluate`` write: all predictions in one."""

DETECTIONS = "detections.csv"
"""The table that ``detect`` writes, one an image."""

SUMMARY = "summary.json"
"""What ``detect`` writes beside it, last: the size of the image that was searched, among more."""

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


def read_detections(path: Path, classes: Sequence[str]) -> Detections:
    """The rows of a ``detections.csv`` as they were written."""
    numbers = {name: number for number, name in enumerate(classes)}
    keys = ("x", "y", "width", "height", "score")
    rows = [
        [*(float(row[key]) for key in keys), numbers[row["label"]]]
        for row in read_csv(path, DETECTION_COLUMNS)
    ]
    return np.array(rows, dtype=float).reshape(-1, 6)


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


def write_dsa(path: Path, found: Detections, classes: Sequence[str], name: str) -> None:
    """Write an annotation document that HistomicsUI and the Digital Slide Archive open: a rectangle
    each (a point where it has no size), with its class, and the score as ``user.confidence``.

    Source: large_image annotation schema, as :mod:`converters.large_image` writes it.
    """
    image = ImageInfo(source=name, path=None, width=0, height=0, case="")
    items = []
    for x, y, width, height, score, label in found.tolist():
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        items.append(
            Annotation(
                source=name,
                label=classes[int(label)],
                x=x,
                y=y,
                box=box if width and height else None,
                confidence=score,
                kind="box" if width and height else "point",
                file=str(path),
                where="",
            )
        )
    documents = large_image.write(AnnotationSet(images=[image], annotations=items), note)
    for _, text in documents:
        write_text(path, text)


def write_midog(path: Path, found: Detections, classes: Sequence[str], mpp: Mpp) -> None:
    """Write "Multiple points" as the MIDOG challenge reads them: millimetres, mitoses only."""
    points = (
        (x, y, score, "mitosis")
        for x, y, _, _, score, label in found.tolist()
        if classes[int(label)] == "mitosis"
    )
    write_json(path, midog.document(points, mpp))
