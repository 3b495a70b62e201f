"""What a search has found, shown and taken; its folder is written as ``mitoyolo detect`` does."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from converters.files import write_json
from mitoyolo.detect import INDEX
from mitoyolo.inference.summary import summarise
from mitoyolo.inference.tables import DETECTIONS, write_detections
from mitoyolo.tiles import grid, starts
from mitoyolo.web import detections
from mitoyolo.web.detections import results_folder
from mitoyolo.web.elements import MOST
from mitoyolo.web.models import (
    Assignment,
    Batch,
    Job,
    JobState,
    Slide,
    SlideState,
    Stage,
    Tile,
)

from .conftest import BOTH, Workbench
from .marks import mark, ok, put, refused

MPP, TILE_MPP = 0.2, 0.25
WIDTH, HEIGHT = 1001, 603  # 801 x 482 px of the tiles
SIZE = 250

FOUND = [
    # x, y, width, height, score, label
    [100.0, 100.0, 80.0, 60.0, 0.9, 0],
    [960.0, 560.0, 80.0, 80.0, 0.8, 0],
    [120.0, 500.0, 0.0, 0.0, 0.7, 1],
    [500.0, 300.0, 80.0, 80.0, 0.6, 0],
    [1001.0, 603.0, 80.0, 80.0, 0.5, 0],
]
"""The fourth lies on a tile that was left out as glass, the last one at the slide's very corner."""
GLASS = (1, 0)


class Scene:
    """A slide of two batches, which has been searched: anna reads the first, bert the second."""

    def __init__(self, workbench: Workbench, anna: int, bert: int, mpp: float = MPP) -> None:
        self.workbench = workbench
        with workbench.session() as db:
            slide = Slide(
                name="T1", file="slide.tif", state=SlideState.READY, width=WIDTH, height=HEIGHT,
                mpp_x=mpp, mpp_y=mpp, tile_mpp_x=TILE_MPP, tile_mpp_y=TILE_MPP, created_by=1,
            )  # fmt: skip
            db.add(slide)
            db.flush()
            batches = [Batch(slide_id=slide.id, number=i) for i in (1, 2)]
            db.add_all(batches)
            db.flush()
            size = (round(WIDTH * mpp / TILE_MPP), round(HEIGHT * mpp / TILE_MPP))
            columns = len(starts(size[0], SIZE, 0))
            for i, window in enumerate(grid(*size, SIZE)):
                row, column = divmod(i, columns)
                if (column, row) == GLASS:
                    continue
                tile = Tile(
                    slide_id=slide.id, batch_id=batches[min(row, 1)].id, column=column, row=row,
                    left=window.x, top=window.y, width=window.width, height=window.height,
                    file=f"x{column}y{row}.png",
                )  # fmt: skip
                db.add(tile)
            db.add(Assignment(batch_id=batches[0].id, user_id=anna))
            db.add(Assignment(batch_id=batches[1].id, user_id=bert))
            db.commit()
            self.id, self.first_batch = slide.id, batches[0].id

    @property
    def url(self) -> str:
        return f"/api/slides/{self.id}/detections"

    def search(self, rows: list[list[float]], state: JobState = JobState.DONE) -> int:
        found = np.array(rows).reshape(-1, 6)
        classes = ("mitosis", "imposter")
        with self.workbench.session() as db:
            job = Job(kind="detect", slide_id=self.id, options={}, state=state, created_by=1)
            db.add(job)
            db.flush()
            slide = db.get_one(Slide, self.id)
            folder = results_folder(self.workbench.settings, slide, job)
            write_detections(folder / DETECTIONS, "slide.tif", found, classes, (MPP, MPP))
            summary = summarise(
                found[found[:, 5] == 0], source="slide.tif", mpp=(MPP, MPP), size=(WIDTH, HEIGHT),
                region=None, area_mm2=0.02, tissue_mm2=0.02, hotspot_mm2=0.01, threshold=0.4,
                threshold_from="given by --threshold", unreadable=[],
            )  # fmt: skip
            write_json(folder / INDEX, summary)
            db.commit()
            return job.id

    def tile(self, column: int, row: int) -> Tile:
        with self.workbench.session() as db:
            return (
                db.query(Tile)
                .filter(Tile.slide_id == self.id, Tile.column == column, Tile.row == row)
                .one()
            )

    def marks(self, client: TestClient, tile: int) -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/api/tiles/{tile}/annotations").json()
        return found


