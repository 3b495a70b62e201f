"""Who may do what: every endpoint, as anyone, another annotator, who has the batch, an admin.

An endpoint that is not in the matrix fails the test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from mitoyolo.web.models import (
    Assignment,
    Base,
    Batch,
    Job,
    JobState,
    Revision,
    Stage,
    Tile,
    Upload,
    User,
)
from web.conftest import PASSWORD, Workbench


@dataclass(frozen=True)
class Row:
    """The answers to anyone, to `bert`, to `anna`, who has the batch, and to an admin.

    401: not logged in. 403: not for this role. 404: as if it did not exist.
    """

    anyone: int
    other: int
    owner: int
    admin: int
    body: dict[str, Any] | bytes | None = None
    query: dict[str, Any] = field(default_factory=dict)
    stage: Stage = Stage.ASSIGNED


def everyone(status: int, **more: Any) -> Row:
    return Row(status, status, status, status, **more)


def logged_in(status: int, **more: Any) -> Row:
    return Row(401, status, status, status, **more)


def admins(status: int, **more: Any) -> Row:
    return Row(401, 403, 403, status, **more)


def readers(status: int, **more: Any) -> Row:
    """Who has the batch, and admins."""
    return Row(401, 404, status, status, **more)


NEW = "a wholly new password"
MARKS = {"version": 0, "done": True, "elements": []}
FINISH = {"slide_name": "T99"}
MATRIX = {
    "GET /api/state": everyone(200),
    "GET /api/source": everyone(200),
    "POST /api/setup": everyone(403, body={"token": "", "name": "eve", "password": NEW}),
    "POST /api/login": everyone(200, body={"name": "otto", "password": PASSWORD}),
    "POST /api/logout": logged_in(204),
    "GET /api/me": logged_in(200),
    "POST /api/me/password": logged_in(204, body={"old": PASSWORD, "new": NEW}),
    "GET /api/users": admins(200),
    "POST /api/users": admins(201, body={"name": "eve", "password": NEW, "role": "admin"}),
    "PATCH /api/users/{id}": admins(200, body={"role": "admin"}),
    "GET /api/audit": admins(200),
    "POST /api/uploads": admins(201, body={"name": "x.tif", "size": 4}),
    "GET /api/uploads/{id}": admins(200),
    "PUT /api/uploads/{id}": admins(200, body=b"more", query={"offset": 0}),
    "POST /api/uploads/{id}/finish": admins(409, body=FINISH),  # not all of it is there
    "GET /api/slides": logged_in(200),
    "GET /api/slides/{id}": readers(200),
    "PATCH /api/slides/{id}": admins(200, body={"name": "T97"}),
    "POST /api/slides/{id}/cut": admins(409, body={}),  # it came as tiles
    "GET /api/batches": logged_in(200),
    "GET /api/batches/{id}": readers(200),
    "POST /api/batches/{id}/assignments": admins(201, body={"user_id": 4}),
    "POST /api/assignments/{id}/submit": Row(401, 404, 200, 403),  # its reader alone
    "POST /api/assignments/{id}/approve": admins(200, stage=Stage.SUBMITTED),
    "POST /api/assignments/{id}/return": admins(200, stage=Stage.SUBMITTED, body={"note": "x"}),
    "GET /api/batches/{id}/agreement": admins(200, query={"a": "anna", "b": "bert"}),
    "GET /api/tiles/{id}/image": readers(200),
    "GET /api/tiles/{id}/thumbnail": readers(200),
    "GET /api/tiles/{id}/annotations": readers(200),
    "PUT /api/tiles/{id}/annotations": readers(200, body=MARKS),
    "GET /api/download": admins(200, query={"slide": "{slide}", "reader": "anna", "stage": "all"}),
    "POST /api/slides/{slide_id}/detect": admins(409, body={"weights": "none.pt"}),
    "POST /api/train": admins(409, body={"slides": ["{slide}"], "model": "yolov5n", "epochs": 1}),
    "GET /api/weights": admins(200),
    "GET /api/jobs": admins(200),
    "GET /api/jobs/{job_id}": admins(200),
    "POST /api/jobs/{job_id}/stop": admins(409),  # it has ended
    "GET /api/slides/{slide_id}/slide.dzi": readers(409),  # it came as tiles
    "GET /api/slides/{slide_id}/slide_files/{level}/{column}_{row}.jpeg": readers(409),
    "GET /api/slides/{slide_id}/detections": readers(200),
    "POST /api/slides/{slide_id}/detections/{index}": readers(
        404, body={"label": "mitosis"}
    ),  # no search
}


@dataclass(frozen=True)
class Scene:
    """Users, a slide of tiles whose batch is `anna`'s, an upload begun, a job done."""

    workbench: Workbench
    slide: str
    values: dict[str, dict[str, Any]]

    def call(self, client: TestClient, endpoint: str, row: Row) -> Any:
        method, path = endpoint.split(" ")
        kind = path.split("/")[2]
        body = self._filled(row.body)
        content = {"content" if isinstance(body, bytes) else "json": body}
        address = path.format(**self.values.get(kind, {}))
        return client.request(method, address, params=self._filled(row.query), **content)

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        return self.slide if value == "{slide}" else value

    def rows(self) -> list[Any]:
        """All that the database holds."""
        with self.workbench.session() as db:
            tables = Base.metadata.sorted_tables
            return [sorted(map(repr, db.execute(select(table)))) for table in tables]


