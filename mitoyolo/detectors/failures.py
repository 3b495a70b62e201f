"""Errors of torch and Ultralytics as one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from converters.errors import MitoyoloError
from mitoyolo.distributed import noticing_loss


class EngineError(MitoyoloError):
    """torch or Ultralytics gave up; the cause is chained for ``--debug``."""


@contextmanager
def foreseen(relief: str) -> Iterator[None]:
    """Turn what torch or Ultralytics raise in the block into an :class:`EngineError`.

    ``relief`` is what the user can do when memory runs out. Our own errors and those of the
    operating system (a full disk, say) pass: they are one line already.
    """
    try:
        with noticing_loss():
            yield
    except (MitoyoloError, OSError):
        raise
    except Exception as error:
        raise EngineError(explain(error, relief)) from error


def explain(error: Exception, relief: str) -> str:
    """What happened and what can be done about it."""
    lines = str(error).strip().splitlines()
    what = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    lowered = str(error).lower()
    if isinstance(error, MemoryError) or "out of memory" in lowered or "allocate memory" in lowered:
        return f"out of memory ({what}); {relief}"
    if "cuda" in lowered or "cudnn" in lowered:
        return f"the GPU failed ({what}); try again, or use --device cpu"
    if "more than 1 value per channel" in lowered:  # BatchNorm in training, on a map of one place
        return f"too little to train BatchNorm on ({what}); give a larger --imgsz or --batch"
    return f"torch or Ultralytics stopped with {what}; --debug shows where"
