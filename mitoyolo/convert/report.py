"""The tables of a dataset folder and the account of what was read, kept and dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from converters.errors import InputError
from converters.files import write_json
from converters.model import SPLITS, AnnotationSet
from mitoyolo.convert.options import ConvertOptions
from mitoyolo.convert.plan import Plan
from mitoyolo.dataset import (
    REPORT,
    UNLABELLED,
    write_annotations,
    write_augmented,
    write_dropped,
    write_manifest,
    write_split,
)
from mitoyolo.progress import note
from mitoyolo.split import shared_cases


def account(kept: AnnotationSet, clipped: int) -> dict[str, Any]:
    """What was read, kept and dropped, whatever it is written as.

    Parameters
    ----------
    kept : AnnotationSet
        What is kept, and what was dropped on the way.
    clipped : int
        How many boxes were clipped at an image's edge.
    """
    return {
        "read": kept.read,
        "kept": len(kept.annotations),
        "dropped": kept.reasons(),
        "clipped": clipped,
        "unlabelled_images": sum(image.reason == "unlabelled" for image in kept.left_out)
        + sum(not image.labelled for image in kept.images),
        "images_left_out": [asdict(image) for image in kept.left_out],
    }


def write_account(out: Path, kept: AnnotationSet, report: dict[str, Any]) -> None:
    """Write ``dropped.csv`` and ``report.json``."""
    write_dropped(out, kept.dropped)
    write_json(out / REPORT, report)


def say(report: dict[str, Any]) -> None:
    """Say the totals."""
    dropped = ", ".join(f"{n} {reason}" for reason, n in report["dropped"].items()) or "0"
    note(f"annotations: {report['read']} read, {report['kept']} kept, dropped: {dropped}")
    if left_out := len(report["images_left_out"]):
        unlabelled = sum(image["reason"] == "unlabelled" for image in report["images_left_out"])
        note(f"images left out: {left_out} ({unlabelled} unlabelled), listed in report.json")


def write_tables(
    out: Path,
    kept: AnnotationSet,
    plan: Plan,
    files: dict[str, str],
    clipped: int,
    options: ConvertOptions,
) -> None:
    """Write COCO, manifest, annotations, drops and report, and say the totals.

    Parameters
    ----------
    out : Path
        The dataset folder.
    kept : AnnotationSet
        What is kept, and what was dropped on the way.
    plan : Plan
    files : dict
        Tile name -> image file name.
    clipped : int
        How many boxes were clipped at an image's edge.
    options : ConvertOptions

    Raises
    ------
    InputError
        A case stands in two splits though nobody asked for that.
    """
    shared = shared_cases([image for image in kept.images if image.labelled], plan.split)
    if shared and not (options.official or options.split_file or options.group_by == "image"):
        raise InputError(f"{shared} case(s) stand in more than one split", file=out)
    for name in SPLITS:
        items = [item for item in plan.written if item.tile.split == name]
        write_split(out, name, items, files, options.selection.labels)
    write_manifest(out, [item.tile for item in plan.items])
    write_annotations(out, kept.annotations, {image.source: image.case for image in kept.images})
    copies = [copy for made in plan.copies.values() for copy in made]
    if copies:
        write_augmented(out, [(copy.item.tile.name, copy.of, copy.transform) for copy in copies])
    tiles = Counter(item.tile.split for item in plan.items)
    mitoses = Counter(
        plan.split[item.source] for item in kept.annotations if item.label == "mitosis"
    )
    report = account(kept, clipped) | {
        "tiles": {name: tiles[name] for name in SPLITS},
        "mitoses": {name: mitoses[name] for name in SPLITS},
        "augmented_tiles": len(copies),
        "unlabelled_tiles": tiles[UNLABELLED],
        "background_tiles_left_out": plan.background_left_out,
    }
    if shared:
        report["shared_cases"] = shared
        note(f"warning: {shared} case(s) stand in more than one split")
    if plan.empty:
        note(
            f"warning: {len({image.case for image in kept.images})} case(s) cannot fill all "
            f"splits, {' and '.join(plan.empty)} stay(s) empty; --group-by image or --split-file "
            "deals finer"
        )
    write_account(out, kept, report)
    say(report)
    _say_tiles(report, out)


def _say_tiles(report: dict[str, Any], out: Path) -> None:
    def each(counts: dict[str, int]) -> str:
        return ", ".join(f"{n} {name}" for name, n in counts.items())

    more: Sequence[str] = [
        f" (+ {n} {what})"
        for n, what in (
            (report["augmented_tiles"], "augmented copies"),
            (report["unlabelled_tiles"], "unlabelled"),
        )
        if n
    ]
    tiles = each(report["tiles"]) + "".join(more)
    note(f"mitoses: {each(report['mitoses'])}; tiles: {tiles}; written to {out}")
