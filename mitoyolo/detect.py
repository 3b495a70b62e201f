"""``mitoyolo detect``: weights applied to slides and images, each into a folder of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.errors import InputError, MissingMppError, OptionError
from converters.files import read_json, write_json
from converters.mpp import Mpp, differ
from mitoyolo.detectors.base import Detector, load_detector, weight_files
from mitoyolo.detectors.engines import AUTO, choose_engine
from mitoyolo.inference.apply import Cut
from mitoyolo.inference.hotspot import HOTSPOT_MM2
from mitoyolo.inference.merge import Detections
from mitoyolo.inference.parts import LOOK, are_begun, remove_parts
from mitoyolo.inference.pictures import Picture, find_pictures
from mitoyolo.inference.shares import Share, share_of
from mitoyolo.inference.slide import SlideSearch, slide_search
from mitoyolo.inference.submissions import submission_paths, write_submission
from mitoyolo.inference.summary import summarise
from mitoyolo.inference.tables import (
    DETECTIONS,
    SUMMARY,
    read_detections,
    write_detections,
    write_dsa,
    write_geojson,
    write_midog,
)
from mitoyolo.jobs import RUN_FILE, HeldError, Job, fingerprint, open_job, versions
from mitoyolo.many import LeftOut
from mitoyolo.memory import peak_mib
from mitoyolo.progress import Bar, bar, note, set_quiet
from mitoyolo.report.detect import write_pictures
from mitoyolo.slides.reader import open_slide
from mitoyolo.tiles import DEFAULT_OVERLAP

INDEX = SUMMARY
DEFAULT_TILE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectOptions:
    """The options of ``mitoyolo detect``; None takes what the weights file says.

    Attributes
    ----------
    roi : Path or None
        A file of outlines, or a folder with one a slide, NAME.geojson or NAME.xml.
    engine : str
        One of :data:`mitoyolo.detectors.engines.ENGINES`.
    hotspot_mm2 : float
        Area of the hotspot.
    submission : str or None
        One of :data:`mitoyolo.inference.submissions.SUBMISSIONS`, written when all is done.
    shard : str or None
        `i/n`: which of n processes this is, that share the slides.
    """

    mpp: Mpp | None = None
    threshold: float | None = None
    tile: int | None = None
    overlap: int | None = None
    roi: Path | None = None
    engine: str = AUTO
    hotspot_mm2: float = HOTSPOT_MM2
    submission: str | None = None
    shard: str | None = None
    device: str = "cpu"
    trust: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How every slide of a call is searched; ``tiles`` is how many they are cut into at most."""

    weights: Path
    loaded: Path
    detector: Detector
    cut: Cut
    threshold: float
    threshold_from: str
    options: DetectOptions
    share: Share
    tiles: int

    @property
    def at(self) -> Mpp | None:
        """µm/px at which the model sees."""
        return self.detector.card.mpp if self.detector.card else None


def detect(
    src: Path, weights: Path, out: Path, options: DetectOptions, *, overwrite: bool = False
) -> list[Path]:
    """Detect mitoses on a slide or image, on every one below a folder, or on those of a list.

    Parameters
    ----------
    src : Path
        A slide or image; a folder of them at any depth; or a text file, ``.txt``, that names one a
        line.
    weights : Path
        A ``best.pt`` of ours or its export, or Ultralytics weights (then the threshold must be
        stated).
    out : Path
        ``out/NAME/`` gets the tables, pictures and the report and, last, ``summary.json``;
        finished ones are skipped, an unfinished one is gone on with.
    options : DetectOptions
    overwrite : bool
        Replace another call's results.

    Returns
    -------
    list of Path
        The folders that are finished, one a slide.

    Raises
    ------
    InputError
        Nothing to read, or no image's µm/px; after all others are done, those that could not be
        read or whose µm/px alone nobody says.
    """
    share = share_of(options.shard, os.environ)
    if overwrite and not share.is_alone:
        raise OptionError(
            "--overwrite: of several processes each would erase what the others do",
            fix="remove the old results before, or give another --out",
        )
    if options.hotspot_mm2 <= 0:
        raise OptionError(f"--hotspot-mm2 {options.hotspot_mm2:g}: expected an area above 0")
    if share.number and not options.shard:  # torchrun's: one of them speaks
        set_quiet(True)
    pictures = find_pictures(src, out, options.mpp)
    if options.submission:
        submission_paths(options.submission, out, [picture.source for picture in pictures])
    work = _work(weights, options, share, pictures)
    left_out = LeftOut("images", len(pictures))
    with bar("detecting", unit="tiles", total=work.tiles) as progress:
        unfinished = share.order(pictures)
        for _ in range(1 if share.is_alone else 2):  # again: what its first process left
            unfinished = [
                picture
                for picture in unfinished
                if not _try(picture, work, overwrite, progress, left_out)
            ]
    left_out.check()
    finished = [picture for picture in pictures if (picture.folder / INDEX).exists()]
    if options.submission and len(finished) == len(pictures):  # whoever is last
        found = {picture.source: _results(picture, work) for picture in pictures}
        write_submission(options.submission, out, found, work.detector.classes)
    return [picture.folder for picture in finished]


