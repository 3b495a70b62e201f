"""YOLOv5 n to x in Ultralytics' current form: built, started, loaded, and applied to tiles.

The current form ("yolov5nu") has the backbone and neck of the classic release and an anchor-free
head, so a classic checkpoint gives every tensor but the head's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from converters.errors import InputError
from mitoyolo.detectors import ultralytics_quiet  # noqa: F401 - before anything of ultralytics
from mitoyolo.detectors.base import torch_name
from mitoyolo.detectors.card import CARD_KEY, Card, card_from_dict
from mitoyolo.detectors.checkpoint import Checkpoint, class_names, read_checkpoint, write_checkpoint
from mitoyolo.detectors.failures import foreseen
from mitoyolo.detectors.weights import check_checkpoint
from mitoyolo.images import RGB
from mitoyolo.inference.merge import Detections

from ultralytics.nn.tasks import DetectionModel, load_checkpoint
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.torch_utils import init_seeds

CONFIDENCE = 0.001
"""Least score kept: low, since AP, FROC and the choice of the threshold need the whole range."""

NMS_IOU = 0.7
MAX_DETECTIONS = 300
"""Both as Ultralytics validates."""

HEADS = ("Detect", "v10Detect")
"""Last layers whose boxes are upright."""

STRIDE = 32
"""Pixels of the input for a cell of the coarsest grid."""


def start_model(
    name: str, weights: Path | None, classes: Sequence[str], seed: int
) -> DetectionModel:
    """The model before its first step: pretrained tensors where they fit, a seeded rest.

    Parameters
    ----------
    name : str
        `yolov5n`, `yolov5s`, `yolov5m`, `yolov5l` or `yolov5x`.
    weights : Path or None
        Any ``.pt`` of the same size, classic YOLOv5 included; None leaves all tensors random.
    classes : sequence of str
        The data's classes; the head is new unless the file's head has the same shapes.
    seed : int
        Of the random tensors.

    Raises
    ------
    InputError
        The file's backbone and neck do not fit the model.
    """
    init_seeds(seed)
    model = DetectionModel(f"{name}.yaml", nc=len(classes), verbose=False)
    model.names = dict(enumerate(classes))
    if weights is not None:
        _take_over(model, read_checkpoint(weights), name)
    return model


def _take_over(model: DetectionModel, checkpoint: Checkpoint, name: str) -> None:
    own = model.state_dict()
    last = max(int(key.split(".")[1]) for key in own)
    head = f"model.{last}."
    fits = {
        key: value
        for key, value in checkpoint.tensors.items()
        if key in own and own[key].shape == value.shape
    }
    body = [key for key in own if not key.startswith(head)]
    lacking = [key for key in body if key not in fits]
    if lacking:
        raise InputError(
            f"only {len(body) - len(lacking)} of the {len(body)} tensors of {name}'s backbone and "
            f"neck fit (first without: {lacking[0]})",
            file=checkpoint.path,
            fix="give the weights of the same model, or --model another size",
        )
    model.load_state_dict(fits, strict=False)


def write_start(path: Path, model: DetectionModel) -> None:
    """Write a model as an Ultralytics checkpoint in full precision, to train from or to compare."""
    content = {"epoch": -1, "model": model.float(), "ema": None, "train_args": {}}
    write_checkpoint(path, content)


Forward = Callable[[torch.Tensor], Any]
"""A network: (n, 3, H, W) float32 RGB from 0 to 1 to boxes and scores as Ultralytics decodes them,
(n, 4 + classes, places) or, end to end, (n, boxes, 6)."""


class YoloDetector:
    """A trained YOLO network, in whatever form it runs, applied to tiles.

    Attributes
    ----------
    classes : tuple of str
        In the order of the class numbers in :data:`Detections`.
    card : Card or None
        None for weights that mitoyolo did not train.
    imgsz : int
        Side in pixels to which tiles are resized.
    device : str
        As torch names it.
    least : float
        Lower scores are left out, before overlapping boxes are suppressed, which thousands of them
        would make the slowest part of all.
    """

    least = CONFIDENCE

    def __init__(
        self,
        network: Forward,
        *,
        classes: tuple[str, ...],
        card: Card | None,
        imgsz: int,
        device: str,
    ) -> None:
        self.classes, self.card, self.imgsz, self.device = classes, card, imgsz, device
        self._network = network

    def predict(self, tiles: Sequence[RGB], imgsz: int | None = None) -> list[Detections]:
        """Detect on a batch of tiles of one size.

        Parameters
        ----------
        tiles : sequence of (h, w, 3) uint8
            RGB, all of one shape.
        imgsz : int, optional
            Pixels to which the longer side is resized; None: the model's own.

        Returns
        -------
        list of Detections
            One array a tile, highest score first.
        """
        height, width = tiles[0].shape[:2]
        batch, inside = letterbox(tiles, imgsz or self.imgsz)
        images = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2).float() / 255
        with foreseen("give a smaller --imgsz or --tile, or --device cpu"), torch.inference_mode():
            found = non_max_suppression(
                self._network(images),
                max(self.least, CONFIDENCE),
                NMS_IOU,
                multi_label=True,
                nc=len(self.classes),
                max_det=MAX_DETECTIONS,
                max_time_img=inf,  # else a slow machine would leave the last tiles empty
            )
            rows = [item.cpu().numpy() for item in found]
        return [to_detections(item, inside, width, height) for item in rows]


Inside = tuple[int, int, int, int]
"""Where the tile lies in its letterboxed picture: left, top, width, height in pixels."""


def letterbox(tiles: Sequence[RGB], imgsz: int) -> tuple[NDArray[np.uint8], Inside]:
    """Resize tiles to a longest side of ``imgsz`` and pad to multiples of 32 with grey 114.

    As Ultralytics does at validation, half a stride of padding included, so that the scores by
    which training chose epoch and threshold are the scores found here.

    Returns
    -------
    batch : (n, H, W, 3) uint8
    inside : (left, top, width, height)
    """
    height, width = tiles[0].shape[:2]
    longest = max(height, width)
    new_w, new_h = (min(ceil(side * imgsz / longest), imgsz) for side in (width, height))
    full_w, full_h = (
        ceil(side / longest * imgsz / STRIDE + 0.5) * STRIDE for side in (width, height)
    )
    left, top = (full_w - new_w) // 2, (full_h - new_h) // 2
    batch = np.full((len(tiles), full_h, full_w, 3), 114, dtype=np.uint8)
    for i, tile in enumerate(tiles):
        same = (new_w, new_h) == (width, height)
        resized = tile if same else cv2.resize(tile, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
        batch[i, top : top + new_h, left : left + new_w] = resized
    return batch, (left, top, new_w, new_h)


def to_detections(rows: NDArray[np.float32], inside: Inside, width: int, height: int) -> Detections:
    """Rows x1, y1, x2, y2, score, class of a letterboxed batch to :data:`Detections` of a tile
    of ``width`` x ``height`` pixels.

    Heads that regress distances without bounds (YOLO26) may exchange a box's corners; and a box
    that lies beyond the tile is none.
    """
    left, top, new_w, new_h = inside
    boxes = rows[:, :4].astype(np.float64)
    boxes[:, [0, 2]] = ((boxes[:, [0, 2]] - left) * width / new_w).clip(0, width)
    boxes[:, [1, 3]] = ((boxes[:, [1, 3]] - top) * height / new_h).clip(0, height)
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, abs(boxes[:, 2:] - boxes[:, :2])
    return np.column_stack([centres, sides, rows[:, 4:6]])[(sides > 0).all(axis=1)]


# --- weights files ----------------------------------------------------------------------------


def load(
    source: Path | Checkpoint, *, device: str = "cpu", imgsz: int | None = None, trust: bool = False
) -> YoloDetector:
    """A ``.pt`` file as a detector, see :func:`mitoyolo.detectors.base.load_detector`."""
    model, card = open_model(source, trust=trust)
    where = torch_name(device)
    return YoloDetector(
        model.to(where),
        classes=class_names(model.names),
        card=card,
        imgsz=imgsz or default_imgsz(card),
        device=where,
    )


def default_imgsz(card: Card | None) -> int:
    """The side in pixels to which a tile is resized where nobody says."""
    return card.imgsz if card else 640  # as Ultralytics


def open_model(
    source: Path | Checkpoint, *, trust: bool = False
) -> tuple[DetectionModel, Card | None]:
    """The model of a ``.pt`` file on the CPU, fused and ready to infer, and its card.

    Parameters
    ----------
    source : Path or Checkpoint
        The file, or what was read of it.
    trust : bool
        Load the file by Ultralytics, which runs the code in it; else the model is rebuilt from its
        architecture and tensors.

    Raises
    ------
    InputError
        No such file, or it holds no model that detects upright boxes.
    """
    path = source.path if isinstance(source, Checkpoint) else source
    model, card = _unpickled(path) if trust else _rebuilt(source)
    try:
        head: Any = model.model[-1]  # type: ignore[index]
        names = card.classes if card else class_names(model.names)
        usable = type(head).__name__ in HEADS and head.nc == len(names)
    except (AttributeError, TypeError, IndexError):  # of a module that is not Ultralytics'
        head, usable = model, False
    if not usable:
        raise InputError(
            f"a {type(head).__name__} model, expected one that detects boxes of the classes it "
            "names",
            file=path,
        )
    model.names = dict(enumerate(names))
    model.task = "detect"  # type: ignore[assignment]
    return model.eval().fuse(verbose=False), card


def _unpickled(path: Path) -> tuple[DetectionModel, Card | None]:
    """As Ultralytics loads it."""
    check_checkpoint(path)
    try:
        # Another name: Ultralytics opens or fetches yolov5nu.pt where it is told yolov5n.pt, and
        # deletes a damaged file that has the name of a published one
        with TemporaryDirectory(prefix="mitoyolo-") as folder:
            link = Path(folder) / "weights.pt"
            link.symlink_to(path.resolve())
            model, content = load_checkpoint(str(link))
    except Exception as error:  # whatever the code in the file raises
        _read_model(path)  # says why, where no code could help
        raise InputError(
            f"Ultralytics cannot load it ({type(error).__name__})",
            file=path,
            fix="install what it was made with; --debug shows the cause",
        ) from error
    return model, _card(content.get(CARD_KEY), path)


def _rebuilt(source: Path | Checkpoint) -> tuple[DetectionModel, Card | None]:
    """From the architecture and the tensors in the file."""
    checkpoint, architecture = _read_model(source)
    path = checkpoint.path
    if architecture.get("activation"):  # Ultralytics evaluates this text as Python
        raise InputError(
            "its architecture names an activation of its own, which is code",
            file=path,
            fix=RUN_IT,
        )
    card = _card(checkpoint.card, path)
    classes = card.classes if card else checkpoint.names
    try:
        model = DetectionModel(architecture, nc=len(classes), verbose=False)
        model.load_state_dict(checkpoint.tensors)
    except Exception:  # other shapes, layers or arguments: the file decides what is built
        raise InputError(
            "its tensors do not fit its architecture as this version of Ultralytics builds it",
            file=path,
            fix=RUN_IT,
        ) from None
    model.names = dict(enumerate(classes))
    return model, card


def _read_model(source: Path | Checkpoint) -> tuple[Checkpoint, dict[str, Any]]:
    """A checkpoint that may be of an Ultralytics detector, and a copy of its architecture."""
    checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source)
    path = checkpoint.path
    if checkpoint.architecture is None:
        raise InputError(
            "holds no Ultralytics model", file=path, fix="give the best.pt of a training run"
        )
    if "anchors" in checkpoint.architecture:
        raise InputError(
            "a classic YOLOv5 checkpoint, whose head is of another form",
            file=path,
            fix="train from it first: mitoyolo train --weights FILE",
        )
    return checkpoint, dict(checkpoint.architecture)


def _card(values: object, path: Path) -> Card | None:
    return card_from_dict(values, path) if isinstance(values, dict) else None


RUN_IT = "add --trust to load it with the code in it, if you know where it is from"
