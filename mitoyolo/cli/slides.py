"""Commands on whole slides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mitoyolo.cli.options import (
    Debug,
    Device,
    Overwrite,
    Quiet,
    Trust,
    begin,
    check_finite,
    own_stderr_unless,
)

commands = typer.Typer()


@commands.command(epilog="Example: mitoyolo tile slides/T98.svs slides/T99.svs tiles --at-mpp 0.25")
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
    begin(quiet)
    from converters.mpp import parse_mpp
    from mitoyolo.tile import TileOptions
    from mitoyolo.tile import tile as run

    check_finite("--at-mpp", at_mpp)
    check_finite("--min-tissue", min_tissue)
    options = TileOptions(
        size=size,
        mpp=parse_mpp(mpp) if mpp else None,
        at_mpp=at_mpp,
        batch_size=batch_size,
        min_tissue=min_tissue,
        workers=workers,
    )
    with own_stderr_unless(debug):
        for folder in run(slides, out, options, overwrite=overwrite):
            print(folder)


@commands.command(
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
    begin(quiet)
    check_finite("--threshold", threshold)
    check_finite("--hotspot-mm2", hotspot_mm2)
    from converters.mpp import parse_mpp
    from mitoyolo.detect import DetectOptions
    from mitoyolo.detect import detect as run

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
    with own_stderr_unless(debug):
        folders = run(src, weights, out, options, overwrite=overwrite)
    for folder in folders:
        print(folder)
