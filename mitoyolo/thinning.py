"""Mitosis-free training tiles that a detector is not trained on.

Of most tiles with nothing on them a detector learns nothing more, and each costs its time. What it
takes for a mitosis on those that it was not trained on is as on new tissue, so that its verifier
learns most from them (hard negatives).
"""

from __future__ import annotations

from dataclasses import replace

from converters.errors import InputError
from mitoyolo.dataset import Dataset
from mitoyolo.label_file import read_boxes
from mitoyolo.split import left_out


def thinned(dataset: Dataset, share: float, seed: int) -> Dataset:
    """A data set of whose mitosis-free training tiles a seeded share stays.

    Parameters
    ----------
    dataset : Dataset
    share : float
        From 0 to 1.
    seed : int
        Of the choice.

    Returns
    -------
    Dataset
        Its ``unseen`` are those that went.

    Raises
    ------
    InputError
        There are copies of training tiles, of which some would stay without their tile.
    """
    if share >= 1:
        return dataset
    training = dataset.of_split("train")
    if len(dataset.images_of("train")) > len(training):
        raise InputError(
            "holds copies of training tiles, which --background cannot tell apart",
            file=dataset.root,
            fix="leave --background out, or convert without --augment and normalize without "
            "--keep-originals",
        )
    free = [tile.name for tile in training if not any(k == 0 for k, _ in read_boxes(dataset, tile))]
    without = left_out(free, share, seed)
    unseen = tuple(tile for tile in training if tile.name in without)
    gone = set(unseen)
    return replace(
        dataset, tiles=tuple(tile for tile in dataset.tiles if tile not in gone), unseen=unseen
    )
