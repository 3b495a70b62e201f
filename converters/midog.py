"""MIDOG: the data sets' JSON (2021, 2022, ++) and the predictions of the challenge.

A data set is one JSON with ``images``, ``categories`` and ``annotations``, COCO to look at, but
``bbox`` is x1, y1, x2, y2 in px: the 50 px square around a centroid, which may cross the image's
edge or even lie outside. Category 1 is the mitotic figure and 2 what is none, under names that
differ between the releases. The experts' single votes (``labels``) are not read. A prediction is
one JSON an image, ``NAME.json``, of "Multiple points" in MILLIMETRES.

Source: Aubreville et al., A comprehensive multi-domain dataset for mitotic figure detection
(2023), and its JSON; the challenge's submission format (grand-challenge.org).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.checked import number
from converters.errors import InputError, MissingMppError
from converters.files import read_json
from converters.geometry import Box, Point
from converters.image_mpp import image_mpp
from converters.keys import Keys
from converters.labels import canonical_label
from converters.left_out import Problem
from converters.model import AnnotationSet
from converters.mpp import Mpp, needed_mpp
from converters.read_options import ReadOptions, Size
from converters.reading import Reading
from converters.writing import Note, json_text

_NAMES = {"mitosis": "mitotic figure", "imposter": "non-mitotic figure"}
_LABELS = {1: "mitosis", 2: "imposter"}

_CHALLENGE_MM = 10.0
"""The organisers take a coordinate above this for pixels."""

_SLIDE_MM = 250.0
"""No glass slide is longer."""

_ROUNDING_PX = 1e-6  # what a coordinate on the edge may lose on its way to mm and back


# --- reading ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    """An image as a data set lists it."""

    name: str
    size: Size | None
    tumour: str
    where: str


@dataclass(frozen=True, slots=True)
class _DataSet:
    """A data set's document: its lists, unread but for the classes."""

    keys: Keys
    labels: dict[int, str]


