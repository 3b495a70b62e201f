"""The page in a real browser: what people do with it, from upload to download."""

from __future__ import annotations

import json
import shutil
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from math import atan2, cos, hypot, pi, sin
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from conftest import Cli
from rendered import card
from sqlalchemy import select

pytest.importorskip("fastapi", reason="no mitoyolo[web]")
pytest.importorskip("playwright", reason="no playwright")

from playwright.sync_api import Browser, Dialog, Page, Route, expect, sync_playwright

from converters.files import write_csv, write_json
from mitoyolo.demo.slide import render_slide
from mitoyolo.detect import INDEX
from mitoyolo.detectors.yolo import start_model, write_start
from mitoyolo.detectors.yolo_train import finish
from mitoyolo.inference.summary import summarise
from mitoyolo.inference.tables import DETECTION_COLUMNS, DETECTIONS
from mitoyolo.web import app, detections
from mitoyolo.web.database import open_database
from mitoyolo.web.models import Job, JobState, Slide, User, now
from mitoyolo.web.settings import Settings
from web.conftest import PASSWORD
from web.marks import mark
from web.test_serve import Served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium"),
    pytest.mark.skipif(
        not (app.PAGE / "index.html").is_file(), reason="the page is not built: make install"
    ),
]
expect.set_options(timeout=15_000)
NOISE_OF_CONSOLE = "Failed to load resource"
"""What the browser writes of every answer that is not a success; the page tells these itself."""
Area = tuple[float, float, float, float]


class Site:
    """A server with users, and browsers that look at it."""

    def __init__(self, served: Served, folder: Path, browser: Browser) -> None:
        self.served, self.folder, self.browser = served, folder, browser
        self.url = str(served.browser.base_url)
        self.faults: list[str] = []
        self.scripts: dict[str, httpx.Client] = {}

    def open(self, at: str = "/", *, cookies: httpx.Cookies | None = None) -> Page:
        """A browser of nobody's, or with these cookies; what it complains of is kept."""
        context = self.browser.new_context(viewport={"width": 1280, "height": 800})
        context.set_default_timeout(15_000)
        context.add_cookies(
            [
                {"name": key, "value": value, "url": self.url}
                for key, value in (cookies or {}).items()
            ]
        )
        page = context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda said: self._hear(said.type, said.text))
        page.goto(f"{self.url}/#{at}")
        return page

    def _hear(self, kind: str, text: str) -> None:
        if kind == "error" and NOISE_OF_CONSOLE not in text:
            self.faults.append(text)

    def enter(self, name: str, at: str = "/") -> Page:
        """A user's browser, at a view."""
        return self.open(at, cookies=self.script(name).cookies)

    def script(self, name: str) -> httpx.Client:
        """A user's script, logged in once."""
        if name not in self.scripts:
            self.scripts[name] = client = httpx.Client(base_url=f"{self.url}/api", timeout=60)
            answer = client.post("/login", json={"name": name, "password": PASSWORD})
            client.headers["X-CSRF-Token"] = answer.json()["csrf"]
        return self.scripts[name]

    def upload(self, file: Path, **options: Any) -> dict[str, Any]:
        """A slide, uploaded by a script."""
        admin = self.script("admin")
        size = file.stat().st_size
        key = admin.post("/uploads", json={"name": file.name, "size": size}).json()["id"]
        admin.put(f"/uploads/{key}", params={"offset": 0}, content=file.read_bytes())
        answer = admin.post(f"/uploads/{key}/finish", json=options)
        assert answer.status_code == 201, answer.text
        slide: dict[str, Any] = answer.json()
        return slide

    def batch(
        self, folder: Path, name: str, *readers: str, tiles: int = 3
    ) -> tuple[int, list[int]]:
        """A new batch with its readers: its number, and those of its tiles."""
        slide = self.upload(zip_of_tiles(folder / f"{name}.zip", 3), slide_name=name, mpp=0.25)
        number = slide["batches"][0]["id"]
        admin = self.script("admin")
        users = {user["name"]: user["id"] for user in admin.get("/users").json()}
        for reader in readers:
            admin.post(f"/batches/{number}/assignments", json={"user_id": users[reader]})
        return number, [tile["id"] for tile in admin.get(f"/batches/{number}").json()["tiles"]]

    def marks(self, reader: str, tile: int) -> dict[str, Any]:
        """What stands on the server."""
        client = self.script(reader)
        marks: dict[str, Any] = client.get(f"/tiles/{tile}/annotations").json()
        return marks


