"""What to normalise to: an image, a saved fit, the default."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from rendered import Source, write_dataset

from converters.errors import InputError
from mitoyolo.dataset import open_dataset
from mitoyolo.images import write_rgb
from mitoyolo.stain import folder, target
from mitoyolo.stain.reinhard import DEFAULT, DEFAULT_WHOLE, Gauge
from mitoyolo.stain.target import default_target

fit_target = partial(folder.fit_target, method="reinhard")
read_target = partial(target.read_target, method="reinhard")


def test_an_image_and_its_saved_fit_are_the_same_target(tissue, tmp_path: Path) -> None:
    image = tissue(1, glass=0.3)
    write_rgb(tmp_path / "target.png", image)
    gauge = Gauge()
    gauge.add(image)
    fit = fit_target(tmp_path / "target.png", tmp_path / "stats.json")
    assert fit["method"] == "reinhard"
    assert fit["images"] == 1
    assert fit["source"].startswith("sha256:")
    assert json.loads((tmp_path / "stats.json").read_text()) == fit
    for mode, expected in (("case", gauge.tissue()), ("tile", gauge.whole())):
        for name in ("target.png", "stats.json"):
            assert read_target(tmp_path / name, mode=mode).statistics == expected


def test_a_fit_pools_a_folder_and_passes_glass_over(tissue, tmp_path: Path, capsys) -> None:
    gauge = Gauge()
    for i in range(3):
        image = tissue(i, shift=(-10 * i, 0, 0))
        write_rgb(tmp_path / "images" / f"sub{i % 2}" / f"{i}.png", image)
        gauge.add(image)
    write_rgb(tmp_path / "images" / "glass.png", np.full((40, 40, 3), 250, np.uint8))
    fit = fit_target(tmp_path / "images", tmp_path / "stats.json")
    assert (fit["images"], fit["passed_over"]) == (3, 1)
    tissue_stats = gauge.tissue()
    assert tissue_stats is not None
    assert {key: fit[key] for key in ("mean", "std")} == tissue_stats.to_dict()
    assert capsys.readouterr().out == ""
    write_rgb(tmp_path / "images" / "glass.png", tissue(8))
    assert fit_target(tmp_path / "images", tmp_path / "two.json")["source"] != fit["source"]


def test_defaults() -> None:
    assert default_target("reinhard").statistics == DEFAULT
    assert default_target("reinhard", "tile").statistics == DEFAULT_WHOLE
    assert "H03" in default_target().source


def test_targets_that_cannot_serve(tissue, tmp_path: Path) -> None:
    write_rgb(tmp_path / "white.png", np.full((30, 30, 3), 250, np.uint8))
    write_rgb(tmp_path / "pink.png", np.full((30, 30, 3), (222, 140, 190), np.uint8))
    cv2.imwrite(str(tmp_path / "grey.png"), np.zeros((30, 30), np.uint8))
    good = {"method": "reinhard", "mean": [50, 40, -10], "std": [10, 10, 5], "source": "x"}
    files = {
        "other.json": good | {"method": "macenko"},
        "short.json": good | {"mean": [50]},
        "list.json": [],
        "empty.json": {},
    }
    for name, value in files.items():
        (tmp_path / name).write_text(json.dumps(value))
    (tmp_path / "cut.json").write_text('{"method":')
    for name in ("white.png", "pink.png", "grey.png", "missing.png", "cut.json", *files):
        with pytest.raises(InputError, match=name.replace(".", r"\.")) as caught:
            read_target(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no stained tissue"):
        fit_target(tmp_path / "white.png", tmp_path / "s.json")
    with pytest.raises(InputError, match="json"):
        fit_target(tmp_path / "white.png", tmp_path / "pink.png")
    (tmp_path / "none").mkdir()
    for path in ("none", "absent"):
        with pytest.raises(InputError, match=path):
            fit_target(tmp_path / path, tmp_path / "s.json")
    assert not (tmp_path / "s.json").exists()


HUGE = "1" + 400 * "0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'{{"method": "reinhard", "mean": [50, 0, {HUGE}], "std": [9, 9, 9]}}', "too large"),
        ('{"method": "reinhard", "mean": [50, 0, 0], "std": [9, 1e308, 9]}', "std of a is 1e.308"),
        ('{"method": ["a"], "mean": [50, 0, 0], "std": [9, 9, 9]}', "a fit of method"),
    ],
)
def test_numbers_that_nobody_measured(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "stats.json").write_text(text)
    with pytest.raises(InputError, match=said):
        read_target(tmp_path / "stats.json")


def test_a_fit_of_a_dataset_folder_measures_its_tiles_alone(tissue, tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", [Source(name, "test") for name in "ab"])
    for i, tile in enumerate(open_dataset(root).tiles):
        write_rgb(open_dataset(root).image_path(tile), tissue(i))
    plain = fit_target(root / "images", tmp_path / "plain.json")
    write_rgb(root / "check.png", tissue(9))
    write_rgb(root / "masks" / "test" / "a.png", tissue(10))
    assert fit_target(root, tmp_path / "whole.json") == plain
