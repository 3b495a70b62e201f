"""``mitoyolo train``: a dataset folder and a start to a run folder with weights."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from converters.errors import InputError, OptionError
from converters.files import write_json
from mitoyolo.dataset import Dataset, open_dataset
from mitoyolo.detectors.base import load_detector
from mitoyolo.detectors.card import Card
from mitoyolo.detectors.families import MODELS, YOLO, Family, TrainingRecipe, recipe_of
from mitoyolo.detectors.training import (
    BEST,
    LAST,
    STATE,
    Outcome,
    Score,
    Training,
    peak_memory_mib,
    score_tiles,
)
from mitoyolo.detectors.weights import find_weights
from mitoyolo.distributed import (
    Process,
    devices_for,
    joined,
    launched_already,
    restarts,
    shared,
    this_process,
)
from mitoyolo.evaluation.protocols import get_protocol
from mitoyolo.inference.apply import detect_tiles
from mitoyolo.jobs import (
    check_spared,
    content_hash,
    differing,
    open_job,
    start_over,
    versions,
)
from mitoyolo.launch import LAUNCHED, launch, share_cores
from mitoyolo.progress import bar, note, set_quiet
from mitoyolo.report.training import draw_curves
from mitoyolo.stopping import Stopped, stoppable
from mitoyolo.thinning import thinned
from mitoyolo.tiles import DEFAULT_OVERLAP
from mitoyolo.train_options import (
    TrainOptions,
    asks_for_processes,
    computing_of,
    launch_of,
)

INDEX = "summary.json"
"""Within a run folder."""


def train(
    data: Path,
    run: Path,
    options: TrainOptions,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Path | None:
    """Fine-tune a detector on a dataset folder.

    Parameters
    ----------
    data : Path
        ``dataset.yaml`` or its folder.
    run : Path
        The run folder to write: ``weights/{state,last,best}.pt``, ``results.csv``,
        ``tensorboard/``, ``curves.png``, ``run.json`` and, last, ``summary.json``.
    options : TrainOptions
    resume : bool
        Go on with a run that was stopped or killed, from its last finished epoch; begin it where
        there is none.
    overwrite : bool
        Replace a run that stands there.

    Returns
    -------
    Path or None
        ``run/weights/best.pt``: the best epoch on the validation split's source images, with the
        card that ``val`` and ``detect`` read. None where SIGTERM stopped the training, and in all
        processes but the first.

    Raises
    ------
    InputError
        The data cannot be trained on, or the weights do not fit.
    LaunchError
        One of several processes failed.
    """
    if resume and overwrite:
        raise OptionError("--resume and --overwrite exclude each other")
    process = this_process()
    if not process.first:
        set_quiet(True)
    try:
        with stoppable():
            if asks_for_processes(options) and not launched_already():
                return _launch(data, run, options, resume=resume, overwrite=overwrite)
            return _train(
                data,
                run,
                options,
                process,
                resume=resume or restarts() > 0,
                overwrite=overwrite and not restarts(),
            )
    except Stopped:
        if process.first and LAUNCHED not in os.environ and options.node_rank == 0:
            how = "--resume instead of --overwrite" if overwrite else "--resume"
            note(f"{_how_far(run, options.epochs)}; the same call with {how} goes on")
        return None


def _how_far(run: Path, epochs: int) -> str:
    from mitoyolo.detectors.state import read_state

    try:
        state = read_state(run)
    except InputError:
        return "stopped"
    if state is None:
        return "stopped before the first epoch was finished"
    return f"stopped; epoch {state['epoch']} of {epochs} is finished and kept"


def _launch(
    data: Path, run: Path, options: TrainOptions, *, resume: bool, overwrite: bool
) -> Path | None:
    """Check the call here, once; then start the processes."""
    from mitoyolo.worker import encode

    how = launch_of(options)
    share_cores(how.nproc)
    _prepare(data, run, options, how.nproc * how.nnodes)
    if overwrite and how.node_rank == 0:
        start_over(run, "train")
    launch("mitoyolo.worker", [encode(data, run, options, resume)], how)
    return run / BEST if how.node_rank == 0 else None


@dataclass(frozen=True, slots=True)
class _Plan:
    """A call, checked."""

    family: Family
    dataset: Dataset
    trained: Dataset  # the same without training tiles that --background leaves out
    weights: Path | None
    recipe: TrainingRecipe
    imgsz: int
    batch: int
    arguments: dict[str, Any]


def _prepare(data: Path, run: Path, options: TrainOptions, world: int) -> _Plan:
    if options.model not in MODELS:
        raise OptionError(f"--model {options.model!r} is not known (known: {', '.join(MODELS)})")
    family = MODELS[options.model]
    if options.accumulate > 1 and not family.accumulates:
        raise OptionError(
            f"--accumulate {options.accumulate}: Ultralytics, which trains {options.model}, "
            "accumulates by its own setting nbs",
            fix="leave it out and lower --batch",
        )
    dataset = open_dataset(data)
    _check(dataset)
    weights = find_weights(options.weights, options.model)
    check_spared(run, filter(None, (dataset.root, weights)))
    recipe = recipe_of(options.model, options.recipe, options.settings)
    batch = options.batch or recipe.batch
    _check_batch(batch, options.accumulate, world)
    imgsz = options.imgsz or recipe.imgsz or max(max(t.width, t.height) for t in dataset.tiles)
    imgsz = -(-imgsz // family.stride) * family.stride
    arguments = {
        **options.computing(),
        "settings": computing_of(recipe),
        "imgsz": imgsz,
        "batch": batch,
        "weights": str(weights.resolve()) if weights else "none",
        "weights_hash": content_hash(weights) if weights else None,
        "data": str(dataset.root.resolve()),
        "dataset_hash": dataset.hash(),
    }
    trained = thinned(dataset, options.background, options.seed)
    return _Plan(family, dataset, trained, weights, recipe, imgsz, batch, arguments)


def _check_batch(batch: int, accumulate: int, world: int) -> None:
    if batch % world:
        raise OptionError(
            f"--batch {batch}: {world} processes cannot share it evenly",
            fix=f"give a multiple of {world}",
        )
    if accumulate > batch // world:
        raise OptionError(
            f"--accumulate {accumulate}: a process has {batch // world} tiles a step",
            fix="give no more than these",
        )


def _train(
    data: Path,
    run: Path,
    options: TrainOptions,
    process: Process,
    *,
    resume: bool,
    overwrite: bool,
) -> Path | None:
    """Train in this process, together with the others where there are any."""
    devices = devices_for(options.device, several=process.world > 1)
    if devices != ("cpu",) and process.local_world > len(devices):
        raise OptionError(
            f"{process.local_world} processes on this machine, but --device {','.join(devices)}",
            fix="start one process a GPU",
        )
    with ExitStack() as stack:
        with joined(process, gpu=devices != ("cpu",)):
            plan = _prepare(data, run, options, process.world)
            _check_alike(plan, run, process)
            if not process.first:
                if not shared(False):
                    _fit(plan, run, options, process, devices)
                return None
            job = stack.enter_context(
                open_job(
                    run,
                    command="train",
                    arguments=plan.arguments,
                    index=INDEX,
                    overwrite=overwrite,
                    resumable=resume,
                    free=MOVABLE,
                    kept_by=STATE.as_posix(),
                )
            )
            if shared(job.finished):
                note(f"{run} is finished already; nothing to do")
                return run / BEST
            outcome = _fit(plan, run, options, process, devices)
        # the other processes are let go: a verifier may take longer than they would wait
        begun = time.perf_counter()
        write_json(run / INDEX, _conclude(plan, run, options, outcome, devices[0]))
        job.facts.update(
            seed=options.seed,
            device=",".join(devices),
            processes=process.world,
            git=_git_revision(),
            dataset_hash=plan.arguments["dataset_hash"],
            batch=outcome.batch,
            begun_at_epochs=outcome.sessions,
            training_s=outcome.clock.total,
            concluding_s=time.perf_counter() - begun,
            images_per_s=outcome.epochs
            * len(plan.trained.images_of("train"))
            / outcome.clock.total,
            own_code_s=outcome.clock.own,
            validation_scoring_s=outcome.clock.scoring,
            peak_memory_mib=peak_memory_mib(),
        )
    return run / BEST


MOVABLE = ("data", "weights", "recipe")
"""Arguments whose hashes or settings are compared instead: they may lie elsewhere the next time."""


def _check_alike(plan: _Plan, run: Path, process: Process) -> None:
    """Refuse processes that were not started by the same call; they would wait for each other."""
    own = {**plan.arguments, "run folder": str(run.resolve())}
    others = differing(shared(own), own, MOVABLE)
    if others:
        raise InputError(
            f"process {process.rank} was called with another {', '.join(others)} than process 0",
            fix="start all processes by the same call",
        )


def _fit(
    plan: _Plan, run: Path, options: TrainOptions, process: Process, devices: tuple[str, ...]
) -> Outcome:
    from mitoyolo.detectors.state import read_state

    state = shared(read_state(run) if process.first else None)
    if state and state["batch"] % process.world:
        raise InputError(
            f"the run goes on with batches of {state['batch']}, which {process.world} processes "
            "cannot share evenly",
            file=run,
            fix="resume it in fewer processes",
        )
    _warn(plan.dataset)
    if options.weights is None and plan.weights is None:
        names = ", ".join(plan.family.pretrained)
        note(f"no pretrained weights found ({names}): {options.model} starts from scratch")
    begun = f"{state['epoch']} of them done, " if state else ""
    tiles = len(plan.trained.images_of("train"))
    note(
        f"training {options.model} from {plan.weights or 'scratch'} on {tiles} tiles, "
        f"{options.epochs} epochs at {plan.imgsz} px, {begun}{_where(devices, process)}"
    )
    done = state["epoch"] * tiles if state else 0
    with bar("training", unit="tiles", total=options.epochs * tiles, completed=done) as progress:
        training = Training(
            model=options.model,
            start=plan.weights,
            dataset=plan.trained,
            run=run,
            recipe=plan.recipe,
            epochs=options.epochs,
            imgsz=plan.imgsz,
            batch=plan.batch,
            accumulate=options.accumulate,
            seed=options.seed,
            devices=devices,
            protocol=get_protocol(plan.dataset.block["protocol"]),
            process=process,
            progress=progress,
            state=state,
        )
        outcome: Outcome = import_module(plan.family.trains).fit(training)
    return outcome


def _where(devices: tuple[str, ...], process: Process) -> str:
    place = "on the CPU" if devices == ("cpu",) else f"on GPU {', '.join(devices)}"
    return f"{place} in {process.world} processes" if process.world > 1 else place


def _conclude(
    plan: _Plan, run: Path, options: TrainOptions, outcome: Outcome, device: str
) -> dict[str, Any]:
    """Give the weights their cards, draw the curves; the contents of ``summary.json``."""
    dataset = plan.dataset
    protocol = get_protocol(dataset.block["protocol"])
    finish = import_module(plan.family.trains).finish
    score = Score(outcome.f1, outcome.ap, outcome.threshold)
    bare = bare_card(dataset, options.model, plan.imgsz)
    verifier = None
    if plan.recipe.verify and (tensors := _train_verifier(plan, run, bare, options.seed, device)):
        verified = replace(bare, verifier=_verifier_of(options.model))
        finish(run / BEST, verified, tensors)
        detector = load_detector(run / BEST, device=device)
        second = score_tiles(dataset, protocol, detect_tiles(detector, dataset, "val"))
        if is_no_worse(second, score):
            bare, score, verifier = verified, second, tensors
        else:
            note(
                f"the verifier is left out: on the validation split F1 is {_text(second.f1)} with "
                f"it and {_text(score.f1)} without"
            )
    card = replace(
        bare,
        threshold=score.threshold,
        threshold_from=f"val split, best F1 by {protocol.name}, epoch {outcome.epoch}",
    )
    finish(run / BEST, card, verifier)
    finish(run / LAST, card if outcome.epoch == outcome.epochs else bare, verifier)
    if outcome.batch != plan.batch:
        note(f"the batch was halved to {outcome.batch}, since the GPU's memory ran out")
    if outcome.epochs < options.epochs:
        note(f"stopped early: no better epoch since {outcome.epoch}")
    draw_curves(
        run / "results.csv",
        run / "curves.png",
        title=f"{options.model}, {run.name}",
        rule=protocol.title,
        best=outcome.epoch,
    )
    seen = ", verified," if verifier else ""
    beside = f" (by the detector alone {_text(outcome.f1)})" if verifier else ""
    note(
        f"best epoch {outcome.epoch} of {outcome.epochs}: F1 {_text(score.f1)} on the validation "
        f"split{seen} at threshold {score.threshold:.3f}{beside}; {run / BEST}"
    )
    return {
        "model": options.model,
        "epochs": outcome.epochs,
        "best_epoch": outcome.epoch,
        "verifier": card.verifier,
        "val_f1": score.f1,
        "val_ap": score.ap,
        "threshold": score.threshold,
        "protocol": protocol.name,
        "weights": str(BEST),
    }


def _text(f1: float | None) -> str:
    return "undefined" if f1 is None else f"{f1:.3f}"


def is_no_worse(second: Score, first: Score) -> bool:
    """Whether the F1 with a verifier is no lower than without; so too if neither is known."""
    return (second.f1 or 0.0) >= (first.f1 or 0.0)


def _verifier_of(model: str) -> str:
    """The YOLOv5 whose first layers the verifier of a model has."""
    return model if model in YOLO else "yolov5n"


def _train_verifier(
    plan: _Plan, run: Path, bare: Card, seed: int, device: str
) -> dict[str, Any] | None:
    from mitoyolo.detectors.verifier_train import train_verifier

    import_module(plan.family.trains).finish(run / BEST, bare)
    detector = load_detector(run / BEST, device=device)
    start = plan.weights if bare.family in YOLO else None  # else of another network
    return train_verifier(plan.dataset, detector, _verifier_of(bare.family), start, seed)


def bare_card(dataset: Dataset, family: str, imgsz: int) -> Card:
    """The card of a model trained on a data set, for which no threshold was chosen."""
    return Card(
        family=family,
        classes=tuple(dataset.labels),
        mpp=dataset.mpp,
        tile=_tile_size(dataset),
        overlap=int(dataset.block.get("overlap", DEFAULT_OVERLAP)),
        imgsz=imgsz,
        normalisation=dataset.normalisation,
        radius_um=float(dataset.block["radius_um"]),
        protocol=dataset.block["protocol"],
        threshold=None,
        threshold_from="none chosen",
        versions=versions(),
    )


def _warn(dataset: Dataset) -> None:
    """Say where data choose nothing."""
    if not dataset.mitoses("val"):
        note("warning: no mitosis in the val split, so no epoch is better than another")


def _check(dataset: Dataset) -> None:
    """Refuse data that would train nothing."""
    for split in ("train", "val"):
        dataset.of_split(split)  # neither may be empty
    if not dataset.mitoses("train"):
        raise InputError(
            "no mitosis in the train split", file=dataset.root, fix="convert with another split"
        )
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
