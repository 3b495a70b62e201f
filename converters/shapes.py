"""The shapes that annotation tools draw, exact: box, area, centroid, outline, pixels.

A shape is an :class:`Ellipse`, a :class:`Polygon` or a set of :class:`Pixels`; each has
``box``, ``area`` (px²), ``centroid``, ``outline()`` as a polygon, and ``mapped()`` and
``transposed()``, the same shape in another pixel grid.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise

from converters.geometry import Box, Point, ellipse_box, points_box, polygon_area_centroid

Ring = tuple[Point, ...]
"""A closed line; the last point is joined to the first and does not repeat it."""

_ARC = 16  # points on a quarter of an ellipse's outline: its area is then true to 1 %


@dataclass(frozen=True, slots=True)
class Ellipse:
    """An ellipse with FULL axes ``width`` and ``height`` in px, turned by ``rotation`` radians.

    ``x' = x cos - y sin``, ``y' = x sin + y cos`` about the centre (x, y), y down.
    """

    x: float
    y: float
    width: float
    height: float
    rotation: float = 0.0

    @property
    def box(self) -> Box:
        """The smallest upright box around it, see :func:`~converters.geometry.ellipse_box`."""
        return ellipse_box((self.x, self.y), self.width, self.height, self.rotation)

    @property
    def area(self) -> float:
        """px²."""
        return math.pi * self.width * self.height / 4

    @property
    def centroid(self) -> Point:
        """The centre."""
        return (self.x, self.y)

    def outline(self) -> Polygon:
        """A polygon whose points lie on the ellipse, the four extremes of its box among them, so
        that box and centroid stay exact; the area is up to 1 % less."""
        a, b = self.width / 2, self.height / 2
        cos, sin = math.cos(self.rotation), math.sin(self.rotation)
        # the parameter at which x, and y, is largest; the opposite extremes are half a turn away
        across, down = math.atan2(-b * sin, a * cos), math.atan2(b * cos, a * sin)
        down += 2 * math.pi * (down < across)
        stops = [across, down, across + math.pi, down + math.pi, across + 2 * math.pi]
        if down - across > math.pi:
            stops = [down - 2 * math.pi, across, down - math.pi, across + math.pi, down]
        ring: list[Point] = []
        for start, end in pairwise(stops):
            for i in range(_ARC):
                t = start + (end - start) * i / _ARC
                p, q = a * math.cos(t), b * math.sin(t)
                ring.append((self.x + p * cos - q * sin, self.y + p * sin + q * cos))
        return Polygon((tuple(ring),))

    def mapped(self, sx: float, sy: float, dx: float = 0.0, dy: float = 0.0) -> Ellipse:
        """Every point (x, y) at (sx·x + dx, sy·y + dy): an ellipse again, whatever the scales."""
        x, y = sx * self.x + dx, sy * self.y + dy
        if sx == sy:  # both negative is half a turn, which an ellipse does not show
            width, height = self.width * abs(sx), self.height * abs(sx)
            return replace(self, x=x, y=y, width=width, height=height)
        a, b = self.width / 2, self.height / 2
        cos, sin = math.cos(self.rotation), math.sin(self.rotation)
        # the half axes as vectors; the new axes are the eigenvectors of the sum of their squares
        p, q, r, s = sx * a * cos, sy * a * sin, -sx * b * sin, sy * b * cos
        xx, yy, xy = p * p + r * r, q * q + s * s, p * q + r * s
        middle, half = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
        turn = math.atan2(2 * xy, xx - yy) / 2
        small = abs(p * s - q * r) / math.sqrt(middle + half)  # by the area: no cancellation
        return Ellipse(x, y, 2 * math.sqrt(middle + half), 2 * small, turn)

    def transposed(self) -> Ellipse:
        """x and y exchanged."""
        return Ellipse(self.y, self.x, self.width, self.height, math.pi / 2 - self.rotation)


@dataclass(frozen=True, slots=True)
class Polygon:
    """One or more closed rings, and the holes in them, in px."""

    rings: tuple[Ring, ...]
    holes: tuple[Ring, ...] = ()

    @property
    def box(self) -> Box:
        """The smallest upright box around the rings."""
        return points_box([point for ring in self.rings for point in ring])

    @property
    def is_line(self) -> bool:
        """Whether all points lie on one line, or are one: nobody drew around anything."""
        (x, y), *others = [point for ring in self.rings for point in ring]
        across, down = max(
            ((p - x, q - y) for p, q in others), key=lambda d: math.hypot(*d), default=(0, 0)
        )
        least = 1e-9 * (across**2 + down**2)
        return all(abs(across * (q - y) - down * (p - x)) <= least for p, q in others)

    @property
    def area(self) -> float:
        """px², the holes taken away."""
        return max(sum(weight for weight, _ in self._weighted()), 0.0)

    @property
    def centroid(self) -> Point:
        """Centre of mass; of polygons without area, the mean of the rings' own."""
        parts = self._weighted()
        total = sum(weight for weight, _ in parts)
        left, top, right, bottom = self.box
        if total > 1e-9 * (right - left) * (bottom - top):
            x = sum(weight * point[0] for weight, point in parts) / total
            y = sum(weight * point[1] for weight, point in parts) / total
            if left <= x <= right and top <= y <= bottom:
                return (x, y)
        points = [point for _, point in parts[: len(self.rings)]]
        return (sum(p[0] for p in points) / len(points), sum(p[1] for p in points) / len(points))

    def _weighted(self) -> list[tuple[float, Point]]:
        return [
            *(polygon_area_centroid(ring) for ring in self.rings),
            *((-area, point) for area, point in map(polygon_area_centroid, self.holes)),
        ]

    def outline(self) -> Polygon:
        """Itself."""
        return self

    def mapped(self, sx: float, sy: float, dx: float = 0.0, dy: float = 0.0) -> Polygon:
        """Every point (x, y) at (sx·x + dx, sy·y + dy)."""

        def move(rings: tuple[Ring, ...]) -> tuple[Ring, ...]:
            return tuple(tuple((sx * x + dx, sy * y + dy) for x, y in ring) for ring in rings)

        return Polygon(move(self.rings), move(self.holes))

    def transposed(self) -> Polygon:
        """x and y exchanged."""

        def turn(rings: tuple[Ring, ...]) -> tuple[Ring, ...]:
            return tuple(tuple((y, x) for x, y in ring) for ring in rings)

        return Polygon(turn(self.rings), turn(self.holes))


