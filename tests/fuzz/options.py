"""Options of a call, drawn: every one that shapes what is read or written."""

from __future__ import annotations

import random
from collections.abc import Iterator

from converters.registry import FORMATS

WRITERS = tuple(name for name, entry in FORMATS.items() if entry.write and name != "yolo")


def draw_options(
    rng: random.Random, name: str, needed: tuple[str, ...], *, large: bool
) -> list[str]:
    """Options for an input in format ``name`` that needs some; none that is a wrong call by
    itself. ``large``: its images are not of 64 x 48 px."""
    to = "yolo" if rng.random() < 0.5 else rng.choice(WRITERS)
    drawn = [*_reading(rng, needed), *_special(rng, name), "--to", to, *_selection(rng)]
    if to == "yolo":
        drawn += _cutting(rng, large=large or "--annotations-only" in drawn)
    return drawn


def _reading(rng: random.Random, needed: tuple[str, ...]) -> Iterator[str]:
    if "--mpp" not in needed or rng.random() < 0.97:
        yield from needed
    if "--annotations-only" not in needed and rng.random() < 0.2:
        yield "--annotations-only"
    if rng.random() < 0.6:
        yield from ("--bad", "drop")
    if rng.random() < 0.4:
        yield from ("--unlabelled", rng.choice(("error", "skip", "background")))
    if rng.random() < 0.05:
        yield from ("--preset", rng.choice(("demo", "kmit", "midogpp", "mitos_atypia_14")))
    if rng.random() < 0.05:
        yield from ("--case-pattern", rng.choice((".", "_(.)", "^(cell)", "x?", "(a)|b")))


def _special(rng: random.Random, name: str) -> Iterator[str]:
    """Options that only some readers take."""
    takes = FORMATS[name].takes
    for option in ("one_based", "include_unlabelled"):
        if option in takes and rng.random() < 0.3:
            yield f"--{option.replace('_', '-')}"
    if "columns" in takes and rng.random() < 0.2:
        yield from ("--columns", rng.choice(("x,y", "row,col", "x,y,label", "x,x", "a,b", ",")))


def _selection(rng: random.Random) -> Iterator[str]:
    if rng.random() < 0.6:
        yield from ("--labels", rng.choice(("mitosis,imposter", "imposter,mitosis")))
    if rng.random() < 0.15:
        yield from ("--radius-um", rng.choice(("0.1", "2.5", "100", "1e9")))
    if rng.random() < 0.15:
        yield from ("--box", "fixed")
    if rng.random() < 0.1:
        yield from ("--min-area", rng.choice(("0", "30", "1e300")))
    if rng.random() < 0.1:
        yield from ("--min-confidence", rng.choice(("0.5", "-1", "1e300")))


def _cutting(rng: random.Random, *, large: bool) -> Iterator[str]:
    """``large``: frames are of thousands of px, since a preset says so."""
    draw = rng.random()
    if draw < 0.25:
        yield from ("--tile", rng.choice(("512", "1000") if large else ("32", "33", "48", "1000")))
        if rng.random() < 0.5:
            yield from ("--overlap", rng.choice(("0", "1", "16")))
    elif draw < 0.45:
        yield from ("--grid", rng.choice(("1x1", "2x2", "4x3", "9x64")))
    if rng.random() < 0.25:
        yield from ("--augment", rng.choice(("flips", "rot90", "flips,rot90")))
    if rng.random() < 0.35:
        yield "--masks"
    if rng.random() < 0.15:
        yield from ("--at-mpp", rng.choice(("0.25", "0.5", "0.1", "0.01", "50")))
    if rng.random() < 0.1:
        yield from ("--background", rng.choice(("0", "0.5")))
    if rng.random() < 0.3:
        yield from ("--split", rng.choice(("1,0,0", "0.5,0.5,0", "0,0,1", "0.34,0.33,0.33")))
    if rng.random() < 0.2:
        yield from ("--group-by", "image")
    if rng.random() < 0.1:
        yield from ("--tile-format", "jpg")
    if rng.random() < 0.3:
        yield from ("--seed", str(rng.randrange(9)))
