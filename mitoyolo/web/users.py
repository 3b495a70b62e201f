"""Users made and changed. Nobody is deleted, and an admin always remains."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from mitoyolo.web import audit, logins
from mitoyolo.web.models import Login, Role, User
from mitoyolo.web.passwords import Passwords

CONSENSUS = "consensus"
"""What a batch's readers say together is called, as if it were a reader's: nobody else is."""


class RefusedError(Exception):
    """A change that cannot be made, with the reason."""


def create(
    db: Session, passwords: Passwords, by: User | None, name: str, password: str, role: Role
) -> User:
    """A new user; ``by`` is None for the first.

    Raises
    ------
    RefusedError
        The name is another's, in whatever capitals; or the password is the name.
    """
    if logins.named(db, name) or name.lower() == CONSENSUS:
        raise RefusedError(f"there is a user {name} already; choose another name")
    user = User(name=name, password=_hashed(passwords, name, password), role=role)
    db.add(user)
    db.flush()
    audit.record(db, by or user, "user.create", f"user {user.id}", name=name, role=role)
    return user


def change(
    db: Session,
    passwords: Passwords,
    by: User,
    user: User,
    *,
    active: bool | None = None,
    role: Role | None = None,
    password: str | None = None,
) -> None:
    """Change what is not None. A new password, or none more, ends the user's logins.

    Raises
    ------
    RefusedError
        No admin who may log in would remain; or the password is the name.
    """
    admins = select(User.id).where(User.role == Role.ADMIN, User.active)
    db.scalars(admins.with_for_update()).all()  # two admins may switch each other off at once
    if active is not None:
        user.active = active
    if role is not None:
        user.role = role
    if password is not None:
        user.password = _hashed(passwords, user.name, password)
    db.flush()
    if not db.scalars(admins).all():
        raise RefusedError("an admin who may log in must remain; make another one first")
    if password is not None or active is False:
        logins.end_all(db, user)
    given = {"active": active, "role": role, "password": None if password is None else "new"}
    detail = {key: value for key, value in given.items() if value is not None}
    audit.record(db, by, "user.change", f"user {user.id}", **detail)


def change_own_password(db: Session, passwords: Passwords, login: Login, password: str) -> None:
    """And end the user's other logins.

    Raises
    ------
    RefusedError
        The password is the name.
    """
    user = login.user
    user.password = _hashed(passwords, user.name, password)
    logins.end_all(db, user, but=login)
    audit.record(db, user, "user.password", f"user {user.id}")


def _hashed(passwords: Passwords, name: str, password: str) -> str:
    if password.lower() == name.lower():
        raise RefusedError("the password is the name; choose another one")
    return passwords.hash(password)
