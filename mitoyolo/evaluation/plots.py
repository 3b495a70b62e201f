"""Small pictures of the curves, with the operating point; drawn without a display."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from converters.files import write_with
from mitoyolo.evaluation.curves import FROC_LIMIT, Froc, PrecisionRecall

_LINE = "#1f4e79"
_POINT = "#c00000"


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
    figure, axes = _frame("recall", "precision", f"{_title(curve)}, AP {_number(curve.ap)}")
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
    title = f"{_title(curve)}, mean sensitivity {_number(curve.auc)}"
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


def _title(curve: PrecisionRecall | Froc) -> str:
    return f"{curve.protocol}, {curve.radius_um:g} µm"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _frame(x: str, y: str, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.5, 3.6), dpi=120, layout="constrained")
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
