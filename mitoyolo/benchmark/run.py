"""``mitoyolo benchmark``: models x data sets x seeds, trained, scored and set side by side."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from converters.errors import InputError, MitoyoloError, OptionError
from mitoyolo.benchmark import tables
from mitoyolo.benchmark.cells import Cell, complete
from mitoyolo.benchmark.entries import USUAL, find_entries
from mitoyolo.benchmark.published import notes, published
from mitoyolo.benchmark.rendered import QUICK, Example, render
from mitoyolo.benchmark.rendered import USUAL as RENDERED
from mitoyolo.benchmark.results import read_rows
from mitoyolo.benchmark.write import INDEX, PARETO, SCORES, write_all
from mitoyolo.dataset import Dataset, open_dataset
from mitoyolo.detectors.base import check_device
from mitoyolo.jobs import check_apart, locked, versions
from mitoyolo.many import LeftOut
from mitoyolo.pool import cores
from mitoyolo.progress import note
from mitoyolo.stopping import Stopped, stoppable
from mitoyolo.train_options import EPOCHS


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkOptions:
    """The options of ``mitoyolo benchmark``.

    Attributes
    ----------
    data : tuple of Path
        Dataset folders; none: the rendered benchmark.
    models : tuple of str
        Keys of :data:`mitoyolo.benchmark.entries.ENTRIES`.
    seeds : tuple of int
    epochs : int or None
        Of every model; None: each entry's own on rendered data, else 50.
    imgsz : int or None
        Pixels to which tiles are resized; None: each model's own way, of rendered data their size.
    weights : str or None
        Start of our models, as ``mitoyolo train`` takes it; None: on rendered data random
        weights, else the pretrained ones that are at hand.
    protocol : str or None
        None: as each data set says.
    device : str
        `cpu`, or a GPU's number.
    quick : bool
        Little rendered data and few epochs.
    """

    data: tuple[Path, ...] = ()
    models: tuple[str, ...] = USUAL
    seeds: tuple[int, ...]
    epochs: int | None = None
    imgsz: int | None = None
    weights: str | None = None
    protocol: str | None = None
    device: str = "cpu"
    quick: bool = False


PARTS = ("cells", "data", "tables", "tables.md", SCORES, PARETO, INDEX)
"""What stands in the folder of a benchmark."""


def benchmark(out: Path, options: BenchmarkOptions, command: str) -> Path | None:
    """Train and score every model on every data set from every seed, and write the tables.

    What stands finished in ``out`` is not run again, so that a call that was stopped goes on, and
    a call with more models, seeds or data sets runs only what is new.

    Parameters
    ----------
    out : Path
        ``out/cells`` gets the trainings, and after each seed ``out/tables`` and ``out/tables.md``
        the tables, ``out/report.html`` the page.
    options : BenchmarkOptions
    command : str
        What the page says that it was made by.

    Returns
    -------
    Path or None
        The page; None where SIGTERM stopped the call.

    Raises
    ------
    InputError
        The data cannot be used, or ``out`` holds cells of another call; after all others are done,
        those that failed.
    """
    entries = find_entries(options.models)
    check_device(options.device)
    if not options.seeds or len(set(options.seeds)) < len(options.seeds):
        raise OptionError(f"--seeds {','.join(map(str, options.seeds))}: expected each once")
    check_apart(out, options.data)
    _check_ours(out)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        datasets = _datasets(out, options)
        cells = [
            Cell(
                data=name,
                dataset=dataset,
                entry=entry,
                seed=seed,
                epochs=options.epochs or _epochs(entry.epochs, entry.quick, options),
                imgsz=options.imgsz or (None if options.data else _example(options).imgsz),
                weights=options.weights or (None if options.data else "none"),
                is_small=not options.data,
                device=options.device,
                folder=out / "cells" / name / entry.name / f"seed-{seed}",
            )
            for seed in options.seeds  # outermost: a call that is stopped has tables of whole seeds
            for name, dataset in datasets.items()
            for entry in entries
        ]
        for cell in cells:
            _ = cell.start  # weights that are not there are told before hours of training
        tests = len(cells) * len(datasets)
        left_out = LeftOut("tests of a model", tests, MitoyoloError)
        done = []
        try:
            with stoppable():
                for number, cell in enumerate(cells, 1):
                    note(f"{number} of {len(cells)}: {cell}")
                    with left_out.collect():
                        names = complete(cell, datasets, options.protocol, left_out.collect)
                        done.append((cell, names))
                    if number % (len(cells) // len(options.seeds)) == 0:
                        _write(out, done, datasets, command, left_out.errors)
        except Stopped:
            note("stopped; the same call goes on")
            return None
        left_out.check()
    return out / INDEX


def _check_ours(out: Path) -> None:
    """Refuse a folder that holds other things, which would be written over."""
    others = [path.name for path in out.iterdir() if path.name not in PARTS] if out.is_dir() else []
    if others or out.is_file():
        raise InputError(
            f"holds {others[0]}, which is no benchmark's" if others else "is a file",
            file=out,
            fix="give another --out",
        )


def _datasets(out: Path, options: BenchmarkOptions) -> dict[str, Dataset]:
    """The data sets by name."""
    if not options.data:
        found = [open_dataset(render(out / "data", _example(options)))]
    else:
        found = [open_dataset(path) for path in options.data]
    for each in found:
        each.of_split("test")  # what none can be scored on is told before hours of training
    twice = [name for name, n in Counter(each.root.name for each in found).items() if n > 1]
    if twice:
        raise InputError(f"two data sets are called {twice[0]}", fix="rename one of the folders")
    return {each.root.name: each for each in found}


def _example(options: BenchmarkOptions) -> Example:
    return QUICK if options.quick else RENDERED


def _epochs(usual: int, quick: int, options: BenchmarkOptions) -> int:
    if options.data:
        return EPOCHS
    return quick if options.quick else usual


def _write(
    out: Path,
    done: Sequence[tuple[Cell, Sequence[str]]],
    datasets: dict[str, Dataset],
    command: str,
    left_out: Sequence[str],
) -> None:
    rows = read_rows(done, datasets)
    if not rows:
        return
    shown = [
        tables.detectors(rows, datasets),
        tables.kmit(rows, published("kmit"), datasets),
        tables.rao(rows, published("mitos-rcnn")),
        tables.confusions(rows),
        tables.crossed(rows),
        tables.costs(rows),
        tables.elsewhere([one for one in published() if not one.table]),
        tables.by_protocol(rows),
    ]
    facts = [
        ("command", command),
        ("left out", "; ".join(left_out) or "nothing"),
        ("date", datetime.now(UTC).date().isoformat()),
        ("seeds", ", ".join(map(str, dict.fromkeys(cell.seed for cell, _ in done)))),
        ("versions", ", ".join(f"{name} {number}" for name, number in versions().items())),
        ("machine", f"{processor_name()}, {cores()} of its cores; GPU: {gpu_name() or 'none'}"),
        *((f"data set {name}", each.hash()) for name, each in datasets.items()),
    ]
    said = {one.source: notes(one.paper) for one in published() if notes(one.paper)}
    write_all(out, shown, rows, facts, said)


def processor_name() -> str:
    """What the machine calls its processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gpu_name() -> str | None:
    """The first GPU's name, if there is one."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
