"""Training curves: losses and validation scores by epoch."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from converters.files import read_csv, write_with


def draw_curves(results: Path, picture: Path, *, title: str) -> None:
    """Draw ``results.csv`` of a run as a PNG: losses left, F1 and AP right."""
    rows = read_csv(results, ["epoch"])
    columns = {
        name.strip(): [float(row[name]) for row in rows] for name in (rows[0] if rows else {})
    }
    epochs = columns.get("epoch", [])
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    for name, values in columns.items():
        if name.startswith(("train/", "val/")):
            dashed = "--" if name.startswith("val/") else "-"
            losses.plot(epochs, values, dashed, label=name)
    for name in ("metrics/F1", "metrics/AP"):
        if name in columns:
            scores.plot(epochs, columns[name], label=f"{name[8:]}, validation")
    losses.set(title=title, xlabel="epoch", ylabel="loss")
    scores.set(title="whole images, 8 µm", xlabel="epoch", ylim=(0, 1))
    for axes in (losses, scores):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    write_with(picture, lambda temporary: figure.savefig(temporary, dpi=110))
