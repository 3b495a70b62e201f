"""``mitoyolo detect``: weights applied to images, each into a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.errors import InputError, MissingMppError, OptionError
from converters.files import write_json
from converters.images import IMAGE_SUFFIXES, find_files, image_mpp, image_size
from converters.mpp import Mpp, differ
from mitoyolo.detectors.base import Detector, load_detector, weight_files
from mitoyolo.images import RGB, read_rgb, write_rgb
from mitoyolo.inference.apply import Cut, at_model_scale, detect_image
from mitoyolo.inference.merge import Detections
from mitoyolo.inference.tables import DETECTIONS, write_detections, write_geojson, write_midog
from mitoyolo.jobs import fingerprint, open_job, versions
from mitoyolo.progress import Bar, bar, note
from mitoyolo.report.detect import write_detect_report
from mitoyolo.report.overlay import draw_dots, fitted
from mitoyolo.stain.tissue import tissue_fraction
from mitoyolo.tiles import DEFAULT_OVERLAP, grid

INDEX = "summary.json"
DEFAULT_TILE = 512

NAMED = 5
"""Images left out that the last line names; a note names each as it fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectOptions:
    """The options of ``mitoyolo detect``; None takes what the weights file says."""

    mpp: Mpp | None = None
    threshold: float | None = None
    tile: int | None = None
    overlap: int | None = None
    device: str = "cpu"
    trust: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One image to detect on, and how.

    Attributes
    ----------
    image, folder : Path
        What is read, and where the results go.
    source : str
        What the tables call the image: its path below the folder that was given.
    size : (int, int) or None
        Width and height by its header; None for one whose header cannot be read.
    mpp : (float, float) or None
        µm per pixel; None only where ``size`` is None.
    """

    image: Path
    source: str
    folder: Path
    size: tuple[int, int] | None
    mpp: Mpp | None
    weights: Path
    detector: Detector
    cut: Cut
    threshold: float
    threshold_from: str
    device: str

    @property
    def tiles(self) -> int:
        """How many tiles the image will be cut into, from its header; 0 for one that fails."""
        if self.mpp is None or self.size is None:
            return 0
        width, height, _ = at_model_scale(self.detector.card, *self.size, self.mpp)
        return len(grid(width, height, self.cut.tile, self.cut.overlap))


def detect(
    src: Path, weights: Path, out: Path, options: DetectOptions, *, overwrite: bool = False
) -> list[Path]:
    """Detect mitoses on an image or on every image below a folder.

    Parameters
    ----------
    src : Path
        An image, or a folder of images at any depth.
    weights : Path
        A ``best.pt`` of ours or its export, or Ultralytics weights (then the threshold must be
        stated).
    out : Path
        ``out/NAME/`` gets ``detections.csv``, ``detections.geojson``, ``detections.midog.json``,
        ``overlay.png``, ``report.html`` and, last, ``summary.json``; finished ones are skipped.
    options : DetectOptions
    overwrite : bool
        Replace another call's results.

    Returns
    -------
    list of Path
        The folders, one an image.

    Raises
    ------
    InputError
        Nothing to read, or an image without µm/px; after all images are done, those that could
        not be read.
    """
    images = _images(src, out)
    sizes = {path: _size(path) for path in images.values()}
    scales = _scales(sizes, options.mpp)
    detector = load_detector(weights, device=options.device, trust=options.trust)
    if "mitosis" not in detector.classes:
        raise InputError(
            f"no class mitosis in these weights ({', '.join(detector.classes[:4])} ...)",
            file=weights,
        )
    threshold, threshold_from = _threshold(detector, weights, options.threshold)
    cut = _cut(detector, options)
    tasks = [
        Task(
            image=path,
            source=path.name if src.is_file() else path.relative_to(src).as_posix(),
            folder=out / name,
            size=sizes[path],
            mpp=scales[path],
            weights=weights,
            detector=detector,
            cut=cut,
            threshold=threshold,
            threshold_from=threshold_from,
            device=options.device,
        )
        for name, path in images.items()
    ]
    failed = []
    with bar("detecting", unit="tiles", total=sum(task.tiles for task in tasks)) as progress:
        for task in tasks:
            try:
                _detect(task, overwrite, progress)
            except InputError as error:
                if len(tasks) == 1:
                    raise
                failed.append(str(error))
                note(f"left out: {error}")
    if failed:
        more = "; ..." if len(failed) > NAMED else ""
        raise InputError(
            f"{len(failed)} of {len(tasks)} images left out ({'; '.join(failed[:NAMED])}{more})",
            fix="the others are done; mend these and repeat the call",
        )
    return [task.folder for task in tasks]


# --- what to do -------------------------------------------------------------------------------


def _images(src: Path, out: Path) -> dict[str, Path]:
    """Name of the result folder -> image."""
    if src.is_file():
        return {src.stem: src}
    if not src.is_dir():
        raise InputError("no such image or folder", file=src)
    written = out.resolve()
    if src.resolve() in (written, *written.parents):
        raise InputError(
            f"the results would lie among the images of {src}",
            file=out,
            fix="give another --out, else the next call takes overlays for images",
        )
    images: dict[str, Path] = {}
    for path in find_files(src, IMAGE_SUFFIXES):
        name = "_".join(path.relative_to(src).with_suffix("").parts)
        other = images.setdefault(name, path)
        if other != path:
            raise InputError(
                f"its results would go into the folder of {other}",
                file=path,
                fix="rename one of them",
            )
    if not images:
        raise InputError(f"no image ({', '.join(IMAGE_SUFFIXES)}) below this folder", file=src)
    return images


def _scales(
    images: Mapping[Path, tuple[int, int] | None], option: Mpp | None
) -> dict[Path, Mpp | None]:
    """Each image's µm/px: the option's, else its own; None where the header cannot be read.

    ``images`` are the paths with their sizes, None where the header cannot be read.
    """
    known = {path: image_mpp(path) for path in images}
    if option is None:
        lacking = [path for path, mpp in known.items() if mpp is None and images[path]]
        if lacking:
            raise MissingMppError(
                f"no µm/px in {len(lacking)} of {len(images)} images, this one first",
                file=lacking[0],
                fix="state it by --mpp F, for example --mpp 0.25",
            )
        return known
    other = [(path, mpp) for path, mpp in known.items() if mpp and differ(option, mpp)]
    if other:
        path, mpp = other[0]
        note(
            f"--mpp {option[0]:g} is used; {len(other)} of {len(images)} images say otherwise "
            f"({path.name}: {mpp[0]:g})"
        )
    return dict.fromkeys(images, option)


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height by the header; a damaged one is told when the image is read."""
    try:
        return image_size(path)
    except InputError:
        return None


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


