"""What every reader shares: its options, its strictness, and how it finds the images."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converters.errors import InputError
from converters.geometry import Box, Point
from converters.images import PICTURE_SUFFIXES, find_files, image_size
from converters.model import Annotation, AnnotationSet, Drop, ImageInfo, LeftOut
from converters.shapes import Shape

BAD = ("stop", "drop")
UNLABELLED = ("error", "skip", "background")

Size = tuple[int, int]
"""Width and height in px."""


LARGEST = 1e12
"""px; no slide comes near, and its square is still exact enough to add."""


def no_frame(scanner: str, case: str) -> Size | None:
    """Nothing is known of frames."""
    return None


def no_mpp(scanner: str, case: str) -> tuple[float, float] | None:
    """Nothing is known of µm/px."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How to read.

    Attributes
    ----------
    images : Path or None
        Where the images are; None: beside the annotations.
    bad : {"stop", "drop"}
        An annotation or file that cannot be understood is an error, or is left out, counted and
        listed.
    unlabelled : {"error", "skip", "background"}
        An image without an annotation file is an error, is left out, or holds no mitosis.
    include_unlabelled : bool
        Keep images that nobody annotated, marked as such and never scored (MIDOG).
    annotations_only : bool
        Look for no images: sizes come from the annotation file, else from ``frame``.
    frame : callable
        Scanner and case -> size of its frames in px, or None: what the preset knows.
    columns : tuple of str
        The columns of a centroid table, `x,y` or `row,col` and more; empty: from its header.
    one_based : bool
        The first pixel of the file is number 1.
    mpp : (float, float) or None
        µm per pixel as the user states it, for files in millimetres; None: the image's own.
    preset_mpp : callable
        Scanner and case -> µm per pixel, or None: what the preset knows, where the image does not.
    """

    images: Path | None = None
    bad: str = "stop"
    unlabelled: str = "error"
    include_unlabelled: bool = False
    annotations_only: bool = False
    frame: Callable[[str, str], Size | None] = no_frame
    columns: tuple[str, ...] = ()
    one_based: bool = False
    mpp: tuple[float, float] | None = None
    preset_mpp: Callable[[str, str], tuple[float, float] | None] = no_mpp


class Reading:
    """One call of a reader: where its images are, how strict it is, and what it has found.

    A reader goes through its files, names the images that they are about (:meth:`image`) and adds
    the marks on them (:meth:`shape`, :meth:`box`, :meth:`point`); :meth:`finish` gives the set.

    Parameters
    ----------
    src : Path
        What the user named: a folder of annotation files, or one such file.
    options : ReadOptions
    finds : bool
        Whether images are found by name; else the reader finds them itself, and uses :meth:`put`.
    """

    def __init__(self, src: Path, options: ReadOptions, *, finds: bool = True) -> None:
        self.src, self.options = src, options
        self.root = src if src.is_dir() else src.parent
        self.found = AnnotationSet()
        self.problems: dict[str, Problem] = {}
        self._infos: dict[str, ImageInfo] = {}
        self._lost: Path | None = None  # a file that cannot be read and may list any image
        self.folder = options.images or self.root
        self._finds = finds
        looks = finds and not options.annotations_only
        self._pictures = Pictures(self.folder) if looks else None

    def files(self, *suffixes: str) -> list[Path]:
        """The annotation files: ``src`` itself, or those below it with one of ``suffixes``.

        Raises
        ------
        InputError
            There is none.
        """
        paths = [self.src]
        if self.src.is_dir():
            paths = [path for path in find_files(self.src, suffixes) if not _is_report(path)]
        if not paths:
            raise InputError(
                f"no {' or '.join(suffixes)} annotation file below this folder", file=self.src
            )
        return paths

    def lenient(self, reason: str = "malformed") -> Lenient:
        """Under ``bad="drop"``, turn an :class:`InputError` of the block into a counted drop."""
        return lenient(self.found, self.options, reason)

    def image(
        self,
        name: str,
        *,
        file: Path | str,
        where: str | None = None,
        size: Size | None = None,
        case: str | None = None,
        scanner: str = "",
        tumour: str = "",
        mpp: tuple[float, float] | None = None,
        labelled: bool = True,
    ) -> str:
        """Put the image called ``name`` into the set, once.

        Parameters
        ----------
        name : str
            As the annotation file says it: with or without folders and suffix. It is looked up
            among the files of the images' folder and never opened as a path.
        file, where : path, str
            Who names it, for messages.
        size : (width, height), optional
            What the annotation file says; an image that is there is trusted instead.
        case : str, optional
            The patient or slide; None: nobody says, so the image is a case of its own.
        scanner, tumour, mpp, labelled
            As in :class:`~converters.model.ImageInfo`.

        Returns
        -------
        str
            The source, for the marks on it.

        Raises
        ------
        InputError
            No image has the name, or several have.
        """
        parts = _parts(name)
        path = None
        key = "/".join([*parts[:-1], stem(parts[-1])]) if parts else ""
        if not parts:
            raise InputError(f"{name!r:.60} names no image", file=file, where=where)
        if self._pictures:
            try:
                path = self._pictures.find(parts, file, where)
            except InputError as error:
                if self.options.bad != "drop":
                    raise
                self.problems[key] = Problem("no_image", error.what)
                return key
            key = self._pictures.key(path)
        facts: dict[str, Any] = {"scanner": scanner, "tumour": tumour, "mpp": mpp}
        facts |= {"labelled": labelled, "named": "" if stem(parts[-1]) == parts[-1] else parts[-1]}
        self.put(key, path, key if case is None else case, size, **facts)
        return key

    def put(
        self, source: str, path: Path | None, case: str, size: Size | None = None, **facts: Any
    ) -> None:
        """Put an image into the set, once, under a name and with a file that the reader chose."""
        known = self._infos.get(source)
        if known and known.path != path:
            raise InputError(
                f"2 images are called {source}: {known.path}, {path}",
                fix="give them different names, or folders named by slide",
            )
        if known is None:
            if path:
                width, height = size_of(path, source, self.problems, self.options)
            else:
                scanner = facts.get("scanner", "")
                width, height = size or self.options.frame(scanner, case) or (0, 0)
            self._infos[source] = ImageInfo(
                source=source, path=path, width=width, height=height, case=case, **facts
            )

    def has(self, name: str) -> bool:
        """Whether the images' folder has a file that :meth:`image` would take for ``name``."""
        parts = _parts(name)
        return bool(parts and self._pictures and self._pictures.fitting(parts))

    def knows(self, source: str) -> bool:
        """Whether an image of this name was met, usable or not."""
        return source in self._infos or source in self.problems

    def size(self, source: str) -> Size | None:
        """Width and height of an image in the set; None where unknown."""
        info = self._infos.get(source)
        return info.size if info else None

    def path(self, source: str) -> Path | None:
        """The file of an image in the set; None where only annotations are read."""
        info = self._infos.get(source)
        return info.path if info else None

    def skip(self, name: str, reason: str, detail: str) -> None:
        """Leave the image called ``name`` out, there or not, without a look into it; one that is
        in the set already stays."""
        parts = _parts(name)
        key, path = "/".join([*parts[:-1], stem(parts[-1])]) if parts else "", None
        if self._pictures and parts:
            with suppress(InputError):  # no such image, or several: nothing to leave out by file
                path = self._pictures.find(parts, name, None)
                key = self._pictures.key(path)
        if key not in self._infos:
            if path:
                self.problems[key] = Problem(reason, detail)
            self.found.left_out.append(LeftOut(str(path or name), reason, detail))

    def shape(self, shape: Shape, **facts: Any) -> None:
        """Add an annotation with a shape; ``facts`` are the other fields of
        :class:`~converters.model.Annotation`: source, label, kind, file, where, confidence.

        One without extent is dropped as `no_extent`.
        """
        x, y = shape.centroid
        self.add(Annotation(x=x, y=y, box=shape.box, area=shape.area, shape=shape, **facts))

    def box(self, box: Box, **facts: Any) -> None:
        """Add an annotation that is an upright box (left, top, right, bottom) in px."""
        left, top, right, bottom = box
        x, y, area = (left + right) / 2, (top + bottom) / 2, (right - left) * (bottom - top)
        self.add(Annotation(x=x, y=y, box=box, area=area, **{"kind": "box"} | facts))

    def point(self, point: Point, **facts: Any) -> None:
        """Add an annotation that is a centroid alone."""
        self.found.annotations.append(
            Annotation(x=point[0], y=point[1], **{"kind": "point"} | facts)
        )

    def drop(self, reason: str, detail: str, *, file: str, where: str) -> None:
        """Count an annotation that cannot be used."""
        self.found.dropped.append(Drop(file, where, reason, detail))

    def add(self, item: Annotation) -> None:
        """Add an annotation as it is; one whose box has no extent is dropped as `no_extent`."""
        if item.box is None or (item.box[2] > item.box[0] and item.box[3] > item.box[1]):
            self.found.annotations.append(item)
        else:
            self.drop("no_extent", f"{item.kind} without extent", file=item.file, where=item.where)

    def unreadable(self, source: str | None, file: Path) -> None:
        """Leave an image out whose annotation file cannot be read: nobody knows what is on it.

        None: the file would list its images, so all that no other file names are left out.
        """
        if source is None:
            self._lost = file
        else:
            self.problems[source] = Problem("unreadable_file", f"{file.name} cannot be read")

    def finish(self, expected: str | None) -> AnnotationSet:
        """The set, its images in the order of their names.

        Parameters
        ----------
        expected : str or None
            What would annotate an image that no file names, for the message: that is an error
            unless ``options.unlabelled`` says what such images are. None: the files list their
            images, and one that they do not list is left out and counted.

        Raises
        ------
        InputError
            An image without annotation, see ``expected``.
        """
        for path in self._others():
            if self._lost:
                detail = f"{self._lost.name} cannot be read, and may be about it"
                self.found.left_out.append(LeftOut(str(path), "unreadable_file", detail))
            elif expected is None and self.options.unlabelled == "error":
                detail = "not in the annotation file"
                self.found.left_out.append(LeftOut(str(path), "unlabelled", detail))
            elif keeps_unlabelled(self.found, path, self.options, expected or "a row for it"):
                self.image(str(path.relative_to(self.folder)), file=path)
        self.found.images = [self._infos[key] for key in sorted(self._infos)]
        found = leave_out(self.found, self.problems)
        return shorten(found) if self._finds else found  # a reader's own names stay

    def _others(self) -> list[Path]:
        """The images that no annotation file names, where a folder of images was given."""
        if self._pictures is None or not (self.src.is_dir() or self.options.images):
            return []
        key = self._pictures.key
        return [path for path in self._pictures.paths if not self.knows(key(path))]


