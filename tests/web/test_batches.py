"""Batches: assigned, read, submitted, approved or returned."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from mitoyolo.web.access import ApiError
from mitoyolo.web.batches import check_may_save, submit
from mitoyolo.web.models import Assignment, Audit, Tile, User
from web.conftest import BOTH, Workbench
from web.marks import assign, batch_of, mark, ok, put, refused, tiles_of

MakeSlide = Callable[..., str]


@BOTH
def test_the_whole_way(admin: TestClient, anna: TestClient, tiles_slide: MakeSlide) -> None:
    slide = tiles_slide(admin)
    assignment = assign(admin, slide, anna)
    tile, other = tiles_of(admin, slide)[:2]

    def stage() -> tuple[str, str]:
        (batch,) = ok(anna.get("/api/batches"))
        (mine,) = batch["assignments"]
        return mine["stage"], mine["note"]

    assert stage() == ("assigned", "")
    ok(put(anna, tile, mark()))
    assert ok(anna.post(f"/api/assignments/{assignment}/submit"))["stage"] == "submitted"
    refused(put(anna, tile, mark(), version=1), 409, "submitted", "return")
    refused(anna.post(f"/api/assignments/{assignment}/submit"), 409, "submitted")
    note = {"note": "look at <b>x1</b> again"}
    ok(admin.post(f"/api/assignments/{assignment}/return", json=note))
    assert stage() == ("returned", note["note"])
    ok(put(anna, other, mark()))
    ok(anna.post(f"/api/assignments/{assignment}/submit"))
    ok(admin.post(f"/api/assignments/{assignment}/approve"))
    assert stage()[0] == "approved"
    refused(put(anna, tile, mark(), version=1), 409, "approved")
    refused(admin.post(f"/api/assignments/{assignment}/approve"), 409, "expected submitted")
    ok(put(admin, tile, mark(), version=1, reader="anna"))  # an admin corrects
    ok(admin.post(f"/api/assignments/{assignment}/return", json={}))
    ok(put(anna, tile, mark(), version=2))


def test_an_approval_needs_a_submission(
    admin: TestClient, anna: TestClient, tiles_slide: MakeSlide
) -> None:
    assignment = assign(admin, tiles_slide(admin), anna)
    refused(admin.post(f"/api/assignments/{assignment}/approve"), 409, "is assigned")
    refused(admin.post(f"/api/assignments/{assignment}/return", json={}), 409, "is assigned")
    refused(admin.post(f"/api/assignments/{assignment}/submit"), 403, "its reader")
    long = {"note": "x" * 2001}
    refused(admin.post(f"/api/assignments/{assignment}/return", json=long), 422)


def test_who_may_do_it(
    admin: TestClient, anna: TestClient, bert: TestClient, tiles_slide: MakeSlide
) -> None:
    slide = tiles_slide(admin)
    assignment = assign(admin, slide, anna)
    batch = batch_of(admin, slide)
    for path in (f"/api/batches/{batch}", f"/api/slides/{slide}"):
        refused(bert.get(path), 404)
        ok(anna.get(path))
    assert ok(bert.get("/api/batches")) == ok(bert.get("/api/slides")) == []
    refused(bert.post(f"/api/assignments/{assignment}/submit"), 404)
    refused(anna.post(f"/api/assignments/{assignment}/approve"), 403)
    refused(anna.post(f"/api/assignments/{assignment}/return", json={}), 403)
    refused(anna.post(f"/api/batches/{batch}/assignments", json={"user_id": 1}), 403)
    refused(anna.get(f"/api/batches/{batch}/agreement?a=anna&b=anna"), 403)
    refused(anna.get(f"/api/batches/{batch}?reader=admin"), 403)


def test_the_rule_itself_keeps_others_out(
    admin: TestClient, anna: TestClient, bert: TestClient, tiles_slide: MakeSlide,
    workbench: Workbench,
) -> None:  # fmt: skip
    """Beside what the handlers refuse before."""
    slide = tiles_slide(admin)
    assign(admin, slide, anna)
    with workbench.session() as db:
        users = {user.name: user for user in db.scalars(select(User))}
        tile = db.get_one(Tile, tiles_of(admin, slide)[0])
        check_may_save(db, users["anna"], users["anna"], tile)
        check_may_save(db, users["admin"], users["anna"], tile)
        for by, reader in (("bert", "bert"), ("bert", "anna"), ("anna", "bert")):
            with pytest.raises(ApiError, match="assigned to you"):
                check_may_save(db, users[by], users[reader], tile)


def test_assigning(
    admin: TestClient, anna: TestClient, bert: TestClient, tiles_slide: MakeSlide
) -> None:
    slide = tiles_slide(admin)
    assign(admin, slide, anna)
    assign(admin, slide, bert)
    batch = batch_of(admin, slide)
    path = f"/api/batches/{batch}/assignments"
    user = ok(anna.get("/api/me"))["id"]
    refused(admin.post(path, json={"user_id": user}), 409, "anna has this batch already")
    refused(admin.post(path, json={"user_id": 999}), 404)
    refused(admin.post(path, json={"user_id": "1; drop table users"}), 422)
    ok(admin.patch(f"/api/users/{user}", json={"active": False}))
    (other,) = [tiles_slide(admin, name="T99")]
    path = f"/api/batches/{batch_of(admin, other)}/assignments"
    refused(admin.post(path, json={"user_id": user}), 404, "no active user")
    # each reader sees the own assignment alone
    (mine,) = ok(bert.get(f"/api/batches/{batch}"))["assignments"]
    assert mine["user"]["name"] == "bert"
    assert len(ok(admin.get(f"/api/batches/{batch}"))["assignments"]) == 2


@BOTH
def test_progress_is_counted_from_the_newest_revisions(
    admin: TestClient, anna: TestClient, bert: TestClient, tiles_slide: MakeSlide
) -> None:
    slide = tiles_slide(admin)
    assign(admin, slide, anna)
    assign(admin, slide, bert)
    first, second, *_ = tiles_of(admin, slide)
    ok(put(anna, first, mark(), mark(label="imposter"), mark()))
    ok(put(anna, first, mark(), mark(label="imposter"), version=1))
    ok(put(anna, second, done=False))
    ok(put(bert, second))
    (batch,) = ok(admin.get("/api/batches"))
    assert batch["tiles"] == 4
    assert batch["slide"]["name"] == "T98"
    told = {item["user"]["name"]: item for item in batch["assignments"]}
    assert (told["anna"]["done"], told["anna"]["marks"]) == (1, 2)
    assert (told["bert"]["done"], told["bert"]["marks"]) == (1, 0)
    tiles = ok(anna.get(f"/api/batches/{batch['id']}"))["tiles"]
    assert [tile["counts"] for tile in tiles] == [{"mitosis": 1, "imposter": 1}, {}, {}, {}]
    assert [tile["done"] for tile in tiles] == [True, False, False, False]
    assert [tile["version"] for tile in tiles] == [2, 1, 0, 0]
    assert [(tile["column"], tile["row"]) for tile in tiles] == [(i, 7) for i in range(4)]
    assert {tile["mpp"] for tile in tiles} == {0.25}
    seen = ok(admin.get(f"/api/batches/{batch['id']}?reader=bert"))["tiles"]
    assert [tile["done"] for tile in seen] == [False, True, False, False]

    def done(client: TestClient) -> int:
        number: int = ok(client.get(f"/api/slides/{slide}"))["batches"][0]["done"]
        return number

    assert (done(admin), done(anna), done(bert)) == (2, 1, 1)


def test_each_step_is_audited(
    admin: TestClient, anna: TestClient, tiles_slide: MakeSlide, workbench: Workbench
) -> None:
    assignment = assign(admin, tiles_slide(admin), anna)
    ok(anna.post(f"/api/assignments/{assignment}/submit"))
    ok(admin.post(f"/api/assignments/{assignment}/return", json={"note": "n"}))
    ok(anna.post(f"/api/assignments/{assignment}/submit"))
    ok(admin.post(f"/api/assignments/{assignment}/approve"))
    with workbench.session() as db:
        rows = db.scalars(select(Audit).where(Audit.action.like("batch.%")).order_by(Audit.id))
        assert [row.action for row in rows] == [
            "batch.assign", "batch.submitted", "batch.returned", "batch.submitted",
            "batch.approved",
        ]  # fmt: skip


@BOTH
def test_nothing_is_saved_while_it_is_being_submitted(
    workbench: Workbench, admin: TestClient, anna: TestClient, tiles_slide: MakeSlide
) -> None:
    slide = tiles_slide(admin)
    number = assign(admin, slide, anna)
    tile = tiles_of(admin, slide)[0]
    with ThreadPoolExecutor(1) as pool, workbench.session() as db:
        assignment = db.get_one(Assignment, number)
        submit(db, assignment.user, assignment)
        saved = pool.submit(put, anna, tile, mark())
        with pytest.raises(TimeoutError):
            saved.result(0.5)
        db.commit()
        refused(saved.result(60), 409, "the batch is submitted")
    assert ok(admin.get(f"/api/tiles/{tile}/annotations?reader=anna"))["version"] == 0