@pytest.fixture
def scene(
    workbench: Workbench,
    admin: TestClient,
    anna: TestClient,
    bert: TestClient,
    tiles_slide: Callable[..., str],
) -> Scene:
    workbench.user("otto")
    slide = tiles_slide(admin)
    with workbench.session() as db:
        users = {user.name: user.id for user in db.scalars(select(User))}
        batch = db.scalars(select(Batch)).one()
        db.add(Assignment(batch_id=batch.id, user_id=users["anna"], stage=Stage.ASSIGNED))
        upload = Upload(user_id=users["admin"], name="x.tif", size=8)
        job = Job(
            kind="detect", options={}, state=JobState.DONE, created_by=users["admin"], message=""
        )
        db.add_all([upload, job])
        db.flush()
        (workbench.settings.uploads / f"{upload.id}.part").touch()
        tiles = db.scalars(select(Tile.id).order_by(Tile.id)).all()
        read = Revision(tile_id=tiles[1], reader_id=users["anna"], version=1, done=True)
        read.elements, read.saved_by = [], users["anna"]
        db.add(read)
        place = {"slide_id": slide, "id": slide, "level": 0, "column": 0, "row": 0, "index": 0}
        values = {
            "users": {"id": users["anna"]},
            "uploads": {"id": upload.id},
            "slides": place,
            "batches": {"id": batch.id},
            "assignments": {"id": db.scalars(select(Assignment.id)).one()},
            "tiles": {"id": tiles[0]},
            "jobs": {"job_id": job.id},
        }
        db.commit()
    return Scene(workbench, slide, values)


def test_every_endpoint_is_in_the_matrix(workbench: Workbench) -> None:
    schema = workbench.client().get("/api/openapi.json").json()
    endpoints = {
        f"{method.upper()} {path}"
        for path, methods in schema["paths"].items()
        for method in methods
    }
    assert endpoints == set(MATRIX)


@pytest.mark.parametrize("endpoint", MATRIX)
def test_each_may_do_what_is_theirs(
    scene: Scene, admin: TestClient, anna: TestClient, bert: TestClient, endpoint: str
) -> None:
    row = MATRIX[endpoint]
    with scene.workbench.session() as db:
        db.scalars(select(Assignment)).one().stage = row.stage
        db.commit()
    anyone = scene.workbench.client()
    told = [(anyone, row.anyone), (bert, row.other), (anna, row.owner), (admin, row.admin)]
    for client, status in told:
        before = scene.rows()
        answer = scene.call(client, endpoint, row)
        assert answer.status_code == status, answer.text
        if status >= 400:
            assert scene.rows() == before
            assert isinstance(answer.json()["detail"], str)
        if status == 404:
            assert answer.json()["detail"].endswith("of yours") == (client is bert)
    if "{" in endpoint and row.other == 404:  # no batch of the slide is theirs: nothing of it is
        assert scene.slide not in bert.get("/api/slides").text


def test_without_the_token_against_forgery_nobody_changes_anything(
    scene: Scene, admin: TestClient
) -> None:
    del admin.headers["X-CSRF-Token"]
    before = scene.rows()
    for endpoint, row in MATRIX.items():
        if not endpoint.startswith("GET") and endpoint not in (
            "POST /api/login",
            "POST /api/setup",
        ):
            answer = scene.call(admin, endpoint, row)
            assert answer.status_code == 403 and "X-CSRF-Token" in answer.json()["detail"]
    assert scene.rows() == before


def test_a_user_switched_off_is_anyone(scene: Scene, admin: TestClient, anna: TestClient) -> None:
    user = scene.values["users"]["id"]
    assert admin.patch(f"/api/users/{user}", json={"active": False}).status_code == 200
    for endpoint, row in MATRIX.items():
        if row.anyone == 401:
            assert scene.call(anna, endpoint, row).status_code == 401, endpoint


def test_another_readers_marks_are_for_admins(
    scene: Scene, admin: TestClient, anna: TestClient, bert: TestClient
) -> None:
    batch, tile = scene.values["batches"]["id"], scene.values["tiles"]["id"]
    admin.post(f"/api/batches/{batch}/assignments", json={"user_id": 3})  # bert has it too
    mark = {"type": "point", "id": "0" * 24, "center": [9, 9, 0], "label": {"value": "mitosis"}}
    saved = anna.put(f"/api/tiles/{tile}/annotations", json=MARKS | {"elements": [mark]})
    assert saved.status_code == 200, saved.text
    for path in (f"/api/tiles/{tile}/annotations", f"/api/batches/{batch}"):
        assert bert.get(path).status_code == 200
        assert bert.get(path, params={"reader": "anna"}).status_code == 403
        assert bert.get(path, params={"reader": "nobody"}).status_code == 403
        assert admin.get(path, params={"reader": "anna"}).status_code == 200
        for nobody in ("nobody", "a\x00b", "' OR '1'='1", "%"):
            assert admin.get(path, params={"reader": nobody}).status_code == 404
    assert bert.get(f"/api/tiles/{tile}/annotations").json()["elements"] == []
    forged = bert.put(
        f"/api/tiles/{tile}/annotations", params={"reader": "anna"}, json=MARKS | {"version": 1}
    )
    assert forged.status_code == 403
    assert len(anna.get(f"/api/tiles/{tile}/annotations").json()["elements"]) == 1
    assert "anna" not in bert.get("/api/batches").text


@pytest.mark.parametrize(
    "value", ["0", "-1", "99999999999999999999", "1e3", "%00", "..%5c..", "' OR '1'='1", "x" * 500]
)
def test_made_up_ids_are_one_line(scene: Scene, admin: TestClient, value: str) -> None:
    for endpoint, row in MATRIX.items():
        if "{" in endpoint:
            made_up = {kind: dict.fromkeys(ids, value) for kind, ids in scene.values.items()}
            answer = Scene(scene.workbench, scene.slide, made_up).call(admin, endpoint, row)
            assert answer.status_code in (404, 405, 422), (endpoint, answer.text)
            assert answer.json().keys() == {"detail"}
