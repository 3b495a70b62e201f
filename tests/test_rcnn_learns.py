"""What the two-stage models learn end to end: eight tiles by heart, boxes where they belong."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Cli
from eight_tiles import LABELS, TILE, TILES, Run, content, learned

from mitoyolo.dataset import open_dataset
from mitoyolo.detectors.base import load_detector
from mitoyolo.inference.apply import detect_tiles
from mitoyolo.val import val


@pytest.fixture(scope="module")
def mitos(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return learned("mitos-rcnn", tmp_path_factory.mktemp("mitos"))


@pytest.fixture(scope="module")
def faster(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return learned("faster-rcnn", tmp_path_factory.mktemp("faster"))


@pytest.fixture(params=["mitos", "faster"])
def run(request: pytest.FixtureRequest) -> Run:
    found: Run = request.getfixturevalue(request.param)
    return found


def test_eight_tiles_are_learned(run: Run) -> None:
    """A wrong convention of boxes or labels anywhere on the way would show."""
    assert run.best_row["metrics/F1"] == 1.0


@pytest.mark.long
@pytest.mark.parametrize("name", ["faster-rcnn-x101", "vgg16", "vgg16-conv4", "from scratch"])
def test_eight_tiles_are_learned_slowly(name: str, tmp_path: Path) -> None:
    """From scratch: with a BatchNorm that learns."""
    run = learned(name, tmp_path)
    assert content(run.best)["architecture"]["frozen"] is (name != "from scratch")
    assert run.best_row["metrics/F1"] == 1.0


# --- one path to a score ----------------------------------------------------------------------


def test_val_says_what_the_training_said(run: Run) -> None:
    row = run.best_row
    metrics = val(run.data, run.best, split="val", overwrite=True)
    said = {name: row[f"metrics/{name}"] for name in ("threshold", "F1", "AP")}
    found = {"threshold": metrics["threshold"], "F1": metrics["f1"], "AP": metrics["ap"]}
    assert found == pytest.approx(said, rel=1e-5)


def test_the_last_validation_is_that_of_the_last_weights(run: Run) -> None:
    last = load_detector(run.folder / "weights" / "last.pt")
    found = detect_tiles(last, open_dataset(run.data), "val")
    assert found.keys() == run.last_seen.keys()
    assert sum(map(len, found.values())) >= TILES
    for tile, rows in found.items():
        assert rows == pytest.approx(run.last_seen[tile], abs=1e-4)


def test_detect_finds_the_mitoses_and_no_imposter_among_them(
    run: Run, tmp_path: Path, cli: Cli
) -> None:
    image = run.data / "images" / "val" / "val0_0_0.png"
    label = run.data / "labels" / "val" / "val0_0_0.txt"
    result = cli(
        "detect", image, "--weights", run.best, "--out", tmp_path / "out", "--mpp", 3,
        "--threshold", run.best_row["metrics/threshold"],
    )  # fmt: skip
    assert result.code == 0, result.err
    with next((tmp_path / "out").rglob("detections.csv")).open(encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["label"] == "mitosis"]
    found = np.array([(float(row["x"]), float(row["y"])) for row in rows])
    truths = [line.split() for line in label.read_text().splitlines()]
    centres = [
        (float(x) * TILE, float(y) * TILE)
        for number, x, y, *_ in truths
        if LABELS[int(number)] == "mitosis"
    ]
    assert len(found) == len(centres) == 2
    for centre in centres:
        assert np.linalg.norm(found - centre, axis=1).min() < 8 / 3


# --- its start --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "prefix", "frozen"),
    [
        ("mitos", "backbone.", ("features.0.", "features.2.", "features.5.", "features.7.")),
        ("faster", "backbone.body.", ("conv1.", "bn1.", "layer1.")),
    ],
)
def test_the_backbones_weights_are_taken_over_and_its_first_layers_kept(
    name: str, prefix: str, frozen: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    run: Run = request.getfixturevalue(name)
    assert content(run.best)["architecture"]["frozen"] is True
    tensors = content(run.best)["model"]
    same = {
        key
        for key, value in run.backbone.items()
        if prefix + key in tensors and torch.equal(value, tensors[prefix + key])
    }
    first = {key for key in run.backbone if key.startswith(frozen) and "num_batches" not in key}
    statistics = {key for key in run.backbone if "running_" in key}
    assert first | statistics <= same
    trained = {key for key in run.backbone if prefix + key in tensors and "weight" in key} - first
    assert not {key for key in trained if run.backbone[key].dim() > 1} & same
    for key in trained:  # they began there, and have not gone far
        if run.backbone[key].dim() > 1:
            moved = tensors[prefix + key] - run.backbone[key]
            assert moved.norm() < run.backbone[key].norm()
