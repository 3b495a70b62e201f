"""Training YOLO by Ultralytics' own trainer, with our start, our scores and our checkpoints."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from converters.errors import InputError, OptionError
from converters.files import PART, read_csv, write_csv, write_with
from mitoyolo.dataset import Dataset
from mitoyolo.detectors import ultralytics_quiet  # noqa: F401 - before anything of ultralytics
from mitoyolo.detectors.card import CARD_KEY, Card
from mitoyolo.detectors.failures import foreseen
from mitoyolo.detectors.yolo import CONFIDENCE, MAX_DETECTIONS, NMS_IOU
from mitoyolo.evaluation.metrics import average_precision, count
from mitoyolo.evaluation.protocols import Protocol
from mitoyolo.evaluation.threshold import choose_threshold
from mitoyolo.inference.merge import Detections
from mitoyolo.inference.scoring import by_source, fields_of
from mitoyolo.progress import Bar

from ultralytics.cfg import DEFAULT_CFG_DICT, check_cfg
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator
from ultralytics.utils.torch_utils import strip_optimizer

OPTIONS = {"model", "data", "project", "name", "epochs", "imgsz", "batch", "device", "seed"}
"""Ultralytics' keys that are options of ``mitoyolo train``."""

FIXED = {
    *("task", "mode", "save_dir", "exist_ok", "resume", "save", "plots", "amp", "pretrained"),
    *("val", "split", "fraction", "classes", "single_cls"),  # which tiles and labels
    *("conf", "iou", "max_det", "agnostic_nms", "augment", "nms"),  # which boxes
}
"""Keys on which the run folder, the scores or later inference rely."""


@dataclass(slots=True)
class Clock:
    """Seconds spent in our own code inside Ultralytics' loop, validation scoring apart."""

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
    """What a training leaves: its best epoch by validation F1, and where the time went.

    ``batch`` is what fitted into memory: Ultralytics halves it when the GPU's runs out.
    """

    epoch: int = 0
    f1: float | None = None
    ap: float | None = None
    threshold: float = 0.5
    epochs: int = 0
    batch: int = 0
    images_per_s: float | None = None
    clock: Clock = field(default_factory=Clock)


@dataclass(frozen=True, slots=True)
class Score:
    """One validation: source images of the split, counted by the dataset's protocol."""

    f1: float | None
    ap: float | None
    threshold: float

    @property
    def fitness(self) -> float:
        """F1, with AP to tell apart epochs of equal F1."""
        return (self.f1 or 0.0) + 1e-3 * (self.ap or 0.0)


def recipe(changes: dict[str, Any]) -> dict[str, Any]:
    """The training settings: ``recipe.yaml`` with the user's ``--set`` on top.

    Raises
    ------
    InputError
        A key that Ultralytics does not have, or that is not the user's to set, or a value that
        it does not take.
    """
    for key in changes:
        if key in OPTIONS:
            raise OptionError(f"--set {key}=...: this is an option", fix=f"give --{key}")
        if key in FIXED:
            raise OptionError(f"--set {key}=...: fixed, since scores and weights rely on it")
        if key not in DEFAULT_CFG_DICT:
            near = [name for name in DEFAULT_CFG_DICT if name.startswith(key[:3])]
            hint = f" (perhaps {', '.join(near[:4])})" if near else ""
            raise OptionError(f"--set {key}=...: Ultralytics has no such setting{hint}")
    try:
        check_cfg(dict(changes))
    except (TypeError, ValueError) as error:
        raise OptionError(f"--set: {str(error).splitlines()[0]}") from None
    defaults = yaml.safe_load((files("mitoyolo.detectors") / "recipe.yaml").read_text("utf-8"))
    return {**defaults, **changes}


class MitosisValidator(DetectionValidator):
    """Ultralytics' validation, and on the same predictions the count on source images."""

    def __init__(
        self, *args: Any, score: Callable[[dict[str, Detections]], Score], clock: Clock, **kw: Any
    ) -> None:
        super().__init__(*args, **kw)
        self._score, self._clock = score, clock
        self._of_tile: dict[str, Detections] = {}

    def init_metrics(self, model: Any) -> None:
        """Start a validation."""
        super().init_metrics(model)
        self._of_tile = {}

    def update_metrics(self, preds: list[dict[str, Any]], batch: dict[str, Any]) -> None:
        """Keep the detections of a batch, in tile pixels."""
        with self._clock.timed("scoring"):
            for i, pred in enumerate(preds):
                place = self._prepare_batch(i, batch)
                scaled = self.scale_preds(pred, place)
                boxes = scaled["bboxes"].double().cpu().numpy().reshape(-1, 4)
                self._of_tile[Path(place["im_file"]).stem] = np.column_stack(
                    [
                        (boxes[:, :2] + boxes[:, 2:]) / 2,
                        boxes[:, 2:] - boxes[:, :2],
                        pred["conf"].double().cpu().numpy(),
                        pred["cls"].double().cpu().numpy(),
                    ]
                )
        super().update_metrics(preds, batch)

    def get_stats(self) -> dict[str, Any]:
        """Ultralytics' figures, our F1 and AP, and our fitness in place of mAP."""
        stats = super().get_stats()
        with self._clock.timed("scoring"):
            result = self._score(self._of_tile)
        stats["metrics/F1"] = result.f1 or 0.0
        stats["metrics/AP"] = result.ap or 0.0
        stats["metrics/threshold"] = result.threshold
        stats["fitness"] = result.fitness
        return stats


