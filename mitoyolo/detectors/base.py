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


def load_detector(
    path: Path, *, device: str = "cpu", imgsz: int | None = None, trust: bool = False
) -> Detector:
    """Load weights on a device (`cpu`, or a GPU's number).

    Parameters
    ----------
    path : Path
        A ``.pt`` file, or an exported model: its folder or its file.
    imgsz : int, optional
        Side in pixels to which tiles are resized; None: as the weights say.
    trust : bool
        Run the code that a file holds where it cannot be used otherwise.

    Raises
    ------
    InputError
        No such file or GPU, or the file holds no model that can be loaded.
    """
    check_device(device)
    from mitoyolo.detectors import exported, yolo

    file = exported.model_file(path)
    load = exported.load if exported.format_of(file) else yolo.load
    return load(file, device=device, imgsz=imgsz, trust=trust)


def weight_files(path: Path) -> list[Path]:
    """The files that decide what the detector at ``path`` finds."""
    from mitoyolo.detectors.exported import CARD_FILE, format_of, model_file

    file = model_file(path)
    beside = [file.with_suffix(".bin"), file.with_name(CARD_FILE)] if format_of(file) else []
    return [file, *(other for other in beside if other.exists())]


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
