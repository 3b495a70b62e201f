"""Image files: found in a folder, and their size read without decoding the pixels."""

from __future__ import annotations

import logging
import os
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from converters.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")

SLIDE_SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide")
"""Whole-slide formats, which OpenSlide reads."""

PICTURE_SUFFIXES = IMAGE_SUFFIXES + SLIDE_SUFFIXES

# The limit guards servers against decompression bombs; frames of whole-slide size are normal here.
Image.MAX_IMAGE_PIXELS = None
# A damaged file is told by our one line; what these two add on stderr is noise.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def find_files(root: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Files below ``root`` with one of ``suffixes``, sorted; hidden files and folders left out.

    Links to folders are followed, each folder once, so that a loop of links ends.

    Raises
    ------
    OSError
        A folder may not be listed: its files would be missing silently.
    """

    def wanted(name: str) -> bool:
        return os.path.splitext(name)[1].lower() in suffixes  # noqa: PTH122 - a name, no path

    yield from _below(root, wanted)


def all_files(root: Path) -> list[Path]:
    """As :func:`find_files`, of any suffix."""
    return _below(root, lambda name: True)


def _below(root: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """Files below ``root`` whose names are ``wanted``, in the order of their parts; names stay text
    until the end, since there may be very many."""
    seen: set[tuple[int, int]] = set()
    found: list[str] = []
    waiting = [str(root)]
    while waiting:
        folder = waiting.pop()
        state = os.stat(folder)  # noqa: PTH116
        if (state.st_dev, state.st_ino) in seen:
            continue
        seen.add((state.st_dev, state.st_ino))
        inner = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                with suppress(OSError):  # a link to itself is neither
                    if entry.is_dir():
                        inner.append(entry.path)
                    elif wanted(entry.name) and entry.is_file():
                        found.append(entry.path)
        waiting += sorted(inner, reverse=True)  # the first is next: of two links to one folder
    found.sort(key=lambda path: path.split(os.sep))  # noqa: PTH206
    return list(map(Path, found))


def open_image(file: Path | BinaryIO) -> Image.Image:
    """Pillow's image with its header read, the pixels not yet; of any size, and quietly."""
    return Image.open(file)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the header.

    Raises
    ------
    InputError
        The file is not an image or its header is damaged.
    """
    problem = "damaged, or not an image"
    try:
        if path.suffix.lower() in SLIDE_SUFFIXES:
            with open_slide(path) as slide:
                return slide.dimensions
        size = _header_size(path)
        if not (problem := header_lies(size, lambda: path.stat().st_size)):
            return size
    except Exception:  # Pillow raises many kinds for damaged files
        pass
    raise InputError(
        f"not a readable image ({problem})", file=path, fix="export or download it again"
    )


_HELD = 30_000_000
"""Bytes of pixels that any computer holds."""

_DENSEST = 3_000
"""Bytes of pixels that a byte of a file can stand for: three times what deflate reaches."""


def header_lies(size: tuple[int, int], length: Callable[[], int]) -> str:
    """What is wrong with a width and height of far more pixels than a file of ``length()`` bytes
    can hold, whose memory nobody should ask for; empty where nothing is."""
    pixels = 3 * size[0] * size[1]
    if pixels <= _HELD or pixels <= _DENSEST * length():
        return ""
    return f"its header says {size[0]} x {size[1]} px, which {length()} bytes cannot hold"


def _header_size(path: Path) -> tuple[int, int]:
    if path.suffix.lower() == ".png" and (size := _png_size(path)):
        return size
    with open_image(path) as image:
        return image.size


def _png_size(path: Path) -> tuple[int, int] | None:
    """Width and height from a sound header of a PNG in a third of Pillow's time; else None.

    Source: PNG specification, 11.2.2: the first chunk is IHDR, of 13 bytes, with its checksum.
    """
    with path.open("rb") as file:
        head = file.read(33)
    if len(head) < 33 or head[:16] != b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR":
        return None
    if zlib.crc32(head[12:29]) != int.from_bytes(head[29:], "big"):
        return None
    width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    return (width, height) if width and height else None


def is_turned(path: Path) -> bool:
    """Whether EXIF asks viewers to turn or mirror the image: some decoders obey, others do not.

    Source: EXIF 2.3 specification, tag 274 (Orientation); PNG specification, chunk eXIf.
    """
    try:
        with open_image(path) as image:
            if image.format == "PNG" and (data := _exif_of_png(path)):
                image.info["exif"] = data
            # that of PngImageFile would decode all pixels, to look behind them
            return Image.Image.getexif(image).get(274, 1) != 1
    except Exception:  # whether the image itself is readable shows elsewhere
        return False


def _exif_of_png(path: Path) -> bytes:
    """What stands in the chunk eXIf, before or behind the pixels; empty where there is none."""
    with path.open("rb") as handle:
        handle.seek(8)
        while len(head := handle.read(8)) == 8:
            length = int.from_bytes(head[:4], "big")
            if head[4:] == b"eXIf":
                return handle.read(length)
            handle.seek(length + 4, os.SEEK_CUR)
    return b""


def open_slide(path: Path) -> Any:
    """OpenSlide's slide, a context manager."""
    import openslide  # its library loads when a slide is met, not before

    return openslide.OpenSlide(path)
