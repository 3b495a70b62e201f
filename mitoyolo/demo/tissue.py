"""One tile: fibres, cells and gaps laid out, nuclei and figures drawn into them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mitoyolo.demo.figures import IMPOSTERS, MITOSES, REACH, Figure, draw_figure
from mitoyolo.demo.noise import Field, ramp, value_noise
from mitoyolo.demo.nuclei import NucleusStyle, fibroblast, lymphocyte, tumour_nucleus
from mitoyolo.demo.section import Section, blank, radial, view
from mitoyolo.demo.stain import Image, Stain, develop, draw_stain

EDGE = 6.0  # µm between a figure's annotation and the tile's edge
ROOM = 9.0  # µm around a figure without a tumour nucleus
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Style:
    """What the tiles of one case have in common.

    Attributes
    ----------
    stain : Stain
        Dyes and scanner.
    nucleus : NucleusStyle
        Tumour nuclei.
    epithelium : float
        Share of the area that is tumour, 0 to 1.
    spacing : float
        Distance between tumour cells, µm.
    cytoplasm : (float, float)
        Haematoxylin and eosin of tumour cytoplasm.
    cracks : float
        How readily cells and fibres part, about -1 (hardly) to 1 (everywhere).
    foam : float
        Depth of the vacuoles in the cytoplasm, 0 to 1.
    lymphocytes : float
        Lymphocytes per 1000 µm² of stroma.
    """

    stain: Stain
    nucleus: NucleusStyle
    epithelium: float
    spacing: float
    cytoplasm: tuple[float, float]
    cracks: float
    foam: float
    lymphocytes: float


def draw_style(rng: np.random.Generator) -> Style:
    """Draw one case: its tumour's grade and growth, its fixation, its stain."""
    radius = rng.uniform(3.7, 5.2)
    return Style(
        stain=draw_stain(rng),
        nucleus=NucleusStyle(radius, rng.uniform(0.08, 0.22), rng.uniform(0.25, 1.0)),
        epithelium=rng.uniform(0.5, 0.9),
        spacing=radius * rng.uniform(2.5, 3.1),
        cytoplasm=(rng.uniform(0.02, 0.26), rng.uniform(0.18, 0.34)),
        cracks=rng.uniform(-1.0, 0.6),
        foam=rng.uniform(0.1, 0.6),
        lymphocytes=rng.uniform(0.3, 2.5),
    )


def render_tile(
    rng: np.random.Generator, style: Style, size: int, mpp: float, mitoses: int, imposters: int
) -> tuple[Image, list[Figure]]:
    """Draw one tile.

    Parameters
    ----------
    size : int
        Side, pixels.
    mpp : float
        µm per pixel.
    mitoses, imposters : int
        Figures wanted; fewer are drawn where a small tile has no room.

    Returns
    -------
    image : (size, size, 3) array of uint8
        RGB.
    figures : list of Figure
        Mitoses, then look-alikes.
    """
    section = blank(rng, size, mpp)
    kinds = [*rng.choice(list(MITOSES), mitoses, p=[0.3, 0.35, 0.2, 0.15])]
    kinds += [*rng.choice(list(IMPOSTERS), imposters, p=[0.4, 0.25, 0.35])]
    spots = figure_spots(rng, len(kinds), size, mpp)
    lay_tissue(rng, section, style, spots)
    figures = [
        draw_figure(rng, section, kind, x, y) for kind, (x, y) in zip(kinds, spots, strict=False)
    ]
    return develop(section.haematoxylin, section.eosin, style.stain, rng), figures


def lay_tissue(
    rng: np.random.Generator, section: Section, style: Style, spots: Points, room: float = ROOM
) -> None:
    """Fibres, cytoplasm, holes and resting nuclei, with a place left free at every spot.

    Parameters
    ----------
    spots : (n, 2) array
        Where figures will be drawn, pixels; each comes to lie in a nest of tumour cells.
    room : float
        µm around a spot without a tumour nucleus.
    """
    size, mpp = section.size, section.mpp
    tumour = tumour_field(rng, style, spots, size, mpp)
    cells = cell_centres(rng, style, spots, size, mpp, room)

    direction = lay_fibres(rng, section, style, tumour)
    lay_cytoplasm(rng, section, style, tumour, np.vstack([cells, spots]))
    lay_holes(rng, section, tumour, spots)
    draw_stroma_cells(rng, section, style, tumour, spots, direction)
    for x, y in cells:
        if tumour[pixel(x, y, size)] > 0.6 and rng.random() > 0.05:
            tumour_nucleus(rng, section, x, y, style.nucleus)


