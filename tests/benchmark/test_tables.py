"""Tables of a benchmark: of detections whose counts are known by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mitoyolo.benchmark import tables
from mitoyolo.benchmark.entries import ENTRIES
from mitoyolo.benchmark.published import published
from mitoyolo.benchmark.results import Row
from mitoyolo.benchmark.write import best_of
from mitoyolo.evaluation.fields import Field
from mitoyolo.evaluation.metrics import evaluate
from mitoyolo.evaluation.protocols import PROTOCOLS, get_protocol
from mitoyolo.evaluation.repeated import Scored
from mitoyolo.report.table import Table, Value, markdown

FACTS: dict[str, Any] = {
    "training_s": 90.0, "images_per_s": 4.0, "training_memory_mib": 1000.4, "parameters": 2_500_000,
    "gflops": 7.1, "imgsz": 256, "torch_ms": 12.0, "openvino_ms": None,
}  # fmt: skip
IMAGES = 6
DATA: Any = {
    name: SimpleNamespace(of_split=lambda split: range({"train": 30, "test": 12}[split]))
    for name in ("a", "b")
}


def field(image: int, found: Sequence[float], scores: Sequence[float] = ()) -> Field:
    """A mitosis at x 50 and one at 150, a look-alike at 250; detections along a line, in µm."""
    places = np.array([(x, 50.0) for x in found]).reshape(-1, 2)
    return Field(
        image=f"i{image}", case=f"c{image // 2}", mpp=(1.0, 1.0),
        truth=np.array([(50.0, 50.0), (150.0, 50.0)]),
        truth_sizes=np.full((2, 2), 16.0),
        detections=places,
        detection_sizes=np.full((len(found), 2), 16.0),
        scores=np.array(scores or [0.9] * len(found)),
        imposters=np.array([(250.0, 50.0)]),
        area_mm2=0.5,
    )  # fmt: skip


def scored(found: Sequence[float], scores: Sequence[float] = ()) -> Scored:
    fields = tuple(field(i, found, scores) for i in range(IMAGES))
    return Scored(evaluate(fields, get_protocol("atypia14"), 0.5, "val split"), fields)


def row(name: str, *seeds: Scored, trained: str = "a", tested: str = "a") -> Row:
    facts = tuple({**FACTS, "training_s": 60.0 * (i + 1)} for i in range(len(seeds)))
    numbers = tuple(range(len(seeds)))
    return Row(
        entry=ENTRIES[name], seeds=numbers, trained=trained, tested=tested, start="none",
        facts=facts, scored=seeds, epochs=5,
    )  # fmt: skip


BOTH = scored([50, 150])  # F1 1
ONE = scored([50])  # F1 2/3
WRONG = scored([50, 250])  # one found, the look-alike taken: F1 1/2


def cell(table: Table, row: int, column: str) -> Value:
    return table.rows[row][table.columns.index(column)]


def test_seeds_are_counted_together() -> None:
    table = tables.detectors([row("yolov5n", BOTH, ONE)], DATA)
    assert cell(table, 0, "F1") == pytest.approx(2 * 18 / (2 * 18 + 6))
    assert cell(table, 0, "recall") == pytest.approx(18 / 24)
    assert cell(table, 0, "F1 of seeds") == "0.833 ± 0.236"
    assert cell(table, 0, "training, min") == 1.5
    assert cell(table, 0, "training tiles") == 30
    assert "atypia14, 8 µm" in table.caption


def test_false_positives_a_mm2_are_those_of_one_seed() -> None:
    table = tables.detectors([row("yolov5n", WRONG, WRONG)], DATA)
    assert cell(table, 0, "false a mm²") == pytest.approx(2.0)


def test_differences_are_from_the_reference_on_the_same_images() -> None:
    rows = [row("yolov5n", ONE), row("mitos-rcnn", BOTH), row("vgg16", ONE)]
    table = tables.detectors(rows, DATA)
    column = [cell(table, i, "against yolov5n") for i in range(3)]
    assert column == [None, "+0.333 (+0.333 to +0.333)", "+0.000 (+0.000 to +0.000)"]


def test_other_seeds_are_not_compared() -> None:
    other = replace(row("vgg16", BOTH), seeds=(3,))
    table = tables.detectors([row("yolov5n", ONE), other], DATA)
    assert cell(table, 1, "against yolov5n") is None
    assert [cell(table, i, "seeds") for i in range(2)] == ["0", "3"]


def test_foreign_rows_stand_in_their_own_table() -> None:
    rows = [row("yolov5n", ONE), row("yolov5n", BOTH, trained="b", tested="a")]
    assert len(tables.detectors(rows, DATA).rows) == 1
    assert len(tables.costs(rows).rows) == 1
    crossed = tables.crossed(rows)
    assert crossed.rows[0][:4] == ("b", "a", "YOLOv5n", 1.0)


def test_the_threshold_of_each_seed_is_its_own() -> None:
    low = scored([50, 150], [0.9, 0.3])
    low = replace(low, metrics={**low.metrics, "threshold": 0.2})
    high = scored([50, 150], [0.9, 0.3])
    assert row("yolov5n", low, high).counts.tp == 18


def test_the_kmit_table_holds_both_of_the_papers_figures() -> None:
    table = tables.kmit([row("yolov5n", ONE), row("vgg16", ONE)], published("kmit"), DATA)
    ours, *theirs = table.rows
    assert ours[3] == "YOLOv5n"
    assert ours[-1] == "1 min 00 s"
    f1s = [line[4] for line in theirs]
    assert {"0.8548", "0.8146", "0.8215", "0.7586"} <= set(f1s)  # its Table II
    assert {"0.821", "0.75", "0.84", "0.77"} <= set(f1s)  # its text


def test_the_matrices_are_of_annotated_cells() -> None:
    rows = [row("mitos-rcnn", BOTH), row("vgg16", WRONG), row("yolov5n", WRONG)]
    table = tables.confusions(rows)
    assert [line[1:] for line in table.rows] == [
        ("Faster R-CNN, VGG-16", 0, 6, 6, 6, 0),
        ("MITOS-RCNN", 0, 12, 0, 0, 6),
    ]


def test_raos_table_is_in_the_papers_order_with_its_figures() -> None:
    table = tables.rao([row("mitos-rcnn", BOTH), row("vgg16", WRONG)], published("mitos-rcnn"))
    assert [line[2] for line in table.rows] == [
        pytest.approx(0.5), pytest.approx(1.0), "0.502", "0.709", "0.955",
    ]  # fmt: skip
    assert "mitos-rcnn, 8 µm" in table.caption


def test_a_row_under_every_protocol() -> None:
    table = tables.by_protocol([row("yolov5n", scored([57.7, 150]))])
    found = dict(zip(table.columns[3:], table.rows[0][3:], strict=True))
    assert list(found) == list(PROTOCOLS)
    assert found["atypia14"] == 1.0  # 7.7 µm
    assert found["amida13"] == found["midog"] == pytest.approx(0.5)  # 7.5 µm


def test_without_look_alikes_nothing_could_be_false() -> None:
    bare = scored([50, 250])
    fields = tuple(replace(one, imposters=np.empty((0, 2))) for one in bare.fields)
    table = tables.by_protocol([row("yolov5n", replace(bare, fields=fields))])
    assert cell(table, 0, "mitos-rcnn") is None
    assert cell(table, 0, "atypia14") == pytest.approx(0.5)
    vgg = [row("vgg16", replace(bare, fields=fields))]
    assert tables.rao(vgg, ()).rows == tables.confusions(vgg).rows == ()


def test_an_undefined_f1_is_not_averaged_away() -> None:
    nothing = tuple(
        replace(field(i, []), truth=np.empty((0, 2)), truth_sizes=None) for i in range(6)
    )
    empty = Scored(evaluate(nothing, get_protocol("atypia14"), 0.5, "val"), nothing)
    table = tables.detectors([row("yolov5n", BOTH, empty)], DATA)
    assert cell(table, 0, "F1 of seeds") == "undefined"


def test_published_figures_say_whether_they_are_comparable() -> None:
    table = tables.elsewhere(published("veta-2015"))
    assert cell(table, 0, "F1") == "0.611"
    assert cell(table, 0, "comparable") == "yes"
    assert cell(table, 0, "seen") == "memory"


def test_every_column_of_the_papers_tables() -> None:
    one = published("kmit")[4]
    table = tables.kmit([row("yolov5n", WRONG, WRONG)], [one], DATA)
    ours, theirs = (dict(zip(table.columns, line, strict=True)) for line in table.rows)
    assert (ours["training tiles"], ours["test tiles"]) == (30, 12)
    assert (ours["recall"], ours["precision"]) == (pytest.approx(0.5), pytest.approx(0.5))
    assert theirs == {
        "data set": "the paper, Table II: KMIT", "training tiles": 45006, "test tiles": 11251,
        "model": "YOLOv5", "F1": "0.8423", "recall": "0.8162", "precision": "0.8676",
        "training": "9 h 12 min",
    }  # fmt: skip


def test_every_column_of_the_costs() -> None:
    table = tables.costs([row("yolov5n", BOTH, ONE)])
    assert dict(zip(table.columns, table.rows[0], strict=True)) == {
        "data set": "a", "model": "YOLOv5n", "parameters, M": 2.5, "input, px": 256, "GFLOPs": 7.1,
        "torch, ms a tile": 12.0, "OpenVINO, ms a tile": None, "training, tiles/s": 4.0,
        "training, MiB": 1000, "F1": pytest.approx(36 / 42),
    }  # fmt: skip


def test_hours_are_told_as_such() -> None:
    long = row("yolov5n", BOTH)
    long = replace(long, facts=({**FACTS, "training_s": 7500.0},))
    assert tables.kmit([long], (), DATA).rows[0][-1] == "2 h 05 min"


def test_recall_and_precision_of_others_data() -> None:
    lone = scored([50])
    table = tables.crossed([row("yolov5n", lone, trained="b")])
    assert cell(table, 0, "recall") == pytest.approx(0.5)
    assert cell(table, 0, "precision") == 1.0
    assert cell(table, 0, "95 %") == "0.667 to 0.667"


def test_what_a_source_notes_is_told() -> None:
    (one,) = published("shen-2025")
    assert "test images of MIDOG 2022" in str(cell(tables.elsewhere([one]), 0, "why"))
    fields = dict(
        zip(*[(t := tables.elsewhere(published("chen-2016"))).columns, t.rows[0]], strict=True)
    )
    assert (fields["precision"], fields["recall"]) == ("0.804", "0.772")


def test_markdown() -> None:
    table = Table("n", "Title", "Caption.", ("a|b", "c"), ((None, 0.12345), ("x", 3)))
    assert markdown(table) == (
        "## Title\n\nCaption.\n\n| a\\|b | c |\n| --- | --- |\n| – | 0.123 |\n| x | 3 |\n"
    )


def test_the_line_of_what_nothing_outdoes() -> None:
    points = [(3.0, 0.9), (1.0, 0.5), (2.0, 0.4), (1.0, 0.3), (4.0, 0.9)]
    assert best_of(points) == [(1.0, 0.5), (3.0, 0.9)]
