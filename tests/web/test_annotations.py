"""Revisions: saved in order, never lost, never overwritten."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from mitoyolo.web.models import Audit, Revision
from web.conftest import BOTH, Workbench
from web.marks import assign, mark, ok, put, refused, tiles_of

MakeSlide = Callable[..., str]


@pytest.fixture
def tile(admin: TestClient, anna: TestClient, tiles_slide: MakeSlide) -> int:
    """A tile that anna reads."""
    slide = tiles_slide(admin)
    assign(admin, slide, anna)
    return tiles_of(admin, slide)[0]


def marks(client: TestClient, tile: int, **query: str) -> dict:
    return ok(client.get(f"/api/tiles/{tile}/annotations", params=query))


@BOTH
def test_what_is_saved_is_what_is_loaded(anna: TestClient, tile: int) -> None:
    nothing = {"version": 0, "done": False, "elements": [], "saved_at": None, "saved_by": None}
    assert marks(anna, tile) == nothing
    sent = [mark(10.25, 20.5, rotation=0.7), mark(30, 40, "imposter", "point")]
    saved = ok(put(anna, tile, *sent, done=False))
    assert (saved["version"], saved["done"], saved["elements"]) == (1, False, sent)
    assert saved["saved_by"] == "anna"
    assert saved["saved_at"].endswith(("Z", "+00:00"))
    assert marks(anna, tile) == saved
    assert ok(put(anna, tile, sent[1], version=1))["version"] == 2
    assert marks(anna, tile)["elements"] == [sent[1]]


def test_nothing_is_overwritten_and_all_is_audited(
    anna: TestClient, tile: int, workbench: Workbench
) -> None:
    for version in range(3):
        ok(put(anna, tile, mark(version, 1), version=version))
    with workbench.session() as db:
        revisions = db.scalars(select(Revision).order_by(Revision.version)).all()
        assert [item.elements[0]["center"][0] for item in revisions] == [0, 1, 2]
        rows = db.scalars(select(Audit).where(Audit.action == "annotations.save")).all()
        assert [row.detail["version"] for row in rows] == [1, 2, 3]
        assert {row.subject for row in rows} == {f"tile {tile}"}


@BOTH
def test_the_second_save_of_a_version_is_refused(
    admin: TestClient, anna: TestClient, tile: int
) -> None:
    first = mark(10, 10)
    ok(put(anna, tile, first))
    body = refused(put(admin, tile, mark(20, 20), reader="anna"), 409, "anna saved version 1")
    assert body["current"]["elements"] == [first]
    assert body["current"]["version"] == 1
    assert marks(anna, tile)["elements"] == [first]
    refused(put(anna, tile, version=2), 409)
    refused(put(anna, tile, version=-1), 422)
    refused(put(anna, tile, version=2**40), 422)


@BOTH
def test_of_saves_at_the_same_time_one_is_kept(
    workbench: Workbench, anna: TestClient, tile: int
) -> None:
    clients = [workbench.login("anna") for _ in range(4)]
    for version in range(5):
        start = Barrier(len(clients))

        def save(client: TestClient, version: int = version, start: Barrier = start) -> int:
            start.wait()
            return put(client, tile, mark(), version=version).status_code

        with ThreadPoolExecutor(len(clients)) as pool:
            codes = sorted(pool.map(save, clients))
        assert codes == [200, 409, 409, 409]
    assert marks(anna, tile)["version"] == 5


def test_saves_of_many_tiles_at_the_same_time_are_all_kept(
    admin: TestClient, anna: TestClient, workbench: Workbench, tiles_slide: MakeSlide
) -> None:
    slide = tiles_slide(admin, n=8)
    assign(admin, slide, anna)
    tiles = tiles_of(admin, slide)
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda tile: put(anna, tile, mark()).status_code, tiles))
    assert codes == [200] * 8
    with workbench.session() as db:
        assert len(db.scalars(select(Revision)).all()) == 8


def test_readers_do_not_see_or_touch_each_other(
    admin: TestClient, anna: TestClient, bert: TestClient, tile: int, tiles_slide: MakeSlide
) -> None:
    ok(put(anna, tile, mark()))
    refused(put(bert, tile, mark()), 404)
    refused(bert.get(f"/api/tiles/{tile}/annotations"), 404)
    refused(bert.get(f"/api/tiles/{tile}/image"), 404)
    refused(bert.get(f"/api/tiles/{tile}/thumbnail"), 404)
    refused(put(anna, tile, mark(), reader="bert"), 403)
    refused(anna.get(f"/api/tiles/{tile}/annotations?reader=admin"), 403)
    refused(put(admin, tile, mark(), reader="bert"), 409, "does not read this batch")
    refused(put(admin, tile, mark(), reader="nobody"), 404)


def test_an_admin_reviews_over_the_reader_s_marks(
    admin: TestClient, anna: TestClient, tile: int
) -> None:
    ok(put(anna, tile, mark(10, 10)))
    both = [mark(10, 10), mark(30, 30)]
    saved = ok(put(admin, tile, *both, version=1, reader="anna"))
    assert (saved["version"], saved["saved_by"]) == (2, "admin")
    assert marks(anna, tile)["elements"] == both
    assert marks(admin, tile)["version"] == 0  # the admin's own


@pytest.mark.parametrize(
    "body",
    [
        '{"version": 0, "done": true, "elements": [{"center": [NaN, 1, 0]}]}',
        '{"version": 0, "done": true, "elements": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"version": 0, "done": true, "elements": [], "more": 1}',
        '{"version": 0, "done": "yes please", "elements": []}',
        '{"version": 1e400, "done": true, "elements": []}',
        '{"version": 0, "done": true}',
        "[]",
        "",
        "\x00",
    ],
)
def test_a_body_of_another_form_is_refused_in_one_line(
    anna: TestClient, tile: int, body: str
) -> None:
    answer = anna.put(
        f"/api/tiles/{tile}/annotations", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in (400, 422)
    refused(answer, answer.status_code)
    assert marks(anna, tile)["version"] == 0


def test_a_refused_element_is_named(anna: TestClient, tile: int) -> None:
    refused(put(anna, tile, mark(), mark(65, 1)), 422, "elements[1]", "outside the tile")
    refused(put(anna, tile, mark(label="<b>")), 422, "elements.0", "label")
    refused(put(anna, tile, *[mark() for _ in range(2001)]), 422, "elements")
    refused(put(anna, 2**40), 422)
    refused(put(anna, 10**6), 404)


def test_pictures_are_sent_and_kept_by_this_browser_alone(anna: TestClient, tile: int) -> None:
    image = anna.get(f"/api/tiles/{tile}/image")
    assert image.headers["content-type"] == "image/png"
    assert image.content.startswith(b"\x89PNG")
    thumbnail = anna.get(f"/api/tiles/{tile}/thumbnail")
    assert thumbnail.headers["content-type"] == "image/jpeg"
    for answer in (image, thumbnail):
        assert answer.headers["cache-control"].startswith("private")
        assert answer.headers["x-content-type-options"] == "nosniff"
    again = {"If-None-Match": thumbnail.headers["etag"]}
    assert anna.get(f"/api/tiles/{tile}/thumbnail", headers=again).status_code == 304
