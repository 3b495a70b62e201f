"""Tiles, over HTTP: their pictures, and what is marked on them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from mitoyolo.images import encode_jpeg, read_rgb, resize
from mitoyolo.web import batches
from mitoyolo.web.access import CurrentUser, Db, SettingsOf, reader_for, tile_for
from mitoyolo.web.annotations import Conflict, current, save
from mitoyolo.web.api_batches import ReaderName
from mitoyolo.web.bodies import Body, Id
from mitoyolo.web.elements import Elements
from mitoyolo.web.models import Revision, User
from mitoyolo.web.slides import tile_file

router = APIRouter(prefix="/api/tiles", tags=["tiles"])

THUMBNAIL = 128
"""px of a thumbnail's longer side."""

_KEPT = {"Cache-Control": "private, max-age=86400", "Vary": "Cookie"}
"""A tile's pixels never change; only this browser keeps them, for this login."""


class Marks(BaseModel):
    """What a reader has marked on a tile; `version` 0 is nothing saved yet."""

    version: int
    done: bool
    elements: list[dict[str, Any]]
    saved_at: datetime | None
    saved_by: str | None


class Save(Body):
    """A tile's marks, all of them, and the `version` that they follow."""

    version: Annotated[int, Field(ge=0, lt=2**31)]
    done: bool
    elements: Elements


class Taken(BaseModel):
    """Someone has saved since: `current` is what stands there."""

    detail: str
    current: Marks


@router.get("/{id}/image", response_class=FileResponse)
def image(id: Id, user: CurrentUser, db: Db, settings: SettingsOf) -> FileResponse:
    """The tile's picture, PNG or JPEG."""
    return FileResponse(tile_file(settings, tile_for(db, user, id)), headers=_KEPT)


@router.get("/{id}/thumbnail", response_class=Response)
def thumbnail(
    id: Id, request: Request, user: CurrentUser, db: Db, settings: SettingsOf
) -> Response:
    """The tile, at most 128 px a side, as JPEG."""
    tile = tile_for(db, user, id)
    headers = {"ETag": f'"{tile.id}-{THUMBNAIL}"', **_KEPT}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    pixels = read_rgb(tile_file(settings, tile))
    scale = min(1.0, THUMBNAIL / max(tile.width, tile.height))
    small = resize(pixels, *(max(1, round(side * scale)) for side in (tile.width, tile.height)))
    return Response(encode_jpeg(small, 80), media_type="image/jpeg", headers=headers)


@router.get("/{id}/annotations")
def show(id: Id, user: CurrentUser, db: Db, reader: ReaderName | None = None) -> Marks:
    """What a reader (oneself, unless an admin asks) has marked."""
    tile = tile_for(db, user, id)
    return _marks(db, current(db, tile, reader_for(db, user, reader)))


@router.put("/{id}/annotations", response_model=Marks, responses={409: {"model": Taken}})
def put(
    id: Id, body: Save, user: CurrentUser, db: Db, reader: ReaderName | None = None
) -> Marks | JSONResponse:
    """Save a tile's marks. Nothing is overwritten: where someone has saved since, it is refused."""
    tile = tile_for(db, user, id)
    who = reader_for(db, user, reader)
    batches.check_may_save(db, user, who, tile)
    try:
        revision = save(db, tile, who, user, body.version, body.done, body.elements)
    except Conflict as conflict:
        return _refused(_marks(db, conflict.current))
    return _marks(db, revision)


def _refused(now: Marks) -> JSONResponse:
    detail = (
        f"{now.saved_by or 'nobody'} saved version {now.version} since you opened the tile; look "
        "at it, and save on top of it"
    )
    return JSONResponse({"detail": detail, "current": now.model_dump(mode="json")}, 409)


def _marks(db: Session, revision: Revision | None) -> Marks:
    if revision is None:
        return Marks(version=0, done=False, elements=[], saved_at=None, saved_by=None)
    by = db.get(User, revision.saved_by)
    return Marks(
        version=revision.version,
        done=revision.done,
        elements=revision.elements,
        saved_at=revision.saved_at,
        saved_by=by.name if by else None,
    )
