"""The tables of a benchmark, from its rows: both papers' own, and what a choice of model needs."""

from __future__ import annotations

from collections.abc import Sequence

from mitoyolo.benchmark.published import Published
from mitoyolo.benchmark.results import Row
from mitoyolo.dataset import Dataset
from mitoyolo.evaluation.cells import CELLS
from mitoyolo.evaluation.protocols import PROTOCOLS, Protocol
from mitoyolo.report.page import difference, interval, spread
from mitoyolo.report.table import Table, Value

KMIT = ("faster-rcnn", "faster-rcnn-x101", "yolov5n", "yolov5s", "yolov5n-ddp")
"""The rows of the KMIT paper."""

RAO = ("vgg16", "vgg16-conv4", "mitos-rcnn")
"""The rows of the MITOS-RCNN paper, in the order of its Table II."""

REFERENCE = "yolov5n"
"""What the others are compared with."""


def detectors(rows: Sequence[Row], datasets: dict[str, Dataset]) -> Table:
    """Every model on the data that it was trained on: the columns of the KMIT paper's Table II."""
    own = [row for row in rows if row.is_own]
    return Table(
        "detectors",
        "Detectors",
        f"On whole images of the test split, by {_rules(own)}; threshold and epoch from the "
        "validation split (torchvision's loop keeps its last epoch). F1, recall and precision of "
        "all seeds' detections together, with the "
        "95 % interval of F1 by the bootstrap; then the mean of the seeds' F1 and its standard "
        "deviation; F1 less that of YOLOv5n on the same images, with its interval.",
        ("data set", "training tiles", "test tiles", "model", "start", "epochs", "F1", "95 %",
         "recall", "precision", "seeds", "F1 of seeds", f"against {REFERENCE}", "false a mm²",
         "training, min"),
        tuple(_detector(row, rows, datasets[row.tested]) for row in own),
    )  # fmt: skip


def _detector(row: Row, rows: Sequence[Row], dataset: Dataset) -> tuple[Value, ...]:
    counts = row.counts
    return (
        row.tested,
        len(dataset.of_split("train")),
        len(dataset.of_split("test")),
        row.entry.title,
        row.start,
        row.epochs,
        counts.f1,
        interval(row.interval()[0]),
        counts.recall,
        counts.precision,
        ", ".join(map(str, row.seeds)),
        spread(row.f1s),
        _difference(row, rows),
        row.false_per_mm2(),
        _minutes(row.mean("training_s")),
    )


def _difference(row: Row, rows: Sequence[Row]) -> str | None:
    """Against the reference trained and tested on the same data from the same seeds."""
    others = [
        other
        for other in rows
        if other.entry.name == REFERENCE
        and (other.trained, other.tested) == (row.trained, row.tested)
        and other.seeds == row.seeds
    ]
    if not others or others[0] is row:
        return None
    return difference(row.against(others[0]))


def kmit(
    rows: Sequence[Row], published: Sequence[Published], datasets: dict[str, Dataset]
) -> Table:
    """The KMIT paper's Table II, ours above the published."""
    own = [row for row in rows if row.is_own and row.entry.name in KMIT]
    ours = [
        (
            row.tested,
            len(datasets[row.tested].of_split("train")),
            len(datasets[row.tested].of_split("test")),
            row.entry.title,
            counts.f1,
            counts.recall,
            counts.precision,
            _duration(row.mean("training_s")),
        )
        for row in own
        for counts in [row.counts]
    ]
    return Table(
        "kmit-table-2",
        "The KMIT paper's Table II",
        f"{f'Ours by {_rules(own)}; the' if own else 'The'} published figures as they are printed.",
        ("data set", "training tiles", "test tiles", "model", "F1", "recall", "precision",
         "training"),
        (*ours, *map(_published, published)),
    )  # fmt: skip


def rao(rows: Sequence[Row], published: Sequence[Published]) -> Table:
    """The MITOS-RCNN paper's Table II."""
    rule = PROTOCOLS["mitos-rcnn"]
    ours = []
    for row in _of_rao(rows):
        counts = row.pooled(rule)
        between = interval(row.interval(rule)[0])
        ours.append((row.tested, row.entry.title, counts.f1, between, counts.recall,
                     counts.precision))  # fmt: skip
    theirs = [
        (_place(one), one.method, *_ratios(one.f1, None, one.recall, one.precision))
        for one in published
    ]
    return Table(
        "rao-table-2",
        "The MITOS-RCNN paper's Table II",
        f"By {rule.title}: of up to {CELLS} annotated mitoses and {CELLS} look-alikes, which are "
        "called mitoses; what is detected elsewhere costs nothing. Thresholds are those of the "
        "first table; all seeds together. Data without annotated look-alikes have no row.",
        ("data set", "model", "F1", "95 %", "recall", "precision"),
        (*ours, *theirs),
    )


