"""``mitoyolo convert``: annotations and images to a dataset folder, every annotation accounted for."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2

from converters.errors import InputError
from converters.files import write_json, write_text, write_with
from converters.geometry import clip_box
from converters.images import IMAGE_SUFFIXES, find_files
from converters.model import LABELS, Annotation, AnnotationSet, ImageInfo
from converters.mpp import SPREAD, Mpp, differ, resolve_mpp
from converters.prepare import Selection, prepare, rescale
from converters.presets import Preset, load_preset
from converters.reading import ReadOptions
from converters.registry import FORMATS, get_reader
from mitoyolo import __version__
from mitoyolo.dataset import (
    INDEX,
    REPORT,
    Labelled,
    Tile,
    write_annotations,
    write_dropped,
    write_index,
    write_manifest,
    write_split,
    yolo_text,
)
from mitoyolo.images import read_rgb, write_rgb
from mitoyolo.jobs import fingerprint, open_job
from mitoyolo.progress import note, track
from mitoyolo.split import SPLITS, shared_cases, split_from_file, split_groups
from mitoyolo.tiles import Window, grid


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """The options of ``mitoyolo convert``; see its help and ``docs/convert.md``."""

    format: str | None = None
    images: Path | None = None
    preset: str | None = None
    mpp: Mpp | None = None
    at_mpp: float | None = None
    selection: Selection = Selection()
    tile: int | None = None
    overlap: int | None = None
    tile_format: str = "png"
    background: float = 1.0
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    split_file: Path | None = None
    group_by: str = "case"
    bad: str = "stop"
    unlabelled: str = "error"
    seed: int = 0


DEFAULT_OVERLAP = 64
"""px shared by neighbouring tiles: a mitosis of 16 µm at 0.25 µm/px fits in whole."""


def convert(src: Path, out: Path, options: ConvertOptions, *, overwrite: bool = False) -> Path:
    """Write the dataset folder ``out`` from annotations and images in ``src``.

    Parameters
    ----------
    src : Path
        The folder that the format's reader expects, see ``docs/formats.md``.
    out : Path
        The dataset folder; an unfinished one of the same call is continued.
    options : ConvertOptions
    overwrite : bool
        Replace a folder that holds another call's work.

    Returns
    -------
    Path
        The ``dataset.yaml``.

    Raises
    ------
    InputError
        Anything in the input that cannot be used and may not be left out.
    """
    name, preset = _format_and_preset(options)
    if not src.exists():
        raise InputError("no such file or folder", file=src)
    if out.resolve() == src.resolve() or src.resolve() in out.resolve().parents:
        raise InputError("the output lies inside the input", file=out, fix="give another folder")
    if options.images and not options.images.is_dir():
        raise InputError("not a folder", file=options.images, fix="name the folder of the images")
    found = get_reader(name)(
        src,
        ReadOptions(images=options.images, bad=options.bad, unlabelled=options.unlabelled),
    )
    _check_sources(found.images, src)
    found.images = resolve_mpp(found.images, option=options.mpp, preset=preset, note=note)
    original = {image.source: (image.width, image.height) for image in found.images}
    if options.at_mpp:
        found = rescale(found, options.at_mpp)
    else:
        _warn_spread(found.images)
    kept, clipped = prepare(found, options.selection)
    split = _split(kept, options)
    plan, left_out = _plan(kept, split, options)

    arguments = _arguments(src, options, name, preset)
    with open_job(
        out, command="convert", arguments=arguments, index=INDEX, overwrite=overwrite
    ) as job:
        if job.finished:
            note(f"{out} is finished already; nothing to do")
            return out / INDEX
        for name_ in SPLITS:
            (out / "images" / name_).mkdir(parents=True, exist_ok=True)
            (out / "labels" / name_).mkdir(parents=True, exist_ok=True)
        files = _write_tiles(kept.images, original, plan, out, options)
        _write_tables(out, kept, split, clipped, plan, left_out, files, options)
        write_index(out, options.selection.labels, _block(kept, name, preset, options))
    return out / INDEX


# --- reading ----------------------------------------------------------------------------------


def _format_and_preset(options: ConvertOptions) -> tuple[str, Preset | None]:
    """The format is named, or the preset's; the preset is named, or implied by the format."""
    preset = load_preset(options.preset) if options.preset else None
    name = options.format or (preset and preset.format)
    if name is None:
        raise InputError("no --from FORMAT", fix="`mitoyolo formats` lists the formats")
    if preset is None and name in FORMATS and (implied := FORMATS[name].preset):
        preset = load_preset(implied)
    return name, preset


def _check_sources(images: list[ImageInfo], src: Path) -> None:
    if not images:
        raise InputError("no image left to convert", file=src)
    for source, times in Counter(image.source for image in images).items():
        if times > 1:
            paths = [str(image.path) for image in images if image.source == source]
            raise InputError(
                f"{times} images are called {source}: {', '.join(paths[:2])}",
                fix="give them different names, or folders named by slide",
            )


