"""How a two-stage detector is trained: one YAML a paper, with the user's ``--set`` on top."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from converters.errors import InputError, OptionError
from mitoyolo.detectors.settings_file import read_settings

RECIPES = ("faster-rcnn", "mitos-rcnn")
"""Recipes of ours, by name; any other is a YAML file of the user's."""

OF_MODEL = {
    "faster-rcnn": "faster-rcnn",
    "faster-rcnn-x101": "faster-rcnn",
    "vgg16": "mitos-rcnn",
    "vgg16-conv4": "mitos-rcnn",
    "mitos-rcnn": "mitos-rcnn",
}
"""Each model's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RcnnRecipe:
    """The settings of a training.

    Attributes
    ----------
    batch : int
        Tiles a step, where ``--batch`` says nothing.
    imgsz : int or None
        Side of the network's input in px, where ``--imgsz`` says nothing; None: the tiles' longest.
    anchors : tuple of float or None
        Sides in px of the input; None: chosen for model and data.
    rois : int
        Regions an image that the second stage is trained on, a quarter of them mitoses at most.
    proposals : int
        The most that it looks at in inference.
    lr0, momentum, weight_decay : float
        Of stochastic gradient descent.
    warmup : float
        Share of all steps over which the learning rate rises linearly.
    drops : tuple of float
        Shares of all steps after each of which it is a tenth.
    clip : float
        Largest norm of all gradients together; 0 for any.
    ema : float
        Decay a step of the averaged weights that are validated and kept; 0 for none.
    fliplr, flipud : float
        How likely a tile is mirrored.
    rot90 : bool
        A random quarter turn of each tile.
    verify : bool
        Whether a verifier is trained after the detector (:mod:`mitoyolo.detectors.verifier`).
    workers : int
        Processes that read tiles for a GPU.
    """

    batch: int
    imgsz: int | None
    anchors: tuple[float, ...] | None
    rois: int
    proposals: int
    lr0: float
    momentum: float
    weight_decay: float
    warmup: float
    drops: tuple[float, ...]
    clip: float
    ema: float
    fliplr: float
    flipud: float
    rot90: bool
    verify: bool
    workers: int

    def to_dict(self) -> dict[str, Any]:
        """As the plain types that come back from ``run.json``."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step ``step`` of ``steps``, counted from 0.

        Examples
        --------
        >>> recipe = read_recipe("faster-rcnn")
        >>> [round(recipe.rate(step, 5000), 6) for step in (0, 499, 999, 2999, 3000)]
        [1e-06, 0.0005, 0.001, 0.001, 0.0001]
        """
        rising = min(1.0, (step + 1) / max(1.0, self.warmup * steps))
        fallen = sum(step >= round(drop * steps) for drop in self.drops)
        return self.lr0 * rising * float(0.1**fallen)


def _number(least: float, most: float) -> Callable[[Any], Any]:
    def read(value: Any) -> float:
        number = float(value) if not isinstance(value, bool) else -1.0
        if not least <= number <= most:
            raise ValueError
        return number

    return read


def _whole(least: int) -> Callable[[Any], Any]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or int(value) != float(value) or int(value) < least:
            raise ValueError
        return int(value)

    return read


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _numbers(value: Any, least: float, most: float) -> tuple[float, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    parts = parts if isinstance(parts, list | tuple) else [parts]
    return tuple(map(_number(least, most), parts))


def _drops(value: Any) -> tuple[float, ...]:
    return () if value in ("", []) else tuple(sorted(_numbers(value, 0, 1)))


def _anchors(value: Any) -> tuple[float, ...] | None:
    if value == "auto":
        return None
    sides = _numbers(value, 1, 4096)
    if not sides:
        raise ValueError
    return sides


def _side(value: Any) -> int | None:
    return None if value is None else int(_whole(32)(value))


READERS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "batch": (_whole(1), "a whole number of at least 1"),
    "imgsz": (_side, "a whole number of at least 32, or null"),
    "anchors": (_anchors, "auto, or sides in px such as 16,32,64"),
    "rois": (_whole(1), "a whole number of at least 1"),
    "proposals": (_whole(1), "a whole number of at least 1"),
    "lr0": (_number(0, 10), "0 to 10"),
    "momentum": (_number(0, 1), "0 to 1"),
    "weight_decay": (_number(0, 1), "0 to 1"),
    "warmup": (_number(0, 1), "0 to 1, a share of all steps"),
    "drops": (_drops, "shares of all steps such as 0.6,0.9"),
    "clip": (_number(0, 1e9), "0 or more"),
    "ema": (_number(0, 0.999999), "0 to under 1"),
    "fliplr": (_number(0, 1), "0 to 1"),
    "flipud": (_number(0, 1), "0 to 1"),
    "rot90": (_flag, "true or false"),
    "verify": (_flag, "true or false"),
    "workers": (_whole(0), "a whole number of at least 0"),
}
"""Each setting -> what makes its value of the user's, and which values are sound, in words."""

OPTIONS = ("batch", "imgsz")
"""Settings that the user gives as options of ``mitoyolo train``."""


def read_recipe(
    model: str, name: str | None = None, changes: Mapping[str, Any] | None = None
) -> RcnnRecipe:
    """A recipe with changes on top.

    Parameters
    ----------
    model : str
        A key of :data:`OF_MODEL`.
    name : str, optional
        One of :data:`RECIPES`, or a YAML file of settings that replace the model's own; None: the
        model's own.
    changes : mapping, optional
        Settings with the user's values.

    Raises
    ------
    InputError
        No such recipe, a setting that nobody has, or a value that is not taken.
    """
    values = {key: _read(key, value) for key, value in _load(OF_MODEL[model]).items()}
    if name in RECIPES:
        values.update((key, _read(key, value)) for key, value in _load(name).items())
    elif name is not None:
        path = Path(name)
        values.update(
            (key, _read(key, value, path)) for key, value in read_settings(name, RECIPES).items()
        )
    for key, value in (changes or {}).items():
        if key in OPTIONS:
            raise OptionError(f"--set {key}: this is an option", fix=f"give --{key}")
        values[key] = _read(key, value)
    return RcnnRecipe(**values)


def _load(name: str) -> dict[str, Any]:
    text = (files("mitoyolo.detectors") / "recipes" / f"{name}.yaml").read_text("utf-8")
    return dict(yaml.safe_load(text))


def _read(key: Any, value: Any, file: Path | None = None) -> Any:
    wrong = InputError if file else OptionError
    place: dict[str, Any] = {"file": file, "where": f"{key}" if file else f"--set {key}"}
    if key not in READERS:
        near = get_close_matches(str(key), list(READERS))
        hint = f" (perhaps {', '.join(near)})" if near else ""
        raise wrong(f"the two-stage models have no such setting{hint}", **place)
    read, expected = READERS[key]
    try:
        return read(value)
    except (TypeError, ValueError, OverflowError):
        raise wrong(f"{value!r}, expected {expected}", **place) from None
