"""The pictures appear whole, are readable, and cope with empty curves."""

from __future__ import annotations

import cv2
import pytest

from mitoyolo.evaluation.curves import froc, precision_recall_curve
from mitoyolo.evaluation.plots import draw_froc, draw_pr
from mitoyolo.evaluation.protocols import get_protocol

from .fields_for_tests import field

CENTROID = get_protocol("centroid")
SOME = [field([0, 100, 200], [(0, 0.9), (50, 0.8), (100, 0.7)])]


@pytest.mark.parametrize("fields", [SOME, [field([0], [(0, 0.9)])], [field([0])], [field()]])
def test_pictures_are_written(fields, tmp_path):
    draw_pr(precision_recall_curve(fields, CENTROID), None, tmp_path / "pr.png")
    draw_froc(froc(fields, CENTROID), tmp_path / "froc.png")
    for name in ("pr.png", "froc.png"):
        assert cv2.imread(str(tmp_path / name)).shape == (432, 540, 3)
    assert len(list(tmp_path.iterdir())) == 2  # no temporary file is left


def red(path):
    blue, green, r = (cv2.imread(str(path))[..., c].astype(int) for c in range(3))
    return int(((r > 150) & (green < 60) & (blue < 60)).sum())


def test_the_operating_point_is_red(tmp_path):
    curve = precision_recall_curve(SOME, CENTROID)
    draw_pr(curve, (0.5, 0.5), tmp_path / "with.png")
    draw_pr(curve, (0.5, None), tmp_path / "without.png")
    assert red(tmp_path / "with.png") > 20
    assert red(tmp_path / "without.png") == 0
    draw_froc(froc(SOME, CENTROID), tmp_path / "froc.png", (1.0, 0.6))
    assert red(tmp_path / "froc.png") > 20


def test_beyond_eight_false_positives_nothing_is_drawn(tmp_path):
    found = [(0, 0.99), *((200 + 20 * n, 0.9 - n / 100) for n in range(12))]
    for name, more in (("to8.png", found[:9]), ("to12.png", [*found, (100, 0.1)])):
        draw_froc(froc([field([0, 100], more)], CENTROID), tmp_path / name)
    assert (tmp_path / "to8.png").read_bytes() == (tmp_path / "to12.png").read_bytes()


def test_the_same_curve_gives_the_same_bytes(tmp_path):
    for name in ("one.png", "two.png"):
        draw_pr(precision_recall_curve(SOME, CENTROID), (0.5, 0.5), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