@pytest.fixture(scope="module")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site, set up in the browser with the token on the console; users admin, anna, bert."""
    folder = tmp_path_factory.mktemp("site") / "bench"
    served = Served(folder)
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
            site = Site(served, folder, browser)
            page = site.open()
            page.get_by_label("Token").fill(served.token)
            page.get_by_label("Name").fill("admin")
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Make the admin").click()
            page.get_by_role("navigation").wait_for()
            for name in ("anna", "bert"):
                page.goto(f"{site.url}/#/users")
                page.get_by_role("button", name="Add user").wait_for()
                page.get_by_label("Name").fill(name)
                page.get_by_label("Password").fill(PASSWORD)
                page.get_by_role("button", name="Add user").click()
                page.get_by_role("cell", name=name, exact=True).wait_for()
            page.context.close()
            yield site
            for client in site.scripts.values():
                client.close()
            browser.close()
    finally:
        served.end(signal.SIGTERM)


@pytest.fixture
def site(everyone: Site) -> Iterator[Site]:
    """The site; in the end no browser has complained."""
    everyone.faults.clear()
    yield everyone
    for context in everyone.browser.contexts:
        context.close()
    assert not everyone.faults


def zip_of_tiles(file: Path, n: int, size: int = 500) -> Path:
    """A zip of coloured noise, named by columns and rows."""
    with zipfile.ZipFile(file, "w") as archive:
        for i in range(n):
            noise = np.random.default_rng(i).integers(120, 255, (20, 20, 3), dtype=np.uint8)
            _, data = cv2.imencode(".png", cv2.resize(noise, (size, size)))
            archive.writestr(f"x{80 + i}y40.png", data.tobytes())
    return file


def on_screen(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a place of the tile is on the screen, at a whole pixel, as mice have it."""
    scale, left, top = page.locator("svg.tile").evaluate(
        "tile => { const m = tile.getScreenCTM(); return [m.a, m.e, m.f] }"
    )
    return round(x * scale + left), round(y * scale + top)


def in_tile(page: Page, x: float, y: float) -> tuple[float, float]:
    """What of the tile is at a place of the screen."""
    scale, left, top = page.locator("svg.tile").evaluate(
        "tile => { const m = tile.getScreenCTM(); return [m.a, m.e, m.f] }"
    )
    return (x - left) / scale, (y - top) / scale


def drag(page: Page, from_: tuple[float, float], to: tuple[float, float]) -> Area:
    """Press, move and release the mouse over the tile; left, top, right, bottom of its way."""
    start, end = on_screen(page, *from_), on_screen(page, *to)
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=5)
    page.mouse.up()
    return (*in_tile(page, *start), *in_tile(page, *end))


def saved(page: Page) -> None:
    """Wait until the page says so."""
    expect(page.locator(".saving")).to_have_text("Saved")


def open_batch(site: Site, name: str, number: int, tile: int) -> Page:
    """A reader's browser at a tile."""
    page = site.enter(name, f"/batch/{number}?tile={tile}")
    expect(page.locator("svg.tile image")).to_have_attribute("href", f"/api/tiles/{tile}/image")
    return page


