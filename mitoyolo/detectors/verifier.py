"""The verifier: a small network that looks at each detection again, from near.

A detector decides on a whole tile at once; most of its false positives are dark nuclei that a
second look tells apart. Two stages, as C. Li, X. Wang, W. Liu, L. J. Latecki, DeepMitosis: Mitosis
detection via deep detection, verification and segmentation networks (Medical Image Analysis 45,
2018), and most winners of the MIDOG challenges have them. Here the second is the first layers of a
YOLOv5 over a crop of :data:`SIDE_UM`, and a detection's score becomes the mean of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from converters.errors import InputError
from converters.mpp import Mpp
from mitoyolo.detectors import ultralytics_quiet  # noqa: F401 - before anything of ultralytics
from mitoyolo.detectors.base import Detector
from mitoyolo.detectors.card import VERIFIER_KEY, Card
from mitoyolo.detectors.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from mitoyolo.detectors.failures import foreseen
from mitoyolo.images import RGB
from mitoyolo.inference.merge import SCORE, Detections

from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import fuse_conv_and_bn

SIDE_UM = 22.0
"""Side of a crop: a cell and its neighbours."""

SIDE = 96
"""px to which a crop is resized for the network."""

FAINT = 0.02
"""Detections of a lower score are not looked at again; their score is halved."""

LAYERS = 7
"""Of the YOLOv5 backbone: down to a sixteenth of the crop's side."""

TURNED = tuple((turns, mirrored) for turns in range(4) for mirrored in (False, True))[1:]
"""The other positions of a crop: quarter turns, and whether it is mirrored then."""

LIKELY = 0.2
"""Chance of a mitosis, as it lies, from which a crop is seen in the other positions too."""

BATCH = 64
"""Crops a forward pass."""

Tensors = dict[str, torch.Tensor]


