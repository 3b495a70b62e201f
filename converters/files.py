"""Files that appear whole or not at all, and text read with errors that name the place."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

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
    handle, name = tempfile.mkstemp(prefix=PART, suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o666 & ~_UMASK)  # mkstemp gives 0600; users share data folders
        temporary.replace(path)
    except OSError as error:
        if error.filename in (None, name, temporary):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


PART = ".part-"
"""How the name of a file begins while it is written."""


def _read_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _read_umask()  # once, at import: reading it means setting it, which is not thread-safe


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically, making its folder."""
    write_with(path, lambda temporary: _write_all(temporary, data))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 ``text`` with Unix line ends to ``path`` atomically."""
    write_bytes(path, text.encode())


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
    """Read UTF-8 text, with or without a byte-order mark.

    Raises
    ------
    InputError
        The file is missing, not readable or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError("no such file", file=path) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 text (byte {error.start})", file=path, fix="save the file as UTF-8"
        ) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=path) from None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        The text is not JSON; the line and column are named.
    """
    try:
        return json.loads(read_text(path))
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


def read_rows(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Read a table with a header that has at least ``columns``: the number of each row's last
    line, for messages, and its cells by column. Blank lines are no rows.

    Raises
    ------
    InputError
        A column is missing, a row has another number of cells than the header, or a quote is
        not closed.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
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
