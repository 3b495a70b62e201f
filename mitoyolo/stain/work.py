"""The tasks of the folder job: fit a case, normalise a few of its images."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tifffile

from converters.files import copy_file, write_with
from mitoyolo.images import RGB, read_rgb, write_rgb
from mitoyolo.pool import work_ahead
from mitoyolo.stain.colours import quick
from mitoyolo.stain.normaliser import Fitted, Normaliser, spread


@dataclass(frozen=True, slots=True)
class Fit:
    """Fit ``normaliser`` to images of one case, sampled evenly from ``names`` below ``root``."""

    normaliser: Normaliser
    root: Path
    names: tuple[str, ...]
    threads: int

    def run(self) -> Fitted:
        """Read and measure."""
        paths = (self.root / self.names[i] for i in spread(len(self.names)))
        with ThreadPoolExecutor(self.threads) as pool:
            return self.normaliser.fit(work_ahead(pool, read_rgb, paths, self.threads + 1))


@dataclass(frozen=True, slots=True)
class Batch:
    """Images of one case below ``root``, and where below ``out`` each goes.

    ``alike`` says how many images a process has to expect with this fit.
    """

    fitted: Fitted
    root: Path
    out: Path
    names: tuple[tuple[str, str], ...]
    alike: int

    def run(self) -> list[tuple[str, str | None]]:
        """Write what is not there yet; each name with the reason why it passed through, or None.

        An image that passes through is copied byte for byte. What is there already was written
        whole by this same job before it was stopped.
        """
        return [
            (name, self._one(self.root / name, self.out / target)) for name, target in self.names
        ]

    def _one(self, source: Path, target: Path) -> str | None:
        if target.exists():
            return self._reason(source) if _same(source, target) else None
        image, reason = self._apply(source)
        if reason:
            copy_file(source, target)
        elif target.suffix.lower() in (".tif", ".tiff"):
            _write_tiff(target, image, like=source)
        else:
            write_rgb(target, image)
        return reason

    def _reason(self, source: Path) -> str | None:
        return self._apply(source)[1]

    def _apply(self, source: Path) -> tuple[RGB, str | None]:
        image = read_rgb(source)
        apply = quick(self.fitted, self.alike * image.shape[0] * image.shape[1])
        return apply(image)


def _same(one: Path, other: Path) -> bool:
    same_size = one.stat().st_size == other.stat().st_size
    return same_size and one.read_bytes() == other.read_bytes()


_RESOLUTION = ("XResolution", "YResolution")


def _write_tiff(path: Path, image: RGB, *, like: Path) -> None:
    """Write a TIFF with the µm/px of ``like``, which its resolution tags carry."""
    resolution, unit = None, None
    with tifffile.TiffFile(like) as tiff:
        tags = tiff.pages.first.tags
        if all(name in tags for name in _RESOLUTION) and "ResolutionUnit" in tags:
            resolution = tuple(tags[name].value for name in _RESOLUTION)
            unit = int(tags["ResolutionUnit"].value)

    def write(temporary: Path) -> None:
        tifffile.imwrite(
            temporary,
            image,
            photometric="rgb",
            compression="zlib",
            resolution=resolution,
            resolutionunit=unit,
            metadata=None,
            software=False,
        )

    write_with(path, write)
