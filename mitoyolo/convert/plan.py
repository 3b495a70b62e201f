"""What is written where, decided before the first byte: splits, tiles and their boxes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from converters.geometry import Box, Point, clip_box
from converters.model import LABELS, SPLITS, Annotation, AnnotationSet, ImageInfo
from converters.presets import Preset
from converters.shapes import Shape
from mitoyolo.convert.augment import Copy, copies
from mitoyolo.convert.options import ConvertOptions
from mitoyolo.dataset import UNLABELLED, Labelled, Tile
from mitoyolo.split import left_out, official_split, split_from_file, split_groups
from mitoyolo.tiles import Window, grid, parts


@dataclass(frozen=True, slots=True)
class Plan:
    """Where everything goes.

    Attributes
    ----------
    split : dict
        Source -> train, val or test.
    tiles : dict
        Source -> its tiles, each with its boxes.
    copies : dict
        Training tile -> its augmented copies.
    background_left_out : int
        How many mitosis-free training tiles ``--background`` leaves out.
    empty : list of str
        Splits that were asked for and got nothing.
    """

    split: dict[str, str]
    tiles: dict[str, list[Labelled]]
    copies: dict[str, list[Copy]]
    background_left_out: int
    empty: list[str]

    @property
    def items(self) -> list[Labelled]:
        """All tiles, source by source."""
        return [item for items in self.tiles.values() for item in items]

    @property
    def written(self) -> list[Labelled]:
        """All tiles, each followed by its augmented copies."""
        return [
            one
            for item in self.items
            for one in (item, *(copy.item for copy in self.copies.get(item.tile.name, [])))
        ]


def make_plan(kept: AnnotationSet, options: ConvertOptions, preset: Preset | None) -> Plan:
    """Deal the images of ``kept`` to splits and cut them.

    Raises
    ------
    InputError
        The split file is damaged or misses an image.
    """
    split = _split(kept, options, preset)
    split |= {image.source: UNLABELLED for image in kept.images if not image.labelled}
    tiles = {
        image.source: _cut(image, items, split[image.source], options)
        for image, items in kept.by_image()
    }
    left_out = _background(tiles, options)
    tiles = {
        source: [item for item in items if item.tile.name not in left_out]
        for source, items in tiles.items()
    }
    doubled = {
        item.tile.name: copies(item, options.augment)
        for items in tiles.values()
        for item in items
        if options.augment and item.tile.split == "train"
    }
    wanted = {name for name, share in zip(SPLITS, options.shares, strict=True) if share > 0}
    named = options.split_file or options.official
    wanted = set() if named else wanted - set(split.values())
    return Plan(split, tiles, doubled, len(left_out), [name for name in SPLITS if name in wanted])


def _split(kept: AnnotationSet, options: ConvertOptions, preset: Preset | None) -> dict[str, str]:
    """Source -> split."""
    images = [image for image in kept.images if image.labelled]
    if options.split_file:
        return split_from_file(options.split_file, images)
    if options.official:
        assert preset is not None  # with_preset saw to it
        return _official(images, _mitoses(kept, images, "case"), options, preset)
    shares = dict(zip(SPLITS, options.shares, strict=True))
    dealt = split_groups(_mitoses(kept, images, options.group_by), shares, options.seed)
    return {image.source: dealt[_group(image, options.group_by)] for image in images}


def _official(
    images: list[ImageInfo], mitoses: dict[str, int], options: ConvertOptions, preset: Preset
) -> dict[str, str]:
    """The split of the preset; where it names no validation, a tenth of its training cases."""
    split = official_split(images, preset)
    if "val" in preset.official:
        return split
    train = {image.case: mitoses[image.case] for image in images if split[image.source] == "train"}
    dealt = split_groups(train, {"train": 0.9, "val": 0.1}, options.seed)
    return {
        image.source: dealt[image.case] if split[image.source] == "train" else split[image.source]
        for image in images
    }


def _group(image: ImageInfo, by: str) -> str:
    return image.case if by == "case" else image.source


def _mitoses(kept: AnnotationSet, images: list[ImageInfo], by: str) -> dict[str, int]:
    """Group -> number of mitoses."""
    group = {image.source: _group(image, by) for image in images}
    mitoses = dict.fromkeys(group.values(), 0)
    for item in kept.annotations:
        if item.source in group:
            mitoses[group[item.source]] += item.label == "mitosis"
    return mitoses


def _cut(
    image: ImageInfo, annotations: list[Annotation], split: str, options: ConvertOptions
) -> list[Labelled]:
    """The tiles of an image, each with the annotations whose centroid it holds."""
    anchored = sorted(
        ((_anchor(item, image), n, item) for n, item in enumerate(annotations) if item.box),
        key=lambda entry: entry[0][1],
    )
    heights = [y for (_, y), _, _ in anchored]
    tiles = []
    for name, window in _windows(image, options):
        # of a slide's thousands only those in the window's rows, in the order of the file
        first = bisect_left(heights, window.y)
        last = bisect_right(heights, window.y + window.height)
        near = sorted(anchored[first:last], key=lambda entry: entry[1])
        held = [item for at, _, item in near if window.holds(*at, image.width, image.height)]
        tiles.append(_labelled(image, name, window, held, split))
    return tiles


def _windows(image: ImageInfo, options: ConvertOptions) -> list[tuple[str, Window]]:
    """Name and place of each tile of an image."""
    if image.parts:
        return [(p.name, Window(p.x, p.y, p.width, p.height)) for p in image.parts]
    if options.grid:
        windows = parts(image.width, image.height, *options.grid)
    elif options.tile:
        windows = grid(image.width, image.height, options.tile, options.overlap_px)
    else:
        return [(image.file_stem, Window(0, 0, image.width, image.height))]
    return [(f"{image.file_stem}_x{window.x}_y{window.y}", window) for window in windows]


def _labelled(
    image: ImageInfo, name: str, window: Window, annotations: list[Annotation], split: str
) -> Labelled:
    """A tile with its annotations, clipped at its edges."""
    assert image.mpp is not None
    tile = Tile(
        name=name,
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
    boxes: list[tuple[int, Box]] = []
    shapes: list[Shape | None] = []
    for item in annotations:
        assert item.box is not None  # it has an anchor
        left, top, right, bottom = item.box
        moved = (left - window.x, top - window.y, right - window.x, bottom - window.y)
        boxes.append((LABELS.index(item.label), clip_box(moved, window.width, window.height)))
        shapes.append(item.shape and item.shape.mapped(1, 1, -window.x, -window.y))
    return Labelled(tile, tuple(boxes), tuple(shapes))


def _anchor(item: Annotation, image: ImageInfo) -> Point:
    """The centroid, by which a tile has an annotation; of one on the right or lower edge of its
    own box the box's middle, since the next tile holds the edge and nothing of the box."""
    assert item.box is not None
    left, top, right, bottom = item.box
    x, y = item.x, item.y
    if not left <= x < right and x != image.width:
        x = (left + right) / 2
    if not top <= y < bottom and y != image.height:
        y = (top + bottom) / 2
    return (x, y)


def _background(tiles: dict[str, list[Labelled]], options: ConvertOptions) -> set[str]:
    """Names of the mitosis-free training tiles that are left out."""
    free = [
        item.tile.name
        for items in tiles.values()
        for item in items
        if item.tile.split == "train" and not any(label == 0 for label, _ in item.boxes)
    ]
    return left_out(free, options.background, options.seed)
