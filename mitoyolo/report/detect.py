"""The report of ``detect``: count, density, overlay, and the detections by score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.mpp import Mpp
from mitoyolo.images import RGB
from mitoyolo.inference.merge import Detections
from mitoyolo.report.overlay import crop
from mitoyolo.report.page import headline, paragraph, picture, picture_file, row, table, write_page

CROPS = 24
"""Detections in the gallery."""

CROP_UM = 32.0
"""Side of a crop: a cell of 16 µm and its neighbourhood."""


def write_detect_report(
    folder: Path, image: RGB, mitoses: Detections, mpp: Mpp, summary: dict[str, Any]
) -> None:
    """Write ``report.html`` of a detection folder that holds ``overlay.png``."""
    density = summary["density_per_mm2"]
    main = [
        ("mitoses", summary["count"]),
        ("mm² of tissue", summary["tissue_mm2"]),
        ("mitoses a mm²", None if density is None else f"{density:.1f}"),
    ]
    rows = [
        ("region", summary["region"]),
        ("threshold", summary["threshold"]),
        ("threshold from", summary["threshold_from"]),
        ("µm a pixel", " x ".join(f"{value:g}" for value in summary["mpp"])),
    ]
    caution = paragraph(
        "All tissue was searched, necrosis and lymphocytes included: this is a count of "
        "detections, not a mitotic count in a chosen tumour region."
    )
    crops = [
        picture(crop(image, x, y, mpp, CROP_UM), f"score {score:.3f}")
        for x, y, _, _, score, _ in mitoses[:CROPS].tolist()
    ]
    heading = "Detections by score"
    if len(mitoses) > CROPS:
        heading += f", the first {CROPS} of {len(mitoses)}"
    write_page(
        folder / "report.html",
        f"Mitoses in {summary['source']}",
        [
            ("Count", headline(main) + table(("", ""), rows) + caution),
            (
                "Overlay",
                picture_file(folder / "overlay.png", "Red dots in rings of 8 µm: detections"),
            ),
            (heading, row(crops, crops=True) if crops else paragraph("None.")),
        ],
    )
