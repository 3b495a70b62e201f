"""A fit applied to batches of tiles on a GPU: the table of all colours, looked up there.

The bytes are the CPU's (but for a few of a million pixels of narrow tiles by Macenko, where OpenCV
rounds the end of a row in another way). Where a table does not hold (mode ``tile`` and
staintools fit every tile anew), or would not pay, the CPU does the work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from mitoyolo.detectors.failures import foreseen
from mitoyolo.images import RGB
from mitoyolo.stain import colours
from mitoyolo.stain.methods import find_method
from mitoyolo.stain.normaliser import Fitted
from mitoyolo.stain.tissue import is_enough

_RELIEF = "use --device cpu"


def apply_batch(
    fitted: Fitted | None, tiles: Sequence[RGB], *, device: str, pixels: int
) -> list[RGB]:
    """Normalise tiles where it is fastest; the bytes are the same on every device.

    Parameters
    ----------
    fitted : Fitted or None
        None leaves the tiles as they are.
    tiles : sequence of (h, w, 3) uint8
    device : str
        As torch names it: ``cpu``, ``cuda:0``.
    pixels : int
        How many this fit will map in all its batches.

    Returns
    -------
    list of (h, w, 3) uint8
        In the order of ``tiles``; a tile that passes through is itself.

    Raises
    ------
    EngineError
        The device failed or has no memory left.
    """
    if fitted is None:
        return list(tiles)
    if device != "cpu" and pixels >= colours.PAYS_FROM and colours.has_table(fitted):
        return _latest(fitted, device).apply(tiles)
    apply = colours.quick(fitted, pixels)
    return [apply(tile)[0] for tile in tiles]


class DeviceNormaliser:
    """A fit that has a table, and the table on a torch device, where it takes 64 MB.

    Parameters
    ----------
    fitted : Fitted
        See :func:`mitoyolo.stain.colours.has_table`.
    device : str
        As torch names it.

    Raises
    ------
    EngineError
        The device failed or has no memory left.
    """

    def __init__(self, fitted: Fitted, device: str) -> None:
        import torch

        self._is_flat = find_method(fitted.method).is_flat
        self._device = device
        with foreseen(_RELIEF):
            cells = torch.from_numpy(colours.colour_table(fitted).view(np.int32))
            self._cells = cells.to(device)

    def apply(self, tiles: Sequence[RGB]) -> list[RGB]:
        """What :meth:`Fitted.apply` gives for each tile, its guards included.

        Needs about 20 bytes of device memory for each pixel of the tiles of one shape.
        """
        done = list(tiles)
        alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, tile in enumerate(tiles):
            # a glance, on the CPU, which knows the method's own limit
            if tile.size and not self._is_flat(tile):
                alike[tile.shape].append(i)
        with foreseen(_RELIEF):
            for members in alike.values():
                self._map(done, members)
        return done

    def _map(self, tiles: list[RGB], members: Sequence[int]) -> None:
        """Replace the members, which have one shape, by what they become."""
        import torch

        batch = torch.from_numpy(np.stack([tiles[i] for i in members])).to(self._device)
        red, green, blue = batch.int().unbind(-1)
        cells = self._cells.index_select(0, (red | green << 8 | blue << 16).flatten())
        cells = cells.view(torch.uint8).view(*batch.shape[:3], 4)
        mapped = cells[..., :3].contiguous().cpu().numpy()
        stained = cells[..., 3].sum(dim=(1, 2)).tolist()
        for i, image, pixels in zip(members, mapped, stained, strict=True):
            if is_enough(pixels, image.shape[0] * image.shape[1]):
                tiles[i] = image


@lru_cache(maxsize=1)
def _latest(fitted: Fitted, device: str) -> DeviceNormaliser:
    """One table is kept: a slide has one fit, and its batches come one after the other."""
    return DeviceNormaliser(fitted, device)
