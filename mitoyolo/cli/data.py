"""Commands on annotations and folders of tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mitoyolo.cli.options import (
    Debug,
    Overwrite,
    Quiet,
    Seed,
    begin,
    check_finite,
    check_one_of,
    own_stderr_unless,
)

commands = typer.Typer()

SHARES = "0.8,0.1,0.1"
"""Of train, val and test, where the call says nothing."""


@commands.command(epilog="Example: mitoyolo formats")
def formats(debug: Debug = False) -> None:
    """List the annotation formats that can be read or written."""
    from converters.registry import FORMATS

    for name, entry in FORMATS.items():
        can = "read " if entry.read else "     "
        can += "write" if entry.write else "     "
        print(f"{name:<12} {can}  {entry.summary}")


@commands.command(
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
    begin(quiet)
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
    from converters.read_options import BAD, UNLABELLED
    from converters.registry import FORMATS
    from mitoyolo.convert import ConvertOptions
    from mitoyolo.convert import convert as run
    from mitoyolo.convert.options import parse_augment, parse_grid
    from mitoyolo.split import GROUPS, parse_shares

    check_one_of("--to", to, tuple(key for key, entry in FORMATS.items() if entry.write))
    check_one_of("--box", box, BOXES)
    check_one_of("--group-by", group_by, GROUPS)
    check_one_of("--unlabelled", unlabelled, UNLABELLED)
    check_one_of("--bad", bad, BAD)
    check_one_of("--tile-format", tile_format, ("png", "jpg"))
    check_finite("--at-mpp", at_mpp)
    check_finite("--radius-um", radius_um)
    check_finite("--min-area", min_area)
    check_finite("--min-confidence", min_confidence)
    check_finite("--background", background)
    wanted = tuple(dict.fromkeys(part.strip() for part in labels.split(",")))
    for label in wanted:
        check_one_of("--labels", label, LABELS)
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
    if overlap is not None and not tile:
        raise typer.BadParameter("is for --tile", param_hint="--overlap")
    if overlap is not None and tile and overlap >= tile:
        raise typer.BadParameter(f"must be less than --tile, {tile}", param_hint="--overlap")
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
    with own_stderr_unless(debug):
        run(src, out, options, overwrite=overwrite)


def _only_for_yolo(**options: object) -> None:
    """Refuse options that shape a dataset folder where none is written."""
    for name, value in options.items():
        if value:
            option = f"--{name.replace('_', '-')}"
            raise typer.BadParameter("is for --to yolo only", param_hint=option)


@commands.command(epilog="Example: mitoyolo normalize data/atypia data/atypia-normalised")
def normalize(
    src: Annotated[Path, typer.Argument(help="Folder of images, or a dataset folder.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; with --fit: STATS.json.")],
    method: Annotated[
        str, typer.Option(help="macenko or reinhard; of staintools also vahadane.")
    ] = "macenko",
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
    begin(quiet)
    from mitoyolo.stain.folder import fit_target, normalize_folder
    from mitoyolo.stain.methods import ENGINES, find_method, full_name
    from mitoyolo.stain.target import MODES

    check_one_of("--engine", engine, tuple(ENGINES))
    check_one_of("--method", method, tuple(ENGINES[engine]))
    method = full_name(engine, method)
    stated_mode, mode = mode, mode or find_method(method).default_mode
    check_one_of("--mode", mode, MODES)
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


@commands.command(epilog="Example: mitoyolo demo example --seed 0 --cases 8 --tiles 20 --size 500")
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
    begin(quiet)
    from mitoyolo.demo import demo as run

    run(out, seed=seed, cases=cases, tiles=tiles, size=size, hard=hard, overwrite=overwrite)
