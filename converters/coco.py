"""COCO: one JSON with the images, annotations and categories of a data set.

Boxes are `[x, y, width, height]`; outlines are lists of polygons, or run-length masks. What COCO
has no place for, ours carries in `attributes`: an annotation's own centroid, kind and confidence
(a box cut at the edge of its image does not have its centroid in the middle), an image's case,
µm/px, scanner and tumour.

Source: COCO data format (cocodataset.org) and pycocotools, which reads what is written here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from converters.checked import LARGEST, checked_centroid, number
from converters.coco_json import annotation_record, document, image_record
from converters.dataset_tiles import Tiles, read_tiles
from converters.errors import InputError
from converters.files import read_json
from converters.geometry import Box
from converters.keys import Keys
from converters.labels import canonical_label
from converters.left_out import Problem
from converters.model import KINDS, Annotation, AnnotationSet, ImageInfo
from converters.pictures import stem
from converters.read_options import ReadOptions
from converters.reading import Reading
from converters.rings import opened, upright_box
from converters.rle import decode
from converters.shapes import Pixels, Polygon, Ring
from converters.writing import Note, Text, needed_size

FILE = "annotations.json"

_BESIDE = ("report.json", "run.json")
"""What `convert` writes beside annotations."""

_SAMPLE = 200  # annotations that show what a file's boxes are

_SAME_PX = 1e-6  # a box, and the corners of the same box as an outline

# --- reading ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Document:
    """A file: its images with their places, its classes by category id, its annotations."""

    images: list[tuple[str, Keys]]
    labels: dict[str, str]
    annotations: list[Any]


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read a COCO file, or a folder of them, with the images that they list.

    Parameters
    ----------
    src : Path
        ``*.json``, or a folder with such files at any depth; a dataset folder of ours too.
    options : ReadOptions

    Raises
    ------
    InputError
        No file is found; a file, image or annotation is malformed, or an image is not there (each
        unless ``options`` allow it).
    """
    tiles = read_tiles(src)
    reading = Reading(src, tiles.options(src, options))
    for path in _documents(reading, tiles):
        content = None
        with reading.lenient("unreadable_file"):
            content = _parse(read_json(path), str(path))
        if content is None:
            reading.unreadable(None, path)
            continue
        sources = _images(content, path, reading, tiles)
        file = str(path)
        for i, entry in enumerate(content.annotations):
            where = f"annotations[{i}]"
            if item := _plain_box(entry, sources, content.labels, file, where):
                reading.add(item)
                continue
            with reading.lenient():
                keys = Keys.of(entry, file, where)
                reading.add(_annotation(keys, sources, content.labels, reading))
    tiles.add_unlabelled(reading)
    return reading.finish(None)


def _documents(reading: Reading, tiles: Tiles) -> list[Path]:
    paths = reading.files(".json")
    if not reading.src.is_dir():
        return paths
    if tiles.root:
        paths = [path for path in paths if path.parent == tiles.root / "annotations"]
    paths = [path for path in paths if path.name not in _BESIDE]
    if not paths:
        raise InputError("no COCO file below this folder", file=reading.src)
    return paths


def _parse(content: Any, file: str) -> _Document:
    if not isinstance(content, dict) or "images" not in content:
        raise InputError("not a COCO file (no list `images`)", file=file)
    root = Keys(content, file, "")
    images = [(where, Keys.of(entry, file, where)) for where, entry in root.each("images")]
    ids = Counter(_identity(keys, "id") for _, keys in images if "id" in keys.element)
    for name, times in ids.items():
        if times > 1:
            raise InputError(f"{times} images have the id {name:.40}", file=file, where="images")
    annotations = root.array("annotations")
    _refuse_corners(images, annotations, file)
    return _Document(images, _labels(root), annotations)


