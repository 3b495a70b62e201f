"""The two-stage detectors by name, built from torchvision's parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import partial
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops.misc import FrozenBatchNorm2d

from mitoyolo.detectors.mitos_rcnn import (
    POOLED,
    RATIOS,
    FusedVgg,
    PaperHead,
    RoIPool,
    TwoRPNs,
)
from mitoyolo.detectors.vgg import CONV4_3, CONV5_3, begin_new, vgg16_layers

CONFIDENCE = 0.001
"""Least score kept: low, since AP, FROC and the choice of the threshold need the whole range."""

NMS_IOU = 0.5
MAX_DETECTIONS = 100
"""Both as torchvision has them."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of RGB from 0 to 1, as all of torchvision's pretrained backbones expect it."""

FPN_LEVELS = 5

_SECOND_STAGE: dict[str, Any] = {
    "fg_iou_thresh": 0.5,
    "bg_iou_thresh": 0.5,
    "batch_size_per_image": 128,
    "positive_fraction": 0.25,
    "bbox_reg_weights": None,
    "score_thresh": CONFIDENCE,
    "nms_thresh": NMS_IOU,
    "detections_per_img": MAX_DETECTIONS,
}
"""Of the VGG-16 models, as torchvision's RoIHeads takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What a network is built from; plain types, kept in its weights file.

    Attributes
    ----------
    model : str
        A key of :data:`BUILDERS`.
    classes : tuple of str
        In the order of the class numbers; the background is no class.
    imgsz : int
        Side in pixels of the network's input: the longer one, or both where it is squashed.
    anchors : tuple of float
        Sides of the first stage's anchors, px of the input; each stands in three ratios.
    proposals : int
        How many of the last proposals the second stage looks at, at most, in inference.
    frozen : bool
        Whether BatchNorm keeps pretrained statistics, and the first layers their weights.
    """

    model: str
    classes: tuple[str, ...]
    imgsz: int
    anchors: tuple[float, ...]
    proposals: int = 300
    frozen: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As plain lists, strings and numbers."""
        values = asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}


def architecture_from_dict(values: dict[str, Any]) -> Architecture:
    """An architecture as :meth:`Architecture.to_dict` gave it.

    Raises
    ------
    ValueError
        A key is missing, or has another type or an impossible value.
    """
    try:
        known = {field.name: values[field.name] for field in fields(Architecture)}
        known["anchors"] = tuple(float(side) for side in known["anchors"])
        known["classes"] = tuple(str(name) for name in known["classes"])
        known["imgsz"], known["proposals"] = int(known["imgsz"]), int(known["proposals"])
        known["frozen"] = bool(known["frozen"])
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(str(error)) from None
    anchors = known["anchors"]
    sound = known["model"] in list(BUILDERS) and all(0 < side < inf for side in anchors)
    least = min(known["imgsz"], known["proposals"])
    if not sound or not anchors or not known["classes"] or least < 1:
        raise ValueError("not an architecture of this version")
    return Architecture(**known)


def build(architecture: Architecture) -> GeneralizedRCNN:
    """The network with random weights.

    Returns
    -------
    GeneralizedRCNN
        As torchvision's: in training (list of (3, h, w) float32 RGB from 0 to 1, list of dicts
        ``boxes`` (k, 4) px, ``labels`` (k,) from 1) to a dict of losses; in evaluation the images
        alone to a list of dicts ``boxes``, ``labels``, ``scores``. Boxes are in each image's own
        pixels, a box over pixel 0 spans 0 to 1.
    """
    return BUILDERS[architecture.model](architecture)


# --- with a feature pyramid -------------------------------------------------------------------


def _with_fpn(backbone: str, architecture: Architecture) -> GeneralizedRCNN:
    """Faster R-CNN (Ren et al. 2015) with FPN (Lin et al. 2017), as torchvision builds it."""
    frozen = architecture.frozen
    return FasterRCNN(
        resnet_fpn_backbone(
            backbone_name=backbone,
            weights=None,
            norm_layer=FrozenBatchNorm2d if frozen else nn.BatchNorm2d,
            trainable_layers=3 if frozen else 5,
        ),
        num_classes=len(architecture.classes) + 1,
        min_size=architecture.imgsz,
        max_size=architecture.imgsz,
        image_mean=MEAN,
        image_std=DEVIATION,
        rpn_anchor_generator=AnchorGenerator(
            (architecture.anchors,) * FPN_LEVELS, (RATIOS,) * FPN_LEVELS
        ),
        rpn_post_nms_top_n_test=architecture.proposals,
        box_score_thresh=CONFIDENCE,
        box_nms_thresh=NMS_IOU,
        box_detections_per_img=MAX_DETECTIONS,
    )


# --- on VGG-16 --------------------------------------------------------------------------------


class Vgg(nn.Module):
    """VGG-16 up to one map."""

    out_channels = 512

    def __init__(self, end: int) -> None:
        super().__init__()
        self.features = vgg16_layers(end)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(n, 3, H, W) to the map."""
        return {"map": self.features(images)}


