"""The models by name: what a family says, and what the commands make of it."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Cli
from rendered import card, write_dataset
from test_train import OPTIONS, sources

from converters.errors import InputError, OptionError
from mitoyolo import train as module
from mitoyolo.detectors import families, yolo, yolo_export
from mitoyolo.detectors.base import load_detector, read_weights
from mitoyolo.detectors.card import Card
from mitoyolo.detectors.exported import CARD_FILE
from mitoyolo.detectors.families import MODELS, RCNN, YOLO, family_of
from mitoyolo.detectors.recipe import read_recipe
from mitoyolo.detectors.training import Outcome, Training
from mitoyolo.detectors.yolo import start_model, write_start
from mitoyolo.export import export
from mitoyolo.train import train
from mitoyolo.train_options import TrainOptions

FAKE = "mitoyolo.detectors.of_this_test"


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("MITOYOLO_WEIGHTS", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


# --- the registry -----------------------------------------------------------------------------


def test_the_models_of_the_contract_are_there() -> None:
    assert list(MODELS) == [
        "yolov5n", "yolov5s", "yolov5m", "yolov5l", "yolov5x",
        "faster-rcnn", "faster-rcnn-x101", "vgg16", "vgg16-conv4", "mitos-rcnn",
    ]  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_a_family_names_modules_and_files(model: str) -> None:
    family = MODELS[model]
    named = [family.recipe, family.trains, family.loads, family.exports]
    assert all(name.startswith("mitoyolo.detectors.") for name in named if name)
    assert family.stride >= 1
    assert all(name.endswith((".pt", ".pth")) for name in family.pretrained)
    if model in YOLO:
        assert all(find_spec(name) for name in named if name)


def test_a_model_has_one_family() -> None:
    assert families.MODELS == YOLO | RCNN and not YOLO.keys() & RCNN
    assert family_of("mitos-rcnn", "f") is RCNN["mitos-rcnn"]


def test_neither_torch_nor_ultralytics_is_imported(cli: Cli) -> None:
    code = (
        "import sys; import mitoyolo.detectors.families, mitoyolo.cli\n"
        "sys.exit(bool({'torch', 'ultralytics', 'torchvision'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
    shown = cli("train", "--help").out
    assert all(name in shown for name in MODELS)


# --- training ---------------------------------------------------------------------------------


@dataclass
class Recipe:
    """Of a family that this test makes up."""

    batch: int = 3
    imgsz: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"lr": 0.1, "workers": 9}


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A family in the place of the R-CNNs, whose training ends at once."""
    fake: Any = ModuleType(FAKE)
    fake.asked, fake.given = [], []

    def read(model: str, name: str | None, changes: dict[str, Any]) -> Recipe:
        fake.asked.append((model, name, changes))
        return fake.recipe

    def fit(training: Training) -> Outcome:
        fake.given.append(training)
        raise InputError("it ends here")

    fake.recipe, fake.read_recipe, fake.fit = Recipe(), read, fit
    monkeypatch.setitem(sys.modules, FAKE, fake)
    family = replace(MODELS["vgg16"], recipe=FAKE, trains=FAKE, loads=FAKE, exports=FAKE)
    monkeypatch.setitem(MODELS, "vgg16", family)
    return fake


VGG = TrainOptions(model="vgg16", epochs=2, device="cpu")


def begin(data: Path, run: Path, options: TrainOptions) -> None:
    with pytest.raises(InputError, match="it ends here"):
        train(data, run, options)


def test_what_the_call_leaves_open_is_the_recipes(tmp_path: Path, made_up: Any) -> None:
    data = write_dataset(tmp_path / "d", sources())
    begin(data, tmp_path / "a", VGG)
    begin(data, tmp_path / "b", replace(VGG, batch=6, imgsz=75, accumulate=2, recipe="r"))
    made_up.recipe.imgsz = 99
    begin(data, tmp_path / "c", replace(VGG, settings={"lr": 1}))
    found = [(given.batch, given.imgsz, given.accumulate) for given in made_up.given]
    assert found == [(3, 64, 1), (6, 75, 2), (3, 99, 1)]  # to a multiple of 1: as they are
    assert all(given.recipe is made_up.recipe for given in made_up.given)
    assert made_up.asked == [("vgg16", None, {}), ("vgg16", "r", {}), ("vgg16", None, {"lr": 1})]


