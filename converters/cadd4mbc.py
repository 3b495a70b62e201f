"""CADD4MBC tile exports and Digital Slide Archive (DSA) annotations.

Both are the Girder large_image annotation schema (the JSON of HistomicsUI): a document with a
list of elements, in pixels of its image. CADD4MBC writes one document a tile,
``T_98/Batch-100/87_88.json``, beside tile images such as ``T98x87y88.png`` or ``x87y88.jpg``;
DSA writes one document an image of the same name.

Source: large_image annotation schema; Digital Slide Archive documentation.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from converters.errors import InputError
from converters.files import read_json
from converters.images import IMAGE_SUFFIXES, find_files
from converters.large_image import elements_of, parse_element
from converters.model import AnnotationSet, Drop, ImageInfo
from converters.reading import (
    Problem,
    ReadOptions,
    keeps_unlabelled,
    leave_out,
    lenient,
    size_of,
)

_TILE = re.compile(r"^(?:(?P<slide>[A-Za-z]+[-_ ]?\d+)_?)?x(?P<x>\d+)_?y(?P<y>\d+)$", re.IGNORECASE)
_TILE_SHORT = re.compile(r"^(?P<x>\d+)_(?P<y>\d+)$")
_SLIDE = re.compile(r"^([A-Za-z]+)[-_ ]?(\d+)$")
_ROOT_SLIDE = re.compile(r"^[A-Za-z]{1,2}[-_ ]?\d+$")  # not `export2`, which is only a folder
_BATCH = re.compile(r"^batch\b|^batch[-_ ]?\d+$", re.IGNORECASE)
_NOT_A_SLIDE = {"images", "tiles", "annotations", "json", "cadd_json_files", "cadd4mbc"}


@dataclass(frozen=True, slots=True)
class TileKey:
    """Which tile a file is about: a slide (None where the path does not say) and its place."""

    slide: str | None
    x: int
    y: int


def slide_of(path: Path, root: Path) -> str | None:
    """The slide that a path below ``root`` names: its nearest folder that is no batch.

    A bare number is a batch where a folder above it looks like a slide. The folder that the user
    named, ``root``, is a slide only if it looks like one.
    """
    folders = [
        name
        for name in reversed(path.relative_to(root).parts[:-1])
        if not _BATCH.match(name) and name.lower() not in _NOT_A_SLIDE
    ]
    if _ROOT_SLIDE.match(_name(root)):
        folders.append(_name(root))
    named = [name for name in folders if not name.isdecimal()]
    if folders and folders[0].isdecimal() and named and _SLIDE.match(named[0]):
        return _slide(named[0])
    return _slide(folders[0]) if folders else None


def _slide(name: str) -> str:
    """`T_98` and `t98` are the slide `T98`."""
    match = _SLIDE.match(name)
    return f"{match[1].upper()}{match[2]}" if match else name


def _name(root: Path) -> str:
    """The folder's own name, which `.` does not say."""
    return root.resolve().name


def tile_key(path: Path, root: Path) -> TileKey | None:
    """The tile that a file name such as `87_88`, `x87y88`, `T98x87y88`, `t97_x8y28` names."""
    match = _TILE.match(path.stem) or _TILE_SHORT.match(path.stem)
    if match is None:
        return None
    named = match.groupdict().get("slide")
    slide = _slide(named) if named else slide_of(path, root)
    return TileKey(slide, int(match["x"]), int(match["y"]))


