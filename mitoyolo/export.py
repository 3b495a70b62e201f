"""``mitoyolo export``: weights as a model for another runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mitoyolo.detectors.base import read_weights
from mitoyolo.detectors.exported import (
    FORMATS,
    VERIFIER_FILE,
    check_maker,
    exporter_of,
    write_export,
)
from mitoyolo.inference.apply import BATCH
from mitoyolo.jobs import fingerprint, open_job
from mitoyolo.progress import note

if TYPE_CHECKING:  # torch takes seconds to import
    from mitoyolo.detectors.checkpoint import Checkpoint


def export(
    weights: Path,
    name: str,
    *,
    out: Path | None = None,
    imgsz: int | None = None,
    trust: bool = False,
    overwrite: bool = False,
    tell: Callable[[str], None] = note,
) -> Path:
    """Export weights in another format, with the card beside the model.

    Parameters
    ----------
    weights : Path
        A ``best.pt`` of ours, or any Ultralytics detection weights.
    name : str
        The format, one of :data:`mitoyolo.detectors.exported.FORMATS`.
    out : Path, optional
        The folder to write; None: ``best_onnx_model`` and the like beside the weights.
    imgsz : int, optional
        Side in pixels to which tiles will be resized; None: as the weights say.
    trust : bool
        Run the code in the weights file, where it cannot be read otherwise.
    overwrite : bool
        Replace another call's export in ``out``.
    tell : callable
        Told what was done, in a line.

    Returns
    -------
    Path
        The folder, which `val` and `detect` take as weights.

    Raises
    ------
    InputError
        The weights cannot be used, or the machine lacks the GPU that the format is for.
    MissingPackageError
        The message names what to install.
    """
    family, source = read_weights(weights, trust=trust)
    exporter = exporter_of(family)
    check_maker(name, exporter)
    model, card = exporter.open_model(source, trust=trust)
    side = imgsz or exporter.default_imgsz(card)
    folder = out or weights.with_name(f"{weights.stem}_{name}_model")
    arguments = {
        "weights": str(weights.resolve()),
        "weights_state": fingerprint([weights]),
        "format": name,
        "imgsz": side,
        "trust": trust,
    }
    index = weights.stem + FORMATS[name].suffix
    with open_job(
        folder,
        command="export",
        arguments=arguments,
        index=index,
        overwrite=overwrite,
        reads=[weights],
    ) as job:
        if job.finished:
            tell(f"{folder} is finished already")
            return folder
        own = replace(card, imgsz=side) if card else None
        if own and own.verifier:
            _copy_verifier(source, folder / VERIFIER_FILE)
        write_export(exporter, folder, weights.stem, name, model, own, imgsz=side, batch=BATCH)
    tell(f"{name}, float32; `mitoyolo val` and `mitoyolo detect` take it as --weights")
    return folder


def _copy_verifier(source: Checkpoint | Path, path: Path) -> None:
    """Put the verifier of a weights file beside its export."""
    from mitoyolo.detectors.verifier import verifier_of, write_verifier

    write_verifier(path, verifier_of(source))
