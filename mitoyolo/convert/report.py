"""The tables of a dataset folder and the account of what was read, kept and dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from converters.files import write_json
from converters.model import AnnotationSet
from mitoyolo.convert.plan import Plan
from mitoyolo.dataset import (
    REPORT,
    write_annotations,
    write_dropped,
    write_manifest,
    write_split,
)
from mitoyolo.progress import note
from mitoyolo.split import SPLITS, shared_cases


def write_tables(
    out: Path,
    kept: AnnotationSet,
    plan: Plan,
    files: dict[str, str],
    clipped: int,
    labels: Sequence[str],
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
    labels : sequence of str
        Classes asked for.
    """
    by_split = {name: [item for item in plan.items if item.tile.split == name] for name in SPLITS}
    for name, items in by_split.items():
        write_split(out, name, items, files, labels)
    write_manifest(out, [item.tile for item in plan.items])
    write_annotations(out, kept.annotations, {image.source: image.case for image in kept.images})
    write_dropped(out, kept.dropped)
    mitoses = Counter(
        plan.split[item.source] for item in kept.annotations if item.label == "mitosis"
    )
    report: dict[str, Any] = {
        "read": kept.read,
        "kept": len(kept.annotations),
        "dropped": kept.reasons(),
        "clipped": clipped,
        "tiles": {name: len(items) for name, items in by_split.items()},
        "mitoses": {name: mitoses[name] for name in SPLITS},
        "background_tiles_left_out": plan.background_left_out,
        "unlabelled_images": sum(image.reason == "unlabelled" for image in kept.left_out),
        "images_left_out": [asdict(image) for image in kept.left_out],
    }
    if shared := shared_cases(kept.images, plan.split):
        report["shared_cases"] = shared
        note(f"warning: {shared} case(s) stand in more than one split")
    if plan.empty:
        note(
            f"warning: {len({image.case for image in kept.images})} case(s) cannot fill all "
            f"splits, {' and '.join(plan.empty)} stay(s) empty; --group-by image or --split-file "
            "deals finer"
        )
    write_json(out / REPORT, report)
    _say(report, out)


def _say(report: dict[str, Any], out: Path) -> None:
    dropped = ", ".join(f"{n} {reason}" for reason, n in report["dropped"].items()) or "0"
    tiles = ", ".join(f"{n} {name}" for name, n in report["tiles"].items())
    mitoses = ", ".join(f"{n} {name}" for name, n in report["mitoses"].items())
    note(f"annotations: {report['read']} read, {report['kept']} kept, dropped: {dropped}")
    if report["images_left_out"]:
        note(f"images left out: {len(report['images_left_out'])}, listed in report.json")
    note(f"mitoses: {mitoses}; tiles: {tiles}; written to {out}")
