"""A detector around another: the same to whoever uses it, and more is done with what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from converters.mpp import Mpp
from mitoyolo.detectors.card import Card
from mitoyolo.images import RGB

if TYPE_CHECKING:
    from mitoyolo.detectors.base import Detector

TURNS = tuple((turns, mirrored) for turns in (0, 2, 1, 3) for mirrored in (False, True))
"""Quarter turns of each view, and whether it is mirrored then: the first four keep a tile's shape,
the first two are the tile and its mirror image."""


class Around:
    """What :class:`~mitoyolo.detectors.base.Detector` asks for, but for finding.

    Parameters
    ----------
    detector : Detector
    card : Card
        Its own, which says how many views, and how large the pixels of its tiles are.
    """

    def __init__(self, detector: Detector, card: Card) -> None:
        self._detector = detector
        self._card = card
        self._turns = TURNS[: card.views]
        self.classes = detector.classes
        self.card: Card | None = card
        self.imgsz = detector.imgsz
        self.device = detector.device

    def _mpp(self, tiles: Sequence[RGB], imgsz: int | None) -> Mpp:
        """µm per pixel of tiles that are resized to ``imgsz`` px, so that a cell is as large as in
        training; None: to as many as there."""
        assert self._card.mpp is not None  # cards with views or a verifier have it
        enlarged = (imgsz or self.imgsz) / max(tiles[0].shape[:2])
        coarser = enlarged / (self.imgsz / self._card.tile)
        return (self._card.mpp[0] * coarser, self._card.mpp[1] * coarser)
