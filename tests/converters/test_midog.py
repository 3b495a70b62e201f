"""MIDOG: data sets, predictions in millimetres, the presets and the real file."""

from __future__ import annotations

import copy
import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import picture, real

from converters.errors import InputError, MissingMppError
from converters.midog import document, read, write
from converters.model import Annotation, AnnotationSet, ImageInfo
from converters.presets import load_preset
from converters.read_options import ReadOptions

ALONE = ReadOptions(annotations_only=True)
CATEGORIES = [{"id": 1, "name": "mitotic figure"}, {"id": 2, "name": "hard negative"}]


def image(number: int, name: str | None = None, **more: Any) -> dict[str, Any]:
    facts = {"id": number, "file_name": name or f"{number:03d}.tiff", "width": 64, "height": 48}
    return facts | more


def box(number: int, x: float, y: float, category: int = 1, **more: Any) -> dict[str, Any]:
    corners = [x - 25, y - 25, x + 25, y + 25]
    return {"image_id": number, "bbox": corners, "category_id": category, **more}


def data_set(path: Path, images: list[Any], boxes: list[Any], **more: Any) -> Path:
    content = {"images": images, "annotations": boxes, "categories": CATEGORIES} | more
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def points(path: Path, *found: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    version = {"major": 1, "minor": 0}
    text = {"type": "Multiple points", "points": list(found), "version": version}
    path.write_text(json.dumps(text))
    return path


def at(x: float, y: float, **more: Any) -> dict[str, Any]:
    return {"point": [x, y, 0], "name": "mitotic figure", "probability": 0.5} | more


def left_out(found: AnnotationSet) -> list[tuple[str, str]]:
    return [(Path(item.file).name, item.reason) for item in found.left_out]


# --- data sets --------------------------------------------------------------------------------


def test_boxes_stay_as_they_are_with_the_class_by_its_id(tmp_path: Path) -> None:
    src = data_set(
        tmp_path / "M.json",
        [image(7, tumor_type="canine lung cancer"), image(2, "images/002.tiff")],
        [
            box(7, 30, 20.5, 1, labels=[1, 2, 1]),
            box(2, 60, 47, 2),  # over the edge
            box(7, -4, 20, 2),  # its centre outside
        ],
        categories=[{"id": 2, "name": "B"}, {"id": 1, "name": "A"}],
    )
    found = read(src, ALONE)
    assert [(item.source, item.label, item.x, item.y) for item in found.annotations] == [
        ("007", "mitosis", 30, 20.5),
        ("002", "imposter", 60, 47),
        ("007", "imposter", -4, 20),
    ]
    assert [item.box for item in found.annotations] == [
        (5, -4.5, 55, 45.5),
        (35, 22, 85, 72),
        (-29, -5, 21, 45),
    ]
    first = found.annotations[0]
    assert (first.kind, first.area, first.confidence, first.shape) == ("box", 2500, None, None)
    assert (first.file, first.where) == (str(src), "annotations[0]")
    assert [(i.source, i.case, i.size, i.tumour, i.scanner) for i in found.images] == [
        ("007", "007", (64, 48), "canine lung cancer", ""),
        ("002", "002", (64, 48), "", ""),
    ]
    assert (found.dropped, found.left_out) == ([], [])


def test_an_image_that_is_there_is_trusted_for_its_size(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "001.png", 40, 30)
    src = data_set(tmp_path / "M.json", [image(1, "001.png")], [box(1, 5, 5)])
    (info,) = read(src, ReadOptions(images=tmp_path / "images")).images
    assert (info.path, info.size) == (tmp_path / "images" / "001.png", (40, 30))
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"M\.json, images\[0\]: no image '001.png'"):
        read(src, ReadOptions(images=tmp_path / "none"))


def test_other_categories_keep_their_word(tmp_path: Path) -> None:
    more = [{"id": 3, "name": "granulocyte"}, {"id": 4, "name": "Mitosis"}, {"id": 5}]
    categories = [*CATEGORIES, *more, {"id": 6, "name": " "}]
    boxes = [box(1, 9, 9 * i, i) for i in range(3, 8)]
    src = data_set(tmp_path / "M.json", [image(1)], boxes, categories=categories)
    with pytest.raises(InputError, match=r"annotations\[2\]: category 5 has no name"):
        read(src, ALONE)
    found = read(src, ReadOptions(annotations_only=True, bad="drop"))
    assert [item.label for item in found.annotations] == ["granulocyte", "mitosis"]
    assert found.reasons() == {"malformed": 3}


