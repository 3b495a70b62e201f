"""Uploads in parts: resumed, checked, and nothing acknowledged lost."""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections import namedtuple
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image
from slides_rendered import textured, write_slide
from sqlalchemy import select
from sqlalchemy.orm import Session

from mitoyolo.web import uploads
from mitoyolo.web.access import ApiError
from mitoyolo.web.app import create_app
from mitoyolo.web.models import Role, Slide, Upload, User
from mitoyolo.web.settings import Settings
from mitoyolo.web.slides import CUT
from web.conftest import CHEAP, Workbench
from web.files import begin, packed, png, send, upload
from web.marks import mark, ok, refused, tiles_of


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Small parts, so that small files have several."""
    return Settings(
        tmp_path / "bench", hashing=CHEAP, part_bytes=1000, upload_bytes=10**6, keep_free_bytes=0
    )


def part_file(workbench: Workbench, key: str) -> Path:
    return workbench.settings.uploads / f"{key}.part"


def test_a_file_comes_in_parts(admin: TestClient, workbench: Workbench) -> None:
    data = png()
    begun = ok(admin.post("/api/uploads", json={"name": "x0y0.png", "size": len(data)}))
    assert (begun["offset"], begun["part_size"]) == (0, 1000)
    key = begun["id"]
    send(admin, key, data[:700], 300)
    assert ok(admin.get(f"/api/uploads/{key}"))["offset"] == 700
    assert part_file(workbench, key).read_bytes() == data[:700]
    finish = {"slide_name": "T1"}
    refused(admin.post(f"/api/uploads/{key}/finish", json=finish), 409, "700 of", "bytes are there")
    for offset in range(700, len(data), 1000):
        piece = data[offset : offset + 1000]
        ok(admin.put(f"/api/uploads/{key}?offset={offset}", content=piece))
    slide = ok(admin.post(f"/api/uploads/{key}/finish", json=finish))
    assert (slide["name"], slide["kind"], slide["state"]) == ("T1", "tiles", "ready")
    (tile,) = tiles_of(admin, slide["id"])
    assert admin.get(f"/api/tiles/{tile}/image").content == data
    assert not part_file(workbench, key).exists()
    # the answer was lost: asked again, it is the same slide
    assert ok(admin.post(f"/api/uploads/{key}/finish", json=finish)) == slide
    assert ok(admin.get(f"/api/uploads/{key}"))["offset"] == len(data)
    refused(admin.put(f"/api/uploads/{key}?offset={len(data)}", content=b"x"), 409, "finished")


def test_a_part_twice_or_out_of_order_is_told_where_to_go_on(admin: TestClient) -> None:
    key = begin(admin, "a.png", 500)
    send(admin, key, b"a" * 100, 1000)
    for offset in (0, 50, 101, 400, 2**40):
        answer = admin.put(f"/api/uploads/{key}?offset={offset}", content=b"b" * 10)
        assert refused(answer, 409, "go on from there")["offset"] == 100
    refused(admin.put(f"/api/uploads/{key}?offset=-1", content=b"b"), 422)
    refused(admin.put(f"/api/uploads/{key}", content=b"b"), 422)
    assert ok(admin.get(f"/api/uploads/{key}"))["offset"] == 100


def test_a_part_is_bounded(admin: TestClient, workbench: Workbench) -> None:
    key = begin(admin, "a.png", 1500)

    def pieces(total: int) -> Iterator[bytes]:  # of unknown length: chunked
        for _ in range(total // 50):
            yield b"a" * 50

    path = f"/api/uploads/{key}?offset=0"
    refused(admin.put(path, content=b"a" * 1001), 413)
    refused(admin.put(path, content=pieces(1050)), 413)
    assert part_file(workbench, key).read_bytes() == b""
    ok(admin.put(path, content=pieces(1000)))
    refused(admin.put(f"/api/uploads/{key}?offset=1000", content=b"a" * 501), 413)
    refused(admin.put(f"/api/uploads/{key}?offset=1000", content=pieces(550)), 413)
    assert part_file(workbench, key).read_bytes() == b"a" * 1000


def test_a_part_that_breaks_off_is_not_there(admin: TestClient, workbench: Workbench) -> None:
    key = begin(admin, "a.png", 500)
    send(admin, key, b"a" * 100, 1000)
    with workbench.session() as db:
        row = db.get_one(Upload, key)

    async def breaks() -> AsyncIterator[bytes]:
        yield b"b" * 50
        assert part_file(workbench, key).stat().st_size == 150  # it is streamed
        raise ConnectionError

    async def short() -> AsyncIterator[bytes]:
        yield b"b" * 50

    with pytest.raises(ConnectionError):
        asyncio.run(uploads.add_part(workbench.settings, row, 100, 60, breaks()))
    with pytest.raises(ApiError, match="50 bytes that said 60"):
        asyncio.run(uploads.add_part(workbench.settings, row, 100, 60, short()))
    assert part_file(workbench, key).read_bytes() == b"a" * 100
    assert asyncio.run(uploads.add_part(workbench.settings, row, 100, None, short())) == 150


def test_two_parts_at_the_same_time_do_not_mix(admin: TestClient, workbench: Workbench) -> None:
    key = begin(admin, "a.png", 500)
    with workbench.session() as db:
        row = db.get_one(Upload, key)

    async def slow() -> AsyncIterator[bytes]:
        yield b"a" * 50
        with pytest.raises(ApiError, match="being written by another"):
            await uploads.add_part(workbench.settings, row, 0, 10, fast())
        yield b"a" * 50

    async def fast() -> AsyncIterator[bytes]:
        yield b"b" * 10

    assert asyncio.run(uploads.add_part(workbench.settings, row, 0, 100, slow())) == 100
    assert part_file(workbench, key).read_bytes() == b"a" * 100


def test_a_client_that_lies_or_goes_away_over_a_real_connection(settings: Settings) -> None:
    app = create_app(settings)
    bench = Workbench(app, settings)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        admin = bench.user("admin", Role.ADMIN)
        key = begin(admin, "a.png", 500)
        cookies = "; ".join(f"{name}={value}" for name, value in admin.cookies.items())
        head = (
            f"PUT /api/uploads/{key}?offset=0 HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookies}\r\n"
            f"X-CSRF-Token: {admin.headers['X-CSRF-Token']}\r\nContent-Length: 400\r\n\r\n"
        )
        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(head.encode() + b"a" * 100)
            _wait(lambda: part_file(bench, key).stat().st_size == 100)  # it came, and is streamed
        _wait(lambda: part_file(bench, key).stat().st_size == 0)
        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(head.encode() + b"a" * 400)  # now as it said
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert ok(admin.get(f"/api/uploads/{key}"))["offset"] == 400
    finally:
        server.should_exit = True
        thread.join()


def _wait(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("it did not happen in 10 s")


def test_a_killed_server_goes_on_where_it_was(admin: TestClient, settings: Settings) -> None:
    data = png()
    key = begin(admin, "x0y0.png", len(data))
    send(admin, key, data[:1000], 1000)
    # what a server leaves that is killed while it makes the slide
    left = settings.slides / key
    (left / "tiles").mkdir(parents=True)
    (left / "tiles" / "x9y9.png").write_bytes(b"half")
    again = Workbench(create_app(settings), settings).login("admin")
    assert ok(again.get(f"/api/uploads/{key}"))["offset"] == 1000
    for offset in range(1000, len(data), 1000):
        piece = data[offset : offset + 1000]
        ok(again.put(f"/api/uploads/{key}?offset={offset}", content=piece))
    slide = ok(again.post(f"/api/uploads/{key}/finish", json={"slide_name": "T1"}))
    assert slide["state"] == "ready"
    assert [path.name for path in (left / "tiles").iterdir()] == ["x0y0.png"]


_SERVER = """
import sys
import uvicorn
from pathlib import Path
from mitoyolo.web.app import create_app
from mitoyolo.web.settings import Hashing, Settings

