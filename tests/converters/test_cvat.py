"""CVAT for images: every shape, its rotation, masks, confidences, and which images are listed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import picture
from hypothesis import given
from hypothesis import strategies as st

from converters import cvat
from converters.cvat import read
from converters.errors import InputError
from converters.model import AnnotationSet
from converters.read_options import ReadOptions
from converters.shapes import Pixels, Polygon


def tag(name: str, inside: str = "", /, **attributes: Any) -> str:
    text = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f"<{name}{text}>{inside}</{name}>"


def listed(name: str, *shapes: str, **more: Any) -> str:
    facts = {"id": 0, "name": name, "width": 200, "height": 100}
    return tag("image", "".join(shapes), **facts | more)


def document(path: Path, *images: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task>'
        "<mode>annotation</mode><original_size><width>9</width></original_size></task></meta>"
        f"{''.join(images)}</annotations>"
    )
    return path


def only(root: Path, *shapes: str, **options: Any) -> AnnotationSet:
    """What is read of one image with these shapes."""
    picture(root / "a.png", 200, 100)
    document(root / "annotations.xml", listed("a.png", *shapes))
    return read(root, ReadOptions(**options))


def ellipse(**more: Any) -> str:
    return tag("ellipse", **{"label": "mitosis", "cx": 50, "cy": 40, "rx": 20, "ry": 5} | more)


def box(**more: Any) -> str:
    corners = {"label": "mitosis", "xtl": 1, "ytl": 2, "xbr": 31.5, "ybr": 12}
    return tag("box", **corners | more)


def mask(rle: Any, width: Any = 4, height: Any = 3, **more: Any) -> str:
    place = {"left": 10, "top": 20, "width": width, "height": height, "rle": rle}
    return tag("mask", **{"label": "mitosis"} | place | more)


COS, SIN = math.cos(math.radians(30)), math.sin(math.radians(30))


@pytest.mark.parametrize(
    ("shape", "kind", "expected", "area"),
    [
        (ellipse(), "ellipse", (30, 35, 70, 45), 100 * math.pi),
        (ellipse(rotation="0.00"), "ellipse", (30, 35, 70, 45), 100 * math.pi),
        (ellipse(rotation=90), "ellipse", (45, 20, 55, 60), 100 * math.pi),
        (ellipse(rotation=-270), "ellipse", (45, 20, 55, 60), 100 * math.pi),
        (
            ellipse(rotation=30), "ellipse",
            (
                50 - math.hypot(20 * COS, 5 * SIN), 40 - math.hypot(20 * SIN, 5 * COS),
                50 + math.hypot(20 * COS, 5 * SIN), 40 + math.hypot(20 * SIN, 5 * COS),
            ),
            100 * math.pi,
        ),
        (box(), "box", (1, 2, 31.5, 12), 305),
        (box(rotation=360), "box", (1, 2, 31.5, 12), 305),
        (box(xtl=10, ytl=10, xbr=20, ybr=14, rotation=90), "rectangle", (13, 7, 17, 17), 40),
        (tag("polygon", points="2,2;8,2;8,6;2,6"), "polygon", (2, 2, 8, 6), 24),
        (tag("polygon", points="2,2;8,2;8,6;2,6;2,2"), "polygon", (2, 2, 8, 6), 24),
        (mask("5, 2, 5"), "pixels", (11, 21, 13, 22), 2),
        (mask("0, 12"), "pixels", (10, 20, 14, 23), 12),
        (mask("3,2,7", left=-1, top=0), "pixels", (-1, 0, 3, 2), 2),
    ],
)  # fmt: skip
def test_every_shape(
    tmp_path: Path, shape: str, kind: str, expected: tuple[float, ...], area: float
) -> None:
    (item,) = only(tmp_path, shape).annotations
    assert item.kind == kind
    assert item.box == pytest.approx(expected)
    assert item.area == pytest.approx(area)
    assert (item.label, item.source, item.confidence) == ("mitosis", "a", None)
    assert (item.shape is None) == (kind == "box")


@pytest.mark.parametrize("shape", [ellipse(rotation=30), box(rotation=30)])
def test_rotation_is_clockwise_on_the_screen(tmp_path: Path, shape: str) -> None:
    (item,) = only(tmp_path, shape).annotations
    assert item.shape
    _, y = max(item.shape.outline().rings[0])
    assert y > item.y  # the right end hangs down


def test_a_rotated_box_has_its_corners(tmp_path: Path) -> None:
    shape = box(xtl=10, ytl=10, xbr=20, ybr=14, rotation=30)
    (item,) = only(tmp_path, shape).annotations
    assert isinstance(item.shape, Polygon)
    corner = (15 - 5 * COS + 2 * SIN, 12 - 5 * SIN - 2 * COS)
    assert item.shape.rings[0][0] == pytest.approx(corner)


def test_each_point_is_an_annotation(tmp_path: Path) -> None:
    found = only(tmp_path, tag("points", label="imposter", points="1.25,2;3,4"), ellipse())
    assert [(item.kind, item.label, item.x, item.y, item.where) for item in found.annotations] == [
        ("point", "imposter", 1.25, 2, "image[1]/points[1], point 1"),
        ("point", "imposter", 3, 4, "image[1]/points[1], point 2"),
        ("ellipse", "mitosis", 50, 40, "image[1]/ellipse[1]"),
    ]


@pytest.mark.parametrize(
    ("inside", "confidence"),
    [
        ("", None),
        ('<attribute name="confidence">0.75</attribute>', 0.75),
        ('<attribute name="Score"> 1 </attribute>', 1),
        ('<attribute name="quality">0.75</attribute>', None),
        ('<attribute name="confidence"></attribute>', None),
        ('<attribute name="confidence">likely</attribute>', None),  # a list of the annotators' own
        ('<attribute name="confidence">nan</attribute><attribute name="score">0</attribute>', 0),
        ("<attribute>0.5</attribute>", None),
    ],
)
def test_confidence_is_an_attribute(tmp_path: Path, inside: str, confidence: float | None) -> None:
    shape = ellipse().replace("></", f">{inside}</")
    (item,) = only(tmp_path, shape).annotations
    assert item.confidence == confidence


@pytest.mark.parametrize(
    ("label", "expected"),
    [("Mitotic figure", "mitosis"), ("hard_negative", "imposter"), ("fat", "fat"), ("", "mitosis")],
)
def test_classes(tmp_path: Path, label: str, expected: str) -> None:
    (item,) = only(tmp_path, ellipse(label=label, occluded=1)).annotations
    assert item.label == expected
    (item,) = only(tmp_path, tag("polygon", points="2,2;8,2;8,6")).annotations
    assert item.label == "mitosis"


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (tag("polyline", label="mitosis", points="1,1;5,5"), "shape"),
        (tag("cuboid", label="mitosis", xtl1=1), "shape"),
        (tag("skeleton", tag("points", label="x", points="1,1"), label="mitosis"), "shape"),
        (tag("tag", label="mitosis"), "shape"),
        (tag("polygon", points="1,1;5,5"), "no_extent"),
        (tag("polygon", points="1,1;5,5;1,1"), "no_extent"),
        (ellipse(rx=0), "no_extent"),
        (box(xbr=1), "no_extent"),
        (box(xbr=1, rotation=0), "no_extent"),
        (mask("12"), "no_extent"),
    ],
)
def test_what_marks_no_cell(tmp_path: Path, shape: str, reason: str) -> None:
    found = only(tmp_path, shape)
    assert found.reasons() == {reason: 1} and not found.annotations
    assert found.dropped[0].where.startswith("image[1]/")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (ellipse(cx="nan"), r"annotations\.xml, image\[1\]/ellipse\[1\], key `cx`: nan"),
        (ellipse(rx=-1), r"key `rx`: -1\.0 is negative"),
        (ellipse(ry=-2), r"key `ry`: -2\.0 is negative"),
        (ellipse(rotation="left"), "key `rotation`: 'left'"),
        (ellipse(rotation=""), "key `rotation`: '' is not a number"),
        (tag("ellipse", cx=1, cy=2, rx=3), "no key `ry`"),
        (box(xtl=40), r"box\[1\]: the corner 40,2 is not above and left of 31\.5,12"),
        (box(ytl=40), "the corner 1,40 is not above"),
        (tag("polygon", points=""), "key `points`: expected x,y, found ''"),
        (tag("polygon", points="1,1;2;3,3"), "expected x,y, found '2'"),
        (tag("polygon", points="1,1;2,2,2;3,3"), "'2,2' is not a number"),
        (tag("polygon", label="x"), "no key `points`"),
        (tag("points", points="1,x"), "key `points`: 'x' is not a number"),
        (mask("5, 2"), r"key `rle`: the runs hold 7 pixels, expected 4 x 3"),
        (mask("5, 2, 6"), "the runs hold 13 pixels"),
        (mask("5, -2, 9"), "' -2' is no number of pixels"),
        (mask("5, 2.0, 5"), "' 2.0' is no number of pixels"),
        (mask(""), "'' is no number of pixels"),
        (mask("9" * 30), "is no number of pixels"),
        (mask("0", 0, 0), "expected 0 x 0"),
        (mask("0, 12", -4, -3), "expected -4 x -3"),
        (mask("5, 2, 5", left=0.5), "key `left`: expected a whole number"),
    ],
)
def test_a_malformed_shape(tmp_path: Path, shape: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        only(tmp_path, shape)
    found = read(tmp_path, ReadOptions(bad="drop"))
    assert found.reasons() == {"malformed": 1} and not found.annotations


def test_a_bad_point_costs_no_other(tmp_path: Path) -> None:
    found = only(tmp_path, tag("points", points="1,1;x,2;3,3"), bad="drop")
    assert [item.x for item in found.annotations] == [1, 3]
    assert found.reasons() == {"malformed": 1}


def test_a_mask_of_tissue_is_no_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = only(tmp_path, mask("1,99999999999999", 10**7, 10**7))
    assert found.reasons() == {"shape": 1}
    assert found.dropped[0].detail.startswith("a mask of 99999999999999 pixels is no cell")
    monkeypatch.setattr(cvat, "LARGEST_MASK", 2)
    assert len(only(tmp_path, mask("5, 2, 5")).annotations) == 1
    assert only(tmp_path, mask("5, 3, 4")).reasons() == {"shape": 1}


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**81 - 1))
def test_masks_of_any_pixels(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, bits: int
) -> None:
    root = tmp_path_factory.mktemp("cvat")
    inside = np.array([bits >> i & 1 for i in range(width * height)], bool)
    ends = np.flatnonzero(np.diff(inside)) + 1
    runs = np.diff(np.concatenate([[0], ends, [inside.size]])).tolist()
    runs = [0, *runs] if inside[0] else runs
    document(
        root / "a.xml",
        listed("a", mask(", ".join(map(str, runs)), width, height, left=3, top=5)),
    )
    found = read(root / "a.xml", ReadOptions(annotations_only=True))
    if not inside.any():
        assert found.reasons() == {"no_extent": 1}
        return
    (item,) = found.annotations
    rows, columns = np.nonzero(inside.reshape(height, width))
    assert isinstance(item.shape, Pixels)
    assert item.shape.indices == set(zip((columns + 3).tolist(), (rows + 5).tolist(), strict=True))


# --- images -----------------------------------------------------------------------------------


def test_listed_images_are_background_and_others_are_left_out(tmp_path: Path) -> None:
    for i, name in enumerate(("a", "b", "c")):
        picture(tmp_path / "images" / f"{name}.png", 60 + i)
    document(tmp_path / "annotations.xml", listed("x/a.png", ellipse()), listed("b.png"))
    found = read(tmp_path, ReadOptions())
    assert [(image.source, image.width) for image in found.images] == [("a", 60), ("b", 61)]
    assert [item.source for item in found.annotations] == ["a"]
    assert [(Path(item.file).name, item.reason) for item in found.left_out] == [
        ("c.png", "unlabelled")
    ]
    kept = read(tmp_path, ReadOptions(unlabelled="background"))
    assert [image.source for image in kept.images] == ["a", "b", "c"]


def test_subsets_and_tasks_may_repeat_a_name(tmp_path: Path) -> None:
    for i, name in enumerate(("train/1", "val/1")):
        picture(tmp_path / f"{name}.png", 60 + i)
    document(tmp_path / "t1.xml", listed("train/1.png", ellipse(), subset="train"))
    document(tmp_path / "t2.xml", listed("val/1.png", box()), listed("train/1.png", ellipse(cx=9)))
    found = read(tmp_path, ReadOptions())
    assert sorted((item.source, item.x) for item in found.annotations) == [
        ("train/1", 9),
        ("train/1", 50),
        ("val/1", 16.25),
    ]


def test_the_size_counts_only_without_the_image(tmp_path: Path) -> None:
    found = only(tmp_path, ellipse(), annotations_only=True)
    assert found.images[0].size == (200, 100) and found.images[0].path is None
    picture(tmp_path / "a.png", 64, 48)
    document(tmp_path / "annotations.xml", listed("a.png", width="wide", height=2))
    assert read(tmp_path, ReadOptions()).images[0].size == (64, 48)
    with pytest.raises(InputError, match=r"image\[1\], key `width`: 'wide'"):
        read(tmp_path, ReadOptions(annotations_only=True))


def test_an_image_that_is_missing(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    document(tmp_path / "x.xml", listed("a.png", ellipse()), listed("b.png", ellipse(), box()))
    with pytest.raises(InputError, match=r"x\.xml, image\[2\]: no image 'b\.png' below"):
        read(tmp_path, ReadOptions())
    found = read(tmp_path, ReadOptions(bad="drop"))
    assert found.reasons() == {"no_image": 2} and len(found.annotations) == 1


@pytest.mark.parametrize("unlabelled", ["background", "skip", "error"])
def test_an_image_without_a_name_may_be_any(tmp_path: Path, unlabelled: str) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    document(tmp_path / "x.xml", listed("a.png", ellipse()), tag("image", ellipse() + box()))
    with pytest.raises(InputError, match=r"x\.xml, image\[2\]: no key `name`"):
        read(tmp_path, ReadOptions())
    found = read(tmp_path, ReadOptions(bad="drop", unlabelled=unlabelled))
    assert found.reasons() == {"malformed": 3}  # the image and what is on it
    assert [image.source for image in found.images] == ["a"]
    assert [Path(item.file).name for item in found.left_out] == ["b.png"]


def test_after_a_damaged_file_no_image_is_background(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    document(tmp_path / "x.xml", listed("a.png", ellipse()))
    (tmp_path / "y.xml").write_text('<annotations><image name="b.png">')
    found = read(tmp_path, ReadOptions(bad="drop", unlabelled="background"))
    assert [image.source for image in found.images] == ["a"]
    assert found.reasons() == {"unreadable_file": 1}


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (tag("track", tag("box", frame=0, xtl=1), id=0, label="mitosis"), "export of a video"),
        (listed("a.png") + tag("track"), "export of a video"),
        ("", "no <image> in <annotations>"),
    ],
)
def test_the_export_of_a_video(tmp_path: Path, images: str, message: str) -> None:
    path = document(tmp_path / "x.xml", images)
    with pytest.raises(InputError, match=rf"x\.xml: .*{message}.*`CVAT for images 1\.1`"):
        read(path, ReadOptions(annotations_only=True))
