"""The images below a folder, found by the names that annotation files give them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from converters.errors import InputError
from converters.images import PICTURE_SUFFIXES, find_files
from converters.model import AnnotationSet, ImageInfo


class Pictures:
    """The image files below a folder, found by the names that annotation files give them.

    Parameters
    ----------
    root : Path
        The folder.
    without : Path, optional
        A folder in it in which nothing is looked for.
    """

    def __init__(self, root: Path, without: Path | None = None) -> None:
        self.root, self._depth = root, len(root.parts)
        self.paths = outside(without, root, find_files(root, PICTURE_SUFFIXES))
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
            inner = {path: parts_of(self.key(path)) for path in found}
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


def outside(folder: Path | None, root: Path, paths: Iterable[Path]) -> list[Path]:
    """Those of some paths below ``root`` that are not in ``folder``."""
    if folder is None or root.resolve() not in folder.resolve().parents:
        return list(paths)
    inner = root / folder.resolve().relative_to(root.resolve())
    return [path for path in paths if inner not in path.parents]


def parts_of(name: str) -> tuple[str, ...]:
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
