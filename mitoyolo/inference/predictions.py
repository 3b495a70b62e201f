"""Predictions in files, whoever made them: read, placed on the truth's images, and checked.

The kind of a file shows in the file itself. Pixels are those of the image named, but for tables
that have places in µm too: a slide is searched in its own pixels, and its truth may be in resampled
ones. MIDOG's files are in millimetres, and neither can be taken for the other unnoticed.

Source: the results format of COCO (cocodataset.org); MIDOG's submission format and its evaluation
(DeepMicroscopy/MIDOG_evaluation_docker), which reads several images from one document.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.checked import number
from converters.errors import InputError
from converters.files import read_json, read_rows
from converters.images import find_files
from converters.keys import Keys
from converters.labels import canonical_label
from converters.model import LABELS
from mitoyolo.inference.merge import Detections, merge
from mitoyolo.inference.tables import DETECTIONS, PREDICTIONS, SUMMARY
from mitoyolo.inference.truths import Place, Truths, identity, json_or_none
from mitoyolo.progress import note

CHALLENGE_MM = 10.0
"""MIDOG's organisers take a coordinate above this for pixels; so it is done here where the size of
the image is not known."""

_ENDLESS = (np.inf, np.inf)
_ROUNDING_PX = 1e-6  # what a place on the edge may lose on its way to mm and back

_ROUNDING = 1e-6
"""Relative difference of µm/px that is none."""

_SURE_PX = 100
"""How far an image must reach for millimetres to be told from pixels."""

_NAMED_BY_FOLDER = ("detections.midog", "mitotic-figures")
"""Stems of files that say nothing of their image; the folder that they lie in does."""


@dataclass(slots=True)
class Prediction:
    """One row of a file: centre and size in px of the image or tile at ``place``."""

    place: Place
    x: float
    y: float
    width: float
    height: float
    score: float
    label: str
    file: Path
    where: str


Find = Callable[[str, Path, str], Place]


def read_predictions(path: Path, truths: Truths) -> dict[str, Detections]:
    """Read predictions for the images of a truth.

    Parameters
    ----------
    path : Path
        A table with columns `image` (or `source`), `x`, `y`, `score`, and `width`, `height`,
        `label` where there are some; COCO results; MIDOG's "Multiple points", of one image (named
        like the file) or of several by name; or a folder of them, such as ``detect`` and ``val``
        write.
    truths : Truths
        Whose images they are on.

    Returns
    -------
    dict
        Source image -> detections in its pixels, class numbers as in
        :data:`~converters.model.LABELS`; a width or height that is not known is 0. Predictions on
        the tiles of an image that was cut are moved to the image and merged, as ``val`` does.

    Raises
    ------
    InputError
        A file is of no known kind or malformed; a row stands there twice, names no image of the
        truth, is outside it, has a score outside 0 to 1 or a class that is not known; or
        coordinates are in another unit than the file's kind says.
    """
    rows: dict[Place, list[tuple[float, ...]]] = defaultdict(list)
    could_be_mm = True
    for row in _checked(path, truths):
        label = LABELS.index(row.label)
        rows[row.place].append((row.x, row.y, row.width, row.height, row.score, label))
        could_be_mm = could_be_mm and _could_be_mm(row)
    if rows and could_be_mm:
        raise InputError(
            "all predictions lie in the upper left corner of their images, within what an image "
            "measures in millimetres",
            file=path,
            fix="x and y are expected in pixels (millimetres in MIDOG's points): is it possible "
            "that these are millimetres?",
        )
    parts: dict[str, list[Detections]] = defaultdict(list)
    cut: dict[str, Place] = {}
    for place, found in rows.items():
        parts[place.source].append(np.array(found) + np.array([place.x, place.y, 0, 0, 0, 0]))
        if place.cut:
            cut[place.source] = place
    whole = {source: np.concatenate(found) for source, found in parts.items()}
    return whole | {source: merge(whole[source], place.mpp) for source, place in cut.items()}


def _checked(path: Path, truths: Truths) -> Iterator[Prediction]:
    """The rows of all files, each checked."""
    names: dict[Place, str] = {}
    places: dict[str, Place] = {}

    def find(name: str, file: Path, where: str) -> Place:
        if name in places:
            return places[name]
        place = places[name] = truths.find(name, file, where)
        if (other := names.setdefault(place, name)) != name:
            raise InputError(
                f"{name!r:.80} and {other!r:.80} are one image of the truth, {place.source}",
                file=file,
                where=where,
                fix="name it in one way",
            )
        return place

    seen = set()
    for file in files_of(path):
        for row in _read(file, truths, find):
            if not 0 <= row.score <= 1:  # NaN, too
                raise InputError(
                    f"a score of {row.score:g}, expected 0 to 1", file=file, where=row.where
                )
            if row.label not in LABELS:
                raise InputError(
                    f"class {row.label!r:.40}, expected {' or '.join(LABELS)}",
                    file=file,
                    where=row.where,
                )
            if min(row.width, row.height) < 0:
                raise InputError(
                    f"a box of {row.width:g} x {row.height:g} px", file=file, where=row.where
                )
            _check_inside((row.x, row.y), row, "px")
            key = (row.place, row.x, row.y, row.width, row.height, row.score, row.label)
            if key in seen:
                raise InputError(
                    "the same prediction as in a row before",
                    file=file,
                    where=row.where,
                    fix="keep one of them",
                )
            seen.add(key)
            yield row


def _check_inside(given: tuple[float, float], row: Prediction, unit: str) -> None:
    """Refuse a point, ``given`` in ``unit``, outside its image; where its size is not known, only
    one left of it or above."""
    place = row.place
    width, height = place.size or _ENDLESS
    if not (
        -_ROUNDING_PX <= row.x <= width + _ROUNDING_PX
        and -_ROUNDING_PX <= row.y <= height + _ROUNDING_PX
    ):
        size = f" of {width} x {height} px" if place.size else ""
        raise InputError(
            f"({given[0]:g}, {given[1]:g}) {unit} is outside the image {place.source}{size}",
            file=row.file,
            where=row.where,
            fix=f"x and y are expected in {unit}, here of {place.mpp[0]:g} µm/px: is it possible "
            "that these are in another unit, or of another image?",
        )


def _could_be_mm(row: Prediction) -> bool:
    """Whether pixel coordinates are as small as the image is in millimetres."""
    place = row.place
    reach = zip((row.x, row.y), place.reach, place.mpp, strict=True)
    return all(side >= _SURE_PX and value <= side * mpp / 1000 for value, side, mpp in reach)


# --- the kinds --------------------------------------------------------------------------------


def files_of(path: Path) -> list[Path]:
    """The files of predictions that a path stands for: itself, or those below a folder.

    Raises
    ------
    InputError
        There is none.
    """
    if not path.is_dir():
        return [path]
    if (own := path / PREDICTIONS).is_file():
        return [own]
    tables = [file for file in find_files(path, (".csv",)) if file.name == DETECTIONS]
    if files := tables or list(find_files(path, (".json",))):
        return files
    raise InputError(f"no {PREDICTIONS}, {DETECTIONS} or .json below this folder", file=path)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file that holds predictions.

    Attributes
    ----------
    summary : str
        What it is, for messages.
    fits : callable
        JSON document (None for a table) -> whether it is of this kind.
    read : callable
        File, its document, the truth and what finds its images -> the predictions.
    """

    summary: str
    fits: Callable[[Any], bool]
    read: Callable[[Path, Any, Truths, Find], Iterator[Prediction]]


