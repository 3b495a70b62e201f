"""Slides: cut into tiles and batches, shown, renamed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Cli
from fastapi.testclient import TestClient
from slides_rendered import textured, write_slide
from sqlalchemy import func, select

from converters.errors import InputError
from mitoyolo.web import slides
from mitoyolo.web.app import create_app
from mitoyolo.web.models import Audit, Job, Role, Slide, SlideState, Tile
from mitoyolo.web.settings import Settings
from web.conftest import Workbench
from web.files import upload
from web.marks import assign, ok, refused


@pytest.fixture
def still(settings: Settings) -> Workbench:
    """A workbench that does no jobs by itself."""
    return Workbench(create_app(settings), settings)


@pytest.fixture
def slide(still: Workbench, tmp_path: Path) -> str:
    """A slide of 400 x 300 px at 0.5 µm/px, to be cut into tiles of 100 px at 0.5 µm/px."""
    admin = still.user("admin", Role.ADMIN)
    file = write_slide(tmp_path / "s.tif", textured(430, 300), 0.5, steps=(4,))
    how = {"tile_size": 100, "at_mpp": 0.5, "batch_size": 6, "min_tissue": 0}
    found: str = ok(upload(admin, "s.tif", file, "T98", **how))["id"]
    return found


def cut(still: Workbench, cli: Cli, key: str) -> None:
    """What the job does."""
    with still.session() as db:
        job = db.scalars(select(Job).where(Job.slide_id == key)).one()
        arguments = slides.cut_command(still.settings, db.get_one(Slide, key), job.options)
    assert cli(*arguments).code == 0


def test_a_slide_becomes_batches(still: Workbench, slide: str, cli: Cli) -> None:
    cut(still, cli, slide)
    for _ in range(2):  # the server was killed in between, say
        with still.session() as db:
            slides.take_tiles(db, still.settings, db.get_one(Slide, slide))
            db.commit()
    admin = still.login("admin")
    (shown,) = ok(admin.get("/api/slides"))
    assert (shown["state"], shown["tile_mpp"], shown["mpp"]) == ("ready", 0.5, 0.5)
    assert [(batch["number"], batch["tiles"]) for batch in shown["batches"]] == [
        (1, 6), (2, 6), (3, 3),
    ]  # fmt: skip
    with still.session() as db:
        tiles = db.scalars(select(Tile).order_by(Tile.id)).all()
    assert [(tile.column, tile.row) for tile in tiles] == [
        (i, j) for j in range(3) for i in range(5)
    ]
    last = tiles[-1]  # shifted back to the edge
    assert (last.left, last.top, last.width, last.height) == (330, 200, 100, 100)
    image = admin.get(f"/api/tiles/{last.id}/image").content
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(pixels, textured(430, 300)[200:, 330:])


def test_a_slide_that_failed_is_cut_again(still: Workbench, slide: str, cli: Cli) -> None:
    admin = still.login("admin")
    path = f"/api/slides/{slide}/cut"
    refused(admin.post(path, json={}), 409, "T98 is cutting")
    cut(still, cli, slide)
    with still.session() as db:
        row = db.get_one(Slide, slide)
        row.state, row.error = SlideState.FAILED, "no tissue"
        db.commit()
    how = {"tile_size": 200, "at_mpp": 0.5, "min_tissue": 0}
    refused(admin.post(path, json=how | {"tile_size": 1}), 422)
    shown = ok(admin.post(path, json=how))
    assert (shown["state"], shown["error"]) == ("cutting", None)
    with still.session() as db:
        row = db.get_one(Slide, slide)
        job = db.scalars(select(Job).order_by(Job.id.desc())).first()
        assert job is not None
        assert cli(*slides.cut_command(still.settings, row, job.options)).code == 0
        slides.take_tiles(db, still.settings, row)
        db.commit()
    assert ok(admin.get(f"/api/slides/{slide}"))["batches"][0]["tiles"] == 6


def test_unfinished_tiles_are_not_taken(still: Workbench, slide: str) -> None:
    with still.session() as db, pytest.raises(InputError):
        slides.take_tiles(db, still.settings, db.get_one(Slide, slide))


def test_a_slide_that_came_as_tiles_has_no_file(admin: TestClient, tiles_slide: Callable) -> None:
    slide = ok(admin.get(f"/api/slides/{tiles_slide(admin)}"))
    assert (slide["kind"], slide["job"], slide["width"]) == ("tiles", None, None)


def test_the_scale_of_a_cut_slide_and_its_tiles_change_together(
    still: Workbench, slide: str, cli: Cli
) -> None:
    admin = still.login("admin")
    path = f"/api/slides/{slide}"
    refused(admin.patch(path, json={"mpp": 0.25}), 409, "is being cut")
    cut(still, cli, slide)
    with still.session() as db:
        slides.take_tiles(db, still.settings, db.get_one(Slide, slide))
        db.commit()
    shown = ok(admin.patch(path, json={"mpp": 0.25, "name": "T99"}))
    assert (shown["mpp"], shown["tile_mpp"], shown["name"]) == (0.25, 0.25, "T99")
    assert ok(admin.patch(path, json={})) == shown
    for mpp in (0, -1, 1e9, "x"):
        refused(admin.patch(path, json={"mpp": mpp}), 422)
    with still.session() as db:
        row = db.scalars(select(Audit).where(Audit.action == "slide.change")).first()
        assert row is not None
        assert row.detail["before"] == {"name": "T98", "mpp": 0.5}


def test_names_are_checked(admin: TestClient, tiles_slide: Callable) -> None:
    slide, _ = tiles_slide(admin), tiles_slide(admin, name="T99")
    path = f"/api/slides/{slide}"
    refused(admin.patch(path, json={"name": "t99"}), 409, "already")
    refused(admin.patch(path, json={"name": "<script>"}), 422)
    assert ok(admin.patch(path, json={"name": "t98"}))["name"] == "t98"


def test_annotators_see_what_is_assigned(
    admin: TestClient, anna: TestClient, tiles_slide: Callable, workbench: Workbench
) -> None:
    slide, other = tiles_slide(admin), tiles_slide(admin, name="T99")
    assert {item["id"] for item in ok(admin.get("/api/slides"))} == {slide, other}
    assign(admin, slide, anna)
    assert [item["id"] for item in ok(anna.get("/api/slides"))] == [slide]
    ok(anna.get(f"/api/slides/{slide}"))
    refused(anna.get(f"/api/slides/{other}"), 404)
    refused(anna.patch(f"/api/slides/{slide}", json={"name": "X1"}), 403)
    with workbench.session() as db:
        assert db.scalar(select(func.count(Slide.id))) == 2
