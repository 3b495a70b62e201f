"""The gated assignment against brute force and hand-worked cases."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitoyolo.evaluation import matching
from mitoyolo.evaluation.matching import assign


def brute_force(truth, detections, radius):
    """The most pairs and, of those, the least total distance, by trying every matching."""
    gap = np.hypot(*(truth[:, None] - detections[None]).transpose(2, 0, 1))
    best = (0, 0.0)
    if len(truth) > len(detections):
        gap = gap.T
    for columns in itertools.permutations(range(gap.shape[1]), gap.shape[0]):
        used = [gap[row, column] for row, column in enumerate(columns)]
        used = [d for d in used if d <= radius + 1e-9]
        best = max(best, (len(used), -sum(used)))
    return best[0], -best[1]


def value(truth, detections, pairs):
    return len(pairs), float(
        np.linalg.norm(truth[pairs[:, 0]] - detections[pairs[:, 1]], axis=1).sum()
    )


places = st.lists(st.tuples(st.integers(0, 24), st.integers(0, 24)), max_size=5)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(places, places)
def test_equals_brute_force_on_a_grid(truth, detections):
    t = np.array(truth, dtype=float).reshape(-1, 2)
    d = np.array(detections, dtype=float).reshape(-1, 2)
    pairs = assign(t, d, 8.0)
    assert value(t, d, pairs) == pytest.approx(brute_force(t, d, 8.0))


@pytest.mark.parametrize("cells", [matching.DENSE_CELLS, 0], ids=["dense", "sparse"])
def test_equals_brute_force_when_crowded(cells, monkeypatch):
    monkeypatch.setattr(matching, "DENSE_CELLS", cells)
    rng = np.random.default_rng(3)
    for _ in range(150):
        t = rng.uniform(0, 20, (rng.integers(1, 7), 2))
        d = rng.uniform(0, 20, (rng.integers(1, 7), 2))
        pairs = assign(t, d, 8.0)
        assert value(t, d, pairs) == pytest.approx(brute_force(t, d, 8.0))


@pytest.mark.parametrize("cells", [matching.DENSE_CELLS, 0], ids=["dense", "sparse"])
def test_a_chain_that_a_greedy_matcher_loses(cells, monkeypatch):
    monkeypatch.setattr(matching, "DENSE_CELLS", cells)
    # By distance, truth 4 would take detection 5 and leave the others apart by 15.
    assert assign([[4, 0], [12, 0]], [[5, 0], [-3, 0]], 8.0).tolist() == [[0, 1], [1, 0]]
    # Two links: 4 with 5 and 11 with 12 would leave truth 18 and detection -3.
    truth, detections = [[4, 0], [11, 0], [18, 0]], [[5, 0], [12, 0], [-3, 0]]
    assert assign(truth, detections, 8.0).tolist() == [[0, 2], [1, 0], [2, 1]]


@pytest.mark.parametrize("cells", [matching.DENSE_CELLS, 0], ids=["dense", "sparse"])
def test_a_distance_of_zero_is_a_match_like_any_other(cells, monkeypatch):
    monkeypatch.setattr(matching, "DENSE_CELLS", cells)
    assert assign([[0, 0], [5, 0]], [[5, 0], [0, 0]], 8.0).tolist() == [[0, 1], [1, 0]]


def test_more_matches_win_over_any_distance():
    # One match at distance 0 against two at 8.
    assert assign([[0, 0], [8, 0]], [[8, 0], [16, 0]], 8.0).tolist() == [[0, 0], [1, 1]]


def test_the_least_distance_wins_among_equal_numbers():
    assert assign([[0, 0], [4, 0]], [[4.5, 0], [0.5, 0]], 8.0).tolist() == [[0, 1], [1, 0]]
    assert assign([[0, 0]], [[3, 0], [1, 0], [2, 0]], 8.0).tolist() == [[0, 1]]
    assert assign([[3, 0], [1, 0], [2, 0]], [[0, 0]], 8.0).tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("gap", "matches"), [(8.0, 1), (8.0 + 1e-12, 1), (8.0001, 0), (7.9999, 1), (0.0, 1)]
)
def test_the_radius_is_inclusive(gap, matches):
    assert len(assign([[5.0, 5.0]], [[5.0 + gap, 5.0]], 8.0)) == matches


def test_the_radius_is_inclusive_wherever_the_pair_lies():
    # Pixel times µm/px is not exact: some of these come out a hair above 8 µm.
    x = np.arange(0.0, 120.0)
    gaps = (x + 80) * 0.1 - x * 0.1
    assert gaps.max() > 8.0 > gaps.min()
    for place in x:
        assert len(assign([[place * 0.1, 0]], [[(place + 80) * 0.1, 0]], 8.0)) == 1


def test_the_gate_is_a_circle():
    assert len(assign([[0, 0]], [[6, 6]], 8.0)) == 0
    assert len(assign([[0, 0]], [[4.8, 6.4]], 8.0)) == 1


def test_order_does_not_matter():
    rng = np.random.default_rng(5)
    for _ in range(60):
        # An integer grid is full of equal distances, which is where order could leak in.
        t = rng.integers(0, 12, (6, 2)).astype(float)
        d = rng.integers(0, 12, (7, 2)).astype(float)
        straight = {(*t[i], *d[j]) for i, j in assign(t, d, 4.0)}
        p, q = rng.permutation(6), rng.permutation(7)
        shuffled = {(*t[p][i], *d[q][j]) for i, j in assign(t[p], d[q], 4.0)}
        assert straight == shuffled


@pytest.mark.parametrize(("truths", "detections"), [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_match(truths, detections):
    pairs = assign(np.zeros((truths, 2)), np.zeros((detections, 2)), 8.0)
    assert pairs.shape == (0, 2)


def test_points_at_one_place_match_one_to_one():
    pairs = assign(np.zeros((3, 2)), np.zeros((5, 2)), 8.0)
    assert len(pairs) == 3
    assert len(set(pairs[:, 1].tolist())) == 3


def test_every_pair_is_reported_in_the_callers_indices():
    truth = np.array([[100.0, 0], [0, 0], [50, 0]])
    detections = np.array([[51.0, 0], [300, 0], [1, 0], [101, 0]])
    assert assign(truth, detections, 8.0).tolist() == [[0, 3], [1, 2], [2, 0]]


def test_a_component_solved_sparsely_equals_the_dense_result(monkeypatch):
    rng = np.random.default_rng(8)
    t, d = rng.uniform(0, 60, (60, 2)), rng.uniform(0, 60, (80, 2))
    dense = assign(t, d, 8.0)
    monkeypatch.setattr(matching, "DENSE_CELLS", 0)
    assert assign(t, d, 8.0).tolist() == dense.tolist()


def all_pairs(truth, detections, truth_image, detection_image, radius):
    gap = np.hypot(*(truth[:, None] - detections[None]).transpose(2, 0, 1))
    near = (gap <= radius) & (truth_image[:, None] == detection_image)
    return {(int(i), int(j), round(float(gap[i, j]), 9)) for i, j in np.argwhere(near)}


@pytest.mark.parametrize("spread", [1.0, 30.0, 1e4, 1e9, 1e30], ids=str)
def test_candidates_are_all_pairs_in_range_on_the_same_image(spread, monkeypatch):
    rng = np.random.default_rng(9)
    for number in range(40):
        # Some far off, so that there are more cells than may be numbered.
        monkeypatch.setattr(matching, "CELLS", (2**20, 4)[number % 2])
        t, d = rng.uniform(-9, 9, (40, 2)), rng.uniform(-9, 9, (60, 2))
        t[:3] *= spread
        d[:3] = t[:3] + rng.uniform(-4, 4, (3, 2))
        images = rng.integers(0, 3, 40), rng.integers(0, 3, 60)
        found = matching.find_candidates(t, d, 3.0, *images)
        got = [
            (i, j, round(g, 9))
            for i, j, g in zip(
                found.truth.tolist(), found.detection.tolist(), found.distance.tolist(), strict=True
            )
        ]
        assert len(got) == len(set(got))
        assert set(got) == all_pairs(t, d, *images, 3.0)


def test_candidates_at_exactly_the_radius_are_found_across_cells():
    # Pairs 3 apart, at every place within a cell, along and across.
    for start in np.arange(0, 6, 0.1):
        t = np.array([[start, start], [0, 0]])
        for step in ([3, 0], [0, 3], [-3, 0], [0, -3]):
            found = matching.find_candidates(t, t[:1] + step, 3.0)
            assert 0 in found.truth.tolist()


def test_rounding_does_not_put_a_pair_two_cells_apart():
    # 7.5 apart. Counted from the first truth in steps of 7.5, they round to 2183.9... and 2185.
    truth = np.array([[-7.302635279793638, 0], [16372.697364720205, 0]])
    found = matching.find_candidates(truth, np.array([[16380.197364720205, 0]]), 7.5, slack_um=0)
    assert found.truth.tolist() == [1]
