"""A detector over the tiles of a slide: reading, normalising and the model overlap in time.

Threads read and normalise the batches that come next while the model has the present one. The
number of batches under way is bounded, so that memory is the same for a slide of any size.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from converters.errors import InputError
from mitoyolo.detectors.base import Detector
from mitoyolo.images import RGB
from mitoyolo.inference.apply import BATCH
from mitoyolo.inference.merge import Detections
from mitoyolo.inference.parts import Part, Parts
from mitoyolo.inference.stitch import NOTHING
from mitoyolo.pool import cores, work_ahead
from mitoyolo.slides.scaled import Scaled
from mitoyolo.stain.device import apply_batch
from mitoyolo.stain.normaliser import Fitted
from mitoyolo.tiles import Window

Item = TypeVar("Item")

READERS = min(8, cores())
"""Threads that read."""

AHEAD = READERS + 2
"""Batches that are read before the model asks for them."""

CPU_BATCH = 4
"""Tiles a forward pass on a CPU: of 16 each takes longer, since they leave its caches."""


class Clock:
    """Seconds spent in each stage, summed over threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a ``with`` block."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begun
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def each(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items; what is timed is the wait for each."""
        source = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item


class _Loaded(NamedTuple):
    """Some tiles of a part: how many, those that could be read, and of the others why not."""

    part: int
    size: int
    tiles: list[RGB]
    unreadable: dict[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """All that decides what a slide's tiles give.

    Attributes
    ----------
    view : Scaled
        The slide at the µm/px at which it is searched.
    windows : sequence of Window
        The tiles, of one size, in pixels of the view.
    imgsz : int
        Side in pixels to which a tile is resized for the network.
    fitted : Fitted or None
        The normaliser, fitted to the slide.
    threshold : float
        Detections of a lower score are not kept: there may be hundreds a tile, and none of them
        can outdo a better one in the merging.
    """

    detector: Detector
    view: Scaled
    windows: Sequence[Window]
    imgsz: int
    fitted: Fitted | None
    threshold: float
    clock: Clock = field(default_factory=Clock)

    def run(self, parts: Parts, claimed: Iterable[int], step: Callable[[int], None]) -> None:
        """Search the parts that ``claimed`` yields, and write each.

        Parameters
        ----------
        claimed : iterable of int
            Drawn from as the work goes on.
        step : callable
            Told how many tiles are done.
        """
        if not self.windows:
            return
        begun: dict[int, Part] = {}
        with self.clock.stage("normalising"):
            self._normalised([])  # a table of colours is made once, before threads ask for it
        with ThreadPoolExecutor(READERS, "reader") as pool:
            loaded = work_ahead(pool, self._load, self._batches(parts, claimed), AHEAD + 1)
            for batch in self.clock.each("waiting", loaded):
                with self.clock.stage("model"):
                    rows = iter(
                        self.detector.predict(batch.tiles, self.imgsz) if batch.tiles else ()
                    )
                part = begun.setdefault(batch.part, Part([]))
                for i in range(batch.size):
                    if i in batch.unreadable:
                        part.unreadable[len(part.found)] = batch.unreadable[i]
                    part.found.append(NOTHING if i in batch.unreadable else self._kept(next(rows)))
                if len(part.found) == len(parts.windows(batch.part)):
                    parts.write(batch.part, begun.pop(batch.part))
                step(batch.size)

    def _batches(
        self, parts: Parts, claimed: Iterable[int]
    ) -> Iterator[tuple[int, Sequence[Window]]]:
        """The tiles of each part, as many at a time as the model takes."""
        size = CPU_BATCH if self.detector.device == "cpu" else BATCH
        for number in claimed:
            windows = parts.windows(number)
            for start in range(0, len(windows), size):
                yield number, windows[start : start + size]

    def _load(self, batch: tuple[int, Sequence[Window]]) -> _Loaded:
        """Tiles of a part as the model knows them."""
        number, windows = batch
        tiles: list[RGB] = []
        unreadable = {}
        with self.clock.stage("reading"):
            for i, window in enumerate(windows):
                try:
                    tiles.append(self.view.read(window))
                except InputError as error:
                    unreadable[i] = error.what
        with self.clock.stage("normalising"):
            return _Loaded(number, len(windows), self._normalised(tiles), unreadable)

    def _normalised(self, tiles: list[RGB]) -> list[RGB]:
        first = self.windows[0]
        pixels = len(self.windows) * first.width * first.height
        return apply_batch(self.fitted, tiles, device=self.detector.device, pixels=pixels)

    def _kept(self, rows: Detections) -> Detections:
        return rows[rows[:, 4] >= self.threshold]
