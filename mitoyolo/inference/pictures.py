"""The slides and images of a call of ``detect``: found, named, and each one's size and µm/px."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from converters.errors import InputError, MissingMppError
from converters.files import read_text
from converters.images import PICTURE_SUFFIXES, find_files, image_size
from converters.mpp import Mpp
from mitoyolo.inference.apply import Cut
from mitoyolo.many import tell_stated
from mitoyolo.slides.reader import open_slide
from mitoyolo.slides.scaled import grid_size
from mitoyolo.tiles import grid

PLAIN = (".png", ".jpg", ".jpeg", ".bmp")
"""Images whose pixels need not be decoded to know their size, and which know no µm/px."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A slide or image to search, by its header.

    Attributes
    ----------
    path, folder : Path
        What is read, and where the results go.
    source : str
        What the tables call it: its path below the folder that was given.
    size : (int, int) or None
        Width and height; None where the header cannot be read.
    mpp : (float, float) or None
        µm per pixel; None where the file does not say, or cannot be read.
    """

    path: Path
    source: str
    folder: Path
    size: tuple[int, int] | None
    mpp: Mpp | None

    def tiles(self, cut: Cut, at: Mpp | None) -> int:
        """How many tiles it can be cut into; 0 for one that fails."""
        if self.mpp is None or self.size is None:
            return 0
        return len(grid(*grid_size(self.size, self.mpp, at), cut.tile, cut.overlap))


def find_pictures(src: Path, out: Path, mpp: Mpp | None) -> list[Picture]:
    """The slides and images that a call names.

    Parameters
    ----------
    src : Path
        One of them; a folder of them at any depth; or a text file, ``.txt``, that names one a line.
    out : Path
        Where the folder of each one's results goes.
    mpp : (float, float) or None
        Stated for all of them.

    Raises
    ------
    InputError
        Nothing to read, no image's µm/px, or two whose results would go into one folder.
    """
    paths = _paths(src, out)
    headers = {path: _header(path) for path in paths.values()}
    scales = _scales(headers, mpp)
    return [
        Picture(
            path=path,
            source=path.relative_to(src).as_posix() if src.is_dir() else path.name,
            folder=out / name,
            size=headers[path][0],
            mpp=scales[path],
        )
        for name, path in paths.items()
    ]


def _paths(src: Path, out: Path) -> dict[str, Path]:
    """Name of the result folder -> slide or image."""
    if src.is_dir():
        written = out.resolve()
        if src.resolve() in (written, *written.parents):
            raise InputError(
                f"the results would lie among the images of {src}",
                file=out,
                fix="give another --out, else the next call takes overlays for images",
            )
        found = list(find_files(src, PICTURE_SUFFIXES))
        if not found:
            raise InputError(
                f"no slide or image ({', '.join(PICTURE_SUFFIXES)}) below this folder", file=src
            )
        named = [("_".join(path.relative_to(src).with_suffix("").parts), path) for path in found]
    elif not src.exists():
        raise InputError("no such slide, image or folder", file=src)
    else:
        listed = _listed(src) if src.suffix.lower() == ".txt" else [src]
        named = [(path.stem, path) for path in listed]
    paths: dict[str, Path] = {}
    for name, path in named:
        other = paths.setdefault(name, path)
        if other != path:
            raise InputError(
                f"its results would go into the folder of {other}",
                file=path,
                fix="rename one of them",
            )
    return paths


def _listed(file: Path) -> list[Path]:
    """The slides that a text file names, one a line; relative to the file's own folder."""
    lines = [line.strip() for line in read_text(file).splitlines()]
    paths = [file.parent / line for line in lines if line and not line.startswith("#")]
    if not paths:
        raise InputError("an empty list, expected a slide a line", file=file)
    return paths


Header = tuple[tuple[int, int] | None, Mpp | None]


def _header(path: Path) -> Header:
    """Size and µm/px; a damaged one, of which neither is known, is told when it is read."""
    try:
        if path.suffix.lower() in PLAIN:
            return image_size(path), None
        with open_slide(path) as slide:
            return slide.size, slide.mpp
    except InputError:
        return None, None


def _scales(headers: Mapping[Path, Header], option: Mpp | None) -> dict[Path, Mpp | None]:
    """Each image's µm/px: the option's, else its own; None where nothing is known of it."""
    known = {path: mpp for path, (_, mpp) in headers.items()}
    if option is None:
        lacking = [path for path, (size, mpp) in headers.items() if size and mpp is None]
        if lacking and not any(known.values()):
            raise MissingMppError(
                f"no µm/px in {len(lacking)} of {len(headers)} images, this one first",
                file=lacking[0],
                fix="state it by --mpp F, for example --mpp 0.25",
            )
        return known
    tell_stated("images", option, [(path.name, mpp) for path, mpp in known.items()])
    return dict.fromkeys(headers, option)
