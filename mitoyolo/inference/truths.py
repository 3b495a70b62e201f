"""The truth that predictions are scored against, from any of the files that hold one.

Whatever the file, the truth becomes a :class:`~mitoyolo.dataset.Dataset` in memory, so that every
score goes the way of ``val``: :func:`mitoyolo.inference.scoring.fields_of`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from converters.checked import number
from converters.errors import InputError, MissingMppError
from converters.files import read_json, read_rows, read_text
from converters.keys import Keys
from converters.labels import canonical_label
from converters.model import LABELS, SPLITS, AnnotationSet
from converters.mpp import Mpp, differ
from converters.pictures import stem
from converters.read_options import ReadOptions
from converters.registry import get_reader
from mitoyolo.dataset import (
    ANNOTATIONS,
    INDEX,
    MANIFEST,
    NO_IMAGES,
    RESAMPLED,
    Dataset,
    Tile,
    Truth,
    open_dataset,
    read_manifest,
    with_centres,
)
from mitoyolo.evaluation.fields import Field
from mitoyolo.inference.merge import Detections
from mitoyolo.inference.scoring import fields_of
from mitoyolo.progress import note
from mitoyolo.tiles import covered, extent

ALL = "all"
"""The splits together, of predictions by models of which each has not seen what it is scored on."""

_DEFAULT_SPLIT = "test"  # of a dataset folder
_ONLY_SPLIT = "test"  # of a file that has none

_NO_MPP: Mpp = (0.0, 0.0)
"""Of an image whose file says nothing, until ``--mpp`` does."""

_COLUMNS = ("source", "label", "x", "y")
"""What a table of truths must have; `case`, `width` and `height` are read where they are there."""

_MIDOG_PX = 50
"""The side of every box in MIDOG's data sets, whose boxes are x1, y1, x2, y2."""

Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """What the name of an image in a file of predictions stands for; two are one if they are the
    same object.

    Attributes
    ----------
    source : str
        The source image.
    x, y : int
        Where in it the predictions' pixel 0, 0 lies: a tile's origin, else 0.
    size : (int, int) or None
        Width and height in px; None where not known.
    reach : (float, float)
        The largest x and y that surely lie in it, px.
    mpp : (float, float)
        µm per pixel across and down.
    cut : bool
        Whether it is one of several tiles of its source.
    """

    source: str
    x: int
    y: int
    size: tuple[int, int] | None
    reach: tuple[float, float]
    mpp: Mpp
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Truths:
    """A truth, and what its images are called.

    Attributes
    ----------
    file : Path
        Where it was read.
    dataset : Dataset
        Its images as tiles, and its marks; only in memory where ``file`` is no dataset folder.
    splits : tuple of str
        Which of its splits are scored.
    coco : Path or None
        The COCO file whose ids COCO results use.
    """

    file: Path
    dataset: Dataset
    splits: tuple[str, ...]
    coco: Path | None = None
    _places: Mapping[str, list[tuple[Parts, Place]]] = field(init=False)

    def __post_init__(self) -> None:
        places: dict[str, list[tuple[Parts, Place]]] = defaultdict(list)
        for name, place in _places(self.dataset, self.splits):
            parts = _parts(name)
            places[parts[-1]].append((parts, place))
        object.__setattr__(self, "_places", dict(places))

    @property
    def is_folder(self) -> bool:
        """Whether it is a dataset folder, which names a protocol."""
        return "protocol" in self.dataset.block

    @property
    def is_resampled(self) -> bool:
        """Whether its pixels are others than those of the files or slides that were annotated."""
        return bool(self.dataset.block.get(RESAMPLED))

    def fields(self, of_source: Mapping[str, Detections]) -> list[Field]:
        """One field an image; the class numbers of the detections are those of
        :data:`~converters.model.LABELS`."""
        splits = (fields_of(self.dataset, split, of_source, LABELS) for split in self.splits)
        return [field for fields in splits for field in fields]

    def find(self, name: str, file: Path, where: str) -> Place:
        """The image or tile that a name stands for.

        A name fits with and without its folders and suffix. Of several images the one that shares
        most folders is taken.

        Raises
        ------
        InputError
            None fits, or several do.
        """
        wanted = _parts(name)
        fitting = self._places.get(wanted[-1], [])
        most = max((_common_end(wanted, parts) for parts, _ in fitting), default=0)
        best = [fit for fit in fitting if _common_end(wanted, fit[0]) == most]
        best = [fit for fit in best if fit[0] == wanted] or best
        if len({place for _, place in best}) == 1:
            return best[0][1]
        if best:
            names = ", ".join("/".join(parts) for parts, _ in best[:2])
            raise InputError(
                f"{len(best)} images of the truth fit the name {name!r:.80}: {names}",
                file=file,
                where=where,
                fix="name the image with its folders",
            )
        raise InputError(
            f"no image {name!r:.80} in the truth {self.file}",
            file=file,
            where=where,
            fix=f"its {' and '.join(self.splits)} split is scored, --split chooses another"
            if self.is_folder
            else "the truth must list every image that was searched, one without mitosis too (an "
            f"{ANNOTATIONS} does so by a {MANIFEST} beside it)",
        )

    def coco_names(self) -> tuple[dict[str, str], dict[str, str]]:
        """What COCO's ids stand for: image id -> name, and category id -> class.

        Without a COCO file there are no image ids, and categories are numbered as ours are.
        """
        if self.coco is None:
            return {}, {str(number): label for number, label in enumerate(LABELS, 1)}
        document = Keys.of(read_json(self.coco), str(self.coco), "")
        categories = dict(_pairs(document, "categories", "name"))
        return (
            dict(_pairs(document, "images", "file_name")),
            {key: canonical_label(name) for key, name in categories.items()},
        )


