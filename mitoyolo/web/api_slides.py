"""Slides, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from converters.image_mpp import PLAUSIBLE_MPP
from mitoyolo.web import batches, slides
from mitoyolo.web.access import Admin, CurrentUser, Db, SettingsOf, slide_for
from mitoyolo.web.bodies import Body
from mitoyolo.web.models import JobState, Role, Slide, SlideState, User
from mitoyolo.web.slides import CUT

router = APIRouter(prefix="/api/slides", tags=["slides"])


Scale = Annotated[float, Field(ge=PLAUSIBLE_MPP[0], le=PLAUSIBLE_MPP[1], allow_inf_nan=False)]
"""µm/px that a microscope can have."""


class BatchOfSlide(BaseModel):
    """A batch: its tiles, and how many of them someone is through with (oneself, if no admin)."""

    id: int
    number: int
    tiles: int
    done: int


class JobOfSlide(BaseModel):
    """The newest work on a slide."""

    id: int
    kind: str
    state: JobState
    message: str


class SlideOut(BaseModel):
    """A slide, or tiles that came as such; `mpp` is of level 0, µm/px."""

    id: str
    name: str
    state: SlideState
    error: str | None
    kind: Literal["slide", "tiles"]
    width: int | None
    height: int | None
    mpp: float | None
    tile_mpp: float | None
    batches: list[BatchOfSlide]
    job: JobOfSlide | None


class Cut(Body):
    """How a slide is cut into tiles and batches."""

    at_mpp: Scale = CUT["at_mpp"]
    tile_size: Annotated[int, Field(ge=64, le=4096)] = int(CUT["tile_size"])
    batch_size: Annotated[int, Field(ge=1, le=1000)] = int(CUT["batch_size"])
    min_tissue: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = CUT["min_tissue"]


class SlideChange(Body):
    """What an admin may change; null changes nothing. `mpp` is the tiles' where only they came."""

    name: Annotated[str, Field(max_length=200)] | None = None
    mpp: Scale | None = None


@router.get("")
def list_slides(user: CurrentUser, db: Db) -> list[SlideOut]:
    """Those that one may see, the newest first."""
    return slides_out(db, user, slides.visible(db, user))


@router.get("/{id}")
def show(id: str, user: CurrentUser, db: Db) -> SlideOut:
    """One of them."""
    return slides_out(db, user, [slide_for(db, user, id)])[0]


@router.patch("/{id}")
def change(id: str, body: SlideChange, by: Admin, db: Db) -> SlideOut:
    """Rename it, or state its µm/px."""
    slide = slide_for(db, by, id)
    slides.change(db, by, slide, name=body.name, mpp=body.mpp)
    return slides_out(db, by, [slide])[0]


@router.post("/{id}/cut")
def cut_again(id: str, body: Cut, by: Admin, db: Db, settings: SettingsOf) -> SlideOut:
    """Cut a slide again whose cutting failed."""
    slide = slide_for(db, by, id)
    slides.cut_again(db, settings, by, slide, body.model_dump())
    return slides_out(db, by, [slide])[0]


def slides_out(db: Session, user: User, found: Sequence[Slide]) -> list[SlideOut]:
    """Slides as ``user`` sees them: an annotator the batches that are assigned."""
    is_admin = user.role == Role.ADMIN
    seen = {
        slide.id: [
            batch
            for batch in slide.batches
            if is_admin or any(item.user_id == user.id for item in batch.assignments)
        ]
        for slide in found
    }
    every = [batch for members in seen.values() for batch in members]
    sizes = batches.sizes(db, every)
    done = batches.tiles_done(db, every, None if is_admin else [user.id])
    jobs = slides.latest_jobs(db, found)
    return [
        SlideOut(
            id=slide.id,
            name=slide.name,
            state=SlideState(slide.state),
            error=slide.error,
            kind="slide" if slide.file else "tiles",
            width=slide.width,
            height=slide.height,
            mpp=slide.mpp_x,
            tile_mpp=slide.tile_mpp_x,
            batches=[
                BatchOfSlide(
                    id=batch.id,
                    number=batch.number,
                    tiles=sizes.get(batch.id, 0),
                    done=done.get(batch.id, 0),
                )
                for batch in seen[slide.id]
            ],
            job=(
                JobOfSlide(id=job.id, kind=job.kind, state=JobState(job.state), message=job.message)
                if (job := jobs.get(slide.id))
                else None
            ),
        )
        for slide in found
    ]
