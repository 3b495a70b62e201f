"""What every reader shares: images that its files name, marks on them, what becomes of both."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from converters.errors import InputError
from converters.geometry import Box, Point
from converters.images import find_files
from converters.left_out import Lenient, Problem, keeps_unlabelled, leave_out, size_of
from converters.model import Annotation, AnnotationSet, Drop, ImageInfo, LeftOut
from converters.pictures import Pictures, parts_of, shorten, stem
from converters.read_options import ReadOptions, Size
from converters.shapes import Polygon, Shape


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
        self._pictures = Pictures(self.folder, options.out) if looks else None

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
        return Lenient(self.found, self.options, reason)

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
        parts = parts_of(name)
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
                source=source, path=path, width=width, height=height, case=case, said=size, **facts
            )

    def has(self, name: str) -> bool:
        """Whether the images' folder has a file that :meth:`image` would take for ``name``."""
        parts = parts_of(name)
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
        parts = parts_of(name)
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

        One without extent, which a line has none of either, is dropped as `no_extent`.
        """
        if isinstance(shape, Polygon) and shape.is_line:
            detail = f"{facts['kind']} without extent"
            self.drop("no_extent", detail, file=facts["file"], where=facts["where"])
            return
        x, y = shape.centroid
        self.add(Annotation(x=x, y=y, box=shape.box, area=shape.area, shape=shape, **facts))

    def box(self, box: Box, **facts: Any) -> None:
        """Add an annotation that is an upright box (left, top, right, bottom) in px."""
        left, top, right, bottom = box
        x, y, area = (left + right) / 2, (top + bottom) / 2, (right - left) * (bottom - top)
        self.add(Annotation(x=x, y=y, box=box, area=area, **{"kind": "box"} | facts))

    def point(self, point: Point, **facts: Any) -> None:
        """Add an annotation that is a centroid alone."""
        self.add(Annotation(x=point[0], y=point[1], **{"kind": "point"} | facts))

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
