"""One progress bar for all long work: on stderr, with rate and time left, silent when asked."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

T = TypeVar("T")

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence every bar and note of this process (``--quiet``)."""
    global _quiet
    _quiet = quiet


def note(message: str) -> None:
    """One line for the user on stderr."""
    if not _quiet:
        print(message, file=sys.stderr, flush=True)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {task.fields['unit']}/s" if speed else "")


@contextmanager
def bar(description: str, *, unit: str, total: int | None = None) -> Iterator[Bar]:
    """A bar for the time of a ``with`` block; advance it with :meth:`Bar.step`."""
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[extra]}"),
        console=console,
        disable=_quiet or not console.is_terminal,
    )
    with progress:
        task = progress.add_task(description, total=total, unit=unit, extra="")
        handle = Bar(progress, task)
        yield handle
    if progress.disable:
        done = int(progress.tasks[0].completed)
        elapsed = progress.tasks[0].elapsed or 0.0
        rate = f", {done / elapsed:.1f} {unit}/s" if elapsed else ""
        note(f"{description}: {done} {unit}{rate}")


class Bar:
    """What :func:`bar` yields."""

    def __init__(self, progress: Progress, task: int) -> None:
        self._progress, self._task = progress, task

    def step(self, count: int = 1, extra: str | None = None) -> None:
        """Advance by ``count``; ``extra`` is a short text shown behind the bar."""
        self._progress.advance(self._task, count)  # type: ignore[arg-type]
        if extra is not None:
            self._progress.update(self._task, extra=extra)  # type: ignore[arg-type]


def track(
    items: Iterable[T], description: str, *, unit: str, total: int | None = None
) -> Iterator[T]:
    """Yield ``items`` with a bar over them."""
    with bar(description, unit=unit, total=total) as handle:
        for item in items:
            yield item
            handle.step()
