"""Weights files: read without running what they say, and refused in one line."""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from rendered import card

from converters.errors import InputError
from mitoyolo.detectors.checkpoint import read_checkpoint
from mitoyolo.detectors.state import write_state
from mitoyolo.detectors.training import STATE
from mitoyolo.detectors.yolo import load, start_model, write_start

CLASSIC = Path(__file__).parents[2].parent / "shared" / "data" / "weights" / "yolov5n.pt"


def foreign_checkpoint(path: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
    """A pickled module of a package that is not installed, as classic YOLOv5 files are."""
    package = ModuleType("elsewhere")

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
            self.register_buffer("scratch", torch.zeros(2), persistent=False)
            self.yaml = {"nc": 2, **more}
            self.names = {1: "imposter", 0: "mitosis"}

    Model.__module__, Model.__qualname__ = "elsewhere", "Model"
    package.Model = Model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "elsewhere", package)
    torch.save({"model": Model().half(), "ema": None, "epoch": 3}, path)
    monkeypatch.delitem(sys.modules, "elsewhere")


def test_a_model_of_classes_that_are_not_installed_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "classic.pt"
    foreign_checkpoint(path, monkeypatch)
    found = read_checkpoint(path)
    assert list(found.tensors) == [
        "model.0.weight",
        "model.0.bias",
        "model.1.weight",
        "model.1.bias",
        "model.1.running_mean",
        "model.1.running_var",
        "model.1.num_batches_tracked",
    ]
    assert {tensor.dtype for tensor in found.tensors.values()} == {torch.float32}
    assert found.names == ("mitosis", "imposter")
    assert found.architecture == {"nc": 2}
    assert found.card is None


def test_averaged_weights_come_before_the_last_ones(tmp_path: Path) -> None:
    path = tmp_path / "both.pt"
    torch.save({"model": {"w": torch.zeros(1)}, "ema": {"w": torch.ones(1)}}, path)
    assert read_checkpoint(path).tensors["w"].item() == 1


class Malicious:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_cannot_run_a_command(tmp_path: Path, legacy: bool) -> None:
    path, trace = tmp_path / "bad.pt", tmp_path / "trace"
    content = {"model": {"w": torch.ones(1)}, "extra": Malicious(f"touch {trace}")}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    assert read_checkpoint(path).tensors["w"].item() == 1
    assert not trace.exists()
    torch.load(path, weights_only=False)  # the file does run it where it is trusted
    assert trace.exists()


def test_an_activation_is_not_evaluated(tmp_path: Path) -> None:
    path, trace = tmp_path / "bad.pt", tmp_path / "trace"
    model = start_model("yolov5n", None, ["mitosis"], 0)
    model.yaml["activation"] = f"__import__('os').system('touch {trace}') or torch.nn.ReLU()"
    write_start(path, model)
    with pytest.raises(InputError, match=r"activation of its own.*add --trust"):
        load(path)
    assert not trace.exists()


def test_a_model_that_is_not_its_architectures_is_loaded_where_it_is_trusted(
    tmp_path: Path,
) -> None:
    """A pruned model, say: its YAML no longer says what it is."""
    path, tiles = tmp_path / "pruned.pt", [np.full((64, 64, 3), 200, np.uint8)]
    model = start_model("yolov5n", None, ["mitosis", "imposter"], 0)
    for branch in model.model[-1].cv3:  # type: ignore[index, union-attr]
        branch[-1].bias.data.zero_()
    write_start(path, model)
    expected = load(path).predict(tiles, 64)
    model.yaml["backbone"] = model.yaml["backbone"][:3]
    write_start(path, model)
    with pytest.raises(InputError, match=r"do not fit its architecture.*; add --trust"):
        load(path)
    trusted = load(path, trust=True)
    assert (trusted.classes, trusted.card, trusted.imgsz) == (("mitosis", "imposter"), None, 640)
    assert len(expected[0]) and np.array_equal(trusted.predict(tiles, 64)[0], expected[0])


def test_a_trusted_file_runs_and_keeps_its_card(tmp_path: Path) -> None:
    path, trace = tmp_path / "best.pt", tmp_path / "trace"
    write_start(path, start_model("yolov5n", None, ["a"], 0))
    content = torch.load(path, weights_only=False)
    values = card(imgsz=96).to_dict()
    torch.save({**content, "mitoyolo": values, "x": Malicious(f"touch {trace}")}, path)
    found = load(path)
    assert (found.classes, found.imgsz) == (("mitosis",), 96) and not trace.exists()
    found = load(path, trust=True)
    assert (found.classes, found.card, found.imgsz) == (("mitosis",), card(imgsz=96), 96)
    assert trace.exists()
    torch.save({**content, "mitoyolo": card(classes=("mitosis", "b")).to_dict()}, path)
    with pytest.raises(InputError, match="expected one that detects boxes of the classes it names"):
        load(path, trust=True)


