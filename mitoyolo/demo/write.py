"""The demo folder: two invented studies in the two file layouts that mitoyolo reads."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from converters.errors import InputError
from converters.files import write_bytes, write_text
from mitoyolo.demo.figures import Figure
from mitoyolo.demo.stain import Image
from mitoyolo.demo.tissue import draw_style, render_tile

DEMO_MPP = 0.25  # µm/px of the CADD4MBC tiles
APERIO_MPP = 0.2455  # µm/px of the MITOS-ATYPIA-14 frames whose case name starts with A
SMALLEST = 128  # px: below it no figure fits at its distance from the edge

BATCH = 150  # tiles per batch folder
FRAMES = 2  # frames per MITOS-ATYPIA-14 case
CADD4MBC, ATYPIA14 = 0, 1  # first word of a random stream, so that the two parts share no tissue
STYLE, PLAN, TILE = 0, 1, 2  # second word
CREATED = "2021-06-16T10:46:03.703000+00:00"


def write_demo(
    out: Path,
    *,
    seed: int = 0,
    cases: int = 8,
    tiles: int = 20,
    size: int = 500,
    progress: Callable[[], object] | None = None,
) -> dict[str, int]:
    """Write the demo folder.

    ``out/cadd4mbc`` and ``out/tiles`` hold ``cases`` slides of ``tiles`` tiles each;
    ``out/atypia14`` holds half as many other cases of two frames of twice the side. Every tile has
    a random stream of its own, so it does not depend on how many others are written. The same seed
    gives the same bytes under the same versions of NumPy and OpenCV.

    Parameters
    ----------
    size : int
        Side of a tile, pixels.
    progress : callable, optional
        Called after each tile or frame.

    Returns
    -------
    dict
        ``cases``, ``tiles`` (frames among them), ``mitoses`` and ``imposters`` drawn in both
        parts. The CADD4MBC layout has no place for imposters; they are in its pictures only.

    Raises
    ------
    InputError
        Fewer than one case or tile, or tiles too small to hold a figure.
    """
    check_sizes(cases, tiles, size)
    report = progress or (lambda: None)
    counts: Counter[str] = Counter(cases=0, tiles=0, mitoses=0, imposters=0)
    for case in range(cases):
        write_cadd4mbc_case(out, seed, case, tiles, size, counts, report)
    for case in range((cases + 1) // 2):
        write_atypia14_case(out / "atypia14", seed, case, 2 * size, counts, report)
    return dict(counts)


def check_sizes(cases: int, tiles: int, size: int) -> None:
    """Raise InputError for what cannot be rendered."""
    for name, value, least in (("cases", cases, 1), ("tiles", tiles, 1), ("size", size, SMALLEST)):
        if value < least:
            raise InputError(f"demo data needs {name} of at least {least}, not {value}")


def stream(seed: int, *key: int) -> np.random.Generator:
    """The random stream of one thing, independent of every other key's."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def write_cadd4mbc_case(
    out: Path,
    seed: int,
    case: int,
    tiles: int,
    size: int,
    counts: Counter[str],
    report: Callable[[], object],
) -> None:
    """One slide: JSON per tile under ``cadd4mbc``, PNG under ``tiles``."""
    style = draw_style(stream(seed, CADD4MBC, STYLE, case))
    slide = f"T{case + 1}"
    for tile in range(tiles):
        rng = stream(seed, CADD4MBC, TILE, case, tile)
        wanted = planned(stream(seed, CADD4MBC, PLAN, case, tile // 10), tile % 10)
        image, figures = render_tile(rng, style, size, DEMO_MPP, *wanted)
        x, y, batch = 60 + tile % 25, 40 + tile // 25, tile // BATCH + 1
        folder = out / "cadd4mbc" / slide / f"Batch-{batch}"
        write_bytes(out / "tiles" / slide / f"x{x}y{y}.png", png(image))
        write_text(folder / f"{x}_{y}.json", annotation(rng, figures, x, y, batch))
        tally(counts, figures)
        report()
    counts["cases"] += 1


def planned(rng: np.random.Generator, tile: int) -> tuple[int, int]:
    """Mitoses and imposters of one tile in a run of ten.

    A shuffled list and not a draw, so that every case has its share. The first four tiles hold a
    list of their own: a small demo, too, has tiles with and without mitoses in every case.
    """
    mitoses = [*rng.permutation([0, 1, 1, 2]), *rng.permutation([0, 0, 1, 1, 2, 3])]
    imposters = rng.permutation([0, 0, 0, 1, 1, 1, 1, 2, 2, 3])
    return int(mitoses[tile]), int(imposters[tile])


def annotation(rng: np.random.Generator, figures: list[Figure], x: int, y: int, batch: int) -> str:
    """The CADD4MBC export of one tile, with its mitoses as ellipses."""
    elements = [
        {
            "fillColor": "rgba(0,0,0,0)",
            "lineColor": "rgb(0,0,0)",
            "lineWidth": 2,
            "rotation": round(figure.rotation, 6),
            "normal": [0, 0, 1],
            "type": "ellipse",
            "center": [round(figure.x, 3), round(figure.y, 3), 0],
            "width": round(figure.width, 3),
            "height": round(figure.height, 3),
            "id": rng.bytes(12).hex(),
        }
        for figure in figures
        if figure.mitotic
    ]
    document = {
        "_modelType": "tileannotation",
        "annotation": {
            "description": "",
            "elements": elements,
            "name": f"{x}_{y}",
            "position": [str(x), str(y)],
        },
        "groups": [f"Batch {batch}"],
        "itemId": rng.bytes(12).hex(),
        "created": CREATED,
    }
    return json.dumps(document)


def write_atypia14_case(
    out: Path, seed: int, case: int, size: int, counts: Counter[str], report: Callable[[], object]
) -> None:
    """One case of MITOS-ATYPIA-14: frames, and per frame two tables of ``x,y,confidence``."""
    style = draw_style(stream(seed, ATYPIA14, STYLE, case))
    name = f"A{case + 1:02d}"
    for frame in range(FRAMES):
        rng = stream(seed, ATYPIA14, TILE, case, frame)
        # The first frame always has some, so that no case is without.
        mitoses = int(rng.integers(2, 6) if frame == 0 else rng.integers(0, 5))
        image, figures = render_tile(rng, style, size, APERIO_MPP, mitoses, int(rng.integers(1, 6)))
        write_frame(out, name, frame, image, figures)
        tally(counts, figures)
        report()
    counts["cases"] += 1


def write_frame(out: Path, case: str, frame: int, image: Image, figures: list[Figure]) -> None:
    """One frame of a case in the layout of MITOS-ATYPIA-14, with its two tables."""
    stem = f"{case}_{frame // 16:02d}{'ABCD'[frame // 4 % 4]}{'abcd'[frame % 4]}"
    write_bytes(out / case / "frames" / "x40" / f"{stem}.png", png(image))
    for suffix, mitotic in (("mitosis", True), ("not_mitosis", False)):
        rows = [
            f"{round(figure.x)},{round(figure.y)},{figure.confidence}\n"
            for figure in figures
            if figure.mitotic == mitotic
        ]
        write_text(out / case / "mitosis" / f"{stem}_{suffix}.csv", "".join(rows))


def tally(counts: Counter[str], figures: list[Figure]) -> None:
    """Add one picture and its figures to ``counts``."""
    mitoses = sum(figure.mitotic for figure in figures)
    counts.update(tiles=1, mitoses=mitoses, imposters=len(figures) - mitoses)


def png(image: Image) -> bytes:
    """An RGB picture as PNG; the compression is fixed, since the bytes must not vary."""
    ok, data = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not ok:
        raise RuntimeError("OpenCV could not encode a PNG")
    return data.tobytes()
