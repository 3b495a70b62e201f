"""The migrations make the tables that the models describe, on either database."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect
from sqlalchemy.exc import IntegrityError

from converters.errors import InputError
from mitoyolo.web import database as module
from mitoyolo.web.database import FILE, open_database, upgrade
from mitoyolo.web.models import Audit, Base, Login, User, now
from mitoyolo.web.settings import Settings
from web.conftest import BOTH, CHEAP


@pytest.fixture
def settings(settings: Settings) -> Settings:
    settings.folder.mkdir()
    return settings


@BOTH
def test_the_models_are_what_the_migrations_make(settings: Settings) -> None:
    engine, _ = open_database(settings)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []
        found = inspect(connection)
        assert set(found.get_table_names()) == {*Base.metadata.tables, "alembic_version"}
        for table in Base.metadata.sorted_tables:
            rules = {rule["name"] for rule in found.get_unique_constraints(table.name)}
            keys = {key["name"] for key in found.get_foreign_keys(table.name)}
            named = {str(rule.name) for rule in table.constraints}
            assert rules | keys | {f"pk_{table.name}"} == named
    engine.dispose()


@BOTH
def test_a_second_start_changes_nothing(settings: Settings) -> None:
    engine, sessions = open_database(settings)
    with sessions() as db:
        db.add(User(name="anna", password="x", role="annotator"))
        db.commit()
    engine.dispose()
    engine, sessions = open_database(settings)
    with sessions() as db:
        assert db.query(User).one().name == "anna"
    engine.dispose()


@BOTH
def test_a_migration_that_fails_leaves_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import op

    create = op.create_table

    def failing(name: str, *rest: object) -> object:
        if name == "revisions":
            raise RuntimeError("the power fails")
        return create(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(op, "create_table", failing)
    with pytest.raises(RuntimeError):
        open_database(settings)
    monkeypatch.setattr(op, "create_table", create)
    engine, _ = open_database(settings)
    assert set(inspect(engine).get_table_names()) >= set(Base.metadata.tables)
    engine.dispose()


@BOTH
def test_a_newer_database_is_one_line(settings: Settings) -> None:
    engine, _ = open_database(settings)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(InputError, match=r"does not know.*newer"):
        upgrade(engine)
    engine.dispose()


@BOTH
def test_keys_are_checked_and_moments_keep_their_zone(settings: Settings) -> None:
    engine, sessions = open_database(settings)
    at = now()
    with sessions() as db:
        db.add(Login(token_sha256="x", user_id=99, csrf="x", expires_at=at))
        with pytest.raises(IntegrityError):
            db.commit()
    with sessions() as db:
        db.add(Audit(at=at, action="x", subject="x", detail={"µ": [1.5, None]}))
        db.commit()
    with sessions() as db:
        row = db.query(Audit).one()
        assert (row.at, row.detail) == (at, {"µ": [1.5, None]})
    engine.dispose()


def test_sqlite_is_set_for_safety(settings: Settings) -> None:
    engine, _ = open_database(settings)
    with engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 30000,
    }
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    ["", "x", "mysql://a/b", "sqlite:///elsewhere", "postgresql+asyncpg://a/b", "file.sqlite"],
)
def test_a_url_of_something_else_is_one_line(settings: Settings, url: str) -> None:
    with pytest.raises(InputError, match="expected postgresql://"):
        open_database(Settings(settings.folder, database=url, hashing=CHEAP))


def test_a_server_that_is_not_there_is_one_line_without_the_password(settings: Settings) -> None:
    pytest.importorskip("psycopg")
    url = f"postgresql://anna:topsecret@/bench?host={settings.folder}"
    with pytest.raises(InputError, match="check --database") as caught:
        open_database(Settings(settings.folder, database=url, hashing=CHEAP))
    assert "topsecret" not in str(caught.value)


def test_a_file_that_is_no_database_is_one_line(settings: Settings) -> None:
    (settings.folder / FILE).write_text("this is no database" * 100)
    with pytest.raises(InputError, match="not a database"):
        open_database(settings)


def test_a_package_that_is_missing_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from converters.errors import MissingPackageError

    def missing(*args: object, **more: object) -> None:
        raise ModuleNotFoundError("psycopg")

    monkeypatch.setattr(module, "create_engine", missing)
    with pytest.raises(MissingPackageError, match=r"pip install '\.\[postgresql\]' in"):
        open_database(Settings(settings.folder, database="postgresql://a/b", hashing=CHEAP))
