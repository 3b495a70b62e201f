"""What was annotated, as CADD4MBC's own folder tree, and by ``mitoyolo convert`` as YOLO or COCO.

``T98/Batch-100/87_88.json`` is a document of one tile, with the tile's picture ``x87y88.png``
beside it where it is asked for. ``mitoyolo convert --from cadd4mbc`` reads the tree as it is. Where
the tiles were cut from a slide here, ``T98/tiles.csv`` and ``T98/summary.json`` say where on it
they lie, so that ``convert`` puts them back on it.

Source: real exports of CADD4MBC (KMIT), see ``docs/formats.md``.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy.orm import Session

from converters.errors import InputError
from converters.files import read_json, write_json
from converters.model import LABELS
from converters.mpp import differ
from converters.prepare import Selection
from converters.slide_tiles import INDEX, TILES
from mitoyolo import dataset
from mitoyolo.convert.options import ConvertOptions
from mitoyolo.convert.run import convert
from mitoyolo.jobs import RUN_FILE
from mitoyolo.web import audit
from mitoyolo.web.access import ApiError
from mitoyolo.web.agreement import consensus
from mitoyolo.web.batches import marks_read
from mitoyolo.web.elements import exported
from mitoyolo.web.models import Assignment, Batch, Revision, Slide, Stage, Tile, User
from mitoyolo.web.settings import Settings
from mitoyolo.web.slides import cut_folder, tile_file, tile_mpp
from mitoyolo.web.uploads import check_room
from mitoyolo.web.users import CONSENSUS

CADD4MBC = "cadd4mbc"
FORMATS = (CADD4MBC, "yolo", "coco")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Whose marks are wanted.

    Attributes
    ----------
    reader : User or None
        None: the consensus of a batch's readers.
    approved : bool
        Only work that an admin has approved; else whatever is saved.
    """

    reader: User | None
    approved: bool = True

    @property
    def name(self) -> str:
        """For messages and file names."""
        return self.reader.name if self.reader else CONSENSUS


@dataclass(frozen=True, slots=True)
class Read:
    """A tile with what is marked on it."""

    tile: Tile
    elements: list[dict[str, Any]]
    at: datetime


def read_tiles(db: Session, slide: Slide, wanted: Wanted) -> dict[int, list[Read]]:
    """Batch number -> its tiles that were read, by all its readers for a consensus.

    Raises
    ------
    ApiError
        409: a consensus of tiles whose µm/px is not known.
    """
    found: dict[int, list[Read]] = {}
    for batch in slide.batches:
        readers = _readers(batch, wanted)
        if not readers:
            continue
        marks = marks_read(db, batch, readers)
        tiles = [
            Read(tile, _together(marks[tile.id], slide), max(r.saved_at for r in marks[tile.id]))
            for tile in batch.tiles
            if tile.id in marks
        ]
        if tiles:
            found[batch.number] = tiles
    return found


def _readers(batch: Batch, wanted: Wanted) -> list[User]:
    def counts(item: Assignment) -> bool:
        return item.stage == Stage.APPROVED or not wanted.approved

    readers = [item.user for item in batch.assignments if counts(item)]
    if wanted.reader is None:
        return sorted(readers, key=lambda user: user.id)
    return [wanted.reader] if wanted.reader in readers or not wanted.approved else []


def _together(marks: Sequence[Revision], slide: Slide) -> list[dict[str, Any]]:
    if len(marks) == 1:
        return list(marks[0].elements)
    return consensus([item.elements for item in marks], tile_mpp(slide))


def document(read: Read, batch: int) -> dict[str, Any]:
    """The export of one tile, with the keys of CADD4MBC's own."""
    place = (str(read.tile.column), str(read.tile.row))
    return {
        "_modelType": "tileannotation",
        "annotation": {
            "description": "",
            "elements": [exported(item) for item in read.elements],
            "name": "_".join(place),
            "position": list(place),
        },
        "groups": [f"Batch {batch}"],
        "itemId": hashlib.sha256(f"{read.tile.slide_id} {place}".encode()).hexdigest()[:24],
        "created": read.at.isoformat(timespec="milliseconds"),
    }


# --- folders ----------------------------------------------------------------------------------


