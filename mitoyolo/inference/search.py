"""A detector over the tiles of a slide: reading, normalising and the model overlap in time.

Threads read and normalise the batches that come next while the model has the present one. The
number of batches under way is bounded, so that memory is the same for a slide of any size.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from converters.errors import InputError
from mitoyolo.detectors.base import Detector
from mitoyolo.images import RGB
from mitoyolo.inference.apply import BATCH
from mitoyolo.inference.merge import Detections
from mitoyolo.inference.parts import Part, Parts
from mitoyolo.inference.stitch import NOTHING
from mitoyolo.slides.scaled import Scaled
from mitoyolo.stain.device import apply_batch
from mitoyolo.stain.normaliser import Fitted
from mitoyolo.tiles import Window

READERS = max(1, min(8, len(os.sched_getaffinity(0))))
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
            for number, windows, loading in self._loaded(pool, parts, claimed):
                with self.clock.stage("waiting"):
                    tiles, unreadable = loading.result()
                with self.clock.stage("model"):
                    rows = iter(self.detector.predict(tiles, self.imgsz) if tiles else ())
                part = begun.setdefault(number, Part([]))
                for i in range(len(windows)):
                    if i in unreadable:
                        part.unreadable[len(part.found)] = unreadable[i]
                    part.found.append(NOTHING if i in unreadable else self._kept(next(rows)))
                if len(part.found) == len(parts.windows(number)):
                    parts.write(number, begun.pop(number))
                step(len(windows))

    def _loaded(
        self, pool: ThreadPoolExecutor, parts: Parts, claimed: Iterable[int]
    ) -> Iterator[tuple[int, Sequence[Window], Future[tuple[list[RGB], dict[int, str]]]]]:
        """Batches in their order, with those behind them being loaded."""
        under_way: deque[tuple[int, Sequence[Window], Future[tuple[list[RGB], dict[int, str]]]]] = (
            deque()
        )
        size = CPU_BATCH if self.detector.device == "cpu" else BATCH
        try:
            for number in claimed:
                windows = parts.windows(number)
                for start in range(0, len(windows), size):
                    batch = windows[start : start + size]
                    under_way.append((number, batch, pool.submit(self._load, batch)))
                    if len(under_way) > AHEAD:
                        yield under_way.popleft()
            while under_way:
                yield under_way.popleft()
        finally:
            for _, _, loading in under_way:
                loading.cancel()

    def _load(self, windows: Sequence[Window]) -> tuple[list[RGB], dict[int, str]]:
        """Tiles as the model knows them, without those that cannot be read, and why."""
        tiles: list[RGB] = []
        unreadable = {}
        with self.clock.stage("reading"):
            for i, window in enumerate(windows):
                try:
                    tiles.append(self.view.read(window))
                except InputError as error:
                    unreadable[i] = error.what
        with self.clock.stage("normalising"):
            return self._normalised(tiles), unreadable

    def _normalised(self, tiles: list[RGB]) -> list[RGB]:
        first = self.windows[0]
        pixels = len(self.windows) * first.width * first.height
        return apply_batch(self.fitted, tiles, device=self.detector.device, pixels=pixels)

    def _kept(self, rows: Detections) -> Detections:
        return rows[rows[:, 4] >= self.threshold]
