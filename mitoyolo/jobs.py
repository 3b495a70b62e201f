"""The discipline of an output folder: whose it is, how far it is, and who may write it now.

A job's folder is built in place. ``run.json`` is written first and says which call owns the
folder; the index (``dataset.yaml``, ``summary.json``, ...) is written last and means: finished.
The same call continues an unfinished folder; any other call is an error unless it overwrites.
Where bad input stops a call, what it began is taken away again: mended input is another input, so
nothing could continue it. What took long is kept: the call says which files tell.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from converters.errors import InputError
from converters.files import PART, read_json, write_json
from mitoyolo import __version__

RUN_FILE = "run.json"
OF_A_JOB_WITHIN = f"*/**/{RUN_FILE}"
"""A pattern of what the jobs within a job's folder have left; those that bad input stopped take
their own away."""

_REPORTED = ("numpy", "opencv-python", "torch", "torchvision", "ultralytics", "openvino")


class HeldError(InputError):
    """Another process is writing a folder."""


@dataclass(slots=True)
class Job:
    """An output folder held by this process.

    Attributes
    ----------
    out : Path
        The folder.
    finished : bool
        The same call already finished it: there is nothing to do.
    facts : dict
        What :func:`open_job` adds to ``run.json`` at the end; filled by the work.
    """

    out: Path
    finished: bool
    facts: dict[str, Any]


@contextmanager
def open_job(
    out: Path,
    *,
    command: str,
    arguments: dict[str, Any],
    index: str,
    overwrite: bool | None = None,
    resumable: bool = True,
    free: Collection[str] = (),
    kept_by: str | None = None,
    reads: Iterable[Path | None] = (),
) -> Iterator[Job]:
    """Hold ``out`` for one call of ``command``; write ``run.json`` before and after.

    Parameters
    ----------
    out : Path
        The folder to build; made when absent.
    command : str
        Its name, for ``run.json`` and messages.
    arguments : dict
        Everything that decides the result, as JSON types, the state of the input included
        (:func:`fingerprint`).
    index : str
        The file whose presence means that the folder is finished; the work writes it last.
    overwrite : bool, optional
        Empty a folder that this command has begun or made; another's never. None: the command has
        no such option.
    resumable : bool
        Whether the same call continues an unfinished folder; else that is an error that names
        ``--resume``.
    free : collection of str
        Arguments that are noted and may differ: where things lie, say, if what they are is an
        argument of its own.
    kept_by : str, optional
        A pattern of files in the folder; once there is one, bad input takes nothing away.
    reads : iterable of Path
        Inputs, which may not lie in ``out``: to overwrite it would take them away.

    Raises
    ------
    HeldError
        Another process holds the folder.
    InputError
        It belongs to another call or command; or it holds files that no job of ours made.
    """
    if out.exists() and not out.is_dir():
        raise InputError("is a file, expected a folder to write", file=out)
    check_spared(out, filter(None, reads))
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        _claim(out, command, arguments, index, overwrite, resumable, free)
        job = Job(out, (out / index).exists(), {})
        if job.finished:
            yield job
            return
        begun_before = (out / RUN_FILE).exists()
        started = time.monotonic()
        record = {
            "command": command,
            "arguments": arguments,
            "argv": sys.argv[1:],
            "versions": versions(),
            "start": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_json(out / RUN_FILE, record)
        try:
            yield job
        except InputError:
            if not (begun_before or (kept_by and any(out.glob(kept_by)))):
                _empty(out)
                if made:
                    out.rmdir()
            raise
        record |= {"duration_s": round(time.monotonic() - started, 1)} | job.facts
        write_json(out / RUN_FILE, record)


def _claim(
    out: Path,
    command: str,
    arguments: dict[str, Any],
    index: str,
    overwrite: bool | None,
    resumable: bool,
    free: Collection[str],
) -> None:
    run_file = out / RUN_FILE
    if not run_file.exists():
        if all(entry.name.startswith(PART) for entry in out.iterdir()):
            _sweep(out)  # empty, or killed while it wrote its first file
            return
        raise InputError(
            f"the folder is not empty and has no {RUN_FILE}, so it is not ours to write",
            file=out,
            fix="give a new folder",
        )
    owner = _owner(run_file, command, bool(overwrite))
    if overwrite:
        _empty(out)
        return
    finished = (out / index).exists()
    before = owner.get("arguments")
    others = differing(before if isinstance(before, dict) else {}, arguments, free)
    if not others and (finished or resumable):
        _sweep(out)
        return
    if not others:
        raise InputError(
            f"an unfinished `{command}` stands here",
            file=out,
            fix="add --resume to go on with it, or --overwrite to start again",
        )
    state = "finished" if finished else "unfinished"
    raise InputError(
        f"holds {state} work of `{command}` with another {', '.join(others)}",
        file=out,
        fix="give a new folder" + ("" if overwrite is None else ", or add --overwrite"),
    )


def _owner(run_file: Path, command: str, overwrite: bool) -> dict[str, Any]:
    """What ``run.json`` says of a folder of ``command``; a damaged one may be overwritten."""
    try:
        owner = read_json(run_file)
    except InputError:
        owner = None
    if not isinstance(owner, dict):
        if overwrite:
            return {}
        raise InputError("is damaged", file=run_file, fix="give a new folder, or add --overwrite")
    if (theirs := owner.get("command")) != command:
        raise InputError(
            f"holds the work of `{theirs}`, and this is `{command}`",
            file=run_file.parent,
            fix="give a new folder",
        )
    return owner


def differing(before: dict[str, Any], now: dict[str, Any], free: Collection[str] = ()) -> list[str]:
    """Names of the arguments that differ; within a dict, of its keys."""
    found = []
    for name in sorted((before.keys() | now.keys()) - set(free)):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{name}.{key}" for key in differing(old, new)]
        elif old != new:
            found.append(name)
    return found


def _sweep(out: Path) -> None:
    """Remove what a killed run was writing; the lock says that nobody writes now."""
    for leftover in list(out.rglob(f"{PART}*")):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


def _empty(out: Path) -> None:
    """Remove everything: the index among the files first, so that a half-emptied folder is an
    unfinished one, and ``run.json`` last, so that it stays ours."""

    def turn(entry: Path) -> tuple[bool, bool]:
        return (entry.name == RUN_FILE, entry.is_dir() and not entry.is_symlink())

    for entry in sorted(out.iterdir(), key=turn):
        if turn(entry)[1]:
            shutil.rmtree(entry)
        else:
            entry.unlink()


def check_apart(out: Path, read: Iterable[Path]) -> None:
    """Refuse an output folder that lies in an input folder, or an input folder in it.

    Raises
    ------
    InputError
        What is written would be read by the next call, or what is read be overwritten.
    """
    for path in read:
        if _within(out, path) or _within(path, out):
            raise _in_each_other(out, path)


def check_spared(out: Path, read: Iterable[Path]) -> None:
    """Refuse an output folder in which an input lies: to overwrite it would take that away.

    Raises
    ------
    InputError
        One does.
    """
    for path in read:
        if _within(path, out):
            raise _in_each_other(out, path)


def _within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _in_each_other(out: Path, path: Path) -> InputError:
    return InputError(
        f"output and input ({path}) lie in each other",
        file=out,
        fix="give another folder to write",
    )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold an advisory lock on the folder itself: no lock file stays, a dead holder frees it.

    Raises
    ------
    HeldError
        Another process holds it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HeldError(
                "another mitoyolo is writing this folder",
                file=folder,
                fix="wait for it, or give a new folder",
            ) from None
        yield
    finally:
        os.close(handle)


def content_hash(path: Path) -> str:
    """A short hash of a file's bytes, wherever it lies."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def fingerprint(paths: Iterable[Path]) -> str:
    """A short hash of the files' absolute names, sizes and times: has the input changed since?"""
    digest = hashlib.sha256()
    for path in paths:
        state = path.stat()
        line = f"{path.resolve()}\0{state.st_size}\0{state.st_mtime_ns}\n"
        digest.update(os.fsencode(line))
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions of mitoyolo, Python and the packages that decide results, without importing."""
    found = {"mitoyolo": __version__, "python": sys.version.split()[0]}
    for name in _REPORTED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def start_over(out: Path, command: str) -> None:
    """Empty a folder that ``command`` has begun, before processes are started to write it.

    Raises
    ------
    InputError
        It is another command's.
    """
    if (out / RUN_FILE).exists():
        with locked(out):
            _owner(out / RUN_FILE, command, overwrite=True)
            _empty(out)
