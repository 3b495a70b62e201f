"""Training YOLO by Ultralytics' own trainer, with our start, our scores and our checkpoints."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from converters.errors import InputError
from converters.files import PART, write_with
from mitoyolo.dataset import Dataset
from mitoyolo.detectors import ultralytics_quiet  # noqa: F401 - before anything of ultralytics
from mitoyolo.detectors.card import Card, entries
from mitoyolo.detectors.failures import EngineError, foreseen
from mitoyolo.detectors.parallel import in_parallel
from mitoyolo.detectors.recipe import Recipe
from mitoyolo.detectors.state import (
    State,
    random_states,
    set_random_states,
    write_state,
)
from mitoyolo.detectors.training import (
    BEST,
    LAST,
    Outcome,
    Score,
    Training,
    epoch_line,
    outcome_from_dict,
    score_tiles,
)
from mitoyolo.detectors.yolo import CONFIDENCE, MAX_DETECTIONS, NMS_IOU, start_model, write_start
from mitoyolo.detectors.yolo_data import TrainingTiles, training_loader
from mitoyolo.detectors.yolo_validator import MitosisValidator
from mitoyolo.distributed import gathered, shared
from mitoyolo.inference.merge import Detections
from mitoyolo.training_log import TrainingLog

from ultralytics.data.build import build_dataloader
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.torch_utils import strip_optimizer, unwrap_model


class MitosisTrainer(DetectionTrainer):
    """Ultralytics' trainer, in any number of processes, that can be killed at any moment.

    Parameters
    ----------
    training : Training
        Its recipe is a :class:`~mitoyolo.detectors.recipe.Recipe`.
    """

    model: Any  # Ultralytics declares what these are before training has begun
    ema: Any
    optimizer: Any
    metrics: Any
    tloss: Any
    fitness: Any
    loss: Any
    best_fitness: Any

    def __init__(self, training: Training) -> None:
        self._training = training
        self._recipe: Recipe = training.recipe
        self._process, state = training.process, training.state
        self.outcome = outcome_from_dict(state["outcome"]) if state else Outcome()
        self._score: Score | None = None
        self._random: list[State] = []
        self._batch, self._step_tiles = -1, 0
        self._last_step = state["last_step"] if state else -1
        self._pending: dict[str, torch.Tensor] = state["pending"] if state else {}
        threads = torch.get_num_threads()
        super().__init__(overrides=_overrides(training))
        if self.device.type == "cpu":  # Ultralytics leaves a core idle, and all above eight
            torch.set_num_threads(threads)
        elif self._process.world > 1:
            self.device = torch.device("cuda", int(training.device))
            torch.cuda.set_device(self.device)
        self.world_size = 1  # until the model is wrapped: Ultralytics would ask for GPUs
        run = training.run.resolve()
        self.wdir, self.last, self.best = run / BEST.parent, run / LAST, run / BEST
        self._log = (
            TrainingLog(training.run, state["rows"] if state else ())
            if self._process.first
            else None
        )
        self.add_callback("on_train_epoch_start", MitosisTrainer._before_epoch)
        self.add_callback("on_train_batch_end", MitosisTrainer._after_step)
        self.add_callback("on_fit_epoch_end", MitosisTrainer._after_epoch)

    # --- model and data ---------------------------------------------------------------------------

    def setup_model(self) -> None:
        """The model to start from; what other processes than the first hold is replaced by its."""
        training = self._training
        weights = training.start if self._process.first and training.state is None else None
        self.model = start_model(training.model, weights, training.dataset.labels, training.seed)

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Any:
        """Ultralytics' dataset, which must hold every tile of the split and no other.

        Raises
        ------
        InputError
            Ultralytics leaves unreadable images and labels out in silence; here they are named.
        """
        tiles = TrainingTiles(
            recipe=self._recipe,
            seed=self._training.seed,
            process=self._process,
            without={tile.name for tile in self._training.dataset.unseen},
            img_path=img_path,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=mode == "train",
            hyp=self.args,
            rect=self.args.rect or mode == "val",
            cache=self.args.cache or None,
            stride=self.stride,
            pad=0.0 if mode == "train" else 0.5,
            data=self.data,
        )
        if self._process.first:
            read = {Path(file).stem for file in tiles.im_files}
            _check_tiles(self._training.dataset, mode, read)
        return tiles

    def get_dataloader(
        self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> Any:
        """Ultralytics' loader; for training, with an order that a resumed run finds again."""
        tiles = self.build_dataset(dataset_path, mode, batch_size)
        if mode == "val":
            return build_dataloader(
                tiles, batch_size, self.args.workers * 2, False, rank, device=self.device
            )
        return training_loader(
            tiles,
            epoch=self.start_epoch,
            batch=batch_size,
            workers=self.args.workers,
            seed=self._training.seed,
            process=self._process,
            gpu=self.device.type == "cuda",
            drop_last=bool(self.args.compile),
        )

    def _build_train_pipeline(self) -> None:
        """Wrap the model for several processes, then let Ultralytics build the rest."""
        if self._process.world > self.world_size:
            self.world_size = self._process.world
            # those of boxes are unused where a batch has none
            self.model = in_parallel(self.model, self.device, some_unused=True)
        super()._build_train_pipeline()
        # every batch comes to optimizer_step, which counts: Ultralytics' loop forgets at a resume
        self._accumulate, self.accumulate = self.accumulate, 1

    def _close_dataloader_mosaic(self) -> None:
        super()._close_dataloader_mosaic()
        self.train_loader.sampler.epoch = self.epoch  # what was read ahead is read again

    # --- a step -----------------------------------------------------------------------------------

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ultralytics' preparation; count the batches, and the tiles of a step."""
        self._batch += 1
        self._step_tiles = len(batch["img"]) * self._process.world
        prepared: dict[str, Any] = super().preprocess_batch(batch)
        return prepared

    def _before_epoch(self) -> None:
        self._batch = self.epoch * len(self.train_loader) - 1
        self._last_step = min(self._last_step, self._batch)  # where an epoch is done again
        if self._pending:
            for name, parameter in unwrap_model(self.model).named_parameters():
                if name in self._pending:
                    parameter.grad = self._pending[name].to(parameter.device)
            self._pending = {}

    def optimizer_step(self) -> None:
        """A step once the gradients of enough batches are together, as Ultralytics counts them."""
        warmup = self._get_warmup_iterations(len(self.train_loader))
        wanted = float(self._accumulate)
        if warmup and self._batch <= warmup:
            wanted = np.interp(self._batch, [0, warmup], [1, wanted]).round()
        if self._batch - self._last_step >= wanted:
            super().optimizer_step()
            self._last_step = self._batch

    # --- validation -------------------------------------------------------------------------------

    def get_validator(self) -> MitosisValidator:
        """The validator above, on the loader that Ultralytics built."""
        first = self._process.first
        return MitosisValidator(
            self.test_loader,
            save_dir=self.save_dir if first else Path(tempfile.gettempdir()),
            args=copy(self.args),
            _callbacks=self.callbacks,
            score=self._score_tiles,
            clock=self.outcome.clock,
            select=self._recipe.select,
        )

    def validate(self) -> tuple[Any, Any]:
        """Ultralytics' validation, in all processes; then what the first one keeps of each."""
        found: tuple[Any, Any] = super().validate()
        with self.outcome.clock.timed("own"):
            losses = {name: float(value) for name, value in (self.tloss or {}).items()}
            shares = gathered((losses, random_states()))
            if shares:
                self.tloss = {n: fmean(share[n] for share, _ in shares) for n in losses}
            self._random = [states for _, states in shares]
        return found

    def _score_tiles(self, of_tile: dict[str, Detections]) -> Score:
        training = self._training
        self._score = score_tiles(training.dataset, training.protocol, of_tile)
        return self._score

    def final_eval(self) -> None:
        """Nothing: the best epoch is validated already; :func:`finish` writes the card."""

    # --- what is shown ----------------------------------------------------------------------------

    def _after_step(self) -> None:
        with self.outcome.clock.timed("own"):
            self._training.progress.step(self._step_tiles)

    def _after_epoch(self) -> None:
        with self.outcome.clock.timed("own"):
            now = self._score.f1 if self._score else None
            line = epoch_line(self.epoch + 1, self.epochs, now, self.outcome.f1)
            self._training.progress.line(line)

    def save_metrics(self, metrics: dict[str, float]) -> None:
        """A row of our own log, the same for every model family."""
        if self._log:
            with self.outcome.clock.timed("own"):
                self._log.add({"epoch": self.epoch + 1, **metrics})

    # --- what is kept -----------------------------------------------------------------------------

    def save_model(self) -> bool:
        """Write the state, from which the checkpoints beside it can be written again."""
        outcome, score = self.outcome, self._score
        with outcome.clock.timed("own"):
            outcome.epochs, outcome.batch = self.epoch + 1, self.batch_size
            if score and self.best_fitness == self.fitness:  # as Ultralytics decides on best.pt
                outcome.epoch = self.epoch + 1
                outcome.f1, outcome.ap, outcome.threshold = score.f1, score.ap, score.threshold
            outcome.clock.total = self._before + time.perf_counter() - self._began
            write_state(self._training.run, self._to_state())
        return self._write_checkpoints()

    def _to_state(self) -> State:
        model = unwrap_model(self.model)
        pending = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        return {
            "epoch": self.epoch + 1,
            "stop": bool(self.stop),
            "batch": self.batch_size,
            "model": model.state_dict(),
            "ema": self.ema.ema.state_dict(),
            "updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "last_step": self._last_step,
            "pending": pending,  # gradients of batches since the last step
            "fitness": float(self.fitness),
            "best_fitness": float(self.best_fitness),
            "stopper": {name: getattr(self.stopper, name) for name in STOPPER},
            "metrics": {key: float(value) for key, value in self.metrics.items()},
            "outcome": self.outcome.to_dict(),
            "rows": self._log.rows if self._log else [],
            "random": self._random,
        }

    def resume_training(self, ckpt: Any) -> None:
        """Go on from the state: Ultralytics' checkpoint holds a rounded average model alone."""
        state = self._training.state
        self._began = time.perf_counter()
        self._before = self.outcome.clock.total
        self.outcome.sessions.append(state["epoch"] if state else 0)
        if state is None:
            return
        unwrap_model(self.model).load_state_dict(state["model"])
        self.ema.ema.load_state_dict(state["ema"])
        self.ema.updates = state["updates"]
        groups = state["optimizer"]["param_groups"]
        for saved, group in zip(groups, self.optimizer.param_groups, strict=True):
            saved["fused"] = group.get("fused")  # a matter of the device
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.fitness, self.best_fitness = state["fitness"], state["best_fitness"]
        for name, value in state["stopper"].items():
            setattr(self.stopper, name, value)
        self.start_epoch = self.train_loader.sampler.epoch = state["epoch"]
        if self._process.rank < len(state["random"]):
            set_random_states(state["random"][self._process.rank])
        if self._process.first:  # a kill may have come between state and checkpoints
            self.epoch, self.metrics = state["epoch"] - 1, dict(state["metrics"])
            self._write_checkpoints()
        for name in ("model", "ema", "optimizer", "pending"):
            state.pop(name)  # as large as the model, and used up
        if state["stop"]:
            raise _Finished

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Do an epoch whose loss is not finite again from `last.pt`, or end where there is none.

        Raises
        ------
        EngineError
            In the first epoch of the run: nothing better is there to go on from.
        """
        if self._training.state is not None or epoch > self.start_epoch:
            begun, self.start_epoch = self.start_epoch, -1  # Ultralytics gives up in that one
            try:
                return bool(super()._handle_nan_recovery(epoch))
            finally:
                self.start_epoch = begun
        finite = bool(torch.isfinite(self.loss)) and bool(np.isfinite(self.fitness or 0))
        if not shared(finite):
            raise EngineError(
                "the loss is not finite in the first epoch; give a lower learning rate "
                "(--set optimizer=SGD --set lr0=0.001, say)"
            )
        return False

    def _write_checkpoints(self) -> bool:
        """Let Ultralytics write beside the checkpoints, then rename: a kill loses none."""
        finals = (self.last, self.best)
        parts = [path.with_name(f"{PART}{path.name}") for path in finals]
        self.last, self.best = parts
        try:
            done = bool(super().save_model())
            with self.outcome.clock.timed("own"):
                for part, final in zip(parts, finals, strict=True):
                    if part.exists():
                        part.replace(final)
        except OSError as error:  # a full disk, whose error names no file
            error.filename = str(finals[0])
            raise
        finally:
            self.last, self.best = finals
            for part in parts:
                part.unlink(missing_ok=True)
        return done

    def train(self) -> None:
        """Train to the end, or to where patience ends."""
        with suppress(_Finished):
            super().train()


STOPPER = ("best_fitness", "best_epoch", "possible_stop")
"""What Ultralytics' early stopping remembers."""


