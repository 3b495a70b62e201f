"""The database: SQLite in the workspace, or a PostgreSQL by its URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from converters.errors import InputError, MissingPackageError
from mitoyolo.extras import install
from mitoyolo.web.settings import Settings

FILE = "mitoyolo.sqlite"
Sessions = sessionmaker[Session]
_SERVING = 0x6D69746F
"""The advisory lock of a server on its PostgreSQL: any number that is always the same."""
CONNECTIONS = 40
"""As many as Starlette has threads, so that a request never waits for another's."""


def open_database(settings: Settings) -> tuple[Engine, Sessions]:
    """Connect, and bring the tables to this version.

    Raises
    ------
    InputError
        The URL is none, nobody answers there, or a newer mitoyolo made the tables.
    """
    engine = _engine(settings, pool_size=CONNECTIONS, pool_pre_ping=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    with _told(engine):
        upgrade(engine)
    # what was read stays readable after the commit, which comes before the answer
    return engine, sessionmaker(engine, expire_on_commit=False)


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """For the time of a ``with`` block, be the only server of a PostgreSQL database.

    Two would each run the jobs of both. SQLite stands in the folder, which has a lock of its own.
    It is a lock of a connection: where the database is started anew, it is free.

    Raises
    ------
    InputError
        Another server has it, the URL is none, or nobody answers there.
    """
    if settings.database is None:
        yield
        return
    engine = _engine(settings, isolation_level="AUTOCOMMIT")  # no transaction stays open
    with _told(engine):
        connection = engine.connect()
    try:
        if not connection.scalar(select(func.pg_try_advisory_lock(_SERVING))):
            raise InputError(
                "another `mitoyolo serve` has this database",
                file=engine.url.render_as_string(),
                fix="end it, or give another",
            )
        yield
    finally:
        connection.close()
        engine.dispose()


def _engine(settings: Settings, **options: Any) -> Engine:
    url = _url(settings)
    try:
        return create_engine(url, **options)
    except ModuleNotFoundError:
        raise MissingPackageError(
            f"the database {url.drivername} needs a package: {install('postgresql')}"
        ) from None


@contextmanager
def _told(engine: Engine) -> Iterator[None]:
    """Say in a line that a database cannot be used."""
    try:
        yield
    except DBAPIError as error:
        place = engine.url.render_as_string()
        raise InputError(
            f"cannot be used: {error.orig}", file=place, fix="check --database"
        ) from None


def upgrade(engine: Engine) -> None:
    """Run the migrations that this database lacks: all of them, or none.

    Raises
    ------
    InputError
        A newer mitoyolo made the tables.
    """
    config = Config()
    config.set_main_option("script_location", "mitoyolo.web:migrations")
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":  # whose driver else begins at the first INSERT
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise InputError(
                f"has tables that this mitoyolo does not know ({error})",
                file=engine.url.render_as_string(),
                fix="install the mitoyolo that wrote it, or a newer one",
            ) from None


def _url(settings: Settings) -> URL:
    if settings.database is None:
        return URL.create("sqlite", database=str(settings.folder / FILE))
    try:
        url = make_url(settings.database)
    except ArgumentError:
        url = URL.create("nothing")
    if url.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    raise InputError(
        "--database: expected postgresql://USER:PASSWORD@HOST/NAME",
        fix="without it, SQLite in the folder is used",
    )


def _prepare_sqlite(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    for pragma in (
        "busy_timeout = 30000",  # of milliseconds, for another's writing
        "journal_mode = WAL",  # readers and the writer do not wait for each other
        "synchronous = FULL",  # what was acknowledged survives a power cut
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def database_file(settings: Settings) -> Path | None:
    """The file that holds it, if it is SQLite."""
    return None if settings.database else settings.folder / FILE
