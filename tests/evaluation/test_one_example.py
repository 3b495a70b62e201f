"""The example of docs/evaluation.md: one field, scored by every protocol."""

from __future__ import annotations

import pytest

from mitoyolo.evaluation.metrics import count
from mitoyolo.evaluation.protocols import PROTOCOLS, get_protocol

from .fields_for_tests import field

TRUTH = [0, 40, 46, 100, 150, 300]  # T1 to T6, µm along a line
FOUND = [
    (1, 0.95),  # a
    (-3, 0.60),  # b: a again
    (43.5, 0.90),  # c: between T2 and T3, nearer to T3
    (35, 0.80),  # d: T2
    (107, 0.85),  # e: 7 µm from T4
    (157.8, 0.55),  # f: 7.8 µm from T5, which is also detected as an imposter
    (306, 0.75),  # g: 6 µm from T6
    (201, 0.70),  # h: a look-alike
    (250, 0.65),  # i: nothing
]
EXAMPLE = field(
    TRUTH,
    FOUND,
    truth_sizes=[[16, 16]] * len(TRUTH),
    detection_sizes=[[16, 16]] * len(FOUND),
    imposters=[[200, 0]],
    imposter_detections=[[151, 0]],
    imposter_scores=[0.9],
)


@pytest.mark.parametrize(
    ("name", "tp", "fp", "fn", "f1"),
    [
        ("centroid", 6, 3, 0, 0.800),
        ("icpr12", 3, 6, 3, 0.400),
        ("atypia14", 6, 3, 0, 0.800),
        ("amida13", 5, 3, 1, 0.714),
        ("tupac16", 5, 3, 1, 0.714),
        ("midog", 4, 5, 2, 0.533),
        ("kmit", 4, 5, 3, 0.500),
        ("mitos-rcnn", 5, 1, 1, 0.833),
    ],
)
def test_the_table_of_the_page(name, tp, fp, fn, f1):
    counts = count([EXAMPLE], get_protocol(name), 0.5)
    assert (counts.tp, counts.fp, counts.fn) == (tp, fp, fn)
    assert round(counts.f1, 3) == f1
    assert len(PROTOCOLS) == 8
