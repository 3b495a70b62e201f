"""The same marks in the files of five tools are the same marks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roundtrip import marked

from converters import cadd4mbc, labelme, labelstudio, large_image, qupath, via
from converters.model import Annotation, AnnotationSet
from converters.read_options import ReadOptions
from converters.registry import Reader
from converters.shapes import Ellipse

SIZE = (4000, 3000)

_PLACE = st.floats(100, 2900).map(lambda value: round(value, 3))
_LENGTH = st.floats(1, 90).map(lambda value: round(value, 3))

Mark = tuple[float, float, float, float, float]
"""x, y, width, height and rotation in radians; a point has no width, a box no rotation."""

ellipses = st.tuples(_PLACE, _PLACE, _LENGTH, _LENGTH, st.floats(0.01, 3.1))
boxes = st.tuples(_PLACE, _PLACE, _LENGTH, _LENGTH, st.just(0.0))
points = st.tuples(_PLACE, _PLACE, st.just(0.0), st.just(0.0), st.just(0.0))


def in_via(marks: list[Mark]) -> str:
    def shape(x: float, y: float, width: float, height: float, turn: float) -> dict[str, Any]:
        if not width:
            return {"name": "point", "cx": x, "cy": y}
        if not turn:
            corner = {"x": x - width / 2, "y": y - height / 2}
            return {"name": "rect", **corner, "width": width, "height": height}
        return {"name": "ellipse", "cx": x, "cy": y, "rx": width / 2, "ry": height / 2,
                "theta": turn}  # fmt: skip

    regions = [{"shape_attributes": shape(*mark), "region_attributes": {}} for mark in marks]
    return json.dumps({"k": {"filename": "s.png", "size": 1, "regions": regions}})


def in_labelme(marks: list[Mark]) -> str:
    def shape(x: float, y: float, width: float, height: float, turn: float) -> dict[str, Any]:
        if not width:
            return {"shape_type": "point", "points": [[x, y]]}
        if not turn:
            corners = [[x + width / 2, y - height / 2], [x - width / 2, y + height / 2]]
            return {"shape_type": "rectangle", "points": corners}
        [ring] = Ellipse(x, y, width, height, turn).outline().rings  # LabelMe has no ellipse
        return {"shape_type": "polygon", "points": ring}

    shapes = [{"label": "mitosis", **shape(*mark)} for mark in marks]
    return json.dumps({"imagePath": "s.png", "shapes": shapes})


def in_labelstudio(marks: list[Mark]) -> str:
    across, down = 100 / SIZE[0], 100 / SIZE[1]

    def region(x: float, y: float, width: float, height: float, turn: float) -> dict[str, Any]:
        if not width:
            return {"type": "keypoint", "value": {"x": x * across, "y": y * down}}
        if not turn:
            return {"type": "rectangle", "value": {
                "x": (x - width / 2) * across, "y": (y - height / 2) * down,
                "width": width * across, "height": height * down, "rotation": 0,
            }}  # fmt: skip
        return {"type": "ellipse", "value": {
            "x": x * across, "y": y * down, "radiusX": width / 2 * across,
            "radiusY": height / 2 * down, "rotation": math.degrees(turn),
        }}  # fmt: skip

    size = {"original_width": SIZE[0], "original_height": SIZE[1]}
    result = [size | {"id": str(i)} | region(*mark) for i, mark in enumerate(marks)]
    return json.dumps([{"data": {"image": "s.png"}, "annotations": [{"result": result}]}])


def _marks(marks: list[Mark]) -> AnnotationSet:
    def item(x: float, y: float, width: float, height: float, turn: float) -> Annotation:
        shape = Ellipse(x, y, width, height, turn) if turn else None
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return Annotation(
            source="s", label="mitosis", x=x, y=y, box=shape.box if shape else box, shape=shape,
            kind="ellipse" if turn else "box" if width else "point", file="f", where="w",
        )  # fmt: skip

    return marked(*(item(*mark) for mark in marks))


def in_qupath(marks: list[Mark]) -> str:
    return next(text for _, text in qupath.write(_marks(marks), lambda line: None))


def in_dsa(marks: list[Mark]) -> str:
    return next(text for _, text in large_image.write(_marks(marks), lambda line: None))


def read_back(text: str, read: Reader, folder: Path) -> list[Annotation]:
    (folder / "s.json").write_text(text)
    found = read(folder, ReadOptions(annotations_only=True))
    assert [image.source for image in found.images] == ["s"]
    assert not found.dropped
    return found.annotations


@given(st.lists(st.one_of(ellipses, boxes, points), min_size=1, max_size=5))
def test_the_same_marks_in_the_files_of_five_tools(
    tmp_path_factory: pytest.TempPathFactory, marks: list[Mark]
) -> None:
    folder = tmp_path_factory.mktemp("marks")
    for write, read in (
        (in_via, via.read),
        (in_labelme, labelme.read),
        (in_labelstudio, labelstudio.read),
        (in_qupath, qupath.read),
        (in_dsa, cadd4mbc.read),
    ):
        found = read_back(write(marks), read, folder)
        for item, (x, y, width, height, turn) in zip(found, marks, strict=True):
            assert (item.x, item.y) == pytest.approx((x, y), abs=1e-6)
            assert item.label == "mitosis"
            if not width:
                assert (item.kind, item.box) == ("point", None)
                continue
            # an ellipse's box by its formula, and a box's is the same without rotation
            cos, sin = (math.cos(turn), math.sin(turn)) if turn else (1.0, 0.0)
            across = math.hypot(width / 2 * cos, height / 2 * sin)
            down = math.hypot(width / 2 * sin, height / 2 * cos)
            box = (x - across, y - down, x + across, y + down)
            assert item.box == pytest.approx(box, abs=1e-6)