def pixel(x: float, y: float, size: int) -> tuple[int, int]:
    """Row and column nearest to a point, within the tile."""
    return min(max(int(y), 0), size - 1), min(max(int(x), 0), size - 1)


def figure_spots(rng: np.random.Generator, count: int, size: int, mpp: float) -> Points:
    """Up to ``count`` places, (n, 2) pixels, apart from each other and from the edge."""
    low = (EDGE + REACH) / mpp
    spots: list[Points] = []
    for _ in range(40 * count):
        spot = rng.uniform(low, size - low, 2) if size > 2 * low else np.full(2, size / 2)
        if all(np.hypot(*(spot - other)) > 2 * REACH / mpp for other in spots):
            spots.append(spot)
        if len(spots) == count:
            break
    return np.array(spots).reshape(-1, 2)


def tumour_field(
    rng: np.random.Generator, style: Style, spots: Points, size: int, mpp: float
) -> Field:
    """1 in tumour nests, 0 in stroma; every figure lies in a nest."""
    shape = (size, size)
    field = value_noise(rng, shape, 55 / mpp) + 0.25 * value_noise(rng, shape, 9 / mpp)
    for x, y in spots:
        rows, columns = np.ogrid[:size, :size]
        squared = (columns - np.float32(x)) ** 2 + (rows - np.float32(y)) ** 2
        field += 3 * np.exp(-squared / np.float32(2 * (10 / mpp) ** 2))
    # Of normal values of spread 1, the share above this level is about the wanted one.
    level = 2.0 * (0.5 - style.epithelium) * 1.3
    return ramp(field, level - 0.12, level + 0.12)


def cell_centres(
    rng: np.random.Generator, style: Style, spots: Points, size: int, mpp: float, room: float
) -> Points:
    """A shaken hexagonal grid of cells, (n, 2) pixels, with room left around the figures."""
    step = style.spacing / mpp
    rows, columns = np.mgrid[-1 : size / step / 0.87 + 2, -1 : size / step + 2]
    points = np.column_stack([(columns + rows % 2 / 2).ravel(), 0.87 * rows.ravel()]) * step
    points += rng.normal(0, 0.19 * step, points.shape)
    for spot in spots:
        points = points[np.hypot(*(points - spot).T) > room / mpp + 0.2 * step]
    seen = ((points > -step) & (points < size + step)).all(axis=1)
    return np.asarray(points[seen])


