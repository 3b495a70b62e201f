"""The stain normalisation methods: a method is one module and one line in :data:`METHODS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from converters.errors import InputError
from mitoyolo.images import RGB
from mitoyolo.stain import reinhard


class Statistics(Protocol):
    """What a method measures of a stain: hashable, picklable, and plain numbers in JSON."""

    def to_dict(self) -> dict[str, Any]:
        """The numbers as plain types."""


class Gauge(Protocol):
    """Measures tiles one after the other."""

    def add(self, rgb: RGB) -> None:
        """Count a tile in."""

    def tissue(self) -> Any | None:
        """Statistics of the tissue so far; None where nothing can be measured."""

    def whole(self) -> Any | None:
        """Statistics of all pixels, as the method's papers measure a tile."""


@dataclass(frozen=True, slots=True)
class Method:
    """How a method measures and maps.

    Attributes
    ----------
    gauge : () -> Gauge
    map_tile : (image, source or None, target) -> image or None
        Brings a tile to the target from the source's statistics, or from its own; None leaves
        it as it is.
    parse : dict -> statistics
        Reads what ``to_dict`` gives; raises InputError.
    default, default_whole : statistics
        The target where none is given: measured over tissue, and over whole frames.
    default_source : str
        Where these were measured.
    """

    gauge: Callable[[], Gauge]
    map_tile: Callable[[RGB, Any, Any], RGB | None]
    parse: Callable[[Mapping[str, Any]], Any]
    default: Any
    default_whole: Any
    default_source: str


METHODS = {
    "reinhard": Method(
        gauge=reinhard.Gauge,
        map_tile=reinhard.map_tile,
        parse=reinhard.Stats.from_dict,
        default=reinhard.DEFAULT,
        default_whole=reinhard.DEFAULT_WHOLE,
        default_source=reinhard.DEFAULT_SOURCE,
    ),
}


def find_method(name: str) -> Method:
    """The method called ``name``.

    Raises
    ------
    InputError
        There is none; the known ones are listed.
    """
    try:
        return METHODS[name]
    except KeyError:
        raise InputError(f"no method {name!r}", fix=f"use one of: {', '.join(METHODS)}") from None
