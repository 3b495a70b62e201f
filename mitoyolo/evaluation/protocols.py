"""The scoring protocols: a name, how near counts, a source and the function that counts by it.

Adding one is one function (fields and limit -> :class:`Tally`) and one line in ``PROTOCOLS``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from converters.errors import InputError, OptionError
from mitoyolo.evaluation.boxes import overlapping_boxes
from mitoyolo.evaluation.cells import annotated_cells
from mitoyolo.evaluation.fields import Field, IntArray, pool
from mitoyolo.evaluation.in_turn import truths_in_turn
from mitoyolo.evaluation.nearest import nearest_truth
from mitoyolo.evaluation.ranking import gated_hits, greedy_hits
from mitoyolo.evaluation.tally import Steps, Tally, one_to_one

Rule = Callable[[Sequence[Field], float], Tally]
"""(fields, limit) -> the counts of each field at every threshold."""


def gated(fields: Sequence[Field], radius_um: float) -> Tally:
    """Count by one-to-one gated assignment: the most matches within the radius.

    A second detection of a mitosis is a false positive, one detection finds one mitosis, and a
    detection moves on to another mitosis where that lets more of them match::

        d1 -- 7 µm -- T1 -- 1 µm -- d2 -- 7 µm -- T2       d3 -- 3 µm -- T3 -- 2 µm -- d4

    d1 finds T1 and d2 T2, though d2 is nearer to T1; T3 has one match, so d3 or d4 is wrong:
    tp 3, fp 1, fn 0. Which pairs they are, :func:`mitoyolo.evaluation.matching.assign` says.
    """
    points = pool(fields)
    return one_to_one(points, gated_hits(points, radius_um))


def nearest_free(fields: Sequence[Field], radius_um: float) -> Tally:
    """Rank: detections by falling score, each takes the nearest free truth in range."""
    points = pool(fields)
    return one_to_one(points, greedy_hits(points, radius_um))


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """A rule for counting true positives, false positives and misses.

    Parameters
    ----------
    name : str
        What ``--protocol`` calls it.
    limit : float
        How far from its truth a detection may be in µm, or the least overlap; inclusive.
    unit : str
        Of the limit.
    source : str
        The paper or specification followed.
    rule : callable
        Counts, by the limit.
    ranking : callable, optional
        Counts for precision-recall and FROC curves. Without it, they are undefined.
    free_radius : bool
        Whether the user may state the radius.
    against_imposters : bool
        Whether only annotated look-alikes can be false positives.
    """

    name: str
    limit: float
    unit: Literal["µm", "IoU"] = "µm"
    source: str
    rule: Rule
    ranking: Rule | None
    free_radius: bool = False
    against_imposters: bool = False

    @property
    def radius_um(self) -> float | None:
        """The limit, if it is a distance."""
        return self.limit if self.unit == "µm" else None

    @property
    def title(self) -> str:
        """Name and limit, for people."""
        limit = f"{self.limit:g} µm" if self.unit == "µm" else f"{self.unit} {self.limit:g}"
        return f"{self.name}, {limit}"

    def tally(self, fields: Sequence[Field]) -> Tally:
        """Count once for every threshold."""
        return self.rule(fields, self.limit)

    def match(self, fields: Sequence[Field], threshold: float) -> IntArray:
        """Count tp, fp, fn of each field, (n, 3), among scores of ``threshold`` or more."""
        return self.tally(fields).at(threshold)

    def sweep(self, fields: Sequence[Field]) -> Steps:
        """Count all fields at every score, as ``match`` would."""
        return self.tally(fields).steps()


_ALL = [
    Protocol(
        name="centroid",
        limit=8.0,
        source="one-to-one gated assignment: most matches, then least total distance",
        rule=gated,
        ranking=nearest_free,
        free_radius=True,
    ),
    Protocol(
        name="icpr12",
        limit=5.0,
        source="Roux et al., Mitosis detection in breast cancer histological images: an ICPR 2012 "
        "contest, J Pathol Inform 2013;4:8",
        rule=gated,
        ranking=nearest_free,
    ),
    Protocol(
        name="atypia14",
        limit=8.0,
        source="MITOS-ATYPIA-14 contest, ICPR 2014, evaluation criteria",
        rule=gated,
        ranking=nearest_free,
    ),
    Protocol(
        name="amida13",
        limit=7.5,
        source="Veta et al., Assessment of algorithms for mitosis detection in breast cancer "
        "histopathology images, Med Image Anal 2015;20:237-248",
        rule=nearest_truth,
        ranking=nearest_truth,
    ),
    Protocol(
        name="tupac16",
        limit=7.5,
        source="Veta et al., Predicting breast tumor proliferation from whole-slide images: the "
        "TUPAC16 challenge, Med Image Anal 2019;54:111-121",
        rule=nearest_truth,
        ranking=nearest_truth,
    ),
    Protocol(
        name="midog",
        limit=7.5,
        source="MIDOG challenges, evaluation by score_detection of grand-challenge-metrics; "
        "Aubreville et al., Med Image Anal 2023;84:102699",
        rule=truths_in_turn,
        ranking=nearest_free,
    ),
    Protocol(
        name="kmit",
        limit=0.5,
        unit="IoU",
        source="the KMIT papers on CADD4MBC tiles, boxes compared by IoU",
        rule=overlapping_boxes,
        ranking=overlapping_boxes,
    ),
    Protocol(
        name="mitos-rcnn",
        limit=8.0,
        source="Rao, MITOS-RCNN, arXiv:1807.01788, Fig. 4",
        rule=annotated_cells,
        ranking=None,
        against_imposters=True,
    ),
]

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _ALL}


def get_protocol(name: str, radius_um: float | None = None) -> Protocol:
    """Look a protocol up, with the radius asked for.

    Parameters
    ----------
    name : str
        A key of ``PROTOCOLS``.
    radius_um : float, optional
        The radius in µm. Only ``centroid`` takes one of the user's choice.

    Raises
    ------
    InputError
        The name is unknown.
    OptionError
        The radius is not positive, or it is not the protocol's own.
    """
    if name not in PROTOCOLS:
        raise InputError(
            f"no protocol {name!r}", fix=f"choose one of {', '.join(sorted(PROTOCOLS))}"
        )
    protocol = PROTOCOLS[name]
    if radius_um is None or radius_um == protocol.radius_um:
        return protocol
    if not protocol.free_radius:
        own = "no radius" if protocol.radius_um is None else f"a radius of {protocol.limit:g} µm"
        raise OptionError(
            f"protocol {name} has {own}, not {radius_um:g}",
            fix="leave the radius out, or use protocol centroid, which alone takes one",
        )
    if not 0 < radius_um < np.inf:
        raise OptionError(f"radius of {radius_um:g} µm, expected more than 0")
    return dataclasses.replace(protocol, limit=float(radius_um))