@pytest.fixture
def scene(workbench: Workbench, admin: TestClient, anna: TestClient, bert: TestClient) -> Scene:
    anna_id, bert_id = (client.get("/api/me").json()["id"] for client in (anna, bert))
    return Scene(workbench, anna_id, bert_id)


def test_before_a_search_there_is_nothing(scene: Scene, admin: TestClient) -> None:
    expected = {"job": None, "summary": None, "detections": []}
    assert admin.get(scene.url).json() == expected
    for state in (JobState.WAITING, JobState.RUNNING, JobState.FAILED, JobState.STOPPED):
        with scene.workbench.session() as db:
            job = Job(kind="cut", slide_id=scene.id, options={}, state=state, created_by=1)
            db.add(job)
            db.commit()
    assert admin.get(scene.url).json() == expected
    assert admin.post(f"{scene.url}/0", json={"label": "mitosis"}).status_code == 404


def test_all_is_told_of_the_newest_search_that_is_done(scene: Scene, admin: TestClient) -> None:
    scene.search(FOUND[:1])
    done = scene.search(FOUND)
    scene.search([], JobState.FAILED)
    answer = admin.get(scene.url).json()
    assert answer["job"]["id"] == done
    assert answer["summary"]["count"] == 4
    assert answer["summary"]["threshold"] == 0.4
    assert answer["summary"]["scores"][0].keys() >= {"rule", "area_mm2", "count", "score"}
    circle, square = (answer["summary"]["hotspot"][shape] for shape in ("circle", "square"))
    assert math.pi * (circle["reach"][0] * MPP) ** 2 / 1e6 == pytest.approx(0.01)
    assert (2 * square["reach"][1] * MPP) ** 2 / 1e6 == pytest.approx(0.01)
    rows = [
        [item[key] for key in ("x", "y", "width", "height", "score")]
        for item in answer["detections"]
    ]
    assert rows == [row[:5] for row in FOUND]
    assert [item["index"] for item in answer["detections"]] == [0, 1, 2, 3, 4]
    labels = [item["label"] for item in answer["detections"]]
    assert labels == ["mitosis", "mitosis", "imposter", "mitosis", "mitosis"]
    last = scene.tile(3, 1).id
    assert [item["tile_id"] for item in answer["detections"]] == [
        scene.tile(0, 0).id, last, scene.tile(0, 1).id, scene.tile(1, 1).id, last,
    ]  # fmt: skip
    assert {item["taken"] for item in answer["detections"]} == {None}


def test_pages(scene: Scene, admin: TestClient) -> None:
    scene.search(FOUND)

    def indices(**page: Any) -> list[int]:
        return [item["index"] for item in admin.get(scene.url, params=page).json()["detections"]]

    assert indices(limit=2) == [0, 1]
    assert indices(offset=2, limit=2) == [2, 3]
    assert indices(offset=9) == []
    for page in ({"limit": 0}, {"limit": 50_001}, {"offset": -1}, {"offset": "a"}):
        assert admin.get(scene.url, params=page).status_code == 422


def test_a_taken_detection_is_an_ellipse_on_its_tile(scene: Scene, anna: TestClient) -> None:
    scene.search(FOUND)
    tile = scene.tile(0, 0).id
    answer = anna.post(f"{scene.url}/0", json={"label": "mitosis"})
    assert answer.json() == {"tile_id": tile, "version": 1}
    marks = scene.marks(anna, tile)
    (mark,) = marks["elements"]
    assert (mark["type"], mark["label"]) == ("ellipse", {"value": "mitosis"})
    assert mark["user"] == {"confidence": 0.9, "from": "detection"}
    scale = 801 / 1001, 482 / 603
    assert mark["center"] == pytest.approx([100 * scale[0], 100 * scale[1], 0])
    assert (mark["width"], mark["height"]) == pytest.approx((80 * scale[0], 60 * scale[1]))
    assert not marks["done"]
    taken = [item["taken"] for item in anna.get(scene.url).json()["detections"]]
    assert taken == ["mitosis", None, None, None, None]


