"""Commands that score detections, and show what was found and missed."""

from __future__ import annotations

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
    read_share,
)

commands = typer.Typer()


@commands.command(
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
    begin(quiet)
    from converters.model import SPLITS
    from converters.mpp import parse_mpp
    from mitoyolo.evaluation.protocols import PROTOCOLS
    from mitoyolo.val import summary_line
    from mitoyolo.val import val as run

    check_one_of("--split", split, SPLITS)
    if protocol:
        check_one_of("--protocol", protocol, tuple(PROTOCOLS))
    metrics = run(
        data,
        weights,
        split=split,
        protocol=protocol,
        radius_um=radius_um,
        threshold=None if threshold == "auto" else read_share("--threshold", threshold),
        out=out,
        mpp=parse_mpp(mpp) if mpp else None,
        imgsz=imgsz,
        device=device,
        seed=seed,
        trust=trust,
        overwrite=overwrite,
    )
    print(summary_line(metrics))


@commands.command(
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
    begin(quiet)
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
        check_one_of("--split", split, (*SPLITS, ALL))
    if protocol:
        check_one_of("--protocol", protocol, tuple(PROTOCOLS))
    metrics = run(
        truth,
        predictions,
        protocol=protocol,
        radius_um=radius_um,
        mpp=parse_mpp(mpp) if mpp else None,
        split=split,
        threshold=None if threshold == "auto" else read_share("--threshold", threshold),
        against=against,
        against_threshold=(
            read_share("--against-threshold", against_threshold) if against_threshold else None
        ),
        out=out,
        seed=seed,
        overwrite=overwrite,
    )
    print(json.dumps(metrics, indent=2, ensure_ascii=False) if as_json else table(metrics))


@commands.command(epilog="Example: mitoyolo grade --count 12 --area 2.74")
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


@commands.command(epilog="Example: mitoyolo report runs/yolov5n --out runs/report.html")
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
    begin(quiet)
    from converters.model import SPLITS
    from mitoyolo.report.pipeline import write_pipeline_report

    check_one_of("--split", split, SPLITS)
    write_pipeline_report(run, out, split=split)
    print(out)
