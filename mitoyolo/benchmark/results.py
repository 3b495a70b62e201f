"""What stands in the folder of a benchmark: each training, and its scores on each data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from converters.files import read_json
from mitoyolo.benchmark.cells import INDEX, Cell
from mitoyolo.benchmark.entries import Entry
from mitoyolo.dataset import Dataset
from mitoyolo.evaluation.bootstrap import Interval, f1_interval
from mitoyolo.evaluation.fields import Field
from mitoyolo.evaluation.metrics import Counts, count, paired
from mitoyolo.evaluation.protocols import Protocol, get_protocol
from mitoyolo.inference.predictions import read_predictions
from mitoyolo.inference.tables import PREDICTIONS
from mitoyolo.inference.truths import read_truths
from mitoyolo.val import INDEX as METRICS


@dataclass(frozen=True)
class Scored:
    """One model from one seed, on the test split of one data set.

    Attributes
    ----------
    metrics : dict
        ``metrics.json``.
    fields : tuple of Field
        Truths and detections, in the order of their images.
    """

    metrics: dict[str, Any]
    fields: tuple[Field, ...]

    def counts(self, protocol: Protocol) -> Counts:
        """Counted by any rule, at the threshold that the validation split gave."""
        return count(self.fields, protocol, self.metrics["threshold"])


@dataclass(frozen=True)
class Row:
    """One model trained on one data set and tested on one, from all of its seeds.

    Attributes
    ----------
    entry : Entry
    seeds : tuple of int
    trained, tested : str
        Names of the data sets.
    start : str
        What it was trained from.
    facts : tuple of dict
        ``cell.json`` of each seed.
    scored : tuple of Scored
        Of each seed, in the same order.
    epochs : int
    """

    entry: Entry
    seeds: tuple[int, ...]
    trained: str
    tested: str
    start: str
    facts: tuple[dict[str, Any], ...]
    scored: tuple[Scored, ...]
    epochs: int

    @property
    def protocol(self) -> Protocol:
        """By which thresholds were chosen and the detections are counted."""
        return get_protocol(self.scored[0].metrics["protocol"])

    @property
    def is_own(self) -> bool:
        """Whether it is tested on the data that it was trained on."""
        return self.trained == self.tested

    def pooled(self, protocol: Protocol) -> Counts:
        """The counts of all seeds, image by image."""
        of_seeds = [one.counts(protocol).per_field for one in self.scored]
        return Counts(per_field=np.sum(of_seeds, axis=0))

    @cached_property
    def counts(self) -> Counts:
        """:meth:`pooled` by the row's own protocol."""
        return self.pooled(self.protocol)

    @property
    def f1s(self) -> list[float | None]:
        """F1 of each seed."""
        return [one.metrics["f1"] for one in self.scored]

    @property
    def cases(self) -> list[str]:
        """The case of each image."""
        return [field.case for field in self.scored[0].fields]

    def interval(self, protocol: Protocol | None = None) -> Interval:
        """95 % interval of the F1 of all seeds together, the scorer's own."""
        counts = self.pooled(protocol) if protocol else self.counts
        return f1_interval(counts.per_field, self.cases, seed=0)

    def against(self, other: Row) -> dict[str, Any]:
        """F1 less another's on the same images, :func:`mitoyolo.evaluation.metrics.paired`."""
        return paired(self.counts, other.counts, self.cases, seed=0)

    def mean(self, key: str) -> float | None:
        """Mean over the seeds of a number of ``cell.json``."""
        values = [facts[key] for facts in self.facts if facts.get(key) is not None]
        return float(np.mean(values)) if values else None


def read_rows(
    done: Sequence[tuple[Cell, Sequence[str]]], datasets: Mapping[str, Dataset]
) -> list[Row]:
    """The rows of cells that are done, each with the data sets that it is scored on.

    They come by data set tested on, then trained on; models in the order in which they are met.
    """
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell, names in done:
        for name in names:
            groups.setdefault((name, cell.data, cell.entry.name), []).append(cell)
    truths = {name: read_truths(dataset.root) for name, dataset in datasets.items()}
    rows = []
    for (tested, trained, _), members in groups.items():
        scored = []
        for cell in members:
            folder = cell.scored(tested)
            found = read_predictions(folder / PREDICTIONS, truths[tested])
            fields = sorted(truths[tested].fields(found), key=lambda field: field.image)
            scored.append(Scored(read_json(folder / METRICS), tuple(fields)))
        first = members[0]
        rows.append(
            Row(
                entry=first.entry,
                seeds=tuple(cell.seed for cell in members),
                trained=trained,
                tested=tested,
                start=first.start.name if first.start else "none",
                facts=tuple(read_json(cell.folder / INDEX) for cell in members),
                scored=tuple(scored),
                epochs=first.epochs,
            )
        )
    order = list(datasets)
    models = [cell.entry.name for cell, _ in done]
    return sorted(
        rows,
        key=lambda row: (
            order.index(row.tested), order.index(row.trained), models.index(row.entry.name),
        ),
    )  # fmt: skip
