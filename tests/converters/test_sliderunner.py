"""SlideRunner's databases: marks of every type, what is damaged, and the real files."""

from __future__ import annotations

import math
import shutil
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import picture, real, tree

from converters.errors import InputError
from converters.model import AnnotationSet
from converters.read_options import ReadOptions
from converters.shapes import Ellipse, Polygon
from converters.sliderunner import read

ALONE = ReadOptions(annotations_only=True)
DROP = ReadOptions(annotations_only=True, bad="drop")

SCHEMA = """
    CREATE TABLE Slides (uid INTEGER PRIMARY KEY, filename TEXT, width INTEGER, height INTEGER,
        directory TEXT);
    CREATE TABLE Annotations (uid INTEGER PRIMARY KEY, slide INTEGER, guid TEXT,
        deleted INTEGER DEFAULT 0, type INTEGER, agreedClass INTEGER);
    CREATE TABLE Annotations_coordinates (uid INTEGER PRIMARY KEY, coordinateX INTEGER,
        coordinateY INTEGER, slide INTEGER, annoId INTEGER, orderIdx INTEGER);
    CREATE TABLE Classes (uid INTEGER PRIMARY KEY, name TEXT);
"""
CLASSES = ((1, "Hard negative"), (2, "Mitose"), (3, "Tumor region"))
SPOT, AREA, POLYGON, SPECIAL, CIRCLE = 1, 2, 3, 4, 5

Mark = tuple[int, int, int | None, Sequence[tuple[Any, Any]]]
"""Slide, type, class and points."""


