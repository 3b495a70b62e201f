"""``mitoyolo demo``: the folder of the built-in example.

Its ``demo.json`` holds no date, so that the same seed gives the same bytes in every file.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from converters.errors import InputError
from converters.files import read_json, write_json
from mitoyolo.demo.hard import write_hard
from mitoyolo.demo.write import write_demo
from mitoyolo.jobs import locked
from mitoyolo.progress import bar, note

INDEX = "demo.json"
PARTS = ("cadd4mbc", "tiles", "atypia14", "split.csv")


def demo(
    out: Path,
    *,
    seed: int,
    cases: int,
    tiles: int,
    size: int,
    hard: bool = False,
    overwrite: bool = False,
) -> dict[str, int]:
    """Render the example into ``out``; a finished one of the same call is left as it is.

    An unfinished one is rendered again from its start, and so is any with ``overwrite``. With
    ``hard`` it is the benchmark's set (``mitoyolo.demo.hard``).

    Returns
    -------
    dict
        Number of cases, tiles, mitoses and imposters, also in ``demo.json``.

    Raises
    ------
    InputError
        ``out`` holds something else, or another example (unless ``overwrite``), or another
        process is writing it.
    """
    arguments = {"seed": seed, "cases": cases, "tiles": tiles, "size": size}
    if hard:
        arguments["hard"] = True
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        return _render(out, arguments, overwrite)


def _render(out: Path, arguments: dict[str, int], overwrite: bool) -> dict[str, int]:
    before = _before(out)
    if before is not None and overwrite:
        write_json(out / INDEX, {})  # ours still, and unfinished
        for name in PARTS:
            if (out / name).is_dir():
                shutil.rmtree(out / name)
            else:
                (out / name).unlink(missing_ok=True)
    elif before is not None and before.get("arguments", arguments) != arguments:
        raise InputError(
            f"holds another example ({before['arguments']})".replace("'", ""),
            file=out,
            fix="give a new folder, or add --overwrite",
        )
    elif before is not None and "counts" in before:
        note(f"{out} is finished already; nothing to do")
        return dict(before["counts"])
    write_json(out / INDEX, {"arguments": arguments})
    with bar("rendering", unit="tiles") as progress:
        sizes = {name: arguments[name] for name in ("seed", "cases", "tiles", "size")}
        write = write_hard if arguments.get("hard") else write_demo
        counts = write(out, **sizes, progress=progress.step)
    write_json(out / INDEX, {"arguments": arguments, "counts": counts})
    note(f"{counts['mitoses']} mitoses on {counts['tiles']} images written to {out}")
    return counts


def _before(out: Path) -> dict[str, Any] | None:
    """What ``demo.json`` says, or None for an empty or new folder."""
    if not any(out.iterdir()):
        return None
    if not (out / INDEX).exists():
        raise InputError(
            f"the folder is not empty and has no {INDEX}, so it is not ours to write",
            file=out,
            fix="give a new folder",
        )
    return dict(read_json(out / INDEX))
