"""Training the two-stage models: what a run leaves, which settings act, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from eight_tiles import LABELS, content, rows_of, without_weights
from narrow import make_narrow
from rendered import Cell, Source, write_dataset

from mitoyolo import train as module
from mitoyolo.dataset import open_dataset
from mitoyolo.detectors import verifier_train
from mitoyolo.detectors.base import load_detector
from mitoyolo.detectors.failures import EngineError
from mitoyolo.detectors.mitos_rcnn import FusedVgg
from mitoyolo.detectors.verifier import Verified
from mitoyolo.detectors.yolo import start_model, write_start
from mitoyolo.train import TrainOptions, train
from mitoyolo.val import val


@pytest.fixture(scope="module", autouse=True)
def narrow() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        make_narrow(patch)
        yield


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_weights(monkeypatch, tmp_path)


# --- what a run leaves ------------------------------------------------------------------------

OPTIONS = TrainOptions(
    model="mitos-rcnn", epochs=2, batch=4, imgsz=32, device="cpu",
    settings={"rois": 16, "proposals": 20, "anchors": "8"},
)  # fmt: skip


def sources(*more: Source) -> list[Source]:
    """Four tiles to train on, one of them empty, and one to choose by."""
    cells = (Cell(20, 30), Cell(44, 40, 0.2, "imposter"))
    trained = [Source(f"s{i}", "train", cells[: i % 3], width=64) for i in (2, 1, 0, 2)]
    return [
        *(replace(one, name=f"s{i}") for i, one in enumerate(trained)),
        Source("v", "val", cells, width=64),
        *more,
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "d", sources(), labels=LABELS)


@pytest.fixture(scope="module")
def tiny(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "run"
    train(data, folder, replace(OPTIONS, weights="none"))
    return folder


def test_the_run_folder_is_whole(tiny: Path) -> None:
    names = {str(path.relative_to(tiny)) for path in tiny.rglob("*")}
    events = {name for name in names if name.startswith("tensorboard/events.out.tfevents.")}
    assert len(events) == 1
    assert names - events == {
        "curves.png", "results.csv", "run.json", "summary.json", "tensorboard",
        "weights", "weights/best.pt", "weights/last.pt", "weights/state.pt",
    }  # fmt: skip


def test_an_epoch_is_a_row_with_each_loss_and_the_rate(tiny: Path) -> None:
    first, second = rows_of(tiny)
    losses = {
        f"train/loss_{name}"
        for name in (
            "classifier", "box_reg", "objectness_1", "rpn_box_reg_1", "objectness_2",
            "rpn_box_reg_2",
        )
    }  # fmt: skip
    scores = {"metrics/F1", "metrics/AP", "metrics/threshold"}
    assert first.keys() == losses | scores | {"epoch", "lr"}
    assert [row["lr"] for row in (first, second)] == pytest.approx([0.001, 0.001])
    assert all(row[name] > 0 for row in (first, second) for name in losses)


def test_run_json_and_the_card_say_what_was_done(tiny: Path) -> None:
    record = json.loads((tiny / "run.json").read_text())
    assert record["arguments"]["settings"]["rois"] == 16
    assert (record["batch"], record["processes"], record["begun_at_epochs"]) == (4, 1, [0])
    assert record["peak_memory_mib"]["process"] > 50
    assert 0 < record["own_code_s"] + record["validation_scoring_s"] < record["duration_s"]
    detector = load_detector(tiny / "weights" / "best.pt")
    assert (detector.classes, detector.imgsz) == (LABELS, 32)
    assert detector.card is not None
    assert (detector.card.family, detector.card.tile) == ("mitos-rcnn", 64)


def test_a_verifier_stands_in_the_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier_train, "PASSES", 2)
    monkeypatch.setattr(module, "is_no_worse", lambda *_: True)
    options = replace(
        OPTIONS, weights="none", epochs=1, settings={**OPTIONS.settings, "verify": True}
    )
    best = train(data, tmp_path / "run", options)
    assert best
    detector = load_detector(best)
    assert isinstance(detector, Verified)
    assert detector.card
    assert (detector.card.family, detector.card.verifier) == ("mitos-rcnn", "yolov5n")
    assert val(data, best, split="val")["threshold"] == detector.card.threshold


def test_no_weights_of_its_own_is_said(data: Path, tmp_path: Path, cli: Cli) -> None:
    result = cli(
        "train", "--data", data, "--model", "mitos-rcnn", "--epochs", 1, "--imgsz", 32,
        "--accumulate", 3, "--project", tmp_path, "--name", "run",
    )  # fmt: skip
    assert (result.code, result.out) == (0, f"{tmp_path / 'run' / 'weights' / 'best.pt'}\n")
    said = "no pretrained weights found (vgg16-397923af.pth): mitos-rcnn starts from scratch"
    assert result.err.count(said) == 1
    assert "warn" not in result.err.lower()


# --- settings that act ------------------------------------------------------------------------


def moved(data: Path, run: Path, **settings: Any) -> float:
    """How far a training of one step takes the weights of its box layer."""
    options = replace(
        OPTIONS, weights="none", epochs=1, imgsz=32,
        settings={**OPTIONS.settings, "weight_decay": 0, "momentum": 0, **settings},
    )  # fmt: skip
    train(data, run, options)
    name = "roi_heads.box_predictor.bbox_pred.weight"
    after = content(run / "weights" / "last.pt")["model"][name]
    before = content(run / "weights" / "state.pt")["model"][name]
    assert torch.equal(after, before) == (not settings.get("ema"))
    return float(after.norm())


def test_gradients_are_clipped_to_the_norm_asked_for(data: Path, tmp_path: Path) -> None:
    """All of them together: a step goes no further than rate times norm."""
    still = moved(data, tmp_path / "still", lr0=0)
    free = moved(data, tmp_path / "free", lr0=0.1, clip=0)
    clipped = moved(data, tmp_path / "clipped", lr0=0.1, clip=0.001)
    assert abs(free - still) > 0.01
    assert abs(clipped - still) <= 0.1 * 0.001


def test_a_setting_may_come_from_a_file(data: Path, tmp_path: Path, cli: Cli) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("lr0: 0.0005\nbatch: 2\nimgsz: 32\nanchors: [8, 12]\nproposals: 20\n")
    result = cli(
        "train", "--data", data, "--model", "mitos-rcnn", "--epochs", 1, "--weights", "none",
        "--recipe", file, "--set", "rois=16", "--project", tmp_path, "--name", "run",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert rows_of(tmp_path / "run")[0]["lr"] == pytest.approx(0.0005)
    kept = content(tmp_path / "run" / "weights" / "best.pt")["architecture"]
    assert (kept["imgsz"], kept["anchors"], kept["proposals"]) == (32, [8.0, 12.0], 20)
    arguments = json.loads((tmp_path / "run" / "run.json").read_text())["arguments"]
    assert (arguments["batch"], arguments["settings"]["rois"]) == (2, 16)


# --- data and weights that do not fit ---------------------------------------------------------


def test_other_classes_get_a_head_of_their_own(tiny: Path, tmp_path: Path) -> None:
    """Everything else goes on from the weights, and so do their anchors."""
    data = write_dataset(tmp_path / "one", [replace(s, cells=s.cells[:1]) for s in sources()])
    settings = {"rois": 16, "proposals": 20, "lr0": 0}
    start = tiny / "weights" / "best.pt"
    options = replace(OPTIONS, weights=str(start), epochs=1, settings=settings)
    best = train(data, tmp_path / "run", options)
    assert best is not None
    before, after = content(start), content(best)
    assert load_detector(best).classes == ("mitosis",)
    assert after["architecture"]["anchors"] == before["architecture"]["anchors"] == [8.0]
    differ = {
        name
        for name, value in after["model"].items()
        if not (value.shape == before["model"][name].shape
                and torch.equal(value, before["model"][name]))
    }  # fmt: skip
    assert differ == {
        f"roi_heads.box_predictor.{layer}.{kind}"
        for layer, kind in (
            ("cls_score", "weight"), ("cls_score", "bias"),
            ("bbox_pred", "weight"), ("bbox_pred", "bias"),
        )
    }  # fmt: skip


def test_a_batch_without_a_box_and_tiles_of_all_sizes_are_trained_on(
    data: Path, tmp_path: Path
) -> None:
    """A step of one tile: one of them is empty."""
    more = [
        Source("wide", "train", (Cell(20, 20),), width=60, height=40),
        Source("high", "train", (Cell(20, 30),), width=37, height=64),
        Source("small", "val", (Cell(16, 16),), width=33, height=33),
    ]
    mixed = write_dataset(tmp_path / "mixed", sources(*more), labels=LABELS)
    sizes = {(tile.width, tile.height) for tile in open_dataset(mixed).tiles}
    assert len(sizes) == 4
    best = train(mixed, tmp_path / "run", replace(OPTIONS, weights="none", epochs=1, batch=1))
    assert best is not None
    assert all(np.isfinite(list(rows_of(tmp_path / "run")[0].values())))


def test_weights_of_another_family_are_one_line(
    data: Path, tiny: Path, tmp_path: Path, cli: Cli
) -> None:
    yolo = tmp_path / "yolo.pt"
    write_start(yolo, start_model("yolov5n", None, LABELS, seed=0))
    other = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, other)
    for model, weights, said in (
        ("mitos-rcnn", yolo, "not the weights of a two-stage model"),
        ("mitos-rcnn", other, "20 tensors of mitos-rcnn's backbone are not in it (first: backb"),
        ("vgg16", tiny / "weights" / "best.pt", "weights of mitos-rcnn, expected those of vgg16"),
        ("yolov5n", tiny / "weights" / "best.pt", "only 0 of the 342 tensors of yolov5n's"),
    ):
        result = cli(
            "train", "--data", data, "--model", model, "--weights", weights, "--imgsz", 32,
            "--project", tmp_path, "--name", model,
        )  # fmt: skip
        assert result.code == 1
        assert said in result.error
        assert str(weights) in result.error
        assert not (tmp_path / model / "weights" / "best.pt").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--set", "lr=1"), "--set lr: the two-stage models have no such setting (perhaps lr0)"),
        (("--set", "batch=2"), "--set batch: this is an option; give --batch"),
        (("--set", "rois=0"), "--set rois: 0, expected a whole number of at least 1"),
        (("--recipe", "mitosis"), "--recipe mitosis: no such recipe (known: faster-rcnn, mitos"),
        (("--batch", 2, "--accumulate", 3), "--accumulate 3: a process has 2 tiles a step"),
    ],
)
def test_a_wrong_setting_is_a_wrong_call(
    data: Path, tmp_path: Path, cli: Cli, given: tuple[object, ...], said: str
) -> None:
    result = cli(
        "train", "--data", data, "--model", "mitos-rcnn", "--project", tmp_path / "runs", *given
    )
    assert (result.code, result.out) == (2, "")
    assert said in result.error
    assert not (tmp_path / "runs").exists()


# --- what goes wrong in between ---------------------------------------------------------------


def test_a_loss_that_is_not_finite_is_one_line(data: Path, tmp_path: Path) -> None:
    settings = {**OPTIONS.settings, "lr0": 10, "clip": 0}
    with pytest.raises(EngineError) as caught:
        train(data, tmp_path / "run", replace(OPTIONS, weights="none", epochs=9, settings=settings))
    said = str(caught.value)
    assert said.startswith("the loss is not finite in step ")
    assert said.endswith("; give a lower learning rate (--set lr0=1, say)")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore of it"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
    ids=["gpu", "cpu"],
)
def test_memory_that_runs_out_says_what_to_lower(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*given: Any) -> Any:
        raise error

    monkeypatch.setattr(FusedVgg, "forward", fail)
    with pytest.raises(EngineError) as caught:
        train(data, tmp_path / "run", replace(OPTIONS, weights="none"))
    said = str(caught.value)
    assert said.startswith("out of memory (") and "\n" not in said
    assert said.endswith("; give a smaller --batch or --imgsz, or --accumulate 2 or more")


def test_a_map_of_one_place_says_what_to_raise(data: Path, tmp_path: Path, cli: Cli) -> None:
    """BatchNorm in training has no deviation of one value to divide by."""
    result = cli(
        "train", "--data", data, "--model", "faster-rcnn", "--weights", "none", "--imgsz", 32,
        "--batch", 1, "--epochs", 1, "--project", tmp_path, "--name", "run",
    )  # fmt: skip
    assert result.code == 1
    assert (
        "too little to train BatchNorm on (ValueError: Expected more than 1 value" in result.error
    )
    assert result.error.endswith("; give a larger --imgsz or --batch")
