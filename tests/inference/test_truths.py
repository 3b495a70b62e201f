"""Truths in files: their splits, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cli, real, table
from scored import as_coco, as_folder, as_labels, as_midog, as_table, predicted

from converters.files import write_json
from mitoyolo.evaluate import evaluate


def test_the_split_is_test_for_a_folder_and_all_for_its_table(tmp_path: Path, cli: Cli) -> None:
    folder = as_folder(tmp_path / "t")
    found = predicted(tmp_path, [("four", 10.0, 10.0, 0.5, "mitosis")])
    result = cli("evaluate", "--truth", folder, "--predictions", found)
    assert result.code == 1 and "no image 'four'" in result.error and "--split" in result.error
    assert evaluate(folder, found, split="val")["f1"] == 1
    everything = evaluate(folder / "annotations.csv", found)
    assert (everything["images"], everything["tp"], everything["fn"]) == (4, 1, 5)
    assert evaluate(folder / "annotations.csv", found, split="val")["images"] == 1


COLUMNS = "source,case,label,x,y,width,height,confidence,kind"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "no column source, label, x, y (found: an empty file)"),
        (("source,x,y", "one,1,2"), "line 1: no column label"),
        ((COLUMNS,), "no image in its test split"),
        ((COLUMNS, "one,1,mitosis,nan,30,16,16,,box"), "line 2, x: nan is not a finite number"),
        ((COLUMNS, "one,1,mitosis,20,,16,16,,box"), "line 2, y: '' is not a number"),
        ((COLUMNS, "one,1,mitosis,20,30,-16,16,,box"), "line 2: source 'one', a box of -16 x 16"),
        ((COLUMNS, ",1,mitosis,20,30,16,16,,box"), "line 2: source ''"),
        ((COLUMNS, "one,1,tubule,20,30,16,16,,box"), "one, tubule at (20, 30): class 'tubule'"),
        (
            (COLUMNS, *["one,1,mitosis,20,30,16,16,,box"] * 2),
            "one, mitosis at (20, 30): stands there twice",
        ),
        (
            (COLUMNS, "one,1,mitosis,20,30,,,,", "one,2,mitosis,40,30,,,,"),
            "line 3: one is of case '2', and of '1' in a row before",
        ),
        (("{}",), "not a truth that can be read: expected a dataset folder"),
        (("[]",), "not a truth that can be read"),
        (('{"images": [',), "not valid JSON"),
        (('{"images": [], "annotations": []}',), "no image in its test split"),
        (('{"images": 3, "annotations": []}',), "key `images`: expected a list"),
        (('{"images": [], "annotations": 3}',), "key `annotations`: expected a list"),
    ],
)
def test_bad_truths(lines: tuple[str, ...], message: str, tmp_path: Path, cli: Cli) -> None:
    truth = table(tmp_path / "truth.csv", *lines)
    result = cli("evaluate", "--truth", truth, "--predictions", predicted(tmp_path), "--mpp", 0.5)
    assert (result.code, result.out) == (1, "")
    assert f"{truth}" in result.error and message in result.error


def test_a_truth_without_mpp(tmp_path: Path, cli: Cli) -> None:
    for truth in (as_table(tmp_path / "t"), as_midog_without_mpp(tmp_path / "m")):
        result = cli("evaluate", "--truth", truth, "--predictions", predicted(tmp_path))
        assert result.code == 1 and f"{truth}, image one: a truth without µm/px" in result.error
        assert "--mpp" in result.error


def as_midog_without_mpp(root: Path) -> Path:
    path = as_midog(root)
    document = json.loads(path.read_text())
    for image in document["images"]:
        del image["attributes"]
    write_json(path, document)
    return path


def test_a_mark_on_an_image_that_the_manifest_does_not_have(tmp_path: Path, cli: Cli) -> None:
    path = as_folder(tmp_path / "t") / "annotations.csv"
    with path.open("a") as file:
        file.write("nine,9,mitosis,1,2,16,16,,box\n")
    result = cli("evaluate", "--truth", path, "--predictions", predicted(tmp_path))
    assert result.code == 1 and "no image 'nine' in manifest.csv" in result.error


@pytest.mark.parametrize("truth", [as_table, as_coco, as_midog, as_labels])
def test_a_file_has_no_splits(truth: Callable[[Path], Path], tmp_path: Path, cli: Cli) -> None:
    call = ("evaluate", "--truth", truth(tmp_path), "--predictions", predicted(tmp_path / "p"))
    result = cli(*call, "--split", "val", "--mpp", 0.5)
    assert result.code == 1 and "this truth has no splits" in result.error


def test_a_truth_that_is_not_there(tmp_path: Path, cli: Cli) -> None:
    for path in (tmp_path / "none", tmp_path / "none" / "dataset.yaml", tmp_path):
        result = cli("evaluate", "--truth", path, "--predictions", predicted(tmp_path / "p"))
        assert result.code == 1 and "no such file" in result.error


def test_a_real_midog_data_set(tmp_path: Path) -> None:
    """Its own marks as predictions are all found, and what is listed without any is not scored."""
    found = [path for path in sorted(real("midog").glob("*.json")) if "images" in path.read_text()]
    document = json.loads(found[0].read_text())
    names = {image["id"]: image["file_name"] for image in document["images"]}
    marks = {
        (names[mark["image_id"]], (mark["bbox"][0] + mark["bbox"][2]) / 2,
         (mark["bbox"][1] + mark["bbox"][3]) / 2)
        for mark in document["annotations"]
        if mark["category_id"] == 1
    }  # fmt: skip
    inside = [mark for mark in sorted(marks) if min(mark[1:]) >= 0]
    rows = (f"{name},{x},{y},0.5" for name, x, y in inside)
    predictions = table(tmp_path / "p.csv", "image,x,y,score", *rows)
    metrics = evaluate(found[0], predictions, protocol="midog", mpp=(0.25, 0.25))
    counts = (metrics["tp"], metrics["fp"], metrics["fn"])
    assert counts == (len(inside), 0, len(marks) - len(inside))  # marks lie outside their image
    labelled = {mark["image_id"] for mark in document["annotations"]}
    assert metrics["images"] == len(labelled) < len(names)
