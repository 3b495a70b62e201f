"""The input of a call: read, named relative to its folder, and checked to be usable."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from converters.errors import InputError
from converters.model import AnnotationSet, ImageInfo
from converters.mpp import SPREAD, differ
from converters.reading import Problem, ReadOptions, leave_out
from converters.registry import get_reader
from mitoyolo.convert.options import ConvertOptions
from mitoyolo.images import read_rgb
from mitoyolo.progress import track


def read_source(src: Path, name: str, options: ConvertOptions) -> AnnotationSet:
    """Everything in ``src`` by the reader of format ``name``.

    Under ``bad="drop"`` every image is decoded once, so that a damaged one is left out before
    splits and tiles are planned, not met in the middle of writing.

    Raises
    ------
    InputError
        What the reader raises; no image is left; two images have one name.
    """
    found = get_reader(name)(
        src,
        ReadOptions(images=options.images, bad=options.bad, unlabelled=options.unlabelled),
    )
    _check_names(found.images)
    if options.bad == "drop":
        found = leave_out(found, _unreadable(found.images))
    if not found.images:
        reasons = Counter(image.reason for image in found.left_out)
        raise InputError(
            "no image left to convert"
            + "".join(f", {n} {reason}" for reason, n in sorted(reasons.items())),
            file=src,
        )
    return _relative(found, [src if src.is_dir() else src.parent, options.images])


def warn_spread(images: list[ImageInfo], note: Callable[[str], None]) -> None:
    """Say that images are of different µm/px, which one detector cannot serve alike."""
    scales = [image.mpp for image in images if image.mpp]
    low = (min(x for x, _ in scales), min(y for _, y in scales))
    high = (max(x for x, _ in scales), max(y for _, y in scales))
    if differ(low, high):
        note(
            f"warning: images from {min(low):g} to {max(high):g} µm/px differ by more than "
            f"{SPREAD:.0%}; --at-mpp {min(low):g} brings them to one scale"
        )


def _check_names(images: list[ImageInfo]) -> None:
    for source, times in Counter(image.source for image in images).items():
        paths = [image.path for image in images if image.source == source]
        if times > 1:
            raise InputError(
                f"{times} images are called {source}: {paths[0]}, {paths[1]}",
                fix="give them different names, or folders named by slide",
            )
        if not source.isprintable():
            raise InputError(
                f"the name {source!a} holds unprintable or non-UTF-8 characters",
                file=os.fsencode(paths[0]).decode("utf-8", "replace"),
                fix="rename the file",
            )


def _unreadable(images: list[ImageInfo]) -> dict[str, Problem]:
    """Source -> why it does not decode."""

    def problem(image: ImageInfo) -> Problem | None:
        try:
            read_rgb(image.path)
        except InputError as error:
            return Problem("unreadable_image", error.what)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        checked = track(pool.map(problem, images), "checking", unit="images", total=len(images))
        return {image.source: why for image, why in zip(images, checked, strict=True) if why}


def _relative(found: AnnotationSet, roots: Sequence[Path | None]) -> AnnotationSet:
    """With files named relative to the folder they lie in: the same input gives the same bytes
    wherever it is and however its folder was spelled."""

    def name(file: str) -> str:
        for root in filter(None, roots):
            if Path(file).is_relative_to(root):
                return Path(file).relative_to(root).as_posix()
        return file

    return replace(
        found,
        annotations=[replace(item, file=name(item.file)) for item in found.annotations],
        dropped=[replace(item, file=name(item.file)) for item in found.dropped],
        left_out=[replace(item, file=name(item.file)) for item in found.left_out],
    )
