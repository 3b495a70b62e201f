"""Files that appear whole or not at all, and text read with errors that name the place."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from defusedxml import DefusedXmlException, ElementTree

from converters.errors import InputError


def write_with(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it over ``path``.

    The temporary name keeps the suffix, since image writers choose the format by it.

    Raises
    ------
    OSError
        A full disk, a missing right, ...; its ``filename`` is ``path``, not the temporary name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _part(path)
    try:
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        if error.filename in (None, str(temporary), temporary):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_folder(folder: Path, files: Iterable[tuple[str, str]]) -> None:
    """Write many small text files, name and text, as a folder that appears whole or not at all.

    One rename serves them all, which is several times as fast as one each. A folder that is there
    was written whole, and is left as it is.
    """
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = _part(folder)
    try:
        temporary.mkdir()
        inside = os.open(temporary, os.O_RDONLY)
        try:
            for name, text in files:
                _write_at(inside, name, text.encode())
        finally:
            os.close(inside)
        temporary.replace(folder)
    except OSError as error:
        error.filename, error.filename2 = str(folder), None
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_at(folder: int, name: str, data: bytes) -> None:
    """Write a new file in an open folder: half the time that a path and a file object take."""
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
    try:
        while data:
            data = data[os.write(handle, data) :]
    finally:
        os.close(handle)


def _part(path: Path) -> Path:
    """A temporary name beside ``path`` that nobody else uses."""
    return path.with_name(f"{PART}{os.urandom(8).hex()}{path.suffix}")


PART = ".part-"
"""How the name of a file begins while it is written."""


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically, making its folder."""
    write_with(path, lambda temporary: _write_all(temporary, data))


def write_text(path: Path, text: str | Iterable[str]) -> None:
    """Write ``text``, whole or in pieces, as UTF-8 with Unix line ends to ``path`` atomically.

    A lone surrogate, as JSON text may hold, is no UTF-8 and is written escaped.
    """
    pieces = (text,) if isinstance(text, str) else text

    def write(temporary: Path) -> None:
        with temporary.open("wb", buffering=1 << 20) as handle:
            for piece in pieces:
                handle.write(piece.encode("utf-8", "backslashreplace"))

    write_with(path, write)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON; NaN, which JSON does not have, is refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table with a header; floats in their shortest exact form, None as an empty cell."""

    def write(temporary: Path) -> None:
        # a lone surrogate, as JSON text may hold, is no UTF-8 and is written escaped
        with temporary.open("w", encoding="utf-8", newline="", errors="backslashreplace") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)

    write_with(path, write)


def copy_file(source: Path, target: Path) -> None:
    """Copy the bytes of ``source`` to ``target`` atomically, making its folder."""

    def copy(temporary: Path) -> None:
        shutil.copyfile(source, temporary)

    write_with(target, copy)


def _write_all(path: Path, data: bytes) -> None:
    with path.open("wb") as handle:
        handle.write(data)


def read_text(path: Path) -> str:
    """Read UTF-8 text, with or without a byte-order mark, with Unix line ends.

    Raises
    ------
    InputError
        The file is missing, not readable or not UTF-8.
    """
    try:
        text = _read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 text (byte {error.start})", file=path, fix="save the file as UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError("no such file", file=path) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=path) from None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        The text is not JSON; the line and column are named.
    """
    text = read_text(path)  # outside: its InputError is a ValueError too
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"not valid JSON ({error.msg})",
            file=path,
            where=f"line {error.lineno}, column {error.colno}",
            fix="export the file again; it may be cut off",
        ) from None
    except ValueError:
        raise InputError("a whole number of thousands of digits", file=path) from None
    except RecursionError:
        raise InputError("JSON nested too deeply", file=path) from None


def read_xml(path: Path) -> Element:
    """The root element of an XML file; one that declares entities is refused unread.

    Raises
    ------
    InputError
        The file is missing, not well-formed, or declares entities (which can grow without limit).
    """
    try:
        root: Element = ElementTree.fromstring(_read_bytes(path))
    except ElementTree.ParseError as error:
        line, column = error.position
        raise InputError(
            f"not valid XML ({str(error).partition(':')[0]})",
            file=path,
            where=f"line {line}, column {column + 1}",
            fix="export the file again; it may be cut off",
        ) from None
    except DefusedXmlException:
        raise InputError("XML with entities of its own, which are not read", file=path) from None
    except (ValueError, LookupError) as error:
        raise InputError(f"not readable XML ({error})", file=path) from None
    return root


def delimiter_of(text: str) -> str:
    """What parts the cells of a table: comma, semicolon or tab, whatever its first row has most."""
    first = text.lstrip().partition("\n")[0]
    return max(",;\t", key=first.count)


def read_rows(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Read a table with a header that has at least ``columns``: the number of each row's last
    line, for messages, and its cells by column. Blank lines are no rows; cells may be parted by
    semicolons or tabs, as spreadsheets do where the comma is decimal.

    Raises
    ------
    InputError
        A column is missing, a row has another number of cells than the header, or a quote is
        not closed.
    """
    text = read_text(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text), strict=True)
    try:
        header = next(reader, [])
        missing = [name for name in columns if name not in header]
        if missing:
            raise InputError(
                f"no column {', '.join(missing)} (found: {', '.join(header) or 'an empty file'})",
                file=path,
                where="line 1",
            )
        rows = []
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise InputError(
                    f"{len(row)} cells, expected {len(header)}",
                    file=path,
                    where=f"line {reader.line_num}",
                )
            rows.append((reader.line_num, dict(zip(header, row, strict=True))))
    except csv.Error as error:
        raise InputError(
            f"not a CSV row ({error})", file=path, where=f"line {reader.line_num}"
        ) from None
    return rows


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of :func:`read_rows` without their line numbers."""
    return [row for _, row in read_rows(path, columns)]
