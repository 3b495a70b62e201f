"""What is normalised to: a few numbers, from a target image, a saved fit, or the default."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.errors import InputError
from converters.files import read_json, write_json
from mitoyolo.images import read_rgb
from mitoyolo.stain.methods import METHODS, Statistics, as_options, find_method
from mitoyolo.stain.tissue import MIN_TISSUE, has_tissue

MODES = ("case", "tile", "target")


@dataclass(frozen=True, slots=True)
class Target:
    """The numbers to normalise to, and where they were measured (not compared)."""

    statistics: Statistics
    source: str = field(compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The statistics' numbers and ``source``, as plain types."""
        return {**self.statistics.to_dict(), "source": self.source}


def default_target(method: str = "macenko", mode: str = "case") -> Target:
    """The built-in target of a method for a mode; its module says how it was measured."""
    found = find_method(method)
    whole = mode == "tile"
    return Target(found.default_whole if whole else found.default, found.default_source)


def read_target(path: Path, method: str = "macenko", mode: str = "case") -> Target:
    """Read a target image or a fit saved by :func:`write_target`.

    Target and source are measured alike: over tissue, but over all pixels in mode ``tile``,
    which is what the papers and staintools do.

    Raises
    ------
    InputError
        The image shows too little tissue or one colour; the file is no fit of this method.
    """
    if path.suffix.lower() == ".json":
        return _read_fit(path, method, mode)
    image = read_rgb(path)
    if not has_tissue(image):
        raise InputError(
            f"under {MIN_TISSUE:.0%} tissue",
            file=path,
            fix="choose a stained H&E tile as target",
        )
    gauge = find_method(method).gauge()
    gauge.add(image)
    measured = gauge.whole() if mode == "tile" else gauge.tissue()
    if measured is None:
        raise InputError(
            f"{find_method(method).unmapped}: nothing to measure",
            file=path,
            fix="choose a stained H&E tile as target",
        )
    return Target(measured, f"{path.name} {_SHA}{_hash(path).hex()[:16]}")


def _read_fit(path: Path, method: str, mode: str) -> Target:
    value = read_json(path)
    fix = "save it again with `mitoyolo normalize --fit IMAGES STATS.json`"
    if not isinstance(value, dict) or "method" not in value:
        raise InputError("not a saved fit (no `method`)", file=path, fix=fix)
    named = str(value["method"])
    if named != method:
        raise InputError(
            f"a fit of method {named!r:.60}, expected {method!r}",
            file=path,
            where="method",
            fix=f"use {as_options(named)}" if named in METHODS else fix,
        )
    numbers = value
    if mode == "tile" and isinstance(value.get("whole"), dict):
        numbers = value["whole"]
    try:
        return Target(find_method(method).parse(numbers), str(value.get("source", path.name)))
    except InputError as error:
        raise InputError(error.what, file=path, fix=fix) from None


def write_target(
    path: Path,
    images: Sequence[Path],
    method: str = "macenko",
    *,
    progress: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> dict[str, Any]:
    """Measure images and save the fit as JSON; return what was written.

    The file holds ``method``, the numbers over tissue, ``whole`` (the same over all pixels, for
    mode ``tile``), the number of ``images`` and ``source``, a hash of their contents. Images
    with under 5 % tissue are left out of both and counted as ``passed_over``.

    Raises
    ------
    InputError
        ``path`` does not end in .json; an image is not readable; nothing could be measured.
    """
    if path.suffix.lower() != ".json" or path.is_dir():
        raise InputError("a fit is saved as a .json file", file=path, fix="--fit IMAGES STATS.json")
    gauge = find_method(method).gauge()
    digest = hashlib.sha256()
    kept = 0
    for file in progress(images):
        image = read_rgb(file)
        if has_tissue(image):
            gauge.add(image)
            digest.update(_hash(file))
            kept += 1
    tissue, whole = gauge.tissue(), gauge.whole()
    if tissue is None or whole is None:
        raise InputError(
            f"no stained tissue in {len(images)} image(s)",
            file=images[0].parent if images else path,
            fix="give images of H&E-stained tissue",
        )
    fit = {
        "method": method,
        **tissue.to_dict(),
        "whole": whole.to_dict(),
        "images": kept,
        "passed_over": len(images) - kept,
        "source": _SHA + digest.hexdigest()[:16],
    }
    write_json(path, fit)
    return fit


_SHA = "sha256:"


def _hash(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
