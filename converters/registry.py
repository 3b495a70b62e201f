"""Every format by name: who reads it, who writes it. Adding one is a file and a line here."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from converters import (
    amida13,
    asap,
    atypia14,
    cadd4mbc,
    centroid_csv,
    coco,
    cvat,
    icpr12,
    imagescope,
    labelme,
    labelstudio,
    large_image,
    midog,
    qupath,
    sliderunner,
    via,
    voc,
    yolo,
)
from converters.errors import OptionError
from converters.model import AnnotationSet
from converters.read_options import ReadOptions
from converters.writing import Note, Text

Reader = Callable[[Path, ReadOptions], AnnotationSet]

Writer = Callable[[AnnotationSet, Note], Iterable[tuple[str, Text]]]
"""From annotations to documents: the name and the text of each; what to say goes to the note."""


@dataclass(frozen=True, slots=True)
class Format:
    """One annotation format.

    Attributes
    ----------
    summary : str
        One line for ``mitoyolo formats``.
    read : Reader or None
        From a folder to annotations; None where the format is only written.
    write : Writer or None
        From annotations to the files of ``convert --to``; None where the format is only read.
    preset : str or None
        The file in ``data_yaml`` that holds when the user names none: a challenge's own format
        implies its scanners and its protocol.
    protocol : str
        How it is scored where no preset says so.
    takes : tuple of str
        The fields of :class:`~converters.read_options.ReadOptions` that this reader alone obeys.
    """

    summary: str
    read: Reader | None = None
    write: Writer | None = None
    preset: str | None = None
    protocol: str = "centroid"
    takes: tuple[str, ...] = ()


FORMATS: dict[str, Format] = {
    "cadd4mbc": Format("CADD4MBC (KMIT) tile exports, one JSON a tile", cadd4mbc.read),
    "dsa": Format(
        "Digital Slide Archive / HistomicsUI annotation JSON", cadd4mbc.read, large_image.write
    ),
    "icpr12": Format("ICPR 2012 MITOS frames with pixel lists", icpr12.read, preset="icpr12"),
    "atypia14": Format(
        "MITOS-ATYPIA-14 frames with centroid CSV", atypia14.read, preset="mitos_atypia_14"
    ),
    "amida13": Format(
        "AMIDA13 frames with row,col CSV", amida13.read, preset="amida13", takes=("one_based",)
    ),
    "tupac16": Format(
        "TUPAC16 and its alternative labels, row,col CSV",
        amida13.read,
        preset="tupac16",
        takes=("one_based",),
    ),
    "midog": Format(
        "MIDOG data set JSON and result JSON (millimetres)",
        midog.read,
        midog.write,
        protocol="midog",
        takes=("include_unlabelled",),
    ),
    "sliderunner": Format(
        "SlideRunner SQLite databases", sliderunner.read, takes=("include_unlabelled",)
    ),
    "coco": Format("COCO JSON", coco.read, coco.write, takes=("include_unlabelled",)),
    "yolo": Format(
        "YOLO labels; written: the dataset folder, with COCO",
        yolo.read,
        yolo.write,
        takes=("include_unlabelled",),
    ),
    "voc": Format("Pascal VOC XML, one an image", voc.read, voc.write, takes=("one_based",)),
    "qupath": Format("QuPath GeoJSON, one an image", qupath.read, qupath.write),
    "asap": Format("ASAP XML, one a slide", asap.read),
    "imagescope": Format("Aperio ImageScope XML, one a slide", imagescope.read),
    "via": Format("VGG Image Annotator JSON", via.read),
    "cvat": Format("CVAT for images XML", cvat.read),
    "labelme": Format("LabelMe JSON, one an image", labelme.read),
    "labelstudio": Format("Label Studio JSON", labelstudio.read),
    "csv": Format(
        "centroid tables of anyone's",
        centroid_csv.read,
        centroid_csv.write,
        takes=("columns", "one_based"),
    ),
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
    return _uncollected(entry.read)


def _uncollected(read: Reader) -> Reader:
    """``read`` without Python's collector: annotations make no cycles, and it would only walk over
    all that were read so far, again and again (a third of the time)."""

    def reader(src: Path, options: ReadOptions) -> AnnotationSet:
        was_on = gc.isenabled()
        gc.disable()
        try:
            return read(src, options)
        finally:
            if was_on:
                gc.enable()

    return reader


SPECIAL = tuple(dict.fromkeys(name for entry in FORMATS.values() for name in entry.takes))
"""Options of reading that only some formats obey."""


def get_writer(name: str) -> Writer:
    """The writer of a format.

    Raises
    ------
    OptionError
        No such format, or it cannot be written.
    """
    entry = FORMATS.get(name)
    if entry is None or entry.write is None:
        names = ", ".join(key for key, value in FORMATS.items() if value.write)
        raise OptionError(f"--to {name!r} is not a format that can be written (known: {names})")
    return entry.write