def test_the_two_classes_need_no_names(tmp_path: Path) -> None:
    src = tmp_path / "M.json"
    src.write_text(json.dumps({"images": [image(1)], "annotations": [box(1, 9, 9, 2)]}))
    assert [item.label for item in read(src, ALONE).annotations] == ["imposter"]


@pytest.mark.parametrize(
    ("number", "name"), [(1, "non-mitotic figure"), (2, "mitotic figure"), (1, "Hard-negative")]
)
def test_classes_the_other_way_round_are_refused(tmp_path: Path, number: int, name: str) -> None:
    categories = [{"id": number, "name": name}]
    src = data_set(tmp_path / "M.json", [image(1)], [box(1, 9, 9)], categories=categories)
    with pytest.raises(InputError, match=rf"categories\[0\]: category {number} is called '{name}'"):
        read(src, ALONE)


@pytest.mark.parametrize(
    ("images", "boxes", "message"),
    [
        (
            [image(1)],
            [box(1, 9, 9) | {"bbox": [9, 9, 9, 20]}],
            r"annotations\[0\], key `bbox`: exp",
        ),
        ([image(1)], [box(1, 9, 9) | {"bbox": [9, 9, 20, 8]}], r"x1,y1,x2,y2 .*--from coco"),
        ([image(1)], [box(1, 9, 9) | {"bbox": [9, 9, 20]}], r"found \[9, 9, 20\]"),
        ([image(1)], [box(1, 9, 9) | {"bbox": [9, "x", 20, 21]}], r"key `bbox`: 'x' is not a num"),
        ([image(1)], [box(1, 9, 9) | {"bbox": {}}], r"key `bbox`: expected a list"),
        ([image(1)], [box(2, 9, 9)], r"annotations\[0\]: no image has the id 2"),
        ([image(1)], [box(1, 9, 9) | {"category_id": None}], r"key `category_id`: None is not"),
        ([image(1)], [{"bbox": [1, 1, 2, 2], "category_id": 1}], r"no key `image_id`"),
        ([image(1)], ["x"], r"annotations\[0\]: expected an object"),
        ([image(1), image(1)], [], r"images\[1\]: the image id 1 stands twice"),
        ([{"id": 1}], [], r"images\[0\]: no key `file_name`"),
        ([{"id": 1.5, "file_name": "1"}], [], r"images\[0\], key `id`: expected a whole number"),
        ([image(1, "../")], [box(1, 9, 9)], r"images\[0\]: '../' names no image"),
    ],
)
def test_malformed_entries(
    tmp_path: Path, images: list[Any], boxes: list[Any], message: str
) -> None:
    src = data_set(tmp_path / "M.json", images, boxes)
    with pytest.raises(InputError, match=rf"M\.json, .*{message}"):
        read(src, ALONE)
    src = data_set(tmp_path / "M.json", [*images, image(9)], [*boxes, box(9, 8, 8)])
    found = read(src, ReadOptions(annotations_only=True, bad="drop"))
    assert [item.source for item in found.annotations] == ["009"]
    assert found.reasons() == {"malformed": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected an object"),
        ('{"a": 1}', "neither a MIDOG data set"),
        ('{"images": [], "annotations": {}}', "key `annotations`: expected a list"),
        ('{"images": {}, "annotations": []}', "key `images`: expected a list"),
        ('{"images": [], "annotations": [], "categories": 3}', "key `categories`: expected a li"),
        ('{"images": [], "annotations": [], "categories": [3]}', r"categories\[0\]: expected an"),
        ('{"type": "Multiple points", "points": null}', "key `points`: expected a list"),
        ('{"type": "Multiple points"}', "no key `points`"),
        ('{"type": "Point", "points": []}', "neither a MIDOG data set"),
        ('{"images"', "not valid JSON"),
    ],
)
@pytest.mark.parametrize("unlabelled", ["background", "error"])
def test_a_file_that_cannot_be_read_makes_no_image_negative(
    tmp_path: Path, text: str, message: str, unlabelled: str
) -> None:
    picture(tmp_path / "001.png")
    picture(tmp_path / "002.png")
    (tmp_path / "M.json").write_text(text)
    data_set(tmp_path / "N.json", [image(2, "002.png")], [box(2, 9, 9)])
    with pytest.raises(InputError, match=rf"M\.json.*{message}"):
        read(tmp_path, ReadOptions(unlabelled=unlabelled))
    found = read(tmp_path, ReadOptions(bad="drop", unlabelled=unlabelled))
    assert [info.source for info in found.images] == ["002"]
    assert [(drop.reason, Path(drop.file).name) for drop in found.dropped] == [
        ("unreadable_file", "M.json")
    ]
    assert left_out(found) == [("001.png", "unreadable_file")]


