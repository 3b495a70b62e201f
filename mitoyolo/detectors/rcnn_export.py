"""The two-stage models' :class:`~mitoyolo.detectors.exported.Exporter`, by torch's own.

An exported network takes one image of any size. Resizing it, and its boxes back, stays outside,
done by torchvision as for the ``.pt``: so the side can be chosen when the model runs.

torch's exporter to ONNX is the one that traces; the newer one (``dynamo=True``) cannot follow
torchvision's detection models (pytorch/vision, issue 9306). OpenVINO reads the ONNX model.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from converters.errors import InputError, OptionError
from mitoyolo.detectors.card import Card
from mitoyolo.detectors.checkpoint import Checkpoint
from mitoyolo.detectors.exported import Network
from mitoyolo.detectors.rcnn import RcnnDetector, open_network
from mitoyolo.detectors.rcnn_models import SQUASHED

OPSET = 17
"""Of ONNX; RoIAlign as torchvision computes it exists from 16 on."""

makes = {"openvino": ("onnx", "openvino"), "onnx": ("onnx", "onnxruntime"), "torchscript": ()}


class OneImage(nn.Module):
    """A network without its resizing, for batches of one, in operations that can be traced."""

    def __init__(self, network: GeneralizedRCNN) -> None:
        super().__init__()
        self.network = network
        # Suppression of no boxes at all is a row of anything in OpenVINO. Weak boxes suppress no
        # stronger ones, so they may as well leave after it.
        self.least, network.roi_heads.score_thresh = network.roi_heads.score_thresh, -1.0

    def forward(self, images: Tensor) -> Tensor:
        """(1, 3, h, w) float32 RGB from 0 to 1 to (k, 6): left, top, right and bottom in its
        pixels, score, class number; highest score first."""
        network, step = self.network, self.network.transform.size_divisible
        height, width = images.shape[2:]
        padded = pad(network.transform.normalize(images), (0, -width % step, 0, -height % step))
        batch = ImageList(padded, [(height, width)])
        maps = network.backbone(padded)
        proposals, _ = network.rpn(batch, maps)
        (found,), _ = network.roi_heads(maps, proposals, batch.image_sizes)
        columns = [found["boxes"], found["scores"][:, None], found["labels"][:, None] - 1]
        rows = torch.cat(columns, dim=1)
        return rows[rows[:, 4] > self.least]


def open_model(source: Checkpoint | Path, *, trust: bool = False) -> tuple[OneImage, Card | None]:
    """The network of a ``.pt`` file, ready to infer on the CPU, and its card.

    Raises
    ------
    InputError
        The file is damaged, or of a training that was not finished.
    """
    assert isinstance(source, Checkpoint)  # a path is YOLO's
    network, _, card = open_network(source)
    if card is None:
        raise InputError(
            "weights of a training that was not finished: they have no card to export",
            file=source.path,
            fix="finish it: the same call with --resume",
        )
    return OneImage(network).eval(), card


def default_imgsz(card: Card | None) -> int:
    """The side in pixels to which a tile is resized where nobody says."""
    assert card
    return card.imgsz


def make(name: str, model: OneImage, file: Path, *, imgsz: int, batch: int) -> Path:
    """Export a network in the format ``name`` as ``file`` and its suffix; it takes any shape, and
    a batch of one whatever ``batch`` is."""
    example = torch.zeros(1, 3, imgsz, imgsz)
    made = Path(f"{file}.{name}")
    with torch.no_grad():
        if name == "torchscript":
            torch.jit.trace(model, example, check_trace=False).save(str(made))
            return made
        onnx = made.with_suffix(".onnx")
        torch.onnx.export(
            model,
            (example,),
            onnx,
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["detections"],
            dynamic_axes={"images": {2: "height", 3: "width"}, "detections": {0: "number"}},
        )
    if name == "onnx":
        return onnx
    import openvino

    made.mkdir()
    openvino.save_model(
        openvino.Core().read_model(onnx), made / f"{file.name}.xml", compress_to_fp16=False
    )
    return made


def facts(file: Path, card: Card | None) -> tuple[tuple[str, ...], int]:
    """Class names and input side: the card's, by which alone a model is known as two-stage."""
    assert card
    return card.classes, card.imgsz


def detector(
    network: Network, *, classes: tuple[str, ...], card: Card | None, imgsz: int, device: str
) -> RcnnDetector:
    """An exported network, opened by its runtime, as a detector.

    Raises
    ------
    OptionError
        It cannot run on that device.
    """
    assert card
    if device != "cpu" and isinstance(network, torch.jit.ScriptModule):
        raise OptionError(
            f"--device: TorchScript of {card.family} runs on the CPU alone, where it was traced",
            fix="give --device cpu, or the .pt",
        )
    resized = Resized(network, squashed=card.family in SQUASHED, classes=len(classes))
    return RcnnDetector(resized, classes=classes, card=card, imgsz=imgsz, device=device)


class Resized(nn.Module):
    """An exported network in torchvision's resizing, called as a :class:`GeneralizedRCNN` is."""

    def __init__(self, network: Network, *, squashed: bool, classes: int) -> None:
        super().__init__()
        self._network, self._classes = network, classes
        self.transform = GeneralizedRCNNTransform(  # colours are the network's own matter
            1, 1, [0.0] * 3, [1.0] * 3, size_divisible=1, fixed_size=(1, 1) if squashed else None
        )

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        """(3, h, w) float32 RGB from 0 to 1 each, to ``boxes``, ``scores``, ``labels`` from 1."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Tensor) -> dict[str, Tensor]:
        resized, _ = self.transform([image])
        rows = self._network(resized.tensors)
        if rows.shape[1:] != (6,) or (rows[:, 5] >= self._classes).any():
            raise InputError("the model beside mitoyolo.json is not its own", fix="export again")
        found = {"boxes": rows[:, :4], "scores": rows[:, 4], "labels": rows[:, 5].long() + 1}
        shapes = [tuple(image.shape[-2:])]
        (detections,) = self.transform.postprocess([found], resized.image_sizes, shapes)
        return detections
