"""A YAML file of training settings, read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from converters.errors import InputError, OptionError
from converters.files import read_text


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
    text = read_text(path)
    try:
        values, root = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise InputError(f"not YAML ({' '.join(str(error).split())})", file=path) from None
    if root is None or not isinstance(values, dict):
        raise InputError("expected a mapping of settings", file=path)
    keys = [key.value for key, _ in root.value]
    for key in keys:
        if keys.count(key) > 1:
            raise InputError("given twice", file=path, where=key, fix="keep one of them")
    return values
