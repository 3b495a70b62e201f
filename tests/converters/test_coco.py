"""COCO: read as tools write it, written so that pycocotools and ourselves read it."""

from __future__ import annotations

import gc
import json
import math
from contextlib import nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from conftest import picture, real, table
from damaged import check_damage
from hypothesis import given
from pycocotools.coco import COCO
from random_sets import prepared_sets, say, written_and_read

from converters import coco, yolo
from converters.errors import InputError
from converters.model import Annotation, AnnotationSet, ImageInfo
from converters.read_options import ReadOptions
from converters.registry import get_reader
from converters.rle import from_text, to_text
from converters.shapes import Ellipse, Pixels, Polygon

ALONE = ReadOptions(annotations_only=True)


def entry(**more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 8, 4], **more}


def document(*annotations: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": list(annotations),
        "categories": [{"id": 1, "name": "Mitotic figure"}, {"id": 7, "name": "hard negative"}],
        **more,
    }


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def parse(tmp_path: Path, *annotations: dict[str, Any], **more: Any) -> AnnotationSet:
    file = write(tmp_path / "coco.json", document(*annotations, **more))
    return coco.read(file, ALONE)


def one(tmp_path: Path, **more: Any) -> Annotation:
    [item] = parse(tmp_path, entry(**more)).annotations
    return item


# --- reading ----------------------------------------------------------------------------------


def test_a_box(tmp_path: Path) -> None:
    found = parse(tmp_path, entry(category_id=7, iscrowd=0, segmentation=[]))
    [image], [item] = found.images, found.annotations
    assert (image.source, image.case, image.size, image.path) == ("a", "a", (64, 48), None)
    assert (item.source, item.label, item.kind) == ("a", "imposter", "box")
    assert (item.x, item.y, item.box, item.area) == (14, 22, (10, 20, 18, 24), 32)
    assert (item.shape, item.confidence) == (None, None)
    assert (item.file, item.where) == (str(tmp_path / "coco.json"), "annotations[0]")


RING = [10, 20, 18, 20, 18, 24]


@pytest.mark.parametrize(
    ("more", "kind", "box", "centre", "area"),
    [
        ({"segmentation": [RING]}, "polygon", (10, 20, 18, 24), (46 / 3, 64 / 3), 16),
        # the box is the annotation's own, the rest is the outline's
        ({"segmentation": [RING], "bbox": [9, 19, 10, 6], "area": 3}, "polygon", (9, 19, 19, 25),
         (46 / 3, 64 / 3), 16),
        ({"segmentation": [RING], "bbox": []}, "polygon", (10, 20, 18, 24), (46 / 3, 64 / 3), 16),
        ({"segmentation": [RING], "bbox": None}, "polygon", (10, 20, 18, 24), (46 / 3, 64 / 3), 16),
        # two parts of one cell; the first point repeats itself
        ({"segmentation": [[0, 0, 2, 0, 2, 2, 0, 2, 0, 0], [6, 0, 8, 0, 8, 2, 6, 2]], "bbox": None},
         "polygon", (0, 0, 8, 2), (4, 1), 8),
        # an outline that is the box says no more than the box
        ({"segmentation": [[10, 20, 10, 24, 18, 24, 18, 20]]}, "box", (10, 20, 18, 24), (14, 22),
         32),
        ({"segmentation": [[10, 20, 10, 24, 18, 24, 18, 20]], "bbox": None}, "box",
         (10, 20, 18, 24), (14, 22), 32),
        # and one that is another box does
        ({"segmentation": [[11, 20, 11, 24, 18, 24, 18, 20]]}, "polygon", (10, 20, 18, 24),
         (14.5, 22), 28),
        # an area without an outline is what the file says
        ({"area": 21.5}, "box", (10, 20, 18, 24), (14, 22), 21.5),
        ({"area": 0}, "box", (10, 20, 18, 24), (14, 22), 32),
    ],
)  # fmt: skip
def test_outlines(
    tmp_path: Path,
    more: dict[str, Any],
    kind: str,
    box: tuple[float, ...],
    centre: tuple[float, float],
    area: float,
) -> None:
    item = one(tmp_path, **more)
    assert (item.kind, item.box) == (kind, box)
    assert (item.x, item.y) == pytest.approx(centre)
    assert item.area == pytest.approx(area)
    assert (item.shape is None) == (kind == "box")
    if isinstance(item.shape, Polygon):
        assert all(ring[0] != ring[-1] for ring in item.shape.rings)


