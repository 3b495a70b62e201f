"""``mitoyolo tile``: slides cut into tiles, each into a folder of its own.

The folders are laid out as CADD4MBC does it, ``SLIDE/batch-001/x0y0.png``: column and row of the
tile, counted from 0, and batches of so many tiles, row by row. ``converters.slide_tiles`` reads
them back.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from converters.checked import checked_size
from converters.errors import InputError, MissingMppError
from converters.files import write_bytes, write_json
from converters.mpp import Mpp, size_at
from converters.slide_tiles import INDEX, TILES
from mitoyolo.dataset import Tile, write_manifest
from mitoyolo.images import encode_rgb
from mitoyolo.jobs import fingerprint, open_job
from mitoyolo.many import LeftOut, tell_stated
from mitoyolo.pool import cores, work_ahead
from mitoyolo.progress import Bar, bar, note
from mitoyolo.slides.reader import open_slide
from mitoyolo.slides.scaled import Sized
from mitoyolo.stain.tissue import tissue_fraction
from mitoyolo.tiles import Window, grid, starts

AHEAD = 2
"""Tiles a thread that may wait to be written: what bounds the memory."""

_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


@dataclass(frozen=True, slots=True, kw_only=True)
class TileOptions:
    """The options of ``mitoyolo tile``.

    Attributes
    ----------
    size : int
        A tile's side, px.
    mpp : (float, float) or None
        µm per pixel of the slides; None: their own.
    at_mpp : float
        µm per pixel of the tiles.
    batch_size : int
        Tiles a batch folder.
    min_tissue : float
        Least share of tissue of a tile that is kept.
    workers : int
        Threads; 0 for one a core.
    """

    size: int = 500
    mpp: Mpp | None = None
    at_mpp: float = 0.25
    batch_size: int = 150
    min_tissue: float = 0.1
    workers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One slide to cut.

    Attributes
    ----------
    slide, folder : Path
        What is read, and where the tiles go.
    size : (int, int)
        Width and height of level 0.
    mpp : (float, float)
        µm per pixel of level 0.
    own_mpp : (float, float) or None
        What the file says it is.
    at_size : (int, int)
        Width and height in pixels of the tiles.
    at_mpp : (float, float)
        µm per pixel of the tiles.
    """

    slide: Path
    folder: Path
    size: tuple[int, int]
    mpp: Mpp
    own_mpp: Mpp | None
    at_size: tuple[int, int]
    at_mpp: Mpp

    def cells(self, size: int) -> list[tuple[str, Window]]:
        """Name and place of each tile, row by row."""
        columns = len(starts(self.at_size[0], size, 0))
        windows = grid(*self.at_size, size)
        return [(f"x{i % columns}y{i // columns}", window) for i, window in enumerate(windows)]


def tile(
    slides: Sequence[Path], out: Path, options: TileOptions, *, overwrite: bool = False
) -> list[Path]:
    """Cut slides into tiles.

    Parameters
    ----------
    slides : sequence of Path
        Slides, or images of any size.
    out : Path
        ``out/SLIDE/`` gets the tiles, ``tiles.csv`` and, last, ``summary.json``; finished slides
        are skipped, an unfinished one is continued.
    options : TileOptions
    overwrite : bool
        Replace another call's tiles.

    Returns
    -------
    list of Path
        The folders, one a slide.

    Raises
    ------
    InputError
        Two slides have one name; after all slides are done, those that could not be cut.
    """
    tasks: list[Task] = []
    left_out = LeftOut("slides", len(slides))
    for slide, folder in _folders(slides, out).items():
        with left_out.collect():
            tasks.append(_task(slide, folder, options))
    tell_stated("slides", options.mpp, [(task.slide.name, task.own_mpp) for task in tasks])
    total = sum(len(task.cells(options.size)) for task in tasks)
    with bar("tiling", unit="tiles", total=total) as progress:
        for task in tasks:
            with left_out.collect():
                _tile(task, options, overwrite, progress)
    left_out.check()
    return [task.folder for task in tasks]


