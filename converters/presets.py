"""The facts of known data sets, one YAML each in ``data_yaml/``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from converters.errors import OptionError

_HERE = Path(__file__).resolve().parent
_FOLDERS = (_HERE / "data_yaml", _HERE.parent / "data_yaml")  # installed wheel, checkout


@dataclass(frozen=True, slots=True)
class Preset:
    """A data set's facts.

    Attributes
    ----------
    name, format, protocol : str
        Its file's name, the reader of its annotations, the rule by which it is scored.
    mpp : dict
        Scanner -> µm per pixel across and down; scanner "" is any.
    """

    name: str
    format: str
    protocol: str
    mpp: dict[str, tuple[float, float]]


def preset_folder() -> Path:
    """The folder of the presets, in a checkout as in an installed wheel."""
    return next(folder for folder in _FOLDERS if folder.is_dir())


def preset_names() -> list[str]:
    """The known presets, sorted."""
    return sorted(path.stem for path in preset_folder().glob("*.yaml"))


def load_preset(name: str) -> Preset:
    """Read ``data_yaml/NAME.yaml``.

    Raises
    ------
    OptionError
        No such preset; the known ones are named.
    """
    if name not in preset_names():
        raise OptionError(f"--preset {name!r} is not known (known: {', '.join(preset_names())})")
    path = preset_folder() / f"{name}.yaml"
    facts: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return Preset(
        name=name,
        format=facts["format"],
        protocol=facts["protocol"],
        mpp={
            scanner: (float(entry["mpp"][0]), float(entry["mpp"][1]))
            for scanner, entry in facts["scanners"].items()
        },
    )
