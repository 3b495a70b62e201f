"""Uploads, over HTTP: announced, sent in parts, finished."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from mitoyolo.web import uploads
from mitoyolo.web.access import Admin, ApiError, Db, SettingsOf
from mitoyolo.web.api_slides import Cut, Scale, SlideOut, slides_out
from mitoyolo.web.bodies import Body
from mitoyolo.web.models import Upload
from mitoyolo.web.slides import CUT

router = APIRouter(prefix="/api/uploads", tags=["uploads"])


class NewUpload(Body):
    """A file to come."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    size: Annotated[int, Field(ge=1, lt=2**53)]


class UploadBegun(BaseModel):
    """Where to send it: parts of at most `part_size` bytes, the first from `offset` on."""

    id: str
    offset: int
    part_size: int


class UploadOut(BaseModel):
    """How much of a file is there."""

    id: str
    name: str
    size: int
    offset: int


class Offset(BaseModel):
    """Where the next part begins."""

    offset: int


class WrongOffset(BaseModel):
    """A part that began elsewhere: go on from `offset`."""

    detail: str
    offset: int


class Finish(Cut):
    """What becomes of it. `mpp`: µm/px of the slide, or of the tiles; null: as the slide says."""

    slide_name: Annotated[str, Field(max_length=200)]
    mpp: Scale | None = None


@router.post("", status_code=201)
def begin(body: NewUpload, by: Admin, db: Db, settings: SettingsOf) -> UploadBegun:
    """Announce a file."""
    upload = uploads.begin(db, settings, by, body.name, body.size)
    return UploadBegun(id=upload.id, offset=0, part_size=settings.part_bytes)


@router.get("/{id}")
def show(id: str, by: Admin, db: Db, settings: SettingsOf) -> UploadOut:
    """How much of it is there: where to go on from."""
    upload = _upload(db, id)
    offset = uploads.offset_of(settings, upload)
    return UploadOut(id=upload.id, name=upload.name, size=upload.size, offset=offset)


@router.put("/{id}", response_model=Offset, responses={409: {"model": WrongOffset}})
async def add_part(
    id: str,
    offset: Annotated[int, Query(ge=0, lt=2**53)],
    request: Request,
    by: Admin,
    db: Db,
    settings: SettingsOf,
) -> Offset | JSONResponse:
    """Send the bytes from `offset` on, as the body. They are on the disk when this answers."""
    length = request.headers.get("content-length")
    try:
        end = await uploads.add_part(
            settings, _upload(db, id), offset, int(length) if length else None, request.stream()
        )
    except uploads.WrongOffset as error:
        return JSONResponse({"detail": str(error), "offset": error.offset}, 409)
    return Offset(offset=end)


@router.post("/{id}/finish", status_code=201)
def finish(id: str, body: Finish, by: Admin, db: Db, settings: SettingsOf) -> SlideOut:
    """Make a slide, or tiles, of it. What is refused stays, to be finished otherwise."""
    slide = uploads.finish(
        db,
        settings,
        by,
        _upload(db, id),
        slide_name=body.slide_name,
        mpp=body.mpp,
        cut=body.model_dump(include=set(CUT)),
    )
    return slides_out(db, by, [slide])[0]


def _upload(db: Db, key: str) -> Upload:
    upload = db.get(Upload, key) if "\0" not in key else None
    if upload is None:
        raise ApiError(404, f"there is no upload {key[:40]}")
    return upload
