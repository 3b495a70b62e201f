"""``mitoyolo benchmark``: what runs, what is kept, and what is written."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from processes import alive
from rendered import Cell, Source, card, write_dataset

from converters.errors import InputError
from mitoyolo import training_process
from mitoyolo.benchmark import cells
from mitoyolo.benchmark.rendered import Example, render
from mitoyolo.dataset import open_dataset
from mitoyolo.detectors.checkpoint import read_checkpoint
from mitoyolo.detectors.training import BEST
from mitoyolo.detectors.yolo import start_model, write_start
from mitoyolo.detectors.yolo_train import finish
from mitoyolo.stopping import Stopped

LABELS = ("mitosis", "imposter")
COST = {
    "parameters": 1, "gflops": 1.0, "imgsz": 64, "ms_tile": {"torch": 3.0, "openvino": None},
    "device": "cpu", "threads": 1,
}  # fmt: skip


def write_data(root: Path, shift: int = 0) -> Path:
    marks = (Cell(20 + shift, 20), Cell(50, 40, 0.1, "imposter"))
    sources = [
        Source(f"{split}{i}", split, marks, width=128, case=f"{split}{i}")
        for split, count in (("train", 2), ("val", 1), ("test", 6)) for i in range(count)
    ]  # fmt: skip
    return write_dataset(root, sources, labels=LABELS)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "alpha")


def _option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Trainings are the writing of random weights; the calls of them are listed."""
    calls: list[list[str]] = []

    def train(command: list[str]) -> int:
        calls.append(command)
        is_peer = "mitoyolo.benchmark.peers" in command
        run = Path(_option(command, "--out" if is_peer else "--project"))
        run = run if is_peer else run / _option(command, "--name")
        model = start_model("yolov5n", None, LABELS, seed=int(_option(command, "--seed")))
        (run / BEST).parent.mkdir(parents=True, exist_ok=True)
        write_start(run / BEST, model)
        record = {"training_s": 60.0, "concluding_s": 30.0, "images_per_s": 2.0, "versions": {},
                  "peak_memory_mib": {"process": 500.0}, "settings": {"imgsz": 64}}  # fmt: skip
        if is_peer:
            (run / "record.json").write_text(json.dumps(record))
            return 0
        finish(run / BEST, card(classes=LABELS, threshold=0.01, threshold_from="val split"))
        (run / "weights" / "state.pt").write_text("to go on with")
        (run / "run.json").write_text(json.dumps(record))
        (run / "summary.json").write_text("{}")
        return 0

    monkeypatch.setattr(training_process, "run_program", train)
    monkeypatch.setattr(cells, "cost", lambda *given, **more: dict(COST))
    return calls


Call = Callable[..., Any]
Patch = pytest.MonkeyPatch


@pytest.fixture
def call(cli: Cli, tmp_path: Path) -> Call:
    def run(
        *data: Path, models: str = "yolov5n", seeds: str = "0", more: tuple[Any, ...] = ()
    ) -> Any:
        given = [part for each in data for part in ("--data", each)]
        return cli("benchmark", *given, "--models", models, "--seeds", seeds, "--epochs", 2,
                   "--weights", "none", "--out", tmp_path / "out", *more)  # fmt: skip

    return run


