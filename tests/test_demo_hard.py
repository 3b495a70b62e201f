"""`demo --hard`: the same bytes of a seed, true marks, and mitoses that are hard, not hidden."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Cli, tree

from converters.errors import InputError
from mitoyolo.demo import hard, write_demo
from mitoyolo.demo.doubtful import (
    LOOK_ALIKES,
    MITOTIC,
    Appearance,
    draw_appearance,
    draw_doubtful,
)
from mitoyolo.demo.figures import Figure
from mitoyolo.demo.hard import (
    CLEAR,
    Case,
    draw_case,
    lay_debris,
    lay_fold,
    lay_ink,
    line_clear_of,
    part,
    render_frame,
    scanned,
    vary_thickness,
    write_hard,
)
from mitoyolo.demo.section import blank
from mitoyolo.demo.stain import Stain, draw_stain
from mitoyolo.demo.write import APERIO_MPP

SIZE = 200
CALL = {"seed": 3, "cases": 4, "tiles": 3, "size": SIZE}
PLAIN = Appearance(1.0, 1.2, 0.2, 0.1, 0.0, 6.5, 0.6, 0.3, 0.0)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    out = tmp_path_factory.mktemp("hard")
    return out, write_hard(out, **CALL)


def marks(out: Path, kind: str) -> list[tuple[Path, float, float, float]]:
    """Frame, x, y and confidence of every row of one kind of table."""
    rows = []
    for path in sorted(out.glob(f"atypia14/*/mitosis/*[a-d]_{kind}.csv")):
        frame = path.parents[1] / "frames" / "x40" / f"{path.stem[: -len(kind) - 1]}.png"
        rows += [
            (frame, *map(float, line.split(","))) for line in path.read_text().splitlines() if line
        ]
    return rows


def red_density(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None
    return -np.log10((image[..., 2] + 1.0) / 256)


# --- the folder -------------------------------------------------------------------------------


def test_seed_decides_every_byte(rendered, tmp_path: Path) -> None:
    write_hard(tmp_path / "same", **CALL)
    assert tree(tmp_path / "same") == tree(rendered[0])
    write_hard(tmp_path / "other", **{**CALL, "seed": 4})
    other, first = tree(tmp_path / "other"), tree(rendered[0])
    pictures = [name for name in other if name.endswith(".png")]
    assert len(pictures) == 12
    assert not {other[name] for name in pictures} & set(first.values())


def test_a_frame_does_not_depend_on_how_many_there_are(rendered, tmp_path: Path) -> None:
    write_hard(tmp_path, **{**CALL, "cases": 2, "tiles": 2})
    few, many = tree(tmp_path / "atypia14"), tree(rendered[0] / "atypia14")
    assert len(few) == 2 * 2 * 3
    assert few == {name: many[name] for name in few}


def test_names_scanners_and_sizes(rendered) -> None:
    frames = sorted(rendered[0].glob("atypia14/*/frames/x40/*.png"))
    assert [path.name for path in frames if path.stem.endswith("Aa")] == [
        "A01_00Aa.png",
        "A03_00Aa.png",
        "H02_00Aa.png",
        "H04_00Aa.png",
    ]
    for path in frames:
        image = cv2.imread(str(path))
        assert image is not None
        side = SIZE if path.name[0] == "A" else round(SIZE * 0.2455 / 0.2273)
        assert image.shape == (side, side, 3)


def test_the_split_has_every_case_once(rendered) -> None:
    rows = (rendered[0] / "split.csv").read_text()
    assert rows == "case,split\n01,train\n02,train\n03,val\n04,test\n"
    assert Counter(part(i, 20) for i in range(20)) == {"train": 10, "val": 4, "test": 6}
    assert [part(0, 1), part(1, 2), part(2, 3)] == ["train", "val", "val"]


def test_counts_are_of_the_tables(rendered) -> None:
    out, counts = rendered
    mitoses, look_alikes = marks(out, "mitosis"), marks(out, "not_mitosis")
    assert counts == {
        "cases": 4,
        "tiles": 12,
        "mitoses": len(mitoses),
        "imposters": len(look_alikes),
    }
    assert {confidence for *_, confidence in mitoses} <= {1.0, 0.8, 0.65}
    assert {confidence for *_, confidence in look_alikes} <= {0.2, 0.0}


def test_the_first_frame_of_every_case_has_a_mitosis(rendered) -> None:
    with_mitosis = {frame.name for frame, *_ in marks(rendered[0], "mitosis")}
    assert {"A01_00Aa.png", "H02_00Aa.png", "A03_00Aa.png", "H04_00Aa.png"} <= with_mitosis
    none = replace(draw_case(np.random.default_rng(0), 0), mitoses=0.0, look_alikes=0.0)
    assert [
        figure.mitotic for figure in render_frame(np.random.default_rng(1), none, SIZE)[1]
    ] == []
    least = render_frame(np.random.default_rng(1), none, 300, least=2)[1]
    assert [figure.mitotic for figure in least] == [True, True]


def test_marks_lie_on_dark_figures(rendered) -> None:
    for kind in ("mitosis", "not_mitosis"):
        gaps = []
        for frame, x, y, _ in marks(rendered[0], kind):
            density = cv2.GaussianBlur(red_density(frame), (0, 0), 3)
            row, column = int(y), int(x)
            near = density[max(0, row - 12) : row + 13, max(0, column - 12) : column + 13]
            gaps.append(near.max() - np.median(density))
        assert len(gaps) >= 5
        assert np.mean(gaps) > 0.12
        assert np.mean(np.array(gaps) > 0.02) > 0.9


def test_convert_reads_it_by_its_split(rendered, cli: Cli, tmp_path: Path) -> None:
    out, counts = rendered
    data = tmp_path / "data"
    call = ("convert", out / "atypia14", data, "--from", "atypia14", "--at-mpp", "0.491")
    split = out / "split.csv"
    result = cli(*call, "--split-file", split, "--labels", "mitosis,imposter", "--quiet")
    assert result.code == 0, result.err
    with (data / "annotations.csv").open() as file:
        labels = Counter(row["label"] for row in csv.DictReader(file))
    assert labels == {"mitosis": counts["mitoses"], "imposter": counts["imposters"]}
    for name, tiles in (("train", 6), ("val", 3), ("test", 3)):
        pictures = [cv2.imread(str(path)) for path in (data / "images" / name).glob("*.png")]
        assert len(pictures) == tiles
        assert {picture.shape for picture in pictures} == {(SIZE // 2, SIZE // 2, 3)}


@pytest.mark.parametrize("wrong", [{"size": 127}, {"cases": 0}, {"tiles": 0}])
def test_impossible_wishes_are_refused(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        write_hard(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


# --- the command ------------------------------------------------------------------------------


def test_the_command(cli: Cli, tmp_path: Path) -> None:
    call = ("--seed", 3, "--cases", 1, "--tiles", 1, "--size", 128, "--quiet")
    assert cli("demo", tmp_path, "--hard", *call).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "atypia14",
        "demo.json",
        "split.csv",
    ]
    assert json.loads((tmp_path / "demo.json").read_text())["arguments"]["hard"] is True
    before = tree(tmp_path)
    assert cli("demo", tmp_path, "--hard", *call).code == 0
    assert tree(tmp_path) == before
    assert "holds another example" in cli("demo", tmp_path, *call).error
    assert cli("demo", tmp_path, *call, "--overwrite").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "atypia14",
        "cadd4mbc",
        "demo.json",
        "tiles",
    ]
    assert "hard" not in json.loads((tmp_path / "demo.json").read_text())["arguments"]


def test_progress_is_told_of_every_frame(tmp_path: Path) -> None:
    calls: list[int] = []
    write_hard(tmp_path, cases=2, tiles=2, size=128, progress=lambda: calls.append(1))
    assert len(calls) == 4


def test_the_plain_demo_draws_what_it_drew_before(tmp_path: Path) -> None:
    """The ids are drawn after all else of a tile, so they tell whether its stream is the same."""
    write_demo(tmp_path, seed=3, cases=1, tiles=2, size=160)
    documents = [json.loads(path.read_text()) for path in sorted(tmp_path.rglob("*.json"))]
    assert [document["itemId"] for document in documents] == PLAIN_IDS
    table = (tmp_path / "atypia14" / "A01" / "mitosis" / "A01_00Aa_mitosis.csv").read_text()
    assert table == PLAIN_TABLE


PLAIN_IDS = ["a6e06db96a7cc38661701436", "879b6e24ed6d0c35915561a3"]
PLAIN_TABLE = "198,119,1.0\n72,200,1.0\n136,250,1.0\n81,82,0.8\n"


# --- cases ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [draw_case(np.random.default_rng(seed), seed) for seed in range(150)]


def test_look_alikes_outnumber_mitoses_as_on_slides(cases: list[Case]) -> None:
    """1,213 look-alikes to 614 mitoses on the Aperio frames of five cases of the challenge."""
    ratio = np.mean([case.look_alikes for case in cases]) / np.mean([c.mitoses for c in cases])
    assert 1.5 < ratio < 3
    by_case = [case.look_alikes / case.mitoses for case in cases]
    assert np.quantile(by_case, 0.05) < 1 and np.quantile(by_case, 0.95) > 4
    frames = [render_frame(np.random.default_rng(i), cases[i], 512)[1] for i in range(8)]
    counted = Counter(figure.mitotic for figures in frames for figure in figures)
    wanted = sum(case.mitoses + case.look_alikes for case in cases[:8])
    assert 0.5 * wanted < sum(counted.values()) < 1.6 * wanted


def test_cases_differ_in_colour_and_sharpness() -> None:
    colours, sharpness = [], []
    for seed in range(8):
        case = draw_case(np.random.default_rng(seed), seed)
        image, _ = render_frame(np.random.default_rng(100), case, 256)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        colours.append(image.reshape(-1, 3).mean(axis=0))
        sharpness.append(cv2.Laplacian(grey, cv2.CV_32F).std())
        assert 60 < image.mean() < 235
    assert (np.std(colours, axis=0) > 4).all()
    assert max(sharpness) > 2 * min(sharpness)


@pytest.mark.parametrize(
    ("name", "less", "more"),
    [("fold", 0.0, 1.0), ("ink", 0.0, 1.0), ("resting", 0.6, 0.95), ("unmarked", 0.0, 8.0)],
)
def test_what_a_case_has_darkens_its_frames(name: str, less: float, more: float) -> None:
    case = replace(
        draw_case(np.random.default_rng(2), 0), mitoses=0, look_alikes=0, fold=0, ink=0, unmarked=0
    )
    light = []
    for value in (less, more):
        frames = [
            render_frame(np.random.default_rng(seed), replace(case, **{name: value}), 256)[0]
            for seed in range(4)
        ]
        light.append(np.mean(frames))
    assert light[0] > light[1] + 0.5


def test_frames_have_debris_and_uneven_thickness(monkeypatch: pytest.MonkeyPatch) -> None:
    case = draw_case(np.random.default_rng(2), 0)

    def frame(case: Case) -> np.ndarray:
        return render_frame(np.random.default_rng(1), case, 256)[0].astype(int)

    plain = frame(case)
    assert np.abs(frame(replace(case, thickness=0.3)) - plain).mean() > 2
    told: list[float] = []
    monkeypatch.setattr(hard, "lay_debris", lambda rng, foreign, mpp: told.append(mpp))
    frame(case)
    assert told == [case.mpp]


def test_dyes_spread_wider_than_those_of_the_plain_demo() -> None:
    def strengths(draw: Callable[[np.random.Generator], Stain]) -> np.ndarray:
        stains = [draw(np.random.default_rng(seed)).vectors for seed in range(100)]
        return np.std(np.linalg.norm(stains, axis=2), axis=0)

    assert (strengths(hard.draw_wide_stain) > 1.3 * strengths(draw_stain)).all()
    cases = [draw_case(np.random.default_rng(seed), seed) for seed in range(100)]
    drawn = np.std([np.linalg.norm(case.style.stain.vectors, axis=1) for case in cases], axis=0)
    assert (drawn > 1.3 * strengths(draw_stain)).all()


# --- figures ----------------------------------------------------------------------------------


def single(kind: str, seed: int, look: Appearance = PLAIN) -> tuple[np.ndarray, Figure]:
    """The haematoxylin of one figure alone on an empty section."""
    rng = np.random.default_rng(seed)
    section = blank(rng, 128, APERIO_MPP)
    figure = draw_doubtful(rng, section, kind, 64, 64, look)
    return section.haematoxylin, figure


@pytest.mark.parametrize("kind", [*MITOTIC, *LOOK_ALIKES])
def test_the_mark_lies_on_the_chromatin(kind: str) -> None:
    for seed in range(6):
        dye, figure = single(kind, seed)
        assert figure.kind == kind
        assert figure.mitotic == (kind in MITOTIC)
        rows, columns = np.nonzero(dye > 0.5)
        assert len(rows) > 20
        off = np.hypot(columns.mean() + 0.5 - figure.x, rows.mean() + 0.5 - figure.y)
        assert off * APERIO_MPP < 2.5
        assert np.hypot(figure.x - 64, figure.y - 64) * APERIO_MPP < 4


def test_shares_are_whole_and_every_kind_is_drawn() -> None:
    for shares in (MITOTIC, LOOK_ALIKES):
        assert sum(share for _, share in shares.values()) == pytest.approx(1)
        kinds = Counter(hard.draw_kinds(np.random.default_rng(0), shares, 2000))
        for kind, (_, share) in shares.items():
            assert kinds[kind] / 2000 == pytest.approx(share, abs=0.03)


def test_blur_and_pale_chromatin_lower_the_confidence_of_a_mitosis() -> None:
    def confidence(**changes: float) -> float:
        return single("metaphase", 1, replace(PLAIN, **changes))[1].confidence

    assert confidence() == confidence(defocus=0.4) == 1.0
    assert confidence(defocus=0.6) == 0.8
    assert confidence(defocus=0.9) == 0.65
    assert confidence(level=0.8, defocus=0.3) == 0.8
    assert confidence(level=0.7, defocus=0.5) == 0.65


def test_appearance_is_drawn_as_described() -> None:
    dark, _ = single("metaphase", 2)
    pale, _ = single("metaphase", 2, replace(PLAIN, level=0.6))
    blurred, _ = single("metaphase", 2, replace(PLAIN, defocus=1.0))
    small, _ = single("metaphase", 2, replace(PLAIN, scale=0.7))
    assert 0.4 < pale.max() / dark.max() < 0.6
    assert blurred.max() < 0.9 * dark.max()
    assert 0.35 < (small > 0.6).sum() / (dark > 0.6).sum() < 0.7


def test_a_cell_is_cleared_and_parted_by_a_gap() -> None:
    def eosin(look: Appearance) -> np.ndarray:
        rng = np.random.default_rng(5)
        section = blank(rng, 128, APERIO_MPP)
        section.eosin[...] = 0.5
        draw_doubtful(rng, section, "pyknotic", 64, 64, look)
        return section.eosin

    at = (64, 64 + round(4.5 / APERIO_MPP))  # in the cell, outside the chromatin
    assert eosin(replace(PLAIN, cleared=0.0))[at] == pytest.approx(0.5, abs=0.01)
    assert eosin(replace(PLAIN, cleared=1.0, eosin=0.2))[at] == pytest.approx(0.2, abs=0.1)
    assert (eosin(PLAIN) < 0.15).sum() == 0
    assert (eosin(replace(PLAIN, gap=2.0)) < 0.15).sum() > 50


def auc(positive: list[float], negative: list[float]) -> float:
    """Probability that one of the first is larger than one of the second."""
    return float((np.array(positive)[:, None] > np.array(negative)).mean())


def test_darkness_does_not_tell_mitoses_but_shape_does() -> None:
    """As a pathologist tells them: a ragged outline for its area, whatever the darkness."""
    darkness: dict[bool, list[float]] = {True: [], False: []}
    outline: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(160):
        rng = np.random.default_rng(seed)
        mitotic = seed % 2 == 0
        (kind,) = hard.draw_kinds(rng, MITOTIC if mitotic else LOOK_ALIKES, 1)
        dye, _ = single(kind, seed, draw_appearance(rng, mitotic, 1.1, 0.25))
        darkness[mitotic].append(float(np.quantile(dye, 0.995)))
        chromatin = (dye > 0.5 * dye.max()).astype(np.uint8)
        rings, _ = cv2.findContours(chromatin, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        length = sum(cv2.arcLength(ring, True) for ring in rings)
        outline[mitotic].append(length**2 / chromatin.sum())
    assert 0.3 < auc(darkness[True], darkness[False]) < 0.7
    assert 0.65 < auc(outline[True], outline[False]) < 0.97


# --- what lies on a slide besides tissue ------------------------------------------------------


def test_a_line_keeps_away_from_all_figures() -> None:
    spots = np.array([[40.0, 40.0], [160.0, 150.0]])
    lines = {side: 0 for side in (False, True)}
    for seed in range(20):
        for side in lines:
            line = line_clear_of(np.random.default_rng(seed), spots, 200, 25, side=side)
            if line is None:
                continue
            lines[side] += 1
            at = np.array([line[y, x] for x, y in spots.astype(int)])
            assert (at < -24).all() if side else (np.abs(at) > 24).all()
            step = np.hypot(*np.gradient(line))
            assert np.allclose(step, 1, atol=1e-3)  # a distance
    assert min(lines.values()) >= 8
    crowded = np.stack(np.meshgrid(*[np.arange(0, 200, 20.0)] * 2), axis=-1).reshape(-1, 2)
    assert line_clear_of(np.random.default_rng(0), crowded, 200, 25) is None


def test_folds_and_ink_darken_and_spare_the_figures() -> None:
    spots = np.array([[128.0, 128.0]])
    away = np.hypot(*(np.mgrid[:256, :256] - 127.5)) * APERIO_MPP
    for seed in range(6):
        rng = np.random.default_rng(seed)
        section = blank(rng, 256, APERIO_MPP)
        for plane in (section.haematoxylin, section.eosin):
            plane[...] = 0.3
        lay_fold(rng, section, spots)
        assert section.eosin.max() > 0.45 and section.haematoxylin.max() > 0.45
        assert np.allclose(section.eosin[away < CLEAR - 6], 0.3, atol=1e-3)
        ink = np.zeros((256, 256, 3), np.float32)
        lay_ink(rng, ink, spots, APERIO_MPP)
        assert ink.max() > 0.3
        assert ink[away < CLEAR - 6].max() < 1e-3
    crowded = np.stack(np.meshgrid(*[np.arange(0, 256, 20.0)] * 2), axis=-1).reshape(-1, 2)
    ink = np.zeros((256, 256, 3), np.float32)
    lay_ink(np.random.default_rng(0), ink, crowded, APERIO_MPP)
    assert not ink.any()


def test_debris_is_small_and_brown() -> None:
    shares = []
    for seed in range(12):
        dirt = np.zeros((512, 512, 3), np.float32)
        lay_debris(np.random.default_rng(seed), dirt, APERIO_MPP)
        shares.append(float((dirt[..., 0] > 0.1).mean()))
        assert (dirt[..., 0] <= dirt[..., 2]).all()
    assert 0 < np.mean(shares) < 0.01


def test_thickness_scales_both_dyes_alike() -> None:
    rng = np.random.default_rng(2)
    section = blank(rng, 256, APERIO_MPP)
    section.haematoxylin[...], section.eosin[...] = 0.4, 0.2
    vary_thickness(rng, section, 0.15)
    assert np.allclose(section.haematoxylin, 2 * section.eosin, rtol=1e-5)
    assert 0.05 < section.eosin.std() / section.eosin.mean() < 0.4
    assert section.eosin.mean() == pytest.approx(0.2, rel=0.2)


def test_sharpening_and_jpeg() -> None:
    image = np.full((64, 64, 3), 120, np.uint8)
    image[:, 32:] = (200, 90, 160)
    plain, sharp = scanned(image, 0.0, 95), scanned(image, 1.5, 95)
    assert np.abs(plain.astype(int) - image).mean() < 3
    assert sharp[..., 0].max() > plain[..., 0].max() + 10  # overshoots at the edge
    noisy = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    coarse, fine = (np.abs(scanned(noisy, 0.0, q).astype(int) - noisy).mean() for q in (30, 95))
    assert coarse > 1.2 * fine