def write_tree(
    db: Session,
    settings: Settings,
    slides: Sequence[Slide],
    wanted: Wanted,
    folder: Path,
    *,
    images: bool,
) -> None:
    """Write the tree of some slides; pictures are links to the workbench's own.

    Raises
    ------
    ApiError
        404: nothing was read, or nothing of it is approved.
    """
    empty = True
    for slide in slides:
        batches = read_tiles(db, slide, wanted)
        for number, tiles in batches.items():
            empty = False
            inside = folder / slide.name / f"Batch-{number}"
            inside.mkdir(parents=True)
            for read in tiles:
                tile = read.tile
                write_json(inside / f"{tile.column}_{tile.row}.json", document(read, number))
                if images:
                    file = tile_file(settings, tile).resolve()
                    (inside / f"x{tile.column}y{tile.row}{file.suffix}").symlink_to(file)
        if images and batches and slide.file:
            placed = [read.tile for members in batches.values() for read in members]
            _write_places(settings, slide, placed, folder / slide.name)
    if empty:
        names = ", ".join(slide.name for slide in slides)
        which = "approved batch" if wanted.approved else "batch"
        raise ApiError(
            404, f"no {which} of {names} with a tile read by {wanted.name}; a tile counts as read "
            "when it is marked done or has a mark",
        )  # fmt: skip


def _write_places(settings: Settings, slide: Slide, tiles: Sequence[Tile], folder: Path) -> None:
    """Where on the slide its tiles lie, as ``mitoyolo tile`` says it, by the slide's own name."""
    mpp = tile_mpp(slide)
    rows = [
        dataset.Tile(
            name=f"x{tile.column}y{tile.row}", source=slide.name, case=slide.name, split="",
            x=tile.left or 0, y=tile.top or 0, width=tile.width, height=tile.height, mpp=mpp,
        )
        for tile in tiles
    ]  # fmt: skip
    dataset.write_manifest(folder, rows, TILES)
    own = {"source": slide.name, "mpp": [slide.mpp_x, slide.mpp_y], "at_mpp": list(mpp)}
    write_json(folder / INDEX, read_json(cut_folder(settings, slide) / INDEX) | own)


def convert_options(
    slides: Sequence[Slide], to: str, labels: Sequence[str] = LABELS
) -> ConvertOptions:
    """How ``convert`` is called on a tree of some slides.

    Raises
    ------
    ApiError
        409: the µm/px of one is not known, or two that came as tiles differ in it.
    """
    scales = [tile_mpp(slide) for slide in slides]
    mpp = None
    if any(slide.file is None for slide in slides):  # the others' tree says theirs
        mpp = scales[0]
        if any(differ(mpp, other) for other in scales):
            named = ", ".join(f"{slide.name} {slide.tile_mpp_x:g}" for slide in slides)
            raise ApiError(409, f"slides of different µm/px: {named}; take those of one at a time")
    return ConvertOptions(
        format=CADD4MBC, to=to, mpp=mpp, selection=Selection(labels=tuple(labels))
    )


# --- the zip ----------------------------------------------------------------------------------


def download(
    db: Session,
    settings: Settings,
    user: User,
    slides: Sequence[Slide],
    wanted: Wanted,
    *,
    to: str,
    labels: Sequence[str],
    images: bool,
) -> IO[bytes]:
    """A zip of the tree, or of what ``convert`` makes of it, as an open file without a name.

    Raises
    ------
    ApiError
        404: nothing was read; 409: the µm/px is not known; 507: no room.
    InputError
        From ``convert``.
    """
    converted = to != CADD4MBC
    options = convert_options(slides, to, labels) if converted else None
    _check_room(settings, slides, copies=(to == "yolo") + images + 1)
    with tempfile.TemporaryDirectory(dir=settings.downloads) as name:
        work = Path(name)
        tree = work / "cadd4mbc"
        write_tree(db, settings, slides, wanted, tree, images=images or converted)
        if options:
            try:
                convert(tree, work / to, options)
            except InputError as error:
                raise ApiError(422, str(error).replace(f"{tree}/", "")) from None
            tree = work / to
        file = tempfile.TemporaryFile(dir=work)  # noqa: SIM115 - whoever sends it closes it
        try:
            _pack(tree, file)
        except BaseException:
            file.close()
            raise
    audit.record(
        db, user, "download", f"slide {slides[0].id}", slides=[slide.name for slide in slides],
        reader=wanted.name, approved=wanted.approved, format=to,
    )  # fmt: skip
    file.seek(0)
    return file


def _check_room(settings: Settings, slides: Sequence[Slide], copies: int) -> None:
    files = [
        tile_file(settings, tile)
        for slide in slides
        for batch in slide.batches
        for tile in batch.tiles
    ]
    check_room(settings, copies * sum(path.stat().st_size for path in files))


_STORED = (".png", ".jpg", ".jpeg")


def _pack(folder: Path, file: IO[bytes]) -> None:
    """Zip a folder, following links, in the order of names; but for ``run.json``, which tells how
    the server was called and where its files lie."""
    with zipfile.ZipFile(file, "w", strict_timestamps=False) as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name != RUN_FILE:
                how = zipfile.ZIP_STORED if path.suffix in _STORED else zipfile.ZIP_DEFLATED
                packed.write(path, path.relative_to(folder), compress_type=how)
