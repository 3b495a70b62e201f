"""Centroid tables: columns by name or order, tables of one image or of many, ours and anyone's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import picture, table
from hypothesis import given
from hypothesis import strategies as st
from random_sets import prepared_sets, say, written_and_read

from converters import centroid_csv
from converters.errors import InputError, OptionError
from converters.model import Annotation, AnnotationSet, ImageInfo
from converters.read_options import ReadOptions


def options(**more: Any) -> ReadOptions:
    return ReadOptions(**{"annotations_only": True, **more})


def parse(tmp_path: Path, *rows: str, columns: str = "", **more: Any) -> AnnotationSet:
    file = table(tmp_path / "t.csv", *rows)
    words = tuple(columns.split(",")) if columns else ()
    return centroid_csv.read(file, options(columns=words, **more))


Row = tuple[str, str, float, float, float | None]


def rows(found: AnnotationSet) -> list[Row]:
    return [(i.source, i.label, i.x, i.y, i.confidence) for i in found.annotations]


# --- columns ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "lines", "expected"),
    [
        # by the header
        ("", ["x,y", "10,20.5", "3,4"], [(10, 20.5, None), (3, 4, None)]),
        ("", ["Row,Column", "10,20"], [(20, 10, None)]),
        ("", ["id,centroid_y,centroid_x,Probability", "7,10,20,0.5"], [(20, 10, 0.5)]),
        ("", ["x;y;score", "10;20;", "1;2;0"], [(10, 20, None), (1, 2, 0)]),
        ("", ["x\ty", "10\t20"], [(10, 20, None)]),
        ("", ['"x","y"', '"10","20"'], [(10, 20, None)]),
        ("", ["row,col,x,y", "1,2,30,40"], [(30, 40, None)]),
        # named by the user, in the file's order
        ("x,y", ["10,20", "3,4"], [(10, 20, None), (3, 4, None)]),
        ("row,col", ["839,2"], [(2, 839, None)]),
        ("x,y,confidence", ["1094,1223,0.8 ", "5,6,"], [(1094, 1223, 0.8), (5, 6, None)]),
        ("_,x,y", ["a,10,20"], [(10, 20, None)]),
        ("x,y", ["10,20,note"], [(10, 20, None)]),
        (" X , Y ", ["10,20"], [(10, 20, None)]),
        # a header that the user's names replace
        ("x,y", ["cx,cy", "10,20"], [(10, 20, None)]),
        ("row,col", ["cy,cx", "10,20"], [(20, 10, None)]),
        # a header that has the user's names: by name, in any order
        ("y,x", ["x,y", "10,20"], [(10, 20, None)]),
        ("row,col", ["x,y,row,col", "10,20,30,40"], [(40, 30, None)]),
        # blank lines and cells are no rows; a delimiter too many is no cell
        ("", ["", "x,y", "", "10,20,", ",", "  ", "3,4"], [(10, 20, None), (3, 4, None)]),
        ("x,y", ["10,20", "", ",", "3,4,"], [(10, 20, None), (3, 4, None)]),
        ("", ["x,y"], []),
        ("", [], []),
    ],
)
def test_columns(
    tmp_path: Path,
    columns: str,
    lines: list[str],
    expected: list[tuple[float, float, float | None]],
) -> None:
    found = parse(tmp_path, *lines, columns=columns)
    assert rows(found) == [("t", "mitosis", *numbers) for numbers in expected]
    assert all((item.kind, item.box) == ("point", None) for item in found.annotations)
    assert [image.source for image in found.images] == ["t"]


@pytest.mark.parametrize(
    ("columns", "lines", "message"),
    [
        ("x,y", ["10,20,11,20,12,21"], "6 columns, but --columns names 2; name all"),
        ("x,y", ["cx,cy,score", "1,2,0.5"], ""),  # words: a header
        ("x,y", ["1,2,0.5"], ""),
        ("row,col", ["x,y", "10,20"], "its first row says x, y, and --columns row,col"),
        ("image,row,col", ["image,x,y", "a,10,20"], "its first row says"),
    ],
)
def test_columns_that_contradict_the_table(
    tmp_path: Path, columns: str, lines: list[str], message: str
) -> None:
    if not message:
        assert len(parse(tmp_path, *lines, columns=columns).annotations) == 1
        return
    with pytest.raises(InputError, match=message):
        parse(tmp_path, *lines, columns=columns)


def test_lines_are_named(tmp_path: Path) -> None:
    found = parse(tmp_path, "x,y", "", "10,20")
    assert found.annotations[0].where == "line 3"
    assert found.annotations[0].file == str(tmp_path / "t.csv")


def test_one_based(tmp_path: Path) -> None:
    assert rows(parse(tmp_path, "1,2000", columns="row,col", one_based=True)) == [
        ("t", "mitosis", 1999, 0, None)
    ]
    text = ["x,y,width,height,left,top", "11,21,4,6,9,18"]
    [item] = parse(tmp_path, *text, one_based=True).annotations
    assert (item.x, item.y, item.box) == (10, 20, (8, 17, 12, 23))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("x,why", "--columns 'why' is not known"),
        ("x", "--columns x: expected one column of x, one of y"),
        ("x,col,y", "--columns x,col,y: expected one column of x, one of y, and none twice"),
        ("x,y,score,confidence", "none twice"),
        ("_,_", "expected one column of x"),
    ],
)
def test_columns_that_make_no_table(tmp_path: Path, columns: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse(tmp_path, "1,2", columns=columns)


@pytest.mark.parametrize(
    ("columns", "lines", "message"),
    [
        ("", ["10,20"], r"line 1: no column of x and y \(found: 10, 20\); .*--columns x,y"),
        ("", ["x,z", "1,2"], r"line 1: no column of x and y \(found: x, z\)"),
        ("", ["x,y,X", "1,2,3"], "line 1: two columns are called x"),
        ("x,y,score", ["1,2"], "line 1: 2 columns, but --columns names 3"),
        ("", ['x,y', '1,"2'], "line 2: not a CSV row"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read(
    tmp_path: Path, columns: str, lines: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=rf"t\.csv, {message}"):
        parse(tmp_path, *lines, columns=columns)
    found = parse(tmp_path, *lines, columns=columns, bad="drop")
    assert (found.reasons(), found.images) == ({"unreadable_file": 1}, [])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("10,abc,,,", "line 3, y: 'abc' is not a number"),
        (",20,,,", "line 3, x: '' is not a number"),
        ("10", "line 3, y: '' is not a number"),
        ("10,nan,,,", "line 3, y: nan is not a finite"),
        ("10,1e13,,,", "line 3, y: 1e13 is too large"),
        ("10,20,,,,7", "line 3: 6 cells, expected 5"),
        ("10,20,4,,", "line 3, height: '' is not a number"),
        ("10,20,4,-6,", "line 3: a box of 4.0 x -6.0 px"),
        ("10,20,,,sure", "line 3, confidence: 'sure' is not a number"),
    ],
)
def test_a_malformed_row_stops_or_is_counted(tmp_path: Path, row: str, message: str) -> None:
    lines = ("x,y,width,height,confidence", "1,2,,,", row)
    with pytest.raises(InputError, match=rf"t\.csv, {message}"):
        parse(tmp_path, *lines)
    found = parse(tmp_path, *lines, bad="drop")
    assert (len(found.annotations), found.reasons(), found.read) == (1, {"malformed": 1}, 2)


@pytest.mark.parametrize("first", ["10,abc", "abc,10"])
def test_half_a_header_is_a_damaged_row(tmp_path: Path, first: str) -> None:
    with pytest.raises(InputError, match=r"t\.csv, line 1, [xy]: 'abc' is not a number"):
        parse(tmp_path, first, "1,2", columns="x,y")


cells = st.text(alphabet='0123456789.,;"\t\n -exyna', max_size=30)


@given(cells, st.sampled_from([(), ("x", "y"), ("row", "col", "score")]))
def test_no_text_crashes_the_reader(
    tmp_path_factory: pytest.TempPathFactory, text: str, columns: tuple[str, ...]
) -> None:
    file = tmp_path_factory.mktemp("csv") / "t.csv"
    file.write_text(text)
    try:
        stopped = not centroid_csv.read(file, options(columns=columns))
    except InputError:
        stopped = True
    found = centroid_csv.read(file, options(columns=columns, bad="drop"))
    assert not stopped or found.dropped


# --- what a row says --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "kind", "box"),
    [
        ("10,20,4,6,,,", "box", (8, 17, 12, 23)),
        ("10,20,4,6,9,18,", "box", (9, 18, 13, 24)),
        ("10,20,4,6,9,18,ellipse", "ellipse", (9, 18, 13, 24)),
        ("10,20,4,6,9,18,point", "point", None),
        ("10,20,4,6,,,whatever", "box", (8, 17, 12, 23)),
        ("10,20,,,,,ellipse", "point", None),
        ("10,20,,,9,18,", "point", None),
    ],
)
def test_boxes_and_kinds(
    tmp_path: Path, row: str, kind: str, box: tuple[float, ...] | None
) -> None:
    [item] = parse(tmp_path, "x,y,width,height,left,top,kind", row).annotations
    assert (item.kind, item.box, item.x, item.y) == (kind, box, 10, 20)
    assert item.area == (24 if box else None)


@pytest.mark.parametrize("corner", ["10.1,18", "5,18", "9,20.1", "9,13"])
def test_a_centroid_lies_in_its_box(tmp_path: Path, corner: str) -> None:
    with pytest.raises(InputError, match=r"line 2: the centroid \(10, 20\) lies outside its box"):
        parse(tmp_path, "x,y,width,height,left,top", f"10,20,4,6,{corner}")


def test_a_box_without_extent_is_dropped(tmp_path: Path) -> None:
    found = parse(tmp_path, "x,y,width,height", "10,20,0,6", "10,20,1,6")
    assert (len(found.annotations), found.reasons()) == (1, {"no_extent": 1})


def test_classes(tmp_path: Path) -> None:
    found = parse(tmp_path, "x,y,Class", "1,2,Non-mitosis", "3,4,", "5,6,Lymphocyte")
    assert [item.label for item in found.annotations] == ["imposter", "mitosis", "Lymphocyte"]


def test_many_images_in_one_table(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        picture(tmp_path / "pictures" / f"{name}.png")
    table(
        tmp_path / "all.csv", "filename,patient,x,y", "a.png,P1,1,2", "x/b.tif,P2,3,4",
        "a.png,P1,5,6",
    )  # fmt: skip
    with pytest.raises(InputError, match=r"c\.png: no annotation file .*a row in all\.csv"):
        centroid_csv.read(tmp_path, ReadOptions())
    found = centroid_csv.read(tmp_path, ReadOptions(unlabelled="background"))
    assert [(i.source, i.case, i.size) for i in found.images] == [
        ("a", "P1", (64, 48)), ("b", "P2", (64, 48)), ("c", "c", (64, 48))
    ]  # fmt: skip
    assert [(row[0], row[2]) for row in rows(found)] == [("a", 1), ("b", 3), ("a", 5)]


def test_an_image_is_of_one_case(tmp_path: Path) -> None:
    lines = ("image,case,x,y", "a,P1,1,2", "a,P2,3,4", "a,P1,5,6", ",P1,7,8")
    with pytest.raises(InputError, match=r"line 3: the image a is of case 'P2', and of 'P1'"):
        parse(tmp_path, *lines)
    found = parse(tmp_path, *lines, bad="drop")
    assert [row[2] for row in rows(found)] == [1, 5]
    assert found.reasons() == {"malformed": 2}
    assert parse(tmp_path, "image,case,x,y", "a,,1,2").images[0].case == "a"


def test_a_missing_image(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    table(tmp_path / "t.csv", "image,x,y", "a,1,2", "b,3,4", "b,5,6")
    with pytest.raises(InputError, match=r"t\.csv, line 3: no image 'b' below"):
        centroid_csv.read(tmp_path, ReadOptions())
    found = centroid_csv.read(tmp_path, ReadOptions(bad="drop"))
    assert (found.reasons(), found.read) == ({"no_image": 2}, 3)


def test_a_table_an_image(tmp_path: Path) -> None:
    for name in ("01/01", "01/02", "02/01"):
        picture(tmp_path / "frames" / f"{name}.png")
        table(tmp_path / "truth" / f"{name}.csv", *(["8,9"] if name != "01/02" else []))
    found = centroid_csv.read(
        tmp_path / "truth", ReadOptions(images=tmp_path / "frames", columns=("row", "col"))
    )
    assert [image.source for image in found.images] == ["01/01", "02", "02/01"]
    assert rows(found) == [
        ("01/01", "mitosis", 9, 8, None), ("02/01", "mitosis", 9, 8, None)
    ]  # fmt: skip
    picture(tmp_path / "frames" / "03.png")
    with pytest.raises(InputError, match=r"03\.png: no annotation file .*a \.csv of the same name"):
        centroid_csv.read(
            tmp_path / "truth", ReadOptions(images=tmp_path / "frames", columns=("row", "col"))
        )


def test_two_tables_of_one_image(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    for name in ("x/a", "y/a", "b"):
        table(tmp_path / f"{name}.csv", "x,y", "1,2")
    with pytest.raises(InputError, match=r"y/a\.csv: the image a has another table, .*x/a\.csv"):
        centroid_csv.read(tmp_path, ReadOptions())
    found = centroid_csv.read(tmp_path, ReadOptions(bad="drop"))
    assert [image.source for image in found.images] == ["b"]
    assert (found.read, len(found.annotations)) == (3, 1)


@pytest.mark.parametrize("unlabelled", ["background", "skip"])
@pytest.mark.parametrize(("name", "left_out"), [("b", ["b"]), ("all", ["b", "c"])])
def test_what_a_damaged_table_may_be_about_is_never_background(
    tmp_path: Path, unlabelled: str, name: str, left_out: list[str]
) -> None:
    for image in ("a", "b", "c"):
        picture(tmp_path / f"{image}.png")
    table(tmp_path / "a.csv", "x,y", "1,2")
    (tmp_path / f"{name}.csv").write_bytes(b"x,y\n1,\xff")
    found = centroid_csv.read(tmp_path, ReadOptions(bad="drop", unlabelled=unlabelled))
    assert {out.reason for out in found.left_out if Path(out.file).stem in left_out} == {
        "unreadable_file"
    }
    kept = {"a", "c"} if unlabelled == "background" else {"a"}
    assert {image.source for image in found.images} == kept - set(left_out)
    assert found.reasons() == {"unreadable_file": 1}


def test_a_folder_without_tables(tmp_path: Path) -> None:
    table(tmp_path / "dropped.csv", "file,where,reason,detail")
    with pytest.raises(InputError, match=r"no \.csv table below this folder"):
        centroid_csv.read(tmp_path, options())


# --- ours -------------------------------------------------------------------------------------

OURS = "source,case,label,x,y,width,height,confidence,kind"


def test_our_own_folder_is_its_annotations(tmp_path: Path) -> None:
    table(tmp_path / "annotations.csv", OURS, "s,P1,imposter,10,20,4,6,0.5,ellipse")
    table(tmp_path / "dropped.csv", "file,where,reason,detail")
    table(tmp_path / "other.csv", "anything")
    found = centroid_csv.read(tmp_path, options())
    [item] = found.annotations
    assert (item.source, item.label, item.kind, item.confidence) == (
        "s",
        "imposter",
        "ellipse",
        0.5,
    )
    assert item.box == (8, 17, 12, 23)  # without left and top, around the centroid
    assert found.images[0].case == "P1"


def test_boxes_of_our_own_folder_lie_where_they_were(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    file = table(tmp_path / "d" / "annotations.csv",
                 "source,case,label,x,y,width,height,confidence,kind",
                 "a,a,mitosis,20,20,30,10,,box", "a,a,mitosis,60,20,30,10,,polygon")  # fmt: skip
    table(tmp_path / "d" / "boxes.csv", "annotation,x,y", "2,65,18")
    for src in (tmp_path / "d", file):
        found = centroid_csv.read(src, options())
        assert [item.box for item in found.annotations] == [(5, 15, 35, 25), (50, 13, 80, 23)]
        assert [(item.x, item.y) for item in found.annotations] == [(20, 20), (60, 20)]
    table(tmp_path / "d" / "boxes.csv", "annotation,x,y", "3,65,18")
    with pytest.raises(InputError, match="annotation 3, expected 1 to 2"):
        centroid_csv.read(tmp_path / "d", options())
    table(tmp_path / "d" / "boxes.csv", "annotation,x,y", "1,65,18")  # sorted in between
    with pytest.raises(InputError, match=r"line 2: \(20, 20\) lies outside the box that boxes.csv"):
        centroid_csv.read(tmp_path / "d", options())


def test_anybodys_boxes_are_a_table(tmp_path: Path) -> None:
    for name in ("points.csv", "boxes.csv"):
        table(tmp_path / "d" / name, "image,x,y", f"{name[0]},10,20")
    assert len(centroid_csv.read(tmp_path / "d", options()).annotations) == 2


@pytest.mark.parametrize("confidence", ["95", "-0.1", "1.01"])
def test_a_confidence_is_from_0_to_1(tmp_path: Path, confidence: str) -> None:
    rows = ("x,y,score", "10,20,1", f"30,40,{confidence}")
    with pytest.raises(
        InputError, match=f"line 3.*confidence of {float(confidence)}, expected 0 to 1"
    ):
        parse(tmp_path, *rows)
    found = parse(tmp_path, *rows, bad="drop")
    assert [drop.reason for drop in found.dropped] == ["malformed"]


def test_what_is_written() -> None:
    image = ImageInfo(source="s, 1", path=None, width=0, height=0, case='P "1"')
    found = AnnotationSet(
        images=[image],
        annotations=[
            Annotation(source="s, 1", label="mitosis", x=0.1, y=1 / 3, kind="ellipse", file="f",
                       where="w", box=(0.0, 0.25, 2.0, 1.0), confidence=0.8),
            Annotation(source="s, 1", label="imposter", x=5, y=6, kind="point", file="f",
                       where="w"),
        ],
    )  # fmt: skip
    assert dict(centroid_csv.write(found, say)) == {
        "annotations.csv": OURS + ",left,top\n"
        '"s, 1","P ""1""",mitosis,0.1,0.3333333333333333,2.0,0.75,0.8,ellipse,0.0,0.25\n'
        '"s, 1","P ""1""",imposter,5,6,,,,point,,\n'
    }


def test_a_lone_surrogate_is_escaped() -> None:
    image = ImageInfo(source="a", path=None, width=0, height=0, case="\ud800")
    item = Annotation(source="a", label="mitosis", x=1, y=2, kind="point", file="f", where="w")
    [(_, text)] = centroid_csv.write(AnnotationSet(images=[image], annotations=[item]), say)
    assert b"a,\\ud800,mitosis" in text.encode()


@given(prepared_sets)
def test_written_and_read(found: AnnotationSet) -> None:
    back = written_and_read(found, centroid_csv.write, centroid_csv.read)
    marked = {item.source for item in found.annotations}
    assert [(i.source, i.case) for i in back.images] == [
        (i.source, i.case) for i in found.images if i.source in marked
    ]
    assert len(back.annotations) == len(found.annotations)
    for a, b in zip(found.annotations, back.annotations, strict=True):
        assert (b.source, b.label, b.kind, b.confidence) == (
            a.source,
            a.label,
            a.kind,
            a.confidence,
        )
        assert (b.x, b.y) == (a.x, a.y)
        assert b.box == (None if a.kind == "point" else pytest.approx(a.box, abs=1e-6))