class _Finished(Exception):
    """The state is that of the last epoch."""


def _overrides(training: Training) -> dict[str, Any]:
    return {
        **training.recipe.settings,
        "exist_ok": True,
        "plots": False,  # ours are drawn from results.csv
        "model": str(training.run / START),
        "data": str(training.dataset.root / "dataset.yaml"),
        "project": training.run.resolve().parent.name,  # names for MLflow and Weights & Biases
        "name": training.run.name,
        # Ultralytics deletes results.csv there in every process
        "save_dir": str(training.run.resolve() if training.process.first else _nowhere()),
        "epochs": training.epochs,
        "imgsz": training.imgsz,
        "batch": training.state["batch"] if training.state else training.batch,
        "device": training.device,
        "seed": training.seed,
        "conf": CONFIDENCE,
        "iou": NMS_IOU,
        "max_det": MAX_DETECTIONS,
        "amp": precision(training.device),
    }


def _nowhere() -> Path:
    """A folder for what processes other than the first would write; nothing is."""
    return Path(tempfile.gettempdir()) / f"mitoyolo-process-{os.getpid()}"


START = Path("weights", "start.pt")
"""Within a run folder: the model before its first step."""


def fit(training: Training) -> Outcome:
    """Train into the run folder, from its state where there is one.

    Writes ``weights/start.pt``, ``weights/state.pt``, ``weights/last.pt``, ``weights/best.pt``,
    ``results.csv``, ``tensorboard/`` and ``args.yaml``, in the first process alone.

    Returns
    -------
    Outcome
        Complete in the first process.

    Raises
    ------
    InputError
        Data or weights cannot be used.
    EngineError
        torch or Ultralytics gave up.
    """
    if training.process.first and training.state is None:
        model = start_model(training.model, training.start, training.dataset.labels, training.seed)
        write_start(training.run / START, model)
    with foreseen("give a smaller --batch or --imgsz, or a smaller --model"):
        trainer = MitosisTrainer(training)
        trainer.train()
    return trainer.outcome


