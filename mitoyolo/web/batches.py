"""Batches: who reads them, and how far that is. assigned -> submitted -> approved, or returned."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session, joinedload, selectinload

from mitoyolo.web import audit
from mitoyolo.web.access import ApiError
from mitoyolo.web.annotations import is_read, newest
from mitoyolo.web.elements import label_of
from mitoyolo.web.models import Assignment, Batch, Revision, Role, Stage, Tile, User

OPEN = (Stage.ASSIGNED, Stage.RETURNED)
"""Stages in which a reader may save."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a reader has done on a batch: tiles that are done, and elements marked."""

    done: int = 0
    marks: int = 0


def visible(db: Session, user: User) -> list[Batch]:
    """The batches of a user, all of them for an admin, by slide and number."""
    query = (
        select(Batch)
        .options(joinedload(Batch.slide), selectinload(Batch.assignments))
        .order_by(Batch.slide_id, Batch.number)
    )
    if user.role != Role.ADMIN:
        mine = select(Assignment.batch_id).where(Assignment.user_id == user.id)
        query = query.where(Batch.id.in_(mine))
    return sorted(db.scalars(query), key=lambda batch: (batch.slide.name, batch.number))


def sizes(db: Session, batches: Iterable[Batch]) -> dict[int, int]:
    """Batch id -> its number of tiles."""
    query = (
        select(Tile.batch_id, func.count())
        .where(Tile.batch_id.in_([batch.id for batch in batches]))
        .group_by(Tile.batch_id)
    )
    return dict(db.execute(query).tuples().all())


def progress(db: Session, batches: Iterable[Batch]) -> dict[tuple[int, int], Progress]:
    """(batch id, reader id) -> how far the reader is."""
    last = newest(Tile.batch_id.in_([batch.id for batch in batches])).subquery()
    query = (
        select(
            Tile.batch_id,
            last.c.reader_id,
            func.count().filter(last.c.done),
            func.sum(func.json_array_length(last.c.elements)),
        )
        .join(last, last.c.tile_id == Tile.id)
        .group_by(Tile.batch_id, last.c.reader_id)
    )
    return {(batch, reader): Progress(*values) for batch, reader, *values in db.execute(query)}


def tiles_done(
    db: Session, batches: Iterable[Batch], readers: Collection[int] | None = None
) -> dict[int, int]:
    """Batch id -> how many tiles at least one of some readers, or of all, is through with."""
    last = newest(Tile.batch_id.in_([batch.id for batch in batches])).subquery()
    query = select(Tile.batch_id, func.count(Tile.id.distinct())).join(
        last, last.c.tile_id == Tile.id
    )
    if readers is not None:
        query = query.where(last.c.reader_id.in_(readers))
    query = query.where(last.c.done).group_by(Tile.batch_id)
    return dict(db.execute(query).tuples().all())


def revisions(db: Session, batch: Batch, readers: Iterable[User]) -> dict[int, dict[int, Revision]]:
    """Reader id -> tile id -> the newest revision."""
    ids = [reader.id for reader in readers]
    found: dict[int, dict[int, Revision]] = {reader: {} for reader in ids}
    for item in db.scalars(newest(Tile.batch_id == batch.id, Revision.reader_id.in_(ids))):
        found[item.reader_id][item.tile_id] = item
    return found


def marks_read(db: Session, batch: Batch, readers: Iterable[User]) -> dict[int, list[Revision]]:
    """Tile id -> the newest revision of each reader, in their order: of those tiles that all of
    them have read."""
    readers = list(readers)
    found = revisions(db, batch, readers)
    together: dict[int, list[Revision]] = defaultdict(list)
    for tile in batch.tiles:
        of_tile = [found[reader.id].get(tile.id) for reader in readers]
        whole = [item for item in of_tile if item is not None and is_read(item)]
        if len(whole) == len(readers):
            together[tile.id] = whole
    return dict(together)


def counts(revision: Revision | None) -> dict[str, int]:
    """Label -> how many elements of a revision have it."""
    return dict(Counter(label_of(item) for item in revision.elements)) if revision else {}


# --- stages -----------------------------------------------------------------------------------


def assign(db: Session, admin: User, batch: Batch, user_id: int) -> Assignment:
    """Give a batch to a reader.

    Raises
    ------
    ApiError
        404: no such user, or switched off; 409: the reader has it already.
    """
    reader = db.get(User, user_id)
    if reader is None or not reader.active:
        raise ApiError(404, f"there is no active user {user_id}")
    if any(item.user_id == user_id for item in batch.assignments):
        raise ApiError(409, f"{reader.name} has this batch already")
    assignment = Assignment(batch=batch, user=reader, stage=Stage.ASSIGNED, note="")
    db.add(assignment)
    db.flush()
    audit.record(db, admin, "batch.assign", f"batch {batch.id}", reader=reader.name)
    return assignment


def submit(db: Session, reader: User, assignment: Assignment) -> None:
    """The reader is through: nothing more may be saved, until it is returned.

    Raises
    ------
    ApiError
        403: it is another's; 409: it is submitted or approved already.
    """
    if assignment.user_id != reader.id:
        raise ApiError(403, "only its reader submits a batch")
    _move(db, reader, assignment, OPEN, Stage.SUBMITTED, assignment.note)


def approve(db: Session, admin: User, assignment: Assignment) -> None:
    """Take a submitted batch as it is.

    Raises
    ------
    ApiError
        409: it is not submitted.
    """
    _move(db, admin, assignment, (Stage.SUBMITTED,), Stage.APPROVED, assignment.note)


def send_back(db: Session, admin: User, assignment: Assignment, note: str) -> None:
    """Give a submitted or approved batch back to its reader, with a note.

    Raises
    ------
    ApiError
        409: it is neither.
    """
    _move(db, admin, assignment, (Stage.SUBMITTED, Stage.APPROVED), Stage.RETURNED, note)


def _move(
    db: Session,
    by: User,
    assignment: Assignment,
    before: Collection[Stage],
    after: Stage,
    note: str,
) -> None:
    result = db.execute(
        update(Assignment)
        .where(Assignment.id == assignment.id, Assignment.stage.in_(before))
        .values(stage=after, note=note)
    )
    assert isinstance(result, CursorResult)
    db.refresh(assignment)
    if not result.rowcount:
        expected = " or ".join(before)
        raise ApiError(409, f"the batch is {assignment.stage}, expected {expected}; load it again")
    audit.record(
        db, by, f"batch.{after}", f"batch {assignment.batch_id}",
        reader=assignment.user.name, note=note,
    )  # fmt: skip


def check_may_save(db: Session, by: User, reader: User, tile: Tile) -> None:
    """Raise ApiError where ``by`` may not save marks of ``reader`` on a tile now."""
    # changed as it is, so that nobody submits it between this and the commit
    assignment = db.scalar(
        update(Assignment)
        .where(Assignment.batch_id == tile.batch_id, Assignment.user_id == reader.id)
        .values(stage=Assignment.stage)
        .returning(Assignment),
        execution_options={"populate_existing": True},
    )
    if by.role == Role.ADMIN:
        if assignment is None and reader.id != by.id:
            raise ApiError(409, f"{reader.name} does not read this batch; assign it first")
    elif reader.id != by.id or assignment is None:
        raise ApiError(403, "only what is assigned to you can be saved")
    elif assignment.stage not in OPEN:
        raise ApiError(
            409, f"the batch is {assignment.stage}; ask an admin to return it before you change it"
        )
