"""Small pictures of the curves, the cases and their agreement; drawn without a display."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from converters.files import write_with
from mitoyolo.evaluation.curves import FROC_LIMIT, Froc, PrecisionRecall

_LINE = "#1f4e79"
_POINT = "#c00000"
_HEIGHT = 3.6  # inches

NAMED = 100
"""Bars of more cases than this are too thin for a name each."""


def draw_pr(
    curve: PrecisionRecall, point: tuple[float | None, float | None] | None, path: Path
) -> None:
    """Draw precision against recall as a PNG.

    Parameters
    ----------
    curve : PrecisionRecall
        The curve.
    point : (recall, precision) or None
        The operating point; left out when either is None.
    path : path
        The picture, which appears whole or not at all.
    """
    figure, axes = _frame("recall", "precision", f"{curve.title}, AP {_number(curve.ap)}")
    # A lone point makes no line and would not be seen.
    marker = "." if len(curve.recall) == 1 else "none"
    axes.plot(curve.recall, curve.precision, color=_LINE, marker=marker)
    if point is not None and point[0] is not None and point[1] is not None:
        axes.plot([point[0]], [point[1]], "o", color=_POINT, label="at the threshold")
        axes.legend(loc="lower left", frameon=False, fontsize=8)
    axes.set_xlim(-0.02, 1.02)
    _save(figure, path)


def draw_froc(
    curve: Froc, path: Path, point: tuple[float | None, float | None] | None = None
) -> None:
    """Draw sensitivity against false positives an image as a PNG.

    Parameters
    ----------
    curve : Froc
        The curve; drawn as steps, over the 0 to 8 that ``froc_auc`` averages.
    path : path
        The picture, which appears whole or not at all.
    point : (false positives an image, sensitivity), optional
        The operating point; left out when either is None.
    """
    title = f"{curve.title}, mean sensitivity {_number(curve.auc)}"
    figure, axes = _frame("false positives an image", "sensitivity", title)
    if len(curve.sensitivity):
        end = max(FROC_LIMIT, float(curve.fp_per_image[-1]))
        cost = [0.0, *curve.fp_per_image.tolist(), end]
        height = [0.0, *curve.sensitivity.tolist(), float(curve.sensitivity[-1])]
        axes.plot(cost, height, color=_LINE, drawstyle="steps-post")
    if point is not None and point[0] is not None and point[1] is not None:
        axes.plot([point[0]], [point[1]], "o", color=_POINT, label="at the threshold")
        axes.legend(loc="lower right", frameon=False, fontsize=8)
    axes.set_xlim(-0.1, FROC_LIMIT)
    _save(figure, path)


def draw_cases(metrics: dict[str, Any], path: Path) -> None:
    """Draw the F1 of each case as a bar, and that of all together as a line, as a PNG.

    Parameters
    ----------
    metrics : dict
        As :func:`mitoyolo.evaluation.metrics.evaluate` returns it. A case without a truth and a
        detection has no F1 and no bar.
    path : path
        The picture, which appears whole or not at all.
    """
    cases = metrics["per_case"]
    height = max(_HEIGHT, 1.1 + 0.22 * min(len(cases), NAMED))
    title = f"F1 of {len(cases)} cases" if len(cases) > 1 else "F1 of 1 case"
    figure, axes = _frame("F1", "case", title, height=height)
    axes.barh(range(len(cases)), [case["f1"] or 0.0 for case in cases.values()], color=_LINE)
    for place, case in enumerate(cases.values()):
        if case["f1"] is None:
            axes.text(0.01, place, "undefined", va="center", fontsize=7)
    if metrics["f1"] is not None:
        axes.axvline(metrics["f1"], color=_POINT, linestyle="--", linewidth=1, label="all cases")
        figure.legend(loc="outside lower right", frameon=False, fontsize=8)
    named = list(cases) if len(cases) <= NAMED else []
    axes.set_yticks(range(len(named)), named, fontsize=8)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(len(cases) - 0.4, -0.6)  # the first case on top
    axes.grid(visible=False, axis="y")
    axes.set_axisbelow(True)
    _save(figure, path)


def draw_agreement(metrics: dict[str, Any], path: Path) -> None:
    """Draw the Bland-Altman plot of the cases' counts as a PNG.

    Each point is a case: the mean of its detected and annotated count, and their difference.
    Lines are the bias and the limits of agreement, where they are defined.

    Parameters
    ----------
    metrics : dict
        As :func:`mitoyolo.evaluation.metrics.evaluate` returns it.
    path : path
        The picture, which appears whole or not at all.
    """
    counts = [(case["truths"], case["detections"]) for case in metrics["per_case"].values()]
    bias, limits = metrics["agreement"]["bias"], metrics["agreement"]["limits"]
    figure, axes = _frame(
        "mean of detected and annotated", "detected - annotated", "mitoses a case: Bland-Altman"
    )
    mean, difference = [(a + d) / 2 for a, d in counts], [d - a for a, d in counts]
    axes.plot(mean, difference, "o", color=_LINE, alpha=0.6, markersize=5)
    axes.axhline(0, color="black", linewidth=0.6)
    lines = [(bias, "-", "bias")] if bias is not None else []
    if limits is not None:
        lines += [(limits[1], "--", "+1.96 SD"), (limits[0], "--", "-1.96 SD")]
    for height, style, name in lines:
        axes.axhline(height, color=_POINT, linestyle=style, linewidth=1)
        label = f"{name} {height:.1f}"
        axes.annotate(
            label, (1, height), xycoords=("axes fraction", "data"), xytext=(0, 2),
            textcoords="offset points", ha="right", fontsize=7, color=_POINT,
        )  # fmt: skip
    highest = max([1.0, *(abs(value) for value in [*difference, *(line[0] for line in lines)])])
    axes.set_ylim(-1.2 * highest, 1.2 * highest)
    axes.set_xlim(left=0)
    _save(figure, path)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _frame(x: str, y: str, title: str, height: float = _HEIGHT) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.5, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y, ylim=(-0.02, 1.02))
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    # Without the software's name the same curve gives the same bytes on one installation.
    write_with(path, lambda part: figure.savefig(part, format="png", metadata={"Software": None}))
