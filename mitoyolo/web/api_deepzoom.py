"""Slides as Deep Zoom pyramids, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.orm import Session

from mitoyolo.web import slides
from mitoyolo.web.access import ApiError, current_login, slide_for, with_db
from mitoyolo.web.deepzoom import VERSION, Tiles
from mitoyolo.web.grants import Grants
from mitoyolo.web.logins import COOKIE

THREADS = 8
"""Tiles that are read or made at a time; the other threads are for other requests."""

_KEEP = {"Cache-Control": "private, max-age=3600", "Vary": "Cookie"}


@asynccontextmanager
async def _with_tiles(app: FastAPI) -> AsyncIterator[None]:
    app.state.tiles = Tiles(app.state.settings.keep_free_bytes)
    app.state.tile_threads = CapacityLimiter(THREADS)
    yield
    app.state.tiles.close()


router = APIRouter(prefix="/api", tags=["deep zoom"], lifespan=_with_tiles)


@dataclass(frozen=True, slots=True)
class SlideFile:
    """A slide that the user may see, and where its tiles are kept."""

    id: str
    path: Path
    cache: Path


async def _seen(slide_id: str, request: Request) -> SlideFile:
    grants: Grants[SlideFile] = request.app.state.grants
    asked = (request.cookies.get(COOKIE), slide_id)
    seen = grants.get(asked)
    if seen is None:
        before = grants.changes
        async with with_db(request) as db:
            seen = await run_in_threadpool(_slide_file, request, db, slide_id)
        grants.keep(asked, seen, before)
    return seen


def _slide_file(request: Request, db: Session, slide_id: str) -> SlideFile:
    settings = request.app.state.settings
    slide = slide_for(db, current_login(request, db).user, slide_id)
    path = slides.file_of(settings, slide)
    return SlideFile(slide.id, path, slides.folder_of(settings, slide) / "zoom")


Seen = Annotated[SlideFile, Depends(_seen)]


@router.get("/slides/{slide_id}/slide.dzi", response_class=Response)
async def descriptor(seen: Seen, request: Request) -> Response:
    """The size of a slide and of its tiles, as Deep Zoom's XML."""
    state = request.app.state
    pyramid = await to_thread.run_sync(state.tiles.pyramid, seen.path, limiter=state.tile_threads)
    return Response(pyramid.descriptor(), media_type="application/xml", headers=_KEEP)


@router.get("/slides/{slide_id}/slide_files/{level}/{column}_{row}.jpeg", response_class=Response)
async def tile(seen: Seen, level: int, column: int, row: int, request: Request) -> Response:
    """A tile: column and row from 0, level 0 the smallest."""
    tag = f'"{seen.id}-{VERSION}-{level}-{column}-{row}"'
    headers = {**_KEEP, "ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    state = request.app.state
    data = await to_thread.run_sync(
        state.tiles.tile, seen.path, seen.cache, level, column, row, limiter=state.tile_threads
    )
    if data is None:
        raise ApiError(404, f"level {level} has no tile {column}_{row}; see slide.dzi")
    return Response(data, media_type="image/jpeg", headers=headers)
