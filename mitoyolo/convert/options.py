"""What a call of ``convert`` asks for, and what of it decides the bytes that are written."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from converters.errors import OptionError
from converters.images import IMAGE_SUFFIXES, find_files
from converters.mpp import Mpp
from converters.prepare import Selection
from converters.presets import Preset, load_preset
from converters.registry import FORMATS
from mitoyolo.jobs import fingerprint
from mitoyolo.tiles import DEFAULT_OVERLAP


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """The options of ``mitoyolo convert``; see its help and ``docs/dataset.md``."""

    format: str | None = None
    images: Path | None = None
    preset: str | None = None
    mpp: Mpp | None = None
    at_mpp: float | None = None
    selection: Selection = field(default_factory=Selection)
    tile: int | None = None
    overlap: int | None = None
    tile_format: str = "png"
    background: float = 1.0
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    split_file: Path | None = None
    group_by: str = "case"
    bad: str = "stop"
    unlabelled: str = "error"
    seed: int = 0

    @property
    def overlap_px(self) -> int:
        """px that neighbouring tiles share; a quarter of a tile where that is less."""
        if self.overlap is not None:
            return self.overlap
        return min(DEFAULT_OVERLAP, (self.tile or 0) // 4)


def format_and_preset(options: ConvertOptions) -> tuple[str, Preset | None]:
    """The format is named, or the preset's; the preset is named, or implied by the format.

    Raises
    ------
    OptionError
        Neither is named, or the preset is not known.
    """
    preset = load_preset(options.preset) if options.preset else None
    if options.format:
        name = options.format
    elif preset:
        name = preset.format
    else:
        raise OptionError("no --from FORMAT", fix="`mitoyolo formats` lists the formats")
    if preset is None and name in FORMATS and (implied := FORMATS[name].preset):
        preset = load_preset(implied)
    return name, preset


def arguments(
    src: Path, options: ConvertOptions, name: str, preset: Preset | None
) -> dict[str, Any]:
    """What decides the bytes of the output, the state of the input included, as JSON types.

    Paths are resolved: the same folder spelled in another way is the same call.
    """
    beside = src if src.is_dir() else src.parent
    inputs = {
        path
        for root in (src, options.images or beside)
        for path in _files(root.resolve(), (".json", ".csv", *IMAGE_SUFFIXES))
    }
    if options.split_file:
        inputs.add(options.split_file.resolve())
    values = asdict(options)
    selection = values.pop("selection")  # flat, so that a message names the option that differs
    return _plain(
        values
        | selection
        | {
            "src": src,
            "format": name,
            "preset": preset and preset.name,
            "input": fingerprint(sorted(inputs)),
        }
    )


def _files(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [root] if root.is_file() else list(find_files(root, suffixes))


def _plain(value: Any) -> Any:
    """As JSON gives it back: lists for tuples, resolved text for paths."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value.resolve())
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
