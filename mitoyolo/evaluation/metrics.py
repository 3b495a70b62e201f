"""Counts and the metrics file: what a set of detections is worth against its truths.

A ratio whose denominator is zero is undefined and given as None: precision without a detection,
recall without a truth, F1 without either. F1 with truths only, or with detections only, is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.errors import InputError
from mitoyolo.evaluation.bootstrap import f1_interval
from mitoyolo.evaluation.curves import (
    average_precision,
    froc,
    froc_auc,
    precision_recall_curve,
    rank,
)
from mitoyolo.evaluation.fields import Field, IntArray, check_fields
from mitoyolo.evaluation.protocols import Protocol

__all__ = [
    "Counts",
    "average_precision",
    "count",
    "evaluate",
    "froc",
    "froc_auc",
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
    return Counts(per_field=protocol.match(fields, threshold, protocol.radius_um))


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
        Plain types, ready for JSON; undefined values are None. ``fp_per_mm2`` is there when the
        area of every image is known.

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
    areas = [field.area_mm2 for field in fields if field.area_mm2 is not None]
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
        **({"fp_per_mm2": counts.fp / sum(areas)} if len(areas) == len(fields) else {}),
        "images": len(fields),
        "cases": len(set(cases)),
        "per_case": _summaries(counts, cases),
        "per_domain": {
            kind: _summaries(counts, [field.domain.get(kind) or UNKNOWN for field in fields])
            for kind in _domains(fields)
        },
    }


def _domains(fields: Sequence[Field]) -> list[str]:
    """Return the kinds of domain that at least one image has."""
    return sorted({kind for field in fields for kind, name in field.domain.items() if name})


def _summaries(counts: Counts, groups: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Sum the counts up by group, sorted by its name."""
    names, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return {
        name: Counts(per_field=counts.per_field[group == number]).summary()
        for number, name in enumerate(names.tolist())
    }
