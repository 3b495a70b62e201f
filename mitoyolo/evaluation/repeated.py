"""One model from several seeds on the same images: counted together, compared image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mitoyolo.evaluation.bootstrap import Interval, f1_interval
from mitoyolo.evaluation.fields import Field
from mitoyolo.evaluation.metrics import Counts, count, paired
from mitoyolo.evaluation.protocols import Protocol, get_protocol


@dataclass(frozen=True)
class Scored:
    """One model from one seed, on one split of one data set.

    Attributes
    ----------
    metrics : dict
        ``metrics.json``.
    fields : tuple of Field
        Truths and detections, in the order of their images.
    """

    metrics: dict[str, Any]
    fields: tuple[Field, ...]

    def counts(self, protocol: Protocol) -> Counts:
        """Counted by any rule, at the threshold that the validation split gave."""
        return count(self.fields, protocol, self.metrics["threshold"])


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """The scores of several seeds.

    Attributes
    ----------
    seeds : tuple of int
    scored : sequence of Scored
        Of each seed, in the same order.
    """

    seeds: tuple[int, ...]
    scored: Sequence[Scored]

    @property
    def protocol(self) -> Protocol:
        """By which thresholds were chosen and the detections are counted."""
        return get_protocol(self.scored[0].metrics["protocol"])

    def pooled(self, protocol: Protocol) -> Counts:
        """The counts of all seeds, image by image."""
        of_seeds = [one.counts(protocol).per_field for one in self.scored]
        return Counts(per_field=np.sum(of_seeds, axis=0))

    @cached_property
    def counts(self) -> Counts:
        """:meth:`pooled` by their own protocol."""
        return self.pooled(self.protocol)

    @property
    def f1s(self) -> list[float | None]:
        """F1 of each seed."""
        return [one.metrics["f1"] for one in self.scored]

    @property
    def cases(self) -> list[str]:
        """Of each image."""
        return [field.case for field in self.scored[0].fields]

    def interval(self, protocol: Protocol | None = None) -> Interval:
        """95 % interval of the F1 of all seeds together, the scorer's own."""
        counts = self.pooled(protocol) if protocol else self.counts
        return f1_interval(counts.per_field, self.cases, seed=0)

    def against(self, other: Repeated) -> dict[str, Any]:
        """F1 less another's on the same images, :func:`mitoyolo.evaluation.metrics.paired`."""
        return paired(self.counts, other.counts, self.cases, seed=0)

    def false_per_mm2(self) -> float | None:
        """False detections a mm² of what was searched; None where its area is not known."""
        area = len(self.scored) * sum(field.area_mm2 or 0.0 for field in self.scored[0].fields)
        return self.counts.fp / area if area else None
