"""A user's file of training settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.errors import OptionError
from mitoyolo.yaml_file import read_mapping


def read_settings(name: str, known: tuple[str, ...]) -> dict[Any, Any]:
    """The settings of a user's file.

    Parameters
    ----------
    name : str
        Its path, as given to ``--recipe``.
    known : tuple of str
        Recipes that could have been named instead, for the message.

    Raises
    ------
    InputError
        There is no such file, it is not a YAML mapping, or names a key twice.
    """
    path = Path(name)
    if not path.is_file():
        raise OptionError(
            f"--recipe {name}: no such recipe (known: {', '.join(known)}) and no such file"
        )
    return read_mapping(path, "a mapping of settings")