def _refuse_corners(
    images: Sequence[tuple[str, Keys]], annotations: Sequence[Any], file: str
) -> None:
    """Refuse a file that is COCO to look at, but whose boxes are x1, y1, x2, y2, as MIDOG's."""
    sizes = {str(keys.element.get("id")): keys.element for _, keys in images}
    leave = fit = seen = 0
    for entry in annotations[:_SAMPLE]:
        box = entry.get("bbox") if isinstance(entry, dict) else None
        image = sizes.get(str(entry.get("image_id"))) if box else None
        numbers = (
            [*box, image.get("width"), image.get("height")]
            if image and isinstance(box, list)
            else []
        )
        if len(numbers) == 6 and all(type(value) in (int, float) for value in numbers):
            x, y, a, b, width, height = numbers
            if a <= x or b <= y:
                return
            seen += 1
            leave += x + a > width + 1 or y + b > height + 1  # px, for what was rounded
            fit += a <= width + 1 and b <= height + 1
    if 2 * leave > seen and 2 * fit > seen:
        raise InputError(
            f"the boxes look like x1, y1, x2, y2: as x, y, width, height {leave} of {seen} leave "
            "their image",
            file=file,
            fix="read a file of MIDOG by --from midog",
        )


def _labels(root: Keys) -> dict[str, str]:
    labels: dict[str, str] = {}
    for where, entry in root.each("categories") if "categories" in root.element else ():
        keys = Keys.of(entry, root.file, where)
        name, label = _identity(keys, "id"), canonical_label(keys.text("name"))
        if labels.setdefault(name, label) != label:
            raise InputError(f"two categories have the id {name:.40}", file=root.file, where=where)
    return labels


def _identity(keys: Keys, key: str) -> str:
    """An id: a whole number or text, as text."""
    value = keys.value(key)
    if type(value) is int or type(value) is str:
        return str(value)
    if type(value) is float and value.is_integer():
        return str(int(value))
    raise InputError(
        f"id {value!r:.40} is neither a whole number nor text", file=keys.file, where=keys.where
    )


def _images(content: _Document, path: Path, reading: Reading, tiles: Tiles) -> dict[str, str]:
    """Put a file's images into the set: id -> source."""
    sources: dict[str, str] = {}
    taken: dict[str, str] = {}
    for where, keys in content.images:
        source = None
        with reading.lenient():
            identity, name, place = _identity(keys, "id"), keys.text("file_name"), {"where": where}
            facts = {**place, "file": path, "size": keys.size(), **_image_facts(keys)}
            source = tiles.image(reading, name, stem(_last(name)), **facts)
            if source in taken:
                detail = f"the same image as {taken[source]}"
                reading.problems[source] = Problem("malformed", detail)
                raise InputError(f"{name!r:.60} is {detail}", file=path, where=where)
            sources[identity] = source
            taken[source] = where
        if source is None:  # whatever it was, it is not known to be background
            reading.unreadable(None, path)
    return sources


