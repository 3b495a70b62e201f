"""A whole slide with known truth: a pyramid of rendered tissue, as large as wanted.

A pool of tissue and of figures is rendered once. The slide is laid out from it band by band, each
band is encoded and forgotten, so that a slide of 40,000 px needs little memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tifffile

from converters.errors import InputError
from converters.files import write_with
from mitoyolo.demo.noise import Field, ramp, value_noise
from mitoyolo.demo.stain import Image
from mitoyolo.demo.tissue import Style, draw_style, render_tile
from mitoyolo.demo.write import DEMO_MPP, SMALLEST, stream
from mitoyolo.images import encode_jpeg

SLIDE = 2  # first word of a random stream: after those of mitoyolo.demo.write
STYLE, TISSUE, FIGURE, PLAN, ROW = range(5)  # second word

BLOCK = 512  # px: side of a block of tissue; a band is a row of blocks
SEAM = 32  # px over which neighbouring blocks pass into one another
BLOCKS, FIGURES = 16, 24  # rendered blocks; figures of each label
REACH = 13.0  # µm from a figure's centre: what is pasted with it, its cell and some neighbourhood
FEATHER = 3.0  # µm over which that passes into what lies there
ROOM = 40.0  # µm: side of a cell of the plan, which holds at most one figure
COARSE = 64  # px a pixel of the outline
RIM = 4.0  # px over which tissue passes into glass

TILE = 256  # px: side of the file's tiles
STEP = 4  # each level is so much smaller than the one before, as on Aperio's slides
SMALL = 1000  # px: a level under this is the last
QUALITY = 85  # of the JPEG tiles; scanners use 70 to 90


class Truth(NamedTuple):
    """A figure's centre in level-0 pixels, and ``mitosis`` or ``imposter``."""

    x: float
    y: float
    label: str


def render_slide(
    path: Path,
    *,
    width: int,
    height: int,
    mpp: float = DEMO_MPP,
    mitoses: float = 10.0,
    imposters: float = 20.0,
    seed: int = 0,
) -> list[Truth]:
    """Write a tiled, pyramidal TIFF of tissue on glass, with its µm/px.

    The same arguments give the same file and truths under the same versions of NumPy, OpenCV and
    tifffile.

    Parameters
    ----------
    path : Path
        The file, ``.tif`` or ``.tiff``.
    width, height : int
        Of level 0, pixels.
    mpp : float
        µm per pixel, of both axes.
    mitoses, imposters : float
        Figures per mm² of tissue; they crowd in some places, as in tumours.

    Returns
    -------
    list of Truth
        From top to bottom.

    Raises
    ------
    InputError
        The slide is too small for a figure.
    """
    if min(width, height) < SMALLEST:
        raise InputError(f"a slide needs a side of at least {SMALLEST} px, not {width} x {height}")
    style = draw_style(stream(seed, SLIDE, STYLE))
    outline = draw_outline(stream(seed, SLIDE, PLAN, 0), width, height)
    plan = stream(seed, SLIDE, PLAN, 1)
    placed = place(plan, outline, (width, height), mpp, {"mitosis": mitoses, "imposter": imposters})
    figures = {label: render_figures(seed, style, mpp, label) for label in ("mitosis", "imposter")}
    pasted = [
        paste_at(figures[label][plan.integers(FIGURES)], x, y, int(plan.integers(8)), label)
        for x, y, label in placed
    ]
    blocks = [
        render_tile(stream(seed, SLIDE, TISSUE, i), style, BLOCK + SEAM, mpp, 0, 0)[0]
        for i in range(BLOCKS)
    ]
    bands = lay_bands(seed, style, blocks, outline, pasted, (width, height))
    write_with(path, lambda file: write_pyramid(file, bands, (width, height), mpp))
    return sorted((item.truth for item in pasted), key=lambda truth: (truth.y, truth.x))


# --- the plan ---------------------------------------------------------------------------------


def draw_outline(rng: np.random.Generator, width: int, height: int) -> Field:
    """Distance to the tissue's edge in pixels of the slide, roughly: positive inside.

    Returns
    -------
    (height, width) array of float32
        A pixel of it is :data:`COARSE` px of the slide; its centres lie on multiples of that.
    """
    rows, columns = height // COARSE + 2, width // COARSE + 2
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    across, down = x * COARSE / width * 2 - 1, y * COARSE / height * 2 - 1
    grain = max(rows, columns) / 5
    uneven = value_noise(rng, (rows, columns), grain) * 0.12
    uneven += value_noise(rng, (rows, columns), max(grain / 6, 2)) * 0.03
    return np.asarray((0.85 - np.hypot(across, down) + uneven) * min(width, height) / 2, np.float32)


