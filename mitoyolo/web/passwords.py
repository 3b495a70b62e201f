"""Passwords, hashed by argon2id."""

from __future__ import annotations

import unicodedata
from secrets import token_urlsafe
from threading import BoundedSemaphore
from typing import Annotated

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import Field

from mitoyolo.web.settings import Hashing

NewPassword = Annotated[str, Field(min_length=12, max_length=256)]
"""Long rather than strange, as NIST SP 800-63B advises."""
GivenPassword = Annotated[str, Field(max_length=256)]


class Passwords:
    """Hashes and compares, two at a time: each takes 64 MiB."""

    def __init__(self, hashing: Hashing) -> None:
        self._hasher = PasswordHasher(hashing.time_cost, hashing.memory_kib, hashing.parallelism)
        self._turns = BoundedSemaphore(2)
        self._nobodys = self.hash(token_urlsafe())

    def hash(self, password: str) -> str:
        """To be kept."""
        with self._turns:
            return self._hasher.hash(_typed(password))

    def fits(self, password: str, kept: str | None) -> bool:
        """Whether ``kept`` is of this password. None, for a user who does not exist, takes as
        long."""
        try:
            with self._turns:
                self._hasher.verify(kept or self._nobodys, _typed(password))
        except (VerificationError, InvalidHashError):
            return False
        return True

    def outdated(self, kept: str) -> bool:
        """Whether it was hashed at another cost."""
        return self._hasher.check_needs_rehash(kept)


def _typed(password: str) -> bytes:
    """The same bytes on every keyboard; lone surrogates, which JSON can hold, as they are."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
