"""µm per pixel: from the option, else the image's metadata, else the preset, else an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from converters.errors import MissingMppError, OptionError
from converters.images import image_mpp
from converters.model import ImageInfo
from converters.presets import Preset

SPREAD = 0.05
"""Relative difference from which two µm/px count as different."""

Mpp = tuple[float, float]


def parse_mpp(text: str, option: str = "--mpp") -> Mpp:
    """`F` or `FX,FY` as µm per pixel across and down.

    Raises
    ------
    OptionError
        Not one or two numbers in a light microscope's range (0.01 to 50).
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not all(0.01 <= value <= 50 for value in values):
        raise OptionError(
            f"{option} {text!r}: expected µm per pixel (0.01 to 50) as one number, or two as FX,FY"
        )
    return (values[0], values[-1])


def differ(a: Mpp, b: Mpp, tolerance: float = SPREAD) -> bool:
    """Whether two µm/px differ by more than ``tolerance`` on either axis."""
    return any(abs(p - q) > tolerance * min(p, q) for p, q in zip(a, b, strict=True))


def resolve_mpp(
    images: list[ImageInfo],
    *,
    option: Mpp | None,
    preset: Preset | None,
    note: Callable[[str], None],
) -> list[ImageInfo]:
    """Give every image its µm/px along the chain option, metadata, preset.

    A contradiction is said once, by ``note``, however many images it holds for; the option wins
    over the file, the file over the preset.

    Raises
    ------
    MissingMppError
        An image for which none of the three knows a value.
    """
    resolved: list[ImageInfo] = []
    contradicted: list[str] = []
    for image in images:
        known = image.mpp or image_mpp(image.path)
        default = _of_preset(preset, image.scanner)
        mpp = option or known or default
        other = known if option else default
        if known and other and mpp and differ(mpp, other):
            whose = "it says" if option else f"preset {preset and preset.name} says"
            contradicted.append(f"{image.path.name}: {_text(mpp)} is used, {whose} {_text(other)}")
        if mpp is None:
            raise MissingMppError(
                "no µm/px: not in the image, and no preset knows it",
                file=image.path,
                fix="state it by --mpp F (µm per pixel), for example --mpp 0.25",
            )
        resolved.append(replace(image, mpp=mpp))
    if contradicted:
        why = "--mpp wins over the image" if option else "the image wins over the preset"
        note(
            f"µm/px differ on {len(contradicted)} of {len(images)} images, {why} "
            f"({contradicted[0]})"
        )
    return resolved


def _of_preset(preset: Preset | None, scanner: str) -> Mpp | None:
    if preset is None:
        return None
    return preset.mpp.get(scanner) or preset.mpp.get("")


def _text(mpp: Mpp) -> str:
    return f"{mpp[0]:g}" if mpp[0] == mpp[1] else f"{mpp[0]:g} x {mpp[1]:g}"
