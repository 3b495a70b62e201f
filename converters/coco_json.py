"""The text of a COCO file: its images, its annotations with outlines cut at the image, its classes.

Each entry is made as JSON text: a number is then turned into text once, which is most of the time
that writing takes, and a line of the file is an entry.

Source: COCO data format (cocodataset.org); pycocotools, which makes masks of every entry.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from converters.geometry import Box, clip_ring
from converters.model import LABELS
from converters.rle import encode
from converters.shapes import Pixels, Polygon, Ring, Shape

_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def document(
    images: Iterable[str], annotations: Iterable[str], labels: Iterable[str]
) -> Iterator[str]:
    """The text of a COCO file in pieces, one image or annotation a line: outlines are long, and
    all of them at once would be most of the memory that a conversion takes.

    Parameters
    ----------
    images, annotations : iterable of str
        See :func:`image_record` and :func:`annotation_record`; ids are 1..n.
    labels : iterable of str
        Classes in use.
    """
    used = set(labels)
    known = LABELS[: 2 if LABELS[1] in used else 1]
    categories = (_json({"id": i, "name": name}) for i, name in enumerate(known, 1))
    parts = {"images": images, "annotations": annotations, "categories": categories}
    start = "{"
    for key, lines in parts.items():
        yield f'{start}"{key}": ['
        separator = "\n"
        for line in lines:
            yield separator + line
            separator = ",\n"
        yield "\n]"
        start = ",\n"
    yield "}\n"


def image_record(
    number: int, file_name: str, size: tuple[int, int], attributes: Mapping[str, Any] | None = None
) -> str:
    """One entry of ``images`` as JSON."""
    entry = {"id": number, "file_name": file_name, "width": size[0], "height": size[1]}
    return _json({**entry, "attributes": attributes} if attributes else entry)


def annotation_record(
    number: int,
    image_id: int,
    label: str,
    box: Box,
    size: tuple[int, int],
    *,
    area: float | None = None,
    shape: Shape | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> str:
    """One entry of ``annotations`` as JSON.

    Parameters
    ----------
    number, image_id : int
        Its id and its image's.
    label : str
        One of :data:`~converters.model.LABELS`.
    box : (left, top, right, bottom)
        In px of the image, inside it.
    size : (width, height)
        The image's.
    area : float, optional
        Of the true shape in px²; None: of ``shape``, or of the box.
    shape : Shape, optional
        The exact shape, which may leave the image; what is written is cut at its edges, and then
        so is the area.
    attributes : mapping, optional
        What COCO has no key for.
    """
    left, top, right, bottom = map(float, box)
    width, height = right - left, bottom - top
    outline, inner = _segmentation(shape, size) if shape else (None, None)
    if inner is None:
        inner = area if area is not None else shape.area if shape and outline else width * height
    a, b, c, d = repr(left), repr(top), repr(right), repr(bottom)
    # without an outline pycocotools makes no mask; its own loadRes gives boxes this one
    segments = _json(outline) if outline else f"[[{a}, {b}, {c}, {b}, {c}, {d}, {a}, {d}]]"
    more = f', "attributes": {_json(attributes)}' if attributes else ""
    return (
        f'{{"id": {number}, "image_id": {image_id}, "category_id": {LABELS.index(label) + 1}, '
        f'"bbox": [{a}, {b}, {width!r}, {height!r}], "area": {float(inner)!r}, "iscrowd": 0, '
        f'"segmentation": {segments}{more}}}'
    )


def _segmentation(
    shape: Shape, size: tuple[int, int]
) -> tuple[list[list[float]] | dict[str, Any] | None, float | None]:
    """A shape as COCO holds it, None where nothing of it is in the image; and its area where that
    is less than the shape's own."""
    width, height = size
    left, top, right, bottom = shape.box
    leaves = left < 0 or top < 0 or right > width or bottom > height
    if isinstance(shape, Pixels) or (isinstance(shape, Polygon) and shape.holes):
        from converters.raster import runs_of  # numpy loads when it is needed

        runs = runs_of(shape, width, height).tolist()
        if runs:
            mask = encode(runs, width, height)
            if isinstance(shape, Pixels):
                return mask, float(sum(c - b for _, b, c in runs)) if leaves else None
            return mask, _cut(shape, size).area if leaves else None
    outline = shape.outline()
    if leaves:
        outline = _cut(outline, size)
    rings = [ring for ring in outline.rings if len(ring) > 2]
    flat = [[value for point in ring for value in point] for ring in rings]
    return flat or None, outline.area if leaves and flat else None


def _cut(polygon: Polygon, size: tuple[int, int]) -> Polygon:
    """The part of a polygon in the image; rings of which nothing is left are gone."""

    def cut(rings: Sequence[Ring]) -> tuple[Ring, ...]:
        inner = (tuple(clip_ring(ring, *size)) for ring in rings)
        return tuple(ring for ring in inner if len(ring) > 2 and Polygon((ring,)).area > 0)

    return Polygon(cut(polygon.rings), cut(polygon.holes))
