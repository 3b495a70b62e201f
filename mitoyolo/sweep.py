"""``mitoyolo sweep``: a table of settings, each trained from the same seeds, set side by side."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from converters.errors import InputError, MitoyoloError
from converters.files import read_json, write_csv, write_text
from mitoyolo.detectors.training import BEST
from mitoyolo.evaluation.repeated import Repeated
from mitoyolo.inference.truths import read_truths
from mitoyolo.jobs import RUN_FILE, locked
from mitoyolo.many import LeftOut
from mitoyolo.progress import is_quiet, note
from mitoyolo.report.page import difference, interval, spread
from mitoyolo.report.table import Table, Value, markdown
from mitoyolo.stopping import Stopped, stoppable
from mitoyolo.train import INDEX as TRAINED
from mitoyolo.training_process import run_training, seconds_of
from mitoyolo.val import read_scored, val
from mitoyolo.yaml_file import read_mapping

INDEX = "table.md"

KEYS = (
    "data",
    "model",
    "weights",
    "epochs",
    "imgsz",
    "batch",
    "accumulate",
    "verify",
    "recipe",
    "set",
)
"""What a row may say: options of ``mitoyolo train``."""

NEEDED = ("data", "model")

WHAT = "a mapping with rows, and all and seeds if needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A row: what is trained.

    Attributes
    ----------
    name, folder : str
        As the file calls it, and as a folder can be called.
    said : str
        What it says beside what all rows have.
    data : Path
    options : tuple of str
        Of ``mitoyolo train``.
    """

    name: str
    folder: str
    said: str
    data: Path
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A file, read: the first row is the one that the others are compared with."""

    seeds: tuple[int, ...]
    rows: tuple[Setting, ...]


def read_sweep(file: Path) -> Sweep:
    """Read a table of settings.

    Parameters
    ----------
    file : Path
        YAML with ``rows``, a mapping of names to options of ``mitoyolo train``; ``all``, options of
        every row, which a row replaces; and ``seeds``, a list, else 0. Paths are as seen from the
        working directory.

    Raises
    ------
    InputError
        It is no such file.
    """
    found = read_mapping(file, WHAT)
    if not isinstance(found.get("rows"), dict) or not found["rows"]:
        raise InputError(f"expected {WHAT}", file=file)
    if unknown := found.keys() - {"rows", "all", "seeds"}:
        raise InputError(f"{min(map(str, unknown))}: expected rows, all or seeds", file=file)
    seeds = found.get("seeds", [0])
    if not isinstance(seeds, list) or not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds {seeds}: expected a list, each once", file=file)
    if any(type(seed) is not int or seed < 0 for seed in seeds):
        raise InputError(f"seeds {seeds}: expected whole numbers from 0 on", file=file)
    shared = _checked(found.get("all", {}), file, "all")
    rows = tuple(
        _setting(str(name), shared, _checked(said, file, f"rows, {name}"), file)
        for name, said in found["rows"].items()
    )
    for folder, times in Counter(row.folder for row in rows).items():
        if times > 1:
            raise InputError(
                f"two rows would have the folder {folder}", file=file, fix="rename one"
            )
    return Sweep(seeds=tuple(seeds), rows=rows)


def _checked(said: Any, file: Path, where: str) -> dict[str, Any]:
    said = {} if said is None else said
    if not isinstance(said, dict) or not isinstance(said.get("set", {}), dict):
        raise InputError("expected a mapping of options, `set` of settings", file=file, where=where)
    if unknown := [key for key in said if key not in KEYS]:
        raise InputError(
            f"{unknown[0]}: expected {', '.join(KEYS)}",
            file=file,
            where=where,
            fix="settings of the recipe stand under set",
        )
    return said


def _setting(name: str, shared: Mapping[str, Any], said: Mapping[str, Any], file: Path) -> Setting:
    whole = {**shared, **said, "set": {**shared.get("set", {}), **said.get("set", {})}}
    for key in NEEDED:
        if not isinstance(whole.get(key), str):
            raise InputError(f"no {key}", file=file, where=f"rows, {name}", fix="say it under all")
    options = [
        part
        for key in KEYS
        if key not in ("verify", "set") and whole.get(key) is not None
        for part in (f"--{key}", str(whole[key]))
    ]
    verify = whole.get("verify")
    if type(verify) is bool:
        options.append("--verify" if verify else "--no-verify")
    elif verify is not None:
        raise InputError(
            f"verify {verify}: expected true or false", file=file, where=f"rows, {name}"
        )
    for key, value in whole["set"].items():
        options += ["--set", f"{key}={_yaml(value)}"]
    return Setting(
        name=name,
        folder=re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") or "row",
        said=_yaml(dict(said))[1:-1],  # without its braces
        data=Path(whole["data"]),
        options=tuple(options),
    )


def _yaml(value: Any) -> str:
    """In one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
    return text.removesuffix("\n").removesuffix("...").strip()


