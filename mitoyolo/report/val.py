"""The page and pictures of a scored split: numbers, curves, cases, confusion and mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mitoyolo.evaluation.curves import froc, precision_recall_curve, rank
from mitoyolo.evaluation.fields import Field
from mitoyolo.evaluation.metrics import caveats
from mitoyolo.evaluation.mistakes import mistakes
from mitoyolo.evaluation.plots import draw_agreement, draw_cases, draw_froc, draw_pr
from mitoyolo.evaluation.protocols import Protocol, get_protocol
from mitoyolo.report.mistakes import Pixels, gallery_of_false_positives, gallery_of_misses
from mitoyolo.report.overlay import draw_dots, draw_truth, fitted
from mitoyolo.report.page import (
    headline,
    interval,
    paragraph,
    picture,
    picture_file,
    row,
    table,
    write_page,
)

SHOWN = 6
"""Source images in the gallery."""

LARGEST = 50e6
"""Source images of more pixels than this are not drawn whole."""


def numbers(metrics: dict[str, Any]) -> str:
    """A ``metrics.json`` as a headline and a table, after its warning if it has one."""
    over = metrics["f1_ci95_over"]
    coco = metrics["coco"] or {"map50_95": None, "map50": None}
    rows: list[tuple[str, object]] = [
        (f"F1, 95 % interval over {over}" if over else "F1, 95 % interval",
         interval(metrics["f1_ci95"])),
        ("true positives", metrics["tp"]),
        ("false positives", metrics["fp"]),
        ("misses", metrics["fn"]),
        ("mitoses annotated, a mm²", _with_density(metrics, "truths")),
        ("mitoses detected, a mm²", _with_density(metrics, "detections")),
        ("average precision", metrics["ap"]),
        ("mean sensitivity at 0 to 8 false positives an image", metrics["froc_auc"]),
        ("COCO mAP at IoU 0.50 to 0.95", coco["map50_95"]),
        ("COCO mAP at IoU 0.50", coco["map50"]),
        ("protocol", get_protocol(metrics["protocol"], metrics["radius_um"]).title),
        ("threshold", metrics["threshold"]),
        ("threshold from", metrics["threshold_from"]),
        ("images, cases", f"{metrics['images']}, {metrics['cases']}"),
        *_against(metrics),
    ]  # fmt: skip
    warning = paragraph(f"Warning: {metrics['warning']}.") if "warning" in metrics else ""
    main = headline([(key, metrics[key.lower()]) for key in ("F1", "precision", "recall")])
    notes = "".join(paragraph(f"Note: {line}.") for line in caveats(metrics))
    return warning + main + table(("", ""), rows) + notes


def _against(metrics: dict[str, Any]) -> list[tuple[str, object]]:
    """The other predictions of ``evaluate --against``, if there are any."""
    other = metrics.get("against")
    if other is None:
        return []
    over = other["f1_difference_ci95_over"]
    return [
        (f"F1 of {other['predictions']}", other["f1"]),
        ("difference in F1", other["f1_difference"]),
        (f"difference, 95 % interval over {over}" if over else "difference, 95 % interval",
         interval(other["f1_difference_ci95"])),
    ]  # fmt: skip


def _with_density(metrics: dict[str, Any], key: str) -> str:
    density = metrics[f"{key}_per_mm2"]
    return str(metrics[key]) if density is None else f"{metrics[key]}, {density:.2f}"


def per_case(metrics: dict[str, Any]) -> str:
    """One row a case."""
    return _groups("case", metrics["per_case"])


def _groups(kind: str, groups: dict[str, dict[str, Any]]) -> str:
    columns = {
        "tp": "found", "fp": "false", "fn": "missed", "precision": "precision", "recall": "recall",
        "f1": "F1", "truths": "annotated", "detections": "detected",
        "truths_per_mm2": "annotated a mm²", "detections_per_mm2": "detected a mm²",
    }  # fmt: skip
    rows = [(name, *(group[key] for key in columns)) for name, group in groups.items()]
    return table((kind, *columns.values()), rows)


def agreement(metrics: dict[str, Any]) -> str:
    """The agreement of the cases' counts in a table."""
    found = metrics["agreement"]
    rows = [
        ("bias: mean of detected - annotated", found["bias"]),
        ("limits of agreement: bias ± 1.96 SD", interval(found["limits"])),
        ("Lin's concordance", found["concordance"]),
    ]
    return table(("mitoses a case", ""), rows)


