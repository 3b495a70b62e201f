"""A workbench started over a temporary folder, and users who are logged in to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="no mitoyolo[web]")

from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from mitoyolo.web import users
from mitoyolo.web.app import create_app
from mitoyolo.web.models import Batch, Role, Slide, SlideState, Tile, User
from mitoyolo.web.settings import Hashing, Settings
from web.postgresql import PostgreSQL, running

HOST = "http://127.0.0.1:8000"
PASSWORD = "correct horse battery"
CHEAP = Hashing(time_cost=1, memory_kib=8, parallelism=1)
"""Hashes that take no time."""
BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
"""On a test: run it on either."""


@dataclass(frozen=True)
class Workbench:
    """A server in this process."""

    app: FastAPI
    settings: Settings

    def client(self, **options: Any) -> TestClient:
        """A browser that nobody has logged in."""
        return TestClient(self.app, base_url=HOST, **options)

    def session(self) -> Session:
        """Of the database; commit what you change."""
        session: Session = self.app.state.sessions()
        return session

    def user(self, name: str, role: Role = Role.ANNOTATOR) -> TestClient:
        """A new user's browser, logged in."""
        with self.session() as db:
            users.create(db, self.app.state.passwords, None, name, PASSWORD, role)
            db.commit()
            self.app.state.setup.token = None
        return self.login(name)

    def login(self, name: str, password: str = PASSWORD) -> TestClient:
        """A browser, logged in."""
        client = self.client()
        answer = client.post("/api/login", json={"name": name, "password": password})
        assert answer.status_code == 200, answer.text
        client.headers["X-CSRF-Token"] = answer.json()["csrf"]
        return client

    def slide(self, file: Path, state: SlideState, width: int, height: int) -> str:
        """The id of a slide of 0.25 µm/px that came as a file, without tiles."""
        with self.session() as db:
            row = Slide(
                name="T1", file="slide.tif", state=state, width=width, height=height,
                mpp_x=0.25, mpp_y=0.25, created_by=1,
            )  # fmt: skip
            db.add(row)
            db.flush()
            folder = self.settings.slides / row.id
            folder.mkdir(parents=True)
            os.link(file, folder / "slide.tif")
            db.commit()
            return row.id


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """The one PostgreSQL of all tests."""
    with running() as server:
        yield server


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str | None:
    """URL of the workbench's database; None for SQLite in its folder."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return None
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture
def settings(tmp_path: Path, database: str | None) -> Settings:
    """Of the workbench."""
    return Settings(tmp_path / "bench", database=database, hashing=CHEAP)


@pytest.fixture
def workbench(settings: Settings) -> Iterator[Workbench]:
    """Started, without any user."""
    app = create_app(settings)
    with TestClient(app, base_url=HOST):  # for its start and its end
        yield Workbench(app, settings)


@pytest.fixture
def admin(workbench: Workbench) -> TestClient:
    """An admin's browser."""
    return workbench.user("admin", Role.ADMIN)


@pytest.fixture
def anna(workbench: Workbench) -> TestClient:
    """An annotator's browser."""
    return workbench.user("anna")


@pytest.fixture
def bert(workbench: Workbench) -> TestClient:
    """Another annotator's."""
    return workbench.user("bert")


@pytest.fixture
def tiles_slide(workbench: Workbench) -> Callable[..., str]:
    """Call it for the id of a slide of `n` rendered tiles in one batch, 64 px at 0.25 µm/px."""

    def make(client: TestClient, n: int = 4, name: str = "T98", size: int = 64) -> str:
        with workbench.session() as db:
            by = db.get(User, client.get("/api/me").json()["id"])
            assert by
            slide = Slide(
                name=name,
                state=SlideState.READY,
                tile_mpp_x=0.25,
                tile_mpp_y=0.25,
                created_by=by.id,
            )
            db.add(slide)
            db.flush()
            batch = Batch(slide_id=slide.id, number=1)
            db.add(batch)
            db.flush()
            folder = workbench.settings.slides / slide.id / "tiles" / "batch-001"
            folder.mkdir(parents=True)
            for i in range(n):
                file = folder / f"x{i}y7.png"
                noise = np.random.default_rng(i).integers(90, 255, (8, 8, 3), dtype=np.uint8)
                assert cv2.imwrite(str(file), cv2.resize(noise, (size, size)))
                tile = Tile(
                    slide_id=slide.id, batch_id=batch.id, column=i, row=7, width=size, height=size
                )
                tile.file = str(file.relative_to(workbench.settings.slides / slide.id))
                db.add(tile)
            db.commit()
            return slide.id

    return make