# --- images without annotation ----------------------------------------------------------------


@pytest.mark.parametrize("unlabelled", ["error", "skip"])
@pytest.mark.parametrize("there", [True, False])
def test_images_without_annotation_are_left_out_unseen(
    tmp_path: Path, unlabelled: str, there: bool
) -> None:
    picture(tmp_path / "001.png")
    if there:
        (tmp_path / "151.png").write_text("damaged, and never opened")
    src = data_set(
        tmp_path / "M.json", [image(1, "001.png"), image(151, "151.png")], [box(1, 9, 9)]
    )
    found = read(src.parent, ReadOptions(unlabelled=unlabelled))
    assert [info.source for info in found.images] == ["001"]
    assert left_out(found) == [("151.png", "unlabelled")]  # once
    assert found.left_out[0].detail == "no annotation in M.json"


@pytest.mark.parametrize(
    ("options", "labelled"),
    [
        ({"include_unlabelled": True}, False),
        ({"unlabelled": "background"}, True),
        ({"include_unlabelled": True, "unlabelled": "background"}, False),
    ],
)
def test_images_without_annotation_are_kept_when_asked_for(
    tmp_path: Path, options: dict[str, Any], labelled: bool
) -> None:
    picture(tmp_path / "001.png")
    images = [image(1, "001.png"), image(151, "151.png", tumor_type="t")]
    src = data_set(tmp_path / "M.json", images, [box(1, 9, 9)])
    with pytest.raises(InputError, match=r"images\[1\]: no image '151.png'"):
        read(src, ReadOptions(**options))
    picture(tmp_path / "151.png", 30, 20)
    found = read(src, ReadOptions(**options))
    assert [(i.source, i.size, i.tumour, i.labelled) for i in found.images] == [
        ("001", (64, 48), "", True),
        ("151", (30, 20), "t", labelled),
    ]
    assert found.left_out == []
    alone = read(src, ReadOptions(annotations_only=True, **options))
    assert [(i.size, i.labelled) for i in alone.images] == [((64, 48), True), ((64, 48), labelled)]


def test_an_image_that_another_file_annotates_is_not_unlabelled(tmp_path: Path) -> None:
    data_set(tmp_path / "A.json", [image(1), image(2)], [box(1, 9, 9)])
    data_set(tmp_path / "B.json", [image(5, "002.tiff"), image(6)], [box(5, 9, 9)])
    found = read(tmp_path, ALONE)
    assert [info.source for info in found.images] == ["001", "002"]
    assert left_out(found) == [("006.tiff", "unlabelled")]


def test_one_image_is_annotated_by_one_file(tmp_path: Path) -> None:
    data_set(tmp_path / "A.json", [image(1)], [box(1, 9, 9)])
    data_set(tmp_path / "B.json", [image(5, "001.tiff")], [box(5, 9, 9), box(5, 30, 30)])
    with pytest.raises(InputError, match=r"B\.json, images\[0\]: A\.json has annotations of the"):
        read(tmp_path, ALONE)
    found = read(tmp_path, ReadOptions(annotations_only=True, bad="drop"))
    assert (len(found.annotations), found.reasons()) == (1, {"malformed": 2})


def test_annotations_of_an_absent_image_are_counted(tmp_path: Path) -> None:
    picture(tmp_path / "001.png")
    images = [image(1, "001.png"), image(2, "002.png")]
    boxes = [box(1, 9, 9), box(2, 9, 9), box(2, 30, 9)]
    src = data_set(tmp_path / "M.json", images, boxes)
    found = read(src, ReadOptions(bad="drop"))
    assert [info.source for info in found.images] == ["001"]
    assert (len(found.annotations), found.reasons()) == (1, {"no_image": 2})
    assert found.left_out == []  # it is no image without annotation


