"""YOLO label files: rows, class names, which image is whose, and dataset folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import picture, table
from hypothesis import example, given
from hypothesis import strategies as st
from random_sets import prepared_sets, say, written_and_read

from converters import yolo
from converters.errors import InputError
from converters.geometry import Box
from converters.model import Annotation, AnnotationSet, ImageInfo
from converters.read_options import ReadOptions


def options(**more: Any) -> ReadOptions:
    """Without images; each is 200 x 100 px."""
    sizes: dict[str, Any] = {"annotations_only": True, "frame": lambda scanner, case: (200, 100)}
    return ReadOptions(**{**sizes, **more})


def parse(tmp_path: Path, *rows: str, **more: Any) -> AnnotationSet:
    table(tmp_path / "labels" / "a.txt", *rows)
    return yolo.read(tmp_path, options(**more))


# --- rows -------------------------------------------------------------------------------------


def test_a_box(tmp_path: Path) -> None:
    found = parse(tmp_path, "0 0.5 0.25 0.1 0.2", "", " 1\t0.5 0.5 0.5 0.5 0.75  ")
    assert [(image.source, image.case) for image in found.images] == [("a", "a")]
    first, second = found.annotations
    assert (first.label, first.kind, first.confidence) == ("mitosis", "box", None)
    assert (first.x, first.y, first.area) == pytest.approx((100, 25, 400))
    assert first.box == pytest.approx((90, 15, 110, 35))
    assert (first.source, first.where) == ("a", "line 1")
    assert first.file == str(tmp_path / "labels" / "a.txt")
    assert (second.label, second.confidence, second.where) == ("imposter", 0.75, "line 3")
    assert second.box == pytest.approx((50, 25, 150, 75))


def test_an_outline(tmp_path: Path) -> None:
    [item] = parse(tmp_path, "0 0.1 0.1 0.2 0.1 0.1 0.4").annotations
    assert (item.kind, item.confidence) == ("polygon", None)
    assert item.box == pytest.approx((20, 10, 40, 40))
    assert item.area == pytest.approx(300)
    assert (item.x, item.y) == pytest.approx((80 / 3, 20))
    [square] = parse(tmp_path, "0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2 0.1 0.1").annotations
    assert square.shape and len(square.shape.outline().rings[0]) == 4
    assert square.area == pytest.approx(200)


def test_what_leaves_the_image_is_data(tmp_path: Path) -> None:
    [item] = parse(tmp_path, "0 -0.1 1.2 0.4 0.6").annotations
    assert item.box == pytest.approx((-60, 90, 20, 150))


def test_a_line_without_extent_is_dropped(tmp_path: Path) -> None:
    found = parse(tmp_path, "0 0.5 0.5 0 0.2", "0 0.5 0.5 0.1 0.2")
    assert (len(found.annotations), found.reasons()) == (1, {"no_extent": 1})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0", "1 values, expected 5"),
        ("0 0.5 0.5 0.1", "4 values, expected 5"),
        ("0 0.1 0.1 0.2 0.1 0.1 0.4 0.9", "8 values, expected 5"),
        ("0 0.5 0.5 0.1 x", "'x' is not a number"),
        ("0 0.5 nan 0.1 0.1", "nan is not a finite number"),
        ("0 0.5 0.5 inf 0.1", "inf is"),
        ("0 0.5 0.5 1_0 0.1", "'1_0' is not a number"),
        ("0 0.5 0.5 1e13 0.1", "1e13 is too large"),
        ("0 0,5 0,5 0,1 0,1", "'0,5' is not a number"),
        ("0 0.5 0.5 -0.1 0.1", "a box of -0.1 x 0.1"),
        ("0 0.5 0.5 0.1 -0.1", "a box of 0.1 x -0.1"),
        ("2 0.5 0.5 0.1 0.1", "class 2, expected one of: 0 mitosis, 1 imposter"),
        ("-1 0.5 0.5 0.1 0.1", "class -1, expected one of"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5, expected one of"),
        ("mitosis 0.5 0.5 0.1 0.1", "'mitosis' is not a number"),
        ("nan 0.5 0.5 0.1 0.1", "nan is not a finite"),
    ],
)
def test_a_malformed_row_stops_or_is_counted(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"a\.txt, line 2: .*{message}"):
        parse(tmp_path, "0 0.5 0.5 0.1 0.1", row)
    found = parse(tmp_path, "0 0.5 0.5 0.1 0.1", row, bad="drop")
    assert (len(found.annotations), found.reasons(), found.read) == (1, {"malformed": 1}, 2)


def test_a_class_may_be_written_as_a_float(tmp_path: Path) -> None:
    assert parse(tmp_path, "1.0 0.5 0.5 0.1 0.1").annotations[0].label == "imposter"


words = st.text(alphabet="0123456789.-+eE_xinfa \t,") | st.text(max_size=20)


@given(st.lists(words, max_size=7).map(" ".join))
@example("0 1e400 0 1 1")
def test_no_row_crashes_the_reader(tmp_path_factory: pytest.TempPathFactory, row: str) -> None:
    folder = tmp_path_factory.mktemp("row")
    (folder / "a.txt").write_text(row, encoding="utf-8", errors="surrogatepass")
    try:
        stopped = not yolo.read(folder, options())
    except InputError:
        stopped = True
    found = yolo.read(folder, options(bad="drop"))
    assert not stopped or found.dropped


def test_the_size_must_be_known(tmp_path: Path) -> None:
    table(tmp_path / "a.txt", "0 0.5 0.5 0.1 0.1")
    table(tmp_path / "b.txt")
    with pytest.raises(InputError, match="the size of the image a is not known"):
        yolo.read(tmp_path, ReadOptions(annotations_only=True))


# --- class names ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        ({}, ["mitosis", "imposter"]),
        ({"classes.txt": "Non-mitosis\nMitotic figure\n\n"}, ["imposter", "mitosis"]),
        ({"labels/classes.txt": "fat\nmitosis"}, ["fat", "mitosis"]),
        ({"obj.names": "imposter\nmitosis\n"}, ["imposter", "mitosis"]),
        ({"data.yaml": "nc: 2\nnames: [a, b]"}, ["a", "b"]),
        ({"data.yaml": "names: {1: mitosis, 0: lymphocyte}"}, ["lymphocyte", "mitosis"]),
        ({"data.yaml": "names:\n  '0': a\n  '1': 7\n"}, ["a", "7"]),
        ({"my.yml": "names: [a, b]", "args.yaml": "epochs: 3"}, ["a", "b"]),
        # the data set's own file goes before others
        ({"data.yaml": "names: [a, b]", "x.yaml": "names: [c, d]", "classes.txt": "e\nf"},
         ["a", "b"]),
        ({"data.yaml": "train: x", "x.yaml": "names: [c, d]"}, ["c", "d"]),
        ({"data.yaml": "names: [a, b]", "x/dataset.yaml": "names: [a, b]"}, ["a", "b"]),
    ],
)  # fmt: skip
def test_class_names(tmp_path: Path, files: dict[str, str], labels: list[str]) -> None:
    for name, text in files.items():
        table(tmp_path / name).write_text(text)
    found = parse(tmp_path, "0 0.5 0.5 0.1 0.1", "1 0.5 0.5 0.1 0.1")
    assert [item.label for item in found.annotations] == labels


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"data.yaml": "names: [a"}, r"data\.yaml: not valid YAML"),
        ({"data.yaml": "names: " + "[" * 5000}, r"data\.yaml: not valid YAML"),
        ({"data.yaml": "names: 2001-99-99"}, r"data\.yaml: not valid YAML"),
        ({"data.yaml": "names: 3"}, r"key `names`: expected a list of class names, found 3"),
        ({"data.yaml": "names: [a, [b]]"}, r"expected a number and a name, found 1: \['b'\]"),
        ({"data.yaml": "names: {a: b}"}, r"expected a number and a name, found 'a': 'b'"),
        ({"data.yaml": "names: {-1: b}"}, r"found -1: 'b'"),
        ({"data.yaml": "names: [a]\nkpt_shape: [5, 3]"}, "rows with keypoints are not read"),
        ({"data.yaml": "names: [a]", "x/data.yaml": "names: [b]"}, "other class names than in"),
        ({"classes.txt": "a", "x/classes.txt": "b"}, "other class names than in"),
        ({"classes.txt": "mitosis"}, r"a\.txt, line 2: class 1, expected one of: 0 mitosis"),
    ],
)
def test_class_names_that_cannot_be_used(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    for name, text in files.items():
        table(tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        parse(tmp_path, "0 0.5 0.5 0.1 0.1", "1 0.5 0.5 0.1 0.1")


# --- images -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "images", "sources"),
    [
        (["labels/a", "labels/b"], ["images/a", "images/b"], ["a", "b"]),
        (["labels/train/a", "labels/val/a"], ["images/train/a", "images/val/a"],
         ["images/train/a", "images/val/a"]),
        (["train/labels/a", "valid/labels/a"], ["train/images/a", "valid/images/a"],
         ["train/images/a", "valid/images/a"]),
        (["x/images/labels/a"], ["x/images/images/a"], ["a"]),
        (["labels/a"], ["pictures/a"], ["a"]),
        (["obj_train_data/a", "obj_train_data/train_1"],
         ["obj_train_data/a", "obj_train_data/train_1"], ["a", "train_1"]),
        (["a", "b.c"], ["a", "b.c"], ["a", "b.c"]),
        (["labels/train/a"], ["a"], ["a"]),
    ],
)  # fmt: skip
def test_which_image_is_whose(
    tmp_path: Path, labels: list[str], images: list[str], sources: list[str]
) -> None:
    for i, name in enumerate(images):
        picture(tmp_path / f"{name}.png", 60 + i)
    for i, name in enumerate(labels):
        table(tmp_path / f"{name}.txt", f"0 0.5 0.5 0.{i + 1} 0.1")
    for name in ("train.txt", "README.roboflow.txt", "Notes.txt"):
        table(tmp_path / name, "images/a.png")
    found = yolo.read(tmp_path, ReadOptions())
    assert [image.source for image in found.images] == sources
    assert [item.source for item in found.annotations] == sources
    for i, item in enumerate(found.annotations):
        assert item.box and item.box[2] - item.box[0] == pytest.approx((60 + i) * (i + 1) / 10)


def test_only_folders_below_the_one_that_was_named_count(tmp_path: Path) -> None:
    root = tmp_path / "labels" / "images"
    picture(root / "a.png")
    table(root / "a.txt", "0 0.5 0.5 0.1 0.1")
    table(root / "train.txt", "a.png")
    assert [image.source for image in yolo.read(root, ReadOptions()).images] == ["a"]


def test_images_by_their_own_option(tmp_path: Path) -> None:
    for split in ("train", "val"):
        picture(tmp_path / "pictures" / split / "a.png")
        table(tmp_path / "x" / "labels" / split / "a.txt", "0 0.5 0.5 0.1 0.1")
    found = yolo.read(tmp_path / "x", ReadOptions(images=tmp_path / "pictures"))
    assert [item.source for item in found.annotations] == ["train/a", "val/a"]
    inner = yolo.read(tmp_path / "x" / "labels", ReadOptions(images=tmp_path / "pictures"))
    assert [item.source for item in inner.annotations] == ["train/a", "val/a"]
    one = tmp_path / "x" / "labels" / "val" / "a.txt"
    single = yolo.read(one, ReadOptions(images=tmp_path / "pictures" / "val"))
    assert [item.source for item in single.annotations] == ["a"]


@pytest.mark.parametrize(
    ("label", "image"),
    [("labels/train/a", "images/val/a"), ("train/labels/a", "valid/images/a")],
)
def test_an_image_of_another_folder_is_not_taken(tmp_path: Path, label: str, image: str) -> None:
    picture(tmp_path / f"{image}.png")
    picture(tmp_path / "images" / "b.png")
    table(tmp_path / "labels" / "b.txt", "0 0.5 0.5 0.1 0.1")
    file = table(tmp_path / f"{label}.txt", "0 0.5 0.5 0.1 0.1")
    with pytest.raises(InputError, match=r"a\.txt: no image for this label file .*a is of another"):
        yolo.read(tmp_path, ReadOptions())
    found = yolo.read(tmp_path, ReadOptions(bad="drop", unlabelled="background"))
    assert [image.source for image in found.images] == ["b"]
    assert [(drop.file, drop.reason) for drop in found.dropped] == [(str(file), "no_image")]
    assert [out.reason for out in found.left_out] == ["unlabelled"]


def test_two_label_files_of_one_image(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    for name in ("labels/x/a", "labels/y/a", "labels/b"):
        table(tmp_path / f"{name}.txt", "0 0.5 0.5 0.1 0.1")
    with pytest.raises(InputError, match=r"y/a\.txt: the image a has another label file, .*x/a"):
        yolo.read(tmp_path, ReadOptions())
    found = yolo.read(tmp_path, ReadOptions(bad="drop"))
    assert [image.source for image in found.images] == ["b"]
    assert (found.read, len(found.annotations)) == (3, 1)


def test_empty_is_background_and_missing_is_not(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "images" / f"{name}.png")
    table(tmp_path / "labels" / "a.txt")
    with pytest.raises(InputError, match=r"b\.png: no annotation file .*a \.txt of the same name"):
        yolo.read(tmp_path, ReadOptions())
    skipped = yolo.read(tmp_path, ReadOptions(unlabelled="skip"))
    assert [image.source for image in skipped.images] == ["a"]
    assert [out.reason for out in skipped.left_out] == ["unlabelled"]
    kept = yolo.read(tmp_path, ReadOptions(unlabelled="background"))
    assert [image.source for image in kept.images] == ["a", "b"]


def test_a_label_file_without_image(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    table(tmp_path / "labels" / "a.txt", "0 0.5 0.5 0.1 0.1")
    table(tmp_path / "labels" / "b.txt", "0 0.5 0.5 0.1 0.1", "", "what ever")
    with pytest.raises(InputError, match=r"b\.txt: no image 'images/b' below"):
        yolo.read(tmp_path, ReadOptions())
    found = yolo.read(tmp_path, ReadOptions(bad="drop"))
    assert (found.reasons(), found.read) == ({"no_image": 2}, 3)
    assert [image.source for image in found.images] == ["a"]


@pytest.mark.parametrize("unlabelled", ["background", "skip"])
def test_an_image_with_a_damaged_label_file_is_no_background(
    tmp_path: Path, unlabelled: str
) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png")
        table(tmp_path / f"{name}.txt")
    (tmp_path / "b.txt").write_bytes(b"0 0.5 0.5 \xff")
    with pytest.raises(InputError, match=r"b\.txt: not UTF-8 text"):
        yolo.read(tmp_path, ReadOptions())
    found = yolo.read(tmp_path, ReadOptions(bad="drop", unlabelled=unlabelled))
    assert [image.source for image in found.images] == ["a"]
    assert found.reasons() == {"unreadable_file": 1}


def test_a_missing_image_is_told_by_its_own_folder(tmp_path: Path) -> None:
    table(tmp_path / "x" / "a.txt", "0 0.5 0.5 0.1 0.1")
    with pytest.raises(InputError, match=r"a\.txt: no image 'x/a' below"):
        yolo.read(tmp_path, ReadOptions())


def test_a_folder_without_label_files(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    table(tmp_path / "classes.txt", "mitosis")
    with pytest.raises(InputError, match=r"no \.txt label file below this folder"):
        yolo.read(tmp_path, ReadOptions())


# --- dataset folders --------------------------------------------------------------------------

MANIFEST = "tile,source,case,split,x,y,width,height,mpp_x,mpp_y,scanner,tumour"


def dataset(root: Path) -> Path:
    """Two tiles, a copy of the first, one that nobody annotated; masks beside them."""
    for name in ("images/train/t1", "masks/train/t1", "images/val/t2", "images/train/t1_r90",
                 "images/unlabelled/u"):  # fmt: skip
        picture(root / f"{name}.png")
    table(
        root / "manifest.csv", MANIFEST, "t1,S1,P1,train,0,0,64,48,0.25,0.5,CS2,breast",
        "t2,S2,P2,val,0,0,64,48,0.25,0.5,,", "u,S3,P3,unlabelled,0,0,64,48,0.25,0.5,,",
    )  # fmt: skip
    table(root / "augmented.csv", "tile,of,transform", "t1_r90,t1,rot90")
    table(root / "dataset.yaml", "names: {0: mitosis}")
    table(root / "labels" / "train" / "t1.txt", "0 0.5 0.5 0.1 0.1")
    table(root / "labels" / "train" / "t1_r90.txt", "0 0.5 0.5 0.1 0.1", "0 0.2 0.5 0.1 0.1")
    table(root / "labels" / "val" / "t2.txt")
    return root


def test_a_dataset_folder_keeps_its_cases(tmp_path: Path) -> None:
    dataset(tmp_path)
    found = yolo.read(tmp_path, ReadOptions())
    assert [(i.source, i.case, i.mpp, i.scanner, i.tumour) for i in found.images] == [
        ("t1", "P1", (0.25, 0.5), "CS2", "breast"), ("t2", "P2", (0.25, 0.5), "", "")
    ]  # fmt: skip
    assert [item.source for item in found.annotations] == ["t1"]
    assert found.reasons() == {"augmented": 2}
    assert sorted((Path(out.file).stem, out.reason) for out in found.left_out) == [
        ("t1_r90", "augmented"), ("u", "unlabelled")
    ]  # fmt: skip
    kept = yolo.read(tmp_path, ReadOptions(include_unlabelled=True))
    assert [(image.source, image.labelled) for image in kept.images] == [
        ("t1", True), ("u", False), ("t2", True)
    ]  # fmt: skip
    bare = yolo.read(tmp_path, ReadOptions(annotations_only=True))
    assert [(image.source, image.size) for image in bare.images] == [
        ("t1", (64, 48)), ("t2", (64, 48))
    ]  # fmt: skip
    assert bare.annotations[0].box == pytest.approx((28.8, 21.6, 35.2, 26.4))
    assert [out.reason for out in bare.left_out] == ["unlabelled", "augmented"]
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    moved = yolo.read(tmp_path, ReadOptions(images=tmp_path / "elsewhere"))
    assert [image.case for image in moved.images] == ["P1", "P2"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("t3,S,P,val,0,0,64,48,0,0.5,,", "line 5: µm/px and size must be above 0"),
        ("t3,S,P,val,0,0,64.5,48,0.5,0.5,,", "the size whole"),
        ("t3,S,P,val,0,0,x,48,0.5,0.5,,", "line 5: 'x' is not a number"),
        ("t1,S,P,val,0,0,64,48,0.5,0.5,,", "two tiles 't1'"),
        ("t3,S", "2 cells, expected 12"),
    ],
)
def test_a_damaged_manifest(tmp_path: Path, row: str, message: str) -> None:
    file = dataset(tmp_path) / "manifest.csv"
    file.write_text(file.read_text() + row + "\n")
    with pytest.raises(InputError, match=rf"manifest\.csv.*{message}"):
        yolo.read(tmp_path, ReadOptions())


def test_a_manifest_of_anyone_else_says_nothing(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    table(tmp_path / "a.txt", "0 0.5 0.5 0.1 0.1")
    table(tmp_path / "manifest.csv", "tile,case", "a,P1")
    assert yolo.read(tmp_path, ReadOptions()).images[0].case == "a"


# --- writing ----------------------------------------------------------------------------------


def test_rows() -> None:
    text = yolo.rows([(0, (10, 20, 30, 60)), (1, (0, 0, 1 / 3, 100))], 200, 100)
    assert text == (
        "0 0.1000000000 0.4000000000 0.1000000000 0.4000000000\n"
        "1 0.0008333333 0.5000000000 0.0016666667 1.0000000000\n"
    )
    assert yolo.rows([], 200, 100) == ""


def info(source: str, **more: Any) -> ImageInfo:
    facts: dict[str, Any] = {"path": None, "width": 200, "height": 100, "case": source}
    return ImageInfo(source=source, **{**facts, **more})


def box(source: str, label: str, box: Box) -> Annotation:
    return Annotation(source=source, label=label, x=1, y=1, kind="box", file="f", where="w",
                      box=box)  # fmt: skip


def test_what_is_written() -> None:
    images = [info("a"), info("x/b"), info("u", labelled=False)]
    found = AnnotationSet(images=images, annotations=[box("x/b", "imposter", (10, 20, 30, 60))])
    assert dict(yolo.write(found, say)) == {
        "labels/a.txt": "",
        "labels/x/b.txt": "1 0.1000000000 0.4000000000 0.1000000000 0.4000000000\n",
        "classes.txt": "mitosis\nimposter\n",
    }
    found.annotations[:] = [box("a", "mitosis", (10, 20, 30, 60))]
    assert dict(yolo.write(found, say))["classes.txt"] == "mitosis\n"
    found.images[0] = info("a", width=0)
    with pytest.raises(InputError, match="the size of the image a is not known, and YOLO"):
        dict(yolo.write(found, say))


@given(prepared_sets)
def test_written_and_read(found: AnnotationSet) -> None:
    sizes = {image.source: image.size for image in found.images}
    back = written_and_read(found, yolo.write, yolo.read, frame=lambda scanner, case: sizes[case])
    assert [image.source for image in back.images] == [image.source for image in found.images]
    for (_, before), (_, after) in zip(found.by_image(), back.by_image(), strict=True):
        for a, b in zip(before, after, strict=True):
            assert a.label == b.label
            assert b.box == pytest.approx(a.box, abs=1e-6)
            assert a.box and (b.x, b.y) == pytest.approx(
                ((a.box[0] + a.box[2]) / 2, (a.box[1] + a.box[3]) / 2), abs=1e-6
            )
