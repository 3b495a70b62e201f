"""The launcher: which processes it starts, several of them on loopback, and what it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Cli, Result
from processes import Call, called, calling, free_port
from rendered import Cell, Source, write_dataset
from test_resume import state_of
from test_train import sources

from converters.errors import OptionError
from mitoyolo import train as module
from mitoyolo.detectors.base import load_detector
from mitoyolo.detectors.verifier import Verified
from mitoyolo.launch import (
    LAUNCHED,
    LOST,
    Launch,
    LaunchError,
    _why,
    die_with_launcher,
    launch,
    share_cores,
)
from mitoyolo.stopping import Stopped
from mitoyolo.train import TrainOptions, launch_of, train

OPTIONS = TrainOptions(
    model="yolov5n", weights="none", epochs=2, batch=4, imgsz=64, device="cpu", ddp=True, nproc=2
)


def arguments(data: Path, run: Path, *more: object) -> tuple[object, ...]:
    """A call of two epochs."""
    return (
        *("train", "--data", data, "--model", "yolov5n", "--weights", "none", "--epochs", 2),
        *("--batch", 4, "--imgsz", 64, "--device", "cpu", "--set", "nbs=4"),
        *("--project", run.parent, "--name", run.name, *more),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("launch") / "data", sources())


@contextmanager
def side_by_side(*commands: tuple[object, ...], **env: str) -> Iterator[list[Call]]:
    """Calls at the same time."""
    with ExitStack() as stack:
        given = {"OMP_NUM_THREADS": "1", **env}
        yield [stack.enter_context(calling(*one, env=given, warm=True)) for one in commands]


# --- two machines, each with one process ------------------------------------------------------


@dataclass
class Nodes:
    """A run on two nodes: what each launcher said when a process was killed, and on resuming."""

    run: Path
    lost: list[Result]
    seconds: float
    epoch: int
    ended: list[Result]


@pytest.fixture(scope="module")
def nodes(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Nodes:
    run = tmp_path_factory.mktemp("nodes") / "run"

    def node(rank: int, port: int, *more: object) -> tuple[object, ...]:
        where = ("--nnodes", 2, "--node-rank", rank, "--rdzv", f"localhost:{port}")
        more = ("--ddp", "--nproc", 1, *where, *more)
        return ("-m", "driver", *arguments(data, run, *more))

    port = free_port()
    with side_by_side(node(0, port), node(1, port), DRIVE="step 2 1 kill") as calls:
        second = calls[1].end()
        began = time.monotonic()
        lost = [calls[0].end(), second]
        for call in calls:
            call.wait_for_none()
        seconds = time.monotonic() - began
    epoch, port = state_of(run)["epoch"], free_port()
    with side_by_side(node(0, port, "--resume"), node(1, port, "--resume")) as calls:
        ended = [call.end() for call in calls]
        for call in calls:
            call.wait_for_none()
    return Nodes(run, lost, seconds, epoch, ended)


def test_a_process_killed_on_one_node_ends_both_launchers(nodes: Nodes) -> None:
    assert [result.code for result in nodes.lost] == [1, 1]
    assert "process 1 was ended by SIGKILL" in nodes.lost[1].error
    assert "another process of this training ended" in nodes.lost[0].error
    assert nodes.seconds < 60  # of no use if it takes as long as a time-out
    assert nodes.epoch == 1


def test_two_nodes_go_on_and_the_first_alone_prints(nodes: Nodes) -> None:
    assert [result.code for result in nodes.ended] == [0, 0], nodes.ended
    assert nodes.ended[0].out == f"{nodes.run / 'weights' / 'best.pt'}\n"
    assert (nodes.ended[1].out, nodes.ended[1].err) == ("", "")
    assert "on the CPU in 2 processes" in nodes.ended[0].err
    assert (nodes.run / "summary.json").exists()
    assert state_of(nodes.run)["epoch"] == 2
    assert len((nodes.run / "results.csv").read_text().splitlines()) == 3


# --- SLURM ------------------------------------------------------------------------------------


def test_tasks_of_srun_train_together(tmp_path: Path) -> None:
    """Two tasks of a step, without and with --ddp; the validation split has tiles for one."""
    cell = (Cell(20, 20), Cell(40, 40))
    split = [Source("a", "train", cell), Source("b", "train", cell), Source("d", "test", cell)]
    data = write_dataset(tmp_path / "data", [*split, Source("c", "val", cell, width=64)])
    run = tmp_path / "run"
    step = {
        "SLURM_JOB_ID": str(free_port() - 20000), "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_STEP_NODELIST": "localhost", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    call = ("-m", "mitoyolo", *arguments(data, run))
    with ExitStack() as stack:
        tasks = [
            stack.enter_context(
                calling(
                    *call,
                    *(["--ddp"] * task),
                    env=step | {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)},
                )
            )
            for task in (0, 1)
        ]
        results = [task.end() for task in tasks]
    assert [result.code for result in results] == [0, 0], results
    assert results[0].out == f"{run / 'weights' / 'best.pt'}\n"
    assert (results[1].out, results[1].err) == ("", "")
    assert '"processes": 2' in (run / "run.json").read_text()


def test_the_first_process_alone_trains_the_verifier(tmp_path: Path) -> None:
    cells = (Cell(16, 16), Cell(48, 48), Cell(16, 48, 0.4, "imposter"))
    split = [Source(f"s{i}", "train" if i < 4 else "val", cells) for i in range(6)]
    data = write_dataset(tmp_path / "data", split, labels=("mitosis", "imposter"))
    run = tmp_path / "run"
    call = arguments(data, run, "--ddp", "--nproc", 2, "--verify")
    result = called("-m", "mitoyolo", *call, OMP_NUM_THREADS="1")
    assert (result.code, result.out) == (0, f"{run / 'weights' / 'best.pt'}\n"), result.err
    assert result.err.count("training the verifier on") == 1
    left_out = "the verifier is left out" in result.err  # it has hardly learned anything
    assert isinstance(load_detector(run / "weights" / "best.pt"), Verified) != left_out


# --- which processes --------------------------------------------------------------------------


def changed(**options: Any) -> TrainOptions:
    return TrainOptions(**{"model": "yolov5n", "device": "cpu", "ddp": True, **options})


def test_what_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert launch_of(changed(nproc=3, restarts=2)) == Launch(nproc=3, restarts=2)
    assert launch_of(changed(device=None)) == Launch(nproc=4)
    assert launch_of(changed(device="1,3")) == Launch(nproc=2)
    assert launch_of(changed(device="1,3", nproc=1)) == Launch(nproc=1)
    several = changed(nproc=1, nnodes=2, node_rank=1, rdzv="head:29500")
    assert launch_of(several) == Launch(nproc=1, nnodes=2, node_rank=1, rendezvous="head:29500")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, r"several processes on CPUs: how many\?; give --nproc N"),
        ({"device": "0,1", "nproc": 3}, r"--nproc 3: more than the GPUs \(0, 1\)"),
        ({"device": "9", "nproc": 1}, "--device 9: no such GPU"),
        ({"nproc": 1, "nnodes": 2}, r"--nnodes 2: where do .*\?; give --rdzv HOST:PORT"),
        ({"nproc": 1, "nnodes": 2, "rdzv": "head"}, "--nnodes 2 --rdzv head: where do the"),
        (
            {"nproc": 1, "nnodes": 2, "rdzv": "head:99999"},
            "--nnodes 2 --rdzv head:99999: where do the",
        ),
        ({"nproc": 1, "nnodes": 2, "rdzv": "h:1", "node_rank": 2}, "--node-rank 2: --nnodes is 2"),
        ({"nproc": 1, "node_rank": 1}, "--node-rank 1: --nnodes is 1"),
    ],
)
def test_contradictions(
    options: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(OptionError, match=said) as caught:
        launch_of(changed(**options))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_cores_are_shared_unless_the_user_has_said_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)))
    for nproc, given, threads in ((2, None, "3"), (4, None, "1"), (8, None, "1"), (2, "5", "5")):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if given:
            monkeypatch.setenv("OMP_NUM_THREADS", given)
        share_cores(nproc)
        assert os.environ["OMP_NUM_THREADS"] == threads


# --- why a process failed ---------------------------------------------------------------------


def failure(code: int = 1, at: int = 0, **said: Any) -> Any:
    """As torchrun describes a process that failed."""
    name = signal.Signals(-code).name if code < 0 else "<N/A>"
    return SimpleNamespace(
        exitcode=code, timestamp=at, error_file_data=said, signal_name=lambda: name
    )


def test_the_first_cause_is_told() -> None:
    lost = failure(LOST, 1, text="lost", traceback="t", exit_code=LOST)
    cause = failure(2, 3, text="no such data", traceback="where", exit_code=2)
    later = failure(1, 4, text="later", traceback="t", exit_code=1)
    error = _why({0: lost, 1: later, 2: cause})
    assert (str(error), error.exit_code, str(error.__cause__)) == ("no such data", 2, "where")
    assert str(_why({0: later, 3: failure(-9, 2)})).startswith("process 3 was ended by SIGKILL")


def test_a_process_that_said_nothing() -> None:
    for code, how in ((-9, "was ended by SIGKILL"), (1, "ended"), (-11, "was ended by SIGSEGV")):
        error = _why({1: failure(code)})
        said = f"process 1 {how} without a word (exit code {code})"
        assert str(error) == f"{said}; the same call with --resume goes on"
        assert error.exit_code == 1


def test_that_all_were_lost_is_no_success() -> None:
    lost = failure(LOST, text="another process of this training ended", traceback="", exit_code=75)
    assert _why({0: lost}).exit_code == 1


def test_a_process_whose_launcher_is_gone_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was killed while its processes were being started."""
    code = "from mitoyolo.launch import die_with_launcher as d; d(); print('lives')"
    for launcher, said in ((str(os.getpid()), "lives\n"), ("1", "")):
        monkeypatch.setenv(LAUNCHED, launcher)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout == said, done.stderr
        assert (done.returncode == 0) == bool(said)
    assert die_with_launcher.__doc__


