"""What stands in the folder of a benchmark: each training, and its scores on each data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.files import read_json
from mitoyolo.benchmark.cells import INDEX, Cell
from mitoyolo.benchmark.entries import Entry
from mitoyolo.dataset import Dataset
from mitoyolo.evaluation.repeated import Repeated
from mitoyolo.inference.truths import read_truths
from mitoyolo.val import read_scored


@dataclass(frozen=True, kw_only=True)
class Row(Repeated):
    """One model trained on one data set and tested on one, from all of its seeds.

    Attributes
    ----------
    entry : Entry
    trained, tested : str
        Names of the data sets.
    start : str
        What it was trained from.
    facts : tuple of dict
        ``cell.json`` of each seed.
    epochs : int
    """

    entry: Entry
    trained: str
    tested: str
    start: str
    facts: tuple[dict[str, Any], ...]
    epochs: int

    @property
    def is_own(self) -> bool:
        """Whether it is tested on the data that it was trained on."""
        return self.trained == self.tested

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
        first = members[0]
        rows.append(
            Row(
                entry=first.entry,
                seeds=tuple(cell.seed for cell in members),
                trained=trained,
                tested=tested,
                start=first.start.name if first.start else "none",
                facts=tuple(read_json(cell.folder / INDEX) for cell in members),
                scored=tuple(read_scored(cell.scored(tested), truths[tested]) for cell in members),
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
