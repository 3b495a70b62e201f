"""Every format by name: who reads it, who writes it. Adding one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from converters import atypia14, cadd4mbc
from converters.errors import OptionError
from converters.model import AnnotationSet
from converters.reading import ReadOptions

Reader = Callable[[Path, ReadOptions], AnnotationSet]


@dataclass(frozen=True, slots=True)
class Format:
    """One annotation format.

    Attributes
    ----------
    summary : str
        One line for ``mitoyolo formats``.
    read : Reader or None
        From a folder to annotations; None where the format is only written.
    writes : bool
        Whether ``convert --to`` knows it.
    preset : str or None
        The file in ``data_yaml`` that holds when the user names none: a challenge's own format
        implies its scanners and its protocol.
    """

    summary: str
    read: Reader | None = None
    writes: bool = False
    preset: str | None = None


FORMATS: dict[str, Format] = {
    "cadd4mbc": Format("CADD4MBC (KMIT) tile exports, one JSON a tile", cadd4mbc.read),
    "dsa": Format("Digital Slide Archive / HistomicsUI annotation JSON", cadd4mbc.read),
    "atypia14": Format(
        "MITOS-ATYPIA-14 frames with centroid CSV", atypia14.read, preset="mitos_atypia_14"
    ),
    "yolo": Format("the dataset folder: YOLO labels, with COCO beside them", writes=True),
}


def get_reader(name: str) -> Reader:
    """The reader of a format.

    Raises
    ------
    OptionError
        No such format, or it cannot be read.
    """
    entry = FORMATS.get(name)
    if entry is None or entry.read is None:
        names = ", ".join(key for key, value in FORMATS.items() if value.read)
        raise OptionError(f"--from {name!r} is not a format that can be read (known: {names})")
    return entry.read
