"""Users, logins and the audit trail, over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from mitoyolo import __version__
from mitoyolo.web import audit, example, logins, source, users
from mitoyolo.web.access import Admin, ApiError, CurrentLogin, Db, SettingsOf
from mitoyolo.web.bodies import Body, Id
from mitoyolo.web.models import Login, Role, User
from mitoyolo.web.passwords import GivenPassword, NewPassword, Passwords

router = APIRouter(prefix="/api", tags=["users"])
RESEARCH_USE = "For research use only; not for diagnosis."

NewName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$")]
GivenName = Annotated[str, Field(max_length=64)]


class State(BaseModel):
    """Of the server, for everyone."""

    setup: bool
    """Whether the first admin is still to be made."""
    version: str
    source: str
    """Where the source of this very program is, as section 13 of its licence asks."""
    licence: str = "AGPL-3.0-or-later"
    notice: str = RESEARCH_USE


class FirstAdmin(Body):
    """The first user, by the token on the console."""

    token: Annotated[str, Field(max_length=256)]
    name: NewName
    password: NewPassword


class Credentials(Body):
    """Of a login."""

    name: GivenName
    password: GivenPassword


class Me(BaseModel):
    """Who is logged in, and the token that every change must name as `X-CSRF-Token`."""

    id: int
    name: str
    role: Role
    csrf: str


class PasswordChange(Body):
    """One's own."""

    old: GivenPassword
    new: NewPassword


class NewUser(Body):
    """As an admin makes one."""

    name: NewName
    password: NewPassword
    role: Role = Role.ANNOTATOR


class UserChange(Body):
    """What an admin may change; null changes nothing."""

    active: bool | None = None
    role: Role | None = None
    password: NewPassword | None = None


class UserOut(BaseModel):
    """A user, without the password."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    role: Role
    active: bool
    created_at: datetime


class AuditOut(BaseModel):
    """A change: who made it, and when."""

    id: int
    at: datetime
    user: str | None
    action: str
    subject: str
    detail: dict[str, Any]


@router.get("/state")
def state(request: Request) -> State:
    """Whether the server is set up, and what it is."""
    return State(
        setup=request.app.state.setup.token is not None,
        version=__version__,
        source=source.address(),
    )


@router.get("/source")
def source_of_this() -> Response:
    """The source of this very program, as a zip."""
    headers = {"Content-Disposition": f'attachment; filename="mitoyolo-{__version__}.zip"'}
    return Response(source.archive(), media_type="application/zip", headers=headers)


@router.post("/setup")
def setup(
    body: FirstAdmin, request: Request, response: Response, db: Db, settings: SettingsOf
) -> Me:
    """Make the first admin, and log in."""
    first = request.app.state.setup
    with first.lock:
        if not first.fits(body.token):
            raise ApiError(403, "not the token that the console shows; it works once")
        user = users.create(db, _passwords(request), None, body.name, body.password, Role.ADMIN)
        me = _begin(request, response, db, user, settings.login_hours)
        db.commit()  # if it fails, the token stays
        first.token = None
    if settings.example:
        example.make(db, settings, user)
    return me


@router.post("/login")
def login(
    body: Credentials, request: Request, response: Response, db: Db, settings: SettingsOf
) -> Me:
    """Log in: the cookie goes along with every request from then on."""
    user = logins.check(
        db,
        _passwords(request),
        request.app.state.attempts,
        name=body.name,
        password=body.password,
        address=request.client.host if request.client else None,
        token=request.cookies.get(logins.COOKIE),
    )
    if user is None:
        db.commit()  # of the audit trail
        raise ApiError(401, "wrong name or password")
    return _begin(request, response, db, user, settings.login_hours)


@router.post("/logout", status_code=204)
def logout(login: CurrentLogin, db: Db) -> None:
    """End this browser's login."""
    login.ended = True
    audit.record(db, login.user, "logout", f"user {login.user.id}")


@router.get("/me")
def me(login: CurrentLogin) -> Me:
    """Who is logged in."""
    return _me(login)


@router.post("/me/password", status_code=204)
def change_password(body: PasswordChange, login: CurrentLogin, request: Request, db: Db) -> None:
    """Change one's own password: other browsers must log in again."""
    passwords, attempts = _passwords(request), request.app.state.attempts
    if not logins.confirm(passwords, attempts, login, body.old):
        raise ApiError(403, "the old password is wrong")
    users.change_own_password(db, passwords, login, body.new)


@router.get("/users")
def list_users(by: Admin, db: Db) -> list[UserOut]:
    """All users, those switched off too."""
    return [UserOut.model_validate(user) for user in db.scalars(select(User).order_by(User.id))]


@router.post("/users", status_code=201)
def create_user(body: NewUser, by: Admin, request: Request, db: Db) -> UserOut:
    """Make a user, who should change the password."""
    user = users.create(db, _passwords(request), by, body.name, body.password, body.role)
    return UserOut.model_validate(user)


@router.patch("/users/{id}")
def change_user(id: Id, body: UserChange, by: Admin, request: Request, db: Db) -> UserOut:
    """Change a user. Switched off, or with a new password, their logins end."""
    user = db.get(User, id)
    if user is None:
        raise ApiError(404, f"there is no user {id}")
    users.change(db, _passwords(request), by, user, **dict(body))
    return UserOut.model_validate(user)


@router.get("/audit")
def list_audit(
    by: Admin,
    db: Db,
    before: Id | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[AuditOut]:
    """Changes, the newest first; `before` is the last id that one has."""
    return [
        AuditOut(
            id=row.id,
            at=row.at,
            user=name,
            action=row.action,
            subject=row.subject,
            detail=row.detail,
        )
        for row, name in audit.entries(db, before, limit)
    ]


def _passwords(request: Request) -> Passwords:
    passwords: Passwords = request.app.state.passwords
    return passwords


def _begin(request: Request, response: Response, db: Db, user: User, hours: float) -> Me:
    token, login = logins.begin(db, user, request.cookies.get(logins.COOKIE), hours)
    logins.set_cookie(response, token, secure=request.url.scheme == "https")
    return _me(login)


def _me(login: Login) -> Me:
    user = login.user
    return Me(id=user.id, name=user.name, role=Role(user.role), csrf=login.csrf)
