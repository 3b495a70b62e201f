"""Counts and the metrics file: what a set of detections is worth against its truths.

A ratio whose denominator is zero is undefined and given as None: precision without a detection,
recall without a truth, F1 without either. F1 with truths only, or with detections only, is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from converters.errors import InputError
from mitoyolo.evaluation.agreement import agreement
from mitoyolo.evaluation.bootstrap import MIN_CASES, f1_interval, paired_f1_difference
from mitoyolo.evaluation.coco_map import coco_map
from mitoyolo.evaluation.confusion import confusion
from mitoyolo.evaluation.curves import (
    average_precision,
    froc,
    froc_auc,
    precision_recall_curve,
    rank,
)
from mitoyolo.evaluation.fields import Field, IntArray, check_fields
from mitoyolo.evaluation.protocols import PROTOCOLS, Protocol

__all__ = [
    "Counts",
    "average_precision",
    "caveats",
    "count",
    "evaluate",
    "froc",
    "froc_auc",
    "paired",
    "precision_recall_curve",
]

UNKNOWN = "unknown"
"""The group of images whose scanner, tumour, ... is empty while others have one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counts:
    """True positives, false positives and misses, of all fields and of each."""

    per_field: IntArray  # (n, 3): tp, fp, fn

    @property
    def tp(self) -> int:
        """Truths found."""
        return int(self.per_field[:, 0].sum())

    @property
    def fp(self) -> int:
        """Detections that count as wrong."""
        return int(self.per_field[:, 1].sum())

    @property
    def fn(self) -> int:
        """Truths missed."""
        return int(self.per_field[:, 2].sum())

    @property
    def precision(self) -> float | None:
        """tp / (tp + fp); None without either."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        """tp / (tp + fn); None without either."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float | None:
        """2 tp / (2 tp + fp + fn); None without a truth and a detection."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    def summary(self) -> dict[str, Any]:
        """Return ``tp, fp, fn, precision, recall, f1`` as plain types."""
        return {
            "tp": self.tp,
            "fp": self.fp,
            "fn": self.fn,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
        }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def count(fields: Sequence[Field], protocol: Protocol, threshold: float) -> Counts:
    """Count true positives, false positives and misses at a score threshold.

    Parameters
    ----------
    fields : sequence of Field
        The images, each once.
    protocol : Protocol
        How detections are matched.
    threshold : float
        Detections with this score or more count, 0 to 1.

    Raises
    ------
    InputError
        The threshold is not in 0 to 1, or an image is given twice.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold of {threshold}, expected 0 to 1")
    check_fields(fields)
    return Counts(per_field=protocol.match(fields, threshold))


def evaluate(
    fields: Sequence[Field],
    protocol: Protocol,
    threshold: float,
    threshold_from: str,
    seed: int = 0,
) -> dict[str, Any]:
    """Score a set of images: the contents of ``metrics.json``.

    Parameters
    ----------
    fields : sequence of Field
        The images, each once.
    protocol : Protocol
        How detections are matched at the threshold; its radius also serves AP and FROC.
    threshold : float
        Detections with this score or more count as found, 0 to 1.
    threshold_from : str
        Where the threshold comes from, for the record.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        Plain types, ready for JSON; undefined values are None. Besides the counts at the
        threshold, their ratios and interval, ``ap`` and ``froc_auc``: ``truths`` and
        ``detections``, how many there are whatever the protocol makes of them, and all three a
        mm² where the area of every image is known; the same by case and by domain;
        ``agreement`` of the cases' counts (:func:`mitoyolo.evaluation.agreement.agreement`);
        ``confusion`` where imposters are annotated (:mod:`mitoyolo.evaluation.confusion`); and
        ``coco`` where box sizes are known (:mod:`mitoyolo.evaluation.coco_map`).

    Raises
    ------
    InputError
        There is no image, an image is given twice, or the threshold is not in 0 to 1.
    """
    if not fields:
        raise InputError("no image to score")
    counts = count(fields, protocol, threshold)
    cases = [field.case for field in fields]
    interval, over = f1_interval(counts.per_field, cases, seed)
    ranking = rank(fields, protocol)
    per_case = _by_group(fields, counts, threshold, cases)
    return {
        "protocol": protocol.name,
        "radius_um": protocol.radius_um,
        "threshold": float(threshold),
        "threshold_from": threshold_from,
        **counts.summary(),
        "f1_ci95": list(interval) if interval else None,
        "f1_ci95_over": over,
        "ap": precision_recall_curve(fields, protocol, ranking).ap,
        "froc_auc": froc(fields, protocol, ranking).auc,
        **_totals(fields, counts, threshold),
        "images": len(fields),
        "cases": len(per_case),
        "per_case": per_case,
        "per_domain": {
            kind: _by_group(
                fields, counts, threshold, [field.domain.get(kind) or UNKNOWN for field in fields]
            )
            for kind in _domains(fields)
        },
        "agreement": agreement(
            [case["truths"] for case in per_case.values()],
            [case["detections"] for case in per_case.values()],
        ),
        "confusion": confusion(
            fields, threshold, protocol.radius_um or PROTOCOLS["centroid"].limit
        ),
        "coco": coco_map(fields),
    }


def paired(mine: Counts, theirs: Counts, cases: Sequence[str], seed: int) -> dict[str, Any]:
    """The other predictions' counts, and what the first are better by."""
    interval, over = paired_f1_difference(mine.per_field, theirs.per_field, cases, seed)
    return {
        **theirs.summary(),
        "f1_difference": None if mine.f1 is None or theirs.f1 is None else mine.f1 - theirs.f1,
        "f1_difference_ci95": list(interval) if interval else None,
        "f1_difference_ci95_over": over,
    }


def caveats(metrics: dict[str, Any]) -> list[str]:
    """What the reader of a ``metrics.json`` must know, a line each."""
    said = []
    if metrics["f1_ci95_over"] == "images":
        said.append(
            f"fewer than {MIN_CASES} cases: the 95 % interval is over images within cases, so "
            "case-to-case variation is not in it"
        )
    if PROTOCOLS[metrics["protocol"]].against_imposters and metrics["confusion"] is None:
        said.append(
            f"no look-alike is annotated, and by {metrics['protocol']} nothing else can be a false "
            "positive"
        )
    return said


def _domains(fields: Sequence[Field]) -> list[str]:
    """Return the kinds of domain that at least one image has."""
    return sorted({kind for field in fields for kind, name in field.domain.items() if name})


def _totals(fields: Sequence[Field], counts: Counts, threshold: float) -> dict[str, Any]:
    """How many truths and detections there are, and how dense where every area is known."""
    truths = sum(len(field.truth) for field in fields)
    detections = sum(int((field.scores >= threshold).sum()) for field in fields)
    areas = [field.area_mm2 for field in fields if field.area_mm2 is not None]
    area = sum(areas) if len(areas) == len(fields) else None

    def density(number: int) -> float | None:
        return None if area is None else number / area

    return {
        "truths": truths,
        "detections": detections,
        "truths_per_mm2": density(truths),
        "detections_per_mm2": density(detections),
        "fp_per_mm2": density(counts.fp),
    }


def _by_group(
    fields: Sequence[Field], counts: Counts, threshold: float, groups: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Sum up by group, sorted by its name."""
    members: dict[str, list[int]] = {}
    for place, name in enumerate(groups):
        members.setdefault(name, []).append(place)
    summed = {}
    for name, places in sorted(members.items()):
        part = Counts(per_field=counts.per_field[places])
        summed[name] = part.summary() | _totals([fields[i] for i in places], part, threshold)
    return summed
