"""Slides of the workbench: what came up becomes tiles in batches.

A slide is cut by ``mitoyolo tile`` in the background; :func:`take_tiles` takes up what it wrote.
Tiles that came as such are kept as they are.
"""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from converters.cadd4mbc import slide_of
from converters.files import read_json, read_rows
from converters.keys import Keys
from converters.mpp import Mpp
from converters.slide_tiles import INDEX, TILES
from mitoyolo.web import audit, jobs
from mitoyolo.web.access import ApiError
from mitoyolo.web.models import Assignment, Batch, Job, Role, Slide, SlideState, Tile, User
from mitoyolo.web.settings import Settings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}")

CUT = {"at_mpp": 0.25, "tile_size": 500, "batch_size": 150, "min_tissue": 0.1}
"""How a slide is cut unless it is said otherwise."""


def folder_of(settings: Settings, slide: Slide) -> Path:
    """Where the slide's files stand."""
    return settings.slides / slide.id


def file_of(settings: Settings, slide: Slide) -> Path:
    """The slide itself.

    Raises
    ------
    ApiError
        409: only tiles came.
    """
    if slide.file is None:
        raise ApiError(409, f"{slide.name} came as tiles; upload the slide itself for this")
    return folder_of(settings, slide) / slide.file


def tile_file(settings: Settings, tile: Tile) -> Path:
    """A tile's picture."""
    return settings.slides / tile.slide_id / tile.file


def tile_mpp(slide: Slide) -> Mpp:
    """µm per pixel of a slide's tiles.

    Raises
    ------
    ApiError
        409: it is not known.
    """
    if slide.tile_mpp_x is None or slide.tile_mpp_y is None:
        raise ApiError(409, f"the µm/px of {slide.name} is not known; state it on the slide's page")
    return (slide.tile_mpp_x, slide.tile_mpp_y)


def check_name(db: Session, name: str) -> None:
    """Raise ApiError 422 for what is no slide's name, 409 for one that is taken."""
    if not NAME.fullmatch(name):
        raise ApiError(
            422,
            f"slide name {name[:80]!r}: expected a letter or digit, then up to 63 letters, digits, "
            "spaces, and _ . -, for example T98",
        )
    if slide_of(Path("/", name, "87_88.json"), Path("/")) is None:
        raise ApiError(
            422, f"slide name {name}: a folder of CADD4MBC that is no slide; give another name"
        )
    if db.scalar(select(Slide.id).where(func.lower(Slide.name) == name.lower())):
        raise ApiError(409, f"there is a slide {name} already; give another name")


# --- cutting ----------------------------------------------------------------------------------


def cut_command(settings: Settings, slide: Slide, options: Mapping[str, Any] = CUT) -> list[str]:
    """The arguments of ``mitoyolo tile`` that cut a slide; ``options`` as :data:`CUT`."""
    wanted = {**CUT, **options}
    return [
        "tile", str(file_of(settings, slide).resolve()),
        str(cut_folder(settings, slide).parent.resolve()),
        "--mpp", f"{slide.mpp_x!r},{slide.mpp_y!r}",
        "--at-mpp", repr(wanted["at_mpp"]),
        "--size", str(wanted["tile_size"]),
        "--batch-size", str(wanted["batch_size"]),
        "--min-tissue", repr(wanted["min_tissue"]),
    ]  # fmt: skip


def cut_again(
    db: Session, settings: Settings, user: User, slide: Slide, options: Mapping[str, Any]
) -> None:
    """Have a slide cut in another way, after it failed.

    Raises
    ------
    ApiError
        409: it did not fail.
    """
    if slide.state != SlideState.FAILED:
        raise ApiError(409, f"{slide.name} is {slide.state}; only what failed is cut again")
    shutil.rmtree(cut_folder(settings, slide), ignore_errors=True)  # what the failed one has cut
    slide.state, slide.error = SlideState.CUTTING, None
    jobs.submit(db, "cut", user, slide, dict(options))


def cut_folder(settings: Settings, slide: Slide) -> Path:
    """What ``mitoyolo tile`` writes of the slide, or would."""
    return folder_of(settings, slide) / "tiles" / Path(slide.file or "").stem