# --- what to do -------------------------------------------------------------------------------


def _work(weights: Path, options: DetectOptions, share: Share, pictures: list[Picture]) -> Work:
    """The detector and how it is applied."""
    device = share.device(options.device)
    detector = load_detector(weights, device=device, trust=options.trust)
    if "mitosis" not in detector.classes:
        raise InputError(
            f"no class mitosis in these weights ({', '.join(detector.classes[:4])} ...)",
            file=weights,
        )
    threshold, threshold_from = _threshold(detector, weights, options.threshold)
    cut = _cut(detector, options)
    at = detector.card.mpp if detector.card else None
    tiles = sum(picture.tiles(cut, at) for picture in pictures)
    loaded = choose_engine(
        weights,
        options.engine,
        card=detector.card,
        device=device,
        tiles=tiles,
        trust=options.trust,
    )
    if loaded != weights:
        detector = _load_export(loaded, device)
    detector.least = threshold
    return Work(
        weights=weights,
        loaded=loaded,
        detector=detector,
        cut=cut,
        threshold=threshold,
        threshold_from=threshold_from,
        options=options,
        share=share,
        tiles=tiles,
    )


def _load_export(folder: Path, device: str) -> Detector:
    try:
        return load_detector(folder, device=device)
    except InputError as error:
        raise InputError(
            error.what, file=error.file, fix=f"remove {folder}; it is made again"
        ) from error


def _threshold(detector: Detector, weights: Path, given: float | None) -> tuple[float, str]:
    """The threshold and where it comes from."""
    if given is not None:
        return given, "given by --threshold"
    if detector.card is None or detector.card.threshold is None:
        raise InputError(
            "these weights carry no threshold", file=weights, fix="state one by --threshold"
        )
    return detector.card.threshold, detector.card.threshold_from


