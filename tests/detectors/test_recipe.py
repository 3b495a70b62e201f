"""The recipe: which settings there are, whose they are, and that each reaches the training."""

from __future__ import annotations

import csv
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from conftest import Cli
from rendered import write_dataset
from test_train import OPTIONS, sources

from converters.errors import InputError, OptionError
from converters.files import read_json
from mitoyolo.detectors import recipe as module
from mitoyolo.detectors.recipe import DEFAULT, FIXED, OPTIMIZERS
from mitoyolo.detectors.recipe import OPTIONS as KEYS_OF_OPTIONS
from mitoyolo.detectors.state import State, read_state
from mitoyolo.detectors.training import Score
from mitoyolo.train import train

from ultralytics.cfg import DEFAULT_CFG_DICT
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.metrics import DetMetrics

read_recipe = partial(module.read_recipe, "yolov5n")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my {recipe}.yaml"


# --- what is read -----------------------------------------------------------------------------


def test_the_default_is_for_mitoses() -> None:
    recipe = read_recipe()
    assert recipe == read_recipe(DEFAULT)
    assert (recipe.select, recipe.rot90, recipe.verify) == ("f1", True, True)
    assert recipe.settings["flipud"] == 0.5
    assert not {"select", "rot90", "stain", "stain_method"} & recipe.settings.keys()


def test_the_plain_one_is_ultralytics_defaults() -> None:
    recipe = read_recipe("ultralytics")
    assert (recipe.select, recipe.rot90, recipe.stain, recipe.settings) == ("map", False, 0.0, {})
    assert not recipe.verify


def test_a_file_is_a_recipe_of_its_own(file: Path) -> None:
    file.write_text("select: f1\nstain: 0.1\nstain_method: macenko\nlr0: 0.02\nscale: [0.9, 1.1]\n")
    recipe = read_recipe(str(file))
    assert (recipe.select, recipe.rot90, recipe.stain_method) == ("f1", False, "macenko")
    assert recipe.settings == {"lr0": 0.02, "scale": [0.9, 1.1]}


@pytest.mark.parametrize("name", ["mitosis", "ultralytics", "file"])
def test_the_users_settings_win(name: str, file: Path) -> None:
    file.write_text("flipud: 0.2\nrot90: true\n")
    changes = {"flipud": 0.1, "lr0": 0.02, "rot90": False, "stain": 0.2, "select": "map"}
    recipe = read_recipe(str(file) if name == "file" else name, changes)
    assert (recipe.settings["flipud"], recipe.settings["lr0"]) == (0.1, 0.02)
    assert (recipe.rot90, recipe.stain, recipe.select) == (False, 0.2, "map")
    assert changes["rot90"] is False  # the caller's own, for run.json


def test_the_jitter_is_the_recipes() -> None:
    jitter = read_recipe("ultralytics", {"stain": 0.2, "stain_method": "macenko"}).jitter(seed=4)
    assert (jitter.method, jitter.strength, jitter.seed) == ("macenko", 0.2, 4)


# --- what is not taken ------------------------------------------------------------------------

