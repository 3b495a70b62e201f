"""Batches, over HTTP: assigned, submitted, approved or returned, and compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from mitoyolo.web import agreement, batches
from mitoyolo.web.access import Admin, CurrentUser, Db, assignment_for, batch_for, reader_for
from mitoyolo.web.bodies import Body, Id
from mitoyolo.web.models import Assignment, Batch, Role, Stage, User
from mitoyolo.web.slides import tile_mpp

router = APIRouter(prefix="/api", tags=["batches"])

ReaderName = Annotated[str, Field(max_length=64)]


class SlideOfBatch(BaseModel):
    """The slide that it is of."""

    id: str
    name: str


class Reader(BaseModel):
    """Who reads it."""

    id: int
    name: str


class AssignmentOut(BaseModel):
    """How far one reader is: tiles done, and elements marked."""

    id: int
    user: Reader
    stage: Stage
    note: str
    done: int
    marks: int


class BatchOut(BaseModel):
    """A batch, with its number of tiles; an annotator sees the own assignment alone."""

    id: int
    slide: SlideOfBatch
    number: int
    tiles: int
    assignments: list[AssignmentOut]


class TileOut(BaseModel):
    """A tile, with what one reader has marked on it; `version` 0 is nothing saved yet."""

    id: int
    column: int
    row: int
    width: int
    height: int
    mpp: float | None
    counts: dict[str, int]
    done: bool
    version: int


class BatchWithTiles(BaseModel):
    """A batch with its tiles, row by row."""

    id: int
    slide: SlideOfBatch
    number: int
    assignments: list[AssignmentOut]
    tiles: list[TileOut]


class NewAssignment(Body):
    """Who is to read it."""

    user_id: Id


class Return(Body):
    """Why it is given back."""

    note: Annotated[str, Field(max_length=2000)] = ""


class PairOut(BaseModel):
    """A cell that both marked."""

    model_config = ConfigDict(from_attributes=True)

    a: dict[str, Any]
    b: dict[str, Any]
    distance_um: float
    labels: tuple[str, str]


class TileAgreement(BaseModel):
    """The cells of one tile."""

    tile_id: int
    pairs: list[PairOut]
    only_a: list[dict[str, Any]]
    only_b: list[dict[str, Any]]


class Agreement(BaseModel):
    """How far two readers agree, over the `compared` tiles that both have read.

    `kappa` is Cohen's, over the cells that either marked, with the categories mitosis, imposter and
    unmarked; since cells that neither marked cannot be counted, it is the least that it can be.
    `f_measure` is the positive specific agreement on mitoses. A cell of the `consensus` is a
    mitosis if both say so, else an imposter.
    """

    radius_um: float
    compared: int
    matched: int
    only_a: int
    only_b: int
    label_differs: int
    kappa: float | None
    f_measure: float | None
    tiles: list[TileAgreement]
    consensus: dict[int, list[dict[str, Any]]]


@router.get("/batches")
def list_batches(user: CurrentUser, db: Db) -> list[BatchOut]:
    """Those that are assigned to one; all of them for an admin."""
    return _batches_out(db, user, batches.visible(db, user))


@router.get("/batches/{id}")
def show(id: Id, user: CurrentUser, db: Db, reader: ReaderName | None = None) -> BatchWithTiles:
    """A batch with its tiles, and what a reader (oneself, unless an admin asks) has marked."""
    batch = batch_for(db, user, id)
    who = reader_for(db, user, reader)
    marks = batches.revisions(db, batch, [who])[who.id]
    out = _batches_out(db, user, [batch])[0]
    tiles = [
        TileOut(
            id=tile.id,
            column=tile.column,
            row=tile.row,
            width=tile.width,
            height=tile.height,
            mpp=batch.slide.tile_mpp_x,
            counts=batches.counts(mark),
            done=mark.done if mark else False,
            version=mark.version if mark else 0,
        )
        for tile in batch.tiles
        for mark in (marks.get(tile.id),)
    ]
    return BatchWithTiles(
        id=out.id, slide=out.slide, number=out.number, assignments=out.assignments, tiles=tiles
    )


@router.post("/batches/{id}/assignments", status_code=201)
def assign(id: Id, body: NewAssignment, by: Admin, db: Db) -> AssignmentOut:
    """Give a batch to a reader."""
    batch = batch_for(db, by, id)
    return _assignment_out(db, batches.assign(db, by, batch, body.user_id))


@router.post("/assignments/{id}/submit")
def submit(id: Id, user: CurrentUser, db: Db) -> AssignmentOut:
    """Say that one is through: nothing more can be saved until it is returned."""
    assignment = assignment_for(db, user, id)
    batches.submit(db, user, assignment)
    return _assignment_out(db, assignment)


@router.post("/assignments/{id}/approve")
def approve(id: Id, by: Admin, db: Db) -> AssignmentOut:
    """Take a submitted batch."""
    assignment = assignment_for(db, by, id)
    batches.approve(db, by, assignment)
    return _assignment_out(db, assignment)


@router.post("/assignments/{id}/return")
def send_back(id: Id, body: Return, by: Admin, db: Db) -> AssignmentOut:
    """Give a submitted or approved batch back."""
    assignment = assignment_for(db, by, id)
    batches.send_back(db, by, assignment, body.note)
    return _assignment_out(db, assignment)


@router.get("/batches/{id}/agreement")
def compare(id: Id, a: ReaderName, b: ReaderName, by: Admin, db: Db) -> Agreement:
    """How far two readers agree on a batch, cell by cell, and what they say together."""
    batch = batch_for(db, by, id)
    readers = [reader_for(db, by, name) for name in (a, b)]
    marks = {
        tile: [item.elements for item in both]
        for tile, both in batches.marks_read(db, batch, readers).items()
    }
    found = agreement.agreement(marks, tile_mpp(batch.slide))
    tiles = [
        TileAgreement(
            tile_id=tile,
            pairs=[PairOut.model_validate(pair) for pair in one.pairs],
            only_a=one.only_a,
            only_b=one.only_b,
        )
        for tile, one in found.tiles.items()
    ]
    return Agreement(
        radius_um=agreement.RADIUS_UM,
        compared=len(tiles),
        matched=len(found.pairs),
        only_a=sum(len(tile.only_a) for tile in tiles),
        only_b=sum(len(tile.only_b) for tile in tiles),
        label_differs=sum(len(set(pair.labels)) > 1 for pair in found.pairs),
        kappa=agreement.kappa(found.opinions),
        f_measure=agreement.f_measure(found.opinions),
        tiles=tiles,
        consensus=found.consensus,
    )


def _batches_out(db: Session, user: User, found: Sequence[Batch]) -> list[BatchOut]:
    sizes, progress = batches.sizes(db, found), batches.progress(db, found)
    return [
        BatchOut(
            id=batch.id,
            slide=SlideOfBatch(id=batch.slide.id, name=batch.slide.name),
            number=batch.number,
            tiles=sizes.get(batch.id, 0),
            assignments=[
                _out(item, progress.get((batch.id, item.user_id)))
                for item in sorted(batch.assignments, key=lambda item: item.id)
                if user.role == Role.ADMIN or item.user_id == user.id
            ],
        )
        for batch in found
    ]


def _assignment_out(db: Session, item: Assignment) -> AssignmentOut:
    progress = batches.progress(db, [item.batch])
    return _out(item, progress.get((item.batch_id, item.user_id)))


def _out(item: Assignment, progress: batches.Progress | None) -> AssignmentOut:
    progress = progress or batches.Progress()
    return AssignmentOut(
        id=item.id,
        user=Reader(id=item.user.id, name=item.user.name),
        stage=Stage(item.stage),
        note=item.note,
        done=progress.done,
        marks=progress.marks,
    )
