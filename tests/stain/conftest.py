"""Tissue-like images, rendered."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from mitoyolo.images import RGB

Render = Callable[..., RGB]

EOSIN, HAEMATOXYLIN = (222, 140, 190), (96, 62, 140)


def render(
    seed: int,
    *,
    size: tuple[int, int] = (96, 112),
    shift: tuple[int, int, int] = (0, 0, 0),
    glass: float = 0.0,
) -> RGB:
    """Pink stroma with purple nuclei and noise; the left share ``glass`` is white."""
    rng = np.random.default_rng(seed)
    height, width = size
    image = np.full((height, width, 3), EOSIN, np.uint8)
    for _ in range(height * width // 500):
        x, y, radius = int(rng.integers(width)), int(rng.integers(height)), int(rng.integers(2, 7))
        cv2.circle(image, (x, y), radius, HAEMATOXYLIN, -1)
    noise = rng.normal(0, 9, image.shape) + rng.normal(0, 12, (height, width, 1)) + shift
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    image[:, : int(glass * width)] = 244
    return image


@pytest.fixture(scope="session")
def tissue() -> Render:
    """The renderer."""
    return render
