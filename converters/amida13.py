"""AMIDA13 and TUPAC16: frames in a folder for each case, centroids in a table for each frame.

``mitoses_image_data_part_1/01/01.tif`` with ``mitoses_ground_truth/01/01.csv``, rows ``row,col``
(y first) without a header. A table that is empty or missing says that there is no mitosis. The
alternative labels of TUPAC16 have ``nonmitoses_ground_truth`` beside, the look-alikes.

Source: the data descriptions of both challenges (Veta et al. 2015, 2019); Bertram et al. 2020,
"Are pathologist-defined labels reproducible?", for the alternative labels.
"""

from __future__ import annotations

import re
from pathlib import Path

from converters.checked import number
from converters.errors import InputError
from converters.files import read_text
from converters.frames import by_name, inner_name, missing_frame
from converters.images import IMAGE_SUFFIXES, find_files
from converters.left_out import keeps_unlabelled
from converters.model import AnnotationSet
from converters.read_options import ReadOptions
from converters.reading import Reading

_NUMBER = re.compile(r"[0-9]{1,6}")
_FRAME = re.compile(r"[0-9]+/[0-9]+")
_TRUTH = re.compile(r"mitos[ei]s[-_ ]ground[-_ ]?truth", re.IGNORECASE)
_LOOK_ALIKES = re.compile(r"(non|not)[-_ ]?mitos", re.IGNORECASE)
_TEST = re.compile(r"mitos[ei]s[-_ ](detection[-_ ])?test", re.IGNORECASE)


def parse(text: str, *, reading: Reading, source: str, label: str, file: str) -> None:
    """Add the rows ``row,col`` of one table to what ``reading`` has found; blank lines are none.

    Raises
    ------
    InputError
        A row has not two cells, or a cell is no finite number.
    """
    first = 1 if reading.options.one_based else 0
    for i, line in enumerate(text.splitlines(), 1):
        line = line.rstrip(", \t")
        if not line:
            continue
        where = f"line {i}"
        with reading.lenient():
            cells = line.split(",")
            if len(cells) != 2:
                raise InputError(
                    f"{line!r:.60} has {len(cells)} cell(s), expected row,col",
                    file=file,
                    where=where,
                )
            y, x = (number(cell.strip(), file, where) - first for cell in cells)
            reading.point((x, y), source=source, label=label, file=file, where=where)


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read a challenge's folder, its ground truth, one case's tables, or one table.

    A frame without a table holds no mitosis where its case has a folder in the ground truth. An
    image of any other case is unlabelled: nobody has published what is on it. So are those below
    a folder such as ``mitoses-test-image-data``, whose cases are numbered from 01 again.

    Parameters
    ----------
    src : Path
        Folder with ``CASE/FRAME.csv`` at any depth, or one such file.
    options : ReadOptions
        Where the images are, whether the first pixel is number 1, and what to do with what
        cannot be used.

    Raises
    ------
    InputError
        There are no tables of mitoses; a row is malformed; a table has no image, or an image is
        unlabelled (each but the first unless ``options`` allow it).
    """
    reading = Reading(src, options, finds=False)
    tables = _tables(reading)
    images = {} if options.annotations_only else _images(reading.folder)
    cases = _cases(reading, tables)
    for source in sorted(tables.keys() | (images.keys() if src.is_dir() else set())):
        image, case = images.get(source), source.rpartition("/")[0] or source
        looked = source in tables or (_FRAME.fullmatch(source) and case in cases)
        if image and not looked:
            expected = f"{source}.csv in the ground truth"
            if not keeps_unlabelled(reading.found, image, options, expected):
                continue
        if image or options.annotations_only:
            reading.put(source, image, case)
        for label, table in tables.get(source, {}).items():
            _read_table(reading, source, label, table)
            if not (image or options.annotations_only):
                missing_frame(reading, source, table)
    return reading.finish(None)


def _read_table(reading: Reading, source: str, label: str, table: Path) -> None:
    text = None
    with reading.lenient("unreadable_file"):
        text = read_text(table)
    if text is None:
        reading.unreadable(source, table)
    else:
        parse(text, reading=reading, source=source, label=label, file=str(table))


def _tables(reading: Reading) -> dict[str, dict[str, Path]]:
    """Source -> label -> table."""
    root = _absolute(reading.root)
    paths: dict[str, list[Path]] = {"mitosis": [], "imposter": []}
    for path in reading.files(".csv"):
        folders = (*root.parts[-2:], *path.relative_to(reading.root).parts[:-1])
        if _source(root, path, reading.root):
            look_alikes = _LOOK_ALIKES.match(folders[-2])
            paths["imposter" if look_alikes else "mitosis"].append(path)
        elif any(map(_TRUTH.search, folders)):
            with reading.lenient("unreadable_file"):
                raise InputError("not a table of the ground truth, CASE/FRAME.csv", file=path)
    found: dict[str, dict[str, Path]] = {}
    for label, of_label in paths.items():
        named = by_name(of_label, lambda path: _source(root, path, reading.root) or "")
        for source, path in named.items():
            found.setdefault(source, {})[label] = path
    if not found:
        raise InputError(
            "no table CASE/FRAME.csv, such as mitoses_ground_truth/01/01.csv", file=reading.src
        )
    return found


def _cases(reading: Reading, tables: dict[str, dict[str, Path]]) -> set[str]:
    """The cases whose mitoses were looked for.

    Raises
    ------
    InputError
        There are only tables of look-alikes: every mitosis would count as background.
    """
    truths = [
        folder for folder in _absolute(reading.root).glob("**/") if _TRUTH.search(folder.name)
    ]
    looked = any("mitosis" in of_frame for of_frame in tables.values())
    if not looked and all(_LOOK_ALIKES.match(folder.name) for folder in truths):
        raise InputError(
            "only tables of look-alikes, none of mitoses",
            file=reading.src,
            fix="name the folder that holds mitoses_ground_truth and nonmitoses_ground_truth",
        )
    listed = {
        _padded(folder.name)
        for truth in truths
        for folder in truth.iterdir()
        if folder.is_dir() and _NUMBER.fullmatch(folder.name)
    }
    return listed | {source.partition("/")[0] for source in tables}


def _images(root: Path) -> dict[str, Path]:
    """Source -> image; one that is no CASE/FRAME of the training images goes by its path."""
    base = _absolute(root)

    def name(path: Path) -> str:
        folders = path.relative_to(root).parts[:-1]
        source = None if any(map(_TEST.match, folders)) else _source(base, path, root)
        return source or inner_name(path, root)

    return by_name(find_files(root, IMAGE_SUFFIXES), name)


def _source(base: Path, path: Path, root: Path) -> str | None:
    """`01/01` for a file 01 in a folder 01, which may be ``root`` itself, ``base`` by its name."""
    folder, name = (base / path.relative_to(root)).parts[-2:]
    case, frame = _NUMBER.fullmatch(folder), _NUMBER.fullmatch(Path(name).stem)
    return f"{_padded(folder)}/{_padded(Path(name).stem)}" if case and frame else None


def _padded(number: str) -> str:
    return f"{int(number):02}"


def _absolute(root: Path) -> Path:
    """``root`` with the names of the folders above it, links kept."""
    return root.resolve() if ".." in root.parts else root.absolute()
