"""Pascal VOC: objects, which image a file is about, and boxes written and read back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import picture
from hypothesis import given
from hypothesis import strategies as st

from converters.errors import InputError
from converters.model import Annotation, AnnotationSet, ImageInfo
from converters.read_options import ReadOptions
from converters.voc import read, write


def box(left: Any, top: Any, right: Any, bottom: Any) -> str:
    return (
        f"<bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>"
    )


def voc(path: Path, *objects: str, filename: str | None = None, more: str = "") -> Path:
    name = f"<filename>{filename}</filename>" if filename is not None else ""
    inside = "".join(f"<object>{item}</object>" for item in objects)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation>{name}{more}{inside}</annotation>")
    return path


def only(root: Path, *objects: str, **options: Any) -> AnnotationSet:
    """What is read of one image with these objects."""
    picture(root / "a.png")
    voc(root / "a.xml", *objects)
    return read(root, ReadOptions(**options))


@pytest.mark.parametrize(
    ("inside", "expected", "kind", "area"),
    [
        (f"<name>mitosis</name>{box(1, 2, 31.5, 12)}", (1, 2, 31.5, 12), "box", 305),
        (f"<name>mitosis</name>{box(' 1 ', '2e0', 31, 12)}", (1, 2, 31, 12), "box", 300),
        (
            "<bndbox><ymax>12</ymax><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax></bndbox>",
            (1, 2, 5, 12), "box", 40,
        ),
        (
            "<type>robndbox</type><robndbox><cx>20</cx><cy>30</cy><w>8</w><h>4</h>"
            f"<angle>{math.pi / 2}</angle></robndbox>",
            (18, 26, 22, 34), "rectangle", 32,
        ),
        (
            "<robndbox><cx>20</cx><cy>30</cy><w>10</w><h>0.0001</h><angle>0.5</angle></robndbox>",
            (
                20 - 5 * math.cos(0.5), 30 - 5 * math.sin(0.5),
                20 + 5 * math.cos(0.5), 30 + 5 * math.sin(0.5),
            ),
            "rectangle", 0.001,
        ),
        (
            f"<polygon><x1>1</x1><y1>1</y1><x2>7</x2><y2>1</y2><x3>1</x3><y3>9</y3>"
            f"<x4>1</x4><y4>1</y4></polygon>{box(1, 1, 8, 10)}",
            (1, 1, 7, 9), "polygon", 24,
        ),
    ],
)  # fmt: skip
def test_shapes_of_an_object(
    tmp_path: Path, inside: str, expected: tuple[float, ...], kind: str, area: float
) -> None:
    (item,) = only(tmp_path, inside).annotations
    assert item.box == pytest.approx(expected, abs=1e-3)
    assert (item.kind, item.label, item.source, item.where) == (kind, "mitosis", "a", "object[1]")
    assert item.area == pytest.approx(area)
    assert (item.shape is None) == (kind == "box")
    if kind == "polygon":
        assert item.shape and len(item.shape.outline().rings[0]) == 3
    assert item.confidence is None


def test_a_turned_rectangle_leans_clockwise(tmp_path: Path) -> None:
    part = "<robndbox><cx>20</cx><cy>30</cy><w>10</w><h>2</h><angle>0.5</angle></robndbox>"
    (item,) = only(tmp_path, part).annotations
    assert item.shape
    right = max(item.shape.outline().rings[0])
    assert right[1] > 30  # its right end hangs down


def test_classes_confidence_and_where(tmp_path: Path) -> None:
    found = only(
        tmp_path,
        f"<name> Mitotic figure </name>{box(1, 1, 5, 5)}<confidence>0.75</confidence>",
        f"<name>non-mitosis</name>{box(1, 1, 6, 6)}<score>0.5</score><confidence/>",
        f"<name>fat</name>{box(1, 1, 7, 7)}<difficult>1</difficult><pose>Left</pose>",
        f"<name/>{box(1, 1, 8, 8)}",
        f"<name> </name>{box(1, 1, 9, 9)}<confidence>\n</confidence>",
    )
    assert [(item.label, item.confidence, item.where) for item in found.annotations] == [
        ("mitosis", 0.75, "object[1]"),
        ("imposter", 0.5, "object[2]"),
        ("fat", None, "object[3]"),
        ("mitosis", None, "object[4]"),
        ("mitosis", None, "object[5]"),
    ]


def test_one_based_corners_are_both_inside(tmp_path: Path) -> None:
    turned = "<robndbox><cx>9</cx><cy>9</cy><w>4</w><h>4</h><angle>0</angle></robndbox>"
    found = only(tmp_path, box(1, 2, 3, 2), turned, one_based=True)
    assert [item.box for item in found.annotations] == [(0, 1, 3, 2), (7, 7, 11, 11)]


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (box(9, 1, 3, 5), r"a\.xml, object\[1\]/bndbox: xmin 9 is greater than xmax 3"),
        (box(1, 9, 3, 5), r"ymin 9 is greater than ymax 5"),
        (box(1, 1, "nan", 5), r"object\[1\]/bndbox, key `xmax`: nan is not a finite number"),
        (box(1, 1, "", 5), r"key `xmax`: '' is not a number"),
        (box(1, 1, "1e13", 5), r"key `xmax`: 1e13 is too large"),
        ("<bndbox><xmin>1</xmin></bndbox>", "no key `xmax`"),
        (box(1, 1, 2, 2) * 2, r"object\[1\]: more than one <bndbox>"),
        (f"{box(1, 1, 2, 2)}<confidence>high</confidence>", "key `confidence`: 'high'"),
        ("<robndbox><cx>1</cx><cy>1</cy><w>-1</w><h>1</h></robndbox>", r"-1\.0 is negative"),
        ("<robndbox><cx>1</cx><cy>1</cy><w>1</w><h>-2</h></robndbox>", r"-2\.0 is negative"),
        ("<polygon><x1>1</x1><y1>1</y1><x2>2</x2></polygon>", "no key `y2`"),
        ("<polygon><pt><x>1</x><y>1</y></pt></polygon>", "no key `x1`"),
    ],
)
def test_a_malformed_object(tmp_path: Path, inside: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        only(tmp_path, inside)
    found = read(tmp_path, ReadOptions(bad="drop"))
    assert found.reasons() == {"malformed": 1} and not found.annotations


@pytest.mark.parametrize(
    ("inside", "reason"),
    [
        (box(3, 1, 3, 5), "no_extent"),
        ("<polygon><x1>1</x1><y1>1</y1><x2>9</x2><y2>9</y2></polygon>", "no_extent"),
        ("<polygon/>", "no_extent"),
        ("<name>mitosis</name><point><x>1</x></point>", "shape"),
        ("", "shape"),
    ],
)
def test_an_object_that_marks_no_cell(tmp_path: Path, inside: str, reason: str) -> None:
    found = only(tmp_path, inside)
    assert found.reasons() == {reason: 1} and not found.annotations
    assert found.dropped[0].where == "object[1]"


def test_an_image_without_objects_is_background(tmp_path: Path) -> None:
    found = only(tmp_path)
    assert [image.source for image in found.images] == ["a"] and not found.read
    picture(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"b\.png: no annotation file .*an \.xml file"):
        read(tmp_path, ReadOptions())


@pytest.mark.parametrize(
    ("images", "xml", "filename", "source"),
    [
        (["a.png"], "a.xml", "a.png", "a"),
        (["a.png"], "a.xml", "a", "a"),  # roLabelImg leaves the suffix out
        (["a.png"], "a.xml", None, "a"),
        (["a.png"], "a.xml", "old.png", "a"),
        (["a.png"], "b.xml", "a.png", "a"),
        (["a.png"], "b.xml", "C:\\data\\x\\a.png", "a"),
        (["a.png"], "b.xml", "../../a.png", "a"),
        (["a.png", "b.png"], "a.xml", "b.png", "a"),  # renamed: its own name wins
        (["a.jpg", "a.png"], "a.xml", "a.png", "a"),
        (["x/a.png", "y/a.png"], "y/a.xml", "a.png", "y/a"),
        (["x/a.png", "y/a.png"], "x_a.xml", "x/a.png", "x/a"),
        (["x/a.png", "y/a.png", "x_a.png"], "x_a.xml", "x/a.png", "x/a"),
        (["a.jpg", "a.png"], "a.xml", "C:\\data\\x\\a.png", "a"),
    ],
)
def test_the_image_that_a_file_is_about(
    tmp_path: Path, images: list[str], xml: str, filename: str | None, source: str
) -> None:
    for i, name in enumerate(images):
        picture(tmp_path / "images" / name, 60 + i)
    voc(tmp_path / "xml" / xml, box(1, 1, 5, 5), filename=filename)
    options = ReadOptions(images=tmp_path / "images", unlabelled="skip")
    found = read(tmp_path / "xml", options)
    assert [item.source for item in found.annotations] == [source.rpartition("/")[2]]
    wanted = tmp_path / "images" / f"{source}.png"
    assert [image.path for image in found.images] == [wanted]


def test_the_folder_tells_images_of_one_name_apart(tmp_path: Path) -> None:
    for i, name in enumerate(("x/a.png", "y/a.png")):
        picture(tmp_path / "images" / name, 60 + i)
    voc(tmp_path / "xml" / "1.xml", box(1, 1, 5, 5), filename="a.png", more="<folder>y</folder>")
    found = read(tmp_path / "xml", ReadOptions(images=tmp_path / "images", unlabelled="background"))
    assert [item.source for item in found.annotations] == ["y/a"]


def test_a_folder_alone_names_no_image(tmp_path: Path) -> None:
    picture(tmp_path / "f.png")
    for filename in (None, "", "x/"):
        voc(tmp_path / "a.xml", filename=filename, more="<folder>f</folder>")
        with pytest.raises(InputError, match=r"a\.xml: no image 'a' below"):
            read(tmp_path, ReadOptions())


def test_no_image_is_an_error_that_names_it(tmp_path: Path) -> None:
    picture(tmp_path / "c.png")
    voc(tmp_path / "a.xml", box(1, 1, 5, 5), filename="b.png")
    with pytest.raises(InputError, match=r"a\.xml: no image 'a' below"):
        read(tmp_path, ReadOptions())
    found = read(tmp_path, ReadOptions(bad="drop"))
    assert found.reasons() == {"no_image": 1}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("<size><width>640</width><height>480</height><depth>3</depth></size>", (640, 480)),
        ("<size><width>0</width><height>0</height></size>", None),
        ("<size><width/><height/></size>", None),
        ("", None),
    ],
)
def test_the_size_counts_only_without_the_image(
    tmp_path: Path, size: str, expected: tuple[int, int] | None
) -> None:
    picture(tmp_path / "a.png", 64, 48)
    voc(tmp_path / "a.xml", box(1, 1, 5, 5), filename="stale.png", more=size)
    (image,) = read(tmp_path, ReadOptions()).images
    assert image.size == (64, 48)
    (image,) = read(tmp_path, ReadOptions(annotations_only=True)).images
    assert (image.size, image.source, image.path) == (expected, "a", None)


def test_a_size_that_is_no_number(tmp_path: Path) -> None:
    size = "<size><width>wide</width><height>480</height></size>"
    voc(tmp_path / "a.xml", box(1, 1, 5, 5), more=size)
    with pytest.raises(InputError, match=r"a\.xml, size, key `width`: 'wide' is not a number"):
        read(tmp_path, ReadOptions(annotations_only=True))
    found = read(tmp_path, ReadOptions(annotations_only=True, bad="drop"))
    assert found.reasons() == {"unreadable_file": 1} and not found.images
    picture(tmp_path / "a.png")
    assert len(read(tmp_path, ReadOptions()).annotations) == 1  # the image says it


# --- writing ----------------------------------------------------------------------------------


def mark(source: str, box: tuple[float, float, float, float], **more: Any) -> Annotation:
    facts = {"label": "mitosis", "kind": "box", "file": "f", "where": "w", "x": 0.0, "y": 0.0}
    return Annotation(source=source, box=box, **facts | more)


def image(source: str, **more: Any) -> ImageInfo:
    facts = {"path": None, "width": 64, "height": 48, "case": source}
    return ImageInfo(source=source, **facts | more)


def written(found: AnnotationSet) -> dict[str, str]:
    notes: list[str] = []
    files = dict(write(found, notes.append))
    assert not notes
    return files


def test_a_written_document() -> None:
    found = AnnotationSet(
        images=[image("a", path=Path("tiles/a.jpg")), image("b")],
        annotations=[
            mark("a", (1.1, 2, 1 / 3 + 10, 12.000000000000002), confidence=0.8),
            mark("a", (0, 2, 10, 12), label="imposter"),
        ],
    )
    files = written(found)
    assert (
        files["a.xml"]
        == """<?xml version="1.0" encoding="UTF-8"?>
