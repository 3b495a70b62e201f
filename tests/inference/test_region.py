"""Regions from QuPath, ASAP and ImageScope: what they hold, and how large they are."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.errors import InputError
from converters.rings import box_corners
from converters.shapes import Polygon, Ring
from mitoyolo.inference.region import Region, read_region

Box = tuple[float, float, float, float]


def boxes(*of: Box, holes: tuple[Box, ...] = ()) -> Region:
    cut = tuple(box_corners(hole) for hole in holes)
    return Region(tuple(Polygon((box_corners(box),), cut) for box in of))


def ring(box: Box) -> list[list[float]]:
    corners = [list(point) for point in box_corners(box)]
    return [*corners, corners[0]]


def feature(kind: str, coordinates: Any, **properties: Any) -> dict[str, Any]:
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def geojson(path: Path, *features: Any) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))
    return path


def asap(path: Path, kind: str, *points: tuple[float, float]) -> Path:
    inside = "".join(
        f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in enumerate(points)
    )
    path.write_text(
        f'<ASAP_Annotations><Annotations><Annotation Name="a" Type="{kind}" PartOfGroup="Tumor">'
        f"<Coordinates>{inside}</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )
    return path


def imagescope(path: Path, *regions: tuple[int, int, list[tuple[float, float]]]) -> Path:
    text = ""
    for kind, negative, points in regions:
        inside = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in points)
        text += (
            f'<Region Type="{kind}" NegativeROA="{negative}"><Vertices>{inside}</Vertices></Region>'
        )
    path.write_text(
        f"<Annotations><Annotation Id='1'><Regions>{text}</Regions></Annotation></Annotations>"
    )
    return path


def area(region: Region, size: tuple[int, int] = (1000, 1000)) -> float:
    """px²."""
    return region.area_mm2((1.0, 1.0), size) * 1e6


# --- what it holds ----------------------------------------------------------------------------


def crosses(ring: Ring, x: float, y: float) -> bool:
    """The even-odd rule, point by point."""
    odd = False
    for (ax, ay), (bx, by) in zip(ring, ring[1:] + ring[:1], strict=True):
        if (ax <= x) != (bx <= x) and ay + (x - ax) / (bx - ax) * (by - ay) < y:
            odd = not odd
    return odd


numbers = st.integers(0, 12).map(float) | st.floats(0, 12, allow_nan=False)
corners = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=9).map(tuple)


@given(
    st.lists(st.tuples(corners, st.lists(corners, max_size=2)), min_size=1, max_size=3),
    st.lists(st.tuples(numbers, numbers), max_size=30),
)
def test_points_by_the_even_odd_rule(
    parts: list[tuple[Ring, list[Ring]]], points: list[tuple[float, float]]
) -> None:
    region = Region(tuple(Polygon((outer,), tuple(holes)) for outer, holes in parts))
    expected = [
        any(
            crosses(outer, x, y) and not any(crosses(hole, x, y) for hole in holes)
            for outer, holes in parts
        )
        for x, y in points
    ]
    assert region.contains(np.array(points).reshape(-1, 2)).tolist() == expected


def test_no_points() -> None:
    assert boxes((0, 0, 9, 9)).contains(np.empty((0, 2))).shape == (0,)


def test_many_edges_and_points_are_taken_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    star = tuple(
        (50 + (40 if i % 2 else 8) * math.cos(i / 10 * math.pi),
         50 + (40 if i % 2 else 8) * math.sin(i / 10 * math.pi))
        for i in range(20)
    )  # fmt: skip
    points = np.random.default_rng(0).uniform(0, 100, (500, 2))
    whole = Region((Polygon((star,)),)).contains(points)
    assert 0 < whole.sum() < 500
    monkeypatch.setattr("mitoyolo.inference.region._AT_ONCE", 100)
    assert (Region((Polygon((star,)),)).contains(points) == whole).all()


def test_an_island_in_a_hole_is_inside() -> None:
    region = Region((*boxes((0, 0, 90, 90), holes=((30, 30, 60, 60),)).parts,
                     *boxes((40, 40, 50, 50)).parts))  # fmt: skip
    assert region.contains(np.array([[10, 10], [35, 35], [45, 45.0]])).tolist() == [1, 0, 1]
    assert area(region) == pytest.approx(8100 - 900 + 100, rel=1e-3)


# --- how large it is --------------------------------------------------------------------------


def test_area_is_in_mm2_of_both_axes() -> None:
    assert boxes((0, 0, 200, 100)).area_mm2((0.5, 0.25), (1000, 1000)) == pytest.approx(0.0025)


def test_overlapping_parts_count_once() -> None:
    assert area(boxes((0, 0, 100, 100), (50, 50, 150, 150))) == pytest.approx(17_500, rel=1e-3)
    assert area(boxes((0, 0, 100, 100), (0, 0, 100, 100))) == pytest.approx(10_000, rel=1e-3)
    assert area(boxes((0, 0, 100, 50), (0, 50, 100, 100))) == pytest.approx(
        10_000, rel=1e-3
    )  # one above the other


def test_what_lies_beyond_the_slide_is_no_area() -> None:
    assert area(boxes((-50, -50, 100, 100)), (80, 60)) == pytest.approx(80 * 60, rel=1e-3)
    assert area(boxes((0, 0, 100, 10)), (80, 60)) == pytest.approx(800)
    assert area(boxes((500, 500, 600, 600)), (80, 60)) == 0


def test_the_area_of_a_polygon() -> None:
    circle = tuple(
        (500 + 400 * math.cos(i / 500 * math.pi), 500 + 400 * math.sin(i / 500 * math.pi))
        for i in range(1000)
    )
    assert area(Region((Polygon((circle,)),))) == pytest.approx(math.pi * 400**2, rel=1e-4)


@given(st.lists(corners, min_size=1, max_size=3))
def test_a_mask_is_of_what_it_contains(rings: list[Ring]) -> None:
    # shifted off the centres of pixels, on which an outline may or may not lie
    region = Region(tuple(Polygon((ring,)).mapped(1, 1, 0.013, 0.017) for ring in rings))
    mask = region.mask((12, 14), (1.0, 1.0))
    y, x = np.mgrid[:12, :14] + 0.5
    held = region.contains(np.stack([x.ravel(), y.ravel()], axis=1)).reshape(12, 14)
    assert (mask == held).all()


def test_a_mask_of_coarse_pixels() -> None:
    mask = boxes((20, 8, 60, 24)).mask((4, 5), (20.0, 8.0))
    assert mask.tolist() == [[0] * 5, [0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0] * 5]


def test_a_rectangle_of_parts_of_pixels_is_exact() -> None:
    assert area(boxes((0.3, 0.4, 0.7, 1.1))) == pytest.approx(0.28)


def test_box() -> None:
    assert boxes((10, 20, 30, 40), (5, 30, 8, 90)).box == (5, 20, 30, 90)


# --- how it is read ---------------------------------------------------------------------------


def test_qupath(tmp_path: Path) -> None:
    path = geojson(
        tmp_path / "roi.geojson",
        feature("Polygon", [ring((0, 0, 100, 100)), ring((40, 40, 60, 60))],
                objectType="annotation", classification={"name": "Tumor"}),
        feature("MultiPolygon", [[ring((200, 0, 300, 100))], [ring((400, 0, 410, 10))]]),
        {**feature("Polygon", [ring((500, 0, 600, 100))]),
         "geometry": {"type": "Polygon", "coordinates": [ring((500, 0, 600, 100))],
                      "isEllipse": True}},
    )  # fmt: skip
    region = read_region(path)
    assert area(region) == pytest.approx(9600 + 10_000 + 100 + math.pi * 2500, rel=2e-3)
    held = [[50, 50], [10, 50], [405, 5], [503, 3], [550, 50]]
    assert region.contains(np.array(held, float)).tolist() == [0, 1, 1, 0, 1]


def test_an_island_in_a_hole_of_a_multipolygon(tmp_path: Path) -> None:
    path = geojson(
        tmp_path / "roi.json",
        feature("MultiPolygon", [[ring((0, 0, 90, 90)), ring((30, 30, 60, 60))],
                                 [ring((40, 40, 50, 50))]]),
    )  # fmt: skip
    assert area(read_region(path)) == pytest.approx(7300, rel=1e-3)


def test_a_region_around_other_objects_of_qupath(tmp_path: Path) -> None:
    cell = feature("Polygon", [ring((500, 500, 510, 510))], objectType="detection")
    path = geojson(
        tmp_path / "roi.geojson",
        feature("Polygon", [ring((0, 0, 100, 100))], objectType="annotation", childObjects=[cell]),
        feature("Point", [700, 700], objectType="annotation"),
        {"type": "Feature", "id": "PathRootObject", "geometry": None},
    )
    assert area(read_region(path)) == pytest.approx(10_000, rel=1e-3)


@pytest.mark.parametrize("kind", ["Polygon", "Rectangle", "Spline"])
def test_asap(tmp_path: Path, kind: str) -> None:
    path = asap(tmp_path / "roi.xml", kind, (10, 10), (60, 10), (60, 40), (10, 40))
    assert area(read_region(path)) == pytest.approx(1500, rel=1e-3)


def test_imagescope(tmp_path: Path) -> None:
    square = [(0, 0), (100, 0), (100, 100), (0, 100)]
    hole = [(20, 20), (40, 20), (40, 40), (20, 40)]
    path = imagescope(tmp_path / "roi.xml", (0, 0, square), (0, 1, hole))
    assert area(read_region(path)) == pytest.approx(9600, rel=1e-3)
    path = imagescope(tmp_path / "roi.xml", (2, 0, [(0, 0), (200, 100)]))
    assert area(read_region(path)) == pytest.approx(math.pi * 5000, rel=3e-3)


POINT = feature("Point", [5, 5])
LINE = feature("LineString", [[0, 0], [50, 0], [50, 50]])
AREA = feature("Polygon", [ring((0, 0, 9, 9))])


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ([], "no area in this file;"),
        ([POINT, POINT], "no area in this file, only 2 points;"),
        ([LINE], "features[0]: encloses no area (geometry 'LineString'"),
        ([AREA, LINE], "features[1]: encloses no area"),
        ([feature("Polygon", [ring((0, 0, 9, 9))], objectType="detection")], "no area"),
        ([feature("Polygon", [[[0, 0], ["a", 0], [1, 1]]])], "'a' is not a number"),
        ([feature("Polygon", [[[3, 3], [3, 3], [3, 3]]])], "encloses no area"),
        ([3], "expected an object"),
    ],
)
def test_what_is_no_region(tmp_path: Path, features: list[Any], said: str) -> None:
    path = geojson(tmp_path / "roi.geojson", *features)
    with pytest.raises(InputError) as caught:
        read_region(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.geojson", "", "not valid JSON"),
        ("a.geojson", "{}", "not a GeoJSON document"),
        ("a.xml", "", "not valid XML"),
        ("a.xml", "<annotation/>", "<annotation>, expected <ASAP_Annotations> or <Annotations>"),
        ("a.xml", "<Annotations/>", "no area"),
        ("a.txt", "0,0", "expected .geojson or .json"),
    ],
)
def test_other_files(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        read_region(tmp_path / name)
    assert said in str(caught.value)


def test_points_of_asap_and_a_ruler_of_imagescope_are_no_region(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only 1 points"):
        read_region(asap(tmp_path / "a.xml", "Dot", (4, 4)))
    with pytest.raises(InputError, match="fewer than 3 points"):
        read_region(asap(tmp_path / "a.xml", "Polygon", (4, 4), (9, 9)))
    with pytest.raises(InputError, match="a ruler"):
        read_region(imagescope(tmp_path / "a.xml", (4, 0, [(0, 0), (9, 9)])))


def test_no_such_file(tmp_path: Path) -> None:
    for name in ("a.xml", "a.geojson"):
        with pytest.raises(InputError, match="no such file"):
            read_region(tmp_path / name)
