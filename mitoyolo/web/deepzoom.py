"""Slides as Deep Zoom pyramids, a tile at a time, whatever reads the slide.

Source: Microsoft, Deep Zoom File Format Overview (2008): level n is the picture halved until the
last level's size, rounded up, and each tile but those at the edges overlaps its neighbours.
"""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore, Lock

import cv2
import numpy as np

from converters.errors import InputError
from converters.files import write_bytes
from mitoyolo.images import RGB, encode_jpeg
from mitoyolo.pool import cores
from mitoyolo.slides.reader import Slide, open_slide
from mitoyolo.slides.scaled import Sized
from mitoyolo.tiles import Window, halves

TILE, OVERLAP = 254, 1
"""px of a tile's side, and shared with each neighbour: 256 px in all, as JPEG codes blocks of 8."""

QUALITY = 85
"""Of the JPEG tiles, as scanners' own."""

VERSION = 1
"""Of the tiles' pixels: another one makes browsers and the cache forget the old."""

COARSE = 2048
"""px: levels up to this size are made together, from one reading of the slide."""

AT_ONCE = 2**22
"""Pixels of the slide that are read for a piece of a tile, at most: 12 MB."""

PIECE = 16
"""px: a damaged place is followed down to such pieces of a tile, which become grey."""

OPEN = 3
"""Slides that are kept open; each keeps some decoded pixels."""


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The levels of a slide of (width, height) px."""

    width: int
    height: int

    @property
    def last(self) -> int:
        """The level that is the slide itself; level 0 is one pixel."""
        return (max(self.width, self.height) - 1).bit_length()

    def size(self, level: int) -> tuple[int, int]:
        """Width and height of a level."""
        step = 2 ** (self.last - level)
        return (-(-self.width // step), -(-self.height // step))

    def window(self, level: int, column: int, row: int) -> Window | None:
        """The pixels of a tile in its level; None where there is no such tile."""
        if not 0 <= level <= self.last:
            return None
        width, height = self.size(level)
        if not (0 <= column * TILE < width and 0 <= row * TILE < height):
            return None
        left, top = max(column * TILE - OVERLAP, 0), max(row * TILE - OVERLAP, 0)
        right = min((column + 1) * TILE + OVERLAP, width)
        bottom = min((row + 1) * TILE + OVERLAP, height)
        return Window(left, top, right - left, bottom - top)

    def places(self, level: int) -> Iterator[tuple[int, int]]:
        """Column and row of each tile of a level."""
        width, height = self.size(level)
        for row in range(-(-height // TILE)):
            for column in range(-(-width // TILE)):
                yield column, row

    def descriptor(self) -> str:
        """What a ``.dzi`` file says."""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" Format="jpeg" '
            f'Overlap="{OVERLAP}" TileSize="{TILE}">'
            f'<Size Width="{self.width}" Height="{self.height}"/></Image>\n'
        )


class Tiles:
    """Makes tiles and keeps them, for all threads of a server.

    A tile is made once, by as many threads as there are cores, and kept as a file, unless less
    than ``keep_free`` bytes of the disk would be left. A slide's file must never change.
    """

    def __init__(self, keep_free: int = 0) -> None:
        self._keep_free = keep_free
        self._slides = _OpenSlides()
        self._making = BoundedSemaphore(cores())
        self._locks = [Lock() for _ in range(64)]

    def pyramid(self, slide: Path) -> Pyramid:
        """The levels of a slide.

        Raises
        ------
        InputError
            It cannot be opened.
        """
        with self._slides.get(slide) as opened:
            return Pyramid(*opened.size)

    def tile(self, slide: Path, cache: Path, level: int, column: int, row: int) -> bytes | None:
        """A tile as JPEG; None where the pyramid has no such tile. Damaged places are grey.

        Parameters
        ----------
        cache : Path
            The folder of this slide's tiles.

        Raises
        ------
        InputError
            The slide cannot be opened.
        """
        if min(level, column, row) < 0 or max(level, column, row) > 2**31:
            return None
        path = _path(cache, level, column, row)
        if (kept := _read(path)) is not None:
            return kept
        # those who want one tile, or any of the coarse ones, wait for the first of them
        pyramid = self.pyramid(slide)
        window = pyramid.window(level, column, row)
        if window is None:
            return None
        coarse = max(pyramid.size(level)) <= COARSE
        mine = hash((cache,) if coarse else (cache, level, column, row)) % len(self._locks)
        with self._locks[mine]:
            if (kept := _read(path)) is not None:
                return kept
            with self._making, self._slides.get(slide) as opened:
                if not coarse:
                    return self._keep(path, read(Sized(opened, pyramid.size(level)), window))
                made = self._coarse(opened, pyramid, cache)
            return made[level, column, row]

    def close(self) -> None:
        """Give the slides' files back."""
        self._slides.close()

    def _coarse(
        self, slide: Slide, pyramid: Pyramid, cache: Path
    ) -> dict[tuple[int, int, int], bytes]:
        """All tiles of all coarse levels."""
        made = {}
        finest = max(n for n in range(pyramid.last + 1) if max(pyramid.size(n)) <= COARSE)
        pixels = None
        for level in range(finest, -1, -1):
            size = pyramid.size(level)
            if pixels is None:
                pixels = read(Sized(slide, size), Window(0, 0, *size))
            else:
                pixels = np.asarray(
                    cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8
                )
            for column, row in pyramid.places(level):
                window = pyramid.window(level, column, row)
                assert window is not None  # it is one of its places
                path = _path(cache, level, column, row)
                made[level, column, row] = self._keep(path, _cut(pixels, window))
        return made

    def _keep(self, path: Path, pixels: RGB) -> bytes:
        data = encode_jpeg(pixels, QUALITY)
        with suppress(OSError):  # then it is made again the next time
            path.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(path.parent).free - len(data) >= self._keep_free:
                write_bytes(path, data)
        return data


