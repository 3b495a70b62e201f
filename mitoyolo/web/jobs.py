"""Work in the background: slides cut and searched, trainings. Each is a list of commands.

The tables say what is to be done, so that neither the end of the server nor of a command loses
anything: the commands go on where they were when they are called again.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any

from sqlalchemy import Update, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from converters.errors import InputError
from mitoyolo.progress import FOLLOWED
from mitoyolo.web import audit
from mitoyolo.web.access import ApiError
from mitoyolo.web.models import Job, JobState, Slide, User, now
from mitoyolo.web.settings import Settings

LOOK = 0.25
"""Seconds between two looks at what runs, and at what waits."""

PATIENCE = 10.0
"""Seconds that a command has for its end when it is asked to."""

_log = logging.getLogger(__name__)

LONGEST = 500
"""Characters of a message."""

LOG = "log.txt"

_TAIL = 4096
"""Bytes of the log that may hold its last line."""

Command = list[str]


def _nothing(db: Session, settings: Settings, job: Job) -> None:
    """Nothing to do."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job.

    Attributes
    ----------
    commands : callable
        What is run, one after the other; called again when the job is gone on with. May write to
        the job's folder.
    finished, failed : callable
        What follows in the tables, in the transaction that ends the job; ``job.message`` says why
        it failed, or that it was stopped.
    """

    commands: Callable[[Session, Settings, Job], Sequence[Command]]
    finished: Callable[[Session, Settings, Job], None] = _nothing
    failed: Callable[[Session, Settings, Job], None] = _nothing


Kinds = Mapping[str, Kind]


def mitoyolo(*arguments: object) -> Command:
    """A command of ours."""
    return [sys.executable, "-m", "mitoyolo", *map(str, arguments)]


def folder_of(settings: Settings, job: Job) -> Path:
    """Where a job's log and results stand."""
    return settings.jobs.resolve() / str(job.id)


def submit(db: Session, kind: str, user: User, slide: Slide | None, options: dict[str, Any]) -> Job:
    """Have something done when the jobs before it are."""
    job = Job(
        kind=kind,
        slide_id=slide.id if slide else None,
        options=options,
        state=JobState.WAITING,
        message="",
        created_by=user.id,
    )
    db.add(job)
    db.flush()
    audit.record(db, user, "job.submit", f"job {job.id}", kind=kind, slide=job.slide_id, **options)
    return job


def stop(db: Session, settings: Settings, user: User, job: Job, kinds: Kinds) -> bool:
    """End a job that waits or runs; False, and nothing happens, where it has ended.

    The runner sees it within :data:`LOOK`.
    """
    message = f"stopped by {user.name}"
    if not _end(db, job.id, JobState.STOPPED, message, (JobState.WAITING, JobState.RUNNING)):
        return False
    db.refresh(job)
    kinds[job.kind].failed(db, settings, job)
    audit.record(db, user, "job.stop", f"job {job.id}")
    return True


def _end(db: Session, job: int, state: JobState, message: str, before: Sequence[JobState]) -> bool:
    """End a job that is in one of some states; whether it was."""
    ended = update(Job).where(Job.id == job, Job.state.in_(before))
    return _changed(db, ended.values(state=state, message=message, ended_at=now()))


def _changed(db: Session, statement: Update) -> bool:
    """Whether there was the row that a statement changes: the test and the change are one."""
    result = db.execute(statement)
    assert isinstance(result, CursorResult)
    return result.rowcount == 1