def place(
    rng: np.random.Generator,
    outline: Field,
    size: tuple[int, int],
    mpp: float,
    densities: dict[str, float],
) -> list[Truth]:
    """Where figures go: at most one in each cell of a grid, never near another or the edge."""
    cell, reach = ROOM / mpp, np.ceil(REACH / mpp) + 1
    x, y = np.meshgrid(*(np.arange(cell / 2, side - cell / 2 + 1, cell) for side in size))
    centres = np.column_stack([x.ravel(), y.ravel()])
    at = tuple(np.rint(centres / COARSE).astype(int).T[::-1])
    room = outline[at] > 2 * reach + COARSE
    crowd = np.exp(1.5 * value_noise(rng, outline.shape, max(2.0, 1500 / mpp / COARSE)))[at]
    tissue = float(np.count_nonzero(outline > 0)) * (COARSE * mpp) ** 2 / 1e6
    labels = [label for label, density in densities.items() for _ in range(round(density * tissue))]
    wanted = min(len(labels), int(room.sum()))
    chance = np.where(room, crowd, 0)
    if not wanted:
        return []
    chosen = rng.choice(len(centres), wanted, replace=False, p=chance / chance.sum())
    shaken = centres[chosen] + rng.uniform(-1, 1, (wanted, 2)) * (cell / 2 - reach)
    mixed = rng.permutation(len(labels))[:wanted]
    return [Truth(x, y, labels[i]) for (x, y), i in zip(shaken.tolist(), mixed, strict=True)]


# --- figures ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Patch:
    """A figure with its neighbourhood: a square of pixels, and the figure's centre in them."""

    pixels: Image
    x: float
    y: float


@dataclass(frozen=True)
class Pasted:
    """A patch on the slide: its upper left pixel, and the truth."""

    pixels: Image
    left: int
    top: int
    truth: Truth


def render_figures(seed: int, style: Style, mpp: float, label: str) -> list[Patch]:
    """:data:`FIGURES` patches of a label, each from a tile of its own."""
    is_mitosis = label == "mitosis"
    size = max(SMALLEST, int(2 * (REACH + ROOM / 4) / mpp))
    half = int(np.ceil(REACH / mpp))
    patches: list[Patch] = []
    for attempt in range(4 * FIGURES):
        rng = stream(seed, SLIDE, FIGURE, int(is_mitosis), attempt)
        image, found = render_tile(rng, style, size, mpp, int(is_mitosis), int(not is_mitosis))
        if not found:
            continue
        figure = found[0]
        left, top = int(figure.x) - half, int(figure.y) - half
        if min(left, top) >= 0 and max(left, top) + 2 * half + 1 <= size:
            square = image[top : top + 2 * half + 1, left : left + 2 * half + 1]
            patches.append(Patch(square, figure.x - left, figure.y - top))
        if len(patches) == FIGURES:
            break
    return patches


def paste_at(patch: Patch, x: float, y: float, turn: int, label: str) -> Pasted:
    """A patch turned by ``turn`` % 4 quarters, mirrored from 4 on, with its middle about (x, y)."""
    side = len(patch.pixels)
    pixels, u, v = patch.pixels, patch.x, patch.y
    if turn >= 4:
        pixels, u = pixels[:, ::-1], side - u
    for _ in range(turn % 4):  # anticlockwise
        pixels, u, v = np.rot90(pixels), v, side - u
    left, top = int(x) - side // 2, int(y) - side // 2
    return Pasted(pixels, left, top, Truth(left + u, top + v, label))


# --- bands ------------------------------------------------------------------------------------


