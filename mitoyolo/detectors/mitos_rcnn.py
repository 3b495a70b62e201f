"""MITOS-RCNN: small mitoses from VGG-16 by two region proposal networks.

Rao 2018, "MITOS-RCNN: A Novel Approach to Mitotic Figure Detection in Breast Cancer Histopathology
Images using Region Based Convolutional Neural Networks", arXiv:1807.01788. Its Fig. 2 in words::

    frame part, squashed to 299 x 299
      -> VGG-16 to conv3_3 (74 x 74 x 256) -> to conv4_3 (37 x 37 x 512), no conv5
    conv4_3 -> RPN_1: 16, 32, 64, 128 px x 3 ratios
    conv4_3 -> deconvolution to conv3_3's size -+
    conv3_3 ------------------------------------+-> each L2-normalised, concatenated,
                                                    1 x 1 convolution: the fused map, 256 channels
    fused map, proposals of RPN_1 -> RPN_2: these, and its own window of 64 px
    fused map, proposals of RPN_2 -> RoI pooling -> class | box

What the paper leaves open, and what is done here:

- How RPN_2 "takes" proposals of RPN_1. They are anchors of RPN_2 beside its own: the 3 x 3 window
  of its head is laid over each of them by RoI pooling, as it slides over the map elsewhere. One
  head thus scores and moves both kinds, and one NMS can compare them.
- The deconvolution's kernel: 4 x 4 at stride 2, the smallest that overlaps and gives every place
  equally many inputs.
- The scale of the L2 normalisation: 20 a channel at the start, as ParseNet's successors take
  it (Liu et al. 2016), and learned.
- lambda = 10 before the smooth L1 of each RPN divides, as Ren et al. 2015 do, by the number of
  places, and log loss by that of sampled anchors. In the head both are means over the sampled RoIs.
- Nothing stands between RoI pooling and the two sibling layers: the paper names no other.
- Numbers: 2,000 anchors before a NMS in training and 1,000 in inference, and 2,000 proposals after
  it in training, as torchvision; 300 in inference, as Ren et al. 2015; 128 RoIs an image, a quarter
  positive, as their published code.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    conv2d,
    normalize,
    smooth_l1_loss,
)
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import (
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)
from torchvision.ops import roi_pool

from mitoyolo.detectors.vgg import CONV3_3, CONV4_3, begin_new, vgg16_layers

LAMBDA = 10.0
"""Weight of the smooth L1 losses."""

BETA = 1 / 9
"""Where smooth L1 turns from a parabola to a line, as Ren et al. have it for RPNs."""

RATIOS = (0.5, 1.0, 2.0)
WINDOW = 64.0
"""px; the side of RPN_2's own anchor, 1:1."""

NMS_IOU = 0.7
POOLED = 7
"""Cells across and down of a pooled RoI."""

Targets = list[dict[str, Tensor]]


