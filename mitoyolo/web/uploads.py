"""Files that come in parts, straight to disk, and what they become.

A part is answered when it is on the disk, and taken whole or not at all: the end of the file is
always where to go on from, after a lost connection and after a killed server alike.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from converters.errors import InputError
from converters.images import IMAGE_SUFFIXES, PICTURE_SUFFIXES
from mitoyolo.slides.reader import open_slide
from mitoyolo.web import audit, jobs, pictures
from mitoyolo.web.access import ApiError
from mitoyolo.web.models import Slide, SlideState, Upload, User
from mitoyolo.web.settings import Settings
from mitoyolo.web.slides import add_tiles, check_name, new_slide

ARCHIVE = ".zip"

LEFT_S = 7 * 86400
"""Seconds without a new part after which an upload may make room for others."""


class WrongOffset(Exception):
    """A part does not begin where the file ends, which is at ``offset``."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        super().__init__(f"the file ends at {offset}; go on from there")


def begin(db: Session, settings: Settings, user: User, name: str, size: int) -> Upload:
    """Announce a file.

    Raises
    ------
    ApiError
        422: a name of no file that is read here; 413: too large; 507: no room for it.
    """
    if not 0 < len(name) <= 255 or set(name) & set("/\\") or not name.isprintable():
        raise ApiError(422, "file name: expected up to 255 printable characters and no folder")
    known = (*PICTURE_SUFFIXES, ARCHIVE)
    if Path(name).suffix.lower() not in known:
        raise ApiError(
            422, f"{name}: neither slide, picture nor zip by its suffix; expected {' '.join(known)}"
        )
    if size > settings.upload_bytes:
        raise ApiError(
            413, f"{name}: {size} bytes, at most {settings.upload_bytes} are taken; reduce the file"
        )
    _forget_left(settings)
    check_room(settings, size)
    upload = Upload(user_id=user.id, name=name, size=size)
    db.add(upload)
    db.flush()
    path = part_file(settings, upload)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(exist_ok=False)
    _sync_folder(path.parent)
    audit.record(db, user, "upload.begin", f"upload {upload.id}", name=name, size=size)
    return upload


def _forget_left(settings: Settings) -> None:
    """Give back the room of uploads that nobody has gone on with for :data:`LEFT_S`."""
    for path in settings.uploads.glob("*.part"):
        with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody is going on with it just now
            if time.time() - path.stat().st_mtime > LEFT_S:
                path.unlink()


def part_file(settings: Settings, upload: Upload) -> Path:
    """Where the upload grows."""
    return settings.uploads / f"{upload.id}.part"


def offset_of(settings: Settings, upload: Upload) -> int:
    """How many bytes are there."""
    if upload.slide_id:
        return upload.size
    try:
        return part_file(settings, upload).stat().st_size
    except FileNotFoundError:
        raise _gone(upload) from None


