"""Pages: whole in one file, with every text escaped."""

from __future__ import annotations

import base64
import json
import re
import shutil
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from rendered import CELL, PINK, Cell, PixelDetector, Source, paint, write_dataset

from converters.errors import InputError
from converters.files import write_json
from mitoyolo import detect as detect_module
from mitoyolo import val as val_module
from mitoyolo.dataset import open_dataset
from mitoyolo.detect import DetectOptions, detect
from mitoyolo.evaluation.fields import Field
from mitoyolo.images import RGB, write_rgb
from mitoyolo.label_file import read_boxes
from mitoyolo.report.detect import CROPS
from mitoyolo.report.overlay import (
    GREEN,
    MAX_SIDE,
    RED,
    crop,
    draw_dots,
    draw_truth,
    sheet,
    stitch,
)
from mitoyolo.report.page import headline, paragraph, picture, row, table, write_page
from mitoyolo.report.pipeline import _examples, write_pipeline_report
from mitoyolo.report.training import draw_curves
from mitoyolo.report.val import gallery
from mitoyolo.stain.normaliser import Normaliser
from mitoyolo.val import val

NASTY = '<script>alert("x")</script> & co'


class Tags(HTMLParser):
    """Every tag with its attributes, and that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def pictures(text: str) -> list[RGB]:
    """The decoded pictures of a page, all of which lie inside it."""
    sources = [attrs["src"] or "" for tag, attrs in Tags(text).found if tag == "img"]
    images = []
    for source in sources:
        kind, data = source.split(",", 1)
        assert kind in ("data:image/png;base64", "data:image/jpeg;base64")
        image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        images.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return images


def check_alone(text: str) -> None:
    """Nothing outside the file is asked for."""
    assert "http" not in text
    assert "file:" not in text
    assert not re.search(r"url\(|@import|<script|<link", text)


def red(image: RGB) -> int:
    """Pixels of the detections' red, JPEG noise allowed."""
    return int(((image[..., 0] > 190) & (image[..., 1] < 50) & (image[..., 2] < 50)).sum())


def test_every_text_is_escaped(tmp_path: Path) -> None:
    image = paint(20, 20, [])
    body = (
        paragraph(NASTY)
        + table((NASTY,), [(NASTY,)])
        + headline([(NASTY, NASTY)])
        + row([picture(image, NASTY)])
    )
    write_page(tmp_path / "p.html", NASTY, [(NASTY, body)])
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "script" not in {tag for tag, _ in Tags(text).found}
    assert text.count("&lt;script&gt;") == 10
    assert "For research use only. Not for diagnosis." in text


def test_numbers_have_three_decimals_and_none_is_a_dash() -> None:
    text = table(("a",), [(0.12345,), (None,), (7,)])
    assert re.findall(r"<td>(.*?)</td>", text) == ["0.123", "–", "7"]


