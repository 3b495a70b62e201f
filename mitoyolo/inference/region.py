"""The region of a slide that counts: areas that a pathologist has drawn, with their holes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters import asap, imagescope, qupath
from converters.errors import InputError
from converters.files import read_json, read_xml
from converters.geometry import Box, clip_box, points_box
from converters.model import Annotation, AnnotationSet
from converters.mpp import Mpp
from converters.raster import Ints, runs_of
from converters.read_options import ReadOptions
from converters.reading import Reading
from converters.rings import box_corners, nested
from converters.shapes import Polygon, Ring

_CELLS = 8192
_AT_ONCE = 4_000_000  # crossings of edges and points that are held at a time


@dataclass(frozen=True, slots=True)
class Region:
    """The union of some polygons.

    Attributes
    ----------
    parts : tuple of Polygon
        Each of one ring with its own holes, in level-0 px. Where parts overlap they count once,
        and what one leaves out as a hole another may take in.
    """

    parts: tuple[Polygon, ...]

    @property
    def box(self) -> Box:
        """The smallest upright box around it, in level-0 px."""
        return points_box([point for part in self.parts for point in part.rings[0]])

    def contains(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each of (n, 2) places in level-0 px lies in it, by the even-odd rule."""
        points = np.asarray(points, float).reshape(-1, 2)
        inside = np.zeros(len(points), bool)
        for part in self.parts:
            of_part = _in_ring(part.rings[0], points)
            for hole in part.holes:
                of_part &= ~_in_ring(hole, points)
            inside |= of_part
        return inside

    def area_mm2(self, mpp: Mpp, size: tuple[int, int]) -> float:
        """mm² of the slide that it holds, each place counted once.

        The box around it is cut into 8192 x 8192 cells, and those are counted whose centres it
        holds: exact for one rectangle, and for others to about a ten-thousandth.

        Parameters
        ----------
        mpp : (float, float)
            µm per level-0 px across and down.
        size : (int, int)
            The slide's width and height in level-0 px; what lies beyond is no tissue.
        """
        box = clip_box(self.box, *size)
        left, top, right, bottom = box
        if not (left < right and top < bottom):
            return 0.0
        runs = self._runs(box, _CELLS, _CELLS)
        share = int((runs[:, 2] - runs[:, 1]).sum()) / _CELLS**2
        return share * (right - left) * mpp[0] * (bottom - top) * mpp[1] / 1e6

    def mask(self, shape: tuple[int, int], step: tuple[float, float]) -> NDArray[np.bool_]:
        """It as a picture: the pixels whose centres it holds.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns.
        step : (float, float)
            Level-0 px a pixel of the mask, across and down.
        """
        rows, columns = shape
        mask = np.zeros(shape, bool)
        box = (0.0, 0.0, columns * step[0], rows * step[1])
        for column, first, end in self._runs(box, columns, rows).tolist():
            mask[first:end, column] = True
        return mask

    def _runs(self, box: Box, columns: int, rows: int) -> Ints:
        """What it holds of a box cut into cells: column, first row and the row after the last, no
        two of them overlapping."""
        left, top, right, bottom = box
        across, down = columns / (right - left), rows / (bottom - top)
        moved = (part.mapped(across, down, -left * across, -top * down) for part in self.parts)
        runs = np.concatenate([runs_of(part, columns, rows) for part in moved])
        key = rows + 1
        at = np.concatenate([runs[:, 0] * key + runs[:, 1], runs[:, 0] * key + runs[:, 2]])
        turns = np.repeat(np.array([1, -1]), len(runs))
        order = np.argsort(at, kind="stable")  # where one begins as another ends, they are one
        at, depth = at[order], np.cumsum(turns[order])
        ends = depth == 0
        begins = np.append(True, ends[:-1])[: len(ends)]
        column, first = np.divmod(at[begins], key)
        return np.stack([column, first, at[ends] - column * key], axis=1)


