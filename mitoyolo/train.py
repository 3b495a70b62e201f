"""``mitoyolo train``: a dataset folder and a start to a run folder with weights."""

from __future__ import annotations

import subprocess
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from converters.errors import InputError, OptionError
from converters.files import write_json
from mitoyolo.dataset import Dataset, open_dataset
from mitoyolo.detectors.base import check_device
from mitoyolo.detectors.card import Card
from mitoyolo.detectors.weights import find_weights
from mitoyolo.evaluation.protocols import get_protocol
from mitoyolo.jobs import open_job, versions
from mitoyolo.progress import bar, note
from mitoyolo.report.training import draw_curves
from mitoyolo.tiles import DEFAULT_OVERLAP

INDEX = "summary.json"
START = Path("weights", "start.pt")
MODELS = ("yolov5n", "yolov5s", "yolov5m", "yolov5l", "yolov5x")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """The options of ``mitoyolo train``.

    Attributes
    ----------
    model : str
        One of :data:`MODELS`.
    weights : str or None
        A file, a name, `none`, or None for the model's pretrained weights.
    epochs, imgsz, batch, seed : int
        ``imgsz`` None: the tiles' own longest side.
    device : str
        `cpu`, or a GPU's number.
    settings : dict
        Ultralytics' own settings, from ``--set key=value``.
    """

    model: str
    weights: str | None = None
    epochs: int = 50
    imgsz: int | None = None
    batch: int = 16
    device: str = "cpu"
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)


def train(data: Path, run: Path, options: TrainOptions, *, overwrite: bool = False) -> Path:
    """Fine-tune a detector on a dataset folder.

    Parameters
    ----------
    data : Path
        ``dataset.yaml`` or its folder.
    run : Path
        The run folder to write: ``weights/{start,last,best}.pt``, ``results.csv``,
        ``curves.png``, ``run.json`` and, last, ``summary.json``.
    options : TrainOptions
    overwrite : bool
        Replace a run that stands there.

    Returns
    -------
    Path
        ``run/weights/best.pt``: the epoch with the best F1 on the validation split's source
        images, with the card that ``val`` and ``detect`` read.

    Raises
    ------
    InputError
        The data cannot be trained on, or the weights do not fit.
    """
    if options.model not in MODELS:
        raise OptionError(f"--model {options.model!r} is not known (known: {', '.join(MODELS)})")
    dataset = open_dataset(data)
    _check(dataset)
    weights = find_weights(options.weights, options.model)
    check_device(options.device)
    from mitoyolo.detectors.yolo import start_model, write_start  # torch, only when it is used
    from mitoyolo.detectors.yolo_train import recipe

    settings = recipe(options.settings)
    model = start_model(options.model, weights, dataset.labels, options.seed)
    best = run / "weights" / "best.pt"
    imgsz = options.imgsz or max(max(t.width, t.height) for t in dataset.tiles)
    imgsz = -(-imgsz // 32) * 32
    arguments = {
        **asdict(options),
        "imgsz": imgsz,
        "weights": str(weights.resolve()) if weights else "none",
        "data": str(dataset.root.resolve()),
        "dataset_hash": dataset.hash(),
    }
    with open_job(
        run, command="train", arguments=arguments, index=INDEX, overwrite=overwrite, resumable=False
    ) as job:
        if job.finished:
            note(f"{run} is finished already; nothing to do")
            return best
        write_start(run / START, model)
        note(
            f"training {options.model} from {weights or 'scratch'} on "
            f"{len(dataset.of_split('train'))} tiles, {options.epochs} epochs at {imgsz} px"
        )
        summary = _train(dataset, run, imgsz, settings, options)
        job.facts.update(
            seed=options.seed,
            device=options.device,
            git=_git_revision(),
            dataset_hash=dataset.hash(),
            **summary.pop("measured"),
        )
        write_json(run / INDEX, summary)
    return best


def _train(
    dataset: Dataset, run: Path, imgsz: int, settings: dict[str, Any], options: TrainOptions
) -> dict[str, Any]:
    from mitoyolo.detectors.yolo_train import finish, train_yolo

    protocol = get_protocol(dataset.block["protocol"])
    batches = options.epochs * -(-len(dataset.images_of("train")) // options.batch)
    with bar("training", unit="batches", total=batches) as progress:
        outcome = train_yolo(
            start=run / START,
            dataset=dataset,
            run=run,
            settings=settings,
            epochs=options.epochs,
            imgsz=imgsz,
            batch=options.batch,
            device=options.device,
            seed=options.seed,
            protocol=protocol,
            progress=progress,
        )
    card = Card(
        family=options.model,
        classes=tuple(dataset.labels),
        mpp=dataset.mpp,
        tile=_tile_size(dataset),
        overlap=int(dataset.block.get("overlap", DEFAULT_OVERLAP)),
        imgsz=imgsz,
        normalisation=dataset.normalisation,
        radius_um=float(dataset.block["radius_um"]),
        protocol=protocol.name,
        threshold=outcome.threshold,
        threshold_from=f"val split, best F1 by {protocol.name}, epoch {outcome.epoch}",
        versions=versions(),
    )
    finish(run / "weights" / "best.pt", card)
    finish(run / "weights" / "last.pt", card if outcome.epoch == outcome.epochs else _bare(card))
    if outcome.batch != options.batch:
        note(f"the batch was halved to {outcome.batch}, since the GPU's memory ran out")
    draw_curves(
        run / "results.csv",
        run / "curves.png",
        title=f"{options.model}, {run.name}",
        rule=protocol.title,
    )
    f1 = "undefined" if outcome.f1 is None else f"{outcome.f1:.3f}"
    note(
        f"best epoch {outcome.epoch} of {outcome.epochs}: F1 {f1} on the validation split at "
        f"threshold {outcome.threshold:.3f}; {run / 'weights' / 'best.pt'}"
    )
    return {
        "model": options.model,
        "epochs": outcome.epochs,
        "best_epoch": outcome.epoch,
        "val_f1": outcome.f1,
        "val_ap": outcome.ap,
        "threshold": outcome.threshold,
        "protocol": protocol.name,
        "weights": "weights/best.pt",
        "measured": {
            "batch": outcome.batch,
            "images_per_s": outcome.images_per_s,
            "own_code_s": outcome.clock.own,
            "validation_scoring_s": outcome.clock.scoring,
        },
    }


def _bare(card: Card) -> Card:
    """The card of other weights than those that the threshold was chosen for."""
    return replace(card, threshold=None, threshold_from="none chosen")


def _check(dataset: Dataset) -> None:
    """Refuse data that would train nothing; say so where it chooses nothing."""
    for split in ("train", "val"):
        dataset.of_split(split)  # neither may be empty
    if not dataset.mitoses("train"):
        raise InputError(
            "no mitosis in the train split", file=dataset.root, fix="convert with another split"
        )
    if not dataset.mitoses("val"):
        note("warning: no mitosis in the val split, so no epoch is better than another")
    for tile in dataset.tiles:
        dataset.image_path(tile)


def _tile_size(dataset: Dataset) -> int:
    """The commonest longer side of the tiles."""
    return Counter(max(tile.width, tile.height) for tile in dataset.tiles).most_common(1)[0][0]


def _git_revision() -> str | None:
    """The revision of the checkout that the user stands in, if any."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