def _warn_spread(images: list[ImageInfo]) -> None:
    scales = sorted({image.mpp for image in images if image.mpp})
    if scales and differ(scales[0], scales[-1]):
        note(
            f"warning: images from {scales[0][0]:g} to {scales[-1][0]:g} µm/px differ by more than "
            f"{SPREAD:.0%}; --at-mpp {scales[0][0]:g} brings them to one scale"
        )


# --- planning ---------------------------------------------------------------------------------


def _split(kept: AnnotationSet, options: ConvertOptions) -> dict[str, str]:
    """Source -> split."""
    if options.split_file:
        return split_from_file(options.split_file, kept.images)
    group = {
        image.source: image.case if options.group_by == "case" else image.source
        for image in kept.images
    }
    mitoses = dict.fromkeys(group.values(), 0)
    for item in kept.annotations:
        mitoses[group[item.source]] += item.label == "mitosis"
    dealt = split_groups(mitoses, options.shares, options.seed)
    asked = [name for name, share in zip(SPLITS, options.shares, strict=True) if share > 0]
    if empty := [name for name in asked if name not in dealt.values()]:
        note(
            f"warning: {len(dealt)} {options.group_by}(s) cannot fill {len(asked)} splits, "
            f"{' and '.join(empty)} stay(s) empty; --group-by image or --split-file deals finer"
        )
    return {source: dealt[name] for source, name in group.items()}


def _plan(
    kept: AnnotationSet, split: dict[str, str], options: ConvertOptions
) -> tuple[dict[str, list[Labelled]], int]:
    """Source -> its tiles with their boxes, and how many background tiles were left out."""
    of_source: dict[str, list[Annotation]] = defaultdict(list)
    for item in kept.annotations:
        of_source[item.source].append(item)
    plan = {
        image.source: [
            _labelled(image, window, of_source[image.source], split[image.source], options)
            for window in _windows(image, options)
        ]
        for image in kept.images
    }
    candidates = [
        item.tile.name
        for items in plan.values()
        for item in items
        if item.tile.split == "train" and not any(label == 0 for label, _ in item.boxes)
    ]
    keep = set(
        random.Random(options.seed).sample(
            candidates, round(options.background * len(candidates))
        )
    )
    out = set(candidates) - keep
    plan = {
        source: [item for item in items if item.tile.name not in out]
        for source, items in plan.items()
    }
    return plan, len(out)


def _windows(image: ImageInfo, options: ConvertOptions) -> list[Window]:
    if options.tile is None:
        return [Window(0, 0, image.width, image.height)]
    return grid(image.width, image.height, options.tile, _overlap(options))