def _read(file: Path, truths: Truths, find: Find) -> Iterator[Prediction]:
    document = json_or_none(file)
    for kind in KINDS.values():
        if kind.fits(document):
            return kind.read(file, document, truths, find)
    known = ", ".join(kind.summary for kind in KINDS.values())
    raise InputError(f"not predictions that can be read: expected {known}", file=file)


def _read_table(file: Path, _: Any, truths: Truths, find: Find) -> Iterator[Prediction]:
    cells = (("x", ""), ("y", ""), ("score", ""), ("width", "0"), ("height", "0"))
    searched = _searched(file)
    resampled = False
    for line, row in read_rows(file, ("x", "y", "score")):
        where = f"line {line}"
        name = row.get("image", row.get("source"))
        if name is None:
            raise InputError("no column image", file=file, where="line 1")
        x, y, score, width, height = [
            number(row.get(key) or empty, file, f"{where}, {key}") for key, empty in cells
        ]
        label = canonical_label(row.get("label") or "mitosis")
        place = find(name, file, where)
        if truths.is_resampled and (searched is None or searched != place.size):
            across = _scale(x, row.get("x_um"), place.mpp[0], file, f"{where}, x_um")
            down = _scale(y, row.get("y_um"), place.mpp[1], file, f"{where}, y_um")
            resampled = resampled or (across, down) != (1, 1)
            x, y, width, height = x * across, y * down, width * across, height * down
        yield Prediction(place, x, y, width, height, score, label, file, where)
    if resampled:
        note(f"{file}: its pixels are of another size than the truth's; its places in µm are used")


