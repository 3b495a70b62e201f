"""A table of settings: read, trained row by row, and set side by side."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Cli
from rendered import Cell, Source, write_dataset

from converters.errors import InputError
from converters.files import write_json
from mitoyolo import sweep as module
from mitoyolo import training_process
from mitoyolo.dataset import open_dataset
from mitoyolo.evaluation.metrics import evaluate
from mitoyolo.evaluation.protocols import get_protocol
from mitoyolo.inference.predictions import read_predictions
from mitoyolo.inference.tables import write_predictions
from mitoyolo.inference.truths import read_truths
from mitoyolo.stopping import Stopped
from mitoyolo.sweep import read_sweep

TABLE = """
seeds: [0, 1]
all:
  data: {data}
  model: yolov5n
  weights: none
  epochs: 1
  imgsz: 64
  set: {{mosaic: 0, fliplr: 0.5}}
rows:
  plain:
  two epochs: {{epochs: 2, set: {{mosaic: 1.0}}}}
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "table.yaml"
    file.write_text(text)
    return file


# --- the file ---------------------------------------------------------------------------------


def test_a_row_adds_to_what_all_rows_say(tmp_path: Path) -> None:
    found = read_sweep(written(tmp_path, TABLE.format(data="d")))
    assert found.seeds == (0, 1)
    plain, two = found.rows
    assert (plain.name, plain.folder, plain.said) == ("plain", "plain", "")
    assert plain.options == (
        "--data", "d", "--model", "yolov5n", "--weights", "none", "--epochs", "1", "--imgsz", "64",
        "--set", "mosaic=0", "--set", "fliplr=0.5",
    )  # fmt: skip
    assert (two.folder, two.said) == ("two-epochs", "epochs: 2, set: {mosaic: 1.0}")
    assert two.options[6:8] == ("--epochs", "2")
    assert two.options[-4:] == ("--set", "mosaic=1.0", "--set", "fliplr=0.5")


def test_a_row_can_take_back_what_all_say(tmp_path: Path) -> None:
    text = "all: {data: d, model: m, imgsz: 64}\nrows: {own size: {imgsz: null}}\n"
    (row,) = read_sweep(written(tmp_path, text)).rows
    assert row.options == ("--data", "d", "--model", "m")


def test_settings_are_passed_on_as_yaml(tmp_path: Path) -> None:
    text = "rows: {a: {data: d, model: m, set: {drops: [0.5, 0.7], select: 'no', x: true}}}"
    (row,) = read_sweep(written(tmp_path, text)).rows
    assert row.options[4:] == (
        "--set", "drops=[0.5, 0.7]", "--set", "select='no'", "--set", "x=true",
    )  # fmt: skip