def confusion(metrics: dict[str, Any]) -> str:
    """The confusion matrix as a table: rows annotated, columns detected."""
    matrix = metrics["confusion"]
    rows = [(row, *cells.values()) for row, cells in matrix.items()]
    text = paragraph(
        "Rows: annotated; columns: detected, at the threshold. Cells and detections of both "
        "classes are matched one-to-one, whatever their class; background is what is left over."
    )
    return text + table(("", *matrix), rows)


def gallery(fields: Sequence[Field], threshold: float, pixels: Pixels, shown: int = SHOWN) -> str:
    """Source images with the most mitoses: truth in green, detections in red, and a legend."""
    busiest = sorted(fields, key=lambda field: (-len(field.truth), field.image))
    figures = []
    for field in [field for field in busiest if _pixels_of(field) <= LARGEST][:shown]:
        found = field.detections[field.scores >= threshold]
        image = draw_truth(pixels(field.image, None), field.truth, field.mpp)
        image = draw_dots(image, found, field.mpp)
        caption = f"{field.image}: {len(field.truth)} annotated, {len(found)} detected"
        figures.append(picture(fitted(image), caption))
    legend = paragraph("Green rings: annotated mitoses. Red dots with rings: detections.")
    return legend + row(figures)


def _pixels_of(field: Field) -> int:
    """How large an image is, as far as it is known."""
    return math.prod(field.size or (0, 0))


def write_val_report(
    folder: Path,
    title: str,
    fields: Sequence[Field],
    rule: Protocol,
    metrics: dict[str, Any],
    pixels: Pixels | None = None,
) -> None:
    """Write ``pr.png``, ``froc.png``, ``cases.png``, ``agreement.png`` and ``report.html``.

    Parameters
    ----------
    folder : Path
        Where; it exists.
    title : str
        Of the page.
    fields, rule, metrics
        What was scored, how, and what :func:`mitoyolo.evaluation.metrics.evaluate` made of it.
    pixels : callable, optional
        Gives source images, or parts of them; without it, the page has no pictures of tissue.
    """
    ranking = rank(fields, rule)
    point = (metrics["recall"], metrics["precision"])
    draw_pr(precision_recall_curve(fields, rule, ranking), point, folder / "pr.png")
    per_image = (metrics["fp"] / metrics["images"], metrics["recall"])
    draw_froc(froc(fields, rule, ranking), folder / "froc.png", per_image)
    draw_cases(metrics, folder / "cases.png")
    draw_agreement(metrics, folder / "agreement.png")

    def pictures(*captions: tuple[str, str]) -> str:
        return row([picture_file(folder / name, caption) for name, caption in captions])

    curves = pictures(
        ("pr.png", "Precision against recall"),
        ("froc.png", "Sensitivity against false positives an image"),
    )
    cases = pictures(
        ("cases.png", "F1 of each case; dashed: of all cases together"),
        ("agreement.png", "Count of each case: difference against mean (Bland-Altman)"),
    )
    sections = [
        ("Numbers", numbers(metrics)),
        ("Curves", curves),
        ("Cases", cases + agreement(metrics) + per_case(metrics)),
    ]
    sections += [
        (kind.capitalize(), _groups(kind, groups)) for kind, groups in metrics["per_domain"].items()
    ]
    if metrics["confusion"]:
        sections.append(("Mitosis, imposter, background", confusion(metrics)))
    if pixels:
        wrong, missed = mistakes(fields, rule, metrics["threshold"])
        sections += [
            ("Most confident false positives", gallery_of_false_positives(wrong, pixels)),
            ("Misses", gallery_of_misses(missed, pixels)),
            ("Detections over truth", gallery(fields, metrics["threshold"], pixels)),
        ]
    write_page(folder / "report.html", title, sections)
