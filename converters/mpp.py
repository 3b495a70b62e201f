"""µm per pixel along a chain: the option, the image's metadata, the annotation file, the preset."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from converters.errors import MissingMppError, OptionError
from converters.image_mpp import image_mpp
from converters.model import ImageInfo
from converters.presets import MPP_RANGE, Mpp, Preset

SPREAD = 0.05
"""Relative difference from which two µm/px count as different."""


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
    low, high = MPP_RANGE
    if len(values) not in (1, 2) or not _plausible(values):
        raise OptionError(
            f"{option} {text!r}: expected µm per pixel ({low:g} to {high:g}) as one number, "
            "or two as FX,FY"
        )
    return (values[0], values[-1])


def _plausible(values: Iterable[float]) -> bool:
    return all(MPP_RANGE[0] <= value <= MPP_RANGE[1] for value in values)


def differ(a: Mpp, b: Mpp, tolerance: float = SPREAD) -> bool:
    """Whether two µm/px differ by more than ``tolerance`` on either axis."""
    return any(abs(p - q) > tolerance * min(p, q) for p, q in zip(a, b, strict=True))


def size_at(size: tuple[int, int], mpp: Mpp, at: Mpp) -> tuple[int, int]:
    """Width and height in whole pixels, one at least, at ``at`` µm/px of what has ``size`` at
    ``mpp``.

    Examples
    --------
    >>> size_at((1000, 800), (0.2425, 0.2425), (0.25, 0.25))
    (970, 776)
    """
    width, height = (
        max(1, round(side * um / wanted)) for side, um, wanted in zip(size, mpp, at, strict=True)
    )
    return width, height


def resolve_mpp(
    images: list[ImageInfo],
    *,
    option: Mpp | None,
    preset: Preset | None,
    note: Callable[[str], None],
    needed: bool = True,
) -> list[ImageInfo]:
    """Give every image its µm/px: the first that is known of the option, the image's metadata,
    what its annotation file said (``ImageInfo.mpp``) and the preset, by scanner or case.

    Values known further down the chain that differ from the one used are said by ``note``, once,
    however many images they belong to.

    Raises
    ------
    MissingMppError
        An image for which none of the four knows a value, where one is ``needed``.
    """
    resolved: list[ImageInfo] = []
    contradicted: list[str] = []
    for image in images:
        known = _known(image, option, preset)
        if not known:
            if needed:
                raise _missing(image)
            resolved.append(replace(image, mpp=None))
            continue
        (whose, mpp), *others = known.items()
        others = [(name, value) for name, value in others if differ(mpp, value)]
        if others:
            said = ", ".join(f"{name} says {_text(value)}" for name, value in others)
            name = image.path.name if image.path else image.source
            contradicted.append(f"{name}: {_text(mpp)} by {whose} is used, {said}")
        resolved.append(replace(image, mpp=mpp))
    if contradicted:
        note(
            f"µm/px differ on {len(contradicted)} of {len(images)} images, for example "
            f"{contradicted[0]}"
        )
    return resolved


def needed_mpp(image: ImageInfo) -> Mpp:
    """The µm/px of an image, for what cannot be done without.

    Raises
    ------
    MissingMppError
        It is not known.
    """
    if image.mpp is None:
        raise _missing(image)
    return image.mpp


def _missing(image: ImageInfo) -> MissingMppError:
    return MissingMppError(
        "no µm/px: not in the image, nor in its annotation file, and no preset knows it",
        file=image.path or image.source,
        fix="state it by --mpp F (µm per pixel), for example --mpp 0.25, or name a --preset",
    )


def _known(image: ImageInfo, option: Mpp | None, preset: Preset | None) -> dict[str, Mpp]:
    """Who says it -> µm/px, the one to believe first."""
    scanner = preset.scanner(image.scanner, image.case) if preset else None
    chain = {
        "--mpp": option,
        "the image": image.path and image_mpp(image.path),
        "the annotation file": image.mpp,
        f"preset {preset.name if preset else ''}": scanner and scanner.mpp,
    }
    # a file that says 0 says nothing
    return {whose: mpp for whose, mpp in chain.items() if mpp and _plausible(mpp)}


def _text(mpp: Mpp) -> str:
    return f"{mpp[0]:g}" if mpp[0] == mpp[1] else f"{mpp[0]:g} x {mpp[1]:g}"
