"""Start the processes of a training on this machine, by torchrun's own launcher, and watch them."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.errors import MitoyoloError
from mitoyolo.distributed import MEETING
from mitoyolo.stopping import Stopped, end_with_parent

LAUNCHED = "MITOYOLO_LAUNCHED"
"""Set, to the launcher's own number, for the processes that :func:`launch` started: it speaks for
them."""

LOST = 75
"""Exit code of a process that only lost another one, as `temporary failure` of sysexits.h."""


class LaunchError(MitoyoloError):
    """A process of the training failed; it ends with that process's exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Which processes to start.

    Attributes
    ----------
    nproc : int
        On this machine.
    nnodes, node_rank : int
        How many machines run such a launcher, and which of them this is.
    rendezvous : str or None
        `HOST:PORT` on the machine 0, where all launchers meet; None with one machine.
    restarts : int
        How often all processes are started again when one fails.
    """

    nproc: int
    nnodes: int = 1
    node_rank: int = 0
    rendezvous: str | None = None
    restarts: int = 0


def share_cores(nproc: int) -> None:
    """Let each of ``nproc`` processes use its share of this machine's cores, unless the user has
    said how many threads. Call it before torch is imported."""
    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(cores // nproc, 1)))


def launch(module: str, arguments: list[str], how: Launch) -> None:
    """Run ``python -m module arguments`` in several processes until all have ended.

    Raises
    ------
    LaunchError
        One failed; the others have been stopped. It says which and why.
    Stopped
        SIGTERM came, and the processes have ended.
    KeyboardInterrupt
        Ctrl-C came, and the processes have ended.
    """
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    several = how.nnodes > 1
    logs = tempfile.TemporaryDirectory(prefix="mitoyolo-launch-")  # where failures are reported
    config = LaunchConfig(
        min_nodes=how.nnodes,
        max_nodes=how.nnodes,
        nproc_per_node=how.nproc,
        run_id="mitoyolo",
        rdzv_backend="static" if several else "c10d",
        rdzv_endpoint=(several and how.rendezvous) or "localhost:0",
        rdzv_configs={"rank": how.node_rank, "timeout": MEETING.seconds} if several else {},
        max_restarts=how.restarts,
        monitor_interval=0.5,
        logs_specs=DefaultLogsSpecs(log_dir=logs.name),
    )
    _silence()
    os.environ[LAUNCHED] = str(os.getpid())
    try:
        elastic_launch(config, sys.executable)("-m", module, *arguments)
    except ChildFailedError as error:
        raise _why(error.failures) from None
    except (RendezvousError, DistError, OSError) as error:
        place = how.rendezvous or "this machine"
        raise LaunchError(
            f"the {how.nnodes} machines did not meet at {place} within {MEETING.seconds // 60} "
            f"minutes, or the address is wrong ({type(error).__name__})",
            1,
        ) from error
    except SignalException as error:
        raise (Stopped if error.sigval.name == "SIGTERM" else KeyboardInterrupt) from None
    finally:
        del os.environ[LAUNCHED]
        logs.cleanup()


def _silence() -> None:
    """Keep torchrun's own log from standard error: what failed is said once, by us."""
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def die_with_launcher() -> None:
    """Have the kernel end this process when the launcher's dies; only on Linux."""
    end_with_parent(signal.SIGKILL)
    died = os.environ.get(LAUNCHED) != str(os.getppid())  # before the kernel was asked
    if sys.platform == "linux" and died:
        sys.exit(1)


def _why(failures: dict[int, Any]) -> LaunchError:
    """The first cause: rather a process that failed by itself than one that then lost it.

    ``failures`` are torchrun's ``ProcessFailure`` by rank.
    """

    def turn(rank: int) -> tuple[bool, int]:
        failure = failures[rank]
        return failure.error_file_data.get("exit_code") == LOST, failure.timestamp

    rank = min(failures, key=turn)
    said, code = failures[rank].error_file_data, failures[rank].exitcode
    if "text" not in said:
        how = f"was ended by {failures[rank].signal_name()}" if code < 0 else "ended"
        return LaunchError(
            f"process {rank} {how} without a word (exit code {code}); the same call with --resume "
            "goes on",
            1,
        )
    exit_code = 1 if said["exit_code"] == LOST else said["exit_code"]
    error = LaunchError(said["text"], exit_code)
    error.__cause__ = _OfProcess(said["traceback"])
    return error


class _OfProcess(Exception):
    """Carries the traceback of another process as text, for ``--debug``."""


def report(text: str, exit_code: int, traceback: str) -> None:
    """Tell the launcher, ours or torchrun, why this process fails."""
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        extra = {"py_callstack": traceback, "timestamp": str(int(time.time()))}
        message = {"message": f"{socket.gethostname()}: {text}", "extraInfo": extra}
        said = {"message": message, "text": text, "traceback": traceback, "exit_code": exit_code}
        Path(file).write_text(json.dumps(said))
