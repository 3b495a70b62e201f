"""Frames and tables that belong together by their names, in the folders of a challenge."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from converters.errors import InputError
from converters.left_out import Problem
from converters.reading import Reading


def by_name(paths: Iterable[Path], name: Callable[[Path], str]) -> dict[str, Path]:
    """Every file under its name.

    Raises
    ------
    InputError
        Two files have one name: nobody knows which is meant.
    """
    named: dict[str, Path] = {}
    for path in paths:
        other = named.setdefault(name(path), path)
        if other != path:
            raise InputError(
                f"the same {name(path)} as {other}", file=path, fix="keep one of the two files"
            )
    return named


def inner_name(path: Path, root: Path) -> str:
    """A file's path below ``root`` without its suffix."""
    return path.relative_to(root).with_suffix("").as_posix()


def missing_frame(reading: Reading, source: str, table: Path, detail: str = "") -> None:
    """Note that the image of a table is not there; what the table holds is dropped later.

    Raises
    ------
    InputError
        Unless ``bad="drop"``.
    """
    what = f"no image of the frame {source} below {reading.folder}{detail}"
    if reading.options.bad != "drop":
        raise InputError(
            what,
            file=table,
            fix="name the images' folder by --images, do without them by --annotations-only, "
            "or leave such tables out by --bad drop",
        )
    reading.problems[source] = Problem("no_image", what)