class MitosisTrainer(DetectionTrainer):
    """Ultralytics' trainer that selects by F1 on source images and saves whole files."""

    def __init__(self, overrides: dict[str, Any], *, dataset: Dataset, protocol: Protocol,
                 progress: Bar) -> None:  # fmt: skip
        self.outcome = Outcome()
        self._last_score = Score(f1=None, ap=None, threshold=0.5)
        self._dataset, self._protocol, self._progress = dataset, protocol, progress
        super().__init__(overrides=overrides)
        self.add_callback("on_train_batch_end", MitosisTrainer._step)
        self.add_callback("on_fit_epoch_end", MitosisTrainer._after_epoch)

    def get_validator(self) -> MitosisValidator:
        """The validator above, on the loader that Ultralytics built."""
        return MitosisValidator(
            self.test_loader,
            save_dir=self.save_dir,
            args=copy(self.args),
            _callbacks=self.callbacks,
            score=self._score,
            clock=self.outcome.clock,
        )

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Any:
        """Ultralytics' dataset, which must hold every tile of the split and no other.

        Raises
        ------
        InputError
            Ultralytics leaves unreadable images and labels out in silence; here they are named.
        """
        images = super().build_dataset(img_path, mode, batch)
        _check_tiles(self._dataset, mode, {Path(file).stem for file in images.im_files})
        return images

    def _score(self, of_tile: dict[str, Detections]) -> Score:
        tiles = self._dataset.of_split("val")
        classes = self._dataset.labels
        fields = fields_of(self._dataset, "val", by_source(tiles, of_tile), classes)
        threshold = choose_threshold(fields, self._protocol)
        self._last_score = Score(
            f1=count(fields, self._protocol, threshold).f1,
            ap=average_precision(fields, self._protocol),
            threshold=threshold,
        )
        return self._last_score

    def _step(self) -> None:
        with self.outcome.clock.timed("own"):
            self._progress.step()

    def _after_epoch(self) -> None:
        with self.outcome.clock.timed("own"):
            outcome, score = self.outcome, self._last_score
            outcome.epochs = self.epoch + 1
            if self.best_fitness == self.fitness:  # as save_model decides that this is best.pt
                outcome.epoch = self.epoch + 1
                outcome.f1, outcome.ap, outcome.threshold = score.f1, score.ap, score.threshold
            best = "-" if outcome.f1 is None else f"{outcome.f1:.3f}"
            self._progress.step(0, f"epoch {self.epoch + 1}/{self.epochs}, best F1 {best}")

    def save_model(self) -> bool:
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

    def final_eval(self) -> None:
        """Nothing: the best epoch is validated already; :func:`finish` writes the card."""


def train_yolo(
    *,
    start: Path,
    dataset: Dataset,
    run: Path,
    settings: dict[str, Any],
    epochs: int,
    imgsz: int,
    batch: int,
    device: str,
    seed: int,
    protocol: Protocol,
    progress: Bar,
) -> Outcome:
    """Train from the checkpoint ``start`` into the folder ``run``.

    Writes ``weights/last.pt`` and ``weights/best.pt`` (best by F1 on the validation split's source
    images), ``results.csv`` and ``args.yaml``.
    """
    overrides = {
        **settings,
        "exist_ok": True,
        "plots": False,  # ours are drawn from results.csv
        "model": str(start),
        "data": str(dataset.root / "dataset.yaml"),
        "project": str(run.parent.resolve()),
        "name": run.name,
        "epochs": epochs,
        "imgsz": imgsz,
        "batch": batch,
        "device": device,
        "seed": seed,
        "conf": CONFIDENCE,
        "iou": NMS_IOU,
        "max_det": MAX_DETECTIONS,
        "amp": _precision(device),
    }
    with foreseen("give a smaller --batch or --imgsz, or a smaller --model"):
        trainer = MitosisTrainer(overrides, dataset=dataset, protocol=protocol, progress=progress)
        started = time.perf_counter()
        trainer.train()
        spent = time.perf_counter() - started
    _drop_times(run / "results.csv")
    outcome = trainer.outcome
    outcome.batch = trainer.batch_size
    outcome.images_per_s = outcome.epochs * len(dataset.images_of("train")) / spent
    return outcome


def _drop_times(results: Path) -> None:
    """Take the column of seconds out: durations stand in ``run.json`` alone."""
    rows = read_csv(results, ["epoch"])
    columns = [name for name in rows[0] if name != "time"]
    write_csv(results, columns, [[row[name] for name in columns] for row in rows])


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


def _precision(device: str) -> str | bool:
    """bfloat16 on GPUs that have it, else float32: Ultralytics' own check fetches weights."""
    import torch

    return "bf16" if device != "cpu" and torch.cuda.is_bf16_supported() else False


def finish(path: Path, card: Card) -> None:
    """Leave in a checkpoint what inference needs: the averaged model, and the card."""

    def write(temporary: Path) -> None:
        if not strip_optimizer(path, s=str(temporary), updates={CARD_KEY: card.to_dict()}):
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