def identity(keys: Keys, key: str) -> str:
    """An id of COCO as text: 7, 7.0 and "7" are one."""
    return keys.text(key).removesuffix(".0")


def _pairs(document: Keys, key: str, name: str) -> Iterator[tuple[str, str]]:
    for where, item in document.each(key):
        keys = Keys.of(item, document.file, where)
        yield identity(keys, "id"), keys.text(name)


def _places(dataset: Dataset, splits: tuple[str, ...]) -> Iterator[tuple[str, Place]]:
    """Every source image, and every tile of those that are cut, by its name."""
    tiles: dict[str, list[Tile]] = defaultdict(list)
    for tile in dataset.tiles:
        if tile.split in splits:
            tiles[tile.source].append(tile)
    marks: dict[str, list[Truth]] = defaultdict(list)
    for mark in dataset.truths:
        marks[mark.source].append(mark)
    for source, members in tiles.items():
        first, found = members[0], marks[source]
        windows = [tile.window for tile in members]
        size = extent(windows)
        reach = (
            max([size[0], *(mark.x for mark in found)]),
            max([size[1], *(mark.y for mark in found)]),
        )
        # the outermost tiles may be left out: of a slide glass, of a training image --background
        whole_image = covered(windows) == size[0] * size[1] > 0 and first.split != "train"
        known = size if whole_image else None
        whole = Place(source, 0, 0, known, reach, first.mpp)
        yield source, whole
        for tile in members:
            part = Place(source, tile.x, tile.y, tile.size, tile.size, tile.mpp, cut=True)
            if tile.name not in tiles:
                yield tile.name, whole if len(members) == 1 and not (tile.x or tile.y) else part


