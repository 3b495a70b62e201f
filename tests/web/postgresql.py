"""A PostgreSQL of the tests' own, where its programs are installed."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from mitoyolo.stopping import end_with_parent

_ADMIN = "workbench"
_SETTINGS = ("-c", "listen_addresses=", "-c", "fsync=off")
_NUMBERS = count()


class PostgreSQL:
    """A running server, which listens at a socket in its folder alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, database: str) -> str:
        return f"postgresql://{_ADMIN}@/{database}?host={self._folder}"

    def new_database(self) -> str:
        """The URL of an empty one."""
        name = f"bench{next(_NUMBERS)}"
        engine = create_engine(
            self.url("postgres").replace("postgresql:", "postgresql+psycopg:"),
            isolation_level="AUTOCOMMIT",
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        return self.url(name)


@contextmanager
def running() -> Iterator[PostgreSQL]:
    """Start one; skip with the reason where that cannot be."""
    pytest.importorskip("psycopg", reason="no psycopg, which mitoyolo[postgresql] brings")
    programs = _programs()
    user = _user()
    folder = Path(tempfile.mkdtemp(prefix="mitoyolo-pg-"))
    try:
        os.chown(folder, user.pw_uid, user.pw_gid)
        own = {"cwd": folder}
        if os.geteuid() == 0:  # as which PostgreSQL refuses to run
            own |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        data, log = folder / "data", (folder / "log").open("w")
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", _ADMIN, "-A", "trust", "-E", "UTF8", "-N"],
            check=True,
            stdout=log,
            stderr=log,
            timeout=120,
            **own,
        )
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", folder, *_SETTINGS],
            stdout=log,
            stderr=log,
            preexec_fn=lambda: end_with_parent(signal.SIGINT),
            **own,
        )
        try:
            _wait(server, folder)
            yield PostgreSQL(folder)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(60)
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    found = shutil.which("initdb"), shutil.which("postgres")
    if all(found):
        return Path(str(found[0])).parent
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.skip("no PostgreSQL: neither initdb nor /usr/lib/postgresql/*/bin is there")


def _user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody") if os.geteuid() == 0 else (getpass.getuser(),):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _wait(server: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not (folder / ".s.PGSQL.5432").exists() or not _answers(folder):
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError((folder / "log").read_text())
        time.sleep(0.05)


def _answers(folder: Path) -> bool:
    import psycopg

    try:
        psycopg.connect(host=str(folder), user=_ADMIN, dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True
