"""The kinds of jobs: a slide cut into tiles, or searched, and a training on what is approved."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from converters.files import PART, copy_file
from converters.slide_tiles import INDEX, TILES
from mitoyolo.detectors.families import MODELS
from mitoyolo.web import jobs, slides
from mitoyolo.web.access import ApiError
from mitoyolo.web.download import (
    LABELS,
    Wanted,
    convert_options,
    read_tiles,
    tile_mpp,
    write_tree,
)
from mitoyolo.web.elements import label_of
from mitoyolo.web.jobs import Command, Kind, mitoyolo
from mitoyolo.web.models import Job, JobState, Slide, SlideState, User
from mitoyolo.web.settings import Settings

WEIGHTS = ".pt"
"""Suffix of the files that a search may use."""


def weights(settings: Settings) -> list[str]:
    """Names of the weights files that stand in the workspace, sorted."""
    return sorted(path.name for path in settings.weights.glob(f"*{WEIGHTS}") if path.is_file())


def _check_weights(settings: Settings, name: str) -> None:
    """Raise ApiError 422 for what is none of :func:`weights`: a name never becomes a path."""
    known = weights(settings)
    if name not in known:
        raise ApiError(
            422,
            f"weights {name[:80]!r}: expected one of {', '.join(known) or '(none is there yet)'}; "
            "put the file into the folder weights/ of the workspace, or train a model",
        )


def _slide_of(db: Session, job: Job) -> Slide:
    return db.get_one(Slide, job.slide_id)


# --- cut --------------------------------------------------------------------------------------


def _cut(db: Session, settings: Settings, job: Job) -> list[Command]:
    return [mitoyolo(*slides.cut_command(settings, _slide_of(db, job), job.options))]


def _take_tiles(db: Session, settings: Settings, job: Job) -> None:
    slides.take_tiles(db, settings, _slide_of(db, job))


def _cut_failed(db: Session, settings: Settings, job: Job) -> None:
    slide = _slide_of(db, job)
    slide.state, slide.error = SlideState.FAILED, job.message


# --- detect -----------------------------------------------------------------------------------


def submit_detect(
    db: Session, settings: Settings, user: User, slide: Slide, name: str, threshold: float | None
) -> Job:
    """Have a slide searched.

    Raises
    ------
    ApiError
        422: there are no such weights. 409: only tiles came, nobody has said the slide's µm/px, or
        it is being searched.
    """
    slides.file_of(settings, slide)
    _check_weights(settings, name)
    if not slide.mpp_x:
        raise ApiError(409, f"{slide.name} has no µm/px; state it first")
    unfinished = select(Job.id).where(
        Job.slide_id == slide.id,
        Job.kind == "detect",
        Job.state.in_((JobState.WAITING, JobState.RUNNING)),
    )
    if number := db.scalar(unfinished.limit(1)):
        raise ApiError(409, f"{slide.name} is being searched by job {number}; wait, or stop it")
    options = {"weights": name, "threshold": threshold, "mpp": [slide.mpp_x, slide.mpp_y]}
    return jobs.submit(db, "detect", user, slide, options)


def _detect(db: Session, settings: Settings, job: Job) -> list[Command]:
    slide = _slide_of(db, job)
    command = mitoyolo(
        "detect", slides.file_of(settings, slide).resolve(),
        "--weights", settings.weights.resolve() / job.options["weights"],
        "--out", jobs.folder_of(settings, job) / "out",
        "--mpp", ",".join(map(repr, job.options["mpp"])),
    )  # fmt: skip
    if (threshold := job.options["threshold"]) is not None:
        command += ["--threshold", repr(threshold)]
    return [command]


# --- train ------------------------------------------------------------------------------------

_APPROVED = Wanted(reader=None)


def submit_train(
    db: Session,
    settings: Settings,
    user: User,
    members: Sequence[Slide],
    *,
    model: str,
    epochs: int,
    start: str | None,
) -> Job:
    """Have a detector trained on the approved batches of some slides, the consensus where several
    have read them.

    Parameters
    ----------
    start : str or None
        Weights to start from, one of :func:`weights`; `none` for from scratch; None for the
        model's own.

    Raises
    ------
    ApiError
        422: the model or the weights are not known. 409: nothing is approved, there is no mitosis
        in it, or the slides' µm/px do not fit.
    """
    if model not in MODELS:
        raise ApiError(422, f"model {model[:80]!r}: expected one of {', '.join(MODELS)}")
    if start not in (None, "none"):
        _check_weights(settings, start)
    approved = {slide: _labels(db, slide) for slide in members}
    used = [slide for slide, labels in approved.items() if labels is not None]
    found = {label for labels in approved.values() if labels for label in labels}
    if "mitosis" not in found:
        names = ", ".join(slide.name for slide in members)
        raise ApiError(409, f"no mitosis in the approved batches of {names}; approve some first")
    options = {
        "slides": [slide.id for slide in used],
        "labels": [label for label in LABELS if label in found],
        "mpp": _stated_mpp(used),
        "model": model,
        "epochs": epochs,
        "start": start,
        "stain": "macenko",
    }
    return jobs.submit(db, "train", user, None, options)


def _labels(db: Session, slide: Slide) -> set[str] | None:
    """The labels in what is approved of a slide; None where nothing is."""
    batches = read_tiles(db, slide, _APPROVED)
    tiles = [tile for members in batches.values() for tile in members]
    return {label_of(item) for tile in tiles for item in tile.elements} if tiles else None


def _stated_mpp(used: Sequence[Slide]) -> list[float] | None:
    """µm/px of the tiles, where their tree does not say it."""
    mpp = convert_options(used, "yolo").mpp
    if len(used) == 1:
        mpp = tile_mpp(used[0])
    return list(mpp) if mpp else None


def _train(db: Session, settings: Settings, job: Job) -> list[Command]:
    """Convert, normalise, train; all three go on where they were.

    Of one slide, tiles are dealt to training and validation each by itself, without their places
    on it; of several, whole slides are.
    """
    options, folder = job.options, jobs.folder_of(settings, job)
    one = len(options["slides"]) == 1
    tree, dataset, normalised = (folder / name for name in ("approved", "dataset", "normalised"))
    if not tree.exists():
        part = folder / f"{PART}approved"
        shutil.rmtree(part, ignore_errors=True)
        used = [db.get_one(Slide, slide) for slide in options["slides"]]
        write_tree(db, settings, used, _APPROVED, part, images=True)
        if one:
            for table in (TILES, INDEX):
                (part / used[0].name / table).unlink(missing_ok=True)
        part.rename(tree)
    convert = mitoyolo(
        "convert", tree, dataset, "--from", "cadd4mbc", "--labels", ",".join(options["labels"]),
        "--split", "0.8,0.2,0", "--group-by", "image" if one else "case",
    )  # fmt: skip
    if options["mpp"]:
        convert += ["--mpp", ",".join(map(repr, options["mpp"]))]
    train = mitoyolo(
        "train", "--data", normalised / "dataset.yaml", "--model", options["model"],
        "--epochs", options["epochs"], "--project", folder, "--name", "run", "--resume",
    )  # fmt: skip
    if start := options["start"]:
        train += [
            "--weights",
            start if start == "none" else str(settings.weights.resolve() / start),
        ]
    stain = options.get("stain", "reinhard")  # which jobs of before do not name
    return [convert, mitoyolo("normalize", dataset, normalised, "--method", stain), train]


def _keep_weights(db: Session, settings: Settings, job: Job) -> None:
    best = jobs.folder_of(settings, job) / "run" / "weights" / "best.pt"
    copy_file(best, settings.weights / f"{job.options['model']}-job-{job.id}{WEIGHTS}")


KINDS = {
    "cut": Kind(_cut, finished=_take_tiles, failed=_cut_failed),
    "detect": Kind(_detect),
    "train": Kind(_train, finished=_keep_weights),
}
"""Name -> kind of every job that there is."""
