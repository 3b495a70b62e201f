"""The options of ``mitoyolo train``, and which processes they ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from converters.errors import OptionError
from mitoyolo.distributed import devices_for
from mitoyolo.launch import Launch


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """The options of ``mitoyolo train``.

    Attributes
    ----------
    model : str
        One of :data:`MODELS`.
    weights : str or None
        A file, a name, `none`, or None for the model's pretrained weights.
    epochs, imgsz, batch, seed : int
        ``imgsz`` None: the tiles' own longest side. ``batch`` of all processes together.
    recipe : str
        `mitosis`, `ultralytics`, or a YAML file (:mod:`mitoyolo.detectors.recipe`).
    settings : dict
        Keys of the recipe, from ``--set key=value``.
    device : str or None
        `cpu`, a GPU's number or several with commas; None: what the machine has.
    ddp : bool
        Train in several processes; where the environment says that this is one of them, it joins
        the others, else they are started.
    nproc : int or None
        Processes on this machine; None: one a GPU.
    nnodes, node_rank, rdzv, restarts
        As :class:`mitoyolo.launch.Launch` takes them.
    """

    model: str
    weights: str | None = None
    epochs: int = 50
    imgsz: int | None = None
    batch: int = 16
    seed: int = 0
    recipe: str = "mitosis"
    settings: dict[str, Any] = field(default_factory=dict)
    device: str | None = None
    ddp: bool = False
    nproc: int | None = None
    nnodes: int = 1
    node_rank: int = 0
    rdzv: str | None = None
    restarts: int = 0


RUNNING = {"device", "ddp", "nproc", "nnodes", "node_rank", "rdzv", "restarts"}
"""Options that say where a training runs, not what it computes: a resumed one may change them."""

OF_MACHINE = {"workers", "cache", "verbose"}
"""The same of Ultralytics' settings."""


def launch_of(options: TrainOptions) -> Launch:
    """Which processes the options ask for.

    Raises
    ------
    OptionError
        They contradict each other or the machine.
    """
    devices = devices_for(options.device, several=True)
    on_gpus = devices != ("cpu",)
    nproc = options.nproc or (len(devices) if on_gpus else 0)
    if not nproc:
        raise OptionError("--ddp on CPUs: how many processes?", fix="give --nproc N")
    if on_gpus and nproc > len(devices):
        raise OptionError(f"--nproc {nproc}: more than the GPUs ({', '.join(devices)})")
    if options.nnodes > 1 and not _is_address(options.rdzv or ""):
        given = f" --rdzv {options.rdzv}" if options.rdzv else ""
        raise OptionError(
            f"--nnodes {options.nnodes}{given}: where do the machines meet?",
            fix="give --rdzv HOST:PORT of machine 0",
        )
    if options.nnodes == 1 and options.rdzv:
        raise OptionError(f"--rdzv {options.rdzv}: for several machines", fix="add --nnodes N")
    if options.node_rank >= options.nnodes:
        raise OptionError(f"--node-rank {options.node_rank}: --nnodes is {options.nnodes}")
    return Launch(
        nproc=nproc,
        nnodes=options.nnodes,
        node_rank=options.node_rank,
        rendezvous=options.rdzv,
        restarts=options.restarts,
    )


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 1 << 16


def check_alone(options: TrainOptions) -> None:
    """Refuse what is said of several processes where `--ddp` is not.

    Raises
    ------
    OptionError
        Else each machine would train alone, and into the same folder.
    """
    for name in ("nproc", "nnodes", "node_rank", "rdzv", "restarts"):
        value = getattr(options, name)
        if value != getattr(_PLAIN, name):
            option = name.replace("_", "-")
            raise OptionError(f"--{option} {value}: for several processes", fix="add --ddp")


_PLAIN = TrainOptions(model="")