WRONG: list[tuple[str, Any, str]] = [
    ("select", "f2", "expected one of f1, map"),
    ("select", ["f1"], "expected one of f1, map"),
    ("select", None, "expected one of f1, map"),
    ("rot90", 1, "expected true or false"),
    ("verify", "no", "expected true or false"),
    ("rot90", "yes", "expected true or false"),
    ("stain", "strong", "expected a number"),
    ("stain", True, "expected a number"),
    ("stain", None, "expected a number"),
    ("stain", 0.6, "expected 0 to 0.5"),
    ("stain", -0.1, "expected 0 to 0.5"),
    ("stain", float("nan"), "expected a finite number"),
    ("stain_method", "vahadane", "use one of: reinhard, macenko"),
    ("stain_method", ["reinhard"], "expected a name"),
    ("mosiac", 0, r"such a setting \(perhaps mosaic"),
    ("stian", 0, r"such a setting \(perhaps stain"),
    ("xyz", 0, "neither mitoyolo nor Ultralytics has such a setting$"),
    ("lr0", "fast", "invalid type"),
    ("lr0", None, "must not be None"),
    ("lr0", float("nan"), "expected a finite number"),
    ("box", float("inf"), "expected a finite number"),
    ("flipud", 7, "invalid value"),
    ("mosaic", {"p": 1}, "invalid type"),
    ("scale", [1], "invalid type"),
    ("cos_lr", "yes", "invalid type"),
    ("workers", 1.5, "invalid type"),
    ("optimizer", 3, "invalid type"),
    ("conf", 0.5, "fixed"),
    ("fraction", 0.5, "fixed"),
    ("distill_model", "teacher.pt", "fixed"),  # would run code from the file
    ("epochs", 3, "this is an option; give --epochs"),
    ("lr0", "1e400", "expected a finite number"),
    ("lr0", "nan", "expected a finite number"),
    ("lr0", "2e0", "invalid value"),
    ("cos_lr", "1", "invalid type"),  # text where no number is expected
    ("nbs", "15e-1", "invalid type"),
    *(
        ("cache", value, r"expected true, false or ram \(disk .*; give cache=ram")
        for value in ("disk", "Disk", "dsik", 1, 0, None, ["ram"])
    ),
    *(("workers", value, f"{value}, expected 0 or more") for value in (-1, -8, True)),
    ("close_mosaic", -1, "expected 0 or more"),
    *(
        ("optimizer", name, "expected one of SGD, MuSGD, .*, auto")
        for name in ("adamm", "", "LBFGS")
    ),
    *(
        ("freeze", value, "expected a number of layers or a list of them")
        for value in ("10", "model.1", 1.5, -1, True, [1.5], [-1], [True], {"a": 1})
    ),
    *(("compile", mode, "expected true, false or one of default") for mode in ("max", "", "True")),
    ("compile", 1, "invalid type"),
]


