"""How fast detectors are trained: beside plain Ultralytics, in one process and in two.

    python benchmarks/train.py [--data FOLDER] [--tiles 64] [--epochs 3] [--repeats 3] [--device 0]

Prints four tables in Markdown.

1. Whole runs of `mitoyolo train --recipe ultralytics` and of `yolo detect train`, in fresh
   processes that take turns, with the same start, tiles, batch and settings, mosaic in all epochs.
   An epoch's time is seen from outside, the same way for both: from one row of results.csv to the
   next, so that it holds training, validation, tables and checkpoints. The median over all epochs
   but the first of a run counts. CPU seconds are of a whole run, start and all processes included:
   on a machine that does other work they say more than the time. Own code and scoring are those
   of run.json, over all epochs. Memory is the most that one process of the run has held. On a CPU
   plain Ultralytics takes as many threads as there are cores, less one, at most eight; mitoyolo
   runs with as many, with one, and with all cores.
2. Where the time of an epoch goes, in one process of one thread.
3. What a core reads and augments, and how much of it is ours.
4. No measurement: the size of the gradients, and how long a ring of links takes for it at least.

Without FOLDER, a dataset folder is rendered (`mitoyolo demo`): as many tiles for training as
``--tiles`` says, half as many for validation. ``--device 0`` (or 0,1 and so on) takes GPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median
from typing import Any

from mitoyolo.convert import ConvertOptions, convert
from mitoyolo.dataset import Dataset, open_dataset
from mitoyolo.demo.write import write_demo
from mitoyolo.detectors.families import YOLO
from mitoyolo.progress import set_quiet
from mitoyolo.train import TrainOptions, train

SETTINGS = {"close_mosaic": 0}
"""Of Ultralytics, in all runs: the last epochs are like the others."""

PLAIN_THREADS = min(8, max(1, (os.cpu_count() or 1) - 1))
"""Threads that Ultralytics takes on a CPU (``ultralytics.utils.NUM_THREADS``)."""

LINKS = {
    "8 GPUs, NVLink 4 (450 GB/s)": (8, 450e9),
    "8 GPUs, PCIe 4.0 x16 (31.5 GB/s)": (8, 31.5e9),
    "64 GPUs, 100 Gb/s a node (12.5 GB/s)": (64, 12.5e9),
}
"""GPUs, and bytes a second each way through the narrowest link of their ring."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="dataset folder; else rendered")
    parser.add_argument("--tiles", type=int, default=64, help="rendered for training")
    parser.add_argument("--size", type=int, default=512, help="px of a rendered tile")
    parser.add_argument("--model", default="yolov5n", choices=YOLO)
    parser.add_argument("--weights", default="none", help="to start from; else random ones")
    parser.add_argument("--batch", type=int, default=16, help="of all processes together")
    parser.add_argument("--epochs", type=int, default=3, help="a run; the first is not counted")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu, or GPUs: 0 or 0,1 ...")
    options = parser.parse_args()
    if options.epochs < 2:
        parser.error("--epochs: at least 2, since the first is not counted")
    set_quiet(True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        dataset = open_dataset(options.data or _render(root, options.tiles, options.size))
        counts = {split: len(dataset.images_of(split)) for split in ("train", "val")}
        print(
            f"{options.model}, {counts['train']} tiles for training and {counts['val']} for "
            f"validation, batch {options.batch}, {options.repeats} runs of {options.epochs} "
            f"epochs, device {options.device}, {_cores()} cores\n"
        )
        a_tile = _table(dataset, root, options)
        os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, for what follows
        _parts(dataset, root, options)
        _loader(dataset, a_tile, options.repeats)
    _gradients()
    names = ("mitoyolo", "torch", "ultralytics", "opencv-python", "numpy")
    print(f"\nPython {sys.version.split()[0]}, " + ", ".join(f"{n} {version(n)}" for n in names))


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _render(root: Path, tiles: int, size: int) -> Path:
    """A dataset folder of two cases for training and one for validation."""
    write_demo(root / "demo", cases=3, tiles=max(tiles // 2, 1), size=size)
    how = ConvertOptions(
        format="cadd4mbc", preset="demo", images=root / "demo" / "tiles", shares=(2 / 3, 1 / 3, 0)
    )
    convert(root / "demo" / "cadd4mbc", root / "data", how)
    return root / "data"


# --- whole runs, in turns ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Program:
    """A way to train; ``threads`` of each process, None as it finds them."""

    name: str
    processes: int = 1
    threads: int | None = None

    @property
    def plain(self) -> bool:
        """Whether this is Ultralytics' own command."""
        return self.name == "plain"


@dataclass(frozen=True, slots=True)
class Run:
    """What one run was seen to take; ``busy`` are percentages of a GPU, ``facts`` its run.json."""

    epochs: list[float]
    cpu: float
    peak_mib: float
    busy: list[int]
    facts: dict[str, Any]

    def share(self, part: str, tiles: int) -> float:
        """Of the time of all epochs, the first included."""
        epochs = self.facts["arguments"]["epochs"]
        return float(self.facts[part] * self.facts["images_per_s"] / (epochs * tiles))


def _programs(device: str) -> list[Program]:
    if device != "cpu":
        several = [Program("mitoyolo", processes=len(device.split(",")))] if "," in device else []
        return [Program("plain"), Program("mitoyolo"), *several]
    alone = (Program("mitoyolo", threads=n) for n in sorted({1, PLAIN_THREADS, _cores()}))
    return [Program("plain", threads=PLAIN_THREADS), *alone, Program("mitoyolo", 2, 1)]


def _table(dataset: Dataset, root: Path, options: argparse.Namespace) -> float:
    """Print the first table; the seconds a tile of mitoyolo in one process, of least threads."""
    programs = _programs(options.device)
    start = _start(root / "start.pt", dataset, options)
    runs: dict[Program, list[Run]] = {program: [] for program in programs}
    for turn in range(options.repeats):
        for number, program in enumerate(programs):
            place = root / f"run-{turn}-{number}"
            command = _command(program, start, dataset, place, options)
            runs[program].append(_watch(program, command, place, options))
    tiles = len(dataset.images_of("train"))
    seconds = {program: [s for run in of for s in run.epochs] for program, of in runs.items()}
    plain, single = (median(seconds[program]) for program in programs[:2])
    print(
        "| program | processes x threads | s an epoch (least, most) | images/s | beside plain | "
        "beside one process | CPU s a run | own code | scoring | MiB a process | its run.json | "
        "GPU busy |"
    )
    print("|---" * 12 + "|")
    for program, taken in seconds.items():
        middle, of = median(taken), runs[program]
        busy = [percent for run in of for percent in run.busy]
        cells = [
            program.name,
            f"{program.processes} x {program.threads or 'its own'}",
            f"{middle:.2f} ({min(taken):.2f}, {max(taken):.2f})",
            f"{tiles / middle:.2f}",
            f"{plain / middle:.3f}",
            f"{single / middle:.3f}",
            f"{median(run.cpu for run in of):.1f}",
            *("" if program.plain else f"{median(run.share(part, tiles) for run in of):.2%}"
              for part in ("own_code_s", "validation_scoring_s")),
            f"{max(run.peak_mib for run in of):.0f}",
            "" if program.plain else
            f"{max(run.facts['peak_memory_mib']['process'] for run in of):.0f}",
            f"{fmean(busy):.0f} %" if busy else "",
        ]  # fmt: skip
        print("| " + " | ".join(cells) + " |", flush=True)
    return single / tiles


def _start(path: Path, dataset: Dataset, options: argparse.Namespace) -> Path:
    """The weights that all runs start from; in a process of its own, so that this one stays small.

    A process's most memory is never less than that of the one which started it.
    """
    code = (
        "import sys; from pathlib import Path\n"
        "from mitoyolo.detectors.yolo import start_model, write_start\n"
        "path, name, weights, *labels = sys.argv[1:]\n"
        "given = None if weights == 'none' else Path(weights)\n"
        "write_start(Path(path), start_model(name, given, labels, 0))"
    )
    arguments = [str(path), options.model, options.weights, *dataset.labels]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, timeout=300)
    return path


def _command(
    program: Program, start: Path, dataset: Dataset, place: Path, options: argparse.Namespace
) -> list[str]:
    first = options.device.split(",")[0]
    both = {"epochs": options.epochs, "imgsz": _imgsz(dataset), "batch": options.batch, "seed": 0}
    if program.plain:
        settings = both | SETTINGS | {
            "model": start, "data": _linked(dataset.root, place.parent / "linked"),
            "device": first, "project": place.parent, "name": place.name, "plots": False,
            "amp": "bf16" if _takes_bf16(first) else False,  # as mitoyolo has it
        }  # fmt: skip
        run_yolo = "from ultralytics.cfg import entrypoint; entrypoint()"  # the command `yolo`
        given = (f"{key}={value}" for key, value in settings.items())
        return [sys.executable, "-c", run_yolo, "detect", "train", *given]
    several = program.processes > 1
    named = both | {
        "data": dataset.root, "model": options.model, "weights": start, "recipe": "ultralytics",
        "device": options.device if several else first, "project": place.parent,
        "name": place.name,
    }  # fmt: skip
    return [
        *(sys.executable, "-m", "mitoyolo", "train", "--quiet"),
        *(word for key, value in named.items() for word in (f"--{key}", str(value))),
        *(word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")),
        *(("--ddp", "--nproc", str(program.processes)) if several else ()),
    ]


def _imgsz(dataset: Dataset) -> int:
    return max(max(tile.width, tile.height) for tile in dataset.tiles)


def _takes_bf16(device: str) -> bool:
    if device == "cpu":
        return False
    import torch

    return torch.cuda.is_bf16_supported()


def _linked(data: Path, out: Path) -> Path:
    """The same tiles where Ultralytics may write its label caches; its ``dataset.yaml``."""
    if not out.exists():
        for kind in ("images", "labels"):
            (out / kind).mkdir(parents=True)
            for split in (data / kind).iterdir():
                (out / kind / split.name).symlink_to(split.resolve())
        (out / "dataset.yaml").write_text((data / "dataset.yaml").read_text())
    return out / "dataset.yaml"


def _watch(program: Program, command: list[str], place: Path, options: argparse.Namespace) -> Run:
    """Run a command and note when each row of its results.csv appears."""
    env = {
        **os.environ, "YOLO_OFFLINE": "True", "YOLO_AUTOINSTALL": "False",
        "YOLO_CONFIG_DIR": str(place.parent),
    }  # fmt: skip
    if program.threads:
        env["OMP_NUM_THREADS"] = str(program.threads)
    rows: dict[int, float] = {}
    busy: list[int] = []
    table, log = place / "results.csv", place.with_suffix(".log")
    with log.open("w") as handle:
        process = subprocess.Popen(command, env=env, stdout=handle, stderr=handle)
    try:
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            with suppress(FileNotFoundError):
                count = len(table.read_text().splitlines()) - 1
                rows.setdefault(count, table.stat().st_mtime)
            if options.device != "cpu" and 1 in rows and options.epochs not in rows:
                busy.append(_busy(options.device))
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(ended[1])
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode or not {*range(1, options.epochs + 1)} <= rows.keys():
        said = "\n".join(log.read_text().splitlines()[-5:])
        raise SystemExit(f"{' '.join(command)}\nended with {process.returncode}: {said}")
    return Run(
        epochs=[rows[i + 1] - rows[i] for i in range(1, options.epochs)],
        cpu=ended[2].ru_utime + ended[2].ru_stime,
        peak_mib=ended[2].ru_maxrss / 1024,
        busy=busy,
        facts={} if program.plain else json.loads((place / "run.json").read_text()),
    )


def _busy(device: str) -> int:
    """Of the last moments (at most a second), the percentage in which the first GPU computed."""
    asked = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    command = ["nvidia-smi", f"--id={device.split(',')[0]}", *asked]
    return int(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)


# --- where the time goes ----------------------------------------------------------------------


def _parts(dataset: Dataset, root: Path, options: argparse.Namespace) -> None:
    """Print what the epochs of one process, but the first, are spent on."""
    import torch

    from mitoyolo.detectors.yolo_train import MitosisTrainer

    from ultralytics.utils.callbacks import default_callbacks

    device = options.device.split(",")[0]
    seconds: dict[str, float] = defaultdict(float)
    before = time.perf_counter()

    def lap(part: str) -> None:
        nonlocal before
        if device != "cpu":
            torch.cuda.synchronize()  # else the time of a kernel falls to who waits for it
        now = time.perf_counter()
        seconds[part] += now - before
        before = now

    def lapped(work: Callable[..., Any], first: str, then: str) -> Callable[..., Any]:
        def measured(*args: Any, **kw: Any) -> Any:
            lap(first)
            found = work(*args, **kw)
            lap(then)
            return found

        return measured

    def end_of_epoch(trainer: Any) -> None:
        lap(rest)
        if trainer.epoch == 0:
            seconds.clear()

    rest = "tables, checkpoints, all else"
    for event, part in (
        ("on_train_epoch_start", rest),
        ("on_train_batch_start", "waiting for the loader"),
        ("on_train_batch_end", rest),
    ):
        default_callbacks[event].append(lambda trainer, part=part: lap(part))
    default_callbacks["on_fit_epoch_end"].append(end_of_epoch)
    torch.Tensor.backward = lapped(torch.Tensor.backward, "forward, loss", "backward")
    for name, part in (("optimizer_step", "optimiser, averaged model"), ("validate", "validation")):
        setattr(MitosisTrainer, name, lapped(getattr(MitosisTrainer, name), rest, part))
    train(
        dataset.root,
        root / "parts",
        TrainOptions(
            model=options.model,
            weights=str(root / "start.pt"),
            epochs=options.epochs,
            batch=options.batch,
            recipe="ultralytics",
            settings=SETTINGS,
            device=device,
        ),
    )
    whole = sum(seconds.values())
    print("\n| part of an epoch, one process and one thread | s | share |\n|---|---|---|")
    for part, taken in seconds.items():
        print(f"| {part} | {taken / (options.epochs - 1):.3f} | {taken / whole:.1%} |")


# --- reading and augmenting -------------------------------------------------------------------


def _loader(dataset: Dataset, a_tile: float, repeats: int) -> None:
    """Print what a core reads and augments, and what of it is ours beside a tile's training.

    As in a data set much larger than what Ultralytics keeps in memory for its mosaics, of which
    three fields in four then come from there; ours come from the whole data set and are read.
    """
    from mitoyolo.detectors.recipe import Recipe, read_recipe
    from mitoyolo.detectors.yolo_data import TrainingTiles
    from mitoyolo.distributed import Process

    from ultralytics.cfg import get_cfg
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(str(dataset.root / "dataset.yaml"))

    def tiles(kind: type[YOLODataset], by: Recipe, **own: Any) -> YOLODataset:
        return kind(
            img_path=data["train"], imgsz=_imgsz(dataset), augment=True, data=data,
            batch_size=1,  # eight of which are kept in memory
            hyp=get_cfg(overrides=by.settings), **own,
        )  # fmt: skip

    def ours(name: str, **changes: Any) -> YOLODataset:
        recipe = read_recipe("yolov5n", name, changes)
        return tiles(TrainingTiles, recipe, recipe=recipe, seed=0, process=Process())

    ways = {
        "plain Ultralytics": tiles(YOLODataset, read_recipe("yolov5n", "ultralytics")),
        "recipe ultralytics": ours("ultralytics"),
        "recipe mitosis": ours("mitosis"),
        "recipe mitosis with stain jitter of 0.3": ours("mitosis", stain=0.3),
        "recipe mitosis without quarter turns": ours("mitosis", rot90=False),
    }
    chosen = range(min(64, len(dataset.images_of("train"))))
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, found in ways.items():
            taken[way].append(_seconds(found, chosen))
    print("\n| tiles read and augmented by a core | tiles/s | ms a tile | of a tile's training |")
    print("|---|---|---|---|")
    for way, seconds in taken.items():
        each = median(seconds) / len(chosen)
        print(f"| {way} | {1 / each:.1f} | {1e3 * each:.2f} | {each / a_tile:.1%} |")
    theirs, YOLODataset.__getitem__ = YOLODataset.__getitem__, lambda self, tile: {}
    each = _seconds(ways["recipe mitosis"], chosen) / len(chosen)
    YOLODataset.__getitem__ = theirs
    print(f"| of it, the seeding of a tile | | {1e3 * each:.3f} | {each / a_tile:.3%} |")


def _seconds(tiles: Any, chosen: range) -> float:
    """Of a core, whatever else the machine does."""
    start = time.process_time()
    for tile in chosen:
        tiles[tile]
    return time.process_time() - start


# --- the arithmetic of several GPUs -----------------------------------------------------------


def ring_seconds(size: float, gpus: int, link: float) -> float:
    """The least time of a ring all-reduce of ``size`` bytes over links of ``link`` bytes a second.

    Each link carries 2 (n - 1) / n of the bytes (Patarasuk and Yuan, 2009); the time of the
    messages themselves is left out.
    """
    return 2 * (gpus - 1) / gpus * size / link


def _gradients() -> None:
    print(f"\n| model | parameters | gradients, MB | {' | '.join(f'{n}, ms' for n in LINKS)} |")
    print("|---" * (3 + len(LINKS)) + "|")
    for model, parameters in _parameters():
        size = 4 * parameters
        times = (f"{1e3 * ring_seconds(size, *link):.2f}" for link in LINKS.values())
        print(f"| {model} | {parameters:,} | {size / 1e6:.1f} | {' | '.join(times)} |")


def _parameters() -> Iterator[tuple[str, int]]:
    from mitoyolo.detectors.yolo import start_model

    for name in YOLO:
        model = start_model(name, None, ["mitosis"], 0)
        yield name, sum(p.numel() for p in model.parameters() if p.requires_grad)


if __name__ == "__main__":
    main()
