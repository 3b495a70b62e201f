"""Exported models: they find what their weights find, and anything else is one line."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from rendered import Cell, card, paint

from converters.errors import InputError, MissingPackageError, OptionError
from mitoyolo.detectors.base import load_detector, weight_files
from mitoyolo.detectors.card import Card
from mitoyolo.detectors.exported import CARD_FILE, FORMATS, model_file
from mitoyolo.detectors.failures import EngineError
from mitoyolo.detectors.yolo import YoloDetector, start_model, write_start
from mitoyolo.export import export

HERE = ("openvino", "onnx", "torchscript")
"""The formats that need no GPU."""

TILES = [paint(96, 64, [Cell(20 + 7 * i, 30, 0.1 * i)]) for i in range(5)]


def confident(classes: Sequence[str] = ("mitosis", "imposter")) -> Any:
    """A model that scores places differently: its norms fit the tiles, its head is not shy."""
    model = start_model("yolov5n", None, classes, 0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of all batches, here of one
    model.train()
    with torch.no_grad():
        model(torch.from_numpy(np.stack(TILES)).permute(0, 3, 1, 2).float() / 255)
        for branch in model.model[-1].cv3:
            branch[-1].bias.zero_()
            branch[-1].weight.mul_(0.2)
    return model.eval()


def write_weights(path: Path, with_card: Card | None, classes: Sequence[str] = ()) -> Path:
    """A ``.pt`` file, with or without a card."""
    names = classes or (with_card.classes if with_card else ("mitosis", "imposter"))
    write_start(path, confident(names))
    if with_card:
        content = torch.load(path, weights_only=False)
        torch.save({**content, "mitoyolo": with_card.to_dict()}, path)
    return path


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The name of each format -> the folder of an export; `pt` -> the weights."""
    folder = tmp_path_factory.mktemp("weights")
    weights = write_weights(folder / "best.pt", card(classes=("mitosis", "imposter"), imgsz=96))
    return {"pt": weights} | {name: export(weights, name) for name in HERE}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that mitoyolo did not train."""
    return write_weights(tmp_path_factory.mktemp("plain") / "plain.pt", None)


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / folder.name))


# --- what an export finds ---------------------------------------------------------------------


@pytest.mark.filterwarnings("error")  # the user sees none
@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("imgsz", [None, 64, 160])
def test_an_export_finds_what_its_weights_find(
    exports: dict[str, Path], name: str, imgsz: int | None
) -> None:
    one, other = load_detector(exports["pt"]), load_detector(exports[name])
    for tiles in (TILES, TILES[:1], [np.ascontiguousarray(t[:50, :70]) for t in TILES[:2]]):
        same_detections(one.predict(tiles, imgsz), other.predict(tiles, imgsz))
    assert (other.card, other.classes, other.imgsz) == (one.card, one.classes, 96)


def same_detections(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> None:
    """Each has its like, to 0.05 px and a score of 0.0005, but for one in fifty: where two boxes
    overlap by just the limit, the last bit of a float decides which one stays."""
    for mine, theirs in zip(one, other, strict=True):
        assert len(mine) > 40
        assert np.ptp(mine[:, 4]) > 0.1 and set(mine[:, 5]) == {0, 1}
        apart = (np.abs(mine[:, None] - theirs) * [1, 1, 1, 1, 100, 1000]).max(axis=2)
        assert (apart.min(axis=0) < 0.05).mean() > 0.98 < (apart.min(axis=1) < 0.05).mean()


def test_the_folder_or_the_file_in_it_is_the_model(exports: dict[str, Path]) -> None:
    for name in HERE:
        file = exports[name] / f"best{FORMATS[name].suffix}"
        assert model_file(exports[name]) == model_file(file) == file
        assert load_detector(file).card == load_detector(exports[name]).card


def test_the_files_that_decide_what_is_found(exports: dict[str, Path]) -> None:
    assert weight_files(exports["pt"]) == [exports["pt"]]
    assert [path.name for path in weight_files(exports["onnx"])] == ["best.onnx", CARD_FILE]
    names = [path.name for path in weight_files(exports["openvino"])]
    assert names == ["best.xml", "best.bin", CARD_FILE]


def test_weights_without_a_card_stay_without_one(plain: Path) -> None:
    folder = export(plain, "openvino", imgsz=96)
    assert json.loads((folder / CARD_FILE).read_text()) is None
    detector = load_detector(folder)
    assert (detector.card, detector.classes) == (None, ("mitosis", "imposter"))
    assert (detector.imgsz, load_detector(folder, imgsz=64).imgsz) == (96, 64)


# --- what may run, and where ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_data_made_elsewhere_is_read(exports: dict[str, Path], tmp_path: Path, name: str) -> None:
    folder = copied(exports[name], tmp_path)
    (folder / CARD_FILE).unlink()
    assert (load_detector(folder).card, load_detector(folder).classes[0]) == (None, "mitosis")


def test_a_program_made_elsewhere_needs_trust(exports: dict[str, Path], tmp_path: Path) -> None:
    file = copied(exports["torchscript"], tmp_path) / "best.torchscript"
    file.with_name(CARD_FILE).unlink()
    with pytest.raises(InputError, match=r"best\.torchscript: .*program.*add --trust"):
        load_detector(file)
    found = load_detector(file, trust=True).predict(TILES, 96)
    same_detections(found, load_detector(exports["pt"]).predict(TILES))


def test_an_engine_needs_a_gpu_trust_and_tensorrt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "best.engine"
    file.write_bytes(b"engine")
    with pytest.raises(OptionError, match=r"--device cpu: engine .*give a GPU's number"):
        load_detector(file)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="add --trust"):
        load_detector(file, device="0")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(
        MissingPackageError, match=r"engine needs tensorrt: pip install .* tensorrt"
    ):
        load_detector(file, device="0", trust=True)


@pytest.mark.parametrize(
    ("name", "said"), [("openvino", "openvino models do not run there; give cpu"),
                       ("onnx", "onnxruntime runs on the CPU alone")]
)  # fmt: skip
def test_a_runtime_without_the_gpu_is_a_wrong_call(
    exports: dict[str, Path], monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    with pytest.raises(OptionError, match="no such GPU"):
        load_detector(exports[name], device="7")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(OptionError, match=said):
        load_detector(exports[name], device="0")


@pytest.mark.parametrize(("name", "module"), [("openvino", "openvino"), ("onnx", "onnxruntime")])
def test_a_missing_runtime_names_the_extra(
    exports: dict[str, Path], monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    said = rf"{name} needs {module}: pip install '\.\[deploy\]' in mitoyolo's folder"
    with pytest.raises(MissingPackageError, match=said):
        load_detector(exports[name])
    with pytest.raises(MissingPackageError, match=said):
        export(exports["pt"], name, overwrite=True)


# --- what is no export ------------------------------------------------------------------------


def one_line(path: Path, said: str, **more: Any) -> None:
    with pytest.raises(InputError, match=said) as caught:
        load_detector(path, **more)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("keep", [0, 0.5])
def test_a_damaged_model_is_one_line(
    exports: dict[str, Path], tmp_path: Path, name: str, keep: float, capfd: Any
) -> None:
    folder = copied(exports[name], tmp_path)
    file = model_file(folder)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    one_line(folder, rf"best\{FORMATS[name].suffix}: (not a readable|lacks what).*; export")
    assert capfd.readouterr() == ("", "")


def test_openvinos_weights_belong_to_it(exports: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(exports["openvino"], tmp_path)
    (folder / "best.bin").unlink()
    one_line(folder, r"best\.xml: not a readable openvino model \(\w+\); export again")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", r"mitoyolo\.json: expected a JSON object"),
        ("{", r"mitoyolo\.json, line 1.*: not valid JSON"),
        ("{}", r"mitoyolo\.json: .*no family, classes"),
        (json.dumps(card(classes=("a", "b")).to_dict()), r"json: names the classes a, b, best\.on"),
        (json.dumps({**card().to_dict(), "threshold": "high"}), "damaged"),
    ],
)
def test_a_card_of_another_shape_is_one_line(
    exports: dict[str, Path], tmp_path: Path, text: str, said: str
) -> None:
    folder = copied(exports["onnx"], tmp_path)
    (folder / CARD_FILE).write_text(text)
    one_line(folder, said)


def test_a_folder_holds_one_model(exports: dict[str, Path], tmp_path: Path) -> None:
    one_line(tmp_path, "no exported models in this folder, expected one")
    one_line(tmp_path / "none.onnx", "no such exported model")
    folder = copied(exports["onnx"], tmp_path)
    shutil.copy(folder / "best.onnx", folder / "other.onnx")
    one_line(folder, "2 exported models")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task": "segment"}, "expected a detector exported with dynamic=True"),
        ({"args": "{'dynamic': False}"}, "expected a detector exported with dynamic=True"),
        ({"args": "{'dynamic': True, 'nms': True}"}, "without nms"),
        ({"names": "{}"}, "expected a detector"),
        ({"names": "{0:"}, "lacks what Ultralytics' exporter writes"),
        ({"imgsz": "[]"}, "lacks what"),
        ({"args": None}, "lacks what"),
    ],
)
def test_other_models_of_the_format_are_refused(
    exports: dict[str, Path], tmp_path: Path, change: dict[str, str | None], said: str
) -> None:
    model = onnx.load(exports["onnx"] / "best.onnx")
    facts = {entry.key: entry.value for entry in model.metadata_props} | change
    onnx.helper.set_model_props(model, {key: v for key, v in facts.items() if v is not None})
    onnx.save(model, tmp_path / "other.onnx")
    one_line(tmp_path / "other.onnx", said)


def test_what_a_runtime_raises_is_one_line() -> None:
    def network(images: torch.Tensor) -> None:
        raise ValueError(f"{len(images)} images are too many\nmore")

    detector = YoloDetector(network, classes=("mitosis",), card=None, imgsz=64, device="cpu")
    with pytest.raises(EngineError, match="ValueError: 5 images are too many; --debug"):
        detector.predict(TILES)