# --- what is refused --------------------------------------------------------------------------


def refuse(*given: object) -> None:
    raise AssertionError("nothing may be launched")


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_that_cannot_be_shared_is_refused(
    data: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(module, "launch", refuse)
    call = arguments(data, tmp_path / "run", "--ddp", "--nproc", 2, "--batch", batch)
    done = cli(*call)
    assert done.code == 2
    assert done.error == (
        f"mitoyolo: --batch {batch}: 2 processes cannot share it evenly; give a multiple of 2"
    )
    assert not (tmp_path / "run").exists()


def test_bad_input_is_refused_before_anything_is_launched(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "launch", refuse)
    bare = write_dataset(tmp_path / "d", [Source("a", "train"), Source("b", "val", (Cell(9, 9),))])
    run = tmp_path / "run"
    for more, said in (
        ((), "no mitosis in the train split"),
        (("--data", tmp_path / "absent"), "absent"),
        (("--model", "yolov9"), "--model 'yolov9' is not known"),
    ):
        done = cli(*arguments(bare, run, "--ddp", "--nproc", 2, *more))
        assert done.code in (1, 2)
        assert said in done.error
    assert not run.exists()


def test_weights_that_are_missing_are_refused_before_anything_is_launched(
    data: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "launch", refuse)
    call = arguments(data, tmp_path / "run", "--ddp", "--nproc", 2, "--weights", "no.pt")
    done = cli(*call)
    assert done.code in (1, 2)
    assert "no.pt" in done.error
    assert not (tmp_path / "run").exists()


def test_what_the_first_process_refuses_is_told_by_the_launcher(nodes: Nodes, data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in nodes.run.rglob("*")}
    call = arguments(data, nodes.run, "--ddp", "--nproc", 2, "--epochs", 7)
    result = called("-m", "mitoyolo", *call, warm=True)
    assert (result.code, result.out) == (1, "")
    assert "holds finished work of `train` with another epochs" in result.error
    assert {path: path.stat().st_mtime_ns for path in nodes.run.rglob("*")} == before


def test_torchrun_s_own_stop_is_ours(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM while the launcher waits: :class:`Stopped`, which ``train`` turns into None."""

    def stop(*given: object) -> None:
        raise Stopped

    monkeypatch.setattr(module, "launch", stop)
    assert train(data, data.parent / "never", OPTIONS) is None


def test_machines_that_do_not_meet_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mitoyolo.launch.MEETING", timedelta(seconds=1))
    how = Launch(nproc=1, nnodes=2, node_rank=1, rendezvous="localhost:1")
    with pytest.raises(LaunchError, match="2 machines did not meet at localhost:1 ") as told:
        launch("mitoyolo.worker", [], how)
    assert "\n" not in str(told.value)
