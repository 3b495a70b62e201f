"""``weights/state.pt``: what a training that was killed goes on from, of any model family.

Plain types and tensors alone, in full precision; written whole after each epoch.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from converters.errors import InputError
from mitoyolo.detectors.checkpoint import write_checkpoint
from mitoyolo.detectors.training import STATE

VERSION = 1
"""Of the file's layout."""

State = dict[str, Any]
"""``epoch`` (finished ones), ``stop``, and what the family's trainer keeps in it."""


def write_state(run: Path, state: State) -> None:
    """Write a run's state whole or not at all.

    Raises
    ------
    OSError
        The disk is full; what stood there stays.
    """
    write_checkpoint(run / STATE, {"version": VERSION, **state})


def read_state(run: Path) -> State | None:
    """A run's state on the CPU, without executing code from it; None where there is none.

    Raises
    ------
    InputError
        The file is damaged or of another version.
    """
    path = run / STATE
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        version = state["version"]
    except Exception as error:  # torch raises many kinds for damaged files
        raise InputError(
            f"not a readable state ({type(error).__name__})",
            file=path,
            fix="--overwrite starts the run again",
        ) from None
    if version != VERSION:
        raise InputError(
            f"a state of version {version}, expected {VERSION}",
            file=path,
            fix="resume with the mitoyolo that wrote it, or --overwrite",
        )
    return dict(state)


def random_states() -> State:
    """The states of all random generators of this process, as plain types and tensors."""
    name, keys, *rest = np.random.get_state()
    version, numbers, gauss = random.getstate()
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def set_random_states(states: State) -> None:
    """Put this process's random generators where :func:`random_states` found them."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
