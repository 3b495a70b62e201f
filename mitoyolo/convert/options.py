"""What a call of ``convert`` asks for, and what of it decides the bytes that are written."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from converters.errors import OptionError
from converters.images import all_files
from converters.mpp import Mpp
from converters.pictures import outside
from converters.prepare import Selection
from converters.presets import Preset, load_preset
from converters.registry import FORMATS, SPECIAL
from mitoyolo.convert.augment import AUGMENTATIONS
from mitoyolo.dataset import CHECK
from mitoyolo.jobs import fingerprint
from mitoyolo.tiles import DEFAULT_OVERLAP


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """The options of ``mitoyolo convert``; see its help and ``docs/dataset.md``."""

    format: str | None = None
    to: str = "yolo"
    images: Path | None = None
    annotations_only: bool = False
    columns: tuple[str, ...] = ()
    one_based: bool = False
    case_pattern: str | None = None
    preset: str | None = None
    mpp: Mpp | None = None
    at_mpp: float | None = None
    selection: Selection = field(default_factory=Selection)
    tile: int | None = None
    overlap: int | None = None
    grid: tuple[int, int] | None = None
    tile_format: str = "png"
    background: float = 1.0
    augment: tuple[str, ...] = ()
    masks: bool = False
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    official: bool = False
    split_file: Path | None = None
    group_by: str = "case"
    bad: str = "stop"
    unlabelled: str = "error"
    include_unlabelled: bool = False
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
        Neither is named, the preset is not known, or an option does nothing for the format.
    """
    preset = load_preset(options.preset) if options.preset else None
    if options.format:
        name = options.format
    elif preset:
        name = preset.format
    else:
        raise OptionError("no --from FORMAT", fix="`mitoyolo formats` lists the formats")
    _check_obeyed(name, options)
    if preset is None and name in FORMATS and (implied := FORMATS[name].preset):
        preset = load_preset(implied)
    return name, preset


def _check_obeyed(name: str, options: ConvertOptions) -> None:
    """Refuse an option that the format's reader would not look at."""
    for option in SPECIAL:
        if name in FORMATS and getattr(options, option) and option not in FORMATS[name].takes:
            takers = ", ".join(key for key, entry in FORMATS.items() if option in entry.takes)
            raise OptionError(f"--{option.replace('_', '-')} is for --from {takers}, not {name}")


def with_preset(options: ConvertOptions, preset: Preset | None) -> ConvertOptions:
    """The options with what the preset's own recipe says where the call does not.

    Raises
    ------
    OptionError
        The official split is asked for and there is none.
    """
    if options.official and not (preset and preset.official):
        raise OptionError(
            "--split official: " + (f"preset {preset.name} has none" if preset else "no --preset"),
            fix="give shares such as 0.8,0.1,0.1, or a --split-file",
        )
    cut = preset.cut if preset else {}
    if options.grid is None and options.tile is None and "grid" in cut:
        options = replace(options, grid=parse_grid(cut["grid"]))
    if not options.augment and "augment" in cut:
        options = replace(options, augment=parse_augment(cut["augment"]))
    return options


def parse_grid(text: str) -> tuple[int, int]:
    """`4x4` as columns and rows.

    Raises
    ------
    OptionError
        Not two whole numbers from 1 to 1000.
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and 1 <= int(part) <= 1000 for part in parts):
        raise OptionError(f"--grid {text!r}: expected COLUMNSxROWS, for example 4x4")
    return (int(parts[0]), int(parts[1]))


def parse_augment(text: str) -> tuple[str, ...]:
    """`flips`, `rot90` or `flips,rot90`, each once.

    Raises
    ------
    OptionError
        Another word.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if unknown := [name for name in names if name not in AUGMENTATIONS]:
        known = ", ".join(AUGMENTATIONS)
        raise OptionError(f"--augment {unknown[0]!r} is not known (known: {known})")
    return names


def arguments(
    src: Path, out: Path, options: ConvertOptions, name: str, preset: Preset | None
) -> dict[str, Any]:
    """What decides the bytes of the output, the state of the input included, as JSON types.

    Paths are resolved: the same folder spelled in another way is the same call.
    """
    beside = src if src.is_dir() else src.parent
    roots = [src] if options.annotations_only else [src, options.images or beside]
    inputs = {path for root in roots for path in _files(root.resolve(), out)}
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
            "preset": preset and asdict(preset),
            "input": fingerprint(sorted(inputs)),
        }
    )


def _files(root: Path, out: Path) -> list[Path]:
    if root.is_file():
        return [root]
    return [path for path in outside(out, root, all_files(root)) if path.name != CHECK]


def _plain(value: Any) -> Any:
    """As JSON gives it back: lists for tuples, resolved text for paths."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value.resolve())
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