def test_what_has_no_size_is_a_point_and_the_last_tiles_are_shifted(
    scene: Scene, bert: TestClient
) -> None:
    scene.search(FOUND)
    bert.post(f"{scene.url}/2", json={"label": "imposter"})
    (point,) = scene.marks(bert, scene.tile(0, 1).id)["elements"]
    assert (point["type"], point["label"]["value"]) == ("point", "imposter")
    assert not {"width", "height"} & point.keys()
    last = scene.tile(3, 1)
    for index in (1, 4):
        answer = bert.post(f"{scene.url}/{index}", json={"label": "mitosis"})
        assert answer.json()["tile_id"] == last.id
    inner, corner = scene.marks(bert, last.id)["elements"]
    assert inner["center"][:2] == pytest.approx(
        [960 * 801 / 1001 - last.left, 560 * 482 / 603 - last.top]
    )
    assert corner["center"][:2] == pytest.approx([SIZE, SIZE])


def test_a_second_verdict_changes_the_first_and_the_same_changes_nothing(
    scene: Scene, anna: TestClient
) -> None:
    scene.search(FOUND)
    tile = scene.tile(0, 0).id
    answers = [
        anna.post(f"{scene.url}/0", json={"label": label}).json()["version"]
        for label in ("mitosis", "mitosis", "imposter")
    ]
    assert answers == [1, 1, 2]
    (mark,) = scene.marks(anna, tile)["elements"]
    assert mark["label"]["value"] == "imposter"


@pytest.mark.parametrize(("away_um", "same"), [(7.9, True), (8.1, False)])
def test_a_mark_within_8_um_is_of_the_same_cell(
    scene: Scene, anna: TestClient, away_um: float, same: bool
) -> None:
    scene.search(FOUND)
    tile = scene.tile(0, 0).id
    drawn = {
        "type": "rectangle", "id": "a" * 24, "width": 30.0, "height": 20.0, "rotation": 0.3,
        "center": [100 * 801 / 1001 + away_um / TILE_MPP, 100 * 482 / 603, 0],
        "label": {"value": "imposter"},
    }  # fmt: skip
    body = {"version": 0, "done": True, "elements": [drawn]}
    assert anna.put(f"/api/tiles/{tile}/annotations", json=body).status_code == 200
    taken = anna.get(scene.url).json()["detections"][0]["taken"]
    assert taken == ("imposter" if same else None)
    anna.post(f"{scene.url}/0", json={"label": "mitosis"})
    marks = scene.marks(anna, tile)
    assert marks["done"]
    assert len(marks["elements"]) == (1 if same else 2)
    assert marks["elements"][0] == {
        **drawn, "label": {"value": "mitosis" if same else "imposter"},
    }  # fmt: skip


def test_a_reader_takes_only_what_is_theirs_and_sees_only_their_marks(
    scene: Scene, admin: TestClient, anna: TestClient, bert: TestClient, workbench: Workbench
) -> None:
    scene.search(FOUND)
    assert anna.post(f"{scene.url}/0", json={"label": "mitosis"}).status_code == 200
    seen = anna.get(scene.url).json()["detections"]
    assert [item["tile_id"] is not None for item in seen] == [True, False, False, False, False]
    assert {item["taken"] for item in bert.get(scene.url).json()["detections"]} == {None}
    assert {item["taken"] for item in admin.get(scene.url).json()["detections"]} == {None}
    for index in (1, 2, 3, 4):
        answer = anna.post(f"{scene.url}/{index}", json={"label": "mitosis"})
        assert answer.status_code == 409
        assert "no tile of yours" in answer.json()["detail"]
    stranger = workbench.user("carl")
    assert stranger.get(scene.url).status_code == 404
    assert stranger.post(f"{scene.url}/0", json={"label": "mitosis"}).status_code == 404
    assert workbench.client().get(scene.url).status_code == 401
    assert admin.post(f"{scene.url}/0", json={"label": "imposter"}).status_code == 200
    assert scene.marks(anna, scene.tile(0, 0).id)["elements"][0]["label"]["value"] == "mitosis"


def test_what_is_submitted_is_not_changed(scene: Scene, anna: TestClient) -> None:
    scene.search(FOUND)
    with scene.workbench.session() as db:
        assignment = db.query(Assignment).filter(Assignment.batch_id == scene.first_batch).one()
        assignment.stage = Stage.SUBMITTED
        db.commit()
    answer = anna.post(f"{scene.url}/0", json={"label": "mitosis"})
    assert answer.status_code == 409
    assert scene.marks(anna, scene.tile(0, 0).id)["version"] == 0


@BOTH
def test_of_many_taken_at_once_none_is_lost(scene: Scene, anna: TestClient) -> None:
    scene.search([[50.0 * i, 100.0, 20.0, 20.0, 0.9, 0] for i in range(1, 6)])

    def take(i: int) -> int:
        return int(anna.post(f"{scene.url}/{i}", json={"label": "mitosis"}).status_code)

    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(take, range(5))) == [200] * 5
    marks = scene.marks(anna, scene.tile(0, 0).id)
    assert marks["version"] == len(marks["elements"]) == 5


