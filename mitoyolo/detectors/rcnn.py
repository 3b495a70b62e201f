"""The two-stage detectors: started, kept as weights files, loaded, and applied to tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from converters.errors import InputError
from mitoyolo.detectors.base import torch_name
from mitoyolo.detectors.card import Card, card_from_dict, entries
from mitoyolo.detectors.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from mitoyolo.detectors.failures import foreseen
from mitoyolo.detectors.rcnn_data import as_tensor
from mitoyolo.detectors.rcnn_models import (
    Architecture,
    architecture_from_dict,
    build,
    set_input_side,
)
from mitoyolo.detectors.rcnn_recipe import RcnnRecipe
from mitoyolo.images import RGB
from mitoyolo.inference.merge import Detections

PAPER_ANCHORS = (16.0, 32.0, 64.0, 128.0)
"""px; of RPN_1 in MITOS-RCNN, whose smallest objects are 15 px."""

IN_BACKBONE = {
    "conv1.": "backbone.body.conv1.",
    "bn1.": "backbone.body.bn1.",
    "layer": "backbone.body.layer",
    "features.": "backbone.features.",
    "classifier.0.": "roi_heads.box_head.fc6.",
    "classifier.3.": "roi_heads.box_head.fc7.",
}
"""How torchvision's classifiers begin their tensors' names -> the same tensors in a detector."""


class RcnnDetector:
    """A trained two-stage network applied to tiles.

    Attributes
    ----------
    classes : tuple of str
        In the order of the class numbers in :data:`Detections`.
    card : Card or None
        None for weights of a training that is not finished.
    imgsz : int
        Side in pixels to which tiles are resized.
    device : str
        As torch names it.
    least : float
        Lower scores are not wanted; leaving them out would save nothing.
    """

    least = 0.0

    def __init__(
        self,
        network: GeneralizedRCNN,
        *,
        classes: tuple[str, ...],
        card: Card | None,
        imgsz: int,
        device: str,
    ) -> None:
        self.classes, self.card, self.imgsz, self.device = classes, card, imgsz, device
        self._network = network.eval()

    def predict(self, tiles: Sequence[RGB], imgsz: int | None = None) -> list[Detections]:
        """Detect on a batch of tiles.

        Parameters
        ----------
        tiles : sequence of (h, w, 3) uint8
            RGB.
        imgsz : int, optional
            Pixels to which the longer side is resized, or both where the network takes squares;
            None: the model's own.

        Returns
        -------
        list of Detections
            One array a tile, highest score first.
        """
        set_input_side(self._network, imgsz or self.imgsz)
        images = [as_tensor(tile).to(self.device).float() / 255 for tile in tiles]
        with foreseen("give a smaller --imgsz or --tile, or --device cpu"), torch.inference_mode():
            found = self._network(images)
        return [to_detections(item) for item in found]


def to_detections(found: dict[str, torch.Tensor]) -> Detections:
    """torchvision's ``boxes``, ``labels`` from 1 and ``scores`` of an image as an (n, 6) array."""
    boxes, labels, scores = (found[name].cpu().double() for name in ("boxes", "labels", "scores"))
    sides = boxes[:, 2:] - boxes[:, :2]
    columns = [(boxes[:, :2] + boxes[:, 2:]) / 2, sides, scores[:, None], labels[:, None] - 1]
    rows: Detections = torch.cat(columns, dim=1).numpy()
    return rows[np.argsort(-rows[:, 4], kind="stable")]


# --- a start ----------------------------------------------------------------------------------


def start_network(
    model: str,
    weights: Path | None,
    classes: tuple[str, ...],
    *,
    imgsz: int,
    recipe: RcnnRecipe,
    median_side: Callable[[], float],
    seed: int,
) -> tuple[GeneralizedRCNN, Architecture]:
    """The network before its first step: pretrained tensors where they fit, a seeded rest.

    Parameters
    ----------
    model : str
        A key of :data:`mitoyolo.detectors.rcnn_models.BUILDERS`.
    weights : Path or None
        torchvision's file of the backbone as a classifier or of the whole detector, or a
        ``best.pt`` of the same model; None leaves all tensors random.
    classes : tuple of str
    imgsz : int
        Side of the network's input, px.
    recipe : RcnnRecipe
        Where it leaves the anchors open: the paper's for MITOS-RCNN, those of the weights where
        they are a ``best.pt``, else half, once and twice ``median_side()``.
    seed : int
        Of the random tensors.

    Raises
    ------
    InputError
        The file is of another model.
    """
    checkpoint = read_checkpoint(weights) if weights else None
    earlier = _architecture(checkpoint) if checkpoint and checkpoint.architecture else None
    if earlier and earlier.model != model:
        raise InputError(
            f"weights of {earlier.model}, expected those of {model} or of its backbone",
            file=weights,
            fix=f"give --model {earlier.model}, or other --weights",
        )
    anchors = recipe.anchors
    if anchors is None and earlier:
        anchors = earlier.anchors
    elif anchors is None and model == "mitos-rcnn":
        anchors = PAPER_ANCHORS
    elif anchors is None:
        side = median_side()
        anchors = (side / 2, side, side * 2)
    architecture = Architecture(
        model=model,
        classes=classes,
        imgsz=imgsz,
        anchors=anchors,
        proposals=recipe.proposals,
        frozen=earlier.frozen if earlier else checkpoint is not None,
    )
    torch.manual_seed(seed)
    network = build(architecture)
    if checkpoint:
        take_over(network, checkpoint, model)
    return network, architecture


