"""What a field accepts, and what it says when it does not."""

from __future__ import annotations

import numpy as np
import pytest

from converters.errors import InputError
from mitoyolo.evaluation.fields import Field, check_fields, pool

GOOD = dict(
    image="A03_01", case="03", mpp=(0.25, 0.25), truth=[[1, 2]], detections=[[3, 4]], scores=[0.5]
)


def test_lists_become_arrays():
    field = Field(**GOOD)
    assert field.truth.dtype == field.detections.dtype == field.scores.dtype == np.float64
    assert field.truth.shape == field.detections.shape == (1, 2)


def test_empty_is_allowed_and_shaped():
    field = Field(**{**GOOD, "truth": [], "detections": [], "scores": []})
    assert field.truth.shape == field.detections.shape == (0, 2)
    assert field.scores.shape == (0,)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_the_score_limits_are_allowed(score):
    assert Field(**{**GOOD, "scores": [score]}).scores.tolist() == [score]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"truth": [[1, 2], [np.nan, 2]]}, "truth 2 is at (nan, 2.0)"),
        ({"detections": [[np.inf, 4]]}, "detection 1 is at (inf, 4.0)"),
        ({"truth": [[1, 2, 3]]}, "shape (1, 3)"),
        ({"truth": [1, 2]}, "shape (2,)"),
        ({"scores": [1.01]}, "score 1.01"),
        ({"scores": [-0.01]}, "score -0.01"),
        ({"scores": [np.nan]}, "score nan"),
        ({"scores": [0.5, 0.5]}, "2 scores for 1 detections"),
        ({"mpp": (0.25, 0.0)}, "(0.25, 0.0)"),
        ({"mpp": (-1.0, 0.25)}, "above 0"),
        ({"mpp": (np.nan, 0.25)}, "above 0"),
        ({"mpp": 0.25}, "two numbers"),
        ({"mpp": None}, "--mpp"),
        ({"area_mm2": 0.0}, "area of 0.0 mm²"),
        ({"area_mm2": float("nan")}, "area of nan mm²"),
    ],
)
def test_bad_input_is_one_line_that_names_the_image(change, said):
    with pytest.raises(InputError) as caught:
        Field(**{**GOOD, **change})
    message = str(caught.value)
    assert message.startswith("A03_01: ")
    assert said in message
    assert "\n" not in message


def test_an_image_given_twice_is_refused():
    with pytest.raises(InputError, match="A03_01: image given twice"):
        check_fields([Field(**GOOD), Field(**GOOD)])
    check_fields([Field(**GOOD), Field(**{**GOOD, "image": "A03_02"})])


def test_the_pool_is_in_um_and_sorted():
    field = Field(
        image="a",
        case="1",
        mpp=(0.5, 2.0),
        truth=[[10, 1], [2, 5]],
        detections=[[1, 1], [2, 2]],
        scores=[0.1, 0.9],
    )
    points = pool([Field(**{**GOOD, "image": "b"}), field])
    assert points.truth.tolist() == [[0.25, 0.5], [1.0, 10.0], [5.0, 2.0]]
    assert points.truth_image.tolist() == [0, 1, 1]
    assert points.detections.tolist() == [[0.75, 1.0], [1.0, 4.0], [0.5, 2.0]]
    assert points.scores.tolist() == [0.5, 0.9, 0.1]
    assert points.detection_image.tolist() == [0, 1, 1]
    # Where each stood among all: for rules that go by the list.
    assert points.truth_order.tolist() == [0, 2, 1]
    assert points.detection_order.tolist() == [0, 2, 1]


def test_equal_scores_and_columns_are_sorted_by_place():
    one = Field(
        **{
            **GOOD,
            "truth": [[2, 1], [1, 3], [1, 2]],
            "detections": [[2, 1], [1, 3], [1, 2], [9, 9]],
            "scores": [0.5, 0.5, 0.5, 0.6],
        }
    )
    points = pool([one])
    assert points.truth_order.tolist() == [2, 1, 0]
    assert points.detection_order.tolist() == [3, 2, 1, 0]


def test_no_fields_pool_to_nothing():
    points = pool([])
    assert points.truth.shape == points.detections.shape == (0, 2)
    assert points.images == 0
