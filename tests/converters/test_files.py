"""Files that appear whole or not at all, and text with errors that name the place."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from conftest import picture

from converters.errors import InputError
from converters.files import (
    read_csv,
    read_json,
    read_rows,
    read_text,
    write_csv,
    write_json,
    write_text,
    write_with,
)
from converters.images import find_files, image_size


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"a\.json") as caught:
        write_with(path, fail)
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write_with(tmp_path / "a", lambda _: (tmp_path / "source").read_bytes() and None)
    assert caught.value.filename == str(tmp_path / "source")


def test_a_written_file_is_readable_by_the_group(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    write_text(tmp_path / "deep" / "ours", "")
    assert (tmp_path / "deep" / "ours").stat().st_mode == plain.stat().st_mode


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": [1,\n2', r"a\.json, line 2, column 2: not valid JSON"),
        ("", r"a\.json, line 1, column 1: not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "thousands of digits"),
    ],
)
def test_bad_json_is_one_error_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_json(path)


def test_text_with_a_byte_order_mark_and_without(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbfx\r\n")
    assert read_text(path) == "x\n"
    path.write_bytes(b"x\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        read_text(path)
    with pytest.raises(InputError, match="no such file"):
        read_text(tmp_path / "b")


def test_a_table_comes_back_as_it_went(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_csv(
        path, ["x", "note"], [(0.1, 'a "b", c'), (1e-7, None), (3, "two\nlines\x85"), (4, "")]
    )
    assert [(row["x"], row["note"]) for row in read_csv(path, ["x"])] == [
        ("0.1", 'a "b", c'),
        ("1e-07", ""),
        ("3", "two\nlines\x85"),
        ("4", ""),
    ]
    assert [line for line, _ in read_rows(path, ["x"])] == [2, 3, 5, 6]


def test_a_lone_surrogate_is_written_escaped(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["x"], [(json.loads('"\\ud800"'),)])
    assert (tmp_path / "a.csv").read_text() == "x\n\\ud800\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1: no column x \(found: an empty file\)"),
        ("y\n1\n", r"line 1: no column x \(found: y\)"),
        ("x,y\n1,2\n\n3\n", "line 4: 1 cells, expected 2"),
        ('x,y\n"1,2\n', "line 2: not a CSV row"),
    ],
)
def test_a_damaged_table(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_csv(path, ["x"])


def test_find_files_follows_links_once_and_skips_what_is_hidden(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    for path in (root / "b" / "2.PNG", root / "a.png", root / ".x.png", root / ".git" / "c.png"):
        picture(path.with_suffix(".png")).rename(path)
    picture(other / "z.png")
    (root / "loop").symlink_to(root)
    (root / "itself.png").symlink_to(root / "itself.png")
    (root / "linked").symlink_to(other)
    (root / "folder.png").mkdir()
    names = [str(path.relative_to(root)) for path in find_files(root, (".png",))]
    assert names == ["a.png", "b/2.PNG", "linked/z.png"]


def test_image_size(tmp_path: Path) -> None:
    assert image_size(picture(tmp_path / "a.jpg", 30, 20)) == (30, 20)
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(InputError, match=r"b\.png: not a readable image"):
        image_size(tmp_path / "b.png")
