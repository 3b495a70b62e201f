"""The program with something done to it from inside, at a moment that a test chooses.

``python -m driver train ...`` is ``mitoyolo train ...``, and the processes that it launches are
driven too. The environment says what happens:

DRIVE
    `PLACE EPOCH RANK ACTION`: a key of :data:`PLACES`, when and where, and a key of
    :data:`ACTIONS`. Not again in processes that were started again. All processes
    need it, since to import Ultralytics, which this does early, is a step that they take together.
SCORES
    F1 of each epoch, with commas, instead of the real ones.
RECORD
    A folder for losses and gradients of the first steps, computed in double precision.
ENDS
    A folder for each process's last parameters, and the detections of its last validation.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

STEPS = 5
"""That are recorded."""


def kill(pid: int, number: int) -> None:
    os.kill(pid, number)
    time.sleep(60)  # nothing more happens here, unless the signal does it


def fail() -> None:
    raise RuntimeError("the driver's error\nof two lines")


ACTIONS: dict[str, Callable[[], None]] = {
    "kill": lambda: kill(os.getpid(), signal.SIGKILL),
    "term": lambda: kill(os.getpid(), signal.SIGTERM),
    "kill-launcher": lambda: kill(os.getppid(), signal.SIGKILL),
    "term-launcher": lambda: kill(os.getppid(), signal.SIGTERM),
    "raise": fail,
}


def before(owner: Any, name: str, act: Callable[..., None]) -> None:
    """Have ``act`` called with the arguments of ``owner.name`` before that."""
    original = getattr(owner, name)

    def driven(*given: Any, **named: Any) -> Any:
        act(*given)
        return original(*given, **named)

    setattr(owner, name, driven)


def drive(place: str, epoch: int, rank: int, action: str) -> None:
    """Arrange for ``action`` in the process ``rank``."""
    from mitoyolo import train
    from mitoyolo.detectors.yolo_train import MitosisTrainer
    from mitoyolo.distributed import restarts, this_process

    if this_process().rank != rank or restarts():
        return
    now = [0]

    def at(wanted: bool) -> None:
        if wanted and now[0] == epoch:
            ACTIONS[action]()

    before(MitosisTrainer, "_model_train", lambda trainer: now.__setitem__(0, trainer.epoch + 1))
    if place == "step":
        before(MitosisTrainer, "optimizer_step", lambda trainer: at(True))
    elif place == "state":  # written, not yet renamed
        before(Path, "replace", lambda part, path: at(path.name == "state.pt"))
    elif place == "checkpoints":
        before(MitosisTrainer, "_write_checkpoints", lambda trainer: at(True))
    elif place == "end":
        before(train, "_conclude", lambda *given: at(True))
    else:
        raise ValueError(place)


def script(scores: list[float]) -> None:
    """Give the epochs these F1."""
    from mitoyolo.detectors.training import Score
    from mitoyolo.detectors.yolo_train import MitosisTrainer

    def scripted(trainer: Any, of_tile: Any) -> Score:
        trainer._score = Score(f1=scores[trainer.epoch], ap=0.5, threshold=0.25)
        return trainer._score

    MitosisTrainer._score_tiles = scripted


def record(folder: Path) -> None:
    """Write what each process computes, before gradients are clipped.

    In double precision, since BatchNorm over few pixels makes much of the last bit.
    """
    import torch

    from mitoyolo.detectors.yolo_train import MitosisTrainer
    from mitoyolo.distributed import this_process

    from ultralytics.utils.torch_utils import unwrap_model

    done = [0]
    folder.mkdir(exist_ok=True)
    prepare = MitosisTrainer.preprocess_batch

    def prepare_double(trainer: Any, batch: dict[str, Any]) -> dict[str, Any]:
        batch = prepare(trainer, batch)
        return {**batch, "img": batch["img"].double()}

    def keep(trainer: Any) -> None:
        if done[0] < STEPS:
            parameters = unwrap_model(trainer.model).named_parameters()
            gradients = {name: p.grad.clone() for name, p in parameters if p.grad is not None}
            found = {"loss": trainer.loss.item(), "gradients": gradients}
            torch.save(found, folder / f"step-{done[0]}-{this_process().rank}.pt")
            done[0] += 1

    MitosisTrainer.preprocess_batch = prepare_double
    before(MitosisTrainer, "set_model_attributes", lambda trainer: trainer.model.double())
    before(MitosisTrainer, "optimizer_step", keep)


def keep_ends(folder: Path) -> None:
    """Write what each process ends with."""
    import torch

    from mitoyolo.detectors.yolo_train import MitosisTrainer
    from mitoyolo.distributed import this_process

    from ultralytics.utils.torch_utils import unwrap_model

    folder.mkdir(exist_ok=True)
    train = MitosisTrainer.train
    seen: dict[str, Any] = {}
    before(MitosisTrainer, "_score_tiles", lambda trainer, of_tile: seen.update(of_tile))

    def then_keep(trainer: Any) -> None:
        train(trainer)
        found = {
            "model": dict(unwrap_model(trainer.model).named_parameters()),
            "ema": dict(trainer.ema.ema.named_parameters()),
            "detections": {tile: torch.tensor(rows) for tile, rows in seen.items()},
        }
        torch.save(found, folder / f"end-{this_process().rank}.pt")

    MitosisTrainer.train = then_keep


HOOKS: dict[str, Callable[[str], None]] = {
    "DRIVE": lambda text: drive(*place_of(text)),
    "SCORES": lambda text: script(scores_of(text)),
    "RECORD": lambda text: record(Path(text)),
    "ENDS": lambda text: keep_ends(Path(text)),
}
"""Variable -> what it has done in a process that trains."""


def place_of(text: str) -> tuple[str, int, int, str]:
    """``DRIVE`` in its parts."""
    place, epoch, rank, action = text.split()
    return place, int(epoch), int(rank), action


def scores_of(text: str) -> list[float]:
    """``SCORES`` in its parts."""
    return [float(part) for part in text.split(",")]


def main(module: str = "driver", hooks: Mapping[str, Callable[[str], None]] = HOOKS) -> None:
    """The program, driven by ``module``, whose ``hooks`` these are."""
    from mitoyolo import train, worker
    from mitoyolo.cli import main as program
    from mitoyolo.launch import LAUNCHED, launch

    launched = LAUNCHED in os.environ
    if launched or "--ddp" not in sys.argv or "WORLD_SIZE" in os.environ:
        for variable, act in hooks.items():
            if text := os.environ.get(variable):
                act(text)
    if launched:
        sys.exit(worker.main(sys.argv[1]))
    train.launch = lambda _, arguments, how: launch(module, arguments, how)
    program()


if __name__ == "__main__":
    main()