def test_images_that_no_file_lists_are_left_out(tmp_path: Path) -> None:
    picture(tmp_path / "001.png")
    picture(tmp_path / "900.png")
    data_set(tmp_path / "M.json", [image(1, "001.png")], [box(1, 9, 9)])
    assert left_out(read(tmp_path, ReadOptions())) == [("900.png", "unlabelled")]


# --- predictions ------------------------------------------------------------------------------


def test_points_are_millimetres(tmp_path: Path) -> None:
    picture(tmp_path / "a.b.png", 640, 480)
    picture(tmp_path / "c.png")
    points(
        tmp_path / "a.b.json",
        at(0.1, 0.02, probability=0.76),
        at(0.16, 0.12, name="non-mitotic figure", probability=0),
        {"point": [0.0, 0.0]},  # as in 2021
        at(0.05, 0.05, name="hard negative", probability=None),
        at(0.06, 0.05, name="fat"),
    )
    points(tmp_path / "c.json")
    found = read(tmp_path, ReadOptions(mpp=(0.25, 0.5)))
    assert [(item.x, item.y) for item in found.annotations] == [
        (pytest.approx(400), pytest.approx(40)),
        (pytest.approx(640), pytest.approx(240)),  # on the edge
        (0, 0),
        (pytest.approx(200), pytest.approx(100)),
        (pytest.approx(240), pytest.approx(100)),
    ]
    assert [(item.label, item.confidence) for item in found.annotations] == [
        ("mitosis", 0.76),
        ("imposter", 0),
        ("mitosis", None),
        ("imposter", None),
        ("fat", 0.5),
    ]
    first = found.annotations[0]
    assert (first.kind, first.box, first.where) == ("point", None, "points[0]")
    assert [(info.source, info.size) for info in found.images] == [
        ("a.b", (640, 480)),
        ("c", (64, 48)),
    ]


def test_the_images_own_resolution_serves(tmp_path: Path) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tiff", pixels, resolution=(10_000 / 0.5, 10_000 / 0.25), resolutionunit=3
    )
    points(tmp_path / "a.json", at(0.01, 0.01))
    (item,) = read(tmp_path, ReadOptions()).annotations
    assert (item.x, item.y) == (pytest.approx(20), pytest.approx(40))
    (item,) = read(tmp_path, ReadOptions(mpp=(1, 1))).annotations  # the option wins
    assert (item.x, item.y) == (pytest.approx(10), pytest.approx(10))


def test_the_preset_serves_where_the_image_says_nothing(tmp_path: Path) -> None:
    picture(tmp_path / "051.png")
    points(tmp_path / "051.json", at(0.0046, 0.0023))
    preset = load_preset("midogpp")
    (item,) = read(tmp_path, ReadOptions(preset_mpp=preset.mpp)).annotations
    assert (item.x, item.y) == (pytest.approx(20), pytest.approx(10))
    (item,) = read(tmp_path, ReadOptions(mpp=(1, 1), preset_mpp=preset.mpp)).annotations
    assert (item.x, item.y) == (pytest.approx(4.6), pytest.approx(2.3))
    (tmp_path / "051.png").rename(tmp_path / "900.png")
    (tmp_path / "051.json").rename(tmp_path / "900.json")
    with pytest.raises(MissingMppError):
        read(tmp_path, ReadOptions(preset_mpp=preset.mpp))


@pytest.mark.parametrize("bad", ["stop", "drop"])
def test_no_resolution_names_the_option(tmp_path: Path, bad: str) -> None:
    picture(tmp_path / "a.png")
    src = points(tmp_path / "a.json", at(0.01, 0.01))
    with pytest.raises(MissingMppError, match=r"a\.json: points in millimetres.*--mpp"):
        read(src, ReadOptions(bad=bad))


@pytest.mark.parametrize("mm", [(16.01, 1), (1, 12.01), (-0.01, 1), (1, -0.01), (4000, 3000)])
def test_a_point_outside_its_image_is_refused(tmp_path: Path, mm: tuple[float, float]) -> None:
    picture(tmp_path / "a.png", 64, 48)
    points(tmp_path / "a.json", at(16, 12), at(*mm))
    with pytest.raises(InputError, match=r"a\.json, points\[1\]: \(.*\) mm is outside the image"):
        read(tmp_path, ReadOptions(mpp=(250, 250)))
    found = read(tmp_path, ReadOptions(mpp=(250, 250), bad="drop"))
    assert (len(found.annotations), found.reasons()) == (1, {"outside": 1})