def _parts(name: str) -> Parts:
    """A name's folders, and its last part without an image's suffix; never empty."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return (*parts[:-1], stem(parts[-1])) if parts else ("",)


def _common_end(a: Parts, b: Parts) -> int:
    """How many last parts two names share."""
    same = 0
    while same < min(len(a), len(b)) and a[-1 - same] == b[-1 - same]:
        same += 1
    return same


# --- reading ----------------------------------------------------------------------------------


def read_truths(path: Path, *, split: str | None = None, mpp: Mpp | None = None) -> Truths:
    """Read a truth; what kind it is shows in the file itself.

    Parameters
    ----------
    path : Path
        A dataset folder (or its ``dataset.yaml``), an ``annotations.csv`` with or without its
        ``manifest.csv`` beside it, a COCO file, or the JSON of a MIDOG data set.
    split : str, optional
        What is scored of a dataset folder, or of a table with a manifest: one, or :data:`ALL`;
        None: the test split of a folder, all of a table.
    mpp : (float, float), optional
        µm per pixel; wins over the file.

    Raises
    ------
    InputError
        The file is of no known kind, is malformed or holds no image; a mark stands there twice,
        or is of a class that is not known.
    MissingMppError
        Nothing tells an image's µm/px.
    """
    document = None if path.is_dir() or path.name == INDEX else json_or_none(path)
    for kind in KINDS.values():
        if kind.fits(path, document):
            dataset, splits, coco = kind.read(path, split)
            break
    else:
        known = ", ".join(kind.summary for kind in KINDS.values())
        raise InputError(f"not a truth that can be read: expected {known}", file=path)
    if not any(tile.split in splits for tile in dataset.tiles):
        raise InputError(f"no image in its {' or '.join(splits or SPLITS)} split", file=path)
    _check_marks(dataset.truths, path)
    dataset = replace(dataset, tiles=_at_mpp(dataset.tiles, mpp, path))
    return Truths(file=path, dataset=dataset, splits=splits, coco=coco)


def json_or_none(path: Path) -> Any:
    """The document of a JSON file; None for a table."""
    return read_json(path) if read_text(path).lstrip()[:1] in ("{", "[") else None


def _check_marks(marks: tuple[Truth, ...], path: Path) -> None:
    seen = set()
    for mark in marks:
        where = f"{mark.source}, {mark.label} at ({mark.x:g}, {mark.y:g})"
        if mark.label not in LABELS:
            raise InputError(
                f"class {mark.label!r:.40}, expected {' or '.join(LABELS)}",
                file=path,
                where=where,
                fix="leave other classes out, as `mitoyolo convert` does",
            )
        if (key := (mark.source, mark.label, mark.x, mark.y)) in seen:
            raise InputError("stands there twice", file=path, where=where, fix="keep one of them")
        seen.add(key)


def _at_mpp(tiles: tuple[Tile, ...], stated: Mpp | None, path: Path) -> tuple[Tile, ...]:
    """The tiles at the µm/px stated, else at their own."""
    for tile in tiles:
        own = None if tile.mpp == _NO_MPP else tile.mpp
        if not (stated or own):
            raise MissingMppError(
                "a truth without µm/px",
                file=path,
                where=f"image {tile.source}",
                fix="state it by --mpp F (µm per pixel), for example --mpp 0.25",
            )
        if stated and own and differ(stated, own):
            note(f"--mpp {stated[0]:g} is used; {path} says {own[0]:g}")
            break
    return tuple(replace(tile, mpp=stated) for tile in tiles) if stated else tiles


# --- the kinds --------------------------------------------------------------------------------

Found = tuple[Dataset, tuple[str, ...], Path | None]
"""What a kind's reader gives: the truth, the splits to score, and the file of COCO's ids."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file that holds a truth.

    Attributes
    ----------
    summary : str
        What it is, for messages.
    fits : callable
        Path and JSON document (None for a folder and a table) -> whether it is of this kind.
    read : callable
        Path and split asked for -> the truth.
    """

    summary: str
    fits: Callable[[Path, Any], bool]
    read: Callable[[Path, str | None], Found]


def _read_folder(path: Path, split: str | None) -> Found:
    dataset = open_dataset(path)
    if split == ALL:
        return dataset, _splits(dataset.tiles), None  # an id is another image in each split
    split = split or _DEFAULT_SPLIT
    dataset.of_split(split)  # raises where it is empty
    return dataset, (split,), dataset.root / "annotations" / f"{split}.json"


def _splits(tiles: Sequence[Tile]) -> tuple[str, ...]:
    known = {tile.split for tile in tiles}
    return tuple(name for name in SPLITS if name in known)


def _is_of_folder(path: Path) -> bool:
    """Whether a file is ``annotations/SPLIT.json`` of a dataset folder: its boxes of tiles."""
    return path.parent.name == "annotations" and (path.parent.parent / INDEX).exists()


def _read_of_folder(path: Path, split: str | None) -> Found:
    _no_split(path, split)
    return _read_folder(path.parent.parent, path.stem)


def _read_table(path: Path, split: str | None) -> Found:
    """``annotations.csv``; the images without a mark, sizes and µm/px are in its manifest."""
    marks = []
    cases: dict[str, str] = {}
    for line, row in read_rows(path, _COLUMNS):
        where, source = f"line {line}", row["source"]
        x, y = (number(row[key], path, f"{where}, {key}") for key in ("x", "y"))
        width, height = (
            number(row.get(key) or "0", path, f"{where}, {key}") for key in ("width", "height")
        )
        if not source or min(width, height) < 0:
            raise InputError(
                f"source {source!r:.40}, a box of {width:g} x {height:g} px: expected a name, and "
                "a width and height of 0 or more",
                file=path,
                where=where,
            )
        case = row.get("case") or source
        if cases.setdefault(source, case) != case:
            raise InputError(
                f"{source} is of case {case!r:.40}, and of {cases[source]!r:.40} in a row before",
                file=path,
                where=where,
            )
        label = canonical_label(row["label"])
        marks.append(Truth(source, case, label, x, y, width, height))
    if path.name == ANNOTATIONS:
        marks = with_centres(path.parent, marks)
    if (path.parent / MANIFEST).exists():
        tiles = read_manifest(path.parent)
        if strange := cases.keys() - {tile.source for tile in tiles}:
            raise InputError(f"no image {min(strange)!r:.80} in {MANIFEST}", file=path)
        splits = _splits(tiles) if split in (None, ALL) else (split,)
        return _in_memory(path, tiles, marks), splits, None
    _no_split(path, split)
    return _in_memory(path, [_image(*item) for item in cases.items()], marks), (_ONLY_SPLIT,), None


def _read_coco(path: Path, split: str | None) -> Found:
    _no_split(path, split)
    return _of_set(path, _read_as("coco", path)), (_ONLY_SPLIT,), path


def _read_midog(path: Path, split: str | None) -> Found:
    """A data set; an image without any mark is unlabelled there, so it is not scored."""
    _no_split(path, split)
    return _of_set(path, _read_as("midog", path)), (_ONLY_SPLIT,), path


def _no_split(path: Path, split: str | None) -> None:
    if split:
        raise InputError("this truth has no splits", file=path, fix="leave --split out")


def _read_as(name: str, path: Path) -> AnnotationSet:
    return get_reader(name)(path, ReadOptions(annotations_only=True))


def _of_set(path: Path, found: AnnotationSet) -> Dataset:
    cases = {image.source: image.case for image in found.images}
    tiles = [
        replace(
            _image(image.source, image.case, image.mpp or _NO_MPP),
            width=image.width,
            height=image.height,
            scanner=image.scanner,
            tumour=image.tumour,
        )
        for image in found.images
    ]
    marks = []
    for item in found.annotations:
        left, top, right, bottom = item.box or (item.x, item.y, item.x, item.y)
        size, centre = (right - left, bottom - top), ((left + right) / 2, (top + bottom) / 2)
        place = (item.source, cases[item.source], item.label, item.x, item.y)
        marks.append(Truth(*place, *size, centre))
    return _in_memory(path, tiles, marks)


def _image(source: str, case: str, mpp: Mpp = _NO_MPP) -> Tile:
    """A whole image of a size that is not known."""
    return Tile(
        name=source, source=source, case=case, split=_ONLY_SPLIT, x=0, y=0, width=0, height=0,
        mpp=mpp,
    )  # fmt: skip


def _in_memory(path: Path, tiles: list[Tile], marks: list[Truth]) -> Dataset:
    return Dataset(path.parent, {"images": NO_IMAGES}, tuple(tiles), tuple(marks))


def _is_coco(document: Any) -> bool:
    return isinstance(document, dict) and {"images", "annotations"} <= document.keys()


def _is_midog(document: Any) -> bool:
    """Whether boxes are the 50 px squares of MIDOG, as corners."""
    if not _is_coco(document) or not isinstance(document["annotations"], list):
        return False
    marks: list[Any] = document["annotations"]
    try:
        boxes = np.array([mark["bbox"] for mark in marks], dtype=float)
        return bool(np.all(boxes[:, 2:] - boxes[:, :2] == _MIDOG_PX))
    except (TypeError, ValueError, KeyError, IndexError, OverflowError):  # none, or no boxes
        return False


KINDS = {
    "folder": Kind(
        f"a dataset folder (its {INDEX})",
        lambda path, _: path.is_dir() or path.name == INDEX,
        _read_folder,
    ),
    "labels": Kind(
        "its annotations/SPLIT.json", lambda path, _: _is_of_folder(path), _read_of_folder
    ),
    "csv": Kind(ANNOTATIONS, lambda _, document: document is None, _read_table),
    "midog": Kind(
        "the JSON of a MIDOG data set", lambda _, document: _is_midog(document), _read_midog
    ),
    "coco": Kind("a COCO file", lambda _, document: _is_coco(document), _read_coco),
}
"""Every kind by name, the first that fits is taken; adding one is two functions and a line."""
