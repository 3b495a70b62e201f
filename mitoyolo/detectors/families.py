"""The models by name, and which modules train, load and export each.

Neither torch nor a family's own libraries are imported here: a module is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from converters.errors import InputError


class TrainingRecipe(Protocol):
    """How a family trains, as its ``read_recipe`` gives it."""

    @property
    def batch(self) -> int:
        """Tiles a step where the call does not say."""
        ...

    @property
    def imgsz(self) -> int | None:
        """Side in pixels to which tiles are resized then; None: their own longest side."""
        ...

    @property
    def verify(self) -> bool:
        """Whether a verifier is trained after the detector."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain types: what a resumed run is compared by."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What the commands need to know of a model.

    Attributes
    ----------
    recipe : str
        Module with ``read_recipe(model, name, changes)``, which gives a :class:`TrainingRecipe`;
        ``name`` None stands for the model's own recipe.
    trains : str
        Module with ``fit(training)``, which gives an
        :class:`~mitoyolo.detectors.training.Outcome`, and ``finish(path, card, verifier)``.
    loads : str
        Module with ``load(source, device=, imgsz=, trust=)``, which gives a
        :class:`~mitoyolo.detectors.base.Detector`. ``source`` is a
        :class:`~mitoyolo.detectors.checkpoint.Checkpoint`, for YOLO also a path.
    exports : str
        Module of what :class:`mitoyolo.detectors.exported.Exporter` lists.
    stride : int
        The side of the input is rounded up to a multiple of it.
    pretrained : tuple of str
        Weights files looked for where the call names none; the first found is taken.
    needs_pretrained : bool
        Whether it is an error that none is found; else the training starts from scratch.
    accumulates : bool
        Whether ``--accumulate`` splits its steps.
    """

    recipe: str
    trains: str
    loads: str
    exports: str
    stride: int
    pretrained: tuple[str, ...]
    needs_pretrained: bool
    accumulates: bool


def _yolo(name: str) -> Family:
    return Family(
        recipe="mitoyolo.detectors.recipe",
        trains="mitoyolo.detectors.yolo_train",
        loads="mitoyolo.detectors.yolo",
        exports="mitoyolo.detectors.yolo_export",
        stride=32,
        pretrained=(f"{name}u.pt", f"{name}.pt"),
        needs_pretrained=True,
        accumulates=False,
    )


def _rcnn(*pretrained: str) -> Family:
    return Family(
        recipe="mitoyolo.detectors.rcnn_recipe",
        trains="mitoyolo.detectors.rcnn_train",
        loads="mitoyolo.detectors.rcnn",
        exports="mitoyolo.detectors.rcnn_export",
        stride=1,
        pretrained=pretrained,
        needs_pretrained=False,
        accumulates=True,
    )


_VGG16 = "vgg16-397923af.pth"

YOLO = {name: _yolo(name) for name in ("yolov5n", "yolov5s", "yolov5m", "yolov5l", "yolov5x")}
RCNN = {
    "faster-rcnn": _rcnn(
        "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
        "resnet50-11ad3fa6.pth",
        "resnet50-0676ba61.pth",
    ),
    "faster-rcnn-x101": _rcnn("resnext101_32x8d-110c445d.pth", "resnext101_32x8d-8ba56ff5.pth"),
    "vgg16": _rcnn(_VGG16),
    "vgg16-conv4": _rcnn(_VGG16),
    "mitos-rcnn": _rcnn(_VGG16),
}
MODELS = YOLO | RCNN
"""The name of each model -> its family; pretrained files are named as torchvision names them."""


def recipe_of(
    model: str, name: str | None = None, changes: Mapping[str, Any] | None = None
) -> TrainingRecipe:
    """How a model trains, as its family's ``read_recipe`` tells, whose errors it raises.

    Examples
    --------
    >>> recipe_of("yolov5n").verify
    True
    """
    recipe: TrainingRecipe = import_module(MODELS[model].recipe).read_recipe(model, name, changes)
    return recipe


def family_of(model: object, file: object) -> Family:
    """The family of the model that a card names; YOLO's where there is none to name it.

    Parameters
    ----------
    model : object
        The card's ``family``, or None.
    file : object
        What the message names.

    Raises
    ------
    InputError
        No such model.
    """
    if model is None:
        return YOLO["yolov5n"]
    if not isinstance(model, str) or model not in MODELS:
        raise InputError(
            f"weights of the model {model!r}, expected one of {', '.join(MODELS)}",
            file=str(file),
            fix="use the version of mitoyolo that trained them",
        )
    return MODELS[model]
