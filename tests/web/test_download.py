"""Downloads: they go through ``convert`` as they are, to the boxes that were drawn."""

from __future__ import annotations

import csv
import io
import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from fastapi.testclient import TestClient
from slides_rendered import textured, write_slide
from sqlalchemy import select

from mitoyolo.web import slides
from mitoyolo.web.app import create_app
from mitoyolo.web.models import Audit, Job, Role, Slide
from mitoyolo.web.settings import Settings
from web.conftest import Workbench
from web.files import upload
from web.marks import assign, mark, ok, put, refused, tiles_of

MakeSlide = Callable[..., str]


def fetch(client: TestClient, *slides: str, **query: Any) -> zipfile.ZipFile:
    answer = client.get("/api/download", params={"slide": list(slides), **query})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    assert int(answer.headers["content-length"]) == len(answer.content)
    found = zipfile.ZipFile(io.BytesIO(answer.content))
    assert found.testzip() is None
    return found


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def box(element: dict[str, Any]) -> tuple[float, float, float, float]:
    """Centre and size of the exact box, by the parametric form of an ellipse."""
    (x, y, _), angle = element["center"], element["rotation"]
    across, down = element["width"] / 2, element["height"] / 2
    points = [2 * math.pi * i / 100_000 for i in range(100_000)]
    width = 2 * max(
        across * math.cos(t) * math.cos(angle) - down * math.sin(t) * math.sin(angle)
        for t in points
    )
    height = 2 * max(
        across * math.cos(t) * math.sin(angle) + down * math.sin(t) * math.cos(angle)
        for t in points
    )
    return x, y, width, height


def approve(admin: TestClient, reader: TestClient, assignment: int) -> None:
    ok(reader.post(f"/api/assignments/{assignment}/submit"))
    ok(admin.post(f"/api/assignments/{assignment}/approve"))


@pytest.fixture
def drawn(admin: TestClient, anna: TestClient, tiles_slide: MakeSlide) -> tuple[str, list[dict]]:
    """An approved slide of anna's, and what is on its first tile; the last was not opened."""
    slide = tiles_slide(admin, size=256)
    assignment = assign(admin, slide, anna)
    one, two, three, _ = tiles_of(admin, slide)
    elements = [
        mark(50.25, 60.5, width=43, height=31),
        mark(150, 60, width=60, height=20, rotation=0.7),
        mark(60, 150, "imposter", width=20, height=60, rotation=-2.1),
        mark(200, 200, "imposter", "rectangle", width=30, height=10),
    ]
    ok(put(anna, one, *elements))
    ok(put(anna, two))
    ok(put(anna, three, mark(100, 100, kind="point"), done=False))
    approve(admin, anna, assignment)
    return slide, elements


def test_the_tree_is_cadd4mbc_s(
    admin: TestClient, drawn: tuple[str, list[dict]], workbench: Workbench
) -> None:
    slide, elements = drawn
    found = fetch(admin, slide, reader="anna")
    assert found.namelist() == [f"T98/Batch-1/{i}_7.json" for i in range(3)]
    document = json.loads(found.read("T98/Batch-1/0_7.json"))
    assert document["_modelType"] == "tileannotation"
    assert document["groups"] == ["Batch 1"]
    assert document["annotation"]["name"] == "0_7"
    assert document["annotation"]["position"] == ["0", "7"]
    assert len(document["itemId"]) == 24
    first = document["annotation"]["elements"][0]
    style = {"lineColor": "rgb(0,0,0)", "lineWidth": 2, "fillColor": "rgba(0,0,0,0)"}
    assert first == {**elements[0], **style, "normal": [0, 0, 1]}
    assert document["created"][:2] == "20"
    assert found.read("T98/Batch-1/0_7.json") == fetch(admin, slide, reader="anna").read(
        "T98/Batch-1/0_7.json"
    )
    with workbench.session() as db:
        row = db.scalars(select(Audit).where(Audit.action == "download")).first()
        assert row is not None
        assert row.detail["reader"] == "anna"
    assert list((workbench.settings.folder / "downloads").iterdir()) == []


