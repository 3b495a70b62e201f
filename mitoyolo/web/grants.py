"""What a login may see, remembered for as long as nobody changes anything.

A screen of a slide is dozens of tiles, each a request that asks the database the same: is the login
valid, may its user see this slide, where is its file?
"""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")

LONGEST_S = 10.0
"""Of an answer: another program may write to the same database, and logins run out."""

MOST = 10_000
"""Answers that are kept."""


class Grants(Generic[Value]):
    """Answers of the database, by what was asked.

    Every change of it through this server must say so by :meth:`changed`, once it is done. An
    answer counts as of :attr:`changes` before the database was asked, so that one that a change
    overtakes is never used.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._kept: dict[Hashable, tuple[int, float, Value]] = {}

    def changed(self) -> None:
        """Forget all."""
        self.changes += 1
        self._kept.clear()

    def get(self, asked: Hashable) -> Value | None:
        """The answer; None where the database must be asked."""
        changes, until, value = self._kept.get(asked, (-1, 0.0, None))
        return value if changes == self.changes and time.monotonic() < until else None

    def keep(self, asked: Hashable, value: Value, changes: int) -> None:
        """An answer, and how many :attr:`changes` there were before the database was asked."""
        if len(self._kept) >= MOST:
            self._kept.clear()
        self._kept[asked] = (changes, time.monotonic() + LONGEST_S, value)
