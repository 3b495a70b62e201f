"""From the detections of a split's tiles to the fields that the scorer counts.

The one path by which checkpoints are chosen and ``val`` reports: tiles' detections are moved to
source pixels, merged as slide inference does, and stand against ``annotations.csv``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from mitoyolo.dataset import Dataset, Tile
from mitoyolo.evaluation.fields import Field
from mitoyolo.inference.merge import Detections, merge

NOTHING: Detections = np.empty((0, 6))


def by_source(tiles: Sequence[Tile], of_tile: Mapping[str, Detections]) -> dict[str, Detections]:
    """Source -> merged detections in source pixels.

    Parameters
    ----------
    tiles : sequence of Tile
        All tiles of the sources, in the dataset's µm/px.
    of_tile : mapping
        Tile name -> detections in tile pixels; a tile without any may be absent.
    """
    moved: dict[str, list[Detections]] = defaultdict(list)
    scale: dict[str, tuple[float, float]] = {}
    for tile in tiles:
        found = of_tile.get(tile.name, NOTHING)
        moved[tile.source].append(found + np.array([tile.x, tile.y, 0, 0, 0, 0]))
        scale[tile.source] = tile.mpp
    return {source: merge(np.concatenate(parts), scale[source]) for source, parts in moved.items()}


def fields_of(
    dataset: Dataset,
    split: str,
    of_source: Mapping[str, Detections],
    classes: Sequence[str],
    label: str = "mitosis",
) -> list[Field]:
    """One field a source image of ``split``: its truths and detections of one class.

    Parameters
    ----------
    classes : sequence of str
        The detector's, in the order of its class numbers.
    label : str
        The class that is scored.
    """
    number = list(classes).index(label)
    truths: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for truth in dataset.truths:
        if truth.label == label:
            truths[truth.source].append((truth.x, truth.y))
    tiles: dict[str, list[Tile]] = defaultdict(list)
    for tile in dataset.of_split(split):
        tiles[tile.source].append(tile)
    fields = []
    for source, members in tiles.items():
        first = members[0]
        found = of_source.get(source, NOTHING)
        found = found[found[:, 5] == number]
        width = max(tile.x + tile.width for tile in members)
        height = max(tile.y + tile.height for tile in members)
        fields.append(
            Field(
                image=source,
                case=first.case,
                mpp=first.mpp,
                truth=np.array(truths[source], dtype=float).reshape(-1, 2),
                detections=found[:, :2],
                scores=found[:, 4],
                area_mm2=width * first.mpp[0] * height * first.mpp[1] / 1e6,
                domain={"scanner": first.scanner, "tumour": first.tumour},
            )
        )
    return fields