def check_room(settings: Settings, size: int) -> None:
    """Raise ApiError 507 where ``size`` bytes more would not leave enough free."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.folder).free - settings.keep_free_bytes
    if size > free:
        raise ApiError(
            507, f"{size} bytes are needed and {max(free, 0)} are free; make room on the server"
        )


async def add_part(
    settings: Settings, upload: Upload, offset: int, length: int | None, body: AsyncIterator[bytes]
) -> int:
    """Write a part as it comes, to the disk.

    Parameters
    ----------
    offset : int
        Where it begins: the end of the file.
    length : int or None
        Its length as the client says it.
    body : async iterator of bytes

    Returns
    -------
    int
        The new end of the file.

    Raises
    ------
    WrongOffset
        It does not begin at the end.
    ApiError
        409: finished already, or another part is being written; 413: it is too long; 400: it is
        not of the length it said.
    """
    _check_open(upload)
    with _held(settings, upload) as file:
        end = file.seek(0, os.SEEK_END)
        if offset != end:
            raise WrongOffset(end)
        most = min(settings.part_bytes, upload.size - end)
        check_room(settings, length or 0)
        got, whole = 0, False
        try:
            async for chunk in body:
                got += len(chunk)
                if got > most:
                    raise ApiError(413, f"a part of more than the {most} bytes that are taken here")
                if await run_in_threadpool(file.write, chunk) != len(chunk):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if length not in (None, got):
                raise ApiError(400, f"a part of {got} bytes that said {length}; send it again")
            await run_in_threadpool(os.fsync, file.fileno())
            whole = True
        finally:
            if not whole:
                file.truncate(end)
    return end + got


def finish(
    db: Session,
    settings: Settings,
    user: User,
    upload: Upload,
    *,
    slide_name: str,
    mpp: float | None,
    cut: dict[str, Any],
) -> Slide:
    """Make a slide of an upload that is all there, cut as :data:`mitoyolo.web.slides.CUT` has it.
    One that is finished already gives its slide.

    Raises
    ------
    ApiError
        409: bytes are missing, or the name is taken; 422: the file is not what its name says, or
        its µm/px is not known. The upload stays, to be finished otherwise.
    """
    if upload.slide_id:
        return db.get_one(Slide, upload.slide_id)
    with _held(settings, upload):
        db.refresh(upload)
        if upload.slide_id:  # another request was quicker
            return db.get_one(Slide, upload.slide_id)
        there = offset_of(settings, upload)
        if there != upload.size:
            raise ApiError(409, f"{there} of {upload.size} bytes are there; send the others first")
        check_name(db, slide_name)
        # the slide has the upload's id: what a killed server left of a first try is found
        folder = settings.slides / upload.id
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            slide = _slide_of(db, settings, user, upload, folder, slide_name, mpp, cut)
        except InputError as error:
            shutil.rmtree(folder)
            raise ApiError(422, _said(upload, error)) from None
        except BaseException:
            shutil.rmtree(folder)
            raise
        upload.slide_id = slide.id
        audit.record(db, user, "upload.finish", f"upload {upload.id}", slide=slide.id)
        os.sync()
        db.commit()  # before another request may try
        part_file(settings, upload).unlink(missing_ok=True)
    return slide


def _slide_of(
    db: Session,
    settings: Settings,
    user: User,
    upload: Upload,
    folder: Path,
    name: str,
    mpp: float | None,
    cut: dict[str, Any],
) -> Slide:
    suffix = Path(upload.name).suffix.lower()
    file = folder / f"slide{suffix}"
    os.link(part_file(settings, upload), file)  # readers go by the suffix
    scale = (mpp, mpp) if mpp else None
    if suffix == ARCHIVE:
        check_room(settings, 0)
        room = shutil.disk_usage(settings.folder).free - settings.keep_free_bytes
        most = min(settings.upload_bytes, room)
        tiles = pictures.unpack(file, folder, most_bytes=most, batch_size=cut["batch_size"])
    else:
        with open_slide(file) as opened:
            size, levels = opened.size, len(opened.levels)
            scale = scale or opened.mpp
        if suffix not in IMAGE_SUFFIXES or levels > 1 or max(size) > pictures.LARGEST:
            if scale is None:
                raise InputError("no µm/px in the slide", fix="state it as mpp, for example 0.25")
            slide = new_slide(
                db, user, name, slide_id=upload.id, mpp=scale, file=file.name,
                state=SlideState.CUTTING, width=size[0], height=size[1],
            )  # fmt: skip
            jobs.submit(db, "cut", user, slide, cut)
            return slide
        tiles = [pictures.take(file, folder, column=0, row=0, batch=1)]
    file.unlink(missing_ok=True)
    x, y = scale or (None, None)
    slide = new_slide(
        db, user, name, slide_id=upload.id, state=SlideState.CUTTING, tile_mpp_x=x, tile_mpp_y=y
    )
    add_tiles(db, slide, tiles)
    return slide


def _said(upload: Upload, error: InputError) -> str:
    """An error about a file by the name that its sender knows, without the server's folders."""
    place = ", ".join(part for part in (upload.name, error.where) if part)
    return f"{place}: {error.what}" + (f"; {error.fix}" if error.fix else "")


def _check_open(upload: Upload) -> None:
    if upload.slide_id:
        raise ApiError(409, f"{upload.name} is finished already; begin another upload")


def _gone(upload: Upload) -> ApiError:
    return ApiError(
        404,
        f"the file of {upload.name} is gone: finished a moment ago, or left for a week; look at it "
        "again",
    )


@contextmanager
def _held(settings: Settings, upload: Upload) -> Iterator[BinaryIO]:
    """The upload's file, which nobody else writes meanwhile."""
    try:
        opened = part_file(settings, upload).open("r+b", buffering=0)
    except FileNotFoundError:
        raise _gone(upload) from None
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ApiError(
                409, f"{upload.name} is being written by another request; try again"
            ) from None
        if not os.fstat(file.fileno()).st_nlink:  # it was left, and taken away a moment ago
            raise _gone(upload)
        yield file


def _sync_folder(folder: Path) -> None:
    """Have a new file's name on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
