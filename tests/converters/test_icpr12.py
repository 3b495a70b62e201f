"""ICPR 2012: pixel lists, frames and the pictures beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import picture, real, table
from hypothesis import given
from hypothesis import strategies as st

from converters.errors import InputError
from converters.icpr12 import parse, parse_pixels, read
from converters.model import AnnotationSet
from converters.read_options import ReadOptions
from converters.reading import Reading

SQUARE = "10,20,11,20,10,21,11,21"  # four pixels from (10, 20)


def rows(text: str, bad: str = "stop") -> AnnotationSet:
    reading = Reading(Path("in"), ReadOptions(bad=bad), finds=False)
    parse(text, source="A00_01", file="a.csv", reading=reading)
    return reading.found


@pytest.fixture
def icpr(tmp_path: Path) -> Path:
    """Two slides on two scanners; A00_02 has no table, each frame a drawn picture beside."""
    root = tmp_path / "icpr"
    for name in ("A00_01", "A00_02", "H00_01", "A01_00"):
        folder = root / f"{name[:3]}_v2"
        picture(folder / f"{name}.bmp", 70, 60)
        picture(folder / f"{name}.jpg", 70, 60, seed=1)
        if name != "A00_02":
            table(folder / f"{name}.csv", SQUARE, "5,5,6,5,7,5,")
    return root


@pytest.mark.parametrize(
    ("line", "box", "centroid", "area"),
    [
        ("0,0", (0, 0, 1, 1), (0.5, 0.5), 1),
        (SQUARE, (10, 20, 12, 22), (11, 21), 4),
        ("5,9,6,9,7,9", (5, 9, 8, 10), (6.5, 9.5), 3),  # x first
        ("5,9,5,9,6,9", (5, 9, 7, 10), (6, 9.5), 2),  # a pixel twice counts once
        (" 5, 9 ,\t7,9", (5, 9, 8, 10), (6.5, 9.5), 2),
    ],
)
def test_pixels(
    line: str,
    box: tuple[float, ...],
    centroid: tuple[float, float],
    area: float,
) -> None:
    shape = parse_pixels(line, "a.csv", "line 1")
    assert (shape.box, shape.centroid, shape.area) == (box, centroid, area)


@given(
    st.frozensets(
        st.tuples(st.integers(0, 10**9 - 1), st.integers(0, 10**9 - 1)), min_size=1, max_size=40
    )
)
def test_written_pixels_are_read_back(indices: frozenset[tuple[int, int]]) -> None:
    line = ",".join(f"{x},{y}" for x, y in indices)
    assert parse_pixels(line, "a.csv", "line 1").indices == indices


def test_blank_cells_at_the_end_and_blank_lines_are_nothing() -> None:
    found = rows(f"{SQUARE},\r\n\r\n  \n,,,\n1,2, ,\t,\n")
    assert [(i.box, i.where, i.label, i.kind) for i in found.annotations] == [
        ((10, 20, 12, 22), "line 1", "mitosis", "pixels"),
        ((1, 2, 2, 3), "line 5", "mitosis", "pixels"),
    ]
    assert not found.dropped


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,3", r": 3 numbers, expected pairs"),
        ("1,2,x,4", r", number 3: 'x' is no pixel's index"),
        ("1,2,,4", r", number 3: '' is no pixel's index"),
        ("1,2.5", r", number 2: '2\.5' is no pixel's index"),
        ("1,2.0", r", number 2: '2\.0' is no pixel's index"),
        ("1,-2", r", number 2: '-2' is no pixel's index"),
        ("1_0,2", r", number 1: '1_0' is no pixel's index"),
        ("1,٣", r", number 2: '٣' is no pixel's index"),
        ("nan,2", r", number 1: 'nan' is no pixel's index"),
        ("5,1000000000", r", number 2: '1000000000' is no pixel's index"),
        ("5," + "9" * 5000, r", number 2: '9{20,40}.* is no pixel's index"),
        ("1;2", r", number 1: '1;2' is no pixel's index"),
        (",1,2,3", r", number 1: '' is no pixel's index"),
    ],
)
def test_a_malformed_line_is_named_or_counted(line: str, message: str) -> None:
    text = f"{SQUARE}\n{line}\n3,4\n"
    with pytest.raises(
        InputError, match=r"^a\.csv, " + ("" if "line" in message else ".*") + message
    ):
        rows(text)
    found = rows(text, bad="drop")
    assert (found.read, len(found.annotations)) == (3, 2)
    assert [(drop.reason, drop.file) for drop in found.dropped] == [("malformed", "a.csv")]


@given(st.text(st.sampled_from("0123456789,.-_ \n\t;x\u0663"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    found = rows(text, bad="drop")
    lines = [line for line in text.splitlines() if line.strip(", \t")]
    assert found.read == len(lines)
    try:
        assert len(rows(text).annotations) == len(lines)
    except InputError:
        assert found.dropped


def test_a_line_of_many_pixels() -> None:
    line = ",".join(f"{i % 1000},{i // 1000}" for i in range(200_000))
    found = rows(f"{line},{line}")
    assert [(i.area, i.box) for i in found.annotations] == [(200_000, (0, 0, 1000, 200))]


def test_frames_scanners_and_cases(icpr: Path) -> None:
    found = read(icpr, ReadOptions())
    assert [(i.source, i.case, i.scanner, i.size) for i in found.images] == [
        ("A00_01", "00", "Aperio", (70, 60)),
        ("A00_02", "00", "Aperio", (70, 60)),  # no table: no mitosis
        ("A01_00", "01", "Aperio", (70, 60)),
        ("H00_01", "00", "Hamamatsu", (70, 60)),
    ]
    assert all(i.path and i.path.suffix == ".bmp" for i in found.images)
    assert [i.source for i in found.annotations] == ["A00_01"] * 2 + ["A01_00"] * 2 + ["H00_01"] * 2
    assert (found.annotations[1].box, found.annotations[1].area) == ((5, 5, 8, 6), 3)
    assert not found.dropped and not found.left_out


def test_the_multispectral_scanner_and_small_letters(tmp_path: Path) -> None:
    picture(tmp_path / "m02_03.PNG")
    table(tmp_path / "deep" / "er" / "M02_03.CSV", SQUARE)
    found = read(tmp_path, ReadOptions())
    assert [(i.source, i.case, i.scanner) for i in found.images] == [
        ("M02_03", "02", "multispectral")
    ]
    assert found.annotations[0].source == "M02_03"


def test_one_table_is_about_its_frame_alone(icpr: Path) -> None:
    found = read(icpr / "A00_v2" / "A00_01.csv", ReadOptions())
    assert [i.source for i in found.images] == ["A00_01"]
    assert len(found.annotations) == 2


def test_frames_elsewhere(icpr: Path, tmp_path: Path) -> None:
    tables = table(tmp_path / "csv" / "A00_02.csv", SQUARE).parent
    found = read(tables, ReadOptions(images=icpr / "A00_v2"))
    assert [i.source for i in found.images] == ["A00_01", "A00_02"]
    assert [i.source for i in found.annotations] == ["A00_02"]


def test_annotations_only_take_their_size_from_the_preset(icpr: Path) -> None:
    sizes = {"Aperio": (2084, 2084), "Hamamatsu": (2252, 2250)}
    options = ReadOptions(annotations_only=True, frame=lambda scanner, case: sizes.get(scanner))
    found = read(icpr, options)
    assert [(i.source, i.path, i.size) for i in found.images] == [
        ("A00_01", None, (2084, 2084)),
        ("A01_00", None, (2084, 2084)),
        ("H00_01", None, (2252, 2250)),
    ]
    assert found.read == 6


def test_a_drawn_picture_is_no_frame(icpr: Path) -> None:
    (icpr / "A00_v2" / "A00_01.bmp").unlink()
    (icpr / "A00_v2" / "A00_02.bmp").unlink()
    message = r"A00_01\.csv: no image of the frame A00_01 .*; A00_01\.jpg shows the mitoses drawn"
    with pytest.raises(InputError, match=message):
        read(icpr, ReadOptions())
    found = read(icpr, ReadOptions(bad="drop"))
    assert [i.source for i in found.images] == ["A01_00", "H00_01"]
    assert found.reasons() == {"no_image": 2}
    assert [(Path(i.file).name, i.reason) for i in found.left_out] == [("A00_02.jpg", "no_image")]


def test_frames_that_someone_saved_as_jpeg(icpr: Path) -> None:
    for path in icpr.rglob("*.bmp"):
        path.unlink()
    picture(icpr / "logo.png")
    found = read(icpr, ReadOptions(unlabelled="skip"))
    assert [i.path.name for i in found.images if i.path] == [
        "A00_01.jpg",
        "A00_02.jpg",
        "A01_00.jpg",
        "H00_01.jpg",
    ]
    assert [(Path(i.file).name, i.reason) for i in found.left_out] == [("logo.png", "unlabelled")]


@pytest.mark.parametrize(
    ("spoil", "message", "reason", "lost", "images"),
    [
        (
            "no image",
            r"A00_01\.csv: no image of the frame A00_01 below .*--images",
            "no_image",
            2,
            3,
        ),
        ("damaged image", r"A00_01\.bmp: not a readable image", "unreadable_image", 2, 3),
        ("damaged table", r"A00_01\.csv: not UTF-8", "unreadable_file", 1, 3),
        ("other table", r"notes\.csv: not named like A00_01\.csv", "unreadable_file", 1, 4),
        ("other image", r"odd\.png: no annotation file .*named like A00_01", None, 0, 4),
    ],
)
def test_what_cannot_be_used_stops_or_is_counted(
    icpr: Path, spoil: str, message: str, reason: str | None, lost: int, images: int
) -> None:
    folder = icpr / "A00_v2"
    whole = 6
    if spoil == "no image":
        (folder / "A00_01.bmp").unlink()
        (folder / "A00_01.jpg").unlink()
    elif spoil == "damaged image":
        (folder / "A00_01.bmp").write_bytes(b"nothing")
    elif spoil == "damaged table":
        (folder / "A00_01.csv").write_bytes(b"\xff\xfe1,2")
        whole -= 1  # the file counts as one
    elif spoil == "other table":
        table(folder / "notes.csv", "1,2")
        whole += 1
    else:
        picture(folder / "odd.png")
    with pytest.raises(InputError, match=message):
        read(icpr, ReadOptions())
    found = read(icpr, ReadOptions(bad="drop"))
    assert found.read == whole
    assert found.reasons() == ({reason: lost} if reason else {})
    assert len(found.images) == images


def test_another_image_can_be_background(icpr: Path) -> None:
    picture(icpr / "more" / "odd.png")
    found = read(icpr, ReadOptions(unlabelled="background"))
    odd = found.images[-1]
    assert (odd.source, odd.case, odd.scanner) == ("more/odd", "more/odd", "")


@pytest.mark.parametrize("bad", ["stop", "drop"])
def test_without_any_table(tmp_path: Path, bad: str) -> None:
    picture(tmp_path / "A00_01.bmp")
    with pytest.raises(InputError, match=r"no \.csv"):
        read(tmp_path, ReadOptions(bad=bad))
    table(tmp_path / "notes.csv", "1,2")
    with pytest.raises(InputError, match="named like A00_01"):
        read(tmp_path, ReadOptions(bad=bad))


def test_two_files_of_one_name(icpr: Path) -> None:
    table(icpr / "old" / "A00_01.csv", "1,2")
    with pytest.raises(InputError, match=r"old/A00_01\.csv: the same A00_01 as .*A00_v2"):
        read(icpr, ReadOptions())
    (icpr / "old" / "A00_01.csv").unlink()
    picture(icpr / "old" / "A00_01.tif")
    with pytest.raises(InputError, match=r"old/A00_01\.tif: the same A00_01 as .*A00_v2"):
        read(icpr, ReadOptions())


def test_the_real_table() -> None:
    found = read(real("icpr12"), ReadOptions(annotations_only=True))
    assert [(i.source, i.case, i.scanner) for i in found.images] == [("A00_01", "00", "Aperio")]
    assert [item.area for item in found.annotations] == [723, 934, 383, 911, 601]
    first = found.annotations[0]
    assert first.box == (595, 299, 625, 330)
    assert (first.x, first.y) == pytest.approx((609.00207, 315.02559), abs=1e-5)
    assert not found.dropped
