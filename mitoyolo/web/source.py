"""The source of the running program, offered to its users as section 13 of the AGPL asks."""

from __future__ import annotations

import io
import zipfile
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import converters
import mitoyolo

_NOT_SOURCE = {"__pycache__", "node_modules", "static"}


def address() -> str:
    """Where it is: the project's public address if the package names one, else this server."""
    try:
        named = metadata("mitoyolo").get_all("Project-URL") or []
    except PackageNotFoundError:
        named = []
    addresses = dict(entry.split(", ", 1) for entry in named)
    return addresses.get("Source", "/api/source")


@cache
def archive() -> bytes:
    """A zip of it as it is installed here, changes included; the page's TypeScript too."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as file:
        for package in (converters, mitoyolo):
            folder = Path(package.__path__[0])
            for path in sorted(folder.rglob("*")):
                name = path.relative_to(folder.parent)
                if path.is_file() and not _NOT_SOURCE.intersection(name.parts):
                    file.write(path, name)
    return held.getvalue()
