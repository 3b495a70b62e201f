"""A cell of the benchmark: one model trained on one data set from one seed, scored and measured.

Each part is kept when it is done, so that a benchmark that was stopped goes on where it was, and
one with another model, seed or data set runs what is new::

    OUT/cells/DATA/MODEL/seed-S/
      run/            what `mitoyolo train` writes, less what only a resumed training needs; or
                      weights and record.json of a peer
      cell.json       what the training took, size and speed of the model
      on-DATA/        what `mitoyolo val` writes, for each data set that it is tested on
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from converters.errors import InputError
from converters.files import read_json, write_json
from mitoyolo.benchmark.cost import cost
from mitoyolo.benchmark.entries import Entry
from mitoyolo.benchmark.peers import PEERS, RECORD
from mitoyolo.dataset import Dataset
from mitoyolo.detectors.base import Detector, load_detector
from mitoyolo.detectors.families import recipe_of
from mitoyolo.detectors.training import BEST, LAST
from mitoyolo.detectors.weights import find_weights
from mitoyolo.evaluation.protocols import Protocol, get_protocol
from mitoyolo.images import read_rgb
from mitoyolo.inference.apply import check_classes
from mitoyolo.jobs import RUN_FILE, content_hash, open_job
from mitoyolo.progress import is_quiet
from mitoyolo.train import INDEX as TRAINED
from mitoyolo.train import bare_card
from mitoyolo.train_options import computing_of
from mitoyolo.training_process import TrainingError, run_training, seconds_of
from mitoyolo.val import INDEX as METRICS
from mitoyolo.val import score, threshold_on_val

INDEX = "cell.json"

TIMED_TILES = 2
"""Tiles on which the speed is measured."""

STRIDE = 32
"""Pixels to a multiple of which a peer's input is rounded up, as YOLO's is."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training, and what is asked of its weights.

    Attributes
    ----------
    data : str
        Name of the data set.
    dataset : Dataset
        Trained on.
    entry : Entry
        What is trained.
    seed, epochs : int
    imgsz : int or None
        Pixels to which tiles are resized; None: each model's own way.
    weights : str or None
        Start, as ``mitoyolo train`` takes it.
    is_small : bool
        Whether the entry's settings for small data are given.
    device : str
        `cpu`, or a GPU's number.
    folder : Path
        To write.
    """

    data: str
    dataset: Dataset
    entry: Entry
    seed: int
    epochs: int
    imgsz: int | None
    weights: str | None
    is_small: bool
    device: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.entry.name} on {self.data}, seed {self.seed}"

    @property
    def run(self) -> Path:
        """Folder of the training."""
        return self.folder / "run"

    def scored(self, data: str) -> Path:
        """Folder of the scores on a data set."""
        return self.folder / f"on-{data}"

    @cached_property
    def start(self) -> Path | None:
        """The weights that the training starts from; None: random ones."""
        return find_weights(self.weights, self.entry.model) if self.entry.model else None

    @property
    def options(self) -> list[str]:
        """Of the program that trains, but for folders and device."""
        side = max(max(tile.width, tile.height) for tile in self.dataset.tiles)
        imgsz = self.imgsz or (-(-side // STRIDE) * STRIDE if self.entry.is_peer else None)
        return [
            "--epochs", str(self.epochs), "--seed", str(self.seed),
            *(() if imgsz is None else ("--imgsz", str(imgsz))),
            *self.entry.options, *(self.entry.small if self.is_small else ()),
        ]  # fmt: skip

    @property
    def command(self) -> list[str]:
        """The program that trains, and its arguments."""
        own = ["train", "--model", self.entry.model, "--project", str(self.folder), "--name", "run"]
        peer = ["--out", str(self.run)]
        return [
            sys.executable, "-m",
            *(["mitoyolo.benchmark.peers", self.entry.name] if self.entry.is_peer
              else ["mitoyolo", *own]),
            *(peer if self.entry.is_peer else ["--resume"]),
            "--data", str(self.dataset.root), "--weights", str(self.start or "none"),
            "--device", self.device, *self.options, *(["--quiet"] if is_quiet() else []),
        ]  # fmt: skip

    @property
    def can_export(self) -> bool:
        """Whether ``mitoyolo export`` knows its weights."""
        return not self.entry.is_peer or PEERS[self.entry.name].exports

    @property
    def record(self) -> str:
        """The file that is written last in the folder of the training."""
        return RECORD if self.entry.is_peer else TRAINED

    @property
    def best(self) -> Path:
        """The weights that are scored."""
        return self.run / BEST

    @cached_property
    def best_hash(self) -> str:
        """Of these weights, when the training is done: half a gigabyte, read once."""
        return content_hash(self.best)


def complete(
    cell: Cell,
    tested: Mapping[str, Dataset],
    protocol: str | None,
    collect: Callable[[], AbstractContextManager[None]],
) -> list[str]:
    """Train a cell, measure its model, and score it on the test splits; what is done is kept.

    Parameters
    ----------
    cell : Cell
    tested : mapping
        Data sets by name, its own among them.
    protocol : str or None
        How detections are counted; None: as each data set says.
    collect : callable
        Gives the context in which each scoring on another data set may fail by itself.

    Returns
    -------
    list of str
        The data sets that it is scored on.

    Raises
    ------
    InputError
        The folder holds another call's work.
    TrainingError
        The training failed, or its model cannot be used.
    """
    arguments = {
        "model": cell.entry.name,
        "options": cell.options,
        "recipe": None if cell.entry.is_peer else computing_of(recipe_of(cell.entry.model)),
        "weights": content_hash(cell.start) if cell.start else "none",
        "dataset_hash": cell.dataset.hash(),
        "device": cell.device,
    }
    detector = cache(partial(_load, cell))  # once, and only where there is something to do
    with open_job(
        cell.folder,
        command="benchmark",
        arguments=arguments,
        index=INDEX,
        free=("device",),
        kept_by="run/*",
    ) as job:
        if not job.finished:
            _train(cell)
            try:
                facts = _facts(cell, detector())
            except InputError as error:  # told with the cell's name
                raise TrainingError(f"{cell}: {error}") from error
            write_json(cell.folder / INDEX, facts)
    # by the rule that counts, on the data that it was trained on: for all data sets and all models
    rule = get_protocol(protocol or cell.dataset.block["protocol"])
    own = _score(cell, cell.data, cell.dataset, rule, lambda: _threshold(cell, detector(), rule),
                 detector)  # fmt: skip
    done = [cell.data]
    for name, dataset in tested.items():
        if name == cell.data:
            continue
        with collect():
            other = get_protocol(protocol or dataset.block["protocol"])
            chosen = own["threshold"], f"{own['threshold_from']} of {cell.data}"
            _score(cell, name, dataset, other, lambda: chosen, detector)  # noqa: B023 - called at once
            done.append(name)
    return done


def _load(cell: Cell) -> Detector:
    """The trained model; a peer's with the facts of its data, so that it is brought to others'
    µm/px and colours as ours are."""
    if not cell.entry.is_peer:
        return load_detector(cell.best, device=cell.device)
    detector = PEERS[cell.entry.name].load(cell.best, cell.dataset, device=cell.device)
    detector.card = bare_card(cell.dataset, cell.entry.name, detector.imgsz)
    return detector


def _threshold(cell: Cell, detector: Detector, rule: Protocol) -> tuple[float, str]:
    card = detector.card
    if card and card.threshold is not None and card.protocol == rule.name:
        return card.threshold, card.threshold_from
    return threshold_on_val(detector, cell.dataset, rule)


def _train(cell: Cell) -> None:
    run_training(cell.command, cell.run / cell.record, str(cell))
    for name in (LAST, LAST.with_name("state.pt")):  # gigabytes, for nothing but to go on
        (cell.run / name).unlink(missing_ok=True)


def _facts(cell: Cell, detector: Detector) -> dict[str, Any]:
    """What the training took, and what the model takes."""
    record = read_json(cell.run / (RECORD if cell.entry.is_peer else RUN_FILE))
    tiles = cell.dataset.of_split("train")[:TIMED_TILES]
    pictures = [read_rgb(cell.dataset.image_path(tile)) for tile in tiles]
    same = [picture for picture in pictures if picture.shape == pictures[0].shape]
    spent = cost(detector, same, weights=cell.best if cell.can_export else None)
    took = spent.pop("ms_tile")
    return {
        "training_s": seconds_of(record),
        "images_per_s": record["images_per_s"],
        "training_memory_mib": record["peak_memory_mib"]["process"],
        "versions": record["versions"],
        **spent,
        **{f"{engine}_ms": milliseconds for engine, milliseconds in took.items()},
    }


def _score(
    cell: Cell,
    name: str,
    dataset: Dataset,
    rule: Protocol,
    threshold: Callable[[], tuple[float, str]],
    detector: Callable[[], Detector],
) -> dict[str, Any]:
    """``metrics.json`` of a data set."""
    arguments = {
        "weights_hash": cell.best_hash,
        "dataset_hash": dataset.hash(),
        "protocol": rule.name,
        "device": cell.device,
    }
    folder = cell.scored(name)
    with open_job(
        folder, command="benchmark", arguments=arguments, index=METRICS, free=("device",)
    ) as job:
        if job.finished:
            return dict(read_json(folder / METRICS))
        check_classes(detector(), dataset)
        return score(detector(), dataset, "test", rule, folder, threshold())
