"""What a new workbench shows."""

from __future__ import annotations

from conftest import Cli
from fastapi.testclient import TestClient
from sqlalchemy import select

from mitoyolo.web import example, slides
from mitoyolo.web.app import create_app
from mitoyolo.web.models import Job, Role, Slide, User
from mitoyolo.web.settings import Settings
from web.conftest import Workbench
from web.marks import mark, ok, put


def test_the_example_can_be_annotated_at_once(settings: Settings, cli: Cli) -> None:
    bench = Workbench(create_app(settings), settings)
    admin: TestClient = bench.user("admin", Role.ADMIN)
    with bench.session() as db:
        user = db.scalars(select(User)).one()
        assert len(example.make(db, settings, user)) == 2
        db.commit()
        assert example.make(db, settings, user) == []
    (batch,) = ok(admin.get("/api/batches"))
    assert (batch["slide"]["name"], batch["tiles"]) == ("Example1", 12)
    assert batch["assignments"][0]["stage"] == "assigned"
    tiles = ok(admin.get(f"/api/batches/{batch['id']}"))["tiles"]
    assert {(tile["width"], tile["height"], tile["mpp"]) for tile in tiles} == {(500, 500, 0.25)}
    images = {admin.get(f"/api/tiles/{tile['id']}/image").content for tile in tiles}
    assert len(images) == 12
    ok(put(admin, tiles[0]["id"], mark(250, 250)))
    with bench.session() as db:
        job = db.scalars(select(Job)).one()
        slide = db.get_one(Slide, job.slide_id)
        assert cli(*slides.cut_command(settings, slide, job.options)).code == 0
        slides.take_tiles(db, settings, slide)
        db.commit()
    shown = {item["name"]: item for item in ok(admin.get("/api/slides"))}
    assert shown["Example2"]["state"] == "ready"
    assert shown["Example2"]["batches"][0]["tiles"] >= 12
