"""The scoring protocols: a name, a radius, a source and the function that counts by it.

Adding one is one function (fields, threshold, radius -> counts for each field) and one line in
``PROTOCOLS``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from converters.errors import InputError
from mitoyolo.evaluation.fields import Field, IntArray, pool
from mitoyolo.evaluation.ranking import Steps, gated_hits, steps

Match = Callable[[Sequence[Field], float, float], IntArray]
"""(fields, threshold, radius_um) -> (n, 3) int: tp, fp, fn of each field."""

Sweep = Callable[[Sequence[Field], float], Steps]
"""(fields, radius_um) -> the counts at every distinct score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """A rule for counting true positives, false positives and misses.

    Parameters
    ----------
    name : str
        What ``--protocol`` calls it.
    radius_um : float
        How far from its truth a detection may be, in µm, inclusive.
    source : str
        The paper or specification followed.
    match : callable
        Counts each field at a threshold.
    sweep : callable, optional
        Counts all fields at every score in one pass, as ``match`` would. Without it, the
        threshold is chosen by calling ``match`` at up to 200 cuts.
    free_radius : bool
        Whether the user may state the radius.
    """

    name: str
    radius_um: float
    source: str
    match: Match
    sweep: Sweep | None = None
    free_radius: bool = False


def gated_match(fields: Sequence[Field], threshold: float, radius_um: float) -> IntArray:
    """Count by one-to-one gated assignment among the detections at or above the threshold.

    A second detection of a matched truth is a false positive.

    Returns
    -------
    (n, 3) int
        tp, fp, fn of each field.
    """
    points = pool(fields).above(threshold)
    # Counts need the number of matches, not the pairs, so the distances need not be minimised.
    hit = gated_hits(points, radius_um)
    tp = np.bincount(points.detection_image[hit], minlength=points.images)
    detections = np.bincount(points.detection_image, minlength=points.images)
    truths = np.bincount(points.truth_image, minlength=points.images)
    return np.column_stack([tp, detections - tp, truths - tp]).astype(np.int64)


def gated_sweep(fields: Sequence[Field], radius_um: float) -> Steps:
    """Count as :func:`gated_match` does, at every distinct score in one pass."""
    points = pool(fields)
    return steps(points.scores, gated_hits(points, radius_um), len(points.truth))


def _gated(name: str, radius_um: float, source: str, *, free_radius: bool = False) -> Protocol:
    return Protocol(
        name=name,
        radius_um=radius_um,
        source=source,
        match=gated_match,
        sweep=gated_sweep,
        free_radius=free_radius,
    )


_ALL = [
    _gated(
        "centroid",
        8.0,
        "one-to-one gated assignment: most matches, then least total distance",
        free_radius=True,
    ),
    _gated(
        "icpr12",
        5.0,
        "Roux et al., Mitosis detection in breast cancer histological images: an ICPR 2012 "
        "contest, J Pathol Inform 2013;4:8",
    ),
    _gated("atypia14", 8.0, "MITOS-ATYPIA-14 contest, ICPR 2014, evaluation criteria"),
]

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _ALL}


def protocol_of_data(name: str, note: Callable[[str], None]) -> Protocol:
    """The protocol that a dataset folder names; `centroid`, and ``note`` says so, where it is one
    that cannot be counted yet."""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    note(f"protocol {name} of the data is not there yet; centroid is used instead")
    return PROTOCOLS["centroid"]


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
        The name is unknown, the radius is not positive, or it is not the protocol's own.
    """
    if name not in PROTOCOLS:
        raise InputError(
            f"no protocol {name!r}", fix=f"choose one of {', '.join(sorted(PROTOCOLS))}"
        )
    protocol = PROTOCOLS[name]
    if radius_um is None or radius_um == protocol.radius_um:
        return protocol
    if not protocol.free_radius:
        raise InputError(
            f"protocol {name} has a radius of {protocol.radius_um:g} µm, not {radius_um:g}",
            fix="leave the radius out, or use protocol centroid, which alone takes one",
        )
    if not 0 < radius_um < np.inf:
        raise InputError(f"radius of {radius_um:g} µm, expected more than 0")
    return dataclasses.replace(protocol, radius_um=float(radius_um))
