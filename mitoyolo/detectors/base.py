"""What every detector offers, and how a weights file becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from converters.errors import InputError
from mitoyolo.detectors.card import Card
from mitoyolo.detectors.families import RCNN, Family, family_of
from mitoyolo.distributed import check_gpus
from mitoyolo.images import RGB
from mitoyolo.inference.merge import Detections

if TYPE_CHECKING:  # torch takes seconds to import
    from mitoyolo.detectors.checkpoint import Checkpoint


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
    least : float
        Set where lower scores are not wanted, which may save time; they may come all the same.
    """

    classes: tuple[str, ...]
    card: Card | None
    imgsz: int
    device: str
    least: float

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
    from mitoyolo.detectors import exported

    file = exported.model_file(path)
    detector: Detector
    source: Checkpoint | Path
    if exported.format_of(file):
        detector = exported.load(file, device=device, imgsz=imgsz, trust=trust)
        source = file.with_name(exported.VERIFIER_FILE)
    else:
        family, source = read_weights(file, trust=trust)
        loader = import_module(family.loads)
        detector = loader.load(source, device=device, imgsz=imgsz, trust=trust)
    card = detector.card
    if card and card.verifier:
        from mitoyolo.detectors.verifier import load_verified

        detector = load_verified(detector, card, source)
    return detector


def read_weights(path: Path, *, trust: bool = False) -> tuple[Family, Checkpoint | Path]:
    """The family of a ``.pt`` file by its card or its architecture, and what the file holds.

    Returns
    -------
    family : Family
        YOLO's where neither names one.
    source : Checkpoint or Path
        The path where only the code in a trusted file can make sense of it.

    Raises
    ------
    InputError
        It is no checkpoint, or of a model that this version does not know.
    """
    from mitoyolo.detectors.checkpoint import read_checkpoint

    try:
        checkpoint = read_checkpoint(path)
    except InputError:
        if not trust:
            raise
        return family_of(None, path), path
    if checkpoint.card:
        return family_of(checkpoint.card.get("family"), path), checkpoint
    built = (checkpoint.architecture or {}).get("model")  # a training of ours without an end
    return family_of(built if built in list(RCNN) else None, path), checkpoint


def weight_files(path: Path) -> list[Path]:
    """The files that decide what the detector at ``path`` finds."""
    from mitoyolo.detectors.exported import CARD_FILE, VERIFIER_FILE, format_of, model_file

    file = model_file(path)
    names = (f"{file.stem}.bin", CARD_FILE, VERIFIER_FILE) if format_of(file) else ()
    beside = [file.with_name(name) for name in names]
    return [file, *(other for other in beside if other.exists())]


def check_device(device: str) -> None:
    """Refuse a device that this machine lacks."""
    if device != "cpu":
        check_gpus(device, [device])


def torch_name(device: str) -> str:
    """A device as torch names it."""
    return device if device == "cpu" else f"cuda:{device}"