@pytest.mark.parametrize("counts", [[97, 2, 46, 1, 2926], to_text([97, 2, 46, 1, 2926])])
def test_masks(tmp_path: Path, counts: Any) -> None:
    # 48 pixels a column: 97 is row 1 of column 2; then row 1 of column 3
    item = one(tmp_path, segmentation={"size": [48, 64], "counts": counts}, iscrowd=1, bbox=None)
    assert item.shape == Pixels(frozenset([(2, 1), (2, 2), (3, 1)]))
    assert (item.kind, item.box, item.area) == ("pixels", (2, 1, 4, 3), 3)
    assert (item.x, item.y) == pytest.approx((17 / 6, 11 / 6))


def test_the_mask_of_another_image_is_refused(tmp_path: Path) -> None:
    mask = {"size": [64, 48], "counts": [97, 2, 2973]}
    with pytest.raises(InputError, match=r"48 x 64 px, but its image has 64 x 48"):
        one(tmp_path, segmentation=mask)


@pytest.mark.parametrize(
    ("more", "confidence"),
    [
        ({"score": 0.7}, 0.7),
        ({"attributes": {"confidence": 0.6}}, 0.6),
        ({"score": 0.7, "attributes": {"confidence": 0.6}}, 0.7),
        ({"score": 0.0, "attributes": {"confidence": 0.6}}, 0.0),
        ({"score": None, "attributes": {"occluded": False}}, None),
        ({"attributes": None}, None),
    ],
)
def test_confidence(tmp_path: Path, more: dict[str, Any], confidence: float | None) -> None:
    assert one(tmp_path, **more).confidence == confidence


def test_ids_are_numbers_or_text(tmp_path: Path) -> None:
    images = [{"id": "p-1", "file_name": "x/a.png"}, {"id": 2.0, "file_name": "x\\b.png"}]
    found = parse(
        tmp_path,
        entry(image_id="p-1", category_id="m"),
        entry(image_id=2, category_id=0),
        entry(image_id="2", category_id=0),
        images=images,
        categories=[{"id": "m", "name": "mitosis"}, {"id": 0, "name": "Lymphocyte"}],
    )
    assert [(item.source, item.label) for item in found.annotations] == [
        ("a", "mitosis"), ("b", "Lymphocyte"), ("b", "Lymphocyte")
    ]  # fmt: skip
    assert [image.size for image in found.images] == [None, None]