def _last(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def _image_facts(keys: Keys) -> dict[str, Any]:
    """What our own files say of an image beyond COCO."""
    if not isinstance(keys.element.get("attributes"), dict):
        return {}
    own = keys.keys("attributes")
    facts: dict[str, Any] = {
        key: own.text(key) for key in ("case", "scanner", "tumour") if key in own.element
    }
    if "mpp" in own.element:
        x, y = own.point(own.value("mpp"), "mpp")
        if min(x, y) <= 0:
            raise InputError(f"{min(x, y)} is not above 0", file=own.file, where=own.where)
        facts["mpp"] = (x, y)
    return facts


def _plain_box(
    entry: Any, sources: Mapping[str, str], labels: Mapping[str, str], file: str, where: str
) -> Annotation | None:
    """An annotation that is sound and only a box, as most are; None for any other.

    It gives what :func:`_annotation` gives in a fifth of the time; what is unsound goes there, to
    be told what is wrong.
    """
    try:
        left, top, width, height = entry["bbox"]
        source, label = sources[str(entry["image_id"])], labels[str(entry["category_id"])]
        if not entry.keys() <= _PLAIN or entry.get("segmentation"):
            return None
        area = entry.get("area", 0)
        if not {type(left), type(top), type(width), type(height), type(area)} <= _NUMBERS:
            return None
        if not (abs(left) < LARGEST and abs(top) < LARGEST and 0 <= area < LARGEST):
            return None
        if not (0 <= width < LARGEST and 0 <= height < LARGEST):
            return None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    right, bottom = left + width, top + height
    return Annotation(
        source=source, label=label, x=(left + right) / 2, y=(top + bottom) / 2, kind="box",
        file=file, where=where, box=(left, top, right, bottom),
        area=area or (right - left) * (bottom - top),
    )  # fmt: skip


_PLAIN = {"id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation"}
_NUMBERS = {int, float}


def _annotation(
    keys: Keys, sources: Mapping[str, str], labels: Mapping[str, str], reading: Reading
) -> Annotation:
    entry, file, where = keys.element, keys.file, keys.where
    source = sources.get(_identity(keys, "image_id"))
    if source is None:
        raise InputError(f"no image has the id {entry['image_id']!r:.40}", file=file, where=where)
    box, shape = _extent(keys, reading.size(source))
    attributes = entry.get("attributes")
    own = Keys(attributes if isinstance(attributes, dict) else {}, file, where)
    if own.element.get("kind") in KINDS and "x" in own.element and "y" in own.element:
        x, y = checked_centroid((own.number("x"), own.number("y")), box, file, where)
        kind = own.text("kind")
        area = keys.optional("area")
    elif shape:
        (x, y), kind, area = shape.centroid, _KIND[type(shape)], None
    else:
        (x, y), kind = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), "box"
        area = keys.optional("area")
    if not area or area < 0:
        area = shape.area if shape else (box[2] - box[0]) * (box[3] - box[1])
    confidence = keys.optional("score")
    return Annotation(
        source=source, label=_label(keys, labels), x=x, y=y, kind=kind, file=file, where=where,
        box=box, area=None if kind == "point" and not shape else area, shape=shape,
        confidence=own.optional("confidence") if confidence is None else confidence,
    )  # fmt: skip


_KIND = {Polygon: "polygon", Pixels: "pixels"}


def _extent(keys: Keys, size: tuple[int, int] | None) -> tuple[Box, Polygon | Pixels | None]:
    """The box of an annotation, and its outline where that is more than the box."""
    box, shape = _box(keys), _outline(keys, size)
    if isinstance(shape, Polygon) and len(shape.rings) == 1:
        corners = upright_box(shape.rings[0])
        if corners and (box is None or _same(corners, box)):
            return corners, None
    if box is None:
        if shape is None:
            raise InputError("neither `bbox` nor `segmentation`", file=keys.file, where=keys.where)
        box = shape.box
    return box, shape


def _label(keys: Keys, labels: Mapping[str, str]) -> str:
    if not labels and "category_id" not in keys.element:
        return "mitosis"
    label = labels.get(_identity(keys, "category_id"))
    if label is None:
        found = keys.element["category_id"]
        raise InputError(f"no category has the id {found!r:.40}", file=keys.file, where=keys.where)
    return label


def _same(a: Box, b: Box) -> bool:
    return all(abs(p - q) <= _SAME_PX for p, q in zip(a, b, strict=True))


def _box(keys: Keys) -> Box | None:
    value = keys.element.get("bbox")
    if value is None or value == []:
        return None
    file, where = keys.file, f"{keys.where}, key `bbox`"
    if not isinstance(value, list) or len(value) != 4:
        raise InputError(f"expected [x, y, width, height], found {value!r:.60}", file=file,
                         where=where)  # fmt: skip
    left, top, width, height = (number(item, file, where) for item in value)
    if width < 0 or height < 0:
        raise InputError(f"a box of {width} x {height} px", file=file, where=where)
    return (left, top, left + width, top + height)