def lay_fibres(rng: np.random.Generator, section: Section, style: Style, tumour: Field) -> Field:
    """Wavy collagen bundles between the nests.

    A lattice of noise, long along the fibres and narrow across them, is read at coordinates that
    a smooth displacement bends.

    Returns
    -------
    (size, size) array
        Direction of the fibres, radians, y down.
    """
    size, mpp = section.size, section.mpp
    shape, turn = (size, size), rng.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    y, x = np.mgrid[:size, :size].astype(np.float32) * np.float32(mpp)
    along = x * cos + y * sin
    across = y * cos - x * sin
    across += 5.5 * value_noise(rng, shape, 40 / mpp) + 0.9 * value_noise(rng, shape, 9 / mpp)
    dy, dx = np.gradient(cv2.GaussianBlur(across, (0, 0), 2 / mpp))

    def strands(length: float, width: float) -> Field:
        lattice = rng.standard_normal((256, 64), dtype=np.float32)
        at = (along / np.float32(length) + 32, across / np.float32(width) + 128)
        read = cv2.remap(lattice, *at, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
        return np.asarray(1.35 * read, dtype=np.float32)

    bundles, fibres, fibrils = strands(40, 4.5), strands(26, 1.4), strands(12, 0.6)
    eosin = 0.32 + 0.045 * bundles + 0.06 * fibres + 0.055 * fibrils + 0.03 * section.fine
    loose = value_noise(rng, shape, 25 / mpp) + np.float32(style.cracks)
    gaps = ramp(0.6 * bundles + 0.9 * fibres + 0.8 * loose - 0.3 * fibrils, 1.3, 2.0)
    stroma = 1 - tumour
    section.eosin[...] += stroma * np.clip(eosin, 0.05, None) * (1 - np.float32(0.95) * gaps)
    section.haematoxylin[...] += stroma * np.clip(0.05 + 0.02 * fibres, 0, None) * (1 - gaps)
    return np.asarray(np.arctan2(dx, -dy), dtype=np.float32)


def lay_cytoplasm(
    rng: np.random.Generator, section: Section, style: Style, tumour: Field, cells: Points
) -> None:
    """Tumour cells as a Voronoi mosaic: each its own tone, parted along some of the borders."""
    size, mpp = section.size, section.mpp
    shape = (size, size)
    pad = int(2 * style.spacing / mpp)
    seeds = np.full((size + 2 * pad, size + 2 * pad), 255, np.uint8)
    at = np.rint(cells).astype(int) + pad
    at = at[((at >= 0) & (at < size + 2 * pad)).all(axis=1)]
    seeds[at[:, 1], at[:, 0]] = 0
    _, labels = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # Bend the straight borders by reading the mosaic at displaced pixels.
    y, x = np.mgrid[:size, :size].astype(np.float32) + np.float32(pad)
    x += 1.5 / mpp * value_noise(rng, shape, 5 / mpp)
    y += 1.5 / mpp * value_noise(rng, shape, 5 / mpp)
    labels = cv2.remap(labels.astype(np.float32), x, y, cv2.INTER_NEAREST).astype(np.int32)
    inner = np.ones(shape, np.uint8)
    inner[:, 1:] &= labels[:, 1:] == labels[:, :-1]
    inner[1:] &= labels[1:] == labels[:-1]
    border = cv2.distanceTransform(inner, cv2.DIST_L2, cv2.DIST_MASK_5) * np.float32(mpp)

    tone = rng.normal(1, 0.17, int(labels.max()) + 1).astype(np.float32)[labels]
    tone = cv2.GaussianBlur(tone, (0, 0), 0.6 / mpp)
    foam = value_noise(rng, shape, 2.2 / mpp)
    cloud = value_noise(rng, shape, 7 / mpp)
    grain = 1 + 0.13 * section.fine + 0.15 * section.coarse + 0.12 * cloud
    grain -= np.float32(style.foam) * ramp(foam, 0.3, 1.6)
    haematoxylin, eosin = style.cytoplasm
    membrane = 1 + np.float32(rng.uniform(0.1, 0.35)) * np.exp(-((border / np.float32(0.5)) ** 2))
    parting = 1.5 * (value_noise(rng, shape, 16 / mpp) + np.float32(style.cracks) - 0.9)
    parting = np.minimum(parting, 1.8)  # cells shrink in fixation but do not vanish
    gaps = ramp(parting + 0.28 * section.coarse + 0.25 * cloud - border, -0.3, 0.5)
    cover = tumour * (1 - np.float32(0.95) * gaps)
    section.eosin[...] += cover * tone * grain * membrane * np.float32(eosin)
    section.haematoxylin[...] += cover * tone * grain * np.float32(haematoxylin)


def lay_holes(rng: np.random.Generator, section: Section, tumour: Field, spots: Points) -> None:
    """Fat cells, gland lumens and vessels: glass with a rim, clear of the figures."""
    size, mpp = section.size, section.mpp
    area = (size * mpp) ** 2
    for _ in range(rng.poisson(area / 14000)):
        x, y = rng.uniform(0, size, 2)
        fat = tumour[pixel(x, y, size)] < 0.5
        radius = rng.uniform(12, 26) if fat else rng.uniform(4, 11)
        if any(np.hypot(*(spot - (x, y))) < (radius * 1.3 + 9) / mpp for spot in spots):
            continue
        place = view(section, x, y, radius * 1.6, rng.uniform(0, np.pi))
        stretch = np.exp(rng.normal(0, 0.15))
        depth = radial(rng, place, radius * stretch, radius / stretch, 0.08 if fat else 0.2)
        depth += 0.25 * place.coarse * (0.3 if fat else 1)
        empty = 1 - np.float32(0.97) * ramp(depth, -0.3, 0.3)
        place.eosin[...] += 0.2 * np.exp(-(((depth + np.float32(0.6)) / np.float32(0.5)) ** 2))
        place.eosin[...] *= empty
        place.haematoxylin[...] *= empty


def draw_stroma_cells(
    rng: np.random.Generator,
    section: Section,
    style: Style,
    tumour: Field,
    spots: Points,
    direction: Field,
) -> None:
    """Fibroblasts along the fibres, and lymphocytes in clusters that also enter the nests."""
    size, mpp = section.size, section.mpp
    area = (size * mpp) ** 2
    crowd = value_noise(rng, (size, size), 20 / mpp)
    for x, y in rng.uniform(0, size, (rng.poisson(5.0 * area / 1000), 2)):
        at = pixel(x, y, size)
        if tumour[at] < 0.35 and section.eosin[at] > 0.1:
            fibroblast(rng, section, x, y, float(direction[at]))
    for x, y in rng.uniform(0, size, (rng.poisson(3 * style.lymphocytes * area / 1000), 2)):
        at = pixel(x, y, size)
        if any(np.hypot(*(spot - (x, y))) < 11 / mpp for spot in spots):
            continue
        if crowd[at] > (0.6 if tumour[at] < 0.5 else 1.9):
            lymphocyte(rng, section, x, y)
