"""A training in one process that is stopped and killed at every kind of moment, and goes on."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Result
from processes import called, calling
from rendered import write_dataset
from test_train import sources

from converters.errors import InputError
from mitoyolo.train import TrainOptions, train

EPOCHS, BEST, LAST = 6, 2, 4
"""Asked for, the best by the scores below, and where a patience of 2 then ends."""

SCORES = "0.5,0.6,0.5,0.5,0.5,0.5"
OPTIONS = TrainOptions(
    model="yolov5n", weights="none", epochs=EPOCHS, batch=4, imgsz=64, device="cpu",
    settings={"nbs": 12, "warmup_epochs": 0, "patience": 2},
)  # fmt: skip


def equal(one: Any, other: Any) -> bool:
    """Whether two nests of tensors and plain values are the same, to the bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return bool(one == other)


def checkpoint(path: Path) -> dict[str, Any]:
    """What a finished checkpoint says: tensors, and the card."""
    content = torch.load(path, map_location="cpu", weights_only=False)
    return {"tensors": content["model"].state_dict(), "card": content["mitoyolo"]}


def state_of(run: Path) -> dict[str, Any]:
    return dict(torch.load(run / "weights" / "state.pt", weights_only=True))


def assert_equal_runs(one: Path, other: Path) -> None:
    """Assert that two finished runs hold the same tables, weights and state."""
    for name in ("results.csv", "summary.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    for name in ("best.pt", "last.pt"):
        assert equal(*(checkpoint(run / "weights" / name) for run in (one, other)))
    kept = ("epoch", "model", "ema", "updates", "optimizer", "stopper", "best_fitness", "rows")
    states = [state_of(run) for run in (one, other)]
    assert [key for key in kept if not equal(states[0][key], states[1][key])] == []
    for run in (one, other):
        assert not list(run.rglob(".part-*"))


@dataclass
class Runs:
    """An uninterrupted run, and one that was interrupted in every way and went on."""

    data: Path
    whole: Path
    cut: Path
    ended: dict[str, Result] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    refused: str = ""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root = tmp_path_factory.mktemp("resume")
    found = Runs(write_dataset(root / "data", sources()), root / "whole", root / "cut")
    call = (
        *("-m", "driver", "train", "--data", found.data, "--model", "yolov5n", "--epochs", EPOCHS),
        *("--weights", "none", "--batch", 4, "--imgsz", 64, "--device", "cpu"),
        *("--set", "nbs=12", "--set", "warmup_epochs=0", "--set", "patience=2"),
        *("--project", root, "--name"),
    )
    env = {"SCORES": SCORES, "OMP_NUM_THREADS": "1"}

    def stage(name: str, drive: str = "", *more: object) -> None:
        given = {**env, "DRIVE": drive} if drive else env
        found.ended[name] = called(*call, "cut", *more, warm=True, **given)
        kept = found.cut / "weights" / "state.pt"
        found.epochs[name] = state_of(found.cut)["epoch"] if kept.exists() else 0

    with calling(*call, "whole", env=env) as whole:
        stage("term before an epoch", "step 1 0 term")
        found.ended["whole"] = whole.end()
    stage("kill in an epoch", "step 2 0 kill", "--resume")
    with pytest.raises(InputError) as caught:
        train(found.data, found.cut, OPTIONS)
    found.refused = str(caught.value)
    stage("term in writing the state", "state 2 0 term", "--resume")
    stage("kill before the checkpoints", "checkpoints 2 0 kill", "--resume")
    shutil.copytree(found.cut, root / "between")
    stage("kill at the end", "end 4 0 kill", "--resume")
    stage("end", "", "--resume")
    return found


def test_an_interrupted_run_ends_as_an_uninterrupted_one(runs: Runs) -> None:
    assert [runs.ended[name].code for name in ("whole", "end")] == [0, 0], runs.ended
    assert_equal_runs(runs.whole, runs.cut)


def test_patience_ends_both_at_the_same_epoch(runs: Runs) -> None:
    for run in (runs.whole, runs.cut):
        assert state_of(run)["epoch"] == LAST
        assert f'"best_epoch": {BEST}' in (run / "summary.json").read_text()
    assert f"no better epoch since {BEST}" in runs.ended["end"].err


def test_each_interruption_came_when_it_was_meant_to(runs: Runs) -> None:
    """Else the tests above would show less than they say."""
    assert {name: (runs.ended[name].code, epoch) for name, epoch in runs.epochs.items()} == {
        "term before an epoch": (0, 0),
        "kill in an epoch": (-signal.SIGKILL, 1),
        "term in writing the state": (0, 1),
        "kill before the checkpoints": (-signal.SIGKILL, 2),
        "kill at the end": (-signal.SIGKILL, 4),
        "end": (0, 4),
    }
    between = runs.cut.with_name("between") / "weights"
    last = torch.load(between / "last.pt", map_location="cpu", weights_only=False)
    assert last["epoch"] + 1 == 1  # of a state of epoch 2, the best


def test_without_resume_an_unfinished_run_is_an_error_that_names_it(runs: Runs) -> None:
    assert runs.refused.startswith(f"{runs.cut}: an unfinished `train` stands here")
    assert "--resume" in runs.refused


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("term before an epoch", "stopped before the first epoch was finished"),
        ("term in writing the state", f"stopped; epoch 1 of {EPOCHS} is finished and kept"),
    ],
)
def test_sigterm_says_what_is_kept_and_how_to_go_on(runs: Runs, stage: str, said: str) -> None:
    result = runs.ended[stage]
    assert result.out == ""
    assert result.err.splitlines()[-1] == f"{said}; the same call with --resume goes on"


