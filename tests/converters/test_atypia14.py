"""MITOS-ATYPIA-14: rows, frames, scanners and cases."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from conftest import picture, real, table

from converters.atypia14 import parse_rows, read
from converters.errors import InputError
from converters.model import AnnotationSet
from converters.read_options import ReadOptions


def rows(text: str, bad: str = "stop") -> AnnotationSet:
    found = AnnotationSet()
    parse_rows(
        text,
        source="A03_00Aa",
        label="mitosis",
        file="a.csv",
        found=found,
        options=ReadOptions(bad=bad),
    )
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1094,1223,0.8 \n", [(1094, 1223, 0.8, "line 1")]),
        ("5,6,1\r\n\r\n7,8,0.65\r\n", [(5, 6, 1, "line 1"), (7, 8, 0.65, "line 3")]),
        ("5.25,6.5", [(5.25, 6.5, None, "line 1")]),
        ("", []),
        ("  \n\n", []),
    ],
)
def test_rows(text: str, expected: list[tuple[float, float, float | None, str]]) -> None:
    found = rows(text)
    assert [(i.x, i.y, i.confidence, i.where) for i in found.annotations] == expected
    assert all(i.kind == "point" and i.box is None for i in found.annotations)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y,confidence\n", r"a\.csv, line 1: 'x' is not a number"),
        ("5,6,1\n7,abc,1\n", r"a\.csv, line 2: 'abc' is not a number"),
        ("5,nan,1\n", r"line 1: nan is not a finite number"),
        ("5;6;1\n", r"line 1: '5;6;1' has 1 cells, expected x,y,confidence"),
        ("5,6,1,2\n", r"has 4 cells"),
        ("5,,1\n", r"line 1: '' is not a number"),
        ("1_0,5,1\n", r"'1_0' is not a number"),
        ("5,6,1\n7,8,95\n", r"line 2: a confidence of 95\.0, expected 0 to 1"),
        ("7,8,-0.2\n", r"line 1: a confidence of -0\.2, expected 0 to 1"),
    ],
)
def test_a_malformed_row_is_named_or_counted(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rows(text)
    found = rows(text, bad="drop")
    good = sum(line.startswith("5,6,1") and line != "5,6,1,2" for line in text.splitlines())
    assert len(found.annotations) == good
    assert [drop.reason for drop in found.dropped] == ["malformed"]


def test_frames_scanners_and_cases(atypia: Path) -> None:
    found = read(atypia, ReadOptions())
    assert [(i.source, i.case, i.scanner) for i in found.images] == [
        ("A03_00Aa", "03", "Aperio"),
        ("A04_00Aa", "04", "Aperio"),
        ("A05_00Aa", "05", "Aperio"),
        ("H03_00Aa", "03", "Hamamatsu"),
    ]
    assert {(i.width, i.height) for i in found.images} == {(150, 120)}  # not the x20 frames
    assert Counter(i.label for i in found.annotations) == {"mitosis": 8, "imposter": 4}


def test_a_nested_download(atypia: Path) -> None:
    flat = read(atypia, ReadOptions())
    inner = atypia / "A03" / "A03"
    inner.mkdir()
    for name in ("frames", "mitosis"):
        shutil.move(atypia / "A03" / name, inner / name)
    nested = read(atypia, ReadOptions())
    assert [i.source for i in nested.images] == [i.source for i in flat.images]
    shutil.copytree(inner / "mitosis", atypia / "A03" / "mitosis")
    with pytest.raises(InputError, match="the same table as"):
        read(atypia, ReadOptions())


def test_frames_elsewhere(atypia: Path, tmp_path: Path) -> None:
    picture(tmp_path / "frames" / "A03_00Aa.jpg", 80, 70)
    tables = table(tmp_path / "csv" / "A03_00Aa_mitosis.csv", "1,2,1.0").parent
    found = read(tables, ReadOptions(images=tmp_path / "frames"))
    assert [(i.source, i.width, i.height) for i in found.images] == [("A03_00Aa", 80, 70)]


@pytest.mark.parametrize(
    ("spoil", "message", "reason", "lost"),
    [
        ("no frame", r"A03_00Aa_.*\.csv: no frame A03_00Aa", "no_image", 3),
        ("no table", r"A03_00Aa\.png: no annotation file", None, 0),
        ("damaged frame", r"A03_00Aa\.png: not a readable image", "unreadable_image", 3),
        ("damaged table", r"A03_00Aa_mitosis\.csv: not UTF-8", "unreadable_file", 2),
        ("odd name", r"odd\.png: frame name 'odd'", "frame_name", 1),
    ],
)
def test_what_cannot_be_used_stops_or_is_counted(
    atypia: Path, spoil: str, message: str, reason: str | None, lost: int
) -> None:
    frame = atypia / "A03" / "frames" / "x40" / "A03_00Aa.png"
    tables = atypia / "A03" / "mitosis"
    whole = 12
    if spoil == "no frame":
        frame.unlink()
    elif spoil == "no table":
        shutil.rmtree(tables)
        whole -= 3
    elif spoil == "damaged frame":
        frame.write_bytes(b"nothing")
    elif spoil == "damaged table":
        (tables / "A03_00Aa_mitosis.csv").write_bytes(b"1,2,1\n\xff\xfe\n")
        whole -= 1  # the file counts as one
    else:
        picture(atypia / "A03" / "frames" / "x40" / "odd.png")
        table(tables / "odd_mitosis.csv", "1,2,1.0")
        whole += 1
    with pytest.raises(InputError, match=message):
        read(atypia, ReadOptions())
    found = read(atypia, ReadOptions(bad="drop"))
    assert found.read == whole
    assert found.reasons() == ({reason: lost} if reason else {})
    assert len(found.images) == (4 if spoil == "odd name" else 3)
    left_out = [(Path(i.file).stem, i.reason) for i in found.left_out]
    if spoil == "no frame":
        assert not left_out
    else:
        name = "odd" if spoil == "odd name" else "A03_00Aa"
        assert left_out == [(name, reason or "unlabelled")]


def test_no_tables_at_all(tmp_path: Path) -> None:
    picture(tmp_path / "A03_00Aa.png")
    with pytest.raises(InputError, match=r"no \*_mitosis\.csv"):
        read(tmp_path, ReadOptions())


def test_the_real_tables() -> None:
    found = read(real("mitos_atypia_14"), ReadOptions(unlabelled="skip"))
    labels = Counter(item.label for item in found.annotations)
    assert labels == {"mitosis": 441, "imposter": 707}
    mitoses = Counter(item.source[:3] for item in found.annotations if item.label == "mitosis")
    assert (mitoses["H03"], mitoses["H04"]) == (133, 170)
    assert {image.scanner for image in found.images} == {"Hamamatsu"}
    assert not found.dropped
