"""TIFF: only the strips or tiles that a window touches are read and decoded."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG, TiffFile, TiffPage

from converters.errors import InputError
from converters.image_mpp import image_mpp, tiff_mpp
from mitoyolo.images import RGB, over_white
from mitoyolo.slides.base import Closing, check_inside, is_reduction, unreadable
from mitoyolo.tiles import Window

CACHE = 256 * 2**20
"""Bytes of decoded strips or tiles that a slide keeps: the strips under a row of windows."""

LARGEST_PART = 64 * 2**20
"""Bytes of one decoded strip or tile; in larger ones a window would cost far more than itself."""


class NotThisWay(Exception):
    """A TIFF whose pixels cannot be taken strip by strip or tile by tile; it says why."""


class TiffSlide(Closing):
    """See :class:`mitoyolo.slides.base.Slide`.

    The levels are the first page and its reductions: its sub-IFDs, as in OME-TIFF, or pages that
    follow and are marked so, or are tiled, as Aperio's (its thumbnail and label are not).

    Raises
    ------
    InputError
        The file is damaged or cut off.
    NotThisWay
        It must be decoded whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with TiffFile(path) as tiff:
                self.mpp = tiff_mpp(tiff) or image_mpp(path)
                self._parts = list(_levels(tiff))
        except NotThisWay:
            raise
        except Exception:  # tifffile raises many kinds for damaged files
            raise _damaged(path) from None
        if any(parts.end > path.stat().st_size for parts in self._parts):
            raise _damaged(path)
        self.levels = tuple(parts.size for parts in self._parts)
        self.size = self.levels[0]
        self._file = os.open(path, os.O_RDONLY)
        self._cache = _Cache(CACHE)

    def read(self, level: int, window: Window) -> RGB:
        """See :meth:`mitoyolo.slides.base.Slide.read`."""
        check_inside(window, self.levels[level])
        parts = self._parts[level]
        pixels = np.full((window.height, window.width, parts.samples), 255, np.uint8)
        try:
            if parts.raw:
                self._read_rows(parts, window, pixels)
            else:
                self._read_parts(level, window, pixels)
        except Exception:  # each codec has errors of its own
            raise unreadable(self.path, level, window) from None
        if parts.alpha is None:
            return np.ascontiguousarray(pixels[..., :3])
        return over_white(pixels, premultiplied=parts.alpha)

    def _read_rows(self, parts: _Parts, window: Window, pixels: RGB) -> None:
        """Uncompressed strips: the rows' own bytes, however long the strip."""
        for row, line in enumerate(pixels, window.y):
            strip, within = divmod(row, parts.height)
            start = (within * parts.size[0] + window.x) * parts.samples
            data = self._bytes(parts.offsets[strip] + start, line.size)
            line[...] = np.frombuffer(data, np.uint8).reshape(line.shape)

    def _read_parts(self, level: int, window: Window, pixels: RGB) -> None:
        parts = self._parts[level]
        for index, left, top in parts.under(window):
            part = self._cache.get((level, index), partial(self._decode, parts, index))
            if part is None:  # a tile that was not written: not scanned
                continue
            x, y = left - window.x, top - window.y
            here = pixels[max(y, 0) : y + part.shape[0], max(x, 0) : x + part.shape[1]]
            part = part[max(-y, 0) :, max(-x, 0) :]
            here[...] = part[: here.shape[0], : here.shape[1]]

    def _decode(self, parts: _Parts, index: int) -> RGB | None:
        if not parts.counts[index]:
            return None
        data = self._bytes(parts.offsets[index], parts.counts[index])
        return parts.decode(data, index)

    def _bytes(self, offset: int, count: int) -> bytes:
        data = os.pread(self._file, count, offset)
        if len(data) < count:
            raise EOFError
        return data

    def close(self) -> None:
        """Close the file and forget the pixels."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._cache = _Cache(CACHE)


class _Parts:
    """The strips or tiles of one page.

    Attributes
    ----------
    raw : bool
        Strips without compression: rows lie in the file as they are.
    alpha : bool or None
        None: the page has no alpha; else whether its colours are multiplied by it already.
    end : int
        Where the last strip or tile ends in the file.
    """

    def __init__(self, page: TiffPage) -> None:
        _check(page)
        self.size = (page.imagewidth, page.imagelength)
        self.samples = page.samplesperpixel
        self.height, self.width = page.chunks[:2]
        if not min(self.size) or not min(self.width, self.height):
            raise ValueError("no pixels")
        self.columns = -(-page.imagewidth // self.width)
        self.offsets, self.counts = page.dataoffsets, page.databytecounts
        rows = -(-page.imagelength // self.height)
        if not len(self.offsets) == len(self.counts) == rows * self.columns:
            raise ValueError("strips or tiles are missing")
        self.end = max(map(sum, zip(self.offsets, self.counts, strict=True)))
        plain = page.compression == COMPRESSION.NONE and page.fillorder == 1
        self.raw = plain and not page.is_tiled
        if self.raw and sum(self.counts) < page.imagewidth * page.imagelength * self.samples:
            raise ValueError("strips are too short")
        if not self.raw and self.height * self.width * self.samples > LARGEST_PART:
            raise NotThisWay("its strips are compressed and too large to be taken one by one")
        kind = page.extrasamples[0] if self.samples == 4 and page.extrasamples else 0
        self.alpha = {1: True, 2: False}.get(kind)
        self._decode, self._tables = page.decode, page.jpegtables

    def under(self, window: Window) -> Iterator[tuple[int, int, int]]:
        """Index, left and top of every part that a window touches."""
        for row in range(window.y // self.height, -(-(window.y + window.height) // self.height)):
            for column in range(
                window.x // self.width, -(-(window.x + window.width) // self.width)
            ):
                yield row * self.columns + column, column * self.width, row * self.height

    def decode(self, data: bytes, index: int) -> RGB:
        """One strip or tile of (rows, columns, samples)."""
        part, _, _ = self._decode(data, index, jpegtables=self._tables)
        if part is None:
            raise ValueError("nothing to decode")
        return np.asarray(part[0], np.uint8)


def _check(page: TiffPage) -> None:
    """Refuse what is not 8-bit RGB, pixel by pixel."""
    colours = page.photometric == PHOTOMETRIC.RGB or (
        page.photometric == PHOTOMETRIC.YCBCR and page.compression == COMPRESSION.JPEG
    )
    problems = {
        f"{page.bitspersample} bits a channel": page.dtype != np.uint8 or page.bitspersample != 8,
        f"{getattr(page.photometric, 'name', page.photometric)} pixels": not colours,
        f"{page.samplesperpixel} channel(s)": page.samplesperpixel not in (3, 4),
        "channels apart": page.planarconfig != PLANARCONFIG.CONTIG,
        f"compression {page.compression!r}": page.compression not in tifffile.TIFF.DECOMPRESSORS,
        "a volume": page.imagedepth != 1 or page.tiledepth > 1,
    }
    if found := [name for name, is_so in problems.items() if is_so]:
        raise NotThisWay(", ".join(found))


def _levels(tiff: TiffFile) -> Iterator[_Parts]:
    """The first page, then its reductions, each smaller than the one before and of its shape."""
    first = tiff.pages.first
    last = _Parts(first)
    whole = last.size
    yield last
    others = [page.aspage() for page in first.pages or tiff.pages[1:]]
    for page in sorted(others, key=lambda page: -page.imagewidth):
        if not (first.pages or page.is_reduced or page.is_tiled):
            continue
        size = (page.imagewidth, page.imagelength)
        if is_reduction(size, whole) and size[0] < last.size[0] and size[1] < last.size[1]:
            with suppress(NotThisWay):  # a level fewer costs time, not truth
                last = _Parts(page)
                yield last


def _damaged(path: Path) -> InputError:
    return InputError(
        "not a readable TIFF (damaged or cut off)", file=path, fix="export or download it again"
    )


class _Cache:
    """Decoded parts, the least used forgotten first; what one thread decodes, others wait for."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._lock = Lock()
        self._parts: OrderedDict[tuple[int, int], Future[RGB | None]] = OrderedDict()

    def get(self, key: tuple[int, int], decode: Callable[[], RGB | None]) -> RGB | None:
        with self._lock:
            waiting = self._parts.get(key)
            part = self._parts.setdefault(key, Future())
            self._parts.move_to_end(key)
        if waiting is None:
            try:
                self._keep(part, decode())
            except Exception as error:  # told to those who wait; the next one tries again
                with self._lock:
                    del self._parts[key]
                part.set_exception(error)
        return part.result()

    def _keep(self, part: Future[RGB | None], pixels: RGB | None) -> None:
        with self._lock:
            part.set_result(pixels)
            self._held += _bytes(pixels)
            while self._held > self._limit:
                oldest = next((key for key, old in self._parts.items() if old.done()))
                self._held -= _bytes(self._parts.pop(oldest).result())


def _bytes(pixels: RGB | None) -> int:
    return 0 if pixels is None else pixels.nbytes
