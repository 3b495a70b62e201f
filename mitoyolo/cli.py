"""The command line: each command parses its options and calls one function.

Only the standard library and Typer are imported at the top, so that ``--help`` answers at once;
a command imports what it needs when it runs.
"""

from __future__ import annotations

import errno
import math
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from converters.errors import MitoyoloError
from mitoyolo.detectors.families import MODELS

app = typer.Typer(
    name="mitoyolo",
    help="Pathologists' mitosis annotations to trained detectors and trusted counts.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SHARES = "0.8,0.1,0.1"
"""Of train, val and test, where the call says nothing."""

Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no notes on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a folder that holds another call's work.")
]
Device = Annotated[str, typer.Option(help="cpu, or a GPU's number.")]
Trust = Annotated[
    bool, typer.Option("--trust", help="Run the code in a weights file that needs it to load.")
]
MAX_SEED = 2**31 - 1
"""NumPy takes twice as much; each process of a training adds its number."""

Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of everything random.")]


def main() -> None:
    """Run the program; every error is one line on stderr, exit 2 for a wrong call, 1 for bad
    input."""
    try:
        app()
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        print(f"mitoyolo: {one_line(error)}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
    except SystemExit as end:
        if end.code == INTERRUPTED:
            again = (
                "the same call with --resume continues"
                if "train" in sys.argv[1:2]
                else "the same call continues"
            )
            print(f"mitoyolo: interrupted; {again}", file=sys.stderr)
        raise


INTERRUPTED = 130
"""The exit code that Typer makes of Ctrl-C."""


def one_line(error: Exception) -> str:
    """What went wrong, for the user, on one line."""
    if isinstance(error, MitoyoloError):
        text = str(error)
    elif isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        hint = "; free some space, then repeat the call" if error.errno == errno.ENOSPC else ""
        text = f"{place}{error.strerror or error}{hint}"
    else:
        text = f"an error of mitoyolo itself, {type(error).__name__}: {error}; --debug shows where"
    # names of files may hold what steers a terminal
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))


def _begin(quiet: bool) -> None:
    from mitoyolo.progress import set_quiet

    set_quiet(quiet)


def _version(wanted: bool) -> None:
    if wanted:
        from mitoyolo import __version__

        print(f"mitoyolo {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print it and leave."),
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: mitoyolo formats")
def formats(debug: Debug = False) -> None:
    """List the annotation formats that can be read or written."""
    from converters.registry import FORMATS

    for name, entry in FORMATS.items():
        can = "read " if entry.read else "     "
        can += "write" if entry.write else "     "
        print(f"{name:<12} {can}  {entry.summary}")


