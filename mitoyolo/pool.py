"""Work on many small tasks in several threads or processes: results in order, memory bounded."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

import cv2

from converters.errors import MitoyoloError

Task = TypeVar("Task")
Result = TypeVar("Result")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work_ahead(
    pool: Executor, function: Callable[[Task], Result], tasks: Iterable[Task], most: int
) -> Iterator[Result]:
    """``function`` of each task, in the tasks' order, up to ``most`` of them drawn ahead.

    Closing the iterator cancels what has not begun.
    """
    waiting: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) >= most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


class Pool:
    """Worker processes for the time of a ``with`` block; with one worker, this process.

    The workers are spawned, since a fork of a process with threads may hang.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Pool:
        if self.workers > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_start)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """``function`` of each task, in the tasks' order, two tasks a worker drawn ahead.

        The first error, in the tasks' order, ends the work and is raised.

        Raises
        ------
        MitoyoloError
            A worker died.
        """
        if not self._pool:
            yield from map(function, tasks)
            return
        try:
            yield from work_ahead(self._pool, function, tasks, 2 * self.workers)
        except BrokenProcessPool:
            raise MitoyoloError(
                "a worker process died (killed, or out of memory); repeat the call, it continues"
                " where it stopped, with fewer --workers"
            ) from None


def _start() -> None:
    cv2.setNumThreads(1)  # the processes already fill the cores
    _keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


def _keep_memory() -> None:
    """Have the C library keep what is freed, for the next image.

    It would give the larger arrays back to the system and ask for them again, page by page, with
    every image: more than half of the time of a job of 512 px tiles.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc alone has it
    if mallopt:
        mallopt(_MMAP_THRESHOLD, 64 << 20)
        mallopt(_TRIM_THRESHOLD, 256 << 20)


def _end_with_parent() -> None:
    """A killed parent tells nobody; without this its workers would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent:
        wait([parent.sentinel])
        os._exit(1)
