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
from converters.large_image import add_elements, elements_of
from converters.left_out import Problem, keeps_unlabelled
from converters.model import AnnotationSet
from converters.pictures import Pictures, shorten, stem
from converters.read_options import ReadOptions
from converters.reading import Reading

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

    def __init__(self, root: Path, without: Path | None) -> None:
        self.root = root
        self.used: dict[Path, str] = {}  # the sources that documents made of images
        self._pictures = Pictures(root, without)
        self.paths = self._pictures.paths
        self._keys = {path: tile_key(path, root) for path in self.paths}
        self._by_place: dict[tuple[int, int], list[tuple[TileKey, Path]]] = defaultdict(list)
        for path, key in self._keys.items():
            if key:
                self._by_place[key.x, key.y].append((key, path))

    def find(self, document: Path, key: TileKey | None, inner: Path) -> Path:
        """The one image that ``document``, at ``inner`` below its folder, annotates."""
        if key is None:  # by its name, the nearest folder first
            return self._pictures.find((*inner.parent.parts, inner.stem), document, None)
        here = self._by_place[key.x, key.y]
        found = [path for other, path in here if other.slide == key.slide]
        if not found:  # a slide that only one side names is no contradiction
            found = [path for other, path in here if None in (other.slide, key.slide)]
        if len(found) == 1:
            return found[0]
        if found:
            first, second = (path.relative_to(self.root) for path in found[:2])
            raise InputError(
                f"{len(found)} images fit this annotation file: {first}, {second}",
                file=document,
                fix="keep one of them, or put each slide's tiles in a folder of its name",
            )
        wanted = f"tile x{key.x} y{key.y}" + (f" of slide {key.slide}" if key.slide else "")
        raise InputError(
            f"no image for this annotation file (looked for {wanted})",
            file=document,
            fix=f"put it below {self.root}, name the images' folder by --images, or leave such "
            "files out by --bad drop",
        )

    def use(self, path: Path, source: str, document: Path) -> None:
        """Note that a document is about an image, which it calls ``source``."""
        if self.used.setdefault(path, source) != source:
            raise InputError(
                f"the image {path.relative_to(self.root)} fits {source} and {self.used[path]}",
                file=document,
                fix="put each slide's tiles in a folder of its name",
            )

    def names(self, path: Path, document_key: TileKey | None) -> tuple[str, str]:
        """Source name and case of an image; a slide that only its document names counts too."""
        key = self._keys[path]
        if key and key.slide is None and document_key:
            key = TileKey(document_key.slide, key.x, key.y)
        return _names(key, path, self.root, self._pictures.key(path))


def _names(key: TileKey | None, path: Path, root: Path, name: str) -> tuple[str, str]:
    """Source name and case of a tile, or of an image that is not named by its place but called
    ``name``, with its folders: :func:`~converters.pictures.shorten` takes them off where it can."""
    source = f"{key.slide or ''}x{key.x}y{key.y}" if key else name
    # tiles lie in their slide's folder; any other image says nothing of a slide
    alone = _name(root) if key else name
    return source, (key and key.slide) or slide_of(path, root) or alone


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
    reading = Reading(src, options, finds=False)
    images = None if options.annotations_only else _Images(reading.folder, reading.options.out)
    for path in reading.files(".json"):
        elements = None
        with reading.lenient("unreadable_file"):
            elements = elements_of(read_json(path), str(path))
        source = _place(path, images, reading)
        if elements is None:
            reading.unreadable(source, path)
        add_elements(elements or [], reading, source=source, file=str(path))
    if images and src.is_dir():
        _add_unlabelled(images, reading)
    return shorten(reading.finish(None))


def _place(document: Path, images: _Images | None, reading: Reading) -> str:
    """Put the image of a document into the set; its source is returned."""
    key, inner = tile_key(document, reading.root), document.relative_to(reading.root)
    if images is None:
        name = (inner.parent / stem(inner.stem)).as_posix()
        source, case = _names(key, document, reading.root, name)
        reading.put(source, None, case)
        return source
    try:
        path = images.find(document, key, inner)
        source, case = images.names(path, key)
        images.use(path, source, document)
    except InputError as error:
        if reading.options.bad != "drop":
            raise
        reading.problems[str(document)] = Problem("no_image", error.what)
        return str(document)
    reading.put(source, path, case)
    return source


def _add_unlabelled(images: _Images, reading: Reading) -> None:
    """Decide on each image that no document names."""
    for path in images.paths:
        source, case = images.names(path, None)
        if path not in images.used and keeps_unlabelled(
            reading.found, path, reading.options, "a .json of the same tile or name"
        ):
            reading.put(source, path, case)
