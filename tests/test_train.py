"""Training end to end on a rendered dataset, tiny, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
import socket
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli, tree
from rendered import Cell, Source, write_dataset

from converters.errors import InputError, OptionError
from converters.files import write_json
from mitoyolo import train as module
from mitoyolo.dataset import Dataset, open_dataset, write_augmented
from mitoyolo.detectors import verifier, verifier_train, yolo_train
from mitoyolo.detectors.base import load_detector, weight_files
from mitoyolo.detectors.checkpoint import read_checkpoint
from mitoyolo.detectors.failures import EngineError
from mitoyolo.detectors.training import Score
from mitoyolo.detectors.verifier import Verified
from mitoyolo.distributed import Process
from mitoyolo.export import export
from mitoyolo.inference.apply import detect_tiles
from mitoyolo.inference.merge import Detections
from mitoyolo.stain.folder import normalize_folder
from mitoyolo.train import TrainOptions, is_no_worse, train
from mitoyolo.train_options import asks_for_processes
from mitoyolo.val import val

OPTIONS = TrainOptions(model="yolov5n", weights="none", epochs=2, batch=4, imgsz=64)


def sources() -> list[Source]:
    """Four images to train on, two to choose by, one to test."""
    rng = np.random.default_rng(0)
    return [
        Source(
            f"s{i}",
            "train" if i < 4 else "val" if i < 6 else "test",
            tuple(Cell(int(x), int(y)) for x, y in rng.integers(10, 50, (2, 2))),
        )
        for i in range(7)
    ]


@dataclass
class Run:
    """A finished training, and what its last validation saw."""

    data: Path
    folder: Path
    best: Path
    last_seen: dict[str, Detections]
    connected: list[object]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("train")
    data = write_dataset(root / "data", sources())
    folder = root / "runs" / "tiny"
    seen: dict[str, Detections] = {}
    connected: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        from mitoyolo.detectors.yolo_train import MitosisTrainer

        score = MitosisTrainer._score_tiles

        def watched(self: MitosisTrainer, of_tile: dict[str, Detections]) -> Any:
            seen.clear()
            seen.update(of_tile)
            return score(self, of_tile)

        def refuse(*given: object) -> None:
            connected.append(given)
            raise OSError("no network in this test")

        patch.setattr(MitosisTrainer, "_score_tiles", watched)
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        best = train(data, folder, OPTIONS)
        val(data, best, split="val")
    return Run(data, folder, best, seen, connected)


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


# --- what it leaves ---------------------------------------------------------------------------


def test_the_run_folder_is_whole_and_the_dataset_as_it_was(run: Run) -> None:
    names = {str(path.relative_to(run.folder)) for path in run.folder.rglob("*")}
    events = {n for n in names if n.startswith("tensorboard/events.out.tfevents.")}
    assert len(events) == 1
    assert {n for n in names - events if not n.startswith("val-")} == {
        "args.yaml", "curves.png", "results.csv", "run.json", "summary.json", "tensorboard",
        "weights", "weights/best.pt", "weights/last.pt", "weights/start.pt", "weights/state.pt",
    }  # fmt: skip
    assert run.best == run.folder / "weights" / "best.pt"
    left = {path.suffix for path in run.data.rglob("*") if path.is_file()}
    assert left == {".png", ".txt", ".json", ".csv", ".yaml"}  # no cache of Ultralytics'


def test_run_json_says_what_was_done_and_where_the_time_went(run: Run) -> None:
    record = read(run.folder / "run.json")
    assert record["command"] == "train"
    assert (record["seed"], record["device"], record["batch"]) == (0, "cpu", 4)
    assert (record["processes"], record["begun_at_epochs"]) == (1, [0])
    assert record["peak_memory_mib"]["process"] > 50
    assert record["dataset_hash"] == open_dataset(run.data).hash()
    assert {"start", "duration_s", "versions", "git"} <= record.keys()
    assert record["images_per_s"] > 0
    assert record["own_code_s"] > 0 < record["validation_scoring_s"]
    assert record["own_code_s"] + record["validation_scoring_s"] < record["duration_s"]


def test_results_hold_an_epoch_a_row_with_our_scores(run: Run) -> None:
    with (run.folder / "results.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    summary = read(run.folder / "summary.json")
    assert len(rows) == summary["epochs"] == 2
    best = rows[summary["best_epoch"] - 1]
    assert float(best["metrics/F1"]) == pytest.approx(summary["val_f1"], abs=1e-5)
    assert float(best["metrics/threshold"]) == pytest.approx(summary["threshold"], abs=1e-5)
    fitness = [float(r["metrics/F1"]) + 1e-3 * float(r["metrics/AP"]) for r in rows]
    assert fitness[summary["best_epoch"] - 1] == max(fitness)


def test_the_card_is_plain_and_complete(run: Run) -> None:
    content = torch.load(run.best, map_location="cpu", weights_only=False)
    card = content["mitoyolo"]
    assert json.loads(json.dumps(card)) == card
    summary = read(run.folder / "summary.json")
    assert card["classes"] == ["mitosis"]
    assert (card["family"], card["mpp"]) == ("yolov5n", [0.5, 0.5])
    assert (card["tile"], card["overlap"], card["imgsz"]) == (64, 32, 64)
    assert (card["radius_um"], card["protocol"]) == (8.0, "centroid")
    assert card["normalisation"] is None
    assert card["threshold"] == summary["threshold"]
    best = summary["best_epoch"]
    assert card["threshold_from"] == f"val split, best F1 by centroid, epoch {best}"
    assert "time" not in (run.folder / "results.csv").read_text().splitlines()[0].split(",")
    assert content["optimizer"] is None


def test_the_last_weights_carry_a_threshold_only_if_they_are_the_best(run: Run) -> None:
    last = load_detector(run.folder / "weights" / "last.pt").card
    assert last is not None
    summary = read(run.folder / "summary.json")
    same = summary["best_epoch"] == summary["epochs"]
    assert last.threshold == (summary["threshold"] if same else None)


def test_plain_ultralytics_loads_and_applies_the_weights(run: Run) -> None:
    from ultralytics import YOLO

    image = next((run.data / "images" / "val").glob("*.png"))
    (result,) = YOLO(run.best).predict(image, imgsz=64, conf=0.001, device="cpu", verbose=False)
    assert result.names == {0: "mitosis"}


def test_val_scores_what_training_scored(run: Run) -> None:
    """The letterbox and NMS are Ultralytics' own: the same boxes but for half precision."""
    detector = load_detector(run.folder / "weights" / "last.pt")
    again = detect_tiles(detector, open_dataset(run.data), "val")
    assert again.keys() == run.last_seen.keys()
    for name, rows in again.items():
        theirs = run.last_seen[name][np.argsort(-run.last_seen[name][:, 4])]
        assert len(rows) == pytest.approx(len(theirs), abs=1)
        assert rows[0, 4] == pytest.approx(theirs[0, 4], abs=1e-3)
        near = np.abs(theirs[:, :4] - rows[0, :4]).max(axis=1)
        assert near.min() < 0.5