@app.command(
    epilog="Example: mitoyolo convert MITOS-ATYPIA-14 data/atypia --from atypia14 "
    "--tile 512 --background 0.25"
)
def convert(
    src: Annotated[
        Path | None, typer.Argument(help="Folder or file of annotations (and images).")
    ] = None,
    out: Annotated[Path | None, typer.Argument(help="The folder to write.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="FORMAT", help="See `mitoyolo formats`.")
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            help="yolo (a dataset folder, with COCO beside), or annotations alone in source "
            "pixels as coco, voc, qupath, midog, dsa or csv."
        ),
    ] = "yolo",
    images: Annotated[Path | None, typer.Option(help="Folder of the images.")] = None,
    annotations_only: Annotated[
        bool, typer.Option("--annotations-only", help="Do without images: sizes from the file.")
    ] = False,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns of a centroid CSV: x,y or row,col, and more such as label."),
    ] = None,
    one_based: Annotated[
        bool, typer.Option("--one-based", help="The input's first pixel is number 1.")
    ] = False,
    case_pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Its first group is the case in an image's name."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Facts of a known data set: format, µm/px, protocol.")
    ] = None,
    mpp: Annotated[
        str | None, typer.Option(metavar="F[,FY]", help="µm/px of the input; wins over the file.")
    ] = None,
    at_mpp: Annotated[
        float | None, typer.Option(min=0.01, max=50, help="Resample everything to this µm/px.")
    ] = None,
    radius_um: Annotated[
        float, typer.Option(min=0.1, help="Half-side of a centroid's box, µm.")
    ] = 8.0,
    box: Annotated[str, typer.Option(help="ellipse (the exact box) or fixed (--radius-um).")] = (
        "ellipse"
    ),
    min_area: Annotated[
        float | None, typer.Option(metavar="PX2", min=0, help="Drop smaller shapes (input px²).")
    ] = None,
    min_confidence: Annotated[
        float | None, typer.Option(help="Drop mitoses of less confidence.")
    ] = None,
    labels: Annotated[str, typer.Option(help="mitosis, or mitosis,imposter.")] = "mitosis",
    tile: Annotated[
        int | None, typer.Option(min=32, help="Cut into tiles of this many px; else whole images.")
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(min=0, help="px shared by tiles; else 64, or a quarter of a small tile."),
    ] = None,
    grid: Annotated[
        str | None, typer.Option(metavar="CxR", help="Cut into equal parts instead, such as 4x4.")
    ] = None,
    tile_format: Annotated[str, typer.Option(help="png (lossless) or jpg, for cut tiles.")] = "png",
    background: Annotated[
        float, typer.Option(min=0, max=1, help="Share of mitosis-free training tiles to keep.")
    ] = 1.0,
    augment: Annotated[
        str | None, typer.Option(help="Copies of training tiles: flips, rot90, or flips,rot90.")
    ] = None,
    masks: Annotated[
        bool, typer.Option("--masks", help="Write a PNG mask a tile, each object its own value.")
    ] = False,
    split: Annotated[
        str, typer.Option(help="Shares of train, val and test, or official (the preset's).")
    ] = SHARES,
    split_file: Annotated[
        Path | None, typer.Option(help="CSV `case,split` or `source,split` instead.")
    ] = None,
    group_by: Annotated[str, typer.Option(help="case or image: what is never divided.")] = "case",
    unlabelled: Annotated[
        str, typer.Option(help="Images without annotation: error, skip or background.")
    ] = "error",
    include_unlabelled: Annotated[
        bool,
        typer.Option("--include-unlabelled", help="Keep images nobody annotated, never scored."),
    ] = False,
    bad: Annotated[
        str, typer.Option(help="What cannot be understood: stop, or drop (counted and listed).")
    ] = "stop",
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT", help="Check a dataset folder, and draw boxes as OUT/check.png."
        ),
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Turn annotations and images into a dataset folder, or annotations into another format.

    A dataset folder holds YOLO labels, the same boxes as COCO, and tables.
    """
    _begin(quiet)
    if check is not None:
        from mitoyolo.convert.check import check as look_at

        if src or out:
            raise typer.BadParameter("takes no SRC and OUT beside it", param_hint="--check")
        if picture := look_at(check, seed):
            print(picture)
        return
    if src is None or out is None:
        raise typer.BadParameter("expected SRC and OUT", param_hint="convert")
    from converters.model import LABELS
    from converters.mpp import parse_mpp
    from converters.prepare import BOXES, Selection
    from converters.reading import BAD, UNLABELLED
    from converters.registry import FORMATS
    from mitoyolo.convert import ConvertOptions
    from mitoyolo.convert import convert as run
    from mitoyolo.convert.options import parse_augment, parse_grid
    from mitoyolo.own_stderr import own_stderr
    from mitoyolo.split import GROUPS, parse_shares

    _one_of("--to", to, tuple(key for key, entry in FORMATS.items() if entry.write))
    _one_of("--box", box, BOXES)
    _one_of("--group-by", group_by, GROUPS)
    _one_of("--unlabelled", unlabelled, UNLABELLED)
    _one_of("--bad", bad, BAD)
    _one_of("--tile-format", tile_format, ("png", "jpg"))
    _finite("--at-mpp", at_mpp)
    _finite("--radius-um", radius_um)
    _finite("--min-area", min_area)
    _finite("--min-confidence", min_confidence)
    _finite("--background", background)
    wanted = tuple(dict.fromkeys(part.strip() for part in labels.split(",")))
    for label in wanted:
        _one_of("--labels", label, LABELS)
    if "mitosis" not in wanted:
        raise typer.BadParameter("mitosis must be among the labels", param_hint="--labels")
    if grid and tile:
        raise typer.BadParameter("and --tile exclude each other", param_hint="--grid")
    if to != "yolo":
        _only_for_yolo(
            at_mpp=at_mpp,
            tile=tile,
            overlap=overlap,
            grid=grid,
            augment=augment,
            masks=masks,
            split_file=split_file,
            split=split != SHARES,
            group_by=group_by != "case",
            background=background != 1.0,
            tile_format=tile_format != "png",
        )
    if overlap is not None and overlap >= (tile or 0):
        raise typer.BadParameter("must be less than --tile", param_hint="--overlap")
    options = ConvertOptions(
        format=from_,
        to=to,
        images=images,
        annotations_only=annotations_only,
        columns=tuple(name.strip() for name in columns.split(",")) if columns else (),
        one_based=one_based,
        case_pattern=case_pattern,
        preset=preset,
        mpp=parse_mpp(mpp) if mpp else None,
        at_mpp=at_mpp,
        selection=Selection(
            labels=wanted,
            min_confidence=min_confidence,
            min_area=min_area,
            box=box,
            radius_um=radius_um,
        ),
        tile=tile,
        overlap=overlap,
        grid=parse_grid(grid) if grid else None,
        tile_format=tile_format,
        background=background,
        augment=parse_augment(augment) if augment else (),
        masks=masks,
        shares=parse_shares(SHARES if split == "official" else split),
        official=split == "official",
        split_file=split_file,
        group_by=group_by,
        bad=bad,
        unlabelled=unlabelled,
        include_unlabelled=include_unlabelled,
        seed=seed,
    )
    with nullcontext() if debug else own_stderr():
        run(src, out, options, overwrite=overwrite)


def _only_for_yolo(**options: object) -> None:
    """Refuse options that shape a dataset folder where none is written."""
    for name, value in options.items():
        if value:
            option = f"--{name.replace('_', '-')}"
            raise typer.BadParameter("is for --to yolo only", param_hint=option)


@app.command(epilog="Example: mitoyolo tile slides/T98.svs slides/T99.svs tiles --at-mpp 0.25")
def tile(
    slides: Annotated[list[Path], typer.Argument(metavar="SLIDE...", help="Slides or images.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; each slide gets one in it.")],
    size: Annotated[int, typer.Option(min=32, help="px of a tile's side.")] = 500,
    mpp: Annotated[
        str | None, typer.Option(metavar="F[,FY]", help="µm/px of the slides; wins over the file.")
    ] = None,
    at_mpp: Annotated[
        float, typer.Option(min=0.01, max=50, help="µm/px of the tiles; slides are resampled.")
    ] = 0.25,
    batch_size: Annotated[int, typer.Option(min=1, help="Tiles a batch folder.")] = 150,
    min_tissue: Annotated[
        float, typer.Option(min=0, max=1, help="Leave tiles with a smaller share of tissue out.")
    ] = 0.1,
    workers: Annotated[int, typer.Option(min=0, help="Threads; 0 for all cores.")] = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Cut slides into tiles, to be annotated one by one.

    Writes OUT/SLIDE/batch-001/x0y0.png and a table, by which `convert` places on the slide what is
    annotated on the tiles.
    """
    _begin(quiet)
    from converters.mpp import parse_mpp
    from mitoyolo.own_stderr import own_stderr
    from mitoyolo.tile import TileOptions
    from mitoyolo.tile import tile as run

    _finite("--at-mpp", at_mpp)
    _finite("--min-tissue", min_tissue)
    options = TileOptions(
        size=size,
        mpp=parse_mpp(mpp) if mpp else None,
        at_mpp=at_mpp,
        batch_size=batch_size,
        min_tissue=min_tissue,
        workers=workers,
    )
    with nullcontext() if debug else own_stderr():
        for folder in run(slides, out, options, overwrite=overwrite):
            print(folder)


