"""What the training of every model family is given, keeps and leaves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mitoyolo.dataset import Dataset
from mitoyolo.distributed import Process
from mitoyolo.evaluation.metrics import average_precision, count
from mitoyolo.evaluation.protocols import Protocol
from mitoyolo.evaluation.threshold import choose_threshold
from mitoyolo.inference.merge import Detections
from mitoyolo.inference.scoring import by_source, fields_of
from mitoyolo.memory import peak_mib
from mitoyolo.progress import Bar

if TYPE_CHECKING:
    from mitoyolo.detectors.state import State

BEST, LAST = Path("weights", "best.pt"), Path("weights", "last.pt")
"""The weights of the best epoch and of the last one, within a run folder."""

STATE = Path("weights", "state.pt")
"""What a training that was killed goes on from, within a run folder."""


@dataclass(slots=True)
class Clock:
    """Seconds of the training, and of them those in our own code, validation scoring apart."""

    total: float = 0.0
    own: float = 0.0
    scoring: float = 0.0

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the time of the block to ``part``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, part, getattr(self, part) + time.perf_counter() - start)


@dataclass(slots=True)
class Outcome:
    """What a training leaves: its best epoch on the validation split, and where the time went.

    ``batch`` is what fitted into memory: Ultralytics halves it when the GPU's runs out.
    ``sessions`` are the epochs that were finished when it was begun and resumed.
    """

    epoch: int = 0
    f1: float | None = None
    ap: float | None = None
    threshold: float = 0.5
    epochs: int = 0
    batch: int = 0
    sessions: list[int] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    def to_dict(self) -> dict[str, Any]:
        """As plain types, for the state."""
        return asdict(self)


def outcome_from_dict(values: dict[str, Any]) -> Outcome:
    """An outcome as :meth:`Outcome.to_dict` gave it, in this version or one that said more."""
    known = {each.name: values[each.name] for each in fields(Outcome) if each.name in values}
    return Outcome(**{**known, "clock": Clock(**values["clock"])})


def peak_memory_mib() -> dict[str, float]:
    """Most memory that this process has held so far, in MiB: of the machine, and of a GPU."""
    import torch

    found = {"process": peak_mib()}
    if torch.cuda.is_initialized():
        found["gpu"] = torch.cuda.max_memory_allocated() / 2**20
    return found


@dataclass(frozen=True, slots=True)
class Score:
    """One validation: source images of the split, counted by the dataset's protocol."""

    f1: float | None
    ap: float | None
    threshold: float

    @property
    def fitness(self) -> float:
        """F1, with AP to tell apart epochs of equal F1; Ultralytics keeps five decimals."""
        return (self.f1 or 0.0) + 1e-3 * (self.ap or 0.0)


def epoch_line(epoch: int, epochs: int, f1: float | None, best: float | None) -> str:
    """What the progress bar says after an epoch.

    Examples
    --------
    >>> epoch_line(3, 50, None, 0.4554)
    'epoch 3/50: F1 - (best 0.455)'
    """
    now, so_far = ("-" if value is None else f"{value:.3f}" for value in (f1, best))
    return f"epoch {epoch}/{epochs}: F1 {now} (best {so_far})"


def score_tiles(dataset: Dataset, protocol: Protocol, of_tile: dict[str, Detections]) -> Score:
    """F1 at the best threshold and AP of detections on the validation split's source images."""
    tiles = dataset.of_split("val")
    fields = fields_of(dataset, "val", by_source(tiles, of_tile), dataset.labels)
    threshold = choose_threshold(fields, protocol)
    return Score(
        f1=count(fields, protocol, threshold).f1,
        ap=average_precision(fields, protocol),
        threshold=threshold,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training as the command describes it, the same in all of its processes.

    Attributes
    ----------
    model : str
        Its name, for example `yolov5n`.
    start : Path or None
        Weights to start from; None for random ones.
    dataset : Dataset
    run : Path
        The run folder; only the first process writes there.
    recipe : object
        As the family's ``read_recipe`` gave it.
    epochs, imgsz, batch, seed : int
        ``batch`` of all processes together.
    accumulate : int
        Parts into which a process splits its tiles of a step, for little memory.
    devices : tuple of str
        `("cpu",)`, or the GPUs of this machine's processes.
    protocol : Protocol
        By which the validation is counted.
    process : Process
    progress : Bar
    state : dict or None
        Of a run that was stopped (:mod:`mitoyolo.detectors.state`), the same in all processes.
    """

    model: str
    start: Path | None
    dataset: Dataset
    run: Path
    recipe: Any
    epochs: int
    imgsz: int
    batch: int
    accumulate: int
    seed: int
    devices: tuple[str, ...]
    protocol: Protocol
    process: Process
    progress: Bar
    state: State | None

    @property
    def device(self) -> str:
        """The device of this process."""
        return self.devices[self.process.local_rank % len(self.devices)]