def lay_bands(
    seed: int,
    style: Style,
    blocks: list[Image],
    outline: Field,
    pasted: list[Pasted],
    size: tuple[int, int],
) -> Iterator[Image]:
    """The slide from top to bottom in bands of :data:`BLOCK` rows, the last one cut."""
    width, height = size
    noise = stream(seed, SLIDE, ROW).normal(0, style.stain.noise / 2, (BLOCK, BLOCK, 3))
    glass = np.clip(np.rint(style.stain.white + noise), 0, 255).astype(np.uint8)
    weight = np.linspace(0, 1, SEAM, dtype=np.float32)[:, None, None]
    above = None
    for row in range(-(-height // BLOCK)):
        rng = stream(seed, SLIDE, ROW, row)
        strip = lay_strip(rng, blocks, -(-width // BLOCK))
        band = strip[:BLOCK].copy()
        if above is not None:
            band[:SEAM] = blend(above, band[:SEAM], weight)
        above = strip[BLOCK:]
        cut_out(band, glass, outline, row)
        band = band[: height - row * BLOCK, :width]
        for item in pasted:
            paste(band, item, row * BLOCK)
        yield band


def lay_strip(rng: np.random.Generator, blocks: list[Image], columns: int) -> Image:
    """A row of blocks that pass into one another, and :data:`SEAM` rows more for the next."""
    strip = np.empty((BLOCK + SEAM, columns * BLOCK + SEAM, 3), np.uint8)
    weight = np.linspace(0, 1, SEAM, dtype=np.float32)[None, :, None]
    for column in range(columns):
        block = np.rot90(blocks[rng.integers(len(blocks))], int(rng.integers(4)))
        if rng.random() < 0.5:
            block = block[::-1]
        x = column * BLOCK
        before = strip[:, x : x + SEAM].copy()
        strip[:, x : x + BLOCK + SEAM] = block
        if column:
            strip[:, x : x + SEAM] = blend(before, block[:, :SEAM], weight)
    return strip[:, : columns * BLOCK]


def blend(before: Image, after: Image, weight: Field) -> Image:
    """From one picture to the other as ``weight`` goes from 0 to 1."""
    mixed = before * (1 - weight) + after * weight
    return np.asarray(mixed + np.float32(0.5), np.uint8)


def cut_out(band: Image, glass: Image, outline: Field, row: int) -> None:
    """Lay glass over a band wherever there is no tissue."""
    for x in range(0, band.shape[1], BLOCK):
        place = np.array([[1 / COARSE, 0, x / COARSE], [0, 1 / COARSE, row * BLOCK / COARSE]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        depth = cv2.warpAffine(
            outline, place, (BLOCK, BLOCK), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        if depth.min() >= RIM:
            continue
        cover = ramp(np.asarray(depth, np.float32), 0, RIM)[..., None]
        block = band[:, x : x + BLOCK]
        block[...] = blend(glass, block, cover)


def paste(band: Image, item: Pasted, top: int) -> None:
    """Lay the part of a patch that falls into a band whose first row is ``top`` of the slide."""
    side = len(item.pixels)
    first, last = max(item.top - top, 0), min(item.top + side - top, len(band))
    if first >= last:
        return
    lines = slice(first + top - item.top, last + top - item.top)
    y, x = (np.mgrid[:side, :side].astype(np.float32) - side // 2) / np.float32(side // 2)
    cover = ramp(1 - np.hypot(x, y), 0, FEATHER / REACH)[lines, :, None]
    place = band[first:last, item.left : item.left + side]
    place[...] = blend(place, item.pixels[lines], cover)


# --- the file ---------------------------------------------------------------------------------


class Level:
    """One level as it grows from above: whole rows of tiles are encoded, the rest waits."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.tiles: list[bytes] = []
        self._waiting: list[Image] = []
        self._rows = 0

    def add(self, rows: Image) -> None:
        """Take the next rows; those beyond the last are the caller's mistake."""
        self._waiting.append(rows)
        self._rows += len(rows)
        waiting = sum(map(len, self._waiting))
        is_last = self._rows == self.height
        if waiting < TILE and not is_last:
            return
        ready = np.concatenate(self._waiting)
        whole = len(ready) if is_last else waiting - waiting % TILE
        self._waiting = [ready[whole:]]
        for y in range(0, whole, TILE):
            for x in range(0, self.width, TILE):
                self.tiles.append(encode(ready[y : y + TILE, x : x + TILE]))

    def take(self) -> list[bytes]:
        """The tiles so far, which are forgotten here."""
        tiles, self.tiles = self.tiles, []
        return tiles


def write_pyramid(file: Path, bands: Iterator[Image], size: tuple[int, int], mpp: float) -> None:
    """Write bands as level 0, and its reductions as the pages that follow."""
    levels = [Level(*size)]
    while min(levels[-1].width, levels[-1].height) >= SMALL:
        levels.append(Level(levels[-1].width // STEP, levels[-1].height // STEP))

    def finest() -> Iterator[bytes]:
        for band in bands:
            for level in levels:
                level.add(band[:, : level.width])
                band = reduce(band)
            yield from levels[0].take()

    with tifffile.TiffWriter(file, bigtiff=3 * size[0] * size[1] > 2**32) as tiff:
        for i, level in enumerate(levels):
            per_cm = 10_000 / (mpp * STEP**i)
            tiff.write(
                finest() if i == 0 else iter(level.tiles),
                shape=(level.height, level.width, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                subfiletype=int(i > 0),
                metadata=None,
                software="mitoyolo demo",
            )


def reduce(rows: Image) -> Image:
    """Means of :data:`STEP` x :data:`STEP` pixels; what does not divide is left out."""
    height, width = rows.shape[0] // STEP, rows.shape[1] // STEP
    if not height or not width:
        return rows[:0, :width]
    whole = rows[: height * STEP, : width * STEP]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def encode(tile: Image) -> bytes:
    """A JPEG of a whole tile; one at the slide's edge is filled with its last row and column."""
    missing = ((0, TILE - tile.shape[0]), (0, TILE - tile.shape[1]), (0, 0))
    return encode_jpeg(np.pad(tile, missing, "edge"), QUALITY)