def test_a_verdict_is_on_the_search_that_was_seen(scene: Scene, anna: TestClient) -> None:
    seen = scene.search(FOUND)
    scene.search([[200.0, 200.0, 50.0, 50.0, 0.9, 0]])
    body = {"label": "mitosis", "job": seen}
    assert anna.post(f"{scene.url}/0", json=body).status_code == 200
    (mark,) = scene.marks(anna, scene.tile(0, 0).id)["elements"]
    assert mark["center"][0] == pytest.approx(100 * 801 / 1001)
    for job in (seen + 99, scene.search([], JobState.FAILED)):
        assert anna.post(f"{scene.url}/0", json={**body, "job": job}).status_code == 404


def test_another_slides_search_is_no_search_of_this_one(
    scene: Scene, admin: TestClient, tiles_slide: Callable[..., str]
) -> None:
    job = scene.search(FOUND)
    other = f"/api/slides/{tiles_slide(admin)}/detections"
    body = {"label": "mitosis", "job": job}
    assert admin.post(f"{other}/0", json=body).status_code == 404
    assert admin.get(other).json()["detections"] == []


@pytest.mark.parametrize("index", ["5", "-1", "9" * 30, "9" * 5000, "a", "0.5"])
def test_no_such_detection(scene: Scene, admin: TestClient, index: str) -> None:
    scene.search(FOUND)
    answer = admin.post(f"{scene.url}/{index}", json={"label": "mitosis"})
    assert answer.status_code in (404, 422)


@pytest.mark.parametrize(
    "body",
    [
        {}, {"label": "other"}, {"label": "<script>"}, {"label": None}, {"label": ["mitosis"]}, [],
        {"label": "mitosis", "reader": "bert"}, {"label": "mitosis", "job": -1},
        {"label": "mitosis", "job": 2**40},
    ],
)  # fmt: skip
def test_other_verdicts_are_refused(scene: Scene, anna: TestClient, body: Any) -> None:
    scene.search(FOUND)
    assert anna.post(f"{scene.url}/0", json=body).status_code == 422
    assert scene.marks(anna, scene.tile(0, 0).id)["version"] == 0


def test_the_very_edge_belongs_to_the_last_tile() -> None:
    tile = Tile(column=1, row=1, left=250, top=250, width=250, height=250)
    whole = detections.Grid({(1, 1): tile}, (250, 250), (0.5, 0.5))
    assert whole.at(1000, 1000) == (tile, 250, 250)
    assert whole.at(500, 500) == (tile, 0, 0)
    for place in ((1000.1, 1000), (1000, 1000.1), (499.9, 500), (500, 499.9), (-1, -1)):
        assert whole.at(*place) is None


def test_a_changed_mpp_leaves_the_tiles_where_they_are(scene: Scene, admin: TestClient) -> None:
    scene.search(FOUND)
    before = [item["tile_id"] for item in admin.get(scene.url).json()["detections"]]
    assert admin.patch(f"/api/slides/{scene.id}", json={"mpp": 0.5}).status_code == 200
    assert [item["tile_id"] for item in admin.get(scene.url).json()["detections"]] == before


def test_tiles_of_nearly_the_slides_mpp_are_no_level_0(
    workbench: Workbench, anna: TestClient
) -> None:
    reader = anna.get("/api/me").json()["id"]
    scene = Scene(workbench, reader, reader, mpp=0.2425)  # 971 x 585 px of the tiles
    scene.search(FOUND)
    answer = ok(anna.post(f"{scene.url}/1", json={"label": "mitosis"}))
    tile = scene.tile(3, 2)
    assert answer["tile_id"] == tile.id
    (mark,) = scene.marks(anna, tile.id)["elements"]
    place = 960 * 971 / 1001 - tile.left, 560 * 585 / 603 - tile.top
    assert mark["center"] == pytest.approx([*place, 0])


def test_a_full_tile_takes_no_more(scene: Scene, anna: TestClient) -> None:
    tile = scene.tile(0, 0).id
    ok(put(anna, tile, *[mark(200, 200, kind="point") for _ in range(MOST)]))
    scene.search(FOUND)
    refused(anna.post(f"{scene.url}/0", json={"label": "mitosis"}), 409, f"{MOST} marks")
