"""``normalize``: a folder of images or a dataset folder, in other colours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from converters.errors import InputError
from converters.files import copy_file, read_json, read_text, write_csv, write_json, write_text
from converters.images import IMAGE_SUFFIXES, find_files
from mitoyolo.dataset import INDEX, NORMALISED_COPIES, open_dataset
from mitoyolo.jobs import check_apart, fingerprint, open_job
from mitoyolo.pool import Pool, cores
from mitoyolo.progress import bar, note, track
from mitoyolo.stain.copies import write_copies
from mitoyolo.stain.methods import find_method
from mitoyolo.stain.normaliser import Fitted, Normaliser
from mitoyolo.stain.sheet import check_sheet, write_sheet
from mitoyolo.stain.source import PASSED, SUMMARY, Source, read_source
from mitoyolo.stain.target import default_target, read_target, write_target
from mitoyolo.stain.work import Batch, Fit

BATCH = 8
"""Images a task."""


def normalize_folder(
    src: Path,
    out: Path,
    *,
    method: str = "macenko",
    mode: str = "case",
    target: Path | None = None,
    workers: int = 0,
    sheet: Path | None = None,
    keep_originals: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Normalise every image below ``src`` into ``out``, under the same names and formats.

    Labels and tables come along byte for byte. A dataset folder's ``dataset.yaml``, or a plain
    folder's ``summary.json``, is written last; the same call continues a stopped one, and the
    bytes depend neither on that nor on ``workers``.

    Parameters
    ----------
    src, out : Path
        A folder of images (:class:`mitoyolo.stain.source.Source` says what its cases are) or a
        dataset folder; the folder to write.
    method, mode : str
        See :mod:`mitoyolo.stain.methods` and :mod:`mitoyolo.stain.normaliser`.
    target : Path, optional
        An image or a saved fit to normalise to; mode ``target`` needs it. Without it, the
        method's default.
    workers : int
        Processes; 0 for all cores.
    sheet : Path, optional
        A PNG to write: tiles of some cases before and after.
    keep_originals : bool
        Of a dataset folder: normalise the training tiles alone, into copies named ``TILE_METHOD``
        beside them; every image stays as it is, and so does the dataset's normalisation. Rao
        2018 (arXiv:1807.01788) trains MITOS-RCNN so.
    overwrite : bool
        Empty ``out`` where it holds another call's result.

    Returns
    -------
    dict
        The contents of ``summary.json``: images (those to normalise), normalised,
        passed_through, reasons, cases, left_behind, method, mode, target.

    Raises
    ------
    InputError
        A folder or image cannot be used; the file is named.
    """
    check_apart(out, [src])
    if sheet:
        check_sheet(sheet, src, out)
    if workers < 0:
        raise InputError(f"{workers} workers", fix="give 0 (all cores) or more")
    normaliser = _normaliser(method, mode, target)
    source = read_source(src)
    if keep_originals:
        source = source.keeping_originals(f"_{method}")
    arguments = {
        "src": str(src.resolve()),
        "normalisation": normaliser.to_dict(),
        "input": fingerprint(source.files()),
        **({"keep_originals": True} if keep_originals else {}),
    }
    index = INDEX if source.dataset else SUMMARY
    with open_job(
        out,
        command="normalize",
        arguments=arguments,
        index=index,
        overwrite=overwrite,
        reads=[target],
    ) as job:
        if job.finished:
            note(f"{out} is finished already")
            summary = dict(read_json(out / SUMMARY))
        else:
            summary = _build(source, out, normaliser, workers or cores())
    if sheet:
        write_sheet(source, out, sheet)
    return summary


def fit_target(images: Path, stats: Path, method: str = "macenko") -> dict[str, Any]:
    """Measure the tissue of an image, or of all images below a folder, and save it as a target.

    Returns
    -------
    dict
        What ``stats`` holds: see :func:`mitoyolo.stain.target.write_target`.

    Raises
    ------
    InputError
        No images, an unreadable one, or none with stained tissue.
    """
    find_method(method).needs()
    if not images.exists():
        raise InputError("no such file or folder", file=images)
    if (images / INDEX).exists():  # its masks and pictures of itself are no tissue
        dataset = open_dataset(images)
        paths = [dataset.image_path(tile) for tile in dataset.tiles]
    else:
        paths = [images] if images.is_file() else list(find_files(images, IMAGE_SUFFIXES))
    if not paths:
        raise InputError(f"no images ({', '.join(IMAGE_SUFFIXES)})", file=images)
    return write_target(stats, paths, method, progress=_bar_over)


