"""ICPR 2012 MITOS: frames with every pixel of each mitosis.

``A00_v2/A00_01.bmp`` with ``A00_01.csv``: scanner (A Aperio, H Hamamatsu, M multispectral), slide
and frame. A line of the CSV is one mitosis, all its pixels as ``x,y,x,y,...``, column first, from
0; a pixel i covers i to i + 1. A frame without a CSV holds no mitosis. The release puts a picture
``A00_01.jpg`` beside, in which the mitoses are drawn.

Source: the contest's data description (ICPR 2012, Mitosis Detection in Breast Cancer).
"""

from __future__ import annotations

import re
from pathlib import Path

from converters.errors import InputError
from converters.files import read_text
from converters.frames import by_name, inner_name, missing_frame
from converters.images import IMAGE_SUFFIXES, find_files
from converters.left_out import keeps_unlabelled
from converters.model import AnnotationSet, LeftOut
from converters.read_options import ReadOptions
from converters.reading import Reading
from converters.shapes import Pixels

SCANNERS = {"A": "Aperio", "H": "Hamamatsu", "M": "multispectral"}

_FRAME = re.compile(r"([AHM])([0-9]{2})_[0-9]{2}")
_DRAWN = (".jpg", ".jpeg")
_LARGEST = 999_999_999  # px; no slide comes near


def parse_pixels(line: str, file: str, where: str) -> Pixels:
    """The pixels of one mitosis from ``x,y,x,y,...``; one that stands twice counts once.

    Raises
    ------
    InputError
        An odd number of cells, or one that is no whole number from 0.
    """
    cells = line.split(",")
    try:
        numbers = list(map(int, cells))
    except ValueError:
        numbers = [-1]
    # int() also takes 1_000 and digits of other scripts, which nobody writes
    if min(numbers) < 0 or max(numbers) > _LARGEST or "_" in line or not line.isascii():
        raise _no_index(cells, file, where)
    if len(numbers) % 2:
        raise InputError(
            f"{len(numbers)} numbers, expected pairs x,y,x,y,...", file=file, where=where
        )
    return Pixels(frozenset(zip(numbers[::2], numbers[1::2], strict=True)))


def _no_index(cells: list[str], file: str, where: str) -> InputError:
    """Which of the cells it is, looked for only when there is one."""
    words = [cell.strip() for cell in cells]
    wrong = (
        i
        for i, word in enumerate(words)
        if not (word.isascii() and word.isdecimal() and len(word) <= len(str(_LARGEST)))
    )
    i = next(wrong, 0)
    return InputError(
        f"{words[i]!r:.40} is no pixel's index (a whole number from 0)",
        file=file,
        where=f"{where}, number {i + 1}",
    )


def parse(text: str, *, source: str, file: str, reading: Reading) -> None:
    """Add the mitoses of one table to what ``reading`` has found; blank lines are none.

    Raises
    ------
    InputError
        A line is malformed, see :func:`parse_pixels`.
    """
    for i, line in enumerate(text.splitlines(), 1):
        line = line.rstrip(", \t")  # blank cells at the end, as spreadsheets write them
        if not line:
            continue
        where = f"line {i}"
        with reading.lenient():
            reading.shape(
                parse_pixels(line, file, where),
                source=source,
                label="mitosis",
                kind="pixels",
                file=file,
                where=where,
            )


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read the contest's folder, one slide's folder, or one table.

    Parameters
    ----------
    src : Path
        Folder with ``A00_01.csv``, ... at any depth, or one such file. A frame without one holds
        no mitosis.
    options : ReadOptions
        Where the frames are, and what to do with what cannot be used.

    Raises
    ------
    InputError
        No table is found; one has another name or no frame; a line is malformed; an image is not
        named as a frame (each but the first unless ``options`` allow it).
    """
    reading = Reading(src, options, finds=False)
    tables = _tables(reading)
    frames, drawn = ({}, {}) if options.annotations_only else _pictures(reading.folder)
    for name in sorted(tables.keys() | (frames.keys() if src.is_dir() else set())):
        table, frame, parts = tables.get(name), frames.get(name), _FRAME.fullmatch(name)
        if frame and not parts:
            expected = "frames and tables are named like A00_01"
            if not keeps_unlabelled(reading.found, frame, options, expected):
                continue
        if frame or options.annotations_only:
            scanner, slide = (SCANNERS[parts[1]], parts[2]) if parts else ("", name)
            reading.put(name, frame, slide, scanner=scanner)
        if table:
            _read_table(reading, name, table)
            if not (frame or options.annotations_only):
                alone = f"; {drawn[name].name} shows the mitoses drawn in" if name in drawn else ""
                missing_frame(reading, name, table, alone)
    if src.is_dir():
        _leave_drawn(drawn, tables.keys() | frames.keys(), reading)
    return reading.finish(None)


def _read_table(reading: Reading, name: str, table: Path) -> None:
    text = None
    with reading.lenient("unreadable_file"):
        text = read_text(table)
    if text is None:
        reading.unreadable(name, table)
    else:
        parse(text, source=name, file=str(table), reading=reading)


def _tables(reading: Reading) -> dict[str, Path]:
    """Frame -> its table."""
    named = []
    for path in reading.files(".csv"):
        with reading.lenient("unreadable_file"):
            if not _FRAME.fullmatch(path.stem.upper()):
                raise InputError(
                    "not named like A00_01.csv (scanner A, H or M, slide, frame)", file=path
                )
            named.append(path)
    if not named:
        raise InputError("no table named like A00_01.csv", file=reading.src)
    return by_name(named, lambda path: path.stem.upper())


def _pictures(root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Name -> image, and name -> picture with the mitoses drawn in.

    Where no frame is of another kind, someone has saved the frames themselves as JPEG.
    """

    def name(path: Path) -> str:
        upper = path.stem.upper()
        return upper if _FRAME.fullmatch(upper) else inner_name(path, root)

    paths = list(find_files(root, IMAGE_SUFFIXES))
    drawn = [path for path in paths if path.suffix.lower() in _DRAWN]
    whole = [path for path in paths if path.suffix.lower() not in _DRAWN]
    if any(_FRAME.fullmatch(name(path)) for path in whole):
        return by_name(whole, name), by_name(drawn, name)
    return by_name(paths, name), {}


def _leave_drawn(drawn: dict[str, Path], known: set[str], reading: Reading) -> None:
    """List the drawn pictures that stand alone."""
    for name in sorted(drawn.keys() - known):
        detail = "a .jpg alone: in the release it shows the mitoses drawn in"
        reading.found.left_out.append(LeftOut(str(drawn[name]), "no_image", detail))
