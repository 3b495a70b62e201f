"""Two processes: the same training as a reference written here, and what becomes of them when one
of them, or their launcher, is stopped or killed."""

from __future__ import annotations

import csv
import math
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import Result
from driver import STEPS
from processes import TORCHRUN, called
from rendered import Cell, Source, write_dataset
from test_resume import assert_equal_runs, state_of

from converters.errors import InputError
from mitoyolo.dataset import open_dataset
from mitoyolo.detectors.base import load_detector
from mitoyolo.detectors.sampler import EpochSampler
from mitoyolo.detectors.training import score_tiles
from mitoyolo.detectors.yolo import start_model, write_start
from mitoyolo.distributed import Process, devices_for, first_host, process_of
from mitoyolo.evaluation.protocols import get_protocol
from mitoyolo.inference.apply import detect_tiles

from ultralytics.cfg import get_cfg

BATCH, EPOCHS, TILES, SEED = 4, 3, 10, 0
RATE = 0.001
"""Small: each step at 0.01 makes a hundred times as much of the last bit, the fifth too much."""

PLAIN = {
    "optimizer": "SGD", "lr0": RATE, "warmup_epochs": 0, "nbs": BATCH, "close_mosaic": 0,
    "rot90": "false",
    **dict.fromkeys(("mosaic", "stain", "hsv_h", "hsv_s", "hsv_v", "fliplr", "flipud"), 0),
    **dict.fromkeys(("translate", "scale"), 0),
}  # fmt: skip


NO_VERIFIER = ("detecting, train", "no false detection")
"""How lines begin of a training that has nothing for a verifier to learn from."""


def images() -> list[Source]:
    """Five images of two tiles to train on, with none to three cells, and two to choose by."""
    rng = np.random.default_rng(1)
    counts = (3, 0, 1, 2, 1, 2, 2)
    return [
        Source(
            f"s{i}",
            "train" if i < 5 else "val",
            tuple(Cell(int(x), int(y)) for x, y in rng.integers(10, 54, (n, 2))),
        )
        for i, n in enumerate(counts)
    ]


def speckle(data: Path) -> None:
    """Make tiles uneven: on the rendered ones, all of one colour, BatchNorm divides by a variance
    of nearly nothing, and the last bit of a sum decides."""
    rng = np.random.default_rng(2)
    for path in sorted((data / "images").rglob("*.png")):
        image = cv2.imread(str(path)).astype(float)
        noisy = np.clip(image + rng.normal(0, 30, image.shape), 0, 255)
        assert cv2.imwrite(str(path), noisy.astype(np.uint8))


@dataclass
class Two:
    """A dataset, and how to train on it."""

    root: Path
    data: Path
    call: tuple[object, ...]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    root = tmp_path_factory.mktemp("two")
    data = write_dataset(root / "data", images())
    speckle(data)
    weights = root / "weights.pt"  # what a process that is given none would not have
    write_start(weights, start_model("yolov5n", None, ("mitosis",), seed=7))
    call = (
        *("-m", "driver", "train", "--model", "yolov5n", "--weights", weights, "--imgsz", 64),
        *("--epochs", EPOCHS, "--batch", BATCH, "--device", "cpu", "--seed", SEED),
        *(part for key, value in PLAIN.items() for part in ("--set", f"{key}={value}")),
        *("--project", root, "--data", data, "--name"),
    )
    return Two(root, data, call)


@dataclass
class Outer:
    """A run of two processes that torchrun started from outside, and what each ended with."""

    run: Path
    result: Result
    ends: list[dict[str, Any]]


@pytest.fixture(scope="module")
def outer(two: Two) -> Outer:
    folder = two.root / "ends"
    call = (*TORCHRUN, *two.call, "outer", "--ddp")
    result = called(*call, warm=True, ENDS=str(folder), OMP_NUM_THREADS="1")
    assert result.code == 0, result.err
    return Outer(two.root / "outer", result, [torch.load(folder / f"end-{r}.pt") for r in (0, 1)])


# --- the same numbers -------------------------------------------------------------------------


def tensors_of(data: Path, tiles: Sequence[int]) -> dict[str, torch.Tensor]:
    """A batch as Ultralytics' criterion takes it, read here from images and label files."""
    files = sorted((data / "images" / "train").glob("*.png"))
    assert len(files) == TILES
    pixels, rows = [], []
    for i, tile in enumerate(tiles):
        pixel = cv2.imread(str(files[tile]))[..., ::-1].transpose(2, 0, 1)
        pixels.append(pixel.astype(np.float32) / np.float32(255))
        text = (data / "labels" / "train" / f"{files[tile].stem}.txt").read_text()
        rows += [(i, *map(float, line.split())) for line in text.splitlines()]
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return {
        "img": torch.tensor(np.stack(pixels), dtype=torch.float64),
        "batch_idx": table[:, 0], "cls": table[:, 1:2], "bboxes": table[:, 2:],
    }  # fmt: skip


