"""From the detections of a split's tiles to the fields that the scorer counts.

The one path by which checkpoints are chosen and ``val`` reports: tiles' detections are moved to
source pixels, merged as slide inference does, and stand against ``annotations.csv``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from converters.model import LABELS
from mitoyolo.dataset import Dataset, Tile
from mitoyolo.evaluation.fields import Field
from mitoyolo.inference.merge import Detections
from mitoyolo.inference.stitch import NOTHING, stitch
from mitoyolo.tiles import covered, extent


def by_source(tiles: Sequence[Tile], of_tile: Mapping[str, Detections]) -> dict[str, Detections]:
    """Source -> merged detections in source pixels.

    Parameters
    ----------
    tiles : sequence of Tile
        All tiles of the sources, in the dataset's µm/px.
    of_tile : mapping
        Tile name -> detections in tile pixels; a tile without any may be absent.
    """
    of_source: dict[str, list[Tile]] = defaultdict(list)
    for tile in tiles:
        of_source[tile.source].append(tile)
    return {
        source: stitch(
            [tile.window for tile in members],
            [of_tile.get(tile.name, NOTHING) for tile in members],
            members[0].mpp,
        )
        for source, members in of_source.items()
    }


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
        The class that is scored; the other class of :data:`converters.model.LABELS` stands in
        the field as the look-alikes.

    A size of 0, of a tile, truth or detection, is one that is not known.
    """
    (other,) = set(LABELS) - {label}
    truths: dict[tuple[str, str], list[tuple[float, ...]]] = defaultdict(list)
    for truth in dataset.truths:
        truths[truth.source, truth.label].append((truth.x, truth.y, *truth.box))
    tiles: dict[str, list[Tile]] = defaultdict(list)
    for tile in dataset.of_split(split):
        tiles[tile.source].append(tile)
    fields = []
    for source, members in tiles.items():
        first = members[0]
        found = _of_class(of_source.get(source, NOTHING), classes, label)
        others = _of_class(of_source.get(source, NOTHING), classes, other)
        mitoses, imposters = (_rows(truths[source, name]) for name in (label, other))
        windows = [tile.window for tile in members]
        fields.append(
            Field(
                image=source,
                case=first.case,
                mpp=first.mpp,
                truth=mitoses[:, :2],
                truth_sizes=_sizes(mitoses[:, 4:]),
                truth_centres=mitoses[:, 2:4],
                detections=found[:, :2],
                detection_sizes=_sizes(found[:, 2:4]),
                scores=found[:, 4],
                imposters=imposters[:, :2],
                imposter_detections=others[:, :2],
                imposter_scores=others[:, 4],
                size=extent(windows),
                area_mm2=covered(windows) * first.mpp[0] * first.mpp[1] / 1e6 or None,
                domain={"scanner": first.scanner, "tumour": first.tumour},
            )
        )
    return fields


def _of_class(found: Detections, classes: Sequence[str], label: str) -> Detections:
    numbers = [number for number, name in enumerate(classes) if name == label]
    return found[np.isin(found[:, 5], numbers)]


def _sizes(sizes: Detections) -> Detections | None:
    """Widths and heights of boxes; None unless all of them are known."""
    return sizes if sizes.all() else None


def _rows(marks: Sequence[tuple[float, ...]]) -> Detections:
    """Centroids with the centres and sizes of their boxes, as an (n, 6) array."""
    return np.array(marks, dtype=float).reshape(-1, 6)
