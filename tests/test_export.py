"""The command `export`, and exported models in `val` and `detect`."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Cli, tree
from detectors.test_exported import HERE, write_weights
from rendered import Cell, Source, card, paint, write_dataset

from converters.errors import InputError
from mitoyolo import export as module
from mitoyolo.detectors.base import load_detector
from mitoyolo.detectors.card import card_from_dict
from mitoyolo.detectors.exported import CARD_FILE
from mitoyolo.export import export
from mitoyolo.images import write_rgb

from ultralytics.utils import LOGGER

CARD = card(classes=("mitosis",), imgsz=64, threshold=0.2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``best.pt`` in a run folder."""
    run = tmp_path_factory.mktemp("runs") / "yolov5n"
    (run / "weights").mkdir(parents=True)
    (run / "run.json").write_text("{}")
    return write_weights(run / "weights" / "best.pt", CARD)


@pytest.fixture(scope="module")
def exports(weights: Path) -> dict[str, Path]:
    """The name of each format -> its folder."""
    return {name: export(weights, name) for name in HERE}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cells = (Cell(20, 30, 0.3), Cell(70, 40, 0.9))
    sources = [Source("a", "train", cells), Source("b", "val", cells), Source("c", "test", cells)]
    return write_dataset(tmp_path_factory.mktemp("data") / "d", sources)


# --- the folder -------------------------------------------------------------------------------


def test_the_folder_holds_model_card_and_provenance(exports: dict[str, Path]) -> None:
    files = {
        "openvino": {"best.xml", "best.bin", "metadata.yaml"},
        "onnx": {"best.onnx"},
        "torchscript": {"best.torchscript"},
    }
    for name, folder in exports.items():
        assert folder.name == f"best_{name}_model"
        assert {path.name for path in folder.iterdir()} == files[name] | {"run.json", CARD_FILE}
        assert json.loads((folder / CARD_FILE).read_text()) == CARD.to_dict()
        assert json.loads((folder / "run.json").read_text())["command"] == "export"


def test_the_same_weights_give_the_same_bytes(
    weights: Path, exports: dict[str, Path], tmp_path: Path
) -> None:
    assert tree(export(weights, "onnx", out=tmp_path / "o")) == tree(exports["onnx"])


def test_another_side_is_recorded(weights: Path, tmp_path: Path) -> None:
    """Also one that Ultralytics rounds up to whole cells."""
    folder = export(weights, "torchscript", out=tmp_path / "t", imgsz=100)
    values = json.loads((folder / CARD_FILE).read_text())
    assert card_from_dict(values, "") == replace(CARD, imgsz=100)
    assert load_detector(folder).imgsz == 100


def test_a_finished_export_stands_until_overwritten(
    weights: Path, tmp_path: Path, cli: Cli
) -> None:
    call = ("export", "--weights", weights, "--format", "torchscript", "--out", tmp_path / "t")
    first = cli(*call)
    assert (first.code, first.out) == (0, f"{tmp_path / 't'}\n")
    before = (tmp_path / "t" / "best.torchscript").stat()
    assert "finished already" in cli(*call).err
    assert (tmp_path / "t" / "best.torchscript").stat() == before
    assert "another imgsz" in cli(*call, "--imgsz", 96).error
    assert cli(*call, "--imgsz", 96, "--overwrite").code == 0
    assert cli(*call, "--imgsz", 96, "--quiet").err == ""


def test_weights_are_never_overwritten_by_their_export(weights: Path, cli: Cli) -> None:
    before = weights.read_bytes()
    folder = weights.parents[1]
    done = cli("export", "--weights", weights, "--format", "torchscript", "--out", folder,
               "--overwrite")  # fmt: skip
    assert done.code == 1 and "lie in each other" in done.error
    assert weights.read_bytes() == before


def test_an_export_that_fails_leaves_no_model(
    weights: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ("export", "--weights", weights, "--format", "torchscript", "--out", tmp_path / "t")
    told: list[logging.LogRecord] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record)

    def give_up(**named: object) -> str:
        print("theirs")
        raise RuntimeError("no memory for this\nmore")

    ear = Ear()
    LOGGER.addHandler(ear)
    with monkeypatch.context() as patch:
        patch.setattr("ultralytics.utils.export.torchscript.torch2torchscript", give_up)
        failed = cli(*call)
    LOGGER.removeHandler(ear)
    assert (failed.code, failed.out, told) == (1, "", [])
    assert failed.err == f"{failed.error}\n"
    assert "RuntimeError: no memory for this; --debug" in failed.error
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["run.json"]
    assert cli(*call).code == 0