def test_detect_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect_module, "load_detector", lambda path, **_: PixelDetector())
    places = [(50 + 40 * (i % 9), 60 + 40 * (i // 9)) for i in range(CROPS + 3)]
    frame = tmp_path / "<b>one&.png"
    write_rgb(
        frame, paint(450, 220, [Cell(x, y, 0.99 - i / 99) for i, (x, y) in enumerate(places)])
    )
    (tmp_path / "best.pt").touch()
    options = DetectOptions(mpp=(0.5, 0.5), hotspot_mm2=0.004)
    (folder,) = detect(frame, tmp_path / "best.pt", tmp_path / "out", options)
    text = (folder / "report.html").read_text(encoding="utf-8")
    check_alone(text)
    assert "b" not in {tag for tag, _ in Tags(text).found}
    overlay, density, *crops = pictures(text)
    assert overlay.shape == (220, 450, 3)
    assert red(overlay[40:80, 30:70]) > 8 > red(overlay[:30])
    assert density.shape[0] > 200
    assert len(crops) == CROPS
    assert crops[0].shape == (64, 64, 3)  # 32 µm
    assert crops[0][32, 32, 2] > 240 > 60 > crops[0][32, 32, 0]
    assert f"the first {CROPS} of {CROPS + 3}" in text
    assert "not a mitotic count" in text
    scores = [float(score) for score in re.findall(r"<figcaption>score (.*?)<", text)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.98


@pytest.mark.parametrize(("x", "y"), [(2, 3), (198, 150), (100, 199.6)])
def test_a_crop_at_the_edge_keeps_its_size_and_its_centre(x: float, y: float) -> None:
    image = paint(200, 200, [])
    image[min(round(y), 199), min(round(x), 199)] = (1, 2, 3)
    square = crop(image, x, y, (0.5, 1.0), 32)
    assert square.shape == (32, 64, 3)
    place = np.argwhere((square == (1, 2, 3)).all(axis=2))[0]
    assert place == pytest.approx([16, 32], abs=1)
    assert (square == 255).all(axis=2).any()


def test_dots_and_rings_are_where_they_belong() -> None:
    image = paint(100, 80, [])
    dots = draw_dots(image, np.array([[30.0, 40.0]]), (0.5, 0.5))
    assert tuple(dots[40, 30]) == RED
    assert dots[40, 46].tolist() == pytest.approx(list(RED), abs=45)  # the ring of 8 µm
    assert tuple(dots[40, 38]) == PINK
    rings = draw_truth(image, np.array([[30.0, 40.0]]), (0.5, 0.5))
    assert rings[40, 50].tolist() == pytest.approx(list(GREEN), abs=45)  # the ring of 10 µm
    assert tuple(rings[40, 30]) == PINK
    assert (image == PINK).all()


def test_a_long_image_is_shrunk_with_its_dots_and_rings_in_place(tmp_path: Path) -> None:
    wide = MAX_SIDE + 128
    source = Source("long", "test", (Cell(wide - 100, 32),), width=wide)
    dataset = open_dataset(write_dataset(tmp_path / "data", [source]))
    found = np.array([[wide - 100.0, 32.0]])
    field = Field(
        image="long", case="long", mpp=(0.5, 0.5), truth=found, detections=found,
        scores=np.array([0.9]),
    )  # fmt: skip
    (image,) = pictures(gallery([field], 0.5, partial(stitch, dataset)))
    assert image.shape[1] == MAX_SIDE
    dot = np.argwhere((image[..., 0] > 190) & (image[..., 1] < 50) & (image[..., 2] < 50))
    assert dot.mean(axis=0)[1] == pytest.approx((wide - 100) * MAX_SIDE / wide, abs=2)


def test_a_sheet_holds_each_image_in_its_cell() -> None:
    colours = [(10, 20, 30), (200, 20, 30), (10, 200, 30)]
    images = [np.full((40, 20 * (i + 1), 3), c, np.uint8) for i, c in enumerate(colours)]
    drawn = sheet(images, columns=2, side=20)
    assert drawn.shape == (52, 52, 3)
    assert [tuple(drawn[5, 5]), tuple(drawn[5, 31]), tuple(drawn[30, 5])] == colours
    assert tuple(drawn[5, 15]) == (255, 255, 255)  # a narrow image leaves white beside it


def test_a_source_is_put_together_from_its_tiles(tmp_path: Path) -> None:
    cells = (Cell(48, 30), Cell(80, 40, 0.4))
    dataset = open_dataset(write_dataset(tmp_path / "d", [Source("a", "test", cells)]))
    assert np.array_equal(stitch(dataset, "a"), paint(96, 64, cells))


def test_boxes_are_read_in_tile_pixels(tmp_path: Path) -> None:
    dataset = open_dataset(write_dataset(tmp_path / "d", [Source("a", "test", (Cell(48, 30),))]))
    left, right = dataset.tiles
    assert read_boxes(dataset, left) == [(0, pytest.approx((40, 22, 56, 38)))]
    assert read_boxes(dataset, right) == [(0, pytest.approx((8, 22, 24, 38)))]


def test_examples_are_tiles_with_boxes_of_different_cases(tmp_path: Path) -> None:
    far = Cell(80, 30)  # in the second tile only, of two
    sources = [Source("a", "train", (far,)), Source("b", "train"), Source("c", "test", (far,))]
    dataset = open_dataset(write_dataset(tmp_path / "d", sources))
    shown = [tile.name for tile in _examples(dataset, 4)]
    assert shown == ["a_32_0", "b_0_0", "c_32_0", "a_0_0"]


# --- the page over a run ----------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on a normalised dataset, whose training is written by hand."""
    sources = [
        Source("a", "train", (Cell(20, 20),)),
        Source("b", "val", (Cell(20, 20),)),
        Source("c", "test", (Cell(20, 30), Cell(70, 30, 0.8, None))),
    ]
    before = write_dataset(tmp_path / "before", sources)
    normalised = Normaliser("reinhard", "case").to_dict()
    after = write_dataset(tmp_path / "after", sources, normalisation=normalised)
    write_json(after / "run.json", {"arguments": {"src": str(before)}})
    run = tmp_path / "run"
    (run / "weights").mkdir(parents=True)
    (run / "weights" / "best.pt").touch()
    write_json(run / "run.json", {"arguments": {"data": str(after)}})
    write_json(run / "summary.json", {"model": "yolov5n", "epochs": 2, "best_epoch": 1})
    header = "epoch,train/box_loss,val/box_loss,metrics/F1,metrics/AP"
    (run / "results.csv").write_text(f"{header}\n1,2,2.5,0.5,0.4\n2,1,1.5,0.4,0.3\n")
    draw_curves(run / "results.csv", run / "curves.png", title="run", rule="centroid, 8 µm")
    from rendered import card

    detector = PixelDetector(card=card(normalisation=normalised))
    monkeypatch.setattr(val_module, "load_detector", lambda path, **_: detector)
    val(after, run / "weights" / "best.pt")
    return run


def test_the_page_over_a_run(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_pipeline_report(run, page)
    text = page.read_text(encoding="utf-8")
    check_alone(text)
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings == [
        "Scores on the test split",
        "Data",
        "Tiles before and after normalising",
        "Label check",
        "Training",
        "Precision and recall",
        "Detections over truth",
    ]
    shown = pictures(text)
    assert len(shown) == 7  # before, after, labels, curves, PR, FROC, and one test image
    assert red(shown[-1]) > 2 * CELL
    assert "c: 1 annotated, 2 detected" in text
    assert "<td>train</td><td>2</td><td>1</td><td>a</td>" in text
    metrics = json.loads((run / "val-test" / "metrics.json").read_text())
    assert f"<dd>{metrics['f1']:.3f}</dd>" in text
    assert "number 1 is the best on the validation split.<" in text


def test_the_page_says_that_a_verifier_looks_again(run: Path, tmp_path: Path) -> None:
    summary = {"model": "yolov5n", "epochs": 2, "best_epoch": 1, "verifier": "yolov5n"}
    write_json(run / "summary.json", summary)
    write_pipeline_report(run, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "on the validation split, and a verifier looks at its detections again." in text


def test_without_the_raw_dataset_the_page_shows_what_is_left(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "before")
    write_pipeline_report(run, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(pictures(text)) == 6
    assert "As trained" in text
    assert "Tiles as trained" in text and "before and after" not in text


@pytest.mark.parametrize(
    ("gone", "said"),
    [("summary.json", "mitoyolo train"), ("val-test/metrics.json", "mitoyolo val --split test")],
)
def test_an_unfinished_run_is_refused(run: Path, tmp_path: Path, gone: str, said: str) -> None:
    (run / gone).unlink()
    with pytest.raises(InputError, match=said):
        write_pipeline_report(run, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_curves_are_a_picture(run: Path) -> None:
    image = cv2.imread(str(run / "curves.png"))
    assert image is not None
    assert min(image.shape[:2]) > 300
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 10


def test_the_curves_of_one_epoch_are_seen(tmp_path: Path) -> None:
    header = "epoch,train/box_loss,metrics/F1"
    drawn = []
    for name, row_ in (("with", "1,2,0.5"), ("without", "1,nan,nan")):
        (tmp_path / f"{name}.csv").write_text(f"{header}\n{row_}\n")
        picture_ = tmp_path / f"{name}.png"
        draw_curves(tmp_path / f"{name}.csv", picture_, title="run", rule="centroid, 8 µm")
        image = cv2.imread(str(picture_)).reshape(-1, 3).astype(int)
        drawn.append(int((np.ptp(image, axis=1) > 60).sum()))  # coloured pixels
    assert drawn[0] > drawn[1] + 20