def reference(
    data: Path, start: Path, steps: Sequence[Sequence[Sequence[int]]], steps_an_epoch: int
) -> list[tuple[list[float], dict[str, torch.Tensor]]]:
    """Each step's losses by process, and the mean of their gradients before it is clipped.

    One process computes the shares one after the other: ``steps[n][r]`` are the tiles of process
    r in step n. As in DDP, each has its own BatchNorm statistics and divides its loss by its own
    targets; Ultralytics multiplies the loss by their number and DDP takes the mean.
    """
    world = len(steps[0])
    models, optimizers = [], []
    for _ in range(world):
        model = torch.load(start, weights_only=False)["model"].double().train()
        model.args = get_cfg()
        groups: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                parameter.requires_grad_(module is not model.model[-1].dfl.conv)
                norm = isinstance(module, torch.nn.BatchNorm2d)
                groups["bias" not in name and not norm].append(parameter)
        decayed, plain = groups[True], groups[False]
        parts = [{"params": decayed, "weight_decay": 5e-4}, {"params": plain}]
        optimizers.append(torch.optim.SGD(parts, lr=RATE, momentum=0.937, nesterov=True))
        models.append(model)
    found = []
    for number, shares in enumerate(steps):
        losses = []
        for model, tiles in zip(models, shares, strict=True):
            model.zero_grad()
            loss = model(tensors_of(data, tiles))[0].sum() * world
            loss.backward()
            losses.append(loss.item())
        means = {}
        for name, parameter in models[0].named_parameters():
            every = [dict(model.named_parameters())[name].grad for model in models]
            if any(gradient is not None for gradient in every):
                zero = torch.zeros_like(parameter)
                means[name] = sum(zero if g is None else g for g in every) / world
        found.append((losses, {name: mean.clone() for name, mean in means.items()}))
        for model, optimizer in zip(models, optimizers, strict=True):
            for name, parameter in model.named_parameters():
                parameter.grad = means[name].clone() if name in means else None
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=10.0)
            for group in optimizer.param_groups:
                group["lr"] = RATE * (0.01 + 0.99 * (1 - number // steps_an_epoch / EPOCHS))
            optimizer.step()
    return found


def shares_of(world: int) -> tuple[list[list[list[int]]], int]:
    """The tiles of the first steps by process, and how many steps make an epoch."""
    samplers = [EpochSampler(TILES, seed=SEED, process=Process(r, world)) for r in range(world)]
    own, an_epoch = BATCH // world, math.ceil(TILES / BATCH)
    steps: list[list[list[int]]] = []
    while len(steps) < STEPS:
        orders = [[number % TILES for number in sampler] for sampler in samplers]
        steps += [[o[own * n : own * (n + 1)] for o in orders] for n in range(an_epoch)]
    return steps[:STEPS], an_epoch


def difference(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """The largest relative difference of a tensor, by its norm."""
    assert found.keys() == expected.keys()
    return max(
        float((found[name] - tensor).norm() / tensor.norm().clamp_min(1e-12))
        for name, tensor in expected.items()
    )


def test_two_processes_equal_their_shares_one_after_the_other(two: Two) -> None:
    """First five losses and gradients, over the end of an epoch and a last batch of one tile,
    without augmentation and, so that rounding cannot hide or feign anything, in double precision.

    This is not one process with the whole batch: there, BatchNorm takes its statistics over all
    tiles of the step and the loss is divided by all targets, here each process has its own. That
    the two differ, by far more than the tolerance, is asserted too: else a wrong reference would
    go unseen.
    """
    folder = two.root / "steps"
    result = called(*TORCHRUN, *two.call, "record", warm=True, RECORD=str(folder))
    assert result.code == 0, result.err
    start = two.root / "record" / "weights" / "start.pt"
    steps, an_epoch = shares_of(2)
    expected = reference(two.data, start, steps, an_epoch)
    for n, (losses, gradients) in enumerate(expected):
        found = [torch.load(folder / f"step-{n}-{rank}.pt") for rank in (0, 1)]
        assert [one["loss"] for one in found] == pytest.approx(losses, rel=1e-5)
        for one in found:
            assert difference(one["gradients"], gradients) < 1e-5
    at_once, _ = shares_of(1)
    assert [sorted(share) for (share,) in at_once] == [sorted(a + b) for a, b in steps]
    (whole,) = reference(two.data, start, at_once[:1], an_epoch)
    assert abs(whole[0][0] - sum(expected[0][0]) / 2) > 1e-3 * whole[0][0]
    assert difference(whole[1], expected[0][1]) > 1e-3


def test_both_processes_end_with_the_same_parameters(outer: Outer) -> None:
    """BatchNorm's running statistics may differ: each process keeps its own."""
    first, second = outer.ends
    for kind in ("model", "ema"):
        assert first[kind].keys() == second[kind].keys()
        assert all(torch.equal(first[kind][name], second[kind][name]) for name in first[kind])
    kept = state_of(outer.run)
    assert all(torch.equal(kept["ema"][name], tensor) for name, tensor in first["ema"].items())


def test_the_validation_is_of_the_whole_split(two: Two, outer: Outer, tmp_path: Path) -> None:
    """Its scores, and the detections in the first process, are those that one process finds."""
    last = torch.load(outer.run / "weights" / "last.pt", weights_only=False)
    model = last["model"].float()  # was halved, unlike the model that was validated
    model.load_state_dict(state_of(outer.run)["ema"])
    write_start(tmp_path / "ema.pt", model)
    dataset = open_dataset(two.data)
    protocol = get_protocol(dataset.block["protocol"])
    of_tile = detect_tiles(load_detector(tmp_path / "ema.pt", imgsz=64), dataset, "val")
    whole = score_tiles(dataset, protocol, of_tile)
    with (outer.run / "results.csv").open(encoding="utf-8") as handle:
        row = list(csv.DictReader(handle))[-1]
    found = [float(row[f"metrics/{name}"]) for name in ("F1", "AP")]
    assert found == pytest.approx([whole.f1, whole.ap], abs=1e-4)
    seen = outer.ends[0]["detections"]
    assert seen.keys() == of_tile.keys()
    for tile, rows in of_tile.items():
        assert np.sort(seen[tile][:, 4]) == pytest.approx(np.sort(rows[:, 4]), rel=1e-3)
    assert outer.ends[1]["detections"] == {}


def test_under_an_outer_launcher_one_process_prints_and_none_warns(outer: Outer) -> None:
    assert outer.result.out == f"{outer.run / 'weights' / 'best.pt'}\n"
    lines = outer.result.err.splitlines()
    assert sum("in 2 processes" in line for line in lines) == 1
    known = ("training", "epoch ", "best epoch", *NO_VERIFIER)
    assert [line for line in lines if not line.startswith(known)] == []
    assert not any(word in outer.result.err for word in ("reducer.cpp", "gloo", "[W"))


# --- stopped, killed, failed ------------------------------------------------------------------


@dataclass
class Cut:
    """A run of two processes, interrupted in every way and gone on."""

    run: Path
    ended: dict[str, Result] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def cut(two: Two) -> Cut:
    found = Cut(two.root / "cut")

    def stage(name: str, drive: str, *more: object) -> None:
        ddp = ("--ddp", "--nproc", 2, *more)
        call = (*two.call, "cut", *ddp)
        found.ended[name] = called(*call, warm=True, DRIVE=drive, OMP_NUM_THREADS="1")
        kept = found.run / "weights" / "state.pt"
        found.epochs[name] = state_of(found.run)["epoch"] if kept.exists() else 0

    stage("term before an epoch", "step 1 0 term-launcher")
    stage("launcher killed", "step 2 0 kill-launcher", "--resume")
    stage("term in an epoch", "step 2 1 term-launcher", "--resume")
    stage("process killed", "step 2 1 kill", "--resume")
    stage("process failed", "step 3 1 raise", "--resume")
    stage("killed and restarted", "checkpoints 3 0 kill", "--resume", "--restarts", 1)
    return found


def test_whatever_happens_the_run_ends_as_an_uninterrupted_one(cut: Cut, outer: Outer) -> None:
    assert {name: (cut.ended[name].code, epoch) for name, epoch in cut.epochs.items()} == {
        "term before an epoch": (0, 0),
        "launcher killed": (-signal.SIGKILL, 1),
        "term in an epoch": (0, 1),
        "process killed": (1, 1),
        "process failed": (1, 2),
        "killed and restarted": (0, 3),
    }, [result.err for result in cut.ended.values()]
    assert_equal_runs(outer.run, cut.run)


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("term before an epoch", "stopped before the first epoch was finished"),
        ("term in an epoch", f"stopped; epoch 1 of {EPOCHS} is finished and kept"),
    ],
)
def test_sigterm_to_the_launcher_says_what_is_kept(cut: Cut, stage: str, said: str) -> None:
    result = cut.ended[stage]
    assert result.out == ""
    assert result.err.splitlines()[-1] == f"{said}; the same call with --resume goes on"
    assert result.err.count("--resume") == 1


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("process killed", r"process 1 was ended by SIGKILL without a word.*--resume goes on"),
        ("process failed", r"RuntimeError: the driver's error; --debug shows where"),
    ],
)
def test_the_reason_why_a_process_ended_is_one_line(cut: Cut, stage: str, said: str) -> None:
    assert re.search(said, cut.ended[stage].error)
    assert cut.ended[stage].out == ""


