"""What cannot be read: an error, or left out, counted and listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from converters.errors import InputError
from converters.images import image_size
from converters.model import AnnotationSet, Drop, LeftOut
from converters.read_options import ReadOptions, Size


class Lenient:
    """Under ``bad="drop"``, turn an :class:`InputError` of the block into a counted drop.

    A class, since it is entered for every annotation and a generator takes five times as long.
    """

    __slots__ = ("found", "options", "reason")

    def __init__(self, found: AnnotationSet, options: ReadOptions, reason: str) -> None:
        self.found, self.options, self.reason = found, options, reason

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if error is None or not isinstance(error, InputError) or self.options.bad != "drop":
            return False
        drop = Drop(str(error.file or ""), error.where or "", self.reason, error.what)
        self.found.dropped.append(drop)
        return True


def keeps_unlabelled(found: AnnotationSet, path: Path, options: ReadOptions, expected: str) -> bool:
    """Decide on an image without an annotation file; True when it stays as background.

    ``expected`` names the file that was looked for. One that does not stay is listed in
    ``found.left_out``.

    Raises
    ------
    InputError
        ``options.unlabelled`` is `error`: nobody said whether it is negative or was never read.
    """
    if options.unlabelled == "background":
        return True
    if options.unlabelled == "error" and options.bad != "drop":
        raise InputError(
            f"no annotation file for this image (expected {expected})",
            file=path,
            fix="add the file, or say --unlabelled background (it holds no mitosis) "
            "or --unlabelled skip (leave it out)",
        )
    found.left_out.append(LeftOut(str(path), "unlabelled", f"no annotation file ({expected})"))
    return False


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an image cannot be used, though ``bad="drop"`` goes on without it."""

    reason: str
    detail: str


def leave_out(found: AnnotationSet, problems: Mapping[str, Problem]) -> AnnotationSet:
    """The set without the sources in ``problems``; their annotations are dropped, each counted."""
    if not problems:
        return found
    fine = [item for item in found.annotations if item.source not in problems]
    lost = [item for item in found.annotations if item.source in problems]
    return replace(
        found,
        images=[image for image in found.images if image.source not in problems],
        annotations=fine,
        dropped=[
            *found.dropped,
            *(
                Drop(item.file, item.where, why.reason, why.detail)
                for item in lost
                for why in (problems[item.source],)
            ),
        ],
        left_out=[
            *found.left_out,
            *(
                LeftOut(str(image.path or image.source), why.reason, why.detail)
                for image in found.images
                if (why := problems.get(image.source))
            ),
        ],
    )


def size_of(path: Path, source: str, problems: dict[str, Problem], options: ReadOptions) -> Size:
    """Width and height of an image; under ``bad="drop"`` a damaged one is a problem of size 0.

    Raises
    ------
    InputError
        The image is damaged.
    """
    try:
        return image_size(path)
    except InputError as error:
        if options.bad != "drop":
            raise
        problems[source] = Problem("unreadable_image", error.what)
        return (0, 0)
