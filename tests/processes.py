"""Calls of the program in processes of their own, of which none outlives its test.

Half of a short call's time goes into imports. Those in warm processes are spared it: they are
forked from one that has imported everything. They share its seed of ``hash()``, so that a run that
is to equal another should not be warm if that one is.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np
from conftest import Result

TESTS = Path(__file__).parent
TIMEOUT = 150.0
"""Seconds for any one call: far above what it takes, on a busy machine too."""

TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
"""An outer launcher."""


@dataclass
class Call:
    """A call that runs.

    ``mark`` stands in the environment of all of its processes, whatever session they are in.
    """

    process: _Cold | _Warm
    mark: str
    outputs: list[Path]
    began: float = field(default_factory=time.monotonic)

    def end(self, timeout: float = TIMEOUT) -> Result:
        """How it ended."""
        code = self.process.end(timeout)
        return Result(code, *(path.read_text(encoding="utf-8") for path in self.outputs))

    def alive(self) -> list[int]:
        """Its processes that have not ended."""
        found = self.process.alive()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:  # it ended meanwhile, or is another user's
                continue
        return found

    def wait_for_none(self, timeout: float = 60) -> None:
        """Wait until all of its processes have ended; they may be ending."""
        until = time.monotonic() + timeout
        while left := self.alive():
            assert time.monotonic() < until, f"processes are left: {left}"
            time.sleep(0.05)


class _Cold:
    """A process of its own from the first."""

    def __init__(self, command: list[str], env: dict[str, str], outputs: list[Path]) -> None:
        with outputs[0].open("wb") as out, outputs[1].open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env,
                start_new_session=True,
            )  # fmt: skip

    def end(self, timeout: float) -> int:
        return self._process.wait(timeout)

    def alive(self) -> list[int]:
        """Nothing: it bears the mark."""
        return []


class _Warm:
    """A process forked from the one that has imported everything."""

    def __init__(self, command: list[str], env: dict[str, str], outputs: list[Path]) -> None:
        forks = multiprocessing.get_context("forkserver")
        forks.set_forkserver_preload(IMPORTED)
        with patch.dict(os.environ, OMP_NUM_THREADS="1"):  # read by what is imported
            self._process = forks.Process(target=_run, args=(command, env, outputs))
            self._process.start()

    def end(self, timeout: float) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None, "it still runs"
        return self._process.exitcode

    def alive(self) -> list[int]:
        """It, which bears no mark."""
        return [self._process.pid] if self._process.pid and self._process.is_alive() else []


IMPORTED = [
    "mitoyolo.cli", "mitoyolo.worker", "mitoyolo.report.training", "mitoyolo.training_log",
    "mitoyolo.detectors.yolo_train", "mitoyolo.detectors.rcnn_train",
    "torch.distributed.launcher.api", "pytest",
]  # fmt: skip


def _run(command: list[str], env: dict[str, str], outputs: list[Path]) -> None:
    """``python -m ...``, as it would begin by itself."""
    os.setsid()
    for number, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(env)
    np.random.seed()
    flag, module, *sys.argv[1:] = command
    assert flag == "-m"
    runpy.run_module(module, run_name="__main__", alter_sys=True)


@contextmanager
def calling(
    *command: object, env: Mapping[str, str] | None = None, warm: bool = False
) -> Iterator[Call]:
    """Start ``python command...``; whatever of it still runs at the end is killed."""
    mark = f"MITOYOLO_TEST={uuid.uuid4().hex}"
    outside = ("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "SLURM_", "TORCHELASTIC_", "OMP_")
    given = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
    path = os.pathsep.join((str(TESTS), str(TESTS.parent)))
    given |= {"PYTHONPATH": path, **dict([mark.split("=")]), **(env or {})}
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, "out"), Path(folder, "err")]
        process = (_Warm if warm else _Cold)(list(map(str, command)), given, outputs)
        call = Call(process, mark, outputs)
        try:
            yield call
        finally:
            for pid in call.alive():
                os.kill(pid, signal.SIGKILL)
            process.end(10)


def called(*command: object, warm: bool = False, **env: str) -> Result:
    """How ``python command...`` ended; that none of its processes is left is checked."""
    with calling(*command, env=env, warm=warm) as call:
        result = call.end()
        call.wait_for_none()
    return result


def free_port() -> int:
    """A port on which nobody listens, below those that the system gives away by itself."""
    while True:
        port = random.randrange(20000, 32768)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("localhost", port))
            return port


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before the file was opened, or after
        return False