def test_the_recipe_is_what_a_resumed_run_is_compared_by(tmp_path: Path, made_up: Any) -> None:
    data = write_dataset(tmp_path / "d", sources())
    plan = module._prepare(data, data.parent / "run", replace(VGG, accumulate=2), 1)
    assert plan.arguments["settings"] == {"lr": 0.1}  # workers are a matter of the machine
    assert (plan.arguments["batch"], plan.arguments["accumulate"]) == (3, 2)


def test_a_recipe_may_lie_elsewhere_at_a_resume(tmp_path: Path, made_up: Any) -> None:
    data, run = write_dataset(tmp_path / "d", sources()), tmp_path / "run"

    def killed(training: Training) -> Outcome:
        raise RuntimeError("killed")

    made_up.fit = killed
    for name in ("here", "there"):
        with pytest.raises(RuntimeError, match="killed"):
            train(data, run, replace(VGG, recipe=name), resume=True)
    made_up.recipe.to_dict = lambda: {"lr": 0.2}
    with pytest.raises(InputError, match=r"with another settings\.lr; "):
        train(data, run, VGG, resume=True)


def test_yolos_own_batch_recipe_and_cells(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", sources())
    plan = module._prepare(data, data.parent / "run", replace(OPTIONS, batch=None, imgsz=65), 1)
    assert (plan.batch, plan.imgsz, plan.arguments["batch"]) == (16, 96, 16)
    assert plan.recipe == read_recipe("yolov5n", "mitosis")
    assert plan.arguments["settings"]["rot90"] is True
    assert plan.arguments["settings"]["flipud"] == 0.5


@pytest.mark.parametrize(
    ("change", "world", "said"),
    [
        ({"accumulate": 2, "model": "yolov5n"}, 1, "--accumulate 2: .*nbs; leave .*lower --batch"),
        ({}, 2, "--batch 3: 2 processes cannot share it evenly"),
        ({"batch": 8, "accumulate": 5}, 2, "--accumulate 5: a process has 4 tiles a step"),
    ],
)
def test_a_batch_that_cannot_be_split_is_refused(
    tmp_path: Path, made_up: Any, change: dict[str, Any], world: int, said: str
) -> None:
    data = write_dataset(tmp_path / "d", sources())
    with pytest.raises(OptionError, match=said):
        module._prepare(
            data, data.parent / "run", replace(VGG, **{"weights": "none", **change}), world
        )
    module._prepare(data, data.parent / "run", replace(VGG, batch=8, accumulate=4), 2)


# --- its start --------------------------------------------------------------------------------


def test_a_start_from_scratch_is_said_once(
    tmp_path: Path, made_up: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_dataset(tmp_path / "d", sources())
    begin(data, tmp_path / "run", VGG)
    said = capsys.readouterr().err
    line = "no pretrained weights found (vgg16-397923af.pth): vgg16 starts from scratch"
    assert said.count(line) == 1
    begin(data, tmp_path / "other", replace(VGG, weights="none"))  # as asked for
    assert "no pretrained" not in capsys.readouterr().err
    folder = tmp_path / "home" / ".cache" / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "vgg16-397923af.pth").write_bytes(b"weights")
    begin(data, tmp_path / "third", VGG)
    said = capsys.readouterr().err
    assert "no pretrained" not in said and "vgg16 from " in said
    assert made_up.given[-1].start == folder / "vgg16-397923af.pth"


# --- weights files ----------------------------------------------------------------------------


def rcnn_file(path: Path, **changes: Any) -> Path:
    content = {
        "epoch": 1,
        "model": {"w": torch.ones(2)},
        "architecture": {"model": "vgg16", "classes": 1},
        "mitoyolo": card(family="vgg16").to_dict(),
    }
    torch.save({**content, **changes}, path)
    return path


@pytest.mark.parametrize("trust", [False, True])
def test_the_card_chooses_who_loads(tmp_path: Path, made_up: Any, trust: bool) -> None:
    made_up.load = lambda source, **named: SimpleNamespace(source=source, card=None, **named)
    path = rcnn_file(tmp_path / "best.pt")
    found: Any = load_detector(path, imgsz=70, trust=trust)
    assert (found.device, found.imgsz, found.trust) == ("cpu", 70, trust)
    assert found.source.path == path and list(found.source.tensors) == ["w"]
    assert found.source.architecture == {"model": "vgg16", "classes": 1}
    assert found.source.card["family"] == "vgg16"


def test_a_training_without_an_end_is_known_by_its_architecture(
    tmp_path: Path, made_up: Any
) -> None:
    made_up.load = lambda source, **named: SimpleNamespace(source=source, card=None)
    found: Any = load_detector(rcnn_file(tmp_path / "last.pt", mitoyolo=None))
    assert found.source.card is None
    path = rcnn_file(tmp_path / "other.pt", mitoyolo=None, architecture={"model": "theirs"})
    assert read_weights(path)[0] is YOLO["yolov5n"]


def test_weights_without_a_card_are_yolos(tmp_path: Path) -> None:
    path = tmp_path / "plain.pt"
    write_start(path, start_model("yolov5n", None, ["mitosis"], 0))
    family, source = read_weights(path)
    assert family is YOLO["yolov5n"]
    assert load_detector(path).classes == ("mitosis",)
    path.unlink()  # what was read is not read again
    assert yolo.load(source).classes == ("mitosis",)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mitoyolo": card(family="yolov9").to_dict()}, "the model 'yolov9', expected one of yol"),
        ({"mitoyolo": {"family": ["a"]}}, r"the model \['a'\], expected one of"),
    ],
)
def test_a_file_that_nobody_loads_is_one_line(
    tmp_path: Path, changes: dict[str, Any], said: str, trust: bool
) -> None:
    path = rcnn_file(tmp_path / "best.pt", **changes)
    with pytest.raises(InputError, match=said) as caught:
        load_detector(path, trust=trust)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_file_that_only_its_code_can_read_is_yolos_where_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "best.pt"
    torch.save({"x": 1}, path)
    with pytest.raises(InputError, match="holds no tensors"):
        read_weights(path)
    assert read_weights(path, trust=True) == (YOLO["yolov5n"], path)
    given: list[tuple[object, bool]] = []

    def open_model(source: object, *, trust: bool) -> None:
        given.append((source, trust))
        raise InputError("it ends here")

    monkeypatch.setattr(yolo_export, "open_model", open_model)
    with pytest.raises(InputError, match="it ends here"):
        export(path, "torchscript", trust=True)
    assert given == [(path, True)]


