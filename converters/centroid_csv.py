"""Centroid tables: a row a cell, as anyone writes them and as ours are written.

One table with a column that names the image, or a table an image. Columns are found by the names
in the first row, or are named by the user in the file's order. `row` and `column` are `y` and `x`.

Source: no specification; the tables of AMIDA13, TUPAC16, MITOS-ATYPIA-14 and spreadsheets.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.checked import checked_centroid, checked_confidence, lies_in, number
from converters.dataset_tiles import ANNOTATIONS, BOXES, read_centres
from converters.errors import InputError, OptionError
from converters.files import delimiter_of, read_text
from converters.geometry import Point
from converters.labels import canonical_label
from converters.left_out import Problem
from converters.model import KINDS, Annotation, AnnotationSet
from converters.read_options import ReadOptions
from converters.reading import Reading
from converters.writing import Note

FILE = ANNOTATIONS
COLUMNS = ("source", "case", "label", "x", "y", "width", "height", "confidence", "kind", "left",
           "top")  # fmt: skip

_WORDS = {
    "x": ("x", "col", "column", "centroid_x"),
    "y": ("y", "row", "centroid_y"),
    "image": ("image", "source", "file", "filename", "slide"),
    "label": ("label", "class"),
    "confidence": ("confidence", "score", "probability"),
    "case": ("case", "patient"),
    "width": ("width",),
    "height": ("height",),
    "left": ("left",),
    "top": ("top",),
    "kind": ("kind",),
}
"""What a column holds -> its names; of several in one table, the first."""

_ROLES = {word: role for role, words in _WORDS.items() for word in words}
_UNREAD = "_"
"""Among the user's columns: one that holds nothing of this."""

_BESIDE = ("dropped.csv", "manifest.csv", "augmented.csv")
"""Our own tables that hold no centroids."""

# --- reading ----------------------------------------------------------------------------------


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read a table (or a folder of them) with the images that it is about.

    Parameters
    ----------
    src : Path
        A CSV, or a folder: one that holds an ``annotations.csv`` of ours, else every ``*.csv``.
    options : ReadOptions
        ``columns`` and ``one_based`` say what the file does not.

    Raises
    ------
    OptionError
        ``columns`` has a name that is not known, or not one x and one y.
    InputError
        No table is found; one is malformed, or without header and columns; an image is not there,
        or one has no row or table (each unless ``options`` allow it).
    """
    named = _named(options.columns)
    reading = Reading(src, options)
    expected = "a .csv of the same name"
    taken: dict[str, Path] = {}
    for path in _tables(reading):
        table = None
        with reading.lenient("unreadable_file"):
            table = _parse(read_text(path), named, str(path))
        if table and "image" in table.place:
            expected = f"a row in {path.name}"
            _add_rows(table, reading, None, path)
            continue
        name = "/".join((*path.parts[len(reading.root.parts) : -1], path.stem))
        source = None
        if table or reading.has(name):  # a table of one image is named like it
            with reading.lenient("no_image"):
                source = _image(name, path, reading, taken)
        if table is None:
            reading.unreadable(source, path)
        elif source is not None:
            _add_rows(table, reading, source, path)
    return reading.finish(expected)


def _image(name: str, path: Path, reading: Reading, taken: dict[str, Path]) -> str:
    """Put the image of a table without a column of images into the set."""
    source = reading.image(name, file=path)
    if taken.setdefault(source, path) != path:
        reading.problems[source] = Problem("malformed", "it has two tables")
        raise InputError(f"the image {source} has another table, {taken[source]}", file=path)
    return source


def _tables(reading: Reading) -> list[Path]:
    if reading.src.is_dir() and _is_ours(own := reading.src / FILE):
        return [own]
    paths = [path for path in reading.files(".csv") if path.name not in _BESIDE]
    if not paths:
        raise InputError("no .csv table below this folder", file=reading.src)
    return paths


def _is_ours(path: Path) -> bool:
    """Whether it is the table of a dataset folder or of ``convert --to csv``."""
    if not path.is_file():
        return False
    header = read_text(path).partition("\n")[0].split(",")
    return header[: COLUMNS.index("left")] == list(COLUMNS[: COLUMNS.index("left")])


@dataclass(frozen=True, slots=True)
class _Table:
    """A table: which column holds what, how many there are, and its rows with their lines."""

    place: Mapping[str, int]
    width: int
    rows: list[tuple[int, list[str]]]


def _named(columns: Sequence[str]) -> list[str]:
    """The user's columns, checked."""
    words = [word.strip().lower() for word in columns]
    for word in words:
        if word not in _ROLES and word != _UNREAD:
            raise OptionError(
                f"--columns {word!r:.40} is not known (known: {', '.join(_ROLES)}, and "
                f"{_UNREAD} for one that is not read)"
            )
    times = Counter(_ROLES[word] for word in words if word in _ROLES)
    if words and (max(times.values(), default=0) > 1 or not {"x", "y"} <= set(times)):
        raise OptionError(
            f"--columns {','.join(words):.80}: expected one column of x, one of y, and none twice"
        )
    return words


