"""The confusion matrix, counted by hand."""

from __future__ import annotations

import numpy as np

from mitoyolo.evaluation.confusion import confusion

from .fields_for_tests import field


def rows(fields, threshold=0.5, radius_um=8.0):
    """The matrix as lists: mitosis, imposter, background."""
    found = confusion(fields, threshold, radius_um)
    names = ["mitosis", "imposter", "background"]
    assert list(found) == names
    assert all(list(row) == names for row in found.values())
    return [[found[row][column] for column in names] for row in names]


def cells(mitoses=(), imposters=(), found=(), as_imposter=(), **rest):
    """Places along x: annotated cells; (x, score) detections of the two classes."""
    return field(
        mitoses,
        found,
        imposters=np.array([(x, 0.0) for x in imposters]),
        imposter_detections=np.array([(x, 0.0) for x, _ in as_imposter]),
        imposter_scores=np.array([score for _, score in as_imposter]),
        **rest,
    )


def test_the_picture_of_the_docstring():
    one = cells([0, 200], [100], [(0, 0.9), (100, 0.9)], [(300, 0.9)])
    assert rows([one]) == [[1, 0, 1], [1, 0, 0], [0, 1, None]]


def test_every_cell_of_the_matrix():
    one = cells(
        mitoses=[0, 100, 200],
        imposters=[300, 400, 500],
        found=[(1, 0.9), (301, 0.9), (600, 0.9), (700, 0.9)],
        as_imposter=[(101, 0.9), (401, 0.9), (800, 0.9)],
    )
    assert rows([one]) == [[1, 1, 1], [1, 1, 1], [2, 1, None]]


def test_it_is_none_without_an_annotated_imposter():
    assert confusion([cells([0], [], [(0, 0.9)], [(0, 0.9)])], 0.5, 8.0) is None
    assert confusion([], 0.5, 8.0) is None


def test_both_classes_are_cut_at_the_threshold_which_counts():
    one = cells([0], [100], [(0, 0.5)], [(100, 0.5)])
    assert rows([one]) == [[1, 0, 0], [0, 1, 0], [0, 0, None]]
    assert rows([one], 0.51) == [[0, 0, 1], [0, 0, 1], [0, 0, None]]


def test_two_detections_of_one_cell_leave_one_to_the_background():
    # whatever their class: the nearer is the cell's
    assert rows([cells([0], [99], [(3, 0.9)], [(1, 0.6)])])[0] == [0, 1, 0]
    assert rows([cells([0], [99], [(3, 0.9)], [(1, 0.6)])])[2] == [1, 0, None]


def test_most_pairs_come_before_least_distance():
    # the imposter is nearer to the detection at 5, but then the one at -3 would match nothing
    assert rows([cells([4], [12], [(5, 0.9), (-3, 0.9)])])[:2] == [[1, 0, 0], [1, 0, 0]]


def test_the_radius_is_in_um_and_inclusive():
    one = cells([1000], [100], [(1016, 0.9)], mpp=(0.5, 1.0))
    assert rows([one])[0] == [1, 0, 0]
    assert rows([one], radius_um=7.9)[0] == [0, 0, 1]


def test_images_are_added_up_and_kept_apart():
    a = cells([0], [100], [(0, 0.9)], image="a")
    b = cells([100], [0], [(0, 0.9)], image="b")
    assert rows([a, b]) == [[1, 0, 1], [1, 0, 1], [0, 0, None]]
    assert rows([b, a]) == rows([a, b])


def test_nothing_detected_and_nothing_annotated():
    assert rows([cells([0], [100]), cells(image="b")]) == [[0, 0, 1], [0, 0, 1], [0, 0, None]]
