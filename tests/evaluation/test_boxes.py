"""``kmit``: boxes by IoU with the +1 pixel, none used up."""

from __future__ import annotations

import numpy as np
import pytest

from converters.errors import InputError
from mitoyolo.evaluation.curves import froc, precision_recall_curve
from mitoyolo.evaluation.protocols import get_protocol

from .fields_for_tests import field

KMIT = get_protocol("kmit")


def boxes(truth, found, **rest):
    """``truth``: (x, y, width, height); ``found``: the same and a score; x, y the centre."""
    t, d = np.array(truth, dtype=float).reshape(-1, 4), np.array(found, dtype=float).reshape(-1, 5)
    return field(
        [tuple(p) for p in t[:, :2]],
        [(*row[:2], row[4]) for row in d],
        truth_sizes=t[:, 2:],
        detection_sizes=d[:, 2:4],
        **rest,
    )


def counts(fields, threshold=0.0):
    return tuple(KMIT.match(fields, threshold).sum(axis=0).tolist())


def test_the_picture():
    truth = [(50, 50, 9, 9), (100, 50, 9, 9), (103, 50, 9, 9), (200, 50, 9, 9)]
    found = [(49, 50, 9, 9, 0.9), (51, 50, 9, 9, 0.8), (101.5, 50, 9, 9, 0.7), (300, 50, 9, 9, 0.6)]
    assert counts([boxes(truth, found)]) == (3, 1, 1)
    assert counts([boxes(truth, found)], 0.75) == (2, 0, 3)


@pytest.mark.parametrize(
    ("shift", "tp"),
    # 9 px and the one more: 10 x 10. Shifted by s they share (10 - s) 10 of (10 + s) 10.
    [(0, 1), (10 / 3 - 1e-9, 1), (10 / 3 + 1e-6, 0), (3.2, 1)],
)
def test_the_pixel_more_counts(shift, tp):
    # Without it 3.2 px would be an IoU of 5.8 / 12.2.
    assert counts([boxes([(50, 50, 9, 9)], [(50 + shift, 50, 9, 9, 0.9)])]) == (tp, 1 - tp, 1 - tp)


def test_exactly_a_half_is_a_hit():
    assert counts([boxes([(50, 50, 9, 9)], [(50, 52.5, 9, 4, 0.9)])]) == (1, 0, 0)  # half of it
    assert counts([boxes([(50, 50, 9, 9)], [(50, 52.5, 9, 3.9, 0.9)])]) == (0, 1, 1)


def test_shapes_differ_along_x_and_y():
    assert counts([boxes([(50, 50, 99, 1)], [(55, 50, 99, 1, 0.9)])]) == (1, 0, 0)
    assert counts([boxes([(50, 50, 99, 1)], [(50, 55, 99, 1, 0.9)])]) == (0, 1, 1)
    assert counts([boxes([(50, 50, 1, 99)], [(50, 83, 1, 99, 0.9)])]) == (1, 0, 0)


def test_boxes_without_size_are_a_pixel():
    assert counts([boxes([(50, 50, 0, 0)], [(50, 50, 0, 0, 0.9)])]) == (1, 0, 0)


def test_um_per_pixel_plays_no_part():
    for mpp in ((0.25, 0.25), (4.0, 0.1)):
        one = boxes([(50, 50, 9, 9)], [(53, 50, 9, 9, 0.9), (50, 53, 9, 9, 0.8)], mpp=mpp)
        assert counts([one]) == (2, 0, 0)


def by_hand(f, threshold):
    def corners(centres, sizes):
        return np.column_stack([centres - sizes / 2, centres + sizes / 2])

    hits = np.zeros((len(f.truth), len(f.scores)), dtype=bool)
    for i, t in enumerate(corners(f.truth, f.truth_sizes)):
        for j, d in enumerate(corners(f.detections, f.detection_sizes)):
            w = max(0, min(t[2], d[2]) - max(t[0], d[0]) + 1)
            h = max(0, min(t[3], d[3]) - max(t[1], d[1]) + 1)
            areas = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (t, d)]
            hits[i, j] = w * h / (sum(areas) - w * h) >= 0.5
    hits = hits[:, f.scores >= threshold]
    tp = int(hits.any(axis=0).sum())
    return [tp, hits.shape[1] - tp, int((~hits.any(axis=1)).sum())]


def test_equals_the_rule_read_literally():
    rng = np.random.default_rng(61)
    for number in range(60):
        scale = (1, 8, 40)[number % 3]  # of some boxes, so that sizes are mixed
        fields = []
        for image in range(3):
            n, m = rng.integers(0, 8), rng.integers(0, 14)
            sizes = rng.uniform(0, 20, (n + m, 2)) * rng.choice([1, scale], (n + m, 1))
            places = rng.uniform(0, 40, (n + m, 2))
            rows = np.column_stack([places, sizes])
            found = np.column_stack([rows[n:], rng.random(m)])
            fields.append(boxes(rows[:n], found, image=str(image)))
        threshold = number % 4 / 4
        expected = [by_hand(f, threshold) for f in fields]
        assert KMIT.match(fields, threshold).tolist() == expected


def test_the_curves_rank_by_overlap():
    truth = [(50, 50, 9, 9), (100, 50, 9, 9)]
    found = [(50, 50, 9, 9, 0.9), (51, 50, 9, 9, 0.8), (300, 50, 9, 9, 0.7), (100, 50, 9, 9, 0.6)]
    curve = precision_recall_curve([boxes(truth, found)], KMIT)
    assert curve.precision.tolist() == pytest.approx([1, 1, 2 / 3, 3 / 4])
    assert curve.recall.tolist() == pytest.approx([1 / 2, 2 / 3, 2 / 3, 1])  # tp / (tp + fn)
    assert froc([boxes(truth, found)], KMIT).fp_per_image.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("missing", ["truth", "detection"])
def test_boxes_without_sizes_are_refused_in_a_line(missing):
    sizes = {"truth_sizes": [[9, 9]], "detection_sizes": [[9, 9]]} | {f"{missing}_sizes": None}
    with pytest.raises(InputError) as caught:
        counts([field([50], [(50, 0.9)], image="A03", **sizes)])
    message = str(caught.value)
    assert message.startswith(f"A03: protocol kmit compares boxes, and the {missing} boxes have no")
    assert "\n" not in message
    assert "centroid" in message


def test_what_is_empty_needs_no_sizes():
    assert counts([field()]) == (0, 0, 0)
    assert counts([field([50], truth_sizes=[[9, 9]])]) == (0, 0, 1)
    assert counts([field([], [(50, 0.9)], detection_sizes=[[9, 9]])]) == (0, 1, 0)
