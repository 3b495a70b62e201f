"""Work in the background, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, FastAPI, Query
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from mitoyolo.web import jobs, kinds
from mitoyolo.web.access import Admin, ApiError, Db, SettingsOf, slide_for
from mitoyolo.web.bodies import Body, Id
from mitoyolo.web.models import Job, JobState, Slide


@asynccontextmanager
async def _with_runner(app: FastAPI) -> AsyncIterator[None]:
    runner = jobs.Runner(app.state.settings, app.state.sessions, kinds.KINDS)
    runner.start()
    try:
        yield
    finally:
        await to_thread.run_sync(runner.stop)


router = APIRouter(prefix="/api", tags=["jobs"], lifespan=_with_runner)


class SlideName(BaseModel):
    """Of a slide."""

    id: str
    name: str


class JobOut(BaseModel):
    """How far a job is; ``message`` is the last line that it said."""

    id: int
    kind: str
    slide: SlideName | None
    options: dict[str, Any]
    state: JobState
    message: str
    created_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, db: Session, job: Job) -> JobOut:
        """A row of the tables."""
        slide = db.get(Slide, job.slide_id) if job.slide_id else None
        return cls(
            slide=SlideName(id=slide.id, name=slide.name) if slide else None,
            **{name: getattr(job, name) for name in cls.model_fields if name != "slide"},
        )


class Detect(Body):
    """How a slide is searched; without ``threshold`` as the weights say."""

    weights: Annotated[str, Field(max_length=255)]
    """One of ``GET /api/weights``."""
    threshold: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None


class Train(Body):
    """What is trained, and on the approved batches of which slides."""

    slides: Annotated[list[str], Field(min_length=1, max_length=1000)]
    model: Annotated[str, Field(max_length=64)]
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 50
    weights: Annotated[str, Field(max_length=255)] | None = None
    """One of ``GET /api/weights`` to start from, ``none``, or the model's own."""


@router.post("/slides/{slide_id}/detect")
def detect(slide_id: str, body: Detect, db: Db, user: Admin, settings: SettingsOf) -> JobOut:
    """Search a slide for mitoses."""
    slide = slide_for(db, user, slide_id)
    job = kinds.submit_detect(db, settings, user, slide, body.weights, body.threshold)
    return JobOut.of(db, job)


@router.post("/train")
def train(body: Train, db: Db, user: Admin, settings: SettingsOf) -> JobOut:
    """Train a detector on what is approved."""
    members = [slide_for(db, user, slide) for slide in dict.fromkeys(body.slides)]
    job = kinds.submit_train(
        db, settings, user, members, model=body.model, epochs=body.epochs, start=body.weights
    )
    return JobOut.of(db, job)


@router.get("/weights")
def weights(user: Admin, settings: SettingsOf) -> list[str]:
    """The weights files that a search may use."""
    return kinds.weights(settings)


@router.get("/jobs")
def listed(
    db: Db,
    user: Admin,
    before: Id | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[JobOut]:
    """Jobs, the newest first."""
    query = select(Job).order_by(Job.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Job.id < before)
    return [JobOut.of(db, job) for job in db.scalars(query)]


@router.get("/jobs/{job_id}")
def one(job_id: Id, db: Db, user: Admin) -> JobOut:
    """A job."""
    return JobOut.of(db, _job(db, job_id))


@router.post("/jobs/{job_id}/stop")
def stop(job_id: Id, db: Db, user: Admin, settings: SettingsOf) -> JobOut:
    """End a job; what it has written stays."""
    job = _job(db, job_id)
    if not jobs.stop(db, settings, user, job, kinds.KINDS):
        raise ApiError(409, f"job {job.id} has ended already")
    return JobOut.of(db, job)


def _job(db: Session, number: int) -> Job:
    job = db.get(Job, number)
    if job is None:
        raise ApiError(404, f"there is no job {number}")
    return job
