"""YOLO's :class:`~mitoyolo.detectors.exported.Exporter`, by Ultralytics' own."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

from converters.errors import InputError
from mitoyolo.detectors import ultralytics_quiet  # noqa: F401 - before anything of ultralytics
from mitoyolo.detectors.card import Card
from mitoyolo.detectors.checkpoint import class_names
from mitoyolo.detectors.exported import FORMATS
from mitoyolo.detectors.yolo import YoloDetector, default_imgsz, open_model

from ultralytics.engine.exporter import Exporter
from ultralytics.nn.backends.base import BaseBackend

__all__ = ["default_imgsz", "detector", "facts", "make", "makes", "open_model"]

detector = YoloDetector

makes = {
    "openvino": ("openvino",),
    "onnx": ("onnx", "onnxslim", "onnxruntime"),
    "torchscript": (),
    "engine": ("onnx", "onnxslim", "onnxruntime", "tensorrt"),
}


def make(name: str, model: Any, file: Path, *, imgsz: int, batch: int) -> Path:
    """Export ``model``, a DetectionModel, in the format ``name`` as ``file`` and its suffix."""
    settings = {
        "format": name,
        "imgsz": imgsz,
        "batch": batch,
        "dynamic": True,
        "device": "0" if FORMATS[name].on == "gpu" else "cpu",
    }
    # Ultralytics replaces this suffix everywhere in the path: one that is nowhere else
    model.pt_path = f"{file}.{os.urandom(8).hex()}"
    exporter = Exporter(overrides=settings)
    exporter.callbacks["on_export_start"].append(_without_date)
    return Path(exporter(model))


def _without_date(exporter: Any) -> None:
    """The same weights give the same bytes."""
    exporter.metadata.pop("date")


def facts(file: Path, card: Card | None) -> tuple[tuple[str, ...], int]:
    """Class names and input side that Ultralytics' exporter wrote into the model or beside it.

    Raises
    ------
    InputError
        They are missing, or are of another kind of model.
    """
    said = BaseBackend.read_metadata(file)
    try:
        names, arguments, sides = (_literal(said[key]) for key in ("names", "args", "imgsz"))
        fits = said["task"] == "detect" and arguments["dynamic"] and not arguments.get("nms")
        classes, side = class_names(names), max(map(int, sides))
    except (KeyError, TypeError, ValueError, SyntaxError, AttributeError):
        raise InputError(
            "lacks what Ultralytics' exporter writes (task, names, args, imgsz), or is damaged",
            file=file,
            fix="export its .pt by `mitoyolo export`",
        ) from None
    if not (fits and classes and side > 0):
        raise InputError(
            "expected a detector exported with dynamic=True and without nms",
            file=file,
            fix="export its .pt by `mitoyolo export`",
        )
    return classes, side


def _literal(value: Any) -> Any:
    """ONNX keeps every value as Python text."""
    return ast.literal_eval(value) if isinstance(value, str) else value
