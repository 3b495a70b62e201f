"""The input of a call: read, named relative to its folder, and checked to be usable."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

from converters.errors import InputError, OptionError
from converters.left_out import Problem, leave_out
from converters.model import AnnotationSet, ImageInfo
from converters.mpp import SPREAD, differ
from converters.presets import Preset
from converters.read_options import ReadOptions, no_frame, no_mpp
from converters.registry import get_reader
from converters.slide_tiles import on_slides
from mitoyolo.convert.options import ConvertOptions
from mitoyolo.images import read_rgb
from mitoyolo.progress import track


def read_source(
    src: Path, out: Path, name: str, options: ConvertOptions, preset: Preset | None
) -> AnnotationSet:
    """Everything in ``src``, and not in ``out``, by the reader of format ``name``.

    Under ``bad="drop"`` every image is decoded once, so that a damaged one is left out before
    splits and tiles are planned, not met in the middle of writing. Tiles that ``mitoyolo tile``
    cut become their slides, see :mod:`converters.slide_tiles`.

    Raises
    ------
    InputError
        What the reader raises; no image is left; two images have one name.
    """
    found = get_reader(name)(
        src,
        ReadOptions(
            images=options.images,
            out=out,
            bad=options.bad,
            unlabelled=options.unlabelled,
            include_unlabelled=options.include_unlabelled,
            annotations_only=options.annotations_only,
            columns=options.columns,
            one_based=options.one_based,
            mpp=options.mpp,
            frame=preset.frame if preset else no_frame,
            preset_mpp=preset.mpp if preset else no_mpp,
        ),
    )
    if options.bad == "drop" and not options.annotations_only:
        found = leave_out(found, _unreadable(found.images))
    found = on_slides(found)
    if options.case_pattern:
        found.images = _cases(found.images, options.case_pattern)
    if preset:
        found.images = [
            replace(image, scanner=image.scanner or preset.scanner_of(image.case))
            for image in found.images
        ]
    _check_names(found.images)
    if not found.images:
        reasons = Counter(image.reason for image in found.left_out)
        raise InputError(
            "no image left to convert"
            + "".join(f", {n} {reason}" for reason, n in sorted(reasons.items())),
            file=src,
        )
    return found


def warn_sizes(images: list[ImageInfo], note: Callable[[str], None]) -> None:
    """Say that images are of another size than the annotations say, which may misplace marks."""
    others = [
        (image, image.said)
        for image in images
        if image.path and image.said and image.said != image.size
    ]
    if others:
        image, (width, height) = others[0]
        note(
            f"warning: {len(others)} of {len(images)} images are of another size than their "
            f"annotations say, for example {image.file_name}: {image.width} x {image.height} px, "
            f"said {width} x {height}; coordinates are taken as pixels of the image"
        )


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


def _cases(images: list[ImageInfo], pattern: str) -> list[ImageInfo]:
    """The images with the case that ``pattern`` finds in their source names."""
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise OptionError(f"--case-pattern {pattern!r:.60}: {error}") from None
    found = []
    for image in images:
        match = search(image.source)
        case = match and (match[1] if match.re.groups else match[0])
        if not case:
            raise InputError(
                f"--case-pattern {pattern!r:.60} finds no case in the name {image.source!r:.60}",
                fix="give a regular expression whose first group is the case",
            )
        found.append(replace(image, case=case))
    return found


def _check_names(images: list[ImageInfo]) -> None:
    seen: dict[str, ImageInfo] = {}
    for image in images:
        source, path = image.source, image.path or image.source
        other = seen.setdefault(image.file_stem, image)
        if other is not image:
            raise InputError(
                f"2 images are called {image.file_stem}: {other.path or other.source}, {path}",
                fix="give them different names, or folders named by slide",
            )
        if not source.isprintable():
            raise InputError(
                f"the name {source!a:.80} holds unprintable or non-UTF-8 characters",
                file=path,
                fix="rename the file",
            )
        if image.file_stem.startswith(".") or not image.file_stem.strip():
            raise InputError(
                f"the name {source!r:.60} is blank or begins with a dot: such files are hidden",
                file=path,
                fix="give it another name",
            )
        if len(source.encode()) > _LONGEST_NAME:
            raise InputError(
                f"the name {source!r:.60}... is longer than {_LONGEST_NAME} bytes", fix="shorten it"
            )


_LONGEST_NAME = 200  # file systems end at 255, and tiles add their place


def _unreadable(images: list[ImageInfo]) -> dict[str, Problem]:
    """Source -> why it does not decode."""

    def problem(image: ImageInfo) -> Problem | None:
        assert image.path is not None  # not asked where only annotations are read
        try:
            read_rgb(image.path)
        except InputError as error:
            return Problem("unreadable_image", error.what)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        checked = track(pool.map(problem, images), "checking", unit="images", total=len(images))
        return {image.source: why for image, why in zip(images, checked, strict=True) if why}


def relative(found: AnnotationSet, src: Path, images: Path | None) -> AnnotationSet:
    """With what was dropped or left out named relative to the folder it lies in: the same input
    gives the same bytes wherever it is and however its folder was spelled."""
    roots = [root for root in (src if src.is_dir() else src.parent, images) if root]

    @cache
    def name(file: str) -> str:
        for root in roots:
            if Path(file).is_relative_to(root):
                return Path(file).relative_to(root).as_posix()
        return file

    return replace(
        found,
        dropped=[replace(item, file=name(item.file)) for item in found.dropped],
        left_out=[replace(item, file=name(item.file)) for item in found.left_out],
    )
