"""The pictures and the report of ``detect``: count, hotspot, scores, detections by score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import InputError
from converters.mpp import Mpp
from mitoyolo.images import RGB, write_rgb
from mitoyolo.inference.hotspot import Hotspot
from mitoyolo.inference.merge import Detections
from mitoyolo.inference.slide import SlideSearch
from mitoyolo.report.density import draw_density
from mitoyolo.report.overlay import MAX_SIDE, around, crop_read, draw_dots, draw_hotspot, fitted
from mitoyolo.report.page import headline, paragraph, picture, row, table, write_page
from mitoyolo.slides.base import Slide
from mitoyolo.slides.overview import overview
from mitoyolo.tiles import Window

CROPS = 24
"""Detections in the gallery."""

SHOWN_SIDE = 1600
"""px; the longer side of pictures in the page, which is sent by mail."""

CROP_UM = 32.0
"""Side of a crop: a cell of 16 µm and its neighbourhood."""


def write_pictures(
    folder: Path, search: SlideSearch, mitoses: Detections, summary: dict[str, Any]
) -> None:
    """Write ``overlay.png``, ``density.png`` and ``report.html`` of a slide.

    Parameters
    ----------
    mitoses : (n, 6) float64
        Level-0 pixels, falling score.
    summary : dict
        As :func:`mitoyolo.inference.summary.summarise` gives it.
    """
    seen = overview(search.slide, MAX_SIDE)
    step = search.slide.size[0] / seen.shape[1], search.slide.size[1] / seen.shape[0]
    mpp = search.mpp
    overlay = draw_dots(seen, mitoses[:, :2] / step, (mpp[0] * step[0], mpp[1] * step[1]))
    for name, found in summary["hotspot"].items():
        if found:
            centre = (found["x_um"], found["y_um"])
            hotspot = Hotspot(name, summary["hotspot_mm2"], centre, found["count"])
            overlay = draw_hotspot(overlay, hotspot, mpp, step)
    write_rgb(folder / "overlay.png", overlay)
    density = draw_density(seen, mitoses[:, :2], mpp, step, summary["hotspot_mm2"])
    write_rgb(folder / "density.png", density)
    write_page(
        folder / "report.html",
        f"Mitoses in {summary['source']}",
        [
            ("Count", _count(summary)),
            ("Hotspot and mitotic score", _hotspot(summary)),
            ("Overlay", _overlay(overlay, density)),
            (_heading(mitoses), _gallery(search.slide, search.mpp, mitoses)),
        ],
    )


def _count(summary: dict[str, Any]) -> str:
    density = summary["density_per_mm2"]
    given = summary["region"] != "all tissue"
    main = [
        ("mitoses", summary["count"]),
        ("mm² of the region" if given else "mm² of tissue", summary["area_mm2"]),
        ("mitoses a mm²", None if density is None else f"{density:.1f}"),
    ]
    rows = [
        ("region", summary["region"]),
        ("mm² of tissue in it", summary["tissue_mm2"]),
        ("threshold", summary["threshold"]),
        ("threshold from", summary["threshold_from"]),
        ("µm a pixel", " x ".join(f"{value:g}" for value in summary["mpp"])),
        ("width x height", " x ".join(f"{side} px" for side in summary["size"])),
    ]
    caution = "".join(paragraph(f"Caution: {warning}.") for warning in summary["warnings"])
    if not given:
        caution += paragraph(
            "All tissue was searched, necrosis and lymphocytes included: this is a count of "
            "detections, not a mitotic count in a chosen tumour region."
        )
    return headline(main) + table(("", ""), rows) + caution


def _hotspot(summary: dict[str, Any]) -> str:
    windows = [
        (name, found["count"], found["area_mm2"], f"{found['x_um']:.0f}, {found['y_um']:.0f}")
        for name, found in summary["hotspot"].items()
        if found
    ]
    scores = [
        (rule["rule"], rule["area_mm2"], rule["count"], rule["score"], rule["note"], rule["source"])
        for rule in summary["scores"]
    ]
    return (
        (table(("window", "mitoses", "mm²", "centre, µm"), windows) if windows else "")
        + paragraph(
            "Each rule counts in the circle of its own area that holds the most detections:"
        )
        + table(("rule", "mm²", "mitoses", "score", "", "source"), scores)
    )


def _overlay(overlay: RGB, density: RGB) -> str:
    return picture(
        fitted(overlay, SHOWN_SIDE),
        "Red dots in rings: detections; the outlines are the hotspot as a circle and as a square. "
        "Larger in overlay.png",
    ) + picture(fitted(density, SHOWN_SIDE), "Detections a mm²")


def _heading(mitoses: Detections) -> str:
    heading = "Detections by score"
    if len(mitoses) > CROPS:
        heading += f", the first {CROPS} of {len(mitoses)}"
    return heading


def _gallery(slide: Slide, mpp: Mpp, mitoses: Detections) -> str:
    crops = [
        picture(_crop(slide, x, y, mpp), f"score {score:.3f}")
        for x, y, _, _, score, _ in mitoses[:CROPS].tolist()
    ]
    return row(crops, crops=True) if crops else paragraph("None.")


def _crop(slide: Slide, x: float, y: float, mpp: Mpp) -> RGB:
    """The neighbourhood of a place; white beyond the slide and where it cannot be read."""

    def read(window: Window) -> RGB:
        try:
            return slide.read(0, window)
        except InputError:
            return np.full((window.height, window.width, 3), 255, np.uint8)

    return crop_read(read, slide.size, around(x, y, mpp, CROP_UM))