# --- one image --------------------------------------------------------------------------------


def _detect(task: Task, overwrite: bool, progress: Bar) -> None:
    image = read_rgb(task.image)  # before the folder is made: an unreadable image leaves nothing
    if task.mpp is None:
        raise MissingMppError("no µm/px in the image", file=task.image, fix="state it by --mpp F")
    arguments = {
        "source": str(task.image.resolve()),
        "state": fingerprint([task.image]),
        "weights": str(task.weights.resolve()),
        "weights_state": fingerprint(weight_files(task.weights)),
        "mpp": list(task.mpp),
        "threshold": task.threshold,
        "tile": task.cut.tile,
        "overlap": task.cut.overlap,
        "device": task.device,
    }
    with open_job(
        task.folder, command="detect", arguments=arguments, index=INDEX, overwrite=overwrite
    ) as job:
        if job.finished:
            progress.step(task.tiles)
            return
        found = detect_image(task.detector, image, task.mpp, task.cut, progress.step)
        _write(task, image, task.mpp, found[found[:, 4] >= task.threshold])


def _write(task: Task, image: RGB, mpp: Mpp, found: Detections) -> None:
    folder, classes = task.folder, task.detector.classes
    write_detections(folder / DETECTIONS, task.source, found, classes, mpp)
    write_geojson(folder / "detections.geojson", found, classes)
    write_midog(folder / "detections.midog.json", found, classes, mpp)
    mitoses = found[found[:, 5] == classes.index("mitosis")]
    write_rgb(folder / "overlay.png", fitted(draw_dots(image, mitoses[:, :2], mpp)))
    summary = _summary(task, image, mpp, len(mitoses))
    write_detect_report(folder, image, mitoses, mpp, summary)
    write_json(folder / INDEX, summary)


def _summary(task: Task, image: RGB, mpp: Mpp, count: int) -> dict[str, Any]:
    pixels = tissue_fraction(image) * image.shape[0] * image.shape[1]
    tissue = pixels * mpp[0] * mpp[1] / 1e6
    return {
        "source": task.source,
        "mpp": list(mpp),
        "region": "all tissue",
        "count": count,
        "threshold": task.threshold,
        "threshold_from": task.threshold_from,
        "tissue_mm2": tissue,
        "density_per_mm2": count / tissue if tissue else None,
        "versions": versions(),
    }
