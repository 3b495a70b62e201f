"""Two-stage models trained in two processes, and killed and gone on with."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Result
from driver import STEPS
from narrow import make_narrow
from processes import TORCHRUN, called, calling
from rendered import Cell, Source, write_dataset
from test_distributed import difference, speckle
from test_resume import equal, state_of

from mitoyolo.dataset import open_dataset
from mitoyolo.detectors.rcnn import start_network
from mitoyolo.detectors.rcnn_data import TrainingTiles
from mitoyolo.detectors.rcnn_recipe import read_recipe
from mitoyolo.detectors.sampler import EpochSampler
from mitoyolo.distributed import Process

SIDES = {"mitos-rcnn": 32, "faster-rcnn": 64}
"""px; BatchNorm needs more than one place."""

BATCH, TILES = 8, 10
SETTINGS = {"rois": 16, "proposals": 20, "anchors": "6,12", "clip": 0}
"""Without clipping, which would hide a wrong factor of all gradients."""


@pytest.fixture(scope="module", autouse=True)
def narrow() -> Iterator[None]:
    """As in the driven processes."""
    with pytest.MonkeyPatch.context() as patch:
        make_narrow(patch)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten tiles to train on, some without a box, and five to choose by."""
    rng = np.random.default_rng(1)
    sources = []
    for i, count in enumerate((3, 0, 1, 2, 1, 2, 2, 1)):
        places = rng.integers(10, 54, (count, 2))
        labels = ("mitosis", "imposter", "mitosis")
        cells = [Cell(int(x), int(y), 0.8, labels[k]) for k, (x, y) in enumerate(places)]
        split = "train" if i < 5 else "val"
        sources.append(Source(f"s{i}", split, tuple(cells), width=96 if i < 7 else 64))
    root = tmp_path_factory.mktemp("data")
    data = write_dataset(root / "d", sources, labels=("mitosis", "imposter"))
    speckle(data)
    return data


