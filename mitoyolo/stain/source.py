"""What is in the folder to normalise: its images, each one's case, and what comes along."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from converters.errors import InputError
from converters.files import read_json
from converters.images import IMAGE_SUFFIXES, all_files
from mitoyolo.dataset import CHECK, INDEX, MANIFEST, Dataset, Tile, open_dataset
from mitoyolo.jobs import RUN_FILE

SUMMARY = "summary.json"
PASSED = "passed_through.csv"
SLIDE_TABLE = "tiles.csv"

ALONG = (".csv", ".json", ".txt", ".xml", ".geojson", ".yaml", ".yml", ".md", ".html")
"""Suffixes of labels and tables, which are copied. Caches of pixels are not: they would be old."""

_OWN = (INDEX, SUMMARY, RUN_FILE, PASSED, CHECK)


@dataclass(frozen=True, slots=True)
class Source:
    """A folder of images, or a dataset folder.

    Attributes
    ----------
    root : Path
    cases : dict
        Case -> its images, as sorted paths below ``root`` with forward slashes. Of a dataset: the
        manifest's case and scanner, since two scanners colour one case differently. Of a plain
        folder: the slide, which is the nearest folder with a ``tiles.csv``, or else the first
        folder below ``root``; images that lie in ``root`` itself are one case.
    along : tuple of str
        Labels and tables, copied as they are.
    left : dict
        Suffix -> number of files that stay behind.
    dataset : Dataset or None
    suffix : str
        What the name of a normalised image has more than its original's; empty: it takes its
        original's place.
    """

    root: Path
    cases: dict[str, tuple[str, ...]]
    along: tuple[str, ...]
    left: dict[str, int]
    dataset: Dataset | None
    suffix: str = ""

    @property
    def images(self) -> int:
        """How many images there are."""
        return sum(len(names) for names in self.cases.values())

    def target(self, name: str) -> str:
        """Where an image goes, below the folder that is written."""
        path = PurePosixPath(name)
        return str(path.with_stem(path.stem + self.suffix))

    def keeping_originals(self, suffix: str) -> Source:
        """The same folder, of which training tiles are copied under names with ``suffix``.

        Every image comes along as it is. Cases hold their training tiles alone, so that no pixel
        of validation or test decides what a copy looks like.

        Raises
        ------
        InputError
            No dataset folder; no training tile; a copy would have the name of a tile.
        """
        if self.dataset is None:
            raise InputError(
                "a folder of images, and --keep-originals is for a dataset folder",
                file=self.root,
                fix=f"leave it out: SRC stays as it is; or give a folder with a {INDEX}",
            )
        tiles = self.dataset.images_of("train")
        taken = {tile.name for tile in (*self.dataset.tiles, *self.dataset.others)}
        if twice := [tile.name for tile in tiles if tile.name + suffix in taken]:
            raise InputError(
                f"the copy of tile {twice[0]} would have the name of another tile, "
                f"{twice[0] + suffix}",
                file=self.root,
                fix="rename the source image of one of them, and convert again",
            )
        images = (name for names in self.cases.values() for name in names)
        cases = _dataset_cases(self.dataset, tiles)
        return replace(self, cases=cases, along=(*self.along, *images), suffix=suffix)

    def files(self) -> list[Path]:
        """Every file that decides the result."""
        names = [name for case in self.cases.values() for name in case]
        names += [*self.along, *([INDEX] if self.dataset else [])]
        return [self.root / name for name in names]


def read_source(root: Path) -> Source:
    """Look through a folder.

    Raises
    ------
    InputError
        No folder, no images, an unfinished folder, or one that is normalised already.
    """
    if not root.is_dir():
        raise InputError("no such folder", file=root, fix="give a folder of images")
    dataset = _open(root)
    files = [path.relative_to(root).as_posix() for path in all_files(root)]
    if dataset:
        cases = _dataset_cases(dataset, (*dataset.tiles, *dataset.others))
    else:
        cases = _folder_cases([name for name in files if _suffix(name) in IMAGE_SUFFIXES], files)
    if not cases:
        raise InputError(
            f"no images ({', '.join(IMAGE_SUFFIXES)})", file=root, fix="give a folder of images"
        )
    images = {name for names in cases.values() for name in names}
    rest = [name for name in files if name not in images and name not in _OWN]
    along = tuple(name for name in rest if _comes_along(name, dataset))
    behind = set(rest) - set(along)
    left = Counter(_suffix(name) or "no suffix" for name in behind)
    return Source(root, cases, along, dict(sorted(left.items())), dataset)


def _comes_along(name: str, dataset: Dataset | None) -> bool:
    return _suffix(name) in ALONG or (dataset is not None and name.startswith("masks/"))


def _open(root: Path) -> Dataset | None:
    if (root / INDEX).exists():
        dataset = open_dataset(root)
        if dataset.normalisation or dataset.normalised_copies:
            raise _normalised_already(root)
        return dataset
    if (root / MANIFEST).exists():
        raise InputError(
            f"unfinished dataset folder (no {INDEX})",
            file=root,
            fix="repeat the call that was writing it; it continues where it stopped",
        )
    if (root / RUN_FILE).exists():
        run = read_json(root / RUN_FILE)
        command = run.get("command") if isinstance(run, dict) else None
        if command == "normalize":
            raise _normalised_already(root)
        if command == "convert":
            return open_dataset(root)  # refuses it: the index is missing
    return None


def _normalised_already(root: Path) -> InputError:
    return InputError(
        "normalised already; twice is not the same as once",
        file=root,
        fix="normalise the folder it was made from",
    )


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _dataset_cases(dataset: Dataset, tiles: Iterable[Tile]) -> dict[str, tuple[str, ...]]:
    cases: dict[str, list[str]] = {}
    for tile in tiles:
        key = f"{tile.case} {tile.scanner}".strip() or tile.source
        image = dataset.image_path(tile).relative_to(dataset.root)
        cases.setdefault(key, []).append(image.as_posix())
    return _sorted(cases)


def _folder_cases(images: Iterable[str], files: Iterable[str]) -> dict[str, tuple[str, ...]]:
    slides = {
        PurePosixPath(name).parent for name in files if PurePosixPath(name).name == SLIDE_TABLE
    }
    cases: dict[str, list[str]] = {}
    for name in images:
        path = PurePosixPath(name)
        slide = next((folder for folder in path.parents if folder in slides), None)
        case = str(slide) if slide else path.parts[0] if len(path.parts) > 1 else "."
        cases.setdefault(case, []).append(name)
    return _sorted(cases)


def _sorted(cases: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {case: tuple(sorted(cases[case])) for case in sorted(cases)}
