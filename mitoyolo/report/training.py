"""Training curves: losses and validation scores by epoch."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from converters.files import read_csv, write_with


def draw_curves(results: Path, picture: Path, *, title: str, rule: str) -> None:
    """Draw ``results.csv`` of a run as a PNG: losses left, F1 and AP right.

    Parameters
    ----------
    results, picture : Path
        What Ultralytics wrote, one row an epoch; the PNG to write.
    title, rule : str
        Of the run, and by which rule its scores were counted.
    """
    rows = read_csv(results, ["epoch"])
    columns = {
        name.strip(): [float(row[name]) for row in rows] for name in (rows[0] if rows else {})
    }
    epochs = columns.get("epoch", [])
    mark = "." if len(epochs) == 1 else ""  # a lone point makes no line and would not be seen
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    kinds = [name.removeprefix("train/") for name in columns if name.startswith("train/")]
    for i, kind in enumerate(kinds):
        for split, line in (("train", "-"), ("val", "--")):
            if f"{split}/{kind}" in columns:
                values = columns[f"{split}/{kind}"]
                label = f"{kind.removesuffix('_loss')}, {split}"
                losses.plot(epochs, values, line, marker=mark, color=f"C{i}", label=label)
    for name in ("metrics/F1", "metrics/AP"):
        if name in columns:
            scores.plot(epochs, columns[name], marker=mark, label=name.removeprefix("metrics/"))
    losses.set(title=title, xlabel="epoch", ylabel="loss")
    scores.set(title=f"source images of the val split ({rule})", xlabel="epoch", ylim=(0, 1))
    for axes in (losses, scores):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize="small")
    write_with(picture, lambda temporary: figure.savefig(temporary, dpi=110))
