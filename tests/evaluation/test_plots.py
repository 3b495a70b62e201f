"""The pictures appear whole, are readable, and cope with empty curves."""

from __future__ import annotations

import cv2
import pytest

from mitoyolo.evaluation.curves import froc, precision_recall_curve
from mitoyolo.evaluation.metrics import evaluate
from mitoyolo.evaluation.plots import NAMED, draw_agreement, draw_cases, draw_froc, draw_pr
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


def of_cases(*cases, name="{:03}"):
    """Metrics of cases given as truths and detections, in the forms of ``field``."""
    fields = [
        field(truth, found, image=str(n), case=name.format(n))
        for n, (truth, found) in enumerate(cases)
    ]
    return evaluate(fields, CENTROID, 0.5, "test")


FOUND, MISSED = ([0], [(0, 0.9)]), ([0], [])


def shapes(path):
    """The bars or points of a picture, from the top: left, top, width, height, pixels."""
    image = cv2.imread(str(path)).astype(int)
    mask = (image[..., 0] > image[..., 2] + 40) & (image[..., 2] < 160)
    _, _, found, _ = cv2.connectedComponentsWithStats(mask.astype("uint8"))
    return sorted((row for row in found[1:].tolist() if row[4] > 20), key=lambda row: row[1])


def test_bars_are_as_long_as_f1_the_first_case_on_top(tmp_path):
    half = ([0, 50], [(0, 0.9), (100, 0.9)])  # F1 1/2
    metrics = of_cases(half, MISSED, FOUND)
    draw_cases({**metrics, "f1": None}, tmp_path / "bars.png")  # no line across the bars
    top, bottom = shapes(tmp_path / "bars.png")
    assert top[2] == pytest.approx(bottom[2] / 2, abs=2)
    gap = bottom[1] - top[1] - top[3]
    assert gap > top[3]  # between them the case without a bar
    draw_cases(metrics, tmp_path / "line.png")
    assert red(tmp_path / "line.png") > red(tmp_path / "bars.png") == 0


def test_a_case_without_f1_has_no_bar(tmp_path):
    draw_cases(of_cases(([], []), FOUND), tmp_path / "some.png")
    draw_cases(of_cases(([], [])), tmp_path / "none.png")
    assert len(shapes(tmp_path / "some.png")) >= 1
    assert shapes(tmp_path / "none.png") == []


def test_many_cases_make_a_longer_picture_with_an_end(tmp_path):
    heights = []
    for number in (3, 40, NAMED, 3 * NAMED):
        draw_cases(of_cases(*[FOUND] * number), tmp_path / f"{number}.png")
        heights.append(cv2.imread(str(tmp_path / f"{number}.png")).shape[0])
    assert heights[0] < heights[1] < heights[2] == heights[3]


def test_names_are_written_where_there_is_room(tmp_path):
    for number in (2, NAMED + 1):
        for name in ("{:03}", "case {:03}"):
            draw_cases(of_cases(*[FOUND] * number, name=name), tmp_path / f"{number}{name[0]}.png")
    assert (tmp_path / "2{.png").read_bytes() != (tmp_path / "2c.png").read_bytes()
    many = f"{NAMED + 1}"
    assert (tmp_path / f"{many}{{.png").read_bytes() == (tmp_path / f"{many}c.png").read_bytes()


def test_points_are_differences_against_means(tmp_path):
    more = ([0, 50], [(0, 0.9), (50, 0.9), (100, 0.9), (150, 0.9)])  # 2, 4: mean 3, difference 2
    fewer = ([0, 50, 100], [(0, 0.9)])  # 3, 1: mean 2, difference -2
    draw_agreement(of_cases(fewer, more), tmp_path / "two.png")
    top, bottom = shapes(tmp_path / "two.png")
    assert top[0] > bottom[0] + 50
    assert bottom[1] > top[1] + 50


def test_lines_of_the_agreement(tmp_path):
    draw_agreement(of_cases(FOUND, MISSED), tmp_path / "limits.png")
    draw_agreement(of_cases(FOUND), tmp_path / "one.png")
    assert red(tmp_path / "limits.png") > red(tmp_path / "one.png") > 20  # one case: bias alone


def test_new_pictures_are_the_same_bytes(tmp_path):
    metrics = of_cases(FOUND, MISSED, ([], []))
    for draw in (draw_cases, draw_agreement):
        draw(metrics, tmp_path / "one.png")
        draw(metrics, tmp_path / "two.png")
        assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