def test_from_upload_to_the_box_that_was_drawn(site: Site, tmp_path: Path, cli: Cli) -> None:
    admin = site.enter("admin", "/slides")
    admin.get_by_label("File", exact=False).first.set_input_files(
        zip_of_tiles(tmp_path / "T98.zip", 3)
    )
    expect(admin.locator("input[name=slide_name]")).to_have_value("T98")
    admin.locator("input[name=mpp]").fill("0.25")
    admin.get_by_role("button", name="Upload").click()
    slide = admin.get_by_role("article", name="T98")
    slide.get_by_label("Reader for batch 1").select_option("anna")
    slide.get_by_role("button", name="Assign").click()
    slide.get_by_role("link", name="anna").wait_for()

    anna = site.enter("anna")
    anna.get_by_role("link", name="T98, batch 1").click()
    anna.locator("svg.tile").wait_for()
    ellipse = drag(anna, (120, 100), (171, 132))
    anna.keyboard.press("b")
    anna.keyboard.press("i")
    box = drag(anna, (400, 350), (341, 322))
    saved(anna)
    anna.get_by_role("button", name="Done, next").click()
    expect(anna.locator(".tile-name")).to_contain_text("2 of 3")
    anna.keyboard.press("e")
    anna.keyboard.press("m")
    turned = drag(anna, (200, 200), (260, 230))
    for _ in range(6):
        anna.keyboard.press("]")
    saved(anna)
    asked: list[str] = []
    anna.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.accept()))
    anna.get_by_role("button", name="Submit").click()
    expect(anna.locator(".batch-head .stage")).to_have_text("submitted")
    assert "Of 3 tiles 2 not marked done. 1 of them without any mark" in asked[0]

    admin.goto(f"{site.url}/#/review")
    admin.get_by_role("link", name="T98, batch 1").click()
    admin.get_by_role("button", name="Approve").click()
    expect(admin.locator(".batch-head .stage")).to_have_text("approved")
    admin.goto(f"{site.url}/#/slides")
    slide.get_by_text("Download").first.click()
    slide.get_by_label("Marks of").select_option("anna")
    slide.get_by_label("with the pictures").check()
    with admin.expect_download() as coming:
        slide.get_by_role("button", name="Download").click()
    coming.value.save_as(tmp_path / "down.zip")

    folder = tmp_path / "down"
    with zipfile.ZipFile(tmp_path / "down.zip") as archive:
        archive.extractall(folder)
    document = json.loads((folder / "T98" / "Batch-1" / "80_40.json").read_text())
    assert [item["type"] for item in document["annotation"]["elements"]] == ["ellipse", "rectangle"]
    result = cli(
        "convert", folder, tmp_path / "coco", "--from", "cadd4mbc", "--to", "coco",
        "--labels", "mitosis,imposter", "--mpp", 0.25,
    )  # fmt: skip
    assert result.code == 0, result.err
    left, top, right, bottom = turned
    centre, half = (
        ((left + right) / 2, (top + bottom) / 2),
        ((right - left) / 2, (bottom - top) / 2),
    )
    reach = [
        hypot(half[0] * cos(pi / 6), half[1] * sin(pi / 6)),
        hypot(half[0] * sin(pi / 6), half[1] * cos(pi / 6)),
    ]
    drawn = {
        "x80y40": [ellipse, (box[2], box[3], box[0], box[1])],
        "x81y40": [
            (centre[0] - reach[0], centre[1] - reach[1], centre[0] + reach[0], centre[1] + reach[1])
        ],
    }
    assert boxes_of(tmp_path / "coco") == {
        tile: [pytest.approx(area, abs=0.5) for area in areas] for tile, areas in drawn.items()
    }


def boxes_of(folder: Path) -> dict[str, list[Area]]:
    """File stem -> left, top, right, bottom of its boxes, from any COCO files below."""
    found: dict[str, list[Area]] = {}
    for file in folder.rglob("*.json"):
        coco = json.loads(file.read_text())
        if not isinstance(coco, dict) or "annotations" not in coco:
            continue
        names = {image["id"]: Path(image["file_name"]).stem for image in coco["images"]}
        for item in coco["annotations"]:
            x, y, width, height = item["bbox"]
            found.setdefault(names[item["image_id"]], []).append((x, y, x + width, y + height))
    return found


def test_a_mark_of_the_server_is_shown_where_it_is_turned_too(site: Site, tmp_path: Path) -> None:
    number, tiles = site.batch(tmp_path, "Turned", "anna")
    turned = mark(150, 220) | {"width": 90.0, "height": 30.0, "rotation": 0.7}
    anna = site.script("anna")
    body = {"version": 0, "done": False, "elements": [turned]}
    assert anna.put(f"/tiles/{tiles[0]}/annotations", json=body).status_code == 200
    page = open_batch(site, "anna", number, tiles[0])
    line = page.locator(".marks .line")
    line.wait_for()
    # of the curve itself: the browser's own box is that of the turned frame
    shown = np.array(
        line.evaluate(
            """line => {
                const [place, tile] = [line.getScreenCTM(), line.ownerSVGElement.getScreenCTM()];
                const through = tile.inverse().multiply(place);
                return Array.from({ length: 360 }, (_, i) => {
                    const at = line.getPointAtLength((line.getTotalLength() * i) / 360);
                    const { x, y } = new DOMPoint(at.x, at.y).matrixTransform(through);
                    return [x, y];
                });
            }"""
        )
    )
    reach = hypot(45 * cos(0.7), 15 * sin(0.7)), hypot(45 * sin(0.7), 15 * cos(0.7))
    assert shown.max(axis=0) == pytest.approx((150 + reach[0], 220 + reach[1]), abs=0.1)
    assert shown.min(axis=0) == pytest.approx((150 - reach[0], 220 - reach[1]), abs=0.1)
    assert np.corrcoef(shown.T)[0, 1] > 0.5  # from the upper left to the lower right