def test_what_ultralytics_cannot_load_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    foreign, state, text = tmp_path / "foreign.pt", tmp_path / "state.pt", tmp_path / "text.pt"
    foreign_checkpoint(foreign, monkeypatch)
    torch.save({"w": torch.ones(1)}, state)
    text.write_text("text")
    module = tmp_path / "module.pt"
    torch.save({"model": torch.nn.Linear(1, 1)}, module)
    said = {
        foreign: r"cannot load it \(\w+\); install what it was made with",
        state: "holds no Ultralytics model; give the best.pt",
        text: "not a readable checkpoint",
        module: "a Linear model, expected one that detects boxes",
        tmp_path / "none.pt": "no such weights file",
    }
    for path, message in said.items():
        with pytest.raises(InputError, match=message) as caught:
            load(path, trust=True)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_torchscript_archive_is_not_run_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "program.pt"
    with warnings.catch_warnings(action="ignore"):
        torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)).save(path)  # type: ignore[no-untyped-call]
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was run"))
    with pytest.raises(InputError, match=r"archive.*; give the \.pt it was exported from$"):
        read_checkpoint(path)
    for name in ("best.torchscript", "best.onnx"):
        other = path.rename(tmp_path / name)
        for read in (read_checkpoint, lambda file: load(file, trust=True)):
            with pytest.raises(InputError, match=r"exported model.*; give the \.pt it was exp"):
                read(other)
        path = other


@pytest.mark.parametrize("trust", [False, True])
def test_the_state_of_a_training_is_no_weights(tmp_path: Path, trust: bool) -> None:
    model = start_model("yolov5n", None, ["mitosis"], 0).state_dict()
    write_state(tmp_path, {"stop": False, "model": model, "ema": model, "optimizer": {}})
    path = tmp_path / STATE
    with pytest.raises(InputError, match=r"state of a training.*; give its run's best\.pt"):
        load(path, trust=trust)
    with pytest.raises(InputError, match="state of a training"):
        start_model("yolov5n", path, ["mitosis"], 0)


def test_trust_opens_the_file_that_it_is_given(tmp_path: Path) -> None:
    """Ultralytics would open or fetch yolov5nu.pt for yolov5n.pt."""
    for name, classes in (("yolov5n.pt", ["one"]), ("yolov5nu.pt", ["other", "third"])):
        write_start(tmp_path / name, start_model("yolov5n", None, classes, 0))
    assert load(tmp_path / "yolov5n.pt", trust=True).classes == ("one",)


def test_trust_deletes_no_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ultralytics would, to fetch it again, where it has a published name."""
    monkeypatch.chdir(tmp_path)
    path = Path("yolov5nu.pt")
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load(path, trust=True)
    assert path.read_bytes() == b"damaged"


@pytest.mark.parametrize("trust", [False, True])
def test_a_classic_checkpoint_is_to_train_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trust: bool
) -> None:
    path = tmp_path / "classic.pt"
    foreign_checkpoint(path, monkeypatch, anchors=[[10, 13]])
    said = r"a classic YOLOv5 checkpoint.*; train from it first: mitoyolo train --weights FILE$"
    with pytest.raises(InputError, match=said):
        load(path, trust=trust)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a readable checkpoint"),
        (b"just text\n", "not a readable checkpoint"),
        (pickle.dumps({"a": 1}), "not a readable checkpoint"),
        (None, "no such weights file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "odd.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "whole.pt"
    torch.save({"model": {"w": torch.ones(9999)}}, path)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(InputError, match="not a readable checkpoint"):
        read_checkpoint(path)


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.pt"
    torch.save({"model": None, "epoch": 1}, path)
    with pytest.raises(InputError, match="no tensors"):
        read_checkpoint(path)


def test_the_real_classic_weights_give_every_tensor_but_the_head() -> None:
    if not CLASSIC.exists():
        pytest.skip(f"no real data: {CLASSIC} is absent")
    theirs = read_checkpoint(CLASSIC).tensors
    model = start_model("yolov5n", CLASSIC, ["mitosis"], 0)
    ours = {k: v for k, v in model.state_dict().items() if not k.startswith("model.24.")}
    assert len(ours) == 342
    assert all(torch.equal(value.float(), theirs[key]) for key, value in ours.items())
