"""Ends from outside: SIGTERM, by which clusters take a machine back, and the death of a parent."""

from __future__ import annotations

import ctypes
import signal
import sys
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


_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # before any fork
_PR_SET_PDEATHSIG = 1


def end_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent dies, be it by SIGKILL.

    As ``prctl(2)`` describes PR_SET_PDEATHSIG; elsewhere than on Linux, nothing.
    """
    if _PRCTL:
        _PRCTL(_PR_SET_PDEATHSIG, number)