class Fc67(nn.Module):
    """VGG-16's two fully connected layers, with their dropout, on pooled RoIs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc6 = nn.Linear(Vgg.out_channels * POOLED**2, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        for layer in (self.fc6, self.fc7):  # He's, as the backbone's and for its reason
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """(k, 512, 7, 7) to (k, 4096)."""
        x = pooled.flatten(1)
        for layer in (self.fc6, self.fc7):
            x = torch.dropout(layer(x).relu(), 0.5, self.training)
        return x


def _on_vgg(end: int, stride: int, architecture: Architecture) -> GeneralizedRCNN:
    """Faster R-CNN on VGG-16, as Ren et al. 2015 have it, on conv5_3 or conv4_3."""
    anchors = AnchorGenerator((architecture.anchors,), (RATIOS,))
    head = RPNHead(Vgg.out_channels, anchors.num_anchors_per_location()[0])
    predictor = FastRCNNPredictor(4096, len(architecture.classes) + 1)
    begin_new(predictor)
    backbone = Vgg(end)
    _freeze(backbone, architecture)
    rpn = RegionProposalNetwork(
        anchors,
        head,
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 12000, "testing": 6000},
        post_nms_top_n={"training": 2000, "testing": architecture.proposals},
        nms_thresh=0.7,
    )
    second = RoIHeads(RoIPool("map", stride), Fc67(), predictor, **_SECOND_STAGE)
    return GeneralizedRCNN(backbone, rpn, second, _squash(architecture))


def _mitos_rcnn(architecture: Architecture) -> GeneralizedRCNN:
    """See :mod:`mitoyolo.detectors.mitos_rcnn`."""
    backbone = FusedVgg()
    _freeze(backbone, architecture)
    predictor = FastRCNNPredictor(FusedVgg.out_channels * POOLED**2, len(architecture.classes) + 1)
    begin_new(predictor)
    second = PaperHead(RoIPool("fused", 4), nn.Flatten(), predictor, **_SECOND_STAGE)
    rpns = TwoRPNs(architecture.anchors, architecture.proposals)
    return GeneralizedRCNN(backbone, rpns, second, _squash(architecture))


def _freeze(backbone: Vgg | FusedVgg, architecture: Architecture) -> None:
    """Keep pretrained conv1 and conv2 as they are, as Girshick 2015 found best."""
    if architecture.frozen:
        backbone.features[:10].requires_grad_(False)


def _squash(architecture: Architecture) -> GeneralizedRCNNTransform:
    """Every image to a square, boxes with it and back."""
    side = architecture.imgsz
    return GeneralizedRCNNTransform(
        side,
        side,
        list(MEAN),
        list(DEVIATION),
        size_divisible=1,  # all are of one size; padding would add cells to the maps
        fixed_size=(side, side),
    )


BUILDERS: dict[str, Callable[[Architecture], GeneralizedRCNN]] = {
    "faster-rcnn": partial(_with_fpn, "resnet50"),
    "faster-rcnn-x101": partial(_with_fpn, "resnext101_32x8d"),
    "vgg16": partial(_on_vgg, CONV5_3, 16),
    "vgg16-conv4": partial(_on_vgg, CONV4_3, 8),
    "mitos-rcnn": _mitos_rcnn,
}
"""Name of a model -> how it is built."""

SQUASHED = ("vgg16", "vgg16-conv4", "mitos-rcnn")
"""Models that see every image as a square; the others keep its shape."""


def set_input_side(network: GeneralizedRCNN, imgsz: int) -> None:
    """Let a network resize its images to another side."""
    transform = network.transform
    transform.min_size, transform.max_size = (imgsz,), imgsz
    if transform.fixed_size:
        transform.fixed_size = (imgsz, imgsz)
