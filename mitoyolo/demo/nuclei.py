"""Resting nuclei: tumour cells, lymphocytes and fibroblasts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mitoyolo.demo.noise import Field, ramp
from mitoyolo.demo.section import Section, View, radial, view


@dataclass(frozen=True)
class NucleusStyle:
    """How the tumour nuclei of one case look.

    Attributes
    ----------
    radius, spread : float
        Mean half diameter (µm) and its relative spread between cells.
    openness : float
        1 for vesicular (pale with a sharp rim and clumps), 0 for evenly dark.
    """

    radius: float
    spread: float
    openness: float


def lay(view: View, cover: Field, haematoxylin: Field | float, keep_eosin: float) -> None:
    """Lay a body over what lies there: ``cover`` 0 to 1 is how much of the pixel it takes.

    A fifth of the haematoxylin below shines through: sections are thicker than one nucleus.
    """
    view.haematoxylin[...] += cover * (haematoxylin - np.float32(0.8) * view.haematoxylin)
    view.eosin[...] *= 1 - np.float32(1 - keep_eosin) * cover


def tumour_nucleus(
    rng: np.random.Generator, section: Section, x: float, y: float, style: NucleusStyle
) -> None:
    """An oval with a membrane rim, clumped chromatin and mostly one or two nucleoli."""
    radius = float(np.clip(style.radius * np.exp(rng.normal(0, style.spread)), 3.0, 8.0))
    stretch = np.exp(abs(rng.normal(0, 0.16)))
    place = view(section, x, y, radius * 1.9, rng.uniform(0, np.pi))
    depth = radial(rng, place, radius * stretch, radius / stretch, 0.11)
    openness = float(np.clip(style.openness + rng.normal(0, 0.17), 0, 1))
    blur = rng.uniform(0.2, 0.6)  # µm: nuclei lie at different depths of the section
    cover = ramp(depth, -blur, blur)
    rim = np.exp(-(((depth - np.float32(0.32)) / np.float32(0.3 + 0.4 * blur)) ** 2))
    clumps = ramp(place.coarse + 0.45 * place.fine, 0.05 + 0.5 * openness, 1.3 + 0.7 * openness)
    chromatin = (
        rng.uniform(0.28, 0.5) * (1 - openness)
        + 0.05
        + (0.2 + 0.22 * openness) * clumps
        + (0.16 + 0.3 * openness) * rim * (1 + 0.35 * place.coarse)
        + 0.06 * place.fine
    )
    for _ in range(rng.choice(4, p=[0.25, 0.4, 0.25, 0.1])):
        at, turn, size = rng.uniform(0, 0.6 * radius), rng.uniform(0, 6.3), rng.uniform(0.5, 1.05)
        away = np.hypot(place.u - at * np.cos(turn), place.v - at * np.sin(turn))
        spot = ramp(np.float32(size) - away + 0.15 * place.coarse, -0.25, 0.25)
        chromatin = chromatin + spot * rng.uniform(0.25, 0.5)
    lay(place, cover, chromatin.astype(np.float32), 0.8 - 0.45 * openness)


def lymphocyte(rng: np.random.Generator, section: Section, x: float, y: float) -> None:
    """Small, round and dark with coarse blocks of chromatin and hardly any cytoplasm."""
    radius, stretch = rng.uniform(2.3, 3.3), rng.uniform(1.0, 1.18)
    place = view(section, x, y, radius * 1.9, rng.uniform(0, np.pi))
    depth = radial(rng, place, radius * stretch, radius / stretch, 0.12)
    blocks = ramp(place.coarse + 0.5 * place.fine, -0.5, 0.8)
    chromatin = rng.uniform(0.36, 0.6) + 0.36 * blocks + 0.04 * place.fine
    lay(place, ramp(depth, -0.25, 0.3), chromatin, 0.6)


def fibroblast(
    rng: np.random.Generator, section: Section, x: float, y: float, direction: float
) -> None:
    """A thin, slightly bent spindle lying along the fibres."""
    length, width = rng.uniform(4.0, 8.0), rng.uniform(0.8, 1.7)
    place = view(section, x, y, length * 1.3, direction + rng.normal(0, 0.12))
    bend = np.float32(rng.normal(0, 0.012))
    across = np.abs(place.v - bend * place.u**2)
    half = np.float32(width) * np.clip(1 - (place.u / np.float32(length)) ** 2, 0, 1)
    cover = ramp(half - across, -0.3, 0.35) * (np.abs(place.u) < length)
    level = rng.uniform(0.3, 0.75)
    chromatin = np.float32(level) * (1 + 0.2 * place.coarse + 0.1 * place.fine)
    lay(place, cover, chromatin, 0.7)
