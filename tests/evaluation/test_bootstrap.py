"""The intervals of F1 and of a difference: what is drawn, and that their widths are right."""

from __future__ import annotations

import numpy as np
import pytest

from mitoyolo.evaluation.bootstrap import f1_interval, paired_f1_difference


def table(images, seed=0):
    return np.random.default_rng(seed).integers(1, 9, (images, 3))


def test_ten_cases_are_drawn_whole():
    interval, over = f1_interval(table(20), [str(n % 10) for n in range(20)], 0)
    assert over == "cases"
    assert interval is not None


def test_nine_cases_are_too_few():
    assert f1_interval(table(20), [str(n % 9) for n in range(20)], 0)[1] == "images"


def test_below_five_images_there_is_none():
    assert f1_interval(table(4), list("1234"), 0) == (None, None)
    assert f1_interval(table(0), [], 0) == (None, None)
    interval, over = f1_interval(table(5), list("11111"), 0)
    assert over == "images"
    assert interval is not None


def test_it_encloses_f1_and_has_the_binomial_width():
    # 400 cases, half with a hit and half with a miss: recall has a standard error of 0.025.
    counts = np.array([[1, 0, 0], [0, 0, 1]] * 200)
    (low, high), _ = f1_interval(counts, [str(n) for n in range(400)], 1)
    recall = [f1 / (2 - f1) for f1 in (low, high)]
    assert recall == pytest.approx([0.451, 0.549], abs=0.008)


def test_whole_cases_vary_more_than_their_images():
    # Ten cases, each all hits or all misses: within a case nothing varies.
    counts = np.array([[1, 0, 0]] * 50 + [[0, 0, 1]] * 50)
    cases = [str(n // 10) for n in range(100)]
    (low, high), over = f1_interval(counts, cases, 0)
    assert over == "cases"
    assert high - low > 0.4
    merged = ["0" if case == "1" else case for case in cases]  # nine cases
    assert f1_interval(counts, merged, 0) == ((2 / 3, 2 / 3), "images")


def test_cases_of_one_image_are_drawn_together():
    counts = np.array([[1, 0, 0]] * 3 + [[0, 0, 1]] * 3)
    (low, high), over = f1_interval(counts, list("123456"), 0)
    assert over == "images"
    assert low < 2 / 3 < high


def test_the_seed_decides():
    counts, cases = table(30), [str(n) for n in range(30)]
    assert f1_interval(counts, cases, 3) == f1_interval(counts, cases, 3)
    assert f1_interval(counts, cases, 3) != f1_interval(counts, cases, 4)


@pytest.mark.parametrize("groups", [15, 4])
def test_the_order_of_images_and_names_of_cases_do_not_matter(groups):
    counts, cases = table(30), np.array([f"{n % groups:02}" for n in range(30)])
    order = np.random.default_rng(1).permutation(30)
    assert f1_interval(counts, cases, 0) == f1_interval(counts[order], cases[order], 0)


def test_draws_without_anything_are_left_out():
    assert f1_interval(np.zeros((12, 3)), [str(n) for n in range(12)], 0) == (None, None)
    rare = np.zeros((12, 3), dtype=int)
    rare[0] = [2, 1, 0]
    assert f1_interval(rare, [str(n) for n in range(12)], 0) == ((0.8, 0.8), "cases")


def test_percentiles_are_plain_floats():
    interval, _ = f1_interval(table(12), [str(n) for n in range(12)], 0)
    assert all(type(end) is float for end in interval)
    assert 0 <= interval[0] < interval[1] <= 1


def test_the_bootstrap_itself_by_counting():
    # Five images of one case, two found and three missed: a draw has k hits with the chance of
    # Binomial(5, 2/5), and F1 = 2k / (5 + k). P(k = 0) is 7.8 %, P(k = 5) 1.0 %, P(k = 4) 7.7 %.
    counts = [[1, 0, 0]] * 2 + [[0, 0, 1]] * 3
    (low, high), over = f1_interval(counts, ["1"] * 5, 0, draws=20_000)
    assert (low, high, over) == (0.0, 8 / 9, "images")


def test_a_set_does_not_differ_from_itself():
    counts, cases = table(30), [str(n) for n in range(30)]
    assert paired_f1_difference(counts, counts, cases, 0) == ((0.0, 0.0), "cases")


def test_pairing_takes_out_what_both_share():
    # Images differ much, the two sets by one more false positive in each image.
    a = np.array([[n % 7, 1, 7 - n % 7] for n in range(40)])
    b = a + np.array([0, 1, 0])
    cases = [str(n) for n in range(40)]
    (low, high), over = paired_f1_difference(a, b, cases, 0)
    assert over == "cases"
    assert 0 < low < high
    alone = [f1_interval(counts, cases, 0)[0] for counts in (a, b)]
    assert high - low < min(end[1] - end[0] for end in alone) / 4
    assert paired_f1_difference(b, a, cases, 0)[0] == pytest.approx((-high, -low))


def test_the_difference_by_counting():
    # a finds image 1 of two kinds, b finds both: a draw with k of five images of the first kind
    # has F1(a) = 2k / (5 + k), F1(b) = 1. As above, k is Binomial(5, 2/5).
    a = [[1, 0, 0]] * 2 + [[0, 0, 1]] * 3
    b = [[1, 0, 0]] * 5
    (low, high), over = paired_f1_difference(a, b, ["1"] * 5, 0, draws=20_000)
    assert (low, over) == (-1.0, "images")
    assert high == pytest.approx(8 / 9 - 1)


@pytest.mark.parametrize("groups", [15, 4])
def test_the_order_of_images_does_not_matter_to_the_difference(groups):
    a, b, cases = table(30), table(30, 1), np.array([f"{n % groups:02}" for n in range(30)])
    order = np.random.default_rng(1).permutation(30)
    found = paired_f1_difference(a, b, cases, 0)
    assert found == paired_f1_difference(a[order], b[order], cases[order], 0)
    assert found != paired_f1_difference(a, b, cases, 1)


def test_a_difference_needs_five_images_and_both_f1():
    assert paired_f1_difference(table(4), table(4, 1), list("1234"), 0) == (None, None)
    # without a truth, and no detection in b, F1(b) is undefined
    a, b = np.array([[0, 1, 0]] * 6), np.zeros((6, 3))
    assert paired_f1_difference(a, b, ["1"] * 6, 0) == (None, None)


def test_both_must_be_of_the_same_images():
    with pytest.raises(ValueError):
        paired_f1_difference(table(6), table(7), list("123456"), 0)