class Verifier(nn.Module):
    """Crops of shape (n, 3, :data:`SIDE`, :data:`SIDE`), RGB from 0 to 1, to n logits of a mitosis.

    Parameters
    ----------
    model : DetectionModel
        A YOLOv5, whose first layers it takes.
    """

    def __init__(self, model: DetectionModel) -> None:
        super().__init__()
        self.backbone = nn.Sequential(*list(model.model)[:LAYERS])  # type: ignore[arg-type]
        for layer in self.backbone.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 0.1  # Ultralytics' 0.03 is too slow for some dozens of steps
        self.backbone.eval()  # in training the zeros would count
        with torch.no_grad():
            channels = self.backbone(torch.zeros(1, 3, SIDE, SIDE)).shape[1]
        self.backbone.train()
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(channels, 1)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Mean over the places of the last map, then one number."""
        logits: torch.Tensor = self.head(self.dropout(self.backbone(crops).mean((2, 3))))
        return logits[:, 0]


def crop(tile: RGB, x: float, y: float, mpp: Mpp, degrees: float = 0.0, zoom: float = 1.0) -> RGB:
    """What lies around a place, :data:`SIDE_UM` wide; beyond the tile its mirror image.

    Parameters
    ----------
    tile : uint8 array of shape (height, width, 3)
    x, y : float
        Pixels of the tile.
    mpp : (float, float)
        µm per pixel of the tile, across and down.
    degrees, zoom : float
        How the crop is turned, and how many times larger its content.

    Returns
    -------
    uint8 array of shape (SIDE, SIDE, 3)
    """
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # from pixels of the crop to those of the tile, whose centres are at halves
    step = SIDE_UM / SIDE / zoom * turn / np.asarray(mpp)[:, None]
    middle = (SIDE - 1) / 2
    shift = np.array([x - 0.5, y - 0.5]) - step @ [middle, middle]
    return np.asarray(
        cv2.warpAffine(
            tile, np.column_stack([step, shift]), (SIDE, SIDE),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT_101,
        ),
        np.uint8,
    )  # fmt: skip


def as_input(crops: Sequence[RGB]) -> torch.Tensor:
    """Crops as the network takes them."""
    batch = np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2))
    return torch.from_numpy(batch).float() / 255


def fused(verifier: Verifier) -> Verifier:
    """The same with each BatchNorm merged into its convolution: a sixth to a third faster."""
    for layer in verifier.modules():
        if isinstance(layer, Conv) and hasattr(layer, "bn"):
            layer.conv = fuse_conv_and_bn(layer.conv, layer.bn)
            del layer.bn
            layer.forward = layer.forward_fuse  # type: ignore[method-assign]
    return verifier


def turned(crop: RGB, turns: int, mirrored: bool) -> RGB:
    """A crop after quarter turns to the left, then mirrored left to right."""
    seen = np.rot90(crop, turns)
    return seen[:, ::-1] if mirrored else seen


class Verified:
    """A detector whose mitoses a verifier looks at again; to whoever uses it, a detector.

    Parameters
    ----------
    detector : Detector
    card : Card
        Its own, which says how large the pixels of its tiles are.
    verifier : Verifier
    """

    def __init__(self, detector: Detector, card: Card, verifier: Verifier) -> None:
        self._detector = detector
        self._card = card
        self._verifier = fused(verifier.eval()).to(detector.device)
        self.classes = detector.classes
        self.card: Card | None = card
        self.imgsz = detector.imgsz
        self.device = detector.device
        self.least = 0.0

    @property
    def least(self) -> float:
        """As a detector's; a doubtful detection may be a mitosis on the second look, a faint one
        is none."""
        return self._least

    @least.setter
    def least(self, least: float) -> None:
        self._least = least
        self._detector.least = FAINT if least > FAINT / 2 else 0.0

    def predict(self, tiles: Sequence[RGB], imgsz: int | None = None) -> list[Detections]:
        """Detections of each tile in its own pixels; the tiles are RGB and of one shape."""
        mpp = self._mpp(tiles, imgsz)
        found = self._detector.predict(tiles, imgsz)
        return [self._again(tile, rows, mpp) for tile, rows in zip(tiles, found, strict=True)]

    def _mpp(self, tiles: Sequence[RGB], imgsz: int | None) -> Mpp:
        """µm per pixel of tiles that are resized to ``imgsz`` px, so that a cell is as large as in
        training; None: to as many as there."""
        assert self._card.mpp is not None  # cards with a verifier have it
        enlarged = (imgsz or self.imgsz) / max(tiles[0].shape[:2])
        coarser = enlarged / (self.imgsz / self._card.tile)
        return (self._card.mpp[0] * coarser, self._card.mpp[1] * coarser)

    def _again(self, tile: RGB, rows: Detections, mpp: Mpp) -> Detections:
        done = rows.copy()
        mitoses = np.flatnonzero(rows[:, 5] == self.classes.index("mitosis"))
        done[mitoses, SCORE] /= 2
        doubtful = mitoses[rows[mitoses, SCORE] >= FAINT]
        crops = [crop(tile, x, y, mpp) for x, y in rows[doubtful, :2]]
        done[doubtful, SCORE] += self._chances(crops) / 2
        return done[np.argsort(-done[:, SCORE], kind="stable")]

    def _chances(self, crops: Sequence[RGB]) -> NDArray[np.float64]:
        """How likely each crop shows a mitosis: tissue has no up or down, so that likely ones are
        seen in all positions."""
        if not crops:
            return np.empty(0)
        logits = self._logits(crops)
        likely = torch.nonzero(logits.sigmoid() >= LIKELY).ravel()
        if len(likely):
            again = [turned(crops[i], *how) for how in TURNED for i in likely]
            others = self._logits(again).view(len(TURNED), -1)
            logits[likely] = torch.vstack([logits[likely], others]).mean(0)
        return np.asarray(logits.sigmoid().numpy(), np.float64)

    def _logits(self, crops: Sequence[RGB]) -> torch.Tensor:
        batches = [as_input(crops[i : i + BATCH]) for i in range(0, len(crops), BATCH)]
        with foreseen("give a smaller --tile, or --device cpu"), torch.no_grad():
            return torch.cat([self._verifier(batch.to(self.device)).cpu() for batch in batches])


def load_verified(detector: Detector, card: Card, source: Checkpoint | Path) -> Verified:
    """A detector with the verifier that belongs to it.

    Parameters
    ----------
    source : Checkpoint or Path
        The weights file that holds the verifier.

    Raises
    ------
    InputError
        It is not there, or of another network.
    """
    assert card.verifier is not None
    verifier = Verifier(DetectionModel(f"{card.verifier}.yaml", nc=1, verbose=False))
    try:
        verifier.load_state_dict(verifier_of(source))
    except RuntimeError:
        raise InputError(
            f"its verifier's tensors do not fit {card.verifier}",
            file=source if isinstance(source, Path) else source.path,
            fix="train again with this version",
        ) from None
    return Verified(detector, card, verifier)


def verifier_of(source: Checkpoint | Path) -> Tensors:
    """The verifier's tensors in a weights file.

    Raises
    ------
    InputError
        There are none.
    """
    checkpoint = read_checkpoint(source) if isinstance(source, Path) else source
    if checkpoint.verifier is None:
        raise InputError("its verifier is missing", file=checkpoint.path, fix="train again")
    return checkpoint.verifier


def write_verifier(path: Path, tensors: Tensors) -> None:
    """Write a verifier as a weights file of its own, beside an export: as the model too, without
    which no file is taken for weights."""
    write_checkpoint(path, {"model": tensors, VERIFIER_KEY: tensors})
