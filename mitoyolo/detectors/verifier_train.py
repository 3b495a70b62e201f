"""Training a verifier: mitoses against what the detector takes for some."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch.nn.functional import binary_cross_entropy_with_logits

from converters.mpp import Mpp
from mitoyolo.dataset import Dataset, Tile
from mitoyolo.detectors.base import Detector
from mitoyolo.detectors.failures import foreseen
from mitoyolo.detectors.verifier import SIDE_UM, Tensors, Verifier, as_input, crop
from mitoyolo.detectors.yolo import start_model
from mitoyolo.images import RGB, read_rgb
from mitoyolo.inference.apply import detect_tiles
from mitoyolo.inference.merge import MERGE_UM, SCORE
from mitoyolo.inference.scoring import by_source
from mitoyolo.progress import note, track
from mitoyolo.stain.augment import DEFAULT_STRENGTH, jitter_reinhard

PASSES = 40
"""How often each mitosis is seen."""

BATCH = 48
"""Crops a step, a third of them mitoses."""

RATE, DECAY = 1e-3, 0.02
"""AdamW's greatest learning rate, which rises and falls once, and its weight decay."""

SMOOTHED = 0.05
"""The labels are so much less than certain: some look-alikes were mitoses to another reader."""

LEAST = 0.03
"""Score of a false detection from which it is learned from."""

MOST = 20_000
"""Look-alikes that are kept in memory, chosen at random: 1.7 GiB at 0.25 µm/px."""


class Mark(NamedTuple):
    """A place on a tile, in its pixels."""

    tile: Tile
    x: float
    y: float


class Patch(NamedTuple):
    """What is around a mark, wide enough to be turned in any direction."""

    pixels: RGB
    x: float
    y: float
    mpp: Mpp