settings = Settings(Path(sys.argv[1]), hashing=Hashing(1, 8, 1), part_bytes=1000)
config = uvicorn.Config(create_app(settings), log_level="critical", lifespan="off")
uvicorn.Server(config).run(sockets=[__import__("socket").socket(fileno=int(sys.argv[2]))])
"""


@contextmanager
def _killed(settings: Settings, admin: TestClient) -> Iterator[httpx.Client]:
    """A server in a process of its own, killed with no warning in the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(settings.folder), str(number)], pass_fds=[number]
        )
        port = listener.getsockname()[1]
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            cookies=dict(admin.cookies),
            headers={"X-CSRF-Token": admin.headers["X-CSRF-Token"]},
            timeout=60,
        ) as client:
            yield client
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(
    admin: TestClient, workbench: Workbench, tiles_slide: Callable[..., str]
) -> None:
    tile = tiles_of(admin, tiles_slide(admin))[0]
    data = png()
    key = begin(admin, "x0y0.png", len(data))
    marks = f"/api/tiles/{tile}/annotations"
    sent = 0
    for version in range(2):
        with _killed(workbench.settings, admin) as client:
            element = mark(10 + version, 10)
            body = {"version": version, "done": True, "elements": [element]}
            piece = data[sent : sent + 900]
            ok(client.put(f"/api/uploads/{key}?offset={sent}", content=piece))
            ok(client.put(marks, json=body))
        sent += 900
        assert ok(admin.get(f"/api/uploads/{key}"))["offset"] == sent
        now = ok(admin.get(marks))
        assert (now["version"], now["elements"]) == (version + 1, [element])
    for offset in range(sent, len(data), 1000):
        ok(admin.put(f"/api/uploads/{key}?offset={offset}", content=data[offset : offset + 1000]))
    slide = ok(admin.post(f"/api/uploads/{key}/finish", json={"slide_name": "T1"}))
    (tile,) = tiles_of(admin, slide["id"])
    assert admin.get(f"/api/tiles/{tile}/image").content == data