@dataclass(slots=True)
class _Call:
    """What the files of one call say of the images."""

    reading: Reading
    files: dict[str, Path] = field(default_factory=dict)  # source -> the file with its marks
    marked: set[str] = field(default_factory=set)  # names of images with a mark
    listed: list[tuple[Path, _Entry]] = field(default_factory=list)

    def image(self, name: str, path: Path, where: str | None = None, **facts: Any) -> str:
        """The source of an image whose marks stand in ``path`` alone.

        Raises
        ------
        InputError
            It is not there, or another file has marks on it.
        """
        source = self.reading.image(name, file=path, where=where, **facts)
        other = self.files.setdefault(source, path)
        if other != path:
            raise InputError(
                f"{other.name} has annotations of the image {name!r:.60} too",
                file=path,
                where=where,
                fix="give one of the files, or a folder that holds one of them",
            )
        return source


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read a data set, or predictions.

    Parameters
    ----------
    src : Path
        A JSON, or a folder of them at any depth: data sets, and predictions named by their image.
    options : ReadOptions
        ``mpp`` is what turns the predictions' millimetres into px, or the image's own, or
        ``preset_mpp``.
        Images without any annotation are unlabelled, not negative: left out and counted, unless
        ``include_unlabelled`` or ``unlabelled="background"``.

    Raises
    ------
    InputError
        A file is of neither kind; an entry is malformed; a predicted point is outside its image;
        an annotated image is not there (each unless ``options`` allow it).
    MissingMppError
        Predictions, and nothing tells µm/px.
    """
    call = _Call(Reading(src, options))
    for path in call.reading.files(".json"):
        document: _DataSet | Keys | None = None
        with call.reading.lenient("unreadable_file"):
            document = _document(read_json(path), str(path))
        if document is None:
            call.reading.unreadable(None, path)
        elif isinstance(document, _DataSet):
            _read_data_set(document, path, call)
        else:
            _read_points(document, path, call)
    _add_bare(call)
    return call.reading.finish(None)


def _document(document: Any, file: str) -> _DataSet | Keys:
    """A data set, or predictions by their keys, the outer form of both checked."""
    keys = Keys.of(document, file, "")
    if "images" in keys.element and "annotations" in keys.element:
        keys.array("images")
        keys.array("annotations")
        return _DataSet(keys, _labels(keys))
    if keys.element.get("type") == "Multiple points":
        keys.array("points")
        return keys
    raise InputError(
        "neither a MIDOG data set (`images`, `annotations`) nor predictions "
        '(`"type": "Multiple points"`)',
        file=file,
    )


def _labels(document: Keys) -> dict[int, str]:
    """Category id -> class: 1 and 2 by their ids, others by their names."""
    labels = dict(_LABELS)
    for where, item in document.each("categories") if "categories" in document.element else ():
        keys = Keys.of(item, document.file, where)
        key, name = keys.whole("id"), keys.text("name", "").strip()
        label = canonical_label(name)
        if label in _NAMES and labels.setdefault(key, label) != label:
            raise InputError(
                f"category {key} is called {name!r:.40}, but in MIDOG's files "
                f"{key} is the {_NAMES[labels[key]]}",
                file=document.file,
                where=where,
                fix="number the categories 1 mitotic figure, 2 non-mitotic figure",
            )
        if name:
            labels.setdefault(key, label)
    return labels


def _read_data_set(data: _DataSet, path: Path, call: _Call) -> None:
    """Add the boxes of one data set, and the images that they lie on."""
    reading, file = call.reading, str(path)
    entries: dict[int, _Entry] = {}
    for where, item in data.keys.each("images"):
        with reading.lenient():
            keys = Keys.of(item, file, where)
            key = keys.whole("id")
            if key in entries:
                raise InputError(f"the image id {key} stands twice", file=file, where=where)
            entries[key] = _entry(keys)
    sources: dict[int, str] = {}
    for where, item in data.keys.each("annotations"):
        with reading.lenient():
            keys = Keys.of(item, file, where)
            key = keys.whole("image_id")
            if key not in entries:
                raise InputError(f"no image has the id {key}", file=file, where=where)
            entry = entries[key]
            call.marked.add(entry.name)
            if key not in sources:
                facts = {"size": entry.size, "tumour": entry.tumour}
                sources[key] = call.image(entry.name, path, entry.where, **facts)
            reading.box(
                _box(keys),
                source=sources[key],
                label=_label(keys, data.labels),
                file=file,
                where=where,
            )
    call.listed += ((path, entry) for entry in entries.values())


def _entry(keys: Keys) -> _Entry:
    return _Entry(keys.text("file_name"), keys.size(), keys.text("tumor_type", ""), keys.where)


def _label(keys: Keys, labels: dict[int, str]) -> str:
    key = keys.whole("category_id")
    if key not in labels:
        raise InputError(
            f"category {key} has no name in `categories`", file=keys.file, where=keys.where
        )
    return labels[key]


def _box(keys: Keys) -> Box:
    """`bbox` as it is: it may lie over the image's edge."""
    corners = keys.array("bbox")
    if len(corners) == 4:
        place = f"{keys.where}, key `bbox`"
        left, top, right, bottom = (number(value, keys.file, place) for value in corners)
        if left < right and top < bottom:
            return (left, top, right, bottom)
    raise InputError(
        f"expected x1,y1,x2,y2 with x1 < x2 and y1 < y2, found {corners!r:.60}",
        file=keys.file,
        where=f"{keys.where}, key `bbox`",
        fix="boxes as x,y,width,height are read by --from coco",
    )


def _add_bare(call: _Call) -> None:
    """Decide on the images that a data set lists and no file annotates."""
    reading = call.reading
    options = reading.options
    for path, entry in call.listed:
        if entry.name in call.marked:
            continue
        if options.include_unlabelled or options.unlabelled == "background":
            reading.image(
                entry.name,
                file=path,
                where=entry.where,
                size=entry.size,
                tumour=entry.tumour,
                labelled=not options.include_unlabelled,
            )
        else:
            reading.skip(entry.name, "unlabelled", f"no annotation in {path.name}")


