"""The page of a scored split: every number, picture and crop where it belongs."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rendered import PINK, Cell, Source, paint, write_dataset
from test_report import NASTY, check_alone, pictures

from mitoyolo.dataset import open_dataset
from mitoyolo.evaluation.fields import Field
from mitoyolo.evaluation.metrics import evaluate
from mitoyolo.evaluation.protocols import PROTOCOLS, get_protocol
from mitoyolo.images import RGB
from mitoyolo.report.mistakes import SHOWN
from mitoyolo.report.overlay import stitch
from mitoyolo.report.val import LARGEST, gallery, numbers, write_val_report

CELLS = (
    Cell(20, 30, 0.8),  # found
    Cell(150, 90, 0.7, None),  # false
    Cell(60, 100, 0.9, None),  # false
    Cell(100, 30, 0.2),  # under the threshold
    Cell(180, 30, None),  # cannot be seen
)


def places(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, dtype=float).reshape(-1, 2)


def one_field(**changes: Any) -> Field:
    seen = [cell for cell in CELLS if cell.score is not None]
    facts: dict[str, Any] = {
        "image": "one", "case": "1", "mpp": (0.5, 0.5),
        "truth": places(*((c.x, c.y) for c in CELLS if c.label)),
        "detections": places(*((c.x, c.y) for c in seen)),
        "scores": np.array([c.score for c in seen]),
        "truth_sizes": np.full((3, 2), 16.0), "detection_sizes": np.full((4, 2), 16.0),
        "area_mm2": 0.01, "domain": {"scanner": "Aperio"},
    }  # fmt: skip
    return Field(**{**facts, **changes})


def page(tmp_path: Path, fields: list[Field], protocol: str = "centroid", **more: Any) -> str:
    rule = get_protocol(protocol)
    metrics = evaluate(fields, rule, 0.5, "said by the test")
    write_val_report(tmp_path, "Page", fields, rule, metrics, **more)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    check_alone(text)
    return text


def headings(text: str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", text)


def captions(text: str) -> list[str]:
    return re.findall("<figcaption>(.*?)</figcaption>", text)


def rows(text: str) -> list[list[str]]:
    """The cells of every table row."""
    found = re.findall("<tr>(.*?)</tr>", text)
    return [re.findall("<t[hd]>(.*?)</t[hd]>", row) for row in found]


def test_every_mistake_is_cut_out_with_its_score(tmp_path: Path) -> None:
    source = Source("one", "test", CELLS, width=200, height=120)
    dataset = open_dataset(write_dataset(tmp_path / "data", [source]))
    text = page(tmp_path, [one_field()], pixels=partial(stitch, dataset))
    assert headings(text) == [
        "Numbers", "Curves", "Cases", "Scanner", "Most confident false positives", "Misses",
        "Detections over truth",
    ]  # fmt: skip
    shown = dict(zip(captions(text), pictures(text), strict=True))
    assert list(shown)[4:] == [
        "0.900: one at 60, 100",
        "0.700: one at 150, 90",
        "no detection: one at 180, 30",
        "0.200: one at 100, 30",
        "one: 3 annotated, 3 detected",
    ]
    whole = paint(200, 120, CELLS).astype(int)
    crop = shown["0.700: one at 150, 90"].astype(int)
    assert crop.shape == (128, 128, 3)
    inside = crop[: 120 - 26, : 200 - 86]  # the window begins at 86, 26
    assert np.abs(inside - whole[26:, 86:]).mean() < 3  # JPEG
    assert crop[64, 64, 0] < 60  # the cell, in the middle
    assert crop[110:, :].min() > 240  # beyond the image


def test_the_numbers_are_those_of_the_metrics(tmp_path: Path) -> None:
    found = rows(page(tmp_path, [one_field()]))
    said = {row[0]: row[1] for row in found if len(row) == 2}
    assert said["true positives"] == "1"
    assert said["false positives"] == said["misses"] == "2"
    assert said["mitoses annotated, a mm²"] == "3, 300.00"
    assert said["threshold from"] == "said by the test"
    assert said["protocol"] == "centroid, 8 µm"
    # false, found, false, found: precision 1/2 up to a recall of 2/3, so AP is 1/3, and 67 of
    # COCO's 101 recalls have 1/2
    assert said["average precision"] == "0.333"
    assert said["COCO mAP at IoU 0.50"] == "0.332"
    assert said["bias: mean of detected - annotated"] == "0.000"
    case = ["1", "1", "2", "2", "0.333", "0.333", "0.333", "3", "3", "300.000", "300.000"]
    assert case in found
    assert ["Aperio", *case[1:]] in found


def test_the_confusion_matrix_is_a_table(tmp_path: Path) -> None:
    text = page(tmp_path, [one_field(imposters=places((150, 90), (5, 115)))])
    assert "Mitosis, imposter, background" in headings(text)
    found = rows(text)
    at = found.index(["", "mitosis", "imposter", "background"])
    assert found[at + 1 : at + 4] == [
        ["mitosis", "1", "0", "2"],
        ["imposter", "1", "0", "1"],
        ["background", "1", "0", "–"],
    ]


def test_a_false_positive_on_an_imposter_is_said(tmp_path: Path) -> None:
    text = page(
        tmp_path,
        [one_field(imposters=places((150, 90)))],
        pixels=lambda source, window: paint(*(window[2:] if window else (200, 120)), []),
    )
    assert "0.700, annotated imposter: one at 150, 90" in captions(text)
    assert "0.900: one at 60, 100" in captions(text)


def test_without_pixels_there_are_no_crops(tmp_path: Path) -> None:
    text = page(tmp_path, [one_field()])
    assert headings(text) == ["Numbers", "Curves", "Cases", "Scanner"]
    assert len(pictures(text)) == 4
    assert {path.name for path in tmp_path.iterdir()} == {
        "pr.png", "froc.png", "cases.png", "agreement.png", "report.html",
    }  # fmt: skip


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_every_protocol_has_a_page(protocol: str, tmp_path: Path) -> None:
    other = one_field(image="two", case="2", imposters=places((150, 90)))
    text = page(
        tmp_path, [one_field(), other], protocol,
        pixels=lambda source, window: paint(*(window[2:] if window else (200, 120)), []),
    )  # fmt: skip
    assert get_protocol(protocol).title in text


def test_only_the_first_are_shown_and_it_is_said(tmp_path: Path) -> None:
    many = np.array([[20.0 * n, 50.0] for n in range(SHOWN + 4)])
    field = one_field(
        truth=places(), truth_sizes=None, detections=many, detection_sizes=None,
        scores=np.linspace(0.6, 0.9, len(many)),
    )  # fmt: skip
    asked = []

    def pixels(source: str, window: tuple[int, int, int, int] | None) -> RGB:
        asked.append(window)
        return paint(128, 128, [])

    text = page(tmp_path, [field], pixels=pixels)
    assert f"{SHOWN} of {SHOWN + 4} false positives" in text
    assert "No misses." in text
    assert ["mitoses detected, a mm²", f"{SHOWN + 4}, {100 * (SHOWN + 4)}.00"] in rows(text)
    windows = [window for window in asked if window]
    assert len(windows) == SHOWN
    assert windows[0] == (round(many[-1, 0]) - 64, 50 - 64, 128, 128)


def test_a_slide_is_not_drawn_whole() -> None:
    huge = one_field(size=(10_000, LARGEST // 10_000 + 1))
    small = one_field(image="small", truth=places(), truth_sizes=None)
    text = gallery([huge, small], 0.5, lambda source, window: paint(200, 120, []))
    assert captions(text) == ["small: 0 annotated, 3 detected"]


def test_nothing_at_all(tmp_path: Path) -> None:
    empty = one_field(
        truth=places(), truth_sizes=None, detections=places(), detection_sizes=None,
        scores=np.empty(0), domain={}, area_mm2=None,
    )  # fmt: skip
    text = page(tmp_path, [empty], pixels=lambda source, window: paint(200, 120, []))
    assert "No false positives." in text
    assert "No misses." in text
    said = {row[0]: row[1] for row in rows(text) if len(row) == 2}
    assert said["average precision"] == said["COCO mAP at IoU 0.50"] == "–"
    assert said["mitoses annotated, a mm²"] == "0"


def test_an_interval_over_images_is_explained() -> None:
    fields = [one_field(image=str(n)) for n in range(6)]
    metrics = evaluate(fields, PROTOCOLS["centroid"], 0.5, "x")
    assert "case-to-case variation is not in it" in numbers(metrics)
    ten = [replace(field, case=str(n)) for n, field in enumerate(fields * 2)]
    ten = [replace(field, image=str(n)) for n, field in enumerate(ten)]
    metrics = evaluate(ten, PROTOCOLS["centroid"], 0.5, "x")
    assert "95 % interval over cases" in numbers(metrics)
    assert "case-to-case" not in numbers(metrics)


def test_names_are_escaped(tmp_path: Path) -> None:
    field = one_field(image=NASTY, case=NASTY, domain={"scanner": NASTY})
    text = page(tmp_path, [field], pixels=lambda source, window: paint(200, 120, []))
    assert "<script" not in text


@pytest.mark.parametrize("window", [(0, 0, 30, 20), (40, 10, 40, 40), (80, 50, 30, 30)])
def test_a_window_is_a_part_of_the_source(
    window: tuple[int, int, int, int], tmp_path: Path
) -> None:
    cells = (Cell(48, 30), Cell(80, 40, 0.4))
    dataset = open_dataset(write_dataset(tmp_path / "d", [Source("a", "test", cells)]))
    left, top, width, height = window
    expected = np.full((height, width, 3), 255, np.uint8)
    part = paint(96, 64, cells)[top : top + height, left : left + width]
    expected[: part.shape[0], : part.shape[1]] = part
    assert np.array_equal(stitch(dataset, "a", window), expected)
    before = stitch(dataset, "a", (-10, -5, 40, 40))
    assert (before[:5] == 255).all() and (before[:, :10] == 255).all()
    assert tuple(before[5, 10]) == PINK
