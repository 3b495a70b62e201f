"""The stain normalisation methods: a method is one module and one line in :data:`METHODS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from converters.errors import InputError
from mitoyolo.images import RGB
from mitoyolo.stain import macenko, reinhard, staintools_engine


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
    fixed_map : (image, source, target) -> image, or None
        The same map of each pixel without a look at the tile, of an array of any (h, w, 3);
        None for a method that knows no fit but a tile's own.
    is_flat : image -> bool
        Whether ``map_tile`` leaves a tile as it is, whatever its source.
    unmapped : str
        Why it does.
    tabulated : bool
        Whether the CPU looks a new colour up faster than ``fixed_map`` computes it.
    parse : dict -> statistics
        Reads what ``to_dict`` gives; raises InputError.
    default, default_whole : statistics
        The target where none is given: measured over tissue, and over whole frames.
    default_source : str
        Where these were measured.
    needs : () -> object
        Raises InputError where a package that it needs is not installed.
    """

    gauge: Callable[[], Gauge]
    map_tile: Callable[[RGB, Any, Any], RGB | None]
    fixed_map: Callable[[RGB, Any, Any], RGB] | None
    is_flat: Callable[[RGB], bool]
    unmapped: str
    parse: Callable[[Mapping[str, Any]], Any]
    default: Any
    default_whole: Any
    default_source: str
    needs: Callable[[], object] = lambda: None
    tabulated: bool = False

    @property
    def default_mode(self) -> str:
        """``case``, or ``tile`` for a method that knows no other."""
        return "case" if self.fixed_map else "tile"


def _stains_by_staintools(name: str, target: macenko.Stats) -> Method:
    return Method(
        gauge=partial(staintools_engine.Gauge, name),
        map_tile=partial(staintools_engine.map_stains, name),
        fixed_map=None,
        is_flat=macenko.is_flat,
        unmapped=staintools_engine.UNMAPPED,
        parse=staintools_engine.stats_from_dict,
        default=target,
        default_whole=target,
        default_source=macenko.DEFAULT_SOURCE,
        needs=staintools_engine.load,
    )


METHODS = {
    "reinhard": Method(
        gauge=reinhard.Gauge,
        map_tile=reinhard.map_tile,
        fixed_map=reinhard.apply,
        is_flat=reinhard.is_flat,
        unmapped="one colour",
        parse=reinhard.Stats.from_dict,
        default=reinhard.DEFAULT,
        default_whole=reinhard.DEFAULT_WHOLE,
        default_source=reinhard.DEFAULT_SOURCE,
        tabulated=True,
    ),
    "macenko": Method(
        gauge=macenko.Gauge,
        map_tile=macenko.map_tile,
        fixed_map=macenko.apply,
        is_flat=macenko.is_flat,
        unmapped="one colour, or no two stains",
        parse=macenko.Stats.from_dict,
        default=macenko.DEFAULT,
        default_whole=macenko.DEFAULT_WHOLE,
        default_source=macenko.DEFAULT_SOURCE,
    ),
    "staintools-reinhard": Method(
        gauge=reinhard.Gauge,
        map_tile=staintools_engine.map_reinhard,
        fixed_map=None,
        is_flat=reinhard.is_flat,
        unmapped="one colour",
        parse=reinhard.Stats.from_dict,
        default=reinhard.DEFAULT_WHOLE,
        default_whole=reinhard.DEFAULT_WHOLE,
        default_source=reinhard.DEFAULT_SOURCE,
        needs=staintools_engine.load,
    ),
    "staintools-macenko": _stains_by_staintools("macenko", staintools_engine.MACENKO),
    "staintools-vahadane": _stains_by_staintools("vahadane", staintools_engine.VAHADANE),
}


def _engine_and_method(name: str) -> tuple[str, str]:
    engine, _, method = name.rpartition("-")
    return engine or "mitoyolo", method


ENGINES: dict[str, list[str]] = {}
"""What runs a method, by the names of its methods; the command line asks for both."""
for _name in METHODS:
    _engine, _method = _engine_and_method(_name)
    ENGINES.setdefault(_engine, []).append(_method)


def full_name(engine: str, method: str) -> str:
    """The name in :data:`METHODS` of an engine's method."""
    return method if engine == "mitoyolo" else f"{engine}-{method}"


def as_options(name: str) -> str:
    """The options of ``normalize`` that choose the method called ``name``."""
    return "--engine {} --method {}".format(*_engine_and_method(name))


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
