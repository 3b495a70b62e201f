"""The two-stage models' recipes: what is taken, what is refused in one line, and the schedule."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from converters.errors import InputError, OptionError
from mitoyolo.detectors.families import RCNN
from mitoyolo.detectors.rcnn_recipe import (
    OF_MODEL,
    OPTIONS,
    READERS,
    RECIPES,
    RcnnRecipe,
    read_recipe,
)

MODELS = list(RCNN)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my {recipe}.yaml"


# --- what is read -----------------------------------------------------------------------------


def test_the_kmit_settings() -> None:
    recipe = read_recipe("faster-rcnn")
    assert (recipe.batch, recipe.imgsz, recipe.anchors) == (12, None, None)
    assert (recipe.lr0, recipe.momentum, recipe.weight_decay) == (0.001, 0.9, 1e-4)
    assert (recipe.rois, recipe.proposals) == (512, 1000)
    assert (recipe.fliplr, recipe.flipud, recipe.rot90) == (0.5, 0.5, False)
    assert recipe == read_recipe("faster-rcnn-x101")


def test_the_settings_of_the_mitos_rcnn_paper() -> None:
    recipe = read_recipe("mitos-rcnn")
    assert (recipe.batch, recipe.imgsz, recipe.anchors) == (10, 299, None)
    assert (recipe.lr0, recipe.momentum, recipe.weight_decay) == (0.001, 0.9, 5e-4)
    assert (recipe.rois, recipe.proposals) == (128, 300)
    assert (recipe.fliplr, recipe.flipud, recipe.rot90) == (0, 0, True)
    assert recipe == read_recipe("vgg16") == read_recipe("vgg16-conv4")


def test_every_model_has_a_recipe_and_every_recipe_all_settings() -> None:
    assert OF_MODEL.keys() == RCNN.keys()
    assert set(OF_MODEL.values()) == set(RECIPES)
    names = [field.name for field in fields(RcnnRecipe)]
    assert list(READERS) == names
    for name in RECIPES:
        text = (files("mitoyolo.detectors") / "recipes" / f"{name}.yaml").read_text("utf-8")
        assert list(yaml.safe_load(text)) == names


def test_a_recipe_may_be_that_of_another_model() -> None:
    assert read_recipe("mitos-rcnn", "faster-rcnn") == read_recipe("faster-rcnn")
    assert read_recipe("faster-rcnn", "mitos-rcnn") == read_recipe("mitos-rcnn")


def test_a_file_goes_over_the_models_own_and_the_user_over_both(file: Path) -> None:
    file.write_text("lr0: 1e-2\nbatch: 3\nimgsz: 128\nanchors: [20, 10]\ndrops: []\n")
    changes = {"lr0": 0.05, "rot90": False}
    recipe = read_recipe("mitos-rcnn", str(file), changes)
    assert recipe == replace(
        read_recipe("mitos-rcnn"),
        lr0=0.05, batch=3, imgsz=128, anchors=(20.0, 10.0), drops=(), rot90=False,
    )  # fmt: skip
    assert changes == {"lr0": 0.05, "rot90": False}


TAKEN: list[tuple[str, Any, Any]] = [
    ("anchors", "auto", None),
    ("anchors", "8,16,32", (8.0, 16.0, 32.0)),
    ("anchors", [8, 16.5], (8.0, 16.5)),
    ("anchors", 24, (24.0,)),
    ("lr0", "1e-3", 0.001),
    ("lr0", 0, 0.0),
    ("drops", "0.9,0.6", (0.6, 0.9)),
    ("drops", 0.5, (0.5,)),
    ("drops", [], ()),
    ("drops", "", ()),
    ("warmup", 1, 1.0),
    ("clip", 0, 0.0),
    ("ema", 0.999, 0.999),
    ("workers", 0, 0),
    ("workers", 2.0, 2),
    ("rois", 1, 1),
    ("proposals", "50", 50),
    ("rot90", True, True),
]


@pytest.mark.parametrize(("key", "value", "taken"), TAKEN)
def test_a_value_is_taken(file: Path, key: str, value: Any, taken: Any) -> None:
    file.write_text(yaml.safe_dump({key: value}))
    for recipe in (
        read_recipe("faster-rcnn", None, {key: value}), read_recipe("faster-rcnn", str(file))
    ):  # fmt: skip
        found = getattr(recipe, key)
        assert (found, type(found)) == (taken, type(taken))


def test_it_goes_into_run_json_as_plain_types() -> None:
    """Those that JSON gives back: a resumed run is compared by them."""
    recipe = read_recipe("faster-rcnn", None, {"anchors": "8,16,32"})
    values = recipe.to_dict()
    assert json.loads(json.dumps(values)) == values
    changes = {key: value for key, value in values.items() if key not in OPTIONS}
    assert read_recipe("faster-rcnn", None, changes) == recipe
    assert values["anchors"] == [8.0, 16.0, 32.0]


# --- what is not taken ------------------------------------------------------------------------

BEYOND = [float("nan"), float("inf"), "nan", None, [], {}, "fast", True, -0.1]
WRONG: list[tuple[str, Any, str]] = [
    *(("lr0", value, "expected 0 to 10") for value in [*BEYOND, 10.1]),
    *(("clip", value, "expected 0 or more") for value in BEYOND),
    *(
        (key, value, "expected 0 to 1")
        for key in ("momentum", "weight_decay", "warmup", "fliplr", "flipud")
        for value in [*BEYOND, 1.1]
    ),
    *(("ema", value, "expected 0 to under 1") for value in [*BEYOND, 1]),
    *(
        ("drops", value, r"expected shares of all steps such as 0.6,0.9")
        for value in (1.5, -1, "0.6;0.9", "0.6,", None, [[0.5]], {"a": 1}, True, float("nan"))
    ),
    *(
        ("anchors", value, "expected auto, or sides in px such as 16,32,64")
        for value in (0, -8, [], "", "small", None, [8, 0.5], [8, None], True, 1e5, "8 16")
    ),
    *(("rot90", value, "expected true or false") for value in (1, 0, "true", "yes", None, 0.5)),
    *(
        ("workers", value, "expected a whole number of at least 0")
        for value in (-1, 1.5, None, "many", True, [2], float("inf"), float("nan"), "1e400")
    ),
    *(
        (key, value, "expected a whole number of at least 1")
        for key in ("rois", "proposals")
        for value in (0, -1, 1.5, None, "many", True, [2], float("inf"))
    ),
    ("warmpu", 0.1, r"no such setting \(perhaps warmup"),
    ("mosaic", 0, "no such setting$"),
    ("to_dict", 0, "no such setting$"),
    ("", 0, "no such setting$"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "said"), WRONG)
def test_a_wrong_setting_is_a_wrong_call(key: str, value: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        read_recipe("mitos-rcnn", changes={key: value})
    assert str(caught.value).startswith(f"--set {key}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("key", "value", "said"), WRONG)
def test_in_a_file_it_is_wrong_input_that_is_named(
    file: Path, key: str, value: Any, said: str
) -> None:
    file.write_text(yaml.safe_dump({"flipud": 0.5, key: value}))
    with pytest.raises(InputError, match=said) as caught:
        read_recipe("vgg16", str(file))
    assert str(caught.value).startswith(f"{file}, {key}: " if key else f"{file}: ")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("key", OPTIONS)
def test_an_option_is_given_as_an_option_or_in_a_file(file: Path, key: str) -> None:
    with pytest.raises(OptionError, match=rf"^--set {key}: this is an option; give --{key}$"):
        read_recipe("vgg16", changes={key: 64})
    file.write_text(f"{key}: 64\n")
    assert getattr(read_recipe("vgg16", str(file)), key) == 64
    for value in (0, -3, 1.5, True, "wide", [64]):
        file.write_text(yaml.safe_dump({key: value}))
        with pytest.raises(InputError, match="expected a whole number of at least"):
            read_recipe("vgg16", str(file))


def test_the_least_sizes(file: Path) -> None:
    file.write_text("batch: 1\nimgsz: 32\n")
    recipe = read_recipe("vgg16", str(file))
    assert (recipe.batch, recipe.imgsz) == (1, 32)
    file.write_text("imgsz: 31\n")
    with pytest.raises(InputError, match=r"31, expected a whole number of at least 32, or null"):
        read_recipe("vgg16", str(file))
    file.write_text("imgsz: null\n")
    assert read_recipe("vgg16", str(file)).imgsz is None


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
        ("1: 2\n", "no such setting"),
        ("~: 2\n", "no such setting"),
        ("lr0: 0.1\nflipud: 0.5\n'lr0': 0.2\n", "lr0: given twice; keep one of them$"),
    ],
)
def test_what_is_no_recipe_is_one_line(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        read_recipe("faster-rcnn", str(file))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_another_encoding_is_one_line(file: Path) -> None:
    file.write_bytes(b"flipud: 0.5 # \xb5m")
    with pytest.raises(InputError, match="not UTF-8"):
        read_recipe("faster-rcnn", str(file))


@pytest.mark.parametrize("name", ["", ".", "mitosis", "vgg16", "nowhere.yaml"])
def test_a_recipe_that_is_not_there_is_a_wrong_call(name: str) -> None:
    with pytest.raises(OptionError, match=r"known: faster-rcnn, mitos-rcnn"):
        read_recipe("mitos-rcnn", name)


# --- the schedule -----------------------------------------------------------------------------


def test_the_kmit_schedule_step_by_step() -> None:
    """1,000 warm-up steps; a tenth from step 3,000 of 5,000."""
    rate = read_recipe("faster-rcnn").rate
    for step in (0, 1, 499, 998, 999):
        assert rate(step, 5000) == pytest.approx(0.001 * (step + 1) / 1000)
    assert {rate(step, 5000) for step in (999, 1000, 2999)} == {0.001}
    assert [rate(step, 5000) for step in (3000, 4999)] == pytest.approx([0.0001] * 2)


def test_the_papers_schedule_whole_and_scaled_down() -> None:
    """60,000 steps at 0.001 and 20,000 at 0.0001."""
    rate = read_recipe("mitos-rcnn").rate
    for steps, last in ((80_000, 59_999), (80, 59), (4, 2)):
        assert {rate(step, steps) for step in (0, last)} == {0.001}
        late = [rate(step, steps) for step in (last + 1, steps - 1)]
        assert late == pytest.approx([0.0001] * 2)
    assert rate(0, 1) == 0.001


def test_several_drops_and_none() -> None:
    recipe = read_recipe("mitos-rcnn", None, {"drops": "0.5,0.75", "warmup": 0.25, "lr0": 1})
    found = [recipe.rate(step, 8) for step in range(8)]
    assert found == pytest.approx([0.5, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    assert {replace(recipe, drops=(), warmup=0.0).rate(step, 8) for step in range(8)} == {1}
    assert replace(recipe, drops=(0.0, 1.0)).rate(7, 8) == pytest.approx(0.1)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_the_shortest_trainings_learn_at_every_step(model: str, steps: int) -> None:
    rates = [read_recipe(model).rate(step, steps) for step in range(steps)]
    assert all(0 < rate <= 0.001 for rate in rates)
    assert max(rates) == pytest.approx(0.001)
