"""``evaluate``: every kind of truth and of predictions gives the same numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cli, table
from rendered import PixelDetector, Source, write_dataset
from scored import (
    MPP,
    PREDICTIONS,
    ROWS,
    TRUTHS,
    WITHOUT_CASES,
    WITHOUT_MPP,
    as_coco,
    as_folder,
    as_points,
    as_results,
    as_table,
    predicted,
)

from converters.files import write_json
from mitoyolo import val
from mitoyolo.evaluate import evaluate

AP = 0.2 * 1 + 0.2 * 2 / 3
"""Falling scores are right, wrong, right, wrong: precision 1 and 2/3 at a recall of 0.2 and 0.4."""

FROC = (1 / 3 * 0.2 + (8 - 1 / 3) * 0.4) / 8
"""A sensitivity of 0.2 up to one false positive on three images, then 0.4."""


@pytest.mark.parametrize("predictions", PREDICTIONS)
@pytest.mark.parametrize("truth", TRUTHS)
def test_every_kind_of_file_gives_the_same_numbers(
    truth: Callable[[Path], Path], predictions: Callable[[Path], Path], tmp_path: Path
) -> None:
    metrics = evaluate(
        truth(tmp_path / "t"),
        predictions(tmp_path / "p"),
        protocol="centroid",
        mpp=(MPP, MPP) if truth in WITHOUT_MPP else None,
    )
    assert (metrics["tp"], metrics["fp"], metrics["fn"]) == (2, 2, 3)
    assert (metrics["precision"], metrics["recall"]) == (0.5, 0.4)
    assert metrics["f1"] == pytest.approx(4 / 9)
    assert metrics["ap"] == pytest.approx(AP)
    assert metrics["froc_auc"] == pytest.approx(FROC)
    assert (metrics["threshold"], metrics["threshold_from"]) == (0.0, "every prediction counts")
    assert (metrics["protocol"], metrics["radius_um"], metrics["images"]) == ("centroid", 8.0, 3)
    if truth not in WITHOUT_CASES:
        cases = metrics["per_case"]
        assert [(case, cases[case]["f1"]) for case in cases] == [("1", 4 / 6), ("2", 0.0)]


def test_the_predictions_of_val_score_as_val_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The detections of overlapping tiles, merged and written, are what `val` counted."""
    detector = PixelDetector(classes=("mitosis", "imposter"))
    monkeypatch.setattr(val, "load_detector", lambda *_, **__: detector)
    truth, out, weights = as_folder(tmp_path / "t"), tmp_path / "val", tmp_path / "best.pt"
    weights.touch()
    metrics = val.val(truth, weights, threshold=0.5, out=out)
    assert metrics["tp"] == 5 and metrics["fp"] == 1  # it sees all cells, and calls all mitosis
    assert evaluate(truth, out, threshold=0.5) == metrics


def test_scanners_and_areas_are_told(tmp_path: Path) -> None:
    for truth, split in ((as_folder(tmp_path / "t"), "test"), (as_coco(tmp_path / "c"), None)):
        metrics = evaluate(truth, predicted(tmp_path))
        domains = metrics["per_domain"]["scanner"]
        assert (domains["A"]["tp"], domains["H"]["tp"]) == (2, 0)
        area = 3 * 96 * 64 * MPP**2 / 1e6
        assert metrics["fp_per_mm2"] == pytest.approx(2 / area)
        assert metrics.get("split") == split
    unknown = evaluate(as_table(tmp_path / "u"), predicted(tmp_path), mpp=(MPP, MPP))
    assert unknown["fp_per_mm2"] is None and "split" not in unknown