def test_handles_stretch_one_side_and_turn(site: Site, tmp_path: Path) -> None:
    number, tiles = site.batch(tmp_path, "Handles", "anna")
    page = open_batch(site, "anna", number, tiles[0])
    left, top, right, bottom = drag(page, (200, 200), (260, 240))
    handle = page.locator(".grip.east").bounding_box()
    assert handle
    grip = in_tile(page, handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    assert grip == pytest.approx((right, (top + bottom) / 2), abs=0.5)
    _, _, wider, _ = drag(page, grip, (grip[0] + 40, grip[1]))
    saved(page)
    [element] = site.marks("anna", tiles[0])["elements"]
    assert element["center"][0] - element["width"] / 2 == pytest.approx(left, abs=0.5)
    assert element["center"][0] + element["width"] / 2 == pytest.approx(wider, abs=1)
    page.keyboard.press("Control+z")
    saved(page)
    [element] = site.marks("anna", tiles[0])["elements"]
    assert element["width"] == pytest.approx(right - left, abs=0.5)
    knob = page.locator(".grip.turn").bounding_box()
    assert knob
    drag(
        page,
        in_tile(page, knob["x"] + knob["width"] / 2, knob["y"] + knob["height"] / 2),
        ((left + right) / 2 + 80, (top + bottom) / 2 - 40),
    )
    saved(page)
    [element] = site.marks("anna", tiles[0])["elements"]
    assert element["rotation"] == pytest.approx(atan2(80, 40), abs=0.03)


@pytest.mark.parametrize("keep", ["mine", "theirs"])
def test_two_who_save_the_same_tile_are_told_and_nothing_is_lost(
    site: Site, tmp_path: Path, keep: str
) -> None:
    number, tiles = site.batch(tmp_path, f"Both-{keep}", "anna")
    first, second = (open_batch(site, "anna", number, tiles[0]) for _ in range(2))
    drag(first, (100, 100), (140, 130))
    saved(first)
    drag(second, (300, 300), (340, 330))
    told = second.get_by_role("alertdialog")
    expect(told).to_contain_text("Someone else saved this tile")
    expect(told).to_contain_text("anna saved 1 mark")
    assert site.marks("anna", tiles[0])["version"] == 1  # what the first saved stands
    if keep == "mine":
        told.get_by_role("button", name="Keep mine on top").click()
        saved(second)
        x = 320
    else:
        told.get_by_role("button", name="Show theirs").click()
        expect(second.locator(".marks .mark")).to_have_count(1)
        assert site.marks("anna", tiles[0])["version"] == 1
        second.get_by_role("button", name="Undo").click()  # mine is still there
        saved(second)
        x = 320
    marks = site.marks("anna", tiles[0])
    assert marks["version"] == 2
    assert [round(item["center"][0], -1) for item in marks["elements"]] == [x]
    expect(told).to_be_hidden()


def test_by_the_keyboard_alone(site: Site, tmp_path: Path) -> None:
    _, tiles = site.batch(tmp_path, "Keys", "bert")
    page = site.open()
    press = page.keyboard.press
    page.get_by_label("Name").wait_for()
    page.keyboard.type("bert")
    press("Tab")
    page.keyboard.type(PASSWORD)
    press("Enter")
    page.get_by_role("link", name="Keys, batch 1").wait_for()
    while page.evaluate("document.activeElement.textContent") != "Keys, batch 1":
        press("Tab")
    press("Enter")
    page.locator("svg.tile").wait_for()
    press("a")  # in the middle, 8 µm: 32 px
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowUp", "Alt+ArrowRight", "]", "i"):
        press(key)
    saved(page)
    [element] = site.marks("bert", tiles[0])["elements"]
    assert element["center"][:2] == [252, 240]
    assert (element["width"], element["height"]) == (34, 32)
    assert element["rotation"] == pytest.approx(pi / 36, abs=1e-5)
    assert element["label"]["value"] == "imposter"
    press("p")
    press("m")  # the selected one's label too
    press("Escape")
    press("a")
    expect(page.locator(".marks .mark")).to_have_count(2)
    press(".")
    expect(page.locator(".marks .mark.chosen")).to_have_count(1)
    press("Delete")
    expect(page.locator(".marks .mark")).to_have_count(1)
    press("Control+z")
    expect(page.locator(".marks .mark")).to_have_count(2)
    press("Control+y")
    expect(page.locator(".marks .mark")).to_have_count(1)
    press("d")
    expect(page.locator(".tile-name")).to_contain_text("2 of 3")
    press("Shift+n")
    expect(page.locator(".tile-name")).to_contain_text("1 of 3")
    assert site.marks("bert", tiles[0])["done"]
    page.get_by_label("Opacity of marks").focus()
    press("n")  # a slider that was used last takes arrows alone
    expect(page.locator(".tile-name")).to_contain_text("2 of 3")
    press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Next tile")
    press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_what_people_write_stays_text(site: Site, tmp_path: Path) -> None:
    evil = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    number, tiles = site.batch(tmp_path, "Evil", "bert")
    bert, admin = site.script("bert"), site.script("admin")
    own = admin.get(f"/batches/{number}").json()["assignments"][0]["id"]
    bert.post(f"/assignments/{own}/submit")
    assert admin.post(f"/assignments/{own}/return", json={"note": evil}).status_code == 200
    admin.post("/uploads", json={"name": evil, "size": 10})
    for name, at, there in (
        ("bert", "/", page_note),
        ("bert", f"/batch/{number}?tile={tiles[0]}", page_note),
        ("admin", "/audit", lambda page: page.get_by_text("<img src=x").first),
    ):
        page = site.enter(name, at)
        expect(there(page)).to_contain_text("<img src=x onerror=")
        assert page.locator("img[src=x]").count() == 0
        assert page.title() != "taken"


