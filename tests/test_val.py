"""``val`` with a detector whose every detection is known."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, tree
from rendered import Cell, PixelDetector, Source, card, write_dataset

from converters.errors import InputError
from mitoyolo import val as module
from mitoyolo.val import summary_line, val

SOURCES = (
    Source(
        "one",
        "test",
        (
            Cell(20, 30, 0.8),  # found
            Cell(48, 30, 0.6),  # found, in both tiles
            Cell(80, 30, None),  # missed
        ),
        case="1",
        scanner="A",
    ),
    Source(
        "two",
        "test",
        (
            Cell(30, 40, 0.8, None),  # false
            Cell(70, 20, 0.2),  # under the threshold
        ),
        case="2",
        scanner="H",
    ),
    Source("chosen", "val", (Cell(20, 20, 0.6), Cell(70, 40, 0.2, None)), case="3"),
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data", SOURCES)


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> PixelDetector:
    found = PixelDetector()
    monkeypatch.setattr(module, "load_detector", lambda path, **_: found)
    return found


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    (run / "weights").mkdir(parents=True)
    (run / "run.json").write_text("{}")
    (run / "weights" / "best.pt").touch()
    return run / "weights" / "best.pt"


pytestmark = pytest.mark.usefixtures("detector")


def counts(metrics: dict[str, Any]) -> tuple[int, int, int]:
    return metrics["tp"], metrics["fp"], metrics["fn"]


def test_the_numbers_are_those_of_the_pixels(data: Path, weights: Path) -> None:
    metrics = val(data, weights)
    assert counts(metrics) == (2, 1, 2)
    assert metrics["precision"] == pytest.approx(2 / 3)
    assert metrics["recall"] == 0.5
    assert metrics["f1"] == pytest.approx(4 / 7)
    assert (metrics["threshold"], metrics["threshold_from"]) == (
        0.5,
        "val split, best F1, epoch 1",
    )
    assert (metrics["images"], metrics["cases"], metrics["split"]) == (2, 2, "test")
    assert counts(metrics["per_case"]["1"]) == (2, 0, 1)
    assert counts(metrics["per_domain"]["scanner"]["H"]) == (0, 1, 1)
    assert "warning" not in metrics


def test_the_files_and_keys_of_the_contract(data: Path, weights: Path) -> None:
    metrics = val(data, weights)
    out = weights.parents[1] / "val-test"
    assert {path.name for path in out.iterdir()} == {
        "metrics.json", "predictions.csv", "pr.png", "froc.png", "cases.png", "agreement.png",
        "report.html", "run.json",
    }  # fmt: skip
    assert json.loads((out / "metrics.json").read_text()) == metrics
    assert metrics.keys() >= {
        "protocol", "radius_um", "threshold", "threshold_from", "tp", "fp", "fn", "precision",
        "recall", "f1", "f1_ci95", "f1_ci95_over", "ap", "froc_auc", "images", "cases", "per_case",
        "per_domain",
    }  # fmt: skip
    with (out / "predictions.csv").open(encoding="utf-8") as handle:
        rows = [(r["image"], float(r["x"]), float(r["y"]), float(r["score"])) for r in
                csv.DictReader(handle)]  # fmt: skip
    assert rows == [
        ("one", 20, 30, 0.8),
        ("one", 48, 30, 0.6),
        ("two", 30, 40, 0.8),
        ("two", 70, 20, 0.2),
    ]


def test_a_given_threshold_wins(data: Path, weights: Path) -> None:
    metrics = val(data, weights, threshold=0.2)
    assert counts(metrics) == (3, 1, 1)
    assert metrics["threshold_from"] == "given by --threshold"


def test_without_one_the_threshold_is_chosen_on_the_val_split(
    data: Path, weights: Path, detector: PixelDetector, capsys: pytest.CaptureFixture[str]
) -> None:
    detector.card = card(threshold=None)
    metrics = val(data, weights)
    assert metrics["threshold"] == pytest.approx(0.4)  # midway between 0.2 and 0.6
    assert metrics["threshold_from"] == "val split, best F1 by centroid"
    assert counts(metrics) == (2, 1, 2)
    assert "chosen on the validation split" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("threshold", "chosen"), [(None, "the threshold was"), (0.5, "models are")]
)
def test_the_split_of_choices_is_reported_with_a_warning(
    data: Path,
    weights: Path,
    threshold: float | None,
    chosen: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    metrics = val(data, weights, split="val", threshold=threshold)
    assert counts(metrics) == (1, 0, 0)
    assert metrics["warning"].startswith(f"{chosen} chosen on this split")
    assert "optimistic" in capsys.readouterr().err
    page = (weights.parents[1] / "val-val" / "report.html").read_text(encoding="utf-8")
    assert "optimistic" in page
    assert "warning" not in val(data, weights, split="test", threshold=threshold)


def test_figures_of_the_training_split_are_marked(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_dataset(tmp_path / "data", [Source("one", "train", (Cell(20, 30),))])
    metrics = val(data, weights, split="train", threshold=0.5)
    assert "trained on this split" in metrics["warning"]
    assert metrics["warning"] in capsys.readouterr().err


def test_a_val_split_without_a_mitosis_chooses_nothing(
    tmp_path: Path, weights: Path, detector: PixelDetector
) -> None:
    sources = [Source("one", "test", (Cell(20, 30),)), Source("two", "val")]
    detector.card = card(threshold=None)
    metrics = val(write_dataset(tmp_path / "data", sources), weights)
    assert metrics["threshold"] == 0.5
    assert metrics["threshold_from"] == "default, since the val split has no mitosis"


def test_what_an_interval_over_images_leaves_out_is_said(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [Source(str(n), "test", (Cell(20, 30),), case=str(n % 2)) for n in range(5)]
    metrics = val(write_dataset(tmp_path / "data", sources), weights)
    assert metrics["f1_ci95_over"] == "images"
    assert capsys.readouterr().err.count("case-to-case variation is not in it") == 1


def test_plain_weights_need_the_scale_stated(
    data: Path, weights: Path, detector: PixelDetector
) -> None:
    detector.card = None
    with pytest.raises(InputError, match=r"best\.pt: .*--mpp"):
        val(data, weights)
    assert counts(val(data, weights, mpp=(0.5, 0.5))) == (2, 1, 2)


def test_the_stated_scale_wins_over_the_datas(
    data: Path, weights: Path, detector: PixelDetector, capsys: pytest.CaptureFixture[str]
) -> None:
    val(data, weights, mpp=(1.0, 1.0))
    assert set(detector.sizes) == {128}  # cells are half as large: twice as many pixels
    assert "--mpp 1 is used; the dataset says 0.5" in capsys.readouterr().err


def test_the_protocol_is_the_datas_unless_stated(data: Path, weights: Path) -> None:
    assert val(data, weights)["protocol"] == "centroid"
    other = val(data, weights, protocol="icpr12", out=weights.parents[1] / "other")
    assert (other["protocol"], other["radius_um"]) == ("icpr12", 5.0)


def test_centroid_alone_takes_another_radius(data: Path, weights: Path) -> None:
    wide = val(data, weights, radius_um=12.0)
    assert (wide["protocol"], wide["radius_um"]) == ("centroid", 12.0)
    with pytest.raises(InputError, match="has a radius of 5 µm, not 12"):
        val(data, weights, protocol="icpr12", radius_um=12.0, out=weights.parents[1] / "other")


def test_weights_outside_a_run_need_a_place_for_the_results(data: Path, tmp_path: Path) -> None:
    loose = tmp_path / "loose" / "weights" / "best.pt"
    loose.parent.mkdir(parents=True)
    loose.touch()
    with pytest.raises(InputError, match="--out"):
        val(data, loose)
    assert val(data, loose, out=tmp_path / "out")["tp"] == 2


def test_other_classes_are_refused(data: Path, weights: Path, detector: PixelDetector) -> None:
    detector.classes = ("mitosis", "imposter")
    with pytest.raises(InputError, match="other --labels"):
        val(data, weights)


def test_the_same_call_reads_and_another_is_refused(
    data: Path, weights: Path, detector: PixelDetector
) -> None:
    first = val(data, weights)
    detector.sizes.clear()
    assert val(data, weights) == first
    assert detector.sizes == []
    with pytest.raises(InputError, match="another threshold"):
        val(data, weights, threshold=0.3)
    assert val(data, weights, threshold=0.2, overwrite=True)["tp"] == 3


@pytest.mark.parametrize("place", ["data", "run", "."])
def test_what_is_read_is_never_overwritten(
    cli: Cli, data: Path, weights: Path, tmp_path: Path, place: str
) -> None:
    before = tree(tmp_path)
    done = cli("val", "--data", data, "--weights", weights, "--out", tmp_path / place,
               "--overwrite")  # fmt: skip
    assert done.code == 1
    assert "lie in each other" in done.error
    assert tree(tmp_path) == before


def test_the_command_prints_the_result_alone(cli: Cli, data: Path, weights: Path) -> None:
    done = cli("val", "--data", data, "--weights", weights, "--quiet")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("F1 0.571, precision 0.667, recall 0.500: ")
    assert "2 found, 1 false, 2 missed; centroid, 8 µm, threshold 0.500" in done.out
    assert done.out.count("\n") == 1


def test_undefined_figures_are_said(data: Path, weights: Path) -> None:
    metrics = val(data, weights)
    line = summary_line({**metrics, "f1": None, "precision": None, "f1_ci95": None})
    assert line.startswith("F1 undefined, precision undefined, recall 0.500")