class Runner:
    """The thread that does the jobs, one at a time, the oldest first.

    One server has a folder, and with it one runner: :func:`mitoyolo.web.serve.serve` sees to it.

    Parameters
    ----------
    kinds : mapping
        Name -> kind, as :data:`mitoyolo.web.kinds.KINDS`.
    """

    def __init__(
        self,
        settings: Settings,
        sessions: sessionmaker[Session],
        kinds: Kinds,
    ) -> None:
        self._settings, self._sessions, self._kinds = settings, sessions, kinds
        self._ending = Event()
        self._thread = Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin; what a server that was killed had begun is gone on with."""
        self._thread.start()

    def stop(self) -> None:
        """End what runs, to be gone on with at the next start."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._wait_again()
                while not self._ending.is_set():
                    if job := self._next():
                        self._do(job)
                    else:
                        self._ending.wait(LOOK)
            except Exception:  # the database does not answer, say: it may again
                _log.exception("jobs are held up")
                self._ending.wait(PATIENCE)

    def _wait_again(self) -> None:
        """Put back what nobody is doing any more."""
        with self._sessions.begin() as db:
            db.execute(
                update(Job).where(Job.state == JobState.RUNNING).values(state=JobState.WAITING)
            )

    def _next(self) -> int | None:
        """The job whose turn it is, marked as running."""
        with self._sessions.begin() as db:
            job = db.scalar(
                select(Job.id).where(Job.state == JobState.WAITING).order_by(Job.id).limit(1)
            )
            taken = update(Job).where(Job.id == job, Job.state == JobState.WAITING)
            if job is not None and _changed(db, taken.values(state=JobState.RUNNING)):
                return job
        return None

    # --- one job ------------------------------------------------------------------------------

    def _do(self, job: int) -> None:
        try:
            problem = self._work(job)
            if problem is None:
                self._finish(job)
        except InputError as error:
            problem = str(error)
        except ApiError as error:
            problem = str(error.detail)
        except OperationalError:  # of the database, not of the job, which goes on later
            raise
        except Exception as error:  # one job's; the next ones still have their turn
            problem = f"an error of mitoyolo itself, {type(error).__name__}: {error}"
        if problem:
            self._fail(job, problem)
        elif self._ending.is_set():
            self._wait_again()

    def _work(self, number: int) -> str | None:
        """Run a job's commands; what went wrong, "" where it was ended from outside."""
        with self._sessions.begin() as db:
            job = db.get_one(Job, number)
            folder = folder_of(self._settings, job)
            folder.mkdir(parents=True, exist_ok=True)
            commands = self._kinds[job.kind].commands(db, self._settings, job)
        for command in commands:
            # the commands hold the log as long as they live: one that has outlived its server
            # is waited for, and then found finished
            with self._held(folder / LOG) as log:
                if log is None or not self._is_wanted(number):
                    return ""
                problem = self._call(number, command, folder, log)
            if problem is not None:
                return problem
        return None

    def _call(self, job: int, command: Command, folder: Path, log: IO[bytes]) -> str | None:
        begun = os.fstat(log.fileno()).st_size
        child = subprocess.Popen(
            [sys.executable, "-m", "mitoyolo.web.child", str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd=folder,
            env=self._environment(),
            start_new_session=True,
        )
        said = ""
        try:
            while not _has_ended(child):
                self._ending.wait(LOOK)
                said = self._say(job, _last_line(folder / LOG, begun), said)
                if self._ending.is_set() or not self._is_wanted(job):
                    return ""
            self._say(job, _last_line(folder / LOG, begun), said)
        finally:
            _end_session(child)
        if child.returncode == 0:
            return None
        return _last_line(folder / LOG, begun, "mitoyolo: ") or _how(child.returncode)

    def _environment(self) -> dict[str, str]:
        weights = str(self._settings.weights.resolve())
        return {**os.environ, FOLLOWED: "1", "MITOYOLO_WEIGHTS": weights}

    def _clean(self, text: str) -> str:
        """A message without the program's name and the server's folders."""
        text = text.removeprefix("mitoyolo: ").replace(f"{self._settings.folder.resolve()}/", "")
        return text.replace(f"{self._settings.folder}/", "")[:LONGEST]

    def _say(self, job: int, line: str, said: str) -> str:
        """Tell how far a running job is, unless that was said; what is said now."""
        if line in ("", said):
            return said
        with self._sessions.begin() as db:
            running = update(Job).where(Job.id == job, Job.state == JobState.RUNNING)
            db.execute(running.values(message=self._clean(line)))
        return line

    def _is_wanted(self, job: int) -> bool:
        with self._sessions() as db:
            return db.get_one(Job, job).state == JobState.RUNNING

    def _finish(self, number: int) -> None:
        with self._sessions.begin() as db:
            job = db.get_one(Job, number)
            if _end(db, number, JobState.DONE, job.message, before=(JobState.RUNNING,)):
                db.refresh(job)
                self._kinds[job.kind].finished(db, self._settings, job)

    def _fail(self, number: int, problem: str) -> None:
        message = self._clean(problem)
        with self._sessions.begin() as db:
            if _end(db, number, JobState.FAILED, message, before=(JobState.RUNNING,)):
                job = db.get_one(Job, number)
                self._kinds[job.kind].failed(db, self._settings, job)

    @contextmanager
    def _held(self, path: Path) -> Iterator[IO[bytes] | None]:
        """A file open to append that no other process holds; None when the runner must end."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if self._ending.wait(LOOK):
                        yield None
                        return
                else:
                    yield file
                    return


def _has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Whether a command has ended. It is not reaped, so that its number stays its own."""
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end_session(child: subprocess.Popen[bytes]) -> None:
    """End a command and all that it has started, at first in peace."""
    if not _has_ended(child):
        os.killpg(child.pid, signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        while not _has_ended(child) and time.monotonic() < until:
            time.sleep(LOOK / 10)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _last_line(log: Path, begun: int, prefix: str = "") -> str:
    """The last whole line from an offset on that begins so, or nothing."""
    with log.open("rb") as file:
        file.seek(max(begun, log.stat().st_size - _TAIL))
        lines = file.read().decode(errors="replace").split("\n")[:-1]
    return next((line for line in reversed(lines) if line.strip() and line.startswith(prefix)), "")


def _how(code: int) -> str:
    if code < 0:
        hint = "; perhaps the memory was not enough" if -code == signal.SIGKILL else ""
        return f"ended by {signal.Signals(-code).name}{hint}"
    return f"ended with code {code} and no word; see {LOG}"
