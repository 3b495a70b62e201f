"""One call of ``convert``, from its input to a finished dataset folder."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from converters.errors import InputError
from converters.model import LABELS, AnnotationSet
from converters.mpp import resolve_mpp
from converters.prepare import prepare, rescale
from converters.presets import Preset
from mitoyolo import __version__
from mitoyolo.convert.options import ConvertOptions, arguments, format_and_preset
from mitoyolo.convert.plan import make_plan
from mitoyolo.convert.read import read_source, warn_spread
from mitoyolo.convert.report import write_tables
from mitoyolo.convert.write import write_tiles
from mitoyolo.dataset import INDEX, write_index
from mitoyolo.jobs import check_apart, open_job
from mitoyolo.progress import note


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
    OptionError
        A format or preset that is not known.
    InputError
        Anything in the input that cannot be used and may not be left out.
    """
    name, preset = format_and_preset(options)
    _check_paths(src, out, options)
    found = read_source(src, name, options)
    notes: list[str] = []  # said at the end: an error on the way is the only line
    found.images = resolve_mpp(found.images, option=options.mpp, preset=preset, note=notes.append)
    original = {image.source: (image.width, image.height) for image in found.images}
    kept, clipped = prepare(found, options.selection)
    if options.at_mpp:
        kept = rescale(kept, options.at_mpp)
    else:
        warn_spread(kept.images, notes.append)
    plan = make_plan(kept, options)
    with open_job(
        out,
        command="convert",
        arguments=arguments(src, options, name, preset),
        index=INDEX,
        overwrite=overwrite,
    ) as job:
        if job.finished:
            note(f"{out} is finished already; nothing to do")
        else:
            files = write_tiles(out, kept.images, original, plan, options)
            write_tables(out, kept, plan, files, clipped, options.selection.labels)
            write_index(out, options.selection.labels, _block(kept, name, preset, options))
            for message in notes:
                note(message)
    return out / INDEX


def _check_paths(src: Path, out: Path, options: ConvertOptions) -> None:
    if not src.exists():
        raise InputError("no such file or folder", file=src)
    if options.images and not options.images.is_dir():
        raise InputError("not a folder", file=options.images, fix="name the folder of the images")
    check_apart(out, filter(None, (src, options.images)))


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
        **({"tile": options.tile, "overlap": options.overlap_px} if options.tile else {}),
    }