@pytest.mark.parametrize(("key", "value", "said"), WRONG)
def test_a_wrong_setting_is_a_wrong_call(key: str, value: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        read_recipe(changes={key: value})
    assert str(caught.value).startswith(f"--set {key}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("key", "value", "said"), WRONG)
def test_in_a_file_it_is_wrong_input_that_is_named(
    file: Path, key: str, value: Any, said: str
) -> None:
    file.write_text(yaml.safe_dump({"flipud": 0.5, key: value}))
    with pytest.raises(InputError, match=said) as caught:
        read_recipe(str(file))
    assert str(caught.value).startswith(f"{file}, {key}: ")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("key", sorted(FIXED | KEYS_OF_OPTIONS))
def test_every_key_that_is_not_the_users_is_refused(key: str) -> None:
    with pytest.raises(OptionError):
        read_recipe(changes={key: DEFAULT_CFG_DICT.get(key)})


@pytest.mark.parametrize("key", sorted(DEFAULT_CFG_DICT.keys() - FIXED - KEYS_OF_OPTIONS))
def test_every_other_key_of_ultralytics_is_taken(key: str) -> None:
    assert read_recipe("ultralytics", {key: DEFAULT_CFG_DICT[key]}).settings.keys() == {key}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a mapping"),
        ("- flipud\n", "expected a mapping"),
        ("flipud", "expected a mapping"),
        ("flipud: [", "not YAML"),
        ("? [1, 2]\n: 3\n", "not YAML"),
        ("\x00", "not YAML"),
        ("!!python/object/apply:os.getcwd []\n", "not YAML"),
        ("1: 2\n", "has such a setting"),
        ("~: 2\n", "has such a setting"),
    ],
)
def test_what_is_no_recipe_is_one_line(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        read_recipe(str(file))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_encoding_is_one_line(file: Path) -> None:
    file.write_bytes(b"flipud: 0.5 # \xb5m")
    with pytest.raises(InputError, match="not UTF-8"):
        read_recipe(str(file))


@pytest.mark.parametrize("name", ["", ".", "mitose", "nowhere.yaml"])
def test_a_recipe_that_is_not_there_is_a_wrong_call(name: str) -> None:
    with pytest.raises(OptionError, match=r"known: mitosis, ultralytics"):
        read_recipe(name)


@pytest.mark.parametrize(
    ("key", "value", "taken"),
    [
        ("lr0", "1e-3", 0.001),
        ("box", "1E1", 10.0),
        ("stain", "1e-1", 0.1),
        ("nbs", "1e2", 100),
        ("nbs", 100.0, 100),
        ("optimizer", "1e-3", None),
        ("cache", "ram", "ram"),
        ("cache", True, True),
        ("workers", 0, 0),
        ("close_mosaic", 0, 0),
        ("optimizer", "adamw", "adamw"),
        ("optimizer", "RMSprop", "RMSprop"),
        ("freeze", [0, "23.cv2"], [0, "23.cv2"]),
        ("freeze", 0, 0),
        ("compile", "reduce-overhead", "reduce-overhead"),
    ],
)
def test_a_value_is_taken_as_ultralytics_takes_it(
    file: Path, key: str, value: Any, taken: Any
) -> None:
    file.write_text(f"{key}: {value}\n")
    for name, changes in (("ultralytics", {key: value}), (str(file), {})):
        if taken is None:
            with pytest.raises(InputError, match="expected one of SGD"):
                read_recipe(name, changes)
            continue
        recipe = read_recipe(name, changes)
        found = recipe.settings.get(key, recipe.stain)
        assert (found, type(found)) == (taken, type(taken))


def test_every_optimizer_named_is_one_that_ultralytics_builds() -> None:
    trainer = object.__new__(DetectionTrainer)
    trainer.args, trainer.data = SimpleNamespace(lr0=0.1), {}
    model = torch.nn.Module()
    model.model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    for name in OPTIMIZERS:
        for spelt in (name, name.lower(), name.upper()):
            assert read_recipe(changes={"optimizer": spelt}).settings["optimizer"] == spelt
            trainer.build_optimizer(model, spelt)


def test_a_key_given_twice_is_named(file: Path) -> None:
    file.write_text("lr0: 0.1\nflipud: 0.5\n'lr0': 0.2\n")
    with pytest.raises(InputError) as caught:
        read_recipe(str(file))
    assert str(caught.value) == f"{file}, lr0: given twice; keep one of them"
    assert caught.value.exit_code == 1


def test_set_given_twice_is_a_wrong_call(cli: Cli) -> None:
    call = ("train", "--data", "a", "--model", "yolov5n", "--set", "lr0=0.1")
    result = cli(*call, "--set", "lr0 =0.2")
    assert result.code == 2 and "--set: lr0 is given twice" in result.err


def test_turned_tiles_do_not_go_into_rectangular_batches_of_a_file(file: Path) -> None:
    file.write_text("rect: true\nrot90: true\n")
    for changes in ({}, {"lr0": 0.1}):
        with pytest.raises(InputError, match=r"rect=true.*add rot90=false") as caught:
            read_recipe(str(file), changes)
        assert str(caught.value).startswith(f"{file}: ") and caught.value.exit_code == 1
    assert read_recipe(str(file), {"rot90": False}).settings["rect"] is True
    file.write_text("rot90: true\n")
    with pytest.raises(OptionError, match=r"^rect=true"):
        read_recipe(str(file), {"rect": True})


def test_turned_tiles_do_not_go_into_rectangular_batches() -> None:
    with pytest.raises(OptionError, match=r"rect=true.*add rot90=false"):
        read_recipe(changes={"rect": True})
    assert read_recipe(changes={"rect": True, "rot90": False}).settings["rect"] is True


# --- what reaches the training ----------------------------------------------------------------

F1 = (0.2, 0.9, 0.1, 0.1)
MAP = (0.9, 0.2, 0.1, 0.1)
"""Of the epochs: each rule of selection has its own best one."""


@dataclass
class Run:
    """A finished training."""

    folder: Path
    args: dict[str, Any]
    summary: dict[str, Any]
    rows: list[dict[str, float]]
    state: State
    printed: str = ""


def trained(data: Path, folder: Path, patch: pytest.MonkeyPatch, **options: Any) -> Run:
    """Train with these scores, and read what was left."""
    f1, fitness = iter(F1), iter(MAP)
    patch.setattr(
        "mitoyolo.detectors.yolo_train.score_tiles", lambda *given: Score(next(f1), 0.5, 0.25)
    )
    patch.setattr(DetMetrics, "fitness", property(lambda self: next(fitness)))
    train(data, folder, replace(OPTIONS, **options))
    state = read_state(folder)
    assert state is not None
    with (folder / "results.csv").open(encoding="utf-8") as handle:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(handle)]
    return Run(
        folder,
        yaml.safe_load((folder / "args.yaml").read_text()),
        read_json(folder / "summary.json"),
        rows,
        state,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("recipe") / "data", sources())


