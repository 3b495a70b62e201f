"""LabelMe: one JSON an image."""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import picture
from damaged import Place, check_damage
from PIL import Image

from converters.errors import InputError
from converters.labelme import read
from converters.model import Annotation, AnnotationSet
from converters.read_options import ReadOptions
from converters.shapes import Pixels, Polygon


def shape(kind: str | None, *points: tuple[float, float], **more: Any) -> dict[str, Any]:
    named = {} if kind is None else {"shape_type": kind}
    return {"label": "mitosis", "points": [list(p) for p in points], "group_id": None,
            "flags": {}, **named, **more}  # fmt: skip


def document(*shapes: Any, **more: Any) -> dict[str, Any]:
    return {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": "a.png",
            "imageData": None, "imageHeight": 50, "imageWidth": 70, **more}  # fmt: skip


def png(*rows: str, mode: str = "L") -> str:
    """A PNG with 1 where a row has an `x`, as base64 text."""
    pixels = np.array([[mark == "x" for mark in row] for row in rows], dtype=np.uint8)
    image = Image.fromarray(pixels).convert("L")
    image = image.point(lambda value: value * 255).convert("1") if mode == "1" else image
    data = io.BytesIO()
    image.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def parsed(folder: Path, content: Any, **options: Any) -> AnnotationSet:
    (folder / "a.json").write_text(json.dumps(content))
    return read(folder, ReadOptions(annotations_only=True, **options))


def one(folder: Path, value: Any) -> Annotation:
    found = parsed(folder, document(value))
    assert not found.dropped
    [item] = found.annotations
    assert (item.source, item.where) == ("a", "shapes[0]")
    return item


@pytest.mark.parametrize(
    ("value", "kind", "x", "y", "box", "area"),
    [
        (shape("rectangle", (8, 6), (2, 3)), "box", 5, 4.5, (2, 3, 8, 6), 18),
        (shape("rectangle", (2, 6), (8, 3)), "box", 5, 4.5, (2, 3, 8, 6), 18),
        (shape("rectangle", (2, 3), (8, 3), (8, 6), (2, 6)), "box", 5, 4.5, (2, 3, 8, 6), 18),
        (shape("rectangle", (5, 2), (8, 4), (5, 6), (2, 4)), "rectangle", 5, 4, (2, 2, 8, 6), 12),
        (shape("oriented_rectangle", (5, 2), (7, 4), (5, 6), (3, 4)), "rectangle", 5, 4,
         (3, 2, 7, 6), 8),
        (shape("rotation", (5, 2), (7, 4), (5, 6), (3, 4), direction=0.8), "rectangle", 5, 4,
         (3, 2, 7, 6), 8),
        (shape("circle", (20, 30), (23, 34)), "circle", 20, 30, (15, 25, 25, 35), 25 * math.pi),
        (shape("polygon", (0, 0), (6, 0), (0, 6)), "polygon", 2, 2, (0, 0, 6, 6), 18),
        (shape(None, (0, 0), (6, 0), (0, 6), (0, 0)), "polygon", 2, 2, (0, 0, 6, 6), 18),
        (shape("point", (7.25, 8)), "point", 7.25, 8, None, None),
        (shape("mask", (10, 20), (12, 21), mask=png("xx.", ".x.")), "pixels",
         11 + 1 / 6, 20 + 5 / 6, (10, 20, 12, 22), 3),
    ],
)  # fmt: skip
def test_every_shape(
    tmp_path: Path, value: Any, kind: str, x: float, y: float, box: Any, area: Any
) -> None:
    item = one(tmp_path, value)
    assert (item.x, item.y) == pytest.approx((x, y))
    assert (item.kind, item.label) == (kind, "mitosis")
    assert item.box == (box and pytest.approx(box))
    assert item.area == (area and pytest.approx(area))


def test_a_polygon_does_not_repeat_its_first_point(tmp_path: Path) -> None:
    item = one(tmp_path, shape("polygon", (0, 0), (6, 0), (0, 6), (0, 0)))
    assert item.shape == Polygon((((0, 0), (6, 0), (0, 6)),))


@pytest.mark.parametrize("mode", ["L", "1"])
def test_a_mask_is_its_pixels(tmp_path: Path, mode: str) -> None:
    item = one(tmp_path, shape("mask", (3.0, 4.0), (4.0, 5.0), mask=png("x.", ".x", mode=mode)))
    assert item.shape == Pixels(frozenset({(3, 4), (4, 5)}))


@pytest.mark.parametrize(
    ("value", "label"),
    [("Mitotic figure", "mitosis"), ("hard-negative", "imposter"), ("fat", "fat"),
     ("", "mitosis"), (None, "mitosis"), (3, "3")],
)  # fmt: skip
def test_class(tmp_path: Path, value: Any, label: str) -> None:
    assert one(tmp_path, shape("point", (1, 2), label=value)).label == label


