"""Runs the migrations in the transaction that ``database.upgrade`` has begun."""

from __future__ import annotations

from alembic import context

from mitoyolo.web.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters no column
)
with context.begin_transaction():
    context.run_migrations()
