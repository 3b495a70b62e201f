"""The demo renderer: the same seed gives the same folder, and its truth marks what it drew."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import tree

from converters.errors import InputError
from mitoyolo.demo import DEMO_MPP, write, write_demo
from mitoyolo.demo import demo as render
from mitoyolo.demo.figures import IMPOSTERS, MITOSES, REACH, Figure, draw_figure
from mitoyolo.demo.section import blank
from mitoyolo.demo.tissue import EDGE, draw_style, render_tile
from mitoyolo.jobs import locked

SIZE = 160


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    out = tmp_path_factory.mktemp("demo")
    return out, write_demo(out, seed=3, cases=2, tiles=6, size=SIZE)


def annotated(out: Path) -> list[tuple[Path, dict]]:
    """Every CADD4MBC document with the path of its tile."""
    pairs = []
    for path in sorted(out.glob("cadd4mbc/*/Batch-*/*.json")):
        x, y = path.stem.split("_")
        tile = out / "tiles" / path.parent.parent.name / f"x{x}y{y}.png"
        pairs.append((tile, json.loads(path.read_text())))
    return pairs


def inside(shape: tuple[int, ...], x, y, width, height, rotation) -> np.ndarray:
    """Pixels inside an ellipse, by the formula of the CADD4MBC schema."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    dx, dy = columns - x, rows - y
    u = dx * np.cos(rotation) + dy * np.sin(rotation)
    v = dy * np.cos(rotation) - dx * np.sin(rotation)
    return (2 * u / width) ** 2 + (2 * v / height) ** 2 <= 1


def reach(width, height, rotation) -> tuple[float, float]:
    """Half sides of the upright box around an ellipse."""
    return (
        np.hypot(width * np.cos(rotation), height * np.sin(rotation)) / 2,
        np.hypot(width * np.sin(rotation), height * np.cos(rotation)) / 2,
    )


def grey(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return image


def test_seed_decides_every_byte(demo, tmp_path: Path) -> None:
    first = tree(demo[0])
    write_demo(tmp_path / "same", seed=3, cases=2, tiles=6, size=SIZE)
    assert tree(tmp_path / "same") == first
    write_demo(tmp_path / "other", seed=4, cases=1, tiles=2, size=SIZE)
    other = tree(tmp_path / "other")
    pictures = [name for name in other if name.endswith((".png", ".json"))]
    assert len(pictures) == 6
    assert all(other[name] != first[name] for name in pictures)


def test_seed_decides_the_tissue_of_a_fixed_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    style = draw_style(np.random.default_rng(1))
    monkeypatch.setattr(write, "draw_style", lambda rng: style)
    monkeypatch.setattr(write, "planned", lambda rng, tile: (1, 1))
    for seed in (3, 4):
        write_demo(tmp_path / str(seed), seed=seed, cases=1, tiles=2, size=SIZE)
    first, other = tree(tmp_path / "3"), tree(tmp_path / "4")
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first if not name.endswith(".csv"))


def test_a_tile_does_not_depend_on_the_others(demo, tmp_path: Path) -> None:
    write_demo(tmp_path, seed=3, cases=1, tiles=3, size=SIZE)
    few, many = tree(tmp_path), tree(demo[0])
    assert len(few) == 3 * 2 + 2 * 3
    assert few == {name: many[name] for name in few}


def test_all_pictures_are_different_tissue(demo) -> None:
    pictures = [value for name, value in tree(demo[0]).items() if name.endswith(".png")]
    assert len(pictures) == 2 * 6 + 1 * 2
    assert len(set(pictures)) == len(pictures)


def test_counts_and_progress(demo, tmp_path: Path) -> None:
    out, counts = demo
    pairs = annotated(out)
    rows = {
        kind: sum(len(path.read_text().splitlines()) for path in out.rglob(f"*[a-d]_{kind}.csv"))
        for kind in ("mitosis", "not_mitosis")
    }
    ellipses = sum(len(document["annotation"]["elements"]) for _, document in pairs)
    assert (counts["cases"], counts["tiles"]) == (3, 14)
    assert counts["mitoses"] == ellipses + rows["mitosis"]
    assert counts["imposters"] >= rows["not_mitosis"] > 0
    calls: list[int] = []
    write_demo(tmp_path, cases=1, tiles=1, size=128, progress=lambda: calls.append(1))
    assert len(calls) == 1 + 2


def test_every_case_has_tiles_with_and_without_mitoses(demo) -> None:
    for slide in ("T1", "T2"):
        numbers = [
            len(document["annotation"]["elements"])
            for tile, document in annotated(demo[0])
            if tile.parent.name == slide
        ]
        assert len(numbers) == 6
        assert 0 in numbers
        assert sum(numbers) >= 4


