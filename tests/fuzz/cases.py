"""A case by its number: an input, what damages it, and the options of the call."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from converters.images import PICTURE_SUFFIXES
from converters.registry import FORMATS
from fuzz.beside import draw_beside
from fuzz.damage_bytes import damage_bytes
from fuzz.damage_folder import TAKES_AWAY, damage_folder
from fuzz.damage_images import damage_image
from fuzz.damage_json import SCALARS, damage_json
from fuzz.damage_sqlite import damage_sqlite
from fuzz.damage_text import HARMLESS, damage_text
from fuzz.damage_xml import SECRET, damage_xml
from fuzz.options import draw_options
from fuzz.seeds import SEEDS, Seed

READERS = tuple(name for name, entry in FORMATS.items() if entry.read)

WORD = "what no output may hold"
"""The text of :data:`SECRET`, beside the input and where the program runs."""

_KINDS: dict[str, Callable[[random.Random, Path], str]] = {
    ".json": damage_json,
    ".geojson": damage_json,
    ".xml": damage_xml,
    ".sqlite": damage_sqlite,
    **dict.fromkeys((".csv", ".txt", ".yaml"), damage_text),
    **dict.fromkeys(PICTURE_SUFFIXES, damage_image),
}


@dataclass(slots=True)
class Case:
    """A damaged input and a call.

    Attributes
    ----------
    format : str
        Of the input.
    out, inside : Path
        The folder to write, and that in which the program runs.
    options : list of str
        Those of the call but its format.
    arguments : list of str
        All of the call.
    done : list of str
        What was damaged.
    marks : int or None
        How many marks must be read: all, where no annotation was damaged.
    again : bool
        Whether the call is repeated.
    """

    format: str
    out: Path
    inside: Path
    options: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    marks: int | None = None
    again: bool = False


def draw_case(number: int, seeds: Callable[[Seed], Path], folder: Path) -> Case:
    """Make a case.

    Parameters
    ----------
    number : int
        Of which all of it follows.
    seeds : callable
        An undamaged input to the folder in which it stands.
    folder : Path
        An empty folder for it.
    """
    rng = random.Random(number)
    seed = _draw_seed(rng, READERS[number % len(READERS)])
    root, inside = folder / "in", folder / "cwd"
    case = Case(seed.format, folder / "out", inside)
    inside.mkdir(parents=True)
    for place in (folder, inside):
        (place / SECRET).write_text(WORD)
    shutil.copytree(seeds(seed), root, symlinks=True)
    case.done.append(f"{seed.format}: {seed.name}")
    whole = all([_damage(rng, root, case) for _ in range(rng.choices(*_DAMAGES)[0])])
    name = seed.format if rng.random() < 0.98 else rng.choice(READERS)
    src = _source(rng, root)
    case.options = draw_options(rng, name, seed.options, large=bool(seed.real))
    case.options += draw_beside(rng, folder, case.options)
    if seed.images and rng.random() < 0.05:
        case.options += ["--images", str(root)]
    case.options += ["--quiet"] if rng.random() < 0.9 else []
    case.arguments = ["convert", str(src), str(case.out), "--from", name, *case.options]
    if whole and src == root and name == seed.format and "--columns" not in case.options:
        case.marks = seed.read
    case.again = rng.random() < 0.04
    return case


_DAMAGES = ((0, 1, 2, 3), (5, 60, 25, 10))
"""How many, and how often."""


def _draw_seed(rng: random.Random, name: str) -> Seed:
    ours = [seed for seed in SEEDS if seed.format == name and not seed.real]
    real = [seed for seed in SEEDS if seed.format == name and seed.real]
    seed = rng.choice(real if real and rng.random() < 0.15 else ours)
    return seed if seed.there else ours[0]  # so that other cases are the same without real data


def _damage(rng: random.Random, root: Path, case: Case) -> bool:
    """Damage one file; whether every mark can still be counted."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    pictures = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]
    others = [path for path in files if path not in pictures]
    draw = rng.random()
    if draw < 0.12 and files:
        path = rng.choice(files)
        how = damage_folder(rng, root, path)
        harmless = how in TAKES_AWAY and path in pictures
    elif chosen := pictures if draw < 0.3 and pictures else others:
        path = rng.choice(chosen)
        damage = _KINDS.get(path.suffix.lower(), damage_bytes)
        if rng.random() < 0.3:
            damage = rng.choice((damage_bytes, damage_text))
        how = damage(rng, path)
        harmless = path in pictures or how in HARMLESS or how.startswith(SCALARS)
    else:
        return True
    case.done.append(f"{path.relative_to(root)}: {how}")
    return harmless


def _source(rng: random.Random, root: Path) -> Path:
    """The folder, now and then one of its files."""
    files = sorted(path for path in root.rglob("*") if path.suffix in _KINDS and path.is_file())
    return rng.choice(files) if files and rng.random() < 0.08 else root