def rows(tmp_path: Path, name: str) -> list[dict[str, str]]:
    with (tmp_path / "out" / "tables" / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_models_and_seeds_are_trained_scored_and_tabled(
    call: Call, data: Path, trained: list[list[str]], tmp_path: Path
) -> None:
    done = call(data, models="yolov5n,yolov5s", seeds="0,3")
    assert done.code == 0, done.err
    assert done.out.strip() == str(tmp_path / "out" / "report.html")
    seen = [(_option(c, "--model"), _option(c, "--seed"), _option(c, "--epochs")) for c in trained]
    assert seen == [("yolov5n", "0", "2"), ("yolov5s", "0", "2"),
                    ("yolov5n", "3", "2"), ("yolov5s", "3", "2")]  # fmt: skip
    cell = tmp_path / "out" / "cells" / "alpha" / "yolov5n" / "seed-3"
    metrics = json.loads((cell / "on-alpha" / "metrics.json").read_text())
    assert metrics["threshold"] == 0.01
    assert metrics["images"] == 6
    assert not (cell / "run" / "weights" / "state.pt").exists()
    (first, second) = rows(tmp_path, "detectors")
    assert (first["model"], second["model"]) == ("YOLOv5n", "YOLOv5s")
    assert first["training, min"] == "1.5"  # with the verifier's
    assert "YOLOv5s" in (tmp_path / "out" / "tables.md").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "0.8548" in page
    assert "disagrees with itself" in page


def test_a_detector_is_compared_with_and_without_verifier(
    call: Call, data: Path, trained: list[list[str]], tmp_path: Path
) -> None:
    assert call(data, models="yolov5n,yolov5n-alone").code == 0
    assert ["--no-verify" in command for command in trained] == [False, True]
    assert [row["model"] for row in rows(tmp_path, "detectors")] == [
        "YOLOv5n", "YOLOv5n without verifier",
    ]  # fmt: skip


def test_what_is_finished_is_not_run_again(
    call: Call, data: Path, trained: list[list[str]], tmp_path: Path
) -> None:
    call(data)
    before = (tmp_path / "out" / "tables.md").read_bytes()
    stamp = (
        (tmp_path / "out" / "cells/alpha/yolov5n/seed-0/on-alpha/metrics.json").stat().st_mtime_ns
    )
    assert call(data).code == 0
    assert len(trained) == 1
    assert (tmp_path / "out" / "tables.md").read_bytes() == before
    after = (
        (tmp_path / "out" / "cells/alpha/yolov5n/seed-0/on-alpha/metrics.json").stat().st_mtime_ns
    )
    assert after == stamp


def test_a_new_seed_model_or_data_set_runs_what_is_new(
    call: Call, data: Path, trained: list[list[str]], tmp_path: Path
) -> None:
    call(data)
    call(data, seeds="0,1", models="yolov5n,yolov5m")
    assert len(trained) == 4
    other = write_data(tmp_path / "beta", shift=10)
    done = call(data, other)
    assert done.code == 0, done.err
    assert len(trained) == 5
    crossed = [(row["trained on"], row["tested on"]) for row in rows(tmp_path, "crossed")]
    assert crossed == [("beta", "alpha"), ("alpha", "beta")]


def test_other_arguments_are_refused(
    call: Call, data: Path, trained: list[list[str]], tmp_path: Path
) -> None:
    call(data)
    done = call(data, more=("--epochs", 3))
    assert done.code == 1
    assert "options" in done.error
    assert len(trained) == 1


def test_a_training_by_another_recipe_is_not_taken_for_one_by_this(
    call: Call, data: Path, trained: list[list[str]], monkeypatch: Patch
) -> None:
    call(data)
    monkeypatch.setattr("mitoyolo.detectors.recipe.DEFAULT", "ultralytics")
    done = call(data)
    assert done.code == 1
    assert "recipe" in done.error
    assert len(trained) == 1


def test_a_call_that_is_stopped_leaves_the_tables_of_whole_seeds(
    call: Call, data: Path, trained: list[list[str]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    train = training_process.run_program

    def stop(command: list[str]) -> int:
        if _option(command, "--seed") == "1" and _option(command, "--model") == "yolov5s":
            raise Stopped
        return train(command)

    monkeypatch.setattr(training_process, "run_program", stop)
    done = call(data, models="yolov5n,yolov5s", seeds="0,1")
    assert "stopped; the same call goes on" in done.err
    assert (tmp_path / "out" / "report.html").exists()
    assert [row["seeds"] for row in rows(tmp_path, "detectors")] == ["0", "0"]
    monkeypatch.setattr(training_process, "run_program", train)
    assert call(data, models="yolov5n,yolov5s", seeds="0,1").code == 0
    assert [row["seeds"] for row in rows(tmp_path, "detectors")] == ["0, 1", "0, 1"]
    assert len(trained) == 4


def test_a_training_that_fails_is_left_out_and_run_the_next_time(
    call: Call, data: Path, trained: list[list[str]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    train = training_process.run_program

    def fail(command: list[str]) -> int:
        return 1 if _option(command, "--model") == "yolov5s" else train(command)

    monkeypatch.setattr(training_process, "run_program", fail)
    done = call(data, models="yolov5s,yolov5n")
    assert done.code == 1
    assert "1 of 2 tests of a model left out" in done.error
    assert "yolov5s on alpha, seed 0" in done.error
    assert [row["model"] for row in rows(tmp_path, "detectors")] == ["YOLOv5n"]
    monkeypatch.setattr(training_process, "run_program", train)
    assert call(data, models="yolov5s,yolov5n").code == 0
    assert [row["model"] for row in rows(tmp_path, "detectors")] == ["YOLOv5s", "YOLOv5n"]
    assert len(trained) == 2


def test_a_training_without_its_last_file_is_not_taken_for_one(
    call: Call, data: Path, trained: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = training_process.run_program

    def cut(command: list[str]) -> int:
        train(command)
        (Path(_option(command, "--project")) / "run" / "summary.json").unlink()
        return 0

    monkeypatch.setattr(training_process, "run_program", cut)
    done = call(data)
    assert done.code == 1
    assert "the training ended with exit code 0" in done.error


def test_what_is_refused_does_not_stand_in_the_tables(
    call: Call, data: Path, trained: list[list[str]], tmp_path: Path
) -> None:
    call(data)
    done = call(data, models="yolov5n,yolov5s", more=("--epochs", 3))
    assert done.code == 1
    assert [(row["model"], row["epochs"]) for row in rows(tmp_path, "detectors")] == [
        ("YOLOv5s", "3")
    ]
    assert "another options" in (tmp_path / "out" / "report.html").read_text()


def test_a_peer_has_one_threshold_of_its_own_data(
    call: Call, data: Path, trained: list[list[str]], tmp_path: Path
) -> None:
    other = write_data(tmp_path / "beta", shift=10)
    done = call(data, other, models="yolov5n,ultralytics-yolov5n")
    assert done.code == 0, done.err
    peer = next(command for command in trained if "ultralytics-yolov5n" in command)
    assert _option(peer, "--batch") == "16"
    assert _option(peer, "--imgsz") == "64"  # of the tiles
    cell = tmp_path / "out" / "cells" / "alpha" / "ultralytics-yolov5n" / "seed-0"
    own, foreign = (
        json.loads((cell / f"on-{name}" / "metrics.json").read_text()) for name in ("alpha", "beta")
    )
    assert own["threshold_from"] == "val split, best F1 by centroid"
    assert foreign["threshold"] == own["threshold"]
    assert foreign["threshold_from"].endswith("of alpha")


def test_another_protocol_chooses_all_thresholds_anew(
    call: Call, data: Path, trained: list[list[str]], tmp_path: Path
) -> None:
    call(data, more=("--protocol", "amida13"))
    cell = tmp_path / "out" / "cells" / "alpha" / "yolov5n" / "seed-0"
    metrics = json.loads((cell / "on-alpha" / "metrics.json").read_text())
    assert metrics["protocol"] == "amida13"
    assert metrics["threshold_from"] == "val split, best F1 by amida13"


def test_a_test_on_others_data_fails_alone(
    call: Call, data: Path, trained: list[list[str]], tmp_path: Path, monkeypatch: Patch
) -> None:
    other = write_data(tmp_path / "beta", shift=10)
    looked_at: list[str] = []

    def check(detector: Any, dataset: Any) -> None:
        looked_at.append(dataset.root.name)
        if looked_at.count("alpha") == 2:  # first by its own model, then by beta's
            raise InputError("other classes", file=dataset.root)

    monkeypatch.setattr(cells, "check_classes", check)
    done = call(data, other)
    assert done.code == 1
    assert "other classes" in done.error
    assert {row["data set"] for row in rows(tmp_path, "detectors")} == {"alpha", "beta"}
    assert [row["trained on"] for row in rows(tmp_path, "crossed")] == ["alpha"]


def test_models_that_cannot_be_measured_keep_their_training(
    call: Call,
    data: Path,
    trained: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*given: Any, **more: Any) -> Any:
        raise InputError("no such thing")

    with monkeypatch.context() as patch:
        patch.setattr(cells, "cost", broken)
        assert "no such thing" in call(data).error
    best = tmp_path / "out" / "cells" / "alpha" / "yolov5n" / "seed-0" / "run" / BEST
    assert best.exists()
    assert call(data).code == 0


def test_a_moved_folder_is_still_finished(
    call: Call, data: Path, trained: list[list[str]], tmp_path: Path, cli: Cli
) -> None:
    call(data)
    (tmp_path / "out").rename(tmp_path / "moved")
    (tmp_path / "moved").rename(tmp_path / "out")
    best = tmp_path / "out" / "cells" / "alpha" / "yolov5n" / "seed-0" / "run" / BEST
    best.touch()
    assert call(data).code == 0
    assert len(trained) == 1


def test_tables_of_a_former_call_do_not_stay(
    call: Call, data: Path, trained: list[list[str]], tmp_path: Path
) -> None:
    call(data, write_data(tmp_path / "beta", shift=10))
    assert (tmp_path / "out" / "tables" / "crossed.csv").exists()
    call(data)
    assert not (tmp_path / "out" / "tables" / "crossed.csv").exists()


def test_folders_of_other_things_are_refused(
    cli: Cli, data: Path, tmp_path: Path, trained: list[list[str]]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    done = cli("benchmark", "--data", data, "--weights", "none", "--out", tmp_path / "mine")
    assert "no benchmark's" in done.error
    done = cli("benchmark", "--data", data, "--weights", "none", "--out", data)
    assert "lie in each other" in done.error
    assert trained == []


def test_data_without_a_test_split_are_told_first(
    call: Call, tmp_path: Path, trained: list[list[str]]
) -> None:
    marks = (Cell(20, 20),)
    sources = [Source(split, split, marks, width=128) for split in ("train", "val")]
    assert "test" in call(write_dataset(tmp_path / "d", sources, labels=LABELS)).error
    assert trained == []


def test_weights_that_are_not_there_are_told_first(
    cli: Cli, data: Path, tmp_path: Path, trained: list[list[str]]
) -> None:
    done = cli("benchmark", "--data", data, "--models", "yolov5n", "--weights", "gone.pt",
               "--out", tmp_path / "out")  # fmt: skip
    assert "gone.pt" in done.error
    assert trained == []


def test_a_program_ends_with_its_parent_and_is_silent_on_stdout() -> None:
    script = (
        "import sys, os, signal; from mitoyolo.training_process import run_program;"
        "run_program([sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True);"
        " time.sleep(60)'])"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert parent.stderr and parent.stdout
    child = int(parent.stderr.readline())  # what it printed
    parent.kill()
    assert parent.stdout.read() == ""
    for _ in range(600):
        if not alive(child):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the program outlived its parent")


def test_the_rendered_data(tmp_path: Path) -> None:
    root = render(tmp_path, Example("small", 5, 1, 342, 128))
    dataset = open_dataset(root)
    assert {(tile.width, tile.height) for tile in dataset.tiles} == {(128, 128)}
    assert tuple(dataset.labels) == LABELS
    assert dataset.normalisation
    assert dataset.block["protocol"] == "atypia14"
    assert render(tmp_path, Example("small", 5, 1, 342, 128)) == root


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--models", "yolov9"), "no model 'yolov9'"),
        (("--models", "yolov5n,yolov5n"), "each once"),
        (("--seeds", "1,1"), "each once"),
        (("--seeds", "x"), "--seeds"),
        (("--quick",), "--quick"),
        (("--protocol", "nonsense"), "nonsense"),
    ],
)
def test_wrong_calls(
    cli: Cli, data: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = cli("benchmark", "--data", data, "--out", tmp_path / "out", *options)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_two_data_sets_of_one_name(
    call: Call, data: Path, trained: list[list[str]], tmp_path: Path
) -> None:
    other = write_data(tmp_path / "more" / "alpha", shift=5)
    assert "two data sets are called alpha" in call(data, other).error


def test_a_folder_of_other_things_is_left_alone(
    call: Call, data: Path, trained: list[list[str]], tmp_path: Path
) -> None:
    cell = tmp_path / "out" / "cells" / "alpha" / "yolov5n" / "seed-0"
    cell.mkdir(parents=True)
    (cell / "notes.txt").write_text("mine")
    done = call(data)
    assert done.code == 1
    assert "not ours" in done.error
    assert (cell / "notes.txt").read_text() == "mine"
    assert trained == []


def test_a_whole_benchmark(cli: Cli, data: Path, tmp_path: Path) -> None:
    """Nothing in place of anything: one epoch of the smallest model, in a process of its own."""
    done = cli("benchmark", "--data", data, "--models", "yolov5n", "--seeds", "0", "--epochs", 1,
               "--imgsz", 64, "--weights", "none", "--out", tmp_path / "out")  # fmt: skip
    assert done.code == 0, done.err
    (row,) = rows(tmp_path, "detectors")
    assert row["epochs"] == "1"
    (cost,) = rows(tmp_path, "cost")
    assert float(cost["parameters, M"]) == pytest.approx(2.5, abs=0.1)
    assert float(cost["torch, ms a tile"]) > 0
    assert float(cost["training, MiB"]) > 100
    best = tmp_path / "out" / "cells" / "alpha" / "yolov5n" / "seed-0" / "run" / BEST
    assert read_checkpoint(best)
    for name in ("scores.png", "pareto.png", "tables.md", "report.html"):
        assert (tmp_path / "out" / name).stat().st_size > 1000
