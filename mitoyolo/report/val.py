"""The report of ``val``: numbers, curves, cases, and detections over truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mitoyolo.dataset import Dataset
from mitoyolo.evaluation.fields import Field
from mitoyolo.report.overlay import draw_dots, draw_truth, fitted, stitch
from mitoyolo.report.page import headline, paragraph, picture, picture_file, row, table, write_page

SHOWN = 6
"""Source images in the gallery."""


def numbers(metrics: dict[str, Any]) -> str:
    """A ``metrics.json`` as a headline and a table, after its warning if it has one."""
    interval = metrics["f1_ci95"]
    over = metrics["f1_ci95_over"]
    rows: list[tuple[str, object]] = [
        (
            f"F1, 95 % interval over {over}" if over else "F1, 95 % interval",
            None if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}",
        ),
        ("true positives", metrics["tp"]),
        ("false positives", metrics["fp"]),
        ("misses", metrics["fn"]),
        ("average precision", metrics["ap"]),
        ("mean sensitivity at 0 to 8 false positives an image", metrics["froc_auc"]),
        ("protocol", f"{metrics['protocol']}, {metrics['radius_um']:g} µm"),
        ("threshold", metrics["threshold"]),
        ("threshold from", metrics["threshold_from"]),
        ("images, cases", f"{metrics['images']}, {metrics['cases']}"),
    ]
    warning = paragraph(f"Warning: {metrics['warning']}.") if "warning" in metrics else ""
    main = headline([(key, metrics[key.lower()]) for key in ("F1", "precision", "recall")])
    return warning + main + table(("", ""), rows)


def per_case(metrics: dict[str, Any]) -> str:
    """One row a case."""
    keys = ("tp", "fp", "fn", "precision", "recall", "f1")
    rows = [(case, *(item[key] for key in keys)) for case, item in metrics["per_case"].items()]
    return table(("case", *keys), rows)


def gallery(
    dataset: Dataset, split: str, fields: Sequence[Field], threshold: float, shown: int = SHOWN
) -> str:
    """Source images with the most mitoses: truth in green, detections in red, and a legend."""
    busiest = sorted(fields, key=lambda field: (-len(field.truth), field.image))[:shown]
    figures = []
    for field in busiest:
        found = field.detections[field.scores >= threshold]
        image = stitch(dataset, split, field.image)
        image = draw_truth(image, field.truth, field.mpp)
        image = draw_dots(image, found, field.mpp)
        caption = f"{field.image}: {len(field.truth)} annotated, {len(found)} detected"
        figures.append(picture(fitted(image), caption))
    legend = paragraph("Green rings: annotated mitoses. Red dots with rings: detections.")
    return legend + row(figures)


def write_val_report(
    folder: Path,
    dataset: Dataset,
    split: str,
    fields: Sequence[Field],
    metrics: dict[str, Any],
) -> None:
    """Write ``report.html`` of a validation folder that holds ``pr.png`` and ``froc.png``."""
    curves = [
        picture_file(folder / "pr.png", "Precision against recall"),
        picture_file(folder / "froc.png", "Sensitivity against false positives an image"),
    ]
    write_page(
        folder / "report.html",
        f"Validation, {split} split",
        [
            ("Numbers", numbers(metrics)),
            ("Curves", row(curves)),
            ("Cases", per_case(metrics)),
            ("Detections over truth", gallery(dataset, split, fields, metrics["threshold"])),
        ],
    )
