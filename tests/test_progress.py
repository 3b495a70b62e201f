"""What long work says on stderr: a bar on a terminal, lines now and then elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from mitoyolo.progress import FOLLOWED, bar, note, set_quiet, track


@dataclass
class Clock:
    """The time that bars see."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("rich.console.monotonic", clock)
    return clock


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes stderr for a terminal
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    yield
    set_quiet(False)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


# --- no terminal ------------------------------------------------------------------------------


def test_without_a_terminal_a_bar_is_one_line(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with bar("reading", unit="images", total=10) as progress:
        clock.now += 2
        progress.step(5)
        progress.step(0, "half")
    assert said(capsys) == ["reading: 5 images, 2.5 images/s"]


def test_nothing_done_in_no_time_has_no_rate(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with bar("reading", unit="images"):
        pass
    assert list(track([1, 2], "writing", unit="tiles")) == [1, 2]
    assert said(capsys) == ["reading: 0 images", "writing: 2 tiles"]


def test_lines_are_ten_seconds_apart_and_the_last_is_always_said(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with bar("training", unit="tiles", total=1000) as progress:
        progress.line("begun")
        for k in range(1, 9):
            clock.now += 4
            progress.step(40)
            progress.line(f"epoch {k}/25")
        assert said(capsys) == [
            "begun",
            "epoch 3/25, 10.0 tiles/s, 0:01:28 left",
            "epoch 6/25, 10.0 tiles/s, 0:01:16 left",
        ]
    assert said(capsys) == [
        "epoch 8/25, 10.0 tiles/s, 0:01:08 left",
        "training: 320 tiles, 10.0 tiles/s",
    ]


def test_who_follows_hears_of_every_bar_each_second(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLLOWED, "1")
    with bar("tiling", unit="tiles", total=8) as progress:
        for _ in range(8):
            clock.now += 0.5
            progress.step()
    assert said(capsys) == [
        "tiling: 1 of 8 tiles, 2.0 tiles/s, 0:00:04 left",
        "tiling: 3 of 8 tiles, 2.0 tiles/s, 0:00:02 left",
        "tiling: 5 of 8 tiles, 2.0 tiles/s, 0:00:02 left",
        "tiling: 7 of 8 tiles, 2.0 tiles/s, 0:00:00 left",
        "tiling: 8 of 8 tiles, 2.0 tiles/s",
        "tiling: 8 tiles, 2.0 tiles/s",
    ]


def test_a_line_that_was_said_is_not_said_again(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with bar("training", unit="tiles") as progress:
        clock.now += 1
        progress.step(3)
        progress.line("epoch 1")
    assert said(capsys) == ["epoch 1, 3.0 tiles/s", "training: 3 tiles, 3.0 tiles/s"]


def test_the_last_line_is_said_when_the_work_fails(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        bar("training", unit="tiles") as progress,
    ):
        progress.line("epoch 1")
        progress.line("epoch 2")
        raise KeyboardInterrupt
    assert said(capsys) == ["epoch 1", "epoch 2"]


def test_what_was_done_before_spoils_neither_rate_nor_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with bar("training", unit="tiles", total=1_000_000, completed=900_000) as progress:
        clock.now += 10
        progress.line("resumed")
        progress.step(5)
        clock.now += 10
        progress.line("epoch 10/10")
    assert said(capsys) == [
        "resumed",
        "epoch 10/10, 0.2 tiles/s, 4 days, 15:06:20 left",
        "training: 900005 tiles, 0.2 tiles/s",
    ]


@pytest.mark.parametrize("done", [10, 12])
def test_no_time_is_left_at_the_end_or_beyond(
    clock: Clock, capsys: pytest.CaptureFixture[str], done: int
) -> None:
    with bar("training", unit="tiles", total=10) as progress:
        clock.now += 1
        progress.step(done)
        progress.line("epoch 1/1")
    assert said(capsys)[0] == f"epoch 1/1, {done}.0 tiles/s"


def test_quiet_silences_all(capsys: pytest.CaptureFixture[str], terminal: None) -> None:
    set_quiet(True)
    note("hello")
    with bar("training", unit="tiles") as progress:
        progress.step()
        progress.line("epoch 1")
    assert said(capsys) == []


# --- a terminal -------------------------------------------------------------------------------


def test_on_a_terminal_the_line_stands_behind_the_bar(
    clock: Clock, terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with bar("training", unit="tiles", total=100, completed=40) as progress:
        clock.now += 2
        progress.step(20)
        progress.line("epoch 6/10 [b]")
    shown = capsys.readouterr().err
    last = shown.rpartition("training")[2]
    for part in ("60/100", "10.0 tiles/s", "0:00:04 left", "epoch 6/10 [b]"):
        assert part in last
    assert "epoch 6/10 [b], " not in shown  # no line of its own
