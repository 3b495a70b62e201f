"""The before/after sheet: which tiles stand where, and where it may be written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import real

from converters.errors import InputError
from mitoyolo.images import RGB, read_rgb, write_rgb
from mitoyolo.report.contact import LINE, MARGIN
from mitoyolo.stain.folder import normalize_folder
from mitoyolo.stain.sheet import CASES, GAP, SIDE, TILES, check_sheet, write_sheet
from mitoyolo.stain.source import read_source

HEIGHT, WIDTH = 96, 112  # of the rendered tiles
PLACE = SIDE + MARGIN
ROW = HEIGHT + 2 * LINE
HALF = GAP + TILES * PLACE


def folder(root: Path, cases: dict[str, list[RGB]], suffix: str = "png") -> Path:
    for case, tiles in cases.items():
        for i, tile in enumerate(tiles):
            path = root / case / f"t{i:02}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_rgb(path, tile)
    return root


def made(src: Path, tmp_path: Path) -> RGB:
    normalize_folder(src, tmp_path / "out", workers=1)
    write_sheet(read_source(src), tmp_path / "out", tmp_path / "sheet.png")
    return read_rgb(tmp_path / "sheet.png")


def places(page: RGB, row: int, half: int) -> list[RGB]:
    """The tiles of a row of the page, before (half 0) or after (half 1)."""
    top = 3 * LINE + row * ROW
    lefts = [half * HALF + MARGIN + i * PLACE for i in range(TILES)]
    return [page[top : top + HEIGHT, left : left + WIDTH] for left in lefts]


def test_a_row_is_a_case_before_and_after(tissue, tmp_path: Path) -> None:
    shifts = {"A": (-30, 0, 0), "B": (10, 20, -40)}
    tiles = {case: [tissue(i, shift=shift) for i in range(4)] for case, shift in shifts.items()}
    page = made(folder(tmp_path / "src", tiles), tmp_path)
    assert page.shape == (3 * LINE + 2 * ROW, 2 * HALF, 3)
    for row, case in enumerate(tiles):
        after = [read_rgb(tmp_path / "out" / case / f"t{i:02}.png") for i in range(4)]
        assert all(map(np.array_equal, places(page, row, 0), tiles[case]))
        assert all(map(np.array_equal, places(page, row, 1), after))
        caption = page[3 * LINE + row * ROW + HEIGHT :][: 2 * LINE]
        assert caption[:, :HALF].min() < 100 and caption[:, HALF:].min() < 100
    assert page[: 3 * LINE].min() < 100


def test_cases_and_tiles_are_spread_and_in_order(tissue, tmp_path: Path) -> None:
    count = CASES + 3
    cases = {f"c{k:02}": [tissue(100 * k + i) for i in range(8)] for k in range(count)}
    page = made(folder(tmp_path / "src", cases), tmp_path)
    assert len(page) == 3 * LINE + CASES * ROW
    shown = []
    for row in range(CASES):
        before = places(page, row, 0)
        case, *_ = [name for name in cases if np.array_equal(cases[name][0], before[0])]
        assert all(map(np.array_equal, before, cases[case][::2]))
        shown.append(int(case[1:]))
    assert shown == sorted(set(shown))
    assert shown[0] == 0 and shown[-1] >= count - 2


def test_tiles_that_passed_through_are_shown_last(tissue, tmp_path: Path) -> None:
    white = np.full((HEIGHT, WIDTH, 3), 244, np.uint8)
    cases = {"A": [white, tissue(1), white, tissue(2)], "B": [white, white + 1]}
    page = made(folder(tmp_path / "src", cases), tmp_path)
    assert np.array_equal(places(page, 0, 0)[0], tissue(1))
    assert np.array_equal(places(page, 0, 0)[1], tissue(2))
    columns = 2 * PLACE + GAP  # two tiles are the most that a row has
    assert page.shape[1] == 2 * columns
    assert np.array_equal(places(page, 1, 0)[0], white)
    after = page[3 * LINE + ROW :][:HEIGHT, columns + MARGIN :][:, :WIDTH]
    assert np.array_equal(after, white)


def test_large_tiles_are_shrunk_and_small_ones_are_not(tissue, tmp_path: Path) -> None:
    cases = {"A": [tissue(1, size=(1000, 500)), tissue(2, size=(40, 50))]}
    page = made(folder(tmp_path / "src", cases), tmp_path)
    assert len(page) == 3 * LINE + SIDE + 2 * LINE
    row = page[3 * LINE :][:SIDE]
    inked = (row < 250).any(axis=2)
    assert inked[:, MARGIN : MARGIN + SIDE // 2].all(axis=1).mean() > 0.9
    assert not inked[:, MARGIN + SIDE // 2 : MARGIN + PLACE].any()
    small = row[:40, MARGIN + PLACE :][:, :50]
    assert np.array_equal(small, cases["A"][1])


def test_the_images_of_the_folder_itself_are_named_by_it(tissue, tmp_path: Path) -> None:
    pages = []
    for parent, name in (("1", "slide"), ("2", "slide"), ("3", "other")):
        src = folder(tmp_path / parent / name, {".": [tissue(1)]})
        pages.append(made(src, tmp_path / parent))
    assert np.array_equal(pages[0], pages[1])
    assert not np.array_equal(pages[0], pages[2])


def test_jpeg_goes_on_the_sheet_too(tissue, tmp_path: Path) -> None:
    src = folder(tmp_path / "src", {"A": [tissue(1)]}, "jpg")
    page = made(src, tmp_path)
    assert np.array_equal(places(page, 0, 0)[0], read_rgb(src / "A" / "t00.jpg"))


@pytest.mark.parametrize("name", ["sheet.jpg", "sheet", "folder.png"])
def test_a_sheet_is_a_png_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=r"\.png file"):
        check_sheet(tmp_path / name)
    check_sheet(tmp_path / "sheet.PNG")


def test_a_sheet_does_not_lie_among_images(tissue, tmp_path: Path) -> None:
    src = folder(tmp_path / "src", {"A": [tissue(1)]})
    made(src, tmp_path)
    for root in (src, tmp_path / "out"):
        for path in (root / "sheet.png", root / "A" / ".." / "sheet.png"):
            with pytest.raises(InputError, match="among the images"):
                write_sheet(read_source(src), tmp_path / "out", path)
            assert not path.exists()
    check_sheet(src / ".." / "sheet.png", src)
    (tmp_path / "link").symlink_to(src)
    with pytest.raises(InputError, match="among the images"):
        check_sheet(tmp_path / "link" / "sheet.png", src)


def test_a_missing_result_is_named(tissue, tmp_path: Path) -> None:
    src = folder(tmp_path / "src", {"A": [tissue(1)]})
    made(src, tmp_path)
    (tmp_path / "sheet.png").unlink()
    (tmp_path / "out" / "A" / "t00.png").unlink()
    with pytest.raises(InputError, match=r"t00\.png"):
        write_sheet(read_source(src), tmp_path / "out", tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


def test_real_frames_of_three_cases(tmp_path: Path) -> None:
    frames = real("mitos_atypia_14")
    src = tmp_path / "src"
    for case in ("H07", "H11", "H18"):
        (src / case).mkdir(parents=True)
        for path in sorted((frames / case / "frames" / "x40").glob("*.jpg"))[:2]:
            write_rgb(src / case / f"{path.stem}.png", read_rgb(path)[:512, :512])
    page = made(src, tmp_path)
    assert page.shape == (3 * LINE + 3 * (SIDE + 2 * LINE), 2 * (GAP + 2 * PLACE), 3)
    before, after = page[:, : GAP + 2 * PLACE], page[:, GAP + 2 * PLACE :]
    changed = np.abs(before.astype(int) - after).max(axis=2) > 8
    assert changed.mean() > 0.2
