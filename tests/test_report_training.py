"""``curves.png``: what is drawn of which table."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from conftest import table
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mitoyolo.report.training import draw_curves


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, which are saved all the same."""
    figures: list[Figure] = []
    save = Figure.savefig

    def watched(self: Figure, *given: object, **more: object) -> None:
        figures.append(self)
        save(self, *given, **more)

    monkeypatch.setattr(Figure, "savefig", watched)
    return figures


def axes(
    folder: Path, figures: list[Figure], *rows: str, best: int | None = None
) -> tuple[Axes, Axes]:
    results = table(folder / "results.csv", *rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_curves(results, folder / "curves.png", title="run", rule="centroid", best=best)
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    left, right = figures[-1].axes
    return left, right


def lines(of: Axes) -> dict[str, tuple[list[float], list[float]]]:
    return {
        str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata())) for line in of.lines
    }


def test_every_loss_is_drawn_and_nothing_else(tmp_path: Path, drawn: list[Figure]) -> None:
    left, right = axes(
        tmp_path, drawn,
        "epoch,train/loss_classifier,val/loss_classifier,val/rpn_loss,lr/pg0,metrics/F1,metrics/mAP50",
        "1,4,5,6,0.1,0.5,0.25",
        "2,3,4,5,0.1,0.75,0.25",
    )  # fmt: skip
    assert lines(left) == {
        "classifier, train": ([1, 2], [4, 3]),
        "classifier, val": ([1, 2], [5, 4]),
        "rpn, val": ([1, 2], [6, 5]),
    }
    assert lines(right) == {"F1": ([1, 2], [0.5, 0.75])}
    styles = [(line.get_color(), line.get_linestyle()) for line in left.lines]
    assert styles[0][0] == styles[1][0] != styles[2][0]  # a colour a loss
    assert [style for _, style in styles] == ["-", "--", "--"]  # a line style a split
    assert all(line.get_marker() in ("", "None") for line in left.lines)


def test_an_empty_cell_is_passed_over(tmp_path: Path, drawn: list[Figure]) -> None:
    head = "epoch,train/a,val/a,metrics/AP"
    left, right = axes(tmp_path, drawn, head, "1,3,,", "2,2,1,0.5", "3,1,,", "4,1,0.5,")
    assert lines(left)["a, train"] == ([1, 2, 3, 4], [3, 2, 1, 1])
    assert lines(left)["a, val"] == ([2, 4], [1, 0.5])
    assert lines(right)["AP"] == ([2], [0.5])
    assert right.lines[0].get_marker() == "."  # a lone point makes no line


def test_a_lone_number_among_nan_is_seen(tmp_path: Path, drawn: list[Figure]) -> None:
    left, _ = axes(tmp_path, drawn, "epoch,train/a", "1,3", "2,nan", "3,inf")
    assert left.lines[0].get_marker() == "."


def test_the_best_epoch_is_marked(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = ("epoch,train/a,metrics/F1", "1,3,0.5", "2,2,0.75")
    for part in axes(tmp_path, drawn, *rows, best=2):
        assert lines(part)["best epoch: 2"][0] == [2, 2]
    for part in axes(tmp_path, drawn, *rows):
        assert len(part.lines) == 1


@pytest.mark.parametrize("rows", [("epoch",), ("epoch,train/a", "1,")])
def test_a_table_without_figures_is_an_empty_picture(
    tmp_path: Path, drawn: list[Figure], rows: tuple[str, ...]
) -> None:
    left, right = axes(tmp_path, drawn, *rows)
    assert not any(values for _, values in lines(left).values()) and not right.lines
