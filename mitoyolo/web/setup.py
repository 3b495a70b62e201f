"""The first admin, and one more where no password is known: made by who reads the console."""

from __future__ import annotations

from secrets import compare_digest, token_urlsafe
from threading import Lock

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from mitoyolo.web.database import Sessions
from mitoyolo.web.models import Role, User


class Setup:
    """Whether there is an admin yet, and the one-time token that makes one.

    Attributes
    ----------
    token : str, optional
        None as soon as it was used, and where there is an admin, unless it is for another one
        (``again``). It lives as long as this process, on no disk.
    lock : Lock
        Held from the check of a token to the commit.
    """

    def __init__(self, sessions: Sessions, *, again: bool = False) -> None:
        with sessions() as db:
            self.token = token_urlsafe(16) if again or not _has_admin(db) else None
        self.lock = Lock()

    def fits(self, token: str) -> bool:
        """Whether it is the one."""
        return self.token is not None and compare_digest(self.token.encode(), _bytes(token))


def _has_admin(db: Session) -> bool:
    return bool(db.scalar(select(exists().where(User.role == Role.ADMIN))))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