def page_note(page: Page) -> Any:
    """The admin's words on work that was returned."""
    return page.locator(".note").first


def test_without_a_server_nothing_is_lost_and_leaving_is_asked(site: Site, tmp_path: Path) -> None:
    number, tiles = site.batch(tmp_path, "Offline", "anna")
    page = open_batch(site, "anna", number, tiles[0])
    page.context.set_offline(True)
    drag(page, (100, 100), (140, 130))
    expect(page.locator(".saving")).to_contain_text("Not saved: The server does not answer")
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    page.once("dialog", stay)
    with page.expect_event("dialog"):  # the click does not wait until the page has heard of it
        page.get_by_role("link", name="My batches").click()
    expect(page.locator(".marks .mark")).to_have_count(1)
    assert "not saved" in asked[0]
    page.context.set_offline(False)
    saved(page)  # by itself
    assert len(site.marks("anna", tiles[0])["elements"]) == 1


def test_marks_stay_with_the_tile_they_were_drawn_on(site: Site, tmp_path: Path) -> None:
    number, tiles = site.batch(tmp_path, "Quick", "anna")
    page = open_batch(site, "anna", number, tiles[0])
    waiting: list[Route] = []
    page.route(f"**/api/tiles/{tiles[1]}/annotations", lambda route: waiting.append(route))
    drag(page, (100, 100), (140, 130))
    page.keyboard.press("n")
    drag(page, (300, 300), (340, 330))  # while the next tile is still on its way
    waiting[0].continue_()
    expect(page.locator(".tile-name")).to_contain_text("2 of 3")
    drag(page, (200, 200), (240, 230))
    page.wait_for_timeout(700)
    for route in waiting[1:]:
        route.continue_()
    saved(page)
    assert [len(site.marks("anna", tile)["elements"]) for tile in tiles] == [2, 1, 0]


