"""How far two readers agree on a batch, and what several of them say together.

Two marks are of one cell if their centres lie within 8 µm, one-to-one: by the gated assignment of
:mod:`mitoyolo.evaluation.matching`, which also scores detectors.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from converters.mpp import Mpp
from mitoyolo.evaluation.matching import assign
from mitoyolo.web.elements import label_of

RADIUS_UM = 8.0
"""As MITOS-ATYPIA-14 has it."""

UNMARKED = "unmarked"
"""The third category beside mitosis and imposter: what a reader says of a cell by leaving it."""

Element = dict[str, Any]
Opinions = Counter[tuple[str, str]]
"""(category of a, category of b) -> how many cells."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One cell by two readers."""

    a: Element
    b: Element
    distance_um: float

    @property
    def labels(self) -> tuple[str, str]:
        """What each calls it."""
        return label_of(self.a), label_of(self.b)


@dataclass(frozen=True, slots=True)
class Compared:
    """One tile by two readers: cells that both marked, and those that one did."""

    pairs: list[Pair] = field(default_factory=list)
    only_a: list[Element] = field(default_factory=list)
    only_b: list[Element] = field(default_factory=list)

    def opinions(self) -> Opinions:
        """How often each pair of categories is given to a cell that either marked."""
        return Opinions(
            [pair.labels for pair in self.pairs]
            + [(label_of(item), UNMARKED) for item in self.only_a]
            + [(UNMARKED, label_of(item)) for item in self.only_b]
        )


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two readers on the tiles that both have read, by tile id."""

    tiles: dict[int, Compared]
    consensus: dict[int, list[Element]]

    @property
    def pairs(self) -> list[Pair]:
        """All cells that both marked."""
        return [pair for tile in self.tiles.values() for pair in tile.pairs]

    @property
    def opinions(self) -> Opinions:
        """Of all tiles."""
        return sum((tile.opinions() for tile in self.tiles.values()), Opinions())


def agreement(marks: Mapping[int, Sequence[Sequence[Element]]], mpp: Mpp) -> Agreement:
    """Compare two readers.

    Parameters
    ----------
    marks : mapping
        Tile id -> the elements of each of the two.
    mpp : (float, float)
        µm per pixel of the tiles.
    """
    return Agreement(
        {tile: compare(a, b, mpp) for tile, (a, b) in marks.items()},
        {tile: consensus(both, mpp) for tile, both in marks.items()},
    )


def compare(
    a: Sequence[Element], b: Sequence[Element], mpp: Mpp, radius_um: float = RADIUS_UM
) -> Compared:
    """Match two readers' elements of one tile of ``mpp`` µm/px, whatever their labels are."""
    of_a, of_b = _places(a, mpp), _places(b, mpp)
    matched = assign(of_a, of_b, radius_um)
    pairs = [Pair(a[i], b[j], math.dist(of_a[i], of_b[j])) for i, j in matched.tolist()]
    taken_a, taken_b = set(matched[:, 0].tolist()), set(matched[:, 1].tolist())
    return Compared(
        pairs,
        [item for i, item in enumerate(a) if i not in taken_a],
        [item for i, item in enumerate(b) if i not in taken_b],
    )


def _places(items: Sequence[Element], mpp: Mpp) -> np.ndarray:
    """Centres in µm, (n, 2)."""
    centres = np.array([item["center"][:2] for item in items], np.float64)
    return centres.reshape(-1, 2) * mpp


def kappa(opinions: Opinions) -> float | None:
    """Cohen's kappa of two readers over cells: agreement beyond what chance gives.

    The categories are mitosis, imposter and unmarked, the cells those that either reader marked.
    Cells that neither marked cannot be counted, so kappa is the least that it can be: two readers
    who leave the same thousand nuclei alone get nothing for it, and where hardly any imposter is
    marked it is near or below 0 though they agree on most mitoses. It is to be read with
    :func:`f_measure`, towards which the kappa of all nuclei tends (Hripcsak and Rothschild).

    Parameters
    ----------
    opinions : Counter
        (category of a, category of b) -> cells.

    Returns
    -------
    float or None
        None without cells, or where chance alone gives full agreement.

    References
    ----------
    Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement
    1960;20:37-46. Hripcsak and Rothschild, Agreement, the F-measure, and reliability in information
    retrieval, J Am Med Inform Assoc 2005;12:296-298.
    """
    total = opinions.total()
    if not total:
        return None
    of_a, of_b = Counter[str](), Counter[str]()
    for (a, b), times in opinions.items():
        of_a[a] += times
        of_b[b] += times
    observed = sum(times for (a, b), times in opinions.items() if a == b) * total
    chance = sum(times * of_b[category] for category, times in of_a.items())
    possible = total * total
    return (observed - chance) / (possible - chance) if chance < possible else None


def f_measure(opinions: Opinions) -> float | None:
    """The positive specific agreement on mitoses: 2 n_both / (n_a + n_b); None without any."""
    marked = sum(
        times * ((a == "mitosis") + (b == "mitosis")) for (a, b), times in opinions.items()
    )
    return 2 * opinions["mitosis", "mitosis"] / marked if marked else None


# --- consensus --------------------------------------------------------------------------------


def consensus(readers: Sequence[Sequence[Element]], mpp: Mpp) -> list[Element]:
    """What several readers of one tile say together.

    A cell is a mitosis if more than half of the readers call it one; every other cell that any of
    them marked is an imposter, since it looked like one. That is the rule of the MIDOG data sets.
    Of two readers both must agree. Each cell is as the first who gave it its label drew it, or the
    first of all.

    Parameters
    ----------
    readers : sequence of sequences of elements
        Each reader's.
    mpp : (float, float)
        µm per pixel of the tile.

    References
    ----------
    Aubreville et al., A comprehensive multi-domain dataset for mitotic figure detection, Scientific
    Data 2023;10:484.
    """
    cells: list[list[Element]] = []
    for marks in readers:
        matched = assign(
            _places([cell[0] for cell in cells], mpp), _places(marks, mpp), RADIUS_UM
        ).tolist()
        for i, j in matched:
            cells[i].append(marks[j])
        taken = {j for _, j in matched}
        cells += [[item] for j, item in enumerate(marks) if j not in taken]
    return [_agreed(cell, len(readers)) for cell in cells]


def _agreed(cell: Sequence[Element], readers: int) -> Element:
    votes = sum(label_of(item) == "mitosis" for item in cell)
    label = "mitosis" if 2 * votes > readers else "imposter"
    drawn = next((item for item in cell if label_of(item) == label), cell[0])
    return {**drawn, "label": {"value": label}}