# --- exports ----------------------------------------------------------------------------------


def test_an_export_of_an_unknown_model_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "best.onnx"
    file.touch()
    (tmp_path / CARD_FILE).write_text(json.dumps(card(family="other").to_dict()))
    with pytest.raises(InputError, match="weights of the model 'other', expected one of yolov5n"):
        load_detector(file)


@dataclass
class Exported:
    """What this test's exporter makes of an export."""

    network: Any
    classes: tuple[str, ...]
    card: Card | None
    imgsz: int
    device: str


def test_a_familys_own_exporter_makes_and_opens_its_exports(
    tmp_path: Path, made_up: Any, cli: Cli
) -> None:
    def make(name: str, model: torch.nn.Module, file: Path, *, imgsz: int, batch: int) -> Path:
        made_up.made = (name, imgsz, batch)
        made = file.with_suffix(f".{name}")
        with warnings.catch_warnings(action="ignore"):  # TorchScript is deprecated
            torch.jit.script(model).save(made)
        return made

    own = card(family="vgg16", classes=("a",), imgsz=50)
    made_up.open_model = lambda source, trust: (torch.nn.ReLU(), own)
    made_up.default_imgsz = lambda given: given.imgsz + 1
    made_up.make, made_up.detector = make, Exported
    made_up.makes = {"torchscript": ()}
    made_up.facts = lambda file, given: (("a",), 7)
    path = rcnn_file(tmp_path / "best.pt", mitoyolo=own.to_dict())
    done = cli("export", "--weights", path, "--format", "torchscript")
    assert (done.code, made_up.made) == (0, ("torchscript", 51, 16)), done.err
    found: Any = load_detector(tmp_path / "best_torchscript_model")
    assert (found.classes, found.card, found.imgsz) == (("a",), replace(own, imgsz=51), 51)
    assert found.network(torch.tensor([-1.0, 2.0])).tolist() == [0, 2]
