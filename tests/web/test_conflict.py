"""Two who save the same tile at the same time, on either database: no save is lost silently."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import select

from mitoyolo.web.models import Audit, Revision, Tile
from web.conftest import BOTH, PASSWORD, Workbench

pytestmark = BOTH
AT_ONCE = 8


def marks(version: int, x: float) -> dict[str, Any]:
    point = {"type": "point", "id": "0" * 24, "center": [x, 9, 0], "label": {"value": "mitosis"}}
    return {"version": version, "done": True, "elements": [point]}


def test_of_many_saves_at_once_one_is_kept_and_the_others_are_told(
    workbench: Workbench, admin: TestClient, tiles_slide: Callable[..., str]
) -> None:
    tiles_slide(admin)
    with workbench.session() as db:
        tile = db.scalars(select(Tile.id)).first()
    browsers = [workbench.login("admin") for _ in range(AT_ONCE)]
    for version in range(3):

        def save(i: int, version: int = version) -> tuple[int, Any]:
            answer = browsers[i].put(f"/api/tiles/{tile}/annotations", json=marks(version, i))
            return answer.status_code, answer.json()

        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(save, range(AT_ONCE)))
        assert sorted(status for status, _ in answers) == [200] + [409] * (AT_ONCE - 1)
        winner = next(i for i, (status, _) in enumerate(answers) if status == 200)
        kept = admin.get(f"/api/tiles/{tile}/annotations").json()
        assert kept["version"] == version + 1 and kept["elements"][0]["center"][0] == winner
        for status, told in answers:
            if status == 409:
                assert told["current"] == kept and "version" in told["detail"]
    with workbench.session() as db:
        assert db.scalars(select(Revision.version).order_by(Revision.version)).all() == [1, 2, 3]
        saves = select(Audit).where(Audit.action == "annotations.save")
        assert len(db.scalars(saves).all()) == 3


def test_of_many_users_of_one_name_one_is_made(workbench: Workbench, admin: TestClient) -> None:
    def create(_: int) -> int:
        body = {"name": "carla", "password": PASSWORD}
        return int(admin.post("/api/users", json=body).status_code)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        codes = list(pool.map(create, range(AT_ONCE)))
    assert sorted(codes) == [201] + [409] * (AT_ONCE - 1)
    with workbench.session() as db:
        made = select(Audit).where(Audit.action == "user.create", Audit.detail.is_not(None))
        assert len(db.scalars(made).all()) == 2  # admin's own among them