def test_cadd4mbc_schema(demo) -> None:
    pairs = annotated(demo[0])
    assert len(pairs) == 12
    for tile, document in pairs:
        assert list(document) == ["_modelType", "annotation", "groups", "itemId", "created"]
        assert document["_modelType"] == "tileannotation"
        assert document["groups"] == ["Batch 1"]
        assert len(document["itemId"]) == 24
        note = document["annotation"]
        assert list(note) == ["description", "elements", "name", "position"]
        x, y = note["position"]
        assert note["name"] == f"{x}_{y}"
        assert tile.name == f"x{x}y{y}.png"
        for element in note["elements"]:
            assert element["type"] == "ellipse"
            assert len(bytes.fromhex(element["id"])) == 12
            cx, cy, _ = element["center"]
            half_x, half_y = reach(element["width"], element["height"], element["rotation"])
            edge = EDGE / DEMO_MPP
            assert edge < cx - half_x and cx + half_x < SIZE - edge
            assert edge < cy - half_y and cy + half_y < SIZE - edge


def test_files_hold_the_figures_as_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mitosis = Figure("anaphase", 70.25, 80.5, 60.0, 40.0, 0.75, 0.8)
    imposter = Figure("smudged", 30.0, 110.6, 50.0, 45.0, 0.0, 0.2)

    def draw(*_: object) -> tuple[np.ndarray, list[Figure]]:
        return np.zeros((SIZE, SIZE, 3), np.uint8), [mitosis, imposter]

    monkeypatch.setattr(write, "render_tile", draw)
    counts = write_demo(tmp_path, cases=1, tiles=1, size=SIZE)
    assert counts == {"cases": 2, "tiles": 3, "mitoses": 3, "imposters": 3}
    ((_, document),) = annotated(tmp_path)
    (element,) = document["annotation"]["elements"]
    assert element["center"] == [70.25, 80.5, 0]
    assert (element["width"], element["height"], element["rotation"]) == (60.0, 40.0, 0.75)
    tables = tmp_path / "atypia14" / "A01" / "mitosis"
    assert (tables / "A01_00Aa_mitosis.csv").read_text() == "70,80,0.8\n"
    assert (tables / "A01_00Aa_not_mitosis.csv").read_text() == "30,111,0.2\n"


def test_ellipses_lie_on_dark_pixels(demo) -> None:
    gaps, elsewhere = [], []
    for tile, document in annotated(demo[0]):
        image = grey(tile)
        assert image.shape == (SIZE, SIZE)
        for element in document["annotation"]["elements"]:
            x, y, _ = element["center"]
            shape = element["width"], element["height"], element["rotation"]
            dark = np.percentile(image[inside(image.shape, x, y, *shape)], 20)
            gaps.append(np.median(image) - dark)
            mirrored = image[::-1, ::-1]
            dark = np.percentile(mirrored[inside(image.shape, x, y, *shape)], 20)
            elsewhere.append(np.median(image) - dark)
    assert len(gaps) >= 8
    assert min(gaps) > 15
    assert np.mean(gaps) > 30 + np.mean(elsewhere)


def test_atypia14_tables(demo) -> None:
    frames = sorted(demo[0].glob("atypia14/*/frames/x40/*.png"))
    assert [frame.name for frame in frames] == ["A01_00Aa.png", "A01_00Ab.png"]
    marked = 0
    for frame in frames:
        image = grey(frame)
        assert image.shape == (2 * SIZE, 2 * SIZE)
        for suffix, levels in (("mitosis", {1.0, 0.8, 0.65}), ("not_mitosis", {0.2, 0.0})):
            table = frame.parents[2] / "mitosis" / f"{frame.stem}_{suffix}.csv"
            for line in table.read_text().splitlines():
                x, y, confidence = line.split(",")
                assert 0 <= int(x) < image.shape[1] and 0 <= int(y) < image.shape[0]
                assert float(confidence) in levels
                marked += 1
    assert marked >= 3


def test_pictures_are_tissue(demo) -> None:
    for path in demo[0].rglob("*.png"):
        image = cv2.imread(str(path))
        assert image is not None
        blue, green, red = image.reshape(-1, 3).mean(axis=0)
        assert green < blue and green < red  # eosin and haematoxylin take out the green
        assert 60 < image.mean() < 225
        assert image.std() > 12


def test_every_phase_and_look_alike_occurs() -> None:
    style = draw_style(np.random.default_rng(1))
    kinds = set()
    for seed in range(12):
        _, figures = render_tile(np.random.default_rng(seed), style, 300, DEMO_MPP, 3, 3)
        kinds |= {figure.kind for figure in figures}
    assert kinds == {*MITOSES, *IMPOSTERS}