def test_the_f1_of_val_is_that_of_training(run: Run) -> None:
    metrics = read(run.folder / "val-val" / "metrics.json")
    summary = read(run.folder / "summary.json")
    truths = metrics["tp"] + metrics["fn"]
    assert metrics["f1"] == pytest.approx(summary["val_f1"], abs=2 / truths)
    assert metrics["threshold"] == summary["threshold"]


def learn_little(monkeypatch: pytest.MonkeyPatch, passes: int) -> None:
    """Have a verifier from two epochs' detections, whose scores are low, in few steps."""
    monkeypatch.setattr(verifier_train, "LEAST", 0.0)
    monkeypatch.setattr(verifier_train, "PASSES", passes)


def test_a_verified_model_is_applied_so_by_every_command(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    learn_little(monkeypatch, passes=4)
    monkeypatch.setattr(module, "is_no_worse", lambda *_: True)  # nor does the verifier learn much
    monkeypatch.setattr(verifier, "FAINT", 0.0)
    folder = tmp_path / "verified"
    best = train(run.data, folder, replace(OPTIONS, settings={"verify": True}))
    assert "on the validation split, verified," in capsys.readouterr().err
    detector = load_detector(best)
    assert isinstance(detector, Verified)
    assert detector.card
    assert detector.card.verifier == "yolov5n"
    metrics = val(run.data, best, split="val")
    summary = read(folder / "summary.json")
    assert metrics["threshold"] == summary["threshold"] == detector.card.threshold
    assert metrics["f1"] == summary["val_f1"]
    # what the detector alone finds has other scores at the same places
    tile = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    (alone,), (seen,) = load_detector(run.best).predict([tile]), detector.predict([tile])
    assert sorted(alone[:, 0]) == pytest.approx(sorted(seen[:, 0]))
    assert not np.allclose(alone[:, 4], seen[:, 4], atol=0.05)
    exported = export(best, "onnx")
    again = load_detector(exported)
    assert isinstance(again, Verified)
    np.testing.assert_allclose(again.predict([tile])[0], seen, rtol=1e-3)
    last = load_detector(best.with_name("last.pt"))
    assert isinstance(last, Verified)
    before = weight_files(exported)
    (exported / "verifier.pt").unlink()
    assert len(weight_files(exported)) == len(before) - 1  # so that results are known to be old
    with pytest.raises(InputError, match=r"verifier\.pt"):
        load_detector(exported)


def test_a_verifier_that_does_not_help_is_left_out(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    learn_little(monkeypatch, passes=1)
    monkeypatch.setattr(module, "score_tiles", lambda *_: Score(-1.0, None, 0.9))
    best = train(run.data, tmp_path / "run", replace(OPTIONS, settings={"verify": True}))
    said = capsys.readouterr().err
    assert "training the verifier on" in said
    assert "the verifier is left out: on the validation split F1 is -1.000 with it" in said
    detector = load_detector(best)
    assert not isinstance(detector, Verified)
    assert read_checkpoint(best).verifier is None
    alone = load_detector(run.best)
    assert detector.card == alone.card  # the threshold of the detector alone too
    assert read(tmp_path / "run" / "summary.json")["verifier"] is None


@pytest.mark.parametrize(
    ("second", "first", "kept"),
    [(0.5, 0.4, True), (0.5, 0.5, True), (0.4, 0.5, False), (None, None, True), (None, 0.1, False)],
)
def test_a_verifier_is_kept_where_f1_is_no_lower(
    second: float | None, first: float | None, kept: bool
) -> None:
    assert is_no_worse(Score(second, 0.1, 0.5), Score(first, 0.9, 0.5)) is kept


def test_what_fails_after_the_last_epoch_does_not_take_the_training_away(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn_little(monkeypatch, passes=1)
    folder = tmp_path / "run"
    read_tile = module.detect_tiles

    def cut_off(*given: Any) -> Any:
        raise InputError("not a readable image", file=tmp_path / "tile.png")

    monkeypatch.setattr(module, "detect_tiles", cut_off)
    with pytest.raises(InputError, match="not a readable image"):
        train(run.data, folder, replace(OPTIONS, epochs=1))
    assert (folder / "weights" / "state.pt").exists()
    monkeypatch.setattr(module, "detect_tiles", read_tile)
    with pytest.raises(InputError, match="add --resume to go on with it"):
        train(run.data, folder, replace(OPTIONS, epochs=1))
    assert train(run.data, folder, replace(OPTIONS, epochs=1), resume=True)
    assert (folder / "summary.json").exists()


def test_nothing_asks_for_the_network(run: Run) -> None:
    assert run.connected == []


# --- the same call, other calls, unfinished runs ----------------------------------------------


def test_a_finished_run_is_not_done_again(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = run.best.stat().st_mtime_ns
    assert train(run.data, run.folder, OPTIONS) == run.best
    assert run.best.stat().st_mtime_ns == before
    assert "finished already" in capsys.readouterr().err


def test_another_call_is_refused(run: Run) -> None:
    other = TrainOptions(model="yolov5n", weights="none", epochs=3, batch=4, imgsz=64)
    with pytest.raises(
        InputError, match=r"finished work of `train` with another epochs.*--overwrite"
    ):
        train(run.data, run.folder, other)


def test_an_unfinished_run_is_refused(run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "unfinished"
    shutil.copytree(run.folder, copy)
    (copy / "summary.json").unlink()
    with pytest.raises(InputError, match=r"unfinished `train`.*--resume.*--overwrite"):
        train(run.data, copy, OPTIONS)


def test_a_failure_of_the_engine_is_one_line_and_leaves_no_index(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mitoyolo.detectors.yolo_train import MitosisTrainer

    def fail(self: MitosisTrainer) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 9 GiB\nand more")

    monkeypatch.setattr(MitosisTrainer, "_setup_train", fail)
    with pytest.raises(EngineError, match=r"out of memory .*smaller --batch") as caught:
        train(run.data, tmp_path / "run", OPTIONS)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("train", "--data", "d", "--model", "yolov5n"), "the same call with --resume continues"),
        (("val", "--data", "d", "--weights", "w"), "the same call continues"),
    ],
)
def test_ctrl_c_says_how_to_go_on(
    command: tuple[str, ...], said: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"mitoyolo.{command[0]}.{command[0]}", interrupt)
    done = cli(*command)
    assert (done.code, done.out) == (130, "")
    assert done.error == f"mitoyolo: interrupted; {said}"


# --- input that cannot be trained on ----------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "yolov9"}, "--model 'yolov9' is not known"),
        ({"device": "7"}, "--device 7: no such GPU"),
        ({"settings": {"mosiac": 0}}, "--set mosiac: .*perhaps mosaic"),
        ({"recipe": "nobody"}, "--recipe nobody: no such recipe"),
    ],
)
def test_wrong_calls_leave_no_folder(
    run: Run, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    options = TrainOptions(**{"model": "yolov5n", "weights": "none", **change})
    with pytest.raises(OptionError, match=said):
        train(run.data, tmp_path / "run", options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (lambda s: s.split != "val", "the val split holds no tile"),
        (lambda s: s.split != "train", "the train split holds no tile"),
    ],
)
def test_an_empty_split_is_refused(tmp_path: Path, kept: Any, said: str) -> None:
    data = write_dataset(tmp_path / "d", [s for s in sources() if kept(s)])
    with pytest.raises(InputError, match=said):
        train(data, tmp_path / "run", OPTIONS)


def test_a_split_without_mitoses_is_refused_or_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = (Cell(20, 20),)
    bare = write_dataset(tmp_path / "a", [Source("a", "train"), Source("b", "val", cell)])
    with pytest.raises(InputError, match="no mitosis in the train split"):
        train(bare, tmp_path / "run", OPTIONS)
    module._warn(
        open_dataset(
            write_dataset(tmp_path / "b", [Source("a", "train", cell), Source("b", "val")])
        )
    )
    assert "warning: no mitosis in the val split" in capsys.readouterr().err


def test_a_missing_tile_is_named(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", sources())
    (data / "images" / "train" / "s1_32_0.png").unlink()
    with pytest.raises(InputError, match=r"s1_32_0\.png: the tile's image is missing"):
        train(data, tmp_path / "run", OPTIONS)


def test_what_ultralytics_would_leave_out_is_an_error(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", sources())
    label = data / "labels" / "train" / "s1_0_0.txt"
    label.write_text("0 1.5 0.5 0.2 0.2\n")
    with pytest.raises(InputError, match=r"1 tiles of the train split cannot be used.*s1_0_0"):
        train(data, tmp_path / "run", OPTIONS)


def test_a_stray_image_is_an_error(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", sources())
    folder = data / "images" / "train"
    shutil.copy(folder / "s1_0_0.png", folder / "stray.png")
    with pytest.raises(InputError, match=r"1 tiles of the train split not in manifest.*stray"):
        train(data, tmp_path / "run", OPTIONS)


def test_augmented_copies_train_and_are_not_scored(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", sources())
    for kind in ("images", "labels"):
        tile = next((data / kind / "train").glob("s1_0_0.*"))
        shutil.copy(tile, tile.with_stem("s1_0_0_fliph"))
    write_augmented(data, [("s1_0_0_fliph", "s1_0_0", "fliph")])
    write_json(data / "report.json", {})
    normalize_folder(data, tmp_path / "both", method="reinhard", keep_originals=True, workers=1)
    read: list[set[str]] = []

    def note(dataset: Dataset, split: str, names: set[str]) -> None:
        read.append(names)
        check_tiles(dataset, split, names)

    check_tiles = yolo_train._check_tiles
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yolo_train, "_check_tiles", note)
        best = train(tmp_path / "both", tmp_path / "run", replace(OPTIONS, epochs=1))
    folder = best.parents[1]
    assert {"s1_0_0_fliph", "s1_0_0_reinhard", "s1_0_0_fliph_reinhard"} <= read[0]
    assert not any("fliph" in name or "reinhard" in name for names in read[1:] for name in names)
    card = load_detector(best, device="cpu").card
    assert card is not None and card.normalisation is None  # it knows tiles as they are
    assert json.loads((folder / "run.json").read_text())["images_per_s"] > 0


# --- calls that contradict themselves, and what may differ at a resume --------------------------


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ({}, False),
        ({"device": "cpu"}, False),
        ({"ddp": True}, True),
        ({"nproc": 2}, True),
        ({"nnodes": 2}, True),
        ({"node_rank": 1}, True),
        ({"rdzv": "localhost:29400"}, True),
        ({"restarts": 3}, True),
    ],
)
def test_what_is_said_of_several_processes_asks_for_them(said: dict[str, Any], asked: bool) -> None:
    assert asks_for_processes(replace(OPTIONS, **said)) is asked


def test_without_ddp_a_number_of_processes_is_not_ignored(run: Run, tmp_path: Path) -> None:
    options = replace(OPTIONS, device="cpu", node_rank=1, nproc=2)
    with pytest.raises(OptionError, match="--node-rank 1: --nnodes is 1"):
        train(run.data, tmp_path / "run", options)


def test_resume_and_overwrite_exclude_each_other(run: Run) -> None:
    with pytest.raises(OptionError, match="--resume and --overwrite exclude each other"):
        train(run.data, run.folder, OPTIONS, resume=True, overwrite=True)
    assert (run.folder / "summary.json").exists()


@pytest.mark.parametrize("inner", ["weights", "data"])
def test_what_a_training_reads_is_never_overwritten(run: Run, inner: str) -> None:
    of_weights = inner == "weights"
    call = replace(OPTIONS, weights=str(run.best)) if of_weights else OPTIONS
    before = tree(run.data.parent)
    with pytest.raises(InputError, match="lie in each other"):
        train(run.data, run.folder if of_weights else run.data, call, overwrite=True)
    assert tree(run.data.parent) == before


def test_data_may_have_been_moved_and_the_machine_be_another(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run.data, tmp_path / "moved")
    other = replace(OPTIONS, settings={"workers": 2, "cache": "ram"}, device="cpu")
    assert train(tmp_path / "moved", run.folder, other, resume=True) == run.best
    assert "finished already" in capsys.readouterr().err


def test_a_setting_that_differs_is_named(run: Run) -> None:
    other = replace(OPTIONS, settings={"lr0": 0.02})
    with pytest.raises(InputError, match=r"with another settings\.lr0; "):
        train(run.data, run.folder, other, resume=True)


def test_processes_of_different_calls_are_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = module._prepare(run.data, run.data.parent / "other", OPTIONS, 1)
    first = {**plan.arguments, "epochs": 7, "data": "elsewhere", "run folder": "another"}
    monkeypatch.setattr(module, "shared", lambda value: first)
    with pytest.raises(InputError, match="process 1 was called with another epochs, run folder"):
        module._check_alike(plan, run.folder, Process(rank=1, world=2))


# --- losses that are not finite -----------------------------------------------------------------


def spoil(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Let the loss of an epoch be NaN, once."""
    validate = yolo_train.MitosisTrainer.validate
    spoilt: list[int] = []

    def spoiling(self: Any) -> Any:
        found = validate(self)
        if self.epoch == epoch and not spoilt:
            spoilt.append(epoch)
            self.loss = torch.tensor(float("nan"))
        return found

    monkeypatch.setattr(yolo_train.MitosisTrainer, "validate", spoiling)


def test_an_epoch_done_again_takes_all_its_steps(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, epoch=1)
    steps: Counter[int] = Counter()
    step = yolo_train.DetectionTrainer.optimizer_step

    def counted(self: Any) -> None:
        steps[self.epoch] += 1
        step(self)

    monkeypatch.setattr(yolo_train.DetectionTrainer, "optimizer_step", counted)
    settings = {"nbs": 4, "warmup_epochs": 0}  # each of the two batches is a step
    train(run.data, tmp_path / "run", replace(OPTIONS, epochs=3, settings=settings))
    assert steps == {0: 2, 1: 4, 2: 2}


def test_a_first_epoch_without_a_finite_loss_is_an_error(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, epoch=0)
    with pytest.raises(EngineError, match="not finite in the first epoch; give a lower"):
        train(run.data, tmp_path / "run", OPTIONS)
    assert not (tmp_path / "run" / "weights" / "state.pt").exists()
