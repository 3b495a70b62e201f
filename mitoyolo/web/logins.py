"""Logins: sessions of browsers, by a cookie whose token only the browser keeps.

Wrong passwords are counted for the address that they come from; a browser that shows a cookie by
which the same user once logged in, ended or not, has a count of its own (OWASP's device cookies).
So whoever guesses from the same address, or behind the same proxy, does not lock the user out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from secrets import compare_digest, token_urlsafe
from urllib.parse import urlsplit

from fastapi import Response
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from mitoyolo.web import audit
from mitoyolo.web.attempts import Attempts, network
from mitoyolo.web.models import Login, User, now
from mitoyolo.web.passwords import Passwords

COOKIE = "mitoyolo_session"
_REMEMBERED_S = 365 * 86400


class TooManyError(Exception):
    """Wrong passwords, too many of them.

    Attributes
    ----------
    wait_s : int
        Seconds until the next one may be tried.
    """

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"too many wrong passwords; try again in {wait_s} s")
        self.wait_s = wait_s


def find(db: Session, token: str | None) -> Login | None:
    """Of a cookie, whether it is valid or not."""
    return db.get(Login, _sha256(token)) if token else None


def valid(login: Login) -> bool:
    """Whether its browser is still logged in."""
    return not login.ended and login.user.active and login.expires_at > now()


def has_token(login: Login, given: str | None) -> bool:
    """Whether a request names the login's CSRF token, which no other site's page can read."""
    return compare_digest(login.csrf.encode(), (given or "").encode())


def same_site(headers: Mapping[str, str], proxy: str | None) -> bool:
    """Whether a request comes from a page of ours, or from no page at all.

    The page's host must be the one that is asked, or the proxy's, which may ask by another name.
    """
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("none", "same-origin")
    try:
        page = urlsplit(origin)
    except ValueError:
        return False
    ours = (headers.get("host", "").lower(), proxy)
    return page.netloc.lower() in ours


def named(db: Session, name: str) -> User | None:
    """The user of that name, however it is capitalised."""
    if "\0" in name:
        return None
    return db.scalar(select(User).where(func.lower(User.name) == name.lower()))


def check(
    db: Session,
    passwords: Passwords,
    attempts: Attempts,
    *,
    name: str,
    password: str,
    address: str | None,
    token: str | None,
) -> User | None:
    """Who logs in; None for a wrong name, a wrong password, or a user switched off alike.

    Raises
    ------
    TooManyError
        Too many were wrong before.
    """
    user = named(db, name)
    before = find(db, token)
    known = before is not None and user is not None and before.user_id == user.id
    who = f"browser {_sha256(token or '')}" if known else network(address)
    _take(attempts, who)
    fits = passwords.fits(password, user.password if user and user.active else None)
    if user is None or not fits:
        audit.record(db, None, "login.failed", f"user {user.id}" if user else "no user")
        return None
    attempts.give_back(who)
    if passwords.outdated(user.password):
        user.password = passwords.hash(password)
    return user


def confirm(passwords: Passwords, attempts: Attempts, login: Login, password: str) -> bool:
    """Whether who is logged in knows the password: a browser left open is not enough.

    Raises
    ------
    TooManyError
        Too many were wrong before.
    """
    who = f"browser {login.token_sha256}"
    _take(attempts, who)
    fits = passwords.fits(password, login.user.password)
    if fits:
        attempts.give_back(who)
    return fits


def begin(db: Session, user: User, before: str | None, hours: float) -> tuple[str, Login]:
    """Log a browser in, and out where it was: a token for its cookie, always a new one."""
    old = find(db, before)
    if old:
        old.ended = True
    token = token_urlsafe(32)
    login = Login(
        token_sha256=_sha256(token),
        user=user,
        csrf=token_urlsafe(32),
        expires_at=now() + timedelta(hours=hours),
    )
    db.add(login)
    audit.record(db, user, "login", f"user {user.id}")
    return token, login


def end_all(db: Session, user: User, but: Login | None = None) -> None:
    """Log a user's browsers out."""
    query = update(Login).where(Login.user_id == user.id)
    if but:
        query = query.where(Login.token_sha256 != but.token_sha256)
    db.execute(query.values(ended=True))


def set_cookie(response: Response, token: str, *, secure: bool) -> None:
    """Hand the token to the browser, which keeps it longer than the login: see above."""
    response.set_cookie(
        COOKIE,
        token,
        max_age=_REMEMBERED_S,
        path="/",
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def _take(attempts: Attempts, who: str) -> None:
    if wait_s := attempts.take(who):
        raise TooManyError(wait_s)


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
