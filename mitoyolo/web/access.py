"""Who may see and change what: the dependencies of every handler.

What a user may not see is answered as what does not exist.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, TypeVar

from anyio import CancelScope
from fastapi import Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import exists, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from mitoyolo.web import logins
from mitoyolo.web.models import MAX_ID, Assignment, Base, Batch, Login, Role, Slide, Tile, User
from mitoyolo.web.settings import Settings

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""
KEEPS_RIGHTS = ("/api/tiles/{id}/annotations", "/api/uploads/{id}")
"""What changes the database often, but nothing of who may see what."""
WITHOUT_LOGIN = ("/api/setup", "/api/login")
"""Where a browser may post that has not logged in yet."""
Row = TypeVar("Row", bound=Base)


class ApiError(HTTPException):
    """An answer ``{"detail": ...}``: what was given, what was expected, what to do."""


async def get_db(request: Request) -> AsyncIterator[Session]:
    """A session; its changes are on disk before the answer goes out, or there are none.

    There are as many at a time as connections. Else requests that have one would wait for a thread,
    and those that have the threads for a connection.
    """
    state = request.app.state
    async with state.turns:
        db = state.sessions()
        end = db.close
        try:
            yield db
            end = partial(_commit, db)
        finally:
            try:
                with CancelScope(shield=True):
                    await run_in_threadpool(end)
            finally:
                if request.method not in SAFE and request.scope["route"].path not in KEEPS_RIGHTS:
                    state.grants.changed()


def _commit(db: Session) -> None:
    with db:
        db.commit()


with_db = asynccontextmanager(get_db)
Db = Annotated[Session, Depends(get_db, scope="function")]


async def settings_of(request: Request) -> Settings:
    """Of this server."""
    settings: Settings = request.app.state.settings
    return settings


SettingsOf = Annotated[Settings, Depends(settings_of)]


def current_login(request: Request, db: Db) -> Login:
    """The valid login of the request's cookie.

    Raises
    ------
    ApiError
        401: there is none.
    """
    login = logins.find(db, request.cookies.get(logins.COOKIE))
    if login is None or not logins.valid(login):
        raise ApiError(401, "not logged in, or no longer; log in")
    return login


CurrentLogin = Annotated[Login, Depends(current_login)]


async def current_user(login: CurrentLogin) -> User:
    """Who is logged in."""
    return login.user


CurrentUser = Annotated[User, Depends(current_user)]


async def admin(user: CurrentUser) -> User:
    """Who is logged in, an admin.

    Raises
    ------
    ApiError
        403: an annotator.
    """
    if user.role != Role.ADMIN:
        raise ApiError(403, "only an admin may do this; ask one")
    return user


Admin = Annotated[User, Depends(admin)]


def no_forgery(request: Request, db: Db) -> None:
    """Of every room where something can be changed: each change comes from our own page, of someone
    logged in.

    Raises
    ------
    ApiError
        403: another site's page sent it, or the header ``X-CSRF-Token`` is not what ``/api/me``
        gives. 401: without a login.
    """
    if request.method in SAFE:
        return
    if not logins.same_site(request.headers, request.app.state.settings.proxy):
        raise ApiError(403, "the request comes from another site's page; open the workbench itself")
    if request.scope["path"] in WITHOUT_LOGIN:
        return
    if not logins.has_token(current_login(request, db), request.headers.get("x-csrf-token")):
        raise ApiError(403, "the header X-CSRF-Token is missing or old; load the page again")


def slide_for(db: Session, user: User, slide_id: str) -> Slide:
    """The slide, for an admin or who has a batch of it; else 404."""
    # one level deep: a subquery in the subquery would not be of this slide but of any
    of_it = (Assignment.batch_id == Batch.id) & (Batch.slide_id == Slide.id)
    return _for(db, user, Slide, slide_id, of_it)


def batch_for(db: Session, user: User, batch_id: int) -> Batch:
    """The batch, for an admin or whom it is assigned to; else 404."""
    return _for(db, user, Batch, batch_id, Assignment.batch_id == Batch.id)


def tile_for(db: Session, user: User, tile_id: int) -> Tile:
    """The tile, for an admin or whom its batch is assigned to; else 404."""
    return _for(db, user, Tile, tile_id, Assignment.batch_id == Tile.batch_id)


def assignment_for(db: Session, user: User, assignment_id: int) -> Assignment:
    """The assignment, for an admin or its reader; else 404."""
    found = db.get(Assignment, assignment_id) if _known(assignment_id) else None
    if found is None or (user.role != Role.ADMIN and found.user_id != user.id):
        raise ApiError(404, f"there is no assignment {assignment_id} of yours")
    return found


def reader_for(db: Session, user: User, name: str | None) -> User:
    """Whose marks are meant: None is the user; another's are for admins, else 403."""
    if name is None or name == user.name:
        return user
    if user.role != Role.ADMIN:
        raise ApiError(403, "only an admin may see another reader's marks")
    found = db.scalar(select(User).where(User.name == name)) if "\0" not in name else None
    if found is None:
        raise ApiError(404, f"there is no user {name!r}")
    return found


def _for(
    db: Session, user: User, kind: type[Row], key: int | str, theirs: ColumnElement[bool]
) -> Row:
    found: Row | None = None
    if _known(key):
        query = select(kind).where(kind.id == key)  # type: ignore[attr-defined]
        if user.role != Role.ADMIN:
            mine = exists().where(Assignment.user_id == user.id, theirs)
            query = query.where(mine)
        found = db.scalar(query)
    if found is None:
        raise ApiError(404, f"there is no {kind.__name__.lower()} {key} of yours")
    return found


def _known(key: int | str) -> bool:
    """Whether a database can be asked for it at all."""
    return "\0" not in key if isinstance(key, str) else 0 < key <= MAX_ID
