"""``mitoyolo evaluate``: predictions in a file scored against a truth, without a model."""

from __future__ import annotations

import json
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from converters.files import write_json
from converters.model import LABELS
from converters.mpp import Mpp
from mitoyolo.evaluation.fields import Field
from mitoyolo.evaluation.metrics import caveats, count, paired
from mitoyolo.evaluation.metrics import evaluate as score
from mitoyolo.evaluation.protocols import Protocol, get_protocol
from mitoyolo.evaluation.threshold import DEFAULT, choose_threshold
from mitoyolo.inference.merge import Detections
from mitoyolo.inference.predictions import read_predictions
from mitoyolo.inference.tables import PREDICTIONS, write_predictions
from mitoyolo.inference.truths import Truths, read_truths
from mitoyolo.jobs import check_apart, open_job
from mitoyolo.progress import note
from mitoyolo.report.overlay import stitch
from mitoyolo.report.val import write_val_report
from mitoyolo.val import INDEX, summary_line

DEFAULT_PROTOCOL = "centroid"


def evaluate(
    truth: Path,
    predictions: Path,
    *,
    protocol: str | None = None,
    radius_um: float | None = None,
    mpp: Mpp | None = None,
    split: str | None = None,
    threshold: float | None = 0.0,
    against: Path | None = None,
    against_threshold: float | None = None,
    out: Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Score predictions.

    Parameters
    ----------
    truth : Path
        A dataset folder, ``annotations.csv``, a COCO file or a MIDOG data set, see
        :func:`mitoyolo.inference.truths.read_truths`.
    predictions : Path
        ``predictions.csv``, COCO results, MIDOG's points or a folder of them, see
        :func:`mitoyolo.inference.predictions.read_predictions`. An image of the truth without any
        counts as one on which nothing was found.
    protocol : str, optional
        How detections are counted; None: as the dataset folder says, else `centroid`.
    radius_um : float, optional
        Of protocol `centroid`, the only one that takes another than its own; None: 8 µm.
    mpp : (float, float), optional
        The truth's µm per pixel; wins over its file.
    split : str, optional
        `train`, `val`, `test` or `all`; None: the test split of a dataset folder, all of a file.
    threshold : float or None
        Predictions of this score or more count, 0 for every one. None: the best F1 on these very
        predictions, which the result then warns of.
    against : Path, optional
        Other predictions on the same truth, for the paired difference.
    against_threshold : float, optional
        Their own threshold; None: chosen as the first one's.
    out : Path, optional
        A folder to write ``metrics.json``, ``predictions.csv``, curves and a report in.
    seed : int
        Of the bootstrap.
    overwrite : bool
        Replace another call's results in ``out``.

    Returns
    -------
    dict
        The contents of ``metrics.json``; with ``against`` also `against`: the other's counts at
        its threshold and the `f1_difference` (the first less the other) with its 95 % interval.
        Ratios of nothing are None.

    Raises
    ------
    InputError
        A file cannot be used, or the protocol cannot count what is in it.
    """
    if out:
        check_apart(out, filter(None, (truth, predictions, against)))
    truths = read_truths(truth, split=split, mpp=mpp)
    own = truths.dataset.block["protocol"] if truths.is_folder else DEFAULT_PROTOCOL
    rule = get_protocol(protocol or own, radius_um)
    of_source = read_predictions(predictions, truths)
    fields = _fields(truths, of_source, predictions)
    metrics = score(fields, rule, *_threshold(fields, rule, threshold), seed=seed)
    if truths.is_folder:
        metrics["split"] = split or truths.splits[0]
    if threshold is None and metrics["truths"]:
        metrics["warning"] = (
            "the threshold was chosen on these predictions, so these figures are optimistic"
        )
        note(f"warning: {metrics['warning']}")
    for line in caveats(metrics):
        note(line)
    if against:
        others = _fields(truths, read_predictions(against, truths), against)
        if against_threshold is None:
            cut, cut_from = _threshold(others, rule, threshold)
        else:
            cut, cut_from = against_threshold, "given by --against-threshold"
        metrics["against"] = {
            "predictions": str(against.resolve()),
            "threshold": cut,
            "threshold_from": cut_from,
            **paired(
                count(fields, rule, metrics["threshold"]),
                count(others, rule, cut),
                [field.case for field in fields],
                seed,
            ),
        }
    if out:
        # the numbers themselves say whether files or options have changed since
        arguments = {
            "truth": str(truth.resolve()),
            "predictions": str(predictions.resolve()),
            "splits": list(truths.splits),
            "result": sha256(json.dumps(metrics).encode()).hexdigest()[:16],
        }
        with open_job(
            out, command="evaluate", arguments=arguments, index=INDEX, overwrite=overwrite
        ) as job:
            if not job.finished:
                dataset = truths.dataset
                pixels = partial(stitch, dataset) if dataset.has_images else None
                write_predictions(out / PREDICTIONS, of_source, LABELS)
                write_val_report(out, "Evaluation", fields, rule, metrics, pixels)
                write_json(out / INDEX, metrics)
    return metrics


def table(metrics: dict[str, Any]) -> str:
    """The result for the terminal: a line, a row a case, and the comparison."""
    rows = [("case", "found", "false", "missed", "precision", "recall", "F1")]
    for case, item in metrics["per_case"].items():
        counts = (str(item[key]) for key in ("tp", "fp", "fn"))
        ratios = (_text(item[key]) for key in ("precision", "recall", "f1"))
        rows.append((case, *counts, *ratios))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    ap, froc = _text(metrics["ap"]), _text(metrics["froc_auc"])
    coco = f", COCO mAP50 {_text(metrics['coco']['map50'])}" if metrics["coco"] else ""
    lines = [summary_line(metrics), f"AP {ap}, FROC {froc}{coco}", ""]
    for case, *cells in rows:
        right = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join((f"{case:<{widths[0]}}", *right)))
    if other := metrics.get("against"):
        between = ""
        if other["f1_difference_ci95"]:
            low, high = other["f1_difference_ci95"]
            between = f" (95 % {low:+.3f} to {high:+.3f} over {other['f1_difference_ci95_over']})"
        difference = _text(other["f1_difference"], "+.3f")
        lines += ["", f"against {other['predictions']}, F1 {_text(other['f1'])}: "
                  f"difference {difference}{between}"]  # fmt: skip
    return "\n".join(lines)


def _text(value: float | None, form: str = ".3f") -> str:
    return "undefined" if value is None else format(value, form)


def _fields(truths: Truths, of_source: dict[str, Detections], file: Path) -> list[Field]:
    fields = truths.fields(of_source)
    if bare := sum(field.image not in of_source for field in fields):
        note(
            f"{file}: no prediction on {bare} of {len(fields)} images, which counts as nothing "
            "found there"
        )
    return fields


def _threshold(fields: list[Field], rule: Protocol, given: float | None) -> tuple[float, str]:
    """The threshold and where it comes from."""
    if given is None and not any(len(field.truth) for field in fields):
        return DEFAULT, "default, since there is no mitosis"
    if given is None:
        return choose_threshold(fields, rule), f"best F1 by {rule.name} on these very predictions"
    return given, "given by --threshold" if given else "every prediction counts"
