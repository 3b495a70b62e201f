"""One progress bar for all long work: on stderr, with rate and time left, silent when asked."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.table import Column
from rich.text import Text

T = TypeVar("T")

LINES_APART = 10.0
"""Seconds between two lines of a job without a terminal, at least."""

FOLLOWED = "MITOYOLO_FOLLOWED"
"""Environment variable: whoever set it reads the lines, and wants every bar's own among them."""

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence every bar and note of this process (``--quiet``)."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Whether :func:`set_quiet` has silenced this process."""
    return _quiet


def note(message: str) -> None:
    """One line for the user on stderr."""
    if not _quiet:
        print(message, file=sys.stderr, flush=True)


def _speed(task: Task) -> float | None:
    """Units a second since the bar began; what was done before does not count."""
    done = task.completed - task.fields["before"]
    return done / task.elapsed if done and task.elapsed else None


def _rate(task: Task) -> str:
    speed = _speed(task)
    return f"{speed:.1f} {task.fields['unit']}/s" if speed else ""


def _left(task: Task) -> str:
    speed = _speed(task)
    if not speed or not task.remaining or task.remaining < 0:
        return ""
    return f"{timedelta(seconds=round(task.remaining / speed))} left"


class _Column(ProgressColumn):
    def __init__(self, text: Callable[[Task], str]) -> None:
        self._text = text
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        return Text(self._text(task))


@contextmanager
def bar(
    description: str, *, unit: str, total: int | None = None, completed: int = 0
) -> Iterator[Bar]:
    """A bar for the time of a ``with`` block; advance it with :meth:`Bar.step`.

    Where ``completed`` units were done before, as in a resumed job, it begins there; rate and time
    left are of what is done now.
    """
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Column(_rate),
        _Column(_left),
        _Column(lambda task: str(task.fields["extra"])),
        console=console,
        disable=_quiet or not console.is_terminal,
    )
    with progress:
        progress.add_task(
            description, total=total, completed=completed, before=completed, unit=unit, extra=""
        )
        handle = Bar(progress)
        try:
            yield handle
        finally:
            handle._say_last()
    if progress.disable:
        (task,) = progress.tasks
        note(", ".join(filter(None, (f"{description}: {int(task.completed)} {unit}", _rate(task)))))


class Bar:
    """What :func:`bar` yields."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        (self._task,) = progress.tasks
        self._unsaid: str | None = None
        self._next_line = 0.0
        self._apart = 1.0 if FOLLOWED in os.environ else LINES_APART

    def step(self, count: int = 1, extra: str | None = None) -> None:
        """Advance by ``count``; ``extra`` is a short text shown behind the bar."""
        self._progress.advance(self._task.id, count)
        if extra is not None:
            self._progress.update(self._task.id, extra=extra)
        if count and FOLLOWED in os.environ:
            total = "" if self._task.total is None else f" of {int(self._task.total)}"
            done = f"{int(self._task.completed)}{total} {self._task.fields['unit']}"
            self._hold(f"{self._task.description}: {done}")

    def less(self, count: int) -> None:
        """Expect ``count`` units fewer than was said at the beginning."""
        (task,) = self._progress.tasks
        if task.total is not None:
            self._progress.update(self._task.id, total=task.total - count)

    def line(self, text: str) -> None:
        """Say how far a long job is: behind the bar, or where there is none as a line of its own.

        Lines carry rate and time left too. They are at least 10 s apart; of those between, the
        latest is said when the bar ends.
        """
        self.step(0, text)
        self._hold(text)

    def _hold(self, text: str) -> None:
        if self._progress.disable:
            self._unsaid = ", ".join(filter(None, (text, _rate(self._task), _left(self._task))))
            if self._progress.get_time() >= self._next_line:
                self._say_last()

    def _say_last(self) -> None:
        if self._unsaid:
            note(self._unsaid)
            self._unsaid = None
            self._next_line = self._progress.get_time() + self._apart


def track(
    items: Iterable[T], description: str, *, unit: str, total: int | None = None
) -> Iterator[T]:
    """Yield ``items`` with a bar over them."""
    with bar(description, unit=unit, total=total) as handle:
        for item in items:
            yield item
            handle.step()