def test_an_option_without_a_value_is_said_or_not(tmp_path: Path) -> None:
    text = (
        "all: {data: d, model: m}\n"
        "rows: {a: {verify: true, epochs: 8}, b: {verify: false}}"
    )  # fmt: skip
    first, second = read_sweep(written(tmp_path, text)).rows
    assert first.options[4:] == ("--epochs", "8", "--verify")
    assert second.options[4:] == ("--no-verify",)
    text = "all: {data: d, model: m, verify: true}\nrows: {a: {verify: null}}"
    (row,) = read_sweep(written(tmp_path, text)).rows
    assert row.options[4:] == ()  # as the recipe says
    (row,) = read_sweep(
        written(tmp_path, "rows: {a: {data: d, model: m, epochs: 0, batch: true}}")
    ).rows
    assert row.options[4:] == ("--epochs", "0", "--batch", "True")  # which `train` refuses


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "expected a mapping with rows"),
        ("rows: {}", "expected a mapping with rows"),
        ("rows: [", "not YAML"),
        ("rows: {a: {data: d, model: m, verify: 1}}", "verify 1: expected true or false"),
        ("rows: {a: , a: }", "a: given twice"),
        ("rows: {a: {set: {lr0: 1, lr0: 2}}}", "lr0: given twice"),
        ("rows: {a: {}}\nseed: 1", "seed: expected rows, all or seeds"),
        ("rows: {a: {}}\nseeds: []", "expected a list, each once"),
        ("rows: {a: {}}\nseeds: [0, 0]", "expected a list, each once"),
        ("rows: {a: {}}\nseeds: [true]", "whole numbers from 0 on"),
        ("rows: {a: {}}\nseeds: [-1]", "whole numbers from 0 on"),
        ("rows: {a: {model: m}}", "rows, a: no data"),
        ("rows: {a: 3}", "rows, a: expected a mapping of options"),
        ("rows: {a: {set: 3}}", "rows, a: expected a mapping of options"),
        ("all: {mosaic: 1}\nrows: {a: }", "all: mosaic: expected data, model"),
        ("all: {data: d, model: m}\nrows: {a b: , a-b: }", "two rows would have the folder a-b"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_sweep(written(tmp_path, text))
    assert message in str(caught.value)


# --- the call ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = [
        Source(f"s{i}", split, tuple(Cell(x, 32) for x in (20, 50, 80)), case=f"c{i}")
        for i, split in enumerate(("train", "train", "val", "val", "val", "test"))
    ]
    return write_dataset(tmp_path_factory.mktemp("sweep") / "data", sources)


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Trainings that take no time; two epochs find one mitosis more than one does."""
    commands: list[list[str]] = []

    def train(command: list[str]) -> int:
        run = Path(option(command, "--project")) / "run"
        if not (run / "summary.json").exists():
            commands.append(command)
            write_json(run / "summary.json", {"epochs": int(option(command, "--epochs"))})
            write_json(run / "run.json", {"training_s": 60.0 * int(option(command, "--epochs"))})
        return 0

    def val(data: Path, best: Path, *, split: str, out: Path, device: str) -> None:
        assert device == "cpu"
        out.mkdir(parents=True, exist_ok=True)
        epochs = module.read_json(best.parents[1] / "summary.json")["epochs"]
        sources = {tile.source for tile in open_dataset(data).of_split(split)}
        found = {
            source: np.array([[x, 32, 16, 16, 0.9, 0] for x in (20, 50, 80)[: epochs + 1]])
            for source in sources
        }
        write_predictions(out / "predictions.csv", found, ["mitosis"])
        truths = read_truths(data, split=split)
        fields = truths.fields(read_predictions(out / "predictions.csv", truths))
        metrics = evaluate(fields, get_protocol("centroid"), 0.5, "val split")
        write_json(out / "metrics.json", metrics)

    monkeypatch.setattr(training_process, "run_program", train)
    monkeypatch.setattr(module, "val", val)
    return commands


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "table.csv").open() as file:
        return list(csv.DictReader(file))


def test_rows_are_trained_scored_and_set_side_by_side(
    data: Path, tmp_path: Path, trained: list[list[str]], cli: Cli
) -> None:
    table = written(tmp_path, TABLE.format(data=data))
    done = cli("sweep", table, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert done.out.strip() == str(tmp_path / "out" / "table.md")
    assert [(option(c, "--epochs"), option(c, "--seed")) for c in trained] == [
        ("1", "0"), ("2", "0"), ("1", "1"), ("2", "1"),
    ]  # fmt: skip
    plain, two = rows(tmp_path / "out")
    assert (plain["F1"], two["F1"]) == ("0.8", "1.0")
    assert plain["against plain"] == ""
    assert two["against plain"] == "+0.200"
    assert (two["seeds"], two["F1 of seeds"], two["training, min"]) == (
        "0, 1",
        "1.000 ± 0.000",
        "2.0",
    )
    assert "val split" in (tmp_path / "out" / "table.md").read_text()
    more = TABLE.format(data=data) + "  three: {epochs: 3}\n"
    trained.clear()
    assert cli("sweep", written(tmp_path, more), "--out", tmp_path / "out").code == 0
    assert [option(c, "--epochs") for c in trained] == ["3", "3"]
    assert len(rows(tmp_path / "out")) == 3
    done = cli("sweep", table, "--out", tmp_path / "out", "--split", "test")
    assert (done.code, len(trained)) == (0, 2)
    assert "test split" in (tmp_path / "out" / "table.md").read_text()


def test_a_row_that_fails_is_left_out_and_told(
    data: Path, tmp_path: Path, trained: list[list[str]], cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    train = training_process.run_program
    monkeypatch.setattr(
        training_process, "run_program", lambda c: 1 if option(c, "--epochs") == "1" else train(c)
    )
    done = cli("sweep", written(tmp_path, TABLE.format(data=data)), "--out", tmp_path / "out")
    assert done.code == 1
    assert "2 of 4 trainings left out" in done.err.replace("\n", " ")
    (row,) = rows(tmp_path / "out")
    assert (row["setting"], row["against plain"]) == ("two epochs", "")


def test_a_stopped_call_leaves_the_table_of_whole_seeds(
    data: Path, tmp_path: Path, trained: list[list[str]], cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    train = training_process.run_program

    def stop(command: list[str]) -> int:
        if option(command, "--seed") == "1":
            raise Stopped
        return train(command)

    monkeypatch.setattr(training_process, "run_program", stop)
    done = cli("sweep", written(tmp_path, TABLE.format(data=data)), "--out", tmp_path / "out")
    assert done.out == ""
    assert "stopped; the same call goes on" in done.err
    assert [row["seeds"] for row in rows(tmp_path / "out")] == ["0", "0"]


def test_other_images_are_not_paired(
    data: Path, tmp_path: Path, trained: list[list[str]], cli: Cli
) -> None:
    sources = [
        Source(f"t{i}", split, (Cell(20, 32),), case=f"c{i}")
        for i, split in enumerate(("train", "val"))
    ]
    other = write_dataset(tmp_path / "other", sources)
    text = TABLE.format(data=data) + f"  elsewhere: {{data: {other}}}\n"
    assert cli("sweep", written(tmp_path, text), "--out", tmp_path / "out").code == 0
    assert rows(tmp_path / "out")[2]["against plain"] == ""


def test_a_real_row(data: Path, tmp_path: Path, cli: Cli) -> None:
    text: Any = TABLE.format(data=data).replace("[0, 1]", "[0]").partition("  two epochs")[0]
    done = cli("sweep", written(tmp_path, text), "--out", tmp_path / "out", "--quiet")
    assert done.code == 0, done.err
    (row,) = rows(tmp_path / "out")
    assert row["setting"] == "plain"
    assert (tmp_path / "out" / "plain" / "seed-0" / "val" / "report.html").exists()
