"""What runs a model: torch, or a quicker runtime for which its weights are exported once."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

from converters.errors import InputError, MitoyoloError, OptionError
from mitoyolo.detectors.card import Card
from mitoyolo.detectors.exported import FORMATS, format_of, model_file
from mitoyolo.detectors.families import YOLO
from mitoyolo.jobs import HeldError
from mitoyolo.progress import note

AUTO, TORCH = "auto", "torch"
ENGINES = (AUTO, TORCH, "openvino", "onnx")

REPAID_FROM = 500
"""Tiles from which an export pays: it takes some ten seconds, and saves some 50 ms a tile."""

LOOK = 1.0
"""Seconds between two looks at an export that another process makes."""


def choose_engine(
    weights: Path, engine: str, *, card: Card | None, device: str, tiles: int, trust: bool
) -> Path:
    """The file to load for an engine: the weights, or their export beside them.

    `auto` takes OpenVINO on a CPU where it is installed, the weights are YOLO's (of the two-stage
    models it is no quicker) and so many tiles wait that the export pays; else torch.

    Parameters
    ----------
    weights : Path
        A ``.pt`` file, or an export, which is its own engine.
    engine : str
        One of :data:`ENGINES`.
    card : Card or None
        What the weights say of themselves; None: Ultralytics trained them.
    device : str
        `cpu`, or a GPU's number.
    tiles : int
        How many will be looked at.

    Raises
    ------
    OptionError
        The engine is another than that of an exported model.
    InputError
        The weights cannot be exported.
    """
    if engine not in ENGINES:
        raise OptionError(f"--engine {engine}: expected one of {', '.join(ENGINES)}")
    own = format_of(model_file(weights))
    if own:
        if engine not in (AUTO, own):
            raise OptionError(
                f"--engine {engine}: {weights} is an export for {own}", fix="give the .pt file"
            )
        return weights
    if engine == TORCH:
        return weights
    if engine == AUTO:
        if device != "cpu" or tiles < REPAID_FROM or not _is_quicker(card):
            return weights
        try:
            return _exported(weights, "openvino", trust)
        except (MitoyoloError, OSError) as error:
            note(f"no export for OpenVINO ({error}): torch runs the model")
            return weights
    return _exported(weights, engine, trust)


def _is_quicker(card: Card | None) -> bool:
    """Whether OpenVINO is here and outruns torch on this model."""
    modules = FORMATS["openvino"].runs
    return (card is None or card.family in YOLO) and all(map(find_spec, modules))


def _exported(weights: Path, name: str, trust: bool) -> Path:
    """The cached export, made where it is not there or of other weights."""
    from mitoyolo.export import export

    folder = weights.with_name(f"{weights.stem}_{name}_cache")
    if not folder.exists():
        note(f"exporting {weights.name} for {name}, once, into {folder}")
    stale = False
    while True:
        try:
            return export(
                weights, name, out=folder, trust=trust, overwrite=stale, tell=lambda said: None
            )
        except HeldError:
            time.sleep(LOOK)
        except InputError:
            if stale or not folder.exists():
                raise
            stale = True