def take_tiles(db: Session, settings: Settings, slide: Slide) -> None:
    """Take up the tiles that ``mitoyolo tile`` has written; a second time does nothing.

    Raises
    ------
    InputError
        They are unfinished or damaged.
    """
    if slide.state == SlideState.READY:
        return
    folder = cut_folder(settings, slide)
    keys = Keys.of(read_json(folder / INDEX), str(folder / INDEX), "")
    slide.tile_mpp_x, slide.tile_mpp_y = keys.point(keys.value("at_mpp"), "at_mpp")
    files = {path.stem: path for path in folder.glob("batch-*/x*y*.png")}
    pictures = []
    for _, row in read_rows(folder / TILES, ("tile", "x", "y", "width", "height")):
        file = files[row["tile"]]
        column, row_number = map(int, row["tile"][1:].split("y"))
        left, top, width, height = (int(float(row[key])) for key in ("x", "y", "width", "height"))
        pictures.append(
            Picture(
                column=column, row=row_number, width=width, height=height, left=left, top=top,
                file=str(file.relative_to(folder_of(settings, slide))),
                batch=int(file.parent.name.removeprefix("batch-")),
            )
        )  # fmt: skip
    add_tiles(db, slide, pictures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A tile to be.

    Attributes
    ----------
    column, row, left, top, width, height, file
        As in :class:`~mitoyolo.web.models.Tile`.
    batch : int
        Number of its batch.
    """

    column: int
    row: int
    width: int
    height: int
    file: str
    batch: int
    left: int | None = None
    top: int | None = None


def add_tiles(db: Session, slide: Slide, pictures: Iterable[Picture]) -> None:
    """Give a slide its tiles, and make it ready."""
    batches: dict[int, list[Picture]] = defaultdict(list)
    for picture in pictures:
        batches[picture.batch].append(picture)
    for number, members in sorted(batches.items()):
        batch = Batch(slide_id=slide.id, number=number)
        db.add(batch)
        db.flush()
        db.add_all(
            Tile(
                slide_id=slide.id, batch_id=batch.id, column=item.column, row=item.row,
                left=item.left, top=item.top, width=item.width, height=item.height,
                file=item.file,
            )
            for item in sorted(members, key=lambda item: (item.row, item.column))
        )  # fmt: skip
    slide.state, slide.error = SlideState.READY, None
    db.flush()


def new_slide(
    db: Session, user: User, name: str, *, slide_id: str, mpp: Mpp | None = None, **values: Any
) -> Slide:
    """Add a slide's row; ``values`` are further columns.

    Raises
    ------
    ApiError
        Its name is none, or taken.
    """
    check_name(db, name)
    x, y = mpp or (None, None)
    slide = Slide(id=slide_id, name=name, mpp_x=x, mpp_y=y, created_by=user.id, **values)
    db.add(slide)
    try:
        db.flush()
    except IntegrityError:  # another upload was quicker
        raise ApiError(409, f"there is a slide {name} already; give another name") from None
    audit.record(db, user, "slide.add", f"slide {slide.id}", name=name, mpp=mpp)
    return slide


# --- what is told and changed -----------------------------------------------------------------


def change(
    db: Session, user: User, slide: Slide, *, name: str | None = None, mpp: float | None = None
) -> None:
    """Rename a slide, or state its µm/px: of level 0, or of the tiles where only tiles came.

    Raises
    ------
    ApiError
        The name is none, or taken; 409: the µm/px of a slide that is being cut.
    """
    before = {"name": slide.name, "mpp": slide.mpp_x if slide.file else slide.tile_mpp_x}
    if name is not None and name != slide.name:
        if name.lower() != slide.name.lower():
            check_name(db, name)
        slide.name = name
    if mpp is not None:
        if slide.state == SlideState.CUTTING:
            raise ApiError(409, f"{slide.name} is being cut; state its µm/px when it is ready")
        if slide.file and slide.mpp_x and slide.mpp_y:
            # the tiles stay as they are cut: they are so many times coarser than level 0
            if slide.tile_mpp_x and slide.tile_mpp_y:
                slide.tile_mpp_x *= mpp / slide.mpp_x
                slide.tile_mpp_y *= mpp / slide.mpp_y
            slide.mpp_x = slide.mpp_y = mpp
        else:
            slide.tile_mpp_x = slide.tile_mpp_y = mpp
    audit.record(db, user, "slide.change", f"slide {slide.id}", before=before, name=name, mpp=mpp)


def visible(db: Session, user: User) -> list[Slide]:
    """The slides that a user may see, the newest first."""
    query = (
        select(Slide)
        .options(selectinload(Slide.batches).selectinload(Batch.assignments))
        .order_by(Slide.created_at.desc(), Slide.name)
    )
    if user.role != Role.ADMIN:
        mine = select(Batch.slide_id).join(Assignment).where(Assignment.user_id == user.id)
        query = query.where(Slide.id.in_(mine))
    return list(db.scalars(query))


def latest_jobs(db: Session, slides: Iterable[Slide]) -> dict[str, Job]:
    """Slide id -> its newest job."""
    newest = (
        select(func.max(Job.id))
        .where(Job.slide_id.in_([slide.id for slide in slides]))
        .group_by(Job.slide_id)
    )
    return {job.slide_id or "": job for job in db.scalars(select(Job).where(Job.id.in_(newest)))}