class _Images:
    """The image files below a folder, found by tile key or by name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = list(find_files(root, IMAGE_SUFFIXES))
        self._keys = {path: tile_key(path, root) for path in self.paths}
        self._by_place: dict[tuple[int, int], list[tuple[TileKey, Path]]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for path, key in self._keys.items():
            self._by_stem[path.stem].append(path)
            if key:
                self._by_place[key.x, key.y].append((key, path))

    def find(self, document: Path, key: TileKey | None) -> Path:
        """The one image that ``document`` annotates."""
        if key:
            here = self._by_place[key.x, key.y]
            found = [path for other, path in here if other.slide == key.slide]
            if not found:  # a slide that only one side names is no contradiction
                found = [path for other, path in here if None in (other.slide, key.slide)]
        else:
            found = self._by_stem[document.stem]
        if len(found) == 1:
            return found[0]
        if found:
            first, second = (path.relative_to(self.root) for path in found[:2])
            raise InputError(
                f"{len(found)} images fit this annotation file: {first}, {second}",
                file=document,
                fix="keep one of them, or put each slide's tiles in a folder of its name",
            )
        wanted = f"tile x{key.x} y{key.y}" if key else document.stem
        if key and key.slide:
            wanted += f" of slide {key.slide}"
        raise InputError(
            f"no image for this annotation file (looked for {wanted})",
            file=document,
            fix=f"put it below {self.root}, name the images' folder by --images, or leave such "
            "files out by --bad drop",
        )

    def names(self, path: Path, document_key: TileKey | None) -> tuple[str, str]:
        """Source name and case of an image; a slide that only its document names counts too."""
        key = self._keys[path]
        slide = (key and key.slide) or (document_key and document_key.slide)
        source = f"{slide or ''}x{key.x}y{key.y}" if key else path.stem
        return source, slide or slide_of(path, self.root) or _name(self.root)


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read a folder (or one file) of annotation documents with their images.

    Parameters
    ----------
    src : Path
        Folder of ``*.json``, at any depth, or one such file.
    options : ReadOptions
        Where the images are, and what to do with what cannot be used.

    Raises
    ------
    InputError
        No document is found; a document or element is malformed; an annotation has no image or an
        image no annotation (each unless ``options`` allow it).
    """
    root = src if src.is_dir() else src.parent
    documents = list(find_files(src, (".json",))) if src.is_dir() else [src]
    if not documents:
        raise InputError("no .json annotation file below this folder", file=src)
    reader = _Reader(root, options)
    for path in documents:
        reader.add_document(path)
    if src.is_dir():
        reader.add_unlabelled()
    return reader.result()


class _Reader:
    """What one call has found so far."""

    def __init__(self, root: Path, options: ReadOptions) -> None:
        self.root, self.options = root, options
        self.images = _Images(options.images or root)
        self.infos: dict[Path, ImageInfo] = {}
        self.problems: dict[str, Problem] = {}
        self.found = AnnotationSet()

    def add_document(self, path: Path) -> None:
        """Add one document's image and elements."""
        file, key = str(path), tile_key(path, self.root)
        elements = None
        with lenient(self.found, self.options, "unreadable_file"):
            elements = elements_of(read_json(path), file)
        try:
            source = self._info(self.images.find(path, key), key).source
        except InputError as error:
            if self.options.bad != "drop":
                raise
            source = file
            self.problems[source] = Problem("no_image", error.what)
        if elements is None:  # nobody knows what is on it: neither mitoses nor background
            self.problems[source] = Problem("unreadable_file", f"{path.name} cannot be read")
        for where, element in elements or []:
            with lenient(self.found, self.options, "malformed"):
                item = parse_element(element, source=source, file=file, where=where)
                if isinstance(item, Drop):
                    self.found.dropped.append(item)
                else:
                    self.found.annotations.append(item)

    def add_unlabelled(self) -> None:
        """Decide on each image that no document names."""
        expected = "a .json of the same tile or name"
        for path in self.images.paths:
            if path not in self.infos and keeps_unlabelled(
                self.found, path, self.options, expected
            ):
                self._info(path, None)

    def _info(self, path: Path, document_key: TileKey | None) -> ImageInfo:
        if path not in self.infos:
            source, case = self.images.names(path, document_key)
            width, height = size_of(path, source, self.problems, self.options)
            self.infos[path] = ImageInfo(
                source=source, path=path, width=width, height=height, case=case
            )
        return self.infos[path]

    def result(self) -> AnnotationSet:
        """The usable images, in the order of their paths, and what is on them."""
        self.found.images = [self.infos[path] for path in self.images.paths if path in self.infos]
        return leave_out(self.found, self.problems)