def database(
    path: Path,
    slides: Sequence[Sequence[Any]],
    *marks: Mark,
    schema: str = SCHEMA,
    classes: Sequence[Sequence[Any]] = CLASSES,
) -> Path:
    """Write a database with slides (uid, filename, width, height, directory) and marks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("PRAGMA synchronous = OFF")
        made.executescript(schema)
        for slide in slides:
            row = (*slide, *[None] * (5 - len(slide)))
            made.execute("INSERT INTO Slides VALUES (?, ?, ?, ?, ?)", row)
        made.executemany("INSERT INTO Classes (uid, name) VALUES (?, ?)", classes)
        for uid, (slide, kind, cell, points) in enumerate(marks, 1):
            made.execute(
                "INSERT INTO Annotations (uid, slide, type, agreedClass) VALUES (?, ?, ?, ?)",
                (uid, slide, kind, cell),
            )
            for order, (x, y) in enumerate(points, 1):
                made.execute(
                    "INSERT INTO Annotations_coordinates (coordinateX, coordinateY, slide, "
                    "annoId, orderIdx) VALUES (?, ?, ?, ?, ?)",
                    (x, y, slide, uid, order),
                )
    return path


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as opened, opened:
        opened.execute("PRAGMA synchronous = OFF")
        for statement in statements:
            opened.execute(statement)


def left_out(found: AnnotationSet) -> list[tuple[str, str]]:
    return [(Path(item.file).name, item.reason) for item in found.left_out]


ONE = [(4, "a.svs", 640, 480)]
MITOSIS: Mark = (4, SPOT, 2, [(30, 40)])


# --- marks ------------------------------------------------------------------------------------


def test_every_type_of_mark(tmp_path: Path) -> None:
    src = database(
        tmp_path / "d.sqlite",
        ONE,
        (4, SPOT, 2, [(30, 40.5)]),
        (4, AREA, 1, [(60, 20), (10, 50)]),
        (4, POLYGON, 2, [(0, 0), (30, 0), (0, 60), (0, 0)]),
        (4, SPECIAL, 0, [(7, 8)]),
        (4, CIRCLE, 2, [(100, 40), (80, 60)]),
    )
    found = read(src, ALONE)
    spot, area, polygon, special, circle = found.annotations
    assert (spot.kind, spot.x, spot.y, spot.box, spot.label) == ("point", 30, 40.5, None, "mitosis")
    assert (spot.source, spot.file, spot.where) == ("a", str(src), "Annotations uid 1")
    assert (area.kind, area.box, area.area) == ("box", (10, 20, 60, 50), 1500)
    assert (area.x, area.y, area.label) == (35, 35, "imposter")
    assert (polygon.kind, polygon.box, polygon.area) == ("polygon", (0, 0, 30, 60), 900)
    assert (polygon.x, polygon.y) == (10, 20)
    assert polygon.shape == Polygon((((0, 0), (30, 0), (0, 60)),))  # closed without a repetition
    assert (special.kind, special.x, special.y, special.label) == ("point", 7, 8, "unknown")
    assert (circle.kind, circle.shape) == ("circle", Ellipse(90, 50, 20, 20))
    assert (circle.box, circle.area) == ((80, 40, 100, 60), pytest.approx(100 * math.pi))
    assert all(item.confidence is None for item in found.annotations)
    (info,) = found.images
    assert (info.source, info.case, info.size, info.path) == ("a", "a", (640, 480), None)
    assert (found.dropped, found.left_out) == ([], [])


RING = ((0, 0), (9, 0), (9, 9), (0, 9), (4, 5))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE Annotations_coordinates SET orderIdx = 1",  # as old SlideRunners write it
        "UPDATE Annotations_coordinates SET orderIdx = NULL",
        "UPDATE Annotations_coordinates SET uid = 100 - uid",  # rows turned round
        "UPDATE Annotations_coordinates SET uid = 100 - uid, orderIdx = 10 * orderIdx",
    ],
)
def test_points_of_a_polygon_keep_their_order(tmp_path: Path, statement: str) -> None:
    src = database(tmp_path / "d.sqlite", ONE, (4, POLYGON, 2, RING), (4, POLYGON, 2, RING[::-1]))
    change(src, statement)
    assert [item.shape for item in read(src, ALONE).annotations] == [
        Polygon((RING,)),
        Polygon((RING[::-1],)),
    ]


def test_classes_go_by_their_names(tmp_path: Path) -> None:
    names = ["Mitosis", "mitotic figure", "mitosis-like", "Non-mitosis", "Mast cell", None, " "]
    marks: list[Mark] = [(4, SPOT, uid, [(5, 9)]) for uid in (*range(1, 8), 99, 0, None)]
    src = database(tmp_path / "d.sqlite", ONE, *marks, classes=list(enumerate(names, 1)))
    assert [item.label for item in read(src, ALONE).annotations] == [
        *("mitosis", "mitosis", "imposter", "imposter", "Mast cell"),
        *["unknown"] * 5,
    ]


def test_deleted_marks_are_counted(tmp_path: Path) -> None:
    src = database(tmp_path / "d.sqlite", ONE, *[MITOSIS] * 3)
    change(
        src,
        "UPDATE Annotations SET deleted = 1 WHERE uid = 1",
        "UPDATE Annotations SET deleted = NULL WHERE uid = 2",
        "DELETE FROM Annotations_coordinates WHERE annoId = 1",
    )
    found = read(src, ALONE)
    assert [item.where for item in found.annotations] == [
        "Annotations uid 2",
        "Annotations uid 3",
    ]
    assert [(drop.where, drop.reason) for drop in found.dropped] == [
        ("Annotations uid 1", "deleted")
    ]


def test_points_left_of_a_removed_mark_are_counted(tmp_path: Path) -> None:
    marks: list[Mark] = [(4, AREA, 2, [(0, 0), (9, 9)]), MITOSIS, (4, AREA, 2, [(1, 1), (9, 9)])]
    src = database(tmp_path / "d.sqlite", ONE, *marks)
    change(src, "DELETE FROM Annotations WHERE uid IN (1, 3)")
    found = read(src, ALONE)
    assert [item.where for item in found.annotations] == ["Annotations uid 2"]
    assert [(drop.where, drop.reason, drop.detail) for drop in found.dropped] == [
        (f"Annotations uid {uid}", "deleted", "2 points left of an annotation that is gone")
        for uid in (1, 3)
    ]


def test_old_files_have_fewer_columns(tmp_path: Path) -> None:
    old = SCHEMA.replace("guid TEXT,", "").replace("deleted INTEGER DEFAULT 0,", "")
    found = read(database(tmp_path / "d.sqlite", ONE, MITOSIS, schema=old), ALONE)
    assert (len(found.annotations), found.dropped) == (1, [])
    bare = database(tmp_path / "e.sqlite", [(4, "a.svs")], MITOSIS)
    change(bare, *(f"ALTER TABLE Slides DROP {name}" for name in ("width", "height", "directory")))
    assert [info.size for info in read(bare, ALONE).images] == [None]


def test_unknown_types_are_counted(tmp_path: Path) -> None:
    src = database(tmp_path / "d.sqlite", ONE, (4, 7, 2, [(1, 1)]), MITOSIS, (4, 255, 2, []))
    found = read(src, ALONE)
    assert (len(found.annotations), found.reasons()) == (1, {"shape": 2})
    assert found.dropped[0].detail.startswith("type 7 marks no cell (known: 1 spot, 2 area, ")


def test_a_mark_without_extent_is_counted(tmp_path: Path) -> None:
    src = database(tmp_path / "d.sqlite", ONE, (4, AREA, 2, [(5, 5), (5, 9)]), MITOSIS)
    assert read(src, ALONE).reasons() == {"no_extent": 1}


# --- slides -----------------------------------------------------------------------------------


def test_slides_are_found_by_name_and_trusted_for_their_size(tmp_path: Path) -> None:
    picture(tmp_path / "x" / "a.tif", 64, 48)
    picture(tmp_path / "x" / "b.v2.png", 40, 30)
    slides = [(4, "a.tif", 9, 9, "C:\\old"), (5, "b.v2.png")]
    src = database(tmp_path / "d.sqlite", slides, MITOSIS, (5, SPOT, 2, [(1, 1)]))
    found = read(src, ReadOptions())
    assert [(info.source, info.case, info.size) for info in found.images] == [
        ("a", "a", (64, 48)),
        ("b.v2", "b.v2", (40, 30)),
    ]
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"d\.sqlite, Slides uid 4: no image 'a\.tif'"):
        read(src, ReadOptions(images=tmp_path / "none"))
    (tmp_path / "x" / "a.tif").unlink()
    found = read(src, ReadOptions(bad="drop"))
    assert (len(found.annotations), found.reasons()) == (1, {"no_image": 1})


def test_slides_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    slides = [(4, "a.png", None, None, "/home/x/one"), (5, "a.png", None, None, "/home/x/two")]
    src = database(tmp_path / "d.sqlite", slides, MITOSIS, (5, SPOT, 1, [(1, 1)]))
    picture(tmp_path / "one" / "a.png", 64, 48)
    picture(tmp_path / "two" / "a.png", 40, 30)
    found = read(src, ReadOptions())
    assert [(item.source, item.label) for item in found.annotations] == [
        ("one/a", "mitosis"),
        ("two/a", "imposter"),
    ]
    assert [info.size for info in found.images] == [(64, 48), (40, 30)]


TWO = [(4, "a.png", 64, 48), (6, "b.png", 40, 30)]


@pytest.fixture
def pictured(tmp_path: Path) -> Path:
    """A database of two slides, one with a mark, one with a deleted one; and a third image."""
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / name)
    src = database(tmp_path / "d.sqlite", TWO, MITOSIS, (6, SPOT, 2, [(1, 1)]))
    change(src, "UPDATE Annotations SET deleted = 1 WHERE uid = 2")
    return src


def test_a_slide_without_annotation_asks_for_a_word(pictured: Path) -> None:
    message = r"Slides uid 6: no annotation on 'b\.png', one of 1 slides without.*--unlabelled back"
    with pytest.raises(InputError, match=message):
        read(pictured, ReadOptions())


@pytest.mark.parametrize("options", [{"unlabelled": "skip"}, {"bad": "drop"}])
def test_a_slide_without_annotation_is_left_out(pictured: Path, options: dict[str, str]) -> None:
    (pictured.parent / "b.png").write_text("damaged, and never opened")
    found = read(pictured.parent, ReadOptions(**options))
    assert [info.source for info in found.images] == ["a"]
    assert sorted(left_out(found)) == [("b.png", "unlabelled"), ("c.png", "unlabelled")]
    assert ("no annotation in d.sqlite") in {item.detail for item in found.left_out}


def test_a_slide_without_annotation_is_kept(pictured: Path) -> None:
    found = read(pictured, ReadOptions(unlabelled="background"))
    assert [(info.source, info.labelled) for info in found.images] == [("a", True), ("b", True)]
    found = read(pictured, ReadOptions(include_unlabelled=True))
    assert [(info.source, info.labelled) for info in found.images] == [("a", True), ("b", False)]
    (pictured.parent / "b.png").unlink()
    with pytest.raises(InputError, match=r"Slides uid 6: no image 'b\.png'"):
        read(pictured, ReadOptions(unlabelled="background"))


def test_where_only_annotations_are_read_such_a_slide_has_nothing_to_give(pictured: Path) -> None:
    found = read(pictured, ALONE)
    assert [info.source for info in found.images] == ["a"]
    assert left_out(found) == [("b.png", "unlabelled")]
    found = read(pictured, ReadOptions(annotations_only=True, unlabelled="background"))
    assert [(info.source, info.size) for info in found.images] == [("a", (64, 48)), ("b", (40, 30))]


def test_several_databases(tmp_path: Path) -> None:
    database(tmp_path / "one" / "d.sqlite", TWO, MITOSIS)
    database(tmp_path / "two.db", [(1, "b.png"), (2, "c.png")], (1, SPOT, 2, [(1, 1)]))
    found = read(tmp_path, ALONE)
    assert [item.source for item in found.annotations] == ["a", "b"]
    assert left_out(found) == [("c.png", "unlabelled")]
    database(tmp_path / "v2.sqlite3", TWO, MITOSIS, MITOSIS)
    with pytest.raises(InputError, match=r"v2\.sqlite3, Slides uid 4: d\.sqlite has annotations"):
        read(tmp_path, ALONE)
    found = read(tmp_path, DROP)
    assert (len(found.annotations), found.reasons()) == (2, {"malformed": 2})


# --- what is damaged --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ((4, SPOT, 2, []), "0 points, expected 1 for type spot"),
        ((4, SPOT, 2, [(1, 1), (2, 2)]), "2 points, expected 1 for type spot"),
        ((4, AREA, 2, [(1, 1)]), "1 points, expected 2 for type area"),
        ((4, POLYGON, 2, [(1, 1), (2, 3)]), "2 points, expected at least 3 for type polygon"),
        ((4, SPECIAL, 2, [(1, 1), (2, 2)]), "2 points, expected 1 for type special spot"),
        ((4, CIRCLE, 2, [(1, 1), (2, 2), (3, 3)]), "3 points, expected 2 for type circle"),
        ((4, SPOT, 2, [(None, 1)]), "None is not a number"),
        ((4, SPOT, 2, [(1, "here")]), "'here' is not a number"),
        ((4, SPOT, 2, [(b"\xff\x00", 1)]), "is not a number"),
        ((4, SPOT, 2, [(1e308, 1)]), "1e.308 is too large"),
        ((4, SPOT, 2, [(1, float("inf"))]), "inf is not a finite number"),
        ((4, "spot", 2, [(1, 1)]), "'spot' is not a number"),
        ((4, None, 2, [(1, 1)]), "None is not a number"),
        ((5, SPOT, 2, [(1, 1)]), "no slide 5 in `Slides`"),
        ((None, SPOT, 2, [(1, 1)]), "no slide None in `Slides`"),
    ],
)
def test_malformed_marks(tmp_path: Path, mark: Any, message: str) -> None:
    src = database(tmp_path / "d.sqlite", ONE, MITOSIS, mark, MITOSIS)
    with pytest.raises(InputError, match=rf"d\.sqlite, Annotations uid 2: .*{message}"):
        read(src, ALONE)
    found = read(src, DROP)
    assert (len(found.annotations), found.reasons()) == (2, {"malformed": 1})


def test_text_that_is_no_utf_8_spoils_its_mark_alone(tmp_path: Path) -> None:
    src = database(tmp_path / "d.sqlite", ONE, MITOSIS, MITOSIS)
    spoil = "UPDATE {} SET {} = CAST(X'ff' AS TEXT) WHERE uid = {}"
    change(
        src,
        spoil.format("Annotations_coordinates", "coordinateY", 2),
        spoil.format("Classes", "name", 3),
    )
    with pytest.raises(InputError, match=r"Annotations uid 2: '\ufffd' is not a number"):
        read(src, ALONE)
    assert (len(read(src, DROP).annotations), read(src, DROP).reasons()) == (1, {"malformed": 1})


def test_text_that_is_a_number_is_read_as_one(tmp_path: Path) -> None:
    loose = SCHEMA.replace("type INTEGER", "type TEXT").replace(
        "agreedClass INTEGER", "agreedClass"
    )
    loose = loose.replace("slide INTEGER, guid", "slide TEXT, guid").replace("X INTEGER", "X TEXT")
    src = database(tmp_path / "d.sqlite", ONE, MITOSIS, schema=loose)
    change(src, "UPDATE Annotations SET agreedClass = '2', type = '1.0'")
    (item,) = read(src, ALONE).annotations
    assert (item.source, item.x, item.y, item.label) == ("a", 30, 40, "mitosis")


@pytest.mark.parametrize(
    ("slide", "message"),
    [
        ((4, None), "key `filename`: expected text"),
        ((4, b"\xff"), "key `filename`: expected text"),
        ((4, "a.png", "wide", 9), "key `width`: 'wide' is not a number"),
        ((4, "a.png", 9.5, 9), "key `width`: expected a whole number"),
        ((4, "../"), "names no image"),
    ],
)
def test_malformed_slides(tmp_path: Path, slide: Sequence[Any], message: str) -> None:
    src = database(tmp_path / "d.sqlite", [slide, (5, "b.png")], MITOSIS, (5, SPOT, 2, [(1, 1)]))
    with pytest.raises(InputError, match=rf"d\.sqlite, Slides uid 4.*{message}"):
        read(src, ALONE)
    found = read(src, DROP)
    assert [item.source for item in found.annotations] == ["b"]
    assert set(found.reasons()) == {"malformed"}


@pytest.mark.parametrize("size", [(0, 0), (None, 9), (-5, 9)])
def test_a_size_that_is_none_is_unknown(tmp_path: Path, size: tuple[Any, Any]) -> None:
    src = database(tmp_path / "d.sqlite", [(4, "a.png", *size)], MITOSIS)
    assert [info.size for info in read(src, ALONE).images] == [None]


def _damaged_page(path: Path) -> None:
    many: list[Mark] = [(4, SPOT, 2, [(i, 9)]) for i in range(2000)]
    database(path, ONE, *many)
    data = bytearray(path.read_bytes())
    data[8192:] = bytes(len(data) - 8192)
    path.write_bytes(data)


def _cut_off(path: Path) -> None:
    database(path, ONE, *[MITOSIS] * 2000)
    path.write_bytes(path.read_bytes()[:5000])


def _view(path: Path) -> None:
    """A view that gives rows for ever."""
    database(path, ONE, MITOSIS)
    change(
        path,
        "DROP TABLE Classes",
        "CREATE VIEW Classes AS WITH RECURSIVE n(uid, name) AS "
        "(SELECT 1, 'x' UNION ALL SELECT uid + 1, 'x' FROM n) SELECT * FROM n",
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text("x" * 5000), "cannot be read as an SQLite database"),
        (lambda path: path.write_bytes(b""), "no table `Slides`: not a SlideRunner database"),
        (_damaged_page, "cannot be read as an SQLite database"),
        (_cut_off, "cannot be read as an SQLite database"),
        (_view, "no table `Classes`"),
        (
            lambda path: database(
                path, [], schema=SCHEMA.replace("Annotations_coordinates", "C"), classes=[]
            ),
            "no table `Annotations_coordinates`",
        ),
        (
            lambda path: database(path, [], schema=SCHEMA.replace("orderIdx", "o"), classes=[]),
            "table Annotations_coordinates: no column `orderIdx`",
        ),
        (
            lambda path: database(path, [], schema=SCHEMA.replace("agreedClass", "a"), classes=[]),
            "table Annotations: no column `agreedClass`",
        ),
    ],
)
@pytest.mark.parametrize("unlabelled", ["background", "error"])
def test_a_database_that_cannot_be_read_makes_no_slide_negative(
    tmp_path: Path, damage: Any, message: str, unlabelled: str
) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    damage(tmp_path / "d.sqlite")
    database(tmp_path / "e.sqlite", [(1, "b.png")], (1, SPOT, 2, [(1, 1)]))
    with pytest.raises(InputError, match=rf"d\.sqlite.*{message}"):
        read(tmp_path, ReadOptions(unlabelled=unlabelled))
    found = read(tmp_path, ReadOptions(bad="drop", unlabelled=unlabelled))
    assert [info.source for info in found.images] == ["b"]
    assert found.reasons() == {"unreadable_file": 1}
    assert left_out(found) == [("a.png", "unreadable_file")]


def test_damage_met_halfway_takes_the_slides_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from converters import sliderunner

    whole = sliderunner._marks

    def half(*arguments: Any) -> Any:
        marks = list(whole(*arguments))
        yield marks[0]
        if len(marks) > 1:
            raise sqlite3.DatabaseError("database disk image is malformed")

    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    database(tmp_path / "c.sqlite", [(6, "b.png")], (6, SPOT, 1, [(1, 1)]))
    database(tmp_path / "d.sqlite", [(4, "a.png")], MITOSIS, MITOSIS)
    monkeypatch.setattr(sliderunner, "_marks", half)
    found = read(tmp_path, ReadOptions(bad="drop", unlabelled="background"))
    assert [info.source for info in found.images] == ["b"]
    assert [item.source for item in found.annotations] == ["b"]
    assert found.reasons() == {"unreadable_file": 2}
    assert left_out(found) == [("a.png", "unreadable_file")]


def test_no_database(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.sqlite: no such file"):
        read(tmp_path / "no.sqlite", ALONE)
    with pytest.raises(InputError, match=r"no \.sqlite or .*below this folder"):
        read(tmp_path, ALONE)


# --- only read --------------------------------------------------------------------------------


def test_nothing_is_written_beside_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from converters import sliderunner

    whole, during = sliderunner._columns, list[list[str]]()

    def spied(*arguments: Any) -> Any:
        found = whole(*arguments)
        during.append([path.name for path in tmp_path.iterdir()])
        return found

    monkeypatch.setattr(sliderunner, "_columns", spied)
    src = database(tmp_path / "odd name #1?50%.sqlite", ONE, MITOSIS)
    change(src, "PRAGMA journal_mode = WAL", "INSERT INTO Classes VALUES (9, 'x')")
    assert src.read_bytes()[18] == 2  # WAL, and settled
    before = tree(tmp_path)
    assert list(before) == [src.name]
    tmp_path.chmod(0o555)
    try:
        assert len(read(src, ALONE).annotations) == 1
    finally:
        tmp_path.chmod(0o755)
    assert tree(tmp_path) == before
    assert during == [[src.name]]


def test_what_still_stands_beside_the_file_is_read_too(tmp_path: Path) -> None:
    made = database(tmp_path / "made" / "d.sqlite", ONE, MITOSIS)
    with closing(sqlite3.connect(made)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        with writer:
            writer.execute("INSERT INTO Annotations VALUES (2, 4, NULL, 0, 1, 2)")
            writer.execute("INSERT INTO Annotations_coordinates VALUES (2, 5, 6, 4, 2, 1)")
        shutil.copytree(made.parent, tmp_path / "copy")  # as after a crash
    assert (tmp_path / "copy" / "d.sqlite-wal").stat().st_size
    before = tree(tmp_path / "copy")
    found = read(tmp_path / "copy" / "d.sqlite", ALONE)
    assert [(item.x, item.y) for item in found.annotations] == [(30, 40), (5, 6)]
    assert tree(tmp_path / "copy") == before


def test_what_was_never_finished_is_not_read(tmp_path: Path) -> None:
    made = database(tmp_path / "made" / "d.sqlite", ONE, *[MITOSIS] * 500)
    with closing(sqlite3.connect(made)) as writer:
        writer.execute("PRAGMA cache_size = 1")  # so that the change reaches the file at once
        writer.execute("UPDATE Annotations_coordinates SET coordinateX = 7")
        writer.execute("UPDATE Annotations SET agreedClass = 1")
        shutil.copytree(made.parent, tmp_path / "copy")
        writer.rollback()
    assert (tmp_path / "copy" / "d.sqlite-journal").stat().st_size
    before = tree(tmp_path / "copy")
    found = read(tmp_path / "copy" / "d.sqlite", ALONE)
    assert {(item.x, item.label) for item in found.annotations} == {(30, "mitosis")}
    assert tree(tmp_path / "copy") == before


# --- hostile cells ----------------------------------------------------------------------------


def test_wrong_cells_anywhere(tmp_path: Path) -> None:
    marks: list[Mark] = [
        (4, SPOT, 2, [(30, 40)]),
        (4, AREA, 1, [(1, 1), (9, 9)]),
        (6, POLYGON, 2, [(0, 0), (9, 0), (0, 9)]),
    ]
    loose = SCHEMA.replace(" INTEGER PRIMARY KEY", "").replace(" INTEGER", "").replace(" TEXT", "")
    made = database(tmp_path / "made.sqlite", TWO, *marks, schema=loose)
    wrong = ("'x'", "''", "X'ff00'", "NULL", "-1", "0.5", "1e308", "9e999", "9223372036854775807")
    cells = [
        (table, column)
        for table, columns in {
            "Slides": ("uid", "filename", "width", "height", "directory"),
            "Annotations": ("uid", "slide", "deleted", "type", "agreedClass"),
            "Annotations_coordinates": ("coordinateX", "coordinateY", "annoId", "orderIdx"),
            "Classes": ("uid", "name"),
        }.items()
        for column in columns
    ]
    src, stopped = tmp_path / "d.sqlite", 0
    for table, column in cells:
        for value in wrong:
            for rows in ("rowid = 1", "1"):
                shutil.copyfile(made, src)
                change(src, f"UPDATE {table} SET {column} = {value} WHERE {rows}")
                try:
                    read(src, ALONE)
                except InputError as error:
                    stopped += 1
                    assert error.file and error.where and "\n" not in str(error)
                found = read(src, DROP)
                if table == "Annotations" and column != "uid":
                    assert found.read == 3, (table, column, value)
                known = {info.source for info in found.images}
                assert all(item.source in known for item in found.annotations)
    assert stopped > 50


# --- the real files ---------------------------------------------------------------------------


def test_the_real_tupac_database() -> None:
    found = read(real("tupac16_al") / "TUPAC_stitched.sqlite", ALONE)
    assert Counter(item.label for item in found.annotations) == {"mitosis": 1552}
    assert [(i.source, i.kind, i.x, i.y) for i in found.annotations[:2]] == [
        ("01_stitched1", "point", 11397, 10980),
        ("01_stitched1", "point", 11803, 10911),
    ]
    assert (len(found.images), len(found.left_out), found.dropped) == (66, 7, [])
    assert {info.size for info in found.images} == {None}
    assert found.images[0].case == "01_stitched1"


def test_the_real_midog_database() -> None:
    found = read(real("midog") / "MIDOG_AperioCS2.sqlite", ALONE)
    assert Counter(i.label for i in found.annotations) == {"mitosis": 688, "imposter": 924}
    assert [(i.source[:8], i.label, i.x, i.y) for i in found.annotations[:2]] == [
        ("eccf8c22", "imposter", 5140, 1967),
        ("37fa644c", "imposter", 2366, 652),
    ]
    assert (len(found.images), found.left_out, found.dropped) == (50, [], [])
    sizes = {info.source[:8]: info.size for info in found.images}
    assert sizes["eccf8c22"] == (6504, 4866)
    assert sum(size is None for size in sizes.values()) == 5
