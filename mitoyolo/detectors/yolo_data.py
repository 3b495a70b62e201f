"""Training tiles for Ultralytics: what a tile looks like depends on seed, epoch and tile alone.

Neither the number of processes nor that of loader workers, nor a training that was stopped and
resumed, changes which tiles come in which order or how they are augmented.
"""

from __future__ import annotations

import os
import random
from collections.abc import Collection, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from converters.errors import OptionError
from mitoyolo.detectors import ultralytics_quiet  # noqa: F401 - before anything of ultralytics
from mitoyolo.detectors.recipe import Recipe
from mitoyolo.detectors.sampler import EpochSampler
from mitoyolo.distributed import Process, shared

from ultralytics.data.augment import BaseTransform, Mosaic
from ultralytics.data.build import InfiniteDataLoader, seed_worker
from ultralytics.data.dataset import YOLODataset

MEMORY = 1 << 30
"""Bytes for decoded training tiles in a process, its loader workers together."""


class Rot90(BaseTransform):
    """Turn image and boxes by 0, 90, 180 or 270 degrees, each as likely, without resampling."""

    def get_params(self, labels: dict[str, Any]) -> dict[str, Any]:
        """Draw the number of quarter turns, counter-clockwise."""
        return {"turns": random.randrange(4), "size": labels["img"].shape[:2]}

    def apply_image(self, labels: Any, params: Any = None) -> Any:
        """Turn the image."""
        labels["img"] = np.rot90(labels["img"], params["turns"])
        return labels

    def apply_instances(self, labels: Any, params: Any = None) -> Any:
        """Turn the boxes about the image."""
        instances = labels["instances"]
        height, width = params["size"]
        instances.denormalize(width, height)
        instances.convert_bbox(format="xyxy")
        for _ in range(params["turns"]):
            left, top, right, bottom = instances.bboxes.T
            instances.bboxes[:] = np.stack([top, width - right, bottom, width - left], axis=1)
            height, width = width, height
        return labels


class TrainingTiles(YOLODataset):
    """Ultralytics' dataset with our augmentation, read without a cache file.

    Parameters
    ----------
    recipe : Recipe
    seed : int
    process : Process
        The first one reads the label files and hands them to the others.
    without : collection of str
        Names of tiles in the folder that are none of these.
    **ultralytics
        As :class:`ultralytics.data.dataset.YOLODataset` takes them.
    """

    def __init__(
        self,
        *,
        recipe: Recipe,
        seed: int,
        process: Process,
        without: Collection[str] = (),
        **ultralytics: Any,
    ) -> None:
        self._recipe, self._seed, self._process = recipe, seed, process
        self._without = frozenset(without)
        self._jitter = recipe.jitter(seed)
        super().__init__(**ultralytics)
        if self.augment:  # a mosaic reads four tiles: those read before stay, as many as fit
            room = MEMORY // (3 * ultralytics["imgsz"] ** 2 * max(ultralytics["hyp"].workers, 1))
            self.max_buffer_length = min(self.ni, room)

    def get_img_files(self, img_path: Any) -> list[str]:
        """The image files of the tiles."""
        files: list[str] = super().get_img_files(img_path)
        return [file for file in files if Path(file).stem not in self._without]

    def get_labels(self) -> list[dict[str, Any]]:
        """The tiles' labels, read once; called in all processes at the same time."""
        labels = shared(list(super().get_labels()) if self._process.first else [])
        self.im_files = [label["im_file"] for label in labels]
        return labels

    def cache_images(self) -> None:
        """Without Ultralytics' bar, which would go to standard output."""
        with redirect_stdout(StringIO()):
            super().cache_images()

    def build_transforms(self, hyp: Any) -> Any:
        """Ultralytics' transforms, with quarter turns before the tensor is made."""
        transforms = super().build_transforms(hyp)
        if self.augment and self._recipe.rot90:
            transforms.insert(len(transforms.transforms) - 1, Rot90())
        for mosaic in _mosaics(transforms):
            mosaic.buffer_enabled = False  # else its tiles depend on what was read before
        return transforms

    def get_image_and_label(self, index: int) -> dict[str, Any]:
        """A tile as stained by another laboratory: within a mosaic, each field by its own."""
        label: dict[str, Any] = super().get_image_and_label(index)
        if self.augment:
            read = label["img"]
            if self._recipe.stain:
                label = self._jitter(label)
            if label["img"] is read:  # it stays in memory, and some transforms write in place
                label["img"] = read.copy()
        return label

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The tile of number ``index`` modulo their count, in the epoch that the quotient is."""
        epoch, tile = divmod(index, len(self))
        if self.augment:
            state = np.random.SeedSequence([self._seed, epoch, tile]).generate_state(4)
            np.random.seed(state)
            random.seed(state.tobytes())
        item: dict[str, Any] = super().__getitem__(tile)
        return item


def _mosaics(transform: Any) -> Iterator[Mosaic]:
    if isinstance(transform, Mosaic):
        yield transform
    for inner in getattr(transform, "transforms", None) or ():
        yield from _mosaics(inner)


def training_loader(
    tiles: TrainingTiles,
    *,
    epoch: int = 0,
    batch: int,
    workers: int,
    seed: int,
    process: Process,
    gpu: bool,
    drop_last: bool,
) -> InfiniteDataLoader:
    """Batches of ``batch`` tiles of this process, epoch after epoch from ``epoch`` on.

    Raises
    ------
    OptionError
        Rectangular batches of several shapes, in several processes.
    """
    shapes = getattr(tiles, "batch_shapes", None)  # rect: tiles of one shape belong together
    shuffle = shapes is None or bool(np.all(shapes == shapes[0]))
    if not shuffle and process.world > 1:
        raise OptionError(
            "rect=true: tiles of several shapes cannot be shared out among processes",
            fix="leave it out, or train in one process",
        )
    sampler = EpochSampler(len(tiles), seed=seed, process=process, shuffle=shuffle)
    sampler.epoch = epoch
    batch = min(batch, len(tiles))
    batches = -(-len(sampler) // batch)
    cores = len(os.sched_getaffinity(0)) // process.local_world
    workers = min(workers, max(cores, 1), batches) if batches > 1 else 0
    return InfiniteDataLoader(
        dataset=tiles,
        batch_size=batch,
        sampler=sampler,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=gpu,
        collate_fn=tiles.collate_fn,
        worker_init_fn=_one_thread,
        generator=torch.Generator().manual_seed(seed),
        drop_last=drop_last and len(sampler) > batch,
    )


def _one_thread(worker: int) -> None:
    """The workers are the threads: more in each would fight for the cores."""
    cv2.setNumThreads(0)
    seed_worker(worker)
