"""How often someone may try a password."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from math import ceil
from threading import Lock


class Attempts:
    """A bucket of attempts for each who tries; it fills again by one each ``wait_s``.

    Buckets belong to who asks, never to whom they ask for: nobody can lock another out.

    Parameters
    ----------
    most : int
        In a full bucket.
    wait_s : float
        Seconds, until there is one more.
    clock : callable
        Seconds, never back.
    """

    _KEPT = 10_000

    def __init__(
        self, most: int, wait_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._wait_s, self._clock = most, wait_s, clock
        self._full_at: dict[str, float] = {}
        self._lock = Lock()

    def take(self, who: str) -> int:
        """Use one up; if none is left, how many seconds to wait, else 0."""
        now = self._clock()
        with self._lock:
            full_at = max(self._full_at.pop(who, now), now)
            over = full_at + self._wait_s - now - self._most * self._wait_s
            if over > 0:
                self._full_at[who] = full_at
                return ceil(over)
            self._full_at[who] = full_at + self._wait_s
            while len(self._full_at) > self._KEPT:  # the one that asked longest ago
                del self._full_at[next(iter(self._full_at))]
            return 0

    def give_back(self, who: str) -> None:
        """After a right password: it was none of those that are counted."""
        with self._lock:
            if who in self._full_at:
                self._full_at[who] -= self._wait_s


def network(address: str | None) -> str:
    """Of an address, what one household or machine has: of IPv6 the first 64 bits."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if found.version == 4:
        return str(found)
    return str(ipaddress.ip_network((found, 64), strict=False))