def test_a_tile_is_left_only_when_all_of_it_is_saved(site: Site, tmp_path: Path) -> None:
    number, tiles = site.batch(tmp_path, "Waiting", "anna")
    page = open_batch(site, "anna", number, tiles[0])
    held: list[Route] = []
    page.route(
        f"**/api/tiles/{tiles[0]}/annotations",
        lambda route: held.append(route) if route.request.method == "PUT" else route.continue_(),
    )
    drag(page, (100, 100), (140, 130))
    expect(page.locator(".saving")).to_have_text("Saving")
    drag(page, (300, 300), (340, 330))
    page.wait_for_timeout(700)  # the second save waits for the first, and the next tile for both
    page.keyboard.press("n")
    page.wait_for_timeout(300)
    held[0].continue_()
    while len(held) < 2:
        page.wait_for_timeout(20)
    expect(page.locator(".tile-name")).to_contain_text("1 of 3")
    held[1].continue_()
    expect(page.locator(".tile-name")).to_contain_text("2 of 3")
    assert len(site.marks("anna", tiles[0])["elements"]) == 2


def test_what_was_given_up_is_not_saved_later(site: Site, tmp_path: Path) -> None:
    number, tiles = site.batch(tmp_path, "Given-up", "anna")
    page = open_batch(site, "anna", number, tiles[0])
    page.clock.install()
    path = f"**/api/tiles/{tiles[0]}/annotations"
    page.route(path, lambda route: route.fulfill(status=503, json={"detail": "the disk is full"}))
    drag(page, (100, 100), (140, 130))
    expect(page.locator(".saving")).to_have_text("Not saved: the disk is full")
    page.once("dialog", lambda dialog: dialog.accept())
    page.keyboard.press("n")
    expect(page.locator(".tile-name")).to_contain_text("2 of 3")
    page.unroute(path)
    drag(page, (200, 200), (240, 230))
    saved(page)
    page.clock.run_for(60_000)
    assert [site.marks("anna", tile)["version"] for tile in tiles] == [0, 1, 0]


@pytest.mark.parametrize("who", ["anna", "admin"])
def test_a_login_that_ended_is_renewed_over_unsaved_work(
    site: Site, tmp_path: Path, who: str
) -> None:
    number, tiles = site.batch(tmp_path, f"Ended-{who}", "anna")
    page = open_batch(site, "anna", number, tiles[0])
    site.scripts.pop("anna").close()  # it is logged out too
    other = page.context.new_page()
    other.goto(site.url)
    other.get_by_role("button", name="Log out").click()
    other.get_by_label("Password").wait_for()
    drag(page, (100, 100), (140, 130))
    again = page.get_by_role("dialog")
    again.get_by_label("Name").fill(who)
    again.get_by_label("Password").fill(PASSWORD)
    page.on("dialog", lambda dialog: dialog.accept())
    again.get_by_role("button", name="Log in").click()
    if who == "anna":
        saved(page)
    else:
        expect(page.locator(".who")).to_contain_text(who)  # whose marks they are not
        assert site.marks(who, tiles[0])["version"] == 0
    assert len(site.marks("anna", tiles[0])["elements"]) == (who == "anna")


def test_an_upload_goes_on_where_it_was(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "Large.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for i in range(2):
            noise = np.random.default_rng(i).integers(0, 255, (2048, 2048, 3), dtype=np.uint8)
            archive.writestr(f"x{i}y0.png", cv2.imencode(".png", noise)[1].tobytes())
    page = site.enter("admin", "/slides")
    offsets: list[str] = []
    broken = True

    def break_second(route: Route) -> None:
        offset = route.request.url.rsplit("=", 1)[1]
        offsets.append(offset)
        if broken and offset != "0":
            route.abort()
        else:
            route.continue_()

    page.route("**/api/uploads/*?offset=*", break_second)
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("trying again")).to_be_visible()
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()  # the same file is chosen again, and only the rest is sent
    broken = False
    page.locator("input[type=file]").set_input_files(file)
    before = len(offsets)
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("article", name="Large").wait_for()
    part = 8 * 2**20
    assert offsets[before:] == [str(at) for at in range(part, file.stat().st_size, part)]
    expect(page.locator("input[name=tile_size]")).to_have_value("500")  # for the next


