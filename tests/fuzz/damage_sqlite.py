"""Damage to an SQLite database: its tables, its cells, its pages, and what stands beside it."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from fuzz import values
from fuzz.damage_bytes import damage_bytes

_TABLES = {
    "Slides": ("uid", "filename", "width", "height", "directory"),
    "Annotations": ("uid", "slide", "deleted", "type", "agreedClass"),
    "Annotations_coordinates": ("coordinateX", "coordinateY", "annoId", "orderIdx"),
    "Classes": ("uid", "name"),
}
_ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT"


def _table(rng: random.Random) -> str:
    return rng.choice(tuple(_TABLES))


def _drop_table(rng: random.Random, opened: sqlite3.Connection) -> None:
    opened.execute(f"DROP TABLE {_table(rng)}")


def _drop_column(rng: random.Random, opened: sqlite3.Connection) -> None:
    table = _table(rng)
    opened.execute(f"ALTER TABLE {table} DROP COLUMN {rng.choice(_TABLES[table])}")


def _rename(rng: random.Random, opened: sqlite3.Connection) -> None:
    table = _table(rng)
    opened.execute(f"ALTER TABLE {table} RENAME TO {rng.choice((table.lower(), 'x'))}")


def _empty(rng: random.Random, opened: sqlite3.Connection) -> None:
    opened.execute(f"DELETE FROM {_table(rng)}")


def _loosen(opened: sqlite3.Connection, table: str) -> None:
    """Take a table's types and keys away, so that anything fits."""
    opened.execute(f"CREATE TABLE loose AS SELECT * FROM {table}")
    opened.execute(f"DROP TABLE {table}")
    columns = [row[1] for row in opened.execute("PRAGMA table_info(loose)")]
    opened.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
    opened.execute(f"INSERT INTO {table} SELECT * FROM loose")
    opened.execute("DROP TABLE loose")


def _cells(rng: random.Random, opened: sqlite3.Connection) -> None:
    table = _table(rng)
    if rng.random() < 0.7:
        _loosen(opened, table)
    column = rng.choice(_TABLES[table])
    where = rng.choice(("rowid = 1", "rowid % 2", "1"))
    opened.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (_cell(rng),))


def _cell(rng: random.Random) -> object:
    value = values.any_value(rng)
    if (isinstance(value, int) and abs(value) >= 2**63) or isinstance(value, list | dict):
        return str(value)
    if isinstance(value, str) and rng.random() < 0.3:
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value


def _text_of_bytes(rng: random.Random, opened: sqlite3.Connection) -> None:
    table = _table(rng)
    _loosen(opened, table)
    column = rng.choice(_TABLES[table])
    opened.execute(f"UPDATE {table} SET {column} = CAST(x'ff80c3fe00' AS TEXT)")


def _rows(rng: random.Random, opened: sqlite3.Connection) -> None:
    """Each row of a table again and again."""
    table = _table(rng)
    _loosen(opened, table)
    for _ in range(rng.choice((1, 1, 8))):
        opened.execute(f"INSERT INTO {table} SELECT * FROM {table} LIMIT 5000")


def _view(rng: random.Random, opened: sqlite3.Connection) -> None:
    """A table that never ends."""
    table = _table(rng)
    opened.execute(f"DROP TABLE {table}")
    columns = ", ".join(f"x AS {name}" for name in _TABLES[table])
    opened.execute(f"CREATE VIEW {table} AS {_ENDLESS} {columns} FROM c")


def _generated(rng: random.Random, opened: sqlite3.Connection) -> None:
    opened.execute("ALTER TABLE Annotations ADD COLUMN agreed AS (randomblob(10000000))")


def _virtual(rng: random.Random, opened: sqlite3.Connection) -> None:
    table = _table(rng)
    opened.execute(f"DROP TABLE {table}")
    opened.execute(f"CREATE VIRTUAL TABLE {table} USING fts5({', '.join(_TABLES[table])})")


def _orphans(rng: random.Random, opened: sqlite3.Connection) -> None:
    opened.execute("DELETE FROM Annotations WHERE rowid % 2")


_STATEMENTS: tuple[Callable[[random.Random, sqlite3.Connection], None], ...] = (
    *(_cells, _cells, _cells, _cells, _drop_table, _drop_column, _rename, _empty, _text_of_bytes),
    *(_rows, _view, _generated, _virtual, _orphans),
)


def _with_statements(rng: random.Random, path: Path) -> str:
    statement = rng.choice(_STATEMENTS)
    with closing(sqlite3.connect(path)) as opened, opened:
        opened.execute("PRAGMA synchronous = OFF")
        statement(rng, opened)
    return statement.__name__.strip("_")


def _open_log(rng: random.Random, path: Path) -> str:
    """A write-ahead log with a change that the database does not hold yet."""
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("PRAGMA journal_mode = WAL")
        opened.execute("UPDATE Classes SET name = 'mitosis'")
        opened.commit()
        log = path.with_name(f"{path.name}-wal").read_bytes()
    # closing has settled it: the log of before comes back, as if the program had been killed
    path.with_name(f"{path.name}-wal").write_bytes(log[: rng.choice((len(log), len(log) // 2, 7))])
    return "open log"


def _header(rng: random.Random, path: Path) -> str:
    """One of the header's fields: page size, version, encoding, ..."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(min(100, len(data)))] = rng.randrange(256)
    path.write_bytes(data)
    return "header"


def _journal(rng: random.Random, path: Path) -> str:
    """A rollback journal of another time."""
    path.with_name(f"{path.name}-journal").write_bytes(rng.randbytes(600))
    return "journal"


_WAYS: tuple[Callable[[random.Random, Path], str], ...] = (
    *(_with_statements,) * 6,
    *(_open_log, _header, _journal, damage_bytes, damage_bytes),
)


def damage_sqlite(rng: random.Random, path: Path) -> str:
    """Damage a database; what was done is returned."""
    try:
        return rng.choice(_WAYS)(rng, path)
    except (sqlite3.Error, OSError):  # damaged before, or a column that a key holds
        return damage_bytes(rng, path)
