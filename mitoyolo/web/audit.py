"""Who changed what, and when."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mitoyolo.web.models import Audit, User


def record(db: Session, user: User | None, action: str, subject: str, **detail: Any) -> None:
    """Add a row, which is kept if and only if the change is: they are one transaction."""
    user_id = user.id if user else None
    db.add(Audit(user_id=user_id, action=action, subject=subject, detail=detail))


def entries(db: Session, before: int | None, limit: int) -> list[tuple[Audit, str | None]]:
    """The newest rows whose id is less than ``before``, with their users' names."""
    query = select(Audit, User.name).outerjoin(User, Audit.user_id == User.id)
    if before is not None:
        query = query.where(Audit.id < before)
    rows = db.execute(query.order_by(Audit.id.desc()).limit(limit))
    return [(row, name) for row, name in rows]
