"""The data of a benchmark that is given none: rendered, converted and normalised as a user would.

Its calls, of which the third makes the dataset folder::

    mitoyolo demo OUT/data/example --hard --seed 0 --cases 20 --tiles 10 --size 512
    mitoyolo convert OUT/data/example/atypia14 OUT/data/converted --from atypia14 --at-mpp 0.491
        --labels mitosis,imposter --split-file OUT/data/example/split.csv
    mitoyolo normalize OUT/data/converted OUT/data/rendered --method reinhard
"""

from __future__ import annotations

from pathlib import Path

from converters.model import LABELS
from converters.prepare import Selection
from mitoyolo.convert import ConvertOptions, convert
from mitoyolo.demo import demo
from mitoyolo.stain.folder import normalize_folder

SEED = 0
AT_MPP = 0.491


def render(folder: Path, *, quick: bool) -> Path:
    """The dataset folder below ``folder``: ``rendered``, or with ``quick`` the smaller
    ``rendered-quick``; made if it is not there."""
    name, cases, tiles, size = ("-quick", 10, 6, 384) if quick else ("", 20, 10, 512)
    example, converted = folder / f"example{name}", folder / f"converted{name}"
    demo(example, seed=SEED, cases=cases, tiles=tiles, size=size, hard=True)
    options = ConvertOptions(
        format="atypia14",
        at_mpp=AT_MPP,
        selection=Selection(labels=LABELS),
        split_file=example / "split.csv",
    )
    convert(example / "atypia14", converted, options)
    out = folder / f"rendered{name}"
    normalize_folder(converted, out, method="reinhard")
    return out