def train_verifier(
    dataset: Dataset, detector: Detector, model: str, weights: Path | None, seed: int
) -> Tensors | None:
    """Train on the training split, on the detector's device.

    Parameters
    ----------
    dataset : Dataset
    detector : Detector
        Trained on this data; its false detections are what is learned from, beside the look-alikes
        that are annotated.
    model : str
        The YOLOv5 whose first layers it takes.
    weights : Path or None
        Their start; None: random.
    seed : int

    Returns
    -------
    dict or None
        The verifier's tensors on the CPU; None where the detector takes nothing for a mitosis that
        is none, so that there is nothing to learn.
    """
    detector.least = LEAST
    mitoses, others = marks(dataset, detector)
    if not others:
        note("no false detection and no look-alike to learn from: no verifier")
        return None
    rng = np.random.default_rng(seed)
    if len(others) > MOST:
        others = [others[i] for i in np.sort(rng.permutation(len(others))[:MOST])]
    note(f"training the verifier on {len(mitoses)} mitoses and {len(others)} look-alikes")
    verifier = Verifier(start_model(model, weights, ("mitosis",), seed)).to(detector.device).train()
    patches = [_patches(dataset, each) for each in (mitoses, others)]
    steps = math.ceil(PASSES * len(mitoses) / (BATCH // 3))
    optimizer = torch.optim.AdamW(verifier.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1)
    sizes = (BATCH // 3, BATCH - BATCH // 3)
    said = torch.tensor([1 - SMOOTHED / 2] * sizes[0] + [SMOOTHED / 2] * sizes[1])
    drawn = [_endless(len(each), rng) for each in patches]
    for _ in track(range(steps), "training the verifier", unit="steps", total=steps):
        crops = [
            augmented(each[next(numbers)], rng)
            for each, numbers, size in zip(patches, drawn, sizes, strict=True)
            for _ in range(size)
        ]
        with foreseen("give --device cpu"):
            logits = verifier(as_input(crops).to(detector.device))
            loss = binary_cross_entropy_with_logits(logits, said.to(detector.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return {name: value.cpu() for name, value in verifier.state_dict().items()}


def marks(dataset: Dataset, detector: Detector) -> tuple[list[Mark], list[Mark]]:
    """The mitoses of the training split, and its look-alikes: annotated ones and false detections.

    A detection within the radius of a mitosis is no look-alike, even a second one of it.
    """
    tiles: dict[str, list[Tile]] = defaultdict(list)
    for tile in dataset.of_split("train"):
        tiles[tile.source].append(tile)
    places: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for truth in dataset.truths:
        places[truth.source, truth.label].append((truth.x, truth.y))
    found = by_source(dataset.of_split("train"), detect_tiles(detector, dataset, "train"))
    mitosis = detector.classes.index("mitosis")
    mitoses, others = [], []
    for source, members in tiles.items():
        own = _placed(members, places[source, "mitosis"])
        mitoses += own
        others += _placed(members, places[source, "imposter"])
        rows = found[source]
        rows = rows[(rows[:, 5] == mitosis) & (rows[:, SCORE] >= LEAST)]
        mpp = np.asarray(members[0].mpp)
        if places[source, "mitosis"] and len(rows):
            tree = cKDTree(np.array(places[source, "mitosis"]) * mpp)
            rows = rows[tree.query(rows[:, :2] * mpp)[0] > MERGE_UM]
        others += _placed(members, [(x, y) for x, y in rows[:, :2]])
    return mitoses, others


def _placed(tiles: Sequence[Tile], places: Sequence[tuple[float, float]]) -> list[Mark]:
    """Each place of a source on the tile in which it lies deepest; none where there is no tile."""
    done = []
    for x, y in places:
        depths = [
            min(x - tile.x, y - tile.y, tile.x + tile.width - x, tile.y + tile.height - y)
            for tile in tiles
        ]
        deepest = int(np.argmax(depths))
        if depths[deepest] >= 0:
            tile = tiles[deepest]
            done.append(Mark(tile, x - tile.x, y - tile.y))
    return done


def _patches(dataset: Dataset, marks: Sequence[Mark]) -> list[Patch]:
    """What is around each mark; a tile is read once for all of its own."""
    done: dict[int, Patch] = {}
    pixels: RGB | None = None
    last = None
    for i in sorted(range(len(marks)), key=lambda i: marks[i].tile.name):
        tile, x, y = marks[i]
        if pixels is None or tile != last:
            pixels, last = read_rgb(dataset.image_path(tile)), tile
        reach = [math.ceil(SIDE_UM / um) for um in tile.mpp]  # 1.4 times half, and a shift
        left, top = max(0, round(x) - reach[0]), max(0, round(y) - reach[1])
        part = pixels[top : round(y) + reach[1], left : round(x) + reach[0]]
        done[i] = Patch(part.copy(), x - left, y - top, tile.mpp)
    return [done[i] for i in range(len(marks))]


def augmented(patch: Patch, rng: np.random.Generator) -> RGB:
    """A crop as the detector might have placed it on another section: turned, mirrored, shifted by
    up to a micrometre or two, 10 % larger or smaller, of other contrast, colour and stain."""
    x, y = (
        at + rng.normal(0, 0.6) / um for at, um in zip((patch.x, patch.y), patch.mpp, strict=True)
    )
    seen = crop(patch.pixels, x, y, patch.mpp, rng.uniform(0, 360), rng.uniform(0.9, 1.1))
    if rng.random() < 0.5:
        seen = seen[:, ::-1]
    mean = seen.mean()
    light = mean + rng.normal(0, 10) + rng.normal(0, 6, 3)
    seen = np.clip((seen - mean) * rng.uniform(0.8, 1.2) + light, 0, 255).astype(np.uint8)
    return jitter_reinhard(seen, DEFAULT_STRENGTH, rng)


def _endless(size: int, rng: np.random.Generator) -> Iterator[int]:
    """All numbers under ``size`` in random order, again and again."""
    while True:
        yield from rng.permutation(size).tolist()