SETTINGS = {
    "lr0": 0.02, "lrf": 0.5, "cos_lr": True, "optimizer": "AdamW", "freeze": 5, "nbs": 8,
    "warmup_epochs": 0, "workers": 2, "cache": "ram", "deterministic": False, "compile": False,
    "multi_scale": 0.2, "mixup": 0.5, "cutmix": 0.5, "copy_paste": 0.5, "bgr": 0.5,
    "degrees": 10, "shear": 2, "perspective": 0.0005, "scale": [0.9, 1.1], "cls_pw": 0.5,
    "close_mosaic": 1, "save_period": 1, "patience": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def many(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training with many settings at once."""
    folder = tmp_path_factory.mktemp("many") / "run"
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out:
        run = trained(data, folder, patch, epochs=4, settings=SETTINGS)
    return replace(run, printed=out.getvalue())


@pytest.fixture(scope="module")
def plain(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training with the plain recipe."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    with pytest.MonkeyPatch.context() as patch:
        return trained(data, folder, patch, epochs=2, recipe="ultralytics")


def test_every_setting_arrives_in_the_trainer(many: Run) -> None:
    assert {key: many.args[key] for key in SETTINGS} == SETTINGS


def test_the_settings_do_what_ultralytics_says(many: Run) -> None:
    assert many.summary["epochs"] == 3  # patience: one epoch after the best one
    assert {p.name for p in (many.folder / "weights").glob("epoch*")} == {
        "epoch0.pt", "epoch1.pt", "epoch2.pt",
    }  # fmt: skip
    groups = many.state["optimizer"]["param_groups"]
    assert all("betas" in group and group["initial_lr"] == 0.02 for group in groups)
    half = 0.02 * (0.5 + 0.5 * (1 + 2**-0.5) / 2)  # cosine from 1 to lrf, a quarter of the way
    assert many.rows[1]["lr/pg0"] == pytest.approx(half, rel=1e-4)
    start = torch.load(many.folder / "weights" / "start.pt", weights_only=False)["model"]
    layers: dict[int, bool] = {}
    for name, value in start.named_parameters():
        layer = int(name.split(".")[1])
        layers[layer] = layers.get(layer, False) or not torch.equal(
            value, many.state["model"][name]
        )
    assert layers == {layer: layer >= 5 for layer in layers}  # freeze


def test_standard_output_stays_clean(many: Run) -> None:
    assert many.printed == ""


def test_f1_selects_with_our_recipe(many: Run) -> None:
    assert (many.summary["best_epoch"], many.summary["val_f1"]) == (2, 0.9)


def test_map_selects_with_the_plain_one(plain: Run) -> None:
    assert (plain.summary["best_epoch"], plain.summary["val_f1"]) == (1, 0.2)
    assert [row["metrics/F1"] for row in plain.rows] == list(F1[:2])  # scored all the same


def test_the_plain_recipe_leaves_every_default(plain: Run) -> None:
    kept = DEFAULT_CFG_DICT.keys() - FIXED - KEYS_OF_OPTIONS
    assert {key: plain.args[key] for key in kept} == {key: DEFAULT_CFG_DICT[key] for key in kept}
