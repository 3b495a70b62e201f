"""Parts of a slide: claimed once, finished whole, left to whoever comes next."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from converters.errors import InputError, OptionError
from mitoyolo.inference import parts as module
from mitoyolo.inference.parts import FOLDER, Part, Parts, remove_parts
from mitoyolo.inference.shares import ALONE, Share, share_of
from mitoyolo.tiles import Window

WINDOWS = [Window(10 * i, 0, 20, 20) for i in range(10)]


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TILES", 4)
    monkeypatch.setattr(module, "LOOK", 0.01)


def begun(folder: Path) -> Parts:
    parts = Parts(folder, WINDOWS)
    parts.begin()
    return parts


def result(count: int, seed: int = 0) -> Part:
    rng = np.random.default_rng(seed)
    return Part([rng.random((i % 3, 6)) for i in range(count)], {1: "damaged at x 3, y 4"})


def test_the_last_part_is_shorter(four: None, tmp_path: Path) -> None:
    parts = begun(tmp_path)
    assert [list(parts.windows(n)) for n in parts.numbers] == [
        WINDOWS[:4], WINDOWS[4:8], WINDOWS[8:],
    ]  # fmt: skip


def test_a_part_is_read_as_it_was_written(four: None, tmp_path: Path) -> None:
    parts = begun(tmp_path)
    assert parts.claim(1)
    written = result(4)
    parts.write(1, written)
    read = Parts(tmp_path, WINDOWS).read(1)
    assert read.unreadable == written.unreadable
    assert [len(rows) for rows in read.found] == [0, 1, 2, 0]
    for got, meant in zip(read.found, written.found, strict=True):
        assert np.array_equal(got, meant)


def test_a_part_is_claimed_once_until_it_is_given_back(four: None, tmp_path: Path) -> None:
    one, other = begun(tmp_path), begun(tmp_path)
    assert one.claim(0)
    assert not other.claim(0)
    assert other.claim(1)
    one.release()
    assert other.claim(0)
    other.write(0, result(4))
    assert not one.claim(0)


def test_a_process_that_died_holds_nothing(four: None, tmp_path: Path) -> None:
    begun(tmp_path)
    code = (
        "import os, sys; from pathlib import Path; from mitoyolo.inference import parts;"
        "parts.TILES = 4; held = parts.Parts(Path(sys.argv[1]), [0] * 10);"
        "print(held.claim(2), flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("True\n", -9)
    assert begun(tmp_path).claim(2)


def test_whoever_waits_takes_what_another_leaves(four: None, tmp_path: Path) -> None:
    leader, helper = begun(tmp_path), begun(tmp_path)
    assert helper.claim(0)
    assert helper.claim(2)
    waiting = leader.wait()
    assert next(waiting) == 1
    leader.write(1, result(4))
    helper.write(2, result(2))
    helper.release()  # without part 0
    assert next(waiting) == 0
    leader.write(0, result(4))
    assert list(waiting) == []


def test_nobody_waits_for_parts_of_its_own(four: None, tmp_path: Path) -> None:
    """It asks for the next part before it has finished the last."""
    assert list(begun(tmp_path).wait()) == [0, 1, 2]


def test_nothing_is_claimed_after_the_parts_are_removed(four: None, tmp_path: Path) -> None:
    late = begun(tmp_path)
    remove_parts(tmp_path)
    assert not late.claim(0)
    assert not (tmp_path / FOLDER).exists()


def test_nothing_is_claimed_while_the_parts_are_removed(
    four: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, remove = begun(tmp_path), module.shutil.rmtree

    def watched(path: Path, **how: bool) -> None:
        assert not late.claim(0)
        remove(path, **how)

    monkeypatch.setattr(module.shutil, "rmtree", watched)
    remove_parts(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["empty", "cut", "other tiles"])
def test_a_damaged_part_is_said(four: None, tmp_path: Path, damage: str) -> None:
    parts = begun(tmp_path)
    assert parts.claim(0)
    parts.write(0, result(3 if damage == "other tiles" else 4))
    (file,) = (tmp_path / FOLDER).glob("*.npz")
    if damage != "other tiles":
        file.write_bytes(file.read_bytes()[: {"empty": 0, "cut": 100}[damage]])
    with pytest.raises(InputError, match=r"000000\.npz: not what these tiles gave; .*--overwrite"):
        parts.read(0)


# --- shares -----------------------------------------------------------------------------------


def test_each_process_begins_elsewhere_and_sees_all() -> None:
    slides = list("abcdef")
    orders = [Share(number, 3).order(slides) for number in range(3)]
    assert [order[0] for order in orders] == ["a", "c", "e"]
    assert all(sorted(order) == slides for order in orders)


def test_whose_share_it_is() -> None:
    assert share_of(None, {}) == ALONE
    assert share_of("2/4", {"RANK": "0", "WORLD_SIZE": "9"}) == Share(1, 4, 1)
    torchrun = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    assert share_of(None, torchrun) == Share(5, 8, 1)
    assert share_of(None, torchrun).device("0,1,2,3") == "1"
    assert share_of(None, torchrun).device("cpu") == "cpu"
    with pytest.raises(OptionError, match="torchrun --nproc-per-node 2"):
        ALONE.device("0,1")


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/2"])
def test_a_share_that_is_none(text: str) -> None:
    with pytest.raises(OptionError, match="expected i/n"):
        share_of(text, {})
