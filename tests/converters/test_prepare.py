"""Selected, placed, merged, boxed and resampled, with every annotation accounted for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from converters.model import LABELS, Annotation, AnnotationSet, Drop, ImageInfo
from converters.prepare import Selection, prepare, rescale

IMAGE = ImageInfo(source="s", path=Path("s.png"), width=100, height=80, case="c", mpp=(0.25, 0.5))
BOTH = Selection(labels=LABELS)
STRICT = Selection(labels=LABELS, min_confidence=0.8)


def cell(x: float, y: float, label: str = "mitosis", **more: Any) -> Annotation:
    return Annotation(
        source="s", label=label, x=x, y=y, kind="point", file="f", where=f"{x:g},{y:g}", **more
    )


def prepared(*cells: Annotation, selection: Selection = BOTH) -> tuple[AnnotationSet, int]:
    return prepare(AnnotationSet(images=[IMAGE], annotations=list(cells)), selection)


@pytest.mark.parametrize(
    ("item", "selection", "reason"),
    [
        (cell(9, 9, "imposter"), Selection(), "label"),
        (cell(9, 9, "fat"), BOTH, "label"),
        (cell(9, 9, confidence=0.65), Selection(min_confidence=0.8), "confidence"),
        (cell(9, 9, confidence=0.8), Selection(min_confidence=0.8), None),
        (cell(9, 9), Selection(min_confidence=0.8), None),
        (cell(9, 9, "imposter", confidence=0.2), STRICT, None),
        (cell(9, 9, box=(4, 4, 14, 14), area=78.5), Selection(min_area=80), "area"),
        (cell(9, 9, box=(4, 4, 14, 14), area=80), Selection(min_area=80), None),
        (cell(9, 9), Selection(min_area=80), None),
        (cell(-3, 9), BOTH, "outside"),
        (cell(9, 83), BOTH, "outside"),
        (cell(1e308, 9), BOTH, "outside"),
        (cell(-2, 82), BOTH, None),
        (cell(-1, 9, box=(-2, 8, 0, 10), area=4), BOTH, "no_extent"),
        (cell(9, 9, box=(9, 4, 9.0009, 14), area=0.009), BOTH, "no_extent"),
        (cell(9, 9, box=(9, 4, 9.002, 14), area=0.02), BOTH, None),
    ],
)  # fmt: skip
def test_why_an_annotation_is_dropped(
    item: Annotation, selection: Selection, reason: str | None
) -> None:
    kept, _ = prepared(item, selection=selection)
    assert [drop.reason for drop in kept.dropped] == ([reason] if reason else [])
    assert len(kept.annotations) == (reason is None)


@pytest.mark.parametrize(
    ("item", "box", "clipped"),
    [
        (cell(50, 40), (18, 24, 82, 56), 0),  # 8 µm are 32 px across and 16 px down
        (cell(10, 40), (0, 24, 42, 56), 1),
        (cell(99, 81), (67, 64, 100, 80), 1),
        (cell(50, 40, box=(45, 38, 55, 42), area=30), (45, 38, 55, 42), 0),
        (cell(50, 40, box=(45, 38, 155, 42), area=30), (45, 38, 100, 42), 1),
    ],
)
def test_boxes(item: Annotation, box: tuple[float, ...], clipped: int) -> None:
    kept, count = prepared(item)
    assert (kept.annotations[0].box, count) == (box, clipped)


def test_a_fixed_box_replaces_the_shape_s() -> None:
    fixed = Selection(box="fixed", radius_um=4)
    kept, _ = prepared(cell(50, 40, box=(45, 38, 55, 42), area=30), selection=fixed)
    assert kept.annotations[0].box == (34, 32, 66, 48)


def test_a_centroid_just_outside_moves_onto_the_edge() -> None:
    kept, _ = prepared(cell(101.5, -0.5))
    assert (kept.annotations[0].x, kept.annotations[0].y) == (100, 0)


@pytest.mark.parametrize(
    ("second", "dropped"),
    [
        (cell(50.7, 40.7), ["duplicate"]),
        (cell(51.0, 40.0), ["duplicate"]),
        (cell(51.1, 40.0), []),
        (cell(50.0, 40.0, "imposter"), []),
    ],
)
def test_the_same_cell_twice(second: Annotation, dropped: list[str]) -> None:
    kept, _ = prepared(cell(50, 40), second)
    assert [drop.reason for drop in kept.dropped] == dropped
    assert kept.annotations[0].x == 50  # the first stays


cells = st.builds(
    cell,
    st.floats(-10, 110),
    st.floats(-10, 90),
    st.sampled_from(["mitosis", "imposter", "fat"]),
    confidence=st.none() | st.floats(0, 1),
)


@given(
    st.lists(cells, max_size=30),
    st.builds(
        Selection,
        labels=st.sampled_from([("mitosis",), LABELS]),
        min_confidence=st.none() | st.floats(0, 1),
        radius_um=st.floats(0.1, 20),
    ),
)
def test_read_is_kept_plus_dropped(items: list[Annotation], selection: Selection) -> None:
    before = AnnotationSet(images=[IMAGE], annotations=items, dropped=[Drop("f", "w", "r", "d")])
    kept, clipped = prepare(before, selection)
    assert kept.read == len(kept.annotations) + sum(kept.reasons().values()) == len(items) + 1
    places = Counter([item.where for item in kept.annotations] + [d.where for d in kept.dropped])
    assert places == Counter([*(item.where for item in items), "w"])
    assert 0 <= clipped <= len(kept.annotations)
    for item in kept.annotations:
        assert item.box
        left, top, right, bottom = item.box
        assert 0 <= left < right <= 100 and 0 <= top < bottom <= 80
        assert left <= item.x <= right and top <= item.y <= bottom


@given(st.floats(0, 100), st.floats(0, 80), st.floats(0.05, 3))
@example(1, 1, 0.862)  # 29 px across, and 100 * (29 / 100) is not 29
def test_resampled_coordinates_stay_on_the_image(x: float, y: float, at_mpp: float) -> None:
    kept, _ = prepared(cell(x, y), cell(100, 80, "imposter"))
    after = rescale(kept, at_mpp)
    image, (item, edge) = after.images[0], after.annotations
    assert image.mpp == (at_mpp, at_mpp)
    assert image.width == max(1, round(100 * 0.25 / at_mpp))
    assert image.height == max(1, round(80 * 0.5 / at_mpp))
    assert (item.x, item.y) == pytest.approx((x * image.width / 100, y * image.height / 80))
    assert (edge.x, edge.y) == (image.width, image.height)  # exactly: the edge is a tile's edge
    assert item.box and item.box[2] <= image.width and item.box[3] <= image.height


def test_resampling_scales_area_and_box() -> None:
    kept, _ = prepared(cell(50, 40, box=(40, 30, 60, 50), area=300))
    item = rescale(kept, 0.5).annotations[0]
    assert (item.x, item.y, item.box, item.area) == (25, 40, (20, 30, 30, 50), 150)
