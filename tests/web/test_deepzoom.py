"""Deep Zoom pyramids: against the whole slide resampled at once, and over HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import tifffile
from fastapi.testclient import TestClient

from mitoyolo.demo.slide import render_slide
from mitoyolo.images import RGB, read_rgb
from mitoyolo.web import api_deepzoom, deepzoom, grants
from mitoyolo.web.deepzoom import OVERLAP, TILE, Pyramid, Tiles
from mitoyolo.web.models import Assignment, Batch, Role, SlideState, User

from .conftest import PASSWORD, Workbench


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered pyramid of odd sides."""
    path = tmp_path_factory.mktemp("slides") / "slide.tif"
    render_slide(path, width=2701, height=1503)
    return path


def decoded(data: bytes | None) -> RGB:
    assert data is not None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return np.asarray(pixels[..., ::-1])


def picture_of(tiles: Tiles, path: Path, cache: Path, level: int) -> RGB:
    """A level put together from its tiles without their overlap."""
    width, height = tiles.pyramid(path).size(level)
    whole = np.zeros((height, width, 3), np.uint8)
    for row in range(-(-height // TILE)):
        for column in range(-(-width // TILE)):
            pixels = decoded(tiles.tile(path, cache, level, column, row))
            left, top = OVERLAP * (column > 0), OVERLAP * (row > 0)
            part = pixels[top : top + TILE, left : left + TILE]
            y, x = row * TILE, column * TILE
            whole[y : y + part.shape[0], x : x + part.shape[1]] = part
    return whole


def whole_at(pixels: RGB, size: tuple[int, int]) -> RGB:
    """All of a slide at a size: the mean over each pixel's area."""
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def difference(a: RGB, b: RGB) -> float:
    return float(np.abs(a.astype(int) - b).mean())


def test_every_level_is_the_whole_slide_resampled(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deepzoom, "COARSE", 500)  # so that both ways are taken
    tiles = Tiles()
    whole = read_rgb(slide)
    assert tiles.pyramid(slide) == Pyramid(2701, 1503)
    for level in range(13):
        size = Pyramid(2701, 1503).size(level)
        expected = whole_at(whole, size)
        found = picture_of(tiles, slide, tmp_path, level)
        away = difference(found, expected)
        assert away < 7 or min(size) < 8, level
        assert mean_difference(found, expected) < 4, level
        if min(size) > 8:  # and in its place: a pixel further it fits worse
            for axis in (0, 1):
                assert difference(np.roll(found, 1, axis), expected) > 1.5 * away, (level, axis)


def test_neighbours_share_their_edges(slide: Path, tmp_path: Path) -> None:
    tiles = Tiles()
    left = decoded(tiles.tile(slide, tmp_path, 12, 3, 2))
    right = decoded(tiles.tile(slide, tmp_path, 12, 4, 2))
    below = decoded(tiles.tile(slide, tmp_path, 12, 3, 3))
    assert left.shape == right.shape == below.shape == (256, 256, 3)
    assert difference(left[:, -2:], right[:, :2]) < 4
    assert difference(left[-2:], below[:2]) < 4
    assert decoded(tiles.tile(slide, tmp_path, 12, 0, 0)).shape == (255, 255, 3)
    last = decoded(tiles.tile(slide, tmp_path, 12, 10, 5))
    assert last.shape == (1503 - 5 * 254 + 1, 2701 - 10 * 254 + 1, 3)


def mean_difference(a: RGB, b: RGB) -> float:
    """JPEG's colours are coarser than its pixels: a few pixels are right together alone."""
    return float(np.abs(a.mean((0, 1)) - b.mean((0, 1))).max())


@pytest.mark.parametrize(
    ("size", "last", "sizes"),
    [
        ((1, 1), 0, [(1, 1)]),
        ((2, 1), 1, [(1, 1), (2, 1)]),
        ((5, 3), 3, [(1, 1), (2, 1), (3, 2), (5, 3)]),
        ((1024, 1024), 10, [(1, 1), (2, 2)]),
        ((1025, 1), 11, [(1, 1), (2, 1)]),
    ],
)
def test_levels_halve_and_round_up(
    size: tuple[int, int], last: int, sizes: list[tuple[int, int]]
) -> None:
    pyramid = Pyramid(*size)
    assert pyramid.last == last
    assert [pyramid.size(level) for level in range(len(sizes))] == sizes
    assert pyramid.size(last) == size


@pytest.mark.parametrize(
    "place",
    [
        (-1, 0, 0), (12, -1, 0), (12, 0, -1), (12, 11, 0), (12, 0, 6), (13, 0, 0), (0, 1, 0),
        (10**30, 0, 0), (12, 10**30, 0), (12, 0, 10**30),
    ],
)  # fmt: skip
def test_there_is_nothing_beyond(slide: Path, tmp_path: Path, place: tuple[int, int, int]) -> None:
    assert Tiles().tile(slide, tmp_path, *place) is None
    assert not list(tmp_path.iterdir())


def test_sides_that_tiles_divide_have_no_empty_tile() -> None:
    pyramid = Pyramid(2 * TILE, TILE)
    assert list(pyramid.places(pyramid.last)) == [(0, 0), (1, 0)]
    assert pyramid.window(pyramid.last, 1, 0)
    assert pyramid.window(pyramid.last, 2, 0) is None
    assert pyramid.window(pyramid.last, 0, 1) is None


def test_a_flat_slide_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    y, x = np.mgrid[:700, :1100]
    pixels = np.stack([x // 5, y // 3, (x + y) // 8], axis=-1).astype(np.uint8)
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb")
    monkeypatch.setattr(deepzoom, "COARSE", 256)
    monkeypatch.setattr(deepzoom, "AT_ONCE", 64 * 64)
    most = []
    read = deepzoom.Sized.read

    def watched(view: deepzoom.Sized, window: deepzoom.Window) -> RGB:
        step = view.scale[0] * view.scale[1]
        most.append(window.width * window.height * step)
        return read(view, window)

    monkeypatch.setattr(deepzoom.Sized, "read", watched)
    tiles = Tiles()
    for level in range(12):
        expected = whole_at(pixels, Pyramid(1100, 700).size(level))
        found = picture_of(tiles, path, tmp_path / "zoom", level)
        assert difference(found, expected) < 3 or len(found) < 8, level
        assert mean_difference(found, expected) < 3, level
    assert max(most) <= 64 * 64


def test_a_damaged_place_is_grey_and_the_rest_is_there(tmp_path: Path) -> None:
    pixels = np.full((512, 512, 3), (230, 170, 200), np.uint8)
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, pixels, tile=(128, 128), photometric="rgb", compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages.first.dataoffsets[5], tiff.pages.first.databytecounts[5]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(os.urandom(count))
    found = picture_of(Tiles(), path, tmp_path / "zoom", 9)
    assert difference(found[160:224, 160:224], np.full((64, 64, 3), 128, np.uint8)) < 3
    assert difference(found[288:], pixels[288:]) < 3
    assert difference(found[:96], pixels[:96]) < 3


def test_a_tile_is_made_once_and_kept(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    read = deepzoom.read

    def counted(view: deepzoom.Sized, window: deepzoom.Window) -> RGB:
        made.append(window)
        return read(view, window)

    monkeypatch.setattr(deepzoom, "read", counted)
    tiles = Tiles()
    with ThreadPoolExecutor(16) as pool:
        answers = set(pool.map(lambda _: tiles.tile(slide, tmp_path, 12, 5, 3), range(50)))
    assert len(answers) == len(made) == 1
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda level: tiles.tile(slide, tmp_path, level % 9, 0, 0), range(50)))
    assert len(made) == 2  # the coarse ones come from one reading
    again = Tiles()  # of the server's next start
    assert again.tile(slide, tmp_path, 12, 5, 3) in answers
    assert len(made) == 2
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".part")]


def test_a_full_disk_is_not_filled_further(slide: Path, tmp_path: Path) -> None:
    tiles = Tiles(keep_free=2**60)
    assert tiles.tile(slide, tmp_path, 12, 5, 3) == tiles.tile(slide, tmp_path, 12, 5, 3)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_few_slides_stay_open_while_many_are_read(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[deepzoom.Slide] = []
    closed = []

    def spied(path: Path) -> deepzoom.Slide:
        one = deepzoom_open(path)
        opened.append(one)
        close = one.close
        monkeypatch.setattr(one, "close", lambda: (closed.append(one), close()))
        return one

    deepzoom_open = deepzoom.open_slide
    monkeypatch.setattr(deepzoom, "open_slide", spied)
    paths = []
    for i in range(6):
        paths.append(tmp_path / f"{i}.tif")
        os.link(slide, paths[-1])
    tiles = Tiles()
    expected = tiles.tile(slide, tmp_path / "zoom", 12, 5, 3)

    def one(i: int) -> bytes | None:
        return tiles.tile(paths[i % 6], tmp_path / f"zoom{i}", 12, 5, 3)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(60))) == {expected}
    assert len(opened) - len(closed) <= deepzoom.OPEN
    tiles.close()
    assert len(opened) == len(closed)


# --- over HTTP --------------------------------------------------------------------------------


@pytest.fixture
def slide_id(workbench: Workbench, admin: TestClient, slide: Path) -> str:
    """The rendered slide in the workbench, being cut."""
    return workbench.slide(slide, SlideState.CUTTING, 2701, 1503)


def test_the_descriptor(admin: TestClient, slide_id: str) -> None:
    answer = admin.get(f"/api/slides/{slide_id}/slide.dzi")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/xml"
    image = ElementTree.fromstring(answer.text)
    space = "{http://schemas.microsoft.com/deepzoom/2008}"
    assert image.tag == f"{space}Image"
    assert image.attrib == {"Format": "jpeg", "Overlap": "1", "TileSize": "254"}
    assert image.find(f"{space}Size").attrib == {"Width": "2701", "Height": "1503"}


def test_a_tile_is_kept_by_the_browser_alone(admin: TestClient, slide_id: str) -> None:
    url = f"/api/slides/{slide_id}/slide_files/12/5_3.jpeg"
    answer = admin.get(url)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"].startswith("private")
    assert answer.headers["vary"] == "Cookie"  # whoever logs in next asks the server
    assert decoded(answer.content).shape == (256, 256, 3)
    again = admin.get(url, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""
    other = admin.get(f"/api/slides/{slide_id}/slide_files/12/5_4.jpeg")
    assert other.headers["etag"] != answer.headers["etag"]


@pytest.mark.parametrize(
    "place",
    [
        "12/11_0", "12/-1_0", "-1/0_0", "99/0_0", "12/0_99999999999999999999999",
        "9" * 5000 + "/0_0",
        "12/a_b", "12/0", "12/1_2_3", "x/0_0", "../0_0", "%2e%2e/0_0", "12/..%2f0_0", "12/1.5_0",
        "1e1/0_0", "12/%00_0",
    ],
)  # fmt: skip
def test_no_such_tile_is_an_answer(admin: TestClient, slide_id: str, place: str) -> None:
    answer = admin.get(f"/api/slides/{slide_id}/slide_files/{place}.jpeg")
    assert answer.status_code in (404, 422)
    assert isinstance(answer.json()["detail"], str)


def test_only_readers_of_a_slide_see_it(
    workbench: Workbench, admin: TestClient, anna: TestClient, bert: TestClient, slide_id: str
) -> None:
    urls = [f"/api/slides/{slide_id}/{rest}" for rest in ("slide.dzi", "slide_files/0/0_0.jpeg")]
    tag = admin.get(urls[1]).headers["etag"]
    with workbench.session() as db:
        batch = Batch(slide_id=slide_id, number=1)
        db.add(batch)
        db.flush()
        reader = db.query(User).filter(User.name == "anna").one()
        db.add(Assignment(batch_id=batch.id, user_id=reader.id))
        db.commit()
    for url in urls:
        assert anna.get(url).status_code == 200
        assert bert.get(url).status_code == 404
        assert bert.get(url, headers={"If-None-Match": tag}).status_code == 404
        assert workbench.client().get(url).status_code == 401


MARKS = {"version": 0, "done": True, "elements": []}


def test_who_has_seen_a_slide_is_not_looked_up_for_each_tile(
    workbench: Workbench, admin: TestClient, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"/api/slides/{slide_id}/slide_files/0/0_0.jpeg"
    assert admin.get(url).status_code == 200
    asked = []
    sessions = workbench.app.state.sessions
    monkeypatch.setattr(workbench.app.state, "sessions", lambda: asked.append(1) or sessions())
    assert admin.get(url).status_code == 200
    assert admin.put("/api/tiles/1/annotations", json=MARKS).status_code == 404
    del asked[:]
    assert admin.get(url).status_code == 200  # a save changes nothing of who may see what
    assert asked == []
    now = grants.time.monotonic()
    monkeypatch.setattr(grants.time, "monotonic", lambda: now + grants.LONGEST_S)
    assert admin.get(url).status_code == 200  # another program may write to the same database
    assert len(asked) == 1


@pytest.mark.parametrize("how", ["log out", "log in again", "password", "switched off"])
def test_what_ends_a_login_ends_its_tiles_at_once(
    workbench: Workbench, admin: TestClient, slide_id: str, how: str
) -> None:
    carl = workbench.user("carl", Role.ADMIN)
    cookie = carl.cookies["mitoyolo_session"]
    url = f"/api/slides/{slide_id}/slide_files/0/0_0.jpeg"
    assert carl.get(url).status_code == 200
    number = carl.get("/api/me").json()["id"]
    changes = {"password": {"password": "another long one"}, "switched off": {"active": False}}
    if how == "log out":
        answer = carl.post("/api/logout")
    elif how == "log in again":  # as another: the browser's former cookie is worth nothing
        answer = carl.post("/api/login", json={"name": "admin", "password": PASSWORD})
    else:
        answer = admin.patch(f"/api/users/{number}", json=changes[how])
    assert answer.is_success
    former = workbench.client(cookies={"mitoyolo_session": cookie})
    assert former.get(url).status_code == 401


def test_a_change_while_the_rights_are_looked_up_has_them_looked_up_again(
    workbench: Workbench, admin: TestClient, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = []
    found = api_deepzoom._slide_file

    def overtaken(*given: Any) -> Any:
        looked_up.append(given)
        seen = found(*given)
        if len(looked_up) == 1:  # meanwhile somebody is switched off
            workbench.app.state.grants.changed()
        return seen

    monkeypatch.setattr(api_deepzoom, "_slide_file", overtaken)
    url = f"/api/slides/{slide_id}/slide_files/0/0_0.jpeg"
    for times in (1, 2, 2):
        assert admin.get(url).status_code == 200
        assert len(looked_up) == times


def test_all_is_forgotten_when_a_change_is_made_and_not_before(
    workbench: Workbench, admin: TestClient, slide_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    carl = workbench.user("carl", Role.ADMIN)
    url = f"/api/slides/{slide_id}/slide_files/0/0_0.jpeg"
    assert carl.get(url).status_code == 200
    known = workbench.app.state.grants
    active = []

    def changed() -> None:
        with workbench.session() as db:
            active.append(db.query(User).filter(User.name == "carl").one().active)
        grants.Grants.changed(known)

    monkeypatch.setattr(known, "changed", changed)
    number = carl.get("/api/me").json()["id"]
    assert admin.patch(f"/api/users/{number}", json={"active": False}).is_success
    assert active == [False]


def test_an_answer_that_a_change_overtook_is_not_used() -> None:
    known = grants.Grants[str]()
    before = known.changes  # the database is asked
    known.changed()  # meanwhile somebody is switched off
    known.keep("cookie", "may see it", before)
    assert known.get("cookie") is None
    known.keep("cookie", "may see it", known.changes)
    assert known.get("cookie") == "may see it"


def test_tiles_alone_are_no_pyramid(admin: TestClient, tiles_slide: Callable[..., str]) -> None:
    answer = admin.get(f"/api/slides/{tiles_slide(admin)}/slide.dzi")
    assert answer.status_code == 409
    assert "came as tiles" in answer.json()["detail"]


def test_a_slide_that_cannot_be_opened_is_one_line(
    workbench: Workbench, admin: TestClient, slide_id: str
) -> None:
    path = workbench.settings.slides / slide_id / "slide.tif"
    path.unlink()
    path.write_bytes(b"II*\0 and nothing more")
    for rest in ("slide.dzi", "slide_files/12/0_0.jpeg"):
        answer = admin.get(f"/api/slides/{slide_id}/{rest}")
        assert answer.status_code == 422
        assert str(workbench.settings.folder) not in answer.json()["detail"]