def _is_report(path: Path) -> bool:
    """Whether a file is what ``convert --to`` says of the annotations that it writes beside it, or
    ``tile`` of its tiles."""
    beside = _REPORTS.get(path.name, ())
    return any(path.with_name(name).exists() for name in beside)


_REPORTS = {
    "report.json": ("dropped.csv",),
    "run.json": ("dropped.csv", "tiles.csv"),
    "summary.json": ("tiles.csv",),
}
"""Our own files that are no annotations -> what stands beside them."""


class Pictures:
    """The image files below a folder, found by the names that annotation files give them."""

    def __init__(self, root: Path) -> None:
        self.root, self._depth = root, len(root.parts)
        self.paths = list(find_files(root, PICTURE_SUFFIXES))
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            self._by_name[path.name].append(path)
            self._by_stem[stem(path.name)].append(path)

    def key(self, path: Path) -> str:
        """An image's path below the folder without its suffix."""
        parts = path.parts[self._depth :]
        return "/".join((*parts[:-1], stem(parts[-1])))

    def fitting(self, parts: tuple[str, ...]) -> list[Path]:
        """The images whose file has a name's last part, with or without its suffix."""
        return self._by_name.get(parts[-1]) or self._by_stem.get(stem(parts[-1])) or []

    def find(self, parts: tuple[str, ...], file: Path | str, where: str | None) -> Path:
        """The one image of a name; its folders decide where the last part does not.

        Raises
        ------
        InputError
            None or several fit.
        """
        found = self.fitting(parts)
        name = "/".join(parts)
        if len(found) > 1:  # the longest common end of the paths decides
            wanted = (*parts[:-1], stem(parts[-1]))
            inner = {path: _parts(self.key(path)) for path in found}
            for n in range(len(wanted), 0, -1):
                if fits := [path for path in found if inner[path][-n:] == wanted[-n:]]:
                    found = fits
                    break
        if len(found) == 1:
            return found[0]
        if found:
            first, second = (path.relative_to(self.root) for path in found[:2])
            raise InputError(
                f"{len(found)} images fit the name {name!r:.80}: {first}, {second}",
                file=file,
                where=where,
                fix="keep one of them, or name their folder by --images",
            )
        raise InputError(
            f"no image {name!r:.80} below {self.root}",
            file=file,
            where=where,
            fix="name the images' folder by --images, do without them by --annotations-only, "
            "or leave such out by --bad drop",
        )


