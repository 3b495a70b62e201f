"""Calls of the program in processes of their own, of which none outlives its test."""

from __future__ import annotations

import os
import random
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

    process: subprocess.Popen[bytes]
    mark: str
    outputs: list[Path]
    began: float = field(default_factory=time.monotonic)

    def end(self, timeout: float = TIMEOUT) -> Result:
        """How it ended."""
        code = self.process.wait(timeout)
        return Result(code, *(path.read_text(encoding="utf-8") for path in self.outputs))

    def alive(self) -> list[int]:
        """Its processes that have not ended."""
        found = []
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


@contextmanager
def calling(*command: object, env: Mapping[str, str] | None = None) -> Iterator[Call]:
    """Start ``python command...``; whatever of it still runs at the end is killed."""
    mark = f"MITOYOLO_TEST={uuid.uuid4().hex}"
    outside = ("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "SLURM_", "TORCHELASTIC_", "OMP_")
    given = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
    given |= {"PYTHONPATH": str(TESTS), **dict([mark.split("=")]), **(env or {})}
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, "out"), Path(folder, "err")]
        with outputs[0].open("wb") as out, outputs[1].open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, *map(str, command)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=given,
                start_new_session=True,
            )  # fmt: skip
        call = Call(process, mark, outputs)
        try:
            yield call
        finally:
            for pid in call.alive():
                os.kill(pid, signal.SIGKILL)
            process.wait(10)


def called(*command: object, **env: str) -> Result:
    """How ``python command...`` ended; that none of its processes is left is checked."""
    with calling(*command, env=env) as call:
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
