"""Ultralytics' validation of an epoch, with the count on whole source images beside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mitoyolo.detectors import ultralytics_quiet  # noqa: F401 - before anything of ultralytics
from mitoyolo.detectors.training import Clock, Score
from mitoyolo.distributed import gathered, shared
from mitoyolo.inference.merge import Detections

from ultralytics.models.yolo.detect import DetectionValidator


class MitosisValidator(DetectionValidator):
    """Ultralytics' validation, and on the same predictions the count on source images."""

    def __init__(
        self,
        *args: Any,
        score: Callable[[dict[str, Detections]], Score],
        clock: Clock,
        select: str,
        **kw: Any,
    ) -> None:
        super().__init__(*args, **kw)
        self._score, self._clock, self._select = score, clock, select
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

    def gather_stats(self) -> None:
        """Bring the processes' shares of the split together in the first one."""
        super().gather_stats()
        with self._clock.timed("scoring"):
            shares = gathered(self._of_tile)
            batches = shared(gathered(len(self.dataloader)))
        # Ultralytics divides the processes' mean by the batches of the first one alone
        for total in self.loss.values():
            total *= len(batches) * batches[0] / sum(batches)
        self._of_tile = {tile: rows for share in shares for tile, rows in share.items()}

    def get_stats(self) -> dict[str, Any]:
        """Ultralytics' figures, our F1 and AP, and where F1 selects, our fitness for theirs."""
        stats = super().get_stats()
        with self._clock.timed("scoring"):
            result = self._score(self._of_tile)
        stats["metrics/F1"] = result.f1 or 0.0
        stats["metrics/AP"] = result.ap or 0.0
        stats["metrics/threshold"] = result.threshold
        if self._select == "f1":
            stats["fitness"] = result.fitness
        return stats
