"""Files that appear whole or not at all, and text with errors that name the place."""

from __future__ import annotations

import errno
import json
import zlib
from collections.abc import Iterator
from encodings.aliases import aliases
from pathlib import Path

import pytest
from conftest import picture

from converters.errors import InputError
from converters.files import (
    PART,
    read_csv,
    read_json,
    read_rows,
    read_text,
    read_xml,
    write_csv,
    write_folder,
    write_json,
    write_text,
    write_with,
)
from converters.images import find_files, image_size, is_turned


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


def test_a_folder_of_files_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "labels" / "train"
    seen: list[list[str]] = []

    def files(fails: bool) -> Iterator[tuple[str, str]]:
        yield "a.txt", "µ\n"
        seen.append([path.name for path in folder.parent.iterdir()])
        if fails:
            raise OSError(errno.ENOSPC, "No space left on device")
        yield "b.txt", ""

    with pytest.raises(OSError) as caught:
        write_folder(folder, files(fails=True))
    assert caught.value.filename == str(folder)
    assert not any(folder.parent.iterdir())
    write_folder(folder, files(fails=False))
    assert [path.read_text() for path in sorted(folder.iterdir())] == ["µ\n", ""]
    assert all(len(names) == 1 and names[0].startswith(PART) for names in seen)
    write_folder(folder, [("a.txt", "new")])  # written whole before: left as it is
    assert (folder / "a.txt").read_text() == "µ\n"


def test_an_empty_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "none", [])
    assert (tmp_path / "none").is_dir() and not any((tmp_path / "none").iterdir())


# --- XML --------------------------------------------------------------------------------------


def xml(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))


