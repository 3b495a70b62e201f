"""SlideRunner's databases: SQLite, as CCMCT, CMC, MIDOG and TUPAC's labels are published.

``Slides`` lists the slides, ``Annotations`` the marks with their type and agreed class,
``Annotations_coordinates`` their points in px of the slide, ``Classes`` the names. A database is
only read: nothing is written to it or beside it.

Source: SlideRunner (Aubreville et al., 2018), its database structure; SQLite documentation, URI
file names.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.checked import number
from converters.errors import InputError
from converters.geometry import Point
from converters.keys import Keys
from converters.labels import canonical_label
from converters.model import AnnotationSet
from converters.read_options import ReadOptions, Size
from converters.reading import Reading
from converters.shapes import Ellipse, Polygon

SUFFIXES = (".sqlite", ".sqlite3", ".db")

_COLUMNS = {
    "Slides": ("uid", "filename"),
    "Annotations": ("uid", "slide", "type", "agreedClass"),
    "Annotations_coordinates": ("coordinateX", "coordinateY", "annoId", "orderIdx"),
    "Classes": ("uid", "name"),
}
_UNWRITTEN = ("-wal", "-journal")  # ends of the names of files beside: what is not yet settled

# Marks and points sorted into one stream, each mark before its points: linear whatever indices
# and types the tables have, as a join is not. Old SlideRunners number all points of a polygon 1,
# so that the order of their rows decides.
_STREAM = """
    SELECT uid, 0, slide, type, agreedClass, {deleted} FROM Annotations
    UNION ALL
    SELECT annoId, 1, orderIdx, rowid, coordinateX, coordinateY FROM Annotations_coordinates
    ORDER BY 1, 2, 3, 4
"""


# --- the database -----------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads and leaves no file, from a medium without writing rights too.

    Raises
    ------
    InputError
        It is no database, or damaged, where that shows inside the block too.
    """
    if not path.is_file():
        raise InputError("no such file", file=path)
    with ExitStack() as stack:
        try:
            database = sqlite3.connect(_uri(path, stack), uri=True)
            stack.callback(database.close)
            database.text_factory = lambda data: data.decode("utf-8", "replace")
            database.execute("PRAGMA temp_store = MEMORY")
            database.execute("PRAGMA trusted_schema = OFF")
            yield database
        except sqlite3.Error as error:
            raise InputError(
                f"cannot be read as an SQLite database ({error})",
                file=path,
                fix="copy or export it again; it may be damaged, or no database",
            ) from None


def _uri(path: Path, stack: ExitStack) -> str:
    """What SQLite opens: the file, immutable, so that it asks for no lock and no file beside it.

    Where a part of the data still stands beside the file, reading it would mean writing it back:
    a copy of all is opened.
    """
    try:
        sides = [path.with_name(path.name + suffix) for suffix in _UNWRITTEN]
        sides = [side for side in sides if side.is_file()]
        if not sides:
            return path.resolve().as_uri() + "?mode=ro&immutable=1"
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for file in (path, *sides):
            shutil.copyfile(file, folder / file.name)
        return (folder / path.name).as_uri()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=path) from None


def _columns(database: sqlite3.Connection, file: str) -> dict[str, set[str]]:
    """The columns of each table that is read.

    Raises
    ------
    InputError
        A table or a needed column is missing.
    """
    # no views: one may go on for ever
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    tables = {name for (name,) in database.execute(query)}
    found: dict[str, set[str]] = {}
    for table, needed in _COLUMNS.items():
        if table not in tables:
            raise InputError(
                f"no table `{table}`: not a SlideRunner database",
                file=file,
                fix="give the .sqlite of SlideRunner",
            )
        found[table] = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        if missing := [column for column in needed if column not in found[table]]:
            raise InputError(f"no column `{missing[0]}`", file=file, where=f"table {table}")
    return found


