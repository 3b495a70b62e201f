"""A YAML file that a user writes, read strictly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from converters.errors import InputError
from converters.files import read_text


def read_mapping(path: Path, what: str) -> dict[Any, Any]:
    """A file's mapping.

    Parameters
    ----------
    path : Path
    what : str
        What was expected, for the message.

    Raises
    ------
    InputError
        It is not a YAML mapping, or one in it names a key twice, of which YAML would keep the last.
    """
    text = read_text(path)
    try:
        values, root = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise InputError(f"not YAML ({' '.join(str(error).split())})", file=path) from None
    if root is None or not isinstance(values, dict):
        raise InputError(f"expected {what}", file=path)
    for mapping in _mappings(root, set()):
        for (_, key), times in Counter((key.tag, key.value) for key, _ in mapping.value).items():
            if times > 1:
                raise InputError("given twice", file=path, where=str(key), fix="keep one of them")
    return values


def _mappings(node: yaml.Node, seen: set[int]) -> Iterator[yaml.MappingNode]:
    """All mappings under a node, each once however often an alias names it."""
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        yield node
    for member in node.value:
        for part in member if isinstance(member, tuple) else (member,):
            yield from _mappings(part, seen)