def _cut(detector: Detector, options: DetectOptions) -> Cut:
    card = detector.card
    tile = options.tile or (card.tile if card else DEFAULT_TILE)
    overlap = options.overlap
    if overlap is None:
        overlap = min(card.overlap if card else DEFAULT_OVERLAP, tile // 2)
    if overlap >= tile:
        raise OptionError(f"--overlap {overlap} must be less than the tile of {tile} px")
    return Cut(tile=tile, overlap=overlap)


# --- one slide --------------------------------------------------------------------------------


def _try(picture: Picture, work: Work, overwrite: bool, progress: Bar, left_out: LeftOut) -> bool:
    """Search a slide, or help whoever does; whether it is finished, or cannot be."""
    with left_out.collect():
        return _detect(picture, work, overwrite, progress)
    return True


def _detect(picture: Picture, work: Work, overwrite: bool, progress: Bar) -> bool:
    """Search a slide, or help whoever does; whether it is finished."""
    while True:
        try:
            _own(picture, work, overwrite, progress)
        except HeldError:
            if work.share.is_alone:
                raise
            if are_begun(picture.folder):
                return _help(picture, work, progress)
            time.sleep(LOOK)  # still looking for tissue, or failing
        else:
            return True


def _own(picture: Picture, work: Work, overwrite: bool, progress: Bar) -> None:
    """Search a slide that nobody else is searching."""
    expected = picture.tiles(work.cut, work.at)
    # how many tiles wait decides it, so other slides beside this one may have changed it
    chosen = work.options.engine == AUTO and (picture.folder / INDEX).exists()
    with open_job(
        picture.folder,
        command="detect",
        arguments=_arguments(picture, work),
        index=INDEX,
        overwrite=overwrite,
        free=("engine",) if chosen else (),
        reads=(picture.path, work.weights, _roi(picture, work)),
    ) as job:
        if job.finished:
            progress.step(expected)
        else:
            with _search(picture, work) as found:
                progress.less(expected - found.tiles_left)
                found.run(_pace(found, progress))
                _write(picture, work, found, job)
    remove_parts(picture.folder)


def _help(picture: Picture, work: Work, progress: Bar) -> bool:
    """Search what the process that holds the slide has not begun; whether it is finished."""
    run_file = picture.folder / RUN_FILE
    if not run_file.exists() or read_json(run_file).get("arguments") != _arguments(picture, work):
        return False
    with _search(picture, work) as found:
        found.help(_pace(found, progress))
    return (picture.folder / INDEX).exists()


def _arguments(picture: Picture, work: Work) -> dict[str, Any]:
    """Everything that decides the results."""
    if picture.size is None:
        open_slide(picture.path).close()  # says what is wrong with it
    if picture.mpp is None:
        raise MissingMppError(
            "no µm/px in it, as others have",
            file=picture.path,
            fix="state it by --mpp F, in a call for such images alone",
        )
    roi = _roi(picture, work)
    return {
        "source": str(picture.path.resolve()),
        "state": fingerprint([picture.path]),
        "weights": str(work.weights.resolve()),
        "weights_state": fingerprint(weight_files(work.weights)),
        "engine": work.loaded.suffix if work.loaded == work.weights else work.loaded.name,
        "mpp": list(picture.mpp),
        "threshold": work.threshold,
        "tile": work.cut.tile,
        "overlap": work.cut.overlap,
        "roi": str(roi.resolve()) if roi else None,
        "roi_state": fingerprint([roi]) if roi else None,
        "hotspot_mm2": work.options.hotspot_mm2,
        "device": work.options.device,
    }


def _roi(picture: Picture, work: Work) -> Path | None:
    """The file whose outlines bound what counts."""
    given = work.options.roi
    if given is None or not given.is_dir():
        return given
    found = [given / f"{picture.path.stem}{suffix}" for suffix in (".geojson", ".json", ".xml")]
    named = next((path for path in found if path.exists()), None)
    if named is None:
        raise InputError(
            f"no region for {picture.source}",
            file=given,
            fix=f"expected {found[0].name} or {found[-1].name} there",
        )
    return named


def _search(picture: Picture, work: Work) -> AbstractContextManager[SlideSearch]:
    assert picture.mpp is not None  # _arguments has refused it
    if work.at and differ(work.at, picture.mpp):
        note(f"{picture.source}: {picture.mpp[0]:g} µm/px, read at the model's {work.at[0]:g}")
    return slide_search(
        picture.path,
        mpp=picture.mpp,
        detector=work.detector,
        cut=work.cut,
        threshold=work.threshold,
        region=_roi(picture, work),
        folder=picture.folder,
    )


def _pace(found: SlideSearch, progress: Bar) -> Callable[[int], None]:
    """A step of the bar that tells mm² a second too; they are of the tiles, overlap included."""
    begun = time.monotonic()
    done = 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        speed = done * found.tile_mm2 / max(time.monotonic() - begun, 1e-9)
        progress.step(count, f"{speed:.2f} mm²/s")

    return step


def _results(picture: Picture, work: Work) -> tuple[Detections, Mpp]:
    """The detections of a finished slide, and its µm/px."""
    assert picture.mpp is not None
    return read_detections(picture.folder / DETECTIONS, work.detector.classes), picture.mpp


def _write(picture: Picture, work: Work, found: SlideSearch, job: Job) -> None:
    folder, classes, mpp = picture.folder, work.detector.classes, found.mpp
    rows, unreadable = found.found()
    write_detections(folder / DETECTIONS, picture.source, rows, classes, mpp)
    write_geojson(folder / "detections.geojson", rows, classes)
    write_midog(folder / "detections.midog.json", rows, classes, mpp)
    write_dsa(folder / "detections.dsa.json", rows, classes, picture.source)
    mitoses = rows[rows[:, 5] == classes.index("mitosis")]
    roi = _roi(picture, work)
    summary = summarise(
        mitoses,
        source=picture.source,
        mpp=mpp,
        size=found.slide.size,
        region=roi.name if roi else None,
        area_mm2=found.area_mm2,
        tissue_mm2=found.tissue_mm2,
        hotspot_mm2=work.options.hotspot_mm2,
        threshold=work.threshold,
        threshold_from=work.threshold_from,
        unreadable=unreadable,
    )
    for warning in summary["warnings"]:
        note(f"{picture.source}: {warning}")
    write_pictures(folder, found, mitoses, summary)
    job.facts |= {
        "tiles": len(found.search.windows),
        "stages_s": {name: round(spent, 2) for name, spent in found.clock.seconds.items()},
        "peak_memory_mib": round(peak_mib()),
    }
    write_json(folder / INDEX, {**summary, "versions": versions()})
