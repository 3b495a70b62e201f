"""What a search of a slide has found, and what its readers make of it.

A mark within :data:`~mitoyolo.inference.merge.MERGE_UM` of a detection is of the same cell: the
detection is taken, whether the mark was drawn by hand, or taken from this search or another.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from converters.files import read_csv, read_json
from converters.mpp import size_at
from mitoyolo.inference.hotspot import reach_um
from mitoyolo.inference.merge import MERGE_UM
from mitoyolo.inference.tables import DETECTION_COLUMNS, DETECTIONS
from mitoyolo.web import batches, jobs
from mitoyolo.web.access import ApiError
from mitoyolo.web.annotations import Conflict, current, newest, save
from mitoyolo.web.elements import MOST, label_of
from mitoyolo.web.models import Assignment, Job, JobState, Revision, Role, Slide, Tile, User
from mitoyolo.web.settings import Settings
from mitoyolo.web.slides import tile_mpp


class Found(NamedTuple):
    """A row of ``detections.csv``, in level-0 pixels; rows are numbered from 0."""

    number: int
    x: float
    y: float
    width: float
    height: float
    score: float
    label: str


def latest_search(db: Session, slide: Slide) -> Job | None:
    """The newest search of a slide that is done."""
    return db.scalar(
        select(Job)
        .where(Job.slide_id == slide.id, Job.kind == "detect", Job.state == JobState.DONE)
        .order_by(Job.id.desc())
        .limit(1)
    )


def search(db: Session, slide: Slide, number: int | None) -> Job:
    """A search of a slide that is done; None for the newest.

    Raises
    ------
    ApiError
        404: there is none such.
    """
    job = db.get(Job, number) if number else latest_search(db, slide)
    if job is None or (job.slide_id, job.kind, job.state) != (slide.id, "detect", JobState.DONE):
        raise ApiError(404, f"{slide.name} has no such search; see its detections")
    return job


def results_folder(settings: Settings, slide: Slide, job: Job) -> Path:
    """Where ``mitoyolo detect`` has written a search's results."""
    return jobs.folder_of(settings, job) / "out" / Path(slide.file or "").stem


def summary(settings: Settings, slide: Slide, job: Job) -> dict[str, Any]:
    """``summary.json`` of a search, its hotspots with their reach: px from the centre to the edge
    across and down, of a circle or an upright square."""
    from mitoyolo.detect import INDEX  # which takes half a second

    found: dict[str, Any] = read_json(results_folder(settings, slide, job) / INDEX)
    for shape, spot in found["hotspot"].items():
        if spot:
            reach = reach_um(shape, found["hotspot_mm2"])
            spot["reach"] = [reach / um for um in found["mpp"]]
    return found


def rows(settings: Settings, slide: Slide, job: Job) -> tuple[Found, ...]:
    """All detections of a search, the highest score first."""
    return _rows(results_folder(settings, slide, job) / DETECTIONS)


@lru_cache(maxsize=4)
def _rows(path: Path) -> tuple[Found, ...]:
    """The results of a search that is done never change."""
    return tuple(
        Found(
            i,
            float(row["x"]),
            float(row["y"]),
            float(row["width"]),
            float(row["height"]),
            float(row["score"]),
            row["label"],
        )
        for i, row in enumerate(read_csv(path, DETECTION_COLUMNS))
    )


