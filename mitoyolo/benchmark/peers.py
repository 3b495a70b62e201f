"""Others' detectors, trained as their own users train them: what there is without mitoyolo.

``python -m mitoyolo.benchmark.peers NAME --data D --out O ...`` trains one in a process of its own,
so that its time, memory and settings are its own. A training that was killed begins again.

Peers train on the same tiles as ours (``dataset.yaml`` and ``images/`` as Ultralytics reads them,
``annotations/train.json`` as COCO), for the same epochs with the same batches and input, and
otherwise as their packages have it. They leave weights without a card: without a threshold, and
without µm/px.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.errors import InputError
from converters.files import read_json, write_json
from mitoyolo.dataset import Dataset, open_dataset
from mitoyolo.detectors.base import Detector, check_device, load_detector, torch_name
from mitoyolo.detectors.training import BEST, peak_memory_mib
from mitoyolo.jobs import fingerprint, open_job, versions
from mitoyolo.progress import bar, note, set_quiet

if TYPE_CHECKING:  # torch takes seconds to import
    from torchvision.models.detection.faster_rcnn import FasterRCNN

RECORD = "record.json"
"""What a training took, written last: its presence says that the training is finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a peer is told.

    Attributes
    ----------
    epochs, imgsz, batch, seed : int
        ``imgsz`` is the side in pixels to which tiles are resized.
    device : str
        `cpu`, or a GPU's number.
    weights : Path or None
        To start from; None: random ones.
    """

    epochs: int
    imgsz: int
    batch: int
    seed: int
    device: str = "cpu"
    weights: Path | None = None


Train = Callable[[Dataset, Path, Settings], int]
"""Trains into a folder and gives how many epochs it took; the weights are at :data:`BEST` in it,
and appear there whole, when all is done."""

Load = Callable[..., Detector]
"""``load(weights, dataset, imgsz=None, device="cpu")``: weights of a data set as a detector; the
side of the input where the call does not say is that of the training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A detector of another package.

    Attributes
    ----------
    title : str
        As tables name it.
    package : str
        Where it is from, on the package index.
    recipe : str
        How it is trained, in a line.
    engine : str
        Module that brings what it needs into memory, before the clock starts.
    train : callable
        See :data:`Train`.
    load : callable
        See :data:`Load`.
    exports : bool
        Whether ``mitoyolo export`` takes its weights.
    """

    title: str
    package: str
    recipe: str
    engine: str
    train: Train
    load: Load
    exports: bool


def _side(weights: Path, imgsz: int | None) -> int:
    """The side of the input: as asked for, else as the record beside the weights has it."""
    if imgsz is not None:
        return imgsz
    record = weights.parents[len(BEST.parts) - 1] / RECORD
    try:
        return int(read_json(record)["settings"]["imgsz"])
    except (KeyError, TypeError, ValueError):
        raise InputError("not the record of a peer's training", file=record) from None


# --- Ultralytics ------------------------------------------------------------------------------


def _train_ultralytics(model: str, dataset: Dataset, out: Path, settings: Settings) -> int:
    """Ultralytics' own training with all of its defaults, its choice of the best epoch included.

    Other than by default are: no plots; on a GPU, bfloat16 in place of float16 where there is
    bfloat16, since Ultralytics tries float16 out on weights that it fetches. The start from
    pretrained weights is ours, which reads classic YOLOv5 files too.
    """
    from mitoyolo.detectors.failures import foreseen
    from mitoyolo.detectors.yolo import start_model, write_start
    from mitoyolo.detectors.yolo_train import precision

    from ultralytics import YOLO

    folder = out / "ultralytics"
    if folder.exists():  # of a training that was killed
        shutil.rmtree(folder)
    start = f"{model}.yaml"
    if settings.weights:
        folder.mkdir()
        start = str(folder / "start.pt")
        first = start_model(model, settings.weights, dataset.labels, settings.seed)
        write_start(Path(start), first)
    with (
        bar(f"training {model} by Ultralytics", unit="epochs", total=settings.epochs) as progress,
        foreseen("give a smaller --batch or --imgsz"),
    ):
        yolo = YOLO(start)
        yolo.add_callback("on_train_epoch_end", lambda trainer: progress.step())
        yolo.train(
            data=str(dataset.root / "dataset.yaml"),
            epochs=settings.epochs,
            imgsz=settings.imgsz,
            batch=settings.batch,
            seed=settings.seed,
            device=settings.device,
            project=str(out.resolve()),
            name=folder.name,
            exist_ok=True,
            plots=False,
            amp=precision(settings.device),
        )
    trainer: Any = yolo.trainer
    (out / BEST).parent.mkdir(exist_ok=True)
    trainer.best.replace(out / BEST)
    shutil.rmtree(folder / "weights")
    return int(trainer.epoch) + 1


def _load_ultralytics(
    weights: Path, dataset: Dataset, *, imgsz: int | None = None, device: str = "cpu"
) -> Detector:
    return load_detector(weights, device=device, imgsz=_side(weights, imgsz))


def _ultralytics(model: str, title: str) -> Peer:
    return Peer(
        title=title,
        package="ultralytics",
        recipe="Ultralytics' defaults, the best epoch by its own fitness",
        engine="mitoyolo.detectors.yolo_train",
        train=partial(_train_ultralytics, model),
        load=_load_ultralytics,
        exports=True,
    )


# --- torchvision ------------------------------------------------------------------------------

LR0, LR_TILES = 0.02, 16
"""The learning rate, and the tiles of a step that it is for; it is scaled with them."""

DROPS = (16 / 26, 22 / 26)
"""Shares of the training after which the learning rate becomes a tenth."""

WARMUP_STEPS, WARMUP_FROM = 1000, 1e-3
"""Steps at most, within the first epoch, in which the learning rate rises to its height, and its
share of that in the first one."""


def _train_torchvision(dataset: Dataset, out: Path, settings: Settings) -> int:
    """fasterrcnn_resnet50_fpn by the recipe of torchvision's references/detection.

    SGD with momentum 0.9 and weight decay 1e-4, :data:`LR0`, :data:`DROPS`, a warm-up in the first
    epoch, horizontal flips, float32; what the last epoch leaves is kept. The recipe's own
    validation, COCO's mAP after each epoch, decides nothing there and is left out. Tiles without a
    box, which it would not train on, are among them here, as for all other models.
    """
    import torch
    from torch.optim.lr_scheduler import LinearLR, MultiStepLR
    from torch.utils.data import DataLoader

    from mitoyolo.detectors.checkpoint import write_checkpoint
    from mitoyolo.detectors.failures import EngineError, foreseen
    from mitoyolo.detectors.rcnn_data import collate

    device, tiles = torch_name(settings.device), _coco_tiles(dataset)
    steps = -(-len(tiles) // settings.batch) * settings.epochs
    with (
        bar("training Faster R-CNN by torchvision", unit="steps", total=steps) as progress,
        foreseen("give a smaller --batch or --imgsz"),
    ):
        torch.manual_seed(settings.seed)
        network = _start(len(dataset.labels), settings.imgsz, settings.weights).to(device).train()
        loader = DataLoader(
            tiles,
            batch_size=settings.batch,
            shuffle=True,
            num_workers=0 if device == "cpu" else 4,
            collate_fn=collate,
        )
        optimizer = torch.optim.SGD(
            [parameter for parameter in network.parameters() if parameter.requires_grad],
            lr=LR0 * settings.batch / LR_TILES,
            momentum=0.9,
            weight_decay=1e-4,
        )
        drops = MultiStepLR(optimizer, [round(share * settings.epochs) for share in DROPS])
        rises = min(WARMUP_STEPS, len(loader) - 1)
        warmup = LinearLR(optimizer, WARMUP_FROM, total_iters=rises) if rises else None
        for epoch in range(settings.epochs):
            for images, targets in loader:
                truths = [{k: v.to(device) for k, v in target.items()} for target in targets]
                losses = network([image.to(device) for image in images], truths)
                loss: Any = sum(losses.values())
                if not isfinite(loss.item()):
                    raise EngineError(f"the loss is not finite in epoch {epoch + 1}")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if warmup:
                    warmup.step()
                progress.step()
            drops.step()
    (out / BEST).parent.mkdir(exist_ok=True)
    content = {"model": network.state_dict(), "architecture": {"frozen": bool(settings.weights)}}
    write_checkpoint(out / BEST, content)
    return settings.epochs


def _coco_tiles(dataset: Dataset) -> Any:
    """The training tiles with their boxes, from the COCO file, each time mirrored or not."""
    import torch
    from torchvision.datasets import CocoDetection
    from torchvision.transforms import v2
    from torchvision.tv_tensors import BoundingBoxes

    augment = v2.Compose(
        [
            v2.ToImage(),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.ConvertBoundingBoxFormat("XYXY"),
        ]
    )

    def prepare(image: Any, annotations: list[dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
        rows = torch.tensor([a["bbox"] for a in annotations], dtype=torch.float32)
        given = BoundingBoxes(
            rows.reshape(-1, 4), format="XYWH", canvas_size=(image.height, image.width)
        )
        labels = torch.tensor([numbers[a["category_id"]] for a in annotations], dtype=torch.int64)
        mirrored, boxes = augment(image, given)
        whole = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)  # of others the network makes an error
        return mirrored, {"boxes": boxes[whole], "labels": labels[whole]}

    with redirect_stdout(io.StringIO()):  # pycocotools tells what it does
        tiles = CocoDetection(
            dataset.root / "images" / "train",
            str(dataset.root / "annotations" / "train.json"),
            transforms=prepare,
        )
    numbers = {
        number: dataset.labels.index(category["name"]) + 1
        for number, category in tiles.coco.cats.items()
    }
    return tiles


def _start(classes: int, imgsz: int, weights: Path | None) -> FasterRCNN:
    """fasterrcnn_resnet50_fpn with torchvision's defaults but for classes and input; from weights
    (of ResNet-50 or of the whole detector) with frozen BatchNorm and first layers, as there."""
    from mitoyolo.detectors.checkpoint import read_checkpoint
    from mitoyolo.detectors.rcnn import take_over

    network = _network(classes, imgsz, frozen=weights is not None)
    if weights:
        take_over(network, read_checkpoint(weights), "torchvision's Faster R-CNN")
    return network


def _network(classes: int, imgsz: int, *, frozen: bool) -> FasterRCNN:
    from torch import nn
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.models.detection.faster_rcnn import FasterRCNN
    from torchvision.ops import FrozenBatchNorm2d

    backbone = resnet_fpn_backbone(
        backbone_name="resnet50",
        weights=None,
        norm_layer=FrozenBatchNorm2d if frozen else nn.BatchNorm2d,
        trainable_layers=3 if frozen else 5,
    )
    return FasterRCNN(backbone, classes + 1, min_size=imgsz, max_size=imgsz)


def _load_torchvision(
    weights: Path, dataset: Dataset, *, imgsz: int | None = None, device: str = "cpu"
) -> Detector:
    from mitoyolo.detectors.checkpoint import read_checkpoint
    from mitoyolo.detectors.rcnn import RcnnDetector

    check_device(device)
    checkpoint, side = read_checkpoint(weights), _side(weights, imgsz)
    frozen = bool((checkpoint.architecture or {}).get("frozen"))
    network = _network(len(dataset.labels), side, frozen=frozen)
    try:
        network.load_state_dict(checkpoint.tensors)
    except RuntimeError:
        raise InputError(
            "not the weights of this peer on data of these classes", file=weights
        ) from None
    where = torch_name(device)
    return RcnnDetector(
        network.to(where), classes=tuple(dataset.labels), card=None, imgsz=side, device=where
    )


PEERS = {
    "ultralytics-yolov5n": _ultralytics("yolov5n", "YOLOv5n, plain Ultralytics"),
    "ultralytics-yolo26n": _ultralytics("yolo26n", "YOLO26n, plain Ultralytics"),
    "torchvision-faster-rcnn": Peer(
        title="Faster R-CNN, torchvision's reference",
        package="torchvision",
        recipe="references/detection: SGD, learning rate 0.02 for 16 tiles a step, a tenth of it "
        "after 16/26 and 22/26 of the epochs, horizontal flips, the last epoch",
        engine="mitoyolo.detectors.rcnn",
        train=_train_torchvision,
        load=_load_torchvision,
        exports=False,
    ),
}
"""By name."""


# --- a process of its own ---------------------------------------------------------------------


def run(name: str, data: Path, out: Path, settings: Settings) -> None:
    """Train a peer into a folder: ``weights/best.pt``, what its package writes, and the record.

    Raises
    ------
    InputError
        Data or weights cannot be used, or the folder holds another call's work.
    EngineError
        torch or the peer's package gave up.
    """
    peer, dataset = PEERS[name], open_dataset(data)
    check_device(settings.device)
    plain = {**asdict(settings), "weights": str(settings.weights or "none")}
    arguments = {
        **plain,
        "peer": name,
        "weights_state": fingerprint([settings.weights]) if settings.weights else None,
        "dataset_hash": dataset.hash(),
    }
    with open_job(out, command="benchmark peer", arguments=arguments, index=RECORD) as job:
        if job.finished:
            note(f"{out} is finished already")
            return
        import torch

        import_module(peer.engine)
        began = time.perf_counter()
        epochs = peer.train(dataset, out, settings)
        took = time.perf_counter() - began
        record = {
            "peer": name,
            "title": peer.title,
            "package": peer.package,
            "recipe": peer.recipe,
            "settings": plain,
            "epochs": epochs,
            "training_s": took,
            "images_per_s": epochs * len(dataset.images_of("train")) / took,
            "peak_memory_mib": peak_memory_mib(),
            "threads": torch.get_num_threads(),
            "versions": versions(),
        }
        write_json(out / RECORD, record)


def main(arguments: Sequence[str]) -> int:
    """Run a call; the exit code, with what went wrong on standard error in one line."""
    from mitoyolo.cli.ending import INTERRUPTED, one_line

    parser = argparse.ArgumentParser(prog="python -m mitoyolo.benchmark.peers")
    parser.add_argument("name", choices=list(PEERS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    for option in ("--epochs", "--imgsz", "--batch"):
        parser.add_argument(option, type=_positive, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", type=Path, default=Path("none"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quiet", action="store_true")
    call = vars(parser.parse_args(arguments))
    set_quiet(call.pop("quiet"))
    if call["weights"] == Path("none"):
        call["weights"] = None
    try:
        run(call.pop("name"), call.pop("data"), call.pop("out"), Settings(**call))
    except Exception as error:
        print(f"mitoyolo: {one_line(error)}", file=sys.stderr)
        return int(getattr(error, "exit_code", 1))
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a positive number")
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
