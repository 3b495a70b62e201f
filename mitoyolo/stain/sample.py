"""A bounded sample of the pixels of many images, the same for the same images in the same order."""

from __future__ import annotations

import numpy as np

from mitoyolo.images import RGB

MOST = 1 << 22
"""Pixels kept at most: a frame of 2,000 px whole, or 16 tiles of 512 px."""


class Sample:
    """Pixels, of which every second is dropped each time that they become too many."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._step = 1
        self._parts: list[RGB] = []
        self._kept = 0

    def add(self, pixels: RGB) -> None:
        """Add pixels of shape (n, 3)."""
        part = pixels[:: self._step]
        self._parts.append(part.copy())
        self._kept += len(part)
        while self._kept > self._most:
            self._parts = [np.concatenate(self._parts)[::2].copy()]
            self._kept = len(self._parts[0])
            self._step *= 2

    def pixels(self) -> RGB:
        """What is kept, as an image of shape (1, n, 3)."""
        kept = np.concatenate([np.empty((0, 3), np.uint8), *self._parts])
        return kept[None]
