"""The command ``mitoyolo serve``, as a process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from conftest import Cli
from sqlalchemy import create_engine

from mitoyolo.jobs import locked
from web.conftest import PASSWORD
from web.postgresql import PostgreSQL

Start = Callable[..., "Served"]


class Served:
    """A running server, and a browser."""

    def __init__(self, folder: Path, *options: str) -> None:
        call = [sys.executable, "-m", "mitoyolo", "serve", str(folder), "--port", "0", *options]
        self.process = subprocess.Popen(
            call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines = [self._line()]
        while "research use" not in self.lines[-1]:
            self.lines.append(self._line())
        self.browser = httpx.Client(base_url=self.lines[0], timeout=30)

    def _line(self) -> str:
        assert self.process.stdout and self.process.stderr
        silent = Timer(60, self.process.kill)
        silent.start()
        line = self.process.stdout.readline().strip()
        silent.cancel()
        assert line, self.process.stderr.read()
        return line

    @property
    def token(self) -> str:
        """That makes the first admin."""
        return self.lines[1].rsplit(" ", 1)[1]

    def send(self, path: str, **body: Any) -> httpx.Response:
        """Post; the token against forgery goes along from the first answer that has one."""
        answer = self.browser.post(path, json=body)
        if answer.status_code == 200 and "csrf" in answer.json():
            self.browser.headers["X-CSRF-Token"] = answer.json()["csrf"]
        return answer

    def end(self, how: signal.Signals) -> tuple[int, str]:
        """Its exit code, and what it said on stderr."""
        self.browser.close()
        self.process.send_signal(how)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Served] = []

    def start_one(folder: Path, *options: str) -> Served:
        started.append(Served(folder, *options))
        return started[-1]

    yield start_one
    for served in started:
        if served.process.poll() is None:
            served.process.kill()
        served.process.communicate()


def test_from_the_first_start_to_the_end(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "bench"
    served = start(folder)
    assert served.lines[0].startswith("http://127.0.0.1:") and len(served.lines) == 3
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "mitoyolo.sqlite").stat().st_mode & 0o077 == 0
    assert served.browser.get("/api/state").json()["setup"] is True
    assert "server" not in served.browser.get("/api/state").headers
    assert "secure" not in first_admins_cookie(served)  # anyone can claim that
    code, said = served.end(signal.SIGINT)
    assert (code, said) == (0, "")
    again = start(folder)
    assert len(again.lines) == 2  # no token
    assert again.send("/api/login", name="eve", password=PASSWORD).status_code == 200
    code, said = again.end(signal.SIGTERM)
    assert code in (0, -signal.SIGTERM) and said == ""


def test_kill_9_loses_nothing_that_was_acknowledged(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "bench"
    served = start(folder)
    served.send("/api/setup", token=served.token, name="eve", password=PASSWORD)
    png = cv2.imencode(".png", np.full((64, 64, 3), 200, np.uint8))[1].tobytes()
    upload = served.send("/api/uploads", name="tile.png", size=len(png)).json()["id"]
    served.browser.put(f"/api/uploads/{upload}", params={"offset": 0}, content=png)
    finished = served.send(f"/api/uploads/{upload}/finish", slide_name="T1", mpp=0.25)
    assert finished.status_code == 201, finished.text
    batch = served.browser.get(f"/api/batches/{finished.json()['batches'][0]['id']}").json()
    marks = f"/api/tiles/{batch['tiles'][0]['id']}/annotations"
    assert served.send("/api/users", name="carla", password=PASSWORD).status_code == 201
    served = killed_and_started(served, start, folder)
    assert served.browser.get("/api/users").json()[-1]["name"] == "carla"
    point = {"type": "point", "id": "0" * 24, "center": [9, 9, 0], "label": {"value": "mitosis"}}
    for version in range(2):
        body = {"version": version, "done": True, "elements": [point]}
        saved = served.browser.put(marks, json=body)
        assert saved.status_code == 200, saved.text
    served = killed_and_started(served, start, folder)
    assert served.browser.get(marks).json() == saved.json()
    database = create_engine(f"sqlite:///{folder}/mitoyolo.sqlite")
    with database.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    database.dispose()
    query = {"slide": finished.json()["id"], "reader": "eve", "stage": "all", "format": "coco"}
    assert served.browser.get("/api/download", params=query).status_code == 200
    assert served.end(signal.SIGTERM)[1] == ""  # `convert` says nothing there


def killed_and_started(served: Served, start: Start, folder: Path) -> Served:
    """Killed right after an answer; another server, for the same browser."""
    os.kill(served.process.pid, signal.SIGKILL)
    served.process.wait(60)
    again = start(folder)
    assert len(again.lines) == 2  # no token: the admin is there
    again.browser.cookies = served.browser.cookies
    again.browser.headers = served.browser.headers
    return again


def test_one_server_a_folder(start: Start, tmp_path: Path, cli: Cli) -> None:
    with locked(tmp_path):
        result = cli("serve", tmp_path)
    assert result.code == 1 and "another `mitoyolo serve` has this folder" in result.error
    assert not (tmp_path / "mitoyolo.sqlite").exists()


def test_one_server_a_database(
    start: Start, tmp_path: Path, cli: Cli, postgresql: PostgreSQL
) -> None:
    url = postgresql.new_database()
    served = start(tmp_path / "one", "--database", url)
    result = cli("serve", tmp_path / "two", "--port", 0, "--database", url)
    assert result.code == 1 and "another `mitoyolo serve` has this database" in result.error
    served.end(signal.SIGKILL)
    assert start(tmp_path / "two", "--database", url).token


def test_a_port_in_use_is_one_line(tmp_path: Path, cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = cli("serve", tmp_path, "--port", taken.getsockname()[1])
    assert result.code == 1 and "another program listens there" in result.error


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--host", "no such host"], "--host"),
        (["--host", "192.0.2.1"], "assign"),
        (["--database", "mysql://a/b"], "postgresql://"),
        (["--proxy", "https://bench.example"], "host name"),
    ],
)
def test_a_wrong_call_is_one_line(tmp_path: Path, cli: Cli, options: list[str], says: str) -> None:
    result = cli("serve", tmp_path / "bench", *options)
    assert result.code == 1 and says in result.error


def test_a_file_is_no_folder(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "file").touch()
    assert "expected a folder" in cli("serve", tmp_path / "file").error


def test_without_the_packages_the_extra_is_named(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "mitoyolo.web.serve", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = cli("serve", tmp_path)
    assert result.code == 1 and "pip install '.[web]' in mitoyolo's folder" in result.error
    assert "uvicorn" in result.error


def test_open_to_the_network_it_warns(start: Start, tmp_path: Path) -> None:
    served = start(tmp_path, "--host", "0.0.0.0")
    assert served.lines[0].startswith("http://0.0.0.0:")
    _, said = served.end(signal.SIGINT)
    assert "unencrypted" in said and len(said.splitlines()) == 1


def test_behind_a_proxy_it_believes_what_that_says(start: Start, tmp_path: Path) -> None:
    served = start(tmp_path, "--proxy", "Bench.Example")
    assert "secure" in first_admins_cookie(served)
    body = {"name": "eve", "password": PASSWORD}
    for host in ({"Host": "bench.example"}, {}):  # as a proxy hands it on, or not
        headers = {"Origin": "https://bench.example", **host}
        assert served.browser.post("/api/login", json=body, headers=headers).status_code == 200


def first_admins_cookie(served: Served) -> str:
    """What it gives to someone who claims to come through a proxy."""
    body = {"name": "eve", "password": PASSWORD, "token": served.token}
    answer = served.browser.post("/api/setup", json=body, headers={"X-Forwarded-Proto": "https"})
    assert answer.status_code == 200, answer.text
    return str(answer.headers["set-cookie"]).lower()


def test_it_starts_without_what_only_jobs_need() -> None:
    code = "import sys, mitoyolo.web.serve; print({'torch', 'matplotlib'} & set(sys.modules))"
    call = [sys.executable, "-c", code]
    said = subprocess.run(call, capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.strip() == "set()"
