"""The facts of known data sets: every YAML whole and plausible; a user's own, refused in time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import converters
from converters.errors import InputError, OptionError
from converters.image_mpp import PLAUSIBLE_MPP
from converters.presets import (
    Preset,
    Scanner,
    load_preset,
    parse_preset,
    preset_folder,
    preset_names,
)
from converters.registry import FORMATS

PROTOCOLS = (
    "centroid", "icpr12", "atypia14", "amida13", "tupac16", "midog", "kmit", "mitos-rcnn",
)  # fmt: skip

OWN = """
format: dsa
protocol: centroid
scanners:
  A:
    mpp: [0.25, 0.26]
    frame: [2000, 1000]
    cases: [1-3, 7]
  "":
    mpp: 0.5
split:
  by: case
  train: ["01-03", "x-1"]
  test: ["04"]
cut:
  grid: 4x4
  augment: rot90
"""


def own(text: str) -> Preset:
    return parse_preset(text, "own", "own.yaml")


# --- the ones that come along ------------------------------------------------------------------


def test_the_known_ones() -> None:
    assert set(preset_names()) >= {
        "amida13", "demo", "icpr12", "kmit", "mitos_atypia_14", "mitos_boxes", "tupac16",
        "tupac16_al",
    }  # fmt: skip


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_whole_and_plausible(name: str) -> None:
    preset = load_preset(name)
    assert preset.name == name
    assert FORMATS[preset.format].read
    assert preset.protocol in PROTOCOLS
    low, high = PLAUSIBLE_MPP
    for scanner in preset.scanners.values():
        assert low < 0.1 < min(scanner.mpp) <= max(scanner.mpp) < 1 < high
        assert scanner.frame is None or all(256 <= side <= 10_000 for side in scanner.frame)
    facts = yaml.safe_load((preset_folder() / f"{name}.yaml").read_text(encoding="utf-8"))
    assert all(isinstance(facts[key], str) and facts[key] for key in ("licence", "data"))
    assert "split" in facts  # said, even where there is none
    dealt = [name for names in preset.official.values() for name in names]
    assert len(dealt) == len(set(dealt))
    assert not preset.official or set(preset.official) >= {"train", "test"}


def test_a_format_implies_a_preset_of_its_own() -> None:
    for name, entry in FORMATS.items():
        if entry.preset:
            assert load_preset(entry.preset).format == name


def test_icpr12() -> None:
    preset = load_preset("icpr12")
    assert preset.by == "source"
    assert {key: len(names) for key, names in preset.official.items()} == {"train": 105, "test": 45}
    frames = {f"{a}{b:02}_{c:02}" for a in "AHM" for b in range(5) for c in range(10)}
    assert {name for names in preset.official.values() for name in names} == frames
    for scanner in "AHM":  # the same frames on all scanners
        of_slide = {
            slide: [name[4:] for name in preset.official["test"] if name[:3] == scanner + slide]
            for slide in ("00", "01", "02", "03", "04")
        }
        assert of_slide == {
            "00": ["00", "08"],
            "01": ["04", "06", "09"],
            "02": ["00", "01", "03", "07"],
            "03": ["00", "01", "04"],
            "04": ["03", "07", "09"],
        }
    assert preset.frame("multispectral", "00") == (2767, 2767)
    assert preset.frame("Hamamatsu", "00") == (2252, 2250)
    assert preset.scanners["Aperio"] == Scanner((0.2456, 0.2456), (2084, 2084))


def test_amida13_and_tupac16() -> None:
    amida = load_preset("amida13")
    assert amida.official["train"] == tuple(f"{i:02}" for i in range(1, 13))
    assert amida.official["test"] == tuple(f"{i:02}" for i in range(13, 24))
    for name in ("tupac16", "tupac16_al"):
        preset = load_preset(name)
        assert not preset.official
        assert (preset.format, preset.protocol) == ("tupac16", "tupac16")
        assert [preset.scanner_of(case) for case in ("01", "23", "24", "73", "74", "x")] == [
            "Aperio ScanScope XT", "Aperio ScanScope XT", "Leica SCN400", "Leica SCN400", "", "",
        ]  # fmt: skip
        assert preset.frame("", "23") == (2000, 2000)
        assert preset.frame("", "24") is None  # from the image
        found = preset.scanner("", "24")
        assert found and found.mpp == (0.25, 0.25)


def test_mitos_boxes_and_kmit() -> None:
    boxes = load_preset("mitos_boxes")
    assert boxes.cut == {"grid": "4x4", "augment": "rot90"}
    assert (boxes.format, boxes.protocol) == ("atypia14", "mitos-rcnn")
    of_others = [load_preset(name) for name in ("icpr12", "mitos_atypia_14", "amida13")]
    for other in of_others:  # it knows the scale of all three
        for name, scanner in other.scanners.items():
            assert boxes.scanners[name].mpp == pytest.approx(scanner.mpp, rel=0.001)
    kmit = load_preset("kmit")
    assert (kmit.protocol, kmit.frame("", "T98")) == ("kmit", (500, 500))


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(OptionError, match=r"nope.*mitos_atypia_14.*YAML of your own"):
        load_preset("nope")
    with pytest.raises(OptionError, match=r"\.\./data_yaml/demo"):
        load_preset("../data_yaml/demo")


def test_presets_of_an_installed_wheel(tmp_path: Path) -> None:
    """There ``data_yaml`` lies inside ``converters``, as pyproject.toml says."""
    shutil.copytree(Path(converters.__path__[0]), tmp_path / "converters")
    shutil.copytree(preset_folder(), tmp_path / "converters" / "data_yaml")
    code = (
        "from converters.presets import load_preset, preset_folder, preset_names\n"
        "print(preset_folder(), *(load_preset(name).name for name in preset_names()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(tmp_path / "converters" / "data_yaml"), *preset_names()]


# --- a user's own ------------------------------------------------------------------------------


def test_a_preset_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "my set.yaml"
    path.write_text(OWN, encoding="utf-8")
    preset = load_preset(str(path))
    assert preset == Preset(
        name="my set",
        format="dsa",
        protocol="centroid",
        scanners={
            "A": Scanner((0.25, 0.26), (2000, 1000), ((1, 3), (7, 7))),
            "": Scanner((0.5, 0.5)),
        },
        by="case",
        official={"train": ("01", "02", "03", "x-1"), "test": ("04",)},
        cut={"grid": "4x4", "augment": "rot90"},
    )
    assert preset.scanner("", "007") == preset.scanners["A"]  # by the case's number
    assert preset.scanner("", "4") == preset.scanners[""]
    assert preset.scanner("B", "7") == preset.scanners[""]
    assert preset.scanner_of("9" * 5000) == preset.scanner_of("²") == ""


def test_the_least_that_a_preset_says() -> None:
    least = "format: cadd4mbc, protocol: centroid, scanners: {'': {mpp: 0.25}}"
    preset = own("{" + least + "}")
    assert preset == own("{" + least + ", split: none, cut: null}")
    assert (preset.official, preset.cut, preset.scanners) == ({}, {}, {"": Scanner((0.25, 0.25))})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (OWN, "", "own.yaml, the preset: expected an object, found None"),
        (OWN, "- a", "expected an object, found"),
        ("format: dsa", "format: [", r"own\.yaml, line \d+: not valid YAML"),
        ("format: dsa", "format: !!python/name:os.system", "not valid YAML"),
        ("format: dsa", "format: !!timestamp x", "not valid YAML"),
        ("format: dsa", "format: 2001-99-99", "not valid YAML"),
        ("format: dsa", "format: \0", "not valid YAML"),
        ("format: dsa", "", "the preset: no key `format`"),
        ("format: dsa", "format: nope", r"key `format`: expected a format that can be read \(.*"),
        ("format: dsa", "format: {}", "key `format`: expected text"),
        ("protocol: centroid", "", "no key `protocol`"),
        ("protocol: centroid", "protocol: null", "key `protocol`: expected text, found None"),
        ("scanners:", "scanner:", r"unknown key 'scanner' \(known: format,"),
        ("cut:", "Cut:", "unknown key 'Cut'"),
        (OWN, "{format: dsa, protocol: kmit, scanners: {}}", "key `scanners`: no scanner"),
        ("    mpp: 0.5", "    mpp: 0.5\n    mmp: 1", "scanner '': unknown key 'mmp'"),
        ("    mpp: 0.5", "    frame: [5, 5]", "scanner '': no key `mpp`"),
        ("mpp: 0.5", "mpp: 500", r"scanner '', key `mpp`: expected µm per pixel .*found 500"),
        ("mpp: 0.5", "mpp: 0", "key `mpp`: expected µm per pixel"),
        ("mpp: 0.5", "mpp: [0.5]", "key `mpp`: expected µm per pixel"),
        ("mpp: 0.5", "mpp: .nan", "key `mpp`: nan is not a finite number"),
        ("mpp: 0.5", "mpp: 0,5", "key `mpp`: '0,5' is not a number"),
        ("mpp: 0.5", "mpp: {x: 1}", "key `mpp`: .* is not a number"),
        ("[2000, 1000]", "[2000, 1000001]", r"scanner 'A', key `frame`: expected"),
        ("[2000, 1000]", "2000", r"scanner 'A', key `frame`: expected \[width, height\]"),
        ("[2000, 1000]", "[2000, 0]", r"expected \[width, height\]"),
        ("[2000, 1000]", "[2000, 10.5]", r"expected \[width, height\]"),
        ("[2000, 1000]", "[true, true]", r"expected \[width, height\]"),
        ("[1-3, 7]", "1-3", "key `cases`: expected a list"),
        ("[1-3, 7]", "[3-1]", "key `cases`: expected a list of numbers and spans"),
        ("[1-3, 7]", "[1-2-3]", "key `cases`: expected a list of numbers and spans"),
        ("[1-3, 7]", "[a]", "key `cases`: expected a list of numbers and spans"),
        ("[1-3, 7]", "[1.5]", "key `cases`: expected a list of numbers and spans"),
        ("[1-3, 7]", "[" + "9" * 4000 + "]", "key `cases`: expected a list of numbers and spans"),
        ("  by: case\n", "", "key `split`: no key `by`"),
        ("by: case", "by: slide", "key `by`: expected case or source, found 'slide'"),
        ("test:", "tset:", "unknown key 'tset'"),
        ('test: ["04"]', "test: [04]", 'key `test`: expected a list of names in quotes'),
        ('test: ["04"]', "test: 04", "key `test`: expected a list"),
        ('test: ["04"]', 'test: ["03"]', "key `split`: 03 stands in train and in test"),
        ('test: ["04"]', 'test: ["00000-99999"]', "key `test`: expected spans of at most 10000"),
        ("cut:", "cut: 4x4\nlicence:", "key `cut`: expected an object"),
        ("grid: 4x4", "gird: 4x4", "key `cut`: unknown key 'gird'"),
        ("grid: 4x4", "grid: [4, 4]", "key `grid`: expected text"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_preset_is_named(old: str, new: str, message: str) -> None:
    assert old in OWN
    with pytest.raises(InputError, match=message):
        own(OWN.replace(old, new, 1))


@pytest.mark.parametrize(
    ("item", "names"),
    [
        ("08-10", ("08", "09", "10")),
        ("8-10", ("8", "9", "10")),
        ("098-101", ("098", "099", "100", "101")),
        ("7-7", ("7",)),
        ("7", ("7",)),
        ("10-8", ("10-8",)),
        ("1-2-3", ("1-2-3",)),
        ("A-3", ("A-3",)),
        ("-3", ("-3",)),
    ],
)
def test_spans_of_names(item: str, names: tuple[str, ...]) -> None:
    assert own(OWN.replace("01-03", item)).official["train"] == (*names, "x-1")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: no such file"):
        load_preset(str(tmp_path / "none.yaml"))
    (tmp_path / "bin.yml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"bin\.yml: not UTF-8"):
        load_preset(str(tmp_path / "bin.yml"))


def test_nested_too_deeply() -> None:
    with pytest.raises(InputError, match="not valid YAML"):
        own("format: " + "[" * 20_000)


def _places(value: Any) -> Iterator[Callable[[Any], None]]:
    """A setter for every place of a tree."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield lambda new, key=key: value.__setitem__(key, new)
        if isinstance(inner, dict | list):
            yield from _places(inner)


WRONG = st.sampled_from(
    [None, True, -1, 0, 1e400, float("nan"), 10**30, "", "x", "1-2", [], [None], [[]], {}, {"x": 1}]
)


@given(st.integers(0, 200), WRONG)
def test_any_wrong_type_is_an_input_error(place: int, wrong: Any) -> None:
    facts = yaml.safe_load(OWN)
    setters = list(_places(facts))
    setters[place % len(setters)](wrong)
    try:
        assert isinstance(own(yaml.safe_dump(facts)), Preset)
    except InputError as error:
        assert "\n" not in str(error) and "own.yaml" in str(error)
