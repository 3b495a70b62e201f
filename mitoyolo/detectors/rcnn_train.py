"""Training the two-stage detectors: one loop for all of them, in the manner of torchvision's."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.rpn import RPNHead

from mitoyolo.detectors.base import torch_name
from mitoyolo.detectors.card import Card
from mitoyolo.detectors.failures import EngineError, foreseen
from mitoyolo.detectors.parallel import in_parallel
from mitoyolo.detectors.rcnn import RcnnDetector, add_card, start_network, write_weights
from mitoyolo.detectors.rcnn_data import TrainingTiles, collate
from mitoyolo.detectors.rcnn_models import (
    SQUASHED,
    Architecture,
    architecture_from_dict,
    build,
)
from mitoyolo.detectors.rcnn_recipe import RcnnRecipe
from mitoyolo.detectors.sampler import EpochSampler
from mitoyolo.detectors.state import State, write_state
from mitoyolo.detectors.trackers import asked_for
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
from mitoyolo.distributed import gathered
from mitoyolo.images import read_rgb
from mitoyolo.inference.merge import Detections
from mitoyolo.progress import note
from mitoyolo.training_log import TrainingLog

RELIEF = "give a smaller --batch or --imgsz, or --accumulate 2 or more"


def fit(training: Training) -> Outcome:
    """Train into the run folder, from its state where there is one.

    Writes ``weights/state.pt``, ``weights/last.pt``, ``weights/best.pt``, ``results.csv`` and
    ``tensorboard/``, in the first process alone.

    Returns
    -------
    Outcome
        Complete in the first process.

    Raises
    ------
    InputError
        Data or weights cannot be used.
    EngineError
        torch gave up, or the loss is not finite.
    """
    for package in asked_for(os.environ) if training.process.first else ():
        note(f"not tracked by {package}: only YOLO trainings are")
    with foreseen(RELIEF):
        trainer = RcnnTrainer(training)
        trainer.train()
    return trainer.outcome


def finish(path: Path, card: Card, verifier: dict[str, torch.Tensor] | None = None) -> None:
    """Leave in a weights file what inference needs besides: the card, and the verifier."""
    with foreseen("give more memory"):
        add_card(path, card, verifier)


class RcnnTrainer:
    """A training in any number of processes, that can be killed at any moment.

    Parameters
    ----------
    training : Training
        Its recipe a :class:`RcnnRecipe`.
    """

    def __init__(self, training: Training) -> None:
        self._training, self._process = training, training.process
        self._recipe: RcnnRecipe = training.recipe
        self._device = torch_name(training.device)
        if self._device != "cpu":
            torch.cuda.set_device(self._device)
        state = training.state
        self.outcome = outcome_from_dict(state["outcome"]) if state else Outcome()
        self.outcome.sessions.append(state["epoch"] if state else 0)
        self._before, self._began = self.outcome.clock.total, time.perf_counter()
        self._fitness = state["fitness"] if state else -1.0
        self._epoch = state["epoch"] if state else 0
        tiles = TrainingTiles(
            training.dataset, self._recipe, imgsz=training.imgsz, seed=training.seed
        )
        if tiles.left_out:
            note(f"{tiles.left_out} boxes under a pixel of the network's input are not trained on")
        self._loader = training_loader(tiles, training, self._recipe, self._epoch)
        self._network, self._architecture = _network(training, self._recipe, tiles)
        self._network.roi_heads.fg_bg_sampler.batch_size_per_image = self._recipe.rois
        for module in self._network.modules():
            if isinstance(module, RPNHead):
                module.register_forward_hook(in_float32)
        self._network.to(self._device)
        self._model: nn.Module = self._network
        if self._process.world > 1:
            where = torch.device(self._device)
            self._model = in_parallel(self._network, where, some_unused=False)
        self._parameters = [p for p in self._network.parameters() if p.requires_grad]
        self._optimizer = torch.optim.SGD(
            self._parameters,
            lr=self._recipe.lr0,
            momentum=self._recipe.momentum,
            weight_decay=self._recipe.weight_decay,
        )
        self._average = _average(self._network, self._recipe.ema)
        self._log = (
            TrainingLog(training.run, state["rows"] if state else ())
            if self._process.first
            else None
        )
        if state:
            self._resume(state)

    def train(self) -> None:
        """Train to the end."""
        for epoch in range(self._epoch, self._training.epochs):
            losses = self._train_epoch(epoch)
            self._epoch = epoch + 1
            score = self._validate()
            if score:
                with self.outcome.clock.timed("own"):
                    self._keep(losses, score)

    # --- an epoch ---------------------------------------------------------------------------------

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the tiles; the mean of each loss, in the first process."""
        self._network.train()
        sums: dict[str, float] = defaultdict(float)
        for index, (images, targets) in enumerate(self._loader):
            step = epoch * len(self._loader) + index
            for name, value in self.step(images, targets, step).items():
                sums[name] += value / len(self._loader)
            with self.outcome.clock.timed("own"):
                self._training.progress.step(len(images) * self._process.world)
        shares = gathered(dict(sums))
        return {name: fmean(share[name] for share in shares) for name in sums} if shares else {}

    def step(
        self, images: list[Tensor], targets: list[dict[str, Tensor]], step: int
    ) -> dict[str, float]:
        """One step of the optimizer on a batch.

        The batch is taken in ``--accumulate`` parts, one after the other. A part of several
        processes' batch and a part of one process's are the same tiles, and draw the same random
        numbers, so both ways come to the same gradients.

        Parameters
        ----------
        images : list of (3, h, w) uint8
        targets : list of dict
            ``boxes`` (k, 4) and ``labels`` (k,).
        step : int
            From 0, over the whole training.

        Returns
        -------
        dict
            Each loss, a mean over the tiles.

        Raises
        ------
        EngineError
            The loss is not finite.
        """
        rate = self._recipe.rate(step, self._training.epochs * len(self._loader))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad()
        parts = min(self._training.accumulate, len(images))
        sums: dict[str, Tensor] = {}
        for part in range(parts):
            share = self._process.rank + self._process.world * part
            seed = np.random.SeedSequence([self._training.seed, step, share])
            torch.manual_seed(int(seed.generate_state(1, np.uint64)[0]))
            mine = slice(part, None, parts)
            weight = len(images[mine]) / len(images)
            with self._unsynchronised() if part < parts - 1 else nullcontext():
                losses = self._losses(images[mine], targets[mine])
                (sum(losses.values()) * weight).backward()  # type: ignore[union-attr]
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.detach() * weight
        found = {name: float(value) for name, value in sums.items()}
        if not np.isfinite(sum(found.values())):
            raise EngineError(
                f"the loss is not finite in step {step + 1}; give a lower learning rate "
                f"(--set lr0={self._recipe.lr0 / 10:g}, say)"
            )
        if self._recipe.clip:
            clip_grad_norm_(self._parameters, self._recipe.clip)
        self._optimizer.step()
        if self._average:
            self._average.update_parameters(self._network)
        return found

    def _losses(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        inputs = [image.to(self._device, non_blocking=True).float() / 255 for image in images]
        truths = [{k: v.to(self._device) for k, v in target.items()} for target in targets]
        half = self._device != "cpu" and torch.cuda.is_bf16_supported(including_emulation=False)
        with torch.autocast("cuda", torch.bfloat16) if half else nullcontext():
            losses: dict[str, Tensor] = self._model(inputs, truths)
        return losses

    def _unsynchronised(self) -> AbstractContextManager[Any]:
        """Where gradients of several processes are not averaged yet."""
        if isinstance(self._model, DistributedDataParallel):
            return self._model.no_sync()
        return nullcontext()

    # --- validation -------------------------------------------------------------------------------

    def _validate(self) -> Score | None:
        """The score on the whole validation split, in the first process."""
        training = self._training
        if self._process.world > 1:  # BatchNorm's statistics: the first process's are kept
            averaged = self._average.buffers() if self._average else ()
            for buffer in (*self._network.buffers(), *averaged):
                torch.distributed.broadcast(buffer, src=0)
        with self.outcome.clock.timed("scoring"):
            detector = RcnnDetector(
                self._kept(),
                classes=self._architecture.classes,
                card=None,
                imgsz=training.imgsz,
                device=self._device,
            )
            tiles = training.dataset.of_split("val")[self._process.rank :: self._process.world]
            found: dict[str, Detections] = {}
            size = max(1, training.batch // self._process.world // training.accumulate)
            for start in range(0, len(tiles), size):
                batch = tiles[start : start + size]
                images = [read_rgb(training.dataset.image_path(tile)) for tile in batch]
                names = [tile.name for tile in batch]
                found.update(zip(names, detector.predict(images), strict=True))
            shares = gathered(found)
            if not shares:
                return None
            everything = {tile: rows for share in shares for tile, rows in share.items()}
            return score_tiles(training.dataset, training.protocol, everything)

    def _kept(self) -> GeneralizedRCNN:
        """The network that is validated and kept: the averaged one where there is one."""
        network: GeneralizedRCNN = self._average.module if self._average else self._network
        return network

    # --- what is kept -----------------------------------------------------------------------------

    def _keep(self, losses: dict[str, float], score: Score) -> None:
        """Write the epoch down: state first, since the weights beside it follow from it."""
        outcome, training = self.outcome, self._training
        outcome.epochs, outcome.batch = self._epoch, training.batch
        if score.fitness > self._fitness:
            self._fitness, outcome.epoch = score.fitness, self._epoch
            outcome.f1, outcome.ap, outcome.threshold = score.f1, score.ap, score.threshold
        if self._log:
            self._log.add(
                {
                    "epoch": self._epoch,
                    **{f"train/{name}": value for name, value in losses.items()},
                    "metrics/F1": score.f1 or 0.0,
                    "metrics/AP": score.ap or 0.0,
                    "metrics/threshold": score.threshold,
                    "lr": self._optimizer.param_groups[0]["lr"],
                }
            )
        outcome.clock.total = self._before + time.perf_counter() - self._began
        write_state(training.run, self._to_state())
        self._write_weights()
        line = epoch_line(self._epoch, training.epochs, score.f1, outcome.f1)
        training.progress.line(line)

    def _to_state(self) -> State:
        return {
            "epoch": self._epoch,
            "stop": False,
            "batch": self._training.batch,
            "architecture": self._architecture.to_dict(),
            "model": self._network.state_dict(),
            "average": self._average.state_dict() if self._average else None,
            "optimizer": self._optimizer.state_dict(),
            "fitness": self._fitness,
            "outcome": self.outcome.to_dict(),
            "rows": self._log.rows if self._log else [],
        }

    def _resume(self, state: State) -> None:
        self._network.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average:
            self._average.load_state_dict(state["average"])
        if self._process.first:  # a kill may have come between state and weights
            self._write_weights()
        for name in ("model", "average", "optimizer"):
            state.pop(name)  # as large as the model, and used up

    def _write_weights(self) -> None:
        run = self._training.run
        for path in (LAST, BEST) if self.outcome.epoch == self._epoch else (LAST,):
            write_weights(run / path, self._kept(), self._architecture)


def in_float32(head: nn.Module, given: Any, found: tuple[list[Tensor], ...]) -> Any:
    """Bring what an RPN's head found, a hook of it, back from half precision.

    Proposals, and with them the truths, take on its precision: in bfloat16 a place beyond 128 px is
    known to the pixel only, beyond 256 px to two.
    """
    wide = torch.float32
    return tuple([x.to(torch.promote_types(x.dtype, wide)) for x in part] for part in found)


def training_loader(
    tiles: TrainingTiles, training: Training, recipe: RcnnRecipe, epoch: int
) -> DataLoader[Any]:
    """Batches of this process's tiles, epoch after epoch from ``epoch`` on."""
    sampler = EpochSampler(len(tiles), seed=training.seed, process=training.process)
    sampler.epoch = epoch
    cores = len(os.sched_getaffinity(0)) // training.process.local_world
    # on a CPU a reader would take the core that the network needs
    workers = 0 if training.device == "cpu" else min(recipe.workers, cores)
    return DataLoader(
        tiles,
        batch_size=training.batch // training.process.world,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=workers > 0,
        collate_fn=collate,
    )


def _network(
    training: Training, recipe: RcnnRecipe, tiles: TrainingTiles
) -> tuple[GeneralizedRCNN, Architecture]:
    if training.state:
        architecture = architecture_from_dict(training.state["architecture"])
        return build(architecture), architecture
    return start_network(
        training.model,
        training.start,
        tuple(training.dataset.labels),
        imgsz=training.imgsz,
        recipe=recipe,
        median_side=lambda: tiles.median_side(training.imgsz, squashed=training.model in SQUASHED),
        seed=training.seed,
    )


def _average(network: GeneralizedRCNN, decay: float) -> AveragedModel | None:
    if not decay:
        return None
    rule = get_ema_multi_avg_fn(decay)
    return AveragedModel(network, multi_avg_fn=rule, use_buffers=True)
