"""Files that options name: a split file and a preset, whole or damaged like the input."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from converters.presets import preset_folder, preset_names
from fuzz.damage_bytes import damage_bytes
from fuzz.damage_text import damage_text

_SPLITS = (
    "source,split\ncell_1,train\ncell_2,val\n",
    "case,split\n" + "".join(f"{case},train\n" for case in ("cell_1", "cell_2", "00", "01", "02")),
)


def draw_beside(rng: random.Random, folder: Path, options: list[str]) -> Iterator[str]:
    """Now and then an option that names a file, which is written into ``folder``."""
    if rng.random() < 0.04 and "yolo" in options:
        path = folder / "split.csv"
        path.write_text(rng.choice(_SPLITS))
        yield from ("--split-file", _damaged(rng, path))
    if rng.random() < 0.04 and "--preset" not in options:
        path = folder / "own.yaml"
        shutil.copyfile(preset_folder() / f"{rng.choice(preset_names())}.yaml", path)
        yield from ("--preset", _damaged(rng, path))


def _damaged(rng: random.Random, path: Path) -> str:
    if rng.random() < 0.7:
        rng.choice((damage_bytes, damage_text))(rng, path)
    return str(path)