def test_sizes_are_known_or_not(tmp_path: Path) -> None:
    """`kmit` compares boxes: a truth and predictions without them are refused, not taken for 0."""
    truth = as_folder(tmp_path / "t")
    assert evaluate(truth, predicted(tmp_path), protocol="kmit")["tp"] == 1  # the nearest, IoU 0.78
    with pytest.raises(ValueError, match="box"):
        evaluate(truth, as_points(tmp_path / "p"), protocol="kmit")
    bare = table(tmp_path / "annotations.csv", "source,label,x,y", "one,mitosis,20,30")
    with pytest.raises(ValueError, match="box"):
        evaluate(bare, predicted(tmp_path, ROWS[:1]), protocol="kmit", mpp=(MPP, MPP))


# --- thresholds, comparison, output -------------------------------------------------------------


def test_a_threshold_is_given_or_chosen(tmp_path: Path, cli: Cli) -> None:
    call = ("evaluate", "--truth", as_folder(tmp_path / "t"), "--predictions", predicted(tmp_path))
    given = json.loads(cli(*call, "--threshold", 0.6, "--json").out)
    assert (given["tp"], given["fp"], given["threshold"]) == (2, 1, 0.6)
    assert given["threshold_from"] == "given by --threshold" and "warning" not in given
    result = cli(*call, "--threshold", "auto", "--json")
    auto = json.loads(result.out)
    assert (auto["tp"], auto["fp"], auto["threshold"]) == (2, 1, 0.5)  # between 0.4 and 0.6
    assert "very predictions" in auto["threshold_from"]
    assert "optimistic" in auto["warning"] and f"warning: {auto['warning']}" in result.err


def test_a_paired_difference(tmp_path: Path, cli: Cli) -> None:
    """The second predictions find two of ten alike images, the first eight."""
    images = [f"i{i}" for i in range(10)]
    rows = (f"{name},{name},mitosis,20,30,16,16,,box" for name in images)
    header = "source,case,label,x,y,width,height,confidence,kind"
    truth = table(tmp_path / "annotations.csv", header, *rows)

    def finding(names: list[str], name: str) -> Path:
        return predicted(tmp_path, [(n, 20.0, 30.0, 0.5, "mitosis") for n in names], name)

    first, second = finding(images[:8], "first.csv"), finding(images[:2], "second.csv")
    call = ("evaluate", "--truth", truth, "--predictions", first, "--mpp", 0.5)
    result = cli(*call, "--against", second, "--json")
    metrics = json.loads(result.out)
    other = metrics["against"]
    f1, other_f1 = 16 / 18, 4 / 12
    assert (metrics["f1"], other["f1"]) == (f1, pytest.approx(other_f1))
    assert (other["tp"], other["fp"], other["fn"]) == (2, 0, 8)
    assert other["f1_difference"] == pytest.approx(f1 - other_f1)
    low, high = other["f1_difference_ci95"]
    assert 0 < low < f1 - other_f1 < high < 1 and other["f1_difference_ci95_over"] == "cases"
    assert f"{second}: no prediction on 8 of 10 images" in result.err
    text = cli(*call, "--against", second)
    assert f"against {second}, F1 0.333: difference +0.556 (95 % +" in text.out
    same = json.loads(cli(*call, "--against", first, "--json").out)["against"]
    assert same["f1_difference"] == 0 and same["f1_difference_ci95"] == [0, 0]
    auto = json.loads(cli(*call, "--against", second, "--threshold", "auto", "--json").out)
    assert auto["against"]["threshold"] == auto["threshold"] == 0.25
    few = evaluate(truth, first, mpp=(MPP, MPP), against=second, threshold=0.6)
    assert few["against"]["f1"] == 0 and few["against"]["threshold"] == 0.6
    assert few["f1"] == few["against"]["f1_difference"] == 0
    own = evaluate(truth, first, mpp=(MPP, MPP), against=first, against_threshold=0.6)
    assert own["threshold"] == 0 and own["against"]["threshold"] == 0.6
    assert own["against"]["f1_difference"] == own["f1"] > 0


