"""What is written where, decided before the first byte: splits, tiles and their boxes."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass

from converters.geometry import clip_box
from converters.model import LABELS, Annotation, AnnotationSet, ImageInfo
from mitoyolo.convert.options import ConvertOptions
from mitoyolo.dataset import Labelled, Tile
from mitoyolo.split import SPLITS, split_from_file, split_groups
from mitoyolo.tiles import Window, grid


@dataclass(frozen=True, slots=True)
class Plan:
    """Where everything goes.

    Attributes
    ----------
    split : dict
        Source -> train, val or test.
    tiles : dict
        Source -> its tiles, each with its boxes.
    background_left_out : int
        How many mitosis-free training tiles ``--background`` leaves out.
    empty : list of str
        Splits that were asked for and got nothing.
    """

    split: dict[str, str]
    tiles: dict[str, list[Labelled]]
    background_left_out: int
    empty: list[str]

    @property
    def items(self) -> list[Labelled]:
        """All tiles, source by source."""
        return [item for items in self.tiles.values() for item in items]


def make_plan(kept: AnnotationSet, options: ConvertOptions) -> Plan:
    """Deal the images of ``kept`` to splits and cut them.

    Raises
    ------
    InputError
        The split file is damaged or misses an image.
    """
    split = _split(kept, options)
    of_source: dict[str, list[Annotation]] = defaultdict(list)
    for item in kept.annotations:
        of_source[item.source].append(item)
    tiles = {
        image.source: [
            _labelled(image, window, of_source[image.source], split[image.source], options)
            for window in _windows(image, options)
        ]
        for image in kept.images
    }
    left_out = _background(tiles, options)
    tiles = {
        source: [item for item in items if item.tile.name not in left_out]
        for source, items in tiles.items()
    }
    wanted = {name for name, share in zip(SPLITS, options.shares, strict=True) if share > 0}
    wanted = set() if options.split_file else wanted - set(split.values())
    return Plan(split, tiles, len(left_out), [name for name in SPLITS if name in wanted])


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
    return {source: dealt[name] for source, name in group.items()}


def _windows(image: ImageInfo, options: ConvertOptions) -> list[Window]:
    if options.tile is None:
        return [Window(0, 0, image.width, image.height)]
    return grid(image.width, image.height, options.tile, options.overlap_px)


def _labelled(
    image: ImageInfo,
    window: Window,
    annotations: list[Annotation],
    split: str,
    options: ConvertOptions,
) -> Labelled:
    """A tile with the annotations whose centroid it holds, clipped at its edges."""
    assert image.mpp is not None
    stem = image.source.replace("/", "_")
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
            boxes.append((LABELS.index(item.label), clip_box(moved, window.width, window.height)))
    return Labelled(tile, tuple(boxes))


def _background(tiles: dict[str, list[Labelled]], options: ConvertOptions) -> set[str]:
    """Names of the mitosis-free training tiles that are left out."""
    free = [
        item.tile.name
        for items in tiles.values()
        for item in items
        if item.tile.split == "train" and not any(label == 0 for label, _ in item.boxes)
    ]
    stay = random.Random(options.seed).sample(free, round(options.background * len(free)))
    return set(free) - set(stay)