def _searched(file: Path) -> tuple[int, int] | None:
    """Width and height of the image that ``detect`` searched; None where it did not say so."""
    summary = file.with_name(SUMMARY)
    if file.name != DETECTIONS or not summary.is_file():
        return None
    keys = Keys.of(read_json(summary), str(summary), "")
    if "size" not in keys.element:
        return None
    width, height = keys.point(keys.value("size"), "size")
    return int(width), int(height)


def _scale(px: float, um: str | None, mpp: float, file: Path, where: str) -> float:
    """Pixels of ``mpp`` µm in a pixel of a table, by a place in pixels and, if told, in µm."""
    if not um or not px:
        return 1.0
    scale = number(um, file, where) / px / mpp
    if scale <= 0:
        raise InputError(f"{um:.40} µm at {px:g} px", file=file, where=where)
    return 1.0 if abs(scale - 1) < _ROUNDING else scale


def _read_coco(file: Path, document: Any, truths: Truths, find: Find) -> Iterator[Prediction]:
    names, categories = truths.coco_names()
    for i, item in enumerate(document):
        where = f"[{i}]"
        keys = Keys.of(item, str(file), where)
        box = keys.array("bbox")
        if len(box) != 4:
            raise InputError(
                f"expected [x, y, width, height], found {box!r:.60}",
                file=file,
                where=f"{where}, key `bbox`",
            )
        left, top, width, height = (number(v, file, f"{where}, key `bbox`") for v in box)
        category = identity(keys, "category_id")
        if category not in categories:
            raise InputError(
                f"category {category:.40}, the truth has {', '.join(categories)}",
                file=file,
                where=where,
            )
        place = find(_name(keys, names), file, where)
        yield Prediction(
            place, left + width / 2, top + height / 2, width, height, keys.number("score"),
            categories[category], file, where,
        )  # fmt: skip


def _name(keys: Keys, names: dict[str, str]) -> str:
    """The image of a COCO result: its file's name where it says that, else by its id, which some
    tools make of the name."""
    if "file_name" in keys.element:
        return keys.text("file_name")
    key = identity(keys, "image_id")
    if key not in names and not isinstance(keys.value("image_id"), str):
        raise InputError(
            f"no image of the truth has the id {key:.40}",
            file=keys.file,
            where=keys.where,
            fix="give the COCO file that the ids are of as the truth, or add `file_name`",
        )
    return names.get(key, key)


def _read_points(file: Path, document: Any, truths: Truths, find: Find) -> Iterator[Prediction]:
    name = file.stem
    if name in _NAMED_BY_FOLDER:
        name = file.parent.name
    yield from _points(name, Keys.of(document, str(file), ""), file, find)


def _read_named_points(
    file: Path, document: Any, truths: Truths, find: Find
) -> Iterator[Prediction]:
    for name, item in document.items():
        yield from _points(name, Keys.of(item, str(file), f"key `{name}`"), file, find)


def _points(name: str, document: Keys, file: Path, find: Find) -> Iterator[Prediction]:
    place = find(name, file, document.where or "its name")
    for where, item in document.each("points"):
        keys = Keys.of(item, str(file), where)
        x, y = keys.point(keys.value("point"), "point")
        if place.size is None and max(x, y) > CHALLENGE_MM:
            raise InputError(
                f"({x:g}, {y:g}) is above {CHALLENGE_MM:g} mm, on an image of a size that is not "
                "known",
                file=file,
                where=where,
                fix="points are in millimetres: is it possible that these are pixels? If not, "
                "give a truth that says the size, such as a dataset folder",
            )
        row = Prediction(
            place, x * 1000 / place.mpp[0], y * 1000 / place.mpp[1], 0.0, 0.0,
            keys.number("probability", 1.0), canonical_label(keys.text("name", "mitosis")), file,
            where,
        )  # fmt: skip
        _check_inside((x, y), row, "mm")
        yield row


def _is_points(document: Any) -> bool:
    return isinstance(document, dict) and "points" in document


KINDS = {
    "csv": Kind(f"a table such as {PREDICTIONS}", lambda document: document is None, _read_table),
    "coco": Kind("COCO results", lambda document: isinstance(document, list), _read_coco),
    "points": Kind('MIDOG\'s "Multiple points" of one image', _is_points, _read_points),
    "named points": Kind(
        "these by image name",
        lambda document: (
            isinstance(document, dict)
            and bool(document)
            and all(map(_is_points, document.values()))
        ),
        _read_named_points,
    ),
}
"""Every kind by name; adding one is a function and a line."""
