"""The normaliser that ``normalize``, ``train``, ``val`` and ``detect`` share.

Modes
-----
case
    One fit over the tissue of up to :data:`SAMPLE_TILES` tiles of a case or slide, then one
    fixed map for all its tiles: no seams between neighbours.
tile
    Each tile by its own statistics over all its pixels, as in the papers; neighbours differ.
target
    One fit over the tissue of up to that many tiles of all cases together, to a saved target:
    brings a scanner to another's colours and keeps the differences between its cases. In
    ``detect``, where the input is one slide, it is ``case``.

A tile with under 5 % tissue, or with a channel that varies by less than one level (of LAB by
``reinhard``, of RGB by ``macenko``), passes through unchanged in every mode: white stays white, and
noise is not stretched into colour. In ``case`` mode this can leave a step between such a tile and
its neighbour, in glass only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from converters.errors import InputError
from mitoyolo.images import RGB
from mitoyolo.stain.methods import Statistics, find_method
from mitoyolo.stain.target import MODES, Target, default_target
from mitoyolo.stain.tissue import MIN_TISSUE, has_tissue

SAMPLE_TILES = 64
"""Tiles with tissue that one fit is made from; more change its numbers by little."""

LITTLE_TISSUE = f"under {MIN_TISSUE:.0%} tissue"
NO_FIT = "no tissue in its case to fit"


@dataclass(frozen=True, slots=True)
class Normaliser:
    """How images are normalised: method, mode and what to.

    Examples
    --------
    >>> normaliser = Normaliser("reinhard", "case")
    >>> Normaliser.from_dict(normaliser.to_dict()) == normaliser
    True
    """

    method: str = "macenko"
    mode: str = "case"
    target: Target = None  # type: ignore[assignment]  # the method's default, at once

    def __post_init__(self) -> None:
        find_method(self.method)
        if self.mode not in MODES:
            raise InputError(f"no mode {self.mode!r}", fix=f"use one of: {', '.join(MODES)}")
        if self.mode != "tile" and find_method(self.method).fixed_map is None:
            raise InputError(
                f"mode `{self.mode}` for {self.method}, which fits each tile alone",
                fix="use mode `tile`",
            )
        if self.target is None:
            object.__setattr__(self, "target", default_target(self.method, self.mode))

    def to_dict(self) -> dict[str, Any]:
        """The ``normalisation`` of ``dataset.yaml`` and of a weights file, as plain types."""
        return {"method": self.method, "mode": self.mode, "target": self.target.to_dict()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Normaliser:
        """Read what :meth:`to_dict` gives.

        Raises
        ------
        InputError
            A key is missing or wrong; ``where`` names ``normalisation``.
        """
        try:
            method, mode, target = (value[key] for key in ("method", "mode", "target"))
            numbers = find_method(str(method)).parse(target)
            return cls(str(method), str(mode), Target(numbers, str(target.get("source", ""))))
        except KeyError as error:
            raise InputError(f"no key {error}", where="normalisation") from None
        except InputError as error:
            raise InputError(error.what, where="normalisation", fix=error.fix) from None
        except (TypeError, AttributeError):
            raise InputError(f"not a normalisation: {value!r}", where="normalisation") from None

    def fit(self, images: Iterable[RGB], *, limit: int = SAMPLE_TILES) -> Fitted:
        """Measure the images of one case or slide.

        Images are drawn until ``limit`` of them had tissue, so a generator in the order of
        :func:`spread` over the sorted tiles costs no more than is used. In mode ``tile`` none
        is drawn.
        """
        if self.mode == "tile":
            return Fitted(self.method, self.target.statistics, None, True)
        gauge = find_method(self.method).gauge()
        for image in _with_tissue(images, limit):
            gauge.add(image)
        return Fitted(self.method, self.target.statistics, gauge.tissue(), False)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A normaliser after its fit: small, hashable, and ready to be sent to another process.

    Attributes
    ----------
    method : str
    target : statistics
    source : statistics or None
        None: each tile's own, or, without ``per_tile``, nothing could be measured.
    per_tile : bool
        Mode ``tile``.
    """

    method: str
    target: Statistics
    source: Statistics | None
    per_tile: bool

    def apply(self, rgb: RGB) -> tuple[RGB, bool]:
        """The normalised tile and True, or the same tile and False where it passes through."""
        image, reason = self.apply_or_reason(rgb)
        return image, reason is None

    def apply_or_reason(self, rgb: RGB) -> tuple[RGB, str | None]:
        """As :meth:`apply`, with the reason for passing through, or None."""
        if not has_tissue(rgb):
            return rgb, LITTLE_TISSUE
        if self.source is None and not self.per_tile:
            return rgb, NO_FIT
        method = find_method(self.method)
        mapped = method.map_tile(rgb, self.source, self.target)
        return (rgb, method.unmapped) if mapped is None else (mapped, None)


def spread(count: int) -> Iterator[int]:
    """0 .. count - 1, each once, so that every beginning of the order is evenly spaced.

    The van der Corput order: the bits of a counter, reversed.

    >>> list(spread(6))
    [0, 4, 2, 1, 5, 3]
    """
    bits = max(count - 1, 0).bit_length()
    for i in range(1 << bits):
        index = int(f"{i:0{bits}b}"[::-1], 2) if bits else 0
        if index < count:
            yield index


def _with_tissue(images: Iterable[RGB], limit: int) -> Iterator[RGB]:
    left = limit
    for image in images:
        if has_tissue(image):
            yield image
            left -= 1
            if not left:
                return