def _overlap(options: ConvertOptions) -> int:
    if options.overlap is not None:
        return options.overlap
    return min(DEFAULT_OVERLAP, (options.tile or 0) // 4)


def _labelled(
    image: ImageInfo,
    window: Window,
    annotations: list[Annotation],
    split: str,
    options: ConvertOptions,
) -> Labelled:
    """A tile with the annotations whose centroid it holds, clipped at its edges."""
    stem = image.source.replace("/", "_")
    assert image.mpp is not None
    tile = Tile(
        name=stem if options.tile is None else f"{stem}_x{window.x}_y{window.y}",
        source=image.source,
        case=image.case,
        split=split,
        x=window.x,
        y=window.y,
        width=window.width,
        height=window.height,
        mpp=image.mpp,
        scanner=image.scanner,
        tumour=image.tumour,
    )
    boxes = []
    for item in annotations:
        if item.box and window.holds(item.x, item.y, image.width, image.height):
            left, top, right, bottom = item.box
            moved = (left - window.x, top - window.y, right - window.x, bottom - window.y)
            box = clip_box(moved, window.width, window.height)
            if box[2] > box[0] and box[3] > box[1]:
                boxes.append((LABELS.index(item.label), box))
    return Labelled(tile, tuple(boxes))


# --- writing ----------------------------------------------------------------------------------


def _write_tiles(
    images: list[ImageInfo],
    original: dict[str, tuple[int, int]],
    plan: dict[str, list[Labelled]],
    out: Path,
    options: ConvertOptions,
) -> dict[str, str]:
    """Write every tile's image and labels; tile name -> image file name."""

    def write(image: ImageInfo) -> dict[str, str]:
        return _write_source(image, original[image.source], plan[image.source], out, options)

    files: dict[str, str] = {}
    work = [image for image in images if plan[image.source]]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV frees the interpreter lock
        try:
            done = pool.map(write, work)
            for named in track(done, "converting", unit="images", total=len(work)):
                files |= named
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return files


def _write_source(
    image: ImageInfo,
    original: tuple[int, int],
    items: list[Labelled],
    out: Path,
    options: ConvertOptions,
) -> dict[str, str]:
    """Write the tiles of one source image that are not there yet."""
    whole = options.tile is None
    copied = whole and not options.at_mpp and image.path.suffix.lower() in (".png", ".jpg", ".jpeg")
    suffix = image.path.suffix.lower() if copied else f".{options.tile_format}"
    suffix = ".jpg" if suffix == ".jpeg" else suffix
    files = {item.tile.name: f"{item.tile.name}{suffix}" for item in items}
    todo = [item for item in items if not _written(item.tile, files, out)]
    if not todo:
        return files
    pixels = read_rgb(image.path)
    if (pixels.shape[1], pixels.shape[0]) != original:
        raise InputError(
            f"decodes to {pixels.shape[1]} x {pixels.shape[0]} px, its header says "
            f"{original[0]} x {original[1]}",
            file=image.path,
        )
    if options.at_mpp:
        shrinks = image.width <= original[0]
        pixels = cv2.resize(
            pixels,
            (image.width, image.height),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC,
        )
    for item in todo:
        tile = item.tile
        write_text(out / "labels" / tile.split / f"{tile.name}.txt", yolo_text(item))
        target = out / "images" / tile.split / files[tile.name]
        if copied:  # the same bytes: a second JPEG encoding would lose
            write_with(target, lambda temporary: _copy(image.path, temporary))
        else:
            write_rgb(target, pixels[tile.y : tile.y + tile.height, tile.x : tile.x + tile.width])
    return files


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _written(tile: Tile, files: dict[str, str], out: Path) -> bool:
    label = out / "labels" / tile.split / f"{tile.name}.txt"
    return label.exists() and (out / "images" / tile.split / files[tile.name]).exists()


def _write_tables(
    out: Path,
    kept: AnnotationSet,
    split: dict[str, str],
    clipped: int,
    plan: dict[str, list[Labelled]],
    left_out: int,
    files: dict[str, str],
    options: ConvertOptions,
) -> None:
    items = [item for of_source in plan.values() for item in of_source]
    by_split = {name: [item for item in items if item.tile.split == name] for name in SPLITS}
    for name in SPLITS:
        write_split(out, name, by_split[name], files, options.selection.labels)
    write_manifest(out, [item.tile for item in items])
    write_annotations(out, kept.annotations, {image.source: image.case for image in kept.images})
    write_dropped(out, kept.dropped)
    shared = shared_cases(kept.images, split)
    report = {
        "read": kept.read,
        "kept": len(kept.annotations),
        "dropped": kept.reasons(),
        "clipped": clipped,
        "tiles": {name: len(by_split[name]) for name in SPLITS},
        "mitoses": _mitoses(kept, split),
        "background_tiles_left_out": left_out,
        "unlabelled_images": len(kept.unlabelled_images),
        "unlabelled": kept.unlabelled_images,
    }
    if shared:
        report["shared_cases"] = shared
        note(f"warning: {shared} case(s) stand in more than one split")
    write_json(out / REPORT, report)
    _say(report, out)


def _mitoses(kept: AnnotationSet, split: dict[str, str]) -> dict[str, int]:
    counts = Counter(
        split[item.source] for item in kept.annotations if item.label == "mitosis"
    )
    return {name: counts[name] for name in SPLITS}


def _say(report: dict[str, Any], out: Path) -> None:
    dropped = ", ".join(f"{n} {reason}" for reason, n in report["dropped"].items()) or "0"
    tiles = ", ".join(f"{n} {name}" for name, n in report["tiles"].items())
    mitoses = ", ".join(f"{n} {name}" for name, n in report["mitoses"].items())
    note(f"annotations: {report['read']} read, {report['kept']} kept, dropped: {dropped}")
    note(f"mitoses: {mitoses}; tiles: {tiles}; written to {out}")


def _block(
    kept: AnnotationSet, name: str, preset: Preset | None, options: ConvertOptions
) -> dict[str, Any]:
    """The ``mitoyolo:`` block of ``dataset.yaml``."""
    scales = [image.mpp for image in kept.images if image.mpp]
    return {
        "format": name,
        "mpp": [median(x for x, _ in scales), median(y for _, y in scales)],
        "protocol": preset.protocol if preset else "centroid",
        "radius_um": options.selection.radius_um,
        "labels": [label for label in LABELS if label in options.selection.labels],
        "seed": options.seed,
        "version": __version__,
        **({"tile": options.tile, "overlap": _overlap(options)} if options.tile else {}),
    }


def _arguments(
    src: Path, options: ConvertOptions, name: str, preset: Preset | None
) -> dict[str, Any]:
    """What decides the bytes of the output, the state of the input included."""
    suffixes = (".json", ".csv", *IMAGE_SUFFIXES)
    inputs = [
        path
        for root in {src, options.images or src}
        for path in ([root] if root.is_file() else find_files(root, suffixes))
    ]
    values = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in asdict(options).items()
    }
    values |= {
        "src": str(src),
        "format": name,
        "preset": preset and preset.name,
        "input": fingerprint(sorted(inputs)),
    }
    return _plain(values)


def _plain(value: Any) -> Any:
    """As JSON gives it back: lists for tuples."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