@dataclass(frozen=True, slots=True)
class Pixels:
    """A set of whole pixels by index (column, row): pixel i covers i to i + 1."""

    indices: frozenset[tuple[int, int]]

    @property
    def box(self) -> Box:
        """From the least index to the greatest and its pixel's far side."""
        left, top, right, bottom = points_box(list(self.indices))
        return (left, top, right + 1, bottom + 1)

    @property
    def area(self) -> float:
        """Number of pixels."""
        return float(len(self.indices))

    @property
    def centroid(self) -> Point:
        """The mean index, plus half a pixel."""
        n = len(self.indices)
        x, y = (sum(index[axis] for index in self.indices) for axis in (0, 1))
        return (x / n + 0.5, y / n + 0.5)

    def outline(self) -> Polygon:
        """The edges between pixels inside and outside, as rings and holes: the same area."""
        following: dict[Point, list[Point]] = defaultdict(list)
        for x, y in sorted(self.indices):
            for dx, dy, start, end in _SIDES:
                if (x + dx, y + dy) not in self.indices:
                    following[x + start[0], y + start[1]].append((x + end[0], y + end[1]))
        rings: list[Ring] = []
        holes: list[Ring] = []
        while following:
            ring = _walk(following)
            twice = sum(
                a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, ring[1:] + ring[:1], strict=True)
            )
            (rings if twice > 0 else holes).append(_corners(ring))
        return Polygon(tuple(rings), tuple(holes))

    def mapped(self, sx: float, sy: float, dx: float = 0.0, dy: float = 0.0) -> Pixels | Polygon:
        """Moved by whole pixels or mirrored they stay pixels; else they become their outline."""
        if abs(sx) == abs(sy) == 1 and dx == int(dx) and dy == int(dy):
            # a mirrored pixel's index is that of its former far side
            across, down = int(dx) - (sx < 0), int(dy) - (sy < 0)
            i, j = int(sx), int(sy)
            return Pixels(frozenset((i * x + across, j * y + down) for x, y in self.indices))
        return self.outline().mapped(sx, sy, dx, dy)

    def transposed(self) -> Pixels:
        """x and y exchanged."""
        return Pixels(frozenset((y, x) for x, y in self.indices))


Shape = Ellipse | Polygon | Pixels

# a pixel's sides, clockwise on the screen: the neighbour beyond, and the corners from and to
_SIDES = (
    (0, -1, (0, 0), (1, 0)),
    (1, 0, (1, 0), (1, 1)),
    (0, 1, (1, 1), (0, 1)),
    (-1, 0, (0, 1), (0, 0)),
)


def _walk(following: dict[Point, list[Point]]) -> list[Point]:
    """Take one closed walk out of the directed edges; where two pixels touch at a corner, it
    keeps to its own pixel."""
    first = here = next(iter(following))
    came: Point = (0, 0)
    ring = []
    while True:
        ring.append(here)
        ways = following[here]
        # a right turn first, so that pixels that share only a corner are rings of their own
        right = (here[0] - came[1], here[1] + came[0])
        there = right if right in ways else ways[0]
        ways.remove(there)
        if not ways:
            del following[here]
        came = (there[0] - here[0], there[1] - here[1])
        here = there
        if here == first:
            return ring


def _corners(ring: list[Point]) -> Ring:
    """``ring`` without the points on straight lines."""
    return tuple(
        b
        for a, b, c in zip([ring[-1], *ring], ring, [*ring[1:], ring[0]], strict=False)
        if (b[0] - a[0], b[1] - a[1]) != (c[0] - b[0], c[1] - b[1])
    )
