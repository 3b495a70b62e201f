"""Which experiment trackers a training gets, and that one that fails does not end it.

The trackers here are packages of a few lines: what matters is what Ultralytics' callbacks do with
them, in a process of its own, since those callbacks keep still under pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from conftest import table
from rendered import Cell, Source, write_dataset

from mitoyolo.detectors import trackers
from mitoyolo.detectors.trackers import asked_for, forgiving


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, []),
        ({"MLFLOW_TRACKING_URI": "http://here"}, ["mlflow"]),
        ({"MLFLOW_TRACKING_URI": ""}, []),
        ({"MLFLOW_EXPERIMENT_NAME": "a", "WANDB_PROJECT": "b", "ULTRALYTICS_API_KEY": "c"}, []),
        ({"WANDB_API_KEY": "k"}, ["wandb"]),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": ""}, ["wandb"]),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "disabled"}, []),
        ({"WANDB_API_KEY": "", "WANDB_MODE": ""}, []),
        ({"WANDB_MODE": "offline"}, ["wandb"]),
        ({"WANDB_MODE": "disabled"}, []),
        ({"WANDB_MODE": "offline", "MLFLOW_TRACKING_URI": "sqlite:///a"}, ["mlflow", "wandb"]),
    ],
)
def test_the_environment_asks_for_trackers(environment: dict[str, str], found: list[str]) -> None:
    assert asked_for(environment) == found


def test_the_first_failure_ends_the_tracking_alone(capsys: pytest.CaptureFixture[str]) -> None:
    called: list[object] = []

    def fail(trainer: object) -> None:
        called.append("failed")
        raise ConnectionError("no server\nat all")

    one = forgiving("one", {"start": called.append, "epoch": fail})
    other = forgiving("other", {"epoch": called.append})
    for _ in range(2):
        one["start"]("one starts")
        one["epoch"]("never seen")
        other["epoch"]("other")
    assert called == ["one starts", "failed", "other", "other"]
    assert capsys.readouterr().err == "one failed, so the training goes on untracked (no server)\n"


def test_a_failure_without_words_is_named_by_its_kind(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(trainer: object) -> None:
        raise TimeoutError

    forgiving("one", {"epoch": fail})["epoch"](None)
    assert "(TimeoutError)" in capsys.readouterr().err


def test_an_interrupt_is_no_failure_of_the_tracker() -> None:
    def interrupt(trainer: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forgiving("one", {"epoch": interrupt})["epoch"](None)


@pytest.mark.parametrize("found", [None, ModuleSpec("wandb", None)])  # the latter: a mere folder
def test_a_tracker_that_is_not_installed_is_said(
    found: ModuleSpec | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Trainer:
        def add_callback(self, event: str, callback: object) -> None:
            raise AssertionError(event)

    monkeypatch.setattr(trackers, "find_spec", lambda name: found)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    trackers.add_trackers(object())  # no trainer: predictors and exporters are not tracked
    assert capsys.readouterr().err == ""
    trackers.add_trackers(Trainer())
    assert capsys.readouterr().err == "not tracked by wandb, which is not installed\n"


# --- with Ultralytics' own callbacks ----------------------------------------------------------

PROGRAM = """
import sys
from types import SimpleNamespace
from mitoyolo.detectors import ultralytics_quiet
from ultralytics.models.yolo.detect import DetectionTrainer

data, project = sys.argv[1:]
overrides = {"model": "yolov5n.yaml", "data": data, "project": project, "device": "cpu"}
trainer = DetectionTrainer(overrides=overrides)
print(*sorted({call.__module__ for calls in trainer.callbacks.values() for call in calls}))
trainer.epoch, trainer.metrics = 0, {"metrics/F1": 0.25}
trainer.validator = SimpleNamespace(plots={})
for event in ("on_pretrain_routine_end", "on_fit_epoch_end", "on_fit_epoch_end"):
    trainer.run_callbacks(event)
"""

MLFLOW = """
from types import SimpleNamespace
__version__ = "0"
autolog = active_run = log_params = get_tracking_uri = lambda *given: None
def set_experiment(name):
    {init}
def start_run(run_name):
    return SimpleNamespace(info=SimpleNamespace(run_id="1"))
def log_metrics(metrics, step):
    print("mlflow", metrics, step)
"""

WANDB = """
__version__ = "0"
run = None
def init(**given):
    print("wandb begins")
    raise TimeoutError("no answer in 90 s")
def finish(**given):
    pass
"""

BASE = "ultralytics.utils.callbacks.base"


def trainer_says(folder: Path, **environment: str) -> tuple[list[str], list[str]]:
    """What a trainer prints, whose packages of trackers lie in ``folder``."""
    cells = (Cell(30, 30),)
    data = folder / "data"
    if not data.exists():
        write_dataset(data, [Source("a", "train", cells), Source("b", "val", cells)])
    kept = ("MLFLOW", "WANDB", "PYTEST", "ULTRALYTICS")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(data / "dataset.yaml"), str(folder / "runs")],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(kept)},
            "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)]),
            **environment,
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr.splitlines()


def test_without_the_variables_a_trainer_reports_to_no_one(tmp_path: Path) -> None:
    table(tmp_path / "mlflow.py", MLFLOW.format(init="pass"))
    table(tmp_path / "wandb.py", WANDB)
    table(tmp_path / "comet_ml.py", "__version__ = '0'")
    out, err = trainer_says(tmp_path, ULTRALYTICS_API_KEY="ul_" + "0" * 40, COMET_API_KEY="k")
    assert (out, err) == ([BASE], [])


def test_mlflow_gets_our_scores_and_wandb_may_fail(tmp_path: Path) -> None:
    table(tmp_path / "mlflow.py", MLFLOW.format(init="pass"))
    table(tmp_path / "wandb.py", WANDB)
    out, err = trainer_says(tmp_path, MLFLOW_TRACKING_URI="x", WANDB_API_KEY="k")
    assert out == [
        f"mitoyolo.detectors.trackers {BASE}",
        "wandb begins",
        "mlflow {'metrics/F1': 0.25} 0",
        "mlflow {'metrics/F1': 0.25} 0",
    ]
    assert err == ["wandb failed, so the training goes on untracked (no answer in 90 s)"]


def test_a_server_that_is_down_is_said_in_a_line(tmp_path: Path) -> None:
    table(tmp_path / "mlflow.py", MLFLOW.format(init="raise OSError('refused\\nagain')"))
    out, err = trainer_says(tmp_path, MLFLOW_TRACKING_URI="x")
    assert len(out) == 1
    assert err == ["MLflow: Failed to initialize: refused", "MLflow: Not tracking this run"]
