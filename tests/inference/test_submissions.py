"""Submissions: the organisers' layouts, read back by our own readers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import picture

from converters import amida13, atypia14
from converters.errors import InputError, OptionError
from converters.model import AnnotationSet
from converters.read_options import ReadOptions
from mitoyolo.inference.predictions import read_predictions
from mitoyolo.inference.submissions import SUBMISSIONS, submission_paths, write_submission
from mitoyolo.inference.truths import read_truths

CLASSES = ("imposter", "mitosis")
MPP = (0.5, 0.25)
FOUND = np.array(
    [[100.4, 40.6, 20, 10, 0.9, 1], [30, 60, 16, 16, 0.8, 0], [7, 8, 9, 9, 0.25, 1]], float
)
NONE = FOUND[:0]


def test_atypia14(tmp_path: Path) -> None:
    found = {"H03/frames/x40/H03_00Aa.tiff": (FOUND, MPP), "H03_00Ab.tiff": (NONE, MPP)}
    first, second = write_submission("atypia14", tmp_path, found, CLASSES)
    assert first == tmp_path / "submission" / "atypia14" / "H03_00Aa.csv"
    assert first.read_text() == "100,41,0.900000\n7,8,0.250000\n"
    assert (second.name, second.read_text()) == ("H03_00Ab.csv", "")  # an empty file is asked for
    read = AnnotationSet()
    atypia14.parse_rows(
        first.read_text(), source="s", label="mitosis", file="f", found=read, options=ReadOptions()
    )
    assert [(item.x, item.y, item.confidence) for item in read.annotations] == [
        (100, 41, 0.9),
        (7, 8, 0.25),
    ]


def test_tupac16(tmp_path: Path) -> None:
    found = {"mitoses-test-image-data/05/01.tif": (FOUND, MPP), "06/01.tif": (NONE, MPP)}
    first, second = write_submission("tupac16", tmp_path, found, CLASSES)
    assert first == tmp_path / "submission" / "tupac16" / "05" / "01.csv"
    assert first.read_text() == "41,100\n8,7\n"  # y first, and no third column
    assert second.read_text() == ""
    for name in ("05/01", "06/01"):
        picture(tmp_path / "images" / f"{name}.tif", 200, 100)
    read = amida13.read(
        tmp_path / "submission" / "tupac16", ReadOptions(images=tmp_path / "images")
    )
    assert [(item.source, item.x, item.y) for item in read.annotations] == [
        ("05/01", 100, 41),
        ("05/01", 7, 8),
    ]
    assert [image.source for image in read.images] == ["05/01", "06/01"]


def test_midog(tmp_path: Path) -> None:
    found = {"a/007.tiff": (FOUND, MPP), "008.tiff": (NONE, MPP)}
    first, second = write_submission("midog", tmp_path, found, CLASSES)
    assert first == tmp_path / "submission" / "midog" / "007" / "mitotic-figures.json"
    document = json.loads(first.read_text())
    assert (document["type"], document["version"]) == ("Multiple points", {"major": 1, "minor": 0})
    assert [point["name"] for point in document["points"]] == ["mitotic figure"] * 2
    assert document["points"][1]["point"] == pytest.approx([0.0035, 0.002, 0])
    assert document["points"][1]["probability"] == 0.25
    assert json.loads(second.read_text())["points"] == []
    truth = tmp_path / "annotations.csv"
    truth.write_text(
        "source,case,label,x,y,width,height,confidence,kind\n"
        "007.tiff,007,mitosis,500,500,9,9,,point\n008.tiff,008,mitosis,500,500,9,9,,point\n"
    )
    read = read_predictions(tmp_path / "submission" / "midog", read_truths(truth, mpp=MPP))
    assert list(read) == ["007.tiff"]
    assert read["007.tiff"][:, [0, 1, 4]] == pytest.approx(FOUND[[0, 2]][:, [0, 1, 4]])


def test_below_the_threshold(tmp_path: Path) -> None:
    found = {"05/01.tif": (FOUND, MPP)}
    texts = {
        name: write_submission(name, tmp_path, found, CLASSES, 0.25)[0].read_text()
        for name in SUBMISSIONS
    }
    again = {
        name: write_submission(name, tmp_path, found, CLASSES, 0.26)[0].read_text()
        for name in SUBMISSIONS
    }
    assert texts["tupac16"].count("\n") == texts["atypia14"].count("\n") == 2  # inclusive
    assert again["tupac16"].count("\n") == again["atypia14"].count("\n") == 1
    names = [point["name"] for point in json.loads(again["midog"])["points"]]
    assert names == ["mitotic figure", "non-mitotic figure"]


def test_points_that_midog_would_take_for_pixels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_submission("midog", tmp_path, {"a.tiff": (FOUND, (0.25, 0.25))}, CLASSES)
    assert capsys.readouterr().err == ""
    far = np.array([[50_000, 10, 9, 9, 0.5, 1], [4, 4, 9, 9, 0.5, 1]], float)
    write_submission("midog", tmp_path, {"a.tiff": (far, (0.25, 0.25))}, CLASSES)
    assert "a.tiff: 1 of 2 points lie beyond 10 mm" in capsys.readouterr().err


def test_nothing_but_whole_files(tmp_path: Path) -> None:
    found = {"05/01.tif": (FOUND, MPP)}
    for name in SUBMISSIONS:
        write_submission(name, tmp_path, found, CLASSES)
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"01.csv", "mitotic-figures.json"}


@pytest.mark.parametrize(
    ("name", "sources", "said"),
    [
        ("atypia14", ["x20/H03_00Aa.tiff", "x40/H03_00Aa.tiff"], "that of x20/H03_00Aa.tiff too"),
        ("midog", ["a/1.tiff", "b/1.tiff"], "that of a/1.tiff too"),
        ("tupac16", ["01.tif"], "not CASE/FRAME.tif"),
        ("tupac16", ["05/TUPAC-TE-005.svs"], "not CASE/FRAME.tif"),
        ("tupac16", ["case/01.tif"], "not CASE/FRAME.tif"),
    ],
)
def test_images_that_are_not_the_challenges(
    tmp_path: Path, name: str, sources: list[str], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        submission_paths(name, tmp_path, sources)
    with pytest.raises(InputError):
        write_submission(name, tmp_path, dict.fromkeys(sources, (FOUND, MPP)), CLASSES)
    assert not list(tmp_path.iterdir())


def test_no_such_submission(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="expected atypia14, tupac16, midog"):
        submission_paths("camelyon", tmp_path, [])


def test_files_of_images_that_are_gone_are_not_handed_in(tmp_path: Path) -> None:
    write_submission("atypia14", tmp_path, {"a.tif": (FOUND, MPP), "b.tif": (FOUND, MPP)}, CLASSES)
    write_submission("midog", tmp_path, {"a.tif": (FOUND, MPP)}, CLASSES)
    (kept,) = write_submission("atypia14", tmp_path, {"a.tif": (FOUND, MPP)}, CLASSES)
    assert list((tmp_path / "submission" / "atypia14").iterdir()) == [kept]
    assert (tmp_path / "submission" / "midog" / "a" / "mitotic-figures.json").exists()
