"""AMIDA13 and TUPAC16: rows, folders by case, and who has no labels."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from conftest import picture, real, table
from hypothesis import given
from hypothesis import strategies as st

from converters.amida13 import parse, read
from converters.errors import InputError
from converters.model import AnnotationSet
from converters.read_options import ReadOptions
from converters.reading import Reading


def rows(text: str, bad: str = "stop", one_based: bool = False) -> AnnotationSet:
    reading = Reading(Path("in"), ReadOptions(bad=bad, one_based=one_based), finds=False)
    parse(text, reading=reading, source="01/01", label="mitosis", file="a.csv")
    return reading.found


@pytest.fixture
def tupac(tmp_path: Path) -> Path:
    """Cases 01 (three frames, one without table), 02 (nothing found) and 24."""
    root = tmp_path / "tupac"
    for part, name in ((1, "01/01"), (1, "01/02"), (1, "01/03"), (2, "02/01"), (3, "24/01")):
        picture(root / f"mitoses_image_data_part_{part}" / f"{name}.tif", 70, 60)
    truth = root / "mitoses_ground_truth"
    table(truth / "01" / "01.csv", "20,30", "5,6")
    table(truth / "01" / "03.csv")
    (truth / "02").mkdir()
    table(truth / "24" / "01.csv", "7,8")
    return root


@pytest.fixture
def alternative(tupac: Path) -> Path:
    """As the alternative labels: look-alikes in a folder beside."""
    truth = tupac / "nonmitoses_ground_truth"
    table(truth / "01" / "02.csv", "40,50", "41,10", "42,11")
    table(truth / "24" / "01.csv", "9,10")
    return tupac


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("839,2\n", [(2, 839, "line 1")]),  # row first, so y first
        ("5,6\r\n\r\n7.5, 8 \r\n", [(6, 5, "line 1"), (8, 7.5, "line 3")]),
        ("5,6,\n,,\n", [(6, 5, "line 1")]),  # blank cells at the end
        ("", []),
        ("  \n\n", []),
    ],
)
def test_rows(text: str, expected: list[tuple[float, float, str]]) -> None:
    found = rows(text)
    assert [(i.x, i.y, i.where) for i in found.annotations] == expected
    assert all(i.kind == "point" and i.box is None for i in found.annotations)


def test_one_based_rows() -> None:
    found = rows("839,2\n1,1\n", one_based=True)
    assert [(i.x, i.y) for i in found.annotations] == [(1, 838), (0, 0)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("row,col", "'row' is not a number"),
        ("5", "'5' has 1 cell"),
        ("5,6,0.9", r"'5,6,0\.9' has 3 cell.*expected row,col"),
        ("5,,6", "has 3 cell"),
        (",6", "'' is not a number"),
        ("5,nan", "nan is not a finite number"),
        ("5,1e400", "is too large|not a finite"),
        ("5;6", "has 1 cell"),
        ("1_0,5", "'1_0' is not a number"),
    ],
)
def test_a_malformed_row_is_named_or_counted(line: str, message: str) -> None:
    text = f"1,2\n{line}\n3,4\n"
    with pytest.raises(InputError, match=rf"^a\.csv, line 2: .*({message})"):
        rows(text)
    found = rows(text, bad="drop")
    assert [(i.x, i.y) for i in found.annotations] == [(2, 1), (4, 3)]
    assert [(drop.reason, drop.where) for drop in found.dropped] == [("malformed", "line 2")]


@given(st.text(st.sampled_from("0123456789,.-_e \n\t;x\u0663"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    found = rows(text, bad="drop")
    assert found.read == sum(bool(line.strip(", \t")) for line in text.splitlines())
    try:
        assert rows(text).read == found.read
    except InputError:
        assert found.dropped


# --- folders ----------------------------------------------------------------------------------


def test_frames_and_cases(tupac: Path) -> None:
    found = read(tupac, ReadOptions())
    assert [(i.source, i.case, i.size, i.file_stem) for i in found.images] == [
        ("01/01", "01", (70, 60), "01_01"),
        ("01/02", "01", (70, 60), "01_02"),  # no table in a case that has some: no mitosis
        ("01/03", "01", (70, 60), "01_03"),  # an empty table
        ("02/01", "02", (70, 60), "02_01"),  # an empty folder
        ("24/01", "24", (70, 60), "24_01"),
    ]
    assert [(i.source, i.x, i.y, i.label) for i in found.annotations] == [
        ("01/01", 30, 20, "mitosis"),
        ("01/01", 6, 5, "mitosis"),
        ("24/01", 8, 7, "mitosis"),
    ]
    assert not found.dropped and not found.left_out


def test_alternative_labels(alternative: Path) -> None:
    found = read(alternative, ReadOptions())
    assert Counter((i.source, i.label) for i in found.annotations) == {
        ("01/01", "mitosis"): 2,
        ("24/01", "mitosis"): 1,
        ("01/02", "imposter"): 3,
        ("24/01", "imposter"): 1,
    }
    assert len(found.images) == 5


@pytest.mark.parametrize(
    ("src", "images", "expected"),
    [
        ("mitoses_ground_truth", ".", ["01/01", "01/02", "01/03", "02/01", "24/01"]),
        ("mitoses_ground_truth/01", "mitoses_image_data_part_1", ["01/01", "01/02", "01/03"]),
        ("mitoses_ground_truth/01", "mitoses_image_data_part_1/01", ["01/01", "01/02", "01/03"]),
        ("mitoses_ground_truth/01/01.csv", ".", ["01/01"]),
    ],
)
def test_parts_of_the_download(
    tupac: Path, src: str, images: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read(tupac / src, ReadOptions(images=tupac / images))
    assert [i.source for i in found.images] == expected
    folder = tupac / src
    if folder.is_dir():  # named by where the shell is
        monkeypatch.chdir(folder)
        assert read(Path(), ReadOptions(images=tupac / images)).images == found.images
        (folder / "down").mkdir()
        monkeypatch.chdir(folder / "down")
        again = read(Path(".."), ReadOptions(images=tupac / images))
        assert [i.source for i in again.images] == expected


def test_tables_beside_their_images(tmp_path: Path) -> None:
    picture(tmp_path / "data" / "1" / "7.png")
    picture(tmp_path / "data" / "2" / "1.png")
    table(tmp_path / "data" / "1" / "7.csv", "5,6")
    found = read(tmp_path, ReadOptions(unlabelled="skip"))
    assert [(i.source, i.case) for i in found.images] == [("01/07", "01")]
    assert [(i.source, i.label) for i in found.annotations] == [("01/07", "mitosis")]
    assert [(Path(i.file).name, i.reason) for i in found.left_out] == [("1.png", "unlabelled")]


def test_one_source_keeps_its_case(tmp_path: Path) -> None:
    picture(tmp_path / "25" / "01.tif")
    table(tmp_path / "mitoses_ground_truth" / "25" / "01.csv", "5,6")
    found = read(tmp_path, ReadOptions())
    assert [i.source for i in found.images] == ["25/01"]
    assert [i.source for i in found.annotations] == ["25/01"]


def test_annotations_only(alternative: Path) -> None:
    options = ReadOptions(
        annotations_only=True, frame=lambda scanner, case: (2000, 2000) if case == "01" else None
    )
    found = read(alternative, options)
    assert [(i.source, i.path, i.size) for i in found.images] == [
        ("01/01", None, (2000, 2000)),
        ("01/02", None, (2000, 2000)),  # look-alikes alone
        ("01/03", None, (2000, 2000)),
        ("24/01", None, None),
    ]
    assert found.read == 7


def test_a_case_that_nobody_labelled(tupac: Path) -> None:
    picture(tupac / "mitoses_image_data_part_3" / "30" / "01.tif")
    with pytest.raises(InputError, match=r"30/01\.tif: no annotation file.*expected 30/01\.csv"):
        read(tupac, ReadOptions())
    skipped = read(tupac, ReadOptions(unlabelled="skip"))
    assert [(Path(i.file).parent.name, i.reason) for i in skipped.left_out] == [
        ("30", "unlabelled")
    ]
    assert len(skipped.images) == 5
    kept = read(tupac, ReadOptions(unlabelled="background"))
    assert [i.source for i in kept.images][-1] == "30/01"


@pytest.mark.parametrize(
    "folder", ["mitoses-test-image-data", "Mitosis_detection_testing_dataset/images"]
)
def test_the_test_set_begins_again_at_case_01(tupac: Path, folder: str) -> None:
    picture(tupac / folder / "01" / "01.tif", 99, 98)
    picture(tupac / folder / "34" / "01.tif", 99, 98)
    with pytest.raises(InputError, match=r"01/01\.tif: no annotation file"):
        read(tupac, ReadOptions())
    skipped = read(tupac, ReadOptions(unlabelled="skip"))
    assert skipped.images == read(tupac, ReadOptions(bad="drop")).images
    assert {i.size for i in skipped.images} == {(70, 60)}
    assert len(skipped.left_out) == 2
    kept = read(tupac, ReadOptions(unlabelled="background"))
    assert [(i.source, i.case) for i in kept.images][-2:] == [
        (f"{folder}/01/01", f"{folder}/01"),
        (f"{folder}/34/01", f"{folder}/34"),
    ]
    assert len(kept.annotations) == 3


def test_a_test_set_with_labels_of_ones_own(tmp_path: Path) -> None:
    images = tmp_path / "mitoses-test-image-data"
    picture(images / "05" / "01.tif")
    truth = table(tmp_path / "mine" / "05" / "01.csv", "5,6").parents[1]
    found = read(truth, ReadOptions(images=images))  # named as such, it is no stranger
    assert [i.source for i in found.images] == ["05/01"]


def test_an_image_of_another_name(tupac: Path) -> None:
    picture(tupac / "mitoses_image_data_part_1" / "01" / "thumb.png")
    with pytest.raises(InputError, match=r"thumb\.png: no annotation file"):
        read(tupac, ReadOptions(images=tupac / "mitoses_image_data_part_1"))
    assert len(read(tupac, ReadOptions(unlabelled="skip")).images) == 5


@pytest.mark.parametrize(
    ("spoil", "message", "reason", "lost", "images"),
    [
        ("no image", r"01/01\.csv: no image of the frame 01/01 .*--images", "no_image", 2, 4),
        ("damaged image", r"01/01\.tif: not a readable image", "unreadable_image", 2, 4),
        ("damaged table", r"01/01\.csv: not UTF-8", "unreadable_file", 1, 4),
        ("other table", r"01/a\.csv: not a table.*CASE/FRAME", "unreadable_file", 1, 5),
        ("another's table", None, None, 0, 5),
    ],
)
def test_what_cannot_be_used_stops_or_is_counted(
    tupac: Path, spoil: str, message: str | None, reason: str | None, lost: int, images: int
) -> None:
    image = tupac / "mitoses_image_data_part_1" / "01" / "01.tif"
    truth = tupac / "mitoses_ground_truth" / "01"
    whole = 3
    if spoil == "no image":
        image.unlink()
    elif spoil == "damaged image":
        image.write_bytes(b"nothing")
    elif spoil == "damaged table":
        (truth / "01.csv").write_bytes(b"\xff\xfe1,2")
        whole -= 1  # the file counts as one
    elif spoil == "other table":
        table(truth / "a.csv", "1,2")
        whole += 1
    else:  # the proliferation scores of the challenge's other task
        table(tupac / "training_ground_truth.csv", "1,-0.5")
    if message:
        with pytest.raises(InputError, match=message):
            read(tupac, ReadOptions())
    found = read(tupac, ReadOptions(bad="drop" if message else "stop"))
    assert found.read == whole
    assert found.reasons() == ({reason: lost} if reason else {})
    assert len(found.images) == images


@pytest.mark.parametrize("bad", ["stop", "drop"])
def test_without_ground_truth(tupac: Path, bad: str) -> None:
    shutil.rmtree(tupac / "mitoses_ground_truth")
    with pytest.raises(InputError, match=r"no \.csv"):
        read(tupac, ReadOptions(bad=bad))
    table(tupac / "notes.csv", "1,2")
    with pytest.raises(InputError, match="no table CASE/FRAME"):
        read(tupac, ReadOptions(bad=bad))


def test_look_alikes_alone_say_nothing_about_mitoses(alternative: Path) -> None:
    look_alikes = alternative / "nonmitoses_ground_truth"
    for src in (look_alikes, look_alikes / "01", look_alikes / "01" / "02.csv"):
        with pytest.raises(InputError, match="only tables of look-alikes"):
            read(src, ReadOptions(images=alternative))
    for path in (alternative / "mitoses_ground_truth").rglob("*.csv"):
        path.unlink()
    found = read(alternative, ReadOptions())  # its folders are there, and say: none
    assert {i.label for i in found.annotations} == {"imposter"}
    assert len(found.images) == 5


def test_two_files_of_one_name(tupac: Path) -> None:
    shutil.copytree(tupac / "mitoses_ground_truth", tupac / "old" / "mitoses_ground_truth")
    with pytest.raises(InputError, match=r"old/.*: the same 01/01 as .*01\.csv"):
        read(tupac, ReadOptions())
    shutil.rmtree(tupac / "old")
    picture(tupac / "old" / "01" / "01.png")
    with pytest.raises(InputError, match=r"old/01/01\.png: the same 01/01 as .*01\.tif"):
        read(tupac, ReadOptions())


def test_the_real_alternative_labels() -> None:
    folder = real("tupac16_al")
    found = read(folder, ReadOptions(annotations_only=True))
    assert Counter(i.label for i in found.annotations) == {"mitosis": 244, "imposter": 1203}
    assert Counter(i.case for i in found.images) == {
        "01": 39, "02": 28, "03": 16, "10": 10, "25": 1, "31": 1, "46": 1, "64": 1,
    }  # fmt: skip
    first = [(i.source, i.x, i.y) for i in found.annotations if i.label == "mitosis"][:3]
    assert first == [("01/01", 2, 839), ("01/01", 1586, 778), ("01/02", 1229, 514)]
    assert next((i.x, i.y) for i in found.annotations if i.label == "imposter") == (1199, 184)
    assert not found.dropped
    mitoses = read(folder / "mitoses_ground_truth", ReadOptions(annotations_only=True))
    assert mitoses.read == 244
