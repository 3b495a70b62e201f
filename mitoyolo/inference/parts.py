"""What has been found so far on a slide, in parts that a killed process leaves to the next one.

A part is what a hundred tiles gave, in a file of its own. Several processes may work on one
slide: each claims a part before it begins, by a lock that dies with the process.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from converters.errors import InputError
from converters.files import PART, write_with
from mitoyolo.inference.merge import Detections
from mitoyolo.inference.stitch import NOTHING
from mitoyolo.tiles import Window

FOLDER = "parts"

TILES = 128
"""Tiles a part: what a kill can cost, some seconds on a laptop with OpenVINO."""

LOOK = 0.5
"""Seconds between two looks at what others are doing."""


@dataclass(frozen=True, slots=True)
class Part:
    """What some tiles gave.

    Attributes
    ----------
    found : list of (n, 6) float64
        Each tile's detections in its own pixels; none for an unreadable one.
    unreadable : dict
        Number of a tile within the part -> why it could not be read.
    """

    found: list[Detections]
    unreadable: dict[int, str] = field(default_factory=dict)


class Parts:
    """The parts of one slide, in a folder below its results.

    Parameters
    ----------
    folder : Path
        The slide's results.
    windows : sequence of Window
        All tiles to search, the same in every process.
    """

    def __init__(self, folder: Path, windows: Sequence[Window]) -> None:
        self._folder = folder / FOLDER
        self._windows = windows
        self._held: dict[int, int] = {}
        self.numbers = range(-(-len(windows) // TILES))

    def windows(self, number: int) -> Sequence[Window]:
        """The tiles of a part."""
        return self._windows[number * TILES : (number + 1) * TILES]

    def is_done(self, number: int) -> bool:
        """Whether anybody has finished it."""
        return self._file(number).exists()

    def begin(self) -> None:
        """Make the folder, by the process that will remove it."""
        self._folder.mkdir(exist_ok=True)

    def claim(self, number: int) -> bool:
        """Take a part, unless it is done, another process has it, or all are removed."""
        if self.is_done(number):
            return False
        try:
            handle = os.open(self._lock(number), os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._held[number] = handle
        # done or removed in between; from here on nobody removes it, since this part is not done
        if self.is_done(number) or not self._lock(number).exists():
            self._release(number)
            return False
        return True

    def write(self, number: int, part: Part) -> None:
        """Finish a part that is claimed."""
        unreadable = np.array([f"{i} {why}" for i, why in part.unreadable.items()], dtype=str)
        counts = np.array([len(rows) for rows in part.found])
        rows = np.concatenate([*part.found, NOTHING])
        write_with(
            self._file(number),
            lambda path: _save(path, counts=counts, rows=rows, unreadable=unreadable),
        )
        self._release(number)

    def read(self, number: int) -> Part:
        """A part that is done.

        Raises
        ------
        InputError
            Its file is damaged, or an earlier version of this program cut the slide otherwise.
        """
        file, keys = self._file(number), ("counts", "rows", "unreadable")
        try:
            with np.load(file, allow_pickle=False) as content:
                counts, rows, unreadable = (content[key] for key in keys)
        except (ValueError, KeyError, EOFError, BadZipFile):
            counts = rows = unreadable = np.empty(0)
        if len(counts) != len(self.windows(number)):
            raise InputError("not what these tiles gave", file=file, fix="repeat it by --overwrite")
        ends = np.cumsum(counts)[:-1]
        said = (str(line).split(" ", 1) for line in unreadable)
        return Part(np.split(rows, ends), {int(number): why for number, why in said})

    def wait(self) -> Iterator[int]:
        """Until nobody else has a part: those that another process did not finish, claimed."""
        while waiting := [
            number
            for number in self.numbers
            if number not in self._held and not self.is_done(number)
        ]:
            claimed = next((number for number in waiting if self.claim(number)), None)
            if claimed is None:
                time.sleep(LOOK)
            else:
                yield claimed

    def release(self) -> None:
        """Give back what was claimed and not finished."""
        for number in list(self._held):
            self._release(number)

    def _release(self, number: int) -> None:
        os.close(self._held.pop(number))

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:06d}.npz"

    def _lock(self, number: int) -> Path:
        return self._folder / f"{number:06d}.lock"


def are_begun(folder: Path) -> bool:
    """Whether a slide's parts can be claimed."""
    return (folder / FOLDER).exists()


def remove_parts(folder: Path) -> None:
    """Take a slide's parts away, after its results are written.

    All at once: of a folder that is half empty somebody would claim what looks undone.
    """
    going = folder / f"{PART}{FOLDER}"
    with suppress(FileNotFoundError):
        (folder / FOLDER).rename(going)
    shutil.rmtree(going, ignore_errors=True)


def _save(path: Path, **arrays: np.ndarray) -> None:
    with path.open("wb") as file:  # a name would get a suffix
        np.savez(file, **arrays)  # type: ignore[arg-type]