@pytest.mark.parametrize(("mm", "fine"), [((249, 249), True), ((251, 1), False), ((1, -1), False)])
def test_of_unknown_size_no_point_is_off_a_slide(
    tmp_path: Path, mm: tuple[float, float], fine: bool
) -> None:
    points(tmp_path / "a.json", at(*mm))
    found = read(tmp_path, ReadOptions(mpp=(1, 1), bad="drop", annotations_only=True))
    assert found.reasons() == ({} if fine else {"outside": 1})


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"name": "mitotic figure"}, r"points\[0\]: no key `point`"),
        ({"point": [1]}, r"points\[0\], key `point`: expected \[x, y\]"),
        ({"point": [1, None, 0]}, r"key `point`: None is not a number"),
        ({"point": [float("nan"), 0, 0]}, r"key `point`: nan is not a finite"),
        (at(0.001, 0.001, probability="high"), r"key `probability`: 'high' is not a number"),
        (at(0.001, 0.001, name=["a"]), r"key `name`: expected text"),
        ([0, 0], r"points\[0\]: expected an object"),
    ],
)
def test_malformed_points(tmp_path: Path, point: Any, message: str) -> None:
    points(tmp_path / "a.json", point, at(0.001, 0.001))
    options = ReadOptions(mpp=(1, 1), annotations_only=True)
    with pytest.raises(InputError, match=rf"a\.json, .*{message}"):
        read(tmp_path, options)
    found = read(tmp_path, ReadOptions(mpp=(1, 1), annotations_only=True, bad="drop"))
    assert (len(found.annotations), found.reasons()) == (1, {"malformed": 1})


