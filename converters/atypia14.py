"""MITOS-ATYPIA-14: frames with centroids of mitoses and look-alikes.

``A03/frames/x40/A03_00Aa.tiff`` with ``A03/mitosis/A03_00Aa_mitosis.csv`` and
``A03_00Aa_not_mitosis.csv``, rows ``x,y,confidence`` without a header. The first letter is the
scanner (A Aperio, H Hamamatsu), the number the slide: A03 and H03 are one case, `03`. Confidence
is 1.0, 0.8 or 0.65 for a mitosis, 0.2 or 0.0 for a look-alike.

Source: the challenge's data description (ICPR 2014 contest, MITOS & ATYPIA).
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from converters.errors import InputError
from converters.files import read_text
from converters.images import IMAGE_SUFFIXES, find_files, image_size
from converters.model import Annotation, AnnotationSet, Drop, ImageInfo
from converters.reading import ReadOptions, add_unlabelled, lenient, number

SCANNERS = {"A": "Aperio", "H": "Hamamatsu"}

_TABLE = re.compile(r"^(?P<frame>.+?)_(?P<kind>not_mitosis|mitosis)$")
_FRAME = re.compile(r"^(?P<scanner>[A-Za-z])(?P<slide>\d+)_")
_LABEL = {"mitosis": "mitosis", "not_mitosis": "imposter"}


def parse_rows(
    text: str, *, source: str, label: str, file: str, found: AnnotationSet, options: ReadOptions
) -> None:
    """Add the rows ``x,y,confidence`` of one table to ``found``; blank lines are no rows.

    Raises
    ------
    InputError
        A row has not two or three cells, or a cell is no finite number.
    """
    for i, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"line {i}"
        with lenient(found, options, "malformed"):
            cells = [cell.strip() for cell in line.split(",")]
            if len(cells) not in (2, 3):
                raise InputError(
                    f"{line.strip()!r:.60} has {len(cells)} cells, expected x,y,confidence",
                    file=file,
                    where=where,
                )
            x, y, *confidence = (number(cell, file, where) for cell in cells)
            found.annotations.append(
                Annotation(
                    source=source,
                    label=label,
                    x=x,
                    y=y,
                    confidence=confidence[0] if confidence else None,
                    kind="point",
                    file=file,
                    where=where,
                )
            )


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read the challenge's folder, one slide's folder, or several nested ones.

    Parameters
    ----------
    src : Path
        Folder with ``*_mitosis.csv`` and ``*_not_mitosis.csv`` at any depth; either may be
        missing for a frame, not both.
    options : ReadOptions
        Where the frames are, and what to do with what cannot be used.

    Raises
    ------
    InputError
        No table is found; a row is malformed; a table has no frame or a frame no table (each
        unless ``options`` allow it).
    """
    if not src.is_dir():
        raise InputError("not a folder; expected the challenge's folder of slides", file=src)
    tables = _tables(src)
    if not tables:
        raise InputError(
            "no *_mitosis.csv or *_not_mitosis.csv below this folder",
            file=src,
            fix="give the folder that holds A03/mitosis, H03/mitosis, ...",
        )
    frames = _frames(options.images or src)
    found = AnnotationSet()
    for name in sorted(tables.keys() | frames.keys()):
        with lenient(found, options, "unreadable_image"):
            _read_frame(name, tables.get(name, {}), frames.get(name), found, options)
    return found


def _read_frame(
    name: str,
    tables: dict[str, Path],
    frame: Path | None,
    found: AnnotationSet,
    options: ReadOptions,
) -> None:
    """Add one frame and the rows of its tables to ``found``."""
    rows = AnnotationSet()
    for kind, table in sorted(tables.items()):
        with lenient(found, options, "unreadable_file"):
            text = read_text(table)
            parse_rows(
                text, source=name, label=_LABEL[kind], file=str(table), found=rows, options=options
            )
    found.dropped.extend(rows.dropped)
    try:
        info = _frame_info(name, tables, frame)
    except InputError as error:
        if options.bad != "drop":
            raise
        found.dropped.extend(
            Drop(row.file, row.where, "no_image", error.what) for row in rows.annotations
        )
        return
    if tables or add_unlabelled(found, name, info.path, options, f"{name}_mitosis.csv"):
        found.images.append(info)
        found.annotations.extend(rows.annotations)


def _frame_info(name: str, tables: dict[str, Path], frame: Path | None) -> ImageInfo:
    if frame is None:
        table = next(iter(tables.values()))
        raise InputError(
            f"no frame {name} for this table",
            file=table,
            fix="name the frames' folder by --images, or leave such tables out by --bad drop",
        )
    parts = _FRAME.match(name)
    if parts is None:
        raise InputError(
            f"frame name {name!r} is not like A03_00Aa (scanner letter, slide, frame)", file=frame
        )
    width, height = image_size(frame)
    return ImageInfo(
        source=name,
        path=frame,
        width=width,
        height=height,
        case=parts["slide"],
        scanner=SCANNERS.get(parts["scanner"].upper(), ""),
    )


def _tables(src: Path) -> dict[str, dict[str, Path]]:
    """Frame name -> `mitosis` and `not_mitosis` table."""
    tables: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in find_files(src, (".csv",)):
        if match := _TABLE.match(path.stem):
            other = tables[match["frame"]].setdefault(match["kind"], path)
            if other != path:
                raise InputError(f"the same table as {other}", file=path, fix="keep one of them")
    return dict(tables)


def _frames(root: Path) -> dict[str, Path]:
    """Frame name -> image, at 40x: the download holds the same tissue at 10x and 20x too."""
    frames: dict[str, Path] = {}
    for path in find_files(root, IMAGE_SUFFIXES):
        if {"x10", "x20"} & set(path.relative_to(root).parts):
            continue
        other = frames.setdefault(path.stem, path)
        if other != path:
            raise InputError(f"the same frame as {other}", file=path, fix="keep one of them")
    return frames
