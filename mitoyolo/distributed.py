"""Training in several processes: who this one is, and what they tell each other.

The variables are torchrun's; under SLURM's ``srun`` they are derived from its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

from converters.errors import InputError, MitoyoloError, OptionError

T = TypeVar("T")

# Read while torch is imported. Its warnings are of our own choices, such as to look for parameters
# without gradient in each step, which most steps do not have; what fails is said by exceptions.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

TIMEOUT = timedelta(hours=3)
"""For a process that is busy; one that died is noticed at once, since its connections close."""

MEETING = timedelta(minutes=15)
"""In which all processes must have been started."""

_joined = count()


class LostProcessError(MitoyoloError):
    """Another process of the training ended; why is for that one to say."""


@contextmanager
def noticing_loss() -> Iterator[None]:
    """Turn what torch raises where another process is gone into :class:`LostProcessError`."""
    try:
        yield
    except RuntimeError as error:
        said = str(error).lower()
        if _in_company() and any(sign in said for sign in _LOST):
            raise LostProcessError(
                "another process of this training ended; the same call with --resume goes on"
            ) from error
        raise


_LOST = ("closed by peer", "connection reset", "broken pipe", "remote process exited")
"""What gloo and NCCL say then."""


def _in_company() -> bool:
    from torch import distributed

    return distributed.is_initialized() and distributed.get_world_size() > 1


@dataclass(frozen=True, slots=True)
class Process:
    """One of the processes of a training.

    Attributes
    ----------
    rank, world : int
        Its number among all, and how many there are.
    local_rank, local_world : int
        The same on its own machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that prints and writes."""
        return self.rank == 0


def process_of(env: Mapping[str, str]) -> tuple[Process, dict[str, str]] | None:
    """The process that an environment describes, if it belongs to several.

    Parameters
    ----------
    env : mapping
        ``os.environ``, as torchrun or SLURM's ``srun`` has set it.

    Returns
    -------
    (Process, dict) or None
        With torchrun's variables for it; None where it is alone.

    Raises
    ------
    InputError
        Numbers that are none, or a rank outside its world.

    Examples
    --------
    >>> process_of({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"})[0]
    Process(rank=1, world=2, local_rank=1, local_world=2)
    >>> process_of({}) is None
    True
    """
    found = {name: env[name] for name in _TORCHRUN if name in env}
    if "RANK" not in found and env.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        found = _of_slurm(env)
    if "RANK" not in found or found.get("WORLD_SIZE", "1") == "1":
        return None
    found = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"} | found
    rank, world, local_rank, local_world = (
        int(found[name]) if found[name].isdecimal() else -1 for name in _TORCHRUN[:4]
    )
    if not 0 <= rank < world or local_rank < 0 or local_world < 1:
        given = ", ".join(f"{name}={found[name]}" for name in _TORCHRUN[:4])
        raise InputError(f"the environment describes no process ({given})")
    return Process(rank, world, local_rank, local_world), found


_TORCHRUN = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT"),
)


def _of_slurm(env: Mapping[str, str]) -> dict[str, str]:
    """torchrun's variables from those of a job step, of which every task is one process."""
    tasks = env.get("SLURM_STEP_TASKS_PER_NODE", "1").split("(")[0].split(",")[0]
    job = env.get("SLURM_JOB_ID", "")
    port = 20000 + (int(job) if job.isdecimal() else 0) % 20000  # the same in all tasks
    return {
        "RANK": env.get("SLURM_PROCID", ""),
        "WORLD_SIZE": env["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": env.get("SLURM_LOCALID", "0"),
        "LOCAL_WORLD_SIZE": tasks,
        "MASTER_ADDR": env.get("MASTER_ADDR") or first_host(env.get("SLURM_STEP_NODELIST", "")),
        "MASTER_PORT": env.get("MASTER_PORT") or str(port),
    }


def first_host(nodes: str) -> str:
    """The first host of SLURM's list of nodes.

    Examples
    --------
    >>> first_host("gpu[03-05,9],login1"), first_host("a,b"), first_host("")
    ('gpu03', 'a', 'localhost')
    """
    found = re.match(r"([^\[,]+)(?:\[(\w+)[^\]]*\])?([^\[,]*)", nodes)
    return "".join(part or "" for part in found.groups()) if found else "localhost"


def this_process() -> Process:
    """This process, as its environment says; alone where it says nothing."""
    found = process_of(os.environ)
    return found[0] if found else Process()


def launched_already() -> bool:
    """Whether a launcher, torchrun's or ours or SLURM's, has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ or process_of(os.environ) is not None


def restarts() -> int:
    """How often torchrun has started this training's processes again after one failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


@contextmanager
def joined(process: Process, *, gpu: bool) -> Iterator[None]:
    """For the time of a ``with`` block, the processes can talk: gloo, and NCCL between GPUs.

    Enter it before Ultralytics is imported, which reads the variables once.
    """
    found = process_of(os.environ)
    if found is None:
        yield
        return
    os.environ.update(found[1])
    if "SLURM_CPUS_PER_TASK" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", os.environ["SLURM_CPUS_PER_TASK"])
    import torch
    from torch import distributed

    try:
        store, rank, world = next(distributed.rendezvous("env://", timeout=MEETING))
        # a store may outlive the processes before a restart, or a training, addresses and all
        store = distributed.PrefixStore(f"{restarts()}-{next(_joined)}", store)
        backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
        distributed.init_process_group(
            backend, store=store, rank=rank, world_size=world, timeout=TIMEOUT
        )
    except (RuntimeError, ValueError) as error:
        place = ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
        raise MitoyoloError(
            f"the {process.world} processes did not meet at {place} within "
            f"{MEETING.seconds // 60} minutes ({type(error).__name__}); start all of them, and see "
            "that machine 0 can be reached there"
        ) from error
    try:
        yield
        with noticing_loss():
            distributed.barrier()  # none leaves while another still needs the store
        if gpu:
            torch.cuda.synchronize()
    finally:
        distributed.destroy_process_group()


def shared(value: T) -> T:
    """The first process's ``value``, in all of them; any object that can be pickled."""
    from torch import distributed

    if not distributed.is_initialized():
        return value
    box = [value]
    with noticing_loss():
        distributed.broadcast_object_list(box, src=0)
    return box[0]


def gathered(value: T) -> list[T]:
    """Each process's ``value`` by rank, in the first one; elsewhere an empty list."""
    from torch import distributed

    if not distributed.is_initialized():
        return [value]
    first = distributed.get_rank() == 0
    found: list[Any] = [None] * distributed.get_world_size()
    with noticing_loss():
        distributed.gather_object(value, found if first else None, dst=0)
    return found if first else []


def devices_for(asked: str | None, *, several: bool) -> tuple[str, ...]:
    """The devices to train on.

    Parameters
    ----------
    asked : str or None
        `cpu`, a GPU's number, or numbers with commas; None: the first GPU, all GPUs where
        ``several``, or the CPU where there is none.
    several : bool
        Whether several processes may be started.

    Returns
    -------
    tuple of str
        `("cpu",)`, or GPUs' numbers.

    Raises
    ------
    OptionError
        A GPU that this machine lacks, one named twice, or several for one process.
    """
    if asked == "cpu":
        return ("cpu",)
    if asked is None:
        return tuple(_gpus() if several else _gpus()[:1]) or ("cpu",)
    wanted = [part.strip() for part in asked.split(",")]
    check_gpus(asked, wanted)
    if len(set(wanted)) < len(wanted):
        raise OptionError(f"--device {asked}: a GPU is named twice")
    if len(wanted) > 1 and not several:
        raise OptionError(f"--device {asked}: several GPUs", fix="add --ddp, or name one")
    return tuple(wanted)


def check_gpus(asked: str, wanted: Sequence[str]) -> None:
    """Refuse GPUs that this machine lacks.

    Parameters
    ----------
    asked : str
        The user's ``--device``, for the message.
    wanted : sequence of str
        The numbers in it.
    """
    known = _gpus()
    if not set(wanted) <= set(known):
        raise OptionError(
            f"--device {asked}: no such GPU (found: {', '.join(known) or 'none'})",
            fix="use --device cpu",
        )


def _gpus() -> list[str]:
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]
