"""Commands that train, compare and export models."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from mitoyolo.cli.options import (
    Debug,
    Device,
    Overwrite,
    Quiet,
    Seed,
    Trust,
    begin,
    check_one_of,
    own_stderr_unless,
    read_seeds,
    read_settings,
)
from mitoyolo.detectors.families import MODELS

commands = typer.Typer()


@commands.command(
    epilog="Example: mitoyolo train --data data/atypia/dataset.yaml --model yolov5n "
    "--weights yolov5n.pt --epochs 50"
)
def train(
    data: Annotated[Path, typer.Option(help="dataset.yaml of a dataset folder.")],
    model: Annotated[str, typer.Option(help=f"{', '.join(MODELS)}.")],
    weights: Annotated[
        str | None,
        typer.Option(metavar="FILE|none", help="Start; none: from scratch; else pretrained."),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training tiles.")] = 50,
    imgsz: Annotated[
        int | None, typer.Option(min=32, help="px a tile is resized to; else its own size.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Tiles a step, of all processes; else the recipe's.")
    ] = None,
    accumulate: Annotated[
        int, typer.Option(min=1, help="Micro-batches a step, for little memory.")
    ] = 1,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, a GPU's number, or 0,1 with --ddp.  [default: GPU if any]"),
    ] = None,
    ddp: Annotated[bool, typer.Option("--ddp", help="Train in several processes.")] = False,
    nproc: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine; else one a GPU.")
    ] = None,
    nnodes: Annotated[int, typer.Option(min=1, help="Machines, each with this call.")] = 1,
    node_rank: Annotated[int, typer.Option(min=0, help="Which of them this is.")] = 0,
    rdzv: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where they meet, on machine 0.")
    ] = None,
    restarts: Annotated[
        int, typer.Option(min=0, help="Times to start again, resuming, when a process fails.")
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped or killed.")
    ] = False,
    verify: Annotated[
        bool | None,
        typer.Option(
            help="Train a second network that looks at each detection; else as the recipe says."
        ),
    ] = None,
    seed: Seed = 0,
    seeds: Annotated[
        str | None, typer.Option(metavar="S,S,...", help="Train once a seed; mean and spread.")
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(metavar="K", help="Train K times: each case scored by who has not seen it."),
    ] = None,
    background: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of mitosis-free tiles that the detector sees."),
    ] = 1.0,
    project: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    name: Annotated[
        str | None, typer.Option(help="The run's folder; else the model's name.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|YAML",
            help="A file, or of YOLO mitosis or ultralytics (plain); else the model's own.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the recipe; repeat."),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fine-tune a detector on a dataset folder, in one process or several.

    The best epoch is the one with the best F1 on whole validation images (by the recipe
    ultralytics its own mAP).
    """
    begin(quiet)
    from mitoyolo.train import TrainOptions
    from mitoyolo.train import train as run

    if seeds is not None and (seed or folds):
        other = "--seed" if seed else "--folds"
        raise typer.BadParameter(f"excludes {other}", param_hint="--seeds")
    settings = read_settings(set_ or [])
    if verify is not None:
        if "verify" in settings:
            raise typer.BadParameter("is given by --set too", param_hint="--verify")
        settings["verify"] = verify
    folder = project / (name or model)
    options = TrainOptions(
        model=model,
        weights=weights,
        epochs=epochs,
        imgsz=imgsz,
        batch=batch,
        accumulate=accumulate,
        seed=seed,
        background=background,
        recipe=recipe,
        settings=settings,
        device=device,
        ddp=ddp,
        nproc=nproc,
        nnodes=nnodes,
        node_rank=node_rank,
        rdzv=rdzv,
        restarts=restarts,
    )
    done: object
    if seeds is not None:
        from mitoyolo.train_seeds import train_seeds

        each = read_seeds(seeds)
        done = train_seeds(data, folder, options, each, resume=resume, overwrite=overwrite)
    elif folds is not None:
        from mitoyolo.train_folds import train_folds  # 0.1 s, for scoring

        done = train_folds(data, folder, options, folds, resume=resume, overwrite=overwrite)
    else:
        done = run(data, folder, options, resume=resume, overwrite=overwrite)
    if done:  # not where it was stopped, nor in other processes than the first
        print(done)


