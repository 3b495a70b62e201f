"""The order of the training tiles, of any family: of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from mitoyolo.distributed import Process


class EpochSampler(Sampler[int]):
    """An order of all tiles drawn anew for each epoch, of which a process takes every ``world``-th.

    The processes' batches of a step are together the batch that one process would take. Where the
    tiles cannot be shared out evenly, the epoch's first ones come twice.

    Parameters
    ----------
    tiles : int
        How many there are.
    seed : int
    process : Process
    shuffle : bool
        False: in the order of the data set.

    Examples
    --------
    >>> sampler = EpochSampler(4, seed=0, process=Process(), shuffle=False)
    >>> list(sampler), list(sampler)
    ([0, 1, 2, 3], [4, 5, 6, 7])
    """

    def __init__(self, tiles: int, *, seed: int, process: Process, shuffle: bool = True) -> None:
        self.epoch = 0
        self._tiles, self._seed, self._process, self._shuffle = tiles, seed, process, shuffle

    def __len__(self) -> int:
        return -(-self._tiles // self._process.world)

    def __iter__(self) -> Iterator[int]:
        """Numbers ``epoch * tiles + tile``; the next call is the next epoch."""
        epoch, self.epoch = self.epoch, self.epoch + 1
        order = np.arange(self._tiles)
        if self._shuffle:
            order = np.random.default_rng([self._seed, epoch]).permutation(self._tiles)
        order = np.resize(order, len(self) * self._process.world)
        yield from (epoch * self._tiles + order[self._process.rank :: self._process.world]).tolist()

    def set_epoch(self, epoch: int) -> None:
        """Nothing: a loader may read ahead into the next epoch before its trainer announces it."""