def test_sizes_and_room(admin: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def say(name: str = "a.png", size: object = 100) -> object:
        return admin.post("/api/uploads", json={"name": name, "size": size})

    refused(say(size=10**6 + 1), 413, "at most 1000000")
    for size in (0, -1, 1.5, "many", 2**80, None):
        refused(say(size=size), 422, "size")
    key = begin(admin, "a.png", 100)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1000, 910, 90))
    refused(say(), 507, "100 bytes are needed and 90 are free")
    refused(admin.put(f"/api/uploads/{key}?offset=0", content=b"a" * 91), 507)
    ok(admin.put(f"/api/uploads/{key}?offset=0", content=b"a" * 90))


def test_what_was_left_for_a_week_makes_room(admin: TestClient, workbench: Workbench) -> None:
    left, other = (
        admin.post("/api/uploads", json={"name": "a.png", "size": 4}).json()["id"] for _ in range(2)
    )
    for key, days in ((left, 8), (other, 6)):
        past = time.time() - days * 86400
        os.utime(part_file(workbench, key), (past, past))
    assert admin.post("/api/uploads", json={"name": "b.png", "size": 4}).status_code == 201
    assert not part_file(workbench, left).exists()
    assert part_file(workbench, other).exists()
    answer = admin.put(f"/api/uploads/{left}", params={"offset": 0}, content=b"more")
    assert answer.status_code == 404
    assert "left for a week" in answer.json()["detail"]


def test_what_somebody_goes_on_with_is_not_left(admin: TestClient, workbench: Workbench) -> None:
    key = admin.post("/api/uploads", json={"name": "a.png", "size": 4}).json()["id"]
    path = part_file(workbench, key)
    past = time.time() - 8 * 86400
    os.utime(path, (past, past))
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as a part that is coming
        assert admin.post("/api/uploads", json={"name": "b.png", "size": 4}).status_code == 201
        assert path.exists()


@pytest.mark.parametrize(
    "name",
    ["", "../a.png", "a/b.png", "a\\b.png", "a\0.png", "a\n.png", "a.exe", "a.svg", "a", ".zip/",
     "a" * 252 + ".png"],
)  # fmt: skip
def test_file_names_that_are_refused(admin: TestClient, name: str) -> None:
    refused(admin.post("/api/uploads", json={"name": name, "size": 100}), 422)


