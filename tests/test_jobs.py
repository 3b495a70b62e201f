"""Whose an output folder is, how far it is, and who may write it now."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import tree

from converters.errors import InputError
from mitoyolo.jobs import OF_A_JOB_WITHIN, fingerprint, open_job, start_over


def work(
    out: Path,
    *,
    command: str = "convert",
    stop: bool = False,
    overwrite: bool = False,
    resumable: bool = True,
    **arguments: Any,
) -> bool:
    """One call that writes `part` and then the index; True where there was nothing to do."""
    with open_job(
        out,
        command=command,
        arguments=arguments,
        index="index",
        overwrite=overwrite,
        resumable=resumable,
    ) as job:
        if job.finished:
            return True
        (out / "part").write_text("x")
        (out / "folder").mkdir(exist_ok=True)
        if stop:
            raise KeyboardInterrupt
        job.facts["rate"] = 3.5
        (out / "index").write_text("x")
    return False


def interrupted(out: Path, **arguments: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        work(out, stop=True, **arguments)


def test_a_finished_folder_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    assert not work(out, seed=0)
    record = json.loads((out / "run.json").read_text())
    assert record["command"] == "convert" and record["arguments"] == {"seed": 0}
    assert record["rate"] == 3.5 and record["duration_s"] >= 0
    assert "python" in record["versions"] and "start" in record
    assert work(out, seed=0)
    assert json.loads((out / "run.json").read_text()) == record


def test_an_unfinished_folder_is_continued_and_swept(tmp_path: Path) -> None:
    interrupted(tmp_path, seed=0)
    (tmp_path / "folder" / ".part-abc.png").write_text("half")
    assert not work(tmp_path, seed=0)
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == [
        "folder", "index", "part", "run.json",
    ]  # fmt: skip


def bad_input(out: Path) -> None:
    with (
        pytest.raises(InputError, match="bad"),
        open_job(out, command="convert", arguments={"seed": 0}, index="index"),
    ):
        (out / "half").write_text("x")
        raise InputError("bad")


def test_bad_input_leaves_nothing_half_written(tmp_path: Path) -> None:
    bad_input(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    bad_input(tmp_path / "empty")
    assert not list((tmp_path / "empty").iterdir())


def test_bad_input_takes_nothing_away_that_took_long(tmp_path: Path) -> None:
    for name, inner in (("kept", ("slow",)), ("taken", ("half",))):
        out = tmp_path / name
        with (
            pytest.raises(InputError, match="bad"),
            open_job(out, command="a", arguments={}, index="i", kept_by=OF_A_JOB_WITHIN),
            open_job(out / "one", command="b", arguments={}, index="i", kept_by="slow"),
        ):
            for part in inner:
                (out / "one" / part).write_text("x")
            raise InputError("bad")
    assert {path.name for path in tmp_path.rglob("*")} == {"kept", "run.json", "one", "slow"}


def test_bad_input_takes_nothing_from_an_earlier_call(tmp_path: Path) -> None:
    interrupted(tmp_path, seed=0)
    bad_input(tmp_path)
    assert (tmp_path / "part").exists()


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"seed": 1}, r"holds {state} work of `convert` with another seed; .*--overwrite"),
        ({"seed": 0, "tile": 5}, r"with another tile"),
    ],
)
def test_another_call_is_refused(
    tmp_path: Path, finished: bool, call: dict[str, Any], message: str
) -> None:
    if finished:
        work(tmp_path, seed=0)
    else:
        interrupted(tmp_path, seed=0)
    state = "finished" if finished else "unfinished"
    with pytest.raises(InputError, match=message.format(state=state)):
        work(tmp_path, **call)
    (tmp_path / "old").write_text("")
    assert not work(tmp_path, overwrite=True, **call)
    assert not (tmp_path / "old").exists() and (tmp_path / "index").exists()


def test_inputs_in_the_folder_are_never_overwritten(tmp_path: Path) -> None:
    work(tmp_path, seed=0)
    (tmp_path / "mine.csv").write_text("x")
    before = tree(tmp_path)
    for inner in (tmp_path / "mine.csv", tmp_path / "gone.csv", tmp_path):
        with (
            pytest.raises(InputError, match="lie in each other"),
            open_job(tmp_path, command="convert", arguments={}, index="index", overwrite=True,
                     reads=[None, inner]),
        ):  # fmt: skip
            pass
    assert tree(tmp_path) == before


def test_a_command_without_the_option_does_not_name_it(tmp_path: Path) -> None:
    work(tmp_path, seed=0)
    with (
        pytest.raises(InputError, match=r"with another seed; give a new folder$"),
        open_job(tmp_path, command="convert", arguments={"seed": 1}, index="index"),
    ):
        pass


@pytest.mark.parametrize("overwrite", [True, False])
def test_another_command_s_folder_is_never_touched(tmp_path: Path, overwrite: bool) -> None:
    work(tmp_path, seed=0)
    before = tree(tmp_path)
    message = r"holds the work of `convert`, and this is `tile`; give a new folder$"
    with pytest.raises(InputError, match=message):
        work(tmp_path, command="tile", seed=0, overwrite=overwrite)
    with pytest.raises(InputError, match=message):
        start_over(tmp_path, "tile")
    assert tree(tmp_path) == before


def test_a_command_that_cannot_continue_says_so(tmp_path: Path) -> None:
    interrupted(tmp_path, resumable=False)
    with pytest.raises(InputError, match="an unfinished `convert` stands here"):
        work(tmp_path, resumable=False)


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("name", ["thesis.docx", ".part-mine"])
def test_a_folder_that_is_not_ours_is_never_touched(
    tmp_path: Path, overwrite: bool, name: str
) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    (tmp_path / name).write_text("years")
    with pytest.raises(InputError, match=r"not empty and has no run\.json"):
        work(tmp_path, overwrite=overwrite)
    assert (tmp_path / name).read_text() == (tmp_path / "thesis.txt").read_text() == "years"


def test_killed_before_run_json(tmp_path: Path) -> None:
    (tmp_path / ".part-x.json").write_text("{")
    assert not work(tmp_path)
    assert not (tmp_path / ".part-x.json").exists()


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_damaged_run_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json: is damaged"):
        work(tmp_path)
    assert not work(tmp_path, overwrite=True)


def test_killed_while_overwriting_leaves_an_unfinished_folder_that_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(tmp_path, seed=0)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path, seed=0, overwrite=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder", "run.json"]


def test_two_at_once(tmp_path: Path) -> None:
    with (
        open_job(tmp_path, command="c", arguments={}, index="i"),
        pytest.raises(InputError, match="another mitoyolo is writing this folder; wait"),
    ):
        work(tmp_path)


def test_a_file_in_the_folder_s_place(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="out: is a file, expected a folder"):
        work(tmp_path / "out")


def test_a_fingerprint_sees_change_and_not_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_text("1")
    first = fingerprint([path])
    monkeypatch.chdir(tmp_path)
    assert fingerprint([Path("a")]) == fingerprint([Path("../") / tmp_path.name / "a"]) == first
    os.utime(path, ns=(1, 1))
    assert fingerprint([path]) != first
    path.write_text("12")
    os.utime(path, ns=(1, 1))
    assert len({first, fingerprint([path]), fingerprint([])}) == 3
