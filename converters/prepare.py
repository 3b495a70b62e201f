"""From what was read to what is written: selected, placed, merged and boxed, all accounted for.

Each step takes an :class:`~converters.model.AnnotationSet` and returns a new one with the same
``read``: what it takes out, it adds to ``dropped`` with a reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from converters.geometry import clip_box, square_um
from converters.model import Annotation, AnnotationSet, Drop, ImageInfo
from converters.mpp import needed_mpp, size_at

BOXES = ("ellipse", "fixed")

BORDER_PX = 2.0
"""A centroid this far past the image's edge is a rounding of the tool and is moved onto it."""

DUPLICATE_PX = 1.0
"""Two centroids of one class this close are one cell, annotated twice."""

LEAST_PX = 1e-3
"""Sides of a box under this are none: a label file could not tell them from 0."""

SAME_UM = 8.0
"""So are two on different tiles of a slide this close, if the first tile shows the second's place:
the radius within which the field counts a detection as the same mitosis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What to keep and how to box it.

    Attributes
    ----------
    labels : sequence of str
        Classes asked for.
    min_confidence : float or None
        Least confidence of a mitosis, where the file gives one; a look-alike's says how little
        it was taken for a mitosis and is not compared.
    min_area : float or None
        Least area of the true shape in px²; points have none and pass.
    box : {"ellipse", "fixed"}
        The shape's exact box, or the square of half-side ``radius_um`` for every annotation.
        Points always become the square.
    radius_um : float
        Half-side of that square in µm.
    """

    labels: Sequence[str] = ("mitosis",)
    min_confidence: float | None = None
    min_area: float | None = None
    box: str = "ellipse"
    radius_um: float = 8.0


def prepare(found: AnnotationSet, selection: Selection) -> tuple[AnnotationSet, int]:
    """Apply a selection to what a reader found.

    Parameters
    ----------
    found : AnnotationSet
        With µm/px known for every image that has a point, or for all where ``selection.box`` is
        `fixed`.
    selection : Selection

    Returns
    -------
    AnnotationSet
        Every annotation with a box inside its image.
    int
        How many boxes were clipped at an image's edge.

    Raises
    ------
    MissingMppError
        A point becomes a square of µm on an image of unknown µm/px.
    """
    images = {image.source: image for image in found.images}
    kept = _filter(found, _selects(selection))
    kept = _place(kept, images)
    kept = _merge_duplicates(kept, images)
    return _box(kept, images, selection)


_Verdict = Callable[[Annotation], tuple[str, str] | None]


def _filter(found: AnnotationSet, verdict: _Verdict) -> AnnotationSet:
    """Drop each annotation for which ``verdict`` gives a reason and a detail."""
    kept, dropped = [], list(found.dropped)
    for item in found.annotations:
        if reason := verdict(item):
            dropped.append(Drop(item.file, item.where, *reason))
        else:
            kept.append(item)
    return replace(found, annotations=kept, dropped=dropped)


def _selects(selection: Selection) -> _Verdict:
    def verdict(item: Annotation) -> tuple[str, str] | None:
        if item.label not in selection.labels:
            return "label", f"class {item.label:.60}, asked for {', '.join(selection.labels)}"
        if (
            selection.min_confidence is not None
            and item.label == "mitosis"
            and item.confidence is not None
            and item.confidence < selection.min_confidence
        ):
            return "confidence", f"{item.confidence:g} is under {selection.min_confidence:g}"
        if (
            selection.min_area is not None
            and item.area is not None
            and item.area < selection.min_area
        ):
            return "area", f"{item.area:.1f} px² is under {selection.min_area:g}"
        return None

    return verdict


def _place(found: AnnotationSet, images: dict[str, ImageInfo]) -> AnnotationSet:
    """Move centroids within :data:`BORDER_PX` of the image onto it; drop those further out."""

    def outside(item: Annotation) -> tuple[str, str] | None:
        image = images[item.source]
        if image.size is None:
            return None
        x, y = _clamp(item, image)
        if max(abs(x - item.x), abs(y - item.y)) <= BORDER_PX:
            return None
        size = f"{image.width} x {image.height}"
        return "outside", f"centroid ({item.x:g}, {item.y:g}) is outside the image of {size} px"

    placed = _filter(found, outside)
    moved = []
    for item in placed.annotations:
        image = images[item.source]
        x, y = _clamp(item, image) if image.size else (item.x, item.y)
        moved.append(item if (x, y) == (item.x, item.y) else replace(item, x=x, y=y))
    return replace(placed, annotations=moved)


