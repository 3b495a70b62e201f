"""What a slide's detections amount to: the contents of ``summary.json``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from converters.mpp import Mpp
from mitoyolo.inference.counts import scores
from mitoyolo.inference.hotspot import Hotspot, hottest_circle, hottest_square
from mitoyolo.inference.merge import Detections
from mitoyolo.inference.slide import Unreadable

SLIDE_MM2 = 5.0
"""A larger piece of tissue is no frame that somebody chose."""


def summarise(
    mitoses: Detections,
    *,
    source: str,
    mpp: Mpp,
    size: tuple[int, int],
    region: str | None,
    area_mm2: float,
    tissue_mm2: float,
    hotspot_mm2: float,
    threshold: float,
    threshold_from: str,
    unreadable: Sequence[Unreadable],
) -> dict[str, Any]:
    """Count, areas, density, hotspots and mitotic scores of one slide or image.

    Parameters
    ----------
    mitoses : (n, 6) float64
        Those that count, in level-0 pixels.
    mpp : (float, float)
        µm per pixel of level 0.
    size : (int, int)
        Width and height of level 0.
    region : str or None
        The file that bounds what counts; None: all tissue.
    area_mm2 : float
        Of the region, or of the tissue without one.
    tissue_mm2 : float
        Of the tissue that counts.
    hotspot_mm2 : float
        Area of the hotspot asked for.
    """
    places_um = mitoses[:, :2] * mpp
    hotspots = {
        "circle": hottest_circle(places_um, hotspot_mm2),
        "square": hottest_square(places_um, hotspot_mm2),
    }
    return {
        "source": source,
        "mpp": list(mpp),
        "size": list(size),
        "region": region or "all tissue",
        "count": len(mitoses),
        "threshold": threshold,
        "threshold_from": threshold_from,
        "area_mm2": area_mm2,
        "tissue_mm2": tissue_mm2,
        "density_per_mm2": len(mitoses) / area_mm2 if area_mm2 else None,
        "hotspot_mm2": hotspot_mm2,
        "hotspot": {
            name: _in_pixels(found, mpp, area_mm2) if found else None
            for name, found in hotspots.items()
        },
        "scores": scores(places_um, area_mm2, hotspot_mm2),
        "unreadable": [asdict(tile) for tile in unreadable],
        "warnings": list(_warnings(region, tissue_mm2, threshold_from, unreadable)),
    }


def _in_pixels(found: Hotspot, mpp: Mpp, searched_mm2: float) -> dict[str, Any]:
    x_um, y_um = found.centre_um
    return {
        "x": x_um / mpp[0],
        "y": y_um / mpp[1],
        "x_um": x_um,
        "y_um": y_um,
        "count": found.count,
        "area_mm2": min(found.area_mm2, searched_mm2),
    }


def _warnings(
    region: str | None,
    tissue_mm2: float,
    threshold_from: str,
    unreadable: Sequence[Unreadable],
) -> Iterator[str]:
    if unreadable:
        yield f"{len(unreadable)} tiles could not be read and were not searched"
    if not tissue_mm2:
        yield "no tissue was found, so nothing was searched"
    if region is None and tissue_mm2 > SLIDE_MM2:
        yield (
            "all tissue was searched, necrosis and lymphocytes included: the hotspot is where most "
            "detections are, not a mitotic count in a tumour region (give --roi)"
        )
        if not threshold_from.startswith("given"):
            yield (
                f"the threshold was chosen on annotated frames ({threshold_from}), which somebody "
                "had selected: on a whole slide expect more false detections for each mitosis"
            )
