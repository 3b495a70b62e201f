"""Predictions in files: placed on their images, and refused with the place of what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, table
from rendered import Cell, Source, write_dataset
from scored import MPP, SIZE, Row, as_coco, as_folder, as_table, points, predicted

from converters.files import write_json
from mitoyolo.dataset import open_dataset
from mitoyolo.evaluate import evaluate
from mitoyolo.inference.tables import DETECTION_COLUMNS


def test_predictions_on_tiles_are_moved_and_merged(tmp_path: Path) -> None:
    """The tiles of image one are 64 px wide and begin at 0 and 32: both see the cell at 48."""
    rows: list[Row] = [
        ("one_0_0", 48.0, 30.0, 0.6, "mitosis"),
        ("one_32_0", 16.5, 30.0, 0.7, "mitosis"),
        ("one_32_0", 48.0, 30.0, 0.8, "mitosis"),
    ]
    truth = as_folder(tmp_path / "t")
    metrics = evaluate(truth, predicted(tmp_path, rows))
    assert (metrics["tp"], metrics["fp"], metrics["fn"]) == (2, 0, 3)
    ids = {
        Path(item["file_name"]).stem: item["id"]
        for item in json.loads((truth / "annotations" / "test.json").read_text())["images"]
    }
    results = [
        {"image_id": ids[name], "category_id": 1, "bbox": [x - 8, y - 8, 16, 16], "score": score}
        for name, x, y, score, _ in rows
    ]
    write_json(tmp_path / "results.json", results)
    assert evaluate(truth, tmp_path / "results.json") == metrics


def test_predictions_on_a_whole_image_are_counted_as_they_are(tmp_path: Path) -> None:
    """Image `small` is cut into one tile, which is all of it."""
    small = Source("small", "test", (Cell(20, 30),), width=64)
    truth = write_dataset(tmp_path / "t", [small])
    for name in ("small", "small_0_0"):
        rows: list[Row] = [(name, 20.0 + i, 30.0, 0.6, "mitosis") for i in range(2)]
        metrics = evaluate(truth, predicted(tmp_path, rows))
        assert (metrics["tp"], metrics["fp"]) == (1, 1)


def test_of_a_training_image_tiles_may_be_missing(tmp_path: Path) -> None:
    """`--background` leaves some out, so nobody knows where the image ends."""
    truth = write_dataset(tmp_path / "t", [Source("one", "train", (Cell(20, 30),))])
    found = predicted(tmp_path, [("one", 200.0, 30.0, 0.6, "mitosis")])
    assert evaluate(truth, found, split="train")["fp"] == 1


def test_ids_of_a_coco_truth(tmp_path: Path) -> None:
    item = {"image_id": 11.0, "category_id": 1, "bbox": [62, 12, 16, 16], "score": 0.5}
    write_json(tmp_path / "results.json", [item])
    metrics = evaluate(as_coco(tmp_path / "t"), tmp_path / "results.json")
    assert (metrics["tp"], metrics["fp"]) == (1, 0)
    assert metrics["per_case"]["2"]["tp"] == 1


NAMES = ["H03/frames/x40/a.png", "A03/frames/x40/a.png", "b.v2", "c", "old/c"]


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("H03/frames/x40/a.png", 0),
        ("H03/frames/x40/a", 0),
        ("x/y/H03\\frames\\x40\\a.jpg", 0),
        ("A03/frames/x40/a.tif", 1),
        ("b.v2.png", 2),
        ("C:\\scans\\b.v2", 2),
        ("c.png", 3),
        ("old/c.png", 4),
    ],
)
def test_an_image_is_found_by_its_name(name: str, image: int, tmp_path: Path) -> None:
    rows = (f"{name},c{i},mitosis,20,30" for i, name in enumerate(NAMES))
    truth = table(tmp_path / "annotations.csv", "source,case,label,x,y", *rows)
    found = table(tmp_path / "p.csv", "image,x,y,score", f"{name},20,30,0.5")
    metrics = evaluate(truth, found, mpp=(MPP, MPP))
    found_on = [case["tp"] for case in metrics["per_case"].values()]
    assert found_on == [int(i == image) for i in range(len(NAMES))]


@pytest.mark.parametrize("name", ["a", "a.png", "frames/x40/a.png", "x20/a.png"])
def test_a_name_that_fits_two_images_is_refused(name: str, tmp_path: Path, cli: Cli) -> None:
    rows = (f"{name},mitosis,20,30" for name in NAMES)
    truth = table(tmp_path / "annotations.csv", "source,label,x,y", *rows)
    found = table(tmp_path / "p.csv", "image,x,y,score", f"{name},20,30,0.5")
    result = cli("evaluate", "--truth", truth, "--predictions", found, "--mpp", 0.5)
    assert result.code == 1 and "2 images of the truth fit the name" in result.error
    assert "p.csv, line 2" in result.error


HEADER = "image,x,y,width,height,score,label"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "no column x, y, score (found: an empty file)"),
        (("image,x,y,label", "one,1,2,mitosis"), "line 1: no column score"),
        (("name,x,y,score", "one,1,2,1"), "line 1: no column image"),
        ((HEADER, "none,60,30,8,8,1,mitosis"), "line 2: no image 'none' in the truth"),
        ((HEADER, "one,60,30,8,8,1,mitosis", ",60,31,8,8,1,mitosis"), "line 3: no image ''"),
        ((HEADER, "one,60,30,8,8,1.5,mitosis"), "line 2: a score of 1.5, expected 0 to 1"),
        ((HEADER, "one,60,30,8,8,-0.1,mitosis"), "line 2: a score of -0.1"),
        ((HEADER, "one,60,30,8,8,nan,mitosis"), "line 2, score: nan is not a finite number"),
        ((HEADER, "one,NaN,30,8,8,1,mitosis"), "line 2, x: NaN is not a finite number"),
        ((HEADER, "one,60,inf,8,8,1,mitosis"), "line 2, y: inf is not a finite number"),
        ((HEADER, "one,60,,8,8,1,mitosis"), "line 2, y: '' is not a number"),
        ((HEADER, "one,60,30,8,8,,mitosis"), "line 2, score: '' is not a number"),
        ((HEADER, "one,60,30,8,-8,1,mitosis"), "line 2: a box of 8 x -8 px"),
        ((HEADER, "one,60,30,8,8,1,apoptosis"), "line 2: class 'apoptosis', expected mitosis or"),
        ((HEADER, "one,60,30,8,8,1"), "line 2: 6 cells, expected 7"),
        (
            (HEADER, *["one,60,30,8,8,1,mitosis"] * 2),
            "line 3: the same prediction as in a row before; keep one",
        ),
        (
            (HEADER, "one,60,30,8,8,1,mitosis", "one.png,70,30,8,8,1,mitosis"),
            "line 3: 'one.png' and 'one' are one image of the truth, one",
        ),
        ((HEADER, "one,96.1,30,8,8,1,mitosis"), "(96.1, 30) px is outside the image one of 96 x"),
        ((HEADER, "one,60,64.1,8,8,1,mitosis"), "(60, 64.1) px is outside the image one of 96 x"),
        ((HEADER, "one,-1,30,8,8,1,mitosis"), "(-1, 30) px is outside the image one"),
        ((HEADER, "one,60,-1,8,8,1,mitosis"), "(60, -1) px is outside the image one"),
        ((HEADER, "one_32_0,70,30,8,8,1,mitosis"), "(70, 30) px is outside the image one of 64 x"),
        (('"image,x',), "not a CSV row"),
        (("[{", '"image_id": 1'), "not valid JSON"),
        (("{}",), "not predictions that can be read: expected a table such as predictions.csv"),
        (('{"a": 1}',), "not predictions that can be read"),
        (('{"images": [], "annotations": []}',), "not predictions that can be read"),
        (("[1]",), "[0]: expected an object, found 1"),
        (('[{"image_id": "one"}]',), "[0]: no key `bbox`"),
    ],
)
def test_bad_predictions(lines: tuple[str, ...], message: str, tmp_path: Path, cli: Cli) -> None:
    found = table(tmp_path / "p.csv", *lines)
    result = cli("evaluate", "--truth", as_folder(tmp_path / "t"), "--predictions", found)
    assert (result.code, result.out) == (1, "")
    assert f"{found}" in result.error and message in result.error


GOOD: dict[str, Any] = {
    "image_id": 10, "category_id": 1, "bbox": [12, 22, 16, 16], "score": 0.5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, "[1]: no image of the truth has the id 99"),
        ({"image_id": "none"}, "[1]: no image 'none' in the truth"),
        ({"image_id": None}, "[1], key `image_id`: expected text"),
        ({"category_id": 3}, "[1]: category 3, the truth has 1, 2"),
        ({"category_id": None}, "[1], key `category_id`"),
        ({"bbox": [1, 2, 3]}, "[1], key `bbox`: expected [x, y, width, height], found [1, 2, 3]"),
        ({"bbox": [1, 2, 3, "w"]}, "[1], key `bbox`: 'w' is not a number"),
        ({"bbox": None}, "[1], key `bbox`: expected a list"),
        ({"bbox": [1, 2, -3, 4]}, "[1]: a box of -3 x 4 px"),
        ({"bbox": [90, 22, 16, 16]}, "[1]: (98, 30) px is outside the image one of 96 x 64 px"),
        ({"score": 2}, "[1]: a score of 2, expected 0 to 1"),
        ({"score": None}, "[1], key `score`: None is not a number"),
        ({"score": True}, "[1], key `score`: True is not a number"),
        ({}, "[1]: the same prediction as in a row before"),
    ],
)
def test_bad_results(change: dict[str, Any], message: str, tmp_path: Path, cli: Cli) -> None:
    found = tmp_path / "results.json"
    write_json(found, [GOOD, GOOD | change])
    result = cli("evaluate", "--truth", as_coco(tmp_path / "t"), "--predictions", found)
    assert (result.code, result.out) == (1, "")
    assert f"{found}" in result.error and message in result.error


def test_ids_without_a_file_that_has_them(tmp_path: Path, cli: Cli) -> None:
    found = tmp_path / "results.json"
    write_json(found, [GOOD])
    call = ("evaluate", "--truth", as_table(tmp_path / "t"), "--predictions", found, "--mpp", 0.5)
    result = cli(*call)
    assert result.code == 1 and "give the COCO file that the ids are of" in result.error


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"point": [20, 30, 0]}, "points[0]: (20, 30) mm is outside the image one of 96 x 64 px"),
        ({"point": [0.049, 0.01, 0]}, "points[0]: (0.049, 0.01) mm is outside the image one"),
        ({"point": [0.01]}, "points[0], key `point`: expected [x, y] or [x, y, z]"),
        ({}, "points[0]: no key `point`"),
        ({"point": [0.01, 0.01, 0], "probability": 7}, "points[0]: a score of 7"),
        ({"point": [0.01, 0.01, 0], "name": "cell"}, "points[0]: class 'cell', expected mitosis"),
    ],
)
def test_bad_points(point: dict[str, Any], message: str, tmp_path: Path, cli: Cli) -> None:
    found = tmp_path / "one.json"
    write_json(found, {"type": "Multiple points", "points": [point]})
    result = cli("evaluate", "--truth", as_folder(tmp_path / "t"), "--predictions", found)
    assert (result.code, result.out) == (1, "")
    assert f"{found}, {message}" in result.error


def test_a_point_without_probability_and_name_is_a_mitosis(tmp_path: Path) -> None:
    found = tmp_path / "one.json"
    write_json(found, {"points": [{"point": [0.01, 0.015]}]})  # as MIDOG 2021 wrote them
    metrics = evaluate(as_folder(tmp_path / "t"), found, threshold=1.0)
    assert (metrics["tp"], metrics["fp"]) == (1, 0)


def test_millimetres_become_pixels_by_each_axis(tmp_path: Path) -> None:
    truth = table(tmp_path / "annotations.csv", "source,label,x,y", "one,mitosis,200,400")
    found = tmp_path / "one.json"
    write_json(found, {"points": [{"point": [0.05, 0.2, 0]}]})
    assert evaluate(truth, found, mpp=(0.25, 0.5))["tp"] == 1


def test_a_point_of_an_unknown_image_names_the_file(tmp_path: Path, cli: Cli) -> None:
    found = tmp_path / "nine.json"
    write_json(found, points("one"))
    truth = as_folder(tmp_path / "t")
    result = cli("evaluate", "--truth", truth, "--predictions", found)
    assert result.code == 1 and f"{found}, its name: no image 'nine'" in result.error
    write_json(found, {"one": points("one"), "nine.png": points("two")})
    result = cli("evaluate", "--truth", truth, "--predictions", found)
    assert result.code == 1 and f"{found}, key `nine.png`: no image 'nine.png'" in result.error


def test_one_image_in_two_files(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "p"
    for name in ("a/one.json", "b/one.json"):
        write_json(folder / name, points("one"))
    result = cli("evaluate", "--truth", as_folder(tmp_path / "t"), "--predictions", folder)
    assert result.code == 1 and "b/one.json" in result.error


def test_a_folder_without_predictions(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "p").mkdir()
    result = cli("evaluate", "--truth", as_folder(tmp_path / "t"), "--predictions", tmp_path / "p")
    assert result.code == 1 and "no predictions.csv, detections.csv or .json" in result.error
    result = cli("evaluate", "--truth", tmp_path / "t", "--predictions", tmp_path / "none.csv")
    assert result.code == 1 and "none.csv: no such file" in result.error


@pytest.mark.parametrize("mark", [";", "\t"])
def test_tables_of_spreadsheets(tmp_path: Path, mark: str) -> None:
    truth = as_folder(tmp_path / "t")
    metrics = evaluate(truth, predicted(tmp_path))
    file = tmp_path / "predictions.csv"
    file.write_text(file.read_text().replace(",", mark))
    assert evaluate(truth, file) == metrics


# --- pixels of another size than the truth's -----------------------------------------------------


def resampled(root: Path) -> Path:
    """The truth as ``convert --at-mpp`` writes it."""
    index = as_folder(root) / "dataset.yaml"
    index.write_text(index.read_text() + "  resampled: true\n")
    assert open_dataset(root).block["resampled"]
    return root


def searched(root: Path, mpp: float, size: tuple[int, int]) -> Path:
    """What ``detect`` writes of a picture of that many pixels, with the cells of image one."""
    where = [(x * MPP / mpp, 30 * MPP / mpp) for x in (20, 48, 80)]
    rows = [f"one.tif,{x},{y},16,16,0.9,mitosis,{x * mpp},{y * mpp}" for x, y in where]
    write_json(root / "one" / "summary.json", {"size": size})
    return table(root / "one" / "detections.csv", ",".join(DETECTION_COLUMNS), *rows)


@pytest.mark.parametrize("mpp", [0.1, 0.485])
def test_a_slides_own_pixels_are_brought_to_a_resampled_truth(
    tmp_path: Path, cli: Cli, mpp: float
) -> None:
    found = searched(tmp_path, mpp, tuple(round(side * MPP / mpp) for side in SIZE))
    result = cli("evaluate", "--truth", resampled(tmp_path / "t"), "--predictions", found,
                 "--out", tmp_path / "out")  # fmt: skip
    assert result.code == 0
    assert f"{found}: its pixels are of another size than the truth's" in result.err
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["tp"], metrics["fp"]) == (3, 0)
    (row, *_) = (tmp_path / "out" / "predictions.csv").read_text().splitlines()[1:]
    assert [float(cell) for cell in row.split(",")[1:5]] == pytest.approx(
        [20, 30, 16 * mpp / MPP, 16 * mpp / MPP]
    )


def test_the_same_pixels_are_taken_as_they_are_whatever_each_says_of_their_um(
    tmp_path: Path, cli: Cli
) -> None:
    found = searched(tmp_path, MPP, SIZE)
    size_unknown = as_table(tmp_path / "u")
    for truth in (as_folder(tmp_path / "t"), resampled(tmp_path / "r"), size_unknown):
        result = cli("evaluate", "--truth", truth, "--predictions", found,
                     "--mpp", MPP * 2, "--radius-um", 2, "--protocol", "centroid")  # fmt: skip
        assert result.code == 0 and "3 found, 0 false, 2 missed" in result.out, result.out
        assert "another size" not in result.err


@pytest.mark.parametrize("um", ["-5", "nan", "x"])
def test_places_in_um_that_cannot_be(tmp_path: Path, cli: Cli, um: str) -> None:
    found = table(tmp_path / "a.csv", ",".join(DETECTION_COLUMNS),
                  f"one,20,30,16,16,0.9,mitosis,{um},15")  # fmt: skip
    result = cli("evaluate", "--truth", resampled(tmp_path / "t"), "--predictions", found)
    assert result.code == 1 and "line 2, x_um" in result.error


# --- millimetres and pixels ---------------------------------------------------------------------


def big(tmp_path: Path, width: int = 8000, height: int = 6000) -> Path:
    """A truth of one image of 2 x 1.5 mm, with its size where there is one."""
    attributes = {"mpp": [0.25, 0.25]}
    image = {"id": 1, "file_name": "a.png", "width": width, "height": height}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [7000, 5000, 50, 40]}
    document = {
        "images": [image | {"attributes": attributes}], "annotations": [box],
        "categories": [{"id": 1, "name": "mitosis"}],
    }  # fmt: skip
    write_json(tmp_path / "truth.json", document)
    return tmp_path / "truth.json"


@pytest.mark.parametrize("size", [(8000, 6000), (0, 0)])
def test_millimetres_in_a_table_are_refused(
    size: tuple[int, int], tmp_path: Path, cli: Cli
) -> None:
    found = table(tmp_path / "p.csv", "image,x,y,score", "a,1.75,1.25,1", "a,0.3,0.2,0.4")
    call = ("evaluate", "--truth", big(tmp_path, *size), "--predictions", found)
    result = cli(*call)
    assert result.code == 1
    assert "all predictions lie in the upper left corner" in result.error
    assert "is it possible that these are millimetres?" in result.error
    table(found, "image,x,y,score", "a,300,200,0.4", "a,1.75,1.25,1")
    assert cli(*call).code == 0  # one lies elsewhere: not certain any more


def test_a_small_image_says_nothing_of_units(tmp_path: Path) -> None:
    truth = table(tmp_path / "annotations.csv", "source,label,x,y", "a,mitosis,0,0")
    found = table(tmp_path / "p.csv", "image,x,y,score", "a,0,0,1")
    assert evaluate(truth, found, mpp=(0.25, 0.25))["tp"] == 1


def test_pixels_in_a_file_of_millimetres_are_refused(tmp_path: Path, cli: Cli) -> None:
    """By the image's size where it is known, else by the organisers' 10 mm."""
    found = tmp_path / "a.json"

    def call(x: float, *size: int) -> Any:
        write_json(found, {"points": [{"point": [x, 1.25, 0]}]})
        return cli("evaluate", "--truth", big(tmp_path, *size), "--predictions", found)

    assert call(1.75).code == call(1.75, 0, 0).code == call(9.99, 0, 0).code == 0
    assert "(2.01, 1.25) mm is outside the image a of 8000 x 6000 px" in call(2.01).error
    refused = call(10.01, 0, 0)
    assert "(10.01, 1.25) is above 10 mm" in refused.error and "pixels?" in refused.error
    assert call(11.0, 80000, 60000).code == 0  # a slide is larger than a challenge's image
