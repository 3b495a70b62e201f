"""Users made and changed by admins."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from mitoyolo.web.models import Role, User
from web.conftest import BOTH, PASSWORD, Workbench


def number(client: TestClient) -> int:
    return int(client.get("/api/me").json()["id"])


@BOTH
def test_an_admin_makes_users(workbench: Workbench, admin: TestClient) -> None:
    body = {"name": "carla@kmit.example", "password": PASSWORD, "role": "annotator"}
    answer = admin.post("/api/users", json=body)
    made = answer.json()
    assert answer.status_code == 201 and made["active"] and made["role"] == "annotator"
    assert "password" not in answer.text and PASSWORD not in answer.text
    listed = admin.get("/api/users").json()
    assert [user["name"] for user in listed] == ["admin", "carla@kmit.example"]
    assert listed[1] == made and made["created_at"].endswith("Z")
    assert "argon2" not in admin.get("/api/users").text
    assert workbench.login("carla@kmit.example").get("/api/users").status_code == 403


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"name": "ANNA"}, 409, "already"),
        ({"name": "Consensus"}, 409, "already"),
        ({"name": ""}, 422, "name"),
        ({"name": "a b"}, 422, "name"),
        ({"name": "../etc"}, 422, "name"),
        ({"name": "<script>alert(1)</script>"}, 422, "name"),
        ({"name": "x\n"}, 422, "name"),
        ({"name": "a\x00"}, 422, "name"),
        ({"name": "a" * 65}, 422, "name"),
        ({"name": ["x"]}, 422, "name"),
        ({"name": None}, 422, "name"),
        ({"password": "short"}, 422, "password"),
        ({"password": "x" * 257}, 422, "password"),
        ({"password": "CARLA-FREEMAN", "name": "carla-freeman"}, 409, "password"),
        ({"role": "root"}, 422, "role"),
        ({"active": False}, 422, "active"),
    ],
)
def test_what_is_no_user_is_refused(
    workbench: Workbench,
    admin: TestClient,
    anna: TestClient,
    change: dict[str, Any],
    status: int,
    says: str,
) -> None:
    body = {"name": "carla", "password": PASSWORD, "role": "annotator"} | change
    answer = admin.post("/api/users", json=body)
    assert (answer.status_code, answer.json().keys()) == (status, {"detail"})
    assert says in answer.json()["detail"] and "\n" not in answer.json()["detail"]
    with workbench.session() as db:
        assert db.scalar(select(func.count(User.id))) == 2


@BOTH
def test_names_of_sql_are_names(workbench: Workbench, admin: TestClient) -> None:
    for name in ("a' OR '1'='1", '"; DROP TABLE users; --', "%", "_"):
        answer = workbench.client().post("/api/login", json={"name": name, "password": PASSWORD})
        assert answer.status_code == 401
    assert admin.get("/api/users").status_code == 200


def test_switched_off_is_logged_out_at_once(
    workbench: Workbench, admin: TestClient, anna: TestClient
) -> None:
    user = f"/api/users/{number(anna)}"
    assert admin.patch(user, json={"active": False}).json()["active"] is False
    assert anna.get("/api/me").status_code == 401
    answer = anna.post("/api/login", json={"name": "anna", "password": PASSWORD})
    assert answer.status_code == 401
    assert admin.patch(user, json={"active": True}).status_code == 200
    assert anna.get("/api/me").status_code == 401  # the old login does not come back
    assert workbench.login("anna").get("/api/me").status_code == 200


def test_a_password_set_by_an_admin_ends_the_users_logins(
    workbench: Workbench, admin: TestClient, anna: TestClient
) -> None:
    new = {"password": "set by the admin"}
    assert admin.patch(f"/api/users/{number(anna)}", json=new).status_code == 200
    assert anna.get("/api/me").status_code == 401
    assert workbench.login("anna", "set by the admin").get("/api/me").status_code == 200


def test_a_role_holds_from_the_next_request_on(admin: TestClient, anna: TestClient) -> None:
    user = f"/api/users/{number(anna)}"
    assert anna.get("/api/users").status_code == 403
    admin.patch(user, json={"role": "admin"})
    assert anna.get("/api/users").status_code == 200
    admin.patch(user, json={"role": "annotator"})
    assert anna.get("/api/users").status_code == 403


@BOTH
def test_an_admin_remains(workbench: Workbench, admin: TestClient, anna: TestClient) -> None:
    me = f"/api/users/{number(admin)}"
    for change in ({"active": False}, {"role": "annotator"}):
        answer = admin.patch(me, json=change)
        assert answer.status_code == 409 and "admin" in answer.json()["detail"]
    assert admin.get("/api/users").status_code == 200
    other = workbench.user("otto", Role.ADMIN)
    admin.patch(f"/api/users/{number(other)}", json={"active": False})
    assert admin.patch(me, json={"active": False}).status_code == 409


@BOTH
def test_two_admins_cannot_switch_each_other_off(workbench: Workbench, admin: TestClient) -> None:
    other = workbench.user("otto", Role.ADMIN)
    calls = [(admin, number(other)), (other, number(admin))]
    with ThreadPoolExecutor(2) as pool:
        answers = list(
            pool.map(lambda c: c[0].patch(f"/api/users/{c[1]}", json={"active": False}), calls)
        )
    assert sorted(answer.status_code for answer in answers)[0] == 200
    with workbench.session() as db:
        left = db.scalars(select(User.name).where(User.role == Role.ADMIN, User.active)).all()
    assert len(left) == 1


@pytest.mark.parametrize("id", ["0", "-1", "999", "99999999999999999999", "x", "1e9"])
def test_a_user_that_is_none(admin: TestClient, id: str) -> None:
    assert admin.patch(f"/api/users/{id}", json={}).status_code in (404, 422)
