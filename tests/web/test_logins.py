"""Logins: cookies, the token against forgery, passwords, and how often they may be wrong."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from mitoyolo.web.logins import COOKIE
from mitoyolo.web.models import Login, User, now
from web.conftest import BOTH, PASSWORD, Workbench


@BOTH
def test_login_and_logout(workbench: Workbench, anna: TestClient) -> None:
    me = anna.get("/api/me").json()
    assert me["name"] == "anna" and me["role"] == "annotator"
    assert anna.post("/api/logout").status_code == 204
    answer = anna.get("/api/me")
    assert answer.status_code == 401 and "log in" in answer.json()["detail"]


def test_the_cookie_is_for_our_pages_alone(workbench: Workbench, anna: TestClient) -> None:
    answer = anna.post("/api/login", json={"name": "anna", "password": PASSWORD})
    attributes = answer.headers["set-cookie"].lower()
    assert attributes.startswith(f"{COOKIE}=")
    assert "httponly" in attributes and "samesite=strict" in attributes and "path=/" in attributes
    assert "domain" not in attributes and "secure" not in attributes
    over_tls = TestClient(workbench.app, base_url="https://127.0.0.1")
    answer = over_tls.post("/api/login", json={"name": "anna", "password": PASSWORD})
    assert "; secure" in answer.headers["set-cookie"].lower()


@BOTH
def test_the_token_is_new_at_each_login_and_not_kept(
    workbench: Workbench, anna: TestClient
) -> None:
    first = anna.cookies[COOKIE]
    anna.post("/api/login", json={"name": "anna", "password": PASSWORD})
    assert anna.cookies[COOKIE] != first
    with workbench.session() as db:
        kept = db.scalars(select(Login.token_sha256)).all()
        assert len(kept) == 2 and first not in kept and anna.cookies[COOKIE] not in kept
    before = workbench.client(cookies={COOKIE: first})
    assert before.get("/api/me").status_code == 401  # the same browser logged in again


@BOTH
def test_a_login_expires(workbench: Workbench, anna: TestClient) -> None:
    with workbench.session() as db:
        login = db.scalars(select(Login)).one()
        assert timedelta(hours=11) < login.expires_at - now() <= timedelta(hours=12)
        login.expires_at = now() - timedelta(seconds=1)
        db.commit()
    assert anna.get("/api/me").status_code == 401


@pytest.mark.parametrize("token", ["", "x", "é", "a\x00b", "'; DROP TABLE users; --"])
def test_a_made_up_cookie_is_no_login(workbench: Workbench, token: str) -> None:
    client = workbench.client(headers={"Cookie": f"{COOKIE}={token}".encode()})
    assert client.get("/api/me").status_code == 401


def test_a_change_needs_the_token_against_forgery(workbench: Workbench, anna: TestClient) -> None:
    token = anna.headers.pop("X-CSRF-Token")
    others = workbench.user("bert").headers["X-CSRF-Token"]
    for wrong in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": others}):
        answer = anna.post("/api/logout", headers=wrong)
        assert answer.status_code == 403 and "X-CSRF-Token" in answer.json()["detail"]
    assert anna.post("/api/logout", headers={"X-CSRF-Token": "é".encode()}).status_code == 403
    assert anna.get("/api/me").status_code == 200  # still logged in, and reading needs none
    assert anna.post("/api/logout", headers={"X-CSRF-Token": token}).status_code == 204


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:8001"},
        {"Origin": "null"},
        {"Origin": "http://[::"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_changes_nothing(
    workbench: Workbench, anna: TestClient, headers: dict[str, str]
) -> None:
    assert anna.post("/api/logout", headers=headers).status_code == 403
    body = {"name": "anna", "password": PASSWORD}
    answer = workbench.client().post("/api/login", json=body, headers=headers)
    assert answer.status_code == 403 and "set-cookie" not in answer.headers


def test_our_own_page_may(anna: TestClient) -> None:
    headers = {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}
    assert anna.post("/api/logout", headers=headers).status_code == 204


@BOTH
def test_a_wrong_password_and_a_wrong_name_are_answered_alike(
    workbench: Workbench, anna: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasher = workbench.app.state.passwords._hasher
    compared = []

    class Counting:
        def verify(self, kept: str, given: bytes) -> bool:
            compared.append(kept)
            return bool(hasher.verify(kept, given))

    monkeypatch.setattr(workbench.app.state.passwords, "_hasher", Counting())
    client = workbench.client()
    with workbench.session() as db:
        off = User(name="off", password=hasher.hash("y"), role="annotator", active=False)
        db.add(off)
        db.commit()
    answers = [
        client.post("/api/login", json={"name": name, "password": "not the password"})
        for name in ("anna", "nobody", "off", "a\x00b", "' OR 1=1 --")
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    costs = {kept.rsplit("$", 2)[0] for kept in compared}  # each takes the time of a hash
    assert len(compared) == 5 and len(costs) == 1 and "m=8,t=1" in costs.pop()


@BOTH
def test_names_are_the_same_in_capitals(workbench: Workbench, anna: TestClient) -> None:
    assert workbench.login("ANNA").get("/api/me").json()["name"] == "anna"


@BOTH
def test_guessing_is_slowed_and_locks_nobody_out(workbench: Workbench, anna: TestClient) -> None:
    guess = {"name": "anna", "password": "not the password"}
    guesser = workbench.client()
    most = workbench.settings.login_attempts
    codes = [guesser.post("/api/login", json=guess).status_code for _ in range(most + 2)]
    assert codes == [401] * most + [429] * 2
    answer = guesser.post("/api/login", json={"name": "anna", "password": PASSWORD})
    assert answer.status_code == 429 and 0 < int(answer.headers["retry-after"]) <= 30
    # another name from there has to wait as well, or the names could be tried in turn
    assert guesser.post("/api/login", json=guess | {"name": "bert"}).status_code == 429
    # anna's own browser, at the same address, goes on, logged out or not
    anna.post("/api/logout")
    answer = anna.post("/api/login", json={"name": "anna", "password": PASSWORD})
    assert answer.status_code == 200
    # but that is of no use to guess at others
    assert anna.post("/api/login", json=guess | {"name": "bert"}).status_code == 429


def test_a_known_browser_is_slowed_too(workbench: Workbench, anna: TestClient) -> None:
    guess = {"name": "anna", "password": "not the password"}
    most = workbench.settings.login_attempts
    codes = [anna.post("/api/login", json=guess).status_code for _ in range(most + 1)]
    assert codes == [401] * most + [429]
    assert workbench.login("anna").get("/api/me").status_code == 200


def test_right_passwords_are_not_counted(workbench: Workbench, anna: TestClient) -> None:
    for _ in range(workbench.settings.login_attempts + 2):
        workbench.login("anna")


@BOTH
def test_a_new_password_ends_the_other_logins(workbench: Workbench, anna: TestClient) -> None:
    elsewhere = workbench.login("anna")
    wrong = {"old": "not the password", "new": "a wholly new password"}
    assert anna.post("/api/me/password", json=wrong).status_code == 403
    assert elsewhere.get("/api/me").status_code == 200
    right = wrong | {"old": PASSWORD}
    assert anna.post("/api/me/password", json=right).status_code == 204
    assert anna.get("/api/me").status_code == 200
    assert elsewhere.get("/api/me").status_code == 401
    client = workbench.client()
    answer = client.post("/api/login", json={"name": "anna", "password": PASSWORD})
    assert answer.status_code == 401
    assert workbench.login("anna", "a wholly new password").get("/api/me").status_code == 200


def test_the_old_password_cannot_be_guessed_at_a_browser_left_open(
    workbench: Workbench, anna: TestClient
) -> None:
    wrong = {"old": "not the password", "new": "a wholly new password"}
    most = workbench.settings.login_attempts
    codes = [anna.post("/api/me/password", json=wrong).status_code for _ in range(most + 1)]
    assert codes == [403] * most + [429]


@BOTH
def test_a_password_of_another_cost_is_hashed_again(workbench: Workbench, anna: TestClient) -> None:
    from mitoyolo.web.passwords import Passwords
    from mitoyolo.web.settings import Hashing

    workbench.app.state.passwords = Passwords(Hashing(2, 16, 1))
    workbench.login("anna")
    with workbench.session() as db:
        assert "$m=16,t=2,p=1$" in db.scalars(select(User.password)).one()
    workbench.login("anna")


def test_passwords_are_argon2id_and_compared_as_typed(workbench: Workbench) -> None:
    passwords = workbench.app.state.passwords
    kept = passwords.hash("Zu\u0308rich \uff11 \U0001f600 password")
    assert kept.startswith("$argon2id$")
    assert passwords.fits("Z\u00fcrich 1 \U0001f600 password", kept)
    assert not passwords.fits("zürich 1 \U0001f600 password", kept)
    assert not passwords.fits("", None) and not passwords.fits("x", "damaged")
    assert passwords.hash("same one") != passwords.hash("same one")
