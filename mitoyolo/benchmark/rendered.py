"""The data of a benchmark that is given none: rendered, converted and normalised as a user would.

Its calls, of which the third makes the dataset folder::

    mitoyolo demo OUT/data/rendered-frames --hard --seed 0 --cases 20 --tiles 10 --size 512
    mitoyolo convert OUT/data/rendered-frames/atypia14 OUT/data/rendered-converted
        --from atypia14 --at-mpp 0.655 --labels mitosis,imposter
        --split-file OUT/data/rendered-frames/split.csv
    mitoyolo normalize OUT/data/rendered-converted OUT/data/rendered --method reinhard
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from converters.model import LABELS
from converters.prepare import Selection
from mitoyolo.convert import ConvertOptions, convert
from mitoyolo.demo import demo
from mitoyolo.stain.folder import normalize_folder

SEED = 0

AT_MPP = 0.655
"""µm/px at which a frame of 512 px has 192, so that every model trains in minutes on two cores."""


@dataclass(frozen=True, slots=True)
class Example:
    """How much is rendered: cases, frames a case, and px of a frame's side, before and after."""

    name: str
    cases: int
    frames: int
    size: int
    imgsz: int


USUAL = Example("rendered", 20, 10, 512, 192)
QUICK = Example("rendered-quick", 8, 3, 342, 128)


def render(folder: Path, example: Example) -> Path:
    """The dataset folder of an example, below ``folder``; made if it is not there."""
    frames, converted = folder / f"{example.name}-frames", folder / f"{example.name}-converted"
    demo(frames, seed=SEED, cases=example.cases, tiles=example.frames, size=example.size, hard=True)
    options = ConvertOptions(
        format="atypia14",
        at_mpp=AT_MPP,
        selection=Selection(labels=LABELS),
        split_file=frames / "split.csv",
    )
    convert(frames / "atypia14", converted, options)
    out = folder / example.name
    normalize_folder(converted, out, method="reinhard")
    return out
