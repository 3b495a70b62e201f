"""``mitoyolo val``: weights scored on a split of a dataset folder, on whole source images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from converters.errors import InputError
from converters.files import read_json, write_json
from converters.mpp import Mpp, differ
from mitoyolo.dataset import Dataset, open_dataset
from mitoyolo.detectors.base import Detector, load_detector, weight_files
from mitoyolo.evaluation.metrics import caveats, evaluate
from mitoyolo.evaluation.protocols import Protocol, get_protocol
from mitoyolo.evaluation.repeated import Scored
from mitoyolo.evaluation.threshold import DEFAULT, choose_threshold
from mitoyolo.inference.apply import check_classes, detect_tiles
from mitoyolo.inference.predictions import read_predictions
from mitoyolo.inference.scoring import by_source, fields_of
from mitoyolo.inference.tables import PREDICTIONS, write_predictions
from mitoyolo.inference.truths import Truths
from mitoyolo.jobs import RUN_FILE, fingerprint, open_job
from mitoyolo.progress import note
from mitoyolo.report.overlay import stitch
from mitoyolo.report.val import write_val_report

INDEX = "metrics.json"


def val(
    data: Path,
    weights: Path,
    *,
    split: str = "test",
    protocol: str | None = None,
    radius_um: float | None = None,
    threshold: float | None = None,
    out: Path | None = None,
    mpp: Mpp | None = None,
    imgsz: int | None = None,
    device: str = "cpu",
    seed: int = 0,
    trust: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Score weights on a split and write ``metrics.json``, tables, curves and a report.

    Parameters
    ----------
    data : Path
        ``dataset.yaml`` or its folder.
    weights : Path
        A ``best.pt`` of ours or its export, or any Ultralytics detection weights with the data's
        classes (then ``mpp`` must be stated, since such a file does not say what it was trained
        at).
    split : str
        `train`, `val` or `test`.
    protocol : str, optional
        How detections are counted; None: as the dataset says.
    radius_um : float, optional
        Of protocol `centroid`, the only one that takes another than its own; None: 8 µm.
    threshold : float, optional
        None: the weights file's own, which was chosen on its validation split; for weights
        without one it is chosen here on the data's validation split.
    out : Path, optional
        The folder to write; None: ``val-SPLIT`` in the run folder that the weights lie in.
    mpp : (float, float), optional
        The data's µm/px where the dataset folder's own is to be overruled.
    imgsz : int, optional
        Network input side; None: the weights file's own.
    device, seed
        Where to run; of the bootstrap.
    trust : bool
        Run the code in the weights file, where it cannot be used otherwise.
    overwrite : bool
        Replace another call's results in ``out``.

    Returns
    -------
    dict
        The contents of ``metrics.json``.

    Raises
    ------
    InputError
        Data or weights cannot be used together.
    """
    dataset = open_dataset(data)
    detector = load_detector(weights, device=device, imgsz=imgsz, trust=trust)
    check_classes(detector, dataset)
    if detector.card is None and mpp is None:
        raise InputError(
            "these weights do not say at which µm/px they were trained",
            file=weights,
            fix="state the µm/px of the data by --mpp, which then is taken as the model's too",
        )
    dataset = _at_mpp(dataset, mpp)
    rule = get_protocol(protocol or dataset.block["protocol"], radius_um)
    folder = out or _run_of(weights) / f"val-{split}"
    arguments = {
        "data": str(dataset.root.resolve()),
        "dataset_hash": dataset.hash(),
        "weights": str(weights.resolve()),
        "weights_state": fingerprint(weight_files(weights)),
        "split": split,
        "protocol": rule.name,
        "radius_um": rule.radius_um,
        "threshold": "auto" if threshold is None else threshold,
        "mpp": list(mpp) if mpp else None,
        "imgsz": detector.imgsz,
        "device": device,
        "seed": seed,
        "trust": trust,
    }
    with open_job(
        folder,
        command="val",
        arguments=arguments,
        index=INDEX,
        overwrite=overwrite,
        reads=(dataset.root, weights),
    ) as job:
        if job.finished:
            note(f"{folder} is finished already; it is read, not computed again")
            return dict(read_json(folder / INDEX))
        chosen = _threshold(detector, dataset, rule, threshold)
        warning = _warning(split, threshold)
        return score(detector, dataset, split, rule, folder, chosen, warning=warning, seed=seed)


