"""A model that several processes train together."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

_SYNC = "forward_sync_buffers"
_RENAMED = _SYNC in inspect.signature(DistributedDataParallel).parameters  # since torch 2.13
_OWN_BUFFERS: dict[str, Any] = {_SYNC if _RENAMED else "broadcast_buffers": False}


def in_parallel(model: nn.Module, device: torch.device, *, some_unused: bool) -> Any:
    """Let the processes' gradients be averaged; each keeps its own BatchNorm statistics.

    Parameters
    ----------
    model : Module
        On ``device`` already.
    device : torch.device
        Of this process.
    some_unused : bool
        Whether a batch may leave parameters without a gradient.
    """
    return DistributedDataParallel(
        model,
        device_ids=None if device.type == "cpu" else [device.index],
        find_unused_parameters=some_unused,
        **_OWN_BUFFERS,
    )
