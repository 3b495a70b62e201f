"""Training curves: losses and validation scores by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from converters.files import read_csv, write_with

SCORES = ("metrics/F1", "metrics/AP")


def draw_curves(
    results: Path, picture: Path, *, title: str, rule: str, best: int | None = None
) -> None:
    """Draw ``results.csv`` of a run as a PNG: losses left, F1 and AP right.

    Parameters
    ----------
    results, picture : Path
        The table of :class:`mitoyolo.training_log.TrainingLog`; the PNG to write. Every column
        ``train/NAME`` or ``val/NAME`` is a loss. An empty cell is passed over, NaN breaks the line.
    title, rule : str
        Of the run, and by which rule its scores were counted.
    best : int, optional
        The epoch to mark.
    """
    rows = read_csv(results, ["epoch"])
    columns = list(rows[0]) if rows else []
    losses = [name.split("/", 1) for name in columns if name.startswith(("train/", "val/"))]
    kinds = list(dict.fromkeys(kind for _, kind in losses))
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, kind in enumerate(kinds):
        for split, line in (("train", "-"), ("val", "--")):
            if [split, kind] in losses:
                label = f"{kind.removeprefix('loss_').removesuffix('_loss')}, {split}"
                _draw(left, rows, f"{split}/{kind}", label, linestyle=line, color=f"C{i}")
    for name in SCORES:
        if name in columns:
            _draw(right, rows, name, name.removeprefix("metrics/"))
    left.set(title=title, xlabel="epoch", ylabel="loss")
    right.set(title=f"source images of the val split ({rule})", xlabel="epoch", ylim=(0, 1))
    for axes in (left, right):
        if best:
            axes.axvline(best, color="0.4", linestyle=":", label=f"best epoch: {best}")
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.lines:
            axes.legend(fontsize="small", ncols=1 + len(axes.lines) // 7)
    write_with(picture, lambda temporary: figure.savefig(temporary, dpi=110))


def _draw(
    axes: Axes, rows: Sequence[Mapping[str, str]], name: str, label: str, **style: Any
) -> None:
    points = [(float(row["epoch"]), float(row[name])) for row in rows if row[name]]
    alone = sum(isfinite(value) for _, value in points) == 1  # makes no line
    axes.plot(*zip(*points, strict=True), marker="." if alone else "", label=label, **style)
