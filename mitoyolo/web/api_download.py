"""Downloads, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from mitoyolo.web.access import Admin, Db, SettingsOf, reader_for, slide_for
from mitoyolo.web.download import Wanted, download
from mitoyolo.web.users import CONSENSUS

router = APIRouter(prefix="/api", tags=["download"])

_CHUNK = 2**20


@router.get("/download", response_class=StreamingResponse)
def get(
    by: Admin,
    db: Db,
    settings: SettingsOf,
    slide: Annotated[list[str], Query(min_length=1, max_length=100)],
    reader: Annotated[str, Field(max_length=64)],
    stage: Literal["approved", "all"] = "approved",
    format: Literal["cadd4mbc", "yolo", "coco"] = "cadd4mbc",
    images: bool = False,
    labels: Literal["mitosis", "mitosis,imposter"] = "mitosis,imposter",
) -> StreamingResponse:
    """A zip of what a reader, or the `consensus` of all of a batch, has marked on some slides.

    `cadd4mbc` is the folder tree of CADD4MBC, with the tiles' pictures for `images=true`; `yolo`
    and `coco` are what `mitoyolo convert` writes of it, with the classes `labels`. Only tiles that
    were read are in it: those marked done, or with a mark.
    """
    slides = [slide_for(db, by, key) for key in dict.fromkeys(slide)]
    who = None if reader == CONSENSUS else reader_for(db, by, reader)
    wanted = Wanted(reader=who, approved=stage == "approved")
    file = download(
        db, settings, by, slides, wanted, to=format, labels=labels.split(","), images=images
    )
    name = slides[0].name if len(slides) == 1 else f"{len(slides)} slides"
    headers = {
        "Content-Disposition": f'attachment; filename="{name} {wanted.name} {format}.zip"',
        "Content-Length": str(file.seek(0, 2)),
    }
    return StreamingResponse(_pieces(file), media_type="application/zip", headers=headers)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while piece := file.read(_CHUNK):
            yield piece