def confusions(rows: Sequence[Row]) -> Table:
    """The MITOS-RCNN paper's Fig. 4: a confusion matrix a model, a row each."""
    rule = PROTOCOLS["mitos-rcnn"]
    found = []
    for row in _of_rao(rows):
        lookalikes = sum(len(field.imposters) for field in row.scored[0].fields)
        for seed, one in zip(row.seeds, row.scored, strict=True):
            counts = one.counts(rule)
            right = min(CELLS, lookalikes) - counts.fp
            found.append(
                (row.tested, row.entry.title, seed, counts.tp, counts.fn, counts.fp, right)
            )
    return Table(
        "rao-figure-4",
        "The MITOS-RCNN paper's Fig. 4",
        f"By {rule.title}, a row a seed: annotated mitoses and look-alikes by what the model calls "
        "them.",
        ("data set", "model", "seed", "mitoses called mitosis", "mitoses not",
         "look-alikes called mitosis", "look-alikes not"),
        tuple(found),
    )  # fmt: skip


def crossed(rows: Sequence[Row]) -> Table:
    """Trained on one data set, tested on another."""
    foreign = [row for row in rows if not row.is_own]
    return Table(
        "crossed",
        "Trained on one data set, tested on another",
        f"By {_rules(foreign)} on the other's test split, brought to the model's µm/px and "
        "colours, at the threshold of the model's own validation split; all seeds together.",
        ("trained on", "tested on", "model", "F1", "95 %", "recall", "precision"),
        tuple(
            (row.trained, row.tested, row.entry.title, counts.f1, interval(row.interval()[0]),
             counts.recall, counts.precision)
            for row in foreign
            for counts in [row.counts]
        ),
    )  # fmt: skip


def costs(rows: Sequence[Row]) -> Table:
    """Size and speed."""
    own = [row for row in rows if row.is_own]
    return Table(
        "cost",
        "Size and speed",
        "Means over the seeds. GFLOPs of one tile at the model's input, a multiply-add being two; "
        "ms a tile one at a time, medians; training with its own validation, which torchvision's "
        "loop lacks, and of peers with the seconds of setting up; memory is the most that the "
        "training's first process held. "
        f"F1 by {_rules(own)}.",
        ("data set", "model", "parameters, M", "input, px", "GFLOPs", "torch, ms a tile",
         "OpenVINO, ms a tile", "training, tiles/s", "training, MiB", "F1"),
        tuple(
            (row.tested, row.entry.title, _scaled(row.mean("parameters"), 1e6),
             _whole(row.mean("imgsz")), row.mean("gflops"), row.mean("torch_ms"),
             row.mean("openvino_ms"), row.mean("images_per_s"),
             _whole(row.mean("training_memory_mib")), row.counts.f1)
            for row in own
        ),
    )  # fmt: skip


def by_protocol(rows: Sequence[Row]) -> Table:
    """The same predictions under every rule."""
    return Table(
        "protocols",
        "The same predictions by every protocol",
        "F1 of all seeds together, at the thresholds that the data set's own protocol gave. "
        "Rules differ in radius, in what a second detection of a mitosis is, and in whether "
        "detections elsewhere count: values of two columns cannot be compared.",
        ("trained on", "tested on", "model", *PROTOCOLS),
        tuple(
            (row.trained, row.tested, row.entry.title,
             *(_f1(row, rule) for rule in PROTOCOLS.values()))
            for row in rows
        ),
    )  # fmt: skip


def elsewhere(published: Sequence[Published]) -> Table:
    """What others have published."""
    return Table(
        "published",
        "Published figures",
        "As their sources print them, whether a figure of ours on the same images by the same "
        "protocol may stand beside them, and how they were seen: on a page found by searching, "
        "stated by the project's maintainers, or from memory, to be checked.",
        ("data set", "method", "F1", "precision", "recall", "protocol", "scored on",
         "comparable", "why", "source", "seen"),
        tuple(
            (one.dataset, one.method, *_ratios(one.f1, one.precision, one.recall),
             one.protocol or None, one.scored, "yes" if one.comparable else "no",
             "; ".join(filter(None, (one.why, one.note))), one.source, one.seen)
            for one in published
        ),
    )  # fmt: skip


# --- cells ------------------------------------------------------------------------------------


def _rules(rows: Sequence[Row]) -> str:
    return " and ".join(dict.fromkeys(row.protocol.title for row in rows)) or "no rule: no row"


def _published(one: Published) -> tuple[Value, ...]:
    return (
        _place(one), one.training, one.test, one.method,
        *_ratios(one.f1, one.recall, one.precision), one.duration or None,
    )  # fmt: skip


def _ratios(*values: float | None) -> tuple[str | None, ...]:
    """With the digits that were printed."""
    return tuple(None if value is None else str(value) for value in values)


def _place(one: Published) -> str:
    """Where a figure stands, and of what it is."""
    return f"the paper, {one.table}: {one.dataset}"


def _of_rao(rows: Sequence[Row]) -> list[Row]:
    """The MITOS-RCNN paper's models, in its order, on their own data."""
    own = [row for row in rows if row.is_own and row.entry.name in RAO and _has_imposters(row)]
    return sorted(own, key=lambda row: RAO.index(row.entry.name))


def _has_imposters(row: Row) -> bool:
    return any(len(field.imposters) for field in row.scored[0].fields)


def _f1(row: Row, rule: Protocol) -> float | None:
    """Undefined where a rule has nothing that could be false."""
    return None if rule.against_imposters and not _has_imposters(row) else row.pooled(rule).f1


def _minutes(seconds: float | None) -> float | None:
    return _scaled(seconds, 60.0)


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else round(value / by, 2)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