def test_a_failed_cut_is_cut_again_while_another_job_goes_on(site: Site, tmp_path: Path) -> None:
    render_slide(tmp_path / "small.tif", width=2000, height=1500, seed=1)
    slide = site.upload(tmp_path / "small.tif", slide_name="Small", tile_size=1500, min_tissue=1.0)
    page = site.enter("admin", "/slides")
    card = page.get_by_role("article", name="Small")
    expect(card.get_by_text("none of")).to_be_visible()
    card.get_by_text("Cut again").first.click()
    card.get_by_label("Least tissue").fill("0")
    card.get_by_role("button", name="Cut again").click()
    reader = card.get_by_label("Reader for batch 1")
    reader.select_option("bert")

    def busy(route: Route) -> None:
        job = {"id": 99, "kind": "detect", "state": "running", "message": "1 of 9 tiles"}
        found = site.script("admin").get("/slides").json()
        route.fulfill(
            json=[one | {"job": job} if one["id"] == slide["id"] else one for one in found]
        )

    page.route("**/api/slides", busy)
    expect(card.get_by_text("1 of 9 tiles")).to_be_visible()
    assert reader.evaluate("select => select.selectedOptions[0].text") == "bert"


def test_two_readers_disagreements_are_listed_and_shown(site: Site, tmp_path: Path) -> None:
    number, tiles = site.batch(tmp_path, "Readers", "anna", "bert")
    for name, elements in (
        ("anna", [mark(100, 100), mark(300, 300)]),
        ("bert", [mark(102, 100, "imposter"), mark(420, 60)]),
    ):
        reader = site.script(name)
        body = {"version": 0, "done": True, "elements": elements}
        assert reader.put(f"/tiles/{tiles[1]}/annotations", json=body).status_code == 200
    page = site.enter("admin", f"/agreement/{number}?a=anna&b=bert")
    items = page.get_by_role("listitem").get_by_role("button")
    expect(items).to_have_text(
        [
            "81_40: anna: mitosis, bert: imposter",
            "81_40: only anna, mitosis",
            "81_40: only bert, mitosis",
            *3 * ["81_40: imposter"],  # together
        ]
    )
    items.nth(5).click()
    expect(page.locator(".others .mark")).to_have_count(4)  # the pointed one too
    items.nth(2).click()
    expect(page.locator(".desk h2")).to_contain_text("only bert")
    pointed = page.locator(".others .pointed").bounding_box()
    assert pointed
    middle = pointed["x"] + pointed["width"] / 2, pointed["y"] + pointed["height"] / 2
    assert in_tile(page, *middle) == pytest.approx((420, 60), abs=1)


@pytest.fixture
def searched(site: Site, tmp_path: Path) -> Callable[[], Slide]:
    """A rendered slide that is cut into tiles for anna, and searched."""

    def make() -> Slide:
        file = tmp_path / "deep.tif"
        render_slide(file, width=2000, height=1500, seed=1)
        site.upload(file, slide_name="Deep", tile_size=500, min_tissue=0.0)
        _, sessions = open_database(Settings(site.folder))
        rows = [(900, 700, 40, 36, 0.9), (1500, 900, 40, 36, 0.6), (300, 400, 40, 36, 0.5)]
        admin = site.script("admin")
        users = {user["name"]: user["id"] for user in admin.get("/users").json()}
        while not (found := admin.get("/slides").json()[0])["batches"]:
            assert found["state"] != "failed", found
        batch = found["batches"][0]["id"]
        admin.post(f"/batches/{batch}/assignments", json={"user_id": users["anna"]})
        with sessions() as db:
            slide = db.scalars(select(Slide).where(Slide.name == "Deep")).one()
            by = db.scalars(select(User)).first()
            assert by
            job = Job(
                kind="detect", slide_id=slide.id, options={}, state=JobState.DONE, message="",
                created_by=by.id, ended_at=now(),
            )  # fmt: skip
            db.add(job)
            db.flush()
            folder = detections.results_folder(Settings(site.folder), slide, job)
            folder.mkdir(parents=True)
            write_csv(
                folder / DETECTIONS,
                DETECTION_COLUMNS,
                [("deep.tif", *row, "mitosis", row[0] / 4, row[1] / 4) for row in rows],
            )
            write_json(
                folder / INDEX,
                summarise(
                    np.array([(*row, 0) for row in rows]), source="deep.tif", mpp=(0.25, 0.25),
                    size=(2000, 1500), region=None, area_mm2=1.5, tissue_mm2=1.5, hotspot_mm2=0.01,
                    threshold=0.5, threshold_from="given", unreadable=[],
                ),
            )  # fmt: skip
            db.commit()
            db.refresh(slide)
            return slide

    return make


