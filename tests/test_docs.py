"""The examples in the documentation are true: each is read by the reader that it describes."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from converters.presets import load_preset
from converters.read_options import ReadOptions
from converters.registry import FORMATS, get_reader

ROOT = Path(__file__).parents[1]
_SECTIONS = re.split(r"^## ", (ROOT / "docs" / "formats.md").read_text(), flags=re.MULTILINE)

FILES = {
    "cadd4mbc": "T_98/Batch-100/87_88.json",
    "dsa": "A03_00Aa.json",
    "icpr12": "A00_v2/A00_01.csv",
    "atypia14": "A03/mitosis/A03_00Aa_mitosis.csv",
    "amida13": "mitoses_ground_truth/01/01.csv",
    "tupac16": "mitoses_ground_truth/25/01.csv",
    "yolo": "labels/a.txt",
    "csv": "table.csv",
    "sliderunner": "a.sqlite",
    "qupath": "a.geojson",
    **dict.fromkeys(("voc", "asap", "imagescope", "cvat"), "a.xml"),
    **dict.fromkeys(("midog", "coco", "via", "labelme", "labelstudio"), "a.json"),
}
"""Format -> the name under which its first example is read."""

KINDS = {
    "cadd4mbc": ["ellipse"],
    "dsa": ["ellipse"],
    "icpr12": ["pixels", "pixels"],
    "atypia14": ["point", "point"],
    "yolo": ["box", "box", "polygon"],
    "csv": ["point", "point"],
    "coco": ["box", "polygon"],
    "qupath": ["ellipse"],
    "imagescope": ["ellipse", "point"],
}
"""What some of the examples hold."""


def example(format_name: str) -> str:
    """The first block of code of the section whose title names the format."""
    (section,) = (s for s in _SECTIONS if f"`{format_name}`" in s.splitlines()[0])
    match = re.search(r"```\w*\n(.*?)```", section, re.DOTALL)
    assert match, format_name
    return match[1]


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_example_of_a_format_is_read(format_name: str, tmp_path: Path) -> None:
    path = tmp_path / FILES[format_name]
    path.parent.mkdir(parents=True, exist_ok=True)
    if format_name == "sliderunner":
        with closing(sqlite3.connect(path)) as database:
            database.executescript(example(format_name))
    else:
        path.write_text(example(format_name), encoding="utf-8")
    options = ReadOptions(annotations_only=True, frame=lambda scanner, case: (3000, 3000))
    found = get_reader(format_name)(tmp_path, options)
    assert found.annotations and not found.dropped and not found.left_out
    kinds = [item.kind for item in found.annotations]
    assert kinds == KINDS.get(format_name, kinds)
    assert {item.label for item in found.annotations} <= {"mitosis", "imposter"}


def test_every_format_has_a_section() -> None:
    titles = "\n".join(section.splitlines()[0] for section in _SECTIONS if section.strip())
    assert [name for name in FORMATS if f"`{name}`" not in titles] == []


def test_the_example_of_a_preset_is_read(tmp_path: Path) -> None:
    (section,) = (s for s in _SECTIONS if s.startswith("Presets"))
    match = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert match
    path = tmp_path / "own.yaml"
    path.write_text(match[1], encoding="utf-8")
    preset = load_preset(str(path))
    assert preset.format == yaml.safe_load(match[1])["format"]
    assert preset.frame("", "25") == (2000, 2000) and "16" in preset.official["test"]
