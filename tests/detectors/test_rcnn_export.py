"""Exported two-stage models: they find what their weights find, and anything else is one line."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli, tree
from rendered import Cell, Source, card, paint, write_dataset
from torch import nn

from converters.errors import InputError, MissingPackageError, OptionError
from mitoyolo.detectors import rcnn_export
from mitoyolo.detectors.base import load_detector
from mitoyolo.detectors.card import Card
from mitoyolo.detectors.exported import CARD_FILE, model_file
from mitoyolo.detectors.rcnn import write_weights
from mitoyolo.detectors.rcnn_models import BUILDERS, SQUASHED, Architecture, build
from mitoyolo.export import export
from mitoyolo.images import write_rgb

FORMATS = ("openvino", "onnx", "torchscript")
TWO = ("mitosis", "imposter")
TILES = list(np.random.default_rng(0).integers(90, 255, (2, 64, 96, 3), dtype=np.uint8))
"""Noise: on blank tissue random layers would tell no place from another."""


def lively(model: str, classes: tuple[str, ...], imgsz: int) -> tuple[nn.Module, Architecture]:
    """A network that finds much and scores it differently: its last layers' weights are of a size
    as if trained."""
    architecture = Architecture(
        model=model, classes=classes, imgsz=imgsz, anchors=(8.0, 16.0, 32.0)
    )
    torch.manual_seed(0)
    network = build(architecture).eval()
    image = torch.from_numpy(TILES[0].copy()).permute(2, 0, 1).float() / 255
    for name, module in network.named_modules():
        if name.endswith(("cls_logits", "cls_score", "bbox_pred")):
            module.register_forward_hook(Scaled(0.3 if name.endswith("bbox_pred") else 1.0))
    with torch.no_grad():
        network([image])
    return network, architecture


class Scaled:
    """A hook that shifts and scales a layer at its first call: each channel's mean is 0 then, and
    the deviation as told."""

    def __init__(self, aim: float) -> None:
        self.aim: float | None = aim

    def __call__(self, layer: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
        if self.aim is None:
            return None
        channels = output.transpose(0, 1).flatten(1)
        means = channels.mean(1)
        scale, self.aim = self.aim / (channels - means[:, None]).std(), None
        layer.weight.data.mul_(scale)
        layer.bias.data.sub_(means).mul_(scale)
        return layer.forward(*inputs)


def weights_of(path: Path, model: str, own: Card | None, imgsz: int = 96) -> Path:
    network, architecture = lively(model, own.classes if own else TWO, imgsz)
    write_weights(path, network, architecture, own)
    return path


def exported(folder: Path, model: str) -> dict[str, Path]:
    own = card(family=model, classes=TWO, imgsz=96, threshold=0.2)
    weights = weights_of(folder / "best.pt", model, own)
    return {"pt": weights} | {name: export(weights, name) for name in FORMATS}


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The name of each format -> the folder of an export of MITOS-RCNN; `pt` -> the weights."""
    return exported(tmp_path_factory.mktemp("mitos-rcnn"), "mitos-rcnn")


# --- what an export finds ---------------------------------------------------------------------


def same_detections(paths: dict[str, Path]) -> None:
    """To 0.001 px and a score of 0.00001, whatever the number, size and shape of the tiles; but for
    one in fifty: where two boxes overlap by just the limit, or the edge of a box lies half way
    between two cells, the last bit of a float decides."""
    weights = load_detector(paths["pt"])
    cases = [(TILES, None), (TILES[:1], 128), ([np.ascontiguousarray(TILES[1][:50, :70])], None)]
    expected = [weights.predict(*case) for case in cases]
    rows = np.concatenate(expected[0])
    assert np.ptp(rows[:, 4]) > 0.1 and set(rows[:, 5]) == {0, 1}
    for name in FORMATS:
        other = load_detector(paths[name])
        assert (other.card, other.classes, other.imgsz) == (weights.card, weights.classes, 96)
        for case, wanted in zip(cases, expected, strict=True):
            for mine, theirs in zip(wanted, other.predict(*case), strict=True):
                assert len(mine) == len(theirs) > 50
                assert (np.diff(theirs[:, 4]) <= 0).all()
                apart = (np.abs(mine[:, None] - theirs) * [1, 1, 1, 1, 100, 1]).max(axis=2)
                shares = [(apart.min(axis=axis) < 0.001).mean() for axis in (0, 1)]
                assert min(shares) >= 0.98, name


@pytest.mark.filterwarnings("error")  # the user sees none
def test_an_export_finds_what_its_weights_find(exports: dict[str, Path]) -> None:
    same_detections(exports)


@pytest.mark.filterwarnings("error")
def test_so_does_one_with_a_pyramid_that_keeps_the_shape(tmp_path: Path) -> None:
    same_detections(exported(tmp_path, "faster-rcnn"))


def test_the_folder_holds_model_card_and_provenance(exports: dict[str, Path]) -> None:
    files = {
        "openvino": {"best.xml", "best.bin"},
        "onnx": {"best.onnx"},
        "torchscript": {"best.torchscript"},
    }
    for name in FORMATS:
        found = {path.name for path in exports[name].iterdir()}
        assert found == files[name] | {"run.json", CARD_FILE}


