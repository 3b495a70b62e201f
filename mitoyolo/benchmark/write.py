"""The tables and pictures of a benchmark as files: Markdown, CSV and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from converters.files import write_csv, write_text, write_with
from mitoyolo.benchmark.results import Row
from mitoyolo.report.page import paragraph, picture_file, row, table, write_page
from mitoyolo.report.table import Table, markdown

SCORES, PARETO = "scores.png", "pareto.png"

INDEX = "report.html"
"""Written last."""


def write_all(
    out: Path,
    tables: Sequence[Table],
    rows: Sequence[Row],
    facts: Sequence[tuple[str, str]],
    notes: Mapping[str, Sequence[str]],
) -> None:
    """Write ``tables/NAME.csv``, ``tables.md``, the pictures and, last, ``report.html``.

    Parameters
    ----------
    tables : sequence of Table
        Those without rows are left out.
    rows : sequence of Row
        What the pictures show.
    facts : sequence of (str, str)
        Command, versions, machine.
    notes : mapping
        What a reader must know of each paper's figures.
    """  # fmt: skip
    shown = [each for each in tables if each.rows]
    (out / "tables").mkdir(exist_ok=True)
    for stale in set((out / "tables").glob("*.csv")) - {csv_of(out, each) for each in shown}:
        stale.unlink()
    for each in shown:
        write_csv(csv_of(out, each), each.columns, each.rows)
    write_text(out / "tables.md", "\n".join(map(markdown, shown)))
    own = [one for one in rows if one.is_own]
    draw_scores(own, out / SCORES)
    draw_pareto(own, out / PARETO)
    pictures = row(
        [
            picture_file(out / SCORES, "F1 of each model with its 95 % interval; dots: seeds"),
            picture_file(out / PARETO, "F1 against time; the line joins what nothing outdoes"),
        ]
    )
    sections = [("Scores and time", pictures)]
    sections += [(each.title, paragraph(each.caption) + _html(each)) for each in shown]
    sections += [
        *((paper, "".join(map(paragraph, lines))) for paper, lines in notes.items()),
        ("How these figures were obtained", table(("", ""), facts)),
    ]
    write_page(out / INDEX, "mitoyolo benchmark", sections)


def csv_of(out: Path, each: Table) -> Path:
    """The file of a table."""
    return out / "tables" / f"{each.name}.csv"


def _html(each: Table) -> str:
    return f'<div class="wide">{table(each.columns, each.rows)}</div>'


def draw_scores(rows: Sequence[Row], path: Path) -> None:
    """F1 of each row with its interval, and of each seed, as a PNG."""
    figure = Figure(figsize=(8, 1.2 + 0.42 * max(len(rows), 1)), layout="constrained")
    axes = figure.add_subplot()
    several = len({one.tested for one in rows}) > 1
    for place, one in enumerate(rows):
        f1, (interval, _) = one.counts.f1, one.interval()
        if interval:
            axes.plot(interval, [place, place], color="C0", linewidth=2)
        if f1 is not None:
            axes.plot([f1], [place], "o", color="C0")
        seeds = [value for value in one.f1s if value is not None]
        axes.plot(seeds, [place] * len(seeds), ".", color="0.4", markersize=5)
    names = [f"{one.entry.title}, {one.tested}" if several else one.entry.title for one in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="F1 on the test split")
    axes.grid(axis="x", alpha=0.3)
    write_with(path, lambda temporary: figure.savefig(temporary, dpi=110))


def draw_pareto(rows: Sequence[Row], path: Path) -> None:
    """F1 against the time of a tile and of the training, as a PNG."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _scatter(left, rows, "torch_ms", 1.0)
    left.set(xlabel="ms a tile, torch", ylabel="F1 on the test split", ylim=(0, 1))
    _scatter(right, rows, "training_s", 60.0)
    right.set(xlabel="training, minutes")
    write_with(path, lambda temporary: figure.savefig(temporary, dpi=110))


def _scatter(axes: Axes, rows: Sequence[Row], key: str, by: float) -> None:
    """A colour and a line for each data set."""
    for number, tested in enumerate(dict.fromkeys(one.tested for one in rows)):
        points = []
        for one in rows:
            spent, f1 = one.mean(key), one.counts.f1
            if one.tested == tested and spent and f1 is not None:
                points.append((spent / by, f1))
                axes.annotate(
                    one.entry.name, points[-1], (4, 3), textcoords="offset points", fontsize=7
                )
        if points:
            colour = f"C{number}"
            axes.plot(*zip(*points, strict=True), "o", color=colour, label=tested)
            axes.plot(*zip(*best_of(points), strict=True), color=colour, alpha=0.4, zorder=0)
    axes.set_xscale("log")
    axes.margins(x=0.25)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize="small")


def best_of(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, score) that no other outdoes at the same cost or less.

    Examples
    --------
    >>> best_of([(1, 0.5), (2, 0.4), (3, 0.9)])
    [(1, 0.5), (3, 0.9)]
    """
    kept: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not kept or score > kept[-1][1]:
            kept.append((cost, score))
    return kept