def _bar_over(paths: Sequence[Path]) -> Iterator[Path]:
    return track(paths, "measuring", unit="images", total=len(paths))


def _normaliser(method: str, mode: str, target: Path | None) -> Normaliser:
    Normaliser(method, mode)  # refuses unknown names before anything is read
    find_method(method).needs()
    if target is None:
        if mode == "target":
            raise InputError(
                "mode `target` normalises to a saved fit and none is given",
                fix="add --target STATS.json (from `mitoyolo normalize --fit IMAGES STATS.json`)",
            )
        return Normaliser(method, mode, default_target(method, mode))
    return Normaliser(method, mode, read_target(target, method, mode))


def _build(source: Source, out: Path, normaliser: Normaliser, workers: int) -> dict[str, Any]:
    if source.suffix:
        write_copies(source, out, normaliser.method)
    groups = _groups(source, normaliser.mode)
    batches = sum(-(-len(names) // BATCH) for names in groups)
    with Pool(min(workers, batches)) as pool:
        fits = _fit(source.root, groups, normaliser, pool)
        passed = _map(source, out, groups, fits, pool)
    for name in track(source.along, "copying", unit="files", total=len(source.along)):
        if not (out / name).exists():
            copy_file(source.root / name, out / name)
    if source.left:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in source.left.items())
        note(f"left behind, neither image nor table: {kinds}")
    summary = {
        "images": source.images,
        "normalised": source.images - len(passed),
        "passed_through": len(passed),
        "reasons": dict(sorted(Counter(reason for _, reason in passed).items())),
        "cases": len(source.cases),
        "left_behind": source.left,
        **normaliser.to_dict(),
    }
    write_csv(out / PASSED, ("file", "reason"), passed)
    write_json(out / SUMMARY, summary)
    if source.dataset:
        _write_index(source, out, normaliser)
    note(f"{summary['normalised']} normalised, {len(passed)} passed through unchanged")
    if source.suffix:
        note("the originals stay, and a model trained on both is applied to tiles as they are")
    return summary


def _groups(source: Source, mode: str) -> list[tuple[str, ...]]:
    """Images that share a fit."""
    if mode == "case":
        return list(source.cases.values())
    return [tuple(sorted(name for names in source.cases.values() for name in names))]


def _fit(
    root: Path, groups: list[tuple[str, ...]], normaliser: Normaliser, pool: Pool
) -> list[Fitted]:
    if normaliser.mode == "tile":
        return [normaliser.fit(())]
    threads = max(1, pool.workers // len(groups))  # a single slide is read by all cores
    tasks = (Fit(normaliser, root, names, threads) for names in groups)
    fits = pool.map(Fit.run, tasks)
    return list(track(fits, "measuring", unit="cases", total=len(groups)))


def _map(
    source: Source,
    out: Path,
    groups: list[tuple[str, ...]],
    fits: list[Fitted],
    pool: Pool,
) -> list[tuple[str, str]]:
    """Write the images; those that passed through, with the reason."""
    places = [tuple((name, source.target(name)) for name in names) for names in groups]
    tasks = (
        Batch(fitted, source.root, out, names[start : start + BATCH], len(names) // pool.workers)
        for names, fitted in zip(places, fits, strict=True)
        for start in range(0, len(names), BATCH)
    )
    passed = []
    with bar("normalising", unit="images", total=source.images) as progress:
        for results in pool.map(Batch.run, tasks):
            passed += [(name, reason) for name, reason in results if reason]
            progress.step(len(results))
    return passed


def _write_index(source: Source, out: Path, normaliser: Normaliser) -> None:
    """``dataset.yaml`` as it was, and how its tiles, or the copies of them, were normalised."""
    index = yaml.safe_load(read_text(source.root / INDEX))
    key = NORMALISED_COPIES if source.suffix else "normalisation"
    index["mitoyolo"][key] = normaliser.to_dict()
    write_text(out / INDEX, yaml.safe_dump(index, sort_keys=False, allow_unicode=True))