def _check_tiles(dataset: Dataset, split: str, read: set[str]) -> None:
    known = {tile.name for tile in dataset.images_of(split)}
    for names, what, fix in (
        (known - read, "cannot be used, image or label file is damaged", "convert again"),
        (read - known, "not in manifest.csv", "take them out of the folder, or convert again"),
    ):
        if names:
            raise InputError(
                f"{len(names)} tiles of the {split} split {what} (first: {min(names)})",
                file=dataset.root,
                fix=fix,
            )


def precision(device: str) -> str | bool:
    """bfloat16 on GPUs that have it, else float32: Ultralytics' own check fetches weights."""
    import torch

    return "bf16" if device != "cpu" and torch.cuda.is_bf16_supported() else False


def finish(path: Path, card: Card, verifier: dict[str, torch.Tensor] | None = None) -> None:
    """Leave in a checkpoint what inference needs: the averaged model, the card, the verifier."""

    def write(temporary: Path) -> None:
        if not strip_optimizer(path, s=str(temporary), updates=entries(card, verifier)):
            raise RuntimeError(f"{path} cannot be read back")  # else an empty file would follow

    with foreseen("give more memory"), _full_disk(path):
        write_with(path, write)


@contextmanager
def _full_disk(path: Path) -> Iterator[None]:
    """Say that the disk is full where torch, which fails to write, does not."""
    try:
        yield
    except RuntimeError as error:
        free = shutil.disk_usage(path.parent).free
        if free < path.stat().st_size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
