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

import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from converters.errors import MitoyoloError
from converters.files import read_json, write_json
from mitoyolo.benchmark.cost import cost
from mitoyolo.benchmark.entries import Entry
from mitoyolo.benchmark.peers import PEERS, RECORD
from mitoyolo.dataset import Dataset
from mitoyolo.detectors.base import Detector, load_detector
from mitoyolo.detectors.training import BEST, LAST
from mitoyolo.detectors.weights import find_weights
from mitoyolo.evaluation.protocols import get_protocol
from mitoyolo.images import read_rgb
from mitoyolo.inference.apply import check_classes
from mitoyolo.jobs import RUN_FILE, fingerprint, open_job
from mitoyolo.progress import is_quiet
from mitoyolo.train import INDEX as TRAINED
from mitoyolo.val import INDEX as METRICS
from mitoyolo.val import score

INDEX = "cell.json"

TIMED_TILES = 4
"""Tiles on which the speed is measured."""


STRIDE = 32
"""Pixels to a multiple of which a peer's input is rounded up, as YOLO's is."""


class TrainingError(MitoyoloError):
    """A training of the benchmark ended without weights."""


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

    @cached_property
    def detector(self) -> Detector:
        """The trained model."""
        if self.entry.is_peer:
            peer = PEERS[self.entry.name]
            return peer.load(self.best, self.dataset, device=self.device)
        return load_detector(self.best, device=self.device)

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


def complete(cell: Cell, tested: dict[str, Dataset], protocol: str | None) -> None:
    """Train a cell, measure its model, and score it on the test splits; what is done is kept.

    Parameters
    ----------
    cell : Cell
    tested : dict
        Data sets by name, its own among them.
    protocol : str or None
        How detections are counted; None: as each data set says.

    Raises
    ------
    InputError
        The folder holds another call's work.
    TrainingError
        The training failed.
    """
    arguments = {
        "model": cell.entry.name,
        "options": cell.options,
        "weights": fingerprint([cell.start]) if cell.start else "none",
        "dataset_hash": cell.dataset.hash(),
        "device": cell.device,
    }
    with open_job(cell.folder, command="benchmark", arguments=arguments, index=INDEX) as job:
        if not job.finished:
            _train(cell)
            write_json(cell.folder / INDEX, _facts(cell))
    for name, dataset in tested.items():
        _score(cell, name, dataset, protocol)


def _train(cell: Cell) -> None:
    """Train in a process of its own, whose time and memory are its own."""
    code = run_program(cell.command)
    if code or not (cell.run / cell.record).exists():
        raise TrainingError(
            f"{cell}: the training ended with exit code {code}, its reason stands above; the same "
            "call goes on"
        )
    for name in (LAST, LAST.with_name("state.pt")):  # gigabytes, for nothing but to go on
        (cell.run / name).unlink(missing_ok=True)


def run_program(command: list[str]) -> int:
    """Exit code of a program, which is stopped when we are."""
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise


def _facts(cell: Cell) -> dict[str, Any]:
    """What the training took, and what the model takes."""
    record = read_json(cell.run / (RECORD if cell.entry.is_peer else RUN_FILE))
    tiles = cell.dataset.of_split("train")[:TIMED_TILES]
    pictures = [read_rgb(cell.dataset.image_path(tile)) for tile in tiles]
    same = [picture for picture in pictures if picture.shape == pictures[0].shape]
    spent = cost(cell.detector, same, weights=cell.best if cell.can_export else None)
    took = spent.pop("ms_tile")
    return {
        "training_s": record["training_s"],
        "images_per_s": record["images_per_s"],
        "training_memory_mib": record["peak_memory_mib"]["process"],
        "versions": record["versions"],
        **spent,
        **{f"{engine}_ms": milliseconds for engine, milliseconds in took.items()},
    }


def _score(cell: Cell, name: str, dataset: Dataset, protocol: str | None) -> None:
    rule = get_protocol(protocol or dataset.block["protocol"])
    arguments = {
        "weights_state": fingerprint([cell.best]),
        "dataset_hash": dataset.hash(),
        "protocol": rule.name,
        "device": cell.device,
    }
    folder = cell.scored(name)
    with open_job(folder, command="benchmark", arguments=arguments, index=METRICS) as job:
        if not job.finished:
            check_classes(cell.detector, dataset)
            score(cell.detector, dataset, "test", rule, folder)