def read(view: Sized, window: Window) -> RGB:
    """A window of a slide, in pieces so small that :data:`AT_ONCE` is kept to; what is damaged
    is grey, for white would pass as glass.

    Returns
    -------
    uint8 array of shape (window.height, window.width, 3)
    """
    across, down = (a / b for a, b in zip(view.slide.levels[view.level], view.size, strict=True))
    if window.width * across * window.height * down <= AT_ONCE or window.width * window.height == 1:
        try:
            return view.read(window)
        except InputError:
            if max(window.width, window.height) <= PIECE:
                return np.full((window.height, window.width, 3), 128, np.uint8)
    axis = int(window.width >= window.height)
    return np.concatenate([read(view, part) for part in halves(window)], axis=axis)


def _path(cache: Path, level: int, column: int, row: int) -> Path:
    return cache / str(VERSION) / str(level) / f"{column}_{row}.jpeg"


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _cut(pixels: RGB, window: Window) -> RGB:
    rows = slice(window.y, window.y + window.height)
    return pixels[rows, window.x : window.x + window.width]


class _OpenSlides:
    """The :data:`OPEN` slides that were used last. One that is put away is closed when nobody
    reads it any more."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._slides: OrderedDict[Path, _Shared] = OrderedDict()

    @contextmanager
    def get(self, path: Path) -> Iterator[Slide]:
        with self._lock:
            shared = self._slides.setdefault(path, _Shared())
            self._slides.move_to_end(path)
            shared.users += 1
            away = [self._slides.popitem(last=False)[1] for _ in range(len(self._slides) - OPEN)]
        for old in away:
            old.put_away()
        try:
            yield shared.opened(path)
        finally:
            with self._lock:
                shared.users -= 1
            shared.close_if_unused()

    def close(self) -> None:
        with self._lock:
            away = list(self._slides.values())
            self._slides.clear()
        for old in away:
            old.put_away()


class _Shared:
    """A slide that several threads read."""

    def __init__(self) -> None:
        self.users = 0
        self._away = False
        self._lock = Lock()
        self._slide: Slide | None = None

    def opened(self, path: Path) -> Slide:
        with self._lock:
            if self._slide is None:
                self._slide = open_slide(path)
            return self._slide

    def put_away(self) -> None:
        self._away = True
        self.close_if_unused()

    def close_if_unused(self) -> None:
        with self._lock:
            if self._away and not self.users and self._slide:
                self._slide.close()
                self._slide = None
