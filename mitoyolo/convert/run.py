"""One call of ``convert``, from its input to a finished dataset folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from converters.errors import InputError
from converters.model import LABELS, AnnotationSet
from converters.mpp import resolve_mpp
from converters.prepare import prepare, rescale
from converters.presets import Preset
from converters.registry import FORMATS
from converters.slide_tiles import at_level_0
from converters.writing import needed_size
from mitoyolo import __version__
from mitoyolo.convert.documents import write_documents
from mitoyolo.convert.options import ConvertOptions, arguments, format_and_preset, with_preset
from mitoyolo.convert.plan import make_plan
from mitoyolo.convert.read import read_source, relative, warn_sizes, warn_spread
from mitoyolo.convert.report import write_tables
from mitoyolo.convert.write import image_files, write_images, write_labels, write_masks
from mitoyolo.dataset import INDEX, NO_IMAGES, REPORT, RESAMPLED, write_index
from mitoyolo.jobs import check_apart, open_job
from mitoyolo.progress import note


def convert(src: Path, out: Path, options: ConvertOptions, *, overwrite: bool = False) -> Path:
    """Write the dataset folder ``out`` from annotations and images in ``src``, or the annotations
    alone in another format.

    Parameters
    ----------
    src : Path
        The folder that the format's reader expects, see ``docs/formats.md``.
    out : Path
        The folder to write; an unfinished one of the same call is continued.
    options : ConvertOptions
    overwrite : bool
        Replace a folder that holds another call's work.

    Returns
    -------
    Path
        The ``dataset.yaml``, or the ``report.json`` of another format.

    Raises
    ------
    OptionError
        A format or preset that is not known.
    InputError
        Anything in the input that cannot be used and may not be left out.
    """
    name, preset = format_and_preset(options)
    options = with_preset(options, preset)
    _check_paths(src, out, options)
    found = read_source(src, out, name, options, preset)
    _check_tiles(found, options)
    notes: list[str] = []  # said at the end: an error on the way is the only line
    warn_sizes(found.images, notes.append)
    found.images = resolve_mpp(
        found.images,
        option=options.mpp,
        preset=preset,
        note=notes.append,
        needed=options.to == "yolo",  # else only points need it, to become squares
    )
    kept, clipped = prepare(found, options.selection)
    if options.bad != "drop":
        _check_inside(kept)
    kept = relative(kept, src, options.images)
    if options.to == "yolo" and not options.at_mpp:
        warn_spread(kept.images, notes.append)
    if options.to == "yolo":  # planned before the first byte: what it refuses leaves no folder
        index, write = INDEX, _dataset(kept, clipped, name, preset, options)
    else:
        documents = at_level_0(kept, options.mpp)
        index, write = REPORT, partial(write_documents, documents, clipped, options.to)
    with open_job(
        out,
        command="convert",
        arguments=arguments(src, out, options, name, preset),
        index=index,
        overwrite=overwrite,
        reads=[options.split_file],
    ) as job:
        if job.finished:
            note(f"{out} is finished already; nothing to do")
        else:
            write(out)
        for message in notes if not job.finished else ():
            note(message)
    return out / index


def _dataset(
    kept: AnnotationSet,
    clipped: int,
    name: str,
    preset: Preset | None,
    options: ConvertOptions,
) -> Callable[[Path], None]:
    """Plan a dataset folder; what is returned writes it."""
    original = {image.source: needed_size(image, "a dataset folder") for image in kept.images}
    if options.at_mpp:
        kept = rescale(kept, options.at_mpp)
    plan = make_plan(kept, options, preset)

    def write(out: Path) -> None:
        write_labels(out, plan)
        if not options.annotations_only:
            write_images(out, kept.images, original, plan, options)
        if options.masks:
            write_masks(out, plan)
        write_tables(out, kept, plan, image_files(kept.images, plan, options), clipped, options)
        write_index(out, options.selection.labels, _block(kept, name, preset, options))

    return write


def _check_paths(src: Path, out: Path, options: ConvertOptions) -> None:
    if not src.exists():
        raise InputError("no such file or folder", file=src)
    if options.images and not options.images.is_dir():
        raise InputError("not a folder", file=options.images, fix="name the folder of the images")
    check_apart(out, filter(None, (src, options.images)))


def _check_inside(kept: AnnotationSet) -> None:
    """Refuse annotations that are mostly outside their images.

    Raises
    ------
    InputError
        They are in another unit, or of other images.
    """
    outside = [drop for drop in kept.dropped if drop.reason == "outside"]
    later = sum(drop.reason in ("duplicate", "no_extent") for drop in kept.dropped)
    inside = len(kept.annotations) + later
    if len(outside) > max(1, inside):
        first = outside[0]
        raise InputError(
            f"{len(outside)} of {len(outside) + inside} annotations are outside their images, as "
            f"this one is: {first.detail}",
            file=first.file,
            where=first.where,
            fix="are they in another unit, or of other images? If they are as meant, --bad drop "
            "leaves them out",
        )


def _check_tiles(found: AnnotationSet, options: ConvertOptions) -> None:
    """Refuse to cut or resample what is there only in tiles.

    Raises
    ------
    InputError
        An option asks for it.
    """
    asked = {"--tile": options.tile, "--grid": options.grid, "--at-mpp": options.at_mpp}
    slides = [image for image in found.images if image.parts]
    for option in (name for name, value in asked.items() if value and slides):
        raise InputError(
            f"{option} cannot be applied to the tiles that a slide is cut into",
            file=slides[0].parts[0].path.parent.parent,
            fix="leave it out, or cut the slide anew by `mitoyolo tile`",
        )


def _block(
    kept: AnnotationSet, name: str, preset: Preset | None, options: ConvertOptions
) -> dict[str, Any]:
    """The ``mitoyolo:`` block of ``dataset.yaml``."""
    scales = [image.mpp for image in kept.images if image.mpp]
    return {
        "format": name,
        "mpp": [median(x for x, _ in scales), median(y for _, y in scales)],
        "protocol": preset.protocol if preset else FORMATS[name].protocol,
        "radius_um": options.selection.radius_um,
        "labels": [label for label in LABELS if label in options.selection.labels],
        "seed": options.seed,
        "version": __version__,
        **({RESAMPLED: True} if options.at_mpp or any(each.scan for each in kept.images) else {}),
        **({"tile": options.tile, "overlap": options.overlap_px} if options.tile else {}),
        **({"grid": "x".join(map(str, options.grid))} if options.grid else {}),
        **({"augment": list(options.augment)} if options.augment else {}),
        **({"images": NO_IMAGES} if options.annotations_only else {}),
    }
