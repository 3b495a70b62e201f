"""The card in a weights file: what its user must know to apply the model as it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from math import inf
from typing import Any

from converters.errors import InputError
from mitoyolo.detectors.families import YOLO

CARD_KEY = "mitoyolo"
"""The card's key in a checkpoint."""

VERIFIER_KEY = "mitoyolo_verifier"
"""The key of its verifier's tensors, where it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The dict ``mitoyolo`` of a weights file, of plain types.

    Attributes
    ----------
    family : str
        The model's name, for example `yolov5n`.
    classes : tuple of str
        In the order of the model's class numbers.
    mpp : (float, float) or None
        µm/px across and down of the tiles it was trained on.
    tile, overlap : int
        Tile size and overlap in pixels of ``mpp``, for cutting larger images.
    imgsz : int
        Side in pixels to which a tile is resized for the network.
    normalisation : dict or None
        ``{method, mode, target}`` of the training tiles, or None.
    radius_um, protocol : float, str
        Half-side of a centroid's box, and the rule by which the threshold was chosen.
    threshold : float or None
        Least score of a detection that counts; None where none was chosen.
    threshold_from : str
        Which split of which data the threshold was chosen on.
    versions : dict
        Versions of the packages that trained it.
    verifier : str or None
        The YOLOv5 of whose layers its verifier is (:mod:`mitoyolo.detectors.verifier`), or None.
    """

    family: str
    classes: tuple[str, ...]
    mpp: tuple[float, float] | None
    tile: int
    overlap: int
    imgsz: int
    normalisation: dict[str, Any] | None
    radius_um: float
    protocol: str
    threshold: float | None
    threshold_from: str
    versions: dict[str, str]
    verifier: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain lists, strings and numbers."""
        values = asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}


def card_from_dict(values: dict[str, Any], file: object) -> Card:
    """A card read from a weights file.

    Raises
    ------
    InputError
        A key is missing or has another type.
    """
    names = [field.name for field in fields(Card)]
    values = {f.name: f.default for f in fields(Card) if f.default is not MISSING} | values
    missing = [name for name in names if name not in values]
    if missing:
        raise InputError(
            f"its `mitoyolo` dict has no {', '.join(missing)}",
            file=str(file),
            fix="train again with this version",
        )
    known = {name: values[name] for name in names}
    try:
        known["classes"] = tuple(str(name) for name in known["classes"])
        if known["mpp"] is not None:
            x, y = known["mpp"]
            known["mpp"] = (float(x), float(y))
        for name in ("tile", "overlap", "imgsz"):
            known[name] = int(known[name])
        known["radius_um"] = float(known["radius_um"])
        if known["threshold"] is not None:
            known["threshold"] = float(known["threshold"])
        known["normalisation"] = known["normalisation"] and dict(known["normalisation"])
        positive = (*(known["mpp"] or ()), known["tile"], known["imgsz"], known["radius_um"])
        if not (all(0 < number < inf for number in positive) and known["overlap"] >= 0):
            raise ValueError("a length that is not positive")
        if known["verifier"] not in (None, *YOLO):  # Ultralytics would take it for a file's name
            raise ValueError("a verifier that there is not")
        if known["verifier"] and not known["mpp"]:
            raise ValueError("a verifier of tiles of unknown µm/px")
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"its `mitoyolo` dict is damaged ({error})", file=str(file)) from None
    return Card(**known)


def entries(card: Card, verifier: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a checkpoint of ours holds besides: the card, and a verifier's tensors or None, which
    takes away those that a file had."""
    return {CARD_KEY: card.to_dict(), VERIFIER_KEY: verifier}