def test_a_detection_on_the_slide_becomes_a_mark(site: Site, searched: Callable[[], Slide]) -> None:
    slide = searched()
    page = site.enter("anna", f"/slide/{slide.id}")
    crops = page.locator(".gallery button")
    expect(crops).to_have_count(3)
    expect(page.locator(".scale")).to_contain_text("µm")
    expect(page.locator(".figures")).to_contain_text("Count3")
    bar = page.locator(".scale i")
    width = bar.bounding_box()
    page.get_by_role("button", name="Whole slide").click()
    assert bar.bounding_box() == width  # as at first
    page.locator(".deep").click(position={"x": 5, "y": 5})
    whole = page.locator(".deep").screenshot()
    for key in "rf":
        page.keyboard.press(key)  # which turn and mirror, by the viewer's own table
    page.wait_for_timeout(600)
    assert page.locator(".deep").screenshot() == whole
    page.get_by_label("Score at least").fill("0.55")
    expect(crops).to_have_count(2)
    page.get_by_label("Hotspot").select_option("circle")
    crops.first.click()
    page.get_by_role("button", name="Imposter", exact=True).click()
    expect(crops.first).to_have_class("crop imposter")
    page.keyboard.press("n")
    page.keyboard.press("m")
    expect(crops.nth(1)).to_have_class("crop mitosis")
    anna = site.script("anna")
    [batch] = [item for item in anna.get("/batches").json() if item["slide"]["name"] == "Deep"]
    tiles = anna.get(f"/batches/{batch['id']}").json()["tiles"]
    counts = [tile["counts"] for tile in tiles if tile["counts"]]
    assert sorted(counts, key=str) == [{"imposter": 1}, {"mitosis": 1}]
    assert page.locator("canvas.dots").count() == 1


def test_tiles_alone_say_why_there_is_no_slide_to_look_at(site: Site, tmp_path: Path) -> None:
    slide = site.upload(zip_of_tiles(tmp_path / "t.zip", 1), slide_name="Tiles alone", mpp=0.25)
    page = site.enter("admin", f"/slide/{slide['id']}")
    expect(page.get_by_text("upload the slide itself")).to_be_visible()


def test_a_search_and_a_training_are_begun_and_ended_from_the_page(
    site: Site, tmp_path: Path
) -> None:
    weights = site.folder / "weights" / "random.pt"
    write_start(weights, start_model("yolov5n", None, ("mitosis",), 0))
    finish(weights, card(threshold=0.99, tile=512, overlap=64, imgsz=64, mpp=(0.25, 0.25)))
    render_slide(tmp_path / "small.tif", width=2000, height=1500, seed=1)
    slide = site.upload(tmp_path / "small.tif", slide_name="Sought", tile_size=500, min_tissue=0.0)
    while site.script("admin").get(f"/slides/{slide['id']}").json()["state"] == "cutting":
        time.sleep(0.1)
    page = site.enter("admin", f"/slide/{slide['id']}")
    page.get_by_text("Search for mitoses").click()
    page.get_by_label("Weights").select_option("random.pt")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".figures")).to_contain_text("Count0", timeout=90_000)
    expect(page.get_by_text("Search again")).to_be_visible()

    number, tiles = site.batch(tmp_path, "Approved", "anna")
    page.goto(f"{site.url}/#/jobs")
    form = page.locator("form", has=page.get_by_role("button", name="Train"))
    form.get_by_label("Approved").check()
    form.get_by_role("button", name="Train").click()
    expect(page.get_by_text("approve").last).to_be_visible()  # nothing is, says the server
    anna, admin = site.script("anna"), site.script("admin")
    for tile in tiles:
        body = {"version": 0, "done": True, "elements": [mark(100, 100)]}
        assert anna.put(f"/tiles/{tile}/annotations", json=body).status_code == 200
    (batch,) = (item for item in anna.get("/batches").json() if item["id"] == number)
    assignment = batch["assignments"][0]["id"]
    assert anna.post(f"/assignments/{assignment}/submit").status_code == 200
    assert admin.post(f"/assignments/{assignment}/approve").status_code == 200
    form.get_by_role("button", name="Train").click()
    begun = page.get_by_role("row").filter(has_text="train")
    begun.get_by_role("button", name="Stop").click()
    expect(begun.get_by_text("stopped").first).to_be_visible()
