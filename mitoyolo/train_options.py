"""The options of ``mitoyolo train``, and which processes they ask for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from converters.errors import OptionError
from mitoyolo.detectors.families import TrainingRecipe
from mitoyolo.distributed import devices_for
from mitoyolo.launch import Launch

EPOCHS = 50
"""Passes over the training tiles, unless a call says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """The options of ``mitoyolo train``.

    Attributes
    ----------
    model : str
        One of :data:`mitoyolo.detectors.families.MODELS`.
    weights : str or None
        A file, a name, `none`, or None for the model's pretrained weights.
    epochs, imgsz, batch, seed : int
        ``imgsz`` None: the recipe's, or the tiles' own longest side. ``batch`` of all processes
        together; None: the recipe's.
    background : float
        Share of the mitosis-free training tiles that the detector is trained on; where it is under
        1, its verifier learns from what it takes for mitoses on the others too.
    accumulate : int
        Parts into which a process splits its tiles of a step, for little memory.
    recipe : str or None
        A name or a YAML file, as the model's family reads them; None: the model's own.
    settings : dict
        Keys of the recipe, from ``--set key=value``.
    device : str or None
        `cpu`, a GPU's number or several with commas; None: what the machine has.
    ddp : bool
        Train in several processes; where the environment says that this is one of them, it joins
        the others, else they are started. Any of the options below asks for the same.
    nproc : int or None
        Processes on this machine; None: one a GPU.
    nnodes, node_rank, rdzv, restarts
        As :class:`mitoyolo.launch.Launch` takes them.
    """

    model: str
    weights: str | None = None
    epochs: int = EPOCHS
    imgsz: int | None = None
    batch: int | None = None
    accumulate: int = 1
    seed: int = 0
    background: float = 1.0
    recipe: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    device: str | None = None
    ddp: bool = False
    nproc: int | None = None
    nnodes: int = 1
    node_rank: int = 0
    rdzv: str | None = None
    restarts: int = 0

    def computing(self) -> dict[str, Any]:
        """Those that decide what is computed, for a run's record."""
        return {name: value for name, value in asdict(self).items() if name not in RUNNING}


RUNNING = {"device", "ddp", "nproc", "nnodes", "node_rank", "rdzv", "restarts"}
"""Options that say where a training runs, not what it computes: a resumed one may change them."""

OF_MACHINE = {"workers", "cache", "verbose"}
"""The same of a recipe's settings."""


def computing_of(recipe: TrainingRecipe) -> dict[str, Any]:
    """Those settings of a recipe that decide what is computed, for a run's record."""
    return {name: value for name, value in recipe.to_dict().items() if name not in OF_MACHINE}


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
        raise OptionError("several processes on CPUs: how many?", fix="give --nproc N")
    if on_gpus and nproc > len(devices):
        raise OptionError(f"--nproc {nproc}: more than the GPUs ({', '.join(devices)})")
    if options.nnodes > 1 and not _is_address(options.rdzv or ""):
        given = f" --rdzv {options.rdzv}" if options.rdzv else ""
        raise OptionError(
            f"--nnodes {options.nnodes}{given}: where do the machines meet?",
            fix="give --rdzv HOST:PORT of machine 0",
        )
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


def asks_for_processes(options: TrainOptions) -> bool:
    """Whether processes are to be started: by `--ddp`, or by saying how many, where or how often.

    Examples
    --------
    >>> asks_for_processes(TrainOptions(model="yolov5n"))
    False
    >>> asks_for_processes(TrainOptions(model="yolov5n", nproc=2))
    True
    """
    said = ("nproc", "nnodes", "node_rank", "rdzv", "restarts")
    return options.ddp or any(getattr(options, name) != getattr(_ALONE, name) for name in said)


_ALONE = TrainOptions(model="")
