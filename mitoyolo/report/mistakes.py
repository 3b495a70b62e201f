"""A gallery of false positives and misses, each cut out of its source image with its score."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mitoyolo.evaluation.mistakes import Mistake
from mitoyolo.images import RGB
from mitoyolo.report.overlay import around
from mitoyolo.report.page import paragraph, picture, row

Pixels = Callable[[str, tuple[int, int, int, int] | None], RGB]
"""(source, window) -> a source image, or its part in (left, top, width, height)."""

SIDE = 128
"""Pixels of the source image across a crop."""

SHOWN = 21
"""Crops in a gallery."""


def gallery_of_false_positives(found: Sequence[Mistake], pixels: Pixels) -> str:
    """The crops of false positives, which come with the highest score first."""
    text = "What was detected is in the middle of its crop; the highest scores come first."
    return _gallery(found, pixels, "false positives", text)


def gallery_of_misses(found: Sequence[Mistake], pixels: Pixels) -> str:
    """The crops of misses, which come with the lowest score first."""
    text = (
        "The annotated mitosis is in the middle of its crop. The score is the highest of any "
        "detection in range of it; the lowest come first, those without any before them."
    )
    return _gallery(found, pixels, "misses", text)


def _gallery(found: Sequence[Mistake], pixels: Pixels, noun: str, text: str) -> str:
    if not found:
        return paragraph(f"No {noun}.")
    part = f"{len(found)} {noun}" if len(found) <= SHOWN else f"{SHOWN} of {len(found)} {noun}"
    crops = [
        picture(pixels(item.image, around(item.x, item.y, (1.0, 1.0), SIDE)), _caption(item))
        for item in found[:SHOWN]
    ]
    return paragraph(f"{part}, {SIDE} px across. {text}") + row(crops, crops=True)


def _caption(item: Mistake) -> str:
    score = "no detection" if item.score is None else f"{item.score:.3f}"
    kind = ", annotated imposter" if item.imposter else ""
    return f"{score}{kind}: {item.image} at {item.x:.0f}, {item.y:.0f}"