@pytest.mark.parametrize(
    "content",
    [
        f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a>&l9;</a>',
        f'<!DOCTYPE a [<!ENTITY l0 "{"ha" * 10_000}">]><a x="{"&l0;" * 10_000}"/>',
        '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>',
        '<!DOCTYPE a [<!ENTITY e SYSTEM "http://127.0.0.1:9/x">]><a>&e;</a>',
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]><a/>',
        '<!DOCTYPE a [<!ENTITY never "used">]><a/>',
        '<!DOCTYPE a [<!NOTATION n SYSTEM "n"><!ENTITY e SYSTEM "e" NDATA n>]><a/>',
    ],
)
def test_xml_with_entities_is_refused_unread(tmp_path: Path, content: str) -> None:
    path = xml(tmp_path / "a.xml", content)
    with pytest.raises(InputError, match=r"a\.xml: XML with entities of its own") as caught:
        read_xml(path)
    assert "root:" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<a>\u00b5</a>", "\u00b5"),
        (b"\xef\xbb\xbf<a>\xc2\xb5</a>", "\u00b5"),
        ('<?xml version="1.0" encoding="utf-16"?><a>\u00b5</a>'.encode("utf-16"), "\u00b5"),
        ("\ufeff<a>\u00b5</a>".encode("utf-16-be"), "\u00b5"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?><a>\xb5</a>', "\u00b5"),
        (b'<?xml version="1.0" encoding="windows-1252"?><a>\x80</a>', "\u20ac"),
        ("<!DOCTYPE a><a>&lt;&#181;&amp;</a>", "<\u00b5&"),
        ('<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><a>x</a>', "x"),  # never fetched
        ("<!DOCTYPE a [<!ELEMENT a (#PCDATA)><!ATTLIST a x CDATA 'y'>]><a>x</a>", "x"),
        ("<a><![CDATA[<b>&]]></a>", "<b>&"),
        ("<a><!-- no --><?no no?>x</a>\n\n", "x"),
    ],
)
def test_xml_of_many_encodings(tmp_path: Path, content: bytes | str, text: str) -> None:
    root = read_xml(xml(tmp_path / "a.xml", content))
    assert (root.tag, root.text) == ("a", text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "",
            r"a\.xml, line 1, column 1: not valid XML \(no element found\); export the file again",
        ),
        (" \n", "line 2, column 1: not valid XML"),
        ("<a>\n<b x='1'>", "line 2, column 10: not valid XML"),
        ("<a>\n<b", r"line 2, column 1: not valid XML \(unclosed token\)"),
        ("<a></b>", r"line 1, column 6: not valid XML \(mismatched tag\)"),
        ("<a/><a/>", r"line 1, column 5: not valid XML \(junk after document element\)"),
        ("{}", "line 1, column 1: not valid XML"),
        ("<a>&nbsp;</a>", "line 1, column 4: not valid XML"),
        ('<!DOCTYPE a SYSTEM "a.dtd"><a>&nbsp;</a>', r"not valid XML \(undefined entity &nbsp;\)"),
        ("<a x='1' x='2'/>", "line 1, column 10: not valid XML"),
        ("<a>\x01</a>", "line 1, column 4: not valid XML"),
        ("<a>&#1;</a>", "line 1, column 4: not valid XML"),
        (b"<a>\xff</a>", "line 1, column 4: not valid XML"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "line 1, column 1: not valid XML"),
        (b"\x00" * 100, "line 1, column 1: not valid XML"),
        (b"SQLite format 3\x00" * 100, "line 1, column 1: not valid XML"),
        ("<a>\u00b5</a>".encode("utf-16")[:-3], "not valid XML"),
        ("<a/>".encode("utf-16-le")[1:], "not valid XML"),
        ('<?xml version="1.0" encoding="utf-8"?><a/>'.encode("utf-16"), "not valid XML"),
        ('<?xml version="1.0" encoding="utf-16"?><a/>', "not valid XML"),
        ('<?xml version="1.0" encoding="big5"?><a/>', r"a\.xml: not readable XML"),
        ('<?xml version="1.0" encoding="rot13"?><a/>', r"a\.xml: not readable XML"),
        ('<?xml version="1.0" encoding="no-such"?><a/>', "not (valid|readable) XML"),
    ],
)
def test_bad_xml_is_one_error_with_its_place(
    tmp_path: Path, content: bytes | str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_xml(xml(tmp_path / "a.xml", content))
    assert "\n" not in str(caught.value)


def test_no_declared_encoding_crashes_the_reader(tmp_path: Path) -> None:
    for name in sorted({*aliases, *aliases.values(), "undefined", "idna", "punycode", "mbcs"}):
        declared = f'<?xml version="1.0" encoding="{name.replace("_", "-")}"?><a>\xb5</a>'
        path = xml(tmp_path / "a.xml", declared.encode("latin-1"))
        try:
            assert read_xml(path).tag == "a"
        except InputError as error:
            assert error.file == path


def test_a_missing_xml_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.xml: no such file"):
        read_xml(tmp_path / "a.xml")
    with pytest.raises(InputError, match="cannot be read"):
        read_xml(tmp_path)


def test_xml_of_any_depth_and_width(tmp_path: Path) -> None:
    deep = read_xml(xml(tmp_path / "deep.xml", "<a>" * 200_000 + "</a>" * 200_000))
    assert len(deep) == 1
    del deep  # is freed without recursion as well
    wide = read_xml(xml(tmp_path / "wide.xml", f'<a x="{"9" * 20_000_000}"/>'))
    assert len(wide.attrib["x"]) == 20_000_000
    many = " ".join(f'x{i}="{i}"' for i in range(50_000))
    assert len(read_xml(xml(tmp_path / "many.xml", f"<a {many}/>")).attrib) == 50_000


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("turn", [1, 6])
def test_a_turned_png_is_found_without_its_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: bool, turn: int
) -> None:
    exif = b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0" + bytes([turn]) + bytes(6)
    chunk = b"eXIf" + exif
    chunk = len(exif).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    path = picture(tmp_path / "a.png")
    data = path.read_bytes()
    at = len(data) - 12 if behind else 33  # before the last chunk, or after the first
    path.write_bytes(data[:at] + chunk + data[at:])

    def load(image: object) -> None:
        raise AssertionError("the pixels were decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    assert is_turned(path) == (turn == 6)
