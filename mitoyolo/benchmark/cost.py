"""What a model costs: its size, the operations that a tile takes, and the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from converters.errors import MissingPackageError, OptionError
from mitoyolo.detectors.base import Detector, load_detector
from mitoyolo.export import export
from mitoyolo.images import RGB

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import nn


def cost(
    detector: Detector,
    tiles: Sequence[RGB],
    *,
    weights: Path | None = None,
    repeats: int = 5,
) -> dict[str, Any]:
    """Measure a detector on tiles, one at a time, as it would be used: with the resizing before and
    the choice among boxes after the network.

    Parameters
    ----------
    detector : Detector
        A ``.pt`` as loaded on its device.
    tiles : sequence of (h, w, 3) uint8
        At least one; RGB.
    weights : Path, optional
        The detector's file, on a CPU timed as OpenVINO runs it too; None: it is not.
    repeats : int
        How often each tile is timed.

    Returns
    -------
    dict
        ``parameters``: numbers that the network has learned, as it infers, so without those that
        merging BatchNorm into convolutions, or leaving out a head for training, spares it; of the
        detector, not of a verifier behind it.
        ``gflops``: 10^9 floating-point operations for the first tile, as torch counts them: those
        of convolutions, matrix products and attention, a multiply-add as two; those of a verifier
        too, where the tile has something for it to look at; a padded input
        counts as such, and a second stage for the proposals that the tile has.
        ``imgsz``: pixels to which a tile is resized. ``ms_tile``: medians in ms, of `torch` on
        ``device`` and of `openvino` on the CPU, None where there is no such time.
        ``device``, ``threads``: as torch names and counts them.

    Raises
    ------
    EngineError
        torch gave up.
    """
    import torch

    parameters, gflops = _size(detector, tiles[0])
    with TemporaryDirectory(prefix="mitoyolo-cost-") as folder:
        other = None
        if weights and detector.device == "cpu":
            other = _in_openvino(weights, Path(folder) / "model", detector.imgsz)
        engines = {"torch": detector, **({"openvino": other} if other else {})}
        timed = median_ms({name: engine.predict for name, engine in engines.items()},
                          tiles, repeats=repeats, settle=_settle(detector.device))  # fmt: skip
    return {
        "parameters": parameters,
        "gflops": gflops,
        "imgsz": detector.imgsz,
        "ms_tile": {name: timed.get(name) for name in ("torch", "openvino")},
        "device": detector.device,
        "threads": torch.get_num_threads(),
    }


def _size(detector: Detector, tile: RGB) -> tuple[int, float]:
    """Parameters of the network that a detector applies, and 10^9 operations for a tile."""
    from torch.utils.flop_counter import FlopCounterMode

    with _networks() as found, FlopCounterMode(display=False) as counter:
        detector.predict([tile])
    parameters = sum(parameter.numel() for parameter in found[0].parameters())
    return parameters, counter.get_total_flops() / 1e9


@contextmanager
def _networks() -> Iterator[list[nn.Module]]:
    """The modules that are called in a ``with`` block, outer ones before those within them: so
    that the network is found in any detector."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    found: list[nn.Module] = []
    handle = register_module_forward_pre_hook(lambda module, _: found.append(module))
    try:
        yield found
    finally:
        handle.remove()


def _in_openvino(weights: Path, folder: Path, imgsz: int) -> Detector | None:
    """The same model exported; None where it has no such form, or OpenVINO is not installed."""
    try:
        export(weights, "openvino", out=folder, imgsz=imgsz, tell=lambda said: None)
        return load_detector(folder, imgsz=imgsz)
    except (MissingPackageError, OptionError):
        return None


def _settle(device: str) -> Callable[[], None]:
    """What waits until a device has done all that it was given."""
    import torch

    return (lambda: None) if device == "cpu" else (lambda: torch.cuda.synchronize(device))


def median_ms(
    engines: dict[str, Callable[[Sequence[RGB]], Any]],
    tiles: Sequence[RGB],
    *,
    repeats: int,
    settle: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median milliseconds a tile of functions that take a list of one.

    The functions take turns, so that a machine that becomes busy or hot slows all of them down.
    Each is warmed up on every shape of tile first.
    """
    for tile in {tile.shape: tile for tile in tiles}.values():
        for run in engines.values():
            run([tile])
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(repeats):
        for name, run in engines.items():
            for tile in tiles:
                settle()
                start = clock()
                run([tile])
                settle()
                times[name].append(clock() - start)
    return {name: median(found) * 1e3 for name, found in times.items()}