@pytest.mark.parametrize(("score", "confidence"), [(0.75, 0.75), (None, None)])
def test_confidence(tmp_path: Path, score: Any, confidence: Any) -> None:
    assert one(tmp_path, shape("point", (1, 2), score=score)).confidence == confidence
    assert one(tmp_path, shape("point", (1, 2))).confidence is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (shape("line", (1, 2), (3, 4)), "shape"),
        (shape("linestrip", (1, 2), (3, 4)), "shape"),
        (shape("points", (1, 2), (3, 4)), "shape"),
        (shape("rectangle", (1, 2), (1, 4)), "no_extent"),
        (shape("circle", (1, 2), (1, 2)), "no_extent"),
        (shape("mask", (3, 4), (4, 4), mask=png("..")), "no_extent"),
        (shape("mask", (0, 0), (2000, 2000), mask="x"), "shape"),  # a region, not a cell
    ],
)
def test_what_marks_no_cell_is_counted(tmp_path: Path, value: Any, reason: str) -> None:
    found = parsed(tmp_path, document(value))
    assert not found.annotations
    assert [(drop.reason, drop.where) for drop in found.dropped] == [(reason, "shapes[0]")]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, r"a\.json, shapes\[0\]: expected an object"),
        ({"shape_type": "polygon"}, "no key `points`"),
        (shape("circle", (1, 2)), r"key `points`: 1 points, expected 2"),
        (shape("rectangle", (1, 2), (3, 4), (5, 6)), "3 points, expected 2 or 4"),
        (shape("point", (1, 2), (3, 4)), "2 points, expected 1"),
        (shape("polygon", (1, math.nan)), r"key `points\[0\]`: nan"),
        (shape("polygon") | {"points": []}, "expected a list of points"),
        (shape(None, (1, 2)) | {"shape_type": ["x"]}, "key `shape_type`: expected text"),
        (shape("point", (1, 2), label=["x", {}]), "expected the name of a class"),
        (shape("point", (1, 2), score="high"), "key `score`: 'high' is not a number"),
        (shape("mask", (3, 4), (4, 5)), "no key `mask`"),
        (shape("mask", (3, 4), (4, 5), mask="é"), "key `mask`: not a PNG as base64"),
        (shape("mask", (3, 4), (4, 5), mask="AAAA"), "key `mask`: not a PNG as base64"),
        (shape("mask", (3, 4), (4, 5), mask=png("xx")),
         "mask of 2 x 1 px in a box of 2 x 2 px"),
        (shape("mask", (4, 5), (3, 4), mask=png("xx")), "in a box of 0 x 0 px"),
    ],
)  # fmt: skip
def test_damage_is_named(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parsed(tmp_path, document(value))
    found = parsed(tmp_path, document(value, shape("point", (1, 2))), bad="drop")
    assert [drop.reason for drop in found.dropped] == ["malformed"]
    assert len(found.annotations) == 1


@pytest.mark.parametrize("content", [{}, [], None, 3, {"shapes": {}}, [{"shapes": []}]])
def test_no_document_of_labelme(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InputError, match=r"a\.json: not an annotation file of LabelMe"):
        parsed(tmp_path, content)


def test_no_damage_crashes_the_reader(tmp_path: Path) -> None:
    content = document(
        shape("rectangle", (8, 6), (2, 3)),
        shape("circle", (20, 30), (23, 34), score=0.5),
        shape("polygon", (0, 0), (6, 0), (0, 6)),
        shape("mask", (10, 20), (12, 21), mask=png("xx.", ".x.")),
    )

    def inside(place: Place) -> bool:
        return len(place) > 1 and place[0] == "shapes"

    check_damage(read, tmp_path / "a.json", content, inside)


# --- images -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "found_at"),
    [
        ("x.png", "images/x"),
        ("..\\images\\x.png", "images/x"),
        ("C:\\data\\x.png", "images/x"),
        ("../images/twin.png", "images/twin"),
        ("../more/twin.png", "more/twin"),
        ("", "more/b"),
        (None, "more/b"),
        ("./", "more/b"),
        ("C:\\", "more/b"),
    ],
)
def test_the_image_is_the_one_named_else_that_of_the_files_name(
    tmp_path: Path, path: str | None, found_at: str
) -> None:
    for i, name in enumerate(("images/x", "images/twin", "more/twin", "more/b")):
        picture(tmp_path / f"{name}.png", 60 + i)
    file = tmp_path / "json" / "b.json"
    file.parent.mkdir()
    file.write_text(json.dumps(document(shape("point", (1, 2)), imagePath=path)))
    found = read(tmp_path, ReadOptions(unlabelled="skip"))
    [image] = found.images
    assert image.path == tmp_path / f"{found_at}.png"
    assert image.source == found_at.rpartition("/")[2]
    assert image.width != 70  # the image's own, not the file's


def test_files_of_one_name_in_folders(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.json").write_text(json.dumps(document(shape("point", (1, 2)))))
    found = read(tmp_path, ReadOptions(annotations_only=True))
    assert [image.source for image in found.images] == ["one/a", "two/a"]
    assert [item.source for item in found.annotations] == ["one/a", "two/a"]
    assert [image.size for image in found.images] == [(70, 50), (70, 50)]


def test_a_file_that_cannot_be_read_leaves_its_image_out(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png")
    (tmp_path / "a.json").write_text('{"shapes": 3}')
    (tmp_path / "b.json").write_text(json.dumps(document(imagePath="b.png")))
    found = read(tmp_path, ReadOptions(bad="drop", unlabelled="background"))
    assert [image.source for image in found.images] == ["b"]
    assert [drop.reason for drop in found.dropped] == ["unreadable_file"]
    assert [Path(image.file).name for image in found.left_out] == ["a.png"]
