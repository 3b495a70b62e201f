"""One-to-one gated assignment: the most matches within a radius, then the least total distance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

from mitoyolo.evaluation.fields import FloatArray, IntArray

SLACK_UM = 1e-6
"""Added to every radius. It is inclusive, and pixel times µm/px is not exact in binary: 80 px at
0.1 µm/px may come out a hair above 8 µm. A picometre is far below any annotation."""

CELLS = 2**20
"""A side, at most. Beyond this many radii cells are wider, and their numbers stay exact."""

DENSE_CELLS = 1_000_000
"""Components with more truth-detection cells than this are solved as sparse graphs."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """Truth-detection pairs in range of each other."""

    truth: IntArray  # (e,) index of the truth
    detection: IntArray  # (e,) index of the detection
    distance: FloatArray  # (e,) µm

    def take(self, edges: IntArray) -> Candidates:
        """Return the pairs at these places."""
        return Candidates(
            truth=self.truth[edges], detection=self.detection[edges], distance=self.distance[edges]
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Components:
    """The groups of truths and detections that compete with each other, and with no others."""

    label: IntArray  # (e,) component of each pair
    truths: IntArray  # (c,) number of truths in each component
    detections: IntArray  # (c,)
    local_truth: IntArray  # (e,) index of the pair's truth within its component
    local_detection: IntArray  # (e,)

    @property
    def star(self) -> np.ndarray:
        """(e,) bool: pairs of components with a single truth or a single detection."""
        return np.asarray(((self.truths == 1) | (self.detections == 1))[self.label])


def find_candidates(
    truth_um: FloatArray,
    detections_um: FloatArray,
    radius_um: float,
    truth_image: IntArray | None = None,
    detection_image: IntArray | None = None,
    slack_um: float = SLACK_UM,
) -> Candidates:
    """Find all pairs within ``radius_um`` (inclusive) of each other, on the same image.

    Points are sorted into square cells as wide as the radius. What is near a truth then lies in
    three runs of three cells.

    Parameters
    ----------
    truth_um, detections_um : (n, 2), (m, 2)
        Places in µm.
    radius_um : float
        The gate, inclusive.
    truth_image, detection_image : (n,), (m,), optional
        Image numbers, from 0; without them all points are on one image.
    slack_um : float
        Added to the radius, for rounding.
    """
    reach = radius_um + slack_um
    places = np.concatenate([truth_um, detections_um])
    if not len(truth_um) or not len(detections_um):
        places = np.zeros((1, 2))
    low, high = places.min(axis=0), places.max(axis=0)
    # A little wider, since rounding must not put what is in reach two cells apart.
    side = max(reach * (1 + 1e-6), float((high - low).max()) / CELLS)
    columns, rows = (int(length / side) + 3 for length in high - low)

    def cells(points: FloatArray, image: IntArray | None) -> IntArray:
        """Number the cells by image, column and row, free ones around each image."""
        column, row = ((points - low) / side).astype(np.int64).T
        number = column if image is None else column + image * columns
        return np.asarray((number + 1) * rows + row + 1)

    detection_cell = cells(detections_um, detection_image)
    by_cell = np.argsort(detection_cell, kind="stable")
    ordered, truth_cell = detection_cell[by_cell], cells(truth_um, truth_image)
    found = []
    for middle in (truth_cell - rows, truth_cell, truth_cell + rows):
        start, stop = np.searchsorted(ordered, middle - 1), np.searchsorted(ordered, middle + 2)
        length = stop - start
        truth = np.repeat(np.arange(len(truth_um)), length)
        first = np.repeat(start - (np.cumsum(length) - length), length)
        detection = by_cell[first + np.arange(len(first))]
        across = truth_um[truth, 0] - detections_um[detection, 0]
        down = truth_um[truth, 1] - detections_um[detection, 1]
        squared = across**2 + down**2
        near = squared <= reach * reach
        found.append((truth[near], detection[near], np.sqrt(squared[near])))
    truth, detection, distance = (np.concatenate(part) for part in zip(*found, strict=True))
    return Candidates(truth=truth, detection=detection, distance=distance)


def find_components(pairs: Candidates) -> Components:
    """Split pairs into connected components, each solvable on its own."""
    truths, truth = np.unique(pairs.truth, return_inverse=True)
    detections, detection = np.unique(pairs.detection, return_inverse=True)
    nodes = len(truths) + len(detections)
    graph = coo_array(
        (np.ones(len(truth), dtype=np.int8), (truth, detection + len(truths))), (nodes, nodes)
    )
    number, node_label = connected_components(graph, directed=False)
    truth_label, detection_label = node_label[: len(truths)], node_label[len(truths) :]
    return Components(
        label=truth_label[truth].astype(np.int64),
        truths=np.bincount(truth_label, minlength=number),
        detections=np.bincount(detection_label, minlength=number),
        local_truth=_place_in_group(truth_label)[truth],
        local_detection=_place_in_group(detection_label)[detection],
    )


def _place_in_group(label: IntArray) -> IntArray:
    """Number the members of each group 0, 1, 2, ... in their order."""
    order = np.argsort(label, kind="stable")
    size = np.bincount(label)
    start = np.cumsum(size) - size
    place = np.empty(len(label), dtype=np.int64)
    place[order] = np.arange(len(label)) - np.repeat(start, size)
    return place


def groups(label: IntArray, members: IntArray) -> Iterator[IntArray]:
    """Yield ``members`` in runs of equal ``label[members]``, each in the given order."""
    if len(members):
        members = members[np.argsort(label[members], kind="stable")]
        yield from np.split(members, np.flatnonzero(np.diff(label[members])) + 1)


def solve(pairs: Candidates) -> IntArray:
    """Choose pairs one-to-one: as many as possible, then of the least total distance.

    Returns
    -------
    (k,) int
        Places in ``pairs``, rising.
    """
    if not len(pairs.truth):
        return np.empty(0, dtype=np.int64)
    parts = find_components(pairs)
    star = parts.star
    # Isolated pairs and stars hold one match: their shortest pair. No solver is called.
    simple = np.flatnonzero(star)
    simple = simple[np.lexsort((pairs.distance[simple], parts.label[simple]))]
    first = np.ones(len(simple), dtype=bool)
    first[1:] = np.diff(parts.label[simple]) > 0
    chosen = [simple[first]]
    for edges in groups(parts.label, np.flatnonzero(~star)):
        shape = (
            int(parts.truths[parts.label[edges[0]]]),
            int(parts.detections[parts.label[edges[0]]]),
        )
        solver = _dense if shape[0] * shape[1] <= DENSE_CELLS else _sparse
        chosen.append(
            edges[
                solver(
                    parts.local_truth[edges],
                    parts.local_detection[edges],
                    pairs.distance[edges],
                    shape,
                )
            ]
        )
    return np.sort(np.concatenate(chosen))


def _bonus(distance: FloatArray, shape: tuple[int, int]) -> float:
    """What a match is worth: more than all distances together, so the number of matches wins."""
    return float(distance.max()) * min(shape) + 1.0


def _dense(
    truth: IntArray, detection: IntArray, distance: FloatArray, shape: tuple[int, int]
) -> IntArray:
    """Solve one component on a full cost matrix; out of range costs 0, a match less than 0."""
    cost = np.zeros(shape)
    cost[truth, detection] = distance - _bonus(distance, shape)
    column = np.full(shape[0], -1)
    rows, columns = linear_sum_assignment(cost)
    column[rows] = columns
    return np.flatnonzero(column[truth] == detection)


def _sparse(
    truth: IntArray, detection: IntArray, distance: FloatArray, shape: tuple[int, int]
) -> IntArray:
    """Solve one component as a sparse graph.

    The solver wants every row matched, so each truth gets a private stand-in for "missed".
    """
    truths, detections = shape
    missed = np.arange(truths)
    # One is added to every cost, since the solver takes a stored zero for no edge.
    weights = np.concatenate([distance + 1, np.full(truths, _bonus(distance, shape) + 1)])
    rows = np.concatenate([truth, missed])
    columns = np.concatenate([detection, detections + missed])
    graph = coo_array((weights, (rows, columns)), (truths, detections + truths)).tocsr()
    matched, with_column = min_weight_full_bipartite_matching(graph)
    column = np.full(truths, -1)
    column[matched] = with_column
    return np.flatnonzero(column[truth] == detection)


def assign(truth_um: ArrayLike, detections_um: ArrayLike, radius_um: float) -> IntArray:
    """Match truths and detections of one image one-to-one within a radius.

    Among all one-to-one matchings whose pairs lie within the radius (inclusive), one with the
    most pairs is taken, and of those the one with the least total distance. The places alone
    decide, not their order.

    Parameters
    ----------
    truth_um : (n, 2) float
        Truth centroids in µm.
    detections_um : (m, 2) float
        Detection centres in µm.
    radius_um : float
        The gate in µm, inclusive.

    Returns
    -------
    (k, 2) int
        Matched (truth, detection) indices, by rising truth.

    Examples
    --------
    The nearest pair, truth 4 with detection 5, would leave the others without a partner:

    >>> assign([[4, 0], [12, 0]], [[5, 0], [-3, 0]], 8).tolist()
    [[0, 1], [1, 0]]
    """
    truth = np.asarray(truth_um, dtype=np.float64).reshape(-1, 2)
    detections = np.asarray(detections_um, dtype=np.float64).reshape(-1, 2)
    # Sorted by place, so that equally good matchings are settled the same way in any order.
    by_truth = np.lexsort((truth[:, 1], truth[:, 0]))
    by_detection = np.lexsort((detections[:, 1], detections[:, 0]))
    pairs = find_candidates(truth[by_truth], detections[by_detection], radius_um)
    chosen = solve(pairs)
    matched = np.column_stack(
        [by_truth[pairs.truth[chosen]], by_detection[pairs.detection[chosen]]]
    )
    return matched[np.argsort(matched[:, 0])]
