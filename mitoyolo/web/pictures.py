"""Tile pictures that came as such: checked, and put where a slide's tiles stand."""

from __future__ import annotations

import io
import re
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from converters.cadd4mbc import TileKey, tile_key
from converters.errors import InputError
from converters.images import IMAGE_SUFFIXES, image_size, is_turned
from mitoyolo.images import encode_rgb, read_rgb
from mitoyolo.web.slides import Picture

LARGEST = 4096
"""px: the longest side of a tile."""

MOST_TILES = 20_000
MOST_BYTES = 64 * 2**20
"""Of one tile's file: what one of the largest has without any compression, and a little."""

_KEPT = (".png", ".jpg", ".jpeg")
"""What every browser shows; other pictures become PNG, which loses nothing."""

_MOST_DIRECTORY = 8 * 2**20
"""Bytes of a zip's directory: several times what that of :data:`MOST_TILES` takes."""

_BATCH = re.compile(r"batch[-_ ]?(\d{1,6})", re.IGNORECASE)


def take(file: Path, folder: Path, *, column: int, row: int, batch: int) -> Picture:
    """Check a picture and move it to its place among the slide's tiles.

    Raises
    ------
    InputError
        It does not decode, is not 8-bit colour, too large, or asks viewers to turn it.
    """
    width, height = image_size(file)
    if max(width, height) > LARGEST:
        raise InputError(
            f"a tile of {width} x {height} px, at most {LARGEST} a side are taken",
            fix="cut it, or upload it as a slide",
        )
    pixels = read_rgb(file)
    if is_turned(file):  # a browser would turn it, and the marks would lie elsewhere
        raise InputError("its EXIF asks viewers to turn it", fix="export it without")
    suffix = file.suffix.lower()
    target = folder / "tiles" / f"x{column}y{row}{suffix if suffix in _KEPT else '.png'}"
    target.parent.mkdir(exist_ok=True)
    if suffix in _KEPT:
        file.replace(target)
    else:
        target.write_bytes(encode_rgb(pixels, ".png"))
        file.unlink()
    return Picture(
        column=column, row=row, width=width, height=height, batch=batch,
        file=str(target.relative_to(folder)),
    )  # fmt: skip


def unpack(archive: Path, folder: Path, *, most_bytes: int, batch_size: int) -> list[Picture]:
    """Take the tiles of a zip.

    Their names say their places as in CADD4MBC's exports (`87_88.png`, `T98x87y88.jpg`,
    `x87y88.png`). Where each is in a folder such as `Batch-100`, that is its batch; else batches
    are counted row by row.

    Parameters
    ----------
    archive, folder : Path
        The zip, and the slide's folder.
    most_bytes : int
        What the tiles may take together.
    batch_size : int
        Tiles of a batch.

    Raises
    ------
    InputError
        No zip, a damaged or hostile one, or anything in it is no tile.
    """
    try:
        with _Bounded(archive) as file, zipfile.ZipFile(file) as opened:
            members = _members(opened, most_bytes)
            batches = _batches(members, batch_size)
            return [
                _take_member(opened, info, key, batches[key], folder)
                for key, info in members.items()
            ]
    except InputError:  # a ValueError too
        raise
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"not a readable zip ({error})", fix="pack it again") from None


class _Bounded(io.FileIO):
    """A file of which nothing is read at once that would fill the memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_DIRECTORY:
            raise zipfile.BadZipFile(f"a directory of {size} bytes")
        return super().read(-1 if size is None else size) or b""


def _members(opened: zipfile.ZipFile, most_bytes: int) -> dict[TileKey, zipfile.ZipInfo]:
    """Place -> member, row by row; files that macOS adds for itself are left out."""
    found: dict[TileKey, zipfile.ZipInfo] = {}
    total = 0
    for info in opened.infolist():
        path = _checked_path(info)
        if info.is_dir() or path.parts[0] == "__MACOSX" or path.name.startswith("."):
            continue
        key = tile_key(Path("/") / path, Path("/"))
        if key is None or path.suffix.lower() not in IMAGE_SUFFIXES:
            raise InputError(
                "not named as a tile",
                where=_shown(info),
                fix="name tiles by column and row, such as x87y88.png or 87_88.jpg, and take "
                "away what is no tile",
            )
        if info.file_size > MOST_BYTES:
            raise InputError(
                f"{info.file_size} bytes, at most {MOST_BYTES} of a tile", where=_shown(info)
            )
        if max(key.x, key.y) > 10**6:
            raise InputError("a tile farther than a million", where=_shown(info))
        place = TileKey(None, key.x, key.y)
        if other := found.get(place):
            raise InputError(
                f"a second picture of tile x{key.x} y{key.y} after {_shown(other)}",
                where=_shown(info),
                fix="a zip holds the tiles of one slide; upload one for each",
            )
        found[place] = info
        total += info.file_size
        if len(found) > MOST_TILES or total > most_bytes:
            raise InputError(
                f"more than {MOST_TILES} tiles or {most_bytes} bytes unpacked",
                fix="upload it in parts, or make room on the server",
            )
    if not found:
        raise InputError("no tile in the zip", fix="pack pictures such as x87y88.png")
    return dict(sorted(found.items(), key=lambda item: (item[0].y, item[0].x)))


def _checked_path(info: zipfile.ZipInfo) -> PurePosixPath:
    """A member's path, which is only read, never opened."""
    path = PurePosixPath(info.filename)
    mode = info.external_attr >> 16
    odd = (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or set(info.filename) & set("\\:\0")
        or not info.filename.isprintable()
        or len(info.filename) > 255
        or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        or (stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR))
        or info.flag_bits & 1
    )
    if odd:
        raise InputError(
            "a link, an encrypted file, an uncommon compression, or a name that is too long or "
            "leads out of the zip",
            where=_shown(info),
            fix="pack plain files",
        )
    return path


def _shown(info: zipfile.ZipInfo) -> str:
    return ascii(info.filename[:80])


def _batches(members: dict[TileKey, zipfile.ZipInfo], batch_size: int) -> dict[TileKey, int]:
    """Place -> number of its batch."""
    named = {
        key: match
        for key, info in members.items()
        if (match := _BATCH.fullmatch(PurePosixPath(info.filename).parent.name))
    }
    if len(named) == len(members):
        return {key: int(match[1]) for key, match in named.items()}
    return {key: i // batch_size + 1 for i, key in enumerate(members)}


def _take_member(
    opened: zipfile.ZipFile, info: zipfile.ZipInfo, key: TileKey, batch: int, folder: Path
) -> Picture:
    suffix = PurePosixPath(info.filename).suffix.lower()
    file = folder / f"member{suffix}"
    with opened.open(info) as source, file.open("wb") as target:
        shutil.copyfileobj(source, target)  # zipfile reads no more than the size it announced
    try:
        return take(file, folder, column=key.x, row=key.y, batch=batch)
    except InputError as error:
        raise InputError(error.what, where=_shown(info), fix=error.fix) from None
