"""Narrow two-stage networks: as deep as ever, with a sixtieth of the numbers.

What trains, validates, keeps and loads them does not know; a test of that need not wait for them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from torch import nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.ops.misc import FrozenBatchNorm2d

from mitoyolo.detectors.mitos_rcnn import L2Norm
from mitoyolo.detectors.rcnn_models import BUILDERS, Architecture

PART, LEAST = 8, 64
"""One channel stands where there were eight; fewer than 64 stay: colours, classes, anchors."""

WIDTHS: dict[type[nn.Module], int] = {
    nn.Conv2d: 2, nn.ConvTranspose2d: 2, nn.Linear: 2, nn.BatchNorm2d: 1, FrozenBatchNorm2d: 1,
    L2Norm: 1,
}  # fmt: skip
"""A layer -> how many of its first arguments are numbers of channels."""


def make_narrow(patch: pytest.MonkeyPatch) -> None:
    """Let every two-stage network that is built from now on be narrow."""
    for model, build in list(BUILDERS.items()):
        patch.setitem(BUILDERS, model, partial(_build_narrow, build))


def _build_narrow(
    build: Callable[[Architecture], GeneralizedRCNN], architecture: Architecture
) -> GeneralizedRCNN:
    with pytest.MonkeyPatch.context() as patch:
        for layer, count in WIDTHS.items():
            patch.setattr(layer, "__init__", _narrow(layer.__init__, count))
        return build(architecture)


def _narrow(build: Callable[..., None], count: int) -> Callable[..., None]:
    def built(layer: nn.Module, *given: Any, **named: Any) -> None:
        widths = (n // PART if n >= LEAST and n % PART == 0 else n for n in given[:count])
        build(layer, *widths, *given[count:], **named)

    return built
