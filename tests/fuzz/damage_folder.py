"""Damage to a folder: files gone, renamed, copied, linked, and things that are no files."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from fuzz import values


def _gone(rng: random.Random, root: Path, path: Path) -> None:
    path.unlink()


def _folder_instead(rng: random.Random, root: Path, path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inner.bin").write_text("x")


def _dangling(rng: random.Random, root: Path, path: Path) -> None:
    path.unlink()
    path.symlink_to(rng.choice(("nowhere", "../../nowhere", path.name)))


def _device(rng: random.Random, root: Path, path: Path) -> None:
    """What never ends, or never begins."""
    path.unlink()
    if rng.random() < 0.5:
        path.symlink_to(rng.choice(("/dev/zero", "/dev/full", "/dev/null", "/proc/self/mem")))
    else:
        os.mkfifo(path)


def _outside(rng: random.Random, root: Path, path: Path) -> None:
    """A link to a file that lies beside the input."""
    target = root.parent / f"elsewhere{path.suffix}"
    path.rename(target)
    path.symlink_to(target)


def _loop(rng: random.Random, root: Path, path: Path) -> None:
    (path.parent / "loop").symlink_to(rng.choice((root, path.parent)))


def _second(rng: random.Random, root: Path, path: Path) -> None:
    """A copy in another folder, or of another name."""
    target = rng.choice((
        root / "other" / path.name, path.with_name(f"copy of {path.name}"),
        path.with_suffix(path.suffix.upper()), path.with_name(f".{path.name}"),
        path.with_name(f"{path.name}{path.suffix}"), path.with_name(f"report{path.suffix}"),
    ))  # fmt: skip
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(path, target)


def _stranger(rng: random.Random, root: Path, path: Path) -> None:
    """A file that has nothing to do with it."""
    name, text = rng.choice((
        ("report.json", "{}"), ("dropped.csv", "x"), ("notes.txt", "seen by R."), ("x.json", "[]"),
        ("package.json", '{"name": "x"}'), ("data.yaml", "names: {0: a, 1: b}"), ("x.xml", "<x/>"),
        ("x.csv", "a,b\n1,2\n"), ("x.yaml", "a: &a [*a]"), ("classes.txt", "one"), ("x.db", ""),
        ("manifest.csv", "tile,source,case,split,x,y,width,height,mpp_x,mpp_y\nx\n"),
        ("data.yaml", "names: !!python/object/apply:os.system ['echo hacked']"), ("x.geojson", "5"),
        ("run.json", "{}"), ("Thumbs.db", "x"), ("desktop.ini", "x"),
        ("augmented.csv", "tile,of\n"),
    ))  # fmt: skip
    (path.parent / name).write_text(text)


def _renamed(rng: random.Random, root: Path, path: Path) -> None:
    """Another name of an image in all file names and texts, so that they still belong together."""
    old = rng.choice(("cell_1", path.name.split(".")[0]))
    new = rng.choice(values.FILE_NAMES)
    for file in sorted(root.rglob("*"), key=lambda each: len(each.parts), reverse=True):
        if file.is_file() and file.suffix in _TEXTS and old == "cell_1":
            data = file.read_bytes()
            quoted = new.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            file.write_bytes(data.replace(old.encode(), os.fsencode(quoted)))
        if old in file.name:
            name = file.name.replace(old, new)
            if len(os.fsencode(name)) < 250:
                file.rename(file.with_name(name))


_TEXTS = (".json", ".geojson", ".xml", ".csv", ".txt", ".yaml")


def _swapped(rng: random.Random, root: Path, path: Path) -> None:
    files = sorted(file for file in root.rglob("*") if file.is_file() and file != path)
    if files:
        other = rng.choice(files)
        content = path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)


def _empty(rng: random.Random, root: Path, path: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def _suffix(rng: random.Random, root: Path, path: Path) -> None:
    path.rename(
        path.with_suffix(rng.choice((".PNG", ".json", ".txt", ".tiff", ".svs", ".JPG", "")))
    )


def _deeper(rng: random.Random, root: Path, path: Path) -> None:
    """All of it some folders further in, one of an odd name."""
    inner = root.with_name("inner")
    root.rename(inner)
    odd = rng.choice(
        (".hidden", "images", "labels", "x20", "\udcff", "a\nb", "mitoses_ground_truth")
    )
    (root / odd).mkdir(parents=True)
    inner.rename(root / odd / "inner")


TAKES_AWAY = ("gone", "folder_instead", "dangling", "device")
"""What takes a file away and touches no other."""

_Damage = Callable[[random.Random, Path, Path], None]
_WAYS: tuple[_Damage, ...] = (
    *(_gone, _folder_instead, _dangling, _device, _outside, _loop, _second, _second, _stranger),
    *(_stranger, _renamed, _renamed, _renamed, _swapped, _empty, _suffix, _deeper),
)


def damage_folder(rng: random.Random, root: Path, path: Path) -> str:
    """Damage the folder ``root``, mostly at one of its files; what was done is returned."""
    way = rng.choice(_WAYS)
    try:
        way(rng, root, path)
    except FileExistsError:
        return "nothing"
    return way.__name__.strip("_")
