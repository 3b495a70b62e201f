"""What every detector offers, and how a weights file becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from converters.errors import OptionError
from mitoyolo.detectors.card import Card
from mitoyolo.images import RGB
from mitoyolo.inference.merge import Detections


class Detector(Protocol):
    """A trained model applied to tiles.

    Attributes
    ----------
    classes : tuple of str
        In the order of the class numbers in its detections.
    card : Card or None
        None for weights that mitoyolo did not train.
    imgsz : int
        Side in pixels to which a tile is resized, unless :meth:`predict` is told another.
    device : str
        Where it runs, as torch names it: `cpu`, `cuda:0`.
    """

    classes: tuple[str, ...]
    card: Card | None
    imgsz: int
    device: str

    def predict(self, tiles: Sequence[RGB], imgsz: int | None = None) -> list[Detections]:
        """Detections of each tile in its own pixels; the tiles are RGB and of one shape."""
        ...


def load_detector(path: Path, *, device: str = "cpu", imgsz: int | None = None) -> Detector:
    """Load a weights file on a device (`cpu`, or a GPU's number).

    Raises
    ------
    InputError
        No such file or GPU, or the file holds no model that can be loaded.
    """
    check_device(device)
    from mitoyolo.detectors.yolo import YoloDetector

    return YoloDetector(path, device=device, imgsz=imgsz)


def check_device(device: str) -> None:
    """Refuse a device that this machine lacks."""
    if device == "cpu":
        return
    import torch

    known = [str(i) for i in range(torch.cuda.device_count())]
    if device not in known:
        raise OptionError(
            f"--device {device}: no such GPU (found: {', '.join(known) or 'none'})",
            fix="use --device cpu",
        )
