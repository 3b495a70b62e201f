"""Mitoses and look-alikes whose appearance overlaps, as on slides.

Shape and edge still tell most of them apart as a pathologist does: a mitosis has clumped chromatin
with a ragged edge, no membrane, and mostly a rounded, pale cell; a look-alike has a smooth or
lobed outline or a membrane, and mostly dense pink cytoplasm or none. Size, darkness, focus, edge
and cell are drawn from distributions that overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from mitoyolo.demo.figures import MITOSES, REACH, Figure, bar, enclose
from mitoyolo.demo.noise import Field, ramp
from mitoyolo.demo.nuclei import lay
from mitoyolo.demo.section import Section, View, radial, view

Shape = Callable[[np.random.Generator, View], Field]


def prophase(rng: np.random.Generator, view: View) -> Field:
    """Condensed threads where the nucleus was, without a membrane."""
    radius = rng.uniform(4.0, 5.4)
    oval = radial(rng, view, radius * 1.08, radius / 1.08, 0.1)
    threads = 0.8 * view.coarse + 0.5 * view.fine + np.float32(rng.uniform(0.15, 0.6))
    return np.asarray(np.minimum(oval, threads), dtype=np.float32)


def telophase(rng: np.random.Generator, view: View) -> Field:
    """Two small bars far apart, of two cells that are about to part."""
    length, thick = rng.uniform(4.2, 6.2), rng.uniform(1.5, 2.3)
    half, bend = rng.uniform(3.6, 5.4), rng.uniform(0.0, 0.05)
    left = bar(view, -half, length * rng.uniform(0.85, 1.15), thick, bend)
    right = bar(view, half, length, thick, -bend)
    return np.asarray(np.maximum(left, right) + 0.2 * view.coarse, dtype=np.float32)


def pyknotic(rng: np.random.Generator, view: View) -> Field:
    """A shrunken nucleus, round to angular."""
    radius, stretch = rng.uniform(1.9, 3.3), rng.uniform(1.0, 1.3)
    return radial(rng, view, radius * stretch, radius / stretch, rng.uniform(0.03, 0.3))


def fragments(rng: np.random.Generator, view: View) -> Field:
    """An apoptotic body: globules of unequal size, at times so close that they make one clump."""
    body = rng.uniform(2.0, 4.0)
    depth = np.full_like(view.u, -REACH)
    for _ in range(rng.integers(3, 8)):
        at, turn, size = rng.uniform(0.1, 0.8) * body, rng.uniform(0, 6.3), rng.uniform(0.5, 1.6)
        away = np.hypot(view.u - at * np.cos(turn), view.v - at * np.sin(turn))
        depth = np.maximum(depth, np.float32(size) - away)
    return depth


def smudged(rng: np.random.Generator, view: View) -> Field:
    """A hyperchromatic nucleus, even and dark."""
    radius, stretch = rng.uniform(3.0, 4.8), rng.uniform(1.0, 1.35)
    return radial(rng, view, radius * stretch, radius / stretch, 0.14)


def spindle(rng: np.random.Generator, view: View) -> Field:
    """A dark nucleus seen along its flat side or crushed: like a plate, but smooth and tapered."""
    length, thick = rng.uniform(6.5, 11.0), rng.uniform(2.2, 3.8)
    depth = bar(view, 0, length, thick, rng.normal(0, 0.02))
    return np.asarray(depth - 0.05 * np.abs(view.v) ** 1.5, dtype=np.float32)


def pair(rng: np.random.Generator, view: View) -> Field:
    """Two small dark nuclei side by side, as of lymphocytes: like an anaphase."""
    half, radius = rng.uniform(2.0, 3.4), rng.uniform(1.6, 2.4)
    stretch = rng.uniform(1.0, 1.5)
    depth = np.full_like(view.u, -REACH)
    for side in (-1, 1):
        beside = replace(view, u=view.u - np.float32(side * half))
        depth = np.maximum(depth, radial(rng, beside, radius / stretch, radius * stretch, 0.12))
    return depth


def coarse(rng: np.random.Generator, view: View) -> Field:
    """A resting nucleus with coarse dark clumps inside its membrane: like a prophase."""
    radius, stretch = rng.uniform(3.6, 5.0), rng.uniform(1.0, 1.25)
    oval = radial(rng, view, radius * stretch, radius / stretch, 0.1)
    lay(view, ramp(oval, -0.4, 0.4), rng.uniform(0.25, 0.55), 0.7)
    clumps = np.minimum(oval, 0.9 * view.coarse + 0.3 * view.fine + rng.uniform(-0.3, 0.3))
    membrane = np.float32(0.4) - np.abs(oval - np.float32(0.4))
    return np.asarray(np.maximum(clumps, membrane), dtype=np.float32)


# Shape and share of each kind. The shares of the look-alikes are a guess from frames seen.
MITOTIC: dict[str, tuple[Shape, float]] = {
    "prophase": (prophase, 0.12),
    "prometaphase": (MITOSES["prometaphase"], 0.27),
    "metaphase": (MITOSES["metaphase"], 0.3),
    "ring": (MITOSES["ring"], 0.08),
    "anaphase": (MITOSES["anaphase"], 0.13),
    "telophase": (telophase, 0.1),
}
LOOK_ALIKES: dict[str, tuple[Shape, float]] = {
    "pyknotic": (pyknotic, 0.22),
    "fragments": (fragments, 0.16),
    "smudged": (smudged, 0.2),
    "spindle": (spindle, 0.16),
    "pair": (pair, 0.1),
    "coarse": (coarse, 0.16),
}


@dataclass(frozen=True)
class Appearance:
    """How one figure looks, apart from its shape.

    Attributes
    ----------
    scale : float
        Size, relative to the shape's own.
    level : float
        Haematoxylin of its chromatin.
    ragged : float
        Spread of the noise of its edge, µm.
    texture : float
        Relative spread of the chromatin's density.
    defocus : float
        Standard deviation of its blur, µm.
    cell : float
        Half diameter of the cell around it, µm.
    cleared : float
        How much of the plain cytoplasm that cell replaces, 0 to 1.
    eosin : float
        Eosin of the cell.
    gap : float
        Width of the gap around the cell, µm; 0 or less for none.
    """

    scale: float
    level: float
    ragged: float
    texture: float
    defocus: float
    cell: float
    cleared: float
    eosin: float
    gap: float


def draw_appearance(
    rng: np.random.Generator, mitotic: bool, level: float, defocus: float
) -> Appearance:
    """Draw how a figure looks in a case of a mean chromatin ``level`` and ``defocus`` (µm)."""
    if mitotic:
        return Appearance(
            scale=float(np.clip(rng.normal(0.92, 0.13), 0.62, 1.15)),
            level=level * float(np.exp(rng.normal(0, 0.18))),
            ragged=rng.uniform(0.1, 0.4),
            texture=rng.uniform(0.06, 0.2),
            defocus=abs(rng.normal(0, defocus)),
            cell=rng.uniform(5.5, 8.0),
            cleared=rng.beta(2.0, 1.4),
            eosin=rng.uniform(0.16, 0.36),
            gap=rng.normal(-0.3, 0.8),
        )
    return Appearance(
        scale=float(np.clip(rng.normal(0.96, 0.13), 0.65, 1.2)),
        level=level * float(np.exp(rng.normal(-0.08, 0.2))),
        ragged=rng.uniform(0.0, 0.22),
        texture=rng.uniform(0.02, 0.16),
        defocus=abs(rng.normal(0, defocus)),
        cell=rng.uniform(4.0, 7.5),
        cleared=rng.beta(1.4, 1.6),
        eosin=rng.uniform(0.2, 0.6),
        gap=rng.normal(-0.3, 1.0),
    )


def draw_doubtful(
    rng: np.random.Generator, section: Section, kind: str, x: float, y: float, look: Appearance
) -> Figure:
    """Draw a figure of ``MITOTIC`` or ``LOOK_ALIKES`` at pixel (x, y).

    The confidence of a mitosis falls with what makes it hard to see: pale chromatin and blur.
    """
    mitotic = kind in MITOTIC
    shape, _ = (MITOTIC if mitotic else LOOK_ALIKES)[kind]
    place = view(section, x, y, REACH + 3, rng.uniform(0, np.pi))
    lay_cell(rng, place, look)
    scale = np.float32(look.scale)
    depth = scale * shape(rng, replace(place, u=place.u / scale, v=place.v / scale))
    depth += np.float32(look.ragged) * (place.fine + 0.5 * place.coarse)
    cover = cv2.GaussianBlur(ramp(depth, -0.3, 0.4), (0, 0), (0.1 + look.defocus) / section.mpp)
    density = 1 + np.float32(look.texture) * (place.coarse + 0.6 * place.fine)
    lay(place, np.asarray(cover, np.float32), np.float32(look.level) * density, 0.55)
    if mitotic:
        doubt = look.defocus + max(0.0, 1.0 - look.level)
        confidence = 1.0 if doubt < 0.45 else 0.8 if doubt < 0.7 else 0.65
    else:
        confidence = float(rng.choice([0.2, 0.0]))
    return enclose(place, depth, kind, confidence, section.mpp)


def lay_cell(rng: np.random.Generator, view: View, look: Appearance) -> None:
    """The cell around a figure, and the gap that may part it from its neighbours."""
    stretch = rng.uniform(1.0, 1.2)
    depth = radial(rng, view, look.cell * stretch, look.cell / stretch, 0.16) + 0.3 * view.coarse
    side = view.u * np.float32(rng.normal()) + view.v * np.float32(rng.normal())
    width = np.float32(max(0.0, look.gap)) * ramp(side, -5, 5)
    gap = 1 - np.float32(0.9) * ramp(depth + width, -0.2, 0.3) * ramp(-depth, -0.1, 0.4)
    cover = np.float32(look.cleared) * ramp(depth, -0.6, 1.6)
    granular = 1 + 0.14 * view.fine + 0.14 * view.coarse
    view.eosin[...] = (view.eosin + cover * (np.float32(look.eosin) * granular - view.eosin)) * gap
    view.haematoxylin[...] *= (1 - np.float32(0.8) * cover) * gap