def test_predictions_without_their_image(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    points(tmp_path / "a.json", at(0.001, 0.001))
    points(tmp_path / "b.json", at(1, 1), at(2, 2))
    with pytest.raises(InputError, match=r"b\.json: no image 'b'"):
        read(tmp_path, ReadOptions(mpp=(1, 1)))
    found = read(tmp_path, ReadOptions(mpp=(1, 1), bad="drop"))
    assert (len(found.annotations), found.reasons()) == (1, {"no_image": 2})


def test_predictions_of_one_image_stand_in_one_file(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    points(tmp_path / "p" / "a.json", at(0.001, 0.001))
    points(tmp_path / "q" / "a.json", at(0.001, 0.001), at(0.002, 0.002), at(0.003, 0.001))
    with pytest.raises(InputError, match=r"q/a\.json: a\.json has annotations of the image 'a'"):
        read(tmp_path, ReadOptions(mpp=(1, 1)))
    found = read(tmp_path, ReadOptions(mpp=(1, 1), bad="drop"))
    assert (len(found.annotations), found.reasons()) == (1, {"malformed": 3})


# --- writing ----------------------------------------------------------------------------------


def mark(x: float, y: float, **more: Any) -> Annotation:
    facts = {"source": "a", "label": "mitosis", "kind": "point", "file": "f", "where": "w"}
    return Annotation(x=x, y=y, **facts | more)


def given(*items: Annotation, **more: Any) -> AnnotationSet:
    facts = {"path": None, "width": 640, "height": 480, "case": "c", "mpp": (0.25, 0.5)} | more
    names = ("s/a", "b")
    images = [ImageInfo(source=name, **facts) for name in names]
    return AnnotationSet(images=images, annotations=list(items))


def test_a_prediction_is_written_for_each_image() -> None:
    notes: list[str] = []
    found = given(
        mark(400, 40, source="s/a", confidence=0.76),
        mark(640, 480, source="s/a", confidence=0.0, label="imposter"),
        mark(0, 8, source="s/a"),
    )
    files = dict(write(found, notes.append))
    assert list(files) == ["s_a.json", "b.json"]
    assert json.loads(files["s_a.json"]) == {
        "type": "Multiple points",
        "points": [
            {"point": [0.1, 0.02, 0], "probability": 0.76, "name": "mitotic figure"},
            {"point": [0.16, 0.24, 0], "probability": 0.0, "name": "non-mitotic figure"},
            {"point": [0.0, 0.004, 0], "probability": 1.0, "name": "mitotic figure"},
        ],
        "version": {"major": 1, "minor": 0},
    }
    assert json.loads(files["b.json"])["points"] == []
    assert files["b.json"].endswith("}\n")
    assert notes == []


def test_the_document_of_detections() -> None:
    assert document([(100, 40, 0.9, "mitosis")], (0.5, 0.25)) == {
        "type": "Multiple points",
        "points": [{"point": [0.05, 0.01, 0], "probability": 0.9, "name": "mitotic figure"}],
        "version": {"major": 1, "minor": 0},
    }


@pytest.mark.parametrize("point", [(641, 5), (5, 480.5), (-1, 5), (5, -0.5)])
def test_a_point_outside_is_not_written(point: tuple[float, float]) -> None:
    found = given(mark(*point, source="b"))
    message = rf"f, w: the point \({point[0]:g}, {point[1]:g}\) is outside the image b of 640 x 480"
    with pytest.raises(InputError, match=message):
        list(write(found, print))
    unknown = given(mark(641, 481, source="b"), width=0, height=0)
    assert len(list(write(unknown, print))) == 2


def test_coordinates_the_challenge_takes_for_pixels_are_said_once() -> None:
    notes: list[str] = []
    items = [mark(10, 10, source="b"), mark(10_001, 1, source="b"), mark(1, 10_001, source="s/a")]
    list(write(given(*items, width=20_000, height=20_000, mpp=(1, 1)), notes.append))
    assert len(notes) == 1
    assert notes[0].startswith("warning: 2 of 3 points lie beyond 10 mm")
    list(
        write(given(mark(10_000, 1, source="b"), width=20_000, height=9, mpp=(1, 1)), notes.append)
    )
    assert len(notes) == 1


def test_writing_needs_the_resolution() -> None:
    with pytest.raises(MissingMppError, match=r"s/a.*--mpp"):
        list(write(given(mpp=None), print))


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    items = [mark(i / 3, i / 7, source="b", confidence=i / 100) for i in range(100)]
    for name, text in write(given(*items, width=33, height=15, mpp=(0.23, 0.31)), print):
        (tmp_path / name).write_text(text)
    for name in ("s_a.png", "b.png"):
        picture(tmp_path / name, 33, 15)
    found = read(tmp_path, ReadOptions(mpp=(0.23, 0.31)))
    assert [info.source for info in found.images] == ["b", "s_a"]
    for before, after in zip(items, found.annotations, strict=True):
        assert (after.x, after.y) == (pytest.approx(before.x), pytest.approx(before.y))
        assert (after.confidence, after.label) == (before.confidence, before.label)


@pytest.mark.parametrize("mpp", [0.2273, 0.22753, 0.23, 0.2455, 0.2456])
def test_a_point_on_the_edge_stays_on_the_image(tmp_path: Path, mpp: float) -> None:
    for width in range(500, 600):
        size = (width, width)
        found = given(mark(*size, source="b"), width=width, height=width, mpp=(mpp, mpp))
        _, (_, text) = write(found, print)
        src = points(tmp_path / "a.json", *json.loads(text)["points"])
        known = ReadOptions(annotations_only=True, mpp=(mpp, mpp), frame=lambda *_, s=size: s)
        (item,) = read(src, known).annotations
        assert item.x == item.y == pytest.approx(width, abs=1e-9)


# --- hostile files ----------------------------------------------------------------------------

_WRONG = (None, True, -1, 0.5, 1e308, float("inf"), "x", "", [], {}, [[]], {"id": []}, "\ud800")


def spoiled(value: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every variant of a document with one value wrong or one key gone, and the value's path."""

    def paths(part: Any, here: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        yield here
        inner: Iterable[tuple[Any, Any]] = ()
        if isinstance(part, dict | list):
            inner = part.items() if isinstance(part, dict) else enumerate(part)
        for key, item in inner:
            yield from paths(item, (*here, key))

    for path in list(paths(value, ()))[1:]:
        for wrong in (*_WRONG, KeyError):
            copied = copy.deepcopy(value)
            parent = copied
            for key in path[:-1]:
                parent = parent[key]
            if wrong is KeyError:
                del parent[path[-1]]
            else:
                parent[path[-1]] = wrong
            yield path, copied


@pytest.mark.parametrize("kind", ["data set", "points"])
def test_wrong_values_anywhere(tmp_path: Path, kind: str) -> None:
    boxes = [box(1, 9, 9), box(2, 9, 9, 2, labels=[1])]
    whole = {
        "data set": {
            "images": [image(1, tumor_type="t"), image(2)],
            "annotations": boxes,
            "categories": CATEGORIES,
        },
        "points": {"type": "Multiple points", "points": [at(0.001, 0.001), at(0.002, 0)]},
    }[kind]
    marks = "annotations" if kind == "data set" else "points"
    src = tmp_path / "a.json"
    stopped = 0
    for path, content in spoiled(whole):
        src.write_text(json.dumps(content))
        try:
            read(src, ReadOptions(annotations_only=True, mpp=(1, 1)))
        except InputError as error:
            stopped += 1
            assert error.file and "\n" not in str(error)
        found = read(src, ReadOptions(annotations_only=True, mpp=(1, 1), bad="drop"))
        if path[0] == marks and len(path) > 1:  # one mark is wrong: both are accounted for
            assert found.read == len(content[marks]), (path, content)
        known = {info.source for info in found.images}
        assert all(item.source in known for item in found.annotations)
    assert stopped > 100


# --- presets ----------------------------------------------------------------------------------


def test_the_scanner_is_told_by_the_number() -> None:
    new, old = load_preset("midogpp"), load_preset("midog21")
    assert (new.format, new.protocol, old.format, old.protocol) == ("midog",) * 4
    for number, scanner in [
        ("001", "Hamamatsu XR"),
        ("050", "Hamamatsu XR"),
        ("051", "Hamamatsu S360"),
        ("150", "Aperio CS2"),
        ("151", "Leica GT450"),
    ]:
        assert new.scanner_of(number) == old.scanner_of(number) == scanner
    assert (new.scanner_of("300"), old.scanner_of("300")) == ("Aperio CS2", "")
    assert new.scanner_of("554") == ""
    mpp = {name: scanner.mpp for name, scanner in new.scanners.items()}
    assert mpp == {
        "Hamamatsu XR": (0.23, 0.23),
        "Hamamatsu S360": (0.23, 0.23),
        "Aperio CS2": (0.25, 0.25),
        "3DHistech": (0.25, 0.25),
        "Leica GT450": (0.26, 0.26),
    }
    assert (old.official, new.by) == ({}, "case")
    assert {key: len(names) for key, names in new.official.items()} == {"train": 392, "test": 111}
    assert new.official["train"][:6] == ("001", "002", "003", "004", "005", "008")


def test_the_preset_is_the_published_table() -> None:
    path = real("midog") / "datasets_xvalidation.csv"
    with path.open(newline="", encoding="utf-8-sig") as handle:
        rows = list(csv.DictReader(handle, delimiter=";"))
    assert len(rows) == 503
    preset = load_preset("midogpp")
    split = {name: key for key, names in preset.official.items() for name in names}
    spelt = {"Hamammatsu XR": "Hamamatsu XR", "3D Histech": "3DHistech"}
    for row in rows:
        name = f"{int(row['Slide']):03d}"
        assert split.pop(name) == row["Dataset"], name
        assert preset.scanner_of(name) == spelt.get(row["Scanner"], row["Scanner"]), name
    assert split == {}


# --- the real file ----------------------------------------------------------------------------


def test_the_real_data_set() -> None:
    src = real("midog") / "MIDOG++.json"
    found = read(src, ALONE)
    assert Counter(item.label for item in found.annotations) == {
        "mitosis": 11_937,
        "imposter": 14_349,
    }
    assert (len(found.images), found.dropped) == (503, [])
    assert left_out(found) == [(f"{i}.tiff", "unlabelled") for i in range(151, 201)]
    sizes = {info.source: info.size for info in found.images}
    edges = outside = 0
    for item in found.annotations:
        size = sizes[item.source]
        assert item.box and size
        assert (item.box[2] - item.box[0], item.box[3] - item.box[1]) == (50, 50)
        edges += min(item.box[:2]) < 0 or item.box[2] > size[0] or item.box[3] > size[1]
        outside += not (0 <= item.x <= size[0] and 0 <= item.y <= size[1])
    assert (edges, outside) == (274, 2)
    rows = [(i.source, i.label, i.x, i.y, i.box) for i in found.annotations[:2]]
    assert rows == [
        ("001", "imposter", 4361, 371, (4336, 346, 4386, 396)),
        ("001", "imposter", 781, 897, (756, 872, 806, 922)),
    ]
    first = found.images[0]
    assert (first.case, first.size, first.tumour) == ("001", (7215, 5412), "human breast cancer")
    assert len({info.case for info in found.images}) == 503
    everything = read(src, ReadOptions(annotations_only=True, include_unlabelled=True))
    assert sum(not info.labelled for info in everything.images) == 50
