"""A model applied as it was trained, at its µm/px and in its colours, to the tiles of a dataset."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from converters.errors import InputError
from converters.mpp import Mpp, differ
from mitoyolo.dataset import INDEX, Dataset, Tile
from mitoyolo.detectors.base import Detector
from mitoyolo.detectors.card import Card
from mitoyolo.images import RGB, read_rgb
from mitoyolo.inference.merge import Detections
from mitoyolo.progress import note, track
from mitoyolo.stain.device import apply_batch
from mitoyolo.stain.normaliser import Fitted, Normaliser, spread

BATCH = 16
"""Tiles a forward pass."""


# --- tiles of a dataset -----------------------------------------------------------------------


def check_classes(detector: Detector, dataset: Dataset) -> None:
    """Refuse a model whose classes are not the data's.

    Raises
    ------
    InputError
        Both class lists are named.
    """
    if list(detector.classes) != dataset.labels:
        own = ", ".join(detector.classes[:4]) + (" ..." if len(detector.classes) > 4 else "")
        raise InputError(
            f"the weights have {len(detector.classes)} class(es) ({own}), the data "
            f"{len(dataset.labels)} ({', '.join(dataset.labels)})",
            file=dataset.root,
            fix="give weights trained on these classes, or convert with other --labels",
        )


def data_normaliser(card: Card | None, dataset: Dataset) -> Normaliser | None:
    """What must still be done to a dataset's tiles so that they look as in training.

    Returns
    -------
    Normaliser or None
        None: nothing; the tiles are already as the model knows them, or the model says nothing.

    Raises
    ------
    InputError
        The tiles are normalised in another way, which cannot be undone.
    """
    if card is None:
        return None
    wanted = Normaliser.from_dict(card.normalisation) if card.normalisation else None
    present = None
    if dataset.normalisation:
        try:
            present = Normaliser.from_dict(dataset.normalisation)
        except InputError as error:
            raise InputError(
                error.what, file=dataset.root / INDEX, where=error.where, fix=error.fix
            ) from None
    if wanted == present:
        return None
    if present is None:
        note("normalising the tiles as the model's training data were")
        return wanted
    raise InputError(
        f"its tiles are normalised ({present.method}, {present.mode}), the model was trained on "
        + (f"{wanted.method}, {wanted.mode}, to another target" if wanted else "raw tiles"),
        file=dataset.root,
        fix="give the dataset before `mitoyolo normalize`",
    )


def detect_tiles(detector: Detector, dataset: Dataset, split: str) -> dict[str, Detections]:
    """Tile name -> detections in tile pixels, for every tile of a split."""
    # by fit, so that a table of colours is made once
    tiles = sorted(dataset.of_split(split), key=lambda tile: (tile.case, tile.scanner))
    normaliser = data_normaliser(detector.card, dataset)
    fits = _fit_groups(normaliser, dataset, tiles) if normaliser else {}
    pixels: Counter[Fitted] = Counter()
    for tile in tiles if fits else ():
        pixels[fits[tile.name]] += tile.width * tile.height
    found: dict[str, Detections] = {}
    batches = list(_batches(tiles))
    for batch in track(batches, f"detecting, {split}", unit="batches", total=len(batches)):
        images = [read_rgb(dataset.image_path(tile)) for tile in batch]
        if fits:
            images = _normalise(batch, images, fits, pixels, detector.device)
        first = batch[0]
        imgsz = network_size(detector, max(first.width, first.height), first.mpp)
        for tile, rows in zip(batch, detector.predict(images, imgsz), strict=True):
            found[tile.name] = rows
    return found


def _normalise(
    tiles: Sequence[Tile],
    images: Sequence[RGB],
    fits: dict[str, Fitted],
    pixels: Mapping[Fitted, int],
    device: str,
) -> list[RGB]:
    done = []
    pairs = zip(tiles, images, strict=True)
    for fitted, group in groupby(pairs, key=lambda pair: fits[pair[0].name]):
        alike = [image for _, image in group]
        done += apply_batch(fitted, alike, device=device, pixels=pixels[fitted])
    return done


def network_size(detector: Detector, side: int, mpp: Mpp, tile: int | None = None) -> int:
    """Pixels to which a tile of ``side`` px at ``mpp`` is resized for the network.

    Such that a cell is as large as in training; a difference under 5 % is left as it is, and so is
    a pixel of the side, by which equal parts of a frame differ.

    Parameters
    ----------
    tile : int, optional
        For weights without a card, the side that fills the network's input; None: every tile's.
    """
    card = detector.card
    whole = card.tile if card else tile or side
    scale = detector.imgsz / (side if abs(side - whole) == 1 else whole)
    if card and card.mpp and differ(card.mpp, mpp):
        scale *= (mpp[0] * mpp[1]) ** 0.5 / (card.mpp[0] * card.mpp[1]) ** 0.5
    return max(32, round(side * scale))


def _batches(tiles: Sequence[Tile]) -> Iterator[list[Tile]]:
    """Tiles of one shape and scale together, up to :data:`BATCH` at a time."""
    alike: dict[tuple[int, int, Mpp], list[Tile]] = defaultdict(list)
    for tile in tiles:
        alike[tile.width, tile.height, tile.mpp].append(tile)
    for members in alike.values():
        for start in range(0, len(members), BATCH):
            yield members[start : start + BATCH]


def _fit_groups(
    normaliser: Normaliser, dataset: Dataset, tiles: Sequence[Tile]
) -> dict[str, Fitted]:
    """Tile name -> the fit that `mitoyolo normalize` would use for it.

    As there, a fit is over all tiles of a case and scanner, of whatever split, and in mode
    `target` over the whole dataset.
    """

    def group(tile: Tile) -> tuple[str, str]:
        return ("", "") if normaliser.mode == "target" else (tile.case, tile.scanner)

    wanted = {group(tile) for tile in tiles}
    members: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for tile in (*dataset.tiles, *dataset.others):
        if group(tile) in wanted:
            members[group(tile)].append(dataset.image_path(tile))
    fits = {}
    for key, paths in members.items():
        paths.sort()
        fits[key] = normaliser.fit(read_rgb(paths[i]) for i in spread(len(paths)))
    return {tile.name: fits[group(tile)] for tile in tiles}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How an image is cut: tile size and overlap in pixels of the model's µm/px."""

    tile: int
    overlap: int