@app.command(
    epilog="Example: mitoyolo normalize data/atypia data/atypia-normalised --method reinhard"
)
def normalize(
    src: Annotated[Path, typer.Argument(help="Folder of images, or a dataset folder.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; with --fit: STATS.json.")],
    method: Annotated[
        str, typer.Option(help="reinhard or macenko; of staintools also vahadane.")
    ] = "reinhard",
    engine: Annotated[
        str, typer.Option(help="mitoyolo, or staintools itself to compare with (mode tile).")
    ] = "mitoyolo",
    mode: Annotated[
        str | None,
        typer.Option(
            help="case (one fit a case), tile, or target.  [default: case; tile with staintools]"
        ),
    ] = None,
    target: Annotated[
        Path | None, typer.Option(help="IMAGE or STATS.json to normalise to; else a built-in one.")
    ] = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="Measure SRC and save it as a target in OUT.")
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 for all cores.")] = 0,
    sheet: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Write a picture, before beside after.")
    ] = None,
    keep_originals: Annotated[
        bool,
        typer.Option("--keep-originals", help="Add copies of training tiles; change no tile."),
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Bring the colours of H&E images to those of a target."""
    _begin(quiet)
    from mitoyolo.stain.folder import fit_target, normalize_folder
    from mitoyolo.stain.methods import ENGINES, find_method, full_name
    from mitoyolo.stain.target import MODES

    _one_of("--engine", engine, tuple(ENGINES))
    _one_of("--method", method, tuple(ENGINES[engine]))
    method = full_name(engine, method)
    stated_mode, mode = mode, mode or find_method(method).default_mode
    _one_of("--mode", mode, MODES)
    if mode == "target" and target is None and not fit:
        raise typer.BadParameter("--mode target needs one", param_hint="--target")
    if fit:
        for name, given in (
            ("--target", target),
            ("--sheet", sheet),
            ("--mode", stated_mode),
            ("--keep-originals", keep_originals),
        ):
            if given:
                raise typer.BadParameter("is not for --fit", param_hint=name)
        fit_target(src, out, method)
    else:
        normalize_folder(
            src,
            out,
            method=method,
            mode=mode,
            target=target,
            workers=workers,
            sheet=sheet,
            keep_originals=keep_originals,
            overwrite=overwrite,
        )


@app.command(
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
    views: Annotated[
        int, typer.Option(help="1, 2, 4 or 8: turned and mirrored, how often each tile is seen.")
    ] = 1,
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
        float | None,
        typer.Option(min=0, max=1, help="Of --folds: mitosis-free tiles to train on, as a share."),
    ] = None,
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

    The best epoch is the one with the best F1 on whole validation images.
    """
    _begin(quiet)
    from mitoyolo.train import TrainOptions
    from mitoyolo.train import train as run

    if seeds is not None and (seed or folds):
        other = "--seed" if seed else "--folds"
        raise typer.BadParameter(f"excludes {other}", param_hint="--seeds")
    if background is not None and not folds:
        raise typer.BadParameter("is for --folds", param_hint="--background")
    folder = project / (name or model)
    options = TrainOptions(
        model=model,
        weights=weights,
        epochs=epochs,
        imgsz=imgsz,
        batch=batch,
        accumulate=accumulate,
        views=views,
        seed=seed,
        recipe=recipe,
        settings=_settings(set_ or []) | ({} if verify is None else {"verify": verify}),
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

        each = _seeds(seeds)
        done = train_seeds(data, folder, options, each, resume=resume, overwrite=overwrite)
    elif folds is not None:
        from mitoyolo.train_folds import train_folds  # 0.1 s, for scoring

        share = 1.0 if background is None else background
        done = train_folds(
            data, folder, options, folds, background=share, resume=resume, overwrite=overwrite
        )
    else:
        done = run(data, folder, options, resume=resume, overwrite=overwrite)
    if done:  # not where it was stopped, nor in other processes than the first
        print(done)


@app.command(epilog="Example: mitoyolo sweep settings.yaml --out runs/sweep")
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
    _begin(quiet)
    from converters.model import SPLITS
    from mitoyolo.sweep import sweep as run

    _one_of("--split", split, SPLITS)
    if page := run(table, out, split=split, device=device):
        print(page)


@app.command(
    epilog="Example: mitoyolo val --data data/atypia/dataset.yaml "
    "--weights runs/yolov5n/weights/best.pt --split test --protocol atypia14"
)
def val(
    data: Annotated[Path, typer.Option(help="dataset.yaml of a dataset folder.")],
    weights: Annotated[Path, typer.Option(help="best.pt of a run, or its export.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    protocol: Annotated[
        str | None, typer.Option(help="Rule of counting; else the dataset's own.")
    ] = None,
    radius_um: Annotated[
        float | None, typer.Option(help="µm, for protocol centroid.  [default: 8]")
    ] = None,
    threshold: Annotated[
        str, typer.Option(metavar="auto|F", help="auto: as chosen on the validation split.")
    ] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder; else val-SPLIT in the run.")] = None,
    mpp: Annotated[
        str | None, typer.Option(metavar="F[,FY]", help="µm/px of the data; wins over its own.")
    ] = None,
    imgsz: Annotated[int | None, typer.Option(min=32, help="Else as trained.")] = None,
    device: Device = "cpu",
    seed: Seed = 0,
    trust: Trust = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Score weights on a split of a dataset folder.

    F1, precision, recall, AP and FROC, all on whole source images.
    """
    _begin(quiet)
    from converters.model import SPLITS
    from converters.mpp import parse_mpp
    from mitoyolo.evaluation.protocols import PROTOCOLS
    from mitoyolo.val import summary_line
    from mitoyolo.val import val as run

    _one_of("--split", split, SPLITS)
    if protocol:
        _one_of("--protocol", protocol, tuple(PROTOCOLS))
    metrics = run(
        data,
        weights,
        split=split,
        protocol=protocol,
        radius_um=radius_um,
        threshold=None if threshold == "auto" else _share("--threshold", threshold),
        out=out,
        mpp=parse_mpp(mpp) if mpp else None,
        imgsz=imgsz,
        device=device,
        seed=seed,
        trust=trust,
        overwrite=overwrite,
    )
    print(summary_line(metrics))


@app.command(
    epilog="Example: mitoyolo evaluate --truth data/atypia --predictions predictions.csv "
    "--protocol atypia14 --threshold 0.5 --json"
)
def evaluate(
    truth: Annotated[
        Path,
        typer.Option(
            help="Dataset folder (its test split), annotations.csv, COCO, or a MIDOG data set."
        ),
    ],
    predictions: Annotated[
        Path,
        typer.Option(
            help="predictions.csv, COCO results, MIDOG JSON (millimetres), or a folder of them."
        ),
    ],
    protocol: Annotated[
        str | None, typer.Option(help="Rule of counting; else the dataset's own, or centroid.")
    ] = None,
    radius_um: Annotated[
        float | None, typer.Option(help="µm, for protocol centroid.  [default: 8]")
    ] = None,
    mpp: Annotated[
        str | None, typer.Option(metavar="F[,FY]", help="µm/px of the truth; wins over its own.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="train, val, test or all of a dataset folder.")
    ] = None,
    threshold: Annotated[
        str,
        typer.Option(
            metavar="auto|F",
            help="The score from which a prediction counts; 0: every one. auto: the best F1 on "
            "these very predictions, which is optimistic.",
        ),
    ] = "0",
    against: Annotated[
        Path | None,
        typer.Option(metavar="P2", help="Other predictions, for the paired difference in F1."),
    ] = None,
    against_threshold: Annotated[
        str | None, typer.Option(metavar="F", help="Of P2; else as --threshold.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write what `val` writes; else nothing is.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json.")] = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Score predictions against a truth, without a model.

    F1 with a 95 % interval, precision, recall, AP and FROC, counted by a named protocol.
    """
    _begin(quiet)
    import json

    from converters.model import SPLITS
    from converters.mpp import parse_mpp
    from mitoyolo.evaluate import evaluate as run
    from mitoyolo.evaluate import table
    from mitoyolo.evaluation.protocols import PROTOCOLS
    from mitoyolo.inference.truths import ALL

    if overwrite and not out:
        raise typer.BadParameter("is for --out", param_hint="--overwrite")
    if against_threshold and not against:
        raise typer.BadParameter("is for --against", param_hint="--against-threshold")
    if split:
        _one_of("--split", split, (*SPLITS, ALL))
    if protocol:
        _one_of("--protocol", protocol, tuple(PROTOCOLS))
    metrics = run(
        truth,
        predictions,
        protocol=protocol,
        radius_um=radius_um,
        mpp=parse_mpp(mpp) if mpp else None,
        split=split,
        threshold=None if threshold == "auto" else _share("--threshold", threshold),
        against=against,
        against_threshold=(
            _share("--against-threshold", against_threshold) if against_threshold else None
        ),
        out=out,
        seed=seed,
        overwrite=overwrite,
    )
    print(json.dumps(metrics, indent=2, ensure_ascii=False) if as_json else table(metrics))


@app.command(
    epilog="Example: mitoyolo detect frames --weights runs/yolov5n/weights/best.pt "
    "--out detections --mpp 0.2455"
)
def detect(
    src: Annotated[
        Path,
        typer.Argument(help="A slide or image, a folder of them, or a .txt that lists them."),
    ],
    weights: Annotated[Path, typer.Option(help="best.pt of a run, or its export.")],
    out: Annotated[Path, typer.Option(help="Folder to write; each slide gets one in it.")],
    mpp: Annotated[
        str | None, typer.Option(metavar="F[,FY]", help="µm/px of the input; wins over the file.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Else as chosen on the validation split.")
    ] = None,
    tile: Annotated[int | None, typer.Option(min=32, help="px; else as trained.")] = None,
    overlap: Annotated[int | None, typer.Option(min=0, help="px; else as trained.")] = None,
    roi: Annotated[
        Path | None,
        typer.Option(
            help="Outlines of what counts: QuPath GeoJSON, ASAP or ImageScope XML; or a folder "
            "of them, named as the slides."
        ),
    ] = None,
    hotspot_mm2: Annotated[float, typer.Option(help="Area of the hotspot.")] = 2.0,
    submission: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Organisers' files too: atypia14, tupac16 or midog."),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(help="torch, openvino or onnx; auto: the quickest that is installed."),
    ] = "auto",
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="One of N processes that share --out, 1/N to N/N."),
    ] = None,
    device: Device = "cpu",
    trust: Trust = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find mitoses on whole slides and images.

    Writes tables, QuPath GeoJSON, an overlay with red dots, the hotspot and a report for each.
    """
    _begin(quiet)
    _finite("--threshold", threshold)
    _finite("--hotspot-mm2", hotspot_mm2)
    from converters.mpp import parse_mpp
    from mitoyolo.detect import DetectOptions
    from mitoyolo.detect import detect as run
    from mitoyolo.own_stderr import own_stderr

    options = DetectOptions(
        mpp=parse_mpp(mpp) if mpp else None,
        threshold=threshold,
        tile=tile,
        overlap=overlap,
        roi=roi,
        hotspot_mm2=hotspot_mm2,
        submission=submission,
        engine=engine,
        shard=shard,
        device=device,
        trust=trust,
    )
    with nullcontext() if debug else own_stderr():
        folders = run(src, weights, out, options, overwrite=overwrite)
    for folder in folders:
        print(folder)


@app.command(
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
    _begin(quiet)
    from mitoyolo.detectors.exported import FORMATS

    _one_of("--format", format_, tuple(FORMATS))
    from mitoyolo.export import export as run
    from mitoyolo.own_stderr import own_stderr

    with nullcontext() if debug else own_stderr():
        print(run(weights, format_, out=out, imgsz=imgsz, trust=trust, overwrite=overwrite))


@app.command(epilog="Example: mitoyolo grade --count 12 --area 2.74")
def grade(
    count: Annotated[
        float | None, typer.Option(metavar="N", help="Mitoses in the most active part.")
    ] = None,
    area: Annotated[
        float | None, typer.Option(metavar="MM2", help="mm² in which they were counted.")
    ] = None,
    field_diameter: Annotated[
        float | None, typer.Option(metavar="MM", help="Instead of --area: of each of ten fields.")
    ] = None,
    tumour: Annotated[str, typer.Option(help="Any but breast has no score.")] = "breast",
    table: Annotated[bool, typer.Option("--table", help="Print all rules and leave.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
    debug: Debug = False,
) -> None:
    """Score a count of mitoses, 1 to 3, as the Nottingham grade of breast cancer does.

    Each rule has its source and its areas; a count of another area gets no score.
    """
    import json
    from dataclasses import asdict

    from mitoyolo.grade import as_text, defined_for, rule_table, score, ten_fields

    given = (count, area, field_diameter)
    if table:
        if given != (None, None, None):
            raise typer.BadParameter("takes no count and no area", param_hint="--table")
        rows = rule_table()
    else:
        if field_diameter is not None and area is None:
            area = ten_fields(field_diameter)
        elif field_diameter is not None:
            raise typer.BadParameter("and --area exclude each other", param_hint="--field-diameter")
        if count is None or area is None:
            raise typer.BadParameter("expected --count and --area", param_hint="grade")
        scores = score(count, area, tumour=tumour)  # type: ignore[arg-type]
        rows = [asdict(entry) for entry in scores]
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        print(as_text(rows) if table or defined_for(tumour) else scores[0].note)


@app.command(epilog="Example: mitoyolo demo example --seed 0 --cases 8 --tiles 20 --size 500")
def demo(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    cases: Annotated[int, typer.Option(min=1, help="Slides, each in its own stain.")] = 8,
    tiles: Annotated[int, typer.Option(min=1, help="Tiles a slide.")] = 20,
    size: Annotated[int, typer.Option(min=128, help="px of a tile's side.")] = 500,
    hard: Annotated[bool, typer.Option("--hard", help="Harder frames, with look-alikes.")] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Render the built-in example.

    H&E-like tissue with annotations in two formats: CADD4MBC and MITOS-ATYPIA-14. With --hard,
    frames in the latter alone, with more look-alikes than mitoses, and split.csv.
    """
    _begin(quiet)
    from mitoyolo.demo import demo as run

    run(out, seed=seed, cases=cases, tiles=tiles, size=size, hard=hard, overwrite=overwrite)


@app.command(epilog="Example: mitoyolo benchmark --data dataset --models yolov5n,faster-rcnn")
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
    _begin(quiet)
    from mitoyolo.benchmark.entries import USUAL
    from mitoyolo.benchmark.run import BenchmarkOptions
    from mitoyolo.benchmark.run import benchmark as run

    if quick and data:
        raise typer.BadParameter("is of rendered data, and excludes --data", param_hint="--quick")
    if protocol is not None:
        from mitoyolo.evaluation.protocols import PROTOCOLS

        _one_of("--protocol", protocol, tuple(PROTOCOLS))
    options = BenchmarkOptions(
        data=tuple(data or ()),
        models=tuple(map(str.strip, models.split(","))) if models else USUAL,
        seeds=tuple(_seeds(seeds or ("0" if quick else "0,1,2"))),
        epochs=epochs,
        imgsz=imgsz,
        weights=weights,
        protocol=protocol,
        device=device,
        quick=quick,
    )
    if page := run(out, options, shlex.join(["mitoyolo", *sys.argv[1:]])):
        print(page)


@app.command(epilog="Example: mitoyolo report runs/yolov5n --out runs/report.html")
def report(
    run: Annotated[Path, typer.Argument(help="A run folder with its val-SPLIT.")],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")],
    split: Annotated[str, typer.Option(help="Which validation to show.")] = "test",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write one page over a run.

    Tiles, labels, training curves, scores, and detections over truth.
    """
    _begin(quiet)
    from converters.model import SPLITS
    from mitoyolo.report.pipeline import write_pipeline_report

    _one_of("--split", split, SPLITS)
    write_pipeline_report(run, out, split=split)
    print(out)


@app.command(epilog="Example: mitoyolo serve runs/workbench --port 8000")
def serve(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where everything is kept.")],
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free one.")] = 8000,
    database: Annotated[
        str | None,
        typer.Option(metavar="URL", help="postgresql://USER:PASSWORD@HOST/NAME; else SQLite."),
    ] = None,
    proxy: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Host name of a TLS proxy in front, on this machine."),
    ] = None,
    example: Annotated[
        bool, typer.Option("--example", help="Give the first admin rendered tissue to try.")
    ] = False,
    new_admin: Annotated[
        bool,
        typer.Option("--new-admin", help="Print a token for one more admin: passwords forgotten."),
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The workbench in a browser: annotate, review, download, detect.

    The first start prints a token, by which the first admin is made.
    """
    _begin(quiet)
    try:
        from mitoyolo.web.serve import ServeOptions
        from mitoyolo.web.serve import serve as run
    except ModuleNotFoundError as error:
        from converters.errors import MissingPackageError

        raise MissingPackageError(
            f"the workbench needs {error.name}: pip install 'mitoyolo[web]'"
        ) from None

    options = ServeOptions(
        host=host, port=port, database=database, proxy=proxy, example=example, new_admin=new_admin
    )
    run(folder, options)


@app.command(epilog="Example: mitoyolo doctor")
def doctor(debug: Debug = False) -> None:
    """Show versions, devices, weights found, and what is missing."""
    from mitoyolo.doctor import findings

    for name, value in findings():
        print(f"{name:<20} {value}")


def _share(option: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{text!r} is not a number from 0 to 1", param_hint=option)
    return value


def _finite(option: str, value: float | None) -> None:
    """Refuse NaN, which passes every range check, and infinity."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number", param_hint=option)


def _settings(pairs: list[str]) -> dict[str, object]:
    """`key=value` pairs, the value read as YAML."""
    import yaml

    settings: dict[str, object] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not (key and separator):
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--set")
        key = key.strip()
        if key in settings:
            raise typer.BadParameter(f"{key} is given twice", param_hint="--set")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise typer.BadParameter(f"{value!r} is not a value", param_hint="--set") from None
    return settings


def _seeds(text: str) -> list[int]:
    """Seeds with commas between."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) <= MAX_SEED for part in parts):
        raise typer.BadParameter(f"{text!r} is not seeds with commas between", param_hint="--seeds")
    return [int(part) for part in parts]


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(known)}", param_hint=option)