def test_convert_reads_it_to_the_boxes_that_were_drawn(
    admin: TestClient, drawn: tuple[str, list[dict]], tmp_path: Path, cli: Cli
) -> None:
    slide, elements = drawn
    fetch(admin, slide, reader="anna", images=True).extractall(tmp_path / "zip")
    result = cli(
        "convert", tmp_path / "zip", tmp_path / "out", "--from", "cadd4mbc", "--mpp", "0.25",
        "--labels", "mitosis,imposter",
    )  # fmt: skip
    assert result.code == 0, result.err
    _check_annotations(tmp_path / "out" / "annotations.csv", elements)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["read"], report["kept"]) == (5, 5)


def _check_annotations(path: Path, elements: list[dict]) -> None:
    found = [row for row in rows(path) if row["source"] == "T98x0y7"]
    assert len(found) == len(elements)
    for element in elements[:3]:
        x, y, width, height = box(element)
        (row,) = [row for row in found if abs(float(row["x"]) - x) < 1]
        assert row["label"] == element["label"]["value"]
        for key, value in (("x", x), ("y", y), ("width", width), ("height", height)):
            assert float(row[key]) == pytest.approx(value, abs=0.01)
    assert {row["case"] for row in found} == {"T98"}


def test_yolo_is_what_convert_writes(
    admin: TestClient, drawn: tuple[str, list[dict]], tmp_path: Path
) -> None:
    slide, elements = drawn
    fetch(admin, slide, reader="anna", format="yolo").extractall(tmp_path / "out")
    out = tmp_path / "out"
    assert (out / "dataset.yaml").is_file()
    _check_annotations(out / "annotations.csv", elements)
    label = out / "labels" / "train" / "T98x0y7.txt"
    lines = [line.split() for line in label.read_text().splitlines()]
    assert sorted(line[0] for line in lines) == ["0", "0", "1", "1"]
    x, y, width, height = box(elements[1])
    best = min(lines, key=lambda line: abs(float(line[1]) * 256 - x))
    for text, value in zip(best[1:], (x, y, width, height), strict=True):
        assert float(text) * 256 == pytest.approx(value, abs=0.5)
    assert (out / "images" / "train" / "T98x1y7.png").is_file()
    assert not list(out.rglob("*x3y7*"))  # nobody looked at it: no example of no mitosis


def test_coco_is_what_convert_writes(
    admin: TestClient, drawn: tuple[str, list[dict]], tmp_path: Path
) -> None:
    slide, elements = drawn
    found = fetch(admin, slide, reader="anna", format="coco", labels="mitosis")
    document = json.loads(found.read("annotations.json"))
    assert len(document["images"]) == 3
    boxes = [item["bbox"] for item in document["annotations"]]
    x, y, width, height = box(elements[1])
    expected = [x - width / 2, y - height / 2, width, height]
    assert any(one == pytest.approx(expected, abs=0.01) for one in boxes)
    assert len(boxes) == 3


