"""Narrow two-stage networks: as deep as ever, with a sixtieth of the numbers.

What trains, validates, keeps and loads them does not know; a test of that need not wait for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn
from torchvision.ops.misc import FrozenBatchNorm2d

from mitoyolo.detectors.mitos_rcnn import L2Norm

LEAST = 64
"""Fewer channels stay as they are: colours, classes, anchors."""

WIDTHS: dict[type[nn.Module], int] = {
    nn.Conv2d: 2, nn.ConvTranspose2d: 2, nn.Linear: 2, nn.BatchNorm2d: 1, FrozenBatchNorm2d: 1,
    L2Norm: 1,
}  # fmt: skip
"""A layer -> how many of its first arguments are numbers of channels."""


def make_narrow(patch: pytest.MonkeyPatch, part: int = 8) -> None:
    """Let every network that is built from now on have one channel where it had ``part``."""
    for layer, count in WIDTHS.items():
        patch.setattr(layer, "__init__", _narrow(layer.__init__, count, part))


def _narrow(build: Callable[..., None], count: int, part: int) -> Callable[..., None]:
    def built(layer: nn.Module, *given: Any, **named: Any) -> None:
        widths = (n // part if n >= LEAST and n % part == 0 else n for n in given[:count])
        build(layer, *widths, *given[count:], **named)

    return built
