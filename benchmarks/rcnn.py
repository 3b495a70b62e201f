"""How fast the two-stage detectors train and detect, beside torchvision's plain loop.

    python benchmarks/rcnn.py [--models mitos-rcnn ...] [--data FOLDER] [--repeats 5] [--device 0]

Two programs take turns, each beginning every other turn, in one process a model: on the same
network with random weights, the same tiles in batches of one size, one optimizer and, on a GPU, the
same autocast. One is ours, `RcnnTrainer.step` over `training_loader`, and `RcnnDetector.predict`.
The other does what torchvision's references/detection do: images by Pillow, boxes by pycocotools,
half of them mirrored, the sum of the losses, a step, without clipping or a seed a step; and the
network alone on arrays in memory, where ours, too, has them there. The learning rate is 1e-6, so
that all runs find the network alike. The first turn is not counted.

"Beside torchvision" is its time by ours: the median of the turns' quotients, with the least and the
largest. Seconds of the CPU are in brackets or in a column of their own: where a machine does other
work, they and OMP_NUM_THREADS=1 say more than the clock, since threads then wait for each other.
Memory is the most that the process, or the GPU, held during a run, the median of the runs.

Without FOLDER, frames of MITOS-ATYPIA-14's size are rendered and cut into 16 parts each. Where
tiles are such parts, 16 of them are a high-power field, the MITOS-RCNN paper's unit. Random weights
leave more boxes to the last suppression than trained ones do.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import chain, islice, repeat
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2
from torchvision.transforms.functional import to_tensor

from mitoyolo.convert import ConvertOptions, convert
from mitoyolo.dataset import Dataset, open_dataset
from mitoyolo.demo.write import write_atypia14_case
from mitoyolo.detectors.families import RCNN
from mitoyolo.detectors.rcnn import RcnnDetector
from mitoyolo.detectors.rcnn_data import collate
from mitoyolo.detectors.rcnn_recipe import read_recipe
from mitoyolo.detectors.rcnn_train import RcnnTrainer
from mitoyolo.detectors.training import Training, peak_memory_mib
from mitoyolo.distributed import Process
from mitoyolo.evaluation.protocols import get_protocol
from mitoyolo.images import read_rgb
from mitoyolo.progress import bar, set_quiet

WIDTH, HEIGHT = 1539, 1376
"""px of an Aperio frame of MITOS-ATYPIA-14, at 0.2455 µm/px."""

PARTS = 16
"""Of a frame, which is a high-power field in the MITOS-RCNN paper."""

OURS, PLAIN = "mitoyolo", "torchvision"

HEADS = (
    "model", "work", f"{OURS}, tiles/s", f"{PLAIN}, tiles/s", f"beside {PLAIN}", "by CPU",
    "ms a tile (CPU)", "s a field (CPU)", f"MiB, {OURS}", f"MiB, {PLAIN}",
)  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(RCNN), choices=RCNN, metavar="NAME")
    parser.add_argument("--data", type=Path, help="dataset folder; else rendered")
    parser.add_argument("--cases", type=int, default=3, help="rendered, at least 2; 2 frames each")
    parser.add_argument("--imgsz", type=int, help="input's longer side; else each model's own")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1, help="batches a run")
    parser.add_argument("--repeats", type=int, default=5, help="turns, one more not counted")
    parser.add_argument("--device", default="cpu", help="cpu, or a GPU's number")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        set_quiet(True)
        data = options.data or _render(root, options.cases)
        tile = open_dataset(data).tiles[0]
        print(
            f"tiles of {tile.width} x {tile.height} px, batches of {options.batch}, runs of "
            f"{options.steps}, {options.repeats} turns, device {options.device}, "
            f"{torch.get_num_threads()} threads\n"
        )
        print(f"| {' | '.join(HEADS)} |\n{'|---' * len(HEADS)}|", flush=True)
        work = partial(_measure, data=data, root=root, options=options)
        new = multiprocessing.get_context("spawn")  # a model's memory is not the one's before
        with ProcessPoolExecutor(1, mp_context=new, max_tasks_per_child=1) as pool:
            for rows in pool.map(work, options.models):
                print("\n".join(f"| {' | '.join(row)} |" for row in rows), flush=True)
    names = ("mitoyolo", "torch", "torchvision", "opencv-python", "pillow")
    print(f"\nPython {sys.version.split()[0]}, " + ", ".join(f"{n} {version(n)}" for n in names))


def _render(root: Path, cases: int) -> Path:
    """A dataset folder of parts of frames; for training those with mitoses, as the other does."""
    for case in range(cases):
        write_atypia14_case(root / "frames", 0, case, WIDTH, Counter(), lambda: None)
    for path in (root / "frames").rglob("*.png"):
        cv2.imwrite(str(path), cv2.imread(str(path))[:HEIGHT])
    cut = ConvertOptions(
        format="atypia14", grid=(4, 4), background=0, shares=(1 - 1 / cases, 1 / cases, 0)
    )
    convert(root / "frames", root / "data", cut)
    return root / "data"


# --- two programs -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds a tile, of the clock and of all cores, and the most memory."""

    seconds: float
    cpu: float
    peak_mib: float


Program = Callable[[], int]
"""Does its work once; the number of tiles."""