def read_region(path: Path) -> Region:
    """Read a region from QuPath's GeoJSON, or ASAP's or ImageScope's XML.

    Classes and names play no part: everything drawn that encloses an area is the region. Points
    and QuPath's detections, which an export may hold too, are none of it.

    Raises
    ------
    InputError
        The file is none of these or malformed, holds a line that encloses nothing, or no area.
    """
    if path.suffix.lower() in (".geojson", ".json"):
        found = _read_geojson(path)
    elif path.suffix.lower() == ".xml":
        found = _read_xml(path)
    else:
        raise InputError(
            "not a region: expected .geojson or .json of QuPath, or .xml of ASAP or ImageScope",
            file=path,
        )
    for drop in found.dropped:
        raise InputError(
            f"encloses no area ({drop.detail})",
            file=path,
            where=drop.where,
            fix="a region is drawn as closed outlines: close this one, or leave it out",
        )
    region = Region(tuple(part for item in found.annotations for part in _parts(item)))
    if not region.parts:
        points = len(found.annotations)
        held = f", only {points} points" if points else ""
        raise InputError(
            f"no area in this file{held}",
            file=path,
            fix="draw the region as a polygon, rectangle or ellipse",
        )
    return region


def _parts(item: Annotation) -> Iterator[Polygon]:
    """An annotation's rings, each with its holes; none of a point."""
    if item.shape is not None:
        outline = item.shape.outline()
    elif item.box is not None:
        outline = Polygon((box_corners(item.box),))
    else:
        return
    yield from (Polygon((ring,), tuple(holes)) for ring, holes in nested(outline))


def _read_geojson(path: Path) -> AnnotationSet:
    reading = Reading(path, ReadOptions(annotations_only=True))
    file = str(path)
    source = reading.image(path.stem, file=path)
    for where, value in qupath.features_of(read_json(path), file):
        if isinstance(value, dict):
            if qupath.object_type(value).replace("_", "").lower() in _NO_REGION:
                continue
            # what lies in a region is no matter here, nor is its class
            value = {key: value[key] for key in ("type", "geometry") if key in value}
        qupath.add_feature(value, reading, source=source, file=file, where=where)
    return reading.finish(None)


_NO_REGION = {
    "detection", "cell", "tile", "root",
    "pathdetectionobject", "pathcellobject", "pathtileobject", "pathrootobject",
}  # fmt: skip
"""QuPath's objects that nobody has drawn, as it writes them since 0.3 and before."""


def _read_xml(path: Path) -> AnnotationSet:
    tag = read_xml(path).tag
    if tag not in _XML:
        raise InputError(
            f"the root element is <{tag:.40}>, expected <{'> or <'.join(_XML)}>",
            file=path,
            fix="export the region from ASAP or ImageScope, or from QuPath as GeoJSON",
        )
    return _XML[tag](path, ReadOptions(annotations_only=True))


_XML: dict[str, Callable[[Path, ReadOptions], AnnotationSet]] = {
    "ASAP_Annotations": asap.read,
    "Annotations": imagescope.read,
}
"""Root element -> who reads it."""


def _in_ring(ring: Ring, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether an odd number of a ring's edges passes above each point.

    Each edge is compared with the points between its ends alone, found by their sorted x, which
    is quick for slides' thousands of points and vertices.
    """
    order = np.argsort(points[:, 0], kind="stable")
    x, y = points[order].T
    a = np.array(ring, float)
    b = np.roll(a, -1, axis=0)
    first = np.searchsorted(x, np.minimum(a[:, 0], b[:, 0]))
    counts = np.searchsorted(x, np.maximum(a[:, 0], b[:, 0])) - first
    above = np.zeros(len(points), np.int64)
    for edges in np.array_split(np.arange(len(a)), math.ceil(counts.sum() / _AT_ONCE) or 1):
        edge = np.repeat(edges, counts[edges])
        before = np.cumsum(counts[edges]) - counts[edges]
        at = np.arange(len(edge)) + np.repeat(first[edges] - before, counts[edges])
        (ax, ay), (bx, by) = a[edge].T, b[edge].T
        level = ay + (x[at] - ax) / (bx - ax) * (by - ay)
        above += np.bincount(at[level < y[at]], minlength=len(points))
    inside = np.empty(len(points), bool)
    inside[order] = above % 2 == 1
    return inside