def sweep(file: Path, out: Path, *, split: str = "val", device: str = "cpu") -> Path | None:
    """Train every row from every seed, score it, and set the rows side by side.

    What stands finished in ``out`` is not run again: a call that was stopped goes on, and a file
    with another row or seed runs what is new.

    Parameters
    ----------
    file : Path
        See :func:`read_sweep`.
    out : Path
        ``out/ROW/seed-S`` gets the trainings, ``out/table.md`` and ``out/table.csv`` the table,
        after each seed.
    split : str
        Which is scored: `val`, to choose by; `test` at the end, of what was chosen.
    device : str
        `cpu`, or a GPU's number.

    Returns
    -------
    Path or None
        The table; None where SIGTERM stopped the call.

    Raises
    ------
    InputError
        The file or the data cannot be used; after all others are done, what failed.
    """
    asked = read_sweep(file)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        left_out = LeftOut("trainings", len(asked.rows) * len(asked.seeds), MitoyoloError)
        done: dict[str, list[int]] = {row.name: [] for row in asked.rows}
        try:
            with stoppable():
                for seed in asked.seeds:  # outermost: the table is of whole seeds
                    for row in asked.rows:
                        note(f"{row.name}, seed {seed}")
                        with left_out.collect():
                            _complete(row, seed, _folder(out, row, seed), split, device)
                            done[row.name].append(seed)
                    _write(out, asked, done, split)
        except Stopped:
            note("stopped; the same call goes on")
            return None
        left_out.check()
    return out / INDEX


def _folder(out: Path, row: Setting, seed: int) -> Path:
    return out / row.folder / f"seed-{seed}"


def _complete(row: Setting, seed: int, folder: Path, split: str, device: str) -> None:
    command = [
        sys.executable, "-m", "mitoyolo", "train", *row.options, "--seed", str(seed),
        "--project", str(folder), "--name", "run", "--device", device, "--resume",
        *(["--quiet"] if is_quiet() else []),
    ]  # fmt: skip
    run_training(command, folder / "run" / TRAINED, f"{row.name}, seed {seed}")
    val(row.data, folder / "run" / BEST, split=split, out=folder / split, device=device)


def _write(out: Path, asked: Sweep, done: Mapping[str, Sequence[int]], split: str) -> None:
    rows = [row for row in asked.rows if done[row.name]]
    scores = {row.name: _read(out, row, done[row.name], split) for row in rows}
    if not rows:
        return
    first = asked.rows[0].name
    table = Table(
        "table",
        "Settings side by side",
        f"On whole images of the {split} split, by {scores[rows[0].name].protocol.title}; "
        "threshold and epoch from the validation split, on which figures are optimistic, all "
        "alike. F1, recall and precision of all seeds' detections together, with the bootstrap's "
        f"95 % interval; F1 less that of {first} on the same images.",
        ("setting", "says", "F1", "95 %", "seeds", "F1 of seeds", f"against {first}", "recall",
         "precision", "false a mm²", "training, min"),
        tuple(
            _line(row, scores[row.name], scores.get(first), _minutes(out, row, done[row.name]))
            for row in rows
        ),
    )  # fmt: skip
    write_csv(out / "table.csv", table.columns, table.rows)
    write_text(out / INDEX, markdown(table))


def _read(out: Path, row: Setting, seeds: Sequence[int], split: str) -> Repeated:
    truths = read_truths(row.data, split=split)
    scored = [read_scored(_folder(out, row, seed) / split, truths) for seed in seeds]
    return Repeated(seeds=tuple(seeds), scored=scored)


def _minutes(out: Path, row: Setting, seeds: Sequence[int]) -> float:
    runs = (read_json(_folder(out, row, seed) / "run" / RUN_FILE) for seed in seeds)
    return round(mean(map(seconds_of, runs)) / 60, 2)


def _line(
    row: Setting, scores: Repeated, first: Repeated | None, minutes: float
) -> tuple[Value, ...]:
    counts = scores.counts
    comparable = first and first is not scores and _alike(first, scores)
    return (
        row.name,
        row.said or None,
        counts.f1,
        interval(scores.interval()[0]),
        ", ".join(map(str, scores.seeds)),
        spread(scores.f1s),
        difference(scores.against(first)) if first and comparable else None,
        counts.recall,
        counts.precision,
        scores.false_per_mm2(),
        minutes,
    )


def _alike(one: Repeated, other: Repeated) -> bool:
    """Whether they are of the same seeds and images: else there are no pairs."""
    images = [[field.image for field in each.scored[0].fields] for each in (one, other)]
    return one.seeds == other.seeds and images[0] == images[1]