def test_what_cannot_be_made_is_said_before_any_work(
    weights: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ("export", "--weights", weights, "--out", tmp_path / "e", "--format")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = cli(*call, "engine")
    assert result.code == 1 and "made on the GPU" in result.error
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setitem(sys.modules, "tensorrt", None)
        result = cli(*call, "engine")
    assert result.code == 1 and "tensorrt: pip install '.[deploy]' tensorrt in" in result.error
    monkeypatch.setitem(sys.modules, "onnxslim", None)
    result = cli(*call, "onnx")
    assert result.code == 1
    hint = "pip install '.[deploy]' in mitoyolo's folder"
    assert result.error == f"mitoyolo: onnx needs onnxslim: {hint}"
    assert not (tmp_path / "e").exists()
    assert (
        "no such weights file" in cli("export", "--weights", "n.pt", "--format", "openvino").error
    )


def test_an_engine_is_made_on_its_gpu(
    weights: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mitoyolo.detectors.exported.find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = cli("export", "--weights", weights, "--format", "engine")
    assert result.code == 1 and "there is none here; export on that machine" in result.error


def test_an_exported_model_is_not_exported_again(weights: Path, tmp_path: Path) -> None:
    folder = export(weights, "torchscript", out=tmp_path / "t")
    for given in (folder, folder / "best.torchscript"):
        for trust in (False, True):
            with pytest.raises(InputError, match=r"exported.*; give the \.pt it was exported from"):
                export(given, "onnx", trust=trust)
    assert module.BATCH == 16


# --- used -------------------------------------------------------------------------------------


def test_val_scores_an_export_like_its_weights(
    weights: Path, exports: dict[str, Path], data: Path, tmp_path: Path, cli: Cli
) -> None:
    own = cli("val", "--data", data, "--weights", weights, "--out", tmp_path / "pt")
    assert own.code == 0, own.err
    expected = json.loads((tmp_path / "pt" / "metrics.json").read_text())
    assert expected["tp"] + expected["fp"] > 0
    for given in (*exports.values(), exports["onnx"] / "best.onnx"):
        theirs = cli("val", "--data", data, "--weights", given, "--overwrite")
        assert (theirs.code, theirs.out) == (0, own.out), theirs.err
        metrics = json.loads((weights.parents[1] / "val-test" / "metrics.json").read_text())
        assert metrics["ap"] == pytest.approx(expected["ap"], abs=1e-3)


def test_another_card_is_another_call(
    exports: dict[str, Path], data: Path, tmp_path: Path, cli: Cli
) -> None:
    folder = Path(shutil.copytree(exports["torchscript"], tmp_path / "model"))
    call = ("val", "--data", data, "--weights", folder, "--out", tmp_path / "val")
    assert cli(*call).code == 0
    card_file = folder / CARD_FILE
    card_file.write_text(json.dumps({**CARD.to_dict(), "threshold": 0.99}))
    assert "another weights_state" in cli(*call).error


def test_weights_outside_of_a_run_need_out(
    exports: dict[str, Path], data: Path, tmp_path: Path, cli: Cli
) -> None:
    folder = Path(shutil.copytree(exports["torchscript"], tmp_path / "a" / "b" / "model"))
    for given in (folder, folder / "best.torchscript"):
        result = cli("val", "--data", data, "--weights", given)
        assert result.code == 1 and "lie in no run folder; say by --out" in result.error


def test_detect_with_an_export_asks_nothing_of_the_network_and_prints_its_result(
    weights: Path, tmp_path: Path
) -> None:
    """Another process, since OpenVINO is imported once: with a telemetry package that leaves a
    trace where it is imported, and sockets that leave one where they are connected."""
    write_rgb(tmp_path / "image.png", paint(150, 90, [Cell(50, 50, 0.3)]))
    fake = tmp_path / "packages" / "openvino_telemetry"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\n")
    script = tmp_path / "offline.py"
    script.write_text(
        "import socket, sys\n"
        "def refuse(*given):\n"
        f"    open({str(tmp_path / 'trace')!r}, 'w')\n"
        "    raise OSError('no network in this test')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"
        "from mitoyolo.cli import main\n"
        "main()\n"
    )

    found_first = os.pathsep.join([str(fake.parent), os.environ.get("PYTHONPATH", "")])

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "default", script, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": found_first},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    folder, out = tmp_path / "model", tmp_path / "found"
    made = run("export", "--weights", weights, "--format", "openvino", "--out", folder)
    assert (made.returncode, made.stdout) == (0, f"{folder}\n")
    assert len(made.stderr.splitlines()) == 1 and "float32" in made.stderr
    found = run("detect", tmp_path / "image.png", "--weights", folder, "--out", out, "--mpp", 0.5)
    assert (found.returncode, found.stdout) == (0, f"{out / 'image'}\n"), found.stderr
    assert len(found.stderr.splitlines()) == 1, found.stderr
    assert json.loads((out / "image" / "summary.json").read_text())["count"] > 0
    assert not (tmp_path / "trace").exists()


def test_a_runtimes_own_complaints_are_not_shown(exports: dict[str, Path], tmp_path: Path) -> None:
    """Another process, since they go past Python to the descriptor."""
    folder = Path(shutil.copytree(exports["openvino"], tmp_path / "model"))
    (folder / "best.xml").write_text("<x/>")
    image = tmp_path / "image.png"
    write_rgb(image, paint(64, 64, []))
    call = ["detect", image, "--weights", folder, "--out", tmp_path / "out", "--mpp", "0.5"]
    done = subprocess.run(
        [sys.executable, "-m", "mitoyolo", *map(str, call)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1 and "not a readable openvino model" in done.stderr


# --- trust ------------------------------------------------------------------------------------


def test_every_command_that_loads_a_model_takes_trust(
    weights: Path, data: Path, tmp_path: Path, cli: Cli
) -> None:
    content = torch.load(weights, weights_only=False)
    content["model"].yaml["backbone"] = content["model"].yaml["backbone"][:3]
    path = tmp_path / "pruned.pt"
    torch.save(content, path)
    write_rgb(tmp_path / "image.png", paint(64, 64, []))
    calls = {
        "val": ("val", "--data", data, "--out", tmp_path / "val"),
        "detect": ("detect", tmp_path / "image.png", "--out", tmp_path / "d", "--mpp", 0.5),
        "export": ("export", "--format", "torchscript"),
    }
    for call in calls.values():
        assert "add --trust" in cli(*call, "--weights", path).error
        trusted = cli(*call, "--weights", path, "--trust")
        assert trusted.code == 0, trusted.err
    finished = cli(*calls["val"], "--weights", path)
    assert "add --trust" in finished.error