def test_the_same_weights_give_the_same_bytes(exports: dict[str, Path], tmp_path: Path) -> None:
    """The other formats only from process to process: within one, their names are numbered on."""
    assert tree(export(exports["pt"], "onnx", out=tmp_path / "o")) == tree(exports["onnx"])


@pytest.mark.parametrize("model", BUILDERS)
def test_what_is_squashed_is_what_the_network_squashes(model: str) -> None:
    with torch.device("meta"):
        network = build(Architecture(model=model, classes=TWO, imgsz=64, anchors=(8.0,)))
    assert bool(network.transform.fixed_size) == (model in SQUASHED)


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that find nothing on a blank tile, on which a model is traced, but do on others."""
    network, architecture = lively("mitos-rcnn", ("mitosis",), 64)
    own = card(family="mitos-rcnn", imgsz=64)
    predictor: Any = network.roi_heads.box_predictor
    with torch.no_grad():
        predictor.cls_score.weight.zero_()
        predictor.cls_score.bias.copy_(torch.tensor([50.0, 0.0]))
    path = tmp_path_factory.mktemp("silent") / "best.pt"
    write_weights(path, network, architecture, own)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_found_is_no_row(silent: Path, name: str) -> None:
    found = load_detector(export(silent, name)).predict([paint(64, 64, [])])
    assert [rows.shape for rows in found] == [(0, 6)]


def test_val_and_detect_take_an_export_like_its_weights(
    exports: dict[str, Path], tmp_path: Path, cli: Cli
) -> None:
    cells = (Cell(20, 30, 0.3), Cell(70, 40, 0.9))
    sources = [Source(name, name, cells) for name in ("train", "val", "test")]
    data = write_dataset(tmp_path / "d", sources, labels=TWO)
    write_rgb(tmp_path / "image.png", paint(100, 64, [Cell(50, 50, 0.3)]))
    counts, lines = set(), set()
    for model in exports.values():
        given = ("--weights", model, "--overwrite")
        scored = cli("val", "--data", data, *given, "--out", tmp_path / "val")
        assert scored.code == 0, scored.err
        lines.add(scored.out)
        shown = cli("detect", tmp_path / "image.png", *given, "--out", tmp_path / "o", "--mpp", 0.5)
        assert shown.code == 0, shown.err
        counts.add(json.loads((tmp_path / "o" / "image" / "summary.json").read_text())["count"])
    assert len(lines) == len(counts) == 1 and 0 not in counts


# --- what cannot be made or run ---------------------------------------------------------------


def test_an_engine_is_not_for_them_on_any_machine(silent: Path, tmp_path: Path, cli: Cli) -> None:
    failed = cli("export", "--weights", silent, "--format", "engine", "--out", tmp_path / "e")
    said = "--format engine: these weights have no such form; give one of openvino, onnx, torchscr"
    assert failed.code == 2 and said in failed.error
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_a_missing_package_names_the_extra(
    silent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingPackageError, match=rf"{name} needs onnx: pip install '\.\[deploy"):
        export(silent, name, out=tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_weights_of_an_unfinished_training_are_refused(tmp_path: Path) -> None:
    path = weights_of(tmp_path / "last.pt", "mitos-rcnn", None, 64)
    with pytest.raises(InputError, match=r"last\.pt: .*not finished.*no card.*--resume"):
        export(path, "torchscript")


def test_another_side_is_recorded(silent: Path, tmp_path: Path) -> None:
    folder = export(silent, "torchscript", out=tmp_path / "t", imgsz=75)
    assert load_detector(folder).imgsz == 75
    assert json.loads((folder / CARD_FILE).read_text())["imgsz"] == 75


def test_torchscript_stays_on_the_cpu() -> None:
    class Doubled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    with pytest.warns(FutureWarning):
        network = torch.jit.trace(Doubled(), torch.ones(1))
    own = card(family="vgg16")
    given: dict[str, Any] = {"classes": own.classes, "card": own, "imgsz": 64}
    with pytest.raises(OptionError, match="TorchScript of vgg16 runs on the CPU alone"):
        rcnn_export.detector(network, **given, device="cuda:0")
    assert rcnn_export.detector(network, **given, device="cpu").device == "cpu"


# --- what is no export ------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("keep", [0, 0.5])
def test_a_damaged_model_is_one_line(
    exports: dict[str, Path], tmp_path: Path, name: str, keep: float, capfd: Any
) -> None:
    folder = Path(shutil.copytree(exports[name], tmp_path / "model"))
    file = model_file(folder)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(InputError, match=f"{file.name}: not a readable .*; export again") as caught:
        load_detector(folder)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().out == ""


def test_a_program_made_elsewhere_needs_trust(exports: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exports["torchscript"], tmp_path / "model"))
    (folder / CARD_FILE).unlink()
    with pytest.raises(InputError, match="add --trust"):
        load_detector(folder)
    with pytest.raises(InputError, match="lacks what Ultralytics"):
        load_detector(folder, trust=True)


@pytest.mark.parametrize("name", FORMATS)
def test_a_card_of_another_model_is_one_line(
    exports: dict[str, Path], tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(exports[name], tmp_path / "model"))
    own = load_detector(folder).card
    assert own
    (folder / CARD_FILE).write_text(json.dumps(replace(own, classes=("a",)).to_dict()))
    with pytest.raises(InputError, match=r"mitoyolo\.json is not its own; export again"):
        load_detector(folder).predict(TILES)