def take_over(network: GeneralizedRCNN, checkpoint: Checkpoint, model: str) -> None:
    """Put the tensors of a checkpoint where they fit; messages name the network ``model``.

    Raises
    ------
    InputError
        The file is of another backbone.
    """
    own = network.state_dict()
    named = {_in_detector(name): value for name, value in checkpoint.tensors.items()}
    fits = {k: v for k, v in named.items() if k not in own or own[k].shape == v.shape}
    # names that are not its own are left in: torchvision renames some of older files while loading
    missing, unknown = network.load_state_dict(fits, strict=False)
    lacking = [
        name
        for name in missing
        if name.startswith(("backbone.body.", "backbone.features."))
        and not name.endswith("num_batches_tracked")
    ]
    if lacking:
        raise InputError(
            f"{len(lacking)} tensors of {model}'s backbone are not in it (first: {lacking[0]})",
            file=checkpoint.path,
            fix="give torchvision's weights of that backbone, or a best.pt of the same model",
        )
    deeper = [name for name in unknown if name.startswith("backbone.body.")]
    if deeper:
        raise InputError(
            f"of a deeper network than {model}'s backbone (it has {deeper[0]})",
            file=checkpoint.path,
            fix="give torchvision's weights of that backbone, or a best.pt of the same model",
        )


def _in_detector(name: str) -> str:
    return next(
        (new + name.removeprefix(old) for old, new in IN_BACKBONE.items() if name.startswith(old)),
        name,
    )


# --- weights files ----------------------------------------------------------------------------


def write_weights(
    path: Path, network: GeneralizedRCNN, architecture: Architecture, card: Card | None = None
) -> None:
    """Write a network's tensors with what it is built from; plain types and tensors alone."""
    content: dict[str, Any] = {
        "model": {name: value.cpu() for name, value in network.state_dict().items()},
        "architecture": architecture.to_dict(),
    }
    write_checkpoint(path, {**content, **(entries(card) if card else {})})


def add_card(path: Path, card: Card, verifier: dict[str, torch.Tensor] | None = None) -> None:
    """Put the card and the verifier into a weights file that :func:`write_weights` has written."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    write_checkpoint(path, {**content, **entries(card, verifier)})


def open_network(checkpoint: Checkpoint) -> tuple[GeneralizedRCNN, Architecture, Card | None]:
    """The network of a weights file on the CPU, ready to infer, and its card.

    Raises
    ------
    InputError
        The file is damaged, or of another version.
    """
    architecture = _architecture(checkpoint)
    network = build(architecture)
    try:
        network.load_state_dict(checkpoint.tensors)
    except RuntimeError:
        raise InputError(
            f"its tensors do not fit {architecture.model} as this version builds it",
            file=checkpoint.path,
            fix="train again with this version",
        ) from None
    card = card_from_dict(checkpoint.card, checkpoint.path) if checkpoint.card else None
    return network.eval(), architecture, card


def _architecture(checkpoint: Checkpoint) -> Architecture:
    try:
        return architecture_from_dict(checkpoint.architecture or {})
    except ValueError:
        raise InputError(
            "not the weights of a two-stage model of this version",
            file=checkpoint.path,
            fix="give a best.pt of mitoyolo, or torchvision's weights",
        ) from None


def load(
    checkpoint: Checkpoint, *, device: str = "cpu", imgsz: int | None = None, trust: bool = False
) -> RcnnDetector:
    """A weights file as a detector, see :func:`mitoyolo.detectors.base.load_detector`.

    ``trust`` changes nothing: there is no code in these files.
    """
    network, architecture, card = open_network(checkpoint)
    where = torch_name(device)
    return RcnnDetector(
        network.to(where),
        classes=architecture.classes,
        card=card,
        imgsz=imgsz or architecture.imgsz,
        device=where,
    )
