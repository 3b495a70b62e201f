"""What a benchmark compares: our models, one of them in two processes, and others' own loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from converters.errors import OptionError
from mitoyolo.benchmark.peers import PEERS
from mitoyolo.detectors.families import YOLO


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of the tables.

    Attributes
    ----------
    name, title : str
        What ``--models`` and what the tables call it.
    model : str
        Of ``mitoyolo train``; of a peer, the one whose pretrained weights it takes, if any.
    is_peer : bool
        Whether another program trains it, see :mod:`mitoyolo.benchmark.peers`.
    options : tuple of str
        Of the program that trains, given always.
    small : tuple of str
        Given on rendered data: few tiles, and random weights to start from.
    epochs, quick : int
        Passes over the rendered data, and over those of ``--quick``.
    """

    name: str
    title: str
    model: str
    is_peer: bool = False
    options: tuple[str, ...] = ()
    small: tuple[str, ...] = ()
    epochs: int
    quick: int


_SMALL_YOLO = ("--batch", "16", "--set", "nbs=16")
_SMALL_RCNN = (  # few tiles are few steps: one tile a step
    "--batch", "1", "--set", "lr0=0.003", "--set", "warmup=0.1", "--set", "drops=0.85",
    "--set", "ema=0.9", "--set", "rois=256", "--set", "proposals=100",
)  # fmt: skip
_YOLO = partial(Entry, epochs=40, quick=4)
_RCNN = partial(Entry, quick=1)

# with epochs that take each about as many minutes as YOLO's 40
_TWO_STAGE = {
    "faster-rcnn": ("Faster R-CNN, ResNet-50-FPN", 3),
    "faster-rcnn-x101": ("Faster R-CNN, ResNeXt-101-FPN", 2),
    "vgg16": ("Faster R-CNN, VGG-16", 2),
    "vgg16-conv4": ("Faster R-CNN, VGG-16 to conv4", 2),
    "mitos-rcnn": ("MITOS-RCNN", 5),
}

_ALL = [
    *(
        _YOLO(name=name, title=name.replace("yolo", "YOLO"), model=name, small=_SMALL_YOLO)
        for name in YOLO
    ),
    _YOLO(
        name="yolov5n-alone",
        title="YOLOv5n without verifier",
        model="yolov5n",
        options=("--no-verify",),
        small=_SMALL_YOLO,
    ),
    _YOLO(
        name="yolov5n-ddp",
        title="YOLOv5n distributed, 2 processes",
        model="yolov5n",
        options=("--ddp", "--nproc", "2"),
        small=_SMALL_YOLO,
    ),
    *(
        _RCNN(name=name, title=title, model=name, small=_SMALL_RCNN, epochs=epochs)
        for name, (title, epochs) in _TWO_STAGE.items()
    ),
    _YOLO(
        name="ultralytics-yolov5n",
        title=PEERS["ultralytics-yolov5n"].title,
        model="yolov5n",
        is_peer=True,
        options=("--batch", "16"),
    ),
    _YOLO(
        name="ultralytics-yolo26n",
        title=PEERS["ultralytics-yolo26n"].title,
        model="",
        is_peer=True,
        options=("--batch", "16"),
    ),
    _RCNN(
        name="torchvision-faster-rcnn",
        title=PEERS["torchvision-faster-rcnn"].title,
        model="faster-rcnn",
        epochs=_TWO_STAGE["faster-rcnn"][1],
        is_peer=True,
        options=("--batch", "4"),
    ),
]

ENTRIES = {entry.name: entry for entry in _ALL}
"""By name."""

USUAL = (
    "yolov5n", "yolov5n-ddp", "faster-rcnn", "vgg16", "vgg16-conv4", "mitos-rcnn",
    "ultralytics-yolov5n", "ultralytics-yolo26n", "torchvision-faster-rcnn",
)  # fmt: skip
"""The rows of both papers, and the peers."""


def find_entries(names: Sequence[str]) -> tuple[Entry, ...]:
    """Entries by their names, each once.

    Raises
    ------
    OptionError
        A name is unknown or stands twice, or there is none.
    """
    unknown = [name for name in names if name not in ENTRIES]
    if unknown or not names or len(set(names)) < len(names):
        what = f"no model {unknown[0]!r}" if unknown else "expected some models, each once"
        raise OptionError(
            f"--models {','.join(names)}: {what}", fix=f"choose of {', '.join(ENTRIES)}"
        )
    return tuple(ENTRIES[name] for name in names)
