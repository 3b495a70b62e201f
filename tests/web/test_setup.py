"""The first start: a token on the console makes the first admin, once."""

from __future__ import annotations

import io
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import func, select

from mitoyolo import __version__
from mitoyolo.web import source
from mitoyolo.web.app import create_app
from mitoyolo.web.models import Audit, User
from mitoyolo.web.settings import Settings
from web.conftest import BOTH, PASSWORD, Workbench


def first(workbench: Workbench, **other: str) -> dict[str, str]:
    return {"token": workbench.app.state.setup.token, "name": "eve", "password": PASSWORD} | other


@BOTH
def test_the_token_makes_an_admin_once(workbench: Workbench) -> None:
    client = workbench.client()
    assert client.get("/api/state").json()["setup"] is True
    body = first(workbench)
    answer = client.post("/api/setup", json=body)
    me = answer.json()
    assert answer.status_code == 200 and (me["name"], me["role"]) == ("eve", "admin")
    assert client.get("/api/me").json() == me
    assert client.get("/api/state").json()["setup"] is False
    again = workbench.client().post("/api/setup", json=body | {"name": "mallory"})
    assert again.status_code == 403 and "once" in again.json()["detail"]
    with workbench.session() as db:
        assert db.scalars(select(User.name)).all() == ["eve"]
        assert "user.create" in db.scalars(select(Audit.action)).all()


def test_after_it_no_start_has_a_token(workbench: Workbench) -> None:
    workbench.client().post("/api/setup", json=first(workbench))
    assert create_app(workbench.settings).state.setup.token is None


def test_the_first_admin_may_find_an_example(settings: Settings) -> None:
    bench = Workbench(create_app(replace(settings, example=True)), settings)
    client = bench.client()
    assert client.post("/api/setup", json=first(bench)).status_code == 200
    assert {slide["name"] for slide in client.get("/api/slides").json()} == {"Example1", "Example2"}
    assert client.get("/api/batches").json()[0]["assignments"][0]["user"]["name"] == "eve"


def test_a_start_without_it_has_another_token(workbench: Workbench) -> None:
    token = create_app(workbench.settings).state.setup.token
    assert token and token != workbench.app.state.setup.token and len(token) >= 20


@pytest.mark.parametrize("token", ["", "x", "é", "\ud800"])
def test_a_wrong_token_makes_nobody(workbench: Workbench, token: str) -> None:
    import json

    text = json.dumps(first(workbench, token=token))
    headers = {"Content-Type": "application/json"}
    answer = workbench.client().post("/api/setup", content=text, headers=headers)
    assert answer.status_code in (403, 422)
    with workbench.session() as db:
        assert db.scalar(select(func.count(User.id))) == 0
    assert workbench.client().get("/api/state").json()["setup"] is True


def test_a_refused_name_leaves_the_token(workbench: Workbench) -> None:
    client = workbench.client()
    assert client.post("/api/setup", json=first(workbench, password="short")).status_code == 422
    bad = first(workbench, name="eve-and-adam", password="EVE-and-adam")
    assert client.post("/api/setup", json=bad).status_code == 409
    assert client.post("/api/setup", json=first(workbench)).status_code == 200


@BOTH
def test_two_at_once_make_one_admin(workbench: Workbench) -> None:
    bodies = [first(workbench, name=f"eve{i}") for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        codes = list(
            pool.map(
                lambda body: workbench.client().post("/api/setup", json=body).status_code, bodies
            )
        )
    assert sorted(codes) == [200] + [403] * 7
    with workbench.session() as db:
        assert db.scalar(select(func.count(User.id))) == 1


def test_the_program_offers_its_source(workbench: Workbench) -> None:
    client = workbench.client()
    state = client.get("/api/state").json()
    assert state["version"] == __version__ and "research use" in state["notice"]
    assert state["licence"].startswith("AGPL-3.0")
    answer = client.get(state["source"])
    assert answer.status_code == 200
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert {"mitoyolo/web/app.py", "converters/registry.py"} <= set(names)
    assert not [name for name in names if name.startswith("/") or ".." in name]
    assert not [name for name in names if "node_modules" in name or "__pycache__" in name]


@pytest.mark.usefixtures("admin")
def test_where_no_password_is_known_the_console_makes_another_admin(settings: Settings) -> None:
    bench = Workbench(create_app(replace(settings, new_admin=True)), settings)
    assert bench.client().get("/api/state").json()["setup"] is True
    taken = first(bench, name="admin")
    assert bench.client().post("/api/setup", json=taken).status_code == 409
    body = first(bench)
    client = bench.client()
    client.headers["X-CSRF-Token"] = client.post("/api/setup", json=body).json()["csrf"]
    again = bench.client().post("/api/setup", json=body | {"name": "mallory"})
    assert again.status_code == 403
    change = client.patch("/api/users/1", json={"password": "a wholly new password"})
    assert change.status_code == 200
    bench.login("admin", "a wholly new password")


def test_sources_of_any_age_are_offered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "mitoyolo" / "old.py"
    old.parent.mkdir()
    old.touch()
    os.utime(old, (0, 0))  # as reproducible builds have it; a zip begins in 1980
    monkeypatch.setattr(source, "mitoyolo", SimpleNamespace(__path__=[str(old.parent)]))
    names = zipfile.ZipFile(io.BytesIO(source.archive.__wrapped__())).namelist()
    assert "mitoyolo/old.py" in names