def test_without_categories_all_are_mitoses(tmp_path: Path) -> None:
    bare = entry()
    del bare["category_id"]
    assert parse(tmp_path, bare, categories=[]).annotations[0].label == "mitosis"
    with pytest.raises(InputError, match="no key `category_id`"):
        parse(tmp_path, bare)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"image_id": 3}, r"annotations\[0\]: no image has the id 3"),
        ({"image_id": True}, "id True is neither a whole number nor text"),
        ({"image_id": 1.5}, "id 1.5 is neither"),
        ({"category_id": 3}, r"annotations\[0\]: no category has the id 3"),
        ({"bbox": None}, r"annotations\[0\]: neither `bbox` nor `segmentation`"),
        ({"bbox": [1, 2, 3]}, r"key `bbox`: expected \[x, y, width, height\], found"),
        ({"bbox": {"x": 1}}, "key `bbox`: expected"),
        ({"bbox": [1, 2, -3, 4]}, "key `bbox`: a box of -3.0 x 4.0 px"),
        ({"bbox": [1, 2, 3, -4]}, "key `bbox`: a box of 3.0 x -4.0 px"),
        ({"bbox": [1, 2, 3, "4 px"]}, "key `bbox`: '4 px' is not a number"),
        ({"segmentation": "x"}, "key `segmentation`: expected a list of polygons"),
        ({"segmentation": [[1, 2, 3, 4]]}, "expected x, y of three points or more"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "expected x, y of three points or more"),
        ({"segmentation": [1, 2, 3, 4, 5, 6]}, "expected x, y of three points or more"),
        ({"segmentation": [[1, 2, 3, 4, 5, None]]}, "key `segmentation`: None is not a number"),
        ({"segmentation": {"size": [48, 64]}}, "key `segmentation`: counts"),
        ({"score": "high"}, "key `score`: 'high' is not a number"),
        ({"attributes": {"confidence": "high"}}, "key `confidence`: 'high' is not a number"),
        ({"attributes": {"kind": "box", "x": None, "y": 2}}, "key `x`: None is not a number"),
        ({"attributes": {"kind": "box", "x": 9, "y": 22}}, r"the centroid \(9, 22\) lies outside"),
    ],
)
def test_a_malformed_annotation_stops_or_is_counted(
    tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    content = document(entry(), entry(**more))
    message = message.replace("annotations\\[0", "annotations\\[1")
    file = write(tmp_path / "c.json", content)
    with pytest.raises(InputError, match=rf"c\.json, .*{message}"):
        coco.read(file, ALONE)
    found = coco.read(file, ReadOptions(annotations_only=True, bad="drop"))
    assert (len(found.annotations), found.reasons(), found.read) == (1, {"malformed": 1}, 2)


def test_a_box_without_extent_is_dropped(tmp_path: Path) -> None:
    found = parse(tmp_path, entry(bbox=[1, 2, 0, 4]), entry())
    assert (len(found.annotations), found.reasons()) == (1, {"no_extent": 1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([entry()], "not a COCO file"),
        ({"annotations": []}, "not a COCO file"),
        ({"images": []}, "no key `annotations`"),
        ({"images": {}, "annotations": []}, "key `images`: expected a list"),
        (document(images=[{"id": 1, "file_name": "a"}, {"id": "1", "file_name": "b"}]),
         "images: 2 images have the id 1"),
        (document(images=[{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.jpg"}]),
         r"images\[1\]: 'a.jpg' is the same image as images\[0\]"),
        (document(images=[{"id": 1}]), r"images\[0\]: no key `file_name`"),
        (document(images=[{"file_name": "a.png"}]), r"images\[0\]: no key `id`"),
        (document(images=[{"id": 1, "file_name": "../.."}]), "names no image"),
        (document(images=[{"id": 1, "file_name": "a", "width": "x", "height": 3}]), "not a number"),
        (document(images=[{"id": 1, "file_name": "a", "width": 1.5, "height": 3}]), "whole number"),
        (document(categories=[{"id": 1, "name": "fat"}, {"id": "1", "name": "fibre"}]),
         "two categories have the id 1"),
        (document(categories=[{"id": 1}]), r"categories\[0\]: no key `name`"),
        (document(categories=3), "expected a list"),
        (document(images=[{"id": 1, "file_name": "a", "attributes": {"mpp": [0.5, -1]}}]),
         r"images\[0\], key `attributes`: -1.0 is not above 0"),
        (document(images=[{"id": 1, "file_name": "a", "attributes": {"case": []}}]),
         "key `case`: expected text"),
    ],
)  # fmt: skip
def test_a_malformed_file(tmp_path: Path, content: Any, message: str) -> None:
    file = write(tmp_path / "c.json", content)
    with pytest.raises(InputError, match=rf"c\.json.*{message}"):
        coco.read(file, ALONE)


@pytest.mark.parametrize(
    ("boxes", "refused"),
    [
        ([[30, 20, 50, 40], [1, 2, 21, 22], [40, 20, 60, 40]], True),  # most leave, as sizes
        ([[40, 20, 60, 40]], True),
        ([[10, 5, 30, 25], [1, 2, 21, 22], [40, 20, 60, 40]], False),  # could be either
        ([[40, 20, 60, 40], [40, 20, 10, 9]], False),  # no corner is left of the other
        ([[0.5, 0.5, 64, 48]], False),  # over the edge by a rounding
        ([[5, 3, 100, 50], [3, 2, 99, 70]], False),  # both leave the image, as corners too
    ],
)
def test_boxes_by_their_corners_are_refused(
    tmp_path: Path, boxes: list[list[float]], refused: bool
) -> None:
    entries = [entry(bbox=box) for box in boxes]
    if refused:
        with pytest.raises(InputError, match=r"look like x1, y1, x2, y2: .*--from midog"):
            parse(tmp_path, *entries)
    else:
        assert len(parse(tmp_path, *entries).annotations) == len(boxes)


def test_a_real_file_of_midog_is_refused() -> None:
    with pytest.raises(InputError, match=r"MIDOG\+\+\.json: the boxes look like x1, y1, x2, y2"):
        coco.read(real("midog") / "MIDOG++.json", ALONE)


def test_any_damage_is_told_or_counted(tmp_path: Path) -> None:
    content = document(
        entry(
            segmentation=[RING], score=0.5, area=16, attributes={"x": 12, "y": 22, "kind": "box"}
        ),
        entry(bbox=None, segmentation={"size": [48, 64], "counts": [97, 2, 2973]}),
    )
    content["images"][0]["attributes"] = {"case": "P1", "mpp": [0.5, 0.5], "scanner": "S"}
    check_damage(
        coco.read,
        tmp_path / "c.json",
        content,
        lambda place: place[:1] == ("annotations",) and len(place) > 1,
    )


# --- images -----------------------------------------------------------------------------------


def test_images_that_the_file_lists(tmp_path: Path) -> None:
    for name in ("train/a.png", "val/a.png", "val/b.png", "val/c.png"):
        picture(tmp_path / name)
    images = [
        {"id": 3, "file_name": "train/a.png", "width": 1, "height": 1},
        {"id": 5, "file_name": "val/a.png"},
        {"id": 6, "file_name": "b.png"},
    ]
    write(tmp_path / "all.json", document(entry(image_id=5), images=images))
    found = coco.read(tmp_path, ReadOptions())
    # the image's own size counts; b is background, c is on no list
    assert [(image.source, image.size) for image in found.images] == [
        ("train/a", (64, 48)), ("val/a", (64, 48)), ("b", (64, 48))
    ]  # fmt: skip
    assert [item.source for item in found.annotations] == ["val/a"]
    assert [(Path(out.file).name, out.reason) for out in found.left_out] == [
        ("c.png", "unlabelled")
    ]


def test_several_files_and_what_lies_beside_them(tmp_path: Path) -> None:
    write(tmp_path / "x" / "one.json", document(entry()))
    second = document(entry(bbox=[1, 1, 2, 2]))
    second["images"][0]["file_name"] = "b.png"
    write(tmp_path / "two.json", second)
    write(tmp_path / "report.json", {"read": 1})
    write(tmp_path / "run.json", {"command": "convert"})
    found = coco.read(tmp_path, ALONE)
    assert [item.source for item in found.annotations] == ["b", "a"]
    write(tmp_path / "other.json", {"read": 1})
    with pytest.raises(InputError, match=r"other\.json: not a COCO file"):
        coco.read(tmp_path, ALONE)
    (tmp_path / "other.json").unlink()
    (tmp_path / "two.json").unlink()
    (tmp_path / "x" / "one.json").unlink()
    with pytest.raises(InputError, match="no COCO file below this folder"):
        coco.read(tmp_path, ALONE)


@pytest.mark.parametrize("unlabelled", ["error", "background", "skip"])
def test_what_a_damaged_file_may_be_about_is_never_background(
    tmp_path: Path, unlabelled: str
) -> None:
    for name in ("a", "b", "c"):
        picture(tmp_path / f"{name}.png")
    write(tmp_path / "good.json", document(entry()))
    (tmp_path / "cut.json").write_text('{"images": [')
    found = coco.read(tmp_path, ReadOptions(bad="drop", unlabelled=unlabelled))
    assert [image.source for image in found.images] == ["a"]
    assert [(drop.reason, Path(drop.file).name) for drop in found.dropped] == [
        ("unreadable_file", "cut.json")
    ]
    assert {out.reason for out in found.left_out} == {"unreadable_file"}
    assert len(found.left_out) == 2


def test_an_entry_that_cannot_be_read_leaves_its_image_out(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png")
    content = document(entry(), entry(image_id=2))
    content["images"].append({"id": 2, "file_name": ["b.png"]})
    write(tmp_path / "c.json", content)
    found = coco.read(tmp_path, ReadOptions(bad="drop", unlabelled="background"))
    assert [image.source for image in found.images] == ["a"]
    assert (len(found.annotations), found.reasons()) == (1, {"malformed": 2})


def test_two_entries_for_one_image_leave_it_out(tmp_path: Path) -> None:
    content = document(entry(), entry(image_id=2), entry(image_id=3))
    content["images"] += [{"id": 2, "file_name": "a.png"}, {"id": 3, "file_name": "b.png"}]
    file = write(tmp_path / "c.json", content)
    found = coco.read(file, ReadOptions(bad="drop", annotations_only=True))
    assert [image.source for image in found.images] == ["b"]
    assert [item.source for item in found.annotations] == ["b"]
    assert found.reasons() == {"malformed": 3}  # an entry, and two annotations


def test_a_missing_image(tmp_path: Path) -> None:
    picture(tmp_path / "b.png")
    content = document(entry(), entry(image_id=2))
    content["images"].append({"id": 2, "file_name": "b.png"})
    write(tmp_path / "c.json", content)
    with pytest.raises(InputError, match=r"c\.json, images\[0\]: no image 'a\.png' below"):
        coco.read(tmp_path, ReadOptions())
    found = coco.read(tmp_path, ReadOptions(bad="drop"))
    assert [item.source for item in found.annotations] == ["b"]
    assert found.reasons() == {"no_image": 1}


MANIFEST = "tile,source,case,split,x,y,width,height,mpp_x,mpp_y,scanner,tumour"


def test_a_dataset_folder_keeps_its_cases(tmp_path: Path) -> None:
    """Masks are no images, copies are left out, and so are tiles that nobody annotated."""
    for name in ("images/train/t1", "masks/train/t1", "images/val/t2", "images/train/t1_r90",
                 "images/unlabelled/u"):  # fmt: skip
        picture(tmp_path / f"{name}.png")
    table(
        tmp_path / "manifest.csv", MANIFEST, "t1,S1,P1,train,0,0,64,48,0.25,0.5,CS2,breast",
        "t2,S2,P2,val,0,0,64,48,0.25,0.5,,", "u,S3,P3,unlabelled,0,0,64,48,0.25,0.5,,",
    )  # fmt: skip
    table(tmp_path / "augmented.csv", "tile,of,transform", "t1_r90,t1,rot90")
    for split, tiles in {"train": ["t1", "t1_r90"], "val": ["t2"]}.items():
        content = document(*(entry(image_id=i) for i in range(len(tiles))))
        content["images"] = [{"id": i, "file_name": f"{name}.png"} for i, name in enumerate(tiles)]
        write(tmp_path / "annotations" / f"{split}.json", content)
    write(tmp_path / "stain.json", {"method": "reinhard"})
    found = coco.read(tmp_path, ReadOptions())
    assert [(i.source, i.case, i.mpp, i.scanner, i.tumour) for i in found.images] == [
        ("t1", "P1", (0.25, 0.5), "CS2", "breast"), ("t2", "P2", (0.25, 0.5), "", "")
    ]  # fmt: skip
    assert found.reasons() == {"augmented": 1}
    assert sorted((Path(out.file).stem, out.reason) for out in found.left_out) == [
        ("t1_r90", "augmented"), ("u", "unlabelled")
    ]  # fmt: skip
    assert found.read == 3
    kept = coco.read(tmp_path, ReadOptions(include_unlabelled=True, unlabelled="background"))
    assert [(image.source, image.labelled, image.case) for image in kept.images] == [
        ("t1", True, "P1"), ("u", False, "P3"), ("t2", True, "P2")
    ]  # fmt: skip
    one_split = coco.read(tmp_path / "annotations" / "train.json", ReadOptions())
    assert [(image.source, image.case) for image in one_split.images] == [("t1", "P1")]
    assert {Path(out.file).stem for out in one_split.left_out} == {"t1_r90", "u"}
    bare = coco.read(tmp_path, ALONE)
    assert [(i.source, i.case, i.size) for i in bare.images] == [
        ("t1", "P1", (64, 48)), ("t2", "P2", (64, 48))
    ]  # fmt: skip


# --- writing ----------------------------------------------------------------------------------


def image(source: str = "a", **more: Any) -> ImageInfo:
    return ImageInfo(
        **{"source": source, "path": None, "width": 20, "height": 10, "case": source, **more}
    )


def item(shape: Any = None, **more: Any) -> Annotation:
    (x, y) = shape.centroid if shape else (5.0, 4.0)
    facts: dict[str, Any] = {
        "source": "a", "label": "mitosis", "x": x, "y": y, "kind": "polygon" if shape else "box",
        "box": (2.0, 1.0, 8.0, 7.0), "shape": shape, "area": shape.area if shape else 36.0,
        "file": "f", "where": "w",
    }  # fmt: skip
    return Annotation(**{**facts, **more})


def written(*items: Annotation, images: list[ImageInfo] | None = None) -> dict[str, Any]:
    found = AnnotationSet(images=images or [image()], annotations=list(items))
    [(name, pieces)] = coco.write(found, say)
    text = "".join(pieces)
    assert name == "annotations.json"
    content = json.loads(text)
    assert isinstance(content, dict)
    return content


def test_what_is_written() -> None:
    square = Polygon((((-2.0, 1.0), (2.0, 1.0), (2.0, 5.0), (-2.0, 5.0)),))
    content = written(
        item(),
        item(x=5.5, kind="point", label="imposter", confidence=0.4, area=None),
        item(square, x=0.0, box=(0.0, 1.0, 2.0, 5.0)),
        images=[image(case="P1", mpp=(0.25, 0.5), scanner="CS2"), image("b")],
    )
    assert content["images"] == [
        {"id": 1, "file_name": "a", "width": 20, "height": 10,
         "attributes": {"case": "P1", "scanner": "CS2", "mpp": [0.25, 0.5]}},
        {"id": 2, "file_name": "b", "width": 20, "height": 10},
    ]  # fmt: skip
    box = {"bbox": [2, 1, 6, 6], "iscrowd": 0, "image_id": 1, "area": 36,
           "segmentation": [[2, 1, 8, 1, 8, 7, 2, 7]]}  # fmt: skip
    assert content["annotations"] == [
        {"id": 1, "category_id": 1, **box},
        {"id": 2, "category_id": 2, **box,
         "attributes": {"x": 5.5, "y": 4, "kind": "point", "confidence": 0.4}},
        {"id": 3, "image_id": 1, "category_id": 1, "bbox": [0, 1, 2, 4], "area": 8, "iscrowd": 0,
         "segmentation": [[0, 1, 2, 1, 2, 5, 0, 5]],
         "attributes": {"x": 0, "y": 3, "kind": "polygon"}},
    ]  # fmt: skip
    assert content["categories"] == [{"id": 1, "name": "mitosis"}, {"id": 2, "name": "imposter"}]
    assert written(item())["categories"] == [{"id": 1, "name": "mitosis"}]
    assert written()["annotations"] == []


def test_a_box_has_the_area_of_what_is_left_of_it() -> None:
    [entry] = written(item(area=100.0))["annotations"]
    assert entry["area"] == 36
    [entry] = written(item(area=20.0, kind="ellipse"))["annotations"]  # boxed by --box fixed
    assert entry["area"] == 20


def test_one_entry_a_line() -> None:
    found = AnnotationSet(images=[image()], annotations=[item(), item()])
    [(_, pieces)] = coco.write(found, say)
    text = "".join(pieces)
    assert text.endswith("}\n") and text.count("\n") == 10


TRIANGLE = ((1.0, 1.0), (5.0, 1.0), (1.0, 4.0))


@pytest.mark.parametrize(
    ("shape", "area", "points"),
    [
        (Ellipse(10, 5, 8, 4, 0.3), 8 * math.pi, 64),
        (Ellipse(10, 5, 8, 4), 8 * math.pi, 64),
        (Polygon((TRIANGLE, ((7.0, 7.0), (9.0, 7.0), (9.0, 9.0)))), 8, 6),
        # over the edge: half of the square, and of the circle
        (Polygon((((16.0, 2.0), (24.0, 2.0), (24.0, 6.0), (16.0, 6.0)),)), 16, 4),
        (Polygon((((2.0, 8.0), (6.0, 8.0), (6.0, 12.0), (2.0, 12.0)),)), 8, 4),
        (Polygon((((2.0, -1.0), (6.0, -1.0), (6.0, 3.0), (2.0, 3.0)),)), 12, 4),
        (Ellipse(0, 5, 6, 6), math.pi * 4.5 * 0.9984, 34),
        # a part of the outline is outside, but the cell is not cut
        (Polygon((TRIANGLE, ((-5.0, 1.0), (-2.0, 1.0), (-2.0, 3.0)))), 6, 3),
    ],
)  # fmt: skip
def test_outlines_are_cut_at_the_image(shape: Any, area: float, points: int) -> None:
    [entry] = written(item(shape))["annotations"]
    assert entry["area"] == pytest.approx(area, rel=1e-4)
    flat = [value for ring in entry["segmentation"] for value in ring]
    assert len(flat) == 2 * points
    assert all(0 <= x <= 20 for x in flat[::2]) and all(0 <= y <= 10 for y in flat[1::2])


def test_pixels_and_holes_are_masks() -> None:
    ring = ((1.0, 1.0), (5.0, 1.0), (5.0, 5.0), (1.0, 5.0))
    hole = ((2.0, 2.0), (4.0, 2.0), (4.0, 4.0), (2.0, 4.0))
    left = Pixels(frozenset([(-1, 3), (0, 3), (0, 4)]))
    entries = written(
        item(Pixels(frozenset([(0, 3), (0, 4), (2, 9)]))),
        item(left, box=(0.0, 3.0, 1.0, 5.0)),
        item(Polygon((ring,), (hole,))),
        item(Polygon((ring,), (hole,)).mapped(1, 1, -3, 0), box=(0.0, 1.0, 2.0, 5.0)),
    )["annotations"]
    counts = [from_text(entry["segmentation"]["counts"]) for entry in entries]
    assert [entry["segmentation"]["size"] for entry in entries] == [[10, 20]] * 4
    assert counts[0] == [3, 2, 24, 1, 170]
    assert counts[1] == [3, 2, 195]
    assert counts[2][:4] == [11, 4, 6, 1]
    # whole ones have their true area, cut ones what is left of it
    assert [entry["area"] for entry in entries] == pytest.approx([3, 2, 12, 8 - 2])


@pytest.mark.parametrize(
    "shape",
    [
        Ellipse(-3, -3, 7, 7),  # its box reaches the corner, it does not
        Polygon((((1.0, 1.0), (3.0, 3.0)),)),  # a line
        Pixels(frozenset([(-2, 0), (50, 3)])),
        Polygon((((-4.0, 1.0), (0.0, 1.0), (-4.0, 4.0)),)),  # touches the edge
        Polygon((((3.2, 3.2), (3.4, 3.2), (3.4, 3.4)),), (((3.3, 3.3), (3.31, 3.3), (3.3, 3.31)),)),
    ],
)
def test_pycocotools_makes_a_mask_of_what_is_hardly_there(shape: Any, tmp_path: Path) -> None:
    content = written(item(shape, box=(2.0, 1.0, 3.0, 3.0)))
    [entry] = content["annotations"]
    if not (isinstance(shape, Polygon) and shape.holes):
        assert entry["segmentation"] == [[2, 1, 3, 1, 3, 3, 2, 3]]
    assert entry["segmentation"] and entry["area"] >= 0
    loaded(write(tmp_path / "c.json", content)).annToMask(entry)


def loaded(file: Path) -> COCO:
    with redirect_stdout(StringIO()):
        return COCO(str(file))


def test_an_image_that_nobody_annotated_is_not_listed() -> None:
    images = [image("u", labelled=False), image()]
    notes: list[str] = []
    found = AnnotationSet(images=images, annotations=[item()])
    [(_, pieces)] = coco.write(found, notes.append)
    text = "".join(pieces)
    assert [entry["file_name"] for entry in json.loads(text)["images"]] == ["a"]
    assert json.loads(text)["annotations"][0]["image_id"] == 1
    assert len(notes) == 1 and notes[0].startswith("1 images that nobody annotated are left out")


def test_a_size_is_needed() -> None:
    with pytest.raises(InputError, match="the size of the image a is not known, and COCO needs it"):
        written(images=[image(width=0, height=0)])


def test_file_names_tell_images_apart() -> None:
    images = [
        image("T1x1y2", path=Path("/d/T1/b/x1y2.png")),
        image("T2x1y2", path=Path("/d/T2/b/x1y2.png")),
        image("c", path=Path("/d/T2/b/other.png")),
        image("T3z", path=Path("/d/T3/z.png")),
        image("T4z", path=Path("/d/T4/z.png")),
        image("A/x", named="x.tif"),
        image("B/x", named="x.tif"),
        image("y", named="y.tif"),
    ]
    names = [entry["file_name"] for entry in written(images=images)["images"]]
    assert names == [
        "T1/b/x1y2.png", "T2/b/x1y2.png", "other.png", "T3/z.png", "T4/z.png", "A/x", "B/x", "y.tif"
    ]  # fmt: skip


def test_a_lone_surrogate_is_escaped() -> None:
    found = AnnotationSet(images=[image("a\udc80")], annotations=[])
    [(_, pieces)] = coco.write(found, say)
    text = "".join(pieces)
    assert (
        json.loads(text.encode("utf-8", "backslashreplace"))["images"][0]["file_name"] == "a\udc80"
    )


# --- there and back ---------------------------------------------------------------------------


def same(a: Annotation, b: Annotation) -> None:
    assert (b.source, b.label, b.kind) == (a.source, a.label, a.kind)
    assert (b.x, b.y) == pytest.approx((a.x, a.y), abs=1e-6)
    assert b.box == pytest.approx(a.box, abs=1e-6)
    assert b.confidence == a.confidence


@given(prepared_sets)
def test_written_and_read(found: AnnotationSet) -> None:
    back = written_and_read(found, coco.write, coco.read)
    assert [(i.source, i.case, i.size, i.mpp, i.scanner) for i in back.images] == [
        (i.source, i.case, i.size, i.mpp, i.scanner) for i in found.images
    ]
    assert len(back.annotations) == len(found.annotations)
    for a, b in zip(found.annotations, back.annotations, strict=True):
        same(a, b)
        whole = a.shape and a.shape.box == pytest.approx(a.box, abs=1e-9)
        if a.kind == "point":
            assert b.area is None
        elif a.kind != "box" and whole:
            assert b.area == pytest.approx(a.area)
        if isinstance(a.shape, Pixels) and whole:
            assert b.shape == a.shape


@given(prepared_sets)
def test_pycocotools_reads_what_is_written(
    tmp_path_factory: pytest.TempPathFactory, found: AnnotationSet
) -> None:
    [(_, pieces)] = coco.write(found, say)
    text = "".join(pieces)
    file = tmp_path_factory.mktemp("coco") / "annotations.json"
    file.write_text(text, encoding="utf-8")
    theirs = loaded(file)
    assert sorted(theirs.imgs) == list(range(1, len(found.images) + 1))
    assert sorted(theirs.anns) == list(range(1, len(found.annotations) + 1))
    for number, item in enumerate(found.annotations, 1):
        entry = theirs.anns[number]
        mask = theirs.annToMask(entry)
        assert mask.shape[::-1] == found.images[entry["image_id"] - 1].size
        left, top, width, height = entry["bbox"]
        rows, columns = mask.nonzero()
        if item.shape and len(rows):  # pycocotools rounds outlines to half pixels
            assert left - 1 <= columns.min() and columns.max() <= left + width + 1
            assert top - 1 <= rows.min() and rows.max() <= top + height + 1


@given(prepared_sets)
def test_coco_and_yolo_agree(found: AnnotationSet) -> None:
    by_coco = written_and_read(found, coco.write, coco.read)
    sizes = {image.source: image.size for image in found.images}
    by_yolo = written_and_read(
        found, yolo.write, yolo.read, frame=lambda scanner, case: sizes[case]
    )
    for (image_a, items_a), (image_b, items_b) in zip(
        by_coco.by_image(), by_yolo.by_image(), strict=True
    ):
        assert image_a.source == image_b.source
        for a, b in zip(items_a, items_b, strict=True):
            assert a.label == b.label
            assert a.box == pytest.approx(b.box, abs=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"bbox": [1, 2, 3.5, 4]},
        {"area": 0},
        {"area": 7},
        {"area": None},
        {"area": -1},
        {"area": True},
        {"segmentation": None},
        {"segmentation": [[1, 2, 8, 2, 8, 9]]},
        {"score": 0.5},
        {"image_id": 1.0},
        {"category_id": "2"},
        {"bbox": [0.1, 0.2, 0.3, 0]},
        {"bbox": [1e13, 2, 3, 4]},
        {"bbox": [float("nan"), 2, 3, 4]},
        {"bbox": [1, 2, float("inf"), 4]},
        {"bbox": [1, 2, -3, 4]},
        {"bbox": [1, 2, True, 4]},
        {"bbox": [1, 2, 3]},
        {"bbox": "1234"},
        {"bbox": {"a": 1, "b": 2, "c": 3, "d": 4}},
        {"image_id": [1]},
        {"image_id": 9},
    ],
)
def test_the_short_way_for_plain_boxes_reads_what_the_long_way_reads(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "c.json", document({**entry(), **change}))
    options = ReadOptions(annotations_only=True, bad="drop")
    short = coco.read(file, options)
    calls: list[object] = []
    monkeypatch.setattr(coco, "_plain_box", lambda *given: calls.append(given))
    assert coco.read(file, options) == short and len(calls) == 1


def test_the_collector_is_as_it_was(tmp_path: Path) -> None:
    file = write(tmp_path / "c.json", document(entry()))
    for name, works in (("coco", True), ("via", False)):
        reader = get_reader(name)
        with nullcontext() if works else pytest.raises(InputError):
            reader(file, ReadOptions(annotations_only=True))
        assert gc.isenabled()
