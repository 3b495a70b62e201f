"""ImageScope: region types, holes, classes, and the µm/px that the file says."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from conftest import picture

from converters.errors import InputError
from converters.imagescope import label_of, read
from converters.model import AnnotationSet
from converters.read_options import ReadOptions
from converters.shapes import Polygon


def region(kind: int | str | None, *points: tuple[Any, Any], inside: str = "", **more: Any) -> str:
    attributes = {"Id": 1, "Type": kind, "NegativeROA": 0, **more}
    text = " ".join(f'{key}="{value}"' for key, value in attributes.items() if value is not None)
    vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    return f"<Region {text}>{inside}<Vertices>{vertices}</Vertices></Region>"


def layer(*regions: str, name: str = "", inside: str = "") -> str:
    return (
        f'<Annotation Id="1" Name="{name}" Type="4" LineColor="65280"><Attributes>'
        f'<Attribute Name="Description" Id="0" Value=""/>{inside}</Attributes>'
        f"<Regions><RegionAttributeHeaders/>{''.join(regions)}</Regions><Plots/></Annotation>"
    )


def scope(path: Path, *layers: str, mpp: str | None = "0.25") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    said = "" if mpp is None else f' MicronsPerPixel="{mpp}"'
    path.write_text(f"<Annotations{said}>{''.join(layers)}</Annotations>")
    return path


def only(root: Path, *layers: str, mpp: str | None = "0.25", **options: Any) -> AnnotationSet:
    """What is read of one slide with these layers."""
    picture(root / "s.png", 200, 100)
    scope(root / "s.xml", *layers, mpp=mpp)
    return read(root, ReadOptions(**options))


SQUARE = ((2, 2), (8, 2), (8, 6), (2, 6))


@pytest.mark.parametrize(
    ("item", "kind", "box", "area"),
    [
        (region(0, *SQUARE), "polygon", (2, 2, 8, 6), 24),
        (region(None, *SQUARE), "polygon", (2, 2, 8, 6), 24),  # of a script that leaves it out
        (region(0, *SQUARE, (2, 2)), "polygon", (2, 2, 8, 6), 24),
        (region(1, *SQUARE), "box", (2, 2, 8, 6), 24),
        (region(1, (5, 1), (9, 5), (5, 9), (1, 5)), "rectangle", (1, 1, 9, 9), 32),
        (region(2, (10, 40), (52.5, 16)), "ellipse", (10, 16, 52.5, 40), 255 * math.pi),
        (region(2, (10, 16), (52.5, 16), (52.5, 40), (10, 40)), "ellipse", (10, 16, 52.5, 40),
         255 * math.pi),
    ],
)  # fmt: skip
def test_every_outline(tmp_path: Path, item: str, kind: str, box: Any, area: float) -> None:
    (found,) = only(tmp_path, layer(item)).annotations
    assert (found.kind, found.box) == (kind, box)
    assert found.area == pytest.approx(area)
    assert (found.label, found.source) == ("mitosis", "s")
    assert found.where == "Annotation[1]/Regions[1]/Region[1]"
    assert (found.shape is None) == (kind == "box")
    if kind == "polygon":
        assert found.shape and len(found.shape.outline().rings[0]) == 4


def test_the_counter_marks_points(tmp_path: Path) -> None:
    found = only(tmp_path, layer(), layer(region(5, (7.5, 8)), region(5, (1, 2), (3, 4))))
    assert [(item.kind, item.x, item.y, item.where) for item in found.annotations] == [
        ("point", 7.5, 8, "Annotation[2]/Regions[1]/Region[1]/Vertex[1]"),
        ("point", 1, 2, "Annotation[2]/Regions[1]/Region[2]/Vertex[1]"),
        ("point", 3, 4, "Annotation[2]/Regions[1]/Region[2]/Vertex[2]"),
    ]


@pytest.mark.parametrize(
    ("item", "reason", "detail"),
    [
        (region(3, (1, 1), (9, 9)), "shape", "region type '3' (an arrow) marks no cell"),
        (region(4, (1, 1), (9, 9)), "shape", "(a ruler) marks no cell"),
        (region("Polygon", *SQUARE), "shape", "'Polygon' (unknown) marks no cell"),
        (region(0, (1, 1), (9, 9)), "no_extent", "polygon of fewer than 3 points"),
        (region(2, (1, 1), (9, 1)), "no_extent", "ellipse without extent"),
        (region(2, (1, 1)), "no_extent", "ellipse without extent"),
        (region(0, *SQUARE, NegativeROA=1), "shape", "a hole) that lies in no polygon"),
        (region(0, (1, 1), (9, 9), NegativeROA=1), "no_extent", "fewer than 3 points"),
        (region(3, (1, 1), (9, 9), NegativeROA=1), "shape", "an arrow"),
    ],
)
def test_what_marks_no_cell(tmp_path: Path, item: str, reason: str, detail: str) -> None:
    found = only(tmp_path, layer(item))
    assert not found.annotations
    (drop,) = found.dropped
    assert (drop.reason, drop.where) == (reason, "Annotation[1]/Regions[1]/Region[1]")
    assert detail in drop.detail


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (region(0), r"s\.xml, .*Region\[1\]: no <Vertex> in <Vertices>"),
        (region(5), "no <Vertex> in <Vertices>"),
        ("<Region/>", "no element <Vertices> in <Region>"),
        (region(2, (1, 1), (9, "x")), r"Region\[1\]/Vertex\[2\], key `Y`: 'x' is not a number"),
        (region(5, (1, "nan")), r"Region\[1\]/Vertex\[1\], key `Y`: nan"),
    ],
)
def test_a_malformed_region(tmp_path: Path, item: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        only(tmp_path, layer(item))
    assert read(tmp_path, ReadOptions(bad="drop")).reasons() == {"malformed": 1}


# --- holes ------------------------------------------------------------------------------------


def square(x: float, y: float, side: float) -> tuple[tuple[float, float], ...]:
    return ((x, y), (x + side, y), (x + side, y + side), (x, y + side))


def test_a_hole_belongs_to_the_smallest_polygon_around_it(tmp_path: Path) -> None:
    found = only(
        tmp_path,
        layer(
            region(0, *square(12, 12, 2), NegativeROA=1),  # before what it is a hole of
            region(0, *square(0, 0, 40)),
            region(1, *square(10, 10, 10)),
            region(2, (11, 11), (15, 15)),  # no polygon
            region(0, *square(30, 30, 4), NegativeROA=1),
            region(2, (2, 2), (6, 6), NegativeROA=1),
            region(0, *square(38, 20, 3), NegativeROA=1),  # half of it outside
            region(0, *square(100, 20, 3), NegativeROA=1),
        ),
        layer(region(0, *square(100, 20, 6)), region(0, *square(99, 19, 9))),
    )
    outer, inner, ellipse, *others = found.annotations
    assert [item.kind for item in found.annotations] == [
        "polygon", "rectangle", "ellipse", "polygon", "polygon",
    ]  # fmt: skip
    assert isinstance(outer.shape, Polygon) and isinstance(inner.shape, Polygon)
    assert [len(hole) for hole in outer.shape.holes] == [4, 64]
    assert inner.shape.holes == (square(12, 12, 2),) and inner.area == 96
    assert ellipse.box == (11, 11, 15, 15)
    assert outer.area == pytest.approx(1600 - 16 - 4 * math.pi, rel=1e-3)
    assert [item.area for item in others] == [36, 81]  # a hole of another layer
    assert [drop.where.rpartition("/")[2] for drop in found.dropped] == ["Region[7]", "Region[8]"]
    assert found.reasons() == {"shape": 2}


def test_a_hole_drawn_across_the_edge_is_still_one(tmp_path: Path) -> None:
    hole = region(0, (1, 1), (5, 1), (5, 5), (1, 5), (-1, 3), NegativeROA=1)
    (item,) = only(tmp_path, layer(region(0, *square(0, 0, 40)), hole)).annotations
    assert isinstance(item.shape, Polygon) and len(item.shape.holes) == 1
    assert item.box == (0, 0, 40, 40)


def test_a_hole_in_a_notch_is_outside(tmp_path: Path) -> None:
    horseshoe = ((0, 0), (30, 0), (30, 30), (20, 30), (20, 10), (10, 10), (10, 30), (0, 30))
    found = only(
        tmp_path,
        layer(region(0, *horseshoe), region(0, *square(13, 20, 4), NegativeROA=1)),
    )
    assert [item.area for item in found.annotations] == [700]
    assert found.reasons() == {"shape": 1}


def test_many_holes_in_many_polygons_one_upon_the_other(tmp_path: Path) -> None:
    n = 3000  # each hole against each polygon would take minutes
    hole = region(0, *square(12, 12, 2), NegativeROA=1)
    found = only(tmp_path, layer(*[region(0, *square(10, 10, 8))] * n, *[hole] * n))
    holes = [len(i.shape.holes) for i in found.annotations if isinstance(i.shape, Polygon)]
    assert len(holes) == n and sum(holes) == n and not found.dropped


# --- classes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values", "name", "said", "label"),
    [
        ("", [""], "", [""], "mitosis"),
        ("Mitosis", [], "Tumour", [], "mitosis"),
        ("non-mitosis", ["mitosis"], "mitosis", ["mitosis"], "imposter"),
        ("see here", ["imposter"], "mitosis", [], "imposter"),
        ("see here", [], "Mitotic figure", ["imposter"], "mitosis"),
        ("see here", ["x"], "Layer 1", ["", "Hard negative"], "imposter"),
        ("see here", [], "Tumour", ["x"], "Tumour"),
        ("see here", ["y"], " ", ["x"], "see here"),
        ("", ["y"], "", ["x"], "y"),
        ("", [], "", ["", "LUAD"], "LUAD"),
    ],
)
def test_the_class_of_a_region(
    text: str, values: list[str], name: str, said: list[str], label: str
) -> None:
    assert label_of(text, values, name, said) == label


@pytest.mark.parametrize(
    ("of_region", "text", "name", "of_layer", "label"),
    [
        ("", "", "", "", "mitosis"),
        ("", "imposter", "", "", "imposter"),
        ('<Attributes><Attribute Name="1" Value="imposter"/></Attributes>', "", "", "", "imposter"),
        ("", "", "Imposter", "", "imposter"),
        ("", "", "", '<Attribute Name="Class" Value="imposter"/>', "imposter"),
        ("", "", "", '<Attribute Name="imposter" Value=""/>', "imposter"),
        ("", "", "", '<Attribute Name="Tumour" Value=""/>', "Tumour"),
        ('<Attributes><Attribute Name="7" Value=""/></Attributes>', "", "", "", "mitosis"),
    ],
)
def test_where_a_class_stands(
    tmp_path: Path, of_region: str, text: str, name: str, of_layer: str, label: str
) -> None:
    item = region(0, *SQUARE, inside=of_region, Text=text)
    (found,) = only(tmp_path, layer(item, name=name, inside=of_layer)).annotations
    assert found.label == label


# --- µm/px ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "mpp"),
    [
        ("0.2455", (0.2455, 0.2455)),
        ("0,2455", (0.2455, 0.2455)),
        ("0.500000", (0.5, 0.5)),
        (None, None),
        ("", None),
        ("0", None),
        ("0.000000", None),
        ("-0.25", None),
        ("nan", None),
        ("inf", None),
        ("264.58", None),  # a screen's
        ("0.01", None),
        ("unknown", None),
    ],
)
def test_the_scale_of_the_file(
    tmp_path: Path, said: str | None, mpp: tuple[float, float] | None
) -> None:
    (image,) = only(tmp_path, layer(region(0, *SQUARE)), mpp=said).images
    assert image.mpp == mpp
    assert image.size == (200, 100)


def test_a_slide_without_regions_is_background(tmp_path: Path) -> None:
    found = only(tmp_path, layer(), '<Annotation Id="2"/>')
    assert [image.source for image in found.images] == ["s"] and not found.read