def _folders(slides: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Slide -> the folder that it is written to."""
    named: dict[str, Path] = {}
    for slide in slides:
        other = named.setdefault(slide.stem, slide)
        if other is not slide:
            raise InputError(
                f"its tiles would go into the folder of {other}",
                file=slide,
                fix="rename one of them, or give them another folder to write",
            )
    return {slide: out / name for name, slide in named.items()}


def _task(path: Path, folder: Path, options: TileOptions) -> Task:
    with open_slide(path) as slide:
        size, own_mpp, at = slide.size, slide.mpp, (options.at_mpp, options.at_mpp)
    mpp = options.mpp or own_mpp
    if mpp is None:
        raise MissingMppError(
            "no µm/px in the slide",
            file=path,
            fix="state it by --mpp F, for example --mpp 0.25",
        )
    # as stated, however near to the slide's own: exactly that is level 0, pixel by pixel
    at_size = size_at(size, mpp, at)
    return Task(
        slide=path,
        folder=folder,
        size=size,
        mpp=mpp,
        own_mpp=own_mpp,
        at_size=checked_size(at_size, path, f"at {options.at_mpp:g} µm/px"),
        at_mpp=mpp if at_size == size else at,
    )


# --- one slide --------------------------------------------------------------------------------


def _tile(task: Task, options: TileOptions, overwrite: bool, progress: Bar) -> None:
    arguments = {
        "source": str(task.slide.resolve()),
        "state": fingerprint([task.slide]),
        "size": options.size,
        "mpp": list(task.mpp),
        "at_mpp": options.at_mpp,
        "batch_size": options.batch_size,
        "min_tissue": options.min_tissue,
    }
    with open_job(
        task.folder,
        command="tile",
        arguments=arguments,
        index=INDEX,
        overwrite=overwrite,
        reads=[task.slide],
    ) as job:
        cells = task.cells(options.size)
        if job.finished:
            note(f"{task.folder} is finished already; nothing to do")
            progress.step(len(cells))
            return
        kept, unreadable = _cut(task, options, cells, progress)
        name = task.slide.stem
        rows = [
            Tile(
                name=cell, source=name, case=name, split="", x=window.x, y=window.y,
                width=window.width, height=window.height, mpp=task.at_mpp,
            )
            for cell, window in kept
        ]  # fmt: skip
        write_manifest(task.folder, rows, TILES)
        glass = len(cells) - len(kept) - len(unreadable)
        _say(task, options, len(kept), len(cells), glass, unreadable)
        write_json(
            task.folder / INDEX,
            {
                "source": task.slide.name,
                "width": task.size[0],
                "height": task.size[1],
                "mpp": list(task.mpp),
                "at_width": task.at_size[0],
                "at_height": task.at_size[1],
                "at_mpp": list(task.at_mpp),
                "size": options.size,
                "batch_size": options.batch_size,
                "min_tissue": options.min_tissue,
                "tiles": len(kept),
                "glass": glass,
                "unreadable": unreadable,
            },
        )


def _cut(
    task: Task, options: TileOptions, cells: list[tuple[str, Window]], progress: Bar
) -> tuple[list[tuple[str, Window]], list[dict[str, str]]]:
    """Write the tiles that have tissue; these, and those that cannot be read, each with why.

    Raises
    ------
    InputError
        No tile is left.
    """
    there = {path.stem: path for path in task.folder.glob("batch-*/x*y*.png")}
    kept: list[tuple[str, Window]] = []
    unreadable: list[dict[str, str]] = []
    threads = options.workers or cores()
    with open_slide(task.slide) as slide, ThreadPoolExecutor(threads) as pool:
        view = Sized(slide, task.at_size)

        def work(cell: tuple[str, Window]) -> Path | bytes | InputError | None:
            name, window = cell
            if (path := there.get(name)) and _is_whole(path):
                return path
            return _pixels(view, window, options.min_tissue)

        results = work_ahead(pool, work, cells, AHEAD * threads + 1)
        for cell, result in zip(cells, results, strict=True):
            progress.step()
            if isinstance(result, InputError):
                place = ", ".join(filter(None, (result.where, result.what)))
                unreadable.append({"tile": cell[0], "detail": place})
                continue
            if result is None:
                continue
            batch = f"batch-{len(kept) // options.batch_size + 1:03d}"
            target = task.folder / batch / f"{cell[0]}.png"
            kept.append(cell)
            if isinstance(result, bytes):
                write_bytes(target, result)
            elif result != target:  # a tile before it could not be read then
                target.parent.mkdir(exist_ok=True)
                result.replace(target)
    if not kept:
        raise InputError(
            f"none of {len(cells)} tiles is left: {len(unreadable)} cannot be read, the others "
            f"have less than {options.min_tissue:g} of tissue",
            file=task.slide,
            fix="download it again"
            if unreadable
            else "give a smaller --min-tissue if there is tissue on it",
        )
    return kept, unreadable


def _pixels(view: Sized, window: Window, min_tissue: float) -> bytes | InputError | None:
    """A tile as PNG; None for glass, the error where the slide is damaged."""
    try:
        rgb = view.read(window)
    except InputError as error:
        return error
    return encode_rgb(rgb, ".png") if tissue_fraction(rgb) >= min_tissue else None


def _is_whole(path: Path) -> bool:
    """Whether a PNG has its end."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_PNG_END)))
        return file.read() == _PNG_END


def _say(
    task: Task,
    options: TileOptions,
    kept: int,
    total: int,
    glass: int,
    unreadable: list[dict[str, str]],
) -> None:
    note(
        f"{task.folder}: {kept} of {total} tiles kept, {glass} left out with less than "
        f"{options.min_tissue:g} of tissue"
    )
    if unreadable:
        first = unreadable[0]
        note(
            f"warning: {len(unreadable)} tiles of {task.slide.name} cannot be read, listed in "
            f"{INDEX}; the first: {first['tile']}, {first['detail']}"
        )