@dataclass(frozen=True, slots=True)
class Grid:
    """The tiles of a slide that a user may mark, by their places.

    Attributes
    ----------
    tiles : mapping
        Column and row -> tile.
    size : (int, int)
        px of a tile, across and down.
    scale : (float, float)
        px of the tiles per pixel of level 0.
    """

    tiles: Mapping[tuple[int, int], Tile]
    size: tuple[int, int]
    scale: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[Tile, float, float] | None:
        """The tile under a place in level-0 pixels, and the place in its pixels.

        The last column and row are shifted back over those before them, whose tiles come first.
        """
        x, y = x * self.scale[0], y * self.scale[1]
        column, row = int(x // self.size[0]), int(y // self.size[1])
        # one further: shifted. One before: at the slide's very edge
        for place in ((column + i, row + j) for j in (0, 1, -1) for i in (0, 1, -1)):
            if tile := self.tiles.get(place):
                assert tile.left is not None
                assert tile.top is not None
                inside = (x - tile.left, y - tile.top)
                if 0 <= inside[0] <= tile.width and 0 <= inside[1] <= tile.height:
                    return tile, *inside
        return None


def grid_for(db: Session, user: User, slide: Slide) -> Grid | None:
    """The tiles of a slide that are a user's to mark; None where none are, or none were cut.

    Tile pixels are level-0 pixels times the quotient of whole sizes, as ``mitoyolo tile`` takes it.
    """
    if not (slide.width and slide.height and slide.mpp_x and slide.mpp_y and slide.tile_mpp_x):
        return None
    query = select(Tile).where(Tile.slide_id == slide.id, Tile.left.is_not(None))
    if user.role != Role.ADMIN:
        theirs = select(Assignment.batch_id).where(Assignment.user_id == user.id)
        query = query.where(Tile.batch_id.in_(theirs))
    tiles = {(tile.column, tile.row): tile for tile in db.scalars(query)}
    if not tiles:
        return None
    width, height = size_at(
        (slide.width, slide.height), (slide.mpp_x, slide.mpp_y), tile_mpp(slide)
    )
    return Grid(
        tiles,
        size=(max(t.width for t in tiles.values()), max(t.height for t in tiles.values())),
        scale=(width / slide.width, height / slide.height),
    )


def nearest(
    elements: Sequence[Mapping[str, Any]], x: float, y: float, mpp: tuple[float, float]
) -> int | None:
    """Number of the element nearest to a place, if it marks the same cell; all in pixels of the
    tile, of ``mpp`` µm."""
    away = [
        math.hypot((item["center"][0] - x) * mpp[0], (item["center"][1] - y) * mpp[1])
        for item in elements
    ]
    best = min(range(len(away)), key=away.__getitem__, default=None)
    return best if best is not None and away[best] <= MERGE_UM else None


class Placed(NamedTuple):
    """A detection, the tile under it, and what the reader has made of it."""

    found: Found
    tile_id: int | None
    taken: str | None


def placed(db: Session, user: User, slide: Slide, found: Iterable[Found]) -> list[Placed]:
    """Where detections lie on the tiles of a user, and what the user has marked there."""
    grid = grid_for(db, user, slide)
    if grid is None:
        return [Placed(item, None, None) for item in found]
    marks = {
        revision.tile_id: revision.elements
        for revision in db.scalars(newest(Tile.slide_id == slide.id, Revision.reader_id == user.id))
    }
    mpp = tile_mpp(slide)
    result = []
    for item in found:
        place = grid.at(item.x, item.y)
        if place is None:
            result.append(Placed(item, None, None))
            continue
        tile, x, y = place
        elements = marks.get(tile.id, ())
        mark = nearest(elements, x, y, mpp)
        result.append(Placed(item, tile.id, None if mark is None else label_of(elements[mark])))
    return result


def take(db: Session, user: User, slide: Slide, found: Found, label: str) -> Revision:
    """Mark a detection on the tile under it as what the user says it is.

    A mark of the same cell gets the label; else an ellipse over the detection's box is added, a
    point where the box has no size.

    Raises
    ------
    ApiError
        409: no tile of the user's is there, it is full, or another request is saving it.
    """
    grid = grid_for(db, user, slide)
    place = grid.at(found.x, found.y) if grid else None
    if grid is None or place is None:
        raise ApiError(
            409,
            f"detection {found.number} lies on no tile of yours: there is glass, or another "
            "reader's batch",
        )
    tile, x, y = place
    batches.check_may_save(db, user, user, tile)
    before = current(db, tile, user)
    elements = [dict(item) for item in before.elements] if before else []
    mark = nearest(elements, x, y, tile_mpp(slide))
    if mark is None and len(elements) == MOST:
        raise ApiError(409, f"tile {tile.id} has {MOST} marks already; take some away first")
    if mark is None:
        elements.append(_element(found, label, x, y, grid.scale))
    elif label_of(elements[mark]) == label and before:
        return before
    else:
        elements[mark]["label"] = {"value": label}
    done, version = (before.done, before.version) if before else (False, 0)
    try:
        return save(db, tile, user, user, version, done, elements)
    except Conflict:  # an admin's own marks, which no assignment guards
        raise ApiError(409, f"tile {tile.id} is being saved elsewhere; try again") from None


def _element(
    found: Found, label: str, x: float, y: float, scale: tuple[float, float]
) -> dict[str, Any]:
    width, height = found.width * scale[0], found.height * scale[1]
    element: dict[str, Any] = {
        "type": "ellipse" if width > 0 and height > 0 else "point",
        "id": secrets.token_hex(12),
        "center": [x, y, 0.0],
        "label": {"value": label},
        "user": {"confidence": min(max(found.score, 0.0), 1.0), "from": "detection"},
    }
    if element["type"] == "ellipse":
        element |= {"width": width, "height": height, "rotation": 0.0}
    return element