def single(kind: str, seed: int) -> tuple[np.ndarray, Figure]:
    """The haematoxylin of one figure alone on an empty section."""
    rng = np.random.default_rng(seed)
    section = blank(rng, 128, DEMO_MPP)
    figure = draw_figure(rng, section, kind, 64, 64)
    return section.haematoxylin, figure


@pytest.mark.parametrize("kind", MITOSES)
def test_ellipse_holds_the_chromatin_tightly(kind: str) -> None:
    for seed in range(8):
        dye, figure = single(kind, seed)
        ellipse = inside(
            dye.shape, figure.x, figure.y, figure.width, figure.height, figure.rotation
        )
        assert dye[ellipse].sum() > 0.95 * dye.sum()
        assert 18 < min(figure.width, figure.height) <= max(figure.width, figure.height) < 80
        assert (dye[ellipse] > 0.5).mean() > 0.2


def test_rotation_turns_the_ellipse_onto_the_figure() -> None:
    turned, kept, lost = 0, 0.0, 0.0
    for seed in range(16):
        dye, figure = single("metaphase", seed)
        if abs(np.sin(2 * figure.rotation)) < 0.5:
            continue
        turned += 1
        place = figure.x, figure.y, figure.width, figure.height
        right = dye[inside(dye.shape, *place, figure.rotation)].sum()
        for wrong in (0.0, -figure.rotation):
            other = dye[inside(dye.shape, *place, wrong)].sum()
            assert right > other
            kept, lost = kept + right, lost + other
    assert turned >= 5
    assert kept > 1.1 * lost


def test_annotations_stay_within_reach() -> None:
    for seed in range(120):
        kind = [*MITOSES][seed % 4]
        _, figure = single(kind, seed)
        half_x, half_y = reach(figure.width, figure.height, figure.rotation)
        far = max(abs(figure.x - 64) + half_x, abs(figure.y - 64) + half_y)
        assert far * DEMO_MPP < REACH


def test_phases_have_their_shapes() -> None:
    for seed in range(6):
        dye, figure = single("anaphase", seed)
        row, column = round(figure.y), round(figure.x)
        assert dye[row - 1 : row + 2, column - 1 : column + 2].mean() < 0.5 * dye.max()
        dye, figure = single("ring", seed)
        row, column = round(figure.y), round(figure.x)
        assert dye[row - 1 : row + 2, column - 1 : column + 2].mean() < 0.5 * dye.max()
        dye, figure = single("metaphase", seed)
        assert figure.width > 1.4 * figure.height


@pytest.mark.parametrize("wrong", [{"size": 127}, {"cases": 0}, {"tiles": 0}])
def test_impossible_wishes_are_refused(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        write_demo(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


# --- the command's folder ---------------------------------------------------------------------


CALL = {"seed": 3, "cases": 1, "tiles": 2, "size": 128}


def test_a_stopped_example_is_continued_to_the_same_bytes(tmp_path: Path, monkeypatch) -> None:
    whole = render(tmp_path / "whole", **CALL)

    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(write, "write_atypia14_case", stop)
        render(tmp_path / "stopped", **CALL)
    assert render(tmp_path / "stopped", **CALL) == whole
    assert tree(tmp_path / "stopped") == tree(tmp_path / "whole")


def test_a_finished_example_is_left_alone_until_overwritten(tmp_path: Path, monkeypatch) -> None:
    counts = render(tmp_path, **CALL)
    tile = next((tmp_path / "tiles").rglob("*.png"))
    before = tree(tmp_path)
    tile.write_bytes(b"changed")
    (tmp_path / "tiles" / "stray.png").touch()
    assert render(tmp_path, **CALL) == counts
    assert tile.read_bytes() == b"changed"
    render(tmp_path, **CALL, overwrite=True)
    assert tree(tmp_path) == before


def test_another_example_is_refused_unless_overwritten(tmp_path: Path) -> None:
    render(tmp_path / "a", **CALL)
    with pytest.raises(InputError, match=r"seed: 3, cases: 1, .*--overwrite"):
        render(tmp_path / "a", **{**CALL, "seed": 4})
    render(tmp_path / "a", **{**CALL, "seed": 4}, overwrite=True)
    render(tmp_path / "b", **{**CALL, "seed": 4})
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_folder_of_someone_else_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    for overwrite in (False, True):
        with pytest.raises(InputError, match="not ours to write"):
            render(tmp_path, **CALL, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    out = tmp_path / "example"
    out.mkdir()
    with locked(out), pytest.raises(InputError, match="another mitoyolo is writing this folder"):
        render(out, **CALL, overwrite=True)
    assert list(out.iterdir()) == []
