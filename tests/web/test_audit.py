"""The trail of changes."""

from __future__ import annotations

from datetime import datetime, timedelta

from fastapi.testclient import TestClient

from mitoyolo.web.models import now
from web.conftest import BOTH, PASSWORD, Workbench


@BOTH
def test_every_change_has_its_row(workbench: Workbench, admin: TestClient) -> None:
    made = admin.post("/api/users", json={"name": "carla", "password": PASSWORD}).json()
    new = "another long password"
    admin.patch(f"/api/users/{made['id']}", json={"role": "admin", "password": new})
    carla = workbench.login("carla", new)
    carla.post("/api/me/password", json={"old": new, "new": "yet another password"})
    carla.post("/api/logout")
    workbench.client().post("/api/login", json={"name": "carla", "password": "wrong"})
    rows = admin.get("/api/audit").json()
    assert [(row["user"], row["action"], row["subject"]) for row in rows[:6]] == [
        (None, "login.failed", "user 2"),
        ("carla", "logout", "user 2"),
        ("carla", "user.password", "user 2"),
        ("carla", "login", "user 2"),
        ("admin", "user.change", "user 2"),
        ("admin", "user.create", "user 2"),
    ]
    assert rows[4]["detail"] == {"role": "admin", "password": "new"}
    assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)
    at = datetime.fromisoformat(rows[0]["at"])
    assert at.utcoffset() == timedelta(0) and abs(now() - at) < timedelta(minutes=5)
    text = admin.get("/api/audit").text
    assert new not in text and "argon2" not in text


def test_a_refused_change_has_none(admin: TestClient) -> None:
    before = admin.get("/api/audit").json()
    admin.patch("/api/users/1", json={"active": False})
    admin.post("/api/users", json={"name": "admin", "password": PASSWORD})
    assert admin.get("/api/audit").json() == before


@BOTH
def test_it_is_read_in_pages(admin: TestClient) -> None:
    for i in range(5):
        admin.post("/api/users", json={"name": f"user{i}", "password": PASSWORD})
    everything = admin.get("/api/audit").json()
    read: list[dict[str, object]] = []
    while page := admin.get(
        "/api/audit", params={"limit": 2} | ({"before": read[-1]["id"]} if read else {})
    ).json():
        assert len(page) <= 2
        read += page
    assert read == everything
    for wrong in ({"limit": 0}, {"limit": 1001}, {"before": 0}, {"before": "x"}):
        assert admin.get("/api/audit", params=wrong).status_code == 422
