"""CADD4MBC and DSA: which tile a document is about, and folders of both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import document, ellipse, picture, real

from converters.cadd4mbc import TileKey, read, slide_of, tile_key
from converters.errors import InputError
from converters.files import read_json
from converters.large_image import add_elements, elements_of
from converters.model import Annotation, AnnotationSet
from converters.read_options import ReadOptions
from converters.reading import Reading


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("T_98/Batch-100/87_88.json", ("T98", 87, 88)),
        ("T98/batch-001/x87y88.png", ("T98", 87, 88)),
        ("cadd_json_files/T121/Batch 7/4_5.json", ("T121", 4, 5)),
        ("cadd_json_files/T121/7/4_5.json", ("T121", 4, 5)),  # a batch by its bare number
        ("03/4_5.json", ("03", 4, 5)),  # a case by its bare number
        ("tiles/T98x87y88.png", ("T98", 87, 88)),
        ("t97_x8y28.png", ("T97", 8, 28)),
        ("T-98/17_62.jpeg", ("T98", 17, 62)),
        ("x87y88.jpg", (None, 87, 88)),
        ("images/x1_y2.jpg", (None, 1, 2)),
        ("T98/T99x1y2.png", ("T99", 1, 2)),  # the file's own name is nearer
        ("slideA/1_2.json", ("slideA", 1, 2)),
        ("case.png", None),
        ("87-88.json", None),
    ],
)
def test_tile_keys(path: str, key: tuple[str | None, int, int] | None) -> None:
    root = Path("/data/export2")
    assert tile_key(root / path, root) == (key and TileKey(*key))


@pytest.mark.parametrize(("root", "slide"), [("/d/T_98", "T98"), ("/d/export2", None)])
def test_the_named_folder_is_a_slide_only_if_it_looks_like_one(
    root: str, slide: str | None
) -> None:
    assert slide_of(Path(root, "Batch-1", "1_2.json"), Path(root)) == slide


# --- folders ----------------------------------------------------------------------------------


def sources(found: AnnotationSet) -> list[tuple[str, str]]:
    return [(image.source, image.case) for image in found.images]


@pytest.mark.parametrize(
    ("documents", "images", "expected"),
    [
        (["T_98/Batch-1/87_88"], ["T98/x87y88.png"], [("T98x87y88", "T98")]),
        (["T_98/Batch-1/87_88"], ["T98x87y88.png"], [("T98x87y88", "T98")]),
        (["T_98/Batch-1/87_88"], ["x87y88.jpg"], [("T98x87y88", "T98")]),
        (["87_88"], ["T98x87y88.jpg"], [("T98x87y88", "T98")]),
        (["87_88"], ["x87y88.jpeg"], [("x87y88", "tiles")]),
        (["T1/1_2", "T2/1_2"], ["T1/x1y2.png", "T2/1_2.png"], [("T1x1y2", "T1"), ("T2x1y2", "T2")]),
        (["caseA", "caseB"], ["caseA.png", "caseB.png"], [("caseA", "caseA"), ("caseB", "caseB")]),
    ],
)
def test_pairing(
    tmp_path: Path, documents: list[str], images: list[str], expected: list[tuple[str, str]]
) -> None:
    for name in documents:
        document(tmp_path / "json" / f"{name}.json", ellipse(10, 10))
    for name in images:
        picture(tmp_path / "tiles" / name)
    found = read(tmp_path / "json", ReadOptions(images=tmp_path / "tiles"))
    assert sources(found) == expected
    assert [item.source for item in found.annotations] == [source for source, _ in expected]
    assert (found.images[0].width, found.images[0].height) == (64, 48)


@pytest.mark.parametrize(
    ("documents", "images", "message"),
    [
        (["87_88"], ["T1x87y88.png", "T2x87y88.png"], r"87_88\.json: 2 images fit"),
        (["T1/87_88"], ["T2/x87y88.png"], r"87_88\.json: no image .* tile x87 y88 of slide T1"),
        (["T1/87_88"], ["T1/x87y89.png"], r"87_88\.json: no image"),
        (["caseA"], ["caseB.png"], r"caseA\.json: no image .*caseA"),
    ],
)
def test_no_pair(tmp_path: Path, documents: list[str], images: list[str], message: str) -> None:
    for name in documents:
        document(tmp_path / f"{name}.json", ellipse(10, 10))
    for name in images:
        picture(tmp_path / "tiles" / name)
    with pytest.raises(InputError, match=message):
        read(tmp_path, ReadOptions(images=tmp_path / "tiles"))


def test_one_file_is_a_source_too(tmp_path: Path) -> None:
    picture(tmp_path / "T98x1y2.png")
    picture(tmp_path / "T98x3y4.png")  # without a document, and none of this call's business
    path = document(tmp_path / "T98" / "1_2.json", ellipse(10, 10))
    found = read(path, ReadOptions(images=tmp_path))
    assert sources(found) == [("T98x1y2", "T98")]


@pytest.mark.parametrize("unlabelled", ["background", "skip"])
def test_a_tile_whose_document_is_damaged_is_never_background(
    tmp_path: Path, unlabelled: str
) -> None:
    picture(tmp_path / "x1y2.png")
    picture(tmp_path / "x3y4.png")
    document(tmp_path / "3_4.json")
    (tmp_path / "1_2.json").write_text('{"elements": [')
    found = read(tmp_path, ReadOptions(bad="drop", unlabelled=unlabelled))
    assert [image.source for image in found.images] == ["x3y4"]
    assert [(drop.reason, Path(drop.file).name) for drop in found.dropped] == [
        ("unreadable_file", "1_2.json")
    ]
    assert [(Path(image.file).name, image.reason) for image in found.left_out] == [
        ("x1y2.png", "unreadable_file")
    ]


@pytest.mark.parametrize(
    ("unlabelled", "kept"), [("background", ["x1y2", "x3y4"]), ("skip", ["x3y4"])]
)
def test_unlabelled_tiles(tmp_path: Path, unlabelled: str, kept: list[str]) -> None:
    picture(tmp_path / "x1y2.png")
    picture(tmp_path / "x3y4.png")
    document(tmp_path / "3_4.json", ellipse(10, 10))
    found = read(tmp_path, ReadOptions(unlabelled=unlabelled))
    assert [image.source for image in found.images] == kept
    assert len(found.left_out) == 2 - len(kept)
    with pytest.raises(InputError, match=r"x1y2\.png: no annotation file .*--unlabelled"):
        read(tmp_path, ReadOptions())


def test_one_image_is_not_two_slides(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "x1y2.png")
    for slide in ("T1", "T2"):
        document(tmp_path / "json" / slide / "1_2.json", ellipse(10, 10))
    with pytest.raises(InputError, match=r"x1y2\.png fits T2x1y2 and T1x1y2"):
        read(tmp_path / "json", ReadOptions(images=tmp_path / "images"))
    found = read(tmp_path / "json", ReadOptions(images=tmp_path / "images", bad="drop"))
    assert sources(found) == [("T1x1y2", "T1")]
    assert [drop.reason for drop in found.dropped] == ["no_image"]


def test_two_images_of_one_name_are_named(tmp_path: Path) -> None:
    for path in ("T1/x1y2.png", "T1/a/T1x1y2.png"):
        picture(tmp_path / path)
    document(tmp_path / "T1" / "3_4.json")
    picture(tmp_path / "T1" / "x3y4.png")
    with pytest.raises(InputError, match=r"2 images are called T1x1y2: .*T1x1y2\.png, .*x1y2"):
        read(tmp_path, ReadOptions(unlabelled="background"))


@pytest.mark.parametrize("annotations_only", [False, True])
def test_images_of_one_name_in_folders(tmp_path: Path, annotations_only: bool) -> None:
    for name in ("one/twin", "two/twin", "two/other"):
        picture(tmp_path / f"{name}.tiff")
        document(tmp_path / f"{name}.tiff.json", ellipse(10, 10))
    found = read(tmp_path, ReadOptions(annotations_only=annotations_only))
    assert sources(found) == [("one/twin", "one"), ("other", "two"), ("two/twin", "two")]
    assert [item.source for item in found.annotations] == ["one/twin", "other", "two/twin"]


def test_without_images_the_size_is_what_the_preset_knows(tmp_path: Path) -> None:
    document(tmp_path / "T98" / "1_2.json", ellipse(10, 10))
    found = read(tmp_path, ReadOptions(annotations_only=True))
    assert sources(found) == [("T98x1y2", "T98")]
    assert found.images[0].size is None and found.images[0].path is None
    found = read(
        tmp_path, ReadOptions(annotations_only=True, frame=lambda scanner, case: (512, 500))
    )
    assert found.images[0].size == (512, 500)


@pytest.mark.parametrize("name", ["report.json", "run.json"])
def test_what_stands_beside_written_documents_is_none(tmp_path: Path, name: str) -> None:
    document(tmp_path / "a.json", ellipse(10, 10))
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=rf"{name}: not an annotation document"):
        read(tmp_path, ReadOptions(annotations_only=True))
    (tmp_path / "dropped.csv").write_text("file,where,reason,detail\n")
    found = read(tmp_path, ReadOptions(annotations_only=True))
    assert [image.source for image in found.images] == ["a"]


def test_the_real_document() -> None:
    path = real("cadd4mbc") / "T98" / "Batch-100" / "87_88.json"
    text = read_json(path)
    elements = text["annotation"]["elements"]
    reading = Reading(path, ReadOptions(annotations_only=True))
    add_elements(elements_of(text, "f"), reading, source="s", file="f")
    items = reading.found.annotations
    assert len(items) == len(elements) == 2
    for item, element in zip(items, elements, strict=True):
        assert isinstance(item, Annotation) and item.kind == "ellipse" and item.box
        assert [item.x, item.y] == element["center"][:2]
        assert item.box[2] - item.box[0] == pytest.approx(element["width"])
        assert item.box[3] - item.box[1] == pytest.approx(element["height"])
    assert json.dumps(text)  # untouched
    assert tile_key(path, path.parents[2]) == TileKey("T98", 87, 88)