def test_only_the_first_process_prints_and_nothing_of_torch(cut: Cut) -> None:
    known = ("training", "epoch ", "best epoch", "stopped", "mitoyolo: ", *NO_VERIFIER)
    for name, result in cut.ended.items():
        assert [x for x in result.err.splitlines() if not x.startswith(known)] == [], name
        begins = [line for line in result.err.splitlines() if "in 2 processes" in line]
        assert len(begins) == (2 if "restarted" in name else 1)
    assert cut.ended["killed and restarted"].out == f"{cut.run / 'weights' / 'best.pt'}\n"


# --- who a process is -------------------------------------------------------------------------

SLURM = {
    "SLURM_JOB_ID": "123456", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8",
    "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
}  # fmt: skip
"""As srun(1) lists them for a task of a step."""


def test_a_task_of_srun_is_a_process() -> None:
    found = process_of(SLURM)
    assert found
    assert found[0] == Process(rank=5, world=8, local_rank=1, local_world=4)
    assert (found[1]["MASTER_ADDR"], found[1]["MASTER_PORT"]) == ("gpu07", "23456")
    given = process_of(SLURM | {"MASTER_ADDR": "head", "MASTER_PORT": "7"})
    assert given
    assert (given[1]["MASTER_ADDR"], given[1]["MASTER_PORT"]) == ("head", "7")