def _clamp(item: Annotation, image: ImageInfo) -> tuple[float, float]:
    return (min(max(item.x, 0.0), image.width), min(max(item.y, 0.0), image.height))


_AROUND = [(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]


def _merge_duplicates(found: AnnotationSet, images: dict[str, ImageInfo]) -> AnnotationSet:
    """Keep the first of those within :data:`DUPLICATE_PX` of each other on one source, or within
    :data:`SAME_UM` where tiles overlap."""
    kept_at: dict[tuple[str, str], dict[tuple[int, int], list[Annotation]]] = defaultdict(dict)
    reach = {
        image.source: max(DUPLICATE_PX, SAME_UM / min(needed_mpp(image)))
        if image.parts
        else DUPLICATE_PX
        for image in images.values()
    }

    def twice(item: Annotation) -> tuple[str, str] | None:
        here, step = kept_at[item.source, item.label], reach[item.source]
        column, row = int(item.x // step), int(item.y // step)
        for dx, dy in _AROUND:
            for other in here.get((column + dx, row + dy), ()):
                if _are_one(item, other, images[item.source]):
                    return "duplicate", f"the same cell as {Path(other.file).name}, {other.where}"
        here.setdefault((column, row), []).append(item)
        return None

    return _filter(found, twice)


def _are_one(item: Annotation, before: Annotation, image: ImageInfo) -> bool:
    across, down = item.x - before.x, item.y - before.y
    if across**2 + down**2 <= DUPLICATE_PX**2:
        return True
    if item.part == before.part or not (before.part and before.part.holds(item.x, item.y)):
        return False
    mpp_x, mpp_y = needed_mpp(image)
    return (across * mpp_x) ** 2 + (down * mpp_y) ** 2 <= SAME_UM**2


def _box(
    found: AnnotationSet, images: dict[str, ImageInfo], selection: Selection
) -> tuple[AnnotationSet, int]:
    """Give every annotation its box inside the image."""
    boxed: list[Annotation] = []
    dropped, clipped = list(found.dropped), 0
    for item in found.annotations:
        image = images[item.source]
        if item.box is None or selection.box == "fixed":
            mpp = needed_mpp(image)
            whole, shape = square_um((item.x, item.y), selection.radius_um, mpp), None
        else:
            whole, shape = item.box, item.shape
        inside = clip_box(whole, image.width, image.height) if image.size else whole
        if min(inside[2] - inside[0], inside[3] - inside[1]) < LEAST_PX:
            dropped.append(Drop(item.file, item.where, "no_extent", "no box inside the image"))
            continue
        clipped += inside != whole
        same = inside == item.box and shape is item.shape
        boxed.append(item if same else replace(item, box=inside, shape=shape))
    return replace(found, annotations=boxed, dropped=dropped), clipped


def rescale(found: AnnotationSet, at_mpp: float) -> AnnotationSet:
    """Bring images and annotations to ``at_mpp`` µm/px on both axes.

    The new size is rounded to whole pixels, and coordinates are scaled by the size ratio that
    results, so that they stay exactly on the resampled pixels. It comes after :func:`prepare`,
    whose thresholds are in the pixels of the files.
    """
    new: dict[str, ImageInfo] = {}
    for image in found.images:
        mpp = needed_mpp(image)
        if image.size is None:
            raise ValueError(f"{image.source} has no size")
        at = (at_mpp, at_mpp)
        width, height = size_at(image.size, mpp, at)
        new[image.source] = replace(image, width=width, height=height, mpp=at)
    return resized(found, new)


def resized(found: AnnotationSet, new: dict[str, ImageInfo]) -> AnnotationSet:
    """The set with each image as ``new`` has it, by source, and its annotations scaled by the ratio
    of the sizes."""
    old = {image.source: image for image in found.images}

    def moved(item: Annotation) -> Annotation:
        before, after = old[item.source], new[item.source]
        if before.size == after.size:
            return item

        def across(x: float) -> float:  # product first: the old edge lands on the new one exactly
            return x * after.width / before.width

        def down(y: float) -> float:
            return y * after.height / before.height

        left, top, right, bottom = item.box or (item.x, item.y, item.x, item.y)
        return replace(
            item,
            x=across(item.x),
            y=down(item.y),
            box=item.box and (across(left), down(top), across(right), down(bottom)),
            area=None if item.area is None else down(across(item.area)),
            shape=item.shape
            and item.shape.mapped(after.width / before.width, after.height / before.height),
        )

    return replace(
        found,
        images=list(new.values()),
        annotations=[moved(item) for item in found.annotations],
    )
