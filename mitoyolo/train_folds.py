"""``mitoyolo train --folds``: every case scored by a model that has not seen it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.errors import OptionError
from converters.files import read_json, write_json
from converters.model import LABELS
from mitoyolo.dataset import INDEX as DATASET
from mitoyolo.dataset import Dataset, open_dataset
from mitoyolo.distributed import devices_for, launched_already
from mitoyolo.evaluate import evaluate
from mitoyolo.folds import deal_folds, splits_of, write_fold
from mitoyolo.inference.merge import SCORE, Detections
from mitoyolo.inference.predictions import read_predictions
from mitoyolo.inference.tables import PREDICTIONS, write_predictions
from mitoyolo.inference.truths import ALL, read_truths
from mitoyolo.jobs import OF_A_JOB_WITHIN, open_job
from mitoyolo.progress import note
from mitoyolo.train import INDEX, train
from mitoyolo.train_options import TrainOptions
from mitoyolo.val import INDEX as METRICS
from mitoyolo.val import val

THRESHOLD = 0.5
"""Of the scores in the pooled ``predictions.csv``, whatever each fold's own is."""


def train_folds(
    data: Path,
    folder: Path,
    options: TrainOptions,
    folds: int,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> str | None:
    """Train once a fold, and score each case by the model that was not trained on it.

    Fold ``k`` is scored once; epoch and threshold come from fold ``k + 1``; the others are trained
    on. ``folder/fold-K`` has the data set dealt so (``data``), its training (``run``) and what
    :func:`mitoyolo.val.val` says of it (``scores``); ``folder/out-of-fold`` is what
    :func:`mitoyolo.evaluate.evaluate` says of all cases together.

    Parameters
    ----------
    data, options, resume, overwrite
        As :func:`mitoyolo.train.train` takes them; the options' seed also deals the cases.
    folder : Path
        To write.
    folds : int
        At least three, at most as many as cases.

    Returns
    -------
    str or None
        One line for the user; None where SIGTERM stopped the training.

    Raises
    ------
    InputError
        The data cannot be dealt or trained on.
    OptionError
        Too few or too many folds; or several processes that were not started by this call.
    """
    if launched_already() or options.nnodes > 1:  # who would write the folds, and who wait?
        raise OptionError("--folds in processes started from outside", fix="use --ddp --nproc N")
    dataset = open_dataset(data)
    fold_of = deal_folds(dataset, folds, options.seed)
    arguments = {
        **options.computing(),
        "folds": folds,
        "data": str(dataset.root.resolve()),
        "dataset_hash": dataset.hash(),
    }
    with open_job(
        folder,
        command="train",
        arguments=arguments,
        index=INDEX,
        overwrite=overwrite,
        resumable=resume,
        free=("data", "weights", "recipe"),
        kept_by=OF_A_JOB_WITHIN,
        reads=(data, Path(options.weights) if options.weights else None),
    ) as job:
        if not job.finished:
            for fold in range(1, folds + 1):
                note(f"fold {fold} of {folds}")
                if not _run_fold(dataset, folder, fold_of, fold, options, resume):
                    return None
            write_json(folder / INDEX, _pool(dataset, folder, fold_of, options.seed))
        return _line(read_json(folder / INDEX))


def _run_fold(
    dataset: Dataset,
    folder: Path,
    fold_of: dict[str, int],
    fold: int,
    options: TrainOptions,
    resume: bool,
) -> bool:
    run = folder / f"fold-{fold}"
    if not (run / "data" / DATASET).exists():
        write_fold(dataset, run / "data", splits_of(fold_of, fold))
    best = train(run / "data", run / "run", options, resume=resume)
    if best is None:
        return False
    device = devices_for(options.device, several=True)[0]
    val(run / "data", best, split="test", out=run / "scores", device=device)
    return True


def _pool(dataset: Dataset, folder: Path, fold_of: dict[str, int], seed: int) -> dict[str, Any]:
    """Score the test detections of all folds together; the contents of ``summary.json``."""
    found: dict[str, Detections] = {}
    runs = {}
    for fold in sorted(set(fold_of.values())):
        run = folder / f"fold-{fold}"
        metrics = read_json(run / "scores" / METRICS)
        theirs = read_predictions(run / "scores" / PREDICTIONS, read_truths(run / "data"))
        for source, rows in theirs.items():
            found[source] = at_common_threshold(rows, metrics["threshold"])
        runs[fold] = {
            "cases": sorted(case for case, number in fold_of.items() if number == fold),
            **{key: metrics[key] for key in ("tp", "fp", "fn", "f1", "threshold")},
        }
    write_predictions(folder / PREDICTIONS, found, LABELS)
    pooled = evaluate(
        dataset.root, folder / PREDICTIONS, split=ALL, threshold=THRESHOLD,
        out=folder / "out-of-fold", seed=seed, overwrite=True,
    )  # fmt: skip
    keys = ("protocol", "tp", "fp", "fn", "precision", "recall", "f1", "f1_ci95", "f1_ci95_over")
    return {"folds": runs, **{key: pooled[key] for key in (*keys, "ap")}}


def at_common_threshold(found: Detections, threshold: float) -> Detections:
    """Detections whose scores are stretched so that a fold's threshold becomes 0.5.

    0 to the threshold becomes 0 to 0.5, the threshold to 1 becomes 0.5 to 1: which detections
    count stays the same, and one threshold and one ranking are of all folds.
    """
    moved = found.copy()
    scores = found[:, SCORE]
    below = scores < threshold
    moved[below, SCORE] = THRESHOLD * scores[below] / (threshold or 1.0)
    above = (scores[~below] - threshold) / ((1.0 - threshold) or 1.0)
    moved[~below, SCORE] = THRESHOLD + (1.0 - THRESHOLD) * above
    return moved


def _line(summary: dict[str, Any]) -> str:
    f1, ends = summary["f1"], summary["f1_ci95"]
    if f1 is None:
        return "out-of-fold F1 undefined: no mitosis, and none found"
    over = summary["f1_ci95_over"]
    between = f" (95 % {ends[0]:.3f} to {ends[1]:.3f} over {over})" if ends else ""
    return (
        f"out-of-fold F1 {f1:.3f}{between}: {summary['tp']} found, {summary['fp']} false, "
        f"{summary['fn']} missed in {len(summary['folds'])} folds"
    )