def test_the_table_for_people(tmp_path: Path, cli: Cli) -> None:
    truth = as_folder(tmp_path / "t")
    result = cli("evaluate", "--truth", truth, "--predictions", predicted(tmp_path))
    first, curves, empty, head, *cases = result.out.splitlines()
    assert curves.startswith("AP 0.") and ", FROC 0." in curves and ", COCO mAP50 " in curves
    assert "F1 0.444, precision 0.500, recall 0.400: 2 found, 2 false, 3 missed" in first
    assert "centroid" in first and "every prediction counts" in first and not empty
    assert head.split() == ["case", "found", "false", "missed", "precision", "recall", "F1"]
    assert [line.split() for line in cases] == [
        ["1", "2", "1", "1", "0.667", "0.667", "0.667"],
        ["2", "0", "1", "2", "0.000", "0.000", "0.000"],
    ]
    assert f"{tmp_path / 'predictions.csv'}: no prediction on 1 of 3 images" in result.err
    assert cli("evaluate", "--truth", truth, "--predictions", predicted(tmp_path), "-h").code == 0


def test_a_comparison_stands_in_the_report(tmp_path: Path, cli: Cli) -> None:
    truth, found, out = as_folder(tmp_path / "t"), predicted(tmp_path), tmp_path / "out"
    call = ("evaluate", "--truth", truth, "--predictions", found, "--out", out)
    assert cli(*call).code == 0
    assert "difference in F1" not in (out / "report.html").read_text()
    assert cli(*call, "--against", found, "--overwrite").code == 0
    page = (out / "report.html").read_text()
    assert "difference in F1</td><td>0.000" in page and f"F1 of {found.resolve()}" in page


def test_few_cases_are_said(tmp_path: Path, cli: Cli) -> None:
    images = [f"i{i}" for i in range(6)]
    rows = (f"{name},c{i % 2},mitosis,20,30" for i, name in enumerate(images))
    truth = table(tmp_path / "annotations.csv", "source,case,label,x,y", *rows)
    found = predicted(tmp_path, [(n, 20.0, 30.0, 0.5, "mitosis") for n in images[:4]])
    call = ("evaluate", "--truth", truth, "--predictions", found, "--mpp", 0.5, "--json")
    result = cli(*call)
    assert json.loads(result.out)["f1_ci95_over"] == "images"
    assert "case-to-case variation is not in it" in result.err
    assert cli(*call, "--quiet").err == ""


def test_anisotropic_mpp_and_one_that_overrules(tmp_path: Path, cli: Cli) -> None:
    """32 px across are 8 µm at 0.25 µm/px, and down they are 16 µm at 0.5."""
    truth = table(tmp_path / "annotations.csv", "source,label,x,y", "a,mitosis,200,200")
    across = table(tmp_path / "x.csv", "image,x,y,score", "a,232,200,1")
    down = table(tmp_path / "y.csv", "image,x,y,score", "a,200,232,1")
    assert evaluate(truth, across, mpp=(0.25, 0.5))["tp"] == 1
    assert evaluate(truth, down, mpp=(0.25, 0.5))["tp"] == 0
    folder = as_folder(tmp_path / "t")
    call = ("evaluate", "--truth", folder, "--predictions", predicted(tmp_path), "--json")
    overruled = cli(*call, "--mpp", 1)
    assert json.loads(overruled.out)["tp"] == 1  # 16 px are 16 µm now
    assert overruled.err.count("--mpp 1 is used") == 1
    assert "--mpp" not in cli(*call, "--mpp", 0.5).err


def test_the_radius_is_free_for_centroid_alone(tmp_path: Path, cli: Cli) -> None:
    truth, found = as_folder(tmp_path / "t"), predicted(tmp_path)
    assert evaluate(truth, found, radius_um=7.9)["tp"] == 1
    call = ("evaluate", "--truth", truth, "--predictions", found, "--radius-um", 7.9)
    assert "centroid" in cli(*call, "--protocol", "midog").error


