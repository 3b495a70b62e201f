"""Revisions: what each reader has marked on each tile, save after save; none is ever changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, and_, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from mitoyolo.web import audit
from mitoyolo.web.elements import checked
from mitoyolo.web.models import Revision, Tile, User

_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
"""What leaves a row out that breaks a constraint, without ending the transaction: by dialect."""


class Conflict(Exception):
    """Someone has saved since; ``current`` is what stands there now."""

    def __init__(self, current: Revision | None) -> None:
        self.current = current
        super().__init__(f"version {current.version if current else 0} is the current one")


def current(db: Session, tile: Tile, reader: User) -> Revision | None:
    """The newest revision of a reader on a tile; None where nothing was saved yet."""
    return db.scalars(
        select(Revision)
        .where(Revision.tile_id == tile.id, Revision.reader_id == reader.id)
        .order_by(Revision.version.desc())
        .limit(1)
    ).first()


def newest(*where: Any) -> Select[Revision]:
    """Select the newest revision of each tile and reader among the tiles for which ``where``
    holds."""
    last = (
        select(Revision.tile_id, Revision.reader_id, func.max(Revision.version).label("version"))
        .join(Tile, Tile.id == Revision.tile_id)
        .where(*where)
        .group_by(Revision.tile_id, Revision.reader_id)
        .subquery()
    )
    same = and_(
        Revision.tile_id == last.c.tile_id,
        Revision.reader_id == last.c.reader_id,
        Revision.version == last.c.version,
    )
    return select(Revision).join(last, same)


def is_read(revision: Revision | None) -> bool:
    """Whether a reader has looked at a tile: it is marked done, or something is marked on it.

    Only such tiles go into downloads and comparisons. A tile that nobody opened says nothing, and
    taken as free of mitoses it would teach a detector to miss them.
    """
    return revision is not None and (revision.done or bool(revision.elements))


def save(
    db: Session,
    tile: Tile,
    reader: User,
    by: User,
    version: int,
    done: bool,
    elements: Sequence[Any],
) -> Revision:
    """Add a revision; it is on disk when the transaction is committed.

    Parameters
    ----------
    tile, reader, by : Tile, User, User
        What is saved, whose marks they are, and who saves them.
    version : int
        The version that ``by`` saw; 0 for none.
    done : bool
        Whether the reader is through with the tile.
    elements : sequence
        As :func:`~mitoyolo.web.elements.checked` takes them.

    Raises
    ------
    Conflict
        Another version is the current one: nothing was saved.
    InputError, pydantic.ValidationError
        From the elements.
    """
    stored = checked(elements, tile.width, tile.height)
    before = current(db, tile, reader)
    if (before.version if before else 0) != version:
        raise Conflict(before)
    insert = _INSERT[db.get_bind().dialect.name](Revision).values(
        tile_id=tile.id, reader_id=reader.id, version=version + 1, elements=stored, done=done,
        saved_by=by.id,
    )  # fmt: skip
    number = db.scalar(insert.on_conflict_do_nothing().returning(Revision.id))
    if number is None:  # another save was quicker: the version is taken
        raise Conflict(current(db, tile, reader))
    revision = db.get_one(Revision, number)
    audit.record(
        db, by, "annotations.save", f"tile {tile.id}",
        reader=reader.name, version=revision.version, done=done, elements=len(stored),
    )  # fmt: skip
    return revision
