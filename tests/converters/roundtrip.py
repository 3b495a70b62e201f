"""Annotations of every shape, and what must stay the same when they are written and read."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.model import Annotation, AnnotationSet, ImageInfo
from converters.read_options import ReadOptions
from converters.registry import Reader, Writer
from converters.shapes import Ellipse, Pixels, Polygon, Shape

_PLACE = st.floats(0, 100_000).map(lambda value: round(value, 3))
_LENGTH = st.floats(0.5, 200).map(lambda value: round(value, 3))


def marked(*items: Annotation) -> AnnotationSet:
    """The annotations on the image `s`."""
    image = ImageInfo(source="s", path=None, width=0, height=0, case="s")
    return AnnotationSet(images=[image], annotations=list(items))


@st.composite
def _polygons(draw: st.DrawFn) -> Polygon:
    """Stars with a hole each, side by side."""
    x, y, n = draw(_PLACE), draw(_PLACE), draw(st.integers(3, 9))
    rings, holes = [], []
    for i in range(draw(st.integers(1, 3))):
        radii = [draw(st.floats(4, 9)) for _ in range(n)]
        turns = [2 * math.pi * (k + draw(st.floats(0, 0.5))) / n for k in range(n)]
        middle = x + 20 * i
        rings.append(
            tuple(
                (middle + r * math.cos(t), y + r * math.sin(t))
                for r, t in zip(radii, turns, strict=True)
            )
        )
        if draw(st.booleans()) and n > 4:
            holes.append(tuple((middle + math.cos(t), y + math.sin(t)) for t in turns))
    return Polygon(tuple(rings), tuple(holes))


_SHAPES: st.SearchStrategy[tuple[str, Shape | None]] = st.one_of(
    st.tuples(
        st.just("ellipse"), st.builds(Ellipse, _PLACE, _PLACE, _LENGTH, _LENGTH, st.just(0.0))
    ),
    st.tuples(
        st.just("ellipse"),
        st.builds(Ellipse, _PLACE, _PLACE, _LENGTH, _LENGTH, st.floats(-7, 7)),
    ),
    st.tuples(st.just("polygon"), _polygons()),
    st.tuples(
        st.just("pixels"),
        st.frozensets(st.tuples(st.integers(5, 9), st.integers(5, 9)), min_size=1).map(Pixels),
    ),
    st.tuples(st.just("box"), st.none()),
    st.tuples(st.just("point"), st.none()),
)


@st.composite
def _items(draw: st.DrawFn) -> Annotation:
    kind, shape = draw(_SHAPES)
    if shape:
        (x, y), box = shape.centroid, shape.box
    else:
        x, y, width, height = draw(_PLACE), draw(_PLACE), draw(_LENGTH), draw(_LENGTH)
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    confidence = draw(st.none() | st.floats(0, 1))
    label = draw(st.sampled_from(["mitosis", "imposter"]))
    return Annotation(
        source="s", label=label, x=x, y=y, kind=kind, box=box, shape=shape,
        confidence=confidence, file="f", where="w",
    )  # fmt: skip


annotation_sets: Callable[..., Any] = given(
    st.lists(_items(), max_size=4).map(lambda items: marked(*items))
)
"""Decorator of a test that takes a set of annotations."""


def check_round_trip(
    found: AnnotationSet, write: Writer, read: Reader, *, turned_ellipses: bool
) -> None:
    """Write, read, and compare: class, confidence, centroid and box of every annotation, the
    parameters of ellipses (turned ones only where the format has them), points of polygons."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in write(found, lambda line: None):
            Path(folder, name).write_text(text)
        back = read(Path(folder), ReadOptions(annotations_only=True))
    assert [image.source for image in back.images] == ["s"]
    assert not back.dropped
    assert len(back.annotations) == len(found.annotations)
    for before, after in zip(found.annotations, back.annotations, strict=True):
        assert (after.label, after.confidence) == (before.label, before.confidence)
        assert (after.x, after.y) == pytest.approx((before.x, before.y), abs=1e-6)
        if before.kind == "point":
            assert (after.kind, after.box, after.shape) == ("point", None, None)
            continue
        assert before.box is not None
        assert after.box == pytest.approx(before.box, abs=1e-6)
        if before.shape:
            _same(before.shape, after, turned_ellipses)


def _same(shape: Shape, after: Annotation, turned_ellipses: bool) -> None:
    if isinstance(shape, Ellipse) and (turned_ellipses or not shape.rotation):
        assert isinstance(after.shape, Ellipse)
        assert after.shape.width == pytest.approx(shape.width, abs=1e-6)
        assert after.shape.height == pytest.approx(shape.height, abs=1e-6)
        assert after.shape.rotation == shape.rotation
    elif isinstance(shape, Polygon):
        assert isinstance(after.shape, Polygon)
        assert sorted(after.shape.rings) == sorted(shape.rings)
        assert sorted(after.shape.holes) == sorted(shape.holes)
    else:
        written = shape if isinstance(after.shape, Ellipse) else shape.outline()
        assert after.area == pytest.approx(written.area, abs=1e-6)
