"""Eight rendered tiles, and the two-stage models that learn them by heart."""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from rendered import Cell, Source, write_dataset
from torch import nn
from torchvision.models import resnet50, resnext101_32x8d, vgg16

from mitoyolo.detectors import rcnn_train
from mitoyolo.detectors.families import MODELS
from mitoyolo.detectors.rcnn_models import MEAN
from mitoyolo.images import read_rgb
from mitoyolo.inference.merge import Detections
from mitoyolo.train import TrainOptions, train

LABELS = ("mitosis", "imposter")
TILE = 128
TILES = 8

RESNETS = {"faster-rcnn": resnet50, "faster-rcnn-x101": resnext101_32x8d}
"""The others stand on VGG-16."""


def lesson(model: str, epochs: int, imgsz: int, **more: Any) -> TrainOptions:
    """Steps of one tile, unless ``more`` says otherwise."""
    return TrainOptions(
        **{"batch": 1, **more}, model=model, epochs=epochs, imgsz=imgsz, device="cpu"
    )


LESSONS = {
    "faster-rcnn": lesson(
        "faster-rcnn", 9, 96,
        settings={
            "rois": 32, "proposals": 20, "lr0": 0.01, "warmup": 0.1, "drops": "0.75",
            "rot90": True,
        },
    ),
    "faster-rcnn-x101": lesson(
        "faster-rcnn-x101", 20, 96,
        settings={
            "rois": 32, "proposals": 20, "lr0": 0.01, "warmup": 0.1, "drops": "0.75",
            "rot90": False,
        },
    ),
    "mitos-rcnn": lesson(
        "mitos-rcnn", 14, 144,
        settings={
            "rois": 512, "proposals": 300, "anchors": "18", "lr0": 0.003, "drops": "0.85",
            "ema": 0.9,
        },
    ),
    "vgg16": lesson(
        "vgg16", 20, 256,
        settings={"rois": 128, "proposals": 40, "lr0": 0.003, "drops": "0.85", "rot90": False},
    ),
    "vgg16-conv4": lesson(
        "vgg16-conv4", 10, 256,
        settings={"rois": 64, "proposals": 20, "lr0": 0.003, "drops": "0.8", "rot90": False},
    ),
    "from scratch": lesson(
        "faster-rcnn", 12, TILE, batch=2, weights="none",
        settings={"rois": 32, "proposals": 20, "lr0": 0.02, "warmup": 0.1, "drops": "0.5"},
    ),
}  # fmt: skip
"""With which the tiles are learned in few steps. But for the last, the input has another side than
the tiles, so that boxes are scaled on the way in and back."""


def eight_tiles(root: Path, noise: float) -> Path:
    """Eight tiles of two mitoses and two imposters each, to learn and to choose by.

    At 3 µm/px a detection counts within 2.7 px of its centre. BatchNorm needs noise: on tiles of
    one colour it divides by nearly nothing.
    """
    sources = []
    for split in ("train", "val"):
        for i in range(TILES):
            rng = np.random.default_rng(i)
            quarters = rng.permutation([(34, 34), (94, 34), (34, 94), (94, 94)])
            places = quarters + rng.integers(-14, 15, (4, 2))
            kinds = ((1.0, "mitosis"), (0.0, "imposter")) * 2
            cells = tuple(
                Cell(int(x), int(y), *kind) for (x, y), kind in zip(places, kinds, strict=True)
            )
            sources.append(Source(f"{split}{i}", split, cells, width=TILE, height=TILE))
    data = write_dataset(root, sources, side=TILE, mpp=(3.0, 3.0), labels=LABELS)
    rng = np.random.default_rng(2)
    for path in sorted((data / "images" / "train").glob("*.png")):
        noisy = cv2.imread(str(path)) + rng.normal(0, noise, (TILE, TILE, 3))
        assert cv2.imwrite(str(path), np.clip(noisy, 0, 255).astype(np.uint8))
        shutil.copy(path, data / "images" / "val" / path.name.replace("train", "val"))
    return data


LARGE = 10_000_000
"""Numbers; VGG-16's fully connected layers have more, half a gigabyte for no detector here."""


def write_backbone(folder: Path, model: str, data: Path) -> dict[str, torch.Tensor]:
    """Stand in for torchvision's weights of a model's backbone: random ones that keep activations
    at one size, as pretrained ones do: by BatchNorm's statistics, or He's initialisation."""
    torch.manual_seed(0)
    network = RESNETS.get(model, vgg16)(weights=None)
    if model in RESNETS:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the mean of all that it sees
        images = [read_rgb(path) for path in sorted((data / "images" / "train").glob("*.png"))]
        pixels = torch.tensor(np.stack(images)).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            network.train()((pixels - torch.tensor(MEAN)[:, None, None]) / 0.225)
    else:
        for layer in network.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    tensors = {name: x for name, x in network.state_dict().items() if x.numel() < LARGE}
    folder.mkdir()
    torch.save(tensors, folder / MODELS[model].pretrained[-1])
    return tensors


@dataclass
class Run:
    """A finished training, and what its last validation saw."""

    data: Path
    folder: Path
    backbone: dict[str, torch.Tensor]
    last_seen: dict[str, Detections]

    @property
    def best(self) -> Path:
        return self.folder / "weights" / "best.pt"

    @property
    def best_row(self) -> dict[str, float]:
        """Of ``results.csv``."""
        rows = rows_of(self.folder)
        return max(rows, key=lambda row: row["metrics/F1"] + 1e-3 * row["metrics/AP"])


def learned(name: str, root: Path) -> Run:
    """Give one of :data:`LESSONS`, on a machine that has the backbone's weights and no others."""
    options = LESSONS[name]
    data = eight_tiles(root / "data", noise=20 if options.model in RESNETS else 0)
    pretrained = options.weights is None
    backbone = write_backbone(root / "weights", options.model, data) if pretrained else {}
    run = Run(data, root / name, backbone, {})
    score = rcnn_train.score_tiles

    def watched(dataset: Any, protocol: Any, of_tile: dict[str, Detections]) -> Any:
        run.last_seen = of_tile
        return score(dataset, protocol, of_tile)

    with pytest.MonkeyPatch.context() as patch:
        without_weights(patch, root)
        patch.setenv("MITOYOLO_WEIGHTS", str(root / "weights"))
        patch.setattr(rcnn_train, "score_tiles", watched)
        train(data, run.folder, options)
    return run


def without_weights(patch: pytest.MonkeyPatch, root: Path) -> None:
    """Be on a machine without weights, in a folder without any."""
    patch.chdir(root)
    patch.setenv("HOME", str(root / "home"))
    for name in ("MITOYOLO_WEIGHTS", "TORCH_HOME", "XDG_CACHE_HOME"):
        patch.delenv(name, raising=False)


def rows_of(run: Path) -> list[dict[str, float]]:
    """Of its ``results.csv``."""
    with (run / "results.csv").open(encoding="utf-8") as handle:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(handle)]


def content(path: Path) -> dict[str, Any]:
    """Of a weights file."""
    return dict(torch.load(path, weights_only=True))