def test_a_name_is_text_and_nothing_else(admin: TestClient, workbench: Workbench) -> None:
    name = "<img src=x onerror=alert(1)>'; drop table uploads;--.png"
    answer = admin.post("/api/uploads", json={"name": name, "size": 100})
    answer = admin.get(f"/api/uploads/{ok(answer)['id']}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["name"] == name
    assert len(list(workbench.settings.uploads.iterdir())) == 1


@pytest.mark.parametrize("key", ["0" * 32, "..%5c..%5cmitoyolo", "%00", "' or 1=1"])
def test_an_upload_that_is_none(admin: TestClient, key: str) -> None:
    refused(admin.get(f"/api/uploads/{key}"), 404)
    refused(admin.put(f"/api/uploads/{key}?offset=0", content=b"a"), 404)


def test_only_admins_upload(admin: TestClient, anna: TestClient) -> None:
    key = begin(admin, "a.png", 100)
    refused(anna.post("/api/uploads", json={"name": "a.png", "size": 1}), 403)
    refused(anna.get(f"/api/uploads/{key}"), 403)
    refused(anna.put(f"/api/uploads/{key}?offset=0", content=b"a"), 403)
    refused(anna.post(f"/api/uploads/{key}/finish", json={"slide_name": "T1"}), 403)


# --- what becomes of it -----------------------------------------------------------------------


def test_a_slide_is_cut_in_the_background(
    admin: TestClient, workbench: Workbench, tmp_path: Path
) -> None:
    file = write_slide(tmp_path / "s.tif", textured(400, 300), 0.5, steps=(4,))
    slide = ok(upload(admin, "My <slide>.tif", file, "T 98.a-1_", tile_size=100))
    assert (slide["kind"], slide["width"], slide["height"]) == ("slide", 400, 300)
    assert (slide["state"], slide["mpp"], slide["batches"]) == ("cutting", 0.5, [])
    assert slide["job"]["state"] in ("waiting", "running")
    kept = workbench.settings.slides / slide["id"] / "slide.tif"
    assert kept.read_bytes() == file.read_bytes()


def test_a_slide_s_scale_is_asked_for(admin: TestClient, tmp_path: Path) -> None:
    file = write_slide(tmp_path / "s.tif", textured(400, 300), None, steps=(4,))
    data = file.read_bytes()
    key = begin(admin, "s.tif", len(data))
    send(admin, key, data, 1000)
    path = f"/api/uploads/{key}/finish"
    refused(admin.post(path, json={"slide_name": "T1"}), 422, "s.tif: no µm/px", "mpp")
    assert ok(admin.get("/api/slides")) == []
    for mpp in (0, -1, 1000, "NaN", None, [0.25]):
        refused(admin.post(path, json={"slide_name": "T1", "mpp": mpp}), 422)
    assert ok(admin.post(path, json={"slide_name": "T1", "mpp": 0.3}))["mpp"] == 0.3


def test_one_picture_is_one_tile(admin: TestClient, tmp_path: Path) -> None:
    for i, suffix in enumerate((".png", ".jpg", ".tif", ".bmp")):
        if suffix == ".tif":
            data = write_slide(tmp_path / "a.tif", textured(64, 48), 0.5, tile=None).read_bytes()
        else:
            data = png(suffix=suffix)
        slide = ok(upload(admin, f"a{suffix.upper()}", data, f"T{i}", mpp=0.4))
        assert (slide["kind"], slide["tile_mpp"], slide["mpp"]) == ("tiles", 0.4, None)
        (tile,) = tiles_of(admin, slide["id"])
        kind = "image/jpeg" if suffix == ".jpg" else "image/png"  # what browsers show
        assert admin.get(f"/api/tiles/{tile}/image").headers["content-type"] == kind
        assert slide["batches"][0]["tiles"] == 1


def test_a_picture_that_asks_to_be_turned_is_refused(admin: TestClient) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6  # a browser would turn it, and the marks would lie elsewhere
    Image.fromarray(textured(64, 48)).save(file, "JPEG", exif=exif)
    refused(upload(admin, "a.jpg", file.getvalue()), 422, "turn it")


def test_tiles_in_a_zip(admin: TestClient) -> None:
    members: dict = {f"x{i % 3}y{i // 3}.png": png(seed=i) for i in range(7)}
    members |= {"__MACOSX/._x0y0.png": b"mac", ".DS_Store": b"mac", "empty/": b""}
    slide = ok(upload(admin, "tiles.zip", packed(members), mpp=0.25, batch_size=3))
    assert [batch["tiles"] for batch in slide["batches"]] == [3, 3, 1]
    batch = ok(admin.get(f"/api/batches/{slide['batches'][1]['id']}"))
    assert [(tile["column"], tile["row"]) for tile in batch["tiles"]] == [(0, 1), (1, 1), (2, 1)]
    image = admin.get(f"/api/tiles/{batch['tiles'][1]['id']}/image")
    assert image.content == png(seed=4)


def test_batches_of_the_zip_s_own_folders(admin: TestClient) -> None:
    members: dict = {
        "T98/Batch-100/T98x87y88.png": png(seed=1),
        "T98/Batch-101/17_62.jpg": png(seed=2, suffix=".jpg"),
    }
    slide = ok(upload(admin, "tiles.zip", packed(members)))
    assert [batch["number"] for batch in slide["batches"]] == [100, 101]


def _link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x1y1.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def _with_flag(data: bytes) -> bytes:
    """As encrypted, by the flag in both headers."""
    for signature, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = data.index(signature) + at
        data = data[:place] + b"\1" + data[place + 1 :]
    return data


def _larger(data: bytes, size: int) -> bytes:
    """With a size in the directory that is not the member's."""
    place = data.index(b"PK\1\2") + 24
    return data[:place] + struct.pack("<I", size) + data[place + 4 :]


def _bomb_png(side: int) -> bytes:
    """A sound PNG of one colour, a thousandth of its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * (side * (3 * side + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


GOOD = {"x0y0.png": png()}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK\5\6" + b"\0" * 18, "no tile"),
        (b"no zip at all", "not a readable zip"),
        (packed(GOOD)[:-30], "not a readable zip"),
        (packed(GOOD | {"../x1y1.png": png()}), "leads out"),
        (packed(GOOD | {"/etc/x1y1.png": png()}), "leads out"),
        (packed(GOOD | {"a/../../x1y1.png": png()}), "leads out"),
        (packed(GOOD | {"..\\x1y1.png": png()}), "leads out"),
        (packed(GOOD | {"C:x1y1.png": png()}), "leads out"),
        (packed(GOOD | {"a\nb/x1y1.png": png()}), "leads out"),
        (packed(GOOD | {"a" * 260 + "/x1y1.png": png()}), "too long"),
        (packed(GOOD | {_link(): b"/etc/passwd"}), "a link"),
        (packed(GOOD, zipfile.ZIP_LZMA), "uncommon compression"),
        (_with_flag(packed(GOOD)), "encrypted"),
        (packed(GOOD | {"evil.sh": b"#!"}), "not named as a tile"),
        (packed(GOOD | {"x1y1.svg": b"<svg onload='alert(1)'/>"}), "not named as a tile"),
        (packed(GOOD | {"x1y1.html": b"<script>"}), "not named as a tile"),
        (packed(GOOD | {"x" + "9" * 200 + "y1.png": png()}), "farther than a million"),
        (packed(GOOD | {"b/0_0.png": png()}), "a second picture of tile x0 y0"),
        (packed({"x0y0.png": b"<script>alert(1)</script>"}), "x0y0.png"),
        (packed({"x0y0.png": png()[:-20]}), "cut off"),
        (packed({"x0y0.jpg": b"GIF89a"}), "x0y0.jpg"),
        (packed({"x0y0.png": b"\0" * (65 * 2**20)}), "67108864 of a tile"),
        (packed({f"x{i}y0.png": b"\0" * 600_000 for i in range(2)}), "1000000 bytes unpacked"),
        (packed({"x0y0.png": _bomb_png(4097)}), "at most 4096"),
        (_larger(packed({"x0y0.png": png()}), 10**7), "unpacked"),
        (_larger(packed({"x0y0.png": png()}), 9), "not a readable zip"),
    ],
)  # fmt: skip
def test_a_hostile_or_damaged_zip_is_refused(
    admin: TestClient, workbench: Workbench, data: bytes, words: str
) -> None:
    refused(upload(admin, "a.zip", data), 422, words, "a.zip")
    assert ok(admin.get("/api/slides")) == []
    assert list(workbench.settings.slides.iterdir()) == []
    assert len(list(workbench.settings.uploads.iterdir())) == 1  # to be finished otherwise
    assert not (workbench.settings.folder.parent / "x1y1.png").exists()


def test_a_zip_of_too_many_tiles(
    admin: TestClient, workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mitoyolo.web import pictures

    monkeypatch.setattr(pictures, "MOST_TILES", 3)
    members: dict = {f"x{i}y0.png": png(8, 8) for i in range(4)}
    refused(upload(admin, "a.zip", packed(members)), 422, "a.zip: more than 3 tiles")
    monkeypatch.setattr(pictures, "_MOST_DIRECTORY", 100)
    refused(upload(admin, "a.zip", packed(members)), 422, "a directory of")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.svs", b"\0" * 5000),
        ("a.tif", b"II*\0" + b"\xff" * 500),
        ("a.png", b"<html><script>alert(1)</script></html>"),
        ("a.jpg", png()),
        ("a.ndpi", png()),
        ("a.png", png()[:-300]),
        ("a.mrxs", b"hello"),
    ],
)
def test_a_fake_file_is_refused(
    admin: TestClient, workbench: Workbench, name: str, data: bytes
) -> None:
    if name == "a.jpg":  # a picture by its content; its name is not what a browser goes by
        ok(upload(admin, name, data))
        return
    body = refused(upload(admin, name, data, mpp=0.25), 422, name)
    assert str(workbench.settings.folder) not in body["detail"]
    assert list(workbench.settings.slides.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "../T1", "a/b", "a\\b", "T1\n", "-rf", "<b>T1</b>", "T1\0", "é", "T" * 65,
     "%2e%2e", "'; drop table slides;--", "=cmd()"],
)  # fmt: skip
def test_slide_names_that_are_refused(admin: TestClient, name: str) -> None:
    refused(upload(admin, "a.png", png(), name), 422)
    slide = ok(upload(admin, "a.png", png(), "T1"))
    refused(admin.patch(f"/api/slides/{slide['id']}", json={"name": name}), 422)


def test_a_name_is_taken_once(admin: TestClient) -> None:
    ok(upload(admin, "a.png", png(), "T1"))
    refused(upload(admin, "a.png", png(), "t1"), 409, "already")


@pytest.mark.parametrize(
    "change",
    [{"tile_size": 10}, {"tile_size": 10**9}, {"batch_size": 0}, {"min_tissue": 2}, {"at_mpp": 0},
     {"more": 1}],
)  # fmt: skip
def test_how_it_is_cut_is_bounded(admin: TestClient, change: dict) -> None:
    refused(upload(admin, "a.png", png(), **change), 422, next(iter(change)))


def test_two_who_finish_at_once_make_one_slide(admin: TestClient, workbench: Workbench) -> None:
    data = png()
    key = begin(admin, "a.png", len(data))
    send(admin, key, data, 1000)

    def finish(db: Session, upload: Upload) -> Slide:
        user = db.scalars(select(User)).one()
        return uploads.finish(
            db, workbench.settings, user, upload, slide_name="T1", mpp=0.25, cut=dict(CUT)
        )

    with workbench.session() as first, workbench.session() as second:
        of_first, of_second = (db.get_one(Upload, key) for db in (first, second))
        slide = finish(first, of_first)  # its request has not ended yet
        with pytest.raises(ApiError, match="finished a moment ago"):
            finish(second, of_second)
        # one that has the file open already
        part = uploads.part_file(workbench.settings, of_second)
        part.write_bytes(data)
        assert finish(second, of_second).id == slide.id
    (tile,) = tiles_of(admin, key)
    assert admin.get(f"/api/tiles/{tile}/image").content == data


def test_a_disk_that_fills_up_takes_no_half_of_a_part(
    admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.FileIO):
        def write(self, data: Any) -> int:  # as the system does where there is room for a half
            return super().write(data[: len(data) // 2])

    @contextmanager
    def held(settings: Settings, upload: Upload) -> Iterator[io.FileIO]:
        with Full(uploads.part_file(settings, upload), "r+") as file:
            yield file

    key = begin(admin, "a.png", 1000)
    with monkeypatch.context() as patch:
        patch.setattr(uploads, "_held", held)
        refused(admin.put(f"/api/uploads/{key}?offset=0", content=b"x" * 1000), 507, "full")
    assert ok(admin.get(f"/api/uploads/{key}"))["offset"] == 0
    assert ok(admin.put(f"/api/uploads/{key}?offset=0", content=b"x" * 1000)) == {"offset": 1000}


def test_one_picture_s_own_scale_has_two_directions(
    admin: TestClient, workbench: Workbench, tmp_path: Path
) -> None:
    file = tmp_path / "a.tif"
    Image.fromarray(textured(64, 48)).save(file, dpi=(25_400 / 0.25, 25_400 / 0.5))
    key = ok(upload(admin, "a.tif", file))["id"]
    with workbench.session() as db:
        slide = db.get_one(Slide, key)
        assert (slide.tile_mpp_x, slide.tile_mpp_y) == pytest.approx((0.25, 0.5))


def test_names_that_cadd4mbc_gives_to_other_folders_are_refused(admin: TestClient) -> None:
    for name in ("images", "Tiles", "Batch-1", "batch 7"):
        refused(upload(admin, "a.png", png(), name), 422, name, "another")
    for name in ("T98", "87_88", "My slide"):
        ok(upload(admin, "a.png", png(), name))