def _read_points(document: Keys, path: Path, call: _Call) -> None:
    """Add the points of one image's predictions."""
    reading = call.reading
    try:
        source = call.image(path.stem, path)
        problem = reading.problems.get(source)
    except InputError as error:
        if reading.options.bad != "drop":
            raise
        problem = Problem("malformed", error.what)
    if problem:  # no point can be used, each is counted
        for where, _ in document.each("points"):
            reading.drop(problem.reason, problem.detail, file=str(path), where=where)
        return
    mpp, size = _mpp(source, path, reading), reading.size(source)
    for where, item in document.each("points"):
        with reading.lenient():
            keys = Keys.of(item, str(path), where)
            mm = keys.point(keys.value("point"), "point")
            facts = {
                "source": source,
                "label": canonical_label(keys.text("name", "mitosis")),
                "confidence": keys.optional("probability"),
                "file": str(path),
                "where": where,
            }
            point = (mm[0] * 1000 / mpp[0], mm[1] * 1000 / mpp[1])
            if _inside(point, size) and (size or max(mm) <= _SLIDE_MM):
                reading.point(point, **facts)
                continue
            with reading.lenient("outside"):
                raise InputError(
                    f"({mm[0]:g}, {mm[1]:g}) mm is outside "
                    + (f"the image of {size[0]} x {size[1]} px" if size else "any slide"),
                    file=path,
                    where=where,
                    fix=f"points are in millimetres, here of {mpp[0]:g} µm/px: check both",
                )


def _mpp(source: str, path: Path, reading: Reading) -> Mpp:
    """µm/px of an image, by the option, its own tags or the preset."""
    image, case = reading.path(source), source.rpartition("/")[2]
    mpp = (
        reading.options.mpp or (image and image_mpp(image)) or reading.options.preset_mpp("", case)
    )
    if not mpp:
        raise MissingMppError(
            "points in millimetres, and no µm/px is known of their image",
            file=path,
            fix="state it by --mpp F (µm per pixel), for example --mpp 0.25, or name a --preset",
        )
    return mpp


def _inside(point: Point, size: Size | None) -> bool:
    """Whether a point in px is on the image; of unknown size, whether any image could hold it."""
    width, height = size or (float("inf"), float("inf"))
    return (
        -_ROUNDING_PX <= point[0] <= width + _ROUNDING_PX
        and -_ROUNDING_PX <= point[1] <= height + _ROUNDING_PX
    )


# --- writing ----------------------------------------------------------------------------------


def document(points: Iterable[tuple[float, float, float, str]], mpp: Mpp) -> dict[str, Any]:
    """Predictions of one image as the challenge reads them.

    Parameters
    ----------
    points : iterable of (x, y, probability, label)
        Centroids in px; label `mitosis` or `imposter`.
    mpp : (float, float)
        µm per pixel across and down.

    Returns
    -------
    dict
        "Multiple points", coordinates in millimetres, ready for JSON.
    """
    return {
        "type": "Multiple points",
        "points": [
            {
                "point": [x * mpp[0] / 1000, y * mpp[1] / 1000, 0],
                "probability": probability,
                "name": _NAMES.get(label, label),
            }
            for x, y, probability, label in points
        ],
        "version": {"major": 1, "minor": 0},
    }


def write(found: AnnotationSet, note: Note) -> Iterator[tuple[str, str]]:
    """Predictions, ``NAME.json`` for each image; one without a confidence has probability 1.

    Raises
    ------
    InputError
        A centroid is outside its image.
    MissingMppError
        An image has no µm/px.
    """
    far = total = 0
    for image, items in found.by_image():
        mpp = needed_mpp(image)
        for item in items:
            if not _inside((item.x, item.y), image.size):
                raise InputError(
                    f"the point ({item.x:g}, {item.y:g}) is outside the image {image.source} of "
                    f"{image.width} x {image.height} px",
                    file=item.file,
                    where=item.where,
                )
        points = [
            (item.x, item.y, 1.0 if item.confidence is None else item.confidence, item.label)
            for item in items
        ]
        text = document(points, mpp)
        far += sum(max(point["point"]) > _CHALLENGE_MM for point in text["points"])
        total += len(points)
        yield f"{image.file_stem}.json", json_text(text)
    if far:
        note(
            f"warning: {far} of {total} points lie beyond {_CHALLENGE_MM:g} mm, which the MIDOG "
            "challenge refuses as pixels: on a slide they may; on a challenge image check --mpp"
        )
