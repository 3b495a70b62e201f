"""Drawing on tissue: red dots for detections, rings for truth, boxes for labels, hotspots."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.mpp import Mpp
from mitoyolo.dataset import Dataset
from mitoyolo.images import RGB, read_rgb, resize
from mitoyolo.inference.hotspot import Hotspot, reach_um
from mitoyolo.tiles import Window, extent

RED, GREEN, BLUE = (220, 0, 0), (0, 170, 60), (0, 90, 200)

MAX_SIDE = 4096
"""Longer pictures are shrunk: an overlay is looked at, the tables are exact."""


def draw_dots(image: RGB, points: NDArray[np.float64], mpp: Mpp) -> RGB:
    """A red dot of 2 µm in a ring of 8 µm on each of the (n, 2) places."""
    drawn = image.copy()
    _circles(drawn, points, max(4, round(8 / _mean(mpp))), RED)
    _circles(drawn, points, max(2, round(2 / _mean(mpp))), RED, filled=True)
    return drawn


def draw_truth(image: RGB, points: NDArray[np.float64], mpp: Mpp) -> RGB:
    """A green ring of 10 µm around each of the (n, 2) annotated mitoses."""
    drawn = image.copy()
    _circles(drawn, points, max(5, round(10 / _mean(mpp))), GREEN)
    return drawn


def draw_hotspot(image: RGB, hotspot: Hotspot, mpp: Mpp, scale: tuple[float, float]) -> RGB:
    """The outline of a hotspot.

    Parameters
    ----------
    image : RGB
        The slide, smaller or not.
    mpp : (float, float)
        µm per level-0 px across and down.
    scale : (float, float)
        Level-0 px a pixel of the image.
    """
    drawn = image.copy()
    of_pixel = (mpp[0] * scale[0], mpp[1] * scale[1])
    x, y = (round(um / size) for um, size in zip(hotspot.centre_um, of_pixel, strict=True))
    reach = reach_um(hotspot.shape, hotspot.area_mm2)
    across, down = (max(1, round(reach / size)) for size in of_pixel)
    thick = max(2, round(min(drawn.shape[:2]) / 400))
    if hotspot.shape == "circle":
        cv2.ellipse(drawn, (x, y), (across, down), 0, 0, 360, BLUE, thick, cv2.LINE_AA)
    else:
        corners = (x - across, y - down), (x + across, y + down)
        cv2.rectangle(drawn, *corners, BLUE, thick)
    return drawn


def _circles(
    drawn: RGB,
    points: NDArray[np.float64],
    radius: int,
    colour: tuple[int, int, int],
    *,
    filled: bool = False,
) -> None:
    thick = cv2.FILLED if filled else max(1, round(min(drawn.shape[:2]) / 600))
    for x, y in points:
        cv2.circle(drawn, (round(float(x)), round(float(y))), radius, colour, thick, cv2.LINE_AA)


def draw_boxes(image: RGB, boxes: Sequence[tuple[int, tuple[float, float, float, float]]]) -> RGB:
    """Label boxes: green for class 0, blue for class 1."""
    drawn = image.copy()
    for label, (left, top, right, bottom) in boxes:
        corners = (round(left), round(top)), (round(right), round(bottom))
        cv2.rectangle(drawn, *corners, BLUE if label else GREEN, 2)
    return drawn


def around(x: float, y: float, mpp: Mpp, side_um: float) -> tuple[int, int, int, int]:
    """The window of ``side_um`` µm around a place: left, top, width and height in pixels."""
    width, height = (max(2, round(side_um / scale)) for scale in mpp)
    return round(x - width / 2), round(y - height / 2), width, height


def crop(image: RGB, x: float, y: float, mpp: Mpp, side_um: float, beyond: int = 255) -> RGB:
    """The pixels of :func:`around`; white, or the grey ``beyond``, past the image's edges."""

    def read(inside: Window) -> RGB:
        return image[inside.y : inside.y + inside.height, inside.x : inside.x + inside.width]

    size = (image.shape[1], image.shape[0])
    return crop_read(read, size, around(x, y, mpp, side_um), beyond)


def crop_read(
    read: Callable[[Window], RGB],
    size: tuple[int, int],
    window: tuple[int, int, int, int],
    beyond: int = 255,
) -> RGB:
    """The pixels of a window that may reach past the edges of what ``read`` reads.

    Parameters
    ----------
    read : callable
        Asked for the part that lies inside, if there is one.
    size : (int, int)
        Width and height in which ``read`` can read.
    window : (left, top, width, height)
    beyond : int
        The grey past the edges.
    """
    left, top, width, height = window
    square = np.full((height, width, 3), beyond, dtype=np.uint8)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width, size[0]), min(top + height, size[1])
    if x0 < x1 and y0 < y1:
        pixels = read(Window(x0, y0, x1 - x0, y1 - y0))
        square[y0 - top : y1 - top, x0 - left : x1 - left] = pixels
    return square


def stitch(dataset: Dataset, source: str, window: tuple[int, int, int, int] | None = None) -> RGB:
    """A source image put together from its tiles, or its part in a window; white beyond them.

    Parameters
    ----------
    window : (left, top, width, height), optional
        In source pixels. Only the tiles that it touches are read.
    """
    tiles = [tile for tile in dataset.tiles if tile.source == source]
    if window is None:
        window = (0, 0, *extent([tile.window for tile in tiles]))
    left, top, width, height = window
    image = np.full((height, width, 3), 255, dtype=np.uint8)
    for tile in tiles:
        x0, x1 = max(tile.x, left), min(tile.x + tile.width, left + width)
        y0, y1 = max(tile.y, top), min(tile.y + tile.height, top + height)
        if x0 < x1 and y0 < y1:
            pixels = read_rgb(dataset.image_path(tile))
            image[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[
                y0 - tile.y : y1 - tile.y, x0 - tile.x : x1 - tile.x
            ]
    return image


def sheet(images: Sequence[RGB], columns: int, side: int) -> RGB:
    """Images shrunk to cells of ``side`` px on a white sheet."""
    rows = -(-len(images) // columns)
    canvas = np.full((rows * (side + 6), columns * (side + 6), 3), 255, dtype=np.uint8)
    for i, image in enumerate(images):
        scale = side / max(image.shape[:2])
        width, height = round(image.shape[1] * scale), round(image.shape[0] * scale)
        cell = resize(image, max(1, width), max(1, height))
        y, x = (i // columns) * (side + 6), (i % columns) * (side + 6)
        canvas[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
    return canvas


def fitted(image: RGB, side: int = MAX_SIDE) -> RGB:
    """The picture, drawn on before, its longer side at most ``side``."""
    longest = max(image.shape[:2])
    if longest <= side:
        return image
    scale = side / longest
    return resize(image, round(image.shape[1] * scale), round(image.shape[0] * scale))


def _mean(mpp: Mpp) -> float:
    return (mpp[0] + mpp[1]) / 2