def test_a_folder_to_write(tmp_path: Path, cli: Cli) -> None:
    truth, found, out = as_folder(tmp_path / "t"), as_results(tmp_path / "p"), tmp_path / "out"
    call = ("evaluate", "--truth", truth, "--predictions", found, "--out", out)
    printed = json.loads(cli(*call, "--json").out)
    assert json.loads((out / "metrics.json").read_text()) == printed
    assert {"predictions.csv", "pr.png", "froc.png", "report.html"} <= {p.name for p in
                                                                        out.iterdir()}  # fmt: skip
    assert "Detections over truth" in (out / "report.html").read_text()
    assert evaluate(truth, out) == printed  # its own predictions.csv
    assert cli(*call).code == 0
    own = cli("evaluate", "--truth", truth, "--predictions", out, "--out", out, "--overwrite")
    assert own.code == 1 and "lie in each other" in own.error
    other = cli(*call, "--threshold", 0.7)
    assert other.code == 1 and "--overwrite" in other.error
    assert cli(*call, "--threshold", 0.7, "--overwrite").code == 0
    assert json.loads((out / "metrics.json").read_text())["threshold"] == 0.7


def test_a_folder_to_write_without_images(tmp_path: Path) -> None:
    out = tmp_path / "out"
    evaluate(as_table(tmp_path / "t"), predicted(tmp_path), mpp=(MPP, MPP), out=out)
    assert (out / "metrics.json").exists()
    assert "Detections over truth" not in (out / "report.html").read_text()


# --- nothing to count ---------------------------------------------------------------------------


@pytest.mark.parametrize("empty", ["csv", "json", "points"])
def test_no_prediction_at_all(empty: str, tmp_path: Path) -> None:
    if empty == "csv":
        found = predicted(tmp_path, [])
    else:
        found = tmp_path / "one.json"
        write_json(found, [] if empty == "json" else {"type": "Multiple points", "points": []})
    metrics = evaluate(as_folder(tmp_path / "t"), found, threshold=None)
    assert (metrics["tp"], metrics["fp"], metrics["fn"]) == (0, 0, 5)
    assert (metrics["precision"], metrics["recall"], metrics["f1"]) == (None, 0, 0)
    assert metrics["ap"] == 0


def test_no_truth_at_all(tmp_path: Path) -> None:
    truth = write_dataset(tmp_path / "t", [Source("one", "test", case="1")])
    metrics = evaluate(truth, predicted(tmp_path, ROWS[:1]), threshold=None)
    assert "no mitosis" in metrics["threshold_from"]
    assert (metrics["tp"], metrics["fp"], metrics["fn"]) == (0, 1, 0)
    assert (metrics["precision"], metrics["recall"], metrics["f1"]) == (0, None, 0)
    assert metrics["ap"] is None and metrics["froc_auc"] is None
    nothing = evaluate(truth, predicted(tmp_path, []), against=predicted(tmp_path, [], "b.csv"))
    assert nothing["f1"] is None and nothing["against"]["f1_difference"] is None


def test_nothing_of_both_is_printed(tmp_path: Path, cli: Cli) -> None:
    truth = write_dataset(tmp_path / "t", [Source("one", "test", case="1")])
    found = predicted(tmp_path, [])
    result = cli("evaluate", "--truth", truth, "--predictions", found, "--against", found)
    assert result.code == 0 and "F1 undefined" in result.out
    assert "difference undefined" in result.out


# --- the whole program --------------------------------------------------------------------------


def test_neither_torch_nor_a_model_is_needed(tmp_path: Path) -> None:
    arguments = ["evaluate", "--truth", as_folder(tmp_path / "t"), "--predictions",
                 predicted(tmp_path), "--json", "--quiet"]  # fmt: skip
    script = (
        f"import sys; sys.argv = {['mitoyolo', *map(str, arguments)]!r}\n"
        "from mitoyolo.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('loaded', *(n for n in ('torch', 'ultralytics', 'torchvision') if n in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    text, _, loaded = done.stdout.rpartition("loaded")
    assert loaded.strip() == "" and json.loads(text)["tp"] == 2, done.stderr
    assert done.stderr == ""
