"""One slide searched: where its tissue is, how it is cut, and what the detector finds there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.errors import InputError
from converters.mpp import Mpp, differ
from mitoyolo.detectors.base import Detector
from mitoyolo.inference.apply import Cut, network_size
from mitoyolo.inference.merge import Detections
from mitoyolo.inference.parts import Part, Parts
from mitoyolo.inference.region import Region, read_region
from mitoyolo.inference.search import Clock, Search
from mitoyolo.inference.stitch import stitch
from mitoyolo.slides.overview import TissueMap, tissue_map
from mitoyolo.slides.reader import Slide, open_slide
from mitoyolo.slides.scaled import Scaled
from mitoyolo.stain.normaliser import Fitted, Normaliser, spread
from mitoyolo.tiles import Window, grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A tile of a slide that could not be read.

    Attributes
    ----------
    x, y, width, height : float
        Level-0 pixels.
    why : str
    """

    x: float
    y: float
    width: float
    height: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideSearch:
    """A slide that is being searched.

    Attributes
    ----------
    mpp : (float, float)
        µm per pixel of level 0.
    tissue : TissueMap
        What counts of it.
    region : Region or None
        Where alone mitoses count; None: everywhere.
    area_mm2, tissue_mm2 : float
        Of the region, or of the tissue without one; and of the tissue that counts.
    """

    slide: Slide
    mpp: Mpp
    tissue: TissueMap
    region: Region | None
    area_mm2: float
    tissue_mm2: float
    search: Search
    parts: Parts
    clock: Clock

    @property
    def tile_mm2(self) -> float:
        """Area of a tile, overlap included."""
        first, scale = self.search.windows[0], self.search.view.scale
        across, down = (mpp * step for mpp, step in zip(self.mpp, scale, strict=True))
        return first.width * across * first.height * down / 1e6

    @property
    def tiles_left(self) -> int:
        """How many tiles nobody has searched yet."""
        left = (number for number in self.parts.numbers if not self.parts.is_done(number))
        return sum(len(self.parts.windows(number)) for number in left)

    def run(self, step: Callable[[int], None]) -> None:
        """Search whatever parts nobody has done, and wait for those that others are doing."""
        self.parts.begin()
        try:
            self.search.run(self.parts, self._unclaimed(), step)
            self.search.run(self.parts, self.parts.wait(), step)
        finally:
            self.parts.release()

    def help(self, step: Callable[[int], None]) -> None:
        """Search parts beside the process that began the slide."""
        try:
            self.search.run(self.parts, self._unclaimed(), step)
        finally:
            self.parts.release()

    def _unclaimed(self) -> Iterator[int]:
        return (number for number in self.parts.numbers if self.parts.claim(number))

    def found(self) -> tuple[Detections, list[Unreadable]]:
        """All detections that count, in level-0 pixels and by falling score, and what could not
        be read.

        Raises
        ------
        InputError
            Nothing could be read.
        """
        scale = np.asarray(self.search.view.scale)
        parts = [self.parts.read(number) for number in self.parts.numbers]
        unreadable = list(self._unreadable(parts))
        if unreadable and len(unreadable) == len(self.search.windows):
            raise InputError(
                f"no tile can be read ({unreadable[0].why})",
                file=self.slide.path,
                fix="export or download it again",
            )
        own = (self.mpp[0] * scale[0], self.mpp[1] * scale[1])
        rows = stitch(self.search.windows, [rows for part in parts for rows in part.found], own)
        rows = rows * np.array([*scale, *scale, 1, 1])
        if self.region:
            rows = rows[self.region.contains(rows[:, :2])]
        return rows, unreadable

    def _unreadable(self, parts: list[Part]) -> Iterator[Unreadable]:
        across, down = self.search.view.scale
        for number, part in zip(self.parts.numbers, parts, strict=True):
            windows = self.parts.windows(number)
            for i, why in part.unreadable.items():
                w = windows[i]
                yield Unreadable(
                    x=w.x * across, y=w.y * down, width=w.width * across, height=w.height * down,
                    why=why,
                )  # fmt: skip


