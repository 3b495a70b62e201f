"""SIGTERM, by which clusters announce that they take a machine back: leave at once, and tidily."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """SIGTERM came. Not an ``Exception``: no handler of errors on the way shall keep it."""


@contextmanager
def stoppable() -> Iterator[None]:
    """For the time of a ``with`` block, SIGTERM raises :class:`Stopped` in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread alone
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends what hangs
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
