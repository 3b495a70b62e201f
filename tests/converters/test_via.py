"""VGG Image Annotator: projects and exports of versions 1 and 2."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from conftest import picture
from damaged import Place, check_damage

from converters.errors import InputError
from converters.model import Annotation, AnnotationSet
from converters.read_options import ReadOptions
from converters.shapes import Ellipse, Polygon
from converters.via import entries_of, read

ELLIPSE = {"name": "ellipse", "cx": 20, "cy": 30, "rx": 8, "ry": 4, "theta": math.pi / 2}


def region(shape: Any, **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes}


def entry(*regions: Any, filename: str = "a.png") -> dict[str, Any]:
    return {"filename": filename, "size": 12345, "regions": list(regions), "file_attributes": {}}


def parsed(folder: Path, *entries: Any, **options: Any) -> AnnotationSet:
    document = {f"image{i}.png12345": value for i, value in enumerate(entries)}
    (folder / "via.json").write_text(json.dumps(document))
    return read(folder, ReadOptions(annotations_only=True, **options))


def one(folder: Path, value: Any) -> Annotation:
    found = parsed(folder, entry(value))
    assert not found.dropped
    [item] = found.annotations
    assert item.source == "a"
    return item


@pytest.mark.parametrize(
    ("shape", "kind", "x", "y", "box", "area"),
    [
        (ELLIPSE, "ellipse", 20, 30, (16, 22, 24, 38), 32 * math.pi),
        (
            {"name": "ellipse", "cx": 20.5, "cy": 30, "rx": 8, "ry": 4},
            "ellipse", 20.5, 30, (12.5, 26, 28.5, 34), 32 * math.pi,
        ),
        ({"name": "circle", "cx": 5, "cy": 6, "r": 2.5}, "circle", 5, 6, (2.5, 3.5, 7.5, 8.5),
         6.25 * math.pi),
        ({"name": "rect", "x": 2, "y": 3, "width": 4, "height": 5}, "box", 4, 5.5, (2, 3, 6, 8),
         20),
        (
            {"name": "polygon", "all_points_x": [0, 6, 0, 0], "all_points_y": [0, 0, 6, 0]},
            "polygon", 2, 2, (0, 0, 6, 6), 18,
        ),
        ({"name": "point", "cx": 7.25, "cy": 8}, "point", 7.25, 8, None, None),
    ],
)  # fmt: skip
def test_every_shape(
    tmp_path: Path, shape: Any, kind: str, x: float, y: float, box: Any, area: Any
) -> None:
    item = one(tmp_path, region(shape))
    assert (item.x, item.y) == pytest.approx((x, y))
    assert item.kind == kind
    assert item.box == (box and pytest.approx(box))
    assert item.area == (area and pytest.approx(area))


def test_an_ellipse_has_half_axes_and_turns_clockwise(tmp_path: Path) -> None:
    assert one(tmp_path, region(ELLIPSE | {"theta": 0.25})).shape == Ellipse(20, 30, 16, 8, 0.25)


@pytest.mark.parametrize(
    ("attributes", "label"),
    [
        ({}, "mitosis"),
        ({"label": "Non-mitosis"}, "imposter"),
        ({"Class ": "mitotic figure", "note": "imposter?"}, "mitosis"),
        ({"type": {"imposter": True, "mitosis": False}}, "imposter"),
        ({"type": {"imposter": False, "mitosis": False}}, "mitosis"),
        ({"cell": "Hard negative"}, "imposter"),  # the only attribute, whatever its name
        ({"cell": ""}, "mitosis"),
        ({"label": "", "note": "blurred"}, "mitosis"),
        ({"label": "fat"}, "fat"),
        ({"name": "mitosis", "type": "unknown", "image_quality": {"good": True}}, "mitosis"),
        ({"name": "cell 3", "type": "unknown"}, "unknown"),
        ({"label": "fat", "type": "imposter"}, "imposter"),
    ],
)
def test_class(tmp_path: Path, attributes: dict[str, Any], label: str) -> None:
    assert one(tmp_path, region(ELLIPSE, **attributes)).label == label


def test_a_polygon_does_not_repeat_its_first_point(tmp_path: Path) -> None:
    shape = {"name": "polygon", "all_points_x": [0, 6, 0, 0], "all_points_y": [0, 0, 6, 0]}
    assert one(tmp_path, region(shape)).shape == Polygon((((0, 0), (6, 0), (0, 6)),))


def test_a_region_without_attributes_is_a_mitosis(tmp_path: Path) -> None:
    assert one(tmp_path, {"shape_attributes": ELLIPSE}).label == "mitosis"


def test_projects_and_exports(tmp_path: Path) -> None:
    export = {"a.png1": entry(region(ELLIPSE))}
    [(where, value)] = entries_of(export, "via.json")
    assert (where, value) == ("key 'a.png1'", export["a.png1"])
    project = {"_via_settings": {}, "_via_img_metadata": export, "_via_attributes": {}}
    assert [value for _, value in entries_of(project, "via.json")] == [export["a.png1"]]
    assert entries_of({"_via_img_metadata": {}}, "via.json") == []


def test_version_1_keeps_regions_in_an_object(tmp_path: Path) -> None:
    value = entry() | {"regions": {"0": region(ELLIPSE), "1": region(ELLIPSE | {"cx": 50})}}
    found = parsed(tmp_path, value, entry(filename="b.png"))
    assert [(item.x, item.where) for item in found.annotations] == [
        (20, "key 'image0.png12345'.regions['0']"),
        (50, "key 'image0.png12345'.regions['1']"),
    ]
    assert [image.source for image in found.images] == ["a", "b"]  # b: none on it


@pytest.mark.parametrize(
    "document", [{}, [], 3, None, "x", {"a": {"filename": "a.png"}}, {"_via_img_metadata": 3}]
)
def test_no_document_of_via(document: Any) -> None:
    with pytest.raises(InputError, match=r"^v\.json: not an annotation file of VIA"):
        entries_of(document, "v.json")


def test_version_3_is_named() -> None:
    document: dict[str, Any] = {"project": {}, "config": {}, "file": {}, "metadata": {}}
    with pytest.raises(InputError, match=r"VIA 3, which is not read; .*VIA 2"):
        entries_of(document, "v.json")


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ({"name": "polyline", "all_points_x": [1, 2], "all_points_y": [3, 4]}, "shape"),
        ({"name": "spline"}, "shape"),
        (ELLIPSE | {"rx": 0}, "no_extent"),
        ({"name": "rect", "x": 2, "y": 3, "width": 0, "height": 5}, "no_extent"),
        ({"name": "polygon", "all_points_x": [1], "all_points_y": [3]}, "no_extent"),
    ],
)
def test_what_marks_no_cell_is_counted(tmp_path: Path, shape: Any, reason: str) -> None:
    found = parsed(tmp_path, entry(region(shape)))
    assert not found.annotations
    assert [(drop.reason, drop.where) for drop in found.dropped] == [
        (reason, "key 'image0.png12345'.regions[0]")
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, r"via\.json, key 'image0\.png12345'\.regions\[0\]: expected an object"),
        ({}, "no key `shape_attributes`"),
        (region({"cx": 3}), "key `shape_attributes`: no key `name`"),
        (region(ELLIPSE | {"rx": -1}), "key `rx`: -1.0 is negative"),
        (region(ELLIPSE | {"theta": "x"}), "key `theta`: 'x' is not a number"),
        (region({"name": "rect", "x": 1, "y": 2, "width": 3}), "no key `height`"),
        (region({"name": "point", "cx": 1}), "no key `cy`"),
        (
            region({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [3]}),
            "2 all_points_x and 1 all_points_y",
        ),
        (region({"name": "polygon", "all_points_x": 3, "all_points_y": 3}), "expected a list"),
        (region(ELLIPSE, note="x", quality="y"), "attributes note, quality, of which none"),
        (region(ELLIPSE, label={"mitosis": True, "imposter": True}), "are two classes"),
        (region(ELLIPSE, label=[[]]), "expected the name of a class"),
        ({"shape_attributes": ELLIPSE, "region_attributes": 3}, "expected an object"),
    ],
)
def test_damage_is_named(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parsed(tmp_path, entry(value))
    found = parsed(tmp_path, entry(value, region(ELLIPSE)), bad="drop")
    assert [drop.reason for drop in found.dropped] == ["malformed"]
    assert len(found.annotations) == 1


def test_no_damage_crashes_the_reader(tmp_path: Path) -> None:
    document = {
        "_via_img_metadata": {
            "a": entry(
                region(ELLIPSE, label="mitosis"),
                region({"name": "circle", "cx": 5, "cy": 6, "r": 2}, label={"mitosis": True}),
                region({"name": "rect", "x": 2, "y": 3, "width": 4, "height": 5}),
            ),
            "b": entry(
                region({"name": "polygon", "all_points_x": [0, 6, 0], "all_points_y": [0, 0, 6]}),
                filename="b.png",
            )
            | {"regions": {"0": region({"name": "point", "cx": 1, "cy": 2})}},
        }
    }

    def inside(place: Place) -> bool:
        return len(place) > 3 and place[2] == "regions"

    check_damage(read, tmp_path / "via.json", document, inside)


# --- images -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "filename", ["a.png", "tiles/a.png", "C:\\tiles\\a.png", "https://x.org/tiles/a.png", "a.tif"]
)
def test_an_image_is_found_by_its_name(tmp_path: Path, filename: str) -> None:
    picture(tmp_path / "images" / "a.png", 70, 50)
    picture(tmp_path / "images" / "other.png")
    (tmp_path / "via.json").write_text(json.dumps({"k": entry(region(ELLIPSE), filename=filename)}))
    found = read(tmp_path / "via.json", ReadOptions(images=tmp_path / "images"))
    assert [(image.source, image.size) for image in found.images] == [("a", (70, 50))]
    assert [(Path(image.file).name, image.reason) for image in found.left_out] == [
        ("other.png", "unlabelled")
    ]


def test_an_image_that_is_not_there(tmp_path: Path) -> None:
    picture(tmp_path / "b.png")
    (tmp_path / "via.json").write_text(json.dumps({"k": entry(region(ELLIPSE), region(ELLIPSE))}))
    with pytest.raises(InputError, match=r"via\.json, key 'k': no image 'a\.png'"):
        read(tmp_path, ReadOptions())
    found = read(tmp_path, ReadOptions(bad="drop"))
    assert [drop.reason for drop in found.dropped] == ["no_image", "no_image"]


@pytest.mark.parametrize("damage", ["{", '{"name": "another tool\'s"}'])
def test_after_an_unreadable_file_no_image_is_background(tmp_path: Path, damage: str) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png")
    (tmp_path / "1.json").write_text(json.dumps({"k": entry(region(ELLIPSE))}))
    (tmp_path / "2.json").write_text(damage)
    found = read(tmp_path, ReadOptions(bad="drop", unlabelled="background"))
    assert [image.source for image in found.images] == ["a"]
    assert [drop.reason for drop in found.dropped] == ["unreadable_file"]
    assert [Path(image.file).name for image in found.left_out] == ["b.png"]


@pytest.mark.parametrize("value", [entry() | {"regions": 3}, entry(filename=""), 3])
def test_an_image_whose_entry_is_damaged_is_left_out(tmp_path: Path, value: Any) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png")
    document = {"k": value, "l": entry(region(ELLIPSE), filename="b.png")}
    (tmp_path / "via.json").write_text(json.dumps(document))
    found = read(tmp_path, ReadOptions(bad="drop", unlabelled="background"))
    assert [image.source for image in found.images] == ["b"]
    assert [Path(image.file).name for image in found.left_out] == ["a.png"]
    assert found.read == 2
