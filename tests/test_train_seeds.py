"""Several seeds: a run each, and how much they differ."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Cli
from rendered import write_dataset
from test_train import OPTIONS, sources

from converters.errors import InputError, MitoyoloError
from converters.files import read_json, write_json
from mitoyolo.detectors.checkpoint import read_checkpoint
from mitoyolo.jobs import RUN_FILE
from mitoyolo.train import BEST, INDEX, TrainOptions, train
from mitoyolo.train_seeds import SCORES, spread, train_seeds

# --- the numbers ------------------------------------------------------------------------------


def test_the_spread_is_that_of_a_sample() -> None:
    found = spread(
        {seed: dict.fromkeys(SCORES, value) for seed, value in ((0, 0.5), (3, 0.7), (1, 0.9))}
    )
    assert found["seeds"] == [0, 3, 1]
    for name in SCORES:
        assert found[name] == {
            "mean": pytest.approx(0.7), "sd": pytest.approx(0.2), "min": 0.5, "max": 0.9,
            "values": [0.5, 0.7, 0.9],
        }  # fmt: skip


def test_one_undefined_score_leaves_the_spread_undefined() -> None:
    runs: dict[int, dict[str, Any]] = {
        0: {"val_f1": 0.5, "val_ap": 0.0}, 1: {"val_f1": None, "val_ap": 0.2},
    }  # fmt: skip
    found = spread(runs)
    assert found["val_f1"] == {
        "mean": None, "sd": None, "min": None, "max": None, "values": [0.5, None],
    }  # fmt: skip
    assert (found["val_ap"]["mean"], found["val_ap"]["min"]) == (0.1, 0.0)


# --- how the runs follow each other -----------------------------------------------------------


@dataclass
class Training:
    """A training that takes no time, and what it was asked for."""

    calls: list[tuple[Path, TrainOptions, bool]]
    ends: dict[int, Any]

    def __call__(
        self, data: Path, run: Path, options: TrainOptions, *, resume: bool
    ) -> Path | None:
        self.calls.append((run, options, resume))
        end = self.ends.get(options.seed)
        if isinstance(end, Exception):
            raise end
        if end == "stopped":
            return None
        write_json(run / RUN_FILE, {})
        write_json(run / INDEX, dict.fromkeys(SCORES, end))
        return run / BEST

    @property
    def seeds(self) -> list[int]:
        return [options.seed for _, options, _ in self.calls]


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    fake = Training([], {0: 0.5, 1: 0.6, 2: 0.7})
    monkeypatch.setattr("mitoyolo.train_seeds.train", fake)
    return fake


def call(folder: Path, **more: Any) -> str | None:
    options = replace(OPTIONS, ddp=True, nproc=2, restarts=1)
    return train_seeds(Path("data"), folder, options, (0, 1, 2), **more)


def test_each_seed_gets_the_options_and_a_folder(tmp_path: Path, training: Training) -> None:
    line = call(tmp_path / "s")
    assert line == "validation F1 0.600 ± 0.100 over 3 seeds (0.500 to 0.700)"
    options = replace(OPTIONS, ddp=True, nproc=2, restarts=1)
    assert [(run, given) for run, given, _ in training.calls] == [
        (tmp_path / "s" / f"seed-{seed}", replace(options, seed=seed)) for seed in range(3)
    ]
    assert read_json(tmp_path / "s" / INDEX)["val_f1"]["values"] == [0.5, 0.6, 0.7]


def test_weights_of_a_former_seed_are_not_overwritten(tmp_path: Path, training: Training) -> None:
    call(tmp_path / "s")
    weights = tmp_path / "s" / "seed-0" / BEST
    weights.parent.mkdir()
    weights.touch()
    with pytest.raises(InputError, match="lie in each other"):
        train_seeds(Path("data"), tmp_path / "s", replace(OPTIONS, weights=str(weights)), (0, 1),
                    overwrite=True)  # fmt: skip
    assert weights.exists()


def test_an_undefined_score_is_said(tmp_path: Path, training: Training) -> None:
    training.ends[1] = None
    assert call(tmp_path / "s") == "validation F1 undefined for some of the seeds [0, 1, 2]"


@pytest.mark.parametrize(
    "end", ["stopped", InputError("the data changed", file="d.png"), MitoyoloError("out of memory")]
)
def test_what_ends_the_second_seed_keeps_the_first(
    tmp_path: Path, training: Training, end: Any
) -> None:
    folder = tmp_path / "s"
    training.ends[1] = end
    if end == "stopped":
        assert call(folder) is None
    else:
        with pytest.raises(MitoyoloError) as caught:
            call(folder)
        assert str(caught.value) == str(end)
    assert (folder / "seed-0" / INDEX).exists()
    assert not (folder / INDEX).exists()
    assert training.seeds == [0, 1]
    with pytest.raises(InputError, match=r"unfinished `train`.*--resume"):
        call(folder)
    training.ends[1] = 0.6
    training.calls.clear()
    assert call(folder, resume=True) is not None
    assert training.seeds == [0, 1, 2]
    assert all(resume for *_, resume in training.calls)  # a finished one has nothing to do
    assert read_json(folder / INDEX)["val_f1"]["mean"] == pytest.approx(0.6)


def test_wrong_input_of_the_first_seed_leaves_nothing(tmp_path: Path, training: Training) -> None:
    training.ends[0] = InputError("no mitosis")
    with pytest.raises(InputError, match="no mitosis"):
        call(tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_other_seeds_are_another_call_and_overwrite_begins_anew(
    tmp_path: Path, training: Training
) -> None:
    folder = tmp_path / "s"
    call(folder)
    summary = (folder / INDEX).read_bytes()
    with pytest.raises(InputError, match="with another seed"):
        train_seeds(Path("data"), folder, OPTIONS, (0, 1))
    assert (folder / INDEX).read_bytes() == summary
    (folder / "seed-2" / "old").write_text("")
    call(folder, overwrite=True)
    assert not (folder / "seed-2" / "old").exists()


def test_other_processes_train_and_write_nothing(
    tmp_path: Path, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RANK", 1), ("WORLD_SIZE", 2), ("LOCAL_RANK", 1), ("LOCAL_WORLD_SIZE", 2)):
        monkeypatch.setenv(name, str(value))
    training.ends = {}
    assert call(tmp_path / "s") is None
    assert training.seeds == [0, 1, 2]
    assert not (tmp_path / "s" / INDEX).exists()


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ("1", "expected at least two, each once; give one seed by --seed"),
        ("1,1", "expected at least two, each once"),
        ("a", "'a' is not seeds"),
        ("", "'' is not seeds"),
        ("0,", "'0,' is not seeds"),
        ("0,-1", "'0,-1' is not seeds"),
        ("0,1.5", "'0,1.5' is not seeds"),
        ("0,4294967296", "is not seeds"),
        ("0,1 --seed 4", "excludes --seed"),
        ("0,1 --ddp --nnodes 2", "--seeds and --nnodes; train each seed by a call of its own"),
    ],
)
def test_wrong_seeds_are_a_wrong_call(cli: Cli, tmp_path: Path, seeds: str, said: str) -> None:
    first, *rest = seeds.split(" ")
    result = cli(
        "train", "--data", tmp_path, "--model", "yolov5n", "--project", tmp_path / "runs",
        "--seeds", first, *rest,
    )  # fmt: skip
    assert (result.code, result.out) == (2, "")
    assert said in " ".join(result.err.replace("│", " ").split())
    assert not (tmp_path / "runs").exists()


def test_a_stopped_call_prints_no_result(cli: Cli, tmp_path: Path, training: Training) -> None:
    training.ends[0] = "stopped"
    call = ("train", "--data", tmp_path, "--model", "yolov5n", "--project", tmp_path / "runs")
    result = cli(*call, "--seeds", "0,1")
    assert (result.code, result.out) == (0, "")


# --- two seeds in earnest ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("seeds") / "data", sources())


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "two"
    line = train_seeds(data, folder, replace(OPTIONS, epochs=1), (3, 4))
    assert line is not None
    assert line.startswith("validation F1 ")
    return folder


def tensors(run: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(run / BEST).tensors


def test_the_summary_is_that_of_the_runs(folder: Path) -> None:
    summary = read_json(folder / INDEX)
    runs = [read_json(folder / f"seed-{seed}" / INDEX) for seed in (3, 4)]
    assert summary["seeds"] == [3, 4]
    for name in SCORES:
        assert summary[name]["values"] == [run[name] for run in runs]
        assert summary[name]["mean"] == pytest.approx(sum(run[name] for run in runs) / 2)
    assert json.loads((folder / "run.json").read_text())["arguments"]["seed"] == [3, 4]


def test_seeds_differ_and_the_same_seed_gives_the_same_tensors(
    data: Path, folder: Path, tmp_path: Path
) -> None:
    torch.rand(3)
    train(data, tmp_path / "again", replace(OPTIONS, epochs=1, seed=4))
    three, four, again = (
        tensors(run) for run in (folder / "seed-3", folder / "seed-4", tmp_path / "again")
    )
    assert four.keys() == again.keys()
    assert all(torch.equal(four[name], again[name]) for name in four)
    assert not any(
        torch.equal(three[name], four[name])
        for name in four
        if name.endswith("conv.weight") and "dfl" not in name
    )


def test_finished_seeds_are_not_done_again(
    data: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "seed-3" / BEST).stat().st_mtime_ns
    assert train_seeds(data, folder, replace(OPTIONS, epochs=1), (3, 4)) is not None
    assert (folder / "seed-3" / BEST).stat().st_mtime_ns == before
    assert capsys.readouterr().err.count("finished already") == 2
