"""What surrounds every answer: headers, the host's name, limits of what is sent, errors."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

import mitoyolo.web.app as application
from converters.errors import InputError
from mitoyolo.web import source
from mitoyolo.web.app import create_app
from mitoyolo.web.models import User
from mitoyolo.web.settings import Settings
from web.conftest import PASSWORD, Workbench

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "path", ["/", "/api/state", "/api/users", "/api/none", "/none", "/api/openapi.json"]
)
def test_every_answer_has_the_headers(workbench: Workbench, path: str) -> None:
    headers = workbench.client().get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == ("no-store" if path.startswith("/api/") else "no-cache")
    assert "strict-transport-security" not in headers
    assert "access-control-allow-origin" not in headers


def test_an_error_of_our_own_has_them_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> bytes:
        raise RuntimeError(f"secret of {settings.folder}")

    monkeypatch.setattr(source, "archive", broken)
    app = create_app(settings)
    client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
    answer = client.get("/api/source")
    assert answer.status_code == 500 and answer.json().keys() == {"detail"}
    assert "secret" not in answer.text and str(settings.folder) not in answer.text
    assert answer.headers["content-security-policy"]


def test_an_error_names_no_folder_of_the_server(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> bytes:
        raise InputError("is no image\nat all", file=settings.uploads / "x.part")

    monkeypatch.setattr(source, "archive", refused)
    answer = TestClient(create_app(settings), base_url="http://localhost").get("/api/source")
    assert answer.status_code == 422
    assert answer.json() == {"detail": "uploads/x.part: is no image at all"}


def test_a_full_disk_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, status in ((errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EIO, 500)):

        def failing(number: int = number) -> bytes:
            raise OSError(number, "secret")

        monkeypatch.setattr(source, "archive", failing)
        client = TestClient(
            create_app(settings), base_url="http://localhost", raise_server_exceptions=False
        )
        answer = client.get("/api/source")
        assert answer.status_code == status and "secret" not in answer.text
        assert answer.json().keys() == {"detail"}


def test_over_tls_it_stays_tls(workbench: Workbench) -> None:
    client = TestClient(workbench.app, base_url="https://localhost")
    assert "max-age=" in client.get("/").headers["strict-transport-security"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8000", ""])
def test_another_name_is_not_answered(workbench: Workbench, host: str) -> None:
    answer = workbench.client().get("/api/state", headers={"Host": host})
    assert answer.status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "[::1]:8000", "LOCALHOST"])
def test_names_of_this_machine_are_answered(workbench: Workbench, host: str) -> None:
    assert workbench.client().get("/api/state", headers={"Host": host}).status_code == 200


def test_a_proxys_name_is_answered(settings: Settings) -> None:
    app = create_app(replace(settings, proxy="bench.example:8443"))
    client = TestClient(app, base_url="http://127.0.0.1:8000")
    body = {"name": "anna", "password": PASSWORD}
    for host in ("bench.example:8443", "127.0.0.1:8000"):
        for origin, status in (
            ("https://bench.example:8443", 401),
            ("https://bench.example", 403),
            ("https://evil.example", 403),
        ):
            answer = client.post("/api/login", json=body, headers={"Host": host, "Origin": origin})
            assert answer.status_code == status


def test_open_to_the_network_any_name_is_answered(settings: Settings) -> None:
    client = TestClient(create_app(replace(settings, hosts=())), base_url="http://bench.example")
    assert client.get("/api/state").status_code == 200


def nested(depth: int) -> str:
    return '{"name": ' + "[" * depth + "]" * depth + ', "password": "x"}'


@pytest.mark.parametrize(
    "text",
    [
        nested(500),
        nested(100_000),
        nested(900_000),
        '{"name": ' + '{"a":' * 50_000 + "1" + "}" * 50_000 + "}",
        '{"name": ' + "[[],[],[]," * 100_000 + "1" + "]" * 100_000 + "}",
        '{"name": ' + "9" * 1_000_000 + "}",
        '{"name": 1e999999, "password": NaN}',
        '{"name": "x", "name": ',
        '{"name": "' + "x" * 1_000_000 + '", "password": "x"}',
        "[]",
        "null",
        '"\\ud800"',
        "\x00",
        "",
    ],
    ids=range(14),
)
def test_bombs_of_json_are_one_line(workbench: Workbench, text: str) -> None:
    client = workbench.client()
    for path in ("/api/login", "/api/setup"):
        answer = client.post(path, content=text, headers=JSON)
        assert answer.status_code in (400, 422), answer.text
        assert answer.json().keys() == {"detail"}
        assert len(answer.text) < 1100 and "\\n" not in answer.text


def test_bytes_that_are_no_text_are_one_line(workbench: Workbench) -> None:
    for body in (b"\xff\xfe{", b'{"name": "\xff"}', b"\x1f\x8b\x08"):
        answer = workbench.client().post("/api/login", content=body, headers=JSON)
        assert answer.status_code in (400, 422) and answer.json().keys() == {"detail"}


def test_what_is_not_called_json_is_not_read(workbench: Workbench) -> None:
    text = json.dumps({"name": "anna", "password": PASSWORD})
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        answer = workbench.client().post("/api/login", content=text, headers={"Content-Type": kind})
        assert answer.status_code == 422


def test_a_long_body_is_refused(workbench: Workbench) -> None:
    most = workbench.settings.json_bytes
    client = workbench.client()
    answer = client.post("/api/login", content=b"x" * (most + 1), headers=JSON)
    assert answer.status_code == 413 and str(most) in answer.json()["detail"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    answer = client.post("/api/login", content=b" " * most, headers=JSON)
    assert answer.status_code in (400, 422)


def test_a_body_without_a_length_is_cut_off(workbench: Workbench) -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield b" " * 65536

    answer = workbench.client().post("/api/login", content=chunks(), headers=JSON)
    assert answer.status_code == 413 and answer.json().keys() == {"detail"}


@pytest.mark.parametrize("length", ["-1", "x", "9" * 30])
def test_a_strange_length_is_refused(workbench: Workbench, length: str) -> None:
    headers = JSON | {"Content-Length": length}
    answer = workbench.client().post("/api/login", content=b"{}", headers=headers)
    assert answer.status_code == 413


def test_an_error_of_validation_names_the_field_and_not_the_value(admin: TestClient) -> None:
    body = {"name": "carla", "password": "my secret", "x": 1}
    answer = admin.post("/api/users", json=body)
    assert answer.status_code == 422 and "body.password" in answer.json()["detail"]
    assert "my secret" not in answer.text


def test_nothing_is_written_by_what_is_refused(workbench: Workbench) -> None:
    workbench.client().post("/api/users", json={"name": "eve", "password": PASSWORD})
    with workbench.session() as db:
        assert db.scalar(select(func.count(User.id))) == 0


def test_without_the_page_one_is_told_how_to_build_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(application, "PAGE", tmp_path / "none")
    answer = TestClient(create_app(settings), base_url="http://localhost").get("/")
    assert answer.status_code == 503 and "npm run build" in answer.text
    assert "research use" in answer.text


def test_the_page_is_handed_out_and_nothing_else(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = tmp_path / "static"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html><title>bench</title>")
    (page / "assets" / "main.js").write_text("1")
    (tmp_path / "secret").write_text("secret")
    (page / "link").symlink_to(tmp_path / "secret")
    monkeypatch.setattr(application, "PAGE", page)
    client = TestClient(create_app(settings), base_url="http://localhost")
    assert "bench" in client.get("/").text
    script = client.get("/assets/main.js")
    assert script.headers["content-type"].startswith("text/javascript")
    for path in (
        "/../secret",
        "/%2e%2e/secret",
        "/assets/..%2f..%2fsecret",
        "/link",
        "/..\\secret",
        "//etc/passwd",
        "/%00",
        "/" + "a" * 5000,
    ):
        answer = client.get(path)
        assert answer.status_code in (400, 404) and "secret" not in answer.text
        assert answer.json().keys() == {"detail"}
    assert client.get("/api/none").json().keys() == {"detail"}
    assert client.post("/").status_code in (403, 405)


def test_the_api_is_described(workbench: Workbench) -> None:
    client = workbench.client()
    schema = client.get("/api/openapi.json").json()
    assert "/api/login" in schema["paths"] and schema["info"]["title"] == "mitoyolo workbench"
    for path in ("/docs", "/redoc", "/api/docs"):  # they load scripts from elsewhere
        assert client.get(path).status_code == 404