def _outline(keys: Keys, size: tuple[int, int] | None) -> Polygon | Pixels | None:
    value = keys.element.get("segmentation")
    if value is None or value == []:
        return None
    where = f"{keys.where}, key `segmentation`"
    if isinstance(value, dict):
        return decode(value, size, keys.file, where)
    if not isinstance(value, list):
        raise InputError(
            f"expected a list of polygons, found {value!r:.40}", file=keys.file, where=where
        )
    return Polygon(tuple(_ring(part, keys.file, where) for part in value))


def _ring(part: Any, file: str, where: str) -> Ring:
    if not isinstance(part, list) or len(part) < 6 or len(part) % 2:
        raise InputError(
            f"expected x, y of three points or more in one list, found {part!r:.60}",
            file=file,
            where=where,
        )
    values = [number(value, file, where) for value in part]
    return opened(list(zip(values[::2], values[1::2], strict=True)))


# --- writing ----------------------------------------------------------------------------------


def write(found: AnnotationSet, note: Note) -> Iterator[tuple[str, Text]]:
    """One ``annotations.json`` with everything.

    Raises
    ------
    InputError
        The size of an image is not known.
    """
    listed = [(image, items) for image, items in found.by_image() if image.labelled]
    if left_out := len(found.images) - len(listed):
        note(
            f"{left_out} images that nobody annotated are left out: one without annotation "
            "counts as negative in COCO"
        )
    names = _file_names([image for image, _ in listed])
    sizes = [needed_size(image, "COCO") for image, _ in listed]
    images = (
        image_record(number, names[image.source], size, facts_of(image))
        for number, ((image, _), size) in enumerate(zip(listed, sizes, strict=True), 1)
    )
    numbers = count(1)
    annotations = (
        annotation_record(
            next(numbers), image_id, item.label, item.box, size,
            area=None if item.kind == "box" else item.area, shape=item.shape,
            attributes=attributes_of(item),
        )
        for image_id, ((_, items), size) in enumerate(zip(listed, sizes, strict=True), 1)
        for item in items
        if item.box
    )  # fmt: skip
    yield FILE, document(images, annotations, {item.label for item in found.annotations})


def attributes_of(item: Annotation) -> dict[str, Any]:
    """What an annotation is beyond COCO: its centroid, kind and confidence; nothing of a box with
    its centroid in the middle."""
    own: dict[str, Any] = {"x": item.x, "y": item.y, "kind": item.kind}
    if item.confidence is not None:
        return {**own, "confidence": item.confidence}
    if item.kind == "box" and item.box:
        left, top, right, bottom = item.box
        if max(abs(left + right - 2 * item.x), abs(top + bottom - 2 * item.y)) <= _SAME_PX:
            return {}
    return own


def facts_of(image: ImageInfo) -> dict[str, Any]:
    """What an image is beyond COCO: its case, µm/px, scanner and tumour, where known."""
    case = "" if image.case == image.source else image.case
    facts = {"case": case, "scanner": image.scanner, "tumour": image.tumour}
    known: dict[str, Any] = {key: value for key, value in facts.items() if value}
    return {**known, "mpp": list(image.mpp)} if image.mpp else known


def _file_names(images: Sequence[ImageInfo]) -> dict[str, str]:
    """Source -> file name, with as many folders as tell images of one name apart."""
    names = {image.source: image.file_name for image in images}
    times = Counter(names.values())
    for image in images:
        if times[image.file_name] > 1:
            names[image.source] = _told_apart(image, images)
    return names


def _told_apart(image: ImageInfo, images: Sequence[ImageInfo]) -> str:
    path = image.path
    others = [other.path for other in images if other is not image]
    for n in range(2, len(path.parts) if path else 0):
        if path and all(other is None or other.parts[-n:] != path.parts[-n:] for other in others):
            return "/".join(path.parts[-n:])
    return image.source