@pytest.mark.parametrize("job", ["", "12_3", "-5", "x"])
def test_a_job_of_no_number_meets_at_a_port_all_the_same(job: str) -> None:
    found = process_of(SLURM | {"SLURM_JOB_ID": job})
    assert found and found[1]["MASTER_PORT"] == "20000"


def test_torchrun_goes_before_slurm() -> None:
    torchrun = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    found = process_of(SLURM | torchrun)
    assert found
    assert found[0] == Process(1, 2, 1, 2)


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"},  # sbatch without srun
        SLURM | {"SLURM_STEP_NUM_TASKS": "1"},
        {"RANK": "0", "WORLD_SIZE": "1"},
        {"RANK": "0"},
    ],
)
def test_alone(env: dict[str, str]) -> None:
    assert process_of(env) is None


@pytest.mark.parametrize(
    "env",
    [
        {"RANK": "one", "WORLD_SIZE": "2"},
        {"RANK": "", "WORLD_SIZE": "2"},
        {"RANK": "2", "WORLD_SIZE": "2"},
        {"RANK": "-1", "WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": "two"},
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "x"},
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "0"},
        {"SLURM_STEP_NUM_TASKS": "2"},
        {"SLURM_STEP_NUM_TASKS": "many", "SLURM_PROCID": "0"},
        SLURM | {"SLURM_STEP_TASKS_PER_NODE": "?"},
    ],
)
def test_nonsense_is_one_line(env: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"^the environment describes no process \(RANK="):
        process_of(env)


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("gpu01", "gpu01"), ("a,b", "a"), ("gpu[1-4]", "gpu1"), ("n[007,9-12]", "n007"),
        ("rack-2-node[3-4].site,x", "rack-2-node3.site"), ("", "localhost"),
    ],
)  # fmt: skip
def test_the_first_host(nodes: str, host: str) -> None:
    assert first_host(nodes) == host


@pytest.mark.parametrize(
    ("asked", "several", "gpus", "found"),
    [
        ("cpu", True, 4, ("cpu",)),
        (None, True, 0, ("cpu",)),
        (None, False, 4, ("0",)),
        (None, True, 2, ("0", "1")),
        ("1", False, 2, ("1",)),
        ("2, 0", True, 3, ("2", "0")),
    ],
)
def test_devices(
    asked: str | None,
    several: bool,
    gpus: int,
    found: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert devices_for(asked, several=several) == found


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("2", r"--device 2: no such GPU \(found: 0, 1\)"),
        ("0,0", "a GPU is named twice"),
        ("0,1", "several GPUs; add --ddp"),
        ("gpu", "no such GPU"),
        ("", "no such GPU"),
    ],
)
def test_devices_that_are_not(asked: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=said) as caught:
        devices_for(asked, several=False)
    assert caught.value.exit_code == 2