def _rows(database: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> Iterator[Any]:
    yield from database.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY uid")


@dataclass(slots=True)
class _Mark:
    """A row of ``Annotations`` with its points, cells as they are."""

    uid: Any
    slide: Any
    type: Any
    agreed_class: Any
    deleted: Any
    points: list[tuple[Any, Any]] = field(default_factory=list)


def _marks(database: sqlite3.Connection, deleted: str) -> Iterator[_Mark]:
    """Every mark with its points in order; the points of no mark as one of type _ORPHAN."""
    mark: _Mark | None = None
    for uid, is_point, a, b, c, d in database.execute(_STREAM.format(deleted=deleted)):
        if not is_point:
            if mark:
                yield mark
            mark = _Mark(uid, a, b, c, d)
        else:
            if mark is None or mark.uid != uid:
                if mark:
                    yield mark
                mark = _Mark(uid, None, _ORPHAN, None, 0)
            mark.points.append((c, d))
    if mark:
        yield mark


_ORPHAN = object()


# --- marks ------------------------------------------------------------------------------------


def _spot(points: list[Point], reading: Reading, **facts: Any) -> None:
    reading.point(points[0], **facts)


def _area(points: list[Point], reading: Reading, **facts: Any) -> None:
    (ax, ay), (bx, by) = points
    reading.box((min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)), **facts)


def _polygon(points: list[Point], reading: Reading, **facts: Any) -> None:
    closed = len(points) > 3 and points[0] == points[-1]
    reading.shape(Polygon((tuple(points[:-1] if closed else points),)), kind="polygon", **facts)


def _circle(points: list[Point], reading: Reading, **facts: Any) -> None:
    (ax, ay), (bx, by) = points
    shape = Ellipse((ax + bx) / 2, (ay + by) / 2, abs(bx - ax), abs(by - ay))
    reading.shape(shape, kind="circle", **facts)


@dataclass(frozen=True, slots=True)
class _Type:
    """A type of mark: what it is, how many points it has, what adds it."""

    name: str
    least: int
    most: float
    add: Callable[..., None]


_TYPES: dict[float, _Type] = {
    1: _Type("spot", 1, 1, _spot),
    2: _Type("area", 2, 2, _area),
    3: _Type("polygon", 3, float("inf"), _polygon),
    4: _Type("special spot", 1, 1, _spot),
    5: _Type("circle", 2, 2, _circle),
}


# --- reading ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Slide:
    """A row of ``Slides``."""

    name: str
    size: Size | None
    path: Path
    where: str


@dataclass(slots=True)
class _Call:
    """What the databases of one call say of the slides."""

    reading: Reading
    files: dict[str, Path] = field(default_factory=dict)  # source -> the database with its marks
    marked: set[str] = field(default_factory=set)  # names of slides with a mark
    listed: list[_Slide] = field(default_factory=list)

    def source(self, slide: _Slide) -> str:
        """The source of a slide whose marks stand in one database alone.

        Raises
        ------
        InputError
            Its image is not there, or another database has marks on it.
        """
        self.marked.add(slide.name)
        facts: dict[str, Any] = {"file": slide.path, "where": slide.where, "size": slide.size}
        source = self.reading.image(slide.name, **facts)
        other = self.files.setdefault(source, slide.path)
        if other != slide.path:
            raise InputError(
                f"{other.name} has annotations of the slide {slide.name!r:.60} too",
                file=slide.path,
                where=slide.where,
                fix="give one of the databases: they may be versions of one data set",
            )
        return source


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read a SlideRunner database, or several of different slides.

    Parameters
    ----------
    src : Path
        A database (``.sqlite``, ``.sqlite3``, ``.db``), or a folder of them at any depth.
    options : ReadOptions
        SlideRunner lists every slide that was opened: whether one without annotation holds none
        or was never screened, ``unlabelled`` says. Where only annotations are read, such a slide
        has nothing to give, and is left out and counted.

    Raises
    ------
    InputError
        A database is damaged or of another kind; a row is malformed; a slide has no image or no
        annotation (each unless ``options`` allow it).
    """
    call = _Call(Reading(src, options))
    for path in call.reading.files(*SUFFIXES):
        fine = False
        with call.reading.lenient("unreadable_file"):
            with _opened(path) as database:
                _read_database(database, path, call)
            fine = True
        if not fine:
            call.reading.unreadable(None, path)
            for source in (source for source, file in call.files.items() if file == path):
                call.reading.unreadable(source, path)
    _add_bare(call)
    return call.reading.finish(None)


def _read_database(database: sqlite3.Connection, path: Path, call: _Call) -> None:
    """Add the slides and marks of one database."""
    columns = _columns(database, str(path))
    rows = _rows(database, "Classes", _COLUMNS["Classes"])
    classes = {_key(uid): name for uid, name in rows}
    slides = _slides(database, path, columns["Slides"], call.reading)
    call.listed += slides.values()
    sources: dict[Any, str] = {}
    deleted = "deleted" if "deleted" in columns["Annotations"] else "0"  # older files lack it
    for mark in _marks(database, deleted):
        with call.reading.lenient():
            facts = {"file": str(path), "where": f"Annotations uid {mark.uid!s:.40}"}
            if gone := _gone(mark, facts):
                call.reading.drop("deleted", gone, **facts)
                continue
            slide = _key(mark.slide)
            if slide not in slides:
                raise InputError(f"no slide {mark.slide!r:.40} in `Slides`", **facts)
            if slide not in sources:
                sources[slide] = call.source(slides[slide])
            kind = _TYPES.get(number(mark.type, **facts))
            if kind is None:
                known = ", ".join(f"{key} {kind.name}" for key, kind in _TYPES.items())
                detail = f"type {mark.type!r:.40} marks no cell (known: {known})"
                call.reading.drop("shape", detail, **facts)
                continue
            points = _points(mark, kind, facts)
            facts |= {"source": sources[slide], "label": _label(mark, classes)}
            kind.add(points, call.reading, **facts)


def _slides(
    database: sqlite3.Connection, path: Path, columns: set[str], reading: Reading
) -> dict[Any, _Slide]:
    """The slides by their uid. Their folders, another computer's, count only where two slides
    have one name."""
    names = ("uid", "filename", *(name for name in _FURTHER if name in columns))
    rows = list(_rows(database, "Slides", names))
    times = Counter(row[1] for row in rows)
    slides: dict[Any, _Slide] = {}
    for row in rows:
        with reading.lenient():
            keys = Keys(dict(zip(names, row, strict=True)), str(path), f"Slides uid {row[0]!s:.40}")
            name = keys.text("filename")
            if times[row[1]] > 1:
                name = f"{keys.text('directory', '')}/{name}"
            slides[_key(row[0])] = _Slide(name, keys.size(), path, keys.where)
    return slides


_FURTHER = ("width", "height", "directory")  # what may be known of a slide


def _key(uid: Any) -> Any:
    """A row's id, alike where one table holds it as a number and another as text."""
    return int(uid) if isinstance(uid, str) and uid.isdecimal() and len(uid) < 20 else uid


