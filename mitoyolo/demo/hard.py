"""``mitoyolo demo --hard``: frames on which a detector's scores spread instead of saturating.

In the layout of MITOS-ATYPIA-14, which holds the look-alikes too. Each case has its own tumour,
stain, scanner, focus, section thickness, JPEG quality and rates of mitoses and look-alikes; on its
frames lie folds, ink and debris. docs/benchmark-data.md compares the set with real frames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from converters.files import write_text
from mitoyolo.demo.doubtful import LOOK_ALIKES, MITOTIC, draw_appearance, draw_doubtful
from mitoyolo.demo.figures import Figure
from mitoyolo.demo.noise import Field, ramp, value_noise
from mitoyolo.demo.section import Section, blank
from mitoyolo.demo.stain import Image, Stain, develop, draw_stain
from mitoyolo.demo.tissue import Points, Style, draw_style, figure_spots, lay_tissue
from mitoyolo.demo.write import APERIO_MPP, check_sizes, stream, tally, write_frame
from mitoyolo.images import encode_jpeg

HAMAMATSU_MPP = 0.2273  # µm/px of the MITOS-ATYPIA-14 frames whose case name starts with H
HARD, STYLE, FRAME = 3, 0, 1  # words of a random stream
CLEAR = 15.0  # µm between a fold or ink and the centre of a figure: nobody marks what they hide


@dataclass(frozen=True)
class Case:
    """What the frames of one case have in common.

    Attributes
    ----------
    name : str
        Scanner letter and number, such as ``H03``.
    style : Style
        Tumour and stain.
    mpp : float
        µm per pixel of its scanner.
    mitoses, look_alikes, unmarked : float
        Mean numbers a frame; the unmarked are dark nuclei that nobody took for mitoses.
    level : float
        Haematoxylin of the chromatin of figures.
    resting : float
        Haematoxylin of resting nuclei, relative to that of the plain demo.
    defocus : float
        Spread of the blur of frames and figures, µm.
    thickness : float
        Relative spread of the section's thickness.
    fold, ink : float
        Share of its frames that have one.
    sharpening : float
        Of the scanner, 0 for none.
    quality : int
        Of the scanner's JPEG, to 100.
    """

    name: str
    style: Style
    mpp: float
    mitoses: float
    look_alikes: float
    unmarked: float
    level: float
    resting: float
    defocus: float
    thickness: float
    fold: float
    ink: float
    sharpening: float
    quality: int


def write_hard(
    out: Path,
    *,
    seed: int = 0,
    cases: int = 20,
    tiles: int = 10,
    size: int = 512,
    progress: Callable[[], object] | None = None,
) -> dict[str, int]:
    """Write ``out/atypia14`` and ``out/split.csv``, the split of its cases.

    Every frame has a random stream of its own, so it does not depend on how many others are
    written. The same seed gives the same bytes under the same versions of NumPy and OpenCV.

    Parameters
    ----------
    tiles : int
        Frames a case.
    size : int
        Side of an Aperio frame (0.2455 µm/px), pixels. A Hamamatsu frame (0.2273) shows as much
        tissue on more pixels, as in the challenge.
    progress : callable, optional
        Called after each frame.

    Returns
    -------
    dict
        ``cases``, ``tiles`` (frames), ``mitoses`` and ``imposters``, all marked.

    Raises
    ------
    InputError
        Fewer than one case or frame, or frames too small to hold a figure.
    """
    check_sizes(cases, tiles, size)
    counts: Counter[str] = Counter(cases=cases, tiles=0, mitoses=0, imposters=0)
    drawn = [draw_case(stream(seed, HARD, STYLE, index), index) for index in range(cases)]
    for index, case in enumerate(drawn):
        side = round(size * APERIO_MPP / case.mpp)
        for frame in range(tiles):
            rng = stream(seed, HARD, FRAME, index, frame)
            image, figures = render_frame(rng, case, side, least=int(frame == 0))
            write_frame(out / "atypia14", case.name, frame, image, figures)
            tally(counts, figures)
            if progress:
                progress()
    rows = [f"{case.name[1:]},{part(i, cases)}\n" for i, case in enumerate(drawn)]
    write_text(out / "split.csv", "case,split\n" + "".join(rows))
    return dict(counts)


def part(index: int, cases: int) -> str:
    """The first half of the cases trains, a fifth validates, the rest tests."""
    return "train" if 2 * index < cases else "val" if 10 * index < 7 * cases else "test"


def draw_case(rng: np.random.Generator, index: int) -> Case:
    """Draw one case. Two scanners take turns."""
    letter, mpp = (("A", APERIO_MPP), ("H", HAMAMATSU_MPP))[index % 2]
    style = draw_style(rng)
    # About two look-alikes a mitosis, and a ratio that spreads over cases as in the challenge.
    mitoses = np.clip(np.exp(rng.normal(0.35, 0.4)), 0.6, 3)
    look_alikes = np.clip(np.exp(rng.normal(1.0, 0.55)), 0.6, 6)
    return Case(
        name=f"{letter}{index + 1:02d}",
        style=replace(
            style,
            stain=draw_wide_stain(rng),
            nucleus=replace(style.nucleus, spread=rng.uniform(0.12, 0.3)),
            lymphocytes=rng.uniform(0.5, 6),
        ),
        mpp=mpp,
        mitoses=float(mitoses),
        look_alikes=float(look_alikes),
        unmarked=rng.uniform(0.5, 4),
        level=rng.uniform(0.9, 1.35),
        resting=rng.uniform(0.6, 0.95),
        defocus=rng.uniform(0.1, 0.45),
        thickness=rng.uniform(0.03, 0.16),
        fold=rng.uniform(0, 0.15),
        ink=rng.uniform(0, 0.06),
        sharpening=rng.uniform(0, 1.4),
        quality=int(rng.integers(60, 93)),
    )


def draw_wide_stain(rng: np.random.Generator) -> Stain:
    """Dyes and scanner from wider ranges than those of one laboratory."""
    stain = draw_stain(rng)
    vectors = np.clip(stain.vectors + rng.normal(0, 0.05, (2, 3)), 0.02, None)
    strength = np.exp(rng.normal(0, 0.16)) * rng.uniform([[0.75], [0.65]], [[1.15], [1.35]])
    white = np.clip(stain.white + rng.normal(0, [5, 9, 7]), 205, 255)
    return Stain(vectors * strength, white, rng.uniform(0.75, 1.3), rng.uniform(1.0, 3.0))


def render_frame(
    rng: np.random.Generator, case: Case, size: int, least: int = 0
) -> tuple[Image, list[Figure]]:
    """Draw one frame of ``size`` pixels a side and its figures: ``least`` mitoses or more."""
    section = blank(rng, size, case.mpp)
    kinds = draw_kinds(rng, MITOTIC, max(least, rng.poisson(case.mitoses)))
    kinds += draw_kinds(rng, LOOK_ALIKES, rng.poisson(case.look_alikes))
    spots = figure_spots(rng, len(kinds), size, case.mpp)
    # Spindles and pairs lie in the stroma as well as in the nests.
    in_nests = [kind not in ("spindle", "pair") for kind in kinds[: len(spots)]]
    lay_tissue(rng, section, case.style, spots[in_nests], room=6.5)
    section.haematoxylin[...] *= np.float32(case.resting)
    for x, y in rng.uniform(0, size, (rng.poisson(case.unmarked), 2)):
        if apart(x, y, spots, CLEAR / case.mpp):
            (kind,) = draw_kinds(rng, LOOK_ALIKES, 1)
            look = draw_appearance(rng, False, 0.6 * case.level, case.defocus)
            draw_doubtful(rng, section, kind, x, y, look)
    figures = [
        draw_doubtful(
            rng,
            section,
            kind,
            x,
            y,
            draw_appearance(rng, kind in MITOTIC, case.level, case.defocus),
        )
        for kind, (x, y) in zip(kinds, spots, strict=False)
    ]
    vary_thickness(rng, section, case.thickness)
    if rng.random() < case.fold:
        lay_fold(rng, section, spots)
    foreign = np.zeros((size, size, 3), np.float32)
    lay_debris(rng, foreign, case.mpp)
    if rng.random() < case.ink:
        lay_ink(rng, foreign, spots, case.mpp)
    stain = replace(
        case.style.stain,
        psf=float(np.hypot(case.style.stain.psf, 0.7 * rng.normal(0, case.defocus) / case.mpp)),
    )
    image = develop(section.haematoxylin, section.eosin, stain, rng, foreign)
    return scanned(image, case.sharpening, case.quality), figures


def draw_kinds(
    rng: np.random.Generator, shares: Mapping[str, tuple[object, float]], count: int
) -> list[str]:
    """``count`` kinds by their shares."""
    return [*map(str, rng.choice(list(shares), count, p=[share for _, share in shares.values()]))]


def apart(x: float, y: float, spots: Points, distance: float) -> bool:
    """Whether a point keeps a distance (pixels) from all spots."""
    return bool((np.hypot(*(spots - (x, y)).T) > distance).all())


def vary_thickness(rng: np.random.Generator, section: Section, spread: float) -> None:
    """More or less dye from place to place, as the section is thicker or thinner."""
    factor = 1 + np.float32(spread) * value_noise(
        rng, section.eosin.shape, max(section.size / 3, 40)
    )
    for plane in (section.haematoxylin, section.eosin):
        plane *= np.clip(factor, 0.5, 1.6)


def lay_fold(rng: np.random.Generator, section: Section, spots: Points) -> None:
    """A fold across the frame: a bent band of twice the tissue, out of focus; clear of figures."""
    size, mpp = section.size, section.mpp
    half = rng.uniform(2.5, 9) / mpp
    across = line_clear_of(rng, spots, size, half + CLEAR / mpp)
    if across is None:
        return
    wave = value_noise(rng, (size, size), 30 / mpp)
    depth = (np.float32(half) - np.abs(across)) * np.float32(mpp) + wave
    cover = ramp(depth, -0.6, 0.9)
    more = 1 + cover * np.float32(rng.uniform(0.6, 1.1))
    for plane in (section.haematoxylin, section.eosin):
        thick = cv2.GaussianBlur(plane, (0, 0), rng.uniform(0.6, 1.4) / mpp) * more
        plane += cover * (thick - plane)


def lay_ink(rng: np.random.Generator, foreign: Field, spots: Points, mpp: float) -> None:
    """A pen's stroke over a side of the frame, in one of the usual colours; clear of figures."""
    size = foreign.shape[0]
    across = line_clear_of(rng, spots, size, CLEAR / mpp, side=True)
    if across is None:
        return
    edge = across * np.float32(mpp) + 1.5 * value_noise(rng, (size, size), 12 / mpp)
    colours = [[1.0, 0.45, 0.7], [0.9, 0.6, 0.15], [0.9, 0.9, 0.85]]  # green, blue, black
    colour = rng.choice(np.array(colours, np.float32)) * np.float32(rng.uniform(0.4, 1.1))
    streaks = 1 + 0.25 * value_noise(rng, (size, size), 6 / mpp)
    foreign += (ramp(edge, 0, 6) * np.clip(streaks, 0.3, None))[..., None] * colour


