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

from converters.checked import checked_confidence, number
from converters.errors import InputError
from converters.files import read_text
from converters.images import IMAGE_SUFFIXES, find_files
from converters.left_out import Lenient, Problem, keeps_unlabelled, leave_out, size_of
from converters.model import Annotation, AnnotationSet, ImageInfo
from converters.read_options import ReadOptions

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
        with Lenient(found, options, "malformed"):
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
                    confidence=checked_confidence(confidence[0], file, where)
                    if confidence
                    else None,
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
    frames = {} if options.annotations_only else _frames(options.images or src)
    found, problems = AnnotationSet(), dict[str, Problem]()
    for name in sorted(tables.keys() | frames.keys()):
        if name in tables:
            _read_tables(name, tables[name], found, problems, options)
        elif not keeps_unlabelled(found, frames[name], options, f"{name}_mitosis.csv"):
            continue
        if name in frames or options.annotations_only:
            found.images.append(_frame_info(name, frames.get(name), problems, options))
        else:
            _no_frame(name, next(iter(tables[name].values())), problems, options)
    return leave_out(found, problems)


def _read_tables(
    name: str,
    tables: dict[str, Path],
    found: AnnotationSet,
    problems: dict[str, Problem],
    options: ReadOptions,
) -> None:
    """Add the rows of one frame's tables to ``found``."""
    for kind, path in sorted(tables.items()):
        text = None
        with Lenient(found, options, "unreadable_file"):
            text = read_text(path)
        if text is None:  # nobody knows what is on it: neither mitoses nor background
            problems[name] = Problem("unreadable_file", f"{path.name} cannot be read")
            continue
        parse_rows(
            text, source=name, label=_LABEL[kind], file=str(path), found=found, options=options
        )


def _no_frame(name: str, table: Path, problems: dict[str, Problem], options: ReadOptions) -> None:
    error = InputError(
        f"no frame {name} for this table",
        file=table,
        fix="name the frames' folder by --images, or leave such tables out by --bad drop",
    )
    if options.bad != "drop":
        raise error
    problems[name] = Problem("no_image", error.what)


def _frame_info(
    name: str, frame: Path | None, problems: dict[str, Problem], options: ReadOptions
) -> ImageInfo:
    parts = _FRAME.match(name)
    if parts is None:
        what = f"frame name {name!r} is not like A03_00Aa (scanner letter, slide, frame)"
        if options.bad != "drop":
            raise InputError(what, file=frame)
        problems[name] = Problem("frame_name", what)
    scanner = SCANNERS.get(parts["scanner"].upper(), "") if parts else ""
    case = parts["slide"] if parts else ""
    if frame:
        width, height = size_of(frame, name, problems, options)
    else:
        width, height = options.frame(scanner, case) or (0, 0)
    return ImageInfo(
        source=name,
        path=frame,
        width=width,
        height=height,
        case=case,
        scanner=scanner,
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