def _gone(mark: _Mark, facts: dict[str, Any]) -> str | None:
    """Why a mark is none any more, or None."""
    if mark.type is _ORPHAN:
        return f"{len(mark.points)} points left of an annotation that is gone"
    deleted = 0 if mark.deleted is None else mark.deleted
    return "the annotator has deleted it" if number(deleted, **facts) else None


def _points(mark: _Mark, kind: _Type, facts: dict[str, Any]) -> list[Point]:
    """The points of a mark as numbers, as many as its type needs."""
    if not kind.least <= len(mark.points) <= kind.most:
        wanted = f"{kind.least}" if kind.least == kind.most else f"at least {kind.least}"
        raise InputError(
            f"{len(mark.points)} points, expected {wanted} for type {kind.name}", **facts
        )
    return [(number(x, **facts), number(y, **facts)) for x, y in mark.points]


def _label(mark: _Mark, classes: dict[Any, Any]) -> str:
    """The agreed class by its name; `unknown` where the annotators did not agree on a known one."""
    name = classes.get(_key(mark.agreed_class))
    return canonical_label(name) if isinstance(name, str) and name.strip() else "unknown"


def _add_bare(call: _Call) -> None:
    """Decide on the slides that no database annotates."""
    reading = call.reading
    options = reading.options
    bare = [slide for slide in call.listed if slide.name not in call.marked]
    keeps = options.include_unlabelled or options.unlabelled == "background"
    strict = options.unlabelled == "error" and options.bad != "drop"
    if bare and strict and not keeps and not options.annotations_only:
        raise InputError(
            f"no annotation on {bare[0].name!r:.60}, one of {len(bare)} slides without: screened "
            "and free of mitoses, or never screened?",
            file=bare[0].path,
            where=bare[0].where,
            fix="say --unlabelled background (screened) or --unlabelled skip (leave them out)",
        )
    for slide in bare:
        if keeps:
            reading.image(
                slide.name,
                file=slide.path,
                where=slide.where,
                size=slide.size,
                labelled=not options.include_unlabelled,
            )
        else:
            reading.skip(slide.name, "unlabelled", f"no annotation in {slide.path.name}")