def lay_debris(rng: np.random.Generator, foreign: Field, mpp: float) -> None:
    """Specks of dirt and pigment, brown to black, mostly above or below the focus."""
    size = foreign.shape[0]
    speck = np.zeros((size, size), np.float32)
    for x, y in rng.uniform(0, size, (rng.poisson(0.6 * (size * mpp / 125) ** 2), 2)):
        a, b = rng.uniform(0.4, 2.2, 2) / mpp
        axes = (max(1, round(a)), max(1, round(b)))
        cv2.ellipse(speck, (int(x), int(y)), axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(speck, (0, 0), rng.uniform(0.2, 1.2) / mpp)
    foreign += soft[..., None] * np.array(rng.uniform(0.6, 1.1) * np.array([0.8, 0.95, 1.1]), "f4")


def line_clear_of(
    rng: np.random.Generator, spots: Points, size: int, distance: float, side: bool = False
) -> Field | None:
    """Signed distance (pixels) of every pixel to a line that stays away from all spots.

    With ``side``, no spot lies on its positive side either. None where 20 tries find no line.
    """
    for _ in range(20):
        turn, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.45, 0.45) * size
        normal = np.array([np.cos(turn), np.sin(turn)])
        at = (spots - size / 2) @ normal - offset
        if ((at < -distance) if side else (np.abs(at) > distance)).all():
            y, x = np.mgrid[:size, :size].astype(np.float32) - np.float32(size / 2)
            return np.asarray(
                x * np.float32(normal[0]) + y * np.float32(normal[1]) - np.float32(offset)
            )
    return None


def scanned(image: Image, sharpening: float, quality: int) -> Image:
    """The picture as a scanner gives it back: sharpened, and as JPEG."""
    soft = cv2.GaussianBlur(image, (0, 0), 1.2)
    sharp = np.asarray(cv2.addWeighted(image, 1 + sharpening, soft, -sharpening, 0), np.uint8)
    data = np.frombuffer(encode_jpeg(sharp, quality), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1].copy()