def call(data: Path, model: str, root: Path, *more: object) -> tuple[object, ...]:
    """A call of the driven program, of which the run's name is still to be given."""
    return (
        *("-m", "driver_rcnn", "train", "--data", data, "--model", model, "--weights", "none"),
        *("--imgsz", SIDES[model], "--device", "cpu", "--project", root),
        *(part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")),
        *(*more, "--name"),
    )


# --- the same numbers -------------------------------------------------------------------------


@dataclass
class Recorded:
    """What the driver wrote of a training in two processes, and of the same in one."""

    model: str
    parts: int
    two: Path
    one: Path


@pytest.fixture(scope="module", params=[("mitos-rcnn", 1), ("faster-rcnn", 2)])
def recorded(
    request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Recorded:
    """Three epochs of two steps: a batch of eight tiles, and one of the two that are left.

    MITOS-RCNN takes them in two parts, whose sum is the same to the bit in any order: it pools its
    regions at whole pixels, so many of them score the same but for the last bit, which then decides
    which are drawn. The rate is small, since BatchNorm over few pixels makes much of that bit, too.
    """
    root = tmp_path_factory.mktemp("recorded")
    model, accumulate = request.param
    found = Recorded(model, 2 * accumulate, root / "two", root / "one")
    slowly = ("--set", "lr0=1e-5")
    args = (data, model, root, "--epochs", 3, "--batch", BATCH, *slowly, "--accumulate")
    two = (*TORCHRUN, *call(*args, accumulate, "--ddp"), "a")
    result = called(*two, warm=True, RECORD=str(found.two), OMP_NUM_THREADS="1")
    assert result.code == 0, result.err
    one = (*call(*args, 2 * accumulate), "b")
    result = called(*one, warm=True, RECORD=str(found.one), OMP_NUM_THREADS="1")
    assert result.code == 0, result.err
    return found


def gradients_by_hand(data: Path, model: str, parts: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the first step, a mean over its parts."""
    dataset = open_dataset(data)
    recipe = read_recipe(model, None, SETTINGS)
    tiles = TrainingTiles(dataset, recipe, imgsz=SIDES[model], seed=0)
    network, _ = start_network(
        model, None, tuple(dataset.labels), imgsz=SIDES[model], recipe=recipe, seed=0,
        median_side=lambda: 0.0,
    )  # fmt: skip
    network.double().train()
    network.roi_heads.fg_bg_sampler.batch_size_per_image = SETTINGS["rois"]
    order = list(EpochSampler(TILES, seed=0, process=Process()))[:BATCH]
    total = 0.0
    for part in range(parts):
        images, targets = zip(*(tiles[number] for number in order[part::parts]), strict=True)
        torch.manual_seed(int(np.random.SeedSequence([0, 0, part]).generate_state(1, np.uint64)[0]))
        losses = network([(image.float() / 255).double() for image in images], list(targets))
        loss = sum(losses.values()) / parts
        loss.backward()
        total += loss.item()
    return total, {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def test_two_processes_equal_one_that_takes_their_parts_one_after_the_other(
    recorded: Recorded, data: Path
) -> None:
    """First five losses and gradients, over the ends of two epochs, in double precision, so that
    rounding cannot hide or feign anything; the first ones equal those computed here, too."""
    for number in range(STEPS):
        name = f"step-{number}-{{}}.pt"
        first, second = (torch.load(recorded.two / name.format(rank)) for rank in (0, 1))
        (one,) = (torch.load(recorded.one / name.format(0)),)
        assert first["tiles"] + second["tiles"] == one["tiles"] == (2 if number % 2 else 8)
        for key, value in one["losses"].items():
            mean = (first["losses"][key] + second["losses"][key]) / 2
            assert mean == pytest.approx(value, rel=1e-5)
            assert first["losses"][key] != second["losses"][key]
        for two in (first, second):
            assert difference(two["gradients"], one["gradients"]) < 1e-5
    loss, gradients = gradients_by_hand(data, recorded.model, recorded.parts)
    one = torch.load(recorded.one / "step-0-0.pt")
    assert sum(one["losses"].values()) == pytest.approx(loss, rel=1e-5)
    assert difference(one["gradients"], gradients) < 1e-5


def test_both_processes_validate_one_network_on_the_whole_split(recorded: Recorded) -> None:
    """BatchNorm's running statistics are the first process's, as in what is kept."""
    first, second = (torch.load(recorded.two / f"buffers-{rank}.pt") for rank in (0, 1))
    assert equal(first, second)
    assert any("running_mean" in name for name in first) == (recorded.model == "faster-rcnn")
    found, alone = (torch.load(folder / "found.pt") for folder in (recorded.two, recorded.one))
    assert len(found) == 5
    assert found.keys() == alone.keys()
    if recorded.model == "mitos-rcnn":  # without BatchNorm
        for tile, rows in alone.items():
            assert rows.shape == found[tile].shape
            assert torch.allclose(rows, found[tile], rtol=1e-4)


# --- stopped, killed, failed ------------------------------------------------------------------

EPOCHS = 3
SCORES = "0.5,0.6,0.5"


def assert_equal_runs(one: Path, other: Path) -> None:
    """Assert that two finished runs hold the same tables, weights and state."""
    for name in ("results.csv", "summary.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    for name in ("best.pt", "last.pt"):
        assert equal(*(torch.load(run / "weights" / name) for run in (one, other)))
    states = [state_of(run) for run in (one, other)]
    for state in states:
        for timed in ("clock", "sessions"):
            del state["outcome"][timed]
    assert equal(*states)
    for run in (one, other):
        assert not list(run.rglob(".part-*"))


@dataclass
class Runs:
    """An uninterrupted run, and one that was interrupted in every way and went on."""

    whole: Path
    cut: Path
    ended: dict[str, Result] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    best_between: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root = tmp_path_factory.mktemp("resume")
    found = Runs(root / "whole", root / "cut")
    args = call(
        data, "mitos-rcnn", root, "--epochs", EPOCHS, "--batch", BATCH, "--accumulate", 2,
        "--set", "ema=0.9",
    )  # fmt: skip
    env = {"SCORES": SCORES, "OMP_NUM_THREADS": "1"}

    def stage(name: str, drive: str, *more: object) -> None:
        found.ended[name] = called(*args, "cut", *more, warm=True, DRIVE=drive, **env)
        kept = found.cut / "weights" / "state.pt"
        found.epochs[name] = state_of(found.cut)["epoch"] if kept.exists() else 0

    with calling(*args, "whole", env=env) as whole:
        stage("term in an epoch", "step 2 0 term")
        stage("kill in an epoch", "step 2 0 kill", "--resume")
        found.ended["whole"] = whole.end()
    stage("term in writing the state", "state 2 0 term", "--resume")
    stage("kill before the weights", "weights 2 0 kill", "--resume")
    found.best_between = dict(torch.load(found.cut / "weights" / "best.pt"))
    stage("kill between the cards", "cards 3 0 kill", "--resume")
    stage("end", "", "--resume")
    return found


def test_an_interrupted_run_ends_as_an_uninterrupted_one(runs: Runs) -> None:
    assert [runs.ended[name].code for name in ("whole", "end")] == [0, 0], runs.ended
    assert_equal_runs(runs.whole, runs.cut)


def test_each_interruption_came_when_it_was_meant_to(runs: Runs) -> None:
    """Else the test above would show less than it says."""
    assert {name: (runs.ended[name].code, epoch) for name, epoch in runs.epochs.items()} == {
        "term in an epoch": (0, 1),
        "kill in an epoch": (-signal.SIGKILL, 1),
        "term in writing the state": (0, 1),
        "kill before the weights": (-signal.SIGKILL, 2),
        "kill between the cards": (-signal.SIGKILL, 3),
        "end": (0, 3),
    }, [result.err for result in runs.ended.values()]
    best = torch.load(runs.cut / "weights" / "best.pt")
    assert not equal(runs.best_between["model"], best["model"])  # epoch 1's beside epoch 2's state


def test_sigterm_says_what_is_kept_and_how_to_go_on(runs: Runs) -> None:
    for stage in ("term in an epoch", "term in writing the state"):
        result = runs.ended[stage]
        assert result.out == ""
        said = f"stopped; epoch 1 of {EPOCHS} is finished and kept; the same call with --resume"
        assert result.err.splitlines()[-1].startswith(said)


def test_what_is_printed_is_the_path_of_the_weights_and_no_warning(runs: Runs) -> None:
    for name, run in (("whole", runs.whole), ("end", runs.cut)):
        result = runs.ended[name]
        assert result.out == f"{run / 'weights' / 'best.pt'}\n"
        assert not any(word in result.err.lower() for word in ("warn", "traceback"))


def test_the_averaged_weights_are_kept_and_the_trained_ones_gone_on_with(runs: Runs) -> None:
    state = state_of(runs.whole)
    last = torch.load(runs.whole / "weights" / "last.pt")["model"]
    assert all(
        torch.equal(tensor, state["average"][f"module.{name}"]) for name, tensor in last.items()
    )
    assert not equal(last, state["model"])


def test_a_process_that_is_killed_is_started_again_and_ends_as_if_it_had_not(
    data: Path, tmp_path: Path
) -> None:
    args = call(
        data, "mitos-rcnn", tmp_path, "--epochs", 2, "--batch", BATCH, "--ddp", "--nproc", 2,
        "--restarts", 1,
    )  # fmt: skip
    whole = called(*args, "whole", warm=True, OMP_NUM_THREADS="1")
    assert whole.code == 0, whole.err
    cut = called(*args, "cut", warm=True, DRIVE="step 2 1 kill", OMP_NUM_THREADS="1")
    assert cut.code == 0, cut.err
    assert re.search("training mitos-rcnn from scratch .* 1 of them done, .*2 processes", cut.err)
    assert_equal_runs(tmp_path / "whole", tmp_path / "cut")
