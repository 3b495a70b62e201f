"""Label Studio: tasks as JSON, regions in percent."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from conftest import picture
from damaged import Place, check_damage

from converters.errors import InputError
from converters.labelstudio import read
from converters.model import Annotation, AnnotationSet
from converters.read_options import ReadOptions
from converters.shapes import Ellipse, Polygon

SIZE = (200, 100)


def region(kind: str, words: Any = ("Mitosis",), /, **value: Any) -> dict[str, Any]:
    named = {} if words is None else {kind: list(words)}
    return {"id": "r1", "type": kind, "from_name": "tag", "to_name": "img",
            "original_width": SIZE[0], "original_height": SIZE[1], "image_rotation": 0,
            "value": {**value, **named}}  # fmt: skip


KEYPOINT = region("keypointlabels", x=12.5, y=40, width=0.5)
ELLIPSE = region("ellipselabels", x=50, y=50, radiusX=10, radiusY=5, rotation=0)


def task(*regions: Any, image: str = "/data/upload/1/0f6142fb-a.png", **more: Any) -> Any:
    annotation = {"id": 7, "completed_by": 1, "result": list(regions), "was_cancelled": False}
    return {"id": 3, "data": {"image": image}, "annotations": [annotation], "predictions": [],
            **more}  # fmt: skip


def parsed(folder: Path, *tasks: Any, **options: Any) -> AnnotationSet:
    (folder / "export.json").write_text(json.dumps(tasks))
    return read(folder, ReadOptions(annotations_only=True, **options))


def one(folder: Path, *regions: Any) -> Annotation:
    found = parsed(folder, task(*regions))
    assert not found.dropped
    [item] = found.annotations
    assert (item.source, item.where) == ("a", "[0].annotations[0].result[0]")
    return item


@pytest.mark.parametrize(
    ("value", "kind", "x", "y", "box", "area"),
    [
        (ELLIPSE, "ellipse", 100, 50, (80, 45, 120, 55), 100 * math.pi),
        (region("ellipselabels", x=50, y=50, radiusX=10, radiusY=5), "ellipse", 100, 50,
         (80, 45, 120, 55), 100 * math.pi),
        # turned on the screen: 20 px and 5 px change places
        (region("ellipselabels", x=50, y=50, radiusX=10, radiusY=5, rotation=90), "ellipse",
         100, 50, (95, 30, 105, 70), 100 * math.pi),
        (region("rectanglelabels", x=10, y=20, width=5, height=10, rotation=0), "box",
         25, 25, (20, 20, 30, 30), 100),
        (region("rectanglelabels", x=15, y=30, width=-5, height=-10), "box",
         25, 25, (20, 20, 30, 30), 100),
        (region("rectanglelabels", x=10, y=20, width=5, height=10, rotation=360), "box",
         25, 25, (20, 20, 30, 30), 100),
        # about its upper left corner, clockwise: 10 px across become 10 px down
        (region("rectanglelabels", x=10, y=20, width=5, height=20, rotation=90), "rectangle",
         10, 25, (0, 20, 20, 30), 200),
        (region("polygonlabels", points=[[0, 0], [3, 0], [0, 6]], closed=True), "polygon",
         2, 2, (0, 0, 6, 6), 18),
        (region("polygonlabels", points=[[0, 0], [3, 0], [0, 6], [0, 0]]), "polygon",
         2, 2, (0, 0, 6, 6), 18),
        (KEYPOINT, "point", 25, 40, None, None),
    ],
)  # fmt: skip
def test_every_region(
    tmp_path: Path, value: Any, kind: str, x: float, y: float, box: Any, area: Any
) -> None:
    item = one(tmp_path, value)
    assert (item.x, item.y) == pytest.approx((x, y))
    assert (item.kind, item.label) == (kind, "mitosis")
    assert item.box == (box and pytest.approx(box))
    assert item.area == (area and pytest.approx(area))


def test_an_ellipse_turns_in_pixels(tmp_path: Path) -> None:
    item = one(tmp_path, region("ellipselabels", x=50, y=50, radiusX=10, radiusY=5, rotation=30))
    assert item.shape == Ellipse(100, 50, 40, 10, math.radians(30))


def test_a_polygon_does_not_repeat_its_first_point(tmp_path: Path) -> None:
    item = one(tmp_path, region("polygonlabels", points=[[0, 0], [3, 0], [0, 6], [0, 0]]))
    assert item.shape == Polygon((((0, 0), (6, 0), (0, 6)),))


@pytest.mark.parametrize(
    ("words", "label"),
    [
        (["Mitotic figure"], "mitosis"),
        (["Non-mitosis"], "imposter"),
        (["fat"], "fat"),
        (["fat", "Mitosis"], "mitosis"),
        ([], "mitosis"),
        (None, "mitosis"),
    ],
)
def test_class(tmp_path: Path, words: Any, label: str) -> None:
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 5}
    assert one(tmp_path, region("ellipselabels", words, **value)).label == label


def test_a_class_of_another_tag_is_joined_by_the_id(tmp_path: Path) -> None:
    shape = region("ellipse", None, x=50, y=50, radiusX=10, radiusY=5)
    other = region("keypoint", None, x=5, y=5, width=1) | {"id": "r2"}
    words = region("labels", ["Imposter"], x=50, y=50, radiusX=10, radiusY=5)
    note = region("textarea", None, text=["blurred"])
    found = parsed(tmp_path, task(shape, words, note, other))
    assert [(item.kind, item.label) for item in found.annotations] == [
        ("ellipse", "imposter"),
        ("point", "mitosis"),
    ]
    assert not found.dropped


@pytest.mark.parametrize(
    ("more", "confidence"),
    [
        ({}, None),
        ({"score": 0.75}, 0.75),
        ({"score": None, "meta": {"score": 0.5}}, 0.5),
        ({"score": 0, "meta": {"score": 0.5}}, 0.0),
        ({"meta": {"text": ["sure"]}}, None),
        ({"meta": None}, None),
    ],
)
def test_confidence(tmp_path: Path, more: Any, confidence: Any) -> None:
    assert one(tmp_path, KEYPOINT | more).confidence == confidence


def test_every_annotator_counts(tmp_path: Path) -> None:
    value = task(KEYPOINT)
    value["annotations"].append({"result": [ELLIPSE]})
    found = parsed(tmp_path, value)
    assert [item.where for item in found.annotations] == [
        "[0].annotations[0].result[0]",
        "[0].annotations[1].result[0]",
    ]


def test_completions_are_what_annotations_were_called(tmp_path: Path) -> None:
    value = task(KEYPOINT)
    value["completions"] = value.pop("annotations")
    [item] = parsed(tmp_path, value).annotations
    assert item.where == "[0].completions[0].result[0]"


def test_what_was_not_handed_in_is_counted(tmp_path: Path) -> None:
    value = task(
        KEYPOINT,
        predictions=[5, {"result": [ELLIPSE, ELLIPSE]}],
        drafts=[{"result": [KEYPOINT]}],
    )
    value["annotations"].append({"result": [ELLIPSE], "was_cancelled": True})
    found = parsed(tmp_path, value)
    assert len(found.annotations) == 1
    assert found.reasons() == {"cancelled": 1, "draft": 1, "prediction": 2}
    assert found.dropped[0].where == "[0].annotations[1].result[0]"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (region("brushlabels", rle=[1, 2], format="rle"), "shape"),
        (region("choices", None, choices=["good"]), "shape"),  # of the whole image
        ({"type": "relation", "from_id": "r1", "to_id": "r2"}, "shape"),
        (region("polygonlabels", points=[[0, 0], [3, 0], [0, 6]], closed=False), "shape"),
        (region("rectanglelabels", x=1, y=2, width=0, height=3), "no_extent"),
        (region("ellipselabels", x=1, y=2, radiusX=0, radiusY=3), "no_extent"),
    ],
)
def test_what_marks_no_cell_is_counted(tmp_path: Path, value: Any, reason: str) -> None:
    found = parsed(tmp_path, task(value, KEYPOINT | {"id": "r9"}))
    assert len(found.annotations) == 1
    assert [(drop.reason, drop.where) for drop in found.dropped] == [
        (reason, "[0].annotations[0].result[0]")
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, r"export\.json, \[0\]\.annotations\[0\]\.result\[0\]: expected an object"),
        ({"id": "x"}, "no key `type`"),
        (KEYPOINT | {"type": ["x"]}, "key `type`: expected text"),
        (KEYPOINT | {"value": 3}, "key `value`: expected an object"),
        (KEYPOINT | {"image_rotation": 90}, "image was turned in Label Studio"),
        (KEYPOINT | {"score": "high"}, "key `score`: 'high' is not a number"),
        (region("keypointlabels", x=5), "no key `y`"),
        (region("ellipselabels", x=1, y=2, radiusX=-1, radiusY=3), "key `radiusX`: -1.0 is neg"),
        (region("polygonlabels", points=3), "key `points`: expected a list of points"),
        (region("keypointlabels", ["Mitosis", "Imposter"], x=1, y=2), "are two classes"),
        (region("keypointlabels", [3, {}], x=1, y=2), "expected the name of a class"),
    ],
)
def test_damage_is_named(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parsed(tmp_path, task(value))
    found = parsed(tmp_path, task(value, KEYPOINT | {"id": "r9"}), bad="drop")
    assert [drop.reason for drop in found.dropped] == ["malformed"]
    assert len(found.annotations) == 1


@pytest.mark.parametrize("content", [3, None, {}, {"shapes": []}, [{"image": "a.png"}], ["x"]])
def test_no_export_of_label_studio(tmp_path: Path, content: Any) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"a\.json: not an export of Label Studio.*JSON-MIN"):
        read(tmp_path, ReadOptions(annotations_only=True))


def test_one_task_alone(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(task(KEYPOINT)))
    assert len(read(tmp_path, ReadOptions(annotations_only=True)).annotations) == 1


def test_no_damage_crashes_the_reader(tmp_path: Path) -> None:
    document = [
        task(
            ELLIPSE | {"score": 0.5, "meta": {"score": 1}},
            region("rectanglelabels", x=10, y=20, width=5, height=20, rotation=90),
            region("polygonlabels", points=[[0, 0], [3, 0], [0, 6]], closed=True),
        ),
        task(
            KEYPOINT,
            region("labels", ["Imposter"], x=1, y=2),
            image="s3://bucket/b.png",
            predictions=[{"result": [KEYPOINT]}],
        ),
    ]

    def inside(place: Place) -> bool:
        return len(place) > 5 and place[0] == 0 and place[3] == "result"

    check_damage(read, tmp_path / "a.json", document, inside)


# --- images -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("/data/upload/1/0f6142fb-a.png", "a"),
        ("/data/upload/1/0f6142fb-a%20b.png", "a b"),
        ("/data/local-files/?d=slides/a.png", "a"),
        ("/data/local-files/?d=slides%2Fa.png", "a"),
        ("s3://bucket/tiles/a.png", "a"),
        ("https://x.org/tiles/a.png?token=1#x", "a"),
        ("C:\\tiles\\a.png", "a"),
        ("a.png", "a"),
        ("a#1.png", "a#1"),
        ("0f6142fb-c.png", "0f6142fb-c"),  # the image's own name
    ],
)
@pytest.mark.parametrize("annotations_only", [False, True])
def test_the_image(tmp_path: Path, address: str, source: str, annotations_only: bool) -> None:
    for i, name in enumerate(("a", "a b", "a#1", "0f6142fb-c")):
        picture(tmp_path / "images" / f"{name}.png", 100 + i)
    (tmp_path / "x.json").write_text(json.dumps([task(KEYPOINT, image=address)]))
    options = ReadOptions(
        images=None if annotations_only else tmp_path / "images", annotations_only=annotations_only
    )
    found = read(tmp_path / "x.json", options)
    [image] = found.images
    assert (image.source, image.case) == (source, source)
    # percent of the image that is there, whatever the file says of its size
    assert found.annotations[0].x == image.width / 8
    assert (image.width == 200) is annotations_only


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"text": "x", "title": "y"}, r"no key `image` \(found: text, title\)"),
        ({"image": ["a.png", "b.png"]}, r"no key `image` \(found: image\)"),
        ({}, "no key `image`"),
        ({"image": "http://[a.png"}, "is no address of an image"),
        ({"image": "/data/"}, None),
        ([], "key `data`: expected an object"),
    ],
)
def test_no_image_is_named(tmp_path: Path, data: Any, message: str | None) -> None:
    if message:
        with pytest.raises(InputError, match=message):
            parsed(tmp_path, task(KEYPOINT) | {"data": data})
    picture(tmp_path / "a.png")
    (tmp_path / "export.json").write_text(json.dumps([task(KEYPOINT) | {"data": data}]))
    found = read(tmp_path, ReadOptions(bad="drop", unlabelled="background"))
    assert len(found.dropped) == 1
    assert not found.annotations
    if message:  # it may have been about any
        assert [Path(image.file).name for image in found.left_out] == ["a.png"]


def test_the_only_text_names_the_image(tmp_path: Path) -> None:
    found = parsed(tmp_path, task(KEYPOINT) | {"data": {"picture": "tiles/a.png", "n": 3}})
    assert [image.source for image in found.images] == ["a"]


def test_percents_need_a_size(tmp_path: Path) -> None:
    bare = {key: value for key, value in KEYPOINT.items() if not key.startswith("original")}
    with pytest.raises(InputError, match=r"the size of the image .*a is not known"):
        parsed(tmp_path, task(bare))
    assert parsed(tmp_path, task(bare, ELLIPSE)).images[0].size == SIZE


def test_a_task_that_nobody_annotated_is_not_background(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        picture(tmp_path / f"{name}.png")
    skipped = task(image="b.png")
    skipped["annotations"][0]["was_cancelled"] = True
    tasks = [task(image="a.png"), skipped, task(image="c.png") | {"annotations": []}]
    (tmp_path / "x.json").write_text(json.dumps(tasks))
    found = read(tmp_path, ReadOptions())
    assert [image.source for image in found.images] == ["a"]  # looked at, and none on it
    assert [(Path(image.file).name, image.reason) for image in found.left_out] == [
        ("b.png", "unlabelled"),
        ("c.png", "unlabelled"),
    ]
    found = read(tmp_path, ReadOptions(unlabelled="background"))
    assert [image.source for image in found.images] == ["a", "b", "c"]


def test_without_images_a_task_that_nobody_annotated_is_listed(tmp_path: Path) -> None:
    found = parsed(tmp_path, task(KEYPOINT), task(image="b.png") | {"annotations": []})
    assert [image.source for image in found.images] == ["a"]
    assert [(image.file, image.reason) for image in found.left_out] == [("b.png", "unlabelled")]


@pytest.mark.parametrize("first", [0, 1])
def test_one_annotated_task_of_an_image_is_enough(tmp_path: Path, first: int) -> None:
    picture(tmp_path / "a.png")
    tasks = [task(KEYPOINT, image="a.png"), task(image="a.png") | {"annotations": []}]
    (tmp_path / "x.json").write_text(json.dumps([tasks[first], tasks[1 - first]]))
    found = read(tmp_path, ReadOptions())
    assert ([image.source for image in found.images], len(found.annotations)) == (["a"], 1)
    assert not found.left_out and not found.dropped


def test_an_image_whose_task_is_damaged_is_left_out(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png")
    damaged = task(image="a.png") | {"annotations": [{"result": 3}]}
    (tmp_path / "x.json").write_text(json.dumps([damaged, task(image="b.png")]))
    with pytest.raises(InputError, match=r"\[0\]\.annotations\[0\], key `result`: expected a list"):
        read(tmp_path, ReadOptions())
    found = read(tmp_path, ReadOptions(bad="drop", unlabelled="background"))
    assert [image.source for image in found.images] == ["b"]
    assert [Path(image.file).name for image in found.left_out] == ["a.png"]
    assert [drop.reason for drop in found.dropped] == ["malformed"]


def test_an_image_that_is_not_there(tmp_path: Path) -> None:
    picture(tmp_path / "b.png")
    (tmp_path / "x.json").write_text(json.dumps([task(KEYPOINT, ELLIPSE)]))
    with pytest.raises(InputError, match=r"\[0\]: no image 'data/upload/1/0f6142fb-a\.png'"):
        read(tmp_path, ReadOptions())
    found = read(tmp_path, ReadOptions(bad="drop"))
    assert [drop.reason for drop in found.dropped] == ["no_image", "no_image"]


def test_after_an_unreadable_file_no_image_is_background(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png")
    (tmp_path / "1.json").write_text(json.dumps([task(KEYPOINT)]))
    (tmp_path / "2.json").write_text("{")
    found = read(tmp_path, ReadOptions(bad="drop", unlabelled="background"))
    assert [image.source for image in found.images] == ["a"]
    assert [drop.reason for drop in found.dropped] == ["unreadable_file"]
