"""QuPath's GeoJSON, read and written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from conftest import picture
from damaged import Place, check_damage
from roundtrip import annotation_sets, check_round_trip, marked

from converters.errors import InputError
from converters.model import Annotation, AnnotationSet
from converters.qupath import box_geometry, feature, features_of, read, write
from converters.read_options import ReadOptions
from converters.shapes import Ellipse, Pixels, Polygon

SQUARE = [[2, 2], [8, 2], [8, 6], [2, 6], [2, 2]]
HOLE = [[3, 3], [5, 3], [5, 5], [3, 5], [3, 3]]
TRIANGLE = [[10, 0], [16, 0], [10, 6], [10, 0]]
DIAMOND = [[5, 2], [8, 4], [5, 6], [2, 4], [5, 2]]


def polygon(*rings: Any, **more: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings), **more}


def cell(geometry: Any, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def parsed(folder: Path, document: Any, **options: Any) -> AnnotationSet:
    (folder / "a.geojson").write_text(json.dumps(document))
    return read(folder, ReadOptions(annotations_only=True, **options))


def one(folder: Path, value: Any) -> Annotation:
    found = parsed(folder, value)
    assert not found.dropped
    [item] = found.annotations
    assert item.source == "a"
    return item


@pytest.mark.parametrize(
    ("geometry", "kind", "x", "y", "box", "area"),
    [
        ({"type": "Point", "coordinates": [7.25, 8]}, "point", 7.25, 8, None, None),
        (polygon(SQUARE), "box", 5, 4, (2, 2, 8, 6), 24),
        (polygon(SQUARE[::-1]), "box", 5, 4, (2, 2, 8, 6), 24),
        (polygon(DIAMOND), "polygon", 5, 4, (2, 2, 8, 6), 12),
        (polygon(DIAMOND, isEllipse=True), "ellipse", 5, 4, (2, 2, 8, 6), 6 * math.pi),
        (polygon(DIAMOND, isEllipse=False), "polygon", 5, 4, (2, 2, 8, 6), 12),
        (polygon(SQUARE, HOLE), "polygon", 5.2, 4, (2, 2, 8, 6), 20),
        (
            {"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [TRIANGLE]]},
            "polygon", (24 * 5 - 4 * 4 + 18 * 12) / 38, (24 * 4 - 4 * 4 + 18 * 2) / 38,
            (2, 0, 16, 6), 38,
        ),
    ],
)  # fmt: skip
def test_every_geometry(
    tmp_path: Path, geometry: Any, kind: str, x: float, y: float, box: Any, area: Any
) -> None:
    item = one(tmp_path, cell(geometry))
    assert (item.x, item.y) == pytest.approx((x, y))
    assert (item.kind, item.box) == (kind, box)
    assert item.area == (area and pytest.approx(area))


def test_every_point_of_a_set_is_a_mark(tmp_path: Path) -> None:
    points = {"type": "MultiPoint", "coordinates": [[1, 2], [3, 4, 0]]}
    found = parsed(tmp_path, {"type": "FeatureCollection", "features": [cell(points)]})
    assert [(item.x, item.y, item.where) for item in found.annotations] == [
        (1, 2, "features[0].geometry.coordinates[0]"),
        (3, 4, "features[0].geometry.coordinates[1]"),
    ]


@pytest.mark.parametrize(
    ("document", "wheres"),
    [
        ({"type": "FeatureCollection", "features": [1, 2]}, ["features[0]", "features[1]"]),
        ({"features": []}, []),
        ([1], ["[0]"]),
        ({"type": "Feature", "geometry": None}, ["the feature"]),
        (
            [{"properties": {"childObjects": [{"properties": {"children": [5]}}, 6]}}, 7],
            [
                "[0]",
                "[0].childObjects[0]",
                "[0].childObjects[0].children[0]",
                "[0].childObjects[1]",
                "[1]",
            ],
        ),
    ],
)
def test_where_features_stand(document: Any, wheres: list[str]) -> None:
    assert [where for where, _ in features_of(document, "a.geojson")] == wheres


@pytest.mark.parametrize("document", [{}, 3, None, "x", {"features": {}}, {"type": "Polygon"}])
def test_no_document_of_features(document: Any) -> None:
    with pytest.raises(InputError, match=r"a\.geojson: not a GeoJSON document of QuPath"):
        features_of(document, "a.geojson")


@pytest.mark.parametrize(
    ("properties", "label"),
    [
        ({}, "mitosis"),
        ({"classification": None}, "mitosis"),
        ({"classification": {"name": "Mitosis", "color": [1, 2, 3]}}, "mitosis"),
        ({"classification": {"name": "Mitosis", "colorRGB": -65536}}, "mitosis"),
        ({"classification": {"name": "Non-mitosis"}}, "imposter"),
        ({"classification": {"names": ["Tumor", "Mitotic figure"]}}, "mitosis"),
        ({"classification": {"name": "Hard negative: Positive"}}, "imposter"),
        ({"classification": "Imposter"}, "imposter"),
        ({"classification": {"name": "Tumor: Positive"}}, "Tumor: Positive"),
        ({"classification": {"name": "Tumor"}}, "Tumor"),
        ({"classification": {}}, "mitosis"),
        ({"classification": {"name": ""}}, "mitosis"),
    ],
)
def test_class(tmp_path: Path, properties: dict[str, Any], label: str) -> None:
    assert one(tmp_path, cell(polygon(SQUARE), **properties)).label == label


@pytest.mark.parametrize(
    ("measurements", "confidence"),
    [
        ({"score": 0.75, "Area": 3}, 0.75),
        ({"confidence": 0.5, "score": 0.75}, 0.5),
        ({"Probability": 1}, 1.0),
        ([{"name": "Area", "value": 9}, {"name": "score", "value": 0.25}], 0.25),
        ({"score": math.nan}, None),
        ({"confidence": math.nan, "score": 0.75}, 0.75),
        ({"confidence": 0.0, "score": 0.75}, 0.0),
        ({"score": None}, None),
        ({"Area": 9}, None),
        ({}, None),
        (None, None),
    ],
)
def test_confidence(tmp_path: Path, measurements: Any, confidence: float | None) -> None:
    assert one(tmp_path, cell(polygon(SQUARE), measurements=measurements)).confidence == confidence


@pytest.mark.parametrize("kind", ["annotation", "detection", "cell", "unknown"])
@pytest.mark.parametrize("key", ["objectType", "object_type", "type"])
def test_objects_that_mark_cells(tmp_path: Path, kind: str, key: str) -> None:
    value = cell(polygon(SQUARE), **{key: kind}) | {"nucleusGeometry": polygon(HOLE)}
    assert one(tmp_path, value).box == (2, 2, 8, 6)


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (cell(polygon(SQUARE), objectType="tile"), "shape", "type 'tile'"),
        (cell(polygon(SQUARE), objectType="tmaCore"), "shape", "type 'tmaCore'"),
        (cell(polygon(SQUARE), object_type="tma_core"), "shape", "type 'tma_core'"),
        (cell(None, objectType="root"), "shape", "type 'root'"),
        (cell(polygon(SQUARE)) | {"id": "PathTileObject"}, "shape", "PathTileObject"),
        (cell(None), "shape", "without geometry"),
        (cell({"type": "LineString", "coordinates": [[0, 0], [5, 5]]}), "shape", "LineString"),
        (cell({"type": "GeometryCollection", "geometries": []}), "shape", "GeometryCollection"),
        (cell({"type": ["Point"]}), "shape", "marks no cell"),
        (cell({"type": "MultiPoint", "coordinates": []}), "no_extent", "empty"),
        (cell(polygon([[1, 1], [5, 1], [1, 1]])), "no_extent", "polygon without extent"),
        (cell(polygon([[1, 1], [1, 1], [1, 1], [1, 1]])), "no_extent", "without extent"),
    ],
)
def test_what_marks_no_cell_is_counted(
    tmp_path: Path, value: Any, reason: str, detail: str
) -> None:
    found = parsed(tmp_path, [value])
    assert not found.annotations
    [drop] = found.dropped
    assert (drop.reason, drop.where) == (reason, "[0]")
    assert detail in drop.detail


def test_a_region_around_cells_is_none_itself(tmp_path: Path) -> None:
    inner = cell(polygon(DIAMOND), classification={"name": "Mitosis"})
    unnamed = cell(polygon(SQUARE), childObjects=[inner])
    named = cell(polygon(SQUARE), childObjects=[inner], classification={"name": "Mitosis"})
    found = parsed(tmp_path, [unnamed, named])
    assert [item.where for item in found.annotations] == [
        "[0].childObjects[0]", "[1]", "[1].childObjects[0]",
    ]  # fmt: skip
    assert [(drop.where, drop.reason) for drop in found.dropped] == [("[0]", "shape")]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("cell", r"a\.geojson, \[0\]: expected an object"),
        ({"type": "Feature"}, "no key `geometry`"),
        (cell({"type": "Point"}), r"\[0\], key `geometry`: no key `coordinates`"),
        (cell({"type": "Point", "coordinates": [1, "x"]}), "'x' is not a number"),
        (cell({"type": "Point", "coordinates": [1]}), r"expected \[x, y\]"),
        (cell(polygon(3)), r"coordinates\[0\]`: expected a list of points"),
        (cell(polygon([[1, 2], [3, math.nan]])), r"key `coordinates\[0\]\[1\]`: nan"),
        (cell({"type": "MultiPolygon", "coordinates": [3]}), r"coordinates\[0\]`: expected a list"),
        (cell({"type": "MultiPolygon", "coordinates": [[]]}), "expected a list of rings"),
        (cell(polygon(SQUARE), classification=3.5) | {"properties": 7}, "expected an object"),
        (cell(polygon(SQUARE), classification=True), "expected the name of a class, found True"),
        (
            cell(polygon(SQUARE), classification={"names": ["Mitosis", "Imposter"]}),
            "Mitosis, Imposter are two classes",
        ),
        (cell(polygon(SQUARE), measurements=3), "key `measurements`: expected an object"),
        (cell(polygon(SQUARE), measurements=[{"name": "score"}]), "no key `value`"),
        (cell(polygon(SQUARE), measurements={"score": "high"}), "'high' is not a number"),
        (cell(polygon(SQUARE), childObjects=3), "key `childObjects`: expected a list"),
    ],
)
def test_damage_is_named(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parsed(tmp_path, [value])
    found = parsed(tmp_path, [value, cell(polygon(DIAMOND))], bad="drop")
    assert [drop.reason for drop in found.dropped] == ["malformed"]
    assert [item.area for item in found.annotations] == [pytest.approx(12)]


def test_no_damage_crashes_the_reader(tmp_path: Path) -> None:
    named = {"classification": {"name": "Mitosis"}, "measurements": {"score": 0.5}}
    document = {
        "type": "FeatureCollection",
        "features": [
            cell(polygon(SQUARE, HOLE), objectType="annotation", **named),
            cell({"type": "MultiPolygon", "coordinates": [[DIAMOND]]}, childObjects=[]),
            cell(polygon(DIAMOND, isEllipse=True), measurements=[{"name": "score", "value": 1}]),
            cell({"type": "Point", "coordinates": [4, 5]}, classification={"names": ["Mitosis"]}),
        ],
    }

    def inside(place: Place) -> bool:  # not where features are counted, nor other places of marks
        return len(place) > 3 and not {"type", "childObjects"} & {*place}

    check_damage(read, tmp_path / "a.geojson", document, inside)


@pytest.mark.parametrize("name", ["s.geojson", "s.svs.geojson", "s.json", "deep/s.tiff.geojson"])
def test_a_file_belongs_to_the_image_of_its_name(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "slides" / "s.tiff", 70, 50)
    path = tmp_path / "json" / name
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([cell(polygon(SQUARE))]))
    found = read(tmp_path / "json", ReadOptions(images=tmp_path / "slides"))
    [image] = found.images
    assert (image.source, image.case, image.size) == ("s", "s", (70, 50))
    assert [item.source for item in found.annotations] == ["s"]


def test_a_file_that_cannot_be_read_leaves_its_image_out(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        picture(tmp_path / f"{name}.png")
    (tmp_path / "a.geojson").write_text("[")
    (tmp_path / "b.geojson").write_text("[]")
    (tmp_path / "other.json").write_text('{"name": "no image"}')
    with pytest.raises(InputError, match=r"a\.geojson, line 1, column 2: not valid JSON"):
        read(tmp_path, ReadOptions())
    found = read(tmp_path, ReadOptions(bad="drop", unlabelled="background"))
    assert [image.source for image in found.images] == ["b", "c"]
    assert [drop.reason for drop in found.dropped] == ["unreadable_file", "unreadable_file"]
    assert [Path(image.file).name for image in found.left_out] == ["a.png"]


# --- written ----------------------------------------------------------------------------------


def written(*items: Annotation) -> list[dict[str, Any]]:
    [(name, text)] = write(marked(*items), lambda line: None)
    assert name == "s.geojson"
    document = json.loads(text)
    assert document["type"] == "FeatureCollection"
    return document["features"]


def mark(shape: Any, kind: str, **facts: Any) -> Annotation:
    x, y = shape.centroid if shape else (5.5, 6.25)
    box = shape.box if shape else (1.0, 2.0, 10.0, 10.5)
    facts = {"label": "mitosis", **facts}
    return Annotation(
        source="s", x=x, y=y, kind=kind, box=box, shape=shape, file="f", where="w", **facts
    )


def test_properties() -> None:
    first, second = written(mark(None, "box", confidence=0.8), mark(None, "box", label="imposter"))
    assert first["properties"] == {
        "objectType": "annotation",
        "classification": {"name": "Mitosis", "color": [220, 0, 0]},
        "measurements": {"confidence": 0.8},
    }
    assert second["properties"]["classification"]["name"] == "Imposter"
    assert "measurements" not in second["properties"]


def test_boxes_and_points() -> None:
    box, point = written(mark(None, "box"), mark(None, "point"))
    assert box["geometry"] == {
        "type": "Polygon",
        "coordinates": [[[1, 2], [10, 2], [10, 10.5], [1, 10.5], [1, 2]]],
    }
    assert point["geometry"] == {"type": "Point", "coordinates": [5.5, 6.25]}


@pytest.mark.parametrize(
    ("ellipse", "size"),
    [
        (Ellipse(20, 30, 8, 4), (8, 4)),
        (Ellipse(20, 30, 8, 4, math.pi), (8, 4)),
        (Ellipse(20, 30, 8, 4, -math.pi / 2), (4, 8)),
        (Ellipse(20, 30, 6, 6, 0.7), (6, 6)),
    ],
)
def test_an_upright_ellipse_fills_its_box_exactly(
    ellipse: Ellipse, size: tuple[float, float]
) -> None:
    [value] = written(mark(ellipse, "ellipse"))
    assert value["geometry"]["isEllipse"] is True
    [ring] = value["geometry"]["coordinates"]
    assert ring[0] == ring[-1]
    xs, ys = zip(*ring, strict=True)
    assert (min(xs), max(xs)) == (20 - size[0] / 2, 20 + size[0] / 2)
    assert (min(ys), max(ys)) == (30 - size[1] / 2, 30 + size[1] / 2)
    for x, y in ring:
        assert ((x - 20) * 2 / size[0]) ** 2 + ((y - 30) * 2 / size[1]) ** 2 == pytest.approx(1)


def test_a_turned_ellipse_is_a_polygon() -> None:
    [value] = written(mark(Ellipse(20, 30, 8, 4, 0.3), "ellipse"))
    assert value["geometry"]["type"] == "Polygon"
    assert "isEllipse" not in value["geometry"]
    assert len(value["geometry"]["coordinates"][0]) == 65


def test_rings_keep_their_holes() -> None:
    outer, hole, island = (
        ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0)),
        ((2.0, 2.0), (7.0, 2.0), (7.0, 7.0), (2.0, 7.0)),
        ((4.0, 4.0), (5.0, 4.0), (5.0, 5.0), (4.0, 5.0)),
    )
    [value] = written(mark(Polygon((island, outer), (hole,)), "polygon"))
    assert value["geometry"]["type"] == "MultiPolygon"
    assert [len(part) for part in value["geometry"]["coordinates"]] == [1, 2]
    [value] = written(mark(Polygon((outer,), (hole,)), "polygon"))
    assert value["geometry"]["coordinates"] == [
        [list(point) for point in (*ring, ring[0])] for ring in (outer, hole)
    ]


def test_pixels_become_their_outline() -> None:
    [value] = written(mark(Pixels(frozenset({(3, 4), (4, 4)})), "pixels"))
    assert value["geometry"]["coordinates"] == [[[3, 4], [5, 4], [5, 5], [3, 5], [3, 4]]]


def test_an_image_without_marks_has_its_file() -> None:
    assert written() == []


def test_a_detection() -> None:
    value = feature(box_geometry((0, 0, 2, 3)), "mitosis", object_type="detection",
                    measurements={"score": 0.5})  # fmt: skip
    assert value["properties"]["objectType"] == "detection"
    assert value["geometry"]["coordinates"] == [[[0, 0], [2, 0], [2, 3], [0, 3], [0, 0]]]


@annotation_sets
def test_what_is_written_is_read_back(found: AnnotationSet) -> None:
    check_round_trip(found, write, read, turned_ellipses=False)
