"""Standard error for ourselves: what C libraries print there about damaged files is dropped.

libpng and libtiff write to the descriptor, past Python; our own line says what is wrong.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_DESCRIPTOR = 2


@contextmanager
def own_stderr() -> Iterator[None]:
    """For the time of a ``with`` block, ``sys.stderr`` alone reaches standard error.

    The descriptor is the process's: the block belongs into a command, around all of its threads.
    """
    before = sys.stderr
    if not _is_open():
        yield
        return
    before.flush()
    ours = os.fdopen(
        os.dup(_DESCRIPTOR), "w", buffering=1, encoding=before.encoding, errors=before.errors
    )
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - no path of anyone's
        os.dup2(nowhere.fileno(), _DESCRIPTOR)
    sys.stderr = ours
    try:
        yield
    finally:
        sys.stderr = before
        ours.flush()
        os.dup2(ours.fileno(), _DESCRIPTOR)
        ours.close()


def _is_open() -> bool:
    """Whether ``sys.stderr`` writes to the descriptor; a test's or a notebook's does not."""
    try:
        return sys.stderr.fileno() == _DESCRIPTOR
    except (AttributeError, OSError, ValueError):
        return False