def score(
    detector: Detector,
    dataset: Dataset,
    split: str,
    rule: Protocol,
    folder: Path,
    threshold: tuple[float, str],
    *,
    warning: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Score a detector on a split and write into ``folder``, which exists, what :func:`val` writes.

    Parameters
    ----------
    threshold : (float, str)
        Detections with this score or more count; where it comes from.
    warning : str, optional
        What makes the figures too good.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        The contents of ``metrics.json``.
    """
    of_source = by_source(dataset.of_split(split), detect_tiles(detector, dataset, split))
    fields = fields_of(dataset, split, of_source, detector.classes)
    metrics = evaluate(fields, rule, *threshold, seed=seed)
    metrics["split"] = split
    if warning:
        metrics["warning"] = warning
        note(f"warning: {warning}")
    for line in caveats(metrics):
        note(line)
    write_predictions(folder / PREDICTIONS, of_source, detector.classes)
    pixels = partial(stitch, dataset)
    write_val_report(folder, f"Validation, {split} split", fields, rule, metrics, pixels)
    write_json(folder / INDEX, metrics)
    return metrics


def summary_line(metrics: dict[str, Any]) -> str:
    """The result in a line, for the terminal."""

    def text(key: str) -> str:
        return "undefined" if metrics[key] is None else f"{metrics[key]:.3f}"

    between = ""
    if metrics["f1_ci95"]:
        low, high = metrics["f1_ci95"]
        between = f" (95 % {low:.3f} to {high:.3f} over {metrics['f1_ci95_over']})"
    return (
        f"F1 {text('f1')}{between}, precision {text('precision')}, recall "
        f"{text('recall')}: {metrics['tp']} found, {metrics['fp']} false, {metrics['fn']} missed; "
        f"{get_protocol(metrics['protocol'], metrics['radius_um']).title}, "
        f"threshold {metrics['threshold']:.3f} "
        f"({metrics['threshold_from']})"
    )


def _run_of(weights: Path) -> Path:
    """The run folder that weights lie in: ``RUN/weights/best.pt``, or the folder of an export
    there, or the file in that folder."""
    above = weights.resolve().parents[1:3]
    run = next((folder for folder in above if (folder / RUN_FILE).exists()), None)
    if run is None:
        raise InputError(
            "these weights lie in no run folder",
            file=weights,
            fix="say by --out where the results go",
        )
    return run


def _at_mpp(dataset: Dataset, mpp: Mpp | None) -> Dataset:
    if mpp is None:
        return dataset
    if differ(mpp, dataset.mpp):
        note(f"--mpp {mpp[0]:g} is used; the dataset says {dataset.mpp[0]:g}")
    return replace(dataset, tiles=tuple(replace(tile, mpp=mpp) for tile in dataset.tiles))


def _threshold(
    detector: Detector, dataset: Dataset, rule: Protocol, given: float | None
) -> tuple[float, str]:
    """The threshold and where it comes from."""
    if given is not None:
        return given, "given by --threshold"
    if detector.card and detector.card.threshold is not None:
        return detector.card.threshold, detector.card.threshold_from
    note("the weights carry no threshold; it is chosen on the validation split")
    return threshold_on_val(detector, dataset, rule)


def threshold_on_val(detector: Detector, dataset: Dataset, rule: Protocol) -> tuple[float, str]:
    """The threshold of the best F1 on the validation split, and what is said of it."""
    found = by_source(dataset.of_split("val"), detect_tiles(detector, dataset, "val"))
    fields = fields_of(dataset, "val", found, detector.classes)
    if not any(len(field.truth) for field in fields):
        note(f"the validation split has no mitosis; the threshold is {DEFAULT}")
        return DEFAULT, "default, since the val split has no mitosis"
    return choose_threshold(fields, rule), f"val split, best F1 by {rule.name}"


def _warning(split: str, threshold: float | None) -> str | None:
    """What makes the figures of a split too good: choices made on it."""
    if split == "train":
        return "models are trained on this split, so these figures are optimistic"
    if split == "val":
        chosen = "the threshold was" if threshold is None else "models are"
        return f"{chosen} chosen on this split, so these figures are optimistic"
    return None


def read_scored(folder: Path, truths: Truths) -> Scored:
    """What :func:`val` has written into a folder, the fields in the order of their images."""
    found = read_predictions(folder / PREDICTIONS, truths)
    fields = sorted(truths.fields(found), key=lambda field: field.image)
    return Scored(read_json(folder / INDEX), tuple(fields))
