"""Folds: every case scored once, by a model that was neither trained nor chosen on it."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Cli, tree
from rendered import Cell, Source, write_dataset
from test_train import OPTIONS

from converters.errors import InputError, MitoyoloError, OptionError
from converters.files import read_json, write_json
from mitoyolo.dataset import Dataset, open_dataset
from mitoyolo.folds import deal_folds, splits_of, write_fold
from mitoyolo.inference.tables import write_predictions
from mitoyolo.jobs import RUN_FILE
from mitoyolo.thinning import thinned
from mitoyolo.train import INDEX, TrainOptions
from mitoyolo.train_folds import at_common_threshold, train_folds

CASES = {"a": 6, "b": 5, "c": 4, "d": 3, "e": 2, "f": 0}
"""Mitoses."""


def of_case(case: str, mitoses: int) -> Source:
    rng = np.random.default_rng(ord(case))
    cells = tuple(Cell(int(x), int(y)) for x, y in rng.permutation(16)[:mitoses, None] * [14, 0]
                  + [20, 20]) if mitoses else ()  # fmt: skip
    return Source(case, "train" if case < "e" else "test", cells, width=256, height=64, case=case)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = [of_case(case, mitoses) for case, mitoses in CASES.items()]
    return write_dataset(tmp_path_factory.mktemp("folds") / "data", sources)


@pytest.fixture
def dataset(data: Path) -> Dataset:
    return open_dataset(data)


# --- dealing and writing ----------------------------------------------------------------------


def test_every_case_is_in_one_fold_and_the_mitoses_are_balanced(dataset: Dataset) -> None:
    fold_of = deal_folds(dataset, 3, seed=0)
    assert fold_of.keys() == CASES.keys()
    of_fold = {fold: sum(CASES[c] for c, f in fold_of.items() if f == fold) for fold in (1, 2, 3)}
    assert sorted(of_fold.values()) == [6, 7, 7]
    assert len(set(deal_folds(dataset, 6, seed=0).values())) == 6


def test_a_case_is_scored_once_and_chosen_by_once() -> None:
    fold_of = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 1}
    splits = [splits_of(fold_of, fold) for fold in (1, 2, 3, 4)]
    for case in fold_of:
        assert sorted(each[case] for each in splits) == ["test", "train", "train", "val"]
    assert splits[3] == {"a": "val", "b": "train", "c": "train", "d": "test", "e": "val"}


@pytest.mark.parametrize("folds", [0, 2, 7])
def test_too_few_or_too_many_folds(dataset: Dataset, folds: int) -> None:
    with pytest.raises(OptionError, match=f"--folds {folds}: expected 3 to 6, the cases of"):
        deal_folds(dataset, folds, seed=0)


def test_a_fold_is_the_data_set_with_other_splits(dataset: Dataset, tmp_path: Path) -> None:
    splits = splits_of(deal_folds(dataset, 3, seed=0), 2)
    write_fold(dataset, tmp_path / "fold", splits)
    fold = open_dataset(tmp_path / "fold")
    assert {tile.name for tile in fold.tiles} == {tile.name for tile in dataset.tiles}
    assert {tile.case: tile.split for tile in fold.tiles} == splits
    assert fold.truths == dataset.truths
    assert fold.block == dataset.block
    old = {tile.name: tile for tile in dataset.tiles}
    for tile in fold.tiles:
        before, after = dataset.image_path(old[tile.name]), fold.image_path(tile)
        assert after.stat().st_ino == before.stat().st_ino
        label = f"{tile.name}.txt"
        assert (fold.root / "labels" / tile.split / label).read_bytes() == (
            dataset.root / "labels" / old[tile.name].split / label
        ).read_bytes()
    first = tree(tmp_path / "fold")
    write_fold(dataset, tmp_path / "fold", splits)  # as after a kill
    assert tree(tmp_path / "fold") == first


def test_copies_where_the_disk_has_no_links(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    splits = splits_of(deal_folds(dataset, 3, seed=0), 1)
    write_fold(dataset, tmp_path / "linked", splits)
    monkeypatch.setattr("os.link", refuse)
    write_fold(dataset, tmp_path / "copied", splits)
    assert tree(tmp_path / "copied") == tree(tmp_path / "linked")


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_background_is_thinned_where_it_is_trained_on_alone(
    dataset: Dataset, tmp_path: Path, share: float
) -> None:
    splits = splits_of(deal_folds(dataset, 3, seed=0), 1)
    write_fold(dataset, tmp_path / "fold", splits)
    fold = open_dataset(tmp_path / "fold")
    thin = thinned(fold, share, seed=0)
    free = {tile.name for tile in fold.of_split("train") if not _label(fold, tile).read_text()}
    unseen = {tile.name for tile in thin.unseen}
    assert unseen <= free and len(free - unseen) == round(share * len(free))
    assert {tile.name for tile in thin.tiles} == {tile.name for tile in fold.tiles} - unseen
    assert thinned(fold, 1, seed=0) == fold


def _label(dataset: Dataset, tile: Any) -> Path:
    return dataset.root / "labels" / tile.split / f"{tile.name}.txt"


def test_data_without_all_its_tiles_cannot_be_dealt(dataset: Dataset, tmp_path: Path) -> None:
    copy = replace(dataset.tiles[0], name="turned", split="train")
    with pytest.raises(InputError, match="holds copies of training tiles"):
        deal_folds(replace(dataset, others=(copy,)), 3, seed=0)
    with pytest.raises(InputError, match="holds copies of training tiles"):
        deal_folds(replace(dataset, recoloured=(copy,)), 3, seed=0)
    unlabelled = replace(copy, split="unlabelled")
    assert deal_folds(replace(dataset, others=(unlabelled,)), 3, seed=0)
    write_json(tmp_path / "report.json", {"background_tiles_left_out": 3})
    with pytest.raises(InputError, match="lacks mitosis-free tiles"):
        deal_folds(replace(dataset, root=tmp_path), 3, seed=0)


# --- one threshold for all --------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.0, 0.013, 0.4, 0.5, 0.97, 1.0])
def test_scores_are_stretched_so_that_the_same_ones_count(threshold: float) -> None:
    scores = np.sort(np.r_[np.linspace(0, 1, 101), threshold, np.nextafter(threshold, 0)])
    found = np.zeros((len(scores), 6))
    found[:, 4] = scores.clip(0, 1)
    moved = at_common_threshold(found, threshold)[:, 4]
    assert ((moved >= 0.5) == (found[:, 4] >= threshold)).all()
    assert (np.diff(moved) >= 0).all()
    assert moved.min() >= 0 and moved.max() <= 1
    assert (found[:, 4] == scores.clip(0, 1)).all()


# --- the command ------------------------------------------------------------------------------


@dataclass
class Training:
    """A training that takes no time, a model that finds every second mitosis, and one thing that
    is none, both at a threshold of its own."""

    calls: list[tuple[Path, Path, TrainOptions, bool]]
    end: Any = None

    def train(self, data: Path, run: Path, options: TrainOptions, *, resume: bool) -> Path | None:
        self.calls.append((data, run, options, resume))
        if len(self.calls) == 2 and self.end:
            if self.end == "stopped":
                return None
            raise self.end
        write_json(run / RUN_FILE, {})
        return run / "weights" / "best.pt"

    def val(self, data: Path, best: Path, *, split: str, out: Path, device: str) -> None:
        assert (split, device) == ("test", "cpu")
        dataset = open_dataset(data)
        threshold = 0.1 * int(data.parent.name[-1])
        found = {}
        for tile in dataset.of_split("test"):
            marks = [t for t in dataset.truths if t.source == tile.source][::2]
            good = [[t.x, t.y, 16, 16, threshold + 0.01, 0] for t in marks]
            found[tile.source] = np.array(
                [*good, [200, 60, 16, 16, threshold, 0], [5, 60, 16, 16, threshold - 0.01, 0]]
            )
        out.mkdir(parents=True)
        write_predictions(out / "predictions.csv", found, ["mitosis"])
        tp, fp, fn = 1, 2, 3
        write_json(
            out / "metrics.json",
            {"threshold": threshold, "f1": 0.5, "tp": tp, "fp": fp, "fn": fn},
        )


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    fake = Training([])
    monkeypatch.setattr("mitoyolo.train_folds.train", fake.train)
    monkeypatch.setattr("mitoyolo.train_folds.val", fake.val)
    return fake


def call(data: Path, folder: Path, **more: Any) -> str | None:
    return train_folds(data, folder, replace(OPTIONS, device="cpu"), 3, **more)


def test_all_cases_are_scored_together(data: Path, tmp_path: Path, training: Training) -> None:
    line = call(data, tmp_path / "k")
    found = sum(-(-mitoses // 2) for mitoses in CASES.values())
    f1 = 2 * found / (found + len(CASES) + sum(CASES.values()))
    assert line is not None
    assert line.startswith(f"out-of-fold F1 {f1:.3f} (95 % ")
    assert line.endswith(
        f": {found} found, {len(CASES)} false, {sum(CASES.values()) - found} missed in 3 folds"
    )
    summary = read_json(tmp_path / "k" / INDEX)
    assert (summary["tp"], summary["fp"]) == (found, len(CASES))
    assert summary["folds"]["2"]["threshold"] == pytest.approx(0.2)
    assert sorted(c for fold in summary["folds"].values() for c in fold["cases"]) == sorted(CASES)
    metrics = read_json(tmp_path / "k" / "out-of-fold" / "metrics.json")
    assert (metrics["split"], metrics["cases"], metrics["threshold"]) == ("all", len(CASES), 0.5)
    assert (tmp_path / "k" / "out-of-fold" / "report.html").exists()


def test_two_of_them_are_compared_case_by_case(
    data: Path, tmp_path: Path, training: Training, cli: Cli
) -> None:
    call(data, tmp_path / "k")
    pooled = tmp_path / "k" / "predictions.csv"
    with pooled.open() as file:
        better = [row for row in csv.reader(file) if row[2] != "60.0"]
    (tmp_path / "better.csv").write_text("\n".join(map(",".join, better)))
    done = cli("evaluate", "--truth", data, "--predictions", tmp_path / "better.csv", "--against",
               pooled, "--split", "all", "--threshold", 0.5, "--json")  # fmt: skip
    assert done.code == 0, done.err
    metrics = json.loads(done.out)
    assert (metrics["fp"], metrics["against"]["fp"]) == (0, len(CASES))
    assert metrics["against"]["f1_difference"] > 0


@pytest.mark.parametrize(
    "end", ["stopped", InputError("no mitosis", file="d.png"), MitoyoloError("out of memory")]
)
def test_what_ends_the_second_fold_keeps_the_first(
    data: Path, tmp_path: Path, training: Training, end: Any
) -> None:
    training.end = end
    if end == "stopped":
        assert call(data, tmp_path / "k") is None
    else:
        with pytest.raises(MitoyoloError) as caught:
            call(data, tmp_path / "k")
        assert str(caught.value) == str(end)
    assert (tmp_path / "k" / "fold-1" / "scores" / "metrics.json").exists()
    assert not (tmp_path / "k" / INDEX).exists()
    training.end = None
    training.calls.clear()
    folder = tmp_path / "k" / "fold-1" / "scores"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert call(data, tmp_path / "k", resume=True)
    assert [run.parent.name for _, run, *_ in training.calls] == ["fold-1", "fold-2", "fold-3"]
    assert all(resume for *_, resume in training.calls)


def test_wrong_input_of_the_first_fold_leaves_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any, **named: Any) -> None:
        raise InputError("no such weights")

    monkeypatch.setattr("mitoyolo.train_folds.train", refuse)
    with pytest.raises(InputError, match="no such weights"):
        call(data, tmp_path / "k")
    assert not (tmp_path / "k").exists()


def test_copies_cannot_be_thinned(dataset: Dataset) -> None:
    copy = replace(next(tile for tile in dataset.tiles if tile.split == "train"), name="copy")
    with pytest.raises(InputError, match="--background cannot tell apart"):
        thinned(replace(dataset, others=(copy,)), 0.5, seed=0)


def test_a_real_training_a_fold(
    data: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []

    def train_verifier(dataset: Dataset, *_: Any) -> None:
        shown.append(len(dataset.of_split("train")))

    monkeypatch.setattr("mitoyolo.detectors.verifier_train.train_verifier", train_verifier)
    arguments = ("train", "--data", data, "--model", "yolov5n", "--weights", "none", "--epochs", 1,
                 "--batch", 4, "--imgsz", 64, "--device", "cpu", "--folds", 3, "--background", 0.5,
                 "--project", tmp_path, "--name", "k")  # fmt: skip
    done = cli(*arguments)
    assert done.code == 0, done.err
    assert done.out.startswith("out-of-fold F1 ")
    summary = read_json(tmp_path / "k" / INDEX)
    assert summary["tp"] + summary["fn"] == sum(CASES.values())
    for fold in (1, 2, 3):
        run = read_json(tmp_path / "k" / f"fold-{fold}" / "run" / "run.json")
        assert run["arguments"]["epochs"] == 1
        fold_data = open_dataset(tmp_path / "k" / f"fold-{fold}" / "data")
        thin, whole = (each.of_split("train") for each in (thinned(fold_data, 0.5, 0), fold_data))
        assert len(thin) < len(whole)
        assert f"from scratch on {len(thin)} tiles" in done.err
        assert shown[fold - 1] == len(whole)  # the verifier sees all of them
    again = cli(*arguments)
    assert again.out == done.out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--seeds", "0,1", "--folds", 3), "excludes --folds"),
        (("--folds", 9), "--folds 9: expected 3 to 6"),
        (("--folds", 3, "--nnodes", 2), "use --ddp --nproc N"),
    ],
)
def test_wrong_calls(
    data: Path, tmp_path: Path, cli: Cli, more: tuple[Any, ...], message: str
) -> None:
    done = cli("train", "--data", data, "--model", "yolov5n", "--project", tmp_path, *more)
    assert done.code == 2 or done.code == 1
    assert message in " ".join(done.err.replace("│", " ").split())