@commands.command(epilog="Example: mitoyolo sweep settings.yaml --out runs/sweep")
def sweep(
    table: Annotated[Path, typer.Argument(metavar="TABLE.yaml", help="Rows of settings.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("runs/sweep"),
    split: Annotated[
        str, typer.Option(help="Which is scored: val to choose by, test at the end.")
    ] = "val",
    device: Device = "cpu",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train several settings from the same seeds, and set them side by side.

    What is finished is not run again; more rows or seeds run what is new.
    """
    begin(quiet)
    from converters.model import SPLITS
    from mitoyolo.sweep import sweep as run

    check_one_of("--split", split, SPLITS)
    if page := run(table, out, split=split, device=device):
        print(page)


@commands.command(epilog="Example: mitoyolo benchmark --data dataset --models yolov5n,faster-rcnn")
def benchmark(
    data: Annotated[
        list[Path] | None,
        typer.Option(help="A dataset folder; repeat. Else rendered data."),
    ] = None,
    models: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Else the papers' models and the peers.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="S,...", help="Else 0,1,2; with --quick 0.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of every model; else as many as the data need.")
    ] = None,
    imgsz: Annotated[
        int | None, typer.Option(min=32, help="px a tile is resized to; else each model's own way.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|none", help="Start; else pretrained, on rendered data from scratch."
        ),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="How detections are counted; else as the data say.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("runs/benchmark"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Little data and few epochs: minutes on a CPU.")
    ] = False,
    device: Device = "cpu",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train and score models side by side: tables, pictures and a page.

    What is finished is not run again; more models, seeds or data sets run what is new.
    """
    begin(quiet)
    from mitoyolo.benchmark.entries import USUAL
    from mitoyolo.benchmark.run import BenchmarkOptions
    from mitoyolo.benchmark.run import benchmark as run

    if quick and data:
        raise typer.BadParameter("is of rendered data, and excludes --data", param_hint="--quick")
    if protocol is not None:
        from mitoyolo.evaluation.protocols import PROTOCOLS

        check_one_of("--protocol", protocol, tuple(PROTOCOLS))
    options = BenchmarkOptions(
        data=tuple(data or ()),
        models=tuple(map(str.strip, models.split(","))) if models else USUAL,
        seeds=tuple(read_seeds(seeds or ("0" if quick else "0,1,2"))),
        epochs=epochs,
        imgsz=imgsz,
        weights=weights,
        protocol=protocol,
        device=device,
        quick=quick,
    )
    if page := run(out, options, shlex.join(["mitoyolo", *sys.argv[1:]])):
        print(page)


@commands.command(
    epilog="Example: mitoyolo export --weights runs/yolov5n/weights/best.pt --format openvino"
)
def export(
    weights: Annotated[Path, typer.Option(help="best.pt of a run.")],
    format_: Annotated[
        str, typer.Option("--format", help="openvino, onnx, torchscript, or engine (TensorRT).")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder; else best_FORMAT_model beside the weights.")
    ] = None,
    imgsz: Annotated[int | None, typer.Option(min=32, help="Else as trained.")] = None,
    trust: Trust = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a deployable model of weights.

    `val` and `detect` take the folder that is printed as --weights; the card comes along.
    """
    begin(quiet)
    from mitoyolo.detectors.exported import FORMATS

    check_one_of("--format", format_, tuple(FORMATS))
    from mitoyolo.export import export as run

    with own_stderr_unless(debug):
        print(run(weights, format_, out=out, imgsz=imgsz, trust=trust, overwrite=overwrite))
