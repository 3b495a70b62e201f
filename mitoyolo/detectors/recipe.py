"""The training recipe: which settings, in one YAML, with the user's ``--set`` on top."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar

import yaml

from converters.errors import InputError, OptionError
from mitoyolo.detectors import ultralytics_quiet  # noqa: F401 - before anything of ultralytics
from mitoyolo.detectors.settings_file import read_settings
from mitoyolo.stain.augment import StainJitter

from ultralytics.cfg import DEFAULT_CFG_DICT, check_cfg

DEFAULT = "mitosis"
RECIPES = (DEFAULT, "ultralytics")
"""Recipes of ours, by name; any other is a YAML file of the user's."""

SELECTIONS = ("f1", "map")

OPTIONS = {"model", "data", "project", "name", "epochs", "imgsz", "batch", "device", "seed"}
"""Ultralytics' keys that are options of ``mitoyolo train``."""

FIXED = {
    *("task", "mode", "save_dir", "exist_ok", "resume", "save", "plots", "amp", "pretrained"),
    *("val", "split", "fraction", "classes", "single_cls"),  # which tiles and labels
    *("conf", "iou", "max_det", "agnostic_nms", "augment", "nms"),  # which boxes
    "time",  # another number of epochs each time
    "cfg",  # a second recipe
    *("distill_model", "quantize"),  # another module, which checkpoints and state do not know
}
"""Keys on which the run folder, the scores or later inference rely."""

OPTIMIZERS = ("SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSProp", "auto")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune-no-cudagraphs")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_layers(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_count(part) or isinstance(part, str) for part in value)
    return value is None or _is_count(value)


CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "cache": (
        lambda value: isinstance(value, bool) or value == "ram",
        "true, false or ram (disk leaves files in the data's folder and trusts old ones); "
        "give cache=ram",
    ),
    "workers": (_is_count, "0 or more"),
    "close_mosaic": (_is_count, "0 or more"),
    "optimizer": (
        lambda value: value.lower() in map(str.lower, OPTIMIZERS),
        f"one of {', '.join(OPTIMIZERS)}",
    ),
    "freeze": (_is_layers, "a number of layers or a list of them"),
    "compile": (
        lambda value: isinstance(value, bool) or value in COMPILE_MODES,
        f"true, false or one of {', '.join(COMPILE_MODES)}",
    ),
}
"""Keys of which Ultralytics takes any value of the type, to fail or to ignore it later -> which
values are sound, and these in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train.

    Attributes
    ----------
    select : str
        The best epoch: `f1` on whole validation images, or Ultralytics' `map`.
    verify : bool
        Whether a verifier is trained after the detector (:mod:`mitoyolo.detectors.verifier`).
    rot90 : bool
        A random quarter turn of each training tile.
    stain : float
        Strength of the stain jitter, 0 for none.
    stain_method : str
        A key of :data:`mitoyolo.stain.augment.JITTERS`.
    settings : dict
        Ultralytics' own keys that differ from its defaults.
    """

    batch: ClassVar[int] = 16
    imgsz: ClassVar[None] = None

    select: str = "map"
    verify: bool = False
    rot90: bool = False
    stain: float = 0.0
    stain_method: str = "reinhard"
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        if self.select not in SELECTIONS:
            raise OptionError(f"select={self.select!r}, expected one of {', '.join(SELECTIONS)}")
        for name in ("verify", "rot90"):
            if not isinstance(said := getattr(self, name), bool):
                raise OptionError(f"{name}={said!r}, expected true or false")
        if isinstance(self.stain, bool) or not isinstance(self.stain, int | float):
            raise OptionError(f"stain={self.stain!r}, expected a number")
        if not isinstance(self.stain_method, str):
            raise OptionError(f"stain_method={self.stain_method!r}, expected a name")
        try:
            self.jitter(seed=0)
        except InputError as error:
            raise OptionError(error.what, fix=error.fix) from None
        if self.rot90 and self.settings.get("rect"):
            raise OptionError(
                "rect=true: turned tiles would not fit into their batch", fix="add rot90=false"
            )

    def to_dict(self) -> dict[str, Any]:
        """All keys, ours and Ultralytics', in one dict."""
        values = asdict(self)
        return {**values.pop("settings"), **values}

    def jitter(self, seed: int) -> StainJitter:
        """The stain augmentation of this recipe."""
        return StainJitter(self.stain_method, strength=self.stain, seed=seed)


OWN = ("select", "verify", "rot90", "stain", "stain_method")
"""Keys of a recipe that are mitoyolo's, not Ultralytics'."""


def read_recipe(
    model: str, name: str | None = None, changes: dict[str, Any] | None = None
) -> Recipe:
    """A recipe with changes on top.

    Parameters
    ----------
    model : str
        Any of YOLO: one recipe is for all sizes.
    name : str, optional
        One of :data:`RECIPES`, or a YAML file of such keys; None: the first of them.
    changes : dict, optional
        Keys of ours or of Ultralytics with the user's values.

    Raises
    ------
    InputError
        No such recipe, a key that nobody has, one that is not the user's to set, or a value that
        is not taken.
    """
    changes = {key: _checked(key, value) for key, value in (changes or {}).items()}
    name = DEFAULT if name is None else name
    values = {**_load(name), **changes}
    own = {key: values.pop(key) for key in OWN if key in values}
    try:
        return Recipe(**own, settings=values)
    except OptionError as error:  # two keys that exclude each other
        if changes.keys() & {"rect", "rot90"}:
            raise
        raise InputError(error.what, file=name, fix=error.fix) from None


def _load(name: str) -> dict[str, Any]:
    if name in RECIPES:
        text = (files("mitoyolo.detectors") / "recipes" / f"{name}.yaml").read_text("utf-8")
        return dict(yaml.safe_load(text))
    return {
        key: _checked(key, value, file=Path(name))
        for key, value in read_settings(name, RECIPES).items()
    }


def _checked(key: Any, value: Any, *, file: Path | None = None) -> Any:
    """The value of a key of a YAML file, or of ``--set`` where there is none; else refused."""
    wrong = InputError if file else OptionError
    place: dict[str, Any] = {"file": file, "where": f"{key}" if file else f"--set {key}"}
    if key in OPTIONS:
        raise wrong("this is an option", fix=f"give --{key}", **place)
    if key in FIXED:
        raise wrong("fixed, since runs, scores and weights rely on it", **place)
    if key not in DEFAULT_CFG_DICT and key not in OWN:
        near = get_close_matches(str(key), (*OWN, *DEFAULT_CFG_DICT))
        hint = f" (perhaps {', '.join(near)})" if near else ""
        raise wrong(f"neither mitoyolo nor Ultralytics has such a setting{hint}", **place)
    value = _as_number(key, value)
    if isinstance(value, float) and not isfinite(value):
        raise wrong(f"{value}, expected a finite number", **place)
    try:
        if key in OWN:
            Recipe(**{key: value}, settings={})
        else:
            taken = {key: value}
            check_cfg(taken)  # turns 1e2 into 100 where whole numbers are expected
            value = taken[key]
    except (TypeError, ValueError) as error:
        raise wrong(str(error).splitlines()[0], **place) from None
    is_sound, expected = CHECKS.get(key, (None, ""))
    if is_sound and not is_sound(value):
        raise wrong(f"{value!r}, expected {expected}", **place)
    return value


def _as_number(key: str, value: Any) -> Any:
    """YAML 1.1 reads 1e-3, without a point, as text."""
    numeric = key == "stain" or type(DEFAULT_CFG_DICT.get(key)) in (int, float)
    if numeric and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
    return value