def _parts(name: str) -> tuple[str, ...]:
    """A name's parts without drive, root, `.` and `..`: it never leads out of a folder."""
    parts = name.replace("\\", "/").split("/")
    if len(parts) > 1 and parts[0].endswith(":"):  # a drive, or http:
        del parts[0]
    return tuple(part for part in parts if part.strip("./ "))


def stem(name: str) -> str:
    """A file name without an image's suffix; other dots belong to it (`a.b` is no suffix `.b`)."""
    head, dot, tail = name.rpartition(".")
    return head if head and f"{dot}{tail}".lower() in PICTURE_SUFFIXES else name


def shorten(found: AnnotationSet) -> AnnotationSet:
    """Sources by their file names alone where these are unique in the set."""
    times = Counter(image.source.rpartition("/")[2] for image in found.images)
    short = {
        image.source: name
        for image in found.images
        if times[name := image.source.rpartition("/")[2]] == 1 and name != image.source
    }
    if not short:
        return found

    def renamed(image: ImageInfo) -> ImageInfo:
        name = short.get(image.source, image.source)
        own = image.case == image.source
        return replace(image, source=name, case=name if own else image.case)

    return replace(
        found,
        images=[renamed(image) for image in found.images],
        annotations=[
            replace(item, source=short[item.source]) if item.source in short else item
            for item in found.annotations
        ],
    )


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


