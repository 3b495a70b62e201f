"""What searches have found, over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from mitoyolo.web import detections
from mitoyolo.web.access import ApiError, CurrentUser, Db, SettingsOf, slide_for
from mitoyolo.web.api_jobs import JobOut
from mitoyolo.web.bodies import Body, Id
from mitoyolo.web.elements import Label

router = APIRouter(prefix="/api", tags=["detections"])

MOST = 50_000


class DetectionOut(BaseModel):
    """A detection in level-0 pixels; ``x``, ``y`` is its centre."""

    index: int
    x: float
    y: float
    width: float
    height: float
    score: float
    label: str
    tile_id: int | None
    """The tile of the user's under it, where it can be marked."""
    taken: str | None
    """The label of the user's mark there."""

    @classmethod
    def of(cls, placed: detections.Placed) -> DetectionOut:
        """A row of a search's table."""
        number, x, y, width, height, score, label = placed.found
        return cls(
            index=number,
            x=x,
            y=y,
            width=width,
            height=height,
            score=score,
            label=label,
            tile_id=placed.tile_id,
            taken=placed.taken,
        )


class DetectionsOut(BaseModel):
    """Of the newest search that is done; nothing before there is one."""

    job: JobOut | None
    summary: dict[str, Any] | None
    """As ``mitoyolo detect`` writes it; each hotspot with its reach in px, across and down."""
    detections: list[DetectionOut]


class Verdict(Body):
    """What the user says a detection is; ``job`` is the search that it was seen in."""

    label: Label
    job: Id | None = None


class SavedOut(BaseModel):
    """The tile that was marked, and the version of its marks."""

    tile_id: int
    version: int


@router.get("/slides/{slide_id}/detections")
def listed(
    slide_id: str,
    db: Db,
    user: CurrentUser,
    settings: SettingsOf,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST)] = MOST,
) -> DetectionsOut:
    """The detections of a slide, the highest score first."""
    slide = slide_for(db, user, slide_id)
    job = detections.latest_search(db, slide)
    if job is None:
        return DetectionsOut(job=None, summary=None, detections=[])
    found = detections.rows(settings, slide, job)[offset : offset + limit]
    return DetectionsOut(
        job=JobOut.of(db, job),
        summary=detections.summary(settings, slide, job),
        detections=[DetectionOut.of(item) for item in detections.placed(db, user, slide, found)],
    )


@router.post("/slides/{slide_id}/detections/{index}")
def take(
    slide_id: str,
    index: Annotated[int, Path(ge=0)],
    body: Verdict,
    db: Db,
    user: CurrentUser,
    settings: SettingsOf,
) -> SavedOut:
    """Mark a detection as a mitosis, or reject it as an imposter, among one's own marks."""
    slide = slide_for(db, user, slide_id)
    found = detections.rows(settings, slide, detections.search(db, slide, body.job))
    if index >= len(found):
        raise ApiError(404, f"there is no detection {index}; this search has {len(found)}")
    saved = detections.take(db, user, slide, found[index], body.label)
    return SavedOut(tile_id=saved.tile_id, version=saved.version)