class L2Norm(nn.Module):
    """Each place's vector of channels at length 1, times a learned scale a channel."""

    def __init__(self, channels: int, scale: float = 20.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to the same shape."""
        return normalize(x, dim=1) * self.scale[:, None, None]


class FusedVgg(nn.Module):
    """VGG-16 without conv5, and the map in which conv4_3 and conv3_3 are one.

    Returns the maps ``conv4_3`` (stride 8, 512 channels) and ``fused`` (stride 4, 256 channels).
    """

    out_channels = 256

    def __init__(self) -> None:
        super().__init__()
        self.features = vgg16_layers(CONV4_3)
        # one row and column more, then cut: conv3_3's size may be odd
        self.deconvolution = nn.ConvTranspose2d(512, 512, 4, stride=2, padding=1, output_padding=1)
        self.norm3, self.norm4 = L2Norm(256), L2Norm(512)
        self.reduce = nn.Conv2d(256 + 512, self.out_channels, kernel_size=1)
        begin_new(self.deconvolution, self.reduce)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(n, 3, H, W) to the two maps."""
        conv3 = self.features[:CONV3_3](images)
        conv4 = self.features[CONV3_3:](conv3)
        up = self.deconvolution(conv4)[:, :, : conv3.shape[2], : conv3.shape[3]]
        fused = self.reduce(torch.cat([self.norm3(conv3), self.norm4(up)], dim=1))
        return OrderedDict(conv4_3=conv4, fused=fused)


class PaperRPN(RegionProposalNetwork):
    """torchvision's RPN with the paper's loss: smooth L1 times lambda, a mean over places."""

    def __init__(
        self,
        channels: int,
        sides: tuple[float, ...],
        ratios: tuple[float, ...],
        proposals: int,
    ) -> None:
        anchors = AnchorGenerator((sides,), (ratios,))
        super().__init__(
            anchors,
            RPNHead(channels, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 2000, "testing": 1000},
            post_nms_top_n={"training": 2000, "testing": proposals},
            nms_thresh=NMS_IOU,
        )  # torchvision's head begins with N(0, 0.01)

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Log loss over the sampled anchors, and lambda times smooth L1 over the places."""
        positive, negative = (torch.cat(drawn) > 0 for drawn in self.fg_bg_sampler(labels))
        truth, wanted = torch.cat(labels), torch.cat(regression_targets)
        sampled = positive | negative
        log_loss = binary_cross_entropy_with_logits(objectness.flatten()[sampled], truth[sampled])
        offsets = smooth_l1_loss(
            pred_bbox_deltas[positive], wanted[positive], beta=BETA, reduction="sum"
        )
        places = objectness.numel() / self.anchor_generator.num_anchors_per_location()[0]
        return log_loss, LAMBDA * offsets / places


class SecondRPN(PaperRPN):
    """RPN_2: its own window over the fused map, and the proposals of RPN_1 as further anchors."""

    def __init__(self, channels: int, stride: int, proposals: int) -> None:
        super().__init__(channels, (WINDOW,), (1.0,), proposals)
        self.stride = stride

    def propose(
        self,
        images: ImageList,
        feature: Tensor,
        earlier: list[Tensor],
        targets: Targets | None,
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Score, move and thin out both kinds of anchors.

        Parameters
        ----------
        images : ImageList
        feature : (n, c, h, w)
            The fused map.
        earlier : list of (k, 4)
            RPN_1's proposals of each image, px of the network's input.
        targets : list of dict or None
            For training.

        Returns
        -------
        proposals : list of (m, 4)
        losses : dict
            Empty unless in training.
        """
        own = self.anchor_generator(images, [feature])
        scores, deltas = concat_box_prediction_layers(*self.head([feature]))
        scores_at, deltas_at = self._at(feature, earlier)
        anchors = [torch.cat(pair) for pair in zip(own, earlier, strict=True)]
        split = [boxes.shape[0] for boxes in earlier]
        score = _join(scores.view(len(own), -1, 1), scores_at.split(split))
        delta = _join(deltas.view(len(own), -1, 4), deltas_at.split(split))
        proposals = []
        for anchor, one, move, size in zip(anchors, score, delta, images.image_sizes, strict=True):
            boxes = self.box_coder.decode(move.detach(), [anchor])
            kept, _ = self.filter_proposals(boxes.view(1, -1, 4), one, [size], [anchor.shape[0]])
            proposals += kept
        if targets is None:
            return proposals, {}
        labels, matched = self.assign_targets_to_anchors(anchors, targets)
        wanted = self.box_coder.encode(matched, anchors)
        log_loss, offsets = self.compute_loss(torch.cat(score), torch.cat(delta), labels, wanted)
        return proposals, {"loss_objectness": log_loss, "loss_rpn_box_reg": offsets}

    def _at(self, feature: Tensor, boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The head's answers where its window is laid over boxes: (k, 1) and (k, 4)."""
        windows = roi_pool(feature, boxes, output_size=3, spatial_scale=1 / self.stride)
        ((conv, relu),) = self.head.conv
        found = relu(conv2d(windows, conv.weight, conv.bias))  # one place: without padding
        scores, deltas = self.head.cls_logits(found), self.head.bbox_pred(found)
        return scores.flatten(1), deltas.flatten(1)


def _join(first: Iterable[Tensor], second: Iterable[Tensor]) -> list[Tensor]:
    return [torch.cat(pair) for pair in zip(first, second, strict=True)]


class TwoRPNs(nn.Module):
    """RPN_1 on conv4_3, and RPN_2 on the fused map with RPN_1's proposals."""

    def __init__(self, sides: tuple[float, ...], proposals: int = 300) -> None:
        super().__init__()
        self.rpn_1 = PaperRPN(512, sides, RATIOS, proposals)
        self.rpn_2 = SecondRPN(FusedVgg.out_channels, stride=4, proposals=proposals)

    def forward(
        self, images: ImageList, features: dict[str, Tensor], targets: Targets | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """RPN_2's proposals, and in training the losses of both."""
        targets = targets if self.training else None
        earlier, first = self.rpn_1(images, {"conv4_3": features["conv4_3"]}, targets)
        proposals, second = self.rpn_2.propose(images, features["fused"], earlier, targets)
        return proposals, {
            **{f"{name}_1": value for name, value in first.items()},
            **{f"{name}_2": value for name, value in second.items()},
        }


class RoIPool(nn.Module):
    """RoI pooling (Girshick 2015) on one of the backbone's maps.

    Parameters
    ----------
    level : str
        The map's name.
    stride : int
        Its pixels of the input.
    """

    def __init__(self, level: str, stride: int) -> None:
        super().__init__()
        self.level, self.stride = level, stride

    def forward(
        self, features: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]]
    ) -> Tensor:
        """Boxes of each image to (k, channels, 7, 7)."""
        return roi_pool(features[self.level], boxes, POOLED, spatial_scale=1 / self.stride)


class PaperHead(RoIHeads):
    """torchvision's second stage with lambda before its smooth L1."""

    def forward(
        self, *args: Any, **kwargs: Any
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """As the base class."""
        found, losses = super().forward(*args, **kwargs)
        if losses:
            losses["loss_box_reg"] = LAMBDA * losses["loss_box_reg"]
        return found, losses
