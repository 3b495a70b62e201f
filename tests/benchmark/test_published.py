"""The published figures: sound, with a source each, as the papers print them, and on the page."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from converters.presets import preset_names
from mitoyolo.benchmark.published import Published, notes, published
from mitoyolo.evaluation.protocols import PROTOCOLS

ROWS = published()
PAGE = (Path(__file__).parents[2] / "docs" / "published.md").read_text(encoding="utf-8")

KMIT = ("table", "dataset", "training", "test", "method", "f1", "recall", "precision", "duration")
OTHERS = ("dataset", "method", "f1", "precision", "recall", "protocol", "scored", "comparable")


def line(row: Published) -> str:
    """The row as a line of a table of the page."""
    columns = KMIT if row.paper == "kmit" else (*OTHERS, "source")
    seen = f"[search]({row.page})" if row.seen == "search" else row.seen
    return f"| {' | '.join([*(cell(getattr(row, column)) for column in columns), seen])} |"


def cell(value: str | float | bool | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def spaced(text: str) -> str:
    return " ".join(text.split())


def harmonic(row: Published) -> tuple[float, float]:
    """Least and greatest F1 of the row's precision and recall, each rounded as printed."""
    printed = [row.precision or 0.0, row.recall or 0.0]
    half = [0.5 * 10 ** -len(str(value).partition(".")[2]) for value in printed]
    low, high = (
        [value + sign * step for value, step in zip(printed, half, strict=True)] for sign in (-1, 1)
    )
    return 2 * low[0] * low[1] / sum(low), 2 * high[0] * high[1] / sum(high)


def in_table(paper: str, table: str, **wanted: object) -> list[float]:
    return [
        row.f1
        for row in published(paper)
        if row.table == table and wanted.items() <= asdict(row).items()
    ]


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.paper}-{n}" for n, row in enumerate(ROWS)])
def test_a_row_is_sound(row):
    ratios = [row.f1, row.precision, row.recall]
    assert all(isinstance(ratio, float) and 0 < ratio < 1 for ratio in ratios if ratio is not None)
    assert all(type(n) is int and n > 0 for n in (row.training, row.test) if n is not None)
    assert row.protocol in (None, *PROTOCOLS)
    assert row.protocol or not row.comparable
    texts = [value for value in asdict(row).values() if isinstance(value, str)]
    assert all(text == spaced(text) and "|" not in text for text in texts)
    assert row.dataset and row.method and row.scored and row.why
    assert re.search(r"\b(20[12]\d)\b|not at hand|arXiv:\d{4}\.\d{5}", row.source)
    assert row.seen in ("search", "project", "memory")
    assert row.page.startswith("https://") or row.seen != "search"


def test_comparable_rows_name_a_preset_that_exists():
    named = [re.findall(r"--preset (\w+)", row.why) for row in ROWS if row.comparable]
    assert named and all(len(names) == 1 and names[0] in preset_names() for names in named)


def test_no_figure_stands_twice():
    keys = [(row.paper, row.table, row.dataset, row.scored, row.method) for row in ROWS]
    assert len(set(keys)) == len(keys)


def test_f1_follows_from_precision_and_recall_but_in_the_paper_whose_notes_say_so():
    both = [row for row in ROWS if row.precision and row.recall]
    wrong = [
        row for row in both if not harmonic(row)[0] - 5e-4 <= row.f1 <= harmonic(row)[1] + 5e-4
    ]
    kmit = [row for row in both if row.paper == "kmit"]
    assert len(both) > len(kmit) == 6
    assert wrong == kmit
    assert "No F1 of Table II follows" in " ".join(notes("kmit"))


def test_the_kmit_paper_against_itself():
    table = [0.8548, 0.8146, 0.8215, 0.7586]
    text = [0.821, 0.75, 0.84, 0.77]
    assert in_table("kmit", "Table II", method="Faster R-CNN") == table
    assert in_table("kmit", "text") == text
    said = notes("kmit")[0]
    assert all(str(figure) in said for figure in (*table, *text))
    models = [row.method for row in published("kmit") if row.training == 45006]
    assert models == ["Faster R-CNN", "YOLOv5", "YOLOv5 distributed"]


def test_the_kmit_split_was_taken_after_augmentation():
    (leak,) = (note for note in notes("kmit") if "leak" in note)
    tiles = {row.dataset: row.training + row.test for row in published("kmit") if row.training}
    assert tiles == {"ICPR 2012": 4367, "KMIT": 56257}
    assert "4,367" in leak and "all but one of the 56,258" in leak
    assert not any(row.comparable for row in published("kmit"))


def test_the_mitos_rcnn_paper_against_itself():
    assert in_table("mitos-rcnn", "Table II") == [0.502, 0.709, 0.955]
    said = notes("mitos-rcnn")
    assert "Fig. 4" in said[0] and "swapped" in said[0]
    assert "Table III" in said[1] and "not at hand" in said[1]
    assert "0.900" in said[1] and round(0.955 / 1.0611, 3) == 0.9
    assert "0.894" in said[1] and round(0.955 - 0.0611, 3) == 0.894


def test_one_paper_with_and_without_notes_and_one_that_is_not_there():
    assert notes("paeng-2017") == ()
    assert {row.paper for row in published("deepmitosis")} == {"deepmitosis"}
    for ask in (notes, published):
        with pytest.raises(KeyError):
            ask("nobody-1900")


def test_the_page_has_every_row_and_no_other():
    ours = [
        text
        for text in PAGE.splitlines()
        if re.search(r"\| (\[search\].*|project|memory) \|$", text)
    ]
    assert sorted(ours) == sorted(map(line, ROWS))


def test_the_page_has_every_note_and_every_reason():
    page = spaced(PAGE)
    said = {note for row in ROWS for note in (*notes(row.paper), row.why, row.note)}
    assert [note for note in said if spaced(note) not in page] == []