@pytest.mark.parametrize("to", ["cadd4mbc", "yolo", "coco"])
def test_nothing_of_the_server_is_in_it(
    drawn: tuple[str, list[dict]],
    admin: TestClient,
    settings: Settings,
    to: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slide, _ = drawn
    secret = "postgresql://mitoyolo:SECRET@host/name"
    monkeypatch.setattr("sys.argv", ["mitoyolo", "serve", "--database", secret])
    found = fetch(admin, slide, reader="anna", format=to)
    assert found.namelist()
    for name in found.namelist():
        contents = found.read(name)
        assert b"SECRET" not in contents, name
        assert str(settings.folder).encode() not in contents, name


def test_tiles_of_a_cut_slide_lie_on_it(settings: Settings, tmp_path: Path, cli: Cli) -> None:
    bench = Workbench(create_app(settings), settings)
    admin = bench.user("admin", Role.ADMIN)
    file = write_slide(tmp_path / "s.tif", textured(430, 300), 0.5, steps=(4,))
    how = {"tile_size": 100, "at_mpp": 0.5, "min_tissue": 0}
    key = ok(upload(admin, "s.tif", file, "T98", **how))["id"]
    with bench.session() as db:
        slide = db.get_one(Slide, key)
        options = db.scalars(select(Job)).one().options
        assert cli(*slides.cut_command(settings, slide, options)).code == 0
        slides.take_tiles(db, settings, slide)
        db.commit()
    tiles = tiles_of(admin, key)
    ok(put(admin, tiles[-1], mark(60, 40, width=20, height=10)))  # its corner is 330, 200
    ok(put(admin, tiles[-2], mark(90, 40, width=20, height=10)))  # 300, 200: the same cell
    ok(put(admin, tiles[0]))
    fetch(admin, key, reader="admin", stage="all", images=True).extractall(tmp_path / "zip")
    assert cli("convert", tmp_path / "zip", tmp_path / "out", "--from", "cadd4mbc").code == 0
    fetch(admin, key, reader="admin", stage="all", format="yolo").extractall(tmp_path / "yolo")
    for out in (tmp_path / "out", tmp_path / "yolo"):
        (row,) = rows(out / "annotations.csv")  # seen by two tiles, one mitosis
        assert (row["source"], row["x"], row["y"], row["width"]) == (
            "T98",
            "390.0",
            "240.0",
            "20.0",
        )
        (image,) = [path.stem for path in out.rglob("images/train/*x4y2.png")]
        (label,) = (out / "labels" / "train" / f"{image}.txt").read_text().splitlines()
        assert [float(text) for text in label.split()] == pytest.approx([0, 0.6, 0.4, 0.2, 0.1])


def test_only_approved_work_unless_all_is_asked_for(
    admin: TestClient, anna: TestClient, tiles_slide: MakeSlide
) -> None:
    slide = tiles_slide(admin)
    assignment = assign(admin, slide, anna)
    tile = tiles_of(admin, slide)[0]
    path, query = "/api/download", {"slide": slide, "reader": "anna"}
    words = "no approved batch of T98 with a tile read by anna"
    refused(admin.get(path, params=query), 404, words)
    ok(put(anna, tile, done=False))
    refused(admin.get(path, params=query | {"stage": "all"}), 404, "no batch of T98")
    ok(put(anna, tile, mark(), version=1))
    assert len(fetch(admin, slide, reader="anna", stage="all").namelist()) == 1
    refused(admin.get(path, params=query), 404, words)
    approve(admin, anna, assignment)
    assert len(fetch(admin, slide, reader="anna").namelist()) == 1
    refused(admin.get(path, params=query | {"reader": "admin"}), 404, "read by admin")


def test_consensus_of_two_readers(
    admin: TestClient, anna: TestClient, bert: TestClient, tiles_slide: MakeSlide
) -> None:
    slide = tiles_slide(admin, size=256)
    one, two, three, _ = tiles_of(admin, slide)
    assignments = {who: assign(admin, slide, who) for who in (anna, bert)}
    ok(put(anna, one, mark(50, 50), mark(150, 150)))
    ok(put(bert, one, mark(52, 50), mark(50, 200, "imposter")))
    ok(put(anna, two, mark(50, 50)))  # read by one alone
    ok(put(anna, three))
    ok(put(bert, three))
    approve(admin, anna, assignments[anna])
    found = fetch(admin, slide, reader="consensus")  # of those who are approved
    assert found.namelist() == [f"T98/Batch-1/{i}_7.json" for i in range(3)]
    approve(admin, bert, assignments[bert])
    found = fetch(admin, slide, reader="consensus")
    assert found.namelist() == ["T98/Batch-1/0_7.json", "T98/Batch-1/2_7.json"]
    elements = json.loads(found.read("T98/Batch-1/0_7.json"))["annotation"]["elements"]
    assert [(item["center"][:2], item["label"]["value"]) for item in elements] == [
        ([50, 50], "mitosis"), ([150, 150], "imposter"), ([50, 200], "imposter"),
    ]  # fmt: skip


def test_several_slides(admin: TestClient, tiles_slide: MakeSlide, tmp_path: Path) -> None:
    keys = [tiles_slide(admin, name=name) for name in ("T98", "T99", "Batch-1", "7", "images")]
    for i, key in enumerate(keys):
        ok(put(admin, tiles_of(admin, key)[0], mark(20, 20 + i)))
    fetch(admin, *keys, keys[0], reader="admin", stage="all").extractall(tmp_path / "zip")
    folders = {path.name for path in (tmp_path / "zip").iterdir()}
    assert folders == {"T98", "T99", "Batch-1", "7", "images"}
    two = fetch(admin, *keys[:2], reader="admin", stage="all", format="yolo")
    sources = csv.DictReader(io.StringIO(two.read("manifest.csv").decode()))
    assert {row["case"] for row in sources} == {"T98", "T99"}
    ok(admin.patch(f"/api/slides/{keys[1]}", json={"mpp": 0.5}))
    query = {"slide": keys[:2], "reader": "admin", "stage": "all", "format": "yolo"}
    refused(admin.get("/api/download", params=query), 409, "different µm/px: T98 0.25, T99 0.5")


@pytest.mark.parametrize("name", ["Batch-1", "7", "images", "cadd_json_files", "x1y1", "T 98.v2"])
def test_any_slide_name_goes_through_convert(
    admin: TestClient, tiles_slide: MakeSlide, name: str
) -> None:
    key = tiles_slide(admin, name=name)
    ok(put(admin, tiles_of(admin, key)[0], mark(20, 20)))
    found = fetch(admin, key, reader="admin", stage="all", format="yolo")
    (row,) = csv.DictReader(io.StringIO(found.read("annotations.csv").decode()))
    assert (row["x"], row["y"]) == ("20.0", "20.0")


def test_an_unknown_scale_is_told(
    admin: TestClient, tiles_slide: MakeSlide, workbench: Workbench
) -> None:
    slide = tiles_slide(admin)
    ok(put(admin, tiles_of(admin, slide)[0], mark()))
    with workbench.session() as db:
        db.get_one(Slide, slide).tile_mpp_x = None
        db.commit()
    query = {"slide": slide, "reader": "admin", "stage": "all"}
    refused(admin.get("/api/download", params=query | {"format": "yolo"}), 409, "µm/px of T98")
    ok_ = admin.get("/api/download", params=query)
    assert ok_.status_code == 200


def test_who_may_download_and_what(
    admin: TestClient, anna: TestClient, tiles_slide: MakeSlide
) -> None:
    slide = tiles_slide(admin)
    assign(admin, slide, anna)
    query = {"slide": slide, "reader": "anna", "stage": "all"}
    refused(anna.get("/api/download", params=query), 403)
    for change in (
        {"slide": "0" * 32}, {"slide": "../" + slide}, {"slide": "a\0"}, {"reader": "nobody"},
        {"reader": "../admin"}, {"reader": "a\0"},
    ):  # fmt: skip
        refused(admin.get("/api/download", params=query | change), 404)
    for change in ({"format": "dsa"}, {"stage": "x"}, {"labels": "fat"}, {"images": "maybe"}):
        refused(admin.get("/api/download", params=query | change), 422)
    refused(admin.get("/api/download"), 422)


def test_what_a_killed_download_left_is_taken_away(
    admin: TestClient, drawn: tuple[str, list[dict]], workbench: Workbench
) -> None:
    left = workbench.settings.folder / "downloads" / "tmp1" / "cadd4mbc"
    left.mkdir(parents=True)
    create_app(workbench.settings)  # another start
    assert list((workbench.settings.folder / "downloads").iterdir()) == []
    fetch(admin, drawn[0], reader="anna")
    assert list((workbench.settings.folder / "downloads").iterdir()) == []


def test_no_room_is_told(
    admin: TestClient, drawn: tuple[str, list[dict]], workbench: Workbench,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    free = workbench.settings.keep_free_bytes + 100
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free, 0, free))
    query = {"slide": drawn[0], "reader": "anna"}
    refused(admin.get("/api/download", params=query), 507, "make room")