<annotation>
  <folder>tiles</folder>
  <filename>a.jpg</filename>
  <size>
    <width>64</width>
    <height>48</height>
    <depth>3</depth>
  </size>
  <segmented>0</segmented>
  <object>
    <name>mitosis</name>
    <pose>Unspecified</pose>
    <truncated>0</truncated>
    <difficult>0</difficult>
    <confidence>0.8</confidence>
    <bndbox>
      <xmin>1.1</xmin>
      <ymin>2.0</ymin>
      <xmax>10.333333333333334</xmax>
      <ymax>12.000000000000002</ymax>
    </bndbox>
  </object>
  <object>
    <name>imposter</name>
    <pose>Unspecified</pose>
    <truncated>1</truncated>
    <difficult>0</difficult>
    <bndbox>
      <xmin>0.0</xmin>
      <ymin>2.0</ymin>
      <xmax>10.0</xmax>
      <ymax>12.0</ymax>
    </bndbox>
  </object>
</annotation>
"""
    )
    root = ElementTree.fromstring(files["b.xml"].encode())
    assert (root.findtext("filename"), root.findall("object")) == ("b", [])


@pytest.mark.parametrize(
    ("corners", "cut"),
    [
        ((1, 1, 63, 47), "0"),
        ((0, 1, 63, 47), "1"),
        ((1, 0, 63, 47), "1"),
        ((1, 1, 64, 47), "1"),
        ((1, 1, 63, 48), "1"),
    ],
)
def test_a_box_at_the_edge_is_truncated(
    corners: tuple[float, float, float, float], cut: str
) -> None:
    (text,) = written(AnnotationSet([image("a")], [mark("a", corners)])).values()
    assert ElementTree.fromstring(text.encode()).findtext("object/truncated") == cut


@pytest.mark.parametrize("name", ["<&>\"'", "a\x01b", "\ud800", "ä µ\u2028", "\ufffe", "]]>"])
def test_any_name_gives_well_formed_xml(name: str) -> None:
    found = AnnotationSet([image("a", path=Path(f"{name}.png"))], [mark("a", (1, 1, 2, 2))])
    (text,) = written(found).values()
    root = ElementTree.fromstring(text.encode())
    stored = "".join("\ufffd" if c in "\x01\ud800\ufffe" else c for c in name)
    assert root.findtext("filename") == f"{stored}.png"


def test_a_document_needs_the_size_and_boxes() -> None:
    with pytest.raises(InputError, match="size of the image a is not known, and voc needs it"):
        written(AnnotationSet([image("a", width=0, height=0)]))
    point = Annotation(source="a", label="mitosis", x=1, y=1, kind="point", file="f", where="row 3")
    with pytest.raises(ValueError, match="row 3 has no box"):
        written(AnnotationSet([image("a")], [point]))


SOURCES = ("a", "b.c", "one/twin", "two/twin")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(SOURCES),
            st.tuples(*[st.floats(0, 1e5, allow_subnormal=False)] * 2),
            st.tuples(*[st.floats(1e-3, 1e5)] * 2),
            st.sampled_from(["mitosis", "imposter"]),
            st.none() | st.floats(0, 1),
        ),
        max_size=8,
    ),
    st.booleans(),
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, marks: list[Any], images: bool
) -> None:
    root = tmp_path_factory.mktemp("voc")
    paths = {name: picture(root / "img" / f"{name}.png", 8, 8) for name in SOURCES if images}
    found = AnnotationSet(
        [image(name, path=paths.get(name)) for name in SOURCES],
        [
            mark(source, (x, y, x + width, y + height), label=label, confidence=confidence)
            for source, (x, y), (width, height), label, confidence in marks
        ],
    )
    for name, text in written(found).items():
        (root / "xml").mkdir(exist_ok=True)
        (root / "xml" / name).write_text(text)
    options = ReadOptions(images=root / "img") if images else ReadOptions(annotations_only=True)
    back = read(root / "xml", options)
    assert not back.dropped
    assert [(item.source, item.path) for item in back.images] == [
        (name, paths.get(name)) for name in sorted(SOURCES)
    ]

    def facts(found: AnnotationSet) -> list[Any]:
        return sorted(
            ((a.source, a.label, a.box, a.confidence) for a in found.annotations), key=repr
        )

    assert facts(back) == facts(found)  # to the last bit