def test_what_is_printed_is_the_path_of_the_weights_and_no_warning(runs: Runs) -> None:
    for name, run in (("whole", runs.whole), ("end", runs.cut)):
        result = runs.ended[name]
        assert result.out == f"{run / 'weights' / 'best.pt'}\n"
        assert not any(word in result.err.lower() for word in ("warn", "traceback"))


def test_run_json_says_from_where_it_went_on(runs: Runs) -> None:
    """Each session adds where it began, as soon as an epoch of it is kept."""
    assert state_of(runs.cut)["outcome"]["sessions"][0] == 0
    assert '"begun_at_epochs"' in (runs.cut / "run.json").read_text()


def test_the_state_is_in_full_precision_and_needs_no_code_to_be_read(runs: Runs) -> None:
    state = state_of(runs.cut)
    for name in ("model", "ema"):
        floats = [value for value in state[name].values() if value.is_floating_point()]
        assert floats
        assert {value.dtype for value in floats} == {torch.float32}
    moments = state["optimizer"]["state"].values()
    tensors = [v for one in moments for v in one.values() if isinstance(v, torch.Tensor)]
    assert tensors
    assert {value.dtype for value in tensors} == {torch.float32}


def test_a_finished_run_is_left_as_it_is(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    before = (runs.cut / "weights" / "best.pt").read_bytes()
    assert train(runs.data, runs.cut, OPTIONS, resume=True) == runs.cut / "weights" / "best.pt"
    assert "finished already" in capsys.readouterr().err
    assert (runs.cut / "weights" / "best.pt").read_bytes() == before


@pytest.mark.parametrize("left", [0, 1000, -1000])
def test_a_damaged_state_is_one_line(runs: Runs, tmp_path: Path, left: int) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs.cut.with_name("between"), run)
    state = run / "weights" / "state.pt"
    state.write_bytes(state.read_bytes()[:left])
    with pytest.raises(InputError, match=r"state\.pt: not a readable state.*--overwrite") as caught:
        train(runs.data, run, OPTIONS, resume=True)
    assert "\n" not in str(caught.value)
    assert (run / "weights" / "last.pt").exists()  # nothing was taken away


def test_another_call_does_not_go_on(runs: Runs) -> None:
    other = TrainOptions(model="yolov5n", weights="none", epochs=9, batch=4, device="cpu")
    run = runs.cut.with_name("between")
    with pytest.raises(InputError, match=r"unfinished work of `train` with another epochs"):
        train(runs.data, run, other, resume=True)