def lenient(found: AnnotationSet, options: ReadOptions, reason: str) -> Lenient:
    """As :meth:`Reading.lenient`, for a reader that keeps its own set."""
    return Lenient(found, options, reason)


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


LARGEST_SIDE, LARGEST_AREA = 1_000_000, 200_000_000_000
"""px and px²: a whole glass slide at 0.1 µm/px."""


def checked_size(size: Size, file: Path | str, where: str) -> Size:
    """A size as a file states it, which must be that of an image: others would be cut for ever.

    Raises
    ------
    InputError
        It is larger than any slide.
    """
    if max(size) > LARGEST_SIDE or size[0] * size[1] > LARGEST_AREA:
        raise InputError(
            f"an image of {size[0]} x {size[1]} px would be larger than any slide",
            file=file,
            where=where,
        )
    return size


_SLACK = 1e-6  # px, of rounding


def checked_centroid(point: Point, box: Box, file: Path | str, where: str) -> Point:
    """A centroid that a file states beside a box, in which it must lie.

    Raises
    ------
    InputError
        It does not: one of the two is wrong, and nobody knows which.
    """
    x, y = point
    left, top, right, bottom = box
    if not (left - _SLACK <= x <= right + _SLACK and top - _SLACK <= y <= bottom + _SLACK):
        raise InputError(
            f"the centroid ({x:g}, {y:g}) lies outside its box, ({left:g}, {top:g}) to "
            f"({right:g}, {bottom:g})",
            file=file,
            where=where,
        )
    return point


def number(value: Any, file: Path | str, where: str) -> float:
    """A finite float from a JSON value or a cell of text.

    Raises
    ------
    InputError
        Anything else: a word, NaN, infinity, true, null.
    """
    if type(value) is float and -LARGEST < value < LARGEST:
        return value
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        if isinstance(value, str) and "_" in value:  # Python's 1_000 is nobody else's number
            raise ValueError
        result = float(value)
    except (ValueError, OverflowError):
        raise InputError(f"{value!r:.60} is not a number", file=file, where=where) from None
    if not math.isfinite(result):
        raise InputError(f"{value!s:.60} is not a finite number", file=file, where=where)
    if abs(result) > LARGEST:
        raise InputError(f"{value!s:.60} is too large", file=file, where=where)
    return result