@contextmanager
def slide_search(
    path: Path,
    *,
    mpp: Mpp,
    detector: Detector,
    cut: Cut,
    threshold: float,
    region: Path | None,
    folder: Path,
) -> Iterator[SlideSearch]:
    """Open a slide or image and plan its search, the same in every process.

    It is brought to the model's µm/px where they differ by more than 5 %, cut into overlapping
    tiles, of which those without tissue (or outside the region) are left out, and normalised by one
    fit over its own tissue.

    Parameters
    ----------
    mpp : (float, float)
        µm per pixel of level 0.
    threshold : float
        Least score of a detection that counts.
    region : Path, optional
        Annotations whose outlines bound what counts.
    folder : Path
        Where results and parts go.

    Raises
    ------
    InputError
        The slide or the region cannot be read, or the region is not on the slide.
    """
    bounds = read_region(region) if region else None
    with closing(open_slide(path)) as slide:
        card = detector.card
        at = card.mpp if card and card.mpp and differ(card.mpp, mpp) else None
        view = Scaled(slide, mpp, at)
        region_mm2 = bounds.area_mm2(mpp, slide.size) if bounds else None
        if region_mm2 == 0:
            raise InputError(
                f"lies outside the {slide.size[0]} x {slide.size[1]} px of {path.name}",
                file=region,
                fix="draw the region on this slide, in pixels of level 0",
            )
        clock = Clock()
        with clock.stage("tissue map"):
            tissue = tissue_map(slide, mpp)
        near = tissue
        if bounds:
            inside = bounds.mask(tissue.mask.shape, tissue.step)
            near = TissueMap(tissue.mask & _grown(inside), tissue.step)
            tissue = TissueMap(tissue.mask & inside, tissue.step)
        windows = _windows(view, cut, near)
        with clock.stage("stain fit"):
            fitted = _fit(detector, view, windows)
        side = max(min(cut.tile, length) for length in view.size)
        tissue_mm2 = tissue.area_mm2(mpp)
        area_mm2 = tissue_mm2 if region_mm2 is None else region_mm2
        yield SlideSearch(
            slide=slide,
            mpp=mpp,
            tissue=tissue,
            region=bounds,
            area_mm2=area_mm2,
            tissue_mm2=min(tissue_mm2, area_mm2),  # the map's pixels count whole
            search=Search(
                detector=detector,
                view=view,
                windows=windows,
                imgsz=network_size(detector, side, at or mpp, cut.tile),
                fitted=fitted,
                threshold=threshold,
                clock=clock,
            ),
            parts=Parts(folder, windows),
            clock=clock,
        )


def _windows(view: Scaled, cut: Cut, tissue: TissueMap) -> list[Window]:
    """The tiles to search, row by row: those with tissue that counts."""
    windows = grid(*view.size, cut.tile, cut.overlap)
    corners = np.array([(w.x, w.y, w.x + w.width, w.y + w.height) for w in windows])
    wanted = tissue.touches(corners * [*view.scale, *view.scale])
    return [window for window, is_wanted in zip(windows, wanted, strict=True) if is_wanted]


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask with its neighbouring pixels: those that an outline cuts may hold a cell."""
    grown = cv2.dilate(mask.view(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(grown, np.uint8).view(np.bool_)


def _fit(detector: Detector, view: Scaled, windows: list[Window]) -> Fitted | None:
    """The model's normaliser, fitted to the slide; a tile that cannot be read is passed over."""
    if detector.card is None or detector.card.normalisation is None:
        return None

    def tiles() -> Iterator[np.ndarray]:
        for i in spread(len(windows)):
            try:
                yield view.read(windows[i])
            except InputError:
                continue

    return Normaliser.from_dict(detector.card.normalisation).fit(tiles())