def _measure(model: str, *, data: Path, root: Path, options: argparse.Namespace) -> list[list[str]]:
    """The table's rows of a model, in a process of its own."""
    set_quiet(True)
    dataset = open_dataset(data)
    with bar("training", unit="tiles") as progress:
        recipe = read_recipe(model, changes={"lr0": 1e-6})
        trainer = RcnnTrainer(
            Training(
                model=model,
                start=None,
                dataset=dataset,
                run=root / model,
                recipe=recipe,
                epochs=1,
                imgsz=options.imgsz or recipe.imgsz or max(dataset.tiles[0].size),
                batch=options.batch,
                accumulate=1,
                seed=0,
                devices=(options.device,),
                protocol=get_protocol(dataset.block["protocol"]),
                process=Process(),
                progress=progress,
                state=None,
            )
        )
        trains = _in_turns(_trainings(trainer, dataset, options.steps), options)
    finds = _in_turns(_detections(trainer, dataset, options), options)
    return [_row(model, "train", trains), _row(model, "detect", finds)]


def _trainings(trainer: RcnnTrainer, dataset: Dataset, steps: int) -> dict[str, Program]:
    network, optimizer, device = trainer._network, trainer._optimizer, trainer._device
    half = device != "cpu" and torch.cuda.is_bf16_supported()
    ours = trainer._loader
    plain = DataLoader(
        _reference_tiles(dataset),
        batch_size=ours.batch_size,
        shuffle=True,
        num_workers=ours.num_workers,
        persistent_workers=ours.persistent_workers,
        pin_memory=ours.pin_memory,
        collate_fn=collate,
    )

    def step(number: int, images: list[torch.Tensor], targets: list[dict[str, Any]]) -> None:
        images = [image.to(device) for image in images]
        targets = [{name: value.to(device) for name, value in one.items()} for one in targets]
        with torch.autocast("cuda", torch.bfloat16) if half else nullcontext():
            loss = sum(network(images, targets).values())
        if not math.isfinite(loss.item()):
            raise SystemExit("the loss is not finite")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def run(loader: DataLoader[Any], take: Callable[..., object]) -> int:
        network.train()
        tiles = 0
        for number, (images, targets) in enumerate(_endless(loader, steps)):
            take(number, images, targets)
            tiles += len(images)
        return tiles

    return {
        OURS: partial(run, ours, lambda number, *batch: trainer.step(*batch, number)),
        PLAIN: partial(run, plain, step),
    }


def _endless(loader: DataLoader[Any], steps: int) -> Iterator[Any]:
    return islice(chain.from_iterable(repeat(loader)), steps)


def _reference_tiles(dataset: Dataset) -> Any:
    """The training split as torchvision's references read and augment COCO: tiles with boxes."""
    steps = (
        v2.PILToTensor(),
        v2.RandomHorizontalFlip(0.5),
        v2.ToDtype(torch.float32, scale=True),
        v2.ToPureTensor(),
    )
    with redirect_stdout(None):  # pycocotools prints what it does
        tiles = CocoDetection(
            dataset.root / "images" / "train",
            dataset.root / "annotations" / "train.json",
            transforms=v2.Compose(steps),
        )
    with_boxes = [n for n, image in enumerate(tiles.ids) if tiles.coco.getAnnIds(image)]
    return Subset(
        wrap_dataset_for_transforms_v2(tiles, target_keys=("boxes", "labels")), with_boxes
    )


def _detections(
    trainer: RcnnTrainer, dataset: Dataset, options: argparse.Namespace
) -> dict[str, Program]:
    network, device, count = trainer._network, trainer._device, options.steps * options.batch
    found = islice(chain.from_iterable(repeat(dataset.of_split("val"))), count)
    tiles = [read_rgb(dataset.image_path(tile)) for tile in found]
    batches = [tiles[start : start + options.batch] for start in range(0, count, options.batch)]
    detector = RcnnDetector(
        network,
        classes=tuple(dataset.labels),
        card=None,
        imgsz=network.transform.max_size,
        device=device,
    )

    def ours() -> int:
        for batch in batches:
            detector.predict(batch)
        return count

    @torch.inference_mode()
    def plain() -> int:
        for batch in batches:
            outputs = network([to_tensor(tile).to(device) for tile in batch])
            [{name: value.cpu() for name, value in one.items()} for one in outputs]
        return count

    return {OURS: ours, PLAIN: plain}


# --- measured ---------------------------------------------------------------------------------


def _in_turns(programs: dict[str, Program], options: argparse.Namespace) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {name: [] for name in programs}
    for turn in range(options.repeats + 1):
        for name in list(programs)[:: 1 if turn % 2 else -1]:
            run = _timed(programs[name], options.device)
            if turn:
                runs[name].append(run)
    return runs


def _timed(program: Program, device: str) -> Run:
    on_gpu = device != "cpu"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # forget the process's peak (man proc)
    start, cpu = time.perf_counter(), time.process_time()
    tiles = program()
    if on_gpu:
        torch.cuda.synchronize()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = peak_memory_mib()["gpu" if on_gpu else "process"]
    return Run(seconds / tiles, cpu / tiles, peak)


def _row(model: str, work: str, runs: dict[str, list[Run]]) -> list[str]:
    seconds = {name: median(run.seconds for run in of) for name, of in runs.items()}
    cpu = median(run.cpu for run in runs[OURS])
    pairs = list(zip(runs[OURS], runs[PLAIN], strict=True))
    beside = [plain.seconds / ours.seconds for ours, plain in pairs]
    return [
        model,
        work,
        *(f"{1 / taken:.3g}" for taken in seconds.values()),
        f"{median(beside):.3f} ({min(beside):.2f}, {max(beside):.2f})",
        f"{median(plain.cpu / ours.cpu for ours, plain in pairs):.3f}",
        f"{1e3 * seconds[OURS]:.0f} ({1e3 * cpu:.0f})",
        f"{PARTS * seconds[OURS]:.2f} ({PARTS * cpu:.2f})" if work == "detect" else "",
        *(f"{median(run.peak_mib for run in of):.0f}" for of in runs.values()),
    ]


if __name__ == "__main__":
    main()
