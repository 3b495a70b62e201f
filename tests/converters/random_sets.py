"""Sets as writers get them: every box inside its image, shapes whole, some over the edge."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from converters.files import write_text
from converters.geometry import Box, clip_box
from converters.model import LABELS, Annotation, AnnotationSet, ImageInfo
from converters.read_options import ReadOptions
from converters.registry import Reader, Writer
from converters.shapes import Ellipse, Pixels, Polygon, Shape

_names = st.text(alphabet="abcXYZ019-µ", min_size=1, max_size=6)
_length = st.floats(1, 40)
_share = st.floats(0, 1)


def say(line: str) -> None:
    """A note to nobody."""


@st.composite
def _shape(draw: st.DrawFn, x: float, y: float) -> tuple[str, Shape]:
    kind = draw(st.sampled_from(["ellipse", "circle", "polygon", "pixels"]))
    if kind in ("ellipse", "circle"):
        width, turn = draw(_length), draw(st.floats(-4, 4))
        height = draw(_length) if kind == "ellipse" else width
        return kind, Ellipse(x, y, width, height, turn)
    if kind == "pixels":
        inner = draw(st.frozensets(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1))
        return kind, Pixels(frozenset((int(x) + a, int(y) + b) for a, b in inner))
    w, h = draw(_length), draw(_length)
    ring = ((x - w, y - h), (x + w, y - h / 2), (x + w / 3, y + h))
    hole = ((x - w / 9, y - h / 9), (x + w / 9, y - h / 9), (x, y + h / 9))
    return kind, Polygon((ring,), (hole,) if draw(st.booleans()) else ())


@st.composite
def _item(draw: st.DrawFn, image: ImageInfo) -> Annotation | None:
    x, y = draw(_share) * image.width, draw(_share) * image.height
    kind: str = draw(st.sampled_from(["box", "point", "shape"]))
    shape, area = None, None
    if kind == "shape":
        kind, shape = draw(_shape(x, y))
        (x, y), whole, area = shape.centroid, shape.box, shape.area
    else:
        w, h = draw(_length), draw(_length)
        whole = (x - w, y - h, x + w, y + h)
        area = 4 * w * h if kind == "box" else None
    box: Box = clip_box(whole, image.width, image.height)
    if kind == "box" and draw(st.booleans()):  # some have their centroid in the middle
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    if box[2] - box[0] < 0.1 or box[3] - box[1] < 0.1:
        return None
    return Annotation(
        source=image.source, label=draw(st.sampled_from(LABELS)),
        x=min(max(x, 0), image.width), y=min(max(y, 0), image.height), kind=kind, box=box,
        shape=shape, area=area, confidence=draw(st.none() | _share), file="f", where="w",
    )  # fmt: skip


@st.composite
def _set(draw: st.DrawFn) -> AnnotationSet:
    images = [
        ImageInfo(
            source=name, path=None, width=draw(st.integers(1, 200)),
            height=draw(st.integers(1, 200)), case=draw(st.just(name) | _names),
            mpp=draw(st.none() | st.just((0.25, 0.2273))),
            scanner=draw(st.sampled_from(["", "Aperio, CS2"])),
        )
        for name in sorted(draw(st.sets(_names, min_size=1, max_size=4)))
    ]  # fmt: skip
    items = [
        item
        for image in images
        for item in draw(st.lists(_item(image), max_size=4))
        if item is not None
    ]
    return AnnotationSet(images=images, annotations=items)


prepared_sets: st.SearchStrategy[AnnotationSet] = _set()


def written_and_read(
    found: AnnotationSet, write: Writer, read: Reader, **options: Any
) -> AnnotationSet:
    """The set that comes back from the files of ``write``; nothing may be dropped on the way."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in write(found, say):
            path = Path(folder, name)
            write_text(path, text)
        back = read(Path(folder), ReadOptions(**{"annotations_only": True, **options}))
    assert not back.dropped and not back.left_out
    return back
