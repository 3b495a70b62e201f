"""What the workbench remembers, as tables.

Nothing is ever deleted: a saved annotation is a further revision, a user is switched off, and every
change leaves a row in ``audit``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from sqlalchemy import JSON, BigInteger, DateTime, ForeignKey, MetaData, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

MAX_ID = 2**31 - 1
"""The largest that PostgreSQL's integer holds."""


class Role(StrEnum):
    """What a user may do: an annotator only what is assigned."""

    ADMIN = "admin"
    ANNOTATOR = "annotator"


class SlideState(StrEnum):
    """How far a slide is."""

    CUTTING = "cutting"
    READY = "ready"
    FAILED = "failed"


class Stage(StrEnum):
    """How far one reader's work on one batch is."""

    ASSIGNED = "assigned"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    RETURNED = "returned"


class JobState(StrEnum):
    """How far work in the background is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class Moment(TypeDecorator[datetime]):
    """A moment in UTC; SQLite alone would forget the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: object) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: object) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """An identifier that nobody can guess."""
    return uuid4().hex


class Base(DeclarativeBase):
    """Of all tables. Constraints have names, so that migrations can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: Moment, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class User(Base):
    """Someone who may log in, unless ``active`` is false."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    password: Mapped[str] = mapped_column(String(255))
    """Its argon2id hash."""
    role: Mapped[Role] = mapped_column(String(16))
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Login(Base):
    """A session of a browser. The cookie's token is not kept, only its SHA-256."""

    __tablename__ = "logins"

    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    csrf: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    ended: Mapped[bool] = mapped_column(default=False)
    user: Mapped[User] = relationship(lazy="joined")


class Slide(Base):
    """A slide that is cut into tiles, or a folder of tiles that came as such.

    Its files stand in ``slides/ID/`` of the workspace, whatever its name is.
    """

    __tablename__ = "slides"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    """Such as `T98`: of the folder in the download."""
    file: Mapped[str | None] = mapped_column(String(64))
    """Of the slide, in its folder; None where only tiles came."""
    state: Mapped[SlideState] = mapped_column(String(16))
    error: Mapped[str | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    """Of level 0, px."""
    mpp_x: Mapped[float | None]
    mpp_y: Mapped[float | None]
    """µm per pixel of level 0."""
    tile_mpp_x: Mapped[float | None]
    tile_mpp_y: Mapped[float | None]
    """µm per pixel of the tiles."""
    created_by: Mapped[int] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    batches: Mapped[list[Batch]] = relationship(back_populates="slide", order_by="Batch.number")


class Batch(Base):
    """About 150 tiles of a slide, which are assigned together."""

    __tablename__ = "batches"
    __table_args__ = (UniqueConstraint("slide_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    slide_id: Mapped[str] = mapped_column(ForeignKey("slides.id"))
    number: Mapped[int]
    """From 1."""
    slide: Mapped[Slide] = relationship(back_populates="batches")
    tiles: Mapped[list[Tile]] = relationship(back_populates="batch", order_by="Tile.id")
    assignments: Mapped[list[Assignment]] = relationship(back_populates="batch")


class Tile(Base):
    """A picture to annotate."""

    __tablename__ = "tiles"
    __table_args__ = (UniqueConstraint("slide_id", "column", "row"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    slide_id: Mapped[str] = mapped_column(ForeignKey("slides.id"))
    batch_id: Mapped[int] = mapped_column(ForeignKey("batches.id"), index=True)
    column: Mapped[int]
    row: Mapped[int]
    """Its place in the slide's grid, from 0."""
    left: Mapped[int | None]
    top: Mapped[int | None]
    """Its corner in pixels of the tiles; None where only tiles came."""
    width: Mapped[int]
    height: Mapped[int]
    file: Mapped[str] = mapped_column(String(128))
    """Below the slide's folder."""
    batch: Mapped[Batch] = relationship(back_populates="tiles")


class Assignment(Base):
    """A batch that a user reads."""

    __tablename__ = "assignments"
    __table_args__ = (UniqueConstraint("batch_id", "user_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("batches.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    stage: Mapped[Stage] = mapped_column(String(16), default=Stage.ASSIGNED)
    note: Mapped[str] = mapped_column(default="")
    """The admin's, when the work was returned."""
    batch: Mapped[Batch] = relationship(back_populates="assignments")
    user: Mapped[User] = relationship(lazy="joined")


class Revision(Base):
    """What one reader has marked on one tile, from one save to the next.

    The constraint is what keeps two saves apart: each names the version that it replaces, and the
    second one finds its own taken.
    """

    __tablename__ = "revisions"
    __table_args__ = (UniqueConstraint("tile_id", "reader_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tile_id: Mapped[int] = mapped_column(ForeignKey("tiles.id"))
    reader_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    version: Mapped[int]
    """From 1."""
    elements: Mapped[list[Any]]
    """Of the large_image annotation schema, in pixels of the tile."""
    done: Mapped[bool]
    """Whether the reader is through with the tile."""
    saved_by: Mapped[int] = mapped_column(ForeignKey("users.id"))
    """The reader, or an admin who reviews."""
    saved_at: Mapped[datetime] = mapped_column(default=now)


class Upload(Base):
    """A file that comes in parts. How much of it is there, its size on disk says."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(String(255))
    """As the browser gave it; never a path."""
    size: Mapped[int] = mapped_column(BigInteger)
    slide_id: Mapped[str | None] = mapped_column(ForeignKey("slides.id"))
    """What became of it."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class Job(Base):
    """Work in the background: a slide cut, searched, or a training."""

    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    slide_id: Mapped[str | None] = mapped_column(ForeignKey("slides.id"), index=True)
    options: Mapped[dict[str, Any]]
    state: Mapped[JobState] = mapped_column(String(16), default=JobState.WAITING)
    message: Mapped[str] = mapped_column(default="")
    """The last line that it said."""
    created_by: Mapped[int] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    ended_at: Mapped[datetime | None]


class Audit(Base):
    """Who changed what, and when. Rows are only added."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    action: Mapped[str] = mapped_column(String(32))
    """Such as `annotations.save`."""
    subject: Mapped[str] = mapped_column(String(64))
    """Such as `tile 12`."""
    detail: Mapped[dict[str, Any]]
