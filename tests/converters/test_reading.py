"""How every reader finds images and accounts for what it cannot use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import picture

from converters.checked import number
from converters.errors import InputError
from converters.images import image_size
from converters.keys import Keys
from converters.model import AnnotationSet
from converters.pictures import stem
from converters.read_options import ReadOptions
from converters.reading import Reading
from converters.shapes import Ellipse


def reading(root: Path, **options: Any) -> Reading:
    return Reading(root, ReadOptions(**options))


def sources(found: AnnotationSet) -> list[tuple[str, str, int]]:
    return [(image.source, image.case, image.width) for image in found.images]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a.png", "a"),
        ("a", "a"),
        ("a.jpg", "a"),  # exported under another suffix
        ("C:\\tiles\\a.png", "a"),
        ("/etc/../a.png", "a"),
        ("http://server/a.png", "a"),
        ("x:.png", "x:"),  # no drive, a name
        ("../../a.png", "a"),
        ("b.c", "b.c"),  # no suffix of an image
        ("b.c.png", "b.c"),
        ("one/twin.png", "one/twin"),
        ("data/two/twin.png", "two/twin"),
        ("data/two/twin.tif", "two/twin"),
    ],
)
def test_an_image_is_found_by_the_name_in_the_file(tmp_path: Path, name: str, source: str) -> None:
    for i, path in enumerate(("x/a.png", "b.c.png", "one/twin.png", "two/twin.png", "x:.png")):
        picture(tmp_path / path, 60 + i)
    found = reading(tmp_path, unlabelled="skip")
    key = found.image(name, file="f.json")
    found.point((1, 2), source=key, label="mitosis", file="f.json", where="w")
    result = found.finish("a file")
    # alone in the set, a file name without folders is enough
    assert [image.source for image in result.images] == [source.rpartition("/")[2]]
    assert [item.source for item in result.annotations] == [source.rpartition("/")[2]]
    assert result.images[0].case == result.images[0].source
    assert len(result.left_out) == 4


def test_sources_of_one_name_keep_their_folders(tmp_path: Path) -> None:
    for path in ("one/twin.png", "two/twin.png", "two/other.png"):
        picture(tmp_path / path)
    found = reading(tmp_path)
    for name in ("one/twin.png", "two/twin.png", "two/other.png"):
        found.image(name, file="f.json", case="C" if "other" in name else None)
    assert sources(found.finish("a file")) == [
        ("one/twin", "one/twin", 64),
        ("other", "C", 64),
        ("two/twin", "two/twin", 64),
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("c.png", r"f\.json, row 3: no image 'c\.png' below .*--annotations-only"),
        ("twin.png", r"2 images fit the name 'twin\.png': one/twin\.png, two/twin\.png"),
        ("three/twin.png", r"2 images fit"),
        ("..", r"'\.\.' names no image"),
        ("", r"'' names no image"),
        ("\0", r"no image"),
    ],
)
def test_a_name_that_no_image_has(tmp_path: Path, name: str, message: str) -> None:
    for path in ("one/twin.png", "two/twin.png"):
        picture(tmp_path / path)
    with pytest.raises(InputError, match=message):
        reading(tmp_path).image(name, file="f.json", where="row 3")


def test_without_the_image_its_marks_are_counted(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    found = reading(tmp_path, bad="drop")
    for name in ("a.png", "c.png", "c.png"):
        key = found.image(name, file="f.json")
        found.box((1, 2, 3, 5), source=key, label="mitosis", file="f.json", where=name)
    result = found.finish(None)
    assert result.read == 3 and result.reasons() == {"no_image": 2}
    assert sources(result) == [("a", "a", 64)]
    (item,) = result.annotations
    assert (item.x, item.y, item.box, item.area, item.kind) == (2, 3.5, (1, 2, 3, 5), 6, "box")


def test_the_image_is_trusted_more_than_the_file(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 64, 48)
    found = reading(tmp_path)
    found.image("a", file="f", size=(640, 480))
    assert found.size("a") == (64, 48)
    (image,) = found.finish("a file").images
    assert image.said == (640, 480)
    found = reading(tmp_path, annotations_only=True, frame=lambda scanner, case: (7, len(case)))
    found.image("a.tif", file="f", size=(640, 480))
    found.image("b", file="f", case="0123")
    assert found.size("a") == (640, 480) and found.size("b") == (7, 4)
    result = found.finish("a file")
    assert [image.file_name for image in result.images] == ["a.tif", "b"]
    assert all(image.path is None for image in result.images)
    nothing = reading(tmp_path, annotations_only=True)
    assert nothing.size(nothing.image("a", file="f")) is None


@pytest.mark.parametrize(
    ("unlabelled", "bad", "expected", "kept"),
    [
        ("error", "stop", "a.txt", None),
        ("error", "drop", "a.txt", ["b"]),
        ("skip", "stop", "a.txt", ["b"]),
        ("background", "stop", "a.txt", ["a", "b"]),
        ("error", "stop", None, ["b"]),
        ("skip", "stop", None, ["b"]),
        ("background", "stop", None, ["a", "b"]),
    ],
)
def test_an_image_that_no_file_names(
    tmp_path: Path, unlabelled: str, bad: str, expected: str | None, kept: list[str] | None
) -> None:
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    found = reading(tmp_path, unlabelled=unlabelled, bad=bad)
    found.image("b", file="f")
    if kept is None:
        with pytest.raises(InputError, match=r"a\.png: no annotation file .*expected a\.txt"):
            found.finish(expected)
        return
    result = found.finish(expected)
    assert [image.source for image in result.images] == kept
    assert [out.reason for out in result.left_out] == ["unlabelled"] * (2 - len(kept))


def test_a_shape_without_extent_is_counted(tmp_path: Path) -> None:
    found = reading(tmp_path, annotations_only=True)
    facts = {"source": "a", "label": "mitosis", "file": "f", "where": "w"}
    found.shape(Ellipse(5, 5, 0, 4), kind="ellipse", **facts)
    found.box((1, 1, 1, 9), **facts)
    found.shape(Ellipse(5, 5, 2, 4), kind="ellipse", confidence=0.5, **facts)
    assert found.found.reasons() == {"no_extent": 2}
    (item,) = found.found.annotations
    assert item.shape == Ellipse(5, 5, 2, 4) and item.box == (4, 3, 6, 7)
    assert item.confidence == 0.5


def test_files_below_a_folder_or_the_one_named(tmp_path: Path) -> None:
    for name in ("b/1.xml", "a.XML", "c.json", ".hidden.xml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    names = [path.name for path in reading(tmp_path).files(".xml")]
    assert names == ["a.XML", "1.xml"]
    assert reading(tmp_path / "c.json").files(".xml") == [tmp_path / "c.json"]
    with pytest.raises(InputError, match=r"no \.csv or \.tsv annotation file below this folder"):
        reading(tmp_path).files(".csv", ".tsv")


@pytest.mark.parametrize(
    "value", ["x", None, True, "1_0", float("nan"), "inf", 1e13, [], "9" * 400]
)
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(InputError, match=r"^f, w: .*(is not a|is too large)"):
        number(value, "f", "w")


def test_numbers() -> None:
    assert [number(v, "f", "w") for v in (1, "2.5", -3.5, " 4 ")] == [1, 2.5, -3.5, 4]


def test_stem() -> None:
    assert [stem(name) for name in ("a.png", "a.b", "a.b.SVS", ".png", "a")] == [
        "a", "a.b", "a.b", ".png", "a",
    ]  # fmt: skip


def test_the_size_in_a_png_header(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 70, 50)
    assert image_size(path) == (70, 50)
    whole = path.read_bytes()
    for damaged in (
        whole[:20] + b"\xff" + whole[21:],  # the height, against its checksum
        whole[:24],
        b"\x89PNG\r\n\x1a\n",
        b"",
    ):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="not a readable image"):
            image_size(path)
    picture(tmp_path / "b.jpg", 70, 50).rename(path)  # named wrongly, and readable
    assert image_size(path) == (70, 50)


@pytest.mark.parametrize("size", [(1_000_001, 5), (5, 1e12), (500_000, 500_000)])
def test_a_size_that_no_slide_has(size: tuple[float, float]) -> None:
    keys = Keys({"width": size[0], "height": size[1]}, "f.json", "images[0]")
    with pytest.raises(InputError, match=r"f\.json, images\[0\]: an image of .* any slide"):
        keys.size()
    assert Keys({"width": 600_000, "height": 300_000}, "f", "w").size() == (600_000, 300_000)
