"""``mitoyolo train --seeds``: the same training from several seeds, and how much they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from converters.errors import OptionError
from converters.files import read_json, write_json
from mitoyolo.distributed import this_process
from mitoyolo.jobs import OF_A_JOB_WITHIN, open_job
from mitoyolo.progress import note
from mitoyolo.train import INDEX, train
from mitoyolo.train_options import TrainOptions

SCORES = ("val_f1", "val_ap", "threshold", "best_epoch")
"""Keys of a run's ``summary.json`` that are averaged."""


def train_seeds(
    data: Path,
    folder: Path,
    options: TrainOptions,
    seeds: Sequence[int],
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> str | None:
    """Train into ``folder/seed-S`` for each seed; mean and spread go to ``folder/summary.json``.

    Parameters
    ----------
    data, options, resume, overwrite
        As :func:`mitoyolo.train.train` takes them; the options' own seed plays no part.
    folder : Path
        To write.
    seeds : sequence of int
        At least two, each once.

    Returns
    -------
    str or None
        One line for the user; None where SIGTERM stopped the training, and in all processes but
        the first.

    Raises
    ------
    OptionError
        Fewer than two seeds, or one twice; or several machines.
    """
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        raise OptionError(
            f"--seeds {','.join(map(str, seeds))}: expected at least two, each once",
            fix="give one seed by --seed",
        )
    if options.nnodes > 1:  # their launchers cannot all hold the folder
        raise OptionError("--seeds and --nnodes", fix="train each seed by a call of its own")
    if not this_process().first:
        for seed in seeds:
            train(data, folder / f"seed-{seed}", replace(options, seed=seed), resume=resume)
        return None
    arguments = {
        **options.computing(),
        "seed": list(seeds),
        "data": str(data.resolve()),
    }
    with open_job(
        folder,
        command="train",
        arguments=arguments,
        index=INDEX,
        overwrite=overwrite,
        resumable=resume,
        free=("data",),  # each run compares its hash
        kept_by=OF_A_JOB_WITHIN,
        reads=(data, Path(options.weights) if options.weights else None),
    ) as job:
        for i, seed in enumerate(seeds):
            note(f"seed {seed}, {i + 1} of {len(seeds)}")
            run = folder / f"seed-{seed}"
            if train(data, run, replace(options, seed=seed), resume=resume) is None:
                return None
        if not job.finished:
            runs = {seed: read_json(folder / f"seed-{seed}" / INDEX) for seed in seeds}
            write_json(folder / INDEX, spread(runs))
        return _line(read_json(folder / INDEX))


def spread(runs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Mean, standard deviation (of a sample) and range over the runs of several seeds.

    Parameters
    ----------
    runs : dict
        ``summary.json`` of each seed's run. An undefined score makes its statistics undefined.

    Examples
    --------
    >>> spread({0: {"val_f1": 0.5}, 1: {"val_f1": 0.7}})["val_f1"]["mean"]
    0.6
    """
    found: dict[str, Any] = {"seeds": list(runs)}
    for name in SCORES:
        values = [run.get(name) for run in runs.values()]
        known = [value for value in values if value is not None]
        whole = len(known) == len(values)
        found[name] = {
            "mean": mean(known) if whole else None,
            "sd": stdev(known) if whole else None,
            "min": min(known) if whole else None,
            "max": max(known) if whole else None,
            "values": values,
        }
    return found


def _line(summary: dict[str, Any]) -> str:
    f1 = summary["val_f1"]
    if f1["mean"] is None:
        return f"validation F1 undefined for some of the seeds {summary['seeds']}"
    return (
        f"validation F1 {f1['mean']:.3f} ± {f1['sd']:.3f} over {len(summary['seeds'])} seeds "
        f"({f1['min']:.3f} to {f1['max']:.3f})"
    )
