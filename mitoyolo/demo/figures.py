"""Mitotic figures in their phases, and the look-alikes that pathologists reject."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from mitoyolo.demo.noise import Field, ramp
from mitoyolo.demo.nuclei import lay
from mitoyolo.demo.section import Section, View, radial, view

REACH = 9.5  # µm: no annotation reaches further from the place where its figure is drawn
MARGIN = 1.0  # µm between the chromatin and the ellipse that a pathologist draws around it
ELONGATED = 0.3  # of 0 for a disc to 1 for a line: axes of ratio 1.36


@dataclass(frozen=True)
class Figure:
    """One drawn figure and its truth.

    Attributes
    ----------
    kind : str
        A key of ``MITOSES`` or ``IMPOSTERS``.
    x, y : float
        Centre of the ellipse, pixels.
    width, height : float
        Full axes of the ellipse, pixels.
    rotation : float
        Radians, y down: the width axis points along (cos, sin).
    confidence : float
        As in MITOS-ATYPIA-14: 1.0, 0.8, 0.65 for mitoses; 0.2, 0.0 for look-alikes.
    """

    kind: str
    x: float
    y: float
    width: float
    height: float
    rotation: float
    confidence: float

    @property
    def mitotic(self) -> bool:
        """Whether it is a mitosis and not a look-alike."""
        return self.confidence > 0.5


def bar(view: View, at: float, length: float, thick: float, bend: float) -> Field:
    """Depth (µm) under the outline of a bent bar along v, ``at`` µm along u."""
    across = view.u - np.float32(at) - np.float32(bend) * view.v**2
    beyond = np.maximum(np.abs(view.v) - np.float32((length - thick) / 2), 0)
    return np.asarray(np.float32(thick / 2) - np.hypot(across, beyond), dtype=np.float32)


def prometaphase(rng: np.random.Generator, view: View) -> Field:
    """An irregular clump from which chromosome arms stick out."""
    radius = rng.uniform(2.9, 3.9)
    stretch = rng.uniform(1.0, 1.25)
    depth = radial(rng, view, radius * stretch, radius / stretch, 0.16)
    turn = np.arctan2(view.v, view.u)
    arms = np.zeros_like(turn)
    for wave in (7, 11, 16):
        arms += np.cos(wave * turn + np.float32(rng.uniform(0, 6.3))) * np.float32(0.22)
    return np.asarray(depth + arms + 0.3 * view.fine + 0.3 * view.coarse, dtype=np.float32)


def metaphase(rng: np.random.Generator, view: View) -> Field:
    """The plate seen from its side: a thick bar with a fuzzy edge, at times a stray chromosome."""
    length, thick = rng.uniform(7.5, 11.5), rng.uniform(2.3, 3.4)
    depth = bar(view, 0, length, thick, rng.normal(0, 0.012))
    if rng.random() < 0.3:
        side, along = rng.choice([-1, 1]) * rng.uniform(2.2, 3.0), rng.uniform(-2.5, 2.5)
        stray = np.float32(0.7) - np.hypot(view.u - np.float32(side), view.v - np.float32(along))
        depth = np.maximum(depth, stray)
    return np.asarray(depth + 0.3 * view.fine + 0.22 * view.coarse, dtype=np.float32)


def anaphase(rng: np.random.Generator, view: View) -> Field:
    """Two parallel bars drawn apart, each bent around its pole; one figure, one annotation."""
    length, thick = rng.uniform(6.0, 8.0), rng.uniform(1.8, 2.4)
    half, bend = rng.uniform(2.2, 3.8), rng.uniform(0.0, 0.04)
    # The middle of each plate leads towards its pole, and the ends trail.
    left = bar(view, -half, length * rng.uniform(0.9, 1.1), thick, bend)
    right = bar(view, half, length, thick, -bend)
    noise = 0.26 * view.fine + 0.2 * view.coarse
    return np.asarray(np.maximum(left, right) + noise, dtype=np.float32)


def ring(rng: np.random.Generator, view: View) -> Field:
    """The plate seen from a pole: a ring with a paler hole."""
    outer, hole = rng.uniform(3.5, 4.5), rng.uniform(1.1, 1.6)
    outside = radial(rng, view, outer, outer, 0.1)
    inside = np.hypot(view.u, view.v) - np.float32(hole)
    noise = 0.34 * view.fine + 0.22 * view.coarse
    return np.asarray(np.minimum(outside, inside) + noise, dtype=np.float32)


MITOSES: dict[str, Callable[[np.random.Generator, View], Field]] = {
    "prometaphase": prometaphase,
    "metaphase": metaphase,
    "anaphase": anaphase,
    "ring": ring,
}


def pyknotic(rng: np.random.Generator, view: View) -> Field:
    """A shrunken, smooth, round and very dark nucleus in dense pink cytoplasm."""
    radius = rng.uniform(1.6, 2.7)
    shrunken_cell(rng, view, radius + rng.uniform(1.2, 2.2))
    depth = radial(rng, view, radius * 1.05, radius / 1.05, 0.04)
    lay(view, ramp(depth, -0.2, 0.25), rng.uniform(1.15, 1.45), 0.5)
    return depth


def fragments(rng: np.random.Generator, view: View) -> Field:
    """An apoptotic body: smooth globules of unequal size in dense pink cytoplasm."""
    body = rng.uniform(3.0, 4.2)
    shrunken_cell(rng, view, body)
    depth = np.full_like(view.u, -REACH)
    for _ in range(rng.integers(3, 7)):
        at, turn, size = rng.uniform(0.2, 0.75) * body, rng.uniform(0, 6.3), rng.uniform(0.4, 1.25)
        away = np.hypot(view.u - at * np.cos(turn), view.v - at * np.sin(turn))
        depth = np.maximum(depth, np.float32(size) - away)
    lay(view, ramp(depth, -0.2, 0.25), rng.uniform(1.0, 1.35), 0.5)
    return depth


def smudged(rng: np.random.Generator, view: View) -> Field:
    """A large hyperchromatic nucleus: even, smooth and blurred, without a cleared cell."""
    radius, stretch = rng.uniform(4.2, 5.8), rng.uniform(1.0, 1.25)
    depth = radial(rng, view, radius * stretch, radius / stretch, 0.12)
    level = rng.uniform(0.6, 0.8) * (1 + 0.07 * view.coarse)
    lay(view, ramp(depth, -0.8, 0.9), level.astype(np.float32), 0.85)
    return depth


IMPOSTERS: dict[str, Callable[[np.random.Generator, View], Field]] = {
    "pyknotic": pyknotic,
    "fragments": fragments,
    "smudged": smudged,
}


def shrunken_cell(rng: np.random.Generator, view: View, radius: float) -> None:
    """Dense pink cytoplasm, mostly inside a gap, as of a dying cell that left its neighbours."""
    stretch = rng.uniform(1.0, 1.3)
    depth = radial(rng, view, radius * stretch, radius / stretch, 0.2) + 0.2 * view.coarse
    side = view.u * np.float32(rng.normal()) + view.v * np.float32(rng.normal())
    width = np.float32(rng.uniform(0.3, 1.8)) * ramp(side, -6, 3) + np.float32(0.15)
    empty = 1 - np.float32(0.9) * ramp(depth + width, -0.3, 0.3)
    view.haematoxylin[...] *= empty
    view.eosin[...] *= empty
    cell = ramp(depth, -0.4, 0.5)
    level = np.float32(rng.uniform(0.4, 0.65))
    view.eosin[...] += cell * level * (1 + 0.12 * view.coarse + 0.08 * view.fine)
    view.haematoxylin[...] += cell * np.float32(rng.uniform(0.04, 0.14))


def dividing_cell(rng: np.random.Generator, view: View) -> None:
    """The rounded, paler cell of a mitosis, at times with a gap to its neighbours."""
    radius, stretch = rng.uniform(6.2, 8.2), rng.uniform(1.0, 1.15)
    depth = radial(rng, view, radius * stretch, radius / stretch, 0.14) + 0.3 * view.coarse
    cover = ramp(depth, -0.6, 2.0)
    granular = 1 + 0.16 * view.fine + 0.14 * view.coarse
    level = np.float32(rng.uniform(0.3, 0.62)) * granular
    view.eosin[...] *= 1 + cover * (level - 1)
    view.eosin[...] += cover * np.float32(rng.uniform(0.04, 0.1)) * granular  # also over a gap
    view.haematoxylin[...] *= 1 - np.float32(0.7) * cover
    if rng.random() < 0.4:
        side = view.u * np.float32(rng.normal()) + view.v * np.float32(rng.normal())
        wide = np.float32(rng.uniform(0.4, 1.6)) * ramp(side, -4, 6)
        empty = 1 - np.float32(0.9) * ramp(depth + wide, -0.2, 0.3) * ramp(-depth, -0.1, 0.4)
        view.haematoxylin[...] *= empty
        view.eosin[...] *= empty


def draw_figure(
    rng: np.random.Generator, section: Section, kind: str, x: float, y: float
) -> Figure:
    """Draw one figure at pixel (x, y) and say where its chromatin came to lie."""
    place = view(section, x, y, REACH + 3, rng.uniform(0, np.pi))
    if kind in IMPOSTERS:
        depth = IMPOSTERS[kind](rng, place)
        return enclose(place, depth, kind, float(rng.choice([0.2, 0.0])), section.mpp)
    dividing_cell(rng, place)
    depth = MITOSES[kind](rng, place)
    confidence = float(rng.choice([1.0, 0.8, 0.65], p=[0.65, 0.2, 0.15]))
    defocus = 0.12 + 1.5 * (1 - confidence)  # µm: readers doubt what lies out of focus
    cover = cv2.GaussianBlur(ramp(depth, -0.3, 0.4), (0, 0), defocus / section.mpp)
    level = rng.uniform(1.1, 1.45) * (1 + 0.1 * place.coarse + 0.06 * place.fine)
    lay(place, np.asarray(cover, np.float32), level.astype(np.float32), 0.55)
    return enclose(place, depth, kind, confidence, section.mpp)


def enclose(view: View, depth: Field, kind: str, confidence: float, mpp: float) -> Figure:
    """The ellipse of the principal axes that holds the dark pixels, with a margin.

    The axes have the ratio of the figure's second moments and are scaled until 96 % of its pixels
    lie inside; a nearly round figure keeps rotation 0, as an annotator leaves it.
    """
    rows, columns = np.nonzero(depth > 0)
    x, y = columns + view.x0 + 0.5, rows + view.y0 + 0.5  # pixel i covers i to i + 1
    (xx, xy), (_, yy) = np.cov(x, y)
    elongation = np.hypot(xx - yy, 2 * xy) / (xx + yy)  # 0 for a disc, 1 for a line
    rotation = np.arctan2(2 * xy, xx - yy) / 2 if elongation > ELONGATED else 0.0
    cos, sin = np.cos(rotation), np.sin(rotation)
    dx, dy = x - x.mean(), y - y.mean()
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    a, b = along.std(), across.std()
    scale = np.quantile(np.hypot(along / a, across / b), 0.96)
    return Figure(
        kind,
        x=float(x.mean()),
        y=float(y.mean()),
        width=float(2 * (a * scale + MARGIN / mpp)),
        height=float(2 * (b * scale + MARGIN / mpp)),
        rotation=float(rotation),
        confidence=confidence,
    )