def _parse(text: str, named: list[str], file: str) -> _Table:
    """A table's columns and rows; ``named`` are the user's columns.

    Raises
    ------
    InputError
        A quote is not closed; there is no header, and no columns are named.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text), strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        where = f"line {reader.line_num}"
        raise InputError(f"not a CSV row ({error})", file=file, where=where) from None
    if not rows:
        return _Table({}, 0, [])
    line, cells = rows[0]
    place, header = _columns(cells, named, file, f"line {line}")
    return _Table(place, len(cells), rows[1:] if header else rows)


def _columns(
    cells: list[str], named: list[str], file: str, where: str
) -> tuple[dict[str, int], bool]:
    """Which column holds what, and whether the first row, ``cells``, is a header."""
    words = [cell.lower() for cell in cells]
    by_order = {_ROLES[word]: i for i, word in enumerate(named) if word in _ROLES}
    asked = [word for word in named if word in _ROLES]
    if named and not set(asked) <= set(words):  # the user's words are not the file's: by order
        more = sum(_is_number(cell) for cell in cells[len(named) :])
        if max(by_order.values()) >= len(cells) or more >= len(named):  # a list of pixels, say
            raise InputError(
                f"{len(cells)} columns, but --columns names {len(named)}",
                file=file,
                where=where,
                fix=f"name all in their order, {_UNREAD} those that are not read",
            )
        header = not any(_is_number(cells[by_order[role]]) for role in ("x", "y"))
        if header and any(_ROLES.get(words[by_order[role]], role) != role for role in ("x", "y")):
            raise InputError(
                f"its first row says {', '.join(cells):.60}, and --columns {','.join(named):.60}",
                file=file,
                where=where,
                fix="leave --columns out, or correct the row",
            )
        return by_order, header
    place = {
        role: words.index(found[0])
        for role, names in _WORDS.items()
        if (found := [name for name in names if name in words])
    } | {_ROLES[word]: words.index(word) for word in asked}
    if not {"x", "y"} <= set(place):
        raise InputError(
            f"no column of x and y (found: {', '.join(cells):.80})",
            file=file,
            where=where,
            fix="name the columns in their order by --columns, for example --columns x,y",
        )
    if twice := [cells[i] for i in place.values() if words.count(words[i]) > 1]:
        raise InputError(f"two columns are called {twice[0]:.40}", file=file, where=where)
    return place, True


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _add_rows(table: _Table, reading: Reading, source: str | None, path: Path) -> None:
    """Add a table's rows; ``source`` is its image, None where a column names each row's."""
    sources: dict[tuple[str, str], str] = {}
    cases: dict[str, str] = {}
    ours = path.name == FILE and _is_ours(path)
    centres = read_centres(path.with_name(BOXES), len(table.rows)) if ours else {}
    for n, (line, cells) in enumerate(table.rows, 1):
        with reading.lenient():
            row = _row(table, cells, str(path), f"line {line}")
            here = source
            if here is None:
                key = (row.text("image"), row.text("case"))
                if key not in sources:
                    sources[key] = _named_image(row, reading, cases)
                here = sources[key]
            base = int(reading.options.one_based)
            reading.add(row.annotation(here, base, centres.get(n)))


def _named_image(row: _Row, reading: Reading, cases: dict[str, str]) -> str:
    """Put the image that a row names into the set."""
    case = row.text("case")
    source = reading.image(row.text("image"), file=row.file, where=row.where, case=case or None)
    if cases.setdefault(source, case) != case:
        raise InputError(
            f"the image {source} is of case {case!r:.40}, and of {cases[source]!r:.40} in a row "
            "before",
            file=row.file,
            where=row.where,
        )
    return source


def _row(table: _Table, cells: list[str], file: str, where: str) -> _Row:
    while len(cells) > table.width and not cells[-1]:  # a delimiter too many
        cells = cells[:-1]
    if len(cells) > table.width:
        raise InputError(f"{len(cells)} cells, expected {table.width}", file=file, where=where)
    return _Row(table.place, cells + [""] * (table.width - len(cells)), file, where)


@dataclass(frozen=True, slots=True)
class _Row:
    """The cells of a row by what they hold."""

    place: Mapping[str, int]
    cells: list[str]
    file: str
    where: str

    def text(self, role: str) -> str:
        """A cell; empty where there is no such column."""
        return self.cells[self.place[role]] if role in self.place else ""

    def number(self, role: str) -> float:
        """A cell that must hold a number."""
        return number(self.text(role), self.file, f"{self.where}, {role}")

    def pair(self, first: str, second: str) -> tuple[float, float] | None:
        """Two cells, both empty or both with a number."""
        if not self.text(first) and not self.text(second):
            return None
        return self.number(first), self.number(second)

    def confidence(self) -> float | None:
        """From 0 to 1; None where the cell is empty."""
        if not self.text("confidence"):
            return None
        return checked_confidence(self.number("confidence"), self.file, self.where)

    def annotation(self, source: str, base: int, centre: Point | None = None) -> Annotation:
        """What the row says; ``base`` is the number of the first pixel, ``centre`` the box's where
        that is another than x, y."""
        x, y = self.number("x") - base, self.number("y") - base
        word, kind = self.text("label"), self.text("kind")
        size, corner = self.pair("width", "height"), self.pair("left", "top")
        box = None
        if size and kind != "point":
            width, height = size
            if min(size) < 0:
                raise InputError(f"a box of {width} x {height} px", file=self.file,
                                 where=self.where)  # fmt: skip
            middle = centre or (x, y)
            left, top = middle[0] - width / 2, middle[1] - height / 2
            if centre and not lies_in((x, y), (left, top, left + width, top + height)):
                raise InputError(
                    f"({x:g}, {y:g}) lies outside the box that {BOXES} has for it",
                    file=self.file,
                    where=self.where,
                    fix=f"are the rows in another order? Take {BOXES} away, or both as they were",
                )
            if corner:
                left, top = corner[0] - base, corner[1] - base
            box = (left, top, left + width, top + height)
            checked_centroid((x, y), box, self.file, self.where)
        return Annotation(
            source=source, label=canonical_label(word) if word else "mitosis", x=x, y=y,
            kind=(kind if kind in KINDS else "box") if box else "point", file=self.file,
            where=self.where, box=box, area=size[0] * size[1] if box and size else None,
            confidence=self.confidence(),
        )  # fmt: skip


# --- writing ----------------------------------------------------------------------------------


def write(found: AnnotationSet, note: Note) -> Iterator[tuple[str, str]]:
    """One ``annotations.csv``, a row an annotation; shapes are their boxes there."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    cases = {image.source: image.case for image in found.images}
    for item in found.annotations:
        size: tuple[float, ...] | tuple[None, ...] = (None, None)
        corner = size
        if item.box:
            left, top, right, bottom = item.box
            size, corner = (right - left, bottom - top), (left, top)
        writer.writerow((item.source, cases[item.source], item.label, item.x, item.y, *size,
                         item.confidence, item.kind, *corner))  # fmt: skip
    # a lone surrogate, as JSON text may hold, is no UTF-8 and is written escaped
    yield FILE, text.getvalue().encode("utf-8", "backslashreplace").decode("utf-8")
